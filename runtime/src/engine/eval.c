/* eval.c - rsr_eval: checks every entry, reserves its page, and then evaluates chunk by chunk. A
 * failure of an entry fails all entries of its sequence, and without `statuses` the whole batch.
 *
 * A sequence does not change before the last chunk has succeeded, except that pages are reserved
 * beyond its length; these are given back on failure. Other callers have their turn between chunks.
 * They cannot disturb the batch: its pages are reserved, and its sequences are in no other batch.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

/* A call of rsr_eval. */
struct evaluation {
    rsr_engine *engine;
    const rsr_batch *batch;
    rsr_status status; /* the first failure of an entry, which err explains */
    rsr_error *err;
    size_t done, picked, logprobs; /* how many of the batch's entries, picks and log-probabilities
                                      are done */
    float *outputs;                /* for the next wanted one */
};

/* Whether sequences fail independently of each other. */
static bool fails_alone(const struct evaluation *e) {
    return e->batch->statuses != NULL;
}

/* Notes that the entry's sequence will not be extended, and why. */
static void fail_entry(struct evaluation *e, size_t index, rsr_status status, const char *why) {
    e->batch->entries[index].sequence->failed = status;
    if (e->status == RSR_OK)
        e->status = rsr_fail(e->err, status, "batch entry %zu: %s", index, why);
}

static bool has_failed(const struct evaluation *e, size_t index) {
    return e->batch->entries[index].sequence->failed != RSR_OK;
}

/* The number of floats of an entry that wants outputs. */
static uint32_t output_size(const rsr_engine *engine, const rsr_batch *batch) {
    const struct rsr_hyper *hyper = &engine->model->module->hyper;
    return batch->want_states ? hyper->hidden : rsr_output_size(hyper);
}

/* ---- Checks ---- */

static rsr_status check_entry(const rsr_engine *engine, const rsr_batch_entry *entry,
                              rsr_error *err) {
    struct rsr_sequence *sequence = entry->sequence;
    if (entry->token >= engine->model->module->hyper.vocab)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "token %u is outside the vocabulary of %u",
                        entry->token, engine->model->module->hyper.vocab);
    const uint32_t expected = sequence->length + sequence->pending;
    if (entry->position != expected)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "position %u, but the next one of its sequence is %u", entry->position,
                        expected);
    if (entry->position >= engine->info.context)
        return rsr_fail(err, RSR_ERR_FULL, "the context of %u tokens is exhausted",
                        engine->info.context);
    if (!rsr_sequence_reserve(sequence, entry->position))
        return rsr_fail_no_page(engine, err);
    if (sequence->pending == 0 && !rsr_sequence_begin_state(sequence))
        return rsr_fail_no_state(engine, err);
    return RSR_OK;
}

/* Reserves the pages of the entries, in order, and counts each sequence's entries in `pending`. */
static void admit_entries(struct evaluation *e) {
    for (size_t i = 0; i < e->batch->n_entries; i++)
        e->batch->entries[i].sequence->failed = RSR_OK;
    for (size_t i = 0; i < e->batch->n_entries && (e->status == RSR_OK || fails_alone(e)); i++) {
        const rsr_batch_entry *entry = &e->batch->entries[i];
        rsr_error why = RSR_ERROR_INIT;
        const rsr_status status = has_failed(e, i) ? RSR_OK : check_entry(e->engine, entry, &why);
        if (status != RSR_OK) {
            fail_entry(e, i, status, why.message);
            rsr_sequence_release_from(entry->sequence, entry->sequence->length);
        }
        entry->sequence->pending++;
    }
}

/* Refuses picks and log-probabilities of a batch that computes no logits. */
static rsr_status check_has_logits(const rsr_engine *engine, const rsr_batch *batch,
                                   const char *what, rsr_error *err) {
    if (engine->model->module->hyper.pooling == RSR_POOLING_NONE && !batch->want_states)
        return RSR_OK;
    return rsr_fail(
        err, RSR_ERR_ARGUMENT, "%s: %s",
        batch->want_states ? "the batch wants hidden states" : "this is an embedding model", what);
}

