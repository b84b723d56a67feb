/* allow.c - finds the tokens that may follow, by walking the vocabulary's trie from each spot of a
 * text.
 *
 * A token is allowed if it is allowed at one of the spots, so each spot is walked alone. While
 * bytes stay in the spot's leaf, a step is a look-up in the leaf's automaton. A byte that leaves
 * the leaf begins a walk of the trie's part below this byte, from each spot after the leaf. A walk
 * that was made before is not repeated.
 *
 * At the start of a string's character, or of a similar item, the tokens that stay inside the leaf
 * are known beforehand, and so are the few places where others leave it (span_tokens.h).
 */
#include <stdlib.h>
#include <string.h>

#include "constrained.h"

/* A walk of fewer nodes takes some 100 us, so its mask is not kept. */
#define MIN_KEPT_VISITED 8192u
/* Some 100 ms. A vocabulary of 128,256 tokens has a quarter of a million nodes. */
#define MAX_VISITED (UINT64_C(1) << 24)

/* The spots after a leaf: text->exits from `begin` to `end`, and the bytes that they begin with. */
struct behind {
    bool is_known;
    uint32_t begin, end;
    uint32_t bytes[8];
};

static void allow_tokens(struct rsr_constrained *text, uint32_t node) {
    const struct rsr_token_trie *trie = &text->constraint->vocabulary->trie;
    uint32_t i;
    for (const uint32_t end = rsr_trie_tokens(trie, node, &i); i < end; i++)
        rsr_bits_set(text->allowed, trie->tokens[i]);
}

static bool has_bit(const uint32_t *words, uint32_t bit) {
    return (words[bit / 32] >> bit % 32 & 1) != 0;
}

static void find_behind(struct rsr_constrained *text, const struct rsr_spot *spot,
                        struct behind *behind) {
    const struct rsr_grammar *g = &text->constraint->grammar;
    if (behind->is_known)
        return;
    *behind = (struct behind){.is_known = true, .begin = text->exits.n};
    rsr_constrained_open(text, g->nodes[spot->leaf].next, spot->level, &text->exits);
    behind->end = text->exits.n;
    for (uint32_t i = behind->begin; i < behind->end; i++)
        for (uint32_t e = g->states[text->exits.data[i].state].edges; e != 0; e = g->edges[e].next)
            for (uint32_t byte = g->edges[e].low; byte <= g->edges[e].high; byte++)
                rsr_bits_set(behind->bytes, byte);
}

static void walk(struct rsr_constrained *text, struct rsr_spot spot, uint32_t i, uint32_t end);

/* Leaves the leaf with the byte of trie node i. */
static void leave(struct rsr_constrained *text, const struct behind *behind, uint32_t i) {
    const struct rsr_grammar *g = &text->constraint->grammar;
    const struct rsr_trie_node *node = &text->constraint->vocabulary->trie.nodes[i];
    text->n_visited += behind->end - behind->begin;
    for (uint32_t k = behind->begin; k < behind->end && text->status == RSR_OK; k++) {
        struct rsr_spot spot = text->exits.data[k];
        if (!rsr_spot_step(g, &spot, node->byte))
            continue;
        const uint32_t part[5] = {i, spot.leaf, spot.state, spot.count, spot.level};
        if (!rsr_seen_add(text, &text->seen_spots, part))
            continue;
        allow_tokens(text, i);
        walk(text, spot, i + 1, node->end);
    }
}

/* Walks the nodes from i to end, from a spot at the node above them. Recurses no deeper than a
 * token has bytes. */
static void walk(struct rsr_constrained *text, struct rsr_spot spot, uint32_t i, uint32_t end) {
    const struct rsr_grammar *g = &text->constraint->grammar;
    const struct rsr_trie_node *nodes = text->constraint->vocabulary->trie.nodes;
    const uint32_t n_exits = text->exits.n;
    struct behind behind = {.bytes = {0}};
    if (i == end)
        return;
    text->path[nodes[i].depth - 1] = (struct rsr_path_step){spot.state, spot.count};
    while (i < end && text->status == RSR_OK) {
        const struct rsr_trie_node node = nodes[i];
        const struct rsr_path_step from = text->path[node.depth - 1];
        spot.state = from.state;
        spot.count = from.count;
        if ((!behind.is_known || has_bit(behind.bytes, node.byte)) &&
            rsr_spot_may_leave(g, &spot)) {
            find_behind(text, &spot, &behind);
            if (has_bit(behind.bytes, node.byte))
                leave(text, &behind, i);
        }
        text->n_visited++;
        if (!rsr_spot_step(g, &spot, node.byte)) {
            i = node.end;
            continue;
        }
        allow_tokens(text, i);
        text->path[node.depth] = (struct rsr_path_step){spot.state, spot.count};
        i++;
    }
    if (text->n_visited > MAX_VISITED && text->status == RSR_OK)
        text->status = RSR_ERR_FULL;
    text->exits.n = n_exits;
}

/* Whether a spot after the leaf and an item may begin with the same byte. */
static bool overlaps(const struct rsr_grammar *g, uint32_t first, const struct behind *behind) {
    for (uint32_t byte = 0; byte < 256; byte++)
        if (has_bit(behind->bytes, byte) && rsr_grammar_target(g, first, (uint8_t)byte) != 0)
            return true;
    return false;
}

