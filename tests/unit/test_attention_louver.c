/* Attention through the KV index inside the engine. Over all keys it has the bits of dense
 * attention, however tokens are fed, forked and cut. With thresholds, too, its logits depend only
 * on the tokens. Every operation is within its certified error of float64 attention over the
 * operation's queries and pages, and misses no relevant key. */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "fake_module.h"
#include "walk/crew.h"

#define N_TOKENS 330u /* 5 full pages */
#define API (&rsr_runtime_api)

static const struct fake_shape shapes[] = {
    {.hidden = 48,
     .n_layers = 2,
     .n_heads = 4,
     .n_kv_heads = 2,
     .head_dim = 20,
     .ffn = 40,
     .vocab = 60,
     .context = 512,
     .activation = RSR_ACTIVATION_RELU2,
     .head_dtype = RSR_DTYPE_BF16,
     .sub_norms = true,
     .sharpness = 4.0f},
    {.hidden = 64,
     .n_layers = 2,
     .n_heads = 3,
     .n_kv_heads = 1,
     .head_dim = 64,
     .ffn = 70,
     .vocab = 41,
     .context = 512,
     .activation = RSR_ACTIVATION_SILU,
     .head_dtype = RSR_DTYPE_F32,
     .sub_norms = false,
     .sharpness = 4.0f},
};

struct fixture {
    struct fake_module *fake;
    rsr_model *model;
    const char *kv_type;
    uint32_t vocab;
    uint32_t tokens[N_TOKENS];
    float *dense; /* [N_TOKENS][vocab] */
};

static rsr_engine *new_engine(const struct fixture *f, const char *attention, uint32_t n_threads,
                              uint32_t max_batch) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_error err = RSR_ERROR_INIT;
    rsr_engine *engine = NULL;
    options.attention = attention;
    options.kv_type = f->kv_type;
    options.n_threads = n_threads;
    options.all_threads = true; /* however many CPUs there are */
    options.max_batch = max_batch;
    options.kv_tokens = 3 * 512;
    CHECK_INT(API->engine_create(f->model, &options, &engine, &err), RSR_OK);
    CHECK_STR(err.message, "");
    return engine;
}

static rsr_sequence *new_sequence(rsr_engine *engine) {
    rsr_sequence *sequence = NULL;
    CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
    return sequence;
}

/* Feeds tokens [begin, end) in pieces, and stores their logits at their positions. */
static void feed(const struct fixture *f, rsr_engine *engine, rsr_sequence *sequence,
                 uint32_t begin, uint32_t end, uint32_t piece, float *logits) {
    for (uint32_t at = begin; at < end; at += piece) {
        const uint32_t n = end - at < piece ? end - at : piece;
        CHECK_INT(fake_feed(engine, sequence, f->tokens + at, n, f->vocab,
                            logits + (size_t)at * f->vocab),
                  RSR_OK);
    }
}

static float *new_logits(const struct fixture *f) {
    return calloc((size_t)N_TOKENS * f->vocab, sizeof(float));
}

static bool same(const struct fixture *f, const float *a, const float *b, uint32_t begin,
                 uint32_t end) {
    return memcmp(a + (size_t)begin * f->vocab, b + (size_t)begin * f->vocab,
                  (size_t)(end - begin) * f->vocab * sizeof(float)) == 0;
}

/* One token at a time, one thread. */
static float *plain_logits(const struct fixture *f, const char *attention) {
    float *logits = new_logits(f);
    rsr_engine *engine = new_engine(f, attention, 1, 1);
    rsr_sequence *sequence = new_sequence(engine);
    feed(f, engine, sequence, 0, N_TOKENS, 1, logits);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
    return logits;
}

/* ---- One result, however tokens are fed ---- */

/* Feeds tokens [0, n) one at a time where a page ends or begins, eight at a time within a page.
 * This makes fewer steps: with more threads than CPUs, waiting takes longer than computing. */
static void feed_around_pages(const struct fixture *f, rsr_engine *engine, rsr_sequence *sequence,
                              uint32_t n, float *logits) {
    for (uint32_t at = 0, end; at < n; at = end) {
        const uint32_t in_page = at % RSR_PAGE_TOKENS;
        end = at + (in_page < 8 || in_page >= RSR_PAGE_TOKENS - 8 ? 1 : 8);
        feed(f, engine, sequence, at, end < n ? end : n, 8, logits);
    }
}

