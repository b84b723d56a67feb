/* cuda_fused.c - operations of a step that one kernel does together: products of one input, with
 * what follows them, chains on rows, everything between the products of queries, keys and values
 * and attention, and attention that is shared out among blocks by pages. All other operations run
 * as in cuda_program.c. */
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
static struct chain find_chain(const struct rsr_cuda_program *p, uint32_t first, uint32_t end) {
    const struct rsr_step_op *op = &p->chunk->step->ops[first];
    struct chain chain = {.rows = op->src[0]};
    bool more = true;
    for (uint32_t l = 0; l < LINKS && more; l++) {
        if (op->kind != link_kinds[l] || op->src[0] != chain.rows)
            continue;
        chain.ops[l] = op;
        chain.rows = op->dst;
        chain.n_ops++;
        more = (op->flags & RSR_OP_BARRIER) == 0 && first + chain.n_ops < end;
        op++;
    }
    return chain;
}

static uint32_t number_of(const struct rsr_cuda_program *p, const struct rsr_step_op *op) {
    return (uint32_t)(op - p->chunk->step->ops);
}

/* Zeros for RSR_NO_BUFFER. */
static struct rsr_cuda_rows rows_or_none(const struct rsr_cuda_program *p, uint16_t buffer) {
    return buffer != RSR_NO_BUFFER ? rsr_cuda_rows_of(p, buffer) : (struct rsr_cuda_rows){0};
}

static uint16_t result_of(const struct rsr_step_op *op) {
    return op != NULL ? op->dst : RSR_NO_BUFFER;
}

/* What a link leaves out stays 0. `x`: the rows on which the chain begins. */
static struct rsr_gpu_chain chain_of(const struct rsr_cuda_program *p, const struct chain *chain,
                                     uint16_t x) {
    const struct rsr_step_op *const *ops = chain->ops, *act = ops[ACTIVATION],
                                    *first = ops[FIRST_NORM], *last = ops[LAST_NORM],
                                    *quantises = ops[QUANTISED];
    const struct rsr_norm *norms = p->tensors->norms;
    const struct rsr_cuda_rows from = rsr_cuda_rows_of(p, x),
                               ups = rows_or_none(p, act != NULL ? act->src[1] : RSR_NO_BUFFER),
                               hidden = rows_or_none(p, result_of(act)),
                               normed = rows_or_none(p, result_of(first)),
                               sums = rows_or_none(p, result_of(ops[SUM])),
                               lasts = rows_or_none(p, result_of(last)),
                               quantised = rows_or_none(p, result_of(quantises));
    return (struct rsr_gpu_chain){.x = from.at,
                                  .ldx = rsr_cuda_floats_of(&from),
                                  .up = ups.at,
                                  .ldu = rsr_cuda_floats_of(&ups),
                                  .h = hidden.at,
                                  .ldh = rsr_cuda_floats_of(&hidden),
                                  .norm_weight = first != NULL ? p->e->norms[first->arg] : 0,
                                  .norm_y = normed.at,
                                  .ld_norm = rsr_cuda_floats_of(&normed),
                                  .sum = sums.at,
                                  .ld_sum = rsr_cuda_floats_of(&sums),
                                  .last_weight = last != NULL ? p->e->norms[last->arg] : 0,
                                  .last_y = lasts.at,
                                  .ld_last = rsr_cuda_floats_of(&lasts),
                                  .q = quantised.at,
                                  .ldq = quantised.row_bytes,
                                  .failed = p->e->chunk.failed,
                                  .not_finite = p->e->chunk.flag,
                                  .norm_eps = first != NULL ? norms[first->arg].eps : 0,
                                  .last_eps = last != NULL ? norms[last->arg].eps : 0,
                                  .norm_op = first != NULL ? number_of(p, first) : 0,
                                  .last_op = last != NULL ? number_of(p, last) : 0,
                                  .q_op = quantises != NULL ? number_of(p, quantises) : 0,
                                  .activation = p->hyper->activation,
                                  .cols = from.cols};
}

static rsr_status run_chain(const struct rsr_cuda_program *p, uint32_t end, uint32_t *n_ops) {
    const struct chain chain = find_chain(p, p->op_index, end);
    struct rsr_gpu_chain rows = chain_of(p, &chain, p->chunk->step->ops[p->op_index].src[0]);
    void *parameters[] = {&rows};
    *n_ops = chain.n_ops;
    return launch(p, RSR_GPU_CALL_ROWS, p->n, parameters);
}

/* ---- Attention ---- */

