/* drafts.h - guesses what a text goes on with: what stood after its last tokens before.
 *
 * Tokens are given one by one. For the last ones of each place a hash table has the newest place
 * where they ended. Where they come again, the text is taken to go on as it did there, until a
 * token says otherwise. A token takes the same time whatever the length of the text.
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
    uint32_t source; /* the place in the text that comes next, if it goes on as there; 0: none */
    uint32_t match;  /* tokens in front of `source` that the text ends with, known to be so many */
};

#define RSR_DRAFT_GRAMS 2u /* lengths of what is looked up */

/* Room for `most` tokens: 20 to 36 bytes for each. */
RSR_NODISCARD rsr_status rsr_drafts_create(struct rsr_drafts *drafts, uint32_t most,
                                           rsr_error *err);
void rsr_drafts_free(struct rsr_drafts *drafts); /* zeros are fine */

/* The text has another token. */
void rsr_drafts_push(struct rsr_drafts *drafts, uint32_t token);
/* The token i places after the guess's first one; there is a guess. */
uint32_t rsr_drafts_at(const struct rsr_drafts *drafts, uint32_t i);

#endif
