/* planned_matvec.h - the constants of a layer's GPU kernel, as the planner chooses them. */
#ifndef TESTS_CUDA_PLANNED_MATVEC_H
#define TESTS_CUDA_PLANNED_MATVEC_H

#include "kernels/matvec/matvec.h"
#include "plan/plan.h"

struct planned_shape {
    uint32_t rows, cols;
    enum rsr_epilogue epilogue;
    int variant; /* enum rsr_variant, -1: the planner's choice */
};

static inline enum rsrc_status plan_matvec(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                           const struct rsr_spec *spec,
                                           const struct planned_shape *shape,
                                           struct rsr_regime_plan *plan, struct rsr_matvec *out) {
    const struct rsr_stats stats = {
        .rows = shape->rows, .cols = shape->cols, .max_row_nonzero = shape->cols};
    const struct rsrc_plan_options options = {.forced_variant = {[RSR_ROLE_Q] = shape->variant}};
    const struct rsrc_plan_input input = {.layer_name = "layer",
                                          .role = RSR_ROLE_Q,
                                          .stats = &stats,
                                          .spec = spec,
                                          .options = &options};
    struct rsr_plan planned;
    if (rsrc_plan_layer(diag, arena, &input, &planned) != RSRC_OK)
        return RSRC_FAILED;
    const struct rsr_matrix matrix = {.rows = shape->rows, .cols = shape->cols, .n_scales = 1};
    *plan = planned.regimes[RSR_REGIME_DECODE];
    const struct rsrc_lower_input lower = {
        .matrix = &matrix, .plan = plan, .spec = spec, .epilogue = shape->epilogue};
    *out = rsrc_make_matvec(&lower);
    return RSRC_OK;
}

#endif
