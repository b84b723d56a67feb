/* near_name.h - for "did you mean": finds the name that is closest to a misspelt one. */
#ifndef RSR_NEAR_NAME_H
#define RSR_NEAR_NAME_H

#include <stddef.h>

struct rsr_near_name {
    char given[32];
    const char *closest; /* NULL: none is close */
    size_t distance;
};

struct rsr_near_name rsr_near_name_of(const char *given, size_t n_bytes);
/* `name` outlives the answer. */
void rsr_near_name_try(struct rsr_near_name *near, const char *name);

#endif
