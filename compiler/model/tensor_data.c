/* tensor_data.c - exact conversion of checkpoint floats to float32.
 *
 * bfloat16 is the upper half of a float32. IEEE half precision keeps its 15 low bits, moved under
 * float32's exponent, and is scaled by 2^112 (the difference of the biases), which is exact and
 * gives subnormals their value without a branch.
 */
#include "model/tensor_data.h"

#include <assert.h>
#include <string.h>

#include "base/mapped_file.h"
#include "model/gguf_blocks.h"
#include "model/ternary.h"

static const struct {
    const char *name;
    uint32_t bytes;
    bool is_float;
} dtypes[RSR_DTYPE_COUNT] = {
    [RSR_DTYPE_F32] = {"f32", 4, true},  [RSR_DTYPE_BF16] = {"bf16", 2, true},
    [RSR_DTYPE_F16] = {"f16", 2, true},  [RSR_DTYPE_I8] = {"i8", 1, false},
    [RSR_DTYPE_U8] = {"u8", 1, false},   [RSR_DTYPE_I32] = {"i32", 4, false},
    [RSR_DTYPE_I64] = {"i64", 8, false},
};

struct rsrc_place rsrc_tensor_place(const struct rsr_tensor *tensor, uint64_t offset) {
    return (struct rsrc_place){.file = tensor->file,
                               .has_offset = true,
                               .offset = tensor->offset + offset,
                               .tensor = tensor->stored_name == NULL ? tensor->name
                                                                     : tensor->stored_name};
}

const char *rsrc_dtype_name(enum rsr_dtype dtype) {
    return dtypes[dtype].name;
}

uint32_t rsrc_dtype_bytes(enum rsr_dtype dtype) {
    return dtypes[dtype].bytes;
}

const char *rsrc_tensor_type_name(const struct rsr_tensor *tensor) {
    return tensor->blocks == RSR_BLOCKS_NONE ? rsrc_dtype_name(tensor->dtype)
                                             : rsrc_blocks_name(tensor->blocks);
}

bool rsrc_dtype_is_float(enum rsr_dtype dtype) {
    return dtypes[dtype].is_float;
}

void rsrc_release_tensor(const struct rsr_tensor *tensor, uint64_t at, uint64_t n_bytes) {
    if (tensor->is_mapped)
        rsrc_release_pages(tensor->data + at, n_bytes);
}

static inline float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float rsrc_bf16_to_f32(uint16_t bits) {
    return float_of_bits((uint32_t)bits << 16);
}

float rsrc_f16_to_f32(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    uint32_t magnitude = bits & 0x7fffu;
    uint32_t scaled;
    float value = float_of_bits(magnitude << 13) * 0x1p112f;

    memcpy(&scaled, &value, sizeof scaled);
    if (magnitude >= 0x7c00u) /* infinity, NaN with its payload */
        scaled = 0x7f800000u | (magnitude & 0x3ffu) << 13;
    return float_of_bits(sign | scaled);
}

void rsrc_load_floats(enum rsr_dtype dtype, const uint8_t *bytes, size_t n, float *out) {
    uint16_t half;

    assert(rsrc_dtype_is_float(dtype));
    switch (dtype) {
    case RSR_DTYPE_F32:
        memcpy(out, bytes, n * sizeof *out);
        break;
    case RSR_DTYPE_BF16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, bytes + 2 * i, sizeof half);
            out[i] = rsrc_bf16_to_f32(half);
        }
        break;
    case RSR_DTYPE_F16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, bytes + 2 * i, sizeof half);
            out[i] = rsrc_f16_to_f32(half);
        }
        break;
    case RSR_DTYPE_I8:
    case RSR_DTYPE_U8:
    case RSR_DTYPE_I32:
    case RSR_DTYPE_I64:
    case RSR_DTYPE_COUNT:
        break;
    }
}
