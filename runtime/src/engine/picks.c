/* picks.c - the picks of a chunk: which logits each needs, and the choice once they are known. */
#include <math.h>
#include <stdlib.h>

#include "engine.h"
#include "sample/logprobs.h"

/* ---- Before the head ---- */

static enum rsr_pick_mode mode_of(const struct rsr_engine *engine,
                                  const struct rsr_head_pick *pick) {
    const uint32_t vocab = engine->model->module->hyper.vocab, part = vocab / RSR_HEAD_TOP_PART;
    const rsr_sampling *s = &pick->sampling;
    const bool reads_all = pick->logits != NULL || pick->logprobs != NULL ||
                           (engine->shares_head && s->allowed != NULL);
    const bool penalizes = s->repeat_penalty != 1.0f && s->repeat_window > 0;
    if (!reads_all && s->allowed != NULL && rsr_count_allowed(s, vocab) <= part &&
        engine->tensors->head.data != NULL)
        return RSR_PICK_LISTED;
    if (engine->tensors->head_sketch.blocks == NULL || reads_all ||
        (penalizes && s->repeat_penalty < 1.0f) || pick->edits->n_raised > part)
        return RSR_PICK_ALL;
    if (s->temperature == 0.0f)
        return RSR_PICK_BEST;
    if (s->top_k > 0)
        return s->top_k > part ? RSR_PICK_ALL : RSR_PICK_TOP;
    if (s->top_p < 1.0f)
        return engine->shares_head ? RSR_PICK_ALL : RSR_PICK_NUCLEUS;
    return s->min_p > 0.0f ? RSR_PICK_TOP : RSR_PICK_DRAW;
}

/* The logits of a token of the chunk that wants them. */
static const float *wanted_logits(const struct rsr_engine *engine, uint32_t token) {
    const struct rsr_chunk *chunk = &engine->chunk;
    uint32_t i = 0;
    while (chunk->wanted[i] != token)
        i++;
    return chunk->outputs + (size_t)i * engine->model->module->hyper.vocab;
}

static rsr_status begin_pick(struct rsr_engine *engine, const rsr_sampling *given, uint32_t token,
                             struct rsr_head_pick *pick, struct rsr_edits *edits, rsr_error *err) {
    const rsr_batch_entry *entry = &engine->chunk.entries[token];
    pick->sampling = (rsr_sampling)RSR_SAMPLING_INIT;
    pick->token = token;
    pick->history = entry->sequence->tokens;
    pick->n_history = entry->position + 1;
    pick->logits = entry->want_logits ? wanted_logits(engine, token) : NULL;
    pick->edits = edits;
    rsr_status status = rsr_read_options(&pick->sampling, sizeof(pick->sampling), given, err);
    if (status == RSR_OK)
        status = rsr_edits_set(edits, engine->model->module->hyper.vocab, &pick->sampling,
                               pick->history, pick->n_history, err);
    if (status == RSR_OK)
        pick->mode = mode_of(engine, pick);
    return status;
}

rsr_status rsr_picks_begin(struct rsr_engine *engine, const struct rsr_asked *asked, size_t first,
                           rsr_error *err) {
    struct rsr_picks *picks = &engine->picks;
    rsr_status status = RSR_OK;
    picks->n = 0;
    for (uint32_t p = 0, l = 0;
         status == RSR_OK && (p < asked->n_picks || l < asked->n_logprobs);) {
        const size_t picks_of = p < asked->n_picks ? asked->picks[p].entry : SIZE_MAX;
        const size_t logprobs_of = l < asked->n_logprobs ? asked->logprobs[l].entry : SIZE_MAX;
        const size_t entry = picks_of < logprobs_of ? picks_of : logprobs_of;
        struct rsr_head_pick *pick = &picks->picks[picks->n];
        const rsr_sampling *sampling = picks_of == entry ? asked->picks[p].sampling : NULL;
        *pick = (struct rsr_head_pick){
            .picked = picks_of == entry ? &asked->picked[p++] : NULL,
            .logprobs = logprobs_of == entry ? &asked->logprobs[l++] : NULL,
        };
        status = begin_pick(engine, sampling, (uint32_t)(entry - first), pick,
                            &picks->edits[picks->n++], err);
    }
    return status;
}

