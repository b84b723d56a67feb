/* engine.c - makes and ends engines: options, threads, arena, scratch, KV pool. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"
#include "host/cpu.h"
#include "host/host_memory.h"

#define DEFAULT_MAX_BATCH 128u
#define LIMIT_THREADS 1024u
#define LIMIT_BATCH 65536u
#define LIMIT_KV_TOKENS (UINT32_MAX - RSR_PAGE_TOKENS + 1) /* whole pages, counted in 32 bits */

static char *map_memory(uint64_t bytes) {
    if (bytes > SIZE_MAX / 2)
        return NULL;
    void *memory =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* ---- Options ---- */

static rsr_status resolve_options(const rsr_model *model, rsr_engine_options *o, rsr_error *err) {
    const uint32_t context = model->module->hyper.context;
    if (o->context > context)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "context %u exceeds the %u positions of the checkpoint", o->context,
                        context);
    if (o->n_threads > LIMIT_THREADS)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "%u threads; at most %u", o->n_threads,
                        LIMIT_THREADS);
    if (o->max_batch > LIMIT_BATCH)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "max_batch %u; at most %u", o->max_batch,
                        LIMIT_BATCH);
    if (o->kv_tokens > LIMIT_KV_TOKENS)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "kv_tokens %u; at most %u", o->kv_tokens,
                        LIMIT_KV_TOKENS);
    if (o->context == 0)
        o->context = context;
    if (o->kv_tokens == 0)
        o->kv_tokens = o->context;
    if (o->max_batch == 0)
        o->max_batch = DEFAULT_MAX_BATCH;
    if (o->n_threads == 0) {
        o->n_threads = rsr_cpu_available(rsr_cpu_placed());
        if (o->n_threads > LIMIT_THREADS)
            o->n_threads = LIMIT_THREADS;
    }
    return RSR_OK;
}

/* ---- Memory ---- */

static uint64_t round_up_64(uint64_t bytes) {
    return (bytes + 63) & ~UINT64_C(63);
}

/* The arena holds the largest step's buffers for max_batch tokens. */
static rsr_status make_arena(rsr_engine *engine, rsr_error *err) {
    const struct rsr_target *target = engine->model->target;
    uint64_t per_token = 64;
    for (uint32_t i = 0; i < target->n_steps; i++)
        if (target->steps[i].arena_bytes_per_token > per_token)
            per_token = target->steps[i].arena_bytes_per_token;
    uint64_t bytes;
    if (!__builtin_mul_overflow(per_token, (uint64_t)engine->max_batch, &bytes))
        engine->arena = map_memory(bytes);
    if (engine->arena == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY,
                        "no memory for the buffers of %u tokens; ask for a smaller max_batch",
                        engine->max_batch);
    engine->arena_bytes = bytes;
    madvise(engine->arena, (size_t)bytes, MADV_HUGEPAGE);
    return RSR_OK;
}

static rsr_status make_workers(rsr_engine *engine, rsr_error *err) {
    const struct rsr_target *target = engine->model->target;
    uint64_t per_worker = engine->attention->scratch_bytes(engine), n_ops = 1;
    bool ok = per_worker != 0;
    for (uint32_t i = 0; i < target->n_kernels; i++)
        if (target->kernels[i].scratch_bytes > per_worker)
            per_worker = target->kernels[i].scratch_bytes;
    for (uint32_t i = 0; i < target->n_steps; i++)
        if (target->steps[i].n_ops > n_ops)
            n_ops = target->steps[i].n_ops;

    ok = ok && per_worker < UINT64_MAX - 64 &&
         !__builtin_mul_overflow(round_up_64(per_worker), (uint64_t)engine->n_threads,
                                 &engine->scratch_bytes);
    if (ok) {
        engine->scratch = map_memory(engine->scratch_bytes);
        engine->workers = aligned_alloc(64, engine->n_threads * sizeof(*engine->workers));
        ok = engine->scratch != NULL && engine->workers != NULL;
    }
    if (engine->workers != NULL)
        memset(engine->workers, 0, engine->n_threads * sizeof(*engine->workers));
    for (uint32_t i = 0; ok && i < engine->n_threads; i++) {
        engine->workers[i].scratch = engine->scratch + i * round_up_64(per_worker);
        engine->workers[i].samples = calloc((size_t)n_ops, sizeof(struct rsr_op_sample));
        ok = engine->workers[i].samples != NULL;
    }
    return ok ? RSR_OK
              : rsr_fail(err, RSR_ERR_MEMORY, "no memory for the scratch space of %u threads",
                         engine->n_threads);
}

