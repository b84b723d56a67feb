/* byte_grammar.h - what a JSON schema and a grammar are compiled to: a pushdown automaton over
 * bytes.
 *
 * Its nodes are built from the end to the beginning: each knows what follows. A leaf reads items,
 * each by a deterministic automaton over bytes (byte states, edges): a text, a number, a character
 * of a string.
 *
 *     LEAF   reads min to max items, then `next`
 *     SPLIT  `first` or `second`
 *     LOOP   min to max times what begins at `first`, each time after the first at `second`; then
 *            `next`
 *     CALL   the rule, then `next`
 *     END    of a rule or of what a loop repeats
 *
 * An open LOOP needs a level, and so does an open CALL that something follows.
 */
#ifndef RSR_BYTE_GRAMMAR_H
#define RSR_BYTE_GRAMMAR_H

#include "runtime.h"

#define RSR_GRAMMAR_MAX_PARTS (1u << 17) /* nodes; also edges and byte states, 8 times as many */
#define RSR_GRAMMAR_NO_MAX UINT32_MAX
#define RSR_GRAMMAR_MAX_LEVELS 256u

struct rsr_byte_edge {
    uint8_t low, high;
    uint32_t target; /* byte state */
    uint32_t next;   /* edge of the same state; 0: none */
};

struct rsr_byte_state {
    uint32_t edges; /* the first one; 0: none */
    bool accepts;   /* an item may end here; without edges it does */
    uint32_t table; /* 1 + that of its targets by byte, where there are many edges; 0: none */
};

enum rsr_grammar_kind {
    RSR_GRAMMAR_LEAF,
    RSR_GRAMMAR_SPLIT,
    RSR_GRAMMAR_LOOP,
    RSR_GRAMMAR_CALL,
    RSR_GRAMMAR_END
};

struct rsr_grammar_node {
    enum rsr_grammar_kind kind;
    uint32_t first; /* LEAF: the byte state that items begin with; CALL: the rule */
    uint32_t second;
    uint32_t next;
    uint32_t min, max; /* LEAF, LOOP; max is RSR_GRAMMAR_NO_MAX, or at least 1 */
    uint16_t
        levels; /* levels that must at least be opened from here to the end of the rule; more than
                   RSR_GRAMMAR_MAX_LEVELS: there is no end */
    bool may_be_empty; /* the end of the rule can be reached without a byte */
    uint32_t span;     /* LEAF: 1 + the index of its span in this vocabulary (span_tokens.h); 0:
                          none */
    uint32_t line;     /* of the text, for refusals */
};

/* Index 0 of states, edges and nodes is none. Node 1 is the only END; rule 0 is where texts
 * begin. */
struct rsr_grammar {
    struct rsr_byte_edge *edges;
    struct rsr_byte_state *states;
    struct rsr_grammar_node *nodes;
    uint32_t *rules; /* their first nodes */
    uint32_t (*tables)[256];
    uint32_t n_tables;
    uint32_t n_edges, n_states, n_nodes, n_rules;
    uint32_t edge_capacity, state_capacity, node_capacity, rule_capacity;
    uint32_t max_levels;
    uint32_t line;     /* of nodes that are being made */
    rsr_status status; /* the first problem; everything then returns 0 quickly */
    rsr_error *err;
};

#define RSR_GRAMMAR_END_NODE 1u

