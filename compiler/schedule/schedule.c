/* schedule.c - builds the step from the graph: operations in order, buffers placed by lifetime.
 *
 * If decode and prefill use the same kernels, one table of operations serves every batch size. Else
 * each regime has its own table, and the two differ only in kernel numbers. Operations that are
 * split by token follow each other without a barrier, because each worker keeps its tokens; a
 * barrier stands where the split changes.
 */
#include "schedule/schedule.h"

#include <inttypes.h>
#include <string.h>

#include "base/round.h"

/* Every buffer of a step. Activations (int8 rows) have the suffix _act. */
enum buffer_id {
    B_X,          /* residual stream */
    B_ROPE,       /* cos and sin of the token's position */
    B_ROPE_LOCAL, /* cos and sin of blocks with a window */
    B_NORMED,     /* norm of the residual stream */
    B_ACT,
    B_Q_GATE, /* queries, and after each head its gate */
    B_Q,
    B_K,
    B_V,
    B_QKV, /* of a gated delta rule */
    B_Z,
    B_BETA,
    B_DECAY,
    B_MIXED, /* its output */
    B_MIXED_NORMED,
    B_MIXED_ACT,
    B_ATT, /* attention output */
    B_ATT_GATED,
    B_ATT_NORMED,
    B_ATT_ACT,
    B_DELTA, /* output of o and down, added to the residual stream */
    B_GATE,
    B_UP,
    B_H, /* act(gate) * up */
    B_H_NORMED,
    B_H_ACT,
    B_PROJ_NORMED, /* a linear layer's own norm, then its input: q k v, gate up */
    B_PROJ_ACT0,
    B_PROJ_ACT1,
    B_PROJ_ACT2,
    B_PROJ_ACT3,
    B_ROTATED, /* rotated inputs: of q k v, gate up and the head; of o; of down */
    B_ATT_ROTATED,
    B_MIXED_ROTATED,
    B_H_ROTATED,
    B_COUNT
};
_Static_assert(B_COUNT <= RSRC_MAX_STEP_BUFFERS, "a step has too many buffers");

static struct rsr_buffer f32_rows(const char *name, uint32_t cols) {
    return (struct rsr_buffer){
        .name = name, .cols = cols, .row_bytes = (uint32_t)rsrc_round_up((uint64_t)cols * 4, 64)};
}

static struct rsr_buffer act_rows(const char *name, uint32_t cols) {
    return (struct rsr_buffer){.name = name,
                               .cols = cols,
                               .row_bytes =
                                   (uint32_t)(RSR_ACT_HEADER + rsrc_round_up(cols, RSR_ACT_PAD))};
}

/* Float inputs of linear layers have room for padding. */
static struct rsr_buffer padded_rows(const char *name, uint32_t cols) {
    return (struct rsr_buffer){
        .name = name, .cols = cols, .row_bytes = (uint32_t)(4 * rsrc_round_up(cols, RSR_ACT_PAD))};
}

/* Makes room for a list of n elements after the act rows. */
static void widen_act_rows(struct rsr_buffer *buffer, uint32_t n) {
    buffer->row_bytes = (uint32_t)rsr_list_layout(buffer->cols, n).row_bytes;
}

static enum rsr_list list_of(const struct rsrc_step_kernels *kernels,
                             const struct rsr_linear_slot *slot) {
    if (kernels->lists == NULL || slot->layer == RSR_NO_LAYER)
        return RSR_LIST_NONE;
    return (enum rsr_list)kernels->lists[slot->layer];
}

