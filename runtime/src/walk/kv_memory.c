/* kv_memory.c - see kv_memory.h. Memory comes from one lazily committed mapping, so a long context
 * costs nothing before it is used (unless kv_commit asks for all of it at once). Elements from
 * head_dim on are never written and keep the kernel's zeros. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/host_memory.h"
#include "kv_memory.h"

/* Sidecars are stored after all keys and values, in groups of 8 pages: in a group, the sidecars of
 * one (layer, KV head) follow each other. So a scan reads runs of 75 KB and more, which the
 * processor prefetches. A single run for the whole pool would commit a huge page for every layer
 * and head as soon as the first page is written. */
#define SIDECAR_PAGES 8u
#define COMMIT_BYTES 4096u /* no page of a kernel is smaller */
/* Memory that is left uncommitted, for page tables, arenas and the application's next
 * allocations. */
#define COMMIT_RESERVE ((uint64_t)32 << 20)

struct rsr_kv_rows rsr_kv_memory_rows(const struct rsr_kv_memory *kv, uint32_t page, uint32_t layer,
                                      uint32_t kv_head) {
    const uint64_t n_heads = (uint64_t)kv->n_layers * kv->n_kv_heads;
    const uint64_t number = page * n_heads + (uint64_t)layer * kv->n_kv_heads + kv_head;
    return rsr_kv_rows_at(&kv->format, kv->memory + number * rsr_kv_rows_bytes(&kv->format));
}

void *rsr_kv_memory_sidecar(const struct rsr_kv_memory *kv, uint32_t page, uint32_t layer,
                            uint32_t kv_head) {
    const uint64_t n_heads = (uint64_t)kv->n_layers * kv->n_kv_heads;
    const uint32_t first = page / SIDECAR_PAGES * SIDECAR_PAGES, left = kv->n_pages - first;
    const uint32_t group = left < SIDECAR_PAGES ? left : SIDECAR_PAGES;
    const uint64_t head = (uint64_t)layer * kv->n_kv_heads + kv_head;
    const uint64_t number = first * n_heads + head * group + (page - first);
    return kv->memory + kv->n_pages * n_heads * rsr_kv_rows_bytes(&kv->format) +
           number * kv->sidecar_bytes;
}

void rsr_kv_memory_copy(const struct rsr_kv_memory *kv, uint32_t to, uint32_t from,
                        uint32_t n_tokens) {
    for (uint32_t layer = 0; layer < kv->n_layers; layer++) {
        for (uint32_t head = 0; head < kv->n_kv_heads; head++) {
            rsr_kv_rows_copy(&kv->format, rsr_kv_memory_rows(kv, to, layer, head),
                             rsr_kv_memory_rows(kv, from, layer, head), n_tokens);
        }
    }
}

/* ---- Files ---- */

static uint64_t losses_bytes(const struct rsr_kv_memory *kv, uint32_t n_tokens) {
    return kv->format.has_losses ? n_tokens * sizeof(struct rsr_kv_loss) : 0;
}

uint64_t rsr_kv_memory_token_bytes(const struct rsr_kv_memory *kv) {
    return (uint64_t)kv->n_layers * kv->n_kv_heads *
           (2 * (uint64_t)kv->format.row_bytes + losses_bytes(kv, 1));
}

void rsr_kv_memory_save(const struct rsr_kv_memory *kv, uint32_t page, uint32_t n_tokens,
                        void *bytes) {
    const size_t row_bytes = (size_t)n_tokens * kv->format.row_bytes;
    const size_t loss_bytes = losses_bytes(kv, n_tokens);
    char *to = bytes;
    for (uint32_t i = 0; i < kv->n_layers * kv->n_kv_heads; i++) {
        const struct rsr_kv_rows rows =
            rsr_kv_memory_rows(kv, page, i / kv->n_kv_heads, i % kv->n_kv_heads);
        to = mempcpy(to, rows.keys, row_bytes);
        to = mempcpy(to, rows.values, row_bytes);
        if (loss_bytes != 0)
            to = mempcpy(to, rows.losses, loss_bytes);
    }
}

/* Whether rows are zero from head_dim on; rows of this memory always are. */
static bool are_padded(const struct rsr_kv_format *format, const char *rows, uint32_t n) {
    const uint32_t element_bytes = rsr_kv_element_bytes(format->type);
    for (uint32_t j = 0; j < n; j++)
        for (uint32_t i = format->head_dim * element_bytes; i < format->row_floats * element_bytes;
             i++)
            if (rows[(size_t)j * format->row_bytes + i] != 0)
                return false;
    return true;
}

bool rsr_kv_memory_load(const struct rsr_kv_memory *kv, uint32_t page, uint32_t n_tokens,
                        const void *bytes) {
    const size_t row_bytes = (size_t)n_tokens * kv->format.row_bytes;
    const size_t loss_bytes = losses_bytes(kv, n_tokens);
    const char *from = bytes;
    for (uint32_t i = 0; i < kv->n_layers * kv->n_kv_heads; i++) {
        if (!are_padded(&kv->format, from, 2 * n_tokens))
            return false;
        const struct rsr_kv_rows rows =
            rsr_kv_memory_rows(kv, page, i / kv->n_kv_heads, i % kv->n_kv_heads);
        memcpy(rows.keys, from, row_bytes);
        memcpy(rows.values, from + row_bytes, row_bytes);
        from += 2 * row_bytes;
        if (loss_bytes != 0)
            memcpy(rows.losses, from, loss_bytes);
        from += loss_bytes;
    }
    return true;
}

