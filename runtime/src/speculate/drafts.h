/* drafts.h - guesses how a text continues: as it did after an earlier place with its last tokens.
 *
 * Tokens are given one by one. A hash table maps the last tokens of each place to the newest place
 * where these tokens ended. If they occur again, the guess is that the text continues as it did
 * there, until a token differs. The time for a token does not depend on the length of the text.
 */
#ifndef RSR_DRAFTS_H
#define RSR_DRAFTS_H

#include "runtime.h"

struct rsr_drafts {
    uint32_t *tokens; /* [most] the text */
    uint32_t n, most;
    uint32_t *places; /* tables of RSR_DRAFT_GRAMS, 1 << bits each: how many tokens stood up to an
                         end; 0: none are known */
    uint32_t bits;
    uint32_t source; /* the guessed next token's place in the text; 0: no guess */
    uint32_t match;  /* known number of tokens before `source` that the text ends with */
};

#define RSR_DRAFT_GRAMS 2u /* number of lengths that are looked up */

/* Room for `most` tokens: 20 to 36 bytes for each. */
RSR_NODISCARD rsr_status rsr_drafts_create(struct rsr_drafts *drafts, uint32_t most,
                                           rsr_error *err);
void rsr_drafts_free(struct rsr_drafts *drafts); /* zeros are fine */

/* Appends a token to the text. */
void rsr_drafts_push(struct rsr_drafts *drafts, uint32_t token);
/* The token i places after the guess's first one. There must be a guess. */
uint32_t rsr_drafts_at(const struct rsr_drafts *drafts, uint32_t i);

#endif
