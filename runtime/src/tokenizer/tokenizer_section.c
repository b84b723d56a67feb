/* tokenizer_section.c - checks a tokenizer section and builds the look-up tables beside it. */
#include <stdlib.h>
#include <string.h>

#include "normalize.h"

#define MAX_NORMALIZERS 8u
#define MAX_PRETOKENIZERS 16u
#define MAX_AFFIX 64u

/* ---- Bounds ---------------------------------------------------------------------------------- */

static rsr_status broken(rsr_error *err, const char *what) {
    return rsr_fail(err, RSR_ERR_TEXT, "the model's tokenizer section is damaged: %s", what);
}

/* The array of n elements at `at`, or NULL if it does not lie inside the section. */
static const void *part(const struct rsr_tokenizer_header *header, uint64_t at, uint64_t n,
                        uint64_t element_bytes) {
    if (at % 8 != 0 || at < sizeof(*header) || at > header->size_bytes ||
        n > (header->size_bytes - at) / element_bytes)
        return NULL;
    return (const char *)header + at;
}

static rsr_status check_texts(const struct rsr_encoder *e, rsr_error *err) {
    uint64_t n_tokens = e->header->n_tokens, size_bytes = e->header->size_bytes;
    for (uint64_t i = 0; i < n_tokens; i++)
        if (e->text_begin[i] > e->text_begin[i + 1])
            return broken(err, "token texts overlap");
    if (e->text_begin[n_tokens] > size_bytes - e->header->text_at)
        return broken(err, "token texts end outside");
    return RSR_OK;
}

static rsr_status check_ids(const struct rsr_encoder *e, rsr_error *err) {
    uint32_t n_tokens = e->header->n_tokens;
    for (uint32_t i = 0; i < e->header->n_prefix; i++)
        if (e->prefix[i] >= n_tokens)
            return broken(err, "a prefix token is outside the vocabulary");
    for (uint32_t i = 0; i < e->header->n_suffix; i++)
        if (e->suffix[i] >= n_tokens)
            return broken(err, "a suffix token is outside the vocabulary");
    for (uint32_t i = 0; i < 256; i++)
        if (e->header->byte_token[i] != RSR_NO_TOKEN && e->header->byte_token[i] >= n_tokens)
            return broken(err, "a byte's token is outside the vocabulary");
    if (e->header->unk_token != RSR_NO_TOKEN && e->header->unk_token >= n_tokens)
        return broken(err, "the unknown token is outside the vocabulary");
    return RSR_OK;
}

static rsr_status check_merges(const struct rsr_encoder *e, rsr_error *err) {
    uint32_t n_tokens = e->header->n_tokens;
    for (uint32_t i = 0; i < e->header->n_merges; i++) {
        const struct rsr_merge *m = &e->merges[i];
        if (m->left >= n_tokens || m->right >= n_tokens || m->result >= n_tokens)
            return broken(err, "a merge has a token outside the vocabulary");
        if (i > 0 && (m[-1].left > m->left || (m[-1].left == m->left && m[-1].right >= m->right)))
            return broken(err, "merges are not in order");
    }
    return RSR_OK;
}

/* A literal inside the section, of valid UTF-8. */
static bool is_literal(const struct rsr_tokenizer_header *header, uint64_t at, uint32_t n_bytes) {
    const char *text = part(header, at, n_bytes, 1);
    return text && rsr_utf8_is_valid(text, n_bytes);
}

static bool is_replacement(const struct rsr_tokenizer_header *header,
                           const struct rsr_replacement *r) {
    return r->pattern_bytes > 0 && is_literal(header, r->pattern_at, r->pattern_bytes) &&
           is_literal(header, r->content_at, r->content_bytes);
}

static rsr_status check_literals(const struct rsr_encoder *e, rsr_error *err) {
    const struct rsr_tokenizer_header *h = e->header;
    for (uint32_t i = 0; i < h->n_normalizers; i++) {
        const struct rsr_normalizer *n = &e->normalizers[i];
        if (n->kind > RSR_NORMALIZER_REPLACE ||
            (n->kind == RSR_NORMALIZER_REPLACE && !is_replacement(h, &n->text)) ||
            (n->kind == RSR_NORMALIZER_PREPEND &&
             !is_literal(h, n->text.content_at, n->text.content_bytes)))
            return broken(err, "a normalizer is not understood");
    }
    const struct rsr_decoder *d = &h->decoder;
    if (d->kind > RSR_DECODER_TEXT ||
        (d->kind == RSR_DECODER_TEXT && d->replace.pattern_bytes > 0 &&
         !is_replacement(h, &d->replace)))
        return broken(err, "its decoder is not understood");
    return RSR_OK;
}

