/* embeddings.c - POST /v1/embeddings: one vector for each text. */
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "embedder.h"
#include "prompts.h"
#include "routes.h"

/* Numbers in an answer, which is written at once: JSON takes some 0.3 us for a number, base64
 * less. */
#define MAX_NUMBERS ((size_t)1 << 20)
#define MAX_BASE64_NUMBERS ((size_t)1 << 22)

struct embedding {
    json_t *input;
    const char *encoding_format;
};

#define FIELD(name, kind)                                                                          \
    { #name, SERVE_FIELD_##kind, offsetof(struct embedding, name), 0, 0, NULL }

static const struct serve_field rows[] = {
    FIELD(input, VALUE),
    FIELD(encoding_format, STRING),
    {"dimensions", SERVE_FIELD_ONLY, 0, 0, 0, ""},
    {"model", SERVE_FIELD_INERT, 0, 0, 0, NULL}, /* serve_read_model() has read it */
    {"user", SERVE_FIELD_INERT, 0, 0, 0, NULL},
};
static const struct serve_fields fields = {rows, sizeof(rows) / sizeof(rows[0]), NULL};

/* ---- Answers --------------------------------------------------------------------------------- */

/* The bytes of floats in memory, which are little-endian on every target; new. */
static json_t *base64_json(const float *row, size_t n) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *bytes = (const uint8_t *)row;
    const size_t n_bytes = n * sizeof(*row), n_text = (n_bytes + 2) / 3 * 4;
    char *text = malloc(n_text + 1);
    if (text == NULL)
        return NULL;
    for (size_t i = 0, at = 0; i < n_bytes; i += 3, at += 4) {
        const size_t left = n_bytes - i;
        const uint32_t word = (uint32_t)bytes[i] << 16 |
                              (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                              (left > 2 ? bytes[i + 2] : 0);
        text[at] = letters[word >> 18];
        text[at + 1] = letters[word >> 12 & 63];
        text[at + 2] = left > 1 ? letters[word >> 6 & 63] : '=';
        text[at + 3] = left > 2 ? letters[word & 63] : '=';
    }
    json_t *json = json_stringn(text, n_text);
    free(text);
    return json;
}

static json_t *numbers_json(const float *row, size_t n) {
    json_t *json = json_array();
    bool ok = json != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = json_array_append_new(json, json_real((double)row[i])) == 0;
    if (ok)
        return json;
    json_decref(json);
    return NULL;
}

static json_t *whole(const struct serve_answer *answer) {
    const struct serve_job *job = answer->job;
    const size_t hidden = job->model->info.hidden;
    json_t *data = json_array();
    size_t n_tokens = 0;
    bool ok = data != NULL;
    for (size_t i = 0; ok && i < job->n_prompts; i++) {
        const float *row = job->embeddings + i * hidden;
        n_tokens += job->prompts[i].n_tokens;
        ok =
            json_array_append_new(data, json_pack("{s:s, s:I, s:o}", "object", "embedding", "index",
                                                  (json_int_t)i, "embedding",
                                                  answer->base64 ? base64_json(row, hidden)
                                                                 : numbers_json(row, hidden))) == 0;
    }
    json_t *json = json_pack("{s:s, s:o, s:s, s:{s:I, s:I}}", "object", "list", "data", data,
                             "model", job->model->name, "usage", "prompt_tokens",
                             (json_int_t)n_tokens, "total_tokens", (json_int_t)n_tokens);
    if (ok)
        return json;
    json_decref(json);
    return NULL;
}

static const struct serve_answer_kind embedding_answer = {"embd-", NULL, NULL, NULL, whole};

/* ---- Requests -------------------------------------------------------------------------------- */

static bool check(const struct serve_model *model, const struct embedding *e, bool *base64,
                  struct serve_error *error) {
    if (model->pooling == NULL)
        return serve_fail(error, 400, "unsupported_model", "model",
                          "The model '%.100s' is a language model, and the server was started "
                          "without --embeddings, which says how to pool its hidden states.",
                          model->name);
    if (e->input == NULL)
        return serve_fail(error, 400, "missing_parameter", "input",
                          "'input' is missing: a text, texts, token ids, or lists of them.");
    *base64 = e->encoding_format != NULL && strcmp(e->encoding_format, "base64") == 0;
    return *base64 || e->encoding_format == NULL || strcmp(e->encoding_format, "float") == 0 ||
           serve_fail(error, 400, "invalid_value", "encoding_format",
                      "'encoding_format' must be float or base64.");
}

static bool check_size(const struct serve_job *job, bool base64, struct serve_error *error) {
    const size_t most = (base64 ? MAX_BASE64_NUMBERS : MAX_NUMBERS) / job->model->info.hidden;
    return job->n_prompts <= (most > 0 ? most : 1) ||
           serve_fail(error, 400, "invalid_value", "input",
                      "'input' has %zu texts; of %u numbers each, %zu are answered at once%s.",
                      job->n_prompts, job->model->info.hidden, most,
                      base64 ? "" : ", and more with 'encoding_format' base64");
}

static bool read(const json_t *body, struct serve_answer *answer, struct serve_error *error) {
    struct serve_job *job = answer->job;
    struct embedding e = {0};
    if (!serve_read_fields(body, "", &fields, &e, error) ||
        !check(job->model, &e, &answer->base64, error))
        return false;
    const struct serve_prompt_rules rules = {job->model, "input", RSR_TOKENIZE_ADD_SPECIAL,
                                             serve_embedder_max_tokens(job->model), false};
    job->embeds = true;
    return serve_read_prompts(&rules, e.input, job, error) &&
           check_size(job, answer->base64, error);
}

void serve_embeddings(struct serve_server *server, const struct serve_request *request,
                      struct serve_reply *reply) {
    serve_answer_request(server, request, &embedding_answer, read, reply);
}
