/* picks.c - the picks of a chunk: what each needs to know of the head, and the choice once it is
 * known. */
#include <math.h>
#include <stdlib.h>

#include "engine.h"

/* ---- Before the head ---- */

static enum rsr_pick_mode mode_of(const struct rsr_engine *engine,
                                  const struct rsr_head_pick *pick) {
    const uint32_t vocab = engine->model->module->hyper.vocab, part = vocab / RSR_HEAD_TOP_PART;
    const rsr_sampling *s = &pick->sampling;
    const bool penalizes = s->repeat_penalty != 1.0f && s->repeat_window > 0;
    if (pick->logits == NULL && s->allowed != NULL && rsr_count_allowed(s, vocab) <= part &&
        engine->model->target->head.data != NULL)
        return RSR_PICK_LISTED;
    if (engine->model->target->head_sketch.blocks == NULL || pick->logits != NULL ||
        (penalizes && s->repeat_penalty < 1.0f) || pick->edits->n_raised > part)
        return RSR_PICK_ALL;
    if (s->temperature == 0.0f)
        return RSR_PICK_BEST;
    if (s->top_k > 0)
        return s->top_k > part ? RSR_PICK_ALL : RSR_PICK_TOP;
    if (s->top_p < 1.0f)
        return RSR_PICK_NUCLEUS;
    return s->min_p > 0.0f ? RSR_PICK_TOP : RSR_PICK_DRAW;
}

/* The logits of the chunk's token, which wants them. */
static const float *wanted_logits(const struct rsr_engine *engine, uint32_t token) {
    const struct rsr_chunk *chunk = &engine->chunk;
    uint32_t i = 0;
    while (chunk->wanted[i] != token)
        i++;
    return chunk->outputs + (size_t)i * engine->model->module->hyper.vocab;
}

rsr_status rsr_picks_begin(struct rsr_engine *engine, const rsr_pick *given, uint32_t n,
                           size_t first, rsr_error *err) {
    engine->picks.n = n;
    for (uint32_t i = 0; i < n; i++) {
        struct rsr_head_pick *pick = &engine->picks.picks[i];
        const uint32_t token = (uint32_t)(given[i].entry - first);
        const rsr_batch_entry *entry = &engine->chunk.entries[token];
        *pick = (struct rsr_head_pick){
            .sampling = RSR_SAMPLING_INIT,
            .token = token,
            .history = entry->sequence->tokens,
            .n_history = entry->position + 1,
            .logits = entry->want_logits ? wanted_logits(engine, token) : NULL,
            .edits = &engine->picks.edits[i],
        };
        rsr_status status =
            rsr_read_options(&pick->sampling, sizeof(pick->sampling), given[i].sampling, err);
        if (status == RSR_OK)
            status = rsr_edits_set(&engine->picks.edits[i], engine->model->module->hyper.vocab,
                                   &pick->sampling, pick->history, pick->n_history, err);
        if (status != RSR_OK)
            return status;
        pick->mode = mode_of(engine, pick);
    }
    return RSR_OK;
}

void rsr_picks_free(struct rsr_picks *picks) {
    for (uint32_t i = 0; i < RSR_MAX_PICKS; i++)
        rsr_edits_free(&picks->edits[i]);
}

/* ---- Behind the head ---- */

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

rsr_status rsr_pick_finish(const struct rsr_engine *engine, uint32_t i, uint32_t *picked,
                           rsr_error *err) {
    const struct rsr_head_pick *pick = &engine->picks.picks[i];
    if (pick->logits == NULL)
        return choose(pick, picked, err);
    return rsr_sample_token(engine->model->module->hyper.vocab, &pick->sampling, pick->logits,
                            pick->history, pick->n_history, picked, err);
}

void rsr_picks_count(struct rsr_engine *engine) {
    for (uint32_t i = 0; i < engine->picks.n; i++) {
        const bool all = engine->picks.picks[i].logits != NULL;
        engine->profile.head.full += all;
        engine->profile.head.sketched += !all;
    }
}
