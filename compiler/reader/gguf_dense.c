/* gguf_dense.c - embeddings and heads of types Q8_0 and Q6_K as float32. (model/gguf_blocks.c
 * expands ternary embeddings.)
 *
 *   Q8_0  32 weights: float16 d, then 32 int8 q; a weight is d q
 *   Q6_K  256 weights: 128 bytes with the low 4 bits of q + 32, 64 with its high 2 bits, 16 int8
 *         scales s, one for 16 weights, float16 d; a weight is (d s) q. In each half of the block
 *         weight n is in the bytes n % 64 and n % 32, in the low bits first: nibble n / 64, pair n
 *         / 32
 *
 * The products are those of ggml, in float32 and in its order, so that an embedding has equal
 * values in both. d q has 19 bits, so it needs float32: in a module these tensors take 3.8 times
 * their bytes in the file (Q6_K: 4.9 times), 1.3 GB for 128256 tokens of 2560. A runtime that
 * multiplied the blocks directly would read less for the head, but its sums would differ from those
 * of models in safetensors. By default converters keep embedding and head in float16.
 */
#include "reader/gguf_dense.h"

#include <math.h>
#include <string.h>

#define Q8_ITEMS 32u
#define Q8_BYTES 34u
#define Q6_ITEMS 256u
#define Q6_BYTES 210u
#define Q6_HIGH_AT 128u
#define Q6_SCALES_AT 192u
#define Q6_D_AT 208u

static float load_half(const uint8_t *bytes) {
    const uint32_t bits = bytes[0] | (uint32_t)bytes[1] << 8;
    const int exponent = (int)(bits >> 10 & 31), mantissa = (int)(bits & 1023);
    float value = ldexpf((float)(exponent == 0 ? mantissa : mantissa + 1024),
                         exponent == 0 ? -24 : exponent - 25);
    if (exponent == 31)
        value = mantissa == 0 ? INFINITY : NAN;
    return (bits & 0x8000) != 0 ? -value : value;
}

static void expand_q8_0(const uint8_t *block, float d, float *out) {
    for (uint32_t n = 0; n < Q8_ITEMS; n++)
        out[n] = (float)(int8_t)block[2 + n] * d;
}

static void expand_q6_k(const uint8_t *block, float d, float *out) {
    for (uint32_t half = 0; half < 2; half++) {
        const uint8_t *low = block + 64 * half, *high = block + Q6_HIGH_AT + 32 * half;
        const uint8_t *scales = block + Q6_SCALES_AT + 8 * half;
        for (uint32_t n = 0; n < Q6_ITEMS / 2; n++) {
            const int code =
                (low[n % 64] >> (4 * (n / 64)) & 15) | (high[n % 32] >> (2 * (n / 32)) & 3) << 4;
            *out++ = d * (float)(int8_t)scales[n / 16] * (float)(code - 32);
        }
    }
}

static const struct dense_type {
    enum rsr_blocks blocks;
    uint32_t items, bytes, d_at;
    void (*expand)(const uint8_t *block, float d, float *out);
} TYPES[] = {
    {RSR_BLOCKS_Q8_0, Q8_ITEMS, Q8_BYTES, 0, expand_q8_0},
    {RSR_BLOCKS_Q6_K, Q6_ITEMS, Q6_BYTES, Q6_D_AT, expand_q6_k},
};

static enum rsrc_status refuse(struct rsrc_diag *diag, const struct rsr_tensor *tensor,
                               uint64_t offset, const char *slug, const char *problem) {
    const struct rsrc_place place = {.file = tensor->file,
                                     .has_offset = true,
                                     .offset = tensor->offset + offset,
                                     .tensor = tensor->stored_name};
    return rsrc_refuse(diag, slug, &place, "the file is damaged", "%s", problem);
}

static enum rsrc_status expand_blocks(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct dense_type *type, struct rsr_tensor *tensor) {
    const size_t n_blocks = (size_t)(tensor->size_bytes / type->bytes);
    float *values = rsrc_arena_array(arena, n_blocks, type->items * sizeof(*values));
    for (size_t i = 0; i < n_blocks; i++) {
        const uint8_t *block = tensor->data + i * type->bytes;
        const float d = load_half(block + type->d_at);
        if (!isfinite(d)) /* else no product is too large */
            return refuse(diag, tensor, i * type->bytes, "tensor-not-finite",
                          "the scale of a block is not a finite number");
        type->expand(block, d, values + i * type->items);
    }
    tensor->dtype = RSR_DTYPE_F32;
    tensor->blocks = RSR_BLOCKS_NONE;
    tensor->size_bytes = (uint64_t)n_blocks * type->items * sizeof(*values);
    tensor->data = (const uint8_t *)values;
    return RSRC_OK;
}

bool rsrc_gguf_is_ternary_dense(const struct rsr_tensor *tensor) {
    return tensor->blocks != RSR_BLOCKS_NONE && tensor->blocks != RSR_BLOCKS_Q8_0 &&
           tensor->blocks != RSR_BLOCKS_Q6_K;
}

enum rsrc_status rsrc_gguf_expand(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  struct rsr_tensor *tensor) {
    for (size_t i = 0; i < sizeof(TYPES) / sizeof(TYPES[0]); i++)
        if (TYPES[i].blocks == tensor->blocks)
            return expand_blocks(diag, arena, &TYPES[i], tensor);
    return RSRC_OK;
}
