/* dependency_file.c - the make-style dependency file of -MD: every output depends on every file
 * that was read.
 *
 * Each file read gets an empty rule of its own, so that make goes on when one is removed.
 */
#include <stdlib.h>
#include <string.h>

#include "base/sweep.h"
#include "driver/compilation.h"

static int compare_paths(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* ---- what was read, what is written ---------------------------------------------------------- */

/* Complete files of the directory; files that are still being written are listed as outputs by
 * kind. */
static enum rsrc_status list_directory(struct rsrc_compilation *c, struct rsrc_paths *list) {
    struct rsrc_paths names = {.arena = list->arena};
    if (c->outputs.dir == NULL)
        return RSRC_OK;
    const enum rsrc_status status = rsrc_list_files(&c->outputs, &names);
    for (uint32_t i = 0; i < names.n; i++)
        if (strstr(names.paths[i], RSRC_TEMPORARY) == NULL)
            rsrc_add_path(list,
                          rsrc_arena_printf(list->arena, "%s/%s", c->outputs.dir, names.paths[i]));
    return status;
}

static enum rsrc_status list_outputs(struct rsrc_compilation *c, struct rsrc_paths *list) {
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++) {
        const struct rsrc_kind *kind = &rsrc_kinds[k];
        if (!rsrc_wants(&c->run, kind->emit) || (uint32_t)c->run.to < (uint32_t)kind->pass)
            continue;
        if (c->outputs.dir == NULL || kind->unit == RSR_UNIT_KIND_COUNT)
            rsrc_add_path(list, rsrc_final_path(&c->outputs, rsrc_output_path(&c->outputs, kind)));
    }
    if (c->outputs.header.open)
        rsrc_add_path(list, rsrc_final_path(&c->outputs, rsrc_header_path(c)));
    if (c->outputs.profile.open && !c->outputs.profile.is_stdout)
        rsrc_add_path(list, rsrc_final_path(&c->outputs, rsrc_profile_path(c)));
    const enum rsrc_status status = list_directory(c, list);
    if (list->n != 0)
        qsort(list->paths, list->n, sizeof(*list->paths), compare_paths);
    return status;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* Escapes a name for make: blanks and # get a backslash, and backslashes before them are doubled; $
 * is doubled. */
static void put_name(struct rsrc_buffer *out, const char *name) {
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == ' ' || *c == '\t' || *c == '#') {
            for (const char *b = c; b > name && b[-1] == '\\'; b--)
                rsrc_buffer_puts(out, "\\");
            rsrc_buffer_puts(out, "\\");
        } else if (*c == '$') {
            rsrc_buffer_puts(out, "$");
        }
        rsrc_buffer_append(out, c, 1);
    }
}

static enum rsrc_status check_names(struct rsrc_compilation *c, const struct rsrc_paths *list) {
    for (uint32_t i = 0; i < list->n; i++) {
        if (strpbrk(list->paths[i], "\r\n") == NULL)
            continue;
        return rsrc_refuse(
            c->run.diag, "dependency-name", &(struct rsrc_place){.file = list->paths[i]},
            "rename it, or leave out -MD", "a dependency file cannot hold a name with a line end");
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_write_dependencies(struct rsrc_compilation *c) {
    if (!c->outputs.dependencies.open)
        return RSRC_OK;
    struct rsrc_paths outputs = {.arena = &c->run.arena}, inputs = {.arena = &c->run.arena};
    if (list_outputs(c, &outputs) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_list_inputs(&c->inputs, &inputs);
    if (c->units.link.active && rsrc_wants(&c->run, RSRC_EMIT_SO))
        rsrc_add_path(&inputs, c->run.toolchain.runtime);
    if (check_names(c, &outputs) != RSRC_OK || check_names(c, &inputs) != RSRC_OK)
        return RSRC_FAILED;
    struct rsrc_buffer text = {0};
    for (uint32_t i = 0; i < outputs.n; i++) {
        rsrc_buffer_puts(&text, i == 0 ? "" : " ");
        put_name(&text, outputs.paths[i]);
    }
    rsrc_buffer_puts(&text, ":");
    for (uint32_t i = 0; i < inputs.n; i++) {
        rsrc_buffer_puts(&text, " \\\n  ");
        put_name(&text, inputs.paths[i]);
    }
    rsrc_buffer_puts(&text, "\n");
    for (uint32_t i = 0; i < inputs.n; i++) {
        rsrc_buffer_puts(&text, "\n");
        put_name(&text, inputs.paths[i]);
        rsrc_buffer_puts(&text, ":\n");
    }
    const enum rsrc_status status = rsrc_sink_write(&c->run, &c->outputs.dependencies, &text);
    rsrc_buffer_free(&text);
    return status;
}

enum rsrc_status rsrc_open_dependencies(struct rsrc_compilation *c) {
    const struct rsrc_options *options = c->run.options;
    if (!options->dependencies && options->dependency_file == NULL)
        return RSRC_OK;
    const bool to_stdout = options->output != NULL && strcmp(options->output, "-") == 0;
    if (to_stdout && options->dependency_file == NULL)
        return rsrc_bad_option(&c->run, "name the dependency file with -MF FILE",
                               "-MD: standard output has no name to depend on");
    const char *path = options->dependency_file != NULL ? options->dependency_file
                                                        : rsrc_beside_outputs(&c->outputs, ".d");
    const char *option = options->dependency_file != NULL ? "-MF" : "-MD";
    return rsrc_sink_open(&c->outputs, option, "-MF", path, &c->outputs.dependencies);
}
