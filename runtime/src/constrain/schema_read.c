/* schema_read.c - a JSON schema as a grammar over bytes: the subset of rsr_constraint.h.
 *
 * Every schema has one form, which decides the keywords that it may have. The table `keywords`
 * lists them all. A keyword that is not in the table, or does not belong to the form, is refused
 * with its place.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "byte_grammar.h"
#include "chat/chat_eval.h"
#include "host/c_locale.h"
#include "host/stack.h"

#define MAX_OPEN 64u /* arrays and $refs */
#define MAX_MAP_KEY 64u
#define STACK_BYTES ((size_t)48 << 10)

/* A rule for each value that a $ref names. */
struct named {
    const struct chat_value *value;
    struct chat_string pointer;
    uint32_t rule;
};

struct schema {
    struct rsr_grammar *g;
    const struct chat_value *root;
    struct rsr_bytes place; /* JSON pointer to what is being read */
    struct named *named;
    size_t n_named;
    uint32_t character; /* of strings */
};

/* ---- Places and refusals --------------------------------------------------------------------- */

static uint32_t no_memory(struct schema *s) {
    return rsr_grammar_fail(s->g, RSR_ERR_MEMORY, "no memory for a constraint");
}

/* "#/properties/age: <sentence>", the place cut if it is long. */
static uint32_t refuse(struct schema *s, const char *what, struct chat_string name) {
    const int n = name.size < 60 ? (int)name.size : 60;
    const size_t size = s->place.size, shown = size < 200 ? size : 200;
    return rsr_grammar_fail(s->g, RSR_ERR_ARGUMENT, "the schema's #%s%.*s: %s%s%.*s%s",
                            shown < size ? "..." : "", (int)shown,
                            shown > 0 ? s->place.data + size - shown : "", what, n > 0 ? " \"" : "",
                            n, n > 0 ? name.data : "", n > 0 ? "\"" : "");
}

static uint32_t refuse_plain(struct schema *s, const char *what) {
    return refuse(s, what, CHAT_STRING(""));
}

/* Appends a member to the place; returns the argument for leave(). */
static size_t enter(struct schema *s, struct chat_string name) {
    const size_t before = s->place.size;
    bool ok = rsr_bytes_append(&s->place, "/", 1);
    for (size_t i = 0; ok && i < name.size; i++) {
        const char *escaped = name.data[i] == '~' ? "~0" : name.data[i] == '/' ? "~1" : NULL;
        ok = escaped ? rsr_bytes_append(&s->place, escaped, 2)
                     : rsr_bytes_append(&s->place, &name.data[i], 1);
    }
    if (!ok)
        no_memory(s);
    return before;
}

static size_t enter_index(struct schema *s, size_t i) {
    char text[24];
    snprintf(text, sizeof(text), "%zu", i);
    return enter(s, (struct chat_string){text, strlen(text), NULL});
}

static void leave(struct schema *s, size_t before) {
    s->place.size = before;
}

/* ---- Values as texts ------------------------------------------------------------------------- */

static bool append(struct rsr_bytes *out, const char *text) {
    return rsr_bytes_append(out, text, strlen(text));
}

static bool append_string(struct rsr_bytes *out, struct chat_string string) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    bool ok = append(out, "\"");
    for (size_t i = 0; ok && i < string.size; i++) {
        const char c = string.data[i], *known = c ? strchr(from, c) : NULL;
        char text[8] = {'\\', known ? to[known - from] : 'u', 0};
        if (!known && (uint8_t)c < 0x20)
            snprintf(text, sizeof(text), "\\u%04x", (unsigned)c);
        ok = known || (uint8_t)c < 0x20 ? append(out, text) : rsr_bytes_append(out, &c, 1);
    }
    return ok && append(out, "\"");
}

/* Python compares floats with integers exactly, so a large float is written with all its digits. */
static bool append_number(struct rsr_bytes *out, const struct chat_value *v) {
    char text[CHAT_FLOAT_BYTES];
    int64_t whole;
    if (v->kind == CHAT_VALUE_FLOAT && (fabs(v->number) < 0x1p53 || !chat_as_integer(v, &whole)))
        chat_print_float(v->number, text);
    else
        snprintf(text, sizeof(text), "%" PRId64, v->kind == CHAT_VALUE_FLOAT ? whole : v->integer);
    return append(out, text);
}