static void describe_buffers(const struct rsr_graph *graph, struct rsr_buffer buffers[B_COUNT]) {
    const struct rsr_hyper *hyper = &graph->hyper;
    const uint32_t q_dim = hyper->n_heads * hyper->head_dim;
    const uint32_t kv_dim = hyper->n_kv_heads * hyper->head_dim;
    const uint32_t values = hyper->delta_value_heads * hyper->delta_value_dim;
    const bool floats = graph->input == RSR_INPUT_F32;
    struct rsr_buffer (*const rows)(const char *, uint32_t) = floats ? padded_rows : f32_rows;
    struct rsr_buffer (*const inputs)(const char *, uint32_t) = floats ? padded_rows : act_rows;
    buffers[B_X] = f32_rows("x", hyper->hidden);
    buffers[B_ROPE] = f32_rows("rope", hyper->rotary_dim);
    buffers[B_ROPE_LOCAL] = f32_rows("rope_local", hyper->rotary_dim);
    buffers[B_NORMED] = rows("normed", hyper->hidden);
    buffers[B_ACT] = inputs("act", hyper->hidden);
    buffers[B_Q_GATE] = f32_rows("q_gate", 2 * q_dim);
    buffers[B_Q] = f32_rows("q", q_dim);
    buffers[B_K] = f32_rows("k", kv_dim);
    buffers[B_V] = f32_rows("v", kv_dim);
    buffers[B_QKV] = f32_rows("qkv", 2 * hyper->delta_key_heads * hyper->delta_key_dim + values);
    buffers[B_Z] = f32_rows("z", values);
    buffers[B_BETA] = f32_rows("beta", hyper->delta_value_heads);
    buffers[B_DECAY] = f32_rows("decay", hyper->delta_value_heads);
    buffers[B_MIXED] = rows("mixed", values);
    buffers[B_MIXED_NORMED] = rows("mixed_normed", values);
    buffers[B_MIXED_ACT] = inputs("mixed_act", values);
    buffers[B_ATT] = rows("att", q_dim);
    buffers[B_ATT_GATED] = rows("att_gated", q_dim);
    buffers[B_ATT_NORMED] = rows("att_normed", q_dim);
    buffers[B_ATT_ACT] = inputs("att_act", q_dim);
    buffers[B_DELTA] = f32_rows("delta", hyper->hidden);
    buffers[B_GATE] = f32_rows("gate", hyper->ffn);
    buffers[B_UP] = f32_rows("up", hyper->ffn);
    buffers[B_H] = rows("h", hyper->ffn);
    buffers[B_H_NORMED] = rows("h_normed", hyper->ffn);
    buffers[B_H_ACT] = inputs("h_act", hyper->ffn);
    buffers[B_PROJ_NORMED] = rows("proj_normed", hyper->hidden);
    buffers[B_PROJ_ACT0] = inputs("proj_act0", hyper->hidden);
    buffers[B_PROJ_ACT1] = inputs("proj_act1", hyper->hidden);
    buffers[B_PROJ_ACT2] = inputs("proj_act2", hyper->hidden);
    buffers[B_PROJ_ACT3] = inputs("proj_act3", hyper->hidden);
    buffers[B_ROTATED] = rows("rotated", hyper->hidden);
    buffers[B_ATT_ROTATED] = rows("att_rotated", q_dim);
    buffers[B_MIXED_ROTATED] = rows("mixed_rotated", values);
    buffers[B_H_ROTATED] = rows("h_rotated", hyper->ffn);
}

/* ---- operations
 * ---------------------------------------------------------------------------------- */

#define MAX_BLOCK_OPS 56
#define MAX_OUTER_OPS 16

#define NONE RSR_NO_BUFFER

struct builder {
    struct rsr_step *step;
    const struct rsr_graph *graph;
    const struct rsrc_step_kernels *kernels;
    uint32_t block; /* block of the operations that are added */
};

static struct rsr_step_op *add_op(struct builder *b, enum rsr_op_kind kind, uint16_t dst,
                                  uint16_t src0) {
    struct rsr_step_op *op = &b->step->ops[b->step->n_ops++];
    *op = (struct rsr_step_op){
        .kind = (uint16_t)kind, .block = b->block, .dst = dst, .src = {src0, NONE, NONE, NONE}};
    return op;
}

/* Adds a barrier after the last operation. */
static void add_barrier(struct builder *b) {
    b->step->ops[b->step->n_ops - 1].flags |= RSR_OP_BARRIER;
}

static void add_norm(struct builder *b, uint16_t dst, uint16_t src, uint32_t norm) {
    add_op(b, RSR_OP_NORM, dst, src)->arg = norm;
}

/* Turns floats into the input of linear layers: int8 rows in `act`, or the floats themselves,
 * padded. */
static uint16_t add_input(struct builder *b, uint16_t floats, uint16_t act) {
    if (b->graph->input == RSR_INPUT_I8) {
        add_op(b, RSR_OP_QUANT, act, floats);
        return act;
    }
    add_op(b, RSR_OP_PAD, floats, NONE);
    return floats;
}

/* Linear layers that read the same rows. */
#define MAX_FED 4
struct feed {
    uint16_t src;
    uint32_t norm; /* of src, to `normed`; or RSR_NO_NORM */
    uint16_t normed;
    uint16_t act;
    uint16_t proj_normed; /* result of a layer's own norm; may be normed if n is 1 */
    uint16_t proj_act[MAX_FED];
    uint16_t rotated; /* of src or its norm */
    const struct rsr_linear_slot *slots[MAX_FED];
    uint16_t dst[MAX_FED];
    uint32_t n;
};

