/* mpi_transport.h - ranks of MPI as an rsr_transport. One for a process.
 *
 * While it is there, a thread exchanges signs of life with other ranks. A rank that is silent for
 * MPI_SILENT_MS ends all ranks with a sentence that names it. (If a rank's process ends, mpirun
 * ends the others.) */
#ifndef RSR_MPI_TRANSPORT_H
#define RSR_MPI_TRANSPORT_H

#include <stdbool.h>

#include "rsr.h"

#define MPI_SILENT_MS 3000u

/* Starts MPI. False after a message. */
bool mpi_transport_begin(int *argc, char ***argv, rsr_transport *transport);
/* Every exchange takes this much longer from now on, as in a slower network. */
void mpi_transport_delay(uint32_t us);
/* All ranks measure a gather of `bytes` among the first n_ranks, or a broadcast. Give the time in
 * ns, in rank 0. */
double mpi_transport_time_gather(uint32_t n_ranks, size_t bytes);
double mpi_transport_time_bcast(uint32_t n_ranks, size_t bytes);
/* Whether there was a gather, which all ranks took part in. */
bool mpi_transport_has_gathered(void);
/* Whether an exchange has failed: MPI cannot be ended in an orderly way. */
bool mpi_transport_failed(void);
/* Ends MPI; every rank must call it. */
void mpi_transport_end(void);
/* Ends all ranks at once, with the exit status 1. */
_Noreturn void mpi_transport_abort(void);

#endif
