/* vocabulary.c - the bytes of a vocabulary's tokens, kept for as long as constraints need them. */
#include <stdlib.h>
#include <string.h>

#include "constrained.h"

/* Adds up the bytes of all tokens, less those that are too long. */
static bool fill_offsets(const struct rsr_token_bytes *tokens, struct rsr_vocabulary *v) {
    size_t size = 0;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        v->offsets[i] = (uint32_t)size;
        size += tokens[i].size <= RSR_TRIE_MAX_DEPTH ? tokens[i].size : 0;
        if (size > UINT32_MAX)
            return false;
    }
    v->offsets[v->n_tokens] = (uint32_t)size;
    return true;
}

/* Copies the bytes, and makes the tree of them. */
static rsr_status fill(const struct rsr_token_bytes *tokens, struct rsr_vocabulary *v,
                       rsr_error *err) {
    struct rsr_token_bytes *sorted = calloc((size_t)v->n_tokens + 1, sizeof(*sorted));
    v->bytes = calloc((size_t)v->offsets[v->n_tokens] + 1, 1);
    if (!sorted || !v->bytes) {
        free(sorted);
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a vocabulary");
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        const uint32_t size = v->offsets[i + 1] - v->offsets[i];
        if (size == 0)
            continue;
        memcpy(v->bytes + v->offsets[i], tokens[i].bytes, size);
        sorted[n++] = (struct rsr_token_bytes){v->bytes + v->offsets[i], size, i};
    }
    const rsr_status status = rsr_trie_create(sorted, n, &v->trie, err);
    free(sorted);
    return status;
}

rsr_status rsr_vocabulary_make(const struct rsr_token_bytes *tokens, uint32_t n_tokens,
                               const uint32_t *stop_tokens, uint32_t n_stop_tokens,
                               rsr_vocabulary **vocabulary, rsr_error *err) {
    struct rsr_vocabulary *v = calloc(1, sizeof(*v));
    rsr_status status = RSR_OK;
    if (!v)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a vocabulary");
    v->n_tokens = n_tokens;
    v->n_words = n_tokens / 32 + (n_tokens % 32 > 0);
    v->offsets = calloc((size_t)n_tokens + 1, sizeof(*v->offsets));
    v->stop_tokens = calloc((size_t)n_stop_tokens + 1, sizeof(*v->stop_tokens));
    if (!v->offsets || !v->stop_tokens || !fill_offsets(tokens, v))
        status = rsr_fail(err, RSR_ERR_MEMORY, "no memory for a vocabulary");
    for (uint32_t i = 0; i < n_stop_tokens && status == RSR_OK; i++)
        if (stop_tokens[i] < n_tokens)
            v->stop_tokens[v->n_stop_tokens++] = stop_tokens[i];
    if (status == RSR_OK)
        status = fill(tokens, v, err);
    if (status != RSR_OK) {
        rsr_vocabulary_destroy(v);
        return status;
    }
    *vocabulary = v;
    return RSR_OK;
}

void rsr_vocabulary_destroy(rsr_vocabulary *vocabulary) {
    if (!vocabulary)
        return;
    rsr_trie_free(&vocabulary->trie);
    free(vocabulary->bytes);
    free(vocabulary->offsets);
    free(vocabulary->stop_tokens);
    free(vocabulary);
}

rsr_status rsr_constraint_create(const rsr_vocabulary *vocabulary, rsr_constraint_kind kind,
                                 const char *text, size_t text_bytes, rsr_constraint **constraint,
                                 rsr_error *err) {
    if (!vocabulary || !text || !constraint ||
        (kind != RSR_CONSTRAINT_JSON_SCHEMA && kind != RSR_CONSTRAINT_GRAMMAR))
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "rsr_constraint_create: a parameter is NULL or unknown");
    struct rsr_constraint *made = calloc(1, sizeof(*made));
    if (!made)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a constraint");
    made->vocabulary = vocabulary;
    rsr_status status = kind == RSR_CONSTRAINT_GRAMMAR
                            ? rsr_gbnf_read(text, text_bytes, &made->grammar, err)
                            : rsr_schema_read(text, text_bytes, &made->grammar, err);
    if (status == RSR_OK)
        status = rsr_spans_create(&made->grammar, &vocabulary->trie, vocabulary->n_words,
                                  made->spans, &made->n_spans, err);
    if (status != RSR_OK) {
        rsr_constraint_destroy(made);
        return status;
    }
    *constraint = made;
    return RSR_OK;
}

void rsr_constraint_destroy(rsr_constraint *constraint) {
    if (!constraint)
        return;
    for (uint32_t i = 0; i < constraint->n_spans; i++)
        rsr_span_free(&constraint->spans[i]);
    rsr_grammar_free(&constraint->grammar);
    free(constraint);
}