static rsr_status check_picks(const rsr_engine *engine, const rsr_batch *batch, rsr_error *err) {
    if (batch->n_picks == 0)
        return RSR_OK;
    if (batch->picks == NULL || batch->picked == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the batch has %zu picks, but %s is NULL",
                        batch->n_picks, batch->picks == NULL ? "picks" : "picked");
    rsr_status status = check_has_logits(engine, batch, "no tokens are picked", err);
    for (size_t i = 0; i < batch->n_picks && status == RSR_OK; i++) {
        const size_t entry = batch->picks[i].entry;
        if (entry >= batch->n_entries || (i > 0 && entry <= batch->picks[i - 1].entry))
            return rsr_fail(err, RSR_ERR_ARGUMENT, "pick %zu: entry %zu is %s", i, entry,
                            entry >= batch->n_entries ? "not in the batch"
                                                      : "not after the one before");
        rsr_sampling sampling = RSR_SAMPLING_INIT;
        status = rsr_read_options(&sampling, sizeof(sampling), batch->picks[i].sampling, err);
        if (status == RSR_OK)
            status = rsr_check_sampling(&sampling, engine->model->module->hyper.vocab, err);
    }
    return status;
}

static rsr_status check_logprob(const rsr_engine *engine, const rsr_batch *batch, size_t i,
                                bool is_picked, rsr_error *err) {
    const rsr_logprobs *asked = &batch->logprobs[i];
    const uint32_t vocab = engine->model->module->hyper.vocab;
    const uint32_t most = vocab < RSR_MAX_TOP_LOGPROBS ? vocab : RSR_MAX_TOP_LOGPROBS;
    if (asked->entry >= batch->n_entries || (i > 0 && asked->entry <= batch->logprobs[i - 1].entry))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "logprobs %zu: entry %zu is %s", i, asked->entry,
                        asked->entry >= batch->n_entries ? "not in the batch"
                                                         : "not after the one before");
    if (asked->results == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "logprobs %zu: results is NULL", i);
    if (asked->n_top > most)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "logprobs %zu: n_top %u is more than %u", i,
                        asked->n_top, most);
    if (asked->token < vocab || (asked->token == UINT32_MAX && is_picked))
        return RSR_OK;
    if (asked->token == UINT32_MAX)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "logprobs %zu: nothing is picked after entry %zu", i,
                        asked->entry);
    return rsr_fail(err, RSR_ERR_ARGUMENT, "logprobs %zu: token %u is outside the vocabulary of %u",
                    i, asked->token, vocab);
}

static rsr_status check_logprobs(const rsr_engine *engine, const rsr_batch *batch, rsr_error *err) {
    if (batch->n_logprobs == 0)
        return RSR_OK;
    if (batch->logprobs == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the batch has %zu logprobs at NULL",
                        batch->n_logprobs);
    rsr_status status = check_has_logits(engine, batch, "no token has a probability", err);
    for (size_t i = 0, pick = 0; i < batch->n_logprobs && status == RSR_OK; i++) {
        while (pick < batch->n_picks && batch->picks[pick].entry < batch->logprobs[i].entry)
            pick++;
        const bool is_picked =
            pick < batch->n_picks && batch->picks[pick].entry == batch->logprobs[i].entry;
        status = check_logprob(engine, batch, i, is_picked, err);
    }
    return status;
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
    if (status == RSR_OK)
        status = check_logprobs(engine, batch, err);
    if (status != RSR_OK)
        return status;
    const size_t size = output_size(engine, batch);
    if (n_wanted > 0 && (batch->logits == NULL || batch->logits_capacity / size < n_wanted))
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "%zu rows of %zu floats are wanted; there is room for %zu floats", n_wanted,
                        size, batch->logits == NULL ? 0 : batch->logits_capacity);
    return RSR_OK;
}

/* ---- Chunks ---- */

