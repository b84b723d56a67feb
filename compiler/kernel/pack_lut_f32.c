/* pack_lut_f32.c - packs weights into the codes of `lut` for floats; kernel/lut_f32_layout.h
 * describes them. */
#include "kernel/lut_f32_layout.h"

#include <string.h>

#include "kernel/group_scales.h"

#define MIDDLE_CODE 13 /* among the 27 codes of three ternary columns: the code of zeros */
#define SIGNS_AT 24    /* in a word of planes: a sign bit per segment; */
#define SINGLE_AT 31   /* whether the single column is not 0 */

/* ---- digits ---------------------------------------------------------------------------------- */

static int code_digit(const struct rsrc_lut_f32_layout *layout, uint32_t code, uint32_t i) {
    const int bit = (int)(code >> i & 1);
    switch (layout->alphabet) {
    case RSR_TERNARY:
        return rsrc_balanced_digit((int)code - (layout->planes ? 0 : MIDDLE_CODE), i);
    case RSR_BINARY_SIGN:
        return 2 * bit - 1;
    case RSR_BINARY_BIT:
        break;
    }
    return bit;
}

void rsrc_pack_lut_f32_index(const struct rsrc_lut_f32_layout *layout, float *index) {
    for (uint32_t i = 0; i < layout->segment_cols; i++)
        for (uint32_t code = 0; code < layout->table_sums; code++)
            *index++ = (float)code_digit(layout, code, i);
    if (layout->planes) {
        uint8_t places[LUT_F32_PLANES * sizeof(float)]; /* byte j of the floats, for each plane j */
        for (uint32_t i = 0; i < sizeof places; i++)
            places[i] = (uint8_t)(i % LUT_F32_PLANES * sizeof(float) + i / LUT_F32_PLANES);
        memcpy(index, places, sizeof places);
        return;
    }
    if (layout->alphabet == RSR_TERNARY)
        for (uint32_t code = 0; code < layout->vector_rows; code++)
            *index++ = code < 3 ? (float)code - 1 : 0;
    for (uint32_t lane = 0; lane < layout->vector_rows; lane++)
        *index++ = 1;
}

/* ---- codes ----------------------------------------------------------------------------------- */

/* The bits of a step's word for segment i, which has n_cols columns; all other bits are 0. */
static uint32_t segment_bits(const struct rsrc_lut_f32_layout *layout, const int8_t *w, uint32_t i,
                             uint32_t n_cols) {
    const uint32_t shift = i * layout->code_bits;
    int code = 0;
    for (uint32_t j = n_cols; j-- > 0;)
        code = layout->alphabet == RSR_TERNARY ? 3 * code + w[j] : 2 * code + (w[j] > 0);
    if (layout->alphabet != RSR_TERNARY)
        return (uint32_t)code << shift;
    const bool single = rsrc_lut_f32_segment_cols(layout, i, layout->step_cols) == 1;
    if (!layout->planes)
        return (uint32_t)(code + (single ? 1 : MIDDLE_CODE)) << shift;
    const uint32_t magnitude = (uint32_t)(code < 0 ? -code : code);
    return magnitude << (single ? SINGLE_AT : shift) | (uint32_t)(code < 0) << (SIGNS_AT + i);
}

/* Most steps: six codes of three columns, and one column. */
static uint32_t full_ternary_word(const int8_t *w) {
    uint32_t word = (uint32_t)(w[18] + 1) << 30;
    for (uint32_t i = 0; i < 6; i++, w += 3)
        word |= (uint32_t)(MIDDLE_CODE + w[0] + 3 * w[1] + 9 * w[2]) << 5 * i;
    return word;
}

static uint32_t step_word(const struct rsrc_lut_f32_layout *layout, const int8_t *w,
                          uint32_t n_cols) {
    if (layout->alphabet == RSR_TERNARY && !layout->planes && n_cols == layout->step_cols)
        return full_ternary_word(w);
    uint32_t word = 0;
    for (uint32_t i = 0; i < layout->n_segments; i++)
        word |= segment_bits(layout, w + (size_t)i * layout->segment_cols, i,
                             rsrc_lut_f32_segment_cols(layout, i, n_cols));
    return word;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* The place of a row: in its unit's part of a stream. */
struct row_place {
    uint8_t *part;
    size_t part_rows; /* stored */
    size_t row;       /* of the part */
};

/* Puts a row's word into a step's words or planes of the part. */
static void put_word(const struct rsrc_lut_f32_layout *layout, uint8_t *step, size_t row,
                     uint32_t word) {
    if (!layout->planes) {
        memcpy(step + row * sizeof word, &word, sizeof word);
        return;
    }
    uint8_t *planes = step + row / layout->vector_rows * rsrc_lut_f32_step_bytes(layout);
    planes += rsrc_lut_f32_lane(layout, (uint32_t)(row % layout->vector_rows));
    for (uint32_t i = 0; i < LUT_F32_PLANES; i++)
        planes[i * layout->vector_rows] = (uint8_t)(word >> 8 * i);
}

static void pack_row(const struct rsrc_lut_f32_layout *layout, const struct row_place *place,
                     const int8_t *w, const float *scales) {
    size_t at = 0; /* bytes of a row before the part, times the unit's rows */
    for (uint32_t g = 0; g < layout->n_groups; g++) {
        const uint32_t first = g * layout->group_cols;
        const uint32_t left = layout->cols - first;
        const uint32_t n_cols = left < layout->group_cols ? left : layout->group_cols;
        if (layout->scale_bytes != 0)
            rsrc_put_group_scale(scales[g], layout->scale_bytes,
                                 place->part + at + place->row * layout->scale_bytes);
        at += place->part_rows * layout->scale_bytes;
        for (uint32_t col = 0; col < n_cols; col += layout->step_cols) {
            const uint32_t rest = n_cols - col;
            const uint32_t n = rest < layout->step_cols ? rest : layout->step_cols;
            const uint32_t word = step_word(layout, w + first + col, n);
            put_word(layout, place->part + at, place->row, word);
            at += place->part_rows * sizeof word;
        }
    }
}

static struct row_place place_row(const struct rsrc_lut_f32_layout *layout, uint8_t *codes,
                                  uint32_t row) {
    const uint32_t vector = row / layout->vector_rows, unit = vector / layout->unit_vectors;
    const uint32_t in_unit = vector % layout->unit_vectors;
    const uint32_t stream = in_unit / layout->stream_vectors;
    const uint32_t first = unit * layout->unit_vectors + stream * layout->stream_vectors;
    const uint32_t left = layout->n_vectors - first;
    const uint32_t n = left < layout->stream_vectors ? left : layout->stream_vectors;
    const uint64_t before = unit * layout->stream_vectors * rsrc_lut_f32_vector_bytes(layout);
    return (struct row_place){.part = codes + stream * layout->stream_bytes + before,
                              .part_rows = (size_t)n * layout->vector_rows,
                              .row = row - (size_t)first * layout->vector_rows};
}

void rsrc_pack_lut_f32(const struct rsr_matrix *matrix, const struct rsrc_lut_f32_layout *layout,
                       uint8_t *codes) {
    for (uint32_t row = 0; row < matrix->rows; row++) {
        const struct row_place place = place_row(layout, codes, row);
        pack_row(layout, &place, matrix->values + (size_t)row * matrix->cols,
                 layout->scale_bytes == 0 ? NULL : matrix->scale + (size_t)row * layout->n_groups);
    }
}
