/* host.h - numbers of the machine we run on, for the target `native`. */
#ifndef RSRC_SPEC_HOST_H
#define RSRC_SPEC_HOST_H

#include "ir.h"

/* Cores that this process may use. */
uint32_t rsrc_host_cores(void);
/* Size of a core's L2 cache; `fallback` if the machine does not tell. */
uint64_t rsrc_host_l2_bytes(uint64_t fallback);
/* The best cache level for prefetching: 2 on AMD's processors, else the level of the target
 * description. */
uint32_t rsrc_host_prefetch_level(uint32_t fallback);

#endif
