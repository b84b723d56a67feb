/* rsr_bench_kernel.c - one random matrix through plan, lower, emit and link; checked, then
 * measured. */
#include "rsr_bench_kernel.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "base/mapped_file.h"
#include "base/round.h"
#include "emit/c/emit_c.h"
#include "emit/llvm/emit_llvm.h"
#include "lower/lower.h"
#include "plan/plan.h"
#include "rsr/reduce.h"
#include "rsr/segment.h"
#include "spec/spec.h"

static const char *const TYPES[] = {
    [RSR_TERNARY] = "ternary", [RSR_BINARY_SIGN] = "binary", [RSR_BINARY_BIT] = "bit"};

static bool read_input(struct kernel_bench *b) {
    const bool floats = strcmp(b->options->input, "f32") == 0;
    b->input = floats ? RSR_INPUT_F32 : RSR_INPUT_I8;
    if (floats || strcmp(b->options->input, "i8") == 0)
        return true;
    fprintf(stderr, "rsr-bench: --input takes i8 or f32, not '%s'\n", b->options->input);
    return false;
}

static bool draw(uint64_t *state, double part) {
    return (double)(rsrc_random(state) >> 11) < part * 9007199254740992.0; /* of 2^53 */
}

/* Makes rows that are zero or repeat an earlier row, and columns that are zero, by the options. */
static void plant_redundancy(const struct bench_options *options, int8_t *values) {
    const uint32_t rows = options->rows, cols = options->cols;
    uint64_t state = options->seed ^ 0x5eedu;
    for (uint32_t j = 0; j < cols; j++)
        for (uint32_t r = 0, zero = draw(&state, options->zero_cols); zero && r < rows; r++)
            values[(size_t)r * cols + j] = 0;
    for (uint32_t r = 0; r < rows; r++) {
        int8_t *row = values + (size_t)r * cols;
        if (draw(&state, options->zero_rows))
            memset(row, 0, cols);
        else if (r != 0 && draw(&state, options->repeat_rows))
            memcpy(row, values + (size_t)(rsrc_random(&state) % r) * cols, cols);
    }
}

static bool make_matrix(struct kernel_bench *b) {
    const struct bench_options *options = b->options;
    int type = 0;
    while (type < 3 && strcmp(TYPES[type], options->type) != 0)
        type++;
    if (type == 3) {
        fprintf(stderr, "rsr-bench: --type takes ternary, binary or bit, not '%s'\n",
                options->type);
        return false;
    }
    if (type == RSR_BINARY_SIGN && (options->zero_rows > 0 || options->zero_cols > 0)) {
        fprintf(stderr,
                "rsr-bench: a binary matrix has no zeros for --zero-rows and --zero-cols\n");
        return false;
    }
    const size_t n = (size_t)options->rows * options->cols;
    int8_t *values = rsrc_arena_alloc(&b->arena, n);
    uint64_t state = options->seed;
    for (size_t i = 0; i < n; i++) {
        const uint64_t r = rsrc_random(&state) >> 32;
        values[i] = (int8_t)(type == RSR_TERNARY       ? (int)(r % 3) - 1
                             : type == RSR_BINARY_SIGN ? (int)(r & 1) * 2 - 1
                                                       : (int)(r & 1));
    }
    plant_redundancy(options, values);
    const uint32_t n_groups =
        options->group_cols == 0 ? 1 : rsrc_divide_up(options->cols, options->group_cols);
    const uint32_t n_scales = options->group_cols == 0 ? 1 : options->rows * n_groups;
    float *scale = rsrc_arena_array(&b->arena, n_scales, sizeof *scale);
    for (uint32_t i = 0; i < n_scales; i++)
        scale[i] = 1.0f / (float)(1u << (options->group_cols == 0 ? 0 : i % 4));
    b->matrix = (struct rsr_matrix){.rows = options->rows,
                                    .cols = options->cols,
                                    .alphabet = (enum rsr_alphabet)type,
                                    .values = values,
                                    .scale = scale,
                                    .n_scales = n_scales,
                                    .group_cols = options->group_cols};
    return true;
}

/* Bytes of code that fold may take if it is not forced, as in rsrc. */
#define FOLD_BUDGET (UINT64_C(4) << 20)

const struct rsr_regime_plan *bench_plan_of(const struct kernel_bench *b) {
    return &b->plan.regimes[b->regime];
}

