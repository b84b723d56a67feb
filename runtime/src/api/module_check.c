/* module_check.c - the loader's checks of a module's tables: every number that the engine later
 * uses as an index or a size. The checks take microseconds and turn a bug of the compiler into a
 * sentence. */
#include "module_check.h"

#include <math.h>

#include "kv/kv_rows.h"
#include "ops/ops.h"
#include "runtime.h"
#include "sketch/sketch.h"

/* RoPE computes positions in float32, which is exact up to 2^24. The other limits are far above any
 * model, and products of two such sizes fit 64 bits. */
#define LIMIT_CONTEXT (1u << 24)
#define LIMIT_SIZE (1u << 28)
#define LIMIT_ROTATION 65536u
#define LIMIT_STREAMS 64u

#define BROKEN(...) rsr_fail(err, RSR_ERR_ABI, "the module is broken: " __VA_ARGS__)

rsr_status rsr_check_module_abi(const struct rsr_module *module, rsr_error *err) {
    if (module->abi_version != RSR_ABI_VERSION)
        return rsr_fail(err, RSR_ERR_ABI,
                        "the module's tables have version %u, its runtime reads %u; compile again",
                        module->abi_version, RSR_ABI_VERSION);
    if (module->size_bytes != sizeof(struct rsr_module) ||
        module->size_kernel_desc != sizeof(struct rsr_kernel_desc) ||
        module->size_step_op != sizeof(struct rsr_step_op))
        return rsr_fail(err, RSR_ERR_ABI,
                        "the module's tables were laid out for another runtime; compile again");
    return RSR_OK;
}

/* State sizes: the products that state_memory.c multiplies fit 64 bits. */
#define LIMIT_DELTA_DIM 4096u
#define LIMIT_DELTA_HEADS 4096u
#define LIMIT_DELTA_LAYERS 65536u

static bool are_delta_sizes(const struct rsr_hyper *h) {
    return h->delta_key_heads != 0 && h->delta_key_dim != 0 && h->delta_value_dim != 0 &&
           h->delta_value_heads != 0 && h->delta_value_heads % h->delta_key_heads == 0 &&
           h->delta_value_heads <= LIMIT_DELTA_HEADS && h->delta_key_dim <= LIMIT_DELTA_DIM &&
           h->delta_value_dim <= LIMIT_DELTA_DIM && h->n_layers <= LIMIT_DELTA_LAYERS;
}

static rsr_status check_rotations(const struct rsr_module *module, rsr_error *err) {
    if (module->n_rotations != 0 && module->rotations == NULL)
        return BROKEN("the table of rotations is missing");
    for (uint32_t i = 0; i < module->n_rotations; i++) {
        const struct rsr_rotation *r = &module->rotations[i];
        if (r->block == 0 || (r->block & (r->block - 1)) != 0 || r->block > LIMIT_ROTATION ||
            r->cols == 0 || r->cols > LIMIT_SIZE || r->cols % r->block != 0)
            return BROKEN("rotation %u has %u elements in blocks of %u", i, r->cols, r->block);
    }
    return RSR_OK;
}

