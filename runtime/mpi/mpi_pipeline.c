/* mpi_pipeline.c - see mpi_pipeline.h. */
#include "mpi_pipeline.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mpi_transport.h"

struct text {
    const char *prompt;
    size_t prompt_bytes;
    struct run_text answer;
    bool done;
};

/* An engine, and the thread that uses it. */
struct lane {
    struct mpi_pipeline *pipeline;
    rsr_engine *engine;
    pthread_t thread;
    int code; /* of a rank that follows */
};

struct mpi_pipeline {
    uint32_t n;
    struct lane *lanes; /* [n] */
    uint64_t run_ns;

    /* Of rank 0: */
    struct run_session *session;
    pthread_mutex_t lock; /* guards what follows */
    struct text *texts;   /* [n_texts] */
    size_t n_texts, n_begun, n_printed;
    uint64_t prompt_tokens, tokens;
    bool failed; /* there was a message */
};

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- Engines ---- */

struct mpi_pipeline *mpi_pipeline_create(const struct run_session *session,
                                         const rsr_engine_options *options, uint32_t n) {
    struct mpi_pipeline *pipeline = run_alloc(1, sizeof(*pipeline));
    pipeline->lanes = run_alloc(n, sizeof(*pipeline->lanes));
    pthread_mutex_init(&pipeline->lock, NULL);
    for (uint32_t i = 0; i < n; i++) {
        struct lane *lane = &pipeline->lanes[pipeline->n++];
        rsr_transport transport;
        rsr_engine_options own = *options;
        rsr_error err = RSR_ERROR_INIT;
        lane->pipeline = pipeline;
        lane->engine = session->engine;
        if (i == 0)
            continue;
        mpi_transport_open(&transport);
        own.transport = &transport;
        if (rsr_engine_create(session->model, &own, &lane->engine, &err) == RSR_OK)
            continue;
        if (session->ranks->transport.rank == 0) /* all ranks find it */
            run_fail("sequence %" PRIu32 " of %" PRIu32 ": %s", i + 1, n, err.message);
        pipeline->n--;
        mpi_pipeline_destroy(pipeline);
        return NULL;
    }
    return pipeline;
}

void mpi_pipeline_destroy(struct mpi_pipeline *pipeline) {
    if (pipeline == NULL)
        return;
    for (uint32_t i = 1; i < pipeline->n; i++)
        rsr_engine_destroy(pipeline->lanes[i].engine);
    for (size_t i = 0; i < pipeline->n_texts; i++)
        free(pipeline->texts[i].answer.data);
    pthread_mutex_destroy(&pipeline->lock);
    free(pipeline->texts);
    free(pipeline->lanes);
    free(pipeline);
}

/* Runs a function in a thread for every engine. */
static void run_lanes(struct mpi_pipeline *pipeline, void *(*run)(void *)) {
    for (uint32_t i = 0; i < pipeline->n; i++)
        if (pthread_create(&pipeline->lanes[i].thread, NULL, run, &pipeline->lanes[i]) != 0) {
            run_fail("the system refuses to start %" PRIu32 " threads", pipeline->n);
            mpi_transport_abort(); /* other ranks wait for this engine's steps */
        }
    for (uint32_t i = 0; i < pipeline->n; i++)
        pthread_join(pipeline->lanes[i].thread, NULL);
}

bool mpi_pipeline_count(const struct mpi_pipeline *pipeline, uint32_t rank, rsr_rank_info *info) {
    rsr_rank_info sum = RSR_RANK_INFO_INIT;
    for (uint32_t i = 0; i < pipeline->n; i++) {
        rsr_rank_info of_engine = RSR_RANK_INFO_INIT;
        if (rsr_engine_get_rank(pipeline->lanes[i].engine, rank, &of_engine) != RSR_OK)
            return false;
        of_engine.compute_ns += sum.compute_ns;
        of_engine.n_gathers += sum.n_gathers;
        of_engine.gathered_bytes += sum.gathered_bytes;
        sum = of_engine;
    }
    sum.step_ns = pipeline->run_ns;
    *info = sum;
    return true;
}

/* ---- Ranks above 0 ---- */

static void *follow(void *argument) {
    struct lane *lane = argument;
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_engine_follow(lane->engine, &err) != RSR_OK)
        lane->code = run_fail("%s", err.message);
    return NULL;
}

int mpi_pipeline_follow(struct mpi_pipeline *pipeline) {
    int code = 0;
    run_lanes(pipeline, follow);
    for (uint32_t i = 0; i < pipeline->n; i++)
        code = pipeline->lanes[i].code != 0 ? pipeline->lanes[i].code : code;
    return code;
}

