/* crew.c - the host's backend: creates and ends crews, and implements backend.h with them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "crew.h"
#include "host/cpu.h"
#include "host/host_memory.h"
#include "host/stack.h"
#include "ranks.h"

#define LIMIT_THREADS 1024u
#define CREATE_STACK_BYTES ((size_t)32 << 10) /* measured: 26 with the KV index, else 14 */

/* ---- Memory ---- */

static char *map_memory(uint64_t bytes) {
    if (bytes > SIZE_MAX / 2)
        return NULL;
    void *memory =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static uint64_t round_up_64(uint64_t bytes) {
    return (bytes + 63) & ~UINT64_C(63);
}

/* The arena holds the largest step's buffers for max_batch tokens. */
static rsr_status make_arena(struct rsr_crew *crew, rsr_error *err) {
    const struct rsr_target *target = crew->model->target;
    uint64_t per_token = 64;
    for (uint32_t i = 0; i < target->n_steps; i++)
        if (target->steps[i].arena_bytes_per_token > per_token)
            per_token = target->steps[i].arena_bytes_per_token;
    uint64_t bytes;
    if (!__builtin_mul_overflow(per_token, (uint64_t)crew->engine->info.max_batch, &bytes))
        crew->arena = map_memory(bytes);
    if (crew->arena == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY,
                        "no memory for the buffers of %u tokens; ask for a smaller max_batch",
                        crew->engine->info.max_batch);
    crew->arena_bytes = bytes;
    madvise(crew->arena, (size_t)bytes, MADV_HUGEPAGE);
    return RSR_OK;
}

static rsr_status make_workers(struct rsr_crew *crew, rsr_error *err) {
    const struct rsr_target *target = crew->model->target;
    uint64_t per_worker = crew->attention->scratch_bytes(crew), n_ops = 1;
    bool ok = per_worker != 0;
    for (uint32_t i = 0; i < target->n_kernels; i++)
        if (target->kernels[i].scratch_bytes > per_worker)
            per_worker = target->kernels[i].scratch_bytes;
    const uint64_t delta_bytes = rsr_delta_scratch_bytes(&crew->model->module->hyper);
    if (ok && delta_bytes > per_worker)
        per_worker = delta_bytes;
    for (uint32_t i = 0; i < target->n_steps; i++)
        if (target->steps[i].n_ops > n_ops)
            n_ops = target->steps[i].n_ops;

    ok = ok && per_worker < UINT64_MAX - 64 &&
         !__builtin_mul_overflow(round_up_64(per_worker), (uint64_t)crew->most_workers,
                                 &crew->scratch_bytes);
    if (ok) {
        crew->scratch = map_memory(crew->scratch_bytes);
        crew->workers = aligned_alloc(64, crew->most_workers * sizeof(*crew->workers));
        ok = crew->scratch != NULL && crew->workers != NULL;
    }
    if (crew->workers != NULL)
        memset(crew->workers, 0, crew->most_workers * sizeof(*crew->workers));
    for (uint32_t i = 0; ok && i < crew->most_workers; i++) {
        crew->workers[i].scratch = crew->scratch + i * round_up_64(per_worker);
        crew->workers[i].samples = calloc((size_t)n_ops, sizeof(struct rsr_op_sample));
        ok = crew->workers[i].samples != NULL;
    }
    return ok ? RSR_OK
              : rsr_fail(err, RSR_ERR_MEMORY, "no memory for the scratch space of %u threads",
                         crew->most_workers);
}

/* ---- Life ---- */

static void host_destroy(struct rsr_engine *engine, bool forked) {
    struct rsr_crew *crew = engine->device;
    if (crew->ranks != NULL && crew->pool != NULL && !forked)
        rsr_rank_send_end(crew->ranks);
    rsr_ranks_destroy(crew->ranks);
    rsr_worker_pool_destroy(crew->pool, forked);
    for (uint32_t i = 0; crew->workers != NULL && i < crew->most_workers; i++)
        free(crew->workers[i].samples);
    free(crew->workers);
    if (crew->scratch != NULL)
        munmap(crew->scratch, (size_t)crew->scratch_bytes);
    if (crew->arena != NULL)
        munmap(crew->arena, (size_t)crew->arena_bytes);
    rsr_kv_memory_destroy(&crew->kv);
    rsr_state_memory_destroy(&crew->states);
    rsr_head_slots_destroy(&crew->slots);
    free(crew);
    engine->device = NULL;
}

static rsr_status choose(struct rsr_crew *crew, const rsr_engine_options *options, rsr_error *err) {
    if (options->n_threads > LIMIT_THREADS)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "%u threads; at most %u", options->n_threads,
                        LIMIT_THREADS);
    crew->kv_type = rsr_kv_default(crew->model->module->hyper.pooling);
    rsr_status status =
        rsr_attention_choose(options->attention, &crew->attention, &crew->attention_options, err);
    if (status == RSR_OK)
        status = rsr_kv_type_parse(options->kv_type, &crew->kv_type, err);
    if (status == RSR_OK)
        status = crew->attention->begin(crew, err);
    return status;
}

