/* byte_numbers.c - automata over the digits of numbers within bounds, exactly.
 *
 * Digits are read from the left. A state knows how many there were and how they compare with the
 * first digits of each bound. Before the point, numbers without leading zeros compare by length
 * first, and digits count only between equal lengths. After the point, the first digit that differs
 * decides. States from which no number can end are not made.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "byte_grammar.h"

/* ---- Decimals -------------------------------------------------------------------------------- */

struct rsr_decimal rsr_decimal_read(const char *text) {
    struct rsr_decimal d = {.is_negative = *text == '-'};
    bool behind_point = false;
    for (text += d.is_negative; (*text >= '0' && *text <= '9') || *text == '.'; text++) {
        if (*text == '.') {
            behind_point = true;
        } else if (*text == '0' && d.n_digits == 0) {
            d.point -= behind_point;
        } else if (d.n_digits < (int)sizeof(d.digits)) {
            d.digits[d.n_digits++] = (uint8_t)(*text - '0');
            d.point += !behind_point;
        }
    }
    if (*text == 'e')
        d.point += atoi(text + 1);
    while (d.n_digits > 0 && d.digits[d.n_digits - 1] == 0)
        d.n_digits--;
    if (d.n_digits == 0)
        d = (struct rsr_decimal){0};
    return d;
}

static int digits_in_front(const struct rsr_decimal *d) {
    return d->point > 1 ? d->point : 1;
}

static int digits_behind(const struct rsr_decimal *d) {
    return d->n_digits > d->point ? d->n_digits - d->point : 0;
}

/* The digit at an index of 0.d0d1d2... */
static uint8_t digit_at(const struct rsr_decimal *d, int i) {
    return i >= 0 && i < d->n_digits ? d->digits[i] : 0;
}

int rsr_number_decimals(const struct rsr_number_bound *min, const struct rsr_number_bound *max,
                        bool *fits) {
    int decimals = RSR_BOUNDED_DECIMALS;
    *fits = true;
    const struct rsr_number_bound *bounds[] = {min, max};
    for (size_t i = 0; i < 2; i++) {
        const int room = RSR_NUMBER_DIGITS - digits_in_front(&bounds[i]->value);
        if (bounds[i]->is_set && room >= 0 && room < decimals)
            decimals = room;
    }
    for (size_t i = 0; i < 2; i++)
        if (bounds[i]->is_set && digits_in_front(&bounds[i]->value) <= RSR_NUMBER_DIGITS)
            *fits = *fits && digits_behind(&bounds[i]->value) <= decimals;
    return decimals;
}

/* ---- Magnitudes ------------------------------------------------------------------------------ */

enum order { BELOW, EQUAL, ABOVE };

/* Bounds of a number without its sign: the low one and the high one. */
struct range {
    struct rsr_grammar *g;
    struct rsr_number_bound bounds[2];
    int max_digits, max_decimals;
    bool has_exponent;
    uint32_t exponent; /* where 'e' leads to */
    /* The state after n digits before or after the point, by their order relative to both bounds: 1
     * + its index; 0: not made yet; 1: no number ends from there. A lone 0 has n = 0. */
    uint32_t made[2][RSR_INTEGER_DIGITS + 1][3][3];
};

struct place {
    bool behind;
    int n;
    enum order order[2];
};

static enum order compare_digit(enum order so_far, int digit, int other) {
    if (so_far != EQUAL)
        return so_far;
    return digit < other ? BELOW : digit > other ? ABOVE : EQUAL;
}

static struct place after_digit(const struct range *r, struct place p, int digit) {
    for (size_t i = 0; i < 2; i++) {
        const struct rsr_decimal *d = &r->bounds[i].value;
        const int in_front = digits_in_front(d),
                  at = p.n + (p.behind ? d->point : d->point - in_front);
        if (!r->bounds[i].is_set)
            continue;
        p.order[i] = !p.behind && p.n >= in_front
                         ? ABOVE
                         : compare_digit(p.order[i], digit, digit_at(d, at));
    }
    p.n++;
    return p;
}

/* How the digits in front of the point compare once there are no more. */
static struct place at_point(const struct range *r, struct place p) {
    const int n = p.n > 0 ? p.n : 1;
    for (size_t i = 0; i < 2; i++)
        if (n < digits_in_front(&r->bounds[i].value))
            p.order[i] = BELOW;
    return p;
}

/* Whether the number may end here; p is after the point, or at it. */
static bool is_within(const struct range *r, struct place p) {
    bool within = true;
    for (size_t i = 0; i < 2; i++) {
        const struct rsr_number_bound *bound = &r->bounds[i];
        enum order order = p.order[i];
        if (order == EQUAL && digits_behind(&bound->value) > (p.behind ? p.n : 0))
            order = BELOW; /* the bound goes on */
        within = within && (!bound->is_set || order == (i == 0 ? ABOVE : BELOW) ||
                            (order == EQUAL && !bound->is_exclusive));
    }
    return within;
}

static uint32_t make(struct range *r, struct place p);

static bool add_digit_edges(struct range *r, struct place p, uint32_t state) {
    bool found = false;
    for (int digit = 0; digit < 10; digit++) {
        const uint32_t target = make(r, after_digit(r, p, digit));
        if (target != 0)
            rsr_grammar_edge(r->g, state, (uint8_t)('0' + digit), (uint8_t)('0' + digit), target);
        found = found || target != 0;
    }
    return found;
}

