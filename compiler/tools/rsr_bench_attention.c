/* rsr_bench_attention.c - attention of one layer over a long context: dense, and through the KV index.
 *
 * Both go over at least 1.5 GiB of distinct keys and values, one layer after another as a model decodes.
 * Dense attention is one pass over keys and values for all query heads of a KV head: rsr_bench_dense.c for
 * up to four of them where AVX-512 can be had and numbers are float32, else the runtime's own, which reads what
 * the index stores. It has to reach 80 % of the read
 * bandwidth of the same run, or the speed-up compares with nothing.
 * Keys left out are compared with products in float64, outputs with attention in float64.
 */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/round.h"
#include "cpu.h"
#include "louver/louver.h"
#include "ops/ops.h"
#include "rsr_bench_attention.h"
#include "rsr_bench_dense.h"
#include "rsr_bench_gate.h"
#include "rsr_louver.h"
#include "sketch/sketch.h"

#define MAX_GROUP ATTENTION_MAX_GROUP
#define MAX_DIM ATTENTION_MAX_DIM
#define DENSE_SHARE 0.8 /* of the read bandwidth, that dense attention must reach */

/* What measured steps read, in pages and keys of a KV head. */
struct counts {
    double pages_skipped, scanned, plane2, exact, bytes;
};

/* What --index chooses: the KV index with so many planes, or a gate to compare it with. */
struct index_kind {
    const char *name;
    uint32_t n_planes;
    const struct bench_gate_kind *gate;
};
static const struct index_kind INDEX_KINDS[] = {
    {"cascade", 2, NULL},
    {"one-plane", 1, NULL},
    {"pages", 0, &bench_gate_pages},
    {"centroids", 0, &bench_gate_centroids},
    {"centroids-unsafe", 0, &bench_gate_centroids_unsafe},
};
#define N_INDEX_KINDS (sizeof(INDEX_KINDS) / sizeof(INDEX_KINDS[0]))

#define LARGEST_DENSE_ERROR 1e-3 /* of outputs that float32 summed */

struct attention_bench {
    const struct bench_options *options;
    const struct rsr_ops *ops;
    bench_dense_fn *dense; /* NULL: ops */
    struct rsr_kv_format format;
    struct attention_data d;
    float scale;
    rsr_louver_threshold threshold;
    const struct index_kind *kind;
    rsr_louver **indices;     /* [layer][KV head]; unless gates */
    struct bench_gate *gates; /* [layer][KV head] */
    uint64_t *masks;          /* [KV head][group][pages]: what gates let through */
    double build_us;          /* of gates: a token of a layer */
    double *thresholds;       /* [source][step][KV head][group]: that of topk:K, found beforehand */
    float *outputs;           /* [KV head][group][head_dim]: of the last step */
    struct counts *counts;    /* [KV head] */
    bool failed;
};

/* What the comparison with float64 found. */
struct findings {
    uint64_t misses;
    double error, certified, storage, dense_error; /* largest */
};

static bool refuse(const char *sentence) {
    fprintf(stderr, "rsr-bench: %s\n", sentence);
    return false;
}

/* ---- Products ---- */

