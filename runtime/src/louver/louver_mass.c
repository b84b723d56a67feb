/* louver_mass.c - leaves out keys in increasing order of their bounds, while they can have at most
 * EPS of the softmax.
 *
 * Let x[i] >= scale q . k[i] - r for a reference r, let Z be a lower bound of the sum of exp(scale
 * q . k[i] - r) over all keys, and S the sum of exp(x[i]) over the keys left out. Then these keys
 * have at most S / Z of the softmax. Z comes from pages that are attended to in any case: pages
 * without a sidecar, pages with sinks or keys of the window, and the page with the highest bound. S
 * may reach EPS Z: a quarter of this is spent on whole pages, which are then not read at all; up to
 * three quarters by the first plane; all of it by the second. A histogram orders the keys by x;
 * within a bin there is no order. No exact products are needed: keys that no sketch drops are
 * attended to.
 *
 * If attention is flat, hardly any key can be left out, and bounds only cost time. So a head may
 * give up and attend to all remaining keys. It does so at three points: before it looks at all
 * bounds, if few keys of a sample of pages could be left out even if the longest key had the
 * largest possible weight; when it knows Z, if few could be left out with it; and if the first
 * plane left most keys. A head that gives up needs no proof.
 */
#include <math.h>

#include "louver.h"
#include "sketch/sketch_round.h"

/* Bins of 1/8, from 40 below the reference, where exp has fallen to 2^-57, to 16 above it. */
#define BINS_PER_UNIT 8.0f
#define N_BINS 448u
#define LOWEST_X (-40.0f)

#define LOG_PAGE 4.16 /* a page counts as 64 keys at its bound; log 64 is less */
#define SHARE_PAGES 0.25
#define SHARE_PLANE1 0.75

/* If at least this many keys of a page stay, the whole page is attended to: one vectorised walk
 * takes about as long as this many single keys. */
#define WHOLE_PAGE_KEYS 24u

/* Every 8th page is in the sample, but hardly more than 8 pages: 512 keys suffice to distinguish a
 * quarter from a half, and they are read in vain if the head gives up. A head continues if a
 * quarter of its keys are light: x below log(budget / n_keys). Light keys can all be left out
 * together. */
#define LEAST_STRIDE 8u
#define SAMPLE_PAGES 8u
#define SAMPLE_SHARE 0.25

/* The second plane is read if the first left out at least this share of the keys. */
#define PLANE1_SHARE 0.5

/* ---- The histogram ---- */

/* Finds the bins of the 64 numbers at x; a NaN gets the lowest bin. */
static void find_bins(uint32_t *bin, const float *x) {
    for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i++) {
        float at = (x[i] - LOWEST_X) * BINS_PER_UNIT;
        at = at > 0.0f ? at : 0.0f;
        at = at < (float)(N_BINS - 1) ? at : (float)(N_BINS - 1);
        bin[i] = (uint32_t)(int32_t)at;
    }
}

/* Adds upper bounds of the weights of the 64 numbers at x that are in the mask. */
static void add_to_bins(const struct rsr_ops *ops, double *bins, const float *x, uint64_t mask) {
    float y[RSR_PAGE_TOKENS];
    uint32_t bin[RSR_PAGE_TOKENS];
    louver_exp_upper(ops, y, x, RSR_PAGE_TOKENS);
    find_bins(bin, x);
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        bins[bin[j]] += (double)y[j];
    }
}

/* A mask of the 64 numbers at x that are in one of the lowest n_bins bins. */
static uint64_t in_bins(const float *x, uint32_t n_bins) {
    uint32_t bin[RSR_PAGE_TOKENS];
    uint64_t mask = 0;
    find_bins(bin, x);
    for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i++)
        mask |= (uint64_t)(bin[i] < n_bins) << i;
    return mask;
}

/* Spends what is left of `share` of the budget on the lowest bins; returns how many bins are left
 * out. */
static uint32_t spend(struct louver_head_state *head, const double *bins, double share) {
    const double limit = share * head->budget;
    uint32_t n_bins = 0;
    while (n_bins < N_BINS - 1 && head->skipped + bins[n_bins] <= limit)
        head->skipped += bins[n_bins++];
    if (n_bins > 0) /* one bin more than exact: x - LOWEST_X is rounded */
        head->cut = fmax(head->cut, (double)LOWEST_X + (n_bins + 1) / (double)BINS_PER_UNIT);
    return n_bins;
}

/* Whether the page is always attended to: it has no sidecar, the highest bound, sinks, or keys of
 * the window. */
