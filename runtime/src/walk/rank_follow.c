/* rank_follow.c - the other ranks: they do what rank 0's messages say. What a message says is
 * checked as far as it would be used to access memory. */
#include <stdlib.h>
#include <string.h>

#include "crew.h"
#include "ranks.h"

static rsr_status refuse(rsr_error *err, const char *what) {
    return rsr_fail(err, RSR_ERR_RANK, "rank 0 sent a chunk with %s", what);
}

static bool are_pages(const struct rsr_crew *crew, const uint32_t *pages, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (pages[i] >= crew->kv.n_pages)
            return false;
    return true;
}

static rsr_status take_notes(struct rsr_crew *crew, rsr_error *err) {
    struct rsr_rank_message *message = &crew->ranks->message;
    for (uint32_t n = rsr_rank_take(message); n > 0; n--) {
        const uint32_t *words = rsr_rank_take_all(message, 3);
        if (words == NULL || !are_pages(crew, words, 2) || words[2] >= RSR_PAGE_TOKENS)
            return refuse(err, "a page that this rank does not have");
        if (words[2] == 0)
            rsr_kv_memory_drop(&crew->kv, words[0]);
        else
            rsr_kv_memory_copy(&crew->kv, words[0], words[1], words[2]);
    }
    return RSR_OK;
}

static rsr_status take_sequences(struct rsr_crew *crew, uint32_t n, rsr_error *err) {
    struct rsr_ranks *ranks = crew->ranks;
    for (uint32_t i = 0; i < n; i++) {
        struct rsr_sequence *sequence = &ranks->sequences[i];
        sequence->length = rsr_rank_take(&ranks->message);
        sequence->n_pages = rsr_rank_take(&ranks->message);
        sequence->pages = rsr_rank_take_all(&ranks->message, sequence->n_pages);
        if (sequence->pages == NULL || !are_pages(crew, sequence->pages, sequence->n_pages))
            return refuse(err, "a page that this rank does not have");
    }
    return RSR_OK;
}

static rsr_status take_tokens(struct rsr_crew *crew, uint32_t n_sequences, rsr_error *err) {
    struct rsr_ranks *ranks = crew->ranks;
    struct rsr_chunk *chunk = &ranks->engine->chunk;
    for (uint32_t t = 0; t < chunk->n_tokens; t++) {
        const uint32_t *words = rsr_rank_take_all(&ranks->message, 4);
        if (words == NULL || words[0] >= n_sequences ||
            words[1] >= crew->model->module->hyper.vocab ||
            words[2] / RSR_PAGE_TOKENS >= ranks->sequences[words[0]].n_pages)
            return refuse(err, "a token that no sequence has");
        ranks->entries[t] = (rsr_batch_entry){.sequence = &ranks->sequences[words[0]],
                                              .token = words[1],
                                              .position = words[2],
                                              .want_logits = words[3] != 0};
        chunk->positions[t] = words[2];
        chunk->failed_ops[t] = UINT32_MAX;
        if (words[3] != 0)
            chunk->wanted[chunk->n_wanted++] = t;
    }
    return RSR_OK;
}

