/* ops_rotate.c - rotation of activations by signs and a blockwise Walsh-Hadamard matrix.
 *
 * Every result is that of the scalar order in ops.h: stages of pairs that are 1, 2, 4 ... apart, a
 * sum and a difference each. Stages within a vector swap its lanes and change signs, which rounds
 * nothing: u - v is u + (-v).
 */
#include <math.h>

#include "ops_functions.h"

#if RSR_NATIVE == 16
#define RSR_SWAP1 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14
#define RSR_SWAP2 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13
#define RSR_SWAP4 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11
#define RSR_SWAP8 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7
#elif RSR_NATIVE == 8
#define RSR_SWAP1 1, 0, 3, 2, 5, 4, 7, 6
#define RSR_SWAP2 2, 3, 0, 1, 6, 7, 4, 5
#define RSR_SWAP4 4, 5, 6, 7, 0, 1, 2, 3
#else
#define RSR_SWAP1 1, 0, 3, 2
#define RSR_SWAP2 2, 3, 0, 1
#endif

/* The sign bit in every lane that has the bit `distance`. */
RSR_INLINE rsr_vi second_of_pair(int distance) {
    rsr_vi sign;
    for (int lane = 0; lane < RSR_NATIVE; lane++)
        sign[lane] = (lane & distance) != 0 ? INT32_MIN : 0;
    return sign;
}

RSR_INLINE rsr_vf combine(rsr_vf x, rsr_vf swapped, int distance) {
    return swapped + (rsr_vf)((rsr_vi)x ^ second_of_pair(distance));
}

/* The stages of pairs within a vector. */
RSR_INLINE rsr_vf rotate_lanes(rsr_vf x) {
    x = combine(x, __builtin_shufflevector(x, x, RSR_SWAP1), 1);
    x = combine(x, __builtin_shufflevector(x, x, RSR_SWAP2), 2);
#if RSR_NATIVE > 4
    x = combine(x, __builtin_shufflevector(x, x, RSR_SWAP4), 4);
#endif
#if RSR_NATIVE > 8
    x = combine(x, __builtin_shufflevector(x, x, RSR_SWAP8), 8);
#endif
    return x;
}

RSR_INLINE rsr_vf load(const float *p) {
    rsr_vf x;
    memcpy(&x, p, sizeof(x));
    return x;
}

RSR_INLINE void store(float *p, rsr_vf x) {
    memcpy(p, &x, sizeof(x));
}

/* A stage of pairs that are a multiple of a vector apart. */
static void rotate_vectors(float *x, uint32_t n, uint32_t distance) {
    for (uint32_t i = 0; i < n; i += 2 * distance)
        for (uint32_t j = i; j < i + distance; j += RSR_NATIVE) {
            const rsr_vf u = load(x + j), v = load(x + j + distance);
            store(x + j, u + v);
            store(x + j + distance, u - v);
        }
}

/* A block that is shorter than a vector. */
static void rotate_short(float *x, uint32_t n) {
    for (uint32_t distance = 1; distance < n; distance *= 2)
        for (uint32_t i = 0; i < n; i++)
            if ((i & distance) == 0) {
                const float u = x[i], v = x[i + distance];
                x[i] = u + v;
                x[i + distance] = u - v;
            }
}

/* x[n] = signs * x, or x without signs, times the factor. */
static void prepare(float *dst, const float *src, const float *signs, float factor, uint32_t n) {
    if (signs == NULL)
        for (uint32_t i = 0; i < n; i++)
            dst[i] = src[i] * factor;
    else
        for (uint32_t i = 0; i < n; i++)
            dst[i] = (src[i] * signs[i]) * factor;
}

void RSR_OPS(rotate)(float *dst, const float *src, const struct rsr_rotation *rotation,
                     bool inverse) {
    const uint32_t n = rotation->block;
    const float factor = 1.0f / sqrtf((float)n);
    prepare(dst, src, inverse ? NULL : rotation->signs, factor, rotation->cols);
    for (float *x = dst; x < dst + rotation->cols; x += n) {
        if (n < RSR_NATIVE) {
            rotate_short(x, n);
            continue;
        }
        for (uint32_t i = 0; i < n; i += RSR_NATIVE)
            store(x + i, rotate_lanes(load(x + i)));
        for (uint32_t distance = RSR_NATIVE; distance < n; distance *= 2)
            rotate_vectors(x, n, distance);
    }
    for (uint32_t i = 0; inverse && rotation->signs != NULL && i < rotation->cols; i++)
        dst[i] = dst[i] * rotation->signs[i];
}
