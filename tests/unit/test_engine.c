/* The engine over a module built by hand: logits equal those of an independent double-precision
 * model, and have equal bits however the tokens are fed: batches, chunks, threads, levels,
 * truncation, forks. */
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "fake_module.h"

#define N_TOKENS 150 /* over two page ends */
#define API (&rsr_runtime_api)

static const struct fake_shape shapes[] = {
    {.hidden = 36,
     .n_layers = 2,
     .n_heads = 4,
     .n_kv_heads = 2,
     .head_dim = 12,
     .ffn = 52,
     .vocab = 70,
     .context = 256,
     .activation = RSR_ACTIVATION_RELU2,
     .head_dtype = RSR_DTYPE_BF16,
     .sub_norms = true},
    {.hidden = 50,
     .n_layers = 2,
     .n_heads = 3,
     .n_kv_heads = 1,
     .head_dim = 64,
     .ffn = 530,
     .vocab = 41,
     .context = 256,
     .activation = RSR_ACTIVATION_SILU,
     .head_dtype = RSR_DTYPE_F16,
     .sub_norms = false},
};

struct fixture {
    struct fake_module *fake;
    uint32_t vocab;
    uint32_t tokens[N_TOKENS];
    float *expected; /* [N_TOKENS][vocab] */
};

static rsr_sequence *new_sequence(rsr_engine *engine) {
    rsr_sequence *sequence = NULL;
    CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
    return sequence;
}

static uint32_t free_tokens(const rsr_engine *engine) {
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    CHECK_INT(API->engine_get_info(engine, &info), RSR_OK);
    return info.kv_tokens_free;
}

/* The logits of positions [begin, end) are the expected ones, bit for bit. */
static bool as_expected(const struct fixture *f, const float *logits, uint32_t begin,
                        uint32_t end) {
    return memcmp(logits, f->expected + (size_t)begin * f->vocab,
                  (size_t)(end - begin) * f->vocab * sizeof(float)) == 0;
}

static float *new_logits(const struct fixture *f, uint32_t n) {
    float *logits = malloc((size_t)n * f->vocab * sizeof(*logits));
    for (size_t i = 0; i < (size_t)n * f->vocab; i++)
        logits[i] = NAN;
    return logits;
}

/* ---- The reference: double precision, plain loops ----
 *
 * Rounding to int8 is discontinuous. So the reference checks that the engine's integers are within
 * a rounding error of its own values, and continues with the engine's integers. */

struct recorded { /* what probes saw of one prompt in one chunk */
    const struct fake_shape *shape;
    int8_t *act[FAKE_MAX_LAYERS][RSR_ROLE_COUNT]; /* [N_TOKENS][1024] */
    float scale[FAKE_MAX_LAYERS][RSR_ROLE_COUNT][N_TOKENS];
    int calls[RSR_PROBE_KEYS + 1];
    int wrong;
};

static const char *const role_names[] = {"embed", "q", "k", "v", "o", "gate", "up", "down"};

static void record(void *user, const rsr_probe_point *point) {
    struct recorded *r = user;
    fesetround(FE_UPWARD); /* must not affect the worker that calls this */
    r->calls[point->kind]++;
    r->wrong += point->n_tokens != N_TOKENS || point->positions[N_TOKENS - 1] != N_TOKENS - 1;
    if (point->kind != RSR_PROBE_LINEAR_INPUT)
        return;
    uint32_t role = 0;
    for (uint32_t i = 1; i < 8; i++)
        role = strcmp(point->role, role_names[i]) == 0 ? i : role;
    r->wrong += role == 0 || point->block >= r->shape->n_layers || point->cols > 1024;
    r->act[point->block][role] = malloc((size_t)N_TOKENS * 1024);
    for (uint32_t t = 0; t < N_TOKENS; t++) {
        const char *row = (const char *)point->data + t * point->row_bytes;
        memcpy(r->act[point->block][role] + (size_t)t * 1024, row + RSR_ACT_HEADER, point->cols);
        memcpy(&r->scale[point->block][role][t], row, sizeof(float));
    }
}

struct reference {
    const struct fake_module *fake;
    const struct recorded *recorded;
    uint32_t token;                           /* being computed */
    double k[FAKE_MAX_LAYERS][N_TOKENS][256]; /* [kv head * head_dim] */
    double v[FAKE_MAX_LAYERS][N_TOKENS][256];
};

static void reference_norm(double *x, const struct rsr_norm *norm) {
    double sum = 0.0;
    for (uint32_t i = 0; i < norm->cols; i++)
        sum += x[i] * x[i];
    for (uint32_t i = 0; i < norm->cols; i++)
        x[i] *= (double)norm->weight[i] / sqrt(sum / norm->cols + (double)norm->eps);
}

