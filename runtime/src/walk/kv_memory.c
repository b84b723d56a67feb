/* kv_memory.c - see kv_memory.h. Memory comes from one lazily committed mapping, so a long context
 * costs nothing before it is used (unless kv_commit asks for all of it at once). If rows lie in a
 * file, it is mapped in place of the mapping's first part. Elements from head_dim on are never
 * written and keep the kernel's zeros. */
#include <stdlib.h>
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

static uint64_t head_count(const struct rsr_kv_memory *kv) {
    return (uint64_t)kv->n_layers * kv->n_kv_heads;
}

struct rsr_kv_rows rsr_kv_memory_rows(const struct rsr_kv_memory *kv, uint32_t page, uint32_t layer,
                                      uint32_t kv_head) {
    const uint64_t n_heads = head_count(kv);
    const uint64_t number = page * n_heads + (uint64_t)layer * kv->n_kv_heads + kv_head;
    return rsr_kv_rows_at(&kv->format, kv->memory + number * rsr_kv_rows_bytes(&kv->format));
}

void *rsr_kv_memory_sidecar(const struct rsr_kv_memory *kv, uint32_t page, uint32_t layer,
                            uint32_t kv_head) {
    const uint64_t n_heads = head_count(kv);
    const uint32_t first = page / SIDECAR_PAGES * SIDECAR_PAGES, left = kv->n_pages - first;
    const uint32_t group = left < SIDECAR_PAGES ? left : SIDECAR_PAGES;
    const uint64_t head = (uint64_t)layer * kv->n_kv_heads + kv_head;
    const uint64_t number = first * n_heads + head * group + (page - first);
    return kv->memory + kv->sidecars_at + number * kv->sidecar_bytes;
}

static void want_page(const struct rsr_kv_memory *kv, uint32_t page) {
    if (kv->disk != NULL)
        rsr_kv_disk_want(kv->disk, rsr_kv_memory_rows(kv, page, 0, 0).keys,
                         head_count(kv) * rsr_kv_rows_bytes(&kv->format));
}

