/* tokenizer_vocab.c - vocabulary, added tokens and merges of a tokenizer.json with BPE.
 *
 * Byte level: the vocabulary is written in an alphabet in which every byte is a printable
 * character; it is mapped back to raw bytes here. Otherwise, and for added tokens, it is plain
 * text. Ids and merges follow the `tokenizers` library. If merges are equal, the last one counts.
 * Added tokens outside the vocabulary are numbered from its size on; a file with other numbers is
 * refused, because the library would silently use its own.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "reader/reader.h"

#define MAX_ID ((UINT32_C(1) << 22) - 1)

/* Ids may have gaps, but a small file must not ask for a large table. */
#define FREE_IDS (1u << 18)
#define MAX_IDS_PER_TOKEN 4u

/* The limit bounds the work at each place of a text, where added tokens are compared up to the
 * first difference. */
#define MAX_ADDED_BYTES 256u

#define PRINTABLE_FIRST 0x21
#define PRINTABLE_LAST 0x7e
#define UPPER_CONTROLS 34   /* bytes 0x7f .. 0xa0 */
#define LOWER_CONTROLS 0x21 /* bytes 0x00 .. 0x20 */

static enum rsrc_status refuse(const struct rsrc_tokenizer_draft *draft, const char *slug,
                               const char *token, const char *problem) {
    struct rsrc_place place = {.file = draft->file};
    return rsrc_refuse(draft->diag, slug, &place, NULL, "token '%s' %s",
                       rsrc_quote(draft->scratch, token), problem);
}

int rsrc_byte_of_char(uint32_t c) {
    /* Printable Latin-1 stands for itself; the 68 other bytes are U+0100 .. U+0143 in order. */
    if ((c >= PRINTABLE_FIRST && c <= PRINTABLE_LAST) || (c >= 0xa1 && c <= 0xff && c != 0xad)) {
        return (int)c;
    }
    if (c < 0x100 || c > 0x143) {
        return -1;
    }
    uint32_t n = c - 0x100;
    if (n < LOWER_CONTROLS) {
        return (int)n;
    }
    n -= LOWER_CONTROLS;
    return n < UPPER_CONTROLS ? (int)(0x7f + n) : 0xad;
}

bool rsrc_unmap_bytes(const char *text, size_t n_bytes, char *out, uint32_t *n_out) {
    uint32_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        uint32_t c = (unsigned char)text[i];
        if (c >= 0x80) {
            /* The alphabet ends below U+0800: two bytes at most. */
            if (c >= 0xe0 || i + 1 == n_bytes) {
                return false;
            }
            c = (c & 0x1f) << 6 | ((unsigned char)text[++i] & 0x3f);
        }
        int byte = rsrc_byte_of_char(c);
        if (byte < 0) {
            return false;
        }
        out[n++] = (char)byte;
    }
    *n_out = n;
    return true;
}

/* ---- ids ------------------------------------------------------------------------------------- */

static enum rsrc_status read_id(const struct rsrc_tokenizer_draft *draft, const char *token,
                                const json_t *value, uint32_t *id) {
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || number > (json_int_t)MAX_ID) {
        return refuse(draft, "tokenizer-id", token, "has no id between 0 and 4194303");
    }
    *id = (uint32_t)number;
    return RSRC_OK;
}

