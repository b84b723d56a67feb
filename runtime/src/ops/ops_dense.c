/* ops_dense.c - the matrices that stay dense: embedding rows and the logits of the head.
 *
 * Both are stored as float32, bfloat16 or float16; widening is exact. Packed bfloat16 has a file of
 * its own, ops_packed.c. */
#include "host/fetch_line.h"
#include "ops_functions.h"

static const uint32_t dtype_bytes[] = {
    [RSR_DTYPE_F32] = 4,
    [RSR_DTYPE_BF16] = 2,
    [RSR_DTYPE_F16] = 2,
};

/* 16 elements from `row` on; dtype is a constant at every call. */
RSR_INLINE struct rsr_f16 widen16(const void *row, enum rsr_dtype dtype) {
    if (dtype == RSR_DTYPE_F32)
        return rsr_load16(row);
    return dtype == RSR_DTYPE_BF16 ? rsr_load16_bf16(row) : rsr_load16_f16(row);
}

RSR_INLINE struct rsr_f16 widen_tail(const void *row, enum rsr_dtype dtype, uint32_t n) {
    char padded[64] = {0};
    memcpy(padded, row, (size_t)n * dtype_bytes[dtype]);
    return widen16(padded, dtype);
}

RSR_INLINE void widen_row(float *dst, const char *row, enum rsr_dtype dtype, uint32_t cols) {
    uint32_t i = 0;
    for (; i + 16 <= cols; i += 16)
        rsr_store16(dst + i, widen16(row + (size_t)i * dtype_bytes[dtype], dtype));
    if (i < cols)
        rsr_store_tail(dst + i, widen_tail(row + (size_t)i * dtype_bytes[dtype], dtype, cols - i),
                       cols - i);
}

/* Four rows at once: four independent chains of additions hide the adder's latency. The next four
 * rows, which need not exist, are prefetched meanwhile, in the order of memory. On Zen 4 this takes
 * 0.67 to 0.87 of the time, with one thread or two; prefetches to the first cache gain nothing. */
RSR_INLINE rsr_v4f dot4(const char *rows, size_t row_bytes, enum rsr_dtype dtype, const float *x,
                        uint32_t cols) {
    struct rsr_f16 acc[4] = {rsr_zero16(), rsr_zero16(), rsr_zero16(), rsr_zero16()};
    const char *next = rows + 4 * row_bytes;
    uint32_t i = 0;
    for (; i + 16 <= cols; i += 16) {
        struct rsr_f16 v = rsr_load16(x + i);
        const char *at = rows + (size_t)i * dtype_bytes[dtype];
        for (int r = 0; r < 4; r++) {
            if ((uint32_t)r < dtype_bytes[dtype]) /* 16 elements of four rows are that many lines */
                rsr_fetch_line(next + (size_t)4 * i * dtype_bytes[dtype] + 64 * (size_t)r, true);
            acc[r] = rsr_add_product(acc[r], widen16(at + (size_t)r * row_bytes, dtype), v);
        }
    }
    if (i < cols) {
        struct rsr_f16 v = rsr_load_tail(x + i, cols - i);
        const char *at = rows + (size_t)i * dtype_bytes[dtype];
        for (int r = 0; r < 4; r++)
            acc[r] =
                rsr_add_product(acc[r], widen_tail(at + (size_t)r * row_bytes, dtype, cols - i), v);
    }
    return rsr_sum16_of4(acc);
}

RSR_INLINE void head_rows(float *y, const struct rsr_matrix_data *matrix, enum rsr_dtype dtype,
                          uint32_t row_begin, uint32_t row_end, const float *x) {
    size_t row_bytes = (size_t)matrix->cols * dtype_bytes[dtype];
    const char *rows = matrix->data;
    uint32_t r = row_begin;
    for (; r < row_end && row_end - r >= 4; r += 4) {
        rsr_v4f result = dot4(rows + r * row_bytes, row_bytes, dtype, x, matrix->cols);
        memcpy(y + r, &result, sizeof(result));
    }
    for (; r < row_end; r++) /* one row four times: this has the same order and needs no second
                                function */
        y[r] = dot4(rows + r * row_bytes, 0, dtype, x, matrix->cols)[0];
}

/* dot4 of rows at any addresses. head_rows reads consecutive rows and needs only one address and a
 * stride. */
