/* seal.c - divides a linked module's file into sections, hashes them and writes that into its note.
 *
 * ELF's sections, with what lies between them, the headers before them and the table of sections
 * cover the file without a gap; only the note is not covered, and has a hash of its own.
 */
#include "link/seal.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rsr_module_file.h"

/* A mark: something begins here and lasts until the next mark. */
struct mark {
    const char *name;
    uint64_t begin;
};

struct seal {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *path;
    struct rsr_module_file file;
    struct mark *marks;
    uint32_t n_marks, capacity;
    uint64_t weights_at; /* 0: the file has no section of the weights alone */
};

static enum rsrc_status refuse(const struct seal *seal, const char *why) {
    return rsrc_refuse(seal->diag, "link-unsound", &(struct rsrc_place){.file = seal->path},
                       "name another linker with --ld, or free some space",
                       "the linker's output is not a loadable module: %s", why);
}

/* ---- sections -------------------------------------------------------------------------------- */

static void add_mark(struct seal *seal, const char *name, uint64_t begin) {
    seal->marks = rsrc_arena_grown(seal->arena, seal->marks, seal->n_marks, &seal->capacity,
                                   sizeof(*seal->marks));
    seal->marks[seal->n_marks++] = (struct mark){name, begin};
}

/* NULL: the file does not hold them. */
static void *read_bytes(const struct seal *seal, uint64_t at, uint64_t n_bytes) {
    const uint64_t file_bytes = (uint64_t)seal->file.info.st_size;
    if (at > file_bytes || n_bytes > file_bytes - at)
        return NULL;
    char *bytes = RSRC_NEW_ARRAY(seal->arena, n_bytes + 1, char);
    return pread(seal->file.fd, bytes, n_bytes, (off_t)at) == (ssize_t)n_bytes ? bytes : NULL;
}

/* Marks a section. A section of weights is marked part by part, if the linker has put nothing but
 * the weights' object there. */
static void mark_section(struct seal *seal, const char *name, const Elf64_Shdr *section,
                         const struct rsrc_elf_writer *weights) {
    if (strcmp(name, RSRC_WEIGHTS_SECTION) != 0 || section->sh_size != weights->data_bytes) {
        add_mark(seal, name, section->sh_offset);
        return;
    }
    seal->weights_at = section->sh_offset;
    for (uint32_t i = 0; i < weights->n_parts; i++)
        add_mark(seal, weights->parts[i].name, section->sh_offset + weights->parts[i].begin);
}

static enum rsrc_status mark_sections(struct seal *seal, const struct rsrc_elf_writer *weights) {
    const Elf64_Ehdr *header = read_bytes(seal, 0, sizeof(*header));
    const Elf64_Shdr *sections =
        header == NULL || header->e_shentsize != sizeof(*sections)
            ? NULL
            : read_bytes(seal, header->e_shoff, header->e_shnum * sizeof(*sections));
    if (sections == NULL || header->e_shstrndx >= header->e_shnum)
        return refuse(seal, "its table of sections is not in the file");
    const Elf64_Shdr *strings = &sections[header->e_shstrndx];
    const char *names = read_bytes(seal, strings->sh_offset, strings->sh_size); /* ends in NUL */
    add_mark(seal, "headers", 0);
    add_mark(seal, "section headers", header->e_shoff);
    for (uint32_t i = 0; i < header->e_shnum; i++) {
        const Elf64_Shdr *section = &sections[i];
        if (section->sh_type == SHT_NULL || section->sh_type == SHT_NOBITS || section->sh_size == 0)
            continue;
        if (names == NULL || section->sh_name >= strings->sh_size)
            return refuse(seal, "a section of it has no name");
        mark_section(seal, names + section->sh_name, section, weights);
    }
    return RSRC_OK;
}

