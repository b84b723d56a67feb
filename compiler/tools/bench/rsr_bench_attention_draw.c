/* rsr_bench_attention_draw.c - draws keys, values and queries.
 *
 *     gaussian    all from N(0, 1): logits have a spread of 1
 *     clustered   keys around 64 centres
 *     sigma:S[,rope][,outliers=N][,topics=N][,needles=N]
 *
 * The spread of a head's logits (scale q . k) over its keys decides what an index can leave out:
 * keys from N(0, 1) have 1, heads of models 2 to 5. So sigma multiplies every query until that
 * spread is S. The options give keys the forms of a model's:
 *     topics=N    runs of 256 tokens share one of N topics, which has 36 % of a key's variance; a
 *                 query is about one topic, too.
 *     outliers=N  N channels of a KV head's keys have a mean of +-8 and a spread of 4.
 *     rope        then rows are rotated by their position (base 10000, halves), queries by theirs,
 *                 which follow the last key's.
 *     needles=N   N keys at random positions, which every query asks for
 *                 (rsr_bench_attention_needles.c); sigma is that of the other keys.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr_bench_attention.h"

#define N_CENTRES 64u /* of clustered keys */
#define CLUSTER_SPREAD 0.35
#define CLUSTER_RUN 256u /* tokens of one centre or topic */

#define TOPIC_WEIGHT 0.6 /* with NOISE_WEIGHT, variances sum to 1 */
#define NOISE_WEIGHT 0.8
#define OUTLIER_MEAN 8.0f
#define OUTLIER_SPREAD 4.0f
#define ROPE_BASE 10000.0

#define LARGEST_SIGMA 1000.0
#define MOST_TOPICS 4096u

/* ---- What to draw ---- */

static bool refuse(const char *sentence) {
    fprintf(stderr, "rsr-bench: %s\n", sentence);
    return false;
}

static bool take_sigma(const char **text, double *sigma) {
    char *end;
    if (!isdigit((unsigned char)**text) && **text != '.')
        return false;
    *sigma = strtod(*text, &end);
    *text = end;
    return *sigma > 0.0 && *sigma <= LARGEST_SIGMA && (*end == ',' || *end == '\0');
}

/* Reads NAME=N, 1 <= N <= most, where the option begins with `name`. */
static bool take_count(const char **text, const char *name, uint32_t most, uint32_t *count) {
    const size_t length = strlen(name);
    char *end;
    if (strncmp(*text, name, length) != 0 || !isdigit((unsigned char)(*text)[length]))
        return false;
    errno = 0;
    const unsigned long long n = strtoull(*text + length, &end, 10);
    if (errno != 0 || n < 1 || n > most || (*end != ',' && *end != '\0') || *count != 0)
        return false;
    *count = (uint32_t)n;
    *text = end;
    return true;
}

static bool take_rope(const char **text, bool *rope) {
    if (strncmp(*text, "rope", 4) != 0 || ((*text)[4] != ',' && (*text)[4] != '\0') || *rope)
        return false;
    *rope = true;
    *text += 4;
    return true;
}

bool attention_drawing_parse(const char *text, uint32_t head_dim,
                             struct attention_drawing *drawing) {
    *drawing = (struct attention_drawing){.clustered = strcmp(text, "clustered") == 0};
    if (drawing->clustered || strcmp(text, "gaussian") == 0)
        return true;
    const char *at = text + strlen("sigma:");
    bool ok = strncmp(text, "sigma:", strlen("sigma:")) == 0 && take_sigma(&at, &drawing->sigma);
    while (ok && *at == ',') {
        at++;
        ok = take_rope(&at, &drawing->rope) ||
             take_count(&at, "outliers=", head_dim, &drawing->outliers) ||
             take_count(&at, "topics=", MOST_TOPICS, &drawing->topics) ||
             take_count(&at, "needles=", ATTENTION_MAX_NEEDLES, &drawing->needles);
    }
    if (!ok)
        return refuse("--data takes gaussian, clustered, trace:FILE or "
                      "sigma:S[,rope][,outliers=N][,topics=N][,needles=N], with S above 0 and at "
                      "most 1000, N from 1 to --head-dim outliers, 4096 topics or 64 needles");
    if (drawing->rope && head_dim % 2 != 0)
        return refuse("rope rotates pairs of dimensions: it needs an even --head-dim");
    if (drawing->needles > head_dim / 4)
        return refuse("each needle takes a direction of its own, at most a quarter of --head-dim");
    return true;
}

