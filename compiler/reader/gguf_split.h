/* gguf_split.h - models in several GGUF files: NAME-00001-of-00003.gguf and so on. */
#ifndef RSRC_READER_GGUF_SPLIT_H
#define RSRC_READER_GGUF_SPLIT_H

#include "reader/gguf.h"

#define RSRC_GGUF_MAX_PARTS 4096u

/* One file of a model. */
struct rsrc_gguf_part {
    const char *file; /* for messages */
    const uint8_t *bytes;
    uint64_t size_bytes;
};

/* Parses the name of a part: part `number` of `n_parts`, counted from 1, and the length of the name
 * before that. False: it is not such a name. */
bool rsrc_gguf_part_of_name(const char *path, uint32_t *number, uint32_t *n_parts, size_t *n_stem);

/* Like rsrc_read_gguf(), for all parts of a model in order: metadata of the first part, tensors of
 * all. Refuses a file that is another part than its place says. */
RSRC_NODISCARD enum rsrc_status rsrc_read_gguf_parts(struct rsrc_diag *diag,
                                                     struct rsrc_arena *arena,
                                                     const struct rsrc_gguf_part *parts,
                                                     uint32_t n_parts, struct rsrc_gguf *out);

#endif
