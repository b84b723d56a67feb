/* llvm_code.h - a list of kernel operations as LLVM IR: a kernel's own, or one body's.
 *
 * Registers of the list are variables; IR has values. Control flow is nested, so SSA form needs no
 * dominance frontiers: a register that a loop assigns has a phi at the loop's head, and a register
 * that a branch assigns has one after the branch.
 */
#ifndef RSRC_EMIT_LLVM_LLVM_CODE_H
#define RSRC_EMIT_LLVM_LLVM_CODE_H

#include <llvm-c/Core.h>

#include "ir.h"

struct rsrc_llvm_code {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder; /* at the end of the open block */
    LLVMValueRef function;
    struct rsrc_arena *arena;
    const struct rsr_kernel *kernel;
    const struct rsr_kreg *regs; /* the kernel's, or those of its bodies */
    uint32_t n_regs;
    const struct rsr_kop *ops;
    uint32_t n_ops;
    LLVMValueRef buffers[RSR_KBUF_COUNT];  /* NULL: not used */
    LLVMValueRef params[RSR_KPARAM_COUNT]; /* i64 */
    LLVMValueRef bodies;                   /* table of pointers; NULL: none */
    LLVMValueRef *values;                  /* by register: its current value; NULL: none */
};

/* Appends the operations to the open block and leaves the last block open. */
void rsrc_llvm_build_code(struct rsrc_llvm_code *code);

/* ---- llvm_value.c: single operations --------------------------------------------------------- */

LLVMTypeRef rsrc_llvm_type(const struct rsrc_llvm_code *code, enum rsr_elem elem, uint32_t lanes);
LLVMTypeRef rsrc_llvm_reg_type(const struct rsrc_llvm_code *code, uint16_t reg);
/* A 64-bit constant. */
LLVMValueRef rsrc_llvm_index(const struct rsrc_llvm_code *code, int64_t value);
/* buffer + terms + imm */
LLVMValueRef rsrc_llvm_address(const struct rsrc_llvm_code *code, const struct rsr_kop *op);
/* Says that the loaded memory never changes while the module is loaded. */
void rsrc_llvm_mark_constant(const struct rsrc_llvm_code *code, LLVMValueRef load);
/* Calls an intrinsic that has no open types; arguments are cast to its types. */
LLVMValueRef rsrc_llvm_call(const struct rsrc_llvm_code *code, const char *name,
                            LLVMValueRef *arguments, uint32_t n_arguments);
/* The result of an operation that has a result and is neither LOOP nor on tiles. */
LLVMValueRef rsrc_llvm_build_value(const struct rsrc_llvm_code *code, const struct rsr_kop *op);

#endif