static struct rsr_gpu_heads heads_of(const struct rsr_cuda_program *p,
                                     const struct rsr_step_op *op) {
    const struct rsr_cuda_rows queries = rsr_cuda_rows_of(p, op->src[0]),
                               keys = rsr_cuda_rows_of(p, op->src[1]),
                               values = rsr_cuda_rows_of(p, op->src[2]),
                               tables = rsr_cuda_rows_of(p, op->src[3]);
    const bool normed = op->arg != RSR_NO_NORM;
    const struct rsr_cuda_pages at = rsr_cuda_pages_of(p, op);
    return (struct rsr_gpu_heads){.q = queries.at,
                                  .ldq = rsr_cuda_floats_of(&queries),
                                  .k = keys.at,
                                  .ldk = rsr_cuda_floats_of(&keys),
                                  .v = values.at,
                                  .ldv = rsr_cuda_floats_of(&values),
                                  .q_weight = normed ? p->e->norms[op->arg] : 0,
                                  .k_weight = normed ? p->e->norms[op->arg + 1] : 0,
                                  .table = tables.at,
                                  .ldt = rsr_cuda_floats_of(&tables),
                                  .pages = at.at,
                                  .page_table = at.table,
                                  .positions = at.positions,
                                  .page_bytes = at.page_bytes,
                                  .head_bytes = at.head_bytes,
                                  .values_at = at.values_at,
                                  .failed = p->e->chunk.failed,
                                  .q_eps = normed ? p->tensors->norms[op->arg].eps : 0,
                                  .k_eps = normed ? p->tensors->norms[op->arg + 1].eps : 0,
                                  .max_pages = at.max_pages,
                                  .row_bytes = at.row_bytes,
                                  .row_floats = at.row_floats,
                                  .type = at.type,
                                  .n_heads = p->hyper->n_heads,
                                  .n_kv_heads = p->hyper->n_kv_heads,
                                  .head_dim = p->hyper->head_dim,
                                  .rotary_dim = p->hyper->rotary_dim,
                                  .op = number_of(p, op)};
}

static rsr_status run_heads(const struct rsr_cuda_program *p, uint32_t end, uint32_t *n_ops) {
    struct rsr_gpu_heads heads = heads_of(p, &p->chunk->step->ops[p->op_index]);
    void *parameters[] = {&heads};
    (void)end;
    *n_ops = 1;
    return launch(p, RSR_GPU_CALL_HEADS, (uint64_t)p->n * (heads.n_heads + heads.n_kv_heads),
                  parameters);
}

/* Parts of single pages: weighted values, then maxima and sums. With counters the blocks merge
 * them, and do the chain, if that has columns. */
static rsr_status split(const struct rsr_cuda_program *p, const struct rsr_step_op *op,
                        rsr_cuda_address stats, rsr_cuda_address counters,
                        struct rsr_gpu_chain *chain) {
    const struct rsr_cuda_rows from = rsr_cuda_rows_of(p, op->src[0]),
                               to = rsr_cuda_rows_of(p, op->dst);
    rsr_cuda_address out = to.at;
    uint64_t ldo = rsr_cuda_floats_of(&to);
    uint32_t n_tokens = p->n;
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
                          &n_splits,
                          &out,
                          &ldo,
                          &counters,
                          &n_tokens,
                          chain};
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

/* Many tokens have blocks enough without it. Of few, the blocks merge and go on. */
static rsr_status run_split(const struct rsr_cuda_program *p, uint32_t end, uint32_t *n_ops) {
    const uint32_t next = p->op_index + 1;
    const struct rsr_step_op *op = &p->chunk->step->ops[p->op_index];
    const rsr_cuda_address stats =
        p->e->parts[RSR_CUDA_PARTIALS].address + rsr_cuda_partial_floats(p->e) * sizeof(float);
    struct rsr_gpu_chain rows = {0};
    *n_ops = p->n <= RSR_CUDA_SPLIT_TOKENS;
    if (*n_ops == 0)
        return RSR_OK;
    if (p->n > RSR_CUDA_CHAIN_TOKENS) {
        rsr_status status = split(p, op, stats, 0, &rows);
        return status == RSR_OK ? merge(p, op, stats) : status;
    }
    const struct chain chain = next < end ? find_chain(p, next, end) : (struct chain){.n_ops = 0};
    if (chain.n_ops != 0)
        rows = chain_of(p, &chain, op[1].src[0]);
    *n_ops += chain.n_ops;
    return split(p, op, stats, p->e->chunk.counters, &rows);
}

/* ---- Products ---- */

static const struct rsr_gpu_kernel *kernel_of(const struct rsr_cuda_program *p,
                                              const struct rsr_step_op *op) {
    return &p->e->gpu->kernels[op->arg];
}

/* Layers that follow each other, with one input and codes in one layout. 0: the first one is of no
 * group. */
static uint32_t count_members(const struct rsr_cuda_program *p, uint32_t end) {
    const struct rsr_gpu_group *groups = p->e->gpu->groups;
    const struct rsr_step_op *first = &p->chunk->step->ops[p->op_index];
    const uint32_t number = kernel_of(p, first)->group;
    uint32_t n = 0;
    while (number != 0 && n < RSR_GPU_MEMBERS && p->op_index + n < end &&
           first[n].kind == RSR_OP_LINEAR && first[n].src[0] == first->src[0] &&
           kernel_of(p, &first[n])->group != 0 &&
           groups[kernel_of(p, &first[n])->group - 1].layout == groups[number - 1].layout)
        n++;
    return n;
}

