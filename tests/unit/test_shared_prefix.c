/* Sequences that share pages attend to them together, with the bits of sequences that share
 * nothing: forks of forks, texts from a prefix cache, truncated ones, tokens and runs of any
 * number, in every type of keys and values, at every level, with one worker and several. And a
 * shared page is read once. */
#include <stdlib.h>

#include "attention/attention_shared.h"
#include "check.h"
#include "fake_module.h"

#define API (&rsr_runtime_api)
#define VOCAB 40u
#define CONTEXT 704u
#define MOST_SEQUENCES 20u
#define MOST_BATCH 128u

/* Four query heads, or one, to a KV head: as lanes, and without. */
static const uint32_t kv_heads[] = {2, 8};

static uint32_t random_below(uint64_t *state, uint32_t n) {
    return (uint32_t)(check_random(state) >> 33) % n;
}

static struct fake_shape shape_of(uint32_t n_kv_heads) {
    return (struct fake_shape){.hidden = 24,
                               .n_layers = 2,
                               .n_heads = 8,
                               .n_kv_heads = n_kv_heads,
                               .head_dim = 20,
                               .ffn = 16,
                               .vocab = VOCAB,
                               .context = CONTEXT,
                               .activation = RSR_ACTIVATION_SILU,
                               .head_dtype = RSR_DTYPE_BF16};
}

static void set_window(struct fake_module *fake, uint32_t window) {
    for (uint32_t i = 0; i < fake->steps[0].n_ops; i++)
        if (fake->ops[i].kind == RSR_OP_ATTENTION)
            fake->ops[i].arg = window;
}

static rsr_engine *engine_of(rsr_model *model, const char *kv_type, uint32_t n_threads) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *engine = NULL;
    options.n_threads = n_threads;
    options.all_threads = true;
    options.max_batch = MOST_BATCH;
    options.kv_type = kv_type;
    options.kv_tokens = (CONTEXT + RSR_PAGE_TOKENS) * MOST_SEQUENCES;
    CHECK_INT(API->engine_create(model, &options, &engine, NULL), RSR_OK);
    return engine;
}

/* ---- Sequences and their twins ---- */

/* Sequences of one engine, which share pages; each has a twin in another engine, with the same
 * tokens, which shares nothing and is evaluated by itself. */
struct family {
    rsr_engine *engine, *apart;
    uint64_t state;
    uint32_t n;
    rsr_sequence *sequences[MOST_SEQUENCES], *twins[MOST_SEQUENCES];
    uint32_t n_shared, n_trees; /* pages that runs shared, and runs that shared others than the one
                                   before them */
};

static void feed_twin(struct family *f, uint32_t i, const uint32_t *tokens, uint32_t n,
                      float *logits) {
    for (uint32_t t = 0, k; t < n; t += k) {
        k = n - t < MOST_BATCH ? n - t : MOST_BATCH;
        CHECK_INT(fake_feed(f->apart, f->twins[i], tokens + t, k, VOCAB,
                            logits == NULL ? NULL : logits + (size_t)t * VOCAB),
                  RSR_OK);
    }
}

static void add_twin(struct family *f) {
    const rsr_sequence *sequence = f->sequences[f->n];
    CHECK_INT(API->sequence_create(f->apart, &f->twins[f->n], NULL), RSR_OK);
    feed_twin(f, f->n, API->sequence_tokens(sequence), API->sequence_length(sequence), NULL);
    f->n++;
}

static void end_one(struct family *f, uint32_t i) {
    API->sequence_destroy(f->sequences[i]);
    API->sequence_destroy(f->twins[i]);
    f->n--;
    f->sequences[i] = f->sequences[f->n];
    f->twins[i] = f->twins[f->n];
}

static void truncate_one(struct family *f, uint32_t i, uint32_t length) {
    CHECK_INT(API->sequence_truncate(f->sequences[i], length, NULL), RSR_OK);
    CHECK_INT(API->sequence_truncate(f->twins[i], length, NULL), RSR_OK);
}

