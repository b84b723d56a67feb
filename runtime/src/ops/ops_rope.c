/* ops_rope.c - rotary position embedding: the table of one position, and the rotation. */
#include "ops_functions.h"

/* sin and cos of |r| <= pi/4 (a little more does no harm), the polynomials of fdlibm's k_sin.c and
 * k_cos.c: far below half an ulp of float32. */
static double sin_small(double r) {
    double z = r * r;
    double p = -2.50507602534068634195e-08 + z * 1.58969099521155010221e-10;
    p = 2.75573137070700676789e-06 + z * p;
    p = -1.98412698298579493134e-04 + z * p;
    p = 8.33333333332248946124e-03 + z * p;
    p = -1.66666666666666324348e-01 + z * p;
    return r + r * (z * p);
}

static double cos_small(double r) {
    double z = r * r;
    double p = 2.08757232129817482790e-09 + z * -1.13596475577881948265e-11;
    p = -2.75573143513906633035e-07 + z * p;
    p = 2.48015872894767294178e-05 + z * p;
    p = -1.38888888888741095749e-03 + z * p;
    p = 4.16666666666666019037e-02 + z * p;
    return (1.0 - 0.5 * z) + z * (z * p);
}

/* Angles are below 2^24 (the loader bounds the context), so the quadrant k is too, and k times a
 * piece of pi/2 with 28 significant bits is exact in double. */
static void sin_cos(float angle, float *sine, float *cosine) {
    const double piece1 = 0x1.921fb5p+0, piece2 = 0x1.110b46p-26, piece3 = 0x1.1a62633145c07p-54;
    double x = (double)angle;
    double k = x * 6.36619772367581382433e-01 + 0x1.8p52; /* 2/pi; 1.5 * 2^52 rounds to integer */
    k = k - 0x1.8p52;
    double r = ((x - k * piece1) - k * piece2) - k * piece3;
    double s = sin_small(r), c = cos_small(r);
    switch ((int64_t)k & 3) {
    case 0:
        *sine = (float)s;
        *cosine = (float)c;
        break;
    case 1:
        *sine = (float)c;
        *cosine = (float)-s;
        break;
    case 2:
        *sine = (float)-s;
        *cosine = (float)-c;
        break;
    default:
        *sine = (float)-c;
        *cosine = (float)s;
        break;
    }
}

void RSR_OPS(rope_table)(float *dst, const struct rsr_rope *rope, uint32_t head_dim,
                         uint32_t position) {
    uint32_t half = head_dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        sin_cos(rope->inv_freq[i] * (float)position, &dst[half + i], &dst[i]);
        dst[i] = dst[i] * rope->scale;
        dst[half + i] = dst[half + i] * rope->scale;
    }
}

void RSR_OPS(rope)(float *dst, const float *src, const float *table, uint32_t head_dim) {
    uint32_t half = head_dim / 2;
    const float *cosine = table, *sine = table + half;
    for (uint32_t i = 0; i < half; i++) {
        float x1 = src[i], x2 = src[half + i];
        dst[i] = x1 * cosine[i] - x2 * sine[i];
        dst[half + i] = x2 * cosine[i] + x1 * sine[i];
    }
}