static float take_float(struct rsr_rank_message *message) {
    const uint32_t bits = rsr_rank_take(message);
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

static uint64_t take_u64(struct rsr_rank_message *message) {
    const uint64_t low = rsr_rank_take(message);
    return low | (uint64_t)rsr_rank_take(message) << 32;
}

/* False: the edits are not in the message. */
static bool take_edits(struct rsr_rank_message *message, const rsr_sampling *sampling,
                       struct rsr_edits *edits) {
    *edits = (struct rsr_edits){.sampling = sampling, .bits = rsr_rank_take(message)};
    edits->n_raised = rsr_rank_take(message);
    if (edits->bits == 0)
        return true;
    if (edits->bits > 28)
        return false;
    edits->places = (struct rsr_edit *)(void *)rsr_rank_take_all(
        message, RSR_RANK_EDIT_WORDS * rsr_edits_places(edits));
    return edits->places != NULL;
}

static bool take_pick(struct rsr_crew *crew, struct rsr_head_pick *pick, struct rsr_edits *edits) {
    struct rsr_rank_message *message = &crew->ranks->message;
    rsr_sampling *s = &pick->sampling;
    *pick = (struct rsr_head_pick){.sampling = RSR_SAMPLING_INIT, .edits = edits};
    pick->token = rsr_rank_take(message);
    const uint32_t mode = rsr_rank_take(message);
    pick->n_history = rsr_rank_take(message);
    s->temperature = take_float(message);
    s->top_p = take_float(message);
    s->min_p = take_float(message);
    s->repeat_penalty = take_float(message);
    s->frequency_penalty = take_float(message);
    s->presence_penalty = take_float(message);
    s->top_k = rsr_rank_take(message);
    s->seed = take_u64(message);
    s->sequence_id = take_u64(message);
    pick->mode = mode <= RSR_PICK_DRAW ? (enum rsr_pick_mode)mode : RSR_PICK_ALL;
    return take_edits(message, s, edits) && !message->failed && mode <= RSR_PICK_DRAW &&
           (pick->mode == RSR_PICK_ALL || crew->slots.shape.dim != 0) &&
           pick->token < crew->chunk->n_tokens &&
           s->top_k <= crew->model->module->hyper.vocab / RSR_HEAD_TOP_PART;
}

static rsr_status take_picks(struct rsr_crew *crew, uint32_t n, rsr_error *err) {
    struct rsr_ranks *ranks = crew->ranks;
    struct rsr_picks *picks = &ranks->engine->picks;
    if (n > RSR_MAX_PICKS)
        return refuse(err, "too many picks");
    picks->n = n;
    for (uint32_t i = 0; i < n; i++)
        if (!take_pick(crew, &picks->picks[i], &ranks->edits[i]))
            return refuse(err, "a pick that is none");
    return rsr_head_slots_begin(crew, picks, err);
}

/* Makes room for the rows of logits that the step computes a share of. */
static rsr_status make_outputs(struct rsr_crew *crew, rsr_error *err) {
    struct rsr_ranks *ranks = crew->ranks;
    struct rsr_chunk *chunk = &ranks->engine->chunk;
    const struct rsr_hyper *hyper = &crew->model->module->hyper;
    const uint64_t floats =
        (uint64_t)chunk->n_wanted * (chunk->wants_states ? hyper->hidden : rsr_output_size(hyper));
    if (floats > ranks->output_floats) {
        free(ranks->outputs);
        ranks->output_floats = 0;
        ranks->outputs = calloc((size_t)floats, sizeof(*ranks->outputs));
        if (ranks->outputs == NULL)
            return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the logits of %u tokens",
                            chunk->n_wanted);
        ranks->output_floats = floats;
    }
    chunk->outputs = ranks->outputs;
    return RSR_OK;
}

static rsr_status take_chunk(struct rsr_crew *crew, rsr_error *err) {
    struct rsr_ranks *ranks = crew->ranks;
    struct rsr_chunk *chunk = &ranks->engine->chunk;
    rsr_status status = take_notes(crew, err);
    if (status != RSR_OK)
        return status;
    chunk->wants_states = rsr_rank_take(&ranks->message) != 0;
    chunk->n_tokens = rsr_rank_take(&ranks->message);
    const uint32_t n_sequences = rsr_rank_take(&ranks->message);
    const uint32_t n_picks = rsr_rank_take(&ranks->message);
    if (chunk->n_tokens == 0 || chunk->n_tokens > crew->engine->info.max_batch ||
        n_sequences > chunk->n_tokens)
        return refuse(err, "more tokens than max_batch");
    rsr_crew_choose_team(crew);
    chunk->step = rsr_find_step(crew->engine->steps, chunk->n_tokens);
    chunk->entries = ranks->entries;
    chunk->n_wanted = 0;
    chunk->cancel = NULL;
    status = take_sequences(crew, n_sequences, err);
    if (status == RSR_OK)
        status = take_tokens(crew, n_sequences, err);
    if (status == RSR_OK)
        status = take_picks(crew, n_picks, err);
    if (status == RSR_OK)
        status = make_outputs(crew, err);
    if (status == RSR_OK)
        rsr_runs_find(chunk);
    return status;
}

rsr_status rsr_rank_follow(struct rsr_crew *crew, rsr_error *err) {
    struct rsr_ranks *ranks = crew->ranks;
    enum rsr_rank_order order = RSR_RANK_CHUNK;
    rsr_status status = RSR_OK;
    for (;;) {
        status = rsr_rank_receive(&ranks->transport, &order, &ranks->message, &ranks->lost);
        if (status != RSR_OK || order == RSR_RANK_END)
            break;
        status = take_chunk(crew, &ranks->lost);
        if (status != RSR_OK)
            break;
        rsr_crew_walk(crew);
        status = ranks->lost.status;
        if (status != RSR_OK)
            break;
    }
    ranks->lost.status = status;
    return status == RSR_OK ? RSR_OK : rsr_fail(err, status, "%s", ranks->lost.message);
}
