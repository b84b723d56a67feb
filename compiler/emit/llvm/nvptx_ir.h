/* nvptx_ir.h - a thin layer over LLVM's builder for GPU code: 32-bit arithmetic, loops, special
 * registers, warp collectives. Private to emit/llvm/nvptx*.c. */
#ifndef RSRC_EMIT_LLVM_NVPTX_IR_H
#define RSRC_EMIT_LLVM_NVPTX_IR_H

#include <llvm-c/Core.h>

#include "ir.h"

/* Address spaces of NVPTX. */
#define NVPTX_GLOBAL 1u
#define NVPTX_SHARED 3u

/* One function being built. */
struct nvptx {
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    LLVMValueRef function;
    LLVMTypeRef i1, i8, i32, i64, f32, void_type;
    LLVMTypeRef i32x4;
    LLVMTypeRef global, shared; /* pointers */
};

/* Begins a function with parameters `types` in its own module; the builder is at its start. */
void nvptx_begin(struct nvptx *p, const char *symbol,
                 LLVMTypeRef (*types)(struct nvptx *p, uint32_t i), uint32_t n_types,
                 uint32_t n_threads);
void nvptx_dispose(struct nvptx *p);

LLVMValueRef nvptx_u32(struct nvptx *p, uint32_t value);
LLVMValueRef nvptx_u64(struct nvptx *p, uint64_t value);
LLVMValueRef nvptx_float(struct nvptx *p, double value);
/* a * scale + offset, a: i32 or i64 */
LLVMValueRef nvptx_affine(struct nvptx *p, LLVMValueRef a, uint64_t scale, uint64_t offset);
LLVMValueRef nvptx_min(struct nvptx *p, LLVMValueRef a, LLVMValueRef b);  /* unsigned */
LLVMValueRef nvptx_max(struct nvptx *p, LLVMValueRef a, LLVMValueRef b);  /* unsigned */
LLVMValueRef nvptx_less(struct nvptx *p, LLVMValueRef a, LLVMValueRef b); /* unsigned */

/* base + bytes; bytes: i32 or i64, unsigned */
LLVMValueRef nvptx_at(struct nvptx *p, LLVMValueRef base, LLVMValueRef bytes);
LLVMValueRef nvptx_load(struct nvptx *p, LLVMTypeRef type, LLVMValueRef address, uint32_t align);
/* Loads data that nothing writes while the kernel runs: ld.global.nc. */
LLVMValueRef nvptx_load_constant(struct nvptx *p, LLVMTypeRef type, LLVMValueRef address,
                                 uint32_t align);
void nvptx_store(struct nvptx *p, LLVMValueRef value, LLVMValueRef address, uint32_t align);

/* A variable of the function, in a register once optimised. */
LLVMValueRef nvptx_variable(struct nvptx *p, LLVMTypeRef type, const char *name);
LLVMValueRef nvptx_get(struct nvptx *p, LLVMValueRef variable);
void nvptx_set(struct nvptx *p, LLVMValueRef variable, LLVMValueRef value);

/* for (i = from; i < to; i += step): i32, unsigned; everything built before the end is the body. */
struct nvptx_loop {
    LLVMValueRef variable, index, step;
    LLVMBasicBlockRef head, end;
};
struct nvptx_loop nvptx_begin_loop(struct nvptx *p, const char *name, LLVMValueRef from,
                                   LLVMValueRef to, LLVMValueRef step);
void nvptx_end_loop(struct nvptx *p, const struct nvptx_loop *loop);
/* Returns the argument of nvptx_end_if. */
LLVMBasicBlockRef nvptx_begin_if(struct nvptx *p, const char *name, LLVMValueRef condition);
void nvptx_end_if(struct nvptx *p, LLVMBasicBlockRef end);

LLVMValueRef nvptx_call(struct nvptx *p, const char *intrinsic, LLVMTypeRef result,
                        const LLVMValueRef *arguments, uint32_t n_arguments);
LLVMValueRef nvptx_thread(struct nvptx *p); /* threadIdx.x */
LLVMValueRef nvptx_block(struct nvptx *p);  /* blockIdx.x */
void nvptx_barrier(struct nvptx *p);
/* Over all 32 lanes. */
LLVMValueRef nvptx_warp_max(struct nvptx *p, LLVMValueRef value); /* unsigned */
LLVMValueRef nvptx_warp_add(struct nvptx *p, LLVMValueRef value);
LLVMValueRef nvptx_lane_xor(struct nvptx *p, LLVMValueRef value, uint32_t distance);
/* c + the four products of signed bytes; LLVM 19 has no intrinsic for it. */
LLVMValueRef nvptx_dp4a(struct nvptx *p, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);

#endif
