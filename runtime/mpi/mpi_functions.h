/* mpi_functions.h - librsr_mpi.so, which rsr-serve --mpi loads: the server itself needs no MPI.
 *
 * The library exports one table, named by RSR_MPI_TABLE. mpi_transport.h says what each function
 * does. */
#ifndef RSR_MPI_FUNCTIONS_H
#define RSR_MPI_FUNCTIONS_H

#include <stdbool.h>

#include "rsr.h"

/* Changes whenever the struct does, so that no other version's table is taken. */
#define RSR_MPI_TABLE "rsr_mpi_functions_1"

struct mpi_functions {
    bool (*begin)(const char *program);
    void (*open)(rsr_transport *transport);
    uint32_t (*neighbours)(void);
    void (*end)(void);
    void (*abort)(void); /* does not return */
};

#endif
