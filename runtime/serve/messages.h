/* messages.h - "messages" of a chat as a chat template takes them. */
#ifndef RSR_SERVE_MESSAGES_H
#define RSR_SERVE_MESSAGES_H

#include <jansson.h>

#include "serve.h"

/* Checks every field of every message; new, NULL after an error. Parts of content are joined by newlines, a
 * developer is the system, and arguments of calls are objects in place of texts, as templates have them. */
json_t *serve_read_messages(const struct serve_model *model, const json_t *messages,
                            struct serve_error *error);

#endif
