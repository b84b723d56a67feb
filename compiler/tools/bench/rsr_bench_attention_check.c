/* rsr_bench_attention_check.c - checks results: omitted keys against products in float64, outputs
 * against attention in float64. The thresholds of topk:K come from products in float64, too. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rsr_bench_attention_run.h"

#define MAX_GROUP ATTENTION_MAX_GROUP
#define MAX_DIM ATTENTION_MAX_DIM

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

static void attention_products(const struct attention_bench *b, uint32_t source, uint32_t head,
                               const float *q, double *products) {
    const float *keys = attention_keys(&b->d, source, head);
    for (uint32_t i = 0; i < b->d.n_keys; i++)
        products[i] = product(q, keys + (size_t)i * b->d.row_floats, b->d.head_dim);
}

static int descending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

double *attention_thresholds(const struct attention_bench *b, uint32_t layer, uint32_t step,
                             uint32_t head) {
    const size_t set = (size_t)(layer % b->d.n_sources) * b->d.n_steps + step;
    return b->thresholds + (set * b->d.kv_heads + head) * b->d.group;
}

/* The K-th largest product of every query: the T of topk:K for the oracle. */
bool attention_find_thresholds(struct attention_bench *b) {
    const uint32_t k = b->threshold.k < b->d.n_keys ? b->threshold.k : b->d.n_keys;
    const uint32_t n = b->d.n_sources * b->d.n_steps * b->d.kv_heads;
    double *products = calloc(b->d.n_keys, sizeof(*products));
    for (uint32_t i = 0; products != NULL && i < n; i++) {
        const uint32_t head = i % b->d.kv_heads, step = i / b->d.kv_heads % b->d.n_steps;
        const uint32_t source = i / b->d.kv_heads / b->d.n_steps;
        const float *queries = attention_queries(&b->d, source, step, head);
        for (uint32_t h = 0; h < b->d.group; h++) {
            attention_products(b, source, head, queries + (size_t)h * b->d.head_dim, products);
            qsort(products, b->d.n_keys, sizeof(*products), descending);
            attention_thresholds(b, source, step, head)[h] = products[k - 1];
        }
    }
    const bool found = products != NULL;
    free(products);
    return found;
}

/* ---- Checking ---- */

struct checked_head {
    double *products; /* [keys] */
    uint32_t *attended, n_attended;
    const float *out, *dense;
    bool *oracle; /* [keys]: read by an oracle for some head of the group */
};

/* Counts omitted keys that are relevant, by the oracle's threshold or by the index's own. */
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

static int by_position(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint64_t count_needles(const struct attention_bench *b, const struct checked_head *c,
                              uint32_t head) {
    uint64_t found = 0;
    for (uint32_t i = 0; i < b->d.n_needles; i++)
        found += bsearch(&b->d.needles[(size_t)head * b->d.n_needles + i], c->attended,
                         c->n_attended, sizeof(*c->attended), by_position) != NULL;
    return found;
}

/* The spread of the logits over all keys. */
static double spread_of_logits(const struct attention_bench *b, const double *products) {
    double sum = 0.0, squares = 0.0;
    for (uint32_t i = 0; i < b->d.n_keys; i++)
        sum += products[i];
    const double mean = sum / b->d.n_keys;
    for (uint32_t i = 0; i < b->d.n_keys; i++)
        squares += (products[i] - mean) * (products[i] - mean);
    return (double)b->scale * sqrt(squares / b->d.n_keys);
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
                            const float *values, struct attention_findings *found) {
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

/* Checks the keys that each head got from one KV head's index; attended: [group][keys]. */
static bool ask_cascade(struct attention_bench *b, uint32_t source, uint32_t step, uint32_t head,
                        uint32_t *attended, rsr_louver_head *results) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_louver_query query = attention_query(b, source, step, head, ATTENTION_ASK_FOUND);
    query.out = b->outputs;
    query.heads = results;
    query.indices = attended;
    query.capacity = b->d.n_keys;
    if (rsr_louver_attend(b->indices[(size_t)source * b->d.kv_heads + head], &query, NULL, &err) !=
        RSR_OK)
        attention_fail(b, &err);
    for (uint32_t h = 0; query.values != NULL && h < b->d.group; h++)
        results[h].threshold = query.values[h];
    return !b->failed;
}

/* Checks the keys that a gate let through. */
static bool list_gate(struct attention_bench *b, uint32_t source, uint32_t step, uint32_t head,
                      uint32_t *attended, rsr_louver_head *results) {
    struct bench_gate_counts unused = {0};
    attention_ask_gate(b, source, step, head, b->outputs, &unused);
    for (uint32_t h = 0; h < b->d.group; h++) {
        const uint64_t *masks = attention_masks(b, head) + (size_t)h * attention_pages(b);
        uint32_t n = 0;
        for (uint32_t p = 0; p < attention_pages(b); p++)
            for (uint64_t left = masks[p]; left != 0; left &= left - 1)
                attended[(size_t)h * b->d.n_keys + n++] =
                    p * BENCH_GATE_PAGE + (uint32_t)__builtin_ctzll(left);
        results[h] =
            (rsr_louver_head){.n_attended = n,
                              .threshold = b->threshold.kind == RSR_LOUVER_TOPK
                                               ? attention_thresholds(b, source, step, head)[h]
                                               : b->threshold.value};
    }
    return !b->failed;
}

/* Adds the part of a KV head's keys that an oracle reads, and clears the marks. */
static void count_oracle(const struct attention_bench *b, bool *marks,
                         struct attention_findings *found) {
    const double n_checks = (double)b->d.n_sources * b->d.n_steps * b->d.kv_heads;
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->d.n_keys; i++)
        n += marks[i];
    found->oracle += n / (b->d.n_keys * n_checks);
    memset(marks, 0, b->d.n_keys * sizeof(*marks));
}