static void reference_linear(const struct reference *ref, double *y, const double *x, uint32_t b,
                             uint32_t role) {
    const struct rsr_kernel_desc *kernel =
        &ref->fake->kernels[b * FAKE_KERNELS + role - RSR_ROLE_Q];
    const int8_t *q = ref->recorded->act[b][role] + (size_t)ref->token * 1024;
    const double scale = (double)ref->recorded->scale[b][role][ref->token];
    double largest = 1e-5;
    for (uint32_t c = 0; c < kernel->cols; c++)
        largest = fmax(largest, fabs(x[c]));
    CHECK(fabs(scale - largest / 127.0) < 1e-5 * scale);
    for (uint32_t c = 0; c < kernel->cols; c++)
        CHECK(fabs(x[c] / scale - q[c]) < 0.5 + 2e-3);
    for (uint32_t r = 0; r < kernel->rows; r++) {
        int64_t acc = 0;
        for (uint32_t c = 0; c < kernel->cols; c++)
            acc += ((const int8_t *)kernel->weights.codes)[(size_t)r * kernel->cols + c] * q[c];
        y[r] = (double)acc * scale * (double)kernel->weights.scale[0];
    }
}

static void reference_rope(const struct reference *ref, double *x) {
    const uint32_t half = ref->fake->shape.head_dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        const double angle = (double)(ref->fake->inv_freq[i] * (float)ref->token);
        const double x1 = x[i], x2 = x[half + i];
        x[i] = x1 * cos(angle) - x2 * sin(angle);
        x[half + i] = x2 * cos(angle) + x1 * sin(angle);
    }
}

static void reference_head_attention(const struct reference *ref, double *out, const double *q,
                                     uint32_t b, uint32_t kv_head) {
    const uint32_t dim = ref->fake->shape.head_dim;
    double z[N_TOKENS], max = -INFINITY, sum = 0.0;
    for (uint32_t j = 0; j <= ref->token; j++) {
        z[j] = 0.0;
        for (uint32_t d = 0; d < dim; d++)
            z[j] += q[d] * ref->k[b][j][kv_head * dim + d];
        z[j] /= sqrt((double)dim);
        max = fmax(max, z[j]);
    }
    for (uint32_t d = 0; d < dim; d++)
        out[d] = 0.0;
    for (uint32_t j = 0; j <= ref->token; j++) {
        const double p = exp(z[j] - max);
        sum += p;
        for (uint32_t d = 0; d < dim; d++)
            out[d] += p * ref->v[b][j][kv_head * dim + d];
    }
    for (uint32_t d = 0; d < dim; d++)
        out[d] /= sum;
}

/* The value that the engine stores for an element of a key or value. */
static void as_stored(double *x, uint32_t n) {
    const struct rsr_kv_ops *kv = &rsr_ops_get(RSR_OPS_GENERIC)->kv[RSR_KV_BF16];
    char row[256 * sizeof(float)] = {0};
    float floats[256] = {0};
    for (uint32_t i = 0; i < n; i++)
        floats[i] = (float)x[i];
    kv->store(row, 256, floats, n);
    kv->load(floats, row, 256);
    for (uint32_t i = 0; i < n; i++)
        x[i] = (double)floats[i];
}

static void reference_attention_block(struct reference *ref, double *x, uint32_t b) {
    const struct fake_shape *s = &ref->fake->shape;
    double normed[1024], q[256], attended[256], projected[1024];
    memcpy(normed, x, s->hidden * sizeof(double));
    reference_norm(normed, &ref->fake->norms[b * FAKE_NORMS]);
    reference_linear(ref, q, normed, b, RSR_ROLE_Q);
    reference_linear(ref, ref->k[b][ref->token], normed, b, RSR_ROLE_K);
    reference_linear(ref, ref->v[b][ref->token], normed, b, RSR_ROLE_V);
    for (uint32_t h = 0; h < s->n_kv_heads; h++)
        reference_rope(ref, ref->k[b][ref->token] + h * s->head_dim);
    as_stored(ref->k[b][ref->token], s->n_kv_heads * s->head_dim);
    as_stored(ref->v[b][ref->token], s->n_kv_heads * s->head_dim);
    for (uint32_t h = 0; h < s->n_heads; h++) {
        reference_rope(ref, q + h * s->head_dim);
        reference_head_attention(ref, attended + h * s->head_dim, q + h * s->head_dim, b,
                                 h / (s->n_heads / s->n_kv_heads));
    }
    if (s->sub_norms)
        reference_norm(attended, &ref->fake->norms[b * FAKE_NORMS + 1]);
    reference_linear(ref, projected, attended, b, RSR_ROLE_O);
    for (uint32_t i = 0; i < s->hidden; i++)
        x[i] += projected[i];
}

