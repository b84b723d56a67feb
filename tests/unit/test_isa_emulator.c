/* test_isa_emulator.c - the emulator runs the encodings that kernels use. An encoding that no
 * processor accepts ends the process, as on a processor, so that a kernel with such an encoding
 * fails its tests. */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "isa_emulator.h"
#include "rsr_cpu_detect.h"

#define CONFIGURE 0xc4, 0xe2, 0x78, 0x49, 0x07 /* ldtilecfg (%rdi) */

/* Code for (%rdi: a tile configuration and data, %rsi: 64), followed by a return. */
static const struct encoding {
    const char *what;
    bool runs;
    uint8_t byte, value; /* the byte of the configuration that a case changes */
    uint8_t n;
    uint8_t code[12];
} encodings[] = {
    {"vpermb (%rdi), %zmm1, %zmm0", true, 0, 1, 6, {0x62, 0xf2, 0x75, 0x48, 0x8d, 0x07}},
    {"vpermb, broadcast", false, 0, 1, 6, {0x62, 0xf2, 0x75, 0x58, 0x8d, 0x07}},
    {"vpermb, zeroing without a mask", false, 0, 1, 6, {0x62, 0xf2, 0x75, 0xc8, 0x8d, 0x07}},
    {"vpermb, of 1024 bits", false, 0, 1, 6, {0x62, 0xf2, 0x75, 0x68, 0x8d, 0xc2}},
    {"vgf2p8affineqb $1, (%rdi){1to8}, %zmm1, %zmm0",
     true,
     0,
     1,
     7,
     {0x62, 0xf3, 0xf5, 0x58, 0xce, 0x07, 1}},
    {"vgf2p8affineqb $1, %ymm2, %ymm1, %ymm0", true, 0, 1, 6, {0xc4, 0xe3, 0xf5, 0xce, 0xc2, 1}},
    {"vgf2p8affineqb, broadcast of a register",
     false,
     0,
     1,
     7,
     {0x62, 0xf3, 0xf5, 0x58, 0xce, 0xc2, 1}},
    {"vgf2p8affineqb, W0", false, 0, 1, 7, {0x62, 0xf3, 0x75, 0x48, 0xce, 0xc2, 1}},
    {"vpdpbusd (%rdi), %ymm1, %ymm0", true, 0, 1, 5, {0xc4, 0xe2, 0x75, 0x50, 0x07}},
    {"vpdpbssd %xmm2, %xmm1, %xmm0", true, 0, 1, 5, {0xc4, 0xe2, 0x73, 0x50, 0xc2}},
    {"vpdpbusd, W1", false, 0, 1, 5, {0xc4, 0xe2, 0xf5, 0x50, 0x07}},
    {"vpdpbssds (%rdi), %ymm1, %ymm0", false, 0, 1, 5, {0xc4, 0xe2, 0x77, 0x51, 0x07}},
    {"ldtilecfg (%rdi)", true, 0, 1, 5, {CONFIGURE}},
    {"ldtilecfg, L1", false, 0, 1, 5, {0xc4, 0xe2, 0x7c, 0x49, 0x07}},
    {"ldtilecfg, with a second source", false, 0, 1, 5, {0xc4, 0xe2, 0x70, 0x49, 0x07}},
    {"ldtilecfg, palette 2", false, 0, 2, 5, {CONFIGURE}},
    {"ldtilecfg, reserved byte", false, 2, 1, 5, {CONFIGURE}},
    {"ldtilecfg, 17 rows", false, 48, 17, 5, {CONFIGURE}},
    {"ldtilecfg, rows without columns", false, 51, 1, 5, {CONFIGURE}},
    {"tilerelease", true, 0, 1, 5, {0xc4, 0xe2, 0x78, 0x49, 0xc0}},
    {"tilerelease, of a register", false, 0, 1, 5, {0xc4, 0xe2, 0x78, 0x49, 0xc1}},
    {"tileloadd, not configured", false, 0, 1, 6, {0xc4, 0xe2, 0x7b, 0x4b, 0x04, 0x37}},
    {"tileloadd (%rdi,%rsi), %tmm3, which has no rows",
     false,
     0,
     1,
     11,
     {CONFIGURE, 0xc4, 0xe2, 0x7b, 0x4b, 0x1c, 0x37}},
    {"tileloadd (%rdi,%rsi), %tmm9",
     false,
     0,
     1,
     11,
     {CONFIGURE, 0xc4, 0x62, 0x7b, 0x4b, 0x0c, 0x37}},
    {"tileloadd (%rdi,%rsi), %tmm0",
     true,
     0,
     1,
     11,
     {CONFIGURE, 0xc4, 0xe2, 0x7b, 0x4b, 0x04, 0x37}},
    {"tileloadd, without an index", false, 0, 1, 10, {CONFIGURE, 0xc4, 0xe2, 0x7b, 0x4b, 0x07}},
    {"tdpbssd %tmm2, %tmm1, %tmm0", true, 0, 1, 10, {CONFIGURE, 0xc4, 0xe2, 0x6b, 0x5e, 0xc1}},
    {"tdpbssd, a tile twice", false, 0, 1, 10, {CONFIGURE, 0xc4, 0xe2, 0x6b, 0x5e, 0xc0}},
    {"tdpbssd, of other rows", false, 49, 8, 10, {CONFIGURE, 0xc4, 0xe2, 0x6b, 0x5e, 0xc1}},
};

