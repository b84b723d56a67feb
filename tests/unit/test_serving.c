/* test_serving.c - an engine that many callers share: whose turn it is, who need not wait, and how
 * a call ends early. A backend that computes only when the test allows it shows the order. */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"
#include "engine/engine.h"
#include "fake_module.h"

#define API (&rsr_runtime_api)
enum { VOCAB = 7, MAX_BATCH = 16, CONTEXT = 192, MAX_LOG = 64 };
/* A deadlock ends the test. */
#define ALARM_SECONDS 120u

/* ---- A backend behind a gate ---- */

static struct {
    sem_t may_run, has_begun; /* posted for each chunk, or for each page given back to the system */
    bool is_open;             /* chunks do not ask may_run and has_begun */
    bool holds_drops;         /* pages given back do ask */
    char log[MAX_LOG];        /* each chunk: first token as a letter, number of tokens, a space */
} gate;

static rsr_status gated_run(struct rsr_engine *engine, rsr_error *err) {
    const struct rsr_chunk *chunk = &engine->chunk;
    const size_t n = strlen(gate.log);
    snprintf(gate.log + n, sizeof(gate.log) - n, "%c%u ", (int)('a' + chunk->entries[0].token),
             chunk->n_tokens);
    if (!gate.is_open) {
        sem_post(&gate.has_begun);
        sem_wait(&gate.may_run);
    }
    return rsr_backend_host.run_chunk(engine, err);
}

static void gated_drop(struct rsr_engine *engine, uint32_t page) {
    if (gate.holds_drops) {
        sem_post(&gate.has_begun);
        sem_wait(&gate.may_run);
    }
    rsr_backend_host.drop_page(engine, page);
}

static void close_gate(void) {
    gate.is_open = false;
    gate.log[0] = '\0';
}

/* ---- Calls ---- */

struct call {
    rsr_engine *engine;
    rsr_sequence *sequence;
    uint32_t token, n; /* the call's token, n times */
    rsr_batch batch;   /* the other members of the call's batch */
    rsr_status status;
    rsr_error err;
    pthread_t thread;
};

static rsr_status eval(struct call *call) {
    rsr_batch_entry entries[CONTEXT];
    const uint32_t length = API->sequence_length(call->sequence);
    for (uint32_t i = 0; i < call->n; i++)
        entries[i] = (rsr_batch_entry){call->sequence, length + i, call->token, false};
    rsr_batch batch = call->batch;
    batch.size_bytes = sizeof(batch);
    batch.entries = entries;
    batch.n_entries = call->n;
    call->err = (rsr_error)RSR_ERROR_INIT;
    return call->status = API->eval(call->engine, &batch, &call->err);
}

static void *eval_in_thread(void *argument) {
    (void)eval(argument);
    return NULL;
}

static void begin(struct call *call) {
    CHECK_INT(pthread_create(&call->thread, NULL, eval_in_thread, call), 0);
}

static void end(struct call *call) {
    pthread_join(call->thread, NULL);
    CHECK_INT(call->status, RSR_OK);
    CHECK_STR(call->err.message, "");
}

static const struct rsr_turn *last_in_queue(rsr_engine *engine) {
    pthread_mutex_lock(&engine->turns.lock);
    const struct rsr_turn *last = engine->turns.last;
    pthread_mutex_unlock(&engine->turns.lock);
    return last;
}

/* Returns when the call waits after all earlier waiters. */
static void begin_waiting(struct call *call) {
    const struct rsr_turn *last = last_in_queue(call->engine);
    begin(call);
    while (last_in_queue(call->engine) == last)
        usleep(100);
}

static rsr_sequence *new_sequence(rsr_engine *engine) {
    rsr_sequence *sequence = NULL;
    CHECK_INT(API->sequence_create(engine, &sequence, NULL), RSR_OK);
    return sequence;
}

