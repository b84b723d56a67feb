/* louver_pass.c - which keys each head attends to when thresholds are products: pages, first plane, second
 * plane, exact products. Every step drops a key only if an upper bound of its product is below the
 * threshold. */
#include <math.h>
#include <string.h>

#include "louver.h"
#include "sketch/sketch_round.h"

/* A test compiles this file without the error of exact products, and must see keys missed. */
#ifndef RSR_LOUVER_OMIT
#define RSR_LOUVER_OMIT 0
#endif

/* ---- Scratch ---- */

struct cutter {
    char *memory; /* NULL: only count */
    uint64_t used;
};

static void *cut(struct cutter *c, uint64_t n, uint64_t element_bytes) {
    void *at = c->memory == NULL ? NULL : c->memory + c->used;
    c->used += (n * element_bytes + 63u) & ~UINT64_C(63);
    return at;
}

/* Returns the memory of the prepared query. */
static void *cut_head(struct cutter *c, const struct louver_setup *setup, rsr_louver_kind kind,
                      uint64_t n_pages, struct louver_head_state *head) {
    const uint64_t n_keys = n_pages * RSR_PAGE_TOKENS;
    float *rows = cut(c, 2 * setup->row_floats, sizeof(float));
    head->q = rows;
    head->out = rows == NULL ? NULL : rows + setup->row_floats;
    head->masks = cut(c, n_pages, sizeof(*head->masks));
    if (kind == RSR_LOUVER_TOPK) {
        head->uppers = cut(c, n_keys, sizeof(*head->uppers));
        head->best = cut(c, n_keys, sizeof(*head->best));
    } else if (kind == RSR_LOUVER_MASS) {
        head->x = cut(c, n_keys, sizeof(*head->x));
        head->frames = cut(c, n_pages, sizeof(*head->frames));
    }
    return cut(c, 1, rsr_sketch_query_bytes(&setup->shape));
}

uint64_t louver_pass_bytes(const struct louver_setup *setup, rsr_louver_kind kind, uint32_t n_heads,
                           uint32_t n_pages) {
    /* Counts are of 32 bits, elements of less than 128 bytes: no sum of a head overflows. */
    struct cutter counter = {0};
    struct louver_head_state unused;
    (void)cut_head(&counter, setup, kind, n_pages, &unused);
    uint64_t bytes;
    if (__builtin_mul_overflow(counter.used, (uint64_t)n_heads, &bytes))
        return UINT64_MAX;
    counter.used = 0;
    (void)cut(&counter, setup->row_floats, sizeof(float));
    (void)cut(&counter, n_pages, sizeof(struct louver_norms));
    return __builtin_add_overflow(bytes, counter.used, &bytes) ? UINT64_MAX : bytes;
}

/* ---- Beginning ---- */

/* T of a head before any key was seen. */
static double first_threshold(const rsr_louver_threshold *threshold, const double *values,
                              uint32_t head) {
    if (threshold->kind != RSR_LOUVER_VALUE)
        return -INFINITY;
    return values != NULL ? values[head] : threshold->value;
}

static void look_at_pages(struct louver_pass *pass) {
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        pass->n_keys += pass->pages[p].n_keys;
        pass->stats.pages += pass->pages[p].sidecar != NULL;
    }
    pass->stats.n_keys = pass->n_keys;
}

bool louver_open_sidecar(struct louver_pass *pass, uint32_t page) {
    struct louver_page *view = &pass->pages[page];
    if (view->sidecar != NULL && !view->sidecar->usable) {
        view->sidecar = NULL;
        pass->stats.pages--;
    }
    if (view->sidecar != NULL)
        pass->norms[page] = view->sidecar->norms;
    else
        pass->norms[page].key = louver_key_norm(pass->setup, view);
    return view->sidecar != NULL;
}

