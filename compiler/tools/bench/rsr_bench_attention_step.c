/* rsr_bench_attention_step.c - one step of one layer: dense, through the KV index, or through a
 * gate.
 *
 * Dense attention is one pass over keys and values for all query heads of a KV head:
 * with float32 and AVX-512, the fastest kernel of rsr_bench_dense.c for up to four heads; else the
 * runtime's own, which reads the index's storage.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr_bench_attention_run.h"
#include "sketch/sketch.h"

#define MAX_GROUP ATTENTION_MAX_GROUP
#define MAX_DIM ATTENTION_MAX_DIM

static bool refuse(const char *sentence) {
    fprintf(stderr, "rsr-bench: %s\n", sentence);
    return false;
}

/* ---- Dense ---- */

/* The keys of page p: as the index stores them, or as float32. */
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
            .n_keys = n,
            .far = b->format.far};
        b->format.ops->attend_page(heads, b->d.group, &page, b->scale);
    }
    for (uint32_t h = 0; h < b->d.group; h++) {
        float *out = outputs + (size_t)h * b->d.row_floats;
        b->ops->attend_finish(out, out, &states[h], b->d.head_dim);
    }
}

/* queries and outputs: [group][head_dim] */
void attention_dense(const struct attention_bench *b, uint32_t layer, uint32_t head,
                     const float *queries, float *outputs) {
    const float *keys = attention_keys(&b->d, layer, head),
                *values = attention_values(&b->d, layer, head);
    const size_t row_bytes = b->d.head_dim * sizeof(float);
    float q[MAX_GROUP * MAX_DIM] = {0.0f}, out[MAX_GROUP * MAX_DIM];
    for (uint32_t h = 0; h < b->d.group; h++)
        memcpy(q + (size_t)h * b->d.row_floats, queries + (size_t)h * b->d.head_dim, row_bytes);
    if (b->dense != NULL)
        b->dense->attend(out, q, keys, values, b->d.row_floats, b->d.n_keys, b->scale);
    else
        attend_ops(b, layer, head, q, out);
    for (uint32_t h = 0; h < b->d.group; h++)
        memcpy(outputs + (size_t)h * b->d.head_dim, out + (size_t)h * b->d.row_floats, row_bytes);
}

/* One step of a layer. */
void attention_step_dense(struct attention_bench *b, uint32_t layer, uint32_t step) {
#pragma omp parallel for num_threads((int)b->options->threads) schedule(static)
    for (uint32_t head = 0; head < b->d.kv_heads; head++)
        attention_dense(b, layer, head, attention_queries(&b->d, layer, step, head),
                        b->outputs + (size_t)head * b->d.group * b->d.head_dim);
}

/* ---- Through the index ---- */

void attention_fail(struct attention_bench *b, const rsr_error *err) {
#pragma omp critical
    {
        if (!b->failed)
            fprintf(stderr, "rsr-bench: %s\n", err->message);
        b->failed = true;
    }
}

/* The values of all exactly read keys are counted, although only those of attended keys are read.
 * The rule error reads the centres of pages' values, too. */
static double bytes_read(const struct attention_bench *b, const rsr_louver_stats *stats) {
    const struct rsr_sketch_shape shape = rsr_sketch_shape_of(b->d.head_dim, b->kind->n_planes);
    const double codes = 16.0 * shape.n_slices;
    const double scales = (double)(shape.plane_at[0] - shape.scales_at) / RSR_SKETCH_VECTORS;
    const double centre = b->threshold.kind == RSR_LOUVER_ERROR ? 2.0 * b->d.row_floats : 0.0;
    return stats->pages * (shape.scales_at + centre) + stats->scanned * (codes + scales) +
           stats->plane2 * (codes + shape.n_slices) +
           stats->exact * 2.0 * (double)b->format.row_bytes;
}

static void count(const struct attention_bench *b, struct attention_counts *sum,
                  const rsr_louver_stats *stats) {
    sum->pages_skipped += stats->pages_skipped;
    sum->scanned += stats->scanned;
    sum->plane2 += stats->plane2;
    sum->exact += stats->exact;
    sum->bytes += bytes_read(b, stats);
}