/* Walks from the root with the known tokens of the leaf's items. False: they do not help here. */
static bool walk_span(struct rsr_constrained *text, struct rsr_spot spot) {
    const struct rsr_grammar *g = &text->constraint->grammar;
    const struct rsr_grammar_node *leaf = &g->nodes[spot.leaf];
    if (leaf->span == 0 || spot.state != leaf->first)
        return false;
    const struct rsr_span_tokens *span = &text->constraint->spans[leaf->span - 1];
    const uint32_t n_exits = text->exits.n,
                   room = leaf->max == RSR_GRAMMAR_NO_MAX ? UINT32_MAX : leaf->max - spot.count;
    struct behind behind = {0};
    find_behind(text, &spot, &behind);
    const bool helps = !overlaps(g, span->first, &behind);
    if (helps)
        rsr_span_allow(span, room, text->allowed, text->constraint->vocabulary->n_words);
    for (uint32_t k = 0; helps && k < span->n_exits && text->status == RSR_OK; k++) {
        const struct rsr_span_exit *exit = &span->exits[k];
        const uint64_t count = (uint64_t)spot.count + exit->n_items;
        if (count > 0 && count >= leaf->min && exit->n_items <= room &&
            has_bit(behind.bytes, text->constraint->vocabulary->trie.nodes[exit->node].byte))
            leave(text, &behind, exit->node);
    }
    text->exits.n = n_exits;
    return helps;
}

/* ---- Masks ----------------------------------------------------------------------------------- */

/* The mask of these spots, if it is kept. */
static const struct rsr_kept_mask *find_kept(const struct rsr_constrained *text) {
    const uint32_t n = text->spots.n;
    for (uint32_t i = 0; i < RSR_KEPT_MASKS; i++)
        if (n > 0 && text->kept[i].n_spots == n &&
            memcmp(text->kept[i].spots, text->spots.data, n * sizeof(*text->spots.data)) == 0)
            return &text->kept[i];
    return NULL;
}

/* Keeps the mask; without memory it is not kept, which is no failure. */
static void keep(struct rsr_constrained *text) {
    const size_t n_bytes = text->constraint->vocabulary->n_words * sizeof(*text->allowed);
    struct rsr_kept_mask *kept = &text->kept[text->next_kept++ % RSR_KEPT_MASKS];
    kept->n_spots = 0;
    if (!kept->words)
        kept->words = malloc(n_bytes);
    if (!kept->words)
        return;
    memcpy(kept->words, text->allowed, n_bytes);
    memcpy(kept->spots, text->spots.data, text->spots.n * sizeof(*kept->spots));
    kept->n_spots = text->spots.n;
}

static bool is_any_set(const uint32_t *words, size_t n) {
    uint32_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= words[i];
    return any != 0;
}

static void walk_from_root(struct rsr_constrained *text, struct rsr_spot spot) {
    if (!walk_span(text, spot))
        walk(text, spot, 1, text->constraint->vocabulary->trie.n_nodes);
}

/* A leaf that is complete, like the quote in front of a string, is left at once: the leaves after
 * it may have spans. */
static void walk_spot(struct rsr_constrained *text, struct rsr_spot spot) {
    const struct rsr_grammar_node *leaf = &text->constraint->grammar.nodes[spot.leaf];
    const uint32_t n_exits = text->exits.n;
    if (spot.count < leaf->max) {
        walk_from_root(text, spot);
        return;
    }
    rsr_constrained_open(text, leaf->next, spot.level, &text->exits);
    for (uint32_t i = n_exits, end = text->exits.n; i < end && text->status == RSR_OK; i++)
        walk_from_root(text, text->exits.data[i]);
    text->exits.n = n_exits;
}

static void walk_all(struct rsr_constrained *text) {
    const uint32_t n_levels = text->levels.n;
    const struct rsr_kept_mask *kept = find_kept(text);
    text->status = RSR_OK;
    if (kept) {
        memcpy(text->allowed, kept->words,
               text->constraint->vocabulary->n_words * sizeof(*text->allowed));
        return;
    }
    text->n_visited = 0;
    text->exits.n = 0;
    rsr_seen_begin(&text->seen_spots);
    for (uint32_t i = 0; i < text->spots.n && text->status == RSR_OK; i++)
        walk_spot(text, text->spots.data[i]);
    rsr_levels_cut(&text->levels, n_levels);
    if (text->status == RSR_OK && text->n_visited >= MIN_KEPT_VISITED &&
        text->spots.n <= RSR_KEPT_SPOTS)
        keep(text);
}

rsr_status rsr_constrained_allow(rsr_constrained *text, uint32_t *allowed, size_t n_words,
                                 rsr_error *err) {
    if (!text || !allowed || n_words < text->constraint->vocabulary->n_words)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "rsr_constrained_allow: a parameter is NULL, or too few words");
    const struct rsr_vocabulary *v = text->constraint->vocabulary;
    memset(allowed, 0, n_words * sizeof(*allowed));
    text->allowed = allowed;
    walk_all(text);
    if (text->status != RSR_OK) {
        memset(allowed, 0, n_words * sizeof(*allowed));
        return rsr_constrained_explain(text->status, err);
    }
    for (uint32_t i = 0; i < v->n_stop_tokens && text->is_complete; i++)
        rsr_bits_set(allowed, v->stop_tokens[i]);
    if (!is_any_set(allowed, n_words))
        return rsr_fail(err, RSR_ERR_TEXT,
                        text->is_complete ? "the text is complete, and the model has no stop token"
                                          : "no token of the model has the bytes that must follow");
    return RSR_OK;
}