/* If the host has the instruction, the processor decides which encodings it accepts, not the
 * emulator. */
static bool host_runs(const struct encoding *e) {
    static const struct {
        const char *begin;
        uint64_t feature;
    } rows[] = {{"vpermb", RSR_CPU_MASK(AVX512VBMI)},
                {"vgf2p8", RSR_CPU_MASK(GFNI)},
                {"vpdpbus", RSR_CPU_MASK(AVXVNNI)},
                {"vpdpbss", RSR_CPU_MASK(AVXVNNIINT8)}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strncmp(e->what, rows[i].begin, strlen(rows[i].begin)) == 0)
            return (rsr_detect_cpu() & rows[i].feature) != 0;
    return false;
}

/* Runs the code in a process of its own, which exits 0 at the end of the code. */
static void run(const struct encoding *e) {
    static _Alignas(64)
        uint8_t memory[64 * 17] = {[0] = 1, [16] = 64, [18] = 64, [20] = 64, [48] = 16, 16, 16};
    memory[e->byte] = e->value;
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED || !isa_emulator_install())
        _exit(2);
    memcpy(page, e->code, e->n);
    page[e->n] = 0xc3; /* ret */
    if (mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0)
        _exit(2);
    void (*function)(uint8_t *, size_t);
    memcpy(&function, &page, sizeof function);
    function(memory, 64);
    _exit(0);
}

static void check_encoding(const struct encoding *e) {
    int pipe_fds[2];
    char message[200] = "";
    CHECK_INT(pipe(pipe_fds), 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(pipe_fds[1], STDERR_FILENO);
        run(e);
    }
    close(pipe_fds[1]);
    const ssize_t n_read = read(pipe_fds[0], message, sizeof message - 1);
    close(pipe_fds[0]);
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    const bool ran = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    const bool told = n_read > 0 && strstr(message, "isa_emulator: cannot emulate") != NULL;
    if (ran != e->runs || (!ran && !(told && WIFSIGNALED(status))))
        fprintf(stderr, "%s: status %x, \"%s\"\n", e->what, (unsigned)status, message);
    CHECK_INT(ran, e->runs);
    CHECK(ran || (told && WIFSIGNALED(status)));
}

int main(void) {
    if (!isa_emulator_install())
        fprintf(stderr, "SKIPPED: nothing is emulated on this machine\n");
    CHECK(sizeof encodings / sizeof *encodings > 20);
    for (size_t i = 0; isa_emulator_install() && i < sizeof encodings / sizeof *encodings; i++)
        if (host_runs(&encodings[i]))
            fprintf(stderr, "SKIPPED: %s: this machine has the instruction\n", encodings[i].what);
        else
            check_encoding(&encodings[i]);
    return CHECK_EXIT();
}
