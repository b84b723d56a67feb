/* probe_point.c - which operations a probe sees, and as what. */
#include <fenv.h>

#include "engine.h"
#include "probe_point.h"

/* What a probe sees before and after operations of a kind. */
static const struct {
    bool before, after;
    rsr_probe_kind before_kind, after_kind;
} kinds[RSR_OP_KIND_COUNT] = {
    [RSR_OP_NORM] = {.after = true, .after_kind = RSR_PROBE_NORM_OUTPUT},
    [RSR_OP_LINEAR] = {true, true, RSR_PROBE_LINEAR_INPUT, RSR_PROBE_LINEAR_OUTPUT},
    [RSR_OP_ROPE_APPEND] = {.after = true, .after_kind = RSR_PROBE_KEYS},
    [RSR_OP_ATTENTION] = {true, true, RSR_PROBE_ATTENTION_INPUT, RSR_PROBE_ATTENTION_OUTPUT},
    [RSR_OP_HEAD] = {.before = true, .before_kind = RSR_PROBE_LOGITS_INPUT},
    [RSR_OP_DENSE] = {true, true, RSR_PROBE_LINEAR_INPUT, RSR_PROBE_LINEAR_OUTPUT},
    [RSR_OP_OUTPUT] = {.before = true, .before_kind = RSR_PROBE_LOGITS_INPUT},
};

/* Elements of a row: those of the layer, norm or keys, otherwise of the heads or the hidden
 * state. */
static uint32_t cols_of(const struct rsr_step_op *op, bool before,
                        const struct rsr_probe_kernel *kernel, const struct rsr_tensors *tensors,
                        const struct rsr_hyper *hyper) {
    if (op->kind == RSR_OP_LINEAR)
        return before ? kernel->cols : kernel->rows;
    if (op->kind == RSR_OP_DENSE)
        return before ? tensors->dense[op->arg].cols : tensors->dense[op->arg].rows;
    if (op->kind == RSR_OP_NORM)
        return tensors->norms[op->arg].cols;
    if (op->kind == RSR_OP_ROPE_APPEND)
        return hyper->n_kv_heads * hyper->head_dim;
    return op->kind == RSR_OP_ATTENTION ? hyper->n_heads * hyper->head_dim : hyper->hidden;
}

static const char *role_of(const struct rsr_step_op *op, const struct rsr_probe_kernel *kernel,
                           const struct rsr_tensors *tensors) {
    if (op->kind == RSR_OP_LINEAR)
        return rsr_role_name(kernel->role);
    if (op->kind == RSR_OP_DENSE)
        return rsr_role_name(tensors->dense[op->arg].role);
    if (op->kind == RSR_OP_HEAD)
        return kernel != NULL && kernel->reads_int8 ? rsr_role_name(RSR_ROLE_HEAD) : "";
    return op->kind == RSR_OP_NORM ? tensors->norms[op->arg].name : "";
}

uint16_t rsr_probe_point_make(const struct rsr_step_op *op, bool before,
                              const struct rsr_probe_kernel *kernel,
                              const struct rsr_tensors *tensors, const struct rsr_hyper *hyper,
                              rsr_probe_point *point) {
    if (!(before ? kinds[op->kind].before : kinds[op->kind].after))
        return RSR_NO_BUFFER;
    *point = (rsr_probe_point){
        .size_bytes = sizeof(*point),
        .kind = before ? kinds[op->kind].before_kind : kinds[op->kind].after_kind,
        .block = op->block,
        .role = role_of(op, kernel, tensors),
        .cols = cols_of(op, before, kernel, tensors, hyper),
        .has_int8_rows = before && kernel != NULL && kernel->reads_int8,
        .has_dense_layer = op->kind == RSR_OP_DENSE || (op->kind == RSR_OP_HEAD && kernel == NULL),
    };
    /* Probes see a ternary head that reads int8 rows as a linear layer. */
    if (op->kind == RSR_OP_HEAD && point->has_int8_rows)
        point->kind = RSR_PROBE_LINEAR_INPUT;
    return before ? op->src[0] : op->kind == RSR_OP_ROPE_APPEND ? op->src[1] : op->dst;
}

void rsr_probe_call(const struct rsr_engine *engine, const rsr_probe_point *point) {
    engine->probe(engine->probe_user, point);
    fesetenv(FE_DFL_ENV);
}