static bool append_value(struct rsr_bytes *out, const struct chat_value *v) {
    const bool is_mapping = v->kind == CHAT_VALUE_MAPPING;
    bool ok;
    if (v->kind == CHAT_VALUE_NONE)
        return append(out, "null");
    if (v->kind == CHAT_VALUE_BOOL)
        return append(out, v->integer ? "true" : "false");
    if (v->kind == CHAT_VALUE_STRING)
        return append_string(out, v->string);
    if (v->kind != CHAT_VALUE_LIST && !is_mapping)
        return append_number(out, v);
    ok = append(out, is_mapping ? "{" : "[");
    for (size_t i = 0; ok && i < v->n_items; i++) {
        ok = i == 0 || append(out, ",");
        if (is_mapping)
            ok = ok && append_string(out, v->items[2 * i].string) && append(out, ":");
        ok = ok && append_value(out, &v->items[is_mapping ? 2 * i + 1 : i]);
    }
    return ok && append(out, is_mapping ? "}" : "]");
}

/* ---- Pieces ---------------------------------------------------------------------------------- */

/* A node for the text `before`, then a string's JSON (if any), then `after`, and perhaps a
 * space. */
static uint32_t text_node(struct schema *s, const char *before, const struct chat_string *string,
                          const char *after, bool space, uint32_t next) {
    struct rsr_bytes text = {0};
    const uint32_t first = rsr_grammar_state(s->g);
    struct rsr_byte_text items = {.state = first};
    if (!append(&text, before) || (string && !append_string(&text, *string)) ||
        !append(&text, after))
        no_memory(s);
    rsr_byte_text_add(s->g, &items, text.data, text.size);
    if (space)
        rsr_byte_text_add_space(s->g, &items);
    rsr_byte_text_end(s->g, &items);
    rsr_bytes_free(&text);
    return rsr_grammar_leaf(s->g, first, 1, 1, next);
}

static uint32_t fixed(struct schema *s, const char *text, uint32_t next) {
    return text_node(s, text, NULL, "", false, next);
}

static uint32_t comma(struct schema *s, uint32_t next) {
    return text_node(s, ",", NULL, "", true, next);
}

static uint32_t string_node(struct schema *s, uint32_t min, uint32_t max, uint32_t next) {
    if (s->character == 0)
        s->character = rsr_byte_json_character(s->g);
    next = fixed(s, "\"", next);
    return fixed(s, "\"", rsr_grammar_leaf(s->g, s->character, min, max, next));
}

/* ---- Keywords -------------------------------------------------------------------------------- */

enum form {
    OBJECT = 1,
    ARRAY = 2,
    STRING = 4,
    NUMBER = 8,
    INTEGER = 16,
    BOOLEAN = 32,
    NOTHING = 64,
    TYPES = 127,
    VALUES = 128, /* enum or const */
    ANY_OF = 256,
    REFERENCE = 512,
    ALL = 1023,
    ROOT = 1024 /* in any form, but only there */
};

static const struct {
    const char *name;
    unsigned forms;
} keywords[] = {
    {"type", TYPES | VALUES},
    {"enum", VALUES},
    {"const", VALUES},
    {"anyOf", ANY_OF},
    {"$ref", REFERENCE},
    {"properties", OBJECT},
    {"required", OBJECT},
    {"additionalProperties", OBJECT},
    {"items", ARRAY},
    {"minItems", ARRAY},
    {"maxItems", ARRAY},
    {"minLength", STRING},
    {"maxLength", STRING},
    {"minimum", NUMBER | INTEGER},
    {"maximum", NUMBER | INTEGER},
    {"exclusiveMinimum", NUMBER | INTEGER},
    {"exclusiveMaximum", NUMBER | INTEGER},
    {"title", ALL},
    {"description", ALL},
    {"default", ALL},
    {"examples", ALL},
    {"$comment", ALL},
    {"deprecated", ALL},
    {"readOnly", ALL},
    {"writeOnly", ALL},
    {"$defs", ALL},
    {"definitions", ALL},
    {"$schema", ROOT},
    {"$id", ROOT},
};

