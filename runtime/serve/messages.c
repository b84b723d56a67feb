/* messages.c - see messages.h. */
#include <stdio.h>
#include <string.h>

#include "fields.h"
#include "messages.h"
#include "replies.h"

struct message {
    const char *role, *name, *tool_call_id, *reasoning_content;
    json_t *content, *tool_calls;
};

struct part {
    const char *type, *text;
};

struct call {
    const char *id, *type;
    json_t *function;
};

struct called {
    const char *name, *arguments;
};

#define FIELD(type, name, kind)                                                                    \
    { #name, SERVE_FIELD_##kind, offsetof(struct type, name), 0, 0, NULL }
#define FIELDS(rows)                                                                               \
    { rows, sizeof(rows) / sizeof((rows)[0]), NULL }

static const struct serve_field message_rows[] = {
    FIELD(message, role, STRING),
    FIELD(message, content, VALUE),
    FIELD(message, name, STRING),
    FIELD(message, tool_calls, ARRAY),
    FIELD(message, tool_call_id, STRING),
    FIELD(message, reasoning_content, STRING),
    {"refusal", SERVE_FIELD_ONLY, 0, 0, 0, ""}, /* answers have null here, and clients send it
                                                   back */
    {"audio", SERVE_FIELD_ONLY, 0, 0, 0, ""},
    {"function_call", SERVE_FIELD_ONLY, 0, 0, 0, ""},
    {"annotations", SERVE_FIELD_ONLY, 0, 0, 0, "[]"},
    {"parsed", SERVE_FIELD_INERT, 0, 0, 0, NULL}, /* openai-python's: the content as an object */
};
static const struct serve_field part_rows[] = {FIELD(part, type, STRING),
                                               FIELD(part, text, STRING)};
static const struct serve_field call_rows[] = {
    FIELD(call, id, STRING),
    FIELD(call, type, STRING),
    FIELD(call, function, OBJECT),
    {"index", SERVE_FIELD_INERT, 0, 0, 0, NULL}, /* from a call that was streamed */
};
static const struct serve_field called_rows[] = {
    FIELD(called, name, STRING),
    FIELD(called, arguments, STRING),
    {"parsed_arguments", SERVE_FIELD_INERT, 0, 0, 0, NULL}, /* openai-python's */
};
static const struct serve_fields message_fields = FIELDS(message_rows),
                                 part_fields = FIELDS(part_rows), call_fields = FIELDS(call_rows),
                                 called_fields = FIELDS(called_rows);

/* The template's name of a role; NULL: there is no such role. */
static const char *template_role(const char *role) {
    static const char *const roles[][2] = {{"system", "system"},
                                           {"developer", "system"},
                                           {"user", "user"},
                                           {"assistant", "assistant"},
                                           {"tool", "tool"}};
    for (size_t i = 0; role != NULL && i < sizeof(roles) / sizeof(roles[0]); i++)
        if (strcmp(role, roles[i][0]) == 0)
            return roles[i][1];
    return NULL;
}

static bool append_part(const json_t *value, const char *where, size_t i, struct rsr_bytes *text,
                        struct serve_error *error) {
    char place[128];
    struct part part = {0};
    snprintf(place, sizeof(place), "%s.content[%zu]", where, i);
    const json_t *type = json_object_get(value, "type");
    if (json_is_string(type) && strcmp(json_string_value(type), "text") != 0)
        return serve_fail(error, 400, "unsupported_parameter", place,
                          "'%s' is of type '%.40s': this server reads text only.", place,
                          json_string_value(type));
    if (!json_is_object(value))
        return serve_fail(error, 400, "invalid_type", place, "'%s' must be an object.", place);
    if (!serve_read_fields(value, place, &part_fields, &part, error))
        return false;
    if (part.type == NULL || part.text == NULL)
        return serve_fail(error, 400, "invalid_value", place,
                          "'%s' must have a \"type\" and a \"text\".", place);
    return ((i == 0 || rsr_bytes_append(text, "\n", 1)) &&
            rsr_bytes_append(text, part.text, strlen(part.text))) ||
           serve_fail(error, 500, NULL, NULL, "No memory for the messages.");
}

/* A message's text; new, NULL after an error. */
static json_t *read_content(const struct message *m, const char *where, struct serve_error *error) {
    struct rsr_bytes text = {0};
    json_t *json = NULL, *part;
    size_t i;
    bool ok = true;
    if (json_is_string(m->content))
        return json_incref(m->content);
    if (m->content == NULL && json_array_size(m->tool_calls) > 0)
        return json_string("");
    if (!json_is_array(m->content)) {
        serve_fail(error, 400, "invalid_type", where,
                   "'%s.content' must be a text or a list of parts.", where);
        return NULL;
    }
    json_array_foreach(m->content, i, part) ok = ok && append_part(part, where, i, &text, error);
    if (ok)
        json = json_stringn(text.data ? text.data : "", text.size);
    rsr_bytes_free(&text);
    return json;
}

/* A call of the assistant's; new, NULL after an error. */
static json_t *read_call(const json_t *value, const char *where, size_t i,
                         struct serve_error *error) {
    char place[128];
    struct call call = {0};
    struct called called = {0};
    snprintf(place, sizeof(place), "%s.tool_calls[%zu]", where, i);
    if (json_is_object(value) && !serve_read_fields(value, place, &call_fields, &call, error))
        return NULL;
    if (call.function != NULL &&
        !serve_read_fields(call.function, place, &called_fields, &called, error))
        return NULL;
    json_t *arguments =
        called.arguments ? json_loads(called.arguments, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (call.type != NULL && strcmp(call.type, "function") == 0 && called.name != NULL &&
        json_is_object(arguments))
        return json_pack("{s:s, s:s*, s:{s:s, s:o}}", "type", "function", "id", call.id, "function",
                         "name", called.name, "arguments", arguments);
    json_decref(arguments);
    serve_fail(error, 400, "invalid_value", place,
               "'%s' must be a \"function\" with a name and arguments, a JSON object as a string.",
               place);
    return NULL;
}

static bool add_calls(const struct serve_model *model, const struct message *m, const char *where,
                      json_t *message, struct serve_error *error) {
    const bool is_tool = strcmp(m->role, "tool") == 0;
    json_t *calls, *call;
    size_t i;
    if ((is_tool || json_array_size(m->tool_calls) > 0) && model->tools == SERVE_TOOLS_NONE)
        return serve_fail(error, 400, "unsupported_parameter", where,
                          "'%s' belongs to tools, which the chat template of the model '%.100s' "
                          "does not present in a form that this server reads.",
                          where, model->name);
    if (json_array_size(m->tool_calls) == 0)
        return true;
    if (json_object_set_new(message, "tool_calls", calls = json_array()) != 0)
        return serve_fail(error, 500, NULL, NULL, "No memory for the messages.");
    json_array_foreach(m->tool_calls, i, call) {
        json_t *read = read_call(call, where, i, error);
        if (read == NULL || json_array_append_new(calls, read) != 0)
            return false;
    }
    return true;
}

/* A message in the form that templates expect; new, NULL after an error. */
static json_t *read_message(const struct serve_model *model, const json_t *value, size_t i,
                            struct serve_error *error) {
    char where[32];
    struct message m = {0};
    snprintf(where, sizeof(where), "messages[%zu]", i);
    if (!json_is_object(value)) {
        serve_fail(error, 400, "invalid_type", where, "'%s' must be an object.", where);
        return NULL;
    }
    if (!serve_read_fields(value, where, &message_fields, &m, error))
        return NULL;
    const char *role = template_role(m.role);
    if (role == NULL) {
        serve_fail(error, 400, "invalid_value", where,
                   "'%s.role' must be system, developer, user, assistant or tool.", where);
        return NULL;
    }
    json_t *content = read_content(&m, where, error);
    json_t *message = content == NULL
                          ? NULL
                          : json_pack("{s:s, s:o, s:s*, s:s*, s:s*}", "role", role, "content",
                                      content, "name", m.name, "tool_call_id", m.tool_call_id,
                                      "reasoning_content", m.reasoning_content);
    if (message != NULL && add_calls(model, &m, where, message, error))
        return message;
    json_decref(message);
    return NULL;
}

static json_t *read_messages(const struct serve_model *model, const json_t *messages,
                             struct serve_error *error) {
    json_t *read = json_array(), *message;
    size_t i;
    bool ok = read != NULL;
    if (json_array_size(messages) == 0)
        ok = serve_fail(error, 400, "missing_parameter", "messages",
                        "'messages' must be a list of at least one message.");
    json_array_foreach(messages, i, message) ok =
        ok && json_array_append_new(read, read_message(model, message, i, error)) == 0;
    if (ok)
        return read;
    if (error->status == 0)
        serve_fail(error, 500, NULL, NULL, "No memory for the messages.");
    json_decref(read);
    return NULL;
}

/* chat_template_kwargs may have any names except those that have a field of their own. */
json_t *serve_conversation(const struct serve_model *model, const json_t *messages, json_t *tools,
                           const json_t *more, struct serve_error *error) {
    if (json_object_get(more, "messages") || json_object_get(more, "tools")) {
        serve_fail(error, 400, "invalid_value", "chat_template_kwargs",
                   "'chat_template_kwargs' may not have messages or tools.");
        return NULL;
    }
    json_t *read = read_messages(model, messages, error);
    if (read == NULL)
        return NULL;
    json_t *all = json_pack("{s:o, s:O*}", "messages", read, "tools", tools);
    if (all != NULL && (more == NULL || json_object_update(all, (json_t *)more) == 0))
        return all;
    serve_fail(error, 500, NULL, NULL, "No memory for the messages.");
    json_decref(all);
    return NULL;
}
