/* louver_mass.c - leaves out keys in increasing order of their bounds, while they can have at most
 * EPS of the softmax.
 *
 * Let w[i] = exp(scale q . k[i] - r) for a reference r, let G be any set of keys that are attended
 * to, Z a lower bound of the sum of w over G, and S an upper bound of the sum of w over the keys
 * left out, which G does not have. Then these keys have at most S / (S + Z) of the softmax. (With
 * the true sums s <= S and z >= Z their part of the softmax is at most s / (s + z), which grows
 * with s and falls with z. Keys that are attended to but not in G only make the part smaller.) So
 * Z may come from whatever keys were scored, as long as these keys stay; louver_head_state.given
 * has them. S may reach EPS Z.
 *
 * Z is as large as the keys in G are heavy. Bounds of pages hardly tell pages apart, so the page
 * with the highest bound gives a Z that is nearly 0. The first plane ranks keys: the 64 keys with
 * the highest x are scored, and have most of the softmax wherever anything can be left out. G is
 * these keys, pages without a sidecar, pages with sinks or keys of the window, and the best keys of
 * the page with the highest bound, from which the reference comes before all keys are ranked.
 *
 * A part of the budget is spent on whole pages, whose sketches are then not read; then keys are
 * left out by the first plane; all of the budget may be spent by the second. No exact products are
 * needed for the rest: keys that no sketch drops are attended to.
 */
#include <math.h>

#include "louver_mass.h"
#include "louver_time.h"
#include "sketch/sketch_round.h"

#define SHARE_PAGES 0.05
#define SHARE_PLANE1 0.25

/* Keys that are scored of the page with the highest bound. */
#define BEST_PAGE_KEYS 8u

/* `bounds` shares its reads among this many queries. */
#define SCANNED_HEADS 4u

/* If at least this many keys of a page are open, all of its keys are refined at once. */
#define REFINED_TOGETHER 8u

/* A test compiles this file with a Z of keys that may be left out, and must see false
 * certificates. */
#ifndef RSR_LOUVER_OMIT
#define RSR_LOUVER_OMIT 0
#endif

/* ---- Z ---- */

/* Scores keys of a page, which G gets. The reference becomes the largest score so far. */
static void give_keys(const struct louver_pass *pass, struct louver_head_state *head, uint32_t page,
                      uint64_t keys) {
    const struct rsr_ops *ops = pass->setup->ops;
    const double error = louver_score_error(pass->setup, head->sketch.norm, pass->norms[page].key);
    float all[RSR_PAGE_TOKENS], z[RSR_PAGE_TOKENS], largest = -INFINITY;
    uint32_t n = 0;
    louver_want_mask(pass->setup, pass->pages[page].rows.keys, keys);
    louver_scores(pass->setup, &pass->pages[page], head->q, keys, all);
    for (uint64_t left = keys; left != 0; left &= left - 1)
        z[n++] = all[__builtin_ctzll(left)];
    for (uint32_t j = 0; j < n; j++)
        largest = z[j] > largest ? z[j] : largest;
    if (largest > head->reference) {
        head->attended *= louver_exp_sum_lower(ops, &head->reference, 1, largest, 0.0);
        head->reference = largest;
    }
    head->attended += louver_exp_sum_lower(ops, z, n, head->reference, error);
    head->given[page] |= keys;
    if (RSR_LOUVER_OMIT == 4 && pass->pages[page].sidecar != NULL)
        head->given[page] = 0;
}

/* Less a little for what is rounded up when the masses are certified. */
void louver_set_budget(const struct louver_pass *pass, struct louver_head_state *head) {
    head->budget =
        pass->threshold.value * head->attended * (1.0 - 0x1p-16) * louver_allowance(pass, head);
}

/* The page with the highest bound, and the least bound, of those whose frames are known. */
static void find_best_page(const struct louver_pass *pass, struct louver_head_state *head,
                           enum louver_known known) {
    head->best_page = pass->n_pages;
    head->least_bound = INFINITY;
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        if (pass->pages[p].sidecar == NULL ||
            (known == LOUVER_TRIED_PAGES && !louver_is_tried(pass, p)))
            continue;
        const double bound = head->frames[p].bound;
        head->least_bound = fmin(bound, head->least_bound);
        if (head->best_page == pass->n_pages || bound > head->frames[head->best_page].bound)
            head->best_page = p;
    }
}