static void fork_one(struct family *f) {
    const uint32_t from = random_below(&f->state, f->n);
    CHECK_INT(API->sequence_fork(f->sequences[from], &f->sequences[f->n], NULL), RSR_OK);
    add_twin(f);
}

static void count_shared(struct family *f) {
    const struct rsr_chunk *chunk = &f->engine->chunk;
    for (uint32_t i = 1; i < chunk->n_runs; i++) {
        f->n_shared += chunk->runs[i].n_shared;
        f->n_trees += chunk->runs[i].n_shared != 0 && chunk->runs[i - 1].n_shared != 0 &&
                      chunk->runs[i].n_shared != chunk->runs[i - 1].n_shared;
    }
}

/* Evaluates n[i] tokens of each sequence in one batch, in the given order of sequences. */
static void feed_all(struct family *f, const uint32_t *order, const uint32_t *n) {
    rsr_batch_entry entries[MOST_BATCH];
    static float logits[MOST_BATCH * VOCAB], expected[MOST_BATCH * VOCAB];
    rsr_batch batch = RSR_BATCH_INIT;
    for (uint32_t i = 0; i < f->n; i++) {
        rsr_sequence *sequence = f->sequences[order[i]];
        for (uint32_t t = 0; t < n[order[i]]; t++)
            entries[batch.n_entries++] = (rsr_batch_entry){
                sequence, API->sequence_length(sequence) + t, random_below(&f->state, VOCAB), true};
    }
    batch.entries = entries;
    batch.logits = logits;
    batch.logits_capacity = MOST_BATCH * VOCAB;
    CHECK_INT(API->eval(f->engine, &batch, NULL), RSR_OK);
    count_shared(f);
    for (uint32_t i = 0, at = 0; i < f->n; at += n[order[i++]]) {
        uint32_t tokens[MOST_BATCH];
        for (uint32_t t = 0; t < n[order[i]]; t++)
            tokens[t] = entries[at + t].token;
        feed_twin(f, order[i], tokens, n[order[i]], expected);
        CHECK(memcmp(logits + (size_t)at * VOCAB, expected,
                     (size_t)n[order[i]] * VOCAB * sizeof(float)) == 0);
    }
}

