/* gguf_blocks.c - the ternary and binary types of GGUF as int8 values and multipliers.
 *
 * Weights are d * (-1, 0, 1). A block has this many weights of a row, and weight n of it is at:
 *   TQ2_0   256: bits 2i..2i+1 of byte 32 (n / 128) + n % 32, i = n % 128 / 32; d is float16 after
 *           them
 *   TQ1_0   256: bytes of base-3 digits, the first digit the most significant: a byte b holds them
 *           as a fraction b / 256, and digit i is the integer part of 3 frac(3^i b / 256). Bytes
 *           0-31 have 5 digits each, then 32-47, then 48-51 with 4; weights go digit by digit over
 *           each group; d is float16 after them
 *   PTQ1_0  128: TQ1_0 with 16, 8 and (of 4 digits) 2 bytes; d is float16 after them
 *   Q2_0    64: bits 2 (n % 4).. of byte n / 4; d is float16 before them
 *   PQ2_0   128: Q2_0's bits; d is float16 before them
 *   STQ1_0  256: of every four weights exactly one is 0; the four weights n = 64 c + g + 16 p, p =
 *           0..3, have number 16 c + g, which counts nibbles of bytes 0-31 and bits of bytes 32-39.
 *           A nibble is 4 z + 2 v + u: p = z is the 0; of the others the first is 1, the second -1
 *           if u, the third -1 if v; the bit negates all three; d is float16 after them
 *   Q1_0    128: bit n % 8 of byte n / 8, 1 for +d and 0 for -d; d is float16 before them
 *   I2_S    128 on x86, 64 on ARM: with a quarter q of that, bits 6 - 2 (n / q).. of byte n % q;
 *           one float32 d after the tensor's weights, then padding
 *   IQ2_BN  64: bits 2 (n / 16).. of byte n % 16; one float32 d before the row
 *   IQ1_BN  64: base 3 as in TQ1_0, but weights go byte by byte: 15 in three bytes, the 16th is
 *           digit n / 16 of byte 12; one float16 d before the row
 * Two bits are the weight plus one; code 3 is illegal. In TQ1_0 and PTQ1_0 only those bytes are
 * legal that writers round to: v 256 / 243, rounded up, for the digits' number v. Sources: ggml's
 * ggml-common.h and ggml-quants.c (TQ, Q), those of PrismML's fork (PQ, PTQ), llama.cpp's pull
 * request 22836 (STQ), BitNet's ggml-bitnet-mad.cpp (I2_S, built for activations in parallel, as
 * all published files were), ik_llama.cpp's iqk_quantize.cpp (BN).
 *
 * If all weights of a block are 0, any d is right, and writers put 0 there. Q1_0 has no code for 0:
 * with d = 0 its weights are 0. A scale tensor beside the weights is a further factor.
 *
 * Rows of interleaved heads: element j + p h / 2 of a head of h rows is stored as row 2 j + p.
 */
#include "model/gguf_blocks.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "model/tensor_data.h"
#include "model/ternary.h"

#define MAX_BLOCK 256u

/* ---- blocks ---------------------------------------------------------------------------------- */

/* What an unpacker found wrong; NULL: nothing. */
static const char CODE_3[] = "code 3 in a block stands for no ternary weight";
static const char BAD_DIGITS[] = "a byte of a block stands for no base-3 digits";

/* Unpacks two bits per weight from `n_bytes` bytes. Field i of byte number m is weight i * n_bytes
 * + m of the block. Fields are counted from the lowest bits, or, with `from_high`, from the
 * highest. */
static const char *unpack_fields(const uint8_t *bytes, uint32_t n_bytes, bool from_high,
                                 int8_t *values) {
    uint32_t threes = 0;
    for (uint32_t m = 0; m < n_bytes; m++)
        threes |= bytes[m] & (bytes[m] >> 1) & 0x55u;
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t shift = 2 * (from_high ? 3 - i : i);
        for (uint32_t m = 0; m < n_bytes; m++)
            *values++ = (int8_t)(((bytes[m] >> shift) & 3) - 1);
    }
    return threes == 0 ? NULL : CODE_3;
}

static const char *unpack_tq2_0(const uint8_t *bytes, int8_t *values) {
    const char *low = unpack_fields(bytes, 32, false, values);
    const char *high = unpack_fields(bytes + 32, 32, false, values + 128);
    return low != NULL ? low : high;
}

static const char *unpack_i2_s_x86(const uint8_t *bytes, int8_t *values) {
    return unpack_fields(bytes, 32, true, values);
}

