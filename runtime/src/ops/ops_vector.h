/* ops_vector.h - 16 float lanes on any instruction set, for the files of this folder.
 *
 * A value of 16 lanes is an array of native vectors: 1 of 16 (AVX-512), 2 of 8 (AVX2) or 4 of 4.
 * A single GNU vector of 16 would be simpler, but GCC keeps vectors that are wider than the
 * machine's in memory. A number's value does not depend on its lane, so all widths give the same
 * bits.
 */
#ifndef RSR_OPS_VECTOR_H
#define RSR_OPS_VECTOR_H

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "ops.h"
#if defined(__x86_64__) && !defined(__FMA__)
#include "ops_fused.h"
#endif

#ifndef RSR_OPS_LEVEL
#error "compile with -DRSR_OPS_LEVEL=generic, avx2 or avx512"
#endif

#define RSR_OPS_PASTE2(name, level) rsr_ops_##name##_##level
#define RSR_OPS_PASTE(name, level) RSR_OPS_PASTE2(name, level)
/* The name of a function at this level: RSR_OPS(norm) is rsr_ops_norm_avx2. */
#define RSR_OPS(name) RSR_OPS_PASTE(name, RSR_OPS_LEVEL)

#if defined(__AVX512F__)
#define RSR_NATIVE 16
#elif defined(__AVX2__)
#define RSR_NATIVE 8
#else
#define RSR_NATIVE 4
#endif
#define RSR_PARTS (16 / RSR_NATIVE)

typedef float rsr_vf __attribute__((vector_size(4 * RSR_NATIVE)));
typedef int32_t rsr_vi __attribute__((vector_size(4 * RSR_NATIVE)));
typedef uint32_t rsr_vu __attribute__((vector_size(4 * RSR_NATIVE)));
typedef uint16_t rsr_vh __attribute__((vector_size(2 * RSR_NATIVE)));
typedef int8_t rsr_vb __attribute__((vector_size(RSR_NATIVE)));
typedef double rsr_vd __attribute__((vector_size(4 * RSR_NATIVE))); /* of half a vector */
typedef int64_t rsr_vl __attribute__((vector_size(4 * RSR_NATIVE)));
typedef float rsr_v8f __attribute__((vector_size(32)));
typedef float rsr_v4f __attribute__((vector_size(16)));

struct rsr_f16 {
    rsr_vf part[RSR_PARTS];
};

#define RSR_INLINE static inline __attribute__((always_inline))
/* Keeps a vector in a register. Without this, compilers load it again for each instruction. */
#if defined(__x86_64__)
#define RSR_KEEP(x) __asm__("" : "+v"(x))
#else
#define RSR_KEEP(x) __asm__("" : "+w"(x))
#endif
/* Moves a vector to memory, because others need its register before it is used. */
#define RSR_TO_MEMORY(x) __asm__("" : "+m"(x))
#define RSR_EACH_PART(i) for (int i = 0; i < RSR_PARTS; i++)

/* ---- Native vectors ---- */

RSR_INLINE rsr_vf rsr_splat(float x) {
    return x - (rsr_vf){0}; /* x - (+0) is x, also for -0 */
}

