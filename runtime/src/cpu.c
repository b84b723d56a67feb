/* cpu.c - the host's CPU features. x86-64: cpuid, and xgetbv for the registers that the operating
 * system saves; AArch64: the auxiliary vector. */
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "rsr_abi.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

enum cpuid_register { EAX, EBX, ECX, EDX };

/* XCR0: which register files the operating system saves. */
#define XCR0_AVX 0x6u
#define XCR0_AVX512 0xe6u
#define XCR0_AMX 0x60000u

static const struct cpu_row {
    uint64_t feature;
    uint32_t leaf, subleaf;
    enum cpuid_register reg;
    uint32_t bit;
    uint32_t xcr0;
} cpu_rows[] = {
    {RSR_CPU_MASK(SSSE3), 1, 0, ECX, 9, 0},
    {RSR_CPU_MASK(SSE41), 1, 0, ECX, 19, 0},
    {RSR_CPU_MASK(SSE42), 1, 0, ECX, 20, 0},
    {RSR_CPU_MASK(POPCNT), 1, 0, ECX, 23, 0},
    {RSR_CPU_MASK(AVX), 1, 0, ECX, 28, XCR0_AVX},
    {RSR_CPU_MASK(FMA), 1, 0, ECX, 12, XCR0_AVX},
    {RSR_CPU_MASK(F16C), 1, 0, ECX, 29, XCR0_AVX},
    {RSR_CPU_MASK(BMI), 7, 0, EBX, 3, 0},
    {RSR_CPU_MASK(AVX2), 7, 0, EBX, 5, XCR0_AVX},
    {RSR_CPU_MASK(BMI2), 7, 0, EBX, 8, 0},
    {RSR_CPU_MASK(AVX512F), 7, 0, EBX, 16, XCR0_AVX512},
    {RSR_CPU_MASK(AVX512DQ), 7, 0, EBX, 17, XCR0_AVX512},
    {RSR_CPU_MASK(AVX512BW), 7, 0, EBX, 30, XCR0_AVX512},
    {RSR_CPU_MASK(AVX512VL), 7, 0, EBX, 31, XCR0_AVX512},
    {RSR_CPU_MASK(AVX512VBMI), 7, 0, ECX, 1, XCR0_AVX512},
    {RSR_CPU_MASK(GFNI), 7, 0, ECX, 8, 0},
    {RSR_CPU_MASK(AVX512VNNI), 7, 0, ECX, 11, XCR0_AVX512},
    {RSR_CPU_MASK(AMX_TILE), 7, 0, EDX, 24, XCR0_AMX},
    {RSR_CPU_MASK(AMX_INT8), 7, 0, EDX, 25, XCR0_AMX},
    {RSR_CPU_MASK(AVXVNNI), 7, 1, EAX, 4, XCR0_AVX},
};

static uint64_t read_xcr0(void) {
    uint32_t regs[4];
    if (!__get_cpuid(1, &regs[EAX], &regs[EBX], &regs[ECX], &regs[EDX]) ||
        !(regs[ECX] & (1u << 27))) /* OSXSAVE: xgetbv may be used */
        return 0;
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

uint64_t rsr_cpu_features(void) {
    const uint64_t xcr0 = read_xcr0();
    uint64_t features = 0;
    for (size_t i = 0; i < sizeof(cpu_rows) / sizeof(cpu_rows[0]); i++) {
        const struct cpu_row *row = &cpu_rows[i];
        uint32_t regs[4];
        if (__get_cpuid_count(row->leaf, row->subleaf, &regs[EAX], &regs[EBX], &regs[ECX],
                              &regs[EDX]) &&
            (regs[row->reg] & (1u << row->bit)) != 0 && (xcr0 & row->xcr0) == row->xcr0)
            features |= row->feature;
    }
    return features;
}

/* Since Linux 5.16 a process asks before its first AMX instruction. */
bool rsr_cpu_enable(uint64_t features) {
    const long arch_req_xcomp_perm = 0x1023, xfeature_xtiledata = 18;
    if ((features & (RSR_CPU_MASK(AMX_TILE) | RSR_CPU_MASK(AMX_INT8))) == 0)
        return true;
    return syscall(SYS_arch_prctl, arch_req_xcomp_perm, xfeature_xtiledata) == 0;
}

#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>

uint64_t rsr_cpu_features(void) {
    const unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
    return ((caps & HWCAP_ASIMD) != 0 ? RSR_CPU_MASK(NEON) : 0) |
           ((caps & HWCAP_ASIMDDP) != 0 ? RSR_CPU_MASK(DOTPROD) : 0) |
           ((caps2 & HWCAP2_I8MM) != 0 ? RSR_CPU_MASK(I8MM) : 0);
}

bool rsr_cpu_enable(uint64_t features) {
    (void)features;
    return true;
}

#else

uint64_t rsr_cpu_features(void) {
    return 0;
}

bool rsr_cpu_enable(uint64_t features) {
    return features == 0;
}
#endif

static const struct {
    uint64_t mask;
    const char *name;
} feature_names[] = {
#define RSR_CPU_FEATURE(id, bit, spec_name, attribute) {RSR_CPU_MASK(id), spec_name},
#include "rsr_cpu_features.def"
#undef RSR_CPU_FEATURE
};

void rsr_cpu_name_features(uint64_t features, char *text, size_t capacity) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof(feature_names) / sizeof(feature_names[0]); i++) {
        if ((features & feature_names[i].mask) == 0)
            continue;
        features &= ~feature_names[i].mask;
        int n = snprintf(text + used, capacity - used, "%s%s",
                         used == 0 ? "" : (features == 0 ? " and " : ", "), feature_names[i].name);
        if (n < 0 || (size_t)n >= capacity - used)
            return;
        used += (size_t)n;
    }
    if (features != 0) /* of a newer compiler */
        snprintf(text + used, capacity - used, "%sfeatures unknown to this version",
                 used == 0 ? "" : " and ");
}
