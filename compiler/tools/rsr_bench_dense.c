/* rsr_bench_dense.c - dense attention to be compared with: four query heads at once, one pass over
 * keys and values. The runtime's own kernel adds in a fixed order, without fused multiply-add;
 * where AVX-512 can be had, this one is not held up by that and reads as fast as memory allows.
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
#define PAGE 64u              /* keys between two rescalings of what was summed */
#define SCORES (PAGE * HEADS) /* [key][head] */
#define AHEAD 1024u           /* floats: how far before their use keys and values are fetched */

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

/* The sums of the lanes of four vectors. */
INLINE __m128 sum4(const __m512 *x) {
    __m128 a = fold(x[0]), b = fold(x[1]), c = fold(x[2]), d = fold(x[3]);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    return _mm_add_ps(_mm_add_ps(a, b), _mm_add_ps(c, d));
}

/* Products of a key with the four queries. */
INLINE __m128 score_key(const float *key, const float *queries, uint32_t row_floats) {
    __m512 sums[HEADS] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                          _mm512_setzero_ps()};
    for (uint32_t d = 0; d < row_floats; d += 16) {
        const __m512 k = _mm512_loadu_ps(key + d);
        __builtin_prefetch(key + d + AHEAD, 0, 3);
        for (uint32_t h = 0; h < HEADS; h++)
            sums[h] = _mm512_fmadd_ps(k, _mm512_loadu_ps(queries + h * row_floats + d), sums[h]);
    }
    return sum4(sums);
}

/* Scores become weights; the factor of what was summed before, by head. */
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

/* 32 dimensions of the four outputs. */
INLINE void add_values(float *out, const float *weights, const float *values, uint32_t row_floats,
                       uint32_t n_keys, const float *factors, uint32_t n_vectors) {
    __m512 sums[HEADS][2];
    for (uint32_t h = 0; h < HEADS; h++)
        for (uint32_t i = 0; i < n_vectors; i++)
            sums[h][i] = _mm512_mul_ps(_mm512_loadu_ps(out + h * row_floats + 16 * i),
                                       _mm512_set1_ps(factors[h]));
    for (uint32_t j = 0; j < n_keys; j++) {
        const float *value = values + (size_t)j * row_floats;
        for (uint32_t i = 0; i < n_vectors; i++) {
            const __m512 v = _mm512_loadu_ps(value + 16 * i);
            __builtin_prefetch(value + 16 * i + AHEAD, 0, 3);
            for (uint32_t h = 0; h < HEADS; h++)
                sums[h][i] = _mm512_fmadd_ps(v, _mm512_set1_ps(weights[HEADS * j + h]), sums[h][i]);
        }
    }
    for (uint32_t h = 0; h < HEADS; h++)
        for (uint32_t i = 0; i < n_vectors; i++)
            _mm512_storeu_ps(out + h * row_floats + 16 * i, sums[h][i]);
}

TARGET static void attend_avx512(float *out, const float *queries, const float *keys,
                                 const float *values, uint32_t row_floats, uint32_t n_keys,
                                 float scale) {
    float scores[SCORES], factors[HEADS];
    __m128 largest = _mm_set1_ps(-INFINITY), sum = _mm_setzero_ps();
    memset(out, 0, (size_t)HEADS * row_floats * sizeof(float));
    for (uint32_t at = 0; at < n_keys; at += PAGE) {
        const uint32_t n = n_keys - at < PAGE ? n_keys - at : PAGE;
        const size_t row = (size_t)at * row_floats;
        for (uint32_t j = 0; j < PAGE; j++) {
            const __m128 score =
                j < n ? score_key(keys + row + (size_t)j * row_floats, queries, row_floats)
                      : _mm_set1_ps(-INFINITY);
            _mm_storeu_ps(scores + (size_t)HEADS * j, _mm_mul_ps(score, _mm_set1_ps(scale)));
        }
        _mm_storeu_ps(factors, weigh(scores, &largest, &sum));
        uint32_t d = 0;
        for (; d + 32 <= row_floats; d += 32)
            add_values(out + d, scores, values + row + d, row_floats, n, factors, 2);
        for (; d < row_floats; d += 16)
            add_values(out + d, scores, values + row + d, row_floats, n, factors, 1);
    }
    float sums[HEADS];
    _mm_storeu_ps(sums, sum);
    for (uint32_t h = 0; h < HEADS; h++)
        for (uint32_t d = 0; d < row_floats; d++)
            out[h * row_floats + d] /= sums[h];
}
#endif

bench_dense_fn *bench_dense_for(uint64_t cpu_features) {
#if defined(__x86_64__)
    const uint64_t needed = RSR_CPU_MASK(AVX512F) | RSR_CPU_MASK(AVX512DQ) | RSR_CPU_MASK(AVX512VL);
    if ((needed & ~cpu_features) == 0)
        return attend_avx512;
#endif
    (void)cpu_features;
    return NULL;
}
