/* step_check.c - the loader's checks of steps: every operand, argument and size of a target's or a
 * GPU's operations. */
#include "step_check.h"

#include "kv/kv_rows.h"
#include "runtime.h"

struct step_check {
    const struct rsr_module *module;
    const struct rsr_walked *walked;
    const struct rsr_step_table *step;
    uint32_t index; /* of the operation */
    rsr_error *err;
};

static const char *const operand_names[] = {"dst", "src0", "src1", "src2", "src3"};

/* The operand (0: dst, 1..4: src) must be a buffer whose rows hold `bytes`. */
static rsr_status check_operand(const struct step_check *c, uint32_t operand, uint64_t bytes) {
    const struct rsr_step_op *op = &c->step->ops[c->index];
    const uint16_t number = operand == 0 ? op->dst : op->src[operand - 1];
    rsr_error *err = c->err;
    if (number >= c->step->n_buffers)
        return BROKEN("step %s, operation %u: %s is buffer %u of %u", c->step->regime, c->index,
                      operand_names[operand], number, c->step->n_buffers);
    const struct rsr_buffer *buffer = &c->step->buffers[number];
    if (buffer->row_bytes < bytes)
        return BROKEN("step %s, operation %u: %s has rows of %u bytes, %llu are needed",
                      c->step->regime, c->index, operand_names[operand], buffer->row_bytes,
                      (unsigned long long)bytes);
    return RSR_OK;
}

static struct rsr_walked_kernel kernel_at(const struct step_check *c, uint32_t number) {
    return c->walked->kernel(c->walked->kernels, number);
}

/* Elements of an operand's rows, by its buffer. An operand without a buffer gets 1, so it counts as
 * used and check_operand refuses it. */
static uint32_t buffer_cols(const struct step_check *c, uint16_t number) {
    return number < c->step->n_buffers ? c->step->buffers[number].cols : 1;
}

/* Bytes that the rows of dst, src0 .. src3 must hold; 0: operand not used. */
struct operand_bytes {
    uint64_t bytes[5];
};

static struct operand_bytes needed_bytes(const struct step_check *c) {
    const struct rsr_step_op *op = &c->step->ops[c->index];
    const struct rsr_hyper *h = &c->module->hyper;
    const uint64_t hidden = 4 * (uint64_t)h->hidden, head = 4 * (uint64_t)h->head_dim;
    const uint64_t rope = 4 * (uint64_t)h->rotary_dim;
    const uint64_t heads = head * h->n_heads, kv_heads = head * h->n_kv_heads;
    const uint64_t values = 4 * (uint64_t)h->delta_value_heads * h->delta_value_dim;
    const uint64_t dst = 4 * (uint64_t)buffer_cols(c, op->dst);
    const uint64_t src = 4 * (uint64_t)buffer_cols(c, op->src[0]);
    switch ((enum rsr_op_kind)op->kind) {
    case RSR_OP_EMBED:
        return (struct operand_bytes){{hidden}};
    case RSR_OP_ROPE_TABLE:
        return (struct operand_bytes){{rope}};
    case RSR_OP_ADD:
        return (struct operand_bytes){{dst, dst}};
    case RSR_OP_NORM: {
        const uint64_t norm = 4 * (uint64_t)c->walked->tensors->norms[op->arg].cols;
        return (struct operand_bytes){{norm, norm}};
    }
    case RSR_OP_QUANT:
        return (struct operand_bytes){{rsr_act_row_bytes(buffer_cols(c, op->src[0])), src}};
    case RSR_OP_ACT_MUL:
        return (struct operand_bytes){{dst, dst, dst}};
    case RSR_OP_LINEAR: {
        const struct rsr_walked_kernel k = kernel_at(c, op->arg);
        return (struct operand_bytes){{4 * (uint64_t)k.rows, k.row_bytes}};
    }
    case RSR_OP_ROPE_APPEND:
        if (op->dst != RSR_NO_BUFFER)
            return (struct operand_bytes){{heads, 2 * heads, kv_heads, kv_heads, rope}};
        return (struct operand_bytes){{0, heads, kv_heads, kv_heads, rope}};
    case RSR_OP_ATTENTION:
        return (struct operand_bytes){{heads, heads}};
    case RSR_OP_HEAD:
        return (struct operand_bytes){
            {0, op->arg == RSR_NO_KERNEL ? hidden : kernel_at(c, op->arg).row_bytes}};
    case RSR_OP_DENSE: {
        const struct rsr_matrix_data *m = &c->walked->tensors->dense[op->arg];
        return (struct operand_bytes){{4 * (uint64_t)m->rows, 4 * (uint64_t)m->cols}};
    }
    case RSR_OP_PAD:
        return (struct operand_bytes){{dst}};
    case RSR_OP_OUTPUT:
        return (struct operand_bytes){{0, hidden}};
    case RSR_OP_LIST_ROWS: {
        const uint32_t n = buffer_cols(c, op->src[0]);
        return (struct operand_bytes){{rsr_list_layout(buffer_cols(c, op->dst), n).row_bytes, src}};
    }
    case RSR_OP_LIST_COLS: {
        const uint32_t n = buffer_cols(c, op->dst);
        return (struct operand_bytes){{rsr_list_layout(n, n).row_bytes}};
    }
    case RSR_OP_GATE:
        return (struct operand_bytes){{heads, heads, 2 * heads}};
    case RSR_OP_DELTA: {
        const uint64_t keys = 4 * (uint64_t)h->delta_key_heads * h->delta_key_dim;
        const uint64_t gates = 4 * (uint64_t)h->delta_value_heads;
        return (struct operand_bytes){{values, 2 * keys + values, values, gates, gates}};
    }
    case RSR_OP_ROTATE: {
        const uint64_t cols = c->module->rotations[op->arg].cols;
        return (struct operand_bytes){{4 * cols, 4 * cols}};
    }
    case RSR_OP_UNROTATE:
        return (struct operand_bytes){{4 * (uint64_t)c->module->rotations[op->arg].cols}};
    case RSR_OP_KIND_COUNT:
        break;
    }
    return (struct operand_bytes){{0}};
}

