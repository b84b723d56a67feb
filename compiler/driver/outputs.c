/* outputs.c - where results go: names, text sinks, directories.
 *
 * Everything is written under a temporary name and renamed by rsrc_commit_outputs() when the whole
 * compilation has succeeded, so a failure leaves nothing behind.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/driver.h"

/* ---- sinks ----------------------------------------------------------------------------------- */

enum rsrc_status rsrc_stdout_write(struct rsrc_compilation *c, const struct rsrc_buffer *text) {
    if (text->size_bytes == 0 ||
        fwrite(text->data, 1, text->size_bytes, stdout) == text->size_bytes)
        return RSRC_OK;
    return rsrc_stdout_failed(c->diag);
}

enum rsrc_status rsrc_sink_open(struct rsrc_compilation *c, const char *option, const char *naming,
                                const char *path, struct rsrc_sink *sink) {
    sink->is_stdout = strcmp(path, "-") == 0;
    const char *final = rsrc_final_path(c, path);
    if (rsrc_claim_output(c, option, final) != RSRC_OK ||
        (!sink->is_stdout && rsrc_output_check(c->diag, final) != RSRC_OK))
        return RSRC_FAILED;
    if (!sink->is_stdout &&
        rsrc_output_open_by(c->diag, &c->arena, naming, path, &sink->file) != RSRC_OK)
        return RSRC_FAILED;
    sink->open = true;
    return RSRC_OK;
}

enum rsrc_status rsrc_sink_write(struct rsrc_compilation *c, struct rsrc_sink *sink,
                                 const struct rsrc_buffer *text) {
    if (!sink->open || text->size_bytes == 0 || c->options->dry_run)
        return RSRC_OK;
    if (!sink->is_stdout)
        return rsrc_output_write(c->diag, &sink->file, text->data, text->size_bytes);
    return rsrc_stdout_write(c, text);
}

static enum rsrc_status commit_sink(struct rsrc_compilation *c, struct rsrc_sink *sink) {
    if (!sink->open)
        return RSRC_OK;
    sink->open = false;
    return sink->is_stdout ? RSRC_OK : rsrc_output_commit(c->diag, &sink->file);
}

static void abandon_sink(struct rsrc_sink *sink) {
    if (sink->open && !sink->is_stdout)
        rsrc_output_abandon(&sink->file);
    sink->open = false;
}

/* Called by several threads: the arena of the compilation is not theirs. */
enum rsrc_status rsrc_write_file(struct rsrc_compilation *c, const char *dir, const char *name,
                                 const void *bytes, size_t size_bytes) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct rsrc_output file;
    enum rsrc_status status =
        rsrc_output_open(c->diag, &arena, rsrc_arena_printf(&arena, "%s/%s", dir, name), &file);
    if (status == RSRC_OK) {
        status = rsrc_output_write(c->diag, &file, bytes, size_bytes);
        if (status == RSRC_OK)
            status = rsrc_output_commit(c->diag, &file);
        else
            rsrc_output_abandon(&file);
    }
    rsrc_arena_free(&arena);
    return status;
}

enum rsrc_status rsrc_cannot_finish(struct rsrc_compilation *c, const char *path) {
    const struct rsrc_place place = {.file = path};
    rsrc_error(c->diag, "output-write-failed", &place, NULL, "cannot finish: %s", strerror(errno));
    return RSRC_FAILED;
}

/* ---- names of outputs ------------------------------------------------------------------------ */