static double product(const float *a, const float *b, uint32_t n) {
    double sums[4] = {0.0};
    uint32_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (uint32_t j = 0; j < 4; j++)
            sums[j] += (double)a[i + j] * (double)b[i + j];
    for (; i < n; i++)
        sums[0] += (double)a[i] * (double)b[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static void products_of(const struct attention_bench *b, uint32_t source, uint32_t head,
                        const float *q, double *products) {
    const float *keys = attention_keys(&b->d, source, head);
    for (uint32_t i = 0; i < b->d.n_keys; i++)
        products[i] = product(q, keys + (size_t)i * b->d.row_floats, b->d.head_dim);
}

static int descending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

static double *thresholds_of(const struct attention_bench *b, uint32_t layer, uint32_t step,
                             uint32_t head) {
    const size_t set = (size_t)(layer % b->d.n_sources) * b->d.n_steps + step;
    return b->thresholds + (set * b->d.kv_heads + head) * b->d.group;
}

/* The K-th largest product of every query: T of topk:K, which an oracle would know. */
static bool find_thresholds(struct attention_bench *b) {
    const uint32_t k = b->threshold.k < b->d.n_keys ? b->threshold.k : b->d.n_keys;
    const uint32_t n = b->d.n_sources * b->d.n_steps * b->d.kv_heads;
    double *products = calloc(b->d.n_keys, sizeof(*products));
    for (uint32_t i = 0; products != NULL && i < n; i++) {
        const uint32_t head = i % b->d.kv_heads, step = i / b->d.kv_heads % b->d.n_steps;
        const uint32_t source = i / b->d.kv_heads / b->d.n_steps;
        const float *queries = attention_queries(&b->d, source, step, head);
        for (uint32_t h = 0; h < b->d.group; h++) {
            products_of(b, source, head, queries + (size_t)h * b->d.head_dim, products);
            qsort(products, b->d.n_keys, sizeof(*products), descending);
            thresholds_of(b, source, step, head)[h] = products[k - 1];
        }
    }
    const bool found = products != NULL;
    free(products);
    return found;
}

/* ---- Dense ---- */

/* Of page p: what the index stores, or the float32 that it stores. */
static struct rsr_kv_rows page_rows(const struct attention_bench *b, uint32_t layer, uint32_t head,
                                    uint32_t p) {
    if (b->format.type != RSR_KV_F32)
        return b->indices[(size_t)layer * b->d.kv_heads + head]->blocks[p]->rows;
    const size_t at = (size_t)p * RSR_PAGE_TOKENS * b->d.row_floats;
    return (struct rsr_kv_rows){.keys = attention_keys(&b->d, layer, head) + at,
                                .values = attention_values(&b->d, layer, head) + at};
}

/* queries and outputs: [MAX_GROUP][row_floats], zero from head_dim on */
static void attend_ops(const struct attention_bench *b, uint32_t layer, uint32_t head,
                       const float *queries, float *outputs) {
    struct rsr_attend_state states[MAX_GROUP] = {{0.0f, 0.0f}};
    struct rsr_attend_head heads[MAX_GROUP];
    for (uint32_t h = 0; h < b->d.group; h++) {
        const size_t row = (size_t)h * b->d.row_floats;
        heads[h] = (struct rsr_attend_head){queries + row, outputs + row, &states[h]};
    }
    for (uint32_t p = 0; p * RSR_PAGE_TOKENS < b->d.n_keys; p++) {
        const uint32_t left = b->d.n_keys - p * RSR_PAGE_TOKENS;
        const uint32_t n = left < RSR_PAGE_TOKENS ? left : RSR_PAGE_TOKENS;
        const struct rsr_kv_rows rows = page_rows(b, layer, head, p);
        const struct rsr_attend_page page = {
            .keys = rows.keys,
            .values = rows.values,
            .next_keys = left > n ? page_rows(b, layer, head, p + 1).keys : NULL,
            .row_floats = b->d.row_floats,
            .n_keys = n};
        b->format.ops->attend_page(heads, b->d.group, &page, b->scale);
    }
    for (uint32_t h = 0; h < b->d.group; h++) {
        float *out = outputs + (size_t)h * b->d.row_floats;
        b->ops->attend_finish(out, out, &states[h], b->d.head_dim);
    }
}

/* queries and outputs: [group][head_dim] */
static void attend_dense(const struct attention_bench *b, uint32_t layer, uint32_t head,
                         const float *queries, float *outputs) {
    const float *keys = attention_keys(&b->d, layer, head),
                *values = attention_values(&b->d, layer, head);
    const size_t row_bytes = b->d.head_dim * sizeof(float);
    float q[MAX_GROUP * MAX_DIM] = {0.0f}, out[MAX_GROUP * MAX_DIM];
    for (uint32_t h = 0; h < b->d.group; h++)
        memcpy(q + (size_t)h * b->d.row_floats, queries + (size_t)h * b->d.head_dim, row_bytes);
    if (b->dense != NULL)
        b->dense(out, q, keys, values, b->d.row_floats, b->d.n_keys, b->scale);
    else
        attend_ops(b, layer, head, q, out);
    for (uint32_t h = 0; h < b->d.group; h++)
        memcpy(outputs + (size_t)h * b->d.head_dim, out + (size_t)h * b->d.row_floats, row_bytes);
}

/* One step of a layer. */
static void step_dense(struct attention_bench *b, uint32_t layer, uint32_t step) {
#pragma omp parallel for num_threads((int)b->options->threads) schedule(static)
    for (uint32_t head = 0; head < b->d.kv_heads; head++)
        attend_dense(b, layer, head, attention_queries(&b->d, layer, step, head),
                     b->outputs + (size_t)head * b->d.group * b->d.head_dim);
}

/* ---- Through the index ---- */

static void fail_once(struct attention_bench *b, const rsr_error *err) {
#pragma omp critical
    {
        if (!b->failed)
            fprintf(stderr, "rsr-bench: %s\n", err->message);
        b->failed = true;
    }
}

/* V of every key that was read exactly is counted, although only that of keys attended to is read. */
static double bytes_read(const struct attention_bench *b, const rsr_louver_stats *stats) {
    const struct rsr_sketch_shape shape = rsr_sketch_shape_of(b->d.head_dim, b->kind->n_planes);
    const double codes = 16.0 * shape.n_slices;
    const double scales = (double)(shape.plane_at[0] - shape.scales_at) / RSR_SKETCH_VECTORS;
    return (double)stats->pages * shape.scales_at + stats->scanned * (codes + scales) +
           stats->plane2 * (codes + shape.n_slices) +
           stats->exact * 2.0 * (double)b->format.row_bytes;
}

static void count(const struct attention_bench *b, struct counts *sum,
                  const rsr_louver_stats *stats) {
    sum->pages_skipped += stats->pages_skipped;
    sum->scanned += stats->scanned;
    sum->plane2 += stats->plane2;
    sum->exact += stats->exact;
    sum->bytes += bytes_read(b, stats);
}

/* What a step asks of one KV head's index. `search`: the index is to find the threshold of topk. */
static rsr_louver_query query_for(const struct attention_bench *b, uint32_t layer, uint32_t step,
                                  uint32_t head, bool search) {
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    query.n_heads = b->d.group;
    query.q = attention_queries(&b->d, layer, step, head);
    query.threshold = b->threshold;
    if (b->threshold.kind == RSR_LOUVER_TOPK && !search) {
        query.threshold.kind = RSR_LOUVER_VALUE;
        query.values = thresholds_of(b, layer, step, head);
    }
    return query;
}

static void step_cascade(struct attention_bench *b, uint32_t layer, uint32_t step, bool search) {
#pragma omp parallel for num_threads((int)b->options->threads) schedule(static)
    for (uint32_t head = 0; head < b->d.kv_heads; head++) {
        rsr_error err = RSR_ERROR_INIT;
        rsr_louver_stats stats = RSR_LOUVER_STATS_INIT;
        rsr_louver_head heads[MAX_GROUP];
        rsr_louver_query query = query_for(b, layer, step, head, search);
        query.out = b->outputs + (size_t)head * b->d.group * b->d.head_dim;
        query.heads = heads;
        if (rsr_louver_attend(b->indices[(size_t)layer * b->d.kv_heads + head], &query, &stats,
                              &err) != RSR_OK)
            fail_once(b, &err);
        if (!search)
            count(b, &b->counts[head], &stats);
    }
}

/* ---- Through a gate ---- */

static uint32_t pages_of(const struct attention_bench *b) {
    return (b->d.n_keys + BENCH_GATE_PAGE - 1) / BENCH_GATE_PAGE;
}

static uint64_t *masks_of(const struct attention_bench *b, uint32_t head) {
    return b->masks + (size_t)head * b->d.group * pages_of(b);
}

/* One KV head; out: [group][head_dim]. */
static void ask_gate(struct attention_bench *b, uint32_t layer, uint32_t step, uint32_t head,
                     float *out, struct bench_gate_counts *counts) {
    const float *queries = attention_queries(&b->d, layer, step, head);
    const size_t row_bytes = b->d.head_dim * sizeof(float);
    float q[MAX_GROUP * MAX_DIM] = {0.0f}, rows[MAX_GROUP * MAX_DIM];
    double thresholds[MAX_GROUP];
    for (uint32_t h = 0; h < b->d.group; h++) {
        memcpy(q + (size_t)h * b->d.row_floats, queries + (size_t)h * b->d.head_dim, row_bytes);
        thresholds[h] = b->threshold.kind == RSR_LOUVER_TOPK
                            ? thresholds_of(b, layer, step, head)[h]
                            : b->threshold.value;
    }
    const struct bench_gate_query query = {b->d.group, q, thresholds, b->scale};
    if (!bench_gate_attend(&b->gates[(size_t)layer * b->d.kv_heads + head], &query,
                           masks_of(b, head), rows, counts))
        fail_once(b, &(rsr_error){.message = "no memory for a query"});
    for (uint32_t h = 0; h < b->d.group; h++)
        memcpy(out + (size_t)h * b->d.head_dim, rows + (size_t)h * b->d.row_floats, row_bytes);
}

static void step_gate(struct attention_bench *b, uint32_t layer, uint32_t step) {
#pragma omp parallel for num_threads((int)b->options->threads) schedule(static)
    for (uint32_t head = 0; head < b->d.kv_heads; head++) {
        struct bench_gate_counts counts = {0};
        ask_gate(b, layer, step, head, b->outputs + (size_t)head * b->d.group * b->d.head_dim,
                 &counts);
        b->counts[head].pages_skipped += counts.pages_skipped;
        b->counts[head].scanned += counts.scanned;
        b->counts[head].exact += counts.exact;
        b->counts[head].bytes += counts.bytes;
    }
}

static bool fill_gates(struct attention_bench *b) {
    const uint32_t n_sources = b->d.n_sources * b->d.kv_heads;
    const uint64_t start = rsrc_now_ns();
    bool ok = true;
#pragma omp parallel for num_threads((int)b->options->threads) reduction(&& : ok)
    for (uint32_t i = 0; i < n_sources; i++) {
        const float *keys = attention_keys(&b->d, i / b->d.kv_heads, i % b->d.kv_heads);
        ok = bench_gate_make(&b->gates[i], b->kind->gate, keys, keys + b->d.head_floats / 2,
                             b->d.n_keys, b->d.head_dim, b->d.row_floats) &&
             ok;
    }
    b->build_us = (double)(rsrc_now_ns() - start) * 1e-3 / b->d.n_sources / b->d.n_keys;
    for (uint32_t i = n_sources; ok && i < b->d.n_layers * b->d.kv_heads; i++) {
        const float *keys = attention_keys(&b->d, i / b->d.kv_heads, i % b->d.kv_heads);
        ok = bench_gate_copy(&b->gates[i], &b->gates[i % n_sources], keys,
                             keys + b->d.head_floats / 2);
    }
    return ok || refuse("no memory for an index");
}

/* ---- Through either ---- */

static void step_index(struct attention_bench *b, uint32_t layer, uint32_t step, bool search) {
    if (b->kind->gate != NULL)
        step_gate(b, layer, step);
    else
        step_cascade(b, layer, step, search);
}

/* What is stored is the key: references are computed from that. */
static void read_back(struct attention_bench *b, uint32_t layer, uint32_t head) {
    const rsr_louver *index = b->indices[(size_t)layer * b->d.kv_heads + head];
    float *keys = attention_keys(&b->d, layer, head),
          *values = attention_values(&b->d, layer, head);
    for (uint32_t j = 0; j < b->d.n_keys; j++) {
        const struct rsr_kv_rows row = rsr_kv_rows_from(
            &b->format, index->blocks[j / RSR_PAGE_TOKENS]->rows, j % RSR_PAGE_TOKENS);
        b->format.ops->load(keys + (size_t)j * b->d.row_floats, row.keys, b->d.row_floats);
        b->format.ops->load(values + (size_t)j * b->d.row_floats, row.values, b->d.row_floats);
    }
}

static bool fill_cascade(struct attention_bench *b) {
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    options.kv_type = b->options->kv_type;
    options.head_dim = b->d.head_dim;
    options.n_planes = b->kind->n_planes;
#pragma omp parallel for num_threads((int)b->options->threads)
    for (uint32_t i = 0; i < b->d.n_layers * b->d.kv_heads; i++) {
        rsr_error err = RSR_ERROR_INIT;
        const float *keys = attention_keys(&b->d, i / b->d.kv_heads, i % b->d.kv_heads);
        const float *values = keys + b->d.head_floats / 2;
        rsr_status status = rsr_louver_create(&options, &b->indices[i], &err);
        for (uint32_t j = 0; j < b->d.n_keys && status == RSR_OK; j++)
            status = rsr_louver_append(b->indices[i], keys + (size_t)j * b->d.row_floats,
                                       values + (size_t)j * b->d.row_floats, 1, &err);
        if (status != RSR_OK)
            fail_once(b, &err);
    }
    for (uint32_t i = 0; i < b->d.n_kv_layers * b->d.kv_heads && !b->failed; i++)
        read_back(b, i / b->d.kv_heads, i % b->d.kv_heads);
    return !b->failed;
}

/* ---- Checking ---- */

struct checked_head {
    double *products; /* [keys] */
    uint32_t *attended, n_attended;
    const float *out, *dense;
};

/* Keys left out although they are relevant: to the threshold of the oracle, or to what the index says. */
static uint64_t count_misses(const struct attention_bench *b, const struct checked_head *c,
                             double threshold) {
    uint64_t misses = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < b->d.n_keys; i++) {
        if (at < c->n_attended && c->attended[at] == i)
            at++;
        else
            misses += c->products[i] >= threshold;
    }
    return misses;
}

static double distance(const float *x, const double *sums, double total, uint32_t n) {
    double squares = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        const double difference = (double)x[i] - sums[i] / total;
        squares += difference * difference;
    }
    return sqrt(squares);
}

