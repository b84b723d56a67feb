/* pack_lut.c - packs int8 weights into the segment codes of `lut`, and counts the corrections for
 * its signs; kernel/lut_layout.h describes the layout.
 *
 * One pass over a row's weights computes its codes as bytes of magnitude and sign (bit 7), for
 * every form. Then they are put where the layout has them.
 */
#include "kernel/group_scales.h"
#include "kernel/lut_layout.h"

#include <assert.h>
#include <string.h>

#define SIGN 0x80u

/* sum of w_i 3^i */
static inline int ternary_sum(const int8_t *w, uint32_t n) {
    int sum = 0;
    for (uint32_t i = n; i-- > 0;)
        sum = 3 * sum + w[i];
    return sum;
}

/* That code as magnitude and sign. */
static inline uint8_t ternary_code(const int8_t *w, uint32_t n) {
    const int code = ternary_sum(w, n);
    return (uint8_t)(code < 0 ? (unsigned)-code | SIGN : (unsigned)code);
}

static inline uint32_t plus_bits(const int8_t *w, uint32_t n) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < n; i++)
        bits |= (uint32_t)(w[i] > 0) << i;
    return bits;
}

/* Eight signs: if bit 7 is set, the last weight is not +1, and the code is the complement. */
static inline uint8_t sign_code(const int8_t *w) {
    const uint32_t bits = plus_bits(w, 8);
    return (uint8_t)((bits & SIGN) != 0 ? bits & 0x7fu : (~bits & 0x7fu) | SIGN);
}

/* Codes of whole segments. The group is a constant in every loop, so that digits are unrolled. */
static void code_segments(const struct rsrc_lut_layout *layout, const int8_t *w, uint32_t n,
                          uint8_t *codes) {
    const int zero = rsrc_lut_zero_code(layout);
    switch (layout->segment_cols) {
    case 3:
        for (uint32_t s = 0; s < n; s++)
            codes[s] = layout->has_sign ? ternary_code(w + (size_t)s * 3, 3)
                                        : (uint8_t)(zero + ternary_sum(w + (size_t)s * 3, 3));
        return;
    case 4:
        for (uint32_t s = 0; s < n; s++)
            codes[s] = (uint8_t)plus_bits(w + (size_t)s * 4, 4);
        return;
    case 5:
        for (uint32_t s = 0; s < n; s++)
            codes[s] = layout->has_sign ? ternary_code(w + (size_t)s * 5, 5)
                                        : (uint8_t)plus_bits(w + (size_t)s * 5, 5);
        return;
    default:
        assert(layout->segment_cols == 8);
        for (uint32_t s = 0; s < n; s++)
            codes[s] = sign_code(w + (size_t)s * 8);
    }
}

static void code_row(const struct rsrc_lut_layout *layout, const int8_t *w, uint32_t cols,
                     uint32_t n_segments, uint8_t *codes) {
    const uint32_t n_full = cols / layout->segment_cols;
    code_segments(layout, w, n_full, codes);
    if (n_full < n_segments) {
        int8_t last[8] = {0};
        memcpy(last, w + (size_t)n_full * layout->segment_cols, cols % layout->segment_cols);
        code_segments(layout, last, 1, codes + n_full);
    }
}

/* Plane j of a step of WORDS. */
static inline uint16_t word_of(const struct rsrc_lut_layout *layout, const uint8_t *codes,
                               uint32_t j) {
    const uint8_t *c = codes + (size_t)3 * j, last = codes[layout->step_segments - 1];
    return (uint16_t)(c[0] | c[1] << 5 | c[2] << 10 | (last >> j & 1) << 15);
}

