/* louver_trial.c - whether an attempt to leave keys out pays, from a sample of pages.
 *
 * Where attention is flat, hardly any key can be left out, and reading sketches only costs time. So
 * before all sketches are read, every head predicts which keys of some pages would stay. If the
 * heads of a pass together would read nearly as much as all keys and values, all of them give up
 * and attend to all keys. Nothing here needs a proof: a wrong prediction costs time.
 *
 * The prediction needs Z, the sum of all weights. The weights of a sample do not give it: most of Z
 * is a few keys that a sample rarely has. But the centre of every page is known, and inside a page
 * logits are nearly normal around it. With the spread s of the sample's logits around their centres
 * the mean of exp is exp(s^2 / 2). That holds while n keys reach so far into the tail: beyond s =
 * c = sqrt(2 ln n) only the largest of n logits counts, about exp(c s), and the mean is exp(c s -
 * c^2 / 2).
 *
 * The frames of all pages take longer to read than those of the sample: an eighth of dense
 * attention's time (32,768 float32 keys, Zen 3). So the first prediction takes the sample for all
 * pages, and if it says that an attempt would take longer than all keys, there is no other. That is
 * no prediction where pages differ, or where a key is longer than all of the sample: few keys may
 * have most of the weight, and the sample none of them.
 *
 * The decision changes which keys are attended to, so it must be the same on every machine. Of libm
 * only functions are used whose results IEEE 754 fixes (sqrt, fabs, fmin); all else comes from the
 * exp of ops.h.
 */
#include <math.h>

#include "louver_mass.h"
#include "louver_time.h"

/* The sample has 8 pages, or up to 15. 512 keys suffice to distinguish a quarter from a half. */
#define SAMPLE_PAGES 8u
#define MOST_PAGES (2 * SAMPLE_PAGES)

/* A second plane has a 16th of the first one's error. */
#define SECOND_PLANE_SHARE 0.0625f

/* The part of the budget that plane 1 leaves to the last plane, nearly. */
#define LEFT_FOR_LAST 0.85

/* An attempt is made if it takes at most this part of the time of all keys. The first prediction
 * gives up from the second number on. */
#define WORTH 0.95
#define HOPELESS 1.05

/* Pages are alike if their centres' logits have at most this spread. That of independent keys is an
 * eighth of their logits' spread. */
#define EVEN_SPREAD 1.0

/* A key that is so many times as long as all of the sample may have most of the weight. Of 32,768
 * normal keys of 128 dimensions the longest is 1.06 times as long as the longest of 512. */
#define LONG_KEY 1.25

static uint32_t sample_stride(const struct louver_pass *pass) {
    return pass->n_pages < SAMPLE_PAGES ? 1 : pass->n_pages / SAMPLE_PAGES;
}

bool louver_is_tried(const struct louver_pass *pass, uint32_t page) {
    const uint32_t stride = sample_stride(pass);
    return page % stride == stride / 2 && pass->pages[page].sidecar != NULL;
}

/* float32 has exp of numbers up to 88.7. */
#define LARGEST_EXPONENT 80.0

struct sample {
    uint32_t n, pages[MOST_PAGES];
    float x[MOST_PAGES][RSR_PAGE_TOKENS]; /* as the last plane may bound them */
    double variance;                      /* of logits around their page's centre */
};

/* ---- Z ---- */

/* Scans the next page of the sample. The first plane's x stay in head->x, because a page is scanned
 * once. An estimate is the bound without its residuals. */
static void add_page(const struct louver_pass *pass, struct louver_head_state *head, uint32_t page,
                     struct sample *sample) {
    const struct louver_setup *setup = pass->setup;
    const struct rsr_sketch_query *query = louver_query_of(head, &pass->pages[page]);
    const struct louver_line line = louver_line_of(setup, head, page, 0);
    const float share = setup->shape.n_planes > 1 ? SECOND_PLANE_SHARE : 1.0f;
    float *x = head->x + (size_t)page * RSR_PAGE_TOKENS, *last = sample->x[sample->n];
    float estimates[RSR_PAGE_TOKENS];
    setup->kernel->bounds(&setup->shape, louver_sketch(&pass->pages[page]), &query, 1, x, estimates,
                          RSR_PAGE_TOKENS, NULL);
    setup->lanes->bounds(&line, x, x);
    for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j++) {
        const float around = line.slope * estimates[j];
        sample->variance += (double)around * (double)around;
        estimates[j] = line.base + around;
        last[j] = estimates[j] + share * (x[j] - estimates[j]);
    }
    sample->pages[sample->n++] = page;
}

