/* gguf_dense.h - embeddings and heads that a GGUF file has quantised to 8 or 6 bits. */
#ifndef RSRC_READER_GGUF_DENSE_H
#define RSRC_READER_GGUF_DENSE_H

#include "ir.h"

/* Makes a tensor of type Q8_0 or Q6_K one of float32, and one of type Q2_0 one of float16, in the
 * arena; leaves any other alone. */
RSRC_NODISCARD enum rsrc_status rsrc_gguf_expand(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 struct rsr_tensor *tensor);
/* Of type Q2_0: as a head it stays what it is, a ternary layer. */
bool rsrc_gguf_is_ternary_dense(const struct rsr_tensor *tensor);

#endif
