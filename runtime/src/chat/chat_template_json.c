/* chat_template_json.c - the filter tojson, as transformers defines it: Python's json.dumps, by
 * default on one line and with characters outside ASCII as they are.
 */
#include <stdio.h>

#include "chat_builtin.h"

/* Parameters of tojson, in order. */
enum { ENSURE_ASCII, INDENT };

#define MAX_INDENT 64

struct writer {
    const struct chat_call *call;
    struct rsr_bytes out;
    int64_t indent; /* spaces for each level; -1: all on one line */
    bool ok;
};

static void write_value(struct writer *w, const struct chat_value *v, uint32_t depth);

static void put(struct writer *w, const char *text, size_t n) {
    w->ok = w->ok && chat_is_within(&w->call->r->arena, w->out.size, n) &&
            rsr_bytes_append(&w->out, text, n);
}

static void put_text(struct writer *w, struct chat_string text) {
    put(w, text.data, text.size);
}

static void new_line(struct writer *w, uint32_t depth) {
    if (w->indent < 0)
        return;
    put(w, "\n", 1);
    for (uint64_t i = 0; i < depth * (uint64_t)w->indent; i++)
        put(w, " ", 1);
}

static void write_string(struct writer *w, struct chat_string s) {
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    put(w, "\"", 1);
    for (size_t i = 0, begin = 0; i <= s.size; i++) {
        uint8_t c = i < s.size ? (uint8_t)s.data[i] : 0;
        if (i < s.size && c >= 0x20 && c != '"' && c != '\\')
            continue;
        put(w, s.data + begin, i - begin);
        begin = i + 1;
        if (i == s.size)
            break;
        char escape[8];
        int n = snprintf(escape, sizeof(escape), "\\u%04x", c);
        for (size_t k = 0; from[k] != 0; k++)
            if ((uint8_t)from[k] == c)
                n = snprintf(escape, sizeof(escape), "\\%c", to[k]);
        put(w, escape, (size_t)n);
    }
    put(w, "\"", 1);
}

/* What stands between values, and behind the last one. */
static void separate(struct writer *w, bool more, uint32_t depth) {
    if (more)
        put(w, w->indent < 0 ? ", " : ",", w->indent < 0 ? 2 : 1);
    new_line(w, more ? depth + 1 : depth);
}

static void write_list(struct writer *w, const struct chat_value *v, uint32_t depth) {
    put(w, "[", 1);
    if (v->n_items > 0)
        new_line(w, depth + 1);
    for (size_t i = 0; w->ok && i < v->n_items; i++) {
        write_value(w, &v->items[i], depth + 1);
        separate(w, i + 1 < v->n_items, depth);
    }
    put(w, "]", 1);
}

static void write_message(struct writer *w, const struct chat_value *v, uint32_t depth) {
    put(w, "{", 1);
    new_line(w, depth + 1);
    put_text(w, CHAT_STRING("\"role\": "));
    write_value(w, &v->items[0], depth + 1);
    separate(w, true, depth);
    put_text(w, CHAT_STRING("\"content\": "));
    write_value(w, &v->items[1], depth + 1);
    separate(w, false, depth);
    put(w, "}", 1);
}

static void write_value(struct writer *w, const struct chat_value *v, uint32_t depth) {
    switch (v->kind) {
    case CHAT_VALUE_NONE:
        put_text(w, CHAT_STRING("null"));
        return;
    case CHAT_VALUE_BOOL:
        put_text(w, v->integer ? CHAT_STRING("true") : CHAT_STRING("false"));
        return;
    case CHAT_VALUE_INTEGER:
    case CHAT_VALUE_FLOAT:
        put_text(w, chat_to_string(w->call->r, w->call->line, v));
        return;
    case CHAT_VALUE_STRING:
        write_string(w, v->string);
        return;
    case CHAT_VALUE_LIST:
        write_list(w, v, depth);
        return;
    case CHAT_VALUE_MESSAGE:
        write_message(w, v, depth);
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
    struct chat_value text =
        w.ok ? chat_concatenate(c->r, (struct chat_string){w.out.data, w.out.size}, CHAT_STRING(""))
             : chat_no_memory(c->r);
    rsr_bytes_free(&w.out);
    return text;
}
