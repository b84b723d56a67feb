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

/* Plans a step. shared: [n_buffers], the operation that left shares in a buffer, plus 1; zeros.
 * Whoever reads one of them waits for all: one exchange of two results takes less time than two. */
static void plan_step(const struct rsr_crew *crew, const struct rsr_step_table *step,
                      struct rsr_rank_step *plan, uint32_t *shared) {
    const rsr_transport *transport = &crew->ranks->transport;
    uint32_t n_gathers = 0;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        struct rsr_rank_op *planned = &plan->ops[i];
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

rsr_status rsr_rank_plan(struct rsr_crew *crew, rsr_error *err) {
    const struct rsr_target *target = crew->model->target;
    struct rsr_ranks *ranks = crew->ranks;
    bool ok = (ranks->steps = calloc(target->n_steps, sizeof(*ranks->steps))) != NULL;
    ranks->n_steps = target->n_steps;
    for (uint32_t s = 0; ok && s < target->n_steps; s++) {
        const struct rsr_step_table *step = &target->steps[s];
        struct rsr_rank_step *plan = &ranks->steps[s];
        uint32_t *shared = calloc(step->n_buffers, sizeof(*shared));
        plan->ops = calloc(step->n_ops, sizeof(*plan->ops));
        plan->gathers = calloc(step->n_ops, sizeof(*plan->gathers));
        ok = shared != NULL && plan->ops != NULL && plan->gathers != NULL;
        if (ok)
            plan_step(crew, step, plan, shared);
        free(shared);
    }
    return ok ? RSR_OK : rsr_fail(err, RSR_ERR_MEMORY, "no memory for the plan of a rank");
}

void rsr_rank_plan_free(struct rsr_ranks *ranks) {
    for (uint32_t s = 0; ranks->steps != NULL && s < ranks->n_steps; s++) {
        free(ranks->steps[s].ops);
        free(ranks->steps[s].gathers);
    }
    free(ranks->steps);
}

const struct rsr_rank_op *rsr_rank_op_of(const struct rsr_crew *crew, uint32_t op_index) {
    return &crew->ranks->steps[crew->chunk->step - crew->model->target->steps].ops[op_index];
}

struct rsr_range rsr_rank_head_blocks(const struct rsr_crew *crew) {
    const uint32_t n = rsr_sketch_blocks_of(crew->model->module->hyper.vocab);
    return crew->ranks != NULL
               ? rsr_rank_share(n, crew->ranks->transport.rank, crew->ranks->transport.size)
               : (struct rsr_range){0, n};
}
