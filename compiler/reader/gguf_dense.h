/* gguf_dense.h - embeddings and heads that a GGUF file has quantised to 8 or 6 bits. */
#ifndef RSRC_READER_GGUF_DENSE_H
#define RSRC_READER_GGUF_DENSE_H

#include "ir.h"

/* Expands a tensor of type Q8_0 or Q6_K to float32 in the arena; others stay. */
RSRC_NODISCARD enum rsrc_status rsrc_gguf_expand(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 struct rsr_tensor *tensor);
/* Whether the type is ternary or binary: a head of this type stays a layer in blocks. */
bool rsrc_gguf_is_ternary_dense(const struct rsr_tensor *tensor);

#endif
