/* chat_answers.c - the choices of /v1/chat/completions: a message, or a delta of it; calls of
 * tools; and log-probabilities of its tokens. */
#include <stdlib.h>

#include "answers.h"
#include "constraints.h"
#include "prompts.h"

/* ---- Log-probabilities ----------------------------------------------------------------------- */

/* {"token", "logprob", "bytes"}; new. */
static json_t *token_json(const struct serve_model *model, const rsr_logprob *row) {
    struct rsr_bytes text = {0};
    json_t *bytes = json_array();
    bool ok = serve_token_bytes(model, row->token, &text);
    for (size_t i = 0; ok && i < text.size; i++)
        ok = json_array_append_new(bytes, json_integer((unsigned char)text.data[i])) == 0;
    json_t *json = json_pack("{s:o, s:o, s:o}", "token",
                             ok ? serve_text_json(text.data ? text.data : "", text.size) : NULL,
                             "logprob", serve_logprob_json(row->logprob), "bytes", bytes);
    rsr_bytes_free(&text);
    return json;
}

static json_t *row_json(const struct serve_job *job, const rsr_logprob *row) {
    json_t *json = token_json(job->model, row), *top = json_array();
    bool ok = json_object_set_new(json, "top_logprobs", top) == 0;
    for (uint32_t i = 1; ok && i <= job->n_top_logprobs; i++)
        ok = json_array_append_new(top, token_json(job->model, &row[i])) == 0;
    if (ok)
        return json;
    json_decref(json);
    return NULL;
}

/* Whether a token only ends the text. */
static bool is_stop(const struct serve_model *model, uint32_t token) {
    for (uint32_t i = 0; i < model->info.n_stop_tokens; i++)
        if (model->info.stop_tokens[i] == token)
            return true;
    return false;
}

/* Log-probabilities of the tokens from `begin` to `end`; new. */
static json_t *logprobs_json(const struct serve_job *job, const struct serve_choice *choice,
                             size_t begin, size_t end) {
    json_t *rows = json_array();
    bool ok = true;
    for (size_t t = begin; ok && t < end; t++)
        if (!is_stop(job->model, choice->tokens[t].token))
            ok = json_array_append_new(
                     rows, row_json(job, &choice->logprobs[t * (1 + job->n_top_logprobs)])) == 0;
    json_t *json = json_pack("{s:o, s:n}", "content", rows, "refusal");
    if (ok)
        return json;
    json_decref(json);
    return NULL;
}

/* ---- Messages -------------------------------------------------------------------------------- */

/* The content of a part of a message. */
struct said {
    struct rsr_bytes content;
    json_t *calls; /* NULL: none */
};

/* Takes `call`. Only deltas have an index. */
static bool add_call(struct said *said, json_t *call, bool streams, struct serve_cursor *cursor) {
    char id[48];
    serve_random_id(id, "call_");
    char *arguments = call ? serve_dump_json(json_object_get(call, "arguments")) : NULL;
    json_t *json =
        json_pack("{s:s, s:s, s:{s:O, s:s}}", "id", id, "type", "function", "function", "name",
                  json_object_get(call, "name"), "arguments", arguments ? arguments : "");
    bool ok = arguments != NULL && json != NULL;
    if (ok && streams)
        ok = json_object_set_new(json, "index", json_integer(cursor->n_calls)) == 0;
    if (said->calls == NULL)
        said->calls = json_array();
    ok = json_array_append_new(said->calls, json) == 0 && ok;
    cursor->n_calls++;
    free(arguments);
    json_decref(call);
    return ok;
}

/* Reads the text from the cursor up to n_text. */
static bool read_text(const struct serve_answer *answer, const struct serve_choice *choice,
                      size_t n_text, bool ends, struct serve_cursor *cursor, struct said *said) {
    const char *text = choice->text.data ? choice->text.data : "";
    for (;;) {
        const struct serve_piece piece =
            serve_next_piece(answer->calls, answer->tools, text, n_text, ends, &cursor->n_text);
        if (piece.kind == SERVE_PIECE_NONE)
            return true;
        if (piece.kind == SERVE_PIECE_CONTENT
                ? !rsr_bytes_append(&said->content, text + piece.begin, piece.end - piece.begin)
                : !add_call(said, piece.call, answer->streams, cursor))
            return false;
    }
}

/* A message or a delta; new. Without a text a message has null, and a delta has no member. */
static json_t *message_json(const struct said *said, bool streams, bool begins) {
    json_t *content = NULL;
    if (said->content.size > 0 || (!streams && said->calls == NULL) || (streams && begins))
        content = serve_text_json(said->content.data ? said->content.data : "", said->content.size);
    json_t *message = json_object();
    bool ok = !begins || json_object_set_new(message, "role", json_string("assistant")) == 0;
    if (content != NULL || !streams)
        ok = json_object_set_new(message, "content", content ? content : json_null()) == 0 && ok;
    if (!streams)
        ok = json_object_set_new(message, "refusal", json_null()) == 0 && ok;
    if (said->calls != NULL)
        ok = json_object_set(message, "tool_calls", said->calls) == 0 && ok;
    if (ok)
        return message;
    json_decref(message);
    return NULL;
}

static bool part(struct serve_answer *answer, size_t index, struct serve_cursor *cursor,
                 size_t n_tokens, bool ends, json_t **json) {
    const struct serve_job *job = answer->job;
    const struct serve_choice *choice = &job->choices[index];
    const size_t n_text = serve_text_of_tokens(choice, n_tokens, ends);
    const bool begins = !cursor->has_begun;
    const bool has_rows = job->logprobs && (n_tokens > cursor->n_tokens || !answer->streams);
    struct said said = {{0}, NULL};
    bool ok = read_text(answer, choice, n_text, ends, cursor, &said);
    /* Calls are sent before the part that ends the choice: openai-python's helper for streams
     * misses calls in the last part. */
    const bool is_last = ends && !(answer->streams && said.calls != NULL);
    if (ok && (begins || ends || has_rows || said.content.size > 0 || said.calls != NULL)) {
        const bool calls = is_last && choice->finish == SERVE_STOP && cursor->n_calls > 0;
        *json = json_pack("{s:I, s:o, s:o, s:o}", "index", (json_int_t)index,
                          answer->streams ? "delta" : "message",
                          message_json(&said, answer->streams, begins), "logprobs",
                          has_rows ? logprobs_json(job, choice, cursor->n_tokens, n_tokens)
                                   : json_null(),
                          "finish_reason",
                          calls ? json_string("tool_calls")
                                : serve_finish_json(is_last ? choice->finish : SERVE_GOES_ON));
        ok = *json != NULL;
    }
    cursor->n_tokens = n_tokens;
    cursor->has_begun = true;
    cursor->has_ended = is_last;
    rsr_bytes_free(&said.content);
    json_decref(said.calls);
    return ok;
}

const struct serve_answer_kind serve_chat_answer = {"chatcmpl-", "chat.completion",
                                                    "chat.completion.chunk", part, NULL};
