/* rsr_module_file.h - the file of a module before any of it is loaded: its note (rsr_abi.h), and
 * whether its bytes are those that rsrc wrote.
 *
 * The file may be anything: what is read is checked first. It is read and not mapped, because a
 * mapped file that somebody cuts ends the process.
 */
#ifndef RSR_MODULE_FILE_H
#define RSR_MODULE_FILE_H

#include <sys/stat.h>

#include "rsr.h"
#include "rsr_abi.h"

struct rsr_module_file {
    int fd;
    struct stat info;
    uint64_t note_at; /* where `note` is in the file */
    struct rsr_note note;
};

/* Refuses what is no module, and segments that the file does not hold. */
RSR_NODISCARD rsr_status rsr_module_file_open(const char *path, struct rsr_module_file *out,
                                              rsr_error *err);
void rsr_module_file_close(struct rsr_module_file *file);

/* rsr_verify() of an open file. */
RSR_NODISCARD rsr_status rsr_module_file_verify(const struct rsr_module_file *file,
                                                const char *path, rsr_section_fn *found, void *user,
                                                rsr_error *err);

/* For who writes notes. */
RSR_NODISCARD rsr_status rsr_module_file_hash(const struct rsr_module_file *file, const char *path,
                                              const struct rsr_note_section *section,
                                              uint8_t hash[16], rsr_error *err);
void rsr_note_hash(const struct rsr_note *note, uint8_t hash[16]);

#endif
