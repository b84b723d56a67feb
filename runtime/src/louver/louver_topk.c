/* louver_topk.c - the K best keys of each head.
 *
 * T is the K-th largest lower bound of all keys, in whatever order they are visited. But the sooner
 * a high bar is known, the fewer keys need more than the first plane. The K-th largest lower bound
 * so far never exceeds T, so it is a valid bar while more keys are visited. A sample gives a higher
 * bar at the start. In every 16th page about K / 16 of the K best keys are expected, so a product a
 * little further down the sample's ranking is probably below T. The first plane ranks the sample,
 * and the products of its top keys are computed; the smallest of them becomes the bar, without
 * proof.
 *
 * Each member of a team visits its own pages; after the sample all members have a common bar.
 *
 * If fewer than K keys of a head reach its bar, the head visits all pages again, with the bar that
 * its K best keys prove.
 */
#include <math.h>

#include "louver.h"
#include "sketch/sketch_round.h"

#define SAMPLE_STRIDE 16u
#define SAMPLE_PAGE 7u
/* A sample of fewer pages is too small. */
#define LEAST_SAMPLE_PAGES 2u
/* Heads that are ranked at once: `bounds` shares its reads among this many queries. */
#define RANKED_HEADS 4u

/* ---- The K best, the smallest first ---- */

static void swap(const struct louver_best *best, uint32_t a, uint32_t b) {
    const double x = best->heap[a];
    best->heap[a] = best->heap[b];
    best->heap[b] = x;
    if (best->keys != NULL) {
        const uint32_t key = best->keys[a];
        best->keys[a] = best->keys[b];
        best->keys[b] = key;
    }
}

static void sink(const struct louver_best *best, uint32_t at) {
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < best->n && best->heap[child + 1] < best->heap[child])
            child++;
        if (child >= best->n || best->heap[at] <= best->heap[child])
            return;
        swap(best, at, child);
        at = child;
    }
}

static void raise_last(const struct louver_best *best) {
    for (uint32_t at = best->n - 1; at > 0 && best->heap[at] < best->heap[(at - 1) / 2];
         at = (at - 1) / 2)
        swap(best, at, (at - 1) / 2);
}

static void note_key(struct louver_best *best, double x, uint32_t key) {
    x = x > -INFINITY ? x : -INFINITY; /* a NaN would break the order */
    const bool grows = best->n < best->k;
    if (!grows && !(best->k > 0 && x > best->heap[0]))
        return;
    const uint32_t at = grows ? best->n++ : 0;
    best->heap[at] = x;
    if (best->keys != NULL)
        best->keys[at] = key;
    if (grows)
        raise_last(best);
    else
        sink(best, 0);
}

static void note(struct louver_best *best, double x) {
    note_key(best, x, 0);
}

static double kth(const struct louver_best *best) {
    return best->k > 0 && best->n == best->k ? best->heap[0] : -INFINITY;
}

void louver_sort_descending(double *x, uint32_t n) {
    struct louver_best all = {.heap = x, .n = n};
    for (uint32_t at = n / 2; at-- > 0;)
        sink(&all, at);
    for (; all.n > 1; sink(&all, 0)) /* move the smallest to the end */
        swap(&all, 0, --all.n);
}

void louver_note_lower(struct louver_head_state *head, double lower) {
    note(&head->best, lower);
    head->threshold = fmax(head->threshold, kth(&head->best));
}

uint32_t louver_best_keys(const struct louver_pass *pass) {
    if (pass->threshold.kind == RSR_LOUVER_TOPK)
        return pass->threshold.k;
    const uint32_t k = (uint32_t)(pass->threshold.value * pass->n_keys);
    return k > 0 ? k : 1;
}

/* ---- The sample ---- */

static bool is_sampled(uint32_t page) {
    return page % SAMPLE_STRIDE == SAMPLE_PAGE;
}

/* The rank in the sample that gives the bar. K / 16 of the K best keys are expected in the sample;
 * with randomly chosen pages, at most three standard deviations more, except once in a thousand
 * times. 0: no bar, because the sample would need K keys or more. */
