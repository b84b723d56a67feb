/* constraints.c - see constraints.h. */
#include <stdlib.h>
#include <string.h>

#include "constraints.h"
#include "fields.h"
#include "replies.h"

/* The grammar of json_object: any JSON object, with a little white space. Without a bound a model
 * might write white space for ever. */
static const char any_object[] =
    "root ::= object\n"
    "value ::= object | array | string | number | \"true\" | \"false\" | \"null\"\n"
    "object ::= \"{\" space ( member ( \",\" space member )* )? \"}\"\n"
    "member ::= string space \":\" space value space\n"
    "array ::= \"[\" space ( value space ( \",\" space value space )* )? \"]\"\n"
    "string ::= \"\\\"\" ( [^\"\\\\\\x00-\\x1f] | \"\\\\\" ( [\"\\\\/bfnrt] | \"u\" hex hex hex "
    "hex ) "
    ")* \"\\\"\"\n"
    "hex ::= [0-9a-fA-F]\n"
    "number ::= \"-\"? ( \"0\" | [1-9] [0-9]{0,17} ) ( \".\" [0-9]{1,17} )? ( [eE] [-+]? "
    "[0-9]{1,2} "
    ")?\n"
    "space ::= ( \" \" | \"\\n\" [ \\t]{0,20} )?\n";

char *serve_dump_json(const json_t *json) {
    char *text = NULL;
    bool is_same = false;
    /* 15 digits suffice for numbers that people write; every double needs at most 17. */
    for (size_t digits = 15; digits <= 17 && !is_same; digits++) {
        free(text);
        text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        json_t *again = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
        is_same = json_equal(json, again) == 1;
        json_decref(again);
    }
    return text;
}

static bool constrain(rsr_constraint_kind kind, const char *text, const char *param,
                      struct serve_job *job, struct serve_error *error) {
    rsr_error err = RSR_ERROR_INIT;
    if (text == NULL)
        return serve_fail(error, 500, NULL, NULL, "No memory for '%s'.", param);
    if (job->model->vocabulary == NULL)
        return serve_fail(error, 400, "unsupported_model", "model",
                          "The model '%.100s' has no tokenizer: its text can follow nothing.",
                          job->model->name);
    const rsr_status status = rsr_constraint_create(job->model->vocabulary, kind, text,
                                                    strlen(text), &job->constraint, &err);
    return status == RSR_OK || serve_fail(error, status == RSR_ERR_MEMORY ? 500 : 422,
                                          "unsupported_schema", param, "%s", err.message);
}

bool serve_apply_schema(const json_t *schema, const char *param, struct serve_job *job,
                        struct serve_error *error) {
    char *text = serve_dump_json(schema);
    const bool ok = constrain(RSR_CONSTRAINT_JSON_SCHEMA, text, param, job, error);
    free(text);
    return ok;
}

struct format {
    const char *type;
    json_t *json_schema;
};

struct schema {
    const char *name;
    json_t *schema;
};

#define FIELD(type, name, kind)                                                                    \
    { #name, SERVE_FIELD_##kind, offsetof(struct type, name), 0, 0, NULL }

static const struct serve_field format_rows[] = {FIELD(format, type, STRING),
                                                 FIELD(format, json_schema, OBJECT)};
static const struct serve_field schema_rows[] = {
    FIELD(schema, name, STRING),
    FIELD(schema, schema, OBJECT),
    {"description", SERVE_FIELD_INERT, 0, 0, 0, NULL},   /* has no effect on what is enforced */
    {"strict", SERVE_FIELD_ONLY, 0, 0, 0, "true false"}, /* schemas are always enforced */
};
static const struct serve_fields format_fields = {format_rows, 2, NULL};
static const struct serve_fields schema_fields = {schema_rows, 4, NULL};

bool serve_apply_response_format(const json_t *format, struct serve_job *job,
                                 struct serve_error *error) {
    struct format f = {0};
    struct schema s = {0};
    if (format == NULL)
        return true;
    if (!serve_read_fields(format, "response_format", &format_fields, &f, error))
        return false;
    if (f.type != NULL && strcmp(f.type, "json_schema") == 0) {
        if (f.json_schema != NULL &&
            !serve_read_fields(f.json_schema, "response_format.json_schema", &schema_fields, &s,
                               error))
            return false;
        return s.schema != NULL
                   ? serve_apply_schema(s.schema, "response_format.json_schema.schema", job, error)
                   : serve_fail(error, 400, "missing_parameter", "response_format.json_schema",
                                "'response_format.json_schema.schema' is missing.");
    }
    if (f.json_schema == NULL && f.type != NULL && strcmp(f.type, "json_object") == 0)
        return constrain(RSR_CONSTRAINT_GRAMMAR, any_object, "response_format", job, error);
    return (f.json_schema == NULL && f.type != NULL && strcmp(f.type, "text") == 0) ||
           serve_fail(error, 400, "invalid_value", "response_format.type",
                      "'response_format.type' must be text, json_object or json_schema, and only "
                      "the last has a 'json_schema'.");
}
