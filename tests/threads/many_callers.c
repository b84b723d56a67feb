/* many_callers.c - several threads call one engine at once, and open and close other engines. Runs
 * under ThreadSanitizer. Every token must have the bits that a single thread gets.
 *
 * usage: many_callers MODULE.so ATTENTION KV_TYPE ROUNDS
 *
 * A caller has a sequence of its own tokens, with which it makes all kinds of calls of rsr.h;
 * engines and the model are shared.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr.h"

#define N_CALLERS 4
#define N_PROMPT 80 /* more than a KV page */
#define N_TOKENS 90

static const char TEXT[] = "In the beginning, a b c; and the rest of it.";

struct caller {
    pthread_t thread;
    uint32_t tokens[N_TOKENS];
    float *expected; /* [N_TOKENS][vocab] */
    uint32_t n_wrong;
    char file[4096]; /* for a sequence */
};

static const char *path;
static rsr_model *model;
static rsr_engine *engine;
static rsr_prefix_cache *cache; /* in a pool that is sometimes too small for it */
static rsr_engine_options engine_options = RSR_ENGINE_OPTIONS_INIT;
static uint32_t vocab, rounds;
static struct caller callers[N_CALLERS];

static void must(rsr_status status, const char *what, const rsr_error *err) {
    if (status != RSR_OK) {
        fprintf(stderr, "many_callers: %s: %s\n", what, err != NULL ? err->message : "refused");
        exit(1);
    }
}
#define MUST(call, err) must(call, #call, err)

static void eval(rsr_engine *with, const rsr_batch_entry *entries, size_t n, float *logits) {
    rsr_error err = RSR_ERROR_INIT;
    const rsr_pick pick = {.entry = n - 1};
    uint32_t picked;
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = n;
    batch.logits = logits;
    batch.logits_capacity = n * vocab;
    if (logits == NULL) {
        batch.picks = &pick;
        batch.n_picks = 1;
        batch.picked = &picked;
    }
    MUST(rsr_eval(with, &batch, &err), &err);
}

/* Evaluates tokens [begin, end) of a caller at once. Wanted logits must be the expected ones. */
static void feed(struct caller *caller, rsr_sequence *sequence, uint32_t begin, uint32_t end,
                 bool want_logits) {
    rsr_batch_entry entries[N_TOKENS] = {0};
    float *logits = want_logits ? malloc((size_t)(end - begin) * vocab * sizeof(*logits)) : NULL;
    for (uint32_t i = begin; i < end; i++)
        entries[i - begin] = (rsr_batch_entry){sequence, i, caller->tokens[i], want_logits};
    eval(engine, entries, end - begin, logits);
    if (want_logits && memcmp(logits, caller->expected + (size_t)begin * vocab,
                              (size_t)(end - begin) * vocab * sizeof(*logits)) != 0)
        caller->n_wrong++;
    free(logits);
}

static void ask(rsr_sequence *sequence) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    rsr_attention_stats attention = RSR_ATTENTION_STATS_INIT;
    rsr_head_stats head = RSR_HEAD_STATS_INIT;
    rsr_profile_entry profile[64] = {RSR_PROFILE_ENTRY_INIT};
    float kv[2][4096];
    uint32_t tokens[64];
    size_t n;
    MUST(rsr_engine_get_info(engine, &info), NULL);
    MUST(rsr_engine_attention_stats(engine, true, &attention), NULL);
    MUST(rsr_engine_head_stats(engine, true, &head), NULL);
    MUST(rsr_engine_profile(engine, true, profile, 64, &n), NULL);
    MUST(rsr_sequence_read_kv(sequence, 3, 0, kv[0], kv[1], &err), &err);
    MUST(rsr_tokenize(model, TEXT, strlen(TEXT), RSR_TOKENIZE_ADD_SPECIAL, tokens, 64, &n, &err),
         &err);
}

static void generate(void) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_sequence *sequence;
    rsr_sampling sampling = RSR_SAMPLING_INIT;
    sampling.temperature = 0.8f;
    sampling.top_k = 5;
    rsr_generate_options options = RSR_GENERATE_OPTIONS_INIT;
    options.max_tokens = 4;
    options.ignore_stop = true;
    options.sampling = &sampling;
    MUST(rsr_sequence_create(engine, &sequence, &err), &err);
    MUST(rsr_generate(engine, sequence, TEXT, strlen(TEXT), &options, NULL, NULL, NULL, &err),
         &err);
    rsr_sequence_destroy(sequence);
}

