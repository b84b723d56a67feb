/* rsr_bench_attention_run.h - shared by the files of rsr-bench attention: one layer's steps, dense
 * and through an index (rsr_bench_attention_step.c), their comparison with float64 (.._check.c)
 * and with an oracle (.._oracle.c), the time of sealing (.._seal.c), the result (.._report.c), and
 * the command itself (rsr_bench_attention.c). */
#ifndef RSRC_TOOLS_RSR_BENCH_ATTENTION_RUN_H
#define RSRC_TOOLS_RSR_BENCH_ATTENTION_RUN_H

#include "louver/louver.h"
#include "ops/ops.h"
#include "other_indices/rsr_bench_gate.h"
#include "rsr_bench_attention.h"
#include "rsr_bench_dense.h"
#include "rsr_louver.h"

/* Pages and keys of a KV head that measured steps read. */
struct attention_counts {
    double pages_skipped, scanned, plane2, exact, bytes;
};

/* The choice of --index: the KV index with a number of planes, or a gate. */
struct attention_index {
    const char *name;
    uint32_t n_planes;
    const struct bench_gate_kind *gate;
};

struct attention_bench {
    const struct bench_options *options;
    const struct rsr_ops *ops;
    const struct bench_dense *dense; /* NULL: ops */
    struct rsr_kv_format format;
    struct attention_data d;
    float scale;
    rsr_louver_threshold threshold;
    const struct attention_index *kind;
    rsr_louver **indices;     /* [layer][KV head]; unless gates */
    struct bench_gate *gates; /* [layer][KV head] */
    uint64_t *masks;          /* [KV head][group][pages]: what gates let through */
    double build_us;          /* of gates: a token of a layer */
    double *thresholds;       /* [source][step][KV head][group]: that of topk:K, found beforehand */
    float *outputs;           /* [KV head][group][head_dim]: of the last step */
    struct attention_counts *counts; /* [KV head] */
    bool failed;
};

/* All queries that are checked, one of each head. */
static inline double attention_n_queries(const struct attention_bench *b) {
    return (double)b->d.n_sources * b->d.n_steps * b->d.kv_heads * b->d.group;
}

/* Results of the comparison with float64. */
struct attention_findings {
    uint64_t misses;
    uint64_t needles;                              /* attended to, of all heads of all queries */
    double error, certified, storage, dense_error; /* largest */
    double relative; /* largest certified error over the certified spread of the values */
    double oracle;   /* mean part of a KV head's keys that an oracle reads for all its heads */
    double sigma;    /* mean of heads' spreads of logits over the keys */
};

/* Medians, of a layer; spread: of louver_us; 0: not timed. */
struct attention_timings {
    double dense_us, louver_us, search_us, all_keys_us, append_us, dram_gbps, spread;
    double seal_us, copy_us; /* for a page and KV head: making its sketches, copying its keys */
};

/* ---- rsr_bench_attention_step.c ---- */

/* The indices or gates of all layers. False with a message on stderr. */
bool attention_fill(struct attention_bench *b);
/* Records a failure; the first message goes to stderr. */
void attention_fail(struct attention_bench *b, const rsr_error *err);
/* One KV head; queries and outputs: [group][head_dim]. */
void attention_dense(const struct attention_bench *b, uint32_t layer, uint32_t head,
                     const float *queries, float *outputs);
void attention_ask_gate(struct attention_bench *b, uint32_t layer, uint32_t step, uint32_t head,
                        float *out, struct bench_gate_counts *counts);
/* Kinds of requests to an index: keys by a threshold that is known (for topk, computed beforehand);
 * keys by a threshold that the index finds; all keys, which is the runtime's dense attention. */
enum attention_ask { ATTENTION_ASK_FOUND, ATTENTION_ASK_SEARCH, ATTENTION_ASK_ALL };
/* The request of a step to one KV head's index. */
rsr_louver_query attention_query(const struct attention_bench *b, uint32_t layer, uint32_t step,
                                 uint32_t head, enum attention_ask ask);
/* One step of a layer. */
void attention_step_dense(struct attention_bench *b, uint32_t layer, uint32_t step);
void attention_step_index(struct attention_bench *b, uint32_t layer, uint32_t step,
                          enum attention_ask ask);
/* The pages of a KV head that gates let through: [group][pages]. */
uint32_t attention_pages(const struct attention_bench *b);
uint64_t *attention_masks(const struct attention_bench *b, uint32_t head);

/* ---- rsr_bench_attention_check.c ---- */

/* The oracle's T of topk:K, for each query head of a KV head. */
double *attention_thresholds(const struct attention_bench *b, uint32_t layer, uint32_t step,
                             uint32_t head);
bool attention_find_thresholds(struct attention_bench *b);
/* All queries. False: a query failed, or there was no memory. */
bool attention_check(struct attention_bench *b, struct attention_findings *found);

/* ---- rsr_bench_attention_oracle.c ---- */

/* Marks the keys [keys] that an oracle reads for a query with these products [keys]; the rule is
 * mass or error. False: there was no memory. */
bool attention_oracle_mark(const struct attention_bench *b, const double *products,
                           const float *values, bool *marks);

/* ---- rsr_bench_attention_seal.c ---- */

/* Times sealing of keys and values in float32. Does nothing if no page is full. False: there was no
 * memory. */
bool attention_time_sealing(const struct attention_bench *b, double *seal_us, double *copy_us);

/* ---- rsr_bench_attention_report.c ---- */

/* NULL: no index answered. */
json_t *attention_report(const struct attention_bench *b, const struct attention_timings *t,
                         const struct attention_findings *found);

#endif
