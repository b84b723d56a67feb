/* cuda_unit.h - the CUDA C++ text that instantiates cuda/kernels/matvec.cuh for planned layers. */
#ifndef RSRC_EMIT_PTX_CUDA_UNIT_H
#define RSRC_EMIT_PTX_CUDA_UNIT_H

#include "ir.h"

/* The headers that the text includes; templates by these names have their contents. */
#define RSRC_CUDA_HEADERS(X) X("matvec.cuh") X("activations.cuh") X("codes.cuh")

/* Blocks that a multiprocessor must be able to hold. Without this number, ptxas keeps registers for
 * more blocks and spills (64 registers: 8 bytes); with 2, LLVM's base-3 kernels spill 56 bytes. */
#define RSRC_GPU_MIN_BLOCKS 1u

/* A kernel as two compilers see it. */
struct rsrc_cuda_text {
    struct rsrc_buffer source; /* CUDA C++ */
    struct rsrc_buffer ptx;
};

/* One __global__ function per kernel, each with its title and reason in a comment. */
void rsrc_print_cuda_unit(const struct rsr_kernel *kernels, uint32_t n_kernels,
                          struct rsrc_buffer *out);
/* The comment before a kernel, equal in CUDA C++ and PTX: what it computes, how to launch it,
 * why. */
void rsrc_print_gpu_comment(const struct rsr_kernel *kernel, struct rsrc_buffer *out);
/* Threads of one block. */
uint32_t rsrc_gpu_threads(const struct rsr_matvec *matvec);

#endif
