/* kvcache.c - see kvcache.h. */
#include <stdlib.h>

#include "kvcache.h"
#include "runtime.h"

rsr_status rsr_kv_pool_create(struct rsr_kv_pool *pool, uint32_t n_pages, rsr_error *err) {
    struct rsr_kv_pool made = {.n_pages = n_pages, .n_free = n_pages};
    made.references = calloc(n_pages, sizeof(*made.references));
    made.kept = calloc(n_pages, sizeof(*made.kept));
    made.free_pages = malloc(n_pages * sizeof(*made.free_pages));
    if (made.references == NULL || made.kept == NULL || made.free_pages == NULL) {
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
    free(pool->kept);
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

/* Every change of a page's counts goes through here. */
static void count(struct rsr_kv_pool *pool, uint32_t page, int references, int kept) {
    uint32_t *of_page = &pool->references[page], *of_caches = &pool->kept[page];
    pool->n_only_kept -= *of_caches != 0 && *of_caches == *of_page;
    *of_page += (uint32_t)references;
    *of_caches += (uint32_t)kept;
    pool->n_only_kept += *of_caches != 0 && *of_caches == *of_page;
}

void rsr_kv_page_share(struct rsr_kv_pool *pool, uint32_t page) {
    count(pool, page, 1, 0);
}

void rsr_kv_page_keep(struct rsr_kv_pool *pool, uint32_t page) {
    count(pool, page, 1, 1);
}

void rsr_kv_page_unkeep(struct rsr_kv_pool *pool, uint32_t page) {
    count(pool, page, 0, -1);
}

void rsr_kv_page_release(struct rsr_kv_pool *pool, uint32_t page, bool dropped) {
    count(pool, page, -1, 0);
    if (pool->references[page] != 0)
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
