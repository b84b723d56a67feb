/* backend.h - the seam between an engine and what computes for it.
 *
 * Above the seam are models, sequences, batches, the numbers of KV pages and the choice of tokens:
 * engine/. Below it are all threads and all memory of activations, keys and values: one room a
 * backend, of which walk/ is the host's. The engine declares the table because it calls it; a
 * backend includes engine.h, and nothing of engine/ includes a backend (check_dependencies.py).
 *
 * Threads: the engine calls for one of its callers at a time, in turns, from any thread of the
 * process that made it (but for destroy). Every call returns when its results are in host memory.
 * A backend may leave work after that later calls are ordered after: copy_page does not have to
 * wait for its copy.
 *
 * Ownership: engine->device is the backend's. It reads the engine, the model and the sequences in
 * engine->chunk. It writes what is named below and nothing else, and keeps no pointer to a batch.
 *
 * Pages: numbers 0 .. engine->info.kv_tokens / RSR_PAGE_TOKENS - 1, which the engine gives to
 * sequences and takes back (kv/kvcache.h). A page holds the keys and values of RSR_PAGE_TOKENS
 * tokens, of all layers and KV heads, where and as the backend likes, with whatever it derives from
 * full pages. Pages are only written by run_chunk and copy_page; a page that a sequence gets is not
 * empty, but holds what it held. Shared pages are full: run_chunk never has to write to one. Pages
 * may be taken and given back while a chunk runs that has no use for them.
 */
#ifndef RSR_BACKEND_H
#define RSR_BACKEND_H

#include "runtime.h"

struct rsr_backend {
    const char *name;

    /* Makes engine->device for engine->model, with room for info.kv_tokens of keys and values and
     * chunks of info.max_batch tokens. `options` are the caller's: create chooses what they leave
     * open of n_threads, pin_threads, attention and kv_type, refuses what it cannot do, and may
     * lower info.kv_tokens, in whole pages, if they ask for neither context nor kv_tokens. Sets
     * n_threads, kv_bytes, arena_bytes and kv_type (a constant) of engine->info, and engine->saved.
     * A create that fails leaves nothing to destroy. */
    RSR_NODISCARD rsr_status (*create)(struct rsr_engine *engine, const rsr_engine_options *options,
                                       rsr_error *err);

    /* Ends what create made, without the lock. With `forked` this is a child of the process that
     * made it: threads and devices stayed there, only memory is freed. */
    void (*destroy)(struct rsr_engine *engine, bool forked);

    /* Evaluates engine->chunk: appends the keys and values of its tokens to the pages of their
     * sequences, whose pages exist and are theirs alone from chunk.positions on; fills
     * chunk.outputs; answers engine->picks as picks.h says; calls engine->probe, if it is set, from
     * one thread at a time, with data in host memory that the probe may change where rsr.h says so;
     * sets chunk.failed_ops. Fails with RSR_ERR_STOPPED soon after chunk.cancel is set. After an
     * error, which is of the backend and not of the numbers, what the chunk's positions hold is
     * undefined; what came before them is as it was. */
    RSR_NODISCARD rsr_status (*run_chunk)(struct rsr_engine *engine, rsr_error *err);

    /* The first n_tokens of page `to` become those of page `from`; 0 < n_tokens < RSR_PAGE_TOKENS.
     * Cannot fail: where a device does, the next run_chunk or read_rows says so. */
    void (*copy_page)(struct rsr_engine *engine, uint32_t to, uint32_t from, uint32_t n_tokens);

    /* What the page holds is not read again: its memory may go back to the system, while a chunk
     * runs that has no use for it. From any thread, without the lock. The page is taken. */
    void (*drop_page)(struct rsr_engine *engine, uint32_t page);

    /* Key and value of token `slot` of a page in a layer as attention sees them, rounded to the KV
     * type and back: [KV heads][head_dim] floats each, in host memory, the caller's. */
    RSR_NODISCARD rsr_status (*read_rows)(struct rsr_engine *engine, uint32_t page, uint32_t slot,
                                          uint32_t layer, float *keys, float *values,
                                          rsr_error *err);

    /* The first n_tokens of a page as a file has them, engine->saved.token_bytes each, and back.
     * load_page refuses what no save_page gives. The page is taken, and its sequence in no batch.
     * From any thread, without turn or lock, while a chunk runs. */
    void (*save_page)(struct rsr_engine *engine, uint32_t page, uint32_t n_tokens, void *bytes);
    RSR_NODISCARD bool (*load_page)(struct rsr_engine *engine, uint32_t page, uint32_t n_tokens,
                                    const void *bytes);
    /* Derives what there is to derive from n full pages that load_page wrote. Fails where the
     * calling thread has too little stack. */
    RSR_NODISCARD rsr_status (*seal_pages)(struct rsr_engine *engine, const uint32_t *pages,
                                           uint32_t n, rsr_error *err);

    /* Adds to engine->profile, with the engine's lock held, what was counted since the last call:
     * `attention`, whose name and min_keys it sets, `head`, whose n_planes it sets, and, of chunks
     * that ran while profile.enabled, `rows` (time in ns, bytes of memory read and written). Called
     * after create, before any chunk, and after every chunk. */
    void (*profile)(struct rsr_engine *engine);
};

/* The host: workers walk the step table. walk/crew.c */
extern const struct rsr_backend rsr_backend_host;

#endif