/* Distances to attention over all keys, in float64. */
static void compare_outputs(const struct attention_bench *b, const struct checked_head *c,
                            const float *values, struct findings *found) {
    double sums[MAX_DIM] = {0.0}, largest = -INFINITY, total = 0.0;
    for (uint32_t i = 0; i < b->d.n_keys; i++)
        largest = c->products[i] > largest ? c->products[i] : largest;
    for (uint32_t i = 0; i < b->d.n_keys; i++) {
        const double p = exp((double)b->scale * (c->products[i] - largest));
        const float *v = values + (size_t)i * b->d.row_floats;
        total += p;
        for (uint32_t d = 0; d < b->d.head_dim; d++)
            sums[d] += p * (double)v[d];
    }
    found->error = fmax(found->error, distance(c->out, sums, total, b->d.head_dim));
    found->dense_error = fmax(found->dense_error, distance(c->dense, sums, total, b->d.head_dim));
}

/* What each head got of one KV head's index; attended: [group][keys]. */
static bool ask_cascade(struct attention_bench *b, uint32_t source, uint32_t step, uint32_t head,
                        uint32_t *attended, rsr_louver_head *results) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_louver_query query = query_for(b, source, step, head, false);
    query.out = b->outputs;
    query.heads = results;
    query.indices = attended;
    query.capacity = b->d.n_keys;
    if (rsr_louver_attend(b->indices[(size_t)source * b->d.kv_heads + head], &query, NULL, &err) !=
        RSR_OK)
        fail_once(b, &err);
    for (uint32_t h = 0; query.values != NULL && h < b->d.group; h++)
        results[h].threshold = query.values[h];
    return !b->failed;
}

