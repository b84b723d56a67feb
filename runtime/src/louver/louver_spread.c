/* louver_spread.c - the rule error: keys are left out while the output changes by at most EPS times
 * the spread of the values, which is the root of the mean of |v - mean of v|^2.
 *
 * Let w be the weights of louver_mass.c, G the keys of Z, A all keys that stay, S those left out,
 * and z(A) and z(S) the sums of their w. Attention over A is o = sum w v / z(A). Attention over all
 * keys differs from it by
 *
 *     sum over S of w (v - o) / (z(A) + z(S)).
 *
 * For any c, |v - o| <= |v - c| + |o - c|. Let omega of a page be at least |v - c| / spread for its
 * values, and E an upper bound of the sum over S of w omega. Let no omega be below `least`. Then
 * z(S) <= E / least, and with z(A) >= Z the difference is at most
 *
 *     spread E / Z (1 + |o - c| / (spread least)).                                             (1)
 *
 * So the rule spends the budget of the rule mass, with log omega in every x, times the allowance
 * 1 / (1 + reach / (spread least)). `reach` is at least |o - c| whatever A will be, if it has G:
 *
 *   - o is a mean of values, so |o - c| is at most the largest |v - c| of all values.
 *   - Let g be |o(G) - c|, with o(G) the attention over G, and E(R) an upper bound of the sum of w
 *     omega over all keys outside G. Then o - o(G) is the sum of w (v - o(G)) over A without G,
 *     divided by z(A). Each |v - o(G)| is at most spread omega + g. So |o - c| <= g + E(R) / Z
 *     (spread + g / least).
 *
 * When o is known, (1) with it certifies the error; with `reach` it is at most EPS spread.
 *
 * Sealing a page computes a centre near the mean of its values, a radius around the centre, and
 * the sum of squares around the mean. c is the mean of the pages' centres. omega comes from
 * |v - c| <= radius + |centre - c|.
 */
#include <math.h>
#include <string.h>

#include "louver_mass.h"
#include "sketch/sketch_round.h"

/* A test compiles this file without one term, and must see false certificates: 6, radii; 7, the
 * distance of o and c. */
#ifndef RSR_LOUVER_OMIT
#define RSR_LOUVER_OMIT 0
#endif

/* No omega is smaller, because (1) divides by the smallest. */
#define LEAST_OMEGA 0.25

/* The reach that trials expect, as a part of the spread. */
#define LIKELY_REACH 0.5

/* ---- Sealing ---- */

uint32_t louver_centre_bytes(const struct louver_setup *setup) {
    if (!setup->has_centres)
        return 0;
    return (uint32_t)(setup->row_floats * sizeof(uint16_t) + 63u) & ~63u;
}

static uint16_t *centre_of(const struct louver_setup *setup, const struct louver_sidecar *sidecar) {
    char *at = (char *)(uintptr_t)sidecar + LOUVER_SKETCH_AT + setup->shape.block_bytes;
    return (uint16_t *)(void *)at;
}

static double widen(uint16_t bfloat16) {
    const uint32_t bits = (uint32_t)bfloat16 << 16;
    float wide;
    memcpy(&wide, &bits, sizeof(wide));
    return (double)wide;
}

/* Of a finite number whose float32 is finite; rounds towards 0. */
static uint16_t narrow(double x) {
    const float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return (uint16_t)(bits >> 16);
}

/* The sum of (x - c)^2. Of elements that are float32 or their means, no square underflows. */
static double squared_distance(const float *x, const double *c, uint32_t n) {
    double sums[8] = {0.0}, sum = 0.0;
    uint32_t d = 0;
    for (; d + 8 <= n; d += 8)
        for (uint32_t i = 0; i < 8; i++)
            sums[i] += ((double)x[d + i] - c[d + i]) * ((double)x[d + i] - c[d + i]);
    for (; d < n; d++)
        sum += ((double)x[d] - c[d]) * ((double)x[d] - c[d]);
    for (uint32_t i = 0; i < 8; i++)
        sum += sums[i];
    return sum;
}

static double length(const double *x, uint32_t n) {
    double sum = 0.0;
    for (uint32_t d = 0; d < n; d++)
        sum += x[d] * x[d];
    return sqrt(sum);
}

