/* louver_visit.c - one page and the heads whose thresholds are products: its bound, the first plane, the
 * second plane, exact products. Every step drops a key only if an upper bound of its product is below the
 * threshold. */
#include <math.h>

#include "louver.h"
#include "sketch/sketch_round.h"

/* A test compiles this file without the error of exact products, and must see keys missed. */
#ifndef RSR_LOUVER_OMIT
#define RSR_LOUVER_OMIT 0
#endif

/* Products of float32 are exact in double; the sum of m of them, in any order, is off by at most
 * m 2^-52 sum |q_i k_i|, which leaves room for the rounding of that sum and of the product with m. */
struct louver_product louver_exact_product(const struct louver_setup *setup, const float *q,
                                           const struct louver_page *page, uint32_t key) {
    float buffer[LOUVER_MAX_DIM];
    const float *k = louver_row(setup, page->rows.keys, key, buffer);
    const uint32_t head_dim = setup->head_dim;
    double sums[8] = {0.0}, sizes[8] = {0.0};
    uint32_t d = 0;
    for (; d + 8 <= head_dim; d += 8) {
        for (uint32_t i = 0; i < 8; i++) {
            const double product = (double)q[d + i] * (double)k[d + i];
            sums[i] += product;
            sizes[i] += fabs(product);
        }
    }
    for (; d < head_dim; d++) {
        sums[0] += (double)q[d] * (double)k[d];
        sizes[0] += fabs((double)q[d] * (double)k[d]);
    }
    double sum = 0.0, size = 0.0;
    for (uint32_t i = 0; i < 8; i++) {
        sum += sums[i];
        size += sizes[i];
    }
    const double error = RSR_LOUVER_OMIT == 1 ? 0.0 : head_dim * 0x1p-52 * size;
    return (struct louver_product){sum, rsr_round_down(sum - error), rsr_round_up(sum + error)};
}

static bool is_closed(const struct louver_pass *pass, uint32_t head) {
    return (pass->closed >> head & 1) != 0;
}

/* Frames of all heads, unless they are known. */
static void frame_page(const struct louver_pass *pass, uint32_t p,
                       struct rsr_sketch_frame *frames) {
    const struct louver_setup *setup = pass->setup;
    if (pass->heads[0].frames == NULL)
        setup->kernel->frames(&setup->shape, louver_sketch(&pass->pages[p]), pass->queries,
                              pass->n_heads, frames);
    for (uint32_t h = 0; pass->heads[0].frames != NULL && h < pass->n_heads; h++)
        frames[h] = pass->heads[h].frames[p];
}

/* ---- Three steps ---- */

/* All heads whose page bound reaches their threshold, and the keys that the first plane cannot drop. */
static void sieve_page(struct louver_pass *pass, uint32_t p, const struct louver_page *next,
                       struct louver_candidates *c) {
    const struct louver_setup *setup = pass->setup;
    const struct rsr_sketch_query *queries[LOUVER_MAX_HEADS];
    struct rsr_sketch_frame frames[LOUVER_MAX_HEADS];
    float floors[LOUVER_MAX_HEADS];
    if (next != NULL && next->sidecar != NULL)
        __builtin_prefetch(next->sidecar);
    frame_page(pass, p, frames);
    c->page = p;
    c->n = 0;
    c->forced = louver_forced_keys(pass, p);
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        if (is_closed(pass, h))
            continue;
        pass->heads[h].masks[p] = 0;
        if (frames[h].bound < pass->heads[h].threshold)
            continue;
        queries[c->n] = pass->queries[h];
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

/* Those of the keys that the second plane cannot drop either. */
static uint64_t refine_keys(const struct louver_setup *setup, const void *sketch,
                            const struct louver_head_state *head,
                            const struct rsr_sketch_frame *frame, uint64_t keys) {
    const float floor = rsr_sketch_floor(frame, 1, head->threshold);
    for (uint64_t left = keys; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        if (setup->kernel->refine(&setup->shape, sketch, &head->sketch, j) < floor)
            keys &= ~(UINT64_C(1) << j);
    }
    return keys;
}

static void refine_page(struct louver_pass *pass, struct louver_candidates *c) {
    const struct louver_page *page = &pass->pages[c->page];
    const bool two_planes = pass->setup->shape.n_planes > 1;
    uint64_t refined = 0, left = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (two_planes && c->keys[i] != 0) {
            refined |= c->keys[i];
            c->keys[i] = refine_keys(pass->setup, louver_sketch(page), &pass->heads[c->heads[i]],
                                     &c->frames[i], c->keys[i]);
        }
        left |= c->keys[i];
    }
    pass->stats.plane2 += louver_count_keys(refined);
    pass->stats.exact += louver_count_keys(left | c->forced);
    for (; left != 0; left &= left - 1)
        louver_fetch_row(pass->setup, page->rows.keys, (uint32_t)__builtin_ctzll(left));
}

