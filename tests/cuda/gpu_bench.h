/* gpu_bench.h - how fast a kernel reads its weights from memory. */
#ifndef TESTS_CUDA_GPU_BENCH_H
#define TESTS_CUDA_GPU_BENCH_H

#include "cuda_driver.h"
#include "gpu_kernel_list.h"

/* Measures one kernel of every module for one token, and prints a line for each, with the time of a
 * copy of these bytes in device memory for comparison. Successive launches read different copies of
 * the weights, and the L2 cache holds at most a quarter of all copies. */
void gpu_bench_kernel(const struct cuda_driver *d, const struct gpu_kernel_list *list, uint32_t k,
                      void *const modules[]);

#endif
