/* rank_lead.c - rank 0's messages to the others; rank_message.h has their form. */
#include <string.h>

#include "crew.h"
#include "ranks.h"

static void put_notes(struct rsr_ranks *ranks, struct rsr_rank_message *message) {
    pthread_mutex_lock(&ranks->noting);
    rsr_rank_put(message, (uint32_t)(ranks->notes.n / 3));
    rsr_rank_put_all(message, ranks->notes.words, ranks->notes.n);
    message->failed = message->failed || ranks->notes.failed;
    ranks->notes.n = 0;
    pthread_mutex_unlock(&ranks->noting);
}

/* Consecutive tokens of one sequence have one record of it; its results do not depend on how many
 * records it has. */
static bool begins_record(const struct rsr_chunk *chunk, uint32_t token) {
    return token == 0 || chunk->entries[token].sequence != chunk->entries[token - 1].sequence;
}

/* Puts the record's pages up to that of its last token. */
static void put_sequence(const struct rsr_chunk *chunk, uint32_t token,
                         struct rsr_rank_message *message) {
    const struct rsr_sequence *sequence = chunk->entries[token].sequence;
    uint32_t last = token;
    while (last + 1 < chunk->n_tokens && !begins_record(chunk, last + 1))
        last++;
    const uint32_t n_pages = chunk->positions[last] / RSR_PAGE_TOKENS + 1;
    rsr_rank_put(message, sequence->length);
    rsr_rank_put(message, n_pages);
    rsr_rank_put_all(message, sequence->pages, n_pages);
}

/* A pick of a token that wants logits is found in them. */
static bool is_sent(const struct rsr_crew *crew, const struct rsr_head_pick *pick) {
    return !crew->chunk->entries[pick->token].want_logits;
}

static uint32_t count_picks(const struct rsr_crew *crew) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < crew->engine->picks.n; i++)
        n += is_sent(crew, &crew->engine->picks.picks[i]);
    return n;
}

static void put_float(struct rsr_rank_message *message, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    rsr_rank_put(message, bits);
}

static void put_u64(struct rsr_rank_message *message, uint64_t x) {
    rsr_rank_put(message, (uint32_t)x);
    rsr_rank_put(message, (uint32_t)(x >> 32));
}

static void put_pick(const struct rsr_head_pick *pick, struct rsr_rank_message *message) {
    const rsr_sampling *s = &pick->sampling;
    const float floats[] = {s->temperature,       s->top_p,           s->min_p, s->repeat_penalty,
                            s->frequency_penalty, s->presence_penalty};
    const struct rsr_edits *edits = pick->edits;
    rsr_rank_put(message, pick->token);
    rsr_rank_put(message, pick->mode);
    rsr_rank_put(message, pick->n_history);
    for (size_t i = 0; i < sizeof(floats) / sizeof(floats[0]); i++)
        put_float(message, floats[i]);
    rsr_rank_put(message, s->top_k);
    put_u64(message, s->seed);
    put_u64(message, s->sequence_id);
    rsr_rank_put(message, pick->mode == RSR_PICK_ALL ? 0 : edits->bits);
    rsr_rank_put(message, edits->n_raised);
    for (uint32_t i = 0; pick->mode != RSR_PICK_ALL && i < rsr_edits_places(edits); i++) {
        uint32_t words[RSR_RANK_EDIT_WORDS];
        memcpy(words, &edits->places[i], sizeof(words));
        rsr_rank_put_all(message, words, RSR_RANK_EDIT_WORDS);
    }
}

static void put_chunk(const struct rsr_crew *crew, struct rsr_rank_message *message) {
    const struct rsr_chunk *chunk = crew->chunk;
    uint32_t n_records = 0;
    for (uint32_t t = 0; t < chunk->n_tokens; t++)
        n_records += begins_record(chunk, t);
    rsr_rank_put(message, chunk->wants_states);
    rsr_rank_put(message, chunk->n_tokens);
    rsr_rank_put(message, n_records);
    rsr_rank_put(message, count_picks(crew));
    for (uint32_t t = 0; t < chunk->n_tokens; t++)
        if (begins_record(chunk, t))
            put_sequence(chunk, t, message);
    for (uint32_t t = 0, record = 0; t < chunk->n_tokens; t++) {
        const rsr_batch_entry *entry = &chunk->entries[t];
        record += begins_record(chunk, t);
        const uint32_t words[] = {record - 1, entry->token, chunk->positions[t],
                                  entry->want_logits};
        rsr_rank_put_all(message, words, sizeof(words) / sizeof(words[0]));
    }
    for (uint32_t i = 0; i < crew->engine->picks.n; i++)
        if (is_sent(crew, &crew->engine->picks.picks[i]))
            put_pick(&crew->engine->picks.picks[i], message);
}

rsr_status rsr_rank_send_chunk(struct rsr_crew *crew, rsr_error *err) {
    struct rsr_ranks *ranks = crew->ranks;
    struct rsr_rank_message *message = &ranks->message;
    message->n = 0;
    message->failed = false;
    put_notes(ranks, message);
    put_chunk(crew, message);
    const rsr_status status =
        rsr_rank_send(&ranks->transport, RSR_RANK_CHUNK, message, &ranks->lost);
    if (status == RSR_OK)
        return RSR_OK;
    ranks->lost.status = status;
    return rsr_fail(err, status, "%s", ranks->lost.message);
}

void rsr_rank_send_end(struct rsr_ranks *ranks) {
    struct rsr_rank_message nothing = {.n = 0};
    if (ranks->transport.rank == 0 && ranks->lost.status == RSR_OK)
        ranks->lost.status = rsr_rank_send(&ranks->transport, RSR_RANK_END, &nothing, &ranks->lost);
}

static void note(struct rsr_ranks *ranks, uint32_t to, uint32_t from, uint32_t n_tokens) {
    const uint32_t words[] = {to, from, n_tokens};
    pthread_mutex_lock(&ranks->noting);
    rsr_rank_put_all(&ranks->notes, words, sizeof(words) / sizeof(words[0]));
    pthread_mutex_unlock(&ranks->noting);
}

void rsr_rank_note_copy(struct rsr_ranks *ranks, uint32_t to, uint32_t from, uint32_t n_tokens) {
    note(ranks, to, from, n_tokens);
}

void rsr_rank_note_drop(struct rsr_ranks *ranks, uint32_t page) {
    note(ranks, page, page, 0);
}
