/* attention.c - dense attention over KV pages: which worker does what, and which page comes when.
 * The arithmetic of one (query head, page) is ops/ops_attend.c.
 *
 * The unit of work is (run, KV head): up to RSR_RUN_TOKENS consecutive tokens of a sequence and all
 * query heads of the group go over a page before the next page is touched, as lanes of vectors
 * where they are many (ops/ops_attend_run.c). The pages of all units,
 * in order, are dealt out in equal spans, one a worker, which another worker goes over if its own
 * is late. A span may end inside the unit of a single token: few KV heads then keep many workers
 * busy. Its first pages are merged as they come, as those of a whole unit are; spans behind keep
 * the results of each page, and who finishes last merges them in ascending order. So a unit's
 * result depends neither on who computes it nor on what else is in the run.
 */
#include <string.h>

#include "walk/crew.h"
#include "walk/pieces.h"

/* A worker's scratch, as many rows as a run has query heads in one group. */
struct attend_scratch {
    float *q;                        /* [rows][row_floats], zero from head_dim on */
    float *out;                      /* [rows][row_floats] */
    struct rsr_attend_head *heads;   /* [rows]: the three of a row */
    struct rsr_attend_head *merged;  /* [group] */
    struct rsr_attend_state *states; /* [rows] */
    uint32_t *n_keys;                /* [rows] */
    float *lanes;                    /* [rows / RSR_RUN_LANES, rounded up][row_floats][lane]: q */
    float *page_rows;                /* [rsr_run_scratch_floats()] */
    /* Of pages that another worker's are merged with, as many as a sequence has: */
    float *page_out;                      /* [pages][group][row_floats] */
    struct rsr_attend_state *page_states; /* [pages][group] */
};

static uint32_t group_heads(const struct rsr_hyper *hyper) {
    return hyper->n_heads / hyper->n_kv_heads;
}

/* How many rows a worker's page_out has. */
static size_t kept_rows(const struct rsr_crew *crew) {
    const size_t group = group_heads(&crew->model->module->hyper);
    return crew->n_workers > 1 ? group * rsr_pages_of(crew->engine->info.context) : 0;
}

/* Of a run of the most tokens; a multiple of RSR_RUN_LANES. */
static size_t lanes_of(const struct rsr_crew *crew) {
    const size_t rows = RSR_RUN_TOKENS * (size_t)group_heads(&crew->model->module->hyper);
    return (rows + RSR_RUN_LANES - 1) / RSR_RUN_LANES * RSR_RUN_LANES;
}

static uint64_t dense_scratch_bytes(const struct rsr_crew *crew) {
    const uint64_t group = group_heads(&crew->model->module->hyper);
    const uint64_t rows = RSR_RUN_TOKENS * group;
    const uint64_t kept = kept_rows(crew);
    const uint64_t row_bytes = crew->kv.format.row_floats * sizeof(float);
    uint64_t bytes;
    if (__builtin_mul_overflow(2 * rows + kept + lanes_of(crew), row_bytes, &bytes) ||
        __builtin_add_overflow(bytes,
                               rsr_run_scratch_floats(crew->kv.format.row_floats) * sizeof(float) +
                                   (rows + group) * sizeof(struct rsr_attend_head) +
                                   (rows + kept) * sizeof(struct rsr_attend_state) +
                                   rows * sizeof(uint32_t),
                               &bytes))
        return 0;
    return bytes;
}

static struct attend_scratch cut_scratch(const struct rsr_crew *crew, uint32_t share) {
    const size_t group = group_heads(&crew->model->module->hyper), rows = RSR_RUN_TOKENS * group;
    const size_t row_floats = crew->kv.format.row_floats;
    struct attend_scratch s;
    s.q = (float *)(void *)crew->workers[share].scratch;
    s.out = s.q + rows * row_floats;
    s.page_out = s.out + rows * row_floats;
    const size_t kept = kept_rows(crew);
    s.lanes = s.page_out + kept * row_floats;
    s.page_rows = s.lanes + lanes_of(crew) * row_floats;
    s.heads = (struct rsr_attend_head *)(void *)(s.page_rows +
                                                 rsr_run_scratch_floats((uint32_t)row_floats));
    s.merged = s.heads + rows;
    s.states = (struct rsr_attend_state *)(void *)(s.merged + group);
    s.page_states = s.states + rows;
    s.n_keys = (uint32_t *)(void *)(s.page_states + kept);
    return s;
}

struct unit {
    struct rsr_run run;
    uint32_t block;
    uint32_t window;
    uint32_t kv_head;
    const void *next_keys; /* attended to after the unit's, or NULL */
};

