/* crew.h - the host's device: workers that walk the step table together, and the memory that they
 * work on. Shared by walk/ and attention/. */
#ifndef RSR_CREW_H
#define RSR_CREW_H

#include <stdatomic.h>

#include "engine/engine.h"
#include "head_memory.h"
#include "head_sketch.h"
#include "host/barrier.h"
#include "host/stack.h"
#include "host/worker_pool.h"
#include "kv_memory.h"
#include "state_memory.h"
#include "louver/louver.h"
#include "ops/ops.h"
#include "rank_share.h"
#include "team_size.h"
#include "tile_share.h"

struct rsr_crew;
struct rsr_ranks;

/* One worker's call for one operation. q and out are buffer rows. */
struct rsr_attention_call {
    uint32_t layer;  /* number of the block among those with keys and values */
    uint32_t window; /* keys that a token sees, its own included; 0: all */
    uint32_t worker;
    uint32_t share; /* worker whose share of the work it does, with that worker's scratch */
    const char *q;
    size_t q_row_bytes;
    char *out;
    size_t out_row_bytes;
};

/* How attention is computed. */
struct rsr_attention {
    const char *name;
    /* The default of rsr_attention_options.min_keys; NULL: 0. */
    uint32_t (*min_keys)(const rsr_louver_threshold *threshold);
    /* Called first; prepares the data that the other functions need. */
    RSR_NODISCARD rsr_status (*begin)(struct rsr_crew *crew, rsr_error *err);
    /* Size of a sidecar in the KV pages; 0: none. */
    uint32_t (*sidecar_bytes)(const struct rsr_crew *crew);
    /* Scratch of one worker; 0: too large. */
    uint64_t (*scratch_bytes)(const struct rsr_crew *crew);
    size_t stack_bytes; /* largest stack that a worker needs in a step */
    /* This worker's part of one operation: (run, KV head) units. */
    void (*run)(struct rsr_crew *crew, const struct rsr_attention_call *call);
    /* Fills the sidecar of a full page; not to be called if there are none. */
    void (*seal)(const struct rsr_crew *crew, uint32_t page, uint32_t layer, uint32_t kv_head);
};
extern const struct rsr_attention rsr_attention_dense, rsr_attention_louver;

/* Options of attention that is not dense. */
struct rsr_attention_options {
    rsr_louver_threshold threshold;
    uint32_t min_keys; /* a token that sees fewer has dense attention; UINT32_MAX: every token */
};
/* Parses rsr_engine_options.attention; NULL is dense. attention_choice.c */
RSR_NODISCARD rsr_status rsr_attention_choose(const char *text,
                                              const struct rsr_attention **attention,
                                              struct rsr_attention_options *options,
                                              rsr_error *err);
/* Writes the kind and the options on which results depend, in the form that rsr_attention_choose
 * takes. */
void rsr_attention_describe(const struct rsr_attention *attention,
                            const struct rsr_attention_options *options, char *text,
                            size_t capacity);

/* The first position that a token sees. */
static inline uint32_t rsr_first_seen(uint32_t position, uint32_t window) {
    return window != 0 && position >= window ? position - window + 1 : 0;
}

/* Dense attention of one unit or of all, for kinds that fall back on it. */
void rsr_attention_dense_unit(const struct rsr_crew *crew, const struct rsr_attention_call *call,
                              struct rsr_run run, uint32_t kv_head);
void rsr_attention_dense_run(struct rsr_crew *crew, const struct rsr_attention_call *call);

/* One operation of a step, by one worker. */
struct rsr_op_sample {
    uint64_t run_ns, wait_ns; /* wait: at its barrier */
    uint64_t bytes;           /* memory traffic that the tables do not tell */
};

/* Private to one worker. */
struct rsr_worker_state {
    _Alignas(64) char *scratch;    /* for kernels and attention */
    struct rsr_op_sample *samples; /* [largest n_ops of the target's steps]; only while profiling */
    const void *tables_of;         /* the rows from which the tables in scratch were made, if
                                      `tables` is not 0 */
    uint32_t tables;               /* rsr_kernel_desc.tables of these tables */
    struct rsr_fetch fetch;        /* weights of operation fetch_op, while waiting for others */
    uint32_t fetch_op;
    uint32_t n_shared_calls; /* equal for all workers of a job */
    uint64_t bytes;          /* operations whose reads depend on the data add them here */
    rsr_attention_stats attention;
    rsr_head_stats head;
    _Alignas(64) struct rsr_tile_share tiles; /* other workers write these */
    _Atomic uint32_t
        pages_done; /* of the unit of attention that this worker began and others help with */
};

