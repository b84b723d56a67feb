/* head_sketch.c - finds the rows of the head that may be chosen, with their exact logits.
 *
 * All workers go through three phases. (1) They bound all rows by the first plane; a block is read
 * once for all picks, by any worker. (2) They compute the exact logits of the rows that seem best.
 * These give a threshold that the chosen row reaches (with top_k: the k-th row). (3) Rows whose
 * bound by the first plane reaches the threshold are bounded by the second plane, and those that
 * still reach it are read, in decreasing order of their bounds. Rows that are never read have
 * scores below the threshold, so the choice depends neither on the workers nor on the rows that
 * were tried first.
 *
 * THEOREM. The logit that ops->head and ops->head_some compute for a row k is, unless the pick is
 * excluded, at most
 *     frame.offset[p] + frame.unit t[p].
 * PROOF. sketch.h bounds q . k over the reals. In the order of ops.h each product meets at most
 * m = ceil(n / 16) + 4 roundings, of which those that underflow are off by at most 2^-150 each; so
 * the logit is within (m + 2) 2^-24 sum |q_i k_i| + n 2^-149 of q . k, and sum |q_i k_i| <= |q| |k|
 * <= |q| (|mu| + radius). This error is added to both offsets. If |q| (|mu| + radius) may reach
 * 2^126, a sum might not be finite: such picks, and queries that are not finite, are excluded and
 * get all logits. QED
 *
 * A score is the logit after the edits (sample/edits.h). Rows whose logits an edit may raise are
 * read first, so no bound is needed for them. By the theorem in edits.h, edits never raise the
 * other logits, so a bound of a logit bounds its score. With noise, a score is fl(fl(logit /
 * temperature) + noise). Rounding is monotonic, so bounds of both parts bound the score.
 *
 * Rows that are not allowed have no key, so they are never listed.
 *
 * NUCLEUS: the row with the best score of all is chosen if it is in the nucleus. The logits that
 * are at least its own decide this. So (4) all of these are read by repeating phase 3 without
 * noise, and (5) head_nucleus.c decides, or asks for all logits.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "crew.h"
#include "head_sketch.h"
#include "pieces.h"
#include "ranks.h"
#include "sketch/sketch_round.h"
#include "sketch/sketch_scan.h"

/* Tests compile this file with a term of the bound taken out, and must see wrong choices. */
#ifndef RSR_HEAD_OMIT
#define RSR_HEAD_OMIT 0
#endif
enum { OMIT_LOGIT_ERROR = 1, OMIT_NOISE, OMIT_RAISED, OMIT_NOT_ALLOWED, OMIT_SECOND_READING };

#define LARGEST_PRODUCT 0x1p126
/* For the threshold, a worker tries this many rows more than its share of those wanted. Few are
 * enough if rows are ordered by their products in 4 bits. Their bounds order them badly: they
 * favour rows whose codes lose much, and the likeliest row may be a short one with a low bound. */
#define MORE_SEEDS 8u
/* ops->head_some computes the exact logits of this many rows in the time of one. Four streams need
 * no prefetch: fetching the next four rows meanwhile took 28 % longer. */
#define READ_TOGETHER 4u
/* A worker takes at least this many blocks at a time; a block takes some microseconds. */
#define LEAST_BLOCKS 2u

/* All logits are read if 1 / NUCLEUS_PART of the rows or more may be in the nucleus. */
#define NUCLEUS_PART 4u

struct head_walk {
    struct rsr_crew *crew;
    struct rsr_head_slots *slots;
    const struct rsr_matrix_data *head;
    const struct rsr_head_sketch *sketch;
    const char *x;
    size_t x_bytes;
    uint32_t worker, n_workers;
    uint32_t first_block, n_blocks; /* of this rank */
};

static const float *query_of(const struct head_walk *w, const struct rsr_head_scan *pick) {
    return (const float *)(const void *)(w->x + pick->asked->token * w->x_bytes);
}

static const char *block_at(const struct head_walk *w, uint32_t block) {
    return (const char *)w->sketch->blocks + block * w->sketch->block_bytes;
}

/* A worker's blocks are every n_workers-th one of this rank's, from its first one on. */
static uint32_t first_of(const struct head_walk *w) {
    return w->first_block + w->worker;
}

static uint32_t end_of(const struct head_walk *w) {
    return w->first_block + w->n_blocks;
}

