/* chat_builtin.h - what the files with filters, tests and methods of chat templates share. */
#ifndef RSR_CHAT_BUILTIN_H
#define RSR_CHAT_BUILTIN_H

#include "chat_value.h"

/* What a built-in works on. Arguments given by keyword are at the place of their parameter; missing
 * arguments are undefined. */
struct chat_call {
    struct chat_render *r;
    uint32_t line;
    struct chat_string name;
    const struct chat_value *value;
    const struct chat_arguments *arguments;
};

typedef struct chat_value chat_builtin_fn(const struct chat_call *);

/* "applies to a value of the wrong type", with the built-in's name. */
struct chat_value chat_wrong_type(const struct chat_call *c);
/* Argument i, or NULL if it was not given. */
const struct chat_value *chat_argument(const struct chat_call *c, uint32_t i);
bool chat_string_argument(const struct chat_call *c, uint32_t i, struct chat_string *text);

/* chat_mapping.c */
struct chat_value chat_get_item(const struct chat_call *c);
struct chat_value chat_items(const struct chat_call *c);
struct chat_value chat_values(const struct chat_call *c);

/* chat_template_select.c */
struct chat_value chat_items_filter(const struct chat_call *c);
struct chat_value chat_map(const struct chat_call *c);
struct chat_value chat_select(const struct chat_call *c);
struct chat_value chat_reject(const struct chat_call *c);
struct chat_value chat_selectattr(const struct chat_call *c);
struct chat_value chat_rejectattr(const struct chat_call *c);

/* chat_template_numbers.c */
struct chat_value chat_to_integer(const struct chat_call *c);
struct chat_value chat_to_float(const struct chat_call *c);
struct chat_value chat_round(const struct chat_call *c);
struct chat_value chat_absolute(const struct chat_call *c);
struct chat_value chat_format_filter(const struct chat_call *c);

/* chat_template_json.c */
struct chat_value chat_tojson(const struct chat_call *c);

#endif
