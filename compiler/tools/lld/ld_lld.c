/* ld_lld.c - the linker ld.lld as a small program, for wheels: LLVM's ELF linker and nothing else.
 *
 * The linker is C++, and its one function is called by its name in the C++ ABI: a release whose
 * function has other parameters has another name, and is not linked. The linker can also compile
 * bitcode, for every machine of LLVM. rsrc gives it none, so the functions that bring these
 * machines are empty here, and their 80 MB stay out.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

/* llvm::ArrayRef<const char *>: passed by value, in two registers. */
struct string_array {
    char *const *data;
    size_t n;
};

/* llvm::outs(), llvm::errs(), lld::elf::link(); a raw_ostream is known by its address. */
void *llvm_outs(void) __asm__("_ZN4llvm4outsEv");
void *llvm_errs(void) __asm__("_ZN4llvm4errsEv");
bool lld_elf_link(struct string_array args, void *out, void *err, bool exit_early,
                  bool disable_output) __asm__("_ZN3lld3elf4linkEN4llvm8ArrayRefIPKcEERNS1_11raw_"
                                               "ostreamES7_bb");

#define NOTHING(machine, what)                                                                     \
    void LLVMInitialize##machine##what(void);                                                      \
    void LLVMInitialize##machine##what(void) {}
#define LLVM_TARGET(machine)                                                                       \
    NOTHING(machine, TargetInfo) NOTHING(machine, Target) NOTHING(machine, TargetMC)
#include <llvm/Config/Targets.def>
#define LLVM_ASM_PRINTER(machine) NOTHING(machine, AsmPrinter)
#include <llvm/Config/AsmPrinters.def>
#define LLVM_ASM_PARSER(machine) NOTHING(machine, AsmParser)
#include <llvm/Config/AsmParsers.def>

/* Polly is a part of the optimiser of bitcode. */
void polly_info(void) __asm__("_Z18getPollyPluginInfov");
void polly_info(void) {
    abort();
}

int main(int argc, char **argv) {
    const struct string_array args = {argv, (size_t)argc};
    return lld_elf_link(args, llvm_outs(), llvm_errs(), true, false) ? 0 : 1;
}
