/* answers.c - see answers.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "answers.h"
#include "embedder.h"
#include "metrics.h"
#include "rsr_hash.h"
#include "settings.h"

/* No further event begins after this many bytes: the connection sends them first. */
#define FULL_BYTES ((size_t)64 << 10)

void serve_random_id(char id[48], const char *prefix) {
    uint8_t random[16] = {0};
    char digits[RSR_HASH_TEXT_BYTES];
    (void)!getrandom(random, sizeof(random), 0); /* or zeros */
    rsr_hash_text(random, digits);
    snprintf(id, 48, "%s%.24s", prefix, digits);
}

size_t serve_text_of_tokens(const struct serve_choice *choice, size_t n_tokens, bool ends) {
    if (ends)
        return choice->text.size;
    return n_tokens > 0 ? choice->tokens[n_tokens - 1].text_end : 0;
}

json_t *serve_finish_json(enum serve_finish finish) {
    return finish == SERVE_STOP     ? json_string("stop")
           : finish == SERVE_LENGTH ? json_string("length")
                                    : json_null();
}

json_t *serve_logprob_json(double logprob) {
    return json_real(logprob > -9999 ? logprob : -9999); /* OpenAI's value for tokens that are ruled
                                                            out */
}

/* ---- Parts of JSON --------------------------------------------------------------------------- */

/* The answer's JSON without choices and usage; new. */
static json_t *envelope(const struct serve_answer *answer, const char *object) {
    return json_pack("{s:s, s:s, s:I, s:s, s:s}", "id", answer->id, "object", object, "created",
                     (json_int_t)answer->created, "model", answer->job->model->name,
                     "system_fingerprint", answer->job->model->fingerprint);
}

static json_t *usage(const struct serve_job *job) {
    uint64_t prompt = 0, cached = 0, generated = 0;
    for (size_t p = 0; p < job->n_prompts; p++) {
        prompt += job->prompts[p].n_tokens;
        cached += job->choices[p * job->n_choices].cached_tokens;
    }
    for (size_t i = 0; i < job->n_prompts * job->n_choices; i++)
        generated += job->choices[i].n_tokens;
    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", (json_int_t)prompt,
                     "completion_tokens", (json_int_t)generated, "total_tokens",
                     (json_int_t)(prompt + generated), "prompt_tokens_details", "cached_tokens",
                     (json_int_t)cached);
}

/* The whole answer of a job that is done and has choices; new. */
static json_t *whole(struct serve_answer *answer) {
    const struct serve_job *job = answer->job;
    json_t *json = envelope(answer, answer->kind->object), *choices = json_array();
    bool ok = json_object_set(json, "choices", choices) == 0 &&
              json_object_set_new(json, "usage", usage(job)) == 0;
    for (size_t i = 0; ok && i < job->n_prompts * job->n_choices; i++) {
        struct serve_cursor cursor = {0};
        json_t *part = NULL;
        ok = answer->kind->part(answer, i, &cursor, job->choices[i].n_tokens, true, &part) &&
             json_array_append_new(choices, part) == 0;
    }
    json_decref(choices);
    if (ok)
        return json;
    json_decref(json);
    return NULL;
}

/* Why a job that is done has no answer; status 0: it has one. */
static struct serve_error job_error(const struct serve_job *job) {
    const size_t n_choices = job->n_prompts * job->n_choices;
    struct serve_error error = job->error;
    for (size_t i = 0; error.status == 0 && !job->embeds && i < n_choices; i++)
        if (job->choices[i].finish == SERVE_CANCELLED || job->choices[i].finish == SERVE_FAILED)
            serve_fail(&error, 503, "cancelled", NULL, "The server is being stopped.");
    return error;
}

/* ---- Events ---------------------------------------------------------------------------------- */

static bool append(struct rsr_bytes *out, const char *text) {
    return rsr_bytes_append(out, text, strlen(text));
}

static int append_dump(const char *text, size_t n_bytes, void *out) {
    return rsr_bytes_append(out, text, n_bytes) ? 0 : -1;
}

