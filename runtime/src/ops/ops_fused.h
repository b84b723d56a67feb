/* ops_fused.h - a * b + c of float32, rounded once, on x86-64 without FMA.
 *
 * The product of two float32 is exact in double. Its sum with c, rounded to double, usually rounds
 * to the right float32 in a second step. The nearest double is never on the other side of a
 * midpoint between two float32 than the exact sum, so only a double that IS a midpoint can mislead.
 * In this case, and if the result may be denormal (denormals have other midpoints), the sum is
 * rounded to odd instead: if the sum is no double, the neighbour whose last bit is 1 is taken. No
 * float32 and no midpoint has this bit, so the odd double is between the same two of these numbers
 * as the exact sum, and rounds as the exact sum does (Boldo and Melquiond, Emulation of FMA and
 * correctly rounded sums, 2008; a double has 53 bits, and 24 + 2 are needed).
 *
 * tests/unit/test_fused.c compares it with fmaf(). On a Zen 4, with data in the cache, attention
 * over float32 takes 9 times as long as with separate product and sum (1.6 instead of 14.5 GMAC/s),
 * and the rows of a bfloat16 head take 3.4 times as long. libm's fmaf() without the instruction
 * would take 300 times as long.
 */
#ifndef RSR_OPS_FUSED_H
#define RSR_OPS_FUSED_H

#include <emmintrin.h>
#include <stdint.h>

typedef uint64_t rsr_fused_bits __attribute__((vector_size(16)));

/* product + c, rounded to odd. `error` is the exact error of `sum` (Knuth's two-sum; nothing
 * overflows or underflows here); NaN, which infinities give, counts as no error. Either the nearest
 * double is odd, or its neighbour towards the exact sum is. This neighbour is one unit in the last
 * place away from zero if error and sum have the same sign, otherwise towards zero. */
static inline __m128d rsr_fused_odd_sum(__m128d product, __m128d c) {
    const __m128d sum = product + c, back = sum - product;
    const __m128d error = (product - (sum - back)) + (c - back);
    const rsr_fused_bits bits = (rsr_fused_bits)sum;
    const __m128d size = (__m128d)((rsr_fused_bits)error & (uint64_t)INT64_MAX);
    const rsr_fused_bits inexact = (rsr_fused_bits)_mm_cmpgt_pd(size, _mm_setzero_pd());
    const rsr_fused_bits step = inexact & ~bits & 1;
    const rsr_fused_bits inwards = ((rsr_fused_bits)error ^ bits) >> 63 & step;
    return (__m128d)(bits + step - (inwards << 1));
}

/* Whether rounding these four to float32 may mislead. Finds midpoints (1 and 28 zeros in the 29
 * bits that float32 lacks), and numbers other than 0 below 2^-126 by the upper halves of their
 * bits. */
static inline int rsr_fused_doubtful(__m128d low, __m128d high) {
    const __m128 a = _mm_castpd_ps(low), b = _mm_castpd_ps(high);
    const __m128i lower = _mm_castps_si128(_mm_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)));
    const __m128i upper = _mm_castps_si128(_mm_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)));
    const __m128i size = _mm_and_si128(upper, _mm_set1_epi32(0x7fffffff));
    const __m128i midpoint = _mm_cmpeq_epi32(_mm_and_si128(lower, _mm_set1_epi32(0x1fffffff)),
                                             _mm_set1_epi32(0x10000000));
    const __m128i small = _mm_andnot_si128(_mm_cmpeq_epi32(size, _mm_setzero_si128()),
                                           _mm_cmplt_epi32(size, _mm_set1_epi32(0x38100000)));
    return _mm_movemask_epi8(_mm_or_si128(midpoint, small));
}

/* Hardly ever called, so not inlined: it would double the code of every loop. */
static __attribute__((cold, noinline, unused)) __m128 rsr_fused_odd(__m128d low, __m128d low_c,
                                                                    __m128d high, __m128d high_c) {
    return _mm_movelh_ps(_mm_cvtpd_ps(rsr_fused_odd_sum(low, low_c)),
                         _mm_cvtpd_ps(rsr_fused_odd_sum(high, high_c)));
}

static inline __m128 rsr_fused4(__m128 a, __m128 b, __m128 c) {
    const __m128d low = _mm_cvtps_pd(a) * _mm_cvtps_pd(b), low_c = _mm_cvtps_pd(c);
    const __m128d high = _mm_cvtps_pd(_mm_movehl_ps(a, a)) * _mm_cvtps_pd(_mm_movehl_ps(b, b));
    const __m128d high_c = _mm_cvtps_pd(_mm_movehl_ps(c, c));
    const __m128d low_sum = low + low_c, high_sum = high + high_c;
    if (__builtin_expect(rsr_fused_doubtful(low_sum, high_sum), 0))
        return rsr_fused_odd(low, low_c, high, high_c);
    return _mm_movelh_ps(_mm_cvtpd_ps(low_sum), _mm_cvtpd_ps(high_sum));
}

#endif
