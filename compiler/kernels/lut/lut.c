/* lut.c - what the planner needs of `lut`: tiles, bytes and time. kernel/lut_layout.h has its
 * machines; dot_panel reads its codes as well. */
#include "kernel/lut_layout.h"

/* Vector instructions that begin the int16 sums of a group for a vector of rows, and that scale its
 * sums with scales in binary16 and in binary32, counted as in struct rsrc_lut_work. */
#define GROUP_BEGIN 4.0
#define SCALE_HALF (4 * 8.0)
#define SCALE_FLOAT (4 * 5.0)

struct rsrc_tiling rsrc_fit_lut(const struct rsrc_planned_layer *layer,
                                const struct rsr_regime_plan *plan) {
    (void)plan;
    return (struct rsrc_tiling){rsrc_lut_unit_rows(layer->spec, layer->rows), 1};
}

uint32_t rsrc_list_lut(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                       const struct rsrc_machine *machine, struct rsrc_choice *out) {
    const struct rsrc_lut_shape shape = rsrc_lut_planned_shape(input);
    if (!rsrc_lut_takes_groups(&shape))
        return 0;
    const struct rsrc_lut_layout layout = rsrc_make_lut_layout(machine, input->spec->cores, &shape);
    const struct rsrc_lut_work *work =
        &((const struct rsrc_lut_machine *)machine)->work[input->alphabet != RSR_TERNARY];
    const double look_ups = (double)layout.n_segments * layout.n_vectors;
    const uint32_t at_once = layout.lookup == RSRC_LUT_SHUFFLE16 ? layout.vector_rows / 16 : 1;
    const double group = layout.scale_bytes == 0   ? 0
                         : layout.scale_bytes == 2 ? GROUP_BEGIN + SCALE_HALF
                                                   : GROUP_BEGIN + SCALE_FLOAT;
    const double instructions = rsrc_lut_instructions(work, layout.n_segments, at_once,
                                                      layout.n_vectors, layout.unit_vectors) +
                                (double)layout.n_vectors * layout.n_groups * group;
    const double compute_us = rsrc_work_us(instructions, input->spec->vector_gips);
    *out = (struct rsrc_choice){
        .max_cols = rsrc_lut_max_cols(&layout),
        .weight_bytes = rsrc_lut_codes_bytes(&layout) + rsrc_lut_index_bytes(&layout),
        .work = rsrc_work_text(arena, look_ups * layout.vector_rows, "look-ups")};
    rsrc_set_costs(out, compute_us, compute_us, input->spec); /* a token at a time */
    return 1;
}
