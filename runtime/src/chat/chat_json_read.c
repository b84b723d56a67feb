/* chat_json_read.c - the JSON (RFC 8259) of a conversation or a schema as values of a chat
 * template.
 *
 * The reader is strict where JSON readers differ: it refuses repeated keys, lone surrogates, and
 * numbers beyond 64 bits or beyond a double. All strings are marked as coming from a message,
 * except the roles below: templates write `'<|' + message.role + '|>'` and mean one token.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chat_eval.h"
#include "host/stack.h"

#define MAX_JSON_BYTES ((size_t)64 << 20)
#define MAX_DEPTH 48u         /* below CHAT_MAX_LIST_DEPTH */
#define MAX_VALUES (1u << 19) /* below CHAT_MAX_LIST_WEIGHT */
#define MAX_KEYS 512u         /* of an object: each key is compared with all others */
#define MAX_NUMBER_BYTES 512u

static const char *const known_roles[] = {"system", "developer", "user",     "assistant",
                                          "model",  "tool",      "function", "ipython"};

struct reader {
    struct chat_render *r;
    const char *whose; /* "the conversation's" */
    struct chat_string json;
    size_t at;
    const uint8_t *marks;     /* ones, as many as bytes */
    struct chat_value *stack; /* items of the lists and objects that are not closed yet */
    size_t n_stack, capacity;
    size_t n_values;
};

static bool read_value(struct reader *in, uint32_t depth);

static bool refuse(struct reader *in, const char *what) {
    if (in->r->status == RSR_OK)
        in->r->status = rsr_fail(in->r->err, RSR_ERR_ARGUMENT, "%s JSON has %s at byte %zu",
                                 in->whose, what, in->at);
    return false;
}

static char peek(const struct reader *in) {
    return in->at < in->json.size ? in->json.data[in->at] : '\0';
}

static bool accept(struct reader *in, char c) {
    const bool found = in->at < in->json.size && in->json.data[in->at] == c;
    in->at += found;
    return found;
}

/* Skips white space and takes the character if it is next. */
static bool accept_next(struct reader *in, char c) {
    while (accept(in, ' ') || accept(in, '\n') || accept(in, '\r') || accept(in, '\t')) {
    }
    return accept(in, c);
}

static bool push(struct reader *in, struct chat_value v) {
    if (++in->n_values > MAX_VALUES)
        return refuse(in, "too many values");
    if (in->n_stack == in->capacity) {
        const size_t capacity = in->capacity ? 2 * in->capacity : 64;
        struct chat_value *grown = realloc(in->stack, capacity * sizeof(*grown));
        if (!grown) {
            chat_no_memory(in->r);
            return false;
        }
        in->stack = grown;
        in->capacity = capacity;
    }
    in->stack[in->n_stack++] = v;
    return true;
}

/* ---- Strings --------------------------------------------------------------------------------- */

/* Reads the four digits after \u. */
static bool read_unit(struct reader *in, uint32_t *unit) {
    *unit = 0;
    for (uint32_t i = 0; i < 4; i++, in->at++) {
        static const char digits[] = "0123456789abcdef";
        const char c = peek(in);
        const char *digit = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
        if (!digit)
            return refuse(in, "a \\u without four digits");
        *unit = 16 * *unit + (uint32_t)(digit - digits);
    }
    return true;
}

