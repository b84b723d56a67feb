/* louver_spend.c - leaves out the keys with the lowest bounds of their weights, while together they
 * stay within a budget.
 *
 * A histogram orders keys by x; within a bin there is no order. Every key of a bin counts with the
 * weight of the bin's upper edge, so that weights are computed for bins, not for keys.
 */
#include <math.h>

#include "louver_mass.h"
#include "sketch/sketch_round.h"

/* A test compiles this file with the lower edges of bins, and must see false certificates. */
#ifndef RSR_LOUVER_OMIT
#define RSR_LOUVER_OMIT 0
#endif
#define UPPER_EDGE (RSR_LOUVER_OMIT == 5 ? 0u : 1u)

#define LOG_PAGE 4.16 /* a page counts as 64 keys at its bound; log 64 is less */

/* ---- The histogram ---- */

/* Upper bounds of exp(x) of numbers in 64 bins from `first` on. The subtraction in
 * louver_lanes.count rounds by less than 2^-19, as its result is below 2^6; twice this is added. */
static void weigh_bins(const struct rsr_ops *ops, float *weights, uint32_t first) {
    float edges[64];
    for (uint32_t i = 0; i < 64; i++)
        edges[i] =
            (LOUVER_LOWEST_X + 0x1p-18f) + (float)(first + i + UPPER_EDGE) / LOUVER_BINS_PER_UNIT;
    louver_exp_upper(ops, weights, edges, 64);
}

uint32_t louver_spend_bins(const struct rsr_ops *ops, const struct louver_bins *bins, double limit,
                           double *spent) {
    float weights[64];
    for (uint32_t bin = 0; bin < LOUVER_BINS - 1; bin++) {
        if (bin % 64 == 0)
            weigh_bins(ops, weights, bin);
        const double more = *spent + bins->counts[bin] * (double)weights[bin % 64];
        if (!(more <= limit))
            return bin;
        *spent = more;
    }
    return LOUVER_BINS - 1;
}

double louver_weigh_all(const struct rsr_ops *ops, const struct louver_bins *bins) {
    double all = 0.0;
    const uint32_t n = louver_spend_bins(ops, bins, INFINITY, &all);
    return bins->counts[n] == 0 ? all : INFINITY;
}

/* A number below the upper edge of bin n - 1, less what louver_lanes.count rounds, is counted in
 * one of the n bins. */
float louver_limit_of(uint32_t n) {
    return (LOUVER_LOWEST_X - 0x1p-18f) + (float)n / LOUVER_BINS_PER_UNIT;
}

/* ---- Spending ---- */

static uint32_t spend(const struct louver_pass *pass, struct louver_head_state *head,
                      const struct louver_bins *bins, double share) {
    const uint32_t n =
        louver_spend_bins(pass->setup->ops, bins, share * head->budget, &head->skipped);
    if (n > 0)
        head->cut =
            fmax(head->cut, (double)LOUVER_LOWEST_X + (double)n / (double)LOUVER_BINS_PER_UNIT);
    return n;
}

/* x of 64 pages from `first` on, as if each had one key of the weight that its bound allows all its
 * keys. Returns a mask of pages that may be left out. */
static uint64_t pages_x(const struct louver_pass *pass, const struct louver_head_state *head,
                        uint32_t first, float *x) {
    const double reference = rsr_round_down((double)head->reference - LOG_PAGE);
    uint64_t open = 0;
    for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i++) {
        const uint32_t page = first + i;
        x[i] = INFINITY;
        if (page >= pass->n_pages || louver_open_keys(head, page) == 0)
            continue;
        open |= UINT64_C(1) << i;
        x[i] = louver_weighted_up(
            head, page, louver_exponent_up(pass->setup, head->frames[page].bound, reference));
    }
    return open;
}

/* Pages are left out like keys, by their bounds. */
void louver_drop_pages(const struct louver_pass *pass, struct louver_head_state *head,
                       double share) {
    const struct louver_lanes *lanes = pass->setup->lanes;
    struct louver_bins bins = {{0}};
    const double reference = rsr_round_down((double)head->reference - LOG_PAGE);
    float x[RSR_PAGE_TOKENS];
    /* Usually not even the page with the lowest bound can be left out. */
    float least = louver_exponent_up(pass->setup, head->least_bound, reference);
    louver_exp_upper(pass->setup->ops, &least, &least, 1);
    if ((double)least > share * head->budget)
        return;
    for (uint32_t first = 0; first < pass->n_pages; first += RSR_PAGE_TOKENS) {
        const uint64_t open = pages_x(pass, head, first, x);
        lanes->count(&bins, x, open);
    }
    const uint32_t n_bins = spend(pass, head, &bins, share);
    const float limit = louver_limit_of(n_bins);
    for (uint32_t first = 0; n_bins > 0 && first < pass->n_pages; first += RSR_PAGE_TOKENS) {
        const uint64_t open = pages_x(pass, head, first, x);
        for (uint64_t out = open & lanes->below(x, limit); out != 0; out &= out - 1) {
            const uint32_t page = first + (uint32_t)__builtin_ctzll(out);
            head->masks[page] = head->given[page]; /* Z has these keys */
        }
    }
}

void louver_drop_keys(const struct louver_pass *pass, struct louver_head_state *head,
                      double share) {
    const struct louver_lanes *lanes = pass->setup->lanes;
    struct louver_bins bins = {{0}};
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        const uint64_t open = louver_open_keys(head, p);
        if (open != 0)
            lanes->count(&bins, head->x + (size_t)p * RSR_PAGE_TOKENS, open);
    }
    louver_lower_reach(pass, head, &bins);
    const uint32_t n_bins = spend(pass, head, &bins, share);
    const float limit = louver_limit_of(n_bins);
    for (uint32_t p = 0; n_bins > 0 && p < pass->n_pages; p++) {
        const uint64_t open = louver_open_keys(head, p);
        if (open != 0)
            head->masks[p] &= ~(open & lanes->below(head->x + (size_t)p * RSR_PAGE_TOKENS, limit));
    }
}
