/* gpu_problem.c - weights go through rsrc_pack_matvec, floats are quantised by the runtime's own
 * operation. */
#include "gpu_problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/matvec/matvec.h"
#include "ops/ops.h"

const uint32_t gpu_batches[] = {1, 2, 3, 4, 5, 8, GPU_TOKENS};
const uint32_t n_gpu_batches = sizeof gpu_batches / sizeof *gpu_batches;

/* Knuth's generator of MMIX, without its lower bits. */
static uint32_t random_bits(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

static float random_float(uint64_t *state) {
    return (float)((double)(random_bits(state) >> 8) / (1 << 23) - 1.0) * 3.0f;
}

static struct rsr_act_row *row_of(const struct gpu_problem *p, uint32_t t) {
    return (struct rsr_act_row *)(void *)(p->rows + t * p->row_bytes);
}

static bool is_raw(const struct gpu_problem *p) {
    return p->plan.epilogue == RSR_EPILOGUE_RAW;
}

static void fill_weights(struct gpu_problem *p, uint64_t *state) {
    const size_t n = (size_t)p->matrix.rows * p->matrix.cols;
    int8_t *values = malloc(n);
    for (size_t i = 0; i < n; i++)
        values[i] = (int8_t)(random_bits(state) % 3) - 1;
    memset(values, (int)(random_bits(state) % 3) - 1, p->matrix.cols); /* an extreme first row */
    p->matrix.values = values;
    for (uint32_t i = 0; i < p->matrix.n_scales; i++)
        p->scale[i] = random_float(state);
}

/* Activations, quantised by the runtime; RAW takes int8 values that quantisation never gives. */
static bool fill_activations(struct gpu_problem *p, enum gpu_values values, uint64_t *state) {
    const struct rsr_ops *ops = rsr_ops_get(RSR_OPS_GENERIC);
    const uint32_t cols = p->matrix.cols;
    bool right = true;
    for (uint32_t t = 0; t < GPU_TOKENS; t++) {
        float *x = p->x + t * p->ldx;
        for (uint32_t i = 0; i < cols; i++)
            x[i] = values == GPU_ZERO ? 0.0f : values == GPU_ALL_MIN ? -2.5f : random_float(state);
        if (t == 1) /* halves, to be rounded to even */
            for (uint32_t i = 0; i < cols; i++)
                x[i] = i == 0 ? 127.0f : (float)(i % 250) - 124.5f;
        else if (values == GPU_RANDOM) /* the largest number is the first one that a block loads */
            x[(uint64_t)(t == 0 ? 1 : t) * 128 * p->plan.row_warps * p->plan.col_warps % cols] =
                3.5f;
        else if (values == GPU_NOT_FINITE) /* and here the first that a warp's load brings */
            x[(uint64_t)(t == 0 ? 0 : t - 1) * 128 % cols] = 3.5f;
        const bool finite = !(values == GPU_NOT_FINITE && t == 0);
        if (!finite)
            x[cols - 1] = cols % 2 != 0 ? NAN : -INFINITY;
        right &= ops->quantize(row_of(p, t), x, cols) == finite;
        if (is_raw(p) && values == GPU_ALL_MIN) {
            memset((int8_t *)row_of(p, t) + RSR_ACT_HEADER, -128, cols);
            row_of(p, t)->sum = -128 * (int32_t)cols;
        }
    }
    return right;
}

static void compute_expected(struct gpu_problem *p) {
    for (uint32_t t = 0; t < GPU_TOKENS; t++)
        for (uint32_t r = 0; r < p->matrix.rows; r++) {
            const int8_t *q = (const int8_t *)row_of(p, t) + RSR_ACT_HEADER;
            const int8_t *w = p->matrix.values + (size_t)r * p->matrix.cols;
            int32_t acc = 0;
            for (uint32_t c = 0; c < p->matrix.cols; c++)
                acc += w[c] * q[c];
            const float scale = row_of(p, t)->scale * p->scale[p->matrix.n_scales > 1 ? r : 0];
            const float y = (float)acc * scale;
            memcpy(&p->expected[(size_t)t * p->matrix.rows + r],
                   is_raw(p) ? (const void *)&acc : (const void *)&y, 4);
        }
}

bool gpu_problem_make(struct gpu_problem *p, const struct rsr_matvec *plan, enum gpu_values values,
                      uint64_t *state) {
    const uint32_t rows = plan->rows, cols = plan->cols;
    *p = (struct gpu_problem){.plan = *plan,
                              .matrix = {.rows = rows,
                                         .cols = cols,
                                         .alphabet = RSR_TERNARY,
                                         .n_scales = plan->scale_per_row ? rows : 1},
                              .ldx = (cols + 3u) / 4 * 4 + 4,
                              .row_bytes = RSR_ACT_HEADER +
                                           (cols + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD,
                              .ldy = rows + 3u};
    p->codes = aligned_alloc(512, plan->weight_bytes);
    p->scale = malloc(p->matrix.n_scales * sizeof(float));
    p->x = aligned_alloc(64, (GPU_TOKENS * p->ldx * sizeof(float) + 63) / 64 * 64);
    p->rows = aligned_alloc(64, GPU_TOKENS * p->row_bytes);
    p->expected = malloc((size_t)GPU_TOKENS * rows * 4);
    p->y = malloc(gpu_problem_y_bytes(p));
    fill_weights(p, state);
    const bool right = fill_activations(p, values, state);
    compute_expected(p);
    rsrc_pack_matvec(&p->matrix, &p->plan, p->codes);
    return right;
}

void gpu_problem_free(struct gpu_problem *p) {
    free((void *)(uintptr_t)p->matrix.values);
    free(p->codes);
    free(p->scale);
    free(p->x);
    free(p->rows);
    free(p->expected);
    free(p->y);
}

size_t gpu_problem_x_bytes(const struct gpu_problem *p) {
    return ((GPU_TOKENS - 1) * p->ldx + p->plan.cols) * sizeof(float);
}

size_t gpu_problem_row_bytes(const struct gpu_problem *p) {
    return GPU_TOKENS * p->row_bytes;
}

bool gpu_problem_is_quantized(const struct gpu_problem *p, const uint8_t *rows, uint32_t n_tokens) {
    bool right = true;
    for (uint32_t t = 0; t < GPU_TOKENS; t++) {
        const uint8_t *row = rows + t * p->row_bytes, *expected = p->rows + t * p->row_bytes;
        if (t < n_tokens)
            right &= memcmp(row, expected, offsetof(struct rsr_act_row, reserved)) == 0 &&
                     memcmp(row + RSR_ACT_HEADER, expected + RSR_ACT_HEADER,
                            p->row_bytes - RSR_ACT_HEADER) == 0;
        for (size_t i = 0; t >= n_tokens && i < p->row_bytes; i++)
            right &= row[i] == GPU_POISON;
    }
    return right;
}

size_t gpu_problem_y_bytes(const struct gpu_problem *p) {
    return GPU_TOKENS * p->ldy * 4;
}

bool gpu_problem_is_right(const struct gpu_problem *p, uint32_t n_tokens) {
    uint32_t poison;
    memset(&poison, GPU_POISON, sizeof poison);
    bool right = true;
    for (uint32_t t = 0; t < GPU_TOKENS; t++)
        for (uint32_t r = 0; r < p->ldy; r++) {
            const bool written = t < n_tokens && r < p->matrix.rows;
            right &= p->y[t * p->ldy + r] ==
                     (written ? p->expected[(size_t)t * p->matrix.rows + r] : poison);
        }
    return right;
}

bool gpu_problem_reports(enum gpu_values values, uint32_t n_tokens) {
    return values == GPU_NOT_FINITE && n_tokens != 0;
}
