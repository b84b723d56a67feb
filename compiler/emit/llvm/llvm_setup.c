/* llvm_setup.c - see llvm_setup.h. */
#include "emit/llvm/llvm_setup.h"

#include <llvm-c/Core.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Target.h>
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/mapped_file.h"
#include "base/process.h"

static const char *const x86_cpus[] = {
#define X86_CPU(name) name,
#define AARCH64_CPU(name)
#include "emit/llvm/llvm_cpus.def"
#undef X86_CPU
#undef AARCH64_CPU
};

static const char *const aarch64_cpus[] = {
#define X86_CPU(name)
#define AARCH64_CPU(name) name,
#include "emit/llvm/llvm_cpus.def"
#undef X86_CPU
#undef AARCH64_CPU
};

static const struct rsrc_llvm_arch archs[] = {
    {"x86_64-", "x86-64", RSR_CPU_X86_64, x86_cpus, sizeof x86_cpus / sizeof *x86_cpus},
    {"aarch64-", "generic", RSR_CPU_AARCH64, aarch64_cpus,
     sizeof aarch64_cpus / sizeof *aarch64_cpus},
};

static const struct {
    uint64_t mask;
    const char *name;
} features[] = {
#define RSR_CPU_FEATURE(id, bit, spec_name, attribute) {UINT64_C(1) << (bit), "+" spec_name},
#include "rsr_cpu_features.def"
#undef RSR_CPU_FEATURE
    /* In LLVM 19, 512-bit registers are a feature apart from AVX-512 (AVX10/256 has only the
     * latter). */
    {RSR_CPU_MASK(AVX512F), "+evex512"}};
#define N_FEATURES (sizeof features / sizeof *features)

/* Other threads may be inside LLVM: its destructors must not run. */
static void end_on_fatal_error(const char *reason) {
    rsrc_remove_temporaries_and_block();
    fprintf(stderr, "%s: internal error: LLVM gave up: %s\n", rsrc_program(), reason);
    fflush(stderr);
    _exit(70);
}

static void end_without_memory(void) {
    rsrc_remove_temporaries_and_block();
    fprintf(stderr, "%s: error: out of memory inside LLVM; -j 1 takes the least\n", rsrc_program());
    fflush(stderr);
    _exit(1);
}

static void end_on_bad_alloc(void *user, const char *reason, bool wants_diagnostic) {
    (void)user, (void)reason, (void)wants_diagnostic;
    end_without_memory();
}

/* If memory runs out, LLVM either throws std::bad_alloc, its only exception, which nothing catches,
 * or calls its own handler. std::set_terminate() and llvm::install_bad_alloc_error_handler()
 * intercept these. Both are looked up by their names in the C++ ABI, because LLVM's C interface
 * does not offer them, and we do not link with the C++ library that LLVM uses. */
static void catch_lack_of_memory(void) {
    void (*(*set_terminate)(void (*handler)(void)))(void);
    void (*set_handler)(void (*handler)(void *, const char *, bool), void *user);
    void *symbols[] = {
        dlsym(RTLD_DEFAULT, "_ZSt13set_terminatePFvvE"),
        dlsym(RTLD_DEFAULT, "_ZN4llvm31install_bad_alloc_error_handlerEPFvPvPKcbES0_"),
    };
    memcpy(&set_terminate, &symbols[0], sizeof set_terminate);
    memcpy(&set_handler, &symbols[1], sizeof set_handler);
    if (set_terminate != NULL)
        set_terminate(end_without_memory);
    if (set_handler != NULL)
        set_handler(end_on_bad_alloc, NULL);
}

static void initialize_once(void) {
    LLVMInstallFatalErrorHandler(end_on_fatal_error);
    catch_lack_of_memory();
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeX86AsmParser();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
    LLVMInitializeAArch64AsmParser();
}

void rsrc_llvm_initialize(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, initialize_once);
}

static bool knows_cpu(const struct rsrc_llvm_arch *arch, const char *cpu) {
    for (uint32_t i = 0; i < arch->n_cpus; i++)
        if (strcmp(arch->cpus[i], cpu) == 0)
            return true;
    return false;
}

static uint64_t known_features(void) {
    uint64_t known = 0;
    for (size_t i = 0; i < N_FEATURES; i++)
        known |= features[i].mask;
    return known;
}

enum rsrc_status rsrc_llvm_find_arch(const struct rsr_spec *spec,
                                     const struct rsrc_llvm_arch **arch, const char **why) {
    const struct rsrc_llvm_arch *found = NULL;
    for (size_t i = 0; i < sizeof archs / sizeof *archs && spec->triple != NULL; i++)
        if (strncmp(spec->triple, archs[i].prefix, strlen(archs[i].prefix)) == 0)
            found = &archs[i];
    if (found == NULL || strstr(spec->triple, "linux") == NULL) {
        *why = "the LLVM back end makes code for x86_64 and aarch64 Linux alone";
        return RSRC_FAILED;
    }
    if (spec->cpu == NULL || !knows_cpu(found, spec->cpu)) {
        *why = "LLVM 19 has no processor of the name that the target gives as its cpu";
        return RSRC_FAILED;
    }
    if ((spec->cpu_features & ~(found->features & known_features())) != 0) {
        *why = "a CPU feature of the target is not one of its architecture";
        return RSRC_FAILED;
    }
    *arch = found;
    return RSRC_OK;
}

const char *rsrc_llvm_feature_string(const struct rsr_spec *spec, struct rsrc_arena *arena) {
    const char *text = "";
    for (size_t i = 0; i < N_FEATURES; i++)
        if ((spec->cpu_features & features[i].mask) != 0)
            text = rsrc_arena_printf(arena, "%s%s%s", text, text[0] != '\0' ? "," : "",
                                     features[i].name);
    return text;
}

enum rsrc_status rsrc_llvm_create_machine(const struct rsr_spec *spec,
                                          const struct rsrc_llvm_arch *arch, uint32_t opt_level,
                                          LLVMTargetMachineRef *machine, const char **why) {
    static const LLVMCodeGenOptLevel levels[] = {LLVMCodeGenLevelNone, LLVMCodeGenLevelLess,
                                                 LLVMCodeGenLevelDefault,
                                                 LLVMCodeGenLevelAggressive};
    LLVMTargetRef target = NULL;
    char *message = NULL;
    char *triple = LLVMNormalizeTargetTriple(spec->triple);
    if (LLVMGetTargetFromTriple(triple, &target, &message) == 0)
        *machine = LLVMCreateTargetMachine(target, triple, arch->base_cpu, "",
                                           levels[opt_level < 3 ? opt_level : 3], LLVMRelocPIC,
                                           LLVMCodeModelDefault);
    else
        *machine = NULL;
    LLVMDisposeMessage(message);
    LLVMDisposeMessage(triple);
    if (*machine != NULL)
        return RSRC_OK;
    *why = "this LLVM was built without the target's architecture";
    return RSRC_FAILED;
}
