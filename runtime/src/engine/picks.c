/* picks.c - the picks of a chunk: what each needs to know of the head, and the choice once it is
 * known. */
#include <math.h>
#include <stdlib.h>

#include "engine.h"

/* ---- Before the head ---- */

static enum rsr_pick_mode mode_of(const struct rsr_engine *engine, const rsr_sampling *s,
                                  bool wants_logits) {
    const uint32_t vocab = engine->model->module->hyper.vocab;
    const bool penalizes = s->repeat_penalty != 1.0f && s->repeat_window > 0;
    if (engine->model->target->head_sketch.blocks == NULL || wants_logits ||
        (penalizes && s->repeat_penalty < 1.0f))
        return RSR_PICK_ALL;
    if (s->temperature == 0.0f)
        return RSR_PICK_BEST;
    if (s->top_p < 1.0f || s->top_k > vocab / RSR_HEAD_TOP_PART)
        return RSR_PICK_ALL;
    return s->top_k > 0 || s->min_p > 0.0f ? RSR_PICK_TOP : RSR_PICK_DRAW;
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
        };
        rsr_status status =
            rsr_read_options(&pick->sampling, sizeof(pick->sampling), given[i].sampling, err);
        if (status != RSR_OK)
            return status;
        pick->mode = mode_of(engine, &pick->sampling, entry->want_logits);
    }
    return RSR_OK;
}

/* ---- Behind the head ---- */

static uint32_t best_of(const struct rsr_head_row *rows, uint32_t n) {
    struct rsr_head_row best = rows[0];
    for (uint32_t i = 1; i < n; i++)
        if (rows[i].value > best.value || (rows[i].value == best.value && rows[i].row < best.row))
            best = rows[i];
    return best.row;
}

/* candidates: room for twice as many as there are rows. */
static uint32_t draw_from(const struct rsr_head_pick *pick, struct rsr_candidate *candidates) {
    const struct rsr_head_row *rows = pick->rows;
    const uint32_t n = pick->n_rows;
    uint32_t n_candidates = 0;
    for (uint32_t i = 0; i < n; i++)
        if (rows[i].value != -INFINITY)
            candidates[n_candidates++] = (struct rsr_candidate){
                (double)rows[i].value / (double)pick->sampling.temperature, rows[i].row};
    return rsr_sample_from(candidates, n_candidates, candidates + n, &pick->sampling,
                           pick->n_history);
}

static rsr_status choose(const struct rsr_head_pick *pick, uint32_t *token, rsr_error *err) {
    if (pick->mode == RSR_PICK_BEST) {
        *token = best_of(pick->rows, pick->n_rows);
        return RSR_OK;
    }
    struct rsr_candidate *candidates = malloc(2 * (size_t)pick->n_rows * sizeof(*candidates));
    if (candidates == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory to choose from %u tokens", pick->n_rows);
    *token = draw_from(pick, candidates);
    free(candidates);
    return RSR_OK;
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