static rsr_engine *gated_engine(rsr_model *model, const rsr_engine_options *given) {
    static struct rsr_backend gated;
    gated = rsr_backend_host;
    gated.run_chunk = gated_run;
    gated.drop_page = gated_drop;
    rsr_engine_options options = *given;
    options.n_threads = 2;
    options.max_batch = MAX_BATCH;
    if (options.kv_tokens == 0)
        options.kv_tokens = 8 * CONTEXT;
    rsr_engine *engine = NULL;
    CHECK_INT(rsr_engine_create_on(&gated, model, &options, &engine, NULL), RSR_OK);
    return engine;
}

static uint32_t free_tokens(const rsr_engine *engine) {
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    CHECK_INT(API->engine_get_info(engine, &info), RSR_OK);
    return info.kv_tokens_free;
}

/* ---- Turns ---- */

/* Calls these functions while a chunk runs, which ends only after they have returned. */
static void check_none_waits(rsr_engine *engine, rsr_sequence *idle, rsr_sequence *busy) {
    rsr_attention_stats attention = RSR_ATTENTION_STATS_INIT;
    rsr_head_stats head = RSR_HEAD_STATS_INIT;
    rsr_error err = RSR_ERROR_INIT;
    const uint32_t n_free = free_tokens(engine);
    CHECK_INT(API->engine_attention_stats(engine, true, &attention), RSR_OK);
    CHECK_STR(attention.name, "dense");
    CHECK_INT(API->engine_head_stats(engine, true, &head), RSR_OK);
    CHECK_INT(API->engine_profile(engine, false, NULL, 0, NULL), RSR_OK);
    CHECK_INT(API->sequence_truncate(idle, 1, NULL), RSR_OK);
    CHECK_INT(free_tokens(engine), n_free + RSR_PAGE_TOKENS);
    API->sequence_destroy(idle);
    CHECK_INT(free_tokens(engine), n_free + 2 * RSR_PAGE_TOKENS);
    API->sequence_destroy(new_sequence(engine));
    CHECK_INT(API->sequence_truncate(busy, 0, &err), RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "not done") != NULL);
}

/* A long prompt continues part by part, after requests that came meanwhile. */
static void test_order(rsr_model *model) {
    const rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *engine = gated_engine(model, &options);
    struct call idle = {.engine = engine, .sequence = new_sequence(engine), .n = 65},
                a = {.engine = engine, .sequence = new_sequence(engine), .token = 0, .n = 40},
                b = {.engine = engine, .sequence = new_sequence(engine), .token = 1, .n = 1},
                c = {.engine = engine, .sequence = new_sequence(engine), .token = 2, .n = 35};
    gate.is_open = true;
    CHECK_INT(eval(&idle), RSR_OK);
    close_gate();
    begin(&a);
    sem_wait(&gate.has_begun);
    begin_waiting(&b);
    begin_waiting(&c);
    check_none_waits(engine, idle.sequence, a.sequence);
    for (int i = 0; i < 7; i++)
        sem_post(&gate.may_run);
    end(&a);
    end(&b);
    end(&c);
    CHECK_STR(gate.log, "a16 b1 c16 a16 c16 a8 c3 ");
    CHECK(API->sequence_length(a.sequence) == 40 && API->sequence_length(c.sequence) == 35);
    while (sem_trywait(&gate.has_begun) == 0)
        ;
    API->sequence_destroy(a.sequence);
    API->sequence_destroy(b.sequence);
    API->sequence_destroy(c.sequence);
    API->engine_destroy(engine);
}

/* After a first chunk of one run, the next chunks are as long as the time allows. */
static void test_stall(rsr_model *model) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.max_stall_ms = 60000;
    rsr_engine *engine = gated_engine(model, &options);
    struct call a = {.engine = engine, .sequence = new_sequence(engine), .n = 50};
    close_gate();
    gate.is_open = true;
    CHECK_INT(eval(&a), RSR_OK);
    CHECK_STR(gate.log, "a8 a16 a16 a10 ");
    engine->token_ns = UINT64_MAX; /* the slowest there is */
    gate.log[0] = '\0';
    CHECK_INT(eval(&a), RSR_OK);
    CHECK_STR(gate.log, "a8 a16 a16 a10 ");
    engine->token_ns = options.max_stall_ms * UINT64_C(1000000) / 15;
    gate.log[0] = '\0';
    a.n = 9;
    CHECK_INT(eval(&a), RSR_OK);
    CHECK_STR(gate.log, "a8 a1 ");
    API->sequence_destroy(a.sequence);
    API->engine_destroy(engine);
}

