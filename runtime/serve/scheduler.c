/* scheduler.c - see scheduler.h.
 *
 * KV pages are promised in advance: a choice that begins is promised the pages for its prompt and
 * max_tokens, as if it shared none. So a sequence never finds the pool empty; prefix caches give up
 * their pages for it.
 */
#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "embedder.h"
#include "generation.h"
#include "job_queue.h"
#include "metrics.h"
#include "replies.h"
#include "scheduler.h"
#include "settings.h"

/* Tokens of prompts in a step. */
#define FIRST_PART 16 /* while the time for a token is unknown */
#define LEAST_PART 8  /* with fewer, reading the weights takes most of the time */
#define MOST_PART 4096

/* A model's part of the scheduler. */
struct lane {
    struct serve_model *model;
    struct serve_waiting *waiting; /* under the scheduler's lock */
    struct serve_generation *slots;
    struct serve_slot *shown; /* copies of the slots for other threads; under the lock */
    uint32_t n_busy;
    uint64_t promised_pages;
    struct serve_batch batch;
    double prompt_token_ns; /* estimated time of a step for one token of a prompt; 0: unknown */
};

struct serve_scheduler {
    struct serve_server *server;
    uint32_t n_slots; /* of a lane */
    struct lane lanes[SERVE_MAX_MODELS];
    pthread_mutex_t lock;
    pthread_cond_t changed;   /* a job has come, or `ends` */
    struct serve_queue queue; /* of all lanes */
    uint32_t n_busy;          /* slots of all lanes */
    bool ends;
    pthread_t thread;
};

/* ---- Memory ---------------------------------------------------------------------------------- */

static uint64_t pages_of(const struct serve_model *m, uint64_t n_tokens) {
    const uint64_t page = m->engine_info.kv_page_tokens;
    return (n_tokens + page - 1) / page;
}

/* A language model computes embeddings while it generates texts; these use pages that are never
 * promised. */
static uint64_t promisable_pages(const struct serve_model *m) {
    const uint64_t all = m->engine_info.kv_tokens / m->engine_info.kv_page_tokens;
    return m->pooling == NULL ? all : all - pages_of(m, serve_embedder_max_tokens(m));
}

uint32_t serve_scheduler_max_tokens(const struct serve_model *m) {
    const uint64_t tokens = promisable_pages(m) * m->engine_info.kv_page_tokens;
    return tokens < m->engine_info.context ? (uint32_t)tokens : m->engine_info.context;
}

static uint64_t pages_needed(const struct serve_job *job, size_t index) {
    return pages_of(job->model, job->prompts[index / job->n_choices].n_tokens + job->max_tokens);
}

/* ---- Begin and end of choices ---------------------------------------------------------------- */

static uint32_t count_running(const struct lane *lane, uint32_t n_slots,
                              const struct serve_job *job) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_slots; i++)
        n += lane->slots[i].job == job;
    return n;
}

/* A running choice with the prompt of the waiting job's next choice; NULL: none. */
static struct serve_generation *find_sibling(struct lane *lane, uint32_t n_slots,
                                             const struct serve_waiting *w) {
    for (uint32_t i = 0; i < n_slots; i++)
        if (lane->slots[i].job == w->job &&
            lane->slots[i].prompt == &w->job->prompts[w->n_begun / w->job->n_choices])
            return &lane->slots[i];
    return NULL;
}

/* Whether its prompt is evaluated except the last token, which each choice evaluates itself. */
static bool can_fork(const struct serve_generation *sibling) {
    return sibling->n_evaluated + 1 >= sibling->prompt->n_tokens;
}

/* The next job to begin a choice: the first one among those with the fewest running choices, so
 * that a job with many choices leaves slots to others. Choices that will fork wait until they
 * can. */
static struct serve_waiting *choose_waiting(struct serve_scheduler *s, struct lane *lane) {
    struct serve_waiting *best = NULL;
    uint32_t fewest = UINT32_MAX;
    for (struct serve_waiting *w = lane->waiting; w != NULL; w = w->next) {
        const struct serve_generation *sibling = find_sibling(lane, s->n_slots, w);
        const uint32_t running = count_running(lane, s->n_slots, w->job);
        if ((sibling == NULL || w->job->prompt_logprobs || can_fork(sibling)) && running < fewest) {
            best = w;
            fewest = running;
        }
    }
    return best;
}

