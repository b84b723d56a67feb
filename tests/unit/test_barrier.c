/* test_barrier.c - no thread leaves a barrier before all have come, and prefetches while waiting
 * stay within their bounds. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "host/barrier.h"

#define N_THREADS 3u
#define N_PHASES 2000u
#define FETCH_BYTES 100000u /* not a multiple of the bytes fetched at once */

struct team {
    struct rsr_barrier barrier;
    struct rsr_place places[N_THREADS];
    uint32_t arrived[N_THREADS]; /* plain: barriers order them */
    uint32_t n_early[N_THREADS];
    struct rsr_fetch fetches[N_THREADS];
    _Atomic uint32_t n_threads;
};

static void *walk(void *argument) {
    struct team *team = argument;
    const uint32_t me = atomic_fetch_add(&team->n_threads, 1);
    for (uint32_t phase = 1; phase <= N_PHASES; phase++) {
        if (me == 0 && phase % 100 == 0) { /* so that the others wait long */
            const struct timespec nap = {.tv_nsec = 100000};
            nanosleep(&nap, NULL);
        }
        team->arrived[me] = phase;
        rsr_barrier_wait(&team->barrier, me, phase % 3 == 0 ? NULL : &team->fetches[me]);
        for (uint32_t i = 0; i < N_THREADS; i++)
            team->n_early[me] += team->arrived[i] != phase;
        rsr_barrier_wait(&team->barrier, me, NULL);
    }
    return NULL;
}

static void test_team(uint32_t max_spin_ns) {
    struct team *team = aligned_alloc(64, sizeof(*team));
    char *memory = calloc(1, FETCH_BYTES);
    CHECK(team != NULL && memory != NULL);
    memset(team, 0, sizeof(*team));
    rsr_barrier_init(&team->barrier, team->places);
    rsr_barrier_resize(&team->barrier, N_THREADS, max_spin_ns);
    for (uint32_t i = 0; i < N_THREADS; i++)
        team->fetches[i] =
            (struct rsr_fetch){.at = memory, .end = memory + FETCH_BYTES, .n_streams = 1 + i};
    pthread_t threads[N_THREADS];
    for (uint32_t i = 0; i < N_THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, walk, team), 0);
    for (uint32_t i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < N_THREADS; i++) {
        CHECK_INT(team->n_early[i], 0);
        CHECK(team->fetches[i].at >= memory && team->fetches[i].at <= memory + FETCH_BYTES);
        CHECK(team->fetches[i].end == memory + FETCH_BYTES);
        CHECK((max_spin_ns > 0) ==
              (team->fetches[i].at > memory)); /* a sleeping thread fetches nothing */
    }
    free(memory);
    free(team);
}

int main(void) {
    test_team(0);
    test_team(40000);
    return CHECK_EXIT();
}
