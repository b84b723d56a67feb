/* drafts.c - see drafts.h. */
#include <stdlib.h>

#include "drafts.h"

/* Numbers of tokens that are looked up, the larger one first. A single token occurs in too many
 * places. */
static const uint32_t gram_tokens[RSR_DRAFT_GRAMS] = {4, 2};

rsr_status rsr_drafts_create(struct rsr_drafts *drafts, uint32_t most, rsr_error *err) {
    *drafts = (struct rsr_drafts){.most = most, .bits = 4};
    while (drafts->bits < 31 && (UINT32_C(1) << drafts->bits) / 2 < most)
        drafts->bits++;
    drafts->tokens = malloc(most * sizeof(*drafts->tokens));
    drafts->places = calloc((size_t)RSR_DRAFT_GRAMS << drafts->bits, sizeof(*drafts->places));
    if (drafts->tokens != NULL && drafts->places != NULL)
        return RSR_OK;
    rsr_drafts_free(drafts);
    return rsr_fail(err, RSR_ERR_MEMORY, "no memory to draft in a text of %u tokens", most);
}

void rsr_drafts_free(struct rsr_drafts *drafts) {
    free(drafts->tokens);
    free(drafts->places);
    *drafts = (struct rsr_drafts){0};
}

/* The table entry for the text's last tokens of this length. The text must have that many. */
static uint32_t *place_of(const struct rsr_drafts *drafts, uint32_t gram) {
    uint64_t hash = 0;
    for (uint32_t i = drafts->n - gram_tokens[gram]; i < drafts->n; i++)
        hash = (hash + drafts->tokens[i] + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return &drafts->places[(size_t)gram << drafts->bits | hash >> (64 - drafts->bits)];
}

/* How many tokens before `end` equal the text's last tokens, up to `most`. */
static uint32_t common_tokens(const struct rsr_drafts *drafts, uint32_t end, uint32_t most) {
    uint32_t n = 0;
    while (n < most && n < end && drafts->tokens[end - 1 - n] == drafts->tokens[drafts->n - 1 - n])
        n++;
    return n;
}

/* Finds the source of guesses. Tokens are compared, because hashes may be equal where tokens are
 * not. */
static void find_source(struct rsr_drafts *drafts) {
    drafts->source = drafts->match = 0;
    for (uint32_t g = 0; g < RSR_DRAFT_GRAMS && drafts->source == 0; g++) {
        const uint32_t end = drafts->n < gram_tokens[g] ? 0 : *place_of(drafts, g);
        if (end == 0 || common_tokens(drafts, end, gram_tokens[g]) < gram_tokens[g])
            continue;
        drafts->source = end;
        drafts->match = gram_tokens[g];
    }
}

void rsr_drafts_push(struct rsr_drafts *drafts, uint32_t token) {
    if (drafts->n == drafts->most)
        return;
    const bool as_guessed = drafts->source != 0 && drafts->tokens[drafts->source] == token;
    drafts->tokens[drafts->n++] = token;
    if (as_guessed) {
        drafts->source++;
        drafts->match++;
    } else {
        find_source(drafts);
    }
    for (uint32_t g = 0; g < RSR_DRAFT_GRAMS; g++)
        if (drafts->n >= gram_tokens[g])
            *place_of(drafts, g) = drafts->n;
}

/* After the text's end, the guess continues with itself. */
uint32_t rsr_drafts_at(const struct rsr_drafts *drafts, uint32_t i) {
    const uint32_t period = drafts->n - drafts->source;
    return drafts->tokens[drafts->source + i % period];
}
