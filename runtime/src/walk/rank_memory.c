/* rank_memory.c - keeps the rows of other ranks out of this rank's memory.
 *
 * Weights lie in the module's file, which is mapped, so only what is read takes memory. But the
 * kernel reads and maps more than what is asked for: 64 KB around it and more, and a rank's tiles
 * are some 100 KB in each of several streams. It does not do so across mappings that differ, so the
 * ranges of other ranks get an advice of their own. */
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crew.h"
#include "ranks.h"

static void advise(const char *begin, uint64_t bytes, int advice, bool outward) {
    const uintptr_t unit = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)begin, to = from + bytes;
    from = (outward ? from : from + unit - 1) / unit * unit;
    to = (outward ? to + unit - 1 : to) / unit * unit;
    if (bytes > 0 && from < to)
        madvise((void *)from, to - from, advice); /* it fails in memory that is no mapping's own */
}

static void advise_tiles(const struct rsr_kernel_desc *kernel, struct rsr_range tiles, int advice,
                         bool outward) {
    for (uint32_t s = 0; s < kernel->n_streams && kernel->weights.codes != NULL; s++)
        advise((const char *)kernel->weights.codes + s * kernel->stream_bytes +
                   tiles.begin * kernel->tile_bytes,
               (tiles.end - tiles.begin) * kernel->tile_bytes, advice, outward);
}

static void advise_rows(const struct rsr_matrix_data *matrix, struct rsr_range blocks, int advice,
                        bool outward) {
    const uint64_t rows = (uint64_t)RSR_DENSE_BLOCK_ROWS * blocks.end < matrix->rows
                              ? (uint64_t)RSR_DENSE_BLOCK_ROWS * blocks.end
                              : matrix->rows;
    const uint64_t first = (uint64_t)RSR_DENSE_BLOCK_ROWS * blocks.begin;
    const uint64_t row_bytes = rsr_matrix_row_bytes(matrix);
    advise((const char *)rsr_matrix_rows(matrix) + first * row_bytes,
           rows > first ? (rows - first) * row_bytes : 0, advice, outward);
}

/* Advises about an operation's weights: those of all ranks, or this rank's alone. */
static void advise_op(const struct rsr_target *target, const struct rsr_step_op *op,
                      const struct rsr_rank_op *own) {
    const int advice = own == NULL ? MADV_RANDOM : MADV_NORMAL;
    const bool outward = own != NULL;
    if (op->kind == RSR_OP_DENSE || (op->kind == RSR_OP_HEAD && op->arg == RSR_NO_KERNEL)) {
        const struct rsr_matrix_data *matrix =
            op->kind == RSR_OP_DENSE ? &target->tensors->dense[op->arg] : &target->tensors->head;
        const struct rsr_range all = {0, rsr_dense_blocks(matrix)};
        if (matrix->data != NULL)
            advise_rows(matrix, own != NULL ? own->part : all, advice, outward);
    } else if (op->kind == RSR_OP_LINEAR || op->kind == RSR_OP_HEAD) {
        const struct rsr_kernel_desc *kernel = &target->kernels[op->arg];
        const struct rsr_range all = {0, kernel->n_tiles};
        advise_tiles(kernel, own != NULL ? own->part : all, advice, outward);
    }
}

void rsr_rank_keep_own(const struct rsr_crew *crew) {
    const struct rsr_target *target = crew->model->target;
    for (uint32_t pass = 0; pass < 2; pass++)
        for (uint32_t s = 0; s < target->n_steps; s++)
            for (uint32_t i = 0; i < target->steps[s].n_ops; i++)
                advise_op(target, &target->steps[s].ops[i],
                          pass == 0 ? NULL : &crew->ranks->steps[s].ops[i]);
}