RSR_INLINE rsr_v4f dot4_apart(const char *const rows[4], enum rsr_dtype dtype, const float *x,
                              uint32_t cols) {
    struct rsr_f16 acc[4] = {rsr_zero16(), rsr_zero16(), rsr_zero16(), rsr_zero16()};
    uint32_t i = 0;
    for (; i + 16 <= cols; i += 16) {
        const struct rsr_f16 v = rsr_load16(x + i);
        for (int r = 0; r < 4; r++)
            acc[r] = rsr_add_product(acc[r],
                                     widen16(rows[r] + (size_t)i * dtype_bytes[dtype], dtype), v);
    }
    if (i < cols) {
        const struct rsr_f16 v = rsr_load_tail(x + i, cols - i);
        for (int r = 0; r < 4; r++)
            acc[r] = rsr_add_product(
                acc[r], widen_tail(rows[r] + (size_t)i * dtype_bytes[dtype], dtype, cols - i), v);
    }
    return rsr_sum16_of4(acc);
}

RSR_INLINE void head_rows_apart(float *y, const struct rsr_matrix_data *matrix,
                                enum rsr_dtype dtype, const uint32_t *rows, uint32_t n,
                                const float *x) {
    const size_t row_bytes = (size_t)matrix->cols * dtype_bytes[dtype];
    for (uint32_t first = 0; first < n; first += 4) {
        const uint32_t n_rows = n - first < 4 ? n - first : 4;
        const char *at[4];
        for (uint32_t r = 0; r < 4; r++) /* missing rows repeat the first */
            at[r] = (const char *)matrix->data + rows[first + (r < n_rows ? r : 0)] * row_bytes;
        const rsr_v4f result = dot4_apart(at, dtype, x, matrix->cols);
        memcpy(y + first, &result, n_rows * sizeof(float));
    }
}

/* Every dtype has its own copies of the functions, in which it is a constant. */
struct dense_ops {
    void (*embed)(float *dst, const struct rsr_matrix_data *matrix, uint32_t row);
    void (*head)(float *y, const struct rsr_matrix_data *matrix, uint32_t row_begin,
                 uint32_t row_end, const float *x);
    void (*head_some)(float *y, const struct rsr_matrix_data *matrix, const uint32_t *rows,
                      uint32_t n, const float *x);
};

#define RSR_DENSE_OPS(name, dtype)                                                                 \
    static void embed_##name(float *dst, const struct rsr_matrix_data *matrix, uint32_t row) {     \
        const size_t row_bytes = (size_t)matrix->cols * dtype_bytes[dtype];                        \
        widen_row(dst, (const char *)matrix->data + row * row_bytes, dtype, matrix->cols);         \
    }                                                                                              \
    static void head_##name(float *y, const struct rsr_matrix_data *matrix, uint32_t row_begin,    \
                            uint32_t row_end, const float *x) {                                    \
        head_rows(y, matrix, dtype, row_begin, row_end, x);                                        \
    }                                                                                              \
    static void head_some_##name(float *y, const struct rsr_matrix_data *matrix,                   \
                                 const uint32_t *rows, uint32_t n, const float *x) {               \
        head_rows_apart(y, matrix, dtype, rows, n, x);                                             \
    }
RSR_DENSE_OPS(f32, RSR_DTYPE_F32)
RSR_DENSE_OPS(bf16, RSR_DTYPE_BF16)
RSR_DENSE_OPS(f16, RSR_DTYPE_F16)

static const struct dense_ops dense_ops[] = {
    [RSR_DTYPE_F32] = {embed_f32, head_f32, head_some_f32},
    [RSR_DTYPE_BF16] = {embed_bf16, head_bf16, head_some_bf16},
    [RSR_DTYPE_F16] = {embed_f16, head_f16, head_some_f16},
    [RSR_DTYPE_BF16_PACKED] = {RSR_OPS(embed_packed), RSR_OPS(head_packed),
                               RSR_OPS(head_some_packed)},
};

void RSR_OPS(embed)(float *dst, const struct rsr_matrix_data *matrix, uint32_t row) {
    dense_ops[matrix->dtype].embed(dst, matrix, row);
}

void RSR_OPS(head)(float *y, const struct rsr_matrix_data *matrix, uint32_t row_begin,
                   uint32_t row_end, const float *x) {
    dense_ops[matrix->dtype].head(y, matrix, row_begin, row_end, x);
}

void RSR_OPS(head_some)(float *y, const struct rsr_matrix_data *matrix, const uint32_t *rows,
                        uint32_t n, const float *x) {
    dense_ops[matrix->dtype].head_some(y, matrix, rows, n, x);
}