/* The computed mean is off by less than 2^-46 V. V is the largest norm, at most radius + |centre|.
 * Each element is off by 63 2^-53 of a mean of |v[d]|. Squares around the centre exceed those
 * around the true mean by 64 off^2. */
void louver_seal_values(const struct louver_setup *setup, struct louver_sidecar *sidecar,
                        const float *rows, struct louver_norms *norms) {
    uint16_t *stored = centre_of(setup, sidecar);
    double mean[LOUVER_MAX_DIM] = {0.0}, centre[LOUVER_MAX_DIM];
    double squares = 0.0, farthest = 0.0, off = 0.0;
    for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j++)
        for (uint32_t d = 0; d < setup->head_dim; d++)
            mean[d] += (double)rows[(size_t)j * setup->row_floats + d];
    for (uint32_t d = 0; d < setup->head_dim; d++) {
        mean[d] /= RSR_PAGE_TOKENS;
        stored[d] = narrow(mean[d]);
        centre[d] = widen(stored[d]);
        off += (centre[d] - mean[d]) * (centre[d] - mean[d]);
    }
    for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j++) {
        const float *row = rows + (size_t)j * setup->row_floats;
        const double away = squared_distance(row, centre, setup->head_dim);
        squares += away;
        farthest = away > farthest ? away : farthest;
    }
    norms->radius = rsr_sum_up(sqrt(farthest));
    const double value = norms->radius + length(centre, setup->head_dim);
    norms->off = rsr_sum_up(sqrt(off)) + value * 0x1p-45;
    const double least =
        squares * (1.0 - 0x1p-36) - RSR_PAGE_TOKENS * norms->off * norms->off * (1.0 + 0x1p-36);
    norms->square = least > 0.0 ? least : 0.0;
}

/* ---- Logarithms ---- */

/* An upper bound of log r, 0.25 <= r, that is the same on every machine; less than 0.001 above it.
 * r = m 2^e with 1 <= m < 2, and log m = 2 log(1 + t). t (6 + t) / (6 + 4 t) >= log(1 + t), because
 * both are 0 at t = 0 and its derivative exceeds that of the logarithm by t^3 / ((3 + 2 t)^2 (1 +
 * t)). Roundings, that of log 2 included, are below 2^-40. */
static double log_up(double r) {
    uint64_t bits;
    memcpy(&bits, &r, sizeof(bits));
    const int e = (int)(bits >> 52) - 1023;
    bits = (bits & UINT64_C(0xfffffffffffff)) | UINT64_C(1023) << 52;
    double m;
    memcpy(&m, &bits, sizeof(m));
    const double t = rsr_round_up(sqrt(m)) - 1.0;
    return e * 0.6931471805599453 + 2.0 * t * (6.0 + t) / (6.0 + 4.0 * t) + 0x1p-40;
}

/* ---- All values of a pass ---- */

static const struct louver_sidecar *sealed(const struct louver_pass *pass, uint32_t page) {
    return pass->pages[page].sidecar;
}

static void page_centre(const struct louver_pass *pass, uint32_t page, double *centre) {
    const uint16_t *stored = centre_of(pass->setup, sealed(pass, page));
    for (uint32_t d = 0; d < pass->setup->head_dim; d++)
        centre[d] = widen(stored[d]);
}

/* The distance of two vectors of doubles, within a relative error of 2^-36. */
static double distance(const double *a, const double *b, uint32_t n) {
    double sum = 0.0;
    for (uint32_t d = 0; d < n; d++)
        sum += (a[d] - b[d]) * (a[d] - b[d]);
    return sqrt(sum);
}

/* c is the mean of the pages' centres. Returns an upper bound of |c - mean of the sealed values|:
 * that of |centre - mean| of a page, and a mean of up to 2^25 doubles. */
static double find_centre(const struct louver_pass *pass, double *centre) {
    const uint32_t head_dim = pass->setup->head_dim;
    double off = 0.0, value = 0.0, one[LOUVER_MAX_DIM];
    uint32_t n = 0;
    memset(centre, 0, head_dim * sizeof(*centre));
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        if (sealed(pass, p) == NULL)
            continue;
        page_centre(pass, p, one);
        for (uint32_t d = 0; d < head_dim; d++)
            centre[d] += one[d];
        off = fmax(off, pass->norms[p].off);
        value = fmax(value, length(one, head_dim));
        n++;
    }
    for (uint32_t d = 0; n > 0 && d < head_dim; d++)
        centre[d] /= n;
    return rsr_sum_up(off + value * 0x1p-26);
}

