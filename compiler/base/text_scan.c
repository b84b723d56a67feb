/* text_scan.c - the token reader of the text forms; see text_scan.h. */
#include "base/text_scan.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Longest word or number; anything longer is no token of ours. */
#define MAX_WORD 64u
/* Longest part of a line that a diagnostic quotes. */
#define MAX_QUOTE 120u

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static bool is_separator(char c) {
    return is_blank(c) || c == '\n' || c == '#';
}

static void skip_blanks(struct rsrc_scan *scan) {
    while (scan->at < scan->end && is_blank(*scan->at))
        scan->at++;
    if (scan->at < scan->end && *scan->at == '#')
        while (scan->at < scan->end && *scan->at != '\n')
            scan->at++;
}

/* Moves to the first token here or on a later line. */
static void skip_empty_lines(struct rsrc_scan *scan) {
    skip_blanks(scan);
    while (scan->at < scan->end && *scan->at == '\n') {
        scan->line_start = ++scan->at;
        scan->line++;
        skip_blanks(scan);
    }
}

void rsrc_scan_init(struct rsrc_scan *scan, struct rsrc_diag *diag, struct rsrc_arena *arena,
                    const char *file, const char *slug, const char *text, uint64_t size_bytes) {
    if (text == NULL) /* an empty file has no mapping */
        text = "";
    *scan = (struct rsrc_scan){.diag = diag,
                               .arena = arena,
                               .file = file,
                               .slug = slug,
                               .at = text,
                               .end = text + size_bytes,
                               .line_start = text,
                               .line = 1};
    skip_empty_lines(scan);
}

bool rsrc_scan_at_end(const struct rsrc_scan *scan) {
    return scan->at == scan->end;
}

uint64_t rsrc_scan_bytes_left(const struct rsrc_scan *scan) {
    return (uint64_t)(scan->end - scan->at);
}

enum rsrc_status rsrc_scan_error(struct rsrc_scan *scan, const char *format, ...) {
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    size_t column = (size_t)(scan->at - scan->line_start) + 1;
    size_t length = 0, rest = (size_t)(scan->end - scan->line_start);
    while (length < rest && length < MAX_QUOTE && scan->line_start[length] != '\n')
        length++;
    struct rsrc_place place = {.file = scan->file, .line = scan->line};
    place.column = column <= UINT32_MAX ? (uint32_t)column : 0;
    if (column <= MAX_QUOTE)
        place.source_line = rsrc_arena_strndup(scan->arena, scan->line_start, length);
    return rsrc_refuse(scan->diag, scan->slug, &place, NULL, "%s", message);
}

void rsrc_scan_advance(struct rsrc_scan *scan, const char *at) {
    for (; scan->at < at; scan->at++)
        if (*scan->at == '\n') {
            scan->line++;
            scan->line_start = scan->at + 1;
        }
}

bool rsrc_scan_at_line_end(struct rsrc_scan *scan) {
    skip_blanks(scan);
    return scan->at == scan->end || *scan->at == '\n';
}

/* Length of the current word; 0 at the end of a line. */
static size_t word_length(struct rsrc_scan *scan) {
    skip_blanks(scan);
    size_t n = 0, rest = (size_t)(scan->end - scan->at);
    while (n < rest && n <= MAX_WORD && !is_separator(scan->at[n]))
        n++;
    return n;
}

bool rsrc_scan_at_word(struct rsrc_scan *scan, const char *word) {
    size_t n = word_length(scan);
    return n == strlen(word) && memcmp(scan->at, word, n) == 0;
}

enum rsrc_status rsrc_scan_word(struct rsrc_scan *scan, const char *word) {
    if (!rsrc_scan_at_word(scan, word))
        return rsrc_scan_error(scan, "expected '%s'", word);
    scan->at += strlen(word);
    return RSRC_OK;
}

enum rsrc_status rsrc_scan_line_end(struct rsrc_scan *scan) {
    if (!rsrc_scan_at_line_end(scan))
        return rsrc_scan_error(scan, "expected the end of the line");
    skip_empty_lines(scan);
    return RSRC_OK;
}

