/* test_cuda_kernels.c - the GPU kernels' results, run on the host, against the scalar reference: the CUDA
 * C++, and what LLVM's back end is given where there is no CUDA.
 *
 * Weights go through rsrc_pack_gpu, floats are quantised by the runtime's own operation, and sums are
 * compared as integers (RAW) or bit for bit as floats (SCALE). Kernels that were broken on purpose must
 * fail: each barrier left out, a shuffle from the wrong lane.
 */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "emulated_kernels.h"
#include "lower/pack_gpu.h"
#include "nvptx_on_host.h"
#include "ops/ops.h"

#define TOKENS 9u /* more than two turns of every token tile */

/* Everything that one kernel is run with, and what it must give. */
struct problem {
    const struct emulated_kernel *kernel;
    struct rsr_matrix matrix;
    uint8_t *codes;
    float *scale;
    float *x;      /* [TOKENS][ldx] */
    uint8_t *rows; /* the same, quantised by the runtime */
    size_t ldx, row_bytes, ldy;
    uint32_t *expected; /* [TOKENS][rows], as bits */
    uint32_t *y;        /* [TOKENS][ldy] */
    unsigned not_finite;
    const struct host_code *llvm; /* run this instead of the CUDA C++ */
};

enum values { VALUES_RANDOM, VALUES_ALL_MIN, VALUES_ZERO, VALUES_NAN };

static float random_float(uint64_t *state) {
    return (float)((double)(check_random(state) >> 40) / (1 << 23) - 1.0) * 3.0f;
}

static struct rsr_act_row *row_of(const struct problem *p, uint32_t t) {
    return (struct rsr_act_row *)(void *)(p->rows + t * p->row_bytes);
}

static void fill_weights(struct problem *p, uint64_t *state) {
    const size_t n = (size_t)p->matrix.rows * p->matrix.cols;
    int8_t *values = malloc(n);
    for (size_t i = 0; i < n; i++)
        values[i] = (int8_t)(check_random(state) % 3) - 1;
    memset(values, (int)(check_random(state) % 3) - 1, p->matrix.cols); /* an extreme first row */
    p->matrix.values = values;
    for (uint32_t i = 0; i < p->matrix.n_scales; i++)
        p->scale[i] = random_float(state);
}

/* Activations, quantised by the runtime; RAW takes int8 values that quantisation never gives. */
static void fill_activations(struct problem *p, enum values values, uint64_t *state) {
    const struct rsr_ops *ops = rsr_ops_get(RSR_OPS_GENERIC);
    const uint32_t cols = p->matrix.cols;
    for (uint32_t t = 0; t < TOKENS; t++) {
        float *x = p->x + t * p->ldx;
        for (uint32_t i = 0; i < cols; i++)
            x[i] = values == VALUES_ZERO      ? 0.0f
                   : values == VALUES_ALL_MIN ? -2.5f
                                              : random_float(state);
        if (t == 1) /* halves, to be rounded to even */
            for (uint32_t i = 0; i < cols; i++)
                x[i] = i == 0 ? 127.0f : (float)(i % 250) - 124.5f;
        if (values == VALUES_NAN && t == 0)
            x[cols - 1] = cols % 2 != 0 ? NAN : -INFINITY;
        const bool finite = ops->quantize(row_of(p, t), x, cols);
        CHECK(finite == !(values == VALUES_NAN && t == 0));
        if (p->kernel->epilogue == RSR_EPILOGUE_RAW && values == VALUES_ALL_MIN) {
            memset((int8_t *)row_of(p, t) + RSR_ACT_HEADER, -128, cols);
            row_of(p, t)->sum = -128 * (int32_t)cols;
        }
    }
}

static void compute_expected(struct problem *p) {
    for (uint32_t t = 0; t < TOKENS; t++)
        for (uint32_t r = 0; r < p->matrix.rows; r++) {
            const int8_t *q = (const int8_t *)row_of(p, t) + RSR_ACT_HEADER;
            const int8_t *w = p->matrix.values + (size_t)r * p->matrix.cols;
            int32_t acc = 0;
            for (uint32_t c = 0; c < p->matrix.cols; c++)
                acc += w[c] * q[c];
            const float scale = row_of(p, t)->scale * p->scale[p->matrix.n_scales > 1 ? r : 0];
            const float y = (float)acc * scale;
            memcpy(&p->expected[(size_t)t * p->matrix.rows + r],
                   p->kernel->epilogue == RSR_EPILOGUE_RAW ? (const void *)&acc : (const void *)&y,
                   4);
        }
}

