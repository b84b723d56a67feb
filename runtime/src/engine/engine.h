/* engine.h - the parts of an engine, with any backend; for the files of engine/ and for
 * backends. */
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
    const struct rsr_sequence *sequence;
    uint32_t n_before; /* pages before the first token's own; all are full */
    uint32_t n_shared; /* how many of the first of them the run before this one has too, where it is
                          of another sequence; else 0 */
};

/* The tokens of one sequence in a chunk, in order: first_token, then
 * chunk.next_tokens[first_token], and so on. Their recurrence starts from state `from`
 * (RSR_NO_PAGE: all zeros) and leaves its result in state `to`, which may be `from`. */
struct rsr_state_run {
    uint32_t first_token;
    uint32_t from, to;
};

/* The part of a batch that one walk over the step table evaluates; at most max_batch tokens. */
struct rsr_chunk {
    const struct rsr_step_table *step;
    const rsr_batch_entry *entries;
    uint32_t n_tokens;
    uint32_t *positions;  /* [n_tokens] */
    struct rsr_run *runs; /* those that share pages are neighbours: runs.c */
    uint32_t n_runs;
    struct rsr_state_run *state_runs; /* of models with a recurrence */
    uint32_t n_state_runs;
    uint32_t *next_tokens; /* [n_tokens] the next token of the same sequence, or UINT32_MAX */
    uint32_t *wanted;      /* tokens whose logits are wanted, ascending */
    uint32_t n_wanted;
    bool wants_states; /* outputs are hidden states after the last norm, whatever the model */
    float *outputs;    /* [n_wanted][rsr_output_size(), or hidden] */
    const rsr_cancel *cancel; /* ends the evaluation early when it is set; or NULL */
    uint32_t *failed_ops;     /* [n_tokens] set by run_chunk: the first of step->ops that met NaN or
                                 infinity for the token; UINT32_MAX: none did */
};

/* The step of a chunk of n tokens. eval.c */
const struct rsr_step_table *rsr_find_step(const struct rsr_step_table *steps, uint32_t n_tokens);

/* Finds the runs of the chunk's tokens. runs.c */
void rsr_runs_find(struct rsr_chunk *chunk);

/* What was counted since the last reset. There is one row for each kind of operation, and for
 * LINEAR one for each role. */
#define RSR_PROFILE_ROWS ((uint32_t)RSR_OP_KIND_COUNT + (uint32_t)RSR_ROLE_COUNT)
struct rsr_profile {
    bool wanted;  /* rows are wanted from the next chunk on */
    bool enabled; /* rows are counted in the running chunk; guarded by the turn */
    rsr_profile_entry rows[RSR_PROFILE_ROWS];
    rsr_attention_stats attention;
    rsr_head_stats head;
};

/* The row of an operation, or, of LINEAR, of the layer's role, with its name. profile.c */
rsr_profile_entry *rsr_profile_row(rsr_profile_entry *rows, uint32_t kind, uint32_t role);

/* What a file of keys and values states about them, besides the model and engine->info. */
struct rsr_kv_saved {
    uint64_t token_bytes; /* 0: the backend saves none */
    const char *refusal;  /* 0 bytes: the sentence that says why */
    char attention[96];   /* kind of attention, because keys and values depend on it */
    bool has_index;       /* seal_pages has something to do */
};

struct rsr_engine {
    const struct rsr_api *api; /* first, always */
    rsr_model *model;
    const struct rsr_backend *backend;
    void *device;                       /* the backend's */
    const struct rsr_step_table *steps; /* the tables that it walks: a target's or a GPU's */
    const struct rsr_tensors *tensors;
    int owner_pid;
    rsr_engine_info info; /* all but kv_tokens_free, which kv knows */
    struct rsr_kv_saved saved;
    bool shares_head; /* the backend answers picks of an allowed set, or of a nucleus, with all
                         logits */
    rsr_probe_fn *probe;
    void *probe_user;
    uint64_t max_stall_ns; /* 0: no limit */

    /* Only the caller that has the turn may use these and the backend. */
    struct rsr_turns turns;
    struct rsr_chunk chunk;
    struct rsr_picks picks;
    rsr_batch_entry *replay; /* [max_batch] tokens that are evaluated again for a state */
    uint64_t token_ns;       /* time for one token of a large chunk, measured last; 0: not known */

    /* A caller that needs both takes the turn first, then the lock. The lock is never held while a
     * chunk runs. It guards these, and the pages of sequences. */
    pthread_mutex_t lock;
    struct rsr_kv_pool kv;
    int page_error; /* why the last page that was asked for has no room on a disk; 0: another
                       reason, or none */
    struct rsr_kv_pool states; /* of models with a recurrence */
    uint32_t n_dropping;       /* pages whose memory is on its way to the system; they are free
                               afterwards */
    pthread_cond_t dropped;    /* signals that n_dropping fell */
    struct rsr_prefix_cache *caches; /* the first of them */
    struct rsr_profile profile;
};