/* A layer's own norm, then its input. */
static uint16_t add_own_input(struct builder *b, const struct feed *feed, uint16_t src,
                              uint32_t number) {
    const uint16_t normed = b->graph->input == RSR_INPUT_F32 && feed->n > 1 ? feed->proj_act[number]
                                                                            : feed->proj_normed;
    add_norm(b, normed, src, feed->slots[number]->norm);
    return add_input(b, normed, feed->proj_act[number]);
}

static bool is_ternary(const struct rsr_linear_slot *slot) {
    return slot->layer != RSR_NO_LAYER;
}

/* NULL: there is none, or no tensor. */
static const struct rsr_rotation *rotation_of_tensor(const struct rsr_tensor *tensor) {
    return tensor == NULL ? NULL : tensor->rotation;
}

static const struct rsr_rotation *rotation_of(const struct rsr_graph *graph,
                                              const struct rsr_linear_slot *slot) {
    return rotation_of_tensor(is_ternary(slot) ? graph->layers[slot->layer].weight
                                               : graph->dense[slot->dense].weight);
}

static void add_rotation(struct builder *b, enum rsr_op_kind kind, uint16_t dst, uint16_t src,
                         const struct rsr_rotation *rotation) {
    add_op(b, kind, dst, src)->arg = (uint32_t)(rotation - b->graph->rotations);
}

/* The inputs of the layers that a feed's rows go to, as far as they are made. */
struct made_inputs {
    uint16_t plain, rotated; /* of ternary layers; or NONE */
    bool is_rotated;         /* feed->rotated */
};

/* All rotations of one width are equal, so layers that read the same rows share the result. */
static uint16_t add_rotated_input(struct builder *b, const struct feed *feed, uint16_t src,
                                  const struct rsr_linear_slot *slot, struct made_inputs *made) {
    if (!made->is_rotated)
        add_rotation(b, RSR_OP_ROTATE, feed->rotated, src, rotation_of(b->graph, slot));
    made->is_rotated = true;
    if (!is_ternary(slot) || b->graph->input == RSR_INPUT_F32)
        return feed->rotated;
    if (made->rotated == NONE)
        made->rotated = add_input(b, feed->rotated, feed->proj_act[0]);
    return made->rotated;
}

/* Norms, quantisation and the layers themselves, between two barriers. */
static void add_linears(struct builder *b, const struct feed *feed) {
    struct made_inputs made = {NONE, NONE, false};
    uint16_t src = feed->src, inputs[MAX_FED];
    if (feed->norm != RSR_NO_NORM) {
        add_norm(b, feed->normed, src, feed->norm);
        src = feed->normed;
    }
    for (uint32_t i = 0; i < feed->n; i++) {
        const struct rsr_linear_slot *slot = feed->slots[i];
        const bool own = is_ternary(slot) && slot->norm != RSR_NO_NORM;
        const bool rotates = rotation_of(b->graph, slot) != NULL;
        if (is_ternary(slot) && !own && !rotates && made.plain == NONE)
            made.plain = add_input(b, src, feed->act);
        inputs[i] = rotates             ? add_rotated_input(b, feed, src, slot, &made)
                    : !is_ternary(slot) ? src
                    : own               ? add_own_input(b, feed, src, i)
                                        : made.plain;
        if (list_of(b->kernels, slot) == RSR_LIST_COLS)
            add_op(b, RSR_OP_LIST_COLS, inputs[i], NONE);
    }
    add_barrier(b);
    for (uint32_t i = 0; i < feed->n; i++) {
        const struct rsr_linear_slot *slot = feed->slots[i];
        if (is_ternary(slot))
            add_op(b, RSR_OP_LINEAR, feed->dst[i], inputs[i])->arg = slot->layer;
        else
            add_op(b, RSR_OP_DENSE, feed->dst[i], inputs[i])->arg = slot->dense;
    }
    add_barrier(b);
}

/* Adds the result of half a block to the residual stream. */
static void add_residual(struct builder *b, uint32_t norm) {
    if (norm != RSR_NO_NORM)
        add_norm(b, B_DELTA, B_DELTA, norm);
    add_op(b, RSR_OP_ADD, B_X, B_DELTA);
}