/* a * b + c, rounded once */
RSR_INLINE rsr_vf rsr_fused(rsr_vf a, rsr_vf b, rsr_vf c) {
#if RSR_NATIVE == 16
    return (rsr_vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif RSR_NATIVE == 8
    return (rsr_vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__x86_64__)
    return (rsr_vf)rsr_fused4((__m128)a, (__m128)b, (__m128)c);
#else
    return (rsr_vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#endif
}

RSR_INLINE rsr_vf rsr_select(rsr_vi mask, rsr_vf yes, rsr_vf no) {
    return (rsr_vf)((mask & (rsr_vi)yes) | (~mask & (rsr_vi)no));
}

/* a > b ? a : b in each lane, and b where one is NaN: the instruction of x86. */
RSR_INLINE rsr_vf rsr_larger(rsr_vf a, rsr_vf b) {
#if RSR_NATIVE == 16
    return (rsr_vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif RSR_NATIVE == 8
    return (rsr_vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
    return (rsr_vf)_mm_max_ps((__m128)a, (__m128)b);
#else
    return rsr_select(a > b, a, b);
#endif
}

/* a < b ? a : b likewise */
RSR_INLINE rsr_vf rsr_smaller(rsr_vf a, rsr_vf b) {
#if RSR_NATIVE == 16
    return (rsr_vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif RSR_NATIVE == 8
    return (rsr_vf)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
    return (rsr_vf)_mm_min_ps((__m128)a, (__m128)b);
#else
    return rsr_select(a < b, a, b);
#endif
}

RSR_INLINE rsr_vi rsr_select_int(rsr_vi mask, rsr_vi yes, rsr_vi no) {
    return (mask & yes) | (~mask & no);
}

/* Adding 1.5 * 2^23 rounds a float of magnitude below 2^22 to an integer, ties to even, and leaves
 * that integer in the low bits of the sum. */
#define RSR_ROUND_MAGIC 12582912.0f

/* exp(x) = 2^n exp(r), n = rint(x / ln 2), |r| <= ln 2 / 2. ln 2 is split so that n * LN2_HIGH is
 * exact; the polynomial is the Cephes library's expf (a minimax of degree 7). 2^n is applied as two
 * factors so that denormal results round once and overflow becomes infinity.
 *
 * At most 1.06 ulp where the result is normal. With u = 2^-24: n is within 0.5 + 2^-18 of x / ln 2,
 * as log2_e is 1.93e-8 too small, so |r| < 0.34658 (ties and all). x - n * LN2_HIGH is exact: both
 * are multiples of 2^-25 unless n is 0, and it is below 0.5. The next step rounds by 0.25 u, and
 * the two pieces of ln 2 lack 1.7e-12, 150 times: 0.26 u of r, and relatively of the result. The
 * polynomial is within 0.046 u of exp(r). Its last step but one rounds by u (0.5 u where r < 0),
 * which r makes 0.35 u (0.18 u); those before add 0.07 u. Together 0.86 u, where an ulp is 2 u, or
 * 0.56 u, where it is u; the last step rounds by half an ulp. A denormal result rounds once more.
 * Over all float32 0.90 ulp were found (test_ops all). exp(0) is 1 as every product is 0. */
RSR_INLINE rsr_vf rsr_exp(rsr_vf x) {
    const float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f, log2_e = 1.44269504088896341f;
    x = rsr_smaller(rsr_splat(89.0f), x);  /* exp(89) overflows */
    x = rsr_larger(rsr_splat(-104.0f), x); /* exp(-104) rounds to 0 */
    rsr_vf shifted = rsr_fused(x, rsr_splat(log2_e), rsr_splat(RSR_ROUND_MAGIC));
    rsr_vf n = shifted - RSR_ROUND_MAGIC;
    rsr_vf r = rsr_fused(n, rsr_splat(-ln2_high), x);
    r = rsr_fused(n, rsr_splat(-ln2_low), r);
    rsr_vf p = rsr_splat(1.9875691500e-4f);
    p = rsr_fused(p, r, rsr_splat(1.3981999507e-3f));
    p = rsr_fused(p, r, rsr_splat(8.3334519073e-3f));
    p = rsr_fused(p, r, rsr_splat(4.1665795894e-2f));
    p = rsr_fused(p, r, rsr_splat(1.6666665459e-1f));
    p = rsr_fused(p, r, rsr_splat(5.0000001201e-1f));
    p = rsr_fused(p, r, rsr_splat(1.0f));
    p = rsr_fused(p, r, rsr_splat(1.0f));
#if RSR_NATIVE == 16
    return (rsr_vf)_mm512_scalef_ps((__m512)p, (__m512)n); /* rounds once, too */
#else
    rsr_vu power = (rsr_vu)shifted - 0x4b400000u; /* the bits of RSR_ROUND_MAGIC */
    rsr_vu half = (rsr_vu)((rsr_vi)power >> 1);
    return (p * (rsr_vf)((half + 127u) << 23)) * (rsr_vf)((power - half + 127u) << 23);
#endif
}

/* uint16 lanes to uint32. GCC 12 splits the conversion: the head ran at a third of its speed at 512
 * bits, attention over bfloat16 at a quarter at 256. */
RSR_INLINE rsr_vu rsr_widen_bits(rsr_vh h) {
#if RSR_NATIVE == 16
    return (rsr_vu)_mm512_cvtepu16_epi32((__m256i)h);
#elif RSR_NATIVE == 8
    return (rsr_vu)_mm256_cvtepu16_epi32((__m128i)h);
#elif defined(__x86_64__)
    return (rsr_vu)_mm_unpacklo_epi16(_mm_cvtsi64_si128((long long)h), _mm_setzero_si128());
#else
    return __builtin_convertvector(h, rsr_vu);
#endif
}

/* uint32 lanes below 2^16 to uint16. */
RSR_INLINE rsr_vh rsr_narrow_bits(rsr_vu u) {
#if RSR_NATIVE == 16
    return (rsr_vh)_mm512_cvtepi32_epi16((__m512i)u);
#elif RSR_NATIVE == 8
    return (rsr_vh)_mm_packus_epi32(_mm256_castsi256_si128((__m256i)u),
                                    _mm256_extracti128_si256((__m256i)u, 1));
#else
    return __builtin_convertvector(u, rsr_vh);
#endif
}

RSR_INLINE rsr_vf rsr_from_bf16(rsr_vh h) {
    return (rsr_vf)(rsr_widen_bits(h) << 16);
}

/* Rounded to nearest, ties to even; what is beyond bfloat16 becomes infinity. x is not NaN: some
 * NaNs would become a zero. */
RSR_INLINE rsr_vh rsr_to_bf16(rsr_vf x) {
    const rsr_vu bits = (rsr_vu)x;
    return rsr_narrow_bits((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* Without an instruction for it: exponent and mantissa are shifted into place, and a multiplication
 * by 2^112 corrects the bias, which also normalises denormals exactly. Infinity and NaN get the
 * largest exponent. */
RSR_INLINE rsr_vf rsr_from_f16(rsr_vh h) {
#if RSR_NATIVE == 16
    return (rsr_vf)_mm512_cvtph_ps((__m256i)h);
#elif RSR_NATIVE == 8
    return (rsr_vf)_mm256_cvtph_ps((__m128i)h);
#elif defined(__aarch64__)
    return (rsr_vf)vcvt_f32_f16((float16x4_t)h);
#else
    rsr_vu bits = rsr_widen_bits(h);
    rsr_vu magnitude = (bits & 0x7fffu) << 13;
    rsr_vf value = (rsr_vf)magnitude * 0x1p112f;
    rsr_vi special = (rsr_vi)(magnitude >= 0x0f800000u);
    rsr_vi result = rsr_select_int(special, (rsr_vi)(magnitude | 0x7f800000u), (rsr_vi)value);
    return (rsr_vf)((rsr_vu)result | ((bits & 0x8000u) << 16));
#endif
}

/* ---- 16 lanes ---- */

RSR_INLINE struct rsr_f16 rsr_zero16(void) {
    struct rsr_f16 r;
    RSR_EACH_PART(i) r.part[i] = (rsr_vf){0};
    return r;
}

RSR_INLINE struct rsr_f16 rsr_load16(const float *p) {
    struct rsr_f16 r;
    RSR_EACH_PART(i) memcpy(&r.part[i], p + i * RSR_NATIVE, sizeof(rsr_vf));
    return r;
}

/* The first n < 16 elements, then zeros. */
RSR_INLINE struct rsr_f16 rsr_load_tail(const float *p, uint32_t n) {
    float padded[16] = {0};
    memcpy(padded, p, n * sizeof(float));
    return rsr_load16(padded);
}

RSR_INLINE struct rsr_f16 rsr_load16_bf16(const void *p) {
    struct rsr_f16 r;
    RSR_EACH_PART(i) {
        rsr_vh h;
        memcpy(&h, (const char *)p + (size_t)i * sizeof(h), sizeof(h));
        r.part[i] = rsr_from_bf16(h);
    }
    return r;
}

RSR_INLINE void rsr_store16_bf16(void *p, struct rsr_f16 x) {
    RSR_EACH_PART(i) {
        const rsr_vh h = rsr_to_bf16(x.part[i]);
        memcpy((char *)p + (size_t)i * sizeof(h), &h, sizeof(h));
    }
}

RSR_INLINE struct rsr_f16 rsr_load16_f16(const void *p) {
    struct rsr_f16 r;
    RSR_EACH_PART(i) {
        rsr_vh h;
        memcpy(&h, (const char *)p + (size_t)i * sizeof(h), sizeof(h));
        r.part[i] = rsr_from_f16(h);
    }
    return r;
}

/* By hand, because compilers widen 4 and 8 bytes one by one. */
RSR_INLINE struct rsr_f16 rsr_load16_int8(const void *p) {
    struct rsr_f16 r;
#if RSR_NATIVE == 16
    r.part[0] = (rsr_vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
#elif RSR_NATIVE == 8
    RSR_EACH_PART(i)
    r.part[i] = (rsr_vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(
        _mm_loadl_epi64((const __m128i *)(const void *)((const char *)p + 8 * i))));
#elif defined(__x86_64__)
    const __m128i zero = _mm_setzero_si128(), bytes = _mm_loadu_si128(p);
    const __m128i words[2] = {_mm_unpacklo_epi8(zero, bytes), _mm_unpackhi_epi8(zero, bytes)};
    RSR_EACH_PART(i) {
        const __m128i high = i % 2 == 0 ? _mm_unpacklo_epi16(zero, words[i / 2])
                                        : _mm_unpackhi_epi16(zero, words[i / 2]);
        r.part[i] = (rsr_vf)_mm_cvtepi32_ps(_mm_srai_epi32(high, 24));
    }
#elif defined(__aarch64__)
    const int8x16_t bytes = vld1q_s8(p);
    const int16x8_t words[2] = {vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)};
    RSR_EACH_PART(i)
    r.part[i] = (rsr_vf)vcvtq_f32_s32(i % 2 == 0 ? vmovl_s16(vget_low_s16(words[i / 2]))
                                                 : vmovl_high_s16(words[i / 2]));
#else
    RSR_EACH_PART(i) {
        rsr_vb bytes;
        memcpy(&bytes, (const char *)p + i * RSR_NATIVE, sizeof(bytes));
        r.part[i] = __builtin_convertvector(__builtin_convertvector(bytes, rsr_vi), rsr_vf);
    }
#endif
    return r;
}

/* The scale of a stored row; type is a constant at every call, here and below. */
RSR_INLINE float rsr_row_scale(const void *row, enum rsr_kv_type type, uint32_t row_floats) {
    float scale = 1.0f;
    if (type == RSR_KV_INT8)
        memcpy(&scale, (const char *)row + row_floats, sizeof(scale));
    return scale;
}

/* Elements d .. d + 15 of a stored row. */
RSR_INLINE struct rsr_f16 rsr_load_row16(const void *row, enum rsr_kv_type type, uint32_t d,
                                         float scale) {
    const char *at = (const char *)row + (size_t)d * rsr_kv_element_bytes(type);
    if (type == RSR_KV_F32)
        return rsr_load16((const float *)(const void *)at);
    if (type == RSR_KV_BF16)
        return rsr_load16_bf16(at);
    if (type == RSR_KV_F16)
        return rsr_load16_f16(at);
    struct rsr_f16 r = rsr_load16_int8(at);
    RSR_EACH_PART(i) r.part[i] = r.part[i] * scale;
    return r;
}

RSR_INLINE void rsr_store16(float *p, struct rsr_f16 x) {
    RSR_EACH_PART(i) memcpy(p + i * RSR_NATIVE, &x.part[i], sizeof(rsr_vf));
}

RSR_INLINE void rsr_store_tail(float *p, struct rsr_f16 x, uint32_t n) {
    float padded[16];
    rsr_store16(padded, x);
    memcpy(p, padded, n * sizeof(float));
}

/* 16 integers of -128..127 as bytes. GCC 12 narrows 4 and 8 lanes one by one. */
RSR_INLINE void rsr_store_bytes(int8_t *p, const rsr_vi *x) {
#if defined(__x86_64__) && RSR_NATIVE == 4
    __m128i low = _mm_packs_epi32((__m128i)x[0], (__m128i)x[1]);
    __m128i bytes = _mm_packs_epi16(low, _mm_packs_epi32((__m128i)x[2], (__m128i)x[3]));
    memcpy(p, &bytes, sizeof(bytes));
#elif defined(__x86_64__) && RSR_NATIVE == 8
    /* packs works on 128-bit halves: 0-3, 8-11, 4-7, 12-15 */
    __m256i words = _mm256_packs_epi32((__m256i)x[0], (__m256i)x[1]);
    words = _mm256_permute4x64_epi64(words, 0xd8);
    __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    memcpy(p, &bytes, sizeof(bytes));
#else
    RSR_EACH_PART(i) {
        rsr_vb bytes = __builtin_convertvector(x[i], rsr_vb);
        memcpy(p + i * RSR_NATIVE, &bytes, sizeof(bytes));
    }
#endif
}

/* a * b + acc, rounded once */
RSR_INLINE struct rsr_f16 rsr_add_product(struct rsr_f16 acc, struct rsr_f16 a, struct rsr_f16 b) {
    RSR_EACH_PART(i) acc.part[i] = rsr_fused(a.part[i], b.part[i], acc.part[i]);
    return acc;
}

RSR_INLINE struct rsr_f16 rsr_add_scaled(struct rsr_f16 acc, float a, struct rsr_f16 b) {
    RSR_EACH_PART(i) acc.part[i] = rsr_fused(rsr_splat(a), b.part[i], acc.part[i]);
    return acc;
}

/* Half 0 or 1 of x as doubles. GCC 12 would take the half through memory. */
RSR_INLINE rsr_vd rsr_widen_half(rsr_vf x, int half) {
#if RSR_NATIVE == 16
    return (rsr_vd)_mm512_cvtps_pd(half == 0 ? _mm512_castps512_ps256((__m512)x)
                                             : _mm512_extractf32x8_ps((__m512)x, 1));
#elif RSR_NATIVE == 8
    return (rsr_vd)_mm256_cvtps_pd(half == 0 ? _mm256_castps256_ps128((__m256)x)
                                             : _mm256_extractf128_ps((__m256)x, 1));
#else
    typedef float rsr_v2f __attribute__((vector_size(8)));
    const rsr_v2f lanes =
        half == 0 ? __builtin_shufflevector(x, x, 0, 1) : __builtin_shufflevector(x, x, 2, 3);
    return __builtin_convertvector(lanes, rsr_vd);
#endif
}

/* The first two levels of sum16: 16 lanes to 4. */
RSR_INLINE rsr_v4f rsr_fold4(struct rsr_f16 x) {
#if RSR_NATIVE == 4
    return (x.part[0] + x.part[2]) + (x.part[1] + x.part[3]);
#else
#if RSR_NATIVE == 8
    rsr_v8f h = x.part[0] + x.part[1];
#else
    rsr_v8f h = __builtin_shufflevector(x.part[0], x.part[0], 0, 1, 2, 3, 4, 5, 6, 7) +
                __builtin_shufflevector(x.part[0], x.part[0], 8, 9, 10, 11, 12, 13, 14, 15);
#endif
    return __builtin_shufflevector(h, h, 0, 1, 2, 3) + __builtin_shufflevector(h, h, 4, 5, 6, 7);
#endif
}

RSR_INLINE float rsr_sum16(struct rsr_f16 x) {
    rsr_v4f q = rsr_fold4(x);
    return (q[0] + q[2]) + (q[1] + q[3]);
}

/* The largest lane; a NaN may be ignored. */
RSR_INLINE float rsr_max16(struct rsr_f16 x) {
#if RSR_NATIVE == 16
    return _mm512_reduce_max_ps((__m512)x.part[0]);
#else
    rsr_vf most = x.part[0];
    for (int i = 1; i < RSR_PARTS; i++)
        most = rsr_larger(x.part[i], most);
    float lanes[RSR_NATIVE];
    memcpy(lanes, &most, sizeof(lanes));
    for (int n = RSR_NATIVE / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            lanes[i] = lanes[i + n] > lanes[i] ? lanes[i + n] : lanes[i];
    return lanes[0];
#endif
}

/* Four sum16 at once; result lane i belongs to x[i]. */
RSR_INLINE rsr_v4f rsr_sum16_of4(const struct rsr_f16 *x) {
    rsr_v4f a = rsr_fold4(x[0]), b = rsr_fold4(x[1]), c = rsr_fold4(x[2]), d = rsr_fold4(x[3]);
    /* (a0+a2, b0+b2, a1+a3, b1+b3) */
    rsr_v4f ab =
        __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
    rsr_v4f cd =
        __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
    return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) +
           __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

/* From every 128 bits: elements i and j of a, then k and l of b. */
#if RSR_NATIVE == 16
#define RSR_PICK(a, b, i, j, k, l)                                                                 \
    (rsr_vf) _mm512_shuffle_ps((__m512)(a), (__m512)(b), _MM_SHUFFLE(l, k, j, i))
#elif RSR_NATIVE == 8
#define RSR_PICK(a, b, i, j, k, l)                                                                 \
    (rsr_vf) _mm256_shuffle_ps((__m256)(a), (__m256)(b), _MM_SHUFFLE(l, k, j, i))
#else
#define RSR_PICK(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, 4 + (k), 4 + (l))
#endif

/* The first two levels of sum16 for one key in every 128 bits of a vector: the four sums that are
 * left of each key lie side by side. */
RSR_INLINE rsr_vf rsr_fold4_of_keys(const struct rsr_f16 *x) {
#if RSR_NATIVE == 16
    __m512 h[2];
    for (int i = 0; i < 2; i++) {
        const __m512d a = (__m512d)x[i].part[0], b = (__m512d)x[i + 2].part[0];
        h[i] = _mm512_add_ps((__m512)_mm512_mask_blend_pd(0xf0, a, b),
                             (__m512)_mm512_shuffle_f64x2(a, b, 0x4e));
    }
    /* keys 0 and 2; 1 and 3 */
    const __m512i odd = _mm512_setr_epi64(2, 3, 8, 9, 6, 7, 12, 13);
    return (rsr_vf)_mm512_add_ps(_mm512_mask_blend_ps(0xf0f0, h[0], h[1]),
                                 (__m512)_mm512_permutex2var_pd((__m512d)h[0], odd, (__m512d)h[1]));
#elif RSR_NATIVE == 8
    const __m256 a = (__m256)(x[0].part[0] + x[0].part[1]),
                 b = (__m256)(x[1].part[0] + x[1].part[1]);
    const __m256 swapped = _mm256_permute2f128_ps(a, b, 0x21);
    return (rsr_vf)_mm256_add_ps(_mm256_blend_ps(a, b, 0xf0), swapped);
#else
    return rsr_fold4(x[0]);
#endif
}

/* sum16 of four heads and one key in every 128 bits of a vector: lane 4 i + h belongs to
 * x[h][i]. */
RSR_INLINE rsr_vf rsr_sum16_by_key(const struct rsr_f16 *const *x) {
    rsr_vf s[2];
    for (int h = 0; h < 4; h += 2) {
        const rsr_vf a = rsr_fold4_of_keys(x[h]), b = rsr_fold4_of_keys(x[h + 1]);
        s[h / 2] = RSR_PICK(a, b, 0, 1, 0, 1) + RSR_PICK(a, b, 2, 3, 2, 3);
    }
    return RSR_PICK(s[0], s[1], 0, 2, 0, 2) + RSR_PICK(s[0], s[1], 1, 3, 1, 3);
}

/* Adds the 128-bit parts of x, each with a number of four heads, in the order of sum16. */
RSR_INLINE rsr_v4f rsr_sum_by_head(rsr_vf x) {
#if RSR_NATIVE == 4
    return x;
#else
#if RSR_NATIVE == 8
    const rsr_v8f h = x;
#else
    const rsr_v8f h =
        (rsr_v8f)_mm512_castps512_ps256((__m512)x) + (rsr_v8f)_mm512_extractf32x8_ps((__m512)x, 1);
#endif
    return (rsr_v4f)_mm256_castps256_ps128((__m256)h) +
           (rsr_v4f)_mm256_extractf128_ps((__m256)h, 1);
#endif
}

/* The largest number of each head, in every 128 bits. */
RSR_INLINE rsr_vf rsr_max_by_head(rsr_vf x) {
#if RSR_NATIVE == 16
    x = rsr_larger((rsr_vf)_mm512_shuffle_f32x4((__m512)x, (__m512)x, 0x4e), x);
    x = rsr_larger((rsr_vf)_mm512_shuffle_f32x4((__m512)x, (__m512)x, 0xb1), x);
#elif RSR_NATIVE == 8
    x = rsr_larger((rsr_vf)_mm256_permute2f128_ps((__m256)x, (__m256)x, 1), x);
#endif
    return x;
}

#endif
