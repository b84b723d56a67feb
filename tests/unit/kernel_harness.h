/* kernel_harness.h - runs lowered kernels through every back end and compares each result with a
 * naive product in 64-bit sums, bit for bit.
 *
 * RAW results are compared exactly, scaled ones too (the float order is part of the ABI). Token 0
 * is all -128 and token 1 all 127. Row 0 is all +1 and row 1 all -1. So the bounds of narrow
 * accumulators are reached. Every byte of y that a call must not touch is checked. Float
 * activations hold the same integers, so their sums are exact as well.
 *
 * Machine code for VBMI, GFNI, AMX and AVX-VNNI runs under isa_emulator.h where the host lacks
 * them; kernels for other foreign instructions are compiled and not run. test_interpret_kernel()
 * runs every kernel by the definitions of its operations, whatever the host.
 */
#ifndef TESTS_UNIT_KERNEL_HARNESS_H
#define TESTS_UNIT_KERNEL_HARNESS_H

#include <dlfcn.h>
#include <stdlib.h>

#include "base/mapped_file.h"
#include "base/spawn.h"
#include "check.h"
#include "emit/c/emit_c.h"
#include "emit/llvm/emit_llvm.h"
#include "isa_emulator.h"
#if __has_include("kernel_interpreter.h")
#include "kernel_interpreter.h"
#define HAVE_INTERPRETER 1
#endif
#include "kernel/kernel.h"
#include "lower/lower.h"
#include "rsr/segment.h"
#include "spec/spec.h"

#ifndef MAX_TOKENS
#define MAX_TOKENS 17
#endif
#ifndef BATCHES
#define BATCHES 1, 2, 3, 4, 5, 8, MAX_TOKENS
#endif
#define GUARD 0xA5
#define SCRATCH_GUARD_BYTES 4096u /* after the scratch memory that a kernel asked for */

#define F(id) RSR_CPU_MASK(id)
#define AVX512 (F(AVX2) | F(AVX512F) | F(AVX512BW) | F(AVX512VL) | F(AVX512DQ))
#define X86_TRIPLE "x86_64-linux-gnu"
static const struct rsr_spec specs[] = {
    {.name = "scalar", .triple = X86_TRIPLE, .cpu = "x86-64", .vector_bits = 0},
    {.name = "generic", .triple = X86_TRIPLE, .cpu = "x86-64", .vector_bits = 128},
    {.name = "ssse3",
     .triple = X86_TRIPLE,
     .cpu = "x86-64",
     .vector_bits = 128,
     .cpu_features = F(SSSE3)},
    {.name = "avx2",
     .triple = X86_TRIPLE,
     .cpu = "haswell",
     .vector_bits = 256,
     .l2_bytes = 1 << 20,
     .cpu_features = F(SSSE3) | F(AVX2)},
    {.name = "avxvnni",
     .triple = X86_TRIPLE,
     .cpu = "haswell",
     .vector_bits = 256,
     .cpu_features = F(SSSE3) | F(AVX2) | F(AVXVNNI)},
    {.name = "avx512bw",
     .triple = X86_TRIPLE,
     .cpu = "skylake-avx512",
     .vector_bits = 512,
     .cpu_features = F(SSSE3) | AVX512},
    {.name = "avx512vl",
     .triple = X86_TRIPLE,
     .cpu = "cascadelake",
     .vector_bits = 256,
     .cpu_features = F(SSSE3) | AVX512 | F(AVX512VNNI)},
    {.name = "avx512",
     .triple = X86_TRIPLE,
     .cpu = "cascadelake",
     .vector_bits = 512,
     .l2_bytes = 1 << 14,
     .cpu_features = F(SSSE3) | AVX512 | F(AVX512VNNI)},
    {.name = "avx512vbmi",
     .triple = X86_TRIPLE,
     .cpu = "icelake-server",
     .vector_bits = 512,
     .l2_bytes = 1 << 16,
     .cpu_features = F(SSSE3) | AVX512 | F(AVX512VNNI) | F(AVX512VBMI) | F(GFNI)},
    {.name = "amx",
     .triple = X86_TRIPLE,
     .cpu = "sapphirerapids",
     .vector_bits = 512,
     .l2_bytes = 1 << 18,
     .cpu_features =
         F(SSSE3) | AVX512 | F(AVX512VNNI) | F(AVX512VBMI) | F(GFNI) | F(AMX_TILE) | F(AMX_INT8)},
    {.name = "avxvnniint8",
     .triple = X86_TRIPLE,
     .cpu = "sierraforest",
     .vector_bits = 256,
     .cpu_features = F(SSSE3) | F(AVX2) | F(AVXVNNI) | F(AVXVNNIINT8)},
};
#define N_SPECS (sizeof specs / sizeof *specs)