static bool is_given(const struct louver_pass *pass, const struct louver_head_state *head,
                     uint32_t page) {
    const bool has_forced = pass->threshold.sinks > 0 || pass->threshold.window > 0;
    return pass->pages[page].sidecar == NULL || page == head->best_page ||
           (has_forced && louver_forced_keys(pass, page) != 0);
}

/* Whether keys of the page may be left out. */
static bool is_open(const struct louver_pass *pass, const struct louver_head_state *head,
                    uint32_t page) {
    return !head->gave_up && !is_given(pass, head, page);
}

static uint32_t sample_stride(const struct louver_pass *pass) {
    const uint32_t stride = pass->n_pages / SAMPLE_PAGES;
    return stride > LEAST_STRIDE ? stride : LEAST_STRIDE;
}

static bool is_sampled(uint32_t page, uint32_t stride) {
    return page % stride == stride / 2;
}

/* ---- Reference and budget ---- */

/* The page with the highest bound, and the least bound. */
static void find_best_page(const struct louver_pass *pass, struct louver_head_state *head) {
    double highest = -INFINITY, least = INFINITY;
    head->best_page = pass->n_pages;
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        if (pass->pages[p].sidecar == NULL)
            continue;
        const double bound = head->frames[p].bound;
        least = bound < least ? bound : least;
        if (head->best_page == pass->n_pages || bound > highest) {
            head->best_page = p;
            highest = bound;
        }
    }
    head->least_bound = least;
}

/* Adds a page that is attended to in any case. The reference becomes the largest score so far. */
static void add_weight(const struct louver_pass *pass, struct louver_head_state *state,
                       uint32_t page) {
    const struct rsr_ops *ops = pass->setup->ops;
    const double error = louver_score_error(pass->setup, state->sketch.norm, pass->norms[page].key);
    const uint32_t n = pass->pages[page].n_keys;
    float z[RSR_PAGE_TOKENS], largest = -INFINITY;
    louver_scores(pass->setup, &pass->pages[page], state->q, louver_all_keys(n), z);
    for (uint32_t j = 0; j < n; j++)
        largest = z[j] > largest ? z[j] : largest;
    if (largest > state->reference) {
        state->attended *= louver_exp_sum_lower(ops, &state->reference, 1, largest, 0.0);
        state->reference = largest;
    }
    state->attended += louver_exp_sum_lower(ops, z, n, state->reference, error);
}

static void start_head(const struct louver_pass *pass, struct louver_head_state *head) {
    head->reference = -INFINITY;
    for (uint32_t p = 0; p < pass->n_pages; p++)
        if (!is_open(pass, head, p))
            add_weight(pass, head, p);
    /* Slightly less, because certifying the masses rounds up. */
    head->budget = pass->threshold.value * head->attended * (1.0 - 0x1p-16);
}

/* ---- The three cuts ---- */

/* A page counts as 64 keys at the page's bound. Here head->x has one number for each page; it has
 * room for 64 times as many. */
static void drop_pages(const struct louver_pass *pass, struct louver_head_state *head) {
    double bins[N_BINS] = {0.0};
    const double reference = rsr_round_down((double)head->reference - LOG_PAGE);
    /* Usually not even the page with the lowest bound can be left out. */
    if ((double)louver_exponent_up(pass->setup, head->least_bound, reference) >
        log(SHARE_PAGES * head->budget))
        return;
    for (uint32_t first = 0; first < pass->n_pages; first += RSR_PAGE_TOKENS) {
        uint64_t mask = 0;
        for (uint32_t i = 0; i < RSR_PAGE_TOKENS; i++) {
            const bool open = first + i < pass->n_pages && is_open(pass, head, first + i);
            mask |= (uint64_t)open << i;
            head->x[first + i] =
                open ? louver_exponent_up(pass->setup, head->frames[first + i].bound, reference)
                     : INFINITY;
        }
        add_to_bins(pass->setup->ops, bins, head->x + first, mask);
    }
    const uint32_t n_bins = spend(head, bins, SHARE_PAGES);
    for (uint32_t first = 0; n_bins > 0 && first < pass->n_pages; first += RSR_PAGE_TOKENS)
        for (uint64_t out = in_bins(head->x + first, n_bins); out != 0; out &= out - 1)
            head->masks[first + (uint32_t)__builtin_ctzll(out)] = 0;
}

static void drop_keys(const struct louver_pass *pass, struct louver_head_state *head,
                      double share) {
    double bins[N_BINS] = {0.0};
    if (head->gave_up)
        return;
    for (uint32_t p = 0; p < pass->n_pages; p++)
        if (is_open(pass, head, p) && head->masks[p] != 0)
            add_to_bins(pass->setup->ops, bins, head->x + (size_t)p * RSR_PAGE_TOKENS,
                        head->masks[p]);
    const uint32_t n_bins = spend(head, bins, share);
    for (uint32_t p = 0; n_bins > 0 && p < pass->n_pages; p++)
        if (is_open(pass, head, p))
            head->masks[p] &= ~in_bins(head->x + (size_t)p * RSR_PAGE_TOKENS, n_bins);
}

