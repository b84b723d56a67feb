/* rsr_bench_dense.c - dense attention as a baseline: four query heads at once, one pass over keys
 * and values. The runtime's own kernel adds in a fixed order, one page of 64 keys at a time. This
 * one, which needs AVX-512, has no such order and reads as fast as memory allows.
 *
 * Rows are read in the order of memory, because hardware prefetches that: keys one after another;
 * values for two heads, and then, from the first-level cache, for the two others.
 */
#include <math.h>
#include <string.h>

#include "rsr_abi.h"
#include "rsr_bench_dense.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl")))
#define INLINE TARGET static inline __attribute__((always_inline))

#define HEADS BENCH_DENSE_HEADS
/* Keys between two rescalings of the sums, and between two switches from keys to values. After each
 * switch, hardware prefetching starts anew. GB/s on Zen 4, one thread, where reading alone has 28:
 * 64 keys 19, 256 keys 24, 512 keys 25. */
#define PAGE 512u
#define SCORES (PAGE * HEADS) /* [key][head] */
#define BLOCK 16u             /* rows of values in the first cache */
#define VECTORS 8u            /* vectors of 16 output elements that are summed at once */

/* Loops over arrays in registers: GCC keeps such arrays in memory unless the loop is unrolled. */
#if defined(__clang__)
#define EACH(i, n) for (uint32_t i = 0; i < (n); i++)
#else
#define EACH(i, n) _Pragma("GCC unroll 8") for (uint32_t i = 0; i < (n); i++)
#endif

/* x = n ln 2 + r, |r| <= ln 2 / 2; Taylor's polynomial of degree 6 is off by 2e-7 relatively. */
INLINE __m512 exp16(__m512 x) {
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                          _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.0f / 720);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(_mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f)), n);
}

INLINE __m128 fold(__m512 x) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* The quarters of the result are those of x[0], x[1], x[2] and x[3], each the sum of four. */
INLINE __m512 sum_quarters(const __m512 *x) {
    const __m512 a = _mm512_add_ps(_mm512_shuffle_f32x4(x[0], x[1], 0x44),
                                   _mm512_shuffle_f32x4(x[0], x[1], 0xee));
    const __m512 b = _mm512_add_ps(_mm512_shuffle_f32x4(x[2], x[3], 0x44),
                                   _mm512_shuffle_f32x4(x[2], x[3], 0xee));
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

/* Lane HEADS * j + h is the sum of the lanes of x[h][j]. */
INLINE __m512 sum16(__m512 x[HEADS][4]) {
    const __m512 h0 = sum_quarters(x[0]), h1 = sum_quarters(x[1]);
    const __m512 h2 = sum_quarters(x[2]), h3 = sum_quarters(x[3]);
    const __m512d low =
        _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(h0, h1), _mm512_unpackhi_ps(h0, h1)));
    const __m512d high =
        _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(h2, h3), _mm512_unpackhi_ps(h2, h3)));
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(low, high)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(low, high)));
}

/* Products of four keys with the four queries: [key][head]. Keys are prefetched `ahead` bytes
 * before their use; 0: not at all. */
INLINE __m512 score_keys(const float *keys, const float *queries, uint32_t row_floats,
                         uint32_t ahead) {
    __m512 sums[HEADS][4];
    EACH(j, 4) {
        const float *key = keys + (size_t)j * row_floats;
        EACH(h, HEADS)
        sums[h][j] = _mm512_setzero_ps();
        EACH(d, row_floats / 16) {
            const __m512 k = _mm512_loadu_ps(key + (size_t)16 * d);
            if (ahead > 0)
                __builtin_prefetch((const char *)(key + (size_t)16 * d) + ahead, 0, 3);
            EACH(h, HEADS)
            sums[h][j] = _mm512_fmadd_ps(
                k, _mm512_loadu_ps(queries + h * row_floats + (size_t)16 * d), sums[h][j]);
        }
    }
    return sum16(sums);
}

/* Turns scores into weights; gives the factor of earlier sums, by head. */
INLINE __m128 weigh(float *scores, __m128 *largest, __m128 *sum) {
    __m512 most = _mm512_broadcast_f32x4(*largest), total = _mm512_setzero_ps();
    for (uint32_t i = 0; i < SCORES; i += 16)
        most = _mm512_max_ps(most, _mm512_loadu_ps(scores + i));
    most = _mm512_max_ps(most, _mm512_shuffle_f32x4(most, most, 0x4e));
    most = _mm512_max_ps(most, _mm512_shuffle_f32x4(most, most, 0xb1));
    for (uint32_t i = 0; i < SCORES; i += 16) {
        const __m512 p = exp16(_mm512_sub_ps(_mm512_loadu_ps(scores + i), most));
        _mm512_storeu_ps(scores + i, p);
        total = _mm512_add_ps(total, p);
    }
    const __m128 now = _mm512_castps512_ps128(most);
    const __m128 factor =
        _mm512_castps512_ps128(exp16(_mm512_castps128_ps512(_mm_sub_ps(*largest, now))));
    *largest = now;
    *sum = _mm_add_ps(_mm_mul_ps(*sum, factor), fold(total));
    return factor;
}

