/* job_queue.h - jobs that wait, in the order in which they came, and how many may. Its owner's lock
 * guards all of it. */
#ifndef RSR_SERVE_JOB_QUEUE_H
#define RSR_SERVE_JOB_QUEUE_H

#include "scheduler.h"

/* A job some choices of which have not begun. */
struct serve_waiting {
    struct serve_job *job; /* a reference */
    size_t n_begun;        /* choices */
    uint64_t n_tokens;     /* of its prompts */
    struct serve_waiting *next;
};

/* Of one list, or of several together. */
struct serve_queue {
    uint32_t most;     /* jobs of which nothing has begun */
    uint32_t n_jobs;   /* that wait; of these */
    uint32_t n_new;    /* nothing has begun */
    uint64_t n_tokens; /* of the prompts of all that wait */
    bool is_closed;
};

/* Puts the job, of which the list then has a reference, after the others. */
enum serve_verdict serve_queue_add(struct serve_queue *queue, struct serve_waiting **list,
                                   struct serve_job *job);
/* Another choice of it begins. */
void serve_queue_begin(struct serve_queue *queue, struct serve_waiting *w);
/* Takes it from the list, and ends the list's reference. */
void serve_queue_drop(struct serve_queue *queue, struct serve_waiting **list,
                      struct serve_waiting *w);

#endif