/* Whether this is a kernel that can compute the head. */
static bool is_head_kernel(const struct step_check *c, uint32_t number) {
    const struct rsr_hyper *h = &c->module->hyper;
    const struct rsr_walked_kernel k = kernel_at(c, number);
    return k.rows == h->vocab && k.cols == h->hidden;
}

/* Whether norms `first` and first + 1 fit query and key heads. */
static bool are_head_norms(const struct step_check *c, uint32_t first) {
    const struct rsr_norm *norms = c->walked->tensors->norms;
    const uint32_t head_dim = c->module->hyper.head_dim;
    return first < c->walked->tensors->n_norms && first + 1 < c->walked->tensors->n_norms &&
           norms[first].cols == head_dim && norms[first + 1].cols == head_dim;
}

/* Whether the argument names something that exists. */
static bool has_argument(const struct step_check *c) {
    const struct rsr_step_op *op = &c->step->ops[c->index];
    switch ((enum rsr_op_kind)op->kind) {
    case RSR_OP_ROPE_TABLE:
        return op->arg < c->module->n_ropes;
    case RSR_OP_ROTATE: /* what follows the elements is padding */
        return op->arg < c->module->n_rotations &&
               buffer_cols(c, op->dst) == c->module->rotations[op->arg].cols;
    case RSR_OP_UNROTATE:
        return op->arg < c->module->n_rotations;
    case RSR_OP_NORM:
        return op->arg < c->walked->tensors->n_norms;
    case RSR_OP_LINEAR:
        return op->arg < c->walked->n_kernels;
    case RSR_OP_DENSE:
        return op->arg < c->walked->tensors->n_dense;
    case RSR_OP_ROPE_APPEND:
        return op->layer < rsr_kv_layers(&c->module->hyper) &&
               (op->arg == RSR_NO_NORM || are_head_norms(c, op->arg));
    case RSR_OP_ATTENTION:
        return op->layer < rsr_kv_layers(&c->module->hyper);
    case RSR_OP_DELTA:
        return op->arg < c->walked->tensors->n_deltas && op->layer < c->module->hyper.delta_layers;
    case RSR_OP_HEAD:
        if (c->module->hyper.pooling != RSR_POOLING_NONE)
            return false;
        return op->arg == RSR_NO_KERNEL
                   ? c->walked->tensors->head.data != NULL
                   : op->arg < c->walked->n_kernels && is_head_kernel(c, op->arg) &&
                         c->walked->tensors->head_sketch.blocks == NULL;
    case RSR_OP_OUTPUT:
        return c->module->hyper.pooling != RSR_POOLING_NONE;
    case RSR_OP_EMBED:
    case RSR_OP_ADD:
    case RSR_OP_QUANT:
    case RSR_OP_ACT_MUL:
    case RSR_OP_GATE:
    case RSR_OP_PAD:
    case RSR_OP_LIST_ROWS:
    case RSR_OP_LIST_COLS:
        return true;
    case RSR_OP_KIND_COUNT:
        break;
    }
    return false;
}

