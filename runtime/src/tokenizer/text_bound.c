/* text_bound.c - the largest number of bytes of text that one token stands for, which bounds a text
 * by its tokens.
 *
 * Every byte of a text becomes part of a token, unless the tokenizer skips it (is_passed_over);
 * then there is no bound. Before that, the text is changed:
 *   repair        an ill-formed part of 1 to 3 bytes becomes U+FFFD, of 3: no text gets shorter
 *   NFC           each part of a character's canonical decomposition comes from one character of
 *                 the text. Of all characters the longest that their parts can come from have at
 *                 most 9/2 of their own bytes (U+0390, of 2 bytes, three parts from 3 bytes each;
 *                 test_tokenizer.c tries them all)
 *   replacements  a pattern's bytes become the content's
 * A token of the model then covers its own text, or, as unk_token, a character of 4 bytes.
 */
#include "tokenizer.h"

#define MOST_NFC_BYTES 5u

static bool knows_all_bytes(const struct rsr_tokenizer_header *header) {
    for (uint32_t b = 0; b < 0xf5; b++) /* the bytes of UTF-8, except C0 and C1 */
        if (header->byte_token[b] == RSR_NO_TOKEN && b != 0xc0 && b != 0xc1)
            return false;
    return true;
}

/* Whether a stretch of text, however long, may become no token or a single one. */
static bool is_passed_over(const struct rsr_encoder *encoder) {
    const struct rsr_tokenizer_header *header = encoder->header;
    const bool drops = header->alphabet == RSR_BPE_BYTES || header->unk_token == RSR_NO_TOKEN ||
                       header->fuse_unk != 0;
    bool passes = drops && !knows_all_bytes(header);
    for (uint32_t i = 0; i < header->n_pretokenizers; i++) {
        const struct rsr_pretokenizer *p = &encoder->pretokenizers[i];
        passes = passes || (p->kind == RSR_PRETOKENIZER_SPLIT && p->behavior == 1);
    }
    for (uint32_t id = 0; id < header->n_tokens; id++)
        passes = passes || ((encoder->flags[id] & RSR_TOKEN_ADDED) != 0 &&
                            (encoder->flags[id] & RSR_TOKEN_SPECIAL) == 0 &&
                            (encoder->flags[id] & (RSR_TOKEN_LSTRIP | RSR_TOKEN_RSTRIP)) != 0);
    return passes;
}

uint64_t rsr_encoder_text_bytes(const struct rsr_encoder *encoder) {
    const struct rsr_tokenizer_header *header = encoder->header;
    uint64_t bytes = 4;
    if (is_passed_over(encoder))
        return 0;
    for (uint32_t id = 0; id < header->n_tokens; id++) {
        const uint64_t own = encoder->text_begin[id + 1] - encoder->text_begin[id];
        bytes = own > bytes ? own : bytes;
    }
    for (uint32_t i = 0; i < header->n_normalizers; i++) {
        const struct rsr_normalizer *n = &encoder->normalizers[i];
        uint64_t factor = n->kind == RSR_NORMALIZER_NFC ? MOST_NFC_BYTES : 1;
        if (n->kind == RSR_NORMALIZER_REPLACE && n->text.content_bytes < n->text.pattern_bytes)
            factor =
                n->text.content_bytes == 0 ? 0 : n->text.pattern_bytes / n->text.content_bytes + 1u;
        if (factor == 0 || __builtin_mul_overflow(bytes, factor, &bytes))
            return 0;
    }
    return bytes;
}
