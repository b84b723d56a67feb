/* rank_parts.c - plans a rank's steps: its part of every operation (rank_share.h), and which
 * results are gathered before which operation. All ranks find the same. */
#include <stdlib.h>

#include "crew.h"
#include "ranks.h"

/* ---- Gathers ---- */

/* Whether the operation leaves results that other ranks need. The head's are gathered at once. */
static bool leaves_shares(const struct rsr_crew *crew, const struct rsr_step_table *step,
                          uint32_t index) {
    const struct rsr_step_op *op = &step->ops[index];
    if (op->kind == RSR_OP_ATTENTION)
        return true;
    return (op->kind == RSR_OP_LINEAR || op->kind == RSR_OP_DENSE) &&
           rsr_rank_head_rows(&crew->model->module->hyper, step, index) == 0;
}

/* shared: [n_buffers], the operation that left shares in a buffer, plus 1; zeros. Whoever reads one
 * of them waits for all: one exchange of two results takes less time than two. */
static void plan_shares(const struct rsr_crew *crew, const struct rsr_step_table *step,
                        struct rsr_rank_step *plan, uint32_t *shared) {
    const rsr_transport *transport = &crew->ranks->transport;
    uint32_t n_gathers = 0;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        struct rsr_rank_op *planned = &plan->ops[i];
        planned->runs = true;
        planned->part = rsr_rank_part(crew->model->target, &crew->model->module->hyper, step, i,
                                      transport->rank, transport->size);
        planned->first_gather = n_gathers;
        bool waits = false;
        for (uint16_t b = 0; b < step->n_buffers; b++)
            waits = waits || (shared[b] != 0 && rsr_step_op_reads(op, b));
        for (uint16_t b = 0; waits && b < step->n_buffers; b++) {
            if (shared[b] != 0)
                plan->gathers[n_gathers++] = shared[b] - 1;
            shared[b] = 0;
        }
        planned->n_gathers = n_gathers - planned->first_gather;
        if (leaves_shares(crew, step, i))
            shared[op->dst] = i + 1;
    }
}

/* False: there is no memory. */
static bool reserve_step(const struct rsr_ranks *ranks, const struct rsr_step_table *step,
                         struct rsr_rank_step *plan) {
    const size_t size = ranks->transport.size;
    plan->ops = calloc(step->n_ops, sizeof(*plan->ops));
    plan->gathers =
        calloc(ranks->is_pipeline ? size * step->n_buffers : step->n_ops, sizeof(*plan->gathers));
    plan->first_ops = calloc(size, sizeof(*plan->first_ops));
    return plan->ops != NULL && plan->gathers != NULL && plan->first_ops != NULL;
}

static rsr_status plan_step(const struct rsr_crew *crew, const struct rsr_step_table *step,
                            struct rsr_rank_step *plan, rsr_error *err) {
    uint32_t *shared = calloc(step->n_buffers, sizeof(*shared));
    rsr_status status = RSR_OK;
    if (!reserve_step(crew->ranks, step, plan) || shared == NULL)
        status = rsr_fail(err, RSR_ERR_MEMORY, "no memory for the plan of a rank");
    else if (!crew->ranks->is_pipeline)
        plan_shares(crew, step, plan, shared);
    else if (!rsr_rank_plan_layers(crew, step, plan))
        status = rsr_fail(err, RSR_ERR_ARGUMENT,
                          "the module's steps do not go from layer to layer, as a pipeline does: "
                          "let ranks share out rows");
    free(shared);
    return status;
}

rsr_status rsr_rank_plan(struct rsr_crew *crew, rsr_error *err) {
    const struct rsr_target *target = crew->model->target;
    struct rsr_ranks *ranks = crew->ranks;
    ranks->steps = calloc(target->n_steps, sizeof(*ranks->steps));
    if (ranks->steps == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the plan of a rank");
    ranks->n_steps = target->n_steps;
    rsr_status status = RSR_OK;
    for (uint32_t s = 0; status == RSR_OK && s < target->n_steps; s++)
        status = plan_step(crew, &target->steps[s], &ranks->steps[s], err);
    return status;
}

void rsr_rank_plan_free(struct rsr_ranks *ranks) {
    for (uint32_t s = 0; ranks->steps != NULL && s < ranks->n_steps; s++) {
        free(ranks->steps[s].ops);
        free(ranks->steps[s].gathers);
        free(ranks->steps[s].first_ops);
    }
    free(ranks->steps);
}

const struct rsr_rank_op *rsr_rank_op_of(const struct rsr_crew *crew, uint32_t op_index) {
    return &crew->ranks->steps[crew->chunk->step - crew->model->target->steps].ops[op_index];
}

struct rsr_range rsr_rank_head_blocks(const struct rsr_crew *crew) {
    const uint32_t n = rsr_sketch_blocks_of(crew->model->module->hyper.vocab);
    return crew->ranks != NULL ? rsr_ranks_units(crew->ranks, n, crew->ranks->transport.rank)
                               : (struct rsr_range){0, n};
}
