/* rsr_bench_gate.h - other indices of keys, with which rsr-bench compares the KV index. Keys that
 * they let through are scored exactly. They serve only known thresholds (value:T), cannot grow, and
 * are not products.
 *
 *   pages             only the KV index's bounds of 64 keys
 *   centroids         4 keys a centroid in every slice of 32 dimensions, with certified radii: a
 *                     key stays unless sum_s (q_s . c_s + |q_s| r_s), rounded up, is below T
 *   centroids-unsafe  centroids without radii, as published: each slice's centroids in the order of
 *   their products, down to the depth at which the sum over all slices is less than T. It misses
 *   keys.
 */
#ifndef RSRC_TOOLS_RSR_BENCH_GATE_H
#define RSRC_TOOLS_RSR_BENCH_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_GATE_PAGE 64u /* keys of a page, and bits of a mask */

struct bench_gate_kind;

/* A gate over the keys of one KV head. The index itself is one run of memory, 64-byte aligned,
 * without pointers: a copy of it serves a copy of the keys. */
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
    double bytes;         /* bytes read of the index, of these keys, and of attended values */
};

struct bench_gate_kind {
    const char *name;
    bool misses; /* it may lose keys by design */
    size_t (*bytes)(const struct bench_gate *gate);
    bool (*build)(struct bench_gate *gate); /* false: no memory */
    /* Sets masks[head * pages + page] to the keys that may reach T; counts the bytes that it
     * reads. */
    bool (*pick)(const struct bench_gate *gate, const struct bench_gate_query *query,
                 uint64_t *masks, struct bench_gate_counts *counts);
};

extern const struct bench_gate_kind bench_gate_pages;            /* rsr_bench_gate.c */
extern const struct bench_gate_kind bench_gate_centroids;        /* rsr_bench_centroids.c */
extern const struct bench_gate_kind bench_gate_centroids_unsafe; /* rsr_bench_centroids.c */

/* Fills *gate; the caller keeps keys and values. False: no memory. */
bool bench_gate_make(struct bench_gate *gate, const struct bench_gate_kind *kind, const float *keys,
                     const float *values, uint32_t n_keys, uint32_t head_dim, uint32_t row_floats);
/* Makes a gate for copies of the keys of `from`. */
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

/* A mask of the existing keys of a page. */
static inline uint64_t bench_gate_all(const struct bench_gate *gate, uint32_t page) {
    const uint32_t left = gate->n_keys - page * BENCH_GATE_PAGE;
    return left < BENCH_GATE_PAGE ? (UINT64_C(1) << left) - 1 : UINT64_MAX;
}

/* Defines static void name(parameters) from a body of plain C loops that compilers vectorise. It is
 * compiled for several instruction sets, and the CPU's best one runs. */
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
