/* cuda_unit.h - the CUDA C++ text that instantiates the templates of cuda/kernels/ for planned
 * layers. */
#ifndef RSRC_EMIT_PTX_CUDA_UNIT_H
#define RSRC_EMIT_PTX_CUDA_UNIT_H

#include "ir.h"

/* The headers that a model's kernels include; templates by these names have their contents. */
#define RSRC_CUDA_HEADERS(X)                                                                       \
    X("matvec.cuh")                                                                                \
    X("fold.cuh")                                                                                  \
    X("segment.cuh")                                                                               \
    X("activations.cuh")                                                                           \
    X("products.cuh")                                                                              \
    X("codes.cuh")                                                                                 \
    X("instructions.cuh")                                                                          \
    X("operations.cuh")                                                                            \
    X("fused.cuh")                                                                                 \
    X("grouped.cuh")                                                                               \
    X("head.cuh")

/* The kernel that makes activation rows of floats for all layers of a model, and the threads of its
 * blocks. A block has one row. */
#define RSRC_GPU_QUANTIZE "rsr_quantize"
#define RSRC_GPU_QUANTIZE_THREADS 256u

/* A kernel as two compilers see it. */
struct rsrc_cuda_text {
    struct rsrc_buffer source; /* CUDA C++ */
    struct rsrc_buffer ptx;
};

/* One __global__ function per kernel, each with its title and reason in a comment. */
void rsrc_print_cuda_unit(const struct rsr_kernel *kernels, uint32_t n_kernels,
                          struct rsrc_buffer *out);
void rsrc_print_cuda_quantize(struct rsrc_buffer *out);
/* The bodies of a fold, as a type that fold.cuh takes: rsr::<symbol>_bodies. */
void rsrc_print_cuda_fold(const struct rsr_kernel *kernel, struct rsrc_buffer *out);
/* The comment before a kernel, equal in CUDA C++ and PTX: what it computes, how to launch it,
 * why. */
void rsrc_print_gpu_comment(const struct rsr_kernel *kernel, struct rsrc_buffer *out);
void rsrc_print_quantize_comment(struct rsrc_buffer *out);
/* Whether the kernel's activation rows are made on the GPU, from floats. */
bool rsrc_gpu_quantizes(const struct rsr_kernel *kernel);
/* Threads of one block. */
uint32_t rsrc_gpu_threads(const struct rsr_matvec *matvec);
/* The launch of RSRC_GPU_QUANTIZE. */
extern const struct rsr_gpu_entry rsrc_gpu_quantize;
/* A kernel has functions by number of tokens: its symbol, and the tokens that share one reading of
 * the codes. cuda/kernels/matvec.cuh describes their parameters. */
#define RSRC_GPU_FUNCTION "%s_%u"
/* The launches of a kernel's functions, without their symbols: together they serve every number of
 * tokens. Returns how many there are. */
uint32_t rsrc_gpu_launches(const struct rsr_matvec *matvec,
                           struct rsr_gpu_entry out[RSR_GPU_MAX_FUNCTIONS]);
/* The functions of a product (rsr_abi.h), which have this matrix's constants but for its rows: by
 * the product's number and by tokens. */
#define RSRC_GPU_PRODUCT "rsr_product_%u_%u"
void rsrc_print_cuda_product(const struct rsr_matvec *matvec, const struct rsr_gpu_group *product,
                             struct rsrc_buffer *out);
/* The same with symbols. */
uint32_t rsrc_list_gpu_entries(struct rsrc_arena *arena, const struct rsr_kernel *kernel,
                               struct rsr_gpu_entry **out);

#endif