/* The largest |v - c| of a page; noted in weights[page] until the spread is known. Adds a lower
 * bound of the page's sum of |v - mean of all|^2: its squares around its own mean, and 64 times the
 * square of the distance of the means. */
static double measure_page(const struct louver_pass *pass, struct louver_spread *spread,
                           uint32_t page, double off, double *squares) {
    const struct louver_norms *norms = &pass->norms[page];
    double centre[LOUVER_MAX_DIM];
    page_centre(pass, page, centre);
    const double away = distance(centre, spread->centre, pass->setup->head_dim);
    const double apart = away * (1.0 - 0x1p-36) - norms->off - off;
    *squares += norms->square + (apart > 0.0 ? RSR_PAGE_TOKENS * apart * apart : 0.0);
    return rsr_sum_up((RSR_LOUVER_OMIT == 6 ? 0.0 : norms->radius) + rsr_sum_up(away));
}

/* The largest |v - c| of the values of a page without a sidecar; NaN if one is. */
static double measure_rows(const struct louver_pass *pass, const double *centre, uint32_t page) {
    const struct louver_page *view = &pass->pages[page];
    double largest = 0.0;
    for (uint32_t j = 0; j < view->n_keys; j++) {
        float buffer[LOUVER_MAX_DIM];
        const float *row = louver_row(pass->setup, view->rows.values, j, buffer);
        largest =
            louver_larger(sqrt(squared_distance(row, centre, pass->setup->head_dim)), largest);
    }
    return rsr_sum_up(largest);
}

/* A float32 that is at least |v - c| of the page becomes its weight. */
static void weigh_page(struct louver_spread *spread, uint32_t page) {
    const double ratio = rsr_round_up((double)spread->weights[page] / spread->spread);
    const double omega = ratio > LEAST_OMEGA ? ratio : LEAST_OMEGA;
    spread->weights[page] = isfinite(omega) ? rsr_float_up(log_up(omega)) : INFINITY;
    spread->least = fmin(spread->least, omega);
    spread->least_weight = fminf(spread->least_weight, spread->weights[page]);
}

/* Without a spread no weight is finite, and no key is left out. */
static void weigh_pages(const struct louver_pass *pass, struct louver_spread *spread) {
    spread->least = INFINITY;
    spread->least_weight = INFINITY;
    for (uint32_t p = 0; p < pass->n_pages; p++)
        if (sealed(pass, p) != NULL)
            weigh_page(spread, p);
}

void louver_find_spread(struct louver_pass *pass) {
    struct louver_spread *spread = &pass->spread;
    double squares = 0.0;
    if (pass->threshold.kind != RSR_LOUVER_ERROR)
        return;
    const double off = find_centre(pass, spread->centre);
    spread->farthest = 0.0;
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        const bool is_sealed = sealed(pass, p) != NULL;
        const double away = is_sealed ? measure_page(pass, spread, p, off, &squares)
                                      : measure_rows(pass, spread->centre, p);
        spread->weights[p] = rsr_float_up(away);
        spread->farthest = louver_larger(away, spread->farthest);
    }
    /* Sums of up to 2^25 terms: 2^-27. */
    spread->spread = sqrt(squares / pass->n_keys) * (1.0 - 0x1p-20);
    weigh_pages(pass, spread);
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        pass->heads[h].weights = spread->weights;
        pass->heads[h].given_reach = pass->heads[h].reach = spread->farthest;
    }
}

float louver_weighted_up(const struct louver_head_state *head, uint32_t page, float x) {
    if (head->weights == NULL)
        return x;
    return rsr_float_up(rsr_round_up((double)x + (double)head->weights[page]));
}

/* ---- The allowance ---- */

static double allowance(const struct louver_spread *spread, double reach) {
    return 1.0 / (1.0 + reach / (spread->spread * spread->least));
}

double louver_allowance(const struct louver_pass *pass, const struct louver_head_state *head) {
    return head->weights == NULL ? 1.0 : allowance(&pass->first->spread, head->reach);
}

