/* rsr_bench_attention_run.h - what the files of rsr-bench attention share: one layer's steps, dense
 * and through an index (rsr_bench_attention_step.c), their comparison with float64 (.._check.c),
 * what sealing takes (.._seal.c), the result (.._report.c), and the command that has them measured
 * (rsr_bench_attention.c). */
#ifndef RSRC_TOOLS_RSR_BENCH_ATTENTION_RUN_H
#define RSRC_TOOLS_RSR_BENCH_ATTENTION_RUN_H

#include "louver/louver.h"
#include "ops/ops.h"
#include "other_indices/rsr_bench_gate.h"
#include "rsr_bench_attention.h"
#include "rsr_bench_dense.h"
#include "rsr_louver.h"

/* What measured steps read, in pages and keys of a KV head. */
struct attention_counts {
    double pages_skipped, scanned, plane2, exact, bytes;
};

/* What --index chooses: the KV index with so many planes, or a gate to compare it with. */
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

/* What the comparison with float64 found. */
struct attention_findings {
    uint64_t misses;
    double error, certified, storage, dense_error; /* largest */
};

/* Medians, of a layer; spread: of louver_us; 0: not timed. */
struct attention_timings {
    double dense_us, louver_us, search_us, all_keys_us, append_us, dram_gbps, spread;
    double seal_us, copy_us; /* of a page and KV head: making its sketches, copying its keys */
};

/* ---- rsr_bench_attention_step.c ---- */

/* The indices or gates of all layers. False with a message on stderr. */
bool attention_fill(struct attention_bench *b);
/* Notes that something failed; the first message goes to stderr. */
void attention_fail(struct attention_bench *b, const rsr_error *err);
/* One KV head; queries and outputs: [group][head_dim]. */
void attention_dense(const struct attention_bench *b, uint32_t layer, uint32_t head,
                     const float *queries, float *outputs);
void attention_ask_gate(struct attention_bench *b, uint32_t layer, uint32_t step, uint32_t head,
                        float *out, struct bench_gate_counts *counts);
/* What an index is asked for: keys by the threshold, where that of topk was found beforehand; the
 * same, and the index is to find it; all keys, which is the runtime's dense attention. */
enum attention_ask { ATTENTION_ASK_FOUND, ATTENTION_ASK_SEARCH, ATTENTION_ASK_ALL };
/* What a step asks of one KV head's index. */
rsr_louver_query attention_query(const struct attention_bench *b, uint32_t layer, uint32_t step,
                                 uint32_t head, enum attention_ask ask);
/* One step of a layer. */
void attention_step_dense(struct attention_bench *b, uint32_t layer, uint32_t step);
void attention_step_index(struct attention_bench *b, uint32_t layer, uint32_t step,
                          enum attention_ask ask);
/* What gates let through of a KV head: [group][pages]. */
uint32_t attention_pages(const struct attention_bench *b);
uint64_t *attention_masks(const struct attention_bench *b, uint32_t head);

/* ---- rsr_bench_attention_check.c ---- */

/* T of topk:K, which an oracle would know: of each query head of a KV head. */
double *attention_thresholds(const struct attention_bench *b, uint32_t layer, uint32_t step,
                             uint32_t head);
bool attention_find_thresholds(struct attention_bench *b);
/* All queries. False: a query failed, or there was no memory. */
bool attention_check(struct attention_bench *b, struct attention_findings *found);

/* ---- rsr_bench_attention_seal.c ---- */

/* Of keys and values in float32. Leaves the results alone if no page is full. False: there was no
 * memory. */
bool attention_time_sealing(const struct attention_bench *b, double *seal_us, double *copy_us);

/* ---- rsr_bench_attention_report.c ---- */

/* NULL: no index answered. */
json_t *attention_report(const struct attention_bench *b, const struct attention_timings *t,
                         const struct attention_findings *found);

#endif