static rsr_status make_pages(struct rsr_crew *crew, const rsr_engine_options *options,
                             rsr_error *err) {
    const struct rsr_hyper *hyper = &crew->model->module->hyper;
    /* Errors of storing are certified with the help of sidecars. */
    const uint32_t sidecar_bytes = crew->attention->sidecar_bytes(crew);
    const struct rsr_kv_format format =
        rsr_kv_format_of(crew->kv_type, hyper->head_dim, sidecar_bytes != 0, crew->model->ops);
    const struct rsr_kv_size size = {
        .n_pages = crew->engine->info.kv_tokens / RSR_PAGE_TOKENS,
        .memory_bytes = options->kv_commit ? rsr_kv_memory_left() : rsr_host_memory(),
        .shrinks = options->context == 0 && options->kv_tokens == 0,
        .commits = options->kv_commit,
        .folder = options->kv_dir != NULL && options->kv_dir[0] != '\0' ? options->kv_dir : NULL,
    };
    if (size.folder != NULL && crew->ranks != NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "kv_dir is for one process: a transport's ranks have keys and values in "
                        "memory");
    struct rsr_hyper own = *hyper; /* of this rank, which may have no KV head */
    if (crew->ranks != NULL) {     /* with ranks, all layers have keys and values */
        own.n_kv_heads = crew->ranks->kv_heads.end - crew->ranks->kv_heads.begin;
        own.n_layers = crew->ranks->layers.end - crew->ranks->layers.begin;
        crew->first_layer = crew->ranks->layers.begin;
    }
    const uint32_t n_kv_heads = own.n_kv_heads;
    own.n_kv_heads = n_kv_heads != 0 ? n_kv_heads : 1;
    const rsr_status status =
        rsr_kv_memory_create(&crew->kv, &format, &own, sidecar_bytes, &size, err);
    crew->kv.n_kv_heads = n_kv_heads; /* memory of one that is not there is never touched */
    crew->louver.disk = crew->kv.disk;
    return status;
}

static rsr_status make_pool(struct rsr_crew *crew, const rsr_engine_options *options,
                            rsr_error *err) {
    uint32_t n = options->n_threads;
    const uint32_t n_cores = rsr_cpu_cores(rsr_cpu_placed(), RSR_CPU_FOLDER);
    if (n == 0)
        n = n_cores < LIMIT_THREADS ? n_cores : LIMIT_THREADS;
    crew->most_workers = crew->n_workers = n;
    /* The time of a pipeline's step does not tell what fewer threads would change. */
    crew->takes_all = options->all_threads || options->probe != NULL ||
                      (crew->ranks != NULL && crew->ranks->is_pipeline);
    for (uint32_t i = 0; i < RSR_TEAM_SIZES; i++)
        crew->sizes[i] = rsr_team_size_of(n, n_cores);
    return rsr_worker_pool_create(n, options->pin_threads, crew->attention->stack_bytes,
                                  &crew->pool, err);
}

static void describe_saved(const struct rsr_crew *crew, struct rsr_kv_saved *saved) {
    saved->token_bytes = crew->ranks == NULL ? rsr_kv_memory_token_bytes(&crew->kv) : 0;
    saved->refusal = "sequences of an engine with several ranks are neither saved nor loaded: each "
                     "rank has the keys and values of its own heads";
    saved->has_index = crew->kv.sidecar_bytes != 0;
    if (saved->has_index)
        rsr_attention_describe(crew->attention, &crew->attention_options, saved->attention,
                               sizeof(saved->attention));
    else /* other kinds are dense where they need no index */
        strcpy(saved->attention, rsr_attention_dense.name);
}

/* All but the agreement with other ranks. */
static rsr_status make_crew(struct rsr_crew *crew, const rsr_engine_options *options,
                            rsr_error *err) {
    rsr_status status = choose(crew, options, err);
    if (status == RSR_OK)
        status = make_pages(crew, options, err);
    if (status == RSR_OK)
        status = rsr_state_memory_create(&crew->states, &crew->model->module->hyper,
                                         options->state_type, err);
    if (status == RSR_OK)
        status = make_pool(crew, options, err);
    if (status == RSR_OK)
        status = make_workers(crew, err);
    if (status == RSR_OK)
        status = make_arena(crew, err);
    if (status == RSR_OK && crew->ranks != NULL)
        status = rsr_rank_plan(crew, err);
    if (status == RSR_OK && crew->ranks != NULL)
        rsr_rank_keep_own(crew);
    return status;
}

