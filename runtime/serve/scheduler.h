/* scheduler.h - evaluates jobs that generate; all jobs of a model share one batch in each step.
 *
 * A step first takes the next token of every text that is being generated, then parts of prompts in
 * their order of arrival, as many as --max-stall allows. So a long prompt delays other texts by no
 * more than this time. No text depends on what else is in the batch (rsr.h, "Exactness").
 *
 * A choice begins when a slot is free and the KV pages that it may need are not promised to others.
 * After that it never waits, and never fails for lack of pages. Choices begin in the order in which
 * their jobs came.
 */
#ifndef RSR_SERVE_SCHEDULER_H
#define RSR_SERVE_SCHEDULER_H

#include "job.h"

enum serve_verdict {
    SERVE_TAKEN,
    SERVE_QUEUE_FULL,
    SERVE_CLOSED /* the server is draining */
};

struct serve_slot {
    bool is_busy;
    uint32_t model; /* index */
    uint32_t n_prompt_tokens, n_evaluated, n_generated;
    int64_t begun_ns;
};

struct serve_load {
    uint32_t n_slots, n_busy; /* slots of all models */
    uint32_t n_queued;        /* jobs that have not begun */
    bool is_idle;             /* no busy slot and no queued job */
};

/* Starts the thread; models, settings and metrics must outlive it. NULL: no memory or no thread. */
struct serve_scheduler *serve_scheduler_create(struct serve_server *server);
/* Cancels the remaining jobs and ends the thread. May be NULL. */
void serve_scheduler_destroy(struct serve_scheduler *scheduler);

/* The most tokens that a prompt and its max_tokens may have together. */
uint32_t serve_scheduler_max_tokens(const struct serve_model *model);

/* SERVE_TAKEN: the scheduler has its own reference. May be called by any thread. */
enum serve_verdict serve_scheduler_submit(struct serve_scheduler *scheduler, struct serve_job *job);

/* Takes no more jobs; those that were taken continue. */
void serve_scheduler_close(struct serve_scheduler *scheduler);

/* May be called by any thread. slots may be NULL; otherwise it has room for `capacity` slots.
 * Returns the load and the number of slots. */
struct serve_load serve_scheduler_load(struct serve_scheduler *scheduler);
size_t serve_scheduler_slots(struct serve_scheduler *scheduler, struct serve_slot *slots,
                             size_t capacity);

#endif
