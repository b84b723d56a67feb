/* nvptx_matvec.h - builds one matvec kernel. Private to emit/llvm/nvptx*.c. */
#ifndef RSRC_EMIT_LLVM_NVPTX_MATVEC_H
#define RSRC_EMIT_LLVM_NVPTX_MATVEC_H

#include "emit/llvm/nvptx_ir.h"

/* A module that has only the kernel; the caller disposes of it. */
void rsrc_build_nvptx_matvec(struct nvptx *p, const struct rsr_kernel *kernel);

#endif
