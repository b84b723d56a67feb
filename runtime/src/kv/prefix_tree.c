/* prefix_tree.c - see prefix_tree.h. */
#include <stdlib.h>
#include <string.h>

#include "prefix_tree.h"

/* ---- The list ---- */

static void unlink_node(struct rsr_prefix_tree *tree, struct rsr_prefix_node *node) {
    *(node->newer != NULL ? &node->newer->older : &tree->newest) = node->older;
    *(node->older != NULL ? &node->older->newer : &tree->oldest) = node->newer;
}

/* Links the node next to `newer` and older than it; NULL: as the newest. */
static void link_node(struct rsr_prefix_tree *tree, struct rsr_prefix_node *node,
                      struct rsr_prefix_node *newer) {
    struct rsr_prefix_node *older = newer != NULL ? newer->older : tree->newest;
    node->newer = newer;
    node->older = older;
    *(newer != NULL ? &newer->older : &tree->newest) = node;
    *(older != NULL ? &older->newer : &tree->oldest) = node;
}

/* Makes a node and those above it the newest, from the leaf up, so the one below the root is the
 * newest of all. */
static void use(struct rsr_prefix_tree *tree, struct rsr_prefix_node *node) {
    for (; node != &tree->root; node = node->parent) {
        unlink_node(tree, node);
        link_node(tree, node, NULL);
    }
}

/* ---- Children ---- */

static uint32_t count_common(const struct rsr_prefix_node *node, const uint32_t *tokens,
                             uint32_t n_tokens) {
    const uint32_t most = node->n_tokens < n_tokens ? node->n_tokens : n_tokens;
    uint32_t n = 0;
    while (n < most && node->tokens[n] == tokens[n])
        n++;
    return n;
}

/* Whether the node sorts before the tokens: its first different token is smaller, or it is a prefix
 * of them. */
static bool is_before(const struct rsr_prefix_node *node, const uint32_t *tokens,
                      uint32_t n_tokens) {
    const uint32_t n = count_common(node, tokens, n_tokens);
    if (n == node->n_tokens || n == n_tokens)
        return node->n_tokens < n_tokens;
    return node->tokens[n] < tokens[n];
}

