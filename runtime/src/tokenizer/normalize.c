/* normalize.c - the normalizers of a tokenizer, one after the other: see normalize.h. */
#include <string.h>

#include "nfc.h"
#include "normalize.h"

static rsr_status no_memory(rsr_error *err) {
    return rsr_fail(err, RSR_ERR_MEMORY, "no memory to normalise the text");
}

static rsr_status too_long(rsr_error *err) {
    return rsr_fail(err, RSR_ERR_TEXT,
                    "the text has more than %d bytes when the tokenizer has normalised it",
                    RSR_MAX_TEXT_BYTES);
}

/* The next place of the pattern in text[at..n), or n. */
static size_t find_literal(const char *text, size_t at, size_t n, struct rsr_literal pattern) {
    while (n - at >= pattern.n_bytes) {
        const char *first = memchr(text + at, pattern.bytes[0], n - at - pattern.n_bytes + 1);
        if (!first)
            break;
        at = (size_t)(first - text);
        if (memcmp(first, pattern.bytes, pattern.n_bytes) == 0)
            return at;
        at++;
    }
    return n;
}

rsr_status rsr_append_replaced(struct rsr_bytes *out, const char *text, size_t n_bytes,
                               struct rsr_literal pattern, struct rsr_literal content,
                               rsr_error *err) {
    for (size_t at = 0; at < n_bytes;) {
        size_t found = find_literal(text, at, n_bytes, pattern);
        if (!rsr_bytes_append(out, text + at, found - at))
            return no_memory(err);
        at = found;
        if (at < n_bytes) {
            if (!rsr_bytes_append(out, content.bytes, content.n_bytes))
                return no_memory(err);
            at += pattern.n_bytes;
        }
        if (out->size > RSR_MAX_TEXT_BYTES)
            return too_long(err);
    }
    return RSR_OK;
}

/* Appends the text as changed by one normalizer. Only the literals of its kind were checked. */
static rsr_status apply(const struct rsr_encoder *encoder, const struct rsr_normalizer *normalizer,
                        const char *text, size_t n_bytes, struct rsr_bytes *out, rsr_error *err) {
    bool ok;
    if (normalizer->kind == RSR_NORMALIZER_NFC) {
        ok = rsr_nfc_append(out, text, n_bytes);
    } else {
        const struct rsr_replacement *r = &normalizer->text;
        const struct rsr_literal content =
            rsr_literal_at(encoder->header, r->content_at, r->content_bytes);
        if (normalizer->kind == RSR_NORMALIZER_REPLACE)
            return rsr_append_replaced(
                out, text, n_bytes,
                rsr_literal_at(encoder->header, r->pattern_at, r->pattern_bytes), content, err);
        ok = rsr_bytes_append(out, content.bytes, content.n_bytes) &&
             rsr_bytes_append(out, text, n_bytes);
    }
    if (!ok)
        return no_memory(err);
    return out->size > RSR_MAX_TEXT_BYTES ? too_long(err) : RSR_OK;
}

rsr_status rsr_normalize(const struct rsr_encoder *encoder, struct rsr_bytes work[2],
                         bool continues, const char **text, size_t *n_bytes, rsr_error *err) {
    struct rsr_bytes *out = work, *other = work + 1;
    for (uint32_t i = 0; i<encoder->header->n_normalizers && * n_bytes> 0; i++) {
        const struct rsr_normalizer *normalizer = &encoder->normalizers[i];
        if (normalizer->kind == RSR_NORMALIZER_NFC && !rsr_nfc_may_change(*text, *n_bytes))
            continue;
        if (normalizer->kind == RSR_NORMALIZER_PREPEND && continues)
            continue;
        out->size = 0;
        rsr_status status = apply(encoder, normalizer, *text, *n_bytes, out, err);
        if (status != RSR_OK)
            return status;
        *text = out->data;
        *n_bytes = out->size;
        struct rsr_bytes *swap = out;
        out = other;
        other = swap;
    }
    return RSR_OK;
}
