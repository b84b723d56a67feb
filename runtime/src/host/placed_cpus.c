/* placed_cpus.c - the CPUs on which OpenMP places threads, if the application uses OpenMP.
 *
 * With OMP_PROC_BIND or OMP_PLACES the OpenMP library binds the program's first thread to one of
 * these CPUs before main, and new threads inherit the binding. The runtime neither needs nor loads
 * this library: its functions are weak. */
#include <sched.h>
#include <stdlib.h>

#include "cpu.h"

/* Declared here, because omp.h may be missing. */
extern int omp_get_proc_bind(void) __attribute__((weak));
extern int omp_get_num_places(void) __attribute__((weak));
extern int omp_get_place_num_procs(int place) __attribute__((weak));
extern void omp_get_place_proc_ids(int place, int *ids) __attribute__((weak));

static int count_places(void) {
    const bool is_there = omp_get_proc_bind != NULL && omp_get_num_places != NULL &&
                          omp_get_place_num_procs != NULL && omp_get_place_proc_ids != NULL;
    return is_there && omp_get_proc_bind() != 0 ? omp_get_num_places() : 0;
}

uint32_t rsr_cpu_placed(void) {
    int count = 0;
    for (int i = count_places() - 1; i >= 0; i--)
        count += omp_get_place_num_procs(i);
    return count > 0 ? (uint32_t)count : 0;
}

void rsr_cpu_take_places(void) {
    const uint32_t n = rsr_cpu_placed();
    int *ids = n > 0 ? malloc(n * sizeof(*ids)) : NULL, *end = ids;
    if (ids == NULL)
        return;
    for (int i = count_places() - 1; i >= 0; i--) {
        omp_get_place_proc_ids(i, end);
        end += omp_get_place_num_procs(i);
    }
    cpu_set_t mask;
    CPU_ZERO(&mask);
    for (const int *id = ids; id < end; id++)
        CPU_SET((size_t)*id, &mask); /* ignores numbers beyond the set */
    free(ids);
    sched_setaffinity(0, sizeof(mask), &mask); /* a wish: a failure costs speed only */
}
