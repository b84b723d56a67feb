/* head_sketch.c - plans the sketch of a head and makes its blocks.
 *
 * A token reads the first plane of every row, the second plane of rows that the first cannot
 * exclude, and the head's rows that are still not excluded. A calibration counts these rows
 * (open_rows.c). Without one, their number is taken from a margin by which the likeliest token
 * usually leads. If logits are Gaussian, a share tail(margin - gap) of the rows
 * cannot be excluded, where the gap is the amount that the proof's bound adds to a logit. The gap
 * is |q_s| |e_s| summed over slices of 32 dimensions, while the standard deviation of a logit grows
 * like a root. So in these standard deviations the gap is about a constant times sqrt(hidden).
 */
#include "model/head_sketch.h"

#include <math.h>
#include <string.h>

#include "model/tensor_data.h"
#include "rsr_cpu_detect.h"
#include "sketch/sketch.h"

/* Gaps over sqrt(hidden), measured on Gaussian rows. */
static const double GAPS[RSR_SKETCH_MAX_PLANES] = {0.093, 0.047};

/* The lead of the likeliest token over the mean, in standard deviations. A random, untrained head
 * has 4.4 with 128,256 tokens. */
#define USUAL_MARGIN 6.0

/* The least size of a head with a sketch. Measured after layers of 50 MB, on one core: picking from
 * a head of this size takes 1.57 ms, and 0.45 ms with a sketch; with half the size, 0.63 and 0.19.
 * Smaller heads gain little compared with the time of the layers. */
#define LEAST_HEAD_BYTES (UINT64_C(8) << 20)

/* A sketch must save at least this share of the head's bytes. */
#define LEAST_SAVING 0.25

/* A second plane must save at least this share more. */
#define LEAST_MORE 0.02

/* A sketch may make a module larger by this share, with ternary weights counted in their densest
 * packing. In the shape of bitnet-2b-4t two planes are 27 % of a module with a head in 12 bits. One
 * plane would be 20 %, but opens 12,536 rows a token instead of 19: a token reads 234 instead of
 * 191 MB, and the whole head is soon in memory, which saves none. */
#define MOST_GROWTH 0.28
#define BYTES_PER_WEIGHT 0.2

#define CENTRE_ROWS 8192u

bool rsrc_can_sketch_head(const struct rsr_graph *graph, const char **reason) {
    if (graph->head == NULL)
        *reason = "an embedding model has no head";
    else if (graph->head_slot.layer != RSR_NO_LAYER)
        *reason = "the head is a ternary layer";
    else if (graph->hyper.hidden > RSR_SKETCH_MAX_DIM)
        *reason = "rows of the head are too long for a sketch";
    else
        return true;
    return false;
}

_Static_assert(RSR_HEAD_PLANES == RSR_SKETCH_MAX_PLANES, "a count of open rows for each");

static double tail(double deviations) {
    return 0.5 * erfc(deviations / sqrt(2.0));
}

bool rsrc_is_large_head(uint64_t head_bytes) {
    return head_bytes >= LEAST_HEAD_BYTES;
}

/* The rows that planes 0 .. p leave open: measured, or by the usual margin. */
static double open_rows(const struct rsr_graph *graph, const double *open, uint32_t p) {
    return open != NULL
               ? open[p]
               : graph->hyper.vocab * tail(USUAL_MARGIN - GAPS[p] * sqrt(graph->hyper.hidden));
}

struct rsr_head_plan rsrc_plan_head_sketch(const struct rsr_graph *graph, uint64_t row_bytes,
                                           uint32_t n_planes, const double *open) {
    const uint32_t dim = graph->hyper.hidden, n_rows = graph->hyper.vocab;
    const uint64_t first_bytes = rsr_sketch_flat_shape(dim, 1).block_bytes;
    struct rsr_head_plan plan = {.n_planes = n_planes,
                                 .n_blocks = rsr_sketch_blocks_of(n_rows),
                                 .block_bytes = rsr_sketch_flat_shape(dim, n_planes).block_bytes};
    plan.size_bytes = plan.n_blocks * plan.block_bytes;
    plan.floor_bytes = plan.n_blocks * first_bytes;
    const double second = (double)(plan.block_bytes - first_bytes) / RSR_SKETCH_VECTORS;
    plan.token_bytes =
        plan.floor_bytes + (uint64_t)(open_rows(graph, open, 0) * second +
                                      open_rows(graph, open, n_planes - 1) * (double)row_bytes);
    return plan;
}

/* A lower bound of the module's size without a sketch. */
static double module_bytes(const struct rsr_graph *graph, struct rsr_stored_rows stored) {
    double bytes = (double)stored.embedding * graph->hyper.vocab;
    if (graph->head != graph->embedding)
        bytes += (double)stored.head * graph->hyper.vocab;
    for (uint32_t i = 0; i < graph->n_dense; i++)
        bytes += (double)graph->dense[i].weight->size_bytes;
    for (uint32_t i = 0; i < graph->n_layers; i++)
        bytes += (double)graph->layers[i].rows * graph->layers[i].cols * BYTES_PER_WEIGHT;
    return bytes;
}

