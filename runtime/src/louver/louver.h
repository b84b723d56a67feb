/* louver.h - what the files of the KV index share. rsr_louver.h says what it does.
 *
 * Keys lie in pages of 64, as in the KV cache; a page is one allocation that never moves. A full page is
 * sealed: its sketch block is made, once, and from then on nothing in it changes, so that forks share it.
 * The open page belongs to one index and has no sketch: its keys are scored exactly.
 */
#ifndef RSR_LOUVER_INTERNAL_H
#define RSR_LOUVER_INTERNAL_H

#include <stdatomic.h>

#include "ops/ops.h"
#include "rsr_louver.h"
#include "sketch/sketch.h"

#define LOUVER_MAX_HEADS 64u /* bits of a mask */
#define LOUVER_MAX_DIM 256u

_Static_assert(RSR_PAGE_TOKENS == RSR_SKETCH_VECTORS, "a page is a block");

struct louver_page {
    atomic_uint references;
    float *keys, *values; /* [64][row_floats], zero from head_dim on */
    void *sketch;         /* of a sealed page */
    double value_norm;    /* largest |v| of a sealed page, rounded up */
};

/* An attended key: its product lies between the two. */
struct louver_hit {
    double lower, upper;
    uint32_t key;
};

/* What a query works on, kept for the next one. Arrays [heads] grow with the largest group asked for,
 * arrays [heads][capacity_keys] with the index. */
struct louver_scratch {
    uint32_t n_heads, capacity_keys;
    struct louver_hit *hits; /* [heads][capacity_keys] */
    double *best;    /* [heads][capacity_keys], topk only: heap of the largest lower bounds */
    float *bounds;   /* [heads][capacity_keys], mass only, as the next two */
    uint64_t *masks; /* [heads][capacity_keys / 64] */
    struct rsr_sketch_frame *frames; /* [heads][capacity_keys / 64] */
    char *queries;                   /* [heads] memory of prepared queries */
    float *attention;                /* 3 rows, then a page of keys and one of values */
};

struct rsr_louver {
    uint32_t head_dim, row_floats;
    float scale;
    struct rsr_sketch_shape shape;
    const struct rsr_sketch_kernel *kernel;
    const struct rsr_ops *ops;
    struct louver_page **pages;
    uint32_t n_pages, capacity_pages, n_keys;
    struct louver_scratch scratch;
};

/* One query head on its way. */
struct louver_head_state {
    struct rsr_sketch_query sketch;
    double threshold;        /* a key whose bound is below it is left out */
    struct louver_hit *hits; /* ascending keys */
    uint32_t n_hits;
    double *best; /* heap, least first */
    uint32_t n_best;
    double
        skipped; /* mass: upper bound of the sum of exp(scale q.k - reference) over keys left out */
    double reference;
};

struct louver_pass {
    const rsr_louver *index;
    rsr_louver_threshold threshold;
    uint32_t n_heads;
    struct louver_head_state heads[LOUVER_MAX_HEADS];
    rsr_louver_stats stats;
};

static inline uint32_t louver_sealed_pages(const rsr_louver *index) {
    return index->n_keys / RSR_PAGE_TOKENS;
}

/* Between which two numbers q . k lies; the key is 0. louver_query.c */
struct louver_hit louver_exact_product(const float *q, const float *k, uint32_t head_dim);

/* Scores the keys of a page whose bit is set in heads_of[h] for head h, and takes those that are relevant
 * to the head's threshold. louver_query.c */
void louver_score_page(struct louver_pass *pass, uint32_t page, const uint64_t *keys_of_head);

/* Every head leaves out what may carry at most EPS of its softmax, and scores the rest. louver_mass.c */
void louver_run_mass(struct louver_pass *pass);

/* What a head got: masses and errors from its hits. out may be NULL. louver_error.c */
void louver_certify(const struct louver_pass *pass, const struct louver_head_state *state,
                    const float *out, rsr_louver_head *head);

/* Upper bounds of exp: y[i] >= exp(x[i]), and the lower ones. At most 64 at once. */
void louver_exp_upper(const struct rsr_ops *ops, float *y, const float *x, uint32_t n);
void louver_exp_lower(const struct rsr_ops *ops, float *y, const float *x, uint32_t n);

/* scale * product - reference, rounded up or down. */
float louver_exponent_up(const rsr_louver *index, double product, double reference);
float louver_exponent_down(const rsr_louver *index, double product, double reference);

/* Refuse n rows of which one is not finite ("key 3 is not finite ..."), and a thread whose floating-point
 * environment would break the bounds. louver.c */
RSR_NODISCARD rsr_status louver_check_finite(const float *rows, size_t n, uint32_t head_dim,
                                             const char *what, rsr_error *err);
RSR_NODISCARD rsr_status louver_check_float_mode(rsr_error *err);

/* |v| of a row, rounded up. */
double louver_row_norm(const float *row, uint32_t n);

#endif
