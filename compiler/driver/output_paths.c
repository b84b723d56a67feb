/* output_paths.c - checks names: no two outputs share one, and no output replaces an input.
 *
 * Outputs are renamed to their final names, so two outputs collide if they have equal names in one
 * directory. An output must not replace an input, through whatever path or link the input is
 * reached.
 */
#include <assert.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/outputs.h"

/* ---- lists of paths -------------------------------------------------------------------------- */

void rsrc_add_path(struct rsrc_paths *list, const char *path) {
    for (uint32_t i = 0; i < list->n; i++)
        if (strcmp(list->paths[i], path) == 0)
            return;
    list->paths =
        rsrc_arena_grown(list->arena, list->paths, list->n, &list->capacity, sizeof(*list->paths));
    list->paths[list->n++] = path;
}

void rsrc_list_inputs(const struct rsrc_input_set *in, struct rsrc_paths *list) {
    if (!in->has_checkpoint)
        rsrc_add_path(list, in->run->options->input);
    for (uint32_t i = 0; in->has_checkpoint && i < in->checkpoint.n_files; i++)
        rsrc_add_path(list, in->checkpoint.files[i]);
    const struct rsrc_options *options = in->run->options;
    const char *const others[] = {options->plan, options->measured, options->attention_stats,
                                  options->calibrate_text};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (others[i] != NULL)
            rsrc_add_path(list, others[i]);
    for (uint32_t i = 0; i < options->n_profiles; i++)
        rsrc_add_path(list, options->profiles[i]);
    for (uint32_t t = 0; t < in->n_specs; t++)
        for (uint32_t i = 0; i < in->specs[t].n_files; i++)
            rsrc_add_path(list, in->specs[t].files[i]);
}

/* All inputs, except files that only the C compiler and the linker read. */
static void list_kept(struct rsrc_outputs *outputs) {
    const struct rsrc_run *run = outputs->run;
    struct rsrc_paths *kept = &outputs->kept;
    kept->arena = &outputs->run->arena;
    rsrc_list_inputs(outputs->inputs, kept);
    for (uint32_t i = 0; i < run->options->n_keep_files; i++)
        rsrc_add_path(kept, run->options->keep_files[i]);
    if (run->toolchain.runtime != NULL)
        rsrc_add_path(kept, run->toolchain.runtime);
}

/* ---- equal places ---------------------------------------------------------------------------- */

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The last component of a path. */
static size_t base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash + 1 - path);
}

static bool stat_parent(struct rsrc_arena *arena, const char *path, struct stat *out) {
    const size_t n = base_of(path);
    return stat(n == 0 ? "." : rsrc_arena_strndup(arena, path, n), out) == 0;
}

static bool same_place(struct rsrc_arena *arena, const char *a, const char *b) {
    struct stat info_a, info_b;
    if (strcmp(a, b) == 0 || strcmp(a, "-") == 0 || strcmp(b, "-") == 0)
        return strcmp(a, b) == 0;
    if (stat(a, &info_a) == 0 && S_ISDIR(info_a.st_mode) && stat(b, &info_b) == 0)
        return same_file(&info_a, &info_b);
    return strcmp(a + base_of(a), b + base_of(b)) == 0 && stat_parent(arena, a, &info_a) &&
           stat_parent(arena, b, &info_b) && same_file(&info_a, &info_b);
}

/* ---- outputs --------------------------------------------------------------------------------- */

static enum rsrc_status check_not_input(struct rsrc_outputs *outputs, const char *option,
                                        const char *path) {
    struct stat output, input;
    if (stat(path, &output) != 0)
        return RSRC_OK;
    if (outputs->kept.arena == NULL)
        list_kept(outputs);
    for (uint32_t i = 0; i < outputs->kept.n; i++) {
        if (stat(outputs->kept.paths[i], &input) != 0 || !same_file(&input, &output))
            continue;
        const struct rsrc_place place = {.file = path};
        return rsrc_refuse(outputs->run->diag, "output-is-input", &place,
                           "give the output another name",
                           "is read by this compilation, and %s would replace it", option);
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_check_output(struct rsrc_outputs *outputs, const char *option,
                                   const char *path) {
    for (uint32_t i = 0; i < outputs->n_names; i++) {
        const struct rsrc_output_name *other = &outputs->names[i];
        if (!same_place(&outputs->run->arena, path, other->path))
            continue;
        const bool is_stdout = strcmp(path, "-") == 0;
        return rsrc_refuse(outputs->run->diag, "output-twice",
                           is_stdout ? NULL : &(struct rsrc_place){.file = path},
                           "give each output a name of its own", "%s and %s would both write %s",
                           other->option, option, is_stdout ? "to standard output" : "it");
    }
    return strcmp(path, "-") == 0 ? RSRC_OK : check_not_input(outputs, option, path);
}

enum rsrc_status rsrc_claim_output(struct rsrc_outputs *outputs, const char *option,
                                   const char *path) {
    if (rsrc_check_output(outputs, option, path) != RSRC_OK)
        return RSRC_FAILED;
    assert(outputs->n_names < RSRC_MAX_OUTPUTS);
    outputs->names[outputs->n_names++] = (struct rsrc_output_name){option, path};
    return RSRC_OK;
}
