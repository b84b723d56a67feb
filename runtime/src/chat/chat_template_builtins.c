/* chat_template_builtins.c - filters, tests and string methods, as Jinja and Python define them.
 *
 *   filters  trim upper lower capitalize length count default d join first last string list
 *            replace safe int float round abs format tojson items map select reject selectattr
 *            rejectattr
 *   tests    defined undefined none string mapping sequence iterable number integer float boolean
 *            true false eq equalto ne in odd even
 *   methods  strip lstrip rstrip upper lower capitalize startswith endswith split replace join
 *            format; of mappings get items keys values
 * upper, lower and capitalize map character by character: German sharp s stays one letter.
 */
#include <string.h>
#include <utf8proc.h>

#include "chat_builtin.h"

/* Limits the time of strip, which searches this set for every character of the text. */
#define MAX_STRIPPED_BYTES 256u

struct chat_value chat_wrong_type(const struct chat_call *c) {
    return chat_refuse(c->r, c->line, "applies to a value of the wrong type", c->name);
}

const struct chat_value *chat_argument(const struct chat_call *c, uint32_t i) {
    bool given = i < c->arguments->n && c->arguments->values[i].kind != CHAT_VALUE_UNDEFINED;
    return given ? &c->arguments->values[i] : NULL;
}

bool chat_string_argument(const struct chat_call *c, uint32_t i, struct chat_string *text) {
    const struct chat_value *v = chat_argument(c, i);
    if (!v || v->kind != CHAT_VALUE_STRING)
        return false;
    *text = v->string;
    return true;
}

/* ---- Strings --------------------------------------------------------------------------------- */

/* Whether a character is stripped: one of `set`, or white space if set.data is NULL. */
static bool strips(struct chat_string set, const char *at, size_t n, uint32_t code) {
    size_t where;
    return set.data ? chat_contains(set, (struct chat_string){at, n, NULL}, &where)
                    : chat_is_space(code);
}

static struct chat_value strip_sides(const struct chat_call *c, bool left, bool right) {
    struct chat_string set = {NULL, 0, NULL}, s = c->value->string;
    const struct chat_value *given = chat_argument(c, 0);
    if (given && given->kind != CHAT_VALUE_NONE && !chat_string_argument(c, 0, &set))
        return chat_wrong_type(c);
    if (set.size > MAX_STRIPPED_BYTES)
        return chat_refuse(c->r, c->line, "gives too long an argument to", c->name);
    while (left && s.size > 0) {
        struct rsr_utf8_step step = rsr_utf8_scan(s.data, s.size);
        if (!strips(set, s.data, step.length, step.code))
            break;
        s = chat_behind(s, step.length);
    }
    while (right && s.size > 0) {
        size_t last = rsr_utf8_previous(s.data, s.size);
        struct rsr_utf8_step step = rsr_utf8_scan(s.data + last, s.size - last);
        if (!strips(set, s.data + last, step.length, step.code))
            break;
        s.size = last;
    }
    return chat_text(s);
}

static struct chat_value strip(const struct chat_call *c) {
    return strip_sides(c, true, true);
}

static struct chat_value lstrip(const struct chat_call *c) {
    return strip_sides(c, true, false);
}

static struct chat_value rstrip(const struct chat_call *c) {
    return strip_sides(c, false, true);
}

typedef utf8proc_int32_t map_fn(utf8proc_int32_t);

/* A case mapping makes a text at most 3/2 as long; twice the length is enough. */
static struct chat_value map_case(const struct chat_call *c, map_fn *first, map_fn *rest) {
    struct chat_string s = c->value->string;
    const size_t capacity = 2 * s.size + 4;
    char *out = chat_alloc(&c->r->arena, (s.marks ? 2 : 1) * capacity);
    if (!out)
        return chat_no_memory(c->r);
    uint8_t *marks = s.marks ? (uint8_t *)out + capacity : NULL;
    size_t n = 0;
    for (size_t at = 0; at < s.size;) {
        struct rsr_utf8_step step = rsr_utf8_scan(s.data + at, s.size - at);
        map_fn *map = at == 0 ? first : rest;
        const size_t length = rsr_utf8_encode((uint32_t)map((utf8proc_int32_t)step.code), out + n);
        if (marks)
            memset(marks + n, s.marks[at], length);
        n += length;
        at += step.length;
    }
    return chat_text((struct chat_string){out, n, marks});
}

