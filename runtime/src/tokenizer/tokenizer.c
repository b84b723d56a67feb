/* tokenizer.c - text to tokens: see tokenizer.h.
 *
 * Steps: repair UTF-8; cut out added tokens; normalise the text between them; cut out the added
 * tokens that are matched in normalised text; split the rest by the pre-tokenizers; merge byte
 * pairs in every piece; put the post-processor's tokens around the result. The text of a chat has
 * marks on bytes that come from messages; no special token is found there.
 */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"
#include "chat/chat_template.h"
#include "byte_alphabet.h"
#include "normalize.h"
#include "text.h"

struct encoding {
    const struct rsr_encoder *encoder;
    uint32_t flags;       /* of rsr_tokenize */
    const char *text;     /* the whole text */
    const uint8_t *marks; /* of its bytes, or NULL: see added_tokens.h */
    const char *first;    /* the beginning of the normalised text; NULL in later stretches */
    struct rsr_bpe_scratch scratch;
    struct rsr_ids ids;
};

/* A piece that the pre-tokenizers from number `next` on still have to process. */
struct stage {
    struct encoding *encoding;
    uint32_t next;
    bool begins_text; /* set only for the first pre-tokenizer */
    bool is_mapped;   /* the piece is in the byte-level alphabet */
};

static rsr_status no_memory(rsr_error *err) {
    return rsr_fail(err, RSR_ERR_MEMORY, "no memory to tokenise the text");
}

static bool has(const struct encoding *encoding, uint32_t flag) {
    return (encoding->flags & flag) != 0;
}

static bool begins_with(const char *text, size_t n_bytes, struct rsr_literal prefix) {
    return n_bytes >= prefix.n_bytes && memcmp(text, prefix.bytes, prefix.n_bytes) == 0;
}

/* The step of ByteLevel and Metaspace before they split: Metaspace replaces spaces by its own
 * character, and a piece that does not begin with the prefix gets it. Points *piece to the result,
 * in `out` if it differs. */
static rsr_status mark_spaces(const struct stage *stage, const struct rsr_pretokenizer *p,
                              struct rsr_bytes *out, const char **piece, size_t *n_bytes,
                              rsr_error *err) {
    const struct rsr_literal space = {" ", 1};
    struct rsr_literal mark = space;
    bool is_metaspace = p->kind == RSR_PRETOKENIZER_METASPACE;
    if (is_metaspace)
        mark = rsr_literal_at(stage->encoding->encoder->header, p->pattern_at, p->pattern_bytes);
    bool wanted = stage->begins_text ? p->prefix != RSR_PREFIX_NEVER &&
                                           !has(stage->encoding, RSR_TOKENIZE_CONTINUES)
                                     : p->prefix == RSR_PREFIX_ALWAYS;
    bool missing =
        wanted && !begins_with(*piece, *n_bytes, mark) && !begins_with(*piece, *n_bytes, space);
    if (missing && !rsr_bytes_append(out, mark.bytes, mark.n_bytes))
        return no_memory(err);
    rsr_status status = RSR_OK;
    if (is_metaspace)
        status = rsr_append_replaced(out, *piece, *n_bytes, space, mark, err);
    else if (missing && !rsr_bytes_append(out, *piece, *n_bytes))
        status = no_memory(err);
    if (status == RSR_OK && (is_metaspace || missing)) {
        *piece = out->data;
        *n_bytes = out->size;
    }
    return status;
}

static rsr_status merge_pairs(const struct stage *stage, const char *piece, size_t n_bytes,
                              rsr_error *err) {
    struct encoding *encoding = stage->encoding;
    struct rsr_bytes bytes = {0};
    bool ok = true;
    if (stage->is_mapped) {
        ok = rsr_bytes_append(&bytes, piece, n_bytes);
        piece = bytes.data;
        n_bytes = ok ? rsr_alphabet_read(bytes.data, n_bytes) : 0;
    }
    ok =
        ok && rsr_bpe_encode(encoding->encoder, &encoding->scratch, piece, n_bytes, &encoding->ids);
    rsr_bytes_free(&bytes);
    return ok ? RSR_OK : no_memory(err);
}

static rsr_status pretokenize(void *user, const char *piece, size_t n_bytes, rsr_error *err);

/* Maps a piece of ByteLevel to the byte-level alphabet, in which later pre-tokenizers see it. */
static rsr_status map_bytes(void *user, const char *piece, size_t n_bytes, rsr_error *err) {
    struct rsr_bytes mapped = {0};
    rsr_status status = rsr_alphabet_append(&mapped, piece, n_bytes)
                            ? pretokenize(user, mapped.data, mapped.size, err)
                            : no_memory(err);
    rsr_bytes_free(&mapped);
    return status;
}

