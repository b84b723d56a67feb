/* gguf_names.h - names of tensors in GGUF files and in Hugging Face checkpoints. */
#ifndef RSRC_READER_GGUF_NAMES_H
#define RSRC_READER_GGUF_NAMES_H

#include "ir.h"

/* Gives a tensor its name in Hugging Face checkpoints, and sets its interleaved heads for rows of q
 * and k in pairs (else 0). A tensor without such a name keeps its own. */
void rsrc_gguf_rename(struct rsrc_arena *arena, struct rsr_tensor *tensor, uint32_t n_q_heads,
                      uint32_t n_kv_heads);

/* The reverse, for messages: "blk.0.attn_q.weight"; a name that is not in the table stays. */
const char *rsrc_gguf_stored_name(struct rsrc_arena *arena, const char *name);
/* The same in files of architecture qwen35. */
const char *rsrc_gguf_qwen35_stored_name(struct rsrc_arena *arena, const char *name);

#endif
