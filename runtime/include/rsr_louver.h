/* rsr_louver.h - an index of keys that never misses, usable without any model.
 *
 * An index holds the keys and values of one KV head. Asked with a query q and a threshold T it
 * finds { i : q . k[i] >= T }: every one of them, for any data, proven by rounding every bound up
 * (the theorem is in the sources, sketch.h). Keys far below T are dropped by reading a bound of 64
 * keys at once, then by 4, then by 8 bits a dimension; only what is left reads keys and values.
 *
 *     rsr_error err = RSR_ERROR_INIT;
 *     rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
 *     rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
 *     rsr_louver *index = NULL;
 *     options.head_dim = 128;
 *     query.q = q; query.n_heads = 4; query.out = out;
 *     if (rsr_louver_create(&options, &index, &err) != RSR_OK ||
 *         rsr_louver_append(index, keys, values, n_keys, &err) != RSR_OK ||
 *         rsr_louver_threshold_parse("mass:1e-3", &query.threshold, &err) != RSR_OK ||
 *         rsr_louver_attend(index, &query, NULL, &err) != RSR_OK)
 *         puts(err.message);
 *     rsr_louver_destroy(index);
 *
 * The rules of rsr.h hold (ownership, errors, options, silence). An index belongs to one thread at
 * a time; a fork and its origin may belong to different ones. It has no threads of its own, so
 * unlike an engine it lives on in both processes after fork(). Calls need the floating-point
 * environment that C programs start with: a thread that flushes denormals or rounds otherwise gets
 * RSR_ERR_NUMERIC.
 */
#ifndef RSR_LOUVER_H
#define RSR_LOUVER_H

#include "rsr.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rsr_louver rsr_louver;

typedef struct rsr_louver_options {
    uint32_t size_bytes;
    uint32_t head_dim;   /* 1 .. 256 */
    uint32_t n_planes;   /* 1: 4 bits a dimension; 2: 4 more, read for the few that pass the
                            first */
    float scale;         /* of softmax; 0: 1 / sqrt(head_dim) */
    const char *kv_type; /* how keys and values are stored: "f32"; "bf16", "f16", rounded to
                            nearest, where finite numbers beyond the type's become its largest;
                            "int8", with a scale a row, about its largest element / 127. NULL or "":
                            f32 */
} rsr_louver_options;
#define RSR_LOUVER_OPTIONS_INIT                                                                    \
    { sizeof(rsr_louver_options), 0, 2, 0.0f, NULL }

/* What is stored is the key: thresholds, bounds and attention are about the stored numbers, of
 * whatever type, and exact for them. What storing lost is certified by itself, as storage_error
 * below. */

RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_create(const rsr_louver_options *options,
                                                      rsr_louver **index, rsr_error *err);
RSR_EXPORT void rsr_louver_destroy(rsr_louver *index);

/* Appends n_keys rows of head_dim floats each. Growing never moves a key. RSR_ERR_NUMERIC if one is
 * NaN or infinite; RSR_ERR_FULL past 2^31 - 1 keys. On failure the index has not changed. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_append(rsr_louver *index, const float *keys,
                                                      const float *values, size_t n_keys,
                                                      rsr_error *err);

/* Forgets every key from `length` on. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_truncate(rsr_louver *index, uint32_t length,
                                                        rsr_error *err);

/* A new index with the same content; full pages are shared, the open one is copied. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_fork(const rsr_louver *index, rsr_louver **fork,
                                                    rsr_error *err);

typedef struct rsr_louver_info {
    uint32_t size_bytes;
    uint32_t length; /* keys */
    uint32_t head_dim, n_planes;
    uint64_t kv_bytes;    /* of keys and values as stored, whole pages; with norms of what that
                             lost */
    uint64_t index_bytes; /* what the index adds to them */
    const char *kernel;   /* that scans, chosen for this CPU */
    const char *kv_type;  /* "f32", "bf16", "f16", "int8" */
} rsr_louver_info;
#define RSR_LOUVER_INFO_INIT RSR_SIZED(rsr_louver_info)
RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_get_info(const rsr_louver *index,
                                                        rsr_louver_info *info);

/* ---- Queries --------------------------------------------------------------------------------- */

