/* cpu.c - the host's CPU features: which exist, which must be requested from the kernel, and their
 * names. */
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu.h"
#include "rsr_cpu_detect.h"

uint64_t rsr_cpu_features(void) {
    return rsr_detect_cpu();
}

/* Since Linux 5.16 a process must ask before its first AMX instruction, or it gets SIGILL. Older
 * kernels do not save the tiles, so they do not offer the features at all. */
bool rsr_cpu_enable(uint64_t features) {
#if defined(__x86_64__)
    const long arch_req_xcomp_perm = 0x1023, xfeature_xtiledata = 18;
    if ((features & RSR_CPU_ON_REQUEST) != 0)
        return syscall(SYS_arch_prctl, arch_req_xcomp_perm, xfeature_xtiledata) == 0;
#endif
    return (features & RSR_CPU_ON_REQUEST) == 0;
}

static const struct {
    uint64_t mask;
    const char *name;
} feature_names[] = {
#define RSR_CPU_FEATURE(id, bit, spec_name, attribute) {RSR_CPU_MASK(id), spec_name},
#include "rsr_cpu_features.def"
#undef RSR_CPU_FEATURE
};

/* A bit belongs to one architecture. */
#define RSR_CPU_FEATURE(id, bit, spec_name, attribute) | RSR_CPU_MASK(id)
_Static_assert(((0
#include "rsr_cpu_features.def"
                 ) &
                ~(RSR_CPU_X86_64 | RSR_CPU_AARCH64)) == 0,
               "a feature has one of the bits that wait for a third architecture");
#undef RSR_CPU_FEATURE

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