static void reference_ffn_block(struct reference *ref, double *x, uint32_t b) {
    const struct fake_shape *s = &ref->fake->shape;
    double normed[1024], gate[1024], up[1024];
    memcpy(normed, x, s->hidden * sizeof(double));
    reference_norm(normed, &ref->fake->norms[b * FAKE_NORMS + 2]);
    reference_linear(ref, gate, normed, b, RSR_ROLE_GATE);
    reference_linear(ref, up, normed, b, RSR_ROLE_UP);
    for (uint32_t i = 0; i < s->ffn; i++) {
        const double relu = fmax(gate[i], 0.0);
        gate[i] = (s->activation == RSR_ACTIVATION_RELU2 ? relu * relu
                                                         : gate[i] / (1.0 + exp(-gate[i]))) *
                  up[i];
    }
    if (s->sub_norms)
        reference_norm(gate, &ref->fake->norms[b * FAKE_NORMS + 3]);
    reference_linear(ref, normed, gate, b, RSR_ROLE_DOWN);
    for (uint32_t i = 0; i < s->hidden; i++)
        x[i] += normed[i];
}

static double dense_value(const struct rsr_matrix_data *m, uint32_t row, uint32_t col) {
    const uint16_t h = ((const uint16_t *)m->data)[(size_t)row * m->cols + col];
    if (m->dtype == RSR_DTYPE_F16) /* fake_module.h writes normal numbers only */
        return (h & 0x8000 ? -1.0 : 1.0) * ldexp(1024 + (h & 1023), (h >> 10 & 31) - 25);
    const uint32_t bits = (uint32_t)h << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return (double)value;
}

static void test_against_reference(const struct fixture *f) {
    const struct fake_shape *s = &f->fake->shape;
    struct recorded *recorded = calloc(1, sizeof(*recorded));
    struct reference *ref = calloc(1, sizeof(*ref));
    recorded->shape = s;
    rsr_model *model = fake_open(f->fake, RSR_OPS_GENERIC);
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = 2;
    options.max_batch = N_TOKENS;
    options.probe = record;
    options.probe_user = recorded;
    rsr_engine *engine = NULL;
    CHECK_INT(API->engine_create(model, &options, &engine, NULL), RSR_OK);
    rsr_sequence *sequence = new_sequence(engine);
    float *logits = new_logits(f, N_TOKENS);
    CHECK_INT(fake_feed(engine, sequence, f->tokens, N_TOKENS, f->vocab, logits), RSR_OK);
    CHECK(as_expected(f, logits, 0, N_TOKENS)); /* probes change nothing by themselves */
    CHECK_INT(recorded->wrong, 0);
    CHECK_INT(recorded->calls[RSR_PROBE_LINEAR_INPUT], FAKE_KERNELS * s->n_layers);
    CHECK_INT(recorded->calls[RSR_PROBE_LINEAR_OUTPUT], FAKE_KERNELS * s->n_layers);
    CHECK_INT(recorded->calls[RSR_PROBE_NORM_OUTPUT], (s->sub_norms ? 4 : 2) * s->n_layers + 1);
    CHECK_INT(recorded->calls[RSR_PROBE_ATTENTION_INPUT], s->n_layers);
    CHECK_INT(recorded->calls[RSR_PROBE_ATTENTION_OUTPUT], s->n_layers);
    CHECK_INT(recorded->calls[RSR_PROBE_LOGITS_INPUT], 1);

    ref->fake = f->fake;
    ref->recorded = recorded;
    const struct rsr_matrix_data *embedding = &f->fake->tensors.embedding;
    double worst = 0.0;
    for (uint32_t t = 0; t < N_TOKENS; t++) {
        double x[1024], largest = 0.0;
        ref->token = t;
        for (uint32_t i = 0; i < s->hidden; i++)
            x[i] = dense_value(embedding, f->tokens[t], i);
        for (uint32_t b = 0; b < s->n_layers; b++) {
            reference_attention_block(ref, x, b);
            reference_ffn_block(ref, x, b);
        }
        reference_norm(x, &f->fake->norms[s->n_layers * FAKE_NORMS]);
        for (uint32_t r = 0; r < s->vocab; r++) {
            double logit = 0.0;
            for (uint32_t i = 0; i < s->hidden; i++)
                logit += dense_value(embedding, r, i) * x[i];
            largest = fmax(largest, fabs(logit));
            worst = fmax(worst, fabs(logit - (double)logits[(size_t)t * s->vocab + r]));
        }
        CHECK(largest > 0.1); /* the logits are not all zeros */
    }
    CHECK(worst < 3e-5);
    for (uint32_t b = 0; b < FAKE_MAX_LAYERS; b++)
        for (uint32_t role = 0; role < RSR_ROLE_COUNT; role++)
            free(recorded->act[b][role]);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
    API->close(model);
    free(logits);
    free(recorded);
    free(ref);
}

/* ---- One float order ---- */

/* The prompt in pieces of `piece` tokens. */
static void check_pieces(const struct fixture *f, rsr_engine *engine, uint32_t piece,
                         uint32_t n_tokens) {
    rsr_sequence *sequence = new_sequence(engine);
    float *logits = new_logits(f, n_tokens);
    for (uint32_t at = 0; at < n_tokens; at += piece) {
        const uint32_t n = n_tokens - at < piece ? n_tokens - at : piece;
        CHECK_INT(fake_feed(engine, sequence, f->tokens + at, n, f->vocab,
                            logits + (size_t)at * f->vocab),
                  RSR_OK);
    }
    CHECK_INT(API->sequence_length(sequence), n_tokens);
    CHECK(as_expected(f, logits, 0, n_tokens));
    free(logits);
    API->sequence_destroy(sequence);
}