static struct rsr_gpu_plan plan_of(const struct emulated_kernel *kernel) {
    return (struct rsr_gpu_plan){.codes = (enum rsr_gpu_codes)kernel->codes,
                                 .rows = kernel->rows,
                                 .cols = kernel->cols,
                                 .steps = kernel->steps,
                                 .row_warps = kernel->row_warps,
                                 .col_warps = kernel->col_warps,
                                 .ahead = kernel->ahead,
                                 .token_tile = kernel->token_tile,
                                 .blocks = kernel->blocks,
                                 .scale_per_row = kernel->scale_per_row != 0,
                                 .epilogue = (enum rsr_epilogue)kernel->epilogue,
                                 .weight_bytes =
                                     (uint64_t)((kernel->rows + 3) / 4) * kernel->steps * 512};
}

static void make_problem(struct problem *p, const struct emulated_kernel *kernel,
                         enum values values, uint64_t *state) {
    const uint32_t rows = kernel->rows, cols = kernel->cols;
    *p = (struct problem){.kernel = kernel,
                          .matrix = {.rows = rows,
                                     .cols = cols,
                                     .alphabet = RSR_TERNARY,
                                     .n_scales = kernel->scale_per_row ? rows : 1},
                          .ldx = (cols + 3u) / 4 * 4 + 4,
                          .row_bytes =
                              RSR_ACT_HEADER + (cols + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD,
                          .ldy = rows + 3u};
    const struct rsr_gpu_plan plan = plan_of(kernel);
    p->codes = aligned_alloc(512, plan.weight_bytes);
    p->scale = malloc(p->matrix.n_scales * sizeof(float));
    p->x = aligned_alloc(64, (TOKENS * p->ldx * sizeof(float) + 63) / 64 * 64);
    p->rows = aligned_alloc(64, TOKENS * p->row_bytes);
    p->expected = malloc((size_t)TOKENS * rows * 4);
    p->y = malloc(TOKENS * p->ldy * 4);
    fill_weights(p, state);
    fill_activations(p, values, state);
    compute_expected(p);
    rsrc_pack_gpu(&p->matrix, &plan, p->codes);
}

static void free_problem(struct problem *p) {
    free((void *)(uintptr_t)p->matrix.values);
    free(p->codes);
    free(p->scale);
    free(p->x);
    free(p->rows);
    free(p->expected);
    free(p->y);
}

/* Runs the kernel; *error is what the emulation found. Returns whether all results are right, and
 * nothing else was written. */
static bool run(struct problem *p, uint32_t n_tokens, const struct emulated_call *how,
                const char **error) {
    const bool raw = p->kernel->epilogue == RSR_EPILOGUE_RAW;
    struct emulated_call call = *how;
    call.x = raw ? (const void *)p->rows : (const void *)p->x;
    call.ldx = raw ? p->row_bytes : p->ldx;
    call.codes = p->codes;
    call.scale = p->scale;
    call.y = p->y;
    call.ldy = p->ldy;
    call.n_tokens = n_tokens;
    call.not_finite = &p->not_finite;
    memset(p->y, 0x5a, TOKENS * p->ldy * 4);
    p->not_finite = 0;
    *error = p->llvm == NULL ? run_emulated_kernel((unsigned)(p->kernel - emulated_kernels), &call)
                             : run_host_kernel(p->llvm->kernel, p->kernel->blocks,
                                               p->kernel->row_warps * p->kernel->col_warps * 32,
                                               p->llvm->shared, p->llvm->shared_bytes, &call);
    bool right = true;
    for (uint32_t t = 0; t < TOKENS; t++)
        for (uint32_t r = 0; r < p->ldy; r++) {
            const bool written = t < n_tokens && r < p->matrix.rows;
            const uint32_t expected =
                written ? p->expected[(size_t)t * p->matrix.rows + r] : 0x5a5a5a5au;
            right &= p->y[t * p->ldy + r] == expected;
        }
    return right;
}

/* All batches, values and what they must give; llvm: NULL for the CUDA C++. */
static void test_kernel(unsigned k, const struct host_code *llvm, uint64_t *state) {
    static const uint32_t BATCHES[] = {1, 2, 3, 4, 5, 8, TOKENS, 0};
    const struct emulated_kernel *kernel = &emulated_kernels[k];
    const bool large = (uint64_t)kernel->rows * kernel->cols > 100000;
    for (int values = VALUES_RANDOM; values <= VALUES_NAN; values++) {
        struct problem p;
        make_problem(&p, kernel, (enum values)values, state);
        p.llvm = llvm;
        for (uint32_t b = 0; b < sizeof BATCHES / sizeof *BATCHES; b += large ? 3 : 1) {
            const struct emulated_call how = {.seed = *state + b};
            const char *error = NULL;
            const bool right = run(&p, BATCHES[b], &how, &error);
            check_count++;
            if (error != NULL || !right) {
                check_failures++;
                fprintf(stderr, "%s kernel %u, values %d, batch %u: %s\n",
                        llvm != NULL ? "LLVM" : "CUDA", k, values, BATCHES[b],
                        error != NULL ? error : "wrong");
            }
            if (kernel->epilogue == RSR_EPILOGUE_SCALE)
                CHECK_INT(p.not_finite, values == VALUES_NAN && BATCHES[b] != 0);
        }
        free_problem(&p);
    }
}

static void test_results(void) {
    uint64_t state = 7;
    for (unsigned k = 0; k < n_emulated_kernels; k++)
        test_kernel(k, NULL, &state);
}

static void test_llvm_results(void) {
    uint64_t state = 9;
    for (unsigned k = 0; k < n_emulated_kernels; k++) {
        const struct rsr_gpu_plan plan = plan_of(&emulated_kernels[k]);
        const struct rsr_gpu_kernel kernel = {"kernel", "a kernel", &plan};
        struct host_code code;
        const bool compiled = compile_for_host(&kernel, &code);
        CHECK(compiled);
        if (!compiled)
            continue;
        test_kernel(k, &code, &state);
        free_host_code(&code);
    }
}

/* How many barriers a thread of the kernel passes for n_tokens tokens. */
static unsigned n_barriers(const struct emulated_kernel *kernel, uint32_t n_tokens) {
    const uint32_t turns = (n_tokens + kernel->token_tile - 1) / kernel->token_tile;
    return turns * (kernel->epilogue == RSR_EPILOGUE_SCALE ? 3 : 2);
}

/* Wrong results or an error, in at least one of a few schedules. */
static bool is_noticed(struct problem *p, struct emulated_call how) {
    for (uint64_t seed = 1; seed <= 8; seed++) {
        const char *error = NULL;
        how.seed = seed * 1000;
        if (!run(p, 3, &how, &error) || error != NULL)
            return true;
    }
    return false;
}

static void test_broken_kernels_are_noticed(void) {
    uint64_t state = 11;
    unsigned n_broken = 0;
    for (unsigned k = 0; k < n_emulated_kernels; k++) {
        const struct emulated_kernel *kernel = &emulated_kernels[k];
        if (kernel->row_warps * kernel->col_warps == 1 || kernel->cols < 512)
            continue; /* one warp, or too few columns for every thread to have some */
        struct problem p;
        make_problem(&p, kernel, VALUES_RANDOM, &state);
        for (unsigned b = 1; b <= n_barriers(kernel, 3); b++) {
            CHECK(is_noticed(&p, (struct emulated_call){.skip_barrier = b}));
            n_broken++;
        }
        CHECK(is_noticed(&p, (struct emulated_call){.lane_error = 8}));
        CHECK(!is_noticed(&p, (struct emulated_call){.skip_barrier = 0}));
        free_problem(&p);
    }
    CHECK(n_broken > 20);
    const char *divergent = run_divergent_kernel();
    CHECK(divergent != NULL && strstr(divergent, "diverge") != NULL);
    const char *deadlocked = run_deadlocked_kernel();
    CHECK(deadlocked != NULL && strstr(deadlocked, "deadlock") != NULL);
}

int main(void) {
    test_results();
    test_llvm_results();
    test_broken_kernels_are_noticed();
    return CHECK_EXIT();
}
