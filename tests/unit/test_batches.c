/* test_batches.c - predicted times of batches: one token more never takes less time, on every
 * target, with every variant and shape; and batches use prefill's kernels where these take less
 * time than decode's. */
#include <math.h>

#include "check.h"
#include "diag_fixture.h"
#include "plan/plan.h"
#include "rsr/segment.h"
#include "spec_files.h"

#define MAX_TOKENS 600u
#define TINY_COLS 100u
static const uint32_t shapes[][2] = {{1, 1},       {5, 300},    {64, 40},     {640, 96},
                                     {1000, 333},  {640, 2560}, {2560, 640},  {2560, 2560},
                                     {6912, 2560}, {80, 23040}, {14336, 128}, {33, 65000}};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

static void make_stats(struct fixture *f, const uint32_t shape[2], enum rsr_alphabet alphabet,
                       struct rsr_stats *out) {
    static const int8_t letters[][3] = {{-1, 0, 1}, {-1, 1, 1}, {0, 1, 0}};
    static const float one = 1;
    uint64_t state = 3;
    int8_t *values = rsrc_arena_array(&f->arena, shape[0], shape[1]);
    for (size_t i = 0; i < (size_t)shape[0] * shape[1]; i++)
        values[i] = letters[alphabet][check_random(&state) % 3];
    const struct rsr_matrix matrix = {.rows = shape[0],
                                      .cols = shape[1],
                                      .alphabet = alphabet,
                                      .values = values,
                                      .scale = &one,
                                      .n_scales = 1};
    rsrc_analyse_matrix(&f->arena, &matrix, shape[0] < 4 ? shape[0] : 4, out);
}

static bool make_plan(struct fixture *f, const struct rsr_spec *spec, const struct rsr_stats *stats,
                      enum rsr_alphabet alphabet, enum rsr_input input, int variant,
                      struct rsr_plan *out) {
    struct rsrc_plan_options options = {0};
    options.forced_variant[RSR_ROLE_Q] = variant;
    const struct rsrc_plan_input planned = {.layer_name = "blk.q",
                                            .role = RSR_ROLE_Q,
                                            .alphabet = alphabet,
                                            .input = input,
                                            .stats = stats,
                                            .fold_stats = stats,
                                            .fold_budget = 1 << 22,
                                            .spec = spec,
                                            .options = &options};
    return rsrc_plan_layer(f->diag, &f->arena, &planned, out) == RSRC_OK;
}

static double batch_us(const struct rsr_plan *plan, uint32_t decode_tokens, uint32_t n_tokens) {
    return rsrc_batch_us(
        &plan->regimes[n_tokens <= decode_tokens ? RSR_REGIME_DECODE : RSR_REGIME_PREFILL],
        n_tokens);
}

static void check_plan(const struct rsr_spec *spec, const struct rsr_stats *stats, int variant,
                       const struct rsr_plan *plan) {
    const uint32_t last = rsrc_decode_tokens(&plan, 1);
    CHECK(last >= 1 && last < RSRC_PREFILL_TOKENS);
    for (uint32_t n = 1; n < MAX_TOKENS; n++) {
        const double us = batch_us(plan, last, n), next_us = batch_us(plan, last, n + 1);
        /* One token uses decode's kernel even where prefill's kernel would take less time, which
         * happens with few columns. Only there may two tokens take less time than one. */
        const double by_prefill_us = rsrc_batch_us(&plan->regimes[RSR_REGIME_PREFILL], 1);
        const bool is_tiny = n == 1 && last == 1 && stats->cols < TINY_COLS && by_prefill_us < us &&
                             next_us >= by_prefill_us;
        const bool grows = us > 0 && (next_us >= us || is_tiny);
        CHECK(grows);
        if (!grows)
            fprintf(stderr, "%s, %u x %u, variant %d, prefill from %u: %u tokens %g us, then %g\n",
                    spec->name, stats->rows, stats->cols, variant, last + 1, n, us, next_us);
    }
    /* Printed plans have the same prediction. */
    const struct rsr_regime_plan *decode = &plan->regimes[RSR_REGIME_DECODE];
    CHECK(fabs(rsrc_batch_us(decode, 1) - decode->predicted_us) < 1e-3);
    const struct rsr_regime_plan *prefill = &plan->regimes[RSR_REGIME_PREFILL];
    if (prefill->more_us > 0)
        CHECK(fabs(rsrc_batch_us(prefill, RSRC_PREFILL_TOKENS) / RSRC_PREFILL_TOKENS -
                   prefill->predicted_us) < 1e-3);
    if (rsrc_same_kernel(plan))
        return;
    if (last + 1 < RSRC_PREFILL_TOKENS)
        CHECK(rsrc_batch_us(&plan->regimes[RSR_REGIME_PREFILL], last + 1) <
              rsrc_batch_us(decode, last + 1));
}

