/* float_order.c - evaluates the same tokens of one module in many ways: the logits must have the
 * same bits. Prints a hash of them, so that a test can compare modules of different targets and
 * variants.
 *
 * usage: float_order [--once] [--target NAME] MODULE.so
 *
 * With --once the tokens are evaluated in one way only, which is enough to compare modules and
 * takes a tenth of the time.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr.h"

#define N_TOKENS 150 /* more than two KV pages, and not a multiple of anything */

static uint32_t tokens[N_TOKENS];
static uint32_t vocab;
static rsr_error err = RSR_ERROR_INIT;

static void must(rsr_status status, const char *what) {
    if (status != RSR_OK) {
        fprintf(stderr, "float_order: %s: %s\n", what, err.message);
        exit(1);
    }
}

static void make_tokens(void) {
    uint64_t state = 12345;
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        tokens[i] = (uint32_t)((state >> 33) % vocab);
    }
}

static void eval(rsr_engine *engine, const rsr_batch_entry *entries, size_t n, float *logits) {
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = n;
    batch.logits = logits;
    batch.logits_capacity = n * vocab;
    must(rsr_eval(engine, &batch, &err), "rsr_eval");
}

static rsr_engine *open_engine(rsr_model *model, uint32_t n_threads, uint32_t max_batch) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = n_threads;
    options.all_threads = true;
    options.context = 256;
    options.kv_tokens = 2048;
    options.max_batch = max_batch;
    rsr_engine *engine = NULL;
    must(rsr_engine_create(model, &options, &engine, &err), "rsr_engine_create");
    return engine;
}

static rsr_sequence *open_sequence(rsr_engine *engine) {
    rsr_sequence *sequence = NULL;
    must(rsr_sequence_create(engine, &sequence, &err), "rsr_sequence_create");
    return sequence;
}

/* Feeds tokens [begin, end) to a sequence in pieces of `piece` tokens. */
static void feed(rsr_engine *engine, rsr_sequence *sequence, uint32_t begin, uint32_t end,
                 uint32_t piece, float *logits) {
    rsr_batch_entry entries[N_TOKENS];
    for (uint32_t at = begin; at < end;) {
        const uint32_t n = end - at < piece ? end - at : piece;
        for (uint32_t i = 0; i < n; i++)
            entries[i] = (rsr_batch_entry){sequence, at + i, tokens[at + i], true};
        eval(engine, entries, n, logits + (size_t)at * vocab);
        at += n;
    }
}

/* `count` sequences advance together, one token each in every call: decoding with a batch of
 * `count`. All of them must give the reference. */
static void feed_together(rsr_engine *engine, uint32_t count, uint32_t n_tokens, float *logits,
                          const float *reference, uint32_t *n_different) {
    rsr_sequence *sequences[128];
    rsr_batch_entry entries[128];
    for (uint32_t s = 0; s < count; s++)
        sequences[s] = open_sequence(engine);
    for (uint32_t t = 0; t < n_tokens; t++) {
        for (uint32_t s = 0; s < count; s++)
            entries[s] = (rsr_batch_entry){sequences[s], t, tokens[t], true};
        eval(engine, entries, count, logits);
        for (uint32_t s = 0; s < count; s++)
            *n_different += memcmp(logits + (size_t)s * vocab, reference + (size_t)t * vocab,
                                   vocab * sizeof(float)) != 0;
    }
    for (uint32_t s = 0; s < count; s++)
        rsr_sequence_destroy(sequences[s]);
}

static uint32_t compare(const char *what, const float *logits, const float *reference) {
    if (memcmp(logits, reference, (size_t)N_TOKENS * vocab * sizeof(float)) == 0)
        return 0;
    fprintf(stderr, "float_order: %s gives other bits\n", what);
    return 1;
}

/* A mixed batch: a prompt of one sequence, a decode step of another, a fork of a third. */
static uint32_t check_mixed(rsr_engine *engine, float *logits, const float *reference) {
    rsr_sequence *a = open_sequence(engine), *b = open_sequence(engine), *fork = NULL;
    rsr_batch_entry entries[N_TOKENS];
    uint32_t n_different = 0;
    feed(engine, b, 0, 100, 33, logits);
    must(rsr_sequence_fork(b, &fork, &err), "rsr_sequence_fork");
    must(rsr_sequence_truncate(fork, 70, &err), "rsr_sequence_truncate");
    uint32_t n = 0;
    for (uint32_t i = 0; i < 40; i++)
        entries[n++] = (rsr_batch_entry){a, i, tokens[i], true};
    entries[n++] = (rsr_batch_entry){b, 100, tokens[100], true};
    for (uint32_t i = 70; i < 75; i++)
        entries[n++] = (rsr_batch_entry){fork, i, tokens[i], true};
    eval(engine, entries, n, logits);
    for (uint32_t i = 0; i < n; i++)
        n_different +=
            memcmp(logits + (size_t)i * vocab, reference + (size_t)entries[i].position * vocab,
                   vocab * sizeof(float)) != 0;
    rsr_sequence_destroy(fork);
    rsr_sequence_destroy(a);
    rsr_sequence_destroy(b);
    if (n_different != 0)
        fprintf(stderr, "float_order: %u of %u rows of a mixed batch differ\n", n_different, n);
    return n_different;
}

