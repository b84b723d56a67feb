/* fuzz_module_file.c - any bytes as a module for librsr, up to the point of loading. If its note is
 * accepted, every section is read. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rsr_module_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

static void count(void *user, const rsr_section *section) {
    *(size_t *)user += strlen(section->name) < sizeof(((struct rsr_note_section *)0)->name);
}

/* A fuzzer cannot find a hash, so a note without a hash gets the right one. */
static void seal(uint8_t *bytes, size_t size_bytes) {
    static const char owner[] = RSR_NOTE_OWNER;
    uint8_t *at = memmem(bytes, size_bytes, owner, sizeof(owner));
    struct rsr_note note;
    if (at == NULL || (size_t)(bytes + size_bytes - at) < sizeof(owner) + sizeof(note))
        return;
    memcpy(&note, at + sizeof(owner), sizeof(note));
    note.file_bytes = size_bytes;
    rsr_note_hash(&note, note.hash);
    memcpy(at + sizeof(owner), &note, sizeof(note));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    const int fd = memfd_create("module", MFD_CLOEXEC);
    uint8_t *copy = malloc(size_bytes + 1);
    if (fd < 0 || copy == NULL)
        abort();
    memcpy(copy, bytes, size_bytes);
    if (size_bytes % 2 == 0)
        seal(copy, size_bytes);
    if (write(fd, copy, size_bytes) != (ssize_t)size_bytes)
        abort();
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    struct rsr_module_file file;
    rsr_error err = RSR_ERROR_INIT;
    size_t n_named = 0, n_sections = 0;
    if (rsr_module_file_open(path, &file, &err) == RSR_OK) {
        n_sections = file.note.n_sections;
        if (rsr_module_file_verify(&file, path, count, &n_named, &err) == RSR_OK)
            assert(n_named == n_sections);
        else
            assert(err.message[0] != '\0');
        rsr_module_file_close(&file);
    } else {
        assert(err.message[0] != '\0');
    }
    close(fd);
    free(copy);
    return 0;
}
