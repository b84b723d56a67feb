/* kvcache.c - see kvcache.h. */
#include <stdlib.h>

#include "kvcache.h"
#include "runtime.h"

rsr_status rsr_kv_pool_create(struct rsr_kv_pool *pool, uint32_t n_pages, rsr_error *err) {
    struct rsr_kv_pool made = {.n_pages = n_pages, .n_free = n_pages};
    made.references = calloc(n_pages, sizeof(*made.references));
    made.free_pages = malloc(n_pages * sizeof(*made.free_pages));
    if (made.references == NULL || made.free_pages == NULL) {
        rsr_kv_pool_destroy(&made);
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the numbers of %u KV pages", n_pages);
    }
    for (uint32_t i = 0; i < n_pages; i++)
        made.free_pages[i] = n_pages - 1 - i; /* low pages first */
    *pool = made;
    return RSR_OK;
}

void rsr_kv_pool_destroy(struct rsr_kv_pool *pool) {
    free(pool->references);
    free(pool->free_pages);
    *pool = (struct rsr_kv_pool){0};
}

uint32_t rsr_kv_page_take(struct rsr_kv_pool *pool) {
    if (pool->n_free == 0)
        return RSR_NO_PAGE;
    uint32_t page = pool->free_pages[--pool->n_free];
    pool->n_warm -= pool->n_warm != 0;
    pool->references[page] = 1;
    return page;
}

void rsr_kv_page_share(struct rsr_kv_pool *pool, uint32_t page) {
    pool->references[page]++;
}

void rsr_kv_page_release(struct rsr_kv_pool *pool, uint32_t page, bool dropped) {
    if (--pool->references[page] != 0)
        return;
    uint32_t *top = &pool->free_pages[pool->n_free++];
    pool->n_warm += !dropped;
    uint32_t *place = dropped ? top - pool->n_warm : top; /* below the warm ones */
    *top = *place;
    *place = page;
}

bool rsr_kv_page_is_shared(const struct rsr_kv_pool *pool, uint32_t page) {
    return pool->references[page] > 1;
}