/* A sequence with the part of the prompt that need not be evaluated again. */
static rsr_status take_sequence(struct serve_scheduler *s, struct lane *lane,
                                struct serve_waiting *w, rsr_sequence **sequence, rsr_error *err) {
    struct serve_job *job = w->job;
    const struct serve_prompt *prompt = &job->prompts[w->n_begun / job->n_choices];
    const struct serve_generation *sibling = find_sibling(lane, s->n_slots, w);
    if (job->prompt_logprobs) /* every token must be evaluated */
        return rsr_sequence_create(lane->model->engine, sequence, err);
    if (sibling != NULL) {
        const rsr_status status = rsr_sequence_fork(sibling->sequence, sequence, err);
        return status == RSR_OK
                   ? rsr_sequence_truncate(*sequence, (uint32_t)prompt->n_tokens - 1, err)
                   : status;
    }
    if (lane->model->cache != NULL)
        return rsr_prefix_cache_take(lane->model->cache, prompt->tokens, prompt->n_tokens, sequence,
                                     err);
    return rsr_sequence_create(lane->model->engine, sequence, err);
}

static void end_slot(struct serve_scheduler *s, struct lane *lane, struct serve_generation *g,
                     enum serve_finish finish) {
    struct serve_job *job = g->job;
    lane->promised_pages -= pages_needed(job, (size_t)(g->choice - job->choices));
    lane->n_busy--;
    if (job->n_unfinished == 1)
        serve_count_end(s->server->metrics, job, &job->error);
    serve_generation_end(g, finish);
    pthread_mutex_lock(&s->lock);
    s->n_busy--;
    pthread_mutex_unlock(&s->lock);
}

/* Ends a job completely: its running choices and its waiting ones. */
static void end_job(struct serve_scheduler *s, struct lane *lane, struct serve_job *job,
                    enum serve_finish finish, const struct serve_error *error) {
    serve_job_keep(job);
    pthread_mutex_lock(&job->lock);
    if (error != NULL)
        job->error = *error;
    pthread_mutex_unlock(&job->lock);
    for (uint32_t i = 0; i < s->n_slots; i++)
        if (lane->slots[i].job == job)
            end_slot(s, lane, &lane->slots[i], finish);
    pthread_mutex_lock(&s->lock);
    struct serve_waiting *w = lane->waiting;
    while (w != NULL && w->job != job)
        w = w->next;
    const size_t n_begun = w != NULL ? w->n_begun : job->n_prompts * job->n_choices;
    if (w != NULL)
        serve_queue_drop(&s->queue, &lane->waiting, w);
    pthread_mutex_unlock(&s->lock);
    if (w != NULL)
        serve_count_end(s->server->metrics, job, &job->error);
    pthread_mutex_lock(&job->lock);
    for (size_t i = n_begun; i < job->n_prompts * job->n_choices; i++)
        job->choices[i].finish = finish;
    job->n_unfinished = 0;
    job->is_done = true;
    serve_job_wake(job);
    pthread_mutex_unlock(&job->lock);
    serve_job_release(job);
}

/* Gives the next choice of a waiting job a free slot. */
static void begin_choice(struct serve_scheduler *s, struct lane *lane, struct serve_waiting *w) {
    struct serve_generation *g = lane->slots;
    while (g->job != NULL)
        g++;
    struct serve_job *job = w->job;
    struct serve_error error = {0};
    rsr_error err = RSR_ERROR_INIT;
    rsr_sequence *sequence = NULL;
    const size_t index = w->n_begun;
    if (take_sequence(s, lane, w, &sequence, &err) != RSR_OK) {
        rsr_sequence_destroy(sequence);
        serve_fail(&error, 500, NULL, NULL, "%s", err.message);
        end_job(s, lane, job, SERVE_FAILED, &error);
        return;
    }
    lane->n_busy++;
    lane->promised_pages += pages_needed(job, index);
    const bool begun = serve_generation_begin(g, job, index, sequence, &error);
    if (index % job->n_choices == 0) { /* counted once for each prompt, like "usage" of answers */
        serve_count(s->server->metrics, SERVE_COUNT_PROMPT_TOKENS, g->prompt->n_tokens);
        serve_count(s->server->metrics, SERVE_COUNT_CACHED_TOKENS, g->n_evaluated);
    }
    pthread_mutex_lock(&job->lock);
    g->choice->cached_tokens = g->n_evaluated;
    if (!job->has_begun) {
        job->has_begun = true;
        serve_observe(s->server->metrics, SERVE_TIME_QUEUED,
                      (double)(g->begun_ns - job->submitted_ns) * 1e-9);
    }
    pthread_mutex_unlock(&job->lock);
    pthread_mutex_lock(&s->lock);
    s->n_busy++;
    serve_queue_begin(&s->queue, w);
    if (w->n_begun == job->n_prompts * job->n_choices)
        serve_queue_drop(&s->queue, &lane->waiting, w);
    pthread_mutex_unlock(&s->lock);
    if (!begun)
        end_job(s, lane, job, SERVE_FAILED, &error);
}

