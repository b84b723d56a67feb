/* messages.h - "messages" of a chat as a chat template takes them. */
#ifndef RSR_SERVE_MESSAGES_H
#define RSR_SERVE_MESSAGES_H

#include <jansson.h>

#include "serve.h"

/* What a chat template sees, as rsr_chat_tokens() takes it; new, NULL after an error. Every field
 * of every message is checked: parts of content are joined by newlines, a developer is the system,
 * and arguments of calls are objects in place of texts, as templates have them. `tools` and `more`,
 * which is chat_template_kwargs, may be NULL. */
json_t *serve_conversation(const struct serve_model *model, const json_t *messages, json_t *tools,
                           const json_t *more, struct serve_error *error);

#endif
