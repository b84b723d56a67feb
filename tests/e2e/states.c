/* states.c - the recurrent state of sequences: whatever happens to a sequence (truncation, a fork,
 * a batch that is stopped, drafts that are refused, a file, a prefix cache), its logits have the
 * bits of one that was evaluated straight on. Uses that need a state at other places are refused.
 *
 * usage: states MODULE.so FILE
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr.h"

#define N_TOKENS 100u
#define MAX_BATCH 16u

static uint32_t tokens[N_TOKENS];
static uint32_t vocab, n_bad;
static rsr_error err = RSR_ERROR_INIT;
static rsr_engine *engine;
static float *reference, *logits;

static void must(rsr_status status, const char *what) {
    if (status == RSR_OK)
        return;
    fprintf(stderr, "states: %s: %s\n", what, err.message);
    exit(1);
}

static void expect(bool holds, const char *what) {
    if (holds)
        return;
    fprintf(stderr, "states: %s\n", what);
    n_bad++;
}

/* Status and sentence of a call that must fail. */
static void refused(rsr_status status, rsr_status expected, const char *words, const char *what) {
    if (status == expected && strstr(err.message, words) != NULL)
        return;
    fprintf(stderr, "states: %s: status %d, \"%s\"\n", what, (int)status, err.message);
    n_bad++;
}

static rsr_sequence *open_sequence(void) {
    rsr_sequence *sequence = NULL;
    must(rsr_sequence_create(engine, &sequence, &err), "rsr_sequence_create");
    return sequence;
}

static uint32_t states_free(void) {
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    must(rsr_engine_get_info(engine, &info), "rsr_engine_get_info");
    return info.n_states_free;
}

/* The progress of a batch that is stopped after its first chunk. */
static bool stop(void *user, size_t done, size_t total) {
    (void)user, (void)done, (void)total;
    return false;
}

static rsr_status eval(rsr_sequence *sequence, uint32_t begin, uint32_t end, bool stops) {
    rsr_batch_entry entries[N_TOKENS];
    rsr_batch batch = RSR_BATCH_INIT;
    for (uint32_t i = begin; i < end; i++)
        entries[i - begin] = (rsr_batch_entry){sequence, i, tokens[i], true};
    batch.entries = entries;
    batch.n_entries = end - begin;
    batch.logits = logits;
    batch.logits_capacity = (size_t)(end - begin) * vocab;
    batch.progress = stops ? stop : NULL;
    return rsr_eval(engine, &batch, &err);
}

/* Extends the sequence, and compares. */
static void go_on(rsr_sequence *sequence, uint32_t end, const char *what) {
    const uint32_t begin = rsr_sequence_length(sequence);
    must(eval(sequence, begin, end, false), what);
    expect(memcmp(logits, reference + (size_t)begin * vocab,
                  (size_t)(end - begin) * vocab * sizeof(float)) == 0,
           what);
}

static void check_truncations(void) {
    static const uint32_t lengths[] = {99, 64, 63, 50, 49, 17, 3, 1, 0};
    rsr_sequence *sequence = open_sequence();
    go_on(sequence, 50, "a prompt");
    go_on(sequence, N_TOKENS, "its end");
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        must(rsr_sequence_truncate(sequence, lengths[i], &err), "rsr_sequence_truncate");
        go_on(sequence, lengths[i] + 1, "one token after a truncation");
        go_on(sequence, N_TOKENS, "the rest after a truncation");
    }
    must(rsr_sequence_truncate(sequence, 30, &err), "rsr_sequence_truncate");
    must(rsr_sequence_truncate(sequence, 20, &err), "rsr_sequence_truncate");
    go_on(sequence, 25, "two truncations");
    rsr_sequence_destroy(sequence);
}

static void check_stops(void) {
    rsr_sequence *sequence = open_sequence();
    refused(eval(sequence, 0, 40, true), RSR_ERR_STOPPED, "ended the batch", "a first batch");
    go_on(sequence, 40, "a batch after one that was stopped");
    refused(eval(sequence, 40, N_TOKENS, true), RSR_ERR_STOPPED, "ended the batch", "a batch");
    go_on(sequence, 41, "a token after a batch that was stopped");
    must(rsr_sequence_truncate(sequence, 35, &err), "rsr_sequence_truncate");
    refused(eval(sequence, 35, N_TOKENS, true), RSR_ERR_STOPPED, "ended the batch", "a replay");
    go_on(sequence, N_TOKENS, "a batch after a replay that was stopped");
    rsr_sequence_destroy(sequence);
}

