/* head_nucleus.c - decides which row top-p and min-p choose, from some of the logits and bounds of
 * the others.
 *
 * Rows are in order of decreasing logits, lower numbers first. A row has the weight e^((logit -
 * largest logit) / temperature); Z is the sum of all weights. The filters of sample.c keep the
 * first row, and every row whose weight is at least min_p and whose preceding weights sum up to
 * less than top_p Z. The kept rows are a prefix of the order. Among them, the row with the best
 * score is chosen.
 *
 * All rows up to the one with the best score of all are listed, and some others. So the weights
 * before that row are known. Z is at least the sum of the listed weights, and at most this sum plus
 * bounds of the other weights. If these limits of Z prove that the row is kept, it is chosen. If
 * they prove that it is not kept, no later row is kept either, and the row with the best score
 * before it is tried next. Otherwise all logits are read.
 *
 * THEOREM. What is decided here is what sample.c decides from all logits.
 * PROOF. Weights of listed rows are the doubles that sample.c has, because the largest logit is
 * listed. A row that is not listed has a logit of at most `bound`: the smaller of its block's bound
 * and the threshold above which all rows are listed. Division, subtraction and the conversions
 * round monotonically, and rsr_exp_negative is within 2 ulp of an increasing function. So its value
 * for `bound`, times 1 + 2^-48, is at least the row's weight. The sum of n non-negative doubles in
 * any order has a relative error of at most n 2^-53; this holds for the sums of sample.c and for
 * those here. `rounding` exceeds both errors and the roundings of the products together. Before a
 * comparison, a sum is moved by `rounding` to the undecided side. min_p is compared as sample.c
 * compares it. QED
 */
#include <math.h>

#include "crew.h"
#include "head_sketch.h"

/* Tests compile this file with a term left out, and must see wrong choices. */
#ifndef RSR_NUCLEUS_OMIT
#define RSR_NUCLEUS_OMIT 0
#endif
enum { OMIT_TAIL = 1, OMIT_MIN_P };

/* Relative to the sum of the listed weights: even if all rows of a vocabulary had such weights,
 * they would add less than a thousandth. */
#define NEGLIGIBLE 0x1p-28

struct nucleus {
    const struct rsr_crew *crew;
    const struct rsr_head_scan *scan;
    const rsr_sampling *sampling;
    const struct rsr_head_row *rows; /* listed */
    uint32_t n;
    struct rsr_candidate top;
    double rounding;
    double least, most; /* Z; `most` is infinite until it is needed */
};

static struct rsr_candidate candidate_of(const struct nucleus *z, struct rsr_head_row row) {
    return (struct rsr_candidate){(double)row.value / (double)z->sampling->temperature, row.row};
}

static double weight_of(const struct nucleus *z, double logit) {
    return rsr_exp_negative(logit - z->top.logit);
}

/* The sum of the weights before a row; `end` NULL: of all rows. */
static double sum_before(const struct nucleus *z, const struct rsr_candidate *end) {
    double sum = 0.0;
    for (uint32_t i = 0; i < z->n; i++) {
        const struct rsr_candidate row = candidate_of(z, z->rows[i]);
        if (end == NULL || rsr_comes_before(&row, end))
            sum += weight_of(z, row.logit);
    }
    return sum;
}

/* An upper bound of the weight of a row that is not listed, if no logit of its block is above
 * `bound`. */
static double weight_bound(const struct nucleus *z, float bound) {
    return weight_of(z, fmin((double)bound, z->scan->threshold) / (double)z->sampling->temperature);
}

/* An upper bound of the sum of the weights of a block's rows that are not listed. It uses the
 * block's bound if that is negligible, otherwise the rows' own bounds. */
static double block_bound(const struct nucleus *z, uint32_t first, uint32_t end) {
    const struct rsr_head_scan *scan = z->scan;
    const uint32_t block = first / RSR_SKETCH_VECTORS;
    const double each = weight_bound(z, scan->block_bounds[block]);
    double sum = 0.0;
    for (uint32_t row = first; row < end; row++)
        if (!isnan(scan->keys[row]))
            sum += each < z->least * NEGLIGIBLE
                       ? each
                       : weight_bound(z, rsr_head_bound(scan, block, scan->keys[row]));
    return sum;
}

/* An upper bound of the sum of the weights of all rows that are not listed. */
static double tail_bound(const struct nucleus *z) {
    const uint32_t rows = z->crew->model->target->tensors->head.rows;
    double sum = 0.0;
    for (uint32_t first = 0; first < rows; first += RSR_SKETCH_VECTORS)
        sum += block_bound(z, first,
                           rows - first < RSR_SKETCH_VECTORS ? rows : first + RSR_SKETCH_VECTORS);
    return sum * (1.0 + 0x1p-48);
}

/* The row with the best score before `end`; NULL: of all rows. */
static struct rsr_candidate best_before(const struct nucleus *z, const struct rsr_candidate *end) {
    struct rsr_candidate best = {-INFINITY, UINT32_MAX}, found = best;
    for (uint32_t i = 0; i < z->n; i++) {
        const struct rsr_candidate row = candidate_of(z, z->rows[i]);
        if (end != NULL && !rsr_comes_before(&row, end))
            continue;
        const struct rsr_candidate noisy = {row.logit + rsr_gumbel(z->scan->noise_key, row.token),
                                            row.token};
        if (rsr_comes_before(&noisy, &best)) {
            best = noisy;
            found = row;
        }
    }
    return found;
}

enum verdict { KEPT, DROPPED, OPEN };

static enum verdict judge(struct nucleus *z, const struct rsr_candidate *row) {
    const double before = sum_before(z, row), part = (double)z->sampling->top_p;
    if (row->token == z->top.token)
        return KEPT;
    if (weight_of(z, row->logit) < (double)z->sampling->min_p && RSR_NUCLEUS_OMIT != OMIT_MIN_P)
        return DROPPED;
    if (before * (1.0 + z->rounding) < part * z->least)
        return KEPT;
    if (isinf(z->most))
        z->most = z->least + (RSR_NUCLEUS_OMIT == OMIT_TAIL ? 0.0 : tail_bound(z));
    return before >= part * z->most * (1.0 + z->rounding) ? DROPPED : OPEN;
}

void rsr_head_nucleus_find(struct rsr_crew *crew, struct rsr_head_scan *scan) {
    struct nucleus z = {
        .crew = crew,
        .scan = scan,
        .sampling = &scan->asked->sampling,
        .rows = scan->listed,
        .n = rsr_head_gather(crew, scan),
        .top = {-INFINITY, UINT32_MAX},
        .rounding = (crew->model->target->tensors->head.rows + 16.0) * 0x1p-50,
        .most = INFINITY,
    };
    for (uint32_t i = 0; i < z.n; i++) {
        const struct rsr_candidate row = candidate_of(&z, z.rows[i]);
        if (rsr_comes_before(&row, &z.top))
            z.top = row;
    }
    if (z.top.logit == -INFINITY) /* all are ruled out; the answered row shows it */
        return;
    z.least = sum_before(&z, NULL);
    struct rsr_candidate row = best_before(&z, NULL);
    enum verdict verdict = judge(&z, &row);
    for (; verdict == DROPPED; verdict = judge(&z, &row))
        row = best_before(&z, &row);
    if (verdict == OPEN)
        atomic_store(&scan->undecided, true);
    for (uint32_t i = 0; i < z.n; i++)
        if (z.rows[i].row == row.token)
            scan->listed[0] = z.rows[i];
}