static uint32_t check_engine(rsr_model *model, uint32_t n_threads, uint32_t max_batch,
                             float *logits, const float *reference) {
    static const uint32_t PIECES[] = {N_TOKENS, N_TOKENS / 2, 128, 8, 3, 1};
    uint32_t n_bad = 0;
    rsr_engine *engine = open_engine(model, n_threads, max_batch);
    for (uint32_t i = 0; i < sizeof(PIECES) / sizeof(PIECES[0]); i++) {
        char what[96];
        snprintf(what, sizeof(what), "%u threads, max_batch %u, pieces of %u", n_threads, max_batch,
                 PIECES[i]);
        rsr_sequence *sequence = open_sequence(engine);
        memset(logits, 0xff, (size_t)N_TOKENS * vocab * sizeof(float));
        feed(engine, sequence, 0, N_TOKENS, PIECES[i], logits);
        n_bad += compare(what, logits, reference);
        /* Cuts the sequence back into a page, and continues. */
        must(rsr_sequence_truncate(sequence, 70, &err), "rsr_sequence_truncate");
        feed(engine, sequence, 70, N_TOKENS, 11, logits);
        n_bad += compare("truncating and going on", logits, reference);
        rsr_sequence_destroy(sequence);
    }
    n_bad += check_mixed(engine, logits, reference);
    uint32_t n_different = 0;
    feed_together(engine, 3, 20, logits, reference, &n_different);
    feed_together(engine, 8, 12, logits, reference, &n_different);
    if (max_batch >= 128)
        feed_together(engine, 16, 8, logits, reference, &n_different);
    if (n_different != 0)
        fprintf(stderr, "float_order: %u rows of sequences decoded together differ\n", n_different);
    rsr_engine_destroy(engine);
    return n_bad + n_different;
}

int main(int argc, char **argv) {
    rsr_open_options open = RSR_OPEN_OPTIONS_INIT;
    bool once = false;
    int at = 1;
    for (; at + 1 < argc; at++) {
        if (strcmp(argv[at], "--once") == 0)
            once = true;
        else if (strcmp(argv[at], "--target") == 0 && at + 2 < argc)
            open.target = argv[++at];
        else
            break;
    }
    if (at + 1 != argc) {
        fprintf(stderr, "usage: float_order [--once] [--target NAME] MODULE.so\n");
        return 1;
    }
    rsr_model *model = NULL;
    must(rsr_open(argv[at], &open, &model, &err), "rsr_open");
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    must(rsr_model_get_info(model, &info), "rsr_model_get_info");
    vocab = info.vocab;
    make_tokens();
    float *reference = calloc((size_t)N_TOKENS * vocab, sizeof(float));
    float *logits = calloc((size_t)N_TOKENS * vocab, sizeof(float));
    rsr_engine *engine = open_engine(model, 1, 128);
    rsr_sequence *sequence = open_sequence(engine);
    feed(engine, sequence, 0, N_TOKENS, N_TOKENS, reference);
    rsr_sequence_destroy(sequence);
    rsr_engine_destroy(engine);

    static const struct {
        uint32_t n_threads, max_batch;
    } ENGINES[] = {{1, 128}, {2, 128}, {7, 128}, {2, 1}, {7, 7}};
    uint32_t n_bad = 0;
    for (uint32_t i = 0; i < sizeof(ENGINES) / sizeof(ENGINES[0]) && !once; i++)
        n_bad += check_engine(model, ENGINES[i].n_threads, ENGINES[i].max_batch, logits, reference);

    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    const unsigned char *bytes = (const unsigned char *)reference;
    for (size_t i = 0; i < (size_t)N_TOKENS * vocab * sizeof(float); i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    printf("logits %016" PRIx64 "\n", hash);
    rsr_close(model);
    free(reference);
    free(logits);
    return n_bad != 0;
}