static void test_feeding(const struct fixture *f, rsr_model *model) {
    const uint32_t threads[] = {1, 2, 7}, batches[] = {1, 7, 128};
    for (int t = 0; t < 3; t++) {
        for (int b = 0; b < 3; b++) {
            rsr_engine *engine = fake_engine(model, threads[t], batches[b], 0);
            /* Sleeping barriers are slow where threads outnumber CPUs; 67 crosses a page end
             * too. */
            const uint32_t n = batches[b] == 128 && threads[t] <= 2 ? N_TOKENS : 67;
            check_pieces(f, engine, n, n);
            check_pieces(f, engine, n / 2, n);
            check_pieces(f, engine, 1, n);
            check_pieces(f, engine, 8, n);
            if (n == N_TOKENS) {
                check_pieces(f, engine, 3, n);
                check_pieces(f, engine, 128, n);
            }
            API->engine_destroy(engine);
        }
    }
}

/* ---- Workers that have parts of a KV head's pages ---- */

#define LONG_TOKENS 470u

struct long_text {
    struct fake_module *fake;
    uint32_t tokens[LONG_TOKENS];
};

static void set_window(struct fake_module *fake, uint32_t window) {
    for (uint32_t i = 0; i < fake->steps[0].n_ops; i++)
        if (fake->ops[i].kind == RSR_OP_ATTENTION)
            fake->ops[i].arg = window;
}

/* Feeds all tokens except the last n_single as prompts, whose pages workers do not share, then the
 * others one by one. */
static void feed_long(const struct long_text *text, rsr_model *model, uint32_t n_threads,
                      uint32_t n_single, float *logits) {
    const uint32_t vocab = text->fake->shape.vocab, n = LONG_TOKENS - n_single;
    rsr_engine *engine = fake_engine(model, n_threads, 128, 0);
    rsr_sequence *sequence = new_sequence(engine);
    CHECK_INT(fake_feed(engine, sequence, text->tokens, n, vocab, logits), RSR_OK);
    for (uint32_t i = n; i < LONG_TOKENS; i++)
        CHECK_INT(
            fake_feed(engine, sequence, text->tokens + i, 1, vocab, logits + (size_t)i * vocab),
            RSR_OK);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
}

/* Single tokens of one KV head or two, where 1 to 7 workers share 8 pages. A window begins inside a
 * page, or is shorter than a page: tokens of a prompt then see equally many keys, but different
 * ones. */
static void test_page_ranges(const struct fake_shape *given) {
    const uint32_t threads[] = {1, 2, 3, 7}, windows[] = {0, 333, 40};
    static struct fake_module fake;
    struct fake_shape shape = *given;
    shape.context = 512;
    fake_module_init(&fake, &shape, 5);
    struct long_text text = {.fake = &fake};
    uint64_t seed = 17;
    for (uint32_t i = 0; i < LONG_TOKENS; i++)
        text.tokens[i] = (uint32_t)(check_random(&seed) % shape.vocab);
    const size_t n = (size_t)LONG_TOKENS * shape.vocab;
    float *expected = malloc(n * sizeof(*expected)), *logits = malloc(n * sizeof(*logits));
    for (uint32_t i = 0; i < 12; i++) {
        set_window(&fake, windows[i / 4]);
        rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
        if (i % 4 == 0)
            feed_long(&text, model, 1, 0, expected);
        /* Sleeping barriers are slow where threads outnumber CPUs. */
        feed_long(&text, model, threads[i % 4], threads[i % 4] <= 2 ? LONG_TOKENS - 1 : 80, logits);
        CHECK(memcmp(logits, expected, n * sizeof(*logits)) == 0);
        API->close(model);
    }
    free(expected);
    free(logits);
}

/* Three sequences hold one text at different positions. Their tokens are interleaved in one batch,
 * and some of them want logits. */
static void test_mixed_batch(const struct fixture *f, rsr_model *model) {
    rsr_engine *engine = fake_engine(model, 2, 16, 1024);
    const uint32_t starts[3] = {0, 63, 100};
    rsr_sequence *sequences[3];
    for (int i = 0; i < 3; i++) {
        sequences[i] = new_sequence(engine);
        if (starts[i] > 0)
            CHECK_INT(fake_feed(engine, sequences[i], f->tokens, starts[i], f->vocab, NULL),
                      RSR_OK);
    }
    rsr_batch_entry entries[60];
    uint32_t next[3] = {starts[0], starts[1], starts[2]}, n_wanted = 0;
    for (uint32_t i = 0; i < 60; i++) {
        const uint32_t s = i % 5 < 3 ? i % 5 : 1; /* runs of one and of two tokens */
        entries[i] = (rsr_batch_entry){sequences[s], next[s], f->tokens[next[s]], i % 3 != 1};
        next[s]++;
        n_wanted += entries[i].want_logits;
    }
    float *logits = new_logits(f, n_wanted);
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = 60;
    batch.logits = logits;
    batch.logits_capacity = (size_t)n_wanted * f->vocab;
    CHECK_INT(API->eval(engine, &batch, NULL), RSR_OK);
    uint32_t row = 0;
    for (uint32_t i = 0; i < 60; i++)
        if (entries[i].want_logits)
            CHECK(as_expected(f, logits + (size_t)row++ * f->vocab, entries[i].position,
                              entries[i].position + 1));
    for (int i = 0; i < 3; i++) {
        CHECK_INT(API->sequence_length(sequences[i]), next[i]);
        API->sequence_destroy(sequences[i]);
    }
    free(logits);
    API->engine_destroy(engine);
}