static struct chat_value upper(const struct chat_call *c) {
    return map_case(c, utf8proc_toupper, utf8proc_toupper);
}

static struct chat_value lower(const struct chat_call *c) {
    return map_case(c, utf8proc_tolower, utf8proc_tolower);
}

static struct chat_value capitalize(const struct chat_call *c) {
    return map_case(c, utf8proc_totitle, utf8proc_tolower);
}

static struct chat_value startswith(const struct chat_call *c) {
    struct chat_string s = c->value->string, part;
    if (!chat_string_argument(c, 0, &part))
        return chat_wrong_type(c);
    return chat_bool(part.size <= s.size && memcmp(s.data, part.data, part.size) == 0);
}

static struct chat_value endswith(const struct chat_call *c) {
    struct chat_string s = c->value->string, part;
    if (!chat_string_argument(c, 0, &part))
        return chat_wrong_type(c);
    return chat_bool(part.size <= s.size &&
                     memcmp(s.data + s.size - part.size, part.data, part.size) == 0);
}

/* split() without arguments splits at runs of white space. */
static struct chat_value split_words(const struct chat_call *c) {
    struct chat_value list = {0};
    struct chat_string s = c->value->string;
    struct chat_value *items = chat_new_list(c->r, s.size / 2 + 1, &list);
    size_t n = 0, begin = 0;
    for (size_t at = 0; items && at <= s.size;) {
        struct rsr_utf8_step step = {RSR_UTF8_VALID, 1, ' '};
        if (at < s.size)
            step = rsr_utf8_scan(s.data + at, s.size - at);
        if (chat_is_space(step.code)) {
            if (at > begin)
                items[n++] = chat_text(chat_part(s, begin, at - begin));
            begin = at + step.length;
        }
        at += step.length;
    }
    list.n_items = n;
    return list;
}

/* split(), split(separator), split(separator, most splits) */
static struct chat_value split(const struct chat_call *c) {
    struct chat_string s = c->value->string, separator;
    const struct chat_value *given = chat_argument(c, 1);
    if (c->arguments->n == 0)
        return split_words(c);
    if (!chat_string_argument(c, 0, &separator) || separator.size == 0 ||
        (given && given->kind != CHAT_VALUE_INTEGER))
        return chat_wrong_type(c);
    uint64_t max = given && given->integer >= 0 ? (uint64_t)given->integer : UINT64_MAX;
    size_t n = 1, at;
    for (struct chat_string rest = s; n <= max && chat_contains(rest, separator, &at); n++)
        rest = chat_behind(rest, at + separator.size);
    struct chat_value list = {0};
    struct chat_value *items = chat_new_list(c->r, n, &list);
    for (size_t i = 0; items && i < n; i++) {
        at = s.size;
        if (i + 1 < n)
            (void)chat_contains(s, separator, &at);
        items[i] = chat_text(chat_part(s, 0, at));
        s = chat_behind(s, at + (i + 1 < n ? separator.size : 0));
    }
    return list;
}

static struct chat_value replace(const struct chat_call *c) {
    struct chat_string from, to, s = c->value->string;
    struct rsr_chat_text out = {{0}, {0}};
    if (c->value->kind != CHAT_VALUE_STRING || c->arguments->n != 2 ||
        !chat_string_argument(c, 0, &from) || !chat_string_argument(c, 1, &to) || from.size == 0)
        return chat_wrong_type(c);
    bool ok = true;
    for (size_t at; ok && chat_contains(s, from, &at); s = chat_behind(s, at + from.size))
        ok = chat_is_within(&c->r->arena, out.text.size, at + to.size) &&
             chat_put(&out, chat_part(s, 0, at)) && chat_put(&out, to);
    ok = ok && chat_is_within(&c->r->arena, out.text.size, s.size) && chat_put(&out, s);
    return chat_finish(c->r, &out, ok);
}

/* ---- Lists ----------------------------------------------------------------------------------- */

static struct chat_value join_items(const struct chat_call *c, const struct chat_value *list,
                                    struct chat_string separator) {
    struct chat_value items = chat_as_list(c->r, c->line, list);
    struct rsr_chat_text all = {{0}, {0}};
    bool ok = true;
    for (size_t i = 0; ok && i < items.n_items && c->r->status == RSR_OK; i++) {
        struct chat_string s = chat_to_string(c->r, c->line, &items.items[i]);
        ok = chat_is_within(&c->r->arena, all.text.size, separator.size + s.size) &&
             (i == 0 || chat_put(&all, separator)) && chat_put(&all, s);
    }
    return chat_finish(c->r, &all, ok);
}