static rsr_status find_parts(struct rsr_encoder *e, rsr_error *err) {
    const struct rsr_tokenizer_header *h = e->header;
    if ((uintptr_t)h % 8 != 0 || h->magic != RSR_TOKENIZER_MAGIC || h->size_bytes < sizeof(*h))
        return broken(err, "it does not begin with its magic number");
    if (h->n_tokens == 0 || h->n_tokens > INT32_MAX || h->alphabet > RSR_BPE_CHARACTERS)
        return broken(err, "its counts are out of range");
    if (h->n_normalizers > MAX_NORMALIZERS || h->n_pretokenizers > MAX_PRETOKENIZERS ||
        h->n_prefix > MAX_AFFIX || h->n_suffix > MAX_AFFIX)
        return broken(err, "its counts are out of range");
    e->text_begin = part(h, h->text_begin_at, (uint64_t)h->n_tokens + 1, sizeof(uint64_t));
    e->text = part(h, h->text_at, 0, 1);
    e->flags = part(h, h->flags_at, h->n_tokens, 1);
    e->merges = part(h, h->merges_at, h->n_merges, sizeof(struct rsr_merge));
    e->normalizers = part(h, h->normalizers_at, h->n_normalizers, sizeof(struct rsr_normalizer));
    e->pretokenizers =
        part(h, h->pretokenizers_at, h->n_pretokenizers, sizeof(struct rsr_pretokenizer));
    e->prefix = part(h, h->prefix_at, h->n_prefix, sizeof(uint32_t));
    e->suffix = part(h, h->suffix_at, h->n_suffix, sizeof(uint32_t));
    if (!e->text_begin || !e->text || !e->flags || !e->merges || !e->normalizers ||
        !e->pretokenizers || !e->prefix || !e->suffix)
        return broken(err, "a table lies outside");
    rsr_status status = check_texts(e, err);
    if (status == RSR_OK)
        status = check_ids(e, err);
    if (status == RSR_OK)
        status = check_merges(e, err);
    return status == RSR_OK ? check_literals(e, err) : status;
}

/* ---- Tables ---------------------------------------------------------------------------------- */

static rsr_status no_memory(rsr_error *err) {
    return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the tokenizer");
}

static const char *token_text(const struct rsr_encoder *e, uint32_t id, size_t *n_bytes) {
    *n_bytes = (size_t)(e->text_begin[id + 1] - e->text_begin[id]);
    return e->text + e->text_begin[id];
}

static rsr_status index_merges(struct rsr_encoder *e, rsr_error *err) {
    e->merge_begin = calloc((size_t)e->header->n_tokens + 1, sizeof(uint32_t));
    if (!e->merge_begin)
        return no_memory(err);
    for (uint32_t i = 0; i < e->header->n_merges; i++)
        e->merge_begin[e->merges[i].left + 1]++;
    for (uint32_t i = 0; i < e->header->n_tokens; i++)
        e->merge_begin[i + 1] += e->merge_begin[i];
    return RSR_OK;
}

uint32_t rsr_encoder_find_piece(const struct rsr_encoder *e, const char *piece, size_t n_bytes) {
    return e->pieces ? rsr_piece_table_find(e->pieces, piece, n_bytes) : RSR_NO_TOKEN;
}

/* Look-ups must not find tokens that are not in the model's own vocabulary. */
static bool is_piece(uint8_t flags) {
    return !(flags & RSR_TOKEN_UNUSED) &&
           (!(flags & RSR_TOKEN_ADDED) || (flags & RSR_TOKEN_IN_VOCABULARY));
}

static rsr_status index_pieces(struct rsr_encoder *e, rsr_error *err) {
    if (!e->header->ignore_merges && e->header->alphabet == RSR_BPE_BYTES)
        return RSR_OK;
    struct rsr_piece *pieces = malloc(e->header->n_tokens * sizeof(*pieces));
    if (!pieces)
        return no_memory(err);
    uint32_t n = 0;
    for (uint32_t id = 0; id < e->header->n_tokens; id++) {
        struct rsr_piece piece = {.id = id};
        piece.text = token_text(e, id, &piece.n_bytes);
        if (piece.n_bytes > 0 && piece.n_bytes <= UINT32_MAX && is_piece(e->flags[id]))
            pieces[n++] = piece;
    }
    e->pieces = rsr_piece_table_create(pieces, n);
    free(pieces);
    return e->pieces ? RSR_OK : no_memory(err);
}