static int compare_marks(const void *a, const void *b) {
    const struct mark *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* ---- holes ----------------------------------------------------------------------------------- */

/* A file system zeros the bytes and takes back whole blocks of them. */
static enum rsrc_status leave_out(const struct seal *seal, const struct rsrc_elf_writer *weights) {
    const struct rsrc_place place = {.file = seal->path};
    if (weights->n_left_out == 0)
        return RSRC_OK;
    if (seal->weights_at == 0)
        return refuse(seal, "its weights are not a section of their own");
    const int fd = open(seal->path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0;
    for (uint32_t i = 0; done && i < weights->n_left_out; i++) {
        const struct rsrc_elf_range *range = &weights->left_out[i];
        done = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         (off_t)(seal->weights_at + range->begin),
                         (off_t)(range->end - range->begin)) == 0;
    }
    const int error = errno;
    if (fd >= 0)
        close(fd);
    return done ? RSRC_OK
                : rsrc_refuse(seal->diag, "shard-holes", &place,
                              "write to a file system that has them: ext4, XFS, Btrfs or tmpfs",
                              "cannot leave out other ranks' rows: a hole in the file: %s",
                              strerror(error));
}

/* ---- the note -------------------------------------------------------------------------------- */

static enum rsrc_status add_section(struct seal *seal, const char *name, uint64_t begin,
                                    uint64_t end) {
    struct rsr_note *note = &seal->file.note;
    if (begin >= end)
        return RSRC_OK;
    if (note->n_sections == RSR_NOTE_SECTIONS)
        return refuse(seal, "it has more sections than its note has room for");
    struct rsr_note_section *section = &note->sections[note->n_sections++];
    *section = (struct rsr_note_section){.begin = begin, .size_bytes = end - begin};
    memcpy(section->name, name, strnlen(name, sizeof(section->name) - 1));
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_module_file_hash(&seal->file, seal->path, section, section->hash, &err) == RSR_OK)
        return RSRC_OK;
    return refuse(seal, err.message);
}

/* Sections reach from one mark to the next; the note is not covered. */
static enum rsrc_status add_sections(struct seal *seal) {
    struct rsr_note *note = &seal->file.note;
    const uint64_t note_begin = seal->file.note_at - offsetof(struct rsr_file_note, note);
    const uint64_t note_end = seal->file.note_at + sizeof(*note);
    const uint64_t file_end = (uint64_t)seal->file.info.st_size;
    uint64_t at = 0;
    note->n_sections = 0;
    for (uint32_t i = 0; i < seal->n_marks; i++) {
        const uint64_t next = i + 1 < seal->n_marks ? seal->marks[i + 1].begin : file_end;
        const bool is_note = seal->marks[i].begin == note_begin;
        if (!is_note && at < note_begin && next > note_begin)
            return refuse(seal, "its note is not a section of its own");
        if (!is_note && add_section(seal, seal->marks[i].name, at, next) != RSRC_OK)
            return RSRC_FAILED;
        at = is_note ? note_end : next > at ? next : at;
    }
    note->file_bytes = file_end;
    rsr_note_hash(note, note->hash);
    return RSRC_OK;
}

static enum rsrc_status write_note(const struct seal *seal) {
    const struct rsr_note *note = &seal->file.note;
    const int fd = open(seal->path, O_WRONLY | O_CLOEXEC);
    const bool written = fd >= 0 && pwrite(fd, note, sizeof(*note), (off_t)seal->file.note_at) ==
                                        (ssize_t)sizeof(*note);
    const int error = errno;
    if (fd >= 0)
        close(fd);
    return written ? RSRC_OK : refuse(seal, strerror(error));
}

static enum rsrc_status seal_open(struct seal *seal, const struct rsrc_elf_writer *weights) {
    if (mark_sections(seal, weights) != RSRC_OK)
        return RSRC_FAILED;
    qsort(seal->marks, seal->n_marks, sizeof(*seal->marks), compare_marks);
    if (leave_out(seal, weights) != RSRC_OK)
        return RSRC_FAILED;
    return add_sections(seal) == RSRC_OK ? write_note(seal) : RSRC_FAILED;
}

/* Checks what librsr checks before it loads a file. */
static enum rsrc_status open_as_librsr(struct seal *seal) {
    rsr_error err = RSR_ERROR_INIT;
    return rsr_module_file_open(seal->path, &seal->file, &err) == RSR_OK
               ? RSRC_OK
               : refuse(seal, err.message);
}

enum rsrc_status rsrc_seal_module(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const char *path, const struct rsrc_elf_writer *weights) {
    struct seal seal = {.diag = diag, .arena = arena, .path = path};
    if (open_as_librsr(&seal) != RSRC_OK)
        return RSRC_FAILED;
    enum rsrc_status status = seal_open(&seal, weights);
    rsr_module_file_close(&seal.file);
    if (status != RSRC_OK || open_as_librsr(&seal) != RSRC_OK)
        return RSRC_FAILED;
    rsr_module_file_close(&seal.file);
    return RSRC_OK;
}
