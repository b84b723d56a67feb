/* louver_query.c - answering: pages, first plane, second plane, exact products; then attention over what
 * is left. Every step drops a key only if an upper bound of its product is below the threshold. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "louver.h"
#include "runtime.h"
#include "sketch/sketch_round.h"

/* ---- Exact products ---- */

/* Products of float32 are exact in double; the sum of m of them, in any order, is off by at most
 * m 2^-52 sum |q_i k_i|, which leaves room for the rounding of that sum and of the product with m. */
struct louver_hit louver_exact_product(const float *q, const float *k, uint32_t head_dim) {
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
    const double error = head_dim * 0x1p-52 * size;
    return (struct louver_hit){rsr_round_down(sum - error), rsr_round_up(sum + error), 0};
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

void louver_score_page(struct louver_pass *pass, uint32_t page, const uint64_t *keys_of_head) {
    const rsr_louver *index = pass->index;
    uint64_t keys = 0;
    for (uint32_t h = 0; h < pass->n_heads; h++)
        keys |= keys_of_head[h];
    for (; keys != 0; keys &= keys - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(keys);
        const float *row = index->pages[page]->keys + (size_t)j * index->row_floats;
        pass->stats.exact++;
        for (uint32_t h = 0; h < pass->n_heads; h++) {
            struct louver_head_state *head = &pass->heads[h];
            if ((keys_of_head[h] >> j & 1) == 0)
                continue;
            struct louver_hit hit = louver_exact_product(head->sketch.q, row, index->head_dim);
            hit.key = page * RSR_PAGE_TOKENS + j;
            if (hit.upper < head->threshold)
                continue;
            head->hits[head->n_hits++] = hit;
            if (pass->threshold.kind == RSR_LOUVER_TOPK)
                note_best(head, hit.lower, pass->threshold.k);
        }
    }
}

/* Bits of the keys that the first plane cannot drop. */
static uint64_t scan_page(const rsr_louver *index, const void *sketch,
                          const struct louver_head_state *head,
                          const struct rsr_sketch_frame *frame) {
    const float floor = rsr_sketch_floor(frame, 0, head->threshold);
    uint64_t keys = 0;
    for (uint32_t group = 0; group < RSR_PAGE_TOKENS / RSR_SKETCH_LANES; group++) {
        float t[RSR_SKETCH_LANES];
        index->kernel->scan(&index->shape, sketch, &head->sketch, group, t);
        for (uint32_t lane = 0; lane < RSR_SKETCH_LANES; lane++)
            keys |= (uint64_t) !(t[lane] < floor) << (group * RSR_SKETCH_LANES + lane);
    }
    return keys;
}

/* Those of the keys that the second plane cannot drop either. */
static uint64_t refine_page(const rsr_louver *index, const void *sketch,
                            const struct louver_head_state *head,
                            const struct rsr_sketch_frame *frame, uint64_t keys) {
    const float floor = rsr_sketch_floor(frame, 1, head->threshold);
    for (uint64_t left = keys; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        if (index->kernel->refine(&index->shape, sketch, &head->sketch, j) < floor)
            keys &= ~(UINT64_C(1) << j);
    }
    return keys;
}

static void visit_sealed_page(struct louver_pass *pass, uint32_t page) {
    const rsr_louver *index = pass->index;
    const void *sketch = index->pages[page]->sketch;
    uint64_t keys_of_head[LOUVER_MAX_HEADS] = {0}, refined = 0;
    bool scanned = false;
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        struct louver_head_state *head = &pass->heads[h];
        const struct rsr_sketch_frame frame =
            rsr_sketch_frame_of(&index->shape, sketch, &head->sketch);
        if (frame.bound < head->threshold)
            continue;
        scanned = true;
        keys_of_head[h] = scan_page(index, sketch, head, &frame);
        if (index->shape.n_planes < 2)
            continue;
        refined |= keys_of_head[h];
        keys_of_head[h] = refine_page(index, sketch, head, &frame, keys_of_head[h]);
    }
    pass->stats.pages_skipped += !scanned;
    pass->stats.scanned += scanned ? RSR_PAGE_TOKENS : 0;
    pass->stats.plane2 += (uint32_t)__builtin_popcountll(refined);
    louver_score_page(pass, page, keys_of_head);
}