static const char *unpack_i2_s_arm(const uint8_t *bytes, int8_t *values) {
    return unpack_fields(bytes, 16, true, values);
}

static const char *unpack_iq2_bn(const uint8_t *bytes, int8_t *values) {
    return unpack_fields(bytes, 16, false, values);
}

/* Four weights a byte, one after the other. */
static const char *unpack_pairs(const uint8_t *bytes, uint32_t n_bytes, int8_t *values) {
    uint32_t threes = 0;
    for (uint32_t m = 0; m < n_bytes; m++) {
        threes |= bytes[m] & (bytes[m] >> 1) & 0x55u;
        for (uint32_t i = 0; i < 4; i++)
            *values++ = (int8_t)(((bytes[m] >> (2 * i)) & 3) - 1);
    }
    return threes == 0 ? NULL : CODE_3;
}

static const char *unpack_q2_0(const uint8_t *bytes, int8_t *values) {
    return unpack_pairs(bytes, 16, values);
}

static const char *unpack_pq2_0(const uint8_t *bytes, int8_t *values) {
    return unpack_pairs(bytes, 32, values);
}

static const char *unpack_q1_0(const uint8_t *bytes, int8_t *values) {
    for (uint32_t n = 0; n < 128; n++)
        values[n] = (int8_t)((bytes[n / 8] >> (n % 8) & 1) * 2 - 1);
    return NULL;
}

static const char *unpack_stq1_0(const uint8_t *bytes, int8_t *values) {
    for (uint32_t four = 0; four < 64; four++) {
        const uint32_t nibble = bytes[four / 2] >> (4 * (four % 2)) & 15;
        const int32_t first = bytes[32 + four / 8] >> (four % 8) & 1 ? -1 : 1;
        const int8_t others[] = {(int8_t)first, (int8_t)(nibble & 1 ? -first : first),
                                 (int8_t)(nibble & 2 ? -first : first)};
        const int8_t *other = others;
        for (uint32_t p = 0; p < 4; p++)
            values[four / 16 * 64 + four % 16 + 16 * p] = p == nibble >> 2 ? 0 : *other++;
    }
    return NULL;
}

/* Digit i of a byte, minus one; `power` is 3^i. */
static int8_t digit_of(uint8_t byte, uint32_t power) {
    return (int8_t)(((uint8_t)(byte * power) * 3u >> 8) - 1);
}

static const uint32_t powers[] = {1, 3, 9, 27, 81};

/* n_bytes bytes of n_digits digits each: all first digits, then all second ones, and so on. The
 * digits after these are 0, and a byte is the least that has its digits, or the byte is illegal.
 * Both counts are constants where it is called, so that its loops become vector code. */
static inline bool unpack_digits(const uint8_t *bytes, uint32_t n_bytes, uint32_t n_digits,
                                 int8_t *values) {
    const uint32_t unused = 243 / (3 * powers[n_digits - 1]);
    bool legal = true;
    for (uint32_t m = 0; m < n_bytes; m++) {
        const uint32_t number = bytes[m] * 243u >> 8;
        legal &= number % unused == 0 && (number * 256 + 242) / 243 == bytes[m];
    }
    for (uint32_t digit = 0; digit < n_digits; digit++)
        for (uint32_t m = 0; m < n_bytes; m++)
            values[digit * n_bytes + m] = digit_of(bytes[m], powers[digit]);
    return legal;
}

static const char *unpack_tq1_0(const uint8_t *bytes, int8_t *values) {
    bool legal = unpack_digits(bytes, 32, 5, values);
    legal &= unpack_digits(bytes + 32, 16, 5, values + 160);
    legal &= unpack_digits(bytes + 48, 4, 4, values + 240);
    return legal ? NULL : BAD_DIGITS;
}

static const char *unpack_ptq1_0(const uint8_t *bytes, int8_t *values) {
    bool legal = unpack_digits(bytes, 16, 5, values);
    legal &= unpack_digits(bytes + 16, 8, 5, values + 80);
    legal &= unpack_digits(bytes + 24, 2, 4, values + 120);
    return legal ? NULL : BAD_DIGITS;
}

static const char *unpack_iq1_bn(const uint8_t *bytes, int8_t *values) {
    for (uint32_t sixteen = 0; sixteen < 4; sixteen++) {
        for (uint32_t n = 0; n < 15; n++)
            *values++ = digit_of(bytes[3 * sixteen + n / 5], powers[n % 5]);
        *values++ = digit_of(bytes[12], powers[sixteen]);
    }
    return NULL;
}