/* ---- A page that is given back to the system ---- */

static void *fork_in_thread(void *argument) {
    struct call *call = argument;
    rsr_sequence *fork = NULL;
    call->err = (rsr_error)RSR_ERROR_INIT;
    call->status = API->sequence_fork(call->sequence, &fork, &call->err);
    API->sequence_destroy(fork);
    return NULL;
}

static void *destroy_in_thread(void *argument) {
    API->sequence_destroy(argument);
    return NULL;
}

/* The page counts as free while its memory goes back, and a caller that needs it waits. */
static void test_dropping(rsr_model *model, void *(*take_page)(void *)) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.kv_tokens = 3 * RSR_PAGE_TOKENS;
    rsr_engine *engine = gated_engine(model, &options);
    struct call ended = {.engine = engine, .sequence = new_sequence(engine), .n = 65},
                other = {.engine = engine, .sequence = new_sequence(engine), .n = 1},
                taker = {.engine = engine, .sequence = new_sequence(engine), .n = 60};
    pthread_t dropping;
    close_gate();
    gate.is_open = gate.holds_drops = true;
    CHECK_INT(eval(&ended), RSR_OK);
    CHECK_INT(eval(&taker), RSR_OK);
    CHECK_INT(pthread_create(&dropping, NULL, destroy_in_thread, ended.sequence), 0);
    sem_wait(&gate.has_begun);
    gate.holds_drops = false;
    CHECK_INT(free_tokens(engine), 2 * RSR_PAGE_TOKENS);
    CHECK_INT(eval(&other), RSR_OK); /* takes the page that keeps its memory */
    CHECK_INT(pthread_create(&taker.thread, NULL, take_page, &taker), 0);
    usleep(20000); /* it finds no page in this time */
    CHECK_INT(free_tokens(engine), RSR_PAGE_TOKENS);
    sem_post(&gate.may_run);
    end(&taker);
    pthread_join(dropping, NULL);
    API->sequence_destroy(other.sequence);
    API->sequence_destroy(taker.sequence);
    CHECK_INT(free_tokens(engine), 3 * RSR_PAGE_TOKENS);
    API->engine_destroy(engine);
}

/* ---- Entries that fail alone ---- */

enum { N_SEQUENCES = 4, N_EACH = 20 };

struct failing {
    rsr_engine *engine;
    rsr_sequence *sequences[N_SEQUENCES];
    rsr_batch_entry
        entries[N_SEQUENCES * N_EACH]; /* the sequences alternate; all entries want logits */
    rsr_pick picks[N_SEQUENCES];       /* after the last entry of each sequence */
    float logits[N_SEQUENCES * N_EACH * VOCAB];
    uint32_t picked[N_SEQUENCES];
    rsr_status statuses[N_SEQUENCES * N_EACH];
    rsr_batch batch;
    rsr_error err;
};

static void make_failing(struct failing *f, rsr_engine *engine) {
    memset(f, 0, sizeof(*f));
    f->engine = engine;
    for (uint32_t s = 0; s < N_SEQUENCES; s++) {
        f->sequences[s] = new_sequence(engine);
        f->picks[s].entry = N_SEQUENCES * (N_EACH - 1) + s;
    }
    for (uint32_t i = 0; i < N_SEQUENCES * N_EACH; i++)
        f->entries[i] = (rsr_batch_entry){f->sequences[i % N_SEQUENCES], i / N_SEQUENCES,
                                          1 + (i % N_SEQUENCES + i) % (VOCAB - 1), true};
    f->err = (rsr_error)RSR_ERROR_INIT;
    f->batch = (rsr_batch)RSR_BATCH_INIT;
    f->batch.entries = f->entries;
    f->batch.n_entries = N_SEQUENCES * N_EACH;
    f->batch.logits = f->logits;
    f->batch.logits_capacity = sizeof(f->logits) / sizeof(f->logits[0]);
    f->batch.picks = f->picks;
    f->batch.n_picks = N_SEQUENCES;
    f->batch.picked = f->picked;
    f->batch.statuses = f->statuses;
}