enum rsrc_status rsrc_scan_u64(struct rsrc_scan *scan, const char *what, uint64_t min, uint64_t max,
                               uint64_t *out) {
    size_t n = word_length(scan);
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        char c = scan->at[i];
        if (c < '0' || c > '9' || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(c - '0'), &value))
            return rsrc_scan_error(scan, "%s is not a number", what);
    }
    if (n == 0)
        return rsrc_scan_error(scan, "%s is missing", what);
    if (value < min || value > max)
        return rsrc_scan_error(scan, "%s is %" PRIu64 ", not %" PRIu64 "..%" PRIu64, what, value,
                               min, max);
    scan->at += n;
    *out = value;
    return RSRC_OK;
}

enum rsrc_status rsrc_scan_u32(struct rsrc_scan *scan, const char *what, uint32_t min, uint32_t max,
                               uint32_t *out) {
    uint64_t value;
    if (rsrc_scan_u64(scan, what, min, max, &value) != RSRC_OK)
        return RSRC_FAILED;
    *out = (uint32_t)value;
    return RSRC_OK;
}

enum rsrc_status rsrc_scan_double(struct rsrc_scan *scan, const char *what, double *out) {
    char word[MAX_WORD + 1] = {0};
    size_t n = word_length(scan);
    if (n == 0 || n > MAX_WORD)
        return rsrc_scan_error(scan, "%s is missing or too long", what);
    memcpy(word, scan->at, n);
    char *end;
    double value = strtod(word, &end);
    if (word[0] < '0' || word[0] > '9' || *end != '\0' || !isfinite(value))
        return rsrc_scan_error(scan, "%s is not a number", what);
    scan->at += n;
    *out = value;
    return RSRC_OK;
}