void rsr_kv_memory_copy(const struct rsr_kv_memory *kv, uint32_t to, uint32_t from,
                        uint32_t n_tokens) {
    want_page(kv, from);
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
    want_page(kv, page);
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

int rsr_kv_memory_take(const struct rsr_kv_memory *kv, uint32_t page) {
    const uint64_t rows_bytes = head_count(kv) * rsr_kv_rows_bytes(&kv->format);
    if (kv->disk == NULL || kv->on_disk[page] != 0)
        return 0;
    const int error = rsr_kv_disk_take(kv->disk, page * rows_bytes, rows_bytes);
    kv->on_disk[page] = error == 0;
    return error;
}

void rsr_kv_memory_drop(const struct rsr_kv_memory *kv, uint32_t page) {
    const uint64_t n_heads = head_count(kv);
    const uint64_t rows_bytes = n_heads * rsr_kv_rows_bytes(&kv->format);
    if (kv->stays)
        return;
    if (kv->disk == NULL)
        drop(rsr_kv_memory_rows(kv, page, 0, 0).keys, rows_bytes);
    else if (rsr_kv_disk_give(kv->disk, page * rows_bytes, rows_bytes))
        kv->on_disk[page] = 0;
    for (uint32_t layer = 0; kv->sidecar_bytes != 0 && layer < kv->n_layers; layer++)
        for (uint32_t head = 0; head < kv->n_kv_heads; head++)
            drop(rsr_kv_memory_sidecar(kv, page, layer, head), kv->sidecar_bytes);
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static double gib(uint64_t bytes) {
    return (double)bytes / (double)(1u << 30);
}

static rsr_status refuse_memory(const struct rsr_kv_size *size, uint64_t page_bytes,
                                rsr_error *err) {
    return rsr_fail(err, RSR_ERR_MEMORY,
                    "keys and values of %llu tokens take %.4g GiB, and this process may have %.4g: "
                    "ask for a smaller context, fewer kv_tokens or a smaller KV type",
                    (unsigned long long)size->n_pages * RSR_PAGE_TOKENS,
                    (double)size->n_pages * gib(page_bytes), gib(size->memory_bytes));
}

static rsr_status refuse_disk(const struct rsr_kv_size *size, uint64_t page_bytes,
                              uint64_t free_bytes, rsr_error *err) {
    return rsr_fail(err, RSR_ERR_FILE,
                    "keys and values of %llu tokens take %.4g GiB, and the disk of kv_dir '%s' has "
                    "%.4g free: ask for a smaller context, fewer kv_tokens or a smaller KV type",
                    (unsigned long long)size->n_pages * RSR_PAGE_TOKENS,
                    (double)size->n_pages * gib(page_bytes), size->folder, gib(free_bytes));
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

/* Chooses the number of pages by what memory and disk hold. */
static rsr_status choose_pages(struct rsr_kv_memory *kv, const struct rsr_kv_size *size,
                               uint64_t disk_bytes, rsr_error *err) {
    const uint64_t on_disk = kv->disk == NULL ? 0 : head_count(kv) * rsr_kv_rows_bytes(&kv->format);
    const uint64_t in_memory = kv->page_bytes - on_disk;
    const uint64_t address_space = SIZE_MAX / 2 / kv->page_bytes;
    const uint64_t wanted = size->shrinks ? 1 : size->n_pages;
    const uint64_t of_memory =
        in_memory == 0 ? address_space : smaller(size->memory_bytes / in_memory, address_space);
    const uint64_t of_disk = on_disk == 0 ? UINT64_MAX : disk_bytes / on_disk;
    if (of_memory < wanted)
        return refuse_memory(size, in_memory, err);
    if (of_disk < wanted)
        return refuse_disk(size, on_disk, disk_bytes, err);
    kv->n_pages = (uint32_t)smaller(size->n_pages, smaller(of_memory, of_disk));
    return RSR_OK;
}

/* The part of the process's memory that may be mapped to the file at a time. */
#define NEAR_PART 8u
#define LEAST_NEAR ((uint64_t)64 << 20)

static uint64_t most_near(void) {
    const uint64_t part = rsr_host_memory() / NEAR_PART;
    return part > LEAST_NEAR ? part : LEAST_NEAR;
}

/* Maps memory for all pages, and the file over the part of rows. */
static rsr_status map_pages(struct rsr_kv_memory *kv, rsr_error *err) {
    const uint64_t unit = kv->disk == NULL ? 1 : kv->disk->unit;
    const uint64_t rows_bytes = kv->n_pages * head_count(kv) * rsr_kv_rows_bytes(&kv->format);
    kv->sidecars_at = (rows_bytes + unit - 1) / unit * unit;
    kv->mapped_bytes = kv->n_pages * kv->page_bytes - rows_bytes + kv->sidecars_at;
    void *memory = mmap(NULL, (size_t)kv->mapped_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return rsr_fail(err, RSR_ERR_MEMORY,
                        "no address space for %llu bytes of KV pages; ask for a smaller context",
                        (unsigned long long)kv->mapped_bytes);
    kv->memory = memory;
    if (kv->disk != NULL) {
        kv->on_disk = calloc(kv->n_pages, 1);
        if (kv->on_disk == NULL ||
            !rsr_kv_disk_map(kv->disk, kv->memory, kv->sidecars_at, most_near()))
            return rsr_fail(err, RSR_ERR_MEMORY, "no memory to map the file of keys and values");
    } else if (kv->page_bytes >= (uint64_t)2 << 20) { /* in smaller ones, a huge page would commit
                                                         several KV pages */
        madvise(memory, (size_t)kv->mapped_bytes, MADV_HUGEPAGE);
    }
    return RSR_OK;
}

static rsr_status commit_pages(const struct rsr_kv_memory *kv, rsr_error *err) {
    const uint64_t begin = kv->disk == NULL ? 0 : kv->sidecars_at;
    int error = 0;
    for (uint32_t page = 0; error == 0 && page < kv->n_pages; page++)
        error = rsr_kv_memory_take(kv, page);
    if (error != 0)
        return rsr_fail(err, RSR_ERR_FILE,
                        "the disk of kv_dir has no room for %.4g GiB of keys and values: %s",
                        gib(kv->sidecars_at), strerror(error));
    if (commit(kv->memory + begin, kv->mapped_bytes - begin))
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_MEMORY,
                    "memory ran out while %.4g GiB of keys and values were committed: ask for a "
                    "smaller context, fewer kv_tokens or a smaller KV type",
                    gib(kv->mapped_bytes - begin));
}

static rsr_status make_disk(struct rsr_kv_memory *kv, const char *folder, uint64_t *free_bytes,
                            rsr_error *err) {
    struct rsr_kv_disk *disk = malloc(sizeof(*disk));
    if (disk == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a file of keys and values");
    const rsr_status status = rsr_kv_disk_create(disk, folder, free_bytes, err);
    if (status == RSR_OK)
        kv->disk = disk;
    else
        free(disk);
    return status;
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
    uint64_t disk_bytes = 0;
    made.page_bytes = rsr_kv_page_bytes(format, sidecar_bytes, hyper);
    if (made.page_bytes == 0)
        return rsr_fail(err, RSR_ERR_MEMORY, "a page of keys and values exceeds the address space");
    rsr_status status = RSR_OK;
    if (size->folder != NULL)
        status = make_disk(&made, size->folder, &disk_bytes, err);
    if (status == RSR_OK)
        status = choose_pages(&made, size, disk_bytes, err);
    if (status == RSR_OK)
        status = map_pages(&made, err);
    if (status == RSR_OK && size->commits)
        status = commit_pages(&made, err);
    if (status == RSR_OK)
        *kv = made;
    else
        rsr_kv_memory_destroy(&made);
    return status;
}

void rsr_kv_memory_destroy(struct rsr_kv_memory *kv) {
    if (kv->memory != NULL)
        munmap(kv->memory, (size_t)kv->mapped_bytes);
    if (kv->disk != NULL)
        rsr_kv_disk_destroy(kv->disk);
    free(kv->disk);
    free(kv->on_disk);
    *kv = (struct rsr_kv_memory){0};
}
