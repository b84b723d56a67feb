/* cuda_fused.c - operations of a step that one kernel does together: chains on rows, everything
 * between the products of queries, keys and values and attention, and attention that is shared out
 * among blocks by pages. All other operations run as in cuda_program.c. */
#include "cuda_program.h"

static rsr_status launch(const struct rsr_cuda_program *p, enum rsr_gpu_call call,
                         uint64_t n_blocks, void **parameters) {
    return rsr_cuda_operation(p->e, call, n_blocks, parameters, p->err);
}

/* ---- Chains ---- */

/* The links of a chain in the order in which RSR_GPU_CALL_ROWS has them. */
enum link { ACTIVATION, FIRST_NORM, SUM, LAST_NORM, QUANTISED, LINKS };
static const enum rsr_op_kind link_kinds[LINKS] = {
    [ACTIVATION] = RSR_OP_ACT_MUL, [FIRST_NORM] = RSR_OP_NORM, [SUM] = RSR_OP_ADD,
    [LAST_NORM] = RSR_OP_NORM,     [QUANTISED] = RSR_OP_QUANT,
};

/* Operations that follow each other, each on the rows that the one before wrote. */
struct chain {
    const struct rsr_step_op *ops[LINKS]; /* NULL: left out */
    uint32_t n_ops;
    uint16_t rows; /* the buffer that the last one wrote */
};

/* A chain ends with a barrier at the latest: before it, no buffer has the memory of one that
 * another token still needs, on a CPU as here. A link is taken at its first place, so a norm is the
 * first one unless a sum comes before it. */
static struct chain find_chain(const struct rsr_cuda_program *p, uint32_t end) {
    const struct rsr_step_op *ops = p->chunk->step->ops, *op = &ops[p->op_index];
    struct chain chain = {.rows = op->src[0]};
    bool more = true;
    for (uint32_t l = 0; l < LINKS && more; l++) {
        if (op->kind != link_kinds[l] || op->src[0] != chain.rows)
            continue;
        chain.ops[l] = op;
        chain.rows = op->dst;
        chain.n_ops++;
        more = (op->flags & RSR_OP_BARRIER) == 0 && p->op_index + chain.n_ops < end;
        op++;
    }
    return chain;
}

/* A norm's parameters, or zeros. */
struct norm {
    rsr_cuda_address weight, y;
    uint64_t ldy;
    float eps;
    uint32_t op;
};

static uint32_t number_of(const struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    return (uint32_t)(op - p->chunk->step->ops);
}

static struct norm norm_of(const struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    if (op == NULL)
        return (struct norm){0};
    const struct rsr_cuda_rows to = rsr_cuda_rows_of(p, op->dst);
    return (struct norm){.weight = p->e->norms[op->arg],
                         .y = to.at,
                         .ldy = rsr_cuda_floats_of(&to),
                         .eps = p->tensors->norms[op->arg].eps,
                         .op = number_of(p, op)};
}

/* Zeros for RSR_NO_BUFFER. */
static struct rsr_cuda_rows rows_or_none(const struct rsr_cuda_program *p, uint16_t buffer) {
    return buffer != RSR_NO_BUFFER ? rsr_cuda_rows_of(p, buffer) : (struct rsr_cuda_rows){0};
}

static uint16_t result_of(const struct rsr_step_op *op) {
    return op != NULL ? op->dst : RSR_NO_BUFFER;
}

static rsr_status launch_chain(const struct rsr_cuda_program *p, const struct chain *chain) {
    const struct rsr_step_op *const *ops = chain->ops;
    const struct rsr_cuda_rows from = rsr_cuda_rows_of(p, p->chunk->step->ops[p->op_index].src[0]);
    const struct rsr_cuda_rows ups =
                                   rows_or_none(p, ops[ACTIVATION] != NULL ? ops[ACTIVATION]->src[1]
                                                                           : RSR_NO_BUFFER),
                               hidden = rows_or_none(p, result_of(ops[ACTIVATION])),
                               sums = rows_or_none(p, result_of(ops[SUM])),
                               quantised = rows_or_none(p, result_of(ops[QUANTISED]));
    struct norm first = norm_of(p, ops[FIRST_NORM]), last = norm_of(p, ops[LAST_NORM]);
    rsr_cuda_address x = from.at, up = ups.at, h = hidden.at, sum = sums.at, q = quantised.at,
                     failed = p->e->chunk.failed, flag = p->e->chunk.flag;
    uint64_t ldx = rsr_cuda_floats_of(&from), ldu = rsr_cuda_floats_of(&ups),
             ldh = rsr_cuda_floats_of(&hidden), ld_sum = rsr_cuda_floats_of(&sums),
             ldq = quantised.row_bytes;
    uint32_t activation = p->hyper->activation, cols = from.cols;
    uint32_t q_op = ops[QUANTISED] != NULL ? number_of(p, ops[QUANTISED]) : 0;
    void *parameters[] = {&x,         &ldx,        &up,           &ldu,       &h,
                          &ldh,       &activation, &first.weight, &first.eps, &first.y,
                          &first.ldy, &first.op,   &sum,          &ld_sum,    &last.weight,
                          &last.eps,  &last.y,     &last.ldy,     &last.op,   &q,
                          &ldq,       &q_op,       &cols,         &failed,    &flag};
    return launch(p, RSR_GPU_CALL_ROWS, p->n, parameters);
}

static rsr_status run_chain(const struct rsr_cuda_program *p, uint32_t end, uint32_t *n_ops) {
    const struct chain chain = find_chain(p, end);
    *n_ops = chain.n_ops;
    return launch_chain(p, &chain);
}

/* ---- Attention ---- */

