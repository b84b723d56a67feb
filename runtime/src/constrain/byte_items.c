/* byte_items.c - automata over the bytes of one item: a text, a character of some code points in
 * UTF-8, a character of a JSON string. */
#include <string.h>

#include "byte_grammar.h"
#include "host/utf8.h"

/* ---- Texts ----------------------------------------------------------------------------------- */

/* Texts with the same beginning share it. */
static uint32_t follow(struct rsr_grammar *g, uint32_t state, uint8_t byte) {
    uint32_t target = rsr_grammar_target(g, state, byte);
    if (target == 0) {
        target = rsr_grammar_state(g);
        rsr_grammar_edge(g, state, byte, byte, target);
    }
    return target;
}

void rsr_byte_text_add(struct rsr_grammar *g, struct rsr_byte_text *text, const char *bytes,
                       size_t n) {
    for (size_t i = 0; i < n && g->status == RSR_OK; i++) {
        const uint8_t byte = (uint8_t)bytes[i];
        const uint32_t target = follow(g, text->state, byte);
        if (text->spaced != 0 && rsr_grammar_target(g, text->spaced, byte) == 0)
            rsr_grammar_edge(g, text->spaced, byte, byte, target);
        *text = (struct rsr_byte_text){.state = target};
    }
}

void rsr_byte_text_add_space(struct rsr_grammar *g, struct rsr_byte_text *text) {
    if (g->status == RSR_OK)
        text->spaced = follow(g, text->state, ' ');
}

void rsr_byte_text_end(struct rsr_grammar *g, struct rsr_byte_text *text) {
    if (g->status == RSR_OK) {
        g->states[text->state].accepts = true;
        g->states[text->spaced].accepts = text->spaced != 0;
    }
}

/* ---- Characters ------------------------------------------------------------------------------ */

#define MAX_CODE 0x10ffffu

/* The state after one of the bytes low to high. Another edge has this range or does not overlap
 * it. */
static uint32_t follow_range(struct rsr_grammar *g, uint32_t state, uint8_t low, uint8_t high) {
    for (uint32_t i = g->states[state].edges; i != 0; i = g->edges[i].next)
        if (g->edges[i].low == low && g->edges[i].high == high)
            return g->edges[i].target;
    const uint32_t target = rsr_grammar_state(g);
    rsr_grammar_edge(g, state, low, high, target);
    return target;
}

/* Adds code points of one UTF-8 length: after the first byte that differs, the bytes take all
 * values. */
static void add_block(struct rsr_grammar *g, uint32_t state, uint32_t low, uint32_t high,
                      uint32_t target) {
    char from[4], to[4];
    const size_t n = rsr_utf8_encode(low, from);
    (void)rsr_utf8_encode(high, to);
    for (size_t i = 0; i + 1 < n && g->status == RSR_OK; i++)
        state = follow_range(g, state, (uint8_t)from[i], (uint8_t)to[i]);
    if (g->status == RSR_OK)
        rsr_grammar_edge(g, state, (uint8_t)from[n - 1], (uint8_t)to[n - 1], target);
}

/* Cuts a range into such blocks. */
static void add_range(struct rsr_grammar *g, uint32_t state, uint32_t low, uint32_t high,
                      uint32_t target) {
    static const uint32_t last_of_length[] = {0x7f, 0x7ff, 0xd7ff, 0xdfff, 0xffff, MAX_CODE};
    while (low <= high && g->status == RSR_OK) {
        uint32_t end = high;
        for (size_t i = 0; i < sizeof(last_of_length) / sizeof(last_of_length[0]); i++)
            if (low <= last_of_length[i] && end > last_of_length[i]) {
                end = last_of_length[i];
                break;
            }
        for (uint32_t low_bits = 6; low >= 0x80 && low_bits <= 18; low_bits += 6) {
            const uint32_t mask = (1u << low_bits) - 1;
            if ((low & ~mask) == (end & ~mask))
                break; /* they differ only in the bits below */
            if ((low & mask) != 0)
                end = low | mask;
            else if ((end & mask) != mask)
                end = (end & ~mask) - 1;
        }
        if (low < 0xd800 || low > 0xdfff)
            add_block(g, state, low, end, target);
        low = end + 1;
    }
}

void rsr_byte_characters(struct rsr_grammar *g, uint32_t state, const struct rsr_code_range *ranges,
                         size_t n, uint32_t target) {
    for (size_t i = 0; i < n; i++)
        add_range(g, state, ranges[i].low, ranges[i].high < MAX_CODE ? ranges[i].high : MAX_CODE,
                  target);
}

/* Hexadecimal digits of the values low to high. */
static void add_digits(struct rsr_grammar *g, uint32_t state, uint32_t low, uint32_t high,
                       uint32_t target) {
    for (uint32_t i = low; i <= high; i++) {
        const char *digits = "0123456789abcdef";
        const uint8_t digit = (uint8_t)digits[i];
        rsr_grammar_edge(g, state, digit, digit, target);
        if (i >= 10)
            rsr_grammar_edge(g, state, (uint8_t)(digit - 'a' + 'A'), (uint8_t)(digit - 'a' + 'A'),
                             target);
    }
}

/* Adds the four digits after "\u"; a high surrogate must be followed by a low one. */
static void add_unit(struct rsr_grammar *g, uint32_t state, uint32_t target) {
    uint32_t after[8];
    for (size_t i = 0; i < 8; i++)
        after[i] = rsr_grammar_state(g);
    /* after: 0 two and 1 one digits to go; 2 after "d"; 3, 4 digits of the high surrogate; 5 '\';
     * 6 'u'; 7 "d" of the low one, whose second digit leads to 0's end. */
    const uint32_t three = rsr_grammar_state(g), low_second = rsr_grammar_state(g);
    add_digits(g, state, 0, 12, three);
    add_digits(g, state, 14, 15, three);
    add_digits(g, state, 13, 13, after[2]);
    add_digits(g, three, 0, 15, after[0]);
    add_digits(g, after[0], 0, 15, after[1]);
    add_digits(g, after[1], 0, 15, target);
    add_digits(g, after[2], 0, 7, after[0]);
    add_digits(g, after[2], 8, 11, after[3]);
    add_digits(g, after[3], 0, 15, after[4]);
    add_digits(g, after[4], 0, 15, after[5]);
    rsr_grammar_edge(g, after[5], '\\', '\\', after[6]);
    rsr_grammar_edge(g, after[6], 'u', 'u', after[7]);
    add_digits(g, after[7], 13, 13, low_second);
    add_digits(g, low_second, 12, 15, after[0]);
}

uint32_t rsr_byte_json_character(struct rsr_grammar *g) {
    static const struct rsr_code_range plain[] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, MAX_CODE}};
    const uint32_t first = rsr_grammar_state(g), target = rsr_grammar_state(g),
                   escape = rsr_grammar_state(g), unit = rsr_grammar_state(g);
    if (g->status != RSR_OK)
        return 0;
    g->states[target].accepts = true;
    rsr_byte_characters(g, first, plain, sizeof(plain) / sizeof(plain[0]), target);
    rsr_grammar_edge(g, first, '\\', '\\', escape);
    for (const char *c = "\"\\/bfnrt"; *c; c++)
        rsr_grammar_edge(g, escape, (uint8_t)*c, (uint8_t)*c, target);
    rsr_grammar_edge(g, escape, 'u', 'u', unit);
    add_unit(g, unit, target);
    return g->status == RSR_OK ? first : 0;
}
