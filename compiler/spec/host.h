/* host.h - numbers of the machine we run on, for the target `native`. */
#ifndef RSRC_SPEC_HOST_H
#define RSRC_SPEC_HOST_H

#include "ir.h"

/* Cores that this process may use. */
uint32_t rsrc_host_cores(void);
/* Size of the L2 cache of a core, `fallback` where the machine does not tell. */
uint64_t rsrc_host_l2_bytes(uint64_t fallback);
/* The cache that memory is best brought to: of AMD's processors the second, else what the target
 * description says. */
uint32_t rsrc_host_prefetch_level(uint32_t fallback);

#endif
