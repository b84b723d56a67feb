/* measure.c - the common part of all measurements. */
#include "measure/measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MIN_STREAM_BYTES (UINT64_C(256) << 20)
#define MAX_STREAM_BYTES (UINT64_C(1) << 30)
#define CACHES_STREAMED 4u

uint64_t rsrc_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t rsrc_random(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double rsrc_median(double *samples, uint32_t n, double *spread) {
    qsort(samples, n, sizeof(*samples), compare_doubles);
    const double median = samples[n / 2];
    *spread = median > 0 ? (samples[n - 1] - samples[0]) / median : 0;
    return median;
}

void *rsrc_map_pages(uint64_t size_bytes) {
    void *memory =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    madvise(memory, size_bytes, MADV_HUGEPAGE);
    memset(memory, 1, size_bytes);
    return memory;
}

void rsrc_unmap_pages(void *memory, uint64_t size_bytes) {
    if (memory != NULL)
        munmap(memory, size_bytes);
}

uint64_t rsrc_stream_bytes(void) {
    const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    const uint64_t wanted = l3 > 0 ? CACHES_STREAMED * (uint64_t)l3 : 0;
    return wanted < MIN_STREAM_BYTES   ? MIN_STREAM_BYTES
           : wanted > MAX_STREAM_BYTES ? MAX_STREAM_BYTES
                                       : wanted;
}

const char *rsrc_cpu_model(struct rsrc_arena *arena) {
    const char *name = "unknown";
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL)
        return name;
    char line[512];
    while (fgets(line, sizeof(line), file) != NULL) {
        const char *colon = strstr(line, ": ");
        /* On AArch64 the system gives only a part number. */
        if ((strncmp(line, "model name", 10) == 0 || strncmp(line, "CPU part", 8) == 0) &&
            colon != NULL) {
            name = rsrc_arena_strndup(arena, colon + 2, strcspn(colon + 2, "\n"));
            break;
        }
    }
    fclose(file);
    return name;
}
