/* gbnf_read.c - a grammar in a subset of GBNF, read into the terms of gbnf.h: see
 * rsr_constraint.h. */
#include "gbnf.h"

#include <stdlib.h>
#include <string.h>

#define MAX_BRACKETS 64u
#define MAX_RANGES 1024u
#define MAX_RULES 32768u /* each name is compared with all */
#define NO_CODE UINT32_MAX

/* ---- Text ------------------------------------------------------------------------------------ */

static uint32_t refuse(struct rsr_gbnf *in, const char *what) {
    return rsr_grammar_fail(in->g, RSR_ERR_ARGUMENT, "the grammar has %s in line %u", what,
                            in->line);
}

static uint32_t add(struct rsr_gbnf *in, struct rsr_bytes *list, const void *element, size_t n) {
    if (in->g->status == RSR_OK && !rsr_bytes_append(list, element, n))
        rsr_grammar_fail(in->g, RSR_ERR_MEMORY, "no memory for a constraint");
    return in->g->status == RSR_OK ? (uint32_t)(list->size / n - 1) : 0;
}

static bool is_at(const struct rsr_gbnf *in, const char *text) {
    const size_t n = strlen(text);
    return (size_t)(in->end - in->at) >= n && memcmp(in->at, text, n) == 0;
}

static bool accept(struct rsr_gbnf *in, const char *text) {
    const bool found = is_at(in, text);
    in->at += found ? strlen(text) : 0;
    return found;
}

/* Skips white space, newlines and comments. */
static void skip(struct rsr_gbnf *in) {
    while (in->at < in->end && strchr(" \t\r\n#", *in->at) && *in->at) {
        if (*in->at == '#')
            while (in->at < in->end && *in->at != '\n')
                in->at++;
        else
            in->line += *in->at++ == '\n';
    }
}

static size_t name_size(const struct rsr_gbnf *in) {
    size_t n = 0;
    while (in->at + n < in->end &&
           ((in->at[n] >= 'a' && in->at[n] <= 'z') || (in->at[n] >= 'A' && in->at[n] <= 'Z') ||
            (in->at[n] >= '0' && in->at[n] <= '9') || in->at[n] == '-' || in->at[n] == '_'))
        n++;
    return n;
}

/* Reads a name and returns its rule. */
static uint32_t take_name(struct rsr_gbnf *in) {
    const struct rsr_gbnf_name name = {
        .text = in->at, .size = name_size(in), .used_line = in->line};
    const size_t n = in->names.size / sizeof(name);
    in->at += name.size;
    for (uint32_t i = 0; i < n; i++)
        if (rsr_gbnf_name_at(in, i)->size == name.size &&
            memcmp(rsr_gbnf_name_at(in, i)->text, name.text, name.size) == 0)
            return i;
    if (n == MAX_RULES)
        return refuse(in, "more than 32768 rules");
    add(in, &in->names, &name, sizeof(name));
    return rsr_grammar_rule(in->g);
}

/* Whether a name and "::=" stand here. */
static bool is_at_rule(const struct rsr_gbnf *in) {
    struct rsr_gbnf ahead = *in;
    ahead.at += name_size(in);
    if (ahead.at == in->at)
        return false;
    skip(&ahead);
    return is_at(&ahead, "::=");
}

/* ---- Characters ------------------------------------------------------------------------------ */

static uint32_t read_hexadecimal(struct rsr_gbnf *in, int n) {
    uint32_t code = 0;
    for (int i = 0; i < n; i++, in->at++) {
        const char c = in->at < in->end ? *in->at : '\0';
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) {
            refuse(in, "an escape with too few hexadecimal digits");
            return NO_CODE;
        }
        code = code << 4 | (uint32_t)digit;
    }
    if (code <= 0x10ffff && (code < 0xd800 || code > 0xdfff))
        return code;
    refuse(in, "an escape that is no code point");
    return NO_CODE;
}

/* One code point, perhaps escaped; NO_CODE with the status set. */
static uint32_t read_code(struct rsr_gbnf *in) {
    static const char from[] = "nrt\\\"[]-^", to[] = "\n\r\t\\\"[]-^";
    if (in->at == in->end) {
        refuse(in, "a text or class without its end");
        return NO_CODE;
    }
    if (!accept(in, "\\")) {
        const struct rsr_utf8_step step = rsr_utf8_scan(in->at, (size_t)(in->end - in->at));
        in->line += *in->at == '\n';
        in->at += step.length;
        return step.code;
    }
    if (accept(in, "x"))
        return read_hexadecimal(in, 2);
    if (accept(in, "u"))
        return read_hexadecimal(in, 4);
    if (accept(in, "U"))
        return read_hexadecimal(in, 8);
    const char *known = in->at < in->end && *in->at ? strchr(from, *in->at) : NULL;
    if (!known) {
        refuse(in, "an escape that is outside the subset");
        return NO_CODE;
    }
    in->at++;
    return (uint8_t)to[known - from];
}

