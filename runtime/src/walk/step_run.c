/* step_run.c - the workers' walk over a step table: one function for each kind of operation.
 *
 * Operations marked T below split the tokens into contiguous shares. One worker owns a token
 * through all of them, so no barrier is needed in between. If there is a single token, every worker
 * computes it in rows of its own, which is faster than waiting for one worker. A row that holds NaN
 * is computed to the end as well: the chunk finishes, then rsr_eval reports the first operation
 * that saw it.
 */
#include <string.h>

#include "crew.h"
#include "engine/probe_point.h"
#include "list.h"
#include "pieces.h"
#include "ranks.h"

struct walk {
    struct rsr_crew *crew;
    const struct rsr_chunk *chunk;
    const struct rsr_ops *ops;
    const struct rsr_hyper *hyper;
    uint32_t worker, n_workers;
    uint32_t token_begin, token_end; /* this worker's share in T operations */
    uint64_t own_rows; /* one bit for each buffer: every worker has its own row of the only token */
    uint32_t op_index;
};

static const struct rsr_buffer *buffer_of(const struct walk *w, uint16_t number) {
    return &w->chunk->step->buffers[number];
}

static char *buffer_at(const struct walk *w, uint16_t number) {
    return rsr_crew_buffer(w->crew, number).memory;
}

/* The part of n tiles or blocks of the running operation that this rank computes. */
static struct rsr_range rank_part(const struct walk *w, uint32_t op_index, uint32_t n) {
    return w->crew->ranks != NULL ? rsr_rank_op_of(w->crew, op_index)->part
                                  : (struct rsr_range){0, n};
}

/* The KV heads whose keys and values this rank has. */
static struct rsr_range rank_heads(const struct walk *w) {
    return w->crew->ranks != NULL ? w->crew->ranks->kv_heads
                                  : (struct rsr_range){0, w->hyper->n_kv_heads};
}

static void *row_of(const struct walk *w, uint16_t number, uint32_t token) {
    const uint32_t row = token + ((w->own_rows >> number & 1) != 0 ? w->worker : 0);
    return buffer_at(w, number) + (size_t)row * buffer_of(w, number)->row_bytes;
}

static void report_not_finite(const struct walk *w, uint32_t token) {
    rsr_report_not_finite(w->crew, token, w->op_index);
}

static void run_embed(const struct walk *w, const struct rsr_step_op *op) { /* T */
    for (uint32_t t = w->token_begin; t < w->token_end; t++) {
        w->ops->embed(row_of(w, op->dst, t), &w->crew->model->target->tensors->embedding,
                      w->chunk->entries[t].token);
        if (w->hyper->embedding_scale != 1.0f)
            w->ops->scale(row_of(w, op->dst, t), w->hyper->embedding_scale, w->hyper->hidden);
    }
}

static void run_rope_table(const struct walk *w, const struct rsr_step_op *op) { /* T */
    for (uint32_t t = w->token_begin; t < w->token_end; t++)
        w->ops->rope_table(row_of(w, op->dst, t), &w->crew->model->module->ropes[op->arg],
                           w->hyper->rotary_dim, w->chunk->positions[t]);
}

static void run_add(const struct walk *w, const struct rsr_step_op *op) { /* T */
    for (uint32_t t = w->token_begin; t < w->token_end; t++)
        w->ops->add(row_of(w, op->dst, t), row_of(w, op->src[0], t), buffer_of(w, op->dst)->cols);
}

static void run_norm(const struct walk *w, const struct rsr_step_op *op) { /* T */
    const struct rsr_norm *norm = &w->crew->model->target->tensors->norms[op->arg];
    for (uint32_t t = w->token_begin; t < w->token_end; t++)
        if (!w->ops->norm(row_of(w, op->dst, t), row_of(w, op->src[0], t), norm->weight, norm->eps,
                          norm->cols))
            report_not_finite(w, t);
}

static void run_quant(const struct walk *w, const struct rsr_step_op *op) { /* T */
    for (uint32_t t = w->token_begin; t < w->token_end; t++)
        if (!w->ops->quantize(row_of(w, op->dst, t), row_of(w, op->src[0], t),
                              buffer_of(w, op->src[0])->cols))
            report_not_finite(w, t);
}

