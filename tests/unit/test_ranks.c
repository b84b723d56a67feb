/* Ranks: what each computes, what is refused at the start and by whom, cancellation, a transport
 * that fails, and messages that do not fit. rank_bits.c compares results of compiled models. */
#include <math.h>

#include "check.h"
#include "fake_module.h"
#include "thread_ranks.h"
#include "walk/crew.h"
#include "walk/ranks.h"

#define API (&rsr_runtime_api)
#define VOCAB 60u
#define N_TOKENS 70u

static const struct fake_shape shape = {.hidden = 40,
                                        .n_layers = 2,
                                        .n_heads = 10,
                                        .n_kv_heads = 5,
                                        .head_dim = 4,
                                        .ffn = 23,
                                        .vocab = VOCAB,
                                        .context = 200,
                                        .activation = RSR_ACTIVATION_SILU,
                                        .head_dtype = RSR_DTYPE_BF16,
                                        .sub_norms = true};

/* ---- Engines ---- */

/* One rank of a test may have another model or other options. */
struct setting {
    rsr_model *model, *other_model;
    rsr_engine_options options, other_options;
    uint32_t other_rank;
};

static rsr_status create(void *user, uint32_t rank, const rsr_transport *transport,
                         rsr_engine **engine, rsr_error *err) {
    const struct setting *s = user;
    const bool other = rank == s->other_rank && rank != 0;
    rsr_engine_options options = other ? s->other_options : s->options;
    options.transport = transport;
    return API->engine_create(other ? s->other_model : s->model, &options, engine, err);
}

static struct setting usual(rsr_model *model) {
    struct setting s = {.model = model, .other_model = model};
    s.options = (rsr_engine_options)RSR_ENGINE_OPTIONS_INIT;
    s.options.n_threads = 1;
    s.options.context = 128;
    s.options.kv_tokens = 256;
    s.options.max_batch = 32;
    s.other_options = s.options;
    return s;
}

static struct thread_ranks ranks_of(struct setting *s) {
    return (struct thread_ranks){
        .create = create, .user = s, .follow = API->engine_follow, .destroy = API->engine_destroy};
}

/* Evaluates N_TOKENS, and gives the logits of the last one. */
static rsr_status evaluate(rsr_engine *engine, const rsr_cancel *cancel, float *logits,
                           rsr_error *err) {
    rsr_sequence *sequence = NULL;
    rsr_batch_entry entries[N_TOKENS];
    rsr_batch batch = RSR_BATCH_INIT;
    CHECK_INT(API->sequence_create(engine, &sequence, err), RSR_OK);
    for (uint32_t i = 0; i < N_TOKENS; i++)
        entries[i] = (rsr_batch_entry){sequence, i, i * 7 % VOCAB, i + 1 == N_TOKENS};
    batch.entries = entries;
    batch.n_entries = N_TOKENS;
    batch.logits = logits;
    batch.logits_capacity = VOCAB;
    batch.cancel = cancel;
    const rsr_status status = API->eval(engine, &batch, err);
    API->sequence_destroy(sequence);
    return status;
}

static void compute_alone(rsr_model *model, float *logits) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *engine = NULL;
    CHECK_INT(API->engine_create(model, &options, &engine, NULL), RSR_OK);
    CHECK_INT(evaluate(engine, NULL, logits, NULL), RSR_OK);
    rsr_rank_info info = RSR_RANK_INFO_INIT;
    CHECK_INT(API->engine_get_rank(engine, 0, &info), RSR_ERR_ARGUMENT);
    CHECK_INT(API->engine_follow(engine, NULL), RSR_ERR_ARGUMENT);
    API->engine_destroy(engine);
}

/* ---- Shares ---- */

static void test_shares(void) {
    for (uint32_t n = 0; n < 20; n++)
        for (uint32_t size = 1; size < 9; size++) {
            uint32_t at = 0;
            for (uint32_t r = 0; r < size; r++) {
                const struct rsr_range range = rsr_rank_share(n, r, size);
                CHECK_INT(range.begin, at);
                CHECK(range.end - range.begin >= n / size &&
                      range.end - range.begin <= n / size + 1);
                at = range.end;
            }
            CHECK_INT(at, n);
        }
    CHECK_INT(rsr_rank_share(5, 0, 2).end, 3); /* 5 KV heads are 3 and 2 */
}