const struct rsrc_kind rsrc_kinds[RSRC_KIND_COUNT] = {
#define RSR_UNIT_NONE RSR_UNIT_KIND_COUNT
#define RSRC_KIND(id, name, suffix, is_text, pass, unit)                                           \
    [RSRC_KIND_##id] = {RSRC_EMIT_##id, name, suffix, is_text, PASS_##pass, RSR_UNIT_##unit},
#include "driver/kinds.def"
#undef RSRC_KIND
#undef RSR_UNIT_NONE
};

bool rsrc_wants(const struct rsrc_compilation *c, enum rsrc_emit kind) {
    return (c->options->emit & (uint32_t)kind) != 0;
}

static bool wants_one_kind(const struct rsrc_compilation *c) {
    return (c->options->emit & (c->options->emit - 1)) == 0;
}

/* "dir/model.safetensors" and "dir/model/" both give "model", in the current directory. Only known
 * endings go: model names have dots. */
static const char *stem_of_input(struct rsrc_compilation *c) {
    static const char *const ENDINGS[] = {".safetensors.index.json",
                                          ".index.json",
                                          ".safetensors",
                                          ".gguf",
                                          ".npy",
                                          ".rsr",
                                          ".plan",
                                          ".step",
                                          ".kernel"};
    const char *input = c->options->input;
    size_t end = strlen(input);
    while (end > 1 && input[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && input[begin - 1] != '/')
        begin--;
    for (uint32_t i = 0; i < sizeof(ENDINGS) / sizeof(ENDINGS[0]); i++) {
        const size_t n = strlen(ENDINGS[i]);
        if (end - begin > n && memcmp(input + end - n, ENDINGS[i], n) == 0) {
            end -= n;
            break;
        }
    }
    const char *stem = rsrc_arena_strndup(&c->arena, input + begin, end - begin);
    const bool is_place =
        strcmp(stem, "") == 0 || strcmp(stem, ".") == 0 || strcmp(stem, "..") == 0;
    return is_place ? "model" : stem;
}

const char *rsrc_model_name(struct rsrc_compilation *c) {
    return c->has_checkpoint ? c->checkpoint.name : stem_of_input(c);
}

/* A name like an option must not become one of the linker's. */
static const char *not_an_option(struct rsrc_compilation *c, const char *path) {
    return path[0] == '-' && path[1] != '\0' ? rsrc_arena_printf(&c->arena, "./%s", path) : path;
}

/* One kind writes OUT itself; several share it as a stem, or as a directory. */
const char *rsrc_output_path(struct rsrc_compilation *c, enum rsrc_emit kind) {
    const char *output = c->options->output;
    if (output != NULL && wants_one_kind(c))
        return not_an_option(c, output);
    uint32_t k = 0;
    while (rsrc_kinds[k].emit != kind)
        k++;
    const char *suffix = rsrc_kinds[k].suffix;
    if (c->out_dir.path != NULL)
        return rsrc_arena_printf(&c->arena, "%s/%s%s", c->out_dir.temporary, stem_of_input(c),
                                 suffix);
    const char *stem = output != NULL ? not_an_option(c, output) : stem_of_input(c);
    return rsrc_arena_printf(&c->arena, "%s%s", stem, suffix);
}

/* In messages: what asked for an output of the kind. */
static const char *option_of(struct rsrc_compilation *c, enum rsrc_emit kind) {
    if (c->options->output != NULL && wants_one_kind(c))
        return "-o";
    uint32_t k = 0;
    while (rsrc_kinds[k].emit != kind)
        k++;
    return rsrc_arena_printf(&c->arena, "--emit=%s", rsrc_kinds[k].name);
}

const char *rsrc_final_path(struct rsrc_compilation *c, const char *path) {
    if (c->out_dir.path == NULL)
        return path;
    const size_t n = strlen(c->out_dir.temporary);
    const bool inside = strncmp(path, c->out_dir.temporary, n) == 0 && path[n] == '/';
    return inside ? rsrc_arena_printf(&c->arena, "%s%s", c->out_dir.path, path + n) : path;
}

/* ---- opening --------------------------------------------------------------------------------- */

static bool is_directory_name(const char *path) {
    struct stat info;
    const size_t n = strlen(path);
    return (n != 0 && path[n - 1] == '/') || (stat(path, &info) == 0 && S_ISDIR(info.st_mode));
}

enum rsrc_status rsrc_check_directory(struct rsrc_compilation *c, const char *path,
                                      const char *help) {
    const struct rsrc_place place = {.file = path};
    struct stat info;
    if (stat(path, &info) != 0 || S_ISDIR(info.st_mode))
        return RSRC_OK;
    rsrc_error(c->diag, "output-unwritable", &place, help, "is not a directory");
    return RSRC_FAILED;
}

static enum rsrc_status open_out_dir(struct rsrc_compilation *c) {
    const char *path = not_an_option(c, c->options->output);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    const char *name = rsrc_arena_strndup(&c->arena, path, n);
    struct stat info;
    /* Inside where it exists: it may be a file system of its own, and files are renamed to it. */
    const char *beside =
        stat(name, &info) == 0 ? rsrc_arena_printf(&c->arena, "%s/rsrc", name) : name;
    if (rsrc_check_directory(c, name, "name a directory with -o") != RSRC_OK ||
        rsrc_claim_output(c, "-o", name) != RSRC_OK ||
        rsrc_temporary_dir(c->diag, &c->arena, beside, &c->out_dir.temporary) != RSRC_OK)
        return RSRC_FAILED;
    c->out_dir.path = name;
    return RSRC_OK;
}

/* Units of one kind: a file each in the directory, or all in one text. An object of its own for
 * every layer is made only where there is a directory: a single one is the module's, made by the
 * linker. */
static enum rsrc_status open_unit_kind(struct rsrc_compilation *c, const struct rsrc_kind *kind) {
    if (kind->unit == RSR_UNIT_OBJ && c->out_dir.path == NULL)
        return RSRC_OK;
    struct rsrc_unit_writer *writer = &c->units[kind->unit];
    if (rsrc_open_units(c, writer, kind->unit) != RSRC_OK)
        return RSRC_FAILED;
    writer->dir = c->out_dir.temporary;
    if (kind->unit == RSR_UNIT_OBJ)
        return rsrc_temporary_dir(c->diag, &c->arena, c->out_dir.temporary, &writer->dir);
    if (c->out_dir.path != NULL)
        return RSRC_OK;
    writer->one_unit = true;
    if (c->n_specs > 1) {
        rsrc_error(c->diag, "option-value", NULL, "give a directory: -o DIR/",
                   "--emit=%s: the kernels of several targets do not fit in one file", kind->name);
        return RSRC_FAILED;
    }
    return rsrc_sink_open(c, option_of(c, kind->emit), "-o", rsrc_output_path(c, kind->emit),
                          &writer->sink);
}

static enum rsrc_status open_units(struct rsrc_compilation *c) {
    bool any = false;
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++) {
        const struct rsrc_kind *kind = &rsrc_kinds[k];
        if (kind->unit == RSR_UNIT_KIND_COUNT || !rsrc_wants(c, kind->emit))
            continue;
        if (open_unit_kind(c, kind) != RSRC_OK)
            return RSRC_FAILED;
        any = true;
    }
    const bool has_weights = !rsrc_is_gpu(c) && !rsrc_starts_from_text(c);
    return any && c->out_dir.path != NULL && has_weights ? rsrc_open_raw_weights(c) : RSRC_OK;
}

/* Only one kind, and only text, can go to standard output. */
static enum rsrc_status check_stdout(struct rsrc_compilation *c) {
    if (c->options->output == NULL || strcmp(c->options->output, "-") != 0)
        return RSRC_OK;
    const char *names = "";
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++) {
        if (!rsrc_kinds[k].is_text)
            continue;
        if (c->options->emit == (uint32_t)rsrc_kinds[k].emit)
            return RSRC_OK;
        names = rsrc_arena_printf(&c->arena, "%s%s%s", names, names[0] == '\0' ? "" : ", ",
                                  rsrc_kinds[k].name);
    }
    rsrc_error(c->diag, "option-value", NULL, "name a file with -o, or choose one text kind",
               "-o -: standard output takes one of %s", names);
    return RSRC_FAILED;
}

