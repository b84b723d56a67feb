/* sweep.h - temporaries that belong to a process, and the removal of those whose process is dead.
 *
 * A temporary is called <name>.tmp-rsrc-XXXXXX. The process that makes one holds a lock on it: on
 * the file, or on the file .owner in a directory. The lock ends when the process ends, in whatever
 * way. So a temporary that can be locked has no living owner. On a file system without locks
 * nothing is removed.
 */
#ifndef RSRC_BASE_SWEEP_H
#define RSRC_BASE_SWEEP_H

#include <stdbool.h>

#define RSRC_TEMPORARY ".tmp-rsrc-"

/* Makes and locks a file or a directory. The name ends in XXXXXX. Returns the descriptor, and
 * closing it ends the lock; -1: errno says why it failed. */
int rsrc_make_owned_file(char *name);
int rsrc_make_owned_dir(char *name);

/* Removes temporaries of dead processes beside `path`: those of that name, or of any name if `path`
 * ends in '/'. */
void rsrc_sweep(const char *path);

/* Removes a directory that has no directories inside; the file .owner is removed last. */
void rsrc_remove_flat_dir(const char *path);

#endif