/* Adds n_rows rows to 16 n_vectors dimensions of two outputs. */
INLINE void add_rows(float *out, const float *weights, const float *values, uint32_t row_floats,
                     uint32_t n_rows, uint32_t n_vectors, uint32_t ahead) {
    __m512 sums[2][VECTORS];
    EACH(i, n_vectors) {
        sums[0][i] = _mm512_loadu_ps(out + (size_t)16 * i);
        sums[1][i] = _mm512_loadu_ps(out + row_floats + (size_t)16 * i);
    }
    for (uint32_t j = 0; j < n_rows; j++, values += row_floats) {
        const __m512 first = _mm512_set1_ps(weights[HEADS * j]);
        const __m512 second = _mm512_set1_ps(weights[HEADS * j + 1]);
        EACH(i, n_vectors) {
            const __m512 v = _mm512_loadu_ps(values + (size_t)16 * i);
            if (ahead > 0)
                __builtin_prefetch((const char *)(values + (size_t)16 * i) + ahead, 0, 3);
            sums[0][i] = _mm512_fmadd_ps(v, first, sums[0][i]);
            sums[1][i] = _mm512_fmadd_ps(v, second, sums[1][i]);
        }
    }
    EACH(i, n_vectors) {
        _mm512_storeu_ps(out + (size_t)16 * i, sums[0][i]);
        _mm512_storeu_ps(out + row_floats + (size_t)16 * i, sums[1][i]);
    }
}

/* Adds all rows to all outputs. */
INLINE void add_values(float *out, const float *weights, const float *values, uint32_t row_floats,
                       uint32_t n_keys, uint32_t n_vectors, uint32_t ahead) {
    for (uint32_t at = 0; at < n_keys; at += BLOCK) {
        const uint32_t n = n_keys - at < BLOCK ? n_keys - at : BLOCK;
        const float *rows = values + (size_t)at * row_floats;
        for (uint32_t h = 0; h < HEADS; h += 2)
            add_rows(out + (size_t)h * row_floats, weights + (size_t)HEADS * at + h, rows,
                     row_floats, n, n_vectors, h == 0 ? ahead : 0);
    }
}

INLINE void attend(float *out, const float *queries, const float *keys, const float *values,
                   uint32_t row_floats, uint32_t n_keys, float scale, uint32_t ahead) {
    float scores[SCORES], factors[HEADS];
    __m128 largest = _mm_set1_ps(-INFINITY), sum = _mm_setzero_ps();
    memset(out, 0, (size_t)HEADS * row_floats * sizeof(float));
    for (uint32_t at = 0; at < n_keys; at += PAGE) {
        const uint32_t n = n_keys - at < PAGE ? n_keys - at : PAGE;
        const size_t row = (size_t)at * row_floats;
        for (uint32_t j = 0; j < n; j += 4) /* rows up to the next multiple of 4 can be read */
            _mm512_storeu_ps(scores + (size_t)HEADS * j,
                             _mm512_mul_ps(score_keys(keys + row + (size_t)j * row_floats, queries,
                                                      row_floats, ahead),
                                           _mm512_set1_ps(scale)));
        for (uint32_t i = HEADS * n; i < SCORES; i++)
            scores[i] = -INFINITY;
        _mm_storeu_ps(factors, weigh(scores, &largest, &sum));
        for (uint32_t h = 0; h < HEADS; h++)
            for (uint32_t d = 0; d < row_floats; d++)
                out[h * row_floats + d] *= factors[h];
        uint32_t d = 0;
        for (; d + 16 * VECTORS <= row_floats; d += 16 * VECTORS)
            add_values(out + d, scores, values + row + d, row_floats, n, VECTORS, ahead);
        for (; d + 64 <= row_floats; d += 64)
            add_values(out + d, scores, values + row + d, row_floats, n, 4, ahead);
        for (; d < row_floats; d += 16)
            add_values(out + d, scores, values + row + d, row_floats, n, 1, ahead);
    }
    float sums[HEADS];
    _mm_storeu_ps(sums, sum);
    for (uint32_t h = 0; h < HEADS; h++)
        for (uint32_t d = 0; d < row_floats; d++)
            out[h * row_floats + d] /= sums[h];
}

/* For usual row lengths, loops have constant lengths and are unrolled. Other loops end in a
 * mispredicted branch, which delays the loads after it (keys: 15 instead of 21 GB/s). */
#define DEFINE_ATTEND(name, ahead)                                                                 \
    TARGET static void name(float *out, const float *queries, const float *keys,                   \
                            const float *values, uint32_t row_floats, uint32_t n_keys,             \
                            float scale) {                                                         \
        if (row_floats == 128)                                                                     \
            attend(out, queries, keys, values, 128, n_keys, scale, ahead);                         \
        else if (row_floats == 64)                                                                 \
            attend(out, queries, keys, values, 64, n_keys, scale, ahead);                          \
        else                                                                                       \
            attend(out, queries, keys, values, row_floats, n_keys, scale, ahead);                  \
    }
/* Whether software prefetch helps depends on the processor. */
DEFINE_ATTEND(attend_plain, 0)
DEFINE_ATTEND(attend_fetching, 4096)
#endif

const struct bench_dense *bench_dense_for(uint64_t cpu_features, uint32_t i) {
#if defined(__x86_64__)
    static const struct bench_dense KERNELS[] = {
        {"avx512, 4 heads", attend_plain},
        {"avx512, 4 heads, fetching ahead", attend_fetching},
    };
    const uint64_t needed = RSR_CPU_MASK(AVX512F) | RSR_CPU_MASK(AVX512DQ) | RSR_CPU_MASK(AVX512VL);
    if ((needed & ~cpu_features) == 0 && i < sizeof(KERNELS) / sizeof(KERNELS[0]))
        return &KERNELS[i];
#endif
    (void)cpu_features;
    (void)i;
    return NULL;
}