double louver_likely_allowance(const struct louver_pass *pass) {
    const struct louver_spread *spread = &pass->first->spread;
    if (pass->threshold.kind != RSR_LOUVER_ERROR)
        return 1.0;
    return allowance(spread, fmin(LIKELY_REACH * spread->spread, spread->farthest));
}

/* Sums of w and of w (v - c) over keys of G. */
struct given_sums {
    double weight, values[LOUVER_MAX_DIM];
    double error; /* of scores, largest */
};

static void add_given(const struct louver_pass *pass, const struct louver_head_state *head,
                      uint32_t page, struct given_sums *sums) {
    const struct louver_setup *setup = pass->setup;
    const double *centre = pass->first->spread.centre;
    float z[RSR_PAGE_TOKENS], w[RSR_PAGE_TOKENS] = {0.0f}, buffer[LOUVER_MAX_DIM];
    louver_scores(setup, &pass->pages[page], head->q, head->given[page], z);
    for (uint64_t left = head->given[page]; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        w[j] = z[j] - head->reference;
    }
    setup->ops->exp(w, w, RSR_PAGE_TOKENS);
    for (uint64_t left = head->given[page]; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        const float *row = louver_row(setup, pass->pages[page].rows.values, j, buffer);
        sums->weight += (double)w[j];
        for (uint32_t d = 0; d < setup->head_dim; d++)
            sums->values[d] += (double)w[j] * ((double)row[d] - centre[d]);
    }
    sums->error = louver_larger(louver_score_error(setup, head->sketch.norm, pass->norms[page].key),
                                sums->error);
}

/* Weights with relative errors of up to `error` < 1/4 move a mean of vectors of at most `farthest`
 * by less than 3 error farthest. */
static double moved(double error, double farthest) {
    return error < 0.25 ? 3.0 * error * farthest : INFINITY;
}

/* A weight's exponent is off by the score's error, below 1/4, and by a rounding of 2^-17; its exp
 * by 2^-22, and where it is denormal by less than 2^-120 of the largest, which is 1. */
void louver_reach_given(const struct louver_pass *pass, struct louver_head_state *head) {
    const double farthest = pass->first->spread.farthest;
    struct given_sums sums = {.weight = 0.0};
    double squares = 0.0;
    if (head->weights == NULL)
        return;
    for (uint32_t p = 0; pass->setup->disk != NULL && p < pass->n_pages; p++)
        louver_want_mask(pass->setup, pass->pages[p].rows.values, head->given[p]);
    for (uint32_t p = 0; p < pass->n_pages; p++)
        if (head->given[p] != 0)
            add_given(pass, head, p, &sums);
    for (uint32_t d = 0; d < pass->setup->head_dim; d++)
        squares += sums.values[d] * sums.values[d];
    const double reach =
        rsr_sum_up(sqrt(squares) / sums.weight + moved(2.0 * sums.error + 0x1p-16, farthest));
    head->given_reach = reach < farthest ? reach : farthest;
}

void louver_lower_reach(const struct louver_pass *pass, struct louver_head_state *head,
                        const struct louver_bins *bins) {
    const struct louver_spread *spread = &pass->first->spread;
    if (head->weights == NULL)
        return;
    const double rest = head->skipped + louver_weigh_all(pass->setup->ops, bins);
    const double g = head->given_reach;
    const double reach =
        (g + rest / head->attended * (spread->spread + g / spread->least)) * (1.0 + 0x1p-20);
    head->reach = reach < head->reach ? reach : head->reach;
    louver_set_budget(pass, head);
}

/* ---- The certificate ---- */

double louver_spread_error(const struct louver_pass *pass, const struct louver_head_state *head,
                           const float *out, double attended, double rounding) {
    const struct louver_spread *spread = &pass->spread;
    const uint32_t head_dim = pass->setup->head_dim;
    double reach = rsr_sum_up(sqrt(squared_distance(out, spread->centre, head_dim)) +
                              moved(rounding, spread->farthest));
    reach = RSR_LOUVER_OMIT == 7 ? 0.0 : reach < head->reach ? reach : head->reach;
    return spread->spread * (head->skipped / attended) *
           (1.0 + reach / (spread->spread * spread->least)) * (1.0 + 0x1p-19);
}
