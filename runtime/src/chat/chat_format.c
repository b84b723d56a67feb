/* chat_format.c - "..." % x, the filter format, and "...".format(x), as Python formats.
 *
 *   %   flags - + blank 0, width, .precision, and one of d i u x X o e E f F g G s %
 *   {}  a field's place or keyword; fill, < > ^ =, + - blank, 0, width, a comma, .precision, and
 *       one of d x X o b e E f F g G % s
 * Anything else of Python's formats is refused with its line.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat_value.h"

#define MAX_WIDTH 1000
#define MAX_PRECISION 100
#define MAX_NUMBER_BYTES 512 /* 309 digits before the point, MAX_PRECISION after it, 103 commas */

/* How one value is written. */
struct format {
    struct chat_string fill; /* one character */
    char align;              /* < > ^ =; 0: as the value's type has it */
    char sign;               /* + - or blank; 0: not given */
    bool comma;
    uint32_t width;
    int32_t precision; /* -1: not given */
    char type;         /* 0: not given */
};

struct formatter {
    struct chat_render *r;
    uint32_t line;
    struct chat_string rest; /* of the format */
    const struct chat_arguments *given;
    uint32_t n_used;
    struct rsr_chat_text out;
};

static bool refuse(struct formatter *f, const char *what) {
    chat_refuse(f->r, f->line, what, CHAT_STRING(""));
    return false;
}

static bool refuse_format(struct formatter *f) {
    return refuse(f, "uses a number or text format that is not supported,");
}

static bool put(struct formatter *f, struct chat_string text) {
    if (chat_is_within(&f->r->arena, f->out.text.size, text.size) && chat_put(&f->out, text))
        return true;
    chat_no_memory(f->r);
    return false;
}

static bool accept(struct formatter *f, char c) {
    bool found = f->rest.size > 0 && f->rest.data[0] == c;
    f->rest = chat_behind(f->rest, found);
    return found;
}

/* Takes one of the characters and returns it; 0: none of them is next. */
static char accept_any(struct formatter *f, const char *set) {
    for (; *set != 0; set++)
        if (accept(f, *set))
            return *set;
    return 0;
}

/* Reads digits with a value up to `max`. Without digits *value does not change. False: refused. */
static bool read_number(struct formatter *f, int32_t max, int32_t *value) {
    for (char c, first = 1; (c = accept_any(f, "0123456789")) != 0; first = 0) {
        *value = (first ? 0 : *value) * 10 + (c - '0');
        if (*value > max)
            return refuse(f, "formats too wide a text,");
    }
    return true;
}

/* Reads width, comma and precision, which both kinds of formats have. */
static bool read_sizes(struct formatter *f, bool commas, struct format *format) {
    int32_t width = 0;
    if (!read_number(f, MAX_WIDTH, &width))
        return false;
    format->width = (uint32_t)width;
    format->comma = commas && accept(f, ',');
    format->precision = -1;
    if (accept(f, '.') &&
        (!read_number(f, MAX_PRECISION, &format->precision) || format->precision < 0))
        return refuse_format(f);
    return true;
}

/* ---- Values ---------------------------------------------------------------------------------- */

static bool put_padding(struct formatter *f, const struct format *format, uint64_t n) {
    bool ok = true;
    for (; ok && n > 0; n--)
        ok = put(f, format->fill);
    return ok;
}

/* Writes sign and body (together n characters) and fills up to the width. */
static bool put_aligned(struct formatter *f, const struct format *format, char align,
                        struct chat_string sign, struct chat_string body) {
    const uint64_t n = chat_length(sign) + chat_length(body);
    const uint64_t padding = format->width > n ? format->width - n : 0;
    const uint64_t left = align == '>' ? padding : align == '^' ? padding / 2 : 0;
    const uint64_t inside = align == '=' ? padding : 0;
    return put_padding(f, format, left) && put(f, sign) && put_padding(f, format, inside) &&
           put(f, body) && put_padding(f, format, padding - left - inside);
}

static bool put_text(struct formatter *f, const struct format *format, char align,
                     const struct chat_value *v) {
    struct chat_string text = chat_to_string(f->r, f->line, v);
    chat_count_steps(f->r, f->line, text.size / CHAT_BYTES_PER_STEP);
    if (format->precision >= 0)
        text.size = chat_offset(text, (size_t)format->precision);
    return f->r->status == RSR_OK && put_aligned(f, format, align, CHAT_STRING(""), text);
}

/* Puts commas between groups of three digits before the point. `digits` has room for them. */
static void put_commas(char *digits) {
    size_t n = strspn(digits, "0123456789");
    for (size_t at = n; at > 3; at -= 3) {
        memmove(digits + at - 2, digits + at - 3, strlen(digits + at - 3) + 1);
        digits[at - 3] = ',';
    }
}

