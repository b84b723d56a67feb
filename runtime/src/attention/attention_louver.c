/* attention_louver.c - attention through the KV index (rsr_louver.h): full pages are read through
 * the sketches in their sidecars, and keys and values only where the threshold asks for them.
 *
 * A step that writes the 64th key of a page attends to that page, too. So the workers first seal
 * the pages that the chunk filled, share them by (page, KV head), and meet at a barrier. Most steps
 * fill no page.
 *
 * The division of a prompt must not change what a token attends to. So every token goes through the
 * index, in a prompt of one token or of many. The page of the token's own position counts as open
 * and is scored key by key, even if later tokens of the chunk have filled it already. Dense
 * attention would be exact for prompts, but a prompt of 65 tokens would have other logits than a
 * prompt of 64 tokens and one more.
 *
 * A module may know the spread of a KV head's logits, from a calibration. Where an index would read
 * nearly all keys, the head has none: its pages are not sealed, and attention is dense.
 *
 * Each page is read and judged by itself, and results are merged in ascending order. So many
 * workers can share the pages of one token (struct louver_team) where there are few KV heads.
 */
#include <math.h>
#include <string.h>

#include "walk/crew.h"
#include "walk/pieces.h"
#include "host/cpu.h"

/* One worker's call, and its state. */
struct call {
    const struct rsr_crew *crew;
    const struct rsr_attention_call *given;
    struct rsr_worker_state *worker;
    bool together; /* all workers share one unit; each has some of its pages */
};

static uint32_t group_heads(const struct rsr_crew *crew) {
    const struct rsr_hyper *hyper = &crew->model->module->hyper;
    return hyper->n_heads / hyper->n_kv_heads;
}

/* Query heads that one pass takes. */
static uint32_t pass_heads(const struct rsr_crew *crew) {
    const uint32_t group = group_heads(crew);
    return group < LOUVER_MAX_HEADS ? group : LOUVER_MAX_HEADS;
}

/* ---- Memory ---- */

static rsr_status louver_begin(struct rsr_crew *crew, rsr_error *err) {
    const uint32_t head_dim = crew->model->module->hyper.head_dim;
    const float scale = crew->model->module->hyper.attention_scale;
    if (!(scale > 0.0f))
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "attention louver takes a positive scale of products; this model's is %g",
                        (double)scale);
    if (head_dim > LOUVER_MAX_DIM)
        return rsr_fail(err, RSR_ERR_ARGUMENT,
                        "attention louver takes heads of at most %u dimensions; this model's "
                        "have %u",
                        LOUVER_MAX_DIM, head_dim);
    crew->louver = louver_setup_of(crew->kv_type, head_dim, RSR_SKETCH_MAX_PLANES, scale,
                                   crew->model->ops, rsr_cpu_features());
    crew->louver.has_centres = crew->attention_options.threshold.kind == RSR_LOUVER_ERROR;
    return RSR_OK;
}

/* Whether no token can see enough keys for the index. */
static bool is_never_used(const struct rsr_crew *crew) {
    return crew->engine->info.context < crew->attention_options.min_keys;
}

static uint32_t louver_sidecar_size(const struct rsr_crew *crew) {
    return is_never_used(crew) ? 0 : louver_sidecar_bytes(&crew->louver);
}

/* A worker's scratch has three parts: its pass, the views of the pages of a pass that it runs alone
 * or begins, and the pass's own memory. */
static struct louver_pass *pass_of(const struct rsr_crew *crew, uint32_t worker) {
    return (struct louver_pass *)(void *)crew->workers[worker].scratch;
}

#define PASS_SIZE ((sizeof(struct louver_pass) + 63u) & ~(size_t)63u)

static struct louver_page *views_of(const struct rsr_crew *crew, uint32_t worker) {
    return (struct louver_page *)(void *)(crew->workers[worker].scratch + PASS_SIZE);
}

static uint64_t views_bytes(const struct rsr_crew *crew) {
    return (rsr_pages_of(crew->engine->info.context) * sizeof(struct louver_page) + 63u) &
           ~UINT64_C(63);
}

static void *pass_memory(const struct rsr_crew *crew, uint32_t worker) {
    return crew->workers[worker].scratch + PASS_SIZE + views_bytes(crew);
}

