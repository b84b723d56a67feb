/* detokenize.c - tokens to text: see detokenize.h.
 *
 * Byte level: tokens are bytes; invalid UTF-8 is repaired. Text: literals are replaced in every
 * token, then tokens <0xNN> become bytes, then characters are removed from the front. One
 * difference from the library is intended: the library forgets that a token is special if
 * normalisation changes its text.
 */
#include <string.h>

#include "byte_alphabet.h"
#include "detokenize.h"
#include "normalize.h"
#include "text.h"

#define REPLACEMENT "\xef\xbf\xbd"

static rsr_status no_memory(rsr_error *err) {
    return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the text of the tokens");
}

void rsr_text_stream_begin(struct rsr_text_stream *s, const rsr_model *model, bool skip_special,
                           bool continues) {
    const uint32_t strip_count = model->text->encoder->header->decoder.strip_count;
    *s = (struct rsr_text_stream){.model = model,
                                  .skip_special = skip_special,
                                  .started = continues,
                                  .strip_left = continues ? 0 : strip_count};
}

void rsr_text_stream_free(struct rsr_text_stream *s) {
    rsr_bytes_free(&s->held);
    rsr_bytes_free(&s->bytes);
    for (size_t i = 0; i < sizeof(s->work) / sizeof(s->work[0]); i++)
        rsr_bytes_free(&s->work[i]);
}

/* ---- Byte level
 * --------------------------------------------------------------------------------- */

/* The decoder maps an added token through the alphabet too if all of its characters are in it,
 * so an added "e with acute" decodes to the single byte E9. */
static bool append_added(const char *text, size_t n, struct rsr_bytes *out) {
    size_t begin = out->size;
    for (size_t i = 0; i < n;) {
        struct rsr_utf8_step step = rsr_utf8_scan(text + i, n - i);
        int byte = rsr_alphabet_byte(step.code);
        if (byte < 0) {
            out->size = begin;
            return rsr_bytes_append(out, text, n);
        }
        char c = (char)byte;
        if (!rsr_bytes_append(out, &c, 1))
            return false;
        i += step.length;
    }
    return true;
}

/* Moves the first n held bytes to the text. */
static bool release(struct rsr_text_stream *s, size_t n, struct rsr_bytes *out) {
    if (!rsr_utf8_append_repaired(out, s->held.data, n))
        return false;
    s->held.size -= n;
    if (s->held.size > 0)
        memmove(s->held.data, s->held.data + n, s->held.size);
    return true;
}

static bool push_bytes(struct rsr_text_stream *s, struct rsr_bytes *out) {
    return rsr_bytes_append(&s->held, s->bytes.data, s->bytes.size) &&
           release(s, s->held.size - rsr_utf8_incomplete_tail(s->held.data, s->held.size), out);
}

/* ---- Text
 * --------------------------------------------------------------------------------------- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that a token <0xNN> stands for, or -1. The library's parser takes "+N" for a number
 * too. */
static int byte_of_token(const char *text, size_t n) {
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = text[3] == '+' ? 0 : hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Appends text, without characters that must be removed from the front of the whole text. */
static bool append_stripped(struct rsr_text_stream *s, const char *text, size_t n,
                            struct rsr_bytes *out) {
    while (s->strip_left > 0 && n > 0) {
        struct rsr_utf8_step step = rsr_utf8_scan(text, n);
        if (step.code != s->model->text->encoder->header->decoder.strip_code) {
            s->strip_left = 0;
            break;
        }
        s->strip_left--;
        text += step.length;
        n -= step.length;
    }
    return rsr_utf8_append_repaired(out, text, n);
}

/* Ends a run of byte tokens. */
static bool end_run(struct rsr_text_stream *s, struct rsr_bytes *out) {
    size_t n = s->held.size;
    bool ok = true;
    if (n > 0 && rsr_utf8_is_valid(s->held.data, n))
        ok = append_stripped(s, s->held.data, n, out);
    else
        for (size_t i = 0; ok && i < n; i++)
            ok = append_stripped(s, REPLACEMENT, 3, out);
    s->held.size = 0;
    return ok;
}

/* Appends a token's text with literals replaced, or its byte if that text is <0xNN>. */
static rsr_status append_replaced(const struct rsr_tokenizer_header *header, const char *text,
                                  size_t n, bool first, struct rsr_bytes *out, bool *is_byte,
                                  rsr_error *err) {
    const struct rsr_decoder *decoder = &header->decoder;
    const struct rsr_replacement *r = &decoder->replace;
    const uint32_t content_bytes = decoder->drops_first && first ? 0 : r->content_bytes;
    rsr_status status = RSR_OK;
    if (r->pattern_bytes > 0)
        status = rsr_append_replaced(out, text, n,
                                     rsr_literal_at(header, r->pattern_at, r->pattern_bytes),
                                     rsr_literal_at(header, r->content_at, content_bytes), err);
    else if (!rsr_bytes_append(out, text, n))
        status = no_memory(err);
    if (status != RSR_OK || !decoder->byte_fallback)
        return status;
    const int byte = byte_of_token(out->data, out->size);
    *is_byte = byte >= 0;
    if (*is_byte) {
        out->data[0] = (char)byte;
        out->size = 1;
    }
    return RSR_OK;
}

static bool push_text(struct rsr_text_stream *s, bool is_byte, struct rsr_bytes *out) {
    if (is_byte)
        return rsr_bytes_append(&s->held, s->bytes.data, s->bytes.size);
    return end_run(s, out) && append_stripped(s, s->bytes.data, s->bytes.size, out);
}

/* ---- Both
 * --------------------------------------------------------------------------------------- */

rsr_status rsr_text_stream_find(struct rsr_text_stream *s, uint32_t token, bool *is_byte,
                                rsr_error *err) {
    const struct rsr_encoder *e = s->model->text->encoder;
    const uint32_t n_tokens = e->header->n_tokens, vocab = s->model->module->hyper.vocab;
    s->bytes.size = 0;
    if (token >= n_tokens && token >= vocab)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "token %u is outside the vocabulary of %u", token,
                        vocab);
    /* Rows of the embedding after the tokenizer's last token have no text. */
    if (token >= n_tokens || (e->flags[token] & RSR_TOKEN_UNUSED))
        return RSR_OK;
    const char *text = e->text + e->text_begin[token];
    size_t n = (size_t)(e->text_begin[token + 1] - e->text_begin[token]);
    const uint8_t in_normal_form = RSR_TOKEN_ADDED | RSR_TOKEN_NORMALIZED;
    rsr_status status = RSR_OK;
    if ((e->flags[token] & in_normal_form) == in_normal_form)
        status = rsr_normalize(e, s->work, false, &text, &n, err);
    if (status != RSR_OK)
        return status;
    if (e->header->decoder.kind == RSR_DECODER_TEXT)
        return append_replaced(e->header, text, n, !s->started, &s->bytes, is_byte, err);
    const bool ok = (e->flags[token] & RSR_TOKEN_ADDED) ? append_added(text, n, &s->bytes)
                                                        : rsr_bytes_append(&s->bytes, text, n);
    return ok ? RSR_OK : no_memory(err);
}

