/* pretokenize.c - splits text by a regular expression as Hugging Face tokenizers does.
 *
 * The library matches with Oniguruma in Ruby syntax; this file rewrites a pattern for PCRE2 and
 * refuses what would mean something else there. Rewritten: \s and \S (PCRE2 adds U+180E), \d, \D,
 * \uHHHH, script properties (PCRE2 matches script extensions unless told not to) and intervals:
 *
 *   x{,n}     from 0 to n
 *   x{n,m}+   (?:x{n,m})+, not possessive, as only ?+ *+ ++ are; x{n,m}* and x{n}{m} in the same
 *             way
 *   x{n}?     (?:x{n})?, not lazy
 *
 * ^ and $ are those of lines, which end with \n alone. Refused: \w \b \h \A \z and other letters,
 * nested classes, && in classes, inline options such as (?i), named groups, back references. The
 * interpreter is used, not the JIT: it splits 20 MB a second, needs no executable memory in the
 * host's process, and its match and heap limits are exact.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "host/stack.h"
#include "host/utf8.h"
#include "pretokenize.h"

const char rsr_gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* No pattern in use comes near these limits; they keep a hostile pattern from taking all time and
 * memory. The match limit grows with the text, because a long run of white space is backtracked
 * through once. */
#define MATCH_LIMIT_BASE 1000000u
#define MATCH_LIMIT_PER_BYTE 16u
#define HEAP_LIMIT_KIB (256u * 1024u)
#define MAX_PATTERN_BYTES 65536u
#define STACK_RESERVE ((size_t)12 << 10) /* of PCRE2, for what does not recurse */
#define MAX_GROUPS 250u                  /* inside each other, as many as PCRE2 takes */

struct rsr_splitter {
    pcre2_code *code;
    uint32_t behavior;
    bool invert;
};

/* ---- Rewriting ------------------------------------------------------------------------------- */

struct rewriter {
    const char *at, *end;
    struct rsr_bytes out;
    bool in_class;
    bool class_is_empty;
    size_t atom;               /* place in `out` of the part that a quantifier would repeat */
    bool atom_is_repeated;     /* by a quantifier that was just read */
    size_t groups[MAX_GROUPS]; /* where the open ones begin */
    uint32_t n_groups;
};

#define SPACE_MEMBERS "\\t-\\r\\x{85}\\p{Z}"

static bool put(struct rewriter *w, const char *text) {
    return rsr_bytes_append(&w->out, text, strlen(text));
}

