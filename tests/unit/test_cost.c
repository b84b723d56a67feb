/* test_cost.c - the numbers of instructions in predictions equal those of the kernels, so that
 * nobody changes a kernel without its prediction. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "check.h"
#include "diag_fixture.h"
#include "kernel_interpreter.h"
#include "kernel/dot_layout.h"
#include "lower/lower.h"
#include "plan/plan.h"
#include "rsr/segment.h"
#include "spec_files.h"

/* Few rows, where tables take most of the time, and many rows. There are enough columns for the
 * loops to count more than the code around them. */
#define MANY_ROWS 640u
static const uint32_t ROWS[] = {64, MANY_ROWS};
#define COLS 2500u
/* Back ends make one instruction of most operations, two of some, and a single one of a load and
 * its use. */
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

/* Returns how many operations on vectors the kernel does for each of n_tokens tokens. */
static double count_operations(struct fixture *f, const struct rsr_matrix *matrix,
                               const struct rsr_spec *spec, enum rsr_input input,
                               const struct rsr_regime_plan *plan, uint32_t n_tokens) {
    struct rsrc_lower_input lower = {.symbol_stem = "cost",
                                     .title = "cost",
                                     .matrix = matrix,
                                     .plan = plan,
                                     .input = input,
                                     .spec = spec,
                                     .epilogue = RSR_EPILOGUE_RAW};
    struct rsr_index index;
    if (plan->k != 0) {
        rsrc_build_index(&f->arena, matrix, plan->k, &index);
        lower.index = &index;
    }
    struct rsr_lowered lowered;
    CHECK_INT(rsrc_lower_layer(f->diag, &f->arena, &lower, &lowered), RSRC_OK);
    const struct rsr_weights weights = {.codes = lowered.codes.bytes,
                                        .index = lowered.index.bytes,
                                        .scale = matrix->scale,
                                        .n_scales = 1};
    const struct rsr_worker worker = {.tile_end = lowered.kernel.n_tiles, .count = 1};
    const size_t x_bytes = RSR_ACT_HEADER + COLS * sizeof(float) + RSR_ACT_PAD;
    uint8_t *x = rsrc_arena_alloc(&f->arena, n_tokens * x_bytes);
    memset(x, 0, n_tokens * x_bytes);
    uint8_t *y = rsrc_arena_alloc(&f->arena, n_tokens * matrix->rows * sizeof(float) + 64);
    uint8_t *scratch = rsrc_arena_alloc(&f->arena, lowered.kernel.scratch_bytes + 4096);
    return (double)test_interpret_kernel(&lowered.kernel, x, x_bytes, y, matrix->rows, n_tokens,
                                         &weights, &worker, scratch) /
           n_tokens;
}

/* Compares the prediction for a token with what the kernel does: for one token in decode, for a
 * tile of tokens in prefill. */
static void check_regime(struct fixture *f, const struct rsr_matrix *matrix,
                         const struct rsrc_plan_input *planned, const struct rsr_plan *plan,
                         enum rsr_regime regime) {
    const struct rsr_regime_plan *way = &plan->regimes[regime];
    const uint32_t n_tokens = regime == RSR_REGIME_DECODE ? 1 : way->token_tile;
    const double instructions =
        count_operations(f, matrix, planned->spec, planned->input, way, n_tokens);
    const double ratio = way->predicted_us / instructions;
    const bool agrees = ratio > 1 - TOLERANCE && ratio < 1 + TOLERANCE;
    CHECK(agrees);
    if (!agrees)
        fprintf(stderr, "%s, %u rows, alphabet %d, input %d, %s, %s: %.2f times the kernel's\n",
                planned->spec->name, matrix->rows, (int)planned->alphabet, (int)planned->input,
                rsrc_variant_of(way), rsrc_regime_name(regime), ratio);
}

/* Whether the target has the variant. */
static bool check_rows(struct fixture *f, struct rsr_spec *spec, uint32_t rows,
                       enum rsr_alphabet alphabet, enum rsr_input input, enum rsr_variant variant) {
    const struct rsr_matrix matrix = make_matrix(f, rows, alphabet);
    struct rsr_stats stats;
    struct rsrc_plan_options options = {.k = 0};
    options.forced_variant[RSR_ROLE_Q] = (int)variant;
    rsrc_analyse_matrix(&f->arena, &matrix, 4, &stats);
    /* One microsecond per instruction, and almost no time for anything else. */
    spec->vector_gips = spec->fold_gips = 1e-3;
    spec->dot_gmacs = spec->read_gbps = 1e6;
    const struct rsrc_plan_input planned = {.layer_name = "blk.q",
                                            .role = RSR_ROLE_Q,
                                            .alphabet = alphabet,
                                            .input = input,
                                            .stats = &stats,
                                            .fold_stats = &stats,
                                            .spec = spec,
                                            .options = &options};
    struct rsr_plan plan;
    if (rsrc_plan_layer(f->diag, &f->arena, &planned, &plan) != RSRC_OK)
        return false;
    for (int regime = 0; regime < RSR_REGIME_COUNT; regime++)
        check_regime(f, &matrix, &planned, &plan, (enum rsr_regime)regime);
    return true;
}

