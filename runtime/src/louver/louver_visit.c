/* louver_visit.c - visits a page for the heads whose thresholds are products. Steps: the page's
 * bound, the first plane, the second plane, exact products. A step drops a key only if an upper
 * bound of its product is below the threshold. */
#include <math.h>

#include "louver.h"
#include "sketch/sketch_round.h"

/* A test compiles this file without the error of exact products, and must see keys missed. */
#ifndef RSR_LOUVER_OMIT
#define RSR_LOUVER_OMIT 0
#endif

/* Products of float32 are exact in double. A sum of m of them, in any order, is off by at most m
 * 2^-52 sum |q_i k_i|; this bound also covers the rounding of sum |q_i k_i| and of its product with
 * m. */
struct louver_product louver_exact_product(const struct louver_setup *setup, const float *q,
                                           const struct louver_page *page, uint32_t key) {
    const char *row = (const char *)page->rows.keys + (size_t)key * setup->kv.row_bytes;
    const struct rsr_exact_dot dot = setup->kv.ops->exact(row, setup->row_floats, q);
    const double error = RSR_LOUVER_OMIT == 1 ? 0.0 : setup->head_dim * 0x1p-52 * dot.size;
    return (struct louver_product){dot.sum, rsr_round_down(dot.sum - error),
                                   rsr_round_up(dot.sum + error)};
}

static bool is_closed(const struct louver_pass *pass, uint32_t head) {
    return (pass->closed >> head & 1) != 0;
}

/* ---- Three steps ---- */

/* Finds the heads whose page bound reaches their threshold, and the keys that the first plane
 * cannot drop. */
static void sieve_page(struct louver_pass *pass, uint32_t p, const struct louver_page *next,
                       struct louver_candidates *c) {
    const struct louver_setup *setup = pass->setup;
    const struct rsr_sketch_query *queries[LOUVER_MAX_HEADS];
    struct rsr_sketch_frame frames[LOUVER_MAX_HEADS];
    float floors[LOUVER_MAX_HEADS];
    if (next != NULL && next->sidecar != NULL)
        __builtin_prefetch(next->sidecar);
    louver_frames_of(pass, p, frames);
    c->page = p;
    c->n = 0;
    c->forced = louver_forced_keys(pass, p);
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        if (is_closed(pass, h))
            continue;
        pass->heads[h].masks[p] = 0;
        if (frames[h].bound < pass->heads[h].threshold)
            continue;
        queries[c->n] = louver_queries_of(pass, &pass->pages[p])[h];
        floors[c->n] = rsr_sketch_floor(&frames[h], 0, pass->heads[h].threshold);
        c->frames[c->n] = frames[h];
        c->heads[c->n++] = h;
    }
    if (c->n > 0)
        setup->kernel->sieve(&setup->shape, louver_sketch(&pass->pages[p]), queries, c->n, floors,
                             c->keys,
                             next != NULL && next->sidecar != NULL ? louver_sketch(next) : NULL);
    pass->stats.pages_skipped += c->n == 0;
    pass->stats.scanned += c->n > 0 ? RSR_PAGE_TOKENS : 0;
}

/* Notes a product that reaches the threshold. */
static void keep_key(struct louver_head_state *head, uint32_t page, uint32_t key,
                     const struct louver_product *product) {
    head->masks[page] |= UINT64_C(1) << key;
    if (head->uppers != NULL) {
        head->uppers[page * RSR_PAGE_TOKENS + key] = product->upper;
        louver_note_lower(head, product->lower);
    }
}

/* Scores the batch that was prefetched and keeps the keys that reach their threshold. */
static void score_fetched(struct louver_pass *pass) {
    for (uint32_t i = 0; i < pass->fetched.n; i++) {
        const struct louver_survivor at = pass->fetched.keys[i];
        struct louver_head_state *head = &pass->heads[at.head];
        const struct louver_product product =
            louver_exact_product(pass->setup, head->q, &pass->pages[at.page], at.key);
        if (!(product.upper < head->threshold))
            keep_key(head, at.page, at.key, &product);
    }
    pass->fetched.n = 0;
}

static void next_batch(struct louver_pass *pass) {
    score_fetched(pass);
    pass->fetched = pass->found;
    pass->found.n = 0;
    for (uint32_t i = 0; i < pass->fetched.n; i++) {
        const struct louver_survivor at = pass->fetched.keys[i];
        louver_fetch_row(pass->setup, pass->pages[at.page].rows.keys, at.key);
    }
}

