/* ops_rows.c - single rows of keys and values: storing, reading and scoring them. ops.h describes
 * the types. */
#include <math.h>

#include "host/fetch_line.h"
#include "ops_functions.h"

/* ---- Storing ---- */

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

#define INFINITE_BITS 0x7f800000u

/* Rounds off the low 16 bits: adds half of the last kept bit, less one if that bit is 0 (ties to
 * even). */
static uint16_t bf16_of(float x) {
    const uint32_t bits = bits_of(x), magnitude = bits & 0x7fffffffu;
    uint32_t rounded = (magnitude + 0x7fffu + (magnitude >> 16 & 1u)) >> 16;
    rounded = rounded > 0x7f7fu ? 0x7f7fu : rounded; /* the largest finite number */
    if (magnitude >= INFINITE_BITS)
        rounded = magnitude == INFINITE_BITS ? 0x7f80u : 0x7fc0u;
    return (uint16_t)(rounded | (bits >> 16 & 0x8000u));
}

/* Rounds off 13 bits in this way; the exponent's bias changes by 112. Denormals are multiples of
 * 2^-24, the spacing of float32 near 0.5. */
static uint16_t f16_of(float x) {
    const uint32_t bits = bits_of(x), magnitude = bits & 0x7fffffffu;
    uint32_t rounded = (magnitude + 0xfffu + (magnitude >> 13 & 1u) - (112u << 23)) >> 13;
    rounded = rounded > 0x7bffu ? 0x7bffu : rounded;
    if (magnitude < 113u << 23)
        rounded = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
    if (magnitude >= INFINITE_BITS)
        rounded = magnitude == INFINITE_BITS ? 0x7c00u : 0x7e00u;
    return (uint16_t)(rounded | (bits >> 16 & 0x8000u));
}

/* max |x|; NaN if an element is not finite. */
static float largest_finite(const float *x, uint32_t n) {
    float largest = 0.0f;
    uint32_t not_finite = 0;
    for (uint32_t i = 0; i < n; i++) {
        const float size = fabsf(x[i]);
        largest = size > largest ? size : largest;
        not_finite |= (uint32_t) !(size <= 0x1.fffffep127f);
    }
    return not_finite != 0 ? NAN : largest;
}

/* The scale of a row whose largest element is finite: about largest / 127, with at most 16
 * significant bits. It is rounded down, so 127 * scale never overflows; the largest element is then
 * 127 scales to within 2^-8 of a scale. Scales below float32's normal numbers are powers of two,
 * because they have too few bits. */
static float int8_scale(float largest) {
    float scale = float_of(bits_of(largest / 127.0f) & 0xffffff00u);
    if (scale < 0x1p-126f && largest > 0.0f)
        for (scale = 0x1p-149f; 127.0f * scale < largest;)
            scale = scale * 2.0f;
    return scale;
}

/* x / scale as the nearest integer, ties to even. A row of zeros has scale 0. */
static int8_t int8_of(float x, float scale) {
    const float nearest = (scale > 0.0f ? x / scale : 0.0f) + RSR_ROUND_MAGIC;
    const int32_t q = (int32_t)(bits_of(nearest) - bits_of(RSR_ROUND_MAGIC));
    return (int8_t)(q > 127 ? 127 : q < -127 ? -127 : q);
}

RSR_INLINE void store_row(void *row, enum rsr_kv_type type, uint32_t row_floats, const float *x,
                          uint32_t n) {
    uint16_t *halves = row;
    int8_t *bytes = row;
    if (type == RSR_KV_F32) {
        memcpy(row, x, n * sizeof(float));
    } else if (type == RSR_KV_INT8) {
        const float largest = largest_finite(x, n), scale = int8_scale(largest);
        for (uint32_t i = 0; i < n; i++)
            bytes[i] = int8_of(x[i], scale);
        memcpy(bytes + row_floats, &scale, sizeof(scale));
    } else {
        for (uint32_t i = 0; i < n; i++)
            halves[i] = type == RSR_KV_BF16 ? bf16_of(x[i]) : f16_of(x[i]);
    }
}

/* ---- Reading ---- */

