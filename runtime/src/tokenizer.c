/* tokenizer.c - text to tokens and back: see tokenizer.h.
 *
 * Encoding: repair UTF-8; cut out added tokens; normalise what lies between; cut out the added tokens
 * that are matched in normalised text; split the rest by the pre-tokenizers; merge byte pairs in every
 * piece; put the post-processor's tokens around it.
 */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"
#include "nfc.h"
#include "text.h"

#define MAX_TEXT_BYTES INT32_MAX /* symbols and ranks are 32-bit */

struct encoding {
    const struct rsr_encoder *encoder;
    bool parse_special;
    struct rsr_bpe_scratch scratch;
    struct rsr_ids ids;
};

/* A piece on its way through the pre-tokenizers from number `next` on. */
struct stage {
    struct encoding *encoding;
    uint32_t next;
};

static rsr_status no_memory(rsr_error *err) {
    return rsr_fail(err, RSR_ERR_MEMORY, "no memory to tokenise the text");
}

static rsr_status pretokenize(void *user, const char *piece, size_t n_bytes, rsr_error *err);

/* ByteLevel with add_prefix_space: a piece that does not begin with a space gets one. */
static rsr_status pretokenize_spaced(struct stage *stage, const char *piece, size_t n_bytes,
                                     const struct rsr_splitter *splitter, rsr_error *err) {
    struct rsr_bytes spaced = {0};
    rsr_status status = RSR_OK;
    if (!rsr_bytes_append(&spaced, " ", 1) || !rsr_bytes_append(&spaced, piece, n_bytes))
        status = no_memory(err);
    else if (splitter)
        status = rsr_splitter_run(splitter, spaced.data, spaced.size, pretokenize, stage, err);
    else
        status = pretokenize(stage, spaced.data, spaced.size, err);
    rsr_bytes_free(&spaced);
    return status;
}

static rsr_status pretokenize(void *user, const char *piece, size_t n_bytes, rsr_error *err) {
    const struct stage *stage = user;
    struct encoding *encoding = stage->encoding;
    const struct rsr_encoder *encoder = encoding->encoder;
    if (stage->next == encoder->header->n_pretokenizers)
        return rsr_bpe_encode(encoder, &encoding->scratch, piece, n_bytes, &encoding->ids)
                   ? RSR_OK
                   : no_memory(err);
    const struct rsr_pretokenizer *p = &encoder->pretokenizers[stage->next];
    const struct rsr_splitter *splitter = encoder->splitters[stage->next];
    struct stage following = {encoding, stage->next + 1};
    if (p->kind == RSR_PRETOKENIZER_BYTE_LEVEL && p->add_prefix_space && piece[0] != ' ')
        return pretokenize_spaced(&following, piece, n_bytes, splitter, err);
    if (splitter)
        return rsr_splitter_run(splitter, piece, n_bytes, pretokenize, &following, err);
    return pretokenize(&following, piece, n_bytes, err);
}

/* A stretch of normalised text, or an added token found in it. */
static rsr_status encode_normalized(void *user, uint32_t id, const char *text, size_t n_bytes,
                                    rsr_error *err) {
    struct encoding *encoding = user;
    if (id != RSR_NO_TOKEN)
        return rsr_ids_append(&encoding->ids, id) ? RSR_OK : no_memory(err);
    struct stage first = {encoding, 0};
    return pretokenize(&first, text, n_bytes, err);
}

/* A stretch of the text as given, or an added token found in it. */
static rsr_status encode_raw(void *user, uint32_t id, const char *text, size_t n_bytes,
                             rsr_error *err) {
    struct encoding *encoding = user;
    const struct rsr_encoder *encoder = encoding->encoder;
    if (id != RSR_NO_TOKEN)
        return rsr_ids_append(&encoding->ids, id) ? RSR_OK : no_memory(err);
    struct rsr_bytes normal = {0};
    if (encoder->header->normalizer == RSR_NORMALIZER_NFC && rsr_nfc_may_change(text, n_bytes)) {
        if (!rsr_nfc_append(&normal, text, n_bytes)) {
            rsr_bytes_free(&normal);
            return no_memory(err);
        }
        text = normal.data;
        n_bytes = normal.size;
    }
    rsr_status status =
        rsr_added_tokens_split(&encoder->normalized, text, n_bytes, encoding->parse_special,
                               encode_normalized, encoding, err);
    rsr_bytes_free(&normal);
    return status;
}

static rsr_status append_ids(struct rsr_ids *ids, const uint32_t *more, uint32_t n,
                             rsr_error *err) {
    for (uint32_t i = 0; i < n; i++)
        if (!rsr_ids_append(ids, more[i]))
            return no_memory(err);
    return RSR_OK;
}

static rsr_status encode(struct encoding *encoding, const char *text, size_t n_bytes,
                         bool add_special, rsr_error *err) {
    const struct rsr_encoder *encoder = encoding->encoder;
    rsr_status status = RSR_OK;
    if (add_special)
        status = append_ids(&encoding->ids, encoder->prefix, encoder->header->n_prefix, err);
    if (status == RSR_OK)
        status = rsr_added_tokens_split(&encoder->raw, text, n_bytes, encoding->parse_special,
                                        encode_raw, encoding, err);
    if (status == RSR_OK && add_special)
        status = append_ids(&encoding->ids, encoder->suffix, encoder->header->n_suffix, err);
    return status;
}