/* "1 plane leaves 812 rows open and 2 planes 41, as measured" */
static const char *open_words(struct rsrc_arena *arena, const double *open) {
    return open == NULL
               ? rsrc_arena_printf(arena, "the likeliest leads by %.0f standard deviations",
                                   USUAL_MARGIN)
               : rsrc_arena_printf(arena,
                                   "1 plane leaves %.0f rows open and 2 planes %.0f, as measured",
                                   open[0], open[1]);
}

struct rsr_head_plan rsrc_choose_head_sketch(struct rsrc_arena *arena,
                                             const struct rsr_graph *graph,
                                             struct rsr_stored_rows stored, const double *open) {
    struct rsr_head_plan chosen = {0};
    if (!rsrc_can_sketch_head(graph, &chosen.reason))
        return chosen;
    const double head = (double)stored.head * graph->hyper.vocab;
    const double whole = module_bytes(graph, stored);
    if (!rsrc_is_large_head(stored.head * graph->hyper.vocab)) {
        chosen.reason = rsrc_arena_printf(
            arena,
            "a head of %.1f MB has little to gain from a sketch; it gets one from %.1f MB on",
            head / 1e6, (double)LEAST_HEAD_BYTES / 1e6);
        return chosen;
    }
    chosen.reason = rsrc_arena_printf(
        arena,
        "no sketch saves %.0f %% of the head's %.1f MB within %.0f %% of the module, where %s",
        100 * LEAST_SAVING, head / 1e6, 100 * MOST_GROWTH, open_words(arena, open));
    double least = (1.0 - LEAST_SAVING) * head;
    for (uint32_t n_planes = 1; n_planes <= RSR_SKETCH_MAX_PLANES; n_planes++) {
        struct rsr_head_plan plan = rsrc_plan_head_sketch(graph, stored.head, n_planes, open);
        if ((double)plan.token_bytes >= least || (double)plan.size_bytes > MOST_GROWTH * whole)
            continue;
        least = (double)plan.token_bytes - LEAST_MORE * head;
        plan.reason =
            rsrc_arena_printf(arena, "a token reads %.1f MB instead of %.1f MB where %s",
                              (double)plan.token_bytes / 1e6, head / 1e6, open_words(arena, open));
        chosen = plan;
    }
    return chosen;
}

static void load_row(const struct rsr_graph *graph, uint32_t row, float *out) {
    const struct rsr_tensor *head = graph->head;
    const size_t n_bytes = (size_t)graph->hyper.hidden * rsrc_dtype_bytes(head->dtype);
    rsrc_load_floats(head->dtype, head->data + row * n_bytes, graph->hyper.hidden, out);
}

/* Releases rows that will not be loaded soon; `first` and `n` may exceed the head. */
static void release_rows(const struct rsr_graph *graph, uint64_t first, uint64_t n) {
    const uint64_t row_bytes = graph->head->size_bytes / graph->hyper.vocab;
    const uint64_t left = first < graph->hyper.vocab ? graph->hyper.vocab - first : 0;
    rsrc_release_tensor(graph->head, first * row_bytes, row_bytes * (n < left ? n : left));
}

void rsrc_find_head_centre(const struct rsr_graph *graph, float *centre) {
    const uint32_t dim = graph->hyper.hidden, n_rows = graph->hyper.vocab;
    const uint32_t n = n_rows < CENTRE_ROWS ? n_rows : CENTRE_ROWS;
    uint32_t released = 0;
    double sums[RSR_SKETCH_MAX_DIM] = {0};
    float row[RSR_SKETCH_MAX_DIM];
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t number = (uint32_t)((uint64_t)i * n_rows / n);
        load_row(graph, number, row);
        /* The system maps pages around a row with it. */
        release_rows(graph, released, number + 1 - released);
        released = number;
        for (uint32_t d = 0; d < dim; d++)
            sums[d] += (double)row[d];
    }
    for (uint32_t d = 0; d < dim; d++) {
        const double mean = sums[d] / n;
        centre[d] = fabs(mean) < (double)RSR_SKETCH_LARGEST_CENTRE / 2 ? (float)mean : 0.0f;
    }
}

size_t rsrc_head_sketch_rows(const struct rsr_graph *graph) {
    return (size_t)RSR_SKETCH_VECTORS * graph->hyper.hidden;
}

void rsrc_make_head_sketch(const struct rsr_graph *graph, const struct rsr_head_plan *plan,
                           const float *centre, uint32_t first, uint32_t n, float *rows,
                           void *blocks) {
    const uint32_t dim = graph->hyper.hidden, n_rows = graph->hyper.vocab;
    const struct rsr_sketch_shape shape = rsr_sketch_flat_shape(dim, plan->n_planes);
    rsr_sketch_build_fn *build = rsr_sketch_kernel_for(rsr_detect_cpu())->build;
    for (uint32_t b = 0; b < n; b++) {
        for (uint32_t j = 0; j < RSR_SKETCH_VECTORS; j++) {
            const uint64_t row = (uint64_t)(first + b) * RSR_SKETCH_VECTORS + j;
            if (row < n_rows)
                load_row(graph, (uint32_t)row, rows + (size_t)j * dim);
            else
                memset(rows + (size_t)j * dim, 0, dim * sizeof(*rows));
        }
        build(&shape, (char *)blocks + b * plan->block_bytes, rows, dim, centre, NULL);
    }
    release_rows(graph, (uint64_t)first * RSR_SKETCH_VECTORS, (uint64_t)n * RSR_SKETCH_VECTORS);
}