/* ---- formats --------------------------------------------------------------------------------- */

/* Where d is: one for a layer, after its weights; one for a row, before them; or in each block. */
enum scale_of { SCALE_OF_BLOCK, SCALE_OF_ROW, SCALE_OF_LAYER };

static const struct format {
    const char *name;
    uint32_t items, bytes; /* of a block, with its d if it has one; items 0: the type has no ternary
                              weights */
    uint32_t weights_at;   /* in a block */
    enum scale_of scale_of;
    enum rsr_dtype scale_dtype;
    uint32_t scale_at; /* in a block */
    const char *(*unpack)(const uint8_t *bytes, int8_t *values);
} formats[RSR_BLOCKS_COUNT] = {
    [RSR_BLOCKS_TQ1_0] = {"TQ1_0", 256, 54, 0, SCALE_OF_BLOCK, RSR_DTYPE_F16, 52, unpack_tq1_0},
    [RSR_BLOCKS_TQ2_0] = {"TQ2_0", 256, 66, 0, SCALE_OF_BLOCK, RSR_DTYPE_F16, 64, unpack_tq2_0},
    [RSR_BLOCKS_Q2_0] = {"Q2_0", 64, 18, 2, SCALE_OF_BLOCK, RSR_DTYPE_F16, 0, unpack_q2_0},
    [RSR_BLOCKS_Q2_0_G128] = {"PQ2_0", 128, 34, 2, SCALE_OF_BLOCK, RSR_DTYPE_F16, 0, unpack_pq2_0},
    [RSR_BLOCKS_PTQ1_0] = {"PTQ1_0", 128, 28, 0, SCALE_OF_BLOCK, RSR_DTYPE_F16, 26, unpack_ptq1_0},
    [RSR_BLOCKS_STQ1_0] = {"STQ1_0", 256, 42, 0, SCALE_OF_BLOCK, RSR_DTYPE_F16, 40, unpack_stq1_0},
    [RSR_BLOCKS_Q1_0] = {"Q1_0", 128, 18, 2, SCALE_OF_BLOCK, RSR_DTYPE_F16, 0, unpack_q1_0},
    [RSR_BLOCKS_I2_S_X86] = {"I2_S", 128, 32, 0, SCALE_OF_LAYER, RSR_DTYPE_F32, 0, unpack_i2_s_x86},
    [RSR_BLOCKS_I2_S_ARM] = {"I2_S", 64, 16, 0, SCALE_OF_LAYER, RSR_DTYPE_F32, 0, unpack_i2_s_arm},
    [RSR_BLOCKS_IQ1_BN] = {"IQ1_BN", 64, 13, 0, SCALE_OF_ROW, RSR_DTYPE_F16, 0, unpack_iq1_bn},
    [RSR_BLOCKS_IQ2_BN] = {"IQ2_BN", 64, 16, 0, SCALE_OF_ROW, RSR_DTYPE_F32, 0, unpack_iq2_bn},
    [RSR_BLOCKS_Q8_0] = {.name = "Q8_0"},
    [RSR_BLOCKS_Q6_K] = {.name = "Q6_K"},
};

const char *rsrc_blocks_name(enum rsr_blocks blocks) {
    return formats[blocks].name;
}

bool rsrc_blocks_are_ternary(enum rsr_blocks blocks) {
    return formats[blocks].items != 0;
}

/* One row of a layer, block by block; the offsets are in its tensor. */
struct row {
    const struct format *format;
    const uint8_t *data; /* the tensor's */
    uint64_t blocks_at, scale_at;
};

static struct row row_at(const struct rsr_layer *layer, uint32_t stored) {
    const struct format *format = &formats[layer->weight->blocks];
    const uint32_t head =
        format->scale_of == SCALE_OF_ROW ? rsrc_dtype_bytes(format->scale_dtype) : 0;
    const uint64_t stride = head + (uint64_t)(layer->cols / format->items) * format->bytes;
    const uint64_t begin = stored * stride;
    return (struct row){.format = format,
                        .data = layer->weight->data,
                        .blocks_at = begin + head,
                        .scale_at =
                            format->scale_of == SCALE_OF_LAYER ? layer->rows * stride : begin};
}

static uint64_t block_at(const struct row *row, uint32_t block) {
    return row->blocks_at + (uint64_t)block * row->format->bytes;
}

