/* rsr_bench_attention.c - attention of one layer over a long context: dense, and through the KV
 * index.
 *
 * Both go over at least 1.5 GiB of distinct keys and values, one layer after another as a model
 * decodes. Dense attention has to reach 80 % of the read bandwidth of the same run; otherwise the
 * speed-up is meaningless.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/round.h"
#include "host/cpu.h"
#include "rsr_bench_attention_run.h"

static const struct attention_index INDEX_KINDS[] = {
    {"cascade", 2, NULL},
    {"one-plane", 1, NULL},
    {"pages", 0, &bench_gate_pages},
    {"centroids", 0, &bench_gate_centroids},
    {"centroids-unsafe", 0, &bench_gate_centroids_unsafe},
};
#define N_INDEX_KINDS (sizeof(INDEX_KINDS) / sizeof(INDEX_KINDS[0]))

#define DENSE_TRIALS 3u
#define LARGEST_DENSE_ERROR 1e-3 /* error of outputs summed in float32 */

static bool refuse(const char *sentence) {
    fprintf(stderr, "rsr-bench: %s\n", sentence);
    return false;
}

/* ---- Measuring ---- */

typedef void step_fn(struct attention_bench *b, uint32_t layer, uint32_t step);

static void step_oracle(struct attention_bench *b, uint32_t layer, uint32_t step) {
    attention_step_index(b, layer, step, ATTENTION_ASK_FOUND);
}

static void step_search(struct attention_bench *b, uint32_t layer, uint32_t step) {
    attention_step_index(b, layer, step, ATTENTION_ASK_SEARCH);
}

static void step_all_keys(struct attention_bench *b, uint32_t layer, uint32_t step) {
    attention_step_index(b, layer, step, ATTENTION_ASK_ALL);
}

/* Times one step of every layer, in microseconds per layer. */
static double time_layers(struct attention_bench *b, step_fn *step, uint32_t run) {
    const uint64_t start = rsrc_now_ns();
    for (uint32_t layer = 0; layer < b->d.n_layers; layer++)
        step(b, layer, (run + layer) % b->d.n_steps);
    return (double)(rsrc_now_ns() - start) * 1e-3 / b->d.n_layers;
}

/* An index allocates memory for up to 64 pages at once, so this many are appended. Short contexts
 * have thousands of layers; this number of layers is enough. */
#define APPENDED_PAGES 64u
#define APPENDED_LAYERS 8u

/* Appends pages to indices, one token after another over all layers, and removes them again. */
static bool time_append(struct attention_bench *b, double *us) {
    const uint32_t n_layers = b->d.n_layers < APPENDED_LAYERS ? b->d.n_layers : APPENDED_LAYERS;
    const uint32_t n = n_layers * b->d.kv_heads;
    const uint32_t n_tokens = RSR_PAGE_TOKENS * (b->options->quick ? 1 : APPENDED_PAGES);
    rsr_error err = RSR_ERROR_INIT;
    const uint64_t start = rsrc_now_ns();
    for (uint32_t token = 0; token < n_tokens; token++) {
        for (uint32_t i = 0; i < n; i++) {
            const float *key = attention_keys(&b->d, i / b->d.kv_heads, i % b->d.kv_heads);
            key += (size_t)(token % b->d.n_keys) * b->d.row_floats;
            if (rsr_louver_append(b->indices[i], key, key + b->d.head_floats / 2, 1, &err) !=
                RSR_OK) {
                attention_fail(b, &err);
                return false;
            }
        }
    }
    *us = (double)(rsrc_now_ns() - start) * 1e-3 / n_tokens / n_layers;
    for (uint32_t i = 0; i < n && !b->failed; i++)
        if (rsr_louver_truncate(b->indices[i], b->d.n_keys, &err) != RSR_OK)
            attention_fail(b, &err);
    return !b->failed;
}

static bool measure(struct attention_bench *b, struct attention_timings *t) {
    const uint32_t runs = b->options->runs;
    double *samples = calloc((size_t)4 * runs, sizeof(*samples)), unused;
    if (samples == NULL)
        return false;
    memset(b->counts, 0, b->d.kv_heads * sizeof(*b->counts));
    const bool search = b->threshold.kind == RSR_LOUVER_TOPK && b->kind->gate == NULL;
    const bool may_give_up = louver_has_budget(b->threshold.kind);
    for (uint32_t i = 0; i < runs && !b->failed; i++) {
        samples[i] = time_layers(b, attention_step_dense, i);
        samples[runs + i] = time_layers(b, step_oracle, i);
        if (search)
            samples[2 * runs + i] = time_layers(b, step_search, i);
        if (may_give_up)
            samples[3 * runs + i] = time_layers(b, step_all_keys, i);
    }
    t->dense_us = rsrc_median(samples, runs, &unused);
    t->louver_us = rsrc_median(samples + runs, runs, &t->spread);
    t->search_us = rsrc_median(samples + 2 * (size_t)runs, runs, &unused);
    t->all_keys_us = rsrc_median(samples + 3 * (size_t)runs, runs, &unused);
    free(samples);
    t->dram_gbps = bench_read_gbps(b->d.kv, b->d.kv_bytes, b->options->threads, runs);
    t->append_us = b->build_us;
    if (b->failed || b->kind->gate != NULL)
        return !b->failed;
    return time_append(b, &t->append_us) &&
           (b->format.type != RSR_KV_F32 || attention_time_sealing(b, &t->seal_us, &t->copy_us));
}