/* Cutting and continuing, through pages shared with forks, gives equal logits. */
static void test_truncate_and_fork(const struct fixture *f, rsr_model *model) {
    rsr_engine *engine = fake_engine(model, 2, 64, 2048);
    rsr_sequence *a = new_sequence(engine), *b = NULL, *c = NULL;
    float *logits = new_logits(f, N_TOKENS);
    uint32_t other[64];
    for (uint32_t i = 0; i < 64; i++)
        other[i] = (f->tokens[i] + 1 + i) % f->vocab;
    CHECK_INT(fake_feed(engine, a, f->tokens, 140, f->vocab, NULL), RSR_OK);
    CHECK_INT(API->sequence_fork(a, &b, NULL), RSR_OK);

    /* b leaves the common text in a page it shares with a; a must not notice. */
    CHECK_INT(API->sequence_truncate(b, 70, NULL), RSR_OK);
    CHECK_INT(API->sequence_fork(b, &c, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, b, other, 64, f->vocab, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, a, f->tokens + 140, 10, f->vocab, logits), RSR_OK);
    CHECK(as_expected(f, logits, 140, 150));
    CHECK_INT(fake_feed(engine, c, f->tokens + 70, 80, f->vocab, logits), RSR_OK);
    CHECK(as_expected(f, logits, 70, 150));

    /* b returns to the text. */
    CHECK_INT(API->sequence_truncate(b, 64, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, b, f->tokens + 64, 86, f->vocab, logits), RSR_OK);
    CHECK(as_expected(f, logits, 64, 150));
    CHECK_INT(API->sequence_truncate(b, 0, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, b, f->tokens, 150, f->vocab, logits), RSR_OK);
    CHECK(as_expected(f, logits, 0, 150));
    CHECK_INT(API->sequence_truncate(a, 149, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, a, f->tokens + 149, 1, f->vocab, logits), RSR_OK);
    CHECK(as_expected(f, logits, 149, 150));

    API->sequence_destroy(a);
    API->sequence_destroy(b);
    API->sequence_destroy(c);
    CHECK_INT(free_tokens(engine), 2048);
    free(logits);
    API->engine_destroy(engine);
}

/* ---- Errors ---- */

static rsr_status eval_one(rsr_engine *engine, rsr_batch_entry entry, float *logits,
                           size_t capacity, rsr_error *err) {
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = &entry;
    batch.n_entries = 1;
    batch.logits = logits;
    batch.logits_capacity = capacity;
    return API->eval(engine, &batch, err);
}

static void test_refusals(const struct fixture *f, rsr_model *model) {
    rsr_engine *engine = fake_engine(model, 1, 8, 0), *another = fake_engine(model, 1, 8, 0);
    rsr_sequence *sequence = new_sequence(engine);
    rsr_error err = RSR_ERROR_INIT;
    float logits[128];
    const uint32_t before = free_tokens(engine);

    CHECK_INT(eval_one(engine, (rsr_batch_entry){sequence, 1, 0, false}, NULL, 0, &err),
              RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "position 1") != NULL);
    CHECK_INT(eval_one(engine, (rsr_batch_entry){sequence, 0, f->vocab, false}, NULL, 0, &err),
              RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "vocabulary") != NULL);
    CHECK_INT(eval_one(engine, (rsr_batch_entry){sequence, 0, 0, true}, logits, f->vocab - 1, &err),
              RSR_ERR_ARGUMENT);
    CHECK_INT(eval_one(engine, (rsr_batch_entry){sequence, 0, 0, true}, NULL, 128, &err),
              RSR_ERR_ARGUMENT);
    CHECK_INT(eval_one(engine, (rsr_batch_entry){NULL, 0, 0, false}, NULL, 0, &err),
              RSR_ERR_ARGUMENT);
    CHECK_INT(eval_one(another, (rsr_batch_entry){sequence, 0, 0, false}, NULL, 0, &err),
              RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "another engine") != NULL);
    CHECK_INT(API->eval(engine, NULL, &err), RSR_ERR_ARGUMENT);
    CHECK_INT(API->sequence_length(sequence), 0);
    CHECK_INT(free_tokens(engine), before);

    /* A bad entry at the end of a batch: the good ones before it leave no trace. */
    rsr_batch_entry entries[2] = {{sequence, 0, 1, false}, {sequence, 0, 1, false}};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = 2;
    CHECK_INT(API->eval(engine, &batch, &err), RSR_ERR_ARGUMENT);
    CHECK_INT(API->sequence_length(sequence), 0);
    batch.n_entries = 0;
    CHECK_INT(API->eval(engine, &batch, &err), RSR_OK);

    uint32_t *tokens = calloc(257, sizeof(*tokens));
    CHECK_INT(fake_feed(engine, sequence, tokens, 257, f->vocab, NULL), RSR_ERR_FULL);
    CHECK_INT(API->sequence_length(sequence), 0);
    CHECK_INT(free_tokens(engine), before);
    CHECK_INT(fake_feed(engine, sequence, tokens, 256, f->vocab, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, sequence, tokens, 1, f->vocab, NULL), RSR_ERR_FULL);
    free(tokens);

    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.context = 257;
    rsr_engine *none = NULL;
    CHECK_INT(API->engine_create(model, &options, &none, &err), RSR_ERR_ARGUMENT);
    options.context = 0;
    options.n_threads = 100000;
    CHECK_INT(API->engine_create(model, &options, &none, &err), RSR_ERR_ARGUMENT);
    options.n_threads = 1;
    options.max_batch = UINT32_MAX;
    CHECK_INT(API->engine_create(model, &options, &none, &err), RSR_ERR_ARGUMENT);
    options.max_batch = 1;
    options.kv_tokens = UINT32_MAX; /* as whole pages it would not fit the info's 32 bits */
    CHECK_INT(API->engine_create(model, &options, &none, &err), RSR_ERR_ARGUMENT);
    CHECK(none == NULL);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
    API->engine_destroy(another);
}

