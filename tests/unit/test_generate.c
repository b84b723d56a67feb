/* test_generate.c - rsr_generate over a module built by hand: each token equals the token of
 * rsr_eval and rsr_sample over the whole sequence, whoever evaluated its beginning, and each reason
 * to stop works. */
#include "check.h"
#include "fake_module.h"

#define API (&rsr_runtime_api)
#define VOCAB 41u
#define CONTEXT 128u
#define N_PROMPT 90u /* beyond a page's end */
#define N_SPLIT 70u
#define N_NEW 20u

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

/* The tokens of a caller's own loop. */
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

/* ---- Logits and log-probabilities ---- */

#define N_TOP 3u
struct told {
    uint32_t tokens[CONTEXT];
    rsr_logprob logprobs[CONTEXT][1 + N_TOP];
    uint32_t n, n_prompt; /* tokens told, with the prompt's; the prompt's */
    uint32_t n_asked, stop_asking, stop_telling;
    uint32_t only; /* the only token that the callback allows; UINT32_MAX: all */
};

static bool tell(struct told *told, const rsr_generated *generated) {
    CHECK_INT(generated->text_bytes, 0);
    CHECK_INT(generated->n_logprobs, told->n == 0 ? 0 : 1 + N_TOP);
    if (told->n > 0)
        memcpy(told->logprobs[told->n], generated->logprobs, sizeof(told->logprobs[0]));
    told->tokens[told->n++] = generated->token;
    return told->n != told->stop_telling;
}

static bool on_prompt_token(void *user, const rsr_generated *generated) {
    struct told *told = user;
    CHECK_INT(told->n, told->n_prompt);
    told->n_prompt++;
    return tell(told, generated);
}

static bool on_generated(void *user, const rsr_generated *generated) {
    return tell(user, generated);
}

static bool on_logits(void *user, const uint32_t *tokens, size_t n_tokens, float *logits,
                      size_t n_logits) {
    struct told *told = user;
    CHECK_INT(n_logits, VOCAB);
    CHECK_INT(n_tokens, N_PROMPT + told->n_asked);
    CHECK(told->n == 0 || tokens[n_tokens - 1] == told->tokens[told->n - 1]);
    for (uint32_t i = 0; i < VOCAB && told->only != UINT32_MAX; i++)
        if (i != told->only)
            logits[i] = -INFINITY;
    return ++told->n_asked != told->stop_asking;
}

static rsr_stop_reason generate_told(const struct fixture *f, rsr_generate_options options,
                                     struct told *told) {
    rsr_generate_result result = RSR_GENERATE_RESULT_INIT;
    rsr_sequence *sequence = new_sequence(f->engine);
    options.logits_user = told;
    CHECK_INT(
        API->generate(f->engine, sequence, NULL, 0, &options, on_generated, told, &result, NULL),
        RSR_OK);
    CHECK_INT(result.tokens, told->n - told->n_prompt);
    API->sequence_destroy(sequence);
    return result.stop_reason;
}

/* The result of rsr_eval for these tokens. */
static void check_logprobs(const struct fixture *f, const struct told *told) {
    rsr_batch_entry entries[CONTEXT];
    rsr_logprobs asked[CONTEXT];
    static rsr_logprob results[CONTEXT][1 + N_TOP];
    rsr_sequence *sequence = new_sequence(f->engine);
    for (uint32_t i = 0; i + 1 < told->n; i++) {
        entries[i] = (rsr_batch_entry){sequence, i, told->tokens[i], false};
        asked[i] = (rsr_logprobs){i, told->tokens[i + 1], N_TOP, results[i + 1]};
    }
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.logprobs = asked;
    batch.n_entries = batch.n_logprobs = told->n - 1;
    CHECK_INT(API->eval(f->engine, &batch, NULL), RSR_OK);
    CHECK(memcmp(results + 1, told->logprobs + 1, (told->n - 1) * sizeof(results[0])) == 0);
    API->sequence_destroy(sequence);
}

static void test_logits(const struct fixture *f) {
    rsr_generate_options options = options_of(f, 0);
    options.logprobs = true;
    options.n_top_logprobs = N_TOP;
    options.prompt_token = on_prompt_token;
    for (uint32_t kind = 0; kind < 3;
         kind++) { /* no callback, one that only looks, one that bans */
        struct told told = {.only = kind == 2 ? 5 : UINT32_MAX};
        options.logits = kind == 0 ? NULL : on_logits;
        CHECK_INT(generate_told(f, options, &told), RSR_STOP_LENGTH);
        CHECK_INT(told.n_prompt, N_PROMPT);
        CHECK_INT(told.n_asked, kind == 0 ? 0 : N_NEW);
        CHECK(memcmp(told.tokens, f->tokens, N_PROMPT * sizeof(uint32_t)) == 0);
        for (uint32_t i = N_PROMPT; i < N_PROMPT + N_NEW; i++)
            CHECK_INT(told.tokens[i], kind == 2 ? 5 : f->tokens[i]);
        check_logprobs(f, &told);
    }
    struct told stopped = {.only = UINT32_MAX, .stop_asking = 3};
    CHECK_INT(generate_told(f, options, &stopped), RSR_STOP_CALLBACK);
    CHECK_INT(stopped.n, N_PROMPT + 2);
    stopped = (struct told){.only = UINT32_MAX, .stop_telling = 7};
    CHECK_INT(generate_told(f, options, &stopped), RSR_STOP_CALLBACK);
    CHECK_INT(stopped.n_prompt, 7);
}

/* Tokens of the prompt do not count for presence and frequency penalties, unless the caller says
 * so. */
static void test_penalties(const struct fixture *f) {
    struct fixture g = *f;
    g.sampling.presence_penalty = 3.0f;
    g.sampling.frequency_penalty = 1.5f;
    for (uint32_t from = 0; from <= N_PROMPT; from += N_PROMPT / 2) {
        rsr_generate_options options = options_of(&g, 0);
        struct seen seen = {.n = 0};
        rsr_sequence *sequence = new_sequence(g.engine);
        g.sampling.generated_from = from;
        CHECK_INT(API->generate(g.engine, sequence, NULL, 0, &options, on_token, &seen, NULL, NULL),
                  RSR_OK);
        g.sampling.generated_from = from == 0 ? N_PROMPT : from;
        make_expected(&g);
        CHECK(memcmp(seen.tokens, g.tokens + N_PROMPT, N_NEW * sizeof(uint32_t)) == 0);
        CHECK(memcmp(seen.tokens, f->tokens + N_PROMPT, N_NEW * sizeof(uint32_t)) != 0);
        API->sequence_destroy(sequence);
    }
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
    options = options_of(f, N_PROMPT - 1);
    options.logprobs = true;
    options.n_top_logprobs = VOCAB + 1;
    CHECK_INT(API->generate(f->engine, sequence, NULL, 0, &options, NULL, NULL, &result, &err),
              RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "n_top_logprobs 42 is more than 41") != NULL);
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
    const struct fake_shape shape = fake_text_shape(VOCAB, CONTEXT);
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
    test_logits(&f);
    test_penalties(&f);
    test_refusals(&f);
    API->engine_destroy(f.engine);
    API->close(f.model);
    return CHECK_EXIT();
}
