/* fields.h - reads the JSON of a client into a struct, by a table of fields.
 *
 * Every field of an object needs a row; otherwise the request is refused with the field's name.
 * Nothing is ignored. A field with the value null counts as missing. Strings and values are
 * borrowed from the JSON.
 */
#ifndef RSR_SERVE_FIELDS_H
#define RSR_SERVE_FIELDS_H

#include <jansson.h>

#include "http.h"

enum serve_field_kind {
    SERVE_FIELD_BOOL,    /* bool */
    SERVE_FIELD_INTEGER, /* int64_t */
    SERVE_FIELD_UINT32,  /* uint32_t */
    SERVE_FIELD_NUMBER,  /* float */
    SERVE_FIELD_STRING,  /* const char * */
    SERVE_FIELD_ARRAY,   /* json_t * */
    SERVE_FIELD_OBJECT,  /* json_t * */
    SERVE_FIELD_VALUE,   /* json_t *, of any kind */
    SERVE_FIELD_INERT,   /* not stored: the field says who asks, not what */
    SERVE_FIELD_ONLY     /* not stored: values that change nothing, listed in `only`, are accepted,
                            all others refused */
};

struct serve_field {
    const char *name;
    enum serve_field_kind kind;
    size_t offset;      /* of the member in the struct */
    double least, most; /* of numbers */
    const char *only;   /* JSON texts between spaces: "false", "\"auto\" \"default\"" */
};

struct serve_fields {
    const struct serve_field *rows;
    size_t n_rows;
    const struct serve_fields *next; /* further fields; NULL: none */
};

/* Fills the members of `into` for the fields that `object` has; the others do not change. Errors
 * name a field by `where`, the place of the object: "" for the body, "messages[3]" for a part of
 * it. */
bool serve_read_fields(const json_t *object, const char *where, const struct serve_fields *fields,
                       void *into, struct serve_error *error);

/* The body as a JSON object; new. NULL after an error. */
json_t *serve_read_body(const struct serve_request *request, struct serve_error *error);

/* The model that the body names, or the server's only model; NULL after an error. */
struct serve_model *serve_read_model(struct serve_server *server, const json_t *body,
                                     struct serve_error *error);

/* Writes "messages[3].content" to the param of an error; `name` may be "". */
void serve_place(char place[128], const char *where, const char *name);

#endif