static void check_forks(void) {
    rsr_sequence *sequence = open_sequence(), *fork = NULL, *again = NULL;
    go_on(sequence, 30, "a prompt");
    must(rsr_sequence_fork(sequence, &fork, &err), "rsr_sequence_fork");
    go_on(fork, N_TOKENS, "a fork");
    go_on(sequence, 66, "what was forked");
    must(rsr_sequence_fork(sequence, &again, &err), "rsr_sequence_fork");
    rsr_sequence_destroy(sequence);
    must(rsr_sequence_truncate(again, 65, &err), "rsr_sequence_truncate");
    must(rsr_sequence_truncate(fork, 29, &err), "rsr_sequence_truncate");
    go_on(again, N_TOKENS, "a fork whose origin is gone");
    go_on(fork, N_TOKENS, "a fork that was truncated");
    rsr_sequence_destroy(fork);
    rsr_sequence_destroy(again);
}

/* Two sequences whose tokens take turns in one batch. */
static void check_turns(void) {
    rsr_sequence *a = open_sequence(), *b = open_sequence();
    rsr_batch_entry entries[40];
    rsr_batch batch = RSR_BATCH_INIT;
    for (uint32_t i = 0; i < 40; i++)
        entries[i] = (rsr_batch_entry){i % 2 == 0 ? a : b, i / 2, tokens[i / 2], true};
    batch.entries = entries;
    batch.n_entries = 40;
    batch.logits = logits;
    batch.logits_capacity = (size_t)40 * vocab;
    must(rsr_eval(engine, &batch, &err), "rsr_eval");
    for (uint32_t i = 0; i < 40; i++)
        expect(memcmp(logits + (size_t)i * vocab, reference + (size_t)(i / 2) * vocab,
                      vocab * sizeof(float)) == 0,
               "sequences that take turns in a batch");
    go_on(a, N_TOKENS, "one of them");
    rsr_sequence_destroy(a);
    rsr_sequence_destroy(b);
}

static void load_and_go_on(const char *path, uint32_t length, const char *what) {
    rsr_sequence *loaded = NULL;
    must(rsr_sequence_load(engine, path, &loaded, &err), "rsr_sequence_load");
    expect(rsr_sequence_length(loaded) == length, what);
    go_on(loaded, length + 1, what);
    go_on(loaded, N_TOKENS, what);
    must(rsr_sequence_truncate(loaded, 20, &err), "rsr_sequence_truncate");
    go_on(loaded, N_TOKENS, what);
    rsr_sequence_destroy(loaded);
}

/* The last byte of the state's numbers, before its hash, becomes another one. */
static void damage(const char *path) {
    FILE *file = fopen(path, "r+b");
    int byte = EOF;
    if (file != NULL && fseek(file, -17, SEEK_END) == 0 && (byte = fgetc(file)) != EOF &&
        fseek(file, -17, SEEK_END) == 0)
        (void)fputc(byte ^ 1, file);
    expect(byte != EOF && fclose(file) == 0, "a file to damage");
}

/* Files hold the state of all tokens; after a truncation an earlier one, or none. */
static void check_files(const char *path) {
    rsr_sequence *sequence = open_sequence(), *loaded = NULL;
    const uint32_t n_free = states_free();
    must(rsr_sequence_save(sequence, path, &err), "rsr_sequence_save");
    load_and_go_on(path, 0, "a file of nothing");
    go_on(sequence, 70, "a prompt");
    must(rsr_sequence_save(sequence, path, &err), "rsr_sequence_save");
    load_and_go_on(path, 70, "a file");
    damage(path);
    refused(rsr_sequence_load(engine, path, &loaded, &err), RSR_ERR_FILE,
            "its recurrent state is damaged", "a damaged state");
    go_on(sequence, 80, "after it was saved");
    must(rsr_sequence_truncate(sequence, 75, &err), "rsr_sequence_truncate");
    must(rsr_sequence_save(sequence, path, &err), "rsr_sequence_save");
    load_and_go_on(path, 75, "a file with an earlier state");
    must(rsr_sequence_truncate(sequence, 60, &err), "rsr_sequence_truncate");
    must(rsr_sequence_save(sequence, path, &err), "rsr_sequence_save");
    load_and_go_on(path, 60, "a file without a state");
    rsr_sequence_destroy(sequence);
    expect(states_free() == n_free, "states are free after files");
}

static void check_refusals(void) {
    rsr_sequence *sequence = open_sequence();
    float row[2][4096];
    go_on(sequence, 10, "a prompt");
    refused(rsr_sequence_read_kv(sequence, 3, 0, row[0], row[1], &err), RSR_ERR_ARGUMENT,
            "layer 0 has no keys", "keys of a recurrent layer");
    must(rsr_sequence_read_kv(sequence, 3, 1, row[0], row[1], &err), "rsr_sequence_read_kv");
    rsr_sequence_destroy(sequence);
}

