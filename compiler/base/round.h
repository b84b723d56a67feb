/* round.h - rounding up to units, and powers of two. */
#ifndef RSRC_BASE_ROUND_H
#define RSRC_BASE_ROUND_H

#include <stdint.h>

/* n / unit, rounded up; unit >= 1. No sum overflows on the way. */
static inline uint32_t rsrc_divide_up(uint32_t n, uint32_t unit) {
    return n / unit + (n % unit != 0);
}

static inline uint64_t rsrc_divide_up64(uint64_t n, uint64_t unit) {
    return n / unit + (n % unit != 0);
}

static inline uint64_t rsrc_power(uint32_t base, uint32_t exponent) {
    uint64_t result = 1;
    while (exponent-- > 0)
        result *= base;
    return result;
}

/* The first multiple of unit from n on, which must be below 2^64. */
static inline uint64_t rsrc_round_up(uint64_t n, uint64_t unit) {
    return rsrc_divide_up64(n, unit) * unit;
}

#endif
