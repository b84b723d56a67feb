/* host_cpus.c - how many CPUs this process may use: affinity mask and cgroup quota (v2 and v1). The
 * compiler has it, too, and so it knows nothing of OpenMP. */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

/* The calling thread's mask. Returns owned memory (CPU_FREE) or NULL; machines with more CPUs than
 * a cpu_set_t holds answer EINVAL to a mask that is too small. */
static cpu_set_t *read_affinity(size_t *size_bytes) {
    for (size_t n_cpus = 1024; n_cpus <= (size_t)1 << 20; n_cpus *= 2) {
        size_t size = CPU_ALLOC_SIZE(n_cpus);
        cpu_set_t *mask = CPU_ALLOC(n_cpus);
        if (mask == NULL)
            return NULL;
        CPU_ZERO_S(size, mask);
        if (sched_getaffinity(0, size, mask) == 0) {
            *size_bytes = size;
            return mask;
        }
        CPU_FREE(mask);
        if (errno != EINVAL)
            return NULL;
    }
    return NULL;
}

void rsr_cpu_pin(uint32_t n) {
    size_t size;
    cpu_set_t *mask = read_affinity(&size);
    if (mask == NULL)
        return;
    int count = CPU_COUNT_S(size, mask);
    uint32_t skip = count > 0 ? n % (uint32_t)count : 0;
    for (size_t cpu = 0; count > 0 && cpu < size * 8; cpu++) {
        if (!CPU_ISSET_S(cpu, size, mask) || skip-- != 0)
            continue;
        CPU_ZERO_S(size, mask);
        CPU_SET_S(cpu, size, mask);
        sched_setaffinity(0, size, mask); /* a wish: a failure costs speed only */
        break;
    }
    CPU_FREE(mask);
}

static bool read_line(const char *path, char *line, int capacity) {
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool ok = fgets(line, capacity, file) != NULL;
    fclose(file);
    return ok;
}

/* CPUs that a quota of `quota` microseconds in `period` is worth, rounded up; 0: no limit. */
static uint64_t quota_cpus(int64_t quota, int64_t period) {
    if (quota <= 0 || period <= 0)
        return 0;
    return (uint64_t)(quota / period) + (quota % period != 0);
}

static uint64_t quota_v2(const char *folder) {
    char path[4200], line[64];
    int64_t quota, period;
    snprintf(path, sizeof(path), "%s/cpu.max", folder);
    if (!read_line(path, line, sizeof(line)) ||
        sscanf(line, "%" SCNd64 " %" SCNd64, &quota, &period) != 2) /* "max 100000": no limit */
        return 0;
    return quota_cpus(quota, period);
}

static uint64_t quota_v1(const char *folder) {
    char path[4200], line[64];
    int64_t quota, period;
    snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", folder);
    if (!read_line(path, line, sizeof(line)) || sscanf(line, "%" SCNd64, &quota) != 1)
        return 0;
    snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", folder);
    if (!read_line(path, line, sizeof(line)) || sscanf(line, "%" SCNd64, &period) != 1)
        return 0;
    return quota_cpus(quota, period);
}

/* The smallest quota of `group` and its ancestors below `root`. */
static uint64_t smallest_quota(const char *root, const char *group,
                               uint64_t (*read_quota)(const char *folder)) {
    char folder[4160];
    uint64_t smallest = 0;
    if ((size_t)snprintf(folder, sizeof(folder), "%s%s", root, group) >= sizeof(folder))
        return 0;
    for (;;) {
        uint64_t quota = read_quota(folder);
        if (quota != 0 && (smallest == 0 || quota < smallest))
            smallest = quota;
        char *slash = strrchr(folder, '/');
        if (slash == NULL || (size_t)(slash - folder) < strlen(root))
            return smallest;
        *slash = '\0';
    }
}

/* Lines of /proc/self/cgroup: "0::/group" (v2) or "4:cpu,cpuacct:/group" (v1). */
static uint64_t cgroup_quota(void) {
    uint64_t smallest = 0;
    char line[4096];
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL)
            continue;
        *group++ = '\0';
        controllers++;
        uint64_t quota = 0;
        if (controllers[0] == '\0')
            quota = smallest_quota("/sys/fs/cgroup", group, quota_v2);
        else if (strcmp(controllers, "cpu") == 0 || strcmp(controllers, "cpu,cpuacct") == 0)
            quota = smallest_quota("/sys/fs/cgroup/cpu", group, quota_v1);
        if (quota != 0 && (smallest == 0 || quota < smallest))
            smallest = quota;
    }
    fclose(file);
    return smallest;
}

uint32_t rsr_cpu_available(uint32_t n_placed) {
    size_t size;
    cpu_set_t *mask = read_affinity(&size);
    int count = mask != NULL ? CPU_COUNT_S(size, mask) : 1;
    if (mask != NULL)
        CPU_FREE(mask);
    uint64_t quota = cgroup_quota();
    uint32_t cpus = count > 0 ? (uint32_t)count : 1;
    if (cpus < n_placed)
        cpus = n_placed;
    return quota != 0 && quota < cpus ? (uint32_t)quota : cpus;
}