/* Returns the buffer with the output. */
static uint16_t add_attention(struct builder *b, const struct rsr_block_layers *layers) {
    const bool gated = b->graph->gated_attention;
    const uint16_t q = gated ? B_Q_GATE : B_Q;
    const struct feed qkv = {
        .src = B_X,
        .norm = layers->input_norm,
        .normed = B_NORMED,
        .act = B_ACT,
        .proj_normed = B_PROJ_NORMED,
        .proj_act = {B_PROJ_ACT0, B_PROJ_ACT1, B_PROJ_ACT2},
        .rotated = B_ROTATED,
        .slots = {&layers->q, &layers->k, &layers->v},
        .dst = {q, B_K, B_V},
        .n = 3,
    };
    add_linears(b, &qkv);
    struct rsr_step_op *append = add_op(b, RSR_OP_ROPE_APPEND, gated ? B_Q : NONE, q);
    append->src[1] = B_K;
    append->src[2] = B_V;
    append->src[3] = layers->rope == 0 ? B_ROPE : B_ROPE_LOCAL;
    append->arg = layers->q_norm;
    append->layer = (uint16_t)layers->number;
    add_barrier(b);
    struct rsr_step_op *attention = add_op(b, RSR_OP_ATTENTION, B_ATT, B_Q);
    attention->arg = layers->window;
    attention->layer = (uint16_t)layers->number;
    add_barrier(b);
    if (!gated)
        return B_ATT;
    add_op(b, RSR_OP_GATE, B_ATT_GATED, B_ATT)->src[1] = q;
    return B_ATT_GATED;
}

static uint16_t add_delta(struct builder *b, const struct rsr_block_layers *layers) {
    const struct feed inputs = {
        .src = B_X,
        .norm = layers->input_norm,
        .normed = B_NORMED,
        .act = B_ACT,
        .proj_normed = B_PROJ_NORMED,
        .proj_act = {B_PROJ_ACT0, B_PROJ_ACT1, B_PROJ_ACT2, B_PROJ_ACT3},
        .rotated = B_ROTATED,
        .slots = {&layers->qkv, &layers->z, &layers->beta, &layers->decay},
        .dst = {B_QKV, B_Z, B_BETA, B_DECAY},
        .n = 4,
    };
    add_linears(b, &inputs);
    struct rsr_step_op *delta = add_op(b, RSR_OP_DELTA, B_MIXED, B_QKV);
    delta->src[1] = B_Z;
    delta->src[2] = B_BETA;
    delta->src[3] = B_DECAY;
    delta->arg = layers->delta;
    delta->layer = (uint16_t)layers->number;
    add_barrier(b);
    return B_MIXED;
}

/* Tokens exchange information: by attention, or by a gated delta rule. */
static void add_mixer(struct builder *b, const struct rsr_block_layers *layers) {
    const bool is_delta = layers->delta != RSR_NO_LAYER;
    const struct feed o = {
        .src = is_delta ? add_delta(b, layers) : add_attention(b, layers),
        .norm = layers->attn_sub_norm,
        .normed = is_delta ? B_MIXED_NORMED : B_ATT_NORMED,
        .act = is_delta ? B_MIXED_ACT : B_ATT_ACT,
        .proj_normed = is_delta ? B_MIXED_NORMED : B_ATT_NORMED,
        .proj_act = {is_delta ? B_MIXED_ACT : B_ATT_ACT},
        .rotated = is_delta ? B_MIXED_ROTATED : B_ATT_ROTATED,
        .slots = {&layers->o},
        .dst = {B_DELTA},
        .n = 1,
    };
    add_linears(b, &o);
    add_residual(b, layers->attn_out_norm);
}

static void add_ffn(struct builder *b, const struct rsr_block_layers *layers) {
    const bool listed = list_of(b->kernels, &layers->up) == RSR_LIST_ROWS;
    const struct feed gate_up = {
        .src = B_X,
        .norm = layers->post_norm,
        .normed = B_NORMED,
        .act = B_ACT,
        .proj_normed = B_PROJ_NORMED,
        .proj_act = {B_PROJ_ACT0, B_PROJ_ACT1},
        .rotated = B_ROTATED,
        .slots = {&layers->gate, &layers->up},
        .dst = {B_GATE, B_UP},
        .n = listed ? 1 : 2,
    };
    add_linears(b, &gate_up);
    if (listed) { /* gate alone, then up where it is above 0 */
        add_op(b, RSR_OP_LIST_ROWS, B_ACT, B_GATE);
        add_barrier(b);
        add_op(b, RSR_OP_LINEAR, B_UP, B_ACT)->arg = layers->up.layer;
        add_barrier(b);
    }
    add_op(b, RSR_OP_ACT_MUL, B_H, B_GATE)->src[1] = B_UP;
    const struct feed down = {
        .src = B_H,
        .norm = layers->ffn_sub_norm,
        .normed = B_H_NORMED,
        .act = B_H_ACT,
        .proj_normed = B_H_NORMED,
        .proj_act = {B_H_ACT},
        .rotated = B_H_ROTATED,
        .slots = {&layers->down},
        .dst = {B_DELTA},
        .n = 1,
    };
    add_linears(b, &down);
    add_residual(b, layers->ffn_out_norm);
}

