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

/* The plan of a layer of these rows and columns, however few of them are computed. */
struct rsr_named_plan {
    const char *layer_name;
    uint32_t rows, cols;
    struct rsr_plan plan;
    uint32_t line, regime_lines[RSR_REGIME_COUNT]; /* of the text that it was read from */
};
/* Text form; what is printed parses back, several dumps one after the other as well. */
void rsrc_print_plan(const struct rsr_named_plan *plan, struct rsrc_buffer *out);
RSRC_NODISCARD enum rsrc_status rsrc_parse_plans(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const char *file, const char *text,
                                                 uint64_t size_bytes, struct rsr_named_plan **out,
                                                 uint32_t *n_out);
/* Takes a plan of `file` in place of the planner's, if the planner could have made it: a kernel
 * that is open, with its machine and a tile that it has. Bytes and bounds become those of the
 * layer. */
RSRC_NODISCARD enum rsrc_status rsrc_apply_plan(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                const struct rsrc_plan_input *input,
                                                const char *file,
                                                const struct rsr_named_plan *given,
                                                struct rsr_plan *out);
/* Microseconds that a call of the plan's kernel takes for so many tokens. */
double rsrc_batch_us(const struct rsr_regime_plan *plan, uint32_t n_tokens);
/* The largest batch for which the kernels of decode take no more time than those of prefill, of all
 * the plans together: 1 .. RSRC_PREFILL_TOKENS - 1. Larger ones run prefill's; so a token more
 * never takes less (but two than one, where prefill's kernel beats decode's for one already: of a
 * few dozen columns). */
uint32_t rsrc_decode_tokens(const struct rsr_plan *const *plans, uint32_t n_plans);
/* The regimes of a plan are computed in the same way: one kernel serves both. */
bool rsrc_same_kernel(const struct rsr_plan *plan);
const char *rsrc_regime_name(enum rsr_regime regime);

#endif
