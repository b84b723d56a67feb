/* sweep.h - temporaries that belong to a process, and the removal of those whose process is dead.
 *
 * A temporary is called <name>.tmp-rsrc-XXXXXX. Whoever makes one holds a lock on it: on the file,
 * or on the file .owner of a directory. The lock ends with the process however that ends, so what
 * can be locked is nobody's any more. Where a file system has no locks nothing is removed.
 */
#ifndef RSRC_BASE_SWEEP_H
#define RSRC_BASE_SWEEP_H

#include <stdbool.h>

#define RSRC_TEMPORARY ".tmp-rsrc-"

/* Makes and locks a file or a directory of the name, which ends in XXXXXX. The descriptor, whose
 * closing ends the lock; -1: errno says why not. */
int rsrc_make_owned_file(char *name);
int rsrc_make_owned_dir(char *name);

/* Removes temporaries of dead processes beside `path`: those of that name, or of any name where it
 * ends in '/'. */
void rsrc_sweep(const char *path);

/* A directory without directories inside; the file .owner goes last. */
void rsrc_remove_flat_dir(const char *path);

#endif
