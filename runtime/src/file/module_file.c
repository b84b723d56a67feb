/* module_file.c - finds the note of a module's file and compares the file with its hashes. */
#include "rsr_module_file.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rsr_hash.h"
#include "runtime.h"

/* A module has some ten notes of some hundred bytes beside its own. */
#define MAX_NOTES 1024u
#define MAX_NOTE_SEGMENT ((uint64_t)1 << 20)
#define BLOCK_BYTES ((size_t)1 << 18)

static uint64_t file_bytes(const struct rsr_module_file *file) {
    return (uint64_t)file->info.st_size;
}

static bool read_at(const struct rsr_module_file *file, void *to, size_t n_bytes, uint64_t at) {
    return at <= file_bytes(file) && n_bytes <= file_bytes(file) - at &&
           pread(file->fd, to, n_bytes, (off_t)at) == (ssize_t)n_bytes;
}

static bool ends(const char *text, size_t capacity) {
    return memchr(text, '\0', capacity) != NULL;
}

/* ---- the note -------------------------------------------------------------------------------- */

void rsr_note_hash(const struct rsr_note *note, uint8_t hash[16]) {
    rsr_hash_record(note, sizeof(*note), offsetof(struct rsr_note, hash), hash);
}

static bool note_is_whole(const struct rsr_note *note) {
    static const uint8_t none[sizeof(note->hash)];
    uint8_t hash[sizeof(note->hash)];
    if (note->n_sections != 0 || memcmp(note->hash, none, sizeof(none)) != 0) {
        rsr_note_hash(note, hash);
        if (memcmp(note->hash, hash, sizeof(hash)) != 0)
            return false;
    }
    bool whole = note->kind < RSR_NOTE_KIND_COUNT && note->n_sections <= RSR_NOTE_SECTIONS &&
                 ends(note->compiler_version, sizeof(note->compiler_version)) &&
                 ends(note->options, sizeof(note->options));
    for (uint32_t i = 0; whole && i < note->n_sections; i++)
        whole = ends(note->sections[i].name, sizeof(note->sections[i].name));
    return whole;
}

/* State of the search, over all segments. */
struct search {
    const char *path;
    uint32_t n_notes;
    bool found;
};

/* Takes our note from a segment, if it is there. */
static rsr_status search_segment(struct rsr_module_file *file, const Elf64_Phdr *segment,
                                 struct search *search, rsr_error *err) {
    static const char owner[] = RSR_NOTE_OWNER;
    const uint64_t align = segment->p_align == 8 ? 8 : 4;
    const uint64_t end = segment->p_offset + segment->p_filesz; /* in the file */
    uint64_t at = segment->p_offset;
    struct rsr_file_note known;
    const size_t head = offsetof(struct rsr_file_note, note);
    while (!search->found && end - at >= head && search->n_notes++ < MAX_NOTES) {
        if (!read_at(file, &known, head, at))
            return RSR_OK;
        const uint64_t bytes = sizeof(Elf64_Nhdr) + (known.owner_bytes + align - 1) / align * align;
        if (known.owner_bytes == sizeof(owner) && memcmp(known.owner, owner, sizeof(owner)) == 0) {
            if (known.type != RSR_NOTE_TYPE || known.note_bytes != sizeof(known.note))
                return rsr_fail(err, RSR_ERR_ABI,
                                "not a module that rsrc made for this librsr (%s): %s has a note "
                                "of another version; compile the model again",
                                RSRC_VERSION, search->path);
            file->note_at = at + head;
            search->found = end - at - head >= sizeof(file->note) &&
                            read_at(file, &file->note, sizeof(file->note), file->note_at);
            return RSR_OK;
        }
        const uint64_t step = bytes + (known.note_bytes + align - 1) / align * align;
        if (step > end - at)
            return RSR_OK;
        at += step;
    }
    return RSR_OK;
}

/* Checks that every segment is within the file: dlopen maps segments without looking at the file's
 * size, and reading past the end of a truncated file is SIGBUS. */
static rsr_status visit_segments(struct rsr_module_file *file, struct search *search,
                                 rsr_error *err) {
    const uint64_t n_bytes = file_bytes(file);
    Elf64_Ehdr header;
    if (!read_at(file, &header, sizeof(header), 0) ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_type != ET_DYN ||
        header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > n_bytes)
        return rsr_fail(err, RSR_ERR_FILE, "not a module that rsrc made: %s is no shared library",
                        search->path);
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        const bool is_there =
            read_at(file, &segment, sizeof(segment), header.e_phoff + i * sizeof(segment));
        const bool is_read = is_there && (segment.p_type == PT_LOAD || segment.p_type == PT_NOTE);
        if (!is_there || (is_read && (segment.p_offset > n_bytes ||
                                      segment.p_filesz > n_bytes - segment.p_offset)))
            return rsr_fail(err, RSR_ERR_FILE,
                            "%s is cut off: its %llu bytes end before its last segment does",
                            search->path, (unsigned long long)n_bytes);
        if (segment.p_type != PT_NOTE || segment.p_filesz > MAX_NOTE_SEGMENT)
            continue;
        const rsr_status status = search_segment(file, &segment, search, err);
        if (status != RSR_OK)
            return status;
    }
    return RSR_OK;
}

