/* louver_mass.h - what the files of the rule mass share.
 *
 *     louver_trial.c   whether leaving keys out pays for the heads of a pass, from a sample
 *     louver_mass.c    the steps of a pass
 *     louver_lanes.c   a page's bounds, and what histograms need of them
 *     louver_spend.c   leaves out the keys with the lowest bounds, as far as the budget allows
 *     louver_spread.c  error: weights by values, and the budget that they leave
 *
 * x of a key is an upper bound of scale q . k - reference of its head, with the rule error plus the
 * page's weight; head->x has it for keys of pages that were scanned. */
#ifndef RSR_LOUVER_MASS_H
#define RSR_LOUVER_MASS_H

#include "louver.h"

/* How many keys are scored for Z: 64, or a 64th of the keys if there are few. */
#define LOUVER_HEAVY_KEYS 64u
static inline uint32_t louver_n_heavy(const struct louver_pass *pass) {
    const uint32_t part = pass->n_keys / 64;
    return part < 8 ? 8 : part < LOUVER_HEAVY_KEYS ? part : LOUVER_HEAVY_KEYS;
}

/* Bins of x, from 40 below the reference, where exp has fallen to 2^-57, to 16 above it. */
#define LOUVER_BINS_PER_UNIT 16.0f
#define LOUVER_BINS 896u
#define LOUVER_LOWEST_X (-40.0f)

/* An upper bound x = base + slope t in float32. `base` and `slope` have relative errors of 2^-24;
 * four times this is added, which covers the additions here, too, and a term for denormals. NaN,
 * which infinities give, drops nothing. */
struct louver_line {
    float base, slope;
    bool exact; /* slope is a normal float32 */
};
struct louver_line louver_line_of(const struct louver_setup *setup,
                                  const struct louver_head_state *head, uint32_t page,
                                  uint32_t plane);
/* Keys of a page that may be left out: they are not left out already, and Z does not have them.
 * Their page has a sidecar. */
static inline uint64_t louver_open_keys(const struct louver_head_state *head, uint32_t page) {
    return head->masks[page] & ~head->given[page];
}

/* The weight that may be left out. */
void louver_set_budget(const struct louver_pass *pass, struct louver_head_state *head);

/* ---- louver_lanes.c ---- */

struct louver_bins {
    uint32_t counts[LOUVER_BINS];
};

/* Functions of the 64 keys of a page. */
struct louver_lanes {
    uint64_t features; /* CPU features that they need: RSR_CPU_MASK bits */
    /* x[i] of t[i]; x may be t. */
    void (*bounds)(const struct louver_line *line, float *x, const float *t);
    /* Counts those of the numbers at x that are in the mask. A NaN is in the highest bin. */
    void (*count)(struct louver_bins *bins, const float *x, uint64_t mask);
    /* A mask of the numbers that are below the limit. */
    uint64_t (*below)(const float *x, float limit);
};
const struct louver_lanes *louver_lanes_for(uint64_t cpu_features);

/* ---- louver_trial.c ---- */

/* Pages that the trial scans. */
bool louver_is_tried(const struct louver_pass *pass, uint32_t page);
/* Which pages' frames a trial knows. */
enum louver_known { LOUVER_TRIED_PAGES, LOUVER_ALL_PAGES };

/* Scans the head's tried pages, and predicts which of their keys stay: head->masks has these keys
 * of tried pages afterwards. */
void louver_try_head(const struct louver_pass *pass, struct louver_head_state *head,
                     enum louver_known known);
/* Whether an attempt will take less time than all keys, by the prediction for all heads; and
 * whether this is so unlikely that the other pages' frames need not be read. */
bool louver_is_worth(const struct louver_pass *pass);
bool louver_is_hopeless(const struct louver_pass *pass);

/* ---- louver_spend.c ---- */

/* Adds bins' weights (exp of x, rounded up), the lowest first, to *spent while it stays within
 * `limit`. Returns how many bins these are: all but the highest at most. */
uint32_t louver_spend_bins(const struct rsr_ops *ops, const struct louver_bins *bins, double limit,
                           double *spent);
/* An upper bound of all bins' weights; infinite if the highest bin has a number. */
double louver_weigh_all(const struct rsr_ops *ops, const struct louver_bins *bins);
/* Numbers below this limit are in one of the lowest n bins. (A few of the n-th bin may be above
 * it.) */
float louver_limit_of(uint32_t n);

/* Leave out pages by their bounds, and keys by x, while at most `share` of the budget is spent. */
void louver_drop_pages(const struct louver_pass *pass, struct louver_head_state *head,
                       double share);
void louver_drop_keys(const struct louver_pass *pass, struct louver_head_state *head, double share);

/* ---- louver_spread.c: these do nothing, or return 1, with the rule mass ---- */

/* Fills the spread of the first member's pass, and the weights and reach of its heads. All frames
 * are known. */
void louver_find_spread(struct louver_pass *pass);
/* Notes head->given_reach, when all heavy keys are given. */
void louver_reach_given(const struct louver_pass *pass, struct louver_head_state *head);
/* Lowers head->reach and sets the budget anew; `bins` have all open keys. */
void louver_lower_reach(const struct louver_pass *pass, struct louver_head_state *head,
                        const struct louver_bins *bins);
/* The part of EPS Z that keys may have, their factors included; and what a trial expects of it. */
double louver_allowance(const struct louver_pass *pass, const struct louver_head_state *head);
double louver_likely_allowance(const struct louver_pass *pass);
/* x of a page or of its keys, with the page's weight. */
float louver_weighted_up(const struct louver_head_state *head, uint32_t page, float x);

#endif