/* ---- Pages ---- */

static void drop(char *memory, uint64_t bytes) {
    const uintptr_t unit = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = ((uintptr_t)memory + unit - 1) / unit * unit;
    const uintptr_t end = ((uintptr_t)memory + bytes) / unit * unit;
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void rsr_kv_memory_drop(const struct rsr_kv_memory *kv, uint32_t page) {
    const uint64_t n_heads = (uint64_t)kv->n_layers * kv->n_kv_heads;
    if (kv->stays)
        return;
    drop(rsr_kv_memory_rows(kv, page, 0, 0).keys, n_heads * rsr_kv_rows_bytes(&kv->format));
    for (uint32_t layer = 0; kv->sidecar_bytes != 0 && layer < kv->n_layers; layer++)
        for (uint32_t head = 0; head < kv->n_kv_heads; head++)
            drop(rsr_kv_memory_sidecar(kv, page, layer, head), kv->sidecar_bytes);
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static rsr_status refuse_size(const struct rsr_kv_memory *kv, const struct rsr_kv_size *size,
                              rsr_error *err) {
    const double gib = 1.0 / (double)(1u << 30);
    return rsr_fail(err, RSR_ERR_MEMORY,
                    "keys and values of %llu tokens take %.4g GiB, and this process may have %.4g: "
                    "ask for a smaller context, fewer kv_tokens or a smaller KV type",
                    (unsigned long long)size->n_pages * RSR_PAGE_TOKENS,
                    (double)size->n_pages * (double)kv->page_bytes * gib,
                    (double)size->memory_bytes * gib);
}

uint64_t rsr_kv_memory_left(void) {
    const uint64_t left = rsr_host_memory_left();
    return left > COMMIT_RESERVE ? left - COMMIT_RESERVE : 0;
}

/* Commits memory in steps. If memory ran out, the kernel would end the process, so each step first
 * checks that more than the step is left. Other processes may take memory meanwhile, but hardly as
 * much as the reserve during one step. */
static bool commit(char *memory, uint64_t bytes) {
    const uint64_t step = (uint64_t)64 << 20;
    for (uint64_t at = 0; at < bytes; at += step) {
        const uint64_t n = smaller(bytes - at, step);
        if (rsr_kv_memory_left() < n)
            return false;
        for (uint64_t i = 0; i < n; i += COMMIT_BYTES)
            ((volatile char *)memory)[at + i] = 0;
    }
    return true;
}

rsr_status rsr_kv_memory_create(struct rsr_kv_memory *kv, const struct rsr_kv_format *format,
                                const struct rsr_hyper *hyper, uint32_t sidecar_bytes,
                                const struct rsr_kv_size *size, rsr_error *err) {
    struct rsr_kv_memory made = {
        .format = *format,
        .n_layers = rsr_kv_layers(hyper),
        .n_kv_heads = hyper->n_kv_heads,
        .sidecar_bytes = sidecar_bytes,
        .stays = size->commits,
    };
    made.page_bytes = rsr_kv_page_bytes(format, sidecar_bytes, hyper);
    if (made.page_bytes == 0)
        return rsr_fail(err, RSR_ERR_MEMORY, "a page of keys and values exceeds the address space");
    const uint64_t most = smaller(size->memory_bytes, SIZE_MAX / 2) / made.page_bytes;
    if (most == 0 || (most < size->n_pages && !size->shrinks))
        return refuse_size(&made, size, err);
    made.n_pages = (uint32_t)smaller(size->n_pages, most);
    const uint64_t bytes = made.n_pages * made.page_bytes;
    void *memory = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return rsr_fail(err, RSR_ERR_MEMORY,
                        "no address space for %llu bytes of KV pages; ask for a smaller context",
                        (unsigned long long)bytes);
    if (made.page_bytes >= (uint64_t)2 << 20) /* in smaller ones, a huge page would commit several
                                                 KV pages */
        madvise(memory, (size_t)bytes, MADV_HUGEPAGE);
    if (size->commits && !commit(memory, bytes)) {
        munmap(memory, (size_t)bytes);
        return rsr_fail(
            err, RSR_ERR_MEMORY,
            "memory ran out while %.4g GiB of keys and values were committed: ask for a "
            "smaller context, fewer kv_tokens or a smaller KV type",
            (double)bytes / (double)(1u << 30));
    }
    made.memory = memory;
    *kv = made;
    return RSR_OK;
}

void rsr_kv_memory_destroy(struct rsr_kv_memory *kv) {
    if (kv->memory != NULL)
        munmap(kv->memory, (size_t)(kv->page_bytes * kv->n_pages));
    *kv = (struct rsr_kv_memory){0};
}
