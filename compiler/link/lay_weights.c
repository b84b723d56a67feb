/* lay_weights.c - puts the weights into a file that a linker made with an empty section for them.
 *
 * The linker gives the section addresses and, in a library, a segment that takes no bytes of the
 * file. The weights go where that segment begins; the parts after it, which are not loaded
 * (symbols, headers of sections), move after the weights. So the file equals what the linker would
 * have made of the weights themselves. A relocatable object has no segments and gets them at its
 * end.
 */
#include "link/lay_weights.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "base/round.h"

struct laying {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *path;
    int fd;
    uint64_t file_bytes;
    Elf64_Ehdr header;
    Elf64_Shdr *sections; /* [header.e_shnum] */
    Elf64_Shdr *section;  /* of the weights */
    Elf64_Phdr segment;
    uint64_t segment_at; /* 0: a relocatable object has none */
    void *tail;          /* what moves */
    uint64_t tail_at, tail_bytes;
};

static enum rsrc_status cannot(const struct laying *l, const char *what, int error) {
    return rsrc_refuse(l->diag, "output-write-failed", &(struct rsrc_place){.file = l->path},
                       "free some space or raise the limit", "cannot %s: %s", what,
                       strerror(error != 0 ? error : EIO));
}

/* NULL: the file does not hold them. */
static void *read_bytes(const struct laying *l, uint64_t at, uint64_t n_bytes) {
    if (at > l->file_bytes || n_bytes > l->file_bytes - at)
        return NULL;
    void *bytes = rsrc_arena_alloc(l->arena, n_bytes);
    return pread(l->fd, bytes, n_bytes, (off_t)at) == (ssize_t)n_bytes ? bytes : NULL;
}

/* ---- where ----------------------------------------------------------------------------------- */

static bool read_headers(struct laying *l) {
    const Elf64_Ehdr *header = read_bytes(l, 0, sizeof(*header));
    if (header == NULL || header->e_shentsize != sizeof(*l->sections) ||
        header->e_shstrndx >= header->e_shnum)
        return false;
    l->header = *header;
    l->sections = read_bytes(l, header->e_shoff, header->e_shnum * sizeof(*l->sections));
    return l->sections != NULL;
}

static bool find_section(struct laying *l) {
    const uint64_t names_at = l->sections[l->header.e_shstrndx].sh_offset;
    for (uint32_t i = 0; i < l->header.e_shnum && l->section == NULL; i++) {
        const size_t n_bytes = sizeof(RSRC_WEIGHTS_SECTION);
        const char *name = read_bytes(l, names_at + l->sections[i].sh_name, n_bytes);
        if (name != NULL && memcmp(name, RSRC_WEIGHTS_SECTION, n_bytes) == 0)
            l->section = &l->sections[i];
    }
    return l->section != NULL;
}

/* What is loaded at the section's address. */
static bool find_segment(struct laying *l) {
    const uint64_t begin = l->section->sh_addr, size = l->section->sh_size;
    for (uint32_t i = 0; i < l->header.e_phnum; i++) {
        l->segment_at = l->header.e_phoff + i * sizeof(l->segment);
        const Elf64_Phdr *segment = read_bytes(l, l->segment_at, sizeof(*segment));
        if (segment == NULL || segment->p_type != PT_LOAD || begin < segment->p_vaddr ||
            size > segment->p_memsz || begin - segment->p_vaddr > segment->p_memsz - size)
            continue;
        l->segment = *segment;
        return true;
    }
    return false;
}

/* Moves the headers of parts after the place in the file. False: some such part is loaded. */
static bool move_tail(struct laying *l) {
    const uint64_t begin = l->section->sh_offset;
    if (l->file_bytes <= begin)
        return true;
    for (uint32_t i = 0; i < l->header.e_shnum; i++) {
        Elf64_Shdr *section = &l->sections[i];
        if (section == l->section || section->sh_offset < begin || section->sh_size == 0)
            continue;
        if ((section->sh_flags & SHF_ALLOC) != 0)
            return false;
        section->sh_offset += l->section->sh_size;
    }
    if (l->header.e_shoff < begin)
        return false;
    l->header.e_shoff += l->section->sh_size;
    l->tail_at = begin + l->section->sh_size;
    l->tail_bytes = l->file_bytes - begin;
    l->tail = read_bytes(l, begin, l->tail_bytes);
    return l->tail != NULL;
}

/* The segment must have the section alone: a linker that does not know -z lrodata-after-bss gives
 * it to others too. */
static bool place_in_segment(struct laying *l) {
    if (!find_segment(l) || l->segment.p_filesz != 0 || l->segment.p_memsz != l->section->sh_size)
        return false;
    l->section->sh_offset = l->segment.p_offset;
    l->segment.p_filesz = l->segment.p_memsz;
    return move_tail(l);
}

static bool find_place(struct laying *l, const struct rsrc_elf_writer *weights) {
    if (!read_headers(l) || !find_section(l) || l->section->sh_size != weights->data_bytes)
        return false;
    l->section->sh_type = SHT_PROGBITS;
    l->section->sh_offset = rsrc_round_up(l->file_bytes, RSRC_HUGE_PAGE);
    return l->header.e_type == ET_REL || place_in_segment(l);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* The kernel copies the bytes, so they do not become memory of this process. */
static enum rsrc_status copy_weights(const struct laying *l, const char *from) {
    const int in = open(from, O_RDONLY | O_CLOEXEC);
    off_t at = RSRC_ELF_DATA_OFFSET;
    uint64_t left = l->section->sh_size;
    errno = 0;
    bool copies = in >= 0 && lseek(l->fd, (off_t)l->section->sh_offset, SEEK_SET) >= 0;
    while (copies && left != 0) {
        const ssize_t n = sendfile(l->fd, in, &at, left);
        copies = n > 0 || (n < 0 && errno == EINTR);
        left -= n > 0 ? (uint64_t)n : 0;
    }
    const int error = errno;
    if (in >= 0)
        close(in);
    return copies ? RSRC_OK : cannot(l, "write", error);
}

static bool write_at(const struct laying *l, uint64_t at, const void *bytes, uint64_t n_bytes) {
    return pwrite(l->fd, bytes, n_bytes, (off_t)at) == (ssize_t)n_bytes;
}

static enum rsrc_status write_headers(const struct laying *l) {
    errno = 0;
    const uint64_t sections_bytes = l->header.e_shnum * sizeof(*l->sections);
    if (write_at(l, 0, &l->header, sizeof(l->header)) &&
        (l->segment_at == 0 || write_at(l, l->segment_at, &l->segment, sizeof(l->segment))) &&
        (l->tail_bytes == 0 || write_at(l, l->tail_at, l->tail, l->tail_bytes)) &&
        write_at(l, l->header.e_shoff, l->sections, sections_bytes))
        return RSRC_OK;
    return cannot(l, "write", errno);
}

enum rsrc_status rsrc_lay_weights(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const char *path, const struct rsrc_elf_writer *weights,
                                  bool *laid) {
    struct laying l = {.diag = diag, .arena = arena, .path = path};
    l.fd = open(path, O_RDWR | O_CLOEXEC);
    if (l.fd < 0)
        return cannot(&l, "open", errno);
    const off_t end = lseek(l.fd, 0, SEEK_END);
    l.file_bytes = end > 0 ? (uint64_t)end : 0;
    enum rsrc_status status = RSRC_OK;
    *laid = find_place(&l, weights);
    if (*laid)
        status = copy_weights(&l, weights->output.path);
    if (*laid && status == RSRC_OK)
        status = write_headers(&l);
    close(l.fd);
    return status;
}
