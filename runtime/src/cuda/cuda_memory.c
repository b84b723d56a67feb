/* cuda_memory.c - memory of an engine on a GPU: what it takes, and the copies of the weights. */
#include <stdlib.h>
#include <sys/mman.h>

#include "cuda_engine.h"

#define ALIGN 256u /* of a tensor, as the driver aligns its own memory */
/* Memory that is left to the driver, for the stacks of kernels and for code. */
#define DRIVER_RESERVE ((uint64_t)256 << 20)

/* ---- Weights ---- */

/* A tensor of the module, and where it goes. */
struct tensor {
    const void *host;
    uint64_t n_bytes, at; /* in the weights */
    rsr_cuda_address *to; /* receives its address */
    bool again;           /* an earlier one has the same memory */
    const struct fill *fill;
};

/* How a hollow module's weights are filled, see RSR_GPU_CALL_FILL: codes that are valid, floats of
 * some 2^-7 of either sign. */
struct fill {
    uint32_t pairs, keep, set;
};
static const struct fill fill_codes = {0x55555555u, 0xffffffffu, 0};
static const struct fill fill_floats[RSR_DTYPE_COUNT] = {
    [RSR_DTYPE_F32] = {0, 0x807fffffu, 0x3c000000u},
    [RSR_DTYPE_BF16] = {0, 0x807f807fu, 0x3c003c00u},
    [RSR_DTYPE_F16] = {0, 0x83ff83ffu, 0x20002000u},
};

struct tensors {
    struct tensor *list;
    uint32_t n;
    uint64_t n_bytes;
};

/* `fill`: of a hollow module's weights; NULL: every module has them. */
static void place(struct tensors *tensors, const void *host, uint64_t n_bytes,
                  const struct fill *fill, rsr_cuda_address *to) {
    struct tensor *tensor = &tensors->list[tensors->n];
    *tensor = (struct tensor){
        .host = host, .n_bytes = n_bytes, .at = tensors->n_bytes, .to = to, .fill = fill};
    for (uint32_t i = 0; i < tensors->n && !tensor->again; i++)
        if (tensors->list[i].host == host && tensors->list[i].n_bytes == n_bytes) {
            tensor->at = tensors->list[i].at;
            tensor->again = true;
        }
    tensors->n++;
    if (!tensor->again)
        tensors->n_bytes += (n_bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static uint64_t matrix_bytes(const struct rsr_matrix_data *matrix) {
    return matrix->rows * rsr_matrix_row_bytes(matrix);
}

static void place_matrix(struct tensors *tensors, const struct rsr_matrix_data *matrix,
                         rsr_cuda_address *to) {
    place(tensors, matrix->data, matrix_bytes(matrix), &fill_floats[matrix->dtype], to);
}

static void place_all(struct rsr_cuda_engine *e, struct tensors *tensors) {
    const struct rsr_tensors *all = e->gpu->tensors;
    for (uint32_t i = 0; i < e->gpu->n_kernels; i++) {
        const struct rsr_gpu_kernel *kernel = &e->gpu->kernels[i];
        place(tensors, kernel->weights.codes, kernel->codes_bytes, &fill_codes,
              &e->layers[i].codes);
        place(tensors, kernel->weights.scale, kernel->weights.n_scales * sizeof(float), NULL,
              &e->layers[i].scale);
    }
    for (uint32_t i = 0; i < all->n_norms; i++)
        place(tensors, all->norms[i].weight, all->norms[i].cols * sizeof(float), NULL,
              &e->norms[i]);
    for (uint32_t i = 0; i < all->n_dense; i++)
        place_matrix(tensors, &all->dense[i], &e->dense[i]);
    place_matrix(tensors, &all->embedding, &e->embedding);
    if (all->head.data != NULL)
        place_matrix(tensors, &all->head, &e->head);
    if (e->sketch.n_blocks != 0)
        place(tensors, all->head_sketch.blocks, e->sketch.n_blocks * all->head_sketch.block_bytes,
              NULL, &e->sketch.blocks);
}

static rsr_status fill(struct rsr_cuda_engine *e, const struct tensor *tensor, uint64_t seed,
                       rsr_error *err) {
    rsr_cuda_address words = *tensor->to;
    uint64_t n_words = (tensor->n_bytes + 3) / 4; /* tensors end before a multiple of ALIGN */
    uint64_t own_seed = seed + tensor->at;
    uint32_t pairs = tensor->fill->pairs, keep = tensor->fill->keep, set = tensor->fill->set;
    void *parameters[] = {&words, &n_words, &own_seed, &pairs, &keep, &set};
    return rsr_cuda_operation(e, RSR_GPU_CALL_FILL,
                              (n_words + RSR_GPU_FILL_WORDS - 1) / RSR_GPU_FILL_WORDS, parameters,
                              err);
}

static rsr_status upload_all(struct rsr_cuda_engine *e, const struct tensors *tensors,
                             rsr_error *err) {
    const uint64_t seed = e->engine->model->module->hollow_seed;
    rsr_status status = RSR_OK;
    for (uint32_t i = 0; i < tensors->n && status == RSR_OK; i++) {
        const struct tensor *tensor = &tensors->list[i];
        *tensor->to = e->parts[RSR_CUDA_WEIGHTS].address + tensor->at;
        if (!tensor->again && tensor->fill != NULL && seed != 0)
            status = fill(e, tensor, seed, err);
        else if (!tensor->again)
            status = rsr_cuda_send_weights(e, *tensor->to, tensor->host, tensor->n_bytes, err);
    }
    return status == RSR_OK ? rsr_cuda_deliver(e, err) : status;
}

/* ---- Sizes ---- */

static uint64_t most_arena_bytes(const struct rsr_gpu_target *gpu) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < gpu->n_steps; i++)
        if (gpu->steps[i].arena_bytes_per_token > bytes)
            bytes = gpu->steps[i].arena_bytes_per_token;
    return bytes;
}

