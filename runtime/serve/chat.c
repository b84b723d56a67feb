/* chat.c - POST /v1/chat/completions: the next message of a conversation. */
#include "answers.h"
#include "constraints.h"
#include "messages.h"
#include "prompts.h"
#include "routes.h"
#include "scheduler.h"
#include "text_fields.h"

struct chat {
    struct serve_text_fields text; /* first */
    json_t *messages, *response_format, *tools, *tool_choice, *chat_template_kwargs;
    uint32_t max_completion_tokens, top_logprobs; /* SERVE_NOT_GIVEN */
    bool logprobs, parallel_tool_calls;
};

#define FIELD(name, kind, least, most)                                                             \
    { #name, SERVE_FIELD_##kind, offsetof(struct chat, name), least, most, NULL }
#define ONLY(name, texts)                                                                          \
    { name, SERVE_FIELD_ONLY, 0, 0, 0, texts }
#define INERT(name)                                                                                \
    { name, SERVE_FIELD_INERT, 0, 0, 0, NULL }

static const struct serve_field rows[] = {
    FIELD(messages, ARRAY, 0, 0),
    FIELD(max_completion_tokens, UINT32, 0, INT32_MAX),
    FIELD(logprobs, BOOL, 0, 0),
    FIELD(top_logprobs, UINT32, 0, SERVE_MAX_TOP_LOGPROBS),
    FIELD(response_format, OBJECT, 0, 0),
    FIELD(tools, ARRAY, 0, 0),
    FIELD(tool_choice, VALUE, 0, 0),
    FIELD(parallel_tool_calls, BOOL, 0, 0),
    FIELD(chat_template_kwargs, OBJECT, 0, 0), /* vLLM's */
    ONLY("add_generation_prompt", "true"),     /* vLLM's, and the next */
    ONLY("continue_final_message", "false"),
    ONLY("modalities", "[\"text\"]"),
    ONLY("service_tier", "\"auto\" \"default\""),
    ONLY("store", "false"),
    INERT("metadata"),
    INERT("prompt_cache_key"),
    INERT("safety_identifier"),
};
static const struct serve_fields fields = {rows, sizeof(rows) / sizeof(rows[0]),
                                           &serve_text_fields};

static bool check(const struct chat *c, struct serve_error *error) {
    const uint32_t new_name = c->max_completion_tokens, old_name = c->text.max_tokens;
    if (new_name != SERVE_NOT_GIVEN && old_name != SERVE_NOT_GIVEN && new_name != old_name)
        return serve_fail(error, 400, "invalid_value", "max_tokens",
                          "'max_tokens' is the old name of 'max_completion_tokens', and they "
                          "differ.");
    if (c->top_logprobs != SERVE_NOT_GIVEN && !c->logprobs)
        return serve_fail(error, 400, "invalid_value", "top_logprobs",
                          "'top_logprobs' goes with 'logprobs': true only.");
    if (new_name == 0 || old_name == 0)
        return serve_fail(error, 400, "invalid_value",
                          new_name == 0 ? "max_completion_tokens" : "max_tokens",
                          "A chat is answered with at least one token.");
    return true;
}

static bool constrain(const struct chat *c, const struct serve_tool_use *use, struct serve_job *job,
                      struct serve_error *error) {
    if (!serve_apply_response_format(c->response_format, job, error))
        return false;
    if (job->constraint != NULL && use->told != NULL)
        return serve_fail(error, 400, "unsupported_parameter", "response_format",
                          "This server supports 'response_format' beside 'tools' only with a "
                          "'tool_choice' of \"none\".");
    return use->schema == NULL || serve_apply_schema(use->schema, "tools", job, error);
}

static bool read_chat(const struct chat *c, const struct serve_tool_use *use,
                      struct serve_answer *answer, struct serve_error *error) {
    struct serve_job *job = answer->job;
    const struct serve_prompt_rules rules = {job->model, "messages", 0,
                                             serve_scheduler_max_tokens(job->model), false};
    const bool is_new = c->max_completion_tokens != SERVE_NOT_GIVEN;
    json_t *all =
        serve_conversation(job->model, c->messages, use->told, c->chat_template_kwargs, error);
    const bool ok =
        all != NULL && serve_read_conversation(&rules, all, job, error) &&
        serve_apply_max_tokens(is_new ? c->max_completion_tokens : c->text.max_tokens, UINT32_MAX,
                               is_new ? "max_completion_tokens" : "max_tokens", job, error) &&
        constrain(c, use, job, error);
    json_decref(all);
    return ok;
}

static bool read(const json_t *body, struct serve_answer *answer, struct serve_error *error) {
    struct serve_job *job = answer->job;
    struct serve_tool_use use = {0};
    struct chat c = {.max_completion_tokens = SERVE_NOT_GIVEN,
                     .top_logprobs = SERVE_NOT_GIVEN,
                     .parallel_tool_calls = true};
    serve_begin_text_fields(job->model, &c.text);
    const bool ok =
        serve_read_fields(body, "", &fields, &c, error) && check(&c, error) &&
        serve_apply_text_fields(&c.text, job, error) && serve_check_generates(job->model, error) &&
        serve_check_chat(job->model, error) &&
        serve_read_tools(job->model, c.tools, c.tool_choice, c.parallel_tool_calls, &use, error);
    job->logprobs = c.logprobs;
    job->n_top_logprobs = c.top_logprobs != SERVE_NOT_GIVEN ? c.top_logprobs : 0;
    answer->streams = c.text.stream;
    answer->include_usage = c.text.include_usage;
    answer->calls = use.calls;
    answer->tools = json_incref(use.told);
    const bool is_read = ok && read_chat(&c, &use, answer, error);
    json_decref(use.schema);
    return is_read;
}

void serve_chat(struct serve_server *server, const struct serve_request *request,
                struct serve_reply *reply) {
    serve_answer_request(server, request, &serve_chat_answer, read, reply);
}
