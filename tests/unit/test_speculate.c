/* test_speculate.c - compares rsr_generate with drafts and without, over random prompts, options
 * and engines: tokens, log-probabilities, lengths that callbacks see, forks, ends, errors, and the
 * sequence afterwards must be equal. This file replaces speculate/speculation.c; its drafts are
 * right or wrong at random. */
#include "check.h"
#include "fake_module.h"
#include "speculate/speculation.h"

#define API (&rsr_runtime_api)
#define VOCAB 37u
#define POISON (VOCAB - 1) /* a token that cannot be evaluated, and is never picked */
#define CONTEXT 200u
#define N_TOP 2u
#define N_TRIALS 700u

static uint64_t seed = 17;

static uint32_t random_below(uint32_t n) {
    return (uint32_t)(check_random(&seed) % n);
}

/* ---- Drafts ---- */

static struct {
    const uint32_t *text;     /* the text without drafts */
    uint32_t n_text, n;       /* its length, and how many of its tokens are generated */
    uint32_t most, most_text; /* most drafts of a step; most tokens, with the prompt */
    bool always;
    uint32_t n_drafts, n_given, n_steps, n_taken;
} oracle;

rsr_status rsr_speculation_begin(struct rsr_speculation *s, uint32_t most, const uint32_t *tokens,
                                 uint32_t n_tokens, uint32_t most_tokens, rsr_error *err) {
    (void)s;
    (void)err;
    CHECK(memcmp(tokens, oracle.text, n_tokens * sizeof(*tokens)) == 0);
    CHECK(most_tokens > n_tokens && most_tokens <= CONTEXT + 1);
    oracle.n = n_tokens;
    oracle.most = most;
    return RSR_OK;
}

void rsr_speculation_end(struct rsr_speculation *s) {
    (void)s;
}

void rsr_speculation_push(struct rsr_speculation *s, uint32_t token) {
    (void)s;
    CHECK(oracle.n < oracle.n_text && oracle.text[oracle.n] == token);
    oracle.n++;
}

uint32_t rsr_speculation_draft(const struct rsr_speculation *s, uint32_t most,
                               uint32_t drafts[RSR_MAX_DRAFTS]) {
    (void)s;
    CHECK(most >= 1 && most <= oracle.most && most < oracle.most_text - oracle.n);
    CHECK((oracle.n - 1) % 64 + most < 64); /* on the page of the last token */
    const uint32_t n = !oracle.always && random_below(4) == 0 ? 0 : 1 + random_below(most);
    for (uint32_t i = 0; i < n; i++) {
        const bool right = oracle.n + i < oracle.n_text && random_below(8) != 0;
        drafts[i] = right                   ? oracle.text[oracle.n + i]
                    : random_below(10) == 0 ? POISON
                                            : random_below(POISON);
    }
    oracle.n_drafts += n;
    return n;
}

void rsr_speculation_took(struct rsr_speculation *s, uint32_t n_drafts, uint32_t n_tokens,
                          uint64_t ns) {
    (void)s;
    CHECK(n_tokens <= 1 + n_drafts && ns > 0);
    oracle.n_steps++;
    oracle.n_given += n_tokens;
    oracle.n_taken += n_tokens > 1 ? n_tokens - 1 : 0;
}

/* ---- Callbacks ---- */

struct trial {
    rsr_engine *engine;
    rsr_generate_options options;
    rsr_sampling sampling;
    rsr_logit_bias biases[2];
    uint32_t allowed[(VOCAB + 31) / 32];
    uint32_t prompt[CONTEXT], n_evaluated,
        n_prompt; /* n_evaluated tokens are in the sequence at first */
    uint32_t stop_at, fork_at, cancel_at, ban_all_at, stop_asking_at;
    bool limits; /* `allowed` changes with every token */
};

struct record {
    uint32_t tokens[CONTEXT], lengths[CONTEXT], n, n_asked;
    uint64_t asked_hash;
    rsr_logprob logprobs[CONTEXT][1 + N_TOP];
    uint32_t fork_length, fork_token;
    rsr_status status;
    rsr_error err;
    rsr_generate_result result;
    uint32_t sequence[CONTEXT + 1], length;
    float keys[16], values[16], logits[VOCAB];
};

struct call {
    struct trial *trial;
    struct record *record;
    rsr_sequence *sequence;
    rsr_cancel cancel;
};

