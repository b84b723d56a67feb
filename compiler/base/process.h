/* process.h - what concerns the whole process: where it was installed, how it ends on a signal. */
#ifndef RSRC_BASE_PROCESS_H
#define RSRC_BASE_PROCESS_H

#include "base/arena.h"

/* What a message without a place begins with: "rsrc", or what a program of another name has set
 * before any thread was started (borrowed for good). One for the process: who runs out of memory or
 * is interrupted has nothing else at hand. */
void rsrc_set_program(const char *name);
const char *rsrc_program(void);

/* <directory of this executable>/../<relative>, or NULL if it cannot be told. Programs, runtime and
 * target descriptions lie the same way in the build tree and where they are installed. */
const char *rsrc_beside_executable(struct rsrc_arena *arena, const char *relative);

/* From now on SIGINT, SIGTERM and SIGHUP end children, remove temporaries and exit 128 + signal;
 * who writes to a pipe that nobody reads any more does the same in silence, and ends by SIGPIPE; an
 * input that somebody cuts while it is mapped (SIGBUS) is said, cleaned up after, and exits 1. Call
 * it once, before any thread is started. */
void rsrc_watch_signals(void);

#endif