static uint64_t scale_at(const struct row *row, uint32_t block) {
    return row->format->scale_of == SCALE_OF_BLOCK ? block_at(row, block) + row->format->scale_at
                                                   : row->scale_at;
}

static float load_scale(const struct row *row, uint32_t block) {
    float scale;
    rsrc_load_floats(row->format->scale_dtype, row->data + scale_at(row, block), 1, &scale);
    return scale;
}

static const char *unpack_block(const struct row *row, uint32_t block, int8_t *values) {
    const struct format *format = row->format;
    const char *problem =
        format->unpack(row->data + block_at(row, block) + format->weights_at, values);
    if (format->unpack == unpack_q1_0 && load_scale(row, block) == 0.0f)
        memset(values, 0, format->items);
    return problem;
}

static uint32_t row_of(const struct rsr_layer *layer, uint32_t stored) {
    const uint32_t n_heads = layer->weight->interleaved_heads;
    if (layer->weight->row_order != NULL)
        return layer->weight->row_order[stored];
    if (n_heads == 0)
        return stored;
    const uint32_t head_rows = layer->rows / n_heads;
    const uint32_t in_head = stored % head_rows;
    return stored - in_head + in_head % 2 * (head_rows / 2) + in_head / 2;
}

static bool any_nonzero(const int8_t *values, uint32_t n) {
    uint8_t used = 0;
    for (uint32_t i = 0; i < n; i++)
        used |= (uint8_t)values[i];
    return used != 0;
}

/* ---- scales ---------------------------------------------------------------------------------- */

/* The scales found so far: of[row][group]; 0 if all its weights are 0. */
struct scales {
    float *of;
    uint32_t rows, groups; /* groups of a row */
    uint32_t group_cols;
};

/* Two groups can share a scale if their scales are equal, or one of them needs none. */
static bool can_share(float a, float b) {
    return a == b || a == 0.0f || b == 0.0f;
}

static bool can_halve(const struct scales *scales) {
    const float *of = scales->of;
    for (uint32_t r = 0; r < scales->rows; r++, of += scales->groups)
        for (uint32_t g = 0; g + 1 < scales->groups; g += 2)
            if (!can_share(of[g], of[g + 1]))
                return false;
    return scales->groups > 1;
}

/* Doubles the width of groups. */
static void halve(struct scales *scales) {
    const float *from = scales->of;
    float *to = scales->of;
    for (uint32_t r = 0; r < scales->rows; r++) {
        for (uint32_t g = 0; g < scales->groups; g += 2) {
            const float second = g + 1 < scales->groups ? from[g + 1] : 0.0f;
            *to++ = from[g] != 0.0f ? from[g] : second;
        }
        from += scales->groups;
    }
    scales->groups = scales->groups / 2 + scales->groups % 2;
    scales->group_cols *= 2;
}

/* One scale for all rows of one group, if they can share it. */
static void join_rows(struct scales *scales) {
    float all = 0.0f;
    for (uint32_t r = 0; r < scales->rows; r++) {
        if (!can_share(all, scales->of[r]))
            return;
        all = all != 0.0f ? all : scales->of[r];
    }
    scales->of[0] = all;
    scales->rows = 1;
}

static enum rsrc_status refuse_scale(struct rsrc_diag *diag, const struct rsr_tensor *tensor,
                                     uint64_t offset, const char *what, float scale) {
    const struct rsrc_place place = rsrc_tensor_place(tensor, offset);
    return rsrc_refuse(diag, "scale-value", &place,
                       "a weight scale is a finite number above zero; the checkpoint is damaged",
                       "%s %g", what, (double)scale);
}

/* If all weights are 0, the scale is 1. The product with the tensor's scale is rounded once.
 */
static enum rsrc_status finish_scales(struct rsrc_diag *diag, const struct rsr_layer *layer,
                                      const struct scales *scales, struct rsr_matrix *out) {
    float factor = 1.0f;
    if (layer->scale != NULL)
        rsrc_load_floats(layer->scale->dtype, layer->scale->data, 1, &factor);
    const uint32_t n = scales->rows * scales->groups;
    for (uint32_t i = 0; i < n; i++) {
        const double scale = scales->of[i] != 0.0f ? (double)scales->of[i] : 1.0;
        scales->of[i] = (float)(scale * (double)factor);
        if (!(scales->of[i] > 0.0f) || !isfinite(scales->of[i]))
            return refuse_scale(diag, layer->scale == NULL ? layer->weight : layer->scale, 0,
                                "with it, the scale of the layer is", scales->of[i]);
    }
    out->scale = scales->of;
    out->n_scales = n;
    out->group_cols = scales->groups == 1 ? 0 : scales->group_cols;
    return RSRC_OK;
}

