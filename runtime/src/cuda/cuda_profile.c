/* cuda_profile.c - time and bytes by operation of the plain program. */
#include "cuda_engine.h"

/* Every launch in a grid's second dimension reads the weights once. */
static uint64_t kernel_bytes(const struct rsr_gpu_kernel *kernel, uint32_t n) {
    const struct rsr_gpu_entry *entry = &kernel->entries[rsr_cuda_entry_for(kernel->entries, n)];
    return (kernel->codes_bytes + kernel->index_bytes + kernel->weights.n_scales * sizeof(float)) *
           ((n + entry->token_tile - 1) / entry->token_tile);
}

static uint64_t matrix_bytes(const struct rsr_matrix_data *matrix) {
    return matrix->rows * rsr_matrix_row_bytes(matrix);
}

/* Keys and values that the tokens see; the query heads of a KV head read them together. */
static uint64_t attention_bytes(const struct rsr_cuda_engine *e, uint32_t window) {
    const struct rsr_chunk *chunk = &e->engine->chunk;
    uint64_t n_keys = 0;
    for (uint32_t t = 0; t < chunk->n_tokens; t++) {
        const uint32_t n = chunk->positions[t] + 1;
        n_keys += window != 0 && window < n ? window : n;
    }
    return n_keys * e->engine->model->module->hyper.n_kv_heads * 2 * e->format.row_bytes;
}

static uint64_t op_bytes(const struct rsr_cuda_engine *e, const struct rsr_step_op *op) {
    const struct rsr_chunk *chunk = &e->engine->chunk;
    const struct rsr_tensors *tensors = e->gpu->tensors;
    const uint64_t n = chunk->n_tokens;
    const uint32_t n_asked = chunk->n_wanted + e->engine->picks.n;
    switch ((enum rsr_op_kind)op->kind) {
    case RSR_OP_EMBED:
        return n * rsr_matrix_row_bytes(&tensors->embedding);
    case RSR_OP_NORM:
        return tensors->norms[op->arg].cols * sizeof(float);
    case RSR_OP_LINEAR:
        return kernel_bytes(&e->gpu->kernels[op->arg], chunk->n_tokens);
    case RSR_OP_DENSE:
        return n * matrix_bytes(&tensors->dense[op->arg]);
    case RSR_OP_HEAD:
        if (chunk->wants_states || n_asked == 0)
            return 0;
        if (op->arg != RSR_NO_KERNEL)
            return kernel_bytes(&e->gpu->kernels[op->arg], n_asked);
        /* The rows that a pick by the sketch reads are few. */
        return (n_asked - e->n_sketched) * matrix_bytes(&tensors->head) +
               (uint64_t)e->n_sketched * e->sketch.n_blocks * e->sketch.shape.block_bytes;
    case RSR_OP_ROPE_APPEND:
        return n * e->engine->model->module->hyper.n_kv_heads * 2 * e->format.row_bytes;
    case RSR_OP_ATTENTION:
        return attention_bytes(e, op->arg);
    case RSR_OP_ROPE_TABLE:
    case RSR_OP_ADD:
    case RSR_OP_QUANT:
    case RSR_OP_ACT_MUL:
    case RSR_OP_PAD:
    case RSR_OP_OUTPUT:
    case RSR_OP_LIST_ROWS:
    case RSR_OP_LIST_COLS:
    case RSR_OP_GATE:
    case RSR_OP_DELTA:
    case RSR_OP_ROTATE:
    case RSR_OP_UNROTATE:
    case RSR_OP_KIND_COUNT:
        break;
    }
    return 0;
}

void rsr_cuda_add_times(const struct rsr_cuda_engine *e, rsr_profile_entry *rows) {
    const struct rsr_step_table *step = e->engine->chunk.step;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        rsr_profile_entry *row = rsr_profile_row(
            rows, op->kind, op->kind == RSR_OP_LINEAR ? e->gpu->kernels[op->arg].role : 0);
        row->calls++;
        row->time_ns += e->op_ns[i];
        row->bytes += op_bytes(e, op);
    }
}
