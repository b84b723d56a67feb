/* engine.h - what an engine is made of; shared by engine.c, sequence.c, eval.c, step_run.c,
 * attention*.c and profile.c. */
#ifndef RSR_ENGINE_H
#define RSR_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "head_sketch.h"
#include "host/barrier.h"
#include "host/worker_pool.h"
#include "kv/kvcache.h"
#include "louver/louver.h"
#include "ops/ops.h"
#include "runtime.h"
#include "tile_share.h"

/* Consecutive tokens of one sequence inside a chunk. Attention reads a page once for all of
 * them. */
#define RSR_RUN_TOKENS 8u
struct rsr_run {
    uint32_t first_token;
    uint32_t n_tokens;
};

/* The part of a batch that one walk over the step table evaluates; at most max_batch tokens. */
struct rsr_chunk {
    const struct rsr_step_table *step;
    const rsr_batch_entry *entries;
    uint32_t n_tokens;
    uint32_t *positions; /* [n_tokens] */
    struct rsr_run *runs;
    uint32_t n_runs;
    uint32_t *wanted; /* tokens whose logits are wanted, ascending */
    uint32_t n_wanted;
    float *outputs; /* [n_wanted][rsr_output_size()] */
};

/* One worker's call for one operation. q and out are buffer rows. */
struct rsr_attention_call {
    uint32_t block;
    uint32_t window; /* keys that a token sees, its own included; 0: all */
    uint32_t worker;
    const char *q;
    size_t q_row_bytes;
    char *out;
    size_t out_row_bytes;
};

/* How attention is computed. */
struct rsr_attention {
    const char *name;
    /* What rsr_attention_options have if they do not say; NULL: 0. */
    uint32_t (*min_keys)(const rsr_louver_threshold *threshold);
    /* Called first; sets what the others need. */
    RSR_NODISCARD rsr_status (*begin)(struct rsr_engine *engine, rsr_error *err);
    /* Of a sidecar in the KV pages; 0: none. */
    uint32_t (*sidecar_bytes)(const struct rsr_engine *engine);
    /* Scratch of one worker; 0: too large. */
    uint64_t (*scratch_bytes)(const struct rsr_engine *engine);
    /* This worker's share of one operation: (run, KV head) units. */
    void (*run)(const struct rsr_engine *engine, const struct rsr_attention_call *call);
};
extern const struct rsr_attention rsr_attention_dense, rsr_attention_louver;

/* Of attention that is not dense. */
struct rsr_attention_options {
    rsr_louver_threshold threshold;
    uint32_t min_keys; /* a token that sees fewer has dense attention; UINT32_MAX: every token */
};
/* What rsr_engine_options.attention says; NULL is dense. attention_choice.c */
RSR_NODISCARD rsr_status rsr_attention_choose(const char *text,
                                              const struct rsr_attention **attention,
                                              struct rsr_attention_options *options,
                                              rsr_error *err);

/* The first position that a token sees. */
static inline uint32_t rsr_first_seen(uint32_t position, uint32_t window) {
    return window != 0 && position >= window ? position - window + 1 : 0;
}

/* Dense attention, of one unit or of all, for kinds that leave it to that. */
void rsr_attention_dense_unit(const struct rsr_engine *engine,
                              const struct rsr_attention_call *call, struct rsr_run run,
                              uint32_t kv_head);
void rsr_attention_dense_run(const struct rsr_engine *engine,
                             const struct rsr_attention_call *call);

/* One operation of a step, by one worker. */
struct rsr_op_sample {
    uint64_t run_ns, wait_ns; /* wait: at its barrier */
    uint64_t bytes;           /* of memory, as far as tables do not tell */
};

/* Private to one worker. */
struct rsr_worker_state {
    _Alignas(64) char *scratch;    /* for kernels and attention */
    struct rsr_op_sample *samples; /* [largest n_ops of the target's steps]; only while profiling */
    const void *tables_of;         /* what the tables in scratch were made of, if tables is not 0 */
    uint32_t tables;               /* rsr_kernel_desc.tables of them */
    struct rsr_fetch fetch;        /* weights of operation fetch_op, while waiting for others */
    uint32_t fetch_op;
    uint32_t n_shared_calls; /* counted by all workers alike */
    uint64_t bytes;          /* operations whose reads depend on the data add them here */
    rsr_attention_stats attention;
    rsr_head_stats head;
    _Alignas(64) struct rsr_tile_share tiles; /* other workers write these */
    _Atomic uint32_t
        pages_done; /* of the unit of attention that this worker began and others go on with */
};

/* Collected times: one row an operation kind, LINEAR one a role. */
#define RSR_PROFILE_ROWS ((uint32_t)RSR_OP_KIND_COUNT + (uint32_t)RSR_ROLE_COUNT)
struct rsr_profile {
    bool enabled;
    rsr_profile_entry rows[RSR_PROFILE_ROWS];
};

struct rsr_engine {
    const struct rsr_api *api; /* first, always */
    rsr_model *model;
    int owner_pid;
    pthread_mutex_t call_lock; /* one call at a time; guards everything below */
    uint32_t n_threads, context, max_batch;
    rsr_probe_fn *probe;
    void *probe_user;
    struct rsr_worker_pool *pool;
    struct rsr_kv_pool kv;
    const struct rsr_attention *attention;
    struct rsr_attention_options attention_options;
    enum rsr_kv_type kv_type;
    struct louver_setup louver; /* if attention is louver */
    struct rsr_picks picks;
    char *arena; /* the buffers of a step */
    uint64_t arena_bytes;
    char *scratch; /* of all workers */
    uint64_t scratch_bytes;
    struct rsr_worker_state *workers;
    struct rsr_chunk chunk;
    _Atomic uint32_t failed_op; /* first operation of the chunk that met NaN; UINT32_MAX: none */
    struct rsr_profile profile;
};

struct rsr_sequence {
    const struct rsr_api *api; /* first, always */
    rsr_engine *engine;
    uint32_t length;
    uint32_t pending; /* tokens of the batch being checked */
    uint32_t n_pages; /* ceil(length / 64), more while a batch runs */
    uint32_t *pages;  /* [pages a full context takes] */
    uint32_t *tokens; /* [context]; the first `length` are what the pages hold */
};

static inline uint32_t rsr_pages_of(uint32_t n_tokens) {
    return n_tokens / RSR_PAGE_TOKENS + (n_tokens % RSR_PAGE_TOKENS != 0);
}

/* Makes the page of `position` exist and belong to this sequence alone. False: no free page. */
RSR_NODISCARD bool rsr_sequence_reserve(struct rsr_sequence *sequence, uint32_t position);
/* Gives back the pages that the first n_tokens do not need. */
void rsr_sequence_release_from(struct rsr_sequence *sequence, uint32_t n_tokens);

/* A job for the workers: one walk over engine->chunk.step. */
void rsr_step_run(void *engine, uint32_t worker);

/* Adds the chunk's samples to the profile. */
void rsr_profile_add_chunk(struct rsr_engine *engine);

#endif
