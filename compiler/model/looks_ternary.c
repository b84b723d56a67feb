/* looks_ternary.c - see looks_ternary.h. */
#include "model/looks_ternary.h"

#include <math.h>

#include "model/tensor_data.h"

#define RUN 32u
/* Columns converted at a time. */
#define CHUNK 1024u

static bool has_one_magnitude(const float *values, uint32_t n) {
    float magnitude = 0.0f;

    for (uint32_t i = 0; i < n; i++) {
        const float a = fabsf(values[i]);
        if (a == 0.0f)
            continue;
        if (magnitude == 0.0f)
            magnitude = a;
        if (!(a == magnitude)) /* a NaN is equal to nothing */
            return false;
    }
    return true;
}

bool rsrc_looks_ternary(const struct rsr_tensor *tensor) {
    if (tensor->n_dims != 2 || !rsrc_dtype_is_float(tensor->dtype))
        return false;
    const uint64_t rows = tensor->shape[0], cols = tensor->shape[1];
    const uint32_t bytes = rsrc_dtype_bytes(tensor->dtype);
    float chunk[CHUNK];

    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t begin = 0; begin < cols; begin += CHUNK) {
            const uint32_t n = (uint32_t)(cols - begin < CHUNK ? cols - begin : CHUNK);
            rsrc_load_floats(tensor->dtype, tensor->data + (r * cols + begin) * bytes, n, chunk);
            for (uint32_t i = 0; i < n; i += RUN)
                if (!has_one_magnitude(chunk + i, n - i < RUN ? n - i : RUN))
                    return false;
        }
    return true;
}