static inline const struct rsr_spec *find_spec(const char *name) {
    for (size_t i = 0; i < N_SPECS; i++)
        if (strcmp(specs[i].name, name) == 0)
            return &specs[i];
    abort();
}

struct shape {
    uint32_t rows, cols, tile_rows;
};

struct test_case {
    struct rsr_matrix matrix;
    /* The matrix that is lowered instead of `matrix`: the reduced matrix, and for every row the
     * kept row whose tile writes it. */
    struct rsr_matrix reduced;
    const struct rsr_reduction *reduction; /* NULL: the matrix itself is lowered */
    const uint32_t *slots;
    struct rsr_regime_plan plan;
    enum rsr_input input;
    enum rsr_epilogue epilogue;
    struct rsr_lowered lowered;
    int64_t *expected; /* [MAX_TOKENS][rows] */
    uint8_t *x;
    size_t ldx;
    char description[128];
};

struct suite {
    struct rsrc_arena arena;
    struct rsrc_diag *diag;
    const char *directory;
    uint64_t seed;
    uint32_t n_runs; /* calls of run_cases() so far */
};

/* The back ends whose results are compared. */
static const struct harness_backend {
    const struct rsrc_backend *backend;
    enum rsr_unit_kind kind;
    const char *suffix;
} harness_backends[] = {{&rsrc_backend_c, RSR_UNIT_C, "c"},
                        {&rsrc_backend_llvm, RSR_UNIT_OBJ, "o"}};
#define N_BACKENDS (sizeof harness_backends / sizeof *harness_backends)

/* For a sanitised build: a compiler that adds sanitizers to the kernels' C (kernels_of_c.sh). */
static inline const char *kernel_cc(void) {
    return getenv("TEST_KERNEL_CC");
}

/* Without kernel_cc(), kernels would have no sanitizers. So a sanitised build only writes their C,
 * and saves the time of compiling it; the release build compiles and runs it. */
static inline bool is_compiled(const struct harness_backend *with) {
    return with->kind != RSR_UNIT_C || !TEST_SANITIZED || kernel_cc() != NULL;
}

/* Most of the time is the C compiler's: a short run compiles the C of every second call of
 * run_cases(). */
static inline bool is_left_to_long(const struct suite *suite, const struct harness_backend *with) {
    return with->kind == RSR_UNIT_C && suite->n_runs % 2 != 0 && !test_is_long();
}

/* A short sanitised run, which looks for defects of the compiler and not of kernels, executes
 * those of every fourth call of run_cases(). */
static inline bool is_executed(const struct suite *suite) {
    return !TEST_SANITIZED || kernel_cc() != NULL || test_is_long() || suite->n_runs % 4 == 0;
}

/* AMX always runs in the emulator, because a processor with AMX also needs the kernel's
 * permission. */
static inline bool host_supports(const struct rsr_spec *spec) {
    const uint64_t lacks = ~rsrc_host_features() | F(AMX_INT8);
    return (spec->cpu_features & lacks) == 0 && strcmp(spec->triple, rsrc_host_triple()) == 0;
}

/* The emulator runs the machine code of targets whose only missing features are these. */
static inline bool host_emulates(const struct rsr_spec *spec) {
    struct rsr_spec without = *spec;
    without.cpu_features &=
        ~(F(AVX512VBMI) | F(GFNI) | F(AMX_TILE) | F(AMX_INT8) | F(AVXVNNI) | F(AVXVNNIINT8));
    return host_supports(&without) && isa_emulator_install();
}

