/* engine.h - what an engine is made of, whatever computes for it; shared by the files of engine/
 * and by backends. */
#ifndef RSR_ENGINE_H
#define RSR_ENGINE_H

#include <pthread.h>

#include "backend.h"
#include "host/turns.h"
#include "kv/kvcache.h"
#include "picks.h"
#include "runtime.h"

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
    bool wants_states; /* outputs are hidden states after the last norm, whatever the model */
    float *outputs;    /* [n_wanted][rsr_output_size(), or hidden] */
    const rsr_cancel *cancel; /* what may end its evaluation early; or NULL */
    uint32_t *failed_ops; /* [n_tokens] what running it says of each: the first of step->ops that
                             met NaN or infinity, or UINT32_MAX, which it is before */
};

/* What was counted and not yet reset. Rows: one an operation kind, LINEAR one a role. */
#define RSR_PROFILE_ROWS ((uint32_t)RSR_OP_KIND_COUNT + (uint32_t)RSR_ROLE_COUNT)
struct rsr_profile {
    bool wanted;  /* rows are, from the next chunk on */
    bool enabled; /* of the chunk that runs; guarded by the turn */
    rsr_profile_entry rows[RSR_PROFILE_ROWS];
    rsr_attention_stats attention;
    rsr_head_stats head;
};

/* What a file with keys and values says of them, besides the model and engine->info. */
struct rsr_kv_saved {
    uint64_t token_bytes;
    char attention[96]; /* how it is computed, as far as keys and values depend on it */
    bool has_index;     /* there is something for seal_pages */
};

struct rsr_engine {
    const struct rsr_api *api; /* first, always */
    rsr_model *model;
    const struct rsr_backend *backend;
    void *device; /* the backend's */
    int owner_pid;
    rsr_engine_info info; /* all but kv_tokens_free, which kv knows */
    struct rsr_kv_saved saved;
    rsr_probe_fn *probe;
    void *probe_user;
    uint64_t max_stall_ns; /* 0: any */

    /* Whose turn it is may use these and the backend. */
    struct rsr_turns turns;
    struct rsr_chunk chunk;
    struct rsr_picks picks;
    uint64_t token_ns; /* what a token of many took last; 0: not known */

    /* Taken after the turn where both are, and never held while a chunk runs. Guards these, and
     * what sequences say of their pages. */
    pthread_mutex_t lock;
    struct rsr_kv_pool kv;
    uint32_t n_dropping;    /* pages that are free as soon as their memory is the system's, */
    pthread_cond_t dropped; /* which is told here */
    struct rsr_prefix_cache *caches; /* the first of them */
    struct rsr_profile profile;
};

/* rsr_engine_create, on a backend. */
RSR_NODISCARD rsr_status rsr_engine_create_on(const struct rsr_backend *backend, rsr_model *model,
                                              const rsr_engine_options *options,
                                              rsr_engine **engine, rsr_error *err);

struct rsr_sequence {
    const struct rsr_api *api; /* first, always */
    rsr_engine *engine;
    uint32_t length;
    /* Of a batch that is not done. */
    uint32_t pending;  /* its tokens; 0: the sequence is in none */
    rsr_status failed; /* why the sequence will not be extended */
    uint32_t n_pages;  /* ceil(length / 64), more while a batch runs */
    uint32_t *pages;   /* [pages a full context takes] */
    uint32_t *tokens;  /* [context]; the first `length` are what the pages hold */
};

static inline uint32_t rsr_pages_of(uint32_t n_tokens) {
    return n_tokens / RSR_PAGE_TOKENS + (n_tokens % RSR_PAGE_TOKENS != 0);
}

/* False in a child that fork() made, which ends what it inherited: a thread that is not there may
 * hold the lock, and the pages are moot. */
RSR_NODISCARD bool rsr_engine_is_ours(const rsr_engine *engine);

/* An empty one, which is nobody's yet; NULL after an error. */
struct rsr_sequence *rsr_sequence_new(rsr_engine *engine, rsr_error *err);
void rsr_sequence_free(struct rsr_sequence *sequence);
/* With the lock: what a batch still works on is left alone, whoever asks. */
RSR_NODISCARD rsr_status rsr_check_idle(const struct rsr_sequence *sequence, rsr_error *err);

/* A free page, or one that prefix caches yield; RSR_NO_PAGE: there is none. With the lock, which is
 * let go of while the last free page goes back to the system. */
uint32_t rsr_engine_take_page(struct rsr_engine *engine);
rsr_status rsr_fail_no_page(const struct rsr_engine *engine, rsr_error *err);
/* Gives memory of free pages back to the system. With the lock, which is let go of meanwhile. */
void rsr_engine_drop_warm(struct rsr_engine *engine);
/* A cache gives up its oldest page, which may be free then; false: there is nothing cached. With
 * the lock. */
RSR_NODISCARD bool rsr_prefix_caches_yield(struct rsr_engine *engine);

/* Makes the page of `position` exist and belong to this sequence alone, with the turn and the lock,
 * which is let go of as by rsr_engine_take_page. False: no free page. */
RSR_NODISCARD bool rsr_sequence_reserve(struct rsr_sequence *sequence, uint32_t position);
/* Gives back the pages that the first n_tokens do not need. With the lock, which is let go of while
 * memory goes back to the system. */
void rsr_sequence_release_from(struct rsr_sequence *sequence, uint32_t n_tokens);

#endif