static void run_act_mul(const struct walk *w, const struct rsr_step_op *op) { /* T */
    for (uint32_t t = w->token_begin; t < w->token_end; t++)
        w->ops->act_mul(row_of(w, op->dst, t), row_of(w, op->src[0], t), row_of(w, op->src[1], t),
                        buffer_of(w, op->dst)->cols, (enum rsr_activation)w->hyper->activation);
}

static void run_gate(const struct walk *w, const struct rsr_step_op *op) { /* T */
    const uint32_t head_dim = w->hyper->head_dim;
    for (uint32_t t = w->token_begin; t < w->token_end; t++) {
        float *dst = row_of(w, op->dst, t);
        const float *x = row_of(w, op->src[0], t), *heads = row_of(w, op->src[1], t);
        for (uint32_t h = 0; h < w->hyper->n_heads; h++)
            w->ops->gate(dst + (size_t)h * head_dim, x + (size_t)h * head_dim,
                         heads + ((size_t)2 * h + 1) * head_dim, head_dim);
    }
}

static void run_pad(const struct walk *w, const struct rsr_step_op *op) { /* T */
    const struct rsr_buffer *buffer = buffer_of(w, op->dst);
    const size_t used = buffer->cols * sizeof(float);
    for (uint32_t t = w->token_begin; t < w->token_end; t++)
        memset((char *)row_of(w, op->dst, t) + used, 0, buffer->row_bytes - used);
}

static void run_rotate(const struct walk *w, const struct rsr_step_op *op) { /* T */
    const struct rsr_rotation *rotation = &w->crew->model->module->rotations[op->arg];
    for (uint32_t t = w->token_begin; t < w->token_end; t++)
        w->ops->rotate(row_of(w, op->dst, t), row_of(w, op->src[0], t), rotation, false);
    run_pad(w, op);
}

static void run_unrotate(const struct walk *w, const struct rsr_step_op *op) { /* T */
    for (uint32_t t = w->token_begin; t < w->token_end; t++)
        w->ops->rotate(row_of(w, op->dst, t), row_of(w, op->dst, t),
                       &w->crew->model->module->rotations[op->arg], true);
}

/* Writes, after act rows, the list of src0's elements that the activation does not make 0; NaN is
 * one of them. */
static void run_list_rows(const struct walk *w, const struct rsr_step_op *op) { /* T */
    const uint32_t cols = buffer_of(w, op->dst)->cols, n = buffer_of(w, op->src[0])->cols;
    for (uint32_t t = w->token_begin; t < w->token_end; t++)
        rsr_list_positive(row_of(w, op->dst, t), cols, row_of(w, op->src[0], t), n);
}

static void run_list_cols(const struct walk *w, const struct rsr_step_op *op) { /* T */
    for (uint32_t t = w->token_begin; t < w->token_end; t++)
        rsr_list_nonzero(row_of(w, op->dst, t), buffer_of(w, op->dst)->cols);
}

/* What a kernel reads and writes; see rsr_kernel_fn. */
struct kernel_rows {
    const void *x;
    size_t ldx;
    float *y;
    size_t ldy;
    uint32_t n_tokens;
};

/* Upper bound of the weights that the tokens' lists name; weights that several tokens may share
 * count once. */
static uint64_t listed_bytes(const struct rsr_kernel_desc *kernel, const struct kernel_rows *rows) {
    const uint32_t n = kernel->list == RSR_LIST_ROWS ? kernel->rows : kernel->cols;
    uint64_t count = 0;
    for (uint32_t t = 0; t < rows->n_tokens; t++)
        count += rsr_list_count((const char *)rows->x + t * rows->ldx, kernel->cols, n);
    return kernel->weight_bytes / n * (count < n ? count : n);
}

/* Runs tiles [begin, end). The worker's scratch may still hold the kernel's tables, if the call
 * before made them from the same rows. (A probe may have changed the rows.) */
static void run_tiles(const struct walk *w, const struct rsr_kernel_desc *kernel,
                      const struct kernel_rows *rows, uint32_t begin, uint32_t end) {
    struct rsr_worker_state *state = &w->crew->workers[w->worker];
    const struct rsr_worker worker = {
        .tile_begin = begin,
        .tile_end = end,
        .index = w->worker,
        .count = w->n_workers,
        .has_tables = kernel->tables != 0 && state->tables == kernel->tables &&
                      state->tables_of == rows->x && w->crew->engine->probe == NULL,
    };
    kernel->fn(rows->x, rows->ldx, rows->y, rows->ldy, rows->n_tokens, &kernel->weights, &worker,
               state->scratch);
    state->tables = kernel->tables;
    state->tables_of = rows->x;
}

