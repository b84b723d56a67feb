/* constrained.c - the place of a constrained text in its automaton, and its steps byte by byte. */
#include "constrained.h"

#include <stdlib.h>
#include <string.h>

/* Nodes visited in one step without a byte, and spots while one mask is made. */
#define MAX_SEEN (1u << 20)

static void fail(struct rsr_constrained *text, rsr_status status) {
    if (text->status == RSR_OK)
        text->status = status;
}

/* Makes room after n elements. False: the status is set. */
static bool reserve(struct rsr_constrained *text, void *data, size_t element_bytes, uint32_t n,
                    uint32_t *capacity) {
    void *old;
    memcpy(&old, data, sizeof(old));
    if (n < *capacity)
        return true;
    const uint32_t more = *capacity > 0 ? 2 * *capacity : 32;
    void *grown = realloc(old, more * element_bytes);
    if (!grown) {
        fail(text, RSR_ERR_MEMORY);
        return false;
    }
    memcpy(data, &grown, sizeof(grown));
    *capacity = more;
    return true;
}

/* ---- Keys ------------------------------------------------------------------------------------ */

static uint32_t hash_of(const uint32_t part[5]) {
    uint64_t hash = 0;
    for (size_t i = 0; i < 5; i++)
        hash = (hash ^ part[i]) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(hash >> 32);
}

void rsr_seen_begin(struct rsr_seen *seen) {
    seen->n = 0;
    if (++seen->round == 0) { /* after 2^32 rounds */
        memset(seen->keys, 0, seen->capacity * sizeof(*seen->keys));
        seen->round = 1;
    }
}

static struct rsr_seen_key *slot_of(struct rsr_seen *seen, const uint32_t part[5]) {
    uint32_t i = hash_of(part);
    for (;; i++) {
        struct rsr_seen_key *key = &seen->keys[i & (seen->capacity - 1)];
        if (key->round != seen->round || memcmp(key->part, part, sizeof(key->part)) == 0)
            return key;
    }
}

static bool grow_seen(struct rsr_constrained *text, struct rsr_seen *seen) {
    struct rsr_seen grown = *seen;
    grown.capacity = seen->capacity > 0 ? 2 * seen->capacity : 256;
    grown.keys = seen->n < MAX_SEEN ? calloc(grown.capacity, sizeof(*grown.keys)) : NULL;
    if (!grown.keys) {
        fail(text, seen->n < MAX_SEEN ? RSR_ERR_MEMORY : RSR_ERR_FULL);
        return false;
    }
    for (uint32_t i = 0; i < seen->capacity; i++)
        if (seen->keys[i].round == seen->round)
            *slot_of(&grown, seen->keys[i].part) = seen->keys[i];
    free(seen->keys);
    *seen = grown;
    return true;
}

bool rsr_seen_add(struct rsr_constrained *text, struct rsr_seen *seen, const uint32_t part[5]) {
    if (2 * seen->n >= seen->capacity && !grow_seen(text, seen))
        return false;
    struct rsr_seen_key *key = slot_of(seen, part);
    if (key->round == seen->round)
        return false;
    memcpy(key->part, part, sizeof(key->part));
    key->round = seen->round;
    seen->n++;
    return true;
}

/* ---- Levels ---------------------------------------------------------------------------------- */

static uint32_t *head_of(struct rsr_levels *levels, const struct rsr_level *level) {
    const uint32_t part[5] = {level->node, level->count, level->below, 0, 0};
    return &levels->heads[hash_of(part) % RSR_LEVEL_HASHES];
}

/* The level with this content; 0 with the status set. */
static uint32_t level_of(struct rsr_constrained *text, struct rsr_level level) {
    struct rsr_levels *levels = &text->levels;
    uint32_t *head = head_of(levels, &level);
    for (uint32_t i = *head; i != 0; i = levels->data[i].next)
        if (levels->data[i].node == level.node && levels->data[i].count == level.count &&
            levels->data[i].below == level.below)
            return i;
    if (!reserve(text, &levels->data, sizeof(*levels->data), levels->n, &levels->capacity))
        return 0;
    level.depth = levels->data[level.below].depth + 1;
    level.next = *head;
    levels->data[levels->n] = level;
    return *head = levels->n++;
}

