/* job_queue.c - see job_queue.h. */
#include <stdlib.h>

#include "job_queue.h"

/* Tokens of all waiting prompts, except those of one job: 64 MiB. */
#define MOST_TOKENS (UINT64_C(1) << 24)

static uint64_t count_tokens(const struct serve_job *job) {
    uint64_t n = 0;
    for (size_t i = 0; i < job->n_prompts; i++)
        n += job->prompts[i].n_tokens;
    return n;
}

enum serve_verdict serve_queue_add(struct serve_queue *queue, struct serve_waiting **list,
                                   struct serve_job *job) {
    const uint64_t n_tokens = count_tokens(job);
    if (queue->is_closed)
        return SERVE_CLOSED;
    if (queue->n_new >= queue->most ||
        (queue->n_jobs > 0 && queue->n_tokens + n_tokens > MOST_TOKENS))
        return SERVE_QUEUE_FULL;
    struct serve_waiting *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return SERVE_QUEUE_FULL;
    serve_job_keep(job);
    *w = (struct serve_waiting){.job = job, .n_tokens = n_tokens};
    job->submitted_ns = serve_now_ns();
    while (*list != NULL)
        list = &(*list)->next;
    *list = w;
    queue->n_jobs++;
    queue->n_new++;
    queue->n_tokens += n_tokens;
    return SERVE_TAKEN;
}

void serve_queue_begin(struct serve_queue *queue, struct serve_waiting *w) {
    queue->n_new -= w->n_begun == 0;
    w->n_begun++;
}

void serve_queue_drop(struct serve_queue *queue, struct serve_waiting **list,
                      struct serve_waiting *w) {
    while (*list != w)
        list = &(*list)->next;
    *list = w->next;
    queue->n_jobs--;
    queue->n_new -= w->n_begun == 0;
    queue->n_tokens -= w->n_tokens;
    serve_job_release(w->job);
    free(w);
}