const struct rsr_step_table *rsr_find_step(const struct rsr_step_table *steps, uint32_t n_tokens) {
    const struct rsr_step_table *step = steps;
    while (n_tokens > step->max_tokens) /* the loader checked that the steps cover all sizes */
        step++;
    return step;
}

/* The tokens of every sequence in a chunk, and the states that they start from and end in. */
static void find_state_runs(rsr_engine *engine) {
    struct rsr_chunk *chunk = &engine->chunk;
    chunk->n_state_runs = 0;
    if (engine->info.n_states == 0)
        return;
    for (uint32_t t = 0; t < chunk->n_tokens; t++)
        chunk->entries[t].sequence->last_token = UINT32_MAX;
    for (uint32_t t = 0; t < chunk->n_tokens; t++) {
        struct rsr_sequence *sequence = chunk->entries[t].sequence;
        if (sequence->last_token != UINT32_MAX) {
            chunk->next_tokens[sequence->last_token] = t;
        } else {
            const bool begun = sequence->next.n_tokens > sequence->state.n_tokens;
            chunk->state_runs[chunk->n_state_runs++] =
                (struct rsr_state_run){.first_token = t,
                                       .from = begun ? sequence->next.state : sequence->state.state,
                                       .to = sequence->next.state};
        }
        sequence->last_token = t;
        chunk->next_tokens[t] = UINT32_MAX;
    }
}

/* The chunk has run: its tokens are in the states. */
static void count_states(const rsr_engine *engine) {
    const struct rsr_chunk *chunk = &engine->chunk;
    for (uint32_t t = 0; t < chunk->n_tokens; t++)
        chunk->entries[t].sequence->next.n_tokens = chunk->positions[t] + 1;
}

static void set_chunk(rsr_engine *engine, const rsr_batch_entry *entries, uint32_t n_tokens,
                      float *outputs) {
    struct rsr_chunk *chunk = &engine->chunk;
    chunk->step = rsr_find_step(engine->steps, n_tokens);
    chunk->entries = entries;
    chunk->n_tokens = n_tokens;
    chunk->outputs = outputs;
    chunk->n_wanted = 0;
    for (uint32_t t = 0; t < n_tokens; t++) {
        chunk->failed_ops[t] = UINT32_MAX;
        chunk->positions[t] = entries[t].position;
        /* Written past the sequence's length, which changes when the batch has succeeded. */
        entries[t].sequence->tokens[entries[t].position] = entries[t].token;
        if (entries[t].want_logits)
            chunk->wanted[chunk->n_wanted++] = t;
    }
    rsr_runs_find(chunk);
    find_state_runs(engine);
}

/* Measures the time for a token. Small chunks are left out: reading weights dominates their
 * time. */
static void keep_pace(rsr_engine *engine, uint64_t begin_ns) {
    if (engine->max_stall_ns != 0 && engine->chunk.n_tokens >= RSR_RUN_TOKENS)
        engine->token_ns = (rsr_now_ns() - begin_ns) / engine->chunk.n_tokens + 1;
}

/* Returns failures of the backend; chunk.failed_ops tells which numbers are not finite. */
static rsr_status run_chunk(rsr_engine *engine, rsr_error *err) {
    pthread_mutex_lock(&engine->lock);
    engine->profile.enabled = engine->profile.wanted;
    pthread_mutex_unlock(&engine->lock);
    const uint64_t begin_ns = rsr_now_ns();
    const rsr_status status = engine->backend->run_chunk(engine, err);
    keep_pace(engine, begin_ns);
    pthread_mutex_lock(&engine->lock);
    engine->backend->profile(engine);
    if (status == RSR_OK) {
        rsr_picks_count(engine);
        count_states(engine);
    }
    pthread_mutex_unlock(&engine->lock);
    return status;
}

/* The number of tokens, in whole runs, that take at most max_stall_ns. */
static uint32_t most_tokens(const rsr_engine *engine) {
    const uint32_t most = engine->info.max_batch;
    if (engine->max_stall_ns == 0)
        return most;
    const uint64_t n = engine->token_ns == 0 ? 0 : engine->max_stall_ns / engine->token_ns;
    const uint64_t in_runs =
        n < RSR_RUN_TOKENS ? RSR_RUN_TOKENS : n / RSR_RUN_TOKENS * RSR_RUN_TOKENS;
    return in_runs < most ? (uint32_t)in_runs : most;
}

