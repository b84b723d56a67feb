/* added_tokens.h - finds added tokens such as <|eot_id|> in text, as the first step of
 * tokenising. */
#ifndef RSR_ADDED_TOKENS_H
#define RSR_ADDED_TOKENS_H

#include "runtime.h"

struct rsr_added_token {
    const char *content; /* borrowed from the section, or owned by the set */
    size_t n_bytes;
    uint32_t id;
    uint8_t flags; /* enum rsr_token_flag */
};

struct rsr_added_tokens {
    struct rsr_added_token *tokens; /* by content */
    uint32_t n_tokens;
    uint32_t first[257]; /* tokens whose first byte is b: first[b] .. first[b + 1] */
};

/* Sorts and indexes the tokens, none of which is empty. Of equal contents only the lowest id is
 * kept. */
void rsr_added_tokens_index(struct rsr_added_tokens *set);

/* A stretch of text: id is RSR_NO_TOKEN between added tokens. */
typedef rsr_status rsr_segment_fn(void *user, uint32_t id, const char *text, size_t n_bytes,
                                  rsr_error *err);

/* Cuts valid UTF-8 into added tokens and what lies between them. The longest token at the leftmost
 * place wins. With parse_special false, special tokens count as plain text. `marks` may be NULL;
 * otherwise it marks the bytes that come from a message: a special token with a marked byte is not
 * found. */
RSR_NODISCARD rsr_status rsr_added_tokens_split(const struct rsr_added_tokens *set,
                                                const char *text, const uint8_t *marks,
                                                size_t n_bytes, bool parse_special,
                                                rsr_segment_fn *segment, void *user,
                                                rsr_error *err);

#endif