/* Which keys are relevant to a query: those whose product, the real number q . k (unscaled),
 * reaches a threshold T.
 *   value:T    T = -inf is every key, T = inf none.
 *   topk:K     T is the K-th largest product: the K best keys and what ties with the last. 1 <= K.
 *   budget:F   the K best of n keys and no more, K = floor(F n) but at least 1; of keys that tie
 *              with the last the first ones. (Best by their products in float64, each and its
 *              rounding bound.) T is just above what was left out. 0 < F <= 1.
 *   mass:EPS   keys are left out, those of the lowest bounds first, as long as they surely carry at
 *              most EPS of the softmax; 0 is every key. 0 <= EPS < 1.
 * The others take T from a sample of the n keys: M = min(n, 512) of them, one of each of M equal
 * stretches, chosen by n alone. With s[1] >= s[2] >= ... >= s[M] their products in float64, and
 * `mean` those products' mean,
 *   sample_max:A       T = mean + A (s[1] - mean), A >= 0. A = 1: the largest.
 *   sample_topk:K      T = s[min(K, M)], 1 <= K <= 512.
 *   sample_mean_max    T = (s[1] + mean) / 2.
 *   sample_gap:PHI,P   T = s[i + 1], just below the first of the P widest gaps s[i] - s[i + 1]
 *                      among the products s[1] .. s[floor(PHI M)] (at least two). 0 < PHI <= 1, 1
 *                      <= P <= 511.
 * These rules are those of the Louver paper's code, which draws its sample at random and has A = 1;
 * that a larger or smaller A moves T along the line from the mean to the maximum is this header's
 * definition, so that adding a vector to every key changes nothing, as it changes no softmax. (Its
 * budget is s[floor(F M)] of the sample; here it is exact.) */
typedef enum rsr_louver_kind {
    RSR_LOUVER_VALUE,
    RSR_LOUVER_TOPK,
    RSR_LOUVER_MASS,
    RSR_LOUVER_BUDGET,
    RSR_LOUVER_SAMPLE_MAX,
    RSR_LOUVER_SAMPLE_TOPK,
    RSR_LOUVER_SAMPLE_MEAN_MAX,
    RSR_LOUVER_SAMPLE_GAP
} rsr_louver_kind;

/* Whatever their products, the first `sinks` and the last `window` keys are attended to, too; T is
 * what it is without them. */
typedef struct rsr_louver_threshold {
    rsr_louver_kind kind;
    double value;           /* T, EPS, F, A or PHI */
    uint32_t k;             /* K or P */
    uint32_t sinks, window; /* keys */
} rsr_louver_threshold;
#define RSR_LOUVER_THRESHOLD_DEFAULT                                                               \
    { RSR_LOUVER_MASS, 1e-3, 0, 0, 0 }

/* A rule as above, [,sinks=N] and [,window=N]: "value:-3.5", "sample_gap:0.5,3",
 * "topk:20,sinks=4". */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_threshold_parse(const char *text,
                                                               rsr_louver_threshold *threshold,
                                                               rsr_error *err);

/* What one query head got. */
typedef struct rsr_louver_head {
    uint32_t n_attended;    /* keys */
    double threshold;       /* every key left out has a product below it; -inf if none was */
    double mass;            /* at most this part of the softmax was left out */
    double certified_error; /* |out - attention over all keys| <= this, but for float32 rounding,
                               which dense attention has too. Infinite, whatever the rule, if a key,
                               a score, their softmax, a value left out or out is NaN or infinite.
                               Finite rows do that, too: a score may be infinite, and counts as
                               such, where |q| times the longest key of a page that is attended to,
                               or that times the scale, exceeds float32 */
    double storage_error;   /* |attention over all keys and values as stored - attention over them
                               as they were appended| <= this; 0 for f32 */
} rsr_louver_head;

/* The query heads of one KV head, answered together: every page is read once for all. Attention has
 * dense attention's order of float operations, page by page of 64 keys, in which keys that are left
 * out weigh nothing; over all keys it has dense attention's very bits. Over no key it is 0, and its
 * error that of `mass` 1. */
typedef struct rsr_louver_query {
    uint32_t size_bytes;
    uint32_t n_heads; /* 1 .. 64 */
    const float *q;   /* [n_heads][head_dim] */
    rsr_louver_threshold threshold;
    const double *values;   /* [n_heads], for value: T of each head; NULL: threshold.value */
    float *out;             /* [n_heads][head_dim]: attention; NULL: not wanted */
    uint32_t *indices;      /* [n_heads][capacity]: attended keys, ascending; NULL: not wanted */
    size_t capacity;        /* if a head attends to more: RSR_ERR_FULL, but all is filled in */
    rsr_louver_head *heads; /* [n_heads]; NULL: not wanted */
} rsr_louver_query;
#define RSR_LOUVER_QUERY_INIT                                                                      \
    { sizeof(rsr_louver_query), 1, NULL, RSR_LOUVER_THRESHOLD_DEFAULT, NULL, NULL, NULL, 0, NULL }

/* What answering read, counted in keys and pages, not in heads. */
typedef struct rsr_louver_stats {
    uint32_t size_bytes;
    uint32_t n_keys;
    uint32_t pages, pages_skipped; /* sealed ones; skipped: only their bounds were read */
    uint32_t scanned;              /* keys of which some head read the first plane */
    uint32_t plane2;               /* the second plane */
    uint32_t exact;                /* the key itself, those of the open page included */
} rsr_louver_stats;
#define RSR_LOUVER_STATS_INIT RSR_SIZED(rsr_louver_stats)

/* stats may be NULL. RSR_ERR_NUMERIC if a query or the threshold is NaN, or a query infinite. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_attend(rsr_louver *index,
                                                      const rsr_louver_query *query,
                                                      rsr_louver_stats *stats, rsr_error *err);

#ifdef __cplusplus
}
#endif
#endif