static double exponential(const struct rsr_ops *ops, double x) {
    float y = (float)fmin(x, LARGEST_EXPONENT);
    ops->exp(&y, &y, 1);
    return (double)y;
}

/* log n, within 2^-12, of a number of keys. */
static double log_keys(const struct rsr_ops *ops, double n) {
    double low = 0.0, high = 32.0;
    for (uint32_t i = 0; i < 18; i++) {
        const double middle = 0.5 * (low + high);
        *(n * exponential(ops, -middle) > 1.0 ? &low : &high) = middle;
    }
    return low;
}

/* The logarithm of the mean of exp of n normal numbers of spread s. */
static double log_mean_exp(const struct rsr_ops *ops, double s, double n) {
    const double c = sqrt(2.0 * log_keys(ops, n < 2.0 ? 2.0 : n));
    return s < c ? 0.5 * s * s : c * s - 0.5 * c * c;
}

/* The part of normal numbers that is above z, within 1e-7 (Abramowitz and Stegun, 26.2.17). */
static double part_above(const struct rsr_ops *ops, double z) {
    const double t = 1.0 / (1.0 + 0.2316419 * fabs(z));
    const double density = 0.3989422804014327 * exponential(ops, -0.5 * z * z);
    const double series =
        t * (0.319381530 +
             t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
    return z < 0.0 ? 1.0 - density * series : density * series;
}

/* The part of the sum of exp of n normal numbers of spread s that the n_heavy largest
 * have: those above z, and of the weights, which are normal around s, the same. */
static double heavy_part(const struct rsr_ops *ops, double s, double n, double n_heavy) {
    double low = -8.0, high = 8.0;
    if (n <= n_heavy)
        return 1.0;
    for (uint32_t i = 0; i < 16; i++) {
        const double z = 0.5 * (low + high);
        *(part_above(ops, z) * n > n_heavy ? &low : &high) = z;
    }
    return part_above(ops, low - s);
}

/* What Z will be: the sum of exp(logit - reference) over heavy keys of sealed pages. The pages that
 * count have about (sum w)^2 / sum w^2 times 64 keys. Known pages stand for `share` pages each. */
static double expected_weight(const struct louver_pass *pass, const struct louver_head_state *head,
                              double spread, enum louver_known known, double share) {
    const struct rsr_ops *ops = pass->setup->ops;
    double sum = 0.0, squares = 0.0;
    for (uint32_t first = 0; first < pass->n_pages; first += RSR_PAGE_TOKENS) {
        float weights[RSR_PAGE_TOKENS];
        for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i++) {
            const uint32_t page = first + i;
            const bool counts = page < pass->n_pages && pass->pages[page].sidecar != NULL &&
                                (known == LOUVER_ALL_PAGES || louver_is_tried(pass, page));
            const double centre =
                counts ? (double)pass->setup->scale * head->frames[page].offset[0] : -INFINITY;
            weights[i] = (float)fmin(centre - (double)head->reference, LARGEST_EXPONENT);
        }
        ops->exp(weights, weights, RSR_PAGE_TOKENS);
        for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i++) {
            sum += RSR_PAGE_TOKENS * (double)weights[i];
            squares += RSR_PAGE_TOKENS * RSR_PAGE_TOKENS * (double)weights[i] * (double)weights[i];
        }
    }
    const double n = squares > 0.0 ? share * RSR_PAGE_TOKENS * sum * sum / squares : 0.0;
    return share * sum * exponential(ops, log_mean_exp(ops, spread, n)) *
           heavy_part(ops, spread, n, louver_n_heavy(pass));
}

