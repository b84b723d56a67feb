/* near_name.c - see near_name.h. */
#include <stdint.h>
#include <string.h>

#include "near_name.h"

/* Levenshtein distance of two words of at most 31 bytes. */
static size_t distance(const char *a, const char *b) {
    size_t row[32], n = strlen(a), m = strlen(b);
    if (n > 31 || m > 31)
        return SIZE_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[m];
}

struct rsr_near_name rsr_near_name_of(const char *given, size_t n_bytes) {
    struct rsr_near_name near = {.distance = 3};
    if (n_bytes < sizeof(near.given))
        memcpy(near.given, given, n_bytes);
    return near;
}

void rsr_near_name_try(struct rsr_near_name *near, const char *name) {
    const size_t d = distance(near->given, name);
    if (d < near->distance && d < strlen(name) - 1) {
        near->distance = d;
        near->closest = name;
    }
}
