/* rank_share.h - which tiles of a kernel and which rows of a dense matrix a rank reads. It follows
 * from the tables and the numbers of ranks alone: the runtime computes by it, and rsrc --shard
 * writes by it. */
#ifndef RSR_RANK_SHARE_H
#define RSR_RANK_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "rsr_abi.h"

#define RSR_MOST_RANKS 1024u

struct rsr_range {
    uint32_t begin, end;
};

/* A rank's range of n things that follow each other; the first ranks have one more. */
static inline struct rsr_range rsr_rank_share(uint32_t n, uint32_t rank, uint32_t n_ranks) {
    const uint32_t each = n / n_ranks, more = n % n_ranks;
    const uint32_t begin = rank * each + (rank < more ? rank : more);
    return (struct rsr_range){begin, begin + each + (rank < more)};
}

/* The unit in which rows of a dense matrix are shared out. A block of rows stays in the cache while
 * all tokens are multiplied with it. With a multiple of 16 no two workers write to one cache
 * line. */
#define RSR_DENSE_BLOCK_ROWS 16u
static inline uint32_t rsr_dense_blocks(const struct rsr_matrix_data *matrix) {
    return matrix->rows / RSR_DENSE_BLOCK_ROWS + (matrix->rows % RSR_DENSE_BLOCK_ROWS != 0);
}

bool rsr_step_op_reads(const struct rsr_step_op *op, uint16_t buffer);
/* The rows of a KV head in the results of operation `writer`, if every reader takes its own heads'
 * rows; else 0. */
uint32_t rsr_rank_head_rows(const struct rsr_hyper *hyper, const struct rsr_step_table *step,
                            uint32_t writer);
/* A rank's tiles of the operation's kernel, or blocks of its dense matrix; other operations have
 * none. Of the target it reads the kernels' n_tiles, tile_rows and row_map, and the dense
 * matrices' rows. */
struct rsr_range rsr_rank_part(const struct rsr_target *target, const struct rsr_hyper *hyper,
                               const struct rsr_step_table *step, uint32_t index, uint32_t rank,
                               uint32_t n_ranks);

#endif
