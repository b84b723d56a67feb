/* louver_pass.c - runs a query: its scratch memory, its beginning, and the choice of the rule that
 * finds the keys for each head. */
#include <math.h>
#include <string.h>

#include "louver.h"
#include "sketch/sketch_round.h"

#define SIDECARS_AHEAD                                                                             \
    8u /* first lines of this many sidecars are prefetched, if nothing else is read of them */

/* ---- Scratch ---- */

struct cutter {
    char *memory; /* NULL: only count */
    uint64_t used;
};

static void *cut(struct cutter *c, uint64_t n, uint64_t element_bytes) {
    void *at = c->memory == NULL ? NULL : c->memory + c->used;
    c->used += (n * element_bytes + 63u) & ~UINT64_C(63);
    return at;
}

static bool is_ranked(rsr_louver_kind kind) {
    return kind == RSR_LOUVER_TOPK || kind == RSR_LOUVER_BUDGET;
}

/* Returns the memory of the prepared query. */
static void *cut_head(struct cutter *c, const struct louver_setup *setup, rsr_louver_kind kind,
                      uint64_t n_pages, struct louver_head_state *head) {
    const size_t query_bytes = rsr_sketch_query_bytes(&setup->shape);
    const uint64_t n_keys = n_pages * RSR_PAGE_TOKENS;
    float *rows = cut(c, 2 * setup->row_floats, sizeof(float));
    head->q = rows;
    head->out = rows == NULL ? NULL : rows + setup->row_floats;
    head->masks = cut(c, n_pages, sizeof(*head->masks));
    if (is_ranked(kind)) {
        head->uppers = cut(c, n_keys, sizeof(*head->uppers));
        head->best.heap = cut(c, n_keys, sizeof(*head->best.heap));
        head->sample.heap = cut(c, n_keys, sizeof(*head->sample.heap));
        head->sample.keys = cut(c, n_keys, sizeof(*head->sample.keys));
        head->joined = cut(c, n_keys, sizeof(*head->joined));
    } else if (louver_has_budget(kind)) {
        head->x = cut(c, n_keys, sizeof(*head->x));
        head->frames = cut(c, n_pages, sizeof(*head->frames));
        head->given = cut(c, n_pages, sizeof(*head->given));
    }
    head->rotated.query = cut(c, 1, sizeof(*head->rotated.query));
    head->rotated.memory = cut(c, 1, query_bytes);
    head->rotated.q = cut(c, setup->row_floats, sizeof(*head->rotated.q));
    return cut(c, 1, query_bytes);
}

/* Rows that a member keeps for the first one to merge; none if it is alone. */
static uint64_t kept_rows(uint32_t n_heads, uint64_t n_pages, uint32_t n_members) {
    return n_members > 1 ? (n_pages / n_members + 1) * n_heads : 0;
}

static void cut_shared(struct cutter *c, const struct louver_setup *setup, rsr_louver_kind kind,
                       uint32_t n_heads, uint32_t n_pages, uint32_t n_members,
                       struct louver_pass *pass) {
    const bool has_spread = kind == RSR_LOUVER_ERROR;
    const uint64_t kept = kept_rows(n_heads, n_pages, n_members);
    pass->kept_out = cut(c, kept, setup->row_floats * sizeof(*pass->kept_out));
    pass->kept_states = cut(c, kept, sizeof(*pass->kept_states));
    pass->page_out = cut(c, setup->row_floats, sizeof(*pass->page_out));
    pass->norms = cut(c, n_pages, sizeof(*pass->norms));
    pass->sampled = cut(c, LOUVER_SAMPLE_KEYS, sizeof(*pass->sampled));
    pass->spread = (struct louver_spread){
        .centre = cut(c, has_spread ? setup->head_dim : 0, sizeof(*pass->spread.centre)),
        .weights = cut(c, has_spread ? n_pages : 0, sizeof(*pass->spread.weights)),
    };
}

