/* fold.h - what the files of `fold` share. The bodies (fold_body.c) are block rows of the segment
 * index as straight-line code.
 *
 * A body serves one tile of rows and one chunk of columns. It reads the chunk's activations,
 * transposed: column after column, each a vector with one token a lane; it adds the tile's results
 * over the chunk to the sums, row after row.
 */
#ifndef RSRC_KERNELS_FOLD_FOLD_H
#define RSRC_KERNELS_FOLD_FOLD_H

#include "kernel/kernel_frame.h"

/* A body of k rows needs 2k - 1 registers, and three more to widen 16-bit sums: 16 vector
 * registers, or the 13 general registers that x86-64 has besides the stack and two pointers. */
#define RSRC_FOLD_MAX_K 7u

/* 128 times as many terms fit 16 bits. */
#define RSRC_FOLD_NARROW_TERMS 255u
/* Columns of a chunk, besides that bound: an L1 of 32 KiB holds 512 vectors of 64 bytes. Floats
 * have as many for every lane count, because the chunk is part of the order of additions, and leave
 * room for the sums. Scalars, of 4 bytes, fill half of that L1. */
#define RSRC_FOLD_NARROW_COLS 512u
#define RSRC_FOLD_FLOAT_COLS 384u
#define RSRC_FOLD_SCALAR_COLS 4096u

/* What the bodies and the loops around them agree on. */
struct rsrc_fold_form {
    enum rsr_alphabet alphabet;
    enum rsr_elem elem; /* of columns: I16 (vectors), I32 (scalars) or F32 (both) */
    uint32_t lanes;     /* tokens side by side */
    uint32_t k;         /* rows of a block */
    uint32_t tile_blocks;
    uint32_t chunk_cols, n_chunks;
    uint32_t bias_cols; /* a body's columns pointer points at this column of its chunk */
};

static inline uint32_t rsrc_fold_column_bytes(const struct rsrc_fold_form *form) {
    return form->lanes * (form->elem == RSR_ELEM_I16 ? 2 : 4);
}

/* Bytes of the sums of one row: 32 bits a lane. Vectors of I16 are widened to their even lanes,
 * then their odd ones; the others lie in order. */
static inline uint32_t rsrc_fold_sum_bytes(const struct rsrc_fold_form *form) {
    return form->lanes * 4;
}

/* Makes body number tile * n_chunks + chunk for every tile and chunk. */
void rsrc_fold_bodies(struct rsrc_kb *kb, const struct rsr_index *index,
                      const struct rsrc_fold_form *form);

/* ---- fold_transpose.c: the activations of a token tile to the columns that bodies read ---- */

/* Columns are made sixteen at a time. */
#define RSRC_FOLD_COLUMN_STEP 16u

/* Emits scratch[columns + j * column_bytes][lane] = activation j of token `first` + lane, for the
 * form's lanes; tokens from n_tokens on are zeros. `columns` is a register with the byte where
 * column 0 lies in the scratch memory, which has room for whole steps of columns. */
void rsrc_fold_transpose(struct rsrc_frame *frame, const struct rsrc_fold_form *form,
                         uint16_t first, uint16_t columns);

/* ---- fold_results.c: the sums of a tile of rows, a token a lane, to the rows of each token ---- */

/* What is stored; all registers are i64. */
struct rsrc_fold_range {
    uint16_t first_row, end_row; /* of the tile */
    uint16_t first, end;         /* tokens; the sums of `first` lie in lane 0 */
    uint16_t sums;               /* byte of the scratch memory where those of first_row begin */
    bool whole_quads;            /* every tile has a multiple of four rows */
};

/* Emits y[token][row] = the result of sums[row - first_row][token - first], for all of the
 * range. */
void rsrc_fold_results(struct rsrc_frame *frame, const struct rsrc_fold_form *form,
                       const struct rsrc_fold_range *range);

#endif
