/* cubin.c - finds the registers of a kernel in a cubin, which is an ELF file: its section .nv.info
 * has a list of attributes. Each has a format, a kind and, in format 4, a number of bytes and these
 * bytes; kind 0x2f has the number of a symbol, and its registers. cuobjdump -elf lists it so; ptxas
 * of CUDA 11 to 13 writes it.
 */
#include "emit/ptx/cubin.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#define FORMAT_BYTES 4u
#define KIND_REGISTERS 0x2fu

struct cubin {
    const uint8_t *bytes;
    size_t size_bytes;
};

/* False: the file is too short. */
static bool read_at(const struct cubin *c, uint64_t at, void *out, size_t n) {
    if (at > c->size_bytes || n > c->size_bytes - at)
        return false;
    memcpy(out, c->bytes + at, n);
    return true;
}

static bool has_text(const struct cubin *c, uint64_t at, const char *text) {
    const size_t n = strlen(text) + 1;
    return at <= c->size_bytes && n <= c->size_bytes - at && memcmp(c->bytes + at, text, n) == 0;
}

static bool read_section(const struct cubin *c, const Elf64_Ehdr *header, uint32_t i,
                         Elf64_Shdr *out) {
    return i < header->e_shnum && header->e_shoff <= c->size_bytes &&
           read_at(c, header->e_shoff + (uint64_t)i * sizeof(*out), out, sizeof(*out)) &&
           out->sh_offset <= c->size_bytes && out->sh_size <= c->size_bytes - out->sh_offset;
}

static bool find_section(const struct cubin *c, const Elf64_Ehdr *header, const char *name,
                         Elf64_Shdr *out) {
    Elf64_Shdr names;
    if (!read_section(c, header, header->e_shstrndx, &names))
        return false;
    for (uint32_t i = 0; i < header->e_shnum; i++)
        if (read_section(c, header, i, out) && has_text(c, names.sh_offset + out->sh_name, name))
            return true;
    return false;
}

static bool is_symbol(const struct cubin *c, const Elf64_Shdr *symbols, const Elf64_Shdr *names,
                      uint32_t i, const char *name) {
    Elf64_Sym symbol;
    return i < symbols->sh_size / sizeof(symbol) &&
           read_at(c, symbols->sh_offset + (uint64_t)i * sizeof(symbol), &symbol, sizeof(symbol)) &&
           has_text(c, names->sh_offset + symbol.st_name, name);
}

uint32_t rsrc_cubin_registers(const void *cubin, size_t size_bytes, const char *symbol) {
    const struct cubin c = {cubin, size_bytes};
    Elf64_Ehdr header;
    Elf64_Shdr info, symbols, names;
    if (!read_at(&c, 0, &header, sizeof(header)) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        !find_section(&c, &header, ".nv.info", &info) ||
        !find_section(&c, &header, ".symtab", &symbols) ||
        !read_section(&c, &header, symbols.sh_link, &names))
        return 0;
    const uint64_t end = info.sh_offset + info.sh_size;
    for (uint64_t at = info.sh_offset; at + 4 <= end;) {
        struct {
            uint8_t format, kind;
            uint16_t n_bytes;
        } entry;
        uint32_t values[2]; /* symbol, registers */
        if (!read_at(&c, at, &entry, sizeof(entry)))
            return 0;
        if (entry.format == FORMAT_BYTES && entry.kind == KIND_REGISTERS &&
            entry.n_bytes == sizeof(values) && read_at(&c, at + 4, values, sizeof(values)) &&
            is_symbol(&c, &symbols, &names, values[0], symbol))
            return values[1];
        at += 4 + (entry.format == FORMAT_BYTES ? entry.n_bytes : 0u);
    }
    return 0;
}
