/* detokenize.h - tokens to text, one token at a time.
 *
 * The text of a token may depend on its neighbours: bytes of one character lie in several tokens, a
 * run of byte tokens is text only as a whole, and the first space of a text may be the tokenizer's
 * own. So bytes are held back until their text is certain. All pieces together are the text that
 * the `tokenizers` library makes of all tokens at once.
 */
#ifndef RSR_DETOKENIZE_H
#define RSR_DETOKENIZE_H

#include "tokenizer.h"

struct rsr_text_stream {
    const rsr_model *model;
    bool skip_special;
    bool started;             /* a token has come */
    uint32_t strip_left;      /* characters that may still go from the front */
    struct rsr_bytes held;    /* bytes that later tokens decide about */
    struct rsr_bytes work[2]; /* a token that is being changed */
    struct rsr_bytes bytes;   /* the bytes that a token stands for */
};

/* Begins a text, for a model with a tokenizer; with `continues`, the text continues another,
 * unknown text. */
void rsr_text_stream_begin(struct rsr_text_stream *s, const rsr_model *model, bool skip_special,
                           bool continues);
void rsr_text_stream_free(struct rsr_text_stream *s);

/* The text that follows continues these tokens, whose own text is not wanted. */
RSR_NODISCARD rsr_status rsr_text_stream_continue(struct rsr_text_stream *s, const uint32_t *tokens,
                                                  size_t n_tokens, rsr_error *err);

/* Sets s->bytes to the bytes that the token stands for, before they are repaired or stripped; a
 * token without text has none. *is_byte: the token stands for a single byte. RSR_ERR_ARGUMENT for a
 * token outside the vocabulary. */
RSR_NODISCARD rsr_status rsr_text_stream_find(struct rsr_text_stream *s, uint32_t token,
                                              bool *is_byte, rsr_error *err);

/* Appends the text that is certain with this token: complete UTF-8, often none. RSR_ERR_ARGUMENT
 * for a token outside the vocabulary. */
RSR_NODISCARD rsr_status rsr_text_stream_push(struct rsr_text_stream *s, uint32_t token,
                                              struct rsr_bytes *out, rsr_error *err);

/* Appends the text that is held back, because no token follows that belongs to it. */
RSR_NODISCARD rsr_status rsr_text_stream_finish(struct rsr_text_stream *s, struct rsr_bytes *out,
                                                rsr_error *err);

#endif