/* The same of a gate. */
static bool list_gate(struct attention_bench *b, uint32_t source, uint32_t step, uint32_t head,
                      uint32_t *attended, rsr_louver_head *results) {
    struct bench_gate_counts unused = {0};
    ask_gate(b, source, step, head, b->outputs, &unused);
    for (uint32_t h = 0; h < b->d.group; h++) {
        const uint64_t *masks = masks_of(b, head) + (size_t)h * pages_of(b);
        uint32_t n = 0;
        for (uint32_t p = 0; p < pages_of(b); p++)
            for (uint64_t left = masks[p]; left != 0; left &= left - 1)
                attended[(size_t)h * b->d.n_keys + n++] =
                    p * BENCH_GATE_PAGE + (uint32_t)__builtin_ctzll(left);
        results[h] = (rsr_louver_head){.n_attended = n,
                                       .threshold = b->threshold.kind == RSR_LOUVER_TOPK
                                                        ? thresholds_of(b, source, step, head)[h]
                                                        : b->threshold.value};
    }
    return !b->failed;
}

static bool check_head(struct attention_bench *b, uint32_t source, uint32_t step, uint32_t head,
                       struct checked_head *c, struct findings *found) {
    rsr_louver_head results[MAX_GROUP];
    float dense[MAX_GROUP * MAX_DIM];
    const float *queries = attention_queries(&b->d, source, step, head);
    attend_dense(b, source, head, queries, dense);
    if (!(b->kind->gate != NULL ? list_gate : ask_cascade)(b, source, step, head, c->attended,
                                                           results))
        return false;
    for (uint32_t h = 0; h < b->d.group; h++) {
        struct checked_head one = {.products = c->products,
                                   .attended = c->attended + (size_t)h * b->d.n_keys,
                                   .n_attended = results[h].n_attended,
                                   .out = b->outputs + (size_t)h * b->d.head_dim,
                                   .dense = dense + (size_t)h * b->d.head_dim};
        products_of(b, source, head, queries + (size_t)h * b->d.head_dim, one.products);
        found->misses += count_misses(b, &one, results[h].threshold);
        compare_outputs(b, &one, attention_values(&b->d, source, head), found);
        found->certified = fmax(found->certified, results[h].certified_error);
        found->storage = fmax(found->storage, results[h].storage_error);
    }
    return true;
}

