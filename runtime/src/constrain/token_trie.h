/* token_trie.h - the bytes of a vocabulary's tokens as a prefix tree, which an automaton walks. If
 * the automaton cannot read a byte, all tokens that continue with it are ruled out at once.
 *
 * Nodes lie in the order of a walk, the tokens of a node before those below it:
 *
 *     node        0 root   1 "a"   2 "ab"   3 "b"
 *     end         4        3       3        4          where the nodes below it end
 *     n_tokens    0        1       3        3          up to here, and with it
 */
#ifndef RSR_TOKEN_TRIE_H
#define RSR_TOKEN_TRIE_H

#include "runtime.h"

/* Longer tokens are left out. */
#define RSR_TRIE_MAX_DEPTH 256u

struct rsr_trie_node {
    uint32_t end;
    uint32_t n_tokens;
    uint16_t depth; /* bytes up to here */
    uint8_t byte;
};

struct rsr_token_trie {
    struct rsr_trie_node *nodes;
    uint32_t n_nodes;
    uint32_t *tokens; /* in the order of their nodes */
    uint32_t n_tokens;
};

/* A token and its bytes; the trie does not borrow them. */
struct rsr_token_bytes {
    const char *bytes;
    size_t size;
    uint32_t token;
};

/* Sorts the tokens, none of which is empty. */
RSR_NODISCARD rsr_status rsr_trie_create(struct rsr_token_bytes *tokens, uint32_t n,
                                         struct rsr_token_trie *trie, rsr_error *err);
void rsr_trie_free(struct rsr_token_trie *trie);

/* Tokens that end at a node: tokens[*begin] up to the result. */
static inline uint32_t rsr_trie_tokens(const struct rsr_token_trie *trie, uint32_t node,
                                       uint32_t *begin) {
    *begin = node > 0 ? trie->nodes[node - 1].n_tokens : 0;
    return trie->nodes[node].n_tokens;
}

static inline void rsr_bits_set(uint32_t *words, uint32_t bit) {
    words[bit / 32] |= 1u << bit % 32;
}

#endif