static rsr_status check_hyper(const struct rsr_module *module, rsr_error *err) {
    const struct rsr_hyper *h = &module->hyper;
    const uint32_t sizes[] = {h->hidden,   h->n_layers, h->n_heads, h->n_kv_heads,
                              h->head_dim, h->ffn,      h->vocab,   h->context};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (sizes[i] == 0 || sizes[i] > LIMIT_SIZE)
            return rsr_fail(err, RSR_ERR_ABI,
                            "the module holds no runnable model (one of its sizes is %u)",
                            sizes[i]);
    if (h->n_heads % h->n_kv_heads != 0 || h->head_dim % 2 != 0 || h->context > LIMIT_CONTEXT ||
        (uint64_t)h->n_heads * h->head_dim > LIMIT_SIZE)
        return BROKEN("%u heads of %u, %u KV heads and %u positions do not fit together",
                      h->n_heads, h->head_dim, h->n_kv_heads, h->context);
    if (h->rotary_dim == 0 || h->rotary_dim % 2 != 0 || h->rotary_dim > h->head_dim)
        return BROKEN("%u of %u elements of a head are rotated", h->rotary_dim, h->head_dim);
    if (h->delta_layers > h->n_layers || (h->delta_layers != 0 && !are_delta_sizes(h)))
        return BROKEN("the sizes of its %u recurrent layers do not fit together", h->delta_layers);
    if (h->activation >= RSR_ACTIVATION_COUNT)
        return BROKEN("activation %u is unknown", h->activation);
    if (h->pooling >= RSR_POOLING_COUNT)
        return BROKEN("pooling %u is unknown", h->pooling);
    if (!isfinite(h->attention_scale) || !isfinite(h->embedding_scale))
        return BROKEN("a scale of the model is not finite");
    if (module->ropes == NULL || module->n_ropes == 0 || module->model_name == NULL ||
        module->architecture == NULL || module->compiler_version == NULL)
        return BROKEN("a table of the model is missing");
    for (uint32_t i = 0; i < module->n_ropes; i++)
        if (module->ropes[i].inv_freq == NULL || !isfinite(module->ropes[i].scale))
            return BROKEN("rotary table %u is incomplete", i);
    return check_rotations(module, err);
}

static rsr_status check_dense(const struct rsr_matrix_data *m, const char *name, uint32_t rows,
                              uint32_t cols, rsr_error *err) {
    if (m->data == NULL || m->rows != rows || m->cols != cols || rows == 0 || cols == 0 ||
        rows > LIMIT_SIZE || cols > LIMIT_SIZE ||
        (m->dtype != RSR_DTYPE_F32 && m->dtype != RSR_DTYPE_BF16 && m->dtype != RSR_DTYPE_F16))
        return BROKEN("the %s is %u x %u of type %u", name, m->rows, m->cols, m->dtype);
    return RSR_OK;
}

static rsr_status check_head_sketch(const struct rsr_target *target, rsr_error *err) {
    const struct rsr_head_sketch *s = &target->head_sketch;
    const struct rsr_matrix_data *head = &target->head;
    if (head->data == NULL || head->cols > RSR_SKETCH_MAX_DIM || s->n_planes < 1 ||
        s->n_planes > RSR_SKETCH_MAX_PLANES || s->centre == NULL)
        return BROKEN("a sketch of %u planes does not fit the head", s->n_planes);
    const struct rsr_sketch_shape shape = rsr_sketch_flat_shape(head->cols, s->n_planes);
    if (s->block_bytes != shape.block_bytes || (uintptr_t)s->blocks % 64 != 0)
        return BROKEN(
            "the head's sketch has blocks of %llu bytes, not of %u, or they are not aligned",
            (unsigned long long)s->block_bytes, shape.block_bytes);
    for (uint32_t i = 0; i < head->cols; i++)
        if (!(fabsf(s->centre[i]) < RSR_SKETCH_LARGEST_CENTRE))
            return BROKEN("the centre of the head's sketch is too large at %u", i);
    return RSR_OK;
}

static rsr_status check_kernel(const struct rsr_kernel_desc *k, uint32_t index, rsr_error *err) {
    if (k->name == NULL || k->variant == NULL || k->reason == NULL || k->fn == NULL ||
        k->role >= RSR_ROLE_COUNT)
        return BROKEN("kernel %u is incomplete", index);
    if (k->rows == 0 || k->cols == 0 || k->rows > LIMIT_SIZE || k->cols > LIMIT_SIZE ||
        k->n_tiles == 0 || (uint64_t)k->n_tiles * k->tile_rows < k->rows)
        return BROKEN("kernel %s: %u tiles of %u rows for %u x %u", k->name, k->n_tiles,
                      k->tile_rows, k->rows, k->cols);
    if (k->n_streams == 0 || k->n_streams > LIMIT_STREAMS || k->stream_bytes > k->weight_bytes ||
        k->tile_bytes > k->weight_bytes / (k->n_tiles > 1 ? k->n_tiles - 1 : 1))
        return BROKEN("kernel %s: %u streams of codes, %llu bytes a tile", k->name, k->n_streams,
                      (unsigned long long)k->tile_bytes);
    if (k->epilogue != RSR_EPILOGUE_SCALE || k->weights.scale == NULL ||
        (k->weights.n_scales != 1 && k->weights.n_scales % k->rows != 0) ||
        k->input > RSR_INPUT_F32 || k->list > RSR_LIST_COLS ||
        (k->list != RSR_LIST_NONE && k->input != RSR_INPUT_I8))
        return BROKEN("kernel %s: %u scales for %u rows", k->name, k->weights.n_scales, k->rows);
    return RSR_OK;
}