void rsr_levels_cut(struct rsr_levels *levels, uint32_t n) {
    while (levels->n > n) {
        const struct rsr_level *level = &levels->data[--levels->n];
        *head_of(levels, level) = level->next;
    }
}

/* Drops levels that no spot uses. A level has a higher number than the levels around it. */
static void sort_out_levels(struct rsr_constrained *text) {
    struct rsr_levels *levels = &text->levels;
    if (levels->n < 2 * text->n_kept + 1024)
        return;
    uint32_t *now = calloc(levels->n, sizeof(*now));
    if (!now)
        return; /* another time */
    for (uint32_t i = 0; i < text->spots.n; i++)
        now[text->spots.data[i].level] = 1;
    for (uint32_t i = levels->n; i-- > 1;)
        if (now[i] != 0)
            now[levels->data[i].below] = 1;
    const uint32_t n = levels->n;
    memset(levels->heads, 0, sizeof(levels->heads));
    levels->n = 1;
    now[0] = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (now[i] == 0)
            continue;
        struct rsr_level level = levels->data[i];
        level.below = now[level.below];
        uint32_t *head = head_of(levels, &level);
        level.next = *head;
        levels->data[levels->n] = level;
        now[i] = *head = levels->n++;
    }
    for (uint32_t i = 0; i < text->spots.n; i++)
        text->spots.data[i].level = now[text->spots.data[i].level];
    text->n_kept = levels->n;
    for (uint32_t i = 0; i < RSR_KEPT_MASKS; i++)
        text->kept[i].n_spots = 0;
    free(now);
}

/* ---- Nodes ----------------------------------------------------------------------------------- */

static void add_spot(struct rsr_constrained *text, struct rsr_spots *spots, struct rsr_spot spot) {
    if (reserve(text, &spots->data, sizeof(*spots->data), spots->n, &spots->capacity))
        spots->data[spots->n++] = spot;
}

/* Notes a node to visit, if it is new and can end within the available levels. */
static void plan(struct rsr_constrained *text, uint32_t node, uint32_t level, uint32_t *n) {
    const struct rsr_grammar *g = &text->constraint->grammar;
    const uint32_t part[5] = {node, level};
    if (text->status != RSR_OK ||
        text->levels.data[level].depth + g->nodes[node].levels > g->max_levels ||
        !rsr_seen_add(text, &text->seen_nodes, part) ||
        !reserve(text, &text->pending, 2 * sizeof(*text->pending), *n, &text->pending_capacity))
        return;
    text->pending[2 * *n] = node;
    text->pending[2 * (*n)++ + 1] = level;
}

/* Notes what is inside a loop, with its count of rounds. */
static void plan_inside(struct rsr_constrained *text, struct rsr_level level, uint32_t first,
                        uint32_t *n) {
    const uint32_t inside = level_of(text, level);
    if (text->status == RSR_OK)
        plan(text, first, inside, n);
}

/* Notes what follows when the END of an open level is reached. */
static void close_level(struct rsr_constrained *text, uint32_t closed, uint32_t *n) {
    const struct rsr_level level = text->levels.data[closed];
    const struct rsr_grammar_node *node = &text->constraint->grammar.nodes[level.node];
    uint32_t count = level.count + 1;
    if (node->kind == RSR_GRAMMAR_CALL) {
        plan(text, node->next, level.below, n);
        return;
    }
    if (node->max == RSR_GRAMMAR_NO_MAX && count > node->min)
        count = node->min;
    if (count < node->max)
        plan_inside(text, (struct rsr_level){level.node, count, level.below, 0, 0}, node->second,
                    n);
    if (count >= node->min)
        plan(text, node->next, level.below, n);
}

static void open_node(struct rsr_constrained *text, uint32_t i, uint32_t level,
                      struct rsr_spots *spots, bool *ends, uint32_t *n) {
    const struct rsr_grammar *g = &text->constraint->grammar;
    const struct rsr_grammar_node *node = &g->nodes[i];
    switch (node->kind) {
    case RSR_GRAMMAR_LEAF:
        add_spot(text, spots, (struct rsr_spot){i, node->first, 0, level});
        if (node->min == 0)
            plan(text, node->next, level, n);
        break;
    case RSR_GRAMMAR_SPLIT:
        plan(text, node->first, level, n);
        plan(text, node->second, level, n);
        break;
    case RSR_GRAMMAR_LOOP:
        plan_inside(text, (struct rsr_level){i, 0, level, 0, 0}, node->first, n);
        if (node->min == 0)
            plan(text, node->next, level, n);
        break;
    case RSR_GRAMMAR_CALL:
        if (node->next == RSR_GRAMMAR_END_NODE)
            plan(text, g->rules[node->first], level, n);
        else
            plan_inside(text, (struct rsr_level){i, 0, level, 0, 0}, g->rules[node->first], n);
        break;
    case RSR_GRAMMAR_END:
        if (level == 0)
            *ends = true;
        else
            close_level(text, level, n);
        break;
    }
}

