/* gguf_blocks.c - the ternary blocks of GGUF as int8 values and one multiplier.
 *
 * A block is 256 weights of a row, then their scale d as float16; the weights are d * (-1, 0, 1).
 *   TQ2_0  weight n is bits 2i..2i+1 of byte 32 (n / 128) + n % 32, i = n % 128 / 32, plus one;
 *          code 3 is illegal
 *   TQ1_0  bytes of base-3 digits, the first digit the most significant: a byte b holds them as a
 *          fraction b / 256, and digit i is the integer part of 3 frac(3^i b / 256). Bytes 0-31 have 5
 *          digits each, then 32-47, then 48-51 with 4; weights go digit by digit over each group.
 * A layer has one multiplier, so all blocks must agree on d; a block whose weights are all 0 says
 * nothing, and writers put 0 there. A scale tensor beside the weights multiplies on top.
 *
 * Rows of interleaved heads: element j + p h / 2 of a head of h rows is stored as row 2 j + p.
 */
#include "model/gguf_blocks.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "model/tensor_data.h"
#include "model/ternary.h"

#define BLOCK 256u

/* Unpacks a block; false: it holds a code that stands for no weight. */
static bool unpack_tq2_0(const uint8_t *bytes, int8_t *values) {
    uint32_t threes = 0;
    for (uint32_t half = 0; half < 2; half++, bytes += 32, values += 128) {
        for (uint32_t m = 0; m < 32; m++) {
            threes |= bytes[m] & (bytes[m] >> 1) & 0x55u;
            for (uint32_t i = 0; i < 4; i++)
                values[32 * i + m] = (int8_t)(((bytes[m] >> (2 * i)) & 3) - 1);
        }
    }
    return threes == 0;
}

static bool unpack_tq1_0(const uint8_t *bytes, int8_t *values) {
    static const struct { uint32_t n_bytes, n_digits; } groups[] = {{32, 5}, {16, 5}, {4, 4}};
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        uint32_t power = 1;
        for (uint32_t digit = 0; digit < groups[g].n_digits; digit++, power *= 3)
            for (uint32_t m = 0; m < groups[g].n_bytes; m++)
                *values++ = (int8_t)(((uint8_t)(bytes[m] * power) * 3u >> 8) - 1);
        bytes += groups[g].n_bytes;
    }
    return true;
}

static const struct format {
    const char *name;
    uint32_t bytes, scale_at;
    bool (*unpack)(const uint8_t *bytes, int8_t *values);
} formats[] = {
    [RSR_BLOCKS_TQ1_0] = {"TQ1_0", 54, 52, unpack_tq1_0},
    [RSR_BLOCKS_TQ2_0] = {"TQ2_0", 66, 64, unpack_tq2_0},
};

const char *rsrc_blocks_name(enum rsr_blocks blocks) {
    return formats[blocks].name;
}

static uint32_t row_of(const struct rsr_layer *layer, uint32_t stored) {
    const uint32_t n_heads = layer->weight->interleaved_heads;
    if (n_heads == 0)
        return stored;
    const uint32_t head_rows = layer->rows / n_heads;
    const uint32_t in_head = stored % head_rows;
    return stored - in_head + in_head % 2 * (head_rows / 2) + in_head / 2;
}

static bool any_nonzero(const int8_t *values) {
    uint8_t used = 0;
    for (uint32_t i = 0; i < BLOCK; i++)
        used |= (uint8_t)values[i];
    return used != 0;
}

/* ---- scales --------------------------------------------------------------------------------- */

/* The scale that blocks agreed on so far. */
struct agreed {
    bool is_known;
    uint16_t bits;
};

static enum rsrc_status agree(struct rsrc_diag *diag, const struct rsr_tensor *tensor,
                              uint64_t offset, struct agreed *agreed) {
    uint16_t bits;
    memcpy(&bits, tensor->data + offset, sizeof bits);
    const float scale = rsrc_f16_to_f32(bits);
    const struct rsrc_place place = rsrc_tensor_place(tensor, offset);
    if (!(scale > 0.0f) || !isfinite(scale)) {
        rsrc_error(diag, "scale-value", &place,
                   "a weight scale is a finite number above zero; the checkpoint is damaged",
                   "the scale of a block is %g", (double)scale);
        return RSRC_FAILED;
    }
    if (agreed->is_known && bits != agreed->bits) {
        rsrc_error(diag, "gguf-scales", &place,
                   "one scale a tensor is supported, not one a group of weights",
                   "the scale of a block is %g, that of blocks before it %g", (double)scale,
                   (double)rsrc_f16_to_f32(agreed->bits));
        return RSRC_FAILED;
    }
    *agreed = (struct agreed){.is_known = true, .bits = bits};
    return RSRC_OK;
}

/* The product is rounded once. */
static enum rsrc_status find_multiplier(struct rsrc_diag *diag, const struct rsr_layer *layer,
                                        const struct agreed *agreed, float *multiplier) {
    float scale = 1.0f; /* without a weight that is not 0, any is right */
    if (agreed->is_known)
        scale = rsrc_f16_to_f32(agreed->bits);
    if (layer->scale) {
        float factor;
        rsrc_load_floats(layer->scale->dtype, layer->scale->data, 1, &factor);
        scale = (float)((double)scale * (double)factor);
    }
    if (scale > 0.0f && isfinite(scale)) {
        *multiplier = scale;
        return RSRC_OK;
    }
    const struct rsrc_place place = rsrc_tensor_place(layer->scale, 0);
    rsrc_error(diag, "scale-value", &place,
               "a weight scale is a finite number above zero; the checkpoint is damaged",
               "with it, the scale of the layer is %g", (double)scale);
    return RSRC_FAILED;
}

/* ---- public --------------------------------------------------------------------------------- */

enum rsrc_status rsrc_decode_blocks(struct rsrc_diag *diag, const struct rsr_layer *layer,
                                    int8_t *values, float *multiplier) {
    const struct format *format = &formats[layer->weight->blocks];
    struct agreed agreed = {0};
    uint64_t offset = 0;
    for (uint32_t stored = 0; stored < layer->rows; stored++) {
        int8_t *row = values + (uint64_t)row_of(layer, stored) * layer->cols;
        for (uint32_t c = 0; c < layer->cols; c += BLOCK, offset += format->bytes) {
            if (!format->unpack(layer->weight->data + offset, row + c)) {
                const struct rsrc_place place = rsrc_tensor_place(layer->weight, offset);
                rsrc_error(diag, "ternary-code", &place,
                           "codes 0, 1 and 2 stand for -1, 0 and 1; the file is damaged",
                           "code 3 in a block stands for no ternary weight (row %u, columns %u to "
                           "%u)",
                           stored, c, c + BLOCK - 1);
                return RSRC_FAILED;
            }
            if (any_nonzero(row + c) &&
                agree(diag, layer->weight, offset + format->scale_at, &agreed) != RSRC_OK)
                return RSRC_FAILED;
        }
    }
    return find_multiplier(diag, layer, &agreed, multiplier);
}

void rsrc_find_zero_block_rows(const struct rsr_layer *layer, uint8_t *zero) {
    const struct format *format = &formats[layer->weight->blocks];
    const uint8_t *bytes = layer->weight->data;
    int8_t values[BLOCK];
    for (uint32_t stored = 0; stored < layer->rows; stored++) {
        bool used = false;
        for (uint32_t c = 0; c < layer->cols; c += BLOCK, bytes += format->bytes)
            used |= !format->unpack(bytes, values) || any_nonzero(values);
        zero[row_of(layer, stored)] = !used;
    }
}
