/* worker_pool.c - see worker_pool.h. The threads are POSIX threads, because the OpenMP library ends
 * the process if the system refuses a thread, and takes stack sizes and limits from the
 * environment. */
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "barrier.h"
#include "cpu.h"
#include "runtime.h"
#include "worker_pool.h"

/* How long a worker spins before it sleeps. A sleep and a wake-up take some 5 us each, and barriers
 * of a decode step are mostly less than 20 us apart. After twice this time spinning no longer
 * helps. */
#define SPIN_NS 40000u

/* In addition to the stack for jobs: room for the C library's data of a thread. */
#define THREAD_STACK_BYTES ((size_t)256 << 10)

/* One of the pool's threads. On cache lines of its own. */
struct member {
    struct rsr_signal posted; /* counts the jobs of this thread, which waits on it */
    struct rsr_worker_pool *pool;
    uint32_t worker;
    pthread_t thread;
};

struct rsr_worker_pool {
    struct rsr_barrier barrier;
    rsr_job_fn *job; /* NULL: leave */
    void *argument;
    uint32_t n_threads; /* the caller's and members */
    uint32_t n_cpus;
    bool pin;
    struct rsr_place *places; /* [n_threads]; for the barrier */
    struct member members[];  /* [n_threads]; the first stands for the caller and has no thread */
};

static void *work(void *argument) {
    struct member *me = argument;
    struct rsr_worker_pool *pool = me->pool;
    fesetenv(FE_DFL_ENV);
    rsr_cpu_take_places();
    if (pool->pin)
        rsr_cpu_pin(me->worker);
    for (uint32_t number = 0;; number++) {
        rsr_signal_wait(&me->posted, number, rsr_barrier_spin(&pool->barrier));
        if (pool->job == NULL)
            return NULL;
        pool->job(pool->argument, me->worker);
        rsr_barrier_arrive(&pool->barrier, me->worker);
    }
}

static void post(struct member *member) {
    rsr_signal_set(&member->posted, atomic_load(&member->posted.value) + 1);
}

/* Ends the first n_started threads. */
static void end(struct rsr_worker_pool *pool, uint32_t n_started) {
    pool->job = NULL;
    for (uint32_t i = 1; i < n_started; i++)
        post(&pool->members[i]);
    for (uint32_t i = 1; i < n_started; i++)
        pthread_join(pool->members[i].thread, NULL);
}

/* Starts the threads. Returns how many there are then, the caller's included. */
static uint32_t start(struct rsr_worker_pool *pool, size_t stack_bytes) {
    uint32_t n = 1;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return n;
    if (pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES + stack_bytes) == 0)
        for (; n < pool->n_threads; n++) {
            struct member *member = &pool->members[n];
            member->pool = pool;
            member->worker = n;
            if (pthread_create(&member->thread, &attributes, work, member) != 0)
                break;
        }
    pthread_attr_destroy(&attributes);
    return n;
}

/* One allocation, for the pool and the barrier's places. */
static struct rsr_worker_pool *allocate(uint32_t n_threads) {
    const size_t n_bytes = sizeof(struct rsr_worker_pool) + n_threads * sizeof(struct member);
    const size_t n_all = n_bytes + n_threads * sizeof(struct rsr_place);
    struct rsr_worker_pool *pool = aligned_alloc(64, n_all);
    if (pool == NULL)
        return NULL;
    memset(pool, 0, n_all);
    pool->n_threads = n_threads;
    pool->places = (struct rsr_place *)(void *)((char *)pool + n_bytes);
    return pool;
}

rsr_status rsr_worker_pool_create(uint32_t n_threads, bool pin, size_t stack_bytes,
                                  struct rsr_worker_pool **result, rsr_error *err) {
    struct rsr_worker_pool *pool = allocate(n_threads);
    if (pool == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory for the engine's threads");
    pool->pin = pin;
    pool->n_cpus = rsr_cpu_available(rsr_cpu_placed());
    rsr_barrier_init(&pool->barrier, pool->places);

    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* threads inherit the mask */
    const uint32_t n_started = start(pool, stack_bytes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (n_started < n_threads) {
        end(pool, n_started);
        free(pool);
        return rsr_fail(err, RSR_ERR_MEMORY,
                        "the system refuses to start %u threads; ask for fewer", n_threads);
    }
    *result = pool;
    return RSR_OK;
}

void rsr_worker_pool_destroy(struct rsr_worker_pool *pool, bool forked) {
    if (pool != NULL && !forked)
        end(pool, pool->n_threads);
    free(pool);
}

void rsr_worker_pool_run(struct rsr_worker_pool *pool, uint32_t n, rsr_job_fn *job,
                         void *argument) {
    fenv_t environment;
    feholdexcept(&environment);
    fesetenv(FE_DFL_ENV);
    pool->job = job;
    pool->argument = argument;
    /* With more workers than CPUs, a spinning thread may keep the awaited one from running. */
    rsr_barrier_resize(&pool->barrier, n, n > pool->n_cpus ? 0 : SPIN_NS);
    for (uint32_t i = 1; i < n; i++)
        post(&pool->members[i]);
    job(argument, 0);
    rsr_barrier_wait(&pool->barrier, 0, NULL);
    fesetenv(&environment);
}

void rsr_worker_pool_barrier(struct rsr_worker_pool *pool, uint32_t worker) {
    rsr_barrier_wait(&pool->barrier, worker, NULL);
}

void rsr_worker_pool_barrier_fetching(struct rsr_worker_pool *pool, uint32_t worker,
                                      struct rsr_fetch *fetch) {
    rsr_barrier_wait(&pool->barrier, worker, fetch);
}