/* Four gathers a layer: of attention, of o, of gate and up together, and of down. Queries, keys and
 * values are gathered by nobody, and every rank computes the tiles of its own heads. */
static void test_plan(rsr_model *model) {
    struct setting s = usual(model);
    struct thread_ranks ranks = ranks_of(&s);
    thread_ranks_begin(&ranks, 3);
    const struct rsr_crew *crew = rsr_crew_of(ranks.ranks[0].engine);
    const struct rsr_step_table *step = &model->target->steps[0];
    uint32_t n_waits = 0, n_gathers = 0;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        n_waits += crew->ranks->steps[0].ops[i].n_gathers > 0;
        n_gathers += crew->ranks->steps[0].ops[i].n_gathers;
    }
    CHECK_INT(n_waits, 4 * shape.n_layers);
    CHECK_INT(n_gathers, 5 * shape.n_layers);
    CHECK_INT(crew->kv.n_kv_heads, 2);
    const struct rsr_range q = crew->ranks->steps[0].ops[4].part; /* 16 of 40 rows, 5 in a tile */
    CHECK_INT(step->ops[4].kind, RSR_OP_LINEAR);
    CHECK(q.begin == 0 && q.end == 4);
    thread_ranks_end(&ranks);
}

/* ---- Results ---- */

static void test_bits(rsr_model *model, const float *alone) {
    for (uint32_t n = 1; n <= MOST_THREAD_RANKS; n++) {
        struct setting s = usual(model);
        struct thread_ranks ranks = ranks_of(&s);
        float logits[VOCAB] = {0};
        rsr_rank_info info = RSR_RANK_INFO_INIT;
        thread_ranks_begin(&ranks, n);
        CHECK_INT(ranks.ranks[0].created, RSR_OK);
        CHECK_INT(evaluate(ranks.ranks[0].engine, NULL, logits, NULL), RSR_OK);
        CHECK(memcmp(logits, alone, sizeof(logits)) == 0);
        CHECK_INT(API->engine_get_rank(ranks.ranks[0].engine, n, &info), RSR_ERR_ARGUMENT);
        if (n > 1) { /* 3 chunks, 4 gathers in each of 2 layers, and the logits of the last token */
            CHECK_INT(API->engine_get_rank(ranks.ranks[0].engine, n - 1, &info), RSR_OK);
            CHECK_INT(info.n_gathers, 3 * 4 * 2 + 1);
            CHECK_INT(ranks.n_gathers, info.n_gathers + 2); /* two when engines are created */
            CHECK(info.n_ranks == n && info.compute_ns > 0 && info.step_ns > 0);
            CHECK_INT(info.n_kv_heads, n <= 5 ? 5 / n : 0);
            CHECK_INT(API->engine_follow(ranks.ranks[0].engine, NULL), RSR_ERR_ARGUMENT);
        }
        thread_ranks_end(&ranks);
        for (uint32_t r = 1; r < n; r++)
            CHECK_INT(ranks.ranks[r].followed, RSR_OK);
    }
}