static const struct {
    const char *name;
    enum form form;
} types[] = {
    {"object", OBJECT},   {"array", ARRAY},     {"string", STRING}, {"number", NUMBER},
    {"integer", INTEGER}, {"boolean", BOOLEAN}, {"null", NOTHING},
};
#define N_TYPES (sizeof(types) / sizeof(types[0]))

static const struct chat_value *member(const struct chat_value *v, const char *name) {
    return chat_look_up(v, (struct chat_string){name, strlen(name), NULL});
}

static unsigned type_form(struct schema *s, const struct chat_value *name) {
    for (size_t i = 0; i < N_TYPES; i++)
        if (name->kind == CHAT_VALUE_STRING && chat_equals(name->string, types[i].name))
            return types[i].form;
    return refuse(s, "\"type\" is no type of JSON:", name->string);
}

/* The types that a schema lists; without any, all. */
static unsigned listed_types(struct schema *s, const struct chat_value *v) {
    const struct chat_value *type = member(v, "type");
    unsigned forms = 0;
    if (!type)
        return TYPES;
    if (type->kind != CHAT_VALUE_LIST)
        return type_form(s, type);
    for (size_t i = 0; i < type->n_items; i++)
        forms |= type_form(s, &type->items[i]);
    return forms != 0 ? forms : refuse_plain(s, "\"type\" is an empty array");
}

/* The form of a schema; a schema with types has one bit for each type. */
static unsigned form_of(struct schema *s, const struct chat_value *v) {
    const struct chat_value *values = member(v, "enum");
    if (member(v, "$ref"))
        return REFERENCE;
    if (member(v, "anyOf"))
        return ANY_OF;
    if (values && member(v, "const"))
        return refuse_plain(s, "\"enum\" and \"const\" together; remove one");
    if (values || member(v, "const"))
        return VALUES;
    if (member(v, "type"))
        return listed_types(s, v);
    return 0; /* refused later: an unknown keyword among them may say what was meant */
}

static void check_keyword(struct schema *s, const struct chat_value *v, unsigned form,
                          struct chat_string name) {
    for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
        if (chat_equals(name, keywords[i].name)) {
            if (keywords[i].forms == ROOT ? v != s->root : form && !(form & keywords[i].forms))
                refuse(s,
                       keywords[i].forms == ROOT ? "in the middle of a schema there is"
                                                 : "its type or other keywords do not go with",
                       name);
            return;
        }
    refuse(s, "the constraint knows no keyword", name);
}

static unsigned check_form(struct schema *s, const struct chat_value *v) {
    if (v->kind != CHAT_VALUE_MAPPING)
        return refuse_plain(s, "a schema must be an object here");
    const unsigned form = form_of(s, v);
    for (size_t i = 0; i < v->n_items && s->g->status == RSR_OK; i++)
        check_keyword(s, v, form, v->items[2 * i].string);
    if (form == 0)
        return refuse_plain(
            s, "a schema without \"type\", \"enum\", \"const\", \"anyOf\" or \"$ref\" allows "
               "anything; say what");
    return form;
}

/* Reads a count, which is at least 0 and may be written 1.0. */
static uint32_t count_of(struct schema *s, const struct chat_value *v, const char *name,
                         uint32_t otherwise) {
    const struct chat_value *count = member(v, name);
    int64_t n;
    if (!count)
        return otherwise;
    if ((count->kind != CHAT_VALUE_INTEGER && count->kind != CHAT_VALUE_FLOAT) ||
        !chat_as_integer(count, &n) || chat_as_double(count) != (double)n || n < 0 ||
        n >= RSR_GRAMMAR_NO_MAX)
        return refuse(s, "no count from 0 to 4294967294 is",
                      (struct chat_string){name, strlen(name), NULL});
    return (uint32_t)n;
}

static bool counts_of(struct schema *s, const struct chat_value *v, const char *min_name,
                      const char *max_name, uint32_t counts[2]) {
    counts[0] = count_of(s, v, min_name, 0);
    counts[1] = count_of(s, v, max_name, RSR_GRAMMAR_NO_MAX);
    if (counts[0] > counts[1])
        refuse(s, "nothing is that long: below the minimum is",
               (struct chat_string){max_name, strlen(max_name), NULL});
    return s->g->status == RSR_OK;
}

