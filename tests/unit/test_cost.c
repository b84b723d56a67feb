/* test_cost.c - the instructions that predictions count are those that kernels have: a kernel that
 * changes takes its prediction along. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "check.h"
#include "diag_fixture.h"
#include "kernel_interpreter.h"
#include "lower/lower.h"
#include "plan/cost.h"
#include "plan/plan.h"
#include "rsr/segment.h"
#include "spec/spec.h"

/* Few rows, whose time is that of tables, and many; columns for the loops to count more than what
 * is around them. */
static const uint32_t ROWS[] = {64, 640};
#define COLS 2500u
/* Back ends make one instruction of most operations, two of a few, and one of a load and its
 * use. */
#define TOLERANCE 0.2

static struct rsr_matrix make_matrix(struct fixture *f, uint32_t rows, enum rsr_alphabet alphabet) {
    static const int8_t letters[][3] = {{-1, 0, 1}, {-1, 1, 1}, {0, 1, 0}};
    uint64_t state = 1;
    int8_t *values = rsrc_arena_array(&f->arena, rows, COLS);
    for (uint32_t i = 0; i < rows * COLS; i++)
        values[i] = letters[alphabet][check_random(&state) % 3];
    float *scale = RSRC_NEW(&f->arena, float);
    *scale = 1;
    return (struct rsr_matrix){.rows = rows,
                               .cols = COLS,
                               .alphabet = alphabet,
                               .values = values,
                               .scale = scale,
                               .n_scales = 1};
}

/* Operations on vectors that the kernel of one token does. */
static double count_operations(struct fixture *f, const struct rsr_matrix *matrix,
                               const struct rsr_spec *spec, enum rsr_input input,
                               const struct rsr_regime_plan *plan) {
    const struct rsrc_lower_input lower = {.symbol_stem = "cost",
                                           .title = "cost",
                                           .matrix = matrix,
                                           .plan = plan,
                                           .input = input,
                                           .spec = spec,
                                           .epilogue = RSR_EPILOGUE_RAW};
    struct rsr_lowered lowered;
    CHECK_INT(rsrc_lower_layer(f->diag, &f->arena, &lower, &lowered), RSRC_OK);
    const struct rsr_weights weights = {.codes = lowered.codes.bytes,
                                        .index = lowered.index.bytes,
                                        .scale = matrix->scale,
                                        .n_scales = 1};
    const struct rsr_worker worker = {.tile_end = lowered.kernel.n_tiles, .count = 1};
    const size_t x_bytes = RSR_ACT_HEADER + COLS * sizeof(float) + RSR_ACT_PAD;
    uint8_t *x = rsrc_arena_alloc(&f->arena, x_bytes);
    memset(x, 0, x_bytes);
    uint8_t *y = rsrc_arena_alloc(&f->arena, matrix->rows * sizeof(float) + 64);
    uint8_t *scratch = rsrc_arena_alloc(&f->arena, lowered.kernel.scratch_bytes + 4096);
    return (double)test_interpret_kernel(&lowered.kernel, x, x_bytes, y, matrix->rows, 1, &weights,
                                         &worker, scratch);
}

static void check_rows(struct fixture *f, struct rsr_spec *spec, uint32_t rows,
                       enum rsr_alphabet alphabet, enum rsr_input input, enum rsr_variant variant) {
    const struct rsr_matrix matrix = make_matrix(f, rows, alphabet);
    struct rsr_stats stats;
    struct rsrc_plan_options options = {.k = 0};
    options.forced_variant[RSR_ROLE_Q] = (int)variant;
    rsrc_analyse_matrix(&f->arena, &matrix, 4, &stats);
    spec->vector_gips = 1e-3; /* a microsecond an instruction, and next to nothing else */
    spec->dot_gmacs = spec->read_gbps = 1e6;
    const struct rsrc_plan_input planned = {.layer_name = "blk.q",
                                            .role = RSR_ROLE_Q,
                                            .alphabet = alphabet,
                                            .input = input,
                                            .stats = &stats,
                                            .spec = spec,
                                            .options = &options};
    struct rsr_plan plan;
    CHECK_INT(rsrc_plan_layer(f->diag, &f->arena, &planned, &plan), RSRC_OK);
    const struct rsr_regime_plan *decode = &plan.regimes[RSR_REGIME_DECODE];
    const double instructions = count_operations(f, &matrix, spec, input, decode);
    const double ratio = decode->predicted_us / instructions;
    const bool agrees = ratio > 1 - TOLERANCE && ratio < 1 + TOLERANCE;
    CHECK(agrees);
    if (!agrees)
        fprintf(stderr, "%s, %u rows, alphabet %d, input %d, %s: %.2f times the kernel's\n",
                spec->name, rows, (int)alphabet, (int)input, rsrc_variant_name(variant), ratio);
}

static void check_plan(struct fixture *f, struct rsr_spec *spec, enum rsr_alphabet alphabet,
                       enum rsr_input input, enum rsr_variant variant) {
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++)
        check_rows(f, spec, ROWS[i], alphabet, input, variant);
}

static void check_target(struct fixture *f, const char *name) {
    const bool neon = strcmp(name, "neon") == 0;
    struct rsr_spec spec = {.name = NULL};
    CHECK_INT(rsrc_load_spec(f->diag, &f->arena, name, TEST_SOURCE_DIR "/specs", &spec), RSRC_OK);
    for (int i = RSR_TERNARY; i <= RSR_BINARY_BIT; i++) {
        const enum rsr_alphabet alphabet = (enum rsr_alphabet)i;
        check_plan(f, &spec, alphabet, RSR_INPUT_I8, RSR_VARIANT_LUT);
        check_plan(f, &spec, alphabet, RSR_INPUT_F32, RSR_VARIANT_LUT);
        if (!neon) /* whose products are counted as such */
            check_plan(f, &spec, alphabet, RSR_INPUT_I8, RSR_VARIANT_DOT);
    }
}

int main(void) {
    static const char *const targets[] = {"avx2", "avx512vnni", "avx512", "neon"};
    struct fixture f;
    setup(&f);
    for (size_t t = 0; t < sizeof(targets) / sizeof(targets[0]); t++)
        check_target(&f, targets[t]);
    teardown(&f);
    return CHECK_EXIT();
}