/* ---- inputs and the reference ---------------------------------------------------------------- */

static inline int8_t random_weight(struct suite *suite, enum rsr_alphabet alphabet) {
    const uint64_t r = check_random(&suite->seed) >> 33;
    switch (alphabet) {
    case RSR_TERNARY:
        return (int8_t)((int)(r % 3) - 1);
    case RSR_BINARY_SIGN:
        return (r & 1) != 0 ? 1 : -1;
    case RSR_BINARY_BIT:
        break;
    }
    return (int8_t)(r & 1);
}

static inline void make_matrix(struct suite *suite, struct test_case *c, const struct shape *shape,
                               enum rsr_alphabet alphabet, bool row_scales) {
    const uint32_t rows = shape->rows, cols = shape->cols;
    int8_t *values = RSRC_NEW_ARRAY(&suite->arena, (size_t)rows * cols, int8_t);
    const int8_t low = alphabet == RSR_BINARY_BIT ? 0 : -1;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t j = 0; j < cols; j++)
            values[(size_t)r * cols + j] = r == 0   ? 1
                                           : r == 1 ? low
                                                    : random_weight(suite, alphabet);
    const uint32_t n_scales = row_scales ? rows : 1;
    float *scale = RSRC_NEW_ARRAY(&suite->arena, n_scales, float);
    for (uint32_t i = 0; i < n_scales; i++)
        scale[i] = 0.37f + (float)(check_random(&suite->seed) % 1000) / 777.0f;
    c->matrix = (struct rsr_matrix){.rows = rows,
                                    .cols = cols,
                                    .alphabet = alphabet,
                                    .values = values,
                                    .scale = scale,
                                    .n_scales = n_scales};
}

static inline void *aligned_rows(struct suite *suite, size_t size_bytes) {
    const uintptr_t rows = (uintptr_t)rsrc_arena_alloc(&suite->arena, size_bytes + 64);
    return (void *)((rows + 63) / 64 * 64);
}