static bool starts_with(const struct rewriter *w, const char *text) {
    size_t n = strlen(text);
    return (size_t)(w->end - w->at) >= n && memcmp(w->at, text, n) == 0;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* w->at is after "\p" or "\P". Categories of one or two letters pass; longer names are scripts. */
static bool rewrite_property(struct rewriter *w, bool negated) {
    if (w->at == w->end || *w->at != '{')
        return false;
    w->at++;
    if (w->at < w->end && *w->at == '^') {
        negated = !negated;
        w->at++;
    }
    const char *name = w->at;
    while (w->at < w->end && (is_letter(*w->at) || *w->at == '_'))
        w->at++;
    size_t n = (size_t)(w->at - name);
    if (n == 0 || n > 40 || w->at == w->end || *w->at++ != '}')
        return false;
    return put(w, negated ? "\\P{" : "\\p{") && put(w, n > 2 ? "sc:" : "") &&
           rsr_bytes_append(&w->out, name, n) && put(w, "}");
}

/* w->at is after "\x" or "\u": up to 8 hexadecimal digits, in braces for \x or four bare ones for
 * \u. */
static bool rewrite_code_point(struct rewriter *w, char kind) {
    bool braces = kind == 'x' && w->at < w->end && *w->at == '{';
    if (braces)
        w->at++;
    const char *digits = w->at;
    size_t max = braces ? 8 : kind == 'x' ? 2 : 4;
    while (w->at < w->end && is_hex(*w->at) && (size_t)(w->at - digits) < max)
        w->at++;
    size_t n = (size_t)(w->at - digits);
    if (n == 0 || (!braces && n != max) || (braces && (w->at == w->end || *w->at++ != '}')))
        return false;
    /* A bare \x80.. is a byte of the encoding for Oniguruma. */
    if (kind == 'x' && !braces && digits[0] > '7')
        return false;
    return put(w, "\\x{") && rsr_bytes_append(&w->out, digits, n) && put(w, "}");
}

/* w->at is after the backslash. */
static bool rewrite_escape(struct rewriter *w) {
    if (w->at == w->end)
        return false;
    char c = *w->at++;
    switch (c) {
    case 's':
        return put(w, w->in_class ? SPACE_MEMBERS : "[" SPACE_MEMBERS "]");
    case 'S':
        return !w->in_class && put(w, "[^" SPACE_MEMBERS "]");
    case 'd':
        return put(w, "\\p{Nd}");
    case 'D':
        return put(w, "\\P{Nd}");
    case 'p':
    case 'P':
        return rewrite_property(w, c == 'P');
    case 'x':
    case 'u':
        return rewrite_code_point(w, c);
    default:
        break;
    }
    bool plain = strchr("nrtf", c) != NULL && c != '\0';
    bool punctuation = c > ' ' && c < 0x7f && !is_letter(c) && !is_digit(c);
    char escape[3] = {'\\', c, 0};
    return (plain || punctuation) && put(w, escape);
}

/* Makes a group of the atom and its interval, which the next quantifier repeats as a whole. */
static bool wrap_atom(struct rewriter *w) {
    static const char begin[] = "(?:";
    const size_t n = sizeof(begin) - 1;
    if (!put(w, begin) || !put(w, ")"))
        return false;
    memmove(w->out.data + w->atom + n, w->out.data + w->atom, w->out.size - w->atom - n - 1);
    memcpy(w->out.data + w->atom, begin, n);
    return true;
}

/* {n}, {n,}, {,m} or {n,m} */
struct interval {
    const char *begin, *end; /* after '{', after '}' */
    unsigned long least, most;
    bool has_comma;
};

/* False: the brace is a literal. */
static bool read_interval(const struct rewriter *w, struct interval *out) {
    const char *p = w->at;
    while (p < w->end && is_digit(*p))
        p++;
    const size_t n_min = (size_t)(p - w->at);
    const bool comma = p < w->end && *p == ',';
    const char *max = comma ? ++p : w->at;
    while (p < w->end && is_digit(*p))
        p++;
    const size_t n_max = (size_t)(p - max);
    if (p == w->end || *p != '}' || n_min + n_max == 0 || n_min > 5 || n_max > 5)
        return false;
    *out = (struct interval){.begin = w->at,
                             .end = p + 1,
                             .least = n_min == 0 ? 0 : strtoul(w->at, NULL, 10),
                             .most = n_max == 0 ? ULONG_MAX : strtoul(max, NULL, 10),
                             .has_comma = comma};
    return true;
}

/* If x is one character, x{1,m}+ matches what x+ matches, in the same order. With x+, PCRE2 stores
 * no backtracking point for every m characters; a long run of digits would fill its heap with
 * them. */
static bool is_plain_repetition(const struct rewriter *w, const struct interval *interval,
                                bool is_group) {
    const size_t n_left = (size_t)(w->end - w->at);
    return interval->least == 1 && interval->most != 0 && !is_group && !w->atom_is_repeated &&
           n_left != 0 && w->at[0] == '+' && (n_left == 1 || w->at[1] != '?');
}

/* w->at is after '{'. */
static bool rewrite_brace(struct rewriter *w) {
    struct interval interval;
    if (!read_interval(w, &interval)) {
        w->atom = w->out.size;
        return put(w, "\\{");
    }
    w->at = interval.end;
    const bool is_group = w->atom < w->out.size && w->out.data[w->atom] == '(';
    if (is_plain_repetition(w, &interval, is_group))
        return true;
    const char next = w->at < w->end ? *w->at : '\0';
    const bool is_repeated =
        next == '+' || next == '*' || next == '{' || (next == '?' && !interval.has_comma);
    /* Oniguruma drops the group in this case: (?:ab){1}+ is ab+ */
    if (is_repeated && is_group && interval.least == 1 && interval.most == 1)
        return false;
    return put(w, interval.begin[0] == ',' ? "{0" : "{") &&
           rsr_bytes_append(&w->out, interval.begin, (size_t)(interval.end - interval.begin)) &&
           (!is_repeated || wrap_atom(w));
}

/* w->at is after '('. */
static bool rewrite_group(struct rewriter *w) {
    static const char *const groups[] = {"?:", "?i:", "?=", "?!", "?<=", "?<!", "?>"};
    if (w->n_groups == MAX_GROUPS)
        return false;
    w->groups[w->n_groups++] = w->out.size;
    if (w->at == w->end || *w->at != '?')
        return (w->at == w->end || *w->at != '*') && put(w, "(?:");
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (starts_with(w, groups[i])) {
            w->at += strlen(groups[i]);
            return put(w, "(") && put(w, groups[i]);
        }
    }
    return false;
}