/* Checks every shape. Whether the target has the variant does not depend on the shape. */
static void check_plan(struct fixture *f, struct rsr_spec *spec, enum rsr_alphabet alphabet,
                       enum rsr_input input, enum rsr_variant variant, bool has) {
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++)
        CHECK_INT(check_rows(f, spec, ROWS[i], alphabet, input, variant), has);
}

static void check_dot(struct fixture *f, struct rsr_spec *spec) {
    for (int i = RSR_TERNARY; i <= RSR_BINARY_BIT; i++)
        check_plan(f, spec, (enum rsr_alphabet)i, RSR_INPUT_I8, RSR_VARIANT_DOT, true);
}

static void check_lut(struct fixture *f, struct rsr_spec *spec) {
    const bool has_lut = (spec->cpu_features & (RSR_CPU_MASK(SSSE3) | RSR_CPU_MASK(NEON))) != 0;
    for (int i = RSR_TERNARY; i <= RSR_BINARY_BIT; i++) {
        check_plan(f, spec, (enum rsr_alphabet)i, RSR_INPUT_I8, RSR_VARIANT_LUT, has_lut);
        check_plan(f, spec, (enum rsr_alphabet)i, RSR_INPUT_F32, RSR_VARIANT_LUT, has_lut);
    }
}

/* Decode uses the kernel of the codes that it reads. If floats are not looked up, `table` has a
 * decode kernel of its own. */
static void check_table(struct fixture *f, struct rsr_spec *spec) {
    for (int i = RSR_TERNARY; i <= RSR_BINARY_BIT; i++) {
        check_plan(f, spec, (enum rsr_alphabet)i, RSR_INPUT_I8, RSR_VARIANT_TABLE, true);
        check_plan(f, spec, (enum rsr_alphabet)i, RSR_INPUT_F32, RSR_VARIANT_TABLE, true);
    }
}

/* Checks matrices of many rows only: the prediction leaves out the work of arranging activations in
 * columns, which is small only beside many rows. */
static void check_fold(struct fixture *f, struct rsr_spec *spec) {
    for (int i = RSR_TERNARY; i <= RSR_BINARY_BIT; i++)
        CHECK(check_rows(f, spec, MANY_ROWS, (enum rsr_alphabet)i, RSR_INPUT_I8, RSR_VARIANT_FOLD));
    CHECK(check_rows(f, spec, MANY_ROWS, RSR_TERNARY, RSR_INPUT_F32, RSR_VARIANT_FOLD));
}

/* Descriptions of specs/: a long run takes all, a short one every second, a short sanitised one
 * every fourth. */
static void test_targets(void) {
    struct fixture all;
    struct rsr_spec specs[MAX_SPEC_FILES];
    setup(&all);
    const uint32_t n = load_cpu_specs(&all, specs);
    for (uint32_t i = 0; i < n; i += test_is_long() ? 1 : TEST_SANITIZED ? 4 : 2) {
        struct fixture f;
        setup(&f);
        check_dot(&f, &specs[i]);
        check_lut(&f, &specs[i]);
        check_table(&f, &specs[i]);
        check_fold(&f, &specs[i]);
        teardown(&f);
    }
    teardown(&all);
}

/* Every machine of `dot`, also those that no description has. Scalar code has no vectors to
 * count. */
static void test_dot_machines(void) {
    for (uint32_t i = 0; i < rsrc_dot_machines.n; i++) {
        const struct rsrc_machine *machine = rsrc_machine_at(&rsrc_dot_machines, i);
        struct rsr_spec spec = {.name = machine->name,
                                .triple = "x86_64-linux-gnu",
                                .cpu_features = machine->features,
                                .vector_bits = machine->vector_bits,
                                .cores = 2,
                                .l2_bytes = 1 << 20,
                                .panel_gmacs = 1,
                                .add_gops = 1};
        struct fixture f;
        setup(&f);
        CHECK(rsrc_find_machine(&rsrc_dot_machines, &spec) == machine);
        CHECK_INT(rsrc_dot_machine_of(machine)->alone == 0, machine->vector_bits == 0);
        if (machine->vector_bits != 0)
            check_dot(&f, &spec);
        teardown(&f);
    }
}

int main(void) {
    test_targets();
    test_dot_machines();
    return CHECK_EXIT();
}
