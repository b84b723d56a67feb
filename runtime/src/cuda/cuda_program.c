/* cuda_program.c - the step's operations in their order: each by kernels of its own (the plain
 * program), or several by one where cuda_fused.c has it (the fused program). Every kernel waits for
 * the one before, as a stream has it, so barriers mean nothing here. */
#include <string.h>

#include "cuda_program.h"
#include "engine/probe_point.h"
#include "ops/ops.h"

static rsr_status launch(const struct rsr_cuda_program *p, enum rsr_gpu_call call,
                         uint64_t n_blocks, void **parameters) {
    return rsr_cuda_operation(p->e, call, n_blocks, parameters, p->err);
}

/* ---- Rows ---- */

static rsr_status run_embed(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    const struct rsr_cuda_rows to = rsr_cuda_rows_of(p, op->dst);
    rsr_cuda_address tokens = p->e->chunk.tokens, matrix = p->e->embedding, y = to.at;
    uint32_t dtype = p->tensors->embedding.dtype, cols = p->hyper->hidden;
    float scale = p->hyper->embedding_scale;
    uint64_t ldy = rsr_cuda_floats_of(&to);
    void *parameters[] = {&tokens, &matrix, &dtype, &cols, &scale, &y, &ldy};
    return launch(p, RSR_GPU_CALL_EMBED, p->n, parameters);
}

/* Where the table of a ROPE_TABLE lies before the operation copies it. */
static rsr_cuda_address table_at(const struct rsr_cuda_program *p, uint32_t op_index) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < op_index; i++)
        n += p->chunk->step->ops[i].kind == RSR_OP_ROPE_TABLE;
    return p->e->chunk.rotations + n * p->e->chunk.rotation_bytes;
}

static rsr_status run_rope_table(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    const struct rsr_cuda_rows to = rsr_cuda_rows_of(p, op->dst);
    return rsr_cuda_copy(&p->e->device, to.at, table_at(p, p->op_index), p->n * to.row_bytes,
                         p->err);
}

static rsr_status run_add(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    const struct rsr_cuda_rows to = rsr_cuda_rows_of(p, op->dst),
                               from = rsr_cuda_rows_of(p, op->src[0]);
    rsr_cuda_address x = from.at, y = to.at;
    uint64_t ldx = rsr_cuda_floats_of(&from), ldy = rsr_cuda_floats_of(&to);
    uint32_t cols = to.cols;
    void *parameters[] = {&x, &ldx, &y, &ldy, &cols};
    return launch(p, RSR_GPU_CALL_ADD, p->n, parameters);
}

/* Norms n_heads of each row, from x to y. */
static rsr_status run_norms(struct rsr_cuda_program *p, uint32_t number, uint32_t n_heads,
                            const struct rsr_cuda_rows *from, const struct rsr_cuda_rows *to) {
    const struct rsr_norm *norm = &p->tensors->norms[number];
    rsr_cuda_address x = from->at, y = to->at, weight = p->e->norms[number],
                     failed = p->e->chunk.failed;
    uint64_t ldx = rsr_cuda_floats_of(from), ldy = rsr_cuda_floats_of(to);
    uint32_t cols = norm->cols;
    float eps = norm->eps;
    void *parameters[] = {&x,   &ldx,     &weight, &eps,    &y,
                          &ldy, &n_heads, &cols,   &failed, &p->op_index};
    return launch(p, RSR_GPU_CALL_NORM, (uint64_t)p->n * n_heads, parameters);
}

static rsr_status run_norm(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    const struct rsr_cuda_rows to = rsr_cuda_rows_of(p, op->dst),
                               from = rsr_cuda_rows_of(p, op->src[0]);
    return run_norms(p, op->arg, 1, &from, &to);
}

