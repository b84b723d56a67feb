/* rank_file.h - a rank's own file, of a name that was given to all ranks: rsr-mpi and rsr-serve. */
#ifndef RSR_RANK_FILE_H
#define RSR_RANK_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Writes the name, in which every %r becomes the rank's number. False: it is longer. */
static inline bool rank_file_of(const char *name, uint32_t rank, char *file, size_t capacity) {
    size_t n = 0;
    file[0] = '\0';
    for (const char *c = name; *c != '\0';) {
        const bool is_rank = c[0] == '%' && c[1] == 'r';
        const size_t left = capacity - n;
        const int put =
            is_rank ? snprintf(file + n, left, "%u", rank) : snprintf(file + n, left, "%c", *c);
        if ((size_t)put >= left)
            return false;
        n += (size_t)put;
        c += is_rank ? 2 : 1;
    }
    return true;
}

#endif
