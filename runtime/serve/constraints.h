/* constraints.h - constraints of a chat's text: "response_format", or the schema of calls. */
#ifndef RSR_SERVE_CONSTRAINTS_H
#define RSR_SERVE_CONSTRAINTS_H

#include <jansson.h>

#include "job.h"

/* `format` may be NULL. */
bool serve_apply_response_format(const json_t *format, struct serve_job *job,
                                 struct serve_error *error);

/* Makes the job's text follow a JSON schema, which came in the field `param`. */
bool serve_apply_schema(const json_t *schema, const char *param, struct serve_job *job,
                        struct serve_error *error);

/* JSON as text, with numbers as short as possible; the caller frees it. NULL: no memory. */
char *serve_dump_json(const json_t *json);

#endif