static rsr_status run_quant(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    const struct rsr_cuda_rows to = rsr_cuda_rows_of(p, op->dst),
                               from = rsr_cuda_rows_of(p, op->src[0]);
    const struct rsr_gpu_entry *entry = p->e->gpu->quantize;
    const struct rsr_cuda_size size = {p->n, 1, entry->threads, entry->shared_bytes};
    rsr_cuda_address x = from.at, y = to.at, failed = p->e->chunk.failed, flag = p->e->chunk.flag;
    uint64_t ldx = rsr_cuda_floats_of(&from), ldy = to.row_bytes;
    uint32_t cols = from.cols;
    void *checked[] = {&x, &ldx, &cols, &failed, &p->op_index};
    void *parameters[] = {&x, &ldx, &y, &ldy, &cols, &flag};
    rsr_status status = launch(p, RSR_GPU_CALL_CHECK, p->n, checked);
    return status == RSR_OK
               ? rsr_cuda_launch(&p->e->device, &p->e->quantize, &size, parameters, p->err)
               : status;
}

static rsr_status run_act_mul(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    const struct rsr_cuda_rows to = rsr_cuda_rows_of(p, op->dst),
                               gates = rsr_cuda_rows_of(p, op->src[0]),
                               ups = rsr_cuda_rows_of(p, op->src[1]);
    rsr_cuda_address gate = gates.at, up = ups.at, y = to.at;
    uint64_t ldg = rsr_cuda_floats_of(&gates), ldu = rsr_cuda_floats_of(&ups),
             ldy = rsr_cuda_floats_of(&to);
    uint32_t cols = to.cols, activation = p->hyper->activation;
    void *parameters[] = {&gate, &ldg, &up, &ldu, &y, &ldy, &cols, &activation};
    return launch(p, RSR_GPU_CALL_ACT_MUL, p->n, parameters);
}

/* ---- Matrices ---- */

static rsr_status run_linear(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    const struct rsr_cuda_rows to = rsr_cuda_rows_of(p, op->dst),
                               from = rsr_cuda_rows_of(p, op->src[0]);
    return rsr_cuda_multiply(p->e, op->arg, from.at, from.row_bytes, p->n, to.at,
                             rsr_cuda_floats_of(&to), p->err);
}

static rsr_status run_dense(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    const struct rsr_cuda_rows to = rsr_cuda_rows_of(p, op->dst),
                               from = rsr_cuda_rows_of(p, op->src[0]);
    return rsr_cuda_multiply_dense(p->e, &p->tensors->dense[op->arg], p->e->dense[op->arg], from.at,
                                   rsr_cuda_floats_of(&from), p->n, to.at, rsr_cuda_floats_of(&to),
                                   p->err);
}

static rsr_status run_head(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    (void)op;
    return rsr_cuda_head(p->e, p->op_index, p->err);
}

static rsr_status run_output(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    (void)op;
    return rsr_cuda_output(p->e, p->op_index, p->err);
}

/* ---- Attention ---- */

struct rsr_cuda_pages rsr_cuda_pages_of(const struct rsr_cuda_program *p,
                                        const struct rsr_step_op *op) {
    const struct rsr_kv_format *format = &p->e->format;
    return (struct rsr_cuda_pages){.at = rsr_cuda_page_at(p->e, 0, op->layer),
                                   .table = p->e->chunk.table,
                                   .positions = p->e->chunk.positions,
                                   .page_bytes = p->e->page_bytes,
                                   .head_bytes = rsr_kv_rows_bytes(format),
                                   .values_at = (uint64_t)RSR_PAGE_TOKENS * format->row_bytes,
                                   .max_pages = p->e->max_pages,
                                   .row_bytes = format->row_bytes,
                                   .row_floats = format->row_floats,
                                   .type = format->type};
}

/* Norms heads, if they have a norm, and rotates them, in place. */
static rsr_status rotate(struct rsr_cuda_program *p, const struct rsr_step_op *op, uint16_t buffer,
                         uint32_t n_heads, uint32_t norm) {
    const struct rsr_cuda_rows heads = rsr_cuda_rows_of(p, buffer),
                               tables = rsr_cuda_rows_of(p, op->src[3]);
    rsr_cuda_address x = heads.at, table = tables.at;
    uint64_t ldx = rsr_cuda_floats_of(&heads), ldt = rsr_cuda_floats_of(&tables);
    uint32_t head_dim = p->hyper->head_dim, rotary_dim = p->hyper->rotary_dim;
    rsr_status status = norm == RSR_NO_NORM ? RSR_OK : run_norms(p, norm, n_heads, &heads, &heads);
    void *parameters[] = {&x, &ldx, &table, &ldt, &n_heads, &head_dim, &rotary_dim};
    return status == RSR_OK ? launch(p, RSR_GPU_CALL_ROPE, p->n, parameters) : status;
}

