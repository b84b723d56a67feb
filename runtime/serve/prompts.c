/* prompts.c - see prompts.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prompts.h"
#include "replies.h"

bool serve_check_tokenizer(const struct serve_model *model, struct serve_error *error) {
    return model->info.has_tokenizer ||
           serve_fail(error, 400, "unsupported_model", "model",
                      "The model '%.100s' has no tokenizer: send token ids.", model->name);
}

bool serve_check_generates(const struct serve_model *model, struct serve_error *error) {
    return model->info.pooling == NULL ||
           serve_fail(error, 400, "unsupported_model", "model",
                      "The model '%.100s' gives embeddings, at /v1/embeddings, and no text.",
                      model->name);
}

bool serve_check_chat(const struct serve_model *model, struct serve_error *error) {
    if (!model->info.has_chat_template)
        return serve_fail(
            error, 400, "unsupported_model", "model",
            "The model '%.100s' has no chat template: it continues texts, at /v1/completions.",
            model->name);
    return model->info.chat_problem == NULL ||
           serve_fail(error, 400, "unsupported_model", "model",
                      "The chat template of the model '%.100s' renders no conversation: %.400s.",
                      model->name, model->info.chat_problem);
}

static bool no_memory(struct serve_error *error) {
    return serve_fail(error, 500, NULL, NULL, "No memory for the prompt.");
}

static bool refuse_long(const struct serve_prompt_rules *rules, const char *at_least,
                        size_t n_tokens, struct serve_error *error) {
    return serve_fail(error, 400, "context_length_exceeded", rules->param,
                      "The context holds at most %u tokens here, and '%s' has %s%zu.",
                      rules->max_tokens, rules->param, at_least, n_tokens);
}

static bool refuse_empty(const struct serve_prompt_rules *rules, struct serve_error *error) {
    return serve_fail(error, 400, "invalid_value", rules->param,
                      "'%s' has a prompt without a token: there is nothing to go on from.",
                      rules->param);
}

/* Bytes that certainly become tokens: white space next to a special token may be a part of it, at
 * any length. */
static size_t count_covered(const char *text, size_t n_bytes) {
    size_t n = 0;
    for (size_t i = 0; i < n_bytes;) {
        const struct rsr_utf8_step step = rsr_utf8_scan(text + i, n_bytes - i);
        n += rsr_is_space(step.code) ? 0 : step.length;
        i += step.length;
    }
    return n;
}

/* Whether a text is too long by its bytes alone; *n_tokens is then a lower bound of its tokens. */
static bool is_long(const struct serve_prompt_rules *rules, const char *text, size_t n_bytes,
                    size_t *n_tokens) {
    const uint64_t per_token = rules->model->info.text_bytes;
    if (per_token == 0 || n_bytes <= per_token * rules->max_tokens)
        return false;
    if (rules->flags & RSR_TOKENIZE_PARSE_SPECIAL)
        n_bytes = count_covered(text, n_bytes);
    *n_tokens = (n_bytes + per_token - 1) / per_token;
    return *n_tokens > rules->max_tokens;
}

/* Gives `tokens` to the prompt, or explains the failed status of tokenising. */
static bool take_tokens(const struct serve_prompt_rules *rules, rsr_status status,
                        const rsr_error *err, uint32_t *tokens, size_t n_tokens,
                        struct serve_prompt *prompt, struct serve_error *error) {
    if (status == RSR_OK && (n_tokens > 0 || rules->may_be_empty)) {
        uint32_t *fitting = n_tokens > 0 ? realloc(tokens, n_tokens * sizeof(*tokens)) : NULL;
        prompt->tokens = fitting ? fitting : tokens;
        prompt->n_tokens = n_tokens;
        return true;
    }
    free(tokens);
    if (status == RSR_ERR_FULL)
        return refuse_long(rules, "", n_tokens, error);
    if (status == RSR_OK)
        return refuse_empty(rules, error);
    return serve_fail(error, status == RSR_ERR_MEMORY ? 500 : 400, "invalid_value", rules->param,
                      "'%s' gives no prompt: %s.", rules->param, err->message);
}

bool serve_prompt_of_text(const struct serve_prompt_rules *rules, const char *text, size_t n_bytes,
                          struct serve_prompt *prompt, struct serve_error *error) {
    rsr_error err = RSR_ERROR_INIT;
    size_t n_tokens = 0;
    if (!serve_check_tokenizer(rules->model, error))
        return false;
    if (is_long(rules, text, n_bytes, &n_tokens))
        return refuse_long(rules, "at least ", n_tokens, error);
    /* Nearly all texts have at most one token for each byte; the tokenizer adds a few. */
    const size_t most = n_bytes + 8 < rules->max_tokens ? n_bytes + 8 : rules->max_tokens;
    uint32_t *tokens = malloc(most * sizeof(*tokens));
    if (tokens == NULL)
        return no_memory(error);
    rsr_status status = rsr_tokenize(rules->model->model, text, n_bytes, rules->flags, tokens, most,
                                     &n_tokens, &err);
    if (status == RSR_ERR_FULL && n_tokens <= rules->max_tokens) { /* rare: its normal form is
                                                                      longer */
        free(tokens);
        tokens = malloc(n_tokens * sizeof(*tokens));
        if (tokens == NULL)
            return no_memory(error);
        status = rsr_tokenize(rules->model->model, text, n_bytes, rules->flags, tokens, n_tokens,
                              &n_tokens, &err);
    }
    return take_tokens(rules, status, &err, tokens, n_tokens, prompt, error);
}

