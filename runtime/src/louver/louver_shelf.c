/* louver_shelf.c - memory of the pages that an index owns.
 *
 * A shelf is a mapping: sidecars first, then keys and values. An index takes pages from the shelf
 * that it made last. Forks share pages; the last owner of a page gives it back to its shelf, on any
 * thread. A shelf ends with its last page once no index takes from it.
 */
#include <sys/mman.h>

#include "louver.h"

#define MAX_BLOCKS 64u
#define PAGE ((size_t)4096)
#define HUGE_PAGE ((size_t)2 << 20)

static size_t round_up(size_t n, size_t unit) {
    return (n + unit - 1) / unit * unit;
}

/* Maps zeroed memory, in huge pages if these are available and the size fills one; NULL: no
 * memory. */
static void *map_zeros(size_t bytes) {
    const size_t extra = bytes >= HUGE_PAGE ? HUGE_PAGE : 0;
    char *memory =
        mmap(NULL, bytes + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (extra == 0)
        return memory;
    /* Unmap what is before the first huge page, and the rest of the extra memory after the end. */
    const size_t before = (HUGE_PAGE - (uintptr_t)memory % HUGE_PAGE) % HUGE_PAGE;
    if (before > 0)
        munmap(memory, before);
    if (before < extra)
        munmap(memory + before + bytes, extra - before);
    madvise(memory + before, bytes, MADV_HUGEPAGE);
    return memory + before;
}

/* The layout of a shelf's memory; it is rounded to whole pages, as munmap needs. */
struct layout {
    size_t sidecars_at, rows_at, bytes;
};

static struct layout layout_of(const struct louver_setup *setup, uint32_t n_blocks) {
    struct layout layout;
    layout.sidecars_at =
        round_up(sizeof(struct louver_shelf) + n_blocks * sizeof(struct louver_block), 64);
    layout.rows_at = layout.sidecars_at + n_blocks * (size_t)louver_sidecar_bytes(setup);
    layout.bytes =
        round_up(layout.rows_at + n_blocks * (size_t)rsr_kv_rows_bytes(&setup->kv), PAGE);
    return layout;
}

/* At most as many blocks as fill whole huge pages: the rest would be in small pages, which are
 * slower to read. */
static uint32_t fit_huge_pages(const struct louver_setup *setup, uint32_t n_blocks) {
    const size_t whole = layout_of(setup, n_blocks).bytes / HUGE_PAGE * HUGE_PAGE;
    while (whole != 0 && layout_of(setup, n_blocks).bytes > whole)
        n_blocks--;
    return n_blocks;
}

static struct louver_shelf *create_shelf(const struct louver_setup *setup, uint32_t n_wanted) {
    const uint32_t n_blocks = fit_huge_pages(setup, n_wanted);
    const struct layout layout = layout_of(setup, n_blocks);
    const size_t sidecar = louver_sidecar_bytes(setup);
    const size_t rows = (size_t)rsr_kv_rows_bytes(&setup->kv);
    /* What is left of the last huge page is less than a block. */
    const size_t bytes = n_blocks < n_wanted ? round_up(layout.bytes, HUGE_PAGE) : layout.bytes;
    char *memory = map_zeros(bytes);
    if (memory == NULL)
        return NULL;
    struct louver_shelf *shelf = (struct louver_shelf *)(void *)memory;
    atomic_init(&shelf->references, 1);
    atomic_init(&shelf->in_use, 0);
    shelf->n_blocks = n_blocks;
    shelf->bytes = bytes;
    for (uint32_t i = 0; i < n_blocks; i++) {
        struct louver_block *block = &shelf->blocks[i];
        block->shelf = shelf;
        block->rows = rsr_kv_rows_at(&setup->kv, memory + layout.rows_at + i * rows);
        block->sidecar =
            (struct louver_sidecar *)(void *)(memory + layout.sidecars_at + i * sidecar);
    }
    return shelf;
}

void louver_release_shelf(struct louver_shelf *shelf) {
    if (shelf != NULL &&
        atomic_fetch_sub_explicit(&shelf->references, 1, memory_order_acq_rel) == 1)
        munmap(shelf, shelf->bytes);
}

/* Only the index that takes from a shelf sets bits. */
static struct louver_block *take_from(struct louver_shelf *shelf) {
    const uint64_t in_use = atomic_load_explicit(&shelf->in_use, memory_order_acquire);
    const uint64_t unused = ~in_use & louver_all_keys(shelf->n_blocks);
    if (unused == 0)
        return NULL;
    const uint32_t i = (uint32_t)__builtin_ctzll(unused);
    atomic_fetch_or_explicit(&shelf->in_use, UINT64_C(1) << i, memory_order_relaxed);
    atomic_fetch_add_explicit(&shelf->references, 1, memory_order_relaxed);
    atomic_init(&shelf->blocks[i].references, 1);
    return &shelf->blocks[i];
}

struct louver_block *louver_take_block(struct rsr_louver *index) {
    struct louver_block *block = index->shelf == NULL ? NULL : take_from(index->shelf);
    if (block == NULL) {
        /* As many blocks as were taken so far, so that an index, or a fork, with few keys takes
         * little memory. */
        uint32_t n_blocks = index->n_taken < MAX_BLOCKS ? index->n_taken : MAX_BLOCKS;
        n_blocks = n_blocks < 1 ? 1 : n_blocks;
        struct louver_shelf *shelf = create_shelf(&index->setup, n_blocks);
        if (shelf == NULL)
            return NULL;
        louver_release_shelf(index->shelf);
        index->shelf = shelf;
        block = take_from(shelf);
    }
    index->n_taken++;
    return block;
}

void louver_release_block(struct louver_block *block) {
    if (block == NULL ||
        atomic_fetch_sub_explicit(&block->references, 1, memory_order_acq_rel) != 1)
        return;
    struct louver_shelf *shelf = block->shelf;
    const uint64_t bit = UINT64_C(1) << (block - shelf->blocks);
    atomic_fetch_and_explicit(&shelf->in_use, ~bit, memory_order_release);
    louver_release_shelf(shelf);
}
