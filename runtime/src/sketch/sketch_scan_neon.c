/* sketch_scan_neon.c - the kernels with NEON, and with its dot products of bytes. Integers are
 * exact and every lane does what the portable kernel does, so the bits are the same. */
#include "sketch_scan.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <string.h>

/* Compilers accept these instructions from this version of the architecture on. */
#define TARGET_DOT __attribute__((target("arch=armv8.2-a+dotprod")))
#define QUADS (RSR_SKETCH_LANES / 4)

static int8x16_t load_word(const int8_t *bytes) {
    int32_t word;
    memcpy(&word, bytes, sizeof(word));
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

static int8x16_t low_digits(uint8x16_t bytes) {
    return vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15)));
}

static int8x16_t high_digits(uint8x16_t bytes) {
    return vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4));
}

/* ---- The first plane: 4 lanes a vector ---- */

/* rsr_sketch_decode of 4 codes, as floats: from 16 on a code is the top of a float's bits. */
static float32x4_t decode4(uint32x4_t codes) {
    const uint32x4_t large = vshlq_n_u32(vaddq_u32(codes, vdupq_n_u32((127 + 3) * 16)), 19);
    return vbslq_f32(vcltq_u32(codes, vdupq_n_u32(16)), vcvtq_f32_u32(codes),
                     vreinterpretq_f32_u32(large));
}

static void decode16(const uint8_t *bytes, float32x4_t *values) {
    const uint8x16_t codes = vld1q_u8(bytes);
    const uint16x8_t low = vmovl_u8(vget_low_u8(codes)), high = vmovl_high_u8(codes);
    values[0] = decode4(vmovl_u16(vget_low_u16(low)));
    values[1] = decode4(vmovl_high_u16(low));
    values[2] = decode4(vmovl_u16(vget_low_u16(high)));
    values[3] = decode4(vmovl_high_u16(high));
}

/* Products are at most 15 * 127, and eight of them below 2^15: int16 does not overflow. */
static int32x4_t dot_quad(const uint8_t *codes, const int8_t *q) {
    int16x8_t low = vdupq_n_s16(0), high = low;
    for (uint32_t w = 0; w < 4; w++) {
        const uint8x16_t bytes = vld1q_u8(codes + (size_t)w * 64);
        const int8x16_t a = low_digits(bytes), b = high_digits(bytes);
        const int8x16_t qa = load_word(q + 4 * w), qb = load_word(q + 16 + 4 * w);
        low = vmlal_s8(low, vget_low_s8(a), vget_low_s8(qa));
        low = vmlal_s8(low, vget_low_s8(b), vget_low_s8(qb));
        high = vmlal_high_s8(high, a, qa);
        high = vmlal_high_s8(high, b, qb);
    }
    return vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
}

TARGET_DOT static int32x4_t dot_quad_dotprod(const uint8_t *codes, const int8_t *q) {
    int32x4_t low = vdupq_n_s32(0), high = low;
    for (uint32_t w = 0; w < 4; w++) {
        const uint8x16_t bytes = vld1q_u8(codes + (size_t)w * 64);
        low = vdotq_s32(low, low_digits(bytes), load_word(q + 4 * w));
        high = vdotq_s32(high, high_digits(bytes), load_word(q + 16 + 4 * w));
    }
    return vaddq_s32(low, high);
}

/* Adds a slice to t and estimates of 16 vectors; `dots` are those of its codes, each plus 8. */
static void add_slice(const struct rsr_sketch_shape *shape, const uint8_t *block,
                      const struct rsr_sketch_query *query, uint32_t group, uint32_t slice,
                      const int32x4_t *dots, float32x4_t *t, float32x4_t *estimates) {
    const size_t lanes_at = (size_t)slice * RSR_SKETCH_VECTORS + group * RSR_SKETCH_LANES;
    float32x4_t scales[QUADS], residuals[QUADS];
    decode16(block + shape->scales_at + lanes_at, scales);
    decode16(block + shape->residual_at[0] + lanes_at, residuals);
    for (uint32_t i = 0; i < QUADS; i++) {
        const int32x4_t dot = vsubq_s32(dots[i], vdupq_n_s32(query->sums[slice]));
        const float32x4_t product = vmulq_f32(vcvtq_f32_s32(dot), scales[i]);
        const float32x4_t term = vmulq_n_f32(product, query->scale[0][slice]);
        estimates[i] = vaddq_f32(estimates[i], term);
        t[i] = vaddq_f32(t[i], term);
        t[i] = vaddq_f32(t[i], vmulq_n_f32(residuals[i], query->norms[slice]));
    }
}

