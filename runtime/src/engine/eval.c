/* eval.c - rsr_eval: check every entry, reserve every page, then walk the step table chunk by
 * chunk.
 *
 * Nothing of a sequence changes before the last chunk has succeeded, but for pages that are
 * reserved beyond its length; these are given back on failure. Between chunks others have their
 * turn: what a batch needs of them it has reserved, and a sequence that is in it is in no other.
 */
#include "engine.h"

/* ---- Checks ---- */

/* Pages that this entry takes from the pool: a new one at a page's first token, a private copy when
 * the sequence's first new token lands in a page that a fork shares. */
static uint32_t pages_needed(const struct rsr_sequence *sequence, uint32_t position) {
    const uint32_t number = position / RSR_PAGE_TOKENS;
    if (number >= sequence->n_pages)
        return position % RSR_PAGE_TOKENS == 0;
    return sequence->pending == 0 &&
           rsr_kv_page_is_shared(&sequence->engine->kv, sequence->pages[number]);
}

static rsr_status check_entry(const rsr_engine *engine, const rsr_batch_entry *entry, size_t index,
                              rsr_error *err) {
    const struct rsr_sequence *sequence = entry->sequence;
    if (entry->token >= engine->model->module->hyper.vocab)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "batch entry %zu: token %u is outside the vocabulary of %u", index,
                        entry->token, engine->model->module->hyper.vocab);
    const uint32_t expected = sequence->length + sequence->pending;
    if (entry->position != expected)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "batch entry %zu: position %u, but the next one of its sequence is %u",
                        index, entry->position, expected);
    if (entry->position >= engine->info.context)
        return rsr_fail(err, RSR_ERR_FULL, "batch entry %zu: the context of %u tokens is exhausted",
                        index, engine->info.context);
    return RSR_OK;
}

/* Checks all entries in order; `pending` counts along. */
static rsr_status check_entries(const rsr_engine *engine, const rsr_batch *batch, rsr_error *err) {
    uint64_t n_pages = 0;
    for (size_t i = 0; i < batch->n_entries; i++) {
        const rsr_batch_entry *entry = &batch->entries[i];
        rsr_status status = check_entry(engine, entry, i, err);
        if (status != RSR_OK)
            return status;
        n_pages += pages_needed(entry->sequence, entry->position);
        entry->sequence->pending++;
    }
    if (n_pages > engine->kv.n_free)
        return rsr_fail(err, RSR_ERR_FULL,
                        "the batch needs %llu more KV pages of %u tokens, %u are free; end a "
                        "sequence or create the engine with more kv_tokens",
                        (unsigned long long)n_pages, RSR_PAGE_TOKENS, engine->kv.n_free);
    return RSR_OK;
}

static rsr_status check_picks(const rsr_engine *engine, const rsr_batch *batch, rsr_error *err) {
    if (batch->n_picks == 0)
        return RSR_OK;
    if (batch->picks == NULL || batch->picked == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the batch has %zu picks, but %s is NULL",
                        batch->n_picks, batch->picks == NULL ? "picks" : "picked");
    if (engine->model->module->hyper.pooling != RSR_POOLING_NONE)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "this is an embedding model: it picks no tokens");
    for (size_t i = 0; i < batch->n_picks; i++) {
        const size_t entry = batch->picks[i].entry;
        if (entry >= batch->n_entries || (i > 0 && entry <= batch->picks[i - 1].entry))
            return rsr_fail(err, RSR_ERR_ARGUMENT, "pick %zu: entry %zu is %s", i, entry,
                            entry >= batch->n_entries ? "not in the batch"
                                                      : "not behind the one before");
        rsr_sampling sampling = RSR_SAMPLING_INIT;
        rsr_status status =
            rsr_read_options(&sampling, sizeof(sampling), batch->picks[i].sampling, err);
        if (status == RSR_OK)
            status = rsr_check_sampling(&sampling, err);
        if (status != RSR_OK)
            return status;
    }
    return RSR_OK;
}

static rsr_status check_batch(const rsr_engine *engine, const rsr_batch *batch, rsr_error *err) {
    if (batch->n_entries > 0 && batch->entries == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the batch has %zu entries at NULL",
                        batch->n_entries);
    size_t n_wanted = 0;
    for (size_t i = 0; i < batch->n_entries; i++) {
        const struct rsr_sequence *sequence = batch->entries[i].sequence;
        if (sequence == NULL || sequence->engine != engine || sequence->pending != 0)
            return rsr_fail(err, RSR_ERR_ARGUMENT, "batch entry %zu: the sequence is %s", i,
                            sequence == NULL             ? "NULL"
                            : sequence->engine != engine ? "another engine's"
                                                         : "in a batch that is not done");
        n_wanted += batch->entries[i].want_logits;
    }
    rsr_status status = check_picks(engine, batch, err);
    if (status != RSR_OK)
        return status;
    const size_t size = rsr_output_size(&engine->model->module->hyper);
    if (n_wanted > 0 && (batch->logits == NULL || batch->logits_capacity / size < n_wanted))
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "%zu rows of %zu floats are wanted; there is room for %zu floats", n_wanted,
                        size, batch->logits == NULL ? 0 : batch->logits_capacity);
    return RSR_OK;
}