/* Logits, or the hidden state of an embedding model. */
static void add_end(struct builder *b) {
    const struct rsr_linear_slot *slot = &b->graph->head_slot;
    add_norm(b, B_NORMED, B_X, b->graph->final_norm);
    if (b->graph->hyper.pooling != RSR_POOLING_NONE) {
        add_op(b, RSR_OP_OUTPUT, NONE, B_NORMED);
        return;
    }
    uint16_t states = B_NORMED;
    const struct rsr_rotation *rotation = rotation_of_tensor(b->graph->head);
    if (rotation != NULL) {
        states = B_ROTATED;
        add_rotation(b, RSR_OP_ROTATE, states, B_NORMED, rotation);
    }
    if (!is_ternary(slot)) {
        add_barrier(b);
        add_op(b, RSR_OP_HEAD, NONE, states)->arg = RSR_NO_KERNEL;
    } else {
        if (slot->norm != RSR_NO_NORM)
            add_norm(b, B_NORMED, B_NORMED, slot->norm);
        const uint16_t input = add_input(b, states, B_ACT);
        add_barrier(b);
        add_op(b, RSR_OP_HEAD, NONE, input)->arg = slot->layer;
    }
    add_barrier(b);
}

/* ---- what operations touch
 * ------------------------------------------------------------------------ */

static bool reads(const struct rsr_step_op *op, uint32_t buffer) {
    for (uint32_t i = 0; i < 4; i++)
        if (op->src[i] == buffer)
            return true;
    /* These update their destination in place. */
    return (op->kind == RSR_OP_ADD || op->kind == RSR_OP_PAD || op->kind == RSR_OP_LIST_ROWS ||
            op->kind == RSR_OP_LIST_COLS || op->kind == RSR_OP_UNROTATE) &&
           op->dst == buffer;
}

static bool writes(const struct rsr_step_op *op, uint32_t buffer) {
    /* The rotation of k happens where it lies, and that of q if there is no dst. */
    return op->dst == buffer ||
           (op->kind == RSR_OP_ROPE_APPEND &&
            ((op->src[0] == buffer && op->dst == NONE) || op->src[1] == buffer));
}

/* ---- barriers of tokens
 * --------------------------------------------------------------------------- */

static bool is_by_token(const struct rsr_step_op *op) {
    return (RSR_OPS_BY_TOKEN >> op->kind & 1) != 0;
}

/* A buffer that operations of both kinds write, or B_COUNT. */
static uint32_t find_mixed_buffer(const struct rsr_step *step) {
    for (uint32_t b = 0; b < step->n_buffers; b++) {
        bool written[2] = {false, false};
        for (uint32_t i = 0; i < step->n_ops; i++)
            written[is_by_token(&step->ops[i])] |= writes(&step->ops[i], b);
        if (written[false] && written[true])
            return b;
    }
    return B_COUNT;
}

/* Whether all workers wait for each other after the operation. */
static bool ends_run(const struct rsr_step_op *op) {
    return (op->flags & RSR_OP_BARRIER) != 0 && (op->flags & RSR_OP_TOKEN_BARRIER) == 0;
}

/* A barrier between T operations and the linear layers that read their results. */
static void mark_token_barriers(struct rsr_step *step) {
    if (find_mixed_buffer(step) != B_COUNT)
        return;
    for (uint32_t i = 0; i + 1 < step->n_ops; i++) {
        const uint16_t next = step->ops[i + 1].kind;
        if ((step->ops[i].flags & RSR_OP_BARRIER) != 0 && is_by_token(&step->ops[i]) &&
            (next == RSR_OP_LINEAR || next == RSR_OP_DENSE))
            step->ops[i].flags |= RSR_OP_TOKEN_BARRIER;
    }
}

/* ---- lifetimes
 * ------------------------------------------------------------------------------------ */

/* live[i]: the buffer holds a value that is still needed before or during operation i, or is
 * written by it. Walking backwards, a value is needed from its last read up to the write that made
 * it. A buffer also stays alive until the next barrier of all workers: before it, a slower worker
 * may still be at the operation. */
