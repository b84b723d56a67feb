/* gbnf_build.c - the nodes of a grammar's rules.
 *
 * A group or rule that only chooses between characters and short texts by their first byte, as
 *
 *     [^"\\] | "\\" (["\\/bfnrt] | "u" [0-9a-f]{4})
 *
 * becomes one item. Its repetition is then one leaf, whose tokens are known (span_tokens.h),
 * instead of a loop with a round for every character. Grammars write JSON's strings in this way.
 */
#include "gbnf.h"

#include <string.h>

#define MAX_DEPTH 64u
#define MAX_TIMES 16u
#define MAX_COPIES 512u
#define MAX_STATES                                                                                 \
    (1u << 16) /* of all items; beyond it a grammar works without items, but slower */

/* ---- Items ----------------------------------------------------------------------------------- */

struct copies {
    uint32_t from[MAX_COPIES], to[MAX_COPIES], n;
};

/* Copies the item that begins at `state`; the copy continues at `target` where the item ended. 0:
 * it is too large. Recurses no deeper than there are copies. */
static uint32_t copy_item(struct rsr_grammar *g, uint32_t state, uint32_t target,
                          struct copies *copies) {
    if (g->states[state].accepts)
        return target;
    for (uint32_t i = 0; i < copies->n; i++)
        if (copies->from[i] == state)
            return copies->to[i];
    const uint32_t copy = copies->n < MAX_COPIES ? rsr_grammar_state(g) : 0;
    if (copy == 0)
        return 0;
    copies->from[copies->n] = state;
    copies->to[copies->n++] = copy;
    for (uint32_t i = g->states[state].edges; i != 0; i = g->edges[i].next) {
        const struct rsr_byte_edge edge = g->edges[i];
        const uint32_t to = copy_item(g, edge.target, target, copies);
        if (to == 0)
            return 0;
        rsr_grammar_edge(g, copy, edge.low, edge.high, to);
    }
    return copy;
}

/* Whether the edges of `from` can be added to those of `to`. */
static bool are_apart(const struct rsr_grammar *g, uint32_t to, uint32_t from) {
    for (uint32_t i = g->states[from].edges; i != 0; i = g->edges[i].next)
        for (uint32_t k = g->states[to].edges; k != 0; k = g->edges[k].next)
            if (g->edges[i].low <= g->edges[k].high && g->edges[k].low <= g->edges[i].high)
                return false;
    return true;
}

static uint32_t item_of_group(struct rsr_gbnf *in, uint32_t alternative, uint32_t depth);

static uint32_t item_of_term(struct rsr_gbnf *in, const struct rsr_gbnf_term *term,
                             uint32_t depth) {
    switch (term->kind) {
    case RSR_GBNF_ITEM:
        return term->first;
    case RSR_GBNF_GROUP:
        return item_of_group(in, term->first, depth);
    case RSR_GBNF_RULE:
        return item_of_group(in, rsr_gbnf_name_at(in, term->first)->alternative, depth);
    }
    return 0;
}

/* noinline, because items nest: 64 lists of copies in the callers' frames would exceed a call's
 * stack. */
__attribute__((noinline)) static uint32_t put_in_front(struct rsr_grammar *g, uint32_t item,
                                                       uint32_t first) {
    struct copies copies = {.n = 0};
    return copy_item(g, item, first, &copies);
}

/* Joins the terms of an alternative, beginning with the last. */
static uint32_t item_of_alternative(struct rsr_gbnf *in, uint32_t last, uint32_t end,
                                    uint32_t depth) {
    uint32_t first = last != 0 ? end : 0;
    for (uint32_t i = last; i != 0 && first != 0; i = rsr_gbnf_term_at(in, i)->previous) {
        const struct rsr_gbnf_term term = *rsr_gbnf_term_at(in, i);
        const bool is_fixed = term.min == term.max && term.min > 0 && term.min <= MAX_TIMES;
        const uint32_t item = is_fixed ? item_of_term(in, &term, depth) : 0;
        if (item == 0)
            return 0;
        for (uint32_t k = 0; k < term.min && first != 0; k++)
            first = put_in_front(in->g, item, first);
    }
    return first;
}

