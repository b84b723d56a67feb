/* rsr_bench_gate.h - other indices of keys, for rsr-bench to compare the KV index with: what they
 * let through is scored exactly. They serve thresholds that are known (value:T), grow never, and
 * are no product.
 *
 *   pages             the bounds of 64 keys that the KV index has, and nothing below them
 *   centroids         4 keys a centroid in every slice of 32 dimensions, with certified radii: a
 *                     key stays unless sum_s (q_s . c_s + |q_s| r_s), rounded up, is below T
 *   centroids-unsafe  the same without radii, as published: centroids of each slice in order of
 *                     their products, to the depth at which those of all slices sum up to less than
 *                     T. It misses.
 */
#ifndef RSRC_TOOLS_RSR_BENCH_GATE_H
#define RSRC_TOOLS_RSR_BENCH_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_GATE_PAGE 64u /* keys of a page, and bits of a mask */

struct bench_gate_kind;

/* Of the keys of one KV head. The index itself is one run of memory, 64-byte aligned, and holds no
 * pointers: a copy of it serves a copy of the keys. */
struct bench_gate {
    const struct bench_gate_kind *kind;
    const float *keys, *values; /* [n_keys][row_floats], zero from head_dim on */
    uint32_t n_keys, head_dim, row_floats;
    double largest_key; /* norm, rounded up */
    void *memory;
    size_t bytes;
};

/* The query heads of the KV head. */
struct bench_gate_query {
    uint32_t n_heads;
    const float *q;           /* [n_heads][row_floats], zero from head_dim on */
    const double *thresholds; /* [n_heads] */
    float scale;              /* of softmax */
};

struct bench_gate_counts {
    double pages_skipped; /* for all heads */
    double scanned;       /* keys of which more than a page's bounds was read */
    double exact;         /* keys that some head read */
    double bytes;         /* read: of the index, of these keys, and of values attended to */
};

struct bench_gate_kind {
    const char *name;
    bool misses; /* keys are lost, and that is no bug */
    size_t (*bytes)(const struct bench_gate *gate);
    bool (*build)(struct bench_gate *gate); /* false: no memory */
    /* Sets masks[head * pages + page] to the keys that may reach T; counts what it read itself. */
    bool (*pick)(const struct bench_gate *gate, const struct bench_gate_query *query,
                 uint64_t *masks, struct bench_gate_counts *counts);
};

extern const struct bench_gate_kind bench_gate_pages;            /* rsr_bench_gate.c */
extern const struct bench_gate_kind bench_gate_centroids;        /* rsr_bench_centroids.c */
extern const struct bench_gate_kind bench_gate_centroids_unsafe; /* rsr_bench_centroids.c */

/* Fills *gate, whose keys and values stay the caller's. False: no memory. */
bool bench_gate_make(struct bench_gate *gate, const struct bench_gate_kind *kind, const float *keys,
                     const float *values, uint32_t n_keys, uint32_t head_dim, uint32_t row_floats);
/* The same for keys that are copies of those of `from`. */
bool bench_gate_copy(struct bench_gate *gate, const struct bench_gate *from, const float *keys,
                     const float *values);
void bench_gate_free(struct bench_gate *gate);

/* Attention over the keys whose products reach the thresholds, rounding ties among them; out is
 * [n_heads][row_floats]. masks, [n_heads][pages], gets these keys. False: no memory. */
bool bench_gate_attend(const struct bench_gate *gate, const struct bench_gate_query *query,
                       uint64_t *masks, float *out, struct bench_gate_counts *counts);

static inline uint32_t bench_gate_pages_of(const struct bench_gate *gate) {
    return (gate->n_keys + BENCH_GATE_PAGE - 1) / BENCH_GATE_PAGE;
}

/* The keys of a page that there are. */
static inline uint64_t bench_gate_all(const struct bench_gate *gate, uint32_t page) {
    const uint32_t left = gate->n_keys - page * BENCH_GATE_PAGE;
    return left < BENCH_GATE_PAGE ? (UINT64_C(1) << left) - 1 : UINT64_MAX;
}

/* Defines static void name(parameters) from a body of plain C loops, which compilers vectorise,
 * compiled for several instruction sets of which the CPU's best one runs. */
#define BENCH_GATE_BODY static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define BENCH_GATE_VARIANTS(name, body, parameters, arguments)                                     \
    __attribute__((                                                                                \
        target("avx512f,avx512dq,avx512bw,avx512vl"))) static void name##_avx512 parameters {      \
        body arguments;                                                                            \
    }                                                                                              \
    __attribute__((target("avx2"))) static void name##_avx2 parameters {                           \
        body arguments;                                                                            \
    }                                                                                              \
    static void name parameters {                                                                  \
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&             \
            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))              \
            name##_avx512 arguments;                                                               \
        else if (__builtin_cpu_supports("avx2"))                                                   \
            name##_avx2 arguments;                                                                 \
        else                                                                                       \
            body arguments;                                                                        \
    }
#else
#define BENCH_GATE_VARIANTS(name, body, parameters, arguments)                                     \
    static void name parameters {                                                                  \
        body arguments;                                                                            \
    }
#endif

#endif