static rsr_status make_chunk(rsr_engine *engine, rsr_error *err) {
    struct rsr_chunk *chunk = &engine->chunk;
    chunk->positions = calloc(engine->max_batch, sizeof(*chunk->positions));
    chunk->runs = calloc(engine->max_batch, sizeof(*chunk->runs));
    chunk->wanted = calloc(engine->max_batch, sizeof(*chunk->wanted));
    if (chunk->positions == NULL || chunk->runs == NULL || chunk->wanted == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a batch of %u", engine->max_batch);
    return RSR_OK;
}

/* ---- Life ---- */

static void free_engine(rsr_engine *engine, bool forked) {
    rsr_worker_pool_destroy(engine->pool, forked);
    for (uint32_t i = 0; engine->workers != NULL && i < engine->n_threads; i++)
        free(engine->workers[i].samples);
    free(engine->workers);
    if (engine->scratch != NULL)
        munmap(engine->scratch, (size_t)engine->scratch_bytes);
    if (engine->arena != NULL)
        munmap(engine->arena, (size_t)engine->arena_bytes);
    rsr_kv_pool_destroy(&engine->kv);
    rsr_picks_destroy(engine);
    free(engine->chunk.positions);
    free(engine->chunk.runs);
    free(engine->chunk.wanted);
    if (!forked)
        pthread_mutex_destroy(&engine->call_lock);
    free(engine);
}

/* `shrinks`: neither a context nor kv_tokens were asked for. */
static rsr_status fill_engine(rsr_engine *engine, const rsr_engine_options *options, bool shrinks,
                              rsr_error *err) {
    const struct rsr_hyper *hyper = &engine->model->module->hyper;
    rsr_status status = engine->attention->begin(engine, err);
    if (status == RSR_OK) {
        /* What storing loses is certified through sidecars. */
        const uint32_t sidecar_bytes = engine->attention->sidecar_bytes(engine);
        const struct rsr_kv_format format = rsr_kv_format_of(
            engine->kv_type, hyper->head_dim, sidecar_bytes != 0, engine->model->ops);
        const struct rsr_kv_pool_size size = {rsr_pages_of(options->kv_tokens), rsr_host_memory(),
                                              shrinks};
        status = rsr_kv_pool_create(&engine->kv, &rsr_kv_layout_host, &format, hyper, sidecar_bytes,
                                    &size, err);
    }
    if (status == RSR_OK)
        status =
            rsr_worker_pool_create(options->n_threads, options->pin_threads, &engine->pool, err);
    if (status != RSR_OK)
        return status;
    engine->n_threads = rsr_worker_pool_count(engine->pool);
    status = make_workers(engine, err);
    if (status == RSR_OK)
        status = make_arena(engine, err);
    if (status == RSR_OK)
        status = make_chunk(engine, err);
    if (status == RSR_OK)
        status = rsr_picks_create(engine, err);
    return status;
}

rsr_status rsr_api_engine_create(rsr_model *model, const rsr_engine_options *given,
                                 rsr_engine **result, rsr_error *err) {
    if (model == NULL || result == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_engine_create: a pointer is NULL");
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_status status = rsr_read_options(&options, sizeof(options), given, err);
    if (status == RSR_OK)
        status = rsr_check_owner(model->owner_pid, err);
    const bool shrinks = options.context == 0 && options.kv_tokens == 0;
    if (status == RSR_OK)
        status = resolve_options(model, &options, err);
    const struct rsr_attention *attention = NULL;
    struct rsr_attention_options attention_options;
    if (status == RSR_OK)
        status = rsr_attention_choose(options.attention, &attention, &attention_options, err);
    enum rsr_kv_type kv_type = rsr_kv_default(model->module->hyper.pooling);
    if (status == RSR_OK)
        status = rsr_kv_type_parse(options.kv_type, &kv_type, err);
    if (status != RSR_OK)
        return status;

    rsr_engine *engine = calloc(1, sizeof(*engine));
    if (engine == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for an engine");
    engine->api = model->api;
    engine->model = model;
    engine->owner_pid = (int)getpid();
    engine->context = options.context;
    engine->max_batch = options.max_batch;
    engine->probe = options.probe;
    engine->probe_user = options.probe_user;
    engine->attention = attention;
    engine->attention_options = attention_options;
    engine->kv_type = kv_type;
    pthread_mutex_init(&engine->call_lock, NULL);
    status = fill_engine(engine, &options, shrinks, err);
    if (status != RSR_OK) {
        free_engine(engine, false);
        return status;
    }
    *result = engine;
    return RSR_OK;
}

void rsr_api_engine_destroy(rsr_engine *engine) {
    if (engine != NULL)
        free_engine(engine, engine->owner_pid != (int)getpid());
}

rsr_status rsr_api_engine_get_info(const rsr_engine *engine, rsr_engine_info *info) {
    if (engine == NULL || info == NULL)
        return RSR_ERR_ARGUMENT;
    rsr_status status = rsr_check_owner(engine->owner_pid, NULL);
    if (status != RSR_OK)
        return status;
    /* The lock is the one field of a const engine that a reader changes. */
    pthread_mutex_t *lock = (pthread_mutex_t *)&engine->call_lock;
    pthread_mutex_lock(lock);
    const rsr_engine_info known = {
        .n_threads = engine->n_threads,
        .context = engine->context,
        .kv_tokens = engine->kv.n_pages * RSR_PAGE_TOKENS,
        .max_batch = engine->max_batch,
        .kv_tokens_free = engine->kv.n_free * RSR_PAGE_TOKENS,
        .kv_bytes = engine->kv.page_bytes * engine->kv.n_pages,
        .arena_bytes = engine->arena_bytes,
        .kv_type = rsr_kv_type_name(engine->kv_type),
    };
    pthread_mutex_unlock(lock);
    return rsr_write_info(info, &known, sizeof(known), NULL);
}

/* Statistics of one kind: every worker keeps its own, which `add` adds to a total. */
struct stats_kind {
    size_t offset, size_bytes; /* in struct rsr_worker_state */
    void (*add)(void *total, const void *worker);
};

/* `total` holds what is no sum; it is completed, given out and, with `reset`, begun anew. */
static rsr_status take_stats(rsr_engine *engine, const struct stats_kind *kind, bool reset,
                             void *total, void *stats) {
    rsr_status status = rsr_check_owner(engine->owner_pid, NULL);
    if (status != RSR_OK)
        return status;
    pthread_mutex_lock(&engine->call_lock);
    for (uint32_t i = 0; i < engine->n_threads; i++)
        kind->add(total, (const char *)&engine->workers[i] + kind->offset);
    status = rsr_write_info(stats, total, kind->size_bytes, NULL);
    for (uint32_t i = 0; status == RSR_OK && reset && i < engine->n_threads; i++)
        memset((char *)&engine->workers[i] + kind->offset, 0, kind->size_bytes);
    pthread_mutex_unlock(&engine->call_lock);
    return status;
}

static void add_attention(void *total_stats, const void *worker_stats) {
    rsr_attention_stats *total = total_stats;
    const rsr_attention_stats *worker = worker_stats;
    total->dense += worker->dense;
    total->indexed += worker->indexed;
    total->keys += worker->keys;
    total->pages += worker->pages;
    total->pages_skipped += worker->pages_skipped;
    total->scanned += worker->scanned;
    total->plane2 += worker->plane2;
    total->exact += worker->exact;
    total->max_mass = fmax(total->max_mass, worker->max_mass);
    total->max_error = fmax(total->max_error, worker->max_error);
    total->max_storage_error = fmax(total->max_storage_error, worker->max_storage_error);
}

static void add_head(void *total_stats, const void *worker_stats) {
    rsr_head_stats *total = total_stats;
    const rsr_head_stats *worker = worker_stats;
    total->sketched += worker->sketched;
    total->full += worker->full;
    total->scanned += worker->scanned;
    total->plane2 += worker->plane2;
    total->exact += worker->exact;
}

rsr_status rsr_api_engine_attention_stats(rsr_engine *engine, bool reset,
                                          rsr_attention_stats *stats) {
    static const struct stats_kind kind = {offsetof(struct rsr_worker_state, attention),
                                           sizeof(rsr_attention_stats), add_attention};
    if (engine == NULL || stats == NULL)
        return RSR_ERR_ARGUMENT;
    rsr_attention_stats total = {.min_keys = engine->attention_options.min_keys,
                                 .name = engine->attention->name};
    return take_stats(engine, &kind, reset, &total, stats);
}

rsr_status rsr_api_engine_head_stats(rsr_engine *engine, bool reset, rsr_head_stats *stats) {
    static const struct stats_kind kind = {offsetof(struct rsr_worker_state, head),
                                           sizeof(rsr_head_stats), add_head};
    if (engine == NULL || stats == NULL)
        return RSR_ERR_ARGUMENT;
    rsr_head_stats total = {.n_planes = engine->picks.shape.n_planes};
    return take_stats(engine, &kind, reset, &total, stats);
}

const rsr_model *rsr_engine_model(const rsr_engine *engine) {
    return engine->model;
}
