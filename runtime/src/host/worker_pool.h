/* worker_pool.h - an engine's threads.
 *
 * The thread that posts a job is worker 0; the pool's threads are the others, as many as the job
 * asks for. One thread at a time posts jobs. Workers have the default floating-point environment,
 * and jobs keep it. So the application's rounding mode or flush-to-zero flags affect neither
 * results nor the bounds of a sketch (sketch/sketch.h). The pool's threads block all signals.
 */
#ifndef RSR_WORKER_POOL_H
#define RSR_WORKER_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rsr.h"

struct rsr_worker_pool;

/* Runs on every worker of the job; worker is 0 .. n-1. */
typedef void rsr_job_fn(void *argument, uint32_t worker);

/* Makes a pool for jobs of up to n_threads workers that take up to stack_bytes of stack. The
 * threads get this stack; the caller of rsr_worker_pool_run must have it. */
RSR_NODISCARD rsr_status rsr_worker_pool_create(uint32_t n_threads, bool pin, size_t stack_bytes,
                                                struct rsr_worker_pool **pool, rsr_error *err);
/* Ends the threads. With `forked` (the threads stayed in the parent) only frees memory. */
void rsr_worker_pool_destroy(struct rsr_worker_pool *pool, bool forked);

/* Runs the job on n workers, of 1 to n_threads, and returns when all are done. */
void rsr_worker_pool_run(struct rsr_worker_pool *pool, uint32_t n, rsr_job_fn *job, void *argument);

/* For use inside a job by each of its workers: returns when all are here. */
void rsr_worker_pool_barrier(struct rsr_worker_pool *pool, uint32_t worker);
struct rsr_fetch;
/* rsr_worker_pool_barrier that prefetches; see rsr_barrier_wait. */
void rsr_worker_pool_barrier_fetching(struct rsr_worker_pool *pool, uint32_t worker,
                                      struct rsr_fetch *fetch);

#endif