/* Structs of older and newer callers, and structs that were never initialised. */
static void test_struct_sizes(const struct fixture *f, rsr_model *model) {
    struct {
        rsr_engine_options options;
        uint64_t later;
    } newer = {.options = {.size_bytes = sizeof(newer), .n_threads = 1}};
    rsr_engine *engine = NULL;
    rsr_error err = RSR_ERROR_INIT;
    newer.later = 1;
    CHECK_INT(API->engine_create(model, &newer.options, &engine, &err), RSR_ERR_ARGUMENT);
    char byte[32];
    snprintf(byte, sizeof(byte), "byte %zu ", sizeof(rsr_engine_options));
    CHECK(strstr(err.message, byte) != NULL && strstr(err.message, "does not know") != NULL);
    newer.options.size_bytes = 0;
    CHECK_INT(API->engine_create(model, &newer.options, &engine, &err), RSR_ERR_ARGUMENT);
    newer.options.size_bytes = UINT32_MAX;
    CHECK_INT(API->engine_create(model, &newer.options, &engine, &err), RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "INIT") != NULL);
    CHECK(engine == NULL);
    newer.options.size_bytes = sizeof(newer);
    newer.later = 0;
    CHECK_INT(API->engine_create(model, &newer.options, &engine, NULL), RSR_OK);

    rsr_sequence *sequence = new_sequence(engine);
    const rsr_batch_entry entry = {sequence, 0, f->tokens[0], false};
    rsr_batch batch = {.size_bytes = 0, .entries = &entry, .n_entries = 1};
    CHECK_INT(API->eval(engine, &batch, &err), RSR_ERR_ARGUMENT);
    rsr_engine_info info = {0};
    CHECK_INT(API->engine_get_info(engine, &info), RSR_ERR_ARGUMENT);
    info.size_bytes = offsetof(rsr_engine_info, context); /* an older caller's */
    CHECK_INT(API->engine_get_info(engine, &info), RSR_OK);
    CHECK_INT(info.n_threads, 1);
    CHECK_INT(info.context, 0);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
}

/* The system refuses some of many threads: the created threads end, and an error says so. */
static void test_refused_threads(const struct fixture *f) {
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        const struct rlimit few = {8, 8};
        rsr_model *model = fake_open(f->fake, RSR_OPS_GENERIC);
        rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
        rsr_engine *engine = NULL;
        options.n_threads = 64;
        /* Root has no limit on processes. */
        if ((geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) ||
            setrlimit(RLIMIT_NPROC, &few) != 0)
            _exit(2);
        _exit(API->engine_create(model, &options, &engine, NULL) != RSR_ERR_MEMORY);
    }
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
}