/* Checks every id, and finds the number of ids. */
static enum rsrc_status count_ids(struct rsrc_tokenizer_draft *draft, json_t *vocab,
                                  const json_t *added) {
    uint32_t n_ids = 0, id = 0;
    const char *token;
    json_t *value;
    json_object_foreach(vocab, token, value) {
        if (read_id(draft, token, value, &id) != RSRC_OK) {
            return RSRC_FAILED;
        }
        n_ids = id + 1 > n_ids ? id + 1 : n_ids;
    }
    size_t i;
    json_array_foreach(added, i, value) {
        const char *content = json_string_value(json_object_get(value, "content"));
        if (content == NULL || content[0] == '\0') {
            struct rsrc_place place = {.file = draft->file};
            return rsrc_refuse(draft->diag, "tokenizer-added-token", &place, NULL,
                               "entry %zu of \"added_tokens\" has no \"content\"", i);
        }
        if (read_id(draft, content, json_object_get(value, "id"), &id) != RSRC_OK) {
            return RSRC_FAILED;
        }
        n_ids = id + 1 > n_ids ? id + 1 : n_ids;
    }
    size_t n_tokens = json_object_size(vocab) + json_array_size(added);
    if (n_ids > FREE_IDS && n_ids / MAX_IDS_PER_TOKEN > n_tokens) {
        struct rsrc_place place = {.file = draft->file};
        return rsrc_refuse(draft->diag, "tokenizer-id", &place, NULL,
                           "the largest id is %u, but there are only %zu tokens", n_ids - 1,
                           n_tokens);
    }
    draft->n_tokens = n_ids;
    return RSRC_OK;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static const struct {
    const char *key;
    enum rsr_token_flag flag;
} ADDED_FLAGS[] = {
    {"special", RSR_TOKEN_SPECIAL},       {"lstrip", RSR_TOKEN_LSTRIP},
    {"rstrip", RSR_TOKEN_RSTRIP},         {"single_word", RSR_TOKEN_SINGLE_WORD},
    {"normalized", RSR_TOKEN_NORMALIZED},
};

static enum rsrc_status read_added_token(struct rsrc_tokenizer_draft *draft, const json_t *entry,
                                         uint32_t *next_id) {
    const char *content = json_string_value(json_object_get(entry, "content"));
    const json_t *in_vocab = json_object_get(draft->vocab, content);
    uint32_t id = (uint32_t)json_integer_value(json_object_get(entry, "id"));
    uint32_t expected = in_vocab != NULL ? (uint32_t)json_integer_value(in_vocab) : (*next_id)++;
    if (id < draft->n_tokens && draft->tokens[id].bytes != NULL) {
        return refuse(draft, "tokenizer-added-token", content, "has the id of another added token");
    }
    if (id != expected) {
        return refuse(draft, "tokenizer-added-token", content,
                      in_vocab != NULL ? "has another id in the vocabulary"
                                       : "is not numbered on from the size of the vocabulary");
    }
    if (strlen(content) > MAX_ADDED_BYTES) {
        return refuse(draft, "tokenizer-added-token", content, "is longer than 256 bytes");
    }
    struct rsrc_token_text *token = &draft->tokens[id];
    token->bytes = content;
    token->n_bytes = (uint32_t)strlen(content);
    token->flags = RSR_TOKEN_ADDED;
    for (size_t i = 0; i < sizeof(ADDED_FLAGS) / sizeof(ADDED_FLAGS[0]); i++) {
        bool is_set;
        if (rsrc_json_bool(draft->diag, draft->file, "tokenizer", entry, ADDED_FLAGS[i].key, false,
                           &is_set) != RSRC_OK) {
            return RSRC_FAILED;
        }
        if (is_set) {
            token->flags |= (uint8_t)ADDED_FLAGS[i].flag;
        }
    }
    return RSRC_OK;
}

static enum rsrc_status read_added_tokens(struct rsrc_tokenizer_draft *draft, const json_t *added) {
    uint32_t next_id = (uint32_t)json_object_size(draft->vocab);
    size_t i;
    json_t *entry;
    json_array_foreach(added, i, entry) {
        if (read_added_token(draft, entry, &next_id) != RSRC_OK) {
            return RSRC_FAILED;
        }
    }
    return RSRC_OK;
}

/* The text of a token of the vocabulary; false if it is not in the alphabet. */
static bool read_vocab_text(const struct rsrc_tokenizer_draft *draft, const char *text,
                            const char **bytes, uint32_t *n_bytes) {
    if (draft->alphabet == RSR_BPE_CHARACTERS) {
        *bytes = rsrc_draft_with_nuls(draft, text, n_bytes);
        return true;
    }
    size_t length = strlen(text);
    char *unmapped = rsrc_arena_alloc(draft->scratch, length + 1);
    *bytes = unmapped;
    return rsrc_unmap_bytes(text, length, unmapped, n_bytes);
}

static enum rsrc_status read_vocab_tokens(struct rsrc_tokenizer_draft *draft, json_t *vocab) {
    const char *text;
    json_t *value;
    json_object_foreach(vocab, text, value) {
        struct rsrc_token_text *token = &draft->tokens[json_integer_value(value)];
        const char *bytes;
        uint32_t n_bytes;
        bool readable = read_vocab_text(draft, text, &bytes, &n_bytes);
        if ((token->flags & RSR_TOKEN_ADDED) != 0 && strcmp(token->bytes, text) == 0) {
            /* An added token that is also in the vocabulary is plain text there; checks that both
             * have equal texts. */
            if (readable && n_bytes == token->n_bytes && memcmp(bytes, text, n_bytes) == 0) {
                token->flags |= (uint8_t)RSR_TOKEN_IN_VOCABULARY;
            }
            continue;
        }
        if (token->bytes != NULL) {
            return refuse(draft, "tokenizer-id", text, "has the id of another token");
        }
        if (!readable) {
            return refuse(draft, "tokenizer-alphabet", text,
                          "is not in the byte-level alphabet and not an added token");
        }
        token->bytes = bytes;
        token->n_bytes = n_bytes;
    }
    return RSRC_OK;
}

/* ---- merges ---------------------------------------------------------------------------------- */

/* The two halves of a merge, not NUL-terminated. */
struct halves {
    const char *left, *right;
    size_t n_left, n_right;
};

/* "a b", or ["a", "b"]. */
static bool split_merge(const json_t *entry, struct halves *out) {
    if (json_is_string(entry)) {
        const char *text = json_string_value(entry);
        const char *space = strchr(text, ' ');
        if (space == NULL || strchr(space + 1, ' ') != NULL) {
            return false;
        }
        *out = (struct halves){.left = text,
                               .n_left = (size_t)(space - text),
                               .right = space + 1,
                               .n_right = strlen(space + 1)};
        return true;
    }
    const json_t *left = json_array_get(entry, 0), *right = json_array_get(entry, 1);
    if (json_array_size(entry) != 2 || !json_is_string(left) || !json_is_string(right)) {
        return false;
    }
    *out = (struct halves){.left = json_string_value(left),
                           .n_left = json_string_length(left),
                           .right = json_string_value(right),
                           .n_right = json_string_length(right)};
    return true;
}

static bool find_id(const struct rsrc_tokenizer_draft *draft, const char *text, size_t n_bytes,
                    uint32_t *id) {
    const json_t *value = json_object_getn(draft->vocab, text, n_bytes);
    *id = (uint32_t)json_integer_value(value);
    return value != NULL;
}

static enum rsrc_status read_merge(const struct rsrc_tokenizer_draft *draft, const json_t *entry,
                                   size_t index, struct rsrc_buffer *joined,
                                   struct rsr_merge *merge) {
    struct halves halves;
    struct rsrc_place place = {.file = draft->file};
    if (!split_merge(entry, &halves))
        return rsrc_refuse(draft->diag, "tokenizer-merge", &place, NULL,
                           "entry %zu of \"merges\" is not a pair of tokens", index);
    rsrc_buffer_clear(joined);
    rsrc_buffer_append(joined, halves.left, halves.n_left);
    rsrc_buffer_append(joined, halves.right, halves.n_right);
    if (!find_id(draft, halves.left, halves.n_left, &merge->left) ||
        !find_id(draft, halves.right, halves.n_right, &merge->right) ||
        !find_id(draft, joined->data, joined->size_bytes, &merge->result))
        return rsrc_refuse(
            draft->diag, "tokenizer-merge", &place, NULL,
            "entry %zu of \"merges\" needs a token that the vocabulary lacks: '%s' or a half",
            index, rsrc_quote(draft->scratch, joined->data));
    return RSRC_OK;
}

static int compare_merges(const void *left, const void *right) {
    const struct rsr_merge *a = left, *b = right;
    if (a->left != b->left) {
        return a->left < b->left ? -1 : 1;
    }
    if (a->right != b->right) {
        return a->right < b->right ? -1 : 1;
    }
    return (a->rank > b->rank) - (a->rank < b->rank);
}

static enum rsrc_status read_merges(struct rsrc_tokenizer_draft *draft, const json_t *list) {
    struct rsrc_buffer joined = {0};
    enum rsrc_status status = RSRC_OK;
    struct rsr_merge *merges =
        RSRC_NEW_ARRAY(draft->scratch, json_array_size(list) + 1, struct rsr_merge);
    uint32_t n = 0;
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry) {
        const char *text = json_string_value(entry);
        if (text != NULL && strncmp(text, "#version", 8) == 0) {
            continue; /* the header of a merges.txt; it has no rank */
        }
        merges[n].rank = n;
        status = read_merge(draft, entry, i, &joined, &merges[n]);
        if (status != RSRC_OK) {
            break;
        }
        n++;
    }
    rsrc_buffer_free(&joined);
    qsort(merges, n, sizeof(*merges), compare_merges);
    uint32_t n_kept = 0;
    for (uint32_t k = 0; k < n; k++) {
        bool repeated = k + 1 < n && merges[k].left == merges[k + 1].left &&
                        merges[k].right == merges[k + 1].right;
        if (!repeated) {
            merges[n_kept++] = merges[k];
        }
    }
    draft->merges = merges;
    draft->n_merges = n_kept;
    return status;
}

