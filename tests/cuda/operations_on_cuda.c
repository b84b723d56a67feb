/* operations_on_cuda.c - runs the kernels of operations.cuh, fused.cuh and head.cuh through the
 * runtime's device, on a GPU or on the fake libcuda, and compares every bit with the CPU's
 * operations.
 *
 * usage: operations_on_cuda PTX
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_engine.h"
#include "kv/kv_rows.h"
#include "ops/ops.h"
#include "rsr_abi.h"
#include "sample/sample.h"

#define THREADS 64u
#define MAX_PARTS 12u
#define ROW_THREADS 256u   /* of rsr_rows */
#define SPLIT_THREADS 256u /* of rsr_split */
#define MAX_DIM 256u

struct bench {
    struct rsr_cuda_device device;
    void *module;
    const struct rsr_ops *ops;
    uint64_t random;
    struct rsr_cuda_part parts[MAX_PARTS]; /* of one case */
    uint32_t n_parts, n_cases, n_wrong;
};

static rsr_error err = RSR_ERROR_INIT;

static void require(rsr_status status) {
    if (status == RSR_OK)
        return;
    fprintf(stderr, "error: %s\n", err.message);
    exit(1);
}

static float random_float(struct bench *b, float size) {
    b->random = b->random * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(b->random >> 40) / (1 << 23) - 1.0) * size;
}

static float *random_floats(struct bench *b, size_t n, float size) {
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; x != NULL && i < n; i++)
        x[i] = random_float(b, size);
    if (x == NULL)
        exit(1);
    return x;
}

/* A copy on the device, until the end of the case. */
static rsr_cuda_address copy_of(struct bench *b, const void *bytes, size_t n_bytes) {
    struct rsr_cuda_part *part = &b->parts[b->n_parts++];
    *part = (struct rsr_cuda_part){.name = "operands", .n_bytes = n_bytes};
    require(rsr_cuda_take(&b->device, part, 1, &err));
    require(rsr_cuda_upload(&b->device, part->address, bytes, n_bytes, &err));
    return part->address;
}

static void run_threads(struct bench *b, const char *name, uint32_t n_blocks, uint32_t n_threads,
                        void **parameters) {
    struct rsr_cuda_kernel kernel;
    require(rsr_cuda_find(&b->device, b->module, name, &kernel, &err));
    const struct rsr_cuda_size size = {n_blocks, 1, n_threads, 0};
    require(rsr_cuda_launch(&b->device, &kernel, &size, parameters, &err));
}

static void run(struct bench *b, const char *name, uint32_t n_blocks, void **parameters) {
    run_threads(b, name, n_blocks, THREADS, parameters);
}