/* Tokens that the cache or a file has are not evaluated again. */
static void resume(struct caller *caller) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_prefix_cache_info info = RSR_PREFIX_CACHE_INFO_INIT;
    rsr_sequence *sequence, *loaded;
    MUST(rsr_prefix_cache_take(cache, caller->tokens, N_TOKENS, &sequence, &err), &err);
    feed(caller, sequence, rsr_sequence_length(sequence), N_TOKENS, true);
    MUST(rsr_prefix_cache_put(cache, sequence, &err), &err);
    MUST(rsr_sequence_truncate(sequence, N_PROMPT, &err), &err);
    MUST(rsr_sequence_save(sequence, caller->file, &err), &err);
    rsr_sequence_destroy(sequence);
    MUST(rsr_sequence_load(engine, caller->file, &loaded, &err), &err);
    feed(caller, loaded, N_PROMPT, N_TOKENS, true);
    rsr_sequence_destroy(loaded);
    MUST(rsr_prefix_cache_get_info(cache, &info), NULL);
    if (caller == callers)
        MUST(rsr_prefix_cache_shrink(cache, info.bytes / 2, &err), &err);
}

/* Opens and closes a model and an engine while others run. */
static void open_another(void) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_model *another;
    rsr_engine *short_lived;
    MUST(rsr_open(path, NULL, &another, &err), &err);
    MUST(rsr_engine_create(another, &engine_options, &short_lived, &err), &err);
    rsr_engine_destroy(short_lived);
    rsr_close(another);
}

static void *call(void *of) {
    struct caller *caller = of;
    for (uint32_t round = 0; round < rounds; round++) {
        rsr_error err = RSR_ERROR_INIT;
        rsr_sequence *sequence, *fork;
        MUST(rsr_sequence_create(engine, &sequence, &err), &err);
        feed(caller, sequence, 0, N_PROMPT, true);
        feed(caller, sequence, N_PROMPT, N_PROMPT + 1, false);
        MUST(rsr_sequence_fork(sequence, &fork, &err), &err);
        MUST(rsr_sequence_truncate(sequence, 30, &err), &err);
        for (uint32_t i = N_PROMPT + 1; i < N_TOKENS; i++)
            feed(caller, fork, i, i + 1, true);
        rsr_sequence_destroy(fork);
        feed(caller, sequence, 30, N_TOKENS, true);
        ask(sequence);
        generate();
        resume(caller);
        if (caller == callers)
            open_another();
        rsr_sequence_destroy(sequence);
    }
    return NULL;
}

/* The results of one thread, token by token. */
static void expect(struct caller *caller, uint64_t state) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_engine_options options = engine_options;
    rsr_engine *alone;
    rsr_sequence *sequence;
    options.n_threads = 1;
    MUST(rsr_engine_create(model, &options, &alone, &err), &err);
    MUST(rsr_sequence_create(alone, &sequence, &err), &err);
    caller->expected = malloc((size_t)N_TOKENS * vocab * sizeof(*caller->expected));
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        caller->tokens[i] = (uint32_t)((state >> 33) % vocab);
        const rsr_batch_entry entry = {sequence, i, caller->tokens[i], true};
        eval(alone, &entry, 1, caller->expected + (size_t)i * vocab);
    }
    rsr_sequence_destroy(sequence);
    rsr_engine_destroy(alone);
}

int main(int argc, char **argv) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    if (argc != 5) {
        fprintf(stderr, "usage: many_callers MODULE.so ATTENTION KV_TYPE ROUNDS\n");
        return 1;
    }
    path = argv[1];
    rounds = (uint32_t)strtoul(argv[4], NULL, 10);
    engine_options.n_threads = 3;
    engine_options.all_threads =
        strcmp(argv[2], "dense") == 0; /* with others fewer are tried, too */
    engine_options.context = 256;
    engine_options.kv_tokens = 1408;
    engine_options.attention = argv[2];
    engine_options.kv_type = argv[3];
    MUST(rsr_open(path, NULL, &model, &err), &err);
    MUST(rsr_model_get_info(model, &info), NULL);
    vocab = info.vocab;
    for (uint32_t i = 0; i < N_CALLERS; i++)
        expect(&callers[i], i);
    MUST(rsr_engine_create(model, &engine_options, &engine, &err), &err);
    MUST(rsr_prefix_cache_create(engine, NULL, &cache, &err), &err);
    for (uint32_t i = 0; i < N_CALLERS; i++)
        snprintf(callers[i].file, sizeof(callers[i].file), "%s.kv%u", path, i);
    for (uint32_t i = 0; i < N_CALLERS; i++)
        if (pthread_create(&callers[i].thread, NULL, call, &callers[i]) != 0)
            must(RSR_ERR_MEMORY, "pthread_create", NULL);
    uint32_t n_wrong = 0;
    for (uint32_t i = 0; i < N_CALLERS; i++) {
        pthread_join(callers[i].thread, NULL);
        n_wrong += callers[i].n_wrong;
        free(callers[i].expected);
        remove(callers[i].file);
    }
    rsr_prefix_cache_destroy(cache);
    rsr_engine_destroy(engine);
    rsr_close(model);
    printf("%s, %s: %u callers, %u rounds, %u evaluations with wrong bits\n", argv[2], argv[3],
           N_CALLERS, rounds, n_wrong);
    return n_wrong == 0 ? 0 : 1;
}