/* ---- Bounds as x ---- */

/* An upper bound x = base + slope t in float32. `base` and `slope` have relative errors of 2^-24;
 * four times this is added, which covers the additions here, too, and a term for denormals. NaN,
 * which infinities give, drops nothing. */
struct line {
    float base, slope;
    bool exact; /* slope is a normal float32 */
};

static struct line line_of(const struct louver_setup *setup, const struct louver_head_state *state,
                           uint32_t page, uint32_t plane) {
    const struct rsr_sketch_frame *frame = &state->frames[page];
    const double slope = (double)setup->scale * frame->unit; /* unit is a power of two */
    return (struct line){
        .base = louver_exponent_up(setup, frame->offset[plane], (double)state->reference),
        .slope = (float)slope,
        .exact = (double)(float)slope == slope && slope >= 0x1p-100,
    };
}

static void bounds_of(const struct line *line, float *x, const float *t, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const float product = line->slope * t[i], sum = line->base + product;
        x[i] = sum + ((fabsf(product) + fabsf(sum)) * 0x1p-22f + 0x1p-140f);
    }
    for (uint32_t i = 0; !line->exact && i < n; i++)
        x[i] = INFINITY;
}

/* x of a page's keys by the first plane. */
static void scan_page(const struct louver_pass *pass, struct louver_head_state *state,
                      uint32_t page) {
    const struct louver_setup *setup = pass->setup;
    const struct line line = line_of(setup, state, page, 0);
    for (uint32_t group = 0; group < RSR_PAGE_TOKENS / RSR_SKETCH_LANES; group++) {
        float t[RSR_SKETCH_LANES];
        setup->kernel->scan(&setup->shape, louver_sketch(&pass->pages[page]), &state->sketch, group,
                            t);
        bounds_of(&line, state->x + (size_t)page * RSR_PAGE_TOKENS + group * RSR_SKETCH_LANES, t,
                  RSR_SKETCH_LANES);
    }
}

/* x of the keys that are still in, by both planes. */
static void refine_page(const struct louver_pass *pass, struct louver_head_state *state,
                        uint32_t page) {
    const struct louver_setup *setup = pass->setup;
    const struct line line = line_of(setup, state, page, 1);
    float t[RSR_SKETCH_VECTORS], x[RSR_SKETCH_VECTORS];
    uint32_t n = 0;
    setup->kernel->refine(&setup->shape, louver_sketch(&pass->pages[page]), &state->sketch,
                          state->masks[page], t);
    bounds_of(&line, x, t, louver_count_keys(state->masks[page]));
    for (uint64_t left = state->masks[page]; left != 0; left &= left - 1)
        state->x[(size_t)page * RSR_PAGE_TOKENS + (uint32_t)__builtin_ctzll(left)] = x[n++];
}

/* ---- Giving up ---- */

static uint32_t count_light(const float *x, uint32_t n, float limit) {
    uint32_t n_light = 0;
    for (uint32_t j = 0; j < n; j++)
        n_light += x[j] < limit;
    return n_light;
}

static bool are_few(uint32_t n_light, uint32_t n_keys) {
    return (double)n_light < SAMPLE_SHARE * (double)n_keys;
}

/* x below which keys are light. */
static float light_limit(const struct louver_pass *pass, double budget) {
    const double each = budget / (double)pass->n_keys;
    return each > 0.0 ? (float)log(each) : -INFINITY;
}

/* Approximates the sum of exp(x) over a page; keys without a sketch have x from their scores. */
static double rough_weight(const struct louver_pass *pass, struct louver_head_state *head,
                           uint32_t page) {
    const struct rsr_ops *ops = pass->setup->ops;
    const uint32_t n = pass->pages[page].n_keys;
    float *x = head->x + (size_t)page * RSR_PAGE_TOKENS, y[RSR_PAGE_TOKENS];
    double sum = 0.0;
    if (pass->pages[page].sidecar != NULL) {
        scan_page(pass, head, page);
    } else {
        louver_scores(pass->setup, &pass->pages[page], head->q, louver_all_keys(n), x);
        for (uint32_t j = 0; j < n; j++)
            x[j] -= head->reference;
    }
    ops->exp(y, x, n);
    for (uint32_t j = 0; j < n; j++)
        sum += (double)y[j];
    return sum;
}

