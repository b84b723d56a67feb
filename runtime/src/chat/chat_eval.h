/* chat_eval.h - what the files that render a chat template share: evaluation, variables, scopes. */
#ifndef RSR_CHAT_EVAL_H
#define RSR_CHAT_EVAL_H

#include "chat_value.h"

/* ---- chat_template_eval.c -------------------------------------------------------------------- */

struct chat_value chat_evaluate(struct chat_render *r, const struct chat_node *node);
/* Runs statements outside of loops, which no break or continue leaves. */
void chat_run(struct chat_render *r, const struct chat_node *body);
struct chat_value chat_refuse_types(struct chat_render *r, const struct chat_node *node);

/* The variable of that name in the list, up to `to`, which may be NULL. */
struct chat_variable *chat_find(struct chat_variable *from, const struct chat_variable *to,
                                struct chat_string name);
void chat_define(struct chat_render *r, struct chat_variable **head, struct chat_string name,
                 struct chat_value value);

/* What was visible before an inner scope was entered. */
struct chat_scope {
    struct chat_variable *variables, *scope;
};

struct chat_scope chat_enter_scope(struct chat_render *r);
void chat_leave_scope(struct chat_render *r, struct chat_scope before);

/* ---- chat_conversation.c --------------------------------------------------------------------- */

/* Defines the variables that a template sees. */
void chat_define_inputs(struct chat_render *r, const struct rsr_chat_input *input);

/* ---- chat_json_read.c ------------------------------------------------------------------------ */

/* The value of a JSON text, which must be valid UTF-8 and outlive the rendering. Every string is
 * marked, except roles that templates know. RSR_ERR_ARGUMENT: the JSON is refused; the message
 * names the byte and, by `whose`, the text ("the conversation's"). */
struct chat_value chat_read_json(struct chat_render *r, const char *whose, struct chat_string json);

/* ---- chat_template_call.c -------------------------------------------------------------------- */

/* On failure sets the status and returns false. */
bool chat_evaluate_arguments(struct chat_render *r, const struct chat_node *node,
                             struct chat_arguments *arguments);
struct chat_value chat_call(struct chat_render *r, const struct chat_node *node);

#endif