static void find_lifetime(const struct rsr_step *step, uint32_t buffer, bool *live) {
    bool needed = false;
    for (uint32_t i = step->n_ops; i-- > 0;) {
        const struct rsr_step_op *op = &step->ops[i];
        const bool read = reads(op, buffer), written = writes(op, buffer);
        live[i] = needed || read || written;
        if (read)
            needed = true;
        else if (written)
            needed = false;
    }
    for (uint32_t i = 0, run_begin = 0; i < step->n_ops; i++) {
        if (!ends_run(&step->ops[i]) && i + 1 != step->n_ops)
            continue;
        bool any = false;
        for (uint32_t j = run_begin; j <= i; j++)
            any |= live[j];
        for (uint32_t j = run_begin; j <= i; j++)
            live[j] = any;
        run_begin = i + 1;
    }
}

static bool meet(const bool *a, const bool *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (a[i] && b[i])
            return true;
    return false;
}

/* First fit, widest buffer first: each buffer gets the lowest offset where it overlaps no buffer
 * that lives at the same time. */
static void place_buffers(struct rsrc_arena *arena, struct rsr_step *step) {
    bool *live[B_COUNT];
    uint32_t order[B_COUNT];
    for (uint32_t b = 0; b < step->n_buffers; b++) {
        live[b] = RSRC_NEW_ARRAY(arena, step->n_ops, bool);
        find_lifetime(step, b, live[b]);
        uint32_t at = b;
        for (; at > 0 && step->buffers[order[at - 1]].row_bytes < step->buffers[b].row_bytes; at--)
            order[at] = order[at - 1];
        order[at] = b;
    }
    step->arena_bytes_per_token = 0;
    for (uint32_t i = 0; i < step->n_buffers; i++) {
        struct rsr_buffer *buffer = &step->buffers[order[i]];
        uint64_t offset = 0;
        for (uint32_t j = 0; j < i; j++) {
            const struct rsr_buffer *other = &step->buffers[order[j]];
            const bool overlap = offset < other->offset + other->row_bytes &&
                                 other->offset < offset + buffer->row_bytes;
            if (overlap && meet(live[order[i]], live[order[j]], step->n_ops)) {
                offset = other->offset + other->row_bytes;
                j = UINT32_MAX; /* look at all of them again from the new place */
            }
        }
        buffer->offset = offset;
        if (offset + buffer->row_bytes > step->arena_bytes_per_token)
            step->arena_bytes_per_token = offset + buffer->row_bytes;
    }
}

/* Drops the buffers that no operation touches. */
static void drop_unused_buffers(struct rsr_step *step) {
    uint16_t number[B_COUNT];
    uint32_t n = 0;
    for (uint32_t b = 0; b < step->n_buffers; b++) {
        bool used = false;
        for (uint32_t i = 0; i < step->n_ops; i++)
            used |= reads(&step->ops[i], b) || writes(&step->ops[i], b);
        number[b] = used ? (uint16_t)n : NONE;
        if (used)
            step->buffers[n++] = step->buffers[b];
    }
    step->n_buffers = n;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        struct rsr_step_op *op = &step->ops[i];
        op->dst = op->dst == NONE ? NONE : number[op->dst];
        for (uint32_t k = 0; k < 4; k++)
            op->src[k] = op->src[k] == NONE ? NONE : number[op->src[k]];
    }
}

/* Rows of the layer that a list is made for. */
static void widen_buffers(const struct rsr_graph *graph, const struct rsrc_step_kernels *kernels,
                          struct rsr_buffer buffers[B_COUNT]) {
    for (uint32_t i = 0; i < graph->hyper.n_layers; i++) {
        if (list_of(kernels, &graph->blocks[i].up) == RSR_LIST_ROWS)
            widen_act_rows(&buffers[B_ACT], graph->hyper.ffn);
        if (list_of(kernels, &graph->blocks[i].down) == RSR_LIST_COLS)
            widen_act_rows(&buffers[B_H_ACT], graph->hyper.ffn);
    }
}

