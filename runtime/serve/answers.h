/* answers.h - jobs to JSON: all at once, or a server-sent event a token as they come.
 *
 * Every token's part is the same bytes however the tokens came: a cursor goes over a choice, and
 * what is between two of its positions is one part. A plain answer is one part from the beginning
 * to the end.
 */
#ifndef RSR_SERVE_ANSWERS_H
#define RSR_SERVE_ANSWERS_H

#include "fields.h"
#include "job.h"
#include "replies.h"
#include "tools.h"

struct serve_answer;

/* How far a choice has been told. */
struct serve_cursor {
    size_t n_tokens, n_text, n_chars; /* tokens, and bytes and characters of the text */
    uint32_t n_calls;                 /* of tools */
    bool has_begun, has_ended;
};

struct serve_answer_kind {
    const char *id_prefix, *object, *chunk_object;
    /* An element of "choices": what choice `index` has from the cursor up to n_tokens tokens, or up
     * to its end, and moves the cursor. *part: new, or NULL where there is nothing to say. Returns
     * false: no memory. */
    bool (*part)(struct serve_answer *answer, size_t index, struct serve_cursor *cursor,
                 size_t n_tokens, bool ends, json_t **part);
    /* All of an answer without choices, of a job that is done; new. NULL: it has choices. */
    json_t *(*whole)(const struct serve_answer *answer);
};

struct serve_answer {
    const struct serve_answer_kind *kind;
    struct serve_job *job; /* a reference of its own */
    char id[48];
    int64_t created; /* seconds since 1970 */
    bool streams, include_usage;
    bool base64;
    struct rsr_bytes *echo;       /* [n_prompts], texts; NULL: not asked */
    enum serve_call_form calls;   /* of tools, in what is generated */
    struct rsr_bytes head;        /* of an event's JSON, up to the choices */
    struct serve_cursor *cursors; /* [choices] of a stream; NULL: plain */
    size_t n_told;                /* choices of a plain answer that comes in pieces */
};

/* Reads a body: fills the answer and its job, which has the body's model. */
typedef bool serve_read_request(const json_t *body, struct serve_answer *answer,
                                struct serve_error *error);

/* Reads a request, submits the job that comes of it, and makes the reply: the answer, or why there
 * is none. */
void serve_answer_request(struct serve_server *server, const struct serve_request *request,
                          const struct serve_answer_kind *kind, serve_read_request *read,
                          struct serve_reply *reply);

/* Bytes of the choice's text with its first n_tokens, or all of it at its end. */
size_t serve_text_of_tokens(const struct serve_choice *choice, size_t n_tokens, bool ends);

/* "chatcmpl-" and 24 random digits. */
void serve_random_id(char id[48], const char *prefix);

/* "stop", "length", null; new. */
json_t *serve_finish_json(enum serve_finish finish);

/* A log-probability, of which JSON has no infinite one; new. */
json_t *serve_logprob_json(double logprob);

extern const struct serve_answer_kind serve_completion_answer, serve_chat_answer;

#endif
