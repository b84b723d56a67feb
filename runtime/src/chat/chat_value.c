/* chat_value.c - values of chat templates: truth, equality, printing, strings by character. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "chat_value.h"
#include "host/stack.h"

struct chat_value chat_refuse(struct chat_render *r, uint32_t line, const char *what,
                              struct chat_string name) {
    int n = name.size < 40 ? (int)name.size : 40;
    if (r->status == RSR_OK)
        r->status = rsr_fail(r->err, RSR_ERR_TEXT, "the chat template %s%s%.*s%s in line %u", what,
                             n ? " '" : "", n, n ? name.data : "", n ? "'" : "", line);
    return (struct chat_value){0};
}

struct chat_value chat_no_memory(struct chat_render *r) {
    if (r->status == RSR_OK)
        r->status = chat_refuse_memory(&r->arena, r->err);
    return (struct chat_value){0};
}

bool chat_count_steps(struct chat_render *r, uint32_t line, uint64_t n) {
    if (r->status == RSR_OK && rsr_is_below(r->stack_end))
        chat_refuse(r, line, "nests too deeply for this thread's stack", CHAT_STRING(""));
    if (r->status != RSR_OK)
        return false;
    r->n_steps += n;
    if (r->n_steps > CHAT_MAX_STEPS)
        chat_refuse(r, line, "takes too many steps", CHAT_STRING(""));
    return r->status == RSR_OK;
}

void chat_charge(struct chat_render *r, uint32_t line, const struct chat_value *v) {
    chat_count_steps(r, line, (v->string.size + v->weight) / CHAT_BYTES_PER_STEP);
}

struct chat_value chat_integer(int64_t value) {
    return (struct chat_value){.kind = CHAT_VALUE_INTEGER, .integer = value};
}

struct chat_value chat_float(double value) {
    return (struct chat_value){.kind = CHAT_VALUE_FLOAT, .number = value};
}

struct chat_value chat_bool(bool value) {
    return (struct chat_value){.kind = CHAT_VALUE_BOOL, .integer = value};
}

struct chat_value chat_text(struct chat_string text) {
    return (struct chat_value){.kind = CHAT_VALUE_STRING, .string = text};
}

struct chat_value *chat_new_list(struct chat_render *r, size_t n, struct chat_value *list) {
    struct chat_value *items =
        n < SIZE_MAX / sizeof(*items) - 1 ? chat_alloc(&r->arena, (n + 1) * sizeof(*items)) : NULL;
    if (!items) {
        chat_no_memory(r);
        return NULL;
    }
    *list = (struct chat_value){.kind = CHAT_VALUE_LIST, .items = items, .n_items = n, .weight = n};
    return items;
}

struct chat_value *chat_new_mapping(struct chat_render *r, size_t n, struct chat_value *mapping) {
    struct chat_value *items = n < SIZE_MAX / 2 ? chat_new_list(r, 2 * n, mapping) : NULL;
    mapping->kind = CHAT_VALUE_MAPPING;
    mapping->n_items = items ? n : 0;
    return items;
}

static bool has_items(const struct chat_value *v) {
    return v->kind == CHAT_VALUE_LIST || v->kind == CHAT_VALUE_MAPPING;
}

struct chat_value chat_close_list(struct chat_render *r, uint32_t line, struct chat_value list) {
    const size_t n = list.kind == CHAT_VALUE_MAPPING ? 2 * list.n_items : list.n_items;
    list.integer = 0;
    list.weight = n;
    for (size_t i = 0; i < n; i++) {
        const struct chat_value *inside = &list.items[i];
        list.weight += inside->weight;
        if (has_items(inside) && inside->integer >= list.integer)
            list.integer = inside->integer + 1;
        if (list.integer > CHAT_MAX_LIST_DEPTH || list.weight > CHAT_MAX_LIST_WEIGHT)
            return chat_refuse(r, line, "nests lists too deeply", CHAT_STRING(""));
    }
    return list;
}

bool chat_is_true(const struct chat_value *v) {
    switch (v->kind) {
    case CHAT_VALUE_UNDEFINED:
    case CHAT_VALUE_NONE:
        return false;
    case CHAT_VALUE_BOOL:
    case CHAT_VALUE_INTEGER:
        return v->integer != 0;
    case CHAT_VALUE_FLOAT:
        return v->number != 0;
    case CHAT_VALUE_STRING:
        return v->string.size > 0;
    case CHAT_VALUE_LIST:
    case CHAT_VALUE_MAPPING:
        return v->n_items > 0;
    case CHAT_VALUE_GENERATOR:
    case CHAT_VALUE_NAMESPACE:
    case CHAT_VALUE_LOOP:
    case CHAT_VALUE_MACRO:
        break;
    }
    return true;
}

const struct chat_value *chat_look_up(const struct chat_value *mapping, struct chat_string key) {
    for (size_t i = 0; i < mapping->n_items; i++)
        if (chat_same(mapping->items[2 * i].string, key))
            return &mapping->items[2 * i + 1];
    return NULL;
}

bool chat_is_method_of_mapping(struct chat_string name) {
    static const char *const methods[] = {"clear",      "copy",   "fromkeys", "get",
                                          "items",      "keys",   "pop",      "popitem",
                                          "setdefault", "update", "values"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (chat_equals(name, methods[i]))
            return true;
    return false;
}

/* Compares mappings; the order of keys does not matter. */
static bool mappings_equal(struct chat_render *r, uint32_t line, const struct chat_value *a,
                           const struct chat_value *b) {
    bool equal = a->n_items == b->n_items;
    for (size_t i = 0; equal && i < a->n_items; i++) {
        const struct chat_value *other = chat_look_up(b, a->items[2 * i].string);
        equal = other && chat_count_steps(r, line, 1 + b->n_items / CHAT_BYTES_PER_STEP) &&
                chat_values_equal(r, line, &a->items[2 * i + 1], other);
    }
    return equal;
}

