/* rsr_bench_tokens.c - rsr-bench kernel --tokens N: the times of 1 to N tokens with the kernel that
 * a model runs, and whether one more token ever takes less time. */
#include "rsr_bench_kernel.h"

#include <stdio.h>
#include <string.h>

#include "base/round.h"
#include "plan/plan.h"

/* Calls are short compared with interruptions by other work, so the least of `runs` samples counts.
 * The remaining noise is 5 %. */
#define TOLERANCE 0.05
#define SAMPLE_US 1000

struct sweep {
    struct kernel_bench kernels[RSR_REGIME_COUNT];
    struct bench_options options[RSR_REGIME_COUNT];
    uint8_t *weights[RSR_REGIME_COUNT];
    double *us[RSR_REGIME_COUNT]; /* by number of tokens; 0: not measured */
    uint32_t last_decoded;
};

static uint8_t *lay_out_weights(struct kernel_bench *b) {
    const struct rsr_blob *codes = &b->lowered.codes, *index = &b->lowered.index;
    uint8_t *weights = bench_alloc(codes->size_bytes + index->size_bytes + 64);
    if (weights != NULL && codes->size_bytes != 0)
        memcpy(weights, codes->bytes, codes->size_bytes);
    if (weights != NULL && index->size_bytes != 0)
        memcpy(weights + codes->size_bytes, index->bytes, index->size_bytes);
    return weights;
}

static bool build_regime(struct sweep *sweep, const struct bench_options *given, uint32_t regime) {
    struct bench_options *options = &sweep->options[regime];
    struct kernel_bench *b = &sweep->kernels[regime];
    *options = *given;
    b->options = options;
    options->batch = given->tokens;
    b->regime = (enum rsr_regime)regime;
    if (!bench_build_kernel(b) || !bench_make_activations(b))
        return false;
    sweep->us[regime] = RSRC_NEW_ARRAY(&b->arena, given->tokens + 1, double);
    sweep->weights[regime] = lay_out_weights(b);
    return sweep->weights[regime] != NULL;
}

static void sample(struct sweep *sweep, uint32_t regime, uint32_t n) {
    struct kernel_bench *b = &sweep->kernels[regime];
    double *least_us = &sweep->us[regime][n];
    const uint32_t calls = *least_us == 0 ? 1 : 1 + (uint32_t)(SAMPLE_US / *least_us);
    const double us = bench_time_calls(b, sweep->weights[regime], 0, 1, calls, n);
    if (*least_us == 0 || us < *least_us)
        *least_us = us;
}

/* The kernel of decode is also measured with more tokens than it is used for, to show what the
 * others gain. */
static void measure(struct sweep *sweep, const struct bench_options *options) {
    const struct rsr_plan *plan = &sweep->kernels[0].plan;
    const uint32_t decode_tokens = rsrc_decode_tokens(&plan, 1);
    sweep->last_decoded = decode_tokens < options->tokens ? decode_tokens : options->tokens;
    for (uint32_t run = 0; run <= options->runs; run++) /* the first is short, and warms up */
        for (uint32_t n = 1; n <= options->tokens; n++) {
            if (n <= 2 * sweep->last_decoded + 8)
                sample(sweep, RSR_REGIME_DECODE, n);
            sample(sweep, RSR_REGIME_PREFILL, n);
        }
}

static double taken_us(const struct sweep *sweep, uint32_t n) {
    return sweep->us[n <= sweep->last_decoded ? RSR_REGIME_DECODE : RSR_REGIME_PREFILL][n];
}

/* Counts numbers of tokens that take less time than a smaller number. */
static uint32_t count_falls(const struct sweep *sweep, uint32_t n_tokens) {
    uint32_t n_falls = 0, longest = 1;
    for (uint32_t n = 2; n <= n_tokens; n++) {
        if (taken_us(sweep, n) >= taken_us(sweep, longest)) {
            longest = n;
        } else if (taken_us(sweep, n) < taken_us(sweep, longest) * (1 - TOLERANCE)) {
            fprintf(stderr, "rsr-bench: %u tokens take %.1f us, %u take %.1f us\n", n,
                    taken_us(sweep, n), longest, taken_us(sweep, longest));
            n_falls++;
        }
    }
    return n_falls;
}

static void print(const struct sweep *sweep, const struct bench_options *options,
                  uint32_t n_falls) {
    const double macs = (double)options->rows * options->cols;
    json_t *rows = json_array();
    for (uint32_t n = 1; n <= options->tokens; n++) {
        const double decode_us = sweep->us[RSR_REGIME_DECODE][n],
                     us = sweep->us[RSR_REGIME_PREFILL][n];
        if (!options->json)
            printf("%4u tokens: decode %9.1f us, prefill %9.1f us, %6.1f GMAC/s\n", n, decode_us,
                   us, macs * n / taken_us(sweep, n) / 1e3);
        json_array_append_new(rows, json_pack("[f, f]", decode_us, us));
    }
    json_t *result = json_pack(
        "{s:s, s:s, s:i, s:i, s:f}", "decode",
        rsrc_variant_of(bench_plan_of(&sweep->kernels[RSR_REGIME_DECODE])), "prefill",
        rsrc_variant_of(bench_plan_of(&sweep->kernels[RSR_REGIME_PREFILL])), "last_decoded",
        (int)sweep->last_decoded, "falls", (int)n_falls, "tolerance", TOLERANCE);
    if (options->json)
        json_object_set(result, "us", rows);
    json_decref(rows);
    bench_print(result, options->json);
}

int bench_tokens(const struct bench_options *options) {
    struct sweep sweep = {.last_decoded = 0};
    bool good = true;
    for (uint32_t regime = 0; regime < RSR_REGIME_COUNT; regime++) {
        struct kernel_bench *b = &sweep.kernels[regime];
        b->diag = rsrc_diag_create(stderr, false, RSRC_COLOR_AUTO);
        rsrc_arena_init(&b->arena);
        good = good && build_regime(&sweep, options, regime);
    }
    if (good) {
        measure(&sweep, options);
        for (uint32_t regime = 0; good && regime < RSR_REGIME_COUNT; regime++) {
            (void)bench_time_calls(&sweep.kernels[regime], sweep.weights[regime], 0, 1, 1,
                                   options->tokens);
            good = bench_is_exact(&sweep.kernels[regime]);
        }
        if (!good)
            fprintf(stderr, "rsr-bench: the kernel differs from the scalar reference\n");
        const uint32_t n_falls = count_falls(&sweep, options->tokens);
        print(&sweep, options, n_falls);
        good = good && n_falls == 0;
    }
    for (uint32_t regime = 0; regime < RSR_REGIME_COUNT; regime++)
        bench_release_kernel(&sweep.kernels[regime]);
    return good ? 0 : 1;
}
