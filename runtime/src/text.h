/* text.h - the text side of a model: tokenizer and chat template, built at open, immutable. */
#ifndef RSR_TEXT_H
#define RSR_TEXT_H

#include "runtime.h"
#include "utf8.h"

struct rsr_encoder;       /* tokenizer.h */
struct rsr_chat_template; /* chat_template.h */

struct rsr_text {
    struct rsr_encoder *encoder;
    struct rsr_chat_template
        *chat;              /* NULL: the model has no template, or chat_error says why not */
    rsr_status chat_status; /* of reading the template */
    rsr_error chat_error;
};

/* Appends the bytes of one token of a model with a tokenizer; they may be part of a character.
 * Tokens without text add nothing; RSR_ERR_ARGUMENT for a token outside the vocabulary. */
RSR_NODISCARD rsr_status rsr_text_append_token(const rsr_model *model, uint32_t token,
                                               bool skip_special, struct rsr_bytes *out,
                                               rsr_error *err);

/* Copies what fits of `bytes` to the caller and tells the full length: the rule of rsr.h for text. */
RSR_NODISCARD rsr_status rsr_text_deliver(const struct rsr_bytes *bytes, char *text,
                                          size_t capacity, size_t *text_bytes, rsr_error *err);

#endif
