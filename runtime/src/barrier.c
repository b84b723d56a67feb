/* barrier.c - see barrier.h.
 *
 * A decode step has some hundred barriers a few microseconds apart, so spinning wins while all workers
 * run. A worker that lost its CPU to another program keeps the others burning theirs, and the scheduler
 * makes a thread that burned its share wait, while one that slept runs as soon as it is woken. So each
 * spin in vain halves the next one and each that helped lengthens it. Measured on 2 CPUs, decoding with
 * barriers 5 us apart, tokens/s, against always 40 us and always 2 us: alone 4,900-5,400 (4,900-5,500;
 * 1,700-5,100), beside one busy thread 1,300-1,600 (320-810; 1,700-1,900).
 */
#include <limits.h>
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

/* True if the value changed within the time. */
static bool spin(struct rsr_signal *signal, uint32_t old, uint64_t spin_ns) {
    if (atomic_load_explicit(&signal->value, memory_order_acquire) != old)
        return true;
    if (spin_ns == 0)
        return false;
    uint64_t end = rsr_now_ns() + spin_ns;
    do {
        for (int i = 0; i < 16; i++) { /* a clock read costs about as much as one pause */
            if (atomic_load_explicit(&signal->value, memory_order_acquire) != old)
                return true;
            pause_cpu();
        }
    } while (rsr_now_ns() < end);
    return false;
}

/* The sleeper announces itself before the kernel looks at the value; the waker stores the value before
 * it looks for sleepers. Both are sequentially consistent, so one of them sees the other. */
void rsr_signal_wait(struct rsr_signal *signal, uint32_t old, uint64_t spin_ns) {
    if (spin(signal, old, spin_ns))
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

/* Below this a spin is over before a neighbour's store has arrived. */
#define MIN_SPIN_NS 2000u

static void lengthen(struct rsr_barrier *barrier, uint32_t spin_ns) {
    const uint32_t longer = spin_ns + spin_ns / 16;
    atomic_store_explicit(&barrier->spin_ns,
                          longer < barrier->max_spin_ns ? longer : barrier->max_spin_ns,
                          memory_order_relaxed);
}

static void halve(struct rsr_barrier *barrier, uint32_t spin_ns) {
    const uint32_t half = spin_ns / 2;
    atomic_store_explicit(&barrier->spin_ns, half > MIN_SPIN_NS ? half : MIN_SPIN_NS,
                          memory_order_relaxed);
}

/* Threads adapt spin_ns without regard to each other: a lost update costs nothing. */
static void wait_for_phase(struct rsr_barrier *barrier, uint32_t phase) {
    const uint32_t spin_ns = atomic_load_explicit(&barrier->spin_ns, memory_order_relaxed);
    if (barrier->max_spin_ns == 0) {
        rsr_signal_wait(&barrier->phase, phase, 0);
    } else if (spin(&barrier->phase, phase, spin_ns)) {
        lengthen(barrier, spin_ns);
    } else {
        halve(barrier, spin_ns);
        rsr_signal_wait(&barrier->phase, phase, 0);
    }
}

void rsr_barrier_init(struct rsr_barrier *barrier, uint32_t count, uint32_t max_spin_ns) {
    *barrier = (struct rsr_barrier){.count = count, .max_spin_ns = max_spin_ns};
    atomic_store(&barrier->spin_ns, max_spin_ns);
}

void rsr_barrier_wait(struct rsr_barrier *barrier) {
    if (barrier->count == 1)
        return;
    uint32_t phase = atomic_load_explicit(&barrier->phase.value, memory_order_acquire);
    if (atomic_fetch_add(&barrier->arrived, 1) + 1 == barrier->count) {
        atomic_store(&barrier->arrived, 0);
        rsr_signal_set(&barrier->phase, phase + 1);
    } else {
        wait_for_phase(barrier, phase);
    }
}