RSR_INLINE void load_row(float *x, const void *row, enum rsr_kv_type type, uint32_t row_floats) {
    const float scale = rsr_row_scale(row, type, row_floats);
    for (uint32_t d = 0; d < row_floats; d += 16)
        rsr_store16(x + d, rsr_load_row16(row, type, d, scale));
}

/* Takes up to four of n rows from `first` on; missing ones repeat the first. Returns how many there
 * are. */
RSR_INLINE uint32_t four_rows(const char **at, const void *rows, size_t row_bytes, uint32_t first,
                              uint32_t n) {
    const uint32_t n_here = n < 4 ? n : 4;
    for (uint32_t i = 0; i < 4; i++)
        at[i] = (const char *)rows + (first + (i < n_here ? i : 0)) * row_bytes;
    return n_here;
}

/* Products of four rows with x, or, if x is NULL, with themselves. Four at once hide the adder's
 * latency. */
RSR_INLINE rsr_v4f dot4(const char *const *at, enum rsr_kv_type type, uint32_t row_floats,
                        const float *x) {
    float scales[4];
    struct rsr_f16 acc[4];
    for (uint32_t i = 0; i < 4; i++) {
        scales[i] = rsr_row_scale(at[i], type, row_floats);
        acc[i] = rsr_zero16();
    }
    for (uint32_t d = 0; d < row_floats; d += 16) {
        for (uint32_t i = 0; i < 4; i++) {
            const struct rsr_f16 row = rsr_load_row16(at[i], type, d, scales[i]);
            acc[i] = rsr_add_product(acc[i], row, x != NULL ? rsr_load16(x + d) : row);
        }
    }
    return rsr_sum16_of4(acc);
}

/* Four rows at a time, wherever they are; missing ones repeat the first. */
RSR_INLINE void dot_rows(float *y, const void *rows, enum rsr_kv_type type, uint32_t row_floats,
                         uint64_t mask, const float *x) {
    const size_t row_bytes = rsr_kv_row_bytes(type, row_floats);
    while (mask != 0) {
        const char *at[4];
        uint32_t numbers[4];
        for (uint32_t i = 0; i < 4; i++, mask &= mask - 1) {
            numbers[i] = mask != 0 ? (uint32_t)__builtin_ctzll(mask) : numbers[0];
            at[i] = (const char *)rows + numbers[i] * row_bytes;
        }
        const rsr_v4f sums = dot4(at, type, row_floats, x);
        for (uint32_t i = 0; i < 4; i++)
            y[numbers[i]] = sums[i];
    }
}

/* Rows are prefetched this far ahead, to the L2 cache; without it, sealing a page takes 1.15 times
 * as long. */
#define SQUARES_AHEAD 8192

RSR_INLINE float largest_square_of(const void *rows, enum rsr_kv_type type, uint32_t row_floats,
                                   uint32_t n_rows) {
    const size_t row_bytes = rsr_kv_row_bytes(type, row_floats);
    float largest = 0.0f;
    for (uint32_t j = 0; j < n_rows; j += 4) {
        const char *at[4];
        (void)four_rows(at, rows, row_bytes, j, n_rows - j);
        for (size_t i = 0; i < 4 * row_bytes; i += 64)
            rsr_fetch_line(at[0] + SQUARES_AHEAD + i, true);
        const rsr_v4f squares = dot4(at, type, row_floats, NULL);
        for (uint32_t i = 0; i < 4; i++) {
            const float square = squares[i] < INFINITY ? squares[i] : INFINITY;
            largest = square > largest ? square : largest;
        }
    }
    return largest;
}

/* Adds in the order of sum16, in double. */
static double sum_lanes(const double *p) {
    double h[8], q[4];
    for (int l = 0; l < 8; l++)
        h[l] = p[l] + p[l + 8];
    for (int l = 0; l < 4; l++)
        q[l] = h[l] + h[l + 4];
    return (q[0] + q[2]) + (q[1] + q[3]);
}

