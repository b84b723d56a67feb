/* scheduler_jobs.c - compares the texts of jobs that run together with rsr_generate() for each job
 * alone. Usage: scheduler_jobs MODULE.so [ROUNDS]
 *
 * Jobs of random prompts, sampling, choices, stop strings and constraints come to the scheduler at
 * random times, some are cancelled, with few slots and many, few KV pages and enough, with the
 * prefix cache and without it, and beside embeddings. Each text, and each log-probability, must
 * equal that of the job alone.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "embedder.h"
#include "metrics.h"
#include "scheduler.h"
#include "settings.h"

enum { N_JOBS = 24, N_PROMPTS = 6, MAX_PROMPT = 700 };

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        n_checks++;                                                                                \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                        \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            n_failed++;                                                                            \
        }                                                                                          \
    } while (0)
static size_t n_checks, n_failed;

static uint64_t state = 1;
static uint32_t draw(uint32_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

static const char *const TEXTS[N_PROMPTS] = {
    "In the beginning", "And it came to pass in those days, that there went out a decree",
    "Thou shalt not",   "The LORD is my shepherd; I shall not",
    "And God said",     "Now these are the names of the children of Israel, which came into Egypt"};

static void must(rsr_status status, const rsr_error *err) {
    if (status != RSR_OK) {
        fprintf(stderr, "scheduler_jobs: %s\n", err->message);
        exit(1);
    }
}

/* ---- Results of a job alone
 * -------------------------------------------------------------------- */

struct alone {
    struct rsr_bytes text;
    uint32_t tokens[256];
    rsr_logprob logprobs[256];
    size_t n_tokens;
    rsr_constrained *constrained;
    uint32_t *allowed;
    size_t n_words;
    bool closed;
};

static bool on_text(void *user, const rsr_generated *g) {
    struct alone *a = user;
    if (!rsr_bytes_append(&a->text, g->text, g->text_bytes))
        exit(1);
    a->tokens[a->n_tokens] = g->token;
    if (g->n_logprobs > 0)
        a->logprobs[a->n_tokens] = g->logprobs[0];
    a->n_tokens++;
    if (a->constrained == NULL || rsr_constrained_advance(a->constrained, g->token, NULL) != RSR_OK)
        return true; /* a stop token */
    a->closed = rsr_constrained_allow(a->constrained, a->allowed, a->n_words, NULL) != RSR_OK;
    return !a->closed;
}

static enum serve_finish finish_of(const struct alone *a, rsr_stop_reason reason) {
    return reason == RSR_STOP_LENGTH && !a->closed ? SERVE_LENGTH : SERVE_STOP;
}

/* Generates choice `index` with an engine of its own. */
static void check_alone(rsr_engine *engine, const struct serve_job *job, size_t index) {
    const struct serve_choice *c = &job->choices[index];
    const struct serve_prompt *prompt = &job->prompts[index / job->n_choices];
    struct alone a = {.n_words = (job->model->info.vocab + 31) / 32};
    rsr_error err = RSR_ERROR_INIT;
    rsr_sequence *sequence = NULL;
    rsr_sampling sampling = job->sampling;
    rsr_generate_options options = RSR_GENERATE_OPTIONS_INIT;
    rsr_generate_result result = RSR_GENERATE_RESULT_INIT;
    sampling.sequence_id = index % job->n_choices;
    if (job->constraint != NULL) {
        a.allowed = calloc(a.n_words, sizeof(*a.allowed));
        must(rsr_constrained_create(job->constraint, &a.constrained, &err), &err);
        must(rsr_constrained_allow(a.constrained, a.allowed, a.n_words, &err), &err);
        sampling.allowed = a.allowed;
        sampling.allowed_words = (uint32_t)a.n_words;
    }
    options.max_tokens = job->max_tokens;
    options.sampling = &sampling;
    options.prompt_tokens = prompt->tokens;
    options.n_prompt_tokens = prompt->n_tokens;
    options.stop_strings = (const char *const *)job->stop;
    options.n_stop_strings = job->n_stop;
    options.logprobs = job->logprobs;
    options.n_top_logprobs = job->logprobs ? job->n_top_logprobs : 0;
    must(rsr_sequence_create(engine, &sequence, &err), &err);
    must(rsr_generate(engine, sequence, NULL, 0, &options, on_text, &a, &result, &err), &err);
    CHECK(c->n_tokens == a.n_tokens, "%zu of %zu", c->n_tokens, a.n_tokens);
    for (size_t i = 0; i < c->n_tokens && i < a.n_tokens; i++) {
        CHECK(c->tokens[i].token == a.tokens[i], "token %zu", i);
        if (job->logprobs)
            CHECK(memcmp(&c->logprobs[i * (1 + job->n_top_logprobs)].logprob,
                         &a.logprobs[i].logprob, sizeof(double)) == 0,
                  "log-probability %zu", i);
    }
    CHECK(c->text.size == a.text.size &&
              (a.text.size == 0 || memcmp(c->text.data, a.text.data, a.text.size) == 0),
          "\"%.*s\" is not \"%.*s\"", (int)c->text.size, c->text.data, (int)a.text.size,
          a.text.data);
    CHECK(c->finish == finish_of(&a, result.stop_reason), "%d", (int)c->finish);
    CHECK(c->n_tokens == 0 || c->tokens[c->n_tokens - 1].text_end == c->text.size, "text_end");
    rsr_sequence_destroy(sequence);
    rsr_constrained_destroy(a.constrained);
    free(a.allowed);
    rsr_bytes_free(&a.text);
}

