/* rsr_bench_dense.h - dense attention of rsr-bench, for machines where the runtime's kernel is a
 * weak baseline. */
#ifndef RSRC_TOOLS_RSR_BENCH_DENSE_H
#define RSRC_TOOLS_RSR_BENCH_DENSE_H

#include <stddef.h>
#include <stdint.h>

#define BENCH_DENSE_HEADS 4u

/* out, queries: [4][row_floats]; keys, values: [n_keys][row_floats], readable up to the next
 * multiple of 4; row_floats a multiple of 16. */
typedef void bench_dense_fn(float *out, const float *queries, const float *keys,
                            const float *values, uint32_t row_floats, uint32_t n_keys, float scale);

struct bench_dense {
    const char *name;
    bench_dense_fn *attend;
};

/* Kernel number i of those for a CPU with these features; NULL past the last. */
const struct bench_dense *bench_dense_for(uint64_t cpu_features, uint32_t i);

#endif
