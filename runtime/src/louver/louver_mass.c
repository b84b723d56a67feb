/* louver_mass.c - leaves out keys in increasing order of their bounds, as long as what is left out may
 * carry at most EPS of the softmax.
 *
 * With x[i] >= scale q . k[i] - r for a reference r, and Z at most the sum of exp(scale q . k[i] - r) over
 * all keys, the keys left out carry at most S / Z of the softmax, S the sum of their exp(x[i]). Z comes
 * from the pages without a sidecar and from the one with the highest bound, which are attended to. S may
 * reach EPS Z: a quarter of it with whole pages, which then are not read at all, three quarters by the
 * first plane, all of it by the second. Keys are taken in order of x through a histogram; within a bin
 * none is preferred. Thresholds need no exact products here: what no sketch drops is attended to.
 */
#include <math.h>

#include "louver.h"
#include "sketch/sketch_round.h"

/* Bins of 1/16, from 64 below the reference, where exp has fallen to 2^-92, to 16 above it. */
#define BINS_PER_UNIT 16.0f
#define N_BINS 1280u
#define LOWEST_X (-64.0f)

#define LOG_PAGE 4.16 /* a page counts as 64 keys at its bound; log 64 is less */
#define SHARE_PAGES 0.25
#define SHARE_PLANE1 0.75

/* A page of which this many keys stay is attended to as a whole: one vectorised walk takes the time of
 * about so many single keys. */
#define WHOLE_PAGE_KEYS 24u

struct mass_head {
    struct louver_head_state *state;
    uint32_t best_page; /* attended to, whatever happens; n_pages: there is none with a sidecar */
    double budget;      /* what may be left out in all */
    double cut;         /* everything left out has x below it */
};

/* ---- The histogram ---- */

static uint32_t bin_of(float x) {
    if (!(x > LOWEST_X))
        return 0;
    const float bin = (x - LOWEST_X) * BINS_PER_UNIT;
    return bin < (float)(N_BINS - 1) ? (uint32_t)bin : N_BINS - 1;
}

/* Adds what x[0 .. n) may weigh. n <= 64. */
static void add_to_bins(const struct rsr_ops *ops, double *bins, const float *x, uint32_t n) {
    float y[RSR_PAGE_TOKENS];
    louver_exp_upper(ops, y, x, n);
    for (uint32_t i = 0; i < n; i++)
        bins[bin_of(x[i])] += (double)y[i];
}

/* Leaves out as many of the lowest bins as `share` of the budget has left; returns how many. */
static uint32_t spend(struct mass_head *head, const double *bins, double share) {
    const double limit = share * head->budget;
    uint32_t n_bins = 0;
    while (n_bins < N_BINS - 1 && head->state->skipped + bins[n_bins] <= limit)
        head->state->skipped += bins[n_bins++];
    if (n_bins > 0) /* one bin more than exact: x - LOWEST_X is rounded */
        head->cut = fmax(head->cut, (double)LOWEST_X + (n_bins + 1) / (double)BINS_PER_UNIT);
    return n_bins;
}

/* Whether keys of the page may be left out. */
static bool is_open(const struct louver_pass *pass, const struct mass_head *head, uint32_t page) {
    return pass->pages[page].sidecar != NULL && page != head->best_page;
}

/* ---- Reference and budget ---- */

static void find_best_page(const struct louver_pass *pass, struct mass_head *head) {
    struct louver_head_state *state = head->state;
    head->best_page = pass->n_pages;
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        const struct louver_page *page = &pass->pages[p];
        state->masks[p] = louver_all_keys(page->n_keys);
        if (page->sidecar == NULL)
            continue;
        state->frames[p] =
            rsr_sketch_frame_of(&pass->setup->shape, louver_sketch(page), &state->sketch);
        if (head->best_page == pass->n_pages ||
            state->frames[p].bound > state->frames[head->best_page].bound)
            head->best_page = p;
    }
}

/* The largest score of a page's keys, or `largest`. */
static float largest_score(const struct louver_pass *pass, const struct louver_head_state *state,
                           uint32_t page, float largest) {
    float z[RSR_PAGE_TOKENS];
    const uint32_t n = pass->pages[page].n_keys;
    louver_scores(pass->setup, &pass->pages[page], state->q, louver_all_keys(n), z);
    for (uint32_t j = 0; j < n; j++)
        largest = z[j] > largest ? z[j] : largest;
    return largest;
}

static double page_weight(const struct louver_pass *pass, const struct louver_head_state *state,
                          uint32_t page) {
    float z[RSR_PAGE_TOKENS];
    const uint32_t n = pass->pages[page].n_keys;
    const double error = louver_score_error(pass->setup, state->sketch.norm, pass->key_norm);
    louver_scores(pass->setup, &pass->pages[page], state->q, louver_all_keys(n), z);
    return louver_exp_sum_lower(pass->setup->ops, z, n, state->reference, error);
}

static void start_head(const struct louver_pass *pass, struct mass_head *head) {
    struct louver_head_state *state = head->state;
    head->cut = -INFINITY;
    state->reference = -INFINITY;
    find_best_page(pass, head);
    for (uint32_t p = 0; p < pass->n_pages; p++)
        if (!is_open(pass, head, p))
            state->reference = largest_score(pass, state, p, state->reference);
    for (uint32_t p = 0; p < pass->n_pages; p++)
        if (!is_open(pass, head, p))
            state->attended += page_weight(pass, state, p);
    /* Less a little for what is rounded up when the masses are certified. */
    head->budget = pass->threshold.value * state->attended * (1.0 - 0x1p-16);
}

/* ---- The three cuts ---- */