static void check_feeding(const struct fixture *f, const char *attention, const float *expected) {
    static const struct {
        uint32_t n_threads, max_batch, piece, n_tokens;
    } ways[] = {{1, 128, N_TOKENS, N_TOKENS},
                {2, 100, 65, N_TOKENS},
                {1, 7, 29, N_TOKENS},
                {2, 8, 1, 140},
                {5, 8, 0, 200}, /* all at the pages of one KV head */
                {9, 8, 0, 140}, /* or of two */
                {7, 128, 128, 130}};
    float *logits = new_logits(f);
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        rsr_engine *engine = new_engine(f, attention, ways[i].n_threads, ways[i].max_batch);
        rsr_sequence *sequence = new_sequence(engine);
        if (ways[i].piece == 0)
            feed_around_pages(f, engine, sequence, ways[i].n_tokens, logits);
        else
            feed(f, engine, sequence, 0, ways[i].n_tokens, ways[i].piece, logits);
        CHECK(same(f, logits, expected, 0, ways[i].n_tokens));
        API->sequence_destroy(sequence);
        API->engine_destroy(engine);
    }
    free(logits);
}

/* Feeds other tokens at positions [begin, end), which are cut off afterwards and must leave no
 * trace. */
static void spoil(const struct fixture *f, rsr_engine *engine, rsr_sequence *sequence,
                  uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; i++) {
        const uint32_t token = (f->tokens[i] + 7) % f->vocab;
        CHECK_INT(fake_feed(engine, sequence, &token, 1, f->vocab, NULL), RSR_OK);
    }
}

/* Pages that were full and sealed are cut into, filled again with other tokens, shared with forks
 * that go their own way, and copied. */
static void check_lives(const struct fixture *f, const char *attention, const float *expected) {
    rsr_engine *engine = new_engine(f, attention, 2, 64);
    rsr_sequence *a = new_sequence(engine), *b = NULL, *c = NULL;
    float *logits = new_logits(f);
    feed(f, engine, a, 0, 100, 100, logits);
    spoil(f, engine, a, 100, 210);
    CHECK_INT(API->sequence_truncate(a, 100, NULL),
              RSR_OK); /* cuts into page 1, which was sealed */
    CHECK_INT(API->sequence_fork(a, &b, NULL), RSR_OK);
    feed(f, engine, a, 100, 300, 50, logits);
    CHECK(same(f, logits, expected, 0, 300));
    spoil(f, engine, b, 100, 130);
    CHECK_INT(API->sequence_fork(a, &c, NULL), RSR_OK);
    CHECK_INT(API->sequence_truncate(c, 120, NULL), RSR_OK); /* cuts into a page that a has, too */
    spoil(f, engine, c, 120, 200);
    CHECK_INT(API->sequence_truncate(c, 128, NULL), RSR_OK);
    CHECK_INT(API->sequence_truncate(c, 120, NULL), RSR_OK);
    memset(logits, 0, (size_t)N_TOKENS * f->vocab * sizeof(float));
    feed(f, engine, c, 120, 320, 33, logits);
    CHECK(same(f, logits, expected, 120, 320));
    feed(f, engine, a, 300, N_TOKENS, 64, logits);
    CHECK(same(f, logits, expected, 300, N_TOKENS));
    CHECK_INT(API->sequence_truncate(b, 64, NULL), RSR_OK);
    feed(f, engine, b, 64, 200, 200, logits);
    CHECK(same(f, logits, expected, 64, 200));
    API->sequence_destroy(a);
    API->sequence_destroy(b);
    API->sequence_destroy(c);
    API->engine_destroy(engine);
    free(logits);
}

/* A batch that fails in a later block has sealed a page already. */
static void check_failure(const struct fixture *f, const char *attention, const float *expected) {
    rsr_engine *engine = new_engine(f, attention, 1, 128);
    rsr_sequence *sequence = new_sequence(engine);
    float *logits = new_logits(f);
    feed(f, engine, sequence, 0, 100, 100, logits);
    struct rsr_norm *norm = &f->fake->norms[FAKE_NORMS]; /* of block 1 */
    float *weight = (float *)(uintptr_t)norm->weight;
    const float saved = weight[0];
    weight[0] = NAN;
    uint32_t others[60];
    for (uint32_t i = 0; i < 60; i++)
        others[i] = (f->tokens[i] + 3) % f->vocab;
    CHECK_INT(fake_feed(engine, sequence, others, 60, f->vocab, NULL), RSR_ERR_NUMERIC);
    weight[0] = saved;
    feed(f, engine, sequence, 100, 250, 9, logits);
    CHECK(same(f, logits, expected, 0, 250));
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
    free(logits);
}