static struct chat_value join_filter(const struct chat_call *c) {
    struct chat_string separator = CHAT_STRING("");
    if (c->arguments->n > 1 || (c->arguments->n == 1 && !chat_string_argument(c, 0, &separator)))
        return chat_wrong_type(c);
    return join_items(c, c->value, separator);
}

static struct chat_value join_method(const struct chat_call *c) {
    return c->arguments->n == 1 ? join_items(c, &c->arguments->values[0], c->value->string)
                                : chat_wrong_type(c);
}

static struct chat_value length(const struct chat_call *c) {
    if (c->value->kind == CHAT_VALUE_STRING)
        return chat_integer((int64_t)chat_length(c->value->string));
    if (c->value->kind == CHAT_VALUE_LIST || c->value->kind == CHAT_VALUE_MAPPING)
        return chat_integer((int64_t)c->value->n_items);
    return c->value->kind == CHAT_VALUE_UNDEFINED ? chat_integer(0) : chat_wrong_type(c);
}

static struct chat_value first(const struct chat_call *c) {
    struct chat_value list = chat_as_list(c->r, c->line, c->value);
    return list.n_items > 0 ? list.items[0] : (struct chat_value){0};
}

static struct chat_value last(const struct chat_call *c) {
    struct chat_value list = chat_as_list(c->r, c->line, c->value);
    return list.n_items > 0 ? list.items[list.n_items - 1] : (struct chat_value){0};
}

static struct chat_value as_list(const struct chat_call *c) {
    return chat_as_list(c->r, c->line, c->value);
}

/* ---- Other filters --------------------------------------------------------------------------- */

static struct chat_value as_string(const struct chat_call *c) {
    return chat_text(chat_to_string(c->r, c->line, c->value));
}

