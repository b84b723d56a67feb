/* ternary.c - one linear layer as int8 values and a multiplier, whatever its encoding.
 *
 * Encodings (ir.h, enum rsr_encoding)
 *   PACKED2  uint8 [R, in], R = ceil(out / 4): bits 2i..2i+1 of byte (r, c) are weight (i*R + r, c)
 *            plus one. Code 3 is illegal. Rows i*R + r >= out do not exist: their codes must be 0
 *            (the packer's zeroed byte) or 1 (a zero weight).
 *   BYTES    [out, in] of 0, 1, and 255 or -1.
 *   LATENT   float masters [out, in], quantised as transformers' AutoBitLinear does online. It
 *            works in float32 whatever the masters are stored as, so the reference is the model
 *            loaded in float32: s = 1 / max(mean|W|, 1e-5), t = clamp(round_half_even(W s), -1, 1),
 *            and the layer multiplies by 1 / s, all in float32. The mean of float32 numbers depends
 *            on the order of the additions, which a framework does not promise; here it is summed
 *            in double in eight lanes (column mod 8) and rounded once, so it is the correctly
 *            rounded mean with a probability of 1 - 1e-9. A framework's own mean may differ in the
 *            last bit; a weight within one rounding of s W = +-0.5 could then fall on the other
 *            side.
 *   VALUES   floats that are already ternary times a scale: model/ternary_values.c.
 *   BLOCKS   the blocks of GGUF: model/gguf_blocks.c, which finds the multipliers too.
 *
 * Multiplier: MULTIPLY is weight_scale itself, DIVIDE its inverse, ONLINE 1 / s. A layer's alphabet
 * is always ternary; a bare matrix gets the smallest alphabet that has its values.
 */
#include "model/ternary.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "model/finite.h"
#include "model/gguf_blocks.h"
#include "model/tensor_data.h"
#include "model/ternary_values.h"

#define CODES_PER_BYTE 4u

/* Floats converted at a time: 4 KiB of float32 stay in the first-level cache. */
#define CHUNK 1024u

/* ---- packed, four codes a byte --------------------------------------------------------------- */

/* Turns codes 0, 1, 2 into bytes 255, 0, 1, eight at a time. The guard bit keeps each byte's borrow
 * inside the byte. */
static inline uint64_t codes_to_values(uint64_t codes) {
    const uint64_t guard = UINT64_C(0x8080808080808080);

    return ((codes | guard) - UINT64_C(0x0101010101010101)) ^ guard;
}

/* Unpacks one packed row into `n` rows of `cols` values. Returns non-zero if any code is 3. */
static uint64_t unpack_row(const uint8_t *packed, uint32_t cols, uint32_t n,
                           int8_t *const rows[CODES_PER_BYTE]) {
    const uint64_t low_pairs = UINT64_C(0x5555555555555555), pair = UINT64_C(0x0303030303030303);
    uint64_t threes = 0;
    uint32_t c = 0;

    for (; c + 8 <= cols; c += 8) {
        uint64_t bytes, values;

        memcpy(&bytes, packed + c, sizeof bytes);
        threes |= bytes & (bytes >> 1) & low_pairs;
        for (uint32_t i = 0; i < n; i++) {
            values = codes_to_values((bytes >> (2 * i)) & pair);
            memcpy(rows[i] + c, &values, sizeof values);
        }
    }
    for (; c < cols; c++) {
        threes |= packed[c] & (packed[c] >> 1) & 0x55u;
        for (uint32_t i = 0; i < n; i++)
            rows[i][c] = (int8_t)(((packed[c] >> (2 * i)) & 3) - 1);
    }
    return threes;
}

