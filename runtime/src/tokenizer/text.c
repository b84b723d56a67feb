/* text.c - tokenizer and chat template of a model, made when it is opened; rsr_tokenize,
 * rsr_chat_format and rsr_chat_tokens. */
#include <stdlib.h>
#include <string.h>

#include "chat/chat_template.h"
#include "text.h"
#include "tokenizer.h"

static const char *or_empty(const char *text) {
    return text ? text : "";
}

/* A model whose template is not understood still serves plain prompts: the sentence is kept for the
 * first rsr_chat_format. */
static void create_chat(const struct rsr_module *module, struct rsr_text *text) {
    text->chat_error.size_bytes = sizeof(text->chat_error);
    if (!module->chat_template)
        return;
    text->chat_status = rsr_chat_template_parse(
        module->chat_template, strlen(module->chat_template), &text->chat, &text->chat_error);
}

rsr_status rsr_text_create(const struct rsr_module *module, struct rsr_text **text,
                           rsr_error *err) {
    if (!module->tokenizer) {
        *text = NULL;
        return RSR_OK;
    }
    struct rsr_text *created = calloc(1, sizeof(*created));
    if (!created)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the tokenizer");
    rsr_status status = rsr_encoder_create(module->tokenizer, &created->encoder, err);
    if (status != RSR_OK) {
        free(created);
        return status;
    }
    create_chat(module, created);
    if (created->chat_status == RSR_ERR_MEMORY) {
        rsr_text_destroy(created);
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the chat template");
    }
    *text = created;
    return RSR_OK;
}

void rsr_text_destroy(struct rsr_text *text) {
    if (!text)
        return;
    rsr_encoder_destroy(text->encoder);
    rsr_chat_template_destroy(text->chat);
    free(text);
}

rsr_status rsr_text_deliver(const struct rsr_bytes *bytes, char *text, size_t capacity,
                            size_t *text_bytes, rsr_error *err) {
    size_t n = bytes->size < capacity ? bytes->size : capacity;
    if (n > 0)
        memcpy(text, bytes->data, n);
    *text_bytes = bytes->size;
    if (n < bytes->size)
        return rsr_fail(err, RSR_ERR_FULL, "the text has %zu bytes; there is room for %zu",
                        bytes->size, capacity);
    return RSR_OK;
}

static rsr_status check_messages(const rsr_message *messages, size_t n_messages, rsr_error *err) {
    for (size_t i = 0; i < n_messages; i++)
        if (!messages[i].role || !messages[i].content)
            return rsr_fail(err, RSR_ERR_ARGUMENT, "message %zu has no role or no content", i);
    return RSR_OK;
}

/* Renders messages, or a conversation. */
static rsr_status render(const rsr_model *model, struct rsr_chat_input *input,
                         struct rsr_chat_text *rendered, rsr_error *err) {
    const struct rsr_text *own = model->text;
    if (!own || (!own->chat && own->chat_status == RSR_OK))
        return rsr_fail(err, RSR_ERR_TEXT, "the model has no chat template; give it plain text");
    if (!own->chat)
        return rsr_fail(err, own->chat_status, "%s", own->chat_error.message);
    input->bos_text = or_empty(model->module->bos_text);
    input->eos_text = or_empty(model->module->eos_text);
    return rsr_chat_template_render(own->chat, input, rendered, err);
}

rsr_status rsr_api_chat_format(const rsr_model *model, const rsr_message *messages,
                               size_t n_messages, bool add_generation_prompt, char *text,
                               size_t capacity, size_t *text_bytes, rsr_error *err) {
    if (!text_bytes || (!messages && n_messages > 0) || (!text && capacity > 0))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_chat_format: a parameter is NULL");
    rsr_status status = rsr_check_owner(model->owner_pid, err);
    if (status == RSR_OK)
        status = check_messages(messages, n_messages, err);
    if (status != RSR_OK)
        return status;
    struct rsr_chat_input input = {.messages = messages,
                                   .n_messages = n_messages,
                                   .add_generation_prompt = add_generation_prompt};
    struct rsr_chat_text rendered = {{0}, {0}};
    status = render(model, &input, &rendered, err);
    if (status == RSR_OK)
        status = rsr_text_deliver(&rendered.text, text, capacity, text_bytes, err);
    rsr_chat_text_free(&rendered);
    return status;
}

/* A conversation, rendered. */
static rsr_status render_json(const rsr_model *model, const char *conversation, size_t n_bytes,
                              bool add_generation_prompt, struct rsr_chat_text *rendered,
                              rsr_error *err) {
    struct rsr_chat_input input = {.conversation = conversation,
                                   .conversation_bytes = n_bytes,
                                   .add_generation_prompt = add_generation_prompt};
    const rsr_status status = rsr_check_owner(model->owner_pid, err);
    return status == RSR_OK ? render(model, &input, rendered, err) : status;
}

rsr_status rsr_api_chat_format_json(const rsr_model *model, const char *conversation,
                                    size_t conversation_bytes, bool add_generation_prompt,
                                    char *text, size_t capacity, size_t *text_bytes,
                                    rsr_error *err) {
    if (!text_bytes || !conversation || (!text && capacity > 0))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_chat_format_json: a parameter is NULL");
    struct rsr_chat_text rendered = {{0}, {0}};
    rsr_status status =
        render_json(model, conversation, conversation_bytes, add_generation_prompt, &rendered, err);
    if (status == RSR_OK)
        status = rsr_text_deliver(&rendered.text, text, capacity, text_bytes, err);
    rsr_chat_text_free(&rendered);
    return status;
}

rsr_status rsr_api_chat_tokens(const rsr_model *model, const char *conversation,
                               size_t conversation_bytes, bool add_generation_prompt,
                               uint32_t *tokens, size_t capacity, size_t *n_tokens,
                               rsr_error *err) {
    if (!n_tokens || !conversation || (!tokens && capacity > 0))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "rsr_chat_tokens: a parameter is NULL");
    struct rsr_chat_text rendered = {{0}, {0}};
    uint32_t *all = NULL;
    size_t n = 0;
    rsr_status status =
        render_json(model, conversation, conversation_bytes, add_generation_prompt, &rendered, err);
    if (status == RSR_OK)
        status = rsr_tokenize_chat(model, &rendered, &all, &n, err);
    if (status == RSR_OK)
        status = rsr_tokens_deliver(all, n, tokens, capacity, n_tokens, err);
    rsr_chat_text_free(&rendered);
    return status;
}