/* A NaN in one token's embedding: the whole batch is refused, all sequences are as before. */
static void test_not_finite(const struct fixture *f, rsr_model *model) {
    rsr_engine *engine = fake_engine(model, 2, 4, 0);
    rsr_sequence *sequence = new_sequence(engine);
    float *logits = new_logits(f, N_TOKENS);
    CHECK_INT(fake_feed(engine, sequence, f->tokens, 60, f->vocab, NULL), RSR_OK);
    const uint32_t before = free_tokens(engine);
    uint16_t *row = (uint16_t *)(uintptr_t)f->fake->tensors.embedding.data +
                    (size_t)f->tokens[70] * f->fake->shape.hidden;
    const uint16_t saved = row[5];
    row[5] = 0x7fff; /* NaN in float16 and bfloat16 */
    rsr_batch_entry entries[20];
    for (uint32_t i = 0; i < 20; i++)
        entries[i] = (rsr_batch_entry){sequence, 60 + i, f->tokens[60 + i], false};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = 20;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(API->eval(engine, &batch, &err), RSR_ERR_NUMERIC);
    CHECK(strstr(err.message, "block 0") != NULL);
    CHECK_INT(API->sequence_length(sequence), 60);
    CHECK_INT(free_tokens(engine), before);
    row[5] = saved;
    CHECK_INT(fake_feed(engine, sequence, f->tokens + 60, 90, f->vocab, logits), RSR_OK);
    CHECK(as_expected(f, logits, 60, 150));
    free(logits);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
}

/* A forked child may destroy the objects that it inherited, and may not use them otherwise. An
 * alarm ends a child that hangs. */
static void test_fork(const struct fixture *f, rsr_model *model) {
    rsr_engine *engine = fake_engine(model, 3, 8, 0);
    rsr_sequence *sequence = new_sequence(engine);
    float logits[128];
    CHECK_INT(fake_feed(engine, sequence, f->tokens, 2, f->vocab, NULL), RSR_OK);
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        rsr_error err = RSR_ERROR_INIT;
        rsr_sequence *other = NULL;
        rsr_engine *second = NULL;
        int wrong = 0;
        wrong += eval_one(engine, (rsr_batch_entry){sequence, 2, 0, true}, logits, 128, &err) !=
                 RSR_ERR_FORK;
        wrong += strstr(err.message, "fork") == NULL;
        wrong += API->sequence_create(engine, &other, &err) != RSR_ERR_FORK;
        wrong += API->sequence_fork(sequence, &other, &err) != RSR_ERR_FORK;
        wrong += API->sequence_truncate(sequence, 0, &err) != RSR_ERR_FORK;
        wrong += API->engine_create(model, NULL, &second, &err) != RSR_ERR_FORK;
        const uint32_t *text = f->tokens;
        const size_t one = 1;
        wrong += API->embed(engine, &text, &one, 1, NULL, logits, 128, &err) != RSR_ERR_FORK;
        API->sequence_destroy(sequence);
        API->engine_destroy(engine);
        API->close(model);
        _exit(wrong);
    }
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
    float *after = new_logits(f, 3); /* the parent goes on */
    CHECK_INT(fake_feed(engine, sequence, f->tokens + 2, 3, f->vocab, after), RSR_OK);
    CHECK(as_expected(f, after, 2, 5));
    free(after);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
}

/* The engine uses a copy, so the original weights may be overwritten with noise. */
static void test_copied_weights(const struct fixture *f) {
    rsr_open_options options = RSR_OPEN_OPTIONS_INIT;
    rsr_model *model = NULL;
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    options.target = "generic";
    options.pages = RSR_PAGES_COPY;
    CHECK_INT(API->open(&f->fake->module, NULL, &options, &model, NULL), RSR_OK);
    CHECK_INT(API->model_get_info(model, &info), RSR_OK);
    CHECK(strncmp(info.pages, "copied", 6) == 0);
    rsr_engine *engine = fake_engine(model, 1, 64, 0);
    rsr_sequence *sequence = new_sequence(engine);
    const struct rsr_kernel_desc *kernel = &f->fake->kernels[3];
    int8_t *codes = (int8_t *)(uintptr_t)kernel->weights.codes;
    void *saved = malloc(kernel->weight_bytes);
    memcpy(saved, codes, kernel->weight_bytes);
    memset(codes, 1, kernel->weight_bytes);
    float *logits = new_logits(f, 80);
    CHECK_INT(fake_feed(engine, sequence, f->tokens, 80, f->vocab, logits), RSR_OK);
    CHECK(as_expected(f, logits, 0, 80));
    memcpy(codes, saved, kernel->weight_bytes);
    free(saved);
    free(logits);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
    API->close(model);
}

