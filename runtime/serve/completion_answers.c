/* completion_answers.c - the choices of /v1/completions: texts, and log-probabilities of prompt and
 * text as parallel lists. */
#include <stdio.h>
#include <string.h>

#include "answers.h"
#include "prompts.h"

/* The four lists of "logprobs". */
struct lists {
    json_t *tokens, *token_logprobs, *top_logprobs, *text_offset;
};

/* Characters in text[begin .. end); `text` may be NULL if the range is empty. */
static size_t count_chars(const char *text, size_t begin, size_t end) {
    size_t n = 0;
    for (size_t i = begin; i < end; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* A token's text. A part of a character becomes "bytes:\xe2\x80", and so does a zero byte, which
 * many readers do not accept in a key. */
static json_t *token_json(const struct serve_model *model, uint32_t token) {
    struct rsr_bytes bytes = {0}, shown = {0};
    json_t *json = NULL;
    bool ok = serve_token_bytes(model, token, &bytes);
    if (ok && rsr_utf8_is_valid(bytes.data, bytes.size) && !memchr(bytes.data, 0, bytes.size)) {
        json = serve_text_json(bytes.data, bytes.size);
    } else if (ok) {
        ok = rsr_bytes_append(&shown, "bytes:", 6);
        for (size_t i = 0; ok && i < bytes.size; i++) {
            char hex[8];
            snprintf(hex, sizeof(hex), "\\x%02x", (unsigned char)bytes.data[i]);
            ok = rsr_bytes_append(&shown, hex, 4);
        }
        json = ok ? serve_text_json(shown.data, shown.size) : NULL;
    }
    rsr_bytes_free(&bytes);
    rsr_bytes_free(&shown);
    return json;
}

/* Texts of the likeliest tokens, and of the token itself if it is not one of them. If tokens have
 * equal texts, the likeliest one counts. */
static json_t *top_json(const struct serve_model *model, const rsr_logprob *row, uint32_t n_top) {
    json_t *top = json_object();
    for (uint32_t i = 1; top != NULL && i <= n_top + 1; i++) {
        const rsr_logprob *one = &row[i <= n_top ? i : 0];
        json_t *name = token_json(model, one->token);
        const char *text = json_string_value(name);
        if (name == NULL ||
            (json_object_get(top, text) == NULL &&
             json_object_set_new(top, text, serve_logprob_json(one->logprob)) != 0)) {
            json_decref(top);
            top = NULL;
        }
        json_decref(name);
    }
    return top;
}

/* `row` NULL: the token has no log-probability, like the first token of a prompt. */
static bool add_row(const struct lists *lists, const struct serve_job *job, uint32_t token,
                    const rsr_logprob *row, size_t offset) {
    return json_array_append_new(lists->tokens, token_json(job->model, token)) == 0 &&
           json_array_append_new(lists->token_logprobs,
                                 row ? serve_logprob_json(row->logprob) : json_null()) == 0 &&
           json_array_append_new(lists->top_logprobs,
                                 row ? top_json(job->model, row, job->n_top_logprobs)
                                     : json_null()) == 0 &&
           json_array_append_new(lists->text_offset, json_integer((json_int_t)offset)) == 0;
}

static bool add_prompt_rows(const struct lists *lists, const struct serve_job *job, size_t index) {
    const struct serve_prompt *prompt = &job->prompts[index / job->n_choices];
    const rsr_logprob *rows = job->choices[index].prompt_logprobs;
    const size_t row_size = 1 + job->n_top_logprobs;
    rsr_detokenizer *detokenizer = NULL;
    const char *text = NULL;
    size_t n_text = 0, offset = 0;
    const bool has_text = rsr_detokenizer_create(job->model->model, RSR_DETOKENIZE_SKIP_SPECIAL,
                                                 &detokenizer, NULL) == RSR_OK;
    bool ok = true;
    for (size_t t = 0; ok && t < prompt->n_tokens; t++) {
        ok = add_row(lists, job, prompt->tokens[t], t > 0 && rows ? &rows[t * row_size] : NULL,
                     offset);
        if (has_text &&
            rsr_detokenizer_push(detokenizer, prompt->tokens[t], &text, &n_text, NULL) == RSR_OK)
            offset += count_chars(text, 0, n_text);
    }
    rsr_detokenizer_destroy(detokenizer);
    return ok;
}

static bool add_token_rows(const struct lists *lists, const struct serve_job *job, size_t index,
                           const struct serve_cursor *cursor, size_t n_tokens) {
    const struct serve_choice *choice = &job->choices[index];
    size_t at = cursor->n_text, offset = cursor->n_chars;
    bool ok = true;
    for (size_t t = cursor->n_tokens; ok && t < n_tokens; t++) {
        const struct serve_token *token = &choice->tokens[t];
        ok = add_row(lists, job, token->token,
                     choice->logprobs ? &choice->logprobs[t * (1 + job->n_top_logprobs)] : NULL,
                     offset);
        offset += count_chars(choice->text.data, at, token->text_end);
        at = token->text_end;
    }
    return ok;
}

/* "logprobs" of the tokens from the cursor to n_tokens; new. */
static json_t *logprobs_json(const struct serve_answer *answer, size_t index,
                             const struct serve_cursor *cursor, size_t n_tokens) {
    const struct lists lists = {json_array(), json_array(), json_array(), json_array()};
    json_t *json = json_pack("{s:o, s:o, s:o, s:o}", "tokens", lists.tokens, "token_logprobs",
                             lists.token_logprobs, "top_logprobs", lists.top_logprobs,
                             "text_offset", lists.text_offset);
    const bool with_prompt = !cursor->has_begun && answer->echo != NULL;
    struct serve_cursor text = *cursor;
    if (with_prompt) {
        const struct rsr_bytes *echo = &answer->echo[index / answer->job->n_choices];
        text.n_chars = count_chars(echo->data, 0, echo->size);
    }
    if (json != NULL && (!with_prompt || add_prompt_rows(&lists, answer->job, index)) &&
        add_token_rows(&lists, answer->job, index, &text, n_tokens))
        return json;
    json_decref(json);
    return NULL;
}

/* The text between the cursor and `n_text`, after the prompt's text if "echo" wants it; new. */
static json_t *text_json(const struct serve_answer *answer, size_t index,
                         const struct serve_cursor *cursor, size_t n_text, size_t *n_chars) {
    const struct rsr_bytes *echo =
        answer->echo && !cursor->has_begun ? &answer->echo[index / answer->job->n_choices] : NULL;
    const char *text = answer->job->choices[index].text.data;
    struct rsr_bytes all = {0};
    json_t *json = NULL;
    if ((echo == NULL || rsr_bytes_append(&all, echo->data, echo->size)) &&
        (n_text == cursor->n_text ||
         rsr_bytes_append(&all, text + cursor->n_text, n_text - cursor->n_text)))
        json = serve_text_json(all.data ? all.data : "", all.size);
    *n_chars = count_chars(all.data, 0, all.size);
    rsr_bytes_free(&all);
    return json;
}

static bool part(struct serve_answer *answer, size_t index, struct serve_cursor *cursor,
                 size_t n_tokens, bool ends, json_t **json) {
    const struct serve_job *job = answer->job;
    const struct serve_choice *choice = &job->choices[index];
    const size_t n_text = serve_text_of_tokens(choice, n_tokens, ends);
    const bool begins = !cursor->has_begun && (answer->echo != NULL || ends);
    const bool has_rows = job->logprobs && (begins || n_tokens > cursor->n_tokens);
    const bool is_silent = n_text == cursor->n_text && !has_rows && !begins && !ends;
    size_t n_chars = 0;
    if (!is_silent)
        *json =
            json_pack("{s:I, s:o, s:o, s:o}", "index", (json_int_t)index, "text",
                      text_json(answer, index, cursor, n_text, &n_chars), "logprobs",
                      has_rows ? logprobs_json(answer, index, cursor, n_tokens) : json_null(),
                      "finish_reason", serve_finish_json(ends ? choice->finish : SERVE_GOES_ON));
    *cursor = (struct serve_cursor){.n_tokens = n_tokens,
                                    .n_text = n_text,
                                    .n_chars = cursor->n_chars + n_chars,
                                    .has_begun = true,
                                    .has_ended = ends};
    return is_silent || *json != NULL;
}

const struct serve_answer_kind serve_completion_answer = {"cmpl-", "text_completion",
                                                          "text_completion", part, NULL};
