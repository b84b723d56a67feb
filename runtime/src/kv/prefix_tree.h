/* prefix_tree.h - which KV pages hold which tokens: a tree whose nodes are pages.
 *
 * A node is a page and its tokens, RSR_PAGE_TOKENS of them or, of a leaf, fewer; what stands on the
 * way from the root to it are the tokens before. Children are sorted by their tokens, and none
 * begins with all of another's: the child that has most in common with a text is a neighbour of the
 * text's place.
 *
 * All nodes are in a list by their last use. A node is never newer than the one above it, so that
 * the oldest is a leaf. The tree owns a reference to each of its pages, which the caller gives and
 * takes (kvcache.h). Not thread-safe.
 */
#ifndef RSR_PREFIX_TREE_H
#define RSR_PREFIX_TREE_H

#include "kvcache.h"

struct rsr_prefix_node {
    struct rsr_prefix_node *parent, *newer, *older;
    struct rsr_prefix_node **children; /* [n_children], in memory for `capacity` */
    uint32_t n_children, capacity;
    uint32_t page, n_tokens;
    uint32_t tokens[RSR_PAGE_TOKENS];
};

struct rsr_prefix_tree {
    struct rsr_prefix_node root; /* has no page, and is in no list */
    struct rsr_prefix_node *newest, *oldest;
    uint32_t n_pages;
};

/* The longest beginning of `tokens` that the tree has, whose pages become the newest: returns its
 * length, and its pages, ceil(length / RSR_PAGE_TOKENS) of them; of the last a beginning may be
 * meant. `pages` may be NULL. */
uint32_t rsr_prefix_tree_find(struct rsr_prefix_tree *tree, const uint32_t *tokens,
                              uint32_t n_tokens, uint32_t *pages);

/* The node of the longest beginning of `tokens` in full pages, which become the newest, and their
 * number: rsr_prefix_tree_add() goes on there. */
struct rsr_prefix_node *rsr_prefix_tree_descend(struct rsr_prefix_tree *tree,
                                                const uint32_t *tokens, uint32_t n_tokens,
                                                uint32_t *n_pages);

/* Puts a page below a node that rsr_prefix_tree_descend or this function gave last. *node becomes
 * its node, and *unused the page that the tree has no use for: `page` itself where the tree has all
 * of its tokens already, one with fewer of them that it takes the place of, or RSR_NO_PAGE. False:
 * no memory, and nothing has changed. */
RSR_NODISCARD bool rsr_prefix_tree_add(struct rsr_prefix_tree *tree, struct rsr_prefix_node **node,
                                       const uint32_t *tokens, uint32_t n_tokens, uint32_t page,
                                       uint32_t *unused);

/* Takes the oldest page out; RSR_NO_PAGE: there is none but `last` and what is above it, which
 * stay. */
uint32_t rsr_prefix_tree_evict(struct rsr_prefix_tree *tree, const struct rsr_prefix_node *last);

#endif
