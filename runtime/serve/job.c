/* job.c - see job.h. */
#include <stdlib.h>
#include <time.h>

#include "job.h"
#include "replies.h"
#include "settings.h"

int64_t serve_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct serve_job *serve_job_create(struct serve_model *model) {
    struct serve_job *job = calloc(1, sizeof(*job));
    if (job == NULL || pthread_mutex_init(&job->lock, NULL) != 0) {
        free(job);
        return NULL;
    }
    job->model = model;
    job->n_choices = 1;
    job->sampling = (rsr_sampling)RSR_SAMPLING_INIT;
    atomic_init(&job->references, 1);
    return job;
}

bool serve_job_create_results(struct serve_job *job) {
    if (job->embeds) {
        job->embeddings = calloc(job->n_prompts, job->model->info.hidden * sizeof(float));
        return job->embeddings != NULL;
    }
    job->n_unfinished = job->n_prompts * job->n_choices;
    job->choices = calloc(job->n_unfinished, sizeof(*job->choices));
    return job->choices != NULL;
}

void serve_job_keep(struct serve_job *job) {
    atomic_fetch_add(&job->references, 1);
}

static void free_choices(struct serve_job *job) {
    for (size_t i = 0; job->choices != NULL && i < job->n_prompts * job->n_choices; i++) {
        rsr_bytes_free(&job->choices[i].text);
        free(job->choices[i].tokens);
        free(job->choices[i].logprobs);
        free(job->choices[i].prompt_logprobs);
    }
    free(job->choices);
}

void serve_job_release(struct serve_job *job) {
    if (job == NULL || atomic_fetch_sub(&job->references, 1) != 1)
        return;
    free_choices(job);
    for (size_t i = 0; job->prompts != NULL && i < job->n_prompts; i++)
        free(job->prompts[i].tokens);
    for (uint32_t i = 0; i < job->n_stop; i++)
        free(job->stop[i]);
    free(job->prompts);
    free(job->logit_bias);
    free(job->embeddings);
    rsr_constraint_destroy(job->constraint);
    pthread_mutex_destroy(&job->lock);
    free(job);
}

void serve_job_wait(struct serve_job *job, void (*wake)(void *waiter), void *waiter) {
    pthread_mutex_lock(&job->lock);
    job->wake = wake;
    job->waiter = waiter;
    pthread_mutex_unlock(&job->lock);
}

void serve_job_wake(struct serve_job *job) {
    if (job->wake != NULL)
        job->wake(job->waiter);
}

void serve_job_cancel(struct serve_job *job) {
    atomic_store(&job->cancelled, true);
    rsr_cancel_request(&job->cancel);
}

bool serve_job_is_late(const struct serve_job *job, int64_t now_ns) {
    return job->deadline_ns != 0 && now_ns >= job->deadline_ns;
}

void serve_job_fail_late(const struct serve_server *server, struct serve_error *error) {
    serve_fail(error, 504, "timeout", NULL,
               "the request took longer than the server's --timeout of %u s",
               server->settings->timeout_s);
}
