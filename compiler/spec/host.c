/* host.c - what this machine's processor, and the operating system on it, support. */
#include "spec/host.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "rsr_cpu_detect.h"
#include "spec/spec.h"

uint64_t rsrc_host_features(void) {
    return rsr_detect_cpu();
}

/* Bytes of a cache as sysfs tells it ("48K"); 0 if it does not. Index 0 is L1 data, 2 L2, 3 L3. */
static uint64_t sysfs_cache_bytes(int index) {
    char path[80];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    unsigned long size = 0;
    char unit = '\0';
    int n = fscanf(file, "%9lu%c", &size, &unit);
    fclose(file);
    if (n < 1)
        return 0;
    return (uint64_t)size << (unit == 'K' ? 10 : unit == 'M' ? 20 : 0);
}

uint32_t rsrc_host_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (uint32_t)CPU_COUNT(&set);
    long cores = sysconf(_SC_NPROCESSORS_ONLN); /* more than cpu_set_t holds */
    return cores > 0 ? (uint32_t)cores : 1;
}

/* The runtime uses the same detection. */
uint32_t rsrc_host_prefetch_level(uint32_t fallback) {
    return rsr_detect_far_fetches() ? 2 : fallback;
}

/* sysconf, else sysfs, else what the target description says. */
uint64_t rsrc_host_l2_bytes(uint64_t fallback) {
    const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (size > 0)
        return (uint64_t)size;
    const uint64_t bytes = sysfs_cache_bytes(2);
    return bytes != 0 ? bytes : fallback;
}
