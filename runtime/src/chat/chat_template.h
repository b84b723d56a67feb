/* chat_template.h - renders messages with a checkpoint's chat template: a bounded subset of Jinja.
 *
 * What is understood is listed in chat_template_parse.c and chat_template_eval.c; anything else is
 * refused with its name and line, never guessed. A parsed template is immutable and shared by
 * threads.
 */
#ifndef RSR_CHAT_TEMPLATE_H
#define RSR_CHAT_TEMPLATE_H

#include "host/utf8.h"
#include "runtime.h"

struct rsr_chat_template;

/* Parses UTF-8 source; a construct outside the subset is RSR_ERR_TEXT. Borrows nothing. */
RSR_NODISCARD rsr_status rsr_chat_template_parse(const char *source, size_t n_bytes,
                                                 struct rsr_chat_template **chat, rsr_error *err);
void rsr_chat_template_destroy(struct rsr_chat_template *chat);

/* A rendered text and where its bytes come from; zero-initialised is empty. */
struct rsr_chat_text {
    struct rsr_bytes text;
    struct rsr_bytes marks; /* 1 for a byte that comes from a conversation, else 0; bytes past its
                               end count as 0 */
};

void rsr_chat_text_free(struct rsr_chat_text *text);

struct rsr_chat_input {
    const rsr_message *messages;
    size_t n_messages;
    const char *conversation; /* NULL, or JSON in the place of messages: see chat_conversation.c */
    size_t conversation_bytes;
    bool add_generation_prompt;
    const char *bos_text, *eos_text; /* "": not defined in the template */
    bool *raised; /* NULL, or set to true if the template itself refuses the messages */
};

/* Renders to `out`, which is empty and stays so on failure. Bytes that come from strings of
 * `conversation` are marked, except the usual roles; what a template makes of such bytes keeps
 * their marks. There are as many marks as bytes of text, or none if nothing is marked. RSR_ERR_TEXT
 * if the template refuses the messages, uses something outside the subset, or exceeds the limits on
 * steps, memory and output; RSR_ERR_ARGUMENT if the conversation is not understood. */
RSR_NODISCARD rsr_status rsr_chat_template_render(const struct rsr_chat_template *chat,
                                                  const struct rsr_chat_input *input,
                                                  struct rsr_chat_text *out, rsr_error *err);

/* Checks that the template renders what rsr-run --chat needs: one turn and then a second one, with
 * a system message or without. Many templates raise an exception in one of these two cases, so one
 * may fail. */
RSR_NODISCARD rsr_status rsr_chat_template_probe(const struct rsr_chat_template *chat,
                                                 const char *bos_text, const char *eos_text,
                                                 rsr_error *err);

#endif
