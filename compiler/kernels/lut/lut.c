/* lut.c - what the planner needs of `lut`: tiles, bytes and time. kernel/lut_layout.h has its
 * machines; dot_panel reads its codes as well. */
#include "kernel/lut_layout.h"

/* Units of rows do not depend on alphabet and columns. */
struct rsrc_tiling rsrc_fit_lut(const struct rsrc_planned_layer *layer,
                                const struct rsr_regime_plan *plan) {
    const struct rsrc_lut_layout layout =
        rsrc_make_lut_layout(plan->machine, layer->spec->cores, RSR_TERNARY, layer->rows, 1);
    return (struct rsrc_tiling){layout.unit_vectors * layout.vector_rows, 1};
}

uint32_t rsrc_list_lut(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                       const struct rsrc_machine *machine, struct rsrc_choice *out) {
    const struct rsr_stats *stats = input->stats;
    const struct rsrc_lut_layout layout = rsrc_make_lut_layout(
        machine, input->spec->cores, input->alphabet, stats->rows, stats->cols);
    const struct rsrc_lut_work *work =
        &((const struct rsrc_lut_machine *)machine)->work[input->alphabet != RSR_TERNARY];
    const double look_ups = (double)layout.n_segments * layout.n_vectors;
    const uint32_t at_once = layout.lookup == RSRC_LUT_SHUFFLE16 ? layout.vector_rows / 16 : 1;
    const double instructions = rsrc_lut_instructions(work, layout.n_segments, at_once,
                                                      layout.n_vectors, layout.unit_vectors);
    const double compute_us = rsrc_work_us(instructions, input->spec->vector_gips);
    *out = (struct rsrc_choice){
        .max_cols = rsrc_lut_max_cols(&layout),
        .weight_bytes = rsrc_lut_codes_bytes(&layout) + rsrc_lut_index_bytes(&layout),
        .work = rsrc_work_text(arena, look_ups * layout.vector_rows, "look-ups")};
    rsrc_set_costs(out, compute_us, compute_us, input->spec); /* a token at a time */
    return 1;
}