static rsr_status check_op(const struct step_check *c) {
    const struct rsr_step_op *op = &c->step->ops[c->index];
    rsr_error *err = c->err;
    if (!has_argument(c) || ((op->kind == RSR_OP_ROPE_APPEND || op->kind == RSR_OP_ATTENTION) &&
                             op->block >= c->module->hyper.n_layers))
        return BROKEN("step %s, operation %u: kind %u, argument %u, block %u", c->step->regime,
                      c->index, op->kind, op->arg, op->block);
    const struct operand_bytes needed = needed_bytes(c);
    for (uint32_t operand = 0; operand < 5; operand++) {
        rsr_status status =
            needed.bytes[operand] == 0 ? RSR_OK : check_operand(c, operand, needed.bytes[operand]);
        if (status != RSR_OK)
            return status;
    }
    return RSR_OK;
}

static rsr_status check_buffers(const struct rsr_step_table *step, rsr_error *err) {
    for (uint32_t i = 0; i < step->n_buffers; i++) {
        const struct rsr_buffer *b = &step->buffers[i];
        if (b->row_bytes == 0 || b->cols == 0 || b->row_bytes % 64 != 0 || b->offset % 64 != 0 ||
            b->offset > step->arena_bytes_per_token ||
            b->row_bytes > step->arena_bytes_per_token - b->offset)
            return BROKEN("step %s, buffer %u: rows of %u bytes at %llu of %llu", step->regime, i,
                          b->row_bytes, (unsigned long long)b->offset,
                          (unsigned long long)step->arena_bytes_per_token);
    }
    return RSR_OK;
}

static rsr_status check_step(const struct rsr_module *module, const struct rsr_walked *walked,
                             const struct rsr_step_table *step, rsr_error *err) {
    if (step->regime == NULL || step->ops == NULL || step->buffers == NULL || step->n_ops == 0)
        return BROKEN("a step table is empty");
    rsr_status status = check_buffers(step, err);
    struct step_check check = {.module = module, .walked = walked, .step = step, .err = err};
    for (; status == RSR_OK && check.index < step->n_ops; check.index++)
        status = check_op(&check);
    return status;
}

rsr_status rsr_check_steps(const struct rsr_module *module, const struct rsr_walked *walked,
                           rsr_error *err) {
    uint64_t next = 1;
    if (walked->n_steps != 0 && walked->steps == NULL)
        return BROKEN("a table is missing that has entries");
    for (uint32_t i = 0; i < walked->n_steps; i++) {
        const struct rsr_step_table *step = &walked->steps[i];
        if (step->min_tokens != next || step->max_tokens < step->min_tokens)
            return BROKEN("step %u of target %s serves %u to %u tokens", i, walked->name,
                          step->min_tokens, step->max_tokens);
        next = (uint64_t)step->max_tokens + 1;
        rsr_status status = check_step(module, walked, step, err);
        if (status != RSR_OK)
            return status;
    }
    if (next != (uint64_t)UINT32_MAX + 1)
        return BROKEN("no step of target %s serves %llu tokens", walked->name,
                      (unsigned long long)next);
    return RSR_OK;
}