static bool make_plan(struct kernel_bench *b, struct rsr_index *index) {
    struct rsrc_plan_options plan_options = {0};
    int forced = -1;
    for (int v = 0; b->options->variant != NULL && v < RSR_VARIANT_COUNT; v++)
        if (strcmp(rsrc_variant_name((enum rsr_variant)v), b->options->variant) == 0)
            forced = v;
    if (b->options->variant != NULL && forced < 0) {
        fprintf(stderr, "rsr-bench: there is no variant '%s'\n", b->options->variant);
        return false;
    }
    for (uint32_t r = 0; r <= RSR_ROLE_COUNT; r++)
        plan_options.forced_variant[r] = forced;
    const struct rsr_dead none = {NULL, NULL};
    rsrc_reduce_matrix(&b->arena, &b->matrix, &none, &b->reduced, &b->reduction);
    struct rsr_stats stats, fold_stats;
    (void)rsrc_choose_k(&b->arena, &b->reduced, &stats);
    rsrc_analyse_matrix(&b->arena, &b->reduced,
                        b->reduced.rows < RSRC_FOLD_K ? b->reduced.rows : RSRC_FOLD_K, &fold_stats);
    const struct rsrc_plan_input input = {.layer_name = "bench",
                                          .role = RSR_ROLE_COUNT,
                                          .alphabet = b->reduced.alphabet,
                                          .input = b->input,
                                          .group_cols = b->reduced.group_cols,
                                          .scale_bytes = rsrc_group_scale_bytes(&b->reduced),
                                          .stats = &stats,
                                          .fold_stats = &fold_stats,
                                          .fold_budget = FOLD_BUDGET,
                                          .spec = &b->spec,
                                          .options = &plan_options};
    if (rsrc_plan_layer(b->diag, &b->arena, &input, &b->plan) != RSRC_OK)
        return false;
    const struct rsr_plan *plan = &b->plan;
    if (b->regime == RSR_REGIME_COUNT)
        b->regime = b->options->batch > rsrc_decode_tokens(&plan, 1) ? RSR_REGIME_PREFILL
                                                                     : RSR_REGIME_DECODE;
    if (bench_plan_of(b)->k != 0)
        rsrc_build_index(&b->arena, &b->reduced, bench_plan_of(b)->k, index);
    return true;
}

/* The back ends to compare; the C compiler of the first is RSRC_CC. */
static const struct backend {
    const struct rsrc_backend *backend;
    enum rsr_unit_kind kind;
} BACKENDS[] = {{&rsrc_backend_c, RSR_UNIT_C}, {&rsrc_backend_llvm, RSR_UNIT_OBJ}};

/* NULL with a message. */
static const struct backend *find_backend(const char *name) {
    for (size_t i = 0; i < sizeof(BACKENDS) / sizeof(BACKENDS[0]); i++)
        if (strcmp(BACKENDS[i].backend->name, name) == 0)
            return &BACKENDS[i];
    fprintf(stderr, "rsr-bench: --backend takes c or llvm, not '%s'\n", name);
    return NULL;
}

static bool load(struct kernel_bench *b) {
    const struct backend *maker = find_backend(b->options->backend);
    struct rsrc_toolchain toolchain;
    struct rsrc_load_input input = {.opt_level = 2, .toolchain = &toolchain, .name = "kernel"};
    struct rsrc_toolchain_request request = {.triple = b->spec.triple};
    if (maker == NULL)
        return false;
    request.needs_cc = maker->kind == RSR_UNIT_C;
    if (rsrc_find_toolchain(b->diag, &b->arena, &request, &toolchain) != RSRC_OK ||
        rsrc_scratch_dir(b->diag, &b->arena, "rsr-bench", &input.dir) != RSRC_OK)
        return false;
    toolchain.compiling = (struct rsrc_spawn_options){.n_jobs = 1};
    input.backend = maker->backend;
    input.kind = maker->kind;
    const char *why = NULL;
    const bool loaded = rsrc_load_kernel(b->diag, &b->arena, &input, &b->lowered.kernel, &b->loaded,
                                         &b->emit_ms, &why);
    if (why != NULL)
        fprintf(stderr, "rsr-bench: the %s back end declined: %s\n", maker->backend->name, why);
    return loaded;
}