static void store_lanes(float *t, const float32x4_t *sums) {
    for (uint32_t i = 0; i < QUADS; i++)
        vst1q_f32(t + 4 * i, sums[i]);
}

static const uint8_t *slice_codes(const struct rsr_sketch_shape *shape, const uint8_t *block,
                                  uint32_t group, uint32_t slice) {
    return block + shape->plane_at[0] + 4 * rsr_sketch_lane_word(shape, group, slice, 0);
}

static void estimate_neon(const struct rsr_sketch_shape *shape, const void *block,
                          const struct rsr_sketch_query *query, uint32_t group, float *t,
                          float *estimates) {
    float32x4_t sums[QUADS] = {{0.0f}}, estimated[QUADS] = {{0.0f}};
    for (uint32_t s = 0; s < shape->n_slices; s++) {
        const uint8_t *codes = slice_codes(shape, block, group, s);
        int32x4_t dots[QUADS];
        for (uint32_t i = 0; i < QUADS; i++)
            dots[i] = dot_quad(codes + 16 * i, query->codes + (size_t)s * RSR_SKETCH_SLICE);
        add_slice(shape, block, query, group, s, dots, sums, estimated);
    }
    store_lanes(t, sums);
    store_lanes(estimates, estimated);
}

void rsr_sketch_scan_neon(const struct rsr_sketch_shape *shape, const void *block,
                          const struct rsr_sketch_query *query, uint32_t group, float *t) {
    float estimates[RSR_SKETCH_LANES];
    estimate_neon(shape, block, query, group, t, estimates);
}

TARGET_DOT static void estimate_dotprod(const struct rsr_sketch_shape *shape, const void *block,
                                        const struct rsr_sketch_query *query, uint32_t group,
                                        float *t, float *estimates) {
    float32x4_t sums[QUADS] = {{0.0f}}, estimated[QUADS] = {{0.0f}};
    for (uint32_t s = 0; s < shape->n_slices; s++) {
        const uint8_t *codes = slice_codes(shape, block, group, s);
        int32x4_t dots[QUADS];
        for (uint32_t i = 0; i < QUADS; i++)
            dots[i] = dot_quad_dotprod(codes + 16 * i, query->codes + (size_t)s * RSR_SKETCH_SLICE);
        add_slice(shape, block, query, group, s, dots, sums, estimated);
    }
    store_lanes(t, sums);
    store_lanes(estimates, estimated);
}

void rsr_sketch_scan_dotprod(const struct rsr_sketch_shape *shape, const void *block,
                             const struct rsr_sketch_query *query, uint32_t group, float *t) {
    float estimates[RSR_SKETCH_LANES];
    estimate_dotprod(shape, block, query, group, t, estimates);
}

void rsr_sketch_sieve_neon(const struct rsr_sketch_shape *shape, const void *block,
                           const struct rsr_sketch_query *const *queries, uint32_t n,
                           const float *floors, uint64_t *vectors, const void *next) {
    (void)next;
    rsr_sketch_sieve_by(rsr_sketch_scan_neon, shape, block, queries, n, floors, vectors);
}

void rsr_sketch_sieve_dotprod(const struct rsr_sketch_shape *shape, const void *block,
                              const struct rsr_sketch_query *const *queries, uint32_t n,
                              const float *floors, uint64_t *vectors, const void *next) {
    (void)next;
    rsr_sketch_sieve_by(rsr_sketch_scan_dotprod, shape, block, queries, n, floors, vectors);
}

void rsr_sketch_bounds_neon(const struct rsr_sketch_shape *shape, const void *block,
                            const struct rsr_sketch_query *const *queries, uint32_t n, float *t,
                            float *estimates, size_t stride, const void *next) {
    rsr_sketch_bounds_by(estimate_neon, shape, block, queries, n, t, estimates, stride, next);
}

