/* chat_template_lex.c - tokens of a chat template, with Jinja's white-space control.
 *
 * The settings are Hugging Face's: trim_blocks removes a newline after a block tag, lstrip_blocks
 * removes blanks between the start of a line and a block tag, and one newline at the end of the
 * source is dropped. The signs of {%- -%} {%+ +%} are honoured.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chat_ast.h"

bool chat_is_space(uint32_t code) {
    return rsr_is_space(code) || (code >= 0x1c && code <= 0x1f);
}

struct lexer {
    struct chat_arena *arena;
    const char *at, *end;
    uint32_t line;
    bool line_starting; /* nothing but a newline since the last tag */
    struct rsr_bytes tokens;
    char open[64]; /* brackets to be closed inside the tag */
    size_t n_open;
    rsr_error *err;
};

static rsr_status no_memory(struct lexer *l) {
    return chat_refuse_memory(l->arena, l->err);
}

static rsr_status refuse(struct lexer *l, const char *what) {
    return rsr_fail(l->err, RSR_ERR_TEXT, "the chat template has %s in line %u", what, l->line);
}

static rsr_status put(struct lexer *l, struct chat_token token) {
    token.line = l->line;
    return rsr_bytes_append(&l->tokens, &token, sizeof(token)) ? RSR_OK : no_memory(l);
}

static rsr_status put_text(struct lexer *l, enum chat_token_kind kind, const char *begin,
                           const char *end) {
    struct chat_token token = {.kind = kind, .text = {begin, (size_t)(end - begin), NULL}};
    return put(l, token);
}

static bool looking_at(const struct lexer *l, const char *text) {
    size_t n = strlen(text);
    return (size_t)(l->end - l->at) >= n && memcmp(l->at, text, n) == 0;
}

/* Moves on and counts lines. */
static void advance_to(struct lexer *l, const char *to) {
    for (; l->at < to; l->at++)
        l->line += *l->at == '\n';
}

const char *chat_skip_spaces(const char *at, const char *end) {
    while (at < end) {
        struct rsr_utf8_step step = rsr_utf8_scan(at, (size_t)(end - at));
        if (!chat_is_space(step.code))
            break;
        at += step.length;
    }
    return at;
}

const char *chat_strip_end(const char *begin, const char *end) {
    while (end > begin) {
        size_t last = rsr_utf8_previous(begin, (size_t)(end - begin));
        if (!chat_is_space(rsr_utf8_scan(begin + last, (size_t)(end - begin) - last).code))
            break;
        end = begin + last;
    }
    return end;
}

/* ---- Inside tags ----------------------------------------------------------------------------- */

static bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static int hex_value(char c) {
    if (is_digit(c))
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads up to n digits of base 8 or 16 at *at; returns how many there were. */
static uint32_t read_digits(const char **at, const char *end, uint32_t n, uint32_t base,
                            uint32_t *code) {
    uint32_t count = 0;
    for (*code = 0; count < n && *at < end; count++, ++*at) {
        int digit = hex_value(**at);
        if (digit < 0 || (uint32_t)digit >= base)
            break;
        *code = *code * base + (uint32_t)digit;
    }
    return count;
}

/* One escape of a Python string; *at is after the backslash. Returns the bytes written to
 * out[4]. */
static size_t unescape(const char **at, const char *end, char out[4]) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = **at;
    const char *simple = c ? strchr(from, c) : NULL;
    uint32_t code = 0;
    if (simple) {
        ++*at;
        out[0] = to[simple - from];
        return 1;
    }
    if (c >= '0' && c <= '7') {
        read_digits(at, end, 3, 8, &code);
        return rsr_utf8_encode(code, out);
    }
    uint32_t n = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    ++*at;
    if (n == 0 && c != 'N' && c != '\n') { /* an unknown escape stands for itself */
        out[0] = '\\';
        out[1] = c;
        return (uint8_t)c < 0x80 ? 2 : 0;
    }
    if (c == '\n' || read_digits(at, end, n, 16, &code) != n || code > 0x10ffff ||
        (code >= 0xd800 && code <= 0xdfff) || n == 0)
        return 0;
    return rsr_utf8_encode(code, out);
}

/* The closing quote of the string that begins at `at`, or `end`. */
static const char *string_end(const char *at, const char *end) {
    char quote = *at++;
    while (at < end && *at != quote)
        at += *at == '\\' && at + 1 < end ? 2 : 1;
    return at;
}

