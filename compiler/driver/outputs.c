/* outputs.c - sinks and files, and the names of outputs. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sweep.h"
#include "driver/outputs.h"

/* ---- sinks and files ------------------------------------------------------------------------- */

enum rsrc_status rsrc_sink_open(struct rsrc_outputs *outputs, const char *option,
                                const char *naming, const char *path, struct rsrc_sink *sink) {
    struct rsrc_run *run = outputs->run;
    sink->is_stdout = strcmp(path, "-") == 0;
    const char *final = rsrc_final_path(outputs, path);
    if (rsrc_claim_output(outputs, option, final) != RSRC_OK ||
        (!sink->is_stdout && rsrc_output_check(run->diag, final) != RSRC_OK))
        return RSRC_FAILED;
    if (!sink->is_stdout)
        rsrc_sweep(path);
    if (!sink->is_stdout &&
        rsrc_output_open_by(run->diag, &run->arena, naming, path, &sink->file) != RSRC_OK)
        return RSRC_FAILED;
    sink->open = true;
    return RSRC_OK;
}

enum rsrc_status rsrc_sink_write(const struct rsrc_run *run, struct rsrc_sink *sink,
                                 const struct rsrc_buffer *text) {
    if (!sink->open || text->size_bytes == 0 || run->options->dry_run)
        return RSRC_OK;
    if (!sink->is_stdout)
        return rsrc_output_write(run->diag, &sink->file, text->data, text->size_bytes);
    return rsrc_stdout_write(run->diag, text);
}

enum rsrc_status rsrc_sink_commit(struct rsrc_diag *diag, struct rsrc_sink *sink) {
    if (!sink->open)
        return RSRC_OK;
    sink->open = false;
    return sink->is_stdout ? RSRC_OK : rsrc_output_publish(diag, &sink->file);
}

void rsrc_sink_abandon(struct rsrc_sink *sink) {
    if (sink->open && !sink->is_stdout)
        rsrc_output_abandon(&sink->file);
    sink->open = false;
}

enum rsrc_status rsrc_list_files(struct rsrc_outputs *outputs, struct rsrc_paths *names) {
    DIR *dir = opendir(outputs->temporary_dir);
    if (dir == NULL)
        return rsrc_cannot_finish(outputs->run->diag, outputs->temporary_dir);
    const struct dirent *entry;
    /* NULL at the end, or with errno set if the folder cannot be read to its end. */
    while ((errno = 0, entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            rsrc_add_path(names, rsrc_arena_strdup(names->arena, entry->d_name));
    const enum rsrc_status status =
        errno == 0 ? RSRC_OK : rsrc_cannot_finish(outputs->run->diag, outputs->temporary_dir);
    closedir(dir);
    return status;
}

/* Several threads call this, so it must not use the arena of the compilation. */
enum rsrc_status rsrc_check_directory(struct rsrc_diag *diag, const char *path, const char *help) {
    const struct rsrc_place place = {.file = path};
    struct stat info;
    if (stat(path, &info) != 0 || S_ISDIR(info.st_mode))
        return RSRC_OK;
    return rsrc_refuse(diag, "output-unwritable", &place, help, "is not a directory");
}

enum rsrc_status rsrc_cannot_finish(struct rsrc_diag *diag, const char *path) {
    return rsrc_refuse(diag, "output-write-failed", &(struct rsrc_place){.file = path}, NULL,
                       "cannot finish: %s", strerror(errno));
}

/* ---- names ----------------------------------------------------------------------------------- */

/* "dir/model.safetensors" and "dir/model/" both give "model", in the current directory. Only known
 * endings are removed, because model names have dots. */
const char *rsrc_input_stem(struct rsrc_run *run) {
    static const char *const ENDINGS[] = {".safetensors.index.json",
                                          ".index.json",
                                          ".safetensors",
                                          ".gguf",
                                          ".npy",
                                          ".rsr",
                                          ".plan",
                                          ".step",
                                          ".kernel"};
    const char *input = run->options->input;
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
    const char *stem = rsrc_arena_strndup(&run->arena, input + begin, end - begin);
    const bool is_place =
        strcmp(stem, "") == 0 || strcmp(stem, ".") == 0 || strcmp(stem, "..") == 0;
    return is_place ? "model" : stem;
}

const char *rsrc_model_name(const struct rsrc_input_set *in) {
    return in->has_checkpoint ? in->checkpoint.name : rsrc_input_stem(in->run);
}

bool rsrc_wants_one_kind(const struct rsrc_run *run) {
    return (run->options->emit & (run->options->emit - 1)) == 0;
}

const char *rsrc_named_output(struct rsrc_run *run) {
    const char *path = run->options->output;
    return path[0] == '-' && path[1] != '\0' ? rsrc_arena_printf(&run->arena, "./%s", path) : path;
}

/* A single kind writes OUT itself; several kinds use it as a stem or as a directory. */
const char *rsrc_output_path(const struct rsrc_outputs *outputs, const struct rsrc_kind *kind) {
    struct rsrc_run *run = outputs->run;
    const bool named = run->options->output != NULL;
    if (named && rsrc_wants_one_kind(run))
        return rsrc_named_output(run);
    if (outputs->dir != NULL)
        return rsrc_arena_printf(&run->arena, "%s/%s%s", outputs->temporary_dir,
                                 rsrc_input_stem(run), kind->suffix);
    return rsrc_arena_printf(&run->arena, "%s%s",
                             named ? rsrc_named_output(run) : rsrc_input_stem(run), kind->suffix);
}

const char *rsrc_with_suffix(struct rsrc_arena *arena, const char *path, const char *suffix,
                             const char *other) {
    const size_t n = strlen(path), n_suffix = strlen(suffix);
    const bool ends = n > n_suffix && strcmp(path + n - n_suffix, suffix) == 0;
    return rsrc_arena_printf(arena, "%.*s%s", (int)(ends ? n - n_suffix : n), path, other);
}

const char *rsrc_final_path(const struct rsrc_outputs *outputs, const char *path) {
    if (outputs->dir == NULL)
        return path;
    const size_t n = strlen(outputs->temporary_dir);
    const bool inside = strncmp(path, outputs->temporary_dir, n) == 0 && path[n] == '/';
    return inside ? rsrc_arena_printf(&outputs->run->arena, "%s%s", outputs->dir, path + n) : path;
}

const char *rsrc_beside_outputs(const struct rsrc_outputs *outputs, const char *ending) {
    struct rsrc_run *run = outputs->run;
    if (outputs->dir != NULL)
        return rsrc_arena_printf(&run->arena, "%s%s", outputs->dir, ending);
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++) {
        if (!rsrc_wants(run, rsrc_kinds[k].emit))
            continue;
        const char *path = rsrc_output_path(outputs, &rsrc_kinds[k]);
        return rsrc_with_suffix(&run->arena, path, rsrc_kinds[k].suffix, ending);
    }
    return NULL;
}
