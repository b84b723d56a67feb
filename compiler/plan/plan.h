/* plan.h - which variant computes a layer, at what predicted time, and why. */
#ifndef RSRC_PLAN_PLAN_H
#define RSRC_PLAN_PLAN_H

#include "kernel/kernel.h"

struct rsrc_plan_options {
    /* enum rsr_variant by role, -1: choose; the last is of bare matrices (RSR_ROLE_COUNT). */
    int forced_variant[RSR_ROLE_COUNT + 1];
    uint32_t k; /* scatter's rows per block; 0: choose */
};

/* Runs what might be planned, instead of predicting what it takes. */
struct rsrc_plan_timer {
    void *context;
    /* Microseconds a token in the regime; 0: it cannot be run. */
    enum rsrc_status (*measure)(void *context, enum rsr_regime regime,
                                const struct rsr_regime_plan *plan, double *us);
};

/* Plans one layer from its statistics and the target's numbers, or, with a timer, from what the
 * variants take that are predicted to be near the fastest. Emits remarks ("plan") for what was
 * chosen and what was declined. */
RSRC_NODISCARD enum rsrc_status rsrc_plan_layer(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                const struct rsrc_plan_input *input,
                                                struct rsr_plan *out);
/* Text form; what is printed parses back, several dumps one after the other as well. */
void rsrc_print_plan(const struct rsr_plan *plan, const char *layer_name, struct rsrc_buffer *out);
struct rsr_named_plan {
    const char *layer_name;
    struct rsr_plan plan;
};
RSRC_NODISCARD enum rsrc_status rsrc_parse_plans(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const char *file, const char *text,
                                                 uint64_t size_bytes, struct rsr_named_plan **out,
                                                 uint32_t *n_out);
/* The regimes of a plan are computed in the same way: one kernel serves both. */
bool rsrc_same_kernel(const struct rsr_plan *plan);
const char *rsrc_regime_name(enum rsr_regime regime);

#endif