void louver_pass_begin(struct louver_pass *pass, const struct louver_setup *setup,
                       struct louver_page *pages, uint32_t n_pages,
                       const rsr_louver_threshold *threshold, const double *values, const float *q,
                       size_t q_stride, uint32_t n_heads, void *memory) {
    struct cutter cutter = {.memory = memory};
    pass->setup = setup;
    pass->pages = pages;
    pass->n_pages = n_pages;
    pass->n_keys = 0;
    pass->n_heads = n_heads;
    pass->threshold = *threshold;
    pass->page_out = cut(&cutter, setup->row_floats, sizeof(float));
    pass->norms = cut(&cutter, n_pages, sizeof(*pass->norms));
    pass->stats = (rsr_louver_stats){.size_bytes = sizeof(pass->stats)};
    look_at_pages(pass);
    for (uint32_t h = 0; h < n_heads; h++) {
        struct louver_head_state *head = &pass->heads[h];
        *head = (struct louver_head_state){.threshold = first_threshold(threshold, values, h)};
        void *query = cut_head(&cutter, setup, threshold->kind, n_pages, head);
        float *rows = (float *)(uintptr_t)head->q;
        memset(rows, 0, 2 * setup->row_floats * sizeof(float));
        memcpy(rows, q + h * q_stride, setup->head_dim * sizeof(float));
        rsr_sketch_prepare(&setup->shape, head->q, query, &head->sketch);
        pass->queries[h] = &head->sketch;
    }
}

/* ---- Exact products ---- */

struct product {
    double lower, upper; /* q . k lies between the two */
};

/* Products of float32 are exact in double; the sum of m of them, in any order, is off by at most
 * m 2^-52 sum |q_i k_i|, which leaves room for the rounding of that sum and of the product with m. */
static struct product exact_product(const float *q, const float *k, uint32_t head_dim) {
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
    return (struct product){rsr_round_down(sum - error), rsr_round_up(sum + error)};
}

/* ---- The K best lower bounds of a head, the least first ---- */

static void sink_least(double *heap, uint32_t n) {
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < n && heap[child + 1] < heap[child])
            child++;
        if (child >= n || heap[at] <= heap[child])
            return;
        const double swapped = heap[at];
        heap[at] = heap[child];
        heap[child] = swapped;
        at = child;
    }
}

static void raise_last(double *heap, uint32_t n) {
    for (uint32_t at = n - 1; at > 0 && heap[at] < heap[(at - 1) / 2]; at = (at - 1) / 2) {
        const double swapped = heap[at];
        heap[at] = heap[(at - 1) / 2];
        heap[(at - 1) / 2] = swapped;
    }
}

/* K products are at least the K-th largest of any of their lower bounds, so that bound may serve as the
 * threshold while keys are still coming. */
static void note_best(struct louver_head_state *head, double lower, uint32_t k) {
    if (head->n_best < k) {
        head->best[head->n_best++] = lower;
        raise_last(head->best, head->n_best);
    } else if (lower > head->best[0]) {
        head->best[0] = lower;
        sink_least(head->best, k);
    }
    if (head->n_best == k)
        head->threshold = head->best[0];
}

/* ---- One page ---- */

/* The heads for which something of a page may be relevant, and the keys. */
struct candidates {
    uint32_t n, heads[LOUVER_MAX_HEADS];
    struct rsr_sketch_frame frames[LOUVER_MAX_HEADS];
    uint64_t keys[LOUVER_MAX_HEADS];
};