static rsr_status read_note(struct rsr_module_file *file, const char *path, rsr_error *err) {
    struct search search = {.path = path};
    if (!S_ISREG(file->info.st_mode))
        return rsr_fail(err, RSR_ERR_FILE, "not a module that rsrc made: %s is not a file", path);
    const rsr_status status = visit_segments(file, &search, err);
    if (status != RSR_OK)
        return status;
    if (!search.found)
        return rsr_fail(err, RSR_ERR_FILE,
                        "%s is a shared library, but not a module that rsrc made (if an earlier "
                        "version made it, compile the model again)",
                        path);
    if (note_is_whole(&file->note))
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_FILE,
                    "%s has changed since rsrc made it: its note is damaged; copy the file again, "
                    "or compile again",
                    path);
}

rsr_status rsr_module_file_open(const char *path, struct rsr_module_file *out, rsr_error *err) {
    struct rsr_module_file file = {0};
    file.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block */
    rsr_status status = file.fd >= 0 && fstat(file.fd, &file.info) == 0
                            ? read_note(&file, path, err)
                            : rsr_fail(err, RSR_ERR_FILE, "%s: %s", path, strerror(errno));
    if (status == RSR_OK)
        *out = file;
    else
        rsr_module_file_close(&file);
    return status;
}

void rsr_module_file_close(struct rsr_module_file *file) {
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

/* ---- its bytes ------------------------------------------------------------------------------- */

static rsr_status hash_blocks(const struct rsr_module_file *file, const char *path,
                              const struct rsr_note_section *section, uint8_t *block,
                              uint8_t hash[16], rsr_error *err) {
    struct rsr_hash state;
    rsr_hash_init(&state);
    for (uint64_t at = 0; at < section->size_bytes;) {
        const uint64_t left = section->size_bytes - at;
        const size_t n = left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;
        errno = 0;
        if (!read_at(file, block, n, section->begin + at))
            return rsr_fail(err, RSR_ERR_FILE, "%s cannot be read at byte %llu: %s", path,
                            (unsigned long long)(section->begin + at),
                            errno != 0 ? strerror(errno) : "it ends there");
        rsr_hash_update(&state, block, n);
        at += n;
    }
    rsr_hash_final(&state, hash);
    return RSR_OK;
}

rsr_status rsr_module_file_hash(const struct rsr_module_file *file, const char *path,
                                const struct rsr_note_section *section, uint8_t hash[16],
                                rsr_error *err) {
    uint8_t *block = malloc(BLOCK_BYTES);
    if (block == NULL)
        return rsr_fail(err, RSR_ERR_MEMORY, "no memory to read %s", path);
    const rsr_status status = hash_blocks(file, path, section, block, hash, err);
    free(block);
    return status;
}

static rsr_status check_size(const struct rsr_module_file *file, const char *path, rsr_error *err) {
    const uint64_t made = file->note.file_bytes, is = file_bytes(file);
    if (file->note.n_sections == 0)
        return rsr_fail(err, RSR_ERR_FILE,
                        "%s has no hashes to compare it with: it was not linked by rsrc", path);
    if (is == made)
        return RSR_OK;
    return rsr_fail(err, RSR_ERR_FILE,
                    "%s has changed since rsrc made it: it %s, from %llu bytes to %llu; copy the "
                    "file again, or compile again",
                    path, is < made ? "was cut off" : "has grown", (unsigned long long)made,
                    (unsigned long long)is);
}

rsr_status rsr_module_file_verify(const struct rsr_module_file *file, const char *path,
                                  rsr_section_fn *found, void *user, rsr_error *err) {
    const struct rsr_note_section *first = NULL;
    uint32_t n_changed = 0;
    rsr_status status = check_size(file, path, err);
    for (uint32_t i = 0; status == RSR_OK && i < file->note.n_sections; i++) {
        const struct rsr_note_section *section = &file->note.sections[i];
        uint8_t hash[sizeof(section->hash)];
        status = rsr_module_file_hash(file, path, section, hash, err);
        if (status != RSR_OK)
            return status;
        const rsr_section known = {.size_bytes = sizeof(known),
                                   .name = section->name,
                                   .begin = section->begin,
                                   .end = section->begin + section->size_bytes,
                                   .intact = memcmp(hash, section->hash, sizeof(hash)) == 0};
        if (found != NULL)
            found(user, &known);
        if (!known.intact && n_changed++ == 0)
            first = section;
    }
    if (first == NULL)
        return status;
    return rsr_fail(err, RSR_ERR_FILE,
                    "%s has changed since rsrc made it: section %s (%llu bytes from byte %llu)%s; "
                    "copy the file again, or compile again",
                    path, first->name, (unsigned long long)first->size_bytes,
                    (unsigned long long)first->begin, n_changed > 1 ? " and others" : "");
}
