/* attention_shared.c - see attention_shared.h.
 *
 * Runs that share pages are neighbours (engine/runs.c), and n_shared says how many each shares with
 * the one before it. So the runs are the leaves of a tree whose nodes are the pages that all leaves
 * below a node share, and a node's leaves are neighbours, too. The walk goes down the tree: first
 * the pages that all runs share, then those that only some do, at last each run's own. A run's
 * state thus meets its pages in ascending order, as if it were alone.
 */
#include "attention_shared.h"

/* A family splits if a run shares less than this part of its pages with its neighbour: the work of
 * a run by itself can be shared out by the page. */
#define LEAST_SHARED_PART 4u

uint32_t rsr_shared_family(const struct rsr_run *runs, uint32_t n_runs) {
    uint32_t n = 1;
    while (n < n_runs && runs[n].n_shared > 0 &&
           runs[n].n_shared >= runs[n].n_before / LEAST_SHARED_PART)
        n++;
    return n;
}

uint32_t rsr_shared_part(const struct rsr_run *runs, uint32_t n_runs, uint32_t n_tokens) {
    uint32_t n = 1, sum = runs[0].n_tokens;
    while (n < n_runs && sum + runs[n].n_tokens <= n_tokens)
        sum += runs[n++].n_tokens;
    return n;
}

/* The arithmetic of this many tokens takes as long as reading a page: on a Zen 4, with bfloat16,
 * four query heads a KV head and AVX-512, 1.2 to 1.8 from memory and 5 from the third cache. */
#define TOKENS_A_READING 2u

static uint32_t round_up(uint32_t n, uint32_t unit) {
    return (n + unit - 1) / unit;
}

uint32_t rsr_shared_tokens(const struct rsr_run *runs, uint32_t n_runs, uint32_t n_kv_heads,
                           uint32_t n_workers) {
    uint32_t n_tokens = 0, best = 0;
    if (n_runs == 1)
        return runs[0].n_tokens;
    for (uint32_t i = 0; i < n_runs; i++)
        n_tokens += runs[i].n_tokens;
    const uint32_t least_parts = round_up(n_tokens, RSR_SHARED_TOKENS);
    uint64_t best_time = UINT64_MAX;
    for (uint32_t n = least_parts; n <= n_tokens && n < least_parts + n_workers; n++) {
        const uint32_t tokens = round_up(n_tokens, n);
        const uint64_t time =
            (uint64_t)round_up(n_kv_heads * n, n_workers) * (1 + TOKENS_A_READING * tokens);
        if (time < best_time) {
            best_time = time;
            best = tokens;
        }
    }
    return best;
}

bool rsr_shared_next(const struct rsr_run *runs, uint32_t n_runs, struct rsr_shared *at) {
    at->begin = at->end;
    if (at->n_runs == 1) { /* the run is done */
        if (++at->run == n_runs)
            return false;
        at->begin = runs[at->run].n_shared; /* it had those together with the run before it */
    }
    at->end = UINT32_MAX;
    at->n_runs = 1;
    for (const struct rsr_run *run = runs + at->run + 1;
         run < runs + n_runs && run->n_shared > at->begin; run++) {
        at->end = run->n_shared < at->end ? run->n_shared : at->end;
        at->n_runs++;
    }
    return true;
}
