/* rsr_bench.h - shared by the parts of rsr-bench: options, timing, memory, results. */
#ifndef RSRC_TOOLS_RSR_BENCH_H
#define RSRC_TOOLS_RSR_BENCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "diag.h"
#include "measure/measure.h"

/* Numbers that are measured one after another. */
#define BENCH_LIST_MAX 16u
struct bench_list {
    uint32_t n;
    uint32_t values[BENCH_LIST_MAX];
};

struct bench_options {
    const char *const *files; /* arguments of the command: a model, or files to compare */
    uint32_t n_files;
    const char *output; /* of compare */
    const char *text;   /* activations: a file; NULL: random tokens */
    uint32_t rows, cols;
    const char *type;
    const char *input;
    uint32_t group_cols;
    const char *variant; /* NULL: the planner chooses */
    const char *target;
    const char *backend;
    uint32_t batch;
    uint32_t tokens;                          /* kernel: measures every count up to it; 0: only the
                                                 batch */
    uint32_t siblings;                        /* kernel: kernels that read the same activations */
    double repeat_rows, zero_rows, zero_cols; /* shares of the matrix, 0 .. 1 */
    uint32_t threads;
    uint32_t prompt_tokens, gen_tokens;
    struct bench_list prompts, batches; /* model: of prompt_tokens, 0 for the most, and batch */
    bool shared_prefix;                 /* model: the sequences are forks of one prompt */
    const char *attention;
    const char *kv_type;                         /* NULL: f32 for attention; for a model, the
                                                    engine's default */
    const char *kv_dir, *state_type, *device;    /* model: NULL: the engine's default */
    uint32_t context, head_dim, heads, kv_heads; /* rsr-bench attention */
    const char *data;
    const char *threshold;
    const char *index;
    bool quick;
    uint32_t runs;
    uint64_t seed;
    bool profile;
    bool json;
};

/* Each returns the exit status. */
int bench_kernel(const struct bench_options *options);
int bench_model(const struct bench_options *options);
int bench_activations(const struct bench_options *options);
int bench_attention(const struct bench_options *options);
int bench_machine(const struct bench_options *options);
int bench_compare(const struct bench_options *options);

/* Whether --data names a trace. */
bool bench_is_traced(const struct bench_options *options);

/* Streaming is measured over at least this much distinct memory: several times any cache. */
#define BENCH_STREAM_BYTES ((uint64_t)1536 << 20)
#define BENCH_QUICK_BYTES ((uint64_t)64 << 20) /* --quick */
uint64_t bench_stream_bytes(const struct bench_options *options);

/* rsrc_map_pages(); NULL with a message if there is not enough. */
void *bench_alloc(uint64_t size_bytes);

/* Binds each of several threads to its own CPU, because two threads that wait for each other on one
 * CPU take turns of 4 ms. Call it before any other team of threads exists; it respects
 * OMP_PROC_BIND. */
void bench_pin_threads(uint32_t threads);

/* Read bandwidth of `threads` threads, each over its part of the buffer, which is read repeatedly
 * if it is small. The result, in 1e9 bytes per second, is the best of one and four streams, each
 * with and without software prefetch. */
double bench_read_gbps(const void *buffer, uint64_t size_bytes, uint32_t threads, uint32_t runs);
/* Read bandwidth of one thread that prefetches four runs of the buffer to the cache of that level,
 * 1 or 2. */
double bench_prefetch_gbps(const void *buffer, uint64_t size_bytes, uint32_t level, uint32_t runs);

/* Prints the object as one JSON line, or as aligned "key value" lines, and releases it. */
void bench_print(json_t *result, bool json);

#endif
