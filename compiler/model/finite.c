/* finite.c - looks for NaN and infinity in float tensors, a 64-bit word of elements at a time.
 *
 * In all three formats these are the values whose exponent bits are all ones. After all other bits
 * are masked, adding the lowest exponent bit carries into the sign's place exactly for these
 * values, and never beyond the lane. (657 MB of bfloat16, an embedding of 128256 x 2560, takes 0.1
 * s.)
 */
#include "model/finite.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mapped_file.h"
#include "model/tensor_data.h"

/* One element's constants, repeated over the word. */
struct lanes {
    uint64_t exponent, lowest, sign;
};

static struct lanes lanes_of(enum rsr_dtype dtype) {
    const uint64_t every16 = UINT64_C(0x0001000100010001), every32 = UINT64_C(0x0000000100000001);
    switch (dtype) {
    case RSR_DTYPE_F32:
        return (struct lanes){0x7f800000 * every32, 0x00800000 * every32, 0x80000000 * every32};
    case RSR_DTYPE_BF16:
        return (struct lanes){0x7f80 * every16, 0x0080 * every16, 0x8000 * every16};
    case RSR_DTYPE_F16:
        return (struct lanes){0x7c00 * every16, 0x0400 * every16, 0x8000 * every16};
    case RSR_DTYPE_I8:
    case RSR_DTYPE_U8:
    case RSR_DTYPE_I32:
    case RSR_DTYPE_I64:
    case RSR_DTYPE_COUNT:
        break;
    }
    return (struct lanes){0};
}

static bool piece_is_finite(const struct lanes lanes, const uint8_t *bytes, size_t n_bytes) {
    uint64_t found = 0, word;
    size_t at = 0;
    for (; at + sizeof word <= n_bytes; at += sizeof word) {
        memcpy(&word, bytes + at, sizeof word);
        found |= (word & lanes.exponent) + lanes.lowest;
    }
    word = 0;
    memcpy(&word, bytes + at, n_bytes - at);
    found |= (word & lanes.exponent) + lanes.lowest;
    return (found & lanes.sign) == 0;
}

static bool all_finite(const struct rsr_tensor *tensor, uint64_t n_bytes) {
    const struct lanes lanes = lanes_of(tensor->dtype);
    struct rsrc_pieces pieces = {tensor->data, n_bytes, tensor->is_mapped, 0};
    bool finite = true;
    while (rsrc_next_piece(&pieces))
        finite &= piece_is_finite(lanes, pieces.bytes, pieces.n_bytes);
    return finite;
}

static void report_first(struct rsrc_diag *diag, const struct rsr_tensor *tensor) {
    const uint32_t bytes = rsrc_dtype_bytes(tensor->dtype);
    float value;
    uint64_t at = 0;
    for (;; at++) { /* there is one */
        rsrc_load_floats(tensor->dtype, tensor->data + at * bytes, 1, &value);
        if (!isfinite(value))
            break;
    }
    const struct rsrc_place place = rsrc_tensor_place(tensor, at * bytes);
    rsrc_error(diag, "tensor-not-finite", &place, "the checkpoint is damaged or training diverged",
               "element %" PRIu64 " is %s", at, isnan(value) ? "NaN" : "infinite");
}

enum rsrc_status rsrc_check_finite(struct rsrc_diag *diag, const struct rsr_tensor *tensor,
                                   uint64_t n) {
    assert(rsrc_dtype_is_float(tensor->dtype));
    if (all_finite(tensor, n * rsrc_dtype_bytes(tensor->dtype)))
        return RSRC_OK;
    report_first(diag, tensor);
    return RSRC_FAILED;
}