/* A piece is at least a LEAST_PARTS-th of a share: every piece is a call, and a late worker delays
 * the others by one piece. Compared with pieces of a third, a 2B model with two threads waits a
 * third less (0.4 instead of 0.6 ms of the 32 ms per token) and takes 1.0 to 1.6 % less time. A
 * kernel whose tables are not in scratch makes them anew for every piece. */
#define LEAST_PARTS 8u
#define LEAST_PARTS_ANEW 4u

static struct rsr_pieces share_out(const struct walk *w, uint32_t n, uint32_t n_parts) {
    return rsr_pieces_begin(w->crew, w->worker, n, rsr_pieces_part(w->crew, n, n_parts));
}

/* A worker that reads or multiplies less than this in a call needs one or two microseconds. Sharing
 * such calls out takes some 3 % of the time per token (bundled model, two threads). */
#define BYTES_TO_SHARE (32u << 10)

static struct rsr_pieces share_out_tiles(const struct walk *w, const struct rsr_kernel_desc *kernel,
                                         uint32_t n_tiles, uint32_t n_tokens, uint32_t n_parts) {
    return kernel->weight_bytes / w->n_workers * n_tokens < BYTES_TO_SHARE
               ? rsr_pieces_own(w->crew, w->worker, n_tiles)
               : share_out(w, n_tiles, n_parts);
}

static void run_kernel(const struct walk *w, uint32_t number, const struct kernel_rows *rows) {
    const struct rsr_kernel_desc *kernel = &w->crew->model->target->kernels[number];
    const bool keeps_tables =
        kernel->tables != 0 && rows->n_tokens <= RSR_TABLE_TOKENS && w->crew->engine->probe == NULL;
    const uint32_t n_parts = keeps_tables ? LEAST_PARTS : LEAST_PARTS_ANEW;
    const struct rsr_range part = rank_part(w, w->op_index, kernel->n_tiles);
    uint32_t begin, end;
    if (kernel->list != RSR_LIST_NONE && w->worker == 0)
        w->crew->workers[0].bytes += listed_bytes(kernel, rows);
    for (struct rsr_pieces left =
             share_out_tiles(w, kernel, part.end - part.begin, rows->n_tokens, n_parts);
         rsr_pieces_next(&left, &begin, &end);)
        run_tiles(w, kernel, rows, part.begin + begin, part.begin + end);
}

static void run_linear(const struct walk *w, const struct rsr_step_op *op) {
    const struct kernel_rows rows = {
        .x = row_of(w, op->src[0], 0),
        .ldx = buffer_of(w, op->src[0])->row_bytes,
        .y = (float *)(void *)buffer_at(w, op->dst),
        .ldy = buffer_of(w, op->dst)->row_bytes / sizeof(float),
        .n_tokens = w->chunk->n_tokens,
    };
    run_kernel(w, op->arg, &rows);
}

/* Multiplies rows of a dense matrix with the src rows of n tokens: those listed, or the first n.
 * Results are ldy elements apart. */
static void multiply_dense(const struct walk *w, const struct rsr_matrix_data *matrix, uint16_t src,
                           const uint32_t *tokens, uint32_t n, float *y, size_t ldy) {
    const struct rsr_range part = rank_part(w, w->op_index, rsr_dense_blocks(matrix));
    uint32_t b, end;
    for (struct rsr_pieces pieces = share_out(w, part.end - part.begin, LEAST_PARTS);
         rsr_pieces_next(&pieces, &b, &end);)
        for (; b < end; b++) {
            const uint32_t row = (part.begin + b) * RSR_DENSE_BLOCK_ROWS, left = matrix->rows - row;
            const uint32_t row_end =
                row + (left < RSR_DENSE_BLOCK_ROWS ? left : RSR_DENSE_BLOCK_ROWS);
            for (uint32_t i = 0; i < n; i++)
                w->ops->head(y + i * ldy, matrix, row, row_end,
                             row_of(w, src, tokens == NULL ? i : tokens[i]));
        }
}

static void run_dense(const struct walk *w, const struct rsr_step_op *op) {
    multiply_dense(w, &w->crew->model->target->tensors->dense[op->arg], op->src[0], NULL,
                   w->chunk->n_tokens, (float *)(void *)buffer_at(w, op->dst),
                   buffer_of(w, op->dst)->row_bytes / sizeof(float));
}