static rsr_status pretokenize(void *user, const char *piece, size_t n_bytes, rsr_error *err) {
    const struct stage *stage = user;
    const struct rsr_encoder *encoder = stage->encoding->encoder;
    if (stage->next == encoder->header->n_pretokenizers)
        return merge_pairs(stage, piece, n_bytes, err);
    const struct rsr_pretokenizer *p = &encoder->pretokenizers[stage->next];
    const struct rsr_splitter *splitter = encoder->splitters[stage->next];
    struct stage following = {stage->encoding, stage->next + 1, false, stage->is_mapped};
    bool maps =
        p->kind == RSR_PRETOKENIZER_BYTE_LEVEL && following.next < encoder->header->n_pretokenizers;
    following.is_mapped = stage->is_mapped || maps;
    rsr_piece_fn *next = maps ? map_bytes : pretokenize;
    struct rsr_bytes marked = {0};
    rsr_status status = RSR_OK;
    if (p->kind != RSR_PRETOKENIZER_SPLIT)
        status = mark_spaces(stage, p, &marked, &piece, &n_bytes, err);
    if (status == RSR_OK)
        status = splitter ? rsr_splitter_run(splitter, piece, n_bytes, next, &following, err)
                          : next(&following, piece, n_bytes, err);
    rsr_bytes_free(&marked);
    return status;
}

/* A stretch of normalised text, or an added token found in it. */
static rsr_status encode_normalized(void *user, uint32_t id, const char *text, size_t n_bytes,
                                    rsr_error *err) {
    struct encoding *encoding = user;
    if (id != RSR_NO_TOKEN)
        return rsr_ids_append(&encoding->ids, id) ? RSR_OK : no_memory(err);
    struct stage first = {encoding, 0, text == encoding->first, false};
    return pretokenize(&first, text, n_bytes, err);
}

/* A stretch of the text as given, or an added token found in it. */
static rsr_status encode_raw(void *user, uint32_t id, const char *text, size_t n_bytes,
                             rsr_error *err) {
    struct encoding *encoding = user;
    const struct rsr_encoder *encoder = encoding->encoder;
    if (id != RSR_NO_TOKEN)
        return rsr_ids_append(&encoding->ids, id) ? RSR_OK : no_memory(err);
    struct rsr_bytes work[2] = {{0}, {0}};
    bool begins_text = text == encoding->text;
    const uint8_t *marks = encoding->marks ? encoding->marks + (text - encoding->text) : NULL;
    const struct rsr_literal given = {text, n_bytes};
    rsr_status status = rsr_normalize(
        encoder, work, begins_text && has(encoding, RSR_TOKENIZE_CONTINUES), &text, &n_bytes, err);
    encoding->first = begins_text ? text : NULL;
    /* Marks belong to the text as given. If the text changed, one mark stands for all bytes. */
    const bool is_same =
        n_bytes == given.n_bytes && (n_bytes == 0 || memcmp(text, given.bytes, n_bytes) == 0);
    const bool parse_special = has(encoding, RSR_TOKENIZE_PARSE_SPECIAL) &&
                               (is_same || !marks || !memchr(marks, 1, given.n_bytes));
    if (status == RSR_OK)
        status = rsr_added_tokens_split(&encoder->normalized, text, is_same ? marks : NULL, n_bytes,
                                        parse_special, encode_normalized, encoding, err);
    rsr_bytes_free(&work[0]);
    rsr_bytes_free(&work[1]);
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
                         rsr_error *err) {
    const struct rsr_encoder *encoder = encoding->encoder;
    const bool add_special = has(encoding, RSR_TOKENIZE_ADD_SPECIAL);
    rsr_status status = RSR_OK;
    encoding->text = text;
    if (add_special && !has(encoding, RSR_TOKENIZE_CONTINUES))
        status = append_ids(&encoding->ids, encoder->prefix, encoder->header->n_prefix, err);
    if (status == RSR_OK)
        status = rsr_added_tokens_split(&encoder->raw, text, encoding->marks, n_bytes,
                                        has(encoding, RSR_TOKENIZE_PARSE_SPECIAL), encode_raw,
                                        encoding, err);
    if (status == RSR_OK && add_special)
        status = append_ids(&encoding->ids, encoder->suffix, encoder->header->n_suffix, err);
    return status;
}

static rsr_status encode_repaired(struct encoding *encoding, const char *text, size_t n_bytes,
                                  rsr_error *err) {
    if (rsr_utf8_is_valid(text, n_bytes))
        return encode(encoding, text, n_bytes, err);
    struct rsr_bytes repaired = {0};
    rsr_status status = rsr_utf8_append_repaired(&repaired, text, n_bytes)
                            ? encode(encoding, repaired.data, repaired.size, err)
                            : no_memory(err);
    rsr_bytes_free(&repaired);
    return status;
}

