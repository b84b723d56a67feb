/* test_generate.c - rsr_generate over a module built by hand: each token is what rsr_eval and
 * rsr_sample over the whole sequence give, whoever evaluated its beginning, and each reason to stop
 * stops. */
#include "check.h"
#include "fake_module.h"

#define API (&rsr_runtime_api)
#define VOCAB 41u
#define CONTEXT 128u
#define N_PROMPT 90u /* past a page's end */
#define N_SPLIT 70u
#define N_NEW 20u

static const struct fake_shape shape = {.hidden = 50,
                                        .n_layers = 1,
                                        .n_heads = 2,
                                        .n_kv_heads = 1,
                                        .head_dim = 16,
                                        .ffn = 64,
                                        .vocab = VOCAB,
                                        .context = CONTEXT,
                                        .activation = RSR_ACTIVATION_SILU,
                                        .head_dtype = RSR_DTYPE_BF16,
                                        .sub_norms = false};

struct fixture {
    rsr_engine *engine;
    rsr_model *model;
    rsr_sampling sampling;
    uint32_t tokens[N_PROMPT + N_NEW]; /* the prompt, then what is expected */
};

static rsr_sequence *new_sequence(rsr_engine *engine) {
    rsr_sequence *sequence = NULL;
    CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
    return sequence;
}

/* What a caller's own loop gives. */
static void make_expected(struct fixture *f) {
    float logits[N_PROMPT * VOCAB];
    rsr_sequence *sequence = new_sequence(f->engine);
    CHECK_INT(fake_feed(f->engine, sequence, f->tokens, N_PROMPT, VOCAB, logits), RSR_OK);
    memmove(logits, logits + (N_PROMPT - 1) * VOCAB, VOCAB * sizeof(float));
    for (uint32_t n = N_PROMPT; n < N_PROMPT + N_NEW; n++) {
        CHECK_INT(API->sample(f->model, &f->sampling, logits, f->tokens, n, &f->tokens[n], NULL),
                  RSR_OK);
        CHECK_INT(fake_feed(f->engine, sequence, &f->tokens[n], 1, VOCAB, logits), RSR_OK);
    }
    API->sequence_destroy(sequence);
}

struct seen {
    uint32_t tokens[CONTEXT];
    uint32_t n, stop_after;
};

static bool on_token(void *user, const rsr_generated *generated) {
    struct seen *seen = user;
    seen->tokens[seen->n++] = generated->token;
    CHECK_INT(generated->text_bytes, 0); /* no tokenizer, no text */
    return seen->n != seen->stop_after;
}

static rsr_generate_options options_of(const struct fixture *f, uint32_t begin) {
    rsr_generate_options options = RSR_GENERATE_OPTIONS_INIT;
    options.max_tokens = N_NEW;
    options.sampling = &f->sampling;
    options.prompt_tokens = f->tokens + begin;
    options.n_prompt_tokens = N_PROMPT - begin;
    return options;
}

static void check_continues(const struct fixture *f, rsr_sequence *sequence, uint32_t begin) {
    const rsr_generate_options options = options_of(f, begin);
    rsr_generate_result result = RSR_GENERATE_RESULT_INIT;
    struct seen seen = {.n = 0};
    CHECK_INT(API->generate(f->engine, sequence, NULL, 0, &options, on_token, &seen, &result, NULL),
              RSR_OK);
    CHECK_INT(result.prompt_tokens, N_PROMPT - begin);
    CHECK_INT(result.tokens, N_NEW);
    CHECK_INT(result.stop_reason, RSR_STOP_LENGTH);
    CHECK_INT(seen.n, N_NEW);
    CHECK(memcmp(seen.tokens, f->tokens + N_PROMPT, N_NEW * sizeof(uint32_t)) == 0);
    CHECK_INT(API->sequence_length(sequence), N_PROMPT + N_NEW - 1);
}

/* The penalty sees tokens that rsr_eval, a truncation or a fork left in the sequence. */
static void test_history(const struct fixture *f) {
    rsr_sequence *sequence = new_sequence(f->engine), *fork = NULL;
    check_continues(f, sequence, 0);
    CHECK_INT(API->sequence_truncate(sequence, 0, NULL), RSR_OK);
    CHECK_INT(fake_feed(f->engine, sequence, f->tokens, N_SPLIT, VOCAB, NULL), RSR_OK);
    CHECK_INT(API->sequence_fork(sequence, &fork, NULL), RSR_OK);
    check_continues(f, sequence, N_SPLIT);
    CHECK_INT(API->sequence_truncate(sequence, 30, NULL), RSR_OK);
    check_continues(f, sequence, 30);
    check_continues(f, fork, N_SPLIT);
    API->sequence_destroy(fork);
    API->sequence_destroy(sequence);
}

