/* measure.h - clocks, samples and memory for measurements on this machine.
 *
 * measure/ makes kernels run in this process and times them, for rsrc --tune and for rsr-bench. It
 * uses the stages, and no stage uses it.
 */
#ifndef RSRC_MEASURE_MEASURE_H
#define RSRC_MEASURE_MEASURE_H

#include "base/arena.h"

uint64_t rsrc_now_ns(void);

/* Median of n samples (sorts them) and (largest - smallest) / median. */
double rsrc_median(double *samples, uint32_t n, double *spread);

/* Maps anonymous memory, asks for huge pages and touches it; NULL if there is not enough. */
void *rsrc_map_pages(uint64_t size_bytes);
void rsrc_unmap_pages(void *memory, uint64_t size_bytes);

/* A size several times that of the last cache, between 256 MiB and 1 GiB: reading through this much
 * memory in turn reads from DRAM. */
uint64_t rsrc_stream_bytes(void);

/* The CPU's own name: "Intel(R) Xeon(R) ..."; "unknown" if the system has none. */
const char *rsrc_cpu_model(struct rsrc_arena *arena);

/* Pseudo-random numbers by splitmix64; equal states give equal numbers. */
uint64_t rsrc_random(uint64_t *state);

#endif
