/* gguf_rotation.h - weights that are stored rotated: keys prism.hadamard.* of a GGUF file. */
#ifndef RSRC_READER_GGUF_ROTATION_H
#define RSRC_READER_GGUF_ROTATION_H

#include "reader/gguf.h"

bool rsrc_gguf_is_rotation_key(const char *key);
/* Fills rotations and n_rotations of the configuration, and rotation of the tensors, which have
 * their names of Hugging Face and are sorted by them. A file without such keys has no rotations. */
RSRC_NODISCARD enum rsrc_status rsrc_gguf_read_rotation(struct rsrc_diag *diag,
                                                        struct rsrc_arena *arena, const char *file,
                                                        struct rsrc_gguf *gguf,
                                                        struct rsr_config *config);

#endif