/* One kind that is a single file writes it; everything else may share a directory. */
static bool needs_directory(const struct rsrc_compilation *c) {
    uint32_t units = 0;
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++)
        if (rsrc_kinds[k].unit != RSR_UNIT_KIND_COUNT)
            units |= (uint32_t)rsrc_kinds[k].emit;
    return c->options->output != NULL && is_directory_name(c->options->output) &&
           ((c->options->emit & units) != 0 || !wants_one_kind(c));
}

/* Where one file is written, its name is expected. */
static enum rsrc_status check_names_file(struct rsrc_compilation *c) {
    const char *output = c->options->output;
    if (output == NULL || output[strlen(output) - 1] != '/' || needs_directory(c))
        return RSRC_OK;
    uint32_t k = 0;
    while (!rsrc_wants(c, rsrc_kinds[k].emit))
        k++;
    const struct rsrc_place place = {.file = output};
    rsrc_error(c->diag, "output-unwritable", &place,
               rsrc_arena_printf(&c->arena, "name the file: -o %s%s%s", output, stem_of_input(c),
                                 rsrc_kinds[k].suffix),
               "names a directory, and --emit=%s makes one file", rsrc_kinds[k].name);
    return RSRC_FAILED;
}

/* --report=text|json[:FILE]; without a file it goes to stdout. */
static enum rsrc_status open_asked_report(struct rsrc_compilation *c) {
    if (c->options->report == NULL)
        return RSRC_OK;
    const char *colon = strchr(c->options->report, ':');
    return rsrc_sink_open(c, "--report", "--report", colon != NULL ? colon + 1 : "-",
                          &c->asked_report_sink);
}