/* Pairs are hashed to bits; pairs that share a bit only cost time. */
#define JOINT_BITS (1u << 19)

/* The bit of the characters on both sides of the place where two tokens meet. */
static uint32_t joint_of(const struct rsr_encoder *e, uint32_t left, uint32_t right) {
    size_t n_left, n_right;
    const char *before = token_text(e, left, &n_left), *after = token_text(e, right, &n_right);
    uint32_t last = 0, first = 0;
    if (n_left > 0) {
        size_t at = rsr_utf8_previous(before, n_left);
        last = rsr_utf8_scan(before + at, n_left - at).code;
    }
    if (n_right > 0)
        first = rsr_utf8_scan(after, n_right).code;
    uint32_t hash = last * 2654435761u ^ first * 2246822519u;
    return (hash ^ hash >> 15) % JOINT_BITS;
}

static rsr_status index_joints(struct rsr_encoder *e, rsr_error *err) {
    if (e->header->alphabet == RSR_BPE_BYTES)
        return RSR_OK;
    e->joints = calloc(JOINT_BITS / 8, 1);
    if (!e->joints)
        return no_memory(err);
    for (uint32_t i = 0; i < e->header->n_merges; i++) {
        uint32_t joint = joint_of(e, e->merges[i].left, e->merges[i].right);
        e->joints[joint / 8] |= (uint8_t)(1u << joint % 8);
    }
    return RSR_OK;
}

bool rsr_encoder_may_join(const struct rsr_encoder *e, uint32_t left, uint32_t right) {
    if (!e->joints)
        return true;
    uint32_t joint = joint_of(e, left, right);
    return (e->joints[joint / 8] >> joint % 8 & 1) != 0;
}

/* Contents of tokens that are matched in normalised text are normalised too. */
static rsr_status normalize_contents(struct rsr_encoder *e, rsr_error *err) {
    struct rsr_bytes all = {0}, work[2] = {{0}, {0}};
    struct rsr_added_tokens *set = &e->normalized;
    rsr_status status = RSR_OK;
    for (uint32_t i = 0; status == RSR_OK && i < set->n_tokens; i++) {
        struct rsr_added_token *token = &set->tokens[i];
        status = rsr_normalize(e, work, false, &token->content, &token->n_bytes, err);
        if (status == RSR_OK && !rsr_bytes_append(&all, token->content, token->n_bytes))
            status = no_memory(err);
    }
    rsr_bytes_free(&work[0]);
    rsr_bytes_free(&work[1]);
    e->normalized_text = all.data;
    for (size_t i = 0, begin = 0; i < set->n_tokens; begin += set->tokens[i++].n_bytes)
        set->tokens[i].content = all.data + begin;
    return status;
}

/* Drops tokens that are empty after normalisation, because they match nothing. */
static void drop_empty(struct rsr_added_tokens *set) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < set->n_tokens; i++)
        if (set->tokens[i].n_bytes > 0)
            set->tokens[n++] = set->tokens[i];
    set->n_tokens = n;
}

static rsr_status collect_added(struct rsr_encoder *e, rsr_error *err) {
    uint32_t n[2] = {0, 0};
    for (uint32_t id = 0; id < e->header->n_tokens; id++)
        if (e->flags[id] & RSR_TOKEN_ADDED)
            n[(e->flags[id] & RSR_TOKEN_NORMALIZED) != 0]++;
    struct rsr_added_tokens *sets[2] = {&e->raw, &e->normalized};
    for (int i = 0; i < 2; i++) {
        sets[i]->tokens = n[i] > 0 ? calloc(n[i], sizeof(*sets[i]->tokens)) : NULL;
        if (n[i] > 0 && !sets[i]->tokens)
            return no_memory(err);
    }
    for (uint32_t id = 0; id < e->header->n_tokens; id++) {
        uint8_t flags = e->flags[id];
        struct rsr_added_token token = {.id = id, .flags = flags};
        token.content = token_text(e, id, &token.n_bytes);
        if (!(flags & RSR_TOKEN_ADDED) || token.n_bytes == 0)
            continue;
        if (!rsr_utf8_is_valid(token.content, token.n_bytes))
            return broken(err, "an added token is not UTF-8");
        struct rsr_added_tokens *set = sets[(flags & RSR_TOKEN_NORMALIZED) != 0];
        set->tokens[set->n_tokens++] = token;
    }
    rsr_status status = e->header->n_normalizers > 0 ? normalize_contents(e, err) : RSR_OK;
    if (status != RSR_OK)
        return status;
    drop_empty(&e->normalized);
    rsr_added_tokens_index(&e->raw);
    rsr_added_tokens_index(&e->normalized);
    return RSR_OK;
}

