/* npy.h - one array that NumPy saved: a matrix file. */
#ifndef RSRC_READER_NPY_H
#define RSRC_READER_NPY_H

#include "ir.h"

/* Like rsrc_parse_safetensors. The array has no name in its file, so the tensor has the file's
 * name. */
RSRC_NODISCARD enum rsrc_status rsrc_parse_npy(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                               const char *name, const uint8_t *bytes,
                                               uint64_t size_bytes, struct rsr_tensor **tensors,
                                               uint32_t *n_tensors);

#endif