static uint32_t bar_rank(uint32_t k, uint32_t n_pages) {
    const double expected = (double)k / SAMPLE_STRIDE;
    const double rank = ceil(expected + 3.0 * sqrt(expected) + 1.0);
    return n_pages >= LEAST_SAMPLE_PAGES && rank < (double)k ? (uint32_t)rank : 0;
}

/* Notes the n largest of a page's estimates, which it overwrites; an estimate counts in `unit`,
 * from `base` on. */
static void rank_estimates(const struct rsr_ops *ops, struct louver_best *sample, float *estimates,
                           uint32_t n, double base, double unit, uint32_t first_key) {
    for (uint32_t i = 0; i < n; i++) {
        const float largest = ops->largest_score(estimates);
        const double estimate = base + unit * (double)largest;
        if (sample->n == sample->k && !(estimate > sample->heap[0]))
            return;
        for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j++) {
            if (estimates[j] == largest) {
                note_key(sample, estimate, first_key + j);
                estimates[j] = -INFINITY;
                break;
            }
        }
    }
}

/* The frame's offset exceeds q . mu by nearly the same amount in every page. */
static void rank_page(struct louver_pass *pass, uint32_t p, const struct louver_page *next,
                      uint32_t most) {
    const struct louver_setup *setup = pass->setup;
    const void *sketch = louver_sketch(&pass->pages[p]);
    const void *ahead = next != NULL && next->sidecar != NULL ? louver_sketch(next) : NULL;
    struct rsr_sketch_frame frames[LOUVER_MAX_HEADS];
    const struct rsr_sketch_query *const *queries = louver_queries_of(pass, &pass->pages[p]);
    louver_frames_of(pass, p, frames);
    for (uint32_t first = 0, n; first < pass->n_heads; first += n) {
        float t[RANKED_HEADS][RSR_PAGE_TOKENS], estimates[RANKED_HEADS][RSR_PAGE_TOKENS];
        n = pass->n_heads - first < RANKED_HEADS ? pass->n_heads - first : RANKED_HEADS;
        setup->kernel->bounds(&setup->shape, sketch, queries + first, n, t[0], estimates[0],
                              RSR_PAGE_TOKENS, first == 0 ? ahead : NULL);
        for (uint32_t h = 0; h < n; h++)
            rank_estimates(setup->ops, &pass->heads[first + h].sample, estimates[h], most,
                           frames[first + h].offset[0], frames[first + h].unit,
                           p * RSR_PAGE_TOKENS);
    }
}

/* Replaces estimates by lower bounds of the products. */
static void score_sample(const struct louver_pass *pass, struct louver_head_state *head) {
    struct louver_best *sample = &head->sample;
    struct louver_best scored = {.heap = sample->heap, .k = sample->k};
    for (uint32_t i = 0; i < sample->n; i++)
        louver_fetch_row(pass->setup, pass->pages[sample->keys[i] / RSR_PAGE_TOKENS].rows.keys,
                         sample->keys[i] % RSR_PAGE_TOKENS);
    for (uint32_t i = 0; i < sample->n; i++) {
        const uint32_t page = sample->keys[i] / RSR_PAGE_TOKENS;
        note(&scored, louver_exact_product(pass->setup, head->q, &pass->pages[page],
                                           sample->keys[i] % RSR_PAGE_TOKENS)
                          .lower);
    }
    *sample = scored;
}

/* Similar keys are often neighbours, so many of the K best may be in one page. Such a page does not
 * represent the others. So each page contributes at most twice its share plus two keys. */