static inline void make_activations(struct suite *suite, struct test_case *c) {
    const uint32_t cols = c->matrix.cols;
    const size_t padded = ((size_t)cols + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD;
    c->ldx = RSR_ACT_HEADER + padded + 64;
    c->x = aligned_rows(suite, c->ldx * MAX_TOKENS);
    memset(c->x, GUARD, c->ldx * MAX_TOKENS); /* bytes after a row are not zero */
    for (uint32_t t = 0; t < MAX_TOKENS; t++) {
        struct rsr_act_row row = {.scale = 0.01f + 0.003f * (float)t};
        int8_t *q = (int8_t *)c->x + t * c->ldx + RSR_ACT_HEADER;
        memset(q, 0, padded);
        for (uint32_t j = 0; j < cols; j++) {
            q[j] = t == 0 ? -128 : t == 1 ? 127 : (int8_t)(check_random(&suite->seed) >> 40);
            row.sum += q[j];
        }
        memcpy(c->x + t * c->ldx, &row, sizeof row);
    }
}

/* Replaces the int8 rows by equal numbers as floats. */
static inline void make_float_rows(struct suite *suite, struct test_case *c) {
    const uint32_t cols = c->matrix.cols;
    const size_t padded = ((size_t)cols + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD;
    const uint8_t *bytes = c->x;
    const size_t bytes_apart = c->ldx;
    c->ldx = padded * sizeof(float) + 64;
    c->x = aligned_rows(suite, c->ldx * MAX_TOKENS);
    memset(c->x, 0xff, c->ldx * MAX_TOKENS); /* after a row there is NaN, which would show in every
                                                sum */
    for (uint32_t t = 0; t < MAX_TOKENS; t++) {
        memset(c->x + t * c->ldx, 0, padded * sizeof(float));
        for (uint32_t j = 0; j < cols; j++) {
            const float value = (int8_t)bytes[t * bytes_apart + RSR_ACT_HEADER + j];
            memcpy(c->x + t * c->ldx + j * sizeof value, &value, sizeof value);
        }
    }
    c->input = RSR_INPUT_F32;
}

static inline void make_expected(struct suite *suite, struct test_case *c) {
    const uint32_t rows = c->matrix.rows, cols = c->matrix.cols;
    c->expected = RSRC_NEW_ARRAY(&suite->arena, (size_t)MAX_TOKENS * rows, int64_t);
    for (uint32_t t = 0; t < MAX_TOKENS; t++) {
        const int8_t *q = (const int8_t *)c->x + t * c->ldx + RSR_ACT_HEADER;
        for (uint32_t r = 0; r < rows; r++) {
            int64_t sum = 0;
            for (uint32_t j = 0; j < cols; j++)
                sum += (int64_t)c->matrix.values[(size_t)r * cols + j] * q[j];
            c->expected[(size_t)t * rows + r] = sum;
        }
    }
}

/* int8 with scales of groups: in ascending order, each group's exact sum as a float times its
 * scale; their sum times the token's scale. */
static inline uint32_t expected_of_groups(const struct test_case *c, uint32_t token, uint32_t row) {
    const struct rsr_matrix *m = &c->matrix;
    const uint32_t n_groups = (m->cols - 1) / m->group_cols + 1;
    const int8_t *q = (const int8_t *)c->x + token * c->ldx + RSR_ACT_HEADER;
    const int8_t *w = m->values + (size_t)row * m->cols;
    struct rsr_act_row header;
    float y = 0;
    for (uint32_t g = 0; g < n_groups; g++) {
        const uint32_t first = g * m->group_cols, left = m->cols - first;
        int32_t sum = 0;
        for (uint32_t j = first; j < first + (left < m->group_cols ? left : m->group_cols); j++)
            sum += w[j] * q[j];
        const float term = (float)sum * m->scale[(size_t)row * n_groups + g];
        y += term;
    }
    memcpy(&header, c->x + token * c->ldx, sizeof header);
    y *= header.scale;
    uint32_t bits;
    memcpy(&bits, &y, sizeof bits);
    return bits;
}

/* The four bytes that y must hold. */
static inline uint32_t expected_bits(const struct test_case *c, uint32_t token, uint32_t row) {
    if (c->matrix.group_cols != 0 && c->input == RSR_INPUT_I8)
        return expected_of_groups(c, token, row);
    const int64_t sum = c->expected[(size_t)token * c->matrix.rows + row];
    const int32_t raw = (int32_t)sum;
    CHECK(raw == sum);
    uint32_t bits;
    memcpy(&bits, &raw, sizeof bits);
    if (c->epilogue == RSR_EPILOGUE_RAW && c->input == RSR_INPUT_I8)
        return bits;
    float factor = 1;
    if (c->epilogue == RSR_EPILOGUE_SCALE)
        factor = c->matrix.scale[c->matrix.n_scales > 1 ? row : 0];
    if (c->input == RSR_INPUT_I8) {
        struct rsr_act_row header;
        memcpy(&header, c->x + token * c->ldx, sizeof header);
        factor = header.scale * factor;
    } else {
        CHECK(raw > -(1 << 24) && raw < 1 << 24);
    }
    const float y = (float)raw * factor;
    memcpy(&bits, &y, sizeof bits);
    return bits;
}

/* ---- one case -------------------------------------------------------------------------------- */

static inline struct test_case *make_case(struct suite *suite, const struct shape *shape,
                                          enum rsr_alphabet alphabet, enum rsr_epilogue epilogue,
                                          bool row_scales) {
    struct test_case *c = RSRC_NEW(&suite->arena, struct test_case);
    c->epilogue = epilogue;
    make_matrix(suite, c, shape, alphabet, row_scales);
    make_activations(suite, c);
    make_expected(suite, c);
    c->plan = (struct rsr_regime_plan){.kernel = RSR_KERNEL_DOT,
                                       .tile_rows = shape->tile_rows,
                                       .token_tile = 4,
                                       .reason = "chosen by the test */ #error"};
    return c;
}

/* Lowers the case by its plan, with the target's tile that is nearest to the plan's. */
static inline void lower_case(struct suite *suite, struct test_case *c, const struct rsr_spec *spec,
                              uint32_t number) {
    struct rsr_index index;
    const struct rsr_matrix *matrix = c->reduction != NULL ? &c->reduced : &c->matrix;
    struct rsr_regime_plan plan = c->plan;
    const struct rsrc_planned_layer layer = {spec, c->input, matrix->rows, matrix->cols,
                                             matrix->group_cols};
    (void)rsrc_fit_plan(&layer, &plan);
    struct rsrc_lower_input input = {.symbol_stem = rsrc_arena_printf(&suite->arena, "t%u", number),
                                     .title = "a title */ \n#error \"\\",
                                     .matrix = matrix,
                                     .reduction = c->reduction,
                                     .plan = &plan,
                                     .input = c->input,
                                     .spec = spec,
                                     .epilogue = c->epilogue};
    if ((rsrc_kernel_row(c->plan.kernel)->traits & RSRC_HAS_K) != 0) {
        rsrc_build_index(&suite->arena, input.matrix, c->plan.k, &index);
        input.index = &index;
    }
    CHECK_INT(rsrc_lower_layer(suite->diag, &suite->arena, &input, &c->lowered), RSRC_OK);
    snprintf(c->description, sizeof c->description, "%s", c->lowered.kernel.key);
}

/* Whether the row belongs to one of the tiles [begin, end). */
static inline bool is_of_tiles(const struct test_case *c, size_t row, uint32_t begin,
                               uint32_t end) {
    const size_t tile = (c->slots != NULL ? c->slots[row] : row) / c->lowered.kernel.tile_rows;
    return tile >= begin && tile < end;
}

/* A copy of the bytes in memory of exactly their size, so that a sanitizer sees reads past the end.
 * The caller frees it. */
static inline void *copy_alone(const void *bytes, size_t size_bytes) {
    void *copy = NULL;
    CHECK_INT(posix_memalign(&copy, 64, size_bytes), 0);
    return size_bytes == 0 ? copy : memcpy(copy, bytes, size_bytes);
}

/* Calls the kernel (fn NULL: interprets it) on tiles [begin, end) and checks every byte of y. */
static inline void check_call(struct test_case *c, rsr_kernel_fn *fn, const char *backend,
                              uint32_t n_tokens, uint32_t begin, uint32_t end) {
    const uint32_t rows = c->matrix.rows;
    const size_t ldy = rows + 3u;
    const size_t n_y = ldy * MAX_TOKENS + 16;
    uint32_t *y = malloc(n_y * sizeof *y);
    const size_t scratch_bytes = c->lowered.kernel.scratch_bytes;
    uint8_t *scratch = aligned_alloc(64, (scratch_bytes + SCRATCH_GUARD_BYTES + 63) / 64 * 64);
    memset(y, GUARD, n_y * sizeof *y);
    memset(scratch, GUARD, scratch_bytes + SCRATCH_GUARD_BYTES);
    const struct rsr_blob *blobs[] = {&c->lowered.codes, &c->lowered.index, &c->lowered.scale};
    void *alone[3];
    for (uint32_t i = 0; i < 3; i++)
        alone[i] = copy_alone(blobs[i]->bytes, blobs[i]->size_bytes);
    const struct rsr_weights weights = {
        .codes = alone[0], .index = alone[1], .scale = alone[2], .n_scales = c->matrix.n_scales};
    const struct rsr_worker worker = {.tile_begin = begin, .tile_end = end, .count = 1};
    if (fn != NULL)
        fn(c->x, c->ldx, y + 8, ldy, n_tokens, &weights, &worker, scratch);
#ifdef HAVE_INTERPRETER
    else
        test_interpret_kernel(&c->lowered.kernel, c->x, c->ldx, y + 8, ldy, n_tokens, &weights,
                              &worker, scratch);
#endif

    uint32_t guard;
    memset(&guard, GUARD, sizeof guard);
    uint32_t n_wrong = 0;
    for (size_t i = 0; i < n_y; i++) {
        const size_t at = i - 8, token = at / ldy, row = at % ldy;
        const bool written =
            i >= 8 && token < n_tokens && row < rows && is_of_tiles(c, row, begin, end);
        const uint32_t want = written ? expected_bits(c, (uint32_t)token, (uint32_t)row) : guard;
        if (y[i] != want && n_wrong++ == 0)
            fprintf(stderr,
                    "%s: %s, %u tokens, tiles %u..%u: token %zu row %zu is %08x, not %08x\n",
                    backend, c->description, n_tokens, begin, end, token, row, y[i], want);
    }
    for (size_t i = scratch_bytes; i < scratch_bytes + SCRATCH_GUARD_BYTES; i++)
        if (scratch[i] != (uint8_t)GUARD && n_wrong++ == 0)
            fprintf(stderr, "%s: %s, %u tokens: byte %zu of %zu bytes of scratch is written\n",
                    backend, c->description, n_tokens, i, scratch_bytes);
    CHECK_INT(n_wrong, 0);
    for (uint32_t i = 0; i < 3; i++)
        free(alone[i]);
    free(y);
    free(scratch);
}

static inline void run_case(struct test_case *c, rsr_kernel_fn *fn, const char *backend) {
    static const uint32_t batches[] = {BATCHES};
    const uint32_t n_tiles = c->lowered.kernel.n_tiles;
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++)
        check_call(c, fn, backend, batches[i], 0, n_tiles);
    check_call(c, fn, backend, 1, n_tiles / 2, n_tiles);
    check_call(c, fn, backend, 5, n_tiles / 3, n_tiles / 3 + 1);
    check_call(c, fn, backend, 2, n_tiles, n_tiles);
}

/* Whether every form of a case can be interpreted or emulated. */
static inline bool is_small(const struct test_case *c) {
    return (uint64_t)c->matrix.rows * c->matrix.cols <= 200000;
}

/* One trap computes only 32 products of AVX-VNNI, but a whole tile of AMX or all look-ups of a
 * vector. */
static inline bool is_emulated_whole(const struct test_case *c, const struct rsr_spec *spec) {
    return is_small(c) && ((spec->cpu_features & F(AVXVNNI)) == 0 ||
                           (uint64_t)c->matrix.rows * c->matrix.cols <= 5000);
}

/* If machine code runs too, in all forms, a larger product is interpreted only once, with as many
 * tokens as share a tile. */
static inline bool is_interpreted_once(const struct test_case *c) {
    const struct rsr_spec *spec = c->lowered.kernel.spec;
    if (!is_small(c))
        return true;
    return (uint64_t)c->matrix.rows * c->matrix.cols > 20000 &&
           (host_supports(spec) || host_emulates(spec));
}

static inline void interpret_case(struct test_case *c) {
    if (is_interpreted_once(c))
        check_call(c, NULL, "interpreter", 5, 0, c->lowered.kernel.n_tiles);
    else
        run_case(c, NULL, "interpreter");
}

/* ---- one unit -------------------------------------------------------------------------------- */

/* Compiles a source file with every warning an error: -c, or -shared with an object or NULL. The
 * level is rsrc's -O2 in a long run, else -O0, which takes half of the time. */
static inline bool compile(struct suite *suite, const char *compiler, const char *source,
                           const char *mode, const char *output, const char *object) {
    const char *const argv[] = {compiler,  test_is_long() ? "-O2" : "-O0",
                                "-Wall",   "-Wextra",
                                "-Werror", "-fPIC",
                                mode,      "-o",
                                output,    source,
                                object,    NULL};
    const struct rsrc_command command = {.argv = argv};
    const struct rsrc_spawn_options one = {.n_jobs = 1};
    return rsrc_spawn_all(suite->diag, &suite->arena, &command, 1, &one) == RSRC_OK;
}

static inline const char *write_test_file(struct suite *suite, const struct rsrc_buffer *text,
                                          const char *name, const char *suffix) {
    const char *path = rsrc_arena_printf(&suite->arena, "%s/%s.%s", suite->directory, name, suffix);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fwrite(text->data, 1, text->size_bytes, file) == text->size_bytes);
    CHECK(file != NULL && fclose(file) == 0);
    return path;
}