static void free_failing(struct failing *f) {
    for (uint32_t s = 0; s < N_SEQUENCES; s++)
        API->sequence_destroy(f->sequences[s]);
}

/* Checks that sequence `failed` failed, and that the others have the results of `whole`. */
static void check_failed(const struct failing *f, const struct failing *whole, uint32_t failed,
                         rsr_status status) {
    for (uint32_t s = 0; s < N_SEQUENCES; s++) {
        CHECK_INT(API->sequence_length(f->sequences[s]), s == failed ? 0 : N_EACH);
        CHECK_INT(f->picked[s], s == failed ? UINT32_MAX : whole->picked[s]);
    }
    for (uint32_t i = 0; i < N_SEQUENCES * N_EACH; i++) {
        const bool is_failed = i % N_SEQUENCES == failed;
        CHECK_INT(f->statuses[i], is_failed ? status : RSR_OK);
        CHECK(is_failed ||
              memcmp(f->logits + i * VOCAB, whole->logits + i * VOCAB, VOCAB * 4) == 0);
    }
}

/* One bad entry at a time, first, in the middle or last: without `statuses` it fails the batch,
 * with them its sequence alone; either way it is named. */
static void check_bad_entry(rsr_engine *engine, const struct failing *whole, uint32_t at,
                            rsr_batch_entry bad, rsr_status status, const char *why) {
    static struct failing f;
    char named[96];
    const uint32_t n_free = free_tokens(engine);
    make_failing(&f, engine);
    snprintf(named, sizeof(named), "batch entry %u: %s", at, why);
    f.entries[at].token = bad.token;
    f.entries[at].position += bad.position;
    CHECK_INT(API->eval(engine, &f.batch, &f.err), status);
    CHECK(strstr(f.err.message, named) == f.err.message);
    check_failed(&f, whole, at % N_SEQUENCES, status);
    CHECK_INT(free_tokens(engine), n_free - (N_SEQUENCES - 1) * RSR_PAGE_TOKENS);
    free_failing(&f);
    make_failing(&f, engine);
    f.entries[at].token = bad.token;
    f.entries[at].position += bad.position;
    f.batch.statuses = NULL;
    CHECK_INT(API->eval(engine, &f.batch, &f.err), status);
    CHECK(strstr(f.err.message, named) == f.err.message);
    for (uint32_t s = 0; s < N_SEQUENCES; s++)
        CHECK_INT(API->sequence_length(f.sequences[s]), 0);
    CHECK_INT(free_tokens(engine), n_free);
    free_failing(&f);
}

static void check_full_pool(rsr_model *model, const struct failing *whole) {
    static struct failing f;
    rsr_engine *engine = fake_engine(model, 2, MAX_BATCH, (N_SEQUENCES - 1) * RSR_PAGE_TOKENS);
    make_failing(&f, engine);
    CHECK_INT(API->eval(engine, &f.batch, &f.err), RSR_ERR_FULL);
    CHECK(strstr(f.err.message, "batch entry 3: all 3 KV pages") == f.err.message);
    check_failed(&f, whole, N_SEQUENCES - 1, RSR_ERR_FULL);
    free_failing(&f);
    API->engine_destroy(engine);
}

/* A token whose embedding is NaN makes its sequence fail. */
static void check_not_finite(rsr_engine *engine, const struct failing *whole, float *embedding) {
    static struct failing f;
    const float saved = embedding[0];
    for (uint32_t at = 0; at < N_SEQUENCES * N_EACH; at += 13) {
        make_failing(&f, engine);
        f.entries[at].token = 0; /* no other entry has this token */
        embedding[0] = NAN;
        CHECK_INT(API->eval(engine, &f.batch, &f.err), RSR_ERR_NUMERIC);
        embedding[0] = saved;
        char named[64];
        snprintf(named, sizeof(named), "batch entry %u: the activations of block 0", at);
        CHECK(strstr(f.err.message, named) == f.err.message);
        check_failed(&f, whole, at % N_SEQUENCES, RSR_ERR_NUMERIC);
        free_failing(&f);
    }
}