/* The byte state of the item that this alternative and those before it form; 0: they form none. */
static uint32_t item_of_group(struct rsr_gbnf *in, uint32_t alternative, uint32_t depth) {
    struct rsr_grammar *g = in->g;
    struct rsr_gbnf_alternative *group = rsr_gbnf_alternative_at(in, alternative);
    if (group->item != 0 || depth == MAX_DEPTH || g->n_states > MAX_STATES || g->status != RSR_OK)
        return group->item - (group->item != 0);
    group->item = 1; /* a rule that is met within itself is none */
    const uint32_t all = rsr_grammar_state(g), end = rsr_grammar_state(g);
    if (g->status != RSR_OK)
        return 0;
    g->states[end].accepts = true;
    for (uint32_t i = alternative; i != 0; i = rsr_gbnf_alternative_at(in, i)->previous) {
        const uint32_t first =
            item_of_alternative(in, rsr_gbnf_alternative_at(in, i)->last, end, depth + 1);
        if (first == 0 || !are_apart(g, all, first))
            return 0;
        for (uint32_t k = g->states[first].edges; k != 0; k = g->edges[k].next) {
            const struct rsr_byte_edge edge = g->edges[k];
            rsr_grammar_edge(g, all, edge.low, edge.high, edge.target);
        }
    }
    group->item = 1 + all;
    return g->status == RSR_OK ? all : 0;
}

/* ---- Nodes ----------------------------------------------------------------------------------- */

static uint32_t build_group(struct rsr_gbnf *in, uint32_t alternative, uint32_t next);

/* A rule or a group once. */
static uint32_t build_once(struct rsr_gbnf *in, const struct rsr_gbnf_term *term, uint32_t next) {
    return term->kind == RSR_GBNF_RULE ? rsr_grammar_call(in->g, term->first, next)
                                       : build_group(in, term->first, next);
}

static uint32_t build_term(struct rsr_gbnf *in, const struct rsr_gbnf_term *term, uint32_t next) {
    struct rsr_grammar *g = in->g;
    const uint32_t item = item_of_term(in, term, 0);
    g->line = term->line;
    if (term->max == 0 || (term->kind == RSR_GBNF_ITEM && item == 0))
        return next;
    if (item != 0)
        return rsr_grammar_leaf(g, item, term->min, term->max, next);
    if (term->max == 1)
        return rsr_grammar_split(g, build_once(in, term, next), term->min == 0 ? next : 0);
    const uint32_t inside = build_once(in, term, RSR_GRAMMAR_END_NODE);
    g->line = term->line;
    return rsr_grammar_loop(g, inside, inside, term->min, term->max, next);
}

/* Groups nest no deeper than brackets. */
static uint32_t build_group(struct rsr_gbnf *in, uint32_t alternative, uint32_t next) {
    uint32_t node = 0;
    for (uint32_t a = alternative; a != 0; a = rsr_gbnf_alternative_at(in, a)->previous) {
        uint32_t one = next;
        for (uint32_t i = rsr_gbnf_alternative_at(in, a)->last; i != 0 && in->g->status == RSR_OK;
             i = rsr_gbnf_term_at(in, i)->previous)
            one = build_term(in, rsr_gbnf_term_at(in, i), one);
        node = rsr_grammar_split(in->g, one, node);
    }
    return node;
}

void rsr_gbnf_build(struct rsr_gbnf *in, uint32_t rule) {
    const uint32_t node =
        build_group(in, rsr_gbnf_name_at(in, rule)->alternative, RSR_GRAMMAR_END_NODE);
    if (in->g->status == RSR_OK)
        in->g->rules[rule] = node;
}