/* Emits the cases with one back end; gives the path of the unit. NULL: C leaves them to LLVM. */
static inline const char *emit_cases(struct suite *suite, struct test_case **cases,
                                     uint32_t n_cases, const struct rsr_spec *spec,
                                     const struct harness_backend *with, const char *name) {
    struct rsr_unit unit = {.kind = with->kind, .name = name, .opt_level = 2};
    const char *why = "";
    CHECK_INT(with->backend->begin(&unit,
                                   "kernels under test */ ?"
                                   "?/",
                                   spec, &why),
              RSRC_OK);
    for (uint32_t i = 0; i < n_cases; i++) {
        const enum rsrc_status status =
            with->backend->emit(&unit, &cases[i]->lowered.kernel, &suite->arena, &why);
        if ((spec->cpu_features & F(AVXVNNIINT8)) != 0 && with->kind == RSR_UNIT_C &&
            strstr(why, "which GCC 12 does not have") != NULL) {
            with->backend->abandon(&unit);
            rsrc_buffer_free(&unit.text);
            return NULL;
        }
        CHECK_INT(status, RSRC_OK);
        CHECK_STR(why, "");
    }
    CHECK_INT(with->backend->finish(&unit, &suite->arena, &why), RSRC_OK);
    const char *path = write_test_file(suite, &unit.text, name, with->suffix);
    rsrc_buffer_free(&unit.text);
    return path;
}

