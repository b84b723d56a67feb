/* text_fields.c - see text_fields.h. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "replies.h"
#include "scheduler.h"
#include "text_fields.h"

/* Rows of log-probabilities that a request may ask for, because they are written as JSON at
 * once. */
#define MAX_LOGPROBS ((uint64_t)1 << 20)
#define MAX_SEED 0x1p63

#define FIELD(name, kind, least, most)                                                             \
    { #name, SERVE_FIELD_##kind, offsetof(struct serve_text_fields, name), least, most, NULL }
#define ONLY(name, texts)                                                                          \
    { name, SERVE_FIELD_ONLY, 0, 0, 0, texts }

static const struct serve_field rows[] = {
    FIELD(stream, BOOL, 0, 0),
    FIELD(stream_options, OBJECT, 0, 0),
    FIELD(max_tokens, UINT32, 0, INT32_MAX),
    FIELD(temperature, NUMBER, 0, 2),
    FIELD(top_p, NUMBER, 0, 1),
    FIELD(top_k, INTEGER, -1, INT32_MAX), /* vLLM's -1 and 0: off */
    FIELD(min_p, NUMBER, 0, 1),
    FIELD(seed, INTEGER, -MAX_SEED, MAX_SEED),
    FIELD(n, UINT32, 1, SERVE_MAX_CHOICES),
    FIELD(stop, VALUE, 0, 0),
    FIELD(presence_penalty, NUMBER, -2, 2),
    FIELD(frequency_penalty, NUMBER, -2, 2),
    FIELD(repetition_penalty, NUMBER, 0.01, 100),
    FIELD(logit_bias, OBJECT, 0, 0),
    {"model", SERVE_FIELD_INERT, 0, 0, 0, NULL}, /* serve_read_model() has read it */
    {"user", SERVE_FIELD_INERT, 0, 0, 0, NULL},
};
const struct serve_fields serve_text_fields = {rows, sizeof(rows) / sizeof(rows[0]), NULL};

static const struct serve_field stream_rows[] = {
    FIELD(include_usage, BOOL, 0, 0),
    ONLY("include_obfuscation", "false"),
};
static const struct serve_fields stream_fields = {
    stream_rows, sizeof(stream_rows) / sizeof(stream_rows[0]), NULL};

void serve_begin_text_fields(const struct serve_model *model, struct serve_text_fields *fields) {
    const rsr_sampling *own = model->info.sampling;
    *fields = (struct serve_text_fields){.n = 1,
                                         .max_tokens = SERVE_NOT_GIVEN,
                                         .temperature = own ? own->temperature : 1,
                                         .top_p = own ? own->top_p : 1,
                                         .min_p = own ? own->min_p : 0,
                                         .top_k = own ? own->top_k : 0,
                                         .repetition_penalty = NAN};
    if (getrandom(&fields->seed, sizeof(fields->seed), 0) != sizeof(fields->seed))
        fields->seed = serve_now_ns();
}

static bool add_stop(struct serve_job *job, const char *place, const json_t *text,
                     struct serve_error *error) {
    if (!json_is_string(text) || json_string_length(text) == 0)
        return serve_fail(error, 400, "invalid_value", "stop",
                          "'%s' must be a string that is not empty.", place);
    if (json_string_length(text) > SERVE_MAX_STOP_BYTES)
        return serve_fail(error, 400, "invalid_value", "stop",
                          "'%s' must have at most %d bytes, not %zu.", place, SERVE_MAX_STOP_BYTES,
                          json_string_length(text));
    job->stop[job->n_stop] = strdup(json_string_value(text));
    if (job->stop[job->n_stop] == NULL)
        return serve_fail(error, 500, NULL, NULL, "No memory for the request.");
    job->n_stop++;
    return true;
}

static bool read_stop(const json_t *value, struct serve_job *job, struct serve_error *error) {
    if (value == NULL)
        return true;
    if (!json_is_array(value))
        return add_stop(job, "stop", value, error);
    if (json_array_size(value) > SERVE_MAX_STOP_STRINGS)
        return serve_fail(error, 400, "invalid_value", "stop",
                          "'stop' must have at most %d strings, not %zu.", SERVE_MAX_STOP_STRINGS,
                          json_array_size(value));
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(value); i++)
        ok = add_stop(job, "stop[]", json_array_get(value, i), error);
    return ok;
}

/* "17": -100 */
static bool read_bias(const char *name, const json_t *value, uint32_t vocab, rsr_logit_bias *bias,
                      struct serve_error *error) {
    const double number = json_is_number(value) ? json_number_value(value) : INFINITY;
    char *end = NULL;
    const unsigned long token = strtoul(name, &end, 10);
    if (name[0] < '0' || name[0] > '9' || *end != '\0' || token >= vocab)
        return serve_fail(error, 400, "invalid_value", "logit_bias",
                          "'logit_bias' has \"%.40s\", which is no token's id below %u.", name,
                          vocab);
    if (!(number >= -100 && number <= 100))
        return serve_fail(error, 400, "invalid_value", "logit_bias",
                          "'logit_bias' of token %lu must be a number from -100 to 100.", token);
    *bias = (rsr_logit_bias){(uint32_t)token, (float)number};
    return true;
}

