/* attention.c - dense attention over KV pages: which worker does what, and which page comes when.
 * The arithmetic of one (query head, page) is ops/ops_attend.c.
 *
 * The unit of work is (run, KV head): up to RSR_RUN_TOKENS consecutive tokens of a sequence and all
 * query heads of the group finish a page before the next page is touched. Where these queries are
 * many, they may be lanes of vectors (ops/ops_attend_run.c). Runs of sequences that share pages are
 * one unit: they attend to the shared pages together, then each to its own (attention_shared.h).
 *
 * The pages of all units, in order, are divided into equal spans, one for each worker; another
 * worker takes over the span of a worker that is late. A span may end inside the unit of a single
 * token, so that few KV heads keep many workers busy. The span with the unit's first pages merges
 * their results one after another, like a whole unit's. Later spans keep the result of each page,
 * and the worker that finishes last merges these in ascending order. So a unit's result depends
 * neither on who computes it nor on what else is in the chunk.
 */
#include <string.h>

#include "attention_shared.h"
#include "walk/crew.h"
#include "walk/pieces.h"

/* A worker's scratch. A unit has a row for each query head of one group, at each of its tokens. */
struct attend_scratch {
    float *q;                        /* [rows][row_floats], zero from head_dim on */
    float *out;                      /* [rows][row_floats] */
    struct rsr_attend_head *heads;   /* [rows]: pointers to q, out and state of a row */
    struct rsr_attend_head *merged;  /* [group] */
    struct rsr_attend_state *states; /* [rows] */
    uint32_t *n_keys;                /* [rows] */
    uint32_t *tokens;                /* [RSR_SHARED_TOKENS]: of the chunk */
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

static size_t in_lanes(size_t rows) {
    return (rows + RSR_RUN_LANES - 1) / RSR_RUN_LANES * RSR_RUN_LANES;
}

static uint64_t dense_scratch_bytes(const struct rsr_crew *crew) {
    const uint64_t group = group_heads(&crew->model->module->hyper);
    const uint64_t rows = RSR_SHARED_TOKENS * group;
    const uint64_t kept = kept_rows(crew);
    const uint64_t row_bytes = crew->kv.format.row_floats * sizeof(float);
    uint64_t bytes;
    if (__builtin_mul_overflow(2 * rows + kept + in_lanes(rows), row_bytes, &bytes) ||
        __builtin_add_overflow(bytes,
                               rsr_run_scratch_floats(crew->kv.format.row_floats) * sizeof(float) +
                                   (rows + group) * sizeof(struct rsr_attend_head) +
                                   (rows + kept) * sizeof(struct rsr_attend_state) +
                                   (rows + RSR_SHARED_TOKENS) * sizeof(uint32_t),
                               &bytes))
        return 0;
    return bytes;
}

static struct attend_scratch cut_scratch(const struct rsr_crew *crew, uint32_t share) {
    const size_t group = group_heads(&crew->model->module->hyper), rows = RSR_SHARED_TOKENS * group;
    const size_t row_floats = crew->kv.format.row_floats;
    struct attend_scratch s;
    s.q = (float *)(void *)crew->workers[share].scratch;
    s.out = s.q + rows * row_floats;
    s.page_out = s.out + rows * row_floats;
    const size_t kept = kept_rows(crew);
    s.lanes = s.page_out + kept * row_floats;
    s.page_rows = s.lanes + in_lanes(rows) * row_floats;
    s.heads = (struct rsr_attend_head *)(void *)(s.page_rows +
                                                 rsr_run_scratch_floats((uint32_t)row_floats));
    s.merged = s.heads + rows;
    s.states = (struct rsr_attend_state *)(void *)(s.merged + group);
    s.page_states = s.states + rows;
    s.n_keys = (uint32_t *)(void *)(s.page_states + kept);
    s.tokens = s.n_keys + rows;
    return s;
}

struct unit {
    const struct rsr_run *runs; /* one, or several that share pages */
    uint32_t n_runs, n_tokens;
    uint32_t layer;
    uint32_t window;
    uint32_t kv_head;
    const void *next_keys; /* first keys after the unit's last page, or NULL */
};

/* Tokens of a unit, one after another. */
struct part {
    uint32_t first, n;
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

/* Page `number` of a token's sequence. */
static struct rsr_kv_rows rows_of(const struct rsr_crew *crew, const struct unit *unit,
                                  uint32_t kv_head, uint32_t token, uint64_t number) {
    const uint32_t *pages = crew->chunk->entries[token].sequence->pages;
    return rsr_kv_memory_rows(&crew->kv, pages[number], unit->layer, kv_head);
}

static bool takes_lanes(const struct rsr_crew *crew, struct part part) {
    return part.n > 1 &&
           part.n * group_heads(&crew->model->module->hyper) >= crew->kv.format.ops->least_lanes;
}

/* Attends to a page with all tokens of the part at once. False: nothing was done, because a token
 * does not see the page's first key. */
static bool attend_lanes(const struct rsr_crew *crew, const struct unit *unit,
                         const struct attend_scratch *s, struct part part,
                         struct rsr_attend_page *page, uint32_t begin) {
    const uint32_t group = group_heads(&crew->model->module->hyper);
    const struct rsr_attend_run run = {s->heads + (size_t)part.first * group, part.n * group,
                                       s->lanes, s->n_keys, s->page_rows};
    page->n_keys = 0;
    for (uint32_t t = 0; t < part.n; t++) {
        const struct view view =
            view_page(crew->chunk->positions[s->tokens[part.first + t]], unit->window, begin);
        if (view.skipped != 0)
            return false;
        for (uint32_t h = 0; h < group; h++)
            s->n_keys[t * group + h] = view.n_keys;
        page->n_keys = view.n_keys > page->n_keys ? view.n_keys : page->n_keys;
    }
    crew->kv.format.ops->attend_run(&run, page, crew->model->module->hyper.attention_scale);
    return true;
}

/* Attends to a page with all query heads of the unit's group, at every token of the part that sees
 * the page. Consecutive tokens that see equal keys of the page go together. */
static void attend_part_page(const struct rsr_crew *crew, const struct unit *unit,
                             const struct attend_scratch *s, struct part part, uint32_t number,
                             const void *next_keys) {
    const struct rsr_hyper *hyper = &crew->model->module->hyper;
    const struct rsr_kv_format *format = &crew->kv.format;
    const struct rsr_kv_rows rows =
        rows_of(crew, unit, unit->kv_head, s->tokens[part.first], number);
    const uint32_t group = group_heads(hyper), begin = number * RSR_PAGE_TOKENS;
    struct rsr_attend_page page = {.keys = rows.keys,
                                   .values = rows.values,
                                   .next_keys = next_keys,
                                   .row_floats = format->row_floats,
                                   .far = format->far};
    if (takes_lanes(crew, part) && attend_lanes(crew, unit, s, part, &page, begin))
        return;
    const uint32_t *positions = crew->chunk->positions, *tokens = s->tokens + part.first;
    for (uint32_t t = 0, end; t < part.n; t = end) {
        const struct view view = view_page(positions[tokens[t]], unit->window, begin);
        for (end = t + 1; end < part.n; end++) {
            const struct view other = view_page(positions[tokens[end]], unit->window, begin);
            if (other.skipped != view.skipped || other.n_keys != view.n_keys)
                break;
        }
        if (view.n_keys == 0)
            continue;
        const struct rsr_kv_rows seen = rsr_kv_rows_from(format, rows, view.skipped);
        page.keys = seen.keys;
        page.values = seen.values;
        page.n_keys = view.n_keys;
        format->ops->attend_page(s->heads + (size_t)(part.first + t) * group, (end - t) * group,
                                 &page, hyper->attention_scale);
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
    uint32_t n = 0;
    for (const struct rsr_run *run = unit->runs; run < unit->runs + unit->n_runs; run++)
        for (uint32_t t = 0; t < run->n_tokens; t++)
            s->tokens[n++] = run->first_token + t;
    for (uint32_t t = 0; t < n; t++) {
        const float *from =
            (const float *)(const void *)(call->q + s->tokens[t] * call->q_row_bytes) +
            head_offset(hyper, unit);
        for (uint32_t h = 0; h < group; h++) {
            float *row = s->q + ((size_t)t * group + h) * row_floats;
            memcpy(row, from + (size_t)h * head_dim, head_dim * sizeof(float));
            memset(row + head_dim, 0, (row_floats - head_dim) * sizeof(float));
            start_row(s, (size_t)t * group + h, row_floats);
        }
    }
}

/* Copies the queries of the part into their lanes. */
static void fill_lanes(const struct rsr_crew *crew, const struct attend_scratch *s,
                       struct part part) {
    const uint32_t group = group_heads(&crew->model->module->hyper), n_rows = part.n * group;
    const size_t row_floats = crew->kv.format.row_floats;
    const float *q = s->q + part.first * group * row_floats;
    memset(s->lanes, 0, in_lanes(n_rows) * row_floats * sizeof(float));
    for (uint32_t row = 0; row < n_rows; row++) {
        float *lane =
            s->lanes + row / RSR_RUN_LANES * RSR_RUN_LANES * row_floats + row % RSR_RUN_LANES;
        for (size_t d = 0; d < row_floats; d++)
            lane[d * RSR_RUN_LANES] = q[row * row_floats + d];
    }
}

static void finish_unit(const struct rsr_crew *crew, const struct unit *unit,
                        const struct attend_scratch *s, const struct rsr_attention_call *call) {
    const struct rsr_hyper *hyper = &crew->model->module->hyper;
    const uint32_t group = group_heads(hyper), head_dim = hyper->head_dim;
    for (uint32_t t = 0; t < unit->n_tokens; t++) {
        float *to = (float *)(void *)(call->out + s->tokens[t] * call->out_row_bytes) +
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

/* Pages [begin, end) of a sequence, or of all units numbered through; or such keys. */
struct pages {
    uint64_t begin, end;
};

/* Keys [begin, end) that a token of the runs sees. */
static struct pages keys_of(const struct rsr_crew *crew, const struct rsr_run *runs,
                            uint32_t n_runs, uint32_t window) {
    struct pages keys = {UINT64_MAX, 0};
    for (const struct rsr_run *run = runs; run < runs + n_runs; run++) {
        const uint32_t *positions = crew->chunk->positions + run->first_token;
        const uint64_t first = rsr_first_seen(positions[0], window);
        const uint64_t end = positions[run->n_tokens - 1] + UINT64_C(1);
        keys.begin = first < keys.begin ? first : keys.begin;
        keys.end = end > keys.end ? end : keys.end;
    }
    return keys;
}

/* The part of a that b covers. */
static struct pages cut_pages(struct pages a, struct pages b) {
    const uint64_t begin = a.begin > b.begin ? a.begin : b.begin;
    const uint64_t end = a.end < b.end ? a.end : b.end;
    return (struct pages){begin, end > begin ? end : begin};
}

/* The pages that the runs see. */
static struct pages pages_of(const struct rsr_crew *crew, const struct rsr_run *runs,
                             uint32_t n_runs, uint32_t window) {
    const struct pages keys = keys_of(crew, runs, n_runs, window);
    return (struct pages){keys.begin / RSR_PAGE_TOKENS, (keys.end - 1) / RSR_PAGE_TOKENS + 1};
}

static void count_bytes(const struct rsr_crew *crew, const struct unit *unit,
                        const struct rsr_run *runs, uint32_t n_runs, uint32_t worker,
                        struct pages pages) {
    const struct pages keys =
        cut_pages((struct pages){pages.begin * RSR_PAGE_TOKENS, pages.end * RSR_PAGE_TOKENS},
                  keys_of(crew, runs, n_runs, unit->window));
    crew->workers[worker].bytes += (keys.end - keys.begin) * 2 * crew->kv.format.row_bytes;
}

/* Wants keys and values of pages that are attended to next, if they lie on a disk. */
static void want_pages(const struct rsr_crew *crew, const struct unit *unit, uint32_t token,
                       struct pages pages) {
    for (uint64_t page = pages.begin; crew->kv.disk != NULL && page < pages.end; page++)
        rsr_kv_memory_want(&crew->kv, rows_of(crew, unit, unit->kv_head, token, page));
}

/* Attends to pages one after another, and merges each result at once. next_keys: after the last. */
static void attend_pages(const struct rsr_crew *crew, const struct unit *unit,
                         const struct attend_scratch *s, struct part part, struct pages pages,
                         const void *next_keys) {
    for (uint64_t page = pages.begin; page < pages.end; page++) {
        const void *next = next_keys;
        if (page + 1 < pages.end)
            next = rows_of(crew, unit, unit->kv_head, s->tokens[part.first], page + 1).keys;
        attend_part_page(crew, unit, s, part, (uint32_t)page, next);
    }
}

/* The runs at `at` attend to their shared pages. `next` comes after them; NULL: nothing does. */
static void attend_shared(const struct rsr_crew *crew, const struct unit *unit,
                          const struct attend_scratch *s, uint32_t worker,
                          const struct rsr_shared *at, const struct rsr_shared *next) {
    const struct rsr_run *runs = unit->runs + at->run;
    const struct pages pages = cut_pages(pages_of(crew, runs, at->n_runs, unit->window),
                                         (struct pages){at->begin, at->end});
    struct part part = {0, 0};
    for (const struct rsr_run *run = unit->runs; run < runs; run++)
        part.first += run->n_tokens;
    for (uint32_t r = 0; r < at->n_runs; r++)
        part.n += runs[r].n_tokens;
    if (pages.begin == pages.end)
        return;
    if (takes_lanes(crew, part))
        fill_lanes(crew, s, part);
    const void *next_keys = unit->next_keys;
    if (next != NULL)
        next_keys =
            rows_of(crew, unit, unit->kv_head, unit->runs[next->run].first_token, next->begin).keys;
    want_pages(crew, unit, s->tokens[part.first], pages);
    attend_pages(crew, unit, s, part, pages, next_keys);
    count_bytes(crew, unit, runs, at->n_runs, worker, pages);
}

static void attend_unit(const struct rsr_crew *crew, const struct unit *unit,
                        const struct rsr_attention_call *call) {
    const struct attend_scratch scratch = cut_scratch(crew, call->share);
    struct rsr_shared at = {0}, next = {0};
    start_unit(crew, unit, &scratch, call);
    bool more = rsr_shared_next(unit->runs, unit->n_runs, &next);
    while (more) {
        at = next;
        more = rsr_shared_next(unit->runs, unit->n_runs, &next);
        attend_shared(crew, unit, &scratch, call->worker, &at, more ? &next : NULL);
    }
    finish_unit(crew, unit, &scratch, call);
}

void rsr_attention_dense_unit(const struct rsr_crew *crew, const struct rsr_attention_call *call,
                              struct rsr_run run, uint32_t kv_head) {
    const struct unit unit = {.runs = &run,
                              .n_runs = 1,
                              .n_tokens = run.n_tokens,
                              .layer = call->layer,
                              .window = call->window,
                              .kv_head = kv_head};
    attend_unit(crew, &unit, call);
}

/* ---- Units of which several workers have pages ---- */

/* The pages of all units are numbered through; this unit's begin at number `at`. */
struct cut {
    const struct rsr_crew *crew;
    const struct rsr_attention_call *call;
    struct unit unit;
    struct pages pages; /* pages_of_unit() */
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
        attend_pages(cut->crew, &cut->unit, s, (struct part){0, 1}, (struct pages){page, page + 1},
                     cut->unit.next_keys);
    }
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
    want_pages(cut->crew, &cut->unit, s.tokens[0], part);
    if (cut->call->share == first)
        attend_pages(cut->crew, &cut->unit, &s, (struct part){0, 1}, part, cut->unit.next_keys);
    else
        keep_pages(cut, &s, part);
    count_bytes(cut->crew, &cut->unit, cut->unit.runs, 1, cut->call->worker, part);
    _Atomic uint32_t *n_done = &cut->crew->workers[first].pages_done;
    const uint32_t n = (uint32_t)(part.end - part.begin);
    if (atomic_fetch_add_explicit(n_done, n, memory_order_acq_rel) + n !=
        cut->pages.end - cut->pages.begin)
        return;
    atomic_store_explicit(n_done, 0, memory_order_relaxed);
    merge_parts(cut, first, &s);
}

/* ---- All units ---- */

/* The pages of a unit. Several runs count as many pages as all of them have, from 0 on, because
 * each run's arithmetic counts. */
static struct pages pages_of_unit(const struct rsr_crew *crew, const struct rsr_run *runs,
                                  uint32_t n_runs, uint32_t window) {
    struct pages pages = pages_of(crew, runs, 1, window);
    for (uint32_t r = 1; r < n_runs; r++) {
        const struct pages more = pages_of(crew, runs + r, 1, window);
        pages = (struct pages){0, pages.end - pages.begin + (more.end - more.begin)};
    }
    return pages;
}

/* Attends to the unit of the cut. A unit of several tokens is attended to whole if it begins in the
 * span; of a single token, the part in the span is attended to. */
static void attend_cut(const struct cut *cut, struct pages span) {
    const struct pages part = part_of(cut, cut->call->share);
    const bool begins = cut->at >= span.begin && cut->at < span.end;
    if (cut->unit.n_tokens > 1 ? begins
                               : part.end - part.begin == cut->pages.end - cut->pages.begin)
        attend_unit(cut->crew, &cut->unit, cut->call);
    else if (cut->unit.n_tokens == 1 && part.begin < part.end)
        attend_part(cut, part);
}

/* Attends to the units of one run, or of a family of runs, at all KV heads; their pages begin at
 * number *at. A family is divided into parts. The parts at one KV head follow each other, so that
 * their pages are still in a cache. */
static void attend_family(const struct rsr_crew *crew, const struct rsr_attention_call *call,
                          const struct rsr_run *runs, uint32_t n_runs, struct pages span,
                          uint64_t n_all, uint64_t *at) {
    const uint32_t n_kv_heads = crew->kv.n_kv_heads;
    const uint32_t most = rsr_shared_tokens(runs, n_runs, n_kv_heads, crew->n_workers);
    for (uint32_t head = 0; head < n_kv_heads; head++) {
        for (uint32_t r = 0, n; r < n_runs; r += n) {
            n = rsr_shared_part(runs + r, n_runs - r, most);
            struct cut cut = {
                .crew = crew,
                .call = call,
                .unit = {.runs = runs + r,
                         .n_runs = n,
                         .layer = call->layer,
                         .window = call->window,
                         .kv_head = head},
                .pages = pages_of_unit(crew, runs + r, n, call->window),
                .at = *at,
                .n_all = n_all,
            };
            for (uint32_t i = r; i < r + n; i++)
                cut.unit.n_tokens += runs[i].n_tokens;
            *at += cut.pages.end - cut.pages.begin;
            if (n == n_runs && head + 1 < n_kv_heads && *at < span.end)
                cut.unit.next_keys =
                    rows_of(crew, &cut.unit, head + 1, runs->first_token, cut.pages.begin).keys;
            attend_cut(&cut, span);
        }
    }
}

static void attend_span(const struct rsr_crew *crew, const struct rsr_attention_call *call,
                        uint64_t n_all) {
    const struct pages span = span_of(crew, n_all, call->share);
    const struct rsr_chunk *chunk = crew->chunk;
    uint64_t at = 0;
    for (uint32_t r = 0, n; r < chunk->n_runs && at < span.end; r += n) {
        n = rsr_shared_family(chunk->runs + r, chunk->n_runs - r);
        attend_family(crew, call, chunk->runs + r, n, span, n_all, &at);
    }
}

/* With fewer pages, sharing them out takes longer than attending to them. */
#define PAGES_TO_SHARE 32u

void rsr_attention_dense_run(struct rsr_crew *crew, const struct rsr_attention_call *given) {
    const struct pages pages =
        pages_of_unit(crew, crew->chunk->runs, crew->chunk->n_runs, given->window);
    const uint64_t n_all = (pages.end - pages.begin) * crew->kv.n_kv_heads;
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
