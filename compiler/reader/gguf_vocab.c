/* gguf_vocab.c - tokens, their types, and merges of a tokenizer in a GGUF file.
 *
 * Tokens of the byte-level alphabet are mapped back to bytes; added tokens (control, user-defined,
 * unknown) are plain text in both models. All tokens except unused ones have different texts.
 *
 * SentencePiece has no list of merges. It joins the two neighbouring pieces that together make the
 * piece with the best score; among equal scores, the leftmost. So every cut of a piece into two
 * other pieces is a merge, and the score gives its rank. Ranks may be equal; the runtime takes
 * equal ranks from left to right.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reader/gguf_tokenizer.h"
#include "reader/limits.h"

#define KEY(name) "tokenizer.ggml." name

/* The longest token made by merges, because each of its cuts is looked up. SentencePiece makes
 * pieces of 16 characters, and runs of a few dozen spaces. */
#define MAX_PIECE_BYTES 1024u

enum token_type { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE, N_TOKEN_TYPES };

#define refuse rsrc_gguf_refuse_tokenizer

/* ---- arrays ---------------------------------------------------------------------------------- */

/* NULL: there is none, which was refused if it is required. */
static const struct rsrc_gguf_value *find_array(const struct rsrc_gguf_tokenizer *tokenizer,
                                                const char *key, enum rsrc_gguf_type item_type,
                                                bool is_required, bool *failed) {
    const struct rsrc_gguf_value *value = rsrc_gguf_find(tokenizer->gguf, key);
    if (value == NULL && !is_required)
        return NULL;
    if (value != NULL && value->type == RSRC_GGUF_ARRAY &&
        (value->item_type == item_type || value->n == 0))
        return value;
    *failed = true;
    if (value == NULL)
        (void)refuse(tokenizer, NULL, NULL, "\"%s\" is missing", key);
    else
        (void)refuse(tokenizer, value, NULL, "\"%s\" is no array of %s", key,
                     rsrc_gguf_type_name(item_type));
    return NULL;
}

