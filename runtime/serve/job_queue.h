/* job_queue.h - waiting jobs in the order in which they came, and limits on their number. The
 * owner's lock guards everything here. */
#ifndef RSR_SERVE_JOB_QUEUE_H
#define RSR_SERVE_JOB_QUEUE_H

#include "scheduler.h"

/* A job of which some choices have not begun. */
struct serve_waiting {
    struct serve_job *job; /* a reference */
    size_t n_begun;        /* choices */
    uint64_t n_tokens;     /* tokens of its prompts */
    struct serve_waiting *next;
};

/* The limits of one list, or of several lists together. */
struct serve_queue {
    uint32_t most;     /* limit of n_new */
    uint32_t n_jobs;   /* jobs that wait */
    uint32_t n_new;    /* waiting jobs of which no choice has begun */
    uint64_t n_tokens; /* tokens of the prompts of all waiting jobs */
    bool is_closed;
};

/* Adds the job at the end; the list then has a reference to it. */
enum serve_verdict serve_queue_add(struct serve_queue *queue, struct serve_waiting **list,
                                   struct serve_job *job);
/* Notes that another choice of the job begins. */
void serve_queue_begin(struct serve_queue *queue, struct serve_waiting *w);
/* Removes a job from the list and releases the list's reference. */
void serve_queue_drop(struct serve_queue *queue, struct serve_waiting **list,
                      struct serve_waiting *w);

#endif