static rsr_status append(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    const struct rsr_cuda_rows keys = rsr_cuda_rows_of(p, op->src[1]),
                               values = rsr_cuda_rows_of(p, op->src[2]);
    struct rsr_cuda_pages at = rsr_cuda_pages_of(p, op);
    rsr_cuda_address k = keys.at, v = values.at;
    uint64_t ldk = rsr_cuda_floats_of(&keys), ldv = rsr_cuda_floats_of(&values);
    uint32_t n_heads = p->hyper->n_kv_heads, head_dim = p->hyper->head_dim;
    void *parameters[] = {&k,
                          &ldk,
                          &v,
                          &ldv,
                          &at.at,
                          &at.table,
                          &at.positions,
                          &at.page_bytes,
                          &at.head_bytes,
                          &at.values_at,
                          &at.max_pages,
                          &at.row_bytes,
                          &at.row_floats,
                          &at.type,
                          &n_heads,
                          &head_dim};
    return launch(p, RSR_GPU_CALL_APPEND, (uint64_t)p->n * n_heads, parameters);
}

static rsr_status run_rope_append(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    const bool normed = op->arg != RSR_NO_NORM;
    rsr_status status = rotate(p, op, op->src[0], p->hyper->n_heads, op->arg);
    if (status == RSR_OK)
        status =
            rotate(p, op, op->src[1], p->hyper->n_kv_heads, normed ? op->arg + 1 : RSR_NO_NORM);
    return status == RSR_OK ? append(p, op) : status;
}

static rsr_status run_attention(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    const struct rsr_cuda_rows to = rsr_cuda_rows_of(p, op->dst),
                               from = rsr_cuda_rows_of(p, op->src[0]);
    struct rsr_cuda_pages at = rsr_cuda_pages_of(p, op);
    rsr_cuda_address q = from.at, out = to.at;
    uint64_t ldq = rsr_cuda_floats_of(&from), ldo = rsr_cuda_floats_of(&to);
    uint32_t n_heads = p->hyper->n_heads, group = p->hyper->n_heads / p->hyper->n_kv_heads;
    uint32_t head_dim = p->hyper->head_dim, window = op->arg;
    float scale = p->hyper->attention_scale;
    void *parameters[] = {&q,
                          &ldq,
                          &at.at,
                          &at.table,
                          &at.positions,
                          &at.page_bytes,
                          &at.head_bytes,
                          &at.values_at,
                          &at.max_pages,
                          &at.row_bytes,
                          &at.row_floats,
                          &at.type,
                          &out,
                          &ldo,
                          &n_heads,
                          &group,
                          &head_dim,
                          &window,
                          &scale};
    return launch(p, RSR_GPU_CALL_ATTEND, (uint64_t)p->n * n_heads, parameters);
}

/* ---- The walk ---- */

/* NULL: a device does not have it. */
static rsr_status (*const run_op[RSR_OP_KIND_COUNT])(struct rsr_cuda_program *,
                                                     const struct rsr_step_op *) = {
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
    [RSR_OP_OUTPUT] = run_output,
};

bool rsr_cuda_has_op(const struct rsr_step_op *op) {
    return run_op[op->kind] != NULL && (op->kind != RSR_OP_ROPE_APPEND || op->dst == RSR_NO_BUFFER);
}

/* Numbers of pages that a token's sequence does not have are of no page. */
static void list_pages(const struct rsr_cuda_engine *e, const struct rsr_chunk *chunk) {
    uint32_t *table = rsr_cuda_host_of(e, e->chunk.table);
    memset(table, 0xff, (size_t)chunk->n_tokens * e->max_pages * sizeof(*table));
    for (uint32_t t = 0; t < chunk->n_tokens; t++) {
        const struct rsr_sequence *sequence = chunk->entries[t].sequence;
        memcpy(table + (size_t)t * e->max_pages, sequence->pages,
               sequence->n_pages * sizeof(*table));
    }
}

