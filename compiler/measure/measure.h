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

/* Anonymous memory with huge pages asked for, touched; NULL if there is not enough. */
void *rsrc_map_pages(uint64_t size_bytes);
void rsrc_unmap_pages(void *memory, uint64_t size_bytes);

/* Several times the last cache, between 256 MiB and 1 GiB: what is read in turn over as much memory
 * comes from DRAM. */
uint64_t rsrc_stream_bytes(void);

/* What the CPU calls itself: "Intel(R) Xeon(R) ..."; "unknown" where nothing tells. */
const char *rsrc_cpu_model(struct rsrc_arena *arena);

/* The same numbers from the same state: splitmix64. */
uint64_t rsrc_random(uint64_t *state);

#endif
