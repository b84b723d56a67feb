/* rank_parts.c - what a rank computes of every operation of a step, and which results are gathered
 * before which operation. It follows from the tables and the numbers of ranks, so all ranks find
 * the same. */
#include <stdlib.h>

#include "crew.h"
#include "ranks.h"

static struct rsr_range share_of(const struct rsr_ranks *ranks, uint32_t n) {
    return rsr_rank_share(n, ranks->transport.rank, ranks->transport.size);
}

/* ---- Results of which a rank needs its own heads alone ---- */

static bool reads(const struct rsr_step_op *op, uint16_t buffer) {
    for (uint32_t s = 0; s < 4; s++)
        if (op->src[s] == buffer)
            return true;
    return (RSR_OPS_BY_TOKEN >> op->kind & 1) != 0 && op->dst == buffer; /* ADD, UNROTATE */
}

/* The rows of a KV head in the results of operation `writer`, if every reader takes its own heads'
 * rows; else 0. */
static uint32_t rows_of_head(const struct rsr_hyper *hyper, const struct rsr_step_table *step,
                             uint32_t writer) {
    const uint16_t buffer = step->ops[writer].dst;
    const uint32_t group = hyper->n_heads / hyper->n_kv_heads;
    uint32_t rows = 0;
    for (uint32_t i = writer + 1; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        const bool by_heads = op->kind == RSR_OP_ROPE_APPEND || op->kind == RSR_OP_ATTENTION;
        if (reads(op, buffer) && (!by_heads || op->src[3] == buffer))
            return 0;
        if (op->kind == RSR_OP_ROPE_APPEND && op->src[0] == buffer)
            rows = hyper->head_dim * group * (op->dst == RSR_NO_BUFFER ? 1 : 2);
        else if (op->kind == RSR_OP_ROPE_APPEND && reads(op, buffer))
            rows = hyper->head_dim;
        if (op->dst == buffer)
            break;
    }
    return rows;
}

/* The tiles that have rows [begin, end). */
static struct rsr_range covering_tiles(const struct rsr_kernel_desc *kernel, uint32_t begin,
                                       uint32_t end) {
    if (begin >= end)
        return (struct rsr_range){0, 0};
    if (kernel->row_map == NULL)
        return (struct rsr_range){begin / kernel->tile_rows, (end - 1) / kernel->tile_rows + 1};
    const struct rsr_row_entry *entries = rsr_row_entries(kernel);
    struct rsr_range tiles = {kernel->n_tiles, 0};
    for (uint32_t t = 0; t < kernel->n_tiles; t++)
        for (uint32_t i = kernel->row_map[t]; i < kernel->row_map[t + 1]; i++)
            if (entries[i].row >= begin && entries[i].row < end) {
                tiles.begin = t < tiles.begin ? t : tiles.begin;
                tiles.end = t + 1;
            }
    return tiles;
}

/* ---- Parts ---- */

static struct rsr_range part_of(const struct rsr_crew *crew, const struct rsr_step_table *step,
                                uint32_t index) {
    const struct rsr_target *target = crew->model->target;
    const struct rsr_ranks *ranks = crew->ranks;
    const struct rsr_step_op *op = &step->ops[index];
    const bool dense =
        op->kind == RSR_OP_DENSE || (op->kind == RSR_OP_HEAD && op->arg == RSR_NO_KERNEL);
    if (!dense && op->kind != RSR_OP_LINEAR && op->kind != RSR_OP_HEAD)
        return (struct rsr_range){0, 0};
    const uint32_t head =
        op->kind == RSR_OP_HEAD ? 0 : rows_of_head(&crew->model->module->hyper, step, index);
    const uint32_t begin = ranks->kv_heads.begin * head, end = ranks->kv_heads.end * head;
    if (dense) {
        const struct rsr_matrix_data *matrix =
            op->kind == RSR_OP_DENSE ? &target->tensors->dense[op->arg] : &target->tensors->head;
        return head == 0
                   ? share_of(ranks, rsr_dense_blocks(matrix))
                   : (struct rsr_range){begin / RSR_DENSE_BLOCK_ROWS,
                                        (end + RSR_DENSE_BLOCK_ROWS - 1) / RSR_DENSE_BLOCK_ROWS};
    }
    const struct rsr_kernel_desc *kernel = &target->kernels[op->arg];
    return head == 0 ? share_of(ranks, kernel->n_tiles) : covering_tiles(kernel, begin, end);
}

/* ---- Gathers ---- */

/* Whether the operation leaves results that other ranks need. The head's are gathered at once. */
static bool leaves_shares(const struct rsr_crew *crew, const struct rsr_step_table *step,
                          uint32_t index) {
    const struct rsr_step_op *op = &step->ops[index];
    if (op->kind == RSR_OP_ATTENTION)
        return true;
    return (op->kind == RSR_OP_LINEAR || op->kind == RSR_OP_DENSE) &&
           rows_of_head(&crew->model->module->hyper, step, index) == 0;
}

/* Plans a step. shared: [n_buffers], the operation that left shares in a buffer, plus 1; zeros.
 * Whoever reads one of them waits for all: one exchange of two results takes less time than two. */
static void plan_step(const struct rsr_crew *crew, const struct rsr_step_table *step,
                      struct rsr_rank_step *plan, uint32_t *shared) {
    uint32_t n_gathers = 0;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        struct rsr_rank_op *planned = &plan->ops[i];
        planned->part = part_of(crew, step, i);
        planned->first_gather = n_gathers;
        bool waits = false;
        for (uint16_t b = 0; b < step->n_buffers; b++)
            waits = waits || (shared[b] != 0 && reads(op, b));
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
    return crew->ranks != NULL ? share_of(crew->ranks, n) : (struct rsr_range){0, n};
}
