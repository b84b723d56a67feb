/* normalize.h - the tokenizer's normalizers, and replacement of literals. */
#ifndef RSR_NORMALIZE_H
#define RSR_NORMALIZE_H

#include "tokenizer.h"

#define RSR_MAX_TEXT_BYTES INT32_MAX /* symbols and ranks are 32-bit */

/* A literal of the section. */
struct rsr_literal {
    const char *bytes;
    size_t n_bytes;
};

static inline struct rsr_literal rsr_literal_at(const struct rsr_tokenizer_header *header,
                                                uint64_t at, uint32_t n_bytes) {
    return (struct rsr_literal){(const char *)header + at, n_bytes};
}

/* Points *text to the normal form of valid UTF-8: the text itself, or one in `work`, which the
 * caller frees. With `continues` nothing is put in front of it. */
RSR_NODISCARD rsr_status rsr_normalize(const struct rsr_encoder *encoder, struct rsr_bytes work[2],
                                       bool continues, const char **text, size_t *n_bytes,
                                       rsr_error *err);

/* Appends valid UTF-8 with every `pattern` replaced. RSR_ERR_TEXT if that makes the whole longer
 * than RSR_MAX_TEXT_BYTES. */
RSR_NODISCARD rsr_status rsr_append_replaced(struct rsr_bytes *out, const char *text,
                                             size_t n_bytes, struct rsr_literal pattern,
                                             struct rsr_literal content, rsr_error *err);

#endif