static bool is_own(const struct head_walk *w, uint32_t block) {
    return block >= w->first_block && block < end_of(w) &&
           (block - w->first_block) % w->n_workers == w->worker;
}

/* The end of a block's rows: the matrix may end before the block does. */
static uint32_t end_of_block(const struct head_walk *w, uint32_t block) {
    const uint32_t first = block * RSR_SKETCH_VECTORS, left = w->head->rows - first;
    return first + (left < RSR_SKETCH_VECTORS ? left : RSR_SKETCH_VECTORS);
}

static struct rsr_head_row *listed_by(const struct head_walk *w, const struct rsr_head_scan *pick,
                                      uint32_t worker, uint32_t **n) {
    const uint32_t first = rsr_head_blocks_before(w->n_blocks, worker, w->n_workers);
    *n = pick->n_listed + (size_t)worker * RSR_HEAD_COUNT_STRIDE;
    return pick->listed + (size_t)first * RSR_SKETCH_VECTORS;
}

/* ---- The largest of many: a heap whose root is the smallest ---- */

static void sift_down(struct rsr_head_row *heap, uint32_t n, uint32_t i) {
    const struct rsr_head_row moved = heap[i];
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1].value < heap[child].value)
            child++;
        if (!(heap[child].value < moved.value))
            break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

/* Keeps the `capacity` largest. */
static void keep_largest(struct rsr_head_row *heap, uint32_t *n, uint32_t capacity,
                         struct rsr_head_row row) {
    if (*n == capacity) {
        if (row.value > heap[0].value) {
            heap[0] = row;
            sift_down(heap, *n, 0);
        }
        return;
    }
    heap[(*n)++] = row;
    if (*n == capacity)
        for (uint32_t i = *n / 2; i-- > 0;)
            sift_down(heap, *n, i);
}

/* ---- Scores ---- */

static double score_of(const struct rsr_head_scan *pick, struct rsr_head_row row) {
    if (!pick->draws)
        return (double)row.value;
    return (double)row.value / (double)pick->asked->sampling.temperature +
           rsr_gumbel(pick->noise_key, row.row);
}

/* An upper bound of a row's noise. */
static inline double noise_bound(const struct rsr_head_scan *pick, uint32_t row) {
    return RSR_HEAD_OMIT == OMIT_NOISE ? 0.0 : rsr_gumbel_bound(pick->noise_key, row);
}

/* An upper bound, as a float, of the score of a row whose logit is at most offset + unit t and
 * whose noise (if the pick draws) is at most `noise`. A relative 2^-50 covers the rounding of the
 * last sum, and 2^-22 that of the conversion, which must not give -infinity. */
static inline float score_bound(const struct rsr_head_scan *pick, bool draws, double offset,
                                double unit, float t, double noise) {
    double bound = offset + unit * (double)t;
    bound += fabs(bound) * 0x1p-50;
    if (draws)
        bound = bound / (double)pick->asked->sampling.temperature + noise;
    const float rounded = (float)(bound + fabs(bound) * 0x1p-22 + 0x1p-140);
    return rounded < -FLT_MAX ? -FLT_MAX : rounded;
}

/* ---- Phase 1: bounds ---- */

static void prepare(const struct head_walk *w, struct rsr_head_scan *pick) {
    const float *q = query_of(w, pick), *centre = w->sketch->centre;
    bool finite = true;
    for (uint32_t i = 0; i < w->head->cols; i++)
        finite = finite && isfinite(q[i]);
    if (!finite)
        atomic_store(&pick->excluded, true);
    /* An excluded pick is scanned together with the others, so it needs some query. */
    rsr_sketch_prepare_flat(&w->slots->shape, finite ? q : centre, centre, pick->query_memory,
                            &pick->query);
}

static struct rsr_head_frame frame_of(const struct head_walk *w, struct rsr_head_scan *pick,
                                      const struct rsr_sketch_header *header,
                                      const struct rsr_sketch_frame *frame) {
    const double size = rsr_sum_up(pick->query.norm * (header->radius + header->centre_norm));
    const double roundings = (w->head->cols + 15) / 16 + 6;
    const double error = RSR_HEAD_OMIT == OMIT_LOGIT_ERROR
                             ? 0.0
                             : rsr_sum_up(roundings * 0x1p-24 * size) + w->head->cols * 0x1p-149;
    if (!(size < LARGEST_PRODUCT))
        atomic_store(&pick->excluded, true);
    return (struct rsr_head_frame){
        {rsr_round_up(frame->offset[0] + error), rsr_round_up(frame->offset[1] + error)},
        frame->unit};
}

