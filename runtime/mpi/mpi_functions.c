/* mpi_functions.c - the table that librsr_mpi.so exports; see mpi_functions.h. */
#include "mpi_functions.h"

#include "mpi_transport.h"

RSR_EXPORT extern const struct mpi_functions rsr_mpi_functions_1;

const struct mpi_functions rsr_mpi_functions_1 = {
    .begin = mpi_transport_begin,
    .open = mpi_transport_open,
    .neighbours = mpi_transport_neighbours,
    .end = mpi_transport_end,
    .abort = mpi_transport_abort,
};