static rsr_status host_create(struct rsr_engine *engine, const rsr_engine_options *options,
                              rsr_error *err) {
    rsr_status status = rsr_check_stack(NULL, CREATE_STACK_BYTES, "rsr_engine_create", err);
    if (status != RSR_OK)
        return status;
    struct rsr_crew *crew = calloc(1, sizeof(*crew));
    if (crew == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for an engine");
    crew->engine = engine;
    crew->model = engine->model;
    crew->chunk = &engine->chunk;
    engine->device = crew;
    engine->steps = engine->model->target->steps;
    engine->tensors = engine->model->target->tensors;
    status = rsr_ranks_create(crew, engine, options, err);
    if (status == RSR_OK) {
        status = make_crew(crew, options, err);
        uint32_t n_pages = crew->kv.n_pages;
        if (crew->ranks != NULL)
            status = rsr_ranks_ready(crew->ranks, status, &n_pages, err);
        engine->info.kv_tokens = n_pages * RSR_PAGE_TOKENS;
    }
    if (status != RSR_OK) {
        rsr_ranks_destroy(crew->ranks); /* there is no engine to follow */
        crew->ranks = NULL;
        host_destroy(engine, false);
        return status;
    }
    rsr_head_slots_create(crew);
    rsr_head_memory_create(crew);
    engine->info.n_threads = crew->most_workers;
    engine->shares_head = crew->ranks != NULL;
    engine->info.kv_bytes = crew->kv.page_bytes * (engine->info.kv_tokens / RSR_PAGE_TOKENS);
    engine->info.arena_bytes = crew->arena_bytes;
    engine->info.n_states = crew->states.n_states;
    engine->info.state_bytes = crew->states.state_bytes;
    engine->info.kv_type = rsr_kv_type_name(crew->kv_type);
    if (crew->states.n_states > 0)
        engine->info.state_type = rsr_state_type_name(crew->states.type);
    describe_saved(crew, &engine->saved);
    return RSR_OK;
}

/* ---- Work ---- */

/* The team size for steps with as many tokens as the chunk. NULL: all workers. */
static struct rsr_team_size *size_of_step(struct rsr_crew *crew) {
    const uint32_t n_tokens = crew->chunk->n_tokens;
    uint32_t i = 0;
    while (i < RSR_TEAM_SIZES && n_tokens >> i > 1)
        i++;
    return crew->takes_all || i == RSR_TEAM_SIZES ? NULL : &crew->sizes[i];
}

/* Workers that took no part in earlier jobs have counted fewer calls; this makes their counts
 * equal. */
static void gather(struct rsr_crew *crew, uint32_t n_workers) {
    const uint32_t n_calls = crew->workers[0].n_shared_calls;
    for (uint32_t i = crew->n_workers; i < n_workers; i++) {
        crew->workers[i].n_shared_calls = n_calls;
        atomic_store(&crew->workers[i].tiles.state, rsr_share_pack(n_calls, 0, 0));
    }
    crew->n_workers = n_workers;
}

void rsr_crew_choose_team(struct rsr_crew *crew) {
    struct rsr_team_size *size = size_of_step(crew);
    gather(crew, size == NULL ? crew->most_workers : rsr_team_size_next(size));
}

void rsr_crew_walk(struct rsr_crew *crew) {
    struct rsr_team_size *size = size_of_step(crew);
    const bool is_pipeline = crew->ranks != NULL && crew->ranks->is_pipeline;
    atomic_store(&crew->last_op, UINT32_MAX);
    const uint64_t begin_ns = rsr_now_ns();
    if (crew->ranks != NULL)
        crew->ranks->since_ns = begin_ns;
    if (is_pipeline)
        rsr_rank_walk(crew);
    else
        rsr_worker_pool_run(crew->pool, crew->n_workers, rsr_step_run, crew);
    const uint64_t ns = rsr_now_ns() - begin_ns;
    if (crew->ranks != NULL)
        rsr_rank_count_step(crew->ranks, ns);
    if (size != NULL && atomic_load(&crew->last_op) == UINT32_MAX)
        rsr_team_size_took(size, crew->chunk->n_tokens, ns);
    rsr_head_memory_step(crew);
}

/* Walks together with the other ranks. */
static rsr_status lead_ranks(struct rsr_crew *crew, rsr_error *err) {
    struct rsr_ranks *ranks = crew->ranks;
    if (ranks->transport.rank != 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "rank %u evaluates what rank 0 says: call rsr_engine_follow()",
                        ranks->transport.rank);
    if (ranks->lost.status == RSR_OK && rsr_rank_send_chunk(crew, err) == RSR_OK)
        rsr_crew_walk(crew);
    return ranks->lost.status == RSR_OK
               ? RSR_OK
               : rsr_fail(err, ranks->lost.status, "%s", ranks->lost.message);
}

static rsr_status host_run_chunk(struct rsr_engine *engine, rsr_error *err) {
    struct rsr_crew *crew = engine->device;
    rsr_crew_choose_team(crew); /* slots have room for each worker */
    rsr_status status =
        rsr_check_stack(&crew->stack, crew->attention->stack_bytes, "rsr_eval", err);
    if (status == RSR_OK)
        status = rsr_head_slots_begin(crew, &engine->picks, err);
    if (status == RSR_OK && crew->ranks != NULL)
        status = lead_ranks(crew, err);
    else if (status == RSR_OK)
        rsr_crew_walk(crew);
    if (status == RSR_OK && atomic_load(&crew->last_op) != UINT32_MAX)
        status = rsr_fail(err, RSR_ERR_STOPPED, "the batch was cancelled");
    if (status != RSR_OK)
        return status;
    crew->timed = engine->profile.enabled;
    rsr_head_slots_answer(crew);
    return RSR_OK;
}

static int host_take_page(struct rsr_engine *engine, uint32_t page) {
    return rsr_kv_memory_take(&rsr_crew_of(engine)->kv, page);
}

static void host_copy_page(struct rsr_engine *engine, uint32_t to, uint32_t from,
                           uint32_t n_tokens) {
    struct rsr_crew *crew = rsr_crew_of(engine);
    rsr_kv_memory_copy(&crew->kv, to, from, n_tokens);
    if (crew->ranks != NULL)
        rsr_rank_note_copy(crew->ranks, to, from, n_tokens);
}

static void host_drop_page(struct rsr_engine *engine, uint32_t page) {
    struct rsr_crew *crew = rsr_crew_of(engine);
    rsr_kv_memory_drop(&crew->kv, page);
    if (crew->ranks != NULL)
        rsr_rank_note_drop(crew->ranks, page);
}

static void host_drop_state(struct rsr_engine *engine, uint32_t state) {
    rsr_state_memory_drop(&rsr_crew_of(engine)->states, state);
}

static rsr_status host_read_rows(struct rsr_engine *engine, uint32_t page, uint32_t slot,
                                 uint32_t layer, float *keys, float *values, rsr_error *err) {
    const struct rsr_kv_memory *kv = &rsr_crew_of(engine)->kv;
    const struct rsr_kv_format *format = &kv->format;
    if (rsr_crew_of(engine)->ranks != NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "keys and values are spread over several ranks");
    float *row = malloc(format->row_floats * sizeof(*row));
    if (row == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a row of %u floats",
                        format->row_floats);
    for (uint32_t head = 0; head < kv->n_kv_heads; head++) {
        const struct rsr_kv_rows rows =
            rsr_kv_rows_from(format, rsr_kv_memory_rows(kv, page, layer, head), slot);
        const size_t at = (size_t)head * format->head_dim, bytes = format->head_dim * sizeof(*row);
        format->ops->load(row, rows.keys, format->row_floats);
        memcpy(keys + at, row, bytes);
        format->ops->load(row, rows.values, format->row_floats);
        memcpy(values + at, row, bytes);
    }
    free(row);
    return RSR_OK;
}

static void host_save_page(struct rsr_engine *engine, uint32_t page, uint32_t n_tokens,
                           void *bytes) {
    rsr_kv_memory_save(&rsr_crew_of(engine)->kv, page, n_tokens, bytes);
}

static bool host_load_page(struct rsr_engine *engine, uint32_t page, uint32_t n_tokens,
                           const void *bytes) {
    return rsr_kv_memory_load(&rsr_crew_of(engine)->kv, page, n_tokens, bytes);
}

static void host_save_state(struct rsr_engine *engine, uint32_t state, void *bytes) {
    rsr_state_memory_save(&rsr_crew_of(engine)->states, state, bytes);
}

static bool host_load_state(struct rsr_engine *engine, uint32_t state, const void *bytes) {
    return rsr_state_memory_load(&rsr_crew_of(engine)->states, state, bytes);
}

struct sealing {
    const struct rsr_crew *crew;
    const uint32_t *pages;
    uint32_t n;
};

static void seal_share(void *user, uint32_t worker) {
    const struct sealing *s = user;
    const struct rsr_kv_memory *kv = &s->crew->kv;
    const uint64_t n_heads = (uint64_t)kv->n_layers * kv->n_kv_heads;
    for (uint64_t u = worker; u < s->n * n_heads; u += s->crew->n_workers)
        s->crew->attention->seal(s->crew, s->pages[u / n_heads],
                                 (uint32_t)(u % n_heads / kv->n_kv_heads),
                                 (uint32_t)(u % kv->n_kv_heads));
}

static rsr_status host_seal_pages(struct rsr_engine *engine, const uint32_t *pages, uint32_t n,
                                  rsr_error *err) {
    struct rsr_crew *crew = rsr_crew_of(engine);
    struct sealing sealing = {crew, pages, n};
    rsr_status status =
        rsr_check_stack(&crew->stack, crew->attention->stack_bytes, "rsr_sequence_load", err);
    if (status != RSR_OK)
        return status;
    gather(crew, crew->most_workers);
    rsr_worker_pool_run(crew->pool, crew->n_workers, seal_share, &sealing);
    return RSR_OK;
}

/* ---- Counts ---- */

static void add_attention(rsr_attention_stats *total, const rsr_attention_stats *worker) {
    total->dense += worker->dense;
    total->indexed += worker->indexed;
    total->flat += worker->flat;
    total->keys += worker->keys;
    total->pages += worker->pages;
    total->pages_skipped += worker->pages_skipped;
    total->scanned += worker->scanned;
    total->plane2 += worker->plane2;
    total->exact += worker->exact;
    total->max_mass = fmax(total->max_mass, worker->max_mass);
    total->max_error = fmax(total->max_error, worker->max_error);
    total->max_storage_error = fmax(total->max_storage_error, worker->max_storage_error);
    total->max_relative_error = fmax(total->max_relative_error, worker->max_relative_error);
}

static void add_head(rsr_head_stats *total, const rsr_head_stats *worker) {
    total->scanned += worker->scanned;
    total->plane2 += worker->plane2;
    total->exact += worker->exact;
}

static void host_profile(struct rsr_engine *engine) {
    struct rsr_crew *crew = engine->device;
    struct rsr_profile *profile = &engine->profile;
    if (crew->timed)
        rsr_crew_add_samples(crew, profile->rows);
    crew->timed = false;
    profile->attention.name = crew->attention->name;
    profile->attention.min_keys = crew->attention_options.min_keys;
    profile->head.n_planes = crew->slots.shape.n_planes;
    engine->info.n_step_threads = crew->takes_all ? crew->most_workers : crew->sizes[0].usual;
    if (crew->ranks != NULL)
        rsr_rank_publish(crew->ranks);
    for (uint32_t i = 0; i < crew->most_workers; i++) {
        add_attention(&profile->attention, &crew->workers[i].attention);
        add_head(&profile->head, &crew->workers[i].head);
        crew->workers[i].attention = (rsr_attention_stats){0};
        crew->workers[i].head = (rsr_head_stats){0};
    }
}

/* ---- Ranks ---- */

static rsr_status host_follow(struct rsr_engine *engine, rsr_error *err) {
    struct rsr_crew *crew = engine->device;
    if (crew->ranks == NULL || crew->ranks->transport.rank == 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        crew->ranks == NULL ? "the engine's transport has no other rank to follow"
                                            : "rank 0 has no rank to follow: it leads");
    rsr_status status =
        rsr_check_stack(&crew->stack, crew->attention->stack_bytes, "rsr_engine_follow", err);
    return status == RSR_OK ? rsr_rank_follow(crew, err) : status;
}

static bool host_get_rank(const struct rsr_engine *engine, uint32_t rank, rsr_rank_info *info) {
    const struct rsr_ranks *ranks = rsr_crew_of(engine)->ranks;
    if (ranks == NULL || rank >= ranks->transport.size)
        return false;
    *info = ranks->published[rank];
    return true;
}

const struct rsr_backend rsr_backend_host = {
    .name = "host",
    .create = host_create,
    .destroy = host_destroy,
    .run_chunk = host_run_chunk,
    .take_page = host_take_page,
    .copy_page = host_copy_page,
    .drop_page = host_drop_page,
    .drop_state = host_drop_state,
    .read_rows = host_read_rows,
    .save_page = host_save_page,
    .load_page = host_load_page,
    .save_state = host_save_state,
    .load_state = host_load_state,
    .seal_pages = host_seal_pages,
    .profile = host_profile,
    .follow = host_follow,
    .get_rank = host_get_rank,
};