/* How many of the next entries may form a chunk. Failed entries are in no chunk. */
static uint32_t entries_left(const struct evaluation *e) {
    const size_t left = e->batch->n_entries - e->done;
    const uint32_t most = most_tokens(e->engine);
    uint32_t n = left < most ? (uint32_t)left : most;
    for (uint32_t i = 0; i < n && fails_alone(e); i++)
        if (has_failed(e, e->done + i))
            n = i;
    return n;
}

/* The size of the next chunk, and the picks and log-probabilities of its entries. The chunk is
 * shorter if more is asked for than a chunk can answer. */
static uint32_t chunk_size(const struct evaluation *e, struct rsr_asked *asked) {
    const rsr_batch *batch = e->batch;
    const uint32_t n = entries_left(e);
    *asked = (struct rsr_asked){.picks = batch->picks, .logprobs = batch->logprobs};
    if (batch->n_picks > 0) {
        asked->picks += e->picked;
        asked->picked = batch->picked + e->picked;
    }
    if (batch->n_logprobs > 0)
        asked->logprobs += e->logprobs;
    for (uint32_t i = 0, n_asked = 0; i < n; i++) {
        const bool picks = e->picked + asked->n_picks < batch->n_picks &&
                           asked->picks[asked->n_picks].entry == e->done + i;
        const bool logprobs = e->logprobs + asked->n_logprobs < batch->n_logprobs &&
                              asked->logprobs[asked->n_logprobs].entry == e->done + i;
        if (((picks || logprobs) && n_asked == RSR_MAX_PICKS) ||
            (logprobs && asked->n_logprobs == RSR_MAX_LOGPROBS))
            return i;
        n_asked += picks || logprobs;
        asked->n_picks += picks;
        asked->n_logprobs += logprobs;
    }
    return n;
}

/* Skips an entry that has failed. */
static void pass_entry(struct evaluation *e) {
    const rsr_batch *batch = e->batch;
    if (batch->entries[e->done].want_logits)
        e->outputs += output_size(e->engine, batch);
    if (e->picked < batch->n_picks && batch->picks[e->picked].entry == e->done)
        batch->picked[e->picked++] = UINT32_MAX;
    if (e->logprobs < batch->n_logprobs && batch->logprobs[e->logprobs].entry == e->done)
        e->logprobs++;
    e->done++;
}

static void fail_not_finite(struct evaluation *e, uint32_t token) {
    const struct rsr_step_op *op = &e->engine->chunk.step->ops[e->engine->chunk.failed_ops[token]];
    char why[80] = "the activations before the head hold NaN or infinity";
    if (op->block != RSR_NO_BLOCK)
        snprintf(why, sizeof(why), "the activations of block %u hold NaN or infinity", op->block);
    fail_entry(e, e->done + token, RSR_ERR_NUMERIC, why);
}

/* Takes the chunk's outputs, picks and failures. */
static void take_results(struct evaluation *e) {
    const struct rsr_chunk *chunk = &e->engine->chunk;
    for (uint32_t t = 0; t < chunk->n_tokens; t++)
        if (chunk->failed_ops[t] != UINT32_MAX)
            fail_not_finite(e, t);
    for (uint32_t i = 0; i < e->engine->picks.n; i++) {
        const struct rsr_head_pick *pick = &e->engine->picks.picks[i];
        const size_t entry = e->done + pick->token;
        rsr_error why = RSR_ERROR_INIT;
        rsr_status status = RSR_OK;
        if (!has_failed(e, entry))
            status = rsr_pick_finish(e->engine, i, &why);
        if (status != RSR_OK)
            fail_entry(e, entry, status, why.message);
        if (has_failed(e, entry) && pick->picked != NULL)
            *pick->picked = UINT32_MAX;
    }
}