static bool check(struct attention_bench *b, struct findings *found) {
    struct checked_head c = {.products = calloc(b->d.n_keys, sizeof(double)),
                             .attended =
                                 calloc((size_t)b->d.n_keys * b->d.group, sizeof(uint32_t))};
    bool ok = c.products != NULL && c.attended != NULL;
    const uint32_t n = b->d.n_sources * b->d.n_steps * b->d.kv_heads;
    for (uint32_t i = 0; ok && i < n; i++)
        ok = check_head(b, i / b->d.kv_heads / b->d.n_steps, i / b->d.kv_heads % b->d.n_steps,
                        i % b->d.kv_heads, &c, found);
    free(c.products);
    free(c.attended);
    return ok;
}

/* ---- Measuring ---- */

typedef void step_fn(struct attention_bench *b, uint32_t layer, uint32_t step);

static void step_oracle(struct attention_bench *b, uint32_t layer, uint32_t step) {
    step_index(b, layer, step, false);
}

static void step_search(struct attention_bench *b, uint32_t layer, uint32_t step) {
    step_index(b, layer, step, true);
}

/* One step of every layer; microseconds a layer. */
static double time_layers(struct attention_bench *b, step_fn *step, uint32_t run) {
    const uint64_t start = rsrc_now_ns();
    for (uint32_t layer = 0; layer < b->d.n_layers; layer++)
        step(b, layer, (run + layer) % b->d.n_steps);
    return (double)(rsrc_now_ns() - start) * 1e-3 / b->d.n_layers;
}