bool rsr_constrained_open(struct rsr_constrained *text, uint32_t node, uint32_t level,
                          struct rsr_spots *spots) {
    uint32_t n = 0;
    bool ends = false;
    const uint32_t before = spots->n;
    rsr_seen_begin(&text->seen_nodes);
    plan(text, node, level, &n);
    while (n > 0 && text->status == RSR_OK) {
        n--;
        open_node(text, text->pending[2 * n], text->pending[2 * n + 1], spots, &ends, &n);
        if (spots->n - before > RSR_MAX_SPOTS)
            fail(text, RSR_ERR_FULL);
    }
    return ends;
}

/* ---- Texts ----------------------------------------------------------------------------------- */

static void add_new_spot(struct rsr_constrained *text, struct rsr_spots *spots,
                         struct rsr_spot spot) {
    const uint32_t part[5] = {spot.leaf, spot.state, spot.count, spot.level};
    if (rsr_seen_add(text, &text->seen_spots, part))
        add_spot(text, spots, spot);
    if (spots->n > RSR_MAX_SPOTS)
        fail(text, RSR_ERR_FULL);
}

/* Adds the spots after the leaf. */
static bool leave_leaf(struct rsr_constrained *text, const struct rsr_spot *spot,
                       struct rsr_spots *exits) {
    exits->n = 0;
    return rsr_constrained_open(text, text->constraint->grammar.nodes[spot->leaf].next, spot->level,
                                exits);
}

/* Moves all spots of `from` over a byte. */
static void step_all(struct rsr_constrained *text, const struct rsr_spots *from, uint8_t byte,
                     struct rsr_spots *to) {
    const struct rsr_grammar *g = &text->constraint->grammar;
    to->n = 0;
    rsr_seen_begin(&text->seen_spots);
    for (uint32_t i = 0; i < from->n && text->status == RSR_OK; i++) {
        struct rsr_spot spot = from->data[i];
        if (rsr_spot_may_leave(g, &spot)) {
            leave_leaf(text, &spot, &text->exits);
            for (uint32_t k = 0; k < text->exits.n && text->status == RSR_OK; k++) {
                struct rsr_spot exit = text->exits.data[k];
                if (rsr_spot_step(g, &exit, byte))
                    add_new_spot(text, to, exit);
            }
        }
        if (rsr_spot_step(g, &spot, byte))
            add_new_spot(text, to, spot);
    }
}

static bool may_end(struct rsr_constrained *text, const struct rsr_spots *spots) {
    bool ends = false;
    for (uint32_t i = 0; i < spots->n && text->status == RSR_OK && !ends; i++)
        ends = rsr_spot_may_leave(&text->constraint->grammar, &spots->data[i]) &&
               leave_leaf(text, &spots->data[i], &text->exits);
    return ends;
}

rsr_status rsr_constrained_explain(rsr_status status, rsr_error *err) {
    return rsr_fail(err, status,
                    status == RSR_ERR_MEMORY ? "no memory for a constrained text"
                                             : "the constraint has too many parts that may come "
                                               "next here, or too many ways to the same text");
}

rsr_status rsr_constrained_create(const rsr_constraint *constraint, rsr_constrained **text,
                                  rsr_error *err) {
    if (!constraint || !text)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_constrained_create: a parameter is NULL");
    struct rsr_constrained *made = calloc(1, sizeof(*made));
    if (!made)
        return rsr_constrained_explain(RSR_ERR_MEMORY, err);
    made->constraint = constraint;
    if (reserve(made, &made->levels.data, sizeof(*made->levels.data), 0, &made->levels.capacity)) {
        made->levels.data[made->levels.n++] = (struct rsr_level){0};
        made->is_complete =
            rsr_constrained_open(made, constraint->grammar.rules[0], 0, &made->spots);
    }
    if (made->status != RSR_OK) {
        const rsr_status status = made->status;
        rsr_constrained_destroy(made);
        return rsr_constrained_explain(status, err);
    }
    *text = made;
    return RSR_OK;
}

