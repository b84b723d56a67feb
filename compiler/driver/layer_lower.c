/* layer_lower.c - lowers a planned layer to kernels and packed weights. */
#include "driver/layer.h"
#include "emit/ptx/cuda_unit.h"
#include "lower/lower.h"

uint32_t rsrc_n_kernels(const struct rsrc_layer_state *state, uint32_t target) {
    return rsrc_same_kernel(&state->plans[target]) ? 1 : RSR_REGIME_COUNT;
}

struct rsr_lowered *rsrc_lowered_of(const struct rsrc_layer_state *state, uint32_t target,
                                    uint32_t regime) {
    return &state->lowered[(size_t)target * RSR_REGIME_COUNT + regime];
}

enum rsrc_status rsrc_visit_kernels(struct rsrc_layer_state *state, rsrc_kernel_visitor *visit) {
    for (uint32_t t = 0; t < state->compilation->inputs.n_specs; t++)
        for (uint32_t r = 0; r < rsrc_n_kernels(state, t); r++)
            if (visit(state, t, r) != RSRC_OK)
                return RSRC_FAILED;
    return RSRC_OK;
}

uint64_t rsrc_weight_bytes_of(const struct rsrc_layer_state *state, uint32_t target,
                              uint32_t regime) {
    const struct rsr_lowered *lowered = rsrc_lowered_of(state, target, regime);
    return lowered->kernel.n_bodies != 0 ? state->plans[target].regimes[regime].weight_bytes
                                         : lowered->codes.size_bytes + lowered->index.size_bytes;
}

static struct rsrc_lower_input lower_input(struct rsrc_layer_state *state, uint32_t target,
                                           const struct rsr_regime_plan *plan,
                                           struct rsrc_arena *arena) {
    const struct rsrc_compilation *c = state->compilation;
    const char *model = c->inputs.has_checkpoint ? c->inputs.checkpoint.name : "matrices";
    return (struct rsrc_lower_input){
        .symbol_stem = state->item->stem,
        .title = rsrc_arena_printf(arena, "%s: %s", model, state->item->name),
        .matrix = rsrc_matrix_for(state, target),
        .reduction = rsrc_reduction_for(state, target),
        .index = plan->k != 0 ? rsrc_index_for(state, target, plan->k) : NULL,
        .plan = plan,
        .input = state->item->input,
        .spec = &c->inputs.specs[target],
        .epilogue = state->item->layer != NULL ? RSR_EPILOGUE_SCALE : RSR_EPILOGUE_RAW};
}

enum rsrc_status rsrc_lower_planned(struct rsrc_layer_state *state, uint32_t target,
                                    const struct rsr_regime_plan *plan, struct rsrc_diag *diag,
                                    struct rsrc_arena *arena, struct rsr_lowered *out) {
    const struct rsrc_lower_input input = lower_input(state, target, plan, arena);
    return rsrc_lower_layer(diag, arena, &input, out);
}

static enum rsrc_status lower_regime(struct rsrc_layer_state *state, uint32_t target,
                                     uint32_t regime) {
    const struct rsr_regime_plan *plan = &state->plans[target].regimes[regime];
    const struct rsr_regime_plan *decode = &state->plans[target].regimes[RSR_REGIME_DECODE];
    struct rsrc_lower_input input = lower_input(state, target, plan, &state->arena);
    if (rsrc_n_kernels(state, target) == RSR_REGIME_COUNT)
        input.regime = rsrc_regime_name((enum rsr_regime)regime);
    if (regime == RSR_REGIME_PREFILL && decode->kernel != plan->kernel &&
        decode->kernel == rsrc_kernel_row(plan->kernel)->data)
        input.codes = &rsrc_lowered_of(state, target, RSR_REGIME_DECODE)->codes;
    return rsrc_lower_layer(state->diag, &state->arena, &input,
                            rsrc_lowered_of(state, target, regime));
}

enum rsrc_status rsrc_layer_lower(struct rsrc_layer_state *state) {
    return rsrc_visit_kernels(state, lower_regime);
}

static enum rsrc_status verify(struct rsrc_layer_state *state, uint32_t target, uint32_t regime) {
    const struct rsr_kernel *kernel = &rsrc_lowered_of(state, target, regime)->kernel;
    return kernel->matvec != NULL && kernel->n_bodies == 0
               ? RSRC_OK
               : rsrc_verify_kernel(state->diag, kernel);
}

enum rsrc_status rsrc_layer_verify_lower(struct rsrc_layer_state *state) {
    return rsrc_visit_kernels(state, verify);
}

/* The text of a GPU's kernel is the comment that stands before it in PTX, and its bodies, if it has
 * any. */
static void print_kernel(const struct rsr_kernel *kernel, struct rsrc_buffer *out) {
    if (kernel->matvec != NULL)
        rsrc_print_gpu_comment(kernel, out);
    if (kernel->matvec == NULL || kernel->n_bodies != 0)
        rsrc_print_kernel(kernel, out);
}

void rsrc_layer_dump_kernel(struct rsrc_layer_state *state, struct rsrc_buffer *out) {
    for (uint32_t t = 0; t < state->compilation->inputs.n_specs; t++)
        for (uint32_t r = 0; r < rsrc_n_kernels(state, t); r++)
            print_kernel(&rsrc_lowered_of(state, t, r)->kernel, out);
}