rsr_louver_query attention_query(const struct attention_bench *b, uint32_t layer, uint32_t step,
                                 uint32_t head, enum attention_ask ask) {
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    query.n_heads = b->d.group;
    query.q = attention_queries(&b->d, layer, step, head);
    query.threshold = b->threshold;
    if (ask == ATTENTION_ASK_ALL) {
        query.threshold = (rsr_louver_threshold){.kind = RSR_LOUVER_VALUE, .value = -INFINITY};
    } else if (b->threshold.kind == RSR_LOUVER_TOPK && ask == ATTENTION_ASK_FOUND) {
        query.threshold.kind = RSR_LOUVER_VALUE;
        query.values = attention_thresholds(b, layer, step, head);
    }
    return query;
}

static void step_cascade(struct attention_bench *b, uint32_t layer, uint32_t step,
                         enum attention_ask ask) {
#pragma omp parallel for num_threads((int)b->options->threads) schedule(static)
    for (uint32_t head = 0; head < b->d.kv_heads; head++) {
        rsr_error err = RSR_ERROR_INIT;
        rsr_louver_stats stats = RSR_LOUVER_STATS_INIT;
        rsr_louver_head heads[MAX_GROUP];
        rsr_louver_query query = attention_query(b, layer, step, head, ask);
        query.out = b->outputs + (size_t)head * b->d.group * b->d.head_dim;
        query.heads = heads;
        if (rsr_louver_attend(b->indices[(size_t)layer * b->d.kv_heads + head], &query, &stats,
                              &err) != RSR_OK)
            attention_fail(b, &err);
        if (ask == ATTENTION_ASK_FOUND)
            count(b, &b->counts[head], &stats);
    }
}

/* ---- Through a gate ---- */

uint32_t attention_pages(const struct attention_bench *b) {
    return (b->d.n_keys + BENCH_GATE_PAGE - 1) / BENCH_GATE_PAGE;
}

uint64_t *attention_masks(const struct attention_bench *b, uint32_t head) {
    return b->masks + (size_t)head * b->d.group * attention_pages(b);
}

/* One KV head; out: [group][head_dim]. */
void attention_ask_gate(struct attention_bench *b, uint32_t layer, uint32_t step, uint32_t head,
                        float *out, struct bench_gate_counts *counts) {
    const float *queries = attention_queries(&b->d, layer, step, head);
    const size_t row_bytes = b->d.head_dim * sizeof(float);
    float q[MAX_GROUP * MAX_DIM] = {0.0f}, rows[MAX_GROUP * MAX_DIM];
    double thresholds[MAX_GROUP];
    for (uint32_t h = 0; h < b->d.group; h++) {
        memcpy(q + (size_t)h * b->d.row_floats, queries + (size_t)h * b->d.head_dim, row_bytes);
        thresholds[h] = b->threshold.kind == RSR_LOUVER_TOPK
                            ? attention_thresholds(b, layer, step, head)[h]
                            : b->threshold.value;
    }
    const struct bench_gate_query query = {b->d.group, q, thresholds, b->scale};
    if (!bench_gate_attend(&b->gates[(size_t)layer * b->d.kv_heads + head], &query,
                           attention_masks(b, head), rows, counts))
        attention_fail(b, &(rsr_error){.message = "no memory for a query"});
    for (uint32_t h = 0; h < b->d.group; h++)
        memcpy(out + (size_t)h * b->d.head_dim, rows + (size_t)h * b->d.row_floats, row_bytes);
}

static void step_gate(struct attention_bench *b, uint32_t layer, uint32_t step) {
#pragma omp parallel for num_threads((int)b->options->threads) schedule(static)
    for (uint32_t head = 0; head < b->d.kv_heads; head++) {
        struct bench_gate_counts counts = {0};
        attention_ask_gate(b, layer, step, head,
                           b->outputs + (size_t)head * b->d.group * b->d.head_dim, &counts);
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

void attention_step_index(struct attention_bench *b, uint32_t layer, uint32_t step,
                          enum attention_ask ask) {
    if (b->kind->gate != NULL)
        step_gate(b, layer, step);
    else
        step_cascade(b, layer, step, ask);
}

/* References are computed from keys as stored. */
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
            attention_fail(b, &err);
    }
    for (uint32_t i = 0; i < b->d.n_kv_layers * b->d.kv_heads && !b->failed; i++)
        read_back(b, i / b->d.kv_heads, i % b->d.kv_heads);
    return !b->failed;
}

bool attention_fill(struct attention_bench *b) {
    return b->kind->gate != NULL ? fill_gates(b) : fill_cascade(b);
}