/* Ends a case: the floats at `y` must be the expected ones. */
static void compare(struct bench *b, const char *name, rsr_cuda_address y, const float *expected,
                    size_t n) {
    float *found = malloc(n * sizeof *found);
    if (found == NULL)
        exit(1);
    require(rsr_cuda_download(&b->device, found, y, n * sizeof *found, &err));
    require(rsr_cuda_wait(&b->device, &err));
    b->n_cases++;
    if (memcmp(found, expected, n * sizeof *found) != 0) {
        b->n_wrong++;
        for (size_t i = 0; i < n; i++)
            if (memcmp(&found[i], &expected[i], sizeof *found) != 0) {
                printf("%s: element %zu is %a, the CPU's %a\n", name, i, (double)found[i],
                       (double)expected[i]);
                break;
            }
    }
    free(found);
    rsr_cuda_give_back(&b->device, b->parts, b->n_parts);
    b->n_parts = 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

#define ROWS 3u

/* The first operation that failed, of each row. */
static void compare_failed(struct bench *b, rsr_cuda_address failed, const uint32_t wanted[ROWS]) {
    uint32_t found[ROWS];
    require(rsr_cuda_download(&b->device, found, failed, sizeof found, &err));
    require(rsr_cuda_wait(&b->device, &err));
    b->n_wrong += memcmp(found, wanted, sizeof found) != 0;
}

/* Rows of n_heads times cols floats. */
static void test_norm(struct bench *b, uint32_t n_heads, uint32_t cols, float size) {
    size_t ld = n_heads * cols + 4u;
    float eps = 1e-5f, *x = random_floats(b, ROWS * ld, size);
    float *weight = random_floats(b, cols, 2), *expected = random_floats(b, ROWS * ld, 1);
    uint32_t failed[ROWS] = {UINT32_MAX, UINT32_MAX, 1}, wanted[ROWS], op = 2;
    rsr_cuda_address from = copy_of(b, x, ROWS * ld * 4), by = copy_of(b, weight, cols * 4),
                     to = copy_of(b, expected, ROWS * ld * 4),
                     at_failed = copy_of(b, failed, sizeof failed);
    memcpy(wanted, failed, sizeof wanted);
    for (uint32_t i = 0; i < ROWS * n_heads; i++) {
        const size_t at = i / n_heads * ld + i % n_heads * cols;
        if (!b->ops->norm(expected + at, x + at, weight, eps, cols) && wanted[i / n_heads] > op)
            wanted[i / n_heads] = op;
    }
    void *parameters[] = {&from, &ld, &by, &eps, &to, &ld, &n_heads, &cols, &at_failed, &op};
    run(b, "rsr_norm", ROWS * n_heads, parameters);
    compare_failed(b, at_failed, wanted);
    compare(b, "norm", to, expected, ROWS * ld);
    free(x), free(weight), free(expected);
}

/* One number of one row is infinite, or NaN. */
static void test_check(struct bench *b, uint32_t cols, float special) {
    size_t ld = cols + 1u;
    uint32_t failed[ROWS] = {9, 3, UINT32_MAX}, op = 4;
    float *x = random_floats(b, ROWS * ld, 3e38f);
    for (uint32_t row = 0; row < ROWS; row++) {
        x[row * ld + cols - 1] = special;
        uint32_t wanted[ROWS] = {9, 3, UINT32_MAX};
        wanted[row] = wanted[row] > op ? op : wanted[row];
        rsr_cuda_address from = copy_of(b, x, ROWS * ld * 4),
                         at_failed = copy_of(b, failed, sizeof failed);
        void *parameters[] = {&from, &ld, &cols, &at_failed, &op};
        run(b, "rsr_check", ROWS, parameters);
        compare_failed(b, at_failed, wanted);
        compare(b, "check", from, x, ROWS * ld);
        x[row * ld + cols - 1] = 3e38f;
    }
    free(x);
}

static void test_rows(struct bench *b, uint32_t cols) {
    size_t ld = cols + 1u, n = ROWS * ld;
    float *x = random_floats(b, n, 3), *y = random_floats(b, n, 3), *z = random_floats(b, n, 1);
    rsr_cuda_address from = copy_of(b, x, n * 4), to = copy_of(b, z, n * 4);
    for (uint32_t r = 0; r < ROWS; r++)
        b->ops->add(z + r * ld, x + r * ld, cols);
    void *adds[] = {&from, &ld, &to, &ld, &cols};
    run(b, "rsr_add", ROWS, adds);
    compare(b, "add", to, z, n);
    for (uint32_t activation = 0; activation < RSR_ACTIVATION_COUNT; activation++)
        for (float size = 1; size < 1e3f; size *= 30) {
            for (size_t i = 0; i < n; i++)
                x[i] = random_float(b, 4 * size);
            rsr_cuda_address gate = copy_of(b, x, n * 4), up = copy_of(b, y, n * 4);
            to = copy_of(b, z, n * 4);
            for (uint32_t r = 0; r < ROWS; r++)
                b->ops->act_mul(z + r * ld, x + r * ld, y + r * ld, cols,
                                (enum rsr_activation)activation);
            void *parameters[] = {&gate, &ld, &up, &ld, &to, &ld, &cols, &activation};
            run(b, "rsr_act_mul", ROWS, parameters);
            compare(b, "act_mul", to, z, n);
        }
    free(x), free(y), free(z);
}

/* A chain with the links of `links`: activation, norm, sum, norm; then what is quantised. */
static void test_chain(struct bench *b, uint32_t cols, uint32_t links, float size) {
    size_t ld = (cols + 15) / 16 * 16, ldq = (cols + 511) / 512 * 512 + 64, n = ROWS * ld;
    float *x = random_floats(b, n, size), *up = random_floats(b, n, 2),
          *sum = random_floats(b, n, 3);
    float *weights = random_floats(b, cols, 2), *q = random_floats(b, ROWS * ldq / 4, 1);
    float eps = 1e-5f;
    uint32_t activation = RSR_ACTIVATION_SILU, ops[] = {3, 5, 6};
    uint32_t failed[ROWS] = {UINT32_MAX, 4, UINT32_MAX}, wanted[ROWS];
    rsr_cuda_address from = copy_of(b, x, n * 4), by = copy_of(b, up, n * 4),
                     weight = copy_of(b, weights, cols * 4), to = copy_of(b, sum, n * 4),
                     h = copy_of(b, x, n * 4), y = copy_of(b, x, n * 4), z = copy_of(b, x, n * 4),
                     to_q = copy_of(b, q, ROWS * ldq),
                     at_failed = copy_of(b, failed, sizeof failed),
                     flag = copy_of(b, &activation, 4);
    memcpy(wanted, failed, sizeof wanted);
    for (uint32_t r = 0; r < ROWS; r++) {
        float *row = x + r * ld;
        uint32_t first = UINT32_MAX;
        if ((links & 1) != 0)
            b->ops->act_mul(row, row, up + r * ld, cols, (enum rsr_activation)activation);
        if ((links & 2) != 0 && !b->ops->norm(row, row, weights, eps, cols))
            first = ops[0];
        if ((links & 4) != 0) {
            b->ops->add(sum + r * ld, row, cols);
            memcpy(row, sum + r * ld, cols * sizeof *row);
        }
        if ((links & 8) != 0 && !b->ops->norm(row, row, weights, eps, cols) && first > ops[1])
            first = ops[1];
        if (!b->ops->quantize((struct rsr_act_row *)(void *)((char *)q + r * ldq), row, cols) &&
            first > ops[2])
            first = ops[2];
        wanted[r] = first < wanted[r] ? first : wanted[r];
    }
    struct rsr_gpu_chain chain = {.x = from,
                                  .ldx = ld,
                                  .up = (links & 1) != 0 ? by : 0,
                                  .ldu = ld,
                                  .h = h,
                                  .ldh = ld,
                                  .norm_weight = (links & 2) != 0 ? weight : 0,
                                  .norm_y = y,
                                  .ld_norm = ld,
                                  .sum = (links & 4) != 0 ? to : 0,
                                  .ld_sum = ld,
                                  .last_weight = (links & 8) != 0 ? weight : 0,
                                  .last_y = z,
                                  .ld_last = ld,
                                  .q = to_q,
                                  .ldq = ldq,
                                  .failed = at_failed,
                                  .not_finite = flag,
                                  .norm_eps = eps,
                                  .last_eps = eps,
                                  .norm_op = ops[0],
                                  .last_op = ops[1],
                                  .q_op = ops[2],
                                  .activation = activation,
                                  .cols = cols};
    void *parameters[] = {&chain};
    run_threads(b, "rsr_rows", ROWS, ROW_THREADS, parameters);
    compare_failed(b, at_failed, wanted);
    for (uint32_t r = 0; r < ROWS; r++) /* only the scale and the sum of a header are written */
        require(rsr_cuda_upload(&b->device, to_q + r * ldq + 8, (char *)q + r * ldq + 8, 56, &err));
    compare(b, "a chain", to_q, q, ROWS * ldq / 4);
    free(x), free(up), free(sum), free(weights), free(q);
}

static void test_rope(struct bench *b, uint32_t head_dim, uint32_t rotary_dim) {
    uint32_t n_heads = 3;
    size_t ld = n_heads * head_dim + 2u, ldt = rotary_dim + 3u;
    float frequencies[MAX_DIM], *x = random_floats(b, ROWS * ld, 2);
    float *table = random_floats(b, ROWS * ldt, 1);
    for (uint32_t i = 0; i < rotary_dim / 2; i++)
        frequencies[i] = 1.0f / (float)(1 + i * i);
    const struct rsr_rope rope = {.inv_freq = frequencies, .scale = 1.25f};
    rsr_cuda_address heads = copy_of(b, x, ROWS * ld * 4);
    for (uint32_t r = 0; r < ROWS; r++) {
        b->ops->rope_table(table + r * ldt, &rope, rotary_dim, 1000 * r + 7);
        for (uint32_t h = 0; h < n_heads; h++) {
            float *head = x + r * ld + h * head_dim;
            b->ops->rope(head, head, table + r * ldt, rotary_dim);
        }
    }
    rsr_cuda_address tables = copy_of(b, table, ROWS * ldt * 4);
    void *parameters[] = {&heads, &ld, &tables, &ldt, &n_heads, &head_dim, &rotary_dim};
    run(b, "rsr_rope", ROWS, parameters);
    compare(b, "rope", heads, x, ROWS * ld);
    free(x), free(table);
}

/* n numbers of the type; halves have any bits of a number that is not large. */
static float *random_weights(struct bench *b, size_t n, uint32_t dtype) {
    float *weights = random_floats(b, n, 1);
    for (size_t i = 0; dtype != RSR_DTYPE_F32 && i < n; i++) {
        const uint16_t bits = (uint16_t)((int)random_float(b, 0x7fff) & 0xbfff);
        memcpy((char *)weights + 2 * i, &bits, 2);
    }
    return weights;
}

/* Rows of x are `pad` floats further apart than they are long. */
static void test_dense(struct bench *b, uint32_t rows, uint32_t cols, uint32_t dtype,
                       uint32_t pad) {
    const uint32_t element_bytes = dtype == RSR_DTYPE_F32 ? 4 : 2;
    const size_t n_bytes = (size_t)rows * cols * element_bytes;
    size_t ldx = cols + pad, ldy = rows + 2u;
    uint32_t n_tokens = 2;
    float *x = random_floats(b, n_tokens * ldx, 2), *y = random_floats(b, n_tokens * ldy, 2);
    float *weights = random_weights(b, (size_t)rows * cols, dtype);
    const struct rsr_matrix_data matrix = {
        .data = weights, .rows = rows, .cols = cols, .dtype = dtype};
    rsr_cuda_address from = copy_of(b, x, n_tokens * ldx * 4), by = copy_of(b, weights, n_bytes),
                     to = copy_of(b, y, n_tokens * ldy * 4);
    for (uint32_t t = 0; t < n_tokens; t++)
        b->ops->head(y + t * ldy, &matrix, 0, rows, x + t * ldx);
    void *parameters[] = {&from, &ldx, &by, &dtype, &rows, &cols, &to, &ldy};
    run(b, "rsr_dense", n_tokens * ((rows + RSR_GPU_DENSE_ROWS - 1) / RSR_GPU_DENSE_ROWS),
        parameters);
    compare(b, "dense", to, y, n_tokens * ldy);
    free(x), free(y), free(weights);
}

/* ---- picks ----------------------------------------------------------------------------------- */

/* The pick of one row of logits is the CPU's, and so is the sentence if it fails. */
static void check_pick(struct bench *b, const float *logits, uint32_t vocab,
                       const rsr_sampling *sampling, uint32_t position,
                       const struct rsr_gpu_candidate *found) {
    const uint64_t key = rsr_noise_key(sampling->seed, 0, position);
    const double value =
        sampling->temperature == 0.0f
            ? (double)found->logit
            : (double)found->logit / (double)sampling->temperature + rsr_gumbel(key, found->row);
    rsr_error cpu = RSR_ERROR_INIT, gpu = RSR_ERROR_INIT;
    uint32_t wanted = 0;
    const rsr_status status =
        rsr_sample_token(vocab, sampling, logits, NULL, position, &wanted, &cpu);
    rsr_status ours = rsr_check_logit(found->row, found->logit, &gpu);
    if (found->row == UINT32_MAX)
        ours = rsr_fail_ruled_out(&gpu);
    b->n_cases++;
    if (status != ours || (status == RSR_OK && wanted != found->row) ||
        (status != RSR_OK && strcmp(cpu.message, gpu.message) != 0) ||
        (status == RSR_OK && (memcmp(&found->logit, &logits[wanted], sizeof(float)) != 0 ||
                              memcmp(&found->value, &value, sizeof(value)) != 0))) {
        b->n_wrong++;
        printf("picks: %u of %u, the CPU's %u: %s; the CPU: %s\n", found->row, vocab, wanted,
               gpu.message, cpu.message);
    }
}

/* Tokens of logits of all kinds, each picked by the largest logit and by draws. */
static void test_picks(struct bench *b, uint32_t vocab) {
    enum { KINDS = 6, TOKENS = 2 * KINDS };
    const uint32_t n = (vocab + RSR_GPU_BEST_ROWS - 1) / RSR_GPU_BEST_ROWS;
    size_t ld = vocab + 1u;
    float *logits = random_floats(b, TOKENS * ld, 4);
    rsr_sampling samplings[TOKENS];
    struct rsr_gpu_draw draws[TOKENS];
    struct rsr_gpu_candidate firsts[TOKENS];
    for (uint32_t t = 0; t < TOKENS; t++) {
        float *row = logits + t * ld;
        rsr_sampling *s = &samplings[t];
        *s = (rsr_sampling)RSR_SAMPLING_INIT;
        s->seed = t;
        s->temperature = t % 2 == 0 ? 0.0f : 0.3f + (float)t;
        for (uint32_t i = 0; i < vocab; i++)
            row[i] = t / 2 == 1   ? -1.5f /* ties */
                     : t / 2 == 2 ? -INFINITY
                                  : row[i];
        if (t / 2 == 3 || t / 2 == 4)
            row[vocab / 2] = t / 2 == 3 ? NAN : INFINITY, row[vocab - 1] = INFINITY;
        if (t / 2 == 0 && vocab > RSR_GPU_BEST_ROWS)
            row[RSR_GPU_BEST_ROWS - 1] = 50.0f;
        if (t / 2 == 5)
            row[vocab / 3] = -INFINITY, row[vocab - 1] = 90.0f;
        draws[t] = (struct rsr_gpu_draw){rsr_noise_key(s->seed, 0, 7 + t), (double)s->temperature};
        memset(&firsts[t], 0xff, sizeof firsts[t]);
    }
    struct rsr_gpu_candidate *empty = calloc((size_t)TOKENS * n, sizeof *empty);
    if (empty == NULL)
        exit(1);
    rsr_cuda_address from = copy_of(b, logits, TOKENS * ld * 4),
                     by = copy_of(b, draws, sizeof draws),
                     found = copy_of(b, empty, (size_t)TOKENS * n * sizeof *empty),
                     to = copy_of(b, firsts, sizeof firsts);
    uint32_t rows = vocab, n_found = n;
    void *parameters[] = {&from, &ld, &rows, &by, &found}, *all[] = {&found, &n_found, &to};
    run(b, "rsr_best", TOKENS * n, parameters);
    run(b, "rsr_first", TOKENS, all);
    require(rsr_cuda_download(&b->device, firsts, to, sizeof firsts, &err));
    require(rsr_cuda_wait(&b->device, &err));
    for (uint32_t t = 0; t < TOKENS; t++)
        check_pick(b, logits + t * ld, vocab, &samplings[t], 7 + t, &firsts[t]);
    rsr_cuda_give_back(&b->device, b->parts, b->n_parts);
    b->n_parts = 0;
    free(logits), free(empty);
}

/* ---- the certified head ---------------------------------------------------------------------- */

/* Rows with a common centre, some of them large, their sketch, and a query. */
struct sketched {
    struct rsr_sketch_shape shape;
    uint32_t rows, cols, n_blocks;
    float *matrix, *centre, *x;
    char *blocks;
    struct rsr_sketch_query query;
    void *memory;
    struct rsr_gpu_query *gpu;
};

static void *aligned_bytes(size_t n) {
    void *bytes = aligned_alloc(64, (n + 63) / 64 * 64);
    if (bytes == NULL)
        exit(1);
    return memset(bytes, 0, (n + 63) / 64 * 64);
}

static void make_sketch(struct bench *b, struct sketched *s, uint32_t rows, uint32_t cols) {
    *s = (struct sketched){.shape = rsr_sketch_flat_shape(cols, 1),
                           .rows = rows,
                           .cols = cols,
                           .n_blocks = rsr_sketch_blocks_of(rows)};
    s->matrix = aligned_bytes((size_t)s->n_blocks * RSR_SKETCH_VECTORS * cols * sizeof(float));
    s->blocks = aligned_bytes((size_t)s->n_blocks * s->shape.block_bytes);
    s->centre = random_floats(b, cols, 1);
    s->x = random_floats(b, cols, 2);
    for (uint32_t i = 0; i < rows * cols; i++)
        s->matrix[i] = s->centre[i % cols] + random_float(b, i / cols % 9 == 4 ? 3.0f : 0.4f);
    for (uint32_t i = 0; i < s->n_blocks; i++)
        rsr_sketch_build(&s->shape, s->blocks + (size_t)i * s->shape.block_bytes,
                         s->matrix + (size_t)i * RSR_SKETCH_VECTORS * cols, cols, s->centre, NULL);
    s->memory = aligned_bytes(rsr_sketch_query_bytes(&s->shape));
    rsr_sketch_prepare_flat(&s->shape, s->x, s->centre, s->memory, &s->query);
    s->gpu = aligned_bytes(rsr_cuda_query_bytes(&s->shape));
    rsr_cuda_write_query(&s->shape, &s->query, s->gpu);
}

/* A bound is at least the logit, and next to the host's bound, which lacks the error of logits. */
static bool is_bound(const struct sketched *s, uint32_t row, float found, float logit) {
    const char *block = s->blocks + row / RSR_SKETCH_VECTORS * (size_t)s->shape.block_bytes;
    const struct rsr_sketch_frame frame = rsr_sketch_frame_of(&s->shape, block, &s->query);
    const uint32_t in_block = row % RSR_SKETCH_VECTORS;
    const struct rsr_sketch_kernel *kernel = NULL;
    float t[RSR_SKETCH_LANES];
    for (uint32_t i = 0; rsr_sketch_kernel_at(i) != NULL; i++)
        kernel = rsr_sketch_kernel_at(i); /* which needs no feature */
    kernel->scan(&s->shape, block, &s->query, in_block / RSR_SKETCH_LANES, t);
    const double host = rsr_sketch_upper(&frame, 0, t[in_block % RSR_SKETCH_LANES]);
    return found >= logit && (double)found > host &&
           (double)found < host + 1e-4 * (fabs(host) + s->query.norm);
}

/* `unbounded`: logits may overflow, so all rows are read. */
static void test_sketch(struct bench *b, uint32_t rows, uint32_t cols, bool unbounded) {
    struct sketched s;
    make_sketch(b, &s, rows, cols);
    if (unbounded)
        s.gpu->norm = 1e39;
    float *logits = random_floats(b, rows, 1), *bounds = random_floats(b, rows, 1), least = 0;
    const struct rsr_matrix_data head = {
        .data = s.matrix, .rows = rows, .cols = cols, .dtype = RSR_DTYPE_F32};
    b->ops->head(logits, &head, 0, rows, s.x);
    struct rsr_gpu_candidate *empty = calloc(s.n_blocks, sizeof *empty), first = {0};
    if (empty == NULL)
        exit(1);
    rsr_cuda_address blocks = copy_of(b, s.blocks, (size_t)s.n_blocks * s.shape.block_bytes),
                     query = copy_of(b, s.gpu, rsr_cuda_query_bytes(&s.shape)),
                     matrix = copy_of(b, s.matrix, (size_t)rows * cols * sizeof(float)),
                     x = copy_of(b, s.x, cols * sizeof(float)),
                     at = copy_of(b, bounds, rows * sizeof(float)),
                     found = copy_of(b, empty, s.n_blocks * sizeof *empty),
                     to = copy_of(b, &least, sizeof least), to_first = copy_of(b, &first, 16);
    size_t block_bytes = s.shape.block_bytes;
    uint32_t norms_at = s.shape.norms_at, scales_at = s.shape.scales_at,
             residuals_at = s.shape.residual_at[0], codes_at = s.shape.plane_at[0],
             n_slices = s.shape.n_slices, dtype = RSR_DTYPE_F32, n = s.n_blocks, best = 0;
    void *bound[] = {&blocks,   &block_bytes, &norms_at, &scales_at, &residuals_at, &codes_at,
                     &n_slices, &rows,        &cols,     &query,     &at,           &found};
    void *certify[] = {&found, &n, &x, &matrix, &dtype, &cols, &to};
    void *survive[] = {&at, &to, &x, &matrix, &dtype, &rows, &cols, &found};
    void *all[] = {&found, &n, &to_first};
    run(b, "rsr_bound", n, bound);
    run(b, "rsr_certify", 1, certify);
    run(b, "rsr_survive", n, survive);
    run(b, "rsr_first", 1, all);
    require(rsr_cuda_download(&b->device, bounds, at, rows * sizeof(float), &err));
    require(rsr_cuda_download(&b->device, &least, to, sizeof least, &err));
    require(rsr_cuda_download(&b->device, &first, to_first, sizeof first, &err));
    require(rsr_cuda_wait(&b->device, &err));
    bool right = true;
    uint32_t largest = 0;
    for (uint32_t i = 0; i < rows; i++) {
        right =
            right && (unbounded ? bounds[i] == INFINITY : is_bound(&s, i, bounds[i], logits[i]));
        best = logits[i] > logits[best] ? i : best;
        largest = bounds[i] > bounds[largest] ? i : largest;
    }
    b->n_cases++;
    if (!right || first.row != best || memcmp(&first.logit, &logits[best], 4) != 0 ||
        memcmp(&least, &logits[largest], 4) != 0) {
        b->n_wrong++;
        printf("sketch: %s; row %u, the CPU's %u\n", right ? "right" : "a bound is wrong",
               first.row, best);
    }
    rsr_cuda_give_back(&b->device, b->parts, b->n_parts);
    b->n_parts = 0;
    free(s.matrix), free(s.blocks), free(s.centre), free(s.x), free(s.memory), free(s.gpu);
    free(logits), free(bounds), free(empty);
}

static void test_embed(struct bench *b, uint32_t cols, uint32_t dtype) {
    enum { VOCABULARY = 7, TOKENS = 4 };
    const uint32_t tokens[TOKENS] = {6, 0, 3, 6};
    const size_t n_bytes = (size_t)VOCABULARY * cols * (dtype == RSR_DTYPE_F32 ? 4 : 2);
    size_t ld = cols + 1u;
    float scale = 1.75f, *y = random_floats(b, TOKENS * ld, 1);
    float *rows = random_weights(b, (size_t)VOCABULARY * cols, dtype);
    const struct rsr_matrix_data matrix = {
        .data = rows, .rows = VOCABULARY, .cols = cols, .dtype = dtype};
    rsr_cuda_address which = copy_of(b, tokens, sizeof tokens), from = copy_of(b, rows, n_bytes),
                     to = copy_of(b, y, TOKENS * ld * 4);
    for (uint32_t t = 0; t < TOKENS; t++) {
        b->ops->embed(y + t * ld, &matrix, tokens[t]);
        b->ops->scale(y + t * ld, scale, cols);
    }
    void *parameters[] = {&which, &from, &dtype, &cols, &scale, &to, &ld};
    run(b, "rsr_embed", TOKENS, parameters);
    compare(b, "embed", to, y, TOKENS * ld);
    free(y), free(rows);
}

/* ---- attention ------------------------------------------------------------------------------- */

#define PAGES 3u
#define KV_HEADS 2u
#define GROUP 2u

/* Where keys and values are, as the kernel's parameters say. */
struct kv {
    rsr_cuda_address pages, table, positions;
    uint64_t page_bytes, head_bytes, values_at;
    uint32_t max_pages, row_bytes, row_floats, type;
};

/* One head of one token on the CPU: page by page, from key `first` on. */
static void attend(const struct bench *b, const struct rsr_kv_format *format, const char *memory,
                   const struct kv *kv, const uint32_t *table, const float *q, uint32_t kv_head,
                   uint32_t first, uint32_t n_keys, float *out) {
    float padded[MAX_DIM] = {0}, sums[2][MAX_DIM] = {{0}};
    struct rsr_attend_state states[2] = {{0}};
    memcpy(padded, q, format->head_dim * sizeof *q);
    for (uint32_t at = first, n; at < n_keys; at += n) {
        const uint32_t slot = at % RSR_PAGE_TOKENS;
        n = RSR_PAGE_TOKENS - slot < n_keys - at ? RSR_PAGE_TOKENS - slot : n_keys - at;
        const char *keys = memory + table[at / RSR_PAGE_TOKENS] * kv->page_bytes +
                           kv_head * kv->head_bytes + (size_t)slot * kv->row_bytes;
        const struct rsr_attend_page page = {.keys = keys,
                                             .values = keys + kv->values_at,
                                             .row_floats = kv->row_floats,
                                             .n_keys = n};
        const struct rsr_attend_head head = {padded, sums[0], &states[0]};
        format->ops->attend_page(&head, 1, &page, 0.125f);
    }
    b->ops->attend_finish(out, sums[0], &states[0], format->head_dim);
}

static struct kv kv_of(const struct rsr_kv_format *format) {
    const uint64_t head_bytes = rsr_kv_rows_bytes(format);
    return (struct kv){.page_bytes = KV_HEADS * head_bytes,
                       .head_bytes = head_bytes,
                       .values_at = (uint64_t)RSR_PAGE_TOKENS * format->row_bytes,
                       .max_pages = PAGES,
                       .row_bytes = format->row_bytes,
                       .row_floats = format->row_floats,
                       .type = format->type};
}

/* Zeroed pages; the CPU may read some rows beyond the last. */
static char *make_pages(const struct kv *kv) {
    char *memory = aligned_alloc(64, PAGES * kv->page_bytes + 4096);
    if (memory == NULL)
        exit(1);
    memset(memory, 0, PAGES * kv->page_bytes + 4096);
    return memory;
}

static void store(const struct rsr_kv_format *format, const struct kv *kv, char *memory,
                  uint32_t page, uint32_t head, uint32_t slot, const float *k, const float *v) {
    char *rows = memory + page * kv->page_bytes + head * kv->head_bytes;
    rsr_kv_rows_store(format, rsr_kv_rows_at(format, rows), slot, k, v);
}

/* Sizes of elements, such that all kinds of roundings occur; the last rows are zeros. */
static const float sizes[] = {3, 1e-6f, 7e4f, 3e38f, 1e-40f, 0};

/* Two of three numbers lie between two of bf16 or f16. */
static float random_or_tie(struct bench *b, float size, uint32_t i) {
    static const uint32_t halves[] = {0, 0x8000, 0x1000};
    const uint32_t half = halves[i % 3];
    float x = random_float(b, size);
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (half != 0 && x != 0)
        bits = (bits & ~(2 * half - 1)) | half;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void test_append(struct bench *b, enum rsr_kv_type type, uint32_t head_dim) {
    enum { TOKENS = sizeof sizes / sizeof *sizes };
    const struct rsr_kv_format format = rsr_kv_format_of(type, head_dim, false, b->ops);
    const uint32_t positions[TOKENS] = {0, 63, 64, 150, 5, 126};
    const uint32_t table[TOKENS][PAGES] = {{1, 9, 9}, {2, 9, 9}, {9, 0, 9},
                                           {9, 9, 1}, {0, 9, 9}, {9, 2, 9}};
    struct kv kv = kv_of(&format);
    uint32_t n_heads = KV_HEADS;
    size_t ldk = n_heads * head_dim + 1u, ldv = ldk + 2u;
    char *memory = make_pages(&kv);
    float *k = random_floats(b, TOKENS * ldk, 1), *v = random_floats(b, TOKENS * ldv, 1);
    for (uint32_t t = 0; t < TOKENS; t++) {
        for (uint32_t i = 0; i < n_heads * head_dim; i++) {
            k[t * ldk + i] = random_or_tie(b, sizes[t], i);
            v[t * ldv + i] = random_or_tie(b, sizes[t], i + 1);
        }
    }
    rsr_cuda_address keys = copy_of(b, k, TOKENS * ldk * 4),
                     values = copy_of(b, v, TOKENS * ldv * 4);
    kv.pages = copy_of(b, memory, PAGES * kv.page_bytes);
    kv.table = copy_of(b, table, sizeof table);
    kv.positions = copy_of(b, positions, sizeof positions);
    for (uint32_t i = 0; i < TOKENS * n_heads; i++) {
        const uint32_t t = i / n_heads, h = i % n_heads;
        store(&format, &kv, memory, table[t][positions[t] / RSR_PAGE_TOKENS], h,
              positions[t] % RSR_PAGE_TOKENS, k + t * ldk + h * head_dim,
              v + t * ldv + h * head_dim);
    }
    void *parameters[] = {&keys,          &ldk,          &values,       &ldv,
                          &kv.pages,      &kv.table,     &kv.positions, &kv.page_bytes,
                          &kv.head_bytes, &kv.values_at, &kv.max_pages, &kv.row_bytes,
                          &kv.row_floats, &kv.type,      &n_heads,      &head_dim};
    run(b, "rsr_append", TOKENS * n_heads, parameters);
    compare(b, "append", kv.pages, (const float *)(const void *)memory,
            PAGES * kv.page_bytes / sizeof(float));
    free(k), free(v), free(memory);
}

static void test_attention(struct bench *b, enum rsr_kv_type type, uint32_t head_dim,
                           uint32_t window) {
    const struct rsr_kv_format format = rsr_kv_format_of(type, head_dim, false, b->ops);
    uint32_t n_tokens = 3;
    const uint32_t positions[] = {0, 63, 150};
    const uint32_t table[][PAGES] = {{1, 9, 9}, {2, 9, 9}, {2, 0, 1}};
    uint32_t n_heads = KV_HEADS * GROUP, group = GROUP;
    struct kv kv = kv_of(&format);
    char *memory = make_pages(&kv);
    float row[2][MAX_DIM], scale = 0.125f;
    for (uint32_t i = 0; i < PAGES * KV_HEADS * RSR_PAGE_TOKENS; i++) {
        for (uint32_t d = 0; d < head_dim; d++) {
            row[0][d] = random_float(b, 3);
            row[1][d] = random_float(b, 3);
        }
        store(&format, &kv, memory, i / RSR_PAGE_TOKENS / KV_HEADS, i / RSR_PAGE_TOKENS % KV_HEADS,
              i % RSR_PAGE_TOKENS, row[0], row[1]);
    }
    size_t ld = n_heads * head_dim;
    float *q = random_floats(b, n_tokens * ld, 2), *out = random_floats(b, n_tokens * ld, 1);
    kv.pages = copy_of(b, memory, PAGES * kv.page_bytes);
    kv.table = copy_of(b, table, sizeof table);
    kv.positions = copy_of(b, positions, sizeof positions);
    rsr_cuda_address from = copy_of(b, q, n_tokens * ld * 4),
                     to = copy_of(b, out, n_tokens * ld * 4);
    for (uint32_t t = 0; t < n_tokens; t++)
        for (uint32_t h = 0; h < n_heads; h++) {
            const uint32_t n = positions[t] + 1;
            attend(b, &format, memory, &kv, table[t], q + t * ld + h * head_dim, h / GROUP,
                   window != 0 && window < n ? n - window : 0, n, out + t * ld + h * head_dim);
        }
    void *parameters[] = {&from,
                          &ld,
                          &kv.pages,
                          &kv.table,
                          &kv.positions,
                          &kv.page_bytes,
                          &kv.head_bytes,
                          &kv.values_at,
                          &kv.max_pages,
                          &kv.row_bytes,
                          &kv.row_floats,
                          &kv.type,
                          &to,
                          &ld,
                          &n_heads,
                          &group,
                          &head_dim,
                          &window,
                          &scale};
    run(b, "rsr_attend", n_tokens * n_heads, parameters);
    compare(b, "attend", to, out, n_tokens * ld);
    for (uint32_t way = 0; way < 4; way++) { /* one split or several; who merges */
        uint32_t n_splits = way % 2 == 0 ? 1 : 4;
        const bool merges_itself = way >= 2;
        const uint32_t zeros[3 * KV_HEADS + 1] = {0};
        struct rsr_gpu_chain chain = {0};
        const size_t n_pages = (size_t)n_tokens * n_heads * PAGES;
        float *empty = random_floats(b, n_pages * head_dim, 1);
        kv.pages = copy_of(b, memory, PAGES * kv.page_bytes);
        kv.table = copy_of(b, table, sizeof table);
        kv.positions = copy_of(b, positions, sizeof positions);
        from = copy_of(b, q, n_tokens * ld * 4);
        to = copy_of(b, q, n_tokens * ld * 4);
        rsr_cuda_address parts = copy_of(b, empty, n_pages * head_dim * 4),
                         stats = copy_of(b, empty, n_pages * 8),
                         counters = merges_itself ? copy_of(b, zeros, sizeof zeros) : 0;
        void *splits[] = {&from,
                          &ld,
                          &kv.pages,
                          &kv.table,
                          &kv.positions,
                          &kv.page_bytes,
                          &kv.head_bytes,
                          &kv.values_at,
                          &kv.max_pages,
                          &kv.row_bytes,
                          &kv.row_floats,
                          &kv.type,
                          &parts,
                          &stats,
                          &n_heads,
                          &group,
                          &head_dim,
                          &window,
                          &scale,
                          &n_splits,
                          &to,
                          &ld,
                          &counters,
                          &n_tokens,
                          &chain};
        void *merges[] = {
            &parts, &stats, &kv.positions, &kv.max_pages, &n_heads, &head_dim, &window, &to, &ld};
        run_threads(b, "rsr_split", n_tokens * KV_HEADS * n_splits, SPLIT_THREADS, splits);
        if (!merges_itself)
            run(b, "rsr_merge", n_tokens * n_heads, merges);
        compare(b, "split and merge", to, out, n_tokens * ld);
        free(empty);
    }
    free(q), free(out), free(memory);
}

/* ---- all ------------------------------------------------------------------------------------- */

static char *read_text(const char *path) {
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    if (file == NULL || text == NULL || fread(text, 1, (1 << 20) - 1, file) == 0) {
        perror(path);
        exit(1);
    }
    fclose(file);
    return text;
}

/* The words of a hollow module: of two blocks, the last of which is not full. */
static void test_fill(struct bench *b, uint32_t pairs, uint32_t keep, uint32_t set) {
    const size_t n = RSR_GPU_FILL_WORDS + 7, n_all = n + 3; /* those after n stay */
    uint64_t seed = 5 + pairs, n_words = n;
    uint32_t *words = malloc(n_all * sizeof *words);
    if (words == NULL)
        exit(1);
    for (size_t i = 0; i < n_all; i++)
        words[i] = (uint32_t)i;
    rsr_cuda_address at = copy_of(b, words, n_all * sizeof *words);
    for (size_t i = 0; i < n; i++) {
        uint64_t x = seed + i * UINT64_C(0x9e3779b97f4a7c15);
        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        words[i] = (uint32_t)(x >> 32);
        for (uint32_t bit = 0; bit < 32; bit++) /* a pair of ones loses the lower one */
            if ((pairs >> bit & 1) != 0 && (words[i] >> bit & 3) == 3)
                words[i] ^= 1u << bit;
        words[i] = (words[i] & keep) | set;
    }
    void *parameters[] = {&at, &n_words, &seed, &pairs, &keep, &set};
    run(b, "rsr_fill", 2, parameters);
    compare(b, "fill", at, (const float *)(const void *)words, n_all);
    free(words);
}

static void run_all(struct bench *b) {
    test_fill(b, 0x55555555u, 0xffffffffu, 0);
    test_fill(b, 0, 0x807f807fu, 0x3c003c00u);
    static const uint32_t cols[] = {1, 15, 16, 63, 64, 100, 257};
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++) {
        test_norm(b, 1, cols[i], 5);
        test_norm(b, 1, cols[i], 1e30f); /* squares are infinite */
        test_norm(b, 3, cols[i], 0.1f);
        test_check(b, cols[i], INFINITY);
        test_check(b, cols[i], -NAN);
        test_rows(b, cols[i]);
        for (uint32_t dtype = 0; dtype <= RSR_DTYPE_F16; dtype++) {
            test_dense(b, 1 + cols[i] % 9, cols[i], dtype, 3);
            test_dense(b, 60 + (uint32_t)i, 16 * cols[i] - 8, dtype, 0); /* 16 bytes at a time */
            test_embed(b, cols[i], dtype);
        }
    }
    for (uint32_t links = 0; links < 16; links++) {
        test_chain(b, 40, links, 3);
        test_chain(b, 701, links, 3);
        test_chain(b, 701, links, links % 3 == 0 ? 1e30f : 3e38f);
    }
    test_sketch(b, 150, 80, false);
    test_sketch(b, 64, 300, false);
    test_sketch(b, 150, 80, true);
    test_picks(b, 1);
    test_picks(b, 700);
    test_picks(b, 5 * RSR_GPU_BEST_ROWS + 40);
    test_rope(b, 16, 16);
    test_rope(b, 24, 8);
    for (uint32_t type = 0; type < RSR_KV_TYPES; type++) {
        test_append(b, (enum rsr_kv_type)type, 24);
        test_append(b, (enum rsr_kv_type)type, 80);
        test_attention(b, (enum rsr_kv_type)type, 24, 0);
        test_attention(b, (enum rsr_kv_type)type, 80, 70);
    }
}

int main(int argc, char **argv) {
    static struct bench b = {.random = 1};
    if (argc != 2) {
        fputs("usage: operations_on_cuda PTX\n", stderr);
        return 1;
    }
    b.ops = rsr_ops_get(RSR_OPS_GENERIC);
    char *text = read_text(argv[1]);
    require(rsr_cuda_device_open(&b.device, RSR_CUDA_LIBRARY, 0, &err));
    require(rsr_cuda_load(&b.device, text, &b.module, &err));
    run_all(&b);
    printf("%s: %u cases, %u wrong\n", b.device.title, b.n_cases, b.n_wrong);
    rsr_cuda_unload(&b.device, b.module);
    rsr_cuda_device_close(&b.device, false);
    free(text);
    return b.n_wrong != 0;
}