/* ---- Jobs ------------------------------------------------------------------------------------ */

/* Whether the token has no complete character. */
static uint32_t begun_character(struct serve_model *m) {
    static const char text[] = "\xe2\x98\x83"; /* a snowman, which is not in the Bible */
    rsr_error err = RSR_ERROR_INIT;
    uint32_t tokens[8];
    size_t n = 0;
    must(rsr_tokenize(m->model, text, strlen(text), RSR_TOKENIZE_CONTINUES, tokens, 8, &n, &err),
         &err);
    CHECK(n > 1, "%zu tokens", n);
    return tokens[0];
}

static void add_prompt(struct serve_model *m, struct serve_prompt *p, size_t longest) {
    rsr_error err = RSR_ERROR_INIT;
    p->tokens = calloc(MAX_PROMPT, sizeof(*p->tokens));
    const char *text = TEXTS[draw(N_PROMPTS)];
    must(rsr_tokenize(m->model, text, strlen(text), RSR_TOKENIZE_ADD_SPECIAL, p->tokens, MAX_PROMPT,
                      &p->n_tokens, &err),
         &err);
    const size_t n = draw(3) == 0 ? longest : p->n_tokens; /* repeated, to be long */
    for (size_t i = p->n_tokens; i < n; i++)
        p->tokens[i] = p->tokens[i % p->n_tokens];
    p->n_tokens = n > p->n_tokens ? n : p->n_tokens;
    if (draw(4) == 0)
        p->tokens[p->n_tokens - 1] = begun_character(m);
}

static struct serve_job *make_job(struct serve_model *m, size_t longest) {
    static const char SCHEMA[] =
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"maxLength\":9},\"b\":"
        "{\"enum\":[1,22,333]}},\"required\":[\"a\"]}";
    rsr_error err = RSR_ERROR_INIT;
    struct serve_job *job = serve_job_create(m);
    job->n_prompts = draw(4) == 0 ? 3 : 1;
    job->n_choices = draw(4) == 0 ? 4 : 1;
    job->prompts = calloc(job->n_prompts, sizeof(*job->prompts));
    for (size_t i = 0; i < job->n_prompts; i++)
        add_prompt(m, &job->prompts[i], longest);
    job->max_tokens = 1 + draw(50);
    job->sampling.temperature = (float)draw(3) * 0.7f;
    job->sampling.top_k = draw(2) * 40;
    job->sampling.top_p = draw(2) ? 0.9f : 1;
    job->sampling.frequency_penalty = draw(4) == 0 ? 0.5f : 0;
    job->sampling.seed = draw(1000);
    if (draw(3) == 0)
        job->stop[job->n_stop++] = strdup(draw(2) ? "the" : ", ");
    if (draw(4) == 0) {
        job->logprobs = true;
        job->n_top_logprobs = draw(4);
        job->prompt_logprobs = draw(2);
    }
    if (draw(5) == 0)
        must(rsr_constraint_create(m->vocabulary, RSR_CONSTRAINT_JSON_SCHEMA, SCHEMA,
                                   strlen(SCHEMA), &job->constraint, &err),
             &err);
    if (!serve_job_create_results(job))
        exit(1);
    return job;
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t woken;
    size_t n;
};