/* Makes the tables of rotations on the host: sines and cosines in double precision. */
static rsr_status upload_tables(const struct rsr_cuda_program *p) {
    const rsr_model *model = p->e->engine->model;
    rsr_status status = RSR_OK;
    for (uint32_t i = 0; i < p->chunk->step->n_ops && status == RSR_OK; i++) {
        const struct rsr_step_op *op = &p->chunk->step->ops[i];
        if (op->kind != RSR_OP_ROPE_TABLE)
            continue;
        const uint64_t row_bytes = rsr_cuda_rows_of(p, op->dst).row_bytes;
        char *table = rsr_cuda_host_of(p->e, table_at(p, i));
        for (uint32_t t = 0; t < p->n; t++)
            model->ops->rope_table((float *)(void *)(table + t * row_bytes),
                                   &model->module->ropes[op->arg], p->hyper->rotary_dim,
                                   p->chunk->positions[t]);
        status = rsr_cuda_send(p->e, table_at(p, i), p->n * row_bytes, p->err);
    }
    return status;
}

/* Copies the chunk's numbers to the device. */
static rsr_status begin(const struct rsr_cuda_program *p) {
    struct rsr_cuda_engine *e = p->e;
    const uint64_t n_bytes = p->n * sizeof(uint32_t);
    uint32_t *tokens = rsr_cuda_host_of(e, e->chunk.tokens);
    for (uint32_t t = 0; t < p->n; t++)
        tokens[t] = p->chunk->entries[t].token;
    memcpy(rsr_cuda_host_of(e, e->chunk.positions), p->chunk->positions, n_bytes);
    list_pages(e, p->chunk);
    rsr_status status = rsr_cuda_send(e, e->chunk.tokens, n_bytes, p->err);
    if (status == RSR_OK)
        status = rsr_cuda_send(e, e->chunk.positions, n_bytes, p->err);
    if (status == RSR_OK)
        status = rsr_cuda_fill(&e->device, e->chunk.failed, 0xff, n_bytes, p->err);
    if (status == RSR_OK)
        status = rsr_cuda_send(e, e->chunk.table, n_bytes * e->max_pages, p->err);
    return status == RSR_OK ? upload_tables(p) : status;
}

/* The ternary or binary matrix of an operation; false: it has none. */
static bool find_probed_kernel(const struct rsr_cuda_program *p, const struct rsr_step_op *op,
                               struct rsr_probe_kernel *seen) {
    if ((op->kind != RSR_OP_LINEAR && op->kind != RSR_OP_HEAD) || op->arg == RSR_NO_KERNEL)
        return false;
    const struct rsr_gpu_kernel *kernel = &p->e->gpu->kernels[op->arg];
    *seen = (struct rsr_probe_kernel){kernel->rows, kernel->cols, kernel->role, true};
    return true;
}

/* Shows the rows before or after an operation to the engine's probe, in memory of the host, and
 * takes back what it may have changed. */
static rsr_status call_probe(const struct rsr_cuda_program *p, const struct rsr_step_op *op,
                             bool before) {
    struct rsr_cuda_device *device = &p->e->device;
    struct rsr_probe_kernel kernel;
    rsr_probe_point point;
    const bool has_kernel = find_probed_kernel(p, op, &kernel);
    const uint16_t buffer =
        rsr_probe_point_make(op, before, has_kernel ? &kernel : NULL, p->tensors, p->hyper, &point);
    if (buffer == RSR_NO_BUFFER)
        return RSR_OK;
    const struct rsr_cuda_rows rows = rsr_cuda_rows_of(p, buffer);
    const uint64_t n_bytes = p->n * rows.row_bytes;
    rsr_status status = rsr_cuda_download(device, p->e->host.probed, rows.at, n_bytes, p->err);
    if (status == RSR_OK)
        status = rsr_cuda_wait(device, p->err);
    if (status != RSR_OK)
        return status;
    point.data = p->e->host.probed;
    point.row_bytes = rows.row_bytes;
    point.n_tokens = p->n;
    point.positions = p->chunk->positions;
    rsr_probe_call(p->e->engine, &point);
    return rsr_cuda_upload(device, rows.at, p->e->host.probed, n_bytes, p->err);
}

