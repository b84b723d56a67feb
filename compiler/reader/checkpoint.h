/* checkpoint.h - reads a checkpoint: safetensors, config.json, tokenizer.json; GGUF; a matrix file.
 *
 * Input: a .safetensors file, a *.index.json of a sharded one, a Hugging Face folder, or a .gguf
 * file (of a split model: the first), which holds its configuration. Output: a validated
 * rsr_checkpoint whose tensors borrow the mapped files. A lone .safetensors file without a
 * config.json beside it is a matrix file (has_config false), and so is every .npy file.
 */
#ifndef RSRC_READER_CHECKPOINT_H
#define RSRC_READER_CHECKPOINT_H

#include "ir.h"
#include "rsrc.h"

/* Facts that a user may have to give for a GGUF file that omits them; and whether reading continues
 * after a refused configuration or tokenizer. Then all mistakes are reported, and a checkpoint
 * whose tokenizer alone is refused is read without it. */
struct rsrc_read_choices {
    enum rsrc_i2s_layout i2s_layout;
    enum rsrc_activations activations;
    bool goes_on;
};

RSRC_NODISCARD enum rsrc_status rsrc_read_checkpoint(struct rsrc_diag *diag,
                                                     struct rsrc_arena *arena, const char *path,
                                                     const struct rsrc_read_choices *choices,
                                                     struct rsr_checkpoint *out);
void rsrc_checkpoint_close(struct rsr_checkpoint *checkpoint);

/* Binary search by name; NULL if there is none. */
struct rsr_tensor *rsrc_find_tensor(const struct rsr_checkpoint *checkpoint, const char *name);

/* The single parts, for tests and fuzzing; each takes untrusted bytes. Messages use `name`. */
RSRC_NODISCARD enum rsrc_status rsrc_parse_safetensors(struct rsrc_diag *diag,
                                                       struct rsrc_arena *arena, const char *name,
                                                       const uint8_t *bytes, uint64_t size_bytes,
                                                       struct rsr_tensor **tensors,
                                                       uint32_t *n_tensors);
/* Fills tensors, sorted, and config. The tensors get the names of Hugging Face checkpoints, which
 * all later messages use. */
RSRC_NODISCARD enum rsrc_status rsrc_parse_gguf(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                const char *name, const uint8_t *bytes,
                                                uint64_t size_bytes,
                                                const struct rsrc_read_choices *choices,
                                                struct rsr_checkpoint *out);
/* Reads a model in several files; the first file has its metadata. */
struct rsrc_gguf_part;
RSRC_NODISCARD enum rsrc_status
rsrc_parse_gguf_parts(struct rsrc_diag *diag, struct rsrc_arena *arena,
                      const struct rsrc_gguf_part *parts, uint32_t n_parts,
                      const struct rsrc_read_choices *choices, struct rsr_checkpoint *out);
RSRC_NODISCARD enum rsrc_status rsrc_parse_config(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                  const char *name, const uint8_t *bytes,
                                                  uint64_t size_bytes, struct rsr_config *out);
RSRC_NODISCARD enum rsrc_status rsrc_parse_tokenizer(struct rsrc_diag *diag,
                                                     struct rsrc_arena *arena, const char *name,
                                                     const uint8_t *bytes, uint64_t size_bytes,
                                                     struct rsr_tokenizer *out);

#endif
