/* span_tokens.h - for the items of a leaf and a vocabulary: which tokens consist of such items, and
 * where other tokens leave them.
 *
 * Inside a string nearly all tokens are allowed, and a walk of the whole trie for each mask would
 * take longer than everything else. So the trie is walked once.
 */
#ifndef RSR_SPAN_TOKENS_H
#define RSR_SPAN_TOKENS_H

#include "byte_grammar.h"
#include "token_trie.h"

#define RSR_SPAN_SETS 9u /* of tokens with at most 1, 2, 4, ... 256 items */

struct rsr_span_exit {
    uint32_t node;    /* its byte does not continue the items, */
    uint32_t n_items; /* of which n_items are whole before it */
};

struct rsr_span_tokens {
    uint32_t first;   /* byte state that items begin with */
    uint32_t *tokens; /* by the items that they take, one that is begun included */
    uint32_t ends[RSR_TRIE_MAX_DEPTH + 1]; /* ends of tokens with this many items; ends[0] is 0 */
    uint32_t *sets[RSR_SPAN_SETS];
    struct rsr_span_exit *exits;
    uint32_t n_exits;
};

/* Adds the spans that save time, at most `capacity`, and sets `span` of the grammar's leaves. */
#define RSR_MAX_SPANS 8u
RSR_NODISCARD rsr_status rsr_spans_create(struct rsr_grammar *g, const struct rsr_token_trie *trie,
                                          uint32_t n_words,
                                          struct rsr_span_tokens spans[RSR_MAX_SPANS],
                                          uint32_t *n_spans, rsr_error *err);
void rsr_span_free(struct rsr_span_tokens *span);

/* Sets the bits of tokens that take at most n_items items. */
void rsr_span_allow(const struct rsr_span_tokens *span, uint32_t n_items, uint32_t *allowed,
                    uint32_t n_words);

#endif
