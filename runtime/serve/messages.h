/* messages.h - turns "messages" of a chat into the form that a chat template takes. */
#ifndef RSR_SERVE_MESSAGES_H
#define RSR_SERVE_MESSAGES_H

#include <jansson.h>

#include "serve.h"

/* Makes the conversation that rsr_chat_tokens() takes; new, NULL after an error. Every field of
 * every message is checked. Parts of content are joined by newlines, the role developer becomes
 * system, and arguments of calls become objects instead of texts, as templates expect. `tools` and
 * `more` (chat_template_kwargs) may be NULL. */
json_t *serve_conversation(const struct serve_model *model, const json_t *messages, json_t *tools,
                           const json_t *more, struct serve_error *error);

#endif
