/* mpi_transport.h - ranks of MPI as an rsr_transport.
 *
 * While MPI runs, a thread exchanges signs of life with other ranks. A rank that is silent for
 * MPI_SILENT_MS ends all ranks with a sentence that names it. (If a rank's process ends, mpirun
 * ends the others.) An exchange that fails ends all ranks, too. */
#ifndef RSR_MPI_TRANSPORT_H
#define RSR_MPI_TRANSPORT_H

#include <stdbool.h>

#include "rsr.h"

#define MPI_SILENT_MS 3000u

/* Starts MPI. Messages begin with `program`, which must live as long. False after a message. */
bool mpi_transport_begin(const char *program);
/* A transport for one engine, which lives until mpi_transport_end(). All ranks call it, in the same
 * order for several engines. */
void mpi_transport_open(rsr_transport *transport);
/* The number of ranks on this machine, this one included. */
uint32_t mpi_transport_neighbours(void);
/* From now on a rank that waits sleeps: its CPUs have other work meanwhile. */
void mpi_transport_sleep(void);
/* Every exchange takes this much longer from now on, as in a slower network. */
void mpi_transport_delay(uint32_t us);
/* All ranks measure a gather of `bytes` among the first n_ranks, or a broadcast. Give the time in
 * ns, in rank 0. */
double mpi_transport_time_gather(uint32_t n_ranks, size_t bytes);
double mpi_transport_time_bcast(uint32_t n_ranks, size_t bytes);
/* Whether there was a gather, which all ranks took part in. */
bool mpi_transport_has_gathered(void);
/* Ends MPI; every rank must call it. */
void mpi_transport_end(void);
/* Ends all ranks at once, with the exit status 1. */
_Noreturn void mpi_transport_abort(void);

#endif
