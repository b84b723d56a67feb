/* worker_pool.c - see worker_pool.h. */
#include <fenv.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "barrier.h"
#include "cpu.h"
#include "runtime.h"
#include "stack.h"
#include "worker_pool.h"

/* How long a worker spins before it sleeps. A sleep and a wake-up cost some 5 us each and barriers
 * of a decode step are mostly less than 20 us apart: after twice that, spinning no longer pays. */
#define SPIN_NS 40000u

/* Besides what jobs take: for the C library's own data of a thread, and OpenMP's. */
#define LEADER_STACK_BYTES ((size_t)256 << 10)

struct rsr_worker_pool {
    struct rsr_signal posted; /* number of the newest job; workers wait on it */
    struct rsr_signal done;   /* number of the newest finished job; the caller waits on it */
    struct rsr_barrier barrier;
    rsr_job_fn *job; /* NULL: leave */
    void *argument;
    uint32_t n_threads; /* asked for, then the number there are */
    uint32_t spin_ns;
    bool pin;
    size_t stack_bytes;
    atomic_bool lacks_stack; /* some worker */
    pthread_t leader;
    struct rsr_place places[]; /* [n_threads]; of the barrier */
};

static void work(struct rsr_worker_pool *pool, uint32_t worker) {
    for (uint32_t number = 0;; number++) {
        rsr_signal_wait(&pool->posted, number, pool->spin_ns);
        if (pool->job == NULL)
            return;
        pool->job(pool->argument, worker);
        rsr_barrier_wait(&pool->barrier, worker, NULL);
        if (worker == 0)
            rsr_signal_set(&pool->done, number + 1);
    }
}

static void *stand_by(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* Whether the system gives n threads at once. OpenMP ends the process when it is refused one of its
 * team, so all are made once for trial; the C library keeps their stacks for the team. */
static bool can_start(uint32_t n) {
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *threads = malloc(n * sizeof(*threads));
    uint32_t n_started = 0;
    pthread_mutex_lock(&gate);
    while (threads != NULL && n_started < n &&
           pthread_create(&threads[n_started], NULL, stand_by, &gate) == 0)
        n_started++;
    pthread_mutex_unlock(&gate);
    for (uint32_t i = 0; i < n_started; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    return n_started == n;
}

static void *lead(void *argument) {
    struct rsr_worker_pool *pool = argument;
    omp_set_dynamic(0); /* else OMP_DYNAMIC=true gives as many threads as there are idle CPUs */
#pragma omp parallel num_threads((int)pool->n_threads)
    {
        const uint32_t worker = (uint32_t)omp_get_thread_num();
        fesetenv(FE_DFL_ENV);
        if (pool->pin)
            rsr_cpu_pin(worker);
        if (rsr_is_below(rsr_stack_end(pool->stack_bytes)))
            atomic_store(&pool->lacks_stack, true);
#pragma omp barrier
#pragma omp master
        {
            pool->n_threads = (uint32_t)omp_get_num_threads();
            rsr_barrier_init(&pool->barrier, pool->places, pool->n_threads, pool->spin_ns);
            rsr_signal_set(&pool->done, 0); /* from UINT32_MAX: the team is there */
        }
        work(pool, worker);
    }
    return NULL;
}

/* The leader, which is a worker, too, has a stack of its own size. */
static bool start_leader(struct rsr_worker_pool *pool) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    const bool started =
        pthread_attr_setstacksize(&attributes, LEADER_STACK_BYTES + pool->stack_bytes) == 0 &&
        pthread_create(&pool->leader, &attributes, lead, pool) == 0;
    pthread_attr_destroy(&attributes);
    return started;
}

rsr_status rsr_worker_pool_create(uint32_t n_threads, bool pin, size_t stack_bytes,
                                  struct rsr_worker_pool **result, rsr_error *err) {
    const size_t bytes = sizeof(struct rsr_worker_pool) + n_threads * sizeof(struct rsr_place);
    struct rsr_worker_pool *pool = aligned_alloc(64, bytes);
    if (pool == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the engine's threads");
    /* With more workers than CPUs, whoever spins keeps the one that is awaited from running. */
    const uint32_t spin_ns = n_threads > rsr_cpu_available(rsr_cpu_placed()) ? 0 : SPIN_NS;
    memset(pool, 0, bytes);
    pool->n_threads = n_threads;
    pool->pin = pin;
    pool->stack_bytes = stack_bytes;
    pool->spin_ns = spin_ns;
    atomic_store(&pool->done.value, UINT32_MAX);

    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* threads inherit the mask */
    const bool started = can_start(n_threads) && start_leader(pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!started) {
        free(pool);
        return rsr_fail(err, RSR_ERR_MEMORY,
                        "the system refuses to start %u threads; ask for fewer", n_threads);
    }
    rsr_signal_wait(&pool->done, UINT32_MAX, 0);
    if (atomic_load(&pool->lacks_stack)) {
        rsr_worker_pool_destroy(pool, false);
        return rsr_fail(err, RSR_ERR_MEMORY,
                        "the engine's threads need %zu KiB of stack, and have less: raise "
                        "OMP_STACKSIZE, or ulimit -s where that is not set",
                        stack_bytes >> 10);
    }
    *result = pool;
    return RSR_OK;
}

void rsr_worker_pool_destroy(struct rsr_worker_pool *pool, bool forked) {
    if (pool == NULL)
        return;
    if (!forked) {
        pool->job = NULL;
        rsr_signal_set(&pool->posted, atomic_load(&pool->posted.value) + 1);
        pthread_join(pool->leader, NULL);
    }
    free(pool);
}

uint32_t rsr_worker_pool_count(const struct rsr_worker_pool *pool) {
    return pool->n_threads;
}

/* The caller sleeps at once: its CPU is wanted by a worker. */
void rsr_worker_pool_run(struct rsr_worker_pool *pool, rsr_job_fn *job, void *argument) {
    const uint32_t number = atomic_load(&pool->posted.value);
    pool->job = job;
    pool->argument = argument;
    rsr_signal_set(&pool->posted, number + 1);
    rsr_signal_wait(&pool->done, number, 0);
}

void rsr_worker_pool_barrier(struct rsr_worker_pool *pool, uint32_t worker) {
    rsr_barrier_wait(&pool->barrier, worker, NULL);
}

void rsr_worker_pool_barrier_fetching(struct rsr_worker_pool *pool, uint32_t worker,
                                      struct rsr_fetch *fetch) {
    rsr_barrier_wait(&pool->barrier, worker, fetch);
}
