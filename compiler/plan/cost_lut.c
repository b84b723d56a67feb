/* cost_lut.c - what `lut`, and `dot` over its codes, cost on a target; cost.h says in which
 * numbers.
 */
#include "plan/cost.h"

#include "base/round.h"
#include "layout/lut_f32_layout.h"
#include "layout/lut_layout.h"

/* Vector instructions of a segment: for each vector of rows (loads of codes, look-ups, signs,
 * sums), and for its table. Those of SHUFFLE16 are fitted to times of AVX2 and taken for the
 * narrower vectors too, of which no processor was at hand. */
static const struct lut_work {
    double look_up, build;
} LUT_WORK[][2] = {
    /* [lookup][binary] */
    [RSRC_LUT_SHUFFLE16] = {{6, 12}, {4.5, 14}},
    [RSRC_LUT_TABLE128] = {{10, 20}, {10, 20}},
    [RSRC_LUT_WORDS] = {{8.4, 14}, {8.4, 22}},
};

/* What multiplies unpacked codes (lower/lower_dot_panel.c), by the vectors that they lie in, and
 * how many tokens share an unpacking. */
static const struct panel {
    uint64_t features;
    uint32_t vector_rows;
    uint32_t tokens;
} PANELS[] = {{RSR_CPU_MASK(AVX512BW), 64, 6},
              {RSR_CPU_MASK(AVX2), 32, 2},
              {RSR_CPU_MASK(SSSE3), 16, 2},
              {RSR_CPU_MASK(DOTPROD), 16, 6}};

/* The signs of a row are counted in 16 bits (lower/pack_lut.c). */
static uint32_t max_cols(const struct rsrc_lut_layout *layout) {
    return layout->has_sign ? (uint32_t)INT16_MAX * layout->group_cols : RSRC_MAX_SUM_COLS;
}

bool rsrc_cost_lut(struct rsrc_arena *arena, const struct rsr_stats *stats,
                   enum rsr_alphabet alphabet, const struct rsr_spec *spec,
                   struct rsrc_choice *out) {
    struct rsrc_lut_layout layout;
    if (!rsrc_make_lut_layout(spec, alphabet, stats->rows, stats->cols, &layout))
        return false;
    const struct lut_work *work = &LUT_WORK[layout.lookup][alphabet != RSR_TERNARY];
    const double look_ups = (double)layout.n_segments * layout.n_vectors;
    const double instructions = look_ups * work->look_up + layout.n_segments * work->build;
    struct rsrc_choice choice = {
        .variant = RSR_VARIANT_LUT, .fold = RSR_FOLD_TREE, .token_tile = 1};
    choice.weight_bytes = rsrc_lut_codes_bytes(&layout) + rsrc_lut_index_bytes(&layout);
    choice.max_cols = max_cols(&layout);
    const double compute_us = rsrc_work_us(instructions, spec->vector_gips);
    rsrc_set_costs(&choice, compute_us, compute_us, spec); /* a token at a time */
    choice.work = rsrc_work_text(arena, look_ups * layout.vector_rows, "look-ups");
    *out = choice;
    return true;
}

/* Vector instructions where floats are looked up, by the rows of a vector: for each vector, of a
 * step's word of codes; for a step's tables. */
static const struct float_work {
    uint32_t vector_rows;
    double look_up[2], build[2]; /* [binary] */
} FLOAT_WORK[] = {{16, {24, 26}, {90, 100}}, {8, {38, 35}, {100, 160}}};
/* Vector instructions that scale a group's sums of a vector of rows: of binary16 and binary32
 * scales. */
#define SCALE_HALF 6.0
#define SCALE_FLOAT 3.0

/* One of the vectors that layouts have. */
static const struct float_work *find_float_work(uint32_t vector_rows) {
    const struct float_work *work = FLOAT_WORK;
    while (work->vector_rows != vector_rows)
        work++;
    return work;
}

bool rsrc_cost_lut_f32(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                       struct rsrc_choice *out) {
    const struct rsr_spec *spec = input->spec;
    const struct rsrc_lut_f32_shape shape = {.alphabet = input->alphabet,
                                             .rows = input->stats->rows,
                                             .cols = input->stats->cols,
                                             .group_cols = input->group_cols,
                                             .scale_bytes =
                                                 input->group_cols == 0 ? 0 : input->scale_bytes};
    struct rsrc_lut_f32_layout layout;
    if (!rsrc_make_lut_f32_layout(spec, &shape, &layout))
        return false;
    const bool binary = input->alphabet != RSR_TERNARY;
    const struct float_work *work = find_float_work(layout.vector_rows);
    const double scale = layout.scale_bytes == 0   ? 0
                         : layout.scale_bytes == 2 ? SCALE_HALF
                                                   : SCALE_FLOAT;
    const double instructions =
        layout.n_vectors * (layout.n_steps * work->look_up[binary] + layout.n_groups * scale) +
        layout.n_steps * work->build[binary];
    struct rsrc_choice choice = {
        .variant = RSR_VARIANT_LUT, .fold = RSR_FOLD_TREE, .token_tile = 1};
    choice.max_cols = UINT32_MAX;
    choice.weight_bytes = rsrc_lut_f32_codes_bytes(&layout) + rsrc_lut_f32_index_bytes(&layout);
    const double compute_us = rsrc_work_us(instructions, spec->vector_gips);
    rsrc_set_costs(&choice, compute_us, compute_us, spec); /* a token at a time */
    const double look_ups = (double)layout.n_vectors * layout.vector_rows * layout.n_steps;
    choice.work = rsrc_work_text(arena, look_ups * layout.n_segments, "look-ups");
    *out = choice;
    return true;
}

static const struct panel *find_panel(const struct rsr_spec *spec, uint32_t vector_rows) {
    for (size_t i = 0; i < sizeof PANELS / sizeof *PANELS; i++)
        if (rsrc_target_has(spec, PANELS[i].features) && vector_rows == PANELS[i].vector_rows)
            return &PANELS[i];
    return NULL;
}

bool rsrc_cost_dot_lut(struct rsrc_arena *arena, const struct rsr_stats *stats,
                       enum rsr_alphabet alphabet, const struct rsr_spec *spec,
                       struct rsrc_choice *out) {
    struct rsrc_lut_layout layout;
    if (!rsrc_make_lut_layout(spec, alphabet, stats->rows, stats->cols, &layout))
        return false;
    const struct panel *panel = find_panel(spec, layout.vector_rows);
    if (panel == NULL)
        return false;
    const double macs = (double)stats->rows * stats->cols;
    const double compute_us = rsrc_work_us(macs, spec->panel_gmacs);
    struct rsrc_choice choice = {.variant = RSR_VARIANT_DOT,
                                 .packing = RSR_PACKING_LUT,
                                 .fold = RSR_FOLD_TREE,
                                 .token_tile = panel->tokens};
    static const uint64_t digit_bytes[] = {
        [RSRC_LUT_SHUFFLE16] = 3 * 16, [RSRC_LUT_TABLE128] = 5 * 128, [RSRC_LUT_WORDS] = 64};
    choice.weight_bytes =
        rsrc_lut_codes_bytes(&layout) + (alphabet == RSR_TERNARY ? digit_bytes[layout.lookup] : 0);
    choice.max_cols = max_cols(&layout);
    rsrc_set_costs(&choice, compute_us, compute_us, spec); /* no token alone is unpacked for */
    choice.work = rsrc_work_text(arena, macs, "multiply-adds");
    *out = choice;
    return true;
}
