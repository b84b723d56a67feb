/* spawn.h - runs other programs without a shell.
 *
 * argv[0] is looked up in PATH unless it has a slash. The child's stderr and stdout are captured
 * (at most the first 64 KiB) and quoted in the diagnostic when it fails.
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

/* Total cost of commands. */
struct rsrc_spawn_usage {
    uint32_t n_commands;
    double wall_s, cpu_s;
    uint64_t peak_bytes; /* of the largest one */
};

struct rsrc_spawn_options {
    uint32_t n_jobs;                /* at a time */
    bool print;                     /* show commands on stderr, quoted for a shell */
    bool dry_run;                   /* show commands, but run none */
    struct rsrc_spawn_usage *usage; /* added to; NULL: nobody asks */
    /* Called when a command has ended well, from the calling thread; or NULL. */
    void (*progress)(void *context, uint32_t n_done, uint32_t n_commands);
    void *context;
};

/* Runs the commands. The first that fails is reported with slug "spawn-failed" (or "spawn-missing"
 * if it cannot be started). */
RSRC_NODISCARD enum rsrc_status rsrc_spawn_all(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                               const struct rsrc_command *commands,
                                               uint32_t n_commands,
                                               const struct rsrc_spawn_options *options);

/* Kills every running child with its own children: for the way out after a signal. No command is
 * started from then on. */
void rsrc_spawn_kill_all(void);

/* For commands that run in another directory. */
const char *rsrc_absolute_path(struct rsrc_arena *arena, const char *path);

/* Absolute path of a program in PATH, or NULL. */
const char *rsrc_find_program(struct rsrc_arena *arena, const char *name);

/* Where a program is looked for: the option's value (NULL: not given), else an environment
 * variable, else names in PATH, the first one that is there. */
struct rsrc_tool {
    const char *option, *option_name; /* "--cc" */
    const char *variable;             /* "RSRC_CC" */
    const char *const *names;
    uint32_t n_names;
};
/* A program that is asked for by name must exist ("tool-missing"). If only PATH is searched, *out
 * may become NULL. */
RSRC_NODISCARD enum rsrc_status rsrc_find_tool(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                               const struct rsrc_tool *tool, const char **out);

#endif