static void begin_choices(struct serve_scheduler *s, struct lane *lane) {
    while (lane->n_busy < s->n_slots) {
        pthread_mutex_lock(&s->lock);
        struct serve_waiting *w = choose_waiting(s, lane);
        pthread_mutex_unlock(&s->lock);
        if (w == NULL ||
            lane->promised_pages + pages_needed(w->job, w->n_begun) > promisable_pages(lane->model))
            return;
        begin_choice(s, lane, w);
    }
}

/* When the scheduler ends. */
static void end_all(struct serve_scheduler *s, struct lane *lane) {
    for (uint32_t i = 0; i < s->n_slots; i++)
        if (lane->slots[i].job != NULL)
            end_job(s, lane, lane->slots[i].job, SERVE_CANCELLED, NULL);
    while (lane->waiting != NULL)
        end_job(s, lane, lane->waiting->job, SERVE_CANCELLED, NULL);
}

/* ---- Jobs that nobody waits for -------------------------------------------------------------- */

static bool is_unwanted(const struct serve_job *job, int64_t now) {
    return atomic_load(&job->cancelled) || serve_job_is_late(job, now);
}

static struct serve_job *find_unwanted(struct serve_scheduler *s, struct lane *lane, int64_t now) {
    for (uint32_t i = 0; i < s->n_slots; i++)
        if (lane->slots[i].job != NULL && is_unwanted(lane->slots[i].job, now))
            return lane->slots[i].job;
    pthread_mutex_lock(&s->lock);
    struct serve_waiting *w = lane->waiting;
    while (w != NULL && !is_unwanted(w->job, now))
        w = w->next;
    pthread_mutex_unlock(&s->lock);
    return w != NULL ? w->job : NULL;
}

static void end_unwanted(struct serve_scheduler *s, struct lane *lane) {
    const int64_t now = serve_now_ns();
    struct serve_error error = {0};
    serve_job_fail_late(s->server, &error);
    for (struct serve_job *job; (job = find_unwanted(s, lane, now)) != NULL;) {
        if (atomic_load(&job->cancelled))
            end_job(s, lane, job, SERVE_CANCELLED, NULL);
        else
            end_job(s, lane, job, SERVE_FAILED, &error);
    }
}

/* ---- Steps ----------------------------------------------------------------------------------- */

/* Among slots that still evaluate their prompt, finds the one that began first after `begun_ns`;
 * NULL: none. */
static struct serve_generation *next_in_prompt(const struct serve_scheduler *s, struct lane *lane,
                                               int64_t begun_ns) {
    struct serve_generation *first = NULL;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        struct serve_generation *g = &lane->slots[i];
        if (g->job != NULL && !serve_generation_decodes(g) && g->begun_ns > begun_ns &&
            (first == NULL || g->begun_ns < first->begun_ns))
            first = g;
    }
    return first;
}

/* Tokens of prompts that a step may take. The time for a token is measured over whole steps, so a
 * whole step takes about --max-stall, no matter how many texts decode in it. */
static size_t prompt_part(const struct serve_scheduler *s, const struct lane *lane,
                          uint32_t n_busy_lanes) {
    const double stall_ns = (double)s->server->settings->max_stall_ms * 1e6 / n_busy_lanes;
    if (lane->prompt_token_ns == 0)
        return FIRST_PART;
    return (size_t)fmin(fmax(stall_ns / lane->prompt_token_ns, LEAST_PART), MOST_PART);
}