/* Ranks end a cancelled walk at one operation, and go on afterwards. */
static void test_cancel(rsr_model *model, const float *alone) {
    struct setting s = usual(model);
    struct thread_ranks ranks = ranks_of(&s);
    float logits[VOCAB];
    rsr_cancel cancel = {1};
    rsr_error err = RSR_ERROR_INIT;
    thread_ranks_begin(&ranks, 3);
    rsr_engine *engine = ranks.ranks[0].engine;
    CHECK_INT(evaluate(engine, &cancel, logits, &err), RSR_ERR_STOPPED);
    const uint32_t before = ranks.n_gathers;
    /* Cancelled between the check of the batch and the first gather. */
    rsr_sequence *sequence = NULL;
    CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
    const rsr_batch_entry entry = {sequence, 0, 1, false};
    CHECK(rsr_sequence_reserve(sequence, 0));
    engine->chunk.step = rsr_find_step(model->target->steps, 1);
    engine->chunk.entries = &entry;
    engine->chunk.n_tokens = 1;
    engine->chunk.positions[0] = 0;
    engine->chunk.n_wanted = 0;
    engine->chunk.cancel = &cancel;
    engine->picks.n = 0;
    rsr_runs_find(&engine->chunk);
    CHECK_INT(engine->backend->run_chunk(engine, &err), RSR_ERR_STOPPED);
    CHECK_INT(ranks.n_gathers, before + 1);
    API->sequence_destroy(sequence);
    CHECK_INT(evaluate(engine, NULL, logits, &err), RSR_OK);
    CHECK(memcmp(logits, alone, sizeof(logits)) == 0);
    thread_ranks_end(&ranks);
}

/* ---- Layers ---- */

static struct setting layers_of(rsr_model *model) {
    struct setting s = usual(model);
    s.options.pipeline = s.other_options.pipeline = true;
    return s;
}

/* Every rank has a layer, and they follow each other; the head is as many layers, as far as there
 * are other ranks that take them. */
static void test_layer_shares(void) {
    for (uint32_t n = 1; n < 20; n++)
        for (uint32_t size = 2; size <= n; size++)
            for (uint32_t head = 0; head <= n; head++) {
                uint32_t at = 0, most = 0;
                for (uint32_t r = 0; r < size; r++) {
                    const struct rsr_range range = rsr_rank_layers(n, head, r, size);
                    const uint32_t own = range.end - range.begin;
                    CHECK(range.begin == at && range.end > at);
                    most = r + 1 < size && own > most ? own : most;
                    at = range.end;
                    if (r + 1 == size)
                        CHECK(own == 1 || own + head <= most);
                }
                CHECK_INT(at, n);
            }
    CHECK_INT(rsr_rank_layers(30, 5, 0, 4).end, 9); /* 9, 9, 9, and 3 with the head: 35 in all */
    CHECK_INT(rsr_rank_layers(30, 5, 3, 4).begin, 27);
    CHECK_INT(rsr_rank_layers(30, 13, 0, 4).end, 10); /* the head alone is more: 10, 10, 9, 1 */
    CHECK_INT(rsr_rank_layers(30, 13, 3, 4).begin, 29);
}

/* The hidden state is all that a rank passes on, and a rank has its own layer's keys and values
 * alone. */
static void check_layers(const struct thread_ranks *ranks, const rsr_model *model) {
    const struct rsr_crew *crew = rsr_crew_of(ranks->ranks[1].engine);
    const struct rsr_step_table *step = &model->target->steps[0];
    const struct rsr_rank_step *plan = &crew->ranks->steps[0];
    uint32_t n_runs = 0, n_gathers = 0;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        n_gathers += plan->ops[i].n_gathers;
        n_runs += plan->ops[i].runs;
        CHECK_INT(plan->ops[i].runs,
                  i >= plan->first_ops[1] || step->ops[i].kind == RSR_OP_ROPE_TABLE);
    }
    CHECK_INT(step->ops[plan->first_ops[1]].block, 1);
    CHECK(n_runs < step->n_ops / 2 + 3);
    CHECK_INT(n_gathers, 1);
    CHECK_INT(crew->kv.n_layers, 1);
    CHECK_INT(crew->kv.n_kv_heads, 5);
}