rsr_status rsr_constrained_clone(const rsr_constrained *text, rsr_constrained **clone,
                                 rsr_error *err) {
    if (!text || !clone)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_constrained_clone: a parameter is NULL");
    struct rsr_constrained *made = calloc(1, sizeof(*made));
    if (!made)
        return rsr_constrained_explain(RSR_ERR_MEMORY, err);
    made->constraint = text->constraint;
    made->is_complete = text->is_complete;
    made->n_kept = text->n_kept;
    made->levels = text->levels;
    made->levels.capacity = text->levels.n;
    made->levels.data = calloc(text->levels.n, sizeof(*made->levels.data));
    made->spots.n = made->spots.capacity = text->spots.n;
    made->spots.data = calloc((size_t)text->spots.n + 1, sizeof(*made->spots.data));
    if (!made->levels.data || !made->spots.data) {
        rsr_constrained_destroy(made);
        return rsr_constrained_explain(RSR_ERR_MEMORY, err);
    }
    memcpy(made->levels.data, text->levels.data, text->levels.n * sizeof(*made->levels.data));
    if (text->spots.n > 0)
        memcpy(made->spots.data, text->spots.data, text->spots.n * sizeof(*made->spots.data));
    *clone = made;
    return RSR_OK;
}

void rsr_constrained_destroy(rsr_constrained *text) {
    if (!text)
        return;
    free(text->spots.data);
    free(text->levels.data);
    free(text->next.data);
    free(text->exits.data);
    free(text->seen_nodes.keys);
    free(text->seen_spots.keys);
    free(text->pending);
    for (uint32_t i = 0; i < RSR_KEPT_MASKS; i++)
        free(text->kept[i].words);
    free(text);
}

bool rsr_constrained_is_complete(const rsr_constrained *text) {
    return text && text->is_complete;
}

static bool is_stop(const struct rsr_vocabulary *v, uint32_t token) {
    for (uint32_t i = 0; i < v->n_stop_tokens; i++)
        if (v->stop_tokens[i] == token)
            return true;
    return false;
}

static rsr_status refuse_token(uint32_t token, rsr_error *err) {
    return rsr_fail(err, RSR_ERR_ARGUMENT, "token %u is not allowed here", token);
}

rsr_status rsr_constrained_advance(rsr_constrained *text, uint32_t token, rsr_error *err) {
    if (!text)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_constrained_advance: the text is NULL");
    const struct rsr_vocabulary *v = text->constraint->vocabulary;
    if (is_stop(v, token) && text->is_complete) {
        text->spots.n = 0; /* nothing else may follow */
        return RSR_OK;
    }
    const uint32_t begin = token < v->n_tokens ? v->offsets[token] : 0,
                   end = token < v->n_tokens ? v->offsets[token + 1] : 0, n_levels = text->levels.n;
    if (begin == end)
        return refuse_token(token, err);
    /* Two lists take turns to hold the spots after each byte; text->spots changes only when all
     * bytes are accepted. */
    struct rsr_spots lists[2] = {text->next, {0}};
    const struct rsr_spots *from = &text->spots;
    text->status = RSR_OK;
    for (uint32_t i = begin; i < end && from->n > 0 && text->status == RSR_OK; i++) {
        struct rsr_spots *to = &lists[(i - begin) % 2];
        step_all(text, from, (uint8_t)v->bytes[i], to);
        from = to;
    }
    const bool ends = may_end(text, from);
    const uint32_t last = (end - begin - 1) % 2;
    const bool ok = text->status == RSR_OK && from->n > 0;
    text->next = lists[1 - last].data ? lists[1 - last] : (struct rsr_spots){0};
    if (!ok) {
        free(lists[last].data);
        rsr_levels_cut(&text->levels, n_levels);
        return text->status == RSR_OK ? refuse_token(token, err)
                                      : rsr_constrained_explain(text->status, err);
    }
    free(text->spots.data);
    text->spots = lists[last];
    text->is_complete = ends;
    sort_out_levels(text);
    return RSR_OK;
}