/* Indices take memory for up to 64 pages at once: so many are appended. Short contexts have thousands of
 * layers, of which these are enough. */
#define APPENDED_PAGES 64u
#define APPENDED_LAYERS 8u

/* Appends pages to indices, a token at a time over the layers, and takes them away again. */
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
                fail_once(b, &err);
                return false;
            }
        }
    }
    *us = (double)(rsrc_now_ns() - start) * 1e-3 / n_tokens / n_layers;
    for (uint32_t i = 0; i < n && !b->failed; i++)
        if (rsr_louver_truncate(b->indices[i], b->d.n_keys, &err) != RSR_OK)
            fail_once(b, &err);
    return !b->failed;
}

struct timings {
    double dense_us, louver_us, search_us, append_us, dram_gbps, spread;
};

static bool measure(struct attention_bench *b, struct timings *t) {
    const uint32_t runs = b->options->runs;
    double *samples = calloc((size_t)3 * runs, sizeof(*samples)), unused;
    if (samples == NULL)
        return false;
    memset(b->counts, 0, b->d.kv_heads * sizeof(*b->counts));
    const bool search = b->threshold.kind == RSR_LOUVER_TOPK && b->kind->gate == NULL;
    for (uint32_t i = 0; i < runs && !b->failed; i++) {
        samples[i] = time_layers(b, step_dense, i);
        samples[runs + i] = time_layers(b, step_oracle, i);
        if (search)
            samples[2 * runs + i] = time_layers(b, step_search, i);
    }
    t->dense_us = rsrc_median(samples, runs, &unused);
    t->louver_us = rsrc_median(samples + runs, runs, &t->spread);
    t->search_us = rsrc_median(samples + 2 * (size_t)runs, runs, &unused);
    free(samples);
    t->dram_gbps = bench_read_gbps(b->d.kv, b->d.kv_bytes, b->options->threads, runs);
    t->append_us = b->build_us;
    return !b->failed && (b->kind->gate != NULL || time_append(b, &t->append_us));
}

/* ---- Reporting ---- */

/* Of one layer, and the name of the kernel. */
static bool index_size(const struct attention_bench *b, double *bytes, const char **kernel) {
    rsr_louver_info info = RSR_LOUVER_INFO_INIT;
    if (b->kind->gate == NULL && rsr_louver_get_info(b->indices[0], &info) != RSR_OK)
        return false;
    *bytes = b->kind->gate != NULL ? (double)b->gates[0].bytes : (double)info.index_bytes;
    *kernel = b->kind->gate != NULL ? "plain C" : info.kernel;
    return true;
}

