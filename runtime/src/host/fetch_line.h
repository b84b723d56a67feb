/* fetch_line.h - prefetching memory that is read soon. */
#ifndef RSR_FETCH_LINE_H
#define RSR_FETCH_LINE_H

#include <stdbool.h>

/* GCC drops calls of functions that only prefetch, because to it they do nothing; inlining avoids
 * this. */
#define RSR_FETCHER static inline __attribute__((always_inline))

/* Prefetches a cache line: `far` to the L2 cache only, otherwise to the L1 cache as well. `far` is
 * the result of rsr_detect_far_fetches(), or a constant. */
RSR_FETCHER void rsr_fetch_line(const void *line, bool far) {
    if (far)
        __builtin_prefetch(line, 0, 2);
    else
        __builtin_prefetch(line, 0, 3);
}

#endif
