/* host.c - what this machine's processor, and the operating system on it, support.
 *
 * A feature counts only if the operating system saves the registers that it uses (XCR0), which CPUID
 * alone does not tell. Source: Intel SDM volume 2, CPUID leaves 1 and 7; volume 1, 13.3 (XCR0).
 */
#include "spec/host.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "rsr_abi.h"
#include "spec/spec.h"

#if defined(__x86_64__)
#include <cpuid.h>

enum cpuid_register { EAX, EBX, ECX, EDX };

/* XCR0 bits of the register state that the operating system saves. */
#define STATE_NONE 0u
#define STATE_AVX 0x6u     /* SSE, upper halves of YMM */
#define STATE_AVX512 0xe6u /* and opmask, ZMM */
#define STATE_AMX 0x60000u /* tile configuration and data */

static const struct {
    uint64_t feature;
    uint32_t leaf, subleaf;
    enum cpuid_register reg;
    uint32_t bit;
    uint32_t state;
} CPUID_FEATURES[] = {
    {RSR_CPU_MASK(SSSE3), 1, 0, ECX, 9, STATE_NONE},
    {RSR_CPU_MASK(SSE41), 1, 0, ECX, 19, STATE_NONE},
    {RSR_CPU_MASK(SSE42), 1, 0, ECX, 20, STATE_NONE},
    {RSR_CPU_MASK(POPCNT), 1, 0, ECX, 23, STATE_NONE},
    {RSR_CPU_MASK(AVX), 1, 0, ECX, 28, STATE_AVX},
    {RSR_CPU_MASK(AVX2), 7, 0, EBX, 5, STATE_AVX},
    {RSR_CPU_MASK(BMI), 7, 0, EBX, 3, STATE_NONE},
    {RSR_CPU_MASK(BMI2), 7, 0, EBX, 8, STATE_NONE},
    {RSR_CPU_MASK(FMA), 1, 0, ECX, 12, STATE_AVX},
    {RSR_CPU_MASK(F16C), 1, 0, ECX, 29, STATE_AVX},
    {RSR_CPU_MASK(AVXVNNI), 7, 1, EAX, 4, STATE_AVX},
    {RSR_CPU_MASK(AVX512F), 7, 0, EBX, 16, STATE_AVX512},
    {RSR_CPU_MASK(AVX512BW), 7, 0, EBX, 30, STATE_AVX512},
    {RSR_CPU_MASK(AVX512VL), 7, 0, EBX, 31, STATE_AVX512},
    {RSR_CPU_MASK(AVX512DQ), 7, 0, EBX, 17, STATE_AVX512},
    {RSR_CPU_MASK(AVX512VNNI), 7, 0, ECX, 11, STATE_AVX512},
    {RSR_CPU_MASK(AVX512VBMI), 7, 0, ECX, 1, STATE_AVX512},
    {RSR_CPU_MASK(GFNI), 7, 0, ECX, 8, STATE_NONE},
    {RSR_CPU_MASK(AMX_TILE), 7, 0, EDX, 24, STATE_AMX},
    {RSR_CPU_MASK(AMX_INT8), 7, 0, EDX, 25, STATE_AMX},
};

/* The register state the operating system saves; 0 if it does not use XSAVE. */
static uint32_t saved_state(void) {
    unsigned regs[4] = {0};
    if (!__get_cpuid(1, &regs[EAX], &regs[EBX], &regs[ECX], &regs[EDX]) ||
        (regs[ECX] & bit_OSXSAVE) == 0)
        return 0;
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

uint64_t rsrc_host_features(void) {
    uint64_t found = 0;
    uint32_t state = saved_state();
    for (size_t i = 0; i < sizeof CPUID_FEATURES / sizeof CPUID_FEATURES[0]; i++) {
        unsigned regs[4] = {0};
        uint32_t leaf = CPUID_FEATURES[i].leaf, wanted = CPUID_FEATURES[i].state;
        if (!__get_cpuid_count(leaf, CPUID_FEATURES[i].subleaf, &regs[EAX], &regs[EBX], &regs[ECX],
                               &regs[EDX]))
            continue;
        bool has = (regs[CPUID_FEATURES[i].reg] >> CPUID_FEATURES[i].bit & 1) != 0;
        if (has && (state & wanted) == wanted)
            found |= CPUID_FEATURES[i].feature;
    }
    return found;
}

#else

/* No feature of another architecture is used by any target yet. */
uint64_t rsrc_host_features(void) {
    return 0;
}

#endif

/* Bytes of a cache as sysfs tells it ("48K"); 0 if it does not. Index 0 is L1 data, 2 L2, 3 L3. */
static uint64_t sysfs_cache_bytes(int index) {
    char path[80];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    unsigned long size = 0;
    char unit = '\0';
    int n = fscanf(file, "%9lu%c", &size, &unit);
    fclose(file);
    if (n < 1)
        return 0;
    return (uint64_t)size << (unit == 'K' ? 10 : unit == 'M' ? 20 : 0);
}

uint32_t rsrc_host_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (uint32_t)CPU_COUNT(&set);
    long cores = sysconf(_SC_NPROCESSORS_ONLN); /* more than cpu_set_t holds */
    return cores > 0 ? (uint32_t)cores : 1;
}

/* sysconf, else sysfs, else what the target description says. */
uint64_t rsrc_host_l2_bytes(uint64_t fallback) {
    const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (size > 0)
        return (uint64_t)size;
    const uint64_t bytes = sysfs_cache_bytes(2);
    return bytes != 0 ? bytes : fallback;
}
