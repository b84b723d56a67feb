/* host_memory.c - see host_memory.h. */
#include <sys/sysinfo.h>

#include "cgroup.h"
#include "host_memory.h"

static uint64_t limit_in(const char *folder, const char *name) {
    int64_t bytes, none;
    return rsr_cgroup_read(folder, name, &bytes, &none) > 0 && bytes > 0 ? (uint64_t)bytes : 0;
}

static uint64_t limit_v1(const char *folder) {
    return limit_in(folder, "memory.limit_in_bytes");
}

static uint64_t limit_v2(const char *folder) {
    return limit_in(folder, "memory.max");
}

uint64_t rsr_host_memory(void) {
    static const struct rsr_cgroup_resource memory = {
        {"memory", "memory"}, "/sys/fs/cgroup/memory", limit_v1, limit_v2};
    struct sysinfo machine;
    uint64_t bytes = UINT64_MAX;
    if (sysinfo(&machine) == 0)
        bytes = ((uint64_t)machine.totalram + machine.totalswap) * machine.mem_unit;
    const uint64_t limit = rsr_cgroup_limit(&memory);
    return limit != 0 && limit < bytes ? limit : bytes;
}
