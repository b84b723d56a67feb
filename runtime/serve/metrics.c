/* metrics.c - see metrics.h. The text is Prometheus's exposition format 0.0.4. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "embedder.h"
#include "metrics.h"

enum { N_BUCKETS = 18 };

struct histogram {
    _Atomic uint64_t buckets[N_BUCKETS + 1]; /* the last one: beyond all bounds */
    _Atomic double sum;
};

struct serve_metrics {
    _Atomic uint64_t counters[SERVE_N_COUNTERS];
    struct histogram histograms[SERVE_N_HISTOGRAMS];
};

#define COUNTER_ROW(id, name, help) {name, help},
#define HISTOGRAM_ROW(id, name, help, lowest) {name, help, lowest},
static const struct { const char *name, *help; } COUNTERS[] = {SERVE_COUNTERS(COUNTER_ROW)};
static const struct {
    const char *name, *help;
    double lowest;
} HISTOGRAMS[] = {SERVE_HISTOGRAMS(HISTOGRAM_ROW)};

struct serve_metrics *serve_metrics_create(void) {
    return calloc(1, sizeof(struct serve_metrics));
}

void serve_metrics_destroy(struct serve_metrics *m) {
    free(m);
}

void serve_count(struct serve_metrics *m, enum serve_counter counter, uint64_t n) {
    atomic_fetch_add_explicit(&m->counters[counter], n, memory_order_relaxed);
}

uint64_t serve_counted(struct serve_metrics *m, enum serve_counter counter) {
    return atomic_load_explicit(&m->counters[counter], memory_order_relaxed);
}

void serve_observe(struct serve_metrics *m, enum serve_histogram histogram, double value) {
    struct histogram *h = &m->histograms[histogram];
    size_t i = 0;
    for (double bound = HISTOGRAMS[histogram].lowest; i < N_BUCKETS && value > bound; bound *= 2)
        i++;
    atomic_fetch_add_explicit(&h->buckets[i], 1, memory_order_relaxed);
    double sum = atomic_load_explicit(&h->sum, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&h->sum, &sum, sum + value))
        ;
}

void serve_count_verdict(struct serve_metrics *m, enum serve_verdict verdict) {
    if (verdict == SERVE_TAKEN)
        serve_count(m, SERVE_COUNT_REQUESTS, 1);
    if (verdict == SERVE_QUEUE_FULL)
        serve_count(m, SERVE_COUNT_QUEUE_FULL, 1);
}

void serve_count_end(struct serve_metrics *m, const struct serve_job *job,
                     const struct serve_error *error) {
    /* A job that is cancelled while it is embedded has an error, too, so cancellation is checked
     * first. */
    const enum serve_counter counter = atomic_load(&job->cancelled) ? SERVE_COUNT_CANCELLED
                                       : error->status != 0         ? SERVE_COUNT_FAILED
                                                                    : SERVE_COUNT_FINISHED;
    serve_count(m, counter, 1);
    serve_observe(m, SERVE_TIME_END_TO_END, (double)(serve_now_ns() - job->submitted_ns) * 1e-9);
}

/* ---- Text ------------------------------------------------------------------------------------ */

static bool __attribute__((format(printf, 2, 3)))
put(struct rsr_bytes *text, const char *format, ...) {
    char line[512]; /* names of models are cut by put_label() */
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    return n > 0 && (size_t)n < sizeof(line) && rsr_bytes_append(text, line, (size_t)n);
}

static bool put_head(struct rsr_bytes *text, const char *name, const char *type, const char *help) {
    return put(text, "# HELP rsr_%s %s\n# TYPE rsr_%s %s\n", name, help, name, type);
}

static bool put_counters(struct serve_metrics *m, struct rsr_bytes *text) {
    bool ok = true;
    for (size_t i = 0; i < SERVE_N_COUNTERS && ok; i++)
        ok = put_head(text, COUNTERS[i].name, "counter", COUNTERS[i].help) &&
             put(text, "rsr_%s %" PRIu64 "\n", COUNTERS[i].name,
                 serve_counted(m, (enum serve_counter)i));
    return ok;
}

static bool put_histogram(struct histogram *h, size_t id, struct rsr_bytes *text) {
    const char *name = HISTOGRAMS[id].name;
    double bound = HISTOGRAMS[id].lowest;
    uint64_t n = 0;
    bool ok = put_head(text, name, "histogram", HISTOGRAMS[id].help);
    for (size_t i = 0; i < N_BUCKETS && ok; i++, bound *= 2) {
        n += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
        ok = put(text, "rsr_%s_bucket{le=\"%.9g\"} %" PRIu64 "\n", name, bound, n);
    }
    n += atomic_load_explicit(&h->buckets[N_BUCKETS], memory_order_relaxed);
    return ok && put(text,
                     "rsr_%s_bucket{le=\"+Inf\"} %" PRIu64
                     "\nrsr_%s_sum %.17g\nrsr_%s_count %" PRIu64 "\n",
                     name, n, name, atomic_load(&h->sum), name, n);
}

static bool put_gauge(struct rsr_bytes *text, const char *name, const char *help, double value) {
    return put_head(text, name, "gauge", help) && put(text, "rsr_%s %.17g\n", name, value);
}

/* ---- Values of models ------------------------------------------------------------------------ */

/* Values of one model. */
struct model_values {
    rsr_engine_info engine;
    rsr_prefix_cache_info cache;
    rsr_head_stats head;
    rsr_attention_stats attention;
};