/* Thresholds that all keys reach. The first one computes no bounds, the second one all. */
static const char *const over_all_keys[] = {
    "louver:value:-inf,min=0", "louver:value:-1e30,min=0", "louver:topk:100000,min=0",
    "louver:mass:0,min=0",     "louver:value:-inf",        "louver:value:-1e30,min=200"};

static void test_all_keys(const struct fixture *f) {
    for (size_t i = 0; i < sizeof(over_all_keys) / sizeof(over_all_keys[0]); i++) {
        check_feeding(f, over_all_keys[i], f->dense);
        check_lives(f, over_all_keys[i], f->dense);
        check_failure(f, over_all_keys[i], f->dense);
    }
}

static void test_thresholds(const struct fixture *f) {
    static const char *const thresholds[] = {"louver:topk:5,min=0",
                                             "louver:mass:0.2,min=0",
                                             "louver:error:0.4,min=0",
                                             "louver:mass:0.3,min=150",
                                             "louver:budget:0.1,min=0,sinks=3",
                                             "louver:sample_topk:40,min=0",
                                             "louver:sample_gap:0.5,3,min=0,window=70,sinks=2"};
    for (size_t i = 0; i < sizeof(thresholds) / sizeof(thresholds[0]); i++) {
        float *expected = plain_logits(f, thresholds[i]);
        CHECK(!same(f, expected, f->dense, 300, N_TOKENS)); /* it does leave out keys */
        check_feeding(f, thresholds[i], expected);
        check_lives(f, thresholds[i], expected);
        check_failure(f, thresholds[i], expected);
        free(expected);
    }
}

/* ---- Against float64, operation by operation ---- */

struct checker {
    const struct fixture *f;
    rsr_engine *engine;
    const rsr_sequence *sequence;
    rsr_louver_threshold threshold;
    uint32_t window;
    float *q; /* the operation's, [n_tokens][heads * head_dim] */
    double worst_gap, worst_error, left_out, total;
};

/* The key (value: the value) of a position, as it is stored. */
static const float *row_of(const struct checker *c, uint32_t block, uint32_t kv_head,
                           uint32_t position, bool value) {
    static float row[RSR_KV_MAX_LOSS_DIM];
    const struct rsr_kv_memory *kv = &rsr_crew_of(c->engine)->kv;
    const uint32_t page = c->sequence->pages[position / RSR_PAGE_TOKENS];
    const struct rsr_kv_rows rows = rsr_kv_rows_from(
        &kv->format, rsr_kv_memory_rows(kv, page, block, kv_head), position % RSR_PAGE_TOKENS);
    kv->format.ops->load(row, value ? rows.values : rows.keys, kv->format.row_floats);
    return row;
}

/* Attention of a head in float64, over the keys whose product is at least `from`. */
static void reference(struct checker *c, const rsr_probe_point *point, uint32_t token,
                      uint32_t head, double from, double *products, double *out) {
    const struct fake_shape *s = &c->f->fake->shape;
    const uint32_t kv_head = head / (s->n_heads / s->n_kv_heads), end = point->positions[token] + 1;
    const uint32_t begin = c->window != 0 && end > c->window ? end - c->window : 0;
    const float *q = c->q + ((size_t)token * s->n_heads + head) * s->head_dim;
    double max = -INFINITY, sum = 0.0;
    for (uint32_t i = begin; i < end; i++) {
        const float *k = row_of(c, point->block, kv_head, i, false);
        products[i] = 0.0;
        for (uint32_t d = 0; d < s->head_dim; d++)
            products[i] += (double)q[d] * (double)k[d];
        max = fmax(max, products[i]);
    }
    memset(out, 0, s->head_dim * sizeof(*out));
    for (uint32_t i = begin; i < end; i++) {
        if (products[i] < from)
            continue;
        const double p = exp((products[i] - max) * s->sharpness / sqrt(s->head_dim));
        const float *v = row_of(c, point->block, kv_head, i, true);
        sum += p;
        for (uint32_t d = 0; d < s->head_dim; d++)
            out[d] += p * (double)v[d];
    }
    for (uint32_t d = 0; d < s->head_dim && sum > 0.0; d++)
        out[d] /= sum;
}

static int descending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

static double distance(const float *a, const double *b, uint32_t n) {
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum);
}

/* With these models, float32 attention differs from float64 attention by less than this. */
#define ROUNDING 2e-5