/* What a token sees of a page. */
struct view {
    uint32_t skipped, n_keys; /* 0 keys: nothing */
};

static struct view view_page(uint32_t position, uint32_t window, uint32_t page_begin) {
    const uint32_t first = rsr_first_seen(position, window);
    if (position < page_begin || first >= page_begin + RSR_PAGE_TOKENS)
        return (struct view){0, 0};
    const uint32_t seen = position - page_begin + 1;
    const uint32_t skipped = first > page_begin ? first - page_begin : 0;
    return (struct view){skipped, (seen < RSR_PAGE_TOKENS ? seen : RSR_PAGE_TOKENS) - skipped};
}

static const void *keys_of(const struct rsr_crew *crew, const struct unit *unit, uint32_t kv_head,
                           uint64_t number) {
    const uint32_t *pages = crew->chunk->entries[unit->run.first_token].sequence->pages;
    return rsr_kv_memory_rows(&crew->kv, pages[number], unit->block, kv_head).keys;
}

/* With 8 and 16 lanes to a vector fewer heads leave too many empty: 8 take 1.6 times as long as by
 * attend_page() with AVX-512. */
#define LEAST_LANES 16u

static bool takes_lanes(const struct rsr_crew *crew, const struct unit *unit) {
    const uint32_t n_tokens = unit->run.n_tokens;
    return n_tokens > 1 && n_tokens * group_heads(&crew->model->module->hyper) >= LEAST_LANES;
}

/* All tokens of the run at once. False: nothing was done, as a token sees the page from a key other
 * than the first on. */
static bool attend_lanes(const struct rsr_crew *crew, const struct unit *unit,
                         const struct attend_scratch *s, struct rsr_attend_page *page,
                         uint32_t begin) {
    const uint32_t *positions = crew->chunk->positions + unit->run.first_token;
    const uint32_t group = group_heads(&crew->model->module->hyper);
    const struct rsr_attend_run run = {s->heads, unit->run.n_tokens * group, s->lanes, s->n_keys,
                                       s->page_rows};
    page->n_keys = 0;
    for (uint32_t t = 0; t < unit->run.n_tokens; t++) {
        const struct view view = view_page(positions[t], unit->window, begin);
        if (view.skipped != 0)
            return false;
        for (uint32_t h = 0; h < group; h++)
            s->n_keys[t * group + h] = view.n_keys;
        page->n_keys = view.n_keys > page->n_keys ? view.n_keys : page->n_keys;
    }
    crew->kv.format.ops->attend_run(&run, page, crew->model->module->hyper.attention_scale);
    return true;
}

/* All query heads of the unit's group, at every token of the run that sees the page: at once for
 * tokens that see the same keys of it. */
static void attend_unit_page(const struct rsr_crew *crew, const struct unit *unit,
                             const struct attend_scratch *s, uint32_t number, bool is_last) {
    const struct rsr_hyper *hyper = &crew->model->module->hyper;
    const struct rsr_kv_memory *kv = &crew->kv;
    const uint32_t *positions = crew->chunk->positions + unit->run.first_token;
    const uint32_t *pages = crew->chunk->entries[unit->run.first_token].sequence->pages;
    const struct rsr_kv_rows rows =
        rsr_kv_memory_rows(kv, pages[number], unit->block, unit->kv_head);
    const uint32_t group = group_heads(hyper), begin = number * RSR_PAGE_TOKENS;
    struct rsr_attend_page page = {.row_floats = kv->format.row_floats, .far = kv->format.far};
    page.next_keys = is_last ? unit->next_keys : keys_of(crew, unit, unit->kv_head, number + 1);
    page.keys = rows.keys;
    page.values = rows.values;
    if (takes_lanes(crew, unit) && attend_lanes(crew, unit, s, &page, begin))
        return;
    for (uint32_t t = 0, end; t < unit->run.n_tokens; t = end) {
        const struct view view = view_page(positions[t], unit->window, begin);
        for (end = t + 1; end < unit->run.n_tokens; end++) {
            const struct view other = view_page(positions[end], unit->window, begin);
            if (other.skipped != view.skipped || other.n_keys != view.n_keys)
                break;
        }
        if (view.n_keys == 0)
            continue;
        const struct rsr_kv_rows seen = rsr_kv_rows_from(&kv->format, rows, view.skipped);
        page.keys = seen.keys;
        page.values = seen.values;
        page.n_keys = view.n_keys;
        kv->format.ops->attend_page(s->heads + (size_t)t * group, (end - t) * group, &page,
                                    hyper->attention_scale);
    }
}

