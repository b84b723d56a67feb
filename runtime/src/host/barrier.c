/* barrier.c - see barrier.h.
 *
 * A decode step has some hundred barriers, 5 to 200 us apart, and its workers arrive up to 50 us
 * after each other. While all workers run, spinning is better, because a sleeper wakes 10 us late.
 * But if a worker loses its CPU to another program, the others waste theirs by spinning. The
 * scheduler then makes these threads wait, because they used up their share, while a thread that
 * slept runs as soon as it is woken. So the time of a spin adapts. A spin that helped lengthens the
 * next one. A spin in vain doubles it if the wait ended soon afterwards. It halves it if the wait
 * took a scheduler's slice, or if two threads share a CPU, as threads that compete with other
 * programs often do.
 *
 * Measured on 2 CPUs; in brackets the simpler rule that halves after every spin in vain. 8 layers
 * of 2,560 with barriers 10 to 200 us apart: 11.3 ms per token (12.6) and an eighth of the context
 * switches (without the check for shared CPUs). The bundled model, with barriers 5 us apart: alone
 * 0.19-0.24 ms (0.20-0.21); beside one busy thread 0.58-0.79 ms (0.64-0.76), without the check for
 * shared CPUs 3.2 ms.
 */
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "barrier.h"
#include "runtime.h"

_Static_assert(sizeof(_Atomic uint32_t) == 4, "a futex is 32 bits");

static inline void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Takes some 50 ns, as long as a pause. */
static inline void fetch_some(struct rsr_fetch *fetch) {
    enum { LINES = 8, LINE_BYTES = 64 };
    for (uint32_t n = 0; n < LINES && fetch->at != fetch->end; n += fetch->n_streams) {
        for (uint32_t stream = 0; stream < fetch->n_streams; stream++)
            __builtin_prefetch(fetch->at + stream * fetch->stream_bytes, 0,
                               2); /* to the L2 cache */
        const long left = fetch->end - fetch->at;
        fetch->at += left < LINE_BYTES ? left : LINE_BYTES;
    }
}

/* True if the value changed within the time. */
static bool spin(struct rsr_signal *signal, uint32_t old, uint64_t spin_ns,
                 struct rsr_fetch *fetch) {
    if (atomic_load_explicit(&signal->value, memory_order_acquire) != old)
        return true;
    if (spin_ns == 0)
        return false;
    uint64_t end = rsr_now_ns() + spin_ns;
    do {
        for (int i = 0; i < 16; i++) { /* a clock read costs about as much as one pause */
            if (atomic_load_explicit(&signal->value, memory_order_acquire) != old)
                return true;
            if (fetch != NULL && fetch->at != fetch->end)
                fetch_some(fetch);
            else
                pause_cpu();
        }
    } while (rsr_now_ns() < end);
    return false;
}

/* The sleeper announces itself before the kernel looks at the value; the waker stores the value
 * before it looks for sleepers. Both are sequentially consistent, so one of them sees the other. */
void rsr_signal_wait(struct rsr_signal *signal, uint32_t old, uint64_t spin_ns) {
    if (spin(signal, old, spin_ns, NULL))
        return;
    atomic_fetch_add(&signal->sleepers, 1);
    while (atomic_load(&signal->value) == old)
        syscall(SYS_futex, &signal->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&signal->sleepers, 1);
}