/* The place of the tokens among the sorted children. */
static uint32_t find_place(const struct rsr_prefix_node *node, const uint32_t *tokens,
                           uint32_t n_tokens) {
    uint32_t begin = 0, end = node->n_children;
    while (begin < end) {
        const uint32_t middle = begin + (end - begin) / 2;
        if (is_before(node->children[middle], tokens, n_tokens))
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* The child with the longest common prefix with the tokens, and its length; NULL: no child has
 * one. */
static struct rsr_prefix_node *find_child(const struct rsr_prefix_node *node,
                                          const uint32_t *tokens, uint32_t n_tokens,
                                          uint32_t *n_common) {
    const uint32_t place = find_place(node, tokens, n_tokens);
    struct rsr_prefix_node *best = NULL;
    *n_common = 0;
    for (uint32_t i = place == 0 ? 0 : place - 1; i <= place && i < node->n_children; i++) {
        const uint32_t n = count_common(node->children[i], tokens, n_tokens);
        if (n > *n_common) {
            *n_common = n;
            best = node->children[i];
        }
    }
    return best;
}

static void remove_child(struct rsr_prefix_node *child) {
    struct rsr_prefix_node *node = child->parent;
    const uint32_t place = find_place(node, child->tokens, child->n_tokens);
    node->n_children--;
    memmove(node->children + place, node->children + place + 1,
            (node->n_children - place) * sizeof(struct rsr_prefix_node *));
}

static bool insert_child(struct rsr_prefix_node *node, struct rsr_prefix_node *child) {
    if (node->n_children == node->capacity) {
        const uint32_t capacity = node->capacity == 0 ? 1 : 2 * node->capacity;
        void *grown = realloc(node->children, capacity * sizeof(struct rsr_prefix_node *));
        if (grown == NULL)
            return false;
        node->children = grown;
        node->capacity = capacity;
    }
    const uint32_t place = find_place(node, child->tokens, child->n_tokens);
    memmove(node->children + place + 1, node->children + place,
            (node->n_children - place) * sizeof(struct rsr_prefix_node *));
    node->children[place] = child;
    node->n_children++;
    return true;
}

/* ---- Looking up ---- */

struct rsr_prefix_node *rsr_prefix_tree_descend(struct rsr_prefix_tree *tree,
                                                const uint32_t *tokens, uint32_t n_tokens,
                                                uint32_t *n_pages) {
    struct rsr_prefix_node *node = &tree->root;
    uint32_t n_common;
    for (*n_pages = 0; n_tokens >= RSR_PAGE_TOKENS; ++*n_pages) {
        struct rsr_prefix_node *child = find_child(node, tokens, RSR_PAGE_TOKENS, &n_common);
        if (n_common < RSR_PAGE_TOKENS)
            break;
        node = child;
        tokens += RSR_PAGE_TOKENS;
        n_tokens -= RSR_PAGE_TOKENS;
    }
    use(tree, node);
    return node;
}

uint32_t rsr_prefix_tree_find(struct rsr_prefix_tree *tree, const uint32_t *tokens,
                              uint32_t n_tokens, uint32_t *pages) {
    uint32_t n_full, n_common;
    struct rsr_prefix_node *node = rsr_prefix_tree_descend(tree, tokens, n_tokens, &n_full);
    const uint32_t n = n_full * RSR_PAGE_TOKENS, n_left = n_tokens - n;
    struct rsr_prefix_node *last = NULL;
    if (n_left == 0) /* the tokens may be NULL here */
        n_common = 0;
    else
        last = find_child(node, tokens + n, n_left < RSR_PAGE_TOKENS ? n_left : RSR_PAGE_TOKENS,
                          &n_common);
    if (last != NULL)
        use(tree, last);
    if (pages == NULL)
        return n + n_common;
    if (last != NULL)
        pages[n_full] = last->page;
    for (; node != &tree->root; node = node->parent)
        pages[--n_full] = node->page;
    return n + n_common;
}

/* ---- Changing ---- */

static struct rsr_prefix_node *new_node(struct rsr_prefix_node *parent, const uint32_t *tokens,
                                        uint32_t n_tokens, uint32_t page) {
    struct rsr_prefix_node *node = calloc(1, sizeof(*node));
    if (node == NULL)
        return NULL;
    node->parent = parent;
    node->page = page;
    node->n_tokens = n_tokens;
    node->state = RSR_NO_PAGE;
    memcpy(node->tokens, tokens, n_tokens * sizeof(*tokens));
    return node;
}

bool rsr_prefix_tree_add(struct rsr_prefix_tree *tree, struct rsr_prefix_node **node,
                         const uint32_t *tokens, uint32_t n_tokens, uint32_t page,
                         uint32_t *unused) {
    struct rsr_prefix_node *parent = *node;
    uint32_t n_common;
    struct rsr_prefix_node *child = find_child(parent, tokens, n_tokens, &n_common);
    if (child != NULL && n_common == n_tokens) {
        use(tree, child);
        *node = child;
        *unused = page;
        return true;
    }
    if (child != NULL && n_common == child->n_tokens) { /* the longer page replaces it */
        *unused = child->page;
        child->page = page;
        child->n_tokens = n_tokens;
        memcpy(child->tokens, tokens, n_tokens * sizeof(*tokens));
        use(tree, child);
        *node = child;
        return true;
    }
    struct rsr_prefix_node *made = new_node(parent, tokens, n_tokens, page);
    if (made == NULL || !insert_child(parent, made)) {
        free(made);
        return false;
    }
    link_node(tree, made, parent == &tree->root ? NULL : parent);
    tree->n_pages++;
    *unused = RSR_NO_PAGE;
    *node = made;
    return true;
}

uint32_t rsr_prefix_tree_evict(struct rsr_prefix_tree *tree, const struct rsr_prefix_node *last,
                               uint32_t *state) {
    struct rsr_prefix_node *node = tree->oldest;
    *state = RSR_NO_PAGE;
    if (node == NULL || node == last)
        return RSR_NO_PAGE;
    const uint32_t page = node->page;
    *state = rsr_prefix_tree_set_state(tree, node, RSR_NO_PAGE, 0);
    unlink_node(tree, node);
    remove_child(node);
    free(node->children);
    free(node);
    tree->n_pages--;
    return page;
}

/* ---- States ---- */

uint32_t rsr_prefix_tree_find_state(const struct rsr_prefix_tree *tree, const uint32_t *tokens,
                                    uint32_t n_tokens, uint32_t *state) {
    const struct rsr_prefix_node *node = &tree->root;
    uint32_t length = 0, n_common = RSR_PAGE_TOKENS;
    *state = RSR_NO_PAGE;
    for (uint32_t at = 0; at < n_tokens && n_common == RSR_PAGE_TOKENS; at += RSR_PAGE_TOKENS) {
        const uint32_t left = n_tokens - at;
        node = find_child(node, tokens + at, left < RSR_PAGE_TOKENS ? left : RSR_PAGE_TOKENS,
                          &n_common);
        if (node == NULL || node->state == RSR_NO_PAGE || node->n_state_tokens > n_common)
            continue;
        length = at + node->n_state_tokens;
        *state = node->state;
    }
    return length;
}

struct rsr_prefix_node *rsr_prefix_tree_node_of(const struct rsr_prefix_tree *tree,
                                                const uint32_t *tokens, uint32_t n_tokens) {
    const struct rsr_prefix_node *above = &tree->root;
    struct rsr_prefix_node *node = NULL;
    for (uint32_t at = 0; at < n_tokens; at += RSR_PAGE_TOKENS, above = node) {
        const uint32_t left = n_tokens - at;
        const uint32_t n = left < RSR_PAGE_TOKENS ? left : RSR_PAGE_TOKENS;
        uint32_t n_common;
        node = find_child(above, tokens + at, n, &n_common);
        if (n_common < n)
            return NULL;
    }
    return node;
}

uint32_t rsr_prefix_tree_set_state(struct rsr_prefix_tree *tree, struct rsr_prefix_node *node,
                                   uint32_t state, uint32_t n_tokens) {
    const uint32_t before = node->state;
    tree->n_states += state != RSR_NO_PAGE;
    tree->n_states -= before != RSR_NO_PAGE;
    node->state = state;
    node->n_state_tokens = n_tokens;
    return before;
}

uint32_t rsr_prefix_tree_take_state(struct rsr_prefix_tree *tree) {
    for (struct rsr_prefix_node *node = tree->oldest; node != NULL; node = node->newer)
        if (node->state != RSR_NO_PAGE)
            return rsr_prefix_tree_set_state(tree, node, RSR_NO_PAGE, 0);
    return RSR_NO_PAGE;
}
