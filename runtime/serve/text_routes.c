/* text_routes.c - texts and tokens: POST /tokenize and /detokenize as in vLLM, POST /apply-template
 * as in llama.cpp, and GET /tokenizer_info, which lm-eval uses. They answer at once. */
#include <stdlib.h>
#include <string.h>

#include "embedder.h"
#include "fields.h"
#include "messages.h"
#include "prompts.h"
#include "replies.h"
#include "routes.h"
#include "tools.h"

/* Limit of tokens. A text that fits into no context is tokenised only up to here, because this
 * delays all other requests. It limits ids, too, because the text of tokens may be a hundred times
 * as long as their ids. */
#define MAX_TOKENS ((uint32_t)1 << 17)

static uint32_t most_tokens(const struct serve_model *model) {
    return model->info.context > MAX_TOKENS ? model->info.context : MAX_TOKENS;
}

struct text {
    const char *prompt;
    json_t *messages, *tools, *chat_template_kwargs, *tokens;
    bool add_special_tokens, add_generation_prompt, return_token_strs;
};

#define FIELD(name, kind)                                                                          \
    { #name, SERVE_FIELD_##kind, offsetof(struct text, name), 0, 0, NULL }
#define FIELDS(rows, next)                                                                         \
    { rows, sizeof(rows) / sizeof((rows)[0]), next }

static const struct serve_field model_rows[] = {
    {"model", SERVE_FIELD_INERT, 0, 0, 0, NULL}, /* serve_read_model() has read it */
};
static const struct serve_field message_rows[] = {FIELD(messages, ARRAY), FIELD(tools, ARRAY),
                                                  FIELD(chat_template_kwargs, OBJECT),
                                                  FIELD(add_generation_prompt, BOOL)};
static const struct serve_field tokenize_rows[] = {
    FIELD(prompt, STRING), FIELD(add_special_tokens, BOOL), FIELD(return_token_strs, BOOL)};
static const struct serve_field detokenize_rows[] = {FIELD(tokens, ARRAY)};
static const struct serve_fields model_fields = FIELDS(model_rows, NULL),
                                 template_fields = FIELDS(message_rows, &model_fields),
                                 tokenize_fields = FIELDS(tokenize_rows, &template_fields),
                                 detokenize_fields = FIELDS(detokenize_rows, &model_fields);

/* Makes the answer of what was read; new, NULL after an error. */
typedef json_t *answer_fn(const struct serve_model *model, const struct text *text,
                          struct serve_error *error);

static void answer_text(struct serve_server *server, const struct serve_request *request,
                        const struct serve_fields *fields, answer_fn *answer,
                        struct serve_reply *reply) {
    struct serve_error error = {0};
    struct text text = {.add_special_tokens = true, .add_generation_prompt = true};
    json_t *json = NULL, *body = serve_read_body(request, &error);
    const struct serve_model *model = body ? serve_read_model(server, body, &error) : NULL;
    if (model != NULL && serve_read_fields(body, "", fields, &text, &error) &&
        serve_check_tokenizer(model, &error))
        json = answer(model, &text, &error);
    if (error.status != 0)
        serve_reply_error(reply, &error);
    else
        serve_reply_json(reply, 200, json);
    json_decref(body);
}

/* The conversation for the template; new, NULL after an error. */
static json_t *read_conversation(const struct serve_model *model, const struct text *text,
                                 struct serve_error *error) {
    return serve_check_chat(model, error) &&
                   (text->tools == NULL || serve_check_tools(model, text->tools, error))
               ? serve_conversation(model, text->messages, text->tools, text->chat_template_kwargs,
                                    error)
               : NULL;
}

/* ---- Tokens ---------------------------------------------------------------------------------- */

static json_t *tokens_json(const struct serve_prompt *prompt) {
    json_t *json = json_array();
    bool ok = json != NULL;
    for (size_t i = 0; ok && i < prompt->n_tokens; i++)
        ok = json_array_append_new(json, json_integer(prompt->tokens[i])) == 0;
    if (ok)
        return json;
    json_decref(json);
    return NULL;
}

static json_t *token_texts_json(const struct serve_model *model,
                                const struct serve_prompt *prompt) {
    json_t *json = json_array();
    struct rsr_bytes text = {0};
    bool ok = json != NULL;
    for (size_t i = 0; ok && i < prompt->n_tokens; i++) {
        text.size = 0;
        ok = serve_token_bytes(model, prompt->tokens[i], &text) &&
             json_array_append_new(json, serve_text_json(text.data, text.size)) == 0;
    }
    rsr_bytes_free(&text);
    if (ok)
        return json;
    json_decref(json);
    return NULL;
}

static bool tokenize_messages(const struct serve_prompt_rules *rules, const struct text *text,
                              struct serve_prompt *prompt, struct serve_error *error) {
    json_t *conversation = read_conversation(rules->model, text, error);
    const bool ok = conversation != NULL &&
                    serve_prompt_of_conversation(rules, conversation, text->add_generation_prompt,
                                                 prompt, error);
    json_decref(conversation);
    return ok;
}

static json_t *tokenize(const struct serve_model *model, const struct text *text,
                        struct serve_error *error) {
    const struct serve_prompt_rules rules = {
        model, text->prompt ? "prompt" : "messages",
        RSR_TOKENIZE_PARSE_SPECIAL | (text->add_special_tokens ? RSR_TOKENIZE_ADD_SPECIAL : 0),
        most_tokens(model), true};
    struct serve_prompt prompt = {0};
    json_t *json = NULL;
    if ((text->prompt != NULL) == (text->messages != NULL))
        serve_fail(error, 400, "missing_parameter", "prompt",
                   "The body needs a 'prompt' (a text) or 'messages'.");
    else if (text->prompt != NULL
                 ? serve_prompt_of_text(&rules, text->prompt, strlen(text->prompt), &prompt, error)
                 : tokenize_messages(&rules, text, &prompt, error))
        json = json_pack("{s:I, s:I, s:o, s:o}", "count", (json_int_t)prompt.n_tokens,
                         "max_model_len", (json_int_t)serve_max_tokens(model), "tokens",
                         tokens_json(&prompt), "token_strs",
                         text->return_token_strs ? token_texts_json(model, &prompt) : json_null());
    free(prompt.tokens);
    return json;
}

void serve_tokenize(struct serve_server *server, const struct serve_request *request,
                    struct serve_reply *reply) {
    answer_text(server, request, &tokenize_fields, tokenize, reply);
}

/* ---- Texts ----------------------------------------------------------------------------------- */

/* {"prompt": text}; takes `text`; new, NULL after an error. */
static json_t *prompt_json(rsr_status status, const rsr_error *err, char *text, size_t n_bytes,
                           const char *param, struct serve_error *error) {
    json_t *json = NULL;
    if (status == RSR_OK)
        json = json_pack("{s:o}", "prompt", serve_text_json(text ? text : "", n_bytes));
    else
        serve_fail(error, status == RSR_ERR_MEMORY ? 500 : 400, "invalid_value", param,
                   "'%s' gives no text: %s.", param, err->message);
    free(text);
    return json;
}

static json_t *detokenize(const struct serve_model *model, const struct text *text,
                          struct serve_error *error) {
    const struct serve_prompt_rules rules = {model, "tokens", 0, most_tokens(model), true};
    struct serve_prompt prompt = {0};
    rsr_error err = RSR_ERROR_INIT;
    size_t n_bytes = 0;
    if (text->tokens == NULL) {
        serve_fail(error, 400, "missing_parameter", "tokens",
                   "'tokens' is missing: a list of ids.");
        return NULL;
    }
    char *out = NULL;
    json_t *json = NULL;
    if (serve_prompt_of_ids(&rules, "tokens", text->tokens, &prompt, error)) {
        rsr_status status = rsr_detokenize(model->model, prompt.tokens, prompt.n_tokens, false,
                                           NULL, 0, &n_bytes, &err);
        if (status == RSR_ERR_FULL && (out = malloc(n_bytes)) != NULL)
            status = rsr_detokenize(model->model, prompt.tokens, prompt.n_tokens, false, out,
                                    n_bytes, &n_bytes, &err);
        json = prompt_json(status, &err, out, n_bytes, "tokens", error);
    }
    free(prompt.tokens);
    return json;
}

void serve_detokenize(struct serve_server *server, const struct serve_request *request,
                      struct serve_reply *reply) {
    answer_text(server, request, &detokenize_fields, detokenize, reply);
}

static json_t *apply_template(const struct serve_model *model, const struct text *text,
                              struct serve_error *error) {
    rsr_error err = RSR_ERROR_INIT;
    size_t n_bytes = 0;
    if (!serve_check_chat(model, error))
        return NULL;
    json_t *conversation =
        serve_conversation(model, text->messages, text->tools, text->chat_template_kwargs, error);
    if (conversation == NULL)
        return NULL;
    char *json = json_dumps(conversation, JSON_COMPACT), *out = NULL;
    json_decref(conversation);
    if (json == NULL)
        return NULL;
    rsr_status status = rsr_chat_format_json(model->model, json, strlen(json),
                                             text->add_generation_prompt, NULL, 0, &n_bytes, &err);
    if (status == RSR_ERR_FULL && (out = malloc(n_bytes)) != NULL)
        status = rsr_chat_format_json(model->model, json, strlen(json), text->add_generation_prompt,
                                      out, n_bytes, &n_bytes, &err);
    free(json);
    return prompt_json(status, &err, out, n_bytes, "messages", error);
}

void serve_apply_template(struct serve_server *server, const struct serve_request *request,
                          struct serve_reply *reply) {
    answer_text(server, request, &template_fields, apply_template, reply);
}

/* ---- The tokenizer --------------------------------------------------------------------------- */

/* The text of a token, null if there is none; new. */
static json_t *token_json(const struct serve_model *model, uint32_t token) {
    struct rsr_bytes text = {0};
    json_t *json = NULL;
    if (token == UINT32_MAX)
        return json_null();
    if (serve_token_bytes(model, token, &text))
        json = serve_text_json(text.data, text.size);
    rsr_bytes_free(&text);
    return json;
}

void serve_tokenizer_info(struct serve_server *server, const struct serve_request *request,
                          struct serve_reply *reply) {
    const struct serve_model *model = &server->models[0];
    struct serve_error error = {0};
    (void)request;
    if (server->n_models != 1)
        serve_fail(&error, 400, "ambiguous", "model",
                   "This server has %u models; /tokenizer_info needs a server with only one.",
                   server->n_models);
    if (error.status != 0 || !serve_check_tokenizer(model, &error))
        serve_reply_error(reply, &error);
    else
        serve_reply_json(reply, 200,
                         json_pack("{s:s, s:o, s:o, s:I, s:s?}", "model", model->name, "bos_token",
                                   token_json(model, model->info.bos_token), "eos_token",
                                   token_json(model, model->info.eos_token), "model_max_length",
                                   (json_int_t)model->info.context, "chat_template",
                                   model->info.chat_template));
}