/* ---- public ---------------------------------------------------------------------------------- */

/* Like unpack_block(), with the refusal. */
static enum rsrc_status unpack_legal(struct rsrc_diag *diag, const struct rsr_tensor *tensor,
                                     const struct row *row, uint32_t stored, uint32_t block,
                                     int8_t *values) {
    const char *problem = unpack_block(row, block, values);
    if (problem == NULL)
        return RSRC_OK;
    const struct rsrc_place place = rsrc_tensor_place(tensor, block_at(row, block));
    const uint32_t items = row->format->items;
    return rsrc_refuse(
        diag, "ternary-code", &place,
        problem == CODE_3 ? "codes 0, 1 and 2 stand for -1, 0 and 1; the file is damaged"
                          : "the 3^5 numbers of five digits have a byte each, which no other byte "
                            "stands for; the file is damaged",
        "%s (row %u, columns %u to %u)", problem, stored, block * items, block * items + items - 1);
}

/* Decodes the weights of one stored row, and the scales of its blocks. */
static enum rsrc_status decode_row(struct rsrc_diag *diag, const struct rsr_layer *layer,
                                   uint32_t stored, int8_t *values, float *scales) {
    const struct row row = row_at(layer, stored);
    const uint32_t items = row.format->items;
    for (uint32_t b = 0; b < layer->cols / items; b++, values += items) {
        if (unpack_legal(diag, layer->weight, &row, stored, b, values) != RSRC_OK)
            return RSRC_FAILED;
        if (!any_nonzero(values, items))
            continue;
        const float scale = load_scale(&row, b);
        if (!(scale > 0.0f) || !isfinite(scale))
            return refuse_scale(diag, layer->weight, scale_at(&row, b), "the scale of a block is",
                                scale);
        scales[row.format->scale_of == SCALE_OF_BLOCK ? b : 0] = scale;
    }
    return RSRC_OK;
}

/* Columns in another order than the file's move in groups of order_cols. Those are whole blocks, or
 * blocks are whole groups, whose scales then stand for as many columns as a group has. */
static enum rsrc_status check_order(struct rsrc_diag *diag, const struct rsr_tensor *tensor,
                                    uint32_t items) {
    if (tensor->col_order == NULL || tensor->order_cols % items == 0 ||
        items % tensor->order_cols == 0)
        return RSRC_OK;
    const struct rsrc_place place = rsrc_tensor_place(tensor, 0);
    return rsrc_refuse(diag, "gguf-delta", &place, "convert the model to PQ2_0, PTQ1_0 or Q2_0",
                       "blocks of %u weights of %s reach over heads of %u", items,
                       rsrc_blocks_name(tensor->blocks), tensor->order_cols);
}

static void order_cols(const struct rsr_layer *layer, const struct scales *scales,
                       const int8_t *stored, const float *stored_scales, int8_t *values,
                       float *row_scales) {
    const struct rsr_tensor *weight = layer->weight;
    const uint32_t n = weight->order_cols, items = formats[weight->blocks].items;
    for (uint32_t i = 0; i < layer->cols / n; i++) {
        const uint32_t to = weight->col_order[i] * n;
        memcpy(values + to, stored + i * n, n);
        if (scales->groups == 1)
            row_scales[0] = stored_scales[0];
        for (uint32_t c = 0; c < n && scales->groups > 1; c += scales->group_cols)
            row_scales[(to + c) / scales->group_cols] = stored_scales[(i * n + c) / items];
    }
}

