/* replies.h - replies that every route gives. */
#ifndef RSR_SERVE_REPLIES_H
#define RSR_SERVE_REPLIES_H

#include <jansson.h>

#include "http.h"

/* Fills the error; `param` may be NULL. Returns false, so that checks end with it. */
bool serve_fail(struct serve_error *error, unsigned status, const char *code, const char *param,
                const char *format, ...) __attribute__((format(printf, 5, 6)));

/* {"error": {"message", "type", "param", "code"}}; new. */
json_t *serve_error_json(const struct serve_error *error);

/* Takes `json`; NULL means no memory and becomes status 500. */
void serve_reply_json(struct serve_reply *reply, unsigned status, json_t *json);
void serve_reply_error(struct serve_reply *reply, const struct serve_error *error);
/* Text that lives as long as the program. */
void serve_reply_static(struct serve_reply *reply, const char *content_type, const char *text,
                        size_t n_bytes);

/* Text from the model or the client as a JSON string, with invalid UTF-8 replaced; new. */
json_t *serve_text_json(const char *text, size_t n_bytes);

#endif