static void build_step(struct rsrc_arena *arena, const struct rsr_graph *graph,
                       const struct rsrc_step_kernels *kernels, struct rsr_step *step) {
    step->buffers = RSRC_NEW_ARRAY(arena, B_COUNT, struct rsr_buffer);
    step->n_buffers = B_COUNT;
    describe_buffers(graph, step->buffers);
    widen_buffers(graph, kernels, step->buffers);
    step->ops = RSRC_NEW_ARRAY(arena, (size_t)graph->hyper.n_layers * MAX_BLOCK_OPS + MAX_OUTER_OPS,
                               struct rsr_step_op);

    struct builder b = {.step = step, .graph = graph, .kernels = kernels, .block = RSR_NO_BLOCK};
    add_op(&b, RSR_OP_EMBED, B_X, NONE);
    if (rotation_of_tensor(graph->embedding) != NULL)
        add_rotation(&b, RSR_OP_UNROTATE, B_X, NONE, graph->embedding->rotation);
    add_op(&b, RSR_OP_ROPE_TABLE, B_ROPE, NONE);
    if (graph->n_ropes > 1)
        add_op(&b, RSR_OP_ROPE_TABLE, B_ROPE_LOCAL, NONE)->arg = 1;
    for (b.block = 0; b.block < graph->hyper.n_layers; b.block++) {
        add_mixer(&b, &graph->blocks[b.block]);
        add_ffn(&b, &graph->blocks[b.block]);
    }
    b.block = RSR_NO_BLOCK;
    add_end(&b);

    drop_unused_buffers(step);
    mark_token_barriers(step);
    place_buffers(arena, step);
}

void rsrc_build_steps(struct rsrc_arena *arena, const struct rsr_graph *graph,
                      const struct rsrc_step_kernels *kernels, struct rsr_step **steps,
                      uint32_t *n_steps) {
    const bool one = kernels->n_kernels == graph->n_layers;
    struct rsr_step *built = RSRC_NEW_ARRAY(arena, RSR_REGIME_COUNT, struct rsr_step);
    built[RSR_REGIME_DECODE] =
        (struct rsr_step){.regime = one ? "any" : "decode",
                          .min_tokens = 1,
                          .max_tokens = one ? UINT32_MAX : kernels->decode_tokens};
    built[RSR_REGIME_PREFILL] = (struct rsr_step){
        .regime = "prefill", .min_tokens = kernels->decode_tokens + 1, .max_tokens = UINT32_MAX};
    *n_steps = one ? 1 : RSR_REGIME_COUNT;
    for (uint32_t s = 0; s < *n_steps; s++)
        build_step(arena, graph, kernels, &built[s]);
    for (uint32_t i = 0; !one && i < built[RSR_REGIME_PREFILL].n_ops; i++) {
        struct rsr_step_op *op = &built[RSR_REGIME_PREFILL].ops[i];
        if (op->kind == RSR_OP_LINEAR || (op->kind == RSR_OP_HEAD && op->arg != RSR_NO_KERNEL))
            op->arg = kernels->prefill[op->arg];
    }
    *steps = built;
}

/* ---- verification
 * ---------------------------------------------------------------------------------- */

static struct rsrc_step_problem problem_at(uint32_t op, const char *what, const char *buffer) {
    return (struct rsrc_step_problem){.what = what, .buffer = buffer, .op = op};
}

static const struct rsrc_step_problem no_problem = {.what = NULL};

/* Checks operands: every buffer that is read was written before. */
static struct rsrc_step_problem check_definitions(const struct rsr_step *step) {
    bool defined[RSRC_MAX_STEP_BUFFERS] = {false};
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        for (uint32_t b = 0; b < step->n_buffers; b++)
            if (reads(op, b) && !defined[b])
                return problem_at(i, "reads undefined buffer", step->buffers[b].name);
        if (op->dst != NONE)
            defined[op->dst] = true;
    }
    return no_problem;
}

static bool is_touched_by_both(const struct rsr_step_op *first, const struct rsr_step_op *second,
                               uint32_t buffer) {
    return (writes(first, buffer) && (reads(second, buffer) || writes(second, buffer))) ||
           (reads(first, buffer) && writes(second, buffer));
}

/* Checks barriers: between two of them, a buffer that one operation writes and another touches must
 * be split by token in both. After a barrier of tokens, other operations may read what the T
 * operations before it wrote. */