static rsr_prefix_cache *open_cache(uint64_t budget_bytes) {
    rsr_prefix_cache *cache = NULL;
    rsr_prefix_cache_options options = RSR_PREFIX_CACHE_OPTIONS_INIT;
    options.budget_bytes = budget_bytes;
    must(rsr_prefix_cache_create(engine, &options, &cache, &err), "rsr_prefix_cache_create");
    return cache;
}

/* Evaluates tokens as a prompt is, and puts the sequence after every batch. */
static void put_prompt(rsr_prefix_cache *cache) {
    static const uint32_t ends[] = {20, 50, 75};
    rsr_sequence *sequence = open_sequence();
    for (uint32_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
        go_on(sequence, ends[i], "a prompt that is cached");
        must(rsr_prefix_cache_put(cache, sequence, &err), "rsr_prefix_cache_put");
    }
    rsr_sequence_destroy(sequence);
}

/* A sequence for the first n tokens, of which `expected` are cached. */
static rsr_sequence *take(rsr_prefix_cache *cache, uint32_t n, uint32_t expected) {
    rsr_sequence *sequence = NULL;
    must(rsr_prefix_cache_take(cache, tokens, n, &sequence, &err), "rsr_prefix_cache_take");
    expect(rsr_sequence_length(sequence) == expected, "the longest prefix that has a state");
    return sequence;
}

static uint64_t kept_bytes(rsr_prefix_cache *cache) {
    rsr_prefix_cache_info info = RSR_PREFIX_CACHE_INFO_INIT;
    must(rsr_prefix_cache_get_info(cache, &info), "rsr_prefix_cache_get_info");
    return info.bytes;
}

/* A page has one state at most, the last one that was put. */
static void check_caches(void) {
    static const struct {
        uint32_t n, cached;
    } prompts[] = {{100, 75}, {76, 75}, {75, 50}, {60, 50}, {51, 50}, {50, 0}, {1, 0}, {0, 0}};
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    must(rsr_engine_get_info(engine, &info), "rsr_engine_get_info");
    const uint64_t page_bytes = info.kv_token_bytes * info.kv_page_tokens;
    rsr_prefix_cache *cache = open_cache(0);
    put_prompt(cache);
    put_prompt(cache);
    expect(kept_bytes(cache) == 2 * page_bytes + 2 * info.state_bytes, "the size of a cache");
    for (uint32_t i = 0; i < sizeof(prompts) / sizeof(*prompts); i++) {
        rsr_sequence *sequence = take(cache, prompts[i].n, prompts[i].cached);
        go_on(sequence, N_TOKENS, "a sequence from a cache");
        rsr_sequence_destroy(sequence);
    }
    tokens[70] = (tokens[70] + 1) % vocab; /* a text that shares the first 70 tokens */
    rsr_sequence *other = take(cache, N_TOKENS, 50);
    tokens[70] = (tokens[70] + vocab - 1) % vocab;
    go_on(other, N_TOKENS, "another end after a cached beginning");
    rsr_sequence_destroy(other);

    must(rsr_prefix_cache_shrink(cache, page_bytes + info.state_bytes, &err), "shrink");
    rsr_sequence_destroy(take(cache, N_TOKENS, 50));
    rsr_prefix_cache *small = open_cache(page_bytes); /* no room for a state */
    put_prompt(small);
    expect(kept_bytes(small) == page_bytes, "a budget without a state");
    rsr_sequence_destroy(take(small, N_TOKENS, 0));
    rsr_prefix_cache_destroy(small);
    rsr_prefix_cache_destroy(cache);
}

/* Sequences until all states are taken, also those that a cache keeps; then one that waits for a
 * state to be free. */