static void test_profile(const struct fixture *f, rsr_model *model) {
    rsr_engine *engine = fake_engine(model, 2, 4, 0);
    rsr_sequence *sequence = new_sequence(engine);
    rsr_profile_entry entries[32] = {RSR_PROFILE_ENTRY_INIT};
    size_t n = 99;
    CHECK_INT(fake_feed(engine, sequence, f->tokens, 8, f->vocab, NULL), RSR_OK);
    CHECK_INT(API->engine_profile(engine, true, NULL, 0, &n), RSR_OK);
    CHECK_INT(n, 0); /* off until enabled */
    CHECK_INT(fake_feed(engine, sequence, f->tokens, 8, f->vocab, NULL), RSR_OK); /* two chunks */
    CHECK_INT(API->engine_profile(engine, true, entries, 1, &n), RSR_ERR_FULL);
    CHECK_INT(API->engine_profile(engine, false, entries, 32, &n), RSR_OK);
    CHECK_INT(n, 16); /* 9 kinds without linear, 7 roles */
    int found = 0;
    const struct fake_shape *s = &f->fake->shape;
    const uint64_t row_floats = (s->head_dim + 15) / 16 * 16;
    const uint64_t row_bytes = s->n_kv_heads * 2 * row_floats * rsr_kv_element_bytes(RSR_KV_BF16);
    uint64_t wait_ns = 0;
    for (size_t i = 0; i < n && i < 32; i++) {
        CHECK(entries[i].time_ns > 0);
        wait_ns += entries[i].wait_ns;
        if (strcmp(entries[i].name, "gate") == 0) {
            found++;
            CHECK_INT(entries[i].calls, 2 * f->fake->shape.n_layers);
            CHECK_INT(entries[i].bytes, 2 * s->n_layers * ((uint64_t)s->ffn * s->hidden + 4));
        }
        if (strcmp(entries[i].name, "attention") == 0) {
            found++; /* positions 8 to 15 in two chunks, each one run: 12 keys, then 16 */
            CHECK_INT(entries[i].bytes, s->n_layers * row_bytes * (12 + 16));
        }
        if (strcmp(entries[i].name, "rope_append") == 0)
            CHECK_INT(entries[i].bytes, s->n_layers * row_bytes * 8);
        if (strcmp(entries[i].name, "add") == 0)
            CHECK_INT(entries[i].bytes, 0);
    }
    CHECK_INT(found, 2);
    CHECK(wait_ns > 0);
    CHECK_INT(fake_feed(engine, sequence, f->tokens, 8, f->vocab, NULL), RSR_OK);
    CHECK_INT(API->engine_profile(engine, false, entries, 32, &n), RSR_OK);
    CHECK_INT(n, 0);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
}

/* ---- Several callers ---- */

struct caller {
    const struct fixture *f;
    rsr_engine *engine;
    bool ok;
};

static void *call_in_thread(void *argument) {
    struct caller *c = argument;
    rsr_sequence *sequence = NULL;
    if (API->sequence_create(c->engine, &sequence, NULL) != RSR_OK)
        return NULL;
    float *logits = malloc(sizeof(float) * c->f->vocab);
    c->ok = true;
    for (uint32_t t = 0; t < 40; t++) {
        const rsr_batch_entry entry = {sequence, t, c->f->tokens[t], true};
        c->ok &= eval_one(c->engine, entry, logits, c->f->vocab, NULL) == RSR_OK &&
                 as_expected(c->f, logits, t, t + 1);
    }
    free(logits);
    API->sequence_destroy(sequence);
    return NULL;
}

static void test_callers(const struct fixture *f, rsr_model *model) {
    struct caller callers[3];
    pthread_t threads[3];
    rsr_engine *engine = fake_engine(model, 2, 8, 0);
    for (int i = 0; i < 3; i++) {
        callers[i] = (struct caller){f, engine, false};
        CHECK_INT(pthread_create(&threads[i], NULL, call_in_thread, &callers[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        CHECK(callers[i].ok);
    }
    API->engine_destroy(engine);
}

static void make_expected(struct fixture *f, rsr_model *model) {
    rsr_engine *engine = fake_engine(model, 1, N_TOKENS, 0);
    rsr_sequence *sequence = new_sequence(engine);
    f->expected = new_logits(f, N_TOKENS);
    CHECK_INT(fake_feed(engine, sequence, f->tokens, N_TOKENS, f->vocab, f->expected), RSR_OK);
    API->sequence_destroy(sequence);
    API->engine_destroy(engine);
}

static void test_shape(const struct fake_shape *shape) {
    static struct fake_module fake;
    struct fixture f = {.fake = &fake, .vocab = shape->vocab};
    uint64_t seed = 11;
    fake_module_init(&fake, shape, seed);
    for (uint32_t i = 0; i < N_TOKENS; i++)
        f.tokens[i] = (uint32_t)(check_random(&seed) % shape->vocab);
    rsr_model *generic = fake_open(&fake, RSR_OPS_GENERIC);
    make_expected(&f, generic);
    test_against_reference(&f);
    for (int level = 0; level < RSR_OPS_LEVEL_COUNT; level++) {
        rsr_model *model = fake_open(&fake, (enum rsr_ops_level)level);
        if (model == NULL)
            continue;
        printf("head_dim %u, level %s\n", shape->head_dim, model->ops->name);
        test_feeding(&f, model);
        test_mixed_batch(&f, model);
        test_truncate_and_fork(&f, model);
        API->close(model);
    }
    test_refusals(&f, generic);
    test_struct_sizes(&f, generic);
    test_refused_threads(&f);
    test_not_finite(&f, generic);
    test_fork(&f, generic);
    test_copied_weights(&f);
    test_profile(&f, generic);
    test_callers(&f, generic);
    API->close(generic);
    free(f.expected);
}

int main(void) {
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        test_shape(&shapes[i]);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        test_page_ranges(&shapes[i]);
    return CHECK_EXIT();
}
