/* embedder.c - see embedder.h. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "embedder.h"
#include "job_queue.h"
#include "metrics.h"
#include "replies.h"
#include "settings.h"

/* More texts at once would not fill a larger batch. */
enum { MOST_TEXTS = 64 };

struct serve_embedder {
    struct serve_server *server;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a job has come, or `ends` */
    struct serve_waiting *waiting;
    struct serve_queue queue;
    struct serve_job *current; /* the job that is being computed, a reference; NULL: none */
    bool ends;
    pthread_t thread;
};

/* In a language model, generated texts keep at least half of the pages. */
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

/* How many texts, from `first` on, are computed together: they take no more pages than the longest
 * allowed text. */
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
        while (!e->ends && e->waiting == NULL)
            pthread_cond_wait(&e->changed, &e->lock);
        if (e->waiting == NULL)
            break;
        e->current = e->waiting->job;
        serve_job_keep(e->current);
        serve_queue_drop(&e->queue, &e->waiting, e->waiting);
        pthread_mutex_unlock(&e->lock);
        compute(e, e->current);
        pthread_mutex_lock(&e->lock);
        serve_job_release(e->current);
        e->current = NULL;
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* ---- Calls of other threads ------------------------------------------------------------------ */

enum serve_verdict serve_embedder_submit(struct serve_embedder *e, struct serve_job *job) {
    pthread_mutex_lock(&e->lock);
    const enum serve_verdict verdict = serve_queue_add(&e->queue, &e->waiting, job);
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
    serve_count_verdict(e->server->metrics, verdict);
    return verdict;
}

void serve_embedder_close(struct serve_embedder *e) {
    pthread_mutex_lock(&e->lock);
    e->queue.is_closed = true;
    pthread_mutex_unlock(&e->lock);
}

uint32_t serve_embedder_load(struct serve_embedder *e) {
    pthread_mutex_lock(&e->lock);
    const uint32_t n = e->queue.n_jobs + (e->current != NULL);
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
    e->queue.most = server->settings->queue;
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
    e->ends = e->queue.is_closed = true;
    if (e->current != NULL)
        serve_job_cancel(e->current);
    for (struct serve_waiting *w = e->waiting; w != NULL; w = w->next)
        serve_job_cancel(w->job);
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    free_embedder(e);
}
