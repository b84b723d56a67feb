/* mapped_file.h - a whole file mapped read-only, and files written through a temporary.
 *
 * Input files are never slurped: readers borrow the mapping. Output files appear under their final
 * name only when complete.
 */
#ifndef RSRC_BASE_MAPPED_FILE_H
#define RSRC_BASE_MAPPED_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "diag.h"

struct rsrc_mapping {
    const char *path;
    const uint8_t *data; /* NULL if the file is empty */
    uint64_t size_bytes;
    struct stat info; /* when it was mapped */
    struct rsrc_mapping *next;
};

/* False only if no directory entry has this name. True also for a dangling link and for an entry
 * that cannot be examined; opening it then says why. */
bool rsrc_file_is_there(const char *path);
/* Reports, by errno, why an attempt to open the path has just failed, and where a link leads. */
RSRC_NODISCARD enum rsrc_status rsrc_cannot_open(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const char *path, const char *help);

/* Refuses anything but a regular file. The path is copied into the arena. */
RSRC_NODISCARD enum rsrc_status rsrc_map_file(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                              const char *path, struct rsrc_mapping *out);
void rsrc_unmap_file(struct rsrc_mapping *mapping);
/* Pages of a mapped file that have been read stop being memory of this process. Who reads them
 * again gets them from the file, of which the system may still have a copy. The bytes must be of a
 * mapping: other memory would lose its contents. */
void rsrc_release_pages(const void *bytes, uint64_t size_bytes);
/* A walk through many bytes, a piece at a time. Pieces of a mapped file are released when the walk
 * goes to the next. */
struct rsrc_pieces {
    const uint8_t *bytes; /* of the piece; at first of the whole */
    uint64_t left;        /* from there on */
    bool is_mapped;
    size_t n_bytes; /* of the piece; at first 0 */
};
#define RSRC_PIECE_BYTES ((size_t)4 << 20)
/* Goes to the next; false: there is none. */
bool rsrc_next_piece(struct rsrc_pieces *pieces);
/* Refuses a file whose size or time of change differs from when it was mapped: a part of what was
 * read may be old, and a part new. A new file under the old name does not change the mapping. */
RSRC_NODISCARD enum rsrc_status rsrc_check_unchanged(struct rsrc_diag *diag,
                                                     const struct rsrc_mapping *mapping);

/* A file being written as <path>.tmp-rsrc-XXXXXX beside its final place. Every open one is removed
 * by rsrc_remove_temporaries(), which is safe in signal handlers and called on every abnormal
 * exit. */
struct rsrc_output {
    const char *path;
    char *temporary;
    int fd;
    int slot;
};
/* Refuses, before any work is done, a path that no file can be renamed to (a directory) or that no
 * file may replace (a device, a pipe). rsrc_output_open() calls it, too. */
RSRC_NODISCARD enum rsrc_status rsrc_output_check(struct rsrc_diag *diag, const char *path);
RSRC_NODISCARD enum rsrc_status rsrc_output_open(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const char *path, struct rsrc_output *out);
/* Like rsrc_output_open(), for a path that `option` gives instead of -o. */
RSRC_NODISCARD enum rsrc_status rsrc_output_open_by(struct rsrc_diag *diag,
                                                    struct rsrc_arena *arena, const char *option,
                                                    const char *path, struct rsrc_output *out);
/* Writes all bytes; a full disk or file-size limit is one diagnostic. */
RSRC_NODISCARD enum rsrc_status rsrc_output_write(struct rsrc_diag *diag, struct rsrc_output *out,
                                                  const void *bytes, uint64_t size_bytes);
RSRC_NODISCARD enum rsrc_status rsrc_output_commit(struct rsrc_diag *diag, struct rsrc_output *out);
void rsrc_output_abandon(struct rsrc_output *out);
/* Writes the whole file <dir>/<name>. Any thread. */
RSRC_NODISCARD enum rsrc_status rsrc_write_file(struct rsrc_diag *diag, const char *dir,
                                                const char *name, const void *bytes,
                                                size_t size_bytes);
/* Like rsrc_output_commit(), for a file that has to survive a power failure: syncs the file, then
 * its name. */
RSRC_NODISCARD enum rsrc_status rsrc_output_publish(struct rsrc_diag *diag,
                                                    struct rsrc_output *out);
/* Waits until the bytes of a file, or the names in a directory, are on the disk. It does not wait
 * for a directory that cannot be opened. */
RSRC_NODISCARD enum rsrc_status rsrc_sync(struct rsrc_diag *diag, const char *path);
/* Syncs a file, gives it its name, syncs the directory. */
RSRC_NODISCARD enum rsrc_status rsrc_publish(struct rsrc_diag *diag, const char *from,
                                             const char *to);

/* Says why no file of this many bytes can be made in the directory: ENOSPC, EDQUOT or EFBIG; 0: one
 * can be made, or the file system does not tell. */
int rsrc_lacks_room(const char *dir, uint64_t n_bytes);

/* Says that stdout could not be written; RSRC_FAILED. */
RSRC_NODISCARD enum rsrc_status rsrc_stdout_failed(struct rsrc_diag *diag);
/* Flushes stdout, or reports that it could not be written. */
RSRC_NODISCARD enum rsrc_status rsrc_stdout_finish(struct rsrc_diag *diag);

/* A private directory <beside>.tmp-rsrc-XXXXXX for intermediate files, removed with all it holds by
 * rsrc_remove_temporaries(). It lies beside the output because that is where the space is, and so
 * that the last step is a rename. Flat: no directories inside. */
RSRC_NODISCARD enum rsrc_status rsrc_temporary_dir(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const char *beside, const char **path);
/* A path for a temporary that belongs to no output: in TMPDIR if that is an absolute path, else in
 * /tmp. */
const char *rsrc_scratch_path(struct rsrc_arena *arena, const char *name);
/* The same there. */
RSRC_NODISCARD enum rsrc_status rsrc_scratch_dir(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                 const char *stem, const char **path);
void rsrc_remove_temporaries(void);
/* Like rsrc_remove_temporaries(), when the process is about to end: other threads that would make
 * or rename files then wait forever. */
void rsrc_remove_temporaries_and_block(void);

#endif
