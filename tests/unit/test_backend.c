/* The engine knows its backend only by a table (engine/backend.h). It works on a device that shares
 * no memory and no thread with the host, and on the host's backend it makes the promised calls and
 * no others. */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "engine/engine.h"
#include "fake_module.h"

#define API (&rsr_runtime_api)
enum { VOCAB = 5, KV = 2 * 4, MAX_BATCH = 64, PAGES = 5 };

/* ---- A device on paper: a key is its token, and the next token is the last one plus 1 ---- */

struct paper {
    float tokens[PAGES][RSR_PAGE_TOKENS];
    float logits[RSR_MAX_PICKS][VOCAB];
    uint32_t n_run; /* tokens, since profile() was last called */
};
static struct paper paper;
static struct {
    int create, destroy, run, copy, drop, read, profile;
    rsr_status status; /* the next call that returns a status returns this */
    uint32_t failed_op;
} seen;

static rsr_status paper_create(struct rsr_engine *engine, const rsr_engine_options *options,
                               rsr_error *err) {
    seen.create++;
    CHECK_INT(options->n_threads, 77);
    CHECK_STR(options->attention, "paper");
    CHECK_INT(engine->info.kv_tokens, 7 * RSR_PAGE_TOKENS); /* the default for a context of 400 */
    CHECK_INT(engine->info.max_batch, MAX_BATCH);
    if (seen.status != RSR_OK)
        return rsr_fail(err, seen.status, "no paper");
    memset(&paper, 0, sizeof(paper));
    engine->device = &paper;
    engine->steps = engine->model->target->steps;
    engine->tensors = engine->model->target->tensors;
    engine->info.n_threads = 3;
    engine->info.kv_tokens = PAGES * RSR_PAGE_TOKENS;
    engine->info.kv_bytes = sizeof(paper.tokens);
    engine->info.arena_bytes = 12;
    engine->info.kv_type = "ink";
    return RSR_OK;
}

static void paper_destroy(struct rsr_engine *engine, bool forked) {
    seen.destroy++;
    CHECK(engine->device == &paper && !forked);
}

static void write_logits(float *logits, uint32_t token) {
    for (uint32_t i = 0; i < VOCAB; i++)
        logits[i] = i == (token + 1) % VOCAB;
}

static rsr_status paper_run_chunk(struct rsr_engine *engine, rsr_error *err) {
    struct rsr_chunk *chunk = &engine->chunk;
    seen.run++;
    CHECK(chunk->n_tokens > 0 && chunk->n_tokens <= MAX_BATCH);
    for (uint32_t t = 0; t < chunk->n_tokens; t++) {
        const uint32_t at = chunk->positions[t];
        const uint32_t page = chunk->entries[t].sequence->pages[at / RSR_PAGE_TOKENS];
        CHECK(page < PAGES && engine->kv.references[page] == 1);
        paper.tokens[page][at % RSR_PAGE_TOKENS] = (float)chunk->entries[t].token;
    }
    for (uint32_t i = 0; i < chunk->n_wanted; i++)
        write_logits(chunk->outputs + (size_t)i * VOCAB, chunk->entries[chunk->wanted[i]].token);
    for (uint32_t i = 0; i < engine->picks.n; i++) {
        struct rsr_head_pick *pick = &engine->picks.picks[i];
        CHECK((pick->logits != NULL) == chunk->entries[pick->token].want_logits);
        if (pick->logits == NULL) {
            write_logits(paper.logits[i], pick->history[pick->n_history - 1]);
            pick->logits = paper.logits[i];
        }
    }
    paper.n_run += chunk->n_tokens;
    chunk->failed_ops[chunk->n_tokens - 1] = seen.failed_op;
    return seen.status == RSR_OK ? RSR_OK : rsr_fail(err, seen.status, "the paper tore");
}

static void paper_copy_page(struct rsr_engine *engine, uint32_t to, uint32_t from,
                            uint32_t n_tokens) {
    seen.copy++;
    CHECK(to != from && n_tokens > 0 && n_tokens < RSR_PAGE_TOKENS);
    CHECK(engine->kv.references[to] == 1 && engine->kv.references[from] > 0);
    memcpy(paper.tokens[to], paper.tokens[from], n_tokens * sizeof(float));
}

