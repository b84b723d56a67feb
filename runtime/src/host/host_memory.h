/* host_memory.h - how much memory this process may use. */
#ifndef RSR_HOST_MEMORY_H
#define RSR_HOST_MEMORY_H

#include <stdint.h>

/* Bytes of the machine's memory and swap, or the cgroup's memory limit (v2 and v1) if that is less.
 * Memory that is in use counts. UINT64_MAX: unknown. */
uint64_t rsr_host_memory(void);

/* Bytes that can be committed now: available memory and free swap of the machine, or what the
 * cgroups have left if that is less (their cached files count as free). Other processes may take
 * some of it at any time. */
uint64_t rsr_host_memory_left(void);

#endif
