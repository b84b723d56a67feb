/* kvcache.h - the pool of KV pages.
 *
 * A page holds 64 tokens (RSR_PAGE_TOKENS) of ALL layers and KV heads and is reference-counted:
 * sequences that share a prefix share its full pages. How the memory of a page is laid out is the
 * business of a struct rsr_kv_layout; attention asks it for the keys and values of one (page,
 * layer, KV head), and for the sidecar: memory for what attention derives from a full page. A pool
 * is not thread-safe: the engine's call lock guards allocation, and during a step workers write
 * different rows only.
 *
 * A sidecar is filled when the 64th key of its page is written, by the step that writes it. Only
 * full pages before a token's own are read through their sidecars, so a page that was truncated
 * into has none until it is full again: nobody has to remember that it is out of date. Forks share
 * pages with their sidecars; a page that is copied is not full.
 */
#ifndef RSR_KVCACHE_H
#define RSR_KVCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kv_rows.h"
#include "rsr.h"

#define RSR_NO_PAGE UINT32_MAX

struct rsr_kv_pool;

struct rsr_kv_layout {
    const char *name;
    uint64_t (*page_bytes)(const struct rsr_kv_pool *pool); /* 0: too large */
    struct rsr_kv_rows (*rows)(const struct rsr_kv_pool *pool, uint32_t page, uint32_t layer,
                               uint32_t kv_head);
    /* sidecar_bytes, aligned to 64; not to be called if the pool has none. */
    void *(*sidecar)(const struct rsr_kv_pool *pool, uint32_t page, uint32_t layer,
                     uint32_t kv_head);
    /* Copies the first n_tokens of a page, fewer than all: no sidecar. */
    void (*copy)(const struct rsr_kv_pool *pool, uint32_t to, uint32_t from, uint32_t n_tokens);
};

/* Host memory: per (page, layer, KV head) the rows of kv_rows.h; behind those of all pages the
 * sidecars. */
extern const struct rsr_kv_layout rsr_kv_layout_host;

struct rsr_kv_pool {
    const struct rsr_kv_layout *layout;
    struct rsr_kv_format format;
    uint32_t n_layers, n_kv_heads;
    uint32_t sidecar_bytes; /* a multiple of 64; 0: no sidecars */
    uint32_t n_pages, n_free;
    uint64_t page_bytes;
    char *memory;         /* mapped, committed by the kernel when touched */
    uint32_t *references; /* [n_pages] */
    uint32_t *free_pages; /* stack of n_free */
};

/* How many pages a pool has. It never has more than memory_bytes hold, a machine's memory: the kernel commits
 * pages when they are touched, and would end the process then. */
struct rsr_kv_pool_size {
    uint32_t n_pages;
    uint64_t memory_bytes;
    bool shrinks; /* nobody asked for n_pages: fewer will do, if memory holds one */
};

RSR_NODISCARD rsr_status rsr_kv_pool_create(struct rsr_kv_pool *pool,
                                            const struct rsr_kv_layout *layout,
                                            const struct rsr_kv_format *format,
                                            const struct rsr_hyper *hyper, uint32_t sidecar_bytes,
                                            const struct rsr_kv_pool_size *size, rsr_error *err);
void rsr_kv_pool_destroy(struct rsr_kv_pool *pool); /* a zeroed pool is fine */

/* A page with one reference, or RSR_NO_PAGE. Rows are zero from head_dim on, else undefined. */
uint32_t rsr_kv_page_take(struct rsr_kv_pool *pool);
void rsr_kv_page_share(struct rsr_kv_pool *pool, uint32_t page);
void rsr_kv_page_release(struct rsr_kv_pool *pool, uint32_t page);
bool rsr_kv_page_is_shared(const struct rsr_kv_pool *pool, uint32_t page);

#endif
