/* embedder.c - see embedder.h. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "embedder.h"
#include "metrics.h"
#include "replies.h"
#include "settings.h"

/* More texts at once fill no larger batch. */
enum { MOST_TEXTS = 64 };

struct queued {
    struct serve_job *job; /* a reference */
    uint64_t n_tokens;     /* of its prompts */
    struct queued *next;
};

struct serve_embedder {
    struct serve_server *server;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a job has come, or `ends` */
    struct queued *queue;
    struct serve_job *current; /* that is computed; NULL: none */
    uint32_t n_queued;
    uint64_t n_queued_tokens;
    bool is_closed, ends;
    pthread_t thread;
};

/* A language model keeps at least half of its pages for texts that are generated. */
uint32_t serve_embedder_max_tokens(const struct serve_model *m) {
    const bool shares = m->info.pooling == NULL;
    const uint32_t page = m->engine_info.kv_page_tokens;
    const uint32_t tokens = m->engine_info.kv_tokens / page / (shares ? 2 : 1) * page;
    return tokens < m->engine_info.context ? tokens : m->engine_info.context;
}

uint32_t serve_max_tokens(const struct serve_model *m) {
    return m->info.pooling == NULL ? serve_scheduler_max_tokens(m) : serve_embedder_max_tokens(m);
}

/* ---- The thread ------------------------------------------------------------------------------ */

/* How many texts from `first` on go together: their pages are no more than those of the longest
 * that may come. */
static size_t group_size(const struct serve_job *job, size_t first) {
    const uint32_t page = job->model->engine_info.kv_page_tokens;
    const size_t most = (serve_embedder_max_tokens(job->model) + page - 1) / page;
    size_t n = 0, pages = 0;
    for (; n < MOST_TEXTS && first + n < job->n_prompts; n++) {
        pages += (job->prompts[first + n].n_tokens + page - 1) / page;
        if (pages > most)
            break;
    }
    return n;
}

static bool embed_group(struct serve_job *job, size_t first, size_t n, struct serve_error *error) {
    const struct serve_model *m = job->model;
    const uint32_t *tokens[MOST_TEXTS];
    size_t n_tokens[MOST_TEXTS];
    rsr_embed_options options = {
        .size_bytes = sizeof(options), .pooling = m->pooling, .cancel = &job->cancel};
    rsr_error err = RSR_ERROR_INIT;
    for (size_t i = 0; i < n; i++) {
        tokens[i] = job->prompts[first + i].tokens;
        n_tokens[i] = job->prompts[first + i].n_tokens;
    }
    const rsr_status status =
        rsr_embed(m->engine, tokens, n_tokens, n, &options,
                  job->embeddings + first * m->info.hidden, n * m->info.hidden, &err);
    return status == RSR_OK || serve_fail(error, 500, NULL, NULL, "%s", err.message);
}

static void compute(struct serve_embedder *e, struct serve_job *job) {
    struct serve_metrics *m = e->server->metrics;
    struct serve_error error = {0};
    size_t n = 0;
    serve_observe(m, SERVE_TIME_QUEUED, (double)(serve_now_ns() - job->submitted_ns) * 1e-9);
    for (size_t i = 0; i < job->n_prompts && error.status == 0; i += n) {
        n = group_size(job, i);
        if (atomic_load(&job->cancelled))
            break;
        if (serve_job_is_late(job, serve_now_ns()))
            serve_job_fail_late(e->server, &error);
        else
            embed_group(job, i, n, &error);
        for (size_t k = i; k < i + n; k++)
            serve_count(m, SERVE_COUNT_PROMPT_TOKENS, job->prompts[k].n_tokens);
    }
    serve_count_end(m, job, &error);
    pthread_mutex_lock(&job->lock);
    job->error = error;
    job->has_begun = job->is_done = true;
    serve_job_wake(job);
    pthread_mutex_unlock(&job->lock);
}

static void *run(void *argument) {
    struct serve_embedder *e = argument;
    pthread_mutex_lock(&e->lock);
    for (;;) {
        while (!e->ends && e->queue == NULL)
            pthread_cond_wait(&e->changed, &e->lock);
        struct queued *q = e->queue;
        if (q == NULL)
            break;
        e->queue = q->next;
        e->n_queued--;
        e->n_queued_tokens -= q->n_tokens;
        e->current = q->job;
        pthread_mutex_unlock(&e->lock);
        compute(e, q->job);
        pthread_mutex_lock(&e->lock);
        e->current = NULL;
        serve_job_release(q->job);
        free(q);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* ---- Calls of other threads ------------------------------------------------------------------ */

enum serve_verdict serve_embedder_submit(struct serve_embedder *e, struct serve_job *job) {
    struct queued *q = calloc(1, sizeof(*q));
    if (q == NULL)
        return SERVE_QUEUE_FULL;
    q->n_tokens = serve_job_tokens(job);
    enum serve_verdict verdict = SERVE_TAKEN;
    pthread_mutex_lock(&e->lock);
    if (e->is_closed) {
        verdict = SERVE_CLOSED;
    } else if (e->n_queued >= e->server->settings->queue ||
               (e->n_queued > 0 && e->n_queued_tokens + q->n_tokens > SERVE_MOST_QUEUED_TOKENS)) {
        verdict = SERVE_QUEUE_FULL;
    } else {
        job->submitted_ns = serve_now_ns();
        serve_job_keep(job);
        q->job = job;
        struct queued **end = &e->queue;
        while (*end != NULL)
            end = &(*end)->next;
        *end = q;
        e->n_queued++;
        e->n_queued_tokens += q->n_tokens;
        pthread_cond_signal(&e->changed);
    }
    pthread_mutex_unlock(&e->lock);
    if (verdict != SERVE_TAKEN)
        free(q);
    serve_count_verdict(e->server->metrics, verdict);
    return verdict;
}

void serve_embedder_close(struct serve_embedder *e) {
    pthread_mutex_lock(&e->lock);
    e->is_closed = true;
    pthread_mutex_unlock(&e->lock);
}

uint32_t serve_embedder_load(struct serve_embedder *e) {
    pthread_mutex_lock(&e->lock);
    const uint32_t n = e->n_queued + (e->current != NULL);
    pthread_mutex_unlock(&e->lock);
    return n;
}

static void free_embedder(struct serve_embedder *e) {
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

struct serve_embedder *serve_embedder_create(struct serve_server *server) {
    struct serve_embedder *e = calloc(1, sizeof(*e));
    if (e == NULL)
        return NULL;
    e->server = server;
    if (pthread_mutex_init(&e->lock, NULL) == 0 && pthread_cond_init(&e->changed, NULL) == 0 &&
        pthread_create(&e->thread, NULL, run, e) == 0)
        return e;
    free_embedder(e);
    return NULL;
}

void serve_embedder_destroy(struct serve_embedder *e) {
    if (e == NULL)
        return;
    pthread_mutex_lock(&e->lock);
    e->ends = e->is_closed = true;
    if (e->current != NULL)
        serve_job_cancel(e->current);
    for (struct queued *q = e->queue; q != NULL; q = q->next)
        serve_job_cancel(q->job);
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    free_embedder(e);
}
