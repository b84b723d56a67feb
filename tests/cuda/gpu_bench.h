/* gpu_bench.h - how fast a kernel reads its weights from memory. */
#ifndef TESTS_CUDA_GPU_BENCH_H
#define TESTS_CUDA_GPU_BENCH_H

#include "cuda_driver.h"
#include "gpu_kernel_list.h"

/* Measures one kernel of every module for one token and prints a line each, beside a copy of the
 * same bytes in device memory. No two launches in a row read the same weights, and the L2 cache
 * holds a quarter of them at most. */
void gpu_bench_kernel(const struct cuda_driver *d, const struct gpu_kernel_list *list, uint32_t k,
                      void *const modules[]);

#endif