/* Unescaping never makes a string longer. */
static rsr_status lex_string(struct lexer *l) {
    const char *at = l->at + 1, *close = string_end(l->at, l->end);
    if (close >= l->end)
        return refuse(l, "a string without its closing quote");
    char *out = chat_alloc(l->arena, (size_t)(close - at) + 1);
    size_t n = 0;
    if (!out)
        return no_memory(l);
    while (at < close) {
        if (*at != '\\') {
            out[n++] = *at++;
            continue;
        }
        at++;
        size_t written = unescape(&at, close, out + n);
        if (written == 0)
            return refuse(l, "a string escape that is not supported");
        n += written;
    }
    rsr_status status = put_text(l, CHAT_STRING_LITERAL, out, out + n);
    advance_to(l, close + 1);
    return status;
}

static const char *skip_digits(const char *at, const char *end) {
    while (at < end && is_digit(*at))
        at++;
    return at;
}

/* Reads digits, for a float with a fraction, an exponent, or both. */
static rsr_status lex_number(struct lexer *l) {
    struct chat_token token = {.kind = CHAT_INTEGER};
    const char *at = skip_digits(l->at, l->end), *whole_end = at;
    if (at + 1 < l->end && *at == '.' && is_digit(at[1]))
        at = skip_digits(at + 1, l->end);
    if (at < l->end && (*at | 0x20) == 'e') {
        const char *digits = at + 1 + (at + 1 < l->end && (at[1] == '+' || at[1] == '-'));
        at = digits < l->end && is_digit(*digits) ? skip_digits(digits, l->end) : at;
    }
    if (at < l->end && is_name_start(*at))
        return refuse(l, "a number that is not understood");
    bool fits = true;
    if (at > whole_end) { /* the copy of the source ends with a NUL */
        token.kind = CHAT_FLOAT;
        token.number = strtod(l->at, NULL);
        fits = isfinite(token.number);
    }
    for (const char *digit = l->at; fits && token.kind == CHAT_INTEGER && digit < at; digit++)
        fits = !__builtin_mul_overflow(token.integer, 10, &token.integer) &&
               !__builtin_add_overflow(token.integer, *digit - '0', &token.integer);
    if (!fits)
        return refuse(l, "a number that is too large");
    l->at = at;
    return put(l, token);
}

static rsr_status lex_operator(struct lexer *l) {
    static const char *const operators[] = {"==", "!=", "<=", ">=", "//", "**", "+", "-", "*",
                                            "/",  "%",  "~",  "<",  ">",  "=",  "(", ")", "[",
                                            "]",  "{",  "}",  ",",  ".",  ":",  "|"};
    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
        if (!looking_at(l, operators[i]))
            continue;
        char c = operators[i][0];
        if (strchr("([{", c)) {
            if (l->n_open == sizeof(l->open))
                return refuse(l, "brackets nested too deeply");
            l->open[l->n_open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
        } else if (strchr(")]}", c) && (l->n_open == 0 || l->open[--l->n_open] != c)) {
            return refuse(l, "a closing bracket that was not opened");
        }
        const char *begin = l->at;
        l->at += strlen(operators[i]);
        return put_text(l, CHAT_OPERATOR, begin, l->at);
    }
    return refuse(l, "a character that is not part of the language");
}

/* Handles white space after a tag or comment that ended with `sign` before its marker. */
static void end_tag(struct lexer *l, char sign, bool trims_newline) {
    const char *to = l->at;
    if (sign == '-')
        to = chat_skip_spaces(l->at, l->end);
    else if (sign != '+' && trims_newline && l->at < l->end && *l->at == '\n')
        to++;
    l->line_starting = to > l->at && to[-1] == '\n';
    advance_to(l, to);
}

/* Takes a closing marker with its sign, if it is next, and returns true. */
static bool at_tag_end(struct lexer *l, const char *marker, bool is_output) {
    if (l->n_open > 0)
        return false;
    char sign = *l->at;
    bool has_sign = sign == '-' || (sign == '+' && !is_output);
    if (has_sign)
        l->at++;
    if (!looking_at(l, marker)) {
        l->at -= has_sign;
        return false;
    }
    l->at += strlen(marker);
    end_tag(l, has_sign ? sign : 0, !is_output);
    return true;
}

