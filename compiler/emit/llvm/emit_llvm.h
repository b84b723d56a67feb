/* emit_llvm.h - the LLVM back end: kernels as optimised IR, assembly or an object file. */
#ifndef RSRC_EMIT_LLVM_EMIT_LLVM_H
#define RSRC_EMIT_LLVM_EMIT_LLVM_H

#include "ir.h"

extern const struct rsrc_backend rsrc_backend_llvm;

#endif
