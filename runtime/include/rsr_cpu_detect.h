/* rsr_cpu_detect.h - which features of rsr_cpu_features.def this machine has: RSR_CPU_MASK bits.
 *
 * The runtime asks whether code may run here, the compiler what the target `native` is. x86-64:
 * CPUID says what the CPU has, XCR0 which registers the operating system saves (Intel SDM volume 2,
 * CPUID leaves 1 and 7; volume 1, 13.3). AArch64: the auxiliary vector.
 */
#ifndef RSR_CPU_DETECT_H
#define RSR_CPU_DETECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "rsr_abi.h"

#if defined(__x86_64__)
#include <cpuid.h>

enum rsr_cpuid_register { RSR_EAX, RSR_EBX, RSR_ECX, RSR_EDX };

/* XCR0: which register files the operating system saves. */
#define RSR_XCR0_NONE 0u
#define RSR_XCR0_AVX 0x6u     /* SSE, upper halves of YMM */
#define RSR_XCR0_AVX512 0xe6u /* and opmask, ZMM */
#define RSR_XCR0_AMX 0x60000u /* tile configuration and data */

static inline uint64_t rsr_read_xcr0(void) {
    uint32_t regs[4];
    if (!__get_cpuid(1, &regs[RSR_EAX], &regs[RSR_EBX], &regs[RSR_ECX], &regs[RSR_EDX]) ||
        !(regs[RSR_ECX] & (1u << 27))) /* OSXSAVE: xgetbv may be used */
        return 0;
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static inline uint64_t rsr_detect_cpu(void) {
    static const struct {
        uint64_t feature;
        uint32_t leaf, subleaf;
        enum rsr_cpuid_register reg;
        uint32_t bit;
        uint32_t xcr0;
    } rows[] = {
        {RSR_CPU_MASK(SSSE3), 1, 0, RSR_ECX, 9, RSR_XCR0_NONE},
        {RSR_CPU_MASK(SSE41), 1, 0, RSR_ECX, 19, RSR_XCR0_NONE},
        {RSR_CPU_MASK(SSE42), 1, 0, RSR_ECX, 20, RSR_XCR0_NONE},
        {RSR_CPU_MASK(POPCNT), 1, 0, RSR_ECX, 23, RSR_XCR0_NONE},
        {RSR_CPU_MASK(AVX), 1, 0, RSR_ECX, 28, RSR_XCR0_AVX},
        {RSR_CPU_MASK(FMA), 1, 0, RSR_ECX, 12, RSR_XCR0_AVX},
        {RSR_CPU_MASK(F16C), 1, 0, RSR_ECX, 29, RSR_XCR0_AVX},
        {RSR_CPU_MASK(BMI), 7, 0, RSR_EBX, 3, RSR_XCR0_NONE},
        {RSR_CPU_MASK(AVX2), 7, 0, RSR_EBX, 5, RSR_XCR0_AVX},
        {RSR_CPU_MASK(BMI2), 7, 0, RSR_EBX, 8, RSR_XCR0_NONE},
        {RSR_CPU_MASK(AVX512F), 7, 0, RSR_EBX, 16, RSR_XCR0_AVX512},
        {RSR_CPU_MASK(AVX512DQ), 7, 0, RSR_EBX, 17, RSR_XCR0_AVX512},
        {RSR_CPU_MASK(AVX512BW), 7, 0, RSR_EBX, 30, RSR_XCR0_AVX512},
        {RSR_CPU_MASK(AVX512VL), 7, 0, RSR_EBX, 31, RSR_XCR0_AVX512},
        {RSR_CPU_MASK(AVX512VBMI), 7, 0, RSR_ECX, 1, RSR_XCR0_AVX512},
        {RSR_CPU_MASK(GFNI), 7, 0, RSR_ECX, 8, RSR_XCR0_NONE},
        {RSR_CPU_MASK(AVX512VNNI), 7, 0, RSR_ECX, 11, RSR_XCR0_AVX512},
        {RSR_CPU_MASK(AMX_TILE), 7, 0, RSR_EDX, 24, RSR_XCR0_AMX},
        {RSR_CPU_MASK(AMX_INT8), 7, 0, RSR_EDX, 25, RSR_XCR0_AMX},
        {RSR_CPU_MASK(AVXVNNI), 7, 1, RSR_EAX, 4, RSR_XCR0_AVX},
        {RSR_CPU_MASK(AVXVNNIINT8), 7, 1, RSR_EDX, 4, RSR_XCR0_AVX},
    };
    const uint64_t xcr0 = rsr_read_xcr0();
    uint64_t features = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t regs[4];
        if (__get_cpuid_count(rows[i].leaf, rows[i].subleaf, &regs[RSR_EAX], &regs[RSR_EBX],
                              &regs[RSR_ECX], &regs[RSR_EDX]) &&
            (regs[rows[i].reg] & (1u << rows[i].bit)) != 0 && (xcr0 & rows[i].xcr0) == rows[i].xcr0)
            features |= rows[i].feature;
    }
    return features;
}

#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>

static inline uint64_t rsr_detect_cpu(void) {
    const unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
    return ((caps & HWCAP_ASIMD) != 0 ? RSR_CPU_MASK(NEON) : 0) |
           ((caps & HWCAP_ASIMDDP) != 0 ? RSR_CPU_MASK(DOTPROD) : 0) |
           ((caps2 & HWCAP2_I8MM) != 0 ? RSR_CPU_MASK(I8MM) : 0);
}

#else

static inline uint64_t rsr_detect_cpu(void) {
    return 0;
}

#endif

/* Whether prefetches should go to the L2 cache instead of the L1 cache, by leaves 0 and 1 of CPUID.
 * AMD's L1 waits for at most 24 lines at once, which limits Zen 4 to 20 of its memory's 30 GB/s. On
 * Zen 5 (family 26) prefetches to L1 are faster: 20.9 GB/s, to L2 19.6, and decoding with one
 * thread took 7 to 10 % longer with L2. Intel prefers L1, too (Cascade Lake, by some 5 %). */
#define RSR_CPU_FAMILY_ZEN5 26u
static inline bool rsr_fetches_far(const char vendor[12], uint32_t signature) {
    const uint32_t base = signature >> 8 & 15,
                   family = base + (base == 15 ? signature >> 20 & 255 : 0);
    return memcmp(vendor, "AuthenticAMD", 12) == 0 && family < RSR_CPU_FAMILY_ZEN5;
}

static inline bool rsr_detect_far_fetches(void) {
#if defined(__x86_64__)
    uint32_t largest, vendor[3], signature, others[3];
    return __get_cpuid(0, &largest, &vendor[0], &vendor[2], &vendor[1]) &&
           __get_cpuid(1, &signature, &others[0], &others[1], &others[2]) &&
           rsr_fetches_far((const char *)vendor, signature);
#else
    return false;
#endif
}

#endif
