/* kv_memory.h - the host's KV pages: for every (page, layer, KV head) the rows of kv_rows.h. After
 * the rows of all pages come the sidecars: memory for data that attention derives from a full page.
 *
 * During a step, workers only write different rows. The step that writes the 64th key of a page
 * fills its sidecar. Attention uses the sidecars of full pages before a token's own page only. So
 * the old sidecar of a truncated page is never read before the page is full again, and need not be
 * marked as out of date. Forks share pages with their sidecars; a page that is copied is not full
 * and has none.
 */
#ifndef RSR_KV_MEMORY_H
#define RSR_KV_MEMORY_H

#include "kv/kv_disk.h"
#include "kv/kv_rows.h"

struct rsr_kv_memory {
    struct rsr_kv_format format;
    uint32_t n_layers, n_kv_heads;
    uint32_t sidecar_bytes; /* a multiple of 64; 0: no sidecars */
    uint32_t n_pages;
    uint64_t page_bytes;
    bool stays;   /* all memory is committed at the start, and no page is dropped */
    char *memory; /* mapped, committed by the kernel when touched */
    uint64_t mapped_bytes, sidecars_at;
    struct rsr_kv_disk *disk; /* has the rows; NULL: none does */
    uint8_t *on_disk;         /* [n_pages]: whether a page has blocks of the disk */
};

/* Bytes that can be committed now, without a reserve. */
uint64_t rsr_kv_memory_left(void);

/* The wanted number of pages. They never take more than memory_bytes, the machine's memory: the
 * kernel commits pages when they are touched, and would then end the process. */
struct rsr_kv_size {
    uint32_t n_pages;
    uint64_t memory_bytes;
    bool shrinks; /* n_pages is a default: fewer pages will do, but at least one */
    bool commits; /* commit at once, not when pages are touched; memory_bytes is what is left */
    const char *folder; /* rows lie in a file there, and memory_bytes bounds sidecars; NULL: no
                           file */
};

RSR_NODISCARD rsr_status rsr_kv_memory_create(struct rsr_kv_memory *kv,
                                              const struct rsr_kv_format *format,
                                              const struct rsr_hyper *hyper, uint32_t sidecar_bytes,
                                              const struct rsr_kv_size *size, rsr_error *err);
void rsr_kv_memory_destroy(struct rsr_kv_memory *kv); /* zeros are fine */

/* Rows of a page. In a page that was never written, elements before head_dim are undefined and
 * later ones 0. */
struct rsr_kv_rows rsr_kv_memory_rows(const struct rsr_kv_memory *kv, uint32_t page, uint32_t layer,
                                      uint32_t kv_head);
/* sidecar_bytes, aligned to 64; not to be called if there are none. */
void *rsr_kv_memory_sidecar(const struct rsr_kv_memory *kv, uint32_t page, uint32_t layer,
                            uint32_t kv_head);
/* To be called before a page that was never used, or was dropped, is written to. Returns 0, or
 * errno if the disk has no room for it. */
RSR_NODISCARD int rsr_kv_memory_take(const struct rsr_kv_memory *kv, uint32_t page);
/* Wants rows that will be read soon, if they lie on a disk. */
static inline void rsr_kv_memory_want(const struct rsr_kv_memory *kv, struct rsr_kv_rows rows) {
    if (kv->disk != NULL)
        rsr_kv_disk_want(kv->disk, rows.keys, rsr_kv_rows_bytes(&kv->format));
}
/* Copies the first n_tokens of a page (fewer than all), without a sidecar. */
void rsr_kv_memory_copy(const struct rsr_kv_memory *kv, uint32_t to, uint32_t from,
                        uint32_t n_tokens);
/* Writes the first n_tokens of a page in the form of files, rsr_kv_memory_token_bytes() each: for
 * every layer and KV head the rows of keys, then those of values, then their losses. */
uint64_t rsr_kv_memory_token_bytes(const struct rsr_kv_memory *kv);
void rsr_kv_memory_save(const struct rsr_kv_memory *kv, uint32_t page, uint32_t n_tokens,
                        void *bytes);
/* Reads this form back, without a sidecar. False: rows are not zero from head_dim on. */
RSR_NODISCARD bool rsr_kv_memory_load(const struct rsr_kv_memory *kv, uint32_t page,
                                      uint32_t n_tokens, const void *bytes);
/* Gives the memory of a page back to the system, except for ends that share a system page with
 * other data. Afterwards the page is like one that was never written. */
void rsr_kv_memory_drop(const struct rsr_kv_memory *kv, uint32_t page);

#endif
