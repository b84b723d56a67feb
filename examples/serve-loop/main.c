/* Six prompts that join, stream and leave one engine, one of them cancelled: the loop of a server.
 * Usage: serve-loop MODEL.so [TOKENS]
 *
 * One thread steps the engine with a batch of all requests: the rest of their prompts, 16 tokens
 * at a time, or the last generated token. The main thread plays the clients. The text of a request
 * does not depend on the other requests in the batch.
 */
#include <errno.h>
#include <pthread.h>
#include <rsr.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_REQUESTS = 6, MAX_PROMPT = 256, PROMPT_PART = 16, CANCELLED = 4 };
static const char *const prompts[N_REQUESTS] = {
    "In the beginning", "And it came to pass in those days, that there went out a decree",
    "Thou shalt not",   "The LORD is my shepherd",
    "And God said",     "Now these are the names of the children of Israel, which came into Egypt"};

struct request {
    uint32_t tokens[MAX_PROMPT]; /* tokens to evaluate: the prompt, then the last token */
    size_t n_tokens, n_done, n_generated;
    rsr_sequence *sequence;
    rsr_detokenizer *detokenizer;
    FILE *client; /* receives the text as it comes */
    char *text;
    size_t text_bytes;
    const char *end; /* why it ended; NULL: it is running */
    atomic_bool cancelled;
};

struct server {
    rsr_model *model;
    rsr_engine *engine;
    size_t max_tokens;
    struct request requests[N_REQUESTS];
    atomic_size_t n_joined; /* requests that the loop may look at */
    atomic_bool closed;     /* no more requests will join */
    bool failed;            /* the engine; `err` says why */
    rsr_error err;
};

static bool is_active(const struct request *r) {
    return r->end == NULL;
}

static void end(struct request *r, const char *why) {
    const char *text = "";
    size_t n = 0;
    if (rsr_detokenizer_finish(r->detokenizer, &text, &n, NULL) == RSR_OK)
        fwrite(text, 1, n, r->client);
    fclose(r->client); /* completes r->text */
    rsr_detokenizer_destroy(r->detokenizer);
    rsr_sequence_destroy(r->sequence); /* frees its memory for the others */
    r->end = why;
}

/* Streams a picked token, and makes it the next one to evaluate. */
static void take(struct server *s, struct request *r, uint32_t token) {
    rsr_token_info info = RSR_TOKEN_INFO_INIT;
    const char *text = "";
    size_t n = 0, ignored;
    (void)!rsr_model_get_token(s->model, token, NULL, 0, &ignored, &info, NULL);
    if (info.is_stop) {
        end(r, "stop token");
        return;
    }
    if (rsr_detokenizer_push(r->detokenizer, token, &text, &n, NULL) == RSR_OK)
        fwrite(text, 1, n, r->client);
    fflush(r->client);
    r->tokens[0] = token;
    r->n_tokens = 1;
    r->n_done = 0;
    if (++r->n_generated == s->max_tokens)
        end(r, "length");
}

/* Evaluates one batch of all active requests. False: the engine failed. */
static bool step(struct server *s, size_t n_joined) {
    rsr_batch_entry entries[N_REQUESTS * PROMPT_PART];
    rsr_status statuses[N_REQUESTS * PROMPT_PART];
    struct request *owners[N_REQUESTS * PROMPT_PART];
    rsr_pick picks[N_REQUESTS];
    uint32_t picked[N_REQUESTS];
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.picks = picks;
    batch.picked = picked;
    batch.statuses = statuses; /* a bad request does not end the others */
    for (size_t i = 0; i < n_joined; i++) {
        struct request *r = &s->requests[i];
        if (is_active(r) && atomic_load(&r->cancelled))
            end(r, "cancelled");
        const uint32_t length = rsr_sequence_length(is_active(r) ? r->sequence : NULL);
        for (uint32_t k = 0; is_active(r) && k < PROMPT_PART && r->n_done < r->n_tokens; k++) {
            owners[batch.n_entries] = r;
            entries[batch.n_entries++] =
                (rsr_batch_entry){r->sequence, length + k, r->tokens[r->n_done++], false};
        }
        if (is_active(r) && r->n_done == r->n_tokens)
            picks[batch.n_picks++] = (rsr_pick){batch.n_entries - 1, NULL};
    }
    if (batch.n_entries == 0)
        return true;
    const rsr_status status = rsr_eval(s->engine, &batch, &s->err);
    for (size_t i = 0; i < batch.n_entries; i++)
        if (statuses[i] != RSR_OK && is_active(owners[i]))
            end(owners[i], "refused");
    for (size_t i = 0; i < batch.n_picks; i++)
        if (is_active(owners[picks[i].entry]))
            take(s, owners[picks[i].entry], picked[i]);
    return status == RSR_OK || status == RSR_ERR_ARGUMENT || status == RSR_ERR_FULL ||
           status == RSR_ERR_NUMERIC;
}

