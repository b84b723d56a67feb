/* kvcache.h - the numbers of KV pages: which are free, and how many references each has.
 *
 * A page holds 64 tokens (RSR_PAGE_TOKENS) of ALL layers and KV heads and is reference-counted:
 * sequences that share a prefix share its full pages. A reference of a prefix cache is called kept;
 * the cache gives it up when a sequence needs a page. The backend knows where the memory of a page
 * is and how it is laid out (engine/backend.h). A pool is not thread-safe: the engine's lock guards
 * it.
 */
#ifndef RSR_KVCACHE_H
#define RSR_KVCACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "ops/ops.h"
#include "rsr.h"

#define RSR_NO_PAGE UINT32_MAX

/* Free pages that keep their memory. Without one, a sequence that is truncated and extended at a
 * page's end would fault in a page at every step. */
#define RSR_WARM_PAGES 1u

struct rsr_kv_pool {
    uint32_t n_pages, n_free;
    uint32_t n_warm;      /* free pages that may have memory; they are at the stack's top */
    uint32_t n_only_kept; /* pages that no sequence has */
    uint32_t *references; /* [n_pages] */
    uint32_t *kept;       /* [n_pages] references that prefix caches have */
    uint32_t *free_pages; /* stack of n_free */
};

RSR_NODISCARD rsr_status rsr_kv_pool_create(struct rsr_kv_pool *pool, uint32_t n_pages,
                                            rsr_error *err);
void rsr_kv_pool_destroy(struct rsr_kv_pool *pool); /* a zeroed pool is fine */

/* A page with one reference, or RSR_NO_PAGE. */
uint32_t rsr_kv_page_take(struct rsr_kv_pool *pool);
void rsr_kv_page_share(struct rsr_kv_pool *pool, uint32_t page);
/* `dropped` says that the page was not shared and its memory was given back. */
void rsr_kv_page_release(struct rsr_kv_pool *pool, uint32_t page, bool dropped);
/* Adds a reference of a prefix cache. rsr_kv_page_unkeep turns it into an ordinary reference. */
void rsr_kv_page_keep(struct rsr_kv_pool *pool, uint32_t page);
void rsr_kv_page_unkeep(struct rsr_kv_pool *pool, uint32_t page);
bool rsr_kv_page_is_shared(const struct rsr_kv_pool *pool, uint32_t page);

#endif
