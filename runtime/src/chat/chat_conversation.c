/* chat_conversation.c - what a chat template sees, as Hugging Face's apply_chat_template gives it:
 * messages, tools, documents, add_generation_prompt, bos_token, eos_token, and whatever else a
 * conversation names.
 *
 * A conversation is JSON: the array of messages, or {"messages": [...], "tools": [...], ...}, each
 * key a variable of the template. Messages have any fields.
 */
#include <string.h>

#include "chat_eval.h"

/* Copies the caller's text and replaces invalid UTF-8. */
static struct chat_string repaired_text(struct chat_render *r, const char *text, size_t n_bytes) {
    struct rsr_chat_text repaired = {{0}, {0}};
    if (rsr_utf8_is_valid(text, n_bytes))
        return (struct chat_string){text, n_bytes, NULL};
    const bool ok = rsr_utf8_append_repaired(&repaired.text, text, n_bytes);
    return chat_finish(r, &repaired, ok).string;
}

static void define_text(struct chat_render *r, struct chat_string name, const char *text) {
    if (text[0])
        chat_define(r, &r->variables, name, chat_text(repaired_text(r, text, strlen(text))));
}

static void define_messages(struct chat_render *r, const struct rsr_chat_input *input) {
    struct chat_value messages = {0};
    struct chat_value *items = chat_new_list(r, input->n_messages, &messages);
    for (size_t i = 0; items && i < input->n_messages; i++) {
        const rsr_message *m = &input->messages[i];
        struct chat_value *parts = chat_new_mapping(r, 2, &items[i]);
        if (!parts)
            return;
        parts[0] = chat_text(CHAT_STRING("role"));
        parts[1] = chat_text(repaired_text(r, m->role, strlen(m->role)));
        parts[2] = chat_text(CHAT_STRING("content"));
        parts[3] = chat_text(repaired_text(r, m->content, strlen(m->content)));
    }
    chat_define(r, &r->variables, CHAT_STRING("messages"), messages);
}

static void refuse_conversation(struct chat_render *r, const char *what, struct chat_string name) {
    if (r->status == RSR_OK)
        r->status = rsr_fail(r->err, RSR_ERR_ARGUMENT, "the conversation %s%.*s", what,
                             name.size < 40 ? (int)name.size : 40, name.data);
}

static bool are_messages(const struct chat_value *v) {
    bool ok = v && v->kind == CHAT_VALUE_LIST;
    for (size_t i = 0; ok && i < v->n_items; i++)
        ok = v->items[i].kind == CHAT_VALUE_MAPPING;
    return ok;
}

/* The conversation must not define variables that the model or the call defines. */
static void define_conversation(struct chat_render *r, const struct rsr_chat_input *input) {
    const struct chat_value all = chat_read_json(
        r, "the conversation's", repaired_text(r, input->conversation, input->conversation_bytes));
    const bool is_list = all.kind == CHAT_VALUE_LIST;
    const struct chat_value *messages = &all;
    if (all.kind == CHAT_VALUE_MAPPING)
        messages = chat_look_up(&all, CHAT_STRING("messages"));
    if (!are_messages(messages))
        refuse_conversation(r, "lacks \"messages\", a list of objects", CHAT_STRING(""));
    if (is_list)
        chat_define(r, &r->variables, CHAT_STRING("messages"), all);
    for (size_t i = 0; !is_list && i < all.n_items && r->status == RSR_OK; i++) {
        const struct chat_string name = all.items[2 * i].string;
        if (chat_equals(name, "add_generation_prompt") || chat_equals(name, "bos_token") ||
            chat_equals(name, "eos_token"))
            refuse_conversation(r, "may not give ", name);
        chat_define(r, &r->variables, name, all.items[2 * i + 1]);
    }
}

void chat_define_inputs(struct chat_render *r, const struct rsr_chat_input *input) {
    const struct chat_value none = {.kind = CHAT_VALUE_NONE};
    chat_define(r, &r->variables, CHAT_STRING("tools"), none);
    chat_define(r, &r->variables, CHAT_STRING("documents"), none);
    chat_define(r, &r->variables, CHAT_STRING("add_generation_prompt"),
                chat_bool(input->add_generation_prompt));
    define_text(r, CHAT_STRING("bos_token"), input->bos_text);
    define_text(r, CHAT_STRING("eos_token"), input->eos_text);
    if (input->conversation)
        define_conversation(r, input);
    else
        define_messages(r, input);
}