/* Thresholds known beforehand, or rising as the best keys turn up. */
static void run_threshold(struct louver_pass *pass) {
    const uint32_t n_sealed = louver_sealed_pages(pass->index);
    const uint32_t open_keys = pass->index->n_keys % RSR_PAGE_TOKENS;
    for (uint32_t page = 0; page < n_sealed; page++)
        visit_sealed_page(pass, page);
    if (open_keys != 0) {
        uint64_t keys_of_head[LOUVER_MAX_HEADS];
        for (uint32_t h = 0; h < pass->n_heads; h++)
            keys_of_head[h] = (UINT64_C(1) << open_keys) - 1;
        louver_score_page(pass, n_sealed, keys_of_head);
    }
    for (uint32_t h = 0; h < pass->n_heads; h++) { /* what was taken before the threshold rose */
        struct louver_head_state *head = &pass->heads[h];
        uint32_t n = 0;
        for (uint32_t i = 0; i < head->n_hits; i++)
            if (!(head->hits[i].upper < head->threshold))
                head->hits[n++] = head->hits[i];
        head->n_hits = n;
    }
}

/* ---- Attention over the hits ---- */

/* Attends to up to 64 hits. A page that is attended from its first key on without a gap is read where it
 * lies; else the rows are brought together. */
static void attend_hits(const struct louver_pass *pass, const struct louver_hit *hits, uint32_t n,
                        struct rsr_attend_state *state, bool first) {
    const rsr_louver *index = pass->index;
    const size_t row_floats = index->row_floats;
    float *rows = index->scratch.attention, *k = rows + 3 * row_floats;
    float *v = k + RSR_PAGE_TOKENS * row_floats;
    const struct louver_page *page = index->pages[hits[0].key / RSR_PAGE_TOKENS];
    if (hits[0].key % RSR_PAGE_TOKENS == 0 && hits[n - 1].key == hits[0].key + n - 1) {
        k = page->keys;
        v = page->values;
    } else {
        for (uint32_t i = 0; i < n; i++) {
            const size_t at = hits[i].key % RSR_PAGE_TOKENS * row_floats;
            page = index->pages[hits[i].key / RSR_PAGE_TOKENS];
            memcpy(k + i * row_floats, page->keys + at, row_floats * sizeof(float));
            memcpy(v + i * row_floats, page->values + at, row_floats * sizeof(float));
        }
    }
    index->ops->attend_page(state, rows + row_floats, rows + 2 * row_floats, rows, k, v,
                            index->row_floats, n, index->scale, first);
}

static void attend_head(const struct louver_pass *pass, const struct louver_head_state *head,
                        float *out) {
    const rsr_louver *index = pass->index;
    float *rows = index->scratch.attention;
    struct rsr_attend_state state = {0.0f, 1.0f};
    memset(rows, 0, 2 * index->row_floats * sizeof(float));
    memcpy(rows, head->sketch.q, index->head_dim * sizeof(float));
    for (uint32_t i = 0; i < head->n_hits; i += RSR_PAGE_TOKENS) {
        const uint32_t left = head->n_hits - i;
        attend_hits(pass, head->hits + i, left < RSR_PAGE_TOKENS ? left : RSR_PAGE_TOKENS, &state,
                    i == 0);
    }
    index->ops->attend_finish(out, rows + index->row_floats, &state, index->head_dim);
}

/* ---- The call ---- */

/* Makes *array hold `bytes`, without keeping what it held. */
static bool renew(void *array_pointer, size_t bytes) {
    void *memory = aligned_alloc(64, (bytes + 63u) & ~(size_t)63u);
    if (memory == NULL)
        return false;
    void *before;
    memcpy(&before, array_pointer, sizeof(before));
    free(before);
    memcpy(array_pointer, &memory, sizeof(memory));
    return true;
}

static bool reserve_scratch(rsr_louver *index, uint32_t n_heads) {
    struct louver_scratch *s = &index->scratch;
    const size_t page_floats = (size_t)RSR_PAGE_TOKENS * index->row_floats;
    if (s->attention == NULL) {
        s->attention = calloc(3 * index->row_floats + 2 * page_floats, sizeof(float));
        if (s->attention == NULL)
            return false;
    }
    if (n_heads <= s->n_heads && index->n_keys <= s->capacity_keys)
        return true;
    const uint32_t heads = n_heads > s->n_heads ? n_heads : s->n_heads;
    const uint32_t pages = index->n_keys / RSR_PAGE_TOKENS + 1;
    /* Half as much again, so that a growing index seldom comes here. */
    const uint32_t capacity = (pages + pages / 2) * RSR_PAGE_TOKENS;
    const size_t n = (size_t)heads * capacity;
    s->n_heads = s->capacity_keys = 0; /* of what is renewed, nothing counts until all is */
    if (!renew(&s->hits, n * sizeof(*s->hits)) || !renew(&s->bounds, n * sizeof(*s->bounds)) ||
        !renew(&s->masks, n / RSR_PAGE_TOKENS * sizeof(*s->masks)) ||
        !renew(&s->best, n * sizeof(*s->best)) ||
        !renew(&s->frames, n / RSR_PAGE_TOKENS * sizeof(*s->frames)) ||
        !renew(&s->queries, heads * rsr_sketch_query_bytes(&index->shape)))
        return false;
    s->n_heads = heads;
    s->capacity_keys = capacity;
    return true;
}

