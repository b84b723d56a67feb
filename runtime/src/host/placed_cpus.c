/* placed_cpus.c - how many CPUs OpenMP places threads on. */
#include <omp.h>

#include "cpu.h"

uint32_t rsr_cpu_placed(void) {
    int count = 0;
    for (int i = 0; omp_get_proc_bind() != omp_proc_bind_false && i < omp_get_num_places(); i++)
        count += omp_get_place_num_procs(i);
    return count > 0 ? (uint32_t)count : 0;
}
