/* byte_grammar.c - builds the automaton of byte_grammar.h, and checks that it can be run. */
#include "byte_grammar.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than any limit: there is no end. */
#define NO_END 0x7fffu

void rsr_grammar_free(struct rsr_grammar *g) {
    free(g->edges);
    free(g->states);
    free(g->nodes);
    free(g->rules);
    free(g->tables);
    *g = (struct rsr_grammar){0};
}

uint32_t rsr_grammar_fail(struct rsr_grammar *g, rsr_status status, const char *format, ...) {
    char message[sizeof(g->err->message)];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    if (g->status == RSR_OK)
        g->status = rsr_fail(g->err, status, "%s", message);
    return 0;
}

/* Makes room for one more element, zeroed, after n elements. False: the status is set. */
static bool grow(struct rsr_grammar *g, void *data, size_t element_bytes, uint32_t n, uint32_t max,
                 uint32_t *capacity) {
    void *old;
    if (g->status != RSR_OK)
        return false;
    memcpy(&old, data, sizeof(old));
    if (n >= *capacity) {
        const uint32_t more = *capacity > 0 ? 2 * *capacity : 64;
        char *grown = n < max ? realloc(old, more * element_bytes) : NULL;
        if (!grown) {
            rsr_grammar_fail(g, n < max ? RSR_ERR_MEMORY : RSR_ERR_ARGUMENT,
                             n < max ? "no memory for a constraint"
                                     : "the constraint has too many parts; make it smaller");
            return false;
        }
        memcpy(data, &grown, sizeof(grown));
        memset(grown + *capacity * element_bytes, 0, (more - *capacity) * element_bytes);
        *capacity = more;
    }
    return true;
}

uint32_t rsr_grammar_state(struct rsr_grammar *g) {
    return grow(g, &g->states, sizeof(*g->states), g->n_states, 8 * RSR_GRAMMAR_MAX_PARTS,
                &g->state_capacity)
               ? g->n_states++
               : 0;
}

void rsr_grammar_edge(struct rsr_grammar *g, uint32_t state, uint8_t low, uint8_t high,
                      uint32_t target) {
    if (target == 0 || state == 0 ||
        !grow(g, &g->edges, sizeof(*g->edges), g->n_edges, 8 * RSR_GRAMMAR_MAX_PARTS,
              &g->edge_capacity))
        return;
    g->edges[g->n_edges] = (struct rsr_byte_edge){low, high, target, g->states[state].edges};
    g->states[state].edges = g->n_edges++;
}

static uint32_t add_node(struct rsr_grammar *g, struct rsr_grammar_node node) {
    if (!grow(g, &g->nodes, sizeof(*g->nodes), g->n_nodes + 1, RSR_GRAMMAR_MAX_PARTS,
              &g->node_capacity))
        return 0;
    node.line = g->line;
    node.levels = NO_END;
    g->nodes[++g->n_nodes] = node;
    return g->n_nodes;
}

void rsr_grammar_begin(struct rsr_grammar *g, uint32_t max_levels, rsr_error *err) {
    *g = (struct rsr_grammar){.n_edges = 1, .n_states = 1, .max_levels = max_levels, .err = err};
    add_node(g, (struct rsr_grammar_node){.kind = RSR_GRAMMAR_END});
}

uint32_t rsr_grammar_leaf(struct rsr_grammar *g, uint32_t first, uint32_t min, uint32_t max,
                          uint32_t next) {
    if (max == 0)
        return next;
    return first == 0 ? 0
                      : add_node(g, (struct rsr_grammar_node){.kind = RSR_GRAMMAR_LEAF,
                                                              .first = first,
                                                              .min = min,
                                                              .max = max,
                                                              .next = next});
}

uint32_t rsr_grammar_split(struct rsr_grammar *g, uint32_t first, uint32_t second) {
    if (first == 0 || second == 0 || first == second)
        return first != 0 ? first : second;
    return add_node(
        g, (struct rsr_grammar_node){.kind = RSR_GRAMMAR_SPLIT, .first = first, .second = second});
}

uint32_t rsr_grammar_loop(struct rsr_grammar *g, uint32_t first, uint32_t second, uint32_t min,
                          uint32_t max, uint32_t next) {
    if (max == 0)
        return next;
    return add_node(g, (struct rsr_grammar_node){.kind = RSR_GRAMMAR_LOOP,
                                                 .first = first,
                                                 .second = second,
                                                 .min = min,
                                                 .max = max,
                                                 .next = next});
}