/* Norms a head, if it has a norm, and rotates its first elements, in place. */
static void rotate_head(const struct walk *w, uint32_t token, float *x, const float *table,
                        const struct rsr_norm *norm) {
    const uint32_t head_dim = w->hyper->head_dim;
    if (norm != NULL && !w->ops->norm(x, x, norm->weight, norm->eps, head_dim))
        report_not_finite(w, token);
    w->ops->rope(x, x, table, w->hyper->rotary_dim);
}

/* The query heads of a group, without their gates if the operation has a dst. */
static float *take_queries(const struct walk *w, const struct rsr_step_op *op, uint32_t token,
                           uint32_t head, uint32_t group) {
    const size_t head_dim = w->hyper->head_dim, first = (size_t)head * group;
    float *src = row_of(w, op->src[0], token);
    if (op->dst == RSR_NO_BUFFER)
        return src + first * head_dim;
    float *dst = (float *)row_of(w, op->dst, token) + first * head_dim;
    for (uint32_t h = 0; h < group; h++)
        memcpy(dst + h * head_dim, src + 2 * (first + h) * head_dim, head_dim * sizeof(float));
    return dst;
}

/* Norms and rotates the group's query heads and the head's new key, and stores key and value in
 * their page, where the head has the number `row`. A token that is only evaluated again for its
 * state has them there already. */
static void rope_append(const struct walk *w, const struct rsr_step_op *op, uint32_t token,
                        uint32_t head, uint32_t row) {
    const struct rsr_kv_memory *kv = &w->crew->kv;
    const uint32_t head_dim = w->hyper->head_dim;
    const uint32_t group = w->hyper->n_heads / w->hyper->n_kv_heads;
    const struct rsr_norm *norms =
        op->arg == RSR_NO_NORM ? NULL : &w->crew->model->target->tensors->norms[op->arg];
    const float *table = row_of(w, op->src[3], token);
    float *q = take_queries(w, op, token, head, group);
    for (uint32_t h = 0; h < group; h++)
        rotate_head(w, token, q + (size_t)h * head_dim, table, norms);

    float *k = (float *)row_of(w, op->src[1], token) + (size_t)head * head_dim;
    const float *v = (const float *)row_of(w, op->src[2], token) + (size_t)head * head_dim;
    const uint32_t position = w->chunk->positions[token];
    const struct rsr_sequence *sequence = w->chunk->entries[token].sequence;
    if (position < sequence->length)
        return;
    const struct rsr_kv_rows rows = rsr_kv_memory_rows(
        kv, sequence->pages[position / RSR_PAGE_TOKENS], op->layer - w->crew->first_layer, row);
    rotate_head(w, token, k, table, norms == NULL ? NULL : norms + 1);
    rsr_kv_rows_store(&kv->format, rows, position % RSR_PAGE_TOKENS, k, v);
}

/* A few tokens take less time than sharing them out. */
static struct rsr_pieces share_out_tokens(const struct walk *w, uint32_t n) {
    return w->chunk->n_tokens < RSR_RUN_TOKENS ? rsr_pieces_own(w->crew, w->worker, n)
                                               : share_out(w, n, LEAST_PARTS);
}

static void run_rope_append(const struct walk *w, const struct rsr_step_op *op) {
    const struct rsr_range heads = rank_heads(w);
    const uint32_t n_kv = heads.end - heads.begin;
    uint32_t unit, end;
    for (struct rsr_pieces left = share_out_tokens(w, w->chunk->n_tokens * n_kv);
         rsr_pieces_next(&left, &unit, &end);)
        for (; unit < end; unit++)
            rope_append(w, op, unit / n_kv, heads.begin + unit % n_kv, unit % n_kv);
}

static struct rsr_step_rows rows_of(const struct walk *w, uint16_t number) {
    return rsr_crew_buffer(w->crew, number);
}

static void run_delta(const struct walk *w, const struct rsr_step_op *op) {
    const struct rsr_delta_call call = {.weights =
                                            &w->crew->model->target->tensors->deltas[op->arg],
                                        .layer = op->layer,
                                        .worker = w->worker,
                                        .op_index = w->op_index,
                                        .qkv = rows_of(w, op->src[0]),
                                        .z = rows_of(w, op->src[1]),
                                        .beta = rows_of(w, op->src[2]),
                                        .decay = rows_of(w, op->src[3]),
                                        .out = rows_of(w, op->dst)};
    uint32_t unit, end;
    for (struct rsr_pieces left =
             share_out(w, w->chunk->n_state_runs * w->hyper->delta_value_heads, LEAST_PARTS);
         rsr_pieces_next(&left, &unit, &end);)
        for (; unit < end; unit++)
            rsr_delta_run(w->crew, &call, unit);
}