float rsr_head_bound(const struct rsr_head_scan *pick, uint32_t block, float t) {
    const struct rsr_head_frame *frame = &pick->frames[block];
    return score_bound(pick, false, frame->offset[0], frame->unit, t, 0.0);
}

/* The largest of a block's numbers; NaN counts as the smallest. */
static float largest_of(const float *x) {
    enum { LANES = 16 };
    float lanes[LANES], largest = -INFINITY;
    for (uint32_t l = 0; l < LANES; l++)
        lanes[l] = largest;
    for (uint32_t i = 0; i < RSR_SKETCH_VECTORS; i += LANES)
        for (uint32_t l = 0; l < LANES; l++)
            lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
    for (uint32_t l = 0; l < LANES; l++)
        largest = lanes[l] > largest ? lanes[l] : largest;
    return largest;
}

/* Bounds the scores of a block by its largest key. Without a key no row of the block is chosen. */
static void bound_keys(struct rsr_head_scan *pick, uint32_t block, float largest) {
    pick->block_bounds[block] =
        pick->draws || largest == -INFINITY ? largest : rsr_head_bound(pick, block, largest);
}

/* The bound of a row. Without noise it grows with t, so it is computed only where it is needed. */
static float bound_of(const struct rsr_head_scan *pick, uint32_t row) {
    return pick->draws ? pick->keys[row]
                       : rsr_head_bound(pick, row / RSR_SKETCH_VECTORS, pick->keys[row]);
}

/* An estimate of a logit, which grows with the sum of products. */
static float estimate_of(const struct rsr_head_scan *pick, double unit, float sum) {
    return (float)(pick->query.centre + unit * (double)sum);
}

static void drop_not_allowed(const uint32_t *allowed, uint32_t first, uint32_t n, float *t) {
    for (uint32_t j = 0; j < n && RSR_HEAD_OMIT != OMIT_NOT_ALLOWED; j++)
        t[j] = rsr_is_allowed(allowed, first + j) ? t[j] : NAN;
}

/* For a pick that draws: makes keys and estimates of the block's rows from their t and sums. */
static void score_block(const struct rsr_head_scan *pick, const struct rsr_head_frame *frame,
                        uint32_t first) {
    for (uint32_t row = first; row < first + RSR_SKETCH_VECTORS; row++) {
        const double noise = noise_bound(pick, row);
        const float logit = estimate_of(pick, frame->unit, pick->estimates[row]);
        pick->keys[row] =
            score_bound(pick, true, frame->offset[0], frame->unit, pick->t[row], noise);
        pick->estimates[row] =
            (float)((double)logit / (double)pick->asked->sampling.temperature + noise);
    }
}

/* Finds the best bound and the best estimate of a block from t and sums of its rows. Rows past the
 * end of the matrix count, too, but do no harm. */
static void bound_block(const struct head_walk *w, struct rsr_head_scan *pick, uint32_t block,
                        const struct rsr_sketch_frame *sketched) {
    const uint32_t first = block * RSR_SKETCH_VECTORS;
    const uint32_t *allowed = pick->asked->sampling.allowed;
    const struct rsr_ops *ops = w->crew->model->ops;
    const struct rsr_head_frame frame =
        frame_of(w, pick, rsr_sketch_header_of(block_at(w, block)), sketched);
    pick->frames[block] = frame;
    if (allowed != NULL)
        drop_not_allowed(allowed, first, end_of_block(w, block) - first, pick->t + first);
    if (pick->draws)
        score_block(pick, &frame, first);
    const float *keys = pick->keys + first;
    bound_keys(pick, block, allowed != NULL ? largest_of(keys) : ops->largest_score(keys));
    const float estimate = ops->largest_score(pick->estimates + first);
    pick->block_estimates[block] = pick->draws ? estimate : estimate_of(pick, frame.unit, estimate);
}

