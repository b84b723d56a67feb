/* model_vocabulary.c - the vocabulary of a model, through rsr.h alone: it works with modules of any
 * age. */
#include <stdlib.h>
#include <string.h>

#include "constrained.h"
#include "host/utf8.h"

/* Appends the bytes that a token adds to a text. Stop and special tokens add none. */
static rsr_status append_token(const rsr_model *model, uint32_t token, struct rsr_bytes *bytes,
                               rsr_error *err) {
    rsr_token_info info = RSR_TOKEN_INFO_INIT;
    rsr_error failure = RSR_ERROR_INIT;
    size_t n = 0;
    if (!rsr_bytes_reserve(bytes, RSR_TRIE_MAX_DEPTH))
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a vocabulary");
    const rsr_status status = rsr_model_get_token(model, token, bytes->data + bytes->size,
                                                  RSR_TRIE_MAX_DEPTH, &n, &info, &failure);
    if (status == RSR_ERR_FULL) /* longer than every token that is kept; this is no failure */
        return RSR_OK;
    if (status != RSR_OK)
        return rsr_fail(err, status, "%s", failure.message);
    if (!info.is_special && !info.is_stop)
        bytes->size += n;
    return RSR_OK;
}

rsr_status rsr_vocabulary_create(const rsr_model *model, rsr_vocabulary **vocabulary,
                                 rsr_error *err) {
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    if (!model || !vocabulary || rsr_model_get_info(model, &info) != RSR_OK)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "rsr_vocabulary_create: a parameter is NULL, or no model");
    struct rsr_bytes bytes = {0};
    struct rsr_token_bytes *tokens = calloc((size_t)info.vocab + 1, sizeof(*tokens));
    rsr_status status =
        tokens ? RSR_OK : rsr_fail(err, RSR_ERR_MEMORY, "no memory for a vocabulary");
    for (uint32_t i = 0; i < info.vocab && status == RSR_OK; i++) {
        const size_t before = bytes.size;
        status = append_token(model, i, &bytes, err);
        tokens[i].size = bytes.size - before;
    }
    size_t at = 0;
    for (uint32_t i = 0; i < info.vocab && status == RSR_OK; at += tokens[i++].size)
        tokens[i].bytes = bytes.data + at;
    if (status == RSR_OK)
        status = rsr_vocabulary_make(tokens, info.vocab, info.stop_tokens, info.n_stop_tokens,
                                     vocabulary, err);
    free(tokens);
    rsr_bytes_free(&bytes);
    return status;
}
