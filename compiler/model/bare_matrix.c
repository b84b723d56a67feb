/* bare_matrix.c - matrix mode: a lone tensor whose elements are -1, 0 and 1 in any type.
 *
 * Integers and floats are taken literally (unsigned bytes may write -1 as 255); the multiplier is
 * 1. The alphabet is the smallest that holds all values: {0,1}, {-1,+1}, else ternary.
 */
#include "model/ternary.h"

#include <inttypes.h>
#include <string.h>

#include "model/tensor_data.h"

/* int32 accumulators hold 128 * cols. */
#define MAX_COLS ((1u << 24) - 1)

/* Element i if it is -1, 0 or 1; else any other number. */
static int element_value(const struct rsr_tensor *tensor, uint64_t i) {
    const int outside = 2;
    const uint8_t *at = tensor->data + i * rsrc_dtype_bytes(tensor->dtype);
    int32_t i32;
    int64_t i64;
    float f32;

    switch (tensor->dtype) {
    case RSR_DTYPE_U8:
    case RSR_DTYPE_I8:
        return (int8_t)*at;
    case RSR_DTYPE_I32:
        memcpy(&i32, at, sizeof i32);
        return i32 >= -1 && i32 <= 1 ? (int)i32 : outside;
    case RSR_DTYPE_I64:
        memcpy(&i64, at, sizeof i64);
        return i64 >= -1 && i64 <= 1 ? (int)i64 : outside;
    case RSR_DTYPE_F32:
    case RSR_DTYPE_BF16:
    case RSR_DTYPE_F16:
        rsrc_load_floats(tensor->dtype, at, 1, &f32);
        return f32 == 0.0f ? 0 : f32 == 1.0f ? 1 : f32 == -1.0f ? -1 : outside;
    case RSR_DTYPE_COUNT:
        break;
    }
    return outside;
}

static enum rsrc_status check_shape(struct rsrc_diag *diag, const struct rsr_tensor *tensor) {
    struct rsrc_place place = rsrc_tensor_place(tensor, 0);

    if (tensor->n_dims == 2 && tensor->shape[0] > 0 && tensor->shape[0] <= UINT32_MAX &&
        tensor->shape[1] > 0 && tensor->shape[1] <= MAX_COLS &&
        tensor->size_bytes / rsrc_dtype_bytes(tensor->dtype) / tensor->shape[0] >= tensor->shape[1])
        return RSRC_OK;
    return rsrc_refuse(
        diag, "matrix-shape", &place,
        "a matrix file holds tensors of two dimensions, rows and columns, and at most "
        "16777215 columns",
        "not a matrix: %u dimensions%s", tensor->n_dims,
        tensor->n_dims == 2 ? ", one of them out of range" : "");
}

enum rsrc_status rsrc_decode_tensor(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsr_tensor *tensor, struct rsr_matrix *out) {
    if (check_shape(diag, tensor) != RSRC_OK)
        return RSRC_FAILED;

    uint32_t rows = (uint32_t)tensor->shape[0], cols = (uint32_t)tensor->shape[1];
    uint64_t n = (uint64_t)rows * cols;
    int8_t *values = rsrc_arena_array(arena, rows, cols);
    float *scale = RSRC_NEW(arena, float);
    bool has_zero = false, has_minus = false;

    for (uint64_t i = 0; i < n; i++) {
        int value = element_value(tensor, i);
        if (value < -1 || value > 1) {
            struct rsrc_place place =
                rsrc_tensor_place(tensor, i * rsrc_dtype_bytes(tensor->dtype));
            return rsrc_refuse(diag, "matrix-value", &place,
                               "a matrix file holds -1, 0 and 1 as integers or floats",
                               "element (%" PRIu64 ", %" PRIu64 ") is neither -1, 0 nor 1",
                               i / cols, i % cols);
        }
        values[i] = (int8_t)value;
        has_zero |= value == 0;
        has_minus |= value < 0;
    }
    *scale = 1.0f;
    *out = (struct rsr_matrix){.rows = rows,
                               .cols = cols,
                               .alphabet = !has_minus  ? RSR_BINARY_BIT
                                           : !has_zero ? RSR_BINARY_SIGN
                                                       : RSR_TERNARY,
                               .values = values,
                               .scale = scale,
                               .n_scales = 1};
    return RSRC_OK;
}