/* Names the first byte with an illegal code; there is one in this packed row. */
static void report_code_3(struct rsrc_diag *diag, const struct rsr_layer *layer, uint32_t row,
                          uint32_t n_packed_rows) {
    const uint8_t *packed = layer->weight->data + (uint64_t)row * layer->cols;
    uint32_t c = 0, i = 0;

    while (!(packed[c] & (packed[c] >> 1) & 0x55u))
        c++;
    while (((packed[c] >> (2 * i)) & 3) != 3)
        i++;
    struct rsrc_place place = rsrc_tensor_place(layer->weight, (uint64_t)row * layer->cols + c);
    rsrc_error(diag, "ternary-code", &place,
               "a packed byte holds four codes 0, 1, 2 (weight + 1); the file is damaged or not "
               "packed in this way",
               "code 3 in byte 0x%02x stands for no ternary weight (row %" PRIu64 ", column %u)",
               packed[c], (uint64_t)i * n_packed_rows + row, c);
}

/* Checks codes of rows that do not exist. */
static enum rsrc_status check_padding(struct rsrc_diag *diag, const struct rsr_layer *layer,
                                      uint32_t row, uint32_t n_real) {
    const uint8_t *packed = layer->weight->data + (uint64_t)row * layer->cols;

    for (uint32_t c = 0; c < layer->cols; c++) {
        if (((packed[c] >> (2 * n_real)) & 0xaau) == 0)
            continue;
        struct rsrc_place place = rsrc_tensor_place(layer->weight, (uint64_t)row * layer->cols + c);
        return rsrc_refuse(diag, "ternary-padding", &place,
                           "the shape in config.json and the packed tensor disagree about the rows",
                           "byte 0x%02x holds a weight for a row beyond the %u rows of the layer",
                           packed[c], layer->rows);
    }
    return RSRC_OK;
}

