/* tool_calls.c - calls of tools in generated text: see tools.h. */
#include <string.h>

#include "tools.h"

static const char open_tag[] = "<tool_call>", close_tag[] = "</tool_call>";

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static size_t skip_space(const char *text, size_t at, size_t end) {
    while (at < end && is_space(text[at]))
        at++;
    return at;
}

/* The end of text[begin .. end) without trailing white space. */
static size_t trim(const char *text, size_t begin, size_t end) {
    while (end > begin && is_space(text[end - 1]))
        end--;
    return end;
}

static bool begins_with(const char *text, size_t at, size_t end, const char *what) {
    const size_t n = strlen(what);
    return end - at >= n && memcmp(text + at, what, n) == 0;
}

/* Where `what` is in text[begin .. end), or `end`. */
static size_t find(const char *text, size_t begin, size_t end, const char *what) {
    for (size_t at = begin; at < end; at++) {
        const char *next = memchr(text + at, what[0], end - at);
        if (next == NULL)
            break;
        at = (size_t)(next - text);
        if (begins_with(text, at, end, what))
            return at;
    }
    return end;
}

/* The place of a partial open tag at the end of the text, or `end`. */
static size_t find_partial_tag(const char *text, size_t begin, size_t end) {
    const size_t most = sizeof(open_tag) - 2;
    for (size_t n = end - begin < most ? end - begin : most; n > 0; n--)
        if (memcmp(text + end - n, open_tag, n) == 0)
            return end - n;
    return end;
}

/* Reads {"name": "f", "arguments": {...}} (Llama: "parameters") as a call; new. NULL: the text is
 * no call. *n_read receives the bytes that were read. */
static json_t *read_call(const char *text, size_t n_bytes, size_t *n_read) {
    json_error_t at;
    json_t *object =
        json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, &at);
    json_t *name = json_object_get(object, "name");
    json_t *arguments = json_object_get(object, "arguments");
    if (arguments == NULL)
        arguments = json_object_get(object, "parameters");
    json_t *call = NULL;
    if (json_is_string(name) && json_is_object(arguments) && json_object_size(object) == 2)
        call = json_pack("{s:O, s:O}", "name", name, "arguments", arguments);
    *n_read = object != NULL ? (size_t)at.position : 0;
    json_decref(object);
    return call;
}

static struct serve_piece content(size_t begin, size_t end, size_t *at, size_t next) {
    *at = next;
    return (struct serve_piece){end > begin ? SERVE_PIECE_CONTENT : SERVE_PIECE_NONE, begin, end,
                                NULL};
}

/* Reads the call whose tag is at `open`; between *at and the tag is only white space. */
static struct serve_piece tagged_call(const json_t *tools, const char *text, size_t open,
                                      size_t n_bytes, bool ends, size_t *at) {
    const size_t begin = open + sizeof(open_tag) - 1;
    const size_t close = find(text, begin, n_bytes, close_tag);
    const size_t next = close < n_bytes ? close + sizeof(close_tag) - 1 : n_bytes;
    size_t n_read = 0;
    if (close == n_bytes && !ends)
        return (struct serve_piece){0};
    json_t *call = read_call(text + begin, close - begin, &n_read);
    if (call == NULL)
        call = serve_read_function(tools, text + begin, close - begin, &n_read);
    if (call == NULL || skip_space(text, begin + n_read, close) != close) {
        json_decref(call);
        return content(*at, next, at, next);
    }
    *at = next;
    return (struct serve_piece){.kind = SERVE_PIECE_CALL, .call = call};
}

static struct serve_piece next_tagged(const json_t *tools, const char *text, size_t n_bytes,
                                      bool ends, size_t *at) {
    const size_t first = skip_space(text, *at, n_bytes);
    if (begins_with(text, first, n_bytes, open_tag))
        return tagged_call(tools, text, first, n_bytes, ends, at);
    size_t end = find(text, first, n_bytes, open_tag);
    if (end == n_bytes && !ends)
        end = find_partial_tag(text, first, n_bytes);
    end = trim(text, *at, end);
    return content(*at, end, at, end);
}

/* Reads the next object of a text that consists only of calls. Semicolons may be between them, as
 * Llama 3 writes. */
static json_t *next_object(const char *text, size_t n_bytes, size_t *at) {
    size_t n_read = 0;
    size_t begin = skip_space(text, *at, n_bytes);
    if (*at > 0 && begin < n_bytes && text[begin] == ';')
        begin = skip_space(text, begin + 1, n_bytes);
    json_t *call = begin < n_bytes ? read_call(text + begin, n_bytes - begin, &n_read) : NULL;
    if (call != NULL)
        *at = skip_space(text, begin + n_read, n_bytes);
    return call;
}

static bool are_calls(const char *text, size_t n_bytes) {
    size_t at = 0;
    do {
        json_t *call = next_object(text, n_bytes, &at);
        if (call == NULL)
            return false;
        json_decref(call);
    } while (at < n_bytes);
    return true;
}

static struct serve_piece next_plain(const char *text, size_t n_bytes, bool ends, size_t *at) {
    const size_t first = skip_space(text, 0, n_bytes);
    const bool may_be = first == n_bytes || text[first] == '{';
    if (may_be && !ends)
        return (struct serve_piece){0};
    if (may_be && *at < n_bytes && (*at > 0 || are_calls(text, n_bytes)))
        return (struct serve_piece){.kind = SERVE_PIECE_CALL,
                                    .call = next_object(text, n_bytes, at)};
    return content(*at, n_bytes, at, n_bytes);
}

struct serve_piece serve_next_piece(enum serve_call_form form, const json_t *tools,
                                    const char *text, size_t n_bytes, bool ends, size_t *at) {
    switch (form) {
    case SERVE_CALLS_TAGGED:
        return *at < n_bytes ? next_tagged(tools, text, n_bytes, ends, at)
                             : (struct serve_piece){0};
    case SERVE_CALLS_JSON:
        return next_plain(text, n_bytes, ends, at);
    case SERVE_CALLS_NONE:
        break;
    }
    return content(*at, n_bytes, at, n_bytes);
}