static void test_stops(const struct fixture *f) {
    rsr_generate_options options = options_of(f, 0);
    rsr_generate_result result = RSR_GENERATE_RESULT_INIT;
    struct seen seen = {.stop_after = 3};
    rsr_sequence *sequence = new_sequence(f->engine);
    CHECK_INT(API->generate(f->engine, sequence, NULL, 0, &options, on_token, &seen, &result, NULL),
              RSR_OK);
    CHECK_INT(result.stop_reason, RSR_STOP_CALLBACK);
    CHECK_INT(result.tokens, 3);

    uint32_t first = 0; /* place of the stop token's first appearance */
    while (f->tokens[N_PROMPT + first] != f->tokens[N_PROMPT + 5])
        first++;
    options.stop_tokens = &f->tokens[N_PROMPT + 5];
    options.n_stop_tokens = 1;
    CHECK_INT(API->sequence_truncate(sequence, 0, NULL), RSR_OK);
    CHECK_INT(API->generate(f->engine, sequence, NULL, 0, &options, NULL, NULL, &result, NULL),
              RSR_OK);
    CHECK_INT(result.stop_reason, RSR_STOP_TOKEN);
    CHECK_INT(result.tokens, first + 1);

    options.ignore_stop = true;
    options.max_tokens = 1000;
    CHECK_INT(API->sequence_truncate(sequence, 0, NULL), RSR_OK);
    CHECK_INT(API->generate(f->engine, sequence, NULL, 0, &options, NULL, NULL, &result, NULL),
              RSR_OK);
    CHECK_INT(result.stop_reason, RSR_STOP_CONTEXT);
    CHECK_INT(result.tokens, CONTEXT - N_PROMPT + 1);
    CHECK_INT(API->sequence_length(sequence), CONTEXT);
    API->sequence_destroy(sequence);
}

static void test_refusals(const struct fixture *f) {
    rsr_generate_options options = options_of(f, 0);
    rsr_generate_result result = RSR_GENERATE_RESULT_INIT;
    rsr_error err = RSR_ERROR_INIT;
    rsr_sequence *sequence = new_sequence(f->engine);
    result.tokens = 77;
    options.n_prompt_tokens = 0;
    CHECK_INT(API->generate(f->engine, sequence, NULL, 0, &options, NULL, NULL, &result, &err),
              RSR_ERR_ARGUMENT);
    CHECK_INT(fake_feed(f->engine, sequence, f->tokens, N_PROMPT, VOCAB, NULL), RSR_OK);
    options.n_prompt_tokens = CONTEXT - N_PROMPT + 1;
    CHECK_INT(API->generate(f->engine, sequence, NULL, 0, &options, NULL, NULL, &result, &err),
              RSR_ERR_FULL);
    rsr_generate_result unset = {0};
    options = options_of(f, N_PROMPT - 1);
    CHECK_INT(API->generate(f->engine, sequence, NULL, 0, &options, NULL, NULL, &unset, NULL),
              RSR_ERR_ARGUMENT);
    CHECK_INT(API->sequence_length(sequence), N_PROMPT);
    CHECK(strstr(err.message, "39 tokens") != NULL && strstr(err.message, "room for 38") != NULL);
    rsr_sampling wrong = f->sampling;
    wrong.top_p = 2;
    options = options_of(f, N_PROMPT - 1);
    options.sampling = &wrong;
    CHECK_INT(API->generate(f->engine, sequence, NULL, 0, &options, NULL, NULL, &result, &err),
              RSR_ERR_ARGUMENT);
    options.prompt_tokens = NULL;
    CHECK_INT(API->generate(f->engine, sequence, "text", 4, &options, NULL, NULL, &result, &err),
              RSR_ERR_TEXT);
    rsr_engine *another = fake_engine(f->model, 1, 8, 0);
    options = options_of(f, N_PROMPT - 1);
    CHECK_INT(API->generate(another, sequence, NULL, 0, &options, NULL, NULL, &result, &err),
              RSR_ERR_ARGUMENT);
    CHECK_INT(result.tokens, 77);
    API->engine_destroy(another);
    API->sequence_destroy(sequence);
}

int main(void) {
    static struct fake_module fake;
    uint64_t seed = 5;
    struct fixture f = {.sampling = RSR_SAMPLING_INIT};
    fake_module_init(&fake, &shape, seed);
    for (uint32_t i = 0; i < N_PROMPT; i++)
        f.tokens[i] = (uint32_t)(check_random(&seed) % VOCAB);
    f.sampling.temperature = 0.8f;
    f.sampling.repeat_penalty = 1.6f;
    f.sampling.seed = 3;
    f.model = fake_open(&fake, RSR_OPS_GENERIC);
    f.engine = fake_engine(f.model, 2, 32, 4 * CONTEXT);
    make_expected(&f);
    test_history(&f);
    test_stops(&f);
    test_refusals(&f);
    API->engine_destroy(f.engine);
    API->close(f.model);
    return CHECK_EXIT();
}
