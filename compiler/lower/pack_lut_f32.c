/* pack_lut_f32.c - which targets look floats up, and weights to the codes that they do it with;
 * lut_f32.h has the layout. */
#include "lower/lut_f32.h"

#include <string.h>

#include "base/round.h"

#define TERNARY_COLS 3u /* 14 sums up to sign */
#define BINARY_COLS 4u  /* all 16 sums */

/* 16 floats are a vector, or two. */
static const struct machine {
    uint64_t features;
    uint32_t vector_bits; /* at least */
    uint32_t vector_rows, max_vectors;
} machines[] = {
    {RSR_CPU_MASK(AVX512F), 512, 16, 4},
    {RSR_CPU_MASK(AVX2), 256, 8, 2},
};

bool rsrc_make_lut_f32_layout(const struct rsr_spec *spec, const struct rsr_matrix *matrix,
                              struct rsrc_lut_f32_layout *out) {
    const struct machine *machine = NULL;
    for (size_t i = 0; machine == NULL && i < sizeof machines / sizeof *machines; i++)
        if (rsrc_target_has(spec, machines[i].features) &&
            spec->vector_bits >= machines[i].vector_bits)
            machine = &machines[i];
    if (machine == NULL)
        return false;
    const bool ternary = matrix->alphabet == RSR_TERNARY;
    struct rsrc_lut_f32_layout layout = {.alphabet = matrix->alphabet,
                                         .has_sign = ternary,
                                         .group_cols = ternary ? TERNARY_COLS : BINARY_COLS,
                                         .vector_rows = machine->vector_rows};
    layout.n_segments = rsrc_divide_up(matrix->cols, layout.group_cols);
    layout.n_steps = rsrc_divide_up(layout.n_segments, LUT_F32_STEP_SEGMENTS);
    layout.n_vectors = rsrc_divide_up(matrix->rows, layout.vector_rows);
    layout.unit_vectors =
        rsrc_lut_unit_vectors(layout.n_vectors, machine->max_vectors, spec->cores);
    *out = layout;
    return true;
}

uint32_t rsrc_lut_f32_step_bytes(const struct rsrc_lut_f32_layout *layout) {
    return layout->vector_rows * (uint32_t)(sizeof(uint32_t) + layout->has_sign);
}

uint64_t rsrc_lut_f32_codes_bytes(const struct rsrc_lut_f32_layout *layout) {
    return (uint64_t)layout->n_vectors * layout->n_steps * rsrc_lut_f32_step_bytes(layout);
}

/* ---- digits and codes ------------------------------------------------------------------------ */

static int code_digit(enum rsr_alphabet alphabet, uint32_t code, uint32_t i) {
    const int bit = (int)(code >> i & 1);
    switch (alphabet) {
    case RSR_TERNARY:
        return rsrc_balanced_digit((int)code, i);
    case RSR_BINARY_SIGN:
        return 2 * bit - 1;
    case RSR_BINARY_BIT:
        break;
    }
    return bit;
}

void rsrc_pack_lut_f32_digits(const struct rsrc_lut_f32_layout *layout, float *digits) {
    for (uint32_t i = 0; i < layout->group_cols; i++)
        for (uint32_t code = 0; code < LUT_F32_CODES; code++)
            *digits++ = (float)code_digit(layout->alphabet, code, i);
}

static uint32_t segment_code(enum rsr_alphabet alphabet, const int8_t *w, uint32_t n, bool *sign) {
    int code = 0;
    for (uint32_t i = n; i-- > 0;)
        code = alphabet == RSR_TERNARY ? 3 * code + w[i] : 2 * code + (w[i] > 0);
    *sign = code < 0;
    return (uint32_t)(code < 0 ? -code : code);
}

/* The codes of a row: a word and a byte of signs a step. */
static void code_row(const struct rsrc_lut_f32_layout *layout, const int8_t *w, uint32_t cols,
                     uint32_t *words, uint8_t *signs) {
    memset(words, 0, layout->n_steps * sizeof *words);
    memset(signs, 0, layout->n_steps);
    for (uint32_t s = 0; s < layout->n_segments; s++) {
        const uint32_t first = s * layout->group_cols;
        const uint32_t left = cols - first;
        const uint32_t at = s % LUT_F32_STEP_SEGMENTS;
        bool sign;
        const uint32_t code =
            segment_code(layout->alphabet, w + first,
                         left < layout->group_cols ? left : layout->group_cols, &sign);
        words[s / LUT_F32_STEP_SEGMENTS] |= code << (4 * at);
        signs[s / LUT_F32_STEP_SEGMENTS] |= (uint8_t)((uint32_t)sign << at);
    }
}

void rsrc_pack_lut_f32(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                       const struct rsrc_lut_f32_layout *layout, uint8_t *codes) {
    uint32_t *words = RSRC_NEW_ARRAY(arena, layout->n_steps, uint32_t);
    uint8_t *signs = RSRC_NEW_ARRAY(arena, layout->n_steps, uint8_t);
    const size_t step_bytes = rsrc_lut_f32_step_bytes(layout);
    const size_t word_vector_bytes = layout->vector_rows * sizeof(uint32_t);
    for (uint32_t row = 0; row < matrix->rows; row++) {
        code_row(layout, matrix->values + (size_t)row * matrix->cols, matrix->cols, words, signs);
        const uint32_t vector = row / layout->vector_rows, lane = row % layout->vector_rows;
        const uint32_t first = vector / layout->unit_vectors * layout->unit_vectors;
        const uint32_t left = layout->n_vectors - first;
        const size_t n = left < layout->unit_vectors ? left : layout->unit_vectors;
        uint8_t *unit = codes + (size_t)first * layout->n_steps * step_bytes;
        for (uint32_t s = 0; s < layout->n_steps; s++) {
            uint8_t *step = unit + s * n * step_bytes;
            memcpy(step + (vector - first) * word_vector_bytes + lane * sizeof *words, &words[s],
                   sizeof *words);
            if (layout->has_sign)
                step[n * word_vector_bytes + (vector - first) * layout->vector_rows + lane] =
                    signs[s];
        }
    }
}