/* Scores the keys of the best page that the first plane estimates highest. */
static void give_best_page(const struct louver_pass *pass, struct louver_head_state *head) {
    const struct louver_setup *setup = pass->setup;
    const struct rsr_sketch_query *query = louver_query_of(head, &pass->pages[head->best_page]);
    const void *sketch = louver_sketch(&pass->pages[head->best_page]);
    float t[RSR_PAGE_TOKENS], estimates[RSR_PAGE_TOKENS];
    uint64_t keys = 0;
    setup->kernel->bounds(&setup->shape, sketch, &query, 1, t, estimates, RSR_PAGE_TOKENS, NULL);
    for (uint32_t i = 0; i < BEST_PAGE_KEYS; i++) {
        const float largest = setup->ops->largest_score(estimates);
        uint32_t j = 0;
        while (j < RSR_PAGE_TOKENS && !(estimates[j] >= largest))
            j++;
        if (j == RSR_PAGE_TOKENS)
            break;
        keys |= UINT64_C(1) << j;
        estimates[j] = -INFINITY;
    }
    give_keys(pass, head, head->best_page, keys);
}

/* Scores the pages that are in G, and some keys of the best page. */
static void give_pages(const struct louver_pass *pass, struct louver_head_state *head,
                       enum louver_known known) {
    const bool has_forced = pass->threshold.sinks > 0 || pass->threshold.window > 0;
    head->reference = -INFINITY;
    head->attended = 0.0;
    head->cut = -INFINITY;
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        head->given[p] = 0;
        if (pass->pages[p].sidecar == NULL || (has_forced && louver_forced_keys(pass, p) != 0))
            give_keys(pass, head, p, louver_all_keys(pass->pages[p].n_keys));
    }
    find_best_page(pass, head, known);
    if (head->best_page < pass->n_pages && head->given[head->best_page] == 0)
        give_best_page(pass, head);
    louver_set_budget(pass, head);
}

/* ---- Heavy keys ---- */

struct heavy_key {
    float x;
    uint32_t key;
};

/* A heap whose first key comes last in the order of heaviness. */
struct heavy {
    uint32_t n, most;
    struct heavy_key keys[LOUVER_HEAVY_KEYS];
};

/* Larger x first, then the earlier key. */
static bool is_heavier(struct heavy_key a, struct heavy_key b) {
    return a.x > b.x || (a.x == b.x && a.key < b.key);
}

static void sink_heavy(struct heavy *heavy, struct heavy_key key) {
    uint32_t at = 0;
    for (uint32_t child; (child = 2 * at + 1) < heavy->n; at = child) {
        child += child + 1 < heavy->n && is_heavier(heavy->keys[child], heavy->keys[child + 1]);
        if (!is_heavier(key, heavy->keys[child]))
            break;
        heavy->keys[at] = heavy->keys[child];
    }
    heavy->keys[at] = key;
}

static void raise_heavy(struct heavy *heavy, struct heavy_key key) {
    uint32_t at = heavy->n++;
    for (; at > 0 && is_heavier(heavy->keys[(at - 1) / 2], key); at = (at - 1) / 2)
        heavy->keys[at] = heavy->keys[(at - 1) / 2];
    heavy->keys[at] = key;
}

/* The open keys with the highest x; of equal ones, the first. */
static void find_heavy(const struct louver_pass *pass, const struct louver_head_state *head,
                       struct heavy *heavy) {
    heavy->n = 0;
    heavy->most = louver_n_heavy(pass);
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        const float *x = head->x + (size_t)p * RSR_PAGE_TOKENS;
        uint64_t left = louver_open_keys(head, p);
        if (left != 0 && heavy->n == heavy->most)
            left &= ~pass->setup->lanes->below(x, heavy->keys[0].x);
        for (; left != 0; left &= left - 1) {
            const uint32_t j = (uint32_t)__builtin_ctzll(left);
            const struct heavy_key key = {x[j], p * RSR_PAGE_TOKENS + j};
            if (heavy->n < heavy->most)
                raise_heavy(heavy, key);
            else if (is_heavier(key, heavy->keys[0]))
                sink_heavy(heavy, key);
        }
    }
}

/* Changes what was computed with another reference, which was not larger than head->reference: x,
 * the weight that was left out, and the cut. A difference of two float32 rounds by 2^-24 of itself,
 * and not at all where it is denormal. */
