/* spawn.h - runs other programs without a shell.
 *
 * argv[0] is looked up in PATH unless it has a slash. The child's stderr and stdout are captured (at
 * most the first 64 KiB) and quoted in the diagnostic when it fails.
 */
#ifndef RSRC_BASE_SPAWN_H
#define RSRC_BASE_SPAWN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "diag.h"

struct rsrc_command {
    const char *const *argv; /* NULL-terminated */
    const char *directory;   /* NULL: the current one */
};

/* Runs the commands, at most n_jobs at a time; `print` shows them on stderr first (-v). The first that
 * fails is reported with slug "spawn-failed" (or "spawn-missing" if it cannot be started). */
RSRC_NODISCARD enum rsrc_status rsrc_spawn_all(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                               const struct rsrc_command *commands,
                                               uint32_t n_commands, uint32_t n_jobs, bool print);

/* Kills every running child with its own children: for the way out after a signal. No command is
 * started from then on. */
void rsrc_spawn_kill_all(void);

/* Absolute path of a program in PATH, or NULL. */
const char *rsrc_find_program(struct rsrc_arena *arena, const char *name);

#endif
