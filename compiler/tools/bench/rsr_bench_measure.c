/* rsr_bench_measure.c - memory, bandwidth and printing for all commands. */
#include <omp.h>
#include <stdio.h>

#include "host/cpu.h"
#include "rsr_bench.h"

uint64_t bench_stream_bytes(const struct bench_options *options) {
    return options->quick ? BENCH_QUICK_BYTES : BENCH_STREAM_BYTES;
}

void *bench_alloc(uint64_t size_bytes) {
    void *memory = rsrc_map_pages(size_bytes);
    if (memory == NULL)
        fprintf(stderr, "rsr-bench: cannot allocate %llu MiB\n",
                (unsigned long long)(size_bytes >> 20));
    return memory;
}

void bench_pin_threads(uint32_t threads) {
    if (threads < 2)
        return;
#pragma omp parallel num_threads((int)threads)
    rsr_cpu_pin((uint32_t)omp_get_thread_num());
}

/* ---- read bandwidth -------------------------------------------------------------------------- */

typedef uint64_t v8u64 __attribute__((vector_size(64)));

#if defined(__x86_64__)
#define CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define CLONES
#endif

/* Reads the bytes of one thread once; the sum keeps the compiler from removing the loads. */
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

/* Reads them with prefetch to the first cache, or to the second. */
#define READ_FOUR_PREFETCH(name, locality)                                                         \
    CLONES static uint64_t name(const v8u64 *p, uint64_t n) {                                      \
        v8u64 sums[4] = {{0}};                                                                     \
        const uint64_t quarter = n / 4;                                                            \
        for (uint64_t i = 0; i + 4 <= quarter; i += 4)                                             \
            for (uint64_t s = 0; s < 4; s++)                                                       \
                for (uint64_t j = 0; j < 4; j++) {                                                 \
                    const v8u64 *at = p + s * quarter + i + j;                                     \
                    __builtin_prefetch(at + 64, 0, locality);                                      \
                    sums[j] += *at;                                                                \
                }                                                                                  \
        const v8u64 a = sums[0] + sums[1] + sums[2] + sums[3];                                     \
        return a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];                              \
    }
READ_FOUR_PREFETCH(read_four_prefetch_1, 3)
READ_FOUR_PREFETCH(read_four_prefetch_2, 2)

typedef uint64_t read_loop(const v8u64 *, uint64_t);

/* A sample of a small buffer: a millisecond or so. */
#define MIN_READ_BYTES (UINT64_C(32) << 20)

static double time_loop(read_loop *loop, const v8u64 *p, uint64_t n, uint32_t threads) {
    uint64_t sum = 0, start = 0, end_ns = 0;
    const uint64_t repeats = MIN_READ_BYTES / (n * sizeof(v8u64)) + 1;
#pragma omp parallel num_threads((int)threads) reduction(+ : sum)
    {
        const uint64_t id = (uint64_t)omp_get_thread_num(), count = (uint64_t)omp_get_num_threads();
        const uint64_t begin = n * id / count, end = n * (id + 1) / count;
        if (repeats > 1) /* from here on, a small buffer is in a cache */
            sum += loop(p + begin, end - begin);
#pragma omp barrier
#pragma omp master
        start = rsrc_now_ns();
        for (uint64_t i = 0; i < repeats; i++) {
            sum += loop(p + begin, end - begin);
            __asm__ volatile("" : : : "memory"); /* reads again, without the compiler's knowledge */
        }
#pragma omp barrier
#pragma omp master
        end_ns = rsrc_now_ns();
    }
    __asm__ volatile("" : : "r"(sum)); /* makes the sum look used to the compiler */
    return (double)(repeats * n * sizeof(v8u64)) / (double)(end_ns - start);
}

static double median_gbps(read_loop *loop, const void *buffer, uint64_t size_bytes,
                          uint32_t threads, uint32_t runs) {
    double samples[64], spread;
    const uint32_t n = runs < 64 ? runs : 64;
    for (uint32_t i = 0; i < n; i++)
        samples[i] = time_loop(loop, buffer, size_bytes / sizeof(v8u64), threads);
    return rsrc_median(samples, n, &spread);
}

double bench_read_gbps(const void *buffer, uint64_t size_bytes, uint32_t threads, uint32_t runs) {
    static read_loop *const LOOPS[] = {read_plain, read_prefetch, read_four_streams,
                                       read_four_prefetch_1, read_four_prefetch_2};
    double best = 0;
    for (uint32_t loop = 0; loop < sizeof(LOOPS) / sizeof(LOOPS[0]); loop++) {
        const double gbps = median_gbps(LOOPS[loop], buffer, size_bytes, threads, runs);
        if (gbps > best)
            best = gbps;
    }
    return best;
}

double bench_prefetch_gbps(const void *buffer, uint64_t size_bytes, uint32_t level, uint32_t runs) {
    return median_gbps(level == 2 ? read_four_prefetch_2 : read_four_prefetch_1, buffer, size_bytes,
                       1, runs);
}

/* ---- reports --------------------------------------------------------------------------------- */

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

/* Prints a profile: one line per entry, its values in order. */
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
