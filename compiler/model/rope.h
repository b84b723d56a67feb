/* rope.h - the frequencies of rotary embeddings. */
#ifndef RSRC_MODEL_ROPE_H
#define RSRC_MODEL_ROPE_H

#include "ir.h"

/* inv_freq [head_dim / 2] and the factor of cosines and sines, in the arena. */
void rsrc_build_rope(struct rsrc_arena *arena, const struct rsr_rope_config *config,
                     uint32_t head_dim, struct rsr_rope *out);

#endif
