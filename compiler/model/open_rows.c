/* open_rows.c - bounds the logits of a sample of a head's rows with a sketch of all planes, and
 * counts the bounds that reach the largest logit of each token. These are the rows that the runtime
 * reads to pick the likeliest token (runtime/src/walk/head_sketch.c). */
#include "model/open_rows.h"

#include <math.h>
#include <string.h>

#include "rsr_cpu_detect.h"
#include "sketch/sketch.h"
#include "sketch/sketch_scan.h"

/* Blocks of 64 rows, spread over all: of 64 tokens, these are a million bounds. */
#define MOST_BLOCKS 256u

/* Tokens whose bounds are computed together. */
#define TOGETHER 16u

struct counting {
    const struct rsr_sketch_kernel *kernel;
    struct rsr_sketch_shape shape;
    const char *block;
    uint32_t n_rows; /* of the block that exist */
    uint64_t open[RSR_HEAD_PLANES];
};

/* Whether the plane's bound does not exclude the row. */
static bool is_open(const struct rsr_sketch_frame *frame, uint32_t plane, float t, float best) {
    return !(rsr_sketch_upper(frame, plane, t) < (double)best);
}

/* The t of a row by all planes. */
static float sharpened(const struct counting *c, const struct rsr_sketch_query *query, uint32_t row,
                       float t) {
    const struct rsr_sketch_teams all = {0, rsr_sketch_teams_of(&c->shape)};
    const struct rsr_sketch_gain *gains[1 + RSR_SKETCH_AHEAD] = {
        rsr_sketch_gains_of(&c->shape, c->block, row)};
    c->kernel->sharpen(query, all, gains, 1, &t);
    return t;
}

static void count_token(struct counting *c, const struct rsr_sketch_query *query,
                        const struct rsr_sketch_frame *frame, const float *t, float best) {
    for (uint32_t row = 0; row < c->n_rows; row++) {
        if (!is_open(frame, 0, t[row], best))
            continue;
        c->open[0]++;
        c->open[1] += is_open(frame, 1, sharpened(c, query, row, t[row]), best);
    }
}

static void count_block(struct counting *c, const struct rsr_sketch_query *queries,
                        const float *best, uint32_t n) {
    for (uint32_t first = 0; first < n; first += TOGETHER) {
        const uint32_t some = n - first < TOGETHER ? n - first : TOGETHER;
        const struct rsr_sketch_query *together[TOGETHER];
        struct rsr_sketch_frame frames[TOGETHER];
        _Alignas(64) float t[TOGETHER][RSR_SKETCH_VECTORS], estimates[TOGETHER][RSR_SKETCH_VECTORS];
        for (uint32_t i = 0; i < some; i++) {
            together[i] = &queries[first + i];
            frames[i] = rsr_sketch_frame_of(&c->shape, c->block, together[i]);
        }
        c->kernel->bounds(&c->shape, c->block, together, some, t[0], estimates[0],
                          RSR_SKETCH_VECTORS, NULL);
        for (uint32_t i = 0; i < some; i++)
            count_token(c, together[i], &frames[i], t[i], best[first + i]);
    }
}

static struct rsr_sketch_query *prepare(struct rsrc_arena *arena,
                                        const struct rsr_sketch_shape *shape, const float *centre,
                                        const float *states, uint32_t n) {
    struct rsr_sketch_query *queries = RSRC_NEW_ARRAY(arena, n, struct rsr_sketch_query);
    for (uint32_t i = 0; i < n; i++)
        rsr_sketch_prepare_flat(shape, states + (size_t)i * shape->dim, centre,
                                rsrc_arena_alloc(arena, rsr_sketch_query_bytes(shape)),
                                &queries[i]);
    return queries;
}

void rsrc_count_open_rows(const struct rsr_graph *graph, const float *states, const float *best,
                          uint32_t n, double rows[RSR_HEAD_PLANES]) {
    const struct rsr_head_plan plan = rsrc_plan_head_sketch(graph, 0, RSR_HEAD_PLANES, NULL);
    const uint32_t n_rows = graph->hyper.vocab;
    const uint32_t n_blocks = plan.n_blocks < MOST_BLOCKS ? plan.n_blocks : MOST_BLOCKS;
    struct counting c = {.kernel = rsr_sketch_kernel_for(rsr_detect_cpu()),
                         .shape = rsr_sketch_flat_shape(graph->hyper.hidden, RSR_HEAD_PLANES)};
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    float *centre = RSRC_NEW_ARRAY(&arena, graph->hyper.hidden, float);
    float *vectors = RSRC_NEW_ARRAY(&arena, rsrc_head_sketch_rows(graph), float);
    void *block = rsrc_arena_alloc(&arena, plan.block_bytes);
    rsrc_find_head_centre(graph, centre);
    const struct rsr_sketch_query *queries = prepare(&arena, &c.shape, centre, states, n);
    uint64_t n_sampled = 0;
    c.block = block;
    for (uint32_t i = 0; i < n_blocks; i++) {
        const uint32_t number = (uint32_t)((uint64_t)i * plan.n_blocks / n_blocks);
        const uint32_t left = n_rows - number * RSR_SKETCH_VECTORS;
        rsrc_make_head_sketch(graph, &plan, centre, number, 1, vectors, block);
        c.n_rows = left < RSR_SKETCH_VECTORS ? left : RSR_SKETCH_VECTORS;
        n_sampled += c.n_rows;
        count_block(&c, queries, best, n);
    }
    for (uint32_t p = 0; p < RSR_HEAD_PLANES; p++)
        rows[p] = (double)c.open[p] / n * n_rows / (double)n_sampled;
    rsrc_arena_free(&arena);
}