bool chat_values_equal(struct chat_render *r, uint32_t line, const struct chat_value *a,
                       const struct chat_value *b) {
    if (chat_is_number(a) && chat_is_number(b))
        return chat_order_numbers(a, b) == 0;
    if (a->kind != b->kind || !chat_count_steps(r, line, 1 + a->string.size / CHAT_BYTES_PER_STEP))
        return false;
    if (a->kind == CHAT_VALUE_STRING)
        return chat_same(a->string, b->string);
    if (a->kind == CHAT_VALUE_MAPPING)
        return mappings_equal(r, line, a, b);
    if (a->kind == CHAT_VALUE_LIST) {
        bool equal = a->n_items == b->n_items;
        for (size_t i = 0; equal && i < a->n_items; i++)
            equal = chat_values_equal(r, line, &a->items[i], &b->items[i]);
        return equal;
    }
    if (a->kind == CHAT_VALUE_MACRO)
        return a->macro == b->macro;
    return a->kind == CHAT_VALUE_UNDEFINED || a->kind == CHAT_VALUE_NONE;
}

struct chat_string chat_to_string(struct chat_render *r, uint32_t line,
                                  const struct chat_value *v) {
    char *digits;
    switch (v->kind) {
    case CHAT_VALUE_UNDEFINED:
        return CHAT_STRING("");
    case CHAT_VALUE_NONE:
        return CHAT_STRING("None");
    case CHAT_VALUE_BOOL:
        return v->integer ? CHAT_STRING("True") : CHAT_STRING("False");
    case CHAT_VALUE_STRING:
        return v->string;
    case CHAT_VALUE_INTEGER:
    case CHAT_VALUE_FLOAT:
        digits = chat_alloc(&r->arena, CHAT_FLOAT_BYTES);
        if (!digits) {
            chat_no_memory(r);
            return CHAT_STRING("");
        }
        if (v->kind == CHAT_VALUE_FLOAT)
            chat_print_float(v->number, digits);
        else
            snprintf(digits, CHAT_FLOAT_BYTES, "%" PRId64, v->integer);
        return (struct chat_string){digits, strlen(digits), NULL};
    case CHAT_VALUE_LIST:
    case CHAT_VALUE_GENERATOR:
    case CHAT_VALUE_MAPPING:
    case CHAT_VALUE_NAMESPACE:
    case CHAT_VALUE_LOOP:
    case CHAT_VALUE_MACRO:
        break;
    }
    chat_refuse(r, line, "prints a list, mapping or macro, which is not supported,",
                CHAT_STRING(""));
    return CHAT_STRING("");
}

struct chat_value chat_concatenate(struct chat_render *r, struct chat_string a,
                                   struct chat_string b) {
    const struct chat_string parts[] = {a, b};
    const bool is_marked = a.marks || b.marks;
    const size_t size = a.size + b.size;
    char *both = chat_alloc(&r->arena, (is_marked ? 2 : 1) * size + 1);
    if (!both)
        return chat_no_memory(r);
    uint8_t *marks = is_marked ? (uint8_t *)both + size : NULL;
    for (size_t i = 0, at = 0; i < 2; at += parts[i++].size) {
        if (parts[i].size > 0)
            memcpy(both + at, parts[i].data, parts[i].size);
        if (parts[i].size > 0 && parts[i].marks)
            memcpy(marks + at, parts[i].marks, parts[i].size);
    }
    return chat_text((struct chat_string){both, size, marks});
}

