/* kvcache.c - see kvcache.h. Memory comes from one lazily committed mapping, so that a long context
 * costs nothing before it is used. Elements from head_dim on are never written and stay
 * the zeros that the kernel gave. */
#include <stdlib.h>
#include <sys/mman.h>

#include "kvcache.h"
#include "runtime.h"

/* Sidecars lie behind all keys and values, in groups of pages: of a (layer, KV head), those of 8
 * pages follow each other. A scan thus reads runs of 75 KB and more, which the processor fetches
 * ahead. One run for the whole pool would commit a huge page for every layer and head as soon as
 * the first page is written. */
#define SIDECAR_PAGES 8u

static uint64_t host_page_bytes(const struct rsr_kv_pool *pool) {
    uint64_t bytes = rsr_kv_rows_bytes(&pool->format) + pool->sidecar_bytes;
    if (__builtin_mul_overflow(bytes, (uint64_t)pool->n_layers, &bytes) ||
        __builtin_mul_overflow(bytes, (uint64_t)pool->n_kv_heads, &bytes))
        return 0;
    return bytes;
}

static struct rsr_kv_rows host_rows(const struct rsr_kv_pool *pool, uint32_t page, uint32_t layer,
                                    uint32_t kv_head) {
    const uint64_t n_heads = (uint64_t)pool->n_layers * pool->n_kv_heads;
    const uint64_t number = page * n_heads + (uint64_t)layer * pool->n_kv_heads + kv_head;
    return rsr_kv_rows_at(&pool->format, pool->memory + number * rsr_kv_rows_bytes(&pool->format));
}

static void *host_sidecar(const struct rsr_kv_pool *pool, uint32_t page, uint32_t layer,
                          uint32_t kv_head) {
    const uint64_t n_heads = (uint64_t)pool->n_layers * pool->n_kv_heads;
    const uint32_t first = page / SIDECAR_PAGES * SIDECAR_PAGES, left = pool->n_pages - first;
    const uint32_t group = left < SIDECAR_PAGES ? left : SIDECAR_PAGES;
    const uint64_t head = (uint64_t)layer * pool->n_kv_heads + kv_head;
    const uint64_t number = first * n_heads + head * group + (page - first);
    return pool->memory + pool->n_pages * n_heads * rsr_kv_rows_bytes(&pool->format) +
           number * pool->sidecar_bytes;
}

static void host_copy(const struct rsr_kv_pool *pool, uint32_t to, uint32_t from,
                      uint32_t n_tokens) {
    for (uint32_t layer = 0; layer < pool->n_layers; layer++) {
        for (uint32_t head = 0; head < pool->n_kv_heads; head++) {
            rsr_kv_rows_copy(&pool->format, host_rows(pool, to, layer, head),
                             host_rows(pool, from, layer, head), n_tokens);
        }
    }
}

const struct rsr_kv_layout rsr_kv_layout_host = {
    .name = "host",
    .page_bytes = host_page_bytes,
    .rows = host_rows,
    .sidecar = host_sidecar,
    .copy = host_copy,
};

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static rsr_status refuse_size(const struct rsr_kv_pool *pool, const struct rsr_kv_pool_size *size,
                              rsr_error *err) {
    const double gib = 1.0 / (double)(1u << 30);
    return rsr_fail(err, RSR_ERR_MEMORY,
                    "keys and values of %llu tokens take %.4g GiB, and this process may have %.4g: "
                    "ask for a smaller context, fewer kv_tokens or a smaller KV type",
                    (unsigned long long)size->n_pages * RSR_PAGE_TOKENS,
                    (double)size->n_pages * (double)pool->page_bytes * gib,
                    (double)size->memory_bytes * gib);
}

rsr_status rsr_kv_pool_create(struct rsr_kv_pool *pool, const struct rsr_kv_layout *layout,
                              const struct rsr_kv_format *format, const struct rsr_hyper *hyper,
                              uint32_t sidecar_bytes, const struct rsr_kv_pool_size *size,
                              rsr_error *err) {
    struct rsr_kv_pool made = {
        .layout = layout,
        .format = *format,
        .n_layers = hyper->n_layers,
        .n_kv_heads = hyper->n_kv_heads,
        .sidecar_bytes = sidecar_bytes,
    };
    made.page_bytes = layout->page_bytes(&made);
    if (made.page_bytes == 0)
        return rsr_fail(err, RSR_ERR_MEMORY, "a page of keys and values exceeds the address space");
    const uint64_t most = smaller(size->memory_bytes, SIZE_MAX / 2) / made.page_bytes;
    if (most == 0 || (most < size->n_pages && !size->shrinks))
        return refuse_size(&made, size, err);
    const uint32_t n_pages = (uint32_t)smaller(size->n_pages, most);
    const uint64_t bytes = n_pages * made.page_bytes;
    made.n_pages = n_pages;
    made.n_free = n_pages;
    made.references = calloc(n_pages, sizeof(*made.references));
    made.free_pages = malloc(n_pages * sizeof(*made.free_pages));
    void *memory = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || made.references == NULL || made.free_pages == NULL) {
        if (memory != MAP_FAILED)
            munmap(memory, (size_t)bytes);
        free(made.references);
        free(made.free_pages);
        return rsr_fail(err, RSR_ERR_MEMORY,
                        "no address space for %llu bytes of KV pages; ask for a smaller context",
                        (unsigned long long)bytes);
    }
    if (made.page_bytes >= (uint64_t)2 << 20) /* else a huge page would commit several KV pages */
        madvise(memory, (size_t)bytes, MADV_HUGEPAGE);
    made.memory = memory;
    for (uint32_t i = 0; i < n_pages; i++)
        made.free_pages[i] = n_pages - 1 - i; /* low pages first */
    *pool = made;
    return RSR_OK;
}

void rsr_kv_pool_destroy(struct rsr_kv_pool *pool) {
    if (pool->memory != NULL)
        munmap(pool->memory, (size_t)(pool->page_bytes * pool->n_pages));
    free(pool->references);
    free(pool->free_pages);
    *pool = (struct rsr_kv_pool){0};
}

uint32_t rsr_kv_page_take(struct rsr_kv_pool *pool) {
    if (pool->n_free == 0)
        return RSR_NO_PAGE;
    uint32_t page = pool->free_pages[--pool->n_free];
    pool->references[page] = 1;
    return page;
}

void rsr_kv_page_share(struct rsr_kv_pool *pool, uint32_t page) {
    pool->references[page]++;
}

void rsr_kv_page_release(struct rsr_kv_pool *pool, uint32_t page) {
    if (--pool->references[page] == 0)
        pool->free_pages[pool->n_free++] = page;
}

bool rsr_kv_page_is_shared(const struct rsr_kv_pool *pool, uint32_t page) {
    return pool->references[page] > 1;
}
