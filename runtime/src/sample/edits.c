/* edits.c - counts tokens of the history and looks up biases, in time that grows with their number
 * and not with the vocabulary. */
#include <stdlib.h>

#include "edits.h"

static uint32_t place_of(const struct rsr_edits *edits, uint32_t token) {
    const uint32_t mask = rsr_edits_places(edits) - 1;
    uint32_t place = token * UINT32_C(0x9e3779b9) >> (32 - edits->bits);
    while (edits->places[place].token != token && edits->places[place].token != RSR_NO_EDIT)
        place = (place + 1) & mask; /* ends, because half of the places are empty */
    return place;
}

const struct rsr_edit *rsr_edit_of(const struct rsr_edits *edits, uint32_t token) {
    if (edits->bits == 0)
        return NULL;
    const struct rsr_edit *edit = &edits->places[place_of(edits, token)];
    return edit->token == token ? edit : NULL;
}

static struct rsr_edit *edit_for(struct rsr_edits *edits, uint32_t token) {
    struct rsr_edit *edit = &edits->places[place_of(edits, token)];
    edit->token = token;
    return edit;
}

/* Makes empty places, at least 2 n. */
static rsr_status reserve_places(struct rsr_edits *edits, size_t n, rsr_error *err) {
    for (edits->bits = 1; (size_t)1 << edits->bits < 2 * n;)
        edits->bits++;
    const uint32_t n_places = rsr_edits_places(edits);
    if (n_places > edits->capacity) {
        free(edits->places);
        edits->places = malloc(n_places * sizeof(*edits->places));
        edits->capacity = edits->places != NULL ? n_places : 0;
        if (edits->places == NULL)
            return rsr_fail(err, RSR_ERR_MEMORY, "no memory for penalties and biases of %zu tokens",
                            n);
    }
    for (uint32_t i = 0; i < n_places; i++)
        edits->places[i] = (struct rsr_edit){.token = RSR_NO_EDIT};
    return RSR_OK;
}

static rsr_status check_tokens(uint32_t vocab, const uint32_t *tokens, size_t n, rsr_error *err) {
    for (size_t i = 0; i < n; i++)
        if (tokens[i] >= vocab)
            return rsr_fail(err, RSR_ERR_ARGUMENT, "token %u is outside the vocabulary of %u",
                            tokens[i], vocab);
    return RSR_OK;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* The last n tokens of the history. */
static const uint32_t *last_of(const uint32_t *history, size_t n_history, size_t n) {
    return n > 0 ? history + (n_history - n) : NULL;
}

rsr_status rsr_edits_set(struct rsr_edits *edits, uint32_t vocab, const rsr_sampling *s,
                         const uint32_t *history, size_t n_history, rsr_error *err) {
    const bool repeats = s->repeat_penalty != 1,
               counts = s->presence_penalty != 0 || s->frequency_penalty != 0;
    const size_t n_window = repeats ? least(n_history, s->repeat_window) : 0;
    const size_t n_generated =
        counts && n_history > s->generated_from ? n_history - s->generated_from : 0;
    const size_t n = least(vocab, n_window) + least(vocab, n_generated) + s->n_logit_bias;
    edits->sampling = s;
    edits->bits = edits->n_raised = 0;
    if (n == 0)
        return RSR_OK;
    const uint32_t *window = last_of(history, n_history, n_window);
    const uint32_t *generated = last_of(history, n_history, n_generated);
    rsr_status status = check_tokens(vocab, window, n_window, err);
    if (status == RSR_OK)
        status = check_tokens(vocab, generated, n_generated, err);
    if (status == RSR_OK)
        status = reserve_places(edits, least(n, vocab), err);
    if (status != RSR_OK)
        return status;
    for (size_t i = 0; i < s->n_logit_bias; i++)
        edit_for(edits, s->logit_bias[i].token)->bias = s->logit_bias[i].bias;
    for (size_t i = 0; i < n_window; i++)
        edit_for(edits, window[i])->repeated = true;
    for (size_t i = 0; i < n_generated; i++)
        edit_for(edits, generated[i])->generated++;
    for (uint32_t i = 0; i < rsr_edits_places(edits); i++)
        edits->n_raised +=
            edits->places[i].token != RSR_NO_EDIT && rsr_edit_raises(&edits->places[i], s);
    return RSR_OK;
}

void rsr_edits_free(struct rsr_edits *edits) {
    free(edits->places);
    edits->places = NULL;
    edits->capacity = 0;
    edits->bits = 0;
}
