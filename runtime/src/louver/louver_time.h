/* louver_time.h - what a pass takes, in units of a key and value that are read in order and
 * attended to by the heads of the pass. The choices that follow from it change which keys are
 * attended to, so they are the same on every machine: the model has no clock, and does not know the
 * machine. tests/bench/louver_worth.c measures what it says.
 */
#ifndef RSR_LOUVER_TIME_H
#define RSR_LOUVER_TIME_H

#include "louver.h"

/* A key and value that are read apart from their neighbours: 2 to 4 on a Zen 3 with AVX2, the
 * more, the fewer they are in a page. */
#define LOUVER_ROW_TIME 2.4

/* A page of which n keys stay for some head. When single keys take as long as all, all stay. */
static inline double louver_page_time(double n) {
    return fmin(LOUVER_ROW_TIME * n, RSR_PAGE_TOKENS);
}
static inline bool louver_is_whole(uint32_t n) {
    return louver_page_time(n) >= RSR_PAGE_TOKENS;
}

/* The sketch of a key, by its bytes: with AVX-512 its bounds take little longer than that. */
static inline double louver_sketch_time(const struct louver_setup *setup) {
    const double planes = 18.0 + (setup->shape.n_planes > 1 ? 17.0 : 0.0);
    return planes * setup->shape.n_slices / (2.0 * (double)setup->kv.row_bytes);
}

#endif
