/* logit_spreads.c - the standard deviation of attention's logits over the keys that a query sees, a
 * mean for every block and KV head.
 *
 * Sums are of doubles in one order, so a profile has the same digits on every machine: keys and
 * queries have the same bits on all.
 */
#include "driver/logit_spreads.h"

#include <math.h>
#include <string.h>

/* Queries that are measured: every QUERY_STEP-th position, if it sees at least LEAST_KEYS. A
 * standard deviation of 16 numbers is off by a fifth; a piece of the text has 7 such queries. */
#define QUERY_STEP 8u
#define LEAST_KEYS 16u

void rsrc_begin_spreads(struct rsrc_logit_spreads *spreads, const struct rsrc_input_set *in,
                        struct rsrc_arena *arena, uint32_t most_positions) {
    const struct rsr_hyper *hyper = &in->graph.hyper;
    const size_t row = (size_t)hyper->n_kv_heads * hyper->head_dim;
    *spreads = (struct rsrc_logit_spreads){
        .in = in,
        .most_positions = most_positions,
        .keys = RSRC_NEW_ARRAY(arena, most_positions * row, float),
        .sums = RSRC_NEW_ARRAY(arena, rsrc_n_spreads(in), double),
        .n_queries = RSRC_NEW_ARRAY(arena, rsrc_n_spreads(in), uint64_t)};
}

static void keep_keys(struct rsrc_logit_spreads *spreads, const rsr_probe_point *point) {
    for (uint32_t t = 0; t < point->n_tokens; t++)
        if (point->positions[t] < spreads->most_positions)
            memcpy(spreads->keys + (size_t)point->positions[t] * point->cols,
                   (const char *)point->data + t * point->row_bytes, point->cols * sizeof(float));
}

/* Of the logits of q and keys 0 .. n - 1, `stride` floats apart. */
static double deviation(const struct rsr_hyper *hyper, const float *q, const float *keys,
                        size_t stride, uint32_t n) {
    double sum = 0, squares = 0;
    for (uint32_t k = 0; k < n; k++) {
        const float *key = keys + k * stride;
        double logit = 0;
        for (uint32_t d = 0; d < hyper->head_dim; d++)
            logit += (double)q[d] * (double)key[d];
        logit *= (double)hyper->attention_scale;
        sum += logit;
        squares += logit * logit;
    }
    const double mean = sum / n;
    return sqrt(fmax(squares / n - mean * mean, 0));
}

static void measure_query(struct rsrc_logit_spreads *spreads, uint32_t block, const float *q,
                          uint32_t n_keys) {
    const struct rsr_hyper *hyper = &spreads->in->graph.hyper;
    const uint32_t group = hyper->n_heads / hyper->n_kv_heads, dim = hyper->head_dim;
    for (uint32_t h = 0; h < hyper->n_heads; h++) {
        const uint32_t kv_head = h / group;
        const size_t at = rsrc_spread_at(spreads->in, block, kv_head);
        const double spread =
            deviation(hyper, q + (size_t)h * dim, spreads->keys + (size_t)kv_head * dim,
                      (size_t)hyper->n_kv_heads * dim, n_keys);
        if (!(spread <= RSRC_PROFILE_MOST_SPREAD))
            continue;
        spreads->sums[at] += spread;
        spreads->n_queries[at]++;
    }
}

static void measure_queries(struct rsrc_logit_spreads *spreads, const rsr_probe_point *point) {
    for (uint32_t t = 0; t < point->n_tokens; t++) {
        const uint32_t n_keys = point->positions[t] + 1;
        if (n_keys % QUERY_STEP == 0 && n_keys >= LEAST_KEYS && n_keys <= spreads->most_positions)
            measure_query(
                spreads, point->block,
                (const float *)(const void *)((const char *)point->data + t * point->row_bytes),
                n_keys);
    }
}

void rsrc_probe_spreads(struct rsrc_logit_spreads *spreads, const rsr_probe_point *point) {
    if (point->kind == RSR_PROBE_KEYS)
        keep_keys(spreads, point);
    else if (point->kind == RSR_PROBE_ATTENTION_INPUT)
        measure_queries(spreads, point);
}

uint32_t rsrc_list_spreads(const struct rsrc_logit_spreads *spreads, struct rsrc_arena *arena,
                           struct rsrc_profile_spreads **rows) {
    const struct rsr_hyper *hyper = &spreads->in->graph.hyper;
    uint32_t n = 0;
    *rows = RSRC_NEW_ARRAY(arena, hyper->n_layers, struct rsrc_profile_spreads);
    for (uint32_t b = 0; b < hyper->n_layers; b++) {
        if (!rsrc_has_attention(spreads->in, b))
            continue;
        struct rsrc_profile_spreads *row = &(*rows)[n++];
        *row = (struct rsrc_profile_spreads){.block = b,
                                             .n_heads = hyper->n_kv_heads,
                                             .spread =
                                                 RSRC_NEW_ARRAY(arena, hyper->n_kv_heads, double)};
        for (uint32_t h = 0; h < hyper->n_kv_heads; h++) {
            const size_t at = rsrc_spread_at(spreads->in, b, h);
            if (spreads->n_queries[at] == 0)
                return 0;
            row->spread[h] = spreads->sums[at] / (double)spreads->n_queries[at];
        }
    }
    return n;
}
