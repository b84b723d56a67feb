/* louver_query.c - rsr_louver_attend: checks a query, runs a pass, and hands out the results. */
#include <math.h>
#include <stdlib.h>

#include "louver.h"
#include "runtime.h"

#define QUERY_STACK_BYTES (sizeof(struct louver_pass) + ((size_t)20 << 10))

static rsr_status check_threshold(const rsr_louver_query *query, rsr_error *err) {
    if (query->threshold.kind != RSR_LOUVER_VALUE || query->values == NULL)
        return louver_check_threshold(&query->threshold, err);
    for (uint32_t h = 0; h < query->n_heads; h++)
        if (isnan(query->values[h]))
            return rsr_fail(err, RSR_ERR_NUMERIC, "the threshold of head %u is not a number", h);
    return RSR_OK;
}

static rsr_status check_query(const rsr_louver *index, const rsr_louver_query *query,
                              rsr_error *err) {
    if (query->n_heads < 1 || query->n_heads > LOUVER_MAX_HEADS)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "n_heads is %u; it must be 1 to %u", query->n_heads,
                        LOUVER_MAX_HEADS);
    if (query->q == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the query is NULL");
    rsr_status status = check_threshold(query, err);
    if (status == RSR_OK)
        status = louver_check_finite(query->q, query->n_heads, index->setup.head_dim, "query", err);
    return status == RSR_OK ? louver_check_float_mode(err) : status;
}

/* Memory for the views of n_blocks pages, then for a pass; NULL: no memory. */
static char *reserve_scratch(rsr_louver *index, rsr_louver_kind kind, uint32_t n_heads,
                             uint64_t *views_bytes) {
    const struct louver_setup *setup = &index->setup;
    const uint64_t pass_bytes = louver_pass_bytes(setup, kind, n_heads, index->n_blocks, 1);
    *views_bytes = (index->n_blocks * sizeof(struct louver_page) + 63u) & ~(size_t)63u;
    if (pass_bytes > SIZE_MAX / 4 - *views_bytes)
        return NULL;
    const uint64_t bytes = pass_bytes + *views_bytes;
    if (bytes <= index->scratch_bytes)
        return index->scratch;
    /* Half as much again, so that a growing index rarely reallocates. */
    const uint64_t capacity = (bytes + bytes / 2 + 63u) & ~UINT64_C(63);
    void *scratch = aligned_alloc(64, (size_t)capacity);
    if (scratch == NULL)
        return NULL;
    free(index->scratch);
    index->scratch = scratch;
    index->scratch_bytes = capacity;
    return scratch;
}

static void fill_views(const rsr_louver *index, struct louver_page *views) {
    for (uint32_t i = 0; i < index->n_blocks; i++) {
        const uint32_t left = index->n_keys - i * RSR_PAGE_TOKENS;
        const struct louver_block *block = index->blocks[i];
        views[i] = (struct louver_page){
            .rows = block->rows,
            .n_keys = left < RSR_PAGE_TOKENS ? left : RSR_PAGE_TOKENS,
            .sidecar = left < RSR_PAGE_TOKENS ? NULL : block->sidecar,
        };
    }
}

/* Writes at most `capacity` indices; returns how many there are. */
static uint32_t list_indices(const struct louver_pass *pass, const struct louver_head_state *head,
                             uint32_t *indices, size_t capacity) {
    uint32_t n = 0;
    for (uint32_t p = 0; p < pass->n_pages; p++)
        for (uint64_t left = head->masks[p]; left != 0; left &= left - 1, n++)
            if (n < capacity)
                indices[n] = p * RSR_PAGE_TOKENS + (uint32_t)__builtin_ctzll(left);
    return n;
}

/* Writes what the caller asked for; false if indices did not fit. */
static bool deliver(const struct louver_pass *pass, const rsr_louver_query *query) {
    const struct louver_setup *setup = pass->setup;
    bool fits = true;
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        const struct louver_head_state *head = &pass->heads[h];
        float own[LOUVER_MAX_DIM];
        float *out = query->out == NULL ? own : query->out + (size_t)h * setup->head_dim;
        setup->ops->attend_finish(out, head->out, &head->state, setup->head_dim);
        if (query->heads != NULL)
            louver_certify(pass, head, out, &query->heads[h]);
        if (query->indices != NULL)
            fits = list_indices(pass, head, query->indices + h * query->capacity,
                                query->capacity) <= query->capacity &&
                   fits;
    }
    return fits;
}

/* Not inlined: the pass may be on the stack only after the stack was checked. */
__attribute__((noinline)) static rsr_status run_query(rsr_louver *index,
                                                      const rsr_louver_query *query,
                                                      rsr_louver_stats *stats, rsr_error *err) {
    uint64_t views_bytes;
    char *scratch = reserve_scratch(index, query->threshold.kind, query->n_heads, &views_bytes);
    if (scratch == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a query over %u keys", index->n_keys);
    struct louver_page *views = (struct louver_page *)(void *)scratch;
    struct louver_pass pass;
    rsr_status status = RSR_OK;
    fill_views(index, views);
    louver_pass_begin(&pass, &index->setup, views, index->n_blocks, &query->threshold,
                      query->values, query->q, index->setup.head_dim, query->n_heads, NULL,
                      scratch + views_bytes);
    louver_pass_run(&pass);
    if (stats != NULL)
        status = rsr_write_info(stats, &pass.stats, sizeof(pass.stats), err);
    if (status == RSR_OK && !deliver(&pass, query))
        status =
            rsr_fail(err, RSR_ERR_FULL, "a head attends to more than %zu keys", query->capacity);
    return status;
}

rsr_status rsr_louver_attend(rsr_louver *index, const rsr_louver_query *query,
                             rsr_louver_stats *stats, rsr_error *err) {
    rsr_louver_query known = RSR_LOUVER_QUERY_INIT;
    if (index == NULL || query == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the %s is NULL", index == NULL ? "index" : "query");
    rsr_status status = rsr_check_stack(&index->stack, QUERY_STACK_BYTES, "rsr_louver_attend", err);
    if (status == RSR_OK)
        status = rsr_read_options(&known, sizeof(known), query, err);
    if (status == RSR_OK)
        status = check_query(index, &known, err);
    return status == RSR_OK ? run_query(index, &known, stats, err) : status;
}