static void read_values(const struct serve_model *m, struct model_values *v) {
    *v = (struct model_values){.engine = RSR_ENGINE_INFO_INIT,
                               .cache = RSR_PREFIX_CACHE_INFO_INIT,
                               .head = RSR_HEAD_STATS_INIT,
                               .attention = RSR_ATTENTION_STATS_INIT};
    (void)!rsr_engine_get_info(m->engine, &v->engine);
    (void)!rsr_engine_head_stats(m->engine, false, &v->head);
    (void)!rsr_engine_attention_stats(m->engine, false, &v->attention);
    if (m->cache != NULL)
        (void)!rsr_prefix_cache_get_info(m->cache, &v->cache);
}

/* name, type, help, value of `v` */
#define MODEL_ROWS(X)                                                                              \
    X("kv_tokens", "gauge", "Tokens that the KV pool has room for", v->engine.kv_tokens)           \
    X("kv_tokens_used", "gauge", "Tokens of KV pages that sequences have",                         \
      v->engine.kv_tokens - v->engine.kv_tokens_free)                                              \
    X("prefix_cache_bytes", "gauge", "Keys and values that the prefix cache keeps",                \
      v->cache.bytes)                                                                              \
    X("prefix_cache_takes_total", "counter", "Prompts that were looked up in the prefix cache",    \
      v->cache.takes)                                                                              \
    X("prefix_cache_hits_total", "counter", "Prompts of which the prefix cache had a part",        \
      v->cache.hits)                                                                               \
    X("prefix_cache_evicted_pages_total", "counter", "Pages that the prefix cache has forgotten",  \
      v->cache.evicted_pages)                                                                      \
    X("head_picks_sketched_total", "counter", "Tokens that were picked without all of the head",   \
      v->head.sketched)                                                                            \
    X("head_picks_full_total", "counter", "Tokens that were picked from all logits", v->head.full) \
    X("head_rows_scanned_total", "counter", "Rows of the head's sketch that were read",            \
      v->head.scanned)                                                                             \
    X("head_rows_exact_total", "counter", "Rows of the head that were read", v->head.exact)        \
    X("attention_dense_total", "counter", "Tokens, layers and KV heads without the KV index",      \
      v->attention.dense)                                                                          \
    X("attention_indexed_total", "counter", "Tokens, layers and KV heads through the KV index",    \
      v->attention.indexed)                                                                        \
    X("attention_keys_total", "counter", "Keys that the KV index had before it",                   \
      v->attention.keys)                                                                           \
    X("attention_keys_read_total", "counter", "Keys of these whose values were read",              \
      v->attention.exact)

#define ROW_NAME(name, type, help, value) {name, type, help},
#define ROW_VALUE(name, type, help, value) (double)(value),
static const struct { const char *name, *type, *help; } ROWS[] = {MODEL_ROWS(ROW_NAME)};
enum { N_ROWS = sizeof(ROWS) / sizeof(ROWS[0]) };

static void list_values(const struct model_values *v, double values[N_ROWS]) {
    const double listed[] = {MODEL_ROWS(ROW_VALUE)};
    for (size_t i = 0; i < N_ROWS; i++)
        values[i] = listed[i];
}

/* Writes model="NAME" with the format's escapes. */
static bool put_label(struct rsr_bytes *text, const char *name) {
    bool ok = rsr_bytes_append(text, "{model=\"", 8);
    for (; *name != '\0' && ok; name++) {
        if (*name == '\n')
            ok = rsr_bytes_append(text, "\\n", 2);
        else
            ok = ((*name != '\\' && *name != '"') || rsr_bytes_append(text, "\\", 1)) &&
                 rsr_bytes_append(text, name, 1);
    }
    return ok && rsr_bytes_append(text, "\"}", 2);
}

static bool put_models(struct serve_server *server, struct rsr_bytes *text) {
    double values[SERVE_MAX_MODELS][N_ROWS];
    bool ok = true;
    for (uint32_t i = 0; i < server->n_models; i++) {
        struct model_values v;
        read_values(&server->models[i], &v);
        list_values(&v, values[i]);
    }
    for (size_t row = 0; row < N_ROWS && ok; row++) {
        ok = put_head(text, ROWS[row].name, ROWS[row].type, ROWS[row].help);
        for (uint32_t i = 0; i < server->n_models && ok; i++)
            ok = put(text, "rsr_%s", ROWS[row].name) && put_label(text, server->models[i].name) &&
                 put(text, " %.17g\n", values[i][row]);
    }
    return ok;
}

bool serve_metrics_print(struct serve_server *server, struct rsr_bytes *text) {
    const struct serve_load load = serve_scheduler_load(server->scheduler);
    const uint32_t n_embeds = server->embedder ? serve_embedder_load(server->embedder) : 0;
    bool ok = put_counters(server->metrics, text);
    for (size_t i = 0; i < SERVE_N_HISTOGRAMS && ok; i++)
        ok = put_histogram(&server->metrics->histograms[i], i, text);
    return ok && put_gauge(text, "slots", "Texts that can be generated at once", load.n_slots) &&
           put_gauge(text, "slots_busy", "Texts that are generated", load.n_busy) &&
           put_gauge(text, "queue_requests", "Requests that wait for a slot", load.n_queued) &&
           put_gauge(text, "embedding_requests",
                     "Requests for embeddings that wait or are computed", n_embeds) &&
           put_models(server, text);
}