/* ---- Forms ----------------------------------------------------------------------------------- */

static uint32_t schema_node(struct schema *s, const struct chat_value *v, uint32_t next);

static uint32_t member_node(struct schema *s, const struct chat_value *v, struct chat_string name,
                            uint32_t next) {
    const size_t before = enter(s, name);
    const uint32_t node = schema_node(s, v, next);
    leave(s, before);
    return node;
}

/* A bound of a number; if both keywords are there, the narrower one. */
static struct rsr_number_bound bound_of(struct schema *s, const struct chat_value *v,
                                        const char *name, const char *exclusive_name, int sign) {
    const struct chat_value *bound = member(v, name), *exclusive = member(v, exclusive_name);
    struct rsr_number_bound result = {0};
    struct rsr_bytes text = {0};
    for (int i = 0; i < 2; i++) {
        const struct chat_value *one = i == 0 ? bound : exclusive;
        if (one && one->kind != CHAT_VALUE_INTEGER && one->kind != CHAT_VALUE_FLOAT) {
            refuse(s, "no number is",
                   (struct chat_string){i == 0 ? name : exclusive_name,
                                        strlen(i == 0 ? name : exclusive_name), NULL});
            return result;
        }
    }
    result.is_set = bound || exclusive;
    result.is_exclusive = exclusive && (!bound || sign * chat_order_numbers(exclusive, bound) >= 0);
    if (result.is_set) {
        if (!append_number(&text, result.is_exclusive ? exclusive : bound) ||
            !rsr_bytes_append(&text, "", 1))
            no_memory(s);
        else
            result.value = rsr_decimal_read(text.data);
    }
    rsr_bytes_free(&text);
    return result;
}

static uint32_t number_node(struct schema *s, const struct chat_value *v, bool is_integer,
                            uint32_t next) {
    const struct rsr_number_bound min = bound_of(s, v, "minimum", "exclusiveMinimum", 1),
                                  max = bound_of(s, v, "maximum", "exclusiveMaximum", -1);
    bool fits = true;
    const int decimals = rsr_number_decimals(&min, &max, &fits);
    if (!is_integer && !fits && s->g->status == RSR_OK)
        return rsr_grammar_fail(s->g, RSR_ERR_ARGUMENT,
                                "the schema's #%.*s: a bound has more than %d digits after the "
                                "point, the limit with bounds",
                                s->place.size < 200 ? (int)s->place.size : 200,
                                s->place.size > 0 ? s->place.data : "", decimals);
    const uint32_t first = s->g->status != RSR_OK ? 0
                           : is_integer           ? rsr_byte_integer(s->g, &min, &max)
                                                  : rsr_byte_number(s->g, &min, &max);
    if (first == 0)
        return refuse_plain(s, is_integer ? "no integer of at most 18 digits is within the bounds"
                                          : "no number as the constraint writes them is within "
                                            "the bounds");
    return rsr_grammar_leaf(s->g, first, 1, 1, next);
}

static uint32_t array_node(struct schema *s, const struct chat_value *v, uint32_t next) {
    const struct chat_value *items = member(v, "items");
    uint32_t counts[2];
    if (!items)
        return refuse_plain(s, "an array without \"items\" allows anything; say what");
    if (!counts_of(s, v, "minItems", "maxItems", counts))
        return 0;
    const uint32_t item = member_node(s, items, CHAT_STRING("items"), RSR_GRAMMAR_END_NODE);
    return fixed(
        s, "[",
        rsr_grammar_loop(s->g, item, comma(s, item), counts[0], counts[1], fixed(s, "]", next)));
}

/* {"key": value, ...} */
static uint32_t map_node(struct schema *s, const struct chat_value *schema, uint32_t next) {
    uint32_t pair =
        member_node(s, schema, CHAT_STRING("additionalProperties"), RSR_GRAMMAR_END_NODE);
    pair = string_node(s, 0, MAX_MAP_KEY, text_node(s, ":", NULL, "", true, pair));
    return fixed(
        s, "{",
        rsr_grammar_loop(s->g, pair, comma(s, pair), 0, RSR_GRAMMAR_NO_MAX, fixed(s, "}", next)));
}