static void start_row(const struct attend_scratch *s, size_t row, uint32_t row_floats) {
    s->states[row] = (struct rsr_attend_state){0.0f, 0.0f};
    s->heads[row] = (struct rsr_attend_head){s->q + row * row_floats, s->out + row * row_floats,
                                             &s->states[row]};
}

/* Where the unit's first query head is at its first token. */
static size_t head_offset(const struct rsr_hyper *hyper, const struct unit *unit) {
    return (size_t)unit->kv_head * group_heads(hyper) * hyper->head_dim;
}

/* Loads the unit's queries into the scratch. */
static void start_unit(const struct rsr_crew *crew, const struct unit *unit,
                       const struct attend_scratch *s, const struct rsr_attention_call *call) {
    const struct rsr_hyper *hyper = &crew->model->module->hyper;
    const uint32_t group = group_heads(hyper), head_dim = hyper->head_dim;
    const uint32_t row_floats = crew->kv.format.row_floats;
    for (uint32_t t = 0; t < unit->run.n_tokens; t++) {
        const float *from = (const float *)(const void *)(call->q + (unit->run.first_token + t) *
                                                                        call->q_row_bytes) +
                            head_offset(hyper, unit);
        for (uint32_t h = 0; h < group; h++) {
            float *row = s->q + ((size_t)t * group + h) * row_floats;
            memcpy(row, from + (size_t)h * head_dim, head_dim * sizeof(float));
            memset(row + head_dim, 0, (row_floats - head_dim) * sizeof(float));
            start_row(s, (size_t)t * group + h, row_floats);
        }
    }
}

/* Queries take their lanes. */
static void fill_lanes(const struct rsr_crew *crew, const struct unit *unit,
                       const struct attend_scratch *s) {
    const uint32_t n_rows = unit->run.n_tokens * group_heads(&crew->model->module->hyper);
    const size_t row_floats = crew->kv.format.row_floats;
    memset(s->lanes, 0, lanes_of(crew) * row_floats * sizeof(float));
    for (uint32_t row = 0; row < n_rows; row++) {
        float *lane =
            s->lanes + row / RSR_RUN_LANES * RSR_RUN_LANES * row_floats + row % RSR_RUN_LANES;
        for (size_t d = 0; d < row_floats; d++)
            lane[d * RSR_RUN_LANES] = s->q[row * row_floats + d];
    }
}

static void finish_unit(const struct rsr_crew *crew, const struct unit *unit,
                        const struct attend_scratch *s, const struct rsr_attention_call *call) {
    const struct rsr_hyper *hyper = &crew->model->module->hyper;
    const uint32_t group = group_heads(hyper), head_dim = hyper->head_dim;
    for (uint32_t t = 0; t < unit->run.n_tokens; t++) {
        float *to =
            (float *)(void *)(call->out + (unit->run.first_token + t) * call->out_row_bytes) +
            head_offset(hyper, unit);
        for (uint32_t h = 0; h < group; h++) {
            const size_t row = (size_t)t * group + h;
            crew->model->ops->attend_finish(to + (size_t)h * head_dim,
                                            s->out + row * crew->kv.format.row_floats,
                                            &s->states[row], head_dim);
        }
    }
}

/* ---- Units and their pages ---- */

/* Pages [begin, end): of a sequence, or of all units. */
struct pages {
    uint64_t begin, end;
};

/* The pages that the run sees. */
static struct pages pages_of_run(const struct rsr_crew *crew, struct rsr_run run, uint32_t window) {
    const uint32_t *positions = crew->chunk->positions + run.first_token;
    return (struct pages){rsr_first_seen(positions[0], window) / RSR_PAGE_TOKENS,
                          positions[run.n_tokens - 1] / RSR_PAGE_TOKENS + 1};
}

static void count_bytes(const struct rsr_crew *crew, const struct unit *unit, uint32_t worker,
                        struct pages pages) {
    const uint32_t *positions = crew->chunk->positions + unit->run.first_token;
    const uint64_t first = rsr_first_seen(positions[0], unit->window);
    const uint64_t end = positions[unit->run.n_tokens - 1] + UINT64_C(1);
    const uint64_t begin = pages.begin * RSR_PAGE_TOKENS, stop = pages.end * RSR_PAGE_TOKENS;
    crew->workers[worker].bytes += ((stop < end ? stop : end) - (begin > first ? begin : first)) *
                                   2 * crew->kv.format.row_bytes;
}

/* Attends to pages one after another, and merges each result at once. */
static void attend_pages(const struct rsr_crew *crew, const struct unit *unit,
                         const struct attend_scratch *s, uint32_t worker, struct pages pages) {
    for (uint64_t page = pages.begin; page < pages.end; page++)
        attend_unit_page(crew, unit, s, (uint32_t)page, page + 1 == pages.end);
    count_bytes(crew, unit, worker, pages);
}

