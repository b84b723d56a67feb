/* gpu_products.h - functions of a GPU that multiply for several layers with one input, and do what
 * follows them (cuda/kernels/grouped.cuh). */
#ifndef RSRC_DRIVER_GPU_PRODUCTS_H
#define RSRC_DRIVER_GPU_PRODUCTS_H

#include "ir.h"
#include "rsr_abi.h"

struct rsrc_gpu_products {
    struct rsr_gpu_group *list; /* struct rsr_gpu_target.groups */
    uint32_t n;
    uint32_t *of_kernel; /* of every kernel, 1 + a number of the list; 0: none */
    const char *source;  /* CUDA C++ of the functions; borrowed from the arena */
};

/* Finds functions for all kernels whose codes matvec.cuh reads and whose results are floats. */
void rsrc_list_gpu_products(struct rsrc_arena *arena, const struct rsr_kernel *kernels,
                            uint32_t n_kernels, struct rsrc_gpu_products *out);

#endif