enum rsrc_status rsrc_decode_blocks(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsr_layer *layer, int8_t *values,
                                    struct rsr_matrix *out) {
    const struct format *format = &formats[layer->weight->blocks];
    const struct rsr_tensor *weight = layer->weight;
    struct scales scales = {.rows = layer->rows, .groups = 1, .group_cols = layer->cols};
    int8_t *stored_values = NULL;
    float *stored_scales = NULL;
    if (check_order(diag, weight, format->items) != RSRC_OK)
        return RSRC_FAILED;
    if (format->scale_of == SCALE_OF_BLOCK) {
        const bool is_finer = weight->col_order != NULL && weight->order_cols < format->items;
        scales.group_cols = is_finer ? weight->order_cols : format->items;
        scales.groups = layer->cols / scales.group_cols;
    }
    if (weight->col_order != NULL) {
        stored_values = RSRC_NEW_ARRAY(arena, layer->cols, int8_t);
        stored_scales = RSRC_NEW_ARRAY(arena, layer->cols / format->items, float);
    }
    scales.of = RSRC_NEW_ARRAY(arena, (size_t)scales.rows * scales.groups, float);
    for (uint32_t stored = 0; stored < layer->rows; stored++) {
        const uint32_t row = row_of(layer, stored);
        int8_t *row_values = values + (uint64_t)row * layer->cols;
        float *row_scales = scales.of + (uint64_t)row * scales.groups;
        if (stored_values == NULL) {
            if (decode_row(diag, layer, stored, row_values, row_scales) != RSRC_OK)
                return RSRC_FAILED;
            continue;
        }
        memset(stored_scales, 0, layer->cols / format->items * sizeof(*stored_scales));
        if (decode_row(diag, layer, stored, stored_values, stored_scales) != RSRC_OK)
            return RSRC_FAILED;
        order_cols(layer, &scales, stored_values, stored_scales, row_values, row_scales);
    }
    while (can_halve(&scales))
        halve(&scales);
    if (scales.groups == 1)
        join_rows(&scales);
    return finish_scales(diag, layer, &scales, out);
}

void rsrc_find_zero_block_rows(const struct rsr_layer *layer, uint8_t *zero) {
    int8_t values[MAX_BLOCK];
    for (uint32_t stored = 0; stored < layer->rows; stored++) {
        const struct row row = row_at(layer, stored);
        bool used = false;
        for (uint32_t b = 0; b < layer->cols / row.format->items; b++)
            used |= unpack_block(&row, b, values) != NULL || any_nonzero(values, row.format->items);
        zero[row_of(layer, stored)] = !used;
    }
}

bool rsrc_can_expand_blocks(enum rsr_blocks blocks) {
    return formats[blocks].items != 0 && formats[blocks].scale_of == SCALE_OF_BLOCK;
}

struct rsr_tensor rsrc_expanded(const struct rsr_tensor *tensor) {
    struct rsr_tensor floats = *tensor;
    floats.dtype = RSR_DTYPE_F16;
    floats.blocks = RSR_BLOCKS_NONE;
    floats.size_bytes = tensor->shape[0] * tensor->shape[1] * sizeof(uint16_t);
    floats.data = NULL;
    floats.is_mapped = false;
    return floats;
}

/* Weights -1, 0 and 1 of a block as floats; d has the bits of its scale. */
static void scale_block(const int8_t *values, uint32_t n, uint16_t d, uint16_t *out) {
    const uint16_t floats[3] = {d == 0 ? 0 : d ^ 0x8000, 0, d};
    for (uint32_t i = 0; i < n; i++)
        out[i] = floats[values[i] + 1];
}

enum rsrc_status rsrc_expand_rows(struct rsrc_diag *diag, const struct rsr_tensor *tensor,
                                  uint32_t first, uint32_t n, uint16_t *out) {
    const struct rsr_layer layer = {
        .weight = tensor, .rows = (uint32_t)tensor->shape[0], .cols = (uint32_t)tensor->shape[1]};
    const uint32_t items = formats[tensor->blocks].items;
    for (uint32_t r = first; r < first + n; r++) {
        const struct row row = row_at(&layer, r);
        for (uint32_t b = 0; b < layer.cols / items; b++, out += items) {
            int8_t values[MAX_BLOCK];
            uint16_t d;
            memcpy(&d, row.data + scale_at(&row, b), sizeof(d));
            if (!isfinite(load_scale(&row, b))) {
                const struct rsrc_place place = rsrc_tensor_place(tensor, scale_at(&row, b));
                return rsrc_refuse(diag, "tensor-not-finite", &place, "the file is damaged",
                                   "the scale of a block is not a finite number");
            }
            if (unpack_legal(diag, tensor, &row, r, b, values) != RSRC_OK)
                return RSRC_FAILED;
            scale_block(values, items, d, out);
        }
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_expand_blocks(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsr_tensor *tensor, struct rsr_tensor *out) {
    const uint32_t rows = (uint32_t)tensor->shape[0], cols = (uint32_t)tensor->shape[1];
    uint16_t *floats = rsrc_arena_array(arena, rows, cols * sizeof(*floats));
    *out = rsrc_expanded(tensor);
    out->data = (const uint8_t *)floats;
    return rsrc_expand_rows(diag, tensor, 0, rows, floats);
}