void rsr_picks_free(struct rsr_picks *picks) {
    for (uint32_t i = 0; i < RSR_MAX_PICKS; i++)
        rsr_edits_free(&picks->edits[i]);
}

/* ---- After the head ---- */

static rsr_status best_of(const struct rsr_head_pick *pick, uint32_t *token, rsr_error *err) {
    struct rsr_head_row best = {UINT32_MAX, -INFINITY};
    for (uint32_t i = 0; i < pick->n_rows; i++) {
        const struct rsr_head_row row = pick->rows[i];
        if (row.value > best.value || (row.value == best.value && row.row < best.row))
            best = row;
    }
    if (best.value == -INFINITY)
        return rsr_fail_ruled_out(err);
    *token = best.row;
    return RSR_OK;
}

/* candidates: room for twice as many as there are rows. */
static rsr_status draw_from(const struct rsr_head_pick *pick, struct rsr_candidate *candidates,
                            uint32_t *token, rsr_error *err) {
    const struct rsr_head_row *rows = pick->rows;
    uint32_t n = 0;
    for (uint32_t i = 0; i < pick->n_rows; i++)
        if (rows[i].value != -INFINITY)
            candidates[n++] = (struct rsr_candidate){
                (double)rows[i].value / (double)pick->sampling.temperature, rows[i].row};
    if (n == 0)
        return rsr_fail_ruled_out(err);
    *token = rsr_sample_from(candidates, n, candidates + n, &pick->sampling, pick->n_history);
    return RSR_OK;
}

static rsr_status choose(const struct rsr_head_pick *pick, uint32_t *token, rsr_error *err) {
    rsr_status status = RSR_OK;
    for (uint32_t i = 0; i < pick->n_rows && status == RSR_OK; i++)
        status = rsr_check_logit(pick->rows[i].row, pick->rows[i].value, err);
    if (status != RSR_OK)
        return status;
    if (pick->sampling.temperature == 0.0f)
        return best_of(pick, token, err);
    struct rsr_candidate *candidates = malloc(2 * ((size_t)pick->n_rows + 1) * sizeof(*candidates));
    if (candidates == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory to choose from %u tokens", pick->n_rows);
    status = draw_from(pick, candidates, token, err);
    free(candidates);
    return status;
}

rsr_status rsr_pick_finish(const struct rsr_engine *engine, uint32_t i, rsr_error *err) {
    const struct rsr_head_pick *pick = &engine->picks.picks[i];
    const rsr_logprobs *asked = pick->logprobs;
    const uint32_t vocab = engine->model->module->hyper.vocab;
    rsr_status status = RSR_OK;
    if (pick->picked != NULL && pick->logits == NULL)
        status = choose(pick, pick->picked, err);
    else if (pick->picked != NULL)
        status = rsr_sample_token(vocab, &pick->sampling, pick->logits, pick->history,
                                  pick->n_history, pick->picked, err);
    if (status != RSR_OK || asked == NULL)
        return status;
    return rsr_find_logprobs(engine->model->ops, pick->logits, vocab,
                             asked->token == UINT32_MAX ? *pick->picked : asked->token,
                             asked->n_top, asked->results, err);
}

void rsr_picks_count(struct rsr_engine *engine) {
    for (uint32_t i = 0; i < engine->picks.n; i++) {
        const struct rsr_head_pick *pick = &engine->picks.picks[i];
        const bool full = pick->logits != NULL || pick->read_all;
        engine->profile.head.full += pick->picked != NULL && full;
        engine->profile.head.sketched += pick->picked != NULL && !full;
    }
}
