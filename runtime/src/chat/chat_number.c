/* chat_number.c - numbers of chat templates, as Python computes and prints them.
 *
 * Integers have 64 bits and floats are finite; the caller refuses results beyond. The thread is in
 * the C locale.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat_value.h"

/* A double represents all integers up to here exactly. */
#define EXACT_INTEGERS (INT64_C(1) << 53)
#define TWO_TO_63 9223372036854775808.0

bool chat_is_number(const struct chat_value *v) {
    return v->kind == CHAT_VALUE_INTEGER || v->kind == CHAT_VALUE_FLOAT ||
           v->kind == CHAT_VALUE_BOOL;
}

double chat_as_double(const struct chat_value *v) {
    return v->kind == CHAT_VALUE_FLOAT ? v->number : (double)v->integer;
}

bool chat_as_integer(const struct chat_value *v, int64_t *out) {
    if (v->kind != CHAT_VALUE_FLOAT) {
        *out = v->integer;
        return true;
    }
    if (v->number < -TWO_TO_63 || v->number >= TWO_TO_63)
        return false;
    *out = (int64_t)v->number;
    return true;
}

/* Exact: an integer may lie between two floats. */
static int order_mixed(int64_t a, const struct chat_value *b) {
    int64_t whole;
    if (!chat_as_integer(b, &whole))
        return b->number < 0 ? 1 : -1;
    double rest = b->number - (double)whole;
    return a != whole ? (a > whole) - (a < whole) : (rest < 0) - (rest > 0);
}

int chat_order_numbers(const struct chat_value *a, const struct chat_value *b) {
    bool a_is_float = a->kind == CHAT_VALUE_FLOAT, b_is_float = b->kind == CHAT_VALUE_FLOAT;
    if (a_is_float && b_is_float)
        return (a->number > b->number) - (a->number < b->number);
    if (b_is_float)
        return order_mixed(a->integer, b);
    return a_is_float ? -order_mixed(b->integer, a)
                      : (a->integer > b->integer) - (a->integer < b->integer);
}

/* Python's // and % round towards minus infinity. */
static bool divide_integers(char op, int64_t a, int64_t b, int64_t *out) {
    if (b == 0 || (a == INT64_MIN && b == -1))
        return false;
    int64_t quotient = a / b, remainder = a % b;
    if (remainder != 0 && (remainder < 0) != (b < 0)) {
        quotient--;
        remainder += b;
    }
    *out = op == '/' ? quotient : remainder;
    return true;
}

static bool raise_integer(int64_t base, int64_t exponent, int64_t *out) {
    *out = 1;
    for (; exponent > 0; exponent >>= 1) {
        if ((exponent & 1) && __builtin_mul_overflow(*out, base, out))
            return false;
        if (exponent > 1 && __builtin_mul_overflow(base, base, &base))
            return false;
    }
    return true;
}

/* `op` is one of + - * // % **, and the exponent of ** is not negative. */
static bool calculate_integers(struct chat_string op, int64_t a, int64_t b, int64_t *out) {
    if (chat_equals(op, "**"))
        return raise_integer(a, b, out);
    switch (op.data[0]) {
    case '+':
        return !__builtin_add_overflow(a, b, out);
    case '-':
        return !__builtin_sub_overflow(a, b, out);
    case '*':
        return !__builtin_mul_overflow(a, b, out);
    default:
        return divide_integers(op.data[0], a, b, out);
    }
}

/* a // b or a % b as CPython's float_divmod has them. */
static double divide_floats(char op, double a, double b) {
    double remainder = fmod(a, b), quotient = (a - remainder) / b;
    if (remainder == 0)
        remainder = copysign(0.0, b);
    else if ((b < 0) != (remainder < 0)) {
        remainder += b;
        quotient -= 1.0;
    }
    double whole = quotient != 0 ? floor(quotient) : copysign(0.0, a / b);
    if (quotient - whole > 0.5)
        whole += 1.0;
    return op == '/' ? whole : remainder;
}

static bool calculate_floats(struct chat_string op, double a, double b, double *out) {
    char first = op.data[0];
    bool is_power = chat_equals(op, "**");
    if (is_power && !(a == 0 && b < 0))
        *out = pow(a, b);
    else if (first == '+' || first == '-')
        *out = first == '+' ? a + b : a - b;
    else if (first == '*' && !is_power)
        *out = a * b;
    else if (b == 0 || is_power)
        return false;
    else
        *out = chat_equals(op, "/") ? a / b : divide_floats(first, a, b);
    return isfinite(*out);
}

static bool is_exact(int64_t a) {
    return a >= -EXACT_INTEGERS && a <= EXACT_INTEGERS;
}

bool chat_calculate(struct chat_string op, const struct chat_value *a, const struct chat_value *b,
                    struct chat_value *result) {
    bool integers = a->kind != CHAT_VALUE_FLOAT && b->kind != CHAT_VALUE_FLOAT;
    bool divides = chat_equals(op, "/");
    *result = (struct chat_value){.kind = CHAT_VALUE_INTEGER};
    if (integers && !divides && !(chat_equals(op, "**") && b->integer < 0))
        return calculate_integers(op, a->integer, b->integer, &result->integer);
    /* Python divides longer integers exactly before it rounds. */
    if (integers && divides && !(is_exact(a->integer) && is_exact(b->integer)))
        return false;
    result->kind = CHAT_VALUE_FLOAT;
    return calculate_floats(op, chat_as_double(a), chat_as_double(b), &result->number);
}

/* ---- Printing -------------------------------------------------------------------------------- */

/* Finds "d.ddde+XX" with n digits that reads back as the number; false: there is none. Near a power
 * of two, the nearest decimal of n digits may read back as another number while its neighbour does
 * not. */
static bool try_digits(double number, int n, char out[CHAT_FLOAT_BYTES]) {
    snprintf(out, CHAT_FLOAT_BYTES, "%.*e", n - 1, number);
    char *last = strchr(out, 'e') - 1;
    if (strtod(out, NULL) != number && *last >= '0' && *last < '9')
        ++*last;
    return strtod(out, NULL) == number;
}

void chat_print_float(double number, char out[CHAT_FLOAT_BYTES]) {
    char text[CHAT_FLOAT_BYTES];
    int n = 1;
    while (n < 17 && !try_digits(number, n, text))
        n++;
    if (n == 17)
        snprintf(text, sizeof(text), "%.16e", number);
    const int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent < 16)
        snprintf(out, CHAT_FLOAT_BYTES, "%.*f", n - 1 > exponent ? n - 1 - exponent : 1, number);
    else
        memcpy(out, text, sizeof(text));
}
