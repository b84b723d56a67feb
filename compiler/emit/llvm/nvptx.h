/* nvptx.h - the matvec of cuda/kernels/matvec.cuh built as LLVM IR: PTX without a CUDA toolkit. */
#ifndef RSRC_EMIT_LLVM_NVPTX_H
#define RSRC_EMIT_LLVM_NVPTX_H

#include "ir.h"

/* Whether LLVM makes PTX for a processor, "sm_90". */
bool rsrc_nvptx_knows(const char *cpu);
/* "LLVM 19.1". */
const char *rsrc_nvptx_name(struct rsrc_arena *arena);
/* Appends the PTX of one kernel. */
RSRC_NODISCARD enum rsrc_status rsrc_nvptx_compile(struct rsrc_diag *diag,
                                                   const struct rsr_kernel *kernel,
                                                   const struct rsr_spec *spec,
                                                   struct rsrc_buffer *out);

#endif
