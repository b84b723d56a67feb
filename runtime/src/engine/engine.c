/* engine.c - creates and ends engines: options, the part that all backends share, and the
 * backend. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"

#define DEFAULT_MAX_BATCH 128u
#define LIMIT_BATCH 65536u
#define LIMIT_KV_TOKENS (UINT32_MAX - RSR_PAGE_TOKENS + 1) /* whole pages, counted in 32 bits */

/* Resolves the options that do not depend on the backend. */
static rsr_status resolve_options(const rsr_model *model, const rsr_engine_options *o,
                                  rsr_engine_info *info, rsr_error *err) {
    const uint32_t context = model->module->hyper.context;
    if (o->context > context)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "context %u exceeds the %u positions of the checkpoint", o->context,
                        context);
    if (o->max_batch > LIMIT_BATCH)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "max_batch %u; at most %u", o->max_batch,
                        LIMIT_BATCH);
    if (o->kv_tokens > LIMIT_KV_TOKENS)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "kv_tokens %u; at most %u", o->kv_tokens,
                        LIMIT_KV_TOKENS);
    info->context = o->context != 0 ? o->context : context;
    const uint32_t kv_tokens = o->kv_tokens != 0 ? o->kv_tokens : info->context;
    info->kv_tokens =
        rsr_pages_of(kv_tokens < LIMIT_KV_TOKENS ? kv_tokens : LIMIT_KV_TOKENS) * RSR_PAGE_TOKENS;
    info->max_batch = o->max_batch != 0 ? o->max_batch : DEFAULT_MAX_BATCH;
    return RSR_OK;
}