/* Allows some tokens, which depend on the last generated token. */
static void limit(struct trial *t, uint32_t n, uint32_t token) {
    uint64_t state = token * 1000 + n;
    const uint32_t keep = 2 + (uint32_t)(check_random(&state) % 6);
    for (uint32_t i = 0; i < VOCAB; i++) {
        const bool allowed =
            i != POISON && (i % 11 == token % 11 || check_random(&state) % 8 < keep);
        t->allowed[i / 32] = (t->allowed[i / 32] & ~(1u << i % 32)) | (uint32_t)allowed << i % 32;
    }
    if (n == t->ban_all_at)
        memset(t->allowed, 0, sizeof(t->allowed));
}

static uint32_t greedy_next(rsr_engine *engine, rsr_sequence *sequence, uint32_t token,
                            float *logits) {
    CHECK_INT(fake_feed(engine, sequence, &token, 1, VOCAB, logits), RSR_OK);
    uint32_t best = 0;
    for (uint32_t i = 1; i < VOCAB; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

static bool on_token(void *user, const rsr_generated *generated) {
    struct call *call = user;
    struct record *r = call->record;
    struct trial *t = call->trial;
    r->lengths[r->n] = API->sequence_length(call->sequence);
    if (generated->logprobs != NULL)
        memcpy(r->logprobs[r->n], generated->logprobs, sizeof(r->logprobs[0]));
    CHECK_INT(generated->n_logprobs, t->options.logprobs ? 1 + N_TOP : 0);
    r->tokens[r->n++] = generated->token;
    if (r->n == t->fork_at && r->lengths[r->n - 1] < CONTEXT) {
        rsr_sequence *fork = NULL;
        float logits[VOCAB];
        CHECK_INT(API->sequence_fork(call->sequence, &fork, NULL), RSR_OK);
        r->fork_length = API->sequence_length(fork);
        r->fork_token = greedy_next(t->engine, fork, generated->token, logits);
        API->sequence_destroy(fork);
    }
    if (t->limits)
        limit(t, r->n, generated->token);
    if (r->n == t->cancel_at)
        call->cancel.requested = 1;
    return r->n != t->stop_at;
}

static bool on_logits(void *user, const uint32_t *tokens, size_t n_tokens, float *logits,
                      size_t n_logits) {
    struct call *call = user;
    struct record *r = call->record;
    CHECK_INT(n_logits, VOCAB);
    CHECK_INT(n_tokens, API->sequence_length(call->sequence));
    for (size_t i = 0; i < n_tokens; i++)
        r->asked_hash = (r->asked_hash ^ tokens[i]) * UINT64_C(0x100000001b3);
    logits[tokens[n_tokens - 1] % (VOCAB - 2)] = -INFINITY;
    return ++r->n_asked != call->trial->stop_asking_at;
}

/* ---- One generation ---- */

static void generate(struct trial *t, uint32_t speculate, struct record *r) {
    struct call call = {t, r, NULL, RSR_CANCEL_INIT};
    memset(r, 0, sizeof(*r));
    r->err = (rsr_error)RSR_ERROR_INIT;
    r->result = (rsr_generate_result)RSR_GENERATE_RESULT_INIT;
    CHECK_INT(API->sequence_create(t->engine, &call.sequence, NULL), RSR_OK);
    if (t->n_evaluated > 0)
        CHECK_INT(fake_feed(t->engine, call.sequence, t->prompt, t->n_evaluated, VOCAB, NULL),
                  RSR_OK);
    rsr_generate_options options = t->options;
    options.speculate = speculate;
    options.sampling = &t->sampling;
    options.prompt_tokens = t->prompt + t->n_evaluated;
    options.n_prompt_tokens = t->n_prompt - t->n_evaluated;
    options.cancel = &call.cancel;
    options.logits_user = &call;
    if (t->limits)
        limit(t, 0, 0);
    r->status = API->generate(t->engine, call.sequence, NULL, 0, &options, on_token, &call,
                              &r->result, &r->err);
    r->length = API->sequence_length(call.sequence);
    if (r->length > 0) {
        memcpy(r->sequence, API->sequence_tokens(call.sequence), r->length * sizeof(uint32_t));
        CHECK_INT(API->sequence_read_kv(call.sequence, r->length - 1, 0, r->keys, r->values, NULL),
                  RSR_OK);
    }
    if (r->n > 0 && r->length < CONTEXT)
        greedy_next(t->engine, call.sequence, r->tokens[r->n - 1], r->logits);
    API->sequence_destroy(call.sequence);
}

static uint32_t seldom(uint32_t most) {
    return random_below(4) == 0 ? 1 + random_below(most) : 0;
}

static void choose_sampling(struct trial *t) {
    t->sampling = (rsr_sampling)RSR_SAMPLING_INIT;
    t->biases[0] = (rsr_logit_bias){POISON, -INFINITY};
    t->biases[1] = (rsr_logit_bias){random_below(POISON), 2.5f};
    t->sampling.logit_bias = t->biases;
    t->sampling.n_logit_bias = 1 + random_below(2);
    if (random_below(3) == 0)
        return;
    t->sampling.temperature = 0.8f;
    t->sampling.seed = check_random(&seed);
    t->sampling.top_k = seldom(20);
    t->sampling.top_p = random_below(2) == 0 ? 1.0f : 0.9f;
    t->sampling.min_p = random_below(3) == 0 ? 0.05f : 0.0f;
    t->sampling.repeat_penalty = random_below(2) == 0 ? 1.0f : 1.3f;
    t->sampling.presence_penalty = random_below(3) == 0 ? 1.0f : 0.0f;
    t->sampling.frequency_penalty = random_below(3) == 0 ? 0.5f : 0.0f;
}

static void choose(struct trial *t, rsr_engine *const *engines, uint32_t n_engines) {
    memset(t, 0, sizeof(*t));
    t->engine = engines[random_below(n_engines)];
    t->options = (rsr_generate_options)RSR_GENERATE_OPTIONS_INIT;
    choose_sampling(t);
    t->n_prompt = 1 + random_below(random_below(2) == 0 ? 8 : CONTEXT);
    for (uint32_t i = 0; i < t->n_prompt; i++)
        t->prompt[i] = random_below(POISON);
    t->n_evaluated = random_below(t->n_prompt);
    t->options.max_tokens = 1 + random_below(random_below(2) == 0 ? 12 : 2 * CONTEXT);
    t->options.ignore_stop = random_below(2) == 0;
    t->options.stop_tokens = t->prompt;
    t->options.n_stop_tokens = random_below(4) == 0;
    t->options.logprobs = random_below(3) == 0;
    t->options.n_top_logprobs = t->options.logprobs ? N_TOP : 0;
    t->options.logits = random_below(3) == 0 ? on_logits : NULL;
    t->stop_asking_at = seldom(40);
    t->stop_at = seldom(40);
    t->fork_at = seldom(40);
    t->cancel_at = seldom(40);
    t->limits = random_below(3) == 0;
    t->ban_all_at = seldom(40);
    if (t->limits) {
        t->sampling.allowed = t->allowed;
        t->sampling.allowed_words = (VOCAB + 31) / 32;
    }
}

/* ---- Comparison ---- */

static void check_equal(const struct record *plain, const struct record *drafted) {
    CHECK_INT(drafted->status, plain->status);
    CHECK_STR(drafted->err.message, plain->err.message);
    CHECK_INT(drafted->n, plain->n);
    CHECK_INT(drafted->n_asked, plain->n_asked);
    CHECK(drafted->asked_hash == plain->asked_hash);
    CHECK(memcmp(drafted->tokens, plain->tokens, sizeof(plain->tokens)) == 0);
    CHECK(memcmp(drafted->lengths, plain->lengths, sizeof(plain->lengths)) == 0);
    CHECK(memcmp(drafted->logprobs, plain->logprobs, sizeof(plain->logprobs)) == 0);
    CHECK_INT(drafted->fork_length, plain->fork_length);
    CHECK_INT(drafted->fork_token, plain->fork_token);
    CHECK_INT(drafted->result.tokens, plain->result.tokens);
    CHECK_INT(drafted->result.prompt_tokens, plain->result.prompt_tokens);
    CHECK_INT(drafted->result.stop_reason, plain->result.stop_reason);
    CHECK_INT(drafted->length, plain->length);
    CHECK(memcmp(drafted->sequence, plain->sequence, sizeof(plain->sequence)) == 0);
    CHECK(memcmp(drafted->keys, plain->keys, sizeof(plain->keys)) == 0);
    CHECK(memcmp(drafted->values, plain->values, sizeof(plain->values)) == 0);
    CHECK(memcmp(drafted->logits, plain->logits, sizeof(plain->logits)) == 0);
}

static uint32_t free_tokens(const rsr_engine *engine) {
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    CHECK_INT(API->engine_get_info(engine, &info), RSR_OK);
    return info.kv_tokens_free;
}

static void test_property(rsr_engine *const *engines, uint32_t n_engines) {
    static struct record plain, drafted;
    static struct trial trial;
    uint32_t text[2 * CONTEXT], reasons[RSR_STOP_CANCELLED + 1] = {0}, n_failed = 0;
    uint32_t n_drafts = 0, n_accepted = 0;
    for (uint32_t i = 0; i < N_TRIALS && check_failures == 0; i++) {
        choose(&trial, engines, n_engines);
        const uint32_t n_free = free_tokens(trial.engine);
        generate(&trial, 0, &plain);
        CHECK_INT(plain.result.drafted, 0);
        memcpy(text, trial.prompt, trial.n_prompt * sizeof(*text));
        memcpy(text + trial.n_prompt, plain.tokens, plain.n * sizeof(*text));
        oracle.text = text;
        oracle.n_text = trial.n_prompt + plain.n;
        oracle.most_text = trial.n_prompt + trial.options.max_tokens;
        oracle.always = i % 2 == 0;
        oracle.n_drafts = oracle.n_steps = oracle.n_given = oracle.n_taken = 0;
        generate(&trial, 1 + i % RSR_MAX_DRAFTS, &drafted);
        check_equal(&plain, &drafted);
        if (drafted.status == RSR_OK) {
            CHECK_INT(drafted.result.drafted, oracle.n_drafts);
            CHECK(drafted.result.accepted <= oracle.n_drafts);
            CHECK(drafted.result.accepted >= oracle.n_taken);
            reasons[drafted.result.stop_reason]++;
            n_drafts += drafted.result.drafted;
            n_accepted += drafted.result.accepted;
        } else {
            n_failed++;
        }
        CHECK_INT(free_tokens(trial.engine), n_free);
    }
    CHECK(n_failed > N_TRIALS / 50); /* every token ruled out */
    CHECK(n_drafts > N_TRIALS && n_accepted > N_TRIALS / 2 && n_accepted < n_drafts);
    for (uint32_t i = 0; i <= RSR_STOP_CANCELLED; i++)
        CHECK((reasons[i] > 0) == (i != RSR_STOP_STRING)); /* of text: tests/run */
}

static void ignore_probe(void *user, const rsr_probe_point *point) {
    (void)user;
    (void)point;
}

static void test_refusals(rsr_model *model, rsr_engine *engine) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *probed = NULL;
    options.probe = ignore_probe;
    CHECK_INT(API->engine_create(model, &options, &probed, NULL), RSR_OK);
    static struct trial t;
    static struct record r;
    choose(&t, &engine, 1);
    generate(&t, RSR_MAX_DRAFTS + 1, &r);
    CHECK_INT(r.status, RSR_ERR_ARGUMENT);
    CHECK_STR(r.err.message, "rsr_generate: speculate 17 is more than 16");
    t.engine = probed;
    generate(&t, 1, &r);
    CHECK_INT(r.status, RSR_ERR_ARGUMENT);
    CHECK(strstr(r.err.message, "the engine's probe would see drafts") != NULL);
    API->engine_destroy(probed);
}

int main(void) {
    static struct fake_module fake;
    static const struct {
        const char *kv_type, *attention;
        uint32_t n_threads, max_batch;
    } kinds[] = {{"f32", NULL, 1, 32},
                 {"bf16", NULL, 2, 32},
                 {"f16", NULL, 1, 5},
                 {"int8", NULL, 2, 32},
                 {"bf16", NULL, 2, 1},
                 {"bf16", "louver:topk:20,min=1", 1, 32},
                 {"int8", "louver,min=1", 2, 32}};
    const uint32_t n_kinds = sizeof(kinds) / sizeof(kinds[0]);
    const struct fake_shape shape = fake_text_shape(VOCAB, CONTEXT);
    fake_module_init(&fake, &shape, 5);
    uint64_t state = 6;
    const struct rsr_matrix_data poisoned = fake_dense(&state, RSR_DTYPE_BF16, VOCAB, shape.hidden);
    memset((uint16_t *)(uintptr_t)poisoned.data + (size_t)POISON * shape.hidden, 0x7f,
           shape.hidden * sizeof(uint16_t)); /* NaN or 3e38: no norm takes it */
    fake.tensors.embedding = poisoned;
    fake.module.hyper.tied_head = 0;
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    rsr_engine *engines[sizeof(kinds) / sizeof(kinds[0])] = {NULL};
    for (uint32_t i = 0; i < n_kinds; i++) {
        rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
        options.n_threads = kinds[i].n_threads;
        options.all_threads = true;
        options.max_batch = kinds[i].max_batch;
        options.kv_type = kinds[i].kv_type;
        options.attention = kinds[i].attention;
        options.kv_tokens = 2 * CONTEXT + 64;
        CHECK_INT(API->engine_create(model, &options, &engines[i], NULL), RSR_OK);
    }
    test_property(engines, n_kinds);
    test_refusals(model, engines[0]);
    for (uint32_t i = 0; i < n_kinds; i++)
        API->engine_destroy(engines[i]);
    API->close(model);
    return CHECK_EXIT();
}
