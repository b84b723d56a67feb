/* segment.h - RSR segment analysis: columns of a block of k rows that repeat are summed once.
 *
 * Codes. Row i of a block contributes digit i. Ternary: sum t_i 3^i, balanced; a code and its
 * negation share a segment, whose code is the positive one, so canonical codes are 1 .. (3^k -
 * 1)/2. Signs (-1, +1): sum b_i 2^i with b = (w + 1)/2; a code and its complement share a segment,
 * whose code has the top bit set. Bits {0, 1}: sum b_i 2^i, never negated. Zero columns (ternary,
 * bits) are in no segment. The last block may have fewer than k rows; its codes use its own height.
 * Source: RSR, arXiv 2411.06360, sections 3 and 4; sign-canonical segments are ours.
 */
#ifndef RSRC_RSR_SEGMENT_H
#define RSRC_RSR_SEGMENT_H

#include "ir.h"

/* 1 <= k <= RSR_MAX_K. */
void rsrc_build_index(struct rsrc_arena *arena, const struct rsr_matrix *matrix, uint32_t k,
                      struct rsr_index *out);

/* Rebuilds the matrix from its index and compares every entry; checks order, ranges and that every
 * column is in at most one segment. Reports the first difference. */
RSRC_NODISCARD enum rsrc_status rsrc_verify_index(struct rsrc_diag *diag,
                                                  const struct rsr_index *index,
                                                  const struct rsr_matrix *matrix,
                                                  const char *layer_name);

/* Statistics at one k without building the index. Scratch stays in the arena. */
void rsrc_analyse_matrix(struct rsrc_arena *arena, const struct rsr_matrix *matrix, uint32_t k,
                         struct rsr_stats *out);

/* The k in 1..RSR_MAX_K (and at most rows) that minimises the cost of this matrix in additions:
 * n_members + RSR_SEGMENT_START_ADDS n_segments + the cheaper of n_fold_adds and
 * RSR_DIRECT_DIGIT_ADDS n_direct_adds. A sample of the blocks decides k; the statistics of the
 * chosen k are exact. Scratch stays in the arena. */
uint32_t rsrc_choose_k(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                       struct rsr_stats *out);

/* Text form. A printed text parses back to an equal index, also several dumps one after another.
 * The text is untrusted. */
void rsrc_print_index(const struct rsr_index *index, const char *layer_name,
                      struct rsrc_buffer *out);
struct rsr_named_index {
    const char *layer_name;
    struct rsr_index index;
};
RSRC_NODISCARD enum rsrc_status rsrc_parse_indexes(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const char *file, const char *text,
                                                   uint64_t size_bytes,
                                                   struct rsr_named_index **out, uint32_t *n_out);
/* The matrix that an index stands for. */
void rsrc_rebuild_matrix(struct rsrc_arena *arena, const struct rsr_index *index,
                         struct rsr_matrix *out);

#endif
