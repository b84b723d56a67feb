/* cuda_backend.c - the backend of GPUs (engine/backend.h). */
#include <stdlib.h>
#include <string.h>

#include "cuda_engine.h"

#define PREFIX "cuda:"

/* How a step is launched. */
static const struct way {
    const char *suffix;
    bool fuses, graphs, overlaps;
} ways[] = {{"", true, true, true}, {",graph", true, true, false}, {",plain", false, false, false}};
#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

/* The number of "cuda:1" and "cuda:1,plain"; "cuda" is the first device. */
static rsr_status read_device(const char *device, uint32_t *number, const struct way **way,
                              rsr_error *err) {
    *number = 0;
    *way = &ways[0];
    if (strcmp(device, "cuda") == 0)
        return RSR_OK;
    const char *digits = device + strlen(PREFIX);
    const bool prefixed = strncmp(device, PREFIX, strlen(PREFIX)) == 0;
    const size_t n = prefixed ? strspn(digits, "0123456789") : 0;
    size_t i = 0;
    while (i < N_WAYS && n != 0 && strcmp(digits + n, ways[i].suffix) != 0)
        i++;
    if (n == 0 || n > 6 || i == N_WAYS)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "device '%s': expected cuda:N, cuda:N,graph or cuda:N,plain, where N is a "
                        "GPU's number from 0 on",
                        device);
    *number = (uint32_t)strtoul(digits, NULL, 10);
    *way = &ways[i];
    return RSR_OK;
}

/* ---- Life ---- */

static void cuda_destroy(struct rsr_engine *engine, bool forked) {
    struct rsr_cuda_engine *e = rsr_cuda_engine_of(engine);
    if (!forked) {
        for (uint32_t i = 0; e->graphs != NULL && i < engine->info.max_batch; i++)
            rsr_cuda_drop_graph(&e->device, e->graphs[i]);
        rsr_cuda_unpin(&e->device, e->host.block);
        rsr_cuda_give_back(&e->device, e->parts, RSR_CUDA_USES);
        for (size_t i = 0; i < sizeof(e->modules) / sizeof(e->modules[0]); i++)
            rsr_cuda_unload(&e->device, e->modules[i]);
    }
    rsr_cuda_device_close(&e->device, forked);
    rsr_cuda_free_memory(e);
    free(e->layers);
    free(e->functions);
    free(e->groups);
    free(e);
    engine->device = NULL;
}

static rsr_status choose_format(struct rsr_cuda_engine *e, const rsr_engine_options *options,
                                rsr_error *err) {
    const rsr_model *model = e->engine->model;
    const struct rsr_hyper *hyper = &model->module->hyper;
    enum rsr_kv_type type = rsr_kv_default(hyper->pooling);
    rsr_status status = rsr_kv_type_parse(options->kv_type, &type, err);
    e->format = rsr_kv_format_of(type, hyper->head_dim, false, model->ops);
    e->page_bytes = rsr_kv_page_bytes(&e->format, 0, hyper);
    if (status == RSR_OK && e->page_bytes == 0)
        status =
            rsr_fail(err, RSR_ERR_MEMORY, "a page of keys and values exceeds the address space");
    if (status == RSR_OK && options->kv_dir != NULL && options->kv_dir[0] != '\0')
        status = rsr_fail(err, RSR_ERR_DEVICE,
                          "kv_dir is for the CPU: a GPU has keys and values in its own memory");
    if (status == RSR_OK && options->state_type != NULL && options->state_type[0] != '\0')
        status =
            rsr_fail(err, RSR_ERR_ARGUMENT, "state type '%.40s': the model has no recurrent states",
                     options->state_type);
    return status;
}

/* Refusals come before anything is copied. */
static rsr_status make(struct rsr_cuda_engine *e, const rsr_engine_options *options,
                       rsr_error *err) {
    rsr_status status = rsr_cuda_choose_gpu(e, err);
    if (status == RSR_OK)
        status = rsr_cuda_check_limits(e, options, err);
    if (status == RSR_OK)
        status = choose_format(e, options, err);
    if (status == RSR_OK)
        status = rsr_cuda_load_gpu(e, err);
    return status == RSR_OK
               ? rsr_cuda_take_memory(e, options->context == 0 && options->kv_tokens == 0, err)
               : status;
}

static void describe(const struct rsr_cuda_engine *e, struct rsr_engine *engine) {
    engine->steps = e->gpu->steps;
    engine->tensors = e->gpu->tensors;
    engine->info.n_threads = 1;
    engine->info.kv_bytes = e->parts[RSR_CUDA_PAGES].n_bytes;
    engine->info.arena_bytes = e->parts[RSR_CUDA_ROWS].n_bytes;
    engine->info.kv_type = rsr_kv_type_name(e->format.type);
    engine->saved.refusal = "sequences of an engine on a device are neither saved nor loaded";
}