/* The next string of an array at *at. */
static const char *next_string(const uint8_t **at, size_t *n_bytes) {
    uint64_t n;
    memcpy(&n, *at, sizeof(n)); /* the reader has checked it */
    const char *text = (const char *)*at + sizeof(n);
    *at += sizeof(n) + n;
    *n_bytes = (size_t)n;
    return text;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/* For messages. */
static const char *quote(const struct rsrc_gguf_tokenizer *tokenizer, const char *text, size_t n) {
    struct rsrc_arena *scratch = tokenizer->draft.scratch;
    return rsrc_quote(scratch, rsrc_arena_strndup(scratch, text, n > 80 ? 80 : n));
}

static enum rsrc_status add_token(struct rsrc_gguf_tokenizer *tokenizer,
                                  const struct rsrc_gguf_value *tokens, uint32_t id,
                                  enum token_type type, const char *text, size_t n_bytes) {
    static const uint8_t FLAGS[N_TOKEN_TYPES] = {
        [UNKNOWN] = RSR_TOKEN_ADDED | RSR_TOKEN_SPECIAL,
        [CONTROL] = RSR_TOKEN_ADDED | RSR_TOKEN_SPECIAL,
        [USER_DEFINED] = RSR_TOKEN_ADDED,
    };
    struct rsrc_tokenizer_draft *draft = &tokenizer->draft;
    struct rsrc_token_text *token = &draft->tokens[id];
    json_t *vocab = (json_t *)(uintptr_t)draft->vocab; /* owned by the caller; filled here */
    if (type == UNUSED || n_bytes == 0)
        return RSRC_OK;
    if (n_bytes > UINT16_MAX || json_object_getn(vocab, text, n_bytes) != NULL ||
        json_object_setn_new(vocab, text, n_bytes, json_integer(id)) != 0)
        return refuse(tokenizer, tokens, "the file may be damaged",
                      "token %u, '%s', is not UTF-8, longer than 65535 bytes, or has the text of "
                      "another token",
                      id, quote(tokenizer, text, n_bytes));
    *token = (struct rsrc_token_text){text, (uint32_t)n_bytes, FLAGS[type]};
    if (draft->alphabet == RSR_BPE_BYTES && FLAGS[type] == 0) {
        char *bytes = rsrc_arena_alloc(draft->scratch, n_bytes);
        token->bytes = bytes;
        if (!rsrc_unmap_bytes(text, n_bytes, bytes, &token->n_bytes))
            return refuse(tokenizer, tokens, "tokens of text of their own are of type 3 or 4",
                          "token %u, '%s', is not in the byte-level alphabet", id,
                          quote(tokenizer, text, n_bytes));
    }
    return RSRC_OK;
}

/* types[id] of every token; without the key all are normal. */
static enum rsrc_status read_types(const struct rsrc_gguf_tokenizer *tokenizer, uint8_t *types) {
    const uint32_t n = tokenizer->draft.n_tokens;
    bool failed = false;
    const struct rsrc_gguf_value *value =
        find_array(tokenizer, KEY("token_type"), RSRC_GGUF_I32, false, &failed);
    memset(types, NORMAL, n);
    if (value == NULL)
        return failed ? RSRC_FAILED : RSRC_OK;
    if (value->n != n)
        return refuse(tokenizer, value, NULL, "%" PRIu64 " types for %u tokens", value->n, n);
    for (uint32_t id = 0; id < n; id++) {
        uint32_t type;
        memcpy(&type, value->data + 4 * (size_t)id, sizeof(type));
        if (type < NORMAL || type >= N_TOKEN_TYPES)
            return refuse(tokenizer, value, "types are 1 to 6", "token %u has type %" PRId32, id,
                          (int32_t)type);
        types[id] = (uint8_t)type;
    }
    return RSRC_OK;
}

static enum rsrc_status read_tokens(struct rsrc_gguf_tokenizer *tokenizer, uint32_t max_tokens,
                                    uint8_t **types) {
    struct rsrc_tokenizer_draft *draft = &tokenizer->draft;
    bool failed = false;
    const struct rsrc_gguf_value *tokens =
        find_array(tokenizer, KEY("tokens"), RSRC_GGUF_STRING, true, &failed);
    if (failed)
        return RSRC_FAILED;
    if (tokens->n == 0 || tokens->n > max_tokens)
        return refuse(tokenizer, tokens, "tokenizer and weights may come from different models",
                      "%" PRIu64 " tokens, but the embedding has %u rows", tokens->n, max_tokens);
    draft->n_tokens = (uint32_t)tokens->n;
    draft->tokens = RSRC_NEW_ARRAY(draft->scratch, draft->n_tokens, struct rsrc_token_text);
    *types = rsrc_arena_alloc(draft->scratch, draft->n_tokens);
    if (read_types(tokenizer, *types) != RSRC_OK)
        return RSRC_FAILED;
    const uint8_t *at = tokens->data;
    for (uint32_t id = 0; id < draft->n_tokens; id++) {
        size_t n_bytes;
        const char *text = next_string(&at, &n_bytes);
        if (add_token(tokenizer, tokens, id, (enum token_type)(*types)[id], text, n_bytes) !=
            RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

/* ---- merges ---------------------------------------------------------------------------------- */

static bool find_id(const struct rsrc_tokenizer_draft *draft, const char *text, size_t n_bytes,
                    uint32_t *id) {
    const json_t *value = n_bytes == 0 ? NULL : json_object_getn(draft->vocab, text, n_bytes);
    *id = (uint32_t)json_integer_value(value);
    return value != NULL;
}

static int compare_merges(const void *left, const void *right) {
    const struct rsr_merge *a = left, *b = right;
    if (a->left != b->left)
        return a->left < b->left ? -1 : 1;
    if (a->right != b->right)
        return a->right < b->right ? -1 : 1;
    return (a->rank > b->rank) - (a->rank < b->rank);
}

/* If pairs are equal, the last one counts, as in the tokenizers library. */
static void sort_merges(struct rsrc_tokenizer_draft *draft) {
    struct rsr_merge *merges = draft->merges;
    uint32_t n_kept = 0;
    qsort(merges, draft->n_merges, sizeof(*merges), compare_merges);
    for (uint32_t i = 0; i < draft->n_merges; i++) {
        const bool is_repeated = i + 1 < draft->n_merges && merges[i].left == merges[i + 1].left &&
                                 merges[i].right == merges[i + 1].right;
        if (!is_repeated)
            merges[n_kept++] = merges[i];
    }
    draft->n_merges = n_kept;
}

/* "a b" */
static enum rsrc_status read_merge(const struct rsrc_gguf_tokenizer *tokenizer,
                                   const struct rsrc_gguf_value *list, const char *text,
                                   size_t n_bytes, struct rsr_merge *merge) {
    const struct rsrc_tokenizer_draft *draft = &tokenizer->draft;
    const char *space = memchr(text, ' ', n_bytes);
    const size_t n_left = space == NULL ? 0 : (size_t)(space - text);
    char joined[2 * MAX_PIECE_BYTES];
    if (space != NULL && n_bytes <= sizeof(joined)) {
        memcpy(joined, text, n_left);
        memcpy(joined + n_left, space + 1, n_bytes - n_left - 1);
    }
    if (space == NULL || n_bytes > sizeof(joined) || !find_id(draft, text, n_left, &merge->left) ||
        !find_id(draft, space + 1, n_bytes - n_left - 1, &merge->right) ||
        !find_id(draft, joined, n_bytes - 1, &merge->result))
        return refuse(tokenizer, list, NULL,
                      "merge %u, '%s', is not a pair of tokens that make a token", merge->rank,
                      quote(tokenizer, text, n_bytes));
    return RSRC_OK;
}

static enum rsrc_status read_merges(struct rsrc_gguf_tokenizer *tokenizer) {
    struct rsrc_tokenizer_draft *draft = &tokenizer->draft;
    bool failed = false;
    const struct rsrc_gguf_value *list =
        find_array(tokenizer, KEY("merges"), RSRC_GGUF_STRING, true, &failed);
    if (failed)
        return RSRC_FAILED;
    if (list->n > UINT32_MAX / 2)
        return refuse(tokenizer, list, NULL, "%" PRIu64 " merges are too many", list->n);
    draft->merges = RSRC_NEW_ARRAY(draft->scratch, list->n + 1, struct rsr_merge);
    const uint8_t *at = list->data;
    for (uint32_t i = 0; i < list->n; i++) {
        size_t n_bytes;
        const char *text = next_string(&at, &n_bytes);
        draft->merges[i].rank = i;
        if (read_merge(tokenizer, list, text, n_bytes, &draft->merges[i]) != RSRC_OK)
            return RSRC_FAILED;
    }
    draft->n_merges = (uint32_t)list->n;
    sort_merges(draft);
    return RSRC_OK;
}

/* ---- merges by score ------------------------------------------------------------------------- */

struct scored {
    float score;
    uint32_t id;
};

static int compare_scores(const void *left, const void *right) {
    const struct scored *a = left, *b = right;
    return (a->score < b->score) - (a->score > b->score);
}

/* The normal tokens, best score first. */
static enum rsrc_status read_scores(const struct rsrc_gguf_tokenizer *tokenizer,
                                    const uint8_t *types, struct scored *out, uint32_t *n_out) {
    const uint32_t n = tokenizer->draft.n_tokens;
    bool failed = false;
    const struct rsrc_gguf_value *scores =
        find_array(tokenizer, KEY("scores"), RSRC_GGUF_F32, true, &failed);
    uint32_t n_scored = 0;
    if (failed)
        return RSRC_FAILED;
    if (scores->n != n)
        return refuse(tokenizer, scores, NULL, "%" PRIu64 " scores for %u tokens", scores->n, n);
    for (uint32_t id = 0; id < n; id++) {
        struct scored scored = {.id = id};
        memcpy(&scored.score, scores->data + 4 * (size_t)id, sizeof(scored.score));
        if (types[id] != NORMAL)
            continue;
        if (isnan(scored.score) || tokenizer->draft.tokens[id].n_bytes > MAX_PIECE_BYTES)
            return refuse(tokenizer, scores, NULL,
                          "token %u has no score, or more than %u bytes of text", id,
                          MAX_PIECE_BYTES);
        out[n_scored++] = scored;
    }
    qsort(out, n_scored, sizeof(*out), compare_scores);
    *n_out = n_scored;
    return RSRC_OK;
}

/* Appends the merges that make a token. */
static void add_cuts(struct rsrc_tokenizer_draft *draft, const uint8_t *types, uint32_t id,
                     uint32_t rank) {
    const struct rsrc_token_text *token = &draft->tokens[id];
    for (uint32_t cut = 1; cut < token->n_bytes; cut++) {
        struct rsr_merge merge = {.result = id, .rank = rank};
        if (((uint8_t)token->bytes[cut] & 0xc0) != 0x80 && /* between characters */
            find_id(draft, token->bytes, cut, &merge.left) && types[merge.left] == NORMAL &&
            find_id(draft, token->bytes + cut, token->n_bytes - cut, &merge.right) &&
            types[merge.right] == NORMAL)
            draft->merges[draft->n_merges++] = merge;
    }
}

static enum rsrc_status derive_merges(struct rsrc_gguf_tokenizer *tokenizer, const uint8_t *types) {
    struct rsrc_tokenizer_draft *draft = &tokenizer->draft;
    struct scored *order = RSRC_NEW_ARRAY(draft->scratch, draft->n_tokens, struct scored);
    uint32_t n = 0, rank = 0;
    uint64_t n_cuts = 0;
    if (read_scores(tokenizer, types, order, &n) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < n; i++)
        n_cuts += draft->tokens[order[i].id].n_bytes; /* 2^22 tokens of 2^10 bytes at most */
    draft->merges = RSRC_NEW_ARRAY(draft->scratch, n_cuts + 1, struct rsr_merge);
    for (uint32_t i = 0; i < n; i++) {
        rank += i > 0 && order[i].score != order[i - 1].score;
        add_cuts(draft, types, order[i].id, rank);
    }
    sort_merges(draft);
    return RSRC_OK;
}

/* The replacement for a character without a token: the tokens of its bytes, or else one token for
 * all. */
static enum rsrc_status read_unknown(struct rsrc_gguf_tokenizer *tokenizer, const uint8_t *types) {
    struct rsrc_tokenizer_draft *draft = &tokenizer->draft;
    const struct rsrc_gguf_value *value = rsrc_gguf_find(tokenizer->gguf, KEY("unknown_token_id"));
    double id = 0.0; /* llama.cpp's */
    if (value != NULL && (!rsrc_gguf_number(value, &id) || !(id >= 0.0) ||
                          id >= (double)draft->n_tokens || id != floor(id)))
        return refuse(tokenizer, value, NULL, "\"%s\" is no token", value->key);
    draft->unk_token = (uint32_t)id;
    for (uint32_t i = 0; i < draft->n_tokens; i++)
        draft->byte_fallback = draft->byte_fallback || types[i] == BYTE;
    return RSRC_OK;
}

enum rsrc_status rsrc_gguf_read_vocab(struct rsrc_gguf_tokenizer *tokenizer, uint32_t max_tokens) {
    uint8_t *types = NULL;
    if (read_tokens(tokenizer, max_tokens, &types) != RSRC_OK)
        return RSRC_FAILED;
    if (tokenizer->draft.alphabet == RSR_BPE_BYTES)
        return read_merges(tokenizer);
    return read_unknown(tokenizer, types) == RSRC_OK ? derive_merges(tokenizer, types)
                                                     : RSRC_FAILED;
}