/* Whether each name of `required` is a property; fills `is_required`. */
static void read_required(struct schema *s, const struct chat_value *v,
                          const struct chat_value *properties, bool *is_required) {
    const struct chat_value *required = member(v, "required");
    if (required && required->kind != CHAT_VALUE_LIST)
        refuse_plain(s, "\"required\" is no array");
    for (size_t i = 0; required && i < required->n_items && s->g->status == RSR_OK; i++) {
        const struct chat_string name = required->items[i].string;
        const struct chat_value *found =
            required->items[i].kind == CHAT_VALUE_STRING ? chat_look_up(properties, name) : NULL;
        if (found)
            is_required[(found - properties->items) / 2] = true;
        else
            refuse(s, "\"required\" names something that is not in \"properties\":", name);
    }
}

/* Builds from the last property to the first. In `none` no property came yet; in `some` one did, so
 * a comma comes first. Both continue with the same node of the value. */
static uint32_t properties_node(struct schema *s, const struct chat_value *properties,
                                const bool *is_required, uint32_t next) {
    uint32_t some = fixed(s, "}", next), none = some;
    for (size_t i = properties->n_items; i-- > 0 && s->g->status == RSR_OK;) {
        const struct chat_string name = properties->items[2 * i].string;
        uint32_t node = member_node(s, &properties->items[2 * i + 1], name, some);
        node = text_node(s, "", &name, ":", true, node);
        none = is_required[i] ? node : rsr_grammar_split(s->g, node, none);
        node = comma(s, node);
        some = is_required[i] ? node : rsr_grammar_split(s->g, node, some);
    }
    return fixed(s, "{", none);
}

static uint32_t object_node(struct schema *s, const struct chat_value *v, uint32_t next) {
    static const struct chat_value empty = {.kind = CHAT_VALUE_MAPPING};
    const struct chat_value *properties = member(v, "properties"),
                            *more = member(v, "additionalProperties");
    const bool is_closed = more && more->kind == CHAT_VALUE_BOOL && !more->integer;
    if (more && more->kind == CHAT_VALUE_BOOL && more->integer)
        return refuse_plain(s, "\"additionalProperties\": true allows anything; give a schema, or "
                               "false");
    if (properties && properties->kind != CHAT_VALUE_MAPPING)
        return refuse_plain(s, "\"properties\" is no object");
    if (!properties && !more)
        return refuse_plain(s, "an object without \"properties\" allows anything; say what");
    if (!properties)
        properties = &empty;
    if (more && !is_closed && properties->n_items > 0)
        return refuse_plain(s, "\"additionalProperties\" with a schema beside \"properties\"");
    bool *is_required = calloc(properties->n_items + 1, sizeof(*is_required));
    if (!is_required)
        return no_memory(s);
    read_required(s, v, properties, is_required);
    uint32_t node;
    if (more && !is_closed) {
        node = map_node(s, more, next);
    } else {
        const size_t before = enter(s, CHAT_STRING("properties"));
        node = properties_node(s, properties, is_required, next);
        leave(s, before);
    }
    free(is_required);
    return node;
}

static uint32_t type_node(struct schema *s, const struct chat_value *v, unsigned form,
                          uint32_t next) {
    uint32_t counts[2];
    switch (form) {
    case OBJECT:
        return object_node(s, v, next);
    case ARRAY:
        return array_node(s, v, next);
    case STRING:
        return counts_of(s, v, "minLength", "maxLength", counts)
                   ? string_node(s, counts[0], counts[1], next)
                   : 0;
    case NUMBER:
    case INTEGER:
        return number_node(s, v, form == INTEGER, next);
    case BOOLEAN:
        return rsr_grammar_split(s->g, fixed(s, "true", next), fixed(s, "false", next));
    default:
        return fixed(s, "null", next);
    }
}