/* Returns the tokens of prompts in the batch. */
static size_t fill_batch(const struct serve_scheduler *s, struct lane *lane,
                         uint32_t n_busy_lanes) {
    struct serve_batch *b = &lane->batch;
    serve_batch_clear(b);
    for (uint32_t i = 0; i < s->n_slots; i++)
        if (lane->slots[i].job != NULL && serve_generation_decodes(&lane->slots[i]))
            serve_generation_add(&lane->slots[i], b, 1);
    const size_t part = prompt_part(s, lane, n_busy_lanes);
    size_t n = 0;
    struct serve_generation *g = next_in_prompt(s, lane, INT64_MIN);
    for (; g != NULL && n < part; g = next_in_prompt(s, lane, g->begun_ns))
        n += serve_generation_add(g, b, part - n);
    for (size_t i = 0; i < b->batch.n_entries; i++)
        b->statuses[i] = RSR_ERR_MEMORY; /* stays if the call fails before it looks at entries */
    return n;
}

/* Tells a slot the results of its n entries from `entry` on. */
static void take_entries(struct serve_scheduler *s, struct lane *lane, size_t entry, size_t n,
                         const uint32_t *picked, const rsr_error *err) {
    struct serve_generation *g = lane->batch.owners[entry];
    struct serve_error error = {0};
    if (g->job == NULL) /* it ended together with another choice of its job */
        return;
    if (lane->batch.statuses[entry] != RSR_OK) {
        serve_fail(&error, 500, NULL, NULL, "%s", err->message);
        end_job(s, lane, g->job, SERVE_FAILED, &error);
        return;
    }
    const int64_t now = serve_now_ns();
    if (picked != NULL) {
        const bool is_first = g->choice->n_tokens == 0;
        serve_observe(s->server->metrics, is_first ? SERVE_TIME_TTFT : SERVE_TIME_INTER_TOKEN,
                      (double)(now - (is_first ? g->job->submitted_ns : g->token_ns)) * 1e-9);
        serve_count(s->server->metrics, SERVE_COUNT_GENERATED_TOKENS, 1);
        g->token_ns = now;
    }
    if (serve_generation_take(g, n, picked, &error))
        return;
    if (error.status != 0)
        end_job(s, lane, g->job, SERVE_FAILED, &error);
    else
        end_slot(s, lane, g, SERVE_LENGTH);
}

static void step(struct serve_scheduler *s, struct lane *lane, uint32_t n_busy_lanes) {
    struct serve_batch *b = &lane->batch;
    rsr_error err = RSR_ERROR_INIT;
    const size_t n_prompt = fill_batch(s, lane, n_busy_lanes);
    const int64_t begin = serve_now_ns();
    (void)!rsr_eval(lane->model->engine, &b->batch, &err); /* the statuses have the result of each
                                                              entry */
    if (n_prompt > 0) {
        const double token_ns = (double)(serve_now_ns() - begin) / (double)n_prompt;
        lane->prompt_token_ns =
            lane->prompt_token_ns == 0 ? token_ns : 0.5 * (lane->prompt_token_ns + token_ns);
    }
    serve_count(s->server->metrics, SERVE_COUNT_STEPS, 1);
    serve_observe(s->server->metrics, SERVE_TIME_BATCH, (double)b->batch.n_entries);
    size_t n_taken = 0;
    for (size_t i = 0, n; i < b->batch.n_entries; i += n) {
        n = 1;
        while (i + n < b->batch.n_entries && b->owners[i + n] == b->owners[i])
            n++;
        const bool has_pick = n_taken < b->batch.n_picks && b->picks[n_taken].entry == i + n - 1;
        take_entries(s, lane, i, n, has_pick ? &b->picked[n_taken] : NULL, &err);
        n_taken += has_pick;
    }
}

/* ---- The thread ------------------------------------------------------------------------------ */

static void show_slots(struct serve_scheduler *s, struct lane *lane) {
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->n_slots; i++) {
        const struct serve_generation *g = &lane->slots[i];
        lane->shown[i] = (struct serve_slot){.model = lane->model->index};
        if (g->job != NULL)
            lane->shown[i] = (struct serve_slot){
                .is_busy = true,
                .model = lane->model->index,
                .n_prompt_tokens = (uint32_t)g->prompt->n_tokens,
                .n_evaluated = g->n_evaluated,
                .n_generated = (uint32_t)g->choice->n_tokens,
                .begun_ns = g->begun_ns,
            };
    }
    pthread_mutex_unlock(&s->lock);
}

