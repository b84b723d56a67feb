/* gpu_kernel_list.h - the files that write_gpu_kernels makes for run_on_gpu, which needs no
 * compiler: modules that all have the same kernels, and `kernels.txt`, with one line per module and
 * one per kernel. */
#ifndef TESTS_CUDA_GPU_KERNEL_LIST_H
#define TESTS_CUDA_GPU_KERNEL_LIST_H

#include <stdio.h>

#include "ir.h"

#define GPU_LIST_NAME "kernels.txt"
#define GPU_MAX_MODULES 4u
#define GPU_MAX_KERNELS 64u

struct gpu_kernel_list {
    char modules[GPU_MAX_MODULES][32]; /* files of the folder */
    uint32_t n_modules;
    struct rsr_matvec plans[GPU_MAX_KERNELS]; /* kernel i is called kernel_i */
    double predicted_us[GPU_MAX_KERNELS];
    bool full_size[GPU_MAX_KERNELS]; /* a true layer: worth timing */
    uint32_t n_kernels;
};

void gpu_kernel_list_write(const struct gpu_kernel_list *list, FILE *file);
/* False: a line is malformed, or there is none. */
RSRC_NODISCARD bool gpu_kernel_list_read(struct gpu_kernel_list *list, FILE *file);

#endif
