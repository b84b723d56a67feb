/* main.c - the program rsrc: command line, signals, exit codes. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mapped_file.h"
#include "base/process.h"
#include "driver/run.h"
#include "options.h"
#include "reader/repository_id.h"
#include "rsr_module_file.h"
#include "spec/spec.h"

static enum rsrc_status print_targets(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const struct rsrc_options *options) {
    const char *const *names = NULL;
    uint32_t n_names = 0;
    if (rsrc_list_specs(diag, arena, options->spec_dir, &names, &n_names) != RSRC_OK)
        return RSRC_FAILED;
    const uint64_t host = rsrc_host_features();
    for (uint32_t i = 0; i < n_names; i++) {
        struct rsr_spec spec;
        if (rsrc_load_spec(diag, arena, names[i], options->spec_dir, &spec) != RSRC_OK)
            return RSRC_FAILED;
        const uint64_t missing = spec.cpu_features & ~host;
        const bool is_host = strcmp(spec.triple, rsrc_host_triple()) == 0;
        printf("%-14s %-18s %s%s\n", names[i], spec.triple,
               spec.gpu.sm != 0 ? "GPU: no runtime runs its kernels yet"
               : missing != 0   ? "not here: needs "
               : is_host        ? "runs here"
                                : "not here: another machine",
               missing == 0 ? "" : rsrc_feature_names(arena, missing));
    }
    return RSRC_OK;
}

static enum rsrc_status print_target(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                     const struct rsrc_command_line *line) {
    struct rsr_spec spec;
    if (rsrc_load_spec(diag, arena, line->print_target, line->options.spec_dir, &spec) != RSRC_OK)
        return RSRC_FAILED;
    struct rsrc_buffer text = {0};
    rsrc_print_spec(&spec, &text);
    fwrite(text.data, 1, text.size_bytes, stdout);
    rsrc_buffer_free(&text);
    return RSRC_OK;
}

static enum rsrc_status print_passes(void) {
    for (uint32_t i = 0; i < PASS_COUNT; i++)
        printf("%-9s %s\n", rsrc_pass_names[i].name, rsrc_pass_names[i].help);
    return RSRC_OK;
}

static int act(struct rsrc_diag *diag, struct rsrc_arena *arena, struct rsrc_command_line *line) {
    enum rsrc_status status = RSRC_OK;
    switch (line->action) {
    case RSRC_ACTION_COMPILE:
        if (rsrc_refuse_repository_id(diag, arena, line->options.input))
            return RSRC_EXIT_ERROR;
        line->options.progress |=
            isatty(STDERR_FILENO) && !line->options.json_diagnostics && !line->options.verbose;
        return rsrc_compile(&line->options, stderr);
    case RSRC_ACTION_HELP:
        rsrc_print_help(stdout);
        break;
    case RSRC_ACTION_VERSION:
        printf("rsrc %s\n", rsrc_version());
        break;
    case RSRC_ACTION_PRINT_TARGETS:
        status = print_targets(diag, arena, &line->options);
        break;
    case RSRC_ACTION_PRINT_TARGET:
        status = print_target(diag, arena, line);
        break;
    case RSRC_ACTION_PRINT_PASSES:
        status = print_passes();
        break;
    }
    if (status == RSRC_OK)
        status = rsrc_stdout_finish(diag);
    return status == RSRC_OK ? RSRC_EXIT_OK : RSRC_EXIT_ERROR;
}

/* If the caller has closed a standard stream, the next opened file would get its number, and
 * messages would go to an output. The replacement can be neither read (stdin) nor written (stdout,
 * stderr). */
static void fill_closed_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
            _exit(RSRC_EXIT_ERROR);
}

static struct rsrc_diag *make_diag(const struct rsrc_arguments *arguments) {
    const struct rsrc_diag_choice choice = rsrc_choose_diagnostics(arguments);
    return rsrc_diag_create(stderr, choice.json, choice.color);
}

/* --verify puts the module's options before the given ones. */
static enum rsrc_status parse(struct rsrc_diag *diag, struct rsrc_arena *arena,
                              struct rsrc_arguments *arguments, struct rsrc_command_line *line) {
    if (rsrc_parse_options(diag, arena, arguments, line) != RSRC_OK)
        return RSRC_FAILED;
    const char *module = line->options.verify;
    if (module == NULL || line->action != RSRC_ACTION_COMPILE)
        return RSRC_OK;
    struct rsr_module_file file;
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_module_file_open(module, &file, &err) != RSR_OK)
        return rsrc_refuse(diag, "verify-module", NULL, NULL, "%s", err.message);
    rsr_module_file_close(&file);
    const char *options = rsrc_arena_strdup(arena, file.note.options);
    return rsrc_add_recorded_options(diag, arena, module, options, arguments) == RSRC_OK
               ? rsrc_parse_options(diag, arena, arguments, line)
               : RSRC_FAILED;
}

int main(int argc, char **argv) {
    fill_closed_streams();
    rsrc_watch_signals();
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct rsrc_arguments arguments = {0};
    for (int i = 1; i < argc; i++)
        rsrc_add_argument(&arena, argv[i], &arguments);
    struct rsrc_diag *diag = make_diag(&arguments);
    struct rsrc_command_line line;
    int code = RSRC_EXIT_ERROR;
    if (rsrc_expand_arguments(diag, &arena, &arguments) == RSRC_OK) {
        rsrc_diag_destroy(diag);
        diag = make_diag(&arguments);
        if (parse(diag, &arena, &arguments, &line) == RSRC_OK)
            code = act(diag, &arena, &line);
    }
    rsrc_diag_destroy(diag);
    rsrc_arena_free(&arena);
    return code;
}
