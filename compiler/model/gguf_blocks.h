/* gguf_blocks.h - weights in the ternary blocks of GGUF: 256 weights of a row and their scale. */
#ifndef RSRC_MODEL_GGUF_BLOCKS_H
#define RSRC_MODEL_GGUF_BLOCKS_H

#include "ir.h"

/* "TQ2_0"; a tensor without blocks: NULL. */
const char *rsrc_blocks_name(enum rsr_blocks blocks);

/* Fills values[rows][cols] and the layer's one multiplier. Refuses code 3, scales that differ
 * between blocks, and scales that are no finite number above zero, naming tensor and offset. */
RSRC_NODISCARD enum rsrc_status rsrc_decode_blocks(struct rsrc_diag *diag,
                                                   const struct rsr_layer *layer, int8_t *values,
                                                   float *multiplier);

/* As rsrc_find_zero_rows(). */
void rsrc_find_zero_block_rows(const struct rsr_layer *layer, uint8_t *zero);

#endif
