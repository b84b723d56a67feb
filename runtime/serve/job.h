/* job.h - what a request asks of a model, and what has come of it so far.
 *
 * A handler fills the first part and submits the job; from then on nobody changes that part. The
 * thread that computes writes the second part under `lock`, and wakes whoever waits. A job ends
 * with its last reference: the reply has one, and the thread that computes another one while it
 * works on it.
 */
#ifndef RSR_SERVE_JOB_H
#define RSR_SERVE_JOB_H

#include <pthread.h>

#include "serve.h"

struct serve_prompt {
    uint32_t *tokens; /* owned; at least one */
    size_t n_tokens;
};

enum serve_finish {
    SERVE_GOES_ON, /* or has not begun */
    SERVE_STOP,    /* a stop token, a stop string, or a constrained text that is complete */
    SERVE_LENGTH,  /* max_tokens, or the end of the context */
    SERVE_CANCELLED,
    SERVE_FAILED /* serve_job.error says why */
};

struct serve_token {
    uint32_t token;
    uint32_t
        text_end; /* bytes of the choice's text once the token was taken: what it adds may come with
                     later ones, which complete a character or show that no stop string has begun */
};

/* One text that is generated: choice c of prompt p is choices[p * n_choices + c]. */
struct serve_choice {
    struct rsr_bytes text; /* valid UTF-8, without special and stop tokens, up to a stop string */
    struct serve_token *tokens; /* generated, a stop token included */
    size_t n_tokens, capacity;
    rsr_logprob
        *logprobs; /* [n_tokens][1 + n_top_logprobs]: the token's, then the likeliest; NULL: not
                      asked */
    rsr_logprob
        *prompt_logprobs; /* [tokens of the prompt][1 + n_top_logprobs], the first row unset; NULL:
                             not asked. Whole once n_tokens > 0, or finish is set */
    uint32_t cached_tokens; /* of the prompt, that the prefix cache had */
    enum serve_finish finish;
};

struct serve_job {
    /* ---- What is asked: fixed when it is submitted. Owned by the job but for the model. ---- */
    struct serve_model *model;
    struct serve_prompt *prompts;
    size_t n_prompts;
    uint32_t n_choices; /* of each prompt; 1 .. SERVE_MAX_CHOICES */
    uint32_t
        max_tokens; /* of each choice; prompt and max_tokens fit into the engine's context. 0: the
                       prompt alone is evaluated, for its log-probabilities */
    rsr_sampling
        sampling; /* with the seed; sequence_id, generated_from and allowed are the scheduler's */
    rsr_logit_bias *logit_bias;         /* of sampling */
    char *stop[SERVE_MAX_STOP_STRINGS]; /* none empty */
    uint32_t n_stop;
    bool logprobs, prompt_logprobs;
    uint32_t n_top_logprobs;
    rsr_constraint *constraint; /* NULL: none */
    bool embeds;                /* embeddings of the prompts are wanted, and nothing is generated */
    int64_t deadline_ns;        /* of CLOCK_MONOTONIC, then it fails; 0: none */

    /* ---- What has come of it: under `lock`. ---- */
    pthread_mutex_t lock;
    struct serve_choice *choices; /* [n_prompts * n_choices], of serve_job_create_results() */
    size_t n_unfinished;          /* choices */
    float *embeddings;        /* [n_prompts][hidden] of a job that embeds, complete when is_done */
    bool has_begun;           /* left the queue */
    bool is_done;             /* nothing of this part will change any more */
    struct serve_error error; /* status 0: none */
    void (*wake)(
        void *waiter); /* called with `lock` held when something new has come; NULL: nobody waits */
    void *waiter;

    /* ---- Any thread. ---- */
    atomic_bool cancelled; /* by serve_job_cancel() */
    rsr_cancel cancel;     /* of calls of the library that run for it alone */
    atomic_uint references;
    int64_t submitted_ns; /* of CLOCK_MONOTONIC, for metrics */
};

/* With one reference, and nothing else; NULL: no memory. */
struct serve_job *serve_job_create(struct serve_model *model);
/* Makes room for choices, or for embeddings: the last call before it is submitted. */
bool serve_job_create_results(struct serve_job *job);
void serve_job_keep(struct serve_job *job);
void serve_job_release(struct serve_job *job); /* may be NULL */

/* From now on `wake` is called with `waiter`; NULL: not any more, also not later from another
 * thread. */
void serve_job_wait(struct serve_job *job, void (*wake)(void *waiter), void *waiter);

/* Calls `wake`; with `lock` held, by who has written something. */
void serve_job_wake(struct serve_job *job);

/* Whether its deadline has passed, and why it is then refused. */
bool serve_job_is_late(const struct serve_job *job, int64_t now_ns);
void serve_job_fail_late(const struct serve_server *server, struct serve_error *error);

/* Nobody wants the rest: what is computed for it ends within a step. */
void serve_job_cancel(struct serve_job *job);

/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t serve_now_ns(void);

#endif
