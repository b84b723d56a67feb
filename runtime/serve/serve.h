/* serve.h - the structure of rsr-serve, and declarations that all of its files share.
 *
 *     http          connections: reads requests, asks the router, sends replies, notices who has
 *                   gone
 *       router      a table of methods and paths; a handler a route
 *         requests  JSON to jobs: every field is checked, none is ignored
 *         answers   jobs to JSON and to server-sent events
 *           scheduler   one thread that evaluates all jobs together, one batch a step
 *             generation  a text that is generated: its sequence, sampling, stop strings,
 *                         constraint
 *               job       what is asked and what has come of it so far
 *
 * Threads: the HTTP thread reads and writes, the scheduler's thread generates, and the embedder's
 * thread computes embeddings. They share jobs; job.h says which thread may use which member.
 *
 * With --mpi there are several processes (serve_ranks.h). All of this is in rank 0's; the others
 * only open the models and evaluate their part of rank 0's steps.
 *
 * Strings are UTF-8. Functions return false if memory is out, unless they say otherwise.
 */
#ifndef RSR_SERVE_H
#define RSR_SERVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/utf8.h"
#include "rsr.h"
#include "rsr_constraint.h"

/* Limits of a request. */
enum {
    SERVE_MAX_MODELS = 16,
    SERVE_MAX_CHOICES = 16,   /* "n" */
    SERVE_MAX_TEXTS = 4096,   /* prompts x choices */
    SERVE_MAX_PROMPTS = 2048, /* of a request for completions, or texts to embed */
    SERVE_MAX_STOP_STRINGS = 4,
    SERVE_MAX_STOP_BYTES = 4096, /* of each string, because waiting jobs keep them */
    SERVE_MAX_TOP_LOGPROBS = 20,
    SERVE_MAX_LOGIT_BIAS = 1024
};

/* Why a request is refused, or a job failed: what the reply says. */
struct serve_error {
    unsigned status;   /* of HTTP; 0: nothing is wrong */
    const char *type;  /* "invalid_request_error", "server_error", ...; static */
    const char *code;  /* "context_length_exceeded", ...; static, NULL: null */
    char param[128];   /* the field, "" for none */
    char message[640]; /* one sentence */
};

/* The form in which a chat template tells tools to a model, and in which the model calls them. */
enum serve_tool_format {
    SERVE_TOOLS_NONE,   /* requests with tools are refused */
    SERVE_TOOLS_TAGGED, /* <tool_call>{"name": ..., "arguments": {...}}</tool_call>, or
                           <tool_call><function=...>...</function></tool_call> */
    SERVE_TOOLS_LLAMA3  /* {"name": ..., "parameters": {...}} */
};

/* A model that is served. Immutable once the server has started. */
struct serve_model {
    const char *name; /* as requests name it */
    char *path;       /* owned */
    rsr_model *model;
    rsr_model_info info;
    rsr_engine *engine;
    rsr_engine_info engine_info;
    rsr_prefix_cache *cache;    /* NULL: off */
    rsr_vocabulary *vocabulary; /* for constraints; NULL: no tokenizer */
    const char *pooling;        /* of embeddings; NULL: the model gives none */
    enum serve_tool_format tools;
    char fingerprint[64]; /* of answers: model hash and target */
    int64_t created;      /* the file's time, seconds since 1970 */
    uint32_t index;       /* in serve_server.models */
};

struct serve_settings;
struct serve_ranks;
struct serve_scheduler;
struct serve_embedder;
struct serve_metrics;

enum serve_state { SERVE_LOADING, SERVE_READY, SERVE_DRAINING };

/* The whole server, for handlers. */
struct serve_server {
    const struct serve_settings *settings;
    struct serve_ranks *ranks; /* NULL: this process alone */
    struct serve_model models[SERVE_MAX_MODELS];
    uint32_t n_models;
    struct serve_scheduler *scheduler;
    struct serve_embedder *embedder; /* NULL: no model gives embeddings */
    struct serve_metrics *metrics;
    _Atomic(enum serve_state) state;
    int64_t started; /* seconds since 1970 */
};

#endif