/* The pages of the sample and their number, and the pages at both ends, because heavy keys are
 * often the first or the last ones. */
struct tried {
    uint32_t n_sampled, n, pages[SAMPLE_PAGES + 3];
};

static struct tried list_tried(const struct louver_pass *pass) {
    const uint32_t stride = sample_stride(pass), last = pass->n_pages - 1;
    struct tried tried = {0};
    for (uint32_t p = stride / 2; p < pass->n_pages; p += stride)
        tried.pages[tried.n_sampled++] = p;
    tried.n = tried.n_sampled;
    if (pass->n_pages > 0)
        tried.pages[tried.n++] = 0;
    if (pass->n_pages > 1 && !is_sampled(last, stride))
        tried.pages[tried.n++] = last;
    return tried;
}

/* Estimates Z from the sample and the pages at both ends, plus one key of the largest weight that
 * the longest key can have. */
static void try_early(const struct louver_pass *pass, struct louver_head_state *head,
                      const struct tried *tried, double longest) {
    double sampled = 0.0, ends = 0.0;
    uint32_t n_keys = 0, n_light = 0;
    head->cut = -INFINITY;
    head->reference = (float)((double)pass->setup->scale * head->sketch.norm * longest);
    for (uint32_t i = 0; i < tried->n; i++)
        *(i < tried->n_sampled ? &sampled : &ends) += rough_weight(pass, head, tried->pages[i]);
    for (uint32_t i = 0; i < tried->n_sampled; i++)
        n_keys += pass->pages[tried->pages[i]].n_keys;
    const double all = n_keys > 0 ? sampled * pass->n_keys / n_keys : 0.0;
    const float limit = light_limit(pass, pass->threshold.value * (all + ends + 1.0));
    for (uint32_t i = 0; i < tried->n_sampled; i++) {
        const uint32_t p = tried->pages[i];
        n_light += count_light(head->x + (size_t)p * RSR_PAGE_TOKENS, pass->pages[p].n_keys, limit);
    }
    head->gave_up = are_few(n_light, n_keys);
}

static void try_sample(const struct louver_pass *pass, struct louver_head_state *head) {
    const float limit = light_limit(pass, head->budget);
    const uint32_t stride = sample_stride(pass);
    uint32_t n_keys = 0, n_light = 0;
    for (uint32_t p = stride / 2; p < pass->n_pages; p += stride) {
        if (!is_open(pass, head, p) || head->masks[p] == 0)
            continue;
        scan_page(pass, head, p);
        n_light += count_light(head->x + (size_t)p * RSR_PAGE_TOKENS, RSR_PAGE_TOKENS, limit);
        n_keys += RSR_PAGE_TOKENS;
    }
    head->gave_up = are_few(n_light, n_keys);
}

static void judge_plane1(const struct louver_pass *pass, struct louver_head_state *head) {
    uint32_t n_keys = 0, n_left = 0;
    for (uint32_t p = 0; !head->gave_up && p < pass->n_pages; p++) {
        n_left += is_open(pass, head, p) ? louver_count_keys(head->masks[p]) : 0;
        n_keys += RSR_PAGE_TOKENS;
    }
    if ((double)n_left > (1.0 - PLANE1_SHARE) * (double)n_keys)
        head->gave_up = true;
}

/* ---- All heads, of the member's pages ---- */

/* The longest key of all. */
static double longest_key(const struct louver_pass *pass) {
    double longest = 0.0;
    for (uint32_t p = 0; p < pass->n_pages; p++)
        longest = pass->norms[p].key > longest ? pass->norms[p].key : longest;
    return longest;
}

/* In the early trial, each member prepares its own pages and decides for its own heads. */
static void try_heads_early(struct louver_pass *pass, struct louver_head_state *heads) {
    const struct tried tried = list_tried(pass);
    louver_open_sidecars(pass);
    for (uint32_t i = 0; i < tried.n; i++) {
        const uint32_t p = tried.pages[i];
        if (p < pass->begin || p >= pass->end || pass->pages[p].sidecar == NULL)
            continue;
        louver_find_frame(pass, p);
        pass->stats.scanned += RSR_PAGE_TOKENS;
    }
    louver_meet(pass);
    const double longest = longest_key(pass);
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        if (!louver_has_head(pass, h))
            continue;
        for (uint32_t p = 0; p < pass->n_pages; p++)
            heads[h].masks[p] = louver_all_keys(pass->pages[p].n_keys);
        try_early(pass, &heads[h], &tried, longest);
    }
    louver_meet(pass);
}

/* One pass over the first plane, all heads together at each page. Pages of the early trial are
 * counted already. */
