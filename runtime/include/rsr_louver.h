/* rsr_louver.h - an index of keys that never misses, usable without any model.
 *
 * An index holds the keys and values of one KV head. For a query q and a threshold T it finds all
 * keys of { i : q . k[i] >= T }, for any data: every bound is rounded up
 * (runtime/src/sketch/sketch.h has the proof). The index drops keys far below T by a bound for 64
 * keys at once, then by 4 bits per dimension, then by 8. It reads keys and values only for those
 * that are left.
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
 * a time; a fork of it may belong to another thread. An index has no threads, so after fork() it
 * can be used in both processes, unlike an engine. Calls need the floating-point environment that C
 * programs start with: a thread that flushes denormals or has another rounding mode gets
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
    uint32_t head_dim;   /* 1 .. 320 */
    uint32_t n_planes;   /* 1: 4 bits per dimension; 2: 4 more bits, read for the few keys that pass
                            the first plane */
    float scale;         /* of softmax; 0: 1 / sqrt(head_dim) */
    const char *kv_type; /* how keys and values are stored: "f32"; "bf16" or "f16", rounded to
                            nearest (finite numbers beyond the type's range become its largest); or
                            "int8", with one scale for a row, about its largest element / 127. NULL
                            or "": f32 */
} rsr_louver_options;
#define RSR_LOUVER_OPTIONS_INIT                                                                    \
    { sizeof(rsr_louver_options), 0, 2, 0.0f, NULL }

/* A key is what is stored: thresholds, bounds and attention refer to the stored numbers and are
 * exact for them, whatever their type. The error that storing caused is certified separately, as
 * storage_error below. */

RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_create(const rsr_louver_options *options,
                                                      rsr_louver **index, rsr_error *err);
RSR_EXPORT void rsr_louver_destroy(rsr_louver *index);

/* Appends n_keys rows of head_dim floats each. Growing never moves a key. RSR_ERR_NUMERIC: an
 * element is NaN or infinite. RSR_ERR_FULL: more than 2^31 - 1 keys. On failure the index has not
 * changed. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_append(rsr_louver *index, const float *keys,
                                                      const float *values, size_t n_keys,
                                                      rsr_error *err);

/* Forgets every key from `length` on. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_truncate(rsr_louver *index, uint32_t length,
                                                        rsr_error *err);

/* A new index with the same content. Both share full pages; the open page is copied. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_fork(const rsr_louver *index, rsr_louver **fork,
                                                    rsr_error *err);

typedef struct rsr_louver_info {
    uint32_t size_bytes;
    uint32_t length; /* keys */
    uint32_t head_dim, n_planes;
    uint64_t kv_bytes;    /* keys and values as stored, in whole pages, with the norms of the errors
                             that storing caused */
    uint64_t index_bytes; /* memory of the index itself */
    const char *kernel;   /* the scan's code, chosen for this CPU */
    const char *kv_type;  /* "f32", "bf16", "f16", "int8" */
} rsr_louver_info;
#define RSR_LOUVER_INFO_INIT RSR_SIZED(rsr_louver_info)
RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_get_info(const rsr_louver *index,
                                                        rsr_louver_info *info);

/* ---- Queries --------------------------------------------------------------------------------- */

/* The rule that selects keys for a query. A key is selected if its product, the real number q . k
 * (unscaled), reaches a threshold T.
 *   value:T    T = -inf is every key, T = inf none. Products are computed in float64 and compared
 *              with the bound of their rounding, so keys that tie with T are selected as well: no
 *              key whose product is below T by more than 2^-50 head_dim sum |q[i] k[i]|.
 *   topk:K     T is the K-th largest product, so all keys that tie with the K-th are selected. 1 <=
 *              K.
 *   budget:F   exactly the K best of n keys, K = floor(F n) but at least 1. Of keys that tie with
 *              the K-th, the first ones are selected. (A key's rank is its product in float64 plus
 *              the bound of its rounding.) T is just above the products left out. 0 < F <= 1.
 *   mass:EPS   leaves out keys, those with the lowest bounds first, while together they provably
 *              have at most EPS of the softmax. EPS = 0 is every key. 0 <= EPS < 1.
 *   error:EPS  leaves out keys while the output provably differs from attention over all keys by at
 *              most EPS times the spread of the values that the query sees. Their spread is the
 *              root of the mean, over all keys, of |v - mean of v|^2; full pages give a lower bound
 *              of it, which is used. So adding one vector to all values, or multiplying them,
 *              changes no selection. EPS = 0 is every key. 0 <= EPS < 1.
 * The other rules take T from a sample of the n keys: M = min(n, 512) keys, one from each of M
 * equal parts, chosen by n alone. Let s[1] >= s[2] >= ... >= s[M] be their products in float64 and
 * `mean` the mean of these products.
 *   sample_max:A       T = mean + A (s[1] - mean), A >= 0. A = 1: the largest.
 *   sample_topk:K      T = s[min(K, M)], 1 <= K <= 512.
 *   sample_mean_max    T = (s[1] + mean) / 2.
 *   sample_gap:PHI,P   T = s[i + 1], just below the first of the P widest gaps s[i] - s[i + 1]
 *                      among the products s[1] .. s[floor(PHI M)] (at least two). 0 < PHI <= 1, 1
 *                      <= P <= 511.
 * The sample rules come from the code of the Louver paper, with two differences. That code draws
 * its sample at random, and its A is always 1. Here A moves T along the line from the mean to the
 * maximum, so adding one vector to every key changes no selection, as it changes no softmax. (The
 * paper's budget is s[floor(F M)] of the sample; here the budget is exact.) */