/* Finds the fastest dense kernel on this machine. */
static void choose_dense(struct attention_bench *b) {
    const struct bench_dense *best = NULL, *kernel;
    double best_us = INFINITY;
    for (uint32_t i = 0; (kernel = bench_dense_for(rsr_cpu_features(), i)) != NULL; i++) {
        b->dense = kernel;
        for (uint32_t run = 0; run < DENSE_TRIALS; run++) {
            const double us = time_layers(b, attention_step_dense, run);
            best = us < best_us ? kernel : best;
            best_us = us < best_us ? us : best_us;
        }
    }
    b->dense = best;
}

/* ---- The command ---- */

static bool set_up(struct attention_bench *b) {
    const uint64_t features = rsr_cpu_features();
    enum rsr_kv_type type = RSR_KV_F32;
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_kv_type_parse(b->options->kv_type, &type, &err) != RSR_OK)
        return refuse(err.message);
    if (type != RSR_KV_F32 && b->kind->gate != NULL)
        return refuse("this --index has a --kv-type of f32 alone");
    if (!attention_data_make(b->options, &b->d))
        return false;
    if (!b->options->quick) /* as many bytes as with float32 */
        b->d.n_layers *= (uint32_t)sizeof(float) / rsr_kv_element_bytes(type);
    const size_t n_heads = (size_t)b->d.kv_heads * b->d.group;
    b->ops = rsr_ops_best(features);
    b->format = rsr_kv_format_of(type, b->d.head_dim, true, b->ops);
    b->scale = 1.0f / sqrtf((float)b->d.head_dim);
    b->indices = calloc((size_t)b->d.n_layers * b->d.kv_heads, sizeof(rsr_louver *));
    b->gates = calloc((size_t)b->d.n_layers * b->d.kv_heads, sizeof(*b->gates));
    b->masks = calloc(n_heads * attention_pages(b), sizeof(*b->masks));
    b->thresholds = calloc(b->d.n_sources * b->d.n_steps * n_heads, sizeof(double));
    b->outputs = calloc(n_heads * b->d.head_dim, sizeof(float));
    b->counts = calloc(b->d.kv_heads, sizeof(*b->counts));
    if (b->indices == NULL || b->gates == NULL || b->masks == NULL || b->thresholds == NULL ||
        b->outputs == NULL || b->counts == NULL)
        return refuse("no memory for results");
    if (!attention_fill(b))
        return false;
    if (b->d.group <= BENCH_DENSE_HEADS && type == RSR_KV_F32)
        choose_dense(b);
    return b->threshold.kind != RSR_LOUVER_TOPK || attention_find_thresholds(b) ||
           refuse("no memory for products");
}

static void release(struct attention_bench *b) {
    for (uint32_t i = 0; b->indices != NULL && i < b->d.n_layers * b->d.kv_heads; i++)
        rsr_louver_destroy(b->indices[i]);
    for (uint32_t i = 0; b->gates != NULL && i < b->d.n_layers * b->d.kv_heads; i++)
        bench_gate_free(&b->gates[i]);
    free(b->indices);
    free(b->gates);
    free(b->masks);
    free(b->thresholds);
    free(b->outputs);
    free(b->counts);
    attention_data_free(&b->d);
}

static const struct attention_index *kind_of(const char *name) {
    for (size_t i = 0; i < N_INDEX_KINDS; i++)
        if (strcmp(INDEX_KINDS[i].name, name) == 0)
            return &INDEX_KINDS[i];
    refuse("--index takes cascade, one-plane, pages, centroids or centroids-unsafe");
    return NULL;
}

/* Gates take only one T per head. */
static bool suits_gates(const rsr_louver_threshold *threshold) {
    return (threshold->kind == RSR_LOUVER_VALUE || threshold->kind == RSR_LOUVER_TOPK) &&
           threshold->sinks == 0 && threshold->window == 0;
}

/* Whether mass:EPS left out a needle, although it is more of the softmax than EPS. */
static bool lost_needles(const struct attention_bench *b, const struct attention_findings *found) {
    const double n = b->d.n_needles;
    return b->threshold.kind == RSR_LOUVER_MASS && b->threshold.value < 0.99 / (n + 1.0) &&
           (double)found->needles < n * attention_n_queries(b);
}

int bench_attention(const struct bench_options *options) {
    struct bench_options known = *options;
    known.threads = known.threads == 0 ? 1 : known.threads;
    struct attention_bench b = {.options = &known};
    struct attention_findings found = {0};
    struct attention_timings timings = {0};
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_louver_threshold_parse(known.threshold, &b.threshold, &err) != RSR_OK)
        return refuse(err.message) ? 0 : 1;
    b.kind = kind_of(known.index);
    if (b.kind == NULL)
        return 1;
    if (b.kind->gate != NULL && !suits_gates(&b.threshold))
        return refuse("this --index needs a --threshold of value:T or topk:K") ? 0 : 1;
    json_t *result = NULL;
    bench_pin_threads(known.threads);
    if (set_up(&b) && attention_check(&b, &found) && measure(&b, &timings))
        result = attention_report(&b, &timings, &found);
    const bool lost = lost_needles(&b, &found);
    release(&b);
    if (result == NULL)
        return 1;
    bench_print(result, known.json);
    const bool may_miss = b.kind->gate != NULL && b.kind->gate->misses;
    const bool wrong =
        (found.misses != 0 && !may_miss) || lost || !(found.dense_error < LARGEST_DENSE_ERROR);
    if (wrong)
        refuse("keys were missed, or dense attention is wrong: a bug");
    return wrong;
}
