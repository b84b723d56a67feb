/* fetch_line.h - asking for memory that is read soon. */
#ifndef RSR_FETCH_LINE_H
#define RSR_FETCH_LINE_H

#include <stdbool.h>

/* GCC takes a function that does nothing but fetch for one that does nothing, and drops its
 * calls. */
#define RSR_FETCHER static inline __attribute__((always_inline))

/* Brings a line of memory near: to the second cache, or the first, too. `far` is what
 * rsr_detect_far_fetches() tells, or a constant. */
RSR_FETCHER void rsr_fetch_line(const void *line, bool far) {
    if (far)
        __builtin_prefetch(line, 0, 2);
    else
        __builtin_prefetch(line, 0, 3);
}

#endif
