/* process.h - facts about the whole process: where it was installed, how it ends on a signal. */
#ifndef RSRC_BASE_PROCESS_H
#define RSRC_BASE_PROCESS_H

#include "base/arena.h"

/* Messages without a place begin with this name: "rsrc", or the name that another program has set
 * before it started any thread (borrowed for good). It is global because code that runs out of
 * memory or is interrupted can reach nothing else. */
void rsrc_set_program(const char *name);
const char *rsrc_program(void);

/* <directory of this executable>/../<relative>, or NULL if the directory is unknown. Programs,
 * runtime and target descriptions have the same relative places in the build tree and when
 * installed. */
const char *rsrc_beside_executable(struct rsrc_arena *arena, const char *relative);

/* From now on SIGINT, SIGTERM and SIGHUP end children, remove temporaries and exit 128 + signal. A
 * write to a pipe without a reader cleans up in the same way, without a message, and ends the
 * process by SIGPIPE. If an input is truncated while it is mapped (SIGBUS), the process reports it,
 * cleans up and exits 1. Call it once, before any thread is started. */
void rsrc_watch_signals(void);

#endif