static void test_layers(rsr_model *model, const float *alone) {
    struct setting s = layers_of(model);
    struct thread_ranks ranks = ranks_of(&s);
    float logits[VOCAB] = {0};
    rsr_rank_info info = RSR_RANK_INFO_INIT;
    thread_ranks_begin(&ranks, 2);
    CHECK_INT(ranks.ranks[0].created, RSR_OK);
    CHECK_INT(evaluate(ranks.ranks[0].engine, NULL, logits, NULL), RSR_OK);
    CHECK(memcmp(logits, alone, sizeof(logits)) == 0);
    check_layers(&ranks, model);
    CHECK_INT(API->engine_get_rank(ranks.ranks[0].engine, 1, &info), RSR_OK);
    CHECK_INT(info.n_gathers, 3 * 2 + 1); /* 3 chunks, to rank 1 and back, and one row of logits */
    CHECK(info.first_layer == 1 && info.n_layers == 1 && info.n_kv_heads == 5);
    CHECK(info.compute_ns > 0 && info.compute_ns < info.step_ns);
    rsr_cancel cancel = {1};
    CHECK_INT(evaluate(ranks.ranks[0].engine, &cancel, logits, NULL), RSR_ERR_STOPPED);
    CHECK_INT(evaluate(ranks.ranks[0].engine, NULL, logits, NULL), RSR_OK);
    CHECK(memcmp(logits, alone, sizeof(logits)) == 0);
    thread_ranks_end(&ranks);
    CHECK_INT(ranks.ranks[1].followed, RSR_OK);
}

/* Rank 0 learns of what is not finite in another rank's layers. */
static void test_not_finite(rsr_model *model, struct fake_module *fake) {
    struct setting s = layers_of(model);
    struct thread_ranks ranks = ranks_of(&s);
    float logits[VOCAB];
    rsr_error err = RSR_ERROR_INIT;
    float *weight = (float *)(uintptr_t)fake->norms[FAKE_NORMS].weight;
    const float before = *weight;
    *weight = NAN;
    thread_ranks_begin(&ranks, 2);
    CHECK_INT(evaluate(ranks.ranks[0].engine, NULL, logits, &err), RSR_ERR_NUMERIC);
    CHECK_STR(err.message, "batch entry 0: the activations of block 1 hold NaN or infinity");
    thread_ranks_end(&ranks);
    *weight = before;
}

/* ---- Refusals ---- */

/* Every rank gives the sentence. */
static void expect_refusal(struct setting *s, rsr_status expected, const char *sentence) {
    struct thread_ranks ranks = ranks_of(s);
    thread_ranks_begin(&ranks, 3);
    for (uint32_t r = 1; r < 3; r++)
        pthread_join(ranks.ranks[r].thread, NULL);
    for (uint32_t r = 0; r < 3; r++) {
        CHECK_INT(ranks.ranks[r].created, expected);
        CHECK(strstr(ranks.ranks[r].err.message, sentence) != NULL);
        if (strstr(ranks.ranks[r].err.message, sentence) == NULL)
            fprintf(stderr, "rank %u: %s, expected %s\n", r, ranks.ranks[r].err.message, sentence);
    }
}

static void test_other_options(rsr_model *model) {
    struct setting s = usual(model);
    s.other_rank = 2;
    s.other_options.context = 100;
    expect_refusal(&s, RSR_ERR_RANK, "rank 2 has another context (100) than rank 0 (128)");
    s = usual(model);
    s.other_rank = 1;
    s.other_options.kv_type = "f32";
    expect_refusal(&s, RSR_ERR_RANK, "rank 1 has another kv_type (\"f32\") than rank 0 (\"\")");
    s = usual(model);
    s.other_rank = 1;
    s.other_options.max_batch = 31;
    expect_refusal(&s, RSR_ERR_RANK, "another max_batch (31)");
    s = usual(model);
    s.other_rank = 2;
    s.other_options.kv_tokens = 512;
    expect_refusal(&s, RSR_ERR_RANK, "another kv_tokens (512) than rank 0 (256)");
    s = usual(model);
    s.other_rank = 2;
    s.other_options.attention = "louver";
    expect_refusal(&s, RSR_ERR_RANK, "another attention (\"louver\")");
}

