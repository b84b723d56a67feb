/* span_tokens.c - walks a vocabulary once with the items of a leaf. */
#include "span_tokens.h"

#include <stdlib.h>
#include <string.h>

/* A walk of fewer nodes takes some 50 us, and needs no help. */
#define MIN_NODES 8192u

struct place {
    uint32_t state, n_items;
};

/* Each token with the items that it takes. */
struct found {
    uint32_t *items; /* by position in trie->tokens; 0: it does not consist of items */
    uint32_t n_visited;
    struct rsr_span_exit *exits;
    uint32_t n_exits;
};

/* Visits the nodes that items lead to. Exits are counted, and kept if there is room for them. */
static void walk(const struct rsr_grammar *g, const struct rsr_token_trie *trie, uint32_t first,
                 struct found *found) {
    struct place path[RSR_TRIE_MAX_DEPTH + 1] = {{first, 0}};
    for (uint32_t i = 1; i < trie->n_nodes;) {
        const struct rsr_trie_node *node = &trie->nodes[i];
        const struct place from = path[node->depth - 1];
        const uint32_t target = rsr_grammar_target(g, from.state, node->byte);
        if (target == 0) {
            if (from.state == first) {
                if (found->exits)
                    found->exits[found->n_exits] = (struct rsr_span_exit){i, from.n_items};
                found->n_exits++;
            }
            i = node->end;
            continue;
        }
        const bool whole = g->states[target].accepts;
        path[node->depth] = (struct place){whole ? first : target, from.n_items + whole};
        uint32_t token;
        for (const uint32_t end = rsr_trie_tokens(trie, i, &token); token < end; token++)
            if (found->items)
                found->items[token] = from.n_items + 1;
        found->n_visited++;
        i++;
    }
}

static bool fill(const struct rsr_token_trie *trie, const struct found *found, uint32_t n_words,
                 struct rsr_span_tokens *span) {
    uint32_t at[RSR_TRIE_MAX_DEPTH + 1] = {0};
    for (uint32_t i = 0; i < trie->n_tokens; i++)
        if (found->items[i] > 0)
            span->ends[found->items[i]]++;
    for (uint32_t k = 1; k <= RSR_TRIE_MAX_DEPTH; k++) {
        at[k] = span->ends[k - 1];
        span->ends[k] += span->ends[k - 1];
    }
    span->tokens = calloc((size_t)span->ends[RSR_TRIE_MAX_DEPTH] + 1, sizeof(*span->tokens));
    if (!span->tokens)
        return false;
    for (uint32_t i = 0; i < trie->n_tokens; i++)
        if (found->items[i] > 0)
            span->tokens[at[found->items[i]]++] = trie->tokens[i];
    for (uint32_t k = 0; k < RSR_SPAN_SETS; k++) {
        span->sets[k] = calloc(n_words, sizeof(**span->sets));
        if (!span->sets[k])
            return false;
        for (uint32_t i = 0; i < span->ends[1u << k]; i++)
            rsr_bits_set(span->sets[k], span->tokens[i]);
    }
    return true;
}

/* The tokens of items that begin with `first`; *pays is false if a walk is short. */
static bool create(const struct rsr_grammar *g, const struct rsr_token_trie *trie, uint32_t first,
                   uint32_t n_words, struct rsr_span_tokens *span, bool *pays) {
    struct found found = {0};
    bool ok = true;
    walk(g, trie, first, &found);
    *pays = found.n_visited >= MIN_NODES;
    if (*pays) {
        *span = (struct rsr_span_tokens){.first = first};
        span->exits = found.exits = calloc((size_t)found.n_exits + 1, sizeof(*found.exits));
        found.items = calloc((size_t)trie->n_tokens + 1, sizeof(*found.items));
        ok = found.exits && found.items;
        found.n_exits = 0;
        if (ok)
            walk(g, trie, first, &found);
        span->n_exits = found.n_exits;
        ok = ok && fill(trie, &found, n_words, span);
        free(found.items);
    }
    return ok;
}

rsr_status rsr_spans_create(struct rsr_grammar *g, const struct rsr_token_trie *trie,
                            uint32_t n_words, struct rsr_span_tokens spans[RSR_MAX_SPANS],
                            uint32_t *n_spans, rsr_error *err) {
    uint32_t tried[2 * RSR_MAX_SPANS], n_tried = 0, span_of[2 * RSR_MAX_SPANS];
    *n_spans = 0;
    for (uint32_t i = 1; i <= g->n_nodes; i++) {
        struct rsr_grammar_node *node = &g->nodes[i];
        uint32_t k = 0;
        if (node->kind != RSR_GRAMMAR_LEAF || node->max == 1)
            continue;
        while (k < n_tried && tried[k] != node->first)
            k++;
        if (k == n_tried && n_tried < 2 * RSR_MAX_SPANS && *n_spans < RSR_MAX_SPANS) {
            bool pays;
            tried[n_tried++] = node->first;
            if (!create(g, trie, node->first, n_words, &spans[*n_spans], &pays)) {
                rsr_span_free(&spans[*n_spans]);
                return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a constraint");
            }
            span_of[k] = pays ? ++*n_spans : 0;
        }
        node->span = k < n_tried ? span_of[k] : 0;
    }
    return RSR_OK;
}

void rsr_span_free(struct rsr_span_tokens *span) {
    free(span->tokens);
    free(span->exits);
    for (uint32_t k = 0; k < RSR_SPAN_SETS; k++)
        free(span->sets[k]);
    *span = (struct rsr_span_tokens){0};
}

void rsr_span_allow(const struct rsr_span_tokens *span, uint32_t n_items, uint32_t *allowed,
                    uint32_t n_words) {
    uint32_t k = RSR_SPAN_SETS - 1;
    if (n_items > RSR_TRIE_MAX_DEPTH)
        n_items = RSR_TRIE_MAX_DEPTH;
    if (n_items == 0)
        return;
    while (1u << k > n_items)
        k--;
    for (uint32_t i = 0; i < n_words; i++)
        allowed[i] |= span->sets[k][i];
    for (uint32_t i = span->ends[1u << k]; i < span->ends[n_items]; i++)
        rsr_bits_set(allowed, span->tokens[i]);
}