/* rsr_engine_create with a given backend. */
RSR_NODISCARD rsr_status rsr_engine_create_on(const struct rsr_backend *backend, rsr_model *model,
                                              const rsr_engine_options *options,
                                              rsr_engine **engine, rsr_error *err);

/* A state, and how many tokens it is of. */
struct rsr_state_mark {
    uint32_t state; /* RSR_NO_PAGE: none, and n_tokens is 0 */
    uint32_t n_tokens;
};

struct rsr_sequence {
    const struct rsr_api *api; /* first, always */
    rsr_engine *engine;
    uint32_t length;
    /* Of models with a recurrence: the state after all tokens, or after a truncation one of fewer
     * tokens; and one of fewer tokens still, for the next truncation. */
    struct rsr_state_mark state, earlier;
    struct rsr_state_mark next; /* for a batch that is not done: the state that it writes, and how
                                   many tokens are in it so far */
    uint32_t last_token;        /* of the sequence in the chunk */
    uint32_t state_run;         /* its number in the chunk */
    /* For a batch that is not done. */
    uint32_t pending;  /* its tokens; 0: the sequence is in none */
    rsr_status failed; /* why the sequence will not be extended */
    uint32_t n_pages;  /* ceil(length / 64), more while a batch runs */
    uint32_t *pages;   /* [pages a full context takes] */
    uint32_t *tokens;  /* [context]; the first `length` are what the pages hold */
};

static inline uint32_t rsr_pages_of(uint32_t n_tokens) {
    return n_tokens / RSR_PAGE_TOKENS + (n_tokens % RSR_PAGE_TOKENS != 0);
}

/* False in a child after fork(). There, ending an object must not take the lock, which a thread of
 * the parent may hold, and need not give pages back. */
RSR_NODISCARD bool rsr_engine_is_ours(const rsr_engine *engine);

/* A new, empty sequence; NULL after an error. */
struct rsr_sequence *rsr_sequence_new(rsr_engine *engine, rsr_error *err);
void rsr_sequence_free(struct rsr_sequence *sequence);
/* Refuses a sequence that a batch still works on. Called with the lock. */
RSR_NODISCARD rsr_status rsr_check_idle(const struct rsr_sequence *sequence, rsr_error *err);

/* Takes a free page, or one that a prefix cache gives up; RSR_NO_PAGE: there is none. Called with
 * the lock, and releases it for a while if it must wait for a page whose memory goes back to the
 * system. */
uint32_t rsr_engine_take_page(struct rsr_engine *engine);
/* Says why there was no page. Called with the lock. */
rsr_status rsr_fail_no_page(const struct rsr_engine *engine, rsr_error *err);
/* Gives memory of free pages back to the system. Called with the lock, which it releases
 * meanwhile. */
void rsr_engine_drop_warm(struct rsr_engine *engine);
/* Makes a cache give up its oldest page, which may then be free. False: nothing is cached. Called
 * with the lock. */
RSR_NODISCARD bool rsr_prefix_caches_yield(struct rsr_engine *engine);
/* The same of a recurrent state. */
RSR_NODISCARD bool rsr_prefix_caches_yield_state(struct rsr_engine *engine);

/* Recurrent states, all with the lock. states.c
 * Takes a free state, which caches give up if there is none else. RSR_NO_PAGE: all are taken. */
uint32_t rsr_engine_take_state(struct rsr_engine *engine);
/* Takes the state that a batch will write. False: none is free. */
RSR_NODISCARD bool rsr_sequence_begin_state(struct rsr_sequence *sequence);
/* Keeps it, because the batch has succeeded, or gives it back. */
void rsr_sequence_end_state(struct rsr_sequence *sequence, bool succeeded);
/* Ends a reference to a state; RSR_NO_PAGE: none. Free states keep their memory as long as the next
 * batches will want it: as many as are taken. */
void rsr_engine_release_state(struct rsr_engine *engine, uint32_t state);
/* Drops states of more than n_tokens. */
void rsr_sequence_rewind_state(struct rsr_sequence *sequence, uint32_t n_tokens);
/* Gives an empty sequence the states of another one. */
void rsr_sequence_share_state(struct rsr_sequence *to, const struct rsr_sequence *from);
rsr_status rsr_fail_no_state(const struct rsr_engine *engine, rsr_error *err); /* without it, too */

/* Makes the page of `position` exist and belong to this sequence alone. Called with the turn and
 * the lock, which it may release as rsr_engine_take_page does. False: no page is free. */
RSR_NODISCARD bool rsr_sequence_reserve(struct rsr_sequence *sequence, uint32_t position);
/* Gives back the pages that the first n_tokens do not need. Called with the lock, which it releases
 * while memory goes back to the system. */
void rsr_sequence_release_from(struct rsr_sequence *sequence, uint32_t n_tokens);

#endif