static void check_full(uint32_t n_states, const char *path) {
    rsr_sequence **sequences = calloc(n_states, sizeof(*sequences)), *loaded = NULL;
    rsr_prefix_cache *cache = open_cache(0);
    rsr_sequence *saved = open_sequence();
    go_on(saved, 10, "a sequence for a file");
    must(rsr_sequence_save(saved, path, &err), "rsr_sequence_save");
    rsr_sequence_destroy(saved);
    put_prompt(cache);
    expect(states_free() < n_states, "a cache keeps states");
    for (uint32_t i = 0; sequences != NULL && i < n_states; i++) {
        sequences[i] = open_sequence();
        go_on(sequences[i], 1, "one of many sequences");
    }
    rsr_sequence *last = open_sequence();
    expect(states_free() == 0, "every sequence has a state");
    refused(eval(last, 0, 1, false), RSR_ERR_FULL, "recurrent states are taken", "one too many");
    refused(rsr_sequence_load(engine, path, &loaded, &err), RSR_ERR_FULL,
            "recurrent states are taken", "a file without a free state");
    rsr_sequence_destroy(sequences[0]);
    must(rsr_sequence_load(engine, path, &loaded, &err), "rsr_sequence_load");
    rsr_sequence_destroy(loaded);
    go_on(last, 1, "a sequence after one has ended");
    for (uint32_t i = 1; i < n_states; i++)
        rsr_sequence_destroy(sequences[i]);
    rsr_sequence_destroy(last);
    rsr_sequence_destroy(take(cache, N_TOKENS, 0));
    rsr_prefix_cache_destroy(cache);
    free(sequences);
}

/* The largest difference of logits between floats and bfloat16, of the largest logit. Rounded
 * states must be noticed, and must be near. */
static void check_rounding(const float *exact) {
    float largest = 0, difference = 0;
    for (size_t i = 0; i < (size_t)N_TOKENS * vocab; i++) {
        largest = fmaxf(largest, fabsf(exact[i]));
        difference = fmaxf(difference, fabsf(reference[i] - exact[i]));
    }
    printf("bf16: logits within %.2g of the largest\n", (double)(difference / largest));
    expect(difference > 0 && difference < 0.05f * largest, "the effect of bfloat16");
}

static void check_type(rsr_model *model, const char *type, const char *path) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = 2;
    options.context = 128;
    options.kv_tokens = 1100 * 64;
    options.max_batch = MAX_BATCH;
    options.state_type = type;
    must(rsr_engine_create(model, &options, &engine, &err), "rsr_engine_create");
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    must(rsr_engine_get_info(engine, &info), "rsr_engine_get_info");
    expect(strcmp(info.state_type, type) == 0, "the type of states");
    printf("%s: %llu bytes\n", type, (unsigned long long)info.state_bytes);
    const uint32_t n_states = states_free();
    rsr_sequence *sequence = open_sequence();
    must(eval(sequence, 0, N_TOKENS, false), "rsr_eval");
    memcpy(reference, logits, (size_t)N_TOKENS * vocab * sizeof(float));
    rsr_sequence_destroy(sequence);
    check_truncations();
    check_stops();
    check_forks();
    check_turns();
    check_files(path);
    check_caches();
    check_refusals();
    expect(n_states > 0 && states_free() == n_states, "all states are free in the end");
    check_full(n_states, path);
    expect(states_free() == n_states, "all states are free after many sequences");
}

/* Files of one type are not taken for another one's, and there are two types. */
static void check_types(rsr_model *model, const char *path) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_sequence *loaded = NULL;
    rsr_engine *other = NULL;
    must(rsr_engine_create(model, &options, &other, &err), "rsr_engine_create");
    refused(rsr_sequence_load(other, path, &loaded, &err), RSR_ERR_FILE,
            "another state_type ('bf16', here 'f32')", "a file of another type");
    rsr_engine_destroy(other);
    options.state_type = "f16";
    refused(rsr_engine_create(model, &options, &other, &err), RSR_ERR_ARGUMENT,
            "state type 'f16' is unknown; there are f32 and bf16", "a type that there is not");
}

int main(int argc, char **argv) {
    rsr_model *model = NULL;
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    if (argc != 3) {
        fprintf(stderr, "usage: states MODULE.so FILE\n");
        return 1;
    }
    must(rsr_open(argv[1], NULL, &model, &err), "rsr_open");
    must(rsr_model_get_info(model, &info), "rsr_model_get_info");
    vocab = info.vocab;
    for (uint32_t i = 0; i < N_TOKENS; i++)
        tokens[i] = (i * 37 + i / 7) % vocab;
    const size_t n_logits = (size_t)N_TOKENS * vocab;
    reference = calloc(n_logits, sizeof(*reference));
    logits = calloc(n_logits, sizeof(*logits));
    float *exact = calloc(n_logits, sizeof(*exact));
    check_type(model, "f32", argv[2]);
    memcpy(exact, reference, n_logits * sizeof(*exact));
    rsr_engine_destroy(engine);
    check_type(model, "bf16", argv[2]);
    check_rounding(exact);
    check_types(model, argv[2]);
    rsr_engine_destroy(engine);
    rsr_close(model);
    free(reference);
    free(logits);
    free(exact);
    if (n_bad == 0)
        puts("the same bits");
    return n_bad != 0;
}
