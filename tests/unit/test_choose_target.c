/* The loader's choice of a target on machines of every kind, also with AMX, with and without the
 * kernel's permission. */
#include <string.h>

#include "api/choose_target.h"
#include "check.h"
#include "host/cpu.h"

#define M(id) RSR_CPU_MASK(id)
#define AVX512_BASE (M(AVX2) | M(AVX512F) | M(AVX512BW) | M(AVX512VL) | M(AVX512DQ) | M(AVX512VNNI))
#define AMX (M(AMX_TILE) | M(AMX_INT8))

/* The worst target comes first, because the order in a module must decide only between equal
 * targets. */
static const struct rsr_target TARGETS[] = {
    {.name = "generic"},
    {.name = "avx2", .cpu_features = M(AVX2)},
    {.name = "twin", .cpu_features = M(AVX2)},
    {.name = "amx", .cpu_features = AVX512_BASE | AMX},
    {.name = "avx512vnni", .cpu_features = AVX512_BASE},
};
#define N_TARGETS (sizeof(TARGETS) / sizeof(TARGETS[0]))

static uint64_t asked_for; /* features that enable() was asked for */

static bool allow(uint64_t features) {
    asked_for |= features & RSR_CPU_ON_REQUEST;
    return true;
}

/* The name of the chosen target, or the error message. */
static const char *choose(uint64_t features, bool (*enable)(uint64_t), const char *forced,
                          uint32_t first, uint32_t n) {
    static rsr_error err;
    const struct rsr_module module = {.targets = TARGETS + first, .n_targets = n};
    const struct rsr_host_cpu host = {features, enable};
    const struct rsr_target *target = NULL;
    err = (rsr_error)RSR_ERROR_INIT;
    asked_for = 0;
    const rsr_status status = rsr_choose_target(&module, forced, &host, &target, &err);
    CHECK((status == RSR_OK) == (target != NULL));
    return status == RSR_OK ? target->name : err.message;
}

#if defined(__x86_64__)
static bool deny(uint64_t features) {
    asked_for |= features & RSR_CPU_ON_REQUEST;
    return (features & RSR_CPU_ON_REQUEST) == 0;
}

static void test_best(void) {
    CHECK_STR(choose(0, allow, NULL, 0, N_TARGETS), "generic");
    CHECK_STR(choose(M(AVX2) | M(FMA), allow, NULL, 0, N_TARGETS), "avx2");
    CHECK_STR(choose(AVX512_BASE & ~M(AVX512VNNI), allow, NULL, 0, N_TARGETS), "avx2");
    CHECK_STR(choose(AVX512_BASE, allow, NULL, 0, N_TARGETS), "avx512vnni");
    CHECK_STR(choose(AVX512_BASE | M(GFNI), allow, NULL, 0, N_TARGETS), "avx512vnni");
    CHECK(asked_for == 0);
    CHECK_STR(choose(AVX512_BASE | AMX, allow, NULL, 0, N_TARGETS), "amx");
    CHECK(asked_for == AMX);
}

/* The kernel is asked for AMX only when a target with AMX is to run. */
static void test_permission(void) {
    CHECK_STR(choose(AVX512_BASE | AMX, deny, NULL, 0, N_TARGETS), "avx512vnni");
    CHECK(asked_for == AMX);
    CHECK_STR(choose(AVX512_BASE | AMX, deny, "avx512vnni", 0, N_TARGETS), "avx512vnni");
    CHECK(asked_for == 0);
    const char *message = choose(AVX512_BASE | AMX, deny, "amx", 0, N_TARGETS);
    CHECK(strstr(message, "kernel refuses to this process") != NULL);
    CHECK(strstr(message, "(amx needs amx-tile and amx-int8)") != NULL);
}

static void test_refusals(void) {
    const char *message = choose(AVX512_BASE, allow, "amx", 0, N_TARGETS);
    CHECK(strstr(message, "CPU lacks what the target needs") != NULL);
    CHECK(strstr(message, "open another target") != NULL);
    CHECK(strstr(message, "(amx needs amx-tile and amx-int8)") != NULL);
    CHECK(asked_for == 0);
    message = choose(0, allow, NULL, 1, 2);
    CHECK(strstr(message, "the module needs (avx2 needs avx2; twin needs avx2)") != NULL);
    CHECK(strstr(message, "--target native") != NULL);
    message = choose(AVX512_BASE, allow, "avx1024", 0, 2);
    CHECK(strstr(message, "no target avx1024; it has generic, avx2") != NULL);
}
#endif

static void test_forced(void) {
    CHECK_STR(choose(~(uint64_t)0, allow, "generic", 0, N_TARGETS), "generic");
#if defined(__x86_64__)
    CHECK_STR(choose(M(AVX2), allow, "twin", 0, N_TARGETS), "twin");
#endif
}

int main(void) {
#if defined(__x86_64__)
    test_best();
    test_permission();
    test_refusals();
#endif
    test_forced();
    return CHECK_EXIT();
}