/* ---- Steps ---- */

struct step_check {
    const struct rsr_module *module;
    const struct rsr_target *target;
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

static uint64_t act_row_bytes(uint32_t cols) {
    return RSR_ACT_HEADER + ((uint64_t)cols + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD;
}

/* Bytes of an input row that a kernel reads. */
static uint64_t kernel_row_bytes(const struct rsr_kernel_desc *k) {
    if (k->list != RSR_LIST_NONE)
        return rsr_list_layout(k->cols, k->list == RSR_LIST_ROWS ? k->rows : k->cols).row_bytes;
    const uint64_t padded = ((uint64_t)k->cols + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD;
    return k->input == RSR_INPUT_F32 ? 4 * padded : RSR_ACT_HEADER + padded;
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
        const uint64_t norm = 4 * (uint64_t)c->target->norms[op->arg].cols;
        return (struct operand_bytes){{norm, norm}};
    }
    case RSR_OP_QUANT:
        return (struct operand_bytes){{act_row_bytes(buffer_cols(c, op->src[0])), src}};
    case RSR_OP_ACT_MUL:
        return (struct operand_bytes){{dst, dst, dst}};
    case RSR_OP_LINEAR: {
        const struct rsr_kernel_desc *k = &c->target->kernels[op->arg];
        return (struct operand_bytes){{4 * (uint64_t)k->rows, kernel_row_bytes(k)}};
    }
    case RSR_OP_ROPE_APPEND:
        if (op->dst != RSR_NO_BUFFER)
            return (struct operand_bytes){{heads, 2 * heads, kv_heads, kv_heads, rope}};
        return (struct operand_bytes){{0, heads, kv_heads, kv_heads, rope}};
    case RSR_OP_ATTENTION:
        return (struct operand_bytes){{heads, heads}};
    case RSR_OP_HEAD:
        return (struct operand_bytes){{0, op->arg == RSR_NO_KERNEL
                                              ? hidden
                                              : kernel_row_bytes(&c->target->kernels[op->arg])}};
    case RSR_OP_DENSE: {
        const struct rsr_matrix_data *m = &c->target->dense[op->arg];
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
    const struct rsr_kernel_desc *k = &c->target->kernels[number];
    return k->rows == h->vocab && k->cols == h->hidden;
}

/* Whether norms `first` and first + 1 fit query and key heads. */
static bool are_head_norms(const struct step_check *c, uint32_t first) {
    const struct rsr_norm *norms = c->target->norms;
    const uint32_t head_dim = c->module->hyper.head_dim;
    return first < c->target->n_norms && first + 1 < c->target->n_norms &&
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
        return op->arg < c->target->n_norms;
    case RSR_OP_LINEAR:
        return op->arg < c->target->n_kernels;
    case RSR_OP_DENSE:
        return op->arg < c->target->n_dense;
    case RSR_OP_ROPE_APPEND:
        return op->layer < rsr_kv_layers(&c->module->hyper) &&
               (op->arg == RSR_NO_NORM || are_head_norms(c, op->arg));
    case RSR_OP_ATTENTION:
        return op->layer < rsr_kv_layers(&c->module->hyper);
    case RSR_OP_DELTA:
        return op->arg < c->target->n_deltas && op->layer < c->module->hyper.delta_layers;
    case RSR_OP_HEAD:
        if (c->module->hyper.pooling != RSR_POOLING_NONE)
            return false;
        return op->arg == RSR_NO_KERNEL
                   ? c->target->head.data != NULL
                   : op->arg < c->target->n_kernels && is_head_kernel(c, op->arg) &&
                         c->target->head_sketch.blocks == NULL;
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

static rsr_status check_step(const struct rsr_module *module, const struct rsr_target *target,
                             const struct rsr_step_table *step, rsr_error *err) {
    if (step->regime == NULL || step->ops == NULL || step->buffers == NULL || step->n_ops == 0)
        return BROKEN("a step table is empty");
    rsr_status status = check_buffers(step, err);
    struct step_check check = {.module = module, .target = target, .step = step, .err = err};
    for (; status == RSR_OK && check.index < step->n_ops; check.index++)
        status = check_op(&check);
    return status;
}

/* Steps must cover every batch size exactly once: 1..a, a+1..b, ... UINT32_MAX. */
static rsr_status check_steps(const struct rsr_module *module, const struct rsr_target *target,
                              rsr_error *err) {
    uint64_t next = 1;
    for (uint32_t i = 0; i < target->n_steps; i++) {
        const struct rsr_step_table *step = &target->steps[i];
        if (step->min_tokens != next || step->max_tokens < step->min_tokens)
            return BROKEN("step %u of target %s serves %u to %u tokens", i, target->name,
                          step->min_tokens, step->max_tokens);
        next = (uint64_t)step->max_tokens + 1;
        rsr_status status = check_step(module, target, step, err);
        if (status != RSR_OK)
            return status;
    }
    if (next != (uint64_t)UINT32_MAX + 1)
        return BROKEN("no step of target %s serves %llu tokens", target->name,
                      (unsigned long long)next);
    return RSR_OK;
}

rsr_status rsr_check_module_tables(const struct rsr_module *module, const struct rsr_target *target,
                                   rsr_error *err) {
    const struct rsr_hyper *hyper = &module->hyper;
    rsr_status status = check_hyper(module, err);
    if (status == RSR_OK && ((target->n_kernels != 0 && target->kernels == NULL) ||
                             (target->n_norms != 0 && target->norms == NULL) ||
                             (target->n_dense != 0 && target->dense == NULL) ||
                             (target->n_deltas != 0 && target->deltas == NULL) ||
                             (target->n_steps != 0 && target->steps == NULL) ||
                             (module->n_stop_tokens != 0 && module->stop_tokens == NULL)))
        status = BROKEN("a table is missing that has entries");
    if (status == RSR_OK)
        status = check_dense(&target->embedding, "embedding", hyper->vocab, hyper->hidden, err);
    if (status == RSR_OK && target->head.data != NULL)
        status = check_dense(&target->head, "head", hyper->vocab, hyper->hidden, err);
    if (status == RSR_OK && target->head_sketch.blocks != NULL)
        status = check_head_sketch(target, err);
    for (uint32_t i = 0; status == RSR_OK && i < target->n_dense; i++)
        status = check_dense(&target->dense[i], "dense layer", target->dense[i].rows,
                             target->dense[i].cols, err);
    for (uint32_t i = 0; status == RSR_OK && i < target->n_kernels; i++)
        status = check_kernel(&target->kernels[i], i, err);
    for (uint32_t i = 0; status == RSR_OK && i < target->n_norms; i++) {
        const struct rsr_norm *norm = &target->norms[i];
        if (norm->name == NULL || norm->weight == NULL || norm->cols == 0 ||
            norm->cols > LIMIT_SIZE || !(norm->eps >= 0.0f))
            status = BROKEN("norm %u is incomplete", i);
    }
    for (uint32_t i = 0; status == RSR_OK && i < target->n_deltas; i++) {
        const struct rsr_delta *delta = &target->deltas[i];
        if (delta->taps == NULL || delta->rate == NULL || delta->shift == NULL ||
            delta->norm == NULL || !(delta->norm_eps >= 0.0f))
            status = BROKEN("recurrent layer %u is incomplete", i);
    }
    if (status == RSR_OK)
        status = check_steps(module, target, err);
    return status;
}