/* ---- entry point ----------------------------------------------------------------------------- */

static enum rsrc_status refuse_type(const struct rsrc_tokenizer_draft *draft, const char *key,
                                    const json_t *value, const char *expected) {
    struct rsrc_place place = {.file = draft->file};
    return rsrc_refuse(draft->diag, "tokenizer-field", &place, NULL,
                       "\"%s\" is %s where %s is expected", key, rsrc_json_type_name(value),
                       expected);
}

enum rsrc_status rsrc_draft_vocabulary(struct rsrc_tokenizer_draft *draft, const json_t *root,
                                       const json_t *model) {
    json_t *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    const json_t *added = json_object_get(root, "added_tokens");
    if (!json_is_object(vocab)) {
        return refuse_type(draft, "vocab", vocab, "an object");
    }
    if (!json_is_array(merges)) {
        return refuse_type(draft, "merges", merges, "a list");
    }
    if (added != NULL && !json_is_null(added) && !json_is_array(added)) {
        return refuse_type(draft, "added_tokens", added, "a list");
    }
    draft->vocab = vocab;
    if (count_ids(draft, vocab, added) != RSRC_OK) {
        return RSRC_FAILED;
    }
    if (draft->n_tokens == 0) {
        return refuse_type(draft, "vocab", vocab, "a vocabulary that is not empty");
    }
    draft->tokens = RSRC_NEW_ARRAY(draft->scratch, draft->n_tokens, struct rsrc_token_text);
    if (read_added_tokens(draft, added) != RSRC_OK || read_vocab_tokens(draft, vocab) != RSRC_OK) {
        return RSRC_FAILED;
    }
    return read_merges(draft, merges);
}