/* Waits until there is a job. False: the scheduler ends. */
static bool wait_for_work(struct serve_scheduler *s) {
    pthread_mutex_lock(&s->lock);
    while (!s->ends && s->queue.n_jobs == 0 && s->n_busy == 0)
        pthread_cond_wait(&s->changed, &s->lock);
    const bool goes_on = !s->ends;
    pthread_mutex_unlock(&s->lock);
    return goes_on;
}

static void *run(void *argument) {
    struct serve_scheduler *s = argument;
    const uint32_t n_lanes = s->server->n_models;
    while (wait_for_work(s)) {
        uint32_t n_busy_lanes = 0;
        for (uint32_t i = 0; i < n_lanes; i++) {
            end_unwanted(s, &s->lanes[i]);
            begin_choices(s, &s->lanes[i]);
            n_busy_lanes += s->lanes[i].n_busy > 0;
        }
        for (uint32_t i = 0; i < n_lanes; i++)
            if (s->lanes[i].n_busy > 0)
                step(s, &s->lanes[i], n_busy_lanes);
        for (uint32_t i = 0; i < n_lanes; i++)
            show_slots(s, &s->lanes[i]);
    }
    for (uint32_t i = 0; i < n_lanes; i++)
        end_all(s, &s->lanes[i]);
    return NULL;
}

/* ---- Calls of other threads ------------------------------------------------------------------ */

enum serve_verdict serve_scheduler_submit(struct serve_scheduler *s, struct serve_job *job) {
    for (size_t i = 0; i < job->n_prompts * job->n_choices; i += job->n_choices)
        assert(pages_needed(job, i) <= promisable_pages(job->model));
    pthread_mutex_lock(&s->lock);
    const enum serve_verdict verdict =
        serve_queue_add(&s->queue, &s->lanes[job->model->index].waiting, job);
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    serve_count_verdict(s->server->metrics, verdict);
    return verdict;
}

void serve_scheduler_close(struct serve_scheduler *s) {
    pthread_mutex_lock(&s->lock);
    s->queue.is_closed = true;
    pthread_mutex_unlock(&s->lock);
}

struct serve_load serve_scheduler_load(struct serve_scheduler *s) {
    pthread_mutex_lock(&s->lock);
    const struct serve_load load = {
        .n_slots = s->n_slots * s->server->n_models,
        .n_busy = s->n_busy,
        .n_queued = s->queue.n_new,
        .is_idle = s->n_busy == 0 && s->queue.n_jobs == 0,
    };
    pthread_mutex_unlock(&s->lock);
    return load;
}

size_t serve_scheduler_slots(struct serve_scheduler *s, struct serve_slot *slots, size_t capacity) {
    const size_t n = (size_t)s->n_slots * s->server->n_models;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; slots != NULL && i < n && i < capacity; i++)
        slots[i] = s->lanes[i / s->n_slots].shown[i % s->n_slots];
    pthread_mutex_unlock(&s->lock);
    return n;
}

static bool create_lane(struct serve_scheduler *s, struct serve_model *model) {
    struct lane *lane = &s->lanes[model->index];
    lane->model = model;
    lane->slots = calloc(s->n_slots, sizeof(*lane->slots));
    lane->shown = calloc(s->n_slots, sizeof(*lane->shown));
    if (lane->slots == NULL || lane->shown == NULL ||
        !serve_batch_create(&lane->batch, s->n_slots + MOST_PART))
        return false;
    show_slots(s, lane);
    return true;
}

static void free_scheduler(struct serve_scheduler *s) {
    for (uint32_t i = 0; i < s->server->n_models; i++) {
        serve_batch_free(&s->lanes[i].batch);
        free(s->lanes[i].slots);
        free(s->lanes[i].shown);
    }
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct serve_scheduler *serve_scheduler_create(struct serve_server *server) {
    struct serve_scheduler *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    s->server = server;
    s->n_slots = server->settings->slots;
    s->queue.most = server->settings->queue;
    bool ok = pthread_mutex_init(&s->lock, NULL) == 0 && pthread_cond_init(&s->changed, NULL) == 0;
    for (uint32_t i = 0; i < server->n_models && ok; i++)
        ok = create_lane(s, &server->models[i]);
    if (ok && pthread_create(&s->thread, NULL, run, s) == 0)
        return s;
    free_scheduler(s);
    return NULL;
}

void serve_scheduler_destroy(struct serve_scheduler *s) {
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->ends = s->queue.is_closed = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    free_scheduler(s);
}
