/* rsr_bench_attention_oracle.c - the keys that an oracle reads, which knows all products and
 * values. It takes a head's keys in descending order of their weights, until what the threshold
 * bounds is small enough. For mass:EPS this is the part of the softmax that is left out, and no
 * rule can read fewer keys. For error:EPS it is the output's true distance from attention over all
 * keys, in spreads of the values. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rsr_bench_attention_run.h"

#define MAX_DIM ATTENTION_MAX_DIM

struct ranked_key {
    double weight; /* of the softmax */
    uint32_t key;
};

static int heavier_first(const void *a, const void *b) {
    const struct ranked_key *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight < y->weight ? 1 : -1;
    return x->key < y->key ? -1 : 1;
}

/* Keys in descending order of their weights. */
static void rank_keys(const struct attention_bench *b, const double *products,
                      struct ranked_key *ranked) {
    const uint32_t n = b->d.n_keys;
    double largest = -INFINITY, total = 0.0;
    for (uint32_t i = 0; i < n; i++)
        largest = fmax(largest, products[i]);
    for (uint32_t i = 0; i < n; i++) {
        ranked[i] = (struct ranked_key){exp((double)b->scale * (products[i] - largest)), i};
        total += ranked[i].weight;
    }
    for (uint32_t i = 0; i < n; i++)
        ranked[i].weight /= total;
    qsort(ranked, n, sizeof(*ranked), heavier_first);
}

/* How many of the first keys leave at most EPS of the softmax to the others. */
static uint32_t keys_by_mass(const struct attention_bench *b, const struct ranked_key *ranked) {
    uint32_t n = b->d.n_keys;
    for (double left_out = 0.0; n > 0; n--) {
        left_out += ranked[n - 1].weight;
        if (left_out > b->threshold.value)
            break;
    }
    return n;
}

/* The root of the mean of |v - mean|^2. */
static double spread_of_values(const struct attention_bench *b, const float *values) {
    double mean[MAX_DIM] = {0.0}, squares = 0.0;
    for (uint32_t i = 0; i < b->d.n_keys; i++)
        for (uint32_t d = 0; d < b->d.head_dim; d++)
            mean[d] += (double)values[(size_t)i * b->d.row_floats + d] / b->d.n_keys;
    for (uint32_t i = 0; i < b->d.n_keys; i++)
        for (uint32_t d = 0; d < b->d.head_dim; d++) {
            const double away = (double)values[(size_t)i * b->d.row_floats + d] - mean[d];
            squares += away * away;
        }
    return sqrt(squares / b->d.n_keys);
}

static void add_value(const struct attention_bench *b, const float *values,
                      const struct ranked_key *key, double *sums) {
    const float *v = values + (size_t)key->key * b->d.row_floats;
    for (uint32_t d = 0; d < b->d.head_dim; d++)
        sums[d] += key->weight * (double)v[d];
}

/* The fewest first keys whose output is within EPS spreads of that of all keys. */
static uint32_t keys_by_error(const struct attention_bench *b, const struct ranked_key *ranked,
                              const float *values) {
    const double limit = b->threshold.value * spread_of_values(b, values);
    double all[MAX_DIM] = {0.0}, some[MAX_DIM] = {0.0}, weight = 0.0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->d.n_keys; i++)
        add_value(b, values, &ranked[i], all);
    for (double error = INFINITY; n < b->d.n_keys && error > limit; n++) {
        double squares = 0.0;
        add_value(b, values, &ranked[n], some);
        weight += ranked[n].weight;
        for (uint32_t d = 0; d < b->d.head_dim; d++)
            squares += (some[d] / weight - all[d]) * (some[d] / weight - all[d]);
        error = sqrt(squares);
    }
    return n;
}

bool attention_oracle_mark(const struct attention_bench *b, const double *products,
                           const float *values, bool *marks) {
    struct ranked_key *ranked = calloc(b->d.n_keys, sizeof(*ranked));
    if (ranked == NULL)
        return false;
    rank_keys(b, products, ranked);
    const uint32_t n = b->threshold.kind == RSR_LOUVER_MASS ? keys_by_mass(b, ranked)
                                                            : keys_by_error(b, ranked, values);
    for (uint32_t i = 0; i < n; i++)
        marks[ranked[i].key] = true;
    free(ranked);
    return true;
}