static void rebase(const struct louver_pass *pass, struct louver_head_state *head, float before) {
    const double down = rsr_round_down((double)head->reference - (double)before);
    const float less = rsr_float_down(down);
    float factor, exponent = -less;
    if (!(less > 0.0f))
        return;
    louver_exp_upper(pass->setup->ops, &factor, &exponent, 1);
    head->skipped = rsr_round_up(head->skipped * (double)factor);
    head->cut = rsr_round_up(head->cut - (double)less);
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        float *x = head->x + (size_t)p * RSR_PAGE_TOKENS;
        if (louver_open_keys(head, p) == 0)
            continue;
        for (uint32_t j = 0; j < RSR_PAGE_TOKENS; j++)
            x[j] = (x[j] - less) + fabsf(x[j] - less) * 0x1p-23f;
    }
}

static void sort_by_address(struct heavy_key *keys, uint32_t n) {
    for (uint32_t i = 1; i < n; i++) {
        const struct heavy_key key = keys[i];
        uint32_t at = i;
        for (; at > 0 && keys[at - 1].key > key.key; at--)
            keys[at] = keys[at - 1];
        keys[at] = key;
    }
}

/* G gets the heaviest keys, in the order of their addresses. */
static void give_heavy(const struct louver_pass *pass, struct louver_head_state *head) {
    const float before = head->reference;
    struct heavy heavy;
    find_heavy(pass, head, &heavy);
    sort_by_address(heavy.keys, heavy.n);
    for (uint32_t i = 0; i < heavy.n; i++)
        louver_fetch_row(pass->setup, pass->pages[heavy.keys[i].key / RSR_PAGE_TOKENS].rows.keys,
                         heavy.keys[i].key % RSR_PAGE_TOKENS);
    for (uint32_t i = 0; i < heavy.n;) {
        const uint32_t page = heavy.keys[i].key / RSR_PAGE_TOKENS;
        uint64_t keys = 0;
        for (; i < heavy.n && heavy.keys[i].key / RSR_PAGE_TOKENS == page; i++)
            keys |= UINT64_C(1) << heavy.keys[i].key % RSR_PAGE_TOKENS;
        give_keys(pass, head, page, keys);
    }
    rebase(pass, head, before);
    louver_set_budget(pass, head);
}

/* ---- Bounds as x ---- */

struct louver_line louver_line_of(const struct louver_setup *setup,
                                  const struct louver_head_state *head, uint32_t page,
                                  uint32_t plane) {
    const struct rsr_sketch_frame *frame = &head->frames[page];
    const double slope = (double)setup->scale * frame->unit; /* unit is a power of two */
    return (struct louver_line){
        .base = louver_weighted_up(
            head, page, louver_exponent_up(setup, frame->offset[plane], (double)head->reference)),
        .slope = (float)slope,
        .exact = (double)(float)slope == slope && slope >= 0x1p-100,
    };
}

/* ---- All heads, of the member's pages ---- */

/* x of a page's keys by the first plane, for all heads that need it. */
static void scan_page(struct louver_pass *pass, struct louver_head_state *heads, uint32_t page) {
    const struct louver_setup *setup = pass->setup;
    const struct louver_page *after = page + 1 < pass->end ? &pass->pages[page + 1] : NULL;
    const void *next = after != NULL && after->sidecar != NULL ? louver_sketch(after) : NULL;
    const struct rsr_sketch_query *queries[LOUVER_MAX_HEADS];
    uint32_t numbers[LOUVER_MAX_HEADS], n = 0;
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        if (louver_open_keys(&heads[h], page) == 0)
            continue;
        queries[n] = louver_queries_of(pass, &pass->pages[page])[h];
        numbers[n++] = h;
    }
    pass->stats.scanned += n > 0 ? RSR_PAGE_TOKENS : 0;
    for (uint32_t first = 0, some; first < n; first += some) {
        float t[SCANNED_HEADS][RSR_PAGE_TOKENS];
        some = n - first < SCANNED_HEADS ? n - first : SCANNED_HEADS;
        setup->kernel->bounds(&setup->shape, louver_sketch(&pass->pages[page]), queries + first,
                              some, t[0], NULL, RSR_PAGE_TOKENS, first == 0 ? next : NULL);
        for (uint32_t i = 0; i < some; i++) {
            struct louver_head_state *head = &heads[numbers[first + i]];
            const struct louver_line line = louver_line_of(setup, head, page, 0);
            setup->lanes->bounds(&line, head->x + (size_t)page * RSR_PAGE_TOKENS, t[i]);
        }
    }
}