/* T of a head before any key was seen. */
static double first_threshold(const rsr_louver_query *query, uint32_t head) {
    if (query->threshold.kind != RSR_LOUVER_VALUE)
        return -INFINITY;
    return query->values != NULL ? query->values[head] : query->threshold.value;
}

static rsr_status check_threshold(const rsr_louver_query *query, rsr_error *err) {
    const rsr_louver_threshold *t = &query->threshold;
    if ((unsigned)t->kind > RSR_LOUVER_MASS)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the threshold has no kind that is known");
    if (t->kind == RSR_LOUVER_TOPK && t->k < 1)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "topk asks for 0 keys; ask for 1 or more");
    if (t->kind == RSR_LOUVER_MASS && !(t->value >= 0.0 && t->value < 1.0))
        return rsr_fail(err, RSR_ERR_ARGUMENT, "mass is %g; it must be at least 0 and below 1",
                        t->value);
    for (uint32_t h = 0; h < query->n_heads; h++)
        if (isnan(first_threshold(query, h)))
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
        status = louver_check_finite(query->q, query->n_heads, index->head_dim, "query", err);
    return status == RSR_OK ? louver_check_float_mode(err) : status;
}

static void start_heads(struct louver_pass *pass, const rsr_louver_query *query) {
    const rsr_louver *index = pass->index;
    const struct louver_scratch *s = &index->scratch;
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        struct louver_head_state *head = &pass->heads[h];
        *head = (struct louver_head_state){
            .threshold = first_threshold(query, h),
            .hits = s->hits + (size_t)h * s->capacity_keys,
            .best = s->best + (size_t)h * s->capacity_keys,
        };
        rsr_sketch_prepare(&index->shape, query->q + (size_t)h * index->head_dim,
                           s->queries + h * rsr_sketch_query_bytes(&index->shape), &head->sketch);
    }
}

/* Writes what the caller asked for; false if indices did not fit. */
static bool deliver(const struct louver_pass *pass, const rsr_louver_query *query) {
    const uint32_t head_dim = pass->index->head_dim;
    bool fits = true;
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        const struct louver_head_state *head = &pass->heads[h];
        float *out = query->out == NULL ? NULL : query->out + (size_t)h * head_dim;
        if (out != NULL)
            attend_head(pass, head, out);
        if (query->heads != NULL)
            louver_certify(pass, head, out, &query->heads[h]);
        for (uint32_t i = 0; query->indices != NULL && i < head->n_hits && i < query->capacity; i++)
            query->indices[h * query->capacity + i] = head->hits[i].key;
        fits = fits && (query->indices == NULL || head->n_hits <= query->capacity);
    }
    return fits;
}

rsr_status rsr_louver_attend(rsr_louver *index, const rsr_louver_query *query,
                             rsr_louver_stats *stats, rsr_error *err) {
    rsr_louver_query known = RSR_LOUVER_QUERY_INIT;
    if (index == NULL || query == NULL)
        return rsr_fail(err, RSR_ERR_ARGUMENT, "the %s is NULL", index == NULL ? "index" : "query");
    rsr_status status = rsr_read_options(&known, sizeof(known), query, err);
    if (status == RSR_OK)
        status = check_query(index, &known, err);
    if (status != RSR_OK)
        return status;
    if (!reserve_scratch(index, known.n_heads))
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for a query over %u keys", index->n_keys);
    struct louver_pass pass = {
        .index = index,
        .threshold = known.threshold,
        .n_heads = known.n_heads,
        .stats = {.n_keys = index->n_keys, .pages = louver_sealed_pages(index)}};
    start_heads(&pass, &known);
    /* A mass of 0 is a threshold of -infinity. */
    if (known.threshold.kind == RSR_LOUVER_MASS && known.threshold.value > 0.0)
        louver_run_mass(&pass);
    else
        run_threshold(&pass);
    if (stats != NULL)
        status = rsr_write_info(stats, &pass.stats, sizeof(pass.stats), err);
    if (status == RSR_OK && !deliver(&pass, &known))
        status =
            rsr_fail(err, RSR_ERR_FULL, "a head attends to more than %zu keys", known.capacity);
    return status;
}
