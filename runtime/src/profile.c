/* profile.c - time by operation, for rsr_engine_profile. Workers note the time of every operation of
 * a chunk; between chunks the slowest worker's is added to the row of its kind or role. */
#include <string.h>

#include "engine.h"

static const char *const kind_names[RSR_OP_KIND_COUNT] = {
    [RSR_OP_EMBED] = "embed",
    [RSR_OP_ROPE_TABLE] = "rope_table",
    [RSR_OP_ADD] = "add",
    [RSR_OP_NORM] = "norm",
    [RSR_OP_QUANT] = "quant",
    [RSR_OP_ACT_MUL] = "act_mul",
    [RSR_OP_LINEAR] = "linear",
    [RSR_OP_ROPE_APPEND] = "rope_append",
    [RSR_OP_ATTENTION] = "attention",
    [RSR_OP_HEAD] = "head",
    [RSR_OP_DENSE] = "dense",
    [RSR_OP_PAD] = "pad",
    [RSR_OP_OUTPUT] = "output",
};

/* Weights that one execution of the operation reads. */
static uint64_t op_weight_bytes(const struct rsr_engine *engine, const struct rsr_step_op *op) {
    const struct rsr_target *target = engine->model->target;
    if (op->kind == RSR_OP_EMBED)
        return engine->chunk.n_tokens * rsr_matrix_row_bytes(&target->embedding);
    if (op->kind == RSR_OP_HEAD && engine->chunk.n_wanted == 0)
        return 0;
    return rsr_op_weight_bytes(target, op);
}

void rsr_profile_add_chunk(struct rsr_engine *engine) {
    const struct rsr_step_table *step = engine->chunk.step;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        uint64_t slowest = 0;
        for (uint32_t w = 0; w < engine->n_threads; w++)
            if (engine->workers[w].op_ns[i] > slowest)
                slowest = engine->workers[w].op_ns[i];
        const bool linear = op->kind == RSR_OP_LINEAR;
        const uint32_t role = linear ? engine->model->target->kernels[op->arg].role : 0;
        rsr_profile_entry *row =
            &engine->profile.rows[linear ? RSR_OP_KIND_COUNT + role : op->kind];
        row->name = linear ? rsr_role_name(role) : kind_names[op->kind];
        row->time_ns += slowest;
        row->calls++;
        row->weight_bytes += op_weight_bytes(engine, op);
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