void rsr_signal_set(struct rsr_signal *signal, uint32_t value) {
    atomic_store(&signal->value, value);
    if (atomic_load(&signal->sleepers) != 0)
        syscall(SYS_futex, &signal->value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* A wait that ends before this would have been covered by a longer spin. A wait for a thread that
 * lost its CPU takes a scheduler's slice, which is longer. */
#define CLOSE_NS 400000u

/* Below this a spin is over before a neighbour's store has arrived. */
#define MIN_SPIN_NS 2000u

static uint32_t get(const _Atomic uint32_t *number) {
    return atomic_load_explicit(number, memory_order_relaxed);
}

static void set_spin(struct rsr_barrier *barrier, uint32_t spin_ns) {
    const uint32_t most = get(&barrier->max_spin_ns);
    if (spin_ns > most)
        spin_ns = most;
    atomic_store_explicit(&barrier->spin_ns, spin_ns > MIN_SPIN_NS ? spin_ns : MIN_SPIN_NS,
                          memory_order_relaxed);
}

/* Whether another thread was last seen on this one's CPU, where it cannot run while this one
 * spins. */
static bool shares_cpu(const struct rsr_barrier *barrier, uint32_t thread) {
    const int cpu = atomic_load_explicit(&barrier->places[thread].cpu, memory_order_relaxed);
    for (uint32_t i = 0; i < get(&barrier->count); i++)
        if (i != thread &&
            atomic_load_explicit(&barrier->places[i].cpu, memory_order_relaxed) == cpu)
            return true;
    return false;
}

/* Threads adapt spin_ns without regard to each other: a lost update costs nothing. */
static void wait_for_phase(struct rsr_barrier *barrier, uint32_t phase, uint32_t thread,
                           struct rsr_fetch *fetch) {
    const uint32_t spin_ns = rsr_barrier_spin(barrier);
    if (spin_ns == 0) {
        rsr_signal_wait(&barrier->phase, phase, 0);
    } else if (spin(&barrier->phase, phase, spin_ns, fetch)) {
        set_spin(barrier, spin_ns + spin_ns / 16);
    } else {
        const uint64_t begin = rsr_now_ns();
        rsr_signal_wait(&barrier->phase, phase, 0);
        const bool was_close = rsr_now_ns() - begin < CLOSE_NS && !shares_cpu(barrier, thread);
        set_spin(barrier, was_close ? 2 * spin_ns : spin_ns / 2);
    }
}

void rsr_barrier_init(struct rsr_barrier *barrier, struct rsr_place *places) {
    *barrier = (struct rsr_barrier){.places = places};
}

void rsr_barrier_resize(struct rsr_barrier *barrier, uint32_t count, uint32_t max_spin_ns) {
    if (get(&barrier->max_spin_ns) != max_spin_ns) {
        atomic_store_explicit(&barrier->max_spin_ns, max_spin_ns, memory_order_relaxed);
        atomic_store_explicit(&barrier->spin_ns, max_spin_ns, memory_order_relaxed);
    }
    atomic_store_explicit(&barrier->count, count, memory_order_relaxed);
}

uint32_t rsr_barrier_spin(const struct rsr_barrier *barrier) {
    const uint32_t spin_ns = get(&barrier->spin_ns), most = get(&barrier->max_spin_ns);
    return spin_ns < most ? spin_ns : most;
}

/* Notes an arrival. True: the thread is the last one and need not wait. False: *phase ends when all
 * have arrived. */
static bool arrive(struct rsr_barrier *barrier, uint32_t thread, uint32_t *phase) {
    atomic_store_explicit(&barrier->places[thread].cpu, sched_getcpu(), memory_order_relaxed);
    *phase = atomic_load_explicit(&barrier->phase.value, memory_order_acquire);
    /* Read before the arrival is noted: after that, all threads may continue and resize the
     * barrier. */
    const uint32_t count = get(&barrier->count);
    if (atomic_fetch_add(&barrier->arrived, 1) + 1 != count)
        return false;
    atomic_store(&barrier->arrived, 0);
    rsr_signal_set(&barrier->phase, *phase + 1);
    return true;
}

void rsr_barrier_wait(struct rsr_barrier *barrier, uint32_t thread, struct rsr_fetch *fetch) {
    uint32_t phase;
    if (get(&barrier->count) > 1 && !arrive(barrier, thread, &phase))
        wait_for_phase(barrier, phase, thread, fetch);
}

void rsr_barrier_arrive(struct rsr_barrier *barrier, uint32_t thread) {
    uint32_t phase;
    (void)arrive(barrier, thread, &phase);
}