void rsrc_put_double(struct rsrc_buffer *buffer, double value) {
    char text[32];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        double again = strtod(text, NULL);
        if (memcmp(&again, &value, sizeof value) == 0)
            break;
    }
    rsrc_buffer_puts(buffer, text);
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_name_char(char c) {
    return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

enum rsrc_status rsrc_scan_identifier(struct rsrc_scan *scan, const char *what,
                                      char out[RSRC_SCAN_NAME_BYTES]) {
    skip_blanks(scan);
    size_t n = 0, rest = (size_t)(scan->end - scan->at);
    while (n < rest && n < RSRC_SCAN_NAME_BYTES && is_name_char(scan->at[n]))
        n++;
    if (n == 0 || is_digit(scan->at[0]))
        return rsrc_scan_error(scan, "%s is missing", what);
    if (n == RSRC_SCAN_NAME_BYTES)
        return rsrc_scan_error(scan, "%s has more than %u characters", what,
                               RSRC_SCAN_NAME_BYTES - 1);
    memcpy(out, scan->at, n);
    out[n] = '\0';
    scan->at += n;
    return RSRC_OK;
}

bool rsrc_scan_at_symbol(struct rsrc_scan *scan, const char *symbol) {
    skip_blanks(scan);
    const size_t n = strlen(symbol);
    return n <= (size_t)(scan->end - scan->at) && memcmp(scan->at, symbol, n) == 0;
}

enum rsrc_status rsrc_scan_symbol(struct rsrc_scan *scan, const char *symbol) {
    if (!rsrc_scan_at_symbol(scan, symbol))
        return rsrc_scan_error(scan, "expected '%s'", symbol);
    scan->at += strlen(symbol);
    return RSRC_OK;
}

/* The value of a digit; 16 and above: none. */
static uint32_t digit_value(char c) {
    if (is_digit(c))
        return (uint32_t)(c - '0');
    return c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10 : 16;
}

enum rsrc_status rsrc_scan_i64(struct rsrc_scan *scan, const char *what, int64_t *out) {
    const bool negative = rsrc_scan_at_symbol(scan, "-");
    scan->at += negative;
    const bool hexadecimal = !negative && rsrc_scan_at_symbol(scan, "0x");
    scan->at += hexadecimal ? 2 : 0;
    const uint32_t base = hexadecimal ? 16 : 10;
    int64_t value = 0;
    size_t n = 0;
    for (; scan->at < scan->end && digit_value(*scan->at) < base; scan->at++, n++) {
        const int64_t digit = digit_value(*scan->at);
        if (__builtin_mul_overflow(value, (int64_t)base, &value) ||
            __builtin_add_overflow(value, negative ? -digit : digit, &value))
            return rsrc_scan_error(scan, "%s is too large", what);
    }
    if (n == 0)
        return rsrc_scan_error(scan, "%s is missing or not a number", what);
    *out = value;
    return RSRC_OK;
}

enum rsrc_status rsrc_scan_name(struct rsrc_scan *scan, const char *what, const char *const *names,
                                uint32_t n_names, uint32_t *out) {
    size_t n = word_length(scan);
    for (uint32_t i = 0; i < n_names; i++) {
        if (!rsrc_scan_at_word(scan, names[i]))
            continue;
        scan->at += n;
        *out = i;
        return RSRC_OK;
    }
    char word[MAX_WORD + 1] = {0};
    memcpy(word, scan->at, n <= MAX_WORD ? n : MAX_WORD);
    const char *meant = rsrc_did_you_mean(word, names, n_names);
    return rsrc_scan_error(scan, "unknown %s%s%s%s", what, meant ? ", did you mean '" : "",
                           meant ? meant : "", meant ? "'?" : "");
}

/* One character of a string, with C's escapes; advances. */
static enum rsrc_status scan_char(struct rsrc_scan *scan, char *out) {
    char c = *scan->at;
    if (c != '\\') {
        *out = c;
        scan->at++;
        return RSRC_OK;
    }
    const char *p = scan->at + 1;
    size_t rest = (size_t)(scan->end - p);
    if (rest >= 1 && (*p == '"' || *p == '\\')) {
        *out = *p;
        scan->at += 2;
        return RSRC_OK;
    }
    if (rest < 3 || p[0] < '0' || p[0] > '3' || p[1] < '0' || p[1] > '7' || p[2] < '0' ||
        p[2] > '7')
        return rsrc_scan_error(scan, "unknown escape in a string");
    *out = (char)(unsigned char)((p[0] - '0') * 64 + (p[1] - '0') * 8 + (p[2] - '0'));
    if (*out == '\0')
        return rsrc_scan_error(scan, "a string cannot hold NUL");
    scan->at += 4;
    return RSRC_OK;
}

enum rsrc_status rsrc_scan_string(struct rsrc_scan *scan, const char *what, const char **out) {
    skip_blanks(scan);
    if (scan->at == scan->end || *scan->at != '"')
        return rsrc_scan_error(scan, "%s is missing or not a quoted string", what);
    size_t capacity = 0, rest = (size_t)(scan->end - scan->at);
    while (capacity < rest && scan->at[capacity] != '\n')
        capacity++;
    char *text = rsrc_arena_alloc(scan->arena, capacity + 1);
    size_t n = 0;
    scan->at++;
    while (scan->at < scan->end && *scan->at != '"' && *scan->at != '\n')
        if (scan_char(scan, &text[n++]) != RSRC_OK)
            return RSRC_FAILED;
    if (scan->at == scan->end || *scan->at != '"')
        return rsrc_scan_error(scan, "the string is not closed");
    scan->at++;
    *out = text;
    return RSRC_OK;
}

/* ---- whole texts ----------------------------------------------------------------------------- */

static enum rsrc_status scan_header(struct rsrc_scan *scan, const struct rsrc_text_form *form) {
    if (rsrc_scan_word(scan, form->word) != RSRC_OK ||
        rsrc_scan_word(scan, form->version) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_scan_line_end(scan);
}

enum rsrc_status rsrc_scan_text(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *file,
                                const char *text, uint64_t size_bytes,
                                const struct rsrc_text_form *form, void **out, uint32_t *n_out) {
    struct rsrc_scan scan;
    rsrc_scan_init(&scan, diag, arena, file, form->slug, text, size_bytes);
    char *records = NULL;
    uint32_t n = 0, capacity = 0;
    if (scan_header(&scan, form) != RSRC_OK)
        return RSRC_FAILED;
    while (!rsrc_scan_at_end(&scan)) {
        const bool again = rsrc_scan_at_word(&scan, form->word);
        if (!again)
            records = rsrc_arena_grown(arena, records, n, &capacity, form->record_bytes);
        if ((again ? scan_header(&scan, form)
                   : form->parse(&scan, records + n++ * form->record_bytes)) != RSRC_OK)
            return RSRC_FAILED;
    }
    *out = records;
    *n_out = n;
    return RSRC_OK;
}
