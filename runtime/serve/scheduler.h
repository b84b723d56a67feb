/* scheduler.h - evaluates jobs that generate, all of a model together in one batch a step.
 *
 * A step takes first the next token of every text that is generated, then parts of prompts, in the
 * order in which they came, for as long as --max-stall allows. So a long prompt delays the texts of
 * others by no more than that, and no text depends on what is evaluated beside it (rsr.h,
 * "Exactness").
 *
 * A choice begins when a slot is free and the KV pages that it may come to need are not promised to
 * others: once begun it never waits, and never fails for want of memory. Choices begin in the order
 * in which their jobs came.
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
    bool is_idle;             /* neither */
};

/* Begins the thread; the models, settings and metrics outlive it. NULL: no memory, no thread. */
struct serve_scheduler *serve_scheduler_create(struct serve_server *server);
/* Cancels what is left and ends the thread. May be NULL. */
void serve_scheduler_destroy(struct serve_scheduler *scheduler);

/* The most tokens that a prompt and its max_tokens may have together. */
uint32_t serve_scheduler_max_tokens(const struct serve_model *model);

/* SERVE_TAKEN: the scheduler has a reference of its own. Any thread. */
enum serve_verdict serve_scheduler_submit(struct serve_scheduler *scheduler, struct serve_job *job);

/* Takes no more jobs; those that were taken go on. */
void serve_scheduler_close(struct serve_scheduler *scheduler);

/* Any thread. slots may be NULL, else has room for `capacity`; returns the number of slots. */
struct serve_load serve_scheduler_load(struct serve_scheduler *scheduler);
size_t serve_scheduler_slots(struct serve_scheduler *scheduler, struct serve_slot *slots,
                             size_t capacity);

#endif