static rsr_status cuda_create(struct rsr_engine *engine, const rsr_engine_options *options,
                              rsr_error *err) {
    uint32_t number;
    const struct way *way;
    rsr_status status = read_device(options->device, &number, &way, err);
    if (status != RSR_OK)
        return status;
    struct rsr_cuda_engine *e = calloc(1, sizeof(*e));
    if (e == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for an engine");
    e->engine = engine;
    e->fuses = way->fuses;
    e->runs_graphs = way->graphs;
    e->overlaps = way->overlaps;
    status = rsr_cuda_device_open(&e->device, RSR_CUDA_LIBRARY, number, err);
    if (status != RSR_OK) {
        free(e);
        return status;
    }
    engine->device = e;
    status = make(e, options, err);
    if (status != RSR_OK) {
        cuda_destroy(engine, false);
        return status;
    }
    describe(e, engine);
    return RSR_OK;
}

/* ---- Work ---- */

static rsr_status cuda_run_chunk(struct rsr_engine *engine, rsr_error *err) {
    struct rsr_cuda_engine *e = rsr_cuda_engine_of(engine);
    rsr_status status = rsr_cuda_begin_picks(e, err);
    if (status == RSR_OK)
        status = rsr_cuda_run_program(e, err);
    if (status == RSR_OK)
        rsr_cuda_end_picks(e);
    else
        e->n_sketched = 0;
    return status;
}

/* All of the page: rows after the first n_tokens may hold anything. If it fails, the device is
 * lost, and the next chunk says so. */
static void cuda_copy_page(struct rsr_engine *engine, uint32_t to, uint32_t from,
                           uint32_t n_tokens) {
    struct rsr_cuda_engine *e = rsr_cuda_engine_of(engine);
    (void)n_tokens;
    const rsr_status status = rsr_cuda_copy(&e->device, rsr_cuda_page_at(e, to, 0),
                                            rsr_cuda_page_at(e, from, 0), e->page_bytes, NULL);
    (void)status;
}

/* Pages keep their memory, which was taken for all of them. */
static void cuda_drop_page(struct rsr_engine *engine, uint32_t page) {
    (void)engine;
    (void)page;
}

static void cuda_drop_state(struct rsr_engine *engine, uint32_t state) {
    (void)engine;
    (void)state;
}

/* Downloads the stored key and value of every head, one after another. */
static rsr_status download_rows(struct rsr_cuda_engine *e, rsr_cuda_address layer, uint32_t slot,
                                char *rows, rsr_error *err) {
    const uint32_t n_heads = e->engine->model->module->hyper.n_kv_heads;
    const uint64_t row_bytes = e->format.row_bytes;
    rsr_status status = RSR_OK;
    for (uint32_t i = 0; i < 2 * n_heads && status == RSR_OK; i++) {
        const rsr_cuda_address head = layer + i / 2 * rsr_kv_rows_bytes(&e->format);
        const uint64_t row = slot + (i % 2 == 0 ? 0 : RSR_PAGE_TOKENS);
        status = rsr_cuda_fetch(e, rows + i * row_bytes, head + row * row_bytes, row_bytes, err);
    }
    const rsr_status waited = rsr_cuda_deliver(e, status == RSR_OK ? err : NULL);
    return status == RSR_OK ? waited : status;
}

static rsr_status cuda_read_rows(struct rsr_engine *engine, uint32_t page, uint32_t slot,
                                 uint32_t layer, float *keys, float *values, rsr_error *err) {
    struct rsr_cuda_engine *e = rsr_cuda_engine_of(engine);
    const struct rsr_kv_format *format = &e->format;
    const uint32_t n_heads = engine->model->module->hyper.n_kv_heads;
    char *stored = malloc((size_t)2 * n_heads * format->row_bytes);
    float *row = malloc(format->row_floats * sizeof(*row));
    rsr_status status =
        stored != NULL && row != NULL
            ? download_rows(e, rsr_cuda_page_at(e, page, layer), slot, stored, err)
            : rsr_fail(err, RSR_ERR_MEMORY, "no memory for rows of %u heads", n_heads);
    for (uint32_t i = 0; i < 2 * n_heads && status == RSR_OK; i++) {
        format->ops->load(row, stored + (size_t)i * format->row_bytes, format->row_floats);
        memcpy((i % 2 == 0 ? keys : values) + (size_t)(i / 2) * format->head_dim, row,
               format->head_dim * sizeof(*row));
    }
    free(stored);
    free(row);
    return status;
}

static void cuda_profile(struct rsr_engine *engine) {
    struct rsr_cuda_engine *e = rsr_cuda_engine_of(engine);
    if (e->timed)
        rsr_cuda_add_times(e, engine->profile.rows);
    e->timed = false;
    engine->profile.attention.name = "dense";
    engine->profile.attention.min_keys = 0;
    engine->profile.head.n_planes = e->sketch.blocks != 0;
    engine->profile.head.scanned +=
        (uint64_t)e->n_sketched * e->sketch.n_blocks * RSR_SKETCH_VECTORS;
    e->n_sketched = 0;
    engine->info.n_step_threads = 1;
}

const struct rsr_backend rsr_backend_cuda = {
    .name = "cuda",
    .create = cuda_create,
    .destroy = cuda_destroy,
    .run_chunk = cuda_run_chunk,
    .copy_page = cuda_copy_page,
    .drop_page = cuda_drop_page,
    .drop_state = cuda_drop_state,
    .read_rows = cuda_read_rows,
    .profile = cuda_profile,
};