void rsr_sketch_bounds_dotprod(const struct rsr_sketch_shape *shape, const void *block,
                               const struct rsr_sketch_query *const *queries, uint32_t n, float *t,
                               float *estimates, size_t stride, const void *next) {
    rsr_sketch_bounds_by(estimate_dotprod, shape, block, queries, n, t, estimates, stride, next);
}

/* ---- Both planes, one vector ---- */

/* Dots of 16 slices, 4 slices in a SIMD vector. */
static void team_dots_neon(const uint64_t *signs, const int8_t *q, int32_t *dots) {
    const uint8x16_t own =
        vcombine_u8(vcreate_u8(0x8040201008040201), vcreate_u8(0x8040201008040201));
    for (uint32_t quad = 0; quad < 4; quad++) {
        int16x8_t pairs = vdupq_n_s16(0);
        for (uint32_t w = 0; w < 8; w++) {
            const uint64_t bits = signs[w] >> 16 * quad;
            const uint8x16_t copies =
                vcombine_u8(vdup_n_u8((uint8_t)bits), vdup_n_u8((uint8_t)(bits >> 8)));
            const int8x16_t codes = vld1q_s8(q + (size_t)(4 * w + quad) * 16);
            const int8x16_t kept = vandq_s8(codes, vreinterpretq_s8_u8(vtstq_u8(copies, own)));
            pairs = vpadalq_s8(pairs, kept);
        }
        vst1q_s32(dots + (size_t)4 * quad, vpaddlq_s16(pairs));
    }
}

void rsr_sketch_sharpen_neon(const struct rsr_sketch_query *query, struct rsr_sketch_teams teams,
                             const struct rsr_sketch_gain *const *gains, uint32_t n, float *t) {
    rsr_sketch_sharpen_by(team_dots_neon, query, teams, gains, n, t);
}

/* The products of 32 digits, each plus 8, with the query's codes: four of them fit int16. */
static int32_t dot_digits(uint8x16_t bytes, const int8_t *q) {
    const int8x16_t low = low_digits(bytes), high = high_digits(bytes);
    const int8x16_t qa = vld1q_s8(q), qb = vld1q_s8(q + 16);
    int16x8_t sum = vmull_s8(vget_low_s8(low), vget_low_s8(qa));
    sum = vmlal_high_s8(sum, low, qa);
    sum = vmlal_s8(sum, vget_low_s8(high), vget_low_s8(qb));
    return vaddlvq_s16(vmlal_high_s8(sum, high, qb));
}

static float refine_one(const struct rsr_sketch_shape *shape, const void *memory,
                        const struct rsr_sketch_query *query, uint32_t vector) {
    const uint8_t *block = memory;
    const uint32_t group = vector / RSR_SKETCH_LANES, lane = vector % RSR_SKETCH_LANES;
    int32_t dots[RSR_SKETCH_MAX_DIM / RSR_SKETCH_SLICE];
    for (uint32_t s = 0; s < shape->n_slices; s++) {
        const uint8_t *first = slice_codes(shape, block, group, s) + (size_t)4 * lane;
        const uint8_t *second =
            block + shape->plane_at[1] + 4 * rsr_sketch_vector_word(shape, vector, s);
        const int8_t *q = query->codes + (size_t)s * RSR_SKETCH_SLICE;
        uint8_t words[16];
        for (uint32_t w = 0; w < 4; w++)
            memcpy(words + 4 * w, first + (size_t)w * 64, 4);
        dots[s] = 16 * dot_digits(vld1q_u8(words), q) + dot_digits(vld1q_u8(second), q);
    }
    return rsr_sketch_refined(shape, block, query, vector, dots);
}

void rsr_sketch_refine_neon(const struct rsr_sketch_shape *shape, const void *block,
                            const struct rsr_sketch_query *query, uint64_t vectors, float *t) {
    rsr_sketch_refine_by(refine_one, shape, block, query, vectors, t);
}

void rsr_sketch_refine_all_neon(const struct rsr_sketch_shape *shape, const void *block,
                                const struct rsr_sketch_query *const *queries, uint32_t n, float *t,
                                size_t stride) {
    rsr_sketch_refine_all_by(rsr_sketch_refine_neon, shape, block, queries, n, t, stride);
}

#endif
