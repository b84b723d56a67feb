/* options.h - the command line of rsrc as struct rsrc_options plus what only the program does. */
#ifndef RSRC_OPTIONS_H
#define RSRC_OPTIONS_H

#include "base/arena.h"
#include "diag.h"
#include "rsrc.h"

enum rsrc_action {
    RSRC_ACTION_COMPILE,
    RSRC_ACTION_HELP,
    RSRC_ACTION_VERSION,
    RSRC_ACTION_PRINT_TARGETS,
    RSRC_ACTION_PRINT_TARGET,
    RSRC_ACTION_PRINT_PASSES
};

struct rsrc_command_line {
    struct rsrc_options options;
    enum rsrc_action action;
    const char *print_target;
};

RSRC_NODISCARD enum rsrc_status rsrc_parse_options(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   int argc, char **argv,
                                                   struct rsrc_command_line *out);
void rsrc_print_help(FILE *stream);

#endif
