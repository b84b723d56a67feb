/* host_cpus.c - how many CPUs and cores this process may use: affinity mask and cgroup quota (v2
 * and v1). The compiler uses this file, too, so it must not use OpenMP. */
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>

#include "cpu.h"
#include "cgroup.h"

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
        sched_setaffinity(0, size, mask); /* a failure only costs speed */
        break;
    }
    CPU_FREE(mask);
}

/* Number of CPUs that can run all the time with `quota` microseconds in each `period`, rounded up;
 * 0: no limit. */
static uint64_t quota_cpus(int64_t quota, int64_t period) {
    if (quota <= 0 || period <= 0)
        return 0;
    return (uint64_t)(quota / period) + (quota % period != 0);
}

static uint64_t quota_v2(const char *folder) {
    int64_t quota, period;
    return rsr_cgroup_read(folder, "cpu.max", &quota, &period) == 2 ? quota_cpus(quota, period) : 0;
}

static uint64_t quota_v1(const char *folder) {
    int64_t quota, period, none;
    return rsr_cgroup_read(folder, "cpu.cfs_quota_us", &quota, &none) == 1 &&
                   rsr_cgroup_read(folder, "cpu.cfs_period_us", &period, &none) == 1
               ? quota_cpus(quota, period)
               : 0;
}

static uint32_t cut_by_quota(uint32_t n) {
    static const struct rsr_cgroup_resource cpu = {
        {"cpu", "cpu,cpuacct"}, "/sys/fs/cgroup/cpu", quota_v1, quota_v2};
    const uint64_t quota = rsr_cgroup_limit(&cpu);
    return quota != 0 && quota < n ? (uint32_t)quota : n;
}

uint32_t rsr_cpu_available(uint32_t n_placed) {
    size_t size;
    cpu_set_t *mask = read_affinity(&size);
    const int count = mask != NULL ? CPU_COUNT_S(size, mask) : 1;
    CPU_FREE(mask);
    const uint32_t cpus = count > 0 ? (uint32_t)count : 1;
    return cut_by_quota(cpus < n_placed ? n_placed : cpus);
}

/* The CPUs of one core ("0,4" or "0-1"): how many there are, how many are in the mask, and the
 * first of these. */
struct siblings {
    size_t first, n, n_all;
};

static struct siblings read_siblings(const char *folder, size_t cpu, const cpu_set_t *mask,
                                     size_t size) {
    char path[300], text[1024] = "";
    struct siblings s = {.first = cpu};
    FILE *file = NULL;
    if ((size_t)snprintf(path, sizeof(path), "%s/cpu%zu/topology/thread_siblings_list", folder,
                         cpu) < sizeof(path))
        file = fopen(path, "re");
    if (file != NULL && fgets(text, sizeof(text), file) == NULL)
        text[0] = '\0';
    if (file != NULL)
        fclose(file);
    unsigned begin, end;
    int n_chars, n_more;
    for (const char *at = text; sscanf(at, "%6u%n", &begin, &n_chars) == 1;
         at += n_chars + (at[n_chars] == ',')) {
        end = begin;
        if (sscanf(at + n_chars, "-%6u%n", &end, &n_more) == 1)
            n_chars += n_more;
        for (size_t i = begin; i <= end; i++) {
            s.n_all++;
            if (CPU_ISSET_S(i, size, mask)) /* false for numbers beyond the mask */
                s.first = s.n++ == 0 ? i : s.first;
        }
    }
    return s;
}

uint32_t rsr_cpu_cores(uint32_t n_placed, const char *folder) {
    size_t size, most = 1;
    uint32_t n_cores = 0;
    cpu_set_t *mask = read_affinity(&size);
    for (size_t cpu = 0; mask != NULL && cpu < size * 8; cpu++) {
        if (!CPU_ISSET_S(cpu, size, mask))
            continue;
        const struct siblings s = read_siblings(folder, cpu, mask, size);
        n_cores += s.first == cpu;
        most = s.n_all > most ? s.n_all : most;
    }
    CPU_FREE(mask);
    const uint32_t placed = (uint32_t)((n_placed + most - 1) / most);
    n_cores = n_cores > placed ? n_cores : placed;
    return cut_by_quota(n_cores > 0 ? n_cores : 1);
}
