/* rsr_module_file.h - reads the file of a module before it is loaded: its note (rsr_abi.h), and
 * whether its bytes are still those that rsrc wrote.
 *
 * The file may be anything, so every field is checked before it is used. The file is read, not
 * mapped: if somebody truncates a mapped file, the process dies.
 */
#ifndef RSR_MODULE_FILE_H
#define RSR_MODULE_FILE_H

#include <sys/stat.h>

#include "rsr.h"
#include "rsr_abi.h"

struct rsr_module_file {
    int fd;
    struct stat info;
    uint64_t note_at; /* place of `note` in the file */
    struct rsr_note note;
};

/* Refuses a file that is no module, and segments that reach beyond the file. */
RSR_NODISCARD rsr_status rsr_module_file_open(const char *path, struct rsr_module_file *out,
                                              rsr_error *err);
void rsr_module_file_close(struct rsr_module_file *file);

/* rsr_verify() for an open file. */
RSR_NODISCARD rsr_status rsr_module_file_verify(const struct rsr_module_file *file,
                                                const char *path, rsr_section_fn *found, void *user,
                                                rsr_error *err);

/* For rsrc, which writes notes. */
RSR_NODISCARD rsr_status rsr_module_file_hash(const struct rsr_module_file *file, const char *path,
                                              const struct rsr_note_section *section,
                                              uint8_t hash[16], rsr_error *err);
void rsr_note_hash(const struct rsr_note *note, uint8_t hash[16]);

#endif