/* One operation by itself, with what profiles and probes want of it. */
static rsr_status run_single(struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    const bool probed = p->e->engine->probe != NULL;
    rsr_status status = probed ? call_probe(p, op, true) : RSR_OK;
    const uint64_t begin_ns = p->timed ? rsr_now_ns() : 0;
    if (status == RSR_OK)
        status = run_op[op->kind](p, op);
    if (p->timed && status == RSR_OK) { /* launches and the wait are in the time */
        status = rsr_cuda_wait(&p->e->device, p->err);
        p->e->op_ns[p->op_index] = rsr_now_ns() - begin_ns;
    }
    return probed && status == RSR_OK ? call_probe(p, op, false) : status;
}

/* Operations from `first` on, below `end`. */
static rsr_status run_ops(struct rsr_cuda_program *p, uint32_t first, uint32_t end) {
    rsr_status status = RSR_OK;
    uint32_t n_ops = 1;
    for (p->op_index = first; p->op_index < end && status == RSR_OK; p->op_index += n_ops) {
        if (rsr_is_cancelled(p->chunk->cancel))
            return rsr_fail(p->err, RSR_ERR_STOPPED, "the batch was cancelled");
        n_ops = 0;
        if (p->e->fuses && !p->one_by_one)
            status = rsr_cuda_run_fused(p, end, &n_ops);
        if (n_ops == 0 && status == RSR_OK) {
            status = run_single(p, &p->chunk->step->ops[p->op_index]);
            n_ops = 1;
        }
    }
    return status;
}

/* The first operation whose work depends on what is wanted; the step ends with it. */
static uint32_t find_head(const struct rsr_step_table *step) {
    uint32_t i = 0;
    while (i < step->n_ops && step->ops[i].kind != RSR_OP_HEAD &&
           step->ops[i].kind != RSR_OP_OUTPUT)
        i++;
    return i;
}

static rsr_status capture(struct rsr_cuda_program *p, uint32_t end, void **graph) {
    struct rsr_cuda_device *device = &p->e->device;
    rsr_status status = rsr_cuda_begin_graph(device, p->err);
    if (status != RSR_OK)
        return status;
    const rsr_status noted = run_ops(p, 0, end);
    status = rsr_cuda_end_graph(device, graph, noted == RSR_OK ? p->err : NULL);
    if (noted != RSR_OK) { /* cancelled: the graph is a part of the step */
        rsr_cuda_drop_graph(device, *graph);
        *graph = NULL;
    }
    return noted == RSR_OK ? status : noted;
}

static rsr_status run_steps(struct rsr_cuda_program *p) {
    const uint32_t n_ops = p->chunk->step->n_ops;
    if (p->e->graphs == NULL || p->one_by_one)
        return run_ops(p, 0, n_ops);
    void **graph = &p->e->graphs[p->n - 1];
    const uint32_t head = find_head(p->chunk->step);
    rsr_status status = *graph == NULL ? capture(p, head, graph) : RSR_OK;
    if (status == RSR_OK)
        status = rsr_cuda_launch_graph(&p->e->device, *graph, p->err);
    return status == RSR_OK ? run_ops(p, head, n_ops) : status;
}

rsr_status rsr_cuda_run_program(struct rsr_cuda_engine *e, rsr_error *err) {
    const struct rsr_chunk *chunk = &e->engine->chunk;
    struct rsr_cuda_program p = {.e = e,
                                 .chunk = chunk,
                                 .hyper = &e->engine->model->module->hyper,
                                 .tensors = e->gpu->tensors,
                                 .n = chunk->n_tokens,
                                 .timed = e->engine->profile.enabled,
                                 .one_by_one =
                                     e->engine->profile.enabled || e->engine->probe != NULL,
                                 .err = err};
    rsr_status status = begin(&p);
    if (status == RSR_OK)
        status = run_steps(&p);
    if (status == RSR_OK)
        status = rsr_cuda_download(&e->device, rsr_cuda_host_of(e, e->chunk.failed),
                                   e->chunk.failed, p.n * sizeof(uint32_t), err);
    /* Also after a failure, because the host's numbers are read meanwhile. */
    const rsr_status waited = rsr_cuda_deliver(e, status == RSR_OK ? err : NULL);
    if (status == RSR_OK && waited == RSR_OK)
        memcpy(chunk->failed_ops, rsr_cuda_host_of(e, e->chunk.failed), p.n * sizeof(uint32_t));
    e->timed = p.timed && status == RSR_OK && waited == RSR_OK;
    return status == RSR_OK ? waited : status;
}