static struct rsr_gpu_products products_of(const struct rsr_cuda_program *p, uint32_t n_members,
                                           uint32_t block_rows) {
    const struct rsr_step_op *first = &p->chunk->step->ops[p->op_index];
    const struct rsr_cuda_rows from = rsr_cuda_rows_of(p, first->src[0]);
    struct rsr_gpu_products products = {.x = from.at,
                                        .ldx = from.row_bytes,
                                        .counters = p->e->chunk.counters,
                                        .n_tokens = p->n,
                                        .tail = RSR_GPU_NO_TAIL};
    uint32_t end = 0;
    for (uint32_t i = 0; i < RSR_GPU_MEMBERS; i++) {
        struct rsr_gpu_member *member = &products.members[i];
        if (i < n_members) {
            const struct rsr_cuda_layer *layer = &p->e->layers[first[i].arg];
            const struct rsr_cuda_rows to = rsr_cuda_rows_of(p, first[i].dst);
            *member = (struct rsr_gpu_member){.codes = layer->codes,
                                              .scale = layer->scale,
                                              .y = to.at,
                                              .ldy = rsr_cuda_floats_of(&to),
                                              .rows = kernel_of(p, &first[i])->rows};
            end += (member->rows + block_rows - 1) / block_rows;
        }
        member->end = end;
    }
    return products;
}

/* Whether the members' results are the queries, keys and values of the operation after them, head
 * by head. */
static bool are_heads(const struct rsr_cuda_program *p, const struct rsr_gpu_products *products,
                      uint32_t n_members) {
    const struct rsr_step_op *first = &p->chunk->step->ops[p->op_index], *op = &first[n_members];
    const uint32_t q_rows = p->hyper->n_heads * p->hyper->head_dim,
                   kv_rows = p->hyper->n_kv_heads * p->hyper->head_dim;
    if (n_members != 3 || op->kind != RSR_OP_ROPE_APPEND)
        return false;
    for (uint32_t i = 0; i < n_members; i++)
        if (first[i].dst != op->src[i] || products->members[i].rows != (i == 0 ? q_rows : kv_rows))
            return false;
    return true;
}

/* Adds what comes after the members, and returns how many operations that is. */
static uint32_t add_tail(const struct rsr_cuda_program *p, uint32_t end, uint32_t n_members,
                         struct rsr_gpu_products *products) {
    const uint32_t next = p->op_index + n_members;
    const struct rsr_step_op *op = &p->chunk->step->ops[next];
    if (next == end)
        return 0;
    if (are_heads(p, products, n_members)) {
        products->tail = RSR_GPU_HEADS_TAIL;
        products->heads = heads_of(p, op);
        return 1;
    }
    const struct chain chain = find_chain(p, next, end);
    if (p->n > RSR_CUDA_CHAIN_TOKENS || chain.n_ops == 0)
        return 0;
    products->tail = RSR_GPU_CHAIN_TAIL;
    products->chain = chain_of(p, &chain, op->src[0]);
    return chain.n_ops;
}

/* One layer without a tail has a kernel of its own. A tail may write where the products read, and
 * needs one tile of tokens, so that all blocks have read. */
static rsr_status run_products(const struct rsr_cuda_program *p, uint32_t end, uint32_t *n_ops) {
    const uint32_t n_members = count_members(p, end);
    *n_ops = 0;
    if (n_members == 0)
        return RSR_OK;
    const uint32_t number = kernel_of(p, &p->chunk->step->ops[p->op_index])->group - 1;
    const struct rsr_gpu_group *group = &p->e->gpu->groups[number];
    struct rsr_gpu_products products = products_of(p, n_members, group->block_rows);
    const uint32_t tile = group->entries[rsr_cuda_entry_for(group->entries, p->n)].token_tile;
    const uint32_t n_tail = p->n <= tile ? add_tail(p, end, n_members, &products) : 0;
    if (n_members + n_tail == 1)
        return RSR_OK;
    *n_ops = n_members + n_tail;
    return rsr_cuda_multiply_group(p->e, number, &products, p->err);
}

/* ---- All ---- */

/* NULL: no kernel begins with it. */
static rsr_status (*const run_fused[RSR_OP_KIND_COUNT])(const struct rsr_cuda_program *, uint32_t,
                                                        uint32_t *) = {
    [RSR_OP_ACT_MUL] = run_chain,     [RSR_OP_NORM] = run_chain,
    [RSR_OP_ADD] = run_chain,         [RSR_OP_QUANT] = run_chain,
    [RSR_OP_ROPE_APPEND] = run_heads, [RSR_OP_ATTENTION] = run_split,
    [RSR_OP_LINEAR] = run_products,
};

rsr_status rsr_cuda_run_fused(const struct rsr_cuda_program *p, uint32_t end, uint32_t *n_ops) {
    const enum rsr_op_kind kind = p->chunk->step->ops[p->op_index].kind;
    *n_ops = 0;
    return run_fused[kind] != NULL ? run_fused[kind](p, end, n_ops) : RSR_OK;
}