/* Those of the keys whose products can reach the threshold. Their values are read soon. */
static uint64_t score_keys(const struct louver_pass *pass, struct louver_head_state *head,
                           uint32_t page, uint64_t keys) {
    for (uint64_t left = keys; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        const struct louver_product product =
            louver_exact_product(pass->setup, head->q, &pass->pages[page], j);
        if (product.upper < head->threshold) {
            keys &= ~(UINT64_C(1) << j);
            continue;
        }
        louver_fetch_row(pass->setup, pass->pages[page].rows.values, j);
        if (head->uppers != NULL) {
            head->uppers[page * RSR_PAGE_TOKENS + j] = product.upper;
            louver_note_lower(head, product.lower);
        }
    }
    return keys;
}

static void score_page(struct louver_pass *pass, const struct louver_candidates *c) {
    for (uint32_t i = 0; i < c->n; i++) {
        struct louver_head_state *head = &pass->heads[c->heads[i]];
        if (c->keys[i] != 0)
            head->masks[c->page] = score_keys(pass, head, c->page, c->keys[i]);
    }
}

/* One without a sidecar. */
static void visit_open_page(struct louver_pass *pass, uint32_t p) {
    const uint64_t keys = louver_all_keys(pass->pages[p].n_keys);
    for (uint32_t h = 0; h < pass->n_heads; h++)
        if (!is_closed(pass, h))
            pass->heads[h].masks[p] = score_keys(pass, &pass->heads[h], p, keys);
    pass->stats.exact += pass->pages[p].n_keys;
}

/* ---- In turn ---- */

/* What the page visited so many visits ago is left with. */
static struct louver_candidates *candidates_of(struct louver_pass *pass, uint32_t visits_ago) {
    return &pass->visits[(pass->n_visits + LOUVER_VISITS - visits_ago) % LOUVER_VISITS];
}

/* A third of what the sieve has not fetched of the next page. */
RSR_FETCHER void fetch_rest(const struct louver_setup *setup, const struct louver_page *next,
                            uint32_t third) {
    if (next == NULL || next->sidecar == NULL)
        return;
    const char *end = (const char *)louver_sketch(next) + rsr_sketch_first_bytes(&setup->shape);
    const char *at = end - RSR_SKETCH_REST_BYTES + third * (RSR_SKETCH_REST_BYTES / 3);
    for (uint32_t i = 0; i < RSR_SKETCH_REST_BYTES / 3; i += 64)
        rsr_fetch_line(at + i, setup->kernel->far);
}

/* Each step fetches what the next one reads: memory has the time of a visit to bring it. */
static void finish_visit(struct louver_pass *pass, const struct louver_page *next) {
    fetch_rest(pass->setup, next, 0);
    refine_page(pass, candidates_of(pass, 1));
    fetch_rest(pass->setup, next, 1);
    score_page(pass, candidates_of(pass, 2));
    fetch_rest(pass->setup, next, 2);
    pass->n_visits++;
}

void louver_visit_page(struct louver_pass *pass, uint32_t p, const struct louver_page *next) {
    if (pass->pages[p].sidecar == NULL) {
        visit_open_page(pass, p);
        return;
    }
    sieve_page(pass, p, next, candidates_of(pass, 0));
    finish_visit(pass, candidates_of(pass, 0)->n > 0 ? next : NULL);
}

void louver_end_visits(struct louver_pass *pass) {
    for (uint32_t i = 1; i < LOUVER_VISITS; i++) {
        *candidates_of(pass, 0) = (struct louver_candidates){0};
        finish_visit(pass, NULL);
    }
}

void louver_take_page(struct louver_pass *pass, uint32_t p) {
    for (uint32_t h = 0; h < pass->n_heads; h++)
        pass->heads[h].masks[p] = louver_all_keys(pass->pages[p].n_keys);
    pass->stats.exact += pass->pages[p].n_keys;
}