static void check_head(struct checker *c, const rsr_probe_point *point, uint32_t token,
                       uint32_t head, double certified) {
    const struct fake_shape *s = &c->f->fake->shape;
    static double products[N_TOKENS], sorted[N_TOKENS];
    double out[256], from = -INFINITY;
    const float *row =
        (const float *)(const void *)((const char *)point->data + token * point->row_bytes) +
        (size_t)head * s->head_dim;
    reference(c, point, token, head, from, products, out);
    const double gap = distance(row, out, s->head_dim);
    CHECK(gap <= certified + ROUNDING);
    c->worst_gap = fmax(c->worst_gap, gap);
    c->worst_error = fmax(c->worst_error, certified);
    if ((c->threshold.kind != RSR_LOUVER_VALUE && c->threshold.kind != RSR_LOUVER_TOPK) ||
        c->threshold.sinks != 0 || c->window != 0)
        return;
    /* Exactly the relevant keys; ties within rounding are left to test_louver. */
    const uint32_t n = point->positions[token] + 1;
    memcpy(sorted, products, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), descending);
    if (c->threshold.kind == RSR_LOUVER_VALUE)
        from = c->threshold.value;
    else if (c->threshold.k <= n)
        from = sorted[c->threshold.k - 1];
    for (uint32_t i = 0; i < n; i++)
        if (fabs(products[i] - from) < 1e-9 && (i > 0 || c->threshold.kind == RSR_LOUVER_VALUE))
            from = fmin(from, products[i]);
    reference(c, point, token, head, from, products, out);
    CHECK(distance(row, out, s->head_dim) <= ROUNDING);
}

static void check_operation(void *user, const rsr_probe_point *point) {
    struct checker *c = user;
    const struct fake_shape *s = &c->f->fake->shape;
    const size_t row = (size_t)s->n_heads * s->head_dim;
    rsr_attention_stats *stats = &rsr_crew_of(c->engine)->workers[0].attention;
    if (point->kind == RSR_PROBE_ATTENTION_INPUT) {
        for (uint32_t t = 0; t < point->n_tokens; t++)
            memcpy(c->q + t * row, (const char *)point->data + t * point->row_bytes,
                   row * sizeof(float));
        *stats = (rsr_attention_stats){0};
    }
    if (point->kind != RSR_PROBE_ATTENTION_OUTPUT)
        return;
    for (uint32_t t = 0; t < point->n_tokens; t++)
        for (uint32_t h = 0; h < s->n_heads; h++)
            check_head(c, point, t, h, stats->max_error);
    c->total += (double)stats->keys;
    c->left_out += (double)(stats->keys - stats->exact);
}

static void check_against_float64(const struct fixture *f, const char *threshold, uint32_t window) {
    struct checker c = {.f = f, .window = window};
    char attention[64];
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    c.q = malloc((size_t)64 * f->fake->shape.n_heads * f->fake->shape.head_dim * sizeof(float));
    CHECK_INT(rsr_louver_threshold_parse(threshold, &c.threshold, NULL), RSR_OK);
    snprintf(attention, sizeof(attention), "louver:%s,min=0", threshold);
    options.attention = attention;
    options.n_threads = 1;
    options.max_batch = 64;
    options.kv_type = f->kv_type;
    options.probe = check_operation;
    options.probe_user = &c;
    CHECK_INT(API->engine_create(f->model, &options, &c.engine, NULL), RSR_OK);
    rsr_sequence *sequence = new_sequence(c.engine);
    float *logits = new_logits(f);
    c.sequence = sequence;
    feed(f, c.engine, sequence, 0, N_TOKENS, 37, logits);
    printf(
        "%s, head_dim %u, %s, window %u: largest error %.2e, certified %.2e; %.3f of the keys not "
        "read\n",
        f->kv_type, f->fake->shape.head_dim, threshold, window, c.worst_gap, c.worst_error,
        c.left_out / c.total);
    CHECK(c.left_out > 0.0 || (c.threshold.kind == RSR_LOUVER_MASS && c.threshold.value < 0.1));
    API->sequence_destroy(sequence);
    API->engine_destroy(c.engine);
    free(logits);
    free(c.q);
}

static void test_certified(const struct fixture *f) {
    static const char *const thresholds[] = {
        "mass:1e-3",   "error:0.3",      "mass:0.05",
        "mass:0.5",    "topk:7",         "topk:64",
        "value:0",     "value:3",        "topk:5,sinks=4,window=9",
        "budget:0.05", "sample_topk:30", "sample_mean_max,sinks=70"};
    for (size_t i = 0; i < sizeof(thresholds) / sizeof(thresholds[0]); i++)
        check_against_float64(f, thresholds[i], 0);
}

/* ---- Windows ---- */

