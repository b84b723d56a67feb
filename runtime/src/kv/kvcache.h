/* kvcache.h - the numbers of KV pages: which are free, and how many sequences have each.
 *
 * A page holds 64 tokens (RSR_PAGE_TOKENS) of ALL layers and KV heads and is reference-counted:
 * sequences that share a prefix share its full pages. Some references are a prefix cache's, which
 * gives them up when a sequence needs a page: such a page is kept. Where the memory of a page is,
 * and how it is laid out, is the backend's business (engine/backend.h). A pool is not thread-safe:
 * the engine's lock guards it.
 */
#ifndef RSR_KVCACHE_H
#define RSR_KVCACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "ops/ops.h"
#include "rsr.h"

#define RSR_NO_PAGE UINT32_MAX

/* Free pages that keep their memory, so that a sequence that is cut and goes on at a page's end
 * does not fault one in at every step. */
#define RSR_WARM_PAGES 1u

struct rsr_kv_pool {
    uint32_t n_pages, n_free;
    uint32_t n_warm;      /* free pages that may have memory: the stack's top */
    uint32_t n_only_kept; /* pages that no sequence has */
    uint32_t *references; /* [n_pages] */
    uint32_t *kept;       /* [n_pages] how many of them prefix caches have */
    uint32_t *free_pages; /* stack of n_free */
};

RSR_NODISCARD rsr_status rsr_kv_pool_create(struct rsr_kv_pool *pool, uint32_t n_pages,
                                            rsr_error *err);
void rsr_kv_pool_destroy(struct rsr_kv_pool *pool); /* a zeroed pool is fine */

/* A page with one reference, or RSR_NO_PAGE. */
uint32_t rsr_kv_page_take(struct rsr_kv_pool *pool);
void rsr_kv_page_share(struct rsr_kv_pool *pool, uint32_t page);
/* dropped: the page is not shared, and its memory was given back. */
void rsr_kv_page_release(struct rsr_kv_pool *pool, uint32_t page, bool dropped);
/* A reference that is a prefix cache's; rsr_kv_page_unkeep makes it one like any other. */
void rsr_kv_page_keep(struct rsr_kv_pool *pool, uint32_t page);
void rsr_kv_page_unkeep(struct rsr_kv_pool *pool, uint32_t page);
bool rsr_kv_page_is_shared(const struct rsr_kv_pool *pool, uint32_t page);

#endif