static void test_refused_layers(rsr_model *model) {
    struct setting s = layers_of(model);
    rsr_engine *engine = NULL;
    rsr_error err = RSR_ERROR_INIT;
    expect_refusal(&s, RSR_ERR_ARGUMENT,
                   "a pipeline of 3 ranks needs as many layers, and the model has 2");
    s.other_rank = 1;
    s.other_options.pipeline = false;
    expect_refusal(&s, RSR_ERR_RANK, "rank 1 has another pipeline (0) than rank 0 (1)");
    CHECK_INT(create(&s, 0, NULL, &engine, &err), RSR_ERR_ARGUMENT);
    CHECK_STR(err.message, "a pipeline needs a transport between its ranks");
}

static void test_other_models(rsr_model *model, struct fake_module *fake) {
    static struct fake_module other;
    struct setting s = usual(model);
    s.other_rank = 2;
    other = *fake;
    other.module.targets = &other.target;
    other.module.model_hash[3] = 9;
    s.other_model = fake_open(&other, RSR_OPS_GENERIC);
    expect_refusal(&s, RSR_ERR_RANK, "rank 2 has another model hash (000000090000) than rank 0");
    other.module.model_hash[3] = 0;
    other.target.name = "avx512";
    expect_refusal(&s, RSR_ERR_RANK, "another target (\"avx512\") than rank 0 (\"generic\")");
    other.target.name = fake->target.name;
    other.target.kernels = other.kernels;
    other.kernels[3].variant = "lut";
    expect_refusal(&s, RSR_ERR_RANK, "another hash of kernels and steps");
    API->close(s.other_model);
}

static void ignore_probe(void *user, const rsr_probe_point *point) {
    (void)user;
    (void)point;
}

static void test_refused_for_all(rsr_model *model, struct fake_module *fake) {
    struct setting s = usual(model);
    s.options.attention = s.other_options.attention = "louver:topk:4";
    expect_refusal(&s, RSR_ERR_ARGUMENT, "attention \"louver:topk:4\" is not shared out");
    s = usual(model);
    s.options.probe = ignore_probe;
    expect_refusal(&s, RSR_ERR_ARGUMENT, "a probe sees only what its rank computes");
    s = usual(model);
    fake->module.hyper.delta_layers = 2;
    expect_refusal(&s, RSR_ERR_ARGUMENT, "2 layers of the model are recurrent");
    fake->module.hyper.delta_layers = 0;
    s = usual(model); /* it fails after the ranks have compared their options */
    s.other_rank = 2;
    s.other_options.n_threads = 5000;
    struct thread_ranks ranks = ranks_of(&s);
    thread_ranks_begin(&ranks, 3);
    pthread_join(ranks.ranks[1].thread, NULL);
    pthread_join(ranks.ranks[2].thread, NULL);
    CHECK_STR(ranks.ranks[0].err.message, "rank 2: 5000 threads; at most 1024");
    CHECK_STR(ranks.ranks[2].err.message, "5000 threads; at most 1024");
    CHECK_INT(ranks.ranks[1].created, RSR_ERR_RANK);
}

static void test_bad_transports(rsr_model *model) {
    struct setting s = usual(model);
    rsr_engine *engine = NULL;
    rsr_error err = RSR_ERROR_INIT;
    rsr_transport transport = RSR_TRANSPORT_INIT;
    transport.size = 2;
    CHECK_INT(create(&s, 0, &transport, &engine, &err), RSR_ERR_ARGUMENT);
    CHECK_STR(err.message, "a function of the transport is NULL");
    transport.rank = 2;
    CHECK_INT(create(&s, 0, &transport, &engine, &err), RSR_ERR_ARGUMENT);
    CHECK_STR(err.message, "rank 2 of 2 ranks; there are 1 to 1024");
    transport.size = 0;
    CHECK_INT(create(&s, 0, &transport, &engine, &err), RSR_ERR_ARGUMENT);
}

