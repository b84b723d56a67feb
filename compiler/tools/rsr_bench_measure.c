/* rsr_bench_measure.c - clocks, memory, bandwidth, printing: the common part of all measurements. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "rsr_bench.h"

uint64_t bench_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t bench_random(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void *bench_alloc(uint64_t size_bytes) {
    void *memory =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fprintf(stderr, "rsr-bench: cannot allocate %llu MiB\n",
                (unsigned long long)(size_bytes >> 20));
        return NULL;
    }
    madvise(memory, size_bytes, MADV_HUGEPAGE);
    memset(memory, 1, size_bytes);
    return memory;
}

void bench_free(void *memory, uint64_t size_bytes) {
    if (memory != NULL)
        munmap(memory, size_bytes);
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *samples, uint32_t n, double *spread) {
    qsort(samples, n, sizeof(*samples), compare_doubles);
    const double median = samples[n / 2];
    *spread = median > 0 ? (samples[n - 1] - samples[0]) / median : 0;
    return median;
}

/* ---- read bandwidth ------------------------------------------------------------------------------- */

typedef uint64_t v8u64 __attribute__((vector_size(64)));

#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define CLONES
#endif

/* The bytes of one thread, read once; the sum keeps the compiler from leaving the loads out. */
CLONES static uint64_t read_plain(const v8u64 *p, uint64_t n) {
    v8u64 a = {0}, b = {0}, c = {0}, d = {0};
    for (uint64_t i = 0; i + 4 <= n; i += 4) {
        a += p[i];
        b += p[i + 1];
        c += p[i + 2];
        d += p[i + 3];
    }
    a += b + c + d;
    return a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];
}

CLONES static uint64_t read_prefetch(const v8u64 *p, uint64_t n) {
    v8u64 a = {0}, b = {0}, c = {0}, d = {0};
    for (uint64_t i = 0; i + 4 <= n; i += 4) {
        for (uint64_t j = 0; j < 4; j++)
            __builtin_prefetch(p + i + j + 64, 0, 3); /* 4 KiB ahead */
        a += p[i];
        b += p[i + 1];
        c += p[i + 2];
        d += p[i + 3];
    }
    a += b + c + d;
    return a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];
}

CLONES static uint64_t read_four_streams(const v8u64 *p, uint64_t n) {
    v8u64 a = {0}, b = {0}, c = {0}, d = {0};
    const uint64_t quarter = n / 4;
    for (uint64_t i = 0; i < quarter; i++) {
        a += p[i];
        b += p[quarter + i];
        c += p[2 * quarter + i];
        d += p[3 * quarter + i];
    }
    a += b + c + d;
    return a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];
}

typedef uint64_t read_loop(const v8u64 *, uint64_t);

static double time_loop(read_loop *loop, const v8u64 *p, uint64_t n, uint32_t threads) {
    uint64_t sum = 0;
    const uint64_t start = bench_now_ns();
#pragma omp parallel num_threads((int)threads) reduction(+ : sum)
    {
        const uint64_t id = (uint64_t)omp_get_thread_num(), count = (uint64_t)omp_get_num_threads();
        const uint64_t begin = n * id / count, end = n * (id + 1) / count;
        sum += loop(p + begin, end - begin);
    }
    const double ns = (double)(bench_now_ns() - start);
    __asm__ volatile("" : : "r"(sum)); /* the sum is used, as far as the compiler can tell */
    return (double)(n * sizeof(v8u64)) / ns;
}

double bench_read_gbps(const void *buffer, uint64_t size_bytes, uint32_t threads, uint32_t runs) {
    static read_loop *const LOOPS[] = {read_plain, read_prefetch, read_four_streams};
    double best = 0;
    for (uint32_t loop = 0; loop < sizeof(LOOPS) / sizeof(LOOPS[0]); loop++) {
        double samples[64], spread;
        const uint32_t n = runs < 64 ? runs : 64;
        for (uint32_t i = 0; i < n; i++)
            samples[i] = time_loop(LOOPS[loop], buffer, size_bytes / sizeof(v8u64), threads);
        const double median = bench_median(samples, n, &spread);
        if (median > best)
            best = median;
    }
    return best;
}

/* ---- reports ---------------------------------------------------------------------------------------- */

const char *bench_cpu_name(struct rsrc_arena *arena) {
    const char *name = "unknown";
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL)
        return name;
    char line[512];
    while (fgets(line, sizeof(line), file) != NULL) {
        const char *colon = strstr(line, ": ");
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            name = rsrc_arena_strndup(arena, colon + 2, strcspn(colon + 2, "\n"));
            break;
        }
    }
    fclose(file);
    return name;
}

static void print_value(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_STRING:
        printf("%s\n", json_string_value(value));
        break;
    case JSON_INTEGER:
        printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
        break;
    case JSON_REAL:
        printf("%.4g\n", json_real_value(value));
        break;
    case JSON_TRUE:
        printf("true\n");
        break;
    case JSON_FALSE:
        printf("false\n");
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
    case JSON_NULL:
        printf("\n");
        break;
    }
}

/* A profile: one line an entry, its values in order. */
static void print_rows(const json_t *rows) {
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const char *key;
        json_t *value;
        json_object_foreach(json_array_get(rows, i), key, value) {
            if (json_is_string(value))
                printf("  %-14s", json_string_value(value));
            else
                printf("  %s %.4g", key, json_number_value(value));
        }
        printf("\n");
    }
}

void bench_print(json_t *result, bool json) {
    if (json) {
        json_dumpf(result, stdout, JSON_REAL_PRECISION(9));
        printf("\n");
    } else {
        const char *key;
        json_t *value;
        json_object_foreach(result, key, value) {
            printf("%-24s ", key);
            print_value(value);
            if (json_is_array(value))
                print_rows(value);
        }
    }
    json_decref(result);
}