/* Kernels are hidden symbols, so a table in the library gives their addresses. */
static inline const char *write_table(struct suite *suite, struct test_case **cases,
                                      uint32_t n_cases, const char *name) {
    struct rsrc_buffer text = {0};
    rsrc_buffer_puts(&text, "#pragma GCC visibility push(hidden)\n");
    for (uint32_t i = 0; i < n_cases; i++)
        rsrc_buffer_printf(&text, "extern void %s(void);\n", cases[i]->lowered.kernel.symbol);
    rsrc_buffer_puts(&text, "#pragma GCC visibility pop\n"
                            "extern void (*const test_kernels[])(void);\n"
                            "void (*const test_kernels[])(void) = {\n");
    for (uint32_t i = 0; i < n_cases; i++)
        rsrc_buffer_printf(&text, "    %s,\n", cases[i]->lowered.kernel.symbol);
    rsrc_buffer_puts(&text, "};\n");
    const char *path =
        write_test_file(suite, &text, rsrc_arena_printf(&suite->arena, "%s_table", name), "c");
    rsrc_buffer_free(&text);
    return path;
}

/* The kernels of the cases, from a unit with their code; NULL if it cannot be linked. */
static inline rsr_kernel_fn *const *load_kernels(struct suite *suite, struct test_case **cases,
                                                 uint32_t n_cases, const char *name,
                                                 const char *object) {
    const char *library = rsrc_arena_printf(&suite->arena, "%s.so", object);
    const char *table = write_table(suite, cases, n_cases, name);
    const bool compiled = compile(suite, "cc", table, "-shared", library, object);
    CHECK(compiled);
    void *handle = compiled ? dlopen(library, RTLD_NOW)
                            : NULL; /* the library stays open, because its kernels are called */
    rsr_kernel_fn *const *functions = handle ? dlsym(handle, "test_kernels") : NULL;
    CHECK(functions != NULL);
    return functions;
}