/* The point, and digits after it. */
static bool add_point(struct range *r, struct place p, uint32_t state) {
    const uint32_t point = r->max_decimals > 0 ? rsr_grammar_state(r->g) : 0;
    p = at_point(r, p);
    p.behind = true;
    p.n = 0;
    if (point == 0 || !add_digit_edges(r, p, point))
        return false;
    rsr_grammar_edge(r->g, state, '.', '.', point);
    return true;
}

/* The state at a place, after at least one digit; 0: no number ends from there. Recurses no deeper
 * than there are digits. */
static uint32_t make(struct range *r, struct place p) {
    uint32_t *known = &r->made[p.behind][p.n][p.order[0]][p.order[1]];
    if (*known != 0 || r->g->status != RSR_OK)
        return *known - (*known != 0);
    const uint32_t state = rsr_grammar_state(r->g);
    if (state == 0)
        return 0;
    const bool ends = is_within(r, p.behind ? p : at_point(r, p));
    bool goes_on = false;
    if (p.n > 0 && p.n < (p.behind ? r->max_decimals : r->max_digits))
        goes_on = add_digit_edges(r, p, state);
    if (!p.behind && add_point(r, p, state))
        goes_on = true;
    r->g->states[state].accepts = ends;
    if (ends && r->has_exponent) {
        rsr_grammar_edge(r->g, state, 'e', 'e', r->exponent);
        rsr_grammar_edge(r->g, state, 'E', 'E', r->exponent);
    }
    *known = 1 + (ends || goes_on ? state : 0);
    return *known - 1;
}

/* Edges of all magnitudes from `state`. False: there are none. */
static bool add_magnitudes(struct range *r, uint32_t state) {
    const struct place begin = {.order = {EQUAL, EQUAL}};
    struct place zero = after_digit(r, begin, 0);
    bool found = false;
    memset(r->made, 0, sizeof(r->made));
    for (int digit = 1; digit < 10; digit++) {
        const uint32_t target = make(r, after_digit(r, begin, digit));
        if (target != 0)
            rsr_grammar_edge(r->g, state, (uint8_t)('0' + digit), (uint8_t)('0' + digit), target);
        found = found || target != 0;
    }
    zero.n = 0;
    const uint32_t target = make(r, zero);
    if (target != 0)
        rsr_grammar_edge(r->g, state, '0', '0', target);
    return found || target != 0;
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static uint32_t make_exponent(struct rsr_grammar *g) {
    const uint32_t first = rsr_grammar_state(g), sign = rsr_grammar_state(g),
                   one = rsr_grammar_state(g), two = rsr_grammar_state(g);
    rsr_grammar_edge(g, first, '+', '+', sign);
    rsr_grammar_edge(g, first, '-', '-', sign);
    rsr_grammar_edge(g, first, '0', '9', one);
    rsr_grammar_edge(g, sign, '0', '9', one);
    rsr_grammar_edge(g, one, '0', '9', two);
    if (g->status == RSR_OK)
        g->states[one].accepts = g->states[two].accepts = true;
    return first;
}

/* Drops a bound beyond all numbers of max_digits digits. False: it leaves no number. */
static bool drop_far_bound(struct rsr_number_bound *bound, bool is_max, int max_digits) {
    if (!bound->is_set || digits_in_front(&bound->value) <= max_digits)
        return true;
    bound->is_set = false;
    return bound->value.is_negative != is_max;
}

static uint32_t make_numbers(struct range *r, struct rsr_number_bound min,
                             struct rsr_number_bound max) {
    const struct rsr_number_bound above_zero = {.is_set = true, .is_exclusive = true};
    if (!drop_far_bound(&min, false, r->max_digits) || !drop_far_bound(&max, true, r->max_digits))
        return 0;
    const bool min_below = !min.is_set || min.value.is_negative,
               max_below = max.is_set && max.value.is_negative;
    const uint32_t state = rsr_grammar_state(r->g), minus = rsr_grammar_state(r->g);
    bool found = false;
    r->exponent = r->has_exponent ? make_exponent(r->g) : 0;
    if (!max_below) {
        r->bounds[0] = min_below ? (struct rsr_number_bound){0} : min;
        r->bounds[1] = max;
        found = add_magnitudes(r, state);
    }
    if (min_below) {
        r->bounds[0] = max_below ? max : above_zero;
        r->bounds[1] = min;
        if (add_magnitudes(r, minus)) {
            rsr_grammar_edge(r->g, state, '-', '-', minus);
            found = true;
        }
    }
    return found && r->g->status == RSR_OK ? state : 0;
}

uint32_t rsr_byte_integer(struct rsr_grammar *g, const struct rsr_number_bound *min,
                          const struct rsr_number_bound *max) {
    struct range r = {.g = g, .max_digits = RSR_INTEGER_DIGITS};
    return make_numbers(&r, *min, *max);
}

uint32_t rsr_byte_number(struct rsr_grammar *g, const struct rsr_number_bound *min,
                         const struct rsr_number_bound *max) {
    const bool is_bounded = min->is_set || max->is_set;
    bool fits;
    struct range r = {.g = g,
                      .max_digits = RSR_NUMBER_DIGITS,
                      .max_decimals = RSR_NUMBER_DIGITS,
                      .has_exponent = !is_bounded};
    if (is_bounded)
        r.max_decimals = rsr_number_decimals(min, max, &fits);
    return make_numbers(&r, *min, *max);
}
