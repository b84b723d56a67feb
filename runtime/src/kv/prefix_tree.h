/* prefix_tree.h - which KV pages hold which tokens: a tree whose nodes are pages.
 *
 * A node is a page and its RSR_PAGE_TOKENS tokens; a leaf may have fewer. The nodes on the path
 * from the root hold the tokens before. Children are sorted by their tokens, and no child's tokens
 * are a prefix of another's. So the child with the longest common prefix with a text is a neighbour
 * of the text's place.
 *
 * A node may also have the recurrent state after some of its tokens, the path's before them
 * included.
 *
 * A list holds all nodes by their last use. A node is never newer than its parent, so the oldest
 * node is a leaf. The tree owns a reference to each of its pages and states; the caller adds and
 * removes these references (kvcache.h). Not thread-safe.
 */
#ifndef RSR_PREFIX_TREE_H
#define RSR_PREFIX_TREE_H

#include "kvcache.h"

struct rsr_prefix_node {
    struct rsr_prefix_node *parent, *newer, *older;
    struct rsr_prefix_node **children; /* [n_children], in memory for `capacity` */
    uint32_t n_children, capacity;
    uint32_t page, n_tokens;
    uint32_t state, n_state_tokens; /* RSR_NO_PAGE: none; else of 1 .. n_tokens of the tokens */
    uint32_t tokens[RSR_PAGE_TOKENS];
};

struct rsr_prefix_tree {
    struct rsr_prefix_node root; /* has no page, and is in no list */
    struct rsr_prefix_node *newest, *oldest;
    uint32_t n_pages, n_states;
};

/* Finds the longest prefix of `tokens` that the tree has; its pages become the newest. Returns its
 * length and fills `pages` (or NULL) with its ceil(length / RSR_PAGE_TOKENS) pages. The last page
 * may hold more tokens than the prefix needs. */
uint32_t rsr_prefix_tree_find(struct rsr_prefix_tree *tree, const uint32_t *tokens,
                              uint32_t n_tokens, uint32_t *pages);

/* Finds the node of the longest prefix of `tokens` in full pages, and the number of these pages,
 * which become the newest. rsr_prefix_tree_add() continues from this node. */
struct rsr_prefix_node *rsr_prefix_tree_descend(struct rsr_prefix_tree *tree,
                                                const uint32_t *tokens, uint32_t n_tokens,
                                                uint32_t *n_pages);

/* Adds a page below *node, which rsr_prefix_tree_descend or this function returned last; *node
 * becomes the page's node. *unused receives the page that the tree does not need: `page` itself, if
 * the tree has all of its tokens already; a page with fewer of these tokens, which `page` replaces;
 * or RSR_NO_PAGE. False: no memory, and nothing has changed. */
RSR_NODISCARD bool rsr_prefix_tree_add(struct rsr_prefix_tree *tree, struct rsr_prefix_node **node,
                                       const uint32_t *tokens, uint32_t n_tokens, uint32_t page,
                                       uint32_t *unused);

/* Removes the oldest page and returns it; *state receives the state of its node, or RSR_NO_PAGE.
 * `last` and the nodes above it stay; RSR_NO_PAGE: there are no others. */
uint32_t rsr_prefix_tree_evict(struct rsr_prefix_tree *tree, const struct rsr_prefix_node *last,
                               uint32_t *state);

/* The longest prefix of `tokens` whose state the tree has: its length, 0 if there is none, and in
 * *state the state. */
uint32_t rsr_prefix_tree_find_state(const struct rsr_prefix_tree *tree, const uint32_t *tokens,
                                    uint32_t n_tokens, uint32_t *state);

/* The node that holds the last of the tokens; NULL: the tree does not have all of them, or there
 * are none. */
struct rsr_prefix_node *rsr_prefix_tree_node_of(const struct rsr_prefix_tree *tree,
                                                const uint32_t *tokens, uint32_t n_tokens);

/* Gives the node a state of n_tokens of its tokens, or with RSR_NO_PAGE none. Returns the one that
 * it had, or RSR_NO_PAGE. */
uint32_t rsr_prefix_tree_set_state(struct rsr_prefix_tree *tree, struct rsr_prefix_node *node,
                                   uint32_t state, uint32_t n_tokens);

/* Takes the state of the oldest node that has one; RSR_NO_PAGE: there is none. */
uint32_t rsr_prefix_tree_take_state(struct rsr_prefix_tree *tree);

#endif