/* Any worker may scan any block. */
static void scan(const struct head_walk *w) {
    struct rsr_head_slots *slots = w->slots;
    const struct rsr_sketch_query *queries[RSR_MAX_PICKS];
    struct rsr_sketch_frame frames[RSR_MAX_PICKS];
    uint32_t n_blocks = 0, begin, end;
    for (uint32_t i = 0; i < slots->n_sketched; i++)
        queries[i] = &slots->scans[i].query;
    for (struct rsr_pieces left = rsr_pieces_begin(w->crew, w->worker, w->n_blocks, LEAST_BLOCKS);
         rsr_pieces_next(&left, &begin, &end); n_blocks += end - begin)
        for (uint32_t b = w->first_block + begin; b < w->first_block + end; b++) {
            slots->kernel->bounds(&slots->shape, block_at(w, b), queries, slots->n_sketched,
                                  slots->scans[0].t + (size_t)b * RSR_SKETCH_VECTORS,
                                  slots->scans[0].estimates + (size_t)b * RSR_SKETCH_VECTORS,
                                  slots->slot_bytes / sizeof(float),
                                  b + 1 < end_of(w) ? block_at(w, b + 1) : NULL);
            slots->kernel->frames(&slots->shape, block_at(w, b), queries, slots->n_sketched,
                                  frames);
            for (uint32_t i = 0; i < slots->n_sketched; i++)
                bound_block(w, &slots->scans[i], b, &frames[i]);
        }
    struct rsr_worker_state *state = &w->crew->workers[w->worker];
    state->head.scanned += (uint64_t)n_blocks * RSR_SKETCH_VECTORS * slots->n_sketched;
    state->bytes += (uint64_t)n_blocks * rsr_sketch_first_bytes(&slots->shape);
}

/* ---- Phase 2: a threshold ---- */

/* Computes the logits of all of this worker's rows. */
static void compute_all(const struct head_walk *w, const struct rsr_head_scan *pick) {
    struct rsr_worker_state *state = &w->crew->workers[w->worker];
    for (uint32_t b = first_of(w); b < end_of(w); b += w->n_workers) {
        const uint32_t begin = b * RSR_SKETCH_VECTORS, end = end_of_block(w, b);
        w->crew->model->ops->head(pick->all, w->head, begin, end, query_of(w, pick));
        state->bytes += (end - begin) * rsr_matrix_row_bytes(w->head);
    }
}

static uint32_t at_most(uint32_t n, uint32_t limit) {
    return n < limit ? n : limit;
}

/* Reads n <= READ_TOGETHER rows: computes and lists their logits. */
static void read_rows(const struct head_walk *w, struct rsr_head_scan *pick,
                      struct rsr_head_row *rows, uint32_t n) {
    uint32_t numbers[READ_TOGETHER];
    float logits[READ_TOGETHER];
    for (uint32_t i = 0; i < n; i++)
        numbers[i] = rows[i].row;
    w->crew->model->ops->head_some(logits, w->head, numbers, n, query_of(w, pick));
    for (uint32_t i = 0; i < n; i++) {
        const struct rsr_edit *edit = rsr_edit_of(pick->asked->edits, numbers[i]);
        rows[i].value =
            edit != NULL ? rsr_edited(edit, &pick->asked->sampling, logits[i]) : logits[i];
        pick->keys[numbers[i]] = pick->t[numbers[i]] = NAN; /* NaN reaches no threshold */
    }
    w->crew->workers[w->worker].head.exact += n;
    w->crew->workers[w->worker].bytes += n * rsr_matrix_row_bytes(w->head);
}

/* Reads any number of rows. */
static void read_all(const struct head_walk *w, struct rsr_head_scan *pick,
                     struct rsr_head_row *rows, uint32_t n) {
    for (uint32_t i = 0; i < n; i += READ_TOGETHER)
        read_rows(w, pick, rows + i, at_most(n - i, READ_TOGETHER));
}

/* Rows of the block with a smaller t by this plane have bounds below the floor (without noise):
 * score_bound() adds less than the slack to offset + unit t. */
static float t_floor(const struct rsr_head_scan *pick, uint32_t block, uint32_t plane,
                     float floor) {
    if (floor <= -FLT_MAX)
        return -INFINITY;
    const struct rsr_head_frame *frame = &pick->frames[block];
    const double offset = frame->offset[plane];
    const double slack = fabs((double)floor) * 0x1p-20 + fabs(offset) * 0x1p-48 + 0x1p-130;
    return rsr_float_down(((double)floor - slack - offset) / frame->unit);
}

