/* chat_template_json.c - the filter tojson, as transformers defines it: Python's json.dumps, by
 * default on one line and with characters outside ASCII as they are.
 */
#include <stdio.h>
#include <string.h>

#include "chat_builtin.h"

/* Parameters of tojson, in order. */
enum { ENSURE_ASCII, INDENT };

#define MAX_INDENT 64

struct writer {
    const struct chat_call *call;
    struct rsr_chat_text out;
    int64_t indent; /* spaces for each level; -1: all on one line */
    bool ok;
};

static void write_value(struct writer *w, const struct chat_value *v, uint32_t depth);

static void put(struct writer *w, struct chat_string text) {
    w->ok = w->ok && chat_is_within(&w->call->r->arena, w->out.text.size, text.size) &&
            chat_put(&w->out, text);
}

static void new_line(struct writer *w, uint32_t depth) {
    if (w->indent < 0)
        return;
    put(w, CHAT_STRING("\n"));
    for (uint64_t i = 0; i < depth * (uint64_t)w->indent; i++)
        put(w, CHAT_STRING(" "));
}

static void write_string(struct writer *w, struct chat_string s) {
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    put(w, CHAT_STRING("\""));
    for (size_t i = 0, begin = 0; i <= s.size; i++) {
        uint8_t c = i < s.size ? (uint8_t)s.data[i] : 0;
        if (i < s.size && c >= 0x20 && c != '"' && c != '\\')
            continue;
        put(w, chat_part(s, begin, i - begin));
        begin = i + 1;
        if (i == s.size)
            break;
        char escape[8];
        uint8_t marks[sizeof(escape)];
        memset(marks, s.marks ? s.marks[i] : 0, sizeof(marks));
        int n = snprintf(escape, sizeof(escape), "\\u%04x", c);
        for (size_t k = 0; from[k] != 0; k++)
            if ((uint8_t)from[k] == c)
                n = snprintf(escape, sizeof(escape), "\\%c", to[k]);
        put(w, (struct chat_string){escape, (size_t)n, s.marks ? marks : NULL});
    }
    put(w, CHAT_STRING("\""));
}

/* Writes the separator between values, or what comes after the last one. */
static void separate(struct writer *w, bool more, uint32_t depth) {
    if (more)
        put(w, w->indent < 0 ? CHAT_STRING(", ") : CHAT_STRING(","));
    new_line(w, more ? depth + 1 : depth);
}

static void write_items(struct writer *w, const struct chat_value *v, uint32_t depth) {
    const bool is_mapping = v->kind == CHAT_VALUE_MAPPING;
    put(w, is_mapping ? CHAT_STRING("{") : CHAT_STRING("["));
    if (v->n_items > 0)
        new_line(w, depth + 1);
    for (size_t i = 0; w->ok && i < v->n_items; i++) {
        if (is_mapping) {
            write_string(w, v->items[2 * i].string);
            put(w, CHAT_STRING(": "));
        }
        write_value(w, &v->items[is_mapping ? 2 * i + 1 : i], depth + 1);
        separate(w, i + 1 < v->n_items, depth);
    }
    put(w, is_mapping ? CHAT_STRING("}") : CHAT_STRING("]"));
}

static void write_value(struct writer *w, const struct chat_value *v, uint32_t depth) {
    switch (v->kind) {
    case CHAT_VALUE_NONE:
        put(w, CHAT_STRING("null"));
        return;
    case CHAT_VALUE_BOOL:
        put(w, v->integer ? CHAT_STRING("true") : CHAT_STRING("false"));
        return;
    case CHAT_VALUE_INTEGER:
    case CHAT_VALUE_FLOAT:
        put(w, chat_to_string(w->call->r, w->call->line, v));
        return;
    case CHAT_VALUE_STRING:
        write_string(w, v->string);
        return;
    case CHAT_VALUE_LIST:
    case CHAT_VALUE_MAPPING:
        write_items(w, v, depth);
        return;
    case CHAT_VALUE_UNDEFINED:
    case CHAT_VALUE_GENERATOR:
    case CHAT_VALUE_NAMESPACE:
    case CHAT_VALUE_LOOP:
    case CHAT_VALUE_MACRO:
        break;
    }
    chat_wrong_type(w->call);
}

struct chat_value chat_tojson(const struct chat_call *c) {
    const struct chat_value *ascii = chat_argument(c, ENSURE_ASCII),
                            *indent = chat_argument(c, INDENT);
    struct writer w = {.call = c, .indent = -1, .ok = true};
    if (ascii && chat_is_true(ascii))
        return chat_refuse(c->r, c->line, "uses an argument that is not supported of", c->name);
    if (indent && indent->kind != CHAT_VALUE_NONE) {
        if (indent->kind != CHAT_VALUE_INTEGER || indent->integer < 0 ||
            indent->integer > MAX_INDENT)
            return chat_wrong_type(c);
        w.indent = indent->integer;
    }
    write_value(&w, c->value, 0);
    return chat_finish(c->r, &w.out, w.ok);
}