static rsr_status run_next_chunk(struct evaluation *e) {
    rsr_engine *engine = e->engine;
    struct rsr_asked asked;
    const uint32_t n_tokens = chunk_size(e, &asked);
    set_chunk(engine, e->batch->entries + e->done, n_tokens, e->outputs);
    engine->chunk.cancel = e->batch->cancel;
    engine->chunk.wants_states = e->batch->want_states;
    rsr_status status = rsr_picks_begin(engine, &asked, e->done, e->err);
    if (status == RSR_OK)
        status = run_chunk(engine, e->err);
    if (status != RSR_OK)
        return status;
    take_results(e);
    e->done += n_tokens;
    e->picked += asked.n_picks;
    e->logprobs += asked.n_logprobs;
    if (engine->chunk.n_wanted > 0)
        e->outputs += (size_t)engine->chunk.n_wanted * output_size(engine, e->batch);
    return RSR_OK;
}

/* Lets other callers have their turn, and calls the caller's progress function. */
static rsr_status pause_batch(struct evaluation *e) {
    const rsr_batch *batch = e->batch;
    struct rsr_turns *turns = &e->engine->turns;
    if (batch->progress == NULL) {
        rsr_turns_pass(turns);
        return RSR_OK;
    }
    rsr_turns_give(turns);
    const bool go_on = batch->progress(batch->progress_user, e->done, batch->n_entries);
    rsr_turns_take(turns);
    return go_on ? RSR_OK
                 : rsr_fail(e->err, RSR_ERR_STOPPED,
                            "the progress callback ended the batch after %zu of %zu entries",
                            e->done, batch->n_entries);
}

/* Evaluates tokens of a truncated sequence again, from those of its state on. */
static rsr_status replay(const struct evaluation *e, struct rsr_sequence *sequence) {
    rsr_engine *engine = e->engine;
    rsr_status status = RSR_OK;
    for (uint32_t at = sequence->state.n_tokens; status == RSR_OK && at < sequence->length;) {
        const uint32_t left = sequence->length - at, most = most_tokens(engine);
        const uint32_t n = left < most ? left : most;
        for (uint32_t i = 0; i < n; i++)
            engine->replay[i] = (rsr_batch_entry){
                .sequence = sequence, .position = at + i, .token = sequence->tokens[at + i]};
        set_chunk(engine, engine->replay, n, NULL);
        engine->chunk.cancel = e->batch->cancel;
        engine->chunk.wants_states = false;
        status = rsr_picks_begin(engine, &(struct rsr_asked){0}, 0, e->err);
        if (status == RSR_OK)
            status = run_chunk(engine, e->err);
        at += n;
        rsr_turns_pass(&engine->turns);
    }
    return status;
}

/* Brings the states of truncated sequences up to their lengths. */
static rsr_status replay_all(const struct evaluation *e) {
    rsr_status status = RSR_OK;
    for (size_t i = 0; status == RSR_OK && i < e->batch->n_entries; i++) {
        struct rsr_sequence *sequence = e->batch->entries[i].sequence;
        if (sequence->next.state != RSR_NO_PAGE && sequence->next.n_tokens == 0 &&
            sequence->failed == RSR_OK)
            status = replay(e, sequence);
    }
    return status;
}

/* A status that belongs to no entry fails them all. */
static rsr_status run_batch(struct evaluation *e) {
    rsr_status status = replay_all(e);
    while (status == RSR_OK && e->done < e->batch->n_entries &&
           (e->status == RSR_OK || fails_alone(e))) {
        if (has_failed(e, e->done)) {
            pass_entry(e);
            continue;
        }
        if (e->done > 0)
            status = pause_batch(e);
        if (status == RSR_OK && rsr_is_cancelled(e->batch->cancel))
            status = rsr_fail(e->err, RSR_ERR_STOPPED, "the batch was cancelled");
        if (status == RSR_OK)
            status = run_next_chunk(e);
    }
    return status;
}

/* Ends the batch: extends the sequences that succeeded and restores the others. A `status` other
 * than RSR_OK fails all of them. */