uint64_t louver_pass_bytes(const struct louver_setup *setup, rsr_louver_kind kind, uint32_t n_heads,
                           uint32_t n_pages, uint32_t n_members) {
    /* No sum overflows: counts have 32 bits, elements less than 128 bytes, and there are at most 64
     * heads of at most 320 dimensions. */
    struct cutter counter = {0};
    struct louver_head_state unused;
    (void)cut_head(&counter, setup, kind, n_pages, &unused);
    uint64_t bytes;
    if (__builtin_mul_overflow(counter.used, (uint64_t)n_heads, &bytes))
        return UINT64_MAX;
    counter.used = 0;
    struct louver_pass no_pass;
    cut_shared(&counter, setup, kind, n_heads, n_pages, n_members, &no_pass);
    return __builtin_add_overflow(bytes, counter.used, &bytes) ? UINT64_MAX : bytes;
}

/* ---- Beginning ---- */

/* T of a head before any key was seen. */
static double first_threshold(const rsr_louver_threshold *threshold, const double *values,
                              uint32_t head) {
    if (threshold->kind != RSR_LOUVER_VALUE)
        return -INFINITY;
    return values != NULL ? values[head] : threshold->value;
}

uint64_t louver_forced_keys(const struct louver_pass *pass, uint32_t page) {
    const uint32_t first = louver_first_key(pass, page), n = pass->pages[page].n_keys;
    const uint32_t sinks = pass->threshold.sinks, window = pass->threshold.window;
    const uint32_t n_sinks = sinks > first ? sinks - first : 0;
    /* Number of keys before the window. */
    const uint32_t before = window < pass->n_keys ? pass->n_keys - window : 0;
    const uint32_t n_before = before > first ? before - first : 0;
    return louver_all_keys(n_sinks < n ? n_sinks : n) |
           (louver_all_keys(n) & ~louver_all_keys(n_before < n ? n_before : n));
}

/* Prepares the queries for sketches of rotated keys. */
static void rotate_queries(struct louver_pass *pass) {
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        struct louver_head_state *head = &pass->heads[h];
        struct louver_rotated *to = &head->rotated;
        memset(to->q, 0, pass->setup->row_floats * sizeof(*to->q));
        to->error = louver_rotate_query(pass->setup, to->q, head->q, head->sketch.norm);
        rsr_sketch_prepare(&pass->setup->shape, to->q, to->memory, to->query);
    }
    pass->has_rotated = true;
}

bool louver_open_sidecar(struct louver_pass *pass, uint32_t page) {
    struct louver_page *view = &pass->pages[page];
    if (view->sidecar != NULL && !view->sidecar->usable) {
        view->sidecar = NULL;
        pass->stats.pages--;
    }
    if (view->sidecar == NULL) {
        pass->norms[page].key = louver_rows_norm(pass->setup, view->rows.keys, view->n_keys);
        return false;
    }
    pass->norms[page] = view->sidecar->norms;
    view->rotated = view->sidecar->rotated;
    if (view->rotated && !pass->has_rotated)
        rotate_queries(pass);
    return true;
}

/* Fills the part that all members' passes share, with each member's memory and span. team NULL:
 * there is one member. */
static void start_pass(struct louver_pass *pass, const struct louver_setup *setup,
                       struct louver_page *pages, uint32_t n_pages, uint32_t n_keys,
                       const rsr_louver_threshold *threshold, const double *values,
                       uint32_t n_heads, const struct louver_team *team, struct cutter *cutter) {
    pass->setup = setup;
    pass->team = team == NULL ? (struct louver_team){.n = 1} : *team;
    const uint64_t number = pass->team.number;
    pass->begin = (uint32_t)(n_pages * number / pass->team.n);
    pass->end = (uint32_t)(n_pages * (number + 1) / pass->team.n);
    pass->pages = pages;
    pass->n_pages = n_pages;
    pass->n_keys = n_keys;
    pass->n_heads = n_heads;
    pass->threshold = *threshold;
    pass->values = values;
    pass->has_rotated = false;
    pass->closed = 0;
    pass->n_visits = 0;
    for (uint32_t i = 0; i < 2; i++) { /* no page is pending */
        pass->sieved[i].n = 0;
        pass->sieved[i].forced = 0;
    }
    pass->found.n = pass->fetched.n = 0;
    pass->stats = (rsr_louver_stats){.size_bytes = sizeof(pass->stats)};
    pass->stats.n_keys = number == 0 ? n_keys : 0;
    cut_shared(cutter, setup, threshold->kind, n_heads, n_pages, pass->team.n, pass);
}

