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

/* Finds the bins of the 64 numbers at x. */
static void find_bins(uint16_t *bin, const float *x) {
    for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i++) {
        float at = (x[i] - LOUVER_LOWEST_X) * LOUVER_BINS_PER_UNIT;
        at = at < (float)(LOUVER_BINS - 1) ? at : (float)(LOUVER_BINS - 1);
        at = at > 0.0f ? at : 0.0f;
        bin[i] = (uint16_t)(int32_t)at;
    }
}

void louver_count_bins(struct louver_bins *bins, const float *x, uint64_t mask) {
    uint16_t bin[RSR_PAGE_TOKENS];
    find_bins(bin, x);
    for (uint32_t i = 0; mask == UINT64_MAX && i < RSR_PAGE_TOKENS; i++)
        bins->counts[bin[i]]++;
    for (uint64_t left = mask == UINT64_MAX ? 0 : mask; left != 0; left &= left - 1)
        bins->counts[bin[__builtin_ctzll(left)]]++;
}

/* Upper bounds of exp(x) of numbers in 64 bins from `first` on. The subtraction in find_bins rounds
 * by less than 2^-19, as its result is below 2^6; twice this is added. */
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

/* A number below the edge of bin n - 1, less what find_bins rounds, is counted in one of the n
 * bins. The comparisons become bytes, and 8 bytes at a time become bits. */
uint64_t louver_in_bins(const float *x, uint32_t n) {
    const float limit = (LOUVER_LOWEST_X - 0x1p-18f) + (float)n / LOUVER_BINS_PER_UNIT;
    uint8_t below[RSR_PAGE_TOKENS];
    uint64_t mask = 0;
    for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i++)
        below[i] = x[i] < limit;
    for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i += 8) {
        uint64_t bytes = 0;
        for (uint32_t j = 0; j < 8; j++)
            bytes |= (uint64_t)below[i + j] << (8 * j);
        mask |= (bytes * UINT64_C(0x0102040810204080) >> 56) << i;
    }
    return mask;
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
        x[i] = louver_exponent_up(pass->setup, head->frames[page].bound, reference);
    }
    return open;
}

/* Pages are left out like keys, by their bounds. */
void louver_drop_pages(const struct louver_pass *pass, struct louver_head_state *head,
                       double share) {
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
        louver_count_bins(&bins, x, open);
    }
    const uint32_t n_bins = spend(pass, head, &bins, share);
    for (uint32_t first = 0; n_bins > 0 && first < pass->n_pages; first += RSR_PAGE_TOKENS) {
        const uint64_t open = pages_x(pass, head, first, x);
        for (uint64_t out = open & louver_in_bins(x, n_bins); out != 0; out &= out - 1) {
            const uint32_t page = first + (uint32_t)__builtin_ctzll(out);
            head->masks[page] = head->given[page]; /* Z has these keys */
        }
    }
}

void louver_drop_keys(const struct louver_pass *pass, struct louver_head_state *head,
                      double share) {
    struct louver_bins bins = {{0}};
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        const uint64_t open = louver_open_keys(head, p);
        if (open != 0)
            louver_count_bins(&bins, head->x + (size_t)p * RSR_PAGE_TOKENS, open);
    }
    const uint32_t n_bins = spend(pass, head, &bins, share);
    for (uint32_t p = 0; n_bins > 0 && p < pass->n_pages; p++) {
        const uint64_t open = louver_open_keys(head, p);
        if (open != 0)
            head->masks[p] &=
                ~(open & louver_in_bins(head->x + (size_t)p * RSR_PAGE_TOKENS, n_bins));
    }
}