/* The object that a back end makes of the cases, which were lowered for `spec`; NULL: only a
 * unit. */
static inline const char *make_object(struct suite *suite, struct test_case **cases,
                                      uint32_t n_cases, const struct rsr_spec *spec,
                                      const struct harness_backend *with, const char *name) {
    const char *unit = emit_cases(suite, cases, n_cases, spec, with, name);
    if (with->kind != RSR_UNIT_C)
        return unit;
    if (unit == NULL || !is_compiled(with) || is_left_to_long(suite, with))
        return NULL;
    const char *object = rsrc_arena_printf(&suite->arena, "%s.o", unit);
    CHECK(compile(suite, kernel_cc() != NULL ? kernel_cc() : "cc", unit, "-c", object, NULL));
    return object;
}

static inline void run_backend(struct suite *suite, struct test_case **cases, uint32_t n_cases,
                               const struct rsr_spec *spec, const struct harness_backend *with,
                               const char *name) {
    const char *object = make_object(suite, cases, n_cases, spec, with, name);
    if (object == NULL || !is_executed(suite))
        return;
    const bool native = host_supports(spec);
    if (!native && !host_emulates(spec)) {
        fprintf(stderr, "SKIPPED: running the kernels of '%s': this CPU lacks its features\n",
                name);
        return;
    }
    rsr_kernel_fn *const *functions = load_kernels(suite, cases, n_cases, name, object);
    for (uint32_t i = 0; functions != NULL && i < n_cases; i++)
        if (native || is_emulated_whole(cases[i], spec))
            run_case(cases[i], functions[i], with->backend->name);
        else
            check_call(cases[i], functions[i], with->backend->name, 3, 0,
                       cases[i]->lowered.kernel.n_tiles);
}