static rsr_status make_chunk(rsr_engine *engine, rsr_error *err) {
    struct rsr_chunk *chunk = &engine->chunk;
    const uint32_t n = engine->info.max_batch;
    chunk->positions = calloc(n, sizeof(*chunk->positions));
    chunk->runs = calloc(n, sizeof(*chunk->runs));
    chunk->wanted = calloc(n, sizeof(*chunk->wanted));
    chunk->failed_ops = calloc(n, sizeof(*chunk->failed_ops));
    if (engine->info.n_states != 0) {
        engine->replay = calloc(n, sizeof(*engine->replay));
        chunk->state_runs = calloc(n, sizeof(*chunk->state_runs));
        chunk->next_tokens = calloc(n, sizeof(*chunk->next_tokens));
    }
    if ((engine->info.n_states != 0 &&
         (engine->replay == NULL || chunk->state_runs == NULL || chunk->next_tokens == NULL)) ||
        chunk->positions == NULL || chunk->runs == NULL || chunk->wanted == NULL ||
        chunk->failed_ops == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a batch of %u", n);
    return RSR_OK;
}

static void free_engine(rsr_engine *engine, bool forked) {
    if (engine->device != NULL)
        engine->backend->destroy(engine, forked);
    rsr_kv_pool_destroy(&engine->kv);
    rsr_kv_pool_destroy(&engine->states);
    free(engine->replay);
    free(engine->chunk.state_runs);
    free(engine->chunk.next_tokens);
    rsr_picks_free(&engine->picks);
    free(engine->chunk.positions);
    free(engine->chunk.runs);
    free(engine->chunk.wanted);
    free(engine->chunk.failed_ops);
    if (!forked) {
        pthread_cond_destroy(&engine->dropped);
        pthread_mutex_destroy(&engine->lock);
        rsr_turns_destroy(&engine->turns);
    }
    free(engine);
}

rsr_status rsr_engine_create_on(const struct rsr_backend *backend, rsr_model *model,
                                const rsr_engine_options *given, rsr_engine **result,
                                rsr_error *err) {
    if (model == NULL || result == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_engine_create: a pointer is NULL");
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine_info info = {0};
    rsr_status status = rsr_read_options(&options, sizeof(options), given, err);
    if (status == RSR_OK)
        status = rsr_check_owner(model->owner_pid, err);
    if (status == RSR_OK)
        status = resolve_options(model, &options, &info, err);
    if (status != RSR_OK)
        return status;

    rsr_engine *engine = calloc(1, sizeof(*engine));
    if (engine == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for an engine");
    engine->api = model->api;
    engine->model = model;
    engine->backend = backend;
    engine->owner_pid = (int)getpid();
    engine->info = info;
    engine->probe = options.probe;
    engine->probe_user = options.probe_user;
    engine->max_stall_ns = options.max_stall_ms * UINT64_C(1000000);
    pthread_mutex_init(&engine->lock, NULL);
    pthread_cond_init(&engine->dropped, NULL);
    rsr_turns_create(&engine->turns);
    status = backend->create(engine, &options, err);
    if (status == RSR_OK)
        status = rsr_kv_pool_create(&engine->kv, engine->info.kv_tokens / RSR_PAGE_TOKENS, err);
    if (status == RSR_OK && engine->info.n_states != 0)
        status = rsr_kv_pool_create(&engine->states, engine->info.n_states, err);
    if (status == RSR_OK)
        status = make_chunk(engine, err);
    if (status != RSR_OK) {
        free_engine(engine, false);
        return status;
    }
    backend->profile(engine);
    *result = engine;
    return RSR_OK;
}

/* NULL: no backend has such a device. */
static const struct rsr_backend *backend_of(const char *device) {
    if (device == NULL || device[0] == '\0' || strcmp(device, "cpu") == 0)
        return &rsr_backend_host;
    const size_t n = strlen(rsr_backend_cuda.name);
    const bool is_cuda =
        strncmp(device, rsr_backend_cuda.name, n) == 0 && (device[n] == '\0' || device[n] == ':');
    return is_cuda ? &rsr_backend_cuda : NULL;
}

rsr_status rsr_api_engine_create(rsr_model *model, const rsr_engine_options *given,
                                 rsr_engine **engine, rsr_error *err) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_status status = rsr_read_options(&options, sizeof(options), given, err);
    if (status != RSR_OK)
        return status;
    const struct rsr_backend *backend = backend_of(options.device);
    if (backend == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "device '%s': expected cpu or cuda:N",
                        options.device);
    if (model != NULL && model->target == NULL && backend == &rsr_backend_host)
        return rsr_refuse_gpus(model->module, err);
    return rsr_engine_create_on(backend, model, &options, engine, err);
}

bool rsr_engine_is_ours(const rsr_engine *engine) {
    return engine->owner_pid == (int)getpid();
}

void rsr_api_engine_destroy(rsr_engine *engine) {
    if (engine != NULL)
        free_engine(engine, !rsr_engine_is_ours(engine));
}

rsr_status rsr_api_engine_get_info(const rsr_engine *engine, rsr_engine_info *info) {
    if (engine == NULL || info == NULL)
        return RSR_ERR_ARGUMENT;
    rsr_status status = rsr_check_owner(engine->owner_pid, NULL);
    if (status != RSR_OK)
        return status;
    /* Readers change only the lock of a const engine. */
    pthread_mutex_t *lock = (pthread_mutex_t *)&engine->lock;
    pthread_mutex_lock(lock);
    rsr_engine_info known = engine->info;
    known.kv_tokens_free =
        (engine->kv.n_free + engine->n_dropping + engine->kv.n_only_kept) * RSR_PAGE_TOKENS;
    known.kv_token_bytes = known.kv_bytes / known.kv_tokens;
    known.kv_page_tokens = RSR_PAGE_TOKENS;
    known.n_states_free = engine->states.n_free;
    pthread_mutex_unlock(lock);
    return rsr_write_info(info, &known, sizeof(known), NULL);
}

rsr_status rsr_api_engine_follow(rsr_engine *engine, rsr_error *err) {
    if (engine == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_engine_follow: the engine is NULL");
    rsr_status status = rsr_check_owner(engine->owner_pid, err);
    if (status == RSR_OK && engine->backend->follow == NULL)
        status = rsr_fail(err, RSR_ERR_ARGUMENT, "the backend %s knows no other ranks",
                          engine->backend->name);
    if (status != RSR_OK)
        return status;
    rsr_turns_take(&engine->turns);
    status = engine->backend->follow(engine, err);
    rsr_turns_give(&engine->turns);
    return status;
}

rsr_status rsr_api_engine_get_rank(const rsr_engine *engine, uint32_t rank, rsr_rank_info *info) {
    if (engine == NULL || info == NULL)
        return RSR_ERR_ARGUMENT;
    rsr_status status = rsr_check_owner(engine->owner_pid, NULL);
    if (status != RSR_OK)
        return status;
    rsr_rank_info known = RSR_RANK_INFO_INIT;
    pthread_mutex_t *lock = (pthread_mutex_t *)&engine->lock;
    pthread_mutex_lock(lock);
    const bool found =
        engine->backend->get_rank != NULL && engine->backend->get_rank(engine, rank, &known);
    pthread_mutex_unlock(lock);
    return found ? rsr_write_info(info, &known, sizeof(known), NULL) : RSR_ERR_ARGUMENT;
}

bool rsr_engine_has_probe(const rsr_engine *engine) {
    return engine->probe != NULL;
}

const rsr_model *rsr_engine_model(const rsr_engine *engine) {
    return engine->model;
}
