/* gguf_evidence.h - resolves ambiguous types of GGUF by other evidence in the file. */
#ifndef RSRC_READER_GGUF_EVIDENCE_H
#define RSRC_READER_GGUF_EVIDENCE_H

#include "reader/checkpoint.h"
#include "reader/gguf.h"

/* Sets blocks and size_bytes of the tensors of type Q2_0, read as those with blocks of 64. The
 * tensors are sorted by their offsets, which are in the n_data bytes of data. Refuses files that
 * fit both sizes of blocks, or neither. */
RSRC_NODISCARD enum rsrc_status rsrc_gguf_find_q2_blocks(struct rsrc_diag *diag,
                                                         struct rsrc_gguf *gguf, uint64_t data_at,
                                                         uint64_t n_data, uint32_t alignment);

/* Sets blocks of the tensors of type I2_S, read as those of x86. Refuses them if neither the file
 * nor the user decides the layout, or if the two disagree. */
RSRC_NODISCARD enum rsrc_status rsrc_gguf_find_i2s_layout(struct rsrc_diag *diag,
                                                          struct rsrc_gguf *gguf,
                                                          enum rsrc_i2s_layout wanted);

#endif