static bool read_logit_bias(const json_t *object, struct serve_job *job,
                            struct serve_error *error) {
    const size_t n = json_object_size(object);
    const char *name;
    json_t *value;
    if (n == 0)
        return true;
    if (n > SERVE_MAX_LOGIT_BIAS)
        return serve_fail(error, 400, "invalid_value", "logit_bias",
                          "'logit_bias' must have at most %d tokens, not %zu.",
                          SERVE_MAX_LOGIT_BIAS, n);
    job->logit_bias = calloc(n, sizeof(*job->logit_bias));
    if (job->logit_bias == NULL)
        return serve_fail(error, 500, NULL, NULL, "No memory for the request.");
    json_object_foreach((json_t *)object, name,
                        value) if (!read_bias(name, value, job->model->info.vocab,
                                              &job->logit_bias[job->sampling.n_logit_bias++],
                                              error)) return false;
    return true;
}

static bool read_stream_options(struct serve_text_fields *fields, struct serve_error *error) {
    if (fields->stream_options == NULL)
        return true;
    if (!fields->stream)
        return serve_fail(error, 400, "invalid_value", "stream_options",
                          "'stream_options' goes with 'stream': true only.");
    return serve_read_fields(fields->stream_options, "stream_options", &stream_fields, fields,
                             error);
}

/* The checkpoint's penalty belongs to its temperature: a request for the likeliest token
 * (temperature 0) gets no penalty. */
static void apply_repetition(const struct serve_text_fields *fields, const rsr_sampling *own,
                             rsr_sampling *sampling) {
    if (!isnan(fields->repetition_penalty)) {
        sampling->repeat_penalty = fields->repetition_penalty;
        sampling->repeat_window = UINT32_MAX; /* prompt and answer, as vLLM has it */
    } else if (own != NULL && fields->temperature > 0) {
        sampling->repeat_penalty = own->repeat_penalty;
        sampling->repeat_window = own->repeat_window;
    }
}

bool serve_apply_text_fields(struct serve_text_fields *fields, struct serve_job *job,
                             struct serve_error *error) {
    rsr_sampling *sampling = &job->sampling;
    sampling->temperature = fields->temperature;
    sampling->top_p = fields->top_p > 0 ? fields->top_p : FLT_MIN; /* 0: one token */
    sampling->min_p = fields->min_p;
    sampling->top_k = fields->top_k > 0 ? (uint32_t)fields->top_k : 0;
    sampling->seed = (uint64_t)fields->seed;
    sampling->presence_penalty = fields->presence_penalty;
    sampling->frequency_penalty = fields->frequency_penalty;
    apply_repetition(fields, job->model->info.sampling, sampling);
    job->n_choices = fields->n;
    return read_stream_options(fields, error) && read_stop(fields->stop, job, error) &&
           read_logit_bias(fields->logit_bias, job, error);
}

static bool check_logprobs(const struct serve_job *job, struct serve_error *error) {
    uint64_t n_rows = 0;
    for (size_t i = 0; i < job->n_prompts; i++)
        n_rows += (job->prompt_logprobs ? job->prompts[i].n_tokens : 0) + (uint64_t)job->max_tokens;
    const uint64_t n = n_rows * job->n_choices * (1 + job->n_top_logprobs);
    return !job->logprobs || n <= MAX_LOGPROBS ||
           serve_fail(error, 400, "invalid_value", "logprobs",
                      "'logprobs' of all tokens would be up to %llu numbers, of at most %llu: ask "
                      "for fewer prompts, choices or tokens.",
                      (unsigned long long)n, (unsigned long long)MAX_LOGPROBS);
}

bool serve_apply_max_tokens(uint32_t asked, uint32_t otherwise, const char *param,
                            struct serve_job *job, struct serve_error *error) {
    const uint32_t limit = serve_scheduler_max_tokens(job->model);
    size_t longest = 0;
    for (size_t i = 0; i < job->n_prompts; i++)
        longest = job->prompts[i].n_tokens > longest ? job->prompts[i].n_tokens : longest;
    if (asked == SERVE_NOT_GIVEN && longest >= limit)
        return serve_fail(error, 400, "context_length_exceeded", param,
                          "The context holds at most %u tokens here, and the prompt has %zu: "
                          "nothing is left for an answer.",
                          limit, longest);
    if (asked != SERVE_NOT_GIVEN && longest + asked > limit)
        return serve_fail(error, 400, "context_length_exceeded", param,
                          "The context holds at most %u tokens here: %zu of the prompt and %u of "
                          "'%s' are %zu.",
                          limit, longest, asked, param, longest + asked);
    uint32_t rest = limit - (uint32_t)longest;
    /* For a text without a limit of its own. */
    const uint64_t logged = MAX_LOGPROBS / job->n_choices / (1 + job->n_top_logprobs);
    if (job->logprobs && otherwise == UINT32_MAX && rest > logged)
        rest = (uint32_t)logged;
    job->max_tokens = asked != SERVE_NOT_GIVEN ? asked : rest < otherwise ? rest : otherwise;
    return check_logprobs(job, error);
}
