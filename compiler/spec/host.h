/* host.h - numbers of the machine we run on, for the target `native`. */
#ifndef RSRC_SPEC_HOST_H
#define RSRC_SPEC_HOST_H

#include "ir.h"

/* Cores that this process may use. */
uint32_t rsrc_host_cores(void);
/* Replaces the cache sizes by the machine's, where it tells them. */
void rsrc_host_caches(struct rsr_spec *spec);

#endif