/* ---- Predicting ---- */

/* The keys of the sample that stay if it gets its part of the budget. */
static void predict_kept(const struct louver_pass *pass, struct louver_head_state *head,
                         const struct sample *sample, double budget) {
    struct louver_bins bins = {{0}};
    double spent = 0.0;
    for (uint32_t i = 0; i < sample->n; i++)
        pass->setup->lanes->count(&bins, sample->x[i], UINT64_MAX);
    const uint32_t n_bins = louver_spend_bins(pass->setup->ops, &bins, budget, &spent);
    for (uint32_t i = 0; i < sample->n; i++)
        head->masks[sample->pages[i]] =
            ~pass->setup->lanes->below(sample->x[i], louver_limit_of(n_bins));
}

/* Whether the centres of the sample's pages are alike. */
static bool is_even(const struct louver_pass *pass, const struct louver_head_state *head,
                    const struct sample *sample) {
    double sum = 0.0, squares = 0.0;
    for (uint32_t i = 0; i < sample->n; i++) {
        const double logit =
            (double)pass->setup->scale *
            (head->frames[sample->pages[i]].offset[0] - head->frames[sample->pages[0]].offset[0]);
        sum += logit;
        squares += logit * logit;
    }
    return squares - sum * sum / sample->n <= EVEN_SPREAD * EVEN_SPREAD * sample->n;
}

void louver_try_head(const struct louver_pass *pass, struct louver_head_state *head,
                     enum louver_known known) {
    struct sample sample = {.n = 0};
    uint32_t n_sealed = 0;
    head->is_even = false;
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        n_sealed += pass->pages[p].sidecar != NULL;
        if (louver_is_tried(pass, p))
            add_page(pass, head, p, &sample);
    }
    if (sample.n == 0)
        return;
    head->is_even = is_even(pass, head, &sample);
    const double share = known == LOUVER_ALL_PAGES ? 1.0 : (double)n_sealed / sample.n;
    const double n = sample.n * RSR_PAGE_TOKENS, part = n / pass->n_keys;
    const double weight =
        expected_weight(pass, head, sqrt(sample.variance / n), known, share) + head->attended;
    predict_kept(pass, head, &sample,
                 pass->threshold.value * LEFT_FOR_LAST * louver_likely_allowance(pass) * weight *
                     part);
}

/* The time of an attempt as a part of the time of all keys, by the masks of the tried pages. */
static double expected_time(const struct louver_pass *pass) {
    uint32_t n_keys = 0;
    double time = 0.0;
    /* Every head reads its heavy keys. */
    const double given = fmin(1.0, (double)pass->n_heads * louver_n_heavy(pass) / pass->n_keys);
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        uint64_t kept = 0;
        if (!louver_is_tried(pass, p))
            continue;
        for (uint32_t h = 0; h < pass->n_heads; h++)
            kept |= pass->first->heads[h].masks[p];
        const uint32_t n = louver_count_keys(kept);
        n_keys += RSR_PAGE_TOKENS;
        time += louver_page_time(n + given * (RSR_PAGE_TOKENS - n));
    }
    return n_keys == 0 ? 0.0 : louver_sketch_time(pass->setup) + time / n_keys;
}

bool louver_is_worth(const struct louver_pass *pass) {
    return expected_time(pass) <= WORTH;
}

/* Whether no page has a much longer key than the sample has. */
static bool has_no_long_key(const struct louver_pass *pass) {
    double all = 0.0, tried = 0.0;
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        if (pass->pages[p].sidecar == NULL)
            continue;
        all = fmax(all, pass->norms[p].key);
        tried = louver_is_tried(pass, p) ? fmax(tried, pass->norms[p].key) : tried;
    }
    return all <= LONG_KEY * tried;
}

bool louver_is_hopeless(const struct louver_pass *pass) {
    if (!has_no_long_key(pass))
        return false;
    for (uint32_t h = 0; h < pass->n_heads; h++)
        if (!pass->first->heads[h].is_even)
            return false;
    return expected_time(pass) >= HOPELESS;
}
