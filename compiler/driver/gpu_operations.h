/* gpu_operations.h - a GPU's operations between the layers: their images and launches. */
#ifndef RSRC_DRIVER_GPU_OPERATIONS_H
#define RSRC_DRIVER_GPU_OPERATIONS_H

#include "emit/ptx/emit_ptx.h"
#include "rsr_abi.h"

/* struct rsr_gpu_target.operations, the same for every GPU and model. */
extern const struct rsr_gpu_entry rsrc_gpu_operations[RSR_GPU_OPERATIONS];

/* What the functions need to be compiled, before those of products (gpu_products.h). */
#define RSRC_GPU_OPERATIONS_SOURCE "#include \"grouped.cuh\"\n#include \"head.cuh\"\n"

struct rsrc_gpu_compiler {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const struct rsrc_ptx_options *options; /* of the layers' kernels; with a store */
    const char *source;                     /* CUDA C++ */
};

/* Appends PTX (without a NUL), or with NVRTC a cubin, that has the functions of the source.
 * `has_nvrtc`: NVRTC compiled the layers' kernels, else clang. A dry run of clang appends
 * nothing. */
RSRC_NODISCARD enum rsrc_status rsrc_compile_gpu_operations(const struct rsrc_gpu_compiler *by,
                                                            bool has_nvrtc, enum rsr_unit_kind kind,
                                                            struct rsrc_buffer *out);
/* The compute capability that a text is for; 0: it states none. Clang's code is for the oldest GPU
 * that has all its instructions. */
uint32_t rsrc_ptx_target(const struct rsrc_buffer *ptx);

#endif