bool serve_prompt_of_ids(const struct serve_prompt_rules *rules, const char *place,
                         const json_t *ids, struct serve_prompt *prompt,
                         struct serve_error *error) {
    const size_t n = json_array_size(ids);
    const uint32_t vocab = rules->model->info.vocab;
    if (n == 0)
        return rules->may_be_empty || refuse_empty(rules, error);
    if (n > rules->max_tokens)
        return refuse_long(rules, "", n, error);
    prompt->tokens = malloc(n * sizeof(*prompt->tokens));
    if (prompt->tokens == NULL)
        return no_memory(error);
    prompt->n_tokens = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(ids, i);
        const json_int_t token = json_is_integer(id) ? json_integer_value(id) : -1;
        if (token < 0 || token >= (json_int_t)vocab)
            return serve_fail(error, 400, "invalid_value", place,
                              "'%s[%zu]' must be a token's id, a whole number below %u.", place, i,
                              vocab);
        prompt->tokens[i] = (uint32_t)token;
    }
    return true;
}

static bool read_prompt(const struct serve_prompt_rules *rules, const char *place,
                        const json_t *value, struct serve_prompt *prompt,
                        struct serve_error *error) {
    if (json_is_string(value))
        return serve_prompt_of_text(rules, json_string_value(value), json_string_length(value),
                                    prompt, error);
    if (json_is_array(value))
        return serve_prompt_of_ids(rules, place, value, prompt, error);
    return serve_fail(error, 400, "invalid_type", place,
                      "'%s' must be a text or a list of token ids.", place);
}

static bool begin_prompts(struct serve_job *job, size_t n, struct serve_error *error) {
    job->prompts = calloc(n, sizeof(*job->prompts));
    job->n_prompts = job->prompts != NULL ? n : 0;
    return job->prompts != NULL || no_memory(error);
}

bool serve_read_prompts(const struct serve_prompt_rules *rules, const json_t *value,
                        struct serve_job *job, struct serve_error *error) {
    const size_t n = json_array_size(value);
    if (!json_is_array(value) || json_is_integer(json_array_get(value, 0)))
        return begin_prompts(job, 1, error) &&
               read_prompt(rules, rules->param, value, &job->prompts[0], error);
    if (n == 0 || n > SERVE_MAX_PROMPTS)
        return serve_fail(error, 400, "invalid_value", rules->param,
                          "'%s' must have from 1 to %d parts, not %zu.", rules->param,
                          SERVE_MAX_PROMPTS, n);
    bool ok = begin_prompts(job, n, error);
    for (size_t i = 0; ok && i < n; i++) {
        char place[128];
        snprintf(place, sizeof(place), "%s[%zu]", rules->param, i);
        ok = read_prompt(rules, place, json_array_get(value, i), &job->prompts[i], error);
    }
    return ok;
}

bool serve_prompt_of_conversation(const struct serve_prompt_rules *rules,
                                  const json_t *conversation, bool add_generation_prompt,
                                  struct serve_prompt *prompt, struct serve_error *error) {
    rsr_error err = RSR_ERROR_INIT;
    size_t n_tokens = 0;
    char *text = json_dumps(conversation, JSON_COMPACT);
    uint32_t *tokens = malloc((size_t)rules->max_tokens * sizeof(*tokens));
    if (text == NULL || tokens == NULL) {
        free(text);
        free(tokens);
        return no_memory(error);
    }
    const rsr_status status =
        rsr_chat_tokens(rules->model->model, text, strlen(text), add_generation_prompt, tokens,
                        rules->max_tokens, &n_tokens, &err);
    free(text);
    return take_tokens(rules, status, &err, tokens, n_tokens, prompt, error);
}

bool serve_read_conversation(const struct serve_prompt_rules *rules, const json_t *conversation,
                             struct serve_job *job, struct serve_error *error) {
    return begin_prompts(job, 1, error) &&
           serve_prompt_of_conversation(rules, conversation, true, &job->prompts[0], error);
}

bool serve_token_bytes(const struct serve_model *model, uint32_t token, struct rsr_bytes *bytes) {
    for (size_t capacity = 32;;) {
        size_t n_bytes = 0;
        if (!rsr_bytes_reserve(bytes, capacity))
            return false;
        const rsr_status status = rsr_model_get_token(
            model->model, token, bytes->data + bytes->size, capacity, &n_bytes, NULL, NULL);
        if (status == RSR_OK)
            bytes->size += n_bytes;
        if (status != RSR_ERR_FULL)
            return true; /* an id without a text has none */
        capacity = n_bytes;
    }
}