/* ---- Chunks ---- */

static const struct rsr_step_table *find_step(const struct rsr_target *target, uint32_t n_tokens) {
    const struct rsr_step_table *step = target->steps;
    while (n_tokens > step->max_tokens) /* the loader checked that the steps cover all sizes */
        step++;
    return step;
}

static void find_runs(struct rsr_chunk *chunk) {
    chunk->n_runs = 0;
    for (uint32_t t = 0; t < chunk->n_tokens; t++) {
        struct rsr_run *run = chunk->n_runs > 0 ? &chunk->runs[chunk->n_runs - 1] : NULL;
        if (run != NULL && run->n_tokens < RSR_RUN_TOKENS &&
            chunk->entries[run->first_token].sequence == chunk->entries[t].sequence)
            run->n_tokens++; /* the checks made its positions consecutive */
        else
            chunk->runs[chunk->n_runs++] = (struct rsr_run){t, 1};
    }
}

static void set_chunk(rsr_engine *engine, const rsr_batch_entry *entries, uint32_t n_tokens,
                      float *outputs) {
    struct rsr_chunk *chunk = &engine->chunk;
    chunk->step = find_step(engine->model->target, n_tokens);
    chunk->entries = entries;
    chunk->n_tokens = n_tokens;
    chunk->outputs = outputs;
    chunk->n_wanted = 0;
    for (uint32_t t = 0; t < n_tokens; t++) {
        chunk->positions[t] = entries[t].position;
        /* Behind the sequence's length until the batch has succeeded. */
        entries[t].sequence->tokens[entries[t].position] = entries[t].token;
        if (entries[t].want_logits)
            chunk->wanted[chunk->n_wanted++] = t;
    }
    find_runs(chunk);
}

/* What a token of many takes. Of few, weights are most of it. */
static void keep_pace(rsr_engine *engine, uint64_t begin_ns) {
    if (engine->max_stall_ns != 0 && engine->chunk.n_tokens >= RSR_RUN_TOKENS)
        engine->token_ns = (rsr_now_ns() - begin_ns) / engine->chunk.n_tokens + 1;
}

static rsr_status run_chunk(rsr_engine *engine, rsr_error *err) {
    pthread_mutex_lock(&engine->lock);
    engine->profile.enabled = engine->profile.wanted;
    pthread_mutex_unlock(&engine->lock);
    const uint64_t begin_ns = rsr_now_ns();
    rsr_status status = engine->backend->run_chunk(engine, err);
    keep_pace(engine, begin_ns);
    pthread_mutex_lock(&engine->lock);
    engine->backend->profile(engine);
    pthread_mutex_unlock(&engine->lock);
    if (status != RSR_OK || engine->chunk.failed_op == UINT32_MAX)
        return status;
    const struct rsr_step_op *op = &engine->chunk.step->ops[engine->chunk.failed_op];
    if (op->block == RSR_NO_BLOCK)
        return rsr_fail(err, RSR_ERR_NUMERIC,
                        "the activations before the head hold NaN or infinity");
    return rsr_fail(err, RSR_ERR_NUMERIC, "the activations of block %u hold NaN or infinity",
                    op->block);
}

/* No more than take max_stall_ns, in whole runs. */
static uint32_t most_tokens(const rsr_engine *engine) {
    const uint32_t most = engine->info.max_batch;
    if (engine->max_stall_ns == 0)
        return most;
    const uint64_t n = engine->token_ns == 0 ? 0 : engine->max_stall_ns / engine->token_ns;
    const uint64_t in_runs =
        n < RSR_RUN_TOKENS ? RSR_RUN_TOKENS : n / RSR_RUN_TOKENS * RSR_RUN_TOKENS;
    return in_runs < most ? (uint32_t)in_runs : most;
}

/* How many of the entries from `first` on are a chunk, with how many of the picks from `picked`
 * on. */
static uint32_t chunk_size(const rsr_engine *engine, const rsr_batch *batch, size_t first,
                           size_t picked, uint32_t *n_picks) {
    const size_t left = batch->n_entries - first;
    const uint32_t most = most_tokens(engine);
    const uint32_t n = left < most ? (uint32_t)left : most;
    for (*n_picks = 0; picked + *n_picks < batch->n_picks; ++*n_picks) {
        const size_t entry = batch->picks[picked + *n_picks].entry - first;
        if (entry >= n)
            break;
        if (*n_picks == RSR_MAX_PICKS)
            return (uint32_t)entry;
    }
    return n;
}