static json_t *describe(const struct attention_bench *b, const struct timings *t,
                        const struct findings *found) {
    const struct bench_options *o = b->options;
    struct counts sum = {0};
    double index_bytes;
    const char *kernel;
    for (uint32_t head = 0; head < b->d.kv_heads; head++) {
        sum.pages_skipped += b->counts[head].pages_skipped;
        sum.scanned += b->counts[head].scanned;
        sum.plane2 += b->counts[head].plane2;
        sum.exact += b->counts[head].exact;
        sum.bytes += b->counts[head].bytes;
    }
    if (!index_size(b, &index_bytes, &kernel))
        return NULL;
    const double visits = (double)o->runs * b->d.n_layers * b->d.kv_heads; /* of an index */
    const double keys = visits * b->d.n_keys, pages = visits * (b->d.n_keys / RSR_PAGE_TOKENS);
    const double dense_bytes = 2.0 * (double)b->format.row_bytes;
    const double dense_gbps = dense_bytes * b->d.n_keys * b->d.kv_heads / t->dense_us * 1e-3;
    const bool counts = dense_gbps >= DENSE_SHARE * t->dram_gbps;
    json_t *result = json_object();
    json_object_set_new(result, "context", json_integer(b->d.n_keys));
    json_object_set_new(result, "head_dim", json_integer(b->d.head_dim));
    json_object_set_new(result, "heads", json_integer(b->d.kv_heads * b->d.group));
    json_object_set_new(result, "kv_heads", json_integer(b->d.kv_heads));
    json_object_set_new(result, "data", json_string(o->data));
    json_object_set_new(result, "threshold", json_string(o->threshold));
    json_object_set_new(result, "index", json_string(b->kind->name));
    json_object_set_new(result, "kv_type", json_string(rsr_kv_type_name(b->format.type)));
    json_object_set_new(result, "threads", json_integer(o->threads));
    json_object_set_new(result, "kernel", json_string(kernel));
    json_object_set_new(result, "dense_kernel",
                        json_string(b->dense != NULL ? "avx512, 4 heads" : b->ops->name));
    json_object_set_new(result, "kv_mib", json_integer((json_int_t)(b->d.kv_bytes >> 20)));
    json_object_set_new(result, "dense_us", json_real(t->dense_us));
    json_object_set_new(result, "louver_us", json_real(t->louver_us));
    if (b->threshold.kind == RSR_LOUVER_TOPK && b->kind->gate == NULL)
        json_object_set_new(result, "search_us", json_real(t->search_us));
    json_object_set_new(result, "speedup", json_real(t->dense_us / t->louver_us));
    json_object_set_new(result, "speedup_counts", json_boolean(counts));
    json_object_set_new(result, "scanned_fraction", json_real(sum.scanned / keys));
    json_object_set_new(result, "plane2_fraction", json_real(sum.plane2 / keys));
    json_object_set_new(result, "exact_fraction", json_real(sum.exact / keys));
    json_object_set_new(result, "page_skip_rate",
                        json_real(pages > 0.0 ? sum.pages_skipped / pages : 0.0));
    json_object_set_new(result, "bytes_read_ratio", json_real(sum.bytes / (dense_bytes * keys)));
    json_object_set_new(result, "misses", json_integer((json_int_t)found->misses));
    json_object_set_new(result, "checked_queries",
                        json_integer((json_int_t)b->d.n_sources * (json_int_t)b->d.n_steps *
                                     (json_int_t)(b->d.kv_heads * b->d.group)));
    json_object_set_new(result, "max_output_error", json_real(found->error));
    json_object_set_new(result, "certified_error",
                        b->kind->gate != NULL ? json_null() : json_real(found->certified));
    json_object_set_new(result, "certified_storage_error",
                        b->format.type == RSR_KV_F32 ? json_null() : json_real(found->storage));
    json_object_set_new(result, "dense_error", json_real(found->dense_error));
    json_object_set_new(result, "append_us", json_real(t->append_us));
    json_object_set_new(result, "index_bytes_per_token",
                        json_real(index_bytes / (double)b->d.n_keys));
    json_object_set_new(result, "dense_read_gbps", json_real(dense_gbps));
    json_object_set_new(result, "dram_gbps", json_real(t->dram_gbps));
    json_object_set_new(result, "spread", json_real(t->spread));
    if (!counts)
        fprintf(stderr,
                "rsr-bench: warning: dense attention reads %.1f of %.1f GB/s, less than %.0f %%: "
                "the speed-up does not count\n",
                dense_gbps, t->dram_gbps, 100.0 * DENSE_SHARE);
    return result;
}

