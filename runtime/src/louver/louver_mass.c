/* louver_mass.c - leaves out keys in increasing order of their bounds, as long as what is left out may
 * carry at most EPS of the softmax.
 *
 * With x[i] >= scale q . k[i] - r for a reference r, and Z at most the sum of exp(scale q . k[i] - r) over
 * all keys, the keys left out carry at most S / Z of the softmax, S the sum of their exp(x[i]). Z comes
 * from the open page and from the page with the highest bound, which are attended. S may reach EPS Z:
 * a quarter of it with whole pages, which then are not read at all, three quarters by the first plane, all
 * of it by the second. Keys are taken in order of x through a histogram; within a bin none is preferred.
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

#define ALL_KEYS UINT64_MAX

struct mass_head {
    struct louver_head_state *state;
    struct rsr_sketch_frame *frames; /* [sealed pages] */
    uint64_t *masks;                 /* [sealed pages]: keys that are still in */
    float *x;                        /* [sealed keys] */
    uint32_t best_page;              /* attended, whatever happens */
    double budget;                   /* what may be left out in all */
    double cut;                      /* everything left out has x below it */
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

/* ---- Reference and budget ---- */

/* Products of the first n_keys of a page; returns the largest scale q . k, about. */
static double score_page(const rsr_louver *index, const struct rsr_sketch_query *query,
                         uint32_t page, uint32_t n_keys, struct louver_hit *hits) {
    double largest = -INFINITY;
    for (uint32_t j = 0; j < n_keys; j++) {
        hits[j] = louver_exact_product(
            query->q, index->pages[page]->keys + (size_t)j * index->row_floats, index->head_dim);
        largest = fmax(largest, (double)index->scale * hits[j].upper);
    }
    return largest;
}

static double weigh(const rsr_louver *index, const struct louver_hit *hits, uint32_t n,
                    double reference) {
    float x[RSR_PAGE_TOKENS], y[RSR_PAGE_TOKENS];
    double sum = 0.0;
    for (uint32_t j = 0; j < n; j++)
        x[j] = louver_exponent_down(index, hits[j].lower, reference);
    louver_exp_lower(index->ops, y, x, n);
    for (uint32_t j = 0; j < n; j++)
        sum += (double)y[j];
    return sum;
}

static void start_head(const struct louver_pass *pass, uint32_t h, struct mass_head *head) {
    const rsr_louver *index = pass->index;
    const struct louver_scratch *s = &index->scratch;
    const uint32_t n_sealed = louver_sealed_pages(index);
    const uint32_t open_keys = index->n_keys % RSR_PAGE_TOKENS;
    const size_t capacity_pages = s->capacity_keys / RSR_PAGE_TOKENS;
    struct louver_hit best[RSR_PAGE_TOKENS], open[RSR_PAGE_TOKENS];
    struct louver_head_state *state = head->state;
    head->frames = s->frames + h * capacity_pages;
    head->masks = s->masks + h * capacity_pages;
    head->x = s->bounds + (size_t)h * s->capacity_keys;
    head->best_page = 0;
    head->cut = -INFINITY;
    for (uint32_t p = 0; p < n_sealed; p++) {
        head->masks[p] = ALL_KEYS;
        head->frames[p] =
            rsr_sketch_frame_of(&index->shape, index->pages[p]->sketch, &state->sketch);
        if (head->frames[p].bound > head->frames[head->best_page].bound)
            head->best_page = p;
    }
    const double best_largest =
        score_page(index, &state->sketch, head->best_page, RSR_PAGE_TOKENS, best);
    const double open_largest = score_page(index, &state->sketch, n_sealed, open_keys, open);
    state->reference = fmax(best_largest, open_largest);
    const double z = weigh(index, best, RSR_PAGE_TOKENS, state->reference) +
                     weigh(index, open, open_keys, state->reference);
    /* Less a little for what is rounded up when the masses are certified. */
    head->budget = pass->threshold.value * z * (1.0 - 0x1p-16);
}

/* ---- The three cuts ---- */

static void drop_pages(const rsr_louver *index, struct mass_head *head) {
    double bins[N_BINS] = {0.0};
    const uint32_t n_sealed = louver_sealed_pages(index);
    const double reference = rsr_round_down(head->state->reference - LOG_PAGE);
    for (uint32_t p = 0; p < n_sealed; p++) {
        head->x[p] = louver_exponent_up(index, head->frames[p].bound, reference);
        if (p != head->best_page)
            add_to_bins(index->ops, bins, &head->x[p], 1);
    }
    const uint32_t n_bins = spend(head, bins, SHARE_PAGES);
    for (uint32_t p = 0; p < n_sealed; p++)
        if (p != head->best_page && bin_of(head->x[p]) < n_bins)
            head->masks[p] = 0;
}