static unsigned form_of_value(const struct chat_value *v) {
    static const unsigned forms[] = {/* types of JSON */
                                     [CHAT_VALUE_NONE] = NOTHING,
                                     [CHAT_VALUE_BOOL] = BOOLEAN,
                                     [CHAT_VALUE_INTEGER] = NUMBER | INTEGER,
                                     [CHAT_VALUE_FLOAT] = NUMBER,
                                     [CHAT_VALUE_STRING] = STRING,
                                     [CHAT_VALUE_LIST] = ARRAY,
                                     [CHAT_VALUE_MAPPING] = OBJECT};
    const bool is_whole = v->kind == CHAT_VALUE_FLOAT && fmod(v->number, 1) == 0;
    return forms[v->kind] | (is_whole ? INTEGER : 0);
}

/* One automaton for the values of enum or const that have a listed type. */
static uint32_t values_node(struct schema *s, const struct chat_value *v, uint32_t next) {
    const struct chat_value *list = member(v, "enum"), *one = member(v, "const");
    const unsigned forms = listed_types(s, v);
    const uint32_t first = rsr_grammar_state(s->g);
    bool found = false;
    if (list && list->kind != CHAT_VALUE_LIST)
        return refuse_plain(s, "\"enum\" is no array");
    for (size_t i = 0; i < (list ? list->n_items : 1) && s->g->status == RSR_OK; i++) {
        const struct chat_value *value = list ? &list->items[i] : one;
        struct rsr_byte_text text = {.state = first};
        struct rsr_bytes bytes = {0};
        if ((forms & form_of_value(value)) != 0) {
            found = true;
            if (!append_value(&bytes, value))
                no_memory(s);
            rsr_byte_text_add(s->g, &text, bytes.data, bytes.size);
            rsr_byte_text_end(s->g, &text);
        }
        rsr_bytes_free(&bytes);
    }
    if (!found)
        return refuse_plain(s, "\"enum\" or \"const\" has no value of the type");
    return rsr_grammar_leaf(s->g, first, 1, 1, next);
}

static uint32_t any_of_node(struct schema *s, const struct chat_value *list, uint32_t next) {
    uint32_t node = 0;
    const size_t before = enter(s, CHAT_STRING("anyOf"));
    if (list->kind != CHAT_VALUE_LIST || list->n_items == 0)
        refuse_plain(s, "\"anyOf\" is no array, or an empty one");
    for (size_t i = list->n_items; i-- > 0 && s->g->status == RSR_OK;) {
        const size_t outside = enter_index(s, i);
        node = rsr_grammar_split(s->g, schema_node(s, &list->items[i], next), node);
        leave(s, outside);
    }
    leave(s, before);
    return node;
}

/* ---- References ------------------------------------------------------------------------------ */

/* The member that the first part of a JSON pointer names, or NULL. */
static const struct chat_value *step_into(const struct chat_value *v, struct chat_string part) {
    size_t index = 0;
    if (v->kind == CHAT_VALUE_LIST) {
        bool is_index = part.size > 0 && part.size < 8;
        for (size_t i = 0; i < part.size && is_index; i++) {
            is_index = part.data[i] >= '0' && part.data[i] <= '9';
            index = 10 * index + (size_t)(part.data[i] - '0');
        }
        return is_index && index < v->n_items ? &v->items[index] : NULL;
    }
    for (size_t i = 0; v->kind == CHAT_VALUE_MAPPING && i < v->n_items; i++) {
        const struct chat_string key = v->items[2 * i].string;
        size_t at = 0, k = 0;
        for (; k < key.size && at < part.size; k++) {
            char c = part.data[at++];
            if (c == '~' && at < part.size)
                c = part.data[at++] == '1' ? '/' : '~';
            if (c != key.data[k])
                break;
        }
        if (k == key.size && at == part.size)
            return &v->items[2 * i + 1];
    }
    return NULL;
}