bool bench_build_kernel(struct kernel_bench *b) {
    struct rsr_index index = {0};
    if (rsrc_load_spec(b->diag, &b->arena, b->options->target, NULL, &b->spec) != RSRC_OK)
        return false;
    const char *lacks = rsrc_lacks_for(&b->arena, &b->spec);
    if (lacks != NULL) {
        fprintf(stderr, "rsr-bench: this machine lacks %s of target %s\n", lacks, b->spec.name);
        return false;
    }
    if (!read_input(b) || !make_matrix(b) || !make_plan(b, &index))
        return false;
    const struct rsrc_lower_input input = {
        .symbol_stem = "bench",
        .title = "random matrix",
        .matrix = &b->reduced,
        .reduction = &b->reduction,
        .index = index.blocks != NULL ? &index : NULL,
        .plan = bench_plan_of(b),
        .input = b->input,
        .spec = &b->spec,
        .epilogue = b->options->group_cols == 0 ? RSR_EPILOGUE_RAW : RSR_EPILOGUE_SCALE};
    return rsrc_lower_layer(b->diag, &b->arena, &input, &b->lowered) == RSRC_OK && load(b);
}

/* A row of int8 activations, and its header. */
static void make_int8_row(struct kernel_bench *b, uint8_t *row, uint64_t *state) {
    struct rsr_act_row header = {.scale = 1.0f};
    int8_t *q = (int8_t *)row + RSR_ACT_HEADER;
    for (uint32_t j = 0; j < b->options->cols; j++) {
        q[j] = (int8_t)((int)(rsrc_random(state) >> 56) - 128);
        header.sum += q[j];
    }
    memcpy(row, &header, sizeof(header));
}

/* Floats are whole numbers in the range of int8, so that their sums are exact too. */
static void make_float_row(struct kernel_bench *b, uint8_t *row, uint64_t *state) {
    for (uint32_t j = 0; j < b->options->cols; j++) {
        const float x = (float)((int)(rsrc_random(state) >> 56) - 128);
        memcpy(row + j * sizeof(x), &x, sizeof(x));
    }
}

bool bench_make_activations(struct kernel_bench *b) {
    const uint32_t batch = b->options->batch;
    const bool floats = b->input == RSR_INPUT_F32;
    const size_t padded = rsrc_round_up(b->options->cols, RSR_ACT_PAD);
    b->ldx = floats ? padded * sizeof(float) : RSR_ACT_HEADER + padded;
    b->x = bench_alloc(b->ldx * batch); /* an engine's are in huge pages, too */
    b->y = rsrc_arena_alloc(&b->arena, (size_t)b->options->rows * batch * sizeof(int32_t) + 64);
    b->scratch_bytes = (b->lowered.kernel.scratch_bytes + 4095) / 4096 * 4096 + 4096;
    b->scratch = bench_alloc(b->scratch_bytes * b->options->threads);
    if (b->x == NULL || b->scratch == NULL)
        return false;
    memset(b->x, 0, b->ldx * batch); /* columns that pad a row are 0 */
    uint64_t state = b->options->seed ^ 0xac7u;
    for (uint32_t t = 0; t < batch; t++)
        (floats ? make_float_row : make_int8_row)(b, b->x + t * b->ldx, &state);
    return true;
}

/* The definition: a sum of products. All are multiples of 1/8, far below 2^53. */
static double exact_sum(const struct kernel_bench *b, uint32_t token, uint32_t row) {
    const struct rsr_matrix *m = &b->matrix;
    const int8_t *w = m->values + (size_t)row * m->cols;
    const uint8_t *x = b->x + token * b->ldx;
    const uint32_t group_cols = m->group_cols != 0 ? m->group_cols : m->cols;
    const float *scale =
        m->scale + (m->group_cols != 0 ? row * (size_t)rsrc_divide_up(m->cols, group_cols) : 0);
    double sum = 0;
    for (uint32_t j = 0; j < m->cols; j++) {
        float real = 0;
        if (b->input == RSR_INPUT_F32)
            memcpy(&real, x + j * sizeof(real), sizeof(real));
        else
            real = (int8_t)x[RSR_ACT_HEADER + j];
        sum += w[j] * (double)real * (double)scale[j / group_cols];
    }
    return sum;
}

bool bench_is_exact(const struct kernel_bench *b) {
    const uint32_t rows = b->matrix.rows;
    for (uint32_t t = 0; t < b->options->batch; t++) {
        for (uint32_t r = 0; r < rows; r++) {
            const double sum = exact_sum(b, t, r);
            const int32_t *y = &b->y[(size_t)t * rows + r];
            float real;
            memcpy(&real, y, sizeof(real));
            const bool is_real = b->input == RSR_INPUT_F32 || b->matrix.group_cols != 0;
            if (is_real ? (double)real != sum : (double)*y != sum)
                return false;
        }
    }
    return true;
}

