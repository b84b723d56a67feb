/* ops_norm.c - RMS norm and the int8 quantisation of activations. */
#include <math.h>

#include "ops_functions.h"

#define SQUARES 64u /* partial sums of squares */

RSR_INLINE void add_squares(struct rsr_f16 *acc, const float *x) {
    for (uint32_t i = 0; i < SQUARES / 16; i++) {
        const struct rsr_f16 v = rsr_load16(x + (size_t)16 * i);
        acc[i] = rsr_add_product(acc[i], v, v);
    }
}

static float sum_of_squares(const float *x, uint32_t n) {
    struct rsr_f16 acc[SQUARES / 16] = {rsr_zero16(), rsr_zero16(), rsr_zero16(), rsr_zero16()};
    uint32_t i = 0;
    for (; i + SQUARES <= n; i += SQUARES)
        add_squares(acc, x + i);
    if (i < n) {
        float padded[SQUARES] = {0};
        memcpy(padded, x + i, (n - i) * sizeof(float));
        add_squares(acc, padded);
    }
    RSR_EACH_PART(k)
    acc[0].part[k] = (acc[0].part[k] + acc[2].part[k]) + (acc[1].part[k] + acc[3].part[k]);
    return rsr_sum16(acc[0]);
}

bool RSR_OPS(norm)(float *dst, const float *src, const float *weight, float eps, uint32_t n) {
    float sum = sum_of_squares(src, n);
    float r = 1.0f / sqrtf(sum / (float)n + eps);
    for (uint32_t i = 0; i < n; i++)
        dst[i] = weight[i] * (src[i] * r);
    return isfinite(sum);
}

void RSR_OPS(unit)(float *dst, const float *src, float scale, uint32_t n) {
    const float r = 1.0f / sqrtf(sum_of_squares(src, n) + RSR_UNIT_EPS);
    for (uint32_t i = 0; i < n; i++)
        dst[i] = (src[i] * r) * scale;
}

/* The bits of the largest |x|. Bits of non-negative floats order like the floats, with infinity and
 * NaN above all numbers, so every infinity and NaN is found. */
static uint32_t largest_magnitude_bits(const float *x, uint32_t n) {
    rsr_vi largest[RSR_PARTS] = {{0}};
    for (uint32_t i = 0; i < n; i += 16) {
        struct rsr_f16 v = i + 16 <= n ? rsr_load16(x + i) : rsr_load_tail(x + i, n - i);
        RSR_EACH_PART(k) {
            rsr_vi bits = (rsr_vi)v.part[k] & 0x7fffffff;
            largest[k] = rsr_select_int(bits > largest[k], bits, largest[k]);
        }
    }
    int32_t result = 0;
    RSR_EACH_PART(k)
    for (int lane = 0; lane < RSR_NATIVE; lane++)
        if (largest[k][lane] > result)
            result = largest[k][lane];
    return (uint32_t)result;
}

/* Quantises 16 floats into q and adds the integers to sum[]. */
RSR_INLINE void quantize16(int8_t *q, rsr_vi *sum, struct rsr_f16 x, float s) {
    const rsr_vi low = (rsr_vi){0} - 128, high = (rsr_vi){0} + 127;
    rsr_vi rounded[RSR_PARTS];
    RSR_EACH_PART(k) {
        rsr_vi r = (rsr_vi)(x.part[k] * s + RSR_ROUND_MAGIC) - 0x4b400000;
        r = rsr_select_int(r > high, high, r);
        r = rsr_select_int(r < low, low, r);
        sum[k] += r;
        rounded[k] = r;
    }
    rsr_store_bytes(q, rounded);
}

bool RSR_OPS(quantize)(struct rsr_act_row *dst, const float *src, uint32_t n) {
    int8_t *q = (int8_t *)dst + RSR_ACT_HEADER;
    size_t padded = ((size_t)n + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD;
    uint32_t bits = largest_magnitude_bits(src, n);
    if (bits >= 0x7f800000u) { /* infinity or NaN */
        dst->scale = 0.0f;
        dst->sum = 0;
        memset(q, 0, padded);
        return false;
    }
    float largest;
    memcpy(&largest, &bits, sizeof(largest));
    float s = (1.0f / (largest > 1e-5f ? largest : 1e-5f)) * 127.0f;

    rsr_vi sum[RSR_PARTS] = {{0}};
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16)
        quantize16(q + i, sum, rsr_load16(src + i), s);
    if (i < n) { /* the padding is at least 16 bytes here, and zeros quantise to zero */
        quantize16(q + i, sum, rsr_load_tail(src + i, n - i), s);
        i += 16;
    }
    memset(q + i, 0, padded - i);
    int32_t total = 0;
    RSR_EACH_PART(k)
    for (int lane = 0; lane < RSR_NATIVE; lane++)
        total += sum[k][lane];
    dst->scale = 1.0f / s;
    dst->sum = total;
    return true;
}
