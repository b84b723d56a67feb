/* cpu.h - what the host can do: instruction sets, and how many CPUs this process may use. */
#ifndef RSR_CPU_H
#define RSR_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rsr_abi.h"

/* RSR_CPU_MASK bits that the CPU has and the operating system has enabled. */
uint64_t rsr_cpu_features(void);

/* Features that a process may use only after it asked the kernel: AMX, whose tiles are 8 KiB of
 * state. */
#define RSR_CPU_ON_REQUEST (RSR_CPU_MASK(AMX_TILE) | RSR_CPU_MASK(AMX_INT8))

/* Asks the kernel for those of `features` that must be asked for. False if it refuses. */
bool rsr_cpu_enable(uint64_t features);

/* "avx512f and avx512bw" into text; "" for no feature. */
void rsr_cpu_name_features(uint64_t features, char *text, size_t capacity);

/* The larger of n_placed and the number of CPUs in the calling thread's affinity mask, limited by
 * the cgroup's CPU quota (rounded up); at least 1. */
uint32_t rsr_cpu_available(uint32_t n_placed);

/* Counts like rsr_cpu_available, but CPUs that share a core count once, if `folder`
 * ("/sys/devices/system/cpu") says so. */
uint32_t rsr_cpu_cores(uint32_t n_placed, const char *folder);
#define RSR_CPU_FOLDER "/sys/devices/system/cpu"

/* CPUs in OpenMP's places; 0: OpenMP binds no threads or is not there. With OMP_PROC_BIND or
 * OMP_PLACES some implementations bind the program's first thread to one place before main, so the
 * thread's mask no longer shows all usable CPUs. */
uint32_t rsr_cpu_placed(void);
/* Lets the calling thread run on all CPUs of OpenMP's places, if there are any. */
void rsr_cpu_take_places(void);

/* Binds the calling thread to the n-th CPU (modulo their number) of its affinity mask. */
void rsr_cpu_pin(uint32_t n);

#endif