/* Reads a text after its quote. Returns its byte state, or 0 for an empty text. */
static uint32_t read_text(struct rsr_gbnf *in) {
    const uint32_t first = rsr_grammar_state(in->g);
    struct rsr_byte_text text = {.state = first};
    while (in->g->status == RSR_OK && !accept(in, "\"")) {
        char bytes[4];
        const uint32_t code = read_code(in);
        if (code != NO_CODE)
            rsr_byte_text_add(in->g, &text, bytes, rsr_utf8_encode(code, bytes));
    }
    if (text.state == first)
        return 0;
    rsr_byte_text_end(in->g, &text);
    return first;
}

static int compare_ranges(const void *a, const void *b) {
    const struct rsr_code_range *x = a, *y = b;
    return (x->low > y->low) - (x->low < y->low);
}

/* Sorts ranges and joins those that touch; with `negate`, takes the complement. Returns how many
 * there are. */
static size_t settle(struct rsr_code_range *ranges, size_t n, bool negate) {
    size_t joined = 0;
    uint32_t begin = 0;
    qsort(ranges, n, sizeof(*ranges), compare_ranges);
    for (size_t i = 0; i < n; i++) {
        if (joined > 0 && ranges[i].low <= ranges[joined - 1].high + 1) {
            if (ranges[i].high > ranges[joined - 1].high)
                ranges[joined - 1].high = ranges[i].high;
        } else {
            ranges[joined++] = ranges[i];
        }
    }
    if (!negate)
        return joined;
    ranges[joined++] = (struct rsr_code_range){0x110000, 0x110000};
    n = 0;
    for (size_t i = 0; i < joined; i++) {
        const struct rsr_code_range range = ranges[i];
        if (range.low > begin)
            ranges[n++] = (struct rsr_code_range){begin, range.low - 1};
        begin = range.high + 1;
    }
    return n;
}

static uint32_t class_of(struct rsr_gbnf *in, const struct rsr_code_range *ranges, size_t n) {
    const uint32_t first = rsr_grammar_state(in->g), target = rsr_grammar_state(in->g);
    if (in->g->status != RSR_OK)
        return 0;
    in->g->states[target].accepts = true;
    rsr_byte_characters(in->g, first, ranges, n, target);
    return in->g->states[first].edges != 0 ? first : refuse(in, "a class of no character");
}

/* Reads a class after its bracket. */
static uint32_t read_class(struct rsr_gbnf *in) {
    struct rsr_code_range *ranges = calloc(MAX_RANGES + 1, sizeof(*ranges));
    size_t n = 0;
    const bool negate = accept(in, "^");
    if (!ranges)
        return rsr_grammar_fail(in->g, RSR_ERR_MEMORY, "no memory for a constraint");
    while (in->g->status == RSR_OK && !accept(in, "]")) {
        struct rsr_code_range range = {.low = read_code(in)};
        range.high = range.low;
        if (is_at(in, "-") && !is_at(in, "-]")) {
            in->at++;
            range.high = read_code(in);
        }
        if (range.high < range.low)
            refuse(in, "a range that ends before it begins");
        else if (n == MAX_RANGES)
            refuse(in, "a class of too many ranges");
        else if (in->g->status == RSR_OK)
            ranges[n++] = range;
    }
    if (n == 0)
        refuse(in, "an empty class");
    const uint32_t first = class_of(in, ranges, settle(ranges, n, negate));
    free(ranges);
    return first;
}

/* ---- Terms ----------------------------------------------------------------------------------- */

static uint32_t read_alternatives(struct rsr_gbnf *in, uint32_t depth);

static uint32_t read_count(struct rsr_gbnf *in) {
    uint64_t n = 0;
    const char *begin = in->at;
    for (; in->at < in->end && *in->at >= '0' && *in->at <= '9'; in->at++)
        n = n < RSR_GRAMMAR_NO_MAX ? 10 * n + (uint64_t)(*in->at - '0') : n;
    if (in->at == begin || n >= RSR_GRAMMAR_NO_MAX)
        refuse(in, "a repetition without a count, or with too large a one");
    return (uint32_t)n;
}

/* Reads how often the term before it is repeated. */
static void read_repetition(struct rsr_gbnf *in, struct rsr_gbnf_term *term) {
    *term = (struct rsr_gbnf_term){term->kind, term->first, 1, 1, term->line, 0};
    if (is_at(in, "*") || is_at(in, "+")) {
        term->min = *in->at++ == '+';
        term->max = RSR_GRAMMAR_NO_MAX;
    } else if (accept(in, "?")) {
        term->min = 0;
    } else if (accept(in, "{")) {
        term->min = term->max = read_count(in);
        if (accept(in, ","))
            term->max = is_at(in, "}") ? RSR_GRAMMAR_NO_MAX : read_count(in);
        if (in->g->status == RSR_OK && (!accept(in, "}") || term->max < term->min))
            refuse(in, "a repetition that is not {n}, {n,} or {n,m}");
    }
}

