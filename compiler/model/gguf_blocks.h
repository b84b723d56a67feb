/* gguf_blocks.h - weights in the ternary and binary types of GGUF. */
#ifndef RSRC_MODEL_GGUF_BLOCKS_H
#define RSRC_MODEL_GGUF_BLOCKS_H

#include "ir.h"

/* "TQ2_0"; a tensor without blocks: NULL. */
const char *rsrc_blocks_name(enum rsr_blocks blocks);
/* Whether they can hold the weights of a linear layer. */
bool rsrc_blocks_are_ternary(enum rsr_blocks blocks);

/* Fills values[rows][cols], and scale, n_scales and group_cols of `out`: one scale for the layer if
 * all are equal, else one per row, else one per group of columns, with the widest group that all
 * rows allow. Refuses illegal codes, and scales that are not finite or not above zero, naming
 * tensor and offset. */
RSRC_NODISCARD enum rsrc_status rsrc_decode_blocks(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const struct rsr_layer *layer, int8_t *values,
                                                   struct rsr_matrix *out);

/* Whether each block has its own scale, a float16. */
bool rsrc_can_expand_blocks(enum rsr_blocks blocks);
/* What a matrix in such blocks, an embedding, is as float16, which holds -d, 0 and d exactly: a
 * tensor without data. */
struct rsr_tensor rsrc_expanded(const struct rsr_tensor *tensor);
/* Its rows first .. first + n - 1 as float16. Refuses illegal codes and scales that are not
 * finite. */
RSRC_NODISCARD enum rsrc_status rsrc_expand_rows(struct rsrc_diag *diag,
                                                 const struct rsr_tensor *tensor, uint32_t first,
                                                 uint32_t n, uint16_t *out);
/* All of it in the arena. */
RSRC_NODISCARD enum rsrc_status rsrc_expand_blocks(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const struct rsr_tensor *tensor,
                                                   struct rsr_tensor *out);

/* Like rsrc_find_zero_rows(). */
void rsrc_find_zero_block_rows(const struct rsr_layer *layer, uint8_t *zero);

#endif
