/* added_tokens.c - matching of added tokens, as AddedVocabulary of Hugging Face tokenizers does it.
 *
 * Tokens are sorted by content, so the candidates at a place form a range that narrows with each
 * byte. The time is proportional to the bytes of text times the longest common prefix, for any
 * number of tokens.
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "added_tokens.h"
#include "host/utf8.h"

static int compare_tokens(const void *a, const void *b) {
    const struct rsr_added_token *x = a, *y = b;
    size_t n = x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes;
    int order = memcmp(x->content, y->content, n);
    if (order == 0 && x->n_bytes != y->n_bytes)
        order = x->n_bytes < y->n_bytes ? -1 : 1;
    if (order == 0)
        order = x->id < y->id ? -1 : x->id > y->id;
    return order;
}

static bool same_content(const struct rsr_added_token *a, const struct rsr_added_token *b) {
    return a->n_bytes == b->n_bytes && memcmp(a->content, b->content, a->n_bytes) == 0;
}

void rsr_added_tokens_index(struct rsr_added_tokens *set) {
    uint32_t n = 0;
    if (set->n_tokens > 0)
        qsort(set->tokens, set->n_tokens, sizeof(set->tokens[0]), compare_tokens);
    for (uint32_t i = 0; i < set->n_tokens; i++)
        if (n == 0 || !same_content(&set->tokens[n - 1], &set->tokens[i]))
            set->tokens[n++] = set->tokens[i];
    set->n_tokens = n;
    memset(set->first, 0, sizeof(set->first));
    for (uint32_t i = 0; i < n; i++)
        set->first[(uint8_t)set->tokens[i].content[0] + 1]++;
    for (uint32_t b = 0; b < 256; b++)
        set->first[b + 1] += set->first[b];
}

/* The byte of a token at `depth`, or -1 after its end, so that shorter tokens come first. */
static int byte_at(const struct rsr_added_token *token, size_t depth) {
    return depth < token->n_bytes ? (uint8_t)token->content[depth] : -1;
}

/* First token of [low, high) whose byte at depth is at least `byte`. */
static uint32_t lower_bound(const struct rsr_added_tokens *set, uint32_t low, uint32_t high,
                            size_t depth, int byte) {
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (byte_at(&set->tokens[middle], depth) < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token at the front of text[0..n), or NULL. Special tokens with a marked byte do not
 * count. */
static const struct rsr_added_token *longest_at(const struct rsr_added_tokens *set,
                                                const char *text, const uint8_t *marks, size_t n) {
    bool is_marked = marks && marks[0];
    uint8_t byte = (uint8_t)text[0];
    uint32_t low = set->first[byte], high = set->first[byte + 1];
    const struct rsr_added_token *longest = NULL;
    for (size_t depth = 1; low < high; depth++) {
        const bool is_special = (set->tokens[low].flags & RSR_TOKEN_SPECIAL) != 0;
        if (set->tokens[low].n_bytes == depth && !(is_marked && is_special))
            longest = &set->tokens[low];
        if (depth == n)
            break;
        byte = (uint8_t)text[depth];
        is_marked = is_marked || (marks && marks[depth]);
        low = lower_bound(set, low, high, depth, byte);
        high = lower_bound(set, low, high, depth, byte + 1);
    }
    return longest;
}

/* \w of Rust's regex crate: Alphabetic, M, Nd, Pc, Join_Control. The ranges are the symbols (So)
 * that are Alphabetic. */
static bool is_word(uint32_t code) {
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return code == 0x200c || code == 0x200d || (code >= 0x24b6 && code <= 0x24e9) ||
               (code >= 0x1f130 && code <= 0x1f149) || (code >= 0x1f150 && code <= 0x1f169) ||
               (code >= 0x1f170 && code <= 0x1f189);
    }
}

static bool word_ends_at(const char *text, size_t n) {
    if (n == 0)
        return false;
    size_t begin = rsr_utf8_previous(text, n);
    return is_word(rsr_utf8_scan(text + begin, n - begin).code);
}

static bool word_begins_at(const char *text, size_t n) {
    return n > 0 && is_word(rsr_utf8_scan(text, n).code);
}

/* The beginning of the white space that ends at text + n, but not before `floor`. */
static size_t skip_spaces_back(const char *text, size_t floor, size_t n) {
    while (n > floor) {
        size_t begin = rsr_utf8_previous(text, n);
        if (!rsr_is_space(rsr_utf8_scan(text + begin, n - begin).code))
            break;
        n = begin;
    }
    return n;
}

static size_t skip_spaces(const char *text, size_t at, size_t n) {
    while (at < n) {
        struct rsr_utf8_step step = rsr_utf8_scan(text + at, n - at);
        if (!rsr_is_space(step.code))
            break;
        at += step.length;
    }
    return at;
}

/* Whether a match is accepted; the text of a rejected one is still skipped, as in the library. */
static bool is_wanted(const struct rsr_added_token *token, const char *text, size_t begin,
                      size_t end, size_t n, bool parse_special) {
    if (!parse_special && (token->flags & RSR_TOKEN_SPECIAL))
        return false;
    return !(token->flags & RSR_TOKEN_SINGLE_WORD) ||
           (!word_ends_at(text, begin) && !word_begins_at(text + end, n - end));
}

rsr_status rsr_added_tokens_split(const struct rsr_added_tokens *set, const char *text,
                                  const uint8_t *marks, size_t n_bytes, bool parse_special,
                                  rsr_segment_fn *segment, void *user, rsr_error *err) {
    size_t covered = 0;
    size_t spaces_begin = 0, spaces_end = 0; /* white space that was skipped last, and may be
                                                skipped again */
    rsr_status status = RSR_OK;
    for (size_t at = 0; at < n_bytes && set->n_tokens > 0;) {
        const struct rsr_added_token *token =
            longest_at(set, text + at, marks ? marks + at : NULL, n_bytes - at);
        if (!token) {
            at++;
            continue;
        }
        size_t begin = at, end = at + token->n_bytes;
        at = end;
        if (!is_wanted(token, text, begin, end, n_bytes, parse_special))
            continue;
        if (token->flags & RSR_TOKEN_LSTRIP)
            begin = begin < covered ? covered : skip_spaces_back(text, covered, begin);
        if (token->flags & RSR_TOKEN_RSTRIP) {
            if (end < spaces_begin || end > spaces_end) {
                spaces_begin = end;
                spaces_end = skip_spaces(text, end, n_bytes);
            }
            end = spaces_end;
        }
        if (begin > covered)
            status = segment(user, RSR_NO_TOKEN, text + covered, begin - covered, err);
        if (status == RSR_OK)
            status = segment(user, token->id, text + begin, end - begin, err);
        if (status != RSR_OK)
            return status;
        covered = end;
    }
    if (covered < n_bytes)
        status = segment(user, RSR_NO_TOKEN, text + covered, n_bytes - covered, err);
    return status;
}