/* The magnitude's digits in base 2, 8 or 16. */
static void print_in_base(uint64_t value, uint32_t base, bool upper, char *out) {
    char digits[65];
    size_t n = sizeof(digits);
    digits[--n] = 0;
    do
        digits[--n] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
    while ((value /= base) > 0);
    memcpy(out, digits + n, sizeof(digits) - n);
}

/* The magnitude of a number by the format's type; false if that is not supported. */
static bool print_magnitude(const struct format *format, const struct chat_value *v, bool negative,
                            char out[MAX_NUMBER_BYTES]) {
    static const char bases[] = "xXob";
    const char *base = strchr(bases, format->type);
    const uint64_t whole = negative ? 0 - (uint64_t)v->integer : (uint64_t)v->integer;
    const double number = fabs(chat_as_double(v));
    const int precision = format->precision < 0 ? 6 : format->precision;
    const char print[] = {'%', '.', '*', format->type == '%' ? 'f' : format->type, 0};
    if (strchr("eEfFgG", format->type)) {
        snprintf(out, MAX_NUMBER_BYTES, print, precision, number);
    } else if (format->type == '%') {
        if (!isfinite(number * 100))
            return false;
        const int n = snprintf(out, MAX_NUMBER_BYTES, print, precision, number * 100);
        memcpy(out + n, "%", 2);
    } else if (v->kind == CHAT_VALUE_FLOAT || format->precision >= 0 || (base && format->comma)) {
        return false;
    } else if (base) {
        print_in_base(whole,
                      format->type == 'o'   ? 8
                      : format->type == 'b' ? 2
                                            : 16,
                      format->type == 'X', out);
    } else {
        snprintf(out, MAX_NUMBER_BYTES, "%" PRIu64, whole);
    }
    if (format->comma)
        put_commas(out);
    return true;
}

static bool put_number(struct formatter *f, const struct format *format,
                       const struct chat_value *v) {
    char digits[MAX_NUMBER_BYTES];
    const bool negative = v->kind == CHAT_VALUE_FLOAT ? signbit(v->number) : v->integer < 0;
    if (!print_magnitude(format, v, negative, digits))
        return refuse_format(f);
    const struct chat_string sign = {negative              ? "-"
                                     : format->sign == '+' ? "+"
                                                           : " ",
                                     negative || format->sign == '+' || format->sign == ' ', NULL};
    return put_aligned(f, format, format->align ? format->align : '>', sign,
                       (struct chat_string){digits, strlen(digits), NULL});
}

/* ---- % --------------------------------------------------------------------------------------- */

/* Reads a format after '%'. */
static bool read_percent(struct formatter *f, struct format *format) {
    char flag;
    bool left = false, zero = false;
    *format = (struct format){.fill = CHAT_STRING(" ")};
    while ((flag = accept_any(f, "-+ 0")) != 0) {
        left = left || flag == '-';
        zero = zero || flag == '0';
        if (flag == '+' || (flag == ' ' && format->sign != '+'))
            format->sign = flag;
    }
    if (!read_sizes(f, false, format))
        return false;
    format->type = accept_any(f, "diuxXoeEfFgGs");
    if (format->type == 'i' || format->type == 'u')
        format->type = 'd';
    if (zero && !left && format->type != 's')
        format->fill = CHAT_STRING("0");
    format->align = left ? '<' : zero && format->type != 's' ? '=' : '>';
    return format->type != 0 || refuse_format(f);
}

static bool put_percent(struct formatter *f) {
    struct format format;
    if (accept(f, '%'))
        return put(f, CHAT_STRING("%"));
    if (!read_percent(f, &format))
        return false;
    if (f->n_used == f->given->n)
        return refuse(f, "formats more values than it gives");
    const struct chat_value *v = &f->given->values[f->n_used++];
    if (format.type == 's')
        return put_text(f, &format, format.align, v);
    struct chat_value whole = {.kind = CHAT_VALUE_INTEGER};
    if (!chat_is_number(v))
        return refuse(f, "formats a value as a number that is none");
    if (format.type == 'd' && !chat_as_integer(v, &whole.integer))
        return refuse_format(f);
    return put_number(f, &format, format.type == 'd' ? &whole : v);
}

/* ---- {} -------------------------------------------------------------------------------------- */

static struct chat_string first_character(struct chat_string text) {
    text.size = chat_offset(text, 1);
    return text;
}

/* Reads a format after ':'. */
static bool read_braces(struct formatter *f, struct format *format) {
    struct chat_string fill = first_character(f->rest);
    struct chat_string after = chat_behind(f->rest, fill.size);
    const bool is_brace = fill.size > 0 && (fill.data[0] == '{' || fill.data[0] == '}');
    if (!is_brace && after.size > 0 && after.data[0] != 0 && strchr("<>^=", after.data[0])) {
        format->fill = fill;
        f->rest = after;
    }
    format->align = accept_any(f, "<>^=");
    format->sign = accept_any(f, "+- ");
    if (accept(f, '0')) {
        if (format->align)
            return refuse_format(f);
        format->fill = CHAT_STRING("0");
        format->align = '=';
    }
    if (!read_sizes(f, true, format))
        return false;
    format->type = accept_any(f, "dxXobeEfFgG%s");
    const bool zeros = format->align == '=' && format->comma;
    return (!zeros && f->rest.size > 0 && f->rest.data[0] == '}') || refuse_format(f);
}

