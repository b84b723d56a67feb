/* test_cubin.c - reads a kernel's registers from a cubin made by hand, and from every cut and
 * changed copy of it. */
#include <elf.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "emit/ptx/cubin.h"

/* An ELF file of four sections. .nv.info has an attribute without bytes, one of another kind, and
 * the registers of symbol 2. */
struct made {
    Elf64_Ehdr header;
    char names[24];
    char strings[16];
    Elf64_Sym symbols[3];
    uint32_t info[8];
    Elf64_Shdr sections[4];
};

static Elf64_Shdr section(uint32_t name, size_t offset, size_t size, uint32_t link) {
    return (Elf64_Shdr){.sh_name = name, .sh_offset = offset, .sh_size = size, .sh_link = link};
}

static struct made make(void) {
    struct made m = {.names = "\0.symtab\0.nv.info",
                     .strings = "\0one\0two",
                     .symbols = {{0}, {.st_name = 1}, {.st_name = 5}},
                     .info = {0x00003701, 0x00081204, 1, 99, 0x00082f04, 2, 66, 0}};
    memcpy(m.header.e_ident, ELFMAG, SELFMAG);
    m.header.e_shoff = offsetof(struct made, sections);
    m.header.e_shnum = 4;
    m.header.e_shstrndx = 0;
    m.sections[0] = section(0, offsetof(struct made, names), sizeof(m.names), 0);
    m.sections[1] = section(0, offsetof(struct made, strings), sizeof(m.strings), 0);
    m.sections[2] = section(1, offsetof(struct made, symbols), sizeof(m.symbols), 1);
    m.sections[3] = section(9, offsetof(struct made, info), sizeof(m.info), 0);
    return m;
}

static void test_registers(void) {
    const struct made m = make();
    CHECK_INT(rsrc_cubin_registers(&m, sizeof(m), "two"), 66);
    CHECK_INT(rsrc_cubin_registers(&m, sizeof(m), "one"), 0);
    CHECK_INT(rsrc_cubin_registers(&m, sizeof(m), "three"), 0);
}

/* Copies the file to the heap at its exact size, so that sanitizers see reads past the end. Any
 * answer is right. */
static uint32_t read_copy(const struct made *m, size_t n) {
    void *copy = malloc(n == 0 ? 1 : n);
    memcpy(copy, m, n);
    const uint32_t registers = rsrc_cubin_registers(copy, n, "two");
    free(copy);
    return registers;
}

static void test_damage(void) {
    static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
    uint32_t n_told = 0;
    for (size_t n = 0; n < sizeof(struct made); n++) {
        const struct made m = make();
        CHECK_INT(read_copy(&m, n), 0); /* section headers are last */
    }
    for (size_t at = 0; at < sizeof(struct made); at++) {
        for (size_t v = 0; v < sizeof(values); v++) {
            struct made m = make();
            ((uint8_t *)&m)[at] = values[v];
            n_told += read_copy(&m, sizeof(m)) == 66;
        }
    }
    CHECK(n_told > sizeof(struct made)); /* most bytes do not matter for it */
}

int main(void) {
    test_registers();
    test_damage();
    return CHECK_EXIT();
}