static bool rewrite_in_class(struct rewriter *w) {
    char c = *w->at++;
    bool was_empty = w->class_is_empty;
    w->class_is_empty = false;
    if (c == '\\')
        return rewrite_escape(w);
    if (c == '[' || (c == '&' && w->at < w->end && *w->at == '&'))
        return false;
    if (c == ']') {
        w->in_class = false;
        return !was_empty && put(w, "]");
    }
    return rsr_bytes_append(&w->out, &c, 1);
}

static bool is_continuation(char c) {
    return ((unsigned char)c & 0xc0) == 0x80;
}

static bool rewrite_outside_class(struct rewriter *w) {
    char c = *w->at++;
    const bool is_quantifier = strchr("*+?", c) != NULL;
    if (!is_quantifier && strchr("{()", c) == NULL && !is_continuation(c))
        w->atom = w->out.size;
    if (c != '{')
        w->atom_is_repeated = is_quantifier;
    switch (c) {
    case '\\':
        return rewrite_escape(w);
    case '{':
        return rewrite_brace(w);
    case '(':
        return rewrite_group(w);
    case ')':
        if (w->n_groups == 0)
            return false;
        w->atom = w->groups[--w->n_groups];
        return put(w, ")");
    case '[':
        w->in_class = w->class_is_empty = true;
        if (w->at < w->end && *w->at == '^') {
            w->at++;
            return put(w, "[^");
        }
        return put(w, "[");
    default:
        return rsr_bytes_append(&w->out, &c, 1);
    }
}

/* Leaves w->at after the construct that was refused. */
static bool rewrite(struct rewriter *w) {
    while (w->at < w->end)
        if (!(w->in_class ? rewrite_in_class(w) : rewrite_outside_class(w)))
            return false;
    return true;
}

/* ---- Compiling ------------------------------------------------------------------------------- */

/* PCRE2 10.42 wrongly turns [ab]+(?:xy)?+b into [ab]++(?:xy)?+b if it may make quantifiers
 * possessive. */
#define OPTIONS                                                                                    \
    (PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_POSSESS)

/* PCRE2 recurses into groups. */
static int is_too_deep(uint32_t depth, void *stack_end) {
    (void)depth;
    return rsr_is_below(stack_end);
}

static pcre2_code *compile_rewritten(const struct rsr_bytes *pattern, int *code, size_t *offset) {
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return NULL;
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_compile_recursion_guard(context, is_too_deep, (void *)rsr_stack_end(STACK_RESERVE));
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern->data, pattern->size, OPTIONS, code, offset, context);
    pcre2_compile_context_free(context);
    return compiled;
}

static rsr_status no_memory_to_compile(rsr_error *err) {
    return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the tokenizer's split pattern");
}

/* Code 0: PCRE2 was not asked. */
static rsr_status compile_failed(int code, rsr_error *err) {
    PCRE2_UCHAR message[128] = "";
    if (code == 0 || code == PCRE2_ERROR_HEAP_FAILED)
        return no_memory_to_compile(err);
    pcre2_get_error_message(code, message, sizeof(message));
    return rsr_fail(err, RSR_ERR_TEXT, "the tokenizer's split pattern is not valid: %s",
                    (const char *)message);
}

rsr_status rsr_splitter_create(const char *pattern, size_t pattern_bytes, uint32_t behavior,
                               bool invert, struct rsr_splitter **splitter, rsr_error *err) {
    if (behavior > 4)
        return rsr_fail(err, RSR_ERR_TEXT,
                        "the tokenizer has a split behavior of unknown number %u", behavior);
    if (pattern_bytes == 0 || pattern_bytes > MAX_PATTERN_BYTES)
        return rsr_fail(err, RSR_ERR_TEXT,
                        "the tokenizer's split pattern has %zu bytes; 1 to %u are supported",
                        pattern_bytes, MAX_PATTERN_BYTES);
    struct rewriter w = {.at = pattern, .end = pattern + pattern_bytes};
    struct rsr_splitter *created = calloc(1, sizeof(*created));
    rsr_status status = RSR_OK;
    int code = 0;
    size_t offset = 0;
    if (!created || !rsr_bytes_reserve(&w.out, 4 * pattern_bytes)) {
        status = no_memory_to_compile(err);
    } else if (!rewrite(&w)) {
        size_t end = (size_t)(w.at - pattern), begin = end < 8 ? 0 : end - 8;
        status = rsr_fail(err, RSR_ERR_TEXT,
                          "the tokenizer's split pattern uses a construct that is not supported, "
                          "at byte %zu: ...%.*s",
                          end - 1, (int)(end - begin), pattern + begin);
    } else if (!(created->code = compile_rewritten(&w.out, &code, &offset))) {
        status = compile_failed(code, err);
    }
    rsr_bytes_free(&w.out);
    if (status != RSR_OK) {
        free(created);
        return status;
    }
    created->behavior = behavior;
    created->invert = invert;
    *splitter = created;
    return RSR_OK;
}