static void drop_keys(const rsr_louver *index, struct mass_head *head, double share) {
    double bins[N_BINS] = {0.0};
    const uint32_t n_sealed = louver_sealed_pages(index);
    for (uint32_t p = 0; p < n_sealed; p++) {
        float in[RSR_PAGE_TOKENS];
        uint32_t n = 0;
        for (uint64_t left = p != head->best_page ? head->masks[p] : 0; left != 0; left &= left - 1)
            in[n++] = head->x[p * RSR_PAGE_TOKENS + (uint32_t)__builtin_ctzll(left)];
        add_to_bins(index->ops, bins, in, n);
    }
    const uint32_t n_bins = spend(head, bins, share);
    for (uint32_t p = 0; p < n_sealed; p++) {
        for (uint64_t left = p != head->best_page ? head->masks[p] : 0; left != 0;
             left &= left - 1) {
            const uint32_t j = (uint32_t)__builtin_ctzll(left);
            if (bin_of(head->x[p * RSR_PAGE_TOKENS + j]) < n_bins)
                head->masks[p] &= ~(UINT64_C(1) << j);
        }
    }
}

/* x of a page's keys by the first plane. */
static void scan_page(const rsr_louver *index, struct mass_head *head, uint32_t page) {
    for (uint32_t group = 0; group < RSR_PAGE_TOKENS / RSR_SKETCH_LANES; group++) {
        float t[RSR_SKETCH_LANES];
        float *x = head->x + (size_t)page * RSR_PAGE_TOKENS + group * RSR_SKETCH_LANES;
        index->kernel->scan(&index->shape, index->pages[page]->sketch, &head->state->sketch, group,
                            t);
        for (uint32_t lane = 0; lane < RSR_SKETCH_LANES; lane++)
            x[lane] = louver_exponent_up(index, rsr_sketch_upper(&head->frames[page], 0, t[lane]),
                                         head->state->reference);
    }
}

/* x of the keys that are still in, by both planes. */
static void refine_page(const rsr_louver *index, struct mass_head *head, uint32_t page) {
    for (uint64_t left = head->masks[page]; left != 0; left &= left - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(left);
        const float t = index->kernel->refine(&index->shape, index->pages[page]->sketch,
                                              &head->state->sketch, j);
        head->x[page * RSR_PAGE_TOKENS + j] = louver_exponent_up(
            index, rsr_sketch_upper(&head->frames[page], 1, t), head->state->reference);
    }
}

/* One pass over the sketches, all heads at a page. */
static void bound_keys(struct louver_pass *pass, struct mass_head *heads, uint32_t plane) {
    const uint32_t n_sealed = louver_sealed_pages(pass->index);
    for (uint32_t p = 0; p < n_sealed; p++) {
        uint64_t read = 0;
        for (uint32_t h = 0; h < pass->n_heads; h++) {
            if (p == heads[h].best_page || heads[h].masks[p] == 0)
                continue;
            read |= heads[h].masks[p];
            if (plane == 0)
                scan_page(pass->index, &heads[h], p);
            else
                refine_page(pass->index, &heads[h], p);
        }
        if (plane == 0) {
            pass->stats.scanned += read != 0 ? RSR_PAGE_TOKENS : 0;
            pass->stats.pages_skipped += read == 0;
        } else {
            pass->stats.plane2 += (uint32_t)__builtin_popcountll(read);
        }
    }
}

static void score_rest(struct louver_pass *pass, const struct mass_head *heads) {
    const uint32_t n_sealed = louver_sealed_pages(pass->index);
    const uint32_t open_keys = pass->index->n_keys % RSR_PAGE_TOKENS;
    uint64_t keys_of_head[LOUVER_MAX_HEADS];
    for (uint32_t p = 0; p <= n_sealed; p++) {
        for (uint32_t h = 0; h < pass->n_heads; h++)
            keys_of_head[h] = p < n_sealed ? heads[h].masks[p] : (UINT64_C(1) << open_keys) - 1;
        louver_score_page(pass, p, keys_of_head);
    }
}

void louver_run_mass(struct louver_pass *pass) {
    const rsr_louver *index = pass->index;
    struct mass_head heads[LOUVER_MAX_HEADS];
    const bool any_sealed = louver_sealed_pages(index) > 0;
    for (uint32_t h = 0; h < pass->n_heads; h++)
        heads[h].state = &pass->heads[h];
    for (uint32_t h = 0; any_sealed && h < pass->n_heads; h++) {
        start_head(pass, h, &heads[h]);
        drop_pages(index, &heads[h]);
    }
    if (any_sealed)
        bound_keys(pass, heads, 0);
    for (uint32_t h = 0; any_sealed && h < pass->n_heads; h++)
        drop_keys(index, &heads[h], index->shape.n_planes > 1 ? SHARE_PLANE1 : 1.0);
    if (any_sealed && index->shape.n_planes > 1) {
        bound_keys(pass, heads, 1);
        for (uint32_t h = 0; h < pass->n_heads; h++)
            drop_keys(index, &heads[h], 1.0);
    }
    score_rest(pass, heads);
    for (uint32_t h = 0; any_sealed && h < pass->n_heads; h++) {
        const double x = rsr_round_up(heads[h].cut + pass->heads[h].reference);
        pass->heads[h].threshold = rsr_round_up(x / (double)index->scale);
    }
}
