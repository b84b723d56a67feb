/* host_memory.c - see host_memory.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
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

/* The number after a word that begins a line of FOLDER/NAME; 0: there is none. */
static uint64_t find_in(const char *folder, const char *name, const char *word) {
    char path[4200], line[128];
    uint64_t found = 0;
    const size_t n = strlen(word);
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
        return 0;
    FILE *file = fopen(path, "re");
    while (file != NULL && found == 0 && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, word, n) == 0 && sscanf(line + n, " %" SCNu64, &found) != 1)
            found = 0;
    if (file != NULL)
        fclose(file);
    return found;
}

/* What is left of a limit; at least 1, because 0 means no limit. */
static uint64_t left_of(uint64_t limit, uint64_t used, uint64_t cached) {
    used = used > cached ? used - cached : 0;
    return limit == 0 ? 0 : limit > used ? limit - used : 1;
}

static uint64_t left_v1(const char *folder) {
    return left_of(limit_v1(folder), limit_in(folder, "memory.usage_in_bytes"),
                   find_in(folder, "memory.stat", "total_inactive_file ") +
                       find_in(folder, "memory.stat", "total_active_file "));
}

static uint64_t left_v2(const char *folder) {
    return left_of(limit_v2(folder), limit_in(folder, "memory.current"),
                   find_in(folder, "memory.stat", "inactive_file ") +
                       find_in(folder, "memory.stat", "active_file "));
}

uint64_t rsr_host_memory_left(void) {
    static const struct rsr_cgroup_resource memory = {
        {"memory", "memory"}, "/sys/fs/cgroup/memory", left_v1, left_v2};
    const uint64_t kilobytes =
        find_in("/proc", "meminfo", "MemAvailable:") + find_in("/proc", "meminfo", "SwapFree:");
    const uint64_t bytes = kilobytes != 0 ? kilobytes << 10 : rsr_host_memory();
    const uint64_t left = rsr_cgroup_limit(&memory);
    return left != 0 && left < bytes ? left : bytes;
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