/* Writes the block's rows whose bounds reach the floor. */
static uint32_t find_in_block(const struct head_walk *w, const struct rsr_head_scan *pick,
                              uint32_t block, float floor, struct rsr_head_row *rows) {
    if (!(pick->block_bounds[block] >= floor))
        return 0;
    const float least = pick->draws ? floor : t_floor(pick, block, 0, floor);
    const uint32_t end = end_of_block(w, block);
    uint32_t n_found = 0, n = 0;
    uint32_t found[RSR_SKETCH_VECTORS];
    for (uint32_t row = block * RSR_SKETCH_VECTORS; row < end; row++) { /* without a branch */
        found[n_found] = row;
        n_found += pick->keys[row] >= least;
    }
    for (uint32_t i = 0; i < n_found; i++) {
        rows[n] = (struct rsr_head_row){found[i], bound_of(pick, found[i])};
        n += rows[n].value >= floor;
    }
    return n;
}

/* This worker's rows whose logits an edit may raise. */
static uint32_t find_raised(const struct head_walk *w, const struct rsr_head_scan *pick,
                            struct rsr_head_row *rows) {
    const struct rsr_edits *edits = pick->asked->edits;
    uint32_t n = 0;
    if (edits->n_raised == 0 || RSR_HEAD_OMIT == OMIT_RAISED)
        return 0;
    for (uint32_t i = 0; i < rsr_edits_places(edits); i++) {
        const struct rsr_edit *edit = &edits->places[i];
        if (edit->token != RSR_NO_EDIT && is_own(w, edit->token / RSR_SKETCH_VECTORS) &&
            rsr_edit_raises(edit, edits->sampling) && !isnan(pick->keys[edit->token]))
            rows[n++] = (struct rsr_head_row){edit->token, 0.0f};
    }
    return n;
}

/* Reads the rows that an edit may raise, then those of this worker's blocks that seem best. */
static void read_seeds(const struct head_walk *w, struct rsr_head_scan *pick) {
    const uint32_t most = pick->n_wanted / w->n_workers + 1 + MORE_SEEDS;
    uint32_t *n_listed, n = 0;
    struct rsr_head_row *rows = listed_by(w, pick, w->worker, &n_listed);
    const uint32_t n_raised = find_raised(w, pick, rows);
    struct rsr_head_row *seeds = rows + n_raised;
    read_all(w, pick, rows, n_raised);
    for (uint32_t b = first_of(w); b < end_of(w); b += w->n_workers) {
        if (n == most && !(pick->block_estimates[b] > seeds[0].value))
            continue;
        const uint32_t end = end_of_block(w, b);
        for (uint32_t row = b * RSR_SKETCH_VECTORS; row < end; row++) {
            if (isnan(pick->keys[row]))
                continue;
            const float estimate = pick->estimates[row];
            keep_largest(seeds, &n, most,
                         (struct rsr_head_row){
                             row, pick->draws ? estimate
                                              : estimate_of(pick, pick->frames[b].unit, estimate)});
        }
    }
    read_all(w, pick, seeds, n);
    *n_listed = n_raised + n;
}

/* If some token has the logit `top`, min_p certainly drops this logit and every lower one: weights
 * are e^((logit - top) / temperature), rounded. */
static double min_p_floor(const rsr_sampling *s, double top) {
    const double distance = (0x1p-20 - rsr_log((double)s->min_p)) * (1.0 + 0x1p-30);
    return top - fabs(top) * 0x1p-30 - distance * (double)s->temperature;
}

/* The threshold that the rows read so far prove for the chosen ones. */
static double threshold_of(const struct head_walk *w, const struct rsr_head_scan *pick) {
    double top = -INFINITY;
    uint32_t n_best = 0;
    for (uint32_t worker = 0; worker < w->n_workers; worker++) {
        uint32_t *n;
        const struct rsr_head_row *rows = listed_by(w, pick, worker, &n);
        for (uint32_t i = 0; i < *n; i++) {
            top = fmax(top, score_of(pick, rows[i]));
            keep_largest(pick->best, &n_best, pick->n_wanted, rows[i]);
        }
    }
    if (pick->asked->mode != RSR_PICK_TOP)
        return top;
    const rsr_sampling *s = &pick->asked->sampling;
    const double last =
        s->top_k > 0 && n_best == s->top_k ? (double)pick->best[0].value : -INFINITY;
    /* top_p comes before min_p and needs the sum over all rows that top_k leaves. */
    return s->min_p > 0.0f && s->top_p == 1.0f ? fmax(last, min_p_floor(s, top)) : last;
}

/* ---- Phase 3: what reaches it ---- */

