/* rsr_bench_dense.h - dense attention of rsr-bench where the runtime's would compare badly. */
#ifndef RSRC_TOOLS_RSR_BENCH_DENSE_H
#define RSRC_TOOLS_RSR_BENCH_DENSE_H

#include <stddef.h>
#include <stdint.h>

#define BENCH_DENSE_HEADS 4u

/* out, queries: [4][row_floats]; keys, values: [n_keys][row_floats]; row_floats a multiple of
 * 16. */
typedef void bench_dense_fn(float *out, const float *queries, const float *keys,
                            const float *values, uint32_t row_floats, uint32_t n_keys, float scale);

/* NULL if there is none for a CPU with these features. */
bench_dense_fn *bench_dense_for(uint64_t cpu_features);

#endif