void rsr_splitter_destroy(struct rsr_splitter *splitter) {
    if (!splitter)
        return;
    pcre2_code_free(splitter->code);
    free(splitter);
}

/* ---- Splitting ------------------------------------------------------------------------------- */

/* The split as it proceeds: matches and the gaps between them arrive in order and are joined by the
 * splitter's behavior; `begin..end` is the piece that may still grow. */
struct split {
    const struct rsr_splitter *splitter;
    const char *text;
    size_t begin, end;
    bool open; /* begin..end is a piece */
    bool previous_is_match;
    rsr_piece_fn *piece;
    void *user;
};

static rsr_status flush_piece(struct split *s, rsr_error *err) {
    if (!s->open || s->begin == s->end)
        return RSR_OK;
    return s->piece(s->user, s->text + s->begin, s->end - s->begin, err);
}

static bool extends_piece(const struct split *s, bool is_match) {
    switch (s->splitter->behavior) {
    case 2: /* a match belongs to the gap before it */
        return s->open && is_match && !s->previous_is_match;
    case 3: /* a gap belongs to the match before it */
        return s->open && !is_match && s->previous_is_match;
    case 4: /* neighbours of one kind are one piece */
        return s->open && is_match == s->previous_is_match;
    default:
        return false;
    }
}

static rsr_status add_range(struct split *s, size_t begin, size_t end, bool is_match,
                            rsr_error *err) {
    rsr_status status = RSR_OK;
    is_match ^= s->splitter->invert;
    if (extends_piece(s, is_match)) {
        s->end = end;
    } else {
        status = flush_piece(s, err);
        s->begin = begin;
        s->end = end;
        s->open = !(s->splitter->behavior == 1 && is_match);
    }
    s->previous_is_match = is_match;
    return status;
}

static rsr_status match_failed(int code, rsr_error *err) {
    PCRE2_UCHAR message[128] = "";
    if (code == PCRE2_ERROR_NOMEMORY)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory to split the text into words");
    pcre2_get_error_message(code, message, sizeof(message));
    return rsr_fail(err, RSR_ERR_TEXT, "the tokenizer's split pattern gave up on this text: %s",
                    (const char *)message);
}

/* Matches from left to right; an empty match where the last one ended is passed over. */
static rsr_status split_matches(struct split *s, size_t n, pcre2_match_data *data,
                                pcre2_match_context *context, rsr_error *err) {
    const size_t *range = pcre2_get_ovector_pointer(data);
    size_t from = 0, covered = 0;
    bool any = false;
    while (from <= n) {
        int count = pcre2_match(s->splitter->code, (PCRE2_SPTR)s->text, n, from, PCRE2_NO_UTF_CHECK,
                                data, context);
        if (count == PCRE2_ERROR_NOMATCH)
            break;
        if (count < 0)
            return match_failed(count, err);
        if (range[0] == range[1] && any && range[0] == covered) {
            from += from < n ? rsr_utf8_scan(s->text + from, n - from).length : 1;
            continue;
        }
        rsr_status status = RSR_OK;
        if (range[0] > covered)
            status = add_range(s, covered, range[0], false, err);
        if (status == RSR_OK)
            status = add_range(s, range[0], range[1], true, err);
        if (status != RSR_OK)
            return status;
        from = covered = range[1];
        any = true;
    }
    return covered < n ? add_range(s, covered, n, false, err) : RSR_OK;
}

rsr_status rsr_splitter_run(const struct rsr_splitter *splitter, const char *text, size_t n_bytes,
                            rsr_piece_fn *piece, void *user, rsr_error *err) {
    if (n_bytes == 0)
        return RSR_OK;
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    rsr_status status;
    if (!data || !context) {
        status = rsr_fail(err, RSR_ERR_MEMORY, "no memory to split the text into words");
    } else {
        uint64_t limit = MATCH_LIMIT_BASE + (uint64_t)n_bytes * MATCH_LIMIT_PER_BYTE;
        pcre2_set_match_limit(context, limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX);
        pcre2_set_heap_limit(context, HEAP_LIMIT_KIB);
        struct split s = {.splitter = splitter, .text = text, .piece = piece, .user = user};
        status = split_matches(&s, n_bytes, data, context, err);
        if (status == RSR_OK)
            status = flush_piece(&s, err);
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    return status;
}