static void drop_pages(const struct louver_pass *pass, struct mass_head *head) {
    double bins[N_BINS] = {0.0};
    const double reference = rsr_round_down((double)head->state->reference - LOG_PAGE);
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        if (!is_open(pass, head, p))
            continue;
        head->state->x[p] =
            louver_exponent_up(pass->setup, head->state->frames[p].bound, reference);
        add_to_bins(pass->setup->ops, bins, &head->state->x[p], 1);
    }
    const uint32_t n_bins = spend(head, bins, SHARE_PAGES);
    for (uint32_t p = 0; p < pass->n_pages; p++)
        if (is_open(pass, head, p) && bin_of(head->state->x[p]) < n_bins)
            head->state->masks[p] = 0;
}

static void drop_keys(const struct louver_pass *pass, struct mass_head *head, double share) {
    struct louver_head_state *state = head->state;
    double bins[N_BINS] = {0.0};
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        float in[RSR_PAGE_TOKENS];
        uint32_t n = 0;
        for (uint64_t left = is_open(pass, head, p) ? state->masks[p] : 0; left != 0;
             left &= left - 1)
            in[n++] = state->x[p * RSR_PAGE_TOKENS + (uint32_t)__builtin_ctzll(left)];
        if (n > 0)
            add_to_bins(pass->setup->ops, bins, in, n);
    }
    const uint32_t n_bins = spend(head, bins, share);
    for (uint32_t p = 0; n_bins > 0 && p < pass->n_pages; p++) {
        for (uint64_t left = is_open(pass, head, p) ? state->masks[p] : 0; left != 0;
             left &= left - 1) {
            const uint32_t j = (uint32_t)__builtin_ctzll(left);
            if (bin_of(state->x[p * RSR_PAGE_TOKENS + j]) < n_bins)
                state->masks[p] &= ~(UINT64_C(1) << j);
        }
    }
}

/* x of a page's keys by the first plane. */
static void scan_page(const struct louver_pass *pass, struct louver_head_state *state,
                      uint32_t page) {
    const struct louver_setup *setup = pass->setup;
    const void *sketch = louver_sketch(&pass->pages[page]);
    for (uint32_t group = 0; group < RSR_PAGE_TOKENS / RSR_SKETCH_LANES; group++) {
        float t[RSR_SKETCH_LANES];
        float *x = state->x + (size_t)page * RSR_PAGE_TOKENS + group * RSR_SKETCH_LANES;
        setup->kernel->scan(&setup->shape, sketch, &state->sketch, group, t);
        for (uint32_t lane = 0; lane < RSR_SKETCH_LANES; lane++)
            x[lane] = louver_exponent_up(setup, rsr_sketch_upper(&state->frames[page], 0, t[lane]),
                                         (double)state->reference);
    }
}

/* x of the keys that are still in, by both planes. */
static void refine_page(const struct louver_pass *pass, struct louver_head_state *state,
                        uint32_t page) {
    const struct louver_setup *setup = pass->setup;
    const void *sketch = louver_sketch(&pass->pages[page]);
    for (uint64_t left = state->masks[page]; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        const float t = setup->kernel->refine(&setup->shape, sketch, &state->sketch, j);
        state->x[page * RSR_PAGE_TOKENS + j] = louver_exponent_up(
            setup, rsr_sketch_upper(&state->frames[page], 1, t), (double)state->reference);
    }
}

/* One pass over the sketches, all heads at a page. */
static void bound_keys(struct louver_pass *pass, const struct mass_head *heads, uint32_t plane) {
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        uint64_t read = 0;
        bool kept = false;
        for (uint32_t h = 0; h < pass->n_heads; h++) {
            struct louver_head_state *state = heads[h].state;
            kept = kept || state->masks[p] != 0;
            if (!is_open(pass, &heads[h], p) || state->masks[p] == 0)
                continue;
            read |= state->masks[p];
            if (plane == 0)
                scan_page(pass, state, p);
            else
                refine_page(pass, state, p);
        }
        if (plane > 0) {
            pass->stats.plane2 += louver_count_keys(read);
            continue;
        }
        pass->stats.scanned += read != 0 ? RSR_PAGE_TOKENS : 0;
        pass->stats.pages_skipped += !kept;
    }
}

/* Rounds pages up that are nearly whole, and counts. */
static void finish(struct louver_pass *pass, const struct mass_head *heads) {
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        uint64_t read = 0;
        for (uint32_t h = 0; h < pass->n_heads; h++) {
            uint64_t *mask = &heads[h].state->masks[p];
            if (louver_count_keys(*mask) >= WHOLE_PAGE_KEYS)
                *mask = louver_all_keys(pass->pages[p].n_keys);
            read |= *mask;
        }
        pass->stats.exact += louver_count_keys(read);
    }
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        const double x = rsr_round_up(heads[h].cut + (double)heads[h].state->reference);
        heads[h].state->threshold = rsr_round_up(x / (double)pass->setup->scale);
    }
}

void louver_run_mass(struct louver_pass *pass) {
    struct mass_head heads[LOUVER_MAX_HEADS];
    const bool two_planes = pass->setup->shape.n_planes > 1;
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        heads[h].state = &pass->heads[h];
        start_head(pass, &heads[h]);
        drop_pages(pass, &heads[h]);
    }
    bound_keys(pass, heads, 0);
    for (uint32_t h = 0; h < pass->n_heads; h++)
        drop_keys(pass, &heads[h], two_planes ? SHARE_PLANE1 : 1.0);
    if (two_planes) {
        bound_keys(pass, heads, 1);
        for (uint32_t h = 0; h < pass->n_heads; h++)
            drop_keys(pass, &heads[h], 1.0);
    }
    finish(pass, heads);
}
