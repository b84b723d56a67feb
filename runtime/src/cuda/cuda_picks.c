/* cuda_picks.c - tokens that are picked on a GPU: the largest logit, or a draw among all, so that a
 * few bytes come back in place of all logits. Options that change or leave out logits, and
 * log-probabilities, take all logits of the row to the host. */
#include "cuda_engine.h"

static bool stays_on_device(const struct rsr_head_pick *pick) {
    const rsr_sampling *s = &pick->sampling;
    const bool filters = rsr_has_filters(s);
    return pick->logits == NULL && pick->logprobs == NULL && pick->edits->bits == 0 &&
           s->allowed == NULL && (s->temperature == 0.0f || !filters);
}

/* Picks that need all logits: theirs are in the staging, if there is room for them all. */
static void place_logits(struct rsr_cuda_engine *e, uint32_t n) {
    struct rsr_picks *picks = &e->engine->picks;
    const uint32_t vocab = e->engine->model->module->hyper.vocab;
    const bool staged = n * (uint64_t)vocab * sizeof(float) <= e->host.n_staging_bytes;
    e->picks_at = staged ? (float *)(void *)e->host.staging : e->picked_logits;
    for (uint32_t i = 0, at = 0; i < picks->n; i++)
        if (picks->picks[i].logits == NULL && !stays_on_device(&picks->picks[i]))
            picks->picks[i].logits = e->picks_at + (size_t)at++ * vocab;
}

/* Adds picks to those of the device: those by the head's sketch, or the others. */
static void add_draws(struct rsr_cuda_engine *e, bool sketched) {
    const struct rsr_picks *picks = &e->engine->picks;
    struct rsr_gpu_draw *draws = rsr_cuda_host_of(e, e->chunk.draws);
    for (uint32_t i = 0; i < picks->n; i++) {
        const struct rsr_head_pick *pick = &picks->picks[i];
        const rsr_sampling *s = &pick->sampling;
        const bool by_sketch = s->temperature == 0.0f && e->sketch.blocks != 0;
        if (!stays_on_device(pick) || by_sketch != sketched)
            continue;
        draws[e->n_drawn] =
            (struct rsr_gpu_draw){.key = rsr_noise_key(s->seed, s->sequence_id, pick->n_history),
                                  .temperature = (double)s->temperature};
        e->drawn[e->n_drawn++] = i;
        e->n_sketched += sketched;
    }
}

rsr_status rsr_cuda_begin_picks(struct rsr_cuda_engine *e, rsr_error *err) {
    const struct rsr_picks *picks = &e->engine->picks;
    uint32_t n_others = 0;
    e->n_drawn = e->n_sketched = 0;
    add_draws(e, false);
    add_draws(e, true);
    for (uint32_t i = 0; i < picks->n; i++)
        n_others += picks->picks[i].logits == NULL && !stays_on_device(&picks->picks[i]);
    place_logits(e, n_others);
    return e->n_drawn == 0
               ? RSR_OK
               : rsr_cuda_send(e, e->chunk.draws, e->n_drawn * sizeof(struct rsr_gpu_draw), err);
}

rsr_status rsr_cuda_draw(struct rsr_cuda_engine *e, uint32_t first, uint32_t n, rsr_error *err) {
    uint32_t vocab = e->engine->model->module->hyper.vocab;
    uint32_t n_blocks = (uint32_t)rsr_cuda_blocks(vocab, RSR_GPU_BEST_ROWS);
    uint64_t ld = vocab;
    rsr_cuda_address logits = e->parts[RSR_CUDA_LOGITS].address, found = e->found;
    rsr_cuda_address draws = e->chunk.draws + first * sizeof(struct rsr_gpu_draw),
                     firsts = e->chunk.firsts + first * sizeof(struct rsr_gpu_candidate);
    void *rows[] = {&logits, &ld, &vocab, &draws, &found}, *all[] = {&found, &n_blocks, &firsts};
    rsr_status status = rsr_cuda_operation(e, RSR_GPU_CALL_BEST, (uint64_t)n * n_blocks, rows, err);
    return status == RSR_OK ? rsr_cuda_operation(e, RSR_GPU_CALL_FIRST, n, all, err) : status;
}

rsr_status rsr_cuda_fetch_picks(struct rsr_cuda_engine *e, rsr_error *err) {
    return e->n_drawn == 0 ? RSR_OK
                           : rsr_cuda_download(&e->device, rsr_cuda_host_of(e, e->chunk.firsts),
                                               e->chunk.firsts,
                                               e->n_drawn * sizeof(struct rsr_gpu_candidate), err);
}

void rsr_cuda_end_picks(struct rsr_cuda_engine *e) {
    const struct rsr_gpu_candidate *firsts = rsr_cuda_host_of(e, e->chunk.firsts);
    for (uint32_t i = 0; i < e->n_drawn; i++) {
        struct rsr_head_pick *pick = &e->engine->picks.picks[e->drawn[i]];
        e->picked_rows[i] = (struct rsr_head_row){firsts[i].row, firsts[i].logit};
        pick->rows = &e->picked_rows[i];
        pick->n_rows = firsts[i].row != UINT32_MAX;
        pick->read_all = i + e->n_sketched < e->n_drawn;
    }
}