/* The fewest workers that share a unit. In a smaller team each member would keep results of more
 * pages and need more scratch; a step may use fewer workers than there are. */
#define LEAST_TEAM 4u

/* Below min_keys, dense attention uses the scratch. */
static uint64_t louver_scratch_bytes(const struct rsr_crew *crew) {
    const uint64_t dense = rsr_attention_dense.scratch_bytes(crew);
    if (is_never_used(crew))
        return dense;
    uint64_t bytes = louver_pass_bytes(&crew->louver, crew->attention_options.threshold.kind,
                                       pass_heads(crew), rsr_pages_of(crew->engine->info.context),
                                       crew->most_workers < LEAST_TEAM ? 1 : LEAST_TEAM);
    if (dense == 0 || __builtin_add_overflow(bytes, PASS_SIZE + views_bytes(crew), &bytes))
        return 0;
    return bytes > dense ? bytes : dense;
}

/* ---- Heads without an index ---- */

static bool is_flat(const struct rsr_crew *crew, uint32_t layer, uint32_t kv_head) {
    const float *spreads = crew->model->target->tensors->logit_spreads;
    const size_t head = (size_t)layer * crew->model->module->hyper.n_kv_heads + kv_head;
    return spreads != NULL &&
           louver_is_flat(&crew->louver, &crew->attention_options.threshold, spreads[head]);
}

static bool all_are_flat(const struct rsr_crew *crew, uint32_t layer) {
    uint32_t head = 0;
    while (head < crew->kv.n_kv_heads && is_flat(crew, layer, head))
        head++;
    return head == crew->kv.n_kv_heads;
}

/* ---- Sealing ---- */

static void louver_seal_page(const struct rsr_crew *crew, uint32_t page, uint32_t layer,
                             uint32_t kv_head) {
    if (is_flat(crew, layer, kv_head))
        return;
    const struct rsr_kv_rows rows = rsr_kv_memory_rows(&crew->kv, page, layer, kv_head);
    louver_seal(&crew->louver, rsr_kv_memory_sidecar(&crew->kv, page, layer, kv_head), &rows);
}

/* Seals this worker's share of the pages that the chunk fills. False: it fills none. */
static bool seal_filled_pages(const struct call *call) {
    const struct rsr_crew *crew = call->crew;
    uint64_t n_units = 0;
    for (uint32_t t = 0; t < crew->chunk->n_tokens; t++) {
        const uint32_t position = crew->chunk->positions[t];
        if (position % RSR_PAGE_TOKENS != RSR_PAGE_TOKENS - 1)
            continue;
        const uint32_t page = crew->chunk->entries[t].sequence->pages[position / RSR_PAGE_TOKENS];
        for (uint32_t head = 0; head < crew->kv.n_kv_heads; head++) {
            if (n_units++ % crew->n_workers == call->given->worker)
                louver_seal_page(crew, page, call->given->layer, head);
        }
    }
    return n_units > 0;
}

/* ---- One token and KV head ---- */

/* Page number p of the token's sequence, with those of the keys [first, end) that it holds. */
static struct louver_page view_page(const struct call *call, const struct rsr_sequence *sequence,
                                    uint32_t kv_head, uint32_t p, uint32_t first, uint32_t end) {
    const struct rsr_kv_memory *kv = &call->crew->kv;
    const uint32_t page = sequence->pages[p], layer = call->given->layer;
    const struct rsr_kv_rows rows = rsr_kv_memory_rows(kv, page, layer, kv_head);
    const uint32_t begin = p * RSR_PAGE_TOKENS;
    const uint32_t skipped = first > begin ? first - begin : 0;
    const bool is_open = end - begin <= RSR_PAGE_TOKENS;
    return (struct louver_page){
        .rows = rsr_kv_rows_from(&kv->format, rows, skipped),
        .n_keys = (is_open ? end - begin : RSR_PAGE_TOKENS) - skipped,
        .sidecar = is_open || skipped > 0 ? NULL : rsr_kv_memory_sidecar(kv, page, layer, kv_head),
    };
}

