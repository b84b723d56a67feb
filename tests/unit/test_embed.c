/* test_embed.c - embeddings of many texts in one call: each text gets the bits that it gets alone,
 * and these are the bits of the definition. */
#include "fake_module.h"

#define API (&rsr_runtime_api)
enum { VOCAB = 31, HIDDEN = FAKE_SMALL_HIDDEN, CONTEXT = 192, N_TEXTS = 90, N_BATCHES = 4 };

struct texts {
    uint32_t storage[N_TEXTS][CONTEXT];
    const uint32_t *tokens[N_TEXTS];
    size_t n_tokens[N_TEXTS];
};

/* Short texts, long texts, and one that fills the context. */
static void make_texts(struct texts *texts) {
    uint64_t seed = 4;
    for (uint32_t i = 0; i < N_TEXTS; i++) {
        const uint32_t most = i % 10 == 9 ? CONTEXT : i % 3 == 2 ? 40 : 5;
        texts->tokens[i] = texts->storage[i];
        texts->n_tokens[i] = i == 19 ? CONTEXT : 1 + check_random(&seed) % most;
        for (uint32_t t = 0; t < CONTEXT; t++)
            texts->storage[i][t] = (uint32_t)(check_random(&seed) % VOCAB);
    }
}

static uint32_t free_tokens(const rsr_engine *engine) {
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    CHECK_INT(API->engine_get_info(engine, &info), RSR_OK);
    return info.kv_tokens_free;
}

/* The definition: every hidden state of the text, then their sum in order. */
static void embed_plainly(rsr_engine *engine, const uint32_t *tokens, size_t n, const char *pooling,
                          bool divides, float *out) {
    static rsr_batch_entry entries[CONTEXT];
    static float states[CONTEXT * HIDDEN];
    rsr_sequence *sequence = NULL;
    CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
    for (uint32_t t = 0; t < n; t++)
        entries[t] = (rsr_batch_entry){sequence, t, tokens[t], true};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = n;
    batch.logits = states;
    batch.logits_capacity = n * HIDDEN;
    batch.want_states = true;
    CHECK_INT(API->eval(engine, &batch, NULL), RSR_OK);
    API->sequence_destroy(sequence);
    const bool mean = strcmp(pooling, "mean") == 0;
    const size_t first = strcmp(pooling, "last") == 0 ? n - 1 : 0, end = mean ? n : first + 1;
    double sums[HIDDEN] = {0}, squares = 0.0;
    for (size_t t = first; t < end; t++)
        for (uint32_t d = 0; d < HIDDEN; d++)
            sums[d] += (double)states[t * HIDDEN + d];
    for (uint32_t d = 0; d < HIDDEN; d++) {
        sums[d] /= mean ? (double)n : 1.0;
        squares += sums[d] * sums[d];
    }
    for (uint32_t d = 0; d < HIDDEN; d++)
        out[d] = (float)(sums[d] / (divides ? sqrt(squares) : 1.0));
}

static void test_many(rsr_engine *engine, const struct texts *texts, const char *pooling,
                      bool keep_length) {
    static float rows[N_TEXTS * HIDDEN], alone[HIDDEN], plain[HIDDEN];
    rsr_embed_options options = RSR_EMBED_OPTIONS_INIT;
    options.pooling = pooling;
    options.keep_length = keep_length;
    const uint32_t n_free = free_tokens(engine);
    CHECK_INT(API->embed(engine, texts->tokens, texts->n_tokens, N_TEXTS, &options, rows,
                         N_TEXTS * HIDDEN, NULL),
              RSR_OK);
    for (uint32_t i = 0; i < N_TEXTS; i++) {
        CHECK_INT(API->embed(engine, &texts->tokens[i], &texts->n_tokens[i], 1, &options, alone,
                             HIDDEN, NULL),
                  RSR_OK);
        embed_plainly(engine, texts->tokens[i], texts->n_tokens[i], pooling, !keep_length, plain);
        CHECK(memcmp(rows + i * HIDDEN, alone, sizeof(alone)) == 0);
        CHECK(memcmp(rows + i * HIDDEN, plain, sizeof(plain)) == 0);
    }
    CHECK_INT(free_tokens(engine), n_free);
}