/* Takes `json`. */
static bool append_json(struct rsr_bytes *out, json_t *json) {
    const bool ok = json != NULL &&
                    json_dump_callback(json, append_dump, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0;
    json_decref(json);
    return ok;
}

/* `{"id":..., "choices":[`, once. */
static bool write_head(struct serve_answer *answer) {
    if (answer->head.size > 0)
        return true;
    const struct serve_answer_kind *kind = answer->kind;
    if (!append_json(&answer->head,
                     envelope(answer, answer->streams ? kind->chunk_object : kind->object)))
        return false;
    answer->head.size--; /* the brace */
    return append(&answer->head, ",\"choices\":[");
}

/* Takes `choice`, NULL: none. */
static bool add_event(struct serve_answer *answer, json_t *choice, json_t *used,
                      struct rsr_bytes *out) {
    return append(out, "data: ") && rsr_bytes_append(out, answer->head.data, answer->head.size) &&
           (choice == NULL || append_json(out, choice)) && append(out, "]") &&
           (!answer->include_usage || (append(out, ",\"usage\":") && append_json(out, used))) &&
           append(out, "}\n\n");
}

static bool is_full(const struct rsr_bytes *out, size_t before) {
    return out->size - before >= FULL_BYTES;
}

static bool add_part(struct serve_answer *answer, size_t i, size_t n_tokens, bool ends,
                     struct rsr_bytes *out) {
    json_t *part = NULL;
    if (!answer->kind->part(answer, i, &answer->cursors[i], n_tokens, ends, &part))
        return false;
    return part == NULL || add_event(answer, part, json_null(), out);
}

/* Adds the new part of a choice, one event for each token. */
static bool add_choice(struct serve_answer *answer, size_t i, size_t before,
                       struct rsr_bytes *out) {
    const struct serve_choice *choice = &answer->job->choices[i];
    struct serve_cursor *cursor = &answer->cursors[i];
    while (cursor->n_tokens < choice->n_tokens && !is_full(out, before))
        if (!add_part(answer, i, cursor->n_tokens + 1, false, out))
            return false;
    if ((choice->finish != SERVE_STOP && choice->finish != SERVE_LENGTH) ||
        cursor->n_tokens < choice->n_tokens)
        return true;
    while (!cursor->has_ended && !is_full(out, before))
        if (!add_part(answer, i, choice->n_tokens, true, out))
            return false;
    return true;
}

static void add_error(const struct serve_error *error, struct rsr_bytes *out) {
    if (append(out, "data: ") && append_json(out, serve_error_json(error)))
        append(out, "\n\n");
}

static bool add_end(struct serve_answer *answer, struct rsr_bytes *out) {
    return (!answer->include_usage || add_event(answer, NULL, usage(answer->job), out)) &&
           append(out, "data: [DONE]\n\n");
}

/* ---- A plain answer in pieces ---------------------------------------------------------------- */

/* Writes the next choice of a job that is done. A row of log-probabilities takes some us; writing
 * those of many choices at once would keep all streams waiting. */
static bool add_plain_choice(struct serve_answer *answer, struct rsr_bytes *out) {
    struct serve_cursor cursor = {0};
    json_t *part = NULL;
    const size_t i = answer->n_told++;
    return answer->kind->part(answer, i, &cursor, answer->job->choices[i].n_tokens, true, &part) &&
           (i == 0 || append(out, ",")) && append_json(out, part);
}

/* Writes the next piece. If memory is out the answer breaks off, which the client sees. */
static enum serve_progress more_plain(struct serve_answer *answer, struct rsr_bytes *out) {
    const struct serve_job *job = answer->job;
    const size_t before = out->size, n = job->n_prompts * job->n_choices;
    bool ok = answer->head.size > 0 ||
              (write_head(answer) && rsr_bytes_append(out, answer->head.data, answer->head.size));
    while (ok && answer->n_told < n && !is_full(out, before))
        ok = add_plain_choice(answer, out);
    if (ok && answer->n_told < n)
        return SERVE_MORE;
    if (ok && append(out, "],\"usage\":") && append_json(out, usage(job)))
        append(out, "}\n");
    return SERVE_DONE;
}

/* ---- Replies while a job runs -------------------------------------------------------------- */

static void destroy(struct serve_answer *answer) {
    for (size_t p = 0; answer->echo != NULL && p < answer->job->n_prompts; p++)
        rsr_bytes_free(&answer->echo[p]);
    free(answer->echo);
    free(answer->cursors);
    rsr_bytes_free(&answer->head);
    json_decref(answer->tools);
    serve_job_release(answer->job);
    free(answer);
}

static void wait_for(void *user, void (*wake)(void *waiter), void *waiter) {
    serve_job_wait(((struct serve_answer *)user)->job, wake, waiter);
}

static enum serve_progress begin(void *user, struct serve_reply *reply) {
    struct serve_answer *answer = user;
    struct serve_job *job = answer->job;
    pthread_mutex_lock(&job->lock);
    const bool is_done = job->is_done;
    pthread_mutex_unlock(&job->lock);
    if (!is_done && !answer->streams)
        return SERVE_WAIT;
    const struct serve_error error = is_done ? job_error(job) : (struct serve_error){0};
    if (error.status != 0) {
        serve_reply_error(reply, &error);
        return SERVE_DONE;
    }
    if (answer->streams) {
        reply->status = 200;
        reply->content_type = "text/event-stream";
        return SERVE_MORE;
    }
    if (job->logprobs) {
        reply->status = 200;
        reply->content_type = "application/json";
        return SERVE_MORE;
    }
    serve_reply_json(reply, 200, answer->kind->whole ? answer->kind->whole(answer) : whole(answer));
    return SERVE_DONE;
}

static enum serve_progress more(void *user, struct rsr_bytes *body) {
    struct serve_answer *answer = user;
    struct serve_job *job = answer->job;
    if (!answer->streams)
        return more_plain(answer, body);
    const size_t before = body->size, n = job->n_prompts * job->n_choices;
    struct serve_error error = {0};
    bool ok = write_head(answer);
    pthread_mutex_lock(&job->lock);
    for (size_t i = 0; ok && i < n && !is_full(body, before); i++)
        ok = add_choice(answer, i, before, body);
    const bool is_done = job->is_done;
    pthread_mutex_unlock(&job->lock);
    if (ok && is_full(body, before))
        return SERVE_MORE;
    if (ok && !is_done)
        return body->size > before ? SERVE_MORE : SERVE_WAIT;
    if (ok)
        error = job_error(job);
    if (!ok || (error.status == 0 && !add_end(answer, body)))
        serve_fail(&error, 500, NULL, NULL, "No memory for the answer.");
    if (error.status != 0)
        add_error(&error, body);
    return SERVE_DONE;
}

static void abandon(void *user) {
    serve_job_cancel(((struct serve_answer *)user)->job);
}

static void end(void *user) {
    destroy(user);
}

static const struct serve_later later = {wait_for, begin, more, abandon, end};

/* ---- Requests -------------------------------------------------------------------------------- */

static struct serve_answer *create(const struct serve_answer_kind *kind,
                                   struct serve_model *model) {
    struct serve_answer *answer = calloc(1, sizeof(*answer));
    if (answer == NULL || (answer->job = serve_job_create(model)) == NULL) {
        free(answer);
        return NULL;
    }
    answer->kind = kind;
    answer->created = time(NULL);
    serve_random_id(answer->id, kind->id_prefix);
    return answer;
}

static bool check_verdict(enum serve_verdict verdict, struct serve_error *error) {
    switch (verdict) {
    case SERVE_TAKEN:
        break;
    case SERVE_QUEUE_FULL:
        return serve_fail(error, 429, "queue_full", NULL,
                          "The queue is full: as many requests wait as --queue allows.");
    case SERVE_CLOSED:
        return serve_fail(error, 503, "draining", NULL, "The server is being stopped.");
    }
    return true;
}

/* Refuses a small request whose answer would be larger than a server can keep. */
static bool check_size(const struct serve_job *job, struct serve_error *error) {
    const size_t n_texts = job->n_prompts * job->n_choices;
    return n_texts <= SERVE_MAX_TEXTS ||
           serve_fail(error, 400, "invalid_value", "n",
                      "The request asks for %zu texts; one may ask for %d: send several.", n_texts,
                      SERVE_MAX_TEXTS);
}

static bool submit(struct serve_server *server, struct serve_answer *answer,
                   struct serve_error *error) {
    struct serve_job *job = answer->job;
    if (!check_size(job, error))
        return false;
    if (job->n_top_logprobs > job->model->info.vocab)
        job->n_top_logprobs = job->model->info.vocab;
    bool ok = serve_job_create_results(job);
    if (server->settings->timeout_s > 0)
        job->deadline_ns = serve_now_ns() + (int64_t)server->settings->timeout_s * 1000000000;
    if (ok && answer->streams) {
        answer->cursors = calloc(job->n_prompts * job->n_choices, sizeof(*answer->cursors));
        ok = answer->cursors != NULL;
    }
    if (!ok)
        return serve_fail(error, 500, NULL, NULL, "No memory for the answer.");
    return check_verdict(job->embeds ? serve_embedder_submit(server->embedder, job)
                                     : serve_scheduler_submit(server->scheduler, job),
                         error);
}

void serve_answer_request(struct serve_server *server, const struct serve_request *request,
                          const struct serve_answer_kind *kind, serve_read_request *read,
                          struct serve_reply *reply) {
    struct serve_error error = {0};
    struct serve_answer *answer = NULL;
    json_t *body = serve_read_body(request, &error);
    struct serve_model *model = body != NULL ? serve_read_model(server, body, &error) : NULL;
    if (model != NULL && (answer = create(kind, model)) == NULL)
        serve_fail(&error, 500, NULL, NULL, "No memory for the request.");
    if (answer != NULL && read(body, answer, &error) && submit(server, answer, &error)) {
        reply->later = &later;
        reply->user = answer;
    } else {
        if (answer != NULL)
            destroy(answer);
        serve_count(server->metrics, SERVE_COUNT_REFUSED, 1);
        serve_reply_error(reply, &error);
    }
    json_decref(body);
}