static void add_survivor(struct louver_pass *pass, struct louver_survivor key) {
    const uint32_t most = pass->setup->disk == NULL ? LOUVER_BATCH : LOUVER_DISK_BATCH;
    if (pass->found.n == most)
        next_batch(pass);
    pass->found.keys[pass->found.n++] = key;
}

/* The keys that the second plane cannot drop either. */
static uint64_t refine_keys(const struct louver_setup *setup, const struct louver_page *page,
                            const struct louver_head_state *head,
                            const struct rsr_sketch_frame *frame, uint64_t keys) {
    const float floor = rsr_sketch_floor(frame, 1, head->threshold);
    float t[RSR_SKETCH_VECTORS];
    uint32_t n = 0;
    setup->kernel->refine(&setup->shape, louver_sketch(page), louver_query_of(head, page), keys, t);
    for (uint64_t left = keys; left != 0; left &= left - 1)
        if (t[n++] < floor)
            keys &= ~(left & -left);
    return keys;
}

static void refine_page(struct louver_pass *pass, const struct louver_candidates *c) {
    const bool two_planes = pass->setup->shape.n_planes > 1;
    uint64_t refined = 0, left = c->forced;
    for (uint32_t i = 0; i < c->n; i++) {
        uint64_t keys = c->keys[i];
        if (two_planes && keys != 0) {
            refined |= keys;
            keys = refine_keys(pass->setup, &pass->pages[c->page], &pass->heads[c->heads[i]],
                               &c->frames[i], keys);
        }
        left |= keys;
        for (; keys != 0; keys &= keys - 1)
            add_survivor(pass, (struct louver_survivor){c->page, (uint8_t)c->heads[i],
                                                        (uint8_t)__builtin_ctzll(keys)});
    }
    pass->stats.plane2 += louver_count_keys(refined);
    pass->stats.exact += louver_count_keys(left);
}

/* Visits a page without a sidecar. */
static void visit_open_page(struct louver_pass *pass, uint32_t p) {
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        struct louver_head_state *head = &pass->heads[h];
        if (is_closed(pass, h))
            continue;
        head->masks[p] = 0;
        for (uint32_t j = 0; j < pass->pages[p].n_keys; j++) {
            const struct louver_product product =
                louver_exact_product(pass->setup, head->q, &pass->pages[p], j);
            if (!(product.upper < head->threshold))
                keep_key(head, p, j, &product);
        }
    }
    pass->stats.exact += pass->pages[p].n_keys;
}

/* ---- In turn ---- */

#define REST_LINES (RSR_SKETCH_REST_BYTES / 64)

/* Prefetches lines first .. end - 1 of the part of the next page that the sieve left out. */
RSR_FETCHER void fetch_rest(const struct louver_setup *setup, const struct louver_page *next,
                            uint32_t first, uint32_t end) {
    if (next == NULL || next->sidecar == NULL)
        return;
    const char *rest = (const char *)louver_sketch(next) + rsr_sketch_first_bytes(&setup->shape) -
                       RSR_SKETCH_REST_BYTES;
    for (uint32_t i = first; i < end; i++)
        rsr_fetch_line(rest + (size_t)i * 64, setup->kernel->far);
}

/* The second plane of the page before is read while memory brings the next page. */
void louver_visit_page(struct louver_pass *pass, uint32_t p, const struct louver_page *next) {
    if (pass->pages[p].sidecar == NULL) {
        visit_open_page(pass, p);
        return;
    }
    struct louver_candidates *own = &pass->sieved[pass->n_visits % 2];
    const struct louver_candidates *before = &pass->sieved[(pass->n_visits + 1) % 2];
    sieve_page(pass, p, next, own);
    next = own->n > 0 ? next : NULL;
    fetch_rest(pass->setup, next, 0, REST_LINES / 2);
    refine_page(pass, before);
    fetch_rest(pass->setup, next, REST_LINES / 2, REST_LINES);
    pass->n_visits++;
}

void louver_end_visits(struct louver_pass *pass) {
    struct louver_candidates *last = &pass->sieved[(pass->n_visits + 1) % 2];
    refine_page(pass, last);
    last->n = 0;
    last->forced = 0;
    next_batch(pass); /* the batch before */
    next_batch(pass); /* and the last one */
}

void louver_take_page(struct louver_pass *pass, uint32_t p) {
    for (uint32_t h = 0; h < pass->n_heads; h++)
        pass->heads[h].masks[p] = louver_all_keys(pass->pages[p].n_keys);
    pass->stats.exact += pass->pages[p].n_keys;
}
