/* louver_topk.c - the K best keys of each head.
 *
 * T is the K-th largest lower bound of all keys, whatever the order in which pages are visited; but the
 * sooner a high bar is known, the fewer keys need more than the first plane. K products are at least the
 * K-th largest of any of their lower bounds, so that may serve as the bar while keys are still coming. Two
 * things raise it:
 *
 *   a sample    every 16th page comes first. In it, few more than K / 16 of the K best keys are expected,
 *               so a product a little further down its ranking is likely to be below T. It becomes the
 *               bar, without proof.
 *   page bounds the pages with the highest ones come next.
 *
 * Members of a team look at pages of their own each; after the sample they have a bar in common.
 *
 * A head of which fewer than K keys turn out to reach its bar goes over all pages again, with the bar that
 * its K best keys do prove.
 */
#include <math.h>

#include "louver.h"
#include "sketch/sketch_round.h"

#define SAMPLE_STRIDE 16u
#define SAMPLE_PAGE 7u
/* A sample of fewer pages says too little. */
#define LEAST_SAMPLE_PAGES 2u

/* ---- The K best, the least first ---- */

static void sink(double *heap, uint32_t n, uint32_t at) {
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

static void note(struct louver_best *best, double x) {
    x = x > -INFINITY ? x : -INFINITY; /* a NaN would break the order */
    if (best->n < best->k) {
        best->heap[best->n++] = x;
        raise_last(best->heap, best->n);
    } else if (best->k > 0 && x > best->heap[0]) {
        best->heap[0] = x;
        sink(best->heap, best->k, 0);
    }
}

static double kth(const struct louver_best *best) {
    return best->k > 0 && best->n == best->k ? best->heap[0] : -INFINITY;
}

void louver_sort_descending(double *x, uint32_t n) {
    for (uint32_t at = n / 2; at-- > 0;)
        sink(x, n, at);
    for (uint32_t left = n; left-- > 1;) { /* the least to the end */
        const double least = x[0];
        x[0] = x[left];
        x[left] = least;
        sink(x, left, 0);
    }
}

void louver_note_lower(struct louver_head_state *head, double lower) {
    note(&head->best, lower);
    if (head->sample_left > 0) {
        head->sample_left--;
        note(&head->sample, lower);
    }
    head->threshold = fmax(head->threshold, fmax(kth(&head->best), kth(&head->sample)));
}

uint32_t louver_best_keys(const struct louver_pass *pass) {
    if (pass->threshold.kind == RSR_LOUVER_TOPK)
        return pass->threshold.k;
    const uint32_t k = (uint32_t)(pass->threshold.value * pass->n_keys);
    return k > 0 ? k : 1;
}

/* ---- The order of pages ---- */

static bool is_sampled(uint32_t page) {
    return page % SAMPLE_STRIDE == SAMPLE_PAGE;
}

/* Of each head the bound that the pages with the highest ones have: enough for K keys, and one more. Here and
 * below, pages are the member's. */
static void find_high_bounds(const struct louver_pass *pass, uint32_t k, double *high) {
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        const struct louver_head_state *head = &pass->heads[h];
        struct louver_best best = {head->best.heap, 0, k / RSR_PAGE_TOKENS + 2};
        for (uint32_t p = pass->begin; p < pass->end; p++)
            if (pass->pages[p].sidecar != NULL)
                note(&best, head->frames[p].bound);
        high[h] = kth(&best);
    }
}

static bool is_high(const struct louver_pass *pass, uint32_t page, const double *high) {
    for (uint32_t h = 0; h < pass->n_heads; h++)
        if (pass->pages[page].sidecar == NULL || pass->heads[h].frames[page].bound >= high[h])
            return true;
    return false;
}

