/* worker_pool.h - an engine's threads.
 *
 * A leader thread enters one OpenMP parallel region when the pool is made and stays in it until the
 * pool ends; its team are the workers. Jobs are posted from any one other thread at a time. The
 * workers block all signals and have the default floating-point environment, which jobs keep, so
 * that neither the application's handlers nor its rounding mode or flush-to-zero flags reach the
 * results or what bounds of a sketch rely on (sketch/sketch.h).
 */
#ifndef RSR_WORKER_POOL_H
#define RSR_WORKER_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rsr.h"

struct rsr_worker_pool;

/* Runs on every worker; worker is 0 .. count-1. */
typedef void rsr_job_fn(void *argument, uint32_t worker);

/* OpenMP may give fewer threads than asked for (OMP_THREAD_LIMIT); see rsr_worker_pool_count. Jobs
 * take up to stack_bytes of a worker's stack: where OMP_STACKSIZE gives less, it is refused. */
RSR_NODISCARD rsr_status rsr_worker_pool_create(uint32_t n_threads, bool pin, size_t stack_bytes,
                                                struct rsr_worker_pool **pool, rsr_error *err);
/* Ends the threads. With `forked` (the threads stayed in the parent) only frees memory. */
void rsr_worker_pool_destroy(struct rsr_worker_pool *pool, bool forked);
uint32_t rsr_worker_pool_count(const struct rsr_worker_pool *pool);

/* Runs the job on all workers and returns when all are done. */
void rsr_worker_pool_run(struct rsr_worker_pool *pool, rsr_job_fn *job, void *argument);

/* For use inside a job by each of its workers: returns when all are here. */
void rsr_worker_pool_barrier(struct rsr_worker_pool *pool, uint32_t worker);
struct rsr_fetch;
/* The same; see rsr_barrier_wait. */
void rsr_worker_pool_barrier_fetching(struct rsr_worker_pool *pool, uint32_t worker,
                                      struct rsr_fetch *fetch);

#endif
