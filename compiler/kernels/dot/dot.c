/* dot.c - what the planner needs of `dot`: tiles, bytes and time. kernel/dot_layout.h has its
 * machines. */
#include <math.h>

#include "kernel/dot_layout.h"

/* The plan's number of tokens, limited by the registers. */
struct rsrc_tiling rsrc_fit_dot(const struct rsrc_planned_layer *layer,
                                const struct rsr_regime_plan *plan) {
    (void)layer;
    const uint32_t most = rsrc_dot_machine_of(plan->machine)->max_tokens;
    const uint32_t tokens = plan->token_tile < most ? plan->token_tile : most;
    return (struct rsrc_tiling){RSRC_DOT_QUAD, tokens == 0 ? 1 : tokens};
}

/* Time of products at peak rate, or, if longer, of all instructions that a vector of products
 * needs. */
static double dot_us(double macs, double instructions, const struct rsrc_dot_machine *machine,
                     const struct rsr_spec *spec) {
    const double multiply_us = rsrc_work_us(macs * (1 + machine->unpack), spec->dot_gmacs);
    return instructions == 0
               ? multiply_us
               : fmax(multiply_us,
                      rsrc_work_us(macs / machine->vector_bytes * instructions, spec->vector_gips));
}

uint32_t rsrc_list_dot(struct rsrc_arena *arena, const struct rsrc_plan_input *input,
                       const struct rsrc_machine *machine, struct rsrc_choice *out) {
    const struct rsr_stats *stats = input->stats;
    const struct rsrc_dot_machine *dot = rsrc_dot_machine_of(machine);
    const struct rsrc_dot_layout layout =
        rsrc_make_dot_layout(dot, input->alphabet, stats->rows, stats->cols);
    const double macs = (double)stats->rows * stats->cols;
    *out = (struct rsrc_choice){.max_cols = RSRC_MAX_SUM_COLS,
                                .weight_bytes = rsrc_dot_codes_bytes(&layout),
                                .work = rsrc_work_text(arena, macs, "multiply-adds")};
    rsrc_set_costs(out, dot_us(macs, dot->alone, dot, input->spec),
                   dot_us(macs, dot->shared, dot, input->spec), input->spec);
    return 1;
}
