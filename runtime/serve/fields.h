/* fields.h - what a client sends as JSON, read by a table of fields into a struct.
 *
 * Every field of an object has a row, or the request is refused with the field's name: nothing is
 * ignored. A field that is null is one that is not there. Strings and values are borrowed from the
 * JSON.
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
    SERVE_FIELD_INERT,   /* nowhere: it says who asks, not what */
    SERVE_FIELD_ONLY     /* nowhere: what changes nothing, which `only` lists, is taken, all else
                            refused */
};

struct serve_field {
    const char *name;
    enum serve_field_kind kind;
    size_t offset;      /* in the struct that is filled */
    double least, most; /* of numbers */
    const char *only;   /* JSON texts between spaces: "false", "\"auto\" \"default\"" */
};

struct serve_fields {
    const struct serve_field *rows;
    size_t n_rows;
    const struct serve_fields *next; /* more of them; NULL: no */
};

/* Fills what `object` has; the rest of `into` stays as it is. `where` is the object's own place, ""
 * for the body, "messages[3]" for a part of it: errors name the field by it. */
bool serve_read_fields(const json_t *object, const char *where, const struct serve_fields *fields,
                       void *into, struct serve_error *error);

/* The body as a JSON object; new. NULL after an error. */
json_t *serve_read_body(const struct serve_request *request, struct serve_error *error);

/* The model that the body names, or the only one; NULL after an error. */
struct serve_model *serve_read_model(struct serve_server *server, const json_t *body,
                                     struct serve_error *error);

/* "messages[3].content" into a param of an error; `name` may be "". */
void serve_place(char place[128], const char *where, const char *name);

#endif
