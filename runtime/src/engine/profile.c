/* profile.c - time and bytes by operation, for rsr_engine_profile. Workers note every operation of
 * a chunk; between chunks the last worker's time is added to the row of its kind or role: barriers
 * make its times add up to the step, and a single token is its own. */
#include <string.h>

#include "engine.h"

static const char *const kind_names[RSR_OP_KIND_COUNT] = {
#define OP_NAME(id, name) [RSR_OP_##id] = name,
    RSR_OP_KINDS(OP_NAME)
#undef OP_NAME
};

static uint64_t scale_bytes(const struct rsr_kernel_desc *kernel) {
    return kernel->weights.n_scales * sizeof(float);
}

/* Of one execution, as far as the tables tell; the workers count the rest. */
static uint64_t table_bytes(const struct rsr_engine *engine, const struct rsr_step_op *op) {
    const struct rsr_target *target = engine->model->target;
    const uint64_t n_tokens = engine->chunk.n_tokens;
    switch ((enum rsr_op_kind)op->kind) {
    case RSR_OP_EMBED:
        return n_tokens * rsr_matrix_row_bytes(&target->embedding);
    case RSR_OP_NORM:
        return target->norms[op->arg].cols * sizeof(float);
    case RSR_OP_HEAD:
        if (engine->chunk.n_wanted == 0 && engine->picks.n_all == 0)
            return 0;
        return rsr_op_weight_bytes(target, op) +
               (op->arg == RSR_NO_KERNEL ? 0 : scale_bytes(&target->kernels[op->arg]));
    case RSR_OP_LINEAR:
        return (target->kernels[op->arg].list == RSR_LIST_NONE ? rsr_op_weight_bytes(target, op)
                                                               : 0) +
               scale_bytes(&target->kernels[op->arg]);
    case RSR_OP_DENSE:
        return rsr_op_weight_bytes(target, op);
    case RSR_OP_ROPE_APPEND: /* a row of keys and one of values */
        return n_tokens * engine->kv.n_kv_heads * 2 * engine->kv.format.row_bytes;
    case RSR_OP_ROPE_TABLE:
    case RSR_OP_ADD:
    case RSR_OP_QUANT:
    case RSR_OP_ACT_MUL:
    case RSR_OP_ATTENTION:
    case RSR_OP_PAD:
    case RSR_OP_OUTPUT:
    case RSR_OP_LIST_ROWS:
    case RSR_OP_LIST_COLS:
    case RSR_OP_KIND_COUNT:
        break;
    }
    return 0;
}

void rsr_profile_add_chunk(struct rsr_engine *engine) {
    const struct rsr_step_table *step = engine->chunk.step;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        const struct rsr_op_sample *last = &engine->workers[engine->n_threads - 1].samples[i];
        const bool linear = op->kind == RSR_OP_LINEAR;
        const uint32_t role = linear ? engine->model->target->kernels[op->arg].role : 0;
        rsr_profile_entry *row =
            &engine->profile.rows[linear ? RSR_OP_KIND_COUNT + role : op->kind];
        row->name = linear ? rsr_role_name(role) : kind_names[op->kind];
        row->calls++;
        row->time_ns += last->run_ns + last->wait_ns;
        row->bytes += table_bytes(engine, op);
        uint64_t wait_ns = 0;
        for (uint32_t w = 0; w < engine->n_threads; w++) {
            wait_ns += engine->workers[w].samples[i].wait_ns;
            row->bytes += engine->workers[w].samples[i].bytes;
        }
        row->wait_ns += wait_ns / engine->n_threads;
    }
}

static rsr_status report(struct rsr_engine *engine, bool enable, rsr_profile_entry *entries,
                         size_t capacity, size_t *n_entries) {
    size_t n = 0;
    for (uint32_t i = 0; i < RSR_PROFILE_ROWS; i++) {
        if (engine->profile.rows[i].calls == 0)
            continue;
        if (entries != NULL && n < capacity)
            entries[n] = engine->profile.rows[i];
        n++;
    }
    if (n_entries != NULL)
        *n_entries = n;
    if (entries != NULL && n > capacity)
        return RSR_ERR_FULL;
    memset(engine->profile.rows, 0, sizeof(engine->profile.rows));
    engine->profile.enabled = enable;
    return RSR_OK;
}

rsr_status rsr_api_engine_profile(rsr_engine *engine, bool enable, rsr_profile_entry *entries,
                                  size_t capacity, size_t *n_entries) {
    if (engine == NULL)
        return RSR_ERR_ARGUMENT;
    rsr_status status = rsr_check_owner(engine->owner_pid, NULL);
    if (status != RSR_OK)
        return status;
    pthread_mutex_lock(&engine->call_lock);
    status = report(engine, enable, entries, capacity, n_entries);
    pthread_mutex_unlock(&engine->call_lock);
    return status;
}
