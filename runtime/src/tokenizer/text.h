/* text.h - the text side of a model: tokenizer and chat template, built at open, immutable. */
#ifndef RSR_TEXT_H
#define RSR_TEXT_H

#include "host/utf8.h"
#include "runtime.h"

struct rsr_encoder;       /* tokenizer.h */
struct rsr_chat_template; /* chat_template.h */
struct rsr_chat_text;

struct rsr_text {
    struct rsr_encoder *encoder;
    struct rsr_chat_template
        *chat;              /* NULL: the model has no template, or chat_error says why not */
    rsr_status chat_status; /* of reading the template */
    rsr_error chat_error;
};

/* Whether the model is of this process and has a tokenizer. */
RSR_NODISCARD rsr_status rsr_check_tokenizer(const rsr_model *model, rsr_error *err);

/* rsr_tokenize without a capacity: the caller frees the tokens; NULL if there are none. */
RSR_NODISCARD rsr_status rsr_tokenize_all(const rsr_model *model, const char *text,
                                          size_t text_bytes, uint32_t flags, uint32_t **tokens,
                                          size_t *n_tokens, rsr_error *err);

/* Tokenises a rendered chat, for a model with a tokenizer. Special tokens are parsed, unless one of
 * their bytes is marked. If the model has a BOS, the tokenizer's prefix is added unless the text
 * begins with it. */
RSR_NODISCARD rsr_status rsr_tokenize_chat(const rsr_model *model, const struct rsr_chat_text *chat,
                                           uint32_t **tokens, size_t *n_tokens, rsr_error *err);

/* Copies the tokens that fit to the caller, reports their number n and frees them: the rule of
 * rsr.h for tokens. */
RSR_NODISCARD rsr_status rsr_tokens_deliver(uint32_t *all, size_t n, uint32_t *tokens,
                                            size_t capacity, size_t *n_tokens, rsr_error *err);

/* Copies the bytes that fit to the caller and reports the full length: the rule of rsr.h for
 * text. */
RSR_NODISCARD rsr_status rsr_text_deliver(const struct rsr_bytes *bytes, char *text,
                                          size_t capacity, size_t *text_bytes, rsr_error *err);

#endif