/* Reads an escape after its backslash and appends it to `out`, which has room. */
static bool read_escape(struct reader *in, char *out, size_t *size) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char c = peek(in), *known = c ? strchr(from, c) : NULL;
    uint32_t code, low;
    in->at++;
    if (known)
        code = (uint8_t)to[known - from];
    else if (c != 'u')
        return refuse(in, "an unknown escape");
    else if (!read_unit(in, &code))
        return false;
    if (code >= 0xd800 && code < 0xdc00) {
        if (!accept(in, '\\') || !accept(in, 'u') || !read_unit(in, &low) || low < 0xdc00 ||
            low > 0xdfff)
            return refuse(in, "half a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    if (code >= 0xd800 && code < 0xe000)
        return refuse(in, "half a surrogate pair");
    *size += rsr_utf8_encode(code, out + *size);
    return true;
}

/* Reads a string after its quote. An escape is longer than the character that it stands for, so the
 * result is never longer than the source. */
static bool read_string(struct reader *in, struct chat_string *string) {
    const size_t begin = in->at;
    size_t end = begin, size = 0;
    bool ok = true, has_escapes = false;
    for (; end < in->json.size && in->json.data[end] != '"'; end++) {
        has_escapes = has_escapes || in->json.data[end] == '\\';
        end += in->json.data[end] == '\\';
    }
    char *out = has_escapes ? chat_alloc(&in->r->arena, end - begin + 1) : NULL;
    if (has_escapes && !out) {
        chat_no_memory(in->r);
        return false;
    }
    while (ok && in->at < in->json.size && peek(in) != '"') {
        if ((uint8_t)peek(in) < 0x20)
            return refuse(in, "a control character in a string");
        if (accept(in, '\\'))
            ok = read_escape(in, out, &size);
        else if (out)
            out[size++] = in->json.data[in->at++];
        else
            in->at++;
    }
    if (ok && !accept(in, '"'))
        return refuse(in, "a string without its end");
    *string = (struct chat_string){out ? out : in->json.data + begin,
                                   out ? size : in->at - 1 - begin, in->marks};
    return ok;
}

static bool push_string(struct reader *in) {
    struct chat_string string;
    return read_string(in, &string) && push(in, chat_text(string));
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static bool accept_digits(struct reader *in) {
    const size_t begin = in->at;
    while (peek(in) >= '0' && peek(in) <= '9')
        in->at++;
    return in->at > begin;
}

static bool push_number(struct reader *in) {
    char text[MAX_NUMBER_BYTES];
    const size_t begin = in->at;
    accept(in, '-');
    bool ok = accept(in, '0') || accept_digits(in), is_float = false;
    if (ok && accept(in, '.')) {
        is_float = true;
        ok = accept_digits(in);
    }
    if (ok && (accept(in, 'e') || accept(in, 'E'))) {
        is_float = true;
        if (!accept(in, '-'))
            accept(in, '+');
        ok = accept_digits(in);
    }
    const size_t n = in->at - begin;
    if (!ok)
        return refuse(in, "what is no value");
    if (n >= sizeof(text))
        return refuse(in, "too long a number");
    memcpy(text, in->json.data + begin, n);
    text[n] = 0;
    errno = 0;
    const int64_t integer = is_float ? 0 : strtoll(text, NULL, 10);
    const double number = is_float ? strtod(text, NULL) : 0;
    if ((!is_float && errno == ERANGE) || !isfinite(number))
        return refuse(in, "a number beyond 64 bits");
    return push(in, is_float ? chat_float(number) : chat_integer(integer));
}

/* ---- Values ---------------------------------------------------------------------------------- */

/* Makes one value of the stack's items from `begin` on. */
static bool close_items(struct reader *in, size_t begin, enum chat_value_kind kind) {
    struct chat_value all = {0};
    const size_t n = in->n_stack - begin;
    struct chat_value *items = kind == CHAT_VALUE_MAPPING ? chat_new_mapping(in->r, n / 2, &all)
                                                          : chat_new_list(in->r, n, &all);
    if (!items)
        return false;
    if (n > 0)
        memcpy(items, in->stack + begin, n * sizeof(*items));
    in->n_stack = begin;
    all = chat_close_list(in->r, 0, all);
    return in->r->status == RSR_OK && push(in, all);
}

static bool read_array(struct reader *in, uint32_t depth) {
    const size_t begin = in->n_stack;
    bool more = !accept_next(in, ']');
    while (more) {
        if (!read_value(in, depth + 1))
            return false;
        more = accept_next(in, ',');
        if (!more && !accept_next(in, ']'))
            return refuse(in, "an array without its end");
    }
    return close_items(in, begin, CHAT_VALUE_LIST);
}

/* Reads a key and its value. */
static bool read_member(struct reader *in, size_t begin, uint32_t depth) {
    struct chat_string key;
    if (!accept_next(in, '"'))
        return refuse(in, "an object without a key");
    if (!read_string(in, &key))
        return false;
    for (size_t i = begin; i < in->n_stack; i += 2)
        if (chat_same(in->stack[i].string, key))
            return refuse(in, "the same key twice");
    if ((in->n_stack - begin) / 2 == MAX_KEYS)
        return refuse(in, "an object with too many keys");
    if (!push(in, chat_text(key)))
        return false;
    if (!accept_next(in, ':'))
        return refuse(in, "a key without a value");
    if (!read_value(in, depth + 1))
        return false;
    struct chat_value *v = &in->stack[in->n_stack - 1];
    for (size_t i = 0; i < sizeof(known_roles) / sizeof(known_roles[0]); i++)
        if (v->kind == CHAT_VALUE_STRING && chat_equals(key, "role") &&
            chat_equals(v->string, known_roles[i]))
            v->string.marks = NULL;
    return true;
}

static bool read_object(struct reader *in, uint32_t depth) {
    const size_t begin = in->n_stack;
    bool more = !accept_next(in, '}');
    while (more) {
        if (!read_member(in, begin, depth))
            return false;
        more = accept_next(in, ',');
        if (!more && !accept_next(in, '}'))
            return refuse(in, "an object without its end");
    }
    return close_items(in, begin, CHAT_VALUE_MAPPING);
}

static bool push_word(struct reader *in) {
    const struct {
        struct chat_string word;
        struct chat_value value;
    } words[] = {{CHAT_STRING("true"), chat_bool(true)},
                 {CHAT_STRING("false"), chat_bool(false)},
                 {CHAT_STRING("null"), {.kind = CHAT_VALUE_NONE}}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        const size_t n = words[i].word.size;
        if (in->json.size - in->at >= n &&
            chat_same(words[i].word, chat_part(in->json, in->at, n))) {
            in->at += n;
            return push(in, words[i].value);
        }
    }
    return push_number(in);
}

/* Pushes one value. */
static bool read_value(struct reader *in, uint32_t depth) {
    if (depth > MAX_DEPTH || rsr_is_below(in->r->stack_end))
        return refuse(in, "too many brackets in each other");
    if (accept_next(in, '"'))
        return push_string(in);
    if (accept(in, '{'))
        return read_object(in, depth);
    if (accept(in, '['))
        return read_array(in, depth);
    return push_word(in);
}

struct chat_value chat_read_json(struct chat_render *r, const char *whose,
                                 struct chat_string json) {
    struct reader in = {.r = r, .whose = whose, .json = json};
    struct chat_value value = {0};
    if (r->status == RSR_OK && json.size > MAX_JSON_BYTES)
        refuse(&in, "more than 64 MiB");
    uint8_t *marks = r->status == RSR_OK ? chat_alloc(&r->arena, json.size + 1) : NULL;
    if (!marks) {
        chat_no_memory(r);
        return value;
    }
    memset(marks, 1, json.size + 1);
    in.marks = marks;
    const bool ok = read_value(&in, 0);
    if (ok && (accept_next(&in, '\0') || in.at < json.size))
        refuse(&in, "more than one value");
    if (r->status == RSR_OK)
        value = in.stack[0];
    free(in.stack);
    return value;
}