/* The sample, pages with high bounds, the others. Returns the length of the sample. */
static uint32_t order_pages(struct louver_pass *pass, uint32_t k) {
    double high[LOUVER_MAX_HEADS];
    uint32_t n = 0;
    find_high_bounds(pass, k, high);
    for (uint32_t p = pass->begin; p < pass->end; p++)
        if (is_sampled(p))
            pass->order[n++] = p;
    const uint32_t n_sampled = n;
    for (uint32_t p = pass->begin; p < pass->end; p++)
        if (!is_sampled(p) && is_high(pass, p, high))
            pass->order[n++] = p;
    for (uint32_t p = pass->begin; p < pass->end; p++)
        if (!is_sampled(p) && !is_high(pass, p, high))
            pass->order[n++] = p;
    return n_sampled;
}

/* Numbers begin .. end - 1 of the order. */
static void visit_pages(struct louver_pass *pass, uint32_t begin, uint32_t end) {
    const uint32_t n = pass->end - pass->begin;
    for (uint32_t i = begin; i < end; i++)
        louver_visit_page(pass, pass->order[i],
                          i + 1 < n ? &pass->pages[pass->order[i + 1]] : NULL);
    louver_end_visits(pass);
}

/* ---- The sample ---- */

/* How far down the sample's ranking its bar lies: of the K best keys K / 16 are expected in it, so many that
 * are chosen at random three deviations more at most, but for one time in a thousand. 0: there is no bar,
 * for K best keys of the sample alone would be as many. */
static uint32_t bar_rank(uint32_t k, uint32_t n_pages) {
    const double expected = (double)k / SAMPLE_STRIDE;
    const double rank = ceil(expected + 3.0 * sqrt(expected) + 1.0);
    return n_pages >= LEAST_SAMPLE_PAGES && rank < (double)k ? (uint32_t)rank : 0;
}

/* Keys that are alike lie side by side: many of the K best may be in one page, which says nothing about the
 * others. So of each page only twice its share counts, and two more. */
static void visit_sample(struct louver_pass *pass, uint32_t n_own, uint32_t k) {
    const uint32_t n_sampled = (pass->n_pages + SAMPLE_STRIDE - 1 - SAMPLE_PAGE) / SAMPLE_STRIDE;
    const uint32_t rank = bar_rank(k, n_sampled);
    const uint32_t most = n_sampled > 0 ? 2 * rank / n_sampled + 2 : 0;
    for (uint32_t h = 0; h < pass->n_heads; h++)
        pass->heads[h].sample.k = rank;
    for (uint32_t i = 0; i < n_own; i++) {
        for (uint32_t h = 0; h < pass->n_heads; h++)
            pass->heads[h].sample_left = rank > 0 ? most : 0;
        visit_pages(pass, i, i + 1);
    }
    for (uint32_t h = 0; h < pass->n_heads; h++)
        pass->heads[h].sample_left = 0;
}

/* ---- What all members found ---- */

/* The K-th largest of what all members ranked, of a sample's lower bounds or of all. Every member finds
 * it for itself: that takes less than to wait until one has told the others. */
static double kth_of_all(const struct louver_pass *pass, uint32_t h, bool of_sample) {
    const struct louver_head_state *own = &pass->heads[h];
    struct louver_best all = {own->joined, 0, of_sample ? own->sample.k : own->best.k};
    if (pass->team.n == 1 || all.k == 0) /* no bar: others may not even have joined */
        return kth(of_sample ? &own->sample : &own->best);
    for (uint32_t i = 0; i < pass->team.n; i++) {
        const struct louver_head_state *head = &louver_member(pass, i)->heads[h];
        const struct louver_best *part = of_sample ? &head->sample : &head->best;
        for (uint32_t j = 0; j < part->n; j++)
            note(&all, part->heap[j]);
    }
    return kth(&all);
}

/* No member ranks its sample any further. */
static void raise_to_bar(struct louver_pass *pass) {
    if (pass->heads[0].sample.k > 0) /* that is of all heads and members */
        louver_meet(pass);
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        struct louver_head_state *head = &pass->heads[h];
        head->threshold = fmax(head->threshold, kth_of_all(pass, h, true));
        head->sample.k = 0;
    }
}

