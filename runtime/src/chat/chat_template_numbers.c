/* chat_template_numbers.c - the filters int, float, round, abs and format, as Jinja has them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat_builtin.h"

#define MAX_PRECISION 15     /* 10 to this power is exact in a double */
#define MAX_NUMBER_BYTES 512 /* of a text that is a number; 309 digits, sign, point, fraction */

enum text_number {
    TEXT_IS_NO_NUMBER, /* Python raises */
    TEXT_IS_INTEGER,
    TEXT_IS_FLOAT,
    TEXT_IS_BEYOND /* a form of Python's, or a size, that is not supported */
};

/* inf, nan, 1_000 and digits of other scripts are numbers to Python. */
static bool may_be_number(struct chat_string s) {
    for (size_t i = 0; i < s.size; i++)
        if ((uint8_t)s.data[i] >= 0x80 || s.data[i] == '_')
            return true;
    return s.size > 0 && strchr("+-iInN", s.data[0]) != NULL;
}

static enum text_number read_number(struct chat_string s, int64_t *integer, double *number) {
    char text[MAX_NUMBER_BYTES], *end;
    const char *begin = chat_skip_spaces(s.data, s.data + s.size);
    s = (struct chat_string){begin, (size_t)(chat_strip_end(begin, s.data + s.size) - begin), NULL};
    const struct chat_string digits = CHAT_STRING("0123456789+-.eE");
    size_t at;
    for (size_t i = 0; i < s.size; i++)
        if (!chat_contains(digits, chat_part(s, i, 1), &at))
            return may_be_number(s) ? TEXT_IS_BEYOND : TEXT_IS_NO_NUMBER;
    if (s.size >= sizeof(text))
        return TEXT_IS_BEYOND;
    memcpy(text, s.data, s.size);
    text[s.size] = 0;
    *number = strtod(text, &end);
    if (s.size == 0 || *end != 0)
        return TEXT_IS_NO_NUMBER;
    if (strpbrk(text, ".eE"))
        return isfinite(*number) ? TEXT_IS_FLOAT : TEXT_IS_BEYOND;
    if (!(fabs(*number) < 9e18))
        return TEXT_IS_BEYOND;
    *integer = strtoll(text, NULL, 10);
    return TEXT_IS_INTEGER;
}

/* The result of int and float for a text that is no number, and for lists and the like. */
static struct chat_value otherwise(const struct chat_call *c, struct chat_value zero) {
    const struct chat_value *given = chat_argument(c, 0);
    if (c->value->kind == CHAT_VALUE_UNDEFINED)
        return chat_wrong_type(c);
    return given ? *given : zero;
}

struct chat_value chat_to_integer(const struct chat_call *c) {
    int64_t integer = 0;
    double number = 0;
    struct chat_value v = *c->value;
    if (v.kind == CHAT_VALUE_STRING) {
        const enum text_number kind = read_number(v.string, &integer, &number);
        if (kind == TEXT_IS_NO_NUMBER)
            return otherwise(c, chat_integer(0));
        if (kind == TEXT_IS_BEYOND)
            return chat_wrong_type(c);
        v = kind == TEXT_IS_INTEGER ? chat_integer(integer) : chat_float(number);
    }
    if (!chat_is_number(&v))
        return otherwise(c, chat_integer(0));
    return chat_as_integer(&v, &integer) ? chat_integer(integer) : chat_wrong_type(c);
}

struct chat_value chat_to_float(const struct chat_call *c) {
    int64_t integer = 0;
    double number = 0;
    if (chat_is_number(c->value))
        return chat_float(chat_as_double(c->value));
    if (c->value->kind != CHAT_VALUE_STRING)
        return otherwise(c, chat_float(0));
    switch (read_number(c->value->string, &integer, &number)) {
    case TEXT_IS_INTEGER:
    case TEXT_IS_FLOAT:
        return chat_float(number);
    case TEXT_IS_NO_NUMBER:
        return otherwise(c, chat_float(0));
    case TEXT_IS_BEYOND:
        break;
    }
    return chat_wrong_type(c);
}

/* Python's round() to `precision` digits: the printed number, in which ties are rounded to even. */
static struct chat_value round_nearest(const struct chat_value *v, int precision) {
    char text[MAX_NUMBER_BYTES];
    if (v->kind != CHAT_VALUE_FLOAT)
        return chat_integer(v->integer);
    snprintf(text, sizeof(text), "%.*f", precision, v->number);
    return chat_float(strtod(text, NULL));
}

/* round(precision=0, method='common'); ceil and floor always give floats */
struct chat_value chat_round(const struct chat_call *c) {
    const struct chat_value *given = chat_argument(c, 0);
    struct chat_string method = CHAT_STRING("common");
    if (chat_argument(c, 1) && !chat_string_argument(c, 1, &method))
        return chat_wrong_type(c);
    if (!chat_is_number(c->value) || (given && given->kind != CHAT_VALUE_INTEGER) ||
        (given && (given->integer < 0 || given->integer > MAX_PRECISION)))
        return chat_wrong_type(c);
    const int precision = given ? (int)given->integer : 0;
    if (chat_equals(method, "common"))
        return round_nearest(c->value, precision);
    const double scale = pow(10, precision); /* exact */
    const double scaled = chat_as_double(c->value) * scale;
    const bool is_up = chat_equals(method, "ceil");
    if ((!is_up && !chat_equals(method, "floor")) || !(fabs(scaled) < 9e15))
        return chat_wrong_type(c);
    return chat_float(((is_up ? ceil(scaled) : floor(scaled)) + 0.0) / scale); /* no -0 */
}

struct chat_value chat_absolute(const struct chat_call *c) {
    const struct chat_value *v = c->value;
    if (v->kind == CHAT_VALUE_FLOAT)
        return chat_float(fabs(v->number));
    if (!chat_is_number(v) || v->integer == INT64_MIN)
        return chat_wrong_type(c);
    return chat_integer(v->integer < 0 ? -v->integer : v->integer);
}

struct chat_value chat_format_filter(const struct chat_call *c) {
    return chat_format_percent(c->r, c->line, c->value->string, c->arguments);
}
