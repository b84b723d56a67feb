/* fold_body.h - the bodies of `fold`, of CPUs and GPUs: blocks of rows of the segment index as
 * straight-line code.
 *
 * A body serves one tile of rows and one chunk of columns. It reads the chunk's activations,
 * transposed: column after column, each a vector with one token per lane. It adds the tile's
 * results for the chunk to the sums, row after row.
 */
#ifndef RSRC_KERNEL_FOLD_BODY_H
#define RSRC_KERNEL_FOLD_BODY_H

#include "kernel/token_lanes.h"

/* A body of k rows needs 2k - 1 registers, and three more to widen 16-bit sums: 16 vector
 * registers, or the 13 general registers that x86-64 has besides the stack and two pointers. */
#define RSRC_FOLD_MAX_K 7u

/* This many terms of at most 128 fit 16 bits. */
#define RSRC_FOLD_NARROW_TERMS 255u
/* Further limits of a chunk's columns. An L1 of 32 KiB holds 512 vectors of 64 bytes. Floats have
 * one limit for every number of lanes, because the chunk is part of the order of additions; it
 * leaves room for the sums. Scalars, of 4 bytes, fill half of that L1. */
#define RSRC_FOLD_NARROW_COLS 512u
#define RSRC_FOLD_FLOAT_COLS 384u
#define RSRC_FOLD_SCALAR_COLS 4096u

/* Numbers shared by the bodies and the loops around them. */
struct rsrc_fold_form {
    enum rsr_alphabet alphabet;
    struct rsrc_token_lanes tokens;
    uint32_t k; /* rows of a block */
    uint32_t tile_blocks;
    uint32_t chunk_cols, n_chunks;
    uint32_t bias_cols; /* the columns pointer of a body points at this column of its chunk */
};

/* Refuses blocks of too many rows, and sums that int32 does not hold. */
RSRC_NODISCARD enum rsrc_status rsrc_check_fold(struct rsrc_diag *diag,
                                                const struct rsrc_lower_input *input);
/* The index as a text, for keys: equal texts are equal bodies. */
const char *rsrc_hash_fold_index(struct rsrc_arena *arena, const struct rsr_index *index);
/* Additions of a block's folds, which the statistics count, that the tree of fold_body.c saves,
 * because the first addition to an empty register is a move. */
uint64_t rsrc_fold_saved_adds(enum rsr_alphabet alphabet, uint32_t k);

/* Makes body number tile * n_chunks + chunk for every tile and chunk. */
void rsrc_fold_bodies(struct rsrc_kb *kb, const struct rsr_index *index,
                      const struct rsrc_fold_form *form);

#endif