static void find_proven(struct louver_pass *pass, double *proven) {
    louver_meet(pass);
    for (uint32_t h = 0; h < pass->n_heads; h++)
        proven[h] = kth_of_all(pass, h, false);
}

/* ---- All of it ---- */

/* Heads whose bar was too high start anew. Members agree on which these are: what a member found by itself
 * never is above what all found. */
static void repeat_failed(struct louver_pass *pass, double *proven) {
    pass->closed = 0;
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        struct louver_head_state *head = &pass->heads[h];
        if (proven[h] >= head->threshold) {
            pass->closed |= UINT64_C(1) << h;
            continue;
        }
        head->threshold = proven[h];
    }
    if (pass->closed != louver_all_keys(pass->n_heads)) {
        louver_meet(pass); /* all have read what is counted anew */
        for (uint32_t h = 0; h < pass->n_heads; h++)
            if ((pass->closed >> h & 1) == 0)
                pass->heads[h].best.n = 0;
        visit_pages(pass, 0, pass->end - pass->begin);
        find_proven(pass, proven);
    }
    pass->closed = 0;
}

/* Leaves out what was taken before the threshold rose. */
static void drop_risen(const struct louver_pass *pass, struct louver_head_state *head) {
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        for (uint64_t left = head->masks[p]; left != 0; left &= left - 1) {
            const uint32_t j = (uint32_t)__builtin_ctzll(left);
            if (head->uppers[p * RSR_PAGE_TOKENS + j] < head->threshold)
                head->masks[p] &= ~(UINT64_C(1) << j);
        }
    }
}

/* Leaves out all but the K keys of all pages with the largest upper bounds, and of those that tie with
 * the last the first ones. A NaN is kept, if there is room. */
static void drop_ties(const struct louver_pass *pass, struct louver_head_state *head, uint32_t k) {
    uint32_t n_kept = 0, n_above = 0;
    head->best.n = 0;
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        for (uint64_t left = head->masks[p]; left != 0; left &= left - 1, n_kept++) {
            double *upper = &head->uppers[p * RSR_PAGE_TOKENS + (uint32_t)__builtin_ctzll(left)];
            *upper = isnan(*upper) ? INFINITY : *upper;
            note(&head->best, *upper);
        }
    }
    if (n_kept <= k)
        return;
    const double last = kth(&head->best);
    for (uint32_t i = 0; i < k; i++)
        n_above += head->best.heap[i] > last;
    for (uint32_t p = 0, n_ties = k - n_above; p < pass->n_pages; p++) {
        for (uint64_t left = head->masks[p]; left != 0; left &= left - 1) {
            const uint32_t j = (uint32_t)__builtin_ctzll(left);
            const double upper = head->uppers[p * RSR_PAGE_TOKENS + j];
            if (upper < last || (upper == last && n_ties == 0))
                head->masks[p] &= ~(UINT64_C(1) << j);
            else
                n_ties -= upper == last;
        }
    }
    head->threshold = rsr_round_up(last);
}

void louver_run_topk(struct louver_pass *pass) {
    const uint32_t k = louver_best_keys(pass);
    double proven[LOUVER_MAX_HEADS];
    louver_find_frames(pass);
    const uint32_t n_sampled = order_pages(pass, k);
    for (uint32_t h = 0; h < pass->n_heads; h++)
        pass->heads[h].best.k = k;
    visit_sample(pass, n_sampled, k);
    raise_to_bar(pass);
    visit_pages(pass, n_sampled, pass->end - pass->begin);
    find_proven(pass, proven);
    repeat_failed(pass, proven);
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        pass->heads[h].threshold = proven[h];
        drop_risen(pass, &pass->heads[h]);
    }
    if (pass->threshold.kind == RSR_LOUVER_BUDGET) {
        louver_meet(pass);
        for (uint32_t h = 0; h < pass->n_heads; h++)
            if (louver_has_head(pass, h))
                drop_ties(pass, &pass->first->heads[h], k);
        louver_meet(pass);
    }
}