/* Views the pages that a token sees. Returns their number. */
static uint32_t view_pages(const struct call *call, uint32_t token, uint32_t kv_head,
                           struct louver_page *pages) {
    const uint32_t position = call->crew->chunk->positions[token];
    const uint32_t first = rsr_first_seen(position, call->given->window);
    uint32_t n = 0;
    for (uint32_t p = first / RSR_PAGE_TOKENS; p <= position / RSR_PAGE_TOKENS; p++)
        pages[n++] = view_page(call, call->crew->chunk->entries[token].sequence, kv_head, p, first,
                               position + 1);
    return n;
}

static void count_pass(rsr_attention_stats *total, const struct louver_pass *pass) {
    total->keys += pass->stats.n_keys;
    total->pages += pass->stats.pages;
    total->pages_skipped += pass->stats.pages_skipped;
    total->scanned += pass->stats.scanned;
    total->plane2 += pass->stats.plane2;
    total->exact += pass->stats.exact;
}

/* Bytes read: norms, centre and box of each page; a scale, a residual and the codes of each slice
 * of each key; for the rule error also the centres of pages' values. */
static uint64_t pass_bytes(const struct rsr_crew *crew, const struct louver_pass *pass) {
    const struct rsr_sketch_shape *shape = &crew->louver.shape;
    const rsr_louver_stats *stats = &pass->stats;
    return stats->pages * (shape->scales_at + louver_centre_bytes(&crew->louver)) +
           stats->scanned * shape->n_slices * 18 + stats->plane2 * shape->n_slices * 17 +
           stats->exact * 2 * crew->kv.format.row_bytes;
}

static void count_head(rsr_attention_stats *total, const rsr_louver_head *head) {
    total->max_mass = fmax(total->max_mass, head->mass);
    total->max_error = fmax(total->max_error, head->certified_error);
    total->max_storage_error = fmax(total->max_storage_error, head->storage_error);
    if (head->spread > 0.0)
        total->max_relative_error =
            fmax(total->max_relative_error, head->certified_error / head->spread);
}

/* Sinks are the first keys of the sequence. With a window, a token may no longer see them. */
static rsr_louver_threshold threshold_at(const struct call *call, uint32_t token) {
    rsr_louver_threshold threshold = call->crew->attention_options.threshold;
    const uint32_t first = rsr_first_seen(call->crew->chunk->positions[token], call->given->window);
    threshold.sinks = threshold.sinks > first ? threshold.sinks - first : 0;
    return threshold;
}

/* ---- Workers alone and together ---- */

static void meet_others(const struct call *call) {
    if (call->together)
        rsr_worker_pool_barrier(call->crew->pool, call->given->worker);
}

static void meet(void *user) {
    meet_others(user);
}

static struct louver_pass *member(void *user, uint32_t number) {
    const struct call *call = user;
    return pass_of(call->crew, number);
}

/* The query heads at q attend to the keys of the KV head that the token sees. */
static void attend_heads(const struct call *call, uint32_t token, uint32_t kv_head, const float *q,
                         float *out, uint32_t n_heads) {
    const struct rsr_crew *crew = call->crew;
    const struct louver_setup *setup = &crew->louver;
    const uint32_t worker = call->given->worker;
    const struct louver_team team = {.n = call->together ? crew->n_workers : 1,
                                     .number = call->together ? worker : 0,
                                     .meet = meet,
                                     .member = member,
                                     .user = (void *)(uintptr_t)call};
    struct louver_pass *pass = pass_of(crew, worker);
    if (team.number == 0) {
        struct louver_page *pages = views_of(crew, worker);
        const uint32_t n_pages = view_pages(call, token, kv_head, pages);
        const rsr_louver_threshold threshold = threshold_at(call, token);
        louver_pass_begin(pass, setup, pages, n_pages, &threshold, NULL, q, setup->head_dim,
                          n_heads, &team, pass_memory(crew, worker));
    }
    meet_others(call);
    if (team.number != 0)
        louver_pass_join(pass, pass_of(crew, 0), &team, pass_memory(crew, worker));
    louver_pass_run(pass);
    count_pass(&call->worker->attention, pass);
    call->worker->bytes += pass_bytes(crew, pass);
    for (uint32_t h = 0; h < n_heads; h++) {
        const struct louver_head_state *head = &pass->first->heads[h];
        float *to = out + (size_t)h * setup->head_dim;
        rsr_louver_head got;
        if (!louver_has_head(pass, h))
            continue;
        setup->ops->attend_finish(to, head->out, &head->state, setup->head_dim);
        louver_certify(pass->first, head, to, &got);
        count_head(&call->worker->attention, &got);
    }
    meet_others(call); /* before the next begins */
}

