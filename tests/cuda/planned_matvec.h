/* planned_matvec.h - the constants of a layer's GPU kernel, as the planner chooses them. */
#ifndef TESTS_CUDA_PLANNED_MATVEC_H
#define TESTS_CUDA_PLANNED_MATVEC_H

#include "kernels/matvec/matvec.h"
#include "plan/plan.h"

struct planned_shape {
    uint32_t rows, cols;
    enum rsr_epilogue epilogue;
    int kernel; /* enum rsr_kernel_id, -1: the planner's choice for decoding */
};

/* A plan with this kernel, in the planner's tiles. */
static inline struct rsr_regime_plan plan_with(struct rsrc_arena *arena,
                                               const struct rsrc_plan_input *input, int kernel) {
    struct rsrc_choice choice[RSRC_MAX_KERNEL_CHOICES];
    if (rsrc_list_kernel(arena, (enum rsr_kernel_id)kernel, input, choice) == 0)
        return (struct rsr_regime_plan){.reason = "not for this target"};
    struct rsr_regime_plan plan = {.kernel = choice->kernel,
                                   .tile_rows = choice->tile_rows,
                                   .token_tile = UINT32_MAX,
                                   .predicted_us = choice->cost[RSR_REGIME_DECODE].predicted_us,
                                   .weight_bytes = choice->weight_bytes,
                                   .reason = choice->reasons[RSR_REGIME_DECODE]};
    const struct rsrc_planned_layer layer = {input->spec, input->input, input->stats->rows,
                                             input->stats->cols, 0};
    (void)rsrc_fit_plan(&layer, &plan);
    return plan;
}

static inline enum rsrc_status plan_matvec(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                           const struct rsr_spec *spec,
                                           const struct planned_shape *shape,
                                           struct rsr_regime_plan *plan, struct rsr_matvec *out) {
    const struct rsr_stats stats = {
        .rows = shape->rows, .cols = shape->cols, .max_row_nonzero = shape->cols};
    const struct rsrc_plan_options options = {.forced_variant = {[RSR_ROLE_Q] = -1}};
    const struct rsrc_plan_input input = {.layer_name = "layer",
                                          .role = RSR_ROLE_Q,
                                          .stats = &stats,
                                          .spec = spec,
                                          .options = &options};
    struct rsr_plan planned;
    if (rsrc_plan_layer(diag, arena, &input, &planned) != RSRC_OK)
        return RSRC_FAILED;
    const struct rsr_matrix matrix = {.rows = shape->rows, .cols = shape->cols, .n_scales = 1};
    *plan = shape->kernel == -1 ? planned.regimes[RSR_REGIME_DECODE]
                                : plan_with(arena, &input, shape->kernel);
    const struct rsrc_lower_input lower = {
        .matrix = &matrix, .plan = plan, .spec = spec, .epilogue = shape->epilogue};
    *out = rsrc_make_matvec(&lower);
    return RSRC_OK;
}

#endif