rsr_status rsr_check_tokenizer(const rsr_model *model, rsr_error *err) {
    rsr_status status = rsr_check_owner(model->owner_pid, err);
    if (status == RSR_OK && !model->text)
        status =
            rsr_fail(err, RSR_ERR_TEXT,
                     "the model has no tokenizer; compile it from a folder with tokenizer.json");
    return status;
}

static rsr_status check_length(size_t text_bytes, rsr_error *err) {
    if (text_bytes > RSR_MAX_TEXT_BYTES)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the text has %zu bytes; at most %d are supported",
                        text_bytes, RSR_MAX_TEXT_BYTES);
    return RSR_OK;
}

/* Gives the tokens to the caller, or nothing. */
static rsr_status finish(struct encoding *encoding, rsr_status status, uint32_t **tokens,
                         size_t *n_tokens) {
    rsr_bpe_scratch_free(&encoding->scratch);
    if (status != RSR_OK) {
        free(encoding->ids.data);
        return status;
    }
    *tokens = encoding->ids.data;
    *n_tokens = encoding->ids.size;
    return RSR_OK;
}

rsr_status rsr_tokenize_all(const rsr_model *model, const char *text, size_t text_bytes,
                            uint32_t flags, uint32_t **tokens, size_t *n_tokens, rsr_error *err) {
    const uint32_t known =
        RSR_TOKENIZE_ADD_SPECIAL | RSR_TOKENIZE_PARSE_SPECIAL | RSR_TOKENIZE_CONTINUES;
    if ((!text && text_bytes > 0) || (flags & ~known) != 0)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_tokenize: a parameter is NULL or unknown");
    rsr_status status = rsr_check_tokenizer(model, err);
    if (status == RSR_OK)
        status = check_length(text_bytes, err);
    if (status != RSR_OK)
        return status;
    struct encoding encoding = {.encoder = model->text->encoder, .flags = flags};
    status = encode_repaired(&encoding, text, text_bytes, err);
    return finish(&encoding, status, tokens, n_tokens);
}

rsr_status rsr_tokenize_chat(const rsr_model *model, const struct rsr_chat_text *chat,
                             uint32_t **tokens, size_t *n_tokens, rsr_error *err) {
    const struct rsr_encoder *encoder = model->text->encoder;
    const uint32_t bos = model->module->bos_token;
    const uint32_t n_prefix = bos == RSR_NO_TOKEN ? 0 : encoder->header->n_prefix;
    rsr_status status = check_length(chat->text.size, err);
    if (status != RSR_OK)
        return status;
    struct encoding encoding = {.encoder = encoder,
                                .flags = RSR_TOKENIZE_PARSE_SPECIAL,
                                .marks = chat->marks.size > 0 ? (const uint8_t *)chat->marks.data
                                                              : NULL};
    struct rsr_ids *ids = &encoding.ids;
    status = append_ids(ids, encoder->prefix, n_prefix, err);
    if (status == RSR_OK)
        status = encode(&encoding, chat->text.data ? chat->text.data : "", chat->text.size, err);
    if (status == RSR_OK && n_prefix > 0 && ids->size > n_prefix &&
        (ids->data[n_prefix] == bos || ids->data[n_prefix] == ids->data[0])) {
        ids->size -= n_prefix;
        memmove(ids->data, ids->data + n_prefix, ids->size * sizeof(*ids->data));
    }
    return finish(&encoding, status, tokens, n_tokens);
}

rsr_status rsr_tokens_deliver(uint32_t *all, size_t n, uint32_t *tokens, size_t capacity,
                              size_t *n_tokens, rsr_error *err) {
    for (size_t i = 0; i < n && i < capacity; i++)
        tokens[i] = all[i];
    *n_tokens = n;
    free(all);
    if (n > capacity)
        return rsr_fail(err, RSR_ERR_FULL, "the text has %zu tokens; there is room for %zu", n,
                        capacity);
    return RSR_OK;
}

rsr_status rsr_api_tokenize(const rsr_model *model, const char *text, size_t text_bytes,
                            uint32_t flags, uint32_t *tokens, size_t capacity, size_t *n_tokens,
                            rsr_error *err) {
    uint32_t *all = NULL;
    size_t n = 0;
    if (!n_tokens || (!tokens && capacity > 0))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_tokenize: a parameter is NULL");
    rsr_status status = rsr_tokenize_all(model, text, text_bytes, flags, &all, &n, err);
    return status == RSR_OK ? rsr_tokens_deliver(all, n, tokens, capacity, n_tokens, err) : status;
}