/* How many plans there are. */
static uint32_t check_shape(struct fixture *f, const struct rsr_spec *spec,
                            const struct rsr_stats *stats, enum rsr_alphabet alphabet) {
    uint32_t n = 0;
    for (int variant = -1; variant < RSR_VARIANT_COUNT; variant++)
        for (int input = RSR_INPUT_I8; input <= RSR_INPUT_F32; input++) {
            struct rsr_plan plan;
            if (!make_plan(f, spec, stats, alphabet, (enum rsr_input)input, variant, &plan))
                continue;
            check_plan(spec, stats, variant, &plan);
            n++;
        }
    return n;
}

/* The kernels of several layers change to prefill's together, at the batch size where that pays in
 * sum. */
static void test_together(struct fixture *f, const struct rsr_spec *spec) {
    struct rsr_stats stats[2];
    struct rsr_plan made[2];
    const struct rsr_plan *plans[2] = {&made[0], &made[1]};
    for (uint32_t i = 0; i < 2; i++) {
        make_stats(f, (const uint32_t[2][2]){{2560, 640}, {64, 2560}}[i], RSR_TERNARY, &stats[i]);
        CHECK(make_plan(f, spec, &stats[i], RSR_TERNARY, RSR_INPUT_I8, -1, &made[i]));
    }
    const uint32_t first = rsrc_decode_tokens(&plans[0], 1),
                   second = rsrc_decode_tokens(&plans[1], 1), both = rsrc_decode_tokens(plans, 2);
    CHECK(both >= (first < second ? first : second) && both <= (first < second ? second : first));
    /* Measured times of prefill count: if they are half of the predicted times, prefill begins with
     * smaller batches, and if twice, with larger ones. */
    struct rsr_regime_plan *prefill = &made[0].regimes[RSR_REGIME_PREFILL];
    prefill->measured_us = prefill->predicted_us / 2;
    const uint32_t early = rsrc_decode_tokens(&plans[0], 1);
    prefill->measured_us = prefill->predicted_us * 2;
    CHECK(early <= first && rsrc_decode_tokens(&plans[0], 1) >= first);
    CHECK(early < rsrc_decode_tokens(&plans[0], 1));
}

int main(void) {
    struct fixture f;
    struct rsr_spec specs[MAX_SPEC_FILES];
    uint32_t n_plans = 0;
    setup(&f);
    const uint32_t n_specs = load_cpu_specs(&f, specs);
    for (size_t s = 0; s < N_SHAPES; s++)
        for (int alphabet = RSR_TERNARY; alphabet <= RSR_BINARY_BIT; alphabet++) {
            struct rsr_stats stats;
            make_stats(&f, shapes[s], (enum rsr_alphabet)alphabet, &stats);
            for (uint32_t i = 0; i < n_specs; i++)
                n_plans += check_shape(&f, &specs[i], &stats, (enum rsr_alphabet)alphabet);
        }
    CHECK(n_specs >= 8 && n_plans >= n_specs * N_SHAPES * 3 * 4);
    for (uint32_t i = 0; i < n_specs; i++)
        test_together(&f, &specs[i]);
    teardown(&f);
    return CHECK_EXIT();
}
