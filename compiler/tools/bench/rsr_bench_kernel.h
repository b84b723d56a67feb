/* rsr_bench_kernel.h - builds and calls a kernel of a random matrix; shared by rsr-bench kernel and
 * its --tokens. */
#ifndef RSRC_TOOLS_RSR_BENCH_KERNEL_H
#define RSRC_TOOLS_RSR_BENCH_KERNEL_H

#include "measure/load_kernel.h"
#include "rsr_bench.h"

struct kernel_bench {
    const struct bench_options *options;
    enum rsr_regime
        regime; /* regime of the kernel; before building, RSR_REGIME_COUNT: that of the batch */
    struct rsrc_diag *diag;
    struct rsrc_arena arena;
    struct rsr_spec spec;
    enum rsr_input input;
    struct rsr_matrix matrix;
    struct rsr_matrix reduced;
    struct rsr_reduction reduction;
    struct rsr_plan plan;
    struct rsr_lowered lowered;
    double emit_ms; /* time until the back end has made its text or object */
    struct rsrc_loaded_kernel loaded;
    uint8_t *x; /* activation rows */
    size_t ldx;
    int32_t *y;       /* of floats, their bits */
    uint8_t *scratch; /* one a thread */
    size_t scratch_bytes;
};

/* Builds the kernel. options, regime and diag are set, and the arena is empty. False with a
 * message. */
bool bench_build_kernel(struct kernel_bench *b);
void bench_release_kernel(struct kernel_bench *b);
/* The plan of its regime. */
const struct rsr_regime_plan *bench_plan_of(const struct kernel_bench *b);
/* Allocates rows of options->batch tokens and of their results. False with a message. */
bool bench_make_activations(struct kernel_bench *b);
/* Compares the results of all of them with the definition. */
bool bench_is_exact(const struct kernel_bench *b);
/* Calls the kernel `calls` times over `copies` copies of the weights, with all threads in step;
 * siblings use the tables of the first kernel. Returns microseconds per call. */
double bench_time_calls(struct kernel_bench *b, const uint8_t *memory, uint64_t stride,
                        uint32_t copies, uint32_t calls, uint32_t n_tokens);

/* rsr-bench kernel --tokens: the exit status. */
int bench_tokens(const struct bench_options *options);

#endif
