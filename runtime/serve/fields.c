/* fields.c - see fields.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fields.h"
#include "models.h"
#include "replies.h"

#define MAX_DEPTH                                                                                  \
    40 /* of objects and lists; templates allow 48 levels, of which some are put around messages */

void serve_place(char place[128], const char *where, const char *name) {
    snprintf(place, 128, "%s%s%s", where, where[0] && name[0] ? "." : "", name);
}

static const char *type_name(const json_t *value) {
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null"};
    return names[json_typeof(value)];
}

static const char *kind_name(enum serve_field_kind kind) {
    static const char *const names[] = {
        [SERVE_FIELD_BOOL] = "true or false",    [SERVE_FIELD_INTEGER] = "a whole number",
        [SERVE_FIELD_UINT32] = "a whole number", [SERVE_FIELD_NUMBER] = "a number",
        [SERVE_FIELD_STRING] = "a string",       [SERVE_FIELD_ARRAY] = "a list",
        [SERVE_FIELD_OBJECT] = "an object",      [SERVE_FIELD_VALUE] = "a value",
        [SERVE_FIELD_INERT] = "a value",         [SERVE_FIELD_ONLY] = "a value"};
    return names[kind];
}

static bool is_of_kind(const json_t *value, enum serve_field_kind kind) {
    switch (kind) {
    case SERVE_FIELD_BOOL:
        return json_is_boolean(value);
    case SERVE_FIELD_INTEGER:
    case SERVE_FIELD_UINT32:
        return json_is_integer(value);
    case SERVE_FIELD_NUMBER:
        return json_is_number(value);
    case SERVE_FIELD_STRING:
        return json_is_string(value);
    case SERVE_FIELD_ARRAY:
        return json_is_array(value);
    case SERVE_FIELD_OBJECT:
        return json_is_object(value);
    case SERVE_FIELD_VALUE:
    case SERVE_FIELD_INERT:
    case SERVE_FIELD_ONLY:
        return true;
    }
    return false;
}

static void store(const struct serve_field *field, json_t *value, void *into) {
    char *at = (char *)into + field->offset;
    switch (field->kind) {
    case SERVE_FIELD_BOOL:
        *(bool *)(void *)at = json_is_true(value);
        break;
    case SERVE_FIELD_INTEGER:
        *(int64_t *)(void *)at = json_integer_value(value);
        break;
    case SERVE_FIELD_UINT32:
        *(uint32_t *)(void *)at = (uint32_t)json_integer_value(value);
        break;
    case SERVE_FIELD_NUMBER:
        *(float *)(void *)at = (float)json_number_value(value);
        break;
    case SERVE_FIELD_STRING:
        *(const char **)(void *)at = json_string_value(value);
        break;
    case SERVE_FIELD_ARRAY:
    case SERVE_FIELD_OBJECT:
    case SERVE_FIELD_VALUE:
        *(json_t **)(void *)at = value;
        break;
    case SERVE_FIELD_INERT:
    case SERVE_FIELD_ONLY:
        break;
    }
}

/* Whether the value's text is one of `only`. */
static bool is_listed(const char *only, const json_t *value) {
    char text[40];
    const size_t n = json_dumpb(value, text, sizeof(text), JSON_ENCODE_ANY | JSON_COMPACT);
    for (const char *at = only; n > 0 && n <= sizeof(text) && at != NULL;) {
        const char *end = strchr(at, ' ');
        const size_t size = end ? (size_t)(end - at) : strlen(at);
        if (size == n && memcmp(at, text, n) == 0)
            return true;
        at = end ? end + 1 : NULL;
    }
    return false;
}

