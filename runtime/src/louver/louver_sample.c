/* louver_sample.c - thresholds from the products of a few keys, by the rules of rsr_louver.h.
 *
 * n keys are cut into M = min(n, 512) parts whose lengths differ by at most one key, and the sample
 * has one key of each part. A hash of the part's number chooses the key. So the sample depends only
 * on n, not on how keys were appended, where they are stored or who asks. All heads and layers of a
 * step have the same sample.
 */
#include <math.h>

#include "louver.h"

/* Rows of keys are prefetched this far ahead, because each is elsewhere in memory. */
#define AHEAD 4u

static uint32_t sample_size(const struct louver_pass *pass) {
    return pass->n_keys < LOUVER_SAMPLE_KEYS ? pass->n_keys : LOUVER_SAMPLE_KEYS;
}

/* Mixes the bits of x (the finalizer of MurmurHash3). */
static uint32_t mix(uint32_t x) {
    x = (x ^ x >> 16) * UINT32_C(0x85ebca6b);
    x = (x ^ x >> 13) * UINT32_C(0xc2b2ae35);
    return x ^ x >> 16;
}

/* The number of the key that the sample takes from part i. */
static uint32_t sampled_key(uint32_t i, uint32_t n_sampled, uint32_t n_keys) {
    const uint64_t begin = (uint64_t)i * n_keys / n_sampled;
    const uint64_t end = (uint64_t)(i + 1) * n_keys / n_sampled;
    return (uint32_t)(begin + ((uint64_t)mix(i + 1) * (end - begin) >> 32));
}

/* Finds a key: row *j of the returned page. */
static const struct louver_page *find_key(const struct louver_pass *pass, uint32_t key,
                                          uint32_t *j) {
    const uint32_t n_first = pass->pages[0].n_keys;
    const uint32_t page = key < n_first ? 0 : (key - n_first) / RSR_PAGE_TOKENS + 1;
    *j = key - louver_first_key(pass, page);
    return &pass->pages[page];
}

static void fetch_key(const struct louver_pass *pass, uint32_t i, uint32_t n_sampled) {
    if (i >= n_sampled)
        return;
    uint32_t j;
    const struct louver_page *page = find_key(pass, sampled_key(i, n_sampled, pass->n_keys), &j);
    louver_fetch_row(pass->setup, page->rows.keys, j);
}

/* Products of the sample's keys; returns their mean. */
static double score_sample(const struct louver_pass *pass, const struct louver_head_state *head) {
    const uint32_t n_sampled = sample_size(pass);
    double sum = 0.0;
    for (uint32_t i = 0; i < AHEAD; i++)
        fetch_key(pass, i, n_sampled);
    for (uint32_t i = 0; i < n_sampled; i++) {
        uint32_t j;
        const struct louver_page *page =
            find_key(pass, sampled_key(i, n_sampled, pass->n_keys), &j);
        fetch_key(pass, i + AHEAD, n_sampled);
        pass->sampled[i] = louver_exact_product(pass->setup, head->q, page, j).value;
        sum += pass->sampled[i];
    }
    return sum / n_sampled;
}

/* s[0] >= s[1] >= ...: returns the product just below the first of the `widest` widest gaps among
 * the first n products. */
static double below_gap(const double *s, uint32_t n, uint32_t widest) {
    double gaps[LOUVER_SAMPLE_KEYS];
    if (n < 2)
        return s[0];
    for (uint32_t i = 0; i + 1 < n; i++)
        gaps[i] = s[i] - s[i + 1];
    louver_sort_descending(gaps, n - 1);
    const double least = gaps[widest < n - 1 ? widest - 1 : n - 2];
    uint32_t at = 0;
    while (at + 2 < n && s[at] - s[at + 1] < least)
        at++;
    return s[at + 1];
}

/* T of a head whose products are pass->sampled. A is written so that A = 1 gives s[1] itself. */
static double threshold_of(const struct louver_pass *pass, double mean) {
    const rsr_louver_threshold *rule = &pass->threshold;
    const uint32_t n = sample_size(pass);
    double *s = pass->sampled;
    louver_sort_descending(s, n);
    mean = fmin(fmax(mean, s[n - 1]), s[0]); /* rounding may have moved it out of their range */
    switch (rule->kind) {
    case RSR_LOUVER_SAMPLE_MAX:
        return s[0] + (rule->value - 1.0) * (s[0] - mean);
    case RSR_LOUVER_SAMPLE_MEAN_MAX:
        return s[0] - 0.5 * (s[0] - mean);
    case RSR_LOUVER_SAMPLE_TOPK:
        return s[(rule->k < n ? rule->k : n) - 1];
    case RSR_LOUVER_SAMPLE_GAP: {
        const uint32_t among = (uint32_t)(rule->value * n), least = n < 2 ? n : 2;
        return below_gap(s, among > least ? among : least, rule->k);
    }
    case RSR_LOUVER_VALUE: /* these have no sample */
    case RSR_LOUVER_TOPK:
    case RSR_LOUVER_MASS:
    case RSR_LOUVER_ERROR:
    case RSR_LOUVER_BUDGET:
        break;
    }
    return -INFINITY;
}

double louver_sample_threshold(const struct louver_pass *pass,
                               const struct louver_head_state *head) {
    return pass->n_keys > 0 ? threshold_of(pass, score_sample(pass, head)) : -INFINITY;
}