/* Appends this worker's rows that the first plane does not drop. */
static uint32_t find_rows(const struct head_walk *w, const struct rsr_head_scan *pick, float floor,
                          struct rsr_head_row *rows) {
    uint32_t n = 0;
    for (uint32_t b = first_of(w); b < end_of(w); b += w->n_workers)
        n += find_in_block(w, pick, b, floor, rows + n);
    return n;
}

/* Rows that are sharpened by one call. */
#define SHARPENED 64u

/* The first third of the second plane drops most rows that the whole plane drops. */
#define FIRST_PART 3u

/* Finds the second plane's bytes of n rows, from a team of slices on; entries past the last are
 * NULL. */
static void find_gains(const struct head_walk *w, const struct rsr_head_row *rows, uint32_t n,
                       uint32_t team, const struct rsr_sketch_gain **gains) {
    const struct rsr_sketch_shape *shape = &w->slots->shape;
    for (uint32_t i = 0; i < SHARPENED + RSR_SKETCH_AHEAD; i++)
        gains[i] = i >= n
                       ? NULL
                       : rsr_sketch_gains_of(shape, block_at(w, rows[i].row / RSR_SKETCH_VECTORS),
                                             rows[i].row % RSR_SKETCH_VECTORS) +
                             team;
}

/* The bound of a row whose t, by the second plane, is its value. */
static float sharp_bound(const struct rsr_head_scan *pick, struct rsr_head_row row) {
    const struct rsr_head_frame *frame = &pick->frames[row.row / RSR_SKETCH_VECTORS];
    return score_bound(pick, pick->draws, frame->offset[1], frame->unit, row.value,
                       pick->draws ? noise_bound(pick, row.row) : 0.0);
}

/* Writes to `kept` those of n <= SHARPENED rows whose given t does not drop them. */
static uint32_t keep_rows(const struct rsr_head_scan *pick, float floor,
                          const struct rsr_head_row *rows, const float *t, uint32_t n,
                          struct rsr_head_row *kept) {
    uint32_t block = UINT32_MAX, n_kept = 0;
    float least = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        const struct rsr_head_row row = {rows[i].row, t[i]};
        if (pick->draws) {
            kept[n_kept] = row;
            n_kept += sharp_bound(pick, row) >= floor;
            continue;
        }
        if (block != row.row / RSR_SKETCH_VECTORS) {
            block = row.row / RSR_SKETCH_VECTORS;
            least = t_floor(pick, block, 1, floor);
        }
        kept[n_kept] = row;
        n_kept += row.value >= least;
    }
    return n_kept;
}

/* Adds teams of slices to the rows' t (their values), and keeps the rows that the new t do not
 * drop. */
static uint32_t sharpen_by(const struct head_walk *w, const struct rsr_head_scan *pick, float floor,
                           struct rsr_sketch_teams teams, struct rsr_head_row *rows, uint32_t n) {
    uint32_t n_kept = 0;
    for (uint32_t i = 0; i < n; i += SHARPENED) {
        const struct rsr_sketch_gain *gains[SHARPENED + RSR_SKETCH_AHEAD];
        float t[SHARPENED];
        const uint32_t some = at_most(n - i, SHARPENED);
        find_gains(w, rows + i, n - i, teams.first, gains);
        for (uint32_t j = 0; j < some; j++)
            t[j] = rows[i + j].value;
        w->slots->kernel->sharpen(&pick->query, teams, gains, some, t);
        n_kept += keep_rows(pick, floor, rows + i, t, some, rows + n_kept);
    }
    w->crew->workers[w->worker].bytes +=
        (uint64_t)n * (teams.end - teams.first) * sizeof(struct rsr_sketch_gain);
    return n_kept;
}

/* Keeps the rows that the second plane does not drop. */
static uint32_t sharpen_rows(const struct head_walk *w, const struct rsr_head_scan *pick,
                             float floor, struct rsr_head_row *rows, uint32_t n) {
    const uint32_t n_teams = rsr_sketch_teams_of(&w->slots->shape);
    const uint32_t n_first = (n_teams + FIRST_PART - 1) / FIRST_PART;
    w->crew->workers[w->worker].head.plane2 += n;
    for (uint32_t i = 0; i < n; i++)
        rows[i].value = pick->t[rows[i].row];
    n = sharpen_by(w, pick, floor, (struct rsr_sketch_teams){0, n_first}, rows, n);
    if (n_first < n_teams)
        n = sharpen_by(w, pick, floor, (struct rsr_sketch_teams){n_first, n_teams}, rows, n);
    for (uint32_t i = 0; i < n; i++)
        rows[i].value = sharp_bound(pick, rows[i]);
    return n;
}