static void attend_unit(const struct rsr_crew *crew, const struct unit *unit,
                        const struct rsr_attention_call *call, struct pages pages) {
    const struct attend_scratch scratch = cut_scratch(crew, call->share);
    start_unit(crew, unit, &scratch, call);
    if (takes_lanes(crew, unit))
        fill_lanes(crew, unit, &scratch);
    attend_pages(crew, unit, &scratch, call->worker, pages);
    finish_unit(crew, unit, &scratch, call);
}

void rsr_attention_dense_unit(const struct rsr_crew *crew, const struct rsr_attention_call *call,
                              struct rsr_run run, uint32_t kv_head) {
    const struct unit unit = {
        .run = run, .block = call->block, .window = call->window, .kv_head = kv_head};
    attend_unit(crew, &unit, call, pages_of_run(crew, run, call->window));
}

/* ---- Units of which several workers have pages ---- */

/* All units' pages are numbered through; those of one are number `at` and the following. */
struct cut {
    const struct rsr_crew *crew;
    const struct rsr_attention_call *call;
    struct unit unit;
    struct pages pages; /* of the sequence */
    uint64_t at, n_all;
};

static struct pages span_of(const struct rsr_crew *crew, uint64_t n_all, uint32_t share) {
    return (struct pages){n_all * share / crew->n_workers, n_all * (share + 1) / crew->n_workers};
}

/* Returns the share that has the unit's first page. */
static uint32_t first_share(const struct cut *cut) {
    uint32_t share = (uint32_t)(cut->at * cut->crew->n_workers / cut->n_all);
    while (span_of(cut->crew, cut->n_all, share).end <= cut->at)
        share++;
    return share;
}

/* The part of the share's span that is the unit's, in pages of the sequence. */
static struct pages part_of(const struct cut *cut, uint32_t share) {
    const struct pages span = span_of(cut->crew, cut->n_all, share);
    const uint64_t begin = span.begin > cut->at ? span.begin - cut->at : 0;
    const uint64_t n = cut->pages.end - cut->pages.begin;
    uint64_t end = span.end > cut->at ? span.end - cut->at : 0;
    end = end < n ? end : n;
    return (struct pages){cut->pages.begin + begin, cut->pages.begin + (end > begin ? end : begin)};
}

/* The heads' row of results of the i-th page that a share keeps. */
static void point_at_page(const struct rsr_crew *crew, const struct attend_scratch *kept,
                          uint64_t i, const float *q, struct rsr_attend_head *heads) {
    const uint32_t group = group_heads(&crew->model->module->hyper);
    const uint32_t row_floats = crew->kv.format.row_floats;
    for (uint32_t h = 0; h < group; h++) {
        const size_t row = i * group + h;
        heads[h] = (struct rsr_attend_head){
            q + (size_t)h * row_floats, kept->page_out + row * row_floats, &kept->page_states[row]};
    }
}

/* Each page by itself: a page that none came before is kept as it is. */
static void keep_pages(const struct cut *cut, const struct attend_scratch *s, struct pages part) {
    const uint32_t group = group_heads(&cut->crew->model->module->hyper);
    for (uint64_t page = part.begin; page < part.end; page++) {
        point_at_page(cut->crew, s, page - part.begin, s->q, s->heads);
        for (uint32_t h = 0; h < group; h++)
            *s->heads[h].state = (struct rsr_attend_state){0.0f, 0.0f};
        attend_unit_page(cut->crew, &cut->unit, s, (uint32_t)page, page + 1 == part.end);
    }
    count_bytes(cut->crew, &cut->unit, cut->call->worker, part);
}

/* What `first` has of the unit's first pages, with the pages that the shares behind it kept. */
static void merge_parts(const struct cut *cut, uint32_t first, const struct attend_scratch *own) {
    const struct rsr_crew *crew = cut->crew;
    const struct attend_scratch whole = cut_scratch(crew, first);
    const uint32_t group = group_heads(&crew->model->module->hyper);
    for (uint32_t share = first + 1; share < crew->n_workers; share++) {
        const struct pages part = part_of(cut, share);
        const struct attend_scratch kept = cut_scratch(crew, share);
        for (uint64_t page = part.begin; page < part.end; page++) {
            point_at_page(crew, &kept, page - part.begin, whole.q, own->merged);
            crew->model->ops->attend_merge(whole.heads, own->merged, group,
                                           crew->kv.format.row_floats);
        }
    }
    finish_unit(crew, &cut->unit, &whole, cut->call);
}