static struct rsr_gbnf_term read_term(struct rsr_gbnf *in, uint32_t depth) {
    static const struct rsr_code_range all = {0, 0x10ffff};
    struct rsr_gbnf_term term = {.line = in->line};
    if (accept(in, "\"")) {
        term.first = read_text(in);
    } else if (accept(in, "[")) {
        term.first = read_class(in);
    } else if (accept(in, ".")) {
        term.first = class_of(in, &all, 1);
    } else if (accept(in, "(")) {
        term.kind = RSR_GBNF_GROUP;
        term.first = read_alternatives(in, depth + 1);
        if (in->g->status == RSR_OK && !accept(in, ")"))
            refuse(in, "a bracket without its end");
    } else if (name_size(in) > 0) {
        term.kind = RSR_GBNF_RULE;
        term.first = take_name(in);
    } else {
        refuse(in, "something outside the subset of GBNF");
    }
    read_repetition(in, &term);
    return term;
}

/* Alternatives up to a bracket, the next rule or the end; returns the last one. */
static uint32_t read_alternatives(struct rsr_gbnf *in, uint32_t depth) {
    struct rsr_gbnf_alternative alternative = {0};
    if (depth > MAX_BRACKETS)
        return refuse(in, "too many brackets in each other");
    for (skip(in); in->g->status == RSR_OK; skip(in)) {
        const bool ends = in->at == in->end || *in->at == ')' || is_at_rule(in);
        if (ends || *in->at == '|') {
            alternative.previous = add(in, &in->alternatives, &alternative, sizeof(alternative));
            alternative.last = 0;
            if (ends)
                return alternative.previous;
            in->at++;
        } else {
            struct rsr_gbnf_term term = read_term(in, depth);
            term.previous = alternative.last;
            alternative.last = add(in, &in->terms, &term, sizeof(term));
        }
    }
    return 0;
}

/* ---- Rules ----------------------------------------------------------------------------------- */

static void read_rule(struct rsr_gbnf *in) {
    if (!is_at_rule(in)) {
        refuse(in, "no rule (name ::= ...)");
        return;
    }
    const uint32_t line = in->line, rule = take_name(in);
    if (in->g->status == RSR_OK && rsr_gbnf_name_at(in, rule)->line != 0)
        refuse(in, "a rule for the second time");
    if (in->g->status != RSR_OK)
        return;
    rsr_gbnf_name_at(in, rule)->line = line;
    skip(in);
    accept(in, "::=");
    const uint32_t last = read_alternatives(in, 0);
    if (in->g->status == RSR_OK && in->at < in->end && *in->at == ')')
        refuse(in, "a bracket that was not opened");
    rsr_gbnf_name_at(in, rule)->alternative = last;
}

static void check_names(struct rsr_gbnf *in) {
    for (uint32_t i = 0; i < in->g->n_rules && in->g->status == RSR_OK; i++) {
        const struct rsr_gbnf_name *name = rsr_gbnf_name_at(in, i);
        if (name->line == 0)
            rsr_grammar_fail(in->g, RSR_ERR_ARGUMENT,
                             "the grammar has no rule \"%.*s\", which line %u uses",
                             name->size < 60 ? (int)name->size : 60, name->text, name->used_line);
    }
}

rsr_status rsr_gbnf_read(const char *text, size_t n_bytes, struct rsr_grammar *g, rsr_error *err) {
    static const struct rsr_gbnf_name root = {.text = "root", .size = 4, .used_line = 1};
    static const struct rsr_gbnf_alternative no_alternative;
    static const struct rsr_gbnf_term no_term;
    struct rsr_gbnf in = {.g = g, .at = text, .end = text + n_bytes, .line = 1};
    rsr_grammar_begin(g, RSR_GRAMMAR_MAX_LEVELS, err);
    if (n_bytes > RSR_GRAMMAR_MAX_TEXT || !rsr_utf8_is_valid(text, n_bytes))
        rsr_grammar_fail(g, RSR_ERR_ARGUMENT, "the grammar is longer than 1 MiB, or no UTF-8");
    add(&in, &in.names, &root, sizeof(root));
    add(&in, &in.terms, &no_term, sizeof(no_term));
    add(&in, &in.alternatives, &no_alternative, sizeof(no_alternative));
    rsr_grammar_rule(g);
    for (skip(&in); g->status == RSR_OK && in.at < in.end; skip(&in))
        read_rule(&in);
    check_names(&in);
    for (uint32_t i = 0; i < g->n_rules && g->status == RSR_OK; i++)
        rsr_gbnf_build(&in, i);
    rsr_bytes_free(&in.names);
    rsr_bytes_free(&in.alternatives);
    rsr_bytes_free(&in.terms);
    return rsr_grammar_finish(g);
}
