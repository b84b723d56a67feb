/* emulated_plan.h - the shapes of emulated_kernels.h as plans. */
#ifndef TESTS_CUDA_EMULATED_PLAN_H
#define TESTS_CUDA_EMULATED_PLAN_H

#include "emulated_kernels.h"
#include "kernels/matvec/matvec.h"

static inline struct rsr_matvec emulated_plan(unsigned k) {
    const struct emulated_kernel *kernel = &emulated_kernels[k];
    const uint32_t row_groups = (kernel->rows + RSR_GPU_ROWS_PER_WARP - 1) / RSR_GPU_ROWS_PER_WARP;
    struct rsr_matvec plan = {.codes = (enum rsr_gpu_codes)kernel->codes,
                              .product = (enum rsr_gpu_product)kernel->product,
                              .rows = kernel->rows,
                              .cols = kernel->cols,
                              .steps = kernel->steps,
                              .row_warps = kernel->row_warps,
                              .col_warps = kernel->col_warps,
                              .token_tile = kernel->token_tile,
                              .blocks = kernel->blocks,
                              .scale_per_row = kernel->scale_per_row != 0,
                              .epilogue = (enum rsr_epilogue)kernel->epilogue,
                              .weight_bytes = (uint64_t)row_groups * kernel->steps * 512};
    rsrc_set_matvec_functions(&plan);
    return plan;
}

#endif
