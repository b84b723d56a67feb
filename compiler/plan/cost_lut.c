/* cost_lut.c - what `lut`, and `dot` over its codes, cost on a target; cost.h says in which numbers.
 *
 * Forms, codes and sizes are those of lower/lut_layout.c and lower_dot_panel.c; tests compare the bytes
 * with what lowering stores.
 */
#include "plan/cost.h"

#include "base/round.h"

enum { SHUFFLE16, TABLE128, WORDS, N_LOOKUPS };

/* What a target looks sums up with: the first row whose features and width it has. */
static const struct lut_form {
    uint64_t features;
    uint32_t vector_bits;
    uint32_t vector_rows;
    uint32_t codes;      /* a row of LUT_CODES */
    uint64_t multiplies; /* any of these features: prefill can multiply the unpacked codes */
    uint32_t panel_tokens;
} LUT_FORMS[] = {
#define F(id) RSR_CPU_MASK(id)
    {F(AVX512BW) | F(AVX512VBMI) | F(GFNI), 512, 64, TABLE128, F(AVX512BW), 6},
    {F(AVX512BW), 512, 64, WORDS, F(AVX512BW), 6},
    {F(AVX2), 256, 32, SHUFFLE16, F(AVX2), 2},
    {F(SSSE3), 128, 16, SHUFFLE16, F(SSSE3), 2},
    {F(NEON), 128, 16, SHUFFLE16, F(DOTPROD), 6},
#undef F
};

/* A segment of codes: columns, bytes of codes and constants, and vector instructions a segment and vector
 * of rows (loads of codes, look-ups, signs, sums) and a table. Those of SHUFFLE16 are fitted to times of AVX2
 * and taken for the narrower vectors too, of which no processor was at hand. */
static const struct lut_code {
    uint32_t group_cols, step_segments, step_bytes; /* bytes of a row's step */
    bool has_sign;
    uint32_t constant_vectors;
    double look_up, build;
} LUT_CODES[N_LOOKUPS][2] = {
    /* [codes][binary] */
    [SHUFFLE16] = {{3, 8, 5, true, 9, 7.5, 12}, {4, 8, 4, false, 12, 6.5, 14}},
    [TABLE128] = {{5, 1, 1, true, 18, 10, 45}, {8, 1, 1, true, 24, 10, 60}},
    [WORDS] = {{3, 16, 10, false, 6, 8.4, 14}, {5, 16, 10, false, 10, 8.4, 22}},
};

/* Vector instructions that unpack one column of a vector of rows for the integer dot product. */
#define UNPACK_COLUMN 7.0
/* What products of a panel reach of the target's multiply-adds: the panel is read again for every few
 * tokens. 190 to 224 of 300 GMAC/s were measured. */
#define PANEL_RATE 0.72

static const struct lut_form *find_form(const struct rsr_spec *spec) {
    for (size_t i = 0; i < sizeof LUT_FORMS / sizeof *LUT_FORMS; i++)
        if ((spec->cpu_features & LUT_FORMS[i].features) == LUT_FORMS[i].features &&
            spec->vector_bits >= LUT_FORMS[i].vector_bits)
            return &LUT_FORMS[i];
    return NULL;
}

struct lut_sizes {
    uint64_t n_segments, n_vectors;
    uint64_t codes_bytes, index_bytes;
};

static struct lut_sizes count_sizes(const struct rsr_stats *stats, const struct lut_form *form,
                                    const struct lut_code *code) {
    struct lut_sizes sizes = {.n_segments = rsrc_divide_up64(stats->cols, code->group_cols),
                              .n_vectors = rsrc_divide_up64(stats->rows, form->vector_rows)};
    const uint64_t padded_rows = sizes.n_vectors * form->vector_rows;
    const uint64_t n_steps = rsrc_divide_up64(sizes.n_segments, code->step_segments);
    sizes.codes_bytes = padded_rows * n_steps * code->step_bytes;
    sizes.index_bytes = (uint64_t)code->constant_vectors * form->vector_rows +
                        (code->has_sign ? padded_rows * sizeof(int16_t) : 0);
    return sizes;
}

/* The signs of a row are counted in 16 bits (lower/pack_lut.c). */
static uint32_t max_cols(const struct lut_code *code) {
    return code->has_sign ? (uint32_t)INT16_MAX * code->group_cols : RSRC_MAX_SUM_COLS;
}

bool rsrc_cost_lut(struct rsrc_arena *arena, const struct rsr_stats *stats,
                   enum rsr_alphabet alphabet, const struct rsr_spec *spec,
                   struct rsrc_choice *out) {
    const struct lut_form *form = find_form(spec);
    if (form == NULL)
        return false;
    const struct lut_code *code = &LUT_CODES[form->codes][alphabet != RSR_TERNARY];
    const struct lut_sizes sizes = count_sizes(stats, form, code);
    const double look_ups = (double)sizes.n_segments * (double)sizes.n_vectors;
    const double instructions = look_ups * code->look_up + (double)sizes.n_segments * code->build;
    struct rsrc_choice choice = {
        .variant = RSR_VARIANT_LUT, .fold = RSR_FOLD_TREE, .token_tile = 1};
    choice.weight_bytes = sizes.codes_bytes + sizes.index_bytes;
    choice.max_cols = max_cols(code);
    const double compute_us = rsrc_work_us(instructions, spec->vector_gips);
    rsrc_set_costs(&choice, compute_us, compute_us, spec); /* a token at a time */
    choice.work = rsrc_work_text(arena, look_ups * form->vector_rows, "look-ups");
    *out = choice;
    return true;
}