/* Attention numbers this rank's layers and heads from 0. */
static void run_attention(const struct walk *w, const struct rsr_step_op *op) {
    const size_t head_bytes =
        w->hyper->n_heads / w->hyper->n_kv_heads * w->hyper->head_dim * sizeof(float);
    const size_t first = rank_heads(w).begin * head_bytes;
    const struct rsr_attention_call call = {.layer = op->layer - w->crew->first_layer,
                                            .window = op->arg,
                                            .worker = w->worker,
                                            .share = w->worker,
                                            .q = buffer_at(w, op->src[0]) + first,
                                            .q_row_bytes = buffer_of(w, op->src[0])->row_bytes,
                                            .out = buffer_at(w, op->dst) + first,
                                            .out_row_bytes = buffer_of(w, op->dst)->row_bytes};
    w->crew->attention->run(w->crew, &call);
}

/* Tokens whose logits are wanted, and where the logits go: ld elements apart. */
struct head_rows {
    const uint32_t *tokens;
    uint32_t n;
    float *logits;
    size_t ld;
};

/* Consecutive tokens are one batch of the kernel. */
static void run_kernel_head(const struct walk *w, const struct rsr_step_op *op,
                            const struct head_rows *asked) {
    for (uint32_t i = 0, n; i < asked->n; i += n) {
        for (n = 1; i + n < asked->n && asked->tokens[i + n] == asked->tokens[i] + n; n++)
            ;
        const struct kernel_rows rows = {
            .x = row_of(w, op->src[0], asked->tokens[i]),
            .ldx = buffer_of(w, op->src[0])->row_bytes,
            .y = asked->logits + i * asked->ld,
            .ldy = asked->ld,
            .n_tokens = n,
        };
        run_kernel(w, op->arg, &rows);
    }
}

/* Copies the buffer's rows of the worker's wanted tokens. */
static void copy_states(const struct walk *w, uint16_t buffer) {
    const uint32_t begin = rsr_share_of(w->chunk->n_tokens, w->worker, w->n_workers),
                   end = rsr_share_of(w->chunk->n_tokens, w->worker + 1, w->n_workers);
    for (uint32_t i = 0; i < w->chunk->n_wanted; i++) {
        const uint32_t token = w->chunk->wanted[i];
        if (token >= begin && token < end)
            memcpy(w->chunk->outputs + (size_t)i * w->hyper->hidden, row_of(w, buffer, token),
                   w->hyper->hidden * sizeof(float));
    }
}

/* The buffer that the last norm wrote. The head reads it, or its quantised form. */
static uint16_t states_buffer(const struct walk *w) {
    uint32_t op = w->op_index;
    while (w->chunk->step->ops[op].kind != RSR_OP_NORM)
        op--;
    return w->chunk->step->ops[op].dst;
}

/* Whether ranks share out the head: then all ranks run it, and it ends with what they gather. */
static bool shares_head(const struct walk *w) {
    return w->crew->ranks != NULL && !w->crew->ranks->is_pipeline;
}

/* Gives every rank all logits of those asked for. */
static void gather_logits(const struct walk *w, const struct head_rows *asked, size_t n) {
    rsr_worker_pool_barrier(w->crew->pool, w->worker);
    for (size_t i = 0; w->worker == 0 && i < n; i++)
        rsr_rank_gather_logits(w->crew, w->op_index, asked[i].logits, asked[i].n, asked[i].ld);
}

static void run_head(const struct walk *w, const struct rsr_step_op *op) {
    struct rsr_head_slots *slots = &w->crew->slots;
    if (w->chunk->wants_states) {
        copy_states(w, states_buffer(w));
        return;
    }
    const struct head_rows asked[] = {
        {w->chunk->wanted, w->chunk->n_wanted, w->chunk->outputs, w->hyper->vocab},
        {slots->all_tokens, slots->n_all, (float *)(void *)slots->memory,
         slots->slot_bytes / sizeof(float)},
    };
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        if (op->arg == RSR_NO_KERNEL)
            multiply_dense(w, &w->crew->model->target->tensors->head, op->src[0], asked[i].tokens,
                           asked[i].n, asked[i].logits, asked[i].ld);
        else
            run_kernel_head(w, op, &asked[i]);
    }
    if (shares_head(w))
        gather_logits(w, asked, sizeof(asked) / sizeof(asked[0]));
    if (slots->n_sketched + slots->n_listed > 0)
        rsr_head_sketch_run(w->crew, w->worker, w->op_index, row_of(w, op->src[0], 0),
                            buffer_of(w, op->src[0])->row_bytes);
}

