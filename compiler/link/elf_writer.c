/* elf_writer.c - ELF64 relocatable object: header, section data as it comes, then the tables; and
 * an object with these tables alone. */
#include "link/elf_writer.h"

#include <assert.h>
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/round.h"

#ifndef SHF_X86_64_LARGE
#define SHF_X86_64_LARGE 0x10000000
#endif

#define SMALL_ALIGN ((uint64_t)4096)

enum section { S_NULL, S_DATA, S_HOLLOW, S_SYMTAB, S_STRTAB, S_SHSTRTAB, S_NOTE, S_COUNT };

#define HOLLOW_SECTION ".lbss"

static const char SECTION_NAMES[] =
    "\0" RSRC_WEIGHTS_SECTION "\0" HOLLOW_SECTION "\0.symtab\0.strtab\0.shstrtab\0.note.GNU-stack";

static uint32_t section_name_at(const char *name) {
    uint32_t at = 1;
    while (strcmp(SECTION_NAMES + at, name) != 0)
        at += (uint32_t)strlen(SECTION_NAMES + at) + 1;
    return at;
}

/* A file that begins with room for the header. */
static enum rsrc_status open_object(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const char *path, struct rsrc_output *out) {
    const Elf64_Ehdr placeholder = {0};
    if (rsrc_output_open(diag, arena, path, out) != RSRC_OK)
        return RSRC_FAILED;
    if (rsrc_output_write(diag, out, &placeholder, RSRC_ELF_DATA_OFFSET) == RSRC_OK)
        return RSRC_OK;
    rsrc_output_abandon(out);
    return RSRC_FAILED;
}

enum rsrc_status rsrc_elf_open(struct rsrc_diag *diag, struct rsrc_arena *arena, const char *path,
                               const char *triple, struct rsrc_elf_writer *out) {
    struct rsrc_elf_writer writer = {0};
    writer.machine = strncmp(triple, "aarch64", 7) == 0 ? EM_AARCH64 : EM_X86_64;
    if (open_object(diag, arena, path, &writer.output) != RSRC_OK)
        return RSRC_FAILED;
    const Elf64_Sym none = {0};
    rsrc_buffer_append(&writer.symbols, &none, sizeof(none));
    rsrc_buffer_append(&writer.names, "", 1);
    *out = writer;
    return RSRC_OK;
}

static enum rsrc_status pad_to(struct rsrc_diag *diag, struct rsrc_elf_writer *writer,
                               uint64_t align) {
    static const uint8_t zeros[4096];
    uint64_t missing = (align - writer->data_bytes % align) % align;
    while (missing != 0) {
        const uint64_t n = missing < sizeof(zeros) ? missing : sizeof(zeros);
        if (rsrc_output_write(diag, &writer->output, zeros, n) != RSRC_OK)
            return RSRC_FAILED;
        writer->data_bytes += n;
        missing -= n;
    }
    return RSRC_OK;
}

void rsrc_elf_begin_part(struct rsrc_elf_writer *writer, const char *name) {
    const uint32_t n = writer->n_parts;
    if (n != 0 && strcmp(writer->parts[n - 1].name, name) == 0)
        return;
    if (n != 0 && writer->parts[n - 1].begin == writer->data_bytes)
        writer->n_parts--; /* the file has no bytes yet */
    assert(writer->n_parts < RSRC_ELF_PARTS);
    writer->parts[writer->n_parts++] = (struct rsrc_elf_part){name, writer->data_bytes};
}

static void add_symbol(struct rsrc_elf_writer *writer, const char *symbol, uint16_t section,
                       uint64_t at, uint64_t size_bytes) {
    const Elf64_Sym record = {.st_name = (Elf64_Word)writer->names.size_bytes,
                              .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
                              .st_other = STV_HIDDEN,
                              .st_shndx = section,
                              .st_value = at,
                              .st_size = size_bytes};
    rsrc_buffer_append(&writer->symbols, &record, sizeof(record));
    rsrc_buffer_append(&writer->names, symbol, strlen(symbol) + 1);
}

enum rsrc_status rsrc_elf_begin(struct rsrc_diag *diag, struct rsrc_elf_writer *writer,
                                const char *symbol, uint32_t align, uint64_t size_bytes) {
    if (pad_to(diag, writer, align) != RSRC_OK)
        return RSRC_FAILED;
    add_symbol(writer, symbol, S_DATA, writer->data_bytes, size_bytes);
    return RSRC_OK;
}

void rsrc_elf_reserve(struct rsrc_elf_writer *writer, const char *symbol, uint32_t align,
                      uint64_t size_bytes) {
    const uint64_t at = rsrc_round_up(writer->hollow_bytes, align);
    add_symbol(writer, symbol, S_HOLLOW, at, size_bytes);
    writer->hollow_bytes = at + size_bytes;
}

enum rsrc_status rsrc_elf_write(struct rsrc_diag *diag, struct rsrc_elf_writer *writer,
                                const void *bytes, uint64_t size_bytes) {
    writer->data_bytes += size_bytes;
    return rsrc_output_write(diag, &writer->output, bytes, size_bytes);
}

bool rsrc_elf_is_huge(const struct rsrc_elf_writer *writer) {
    return writer->data_bytes >= 8 * RSRC_HUGE_PAGE;
}

