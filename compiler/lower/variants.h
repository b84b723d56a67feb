/* variants.h - one lowering a variant; lower.c chooses by the plan. Private to lower/. */
#ifndef RSRC_LOWER_VARIANTS_H
#define RSRC_LOWER_VARIANTS_H

#include "lower/lower.h"

/* Fill the kernel's operations, tiles and scratch, the bytes of out->codes (and out->index), and
 * *detail: what the kernel's code depends on besides shape, alphabet, epilogue, tile and target. */
enum rsrc_status rsrc_lower_dot(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                const char **detail);
enum rsrc_status rsrc_lower_scatter(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                    const char **detail);

enum rsrc_status rsrc_lower_fold(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                 const char **detail);
enum rsrc_status rsrc_lower_lut(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                const char **detail);

/* Removes operations whose results are never read. */
void rsrc_simplify_kernel(struct rsrc_arena *arena, struct rsr_kernel *kernel);

/* The packed codes of `dot`. A quad is 4 rows; for every block of block_cols columns it holds
 * vector_bytes bytes of each row. Byte i of those holds columns p * vector_bytes + i at bits
 * p * code_bits, planes p ascending. Columns beyond the matrix have any code (the activations there
 * are 0); rows beyond it are zero bytes, computed and never stored. */
struct rsrc_dot_layout {
    uint32_t vector_bytes;
    uint32_t code_bits;  /* 2: ternary, w + 1; 1: binary, (w + 1) / 2 or w */
    uint32_t n_planes;   /* 8 / code_bits */
    uint32_t block_cols; /* n_planes * vector_bytes, a divisor of RSR_ACT_PAD */
    uint32_t n_blocks, n_quads;
};
void rsrc_pack_dot(const struct rsr_matrix *matrix, const struct rsrc_dot_layout *layout,
                   uint8_t *out);

/* The tables of `scatter`. codes: members, the column numbers of all segments in order, 16-bit where
 * cols <= 65536, else 32-bit. index: one rsrc_scatter_block a block of k rows, then the segments. */
struct rsrc_scatter_block {
    uint64_t first_member; /* element of codes */
    uint64_t first_segment;
    uint64_t n_segments;
};
struct rsrc_scatter_segment {
    uint32_t slot;    /* TREE: of the fold table; DIRECT: weight + 1 of row i at bits 2i */
    uint32_t n_added; /* members that are added; they come first */
    uint32_t n_subtracted;
};
struct rsrc_scatter_layout {
    uint32_t member_bytes;
    uint64_t n_members, n_segments;
};
void rsrc_pack_scatter(const struct rsr_index *index, enum rsr_fold_kind fold,
                       const struct rsrc_scatter_layout *layout, uint8_t *codes, uint8_t *table);

#endif
