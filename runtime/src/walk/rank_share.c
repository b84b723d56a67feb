/* rank_share.c - see rank_share.h. */
#include "rank_share.h"

#include <stddef.h>

/* ---- Results of which a rank needs its own heads alone ---- */

bool rsr_step_op_reads(const struct rsr_step_op *op, uint16_t buffer) {
    for (uint32_t s = 0; s < 4; s++)
        if (op->src[s] == buffer)
            return true;
    return (RSR_OPS_BY_TOKEN >> op->kind & 1) != 0 && op->dst == buffer; /* ADD, UNROTATE */
}

uint32_t rsr_rank_head_rows(const struct rsr_hyper *hyper, const struct rsr_step_table *step,
                            uint32_t writer) {
    const uint16_t buffer = step->ops[writer].dst;
    const uint32_t group = hyper->n_heads / hyper->n_kv_heads;
    uint32_t rows = 0;
    for (uint32_t i = writer + 1; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        const bool by_heads = op->kind == RSR_OP_ROPE_APPEND || op->kind == RSR_OP_ATTENTION;
        if (rsr_step_op_reads(op, buffer) && (!by_heads || op->src[3] == buffer))
            return 0;
        if (op->kind == RSR_OP_ROPE_APPEND && op->src[0] == buffer)
            rows = hyper->head_dim * group * (op->dst == RSR_NO_BUFFER ? 1 : 2);
        else if (op->kind == RSR_OP_ROPE_APPEND && rsr_step_op_reads(op, buffer))
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

struct rsr_range rsr_rank_part(const struct rsr_target *target, const struct rsr_hyper *hyper,
                               const struct rsr_step_table *step, uint32_t index, uint32_t rank,
                               uint32_t n_ranks) {
    const struct rsr_step_op *op = &step->ops[index];
    const bool dense =
        op->kind == RSR_OP_DENSE || (op->kind == RSR_OP_HEAD && op->arg == RSR_NO_KERNEL);
    if (!dense && op->kind != RSR_OP_LINEAR && op->kind != RSR_OP_HEAD)
        return (struct rsr_range){0, 0};
    const uint32_t head = op->kind == RSR_OP_HEAD ? 0 : rsr_rank_head_rows(hyper, step, index);
    const struct rsr_range kv_heads = rsr_rank_share(hyper->n_kv_heads, rank, n_ranks);
    const uint32_t begin = kv_heads.begin * head, end = kv_heads.end * head;
    if (dense) {
        const struct rsr_matrix_data *matrix =
            op->kind == RSR_OP_DENSE ? &target->tensors->dense[op->arg] : &target->tensors->head;
        return head == 0
                   ? rsr_rank_share(rsr_dense_blocks(matrix), rank, n_ranks)
                   : (struct rsr_range){begin / RSR_DENSE_BLOCK_ROWS,
                                        (end + RSR_DENSE_BLOCK_ROWS - 1) / RSR_DENSE_BLOCK_ROWS};
    }
    const struct rsr_kernel_desc *kernel = &target->kernels[op->arg];
    return head == 0 ? rsr_rank_share(kernel->n_tiles, rank, n_ranks)
                     : covering_tiles(kernel, begin, end);
}