static enum rsrc_status open_texts(struct rsrc_compilation *c) {
    const struct {
        enum rsrc_emit kind;
        struct rsrc_sink *sink;
    } sinks[] = {{RSRC_EMIT_RSR, &c->rsr_sink},
                 {RSRC_EMIT_PLAN, &c->plan_sink},
                 {RSRC_EMIT_STEP, &c->step_sink},
                 {RSRC_EMIT_KERNEL, &c->kernel_sink},
                 {RSRC_EMIT_REPORT, &c->report_sink}};
    for (uint32_t i = 0; i < sizeof(sinks) / sizeof(sinks[0]); i++)
        if (rsrc_wants(c, sinks[i].kind) &&
            rsrc_sink_open(c, option_of(c, sinks[i].kind), "-o", rsrc_output_path(c, sinks[i].kind),
                           sinks[i].sink) != RSRC_OK)
            return RSRC_FAILED;
    return RSRC_OK;
}

/* The module, with its header where it is a library of matrices. */
static enum rsrc_status open_module(struct rsrc_compilation *c) {
    const bool so = rsrc_wants(c, RSRC_EMIT_SO);
    const enum rsrc_emit kind = so ? RSRC_EMIT_SO : RSRC_EMIT_OBJ;
    if (!so && (!rsrc_wants(c, RSRC_EMIT_OBJ) || c->units[RSR_UNIT_OBJ].active))
        return RSRC_OK;
    const char *path = rsrc_output_path(c, kind), *header = rsrc_header_path(c);
    const char *option = option_of(c, kind);
    if (header != NULL &&
        rsrc_sink_open(c, rsrc_arena_printf(&c->arena, "the header of %s", option), "-o", header,
                       &c->header_sink) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_claim_output(c, option, rsrc_final_path(c, path)) == RSRC_OK
               ? rsrc_open_link(c, path)
               : RSRC_FAILED;
}

static enum rsrc_status check_temps_made(struct rsrc_compilation *c) {
    if (!c->options->save_temps || c->link_units.active)
        return RSRC_OK;
    rsrc_error(c->diag, "option-value", NULL, "leave it out, or make a module: --emit=so or obj",
               "--save-temps: nothing is compiled and linked by this compilation");
    return RSRC_FAILED;
}

enum rsrc_status rsrc_open_outputs(struct rsrc_compilation *c) {
    if (check_stdout(c) != RSRC_OK || check_names_file(c) != RSRC_OK ||
        (needs_directory(c) && open_out_dir(c) != RSRC_OK) ||
        rsrc_open_dependencies(c) != RSRC_OK || open_asked_report(c) != RSRC_OK ||
        open_texts(c) != RSRC_OK)
        return RSRC_FAILED;
    if (c->to >= PASS_LINK && (open_units(c) != RSRC_OK || open_module(c) != RSRC_OK))
        return RSRC_FAILED;
    return check_temps_made(c);
}

/* ---- the end --------------------------------------------------------------------------------- */

typedef enum rsrc_status file_visitor(struct rsrc_compilation *c, const char *name);

/* Every file that -o DIR/ is going to get, as long as all goes well. */
static enum rsrc_status visit_files(struct rsrc_compilation *c, file_visitor *visit) {
    DIR *dir = opendir(c->out_dir.temporary);
    if (dir == NULL)
        return rsrc_cannot_finish(c, c->out_dir.temporary);
    enum rsrc_status status = RSRC_OK;
    const struct dirent *entry;
    while (status == RSRC_OK && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            status = visit(c, entry->d_name);
    closedir(dir);
    return status;
}

static enum rsrc_status check_file(struct rsrc_compilation *c, const char *name) {
    /* Text outputs are still temporaries, and have claimed their names. */
    if (strstr(name, ".tmp-") != NULL)
        return RSRC_OK;
    const char *path = rsrc_arena_printf(&c->arena, "%s/%s", c->out_dir.path, name);
    if (rsrc_check_output(c, "-o", path) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_output_check(c->diag, path);
}

static enum rsrc_status move_file(struct rsrc_compilation *c, const char *name) {
    const char *from = rsrc_arena_printf(&c->arena, "%s/%s", c->out_dir.temporary, name);
    const char *to = rsrc_arena_printf(&c->arena, "%s/%s", c->out_dir.path, name);
    return rename(from, to) == 0 ? RSRC_OK : rsrc_cannot_finish(c, to);
}

/* Units have the names of layers: none may be that of an output which was named, or of an input. */
static enum rsrc_status check_directory(struct rsrc_compilation *c) {
    return c->out_dir.path == NULL ? RSRC_OK : visit_files(c, check_file);
}

/* The files of a directory move to their place one by one: it may have existed before. */
static enum rsrc_status commit_directory(struct rsrc_compilation *c) {
    if (c->out_dir.path == NULL)
        return RSRC_OK;
    if (mkdir(c->out_dir.path, 0777) != 0 && errno != EEXIST)
        return rsrc_cannot_finish(c, c->out_dir.path);
    return visit_files(c, move_file);
}

#define N_OWN_SINKS 8u
#define N_SINKS (N_OWN_SINKS + RSR_UNIT_KIND_COUNT)

static void list_sinks(struct rsrc_compilation *c, struct rsrc_sink *sinks[N_SINKS]) {
    struct rsrc_sink *const own[N_OWN_SINKS] = {
        &c->rsr_sink,    &c->plan_sink,       &c->step_sink,   &c->kernel_sink,
        &c->report_sink, &c->dependency_sink, &c->header_sink, &c->asked_report_sink};
    memcpy(sinks, own, sizeof(own));
    for (uint32_t k = 0; k < RSR_UNIT_KIND_COUNT; k++)
        sinks[N_OWN_SINKS + k] = &c->units[k].sink;
}

enum rsrc_status rsrc_commit_outputs(struct rsrc_compilation *c) {
    if (c->options->dry_run)
        return RSRC_OK;
    if (rsrc_write_dependencies(c) != RSRC_OK || check_directory(c) != RSRC_OK)
        return RSRC_FAILED;
    struct rsrc_sink *sinks[N_SINKS];
    list_sinks(c, sinks);
    for (uint32_t i = 0; i < N_SINKS; i++)
        if (commit_sink(c, sinks[i]) != RSRC_OK)
            return RSRC_FAILED;
    return rsrc_commit_linked(c) == RSRC_OK ? commit_directory(c) : RSRC_FAILED;
}

void rsrc_abandon_outputs(struct rsrc_compilation *c) {
    struct rsrc_sink *sinks[N_SINKS];
    list_sinks(c, sinks);
    for (uint32_t i = 0; i < N_SINKS; i++)
        abandon_sink(sinks[i]);
    rsrc_abandon_units(c);
    rsrc_abandon_weights(c);
    rsrc_remove_temporaries();
}
