/* sample_math.c - noise and the two functions that sampling needs, free of libm.
 *
 * libm's log and exp differ between versions in the last bit, and a last bit can decide which token
 * is drawn. These use IEEE additions, multiplications and divisions only.
 */
#include <string.h>

#include "sample.h"

#define LN2_HIGH 0x1.62e42fee00000p-1 /* the upper 33 bits of ln 2: exact times any exponent */
#define LN2_LOW 0x1.a39ef35793c76p-33
#define LOG2_E 0x1.71547652b82fep+0
#define SQRT_HALF 0x1.6a09e667f3bcdp-1

/* x = m 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| <
 * 0.1716: the first term left out of the series is below 2^-56 of the sum. */
double rsr_log(double x) {
    int exponent_bias = 0;
    if (x < 0x1p-1022) { /* subnormal */
        x *= 0x1p54;
        exponent_bias = -54;
    }
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    int exponent = (int)(bits >> 52) - 1022 + exponent_bias;
    bits = (bits & UINT64_C(0x000fffffffffffff)) | UINT64_C(0x3fe0000000000000);
    double m;
    memcpy(&m, &bits, sizeof(m)); /* [1/2, 1) */
    if (m < SQRT_HALF) {
        m *= 2;
        exponent--;
    }
    double s = (m - 1) / (m + 1), s2 = s * s;
    double series = 0;
    for (int k = 21; k >= 3; k -= 2)
        series = (series + 1.0 / k) * s2;
    double e = exponent;
    return e * LN2_HIGH + (2 * s + (2 * s * series + e * LN2_LOW));
}

/* x = k ln 2 + r, |r| <= ln 2 / 2; e^r by its series to r^13. */
double rsr_exp_negative(double x) {
    if (x < -708)
        return 0;
    int k = (int)(x * LOG2_E - 0.5);
    double r = (x - k * LN2_HIGH) - k * LN2_LOW;
    double series = 1;
    for (int n = 13; n >= 1; n--)
        series = 1 + series * r / n;
    uint64_t bits = (uint64_t)(k + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof(power));
    return series * power;
}

/* The finaliser of SplitMix64. */
static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

uint64_t rsr_noise_key(uint64_t seed, uint64_t sequence_id, uint64_t position) {
    uint64_t z = mix(seed + GOLDEN);
    z = mix((z ^ sequence_id) + GOLDEN);
    return mix((z ^ position) + GOLDEN);
}

double rsr_noise(uint64_t key, uint32_t token) {
    const uint64_t z = mix((key ^ token) + GOLDEN);
    /* 52 bits and a half are exact; with one bit more, the largest would round to 1. */
    return ((double)(z >> 12) + 0.5) * 0x1p-52;
}

double rsr_gumbel(uint64_t key, uint32_t token) {
    return -rsr_log(-rsr_log(rsr_noise(key, token)));
}

/* For u in (0, 1): -log(-log u) <= -log(1 - u), for -log u >= 1 - u, which is exact. A positive
 * double 2^e (1 + f) has the bits of 2^52 (e + f + 1023), and log2(1 + f) >= f. The rest covers the
 * roundings here and in rsr_gumbel, whose logarithms are within 2 ulp. */
double rsr_gumbel_bound(uint64_t key, uint32_t token) {
    const double rest = 1.0 - rsr_noise(key, token);
    int64_t bits;
    memcpy(&bits, &rest, sizeof(bits));
    const double log2_bound = (double)((INT64_C(1023) << 52) - bits) * 0x1p-52;
    return log2_bound * (0x1.62e42fefa39efp-1 * (1.0 + 0x1p-40)) + 0x1p-30;
}