static bool check_head(struct attention_bench *b, uint32_t source, uint32_t step, uint32_t head,
                       struct checked_head *c, struct attention_findings *found) {
    rsr_louver_head results[MAX_GROUP];
    float dense[MAX_GROUP * MAX_DIM];
    const float *queries = attention_queries(&b->d, source, step, head);
    attention_dense(b, source, head, queries, dense);
    if (!(b->kind->gate != NULL ? list_gate : ask_cascade)(b, source, step, head, c->attended,
                                                           results))
        return false;
    const float *values = attention_values(&b->d, source, head);
    for (uint32_t h = 0; h < b->d.group; h++) {
        struct checked_head one = {.products = c->products,
                                   .attended = c->attended + (size_t)h * b->d.n_keys,
                                   .n_attended = results[h].n_attended,
                                   .out = b->outputs + (size_t)h * b->d.head_dim,
                                   .dense = dense + (size_t)h * b->d.head_dim};
        attention_products(b, source, head, queries + (size_t)h * b->d.head_dim, one.products);
        found->misses += count_misses(b, &one, results[h].threshold);
        found->needles += count_needles(b, &one, head);
        found->sigma += spread_of_logits(b, one.products) / attention_n_queries(b);
        compare_outputs(b, &one, values, found);
        if (louver_has_budget(b->threshold.kind) &&
            !attention_oracle_mark(b, one.products, values, c->oracle))
            return false;
        found->certified = fmax(found->certified, results[h].certified_error);
        found->storage = fmax(found->storage, results[h].storage_error);
        if (results[h].spread > 0.0)
            found->relative = fmax(found->relative, results[h].certified_error / results[h].spread);
    }
    count_oracle(b, c->oracle, found);
    return true;
}

bool attention_check(struct attention_bench *b, struct attention_findings *found) {
    struct checked_head c = {.products = calloc(b->d.n_keys, sizeof(double)),
                             .attended = calloc((size_t)b->d.n_keys * b->d.group, sizeof(uint32_t)),
                             .oracle = calloc(b->d.n_keys, sizeof(bool))};
    bool ok = c.products != NULL && c.attended != NULL && c.oracle != NULL;
    const uint32_t n = b->d.n_sources * b->d.n_steps * b->d.kv_heads;
    for (uint32_t i = 0; ok && i < n; i++)
        ok = check_head(b, i / b->d.kv_heads / b->d.n_steps, i / b->d.kv_heads % b->d.n_steps,
                        i % b->d.kv_heads, &c, found);
    free(c.products);
    free(c.attended);
    free(c.oracle);
    return ok;
}