/* Kernels that share tables run in turn; 1 if the kernel leaves no tables. */
static uint32_t count_siblings(const struct kernel_bench *b) {
    const bool leaves = b->lowered.kernel.tables != NULL && b->options->batch <= RSR_TABLE_TOKENS;
    return leaves ? b->options->siblings : 1;
}

double bench_time_calls(struct kernel_bench *b, const uint8_t *memory, uint64_t stride,
                        uint32_t copies, uint32_t calls, uint32_t n_tokens) {
    const struct rsr_kernel *kernel = &b->lowered.kernel;
    const uint32_t threads = b->options->threads, n_siblings = count_siblings(b);
    uint64_t start = 0, end = 0;
#pragma omp parallel num_threads((int)threads)
    {
        /* There may be fewer threads than asked for (OMP_THREAD_LIMIT); they still do all of the
         * work. */
        const uint32_t id = (uint32_t)omp_get_thread_num();
        const uint32_t count = (uint32_t)omp_get_num_threads();
        struct rsr_worker worker = {.tile_begin = kernel->n_tiles * id / count,
                                    .tile_end = kernel->n_tiles * (id + 1) / count,
                                    .index = id,
                                    .count = count};
#pragma omp barrier
#pragma omp master
        start = rsrc_now_ns();
        for (uint32_t i = 0; i < calls; i++) {
            const uint8_t *copy = memory + (uint64_t)(i % copies) * stride;
            const struct rsr_weights weights = {.codes = copy,
                                                .index = copy + b->lowered.codes.size_bytes,
                                                .scale = b->matrix.scale,
                                                .n_scales = 1};
            worker.has_tables = i % n_siblings != 0;
            b->loaded.run(b->x, b->ldx, b->y, kernel->rows, n_tokens, &weights, &worker,
                          b->scratch + b->scratch_bytes * id);
#pragma omp barrier
        }
#pragma omp master
        end = rsrc_now_ns();
    }
    return (double)(end - start) / 1e3 / calls;
}

static const char *reason_text(struct kernel_bench *b) {
    const char *found = rsrc_reduction_text(&b->arena, &b->reduction, RSRC_TOO_FEW_TO_MAP);
    return found == NULL ? bench_plan_of(b)->reason
                         : rsrc_arena_printf(&b->arena, "%s; %s", bench_plan_of(b)->reason, found);
}

/* A plan predicts times of one core. */
static void add_prediction(const struct kernel_bench *b, double streamed_us, json_t *result) {
    if (b->options->threads != 1) {
        json_object_set_new(result, "unpredicted", json_string("plans know one core"));
        return;
    }
    const double predicted_us = rsrc_batch_us(bench_plan_of(b), b->options->batch);
    json_object_set_new(result, "predicted_us", json_real(predicted_us));
    json_object_set_new(result, "measured_to_predicted", json_real(streamed_us / predicted_us));
}

/* Names what was measured, for rsr-bench compare. */
static void add_matrix(const struct bench_options *options, json_t *result) {
    json_object_set_new(result, "rows", json_integer(options->rows));
    json_object_set_new(result, "cols", json_integer(options->cols));
    json_object_set_new(result, "type", json_string(options->type));
    json_object_set_new(result, "input", json_string(options->input));
    json_object_set_new(result, "target", json_string(options->target));
    if (options->group_cols != 0)
        json_object_set_new(result, "group_cols", json_integer(options->group_cols));
}

