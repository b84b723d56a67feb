/* answers.h - makes JSON from jobs: all at once, or one server-sent event for each token as it
 * comes.
 *
 * The part of a token has the same bytes no matter when tokens came: a cursor moves over a choice,
 * and the text between two of its positions is one part. A plain answer is one part, from the
 * beginning to the end.
 */
#ifndef RSR_SERVE_ANSWERS_H
#define RSR_SERVE_ANSWERS_H

#include "fields.h"
#include "job.h"
#include "replies.h"
#include "tools.h"

struct serve_answer;

/* How much of a choice has been sent. */
struct serve_cursor {
    size_t n_tokens, n_text, n_chars; /* tokens, and bytes and characters of the text */
    uint32_t n_calls;                 /* of tools */
    bool has_begun, has_ended;
};

struct serve_answer_kind {
    const char *id_prefix, *object, *chunk_object;
    /* Makes an element of "choices": the part of choice `index` from the cursor up to n_tokens
     * tokens, or up to its end. Moves the cursor. *part: new, or NULL if nothing is to be sent.
     * False: no memory. */
    bool (*part)(struct serve_answer *answer, size_t index, struct serve_cursor *cursor,
                 size_t n_tokens, bool ends, json_t **part);
    /* Makes a whole answer without choices, for a job that is done; new. NULL: answers have
     * choices. */
    json_t *(*whole)(const struct serve_answer *answer);
};

struct serve_answer {
    const struct serve_answer_kind *kind;
    struct serve_job *job; /* the answer's own reference */
    char id[48];
    int64_t created; /* seconds since 1970 */
    bool streams, include_usage;
    bool base64;
    struct rsr_bytes *echo;       /* [n_prompts], texts of the prompts; NULL: not wanted */
    enum serve_call_form calls;   /* of tools, in the generated text */
    json_t *tools;                /* those that the model was told of; NULL: none */
    struct rsr_bytes head;        /* of an event's JSON, up to the choices */
    struct serve_cursor *cursors; /* [choices] of a stream; NULL: plain */
    size_t n_told;                /* choices sent of a plain answer that goes out in pieces */
};

/* Reads a request's body: fills the answer and its job, whose model is set already. */
typedef bool serve_read_request(const json_t *body, struct serve_answer *answer,
                                struct serve_error *error);

/* Reads a request, submits its job, and makes the reply: the answer or an error. */
void serve_answer_request(struct serve_server *server, const struct serve_request *request,
                          const struct serve_answer_kind *kind, serve_read_request *read,
                          struct serve_reply *reply);

/* Bytes of text that the choice's first n_tokens have completed, or of all its text at its end. */
size_t serve_text_of_tokens(const struct serve_choice *choice, size_t n_tokens, bool ends);

/* "chatcmpl-" and 24 random digits. */
void serve_random_id(char id[48], const char *prefix);

/* "stop", "length", null; new. */
json_t *serve_finish_json(enum serve_finish finish);

/* A log-probability; JSON has no infinity, so -infinity is written as -9999. New. */
json_t *serve_logprob_json(double logprob);

extern const struct serve_answer_kind serve_completion_answer, serve_chat_answer;

#endif