/* Callers whose entries and picks are longer than this runtime's. */
static void check_longer(rsr_engine *engine, const struct failing *whole) {
    static struct failing f;
    static struct {
        rsr_batch_entry entry;
        uint64_t unknown;
    } entries[N_SEQUENCES * N_EACH];
    struct {
        rsr_pick pick;
        uint32_t unknown[4];
    } picks[N_SEQUENCES] = {0};
    make_failing(&f, engine);
    for (uint32_t i = 0; i < N_SEQUENCES * N_EACH; i++)
        entries[i].entry = f.entries[i];
    for (uint32_t s = 0; s < N_SEQUENCES; s++)
        picks[s].pick = f.picks[s];
    f.batch.entries = &entries[0].entry;
    f.batch.entry_bytes = sizeof(entries[0]);
    f.batch.picks = &picks[0].pick;
    f.batch.pick_bytes = sizeof(picks[0]);
    picks[3].unknown[1] = 1;
    CHECK_INT(API->eval(engine, &f.batch, &f.err), RSR_ERR_ARGUMENT);
    CHECK(strstr(f.err.message, "byte 20 of element 3") != NULL);
    picks[3].unknown[1] = 0;
    CHECK_INT(API->eval(engine, &f.batch, &f.err), RSR_OK);
    check_failed(&f, whole, N_SEQUENCES, RSR_OK);
    f.batch.entry_bytes = 8;
    CHECK_INT(API->eval(engine, &f.batch, &f.err), RSR_ERR_ARGUMENT);
    CHECK(strstr(f.err.message, "at least 24") != NULL);
    free_failing(&f);
}

static void test_failing(rsr_model *model, rsr_engine *engine, float *embedding) {
    static struct failing whole;
    make_failing(&whole, engine);
    CHECK_INT(API->eval(engine, &whole.batch, &whole.err), RSR_OK);
    check_failed(&whole, &whole, N_SEQUENCES, RSR_OK);
    const uint32_t places[] = {0, 1, 17, 42, N_SEQUENCES * N_EACH - 1};
    for (uint32_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        check_bad_entry(engine, &whole, places[i], (rsr_batch_entry){.token = VOCAB},
                        RSR_ERR_ARGUMENT, "token 7 is outside the vocabulary of 7");
        check_bad_entry(engine, &whole, places[i], (rsr_batch_entry){.token = 1, .position = 1},
                        RSR_ERR_ARGUMENT, "position ");
    }
    check_full_pool(model, &whole);
    check_not_finite(engine, &whole, embedding);
    check_longer(engine, &whole);
    free_failing(&whole);
}

/* ---- Progress ---- */

struct watch {
    rsr_engine *engine;
    rsr_sequence *watched, *other;
    size_t seen[4], n, stop_at;
};

static bool on_progress(void *user, size_t n_done, size_t n_entries) {
    struct watch *watch = user;
    struct call same = {.engine = watch->engine, .sequence = watch->watched, .n = 1},
                other = {.engine = watch->engine, .sequence = watch->other, .n = 1};
    CHECK_INT(n_entries, 40);
    watch->seen[watch->n++] = n_done;
    CHECK_INT(eval(&same), RSR_ERR_ARGUMENT);
    CHECK(strstr(same.err.message, "not done") != NULL);
    CHECK_INT(eval(&other), RSR_OK);
    return n_done != watch->stop_at;
}

