/* options.h - the command line of rsrc as struct rsrc_options plus what only the program does. */
#ifndef RSRC_OPTIONS_H
#define RSRC_OPTIONS_H

#include "base/arena.h"
#include "base/buffer.h"
#include "diag.h"
#include "response_file.h"
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

/* How to print diagnostics. This is known before the first diagnostic, which may be about an
 * option. */
struct rsrc_diag_choice {
    bool json;
    enum rsrc_color color;
};
struct rsrc_diag_choice rsrc_choose_diagnostics(const struct rsrc_arguments *arguments);

/* The arguments are those after the program's name, response files expanded. */
RSRC_NODISCARD enum rsrc_status rsrc_parse_options(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const struct rsrc_arguments *arguments,
                                                   struct rsrc_command_line *out);
/* Like rsrc_parse_options(), with the words of `recorded` (see rsrc_print_options()) before the
 * arguments. `recorded` comes from `file` and is untrusted: other options in it are refused. */
RSRC_NODISCARD enum rsrc_status rsrc_add_recorded_options(struct rsrc_diag *diag,
                                                          struct rsrc_arena *arena,
                                                          const char *file, const char *recorded,
                                                          struct rsrc_arguments *arguments);
void rsrc_print_help(FILE *stream);
/* Prints the options that change a module's bytes, except the targets, if they differ from the
 * defaults: as words of a response file, with a space before each. */
void rsrc_print_options(const struct rsrc_options *options, struct rsrc_buffer *out);

#endif