/* One token of most, more of some. */
static void feed_some(struct family *f) {
    uint32_t n[MOST_SEQUENCES], order[MOST_SEQUENCES], left = MOST_BATCH;
    for (uint32_t i = 0; i < f->n; i++) {
        const uint32_t j = random_below(&f->state, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (uint32_t i = 0; i < f->n; i++) {
        const uint32_t kind = random_below(&f->state, 16);
        const uint32_t length = API->sequence_length(f->sequences[i]);
        n[i] = kind == 0 ? 0 : kind < 13 ? 1 : 1 + random_below(&f->state, kind == 15 ? 40 : 9);
        n[i] = n[i] < left ? n[i] : left;
        n[i] = n[i] < CONTEXT - length ? n[i] : CONTEXT - length;
        left -= n[i];
    }
    feed_all(f, order, n);
}

/* A text of which the sequences begin with parts. */
static void begin_text(struct family *f, uint32_t n_tokens) {
    uint32_t tokens[CONTEXT];
    for (uint32_t i = 0; i < n_tokens; i++)
        tokens[i] = random_below(&f->state, VOCAB);
    CHECK_INT(API->sequence_create(f->engine, &f->sequences[0], NULL), RSR_OK);
    for (uint32_t t = 0; t < n_tokens; t += MOST_BATCH)
        CHECK_INT(fake_feed(f->engine, f->sequences[0], tokens + t,
                            n_tokens - t < MOST_BATCH ? n_tokens - t : MOST_BATCH, VOCAB, NULL),
                  RSR_OK);
    add_twin(f);
}

static void one_step(struct family *f) {
    const uint32_t kind = random_below(&f->state, 8), i = random_below(&f->state, f->n);
    const uint32_t length = API->sequence_length(f->sequences[i]);
    if (f->n < MOST_SEQUENCES && kind < 3)
        fork_one(f);
    else if (kind == 3 && f->n > 2)
        end_one(f, i);
    else if (kind == 4)
        truncate_one(f, i, length - random_below(&f->state, length < 150 ? length : 150));
    feed_some(f);
}

static uint32_t n_trees, n_random; /* of all random tests, and their number */

static struct family start_family(rsr_model *model, const char *kv_type, uint32_t n_threads,
                                  uint64_t seed) {
    return (struct family){.engine = engine_of(model, kv_type, n_threads),
                           .apart = engine_of(model, kv_type, 1),
                           .state = seed};
}

static void end_family(struct family *f) {
    while (f->n > 0)
        end_one(f, 0);
    API->engine_destroy(f->engine);
    API->engine_destroy(f->apart);
}

static void test_random(rsr_model *model, const char *kv_type, uint32_t n_threads, uint64_t seed) {
    struct family f = start_family(model, kv_type, n_threads, seed);
    begin_text(&f, 260 + random_below(&f.state, 130));
    for (uint32_t i = 0; i < 5; i++)
        fork_one(&f);
    for (uint32_t i = 0; i < 16; i++)
        one_step(&f);
    CHECK(f.n_shared > 100);
    n_trees += f.n_trees;
    n_random++;
    end_family(&f);
}

/* ---- A tree, and what is read of it ---- */

static uint64_t attention_bytes(rsr_engine *engine, bool go_on) {
    rsr_profile_entry entries[64] = {RSR_PROFILE_ENTRY_INIT};
    size_t n = 64;
    uint64_t bytes = 0;
    CHECK_INT(API->engine_profile(engine, go_on, entries, 64, &n), RSR_OK);
    for (size_t i = 0; i < n; i++)
        if (strcmp(entries[i].name, "attention") == 0)
            bytes = entries[i].bytes;
    return bytes;
}

/* A shares 10 pages with B, and 6 with C; D shares 6 with C, too, and E nothing. A prefix cache
 * gives F 9 pages of A and a copy of 6 keys. Each page is read once for those that have it. */
static void test_tree(rsr_model *model, const char *kv_type, uint32_t row_bytes) {
    struct family f = start_family(model, kv_type, 1, 77);
    rsr_prefix_cache *cache = NULL;
    begin_text(&f, 645);
    CHECK_INT(API->sequence_fork(f.sequences[0], &f.sequences[1], NULL), RSR_OK);
    add_twin(&f);
    for (uint32_t i = 2; i < 4; i++) { /* C and D */
        CHECK_INT(API->sequence_fork(f.sequences[0], &f.sequences[i], NULL), RSR_OK);
        add_twin(&f);
        truncate_one(&f, i, 384 + i);
    }
    CHECK_INT(API->sequence_create(f.engine, &f.sequences[4], NULL), RSR_OK);
    add_twin(&f);
    CHECK_INT(API->prefix_cache_create(f.engine, NULL, &cache, NULL), RSR_OK);
    CHECK_INT(API->prefix_cache_put(cache, f.sequences[0], NULL), RSR_OK);
    CHECK_INT(API->prefix_cache_take(cache, API->sequence_tokens(f.sequences[0]), 9 * 64 + 7,
                                     &f.sequences[5], NULL),
              RSR_OK);
    CHECK_INT(API->sequence_length(f.sequences[5]), 9 * 64 + 6);
    add_twin(&f);
    const uint32_t order[] = {3, 0, 4, 2, 5, 1}, one[] = {1, 1, 1, 1, 1, 1};
    (void)attention_bytes(f.engine, true);
    feed_all(&f, order, one);
    const uint64_t n_keys = 640 + 6 /* A */ + 6 /* B */ + 3 /* C */ + 4 /* D */ + 1 /* E */ + 7;
    const struct rsr_hyper *hyper = &model->module->hyper;
    CHECK_INT(attention_bytes(f.engine, false),
              n_keys * 2 * row_bytes * hyper->n_kv_heads * hyper->n_layers);
    API->prefix_cache_destroy(cache);
    end_family(&f);
}

/* ---- The walk over a tree ---- */

/* Every run visits its pages in ascending order, each once; two are at a page together exactly if
 * no neighbours between them share less. */
static void test_walk(uint64_t *state) {
    struct rsr_run runs[12] = {{0}};
    uint32_t visited[12] = {0};
    const uint32_t n = 1 + random_below(state, 12);
    for (uint32_t i = 1; i < n; i++)
        runs[i].n_shared = 1 + random_below(state, 6);
    struct rsr_shared at = {0};
    while (rsr_shared_next(runs, n, &at)) {
        CHECK(at.run + at.n_runs <= n && at.begin < at.end);
        CHECK(at.n_runs > 1 || at.end == UINT32_MAX);
        for (uint32_t i = at.run; i < at.run + at.n_runs; i++) {
            CHECK_INT(visited[i], at.begin);
            visited[i] = at.end;
            CHECK(i == at.run || runs[i].n_shared >= at.end);
        }
        CHECK(at.run + at.n_runs == n || runs[at.run + at.n_runs].n_shared <= at.begin);
    }
    for (uint32_t i = 0; i < n; i++)
        CHECK_INT(visited[i], UINT32_MAX);
}

/* Parts are of all runs, in order, and fit the scratch; one worker takes as many as fit. */
static void test_parts(uint64_t *state) {
    struct rsr_run runs[40] = {{0}};
    const uint32_t n = 1 + random_below(state, 40), n_workers = 1 + random_below(state, 20);
    for (uint32_t i = 0; i < n; i++)
        runs[i].n_tokens = 1 + (random_below(state, 3) == 0 ? random_below(state, 8) : 0);
    const uint32_t most = rsr_shared_tokens(runs, n, 1 + random_below(state, 8), n_workers);
    CHECK(most >= 1 && most <= RSR_SHARED_TOKENS);
    for (uint32_t i = 0, k; i < n; i += k) {
        uint32_t n_tokens = 0;
        k = rsr_shared_part(runs + i, n - i, most);
        CHECK(k >= 1 && k <= n - i);
        for (uint32_t j = i; j < i + k; j++)
            n_tokens += runs[j].n_tokens;
        CHECK(n_tokens <= RSR_SHARED_TOKENS);
    }
}

int main(void) {
    static const struct {
        const char *name;
        uint32_t row_bytes; /* of 32 elements: 20 and what fills them up */
    } types[] = {{"f32", 128}, {"bf16", 64}, {"f16", 64}, {"int8", 36}};
    static const uint32_t threads[] = {1, 2, 5};
    uint64_t state = 5;
    for (uint32_t i = 0; i < 2000; i++) {
        test_walk(&state);
        test_parts(&state);
    }
    for (uint32_t s = 0; s < 2; s++) {
        static struct fake_module fake;
        const struct fake_shape shape = shape_of(kv_heads[s]);
        fake_module_init(&fake, &shape, 3 + s);
        for (uint32_t level = 0; level < RSR_OPS_LEVEL_COUNT; level++) {
            rsr_model *model = fake_open(&fake, (enum rsr_ops_level)level);
            /* A short run: every second type, a short sanitised one: one, others at each level. */
            const uint32_t step = test_is_long() ? 1 : TEST_SANITIZED ? 4 : 2;
            for (uint32_t i = (level + s) % step; model != NULL && i < 4; i += step) {
                test_tree(model, types[i].name, types[i].row_bytes);
                set_window(&fake, (level + i) % 4 == 3 ? 150 : 0);
                test_random(model, types[i].name, threads[(level + i + s) % 3],
                            100 * level + 10 * i + s);
                set_window(&fake, 0);
            }
            if (model != NULL)
                API->close(model);
        }
    }
    CHECK(n_trees > 8 * n_random);
    return CHECK_EXIT();
}
