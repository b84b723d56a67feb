/* attention.c - dense attention over KV pages: which worker does what, and which page comes when.
 * The arithmetic of one (query head, page) is ops/ops_attend.c.
 *
 * The unit of work is (run, KV head): up to RSR_RUN_TOKENS consecutive tokens of a sequence and all
 * query heads of the group finish a page before the next page is touched. Where these queries are
 * many, they are lanes of vectors (ops/ops_attend_run.c). The pages of all units, in order, are
 * divided into equal spans, one for each worker; another worker takes over the span of a worker
 * that is late. A span may end inside the unit of a single token, so that few KV heads keep many
 * workers busy. The span with the unit's first pages merges their results one after another, like a
 * whole unit's. Later spans keep the result of each page, and the worker that finishes last merges
 * these in ascending order. So a unit's result depends neither on who computes it nor on what else
 * is in the run.
 */
#include <string.h>

#include "walk/crew.h"
#include "walk/pieces.h"

/* A worker's scratch. A run has a row for each query head of one group, at each of its tokens. */
struct attend_scratch {
    float *q;                        /* [rows][row_floats], zero from head_dim on */
    float *out;                      /* [rows][row_floats] */
    struct rsr_attend_head *heads;   /* [rows]: pointers to q, out and state of a row */
    struct rsr_attend_head *merged;  /* [group] */
    struct rsr_attend_state *states; /* [rows] */
    uint32_t *n_keys;                /* [rows] */
    float *lanes;                    /* [rows / RSR_RUN_LANES, rounded up][row_floats][lane]: q */
    float *page_rows;                /* [rsr_run_scratch_floats()] */
    /* Results of pages that are merged later; a worker keeps at most all pages of a sequence: */
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

/* Lanes of the longest run; a multiple of RSR_RUN_LANES. */
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
    const void *next_keys; /* first keys after the unit's last page, or NULL */
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

/* Fewer queries than this leave too many lanes of 8 or 16 empty: with AVX-512, 8 queries take 1.6
 * times as long as with attend_page(). */
#define LEAST_LANES 16u

static bool takes_lanes(const struct rsr_crew *crew, const struct unit *unit) {
    const uint32_t n_tokens = unit->run.n_tokens;
    return n_tokens > 1 && n_tokens * group_heads(&crew->model->module->hyper) >= LEAST_LANES;
}

/* Attends to a page with all tokens of the run at once. False: nothing was done, because a token
 * does not see the page's first key. */
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

/* Attends to a page with all query heads of the unit's group, at every token of the run that sees
 * the page. Consecutive tokens that see equal keys of the page go together. */
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

/* The offset of the unit's first query head in a token's row. */
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

/* Copies the queries into their lanes. */
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

/* Pages [begin, end) of a sequence, or of all units numbered through. */
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

/* The pages of all units are numbered through; this unit's begin at number `at`. */
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

/* Points `heads` at the results of the i-th page that a share keeps. */
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

/* Attends to each page by itself: the state before it is empty, so nothing is merged. */
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

/* Merges the results of the unit's later pages, which later shares kept, into the result of share
 * `first`. */
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

/* Attends to a share's part of a unit. A share has at most one part that lacks its unit's first
 * page, at the front of its span, and at most one that lacks the last page, at the end of the span.
 * So neither is overwritten before the operation's barrier. The counter makes the writes of all
 * parts visible to the worker that finishes last; the barrier makes the counter's reset visible
 * before its next use. */
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

/* Attends to units of the run, one for each KV head, whose pages begin at number *at. A run of
 * several tokens is attended to whole if it begins in the span; of a single token, the part in the
 * span is attended to. */
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

/* With fewer pages, sharing them out takes longer than attending to them. */
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
