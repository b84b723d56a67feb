/* float_harness.h - runs kernels of float activations whose sums round: alone and in batches, in
 * the interpreter and by each back end. All results must equal one expectation bit for bit, and
 * that expectation must be within n u sum |w x| of sums in float64.
 */
#ifndef TESTS_UNIT_FLOAT_HARNESS_H
#define TESTS_UNIT_FLOAT_HARNESS_H

#include <math.h>

#include "kernel_harness.h"

/* Activations of many magnitudes, whose sums round. */
static inline void make_random_floats(struct suite *suite, struct test_case *c) {
    for (uint32_t t = 0; t < MAX_TOKENS; t++)
        for (uint32_t j = 0; j < c->matrix.cols; j++) {
            const uint64_t r = check_random(&suite->seed);
            const float value =
                ldexpf((float)(int32_t)(r >> 32) * 0x1p-31f, (int)(r >> 8 & 15) - 8);
            memcpy(c->x + t * c->ldx + j * sizeof value, &value, sizeof value);
        }
}

static inline const float *float_row(const struct test_case *c, uint32_t token) {
    return (const float *)(const void *)(c->x + token * c->ldx);
}

/* y[token * rows + row] in batches of `batch`, by the kernel or (fn NULL) the interpreter. */
static inline float *run_floats(struct suite *suite, struct test_case *c, rsr_kernel_fn *fn,
                                uint32_t batch) {
    const struct rsr_kernel *kernel = &c->lowered.kernel;
    const uint32_t rows = c->matrix.rows;
    float *y = RSRC_NEW_ARRAY(&suite->arena, MAX_TOKENS * rows, float);
    void *scratch = aligned_rows(suite, kernel->scratch_bytes);
    memset(scratch, 0xff, kernel->scratch_bytes); /* NaN */
    const struct rsr_weights weights = {.codes = c->lowered.codes.bytes,
                                        .index = c->lowered.index.bytes,
                                        .scale = c->lowered.scale.bytes,
                                        .n_scales = 1};
    const struct rsr_worker worker = {.tile_end = kernel->n_tiles, .count = 1};
    for (uint32_t t = 0; t < MAX_TOKENS; t += batch) {
        const uint32_t n = MAX_TOKENS - t < batch ? MAX_TOKENS - t : batch;
        if (fn != NULL)
            fn(c->x + t * c->ldx, c->ldx, y + t * rows, rows, n, &weights, &worker, scratch);
        else
            test_interpret_kernel(kernel, c->x + t * c->ldx, c->ldx, y + t * rows, rows, n,
                                  &weights, &worker, scratch);
    }
    return y;
}

/* The factor of a weight. */
static inline double scale_at(const struct test_case *c, uint32_t row, uint32_t col) {
    const struct rsr_matrix *m = &c->matrix;
    if (c->epilogue == RSR_EPILOGUE_RAW)
        return 1;
    if (m->group_cols == 0)
        return (double)m->scale[m->n_scales > 1 ? row : 0];
    const uint32_t n_groups = m->n_scales / m->rows;
    return (double)m->scale[(size_t)row * n_groups + col / m->group_cols];
}

/* Checks |error| <= n u sum |w x| for each row. */
static inline void check_bound(const struct test_case *c, const float *y) {
    const uint32_t rows = c->matrix.rows, cols = c->matrix.cols;
    uint32_t n_outside = 0, n_inexact = 0;
    for (uint32_t t = 0; t < MAX_TOKENS; t++)
        for (uint32_t r = 0; r < rows; r++) {
            double exact = 0, magnitude = 0;
            for (uint32_t j = 0; j < cols; j++) {
                const double w = c->matrix.values[(size_t)r * cols + j] * scale_at(c, r, j);
                exact += w * (double)float_row(c, t)[j];
                magnitude += fabs(w * (double)float_row(c, t)[j]);
            }
            const double error = fabs((double)y[t * rows + r] - exact);
            n_outside += !(error <= cols * 0x1p-24 * magnitude);
            n_inexact += error > 0;
        }
    CHECK_INT(n_outside, 0);
    CHECK(n_inexact > rows); /* otherwise the test would show nothing */
}

static inline bool same_bits(const struct test_case *c, const float *a, const float *b) {
    return memcmp(a, b, MAX_TOKENS * c->matrix.rows * sizeof *a) == 0;
}

#define MAX_WAYS 40u

/* Cases lowered for one machine, and the bits that each of them must give. */
struct ways {
    struct test_case *cases[MAX_WAYS];
    const float *expected[MAX_WAYS];
    uint32_t n;
};

/* Adds the case with other tiles. */
static inline void add_way(struct suite *suite, struct ways *ways, const struct test_case *c,
                           const struct rsr_spec *spec, uint32_t tile_rows, const float *expected) {
    struct test_case *way = RSRC_NEW(&suite->arena, struct test_case);
    *way = *c;
    way->plan.tile_rows = tile_rows;
    lower_case(suite, way, spec, ways->n);
    CHECK(ways->n < MAX_WAYS);
    ways->expected[ways->n] = expected;
    ways->cases[ways->n++] = way;
}

/* Interpreter and back ends give the expected bits, alone and in batches. */
static inline void check_ways(struct suite *suite, const struct ways *all,
                              const struct rsr_spec *spec, const char *name) {
    struct ways ways = *all;
    for (uint32_t i = 0; i < ways.n; i++) {
        CHECK(
            same_bits(ways.cases[i], run_floats(suite, ways.cases[i], NULL, 1), ways.expected[i]));
        CHECK(
            same_bits(ways.cases[i], run_floats(suite, ways.cases[i], NULL, 7), ways.expected[i]));
    }
    for (size_t b = 0; b < N_BACKENDS && host_supports(spec); b++) {
        const char *object =
            make_object(suite, ways.cases, ways.n, spec, &harness_backends[b], name);
        if (object == NULL)
            continue;
        rsr_kernel_fn *const *functions = load_kernels(suite, ways.cases, ways.n, name, object);
        for (uint32_t i = 0; functions != NULL && i < ways.n; i++) {
            struct test_case *c = ways.cases[i];
            CHECK(same_bits(c, run_floats(suite, c, functions[i], 1), ways.expected[i]));
            CHECK(same_bits(c, run_floats(suite, c, functions[i], 3), ways.expected[i]));
            CHECK(same_bits(c, run_floats(suite, c, functions[i], MAX_TOKENS), ways.expected[i]));
        }
    }
}

#endif