/* ROPE_TABLE operations of a step. */
static uint32_t most_tables(const struct rsr_gpu_target *gpu) {
    uint32_t most = 0;
    for (uint32_t s = 0; s < gpu->n_steps; s++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < gpu->steps[s].n_ops; i++)
            n += gpu->steps[s].ops[i].kind == RSR_OP_ROPE_TABLE;
        most = n > most ? n : most;
    }
    return most;
}

static uint32_t most_ops(const struct rsr_gpu_target *gpu) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < gpu->n_steps; i++)
        if (gpu->steps[i].n_ops > n)
            n = gpu->steps[i].n_ops;
    return n;
}

/* Of a row of a table of rotations. */
static uint32_t most_rotation_bytes(const struct rsr_gpu_target *gpu) {
    uint32_t bytes = 1;
    for (uint32_t s = 0; s < gpu->n_steps; s++)
        for (uint32_t i = 0; i < gpu->steps[s].n_ops; i++) {
            const struct rsr_step_op *op = &gpu->steps[s].ops[i];
            if (op->kind == RSR_OP_ROPE_TABLE && gpu->steps[s].buffers[op->dst].row_bytes > bytes)
                bytes = gpu->steps[s].buffers[op->dst].row_bytes;
        }
    return bytes;
}

static uint64_t aligned(uint64_t n_bytes) {
    return (n_bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Bytes of u32 numbers, as a part of RSR_CUDA_CHUNK. */
static uint64_t number_bytes(uint64_t n) {
    return aligned(n * sizeof(uint32_t));
}

/* n bytes for every token of a chunk; UINT64_MAX: more than there are. */
static uint64_t chunk_bytes(const struct rsr_cuda_engine *e, uint64_t n) {
    uint64_t bytes;
    return __builtin_mul_overflow(n, (uint64_t)e->engine->info.max_batch, &bytes) ? UINT64_MAX
                                                                                  : bytes;
}

static uint32_t logit_rows(const struct rsr_cuda_engine *e) {
    const uint32_t n = e->engine->info.max_batch;
    return n < RSR_CUDA_LOGIT_ROWS ? n : RSR_CUDA_LOGIT_ROWS;
}

/* Pages of heads whose attention is shared out. */
static uint64_t partial_pages(const struct rsr_cuda_engine *e) {
    const uint32_t n = e->engine->info.max_batch;
    return (uint64_t)(n < RSR_CUDA_SPLIT_TOKENS ? n : RSR_CUDA_SPLIT_TOKENS) *
           e->engine->model->module->hyper.n_heads * e->max_pages;
}

uint64_t rsr_cuda_partial_floats(const struct rsr_cuda_engine *e) {
    return partial_pages(e) * e->engine->model->module->hyper.head_dim;
}

uint32_t rsr_cuda_splits(const struct rsr_cuda_engine *e, uint32_t n) {
    const uint64_t heads = (uint64_t)n * e->engine->model->module->hyper.n_kv_heads;
    const uint64_t splits = (RSR_CUDA_SPLIT_BLOCKS + heads - 1) / heads;
    return splits < e->max_pages ? (uint32_t)splits : e->max_pages;
}

/* Counters of tails: of heads after products, and of attention. */
static uint64_t n_counters(const struct rsr_cuda_engine *e) {
    const struct rsr_hyper *hyper = &e->engine->model->module->hyper;
    const uint64_t kv_heads = hyper->n_kv_heads;
    const uint64_t of_products = hyper->n_heads + 2 * kv_heads;
    const uint64_t of_attention = RSR_CUDA_CHAIN_TOKENS * kv_heads + 1;
    return of_products > of_attention ? of_products : of_attention;
}

/* Of rows that are chosen from at a time. */
static uint64_t n_candidates(const struct rsr_cuda_engine *e) {
    const uint64_t n =
        logit_rows(e) * rsr_cuda_blocks(e->engine->model->module->hyper.vocab, RSR_GPU_BEST_ROWS);
    return n > e->sketch.n_blocks ? n : e->sketch.n_blocks;
}

static void set_sizes(struct rsr_cuda_engine *e, uint64_t weight_bytes) {
    const struct rsr_engine_info *info = &e->engine->info;
    const uint64_t n = info->max_batch, vocab = e->engine->model->module->hyper.vocab;
    e->chunk.rotation_bytes = n * most_rotation_bytes(e->gpu);
    e->parts[RSR_CUDA_WEIGHTS] = (struct rsr_cuda_part){.name = "weights", .n_bytes = weight_bytes};
    e->parts[RSR_CUDA_PAGES] = (struct rsr_cuda_part){.name = "keys and values"};
    e->parts[RSR_CUDA_ROWS] = (struct rsr_cuda_part){
        .name = "activations", .n_bytes = chunk_bytes(e, most_arena_bytes(e->gpu))};
    e->parts[RSR_CUDA_LOGITS] = (struct rsr_cuda_part){
        .name = "logits",
        .n_bytes = aligned(logit_rows(e) * vocab * sizeof(float)) +
                   aligned(n_candidates(e) * sizeof(struct rsr_gpu_candidate)) +
                   aligned(e->sketch.n_blocks * RSR_SKETCH_VECTORS * sizeof(float)) +
                   number_bytes(1)};
    e->parts[RSR_CUDA_CHUNK] = (struct rsr_cuda_part){
        .name = "page numbers",
        .n_bytes = 3 * number_bytes(n) + number_bytes(1) + number_bytes(n * e->max_pages) +
                   number_bytes(n_counters(e)) +
                   aligned(RSR_MAX_PICKS * sizeof(struct rsr_gpu_draw)) +
                   aligned(RSR_MAX_PICKS * sizeof(struct rsr_gpu_candidate)) +
                   aligned(RSR_CUDA_QUERIES * e->sketch.slot_bytes) +
                   most_tables(e->gpu) * e->chunk.rotation_bytes};
    e->parts[RSR_CUDA_PARTIALS] = (struct rsr_cuda_part){
        .name = "attention's partial results",
        .n_bytes =
            e->fuses ? (rsr_cuda_partial_floats(e) + 2 * partial_pages(e)) * sizeof(float) : 0};
}

/* The number of pages: all, or, if fewer will do, as many as there is memory for. */
static rsr_status size_pages(struct rsr_cuda_engine *e, bool shrinks, rsr_error *err) {
    uint64_t free_bytes, others = DRIVER_RESERVE;
    uint64_t n = e->engine->info.kv_tokens / RSR_PAGE_TOKENS;
    rsr_status status = rsr_cuda_free_bytes(&e->device, &free_bytes, err);
    if (status != RSR_OK)
        return status;
    for (uint32_t i = 0; i < RSR_CUDA_USES; i++)
        if (__builtin_add_overflow(others, e->parts[i].n_bytes, &others))
            others = UINT64_MAX;
    const uint64_t most = free_bytes > others ? (free_bytes - others) / e->page_bytes : 0;
    if (shrinks && most < n)
        n = most > 0 ? most : 1; /* too much: the refusal says how much is free */
    if (__builtin_mul_overflow(n, e->page_bytes, &e->parts[RSR_CUDA_PAGES].n_bytes))
        e->parts[RSR_CUDA_PAGES].n_bytes = UINT64_MAX;
    e->engine->info.kv_tokens = (uint32_t)n * RSR_PAGE_TOKENS;
    return RSR_OK;
}

/* ---- All ---- */

static void divide_chunk(struct rsr_cuda_engine *e) {
    const uint64_t n = e->engine->info.max_batch, each = number_bytes(n);
    const rsr_cuda_address at = e->parts[RSR_CUDA_CHUNK].address;
    struct rsr_cuda_chunk *chunk = &e->chunk;
    chunk->tokens = at;
    chunk->positions = chunk->tokens + each;
    chunk->failed = chunk->positions + each;
    chunk->flag = chunk->failed + each;
    chunk->table = chunk->flag + number_bytes(1);
    chunk->counters = chunk->table + number_bytes(n * e->max_pages);
    chunk->draws = chunk->counters + number_bytes(n_counters(e));
    chunk->firsts = chunk->draws + aligned(RSR_MAX_PICKS * sizeof(struct rsr_gpu_draw));
    chunk->queries = chunk->firsts + aligned(RSR_MAX_PICKS * sizeof(struct rsr_gpu_candidate));
    chunk->rotations = chunk->queries + aligned(RSR_CUDA_QUERIES * e->sketch.slot_bytes);
    e->found =
        e->parts[RSR_CUDA_LOGITS].address +
        aligned((uint64_t)logit_rows(e) * e->engine->model->module->hyper.vocab * sizeof(float));
    e->sketch.bounds = e->found + aligned(n_candidates(e) * sizeof(struct rsr_gpu_candidate));
    e->sketch.least =
        e->sketch.bounds + aligned(e->sketch.n_blocks * RSR_SKETCH_VECTORS * sizeof(float));
}

/* Memory that only the host uses. */
static rsr_status take_lists(struct rsr_cuda_engine *e, rsr_error *err) {
    const struct rsr_engine_info *info = &e->engine->info;
    const struct rsr_hyper *hyper = &e->engine->model->module->hyper;
    const uint64_t n = info->max_batch, n_picks = n < RSR_MAX_PICKS ? n : RSR_MAX_PICKS;
    e->graphs = e->runs_graphs ? calloc(n, sizeof(*e->graphs)) : NULL;
    e->op_ns = calloc(most_ops(e->gpu), sizeof(*e->op_ns));
    e->picked_bytes = n_picks * hyper->vocab * sizeof(float);
    void *picked = mmap(NULL, e->picked_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    e->picked_logits = picked != MAP_FAILED ? picked : NULL;
    if ((e->runs_graphs && e->graphs == NULL) || e->op_ns == NULL || e->picked_logits == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for batches of %u tokens", info->max_batch);
    return RSR_OK;
}

rsr_status rsr_cuda_take_memory(struct rsr_cuda_engine *e, bool shrinks, rsr_error *err) {
    const struct rsr_gpu_target *gpu = e->gpu;
    struct tensors tensors = {.n = 0};
    const size_t most =
        2 * (size_t)gpu->n_kernels + gpu->tensors->n_norms + gpu->tensors->n_dense + 3;
    tensors.list = calloc(most, sizeof(*tensors.list));
    e->norms = calloc(gpu->tensors->n_norms + 1u, sizeof(*e->norms));
    e->dense = calloc(gpu->tensors->n_dense + 1u, sizeof(*e->dense));
    e->max_pages = rsr_pages_of(e->engine->info.context);
    rsr_status status = rsr_cuda_set_sketch(e, err);
    if (status == RSR_OK)
        status = take_lists(e, err);
    if (status == RSR_OK && (tensors.list == NULL || e->norms == NULL || e->dense == NULL))
        status = rsr_fail(err, RSR_ERR_MEMORY, "no memory for a list of weights");
    if (status == RSR_OK) {
        place_all(e, &tensors);
        set_sizes(e, tensors.n_bytes);
        status = size_pages(e, shrinks, err);
    }
    if (status == RSR_OK)
        status = rsr_cuda_take(&e->device, e->parts, RSR_CUDA_USES, err);
    if (status == RSR_OK)
        status = rsr_cuda_take_host(e, err);
    if (status == RSR_OK) {
        divide_chunk(e);
        status =
            rsr_cuda_fill(&e->device, e->chunk.counters, 0, n_counters(e) * sizeof(uint32_t), err);
    }
    if (status == RSR_OK)
        status = upload_all(e, &tensors, err);
    /* A probe gets whole rows, and kernels leave the ends of some as they are. */
    if (status == RSR_OK && e->host.probed != NULL)
        status = rsr_cuda_fill(&e->device, e->parts[RSR_CUDA_ROWS].address, 0,
                               e->parts[RSR_CUDA_ROWS].n_bytes, err);
    free(tensors.list);
    return status;
}

void rsr_cuda_free_memory(struct rsr_cuda_engine *e) {
    free(e->norms);
    free(e->dense);
    free(e->graphs);
    free(e->op_ns);
    free(e->sketch.memory);
    if (e->picked_logits != NULL)
        munmap(e->picked_logits, e->picked_bytes);
}

rsr_cuda_address rsr_cuda_page_at(const struct rsr_cuda_engine *e, uint32_t page, uint32_t layer) {
    const uint64_t layer_bytes =
        rsr_kv_rows_bytes(&e->format) * e->engine->model->module->hyper.n_kv_heads;
    return e->parts[RSR_CUDA_PAGES].address + page * e->page_bytes + layer * layer_bytes;
}
