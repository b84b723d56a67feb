/* kv_memory.h - the host's KV pages: per (page, layer, KV head) the rows of kv_rows.h; after those
 * of all pages the sidecars, memory for what attention derives from a full page.
 *
 * During a step workers write different rows only. A sidecar is filled when the 64th key of its
 * page is written, by the step that writes it. Only full pages before a token's own are read
 * through their sidecars, so a page that was truncated into has none until it is full again: nobody
 * has to remember that it is out of date. Forks share pages with their sidecars; a page that is
 * copied is not full.
 */
#ifndef RSR_KV_MEMORY_H
#define RSR_KV_MEMORY_H

#include "kv/kv_rows.h"

struct rsr_kv_memory {
    struct rsr_kv_format format;
    uint32_t n_layers, n_kv_heads;
    uint32_t sidecar_bytes; /* a multiple of 64; 0: no sidecars */
    uint32_t n_pages;
    uint64_t page_bytes;
    bool stays;   /* committed at once, so that it is there: no page is dropped */
    char *memory; /* mapped, committed by the kernel when touched */
};

/* Bytes that can be committed now, but for a reserve. */
uint64_t rsr_kv_memory_left(void);

/* How many pages there are. They never take more than memory_bytes, a machine's memory: the kernel
 * commits pages when they are touched, and would end the process then. */
struct rsr_kv_size {
    uint32_t n_pages;
    uint64_t memory_bytes;
    bool shrinks; /* nobody asked for n_pages: fewer will do, if memory holds one */
    bool commits; /* now, and not when they are touched; memory_bytes are those that are left */
};

RSR_NODISCARD rsr_status rsr_kv_memory_create(struct rsr_kv_memory *kv,
                                              const struct rsr_kv_format *format,
                                              const struct rsr_hyper *hyper, uint32_t sidecar_bytes,
                                              const struct rsr_kv_size *size, rsr_error *err);
void rsr_kv_memory_destroy(struct rsr_kv_memory *kv); /* zeros are fine */

/* Of a page that nothing was written to: zero from head_dim on, else undefined. */
struct rsr_kv_rows rsr_kv_memory_rows(const struct rsr_kv_memory *kv, uint32_t page, uint32_t layer,
                                      uint32_t kv_head);
/* sidecar_bytes, aligned to 64; not to be called if there are none. */
void *rsr_kv_memory_sidecar(const struct rsr_kv_memory *kv, uint32_t page, uint32_t layer,
                            uint32_t kv_head);
/* Copies the first n_tokens of a page, fewer than all: no sidecar. */
void rsr_kv_memory_copy(const struct rsr_kv_memory *kv, uint32_t to, uint32_t from,
                        uint32_t n_tokens);
/* The first n_tokens of a page, rsr_kv_memory_token_bytes() each, as files have them: of every
 * layer and KV head the rows of keys, then of values, then their losses. */
uint64_t rsr_kv_memory_token_bytes(const struct rsr_kv_memory *kv);
void rsr_kv_memory_save(const struct rsr_kv_memory *kv, uint32_t page, uint32_t n_tokens,
                        void *bytes);
/* And back, without a sidecar. False: rows are not zero from head_dim on. */
RSR_NODISCARD bool rsr_kv_memory_load(const struct rsr_kv_memory *kv, uint32_t page,
                                      uint32_t n_tokens, const void *bytes);
/* Gives the memory of a page back to the system, but for the ends that lie in a page of the system
 * with something else. Then the page is as if nothing was written to it. */
void rsr_kv_memory_drop(const struct rsr_kv_memory *kv, uint32_t page);

#endif
