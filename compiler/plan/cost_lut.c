/* cost_lut.c - what `lut`, and `dot` over its codes, cost on a target; cost.h says in which
 * numbers.
 */
#include "plan/cost.h"

#include "base/round.h"
#include "layout/dot_layout.h"
#include "layout/lut_f32_layout.h"
#include "layout/lut_layout.h"

/* Vector instructions of a segment, counted in the loops that LLVM makes (rsrc --emit=asm), without
 * copies of registers: for each vector of rows (loads and prefetches of codes, look-ups, signs, sums
 * and their widening); for each unit, which loads the table; to make the table, of SHUFFLE16 as many
 * as lie in a vector. Of floats those of a step's word of codes and of its tables. */
struct lut_work {
    double look_up, load, build;
};
static const struct lut_work LUT_WORK[][2] = {
    /* [lookup][binary] */
    [RSRC_LUT_SHUFFLE16] = {{11.8, 2, 36}, {8.1, 2, 42}},
    [RSRC_LUT_TABLE128] = {{11.6, 4, 26}, {11.6, 4, 26}},
    [RSRC_LUT_WORDS] = {{7.9, 1, 14}, {7.9, 1, 22}},
};

/* The signs of a row are counted in 16 bits (kernel/pack_lut.c). */
static uint32_t max_cols(const struct rsrc_lut_layout *layout) {
    return layout->has_sign ? (uint32_t)INT16_MAX * layout->group_cols : RSRC_MAX_SUM_COLS;
}

/* Of n_steps segments, or steps of floats, of which some have their tables made at once. */
static double count_instructions(const struct lut_work *work, uint32_t n_steps, uint32_t at_once,
                                 uint32_t n_vectors, uint32_t unit_vectors) {
    const double n_units = rsrc_divide_up(n_vectors, unit_vectors);
    return n_steps * (n_vectors * work->look_up + n_units * work->load + work->build / at_once);
}

bool rsrc_cost_lut(struct rsrc_arena *arena, const struct rsr_stats *stats,
                   enum rsr_alphabet alphabet, const struct rsr_spec *spec,
                   struct rsrc_choice *out) {
    struct rsrc_lut_layout layout;
    if (!rsrc_make_lut_layout(spec, alphabet, stats->rows, stats->cols, &layout))
        return false;
    const struct lut_work *work = &LUT_WORK[layout.lookup][alphabet != RSR_TERNARY];
    const double look_ups = (double)layout.n_segments * layout.n_vectors;
    const uint32_t at_once = layout.lookup == RSRC_LUT_SHUFFLE16 ? layout.vector_rows / 16 : 1;
    const double instructions =
        count_instructions(work, layout.n_segments, at_once, layout.n_vectors, layout.unit_vectors);
    struct rsrc_choice choice = {.variant = RSR_VARIANT_LUT, .fold = RSR_FOLD_TREE};
    choice.weight_bytes = rsrc_lut_codes_bytes(&layout) + rsrc_lut_index_bytes(&layout);
    choice.max_cols = max_cols(&layout);
    const double compute_us = rsrc_work_us(instructions, spec->vector_gips);
    rsrc_set_costs(&choice, compute_us, compute_us, spec); /* a token at a time */
    choice.work = rsrc_work_text(arena, look_ups * layout.vector_rows, "look-ups");
    *out = choice;
    return true;
}

/* For floats. Of 153 and 147 instructions that look planes up 84 and 96 are shuffles, for which
 * processors have fewer units: they take as long as a sixth more. */
static const struct lut_work FLOAT_WORK[][2] = {
    /* [planes][binary] */
    {{22, 13, 92}, {25, 8, 64}},
    {{178, 28, 288}, {172, 32, 426}},
};
/* Vector instructions that scale a group's sums of a run of rows: of binary16 and binary32 scales. */
#define SCALE_HALF 6.0
#define SCALE_FLOAT 3.0

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
    const struct lut_work *work = &FLOAT_WORK[layout.planes][input->alphabet != RSR_TERNARY];
    const double scale = layout.scale_bytes == 0   ? 0
                         : layout.scale_bytes == 2 ? SCALE_HALF
                                                   : SCALE_FLOAT;
    const uint32_t n_runs = layout.n_vectors * (layout.planes ? RSRC_LUT_F32_RUNS : 1);
    const double instructions =
        count_instructions(work, layout.n_steps, 1, layout.n_vectors, layout.unit_vectors) +
        (double)n_runs * layout.n_groups * scale;
    struct rsrc_choice choice = {.variant = RSR_VARIANT_LUT, .fold = RSR_FOLD_TREE};
    choice.max_cols = UINT32_MAX;
    choice.weight_bytes = rsrc_lut_f32_codes_bytes(&layout) + rsrc_lut_f32_index_bytes(&layout);
    const double compute_us = rsrc_work_us(instructions, spec->vector_gips);
    rsrc_set_costs(&choice, compute_us, compute_us, spec); /* a token at a time */
    const double look_ups = (double)layout.n_vectors * layout.vector_rows * layout.n_steps;
    choice.work = rsrc_work_text(arena, look_ups * layout.n_segments, "look-ups");
    *out = choice;
    return true;
}

bool rsrc_cost_dot_lut(struct rsrc_arena *arena, const struct rsr_stats *stats,
                       enum rsr_alphabet alphabet, const struct rsr_spec *spec,
                       struct rsrc_choice *out) {
    struct rsrc_lut_layout layout;
    if (!rsrc_make_lut_layout(spec, alphabet, stats->rows, stats->cols, &layout))
        return false;
    if (rsrc_find_panel_machine(spec, layout.vector_rows) == NULL)
        return false;
    const double macs = (double)stats->rows * stats->cols;
    const double compute_us = rsrc_work_us(macs, spec->panel_gmacs);
    struct rsrc_choice choice = {
        .variant = RSR_VARIANT_DOT, .packing = RSR_PACKING_LUT, .fold = RSR_FOLD_TREE};
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
