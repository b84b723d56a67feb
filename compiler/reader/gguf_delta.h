/* gguf_delta.h - gated delta rules in GGUF files: keys of qwen35, and the order of value heads. */
#ifndef RSRC_READER_GGUF_DELTA_H
#define RSRC_READER_GGUF_DELTA_H

#include "reader/gguf.h"

/* Whether qwen35 has a key of this name, given without "qwen35.". */
bool rsrc_gguf_is_delta_key(const char *key);

/* Fills the sizes of gated delta rules, and has_delta, of a configuration that has n_layers, which
 * becomes the number of blocks that predict the next token. A note names the other blocks, and
 * their tensors are left out. Tensors have the file's names. */
RSRC_NODISCARD enum rsrc_status rsrc_gguf_read_deltas(struct rsrc_diag *diag,
                                                      struct rsrc_arena *arena, const char *file,
                                                      struct rsrc_gguf *gguf,
                                                      struct rsr_config *config);

/* Gives tensors with value heads the order of Hugging Face. Tensors have its names and their
 * rotations. */
RSRC_NODISCARD enum rsrc_status rsrc_gguf_order_heads(struct rsrc_diag *diag,
                                                      struct rsrc_arena *arena, const char *file,
                                                      struct rsrc_gguf *gguf,
                                                      struct rsr_config *config);

#endif