static void note_queries(struct louver_pass *pass, uint32_t head,
                         const struct rsr_sketch_query *plain,
                         const struct rsr_sketch_query *rotated) {
    pass->heads[head].queries[0] = pass->queries[0][head] = plain;
    pass->heads[head].queries[1] = pass->queries[1][head] = rotated;
}

void louver_pass_begin(struct louver_pass *pass, const struct louver_setup *setup,
                       struct louver_page *pages, uint32_t n_pages,
                       const rsr_louver_threshold *threshold, const double *values, const float *q,
                       size_t q_stride, uint32_t n_heads, const struct louver_team *team,
                       void *memory) {
    struct cutter cutter = {.memory = memory};
    uint32_t n_keys = 0;
    for (uint32_t p = 0; p < n_pages; p++)
        n_keys += pages[p].n_keys;
    start_pass(pass, setup, pages, n_pages, n_keys, threshold, values, n_heads, team, &cutter);
    pass->first = pass;
    for (uint32_t h = 0; h < n_heads; h++) {
        struct louver_head_state *head = &pass->heads[h];
        *head = (struct louver_head_state){.threshold = first_threshold(threshold, values, h)};
        void *query = cut_head(&cutter, setup, threshold->kind, n_pages, head);
        float *rows = (float *)(uintptr_t)head->q;
        memset(rows, 0, 2 * setup->row_floats * sizeof(float));
        memcpy(rows, q + h * q_stride, setup->head_dim * sizeof(float));
        rsr_sketch_prepare(&setup->shape, head->q, query, &head->sketch);
        note_queries(pass, h, &head->sketch, head->rotated.query);
    }
    if (pass->team.n > 1) /* a member that finds rotated keys could not prepare for the others */
        rotate_queries(pass);
}

/* Copies only what does not change while the first member's pass runs. */
void louver_pass_join(struct louver_pass *pass, struct louver_pass *first,
                      const struct louver_team *team, void *memory) {
    struct cutter cutter = {.memory = memory};
    start_pass(pass, first->setup, first->pages, first->n_pages, first->n_keys, &first->threshold,
               first->values, first->n_heads, team, &cutter);
    pass->first = first;
    pass->norms = first->norms;
    pass->has_rotated = first->has_rotated;
    for (uint32_t h = 0; h < pass->n_heads; h++) {
        const struct louver_head_state *shared = &first->heads[h];
        struct louver_head_state *head = &pass->heads[h];
        *head = (struct louver_head_state){.threshold =
                                               first_threshold(&pass->threshold, pass->values, h)};
        (void)cut_head(&cutter, pass->setup, pass->threshold.kind, pass->n_pages, head);
        head->sketch = shared->sketch;
        head->masks = shared->masks;
        head->q = shared->q;
        head->frames = shared->frames;
        head->given = shared->given;
        head->uppers = shared->uppers;
        head->rotated = shared->rotated;
        note_queries(pass, h, &shared->sketch, shared->rotated.query);
    }
}

/* Prefetches the first bytes of a sidecar, which is far away from the previous one in memory. */
static void fetch_sidecar(const struct louver_pass *pass, uint32_t page, uint32_t bytes) {
    const char *at = page < pass->end ? (const char *)pass->pages[page].sidecar : NULL;
    for (uint32_t i = 0; at != NULL && i < bytes; i += 64)
        __builtin_prefetch(at + i);
}

void louver_open_sidecars(struct louver_pass *pass) {
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        fetch_sidecar(pass, p + SIDECARS_AHEAD, LOUVER_SKETCH_AT);
        (void)louver_open_sidecar(pass, p);
    }
}

