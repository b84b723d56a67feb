/* token_trie.c - makes the tree of token_trie.h from tokens in the order of their bytes. */
#include "token_trie.h"

#include <stdlib.h>
#include <string.h>

static int compare_bytes(const void *a, const void *b) {
    const struct rsr_token_bytes *x = a, *y = b;
    const size_t n = x->size < y->size ? x->size : y->size;
    const int order = memcmp(x->bytes, y->bytes, n);
    if (order != 0)
        return order;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

static size_t common_bytes(const struct rsr_token_bytes *a, const struct rsr_token_bytes *b) {
    size_t n = 0;
    while (n < a->size && n < b->size && a->bytes[n] == b->bytes[n])
        n++;
    return n;
}

/* The root and a node for each byte that the token before does not share. */
static size_t count_nodes(const struct rsr_token_bytes *tokens, uint32_t n) {
    size_t count = 1;
    for (uint32_t i = 0; i < n; i++)
        count += tokens[i].size - (i > 0 ? common_bytes(&tokens[i - 1], &tokens[i]) : 0);
    return count;
}

static void fill(struct rsr_token_trie *trie, const struct rsr_token_bytes *tokens, uint32_t n) {
    uint32_t path[RSR_TRIE_MAX_DEPTH + 1] = {0};
    size_t depth = 0;
    trie->nodes[trie->n_nodes++] = (struct rsr_trie_node){0};
    for (uint32_t i = 0; i < n; i++) {
        const size_t shared = i > 0 ? common_bytes(&tokens[i - 1], &tokens[i]) : 0;
        for (; depth > shared; depth--)
            trie->nodes[path[depth]].end = trie->n_nodes;
        for (; depth < tokens[i].size; path[depth] = trie->n_nodes++) {
            const uint8_t byte = (uint8_t)tokens[i].bytes[depth++];
            trie->nodes[trie->n_nodes] =
                (struct rsr_trie_node){.n_tokens = i, .depth = (uint16_t)depth, .byte = byte};
        }
        trie->tokens[i] = tokens[i].token;
        trie->nodes[trie->n_nodes - 1].n_tokens = i + 1;
    }
    for (size_t i = 0; i <= depth; i++)
        trie->nodes[path[i]].end = trie->n_nodes;
    trie->n_tokens = n;
}

rsr_status rsr_trie_create(struct rsr_token_bytes *tokens, uint32_t n, struct rsr_token_trie *trie,
                           rsr_error *err) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (tokens[i].size <= RSR_TRIE_MAX_DEPTH)
            tokens[kept++] = tokens[i];
    if (kept > 0)
        qsort(tokens, kept, sizeof(*tokens), compare_bytes);
    const size_t n_nodes = count_nodes(tokens, kept);
    struct rsr_token_trie made = {0};
    if (n_nodes < UINT32_MAX / 2) {
        made.nodes = calloc(n_nodes, sizeof(*made.nodes));
        made.tokens = calloc((size_t)kept + 1, sizeof(*made.tokens));
    }
    if (!made.nodes || !made.tokens) {
        rsr_trie_free(&made);
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the bytes of %u tokens", kept);
    }
    fill(&made, tokens, kept);
    *trie = made;
    return RSR_OK;
}

void rsr_trie_free(struct rsr_token_trie *trie) {
    free(trie->nodes);
    free(trie->tokens);
    *trie = (struct rsr_token_trie){0};
}
