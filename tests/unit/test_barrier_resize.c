/* test_barrier_resize.c - a thread that loses its CPU just after it has come to a barrier does not
 * look at the barrier again, because the others may have changed its number of threads. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "check.h"

static _Thread_local bool is_late;
static _Atomic uint32_t step; /* 1: the late thread has come; 2: it may go on */

static inline uint32_t come(_Atomic uint32_t *count, uint32_t n) {
    const uint32_t before = atomic_fetch_add_explicit(count, n, memory_order_seq_cst);
    if (is_late) {
        atomic_store(&step, 1);
        while (atomic_load(&step) != 2)
            usleep(100);
    }
    return before;
}

#undef atomic_fetch_add
#define atomic_fetch_add(count, n) come(count, n)
#include "../../runtime/src/host/barrier.c"

static struct rsr_barrier barrier;
static struct rsr_place places[3];

static void *be_late(void *none) {
    is_late = true;
    rsr_barrier_arrive(&barrier, 1);
    return none;
}

int main(void) {
    pthread_t late;
    rsr_barrier_init(&barrier, places);
    rsr_barrier_resize(&barrier, 3, 0);
    rsr_barrier_arrive(&barrier, 2);
    CHECK_INT(pthread_create(&late, NULL, be_late, NULL), 0);
    while (atomic_load(&step) != 1)
        usleep(100);
    rsr_barrier_arrive(&barrier, 0);
    CHECK_INT(atomic_load(&barrier.phase.value), 1); /* all have come */

    rsr_barrier_resize(&barrier, 2, 0); /* for 0 and 2, of which one has come */
    rsr_barrier_arrive(&barrier, 0);
    atomic_store(&step, 2);
    pthread_join(late, NULL);
    CHECK_INT(atomic_load(&barrier.arrived), 1);
    rsr_barrier_arrive(&barrier, 2);
    CHECK_INT(atomic_load(&barrier.phase.value), 2);
    return CHECK_EXIT();
}