/* A share's part. It has one part without the first page at most, at the front of its
 * span, and one without the last at most, at its end: neither is overwritten until the operation's
 * barrier. The counter orders what the parts wrote before what the last one reads, and the barrier
 * its reset before the next use. */
static void attend_part(const struct cut *cut, struct pages part) {
    const struct attend_scratch s = cut_scratch(cut->crew, cut->call->share);
    const uint32_t first = first_share(cut);
    start_unit(cut->crew, &cut->unit, &s, cut->call);
    if (cut->call->share == first)
        attend_pages(cut->crew, &cut->unit, &s, cut->call->worker, part);
    else
        keep_pages(cut, &s, part);
    _Atomic uint32_t *n_done = &cut->crew->workers[first].pages_done;
    const uint32_t n = (uint32_t)(part.end - part.begin);
    if (atomic_fetch_add_explicit(n_done, n, memory_order_acq_rel) + n !=
        cut->pages.end - cut->pages.begin)
        return;
    atomic_store_explicit(n_done, 0, memory_order_relaxed);
    merge_parts(cut, first, &s);
}

/* ---- All units ---- */

static uint64_t count_pages(const struct rsr_crew *crew, uint32_t window) {
    uint64_t n = 0;
    for (uint32_t r = 0; r < crew->chunk->n_runs; r++) {
        const struct pages pages = pages_of_run(crew, crew->chunk->runs[r], window);
        n += pages.end - pages.begin;
    }
    return n * crew->model->module->hyper.n_kv_heads;
}

/* Of units whose pages begin at number *at, one for each KV head, those that begin in the span, or,
 * of a single token, what the span has of them. */
static void attend_run(const struct rsr_crew *crew, const struct rsr_attention_call *call,
                       struct rsr_run run, struct pages span, uint64_t n_all, uint64_t *at) {
    const struct pages pages = pages_of_run(crew, run, call->window);
    const uint64_t n = pages.end - pages.begin;
    const uint32_t n_kv_heads = crew->model->module->hyper.n_kv_heads;
    for (uint32_t head = 0; head < n_kv_heads; head++, *at += n) {
        struct cut cut = {
            .crew = crew,
            .call = call,
            .unit = {.run = run, .block = call->block, .window = call->window, .kv_head = head},
            .pages = pages,
            .at = *at,
            .n_all = n_all,
        };
        if (head + 1 < n_kv_heads && *at + n < span.end)
            cut.unit.next_keys = keys_of(crew, &cut.unit, head + 1, pages.begin);
        const struct pages part = part_of(&cut, call->share);
        const bool begins = *at >= span.begin && *at < span.end;
        if (run.n_tokens > 1 ? begins : part.end - part.begin == n)
            attend_unit(crew, &cut.unit, call, pages);
        else if (run.n_tokens == 1 && part.begin < part.end)
            attend_part(&cut, part);
    }
}

static void attend_span(const struct rsr_crew *crew, const struct rsr_attention_call *call,
                        uint64_t n_all) {
    const struct pages span = span_of(crew, n_all, call->share);
    uint64_t at = 0;
    for (uint32_t r = 0; r < crew->chunk->n_runs && at < span.end; r++)
        attend_run(crew, call, crew->chunk->runs[r], span, n_all, &at);
}

/* Fewer pages take less time than sharing them out. */
#define PAGES_TO_SHARE 32u

void rsr_attention_dense_run(struct rsr_crew *crew, const struct rsr_attention_call *given) {
    const uint64_t n_all = count_pages(crew, given->window);
    struct rsr_attention_call call = *given;
    uint32_t end;
    for (struct rsr_pieces left = n_all < PAGES_TO_SHARE
                                      ? rsr_pieces_own(crew, call.worker, crew->n_workers)
                                      : rsr_pieces_begin(crew, call.worker, crew->n_workers, 1);
         rsr_pieces_next(&left, &call.share, &end);)
        for (; call.share < end; call.share++)
            attend_span(crew, &call, n_all);
}

static rsr_status dense_begin(struct rsr_crew *crew, rsr_error *err) {
    (void)crew;
    (void)err;
    return RSR_OK;
}

static uint32_t dense_sidecar_bytes(const struct rsr_crew *crew) {
    (void)crew;
    return 0;
}

const struct rsr_attention rsr_attention_dense = {
    .name = "dense",
    .begin = dense_begin,
    .sidecar_bytes = dense_sidecar_bytes,
    .scratch_bytes = dense_scratch_bytes,
    .stack_bytes = (size_t)24 << 10, /* steps of all variants ran with 16 */
    .run = rsr_attention_dense_run,
};
