/* process.h - what concerns the whole process: where it was installed, how it ends on a signal. */
#ifndef RSRC_BASE_PROCESS_H
#define RSRC_BASE_PROCESS_H

#include "base/arena.h"

/* <directory of this executable>/../<relative>, or NULL if it cannot be told. Programs, runtime and
 * target descriptions lie the same way in the build tree and where they are installed. */
const char *rsrc_beside_executable(struct rsrc_arena *arena, const char *relative);

/* From now on SIGINT, SIGTERM and SIGHUP end children, remove temporaries and exit 128 + signal; who
 * writes to a pipe that nobody reads any more does the same in silence, and ends by SIGPIPE; an
 * input that somebody cuts while it is mapped (SIGBUS) is said, cleaned up after, and exits 1. Call
 * it once, before any thread is started. */
void rsrc_watch_signals(void);

#endif