static void paper_drop_page(struct rsr_engine *engine, uint32_t page) {
    seen.drop++;
    CHECK_INT(pthread_mutex_trylock(&engine->lock), 0);
    CHECK_INT(engine->kv.references[page], 1);
    pthread_mutex_unlock(&engine->lock);
    for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i++)
        paper.tokens[page][i] = -1.0f;
}

static rsr_status paper_read_rows(struct rsr_engine *engine, uint32_t page, uint32_t slot,
                                  uint32_t layer, float *keys, float *values, rsr_error *err) {
    (void)engine;
    seen.read++;
    if (seen.status != RSR_OK)
        return rsr_fail(err, seen.status, "no light");
    for (uint32_t i = 0; i < KV; i++) {
        keys[i] = paper.tokens[page][slot];
        values[i] = (float)layer;
    }
    return RSR_OK;
}

static void paper_profile(struct rsr_engine *engine) {
    seen.profile++;
    engine->profile.attention.name = "paper";
    engine->profile.attention.dense += paper.n_run;
    engine->profile.head.n_planes = 9;
    if (engine->profile.enabled && paper.n_run > 0)
        engine->profile.rows[2] = (rsr_profile_entry){.name = "ink", .calls = 1, .bytes = 8};
    paper.n_run = 0;
}

static const struct rsr_backend on_paper = {
    .name = "paper",
    .create = paper_create,
    .destroy = paper_destroy,
    .run_chunk = paper_run_chunk,
    .copy_page = paper_copy_page,
    .drop_page = paper_drop_page,
    .read_rows = paper_read_rows,
    .profile = paper_profile,
};

static rsr_engine *new_engine(const struct rsr_backend *backend, rsr_model *model,
                              const rsr_engine_options *options) {
    rsr_engine *engine = NULL;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(rsr_engine_create_on(backend, model, options, &engine, &err), RSR_OK);
    CHECK_STR(err.message, "");
    return engine;
}

/* The key that the sequence has at a position. */
static float key_at(rsr_sequence *sequence, uint32_t position) {
    float keys[KV] = {-1.0f}, values[KV] = {-1.0f};
    CHECK_INT(API->sequence_read_kv(sequence, position, 1, keys, values, NULL), RSR_OK);
    CHECK(values[0] == 1.0f && values[KV - 1] == 1.0f && keys[KV - 1] == keys[0]);
    return keys[0];
}

static void test_sequences(rsr_engine *engine) {
    const uint32_t fours[] = {4, 4, 4};
    uint32_t tokens[130];
    float logits[130 * VOCAB];
    rsr_sequence *a, *b;
    for (uint32_t i = 0; i < 130; i++)
        tokens[i] = i % 4;
    CHECK_INT(API->sequence_create(engine, &a, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, a, tokens, 130, VOCAB, logits), RSR_OK);
    CHECK_INT(seen.run, 3); /* 64, 64 and 2 */
    for (uint32_t i = 0; i < 130 * VOCAB; i++)
        CHECK(logits[i] == (i % VOCAB == tokens[i / VOCAB] + 1 ? 1.0f : 0.0f));
    CHECK(key_at(a, 66) == 2.0f && key_at(a, 129) == 1.0f);

    CHECK_INT(API->sequence_fork(a, &b, NULL), RSR_OK); /* copies the open page */
    CHECK_INT(seen.copy, 1);
    CHECK_INT(fake_feed(engine, b, fours, 1, VOCAB, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, a, tokens + 3, 1, VOCAB, NULL), RSR_OK);
    CHECK(key_at(b, 129) == 1.0f && key_at(b, 130) == 4.0f && key_at(a, 130) == 3.0f);
    CHECK_INT(API->sequence_truncate(b, 100, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, b, fours, 3, VOCAB, NULL), RSR_OK); /* copies the shared page */
    CHECK_INT(seen.copy, 2);
    CHECK(key_at(b, 99) == 3.0f && key_at(b, 100) == 4.0f && key_at(a, 100) == 0.0f);
    CHECK_INT(API->sequence_truncate(b, 64, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, b, fours, 1, VOCAB, NULL), RSR_OK); /* a new page */
    CHECK_INT(seen.copy, 2);
    CHECK_INT(seen.read, 8);
    CHECK_INT(seen.drop, 0); /* pages that truncation gave back stayed warm, and were taken again */
    API->sequence_destroy(a);
    API->sequence_destroy(b);
    CHECK_INT(seen.drop, 4 - (int)RSR_WARM_PAGES); /* 2 of a, one of b, one of both */
}