/* What a $ref names, or NULL after a refusal. */
static const struct chat_value *resolve(struct schema *s, struct chat_string pointer) {
    const struct chat_value *v = s->root;
    size_t at = 1;
    if (pointer.size == 0 || pointer.data[0] != '#' || memchr(pointer.data, '%', pointer.size) ||
        (pointer.size > 1 && pointer.data[1] != '/')) {
        refuse(s, "\"$ref\" is not \"#\" or \"#/...\" of this schema:", pointer);
        return NULL;
    }
    while (v && at < pointer.size) {
        const char *begin = pointer.data + ++at, *end = memchr(begin, '/', pointer.size - at);
        const size_t n = end ? (size_t)(end - begin) : pointer.size - at;
        v = step_into(v, chat_part(pointer, at, n));
        at += n;
    }
    if (!v)
        refuse(s, "\"$ref\" names something that does not exist:", pointer);
    return v;
}

static uint32_t reference_node(struct schema *s, const struct chat_value *ref, uint32_t next) {
    if (ref->kind != CHAT_VALUE_STRING)
        return refuse_plain(s, "\"$ref\" is no string");
    const struct chat_value *value = resolve(s, ref->string);
    size_t i = 0;
    if (!value)
        return 0;
    while (i < s->n_named && s->named[i].value != value)
        i++;
    if (i == s->n_named) {
        struct named *grown = realloc(s->named, (i + 1) * sizeof(*grown));
        if (!grown)
            return no_memory(s);
        s->named = grown;
        grown[s->n_named++] =
            (struct named){value, chat_behind(ref->string, 1), rsr_grammar_rule(s->g)};
    }
    return rsr_grammar_call(s->g, s->named[i].rule, next);
}

/* ---- Schema ---------------------------------------------------------------------------------- */

static uint32_t schema_node(struct schema *s, const struct chat_value *v, uint32_t next) {
    const unsigned form = s->g->status == RSR_OK ? check_form(s, v) : 0;
    uint32_t node = 0;
    if (s->g->status != RSR_OK)
        return 0;
    if (form == REFERENCE)
        return reference_node(s, member(v, "$ref"), next);
    if (form == ANY_OF)
        return any_of_node(s, member(v, "anyOf"), next);
    if (form == VALUES)
        return values_node(s, v, next);
    for (size_t i = 0; i < N_TYPES && s->g->status == RSR_OK; i++)
        if ((form & types[i].form) != 0)
            node = rsr_grammar_split(s->g, type_node(s, v, types[i].form, next), node);
    return node;
}

/* The root is rule 0; reading a rule may append further rules for its $refs. */
static void read_rules(struct schema *s) {
    s->named = calloc(1, sizeof(*s->named));
    if (!s->named) {
        no_memory(s);
        return;
    }
    s->named[s->n_named++] = (struct named){s->root, CHAT_STRING(""), rsr_grammar_rule(s->g)};
    for (size_t i = 0; i < s->n_named && s->g->status == RSR_OK; i++) {
        const struct chat_string place = s->named[i].pointer;
        s->place.size = 0;
        if (!rsr_bytes_append(&s->place, place.data, place.size))
            no_memory(s);
        const uint32_t node = schema_node(s, s->named[i].value, RSR_GRAMMAR_END_NODE);
        if (s->g->status == RSR_OK)
            s->g->rules[s->named[i].rule] = node;
    }
}

rsr_status rsr_schema_read(const char *text, size_t n_bytes, struct rsr_grammar *g,
                           rsr_error *err) {
    rsr_grammar_begin(g, MAX_OPEN, err);
    if (n_bytes > RSR_GRAMMAR_MAX_TEXT || !rsr_utf8_is_valid(text, n_bytes)) {
        rsr_grammar_fail(g, RSR_ERR_ARGUMENT, "the schema is longer than 1 MiB, or no UTF-8");
        return g->status;
    }
    struct chat_render render = {
        .arena = {.limit = SIZE_MAX / 2}, .stack_end = rsr_stack_end(STACK_BYTES), .err = err};
    const locale_t locale = rsr_enter_c_locale();
    const struct chat_value root =
        chat_read_json(&render, "the schema's", (struct chat_string){text, n_bytes, NULL});
    struct schema s = {.g = g, .root = &root};
    if (render.status == RSR_OK)
        read_rules(&s);
    else
        g->status = render.status;
    rsr_leave_c_locale(locale);
    free(s.named);
    rsr_bytes_free(&s.place);
    chat_arena_free(&render.arena);
    return rsr_grammar_finish(g);
}
