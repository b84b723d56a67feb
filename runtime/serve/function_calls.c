/* function_calls.c - calls of tools as Qwen3-Coder and Qwen3.5 write them: see tools.h.
 *
 *   <function=NAME> <parameter=NAME> TEXT </parameter> ... </function>
 *
 * A text says nothing of its type, so the tool's declared parameters do. What they call a string,
 * or do not declare, is the text itself, without the newline after and before the tags. Anything
 * else is JSON if the text is, and otherwise the text.
 */
#include <string.h>

#include "tools.h"

#define FUNCTION "<function="
#define PARAMETER "<parameter="
#define END_PARAMETER "</parameter>"
#define END_FUNCTION "</function>"

struct scan {
    const char *text;
    size_t at, end;
};

static void skip_space(struct scan *scan) {
    while (scan->at < scan->end && strchr(" \n\r\t", scan->text[scan->at]) != NULL)
        scan->at++;
}

static bool accept(struct scan *scan, const char *what) {
    const size_t n = strlen(what);
    if (scan->end - scan->at < n || memcmp(scan->text + scan->at, what, n) != 0)
        return false;
    scan->at += n;
    return true;
}

/* Reads up to `mark` and past it: text[*begin .. *end). */
static bool read_until(struct scan *scan, const char *mark, size_t *begin, size_t *end) {
    *begin = scan->at;
    while (scan->at < scan->end) {
        const char *next = memchr(scan->text + scan->at, mark[0], scan->end - scan->at);
        if (next == NULL)
            break;
        scan->at = *end = (size_t)(next - scan->text);
        if (accept(scan, mark))
            return true;
        scan->at++;
    }
    return false;
}

/* The rest of a tag that ends with '>': a name on one line; new, NULL if it is none. */
static json_t *read_name(struct scan *scan) {
    size_t begin, end;
    if (!read_until(scan, ">", &begin, &end) || begin == end ||
        memchr(scan->text + begin, '\n', end - begin) != NULL)
        return NULL;
    return json_stringn(scan->text + begin, end - begin);
}

/* What the tool declares of its parameters; borrowed, NULL: nothing. */
static const json_t *declared_parameters(const json_t *tools, const char *name) {
    const json_t *tool;
    size_t i;
    json_array_foreach(tools, i, tool) {
        const json_t *function = json_object_get(tool, "function");
        const char *declared = json_string_value(json_object_get(function, "name"));
        if (declared != NULL && strcmp(declared, name) == 0)
            return json_object_get(json_object_get(function, "parameters"), "properties");
    }
    return NULL;
}

/* "type" is a word or a list of words. */
static bool may_be_string(const json_t *schema) {
    const json_t *type = json_object_get(schema, "type"), *word;
    size_t i;
    if (json_is_string(type))
        return strcmp(json_string_value(type), "string") == 0;
    json_array_foreach(type, i, word) {
        if (json_is_string(word) && strcmp(json_string_value(word), "string") == 0)
            return true;
    }
    return schema == NULL;
}

/* The value of a parameter; new. Templates write Python's True, False and None, too. */
static json_t *typed_value(const json_t *schema, const char *text, size_t n) {
    static const struct {
        const char *word, *json;
    } words[] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    json_t *value = NULL;
    for (size_t i = 0; !may_be_string(schema) && i < sizeof(words) / sizeof(words[0]); i++)
        if (strlen(words[i].word) == n && memcmp(words[i].word, text, n) == 0)
            return json_loads(words[i].json, JSON_DECODE_ANY, NULL);
    if (!may_be_string(schema))
        value = json_loadb(text, n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    return value != NULL ? value : json_stringn(text, n);
}

/* One parameter, after its tag has begun. */
static bool read_parameter(struct scan *scan, const json_t *declared, json_t *arguments) {
    json_t *name = read_name(scan);
    const char *key = json_string_value(name);
    size_t begin, end;
    bool ok = key != NULL && json_object_get(arguments, key) == NULL &&
              read_until(scan, END_PARAMETER, &begin, &end);
    if (ok) {
        begin += begin < end && scan->text[begin] == '\n';
        end -= begin < end && scan->text[end - 1] == '\n';
        ok = json_object_set_new(
                 arguments, key,
                 typed_value(json_object_get(declared, key), scan->text + begin, end - begin)) == 0;
    }
    json_decref(name);
    return ok;
}

json_t *serve_read_function(const json_t *tools, const char *text, size_t n_bytes, size_t *n_read) {
    struct scan scan = {text, 0, n_bytes};
    json_t *arguments = json_object(), *name = NULL;
    skip_space(&scan);
    bool ok = accept(&scan, FUNCTION) && (name = read_name(&scan)) != NULL;
    const json_t *declared = ok ? declared_parameters(tools, json_string_value(name)) : NULL;
    bool ends = false;
    while (ok && !ends) {
        skip_space(&scan);
        ends = accept(&scan, END_FUNCTION);
        ok = ends || (accept(&scan, PARAMETER) && read_parameter(&scan, declared, arguments));
    }
    json_t *call = ok ? json_pack("{s:O, s:O}", "name", name, "arguments", arguments) : NULL;
    *n_read = scan.at;
    json_decref(name);
    json_decref(arguments);
    return call;
}