static void test_picks(rsr_engine *engine) {
    rsr_sequence *a;
    CHECK_INT(API->sequence_create(engine, &a, NULL), RSR_OK);
    const rsr_batch_entry entries[] = {{a, 0, 1, false}, {a, 1, 4, true}, {a, 2, 2, false}};
    rsr_sampling greedy = RSR_SAMPLING_INIT;
    greedy.temperature = 0.0f;
    const rsr_pick picks[] = {{.entry = 1, .sampling = &greedy}, {.entry = 2, .sampling = &greedy}};
    uint32_t picked[2] = {9, 9};
    float logits[VOCAB];
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = 3;
    batch.logits = logits;
    batch.logits_capacity = VOCAB;
    batch.picks = picks;
    batch.n_picks = 2;
    batch.picked = picked;
    CHECK_INT(API->eval(engine, &batch, NULL), RSR_OK);
    CHECK(picked[0] == 0 && picked[1] == 3);
    API->sequence_destroy(a);
}

static void test_counts(rsr_engine *engine) {
    rsr_attention_stats attention = RSR_ATTENTION_STATS_INIT;
    rsr_head_stats head = RSR_HEAD_STATS_INIT;
    rsr_profile_entry entry = RSR_PROFILE_ENTRY_INIT;
    size_t n = 9;
    CHECK_INT(API->engine_attention_stats(engine, true, &attention), RSR_OK);
    CHECK(strcmp(attention.name, "paper") == 0 && attention.dense > 130);
    CHECK_INT(API->engine_attention_stats(engine, false, &attention), RSR_OK);
    CHECK_INT(attention.dense, 0);
    CHECK_INT(API->engine_head_stats(engine, false, &head), RSR_OK);
    CHECK(head.n_planes == 9 && head.full == 2 && head.sketched == 0);
    CHECK_INT(seen.profile, 1 + seen.run); /* after create and after every chunk */
    CHECK_INT(API->engine_profile(engine, true, NULL, 0, &n), RSR_OK);
    CHECK_INT(n, 0);
    rsr_sequence *a;
    const uint32_t token = 0;
    CHECK_INT(API->sequence_create(engine, &a, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, a, &token, 1, VOCAB, NULL), RSR_OK);
    CHECK_INT(API->engine_profile(engine, false, &entry, 1, &n), RSR_OK);
    CHECK(n == 1 && strcmp(entry.name, "ink") == 0 && entry.bytes == 8);
    API->sequence_destroy(a);
}

/* A backend's refusal reaches the caller, and changes nothing. */
static void test_failures(rsr_engine *engine) {
    const uint32_t token = 3;
    float keys[KV] = {5.0f}, values[KV] = {5.0f};
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    rsr_error err = RSR_ERROR_INIT;
    rsr_sequence *a;
    CHECK_INT(API->sequence_create(engine, &a, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, a, &token, 1, VOCAB, NULL), RSR_OK);
    seen.status = RSR_ERR_MEMORY;
    CHECK_INT(fake_feed(engine, a, &token, 1, VOCAB, NULL), RSR_ERR_MEMORY);
    CHECK_INT(API->sequence_length(a), 1);
    CHECK_INT(API->sequence_read_kv(a, 0, 0, keys, values, &err), RSR_ERR_MEMORY);
    CHECK_STR(err.message, "no light");
    CHECK(keys[0] == 5.0f && values[0] == 5.0f);
    seen.status = RSR_OK;
    seen.failed_op = 5; /* of block 0 */
    CHECK_INT(fake_feed(engine, a, &token, 1, VOCAB, NULL), RSR_ERR_NUMERIC);
    seen.failed_op = UINT32_MAX;
    CHECK_INT(API->sequence_length(a), 1);
    CHECK_INT(API->engine_get_info(engine, &info), RSR_OK);
    CHECK_INT(info.kv_tokens_free, (PAGES - 1) * RSR_PAGE_TOKENS);
    CHECK(info.n_threads == 3 && info.arena_bytes == 12 && info.kv_bytes == sizeof(paper.tokens));
    CHECK_STR(info.kv_type, "ink");
    API->sequence_destroy(a);
}

