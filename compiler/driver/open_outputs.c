/* open_outputs.c - opens all outputs before the work, and gives them their names after it.
 *
 * Everything is written under a temporary name and renamed by rsrc_commit_outputs() when the whole
 * compilation has succeeded, so a failure leaves no file.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sweep.h"
#include "driver/compilation.h"

/* ---- opening --------------------------------------------------------------------------------- */

/* For messages: the option that asked for an output of the kind. */
static const char *option_of(struct rsrc_run *run, const struct rsrc_kind *kind) {
    if (run->options->output != NULL && rsrc_wants_one_kind(run))
        return "-o";
    return rsrc_arena_printf(&run->arena, "--emit=%s", kind->name);
}

static enum rsrc_status open_kind(struct rsrc_outputs *outputs, const struct rsrc_kind *kind,
                                  struct rsrc_sink *sink) {
    return rsrc_sink_open(outputs, option_of(outputs->run, kind), "-o",
                          rsrc_output_path(outputs, kind), sink);
}

static bool is_directory_name(const char *path) {
    struct stat info;
    const size_t n = strlen(path);
    return (n != 0 && path[n - 1] == '/') || (stat(path, &info) == 0 && S_ISDIR(info.st_mode));
}

static enum rsrc_status open_dir(struct rsrc_outputs *outputs) {
    struct rsrc_run *run = outputs->run;
    const char *path = rsrc_named_output(run);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    const char *name = rsrc_arena_strndup(&run->arena, path, n);
    struct stat info;
    /* If the directory exists, temporaries lie inside it: it may be a file system of its own, and
     * files can be renamed only within one. */
    const char *beside =
        stat(name, &info) == 0 ? rsrc_arena_printf(&run->arena, "%s/rsrc", name) : name;
    if (rsrc_check_directory(run->diag, name, "name a directory with -o") != RSRC_OK ||
        rsrc_claim_output(outputs, "-o", name) != RSRC_OK ||
        rsrc_temporary_dir(run->diag, &run->arena, beside, &outputs->temporary_dir) != RSRC_OK)
        return RSRC_FAILED;
    outputs->dir = name;
    return RSRC_OK;
}

/* Units of one kind: a file for each in the directory, or all in one text. Separate objects are
 * made only for a directory; a single object is the module's, and the linker makes it. */
static enum rsrc_status open_unit_kind(struct rsrc_compilation *c, const struct rsrc_kind *kind) {
    struct rsrc_outputs *outputs = &c->outputs;
    struct rsrc_unit_writer *writer = &c->units.kinds[kind->unit];
    const char *dir = outputs->temporary_dir;
    if (kind->unit == RSR_UNIT_OBJ && dir == NULL)
        return RSRC_OK;
    if (kind->unit == RSR_UNIT_OBJ &&
        rsrc_temporary_dir(c->run.diag, &c->run.arena, outputs->temporary_dir, &dir) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_open_units(&c->units, writer, kind->unit, dir);
    if (outputs->dir != NULL)
        return RSRC_OK;
    if ((rsrc_is_gpu_unit(kind->unit) ? rsrc_n_gpus(&c->inputs) : c->inputs.n_cpus) > 1)
        return rsrc_bad_option(&c->run, "give a directory: -o DIR/",
                               "--emit=%s: the kernels of several targets do not fit in one file",
                               kind->name);
    return open_kind(outputs, kind, &writer->sink);
}

static enum rsrc_status open_units(struct rsrc_compilation *c) {
    bool any = false;
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++) {
        const struct rsrc_kind *kind = &rsrc_kinds[k];
        if (kind->unit == RSR_UNIT_KIND_COUNT || !rsrc_wants(&c->run, kind->emit))
            continue;
        if (open_unit_kind(c, kind) != RSRC_OK)
            return RSRC_FAILED;
        any |= !rsrc_is_gpu_unit(kind->unit);
    }
    if (!any || c->outputs.dir == NULL || c->run.way != RSRC_WAY_COMPILE)
        return RSRC_OK;
    return rsrc_open_raw_weights(&c->weights, c->outputs.temporary_dir);
}

/* Only one kind, and only text, can go to standard output. */
static enum rsrc_status check_stdout(struct rsrc_run *run) {
    if (run->options->output == NULL || strcmp(run->options->output, "-") != 0)
        return RSRC_OK;
    const char *names = "";
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++) {
        if (!rsrc_kinds[k].is_text)
            continue;
        if (run->options->emit == (uint32_t)rsrc_kinds[k].emit)
            return RSRC_OK;
        names = rsrc_arena_printf(&run->arena, "%s%s%s", names, names[0] == '\0' ? "" : ", ",
                                  rsrc_kinds[k].name);
    }
    return rsrc_bad_option(run, "name a file with -o, or choose one text kind",
                           "-o -: standard output takes one of %s", names);
}

