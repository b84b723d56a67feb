/* chat_mapping.c - methods of mappings in chat templates: get, items, keys and values. */
#include "chat_builtin.h"

/* get(key), get(key, default) */
struct chat_value chat_get_item(const struct chat_call *c) {
    const struct chat_value *fallback = chat_argument(c, 1);
    struct chat_string key;
    if (!chat_string_argument(c, 0, &key))
        return chat_wrong_type(c);
    const struct chat_value *found = chat_look_up(c->value, key);
    return found ? *found : fallback ? *fallback : (struct chat_value){.kind = CHAT_VALUE_NONE};
}

struct chat_value chat_items(const struct chat_call *c) {
    struct chat_value list = {0};
    struct chat_value *pairs = chat_new_list(c->r, c->value->n_items, &list);
    for (size_t i = 0; pairs && i < list.n_items; i++) {
        struct chat_value *pair = chat_new_list(c->r, 2, &pairs[i]);
        if (!pair)
            return list;
        pair[0] = c->value->items[2 * i];
        pair[1] = c->value->items[2 * i + 1];
        pairs[i] = chat_close_list(c->r, c->line, pairs[i]);
    }
    return chat_close_list(c->r, c->line, list);
}

struct chat_value chat_values(const struct chat_call *c) {
    struct chat_value list = {0};
    struct chat_value *values = chat_new_list(c->r, c->value->n_items, &list);
    for (size_t i = 0; values && i < list.n_items; i++)
        values[i] = c->value->items[2 * i + 1];
    return chat_close_list(c->r, c->line, list);
}