static void test_progress(rsr_engine *engine) {
    struct watch watch = {
        .engine = engine, .watched = new_sequence(engine), .other = new_sequence(engine)};
    struct call call = {.engine = engine,
                        .sequence = watch.watched,
                        .n = 40,
                        .batch = {.progress = on_progress, .progress_user = &watch}};
    const uint32_t n_free = free_tokens(engine);
    watch.stop_at = 32;
    CHECK_INT(eval(&call), RSR_ERR_STOPPED);
    CHECK(strstr(call.err.message, "32 of 40") != NULL);
    CHECK_INT(API->sequence_length(watch.watched), 0);
    CHECK_INT(free_tokens(engine), n_free - RSR_PAGE_TOKENS); /* of the other */
    watch.stop_at = watch.n = 0;
    CHECK_INT(eval(&call), RSR_OK);
    CHECK(watch.n == 2 && watch.seen[0] == 16 && watch.seen[1] == 32);
    CHECK(API->sequence_length(watch.watched) == 40 && API->sequence_length(watch.other) == 4);
    API->sequence_destroy(watch.watched);
    API->sequence_destroy(watch.other);
}

/* ---- Cancelling ---- */

struct probed {
    rsr_cancel cancel;
    uint32_t n, cancel_at; /* calls of the probe; UINT32_MAX: never */
};

static void on_probe(void *user, const rsr_probe_point *point) {
    struct probed *probed = user;
    (void)point;
    if (probed->n++ == probed->cancel_at)
        __atomic_store_n(&probed->cancel.requested, 1, __ATOMIC_RELAXED);
}

/* A walk that is cancelled anywhere ends after the next barrier, with any number of workers, and
 * leaves no trace. */
static void test_cancel(rsr_model *model, uint32_t n_threads) {
    struct probed probed = {.cancel_at = UINT32_MAX};
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = n_threads;
    options.all_threads = true;
    options.max_batch = MAX_BATCH;
    options.probe = on_probe;
    options.probe_user = &probed;
    rsr_engine *engine = NULL;
    CHECK_INT(API->engine_create(model, &options, &engine, NULL), RSR_OK);
    struct call call = {.engine = engine,
                        .sequence = new_sequence(engine),
                        .token = 3,
                        .n = 20,
                        .batch = {.cancel = &probed.cancel}};
    CHECK_INT(eval(&call), RSR_OK);
    const uint32_t n_all = probed.n, n_free = free_tokens(engine);
    CHECK(n_all > 40);
    for (uint32_t at = 0; at < n_all; at++) {
        probed = (struct probed){.cancel_at = at};
        const rsr_status status = eval(&call);
        /* After the last barrier nothing is left to cancel. */
        CHECK(status == RSR_ERR_STOPPED || (at + 3 >= n_all && status == RSR_OK));
        CHECK(probed.n <= at + 6); /* operations before the next barrier */
        CHECK_INT(API->sequence_length(call.sequence), status == RSR_OK ? 40 : 20);
        CHECK_INT(free_tokens(engine), n_free);
        CHECK_INT(API->sequence_truncate(call.sequence, 20, NULL), RSR_OK);
    }
    probed = (struct probed){.cancel = {1}, .cancel_at = UINT32_MAX};
    CHECK_INT(eval(&call), RSR_ERR_STOPPED);
    CHECK_INT(probed.n, 0);
    API->sequence_destroy(call.sequence);
    API->engine_destroy(engine);
}

struct canceller {
    rsr_cancel cancel;
    atomic_bool ends;
};