/* All heads whose page bound reaches their threshold, and the keys that the first plane cannot drop. */
static void sieve_page(const struct louver_pass *pass, const struct louver_page *page,
                       const struct louver_page *next, struct candidates *c) {
    const struct louver_setup *setup = pass->setup;
    const struct rsr_sketch_query *queries[LOUVER_MAX_HEADS];
    struct rsr_sketch_frame frames[LOUVER_MAX_HEADS];
    float floors[LOUVER_MAX_HEADS];
    if (next != NULL && next->sidecar != NULL)
        __builtin_prefetch(next->sidecar);
    setup->kernel->frames(&setup->shape, louver_sketch(page), pass->queries, pass->n_heads, frames);
    c->n = 0;
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        if (frames[h].bound < pass->heads[h].threshold)
            continue;
        queries[c->n] = pass->queries[h];
        floors[c->n] = rsr_sketch_floor(&frames[h], 0, pass->heads[h].threshold);
        c->frames[c->n] = frames[h];
        c->heads[c->n++] = h;
    }
    if (c->n > 0)
        setup->kernel->sieve(&setup->shape, louver_sketch(page), queries, c->n, floors, c->keys,
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
    const struct louver_setup *setup = pass->setup;
    for (uint64_t left = keys; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        const float *row = pass->pages[page].keys + (size_t)j * setup->row_floats;
        const struct product product = exact_product(head->q, row, setup->head_dim);
        if (product.upper < head->threshold) {
            keys &= ~(UINT64_C(1) << j);
        } else if (pass->threshold.kind == RSR_LOUVER_TOPK) {
            head->uppers[page * RSR_PAGE_TOKENS + j] = product.upper;
            note_best(head, product.lower, pass->threshold.k);
        }
    }
    return keys;
}

static void visit_sealed_page(struct louver_pass *pass, uint32_t p) {
    const struct louver_page *page = &pass->pages[p];
    const bool two_planes = pass->setup->shape.n_planes > 1;
    uint64_t refined = 0, exact = 0;
    struct candidates c;
    for (uint32_t h = 0; h < pass->n_heads; h++)
        pass->heads[h].masks[p] = 0;
    sieve_page(pass, page, p + 1 < pass->n_pages ? page + 1 : NULL, &c);
    for (uint32_t i = 0; i < c.n; i++) {
        struct louver_head_state *head = &pass->heads[c.heads[i]];
        uint64_t keys = c.keys[i];
        if (keys != 0 && two_planes) {
            refined |= keys;
            keys = refine_page(pass->setup, louver_sketch(page), head, &c.frames[i], keys);
        }
        exact |= keys;
        head->masks[p] = score_keys(pass, head, p, keys);
    }
    pass->stats.pages_skipped += c.n == 0;
    pass->stats.scanned += c.n > 0 ? RSR_PAGE_TOKENS : 0;
    pass->stats.plane2 += louver_count_keys(refined);
    pass->stats.exact += louver_count_keys(exact);
}

/* A page without a sidecar, or one of which every head wants every key. */
static void visit_whole_page(struct louver_pass *pass, uint32_t p, bool every) {
    const uint64_t keys = louver_all_keys(pass->pages[p].n_keys);
    for (uint32_t h = 0; h < pass->n_heads; h++)
        pass->heads[h].masks[p] = every ? keys : score_keys(pass, &pass->heads[h], p, keys);
    pass->stats.exact += pass->pages[p].n_keys;
}

static void run_threshold(struct louver_pass *pass) {
    bool every = pass->threshold.kind != RSR_LOUVER_TOPK;
    for (uint32_t h = 0; h < pass->n_heads; h++)
        every = every && pass->heads[h].threshold == -INFINITY;
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        if (every || !louver_open_sidecar(pass, p))
            visit_whole_page(pass, p, every);
        else
            visit_sealed_page(pass, p);
    }
}

/* Leaves out what topk took before the threshold rose. */
static void drop_risen(struct louver_pass *pass, struct louver_head_state *head) {
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        for (uint64_t left = head->masks[p]; left != 0; left &= left - 1) {
            const uint32_t j = (uint32_t)__builtin_ctzll(left);
            if (head->uppers[p * RSR_PAGE_TOKENS + j] < head->threshold)
                head->masks[p] &= ~(UINT64_C(1) << j);
        }
    }
}

void louver_pass_run(struct louver_pass *pass) {
    /* A mass of 0 is a threshold of -infinity. */
    if (pass->threshold.kind == RSR_LOUVER_MASS && pass->threshold.value > 0.0) {
        louver_run_mass(pass);
    } else {
        run_threshold(pass);
        for (uint32_t h = 0; pass->threshold.kind == RSR_LOUVER_TOPK && h < pass->n_heads; h++)
            drop_risen(pass, &pass->heads[h]);
    }
    louver_attend(pass);
}
