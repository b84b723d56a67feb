/* cuda_head.c - the end of a step on a GPU: logits for outputs and picks, and hidden states. */
#include "cuda_engine.h"

/* Whether these logits stay where the device writes them. */
static bool is_staged(const struct rsr_cuda_engine *e, const float *logits) {
    const uintptr_t at = (uintptr_t)logits, begin = (uintptr_t)e->host.staging;
    return at - begin < e->host.n_staging_bytes;
}

/* Tokens of the chunk, and where the logits of the first of them go; the others' follow. NULL: they
 * stay on the device, which draws from them. */
struct asked {
    const uint32_t *tokens;
    uint32_t n;
    float *logits;
};

/* The logits of n tokens that follow each other in the chunk, those of `asked` from `first` on. */
static rsr_status run_rows(struct rsr_cuda_engine *e, const struct rsr_step_op *op,
                           const struct asked *asked, uint32_t first, uint32_t n, rsr_error *err) {
    const struct rsr_cuda_rows rows = rsr_cuda_buffer(e, op->src[0]);
    const rsr_cuda_address x = rows.at + asked->tokens[first] * rows.row_bytes,
                           y = e->parts[RSR_CUDA_LOGITS].address;
    const uint64_t vocab = e->engine->model->module->hyper.vocab;
    rsr_status status =
        op->arg == RSR_NO_KERNEL
            ? rsr_cuda_multiply_dense(e, &e->gpu->tensors->head, e->head, x,
                                      rows.row_bytes / sizeof(float), n, y, vocab, err)
            : rsr_cuda_multiply(e, op->arg, x, rows.row_bytes, n, y, vocab, err);
    if (status != RSR_OK)
        return status;
    if (asked->logits == NULL)
        return rsr_cuda_draw(e, first, n, err);
    float *logits = asked->logits + first * vocab;
    return is_staged(e, logits)
               ? rsr_cuda_download(&e->device, logits, y, n * vocab * sizeof(float), err)
               : rsr_cuda_fetch(e, logits, y, n * vocab * sizeof(float), err);
}

static rsr_status run_asked(struct rsr_cuda_engine *e, const struct rsr_step_op *op,
                            const struct asked *asked, rsr_error *err) {
    rsr_status status = RSR_OK;
    for (uint32_t i = 0, n; i < asked->n && status == RSR_OK; i += n) {
        for (n = 1; i + n < asked->n && n < RSR_CUDA_LOGIT_ROWS &&
                    asked->tokens[i + n] == asked->tokens[i] + n;
             n++)
            ;
        status = run_rows(e, op, asked, i, n, err);
    }
    return status;
}

static rsr_status copy_states(struct rsr_cuda_engine *e, uint16_t buffer, rsr_error *err) {
    const struct rsr_chunk *chunk = &e->engine->chunk;
    const struct rsr_cuda_rows rows = rsr_cuda_buffer(e, buffer);
    const uint64_t hidden = e->engine->model->module->hyper.hidden;
    rsr_status status = RSR_OK;
    for (uint32_t i = 0; i < chunk->n_wanted && status == RSR_OK; i++)
        status = rsr_cuda_fetch(e, chunk->outputs + i * hidden,
                                rows.at + chunk->wanted[i] * rows.row_bytes, hidden * sizeof(float),
                                err);
    return status;
}

/* What the last norm before the head wrote. */
static uint16_t states_buffer(const struct rsr_step_table *step, uint32_t head) {
    while (step->ops[head].kind != RSR_OP_NORM)
        head--;
    return step->ops[head].dst;
}

rsr_status rsr_cuda_head(struct rsr_cuda_engine *e, uint32_t number, rsr_error *err) {
    const struct rsr_chunk *chunk = &e->engine->chunk;
    const struct rsr_step_op *op = &chunk->step->ops[number];
    if (chunk->wants_states)
        return copy_states(e, states_buffer(chunk->step, number), err);
    const struct asked outputs = {chunk->wanted, chunk->n_wanted, chunk->outputs};
    uint32_t tokens[RSR_MAX_PICKS], drawn[RSR_MAX_PICKS];
    struct asked picks = {tokens, 0, e->picks_at},
                 draws = {drawn, e->n_drawn - e->n_sketched, NULL};
    const uint32_t vocab = e->engine->model->module->hyper.vocab;
    for (uint32_t i = 0; i < e->engine->picks.n; i++) {
        const struct rsr_head_pick *pick = &e->engine->picks.picks[i];
        if (pick->logits == e->picks_at + (size_t)picks.n * vocab)
            tokens[picks.n++] = pick->token;
    }
    for (uint32_t i = 0; i < e->n_drawn; i++)
        drawn[i] = e->engine->picks.picks[e->drawn[i]].token;
    rsr_status status = run_asked(e, op, &outputs, err);
    if (status == RSR_OK && picks.n > 0 && outputs.n > 0 && is_staged(e, picks.logits))
        status = rsr_cuda_deliver(e, err); /* they are in the staging, too */
    if (status == RSR_OK)
        status = run_asked(e, op, &picks, err);
    if (status == RSR_OK)
        status = run_asked(e, op, &draws, err);
    if (status == RSR_OK)
        status = rsr_cuda_pick_by_sketch(
            e, op->src[0], drawn + draws.n, e->n_sketched,
            e->chunk.firsts + draws.n * sizeof(struct rsr_gpu_candidate), err);
    return status == RSR_OK ? rsr_cuda_fetch_picks(e, err) : status;
}

rsr_status rsr_cuda_output(struct rsr_cuda_engine *e, uint32_t number, rsr_error *err) {
    return copy_states(e, e->engine->chunk.step->ops[number].src[0], err);
}