/* What needs keys and values of all heads, or another rank's calls. */
static void test_refused_calls(rsr_model *model) {
    struct setting s = usual(model);
    struct thread_ranks ranks = ranks_of(&s);
    rsr_error err = RSR_ERROR_INIT;
    rsr_sequence *sequence = NULL;
    float row[64];
    thread_ranks_begin(&ranks, 2);
    rsr_engine *engine = ranks.ranks[0].engine;
    CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
    const rsr_batch_entry entry = {sequence, 0, 1, false};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = &entry;
    batch.n_entries = 1;
    CHECK_INT(API->eval(engine, &batch, &err), RSR_OK);
    CHECK_INT(API->sequence_save(sequence, "/nowhere/x", &err), RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "neither saved nor loaded") != NULL);
    CHECK_INT(API->sequence_load(engine, "/nowhere/x", &sequence, &err), RSR_ERR_ARGUMENT);
    CHECK_INT(API->sequence_read_kv(sequence, 0, 0, row, row, &err), RSR_ERR_ARGUMENT);
    CHECK_STR(err.message, "keys and values are spread over several ranks");
    API->sequence_destroy(sequence);
    thread_ranks_end(&ranks);
}

static rsr_status unreached(void *user, rsr_error *err) {
    (void)user;
    (void)err;
    return RSR_ERR_RANK;
}

/* ---- Faults ---- */

/* A transport that fails makes the call fail, and every later one. */
static void test_lost_rank(rsr_model *model) {
    for (uint32_t at = 3; at < 30; at += 5) {
        struct setting s = usual(model);
        struct thread_ranks ranks = ranks_of(&s);
        float logits[VOCAB];
        rsr_error err = RSR_ERROR_INIT, again = RSR_ERROR_INIT;
        ranks.fails_at = at;
        thread_ranks_begin(&ranks, 3);
        CHECK_INT(ranks.ranks[0].created, RSR_OK);
        CHECK_INT(evaluate(ranks.ranks[0].engine, NULL, logits, &err), at < 28 ? RSR_ERR_RANK : 0);
        CHECK_STR(err.message, at < 28 ? "rank 1 cannot be reached" : "");
        CHECK_INT(evaluate(ranks.ranks[0].engine, NULL, logits, &again), RSR_ERR_RANK);
        CHECK_STR(again.message, "rank 1 cannot be reached");
        thread_ranks_end(&ranks);
        CHECK_INT(ranks.ranks[1].followed, RSR_ERR_RANK);
    }
}

static void test_lost_layers(rsr_model *model) {
    for (uint32_t at = 3; at <= 9; at += 2) {
        struct setting s = layers_of(model);
        struct thread_ranks ranks = ranks_of(&s);
        float logits[VOCAB];
        rsr_error err = RSR_ERROR_INIT;
        ranks.fails_at = at;
        thread_ranks_begin(&ranks, 2);
        CHECK_INT(evaluate(ranks.ranks[0].engine, NULL, logits, &err), RSR_ERR_RANK);
        CHECK_STR(err.message, "rank 1 cannot be reached");
        thread_ranks_end(&ranks);
        CHECK_INT(ranks.ranks[1].followed, RSR_ERR_RANK);
    }
}

/* ---- Messages ---- */

/* A transport of one rank that follows, which hands out a message of rank 0. */
static struct {
    uint32_t words[4096];
    size_t n, at;
    int fill; /* the bytes that rank 0 passes on in a pipeline */
} script;

static rsr_status scripted_bcast(void *user, void *data, size_t n_bytes, uint32_t root,
                                 rsr_error *err) {
    (void)user;
    (void)root;
    if (script.at == script.n) {
        if (err != NULL)
            strcpy(err->message, "the script is over");
        return RSR_ERR_RANK;
    }
    memset(data, 0, n_bytes);
    const size_t left = (script.n - script.at) * 4, n = n_bytes < left ? n_bytes : left;
    memcpy(data, script.words + script.at, n);
    script.at += n / 4;
    return RSR_OK;
}

static rsr_status scripted_gather(void *user, const void *part, void *all, const size_t *bytes,
                                  rsr_error *err) {
    (void)user;
    (void)err;
    memset(all, script.fill, bytes[0]);
    memcpy(all, part, bytes[1]);
    memcpy((char *)all + bytes[0], part, bytes[1]);
    if (bytes[0] == 512) /* the facts: rank 0 has the number 0 */
        memset((char *)all + 8, 0, 4);
    return RSR_OK;
}