static bool all_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

/* Attends to the run densely; where workers are together, the first one does. */
static void attend_densely(const struct call *call, struct rsr_run run, uint32_t kv_head) {
    if (call->together && call->given->worker != 0)
        return;
    rsr_attention_dense_unit(call->crew, call->given, run, kv_head);
    call->worker->attention.dense += run.n_tokens;
}

static void attend_token(const struct call *call, uint32_t token, uint32_t kv_head) {
    const struct rsr_crew *crew = call->crew;
    const struct rsr_attention_call *given = call->given;
    const uint32_t group = group_heads(crew), head_dim = crew->louver.head_dim;
    const size_t head_offset = (size_t)kv_head * group * head_dim;
    const float *q =
        (const float *)(const void *)(given->q + token * given->q_row_bytes) + head_offset;
    float *out = (float *)(void *)(given->out + token * given->out_row_bytes) + head_offset;
    /* Dense attention takes queries that are not finite: its result is not finite either, and is
     * reported after it. */
    if (!all_finite(q, (size_t)group * head_dim)) {
        meet_others(call); /* `out` may be memory of q that others still read */
        attend_densely(call, (struct rsr_run){.first_token = token, .n_tokens = 1}, kv_head);
        return;
    }
    const uint32_t most = pass_heads(crew);
    for (uint32_t h = 0; h < group; h += most)
        attend_heads(call, token, kv_head, q + (size_t)h * head_dim, out + (size_t)h * head_dim,
                     group - h < most ? group - h : most);
    call->worker->attention.indexed += !call->together || call->given->worker == 0;
}

static bool sees_few(const struct call *call, uint32_t token) {
    const uint32_t position = call->crew->chunk->positions[token];
    return position - rsr_first_seen(position, call->given->window) + 1 <
           call->crew->attention_options.min_keys;
}

/* Tokens that see few keys come first in a run. A head without an index is dense for all. */
static void attend_run(const struct call *call, struct rsr_run run, uint32_t kv_head) {
    uint32_t n_dense = 0;
    while (n_dense < run.n_tokens && sees_few(call, run.first_token + n_dense))
        n_dense++;
    if (is_flat(call->crew, call->given->layer, kv_head)) {
        if (!call->together || call->given->worker == 0)
            call->worker->attention.flat += run.n_tokens - n_dense;
        n_dense = run.n_tokens;
    }
    if (n_dense > 0)
        attend_densely(call, (struct rsr_run){.first_token = run.first_token, .n_tokens = n_dense},
                       kv_head);
    for (uint32_t t = n_dense; t < run.n_tokens; t++)
        attend_token(call, run.first_token + t, kv_head);
}

static uint32_t count_few(const struct call *call) {
    uint32_t n = 0;
    for (uint32_t t = 0; t < call->crew->chunk->n_tokens; t++)
        n += sees_few(call, t);
    return n;
}

/* Whether workers share the pages of the n_units last units. Members of a team wait for each other
 * half a dozen times per unit, and with topk each member finds the best keys of its own pages: two
 * workers took 1.2 to 1.6 times as long as one, with 9,000 and 16,000 keys of a single KV head. So
 * workers share a unit only if each unit has at least LEAST_TEAM of them, and each member at least
 * min_keys keys. */
static bool share_pages(const struct rsr_crew *crew, uint32_t window, uint64_t n_units) {
    const uint64_t least = (uint64_t)crew->attention_options.min_keys * crew->n_workers;
    if (n_units == 0 || n_units > crew->n_workers / LEAST_TEAM)
        return false;
    for (uint32_t t = 0; t < crew->chunk->n_tokens; t++) {
        const uint32_t position = crew->chunk->positions[t];
        if ((uint64_t)position - rsr_first_seen(position, window) + 1 < least)
            return false;
    }
    return true;
}

/* Workers take equally many units, each a (run, KV head). The few units left over may be shared by
 * all workers. */
