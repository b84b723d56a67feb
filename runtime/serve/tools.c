/* tools.c - "tools" and "tool_choice" of a chat: see tools.h. */
#include <stdio.h>
#include <string.h>

#include "fields.h"
#include "replies.h"
#include "tools.h"

#define MAX_TOOLS 128 /* OpenAI's */
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
#define MAX_NAME 64

struct tool {
    const char *type;
    json_t *function;
};

struct function {
    const char *name, *description;
    json_t *parameters;
    bool strict;
};

struct choice {
    const char *type;
    json_t *function;
};

#define FIELD(type, name, kind)                                                                    \
    { #name, SERVE_FIELD_##kind, offsetof(struct type, name), 0, 0, NULL }
#define FIELDS(rows)                                                                               \
    { rows, sizeof(rows) / sizeof((rows)[0]), NULL }

static const struct serve_field tool_rows[] = {FIELD(tool, type, STRING),
                                               FIELD(tool, function, OBJECT)};
static const struct serve_field function_rows[] = {
    FIELD(function, name, STRING), FIELD(function, description, STRING),
    FIELD(function, parameters, OBJECT), FIELD(function, strict, BOOL)};
static const struct serve_field choice_rows[] = {FIELD(choice, type, STRING),
                                                 FIELD(choice, function, OBJECT)};
static const struct serve_field named_rows[] = {FIELD(function, name, STRING)};
static const struct serve_fields tool_fields = FIELDS(tool_rows),
                                 function_fields = FIELDS(function_rows),
                                 choice_fields = FIELDS(choice_rows),
                                 named_fields = FIELDS(named_rows);

static bool read_tool(const json_t *value, size_t i, struct function *f,
                      struct serve_error *error) {
    char place[128];
    struct tool tool = {0};
    snprintf(place, sizeof(place), "tools[%zu]", i);
    if (!json_is_object(value))
        return serve_fail(error, 400, "invalid_type", place, "'%s' must be an object.", place);
    if (!serve_read_fields(value, place, &tool_fields, &tool, error))
        return false;
    if (tool.type == NULL || strcmp(tool.type, "function") != 0 || tool.function == NULL)
        return serve_fail(error, 400, "invalid_value", place,
                          "'%s' must have \"type\": \"function\" and a \"function\".", place);
    snprintf(place, sizeof(place), "tools[%zu].function", i);
    if (!serve_read_fields(tool.function, place, &function_fields, f, error))
        return false;
    const size_t n = f->name ? strlen(f->name) : 0;
    return (n > 0 && n <= MAX_NAME && strspn(f->name, NAME_LETTERS) == n) ||
           serve_fail(error, 400, "invalid_value", place,
                      "'%s.name' must be 1 to %d letters, digits, underscores and hyphens.", place,
                      MAX_NAME);
}

/* "auto", "none", "required", or the function's name in *named. NULL: refused. */
static const char *read_choice(const json_t *value, const char **named, struct serve_error *error) {
    static const char *const words[] = {"auto", "none", "required"};
    struct choice choice = {0};
    struct function function = {0};
    const char *word = value == NULL ? "auto" : json_string_value(value);
    for (size_t i = 0; word != NULL && i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(word, words[i]) == 0)
            return words[i];
    if (json_is_object(value)) {
        if (!serve_read_fields(value, "tool_choice", &choice_fields, &choice, error))
            return NULL;
        if (choice.type != NULL && strcmp(choice.type, "function") == 0 &&
            choice.function != NULL) {
            if (!serve_read_fields(choice.function, "tool_choice.function", &named_fields,
                                   &function, error))
                return NULL;
            *named = function.name;
        }
    }
    if (*named != NULL)
        return "required";
    serve_fail(
        error, 400, "invalid_value", "tool_choice",
        "'tool_choice' must be \"none\", \"auto\", \"required\", or {\"type\": \"function\", "
        "\"function\": {\"name\": ...}}.");
    return NULL;
}

/* References in a function's parameters start at the parameters' root, which becomes a part of
 * another schema; this changes them. */
static bool move_references(json_t *schema, const char *root) {
    const char *name;
    json_t *value;
    void *next;
    size_t i;
    bool ok = true;
    json_array_foreach(schema, i, value) ok = ok && move_references(value, root);
    json_object_foreach_safe(schema, next, name, value) {
        const char *target = json_string_value(value);
        if (strcmp(name, "$ref") == 0 && target != NULL && target[0] == '#')
            ok = ok &&
                 json_object_set_new(schema, name, json_sprintf("%s%s", root, target + 1)) == 0;
        else
            ok = ok && move_references(value, root);
    }
    return ok;
}

/* The schema of a call of the function; new. */
static json_t *call_schema(const struct function *f, size_t i, const char *arguments) {
    char root[48];
    json_t *parameters = json_object_size(f->parameters) > 0
                             ? json_deep_copy(f->parameters)
                             : json_pack("{s:s, s:{}}", "type", "object", "properties");
    snprintf(root, sizeof(root), "#/anyOf/%zu/properties/%s", i, arguments);
    if (!move_references(parameters, root)) {
        json_decref(parameters);
        parameters = NULL;
    }
    return json_pack("{s:s, s:{s:{s:s}, s:o}, s:[s, s], s:b}", "type", "object", "properties",
                     "name", "const", f->name, arguments, parameters, "required", "name", arguments,
                     "additionalProperties", 0);
}

bool serve_check_tools(const struct serve_model *model, const json_t *tools,
                       struct serve_error *error) {
    json_t *tool;
    size_t i;
    bool ok = true;
    if (model->tools == SERVE_TOOLS_NONE)
        return serve_fail(error, 400, "unsupported_parameter", "tools",
                          "The chat template of the model '%.100s' does not present tools in a "
                          "form that this server reads (<tool_call> of Hermes and Qwen, Llama 3's "
                          "JSON).",
                          model->name);
    if (json_array_size(tools) > MAX_TOOLS)
        return serve_fail(error, 400, "invalid_value", "tools",
                          "'tools' must be at most %d functions, not %zu.", MAX_TOOLS,
                          json_array_size(tools));
    json_array_foreach(tools, i, tool) {
        struct function f = {0};
        ok = ok && read_tool(tool, i, &f, error);
    }
    return ok;
}

/* Adds the allowed calls, of all functions or of the named one, to use->schema. */
static bool add_schemas(const struct serve_model *model, const char *named,
                        struct serve_tool_use *use, struct serve_error *error) {
    const char *arguments = model->tools == SERVE_TOOLS_LLAMA3 ? "parameters" : "arguments";
    json_t *calls = json_array(), *tool;
    size_t i;
    use->schema = json_pack("{s:o}", "anyOf", calls);
    json_array_foreach(use->told, i, tool) {
        struct function f = {0};
        if (!read_tool(tool, i, &f, error))
            return false;
        if ((named == NULL || strcmp(named, f.name) == 0) &&
            json_array_append_new(calls, call_schema(&f, json_array_size(calls), arguments)) != 0)
            return serve_fail(error, 500, NULL, NULL, "No memory for the tools.");
    }
    return json_array_size(calls) > 0 ||
           serve_fail(error, 400, "invalid_value", "tool_choice",
                      "'tool_choice' names '%.64s', which is not in 'tools'.", named ? named : "");
}

/* For functions that the model may but need not call: refuses options that would not be
 * enforced. */
static bool check_free(const json_t *tools, bool parallel, struct serve_error *error) {
    json_t *tool;
    size_t i;
    if (!parallel)
        return serve_fail(error, 400, "unsupported_parameter", "parallel_tool_calls",
                          "This server supports 'parallel_tool_calls': false only with a "
                          "'tool_choice' of \"required\" or a function, which is one call.");
    json_array_foreach(tools, i, tool) {
        struct function f = {0};
        if (!read_tool(tool, i, &f, error))
            return false;
        if (f.strict) {
            char place[128];
            snprintf(place, sizeof(place), "tools[%zu].function.strict", i);
            return serve_fail(error, 400, "unsupported_parameter", place,
                              "This server keeps to '%s': true only with a 'tool_choice' of "
                              "\"required\" or a function.",
                              place);
        }
    }
    return true;
}

bool serve_read_tools(const struct serve_model *model, json_t *tools, const json_t *choice,
                      bool parallel, struct serve_tool_use *use, struct serve_error *error) {
    const char *named = NULL;
    if (json_array_size(tools) == 0)
        return choice == NULL ||
               (json_is_string(choice) && strcmp(json_string_value(choice), "required") != 0) ||
               serve_fail(error, 400, "invalid_value", "tool_choice",
                          "'tool_choice' asks for a call, and there are no 'tools'.");
    const char *word = read_choice(choice, &named, error);
    if (word == NULL || !serve_check_tools(model, tools, error))
        return false;
    if (strcmp(word, "none") == 0)
        return true;
    use->told = tools;
    if (strcmp(word, "required") == 0) {
        use->calls = SERVE_CALLS_JSON;
        return add_schemas(model, named, use, error);
    }
    use->calls = model->tools == SERVE_TOOLS_TAGGED ? SERVE_CALLS_TAGGED : SERVE_CALLS_JSON;
    return check_free(tools, parallel, error);
}