static void set_window(struct fake_module *fake, uint32_t window) {
    for (uint32_t i = 0; i < fake->steps[0].n_ops; i++)
        if (fake->ops[i].kind == RSR_OP_ATTENTION)
            fake->ops[i].arg = window;
}

static void test_windows(const struct fixture *f) {
    static const uint32_t windows[] = {1, 100, 190};
    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        set_window(f->fake, windows[i]);
        float *expected = plain_logits(f, "dense");
        check_feeding(f, "louver:value:-1e30,min=80", expected);
        check_lives(f, "louver:value:-1e30,min=0", expected);
        if (windows[i] > 128)
            check_against_float64(f, "mass:0.3", windows[i]);
        free(expected);
        expected = plain_logits(f, "louver:sample_mean_max,min=0,sinks=170,window=3");
        check_feeding(f, "louver:sample_mean_max,min=0,sinks=170,window=3", expected);
        free(expected);
    }
    set_window(f->fake, 0);
}

/* ---- Options and statistics ---- */

static void test_choice(const struct fixture *f) {
    static const char *const wrong[] = {"",
                                        "sparse",
                                        "dense:topk:3",
                                        "dense,min=3",
                                        "louver:",
                                        "louver,",
                                        "louver,min=",
                                        "louver,min=x",
                                        "louver,min=-1",
                                        "louver,max=3",
                                        "louverage",
                                        "louver:topk:0",
                                        "louver:budget:5",
                                        "louver,topk:3",
                                        "louver,min=3,min=3",
                                        "louver,min=3,sinks=x",
                                        "louver:topk:3,sinks=1,max=2",
                                        "louver:sample_gap:0.5,min=3",
                                        "dense,sinks=1",
                                        "louver,min=3,",
                                        "louver:mass:1,min=3",
                                        "louver:,min=3",
                                        "louver,min=9999999999",
                                        "louver,min=3:topk:3"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
        rsr_error err = RSR_ERROR_INIT;
        rsr_engine *engine = NULL;
        options.attention = wrong[i];
        CHECK_INT(API->engine_create(f->model, &options, &engine, &err), RSR_ERR_ARGUMENT);
        CHECK(engine == NULL && err.message[0] != '\0');
    }
    const struct rsr_attention *attention = NULL;
    struct rsr_attention_options options = {{RSR_LOUVER_VALUE, 7.0, 0, 0, 0}, 7};
    CHECK_INT(rsr_attention_choose(NULL, &attention, &options, NULL), RSR_OK);
    CHECK(attention == &rsr_attention_dense);
    CHECK_INT(rsr_attention_choose("louver", &attention, &options, NULL), RSR_OK);
    CHECK(attention == &rsr_attention_louver);
    CHECK(options.threshold.kind == RSR_LOUVER_MASS && options.threshold.value == 1e-3);
    CHECK_INT(rsr_attention_choose("louver:topk:12,min=34", &attention, &options, NULL), RSR_OK);
    CHECK(options.threshold.kind == RSR_LOUVER_TOPK && options.threshold.k == 12);
    CHECK_INT(options.min_keys, 34);
    CHECK_INT(rsr_attention_choose("louver,window=9,min=5,sinks=4", &attention, &options, NULL),
              RSR_OK);
    CHECK(options.threshold.kind == RSR_LOUVER_MASS && options.threshold.value == 1e-3);
    CHECK(options.threshold.sinks == 4 && options.threshold.window == 9 && options.min_keys == 5);
    CHECK_INT(
        rsr_attention_choose("louver:sample_gap:0.5,3,min=0,sinks=1", &attention, &options, NULL),
        RSR_OK);
    CHECK(options.threshold.kind == RSR_LOUVER_SAMPLE_GAP && options.threshold.k == 3);
    CHECK(options.threshold.sinks == 1 && options.threshold.window == 0 && options.min_keys == 0);
}