static json_t *measure(struct kernel_bench *b) {
    const struct bench_options *options = b->options;
    const struct rsr_lowered *lowered = &b->lowered;
    /* Code exists once: streaming it would need many copies of the kernel. */
    const bool is_code = lowered->kernel.n_bodies != 0;
    const uint64_t data_bytes = lowered->codes.size_bytes + lowered->index.size_bytes;
    const uint64_t weight_bytes = is_code ? bench_plan_of(b)->weight_bytes : data_bytes;
    const uint64_t stream_bytes = bench_stream_bytes(options);
    const uint64_t stride = rsrc_round_up(is_code ? stream_bytes : weight_bytes, 4096);
    const uint64_t copies = is_code ? 1 : stream_bytes / stride + 1;
    const uint64_t total = rsrc_round_up(stride * copies, (uint64_t)2 << 20);
    uint8_t *memory = bench_alloc(total);
    if (memory == NULL)
        return NULL;
    for (uint64_t i = 0; i < copies; i++) {
        if (lowered->codes.size_bytes != 0)
            memcpy(memory + i * stride, lowered->codes.bytes, lowered->codes.size_bytes);
        if (lowered->index.size_bytes != 0)
            memcpy(memory + i * stride + lowered->codes.size_bytes, lowered->index.bytes,
                   lowered->index.size_bytes);
    }
    bench_pin_threads(options->threads);
    const double first_us = bench_time_calls(b, memory, stride, 1, 3, options->batch);
    const bool exact = bench_is_exact(b);
    /* A hot sample takes about 50 ms. Streamed samples use all copies, but have a limit for kernels
     * that are bound by arithmetic. */
    const uint32_t hot_calls = first_us > 5e4 ? 1 : (uint32_t)(5e4 / first_us) + 1;
    const double round_us = first_us * (double)copies;
    const uint32_t streamed_calls =
        round_us > 4e6 ? (uint32_t)(4e6 / first_us) + 1 : (uint32_t)copies;
    double *hot = RSRC_NEW_ARRAY(&b->arena, options->runs, double);
    double *streamed = RSRC_NEW_ARRAY(&b->arena, options->runs, double);
    double *dram = RSRC_NEW_ARRAY(&b->arena, options->runs, double);
    for (uint32_t i = 0; i < options->runs; i++) { /* alternately, because other load on the machine
                                                      changes */
        hot[i] = bench_time_calls(b, memory, stride, 1, hot_calls, options->batch);
        streamed[i] =
            bench_time_calls(b, memory, stride, (uint32_t)copies, streamed_calls, options->batch);
        dram[i] = bench_read_gbps(memory, total, options->threads, 1);
    }
    double hot_spread, spread, dram_spread;
    const double hot_us = rsrc_median(hot, options->runs, &hot_spread);
    const double streamed_us = rsrc_median(streamed, options->runs, &spread);
    const double dram_gbps = rsrc_median(dram, options->runs, &dram_spread);
    rsrc_unmap_pages(memory, total);
    const double weights = (double)options->rows * options->cols;
    const double read_gbps = (double)weight_bytes / streamed_us / 1e3;
    json_t *result = json_pack(
        "{s:s, s:b, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s, s:s, s:I, s:i, s:f, "
        "s:f, s:f, s:i, s:i, s:i, s:s, s:f}",
        "variant", rsrc_variant_of(bench_plan_of(b)), "exact", exact ? 1 : 0, "hot_us", hot_us,
        "streamed_us", streamed_us, "weights_per_s_streamed", weights / streamed_us * 1e6,
        "bits_per_weight", (double)weight_bytes * 8 / weights, "read_gbps", read_gbps, "dram_gbps",
        dram_gbps, "roofline_ratio", read_gbps / dram_gbps, "gmac_per_s",
        weights * options->batch / hot_us / 1e3, "cpu", rsrc_cpu_model(&b->arena), "reason",
        reason_text(b), "seed", (json_int_t)options->seed, "runs", (int)options->runs, "spread",
        spread, "hot_spread", hot_spread, "dram_spread", dram_spread, "threads",
        (int)options->threads, "batch", (int)options->batch, "siblings", (int)count_siblings(b),
        "backend", options->backend, "emit_ms", b->emit_ms);
    add_prediction(b, streamed_us, result);
    add_matrix(options, result);
    return result;
}

void bench_release_kernel(struct kernel_bench *b) {
    rsrc_unload_kernel(&b->loaded);
    rsrc_remove_temporaries();
    rsrc_arena_free(&b->arena);
    rsrc_diag_destroy(b->diag);
}

int bench_kernel(const struct bench_options *given) {
    struct bench_options options = *given;
    if (options.threads == 0)
        options.threads = 1;
    if (options.tokens != 0 && options.batch > 1) {
        fprintf(stderr, "rsr-bench: --tokens measures every batch up to its number: leave out "
                        "--batch\n");
        return 1;
    }
    if (options.tokens != 0)
        return bench_tokens(&options);
    struct kernel_bench b = {.options = &options, .regime = RSR_REGIME_COUNT};
    b.diag = rsrc_diag_create(stderr, false, RSRC_COLOR_AUTO);
    rsrc_arena_init(&b.arena);
    int code = 1;
    if (bench_build_kernel(&b) && bench_make_activations(&b)) {
        json_t *result = measure(&b);
        if (result != NULL) {
            code = json_is_true(json_object_get(result, "exact")) ? 0 : 1;
            bench_print(result, options.json);
            if (code != 0)
                fprintf(stderr, "rsr-bench: the kernel differs from the scalar reference\n");
        }
    }
    bench_release_kernel(&b);
    return code;
}