/* How far a batch is. */
struct progress {
    size_t done, picked;
    float *outputs;
};

static rsr_status run_next_chunk(rsr_engine *engine, const rsr_batch *batch, struct progress *at,
                                 rsr_error *err) {
    uint32_t n_picks;
    const uint32_t n_tokens = chunk_size(engine, batch, at->done, at->picked, &n_picks);
    set_chunk(engine, batch->entries + at->done, n_tokens, at->outputs);
    engine->chunk.cancel = batch->cancel;
    const bool picks = n_picks > 0;
    rsr_status status =
        rsr_picks_begin(engine, picks ? batch->picks + at->picked : NULL, n_picks, at->done, err);
    if (status == RSR_OK)
        status = run_chunk(engine, err);
    if (status == RSR_OK && picks)
        status = rsr_picks_finish(engine, batch->picked + at->picked, err);
    at->done += n_tokens;
    at->picked += n_picks;
    if (engine->chunk.n_wanted > 0)
        at->outputs +=
            (size_t)engine->chunk.n_wanted * rsr_output_size(&engine->model->module->hyper);
    return status;
}

/* Others have their turn, and the caller hears of it. */
static rsr_status pause_batch(rsr_engine *engine, const rsr_batch *batch, size_t done,
                              rsr_error *err) {
    if (batch->progress == NULL) {
        rsr_turns_pass(&engine->turns);
        return RSR_OK;
    }
    rsr_turns_give(&engine->turns);
    const bool go_on = batch->progress(batch->progress_user, done, batch->n_entries);
    rsr_turns_take(&engine->turns);
    return go_on ? RSR_OK
                 : rsr_fail(err, RSR_ERR_STOPPED,
                            "the progress callback ended the batch after %zu "
                            "of %zu entries",
                            done, batch->n_entries);
}

static rsr_status run_batch(rsr_engine *engine, const rsr_batch *batch, rsr_error *err) {
    struct progress at = {.outputs = batch->logits};
    rsr_status status = RSR_OK;
    while (status == RSR_OK && at.done < batch->n_entries) {
        if (at.done > 0)
            status = pause_batch(engine, batch, at.done, err);
        if (status == RSR_OK && rsr_is_cancelled(batch->cancel))
            status = rsr_fail(err, RSR_ERR_STOPPED, "the batch was cancelled");
        if (status == RSR_OK)
            status = run_next_chunk(engine, batch, &at, err);
    }
    return status;
}

static rsr_status reserve_pages(const rsr_batch *batch, rsr_error *err) {
    for (size_t i = 0; i < batch->n_entries; i++)
        if (!rsr_sequence_reserve(batch->entries[i].sequence, batch->entries[i].position))
            return rsr_fail(err, RSR_ERR_FULL, "no free KV page for batch entry %zu", i);
    return RSR_OK;
}

/* The sequences have what was evaluated, or what they had. */
static void end_batch(const rsr_batch *batch, bool succeeded) {
    for (size_t i = 0; i < batch->n_entries; i++) {
        struct rsr_sequence *sequence = batch->entries[i].sequence;
        if (succeeded)
            sequence->length++;
        else
            rsr_sequence_release_from(sequence, sequence->length);
        sequence->pending = 0;
    }
}

static rsr_status eval_in_turn(rsr_engine *engine, const rsr_batch *batch, rsr_error *err) {
    pthread_mutex_lock(&engine->lock);
    rsr_status status = check_batch(engine, batch, err);
    const bool begun = status == RSR_OK;
    if (begun)
        status = check_entries(engine, batch, err);
    if (status == RSR_OK)
        status = reserve_pages(batch, err);
    pthread_mutex_unlock(&engine->lock);
    if (status == RSR_OK)
        status = run_batch(engine, batch, err);
    if (begun) {
        pthread_mutex_lock(&engine->lock);
        end_batch(batch, status == RSR_OK);
        pthread_mutex_unlock(&engine->lock);
    }
    return status;
}

rsr_status rsr_api_eval(rsr_engine *engine, const rsr_batch *batch, rsr_error *err) {
    if (engine == NULL || batch == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_eval: a pointer is NULL");
    rsr_batch known = RSR_BATCH_INIT;
    rsr_status status = rsr_check_owner(engine->owner_pid, err);
    if (status == RSR_OK)
        status = rsr_read_options(&known, sizeof(known), batch, err);
    if (status != RSR_OK)
        return status;
    rsr_turns_take(&engine->turns);
    status = eval_in_turn(engine, &known, err);
    rsr_turns_give(&engine->turns);
    return status;
}
