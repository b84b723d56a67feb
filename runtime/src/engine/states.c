/* states.c - the recurrent states of sequences, and tokens that are evaluated again for one.
 *
 * A finished state never changes: a batch reads one and writes another. So forks share states, and
 * a batch that fails leaves nothing to restore. A sequence keeps the state of all its tokens and
 * the one before its last batch. A truncation to a length in between goes back to an earlier
 * state, or to the beginning; the next batch first evaluates the tokens from there on once more.
 * Every token is one step of the recurrence, so this gives the same bits. No other states are kept
 * for truncations: one takes as much memory as the keys and values of 1,600 (2B) to 2,500 tokens
 * (27B of Bonsai 2), and a fork, which copies nothing, keeps one where its owner knows that it
 * pays. Prefix caches share states as forks do, and give them up when none is free.
 */
#include "engine.h"

static const struct rsr_state_mark no_state = {.state = RSR_NO_PAGE};

uint32_t rsr_engine_take_state(rsr_engine *engine) {
    uint32_t state;
    do
        state = rsr_kv_page_take(&engine->states);
    while (state == RSR_NO_PAGE && rsr_prefix_caches_yield_state(engine));
    return state;
}

void rsr_engine_release_state(rsr_engine *engine, uint32_t state) {
    struct rsr_kv_pool *states = &engine->states;
    if (state != RSR_NO_PAGE)
        rsr_kv_page_release(states, state, false);
    while (states->n_warm > states->n_pages - states->n_free + RSR_WARM_PAGES) {
        const uint32_t warm = rsr_kv_page_take(states);
        engine->backend->drop_state(engine, warm);
        rsr_kv_page_release(states, warm, true);
    }
}

static void release_state(rsr_engine *engine, struct rsr_state_mark *mark) {
    rsr_engine_release_state(engine, mark->state);
    *mark = no_state;
}

bool rsr_sequence_begin_state(struct rsr_sequence *sequence) {
    struct rsr_engine *engine = sequence->engine;
    sequence->next = no_state;
    if (engine->info.n_states == 0)
        return true;
    rsr_sequence_rewind_state(sequence, sequence->length); /* drafts may be in it */
    sequence->next.state = rsr_engine_take_state(engine);
    return sequence->next.state != RSR_NO_PAGE;
}

void rsr_sequence_end_state(struct rsr_sequence *sequence, bool succeeded) {
    if (!succeeded) {
        release_state(sequence->engine, &sequence->next);
        return;
    }
    if (sequence->next.state == RSR_NO_PAGE)
        return;
    release_state(sequence->engine, &sequence->earlier);
    sequence->earlier = sequence->state;
    sequence->state = sequence->next;
    sequence->next = no_state;
}

void rsr_sequence_rewind_state(struct rsr_sequence *sequence, uint32_t n_tokens) {
    while (sequence->state.n_tokens > n_tokens) {
        release_state(sequence->engine, &sequence->state);
        sequence->state = sequence->earlier;
        sequence->earlier = no_state;
    }
    if (n_tokens == 0)
        release_state(sequence->engine, &sequence->state);
}

void rsr_sequence_share_state(struct rsr_sequence *to, const struct rsr_sequence *from) {
    struct rsr_kv_pool *states = &to->engine->states;
    to->state = from->state;
    to->earlier = from->earlier;
    if (to->state.state != RSR_NO_PAGE)
        rsr_kv_page_share(states, to->state.state);
    if (to->earlier.state != RSR_NO_PAGE)
        rsr_kv_page_share(states, to->earlier.state);
}

rsr_status rsr_fail_no_state(const struct rsr_engine *engine, rsr_error *err) {
    return rsr_fail(err, RSR_ERR_FULL, "all %u recurrent states are taken; end a sequence",
                    engine->info.n_states);
}