/* ---- Numbers ---- */

static double uniform(uint64_t *state) {
    return ((double)(rsrc_random(state) >> 11) + 0.5) * 0x1p-53;
}

/* Draws n numbers of N(0, 1), times spread. */
static void draw_gaussian(float *x, size_t n, double spread, uint64_t *state) {
    for (size_t i = 0; i < n; i += 2) {
        const double radius = spread * sqrt(-2.0 * log(uniform(state)));
        const double angle = 6.283185307179586 * uniform(state);
        x[i] = (float)(radius * cos(angle));
        if (i + 1 < n)
            x[i + 1] = (float)(radius * sin(angle));
    }
}

static void draw_rows(const struct attention_data *d, float *rows, double spread, uint64_t *state) {
    for (uint32_t i = 0; i < d->n_keys; i++)
        draw_gaussian(rows + (size_t)i * d->row_floats, d->head_dim, spread, state);
}

/* ---- gaussian, clustered ---- */

/* Centres of N(0, 1), one for every run of tokens. */
static void add_clusters(const struct attention_data *d, float *rows, uint64_t *state) {
    static const size_t n = (size_t)N_CENTRES * ATTENTION_MAX_DIM;
    float centres[N_CENTRES * ATTENTION_MAX_DIM];
    draw_gaussian(centres, n, 1.0, state);
    const float *centre = centres;
    for (uint32_t i = 0; i < d->n_keys; i++) {
        if (i % CLUSTER_RUN == 0)
            centre = centres + rsrc_random(state) % N_CENTRES * ATTENTION_MAX_DIM;
        for (uint32_t k = 0; k < d->head_dim; k++)
            rows[(size_t)i * d->row_floats + k] += centre[k];
    }
}

static void draw_plain(const struct attention_data *d, bool clustered, uint64_t seed,
                       uint32_t threads) {
#pragma omp parallel for num_threads((int)threads)
    for (uint32_t head = 0; head < d->kv_heads; head++) {
        uint64_t state = seed + UINT64_C(0x1000) * (head + 1);
        draw_rows(d, attention_keys(d, 0, head), clustered ? CLUSTER_SPREAD : 1.0, &state);
        if (clustered)
            add_clusters(d, attention_keys(d, 0, head), &state);
        draw_rows(d, attention_values(d, 0, head), 1.0, &state);
    }
    uint64_t state = seed;
    draw_gaussian(d->queries, (size_t)d->n_steps * d->kv_heads * d->group * d->head_dim, 1.0,
                  &state);
}

/* ---- sigma ---- */

/* What the rows of one KV head share. */
struct forms {
    const struct attention_data *d;
    const struct attention_drawing *drawing;
    uint64_t topics;               /* seed: a topic's centre is drawn when it is needed */
    float mean[ATTENTION_MAX_DIM]; /* of a channel of keys */
    float spread[ATTENTION_MAX_DIM];
    double frequency[ATTENTION_MAX_DIM]; /* of pair i, radians a token */
    struct attention_needles needles;
};

static void begin_forms(const struct attention_data *d, const struct attention_drawing *drawing,
                        uint64_t *state, struct forms *forms) {
    *forms = (struct forms){.d = d, .drawing = drawing, .topics = rsrc_random(state)};
    for (uint32_t i = 0; i < d->head_dim; i++) {
        forms->spread[i] = 1.0f;
        forms->frequency[i] = pow(ROPE_BASE, -2.0 * i / d->head_dim);
    }
    for (uint32_t n = 0; n < drawing->outliers;) {
        const uint64_t random = rsrc_random(state);
        const uint32_t channel = (uint32_t)(random >> 1) % d->head_dim;
        if (forms->mean[channel] != 0.0f)
            continue;
        forms->mean[channel] = random % 2 == 0 ? OUTLIER_MEAN : -OUTLIER_MEAN;
        forms->spread[channel] = OUTLIER_SPREAD;
        n++;
    }
    forms->needles.n = drawing->needles;
    forms->needles.head_dim = d->head_dim;
    draw_gaussian(forms->needles.directions, (size_t)drawing->needles * d->head_dim, 1.0, state);
    attention_needles_begin(&forms->needles);
}