static void run_output(const struct walk *w, const struct rsr_step_op *op) { /* T */
    copy_states(w, op->src[0]);
}

static void (*const run_op[RSR_OP_KIND_COUNT])(const struct walk *, const struct rsr_step_op *) = {
    [RSR_OP_EMBED] = run_embed,
    [RSR_OP_ROPE_TABLE] = run_rope_table,
    [RSR_OP_ADD] = run_add,
    [RSR_OP_NORM] = run_norm,
    [RSR_OP_QUANT] = run_quant,
    [RSR_OP_ACT_MUL] = run_act_mul,
    [RSR_OP_LINEAR] = run_linear,
    [RSR_OP_ROPE_APPEND] = run_rope_append,
    [RSR_OP_ATTENTION] = run_attention,
    [RSR_OP_HEAD] = run_head,
    [RSR_OP_DENSE] = run_dense,
    [RSR_OP_PAD] = run_pad,
    [RSR_OP_OUTPUT] = run_output,
    [RSR_OP_LIST_ROWS] = run_list_rows,
    [RSR_OP_LIST_COLS] = run_list_cols,
    [RSR_OP_GATE] = run_gate,
    [RSR_OP_DELTA] = run_delta,
    [RSR_OP_ROTATE] = run_rotate,
    [RSR_OP_UNROTATE] = run_unrotate,
};

/* ---- Probes ---- */

static void list_again(const struct walk *w, uint16_t buffer) {
    for (uint32_t t = 0; t < w->chunk->n_tokens; t++)
        rsr_list_nonzero(row_of(w, buffer, t), buffer_of(w, buffer)->cols);
}

/* One worker calls the probe while the others wait. */
static void call_probe(const struct walk *w, const struct rsr_step_op *op, bool before) {
    if (w->crew->engine->probe == NULL)
        return;
    const bool has_kernel =
        (op->kind == RSR_OP_LINEAR || op->kind == RSR_OP_HEAD) && op->arg != RSR_NO_KERNEL;
    const struct rsr_target *target = w->crew->model->target;
    const struct rsr_kernel_desc *kernel = has_kernel ? &target->kernels[op->arg] : NULL;
    struct rsr_probe_kernel seen = {0};
    if (has_kernel)
        seen = (struct rsr_probe_kernel){kernel->rows, kernel->cols, kernel->role,
                                         kernel->input == RSR_INPUT_I8};
    rsr_probe_point point;
    const uint16_t buffer = rsr_probe_point_make(op, before, has_kernel ? &seen : NULL,
                                                 target->tensors, w->hyper, &point);
    if (buffer == RSR_NO_BUFFER)
        return;
    rsr_worker_pool_barrier(w->crew->pool, w->worker);
    if (w->worker == 0) {
        point.data = buffer_at(w, buffer);
        point.row_bytes = buffer_of(w, buffer)->row_bytes;
        point.n_tokens = w->chunk->n_tokens;
        point.positions = w->chunk->positions;
        rsr_probe_call(w->crew->engine, &point);
        if (before && has_kernel && kernel->list == RSR_LIST_COLS)
            list_again(w, buffer); /* the probe may have changed the rows */
    }
    rsr_worker_pool_barrier(w->crew->pool, w->worker);
}

/* ---- The walk ---- */

/* How much of the next operation's weights a waiting worker prefetches: a part of the L2 cache that
 * leaves room for tables. Otherwise memory would be idle, for example while one worker computes
 * norms. */
#define FETCH_BYTES (128u << 10)

/* Weights that are shared out among workers in parts of equal size. */
struct weight_parts {
    const void *memory;
    uint32_t n;
    uint64_t part_bytes; /* of each stream */
    uint32_t n_streams;
    uint64_t stream_bytes; /* from one stream to the next */
};

