/* job.h - what a request asks of a model, and its results so far.
 *
 * A handler fills the first part and submits the job; after that nobody changes this part. The
 * computing thread writes the second part under `lock` and wakes the waiting reply. A job ends with
 * its last reference: the reply has one, and the computing thread has another while it works on the
 * job.
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
    SERVE_GOES_ON, /* runs, or has not begun */
    SERVE_STOP,    /* a stop token, a stop string, or a constrained text that is complete */
    SERVE_LENGTH,  /* max_tokens, or the end of the context */
    SERVE_CANCELLED,
    SERVE_FAILED /* serve_job.error says why */
};

struct serve_token {
    uint32_t token;
    uint32_t
        text_end; /* bytes of the choice's text after this token. Text of a token may appear only
                     with later ones, which complete a character or show that no stop string has
                     begun */
};

/* A generated text: choice c of prompt p is choices[p * n_choices + c]. */
struct serve_choice {
    struct rsr_bytes text; /* valid UTF-8, without special and stop tokens, up to a stop string */
    struct serve_token *tokens; /* generated tokens, stop tokens included */
    size_t n_tokens, capacity;
    rsr_logprob
        *logprobs; /* [n_tokens][1 + n_top_logprobs]: the token's own, then the likeliest; NULL: not
                      wanted */
    rsr_logprob
        *prompt_logprobs; /* [tokens of the prompt][1 + n_top_logprobs], the first row unset; NULL:
                             not wanted. Complete once n_tokens > 0 or finish is set */
    uint32_t cached_tokens; /* tokens of the prompt that were in the prefix cache */
    enum serve_finish finish;
};

struct serve_job {
    /* ---- The request: fixed when the job is submitted. Owned by the job, except the model.
     * ---- */
    struct serve_model *model;
    struct serve_prompt *prompts;
    size_t n_prompts;
    uint32_t n_choices; /* of each prompt; 1 .. SERVE_MAX_CHOICES */
    uint32_t
        max_tokens; /* of each choice; prompt and max_tokens fit into the engine's context. 0: only
                       the prompt is evaluated, for its log-probabilities */
    rsr_sampling
        sampling; /* with the seed; the scheduler sets sequence_id, generated_from and allowed */
    rsr_logit_bias *logit_bias;         /* of sampling */
    char *stop[SERVE_MAX_STOP_STRINGS]; /* none empty */
    uint32_t n_stop;
    bool logprobs, prompt_logprobs;
    uint32_t n_top_logprobs;
    rsr_constraint *constraint; /* NULL: none */
    bool embeds;                /* compute embeddings of the prompts, generate nothing */
    int64_t deadline_ns;        /* in CLOCK_MONOTONIC; the job fails then. 0: none */

    /* ---- The results: under `lock`. ---- */
    pthread_mutex_t lock;
    struct serve_choice *choices; /* [n_prompts * n_choices], of serve_job_create_results() */
    size_t n_unfinished;          /* choices */
    float *embeddings;        /* [n_prompts][hidden] of a job that embeds, complete when is_done */
    bool has_begun;           /* left the queue */
    bool is_done;             /* this part will not change any more */
    struct serve_error error; /* status 0: none */
    void (*wake)(
        void *waiter); /* called with `lock` held when there is something new; NULL: nobody waits */
    void *waiter;

    /* ---- Any thread. ---- */
    atomic_bool cancelled; /* by serve_job_cancel() */
    rsr_cancel cancel;     /* for library calls that run only for this job */
    atomic_uint references;
    int64_t submitted_ns; /* of CLOCK_MONOTONIC, for metrics */
};

/* A new, empty job with one reference; NULL: no memory. */
struct serve_job *serve_job_create(struct serve_model *model);
/* Makes room for choices, or for embeddings; the last call before the job is submitted. */
bool serve_job_create_results(struct serve_job *job);
void serve_job_keep(struct serve_job *job);
void serve_job_release(struct serve_job *job); /* may be NULL */

/* Sets the function that is called with `waiter` when there is something new. NULL: after the call
 * returns, no thread calls the old one. */
void serve_job_wait(struct serve_job *job, void (*wake)(void *waiter), void *waiter);

/* Calls `wake`. The thread that has written a result calls this with `lock` held. */
void serve_job_wake(struct serve_job *job);

/* The first says whether a job's deadline has passed, the second refuses it then. */
bool serve_job_is_late(const struct serve_job *job, int64_t now_ns);
void serve_job_fail_late(const struct serve_server *server, struct serve_error *error);

/* Cancels a job whose result nobody wants: its computation ends within a step. */
void serve_job_cancel(struct serve_job *job);

/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t serve_now_ns(void);

#endif
