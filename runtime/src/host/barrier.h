/* barrier.h - waiting for other threads: spin a little, then sleep on a futex. */
#ifndef RSR_BARRIER_H
#define RSR_BARRIER_H

#include <stdatomic.h>
#include <stdint.h>

/* A counter; threads wait until it changes. It has a cache line of its own. */
struct rsr_signal {
    _Alignas(64) _Atomic uint32_t value;
    _Atomic uint32_t sleepers;
};

/* Waits until the value differs from `old`; spins at most spin_ns before it sleeps. */
void rsr_signal_wait(struct rsr_signal *signal, uint32_t old, uint64_t spin_ns);
/* Sets the value and wakes whoever sleeps on it. */
void rsr_signal_set(struct rsr_signal *signal, uint32_t value);

/* Memory that a thread will read soon: one part of each of n_streams streams. */
struct rsr_fetch {
    const char *at, *end; /* of the first stream */
    uint32_t n_streams;
    uint64_t stream_bytes; /* from one to the next */
};

/* The CPU on which a thread last arrived at the barrier. It has a cache line of its own. */
struct rsr_place {
    _Alignas(64) _Atomic int cpu;
};

/* A barrier of `count` threads, reusable at once. Waiting threads spin for at most max_spin_ns; the
 * time adapts to whether spinning helped. */
struct rsr_barrier {
    struct rsr_signal phase;
    _Alignas(64) _Atomic uint32_t arrived;
    _Atomic uint32_t spin_ns;
    _Atomic uint32_t max_spin_ns; /* 0: sleep at once */
    _Atomic uint32_t count;
    struct rsr_place *places; /* [largest count], borrowed */
};

void rsr_barrier_init(struct rsr_barrier *barrier, struct rsr_place *places);
/* Call it before the first use, or while no thread uses the barrier. */
void rsr_barrier_resize(struct rsr_barrier *barrier, uint32_t count, uint32_t max_spin_ns);
/* How long to spin, in ns, while waiting for something that other threads do. */
uint32_t rsr_barrier_spin(const struct rsr_barrier *barrier);
/* Waits for all threads; `thread` is 0 .. count-1, each number once. A spinning thread prefetches
 * memory from fetch->at on; fetch may be NULL. */
void rsr_barrier_wait(struct rsr_barrier *barrier, uint32_t thread, struct rsr_fetch *fetch);
/* Arrives without waiting, for a thread that does not need the others. */
void rsr_barrier_arrive(struct rsr_barrier *barrier, uint32_t thread);

#endif