/* The beginning of this worker's share of this rank's parts, at most `most` bytes in total. */
static struct rsr_fetch begin_of_share(const struct walk *w, struct rsr_range part,
                                       const struct weight_parts *parts, uint64_t most) {
    const uint32_t n = part.end - part.begin;
    const uint32_t begin = part.begin + rsr_share_of(n, w->worker, w->n_workers),
                   end = part.begin + rsr_share_of(n, w->worker + 1, w->n_workers);
    const uint64_t bytes = (end - begin) * parts->part_bytes;
    const uint64_t most_of_stream = most / parts->n_streams;
    const char *at = (const char *)parts->memory + begin * parts->part_bytes;
    return (struct rsr_fetch){.at = at,
                              .end = at + (bytes < most_of_stream ? bytes : most_of_stream),
                              .n_streams = parts->n_streams,
                              .stream_bytes = parts->stream_bytes};
}

/* The weights of an operation that this worker reads first, if they are known. */
static struct rsr_fetch first_weights(const struct walk *w, uint32_t op_index) {
    const struct rsr_step_op *op = &w->chunk->step->ops[op_index];
    const struct rsr_target *target = w->crew->model->target;
    const struct rsr_head_slots *slots = &w->crew->slots;
    if (op->arg != RSR_NO_KERNEL) {
        const struct rsr_kernel_desc *kernel = &target->kernels[op->arg];
        const struct weight_parts tiles = {.memory = kernel->weights.codes,
                                           .n = kernel->n_tiles,
                                           .part_bytes = kernel->tile_bytes,
                                           .n_streams = kernel->n_streams,
                                           .stream_bytes = kernel->stream_bytes};
        if (tiles.memory != NULL && kernel->list == RSR_LIST_NONE)
            return begin_of_share(w, rank_part(w, op_index, kernel->n_tiles), &tiles, FETCH_BYTES);
    } else if (slots->n_sketched > 0) {
        const uint32_t first_bytes = rsr_sketch_first_bytes(&slots->shape);
        const struct weight_parts blocks = {.memory = target->tensors->head_sketch.blocks,
                                            .n = rsr_sketch_blocks_of(target->tensors->head.rows),
                                            .part_bytes = target->tensors->head_sketch.block_bytes,
                                            .n_streams = 1};
        return begin_of_share(w, rsr_rank_head_blocks(w->crew), &blocks,
                              first_bytes < FETCH_BYTES ? first_bytes : FETCH_BYTES);
    }
    return (struct rsr_fetch){.at = NULL};
}

/* Ends a cancelled walk at the next barrier of worker 0. All workers know the number of this
 * barrier before any of them leaves it, so all end there. A worker at an earlier barrier sees a
 * later number, and goes on. (Several ranks must end at one operation: rank_gather.c.) */
static void end_if_cancelled(const struct walk *w) {
    if (w->worker == 0 && w->crew->ranks == NULL && rsr_is_cancelled(w->chunk->cancel) &&
        atomic_load_explicit(&w->crew->last_op, memory_order_relaxed) == UINT32_MAX)
        atomic_store(&w->crew->last_op, w->op_index);
}

/* Waits after op_index. Several barriers may come before the next weights: each continues
 * prefetching where the last one stopped. */
static void wait_for_all(const struct walk *w) {
    struct rsr_worker_state *state = &w->crew->workers[w->worker];
    const struct rsr_step_table *step = w->chunk->step;
    end_if_cancelled(w);
    uint32_t next = w->op_index + 1;
    while (next < step->n_ops && step->ops[next].kind != RSR_OP_LINEAR &&
           step->ops[next].kind != RSR_OP_HEAD)
        next++;
    if (next != state->fetch_op) {
        state->fetch_op = next;
        state->fetch =
            next == step->n_ops ? (struct rsr_fetch){.at = NULL} : first_weights(w, next);
    }
    rsr_worker_pool_barrier_fetching(w->crew->pool, w->worker, &state->fetch);
}

/* Whether workers wait for each other after the operation. */
static bool ends_run(const struct walk *w, const struct rsr_step_op *op) {
    return (op->flags & RSR_OP_BARRIER) != 0 &&
           (w->own_rows == 0 || (op->flags & RSR_OP_TOKEN_BARRIER) == 0);
}