/* One pass over the first plane. Tried pages were scanned already. */
static void scan_pages(struct louver_pass *pass, struct louver_head_state *heads) {
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        bool kept = false;
        for (uint32_t h = 0; h < pass->n_heads; h++)
            kept = kept || heads[h].masks[p] != 0;
        pass->stats.pages_skipped += !kept;
        if (!louver_is_tried(pass, p))
            scan_page(pass, heads, p);
    }
}

/* x of the keys that are still open, by both planes, where these are few. */
static void refine_few(const struct louver_pass *pass, struct louver_head_state *head,
                       uint32_t page) {
    const struct louver_setup *setup = pass->setup;
    const struct louver_line line = louver_line_of(setup, head, page, 1);
    const uint64_t open = louver_open_keys(head, page);
    float t[RSR_SKETCH_VECTORS] = {0.0f}, x[RSR_SKETCH_VECTORS];
    uint32_t n = 0;
    setup->kernel->refine(&setup->shape, louver_sketch(&pass->pages[page]),
                          louver_query_of(head, &pass->pages[page]), open, t);
    setup->lanes->bounds(&line, x, t);
    for (uint64_t left = open; left != 0; left &= left - 1)
        head->x[(size_t)page * RSR_PAGE_TOKENS + (uint32_t)__builtin_ctzll(left)] = x[n++];
}

/* x of all keys of a page, by both planes, for the n heads whose numbers are given. */
static void refine_all(const struct louver_pass *pass, struct louver_head_state *heads,
                       uint32_t page, const uint32_t *numbers, uint32_t n) {
    const struct louver_setup *setup = pass->setup;
    for (uint32_t first = 0, some; first < n; first += some) {
        const struct rsr_sketch_query *queries[SCANNED_HEADS];
        float t[SCANNED_HEADS][RSR_PAGE_TOKENS];
        some = n - first < SCANNED_HEADS ? n - first : SCANNED_HEADS;
        for (uint32_t i = 0; i < some; i++)
            queries[i] = louver_queries_of(pass, &pass->pages[page])[numbers[first + i]];
        setup->kernel->refine_all(&setup->shape, louver_sketch(&pass->pages[page]), queries, some,
                                  t[0], RSR_PAGE_TOKENS);
        for (uint32_t i = 0; i < some; i++) {
            struct louver_head_state *head = &heads[numbers[first + i]];
            const struct louver_line line = louver_line_of(setup, head, page, 1);
            setup->lanes->bounds(&line, head->x + (size_t)page * RSR_PAGE_TOKENS, t[i]);
        }
    }
}

/* A pass over the second plane. */
static void refine_pages(struct louver_pass *pass, struct louver_head_state *heads) {
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        uint64_t read = 0;
        uint32_t numbers[LOUVER_MAX_HEADS], n = 0;
        for (uint32_t h = 0; h < pass->n_heads; h++) {
            const uint64_t open = louver_open_keys(&heads[h], p);
            read |= open;
            if (louver_count_keys(open) >= REFINED_TOGETHER)
                numbers[n++] = h;
            else if (open != 0)
                refine_few(pass, &heads[h], p);
        }
        refine_all(pass, heads, p, numbers, n);
        pass->stats.plane2 += louver_count_keys(read);
    }
}

/* Completes pages of which so many keys stay that one walk for all heads takes no longer than these
 * keys, and counts keys. */
static void finish_pages(struct louver_pass *pass, struct louver_head_state *heads) {
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        uint64_t read = 0;
        for (uint32_t h = 0; h < pass->n_heads; h++)
            read |= heads[h].masks[p];
        if (louver_is_whole(louver_count_keys(read))) {
            read = louver_all_keys(pass->pages[p].n_keys);
            for (uint32_t h = 0; h < pass->n_heads; h++)
                heads[h].masks[p] = read;
        }
        pass->stats.exact += louver_count_keys(read);
    }
}

/* ---- One head after another, of all pages ---- */

/* What members do for their own heads. */
typedef void head_step(const struct louver_pass *pass, struct louver_head_state *head);

static void each_head(const struct louver_pass *pass, head_step *step) {
    for (uint32_t h = 0; h < pass->n_heads; h++)
        if (louver_has_head(pass, h))
            step(pass, &pass->first->heads[h]);
}

static void take_all(const struct louver_pass *pass, struct louver_head_state *head) {
    for (uint32_t p = 0; p < pass->n_pages; p++)
        head->masks[p] = louver_all_keys(pass->pages[p].n_keys);
}

static void try_known(const struct louver_pass *pass, struct louver_head_state *head,
                      enum louver_known known) {
    give_pages(pass, head, known);
    take_all(pass, head);
    louver_try_head(pass, head, known);
}