/* Metaspace sees the text before it is split. */
static bool is_in_place(const struct rsr_tokenizer_header *header, const struct rsr_pretokenizer *p,
                        uint32_t index) {
    if (p->kind > RSR_PRETOKENIZER_METASPACE || p->prefix > RSR_PREFIX_FIRST)
        return false;
    return p->kind != RSR_PRETOKENIZER_METASPACE ||
           (index == 0 && p->pattern_bytes > 0 &&
            is_literal(header, p->pattern_at, p->pattern_bytes));
}

/* Whether there is one ByteLevel if pairs merge from bytes, and otherwise none. */
static bool makes_alphabet(const struct rsr_encoder *e) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->header->n_pretokenizers; i++)
        n += e->pretokenizers[i].kind == RSR_PRETOKENIZER_BYTE_LEVEL;
    return n == (e->header->alphabet == RSR_BPE_BYTES ? 1 : 0);
}

static rsr_status compile_splitters(struct rsr_encoder *e, rsr_error *err) {
    uint32_t n = e->header->n_pretokenizers;
    if (!makes_alphabet(e))
        return broken(err, "its pre-tokenizers do not make the units that its pairs merge");
    e->splitters = calloc((size_t)n + 1, sizeof(*e->splitters));
    if (!e->splitters)
        return no_memory(err);
    for (uint32_t i = 0; i < n; i++) {
        const struct rsr_pretokenizer *p = &e->pretokenizers[i];
        if (!is_in_place(e->header, p, i))
            return broken(err, "a pre-tokenizer is not supported at its place");
        rsr_status status = RSR_OK;
        if (p->kind == RSR_PRETOKENIZER_SPLIT) {
            const char *pattern = part(e->header, p->pattern_at, p->pattern_bytes, 1);
            if (!pattern)
                return broken(err, "a split pattern is outside the section");
            status = rsr_splitter_create(pattern, p->pattern_bytes, p->behavior, p->invert != 0,
                                         &e->splitters[i], err);
        } else if (p->kind == RSR_PRETOKENIZER_BYTE_LEVEL && p->use_regex) {
            status = rsr_splitter_create(rsr_gpt2_pattern, strlen(rsr_gpt2_pattern), 0, false,
                                         &e->splitters[i], err);
        }
        if (status != RSR_OK)
            return status;
    }
    return RSR_OK;
}

/* ---- Life ------------------------------------------------------------------------------------ */

rsr_status rsr_encoder_create(const struct rsr_tokenizer_header *section,
                              struct rsr_encoder **encoder, rsr_error *err) {
    struct rsr_encoder *e = calloc(1, sizeof(*e));
    if (!e)
        return no_memory(err);
    e->header = section;
    rsr_status (*const steps[])(struct rsr_encoder *, rsr_error *) = {
        find_parts, index_merges, index_pieces, index_joints, collect_added, compile_splitters};
    rsr_status status = RSR_OK;
    for (size_t i = 0; status == RSR_OK && i < sizeof(steps) / sizeof(steps[0]); i++)
        status = steps[i](e, err);
    if (status != RSR_OK) {
        rsr_encoder_destroy(e);
        return status;
    }
    *encoder = e;
    return RSR_OK;
}

void rsr_encoder_destroy(struct rsr_encoder *encoder) {
    if (!encoder)
        return;
    for (uint32_t i = 0; encoder->splitters && i < encoder->header->n_pretokenizers; i++)
        rsr_splitter_destroy(encoder->splitters[i]);
    free(encoder->splitters);
    free(encoder->merge_begin);
    rsr_piece_table_destroy(encoder->pieces);
    free(encoder->joints);
    free(encoder->raw.tokens);
    free(encoder->normalized.tokens);
    free(encoder->normalized_text);
    free(encoder);
}