RSR_INLINE struct rsr_exact_dot exact_dot(const void *row, enum rsr_kv_type type,
                                          uint32_t row_floats, const float *x) {
    const float scale = rsr_row_scale(row, type, row_floats);
    rsr_vd sums[2 * RSR_PARTS] = {{0}}, sizes[2 * RSR_PARTS] = {{0}};
    for (uint32_t d = 0; d < row_floats; d += 16) {
        const struct rsr_f16 a = rsr_load_row16(row, type, d, scale), b = rsr_load16(x + d);
        for (int i = 0; i < 2 * RSR_PARTS; i++) {
            const rsr_vd product =
                rsr_widen_half(a.part[i / 2], i % 2) * rsr_widen_half(b.part[i / 2], i % 2);
            sums[i] += product;
            sizes[i] += (rsr_vd)((rsr_vl)product & INT64_MAX);
        }
    }
    double lanes[2][16];
    memcpy(lanes[0], sums, sizeof(lanes[0]));
    memcpy(lanes[1], sizes, sizeof(lanes[1]));
    return (struct rsr_exact_dot){sum_lanes(lanes[0]), sum_lanes(lanes[1])};
}

/* Groups of 16 elements that are summed at once. */
#define ADDED_VECTORS (RSR_NATIVE == 4 ? 2u : RSR_NATIVE == 8 ? 4u : 8u)

RSR_INLINE void add_rows_at(float *out, const char *rows, enum rsr_kv_type type,
                            uint32_t row_floats, const float *p, uint64_t mask, uint32_t d,
                            uint32_t n_vectors) {
    const size_t row_bytes = rsr_kv_row_bytes(type, row_floats);
    struct rsr_f16 acc[ADDED_VECTORS];
    for (uint32_t i = 0; i < n_vectors; i++)
        acc[i] = rsr_zero16();
    for (; mask != 0; mask &= mask - 1) {
        const uint32_t j = (uint32_t)__builtin_ctzll(mask);
        const char *row = rows + j * row_bytes;
        const float scale = rsr_row_scale(row, type, row_floats);
        for (uint32_t i = 0; i < n_vectors; i++)
            acc[i] = rsr_add_scaled(acc[i], p[j], rsr_load_row16(row, type, d + 16 * i, scale));
    }
    for (uint32_t i = 0; i < n_vectors; i++)
        rsr_store16(out + d + (size_t)16 * i, acc[i]);
}

RSR_INLINE void add_rows(float *out, const void *rows, enum rsr_kv_type type, uint32_t row_floats,
                         const float *p, uint64_t mask) {
    uint32_t d = 0;
    for (; d + 16 * ADDED_VECTORS <= row_floats; d += 16 * ADDED_VECTORS)
        add_rows_at(out, rows, type, row_floats, p, mask, d, ADDED_VECTORS);
    for (; d < row_floats; d += 16)
        add_rows_at(out, rows, type, row_floats, p, mask, d, 1);
}

#define DEFINE_ROWS(name, type)                                                                    \
    void RSR_OPS(store_##name)(void *row, uint32_t row_floats, const float *x, uint32_t n) {       \
        store_row(row, type, row_floats, x, n);                                                    \
    }                                                                                              \
    void RSR_OPS(load_##name)(float *x, const void *row, uint32_t row_floats) {                    \
        load_row(x, row, type, row_floats);                                                        \
    }                                                                                              \
    void RSR_OPS(dots_##name)(float *y, const void *rows, uint32_t row_floats, uint64_t mask,      \
                              const float *x) {                                                    \
        dot_rows(y, rows, type, row_floats, mask, x);                                              \
    }                                                                                              \
    float RSR_OPS(largest_square_##name)(const void *rows, uint32_t row_floats, uint32_t n) {      \
        return largest_square_of(rows, type, row_floats, n);                                       \
    }                                                                                              \
    struct rsr_exact_dot RSR_OPS(exact_##name)(const void *row, uint32_t row_floats,               \
                                               const float *x) {                                   \
        return exact_dot(row, type, row_floats, x);                                                \
    }                                                                                              \
    void RSR_OPS(add_##name)(float *out, const void *rows, uint32_t row_floats, const float *p,    \
                             uint64_t mask) {                                                      \
        add_rows(out, rows, type, row_floats, p, mask);                                            \
    }
RSR_EACH_KV_TYPE(DEFINE_ROWS)