bool chat_pad_marks(struct rsr_chat_text *text) {
    const size_t n = text->text.size - text->marks.size;
    if (!rsr_bytes_reserve(&text->marks, n))
        return false;
    if (n > 0)
        memset(text->marks.data + text->marks.size, 0, n);
    text->marks.size += n;
    return true;
}

bool chat_put(struct rsr_chat_text *text, struct chat_string part) {
    return (!part.marks ||
            (chat_pad_marks(text) && rsr_bytes_append(&text->marks, part.marks, part.size))) &&
           rsr_bytes_append(&text->text, part.data, part.size);
}

struct chat_value chat_copy(struct chat_render *r, struct rsr_chat_text *text, size_t begin) {
    const bool is_marked = text->marks.size > begin;
    if (text->text.size == begin)
        return chat_text(CHAT_STRING(""));
    if (is_marked && !chat_pad_marks(text))
        return chat_no_memory(r);
    const struct chat_string all = {text->text.data, text->text.size,
                                    is_marked ? (const uint8_t *)text->marks.data : NULL};
    return chat_concatenate(r, chat_behind(all, begin), CHAT_STRING(""));
}

struct chat_value chat_finish(struct chat_render *r, struct rsr_chat_text *text, bool ok) {
    const struct chat_value value = ok ? chat_copy(r, text, 0) : chat_no_memory(r);
    rsr_chat_text_free(text);
    return value;
}

void rsr_chat_text_free(struct rsr_chat_text *text) {
    rsr_bytes_free(&text->text);
    rsr_bytes_free(&text->marks);
}

size_t chat_length(struct chat_string text) {
    size_t n = 0;
    for (size_t i = 0; i < text.size; i++)
        n += ((uint8_t)text.data[i] & 0xc0) != 0x80;
    return n;
}

size_t chat_offset(struct chat_string text, size_t index) {
    size_t at = 0;
    for (; index > 0 && at < text.size; index--)
        at += rsr_utf8_scan(text.data + at, text.size - at).length;
    return at;
}

/* Gives the items of a generator; a second time is refused. */
static struct chat_value go_through(struct chat_render *r, uint32_t line,
                                    const struct chat_value *generator) {
    struct chat_value list = *generator;
    if (*generator->spent)
        return chat_refuse(r, line, "loops twice over the result of map or select",
                           CHAT_STRING(""));
    *generator->spent = true;
    list.kind = CHAT_VALUE_LIST;
    list.spent = NULL;
    return list;
}

struct chat_value chat_as_list(struct chat_render *r, uint32_t line, const struct chat_value *v) {
    struct chat_value list = {.kind = CHAT_VALUE_LIST};
    struct chat_value *items;
    switch (v->kind) {
    case CHAT_VALUE_LIST:
        return *v;
    case CHAT_VALUE_UNDEFINED:
        return list;
    case CHAT_VALUE_GENERATOR:
        return go_through(r, line, v);
    case CHAT_VALUE_MAPPING:
        items = chat_new_list(r, v->n_items, &list);
        for (size_t i = 0; items && i < v->n_items; i++)
            items[i] = v->items[2 * i];
        return list;
    case CHAT_VALUE_NONE:
    case CHAT_VALUE_BOOL:
    case CHAT_VALUE_INTEGER:
    case CHAT_VALUE_FLOAT:
    case CHAT_VALUE_NAMESPACE:
    case CHAT_VALUE_LOOP:
    case CHAT_VALUE_MACRO:
        return chat_refuse(r, line, "loops over a value that is neither a list nor a string",
                           CHAT_STRING(""));
    case CHAT_VALUE_STRING:
        break;
    }
    items = chat_new_list(r, chat_length(v->string), &list);
    for (size_t at = 0, i = 0; items && at < v->string.size; i++) {
        size_t n = rsr_utf8_scan(v->string.data + at, v->string.size - at).length;
        items[i] = chat_text(chat_part(v->string, at, n));
        at += n;
    }
    return list;
}

bool chat_contains(struct chat_string text, struct chat_string part, size_t *at) {
    if (part.size == 0) {
        *at = 0;
        return true;
    }
    const char *found =
        part.size <= text.size ? memmem(text.data, text.size, part.data, part.size) : NULL;
    if (found)
        *at = (size_t)(found - text.data);
    return found != NULL;
}