static int by_decreasing_bound(const void *a, const void *b) {
    const struct rsr_head_row *x = a, *y = b;
    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* This worker's rows that neither plane drops; the best bounds first. */
static uint32_t find_survivors(const struct head_walk *w, const struct rsr_head_scan *pick,
                               struct rsr_head_row *rows) {
    const float floor = rsr_float_down(pick->threshold);
    uint32_t n = find_rows(w, pick, floor, rows);
    if (w->slots->shape.n_planes > 1)
        n = sharpen_rows(w, pick, floor, rows, n);
    qsort(rows, n, sizeof(*rows), by_decreasing_bound);
    return n;
}

static void read_survivors(const struct head_walk *w, struct rsr_head_scan *pick) {
    uint32_t *n_listed, i = 0;
    struct rsr_head_row *rows = listed_by(w, pick, w->worker, &n_listed) + *n_listed;
    double threshold = pick->threshold;
    const uint32_t n = find_survivors(w, pick, rows);
    while (i < n && (double)rows[i].value >= threshold) {
        const uint32_t end = i + at_most(n - i, READ_TOGETHER);
        read_rows(w, pick, rows + i, end - i);
        for (; i < end; i++)
            if (pick->asked->mode != RSR_PICK_TOP)
                threshold = fmax(threshold, score_of(pick, rows[i]));
    }
    *n_listed += i;
}

/* ---- A nucleus ---- */

/* Switches from scores to logits: the logit of the best score is the threshold for the rows that
 * are read next. */
static void begin_nucleus(const struct head_walk *w, struct rsr_head_scan *pick) {
    struct rsr_candidate best = {-INFINITY, UINT32_MAX};
    double threshold = -INFINITY;
    for (uint32_t worker = 0; worker < w->n_workers; worker++) {
        uint32_t *n;
        const struct rsr_head_row *rows = listed_by(w, pick, worker, &n);
        for (uint32_t i = 0; i < *n; i++) {
            const struct rsr_candidate row = {score_of(pick, rows[i]), rows[i].row};
            if (!rsr_comes_before(&row, &best))
                continue;
            best = row;
            threshold = (double)rows[i].value;
        }
    }
    pick->threshold = threshold;
    pick->draws = false;
    pick->keys = pick->t;
}

/* Reads this worker's rows whose logits may reach the threshold. If there are many, reading all
 * logits is faster. */
static void read_nucleus(const struct head_walk *w, struct rsr_head_scan *pick) {
    uint32_t *n_listed;
    struct rsr_head_row *rows = listed_by(w, pick, w->worker, &n_listed) + *n_listed;
    for (uint32_t b = first_of(w); b < end_of(w); b += w->n_workers)
        bound_keys(pick, b, largest_of(pick->keys + (size_t)b * RSR_SKETCH_VECTORS));
    const uint32_t n = RSR_HEAD_OMIT == OMIT_SECOND_READING ? 0 : find_survivors(w, pick, rows);
    if (n > w->head->rows / w->n_workers / NUCLEUS_PART) {
        atomic_store(&pick->undecided, true);
        return;
    }
    read_all(w, pick, rows, n);
    *n_listed += n;
}

static bool is_nucleus(const struct rsr_head_scan *pick) {
    return pick->asked->mode == RSR_PICK_NUCLEUS && !atomic_load(&pick->excluded);
}

static void find_nuclei(const struct head_walk *w) {
    struct rsr_head_slots *slots = w->slots;
    struct rsr_worker_pool *pool = w->crew->pool;
    for (uint32_t i = w->worker; i < slots->n_sketched; i += w->n_workers)
        if (is_nucleus(&slots->scans[i]))
            begin_nucleus(w, &slots->scans[i]);
    rsr_worker_pool_barrier(pool, w->worker);
    for (uint32_t i = 0; i < slots->n_sketched; i++)
        if (is_nucleus(&slots->scans[i]))
            read_nucleus(w, &slots->scans[i]);
    rsr_worker_pool_barrier(pool, w->worker);
    for (uint32_t i = w->worker; i < slots->n_sketched; i += w->n_workers)
        if (is_nucleus(&slots->scans[i]) && !atomic_load(&slots->scans[i].undecided))
            rsr_head_nucleus_find(w->crew, &slots->scans[i]);
    rsr_worker_pool_barrier(pool, w->worker);
    for (uint32_t i = 0; i < slots->n_sketched; i++)
        if (atomic_load(&slots->scans[i].undecided))
            compute_all(w, &slots->scans[i]);
}

/* ---- All of it ---- */

/* Reads all of this worker's rows that are allowed. */
static void read_allowed(const struct head_walk *w, struct rsr_head_scan *pick) {
    uint32_t *n;
    struct rsr_head_row *rows = listed_by(w, pick, w->worker, &n);
    *n = 0;
    for (uint32_t b = first_of(w); b < end_of(w); b += w->n_workers)
        for (uint32_t row = b * RSR_SKETCH_VECTORS; row < end_of_block(w, b); row++)
            if (rsr_is_allowed(pick->asked->sampling.allowed, row))
                rows[(*n)++] = (struct rsr_head_row){row, 0.0f};
    read_all(w, pick, rows, *n);
}

static void run_sketched(const struct head_walk *w) {
    struct rsr_head_slots *slots = w->slots;
    struct rsr_worker_pool *pool = w->crew->pool;
    bool nuclei = false;
    for (uint32_t i = w->worker; i < slots->n_sketched; i += w->n_workers)
        prepare(w, &slots->scans[i]);
    rsr_worker_pool_barrier_fetching(pool, w->worker, &w->crew->workers[w->worker].fetch);
    scan(w);
    rsr_worker_pool_barrier(pool, w->worker);
    for (uint32_t i = 0; i < slots->n_sketched; i++) {
        nuclei = nuclei || slots->scans[i].asked->mode == RSR_PICK_NUCLEUS;
        if (atomic_load(&slots->scans[i].excluded))
            compute_all(w, &slots->scans[i]);
        else
            read_seeds(w, &slots->scans[i]);
    }
    rsr_worker_pool_barrier(pool, w->worker);
    for (uint32_t i = w->worker; i < slots->n_sketched; i += w->n_workers)
        if (!atomic_load(&slots->scans[i].excluded))
            slots->scans[i].threshold = threshold_of(w, &slots->scans[i]);
    rsr_worker_pool_barrier(pool, w->worker);
    for (uint32_t i = 0; i < slots->n_sketched; i++)
        if (!atomic_load(&slots->scans[i].excluded))
            read_survivors(w, &slots->scans[i]);
    if (!nuclei)
        return;
    rsr_worker_pool_barrier(pool, w->worker);
    find_nuclei(w);
}

/* Gives every rank the rows that may be chosen. If the bounds of a rank may not hold, all of them
 * compute all logits of the pick. */
static void gather_rows(const struct head_walk *w, uint32_t op_index) {
    struct rsr_head_slots *slots = w->slots;
    struct rsr_worker_pool *pool = w->crew->pool;
    rsr_worker_pool_barrier(pool, w->worker);
    if (w->worker == 0)
        rsr_rank_gather_counts(w->crew, op_index);
    rsr_worker_pool_barrier(pool, w->worker);
    for (uint32_t i = 0; i < slots->n_sketched; i++)
        if (slots->scans[i].late)
            compute_all(w, &slots->scans[i]);
    rsr_worker_pool_barrier(pool, w->worker);
    if (w->worker == 0)
        rsr_rank_gather_rows(w->crew, op_index);
}

void rsr_head_sketch_run(struct rsr_crew *crew, uint32_t worker, uint32_t op_index, const char *x,
                         size_t row_bytes) {
    struct rsr_head_slots *slots = &crew->slots;
    const struct rsr_target *target = crew->model->target;
    const struct rsr_range blocks = rsr_rank_head_blocks(crew);
    const struct head_walk w = {
        .crew = crew,
        .slots = slots,
        .head = &target->tensors->head,
        .sketch = &target->tensors->head_sketch,
        .x = x,
        .x_bytes = row_bytes,
        .worker = worker,
        .n_workers = crew->n_workers,
        .first_block = blocks.begin,
        .n_blocks = blocks.end - blocks.begin,
    };
    for (uint32_t i = 0; i < slots->n_listed; i++)
        read_allowed(&w, &slots->scans[slots->n_sketched + i]);
    if (slots->n_sketched > 0)
        run_sketched(&w);
    if (crew->ranks != NULL && !crew->ranks->is_pipeline)
        gather_rows(&w, op_index);
}