static enum rsrc_status decode_packed(struct rsrc_diag *diag, const struct rsr_layer *layer,
                                      int8_t *values) {
    uint32_t n_packed_rows = layer->rows / CODES_PER_BYTE + (layer->rows % CODES_PER_BYTE != 0);

    for (uint32_t r = 0; r < n_packed_rows; r++) {
        int8_t *rows[CODES_PER_BYTE] = {0};
        uint32_t n_real = 0;

        for (; n_real < CODES_PER_BYTE; n_real++) {
            uint64_t row = (uint64_t)n_real * n_packed_rows + r;
            if (row >= layer->rows)
                break;
            rows[n_real] = values + row * layer->cols;
        }
        if (unpack_row(layer->weight->data + (uint64_t)r * layer->cols, layer->cols, n_real,
                       rows)) {
            report_code_3(diag, layer, r, n_packed_rows);
            return RSRC_FAILED;
        }
        if (n_real < CODES_PER_BYTE && check_padding(diag, layer, r, n_real) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

/* ---- one value a byte ------------------------------------------------------------------------ */

/* The legal bytes 255, 0, 1 become 0, 1, 2 by adding one. */
static enum rsrc_status decode_bytes(struct rsrc_diag *diag, const struct rsr_tensor *tensor,
                                     uint64_t n, int8_t *values) {
    uint8_t largest = 0;

    memcpy(values, tensor->data, n);
    for (uint64_t i = 0; i < n; i++) {
        uint8_t shifted = (uint8_t)(tensor->data[i] + 1u);
        largest = shifted > largest ? shifted : largest;
    }
    if (largest <= 2)
        return RSRC_OK;

    uint64_t at = 0;
    while ((uint8_t)(tensor->data[at] + 1u) <= 2)
        at++;
    struct rsrc_place place = rsrc_tensor_place(tensor, at);
    return rsrc_refuse(diag, "ternary-value", &place,
                       "weights stored as bytes are 0, 1 and 255 (or -1)",
                       "byte 0x%02x is not a ternary weight", tensor->data[at]);
}

/* ---- float masters --------------------------------------------------------------------------- */

/* Sum of magnitudes in eight double lanes. */
static double sum_magnitudes(const struct rsr_tensor *tensor, uint64_t n) {
    uint32_t bytes = rsrc_dtype_bytes(tensor->dtype);
    float chunk[CHUNK];
    double lanes[8] = {0};

    for (uint64_t begin = 0; begin < n; begin += CHUNK) {
        uint32_t count = (uint32_t)(n - begin < CHUNK ? n - begin : CHUNK);

        rsrc_load_floats(tensor->dtype, tensor->data + begin * bytes, count, chunk);
        memset(chunk + count, 0, (CHUNK - count) * sizeof *chunk);
        for (uint32_t i = 0; i < CHUNK; i += 8)
            for (uint32_t lane = 0; lane < 8; lane++)
                lanes[lane] += (double)fabsf(chunk[i + lane]);
    }
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
           ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

/* Rounding half to even and clamping to -1..1 is comparing with one half: +-0.5 itself goes to
 * 0. */
static void round_to_ternary(const struct rsr_tensor *tensor, uint64_t n, float s, int8_t *values) {
    uint32_t bytes = rsrc_dtype_bytes(tensor->dtype);
    float chunk[CHUNK];

    for (uint64_t begin = 0; begin < n; begin += CHUNK) {
        uint32_t count = (uint32_t)(n - begin < CHUNK ? n - begin : CHUNK);

        rsrc_load_floats(tensor->dtype, tensor->data + begin * bytes, count, chunk);
        for (uint32_t i = 0; i < count; i++) {
            float scaled = chunk[i] * s;
            values[begin + i] = (int8_t)((scaled > 0.5f) - (scaled < -0.5f));
        }
    }
}

/* The scale s of a tensor's n weights. */
static float latent_factor(const struct rsr_tensor *tensor, uint64_t n) {
    float mean = (float)(sum_magnitudes(tensor, n) / (double)n);

    return 1.0f / (mean > 1e-5f ? mean : 1e-5f);
}

static enum rsrc_status decode_latent(struct rsrc_diag *diag, const struct rsr_tensor *tensor,
                                      uint64_t n, int8_t *values, float *scale) {
    if (rsrc_check_finite(diag, tensor, n) != RSRC_OK)
        return RSRC_FAILED;
    float s = latent_factor(tensor, n);
    round_to_ternary(tensor, n, s, values);
    *scale = 1.0f / s;
    return RSRC_OK;
}

/* ---- scales ---------------------------------------------------------------------------------- */

static enum rsrc_status decode_scale(struct rsrc_diag *diag, const struct rsr_layer *layer,
                                     float *multiplier) {
    const struct rsr_tensor *tensor = layer->scale;
    struct rsrc_place place = rsrc_tensor_place(tensor, 0);
    float stored;

    rsrc_load_floats(tensor->dtype, tensor->data, 1, &stored);
    float value = layer->scale_rule == RSR_SCALE_DIVIDE ? (float)(1.0 / (double)stored) : stored;
    if (stored > 0.0f && isfinite(stored) && value > 0.0f && isfinite(value)) {
        *multiplier = value;
        return RSRC_OK;
    }
    return rsrc_refuse(diag, "scale-value", &place,
                       "a weight scale is a finite number above zero; the checkpoint is damaged",
                       "the weight scale is %g", (double)stored);
}

/* ---- rows of zeros --------------------------------------------------------------------------- */

/* Checks four rows at a time: a byte of zero weights has code 1 in every field. */
static void find_zero_packed(const struct rsr_layer *layer, uint8_t *zero) {
    uint32_t n_packed_rows = layer->rows / CODES_PER_BYTE + (layer->rows % CODES_PER_BYTE != 0);

    for (uint32_t r = 0; r < n_packed_rows; r++) {
        const uint8_t *packed = layer->weight->data + (uint64_t)r * layer->cols;
        uint8_t used = 0;

        for (uint32_t c = 0; c < layer->cols; c++)
            used |= packed[c] ^ 0x55u;
        for (uint64_t i = 0; i < CODES_PER_BYTE && i * n_packed_rows + r < layer->rows; i++)
            zero[i * n_packed_rows + r] = (used >> (2 * i) & 3) == 0;
    }
}

static void find_zero_bytes(const struct rsr_layer *layer, uint8_t *zero) {
    for (uint32_t r = 0; r < layer->rows; r++) {
        const uint8_t *row = layer->weight->data + (uint64_t)r * layer->cols;
        uint8_t used = 0;

        for (uint32_t c = 0; c < layer->cols; c++)
            used |= row[c];
        zero[r] = used == 0;
    }
}

/* Flags rows in which no weight times the factor exceeds the threshold. A threshold of 0.5 means
 * that weights round to zero, as in round_to_ternary(); 0 means that stored values are zero. */
static void find_zero_floats(const struct rsr_layer *layer, float factor, float threshold,
                             uint8_t *zero) {
    const struct rsr_tensor *tensor = layer->weight;
    uint32_t bytes = rsrc_dtype_bytes(tensor->dtype);
    float chunk[CHUNK];

    for (uint32_t r = 0; r < layer->rows; r++) {
        const uint8_t *row = tensor->data + (uint64_t)r * layer->cols * bytes;
        bool used = false;

        for (uint32_t begin = 0; begin < layer->cols && !used; begin += CHUNK) {
            uint32_t count = layer->cols - begin < CHUNK ? layer->cols - begin : CHUNK;

            rsrc_load_floats(tensor->dtype, row + (uint64_t)begin * bytes, count, chunk);
            for (uint32_t i = 0; i < count; i++)
                used |= chunk[i] * factor > threshold || chunk[i] * factor < -threshold;
        }
        zero[r] = !used;
    }
}

/* ---- public ---------------------------------------------------------------------------------- */

enum rsrc_status rsrc_decode_layer(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                   const struct rsr_layer *layer, struct rsr_matrix *out) {
    uint64_t n = (uint64_t)layer->rows * layer->cols;
    int8_t *values = rsrc_arena_array(arena, layer->rows, layer->cols);
    float *scale = RSRC_NEW(arena, float);
    struct rsr_matrix matrix = {.rows = layer->rows,
                                .cols = layer->cols,
                                .alphabet = RSR_TERNARY,
                                .values = values,
                                .scale = scale,
                                .n_scales = 1};
    enum rsrc_status status = RSRC_FAILED;

    switch (layer->encoding) {
    case RSR_ENCODING_PACKED2:
        status = decode_packed(diag, layer, values);
        break;
    case RSR_ENCODING_BYTES:
        status = decode_bytes(diag, layer->weight, n, values);
        break;
    case RSR_ENCODING_LATENT:
        status = decode_latent(diag, layer->weight, n, values, scale);
        break;
    case RSR_ENCODING_BLOCKS:
        status = rsrc_decode_blocks(diag, arena, layer, values, &matrix);
        break;
    case RSR_ENCODING_VALUES:
        return rsrc_decode_values(diag, arena, layer, out);
    }
    const bool has_stored_scale =
        layer->encoding == RSR_ENCODING_PACKED2 || layer->encoding == RSR_ENCODING_BYTES;
    if (status == RSRC_OK && has_stored_scale)
        status = decode_scale(diag, layer, scale);
    if (status != RSRC_OK)
        return RSRC_FAILED;
    *out = matrix;
    return RSRC_OK;
}

void rsrc_find_zero_rows(const struct rsr_layer *layer, uint8_t *zero) {
    switch (layer->encoding) {
    case RSR_ENCODING_PACKED2:
        find_zero_packed(layer, zero);
        return;
    case RSR_ENCODING_BYTES:
        find_zero_bytes(layer, zero);
        return;
    case RSR_ENCODING_LATENT:
        find_zero_floats(layer, latent_factor(layer->weight, (uint64_t)layer->rows * layer->cols),
                         0.5f, zero);
        return;
    case RSR_ENCODING_BLOCKS:
        rsrc_find_zero_block_rows(layer, zero);
        return;
    case RSR_ENCODING_VALUES:
        find_zero_floats(layer, 1.0f, 0.0f, zero);
        return;
    }
}

enum rsrc_status rsrc_decode_norm(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const struct rsr_norm_layer *norm, const float **out) {
    if (rsrc_check_finite(diag, norm->weight, norm->cols) != RSRC_OK)
        return RSRC_FAILED;
    float *weight = RSRC_NEW_ARRAY(arena, norm->cols, float);
    rsrc_load_floats(norm->weight->dtype, norm->weight->data, norm->cols, weight);
    for (uint32_t i = 0; i < norm->cols; i++)
        weight[i] += norm->offset;
    *out = weight;
    return RSRC_OK;
}
