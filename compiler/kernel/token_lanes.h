/* token_lanes.h - tokens in the lanes of vectors: activations are transposed into columns, and sums
 * back into the rows of each token. `fold` and `table` compute in between.
 */
#ifndef RSRC_KERNEL_TOKEN_LANES_H
#define RSRC_KERNEL_TOKEN_LANES_H

#include "kernel/kernel_frame.h"

/* A column is a vector with one activation of each token. */
struct rsrc_token_lanes {
    enum rsr_elem elem; /* of columns: I16 (vectors), I32 (scalars) or F32 (both) */
    uint32_t lanes;     /* tokens in a vector */
};

static inline uint32_t rsrc_column_bytes(const struct rsrc_token_lanes *lanes) {
    return lanes->lanes * (lanes->elem == RSR_ELEM_I16 ? 2 : 4);
}

/* Bytes of the sums of one row: 32 bits a lane. A vector of I16 is stored widened: first its even
 * lanes, then its odd lanes. Other elements are in order. */
static inline uint32_t rsrc_lane_sums_bytes(const struct rsrc_token_lanes *lanes) {
    return lanes->lanes * 4;
}

/* Columns are made sixteen at a time; columns of floats, four. */
#define RSRC_TOKEN_COLUMN_STEP 16u

/* Emits scratch[columns + j * column_bytes][lane] = activation first_col + j of token `first` +
 * lane, for j < n_cols; tokens from n_tokens on are zeros. All arguments are registers. `columns`
 * is the byte offset of the first column in the scratch memory, which has room for whole steps of
 * columns; first_col may be RSR_NO_KREG for 0. */
void rsrc_token_columns(struct rsrc_frame *frame, const struct rsrc_token_lanes *lanes,
                        uint16_t first, uint16_t columns, uint16_t first_col, uint16_t n_cols);

/* Transposes four by four in registers: in[i][j] becomes out[j][i]. `number` makes names unique. */
#define RSRC_TOKEN_QUAD 4u
void rsrc_transpose_quad(struct rsrc_kb *kb, const uint16_t in[RSRC_TOKEN_QUAD],
                         uint16_t out[RSRC_TOKEN_QUAD], enum rsr_elem elem, uint32_t number);

/* The results to store; all registers are i64. */
struct rsrc_token_range {
    uint16_t first_row, end_row; /* tokens of the tile */
    uint16_t first, end;         /* tokens; lane 0 has the sums of `first` */
    uint16_t sums;               /* byte of the scratch memory where the sums of first_row begin */
    bool whole_quads;            /* every tile has a multiple of four rows */
};

/* Emits y[token][row] = the result of sums[row - first_row][token - first], for the whole range. */
void rsrc_token_results(struct rsrc_frame *frame, const struct rsrc_token_lanes *lanes,
                        const struct rsrc_token_range *range);

/* ---- token_group.c: tokens whose columns and sums lie in the scratch memory together
 * ------------- */

/* All members except the numbers are registers. */
struct rsrc_token_group {
    struct rsrc_frame *frame;
    const struct rsrc_token_lanes *lanes;
    uint32_t tokens;     /* tokens of a group, in whole vectors */
    uint16_t first, end; /* of the current group */
};

/* Open loops over the groups of all tokens, and over the vectors of a group; the latter returns the
 * first token. rsrc_kb_end closes each loop. */
void rsrc_begin_token_groups(struct rsrc_token_group *group);
uint16_t rsrc_begin_token_vectors(const struct rsrc_token_group *group, const char *name);
/* The byte offset of the slot, in an array at `at`, of the vector that begins with token `first`; a
 * slot has `bytes`. */
uint16_t rsrc_token_slot(const struct rsrc_token_group *group, uint16_t first, int64_t at,
                         uint64_t bytes, const char *name);
/* Calls rsrc_token_results for all vectors, whose sums are such slots; the range's rows are set. */
void rsrc_token_group_results(const struct rsrc_token_group *group, int64_t at, uint64_t bytes,
                              struct rsrc_token_range range);

#endif