/* N(0, 1), part of it the topic's. */
static void draw_content(const struct forms *forms, float *row, uint32_t topic, uint64_t *state) {
    const uint32_t n = forms->d->head_dim;
    float centre[ATTENTION_MAX_DIM];
    uint64_t topic_state = forms->topics + UINT64_C(0x100000001) * topic;
    draw_gaussian(row, n, forms->drawing->topics > 0 ? NOISE_WEIGHT : 1.0, state);
    if (forms->drawing->topics == 0)
        return;
    draw_gaussian(centre, n, TOPIC_WEIGHT, &topic_state);
    for (uint32_t i = 0; i < n; i++)
        row[i] += centre[i];
}

static uint32_t draw_topic(const struct forms *forms, uint64_t *state) {
    const uint32_t n = forms->drawing->topics;
    return n > 0 ? (uint32_t)(rsrc_random(state) % n) : 0;
}

static void rotate(const struct forms *forms, float *row, uint32_t position) {
    const uint32_t half = forms->d->head_dim / 2;
    for (uint32_t i = 0; forms->drawing->rope && i < half; i++) {
        const double angle = position * forms->frequency[i], c = cos(angle), s = sin(angle);
        const double x = (double)row[i], y = (double)row[i + half];
        row[i] = (float)(x * c - y * s);
        row[i + half] = (float)(x * s + y * c);
    }
}

static void draw_keys(const struct forms *forms, float *rows, uint64_t *state) {
    uint32_t topic = 0;
    for (uint32_t i = 0; i < forms->d->n_keys; i++) {
        float *row = rows + (size_t)i * forms->d->row_floats;
        if (i % CLUSTER_RUN == 0)
            topic = draw_topic(forms, state);
        draw_content(forms, row, topic, state);
        for (uint32_t k = 0; k < forms->d->head_dim; k++)
            row[k] = forms->mean[k] + forms->spread[k] * row[k];
        rotate(forms, row, i);
    }
}

/* The spread of scale q . k over the keys; the scale is 1 / sqrt(head_dim). */
static double spread_of_logits(const struct attention_data *d, const float *q, const float *keys) {
    double sum = 0.0, squares = 0.0;
    for (uint32_t i = 0; i < d->n_keys; i++) {
        const float *key = keys + (size_t)i * d->row_floats;
        double logit = 0.0;
        for (uint32_t k = 0; k < d->head_dim; k++)
            logit += (double)q[k] * (double)key[k];
        sum += logit;
        squares += logit * logit;
    }
    const double mean = sum / d->n_keys, variance = squares / d->n_keys - mean * mean;
    return variance > 0.0 ? sqrt(variance / d->head_dim) : 0.0;
}

static void draw_query(const struct forms *forms, float *q, uint32_t position, const float *keys,
                       uint64_t *state) {
    draw_content(forms, q, draw_topic(forms, state), state);
    rotate(forms, q, position);
    attention_needles_remove(&forms->needles, q);
    const double spread = spread_of_logits(forms->d, q, keys);
    for (uint32_t k = 0; spread > 0.0 && k < forms->d->head_dim; k++) /* one key has no spread */
        q[k] = (float)((double)q[k] * (forms->drawing->sigma / spread));
    attention_needles_ask(&forms->needles, forms->d, keys, q);
}

static void draw_sigma(const struct attention_data *d, const struct attention_drawing *drawing,
                       uint64_t seed, uint32_t threads) {
#pragma omp parallel for num_threads((int)threads)
    for (uint32_t head = 0; head < d->kv_heads; head++) {
        uint64_t state = seed + UINT64_C(0x1000) * (head + 1);
        struct forms forms;
        begin_forms(d, drawing, &state, &forms);
        draw_keys(&forms, attention_keys(d, 0, head), &state);
        attention_needles_plant(&forms.needles, d, head, &state);
        draw_rows(d, attention_values(d, 0, head), 1.0, &state);
        for (uint32_t step = 0; step < d->n_steps; step++)
            for (uint32_t h = 0; h < d->group; h++)
                draw_query(&forms, attention_queries(d, 0, step, head) + (size_t)h * d->head_dim,
                           d->n_keys - 1 + step, attention_keys(d, 0, head), &state);
    }
}

void attention_draw(const struct attention_data *data, const struct attention_drawing *drawing,
                    uint64_t seed, uint32_t threads) {
    if (drawing->sigma > 0.0)
        draw_sigma(data, drawing, seed, threads);
    else
        draw_plain(data, drawing->clustered, seed, threads);
}
