/* sketch_round.h - directed rounding without touching the rounding mode: round to nearest, then
 * step to the neighbour. The exact result is at most half a step away, so the neighbour is on its
 * far side. */
#ifndef RSR_SKETCH_ROUND_H
#define RSR_SKETCH_ROUND_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* The next double above x; infinity and NaN stay. */
static inline double rsr_round_up(double x) {
    uint64_t bits;
    if (!(x < INFINITY))
        return x;
    if (x == 0.0)
        return 0x1p-1074;
    memcpy(&bits, &x, sizeof(bits));
    bits = x > 0.0 ? bits + 1 : bits - 1;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

static inline double rsr_round_down(double x) {
    return -rsr_round_up(-x);
}

/* At least as large as rsr_round_up(x), without branches; kernels use it. -infinity becomes NaN. */
static inline double rsr_step_up(double x) {
    const double step = fabs(x) * 0x1p-52;
    return x + (step > 0x1p-1022 ? step : 0x1p-1022);
}

/* The smallest float32 >= x. */
static inline float rsr_float_up(double x) {
    const float f = (float)x;
    if (!((double)f < x))
        return f;
    if (f == 0.0f)
        return 0x1p-149f;
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    bits = f > 0.0f ? bits + 1 : bits - 1; /* from -infinity to the lowest finite number, too */
    float next;
    memcpy(&next, &bits, sizeof(next));
    return next;
}

/* The largest float32 <= x. */
static inline float rsr_float_down(double x) {
    return -rsr_float_up(-x);
}

/* "UP" of sketch.h: raises a result of fewer than 2^14 operations on non-negative doubles to at
 * least the exact value. */
static inline double rsr_sum_up(double sum) {
    return sum * (1.0 + 0x1p-36);
}

#endif
