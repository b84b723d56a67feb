/* backend.h - the seam between an engine and what computes for it.
 *
 * Above the seam are models, sequences, batches, the numbers of KV pages and the choice of tokens:
 * engine/. Below it are all threads and all memory of activations, keys and values: one folder for
 * each backend; walk/ is the host's. The engine declares this table because it calls it. A backend
 * includes engine.h, and no file of engine/ includes a backend (check_dependencies.py).
 *
 * Threads: the engine makes one call at a time, in turns of its callers, from any thread of the
 * process that created it (destroy may come from a child). A call returns when its results are in
 * host memory. Work may continue after the return if later calls are ordered after it: copy_page
 * need not wait for its copy.
 *
 * Ownership: engine->device belongs to the backend. The backend reads the engine, the model and the
 * sequences in engine->chunk. It writes only what is named below, and keeps no pointer to a batch.
 *
 * States: numbers 0 .. engine->info.n_states - 1, of models with a recurrence. A state holds what
 * all recurrent blocks keep of a sequence's tokens so far. Only run_chunk, those of
 * chunk.state_runs, and load_state write one. A finished state does not change any more, so forks
 * share it.
 *
 * Pages: numbers 0 .. engine->info.kv_tokens / RSR_PAGE_TOKENS - 1, which the engine gives to
 * sequences and takes back (kv/kvcache.h). A page holds the keys and values of RSR_PAGE_TOKENS
 * tokens for all layers and KV heads. The backend decides where they are, in which form, and what
 * it derives from full pages. Only run_chunk, copy_page and load_page write to pages. A page that a
 * sequence gets is not cleared. Shared pages are full, so run_chunk never writes to one. While a
 * chunk runs, the engine may take and give back pages that the chunk does not use.
 */
#ifndef RSR_BACKEND_H
#define RSR_BACKEND_H

#include "runtime.h"

struct rsr_backend {
    const char *name;

    /* Makes engine->device for engine->model, with room for info.kv_tokens of keys and values and
     * chunks of info.max_batch tokens. `options` are the caller's: create chooses n_threads,
     * pin_threads, attention, kv_type and state_type where they leave them open, and refuses what
     * it cannot do. If they ask for neither context nor kv_tokens, create may lower info.kv_tokens
     * by whole pages. Sets n_threads, kv_bytes, arena_bytes, kv_type, n_states, state_bytes and
     * state_type of engine->info (types are constants), engine->saved, engine->shares_head, and
     * engine->steps and engine->tensors. A create that fails leaves nothing to destroy. */
    RSR_NODISCARD rsr_status (*create)(struct rsr_engine *engine, const rsr_engine_options *options,
                                       rsr_error *err);

    /* Ends what create made; called without the lock. `forked`: this is a child of the process that
     * created the engine. Threads and devices stayed in the parent, so only memory is freed. */
    void (*destroy)(struct rsr_engine *engine, bool forked);

    /* Evaluates engine->chunk. Appends the keys and values of its tokens to the pages of their
     * sequences; these pages exist and are not shared from chunk.positions on. (Tokens
     * before a sequence's length are evaluated again for its state: their keys and values are there
     * and stay.) Leaves the state of every chunk.state_runs after its tokens. Fills chunk.outputs,
     * answers engine->picks as picks.h says, and sets chunk.failed_ops. Calls engine->probe, if
     * set, from one thread at a time, with data in host memory, which the probe may change where
     * rsr.h says so. Returns RSR_ERR_STOPPED soon after chunk.cancel is set. An error means that
     * the backend failed; numbers that are not finite are reported by failed_ops instead. After an
     * error the rows of the chunk's positions are undefined; earlier rows are unchanged. */
    RSR_NODISCARD rsr_status (*run_chunk)(struct rsr_engine *engine, rsr_error *err);

    /* Makes room for a page that a sequence gets. Called with the lock. Returns 0, or errno if a
     * disk has no room; the page then stays free. NULL: there is always room. */
    int (*take_page)(struct rsr_engine *engine, uint32_t page);

    /* Copies the first n_tokens of page `from` to page `to`; 0 < n_tokens < RSR_PAGE_TOKENS. It
     * cannot fail: if a device fails, the next run_chunk or read_rows reports it. */
    void (*copy_page)(struct rsr_engine *engine, uint32_t to, uint32_t from, uint32_t n_tokens);

    /* The page's content is not needed any more: its memory may go back to the system. Called from
     * any thread, without the lock, also while a chunk runs that does not use the page. The page is
     * not free during the call. */
    void (*drop_page)(struct rsr_engine *engine, uint32_t page);

    /* The state's memory may go back to the system. Called with the lock, from any thread, also
     * while a chunk runs that does not use the state. */
    void (*drop_state)(struct rsr_engine *engine, uint32_t state);

    /* Reads key and value of token `slot` of a page in a layer, as attention sees them: rounded to
     * the KV type and back. Writes [KV heads][head_dim] floats each to the caller's host memory. */
    RSR_NODISCARD rsr_status (*read_rows)(struct rsr_engine *engine, uint32_t page, uint32_t slot,
                                          uint32_t layer, float *keys, float *values,
                                          rsr_error *err);

    /* Convert the first n_tokens of a page to the form of a file (engine->saved.token_bytes each)
     * and back. load_page refuses bytes that save_page cannot have written. The page is taken, and
     * its sequence is in no batch. Called from any thread, without turn or lock, also while a chunk
     * runs. */
    void (*save_page)(struct rsr_engine *engine, uint32_t page, uint32_t n_tokens, void *bytes);
    RSR_NODISCARD bool (*load_page)(struct rsr_engine *engine, uint32_t page, uint32_t n_tokens,
                                    const void *bytes);
    /* Copy a finished state, of engine->info.state_bytes, to the form of a file and back.
     * load_state refuses numbers that are not finite. Called as save_page and load_page are. */
    void (*save_state)(struct rsr_engine *engine, uint32_t state, void *bytes);
    RSR_NODISCARD bool (*load_state)(struct rsr_engine *engine, uint32_t state, const void *bytes);
    /* Derives from n full pages that load_page wrote what run_chunk would have derived. Fails if
     * the calling thread has too little stack. */
    RSR_NODISCARD rsr_status (*seal_pages)(struct rsr_engine *engine, const uint32_t *pages,
                                           uint32_t n, rsr_error *err);

    /* Adds what was counted since the last call to engine->profile. Called with the engine's lock
     * held, once after create and then after every chunk. Adds to `attention` and sets its name and
     * min_keys; adds to `head` and sets its n_planes; for chunks that ran while profile.enabled,
     * adds to `rows` (time in ns, bytes of memory read and written). */
    void (*profile)(struct rsr_engine *engine);

    /* rsr_engine_follow() and rsr_engine_get_rank(), the latter with the lock. NULL: the backend
     * knows no ranks, and create refused options with a transport. */
    RSR_NODISCARD rsr_status (*follow)(struct rsr_engine *engine, rsr_error *err);
    RSR_NODISCARD bool (*get_rank)(const struct rsr_engine *engine, uint32_t rank,
                                   rsr_rank_info *info);
};

/* The host: workers walk the step table. walk/crew.c */
extern const struct rsr_backend rsr_backend_host;
/* A GPU: options->device is "cuda" or "cuda:N". cuda/cuda_backend.c */
extern const struct rsr_backend rsr_backend_cuda;

#endif