/* Steps of more tokens take all workers: the work between two barriers is then long. */
#define RSR_TEAM_SIZES 4

struct rsr_crew {
    const struct rsr_engine *engine;
    const rsr_model *model;        /* of the engine */
    const struct rsr_chunk *chunk; /* of the engine */
    struct rsr_worker_pool *pool;
    uint32_t most_workers;                      /* number of all workers */
    uint32_t n_workers;                         /* number of workers of the running job: the first
                                                   ones */
    bool takes_all;                             /* every job takes all workers */
    struct rsr_team_size sizes[RSR_TEAM_SIZES]; /* of steps with 1, 2 and 3, 4 to 7, ... tokens */
    struct rsr_known_stack stack;               /* of the calling thread */
    enum rsr_kv_type kv_type;
    struct rsr_kv_memory kv;
    struct rsr_state_memory states;
    const struct rsr_attention *attention;
    struct rsr_attention_options attention_options;
    struct louver_setup louver; /* if attention is louver */
    struct rsr_head_slots slots;
    struct rsr_head_memory head_memory;
    struct rsr_ranks *ranks; /* NULL: this process computes all of the model */
    uint32_t first_layer;    /* the first of those whose keys and values are here */
    char *arena;             /* the buffers of a step */
    uint64_t arena_bytes;
    char *scratch; /* of all workers */
    uint64_t scratch_bytes;
    struct rsr_worker_state *workers;
    _Atomic uint32_t last_op; /* a walk that is cancelled, or whose ranks lost each other, ends at
                                 the barrier after this operation; UINT32_MAX: none */
    bool timed;               /* samples are of a chunk that is not yet in the profile */
};

static inline struct rsr_crew *rsr_crew_of(const struct rsr_engine *engine) {
    return engine->device;
}

/* Chooses the workers for the engine's chunk, and runs it with them. crew.c */
void rsr_crew_choose_team(struct rsr_crew *crew);
void rsr_crew_walk(struct rsr_crew *crew);

/* A job for the workers of a crew: one walk over engine->chunk.step. step_run.c */
void rsr_step_run(void *crew, uint32_t worker);

/* Notes the first operation that met NaN or infinity for a token. */
static inline void rsr_report_not_finite(const struct rsr_crew *crew, uint32_t token,
                                         uint32_t op_index) {
    uint32_t *op = &crew->chunk->failed_ops[token], first = __atomic_load_n(op, __ATOMIC_RELAXED);
    while (op_index < first && !__atomic_compare_exchange_n(op, &first, op_index, true,
                                                            __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

/* Rows of a step's buffer. */
struct rsr_step_rows {
    char *memory;
    size_t row_bytes;
};

static inline struct rsr_step_rows rsr_crew_buffer(const struct rsr_crew *crew, uint16_t number) {
    const struct rsr_buffer *buffer = &crew->chunk->step->buffers[number];
    return (struct rsr_step_rows){crew->arena + buffer->offset * crew->engine->info.max_batch,
                                  buffer->row_bytes};
}

/* One worker's call of DELTA. */
struct rsr_delta_call {
    const struct rsr_delta *weights;
    uint32_t layer;
    uint32_t worker;
    uint32_t op_index;
    struct rsr_step_rows qkv, z, beta, decay, out;
};
uint64_t rsr_delta_scratch_bytes(const struct rsr_hyper *hyper);
/* Value head `unit % delta_value_heads` of the sequence `unit / delta_value_heads`. delta.c */
void rsr_delta_run(struct rsr_crew *crew, const struct rsr_delta_call *call, uint32_t unit);

/* Adds the samples of the chunk to the profile's rows. walk_profile.c */
void rsr_crew_add_samples(const struct rsr_crew *crew, rsr_profile_entry *rows);

#endif