/* default(value, also for false ones) */
static struct chat_value default_value(const struct chat_call *c) {
    const struct chat_value *given = chat_argument(c, 0), *boolean = chat_argument(c, 1);
    bool missing = c->value->kind == CHAT_VALUE_UNDEFINED ||
                   (boolean && chat_is_true(boolean) && !chat_is_true(c->value));
    if (!missing)
        return *c->value;
    return given ? *given : chat_text(CHAT_STRING(""));
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static struct chat_value is_defined(const struct chat_call *c) {
    return chat_bool(c->value->kind != CHAT_VALUE_UNDEFINED);
}

static struct chat_value is_undefined(const struct chat_call *c) {
    return chat_bool(c->value->kind == CHAT_VALUE_UNDEFINED);
}

static struct chat_value is_none(const struct chat_call *c) {
    return chat_bool(c->value->kind == CHAT_VALUE_NONE);
}

static struct chat_value is_string(const struct chat_call *c) {
    return chat_bool(c->value->kind == CHAT_VALUE_STRING);
}

static struct chat_value is_mapping(const struct chat_call *c) {
    return chat_bool(c->value->kind == CHAT_VALUE_MAPPING);
}

static struct chat_value is_sequence(const struct chat_call *c) {
    return chat_bool(c->value->kind == CHAT_VALUE_STRING || c->value->kind == CHAT_VALUE_LIST ||
                     c->value->kind == CHAT_VALUE_MAPPING ||
                     c->value->kind == CHAT_VALUE_UNDEFINED);
}

static struct chat_value is_iterable(const struct chat_call *c) {
    return c->value->kind == CHAT_VALUE_GENERATOR ? chat_bool(true) : is_sequence(c);
}

static struct chat_value is_number(const struct chat_call *c) {
    return chat_bool(chat_is_number(c->value));
}

static struct chat_value is_float(const struct chat_call *c) {
    return chat_bool(c->value->kind == CHAT_VALUE_FLOAT);
}

static struct chat_value is_integer(const struct chat_call *c) {
    return chat_bool(c->value->kind == CHAT_VALUE_INTEGER);
}

static struct chat_value is_boolean(const struct chat_call *c) {
    return chat_bool(c->value->kind == CHAT_VALUE_BOOL);
}

static struct chat_value is_true(const struct chat_call *c) {
    return chat_bool(c->value->kind == CHAT_VALUE_BOOL && c->value->integer);
}

static struct chat_value is_false(const struct chat_call *c) {
    return chat_bool(c->value->kind == CHAT_VALUE_BOOL && !c->value->integer);
}

static struct chat_value is_equal(const struct chat_call *c) {
    return c->arguments->n == 1
               ? chat_bool(chat_values_equal(c->r, c->line, c->value, &c->arguments->values[0]))
               : chat_wrong_type(c);
}

static struct chat_value is_unequal(const struct chat_call *c) {
    return c->arguments->n == 1
               ? chat_bool(!chat_values_equal(c->r, c->line, c->value, &c->arguments->values[0]))
               : chat_wrong_type(c);
}

static struct chat_value is_in(const struct chat_call *c) {
    if (c->arguments->n != 1)
        return chat_wrong_type(c);
    const struct chat_value *in = &c->arguments->values[0];
    size_t at;
    if (in->kind == CHAT_VALUE_STRING)
        return c->value->kind == CHAT_VALUE_STRING
                   ? chat_bool(chat_contains(in->string, c->value->string, &at))
                   : chat_wrong_type(c);
    struct chat_value list = chat_as_list(c->r, c->line, in);
    for (size_t i = 0; i < list.n_items; i++)
        if (chat_values_equal(c->r, c->line, &list.items[i], c->value))
            return chat_bool(true);
    return chat_bool(false);
}

static struct chat_value is_odd(const struct chat_call *c) {
    return c->value->kind == CHAT_VALUE_INTEGER ? chat_bool(c->value->integer % 2 != 0)
                                                : chat_wrong_type(c);
}

static struct chat_value is_even(const struct chat_call *c) {
    return c->value->kind == CHAT_VALUE_INTEGER ? chat_bool(c->value->integer % 2 == 0)
                                                : chat_wrong_type(c);
}

/* ---- Tables ---------------------------------------------------------------------------------- */

#define MAX_PARAMETERS 6u
_Static_assert(MAX_PARAMETERS <= CHAT_MAX_ARGUMENTS, "arguments have room for all parameters");

struct builtin {
    const char *name;
    chat_builtin_fn *fn;
    bool on_strings; /* it works on a string; a filter prints other values to one first, as Jinja
                        does */
    uint32_t max_arguments;
    const char *parameters; /* names of the parameters, in order; "-": not by name */
};

static const struct builtin filters[] = {
    {"trim", strip, true, 1, "chars"},
    {"upper", upper, true, 0, ""},
    {"lower", lower, true, 0, ""},
    {"capitalize", capitalize, true, 0, ""},
    {"length", length, false, 0, ""},
    {"count", length, false, 0, ""},
    {"default", default_value, false, 2, "default_value boolean"},
    {"d", default_value, false, 2, "default_value boolean"},
    {"join", join_filter, false, 1, "d"},
    {"first", first, false, 0, ""},
    {"last", last, false, 0, ""},
    {"string", as_string, false, 0, ""},
    {"list", as_list, false, 0, ""},
    {"replace", replace, true, 2, "old new"},
    {"tojson", chat_tojson, false, 2, "ensure_ascii indent"},
    {"items", chat_items_filter, false, 0, ""},
    {"map", chat_map, false, MAX_PARAMETERS, "- - - - attribute default"},
    {"select", chat_select, false, 3, ""},
    {"reject", chat_reject, false, 3, ""},
    {"selectattr", chat_selectattr, false, 4, ""},
    {"rejectattr", chat_rejectattr, false, 4, ""},
    {"safe", as_string, false, 0, ""},
    {"int", chat_to_integer, false, 1, "default"},
    {"float", chat_to_float, false, 1, "default"},
    {"round", chat_round, false, 2, "precision method"},
    {"abs", chat_absolute, false, 0, ""},
    {"format", chat_format_filter, true, CHAT_MAX_ARGUMENTS, ""},
};

static const struct builtin tests[] = {
    {"defined", is_defined, false, 0, ""},
    {"undefined", is_undefined, false, 0, ""},
    {"none", is_none, false, 0, ""},
    {"string", is_string, false, 0, ""},
    {"mapping", is_mapping, false, 0, ""},
    {"sequence", is_sequence, false, 0, ""},
    {"iterable", is_iterable, false, 0, ""},
    {"number", is_number, false, 0, ""},
    {"integer", is_integer, false, 0, ""},
    {"float", is_float, false, 0, ""},
    {"boolean", is_boolean, false, 0, ""},
    {"true", is_true, false, 0, ""},
    {"false", is_false, false, 0, ""},
    {"eq", is_equal, false, 1, ""},
    {"equalto", is_equal, false, 1, ""},
    {"ne", is_unequal, false, 1, ""},
    {"in", is_in, false, 1, ""},
    {"odd", is_odd, false, 0, ""},
    {"even", is_even, false, 0, ""},
};

static const struct builtin methods[] = {
    {"strip", strip, true, 1, ""},
    {"lstrip", lstrip, true, 1, ""},
    {"rstrip", rstrip, true, 1, ""},
    {"upper", upper, true, 0, ""},
    {"lower", lower, true, 0, ""},
    {"capitalize", capitalize, true, 0, ""},
    {"startswith", startswith, true, 1, ""},
    {"endswith", endswith, true, 1, ""},
    {"split", split, true, 2, "sep maxsplit"},
    {"replace", replace, true, 2, ""},
    {"join", join_method, true, 1, ""},
};

static const struct builtin mapping_methods[] = {
    {"get", chat_get_item, false, 2, ""},
    {"items", chat_items, false, 0, ""},
    {"keys", as_list, false, 0, ""},
    {"values", chat_values, false, 0, ""},
};

/* The number of a word in a list of words, or UINT32_MAX. */
static uint32_t find_word(const char *words, struct chat_string word) {
    for (uint32_t i = 0; *words != 0; i++) {
        size_t n = strcspn(words, " ");
        if (n == word.size && memcmp(words, word.data, n) == 0)
            return i;
        words += n + (words[n] == ' ');
    }
    return UINT32_MAX;
}

/* Puts every argument at the place of its parameter. */
static bool bind(const struct chat_call *c, const struct builtin *b, struct chat_arguments *bound) {
    const struct chat_arguments *given = c->arguments;
    *bound = (struct chat_arguments){.n = 0};
    for (uint32_t k = 0; k < given->n; k++) {
        struct chat_string keyword = given->keywords[k];
        uint32_t at = keyword.size > 0 ? find_word(b->parameters, keyword) : k;
        bool repeated = at < bound->n && bound->values[at].kind != CHAT_VALUE_UNDEFINED;
        if (at >= b->max_arguments || repeated) {
            chat_refuse(c->r, c->line,
                        keyword.size > 0 ? "gives an unsupported keyword argument to"
                                         : "gives too many arguments to",
                        c->name);
            return false;
        }
        bound->values[at] = given->values[k];
        bound->n = at + 1 > bound->n ? at + 1 : bound->n;
    }
    return true;
}

static struct chat_value call_builtin(const struct builtin *table, size_t n, const char *unknown,
                                      const struct chat_call *c) {
    for (size_t i = 0; i < n; i++) {
        struct chat_arguments bound;
        struct chat_call call = *c;
        if (!chat_equals(c->name, table[i].name))
            continue;
        call.arguments = &bound;
        return bind(c, &table[i], &bound) ? table[i].fn(&call) : (struct chat_value){0};
    }
    return chat_refuse(c->r, c->line, unknown, c->name);
}

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

struct chat_value chat_apply_filter(struct chat_render *r, const struct chat_node *node,
                                    const struct chat_value *value,
                                    const struct chat_arguments *arguments) {
    struct chat_value text;
    struct chat_call c = {r, node->line, node->text, value, arguments};
    for (size_t i = 0; i < COUNT(filters); i++) {
        if (filters[i].on_strings && chat_equals(node->text, filters[i].name) &&
            value->kind != CHAT_VALUE_STRING) {
            text = chat_text(chat_to_string(r, node->line, value));
            c.value = &text;
        }
    }
    return call_builtin(filters, COUNT(filters), "uses the unsupported filter", &c);
}

struct chat_value chat_apply_test(struct chat_render *r, const struct chat_node *node,
                                  const struct chat_value *value,
                                  const struct chat_arguments *arguments) {
    struct chat_call c = {r, node->line, node->text, value, arguments};
    return call_builtin(tests, COUNT(tests), "uses the unsupported test", &c);
}

struct chat_value chat_call_method(struct chat_render *r, uint32_t line, struct chat_string name,
                                   const struct chat_value *value,
                                   const struct chat_arguments *arguments) {
    struct chat_call c = {r, line, name, value, arguments};
    if (value->kind == CHAT_VALUE_MAPPING)
        return call_builtin(mapping_methods, COUNT(mapping_methods), "calls the unsupported method",
                            &c);
    if (value->kind != CHAT_VALUE_STRING)
        return chat_refuse(r, line, "calls the unsupported method", name);
    return call_builtin(methods, COUNT(methods), "calls the unsupported method", &c);
}