static struct rsrc_step_problem check_barriers(const struct rsr_step *step) {
    bool has_token_barriers = false;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *first = &step->ops[i];
        bool own_rows = false; /* two workers, in the buffer that the first operation wrote */
        for (uint32_t j = i; j < step->n_ops; j++) {
            const struct rsr_step_op *second = &step->ops[j];
            const bool same_split = is_by_token(first) && is_by_token(second);
            for (uint32_t b = 0; b < step->n_buffers && j > i && !same_split; b++)
                if (is_touched_by_both(first, second, b) &&
                    !(own_rows && writes(first, b) && !writes(second, b)))
                    return problem_at(j, "no barrier before it uses", step->buffers[b].name);
            if (ends_run(second))
                break;
            own_rows |= is_by_token(first) && (second->flags & RSR_OP_TOKEN_BARRIER) != 0;
        }
        has_token_barriers |= (first->flags & RSR_OP_TOKEN_BARRIER) != 0;
    }
    const uint32_t mixed = has_token_barriers ? find_mixed_buffer(step) : B_COUNT;
    return mixed == B_COUNT ? no_problem
                            : problem_at(RSRC_NO_STEP_OP, "workers have no rows of their own in",
                                         step->buffers[mixed].name);
}

static struct rsrc_step_problem check_placement(const struct rsr_step *step) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    bool *live[RSRC_MAX_STEP_BUFFERS];
    struct rsrc_step_problem problem = no_problem;
    for (uint32_t b = 0; b < step->n_buffers; b++) {
        live[b] = RSRC_NEW_ARRAY(&arena, step->n_ops, bool);
        find_lifetime(step, b, live[b]);
        const struct rsr_buffer *mine = &step->buffers[b];
        if (mine->offset + mine->row_bytes > step->arena_bytes_per_token)
            problem = problem_at(RSRC_NO_STEP_OP, "the arena is too small for", mine->name);
        for (uint32_t other = 0; other < b; other++) {
            const struct rsr_buffer *theirs = &step->buffers[other];
            if (mine->offset < theirs->offset + theirs->row_bytes &&
                theirs->offset < mine->offset + mine->row_bytes &&
                meet(live[b], live[other], step->n_ops))
                problem = problem_at(RSRC_NO_STEP_OP, "two live buffers share memory, one is",
                                     mine->name);
        }
    }
    rsrc_arena_free(&arena);
    return problem;
}

struct rsrc_step_problem rsrc_find_step_problem(const struct rsr_graph *graph,
                                                const struct rsrc_step_kernels *kernels,
                                                const struct rsr_step *step) {
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        const char *dst = op->dst != NONE ? step->buffers[op->dst].name : "?";
        const bool is_kernel =
            op->kind == RSR_OP_LINEAR || (op->kind == RSR_OP_HEAD && op->arg != RSR_NO_KERNEL);
        if (is_kernel && op->arg >= kernels->n_kernels)
            return problem_at(i, "names a missing kernel for", dst);
        if (op->kind == RSR_OP_NORM && op->arg >= graph->n_norms)
            return problem_at(i, "names a missing norm for", dst);
        if ((op->kind == RSR_OP_ROTATE || op->kind == RSR_OP_UNROTATE) &&
            op->arg >= graph->n_rotations)
            return problem_at(i, "names a missing rotation for", dst);
        if (op->kind == RSR_OP_ROPE_TABLE && op->arg >= graph->n_ropes)
            return problem_at(i, "names a missing rotary table for", dst);
        if (op->kind == RSR_OP_ROPE_APPEND && op->arg != RSR_NO_NORM &&
            (op->arg >= graph->n_norms || op->arg + 1 >= graph->n_norms))
            return problem_at(i, "names missing norms for", step->buffers[op->src[0]].name);
        if (op->kind == RSR_OP_DELTA && op->arg >= graph->n_deltas)
            return problem_at(i, "names a missing delta rule for", dst);
        if (op->kind == RSR_OP_DENSE && op->arg >= graph->n_dense)
            return problem_at(i, "names a missing dense layer for", dst);
    }
    struct rsrc_step_problem problem = check_definitions(step);
    if (problem.what == NULL)
        problem = check_barriers(step);
    return problem.what != NULL ? problem : check_placement(step);
}

enum rsrc_status rsrc_verify_step(struct rsrc_diag *diag, const struct rsr_graph *graph,
                                  const struct rsrc_step_kernels *kernels,
                                  const struct rsr_step *step) {
    const struct rsrc_step_problem problem = rsrc_find_step_problem(graph, kernels, step);
    if (problem.what == NULL)
        return RSRC_OK;
    const char *const help = "this is a defect of the compiler";
    if (problem.op == RSRC_NO_STEP_OP)
        rsrc_error(diag, "step-invalid", NULL, help, "step '%s': %s '%s'", step->regime,
                   problem.what, problem.buffer);
    else
        rsrc_error(diag, "step-invalid", NULL, help, "step operation %" PRIu32 ": %s '%s'",
                   problem.op, problem.what, problem.buffer);
    return RSRC_FAILED;
}