void rsr_grammar_begin(struct rsr_grammar *g, uint32_t max_levels, rsr_error *err);
void rsr_grammar_free(struct rsr_grammar *g);
/* Sets the status, unless there is one. Returns 0. */
uint32_t rsr_grammar_fail(struct rsr_grammar *g, rsr_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

uint32_t rsr_grammar_state(struct rsr_grammar *g);
void rsr_grammar_edge(struct rsr_grammar *g, uint32_t state, uint8_t low, uint8_t high,
                      uint32_t target);
/* The target of a byte, 0: none. */
static inline uint32_t rsr_grammar_target(const struct rsr_grammar *g, uint32_t state,
                                          uint8_t byte) {
    if (g->states[state].table != 0)
        return g->tables[g->states[state].table - 1][byte];
    for (uint32_t i = g->states[state].edges; i != 0; i = g->edges[i].next)
        if (byte >= g->edges[i].low && byte <= g->edges[i].high)
            return g->edges[i].target;
    return 0;
}

/* A leaf of items that begin at the byte state `first` (0: a problem occurred). If max is above 1,
 * no edge may leave a state in which an item may end. */
uint32_t rsr_grammar_leaf(struct rsr_grammar *g, uint32_t first, uint32_t min, uint32_t max,
                          uint32_t next);
/* If one is 0, returns the other one. */
uint32_t rsr_grammar_split(struct rsr_grammar *g, uint32_t first, uint32_t second);
uint32_t rsr_grammar_loop(struct rsr_grammar *g, uint32_t first, uint32_t second, uint32_t min,
                          uint32_t max, uint32_t next);
uint32_t rsr_grammar_call(struct rsr_grammar *g, uint32_t rule, uint32_t next);
/* A new rule, whose first node is set later. */
uint32_t rsr_grammar_rule(struct rsr_grammar *g);

/* Completes a grammar: refuses rules without an end and cycles without a byte, and fills `levels`,
 * `may_be_empty` and the tables. */
RSR_NODISCARD rsr_status rsr_grammar_finish(struct rsr_grammar *g);

/* ---- byte_items.c: automata of items --------------------------------------------------------- */

/* A text that grows after `state`; an optional space is a ' ' that may be missing, and what
 * follows it begins with another byte. */
struct rsr_byte_text {
    uint32_t state,
        spaced; /* where the text is, without and with the last optional space; 0: none */
};
void rsr_byte_text_add(struct rsr_grammar *g, struct rsr_byte_text *text, const char *bytes,
                       size_t n);
void rsr_byte_text_add_space(struct rsr_grammar *g, struct rsr_byte_text *text);
void rsr_byte_text_end(struct rsr_grammar *g, struct rsr_byte_text *text);

/* Code points from low to high, surrogates left out. */
struct rsr_code_range {
    uint32_t low, high;
};
/* Adds edges from `state` to `target` for the UTF-8 of sorted, disjoint ranges. */
void rsr_byte_characters(struct rsr_grammar *g, uint32_t state, const struct rsr_code_range *ranges,
                         size_t n, uint32_t target);
/* The first state of a character of a JSON string, as it is or escaped. */
uint32_t rsr_byte_json_character(struct rsr_grammar *g);

/* ---- byte_numbers.c -------------------------------------------------------------------------- */

/* 0.d1d2d3... * 10^point; digits end with no 0; zero has none. */
struct rsr_decimal {
    bool is_negative;
    int n_digits, point;
    uint8_t digits[20];
};

struct rsr_number_bound {
    bool is_set, is_exclusive;
    struct rsr_decimal value;
};

#define RSR_INTEGER_DIGITS 18
#define RSR_NUMBER_DIGITS 15
#define RSR_BOUNDED_DECIMALS 9

/* Reads a number as printf writes integers and Python's repr writes floats. */
struct rsr_decimal rsr_decimal_read(const char *text);
/* The number of digits after the point that a number with these bounds may have. *fits is false if
 * a bound itself has more. */
int rsr_number_decimals(const struct rsr_number_bound *min, const struct rsr_number_bound *max,
                        bool *fits);
/* The first state of integers or numbers as rsr_constraint.h describes them; 0: no number is within
 * the bounds, or there was a problem. */
uint32_t rsr_byte_integer(struct rsr_grammar *g, const struct rsr_number_bound *min,
                          const struct rsr_number_bound *max);
uint32_t rsr_byte_number(struct rsr_grammar *g, const struct rsr_number_bound *min,
                         const struct rsr_number_bound *max);

/* ---- Front ends ------------------------------------------------------------------------------ */

/* Both leave a finished grammar, which the caller frees in any case. */
RSR_NODISCARD rsr_status rsr_schema_read(const char *text, size_t n_bytes, struct rsr_grammar *g,
                                         rsr_error *err);
RSR_NODISCARD rsr_status rsr_gbnf_read(const char *text, size_t n_bytes, struct rsr_grammar *g,
                                       rsr_error *err);
#define RSR_GRAMMAR_MAX_TEXT ((size_t)1 << 20)

#endif