static void test_paper(rsr_model *model) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_error err = RSR_ERROR_INIT;
    rsr_engine *engine = NULL;
    options.n_threads = 77;
    options.max_batch = MAX_BATCH;
    options.attention = "paper";
    seen.failed_op = UINT32_MAX;
    seen.status = RSR_ERR_CPU;
    CHECK_INT(rsr_engine_create_on(&on_paper, model, &options, &engine, &err), RSR_ERR_CPU);
    CHECK_STR(err.message, "no paper");
    CHECK(engine == NULL && seen.destroy == 0);
    seen.status = RSR_OK;
    engine = new_engine(&on_paper, model, &options);
    test_sequences(engine);
    test_picks(engine);
    test_counts(engine);
    test_failures(engine);
    API->engine_destroy(engine);
    CHECK(seen.create == 2 && seen.destroy == 1);
}

/* ---- The host's, with counted calls ---- */

static rsr_status counted_run(struct rsr_engine *engine, rsr_error *err) {
    seen.run++;
    return rsr_backend_host.run_chunk(engine, err);
}

static void counted_copy(struct rsr_engine *engine, uint32_t to, uint32_t from, uint32_t n_tokens) {
    seen.copy++;
    rsr_backend_host.copy_page(engine, to, from, n_tokens);
}

static void test_host(rsr_model *model) {
    struct rsr_backend counted = rsr_backend_host;
    counted.run_chunk = counted_run;
    counted.copy_page = counted_copy;
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = 2;
    options.max_batch = MAX_BATCH;
    rsr_engine *plain = NULL, *engine = new_engine(&counted, model, &options);
    CHECK_INT(API->engine_create(model, &options, &plain, NULL), RSR_OK);
    CHECK(plain->backend == &rsr_backend_host);
    rsr_sequence *a, *b, *fork;
    uint32_t tokens[100] = {0, 1, 2, 3, 4};
    float of_plain[100 * VOCAB], logits[100 * VOCAB];
    seen.run = seen.copy = 0;
    CHECK_INT(API->sequence_create(plain, &a, NULL), RSR_OK);
    CHECK_INT(API->sequence_create(engine, &b, NULL), RSR_OK);
    CHECK_INT(fake_feed(plain, a, tokens, 100, VOCAB, of_plain), RSR_OK);
    CHECK_INT(fake_feed(engine, b, tokens, 80, VOCAB, logits), RSR_OK);
    CHECK_INT(API->sequence_fork(b, &fork, NULL), RSR_OK);
    CHECK_INT(fake_feed(engine, fork, tokens + 80, 20, VOCAB, logits + 80 * VOCAB), RSR_OK);
    CHECK(memcmp(of_plain, logits, sizeof(logits)) == 0);
    CHECK_INT(seen.run, 3);
    CHECK_INT(seen.copy, 1);
    API->sequence_destroy(a);
    API->sequence_destroy(b);
    API->sequence_destroy(fork);
    API->engine_destroy(plain);
    API->engine_destroy(engine);
}

int main(void) {
    static struct fake_module fake;
    const struct fake_shape shape = fake_small_shape(VOCAB, 400);
    fake_module_init(&fake, &shape, 1);
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    test_paper(model);
    test_host(model);
    API->close(model);
    return CHECK_EXIT();
}
