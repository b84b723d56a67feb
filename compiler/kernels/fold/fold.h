/* fold.h - what the files of `fold` share. The bodies (fold_body.c) are block rows of the segment
 * index as straight-line code.
 *
 * A body serves one tile of rows and one chunk of columns. It reads the chunk's activations,
 * transposed: column after column, each a vector with one token a lane; it adds the tile's results
 * over the chunk to the sums, row after row.
 */
#ifndef RSRC_KERNELS_FOLD_FOLD_H
#define RSRC_KERNELS_FOLD_FOLD_H

#include "kernel/token_lanes.h"

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
    struct rsrc_token_lanes tokens;
    uint32_t k; /* rows of a block */
    uint32_t tile_blocks;
    uint32_t chunk_cols, n_chunks;
    uint32_t bias_cols; /* a body's columns pointer points at this column of its chunk */
};

/* Makes body number tile * n_chunks + chunk for every tile and chunk. */
void rsrc_fold_bodies(struct rsrc_kb *kb, const struct rsr_index *index,
                      const struct rsrc_fold_form *form);

#endif
