/* mpi_watch.h - a thread that notices when another rank's process stops to answer, as one does that
 * is suspended, or whose machine is gone. */
#ifndef RSR_MPI_WATCH_H
#define RSR_MPI_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/* Begins to exchange signs of life: rank 0 with every rank, and they with rank 0. If one is silent
 * for silent_ms, a sentence on stderr, which begins with `program`, names it, and all ranks end.
 * False: there is no thread. */
bool mpi_watch_begin(const char *program, uint32_t silent_ms);
/* Every rank must call it, if it has begun; else it does nothing. */
void mpi_watch_end(void);

#endif