uint32_t rsr_grammar_call(struct rsr_grammar *g, uint32_t rule, uint32_t next) {
    return add_node(
        g, (struct rsr_grammar_node){.kind = RSR_GRAMMAR_CALL, .first = rule, .next = next});
}

uint32_t rsr_grammar_rule(struct rsr_grammar *g) {
    return grow(g, &g->rules, sizeof(*g->rules), g->n_rules, RSR_GRAMMAR_MAX_PARTS,
                &g->rule_capacity)
               ? g->n_rules++
               : 0;
}

/* ---- Checks ---------------------------------------------------------------------------------- */

static uint16_t levels_of(const struct rsr_grammar *g, const struct rsr_grammar_node *node) {
    const struct rsr_grammar_node *nodes = g->nodes;
    const uint16_t next = nodes[node->next].levels;
    uint16_t inside = 0;
    switch (node->kind) {
    case RSR_GRAMMAR_LEAF:
        return next;
    case RSR_GRAMMAR_SPLIT:
        inside = nodes[node->first].levels;
        return inside < nodes[node->second].levels ? inside : nodes[node->second].levels;
    case RSR_GRAMMAR_LOOP:
        inside = (uint16_t)(nodes[node->first].levels + 1);
        break;
    case RSR_GRAMMAR_CALL:
        inside =
            (uint16_t)(nodes[g->rules[node->first]].levels + (node->next != RSR_GRAMMAR_END_NODE));
        break;
    case RSR_GRAMMAR_END:
        return 0;
    }
    if (node->kind == RSR_GRAMMAR_LOOP && node->min == 0)
        inside = 0;
    inside = inside > next ? inside : next;
    return inside < NO_END ? inside : NO_END;
}

static bool may_be_empty(const struct rsr_grammar *g, const struct rsr_grammar_node *node) {
    const struct rsr_grammar_node *nodes = g->nodes;
    const bool next = nodes[node->next].may_be_empty;
    switch (node->kind) {
    case RSR_GRAMMAR_LEAF:
        return node->min == 0 && next;
    case RSR_GRAMMAR_SPLIT:
        return nodes[node->first].may_be_empty || nodes[node->second].may_be_empty;
    case RSR_GRAMMAR_LOOP:
        return (node->min == 0 || nodes[node->first].may_be_empty) && next;
    case RSR_GRAMMAR_CALL:
        return nodes[g->rules[node->first]].may_be_empty && next;
    case RSR_GRAMMAR_END:
        return true;
    }
    return false;
}

/* Computes the smallest numbers of levels, in passes forwards and backwards, because rules may come
 * in either order. False: the grammar needs more passes. */
static bool measure(struct rsr_grammar *g) {
    bool changed = true;
    for (uint32_t pass = 0; changed; pass++) {
        changed = false;
        if (pass > 4 * RSR_GRAMMAR_MAX_LEVELS)
            return false;
        for (uint32_t k = 1; k <= g->n_nodes; k++) {
            struct rsr_grammar_node *node = &g->nodes[pass % 2 == 0 ? k : g->n_nodes + 1 - k];
            const uint16_t levels = levels_of(g, node);
            const bool empty = may_be_empty(g, node);
            changed = changed || levels != node->levels || empty != node->may_be_empty;
            node->levels = levels;
            node->may_be_empty = empty;
        }
    }
    return true;
}

/* Finds the nodes that come next without a byte; returns how many. */
static uint32_t followers(const struct rsr_grammar *g, const struct rsr_grammar_node *node,
                          uint32_t out[2]) {
    uint32_t n = 0;
    switch (node->kind) {
    case RSR_GRAMMAR_LEAF:
        if (node->min == 0)
            out[n++] = node->next;
        break;
    case RSR_GRAMMAR_SPLIT:
        out[n++] = node->first;
        out[n++] = node->second;
        break;
    case RSR_GRAMMAR_LOOP:
        out[n++] = node->first;
        if (node->min == 0)
            out[n++] = node->next;
        break;
    case RSR_GRAMMAR_CALL:
        out[n++] = g->rules[node->first];
        if (g->nodes[out[0]].may_be_empty)
            out[n++] = node->next;
        break;
    case RSR_GRAMMAR_END:
        break;
    }
    return n;
}