/* The hidden states of a language model are the vectors that its head multiplies. */
static void test_states(rsr_engine *engine, const struct fake_module *fake) {
    float states[HIDDEN], logits[VOCAB];
    const float *head = fake->tensors.head.data;
    for (int wants_states = 0; wants_states < 2; wants_states++) {
        rsr_sequence *sequence = NULL;
        CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
        const rsr_batch_entry entry = {sequence, 0, 3, true};
        rsr_batch batch = RSR_BATCH_INIT;
        batch.entries = &entry;
        batch.n_entries = 1;
        batch.logits = wants_states ? states : logits;
        batch.logits_capacity = wants_states ? HIDDEN : VOCAB;
        batch.want_states = wants_states;
        CHECK_INT(API->eval(engine, &batch, NULL), RSR_OK);
        API->sequence_destroy(sequence);
    }
    for (uint32_t row = 0; row < VOCAB; row++) {
        double sum = 0;
        for (uint32_t d = 0; d < HIDDEN; d++)
            sum += (double)states[d] * (double)head[row * HIDDEN + d];
        CHECK(fabs(sum - (double)logits[row]) < 1e-4);
    }
}

static void test_refusals(rsr_model *model, rsr_engine *engine, const struct texts *texts) {
    float rows[3 * HIDDEN];
    rsr_error err = RSR_ERROR_INIT;
    rsr_embed_options options = RSR_EMBED_OPTIONS_INIT;
    const uint32_t n_free = free_tokens(engine);
    const size_t sizes[] = {4, 0, 2}, long_ones[] = {1, CONTEXT + 1};
    CHECK_INT(API->embed(engine, texts->tokens, sizes, 1, NULL, rows, 3 * HIDDEN, &err),
              RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "language model") != NULL);
    options.pooling = "max";
    CHECK_INT(API->embed(engine, texts->tokens, sizes, 1, &options, rows, 3 * HIDDEN, &err),
              RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "max is unknown") != NULL);
    options.pooling = "mean";
    CHECK_INT(API->embed(engine, texts->tokens, sizes, 3, &options, rows, 3 * HIDDEN - 1, &err),
              RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "room for 59") != NULL);
    CHECK_INT(API->embed(engine, texts->tokens, sizes, 3, &options, rows, 3 * HIDDEN, &err),
              RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "text 1 has no tokens") != NULL);
    CHECK_INT(API->embed(engine, texts->tokens, long_ones, 2, &options, rows, 3 * HIDDEN, &err),
              RSR_ERR_FULL);
    CHECK(strstr(err.message, "text 1 has 193 tokens") != NULL);
    const rsr_cancel cancel = {1};
    options.cancel = &cancel;
    CHECK_INT(API->embed(engine, texts->tokens, sizes, 1, &options, rows, 3 * HIDDEN, &err),
              RSR_ERR_STOPPED);
    CHECK_INT(free_tokens(engine), n_free);
    CHECK_INT(API->embed(engine, NULL, NULL, 0, &options, NULL, 0, NULL), RSR_OK);
    rsr_engine *small = fake_engine(model, 1, 8, RSR_PAGE_TOKENS);
    options.cancel = NULL;
    CHECK_INT(API->embed(small, &texts->tokens[19], &texts->n_tokens[19], 1, &options, rows,
                         3 * HIDDEN, &err),
              RSR_ERR_FULL);
    CHECK_INT(free_tokens(small), RSR_PAGE_TOKENS);
    API->engine_destroy(small);
}

int main(void) {
    static struct fake_module fake;
    static struct texts texts;
    const struct fake_shape shape = fake_small_shape(VOCAB, CONTEXT);
    /* Pools with room for one long text, for some, and for many; batches of few tokens and of
     * many. */
    const uint32_t batches[N_BATCHES] = {3, 16, 128, 300}, pools[N_BATCHES] = {192, 640, 4096, 256};
    static const char *const poolings[] = {"last", "first", "mean"};
    make_texts(&texts);
    fake_module_init(&fake, &shape, 1);
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    for (uint32_t i = 0; i < N_BATCHES; i++) {
        rsr_engine *engine = fake_engine(model, 1 + i % 3, batches[i], pools[i]);
        for (uint32_t p = 0; p < 3; p++)
            test_many(engine, &texts, poolings[p], (i + p) % 2 == 0);
        test_states(engine, &fake);
        test_refusals(model, engine, &texts);
        API->engine_destroy(engine);
    }
    API->close(model);
    return CHECK_EXIT();
}