/* Whether a token of the vocabulary has one of the flags. */
static bool has_flag(const rsr_model *model, uint32_t token, uint8_t flags) {
    const struct rsr_encoder *e = model->text->encoder;
    return token < e->header->n_tokens && (e->flags[token] & flags) != 0;
}

rsr_status rsr_text_stream_push(struct rsr_text_stream *s, uint32_t token, struct rsr_bytes *out,
                                rsr_error *err) {
    if (s->skip_special && has_flag(s->model, token, RSR_TOKEN_SPECIAL))
        return RSR_OK;
    bool is_byte = false;
    const rsr_status status = rsr_text_stream_find(s, token, &is_byte, err);
    if (status != RSR_OK || token >= s->model->text->encoder->header->n_tokens ||
        has_flag(s->model, token, RSR_TOKEN_UNUSED))
        return status;
    s->started = true;
    const bool ok = s->model->text->encoder->header->decoder.kind == RSR_DECODER_TEXT
                        ? push_text(s, is_byte, out)
                        : push_bytes(s, out);
    return ok ? RSR_OK : no_memory(err);
}

rsr_status rsr_text_stream_finish(struct rsr_text_stream *s, struct rsr_bytes *out,
                                  rsr_error *err) {
    bool ok = s->model->text->encoder->header->decoder.kind == RSR_DECODER_TEXT
                  ? end_run(s, out)
                  : release(s, s->held.size, out);
    return ok ? RSR_OK : no_memory(err);
}

rsr_status rsr_text_stream_continue(struct rsr_text_stream *s, const uint32_t *tokens,
                                    size_t n_tokens, rsr_error *err) {
    struct rsr_bytes unwanted = {0};
    rsr_status status = RSR_OK;
    /* Only tokens at the front of the text change how later text is written. */
    for (size_t i = 0; status == RSR_OK && i < n_tokens && (!s->started || s->strip_left > 0); i++)
        status = rsr_text_stream_push(s, tokens[i], &unwanted, err);
    if (status == RSR_OK)
        status = rsr_text_stream_finish(s, &unwanted, err);
    rsr_bytes_free(&unwanted);
    return status;
}

rsr_status rsr_api_detokenize(const rsr_model *model, const uint32_t *tokens, size_t n_tokens,
                              bool skip_special, char *text, size_t capacity, size_t *text_bytes,
                              rsr_error *err) {
    if (!text_bytes || (!tokens && n_tokens > 0) || (!text && capacity > 0))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_detokenize: a parameter is NULL");
    rsr_status status = rsr_check_tokenizer(model, err);
    if (status != RSR_OK)
        return status;
    struct rsr_text_stream d;
    struct rsr_bytes bytes = {0};
    rsr_text_stream_begin(&d, model, skip_special, false);
    for (size_t i = 0; status == RSR_OK && i < n_tokens; i++)
        status = rsr_text_stream_push(&d, tokens[i], &bytes, err);
    if (status == RSR_OK)
        status = rsr_text_stream_finish(&d, &bytes, err);
    if (status == RSR_OK)
        status = rsr_text_deliver(&bytes, text, capacity, text_bytes, err);
    rsr_text_stream_free(&d);
    rsr_bytes_free(&bytes);
    return status;
}
