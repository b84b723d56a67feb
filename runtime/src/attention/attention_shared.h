/* attention_shared.h - runs of sequences that share pages: which of them attend together, and to
 * which pages. */
#ifndef RSR_ATTENTION_SHARED_H
#define RSR_ATTENTION_SHARED_H

#include "walk/crew.h"

/* Tokens that attend together. Their queries and outputs stay in the second cache, and a page that
 * is read once for so many takes its time for arithmetic. */
#define RSR_SHARED_TOKENS 16u

/* How many runs from the first on are a family: neighbours that share pages. */
uint32_t rsr_shared_family(const struct rsr_run *runs, uint32_t n_runs);

/* The most tokens of a family that attend together, at least one run: as many as take the least
 * time if all workers help with n_kv_heads times the family. */
uint32_t rsr_shared_tokens(const struct rsr_run *runs, uint32_t n_runs, uint32_t n_kv_heads,
                           uint32_t n_workers);

/* How many runs from the first on have n_tokens at most; at least one. */
uint32_t rsr_shared_part(const struct rsr_run *runs, uint32_t n_runs, uint32_t n_tokens);

/* Runs [run, run + n_runs) of a part, and the pages [begin, end) that they attend to together. A
 * walk begins with zeros and visits every run's pages in ascending order. */
struct rsr_shared {
    uint32_t run, n_runs;
    uint32_t begin, end; /* end is UINT32_MAX for a run by itself: all that are left */
};
RSR_NODISCARD bool rsr_shared_next(const struct rsr_run *runs, uint32_t n_runs,
                                   struct rsr_shared *at);

#endif