/* And the header, to a file that has its place and, of SHT_PROGBITS, the data. */
static enum rsrc_status write_tables(struct rsrc_diag *diag, const struct rsrc_elf_writer *writer,
                                     uint32_t type, struct rsrc_output *output) {
    const bool large = writer->machine == EM_X86_64;
    Elf64_Shdr sections[S_COUNT] = {0};
    sections[S_DATA] =
        (Elf64_Shdr){.sh_name = section_name_at(RSRC_WEIGHTS_SECTION),
                     .sh_type = type,
                     .sh_flags = SHF_ALLOC | (large ? (Elf64_Xword)SHF_X86_64_LARGE : 0),
                     .sh_offset = RSRC_ELF_DATA_OFFSET,
                     .sh_size = writer->data_bytes,
                     .sh_addralign = rsrc_elf_is_huge(writer) ? RSRC_HUGE_PAGE : SMALL_ALIGN};
    sections[S_HOLLOW] = (Elf64_Shdr){.sh_name = section_name_at(HOLLOW_SECTION),
                                      .sh_type = SHT_NOBITS,
                                      .sh_flags = SHF_ALLOC | SHF_WRITE |
                                                  (large ? (Elf64_Xword)SHF_X86_64_LARGE : 0),
                                      .sh_offset = RSRC_ELF_DATA_OFFSET,
                                      .sh_size = writer->hollow_bytes,
                                      .sh_addralign = SMALL_ALIGN};
    uint64_t at = RSRC_ELF_DATA_OFFSET + (type == SHT_NOBITS ? 0 : writer->data_bytes);
    sections[S_SYMTAB] = (Elf64_Shdr){.sh_name = section_name_at(".symtab"),
                                      .sh_type = SHT_SYMTAB,
                                      .sh_offset = at,
                                      .sh_size = writer->symbols.size_bytes,
                                      .sh_link = S_STRTAB,
                                      .sh_info = 1, /* index of the first global symbol */
                                      .sh_addralign = 8,
                                      .sh_entsize = sizeof(Elf64_Sym)};
    at += writer->symbols.size_bytes;
    sections[S_STRTAB] = (Elf64_Shdr){.sh_name = section_name_at(".strtab"),
                                      .sh_type = SHT_STRTAB,
                                      .sh_offset = at,
                                      .sh_size = writer->names.size_bytes,
                                      .sh_addralign = 1};
    at += writer->names.size_bytes;
    sections[S_SHSTRTAB] = (Elf64_Shdr){.sh_name = section_name_at(".shstrtab"),
                                        .sh_type = SHT_STRTAB,
                                        .sh_offset = at,
                                        .sh_size = sizeof(SECTION_NAMES),
                                        .sh_addralign = 1};
    at += sizeof(SECTION_NAMES);
    sections[S_NOTE] = (Elf64_Shdr){.sh_name = section_name_at(".note.GNU-stack"),
                                    .sh_type = SHT_PROGBITS,
                                    .sh_offset = at,
                                    .sh_addralign = 1};
    const uint64_t padding = (8 - at % 8) % 8;
    const Elf64_Ehdr header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
                                           ELFDATA2LSB, EV_CURRENT, ELFOSABI_NONE},
                               .e_type = ET_REL,
                               .e_machine = writer->machine,
                               .e_version = EV_CURRENT,
                               .e_shoff = at + padding,
                               .e_ehsize = sizeof(Elf64_Ehdr),
                               .e_shentsize = sizeof(Elf64_Shdr),
                               .e_shnum = S_COUNT,
                               .e_shstrndx = S_SHSTRTAB};
    static const uint8_t zeros[8];
    if (rsrc_output_write(diag, output, writer->symbols.data, writer->symbols.size_bytes) !=
            RSRC_OK ||
        rsrc_output_write(diag, output, writer->names.data, writer->names.size_bytes) != RSRC_OK ||
        rsrc_output_write(diag, output, SECTION_NAMES, sizeof(SECTION_NAMES)) != RSRC_OK ||
        rsrc_output_write(diag, output, zeros, padding) != RSRC_OK ||
        rsrc_output_write(diag, output, sections, sizeof(sections)) != RSRC_OK)
        return RSRC_FAILED;
    if (pwrite(output->fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
        return rsrc_refuse(diag, "output-write-failed", &(struct rsrc_place){.file = output->path},
                           NULL, "cannot write: %s", strerror(errno));
    return RSRC_OK;
}

static void free_tables(struct rsrc_elf_writer *writer) {
    rsrc_buffer_free(&writer->symbols);
    rsrc_buffer_free(&writer->names);
}

/* Where linkers give the section a segment of its own, the file can get the bytes afterwards. */
static enum rsrc_status write_place(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    struct rsrc_elf_writer *writer) {
    if (writer->machine != EM_X86_64 || !rsrc_elf_is_huge(writer))
        return RSRC_OK;
    const char *path = rsrc_arena_printf(arena, "%s.place", writer->output.path);
    struct rsrc_output output;
    if (open_object(diag, arena, path, &output) != RSRC_OK)
        return RSRC_FAILED;
    if (write_tables(diag, writer, SHT_NOBITS, &output) != RSRC_OK) {
        rsrc_output_abandon(&output);
        return RSRC_FAILED;
    }
    writer->place = path;
    return rsrc_output_commit(diag, &output);
}

enum rsrc_status rsrc_elf_close(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                struct rsrc_elf_writer *writer) {
    if (pad_to(diag, writer, 8) != RSRC_OK ||
        write_tables(diag, writer, SHT_PROGBITS, &writer->output) != RSRC_OK ||
        write_place(diag, arena, writer) != RSRC_OK) {
        rsrc_elf_abandon(writer);
        return RSRC_FAILED;
    }
    free_tables(writer);
    return rsrc_output_commit(diag, &writer->output);
}

void rsrc_elf_abandon(struct rsrc_elf_writer *writer) {
    free_tables(writer);
    rsrc_output_abandon(&writer->output);
}