static void end_batch(const struct evaluation *e, rsr_status status) {
    const rsr_batch *batch = e->batch;
    if (!fails_alone(e) && status == RSR_OK)
        status = e->status;
    for (size_t i = 0; i < batch->n_entries; i++) {
        struct rsr_sequence *sequence = batch->entries[i].sequence;
        const rsr_status of_entry = status != RSR_OK ? status : sequence->failed;
        if (of_entry == RSR_OK)
            sequence->length++;
        else
            rsr_sequence_release_from(sequence, sequence->length);
        if (batch->statuses != NULL)
            batch->statuses[i] = of_entry;
    }
    for (size_t i = 0; i < batch->n_entries; i++) {
        struct rsr_sequence *sequence = batch->entries[i].sequence;
        if (sequence->pending != 0)
            rsr_sequence_end_state(sequence, status == RSR_OK && sequence->failed == RSR_OK);
        sequence->pending = 0;
    }
}

static rsr_status eval_in_turn(struct evaluation *e) {
    rsr_engine *engine = e->engine;
    pthread_mutex_lock(&engine->lock);
    rsr_status status = check_batch(engine, e->batch, e->err);
    if (status == RSR_OK)
        admit_entries(e);
    pthread_mutex_unlock(&engine->lock);
    if (status != RSR_OK)
        return status;
    status = run_batch(e);
    pthread_mutex_lock(&engine->lock);
    end_batch(e, status);
    pthread_mutex_unlock(&engine->lock);
    return status != RSR_OK ? status : e->status;
}

/* ---- Entries, picks and log-probabilities of callers with longer ones ---- */

/* Converts *elements from given_bytes each (0: known_bytes) to known_bytes each. If the sizes
 * differ, *elements becomes a copy that the caller frees. */
static rsr_status shorten(const void **elements, size_t n, size_t given_bytes, size_t known_bytes,
                          void **copies, rsr_error *err) {
    if (given_bytes == 0 || given_bytes == known_bytes || n == 0 || *elements == NULL)
        return RSR_OK;
    if (given_bytes < known_bytes)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "the batch has elements of %zu bytes; they have at least %zu", given_bytes,
                        known_bytes);
    char *known = *copies = calloc(n, known_bytes);
    if (known == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a batch of %zu", n);
    for (size_t i = 0; i < n; i++) {
        const char *element = (const char *)*elements + i * given_bytes;
        memcpy(known + i * known_bytes, element, known_bytes);
        for (size_t at = known_bytes; at < given_bytes; at++)
            if (element[at] != 0)
                return rsr_fail(err, RSR_ERR_ARGUMENT,
                                "byte %zu of element %zu of the batch is set, which this model's "
                                "runtime does not know; compile the model again",
                                at, i);
    }
    *elements = known;
    return RSR_OK;
}

static rsr_status shorten_elements(rsr_batch *batch, void *copies[3], rsr_error *err) {
    const void *entries = batch->entries, *picks = batch->picks, *logprobs = batch->logprobs;
    rsr_status status = shorten(&entries, batch->n_entries, batch->entry_bytes,
                                sizeof(rsr_batch_entry), &copies[0], err);
    if (status == RSR_OK)
        status =
            shorten(&picks, batch->n_picks, batch->pick_bytes, sizeof(rsr_pick), &copies[1], err);
    if (status == RSR_OK)
        status = shorten(&logprobs, batch->n_logprobs, batch->logprobs_bytes, sizeof(rsr_logprobs),
                         &copies[2], err);
    batch->entries = entries;
    batch->picks = picks;
    batch->logprobs = logprobs;
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
    void *copies[3] = {NULL, NULL, NULL};
    status = shorten_elements(&known, copies, err);
    if (status == RSR_OK) {
        struct evaluation e = {
            .engine = engine, .batch = &known, .err = err, .outputs = known.logits};
        rsr_turns_take(&engine->turns);
        status = eval_in_turn(&e);
        rsr_turns_give(&engine->turns);
    }
    for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++)
        free(copies[i]);
    return status;
}
