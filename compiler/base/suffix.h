/* suffix.h - how a text ends. */
#ifndef RSRC_BASE_SUFFIX_H
#define RSRC_BASE_SUFFIX_H

#include <stdbool.h>
#include <string.h>

/* True also if the text equals the suffix. */
static inline bool rsrc_ends_with(const char *text, const char *suffix) {
    const size_t n = strlen(text), n_suffix = strlen(suffix);
    return n >= n_suffix && strcmp(text + n - n_suffix, suffix) == 0;
}

#endif