/* With fewer keys than rsr.h says, attention stays dense. */
static void test_default_min_keys(void) {
    const struct {
        const char *text;
        uint32_t min_keys;
    } cases[] = {{"louver", 8192},
                 {"louver:value:1", 8192},
                 {"louver:topk:64", 8192},
                 {"louver:topk:65", 65 * 128},
                 {"louver:topk:1000,sinks=4", 128000},
                 {"louver:topk:33554432", UINT32_MAX},
                 {"louver:budget:0.0078125", 8192},
                 {"louver:budget:0.0079", UINT32_MAX},
                 {"louver:budget:1,min=3", 3},
                 {"louver:topk:1000,min=8192", 8192},
                 {"dense", 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct rsr_attention *attention = NULL;
        struct rsr_attention_options options;
        CHECK_INT(rsr_attention_choose(cases[i].text, &attention, &options, NULL), RSR_OK);
        CHECK_INT(options.min_keys, cases[i].min_keys);
    }
}

static void test_stats(const struct fixture *f) {
    rsr_engine *engine = new_engine(f, "louver:topk:4,min=101", 2, 50);
    rsr_sequence *sequence = new_sequence(engine);
    rsr_attention_stats stats = RSR_ATTENTION_STATS_INIT;
    float *logits = new_logits(f);
    const uint64_t units = 2 * f->fake->shape.n_kv_heads; /* a token's, in two layers */
    feed(f, engine, sequence, 0, 100, 50, logits);
    CHECK_INT(API->engine_attention_stats(engine, true, &stats), RSR_OK);
    CHECK_STR(stats.name, "louver");
    CHECK_INT(stats.min_keys, 101);
    CHECK_INT(stats.dense, 100 * units);
    CHECK_INT(stats.indexed + stats.keys + stats.exact + stats.pages, 0);
    CHECK(same(f, logits, f->dense, 0, 100));
    feed(f, engine, sequence, 100, 130, 30, logits);
    CHECK_INT(API->engine_attention_stats(engine, false, &stats), RSR_OK);
    CHECK_INT(stats.dense, 0);
    CHECK_INT(stats.indexed, 30 * units);
    CHECK_INT(stats.keys, (101 + 130) * 15 * units);
    CHECK_INT(stats.pages, (28 * 1 + 2 * 2) * units);
    CHECK(stats.exact < stats.keys && stats.scanned > 0 && stats.plane2 <= stats.scanned);
    CHECK(stats.max_mass > 0.0 && stats.max_mass <= 1.0 && stats.max_error > 0.0);
    CHECK_INT(API->engine_attention_stats(engine, true, NULL), RSR_ERR_ARGUMENT);
    CHECK_INT(API->engine_attention_stats(NULL, true, &stats), RSR_ERR_ARGUMENT);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
    free(logits);

    engine = new_engine(f, NULL, 1, 50);
    CHECK_INT(API->engine_attention_stats(engine, false, &stats), RSR_OK);
    CHECK_STR(stats.name, "dense");
    CHECK_INT(stats.dense + stats.indexed, 0);
    API->engine_destroy(engine);
}

/* ---- Heads without an index ---- */

#define FLAT_MIN 101u

/* Feeds all tokens; checks which (token, layer, KV head) had no index because the head is flat. */
static void check_flat(const struct fixture *f, const char *rule, uint32_t n_flat, bool is_dense) {
    const uint32_t units = 2 * f->fake->shape.n_kv_heads; /* a token's, in two layers */
    const uint64_t n_far = N_TOKENS - (FLAT_MIN - 1);
    rsr_attention_stats stats = RSR_ATTENTION_STATS_INIT;
    char attention[64];
    snprintf(attention, sizeof(attention), "louver:%s,min=%u", rule, FLAT_MIN);
    rsr_engine *engine = new_engine(f, attention, 2, 50);
    rsr_sequence *sequence = new_sequence(engine);
    float *logits = new_logits(f);
    feed(f, engine, sequence, 0, N_TOKENS, 41, logits);
    CHECK_INT(API->engine_attention_stats(engine, false, &stats), RSR_OK);
    CHECK_INT(stats.flat, n_far * n_flat);
    CHECK_INT(stats.indexed, n_far * (units - n_flat));
    CHECK_INT(stats.dense, (uint64_t)N_TOKENS * units - stats.indexed);
    CHECK(!is_dense || same(f, logits, f->dense, 0, N_TOKENS));
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
    free(logits);
    logits = plain_logits(f, attention);
    check_feeding(f, attention, logits);
    free(logits);
}

/* mass:0.1 reads more than 95 % of keys only where their logits have a spread below about 0, and
 * mass:1e-3 below 1.445. */
static void test_flat(const struct fixture *f) {
    const uint32_t units = 2 * f->fake->shape.n_kv_heads;
    float spreads[4] = {1.44f, 1.44f, 1.44f, 1.44f};
    f->fake->tensors.logit_spreads = spreads;
    check_flat(f, "mass:1e-3", units, true);
    check_flat(f, "error:1e-3", units, true);
    check_flat(f, "mass:0.1", 0, false);
    check_flat(f, "topk:4", 0, false);
    spreads[0] = 1.46f;
    check_flat(f, "mass:1e-3", units - 1, false);
    f->fake->tensors.logit_spreads = NULL;
}

/* ---- Types of keys and values ---- */

/* Makes a number of one token's key or value NaN or infinite before it is stored. */
struct spoiler {
    const char *role;
    float number;
};

static void spoil_number(void *user, const rsr_probe_point *point) {
    const struct spoiler *spoiler = user;
    if (point->kind != RSR_PROBE_LINEAR_OUTPUT || strcmp(point->role, spoiler->role) != 0)
        return;
    for (uint32_t t = 0; t < point->n_tokens; t++)
        if (point->positions[t] == 70)
            ((float *)(void *)((char *)point->data + t * point->row_bytes))[3] = spoiler->number;
}

/* Values that are not finite are reported in every storage type. */
static void test_not_finite(const struct fixture *f) {
    static const struct spoiler spoilers[] = {{"k", NAN}, {"v", NAN}, {"v", INFINITY}};
    static const char *const kinds[] = {"dense", "louver:mass:1e-3,min=0"};
    for (size_t i = 0; i < 6; i++) {
        struct spoiler spoiler = spoilers[i / 2];
        rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
        rsr_engine *engine = NULL;
        options.n_threads = 1;
        options.attention = kinds[i % 2];
        options.kv_type = f->kv_type;
        options.probe = spoil_number;
        options.probe_user = &spoiler;
        CHECK_INT(API->engine_create(f->model, &options, &engine, NULL), RSR_OK);
        rsr_sequence *sequence = new_sequence(engine);
        CHECK_INT(fake_feed(engine, sequence, f->tokens, 70, f->vocab, NULL), RSR_OK);
        CHECK_INT(fake_feed(engine, sequence, f->tokens, 60, f->vocab, NULL), RSR_ERR_NUMERIC);
        API->sequence_destroy(sequence);
        API->engine_destroy(engine);
    }
}

static void test_info(const struct fixture *f) {
    const bool is_f32 = strcmp(f->kv_type, "f32") == 0;
    const uint32_t head_dim = f->fake->shape.head_dim, row_floats = (head_dim + 15u) & ~15u;
    const uint32_t row_bytes = is_f32                            ? 4 * row_floats
                               : strcmp(f->kv_type, "int8") == 0 ? row_floats + 4
                                                                 : 2 * row_floats;
    rsr_engine *engine = new_engine(f, "dense", 1, 64);
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    CHECK_INT(API->engine_get_info(engine, &info), RSR_OK);
    CHECK_STR(info.kv_type, f->kv_type);
    CHECK_INT(info.kv_bytes, 3 * 512 * 2 * f->fake->shape.n_kv_heads * 2 * row_bytes);
    API->engine_destroy(engine);

    engine = new_engine(f, "louver:mass:0,min=0", 1, 64);
    rsr_sequence *sequence = new_sequence(engine);
    rsr_attention_stats stats = RSR_ATTENTION_STATS_INIT;
    float *logits = new_logits(f);
    feed(f, engine, sequence, 0, 100, 50, logits);
    CHECK_INT(API->engine_attention_stats(engine, false, &stats), RSR_OK);
    CHECK(stats.max_error == 0.0 && (stats.max_storage_error == 0.0) == is_f32);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
    free(logits);

    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_error err = RSR_ERROR_INIT;
    engine = NULL;
    options.kv_type = "int7";
    CHECK_INT(API->engine_create(f->model, &options, &engine, &err), RSR_ERR_ARGUMENT);
    CHECK(engine == NULL && strstr(err.message, "'int7'") != NULL);
    CHECK(strstr(err.message, "f32, bf16, f16 and int8") != NULL);
}

/* If no token can see enough keys for the index, it takes no memory and changes nothing. */
static void test_never_used(const struct fixture *f) {
    rsr_engine *engine = new_engine(f, "dense", 1, 64);
    rsr_engine_info dense = RSR_ENGINE_INFO_INIT;
    CHECK_INT(API->engine_get_info(engine, &dense), RSR_OK);
    API->engine_destroy(engine);
    char some[64], none[64];
    snprintf(some, sizeof(some), "louver:topk:2,min=%u", dense.context);
    snprintf(none, sizeof(none), "louver:topk:2,min=%u", dense.context + 1);
    const struct {
        const char *attention;
        bool used;
    } cases[] = {{"louver:budget:0.5", false}, {none, false}, {some, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rsr_engine_info info = RSR_ENGINE_INFO_INIT;
        engine = new_engine(f, cases[i].attention, 1, 64);
        CHECK_INT(API->engine_get_info(engine, &info), RSR_OK);
        CHECK((info.kv_bytes > dense.kv_bytes) == cases[i].used);
        API->engine_destroy(engine);
        if (!cases[i].used)
            check_feeding(f, cases[i].attention, f->dense);
    }
}

/* Repeats the tests with another type of keys and values, which stores other numbers than
 * float32. */
static void test_type(struct fixture *f, const char *kv_type) {
    const float *f32 = f->dense;
    f->kv_type = kv_type;
    f->dense = plain_logits(f, "dense");
    CHECK(!same(f, f->dense, f32, 1, 64));
    check_feeding(f, "dense", f->dense);
    check_lives(f, "dense", f->dense);
    check_feeding(f, "louver:value:-1e30,min=0", f->dense);
    check_lives(f, "louver:value:-1e30,min=100", f->dense);
    check_lives(f, "louver:value:-inf,min=0", f->dense);
    float *few = plain_logits(f, "louver:topk:5,min=0");
    CHECK(!same(f, few, f->dense, 300, N_TOKENS));
    check_feeding(f, "louver:topk:5,min=0", few);
    check_against_float64(f, "mass:0.05", 0);
    check_against_float64(f, "topk:7", 0);
    check_against_float64(f, "value:0", 0);
    test_info(f);
    test_not_finite(f);
    free(few);
    free(f->dense);
}

/* Logits after a long text, whose steps use n_taken of the workers. */
static void feed_long(rsr_model *model, const char *attention, uint32_t n_threads, uint32_t n_taken,
                      float *logits) {
    enum { N = 2048, PIECE = 15 }; /* more tokens take all workers */
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *engine = NULL;
    uint32_t tokens[PIECE];
    options.attention = attention;
    options.n_threads = n_threads;
    CHECK_INT(API->engine_create(model, &options, &engine, NULL), RSR_OK);
    for (uint32_t i = 0; i < RSR_TEAM_SIZES; i++) {
        rsr_crew_of(engine)->sizes[i].usual = n_taken;
        rsr_crew_of(engine)->sizes[i].left_ns = UINT64_MAX; /* no trial */
    }
    rsr_sequence *sequence = new_sequence(engine);
    for (uint32_t at = 0, n; at < N; at += n) {
        n = at < N - 100 ? PIECE : 1;
        for (uint32_t i = 0; i < n; i++)
            tokens[i] = 7 * (at + i) % model->module->hyper.vocab;
        CHECK_INT(fake_feed(engine, sequence, tokens, n, model->module->hyper.vocab, logits),
                  RSR_OK);
    }
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
}

/* A few of many workers share a unit, in memory that was sized for all workers. */
static void test_fewer_workers(void) {
    static struct fake_module fake;
    static const char *const kinds[] = {"louver:mass:1e-3,min=0", "louver:topk:20,min=0"};
    struct fake_shape shape = shapes[1];
    float alone[15 * 41], together[15 * 41];
    shape.n_layers = 1;
    shape.context = 2048;
    fake_module_init(&fake, &shape, 5);
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        for (uint32_t n_taken = 4; n_taken <= 8; n_taken += 4) {
            feed_long(model, kinds[i], 1, 1, alone);
            feed_long(model, kinds[i], 16, n_taken, together);
            CHECK(memcmp(alone, together, shape.vocab * sizeof(float)) == 0);
        }
    API->close(model);
}

static void test_shape(const struct fake_shape *shape) {
    static struct fake_module fake;
    struct fixture f = {.fake = &fake, .vocab = shape->vocab, .kv_type = "f32"};
    uint64_t seed = 17;
    fake_module_init(&fake, shape, seed);
    for (uint32_t i = 0; i < N_TOKENS; i++)
        f.tokens[i] = (uint32_t)(check_random(&seed) % shape->vocab);
    f.model = fake_open(&fake, RSR_OPS_GENERIC);
    f.dense = plain_logits(&f, "dense");
    test_choice(&f);
    test_stats(&f);
    test_flat(&f);
    test_all_keys(&f);
    test_thresholds(&f);
    test_certified(&f);
    test_windows(&f);
    test_info(&f);
    test_never_used(&f);
    test_not_finite(&f);
    float *dense = f.dense;
    /* A short run: one of them, which differs from shape to shape. */
    for (size_t i = 0; i < 3; i++, f.dense = dense)
        if (test_is_long() || i == shape->n_heads % 3)
            test_type(&f, (const char *const[]){"bf16", "f16", "int8"}[i]);
    API->close(f.model);
    free(dense);
}

int main(void) {
    test_default_min_keys();
    test_fewer_workers();
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        test_shape(&shapes[i]);
    return CHECK_EXIT();
}
