/* rsr_bench_attention_needles.c - needles in a haystack: keys that every query asks for.
 *
 * Each needle of a KV head has a direction of its own, which no other key has: its key is sqrt(D)
 * times the direction, about as long as others. A query gets a component in all of these
 * directions, as large as makes each needle weigh as much in its softmax as all other keys together
 * do. So an answer that bounds the softmax left out by less than 1 / (needles + 1) has read them
 * all, and so has topk:K from K = needles on.
 */
#include <math.h>
#include <string.h>

#include "rsr_bench_attention.h"

static const float *direction(const struct attention_needles *needles, uint32_t i) {
    return needles->directions + (size_t)i * needles->head_dim;
}

static double dot(const float *a, const float *b, uint32_t n) {
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void add_scaled(float *row, const float *x, double scale, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        row[i] = (float)((double)row[i] + scale * (double)x[i]);
}

/* Takes the first n directions out of a row. */
static void remove_first(const struct attention_needles *needles, uint32_t n, float *row) {
    for (uint32_t i = 0; i < n; i++)
        add_scaled(row, direction(needles, i), -dot(row, direction(needles, i), needles->head_dim),
                   needles->head_dim);
}

void attention_needles_begin(struct attention_needles *needles) {
    const uint32_t dim = needles->head_dim;
    for (uint32_t i = 0; i < needles->n; i++) {
        float *row = needles->directions + (size_t)i * dim;
        remove_first(needles, i, row);
        const double length = sqrt(dot(row, row, dim));
        for (uint32_t k = 0; k < dim; k++)
            row[k] = (float)((double)row[k] / length);
    }
}

void attention_needles_remove(const struct attention_needles *needles, float *row) {
    remove_first(needles, needles->n, row);
}

/* A position without a needle; there are fewer needles than keys. */
static uint32_t free_position(const uint32_t *taken, uint32_t n, uint32_t n_keys, uint64_t *state) {
    for (;;) {
        const uint32_t position = (uint32_t)(rsrc_random(state) % n_keys);
        uint32_t i = 0;
        while (i < n && taken[i] != position)
            i++;
        if (i == n)
            return position;
    }
}

void attention_needles_plant(const struct attention_needles *needles,
                             const struct attention_data *data, uint32_t head, uint64_t *state) {
    if (needles->n == 0)
        return;
    uint32_t *positions = data->needles + (size_t)head * needles->n;
    float *keys = attention_keys(data, 0, head);
    for (uint32_t i = 0; i < data->n_keys; i++)
        attention_needles_remove(needles, keys + (size_t)i * data->row_floats);
    for (uint32_t i = 0; i < needles->n; i++) {
        positions[i] = free_position(positions, i, data->n_keys, state);
        float *key = keys + (size_t)positions[i] * data->row_floats;
        memset(key, 0, needles->head_dim * sizeof(*key));
        add_scaled(key, direction(needles, i), sqrt(needles->head_dim), needles->head_dim);
    }
}

/* The logarithm of the sum of exp(logit); a needle's logit is 0 so far. */
static double log_sum(const struct attention_data *data, const float *keys, const float *query) {
    const double scale = 1.0 / sqrt(data->head_dim);
    double largest = 0.0, sum = 0.0;
    for (uint32_t i = 0; i < data->n_keys; i++) {
        const double logit =
            scale * dot(query, keys + (size_t)i * data->row_floats, data->head_dim);
        sum = logit > largest ? sum * exp(largest - logit) + 1.0 : sum + exp(logit - largest);
        largest = fmax(largest, logit);
    }
    return largest + log(sum);
}

void attention_needles_ask(const struct attention_needles *needles,
                           const struct attention_data *data, const float *keys, float *query) {
    if (needles->n == 0)
        return;
    const double logit = log_sum(data, keys, query);
    for (uint32_t i = 0; i < needles->n; i++)
        add_scaled(query, direction(needles, i), logit, needles->head_dim);
}
