/* completions.c - POST /v1/completions: texts that continue texts or tokens. */
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "prompts.h"
#include "routes.h"
#include "scheduler.h"
#include "text_fields.h"

#define DEFAULT_MAX_TOKENS 16 /* OpenAI's */

struct completion {
    struct serve_text_fields text; /* first */
    json_t *prompt;
    int64_t best_of;
    uint32_t logprobs; /* SERVE_NOT_GIVEN */
    bool echo, add_special_tokens;
};

#define FIELD(name, kind, least, most)                                                             \
    { #name, SERVE_FIELD_##kind, offsetof(struct completion, name), least, most, NULL }

static const struct serve_field rows[] = {
    FIELD(prompt, VALUE, 0, 0),
    FIELD(echo, BOOL, 0, 0),
    FIELD(logprobs, UINT32, 0, SERVE_MAX_TOP_LOGPROBS),
    FIELD(best_of, INTEGER, 1, SERVE_MAX_CHOICES),
    FIELD(add_special_tokens, BOOL, 0, 0), /* vLLM's */
    {"suffix", SERVE_FIELD_ONLY, 0, 0, 0, "\"\""},
};
static const struct serve_fields fields = {rows, sizeof(rows) / sizeof(rows[0]),
                                           &serve_text_fields};

/* The text of a prompt, as it was sent, or the text of its tokens. */
static bool echo_prompt(const struct serve_model *model, const struct serve_prompt *prompt,
                        const json_t *sent, struct rsr_bytes *text, struct serve_error *error) {
    rsr_error err = RSR_ERROR_INIT;
    size_t n_bytes = 0;
    if (json_is_string(sent))
        return rsr_bytes_append(text, json_string_value(sent), json_string_length(sent)) ||
               serve_fail(error, 500, NULL, NULL, "No memory for the prompt's text.");
    rsr_status status = rsr_detokenize(model->model, prompt->tokens, prompt->n_tokens, true, NULL,
                                       0, &n_bytes, &err);
    if (status == RSR_ERR_FULL && rsr_bytes_reserve(text, n_bytes))
        status = rsr_detokenize(model->model, prompt->tokens, prompt->n_tokens, true, text->data,
                                n_bytes, &n_bytes, &err);
    text->size = status == RSR_OK ? n_bytes : 0;
    return status == RSR_OK ||
           serve_fail(error, 500, NULL, "prompt", "The prompt has no text: %s.", err.message);
}

static bool echo_prompts(struct serve_answer *answer, const json_t *sent,
                         struct serve_error *error) {
    const struct serve_job *job = answer->job;
    answer->echo = calloc(job->n_prompts, sizeof(*answer->echo));
    bool ok = answer->echo != NULL || serve_fail(error, 500, NULL, NULL, "No memory.");
    for (size_t p = 0; ok && p < job->n_prompts; p++)
        ok = echo_prompt(job->model, &job->prompts[p],
                         json_is_array(sent) ? json_array_get(sent, p) : sent, &answer->echo[p],
                         error);
    return ok;
}

static bool check(const struct completion *c, struct serve_error *error) {
    if (c->prompt == NULL)
        return serve_fail(error, 400, "missing_parameter", "prompt",
                          "'prompt' is missing: a text, texts, token ids, or lists of them.");
    return c->best_of == 0 || c->best_of == c->text.n ||
           serve_fail(error, 400, "unsupported_parameter", "best_of",
                      "This server supports 'best_of' equal to 'n' only.");
}

static bool read(const json_t *body, struct serve_answer *answer, struct serve_error *error) {
    struct completion c = {.logprobs = SERVE_NOT_GIVEN, .add_special_tokens = true};
    struct serve_job *job = answer->job;
    serve_begin_text_fields(job->model, &c.text);
    if (!serve_read_fields(body, "", &fields, &c, error) || !check(&c, error) ||
        !serve_check_generates(job->model, error) || !serve_apply_text_fields(&c.text, job, error))
        return false;
    const struct serve_prompt_rules rules = {
        job->model, "prompt",
        RSR_TOKENIZE_PARSE_SPECIAL | (c.add_special_tokens ? RSR_TOKENIZE_ADD_SPECIAL : 0),
        serve_scheduler_max_tokens(job->model), false};
    job->logprobs = c.logprobs != SERVE_NOT_GIVEN;
    job->n_top_logprobs = job->logprobs ? c.logprobs : 0;
    job->prompt_logprobs = job->logprobs && c.echo;
    answer->streams = c.text.stream;
    answer->include_usage = c.text.include_usage;
    return serve_read_prompts(&rules, c.prompt, job, error) &&
           serve_apply_max_tokens(c.text.max_tokens, DEFAULT_MAX_TOKENS, "max_tokens", job,
                                  error) &&
           (!c.echo || echo_prompts(answer, c.prompt, error));
}

void serve_completions(struct serve_server *server, const struct serve_request *request,
                       struct serve_reply *reply) {
    serve_answer_request(server, request, &serve_completion_answer, read, reply);
}