static void *serve(void *argument) {
    struct server *s = argument;
    for (bool goes_on = true; goes_on && !s->failed;) {
        goes_on = !atomic_load(&s->closed);
        const size_t n_joined = atomic_load(&s->n_joined);
        size_t n_active = 0;
        s->failed = !step(s, n_joined);
        for (size_t i = 0; i < n_joined; i++)
            n_active += is_active(&s->requests[i]);
        if (n_active > 0)
            goes_on = true;
        else
            usleep(100); /* a server would wait for a request here */
    }
    return NULL;
}

/* A client's prompt. */
static bool join(struct server *s, const char *prompt, rsr_error *err) {
    struct request *r = &s->requests[atomic_load(&s->n_joined)];
    r->client = open_memstream(&r->text, &r->text_bytes);
    if (r->client == NULL ||
        rsr_tokenize(s->model, prompt, strlen(prompt), RSR_TOKENIZE_ADD_SPECIAL, r->tokens,
                     MAX_PROMPT, &r->n_tokens, err) != RSR_OK ||
        rsr_sequence_create(s->engine, &r->sequence, err) != RSR_OK ||
        rsr_detokenizer_create(s->model, RSR_DETOKENIZE_SKIP_SPECIAL | RSR_DETOKENIZE_CONTINUES,
                               &r->detokenizer, err) != RSR_OK)
        return false;
    atomic_fetch_add(&s->n_joined, 1);
    return true;
}

static bool run(struct server *s, const char *path, rsr_error *err) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.kv_tokens = 8192; /* shared by all */
    if (rsr_open(path, NULL, &s->model, err) != RSR_OK ||
        rsr_engine_create(s->model, &options, &s->engine, err) != RSR_OK)
        return false;
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, s) != 0)
        return false;
    bool joined = true;
    for (size_t i = 0; i < N_REQUESTS && joined; i++) {
        joined = join(s, prompts[i], err);
        usleep(2000); /* while the others are served */
    }
    atomic_store(&s->requests[CANCELLED].cancelled, true);
    atomic_store(&s->closed, true);
    pthread_join(thread, NULL);
    if (s->failed)
        *err = s->err;
    if (!joined || s->failed)
        return false;
    for (size_t i = 0; i < N_REQUESTS; i++)
        printf("[%s] %s%s\n", s->requests[i].end, prompts[i], s->requests[i].text);
    return true;
}

int main(int argc, char **argv) {
    static struct server s = {.err = RSR_ERROR_INIT};
    rsr_error err = {sizeof(err), RSR_ERR_ARGUMENT, "usage: serve-loop MODEL.so [TOKENS]"};
    s.max_tokens = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 40;
    const bool good = argc > 1 && s.max_tokens > 0 && run(&s, argv[1], &err);
    if (!good)
        fprintf(stderr, "serve-loop: %s\n", err.message);
    rsr_engine_destroy(s.engine);
    rsr_close(s.model);
    for (size_t i = 0; i < N_REQUESTS; i++)
        free(s.requests[i].text);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "serve-loop: cannot write to standard output: %s\n", strerror(errno));
        return 1;
    }
    return good ? 0 : 1;
}
