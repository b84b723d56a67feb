/* constraints.h - what a chat's text must follow: "response_format", or the schema of calls. */
#ifndef RSR_SERVE_CONSTRAINTS_H
#define RSR_SERVE_CONSTRAINTS_H

#include <jansson.h>

#include "job.h"

/* `format` may be NULL. */
bool serve_apply_response_format(const json_t *format, struct serve_job *job,
                                 struct serve_error *error);

/* The job's text follows the JSON schema, which the field `param` gives. */
bool serve_apply_schema(const json_t *schema, const char *param, struct serve_job *job,
                        struct serve_error *error);

/* As JSON, with numbers as short as they can be; the caller frees it. NULL: no memory. */
char *serve_dump_json(const json_t *json);

#endif
