/* dot_panel.c - what the planner needs of `dot` over the codes of lut: machines, tiles, bytes and
 * time. */
#include "kernels/dot_panel/dot_panel.h"

#define F(id) RSR_CPU_MASK(id)
#define AMX (F(AVX512BW) | F(AVX512VNNI) | F(AMX_TILE) | F(AMX_INT8))
static const struct rsrc_panel_machine machines[] = {
    {{AMX, 512, "amx64"}, RSR_KOP_DOT_U8S8, 6, 0, 16},
    {{F(AVX512BW) | F(AVX512VNNI), 512, "vnni64"}, RSR_KOP_DOT_U8S8, 6, 5, 0},
    {{F(AVX512BW), 512, "madd64"}, RSR_KOP_MADD_U8S8, 4, 0, 0},
    {{F(AVX2) | F(AVX512VL) | F(AVX512VNNI), 256, "vnni32"}, RSR_KOP_DOT_U8S8, 6, 0, 0},
    {{F(AVX2) | F(AVXVNNIINT8), 256, "vnni32-s8"}, RSR_KOP_DOT_S8S8, 2, 0, 0},
    {{F(AVX2) | F(AVXVNNI), 256, "vnni32-vex"}, RSR_KOP_DOT_U8S8, 2, 0, 0},
    {{F(AVX2), 256, "madd32"}, RSR_KOP_MADD_U8S8, 2, 0, 0},
    {{F(SSSE3), 128, "madd16"}, RSR_KOP_MADD_U8S8, 2, 0, 0},
    /* u < 128 either way */
    {{F(NEON) | F(DOTPROD), 128, "sdot16"}, RSR_KOP_DOT_S8S8, 6, 0, 0},
};
const struct rsrc_machine_table rsrc_dot_panel_machines = RSRC_MACHINE_TABLE(machines);

/* Every machine that multiplies bytes can also look them up, in vectors with equal numbers of
 * rows. */
struct rsrc_tiling rsrc_fit_dot_panel(const struct rsrc_planned_layer *layer,
                                      const struct rsr_regime_plan *plan) {
    const struct rsrc_panel_machine *machine = (const struct rsrc_panel_machine *)plan->machine;
    return (struct rsrc_tiling){rsrc_lut_unit_rows(layer->spec, layer->rows),
                                machine->matrix_tokens != 0 ? machine->matrix_tokens
                                                            : machine->n_tokens};
}

/* Instructions that unpack a column of a vector of rows. They were measured on a Zen 4 at 6.8 G
 * instructions/s, as the time of a few tokens less that of their products: fields, unpacked while
 * the first tokens are multiplied (1.0 to 2.6 with 2 to 16 tokens, 6912 x 2560); fields alone; and
 * one column at a time (words, 118 us for 2560 x 2560). */
static double count_unpacking(const struct rsrc_panel_machine *machine,
                              const struct rsrc_lut_layout *layout) {
    if (!rsrc_panel_has_fields(layout))
        return 7.4;
    return machine->first_tokens != 0 ? 1.95 : 6.6;
}

/* Instructions from the sums of a vector of rows to a token's results: 100 to 150 with 14336 x 128
 * on the Zen 4, where they take a third of the time. panel_gmacs includes their share in matrices
 * with many columns. */
#define RESULT_INSTRUCTIONS 100

/* Instructions that begin the sums of a group of columns with scales, and that add them to totals:
 * for each of the four vectors of sums, of a token. */
#define GROUP_INSTRUCTIONS (4 * 10)

/* The kernel reads only a few tables of its own. panel_gmacs includes a batch's share of unpacking;
 * one token alone would wait for all of it. */
uint32_t rsrc_list_dot_panel(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                             const struct rsrc_machine *machine, struct rsrc_choice *out) {
    const struct rsr_stats *stats = input->stats;
    const struct rsrc_lut_shape shape = rsrc_lut_planned_shape(input);
    if (!rsrc_lut_takes_groups(&shape))
        return 0;
    const struct rsrc_lut_layout layout = rsrc_lut_layout_of(input->spec, &shape);
    const double macs = (double)stats->rows * stats->cols;
    const double groups = layout.scale_bytes != 0 ? (double)layout.n_vectors * layout.n_groups : 0;
    const double compute_us = rsrc_work_us(macs, input->spec->panel_gmacs) +
                              rsrc_work_us(GROUP_INSTRUCTIONS * groups, input->spec->vector_gips);
    const double unpack_us =
        rsrc_work_us(count_unpacking((const struct rsrc_panel_machine *)machine, &layout) *
                         layout.n_vectors * stats->cols,
                     input->spec->vector_gips);
    const double result_us =
        rsrc_work_us(RESULT_INSTRUCTIONS * layout.n_vectors, input->spec->vector_gips);
    *out = (struct rsrc_choice){.max_cols = rsrc_lut_max_cols(&layout),
                                .weight_bytes = rsrc_lut_codes_bytes(&layout) +
                                                (rsrc_panel_has_fields(&layout)
                                                     ? rsrc_panel_fields_bytes(&layout)
                                                     : rsrc_lut_digits_bytes(&layout)),
                                .work = rsrc_work_text(arena, macs, "multiply-adds")};
    rsrc_set_costs(out, compute_us + unpack_us + result_us, compute_us, input->spec);
    return 1;
}