/* Lowers the cases for a target and checks them in the interpreter and in every back end. */
static inline void run_cases(struct suite *suite, struct test_case **cases, uint32_t n_cases,
                             const struct rsr_spec *spec, const char *name) {
    for (uint32_t i = 0; i < n_cases; i++) {
        lower_case(suite, cases[i], spec, i);
#ifdef HAVE_INTERPRETER
        if (is_executed(suite))
            interpret_case(cases[i]);
#endif
    }
    for (size_t b = 0; b < N_BACKENDS; b++)
        run_backend(suite, cases, n_cases, spec, &harness_backends[b], name);
    suite->n_runs++;
}

/* ---- refusals -------------------------------------------------------------------------------- */

/* Lowering the case (index: NULL where the variant has none) fails with a diagnostic of the slug
 * that holds the text. */
static inline void expect_lower_refused(struct suite *suite, struct test_case *c,
                                        const struct rsr_spec *spec, const struct rsr_index *index,
                                        const char *slug, const char *text) {
    char *message = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&message, &size);
    struct rsrc_diag *diag = rsrc_diag_create(stream, false, RSRC_COLOR_NEVER);
    struct rsr_regime_plan plan = c->plan;
    const struct rsrc_planned_layer layer = {spec, c->input, c->matrix.rows, c->matrix.cols,
                                             c->matrix.group_cols};
    (void)rsrc_fit_plan(&layer, &plan);
    const struct rsrc_lower_input input = {.symbol_stem = "t",
                                           .title = "t",
                                           .matrix = &c->matrix,
                                           .index = index,
                                           .plan = &plan,
                                           .input = c->input,
                                           .spec = spec,
                                           .epilogue = c->epilogue};
    CHECK_INT(rsrc_lower_layer(diag, &suite->arena, &input, &c->lowered), RSRC_FAILED);
    rsrc_diag_destroy(diag);
    fclose(stream);
    CHECK(strstr(message, slug) != NULL);
    CHECK(strstr(message, text) != NULL);
    free(message);
}

/* ---- the program ----------------------------------------------------------------------------- */

/* `name`: the test's, for the directory of its files. */
static inline void suite_begin(struct suite *suite, const char *name, uint64_t seed) {
    *suite = (struct suite){.seed = seed};
    rsrc_arena_init(&suite->arena);
    suite->diag = rsrc_diag_create(stderr, false, RSRC_COLOR_NEVER);
    CHECK_INT(rsrc_scratch_dir(suite->diag, &suite->arena, name, &suite->directory), RSRC_OK);
    printf("seed %llu\n", (unsigned long long)seed);
}

static inline void suite_end(struct suite *suite) {
    rsrc_remove_temporaries();
    rsrc_diag_destroy(suite->diag);
    rsrc_arena_free(&suite->arena);
}

#endif