/* Finds a cycle without a byte, depth first. `path` holds nodes and how many of their followers
 * were seen. */
static bool goes_round(struct rsr_grammar *g, uint32_t start, uint8_t *color, uint32_t (*path)[2],
                       uint32_t *at) {
    enum { UNSEEN, OPEN, DONE };
    uint32_t depth = 0, out[2];
    if (color[start] != UNSEEN)
        return false;
    path[depth][0] = start, path[depth++][1] = 0;
    color[start] = OPEN;
    while (depth > 0) {
        uint32_t *top = path[depth - 1];
        if (top[1] == followers(g, &g->nodes[top[0]], out)) {
            color[top[0]] = DONE;
            depth--;
            continue;
        }
        *at = out[top[1]++];
        if (color[*at] == OPEN)
            return true;
        if (color[*at] == UNSEEN) {
            color[*at] = OPEN;
            path[depth][0] = *at, path[depth++][1] = 0;
        }
    }
    return false;
}

static void refuse_rounds(struct rsr_grammar *g) {
    const size_t n = (size_t)g->n_nodes + 1;
    uint8_t *color = calloc(n, sizeof(*color));
    uint32_t(*path)[2] = calloc(n, sizeof(*path));
    uint32_t at = 0;
    if (!color || !path)
        rsr_grammar_fail(g, RSR_ERR_MEMORY, "no memory for a constraint");
    for (uint32_t i = RSR_GRAMMAR_END_NODE; i <= g->n_nodes && g->status == RSR_OK; i++) {
        const struct rsr_grammar_node *node = &g->nodes[i];
        if (node->kind == RSR_GRAMMAR_LOOP && g->nodes[node->first].may_be_empty)
            rsr_grammar_fail(g, RSR_ERR_ARGUMENT, "line %u repeats something that may be empty",
                             node->line);
        else if (goes_round(g, i, color, path, &at))
            rsr_grammar_fail(g, RSR_ERR_ARGUMENT,
                             g->nodes[at].line == 0
                                 ? "a $ref leads back to itself without a value in between"
                                 : "a rule begins with itself (left recursion) in line %u",
                             g->nodes[at].line);
    }
    free(path);
    free(color);
}

/* A look-up in a table takes a third of the time of the edges of a string's character. */
#define MIN_TABLE_EDGES 3u
#define MAX_TABLES 1024u

static bool wants_table(const struct rsr_grammar *g, uint32_t state) {
    uint32_t n = 0;
    for (uint32_t i = g->states[state].edges; i != 0 && n < MIN_TABLE_EDGES; i = g->edges[i].next)
        n++;
    return n == MIN_TABLE_EDGES;
}

static void make_tables(struct rsr_grammar *g) {
    uint32_t n = 0;
    for (uint32_t i = 1; i < g->n_states; i++)
        n += n < MAX_TABLES && wants_table(g, i);
    g->tables = calloc((size_t)n + 1, sizeof(*g->tables));
    if (!g->tables) {
        rsr_grammar_fail(g, RSR_ERR_MEMORY, "no memory for a constraint");
        return;
    }
    for (uint32_t i = 1; i < g->n_states && g->n_tables < n; i++) {
        if (!wants_table(g, i))
            continue;
        for (uint32_t byte = 0; byte < 256; byte++)
            g->tables[g->n_tables][byte] = rsr_grammar_target(g, i, (uint8_t)byte);
        g->states[i].table = ++g->n_tables;
    }
}

rsr_status rsr_grammar_finish(struct rsr_grammar *g) {
    if (g->status != RSR_OK)
        return g->status;
    if (!measure(g))
        rsr_grammar_fail(g, RSR_ERR_ARGUMENT, "the constraint's rules need too many levels");
    refuse_rounds(g);
    if (g->status == RSR_OK && g->nodes[g->rules[0]].levels > g->max_levels)
        rsr_grammar_fail(g, RSR_ERR_ARGUMENT,
                         "the constraint has no text that ends within %u levels", g->max_levels);
    if (g->status == RSR_OK)
        make_tables(g);
    return g->status;
}