static rsr_status lex_tag(struct lexer *l, bool is_output) {
    struct chat_token begin = {.kind = is_output ? CHAT_OUTPUT_BEGIN : CHAT_BLOCK_BEGIN};
    struct chat_token end = {.kind = is_output ? CHAT_OUTPUT_END : CHAT_BLOCK_END};
    rsr_status status = put(l, begin);
    l->n_open = 0;
    while (status == RSR_OK) {
        advance_to(l, chat_skip_spaces(l->at, l->end));
        if (l->at == l->end)
            return refuse(l, "a tag without its end");
        uint32_t line = l->line;
        if (at_tag_end(l, is_output ? "}}" : "%}", is_output)) {
            status = put(l, end);
            break;
        }
        l->line = line;
        if (is_name_start(*l->at)) {
            const char *first = l->at;
            while (l->at < l->end && (is_name_start(*l->at) || is_digit(*l->at)))
                l->at++;
            status = put_text(l, CHAT_NAME, first, l->at);
        } else if (is_digit(*l->at)) {
            status = lex_number(l);
        } else if (*l->at == '"' || *l->at == '\'') {
            status = lex_string(l);
        } else {
            status = lex_operator(l);
        }
    }
    return status;
}

static rsr_status skip_comment(struct lexer *l) {
    const char *begin = l->at;
    while (l->at < l->end && !looking_at(l, "#}"))
        advance_to(l, l->at + 1);
    if (l->at == l->end)
        return refuse(l, "a comment without its end");
    char sign = l->at > begin ? l->at[-1] : 0;
    l->at += 2;
    end_tag(l, sign, true);
    return RSR_OK;
}

/* ---- Between tags ---------------------------------------------------------------------------- */

static const char *find_tag(const struct lexer *l) {
    for (const char *p = l->at; p + 1 < l->end; p++)
        if (p[0] == '{' && (p[1] == '{' || p[1] == '%' || p[1] == '#'))
            return p;
    return l->end;
}

/* Where the text before a tag ends once white space is stripped. */
static const char *text_end(const struct lexer *l, const char *tag, char sign) {
    if (sign == '-')
        return chat_strip_end(l->at, tag);
    if (sign == '+' || tag[1] == '{')
        return tag;
    const char *line = tag;
    while (line > l->at && line[-1] != '\n')
        line--;
    bool starts_line = line > l->at || l->line_starting;
    return starts_line && chat_skip_spaces(line, tag) == tag ? line : tag;
}

static rsr_status lex_next(struct lexer *l) {
    const char *tag = find_tag(l);
    char sign = tag + 2 < l->end ? tag[2] : 0;
    const char *end = tag == l->end ? tag : text_end(l, tag, sign);
    rsr_status status = end > l->at ? put_text(l, CHAT_DATA, l->at, end) : RSR_OK;
    advance_to(l, tag);
    if (status != RSR_OK || tag == l->end)
        return status;
    l->at += 2;
    if (tag[1] == '#')
        return skip_comment(l);
    if (sign == '-' || sign == '+')
        l->at++;
    return lex_tag(l, tag[1] == '{');
}

/* Replaces \r\n and \r by \n and drops one newline at the end. */
static bool normalize_newlines(struct lexer *l, struct chat_string source) {
    char *copy = chat_alloc(l->arena, source.size + 1);
    if (!copy)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < source.size; i++) {
        bool pair = source.data[i] == '\r' && i + 1 < source.size && source.data[i + 1] == '\n';
        if (!pair)
            copy[n++] = source.data[i] == '\r' ? '\n' : source.data[i];
    }
    n -= n > 0 && copy[n - 1] == '\n';
    l->at = copy;
    l->end = copy + n;
    return true;
}

rsr_status chat_lex(struct chat_arena *arena, struct chat_string source, struct chat_token **tokens,
                    rsr_error *err) {
    struct lexer l = {.arena = arena, .line = 1, .line_starting = true, .err = err};
    rsr_status status = normalize_newlines(&l, source) ? RSR_OK : no_memory(&l);
    while (status == RSR_OK && l.at < l.end)
        status = lex_next(&l);
    if (status == RSR_OK)
        status = put(&l, (struct chat_token){.kind = CHAT_END});
    if (status == RSR_OK) {
        *tokens = chat_alloc(arena, l.tokens.size);
        if (*tokens)
            memcpy(*tokens, l.tokens.data, l.tokens.size);
        else
            status = no_memory(&l);
    }
    rsr_bytes_free(&l.tokens);
    return status;
}