static void scan_pages(struct louver_pass *pass, struct louver_head_state *heads) {
    const uint32_t stride = sample_stride(pass), last = pass->n_pages - 1;
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        const bool sampled = is_sampled(p, stride);
        bool read = false, kept = false;
        for (uint32_t h = 0; h < pass->n_heads; h++) {
            struct louver_head_state *head = &heads[h];
            kept = kept || head->masks[p] != 0;
            if (sampled || !is_open(pass, head, p) || head->masks[p] == 0)
                continue;
            read = p != 0 && p != last;
            scan_page(pass, head, p);
        }
        pass->stats.scanned += read ? RSR_PAGE_TOKENS : 0;
        pass->stats.pages_skipped += !kept;
    }
}

/* A pass over the second plane, for the keys that are still in. */
static void refine_pages(struct louver_pass *pass, struct louver_head_state *heads) {
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        uint64_t read = 0;
        for (uint32_t h = 0; h < pass->n_heads; h++) {
            struct louver_head_state *head = &heads[h];
            if (!is_open(pass, head, p) || head->masks[p] == 0)
                continue;
            read |= head->masks[p];
            refine_page(pass, head, p);
        }
        pass->stats.plane2 += louver_count_keys(read);
    }
}

/* Completes pages of which most keys stay, and counts keys. */
static void finish_pages(struct louver_pass *pass, struct louver_head_state *heads) {
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        uint64_t read = 0;
        for (uint32_t h = 0; h < pass->n_heads; h++) {
            uint64_t *mask = &heads[h].masks[p];
            if (louver_count_keys(*mask) >= WHOLE_PAGE_KEYS)
                *mask = louver_all_keys(pass->pages[p].n_keys);
            read |= *mask;
        }
        pass->stats.exact += louver_count_keys(read);
    }
}

/* ---- One head after another, of all pages ---- */

static void start_heads(const struct louver_pass *pass, struct louver_head_state *heads) {
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        if (!louver_has_head(pass, h) || heads[h].gave_up)
            continue;
        find_best_page(pass, &heads[h]);
        start_head(pass, &heads[h]);
        drop_pages(pass, &heads[h]);
        try_sample(pass, &heads[h]);
    }
}

static void drop_by_plane1(const struct louver_pass *pass, struct louver_head_state *heads,
                           double share) {
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        if (!louver_has_head(pass, h))
            continue;
        drop_keys(pass, &heads[h], share);
        judge_plane1(pass, &heads[h]);
    }
}

static void drop_by_plane2(const struct louver_pass *pass, struct louver_head_state *heads) {
    for (uint32_t h = 0; h < pass->n_heads; h++)
        if (louver_has_head(pass, h))
            drop_keys(pass, &heads[h], 1.0);
}

static bool all_gave_up(const struct louver_pass *pass, const struct louver_head_state *heads) {
    uint32_t h = 0;
    while (h < pass->n_heads && heads[h].gave_up)
        h++;
    return h == pass->n_heads;
}

static void note_threshold(const struct louver_pass *pass, struct louver_head_state *head) {
    const double x = rsr_round_up(head->cut + (double)head->reference);
    head->threshold = rsr_round_up(x / (double)pass->setup->scale);
}

/* All members work on the heads of the first member's pass. Steps alternate between a split by
 * pages and a split by heads. */
static void leave_keys_out(struct louver_pass *pass, struct louver_head_state *heads) {
    const bool two_planes = pass->setup->shape.n_planes > 1;
    louver_find_frames(pass);
    louver_meet(pass);
    start_heads(pass, heads);
    louver_meet(pass);
    scan_pages(pass, heads);
    if (!all_gave_up(pass, heads)) {
        louver_meet(pass);
        drop_by_plane1(pass, heads, two_planes ? SHARE_PLANE1 : 1.0);
        louver_meet(pass);
    }
    if (two_planes && !all_gave_up(pass, heads)) {
        refine_pages(pass, heads);
        louver_meet(pass);
        drop_by_plane2(pass, heads);
        louver_meet(pass);
    }
    finish_pages(pass, heads);
    for (uint32_t h = 0; h < pass->n_heads; h++)
        if (louver_has_head(pass, h))
            note_threshold(pass, &heads[h]);
}

void louver_run_mass(struct louver_pass *pass) {
    struct louver_head_state *heads = pass->first->heads;
    try_heads_early(pass, heads);
    if (!all_gave_up(pass, heads)) {
        leave_keys_out(pass, heads);
        return;
    }
    for (uint32_t p = pass->begin; p < pass->end; p++)
        pass->stats.exact += pass->pages[p].n_keys;
}
