/* tokenizer_nul.c - a tokenizer.json whose vocabulary has tokens with a NUL, which SentencePiece
 * makes if its training texts have NULs.
 *
 * The JSON library refuses a NUL in a key. So, before parsing, every \u0000 of the text is replaced
 * by the escape of a stand-in: a noncharacter of Unicode that the document does not contain.
 * Escapes have equal lengths, so places in diagnostics stay right. The vocabulary puts the NUL
 * back; except in the vocabulary and in merges, a NUL is refused.
 */
#include <string.h>

#include "base/json.h"
#include "reader/reader.h"

#define ESCAPE_BYTES 6 /* of \uHHHH */
#define FIRST_STAND_IN 0xfdd0u
#define N_STAND_INS 32u /* U+FDD0 .. U+FDEF */

static bool is_escape(const uint8_t *bytes, uint64_t n_left) {
    return n_left >= ESCAPE_BYTES && bytes[0] == '\\' && bytes[1] == 'u';
}

/* The value of an escape; UINT32_MAX: it is malformed, which the parser will report. */
static uint32_t read_code(const uint8_t *escape) {
    uint32_t code = 0;
    for (uint32_t i = 2; i < ESCAPE_BYTES; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = memchr(digits, escape[i] | 0x20, 16);
        if (digit == NULL)
            return UINT32_MAX;
        code = 16 * code + (uint32_t)(digit - digits);
    }
    return code;
}

/* One bit for each stand-in that the text contains, escaped or not; *n_nuls counts its escapes of
 * NUL. */
static uint32_t find_used(const uint8_t *bytes, uint64_t size_bytes, uint64_t *n_nuls) {
    uint32_t used = 0;
    *n_nuls = 0;
    for (uint64_t i = 0; i < size_bytes; i++) {
        uint32_t code = UINT32_MAX;
        if (is_escape(bytes + i, size_bytes - i))
            code = read_code(bytes + i);
        else if (size_bytes - i >= 3 && bytes[i] == 0xef && bytes[i + 1] == 0xb7)
            code = 0xf000u + 0x40 * (bytes[i + 1] & 0x3fu) + (bytes[i + 2] & 0x3fu);
        if (code >= FIRST_STAND_IN && code < FIRST_STAND_IN + N_STAND_INS)
            used |= UINT32_C(1) << (code - FIRST_STAND_IN);
        *n_nuls += code == 0;
        i += bytes[i] == '\\'; /* the next one is escaped */
    }
    return used;
}

static void replace_nuls(uint8_t *bytes, uint64_t size_bytes, uint32_t stand_in) {
    for (uint64_t i = 0; i < size_bytes; i++) {
        if (is_escape(bytes + i, size_bytes - i) && read_code(bytes + i) == 0) {
            static const char digits[] = "0123456789abcdef";
            for (uint32_t k = 2; k < ESCAPE_BYTES; k++)
                bytes[i + k] = (uint8_t)digits[stand_in >> 4 * (ESCAPE_BYTES - 1 - k) & 15];
        }
        i += bytes[i] == '\\';
    }
}

/* Documents nest at most RSRC_JSON_MAX_DEPTH deep. */
static bool holds(const json_t *value, const char *text) {
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_string(value))
        return strstr(json_string_value(value), text) != NULL;
    json_array_foreach(value, i, member) {
        if (holds(member, text))
            return true;
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, member) {
        if (strstr(key, text) != NULL || holds(member, text))
            return true;
    }
    return false;
}

/* Whether a NUL occurs outside of the vocabulary and merges. */
static bool holds_elsewhere(const json_t *root, const char *nul) {
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)root, key, member) {
        if (strcmp(key, "model") != 0 && (strstr(key, nul) != NULL || holds(member, nul)))
            return true;
    }
    json_object_foreach(json_object_get(root, "model"), key, member) {
        if (strcmp(key, "vocab") != 0 && strcmp(key, "merges") != 0 &&
            (strstr(key, nul) != NULL || holds(member, nul)))
            return true;
    }
    return false;
}

static enum rsrc_status refuse(struct rsrc_tokenizer_draft *draft, const char *problem) {
    const struct rsrc_place place = {.file = draft->file};
    return rsrc_refuse(draft->diag, "tokenizer-nul", &place,
                       "take the NUL character, \\u0000, out of it", "%s", problem);
}

enum rsrc_status rsrc_draft_parse(struct rsrc_tokenizer_draft *draft, const uint8_t *bytes,
                                  uint64_t size_bytes, json_t **out) {
    uint64_t n_nuls;
    const uint32_t used = find_used(bytes, size_bytes, &n_nuls);
    if (n_nuls == 0)
        return rsrc_json_parse(draft->diag, draft->file, bytes, size_bytes, "tokenizer", out);
    if (used == UINT32_MAX)
        return refuse(draft, "a NUL character beside every noncharacter that could stand for it");
    const uint32_t stand_in = FIRST_STAND_IN + (uint32_t)__builtin_ctz(~used);
    uint8_t *copy = rsrc_arena_alloc(draft->scratch, size_bytes);
    memcpy(copy, bytes, size_bytes);
    replace_nuls(copy, size_bytes, stand_in);
    draft->nul = rsrc_arena_printf(draft->scratch, "\xef\xb7%c", (char)(0x80 | (stand_in & 0x3f)));
    json_t *root;
    if (rsrc_json_parse(draft->diag, draft->file, copy, size_bytes, "tokenizer", &root) != RSRC_OK)
        return RSRC_FAILED;
    if (holds_elsewhere(root, draft->nul)) {
        json_decref(root);
        return refuse(draft, "a NUL character is supported in the vocabulary and in merges alone");
    }
    *out = root;
    return RSRC_OK;
}

/* Both are at most as long as the text. */
const char *rsrc_draft_with_nuls(const struct rsrc_tokenizer_draft *draft, const char *text,
                                 uint32_t *n_bytes) {
    const size_t n = strlen(text), n_stand_in = strlen(draft->nul);
    *n_bytes = (uint32_t)n;
    if (n_stand_in == 0 || strstr(text, draft->nul) == NULL)
        return text;
    char *out = rsrc_arena_alloc(draft->scratch, n), *end = out;
    for (const char *c = text; *c != '\0';) {
        const bool is_nul = strncmp(c, draft->nul, n_stand_in) == 0;
        *end++ = is_nul ? '\0' : *c;
        c += is_nul ? n_stand_in : 1;
    }
    *n_bytes = (uint32_t)(end - out);
    return out;
}
