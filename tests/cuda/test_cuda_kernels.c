/* test_cuda_kernels.c - runs the GPU kernels on the host and compares with the scalar reference.
 *
 * Sums are compared as integers (RAW) or bit for bit as floats (SCALE). Kernels that were broken on
 * purpose must fail: with each barrier omitted, and with a shuffle from the wrong lane.
 */
#include "base/round.h"
#include "check.h"
#include "emulated_kernels.h"
#include "emulated_plan.h"
#include "gpu_problem.h"

/* A problem, and the kernel that is run on it. */
struct host_run {
    struct gpu_problem problem;
    unsigned kernel; /* of emulated_kernels */
};

/* Runs the kernel; *error receives the emulation's error. Returns whether all results are right,
 * and nothing else was written. */
static bool run(struct host_run *r, uint32_t n_tokens, const struct emulated_call *how,
                const char **error) {
    struct gpu_problem *p = &r->problem;
    struct emulated_call call = *how;
    call.x = (const char *)p->rows;
    call.ldx = p->row_bytes;
    call.codes = p->codes;
    call.scale = p->scale;
    call.y = p->y;
    call.ldy = p->ldy;
    call.n_tokens = n_tokens;
    memset(p->y, GPU_POISON, gpu_problem_y_bytes(p));
    *error = run_emulated_kernel(r->kernel, &call);
    return gpu_problem_is_right(p, n_tokens);
}

/* Runs all batches and values, and checks the results. */
static void test_kernel(unsigned k, uint64_t *state) {
    const struct rsr_matvec plan = emulated_plan(k);
    const bool large = (uint64_t)plan.rows * plan.cols > 100000;
    for (int values = GPU_RANDOM; values < GPU_VALUES_COUNT; values++) {
        struct host_run r = {.kernel = k};
        CHECK(gpu_problem_make(&r.problem, &plan, (enum gpu_values)values, state));
        for (uint32_t b = 0; b < n_gpu_batches; b += large ? 3 : 1) {
            const struct emulated_call how = {.seed = *state + b};
            const char *error = NULL;
            const bool right = run(&r, gpu_batches[b], &how, &error);
            check_count++;
            if (error != NULL || !right) {
                check_failures++;
                fprintf(stderr, "kernel %u, values %d, batch %u: %s\n", k, values, gpu_batches[b],
                        error != NULL ? error : "wrong");
            }
        }
        gpu_problem_free(&r.problem);
    }
}

static void test_results(void) {
    uint64_t state = 7;
    for (unsigned k = 0; k < n_emulated_kernels; k++)
        test_kernel(k, &state);
}

/* Whether the rows of a problem are quantised as the runtime does; skip_barrier breaks the
 * kernel. */
static bool quantize(const struct gpu_problem *p, enum gpu_values values, uint32_t n_tokens,
                     uint64_t seed, unsigned skip_barrier) {
    const size_t size_bytes = gpu_problem_row_bytes(p);
    uint8_t *rows = aligned_alloc(64, size_bytes);
    unsigned not_finite = 0;
    memset(rows, GPU_POISON, size_bytes);
    const struct emulated_quantization call = {.x = p->x,
                                               .ldx = p->ldx,
                                               .y = (char *)rows,
                                               .ldy = p->row_bytes,
                                               .cols = p->matrix.cols,
                                               .n_tokens = n_tokens,
                                               .not_finite = &not_finite,
                                               .seed = seed,
                                               .skip_barrier = skip_barrier};
    const char *error = run_emulated_quantization(&call);
    const bool right = error == NULL && gpu_problem_is_quantized(p, rows, n_tokens) &&
                       not_finite == gpu_problem_reports(values, n_tokens);
    free(rows);
    return right;
}

/* Every tail of 16 bytes, and rows of fewer and of more values than a block has threads. */
static void test_quantization(void) {
    static const uint32_t COLS[] = {1, 2, 3, 4, 511, 512, 513, 2560, 6911};
    uint64_t state = 5;
    for (size_t i = 0; i < sizeof COLS / sizeof *COLS; i++)
        for (int values = GPU_RANDOM; values < GPU_VALUES_COUNT; values++) {
            const struct rsr_matvec plan = {.rows = 1,
                                            .cols = COLS[i],
                                            .steps = rsrc_divide_up(COLS[i], 128),
                                            .epilogue = RSR_EPILOGUE_SCALE,
                                            .row_warps = 4,
                                            .col_warps = 1,
                                            .weight_bytes = 512ull * rsrc_divide_up(COLS[i], 128)};
            struct gpu_problem p;
            CHECK(gpu_problem_make(&p, &plan, (enum gpu_values)values, &state));
            CHECK(quantize(&p, (enum gpu_values)values, i % 2 == 0 ? 3 : GPU_TOKENS, state, 0));
            bool noticed[3] = {false, false, false};
            for (uint64_t seed = 0; seed < 8; seed++)
                for (unsigned b = 1; b <= 2; b++)
                    noticed[b] |= !quantize(&p, (enum gpu_values)values, 4, seed, b);
            CHECK(values == GPU_ZERO || COLS[i] < 512 || TEST_SANITIZED ||
                  (noticed[1] && noticed[2]));
            gpu_problem_free(&p);
        }
}

/* Expects wrong results or an error in at least one of a few schedules. */
static bool is_noticed(struct host_run *r, struct emulated_call how) {
    for (uint64_t seed = 1; seed <= 8; seed++) {
        const char *error = NULL;
        how.seed = seed * 1000;
        if (!run(r, 3, &how, &error) || error != NULL)
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
            continue; /* one warp, or too few columns for every warp to have some */
        const struct rsr_matvec plan = emulated_plan(k);
        struct host_run r = {.kernel = k};
        CHECK(gpu_problem_make(&r.problem, &plan, GPU_RANDOM, &state));
        CHECK(is_noticed(&r, (struct emulated_call){.skip_barrier = 1}));
        n_broken++;
        if (kernel->product == RSR_GPU_DOT) /* tensor cores need no shuffle */
            CHECK(is_noticed(&r, (struct emulated_call){.lane_error = 8}));
        CHECK(!is_noticed(&r, (struct emulated_call){.skip_barrier = 0}));
        gpu_problem_free(&r.problem);
    }
    CHECK(n_broken >= 8);
    const char *divergent = run_divergent_kernel();
    CHECK(divergent != NULL && strstr(divergent, "diverge") != NULL);
    const char *deadlocked = run_deadlocked_kernel();
    CHECK(deadlocked != NULL && strstr(deadlocked, "deadlock") != NULL);
}

int main(void) {
    test_results();
    test_quantization();
    if (!TEST_SANITIZED) /* a kernel that tests the emulation */
        test_broken_kernels_are_noticed();
    return CHECK_EXIT();
}