static void try_by_sample(const struct louver_pass *pass, struct louver_head_state *head) {
    try_known(pass, head, LOUVER_TRIED_PAGES);
}

static void try_head(const struct louver_pass *pass, struct louver_head_state *head) {
    try_known(pass, head, LOUVER_ALL_PAGES);
}

static void drop_pages(const struct louver_pass *pass, struct louver_head_state *head) {
    louver_drop_pages(pass, head, SHARE_PAGES);
}

static void drop_by_plane1(const struct louver_pass *pass, struct louver_head_state *head) {
    give_heavy(pass, head);
    louver_reach_given(pass, head);
    louver_drop_keys(pass, head, pass->setup->shape.n_planes > 1 ? SHARE_PLANE1 : 1.0);
}

static void drop_by_plane2(const struct louver_pass *pass, struct louver_head_state *head) {
    louver_drop_keys(pass, head, 1.0);
}

static void note_threshold(const struct louver_pass *pass, struct louver_head_state *head) {
    const double least = head->weights == NULL ? 0.0 : (double)pass->first->spread.least_weight;
    const double x = rsr_round_up(rsr_round_up(head->cut - least) + (double)head->reference);
    head->threshold = rsr_round_up(x / (double)pass->setup->scale);
}

/* ---- A pass ---- */

static void count_tried(struct louver_pass *pass) {
    for (uint32_t p = pass->begin; p < pass->end; p++)
        pass->stats.scanned += louver_is_tried(pass, p) ? RSR_PAGE_TOKENS : 0;
}

/* What a pass reads that gives up: all keys, and before them sketches of the heads' best pages. */
static void count_all(struct louver_pass *pass) {
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        bool is_best = false;
        for (uint32_t h = 0; h < pass->n_heads; h++)
            is_best = is_best || pass->first->heads[h].best_page == p;
        pass->stats.scanned += is_best && !louver_is_tried(pass, p) ? RSR_PAGE_TOKENS : 0;
        pass->stats.exact += pass->pages[p].n_keys;
    }
}

/* Frames of the tried pages, or of all others; their sidecars are open. */
static void find_frames(struct louver_pass *pass, bool tried) {
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        if (!tried)
            louver_fetch_frame(pass, p + 1);
        if (pass->pages[p].sidecar != NULL && louver_is_tried(pass, p) == tried)
            louver_find_frame(pass, p);
    }
}

/* Whether an attempt is made; the same for every member. Head's masks have all keys afterwards. */
static bool decide(struct louver_pass *pass, head_step *attempt,
                   bool (*is_made)(const struct louver_pass *pass)) {
    each_head(pass, attempt);
    louver_meet(pass);
    const bool made = is_made(pass);
    louver_meet(pass); /* all have read the masks of the trial */
    each_head(pass, take_all);
    return made;
}

static bool has_hope(const struct louver_pass *pass) {
    return !louver_is_hopeless(pass);
}

/* Weights of the rule error need the frames of all pages, so it has no trial by the sample
 * alone. */
static bool is_tried_in_vain(struct louver_pass *pass) {
    louver_open_sidecars(pass);
    find_frames(pass, true);
    louver_meet(pass);
    if (pass->threshold.kind == RSR_LOUVER_MASS && !decide(pass, try_by_sample, has_hope))
        return true;
    find_frames(pass, false);
    louver_meet(pass);
    if (pass == pass->first)
        louver_find_spread(pass);
    louver_meet(pass);
    return !decide(pass, try_head, louver_is_worth);
}

/* All members work on the heads of the first member's pass. Steps alternate between a split by
 * pages and a split by heads. */
void louver_run_mass(struct louver_pass *pass) {
    struct louver_head_state *heads = pass->first->heads;
    const bool in_vain = is_tried_in_vain(pass);
    count_tried(pass);
    if (in_vain) {
        count_all(pass);
        louver_meet(pass); /* masks of other members' heads change after this */
        return;
    }
    each_head(pass, drop_pages);
    louver_meet(pass);
    scan_pages(pass, heads);
    louver_meet(pass);
    each_head(pass, drop_by_plane1);
    louver_meet(pass);
    if (pass->setup->shape.n_planes > 1) {
        refine_pages(pass, heads);
        louver_meet(pass);
        each_head(pass, drop_by_plane2);
        louver_meet(pass);
    }
    finish_pages(pass, heads);
    each_head(pass, note_threshold);
}
