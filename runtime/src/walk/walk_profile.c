/* walk_profile.c - time and bytes by operation. Workers note every operation of a chunk. The last
 * worker's time is added to the row of the operation's kind or role: because of the barriers, its
 * times add up to the time of the step. */
#include "crew.h"
#include "ranks.h"

static uint64_t scale_bytes(const struct rsr_kernel_desc *kernel) {
    return kernel->weights.n_scales * sizeof(float);
}

/* The part of an operation's weights that this rank reads. */
static uint64_t weight_bytes(const struct rsr_crew *crew, const struct rsr_step_op *op) {
    const struct rsr_target *target = crew->model->target;
    const uint64_t bytes = rsr_op_weight_bytes(target, op);
    if (crew->ranks == NULL)
        return bytes;
    const struct rsr_rank_op *own = rsr_rank_op_of(crew, (uint32_t)(op - crew->chunk->step->ops));
    const uint32_t n_parts = op->kind == RSR_OP_DENSE
                                 ? rsr_dense_blocks(&target->tensors->dense[op->arg])
                             : op->arg == RSR_NO_KERNEL ? rsr_dense_blocks(&target->tensors->head)
                                                        : target->kernels[op->arg].n_tiles;
    return bytes * (own->part.end - own->part.begin) / n_parts;
}

/* Bytes of one execution that follow from the tables; the workers count the rest. */
static uint64_t table_bytes(const struct rsr_crew *crew, const struct rsr_step_op *op) {
    const struct rsr_target *target = crew->model->target;
    const uint64_t n_tokens = crew->chunk->n_tokens;
    switch ((enum rsr_op_kind)op->kind) {
    case RSR_OP_EMBED:
        return n_tokens * rsr_matrix_row_bytes(&target->tensors->embedding);
    case RSR_OP_NORM:
        return target->tensors->norms[op->arg].cols * sizeof(float);
    case RSR_OP_HEAD:
        if (crew->chunk->wants_states || (crew->chunk->n_wanted == 0 && crew->slots.n_all == 0))
            return 0;
        return weight_bytes(crew, op) +
               (op->arg == RSR_NO_KERNEL ? 0 : scale_bytes(&target->kernels[op->arg]));
    case RSR_OP_LINEAR:
        return (target->kernels[op->arg].list == RSR_LIST_NONE ? weight_bytes(crew, op) : 0) +
               scale_bytes(&target->kernels[op->arg]);
    case RSR_OP_DENSE:
        return weight_bytes(crew, op);
    case RSR_OP_ROPE_APPEND: /* a row of keys and one of values */
        return n_tokens * crew->kv.n_kv_heads * 2 * crew->kv.format.row_bytes;
    case RSR_OP_DELTA: /* each sequence's state is read and written */
        return 2 * crew->chunk->n_state_runs * crew->states.layer_bytes;
    case RSR_OP_ROPE_TABLE:
    case RSR_OP_ADD:
    case RSR_OP_QUANT:
    case RSR_OP_ACT_MUL:
    case RSR_OP_ATTENTION:
    case RSR_OP_PAD:
    case RSR_OP_OUTPUT:
    case RSR_OP_LIST_ROWS:
    case RSR_OP_LIST_COLS:
    case RSR_OP_GATE:
    case RSR_OP_ROTATE:
    case RSR_OP_UNROTATE:
    case RSR_OP_KIND_COUNT:
        break;
    }
    return 0;
}

void rsr_crew_add_samples(const struct rsr_crew *crew, rsr_profile_entry *rows) {
    const struct rsr_step_table *step = crew->chunk->step;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        const struct rsr_op_sample *last = &crew->workers[crew->n_workers - 1].samples[i];
        rsr_profile_entry *row = rsr_profile_row(
            rows, op->kind,
            op->kind == RSR_OP_LINEAR ? crew->model->target->kernels[op->arg].role : 0);
        row->calls++;
        row->time_ns += last->run_ns + last->wait_ns;
        row->bytes += table_bytes(crew, op);
        uint64_t wait_ns = 0;
        for (uint32_t w = 0; w < crew->n_workers; w++) {
            wait_ns += crew->workers[w].samples[i].wait_ns;
            row->bytes += crew->workers[w].samples[i].bytes;
        }
        row->wait_ns += wait_ns / crew->n_workers;
    }
}
