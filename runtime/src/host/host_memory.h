/* host_memory.h - how much memory this process may use. */
#ifndef RSR_HOST_MEMORY_H
#define RSR_HOST_MEMORY_H

#include <stdint.h>

/* Bytes of the machine's memory and swap, cut by the memory limit of the cgroup (v2 and v1): what
 * is there at most, whoever uses it now. UINT64_MAX where the machine does not tell. */
uint64_t rsr_host_memory(void);

/* Bytes that can be committed now: what the machine calls available and its free swap, cut by what
 * the cgroups have left, of which they give up cached files. Others take of it at the same time. */
uint64_t rsr_host_memory_left(void);

#endif