static rsr_status encode_repaired(struct encoding *encoding, const char *text, size_t n_bytes,
                                  bool add_special, rsr_error *err) {
    if (rsr_utf8_is_valid(text, n_bytes))
        return encode(encoding, text, n_bytes, add_special, err);
    struct rsr_bytes repaired = {0};
    rsr_status status = rsr_utf8_append_repaired(&repaired, text, n_bytes)
                            ? encode(encoding, repaired.data, repaired.size, add_special, err)
                            : no_memory(err);
    rsr_bytes_free(&repaired);
    return status;
}

static rsr_status check_model(const rsr_model *model, rsr_error *err) {
    rsr_status status = rsr_check_owner(model->owner_pid, err);
    if (status == RSR_OK && !model->text)
        status =
            rsr_fail(err, RSR_ERR_TEXT,
                     "the model has no tokenizer; compile it from a folder with tokenizer.json");
    return status;
}

rsr_status rsr_api_tokenize(const rsr_model *model, const char *text, size_t text_bytes,
                            uint32_t flags, uint32_t *tokens, size_t capacity, size_t *n_tokens,
                            rsr_error *err) {
    if (!n_tokens || (!text && text_bytes > 0) || (!tokens && capacity > 0) ||
        (flags & ~(uint32_t)(RSR_TOKENIZE_ADD_SPECIAL | RSR_TOKENIZE_PARSE_SPECIAL)))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_tokenize: a parameter is NULL or unknown");
    rsr_status status = check_model(model, err);
    if (status != RSR_OK)
        return status;
    if (text_bytes > MAX_TEXT_BYTES)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the text has %zu bytes; at most %d are supported",
                        text_bytes, MAX_TEXT_BYTES);
    struct encoding encoding = {.encoder = model->text->encoder,
                                .parse_special = (flags & RSR_TOKENIZE_PARSE_SPECIAL) != 0};
    status =
        encode_repaired(&encoding, text, text_bytes, (flags & RSR_TOKENIZE_ADD_SPECIAL) != 0, err);
    if (status == RSR_OK) {
        size_t n = encoding.ids.size;
        if (n > capacity)
            status = rsr_fail(err, RSR_ERR_FULL, "the text has %zu tokens; there is room for %zu",
                              n, capacity);
        for (size_t i = 0; i < n && i < capacity; i++)
            tokens[i] = encoding.ids.data[i];
        *n_tokens = n;
    }
    free(encoding.ids.data);
    rsr_bpe_scratch_free(&encoding.scratch);
    return status;
}

/* ---- Decoding ----------------------------------------------------------------------------------- */

/* The byte of a character of the byte-level alphabet, or -1. Printable Latin-1 stands for itself, the
 * other 68 bytes for U+0100 and up, in order. */
static int alphabet_byte(uint32_t code) {
    if ((code >= 0x21 && code <= 0x7e) || (code >= 0xa1 && code <= 0xff && code != 0xad))
        return (int)code;
    if (code < 0x100 || code >= 0x144)
        return -1;
    uint32_t n = code - 0x100;
    return (int)(n <= 0x20 ? n : n < 0x43 ? n - 0x21 + 0x7f : 0xad);
}

/* The decoder maps an added token through the alphabet too if all of its characters are in it, so an
 * added "e with acute" decodes to the single byte E9. */
static bool append_added(const char *text, size_t n, struct rsr_bytes *out) {
    size_t begin = out->size;
    for (size_t i = 0; i < n;) {
        struct rsr_utf8_step step = rsr_utf8_scan(text + i, n - i);
        int byte = alphabet_byte(step.code);
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

bool rsr_encoder_append_token(const struct rsr_encoder *encoder, uint32_t id,
                              struct rsr_bytes *out) {
    const char *text = encoder->text + encoder->text_begin[id];
    size_t n = (size_t)(encoder->text_begin[id + 1] - encoder->text_begin[id]);
    return encoder->flags[id] & RSR_TOKEN_ADDED ? append_added(text, n, out)
                                                : rsr_bytes_append(out, text, n);
}

rsr_status rsr_text_append_token(const rsr_model *model, uint32_t token, bool skip_special,
                                 struct rsr_bytes *out, rsr_error *err) {
    const struct rsr_encoder *encoder = model->text->encoder;
    uint32_t n_tokens = encoder->header->n_tokens, vocab = model->module->hyper.vocab;
    if (token >= n_tokens && token >= vocab)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "token %u is outside the vocabulary of %u", token,
                        vocab);
    /* Rows of the embedding behind the tokenizer's last token have no text. */
    if (token >= n_tokens || (skip_special && (encoder->flags[token] & RSR_TOKEN_SPECIAL)))
        return RSR_OK;
    if (!rsr_encoder_append_token(encoder, token, out))
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the text of the tokens");
    return RSR_OK;
}

rsr_status rsr_api_detokenize(const rsr_model *model, const uint32_t *tokens, size_t n_tokens,
                              bool skip_special, char *text, size_t capacity, size_t *text_bytes,
                              rsr_error *err) {
    if (!text_bytes || (!tokens && n_tokens > 0) || (!text && capacity > 0))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_detokenize: a parameter is NULL");
    rsr_status status = check_model(model, err);
    struct rsr_bytes bytes = {0}, repaired = {0};
    for (size_t i = 0; status == RSR_OK && i < n_tokens; i++)
        status = rsr_text_append_token(model, tokens[i], skip_special, &bytes, err);
    if (status == RSR_OK && !rsr_utf8_append_repaired(&repaired, bytes.data, bytes.size))
        status = rsr_fail(err, RSR_ERR_MEMORY, "no memory for the text of the tokens");
    if (status == RSR_OK)
        status = rsr_text_deliver(&repaired, text, capacity, text_bytes, err);
    rsr_bytes_free(&bytes);
    rsr_bytes_free(&repaired);
    return status;
}