static rsr_status run_heads(const struct rsr_cuda_program *p, uint32_t end, uint32_t *n_ops) {
    const struct rsr_step_op *op = &p->chunk->step->ops[p->op_index];
    const struct rsr_cuda_rows queries = rsr_cuda_rows_of(p, op->src[0]),
                               keys = rsr_cuda_rows_of(p, op->src[1]),
                               values = rsr_cuda_rows_of(p, op->src[2]),
                               tables = rsr_cuda_rows_of(p, op->src[3]);
    const bool normed = op->arg != RSR_NO_NORM;
    struct rsr_cuda_pages at = rsr_cuda_pages_of(p, op);
    rsr_cuda_address q = queries.at, k = keys.at, v = values.at, table = tables.at,
                     failed = p->e->chunk.failed;
    rsr_cuda_address q_weight = normed ? p->e->norms[op->arg] : 0,
                     k_weight = normed ? p->e->norms[op->arg + 1] : 0;
    float q_eps = normed ? p->tensors->norms[op->arg].eps : 0,
          k_eps = normed ? p->tensors->norms[op->arg + 1].eps : 0;
    uint64_t ldq = rsr_cuda_floats_of(&queries), ldk = rsr_cuda_floats_of(&keys),
             ldv = rsr_cuda_floats_of(&values), ldt = rsr_cuda_floats_of(&tables);
    uint32_t n_heads = p->hyper->n_heads, n_kv_heads = p->hyper->n_kv_heads,
             head_dim = p->hyper->head_dim, rotary_dim = p->hyper->rotary_dim;
    uint32_t number = p->op_index;
    void *parameters[] = {&q,
                          &ldq,
                          &k,
                          &ldk,
                          &v,
                          &ldv,
                          &q_weight,
                          &q_eps,
                          &k_weight,
                          &k_eps,
                          &table,
                          &ldt,
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
                          &n_kv_heads,
                          &head_dim,
                          &rotary_dim,
                          &failed,
                          &number};
    (void)end;
    *n_ops = 1;
    return launch(p, RSR_GPU_CALL_HEADS, (uint64_t)p->n * (n_heads + n_kv_heads), parameters);
}

/* Parts of single pages: weighted values, then maxima and sums. */
static rsr_status split(const struct rsr_cuda_program *p, const struct rsr_step_op *op,
                        rsr_cuda_address stats) {
    const struct rsr_cuda_rows from = rsr_cuda_rows_of(p, op->src[0]);
    struct rsr_cuda_pages at = rsr_cuda_pages_of(p, op);
    rsr_cuda_address q = from.at, parts = p->e->parts[RSR_CUDA_PARTIALS].address;
    uint64_t ldq = rsr_cuda_floats_of(&from);
    uint32_t n_heads = p->hyper->n_heads, group = n_heads / p->hyper->n_kv_heads;
    uint32_t head_dim = p->hyper->head_dim, window = op->arg;
    uint32_t n_splits = rsr_cuda_splits(p->e, p->n);
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
                          &parts,
                          &stats,
                          &n_heads,
                          &group,
                          &head_dim,
                          &window,
                          &scale,
                          &n_splits};
    return launch(p, RSR_GPU_CALL_SPLIT, (uint64_t)p->n * p->hyper->n_kv_heads * n_splits,
                  parameters);
}

static rsr_status merge(const struct rsr_cuda_program *p, const struct rsr_step_op *op,
                        rsr_cuda_address stats) {
    const struct rsr_cuda_rows to = rsr_cuda_rows_of(p, op->dst);
    rsr_cuda_address parts = p->e->parts[RSR_CUDA_PARTIALS].address,
                     positions = p->e->chunk.positions, out = to.at;
    uint64_t ldo = rsr_cuda_floats_of(&to);
    uint32_t max_pages = p->e->max_pages, n_heads = p->hyper->n_heads,
             head_dim = p->hyper->head_dim, window = op->arg;
    void *parameters[] = {&parts,    &stats,  &positions, &max_pages, &n_heads,
                          &head_dim, &window, &out,       &ldo};
    return launch(p, RSR_GPU_CALL_MERGE, (uint64_t)p->n * n_heads, parameters);
}

/* Many tokens have blocks enough without it. */
static rsr_status run_split(const struct rsr_cuda_program *p, uint32_t end, uint32_t *n_ops) {
    const struct rsr_step_op *op = &p->chunk->step->ops[p->op_index];
    const rsr_cuda_address stats =
        p->e->parts[RSR_CUDA_PARTIALS].address + rsr_cuda_partial_floats(p->e) * sizeof(float);
    (void)end;
    *n_ops = p->n <= RSR_CUDA_SPLIT_TOKENS;
    if (*n_ops == 0)
        return RSR_OK;
    rsr_status status = split(p, op, stats);
    return status == RSR_OK ? merge(p, op, stats) : status;
}

/* ---- All ---- */

/* NULL: no kernel begins with it. */
static rsr_status (*const run_fused[RSR_OP_KIND_COUNT])(const struct rsr_cuda_program *, uint32_t,
                                                        uint32_t *) = {
    [RSR_OP_ACT_MUL] = run_chain, [RSR_OP_NORM] = run_chain,        [RSR_OP_ADD] = run_chain,
    [RSR_OP_QUANT] = run_chain,   [RSR_OP_ROPE_APPEND] = run_heads, [RSR_OP_ATTENTION] = run_split,
};

rsr_status rsr_cuda_run_fused(const struct rsr_cuda_program *p, uint32_t end, uint32_t *n_ops) {
    const enum rsr_op_kind kind = p->chunk->step->ops[p->op_index].kind;
    *n_ops = 0;
    return run_fused[kind] != NULL ? run_fused[kind](p, end, n_ops) : RSR_OK;
}
