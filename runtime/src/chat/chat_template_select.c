/* chat_template_select.c - the filters items, map, select, reject, selectattr and rejectattr.
 *
 * In Jinja they give generators, which have no length and can be iterated once. A second iteration
 * is refused, because Jinja would find nothing.
 */
#include <string.h>

#include "chat_builtin.h"

/* Positions of the keywords of map, after the name of a filter and its arguments. */
enum { MAP_ATTRIBUTE = 4, MAP_DEFAULT = 5 };

/* The items to iterate over; Jinja takes any false value for an empty list here. */
static struct chat_value items_of(const struct chat_call *c) {
    if (!chat_is_true(c->value))
        return (struct chat_value){.kind = CHAT_VALUE_LIST};
    return chat_as_list(c->r, c->line, c->value);
}

static struct chat_value as_generator(const struct chat_call *c, struct chat_value list) {
    list = chat_close_list(c->r, c->line, list);
    if (c->r->status != RSR_OK)
        return list;
    list.kind = CHAT_VALUE_GENERATOR;
    list.spent = chat_alloc(&c->r->arena, sizeof(*list.spent));
    return list.spent ? list : chat_no_memory(c->r);
}

struct chat_value chat_items_filter(const struct chat_call *c) {
    if (c->value->kind == CHAT_VALUE_UNDEFINED)
        return as_generator(c, (struct chat_value){.kind = CHAT_VALUE_LIST});
    return c->value->kind == CHAT_VALUE_MAPPING ? as_generator(c, chat_items(c))
                                                : chat_wrong_type(c);
}

/* "a.b" of an item, as Jinja's attribute getter finds it. */
static struct chat_value get_path(const struct chat_call *c, struct chat_value item,
                                  struct chat_string path) {
    for (;;) {
        size_t n = path.size;
        if (!chat_contains(path, CHAT_STRING("."), &n))
            n = path.size;
        item = chat_item(c->r, c->line, &item, chat_part(path, 0, n));
        if (n == path.size)
            return item;
        path = chat_behind(path, n + 1);
    }
}

/* The arguments from number `from` on, without the first of them, which is a name. */
static struct chat_arguments rest_of(const struct chat_call *c, uint32_t from) {
    struct chat_arguments rest = {.n = 0};
    for (uint32_t i = from + 1; i < c->arguments->n; i++)
        rest.values[rest.n++] = c->arguments->values[i];
    return rest;
}

/* The items that pass a test (or fail it). The test looks at the item, or at its attribute `path`.
 * Argument number `from` names the test; without one, true values pass. */
static struct chat_value filter_items(const struct chat_call *c, const struct chat_string *path,
                                      uint32_t from, bool wanted) {
    struct chat_node test = {.kind = CHAT_TEST, .line = c->line};
    bool has_test = chat_argument(c, from) != NULL;
    if (has_test && !chat_string_argument(c, from, &test.text))
        return chat_wrong_type(c);
    struct chat_arguments rest = rest_of(c, from);
    struct chat_value all = items_of(c), kept = {0};
    struct chat_value *items = chat_new_list(c->r, all.n_items, &kept);
    size_t n = 0;
    for (size_t i = 0; items && i < all.n_items; i++) {
        if (!chat_count_steps(c->r, c->line, 1))
            return (struct chat_value){0};
        struct chat_value v = path ? get_path(c, all.items[i], *path) : all.items[i];
        if (has_test)
            v = chat_apply_test(c->r, &test, &v, &rest);
        if (chat_is_true(&v) == wanted)
            items[n++] = all.items[i];
    }
    kept.n_items = n;
    return as_generator(c, kept);
}

struct chat_value chat_select(const struct chat_call *c) {
    return filter_items(c, NULL, 0, true);
}

struct chat_value chat_reject(const struct chat_call *c) {
    return filter_items(c, NULL, 0, false);
}

struct chat_value chat_selectattr(const struct chat_call *c) {
    struct chat_string path;
    return chat_string_argument(c, 0, &path) ? filter_items(c, &path, 1, true) : chat_wrong_type(c);
}

struct chat_value chat_rejectattr(const struct chat_call *c) {
    struct chat_string path;
    return chat_string_argument(c, 0, &path) ? filter_items(c, &path, 1, false)
                                             : chat_wrong_type(c);
}

/* map(attribute='a.b', default=x), or map('filter', its arguments) */
struct chat_value chat_map(const struct chat_call *c) {
    struct chat_node filter = {.kind = CHAT_FILTER, .line = c->line};
    const struct chat_value *fallback = chat_argument(c, MAP_DEFAULT);
    struct chat_string path;
    bool by_attribute = chat_string_argument(c, MAP_ATTRIBUTE, &path);
    if (chat_argument(c, 0) ? by_attribute || !chat_string_argument(c, 0, &filter.text)
                            : !by_attribute)
        return chat_wrong_type(c);
    struct chat_arguments rest = rest_of(c, 0);
    struct chat_value all = items_of(c), mapped = {0};
    struct chat_value *items = chat_new_list(c->r, all.n_items, &mapped);
    for (size_t i = 0; items && i < all.n_items; i++) {
        if (!chat_count_steps(c->r, c->line, 1))
            return (struct chat_value){0};
        chat_charge(c->r, c->line, &all.items[i]);
        items[i] = by_attribute ? get_path(c, all.items[i], path)
                                : chat_apply_filter(c->r, &filter, &all.items[i], &rest);
        if (by_attribute && fallback && items[i].kind == CHAT_VALUE_UNDEFINED)
            items[i] = *fallback;
    }
    return items ? as_generator(c, mapped) : mapped;
}