/* The argument of a field: by place, by keyword, or the next one. */
static const struct chat_value *find_argument(struct formatter *f, struct chat_string name,
                                              bool *counts, bool *numbered) {
    uint32_t place = 0;
    bool is_number = name.size > 0 && name.size <= 2;
    for (size_t i = 0; i < name.size; i++) {
        is_number = is_number && name.data[i] >= '0' && name.data[i] <= '9';
        place = is_number ? place * 10 + (uint32_t)(name.data[i] - '0') : 0;
    }
    *counts = *counts || name.size == 0;
    *numbered = *numbered || is_number;
    if (name.size == 0)
        place = f->n_used++;
    for (uint32_t i = 0; i < f->given->n && !(*counts && *numbered); i++) {
        const struct chat_string keyword = f->given->keywords[i];
        if (keyword.size == 0 ? i == place && (is_number || name.size == 0)
                              : chat_same(keyword, name))
            return &f->given->values[i];
    }
    return NULL;
}

/* Writes a field, whose '{' has been read. */
static bool put_field(struct formatter *f, bool *counts, bool *numbered) {
    struct format format = {.fill = CHAT_STRING(" "), .precision = -1};
    struct chat_string name = f->rest;
    while (f->rest.size > 0 && !strchr("{}:!.[", f->rest.data[0])) {
        f->rest = chat_behind(f->rest, 1);
    }
    name.size -= f->rest.size;
    const bool has_format = accept(f, ':') && !(f->rest.size > 0 && f->rest.data[0] == '}');
    if ((has_format && !read_braces(f, &format)) || !accept(f, '}'))
        return refuse_format(f);
    const struct chat_value *v = find_argument(f, name, counts, numbered);
    if (!v)
        return refuse(f, "formats an argument that is missing");
    if (!has_format)
        return put_text(f, &format, '<', v);
    if (v->kind == CHAT_VALUE_STRING && format.align != '=' && format.sign == 0 && !format.comma &&
        (format.type == 0 || format.type == 's'))
        return put_text(f, &format, format.align ? format.align : '<', v);
    if (!chat_is_number(v) || format.type == 's')
        return refuse_format(f);
    if (format.type == 0 && v->kind == CHAT_VALUE_FLOAT)
        return refuse_format(f); /* neither repr nor g */
    format.type = format.type ? format.type : 'd';
    return put_number(f, &format, v);
}

/* ---- Both ------------------------------------------------------------------------------------ */

/* Whatever failed has set the status already. */
static struct chat_value end(struct formatter *f, bool ok) {
    const struct chat_value text = ok ? chat_copy(f->r, &f->out, 0) : (struct chat_value){0};
    rsr_chat_text_free(&f->out);
    return text;
}

/* Copies up to one of the characters in `stops`, which is passed and returned; 0 at the end. */
static char copy_to(struct formatter *f, const char *stops, bool *ok) {
    size_t n = 0;
    while (n < f->rest.size && !(f->rest.data[n] != 0 && strchr(stops, f->rest.data[n])))
        n++;
    *ok = *ok && put(f, chat_part(f->rest, 0, n));
    f->rest = chat_behind(f->rest, n);
    return accept_any(f, stops);
}

struct chat_value chat_format_percent(struct chat_render *r, uint32_t line,
                                      struct chat_string format,
                                      const struct chat_arguments *arguments) {
    struct formatter f = {.r = r, .line = line, .rest = format, .given = arguments};
    bool ok = true;
    while (ok && copy_to(&f, "%", &ok) && ok)
        ok = put_percent(&f);
    if (ok && f.n_used < arguments->n)
        ok = refuse(&f, "gives more values than it formats");
    return end(&f, ok);
}

struct chat_value chat_format_braces(struct chat_render *r, uint32_t line,
                                     struct chat_string format,
                                     const struct chat_arguments *arguments) {
    struct formatter f = {.r = r, .line = line, .rest = format, .given = arguments};
    bool ok = true, counts = false, numbered = false;
    for (char c; ok && (c = copy_to(&f, "{}", &ok)) != 0 && ok;) {
        if (accept(&f, c))
            ok = put(&f, c == '{' ? CHAT_STRING("{") : CHAT_STRING("}"));
        else
            ok = c == '{' ? put_field(&f, &counts, &numbered) : refuse_format(&f);
    }
    return end(&f, ok);
}
