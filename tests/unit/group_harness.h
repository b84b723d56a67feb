/* group_harness.h - layers with a scale for every group of columns of a row. */
#ifndef TESTS_UNIT_GROUP_HARNESS_H
#define TESTS_UNIT_GROUP_HARNESS_H

#include <math.h>

#include "kernel_harness.h"
#include "plan/plan.h"

struct setting {
    struct shape shape;
    uint32_t group_cols;
};

enum scales { POWERS, HALVES, FLOATS };

static inline float draw_scale(struct suite *suite, enum scales scales) {
    const uint64_t r = check_random(&suite->seed) >> 20;
    switch (scales) {
    case POWERS:
        return ldexpf(1, (int)(r % 5) - 3);
    case HALVES: /* 11 bits */
        return ldexpf((float)(1024 + r % 1024), (int)(r >> 12 & 3) - 15);
    case FLOATS:
        break;
    }
    return 0.01f + (float)(r % 100000) / 77777.0f;
}

/* Activations are random int8 numbers. */
static inline struct test_case *make_group_case(struct suite *suite, const struct setting *setting,
                                                uint32_t alphabet, enum scales scales,
                                                enum rsr_kernel_id kernel) {
    struct test_case *c =
        make_case(suite, &setting->shape, (enum rsr_alphabet)alphabet, RSR_EPILOGUE_SCALE, false);
    struct rsr_matrix *m = &c->matrix;
    m->group_cols = setting->group_cols;
    m->n_scales = m->rows * ((m->cols - 1) / m->group_cols + 1);
    float *scale = RSRC_NEW_ARRAY(&suite->arena, m->n_scales, float);
    for (uint32_t i = 0; i < m->n_scales; i++)
        scale[i] = draw_scale(suite, scales);
    m->scale = scale;
    c->plan.kernel = kernel;
    return c;
}

static inline struct rsrc_plan_input plan_input(struct suite *suite, const struct test_case *c,
                                                const struct rsr_spec *spec,
                                                const struct rsrc_plan_options *options) {
    struct rsr_stats *stats = RSRC_NEW(&suite->arena, struct rsr_stats);
    const uint32_t k = c->plan.k != 0 ? c->plan.k : c->matrix.rows < 3 ? c->matrix.rows : 3;
    rsrc_analyse_matrix(&suite->arena, &c->matrix, k, stats);
    return (struct rsrc_plan_input){.layer_name = "blk.q",
                                    .role = RSR_ROLE_Q,
                                    .alphabet = c->matrix.alphabet,
                                    .input = c->input,
                                    .group_cols = c->matrix.group_cols,
                                    .scale_bytes = rsrc_group_scale_bytes(&c->matrix),
                                    .stats = stats,
                                    .fold_stats = stats,
                                    .fold_budget = 1 << 20,
                                    .spec = spec,
                                    .options = options};
}

#endif