typedef enum rsr_louver_kind {
    RSR_LOUVER_VALUE,
    RSR_LOUVER_TOPK,
    RSR_LOUVER_MASS,
    RSR_LOUVER_BUDGET,
    RSR_LOUVER_SAMPLE_MAX,
    RSR_LOUVER_SAMPLE_TOPK,
    RSR_LOUVER_SAMPLE_MEAN_MAX,
    RSR_LOUVER_SAMPLE_GAP,
    RSR_LOUVER_ERROR
} rsr_louver_kind;

/* The first `sinks` and the last `window` keys are attended to as well, whatever their products.
 * They do not change T. */
typedef struct rsr_louver_threshold {
    rsr_louver_kind kind;
    double value;           /* T, EPS, F, A or PHI */
    uint32_t k;             /* K or P */
    uint32_t sinks, window; /* keys */
} rsr_louver_threshold;
#define RSR_LOUVER_THRESHOLD_DEFAULT                                                               \
    { RSR_LOUVER_MASS, 1e-3, 0, 0, 0 }

/* Reads a rule as above, then [,sinks=N] and [,window=N]: "value:-3.5", "sample_gap:0.5,3",
 * "topk:20,sinks=4". */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_threshold_parse(const char *text,
                                                               rsr_louver_threshold *threshold,
                                                               rsr_error *err);

/* The result for one query head, besides its output. */
typedef struct rsr_louver_head {
    uint32_t n_attended;    /* keys */
    double threshold;       /* every key left out has a product below it; -inf if none was */
    double mass;            /* upper bound of the part of the softmax that was left out */
    double certified_error; /* |out - attention over all keys| <= this, apart from float32 rounding,
                               which dense attention has, too. It is infinite, with every rule, if a
                               key, a score, the softmax, a value left out or an output is NaN or
                               infinite. This can happen with finite keys: a score counts as
                               infinite if |q| times the longest key of a page that is attended to
                               exceeds float32, before or after it is multiplied by the scale */
    double storage_error;   /* |attention over all stored keys and values - attention over them as
                               they were appended| <= this; 0 for f32 */
    double spread;          /* error:EPS: lower bound of the values' spread; certified_error <= EPS
                               times it, where an error is certified. Other rules, and EPS = 0: 0 */
} rsr_louver_head;

/* The query heads of one KV head, answered together: a page is read once for all of them. Attention
 * has the order of float operations of dense attention, page by page of 64 keys; keys that are left
 * out have weight 0. If no key is left out, the output has the bits of dense attention. If all keys
 * are left out, the output is 0 and the certified error is that of mass 1. */
typedef struct rsr_louver_query {
    uint32_t size_bytes;
    uint32_t n_heads; /* 1 .. 64 */
    const float *q;   /* [n_heads][head_dim] */
    rsr_louver_threshold threshold;
    const double *values;   /* [n_heads], for the rule `value`: T of each head; NULL:
                               threshold.value */
    float *out;             /* [n_heads][head_dim]: attention; NULL: not wanted */
    uint32_t *indices;      /* [n_heads][capacity]: attended keys, ascending; NULL: not wanted */
    size_t capacity;        /* of a head's indices; if a head attends to more keys: RSR_ERR_FULL,
                               with everything that fits filled in */
    rsr_louver_head *heads; /* [n_heads]; NULL: not wanted */
} rsr_louver_query;
#define RSR_LOUVER_QUERY_INIT                                                                      \
    { sizeof(rsr_louver_query), 1, NULL, RSR_LOUVER_THRESHOLD_DEFAULT, NULL, NULL, NULL, 0, NULL }

/* What a query read. A key or page that several heads read counts once. */
typedef struct rsr_louver_stats {
    uint32_t size_bytes;
    uint32_t n_keys;
    uint32_t pages, pages_skipped; /* full ones; of a skipped page only the bounds were read */
    uint32_t scanned;              /* keys whose first plane was read */
    uint32_t plane2;               /* keys whose second plane was read */
    uint32_t exact;                /* keys that were read themselves, with those of the open page */
} rsr_louver_stats;
#define RSR_LOUVER_STATS_INIT RSR_SIZED(rsr_louver_stats)

/* stats may be NULL. RSR_ERR_NUMERIC: a query is NaN or infinite, or the threshold is NaN. */
RSR_EXPORT RSR_NODISCARD rsr_status rsr_louver_attend(rsr_louver *index,
                                                      const rsr_louver_query *query,
                                                      rsr_louver_stats *stats, rsr_error *err);

#ifdef __cplusplus
}
#endif
#endif
