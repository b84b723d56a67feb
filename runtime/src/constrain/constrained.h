/* constrained.h - what the objects of rsr_constraint.h are made of, and the state of a constrained
 * text.
 *
 * A text may be at several spots of the automaton at once. A spot is inside a leaf, below levels:
 * the loops and calls that are open around it. Levels are shared by all spots, each kept once, so
 * that equal spots have equal numbers.
 *
 * A spot at which a leaf may end is not replaced by what comes after the leaf: that is looked up
 * when a byte leaves the leaf. So a text inside a string is at one spot.
 */
#ifndef RSR_CONSTRAINED_H
#define RSR_CONSTRAINED_H

#include "byte_grammar.h"
#include "rsr_constraint.h"
#include "span_tokens.h"
#include "token_trie.h"

struct rsr_vocabulary {
    struct rsr_token_trie trie;
    char *bytes;       /* of tokens that texts may have */
    uint32_t *offsets; /* [n_tokens + 1] */
    uint32_t n_tokens, n_words;
    uint32_t *stop_tokens;
    uint32_t n_stop_tokens;
};

struct rsr_constraint {
    const struct rsr_vocabulary *vocabulary;
    struct rsr_grammar grammar;
    struct rsr_span_tokens spans[RSR_MAX_SPANS];
    uint32_t n_spans;
};

struct rsr_spot {
    uint32_t leaf;
    uint32_t state; /* of the item; the leaf's first one between items */
    uint32_t count; /* whole items, counted only while the count decides what may follow */
    uint32_t level;
};

struct rsr_level {
    uint32_t node, count; /* LOOP and how often it went round, or CALL */
    uint32_t below;
    uint32_t depth;
    uint32_t next; /* with the same hash */
};

/* Level 0: none is open. */
#define RSR_LEVEL_HASHES 1024u
struct rsr_levels {
    struct rsr_level *data;
    uint32_t n, capacity;
    uint32_t heads[RSR_LEVEL_HASHES];
};

struct rsr_spots {
    struct rsr_spot *data;
    uint32_t n, capacity;
};

/* Keys that were seen; those of another round are forgotten. */
struct rsr_seen {
    struct rsr_seen_key {
        uint32_t part[5];
        uint32_t round;
    } * keys;
    uint32_t n, capacity, round;
};

/* Masks that took long to make: a text returns to the same spots, for example after each word. */
#define RSR_KEPT_MASKS 16u
#define RSR_KEPT_SPOTS 8u
struct rsr_kept_mask {
    struct rsr_spot spots[RSR_KEPT_SPOTS];
    uint32_t n_spots; /* 0: none is kept */
    uint32_t *words;
};

struct rsr_path_step {
    uint32_t state, count;
};

struct rsr_constrained {
    const struct rsr_constraint *constraint;
    struct rsr_spots spots;
    struct rsr_levels levels;
    uint32_t n_kept; /* levels that were in use when they were last sorted out */
    bool is_complete;
    struct rsr_kept_mask kept[RSR_KEPT_MASKS];
    uint32_t next_kept;
    /* for single calls */
    struct rsr_spots next, exits;
    struct rsr_seen seen_nodes, seen_spots;
    uint32_t *pending; /* pairs of a node and a level */
    uint32_t pending_capacity;
    struct rsr_path_step path[RSR_TRIE_MAX_DEPTH + 1];
    uint32_t *allowed;
    uint64_t n_visited;
    rsr_status status; /* the first problem of the call */
};

#define RSR_MAX_SPOTS 2048u

/* vocabulary.c. The tokens are in the order of ids; special ones are empty. */
RSR_NODISCARD rsr_status rsr_vocabulary_make(const struct rsr_token_bytes *tokens,
                                             uint32_t n_tokens, const uint32_t *stop_tokens,
                                             uint32_t n_stop_tokens, rsr_vocabulary **vocabulary,
                                             rsr_error *err);

/* Takes a byte of the current item, or the first byte of the next item. False: the leaf does not
 * accept it. */
static inline bool rsr_spot_step(const struct rsr_grammar *g, struct rsr_spot *spot, uint8_t byte) {
    const struct rsr_grammar_node *leaf = &g->nodes[spot->leaf];
    if (spot->count == leaf->max)
        return false;
    const uint32_t target = rsr_grammar_target(g, spot->state, byte);
    if (target == 0)
        return false;
    spot->state = target;
    if (g->states[target].accepts && g->states[target].edges == 0) {
        const uint32_t enough = leaf->min > 1 ? leaf->min : 1;
        spot->state = leaf->first;
        if (leaf->max != RSR_GRAMMAR_NO_MAX || spot->count < enough)
            spot->count++;
    }
    return true;
}

/* Whether the leaf may end here. The empty case of a leaf is not a spot in it, so at least one byte
 * of an item was read. */
static inline bool rsr_spot_may_leave(const struct rsr_grammar *g, const struct rsr_spot *spot) {
    const struct rsr_grammar_node *leaf = &g->nodes[spot->leaf];
    if (spot->state != leaf->first)
        return g->states[spot->state].accepts;
    return spot->count > 0 && spot->count >= leaf->min;
}

/* Adds the spots that come next from a node below a level, without a byte. Returns whether the text
 * may end there. Problems set the status. */
bool rsr_constrained_open(struct rsr_constrained *text, uint32_t node, uint32_t level,
                          struct rsr_spots *spots);
/* Whether the key is new in this round. */
bool rsr_seen_add(struct rsr_constrained *text, struct rsr_seen *seen, const uint32_t part[5]);
void rsr_seen_begin(struct rsr_seen *seen);
/* Fails with the sentence of a status that a call has found. */
rsr_status rsr_constrained_explain(rsr_status status, rsr_error *err);
/* Forgets levels from n on. */
void rsr_levels_cut(struct rsr_levels *levels, uint32_t n);

#endif
