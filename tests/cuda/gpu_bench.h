/* gpu_bench.h - how fast kernels read their weights, and anything, from memory. */
#ifndef TESTS_CUDA_GPU_BENCH_H
#define TESTS_CUDA_GPU_BENCH_H

#include "cuda_driver.h"
#include "gpu_kernel_list.h"

/* Measures one kernel of every module for one token, and prints a row for each (gpu_rows.h).
 * Successive launches read different copies of the weights, of at least min_bytes together, and the
 * L2 cache holds at most a quarter of all copies. */
void gpu_bench_kernel(const struct cuda_driver *d, const struct gpu_kernel_list *list, uint32_t k,
                      void *const modules[], uint64_t min_bytes);
/* Prints a row for a copy in device memory, and one for a kernel that reads min_bytes or more,
 * as predicted by the bandwidth that the GPU should have, or 0. False: it has not read all. */
RSRC_NODISCARD bool gpu_bench_bandwidth(const struct cuda_driver *d, uint64_t min_bytes,
                                        double gbps);

#endif