void louver_frames_of(const struct louver_pass *pass, uint32_t page,
                      struct rsr_sketch_frame *frames) {
    const struct louver_setup *setup = pass->setup;
    const struct louver_page *view = &pass->pages[page];
    setup->kernel->frames(&setup->shape, louver_sketch(view), louver_queries_of(pass, view),
                          pass->n_heads, frames);
    for (uint32_t h = 0; view->rotated && h < pass->n_heads; h++) {
        const struct louver_head_state *head = &pass->heads[h];
        const double more =
            louver_rotation_slack(head->rotated.error, head->sketch.norm, pass->norms[page].key);
        frames[h].bound = rsr_round_up(frames[h].bound + more);
        for (uint32_t p = 0; p < setup->shape.n_planes; p++)
            frames[h].offset[p] = rsr_round_up(frames[h].offset[p] + more);
    }
}

void louver_find_frame(struct louver_pass *pass, uint32_t page) {
    struct rsr_sketch_frame frames[LOUVER_MAX_HEADS];
    louver_frames_of(pass, page, frames);
    for (uint32_t h = 0; h < pass->n_heads; h++)
        pass->heads[h].frames[page] = frames[h];
}

void louver_fetch_frame(const struct louver_pass *pass, uint32_t page) {
    fetch_sidecar(pass, page, LOUVER_SKETCH_AT + pass->setup->shape.scales_at);
}

/* ---- Running ---- */

static void run_threshold(struct louver_pass *pass) {
    bool every = true;
    for (uint32_t h = 0; h < pass->n_heads; h++)
        every = every && pass->heads[h].threshold == -INFINITY;
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        (void)louver_open_sidecar(pass, p); /* certificates need norms of all pages */
        if (every || louver_forced_keys(pass, p) == louver_all_keys(pass->pages[p].n_keys))
            louver_take_page(pass, p);
        else
            louver_visit_page(pass, p, p + 1 < pass->end ? &pass->pages[p + 1] : NULL);
    }
    louver_end_visits(pass);
}

/* Finds thresholds from samples; one member does this for each head. */
static void find_sample_thresholds(struct louver_pass *pass) {
    for (uint32_t h = 0; h < pass->n_heads; h++)
        if (louver_has_head(pass, h))
            pass->first->heads[h].threshold = louver_sample_threshold(pass, &pass->heads[h]);
    louver_meet(pass);
    for (uint32_t h = 0; pass != pass->first && h < pass->n_heads; h++)
        pass->heads[h].threshold = pass->first->heads[h].threshold;
}

static void find_keys(struct louver_pass *pass) {
    switch (pass->threshold.kind) {
    case RSR_LOUVER_MASS: /* 0 is a threshold of -infinity */
    case RSR_LOUVER_ERROR:
        if (pass->threshold.value > 0.0)
            louver_run_mass(pass);
        else
            run_threshold(pass);
        return;
    case RSR_LOUVER_TOPK:
    case RSR_LOUVER_BUDGET:
        if (louver_best_keys(pass) < pass->n_keys)
            louver_run_topk(pass);
        else
            run_threshold(pass);
        return;
    case RSR_LOUVER_SAMPLE_MAX:
    case RSR_LOUVER_SAMPLE_TOPK:
    case RSR_LOUVER_SAMPLE_MEAN_MAX:
    case RSR_LOUVER_SAMPLE_GAP:
        find_sample_thresholds(pass);
        run_threshold(pass);
        return;
    case RSR_LOUVER_VALUE:
        run_threshold(pass);
        return;
    }
}

void louver_pass_run(struct louver_pass *pass) {
    for (uint32_t p = pass->begin; p < pass->end; p++)
        pass->stats.pages += pass->pages[p].sidecar != NULL;
    find_keys(pass);
    for (uint32_t p = pass->begin; p < pass->end; p++) {
        const uint64_t forced = louver_forced_keys(pass, p);
        for (uint32_t h = 0; forced != 0 && h < pass->n_heads; h++)
            pass->heads[h].masks[p] |= forced;
    }
    louver_attend(pass);
}