static void wake(void *user) {
    struct waiter *w = user;
    pthread_mutex_lock(&w->lock);
    w->n++;
    pthread_cond_signal(&w->woken);
    pthread_mutex_unlock(&w->lock);
}

static bool is_done(struct serve_job *job) {
    pthread_mutex_lock(&job->lock);
    const bool done = job->is_done;
    pthread_mutex_unlock(&job->lock);
    return done;
}

/* Waits only by wakes, so that a lost wake stops the test. */
static void wait_for(struct serve_job *job, struct waiter *w) {
    while (!is_done(job)) {
        pthread_mutex_lock(&w->lock);
        while (w->n == 0)
            pthread_cond_wait(&w->woken, &w->lock);
        w->n = 0;
        pthread_mutex_unlock(&w->lock);
    }
}

static struct serve_job *make_embedding(struct serve_model *m) {
    struct serve_job *job = serve_job_create(m);
    job->embeds = true;
    job->n_prompts = 5;
    job->prompts = calloc(job->n_prompts, sizeof(*job->prompts));
    for (size_t i = 0; i < job->n_prompts; i++)
        add_prompt(m, &job->prompts[i], 100);
    if (!serve_job_create_results(job))
        exit(1);
    return job;
}

static void check_embedding(rsr_engine *engine, const struct serve_job *job) {
    const size_t hidden = job->model->info.hidden;
    rsr_embed_options options = {.size_bytes = sizeof(options), .pooling = job->model->pooling};
    rsr_error err = RSR_ERROR_INIT;
    float *row = calloc(hidden, sizeof(*row));
    CHECK(job->error.status == 0, "%s", job->error.message);
    for (size_t i = 0; i < job->n_prompts; i++) {
        const uint32_t *tokens = job->prompts[i].tokens;
        must(rsr_embed(engine, &tokens, &job->prompts[i].n_tokens, 1, &options, row, hidden, &err),
             &err);
        CHECK(memcmp(row, job->embeddings + i * hidden, hidden * sizeof(*row)) == 0, "row %zu", i);
    }
    free(row);
}

static uint32_t free_tokens(rsr_engine *engine) {
    rsr_engine_info info = RSR_ENGINE_INFO_INIT;
    (void)!rsr_engine_get_info(engine, &info);
    return info.kv_tokens_free;
}