/* ---- Texts ---- */

/* A text for each line that is not empty. */
static void split_lines(struct mpi_pipeline *pipeline, const struct run_text *file) {
    size_t n_lines = 1;
    for (size_t i = 0; i < file->size; i++)
        n_lines += file->data[i] == '\n';
    pipeline->texts = run_alloc(n_lines, sizeof(*pipeline->texts));
    for (size_t at = 0, n; at < file->size; at += n + 1) {
        const char *end = memchr(file->data + at, '\n', file->size - at);
        n = end != NULL ? (size_t)(end - file->data) - at : file->size - at;
        if (n > 0)
            pipeline->texts[pipeline->n_texts++] =
                (struct text){.prompt = file->data + at, .prompt_bytes = n};
    }
}

/* The next text; NULL: there is none, or one has failed. */
static struct text *take_text(struct mpi_pipeline *pipeline) {
    struct text *text = NULL;
    pthread_mutex_lock(&pipeline->lock);
    if (!pipeline->failed && !run_interrupted() && pipeline->n_begun < pipeline->n_texts)
        text = &pipeline->texts[pipeline->n_begun++];
    pthread_mutex_unlock(&pipeline->lock);
    return text;
}

/* Prints the texts that are complete, up to the first that is not. Called with the lock. */
static void print_texts(struct mpi_pipeline *pipeline) {
    for (; pipeline->n_printed < pipeline->n_texts && !pipeline->failed; pipeline->n_printed++) {
        struct text *text = &pipeline->texts[pipeline->n_printed];
        if (!text->done)
            return;
        run_text_append(&text->answer, "\n", 1);
        pipeline->failed = !run_put_text(text->answer.data, text->answer.size);
    }
}

static void end_text(struct mpi_pipeline *pipeline, struct text *text, rsr_status status,
                     const rsr_generate_result *result, const rsr_error *err) {
    pthread_mutex_lock(&pipeline->lock);
    pipeline->prompt_tokens += result->prompt_tokens;
    pipeline->tokens += result->tokens;
    text->done = status == RSR_OK;
    if (text->done)
        print_texts(pipeline);
    else if (!pipeline->failed)
        pipeline->failed =
            run_fail("text %zu: %s", (size_t)(text - pipeline->texts) + 1, err->message) != 0;
    pthread_mutex_unlock(&pipeline->lock);
}

static bool on_token(void *user, const rsr_generated *generated) {
    struct text *text = user;
    run_text_append(&text->answer, generated->text, generated->text_bytes);
    return true;
}

static void *generate(void *argument) {
    const struct lane *lane = argument;
    struct mpi_pipeline *pipeline = lane->pipeline;
    for (struct text *text; (text = take_text(pipeline)) != NULL;) {
        rsr_generate_options options = run_generate_options(pipeline->session);
        rsr_generate_result result = RSR_GENERATE_RESULT_INIT;
        rsr_error err = RSR_ERROR_INIT;
        rsr_sequence *sequence = NULL;
        options.progress = NULL; /* texts would overwrite each other's */
        rsr_status status = rsr_sequence_create(lane->engine, &sequence, &err);
        if (status == RSR_OK)
            status = rsr_generate(lane->engine, sequence, text->prompt, text->prompt_bytes,
                                  &options, on_token, text, &result, &err);
        rsr_sequence_destroy(sequence);
        end_text(pipeline, text, status, &result, &err);
    }
    return NULL;
}

int mpi_pipeline_run(struct mpi_pipeline *pipeline, struct run_session *session) {
    struct run_text file = {0};
    if (session->info.pooling)
        return run_fail("%s is an embedding model: --sequences generates texts",
                        session->options->model);
    if (!run_read_file(session->options->prompt_file, RUN_MAX_TEXT_BYTES, &file)) {
        free(file.data);
        return 1;
    }
    pipeline->session = session;
    split_lines(pipeline, &file);
    const uint64_t begin_ns = now_ns();
    run_lanes(pipeline, generate);
    pipeline->run_ns = now_ns() - begin_ns;
    free(file.data);
    if (pipeline->failed)
        return 1;
    const double seconds = (double)pipeline->run_ns * 1e-9 + 1e-9;
    fprintf(stderr,
            "%zu texts, %" PRIu32 " at a time: prompts %" PRIu64 " tokens, generated %" PRIu64
            " tokens in %.2f s, %.1f tokens/s\n",
            pipeline->n_texts, pipeline->n, pipeline->prompt_tokens, pipeline->tokens, seconds,
            (double)pipeline->tokens / seconds);
    return 0;
}