/* The planes of one step of a row, `apart` bytes apart. */
static inline void put_step(const struct rsrc_lut_layout *layout, const uint8_t *codes,
                            uint8_t *out, size_t apart) {
    if (layout->lookup == RSRC_LUT_WORDS) {
        for (uint32_t j = 0; j < layout->step_planes; j++) {
            const uint16_t word = word_of(layout, codes, j);
            memcpy(out + j * apart, &word, sizeof(word));
        }
        return;
    }
    if (layout->lookup == RSRC_LUT_TABLE128) {
        *out = codes[0];
        return;
    }
    uint32_t signs = 0;
    for (uint32_t j = 0; j < 4; j++) {
        const uint32_t low = codes[2 * j], high = codes[2 * j + 1];
        out[j * apart] = (uint8_t)((low & 15) | (high & 15) << 4);
        signs |= (low >> 7) << (2 * j) | (high >> 7) << (2 * j + 1);
    }
    if (layout->has_sign)
        out[4 * apart] = (uint8_t)signs;
}

static int16_t count_signs(const uint8_t *codes, uint32_t n) {
    uint32_t count = 0;
    for (uint32_t s = 0; s < n; s++)
        count += codes[s] >> 7;
    assert(count <= INT16_MAX);
    return (int16_t)count;
}

/* Puts the codes of a row's group; `steps` is the row's place in the first step. */
static void put_group(const struct rsrc_lut_layout *layout, const uint8_t *codes, uint8_t *steps) {
    const size_t plane_bytes = (size_t)layout->vector_rows * layout->plane_bytes;
    for (uint32_t s = 0; s < layout->group_steps; s++)
        put_step(layout, codes + (size_t)s * layout->step_segments,
                 steps + (size_t)s * rsrc_lut_step_bytes(layout), plane_bytes);
}

static void put_head(const struct rsrc_lut_layout *layout, float scale, uint32_t lane,
                     int16_t n_signs, uint8_t *head) {
    rsrc_put_group_scale(scale, layout->scale_bytes,
                         head + (size_t)rsrc_lut_lane_row(layout, lane) * layout->scale_bytes);
    if (layout->has_sign)
        head[(size_t)layout->vector_rows * layout->scale_bytes + lane] = (uint8_t)n_signs;
}

void rsrc_pack_lut(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                   const struct rsrc_lut_layout *layout, uint8_t *codes, int16_t *corrections) {
    const uint32_t vector_rows = layout->vector_rows;
    const uint32_t group_segments = layout->n_segments / layout->n_groups;
    /* Segments that only pad a group's last step have the code whose sum is 0. */
    const size_t n_coded = (size_t)layout->group_steps * layout->step_segments;
    uint8_t *group_codes = RSRC_NEW_ARRAY(arena, n_coded, uint8_t);
    memset(group_codes, rsrc_lut_zero_code(layout), n_coded);
    for (uint32_t v = 0; v < layout->n_vectors; v++) {
        const uint32_t stream = v % layout->unit_vectors, unit = v / layout->unit_vectors;
        uint8_t *vector =
            codes + stream * layout->stream_bytes + unit * rsrc_lut_vector_bytes(layout);
        for (uint32_t lane = 0; lane < vector_rows; lane++) {
            const size_t lane_at = layout->plane_bytes == 1
                                       ? lane
                                       : sizeof(uint16_t) * rsrc_lut_lane_correction(layout, lane);
            const uint64_t row = (uint64_t)v * vector_rows + rsrc_lut_lane_row(layout, lane);
            if (row >= matrix->rows)
                continue;
            for (uint32_t g = 0; g < layout->n_groups; g++) {
                uint8_t *group = vector + g * rsrc_lut_group_bytes(layout);
                code_row(layout,
                         matrix->values + row * matrix->cols + (uint64_t)g * layout->group_cols,
                         layout->group_cols, group_segments, group_codes);
                put_group(layout, group_codes, group + rsrc_lut_head_bytes(layout) + lane_at);
                if (layout->scale_bytes != 0)
                    put_head(layout, matrix->scale[row * layout->n_groups + g], lane,
                             count_signs(group_codes, group_segments), group);
                else if (corrections != NULL)
                    corrections[(size_t)v * vector_rows + rsrc_lut_lane_correction(layout, lane)] =
                        count_signs(group_codes, group_segments);
            }
        }
    }
}