/* Whether outputs go into the directory that -o names. A single kind that makes one file needs
 * none. */
static bool needs_directory(const struct rsrc_run *run) {
    uint32_t units = 0;
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++)
        if (rsrc_kinds[k].unit != RSR_UNIT_KIND_COUNT)
            units |= (uint32_t)rsrc_kinds[k].emit;
    return run->options->output != NULL && is_directory_name(run->options->output) &&
           ((run->options->emit & units) != 0 || !rsrc_wants_one_kind(run));
}

/* A single output needs the name of a file. */
static enum rsrc_status check_names_file(struct rsrc_run *run) {
    const char *output = run->options->output;
    if (output == NULL || output[strlen(output) - 1] != '/' || needs_directory(run))
        return RSRC_OK;
    uint32_t k = 0;
    while (!rsrc_wants(run, rsrc_kinds[k].emit))
        k++;
    return rsrc_refuse(run->diag, "output-unwritable", &(struct rsrc_place){.file = output},
                       rsrc_arena_printf(&run->arena, "name the file: -o %s%s%s", output,
                                         rsrc_input_stem(run), rsrc_kinds[k].suffix),
                       "names a directory, and --emit=%s makes one file", rsrc_kinds[k].name);
}

/* --report=text|json[:FILE]; without a file it goes to stdout. */
static enum rsrc_status open_asked_report(struct rsrc_outputs *outputs) {
    const char *asked = outputs->run->options->report;
    if (asked == NULL)
        return RSRC_OK;
    const char *colon = strchr(asked, ':');
    return rsrc_sink_open(outputs, "--report", "--report", colon != NULL ? colon + 1 : "-",
                          &outputs->asked_report);
}

/* The profile is complete before any output is opened. */
static enum rsrc_status open_profile(struct rsrc_compilation *c) {
    const struct rsrc_options *options = c->run.options;
    const char *path = rsrc_profile_path(c);
    if (path == NULL)
        return RSRC_OK;
    if (options->profile_output == NULL && options->output != NULL &&
        strcmp(options->output, "-") == 0)
        return rsrc_bad_option(&c->run, "name the profile with --profile-out FILE",
                               "--calibrate: standard output has no name to put a profile beside");
    return rsrc_sink_open(&c->outputs, "--calibrate", "--profile-out", path, &c->outputs.profile) ==
                   RSRC_OK
               ? rsrc_sink_write(&c->run, &c->outputs.profile, &c->run.profile)
               : RSRC_FAILED;
}