static void rank_sample(struct louver_pass *pass, uint32_t k) {
    const uint32_t n_sampled = (pass->n_pages + SAMPLE_STRIDE - 1 - SAMPLE_PAGE) / SAMPLE_STRIDE;
    const uint32_t rank = bar_rank(k, n_sampled);
    const uint32_t most = n_sampled > 0 ? 2 * rank / n_sampled + 2 : 0;
    for (uint32_t h = 0; h < pass->n_heads; h++)
        pass->heads[h].sample.k = rank;
    for (uint32_t p = pass->begin; rank > 0 && p < pass->end; p++)
        if (is_sampled(p) && louver_open_sidecar(pass, p))
            rank_page(pass, p,
                      p + SAMPLE_STRIDE < pass->end ? &pass->pages[p + SAMPLE_STRIDE] : NULL,
                      most < RSR_PAGE_TOKENS ? most : RSR_PAGE_TOKENS);
    for (uint32_t h = 0; h < pass->n_heads; h++)
        score_sample(pass, &pass->heads[h]);
}

/* Visits the member's pages. */
static void visit_pages(struct louver_pass *pass) {
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        (void)louver_open_sidecar(pass, p);
        louver_visit_page(pass, p, p + 1 < pass->end ? &pass->pages[p + 1] : NULL);
    }
    louver_end_visits(pass);
}

/* ---- What all members found ---- */

/* The K-th largest of the lower bounds that all members ranked, for the sample or for all keys.
 * Every member computes it, which is faster than waiting for one member. */
static double kth_of_all(const struct louver_pass *pass, uint32_t h, bool of_sample) {
    const struct louver_head_state *own = &pass->heads[h];
    struct louver_best all = {.heap = own->joined, .k = of_sample ? own->sample.k : own->best.k};
    if (pass->team.n == 1 || all.k == 0) /* no bar: other members may not have joined yet */
        return kth(of_sample ? &own->sample : &own->best);
    for (uint32_t i = 0; i < pass->team.n; i++) {
        const struct louver_head_state *head = &louver_member(pass, i)->heads[h];
        const struct louver_best *part = of_sample ? &head->sample : &head->best;
        for (uint32_t j = 0; j < part->n; j++)
            note(&all, part->heap[j]);
    }
    return kth(&all);
}

static void raise_to_bar(struct louver_pass *pass) {
    if (pass->heads[0].sample.k > 0) /* equal for all heads and members */
        louver_meet(pass);
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        struct louver_head_state *head = &pass->heads[h];
        head->threshold = fmax(head->threshold, kth_of_all(pass, h, true));
    }
}

static void find_proven(struct louver_pass *pass, double *proven) {
    louver_meet(pass);
    for (uint32_t h = 0; h < pass->n_heads; h++)
        proven[h] = kth_of_all(pass, h, false);
}

/* ---- All of it ---- */

/* Heads whose bar was too high start again. All members agree on these heads, because a bar from
 * one member's keys never exceeds the bar from all keys. */
static void repeat_failed(struct louver_pass *pass, double *proven) {
    pass->closed = 0;
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        struct louver_head_state *head = &pass->heads[h];
        if (proven[h] >= head->threshold)
            pass->closed |= UINT64_C(1) << h;
        head->threshold = proven[h];
    }
    if (pass->closed != louver_all_keys(pass->n_heads)) {
        louver_meet(pass); /* all have read the counts that are reset now */
        for (uint32_t h = 0; h < pass->n_heads; h++)
            if ((pass->closed >> h & 1) == 0)
                pass->heads[h].best.n = 0;
        visit_pages(pass);
        find_proven(pass, proven);
    }
    pass->closed = 0;
}

/* Leaves out keys that were taken before the threshold rose above them. */
static void drop_risen(const struct louver_pass *pass, struct louver_head_state *head) {
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        for (uint64_t left = head->masks[p]; left != 0; left &= left - 1) {
            const uint32_t j = (uint32_t)__builtin_ctzll(left);
            if (head->uppers[p * RSR_PAGE_TOKENS + j] < head->threshold)
                head->masks[p] &= ~(UINT64_C(1) << j);
        }
    }
}

/* Keeps the K keys with the largest upper bounds of all pages and leaves out the others. Of keys
 * that tie with the K-th, the first ones are kept. A NaN is kept if there is room. */
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
    for (uint32_t h = 0; h < pass->n_heads; h++)
        pass->heads[h].best.k = k;
    rank_sample(pass, k);
    raise_to_bar(pass);
    visit_pages(pass);
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