static bool read_field(const struct serve_field *field, json_t *value, const char *where,
                       void *into, struct serve_error *error) {
    char place[128];
    serve_place(place, where, field->name);
    if (!is_of_kind(value, field->kind))
        return serve_fail(error, 400, "invalid_type", place, "'%s' must be %s, not %s.", place,
                          kind_name(field->kind),
                          json_is_real(value) ? "a number with a point or an exponent"
                                              : type_name(value));
    if (field->kind == SERVE_FIELD_ONLY && !is_listed(field->only, value))
        return serve_fail(error, 400, "unsupported_parameter", place,
                          field->only[0] ? "This server supports '%s' as %s only."
                                         : "This server does not support '%s'.",
                          place, field->only);
    if (json_is_number(value) && field->least < field->most) {
        const double number = json_number_value(value);
        if (!(number >= field->least && number <= field->most))
            return serve_fail(error, 400, "invalid_value", place,
                              "'%s' must be from %.15g to %.15g, not %.15g.", place, field->least,
                              field->most, number);
    }
    store(field, value, into);
    return true;
}

static const struct serve_field *find_row(const struct serve_fields *fields, const char *name) {
    for (; fields != NULL; fields = fields->next)
        for (size_t i = 0; i < fields->n_rows; i++)
            if (strcmp(fields->rows[i].name, name) == 0)
                return &fields->rows[i];
    return NULL;
}

bool serve_read_fields(const json_t *object, const char *where, const struct serve_fields *fields,
                       void *into, struct serve_error *error) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        const struct serve_field *field = find_row(fields, name);
        if (field == NULL) {
            char place[128];
            serve_place(place, where, name);
            return serve_fail(error, 400, "unknown_parameter", place,
                              "This server does not know the field '%s'.", place);
        }
        if (!json_is_null(value) && !read_field(field, value, where, into, error))
            return false;
    }
    return true;
}

/* ---- The body -------------------------------------------------------------------------------- */

/* Checks the depth first, because the parser recurses for every level. */
static bool is_shallow(const char *text, size_t n_bytes) {
    bool in_string = false;
    int depth = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        if (in_string) {
            if (text[i] == '\\')
                i++; /* an escaped quote does not end the string */
            else
                in_string = text[i] != '"';
        } else if (text[i] == '"') {
            in_string = true;
        } else if (text[i] == '{' || text[i] == '[') {
            if (++depth > MAX_DEPTH)
                return false;
        } else {
            depth -= text[i] == '}' || text[i] == ']';
        }
    }
    return true;
}

json_t *serve_read_body(const struct serve_request *request, struct serve_error *error) {
    json_error_t at;
    if (!is_shallow(request->body, request->body_bytes)) {
        serve_fail(error, 400, "invalid_json", NULL,
                   "The body nests objects and lists more than %d deep.", MAX_DEPTH);
        return NULL;
    }
    json_t *body = json_loadb(request->body, request->body_bytes, JSON_REJECT_DUPLICATES, &at);
    if (body == NULL && json_error_code(&at) == json_error_out_of_memory)
        serve_fail(error, 500, NULL, NULL, "No memory for the request.");
    else if (body == NULL)
        serve_fail(error, 400, "invalid_json", NULL,
                   "The body is not JSON that is understood: %.120s (line %d, column %d).", at.text,
                   at.line, at.column);
    else if (!json_is_object(body)) {
        serve_fail(error, 400, "invalid_json", NULL, "The body must be an object, not %s.",
                   type_name(body));
        json_decref(body);
        return NULL;
    }
    return body;
}

struct serve_model *serve_read_model(struct serve_server *server, const json_t *body,
                                     struct serve_error *error) {
    const json_t *value = json_object_get(body, "model");
    const char *name = json_string_value(value);
    if ((value == NULL || json_is_null(value)) && server->n_models == 1)
        return &server->models[0];
    const struct serve_model *model = name != NULL ? serve_find_model(server, name) : NULL;
    if (model != NULL)
        return &server->models[model->index];
    if (name == NULL)
        serve_fail(error, 400, "invalid_type", "model",
                   "'model' must be the name of a model that /v1/models lists.");
    else
        serve_fail(error, 404, "model_not_found", "model",
                   "There is no model \"%.200s\" here; /v1/models lists the models.", name);
    return NULL;
}
