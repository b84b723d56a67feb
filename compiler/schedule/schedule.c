/* schedule.c - builds the step from the graph: operations in order, buffers placed by lifetime.
 *
 * One table of operations serves every batch size where decode and prefill use the same kernels; else
 * each has its own, which differ in kernel numbers alone. Operations split by token follow each other
 * without a barrier (the same worker owns the same tokens); a barrier stands where
 * the split changes.
 */
#include "schedule/schedule.h"

#include <inttypes.h>
#include <string.h>

#include "base/round.h"

/* Every buffer of a step. Activations (int8 rows) have the suffix _act. */
enum buffer_id {
    B_X,      /* residual stream */
    B_ROPE,   /* cos and sin of the token's position */
    B_NORMED, /* norm of the residual stream */
    B_ACT,
    B_Q,
    B_K,
    B_V,
    B_ATT, /* attention output */
    B_ATT_NORMED,
    B_ATT_ACT,
    B_DELTA, /* output of o and down, added to the residual stream */
    B_GATE,
    B_UP,
    B_H, /* act(gate) * up */
    B_H_NORMED,
    B_H_ACT,
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

static void describe_buffers(const struct rsr_hyper *hyper, struct rsr_buffer buffers[B_COUNT]) {
    const uint32_t q_dim = hyper->n_heads * hyper->head_dim;
    const uint32_t kv_dim = hyper->n_kv_heads * hyper->head_dim;
    buffers[B_X] = f32_rows("x", hyper->hidden);
    buffers[B_ROPE] = f32_rows("rope", hyper->head_dim);
    buffers[B_NORMED] = f32_rows("normed", hyper->hidden);
    buffers[B_ACT] = act_rows("act", hyper->hidden);
    buffers[B_Q] = f32_rows("q", q_dim);
    buffers[B_K] = f32_rows("k", kv_dim);
    buffers[B_V] = f32_rows("v", kv_dim);
    buffers[B_ATT] = f32_rows("att", q_dim);
    buffers[B_ATT_NORMED] = f32_rows("att_normed", q_dim);
    buffers[B_ATT_ACT] = act_rows("att_act", q_dim);
    buffers[B_DELTA] = f32_rows("delta", hyper->hidden);
    buffers[B_GATE] = f32_rows("gate", hyper->ffn);
    buffers[B_UP] = f32_rows("up", hyper->ffn);
    buffers[B_H] = f32_rows("h", hyper->ffn);
    buffers[B_H_NORMED] = f32_rows("h_normed", hyper->ffn);
    buffers[B_H_ACT] = act_rows("h_act", hyper->ffn);
}

/* ---- operations ---------------------------------------------------------------------------------- */

#define MAX_BLOCK_OPS 24
#define MAX_OUTER_OPS 8

static void add_op(struct rsr_step *step, struct rsr_step_op op) {
    step->ops[step->n_ops++] = op;
}

#define NONE RSR_NO_BUFFER

static struct rsr_step_op op_of(enum rsr_op_kind kind, uint32_t block, uint16_t dst, uint16_t src0,
                                uint16_t src1) {
    return (struct rsr_step_op){
        .kind = (uint16_t)kind, .block = block, .dst = dst, .src = {src0, src1, NONE, NONE}};
}

static void add_linear(struct rsr_step *step, uint32_t block, uint16_t dst, uint16_t src,
                       uint32_t layer, uint16_t flags) {
    struct rsr_step_op op = op_of(RSR_OP_LINEAR, block, dst, src, NONE);
    op.arg = layer;
    op.flags = flags;
    add_op(step, op);
}

/* Norm (unless absent), then quantisation; the linears that follow are split by tiles. */
static void add_norm_quant(struct rsr_step *step, uint32_t block, uint16_t src, uint16_t normed,
                           uint16_t act, uint32_t norm) {
    if (norm != UINT32_MAX) {
        struct rsr_step_op op = op_of(RSR_OP_NORM, block, normed, src, NONE);
        op.arg = norm;
        add_op(step, op);
        src = normed;
    }
    struct rsr_step_op quant = op_of(RSR_OP_QUANT, block, act, src, NONE);
    quant.flags = RSR_OP_BARRIER;
    add_op(step, quant);
}

static void add_attention(struct rsr_step *step, uint32_t block,
                          const struct rsr_block_layers *layers) {
    add_norm_quant(step, block, B_X, B_NORMED, B_ACT, layers->input_norm);
    add_linear(step, block, B_Q, B_ACT, layers->q, 0);
    add_linear(step, block, B_K, B_ACT, layers->k, 0);
    add_linear(step, block, B_V, B_ACT, layers->v, RSR_OP_BARRIER);
    struct rsr_step_op append = op_of(RSR_OP_ROPE_APPEND, block, NONE, B_Q, B_K);
    append.src[2] = B_V;
    append.src[3] = B_ROPE;
    append.arg = RSR_NO_NORM;
    append.flags = RSR_OP_BARRIER;
    add_op(step, append);
    struct rsr_step_op attention = op_of(RSR_OP_ATTENTION, block, B_ATT, B_Q, NONE);
    attention.flags = RSR_OP_BARRIER;
    add_op(step, attention);
    add_norm_quant(step, block, B_ATT, B_ATT_NORMED, B_ATT_ACT, layers->attn_sub_norm);
    add_linear(step, block, B_DELTA, B_ATT_ACT, layers->o, RSR_OP_BARRIER);
    add_op(step, op_of(RSR_OP_ADD, block, B_X, B_DELTA, NONE));
}

static void add_ffn(struct rsr_step *step, uint32_t block, const struct rsr_block_layers *layers) {
    add_norm_quant(step, block, B_X, B_NORMED, B_ACT, layers->post_norm);
    add_linear(step, block, B_GATE, B_ACT, layers->gate, 0);
    add_linear(step, block, B_UP, B_ACT, layers->up, RSR_OP_BARRIER);
    add_op(step, op_of(RSR_OP_ACT_MUL, block, B_H, B_GATE, B_UP));
    add_norm_quant(step, block, B_H, B_H_NORMED, B_H_ACT, layers->ffn_sub_norm);
    add_linear(step, block, B_DELTA, B_H_ACT, layers->down, RSR_OP_BARRIER);
    add_op(step, op_of(RSR_OP_ADD, block, B_X, B_DELTA, NONE));
}

/* ---- lifetimes ------------------------------------------------------------------------------------ */

static bool reads(const struct rsr_step_op *op, uint32_t buffer) {
    for (uint32_t i = 0; i < 4; i++)
        if (op->src[i] == buffer)
            return true;
    /* These update their destination in place. */
    return (op->kind == RSR_OP_ADD || op->kind == RSR_OP_PAD) && op->dst == buffer;
}

static bool writes(const struct rsr_step_op *op, uint32_t buffer) {
    /* The rotation of q and k happens where they lie. */
    return op->dst == buffer ||
           (op->kind == RSR_OP_ROPE_APPEND && (op->src[0] == buffer || op->src[1] == buffer));
}

/* live[i]: the buffer holds a value that is still needed before or during operation i, or is written by
 * it. Walking backwards, a value is needed from its last read up to the write that made it. A buffer
 * stays alive to the next barrier as well: without one, a slower worker may still be at the operation. */
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
        if ((step->ops[i].flags & RSR_OP_BARRIER) == 0 && i + 1 != step->n_ops)
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

/* First fit, widest buffer first: each goes to the lowest offset where nothing that lives at the same
 * time lies. */
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

static void build_step(struct rsrc_arena *arena, const struct rsr_graph *graph,
                       struct rsr_step *step) {
    step->buffers = RSRC_NEW_ARRAY(arena, B_COUNT, struct rsr_buffer);
    step->n_buffers = B_COUNT;
    describe_buffers(&graph->hyper, step->buffers);
    step->ops = RSRC_NEW_ARRAY(arena, (size_t)graph->hyper.n_layers * MAX_BLOCK_OPS + MAX_OUTER_OPS,
                               struct rsr_step_op);

