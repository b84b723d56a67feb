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

/* The heads for which something of a page may be relevant, and the keys. */
struct candidates {
    uint32_t n, heads[LOUVER_MAX_HEADS];
    struct rsr_sketch_frame frames[LOUVER_MAX_HEADS];
    uint64_t keys[LOUVER_MAX_HEADS];
};

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

/* All heads whose page bound reaches their threshold, and the keys that the first plane cannot drop. */
static void sieve_page(const struct louver_pass *pass, uint32_t p, const struct louver_page *next,
                       struct candidates *c) {
    const struct louver_setup *setup = pass->setup;
    const struct rsr_sketch_query *queries[LOUVER_MAX_HEADS];
    struct rsr_sketch_frame frames[LOUVER_MAX_HEADS];
    float floors[LOUVER_MAX_HEADS];
    if (next != NULL && next->sidecar != NULL)
        __builtin_prefetch(next->sidecar);
    frame_page(pass, p, frames);
    c->n = 0;
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        if (is_closed(pass, h) || frames[h].bound < pass->heads[h].threshold)
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
}

/* Those of the keys that the second plane cannot drop either. */
static uint64_t refine_page(const struct louver_setup *setup, const void *sketch,
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

/* Those of the keys whose products can reach the threshold. */
static uint64_t score_keys(const struct louver_pass *pass, struct louver_head_state *head,
                           uint32_t page, uint64_t keys) {
    for (uint64_t left = keys; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        const struct louver_product product =
            louver_exact_product(pass->setup, head->q, &pass->pages[page], j);
        if (product.upper < head->threshold) {
            keys &= ~(UINT64_C(1) << j);
        } else if (head->uppers != NULL) {
            head->uppers[page * RSR_PAGE_TOKENS + j] = product.upper;
            louver_note_lower(head, product.lower);
        }
    }
    return keys;
}

/* Rows of the keys, each of which is elsewhere in memory. */
static void fetch_rows(const struct louver_pass *pass, uint32_t page, uint64_t keys) {
    for (; keys != 0; keys &= keys - 1)
        louver_fetch_row(pass->setup, pass->pages[page].rows.keys, (uint32_t)__builtin_ctzll(keys));
}

static void visit_sealed_page(struct louver_pass *pass, uint32_t p,
                              const struct louver_page *next) {
    const bool two_planes = pass->setup->shape.n_planes > 1;
    uint64_t refined = 0, exact = louver_forced_keys(pass, p);
    struct candidates c;
    for (uint32_t h = 0; h < pass->n_heads; h++)
        if (!is_closed(pass, h))
            pass->heads[h].masks[p] = 0;
    sieve_page(pass, p, next, &c);
    for (uint32_t i = 0; i < c.n; i++) {
        struct louver_head_state *head = &pass->heads[c.heads[i]];
        uint64_t keys = c.keys[i];
        if (keys != 0 && two_planes) {
            refined |= keys;
            keys =
                refine_page(pass->setup, louver_sketch(&pass->pages[p]), head, &c.frames[i], keys);
        }
        fetch_rows(pass, p, keys & ~exact);
        exact |= keys;
        c.keys[i] = keys;
    }
    for (uint32_t i = 0; i < c.n; i++)
        pass->heads[c.heads[i]].masks[p] = score_keys(pass, &pass->heads[c.heads[i]], p, c.keys[i]);
    pass->stats.pages_skipped += c.n == 0;
    pass->stats.scanned += c.n > 0 ? RSR_PAGE_TOKENS : 0;
    pass->stats.plane2 += louver_count_keys(refined);
    pass->stats.exact += louver_count_keys(exact);
}

/* One without a sidecar. */
static void visit_open_page(struct louver_pass *pass, uint32_t p) {
    const uint64_t keys = louver_all_keys(pass->pages[p].n_keys);
    for (uint32_t h = 0; h < pass->n_heads; h++)
        if (!is_closed(pass, h))
            pass->heads[h].masks[p] = score_keys(pass, &pass->heads[h], p, keys);
    pass->stats.exact += pass->pages[p].n_keys;
}

void louver_visit_page(struct louver_pass *pass, uint32_t p, const struct louver_page *next) {
    if (pass->pages[p].sidecar != NULL)
        visit_sealed_page(pass, p, next);
    else
        visit_open_page(pass, p);
}

void louver_take_page(struct louver_pass *pass, uint32_t p) {
    for (uint32_t h = 0; h < pass->n_heads; h++)
        pass->heads[h].masks[p] = louver_all_keys(pass->pages[p].n_keys);
    pass->stats.exact += pass->pages[p].n_keys;
}
