/* cuda_launch.c - launches of kernels, as the module's tables describe them. */
#include "cuda_engine.h"

struct rsr_cuda_rows rsr_cuda_buffer(const struct rsr_cuda_engine *e, uint16_t number) {
    const struct rsr_buffer *buffer = &e->engine->chunk.step->buffers[number];
    return (struct rsr_cuda_rows){.at = e->parts[RSR_CUDA_ROWS].address +
                                        buffer->offset * e->engine->info.max_batch,
                                  .row_bytes = buffer->row_bytes,
                                  .cols = buffer->cols};
}

rsr_status rsr_cuda_operation(struct rsr_cuda_engine *e, enum rsr_gpu_call call, uint64_t n_blocks,
                              void **parameters, rsr_error *err) {
    const uint32_t number = (uint32_t)call - (uint32_t)RSR_GPU_FIRST_OPERATION;
    const struct rsr_gpu_entry *entry = &e->gpu->operations[number];
    const struct rsr_cuda_size size = {(uint32_t)n_blocks, 1, entry->threads, entry->shared_bytes};
    return rsr_cuda_launch(&e->device, &e->operations[number], &size, parameters, err);
}

/* The loader checked that they serve all numbers. */
uint32_t rsr_cuda_entry_for(const struct rsr_gpu_entry *entries, uint32_t n) {
    uint32_t number = 0;
    while (entries[number].max_tokens < n)
        number++;
    return number;
}

rsr_status rsr_cuda_multiply(struct rsr_cuda_engine *e, uint32_t kernel, rsr_cuda_address x,
                             uint64_t ldx, uint32_t n, rsr_cuda_address y, uint64_t ldy,
                             rsr_error *err) {
    const struct rsr_cuda_layer *layer = &e->layers[kernel];
    const struct rsr_gpu_entry *entries = e->gpu->kernels[kernel].entries;
    const uint32_t number = rsr_cuda_entry_for(entries, n);
    const struct rsr_gpu_entry *entry = &entries[number];
    const struct rsr_cuda_size size = {entry->blocks,
                                       (n + entry->token_tile - 1) / entry->token_tile,
                                       entry->threads, entry->shared_bytes};
    rsr_cuda_address codes = layer->codes, scale = layer->scale;
    void *parameters[] = {&x, &ldx, &codes, &scale, &y, &ldy, &n};
    return rsr_cuda_launch(&e->device, &layer->functions[number], &size, parameters, err);
}

rsr_status rsr_cuda_multiply_group(struct rsr_cuda_engine *e, uint32_t group,
                                   struct rsr_gpu_products *products, rsr_error *err) {
    const struct rsr_gpu_entry *entries = e->gpu->groups[group].entries;
    const uint32_t number = rsr_cuda_entry_for(entries, products->n_tokens);
    const struct rsr_gpu_entry *entry = &entries[number];
    const struct rsr_cuda_size size = {products->members[RSR_GPU_MEMBERS - 1].end,
                                       (products->n_tokens + entry->token_tile - 1) /
                                           entry->token_tile,
                                       entry->threads, entry->shared_bytes};
    void *parameters[] = {products};
    return rsr_cuda_launch(&e->device, &e->groups[group][number], &size, parameters, err);
}

rsr_status rsr_cuda_multiply_dense(struct rsr_cuda_engine *e, const struct rsr_matrix_data *matrix,
                                   rsr_cuda_address weights, rsr_cuda_address x, uint64_t ldx,
                                   uint32_t n, rsr_cuda_address y, uint64_t ldy, rsr_error *err) {
    uint32_t dtype = matrix->dtype, rows = matrix->rows, cols = matrix->cols;
    void *parameters[] = {&x, &ldx, &weights, &dtype, &rows, &cols, &y, &ldy};
    return rsr_cuda_operation(e, RSR_GPU_CALL_DENSE, n * rsr_cuda_blocks(rows, RSR_GPU_DENSE_ROWS),
                              parameters, err);
}