    add_op(step, op_of(RSR_OP_EMBED, RSR_NO_BLOCK, B_X, NONE, NONE));
    add_op(step, op_of(RSR_OP_ROPE_TABLE, RSR_NO_BLOCK, B_ROPE, NONE, NONE));
    for (uint32_t block = 0; block < graph->hyper.n_layers; block++) {
        add_attention(step, block, &graph->blocks[block]);
        add_ffn(step, block, &graph->blocks[block]);
    }
    struct rsr_step_op norm = op_of(RSR_OP_NORM, RSR_NO_BLOCK, B_NORMED, B_X, NONE);
    norm.arg = graph->final_norm;
    norm.flags = RSR_OP_BARRIER;
    add_op(step, norm);
    struct rsr_step_op head = op_of(RSR_OP_HEAD, RSR_NO_BLOCK, NONE, B_NORMED, NONE);
    head.arg = RSR_NO_KERNEL;
    head.flags = RSR_OP_BARRIER;
    add_op(step, head);

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
                          .max_tokens = one ? UINT32_MAX : RSR_DECODE_MAX_TOKENS};
    built[RSR_REGIME_PREFILL] = (struct rsr_step){
        .regime = "prefill", .min_tokens = RSR_DECODE_MAX_TOKENS + 1, .max_tokens = UINT32_MAX};
    *n_steps = one ? 1 : RSR_REGIME_COUNT;
    for (uint32_t s = 0; s < *n_steps; s++)
        build_step(arena, graph, &built[s]);
    for (uint32_t i = 0; !one && i < built[RSR_REGIME_PREFILL].n_ops; i++) {
        struct rsr_step_op *op = &built[RSR_REGIME_PREFILL].ops[i];
        if (op->kind == RSR_OP_LINEAR)
            op->arg = kernels->prefill[op->arg];
    }
    *steps = built;
}

