/* rsr_bench_attention.h - the keys, values and queries that rsr-bench attention works on. */
#ifndef RSRC_TOOLS_RSR_BENCH_ATTENTION_H
#define RSRC_TOOLS_RSR_BENCH_ATTENTION_H

#include "rsr_bench.h"

#define ATTENTION_MAX_GROUP 64u /* query heads per KV head */
#define ATTENTION_MAX_DIM 320u
#define ATTENTION_MAX_NEEDLES 64u

/* Layers of one shape. Layer l has the numbers of source l % n_sources. The first n_kv_layers have
 * memory of their own; n_layers may be larger. */
struct attention_data {
    uint32_t n_keys, head_dim, row_floats, group, kv_heads;
    uint32_t n_sources, n_layers, n_steps;
    uint32_t n_kv_layers;
    uint64_t head_floats; /* of a KV head in kv: keys, then values */
    uint64_t kv_bytes;
    float *kv;      /* [n_kv_layers][KV head]; rows of row_floats, zero from head_dim on */
    float *queries; /* [source][step][KV head][group][head_dim] */
    uint32_t n_needles;
    uint32_t *needles; /* [KV head][n_needles]: their positions */
};

/* How rows are drawn. Sigma is the spread of a query's logits (scale q . k) over the keys; 0: the
 * queries are from N(0, 1). */
struct attention_drawing {
    bool clustered, rope;
    double sigma;
    uint32_t outliers, topics, needles; /* channels; centres of keys; keys of a KV head */
};

/* Parses gaussian, clustered or sigma:S[,rope][,outliers=N][,topics=N][,needles=N]. False with a
 * message. */
bool attention_drawing_parse(const char *text, uint32_t head_dim,
                             struct attention_drawing *drawing);
/* Fills the first layer and its queries; rows are zero from head_dim on. */
void attention_draw(const struct attention_data *data, const struct attention_drawing *drawing,
                    uint64_t seed, uint32_t threads);

/* ---- rsr_bench_attention_needles.c ---- */

/* What the needles of one KV head are: directions [n][head_dim] of length 1, at right angles. */
struct attention_needles {
    uint32_t n, head_dim;
    float directions[ATTENTION_MAX_NEEDLES * ATTENTION_MAX_DIM];
};

/* Draws directions of rows that are set to N(0, 1). */
void attention_needles_begin(struct attention_needles *needles);
/* Takes the directions out of a row. */
void attention_needles_remove(const struct attention_needles *needles, float *row);
/* Takes the directions out of a KV head's keys, and replaces keys at random positions. */
void attention_needles_plant(const struct attention_needles *needles,
                             const struct attention_data *data, uint32_t head, uint64_t *state);
/* Makes every needle weigh as much in the query's softmax as all other keys together. */
void attention_needles_ask(const struct attention_needles *needles,
                           const struct attention_data *data, const float *keys, float *query);

/* Makes the data that --data asks for. False with a message on stderr. */
bool attention_data_make(const struct bench_options *options, struct attention_data *data);
void attention_data_free(struct attention_data *data);

static inline float *attention_keys(const struct attention_data *d, uint32_t layer, uint32_t head) {
    return d->kv + ((uint64_t)(layer % d->n_kv_layers) * d->kv_heads + head) * d->head_floats;
}

static inline float *attention_values(const struct attention_data *d, uint32_t layer,
                                      uint32_t head) {
    return attention_keys(d, layer, head) + d->head_floats / 2;
}

static inline float *attention_queries(const struct attention_data *d, uint32_t layer,
                                       uint32_t step, uint32_t head) {
    const size_t set = (size_t)(layer % d->n_sources) * d->n_steps + step;
    return d->queries + (set * d->kv_heads + head) * d->group * d->head_dim;
}

#endif