static void run_round(struct serve_server *server, rsr_engine *alone, size_t longest) {
    struct serve_job *jobs[N_JOBS], *embedding = make_embedding(&server->models[0]);
    struct waiter waiters[N_JOBS + 1];
    for (size_t i = 0; i <= N_JOBS; i++)
        waiters[i] = (struct waiter){PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    server->metrics = serve_metrics_create();
    server->scheduler = serve_scheduler_create(server);
    server->embedder = serve_embedder_create(server);
    serve_job_wait(embedding, wake, &waiters[N_JOBS]);
    CHECK(serve_embedder_submit(server->embedder, embedding) == SERVE_TAKEN, "embedding");
    bool cancelled[N_JOBS] = {false};
    for (size_t i = 0; i < N_JOBS; i++) {
        jobs[i] = make_job(&server->models[0], longest);
        serve_job_wait(jobs[i], wake, &waiters[i]);
        CHECK(serve_scheduler_submit(server->scheduler, jobs[i]) == SERVE_TAKEN, "job %zu", i);
        cancelled[i] = draw(6) == 0;
        if (draw(3) == 0)
            usleep(draw(3000));
        if (cancelled[i])
            serve_job_cancel(jobs[i]);
        struct rsr_bytes text = {0};
        CHECK(serve_metrics_print(server, &text), "no memory");
        rsr_bytes_free(&text);
    }
    for (size_t i = 0; i < N_JOBS; i++) {
        wait_for(jobs[i], &waiters[i]);
        CHECK(jobs[i]->error.status == 0, "%s", jobs[i]->error.message);
        for (size_t k = 0; k < jobs[i]->n_prompts * jobs[i]->n_choices; k++)
            if (jobs[i]->choices[k].finish != SERVE_CANCELLED)
                check_alone(alone, jobs[i], k);
            else
                CHECK(cancelled[i], "job %zu", i);
    }
    wait_for(embedding, &waiters[N_JOBS]);
    check_embedding(alone, embedding);
    serve_scheduler_destroy(server->scheduler);
    serve_embedder_destroy(server->embedder);
    serve_metrics_destroy(server->metrics);
    serve_job_release(embedding);
    for (size_t i = 0; i < N_JOBS; i++)
        serve_job_release(jobs[i]);
    CHECK(free_tokens(server->models[0].engine) == server->models[0].engine_info.kv_tokens,
          "%u tokens are free", free_tokens(server->models[0].engine));
}

/* Among waiting jobs, one may have any number of tokens; the others together must fit the queue's
 * limit. */
static void check_queued_tokens(struct serve_server *server) {
    struct serve_job *jobs[2];
    server->metrics = serve_metrics_create();
    server->scheduler = serve_scheduler_create(server);
    for (size_t i = 0; i < 2; i++) {
        jobs[i] = serve_job_create(&server->models[0]);
        jobs[i]->n_prompts = (1 << 24) / 256 + 1;
        jobs[i]->max_tokens = 1;
        jobs[i]->prompts = calloc(jobs[i]->n_prompts, sizeof(*jobs[i]->prompts));
        for (size_t p = 0; p < jobs[i]->n_prompts; p++)
            jobs[i]->prompts[p] = (struct serve_prompt){calloc(256, sizeof(uint32_t)), 256};
        if (!serve_job_create_results(jobs[i]))
            exit(1);
        const enum serve_verdict verdict = serve_scheduler_submit(server->scheduler, jobs[i]);
        CHECK(verdict == (i == 0 ? SERVE_TAKEN : SERVE_QUEUE_FULL), "%d", (int)verdict);
    }
    serve_scheduler_destroy(server->scheduler);
    serve_metrics_destroy(server->metrics);
    for (size_t i = 0; i < 2; i++)
        serve_job_release(jobs[i]);
}

int main(int argc, char **argv) {
    static const struct {
        uint32_t slots, kv_tokens, threads, stall_ms;
        bool cache;
    } ROUNDS[] = {
        {1, 2048, 1, 100, true},   {3, 2048, 2, 1, false}, {16, 8192, 2, 2, true},
        {16, 2048, 1, 100, false}, {5, 2048, 2, 5, true},
    };
    rsr_error err = RSR_ERROR_INIT;
    if (argc < 2)
        return 1;
    rsr_model *model = NULL;
    rsr_engine *alone = NULL;
    must(rsr_open(argv[1], NULL, &model, &err), &err);
    must(rsr_engine_create(model, NULL, &alone, &err), &err);
    const size_t n_rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 5;
    for (size_t i = 0; i < n_rounds; i++) {
        const size_t r = i % (sizeof(ROUNDS) / sizeof(ROUNDS[0]));
        struct serve_settings settings = {
            .slots = ROUNDS[r].slots, .queue = 512, .max_stall_ms = ROUNDS[r].stall_ms};
        struct serve_server server = {.settings = &settings, .n_models = 1};
        struct serve_model *m = &server.models[0];
        rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
        m->name = "tiny";
        m->model = model;
        m->info = (rsr_model_info)RSR_MODEL_INFO_INIT;
        m->engine_info = (rsr_engine_info)RSR_ENGINE_INFO_INIT;
        m->pooling = "mean";
        options.n_threads = ROUNDS[r].threads;
        options.kv_tokens = ROUNDS[r].kv_tokens;
        must(rsr_model_get_info(model, &m->info), &err);
        must(rsr_engine_create(model, &options, &m->engine, &err), &err);
        must(rsr_engine_get_info(m->engine, &m->engine_info), &err);
        must(rsr_vocabulary_create(model, &m->vocabulary, &err), &err);
        if (ROUNDS[r].cache)
            must(rsr_prefix_cache_create(m->engine, NULL, &m->cache, &err), &err);
        const uint32_t most = serve_scheduler_max_tokens(m) - 51;
        run_round(&server, alone, most < MAX_PROMPT ? most : MAX_PROMPT);
        if (i == 0)
            check_queued_tokens(&server);
        rsr_prefix_cache_destroy(m->cache);
        rsr_vocabulary_destroy(m->vocabulary);
        rsr_engine_destroy(m->engine);
    }
    rsr_engine_destroy(alone);
    rsr_close(model);
    printf("%zu checks, %zu failed\n", n_checks, n_failed);
    return n_failed > 0;
}