static void *cancel_again_and_again(void *argument) {
    struct canceller *canceller = argument;
    uint64_t seed = 1;
    while (!atomic_load(&canceller->ends)) {
        usleep((useconds_t)(check_random(&seed) % 200));
        __atomic_store_n(&canceller->cancel.requested, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* Cancels at any moment, with more workers than CPUs: all workers end after the same operation. */
static void test_cancel_anytime(rsr_model *model) {
    struct canceller canceller = {.cancel = RSR_CANCEL_INIT};
    rsr_engine *engine = fake_engine(model, 5, MAX_BATCH, 0);
    struct call call = {.engine = engine,
                        .sequence = new_sequence(engine),
                        .n = 1,
                        .batch = {.cancel = &canceller.cancel}};
    uint32_t n_stopped = 0;
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, cancel_again_and_again, &canceller), 0);
    for (uint32_t i = 0; i < 4000; i++) {
        n_stopped += eval(&call) == RSR_ERR_STOPPED;
        CHECK_INT(API->sequence_length(call.sequence), call.status == RSR_OK);
        CHECK_INT(API->sequence_truncate(call.sequence, 0, NULL), RSR_OK);
        __atomic_store_n(&canceller.cancel.requested, 0, __ATOMIC_RELAXED);
    }
    atomic_store(&canceller.ends, true);
    pthread_join(thread, NULL);
    CHECK(n_stopped > 0);
    API->sequence_destroy(call.sequence);
    API->engine_destroy(engine);
}

/* After a cancelled call, results are as if it had not happened. */
static void test_after_cancel(rsr_model *model) {
    rsr_engine *engine = fake_engine(model, 2, MAX_BATCH, 0);
    uint32_t tokens[20] = {1, 2, 3};
    float expected[20 * VOCAB], logits[20 * VOCAB];
    rsr_sequence *plain = new_sequence(engine);
    CHECK_INT(fake_feed(engine, plain, tokens, 20, VOCAB, expected), RSR_OK);
    rsr_cancel cancel = {1};
    struct call call = {
        .engine = engine, .sequence = new_sequence(engine), .n = 20, .batch = {.cancel = &cancel}};
    CHECK_INT(eval(&call), RSR_ERR_STOPPED);
    CHECK_INT(fake_feed(engine, call.sequence, tokens, 20, VOCAB, logits), RSR_OK);
    CHECK(memcmp(expected, logits, sizeof(logits)) == 0);
    API->sequence_destroy(plain);
    API->sequence_destroy(call.sequence);
    API->engine_destroy(engine);
}

/* A cancelled generation has not failed. */
static void test_generation(rsr_engine *engine) {
    const uint32_t prompt[40] = {1};
    struct watch watch = {
        .engine = engine, .watched = new_sequence(engine), .other = new_sequence(engine)};
    rsr_cancel cancel = {1};
    rsr_generate_options options = RSR_GENERATE_OPTIONS_INIT;
    rsr_generate_result result = RSR_GENERATE_RESULT_INIT;
    rsr_error err = RSR_ERROR_INIT;
    options.prompt_tokens = prompt;
    options.n_prompt_tokens = 40;
    options.cancel = &cancel;
    CHECK_INT(API->generate(engine, watch.watched, NULL, 0, &options, NULL, NULL, &result, &err),
              RSR_OK);
    CHECK(result.stop_reason == RSR_STOP_CANCELLED && result.tokens == 0);
    CHECK(result.prompt_tokens == 0 && API->sequence_length(watch.watched) == 0);
    options.cancel = NULL;
    options.progress = on_progress;
    options.progress_user = &watch;
    watch.stop_at = 16;
    CHECK_INT(API->generate(engine, watch.watched, NULL, 0, &options, NULL, NULL, &result, &err),
              RSR_OK);
    CHECK(result.stop_reason == RSR_STOP_CALLBACK && result.tokens == 0);
    CHECK_STR(err.message, "");
    API->sequence_destroy(watch.watched);
    API->sequence_destroy(watch.other);
}

int main(void) {
    static struct fake_module fake;
    const struct fake_shape shape = fake_small_shape(VOCAB, CONTEXT);
    alarm(ALARM_SECONDS);
    sem_init(&gate.may_run, 0, 0);
    sem_init(&gate.has_begun, 0, 0);
    fake_module_init(&fake, &shape, 1);
    /* An embedding that the head does not share, because a test makes one of its rows NaN. */
    static float embedding[VOCAB * FAKE_SMALL_HIDDEN];
    memcpy(embedding, fake.tensors.embedding.data, sizeof(embedding));
    fake.tensors.embedding.data = embedding;
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    test_order(model);
    test_stall(model);
    test_dropping(model, eval_in_thread);
    test_dropping(model, fork_in_thread);
    rsr_engine *engine = fake_engine(model, 2, MAX_BATCH, 4 * CONTEXT);
    test_progress(engine);
    test_generation(engine);
    test_failing(model, engine, embedding);
    API->engine_destroy(engine);
    for (uint32_t n_threads = 1; n_threads <= 4; n_threads++)
        test_cancel(model, n_threads);
    test_cancel_anytime(model);
    test_after_cancel(model);
    API->close(model);
    return CHECK_EXIT();
}