/* Whatever numbers rank 0 sends, a rank accesses no memory but its own. (Sanitizers watch.) */
static void test_hostile_messages(rsr_model *model) {
    struct setting s = usual(model);
    uint64_t seed = 5;
    rsr_transport transport = RSR_TRANSPORT_INIT;
    transport.rank = 1;
    transport.size = 2;
    transport.allgatherv = scripted_gather;
    transport.bcast = scripted_bcast;
    transport.barrier = unreached;
    const uint32_t good[] = {RSR_RANK_CHUNK,
                             0,
                             /* notes: */ 1,
                             0,
                             1,
                             3,
                             /* states, tokens, sequences, picks: */ 0,
                             2,
                             1,
                             1,
                             /* a sequence of one page: */ 0,
                             1,
                             2,
                             /* tokens: */ 0,
                             7,
                             0,
                             1,
                             0,
                             8,
                             1,
                             0,
                             /* a pick: */ 1,
                             RSR_PICK_ALL,
                             2,
                             0,
                             0,
                             0,
                             0,
                             0,
                             0,
                             0,
                             0,
                             0,
                             0,
                             0,
                             0,
                             0};
    uint32_t n_refused = 0;
    for (uint32_t trial = 0; trial < (test_is_long() ? 100000u : 3000u); trial++) {
        rsr_engine *engine = NULL;
        rsr_error err = RSR_ERROR_INIT;
        s.options.pipeline = trial % 2 == 1;
        memcpy(script.words, good, sizeof(good));
        script.words[1] = sizeof(good) / 4 - 2;
        const uint32_t n_changed = trial == 0 ? 0 : 1 + trial % 3;
        for (uint32_t i = 0; i < n_changed; i++) {
            const uint32_t at = (uint32_t)(check_random(&seed) >> 40) % (sizeof(good) / 4);
            const uint32_t values[] = {0,   1,       2, 3, 4, 64, UINT32_MAX, UINT32_MAX - 1,
                                       255, 1u << 28};
            script.words[at] = values[(check_random(&seed) >> 40) % 10];
        }
        script.at = 0;
        script.n = 256;
        CHECK_INT(create(&s, 0, &transport, &engine, &err), RSR_OK);
        if (engine == NULL)
            return;
        const rsr_status status = API->engine_follow(engine, &err);
        n_refused += status != RSR_OK && strstr(err.message, "rank 0 sent") != NULL;
        if (trial == 0)
            CHECK_STR(err.message, "the script is over");
        API->engine_destroy(engine);
    }
    CHECK(n_refused > 500);
    rsr_engine *engine = NULL; /* failures of operations that the step does not have */
    rsr_error err = RSR_ERROR_INIT;
    s.options.pipeline = true;
    memcpy(script.words, good, sizeof(good));
    script.words[1] = sizeof(good) / 4 - 2;
    script.at = 0;
    script.fill = 0x55;
    CHECK_INT(create(&s, 0, &transport, &engine, &err), RSR_OK);
    CHECK_INT(API->engine_follow(engine, &err), RSR_ERR_RANK);
    CHECK(strstr(err.message, "rank 0 names operation 1431655765 of a step of") != NULL);
    API->engine_destroy(engine);
}

int main(void) {
    static struct fake_module fake;
    float alone[VOCAB];
    fake_module_init(&fake, &shape, 3);
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    compute_alone(model, alone);
    test_shares();
    test_layer_shares();
    test_plan(model);
    test_bits(model, alone);
    test_cancel(model, alone);
    test_layers(model, alone);
    test_not_finite(model, &fake);
    test_other_options(model);
    test_refused_layers(model);
    test_other_models(model, &fake);
    test_refused_for_all(model, &fake);
    test_bad_transports(model);
    test_refused_calls(model);
    test_lost_rank(model);
    test_lost_layers(model);
    test_hostile_messages(model);
    API->close(model);
    return CHECK_EXIT();
}