/* ---- The command ---- */

static const struct rsr_ops *best_ops(uint64_t features) {
    int level = RSR_OPS_LEVEL_COUNT - 1;
    while (rsr_ops_get((enum rsr_ops_level)level) == NULL ||
           (rsr_ops_features((enum rsr_ops_level)level) & ~features) != 0)
        level--; /* RSR_OPS_GENERIC runs anywhere */
    return rsr_ops_get((enum rsr_ops_level)level);
}

static bool set_up(struct attention_bench *b) {
    const uint64_t features = rsr_cpu_features();
    enum rsr_kv_type type;
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_kv_type_parse(b->options->kv_type, &type, &err) != RSR_OK)
        return refuse(err.message);
    if (type != RSR_KV_F32 && b->kind->gate != NULL)
        return refuse("this --index has a --kv-type of f32 alone");
    if (!attention_data_make(b->options, &b->d))
        return false;
    if (!b->options->quick) /* as many bytes as of float32 */
        b->d.n_layers *= (uint32_t)sizeof(float) / rsr_kv_element_bytes(type);
    const size_t n_heads = (size_t)b->d.kv_heads * b->d.group;
    b->ops = best_ops(features);
    b->format = rsr_kv_format_of(type, b->d.head_dim, true, b->ops);
    b->dense =
        b->d.group <= BENCH_DENSE_HEADS && type == RSR_KV_F32 ? bench_dense_for(features) : NULL;
    b->scale = 1.0f / sqrtf((float)b->d.head_dim);
    b->indices = calloc((size_t)b->d.n_layers * b->d.kv_heads, sizeof(rsr_louver *));
    b->gates = calloc((size_t)b->d.n_layers * b->d.kv_heads, sizeof(*b->gates));
    b->masks = calloc(n_heads * pages_of(b), sizeof(*b->masks));
    b->thresholds = calloc(b->d.n_sources * b->d.n_steps * n_heads, sizeof(double));
    b->outputs = calloc(n_heads * b->d.head_dim, sizeof(float));
    b->counts = calloc(b->d.kv_heads, sizeof(*b->counts));
    if (b->indices == NULL || b->gates == NULL || b->masks == NULL || b->thresholds == NULL ||
        b->outputs == NULL || b->counts == NULL)
        return refuse("no memory for results");
    if (b->kind->gate != NULL ? !fill_gates(b) : !fill_cascade(b))
        return false;
    return b->threshold.kind != RSR_LOUVER_TOPK || find_thresholds(b) ||
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

static const struct index_kind *kind_of(const char *name) {
    for (size_t i = 0; i < N_INDEX_KINDS; i++)
        if (strcmp(INDEX_KINDS[i].name, name) == 0)
            return &INDEX_KINDS[i];
    refuse("--index takes cascade, one-plane, pages, centroids or centroids-unsafe");
    return NULL;
}

/* Gates serve one T a head, and nothing besides. */
static bool suits_gates(const rsr_louver_threshold *threshold) {
    return (threshold->kind == RSR_LOUVER_VALUE || threshold->kind == RSR_LOUVER_TOPK) &&
           threshold->sinks == 0 && threshold->window == 0;
}

int bench_attention(const struct bench_options *options) {
    struct bench_options known = *options;
    known.threads = known.threads == 0 ? 1 : known.threads;
    struct attention_bench b = {.options = &known};
    struct findings found = {0};
    struct timings timings = {0};
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_louver_threshold_parse(known.threshold, &b.threshold, &err) != RSR_OK)
        return refuse(err.message) ? 0 : 1;
    b.kind = kind_of(known.index);
    if (b.kind == NULL)
        return 1;
    if (b.kind->gate != NULL && !suits_gates(&b.threshold))
        return refuse("this --index needs a --threshold of value:T or topk:K") ? 0 : 1;
    json_t *result = NULL;
    if (set_up(&b) && check(&b, &found) && measure(&b, &timings))
        result = describe(&b, &timings, &found);
    release(&b);
    if (result == NULL)
        return 1;
    bench_print(result, known.json);
    const bool may_miss = b.kind->gate != NULL && b.kind->gate->misses;
    const bool wrong =
        (found.misses != 0 && !may_miss) || !(found.dense_error < LARGEST_DENSE_ERROR);
    if (wrong)
        refuse("keys were missed, or dense attention is wrong: a bug");
    return wrong;
}
