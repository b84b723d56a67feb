/* forked_indices.c - forks of a KV index (rsr_louver.h), each in a thread of its own, share its
 * pages, grow, and end in any order, while the index itself is cut and grows into the pages that
 * they free. Runs under ThreadSanitizer. Each fork must give the results of an index that was never
 * forked.
 *
 * usage: forked_indices ROUNDS
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr_louver.h"

#define N_FORKS 3 /* a round */
#define MAX_ROUNDS 1000
#define DIM 32
#define N_SHARED 300 /* keys that all forks have: four full pages and an open one */
#define N_KEYS 500

struct fork {
    pthread_t thread;
    rsr_louver *index;
    uint32_t n_wrong;
};

static float keys[N_KEYS][DIM], values[N_KEYS][DIM], query[DIM], expected[DIM];
static struct fork forks[MAX_ROUNDS * N_FORKS];

static void must(rsr_status status, const char *what, const rsr_error *err) {
    if (status != RSR_OK) {
        fprintf(stderr, "forked_indices: %s: %s\n", what, err->message);
        exit(1);
    }
}
#define MUST(call) must(call, #call, &err)

static void fill(float *to, size_t n, uint64_t state) {
    for (size_t i = 0; i < n; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        to[i] = (float)(int32_t)(state >> 32) / 2147483648.0f;
    }
}

static rsr_louver *create(void) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver *index;
    options.head_dim = DIM;
    MUST(rsr_louver_create(&options, &index, &err));
    return index;
}

/* Appends keys [begin, end), then makes a query. */
static void grow(rsr_louver *index, uint32_t begin, uint32_t end, float *out) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_louver_query asked = RSR_LOUVER_QUERY_INIT;
    asked.q = query;
    asked.n_heads = 1;
    asked.out = out;
    MUST(rsr_louver_append(index, keys[begin], values[begin], end - begin, &err));
    MUST(rsr_louver_threshold_parse("mass:1e-2", &asked.threshold, &err));
    MUST(rsr_louver_attend(index, &asked, NULL, &err));
}

static uint32_t check(const float *got) {
    return memcmp(got, expected, sizeof(expected)) != 0;
}

static void *live(void *of) {
    struct fork *fork = of;
    float got[DIM];
    grow(fork->index, N_SHARED, N_KEYS, got);
    fork->n_wrong = check(got);
    rsr_louver_destroy(fork->index);
    return NULL;
}

int main(int argc, char **argv) {
    rsr_error err = RSR_ERROR_INIT;
    const uint32_t rounds = argc == 2 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    float got[DIM];
    uint32_t n_forks = 0, n_wrong = 0;
    if (rounds == 0 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: forked_indices ROUNDS, 1 to %u\n", MAX_ROUNDS);
        return 1;
    }
    fill(keys[0], sizeof(keys) / sizeof(float), 1);
    fill(values[0], sizeof(values) / sizeof(float), 2);
    fill(query, DIM, 3);
    rsr_louver *index = create();
    grow(index, 0, N_KEYS, expected);
    rsr_louver_destroy(index);

    index = create();
    for (uint32_t round = 0; round < rounds; round++) {
        MUST(rsr_louver_truncate(index, 0, &err));
        grow(index, 0, N_SHARED, got);
        for (uint32_t i = 0; i < N_FORKS; i++) {
            struct fork *fork = &forks[n_forks++];
            MUST(rsr_louver_fork(index, &fork->index, &err));
            if (pthread_create(&fork->thread, NULL, live, fork) != 0)
                must(RSR_ERR_MEMORY, "pthread_create", &err);
        }
        grow(index, N_SHARED, N_KEYS, got);
        n_wrong += check(got);
    }
    rsr_louver_destroy(index);
    /* Threads are joined only here: a join orders the threads, and would hide races on pages. */
    for (uint32_t i = 0; i < n_forks; i++) {
        pthread_join(forks[i].thread, NULL);
        n_wrong += forks[i].n_wrong;
    }
    printf("%u forks, %u queries with wrong bits\n", n_forks, n_wrong);
    return n_wrong == 0 ? 0 : 1;
}