static void run_profiled(const struct walk *w, const struct rsr_step_op *op) {
    struct rsr_worker_state *state = &w->crew->workers[w->worker];
    state->bytes = 0;
    const uint64_t begin = rsr_now_ns();
    run_op[op->kind](w, op);
    const uint64_t end = rsr_now_ns();
    if (ends_run(w, op))
        wait_for_all(w);
    state->samples[w->op_index] = (struct rsr_op_sample){
        .run_ns = end - begin, .wait_ns = rsr_now_ns() - end, .bytes = state->bytes};
}

/* The buffers of which every worker gets its own row of a single token: those that T operations
 * write. The rows are free, because the batch has one token. A probe prevents this, because it
 * reads only the first row. With 2 threads a token of a 2B model takes 0.99 of the time; the gain
 * is small because waiting workers prefetch weights. (In a pipeline the other rank's rows would
 * have to be copied for every worker.) */
static uint64_t find_own_rows(const struct rsr_crew *crew) {
    const struct rsr_step_table *step = crew->chunk->step;
    uint64_t written = 0;
    bool has_token_barriers = false;
    if (crew->chunk->n_tokens != 1 || crew->n_workers > crew->engine->info.max_batch ||
        crew->engine->probe != NULL || step->n_buffers > 64 ||
        (crew->ranks != NULL && crew->ranks->is_pipeline))
        return 0;
    for (uint32_t i = 0; i < step->n_ops; i++) {
        const struct rsr_step_op *op = &step->ops[i];
        if ((RSR_OPS_BY_TOKEN >> op->kind & 1) != 0 && op->dst != RSR_NO_BUFFER)
            written |= UINT64_C(1) << op->dst;
        has_token_barriers |= (op->flags & RSR_OP_TOKEN_BARRIER) != 0;
    }
    return has_token_barriers ? written : 0;
}

/* Gathers the results of other ranks that the operation reads. The workers of this rank have passed
 * the barrier after these results. False: the walk ends. */
static bool gather_results(const struct walk *w) {
    struct rsr_crew *crew = w->crew;
    if (crew->ranks == NULL || crew->ranks->is_pipeline ||
        rsr_rank_op_of(crew, w->op_index)->n_gathers == 0)
        return true;
    if (w->worker == 0)
        rsr_rank_gather(crew, w->op_index);
    rsr_worker_pool_barrier(crew->pool, w->worker);
    return atomic_load(&crew->last_op) == UINT32_MAX;
}

/* In a pipeline: false where another rank runs the operation. This rank's layers begin when all
 * workers have done what comes before them. */
static bool is_own(const struct walk *w) {
    struct rsr_crew *crew = w->crew;
    if (crew->ranks == NULL || !crew->ranks->is_pipeline)
        return true;
    const struct rsr_rank_op *op = rsr_rank_op_of(crew, w->op_index);
    if (!op->runs)
        crew->workers[w->worker].samples[w->op_index] = (struct rsr_op_sample){0};
    else if (op->n_gathers > 0)
        rsr_worker_pool_barrier(crew->pool, w->worker);
    return op->runs;
}

void rsr_step_run(void *argument, uint32_t worker) {
    struct rsr_crew *crew = argument;
    const struct rsr_chunk *chunk = crew->chunk;
    struct walk w = {
        .crew = crew,
        .chunk = chunk,
        .ops = crew->model->ops,
        .hyper = &crew->model->module->hyper,
        .worker = worker,
        .n_workers = crew->n_workers,
        .token_begin = rsr_share_of(chunk->n_tokens, worker, crew->n_workers),
        .token_end = rsr_share_of(chunk->n_tokens, worker + 1, crew->n_workers),
    };
    crew->workers[worker].fetch_op = UINT32_MAX;
    w.own_rows = find_own_rows(crew);
    if (w.own_rows != 0) {
        w.token_begin = 0;
        w.token_end = 1;
    }
    for (; w.op_index < chunk->step->n_ops; w.op_index++) {
        const struct rsr_step_op *op = &chunk->step->ops[w.op_index];
        if (!is_own(&w))
            continue;
        if (!gather_results(&w))
            return;
        call_probe(&w, op, true);
        if (op->kind != RSR_OP_LINEAR) /* it may use scratch, or write the rows of which tables were
                                          made */
            crew->workers[worker].tables = 0;
        if (crew->engine->profile.enabled) {
            run_profiled(&w, op);
        } else {
            run_op[op->kind](&w, op);
            if (ends_run(&w, op))
                wait_for_all(&w);
        }
        if (ends_run(&w, op) && w.op_index >= atomic_load(&crew->last_op))
            return;
        call_probe(&w, op, false);
    }
}
