/* plan.h - which variant computes a layer, at what predicted time, and why. */
#ifndef RSRC_PLAN_PLAN_H
#define RSRC_PLAN_PLAN_H

#include "kernel/kernel.h"

struct rsrc_plan_options {
    /* enum rsr_variant by role, -1: choose; the last entry (RSR_ROLE_COUNT) is for bare
     * matrices. */
    int forced_variant[RSR_ROLE_COUNT + 1];
    uint32_t k; /* scatter's rows per block; 0: choose */
};

/* Runs candidate plans, instead of predicting their times. */
struct rsrc_plan_timer {
    void *context;
    /* Microseconds a token in the regime; 0: it cannot be run. */
    enum rsrc_status (*measure)(void *context, enum rsr_regime regime,
                                const struct rsr_regime_plan *plan, double *us);
};

/* Plans one layer from its statistics and the target's numbers. With a timer, it measures the
 * variants that are predicted to be near the fastest, and plans by these times. Emits remarks
 * ("plan") on what it chose and what it declined. */
RSRC_NODISCARD enum rsrc_status rsrc_plan_layer(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                const struct rsrc_plan_input *input,
                                                struct rsr_plan *out);

/* The plan of a layer. rows and cols are those of the layer, also if its matrix is reduced. */
struct rsr_named_plan {
    const char *layer_name;
    uint32_t rows, cols;
    struct rsr_plan plan;
    uint32_t line, regime_lines[RSR_REGIME_COUNT]; /* line in the text that it was read from */
};
/* Text form. A printed text parses back, also several dumps one after another. */
void rsrc_print_plan(const struct rsr_named_plan *plan, struct rsrc_buffer *out);
RSRC_NODISCARD enum rsrc_status rsrc_parse_plans(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const char *file, const char *text,
                                                 uint64_t size_bytes, struct rsr_named_plan **out,
                                                 uint32_t *n_out);
/* Takes a plan of `file` in place of the planner's, if the planner could have made it: the kernel
 * can compute the layer on the target, and has that machine and tile. Bytes and bounds are
 * recomputed for the layer. */
RSRC_NODISCARD enum rsrc_status rsrc_apply_plan(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                const struct rsrc_plan_input *input,
                                                const char *file,
                                                const struct rsr_named_plan *given,
                                                struct rsr_plan *out);
/* Microseconds of a call of the plan's kernel for n_tokens tokens. */
double rsrc_batch_us(const struct rsr_regime_plan *plan, uint32_t n_tokens);
/* The largest batch, 1 .. RSRC_PREFILL_TOKENS - 1, for which the kernels of decode take no more
 * time than those of prefill, summed over all plans. Larger batches run the kernels of prefill, so
 * one more token never takes less time. The exception is 2 tokens after 1, where a layer has so few
 * columns, a few dozen, that prefill is faster for one token already. */
uint32_t rsrc_decode_tokens(const struct rsr_plan *const *plans, uint32_t n_plans);
/* Whether both regimes of a plan are computed in the same way, so that one kernel serves both. */
bool rsrc_same_kernel(const struct rsr_plan *plan);
const char *rsrc_regime_name(enum rsr_regime regime);

#endif
