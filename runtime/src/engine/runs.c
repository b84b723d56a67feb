/* runs.c - the runs of a chunk. Runs of sequences that share pages become neighbours: runs are
 * sorted by their lists of pages, so that of any two the pages that they share are those that all
 * neighbours between them share. */
#include <stdlib.h>

#include "engine.h"

/* Returns whether the chunk has tokens of several sequences. */
static bool list_runs(struct rsr_chunk *chunk) {
    bool several = false;
    chunk->n_runs = 0;
    for (uint32_t t = 0; t < chunk->n_tokens; t++) {
        const struct rsr_sequence *sequence = chunk->entries[t].sequence;
        struct rsr_run *run = chunk->n_runs > 0 ? &chunk->runs[chunk->n_runs - 1] : NULL;
        several = several || (run != NULL && run->sequence != sequence);
        if (run != NULL && run->n_tokens < RSR_RUN_TOKENS && run->sequence == sequence)
            run->n_tokens++; /* the checks made its positions consecutive */
        else
            chunk->runs[chunk->n_runs++] =
                (struct rsr_run){.first_token = t,
                                 .n_tokens = 1,
                                 .sequence = sequence,
                                 .n_before = chunk->positions[t] / RSR_PAGE_TOKENS};
    }
    return several;
}

/* How many of the first pages before their tokens' own both have. A page of a token's own may be
 * another token's, too, if both are of one sequence: it is not full. */
static uint32_t count_shared(const struct rsr_run *a, const struct rsr_run *b) {
    const uint32_t most = a->n_before < b->n_before ? a->n_before : b->n_before;
    uint32_t n = a->sequence == b->sequence ? most : 0;
    while (n < most && a->sequence->pages[n] == b->sequence->pages[n])
        n++;
    return n;
}

static int by_token(const void *a, const void *b) {
    const struct rsr_run *x = a, *y = b;
    return (x->first_token > y->first_token) - (x->first_token < y->first_token);
}

static int by_pages(const void *a, const void *b) {
    const struct rsr_run *x = a, *y = b;
    const uint32_t n = count_shared(x, y);
    if (n == x->n_before || n == y->n_before)
        return x->n_before != y->n_before ? (x->n_before > y->n_before ? 1 : -1) : by_token(a, b);
    return x->sequence->pages[n] > y->sequence->pages[n] ? 1 : -1;
}

void rsr_runs_find(struct rsr_chunk *chunk) {
    if (!list_runs(chunk))
        return;
    bool shares = false;
    qsort(chunk->runs, chunk->n_runs, sizeof(*chunk->runs), by_pages);
    for (uint32_t i = 1; i < chunk->n_runs; i++) {
        struct rsr_run *run = &chunk->runs[i];
        if (run->sequence != run[-1].sequence)
            run->n_shared = count_shared(run - 1, run);
        shares = shares || run->n_shared > 0;
    }
    if (!shares)
        qsort(chunk->runs, chunk->n_runs, sizeof(*chunk->runs), by_token);
}
