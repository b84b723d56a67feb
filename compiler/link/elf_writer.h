/* elf_writer.h - streams packed weights into a relocatable ELF object of one large section.
 *
 * A compiler or assembler would hold every blob two or three times in memory; this writer holds
 * none. The section is .lrodata, on x86-64 flagged SHF_X86_64_LARGE: linkers place it beyond code
 * and data, so a model may exceed 2 GiB while everything else keeps its short relocations. From 16
 * MiB on it is 2 MiB aligned, so that huge pages can back it; smaller models are not worth the
 * padding. Each blob becomes a hidden global symbol, reached through 64-bit pointers only.
 *
 * A linker would map the object and the file that it makes, and hold both. From 16 MiB on, on
 * x86-64, it gets an object that has the section without its bytes; link/lay_weights.h puts them
 * into what it makes.
 */
#ifndef RSRC_LINK_ELF_WRITER_H
#define RSRC_LINK_ELF_WRITER_H

#include "base/mapped_file.h"
#include "ir.h"

/* A part of the section: from here to the next part, all blobs are of one kind. */
struct rsrc_elf_part {
    const char *name;
    uint64_t begin; /* in the section */
};
#define RSRC_ELF_PARTS 8u

/* Bytes [begin, end) of the section. */
struct rsrc_elf_range {
    uint64_t begin, end;
};

struct rsrc_elf_writer {
    struct rsrc_output output;
    const char *place;          /* of the object without bytes; NULL: there is none */
    struct rsrc_buffer symbols; /* Elf64_Sym records */
    struct rsrc_buffer names;   /* string table */
    uint64_t data_bytes;        /* written to the section so far */
    uint64_t hollow_bytes;      /* of memory without bytes of the file */
    uint16_t machine;           /* EM_X86_64, EM_AARCH64 */
    struct rsrc_elf_part parts[RSRC_ELF_PARTS];
    uint32_t n_parts;
    const struct rsrc_elf_range *left_out; /* zeros in the module, which take no space in its file;
                                              the writer's user owns them */
    uint32_t n_left_out;
};

#define RSRC_HUGE_PAGE ((uint64_t)2 << 20)
#define RSRC_WEIGHTS_SECTION ".lrodata"
/* Where its data begins in the object: any multiple of 64 will do. */
#define RSRC_ELF_DATA_OFFSET 64

/* Whether what was written so far is worth huge pages. */
bool rsrc_elf_is_huge(const struct rsrc_elf_writer *writer);

/* `triple` begins with the architecture ("x86_64-linux-gnu"). */
RSRC_NODISCARD enum rsrc_status rsrc_elf_open(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                              const char *path, const char *triple,
                                              struct rsrc_elf_writer *out);
/* Names the kind of the next blobs in words for users; it does nothing if the kind stays. */
void rsrc_elf_begin_part(struct rsrc_elf_writer *writer, const char *name);
/* Begins a blob at its alignment. The caller then writes its bytes, in any number of writes. */
RSRC_NODISCARD enum rsrc_status rsrc_elf_begin(struct rsrc_diag *diag,
                                               struct rsrc_elf_writer *writer, const char *symbol,
                                               uint32_t align, uint64_t size_bytes);
RSRC_NODISCARD enum rsrc_status rsrc_elf_write(struct rsrc_diag *diag,
                                               struct rsrc_elf_writer *writer, const void *bytes,
                                               uint64_t size_bytes);
/* Gives a blob its place in memory, zeros, and no bytes of the file: in a section of its own, which
 * linkers place after all data. */
void rsrc_elf_reserve(struct rsrc_elf_writer *writer, const char *symbol, uint32_t align,
                      uint64_t size_bytes);
/* Writes the tables, and the object without bytes beside it; renames both into place. */
RSRC_NODISCARD enum rsrc_status rsrc_elf_close(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                               struct rsrc_elf_writer *writer);
void rsrc_elf_abandon(struct rsrc_elf_writer *writer);

#endif