/* What floats are looked up with (lower/pack_lut_f32.c), and vector instructions a step of one word of
 * codes and vector of rows, and a step's tables, of ternary and of binary codes. */
static const struct float_form {
    uint64_t features;
    uint32_t vector_bits;
    uint32_t vector_rows;
    uint32_t digits_bytes[2];
    double look_up[2], build[2];
} FLOAT_FORMS[] = {
    {RSR_CPU_MASK(AVX512F), 512, 16, {448, 256}, {24, 26}, {90, 100}},
    {RSR_CPU_MASK(AVX2), 256, 8, {224, 256}, {66, 60}, {100, 160}},
};
static const uint32_t FLOAT_STEP_COLS[2] = {19, 32}, FLOAT_STEP_SEGMENTS[2] = {7, 8};
/* Vector instructions that scale a group's sums of a vector of rows: of binary16 and binary32 scales. */
#define SCALE_HALF 6.0
#define SCALE_FLOAT 3.0

static uint64_t count_float_steps(const struct rsrc_plan_input *input, uint32_t step_cols) {
    const uint32_t cols = input->stats->cols;
    const uint32_t group_cols = rsrc_plan_group_cols(input);
    const uint32_t last = cols - (rsrc_plan_n_groups(input) - 1) * group_cols;
    return (uint64_t)(rsrc_plan_n_groups(input) - 1) * rsrc_divide_up(group_cols, step_cols) +
           rsrc_divide_up(last, step_cols);
}

bool rsrc_cost_lut_f32(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                       struct rsrc_choice *out) {
    const struct rsr_spec *spec = input->spec;
    const struct float_form *form = NULL;
    for (size_t i = 0; form == NULL && i < sizeof FLOAT_FORMS / sizeof *FLOAT_FORMS; i++)
        if ((spec->cpu_features & FLOAT_FORMS[i].features) == FLOAT_FORMS[i].features &&
            spec->vector_bits >= FLOAT_FORMS[i].vector_bits)
            form = &FLOAT_FORMS[i];
    if (form == NULL)
        return false;
    const bool binary = input->alphabet != RSR_TERNARY;
    const uint64_t n_steps = count_float_steps(input, FLOAT_STEP_COLS[binary]);
    const uint64_t n_vectors = rsrc_divide_up64(input->stats->rows, form->vector_rows);
    const uint64_t n_scales = input->group_cols == 0 ? 0 : rsrc_plan_n_groups(input); /* a row */
    const double scale = input->scale_bytes == 2 ? SCALE_HALF : SCALE_FLOAT;
    const double instructions =
        (double)n_vectors * ((double)n_steps * form->look_up[binary] + (double)n_scales * scale) +
        (double)n_steps * form->build[binary];
    struct rsrc_choice choice = {
        .variant = RSR_VARIANT_LUT, .fold = RSR_FOLD_TREE, .token_tile = 1};
    choice.max_cols = UINT32_MAX;
    choice.weight_bytes = n_vectors * form->vector_rows *
                              (n_steps * sizeof(uint32_t) + n_scales * input->scale_bytes) +
                          form->digits_bytes[binary];
    const double compute_us = rsrc_work_us(instructions, spec->vector_gips);
    rsrc_set_costs(&choice, compute_us, compute_us, spec); /* a token at a time */
    choice.work = rsrc_work_text(
        arena, (double)(n_vectors * form->vector_rows * n_steps) * FLOAT_STEP_SEGMENTS[binary],
        "look-ups");
    *out = choice;
    return true;
}

bool rsrc_cost_dot_lut(struct rsrc_arena *arena, const struct rsr_stats *stats,
                       enum rsr_alphabet alphabet, const struct rsr_spec *spec,
                       struct rsrc_choice *out) {
    const struct lut_form *form = find_form(spec);
    if (form == NULL || (spec->cpu_features & form->multiplies) == 0)
        return false;
    const struct lut_code *code = &LUT_CODES[form->codes][alphabet != RSR_TERNARY];
    const struct lut_sizes sizes = count_sizes(stats, form, code);
    const double macs = (double)stats->rows * stats->cols;
    const double unpack_us =
        rsrc_work_us((double)sizes.n_vectors * stats->cols * UNPACK_COLUMN, spec->vector_gips);
    const double multiply_us = rsrc_work_us(macs, PANEL_RATE * spec->dot_gmacs);
    struct rsrc_choice choice = {.variant = RSR_VARIANT_DOT,
                                 .packing = RSR_PACKING_LUT,
                                 .fold = RSR_FOLD_TREE,
                                 .token_tile = form->panel_tokens};
    static const uint64_t digit_bytes[N_LOOKUPS] = {
        [SHUFFLE16] = 3 * 16, [TABLE128] = 5 * 128, [WORDS] = 64};
    choice.weight_bytes =
        sizes.codes_bytes + (alphabet == RSR_TERNARY ? digit_bytes[form->codes] : 0);
    choice.max_cols = max_cols(code);
    rsrc_set_costs(&choice, unpack_us + multiply_us, unpack_us / RSRC_PREFILL_TOKENS + multiply_us,
                   spec);
    choice.work = rsrc_work_text(arena, macs, "multiply-adds");
    *out = choice;
    return true;
}