static void louver_run(struct rsr_crew *crew, const struct rsr_attention_call *given) {
    struct call call = {crew, given, &crew->workers[given->worker], false};
    const uint32_t n_kv_heads = crew->model->module->hyper.n_kv_heads;
    const uint64_t n_units = (uint64_t)crew->chunk->n_runs * n_kv_heads;
    const uint64_t n_last = n_units % crew->n_workers;
    const uint64_t n_alone = share_pages(crew, given->window, n_last) ? n_units - n_last : n_units;
    if (!is_never_used(crew) && seal_filled_pages(&call))
        rsr_worker_pool_barrier(crew->pool, given->worker);
    const uint32_t n_tokens = crew->chunk->n_tokens, n_few = count_few(&call);
    if (n_few == n_tokens || all_are_flat(crew, given->layer)) {
        rsr_attention_dense_run(crew, given);
        if (given->worker == 0) {
            call.worker->attention.dense += (uint64_t)n_tokens * n_kv_heads;
            call.worker->attention.flat += (uint64_t)(n_tokens - n_few) * n_kv_heads;
        }
        return;
    }
    uint32_t unit, end;
    for (struct rsr_pieces left = rsr_pieces_begin(crew, given->worker, (uint32_t)n_alone, 1);
         rsr_pieces_next(&left, &unit, &end);)
        for (; unit < end; unit++)
            attend_run(&call, crew->chunk->runs[unit / n_kv_heads], unit % n_kv_heads);
    call.together = true;
    if (n_alone < n_units)
        meet_others(&call); /* from now on all use the first worker's scratch */
    for (uint64_t u = n_alone; u < n_units; u++)
        attend_run(&call, crew->chunk->runs[u / n_kv_heads], (uint32_t)(u % n_kv_heads));
}

/* Time of dense attention divided by the time of the index, where the index finds its threshold
 * itself: 4 query heads for each KV head, float32, one thread of a busy Cascade Lake with AVX-512
 * VNNI, over 256 MiB of keys and values in turn. Source: rsr-bench attention, medians of 9; its
 * dense kernel takes 0.9 of the time of the runtime's kernel. Clustered keys come from 64 centres
 * in runs of 256, with a spread of 0.35:
 *
 *     keys                          2048   4096   6144   8192  12288
 *     topk:20, 128 dims, Gaussian   0.48   0.72   0.83   0.91   1.16
 *     topk:20, 128 dims, clustered  0.42   0.68   0.92   1.32   1.77
 *     topk:20, 64 dims, Gaussian    0.35   0.53   0.77   0.81   1.08
 *     topk:20, 64 dims, clustered   0.39   0.61   0.75   0.89   1.33
 *
 * The ratios on a busy Zen 4 over 1.5 GiB, medians of 5:
 *
 *     topk:20, 128 dims, Gaussian          0.71   0.85   1.28   1.26
 *     topk:20, 128 dims, clustered         0.57   0.99   1.17   1.43
 *
 * The ratios on the Zen 4 for the K best of n keys, 8,192 to 131,072 keys of either kind:
 *
 *     n / K           256            128            64
 *     topk, 128 dims  1.18 to 1.53   0.78 to 1.19   0.70 to 0.88
 *
 * mass has no such table: what it leaves out depends on the spread of a head's logits, not on the
 * number of keys. Where that is little, its trial gives up after the sketches of 8 to 15 pages.
 */
#define MIN_KEYS 8192u
#define KEYS_FOR_EACH_OF_THE_BEST 128u

static uint32_t louver_min_keys(const rsr_louver_threshold *threshold) {
    if (threshold->kind == RSR_LOUVER_BUDGET)
        return threshold->value * KEYS_FOR_EACH_OF_THE_BEST > 1.0 ? UINT32_MAX : MIN_KEYS;
    const uint64_t n_best = threshold->kind == RSR_LOUVER_TOPK ? threshold->k : 0;
    const uint64_t keys = n_best * KEYS_FOR_EACH_OF_THE_BEST;
    return keys < MIN_KEYS ? MIN_KEYS : keys < UINT32_MAX ? (uint32_t)keys : UINT32_MAX;
}

const struct rsr_attention rsr_attention_louver = {
    .name = "louver",
    .min_keys = louver_min_keys,
    .begin = louver_begin,
    .sidecar_bytes = louver_sidecar_size,
    .scratch_bytes = louver_scratch_bytes,
    .stack_bytes = LOUVER_STACK_BYTES,
    .run = louver_run,
    .seal = louver_seal_page,
};
