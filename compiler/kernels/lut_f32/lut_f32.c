/* lut_f32.c - what the planner needs of `lut` for floats: machines, tiles, bytes and time. */
#include "kernels/lut_f32/lut_f32.h"

/* On AVX-512, a table of the 27 ternary sums is two vectors of floats (words). Other machines look
 * up bytes of the 14 sums that differ in more than their sign (planes); with AVX2 this is 1.3 times
 * as fast as whole floats. Planes need 153 and 147 instructions, of which 84 and 96 are shuffles.
 * Processors have fewer units for shuffles, so the instructions take a sixth longer. */
static const struct rsrc_lut_work words[] = {{22, 13, 92}, {25, 8, 64}},
                                  planes[] = {{178, 28, 288}, {172, 32, 426}};

#define F(id) RSR_CPU_MASK(id)
static const struct rsrc_lut_f32_machine machines[] = {
    {{F(AVX512F), 512, "words16"}, 16, 8, false, words},
    {{F(AVX2), 256, "planes32"}, 32, 1, true, planes},
    {{F(SSSE3), 128, "planes16"}, 16, 1, true, planes},
    {{F(NEON), 128, "planes16-neon"}, 16, 1, true, planes},
};
const struct rsrc_machine_table rsrc_lut_f32_machines = RSRC_MACHINE_TABLE(machines);

/* Vector instructions that scale a group's sums of a run of rows, with scales in binary16 and in
 * binary32. */
#define SCALE_HALF 6.0
#define SCALE_FLOAT 3.0

struct rsrc_tiling rsrc_fit_lut_f32(const struct rsrc_planned_layer *layer,
                                    const struct rsr_regime_plan *plan) {
    const struct rsrc_lut_shape shape = {.alphabet = RSR_TERNARY, .rows = layer->rows, .cols = 1};
    const struct rsrc_lut_f32_layout layout =
        rsrc_make_lut_f32_layout(plan->machine, layer->spec->cores, &shape);
    return (struct rsrc_tiling){layout.unit_vectors * layout.vector_rows, 1};
}

uint32_t rsrc_list_lut_f32(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                           const struct rsrc_machine *machine, struct rsrc_choice *out) {
    const struct rsrc_lut_shape shape = rsrc_lut_planned_shape(input);
    const struct rsrc_lut_f32_layout layout =
        rsrc_make_lut_f32_layout(machine, input->spec->cores, &shape);
    const struct rsrc_lut_work *work =
        &((const struct rsrc_lut_f32_machine *)machine)->work[input->alphabet != RSR_TERNARY];
    const double scale = layout.scale_bytes == 0   ? 0
                         : layout.scale_bytes == 2 ? SCALE_HALF
                                                   : SCALE_FLOAT;
    const uint32_t n_runs = layout.n_vectors * (layout.planes ? RSRC_LUT_F32_RUNS : 1);
    const double instructions =
        rsrc_lut_instructions(work, layout.n_steps, 1, layout.n_vectors, layout.unit_vectors) +
        (double)n_runs * layout.n_groups * scale;
    const double compute_us = rsrc_work_us(instructions, input->spec->vector_gips);
    const double look_ups = (double)layout.n_vectors * layout.vector_rows * layout.n_steps;
    *out = (struct rsrc_choice){
        .max_cols = UINT32_MAX,
        .weight_bytes = rsrc_lut_f32_codes_bytes(&layout) + rsrc_lut_f32_index_bytes(&layout),
        .work = rsrc_work_text(arena, look_ups * layout.n_segments, "look-ups")};
    rsrc_set_costs(out, compute_us, compute_us, input->spec); /* a token at a time */
    return 1;
}