/* ---- verification ---------------------------------------------------------------------------------- */

/* How an operation divides its work; see enum rsr_op_kind. */
enum split { SPLIT_OTHER, SPLIT_TOKEN };

static const enum split SPLITS[RSR_OP_KIND_COUNT] = {
    [RSR_OP_EMBED] = SPLIT_TOKEN, [RSR_OP_ROPE_TABLE] = SPLIT_TOKEN, [RSR_OP_ADD] = SPLIT_TOKEN,
    [RSR_OP_NORM] = SPLIT_TOKEN,  [RSR_OP_QUANT] = SPLIT_TOKEN,      [RSR_OP_ACT_MUL] = SPLIT_TOKEN,
    [RSR_OP_PAD] = SPLIT_TOKEN,   [RSR_OP_OUTPUT] = SPLIT_TOKEN,
};

static struct rsrc_step_problem problem_at(uint32_t op, const char *what, const char *buffer) {
    return (struct rsrc_step_problem){.what = what, .buffer = buffer, .op = op};
}

static const struct rsrc_step_problem no_problem = {.what = NULL};

/* Operands: every buffer read was written before. */
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

/* Between two barriers, a buffer written by one operation and touched by another must be split by token
 * in both. */
static struct rsrc_step_problem check_barriers(const struct rsr_step *step) {
    for (uint32_t i = 0; i < step->n_ops; i++) {
        for (uint32_t j = i; j < step->n_ops; j++) {
            const struct rsr_step_op *first = &step->ops[i], *second = &step->ops[j];
            const bool same_split =
                SPLITS[first->kind] == SPLIT_TOKEN && SPLITS[second->kind] == SPLIT_TOKEN;
            for (uint32_t b = 0; b < step->n_buffers && j > i && !same_split; b++) {
                const bool touches1 = reads(first, b) || writes(first, b);
                const bool touches2 = reads(second, b) || writes(second, b);
                if (touches1 && touches2 && (writes(first, b) || writes(second, b)))
                    return problem_at(j, "no barrier before it uses", step->buffers[b].name);
            }
            if ((second->flags & RSR_OP_BARRIER) != 0)
                break;
        }
    }
    return no_problem;
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
        if (op->kind == RSR_OP_LINEAR && op->arg >= kernels->n_kernels)
            return problem_at(i, "names a missing kernel for", dst);
        if (op->kind == RSR_OP_NORM && op->arg >= graph->n_norms)
            return problem_at(i, "names a missing norm for", dst);
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
