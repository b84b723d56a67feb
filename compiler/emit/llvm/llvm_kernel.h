/* llvm_kernel.h - one kernel, and its bodies, as functions of a module. */
#ifndef RSRC_EMIT_LLVM_LLVM_KERNEL_H
#define RSRC_EMIT_LLVM_LLVM_KERNEL_H

#include <llvm-c/Core.h>

#include "emit/llvm/llvm_setup.h"

/* Adds a hidden function kernel->symbol. The kernel has been verified and has no obstacle. */
void rsrc_llvm_add_kernel(LLVMModuleRef module, LLVMBuilderRef builder,
                          const struct rsrc_llvm_arch *arch, const struct rsr_kernel *kernel,
                          struct rsrc_arena *arena);

#endif