/* Opens the outputs that passes print, and the report. */
static enum rsrc_status open_texts(struct rsrc_outputs *outputs) {
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++) {
        const struct rsrc_kind *kind = &rsrc_kinds[k];
        if (kind->is_text && kind->unit == RSR_UNIT_KIND_COUNT &&
            rsrc_wants(outputs->run, kind->emit) &&
            open_kind(outputs, kind, &outputs->texts[kind->pass]) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

/* Opens the module, and the header if it is a library of matrices. */
static enum rsrc_status open_module(struct rsrc_compilation *c) {
    const bool so = rsrc_wants(&c->run, RSRC_EMIT_SO);
    const struct rsrc_kind *kind = &rsrc_kinds[so ? RSRC_KIND_SO : RSRC_KIND_OBJ];
    if (!so && (!rsrc_wants(&c->run, RSRC_EMIT_OBJ) || c->units.kinds[RSR_UNIT_OBJ].active))
        return RSRC_OK;
    const char *path = rsrc_output_path(&c->outputs, kind), *header = rsrc_header_path(c);
    const char *option = option_of(&c->run, kind);
    if (header != NULL &&
        rsrc_sink_open(&c->outputs, rsrc_arena_printf(&c->run.arena, "the header of %s", option),
                       "-o", header, &c->outputs.header) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_claim_output(&c->outputs, option, rsrc_final_path(&c->outputs, path)) == RSRC_OK
               ? rsrc_open_link(c, path)
               : RSRC_FAILED;
}

enum rsrc_status rsrc_open_outputs(struct rsrc_compilation *c) {
    struct rsrc_run *run = &c->run;
    if (check_stdout(run) != RSRC_OK || check_names_file(run) != RSRC_OK ||
        (needs_directory(run) && open_dir(&c->outputs) != RSRC_OK) ||
        rsrc_open_dependencies(c) != RSRC_OK || open_profile(c) != RSRC_OK ||
        open_asked_report(&c->outputs) != RSRC_OK || open_texts(&c->outputs) != RSRC_OK)
        return RSRC_FAILED;
    if (run->to >= PASS_LINK && (open_units(c) != RSRC_OK || open_module(c) != RSRC_OK))
        return RSRC_FAILED;
    if (run->options->save_temps && !c->units.link.active)
        return rsrc_bad_option(run, "leave it out, or make a module: --emit=so or obj",
                               "--save-temps: nothing is compiled and linked by this compilation");
    return RSRC_OK;
}

/* ---- the end --------------------------------------------------------------------------------- */

typedef enum rsrc_status file_visitor(struct rsrc_outputs *outputs, const char *name);

/* Lists every file that -o DIR/ gets if the compilation succeeds. */
static enum rsrc_status visit_files(struct rsrc_outputs *outputs, file_visitor *visit) {
    struct rsrc_paths names = {.arena = &outputs->run->arena};
    enum rsrc_status status = rsrc_list_files(outputs, &names);
    for (uint32_t i = 0; status == RSRC_OK && i < names.n; i++)
        status = visit(outputs, names.paths[i]);
    return status;
}

static enum rsrc_status check_file(struct rsrc_outputs *outputs, const char *name) {
    /* Text outputs are still temporaries, but their names are reserved. */
    if (strstr(name, RSRC_TEMPORARY) != NULL)
        return RSRC_OK;
    const char *path = rsrc_arena_printf(&outputs->run->arena, "%s/%s", outputs->dir, name);
    if (rsrc_check_output(outputs, "-o", path) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_output_check(outputs->run->diag, path);
}

static enum rsrc_status sync_file(struct rsrc_outputs *outputs, const char *name) {
    return rsrc_sync(outputs->run->diag, rsrc_arena_printf(&outputs->run->arena, "%s/%s",
                                                           outputs->temporary_dir, name));
}

static enum rsrc_status move_file(struct rsrc_outputs *outputs, const char *name) {
    struct rsrc_run *run = outputs->run;
    const char *from = rsrc_arena_printf(&run->arena, "%s/%s", outputs->temporary_dir, name);
    const char *to = rsrc_arena_printf(&run->arena, "%s/%s", outputs->dir, name);
    return rename(from, to) == 0 ? RSRC_OK : rsrc_cannot_finish(run->diag, to);
}

/* The files of a directory are moved one by one, because the directory may already exist. */
static enum rsrc_status commit_directory(struct rsrc_outputs *outputs) {
    if (mkdir(outputs->dir, 0777) != 0 && errno != EEXIST)
        return rsrc_cannot_finish(outputs->run->diag, outputs->dir);
    if (visit_files(outputs, sync_file) != RSRC_OK || visit_files(outputs, move_file) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_sync(outputs->run->diag, outputs->dir);
}

#define N_SINKS (PASS_COUNT + 4u + RSR_UNIT_KIND_COUNT)

static void list_sinks(struct rsrc_compilation *c, struct rsrc_sink *sinks[N_SINKS]) {
    for (uint32_t p = 0; p < PASS_COUNT; p++)
        *sinks++ = &c->outputs.texts[p];
    *sinks++ = &c->outputs.dependencies;
    *sinks++ = &c->outputs.header;
    *sinks++ = &c->outputs.profile;
    *sinks++ = &c->outputs.asked_report;
    for (uint32_t k = 0; k < RSR_UNIT_KIND_COUNT; k++)
        *sinks++ = &c->units.kinds[k].sink;
}

enum rsrc_status rsrc_commit_outputs(struct rsrc_compilation *c) {
    if (rsrc_check_inputs_unchanged(c) != RSRC_OK)
        return RSRC_FAILED;
    if (c->run.options->dry_run)
        return RSRC_OK;
    if (c->run.options->verify != NULL)
        return rsrc_compare_module(c);
    if (c->run.calibration != NULL)
        return rsrc_calibrate(c);
    const bool has_dir = c->outputs.dir != NULL;
    /* Units are named after layers: such a name must not be that of another output or of an
     * input. */
    if (rsrc_write_dependencies(c) != RSRC_OK ||
        (has_dir && visit_files(&c->outputs, check_file) != RSRC_OK))
        return RSRC_FAILED;
    struct rsrc_sink *sinks[N_SINKS];
    list_sinks(c, sinks);
    for (uint32_t i = 0; i < N_SINKS; i++)
        if (rsrc_sink_commit(c->run.diag, sinks[i]) != RSRC_OK)
            return RSRC_FAILED;
    if (rsrc_commit_linked(c) != RSRC_OK)
        return RSRC_FAILED;
    return has_dir ? commit_directory(&c->outputs) : RSRC_OK;
}

void rsrc_abandon_outputs(struct rsrc_compilation *c) {
    struct rsrc_sink *sinks[N_SINKS];
    list_sinks(c, sinks);
    for (uint32_t i = 0; i < N_SINKS; i++)
        rsrc_sink_abandon(sinks[i]);
    rsrc_abandon_units(&c->units);
    rsrc_abandon_weights(&c->weights);
    rsrc_remove_temporaries();
}
