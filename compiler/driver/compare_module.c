/* compare_module.c - --verify: would this rsrc make the same module from the checkpoint?
 *
 * The note of a module (rsr_abi.h) has the hashes of its sections. The hashes in the given module
 * are first checked against its bytes; then it is enough to compare the two notes.
 */
#include <string.h>

#include "driver/compilation.h"
#include "rsr_module_file.h"

enum rsrc_status rsrc_check_compared(struct rsrc_run *run) {
    const char *path = run->options->verify;
    struct rsr_module_file file;
    rsr_error err = RSR_ERROR_INIT;
    if (path == NULL)
        return RSRC_OK;
    rsr_status status = rsr_module_file_open(path, &file, &err);
    if (status == RSR_OK) {
        status = rsr_module_file_verify(&file, path, NULL, NULL, &err);
        rsr_module_file_close(&file);
    }
    return status == RSR_OK
               ? RSRC_OK
               : rsrc_refuse(run->diag, "verify-module", NULL, NULL, "%s", err.message);
}

static enum rsrc_status read_note(struct rsrc_run *run, const char *path, struct rsr_note *note) {
    struct rsr_module_file file;
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_module_file_open(path, &file, &err) != RSR_OK)
        return rsrc_refuse(run->diag, "verify-module", NULL, NULL, "%s", err.message);
    *note = file.note;
    rsr_module_file_close(&file);
    return RSRC_OK;
}

/* Says why the modules differ, if the notes show it. */
static const char *find_reason(struct rsrc_run *run, const struct rsr_note *given,
                               const struct rsr_note *made) {
    if (memcmp(given->checkpoint, made->checkpoint, sizeof(given->checkpoint)) != 0)
        return "it was compiled of another checkpoint";
    if (strcmp(given->options, made->options) != 0)
        return rsrc_arena_printf(&run->arena, "it was compiled with %s, and now with %s",
                                 given->options, made->options);
    if (memcmp(given->targets, made->targets, sizeof(given->targets)) != 0)
        return "its targets are described otherwise here; native is another on another machine";
    if (strcmp(given->compiler_version, made->compiler_version) != 0)
        return rsrc_arena_printf(&run->arena, "it was compiled by rsrc %s, and this is %s",
                                 given->compiler_version, made->compiler_version);
    return "what also counts: the name of the checkpoint's file or folder, the C compiler, NVRTC "
           "or "
           "clang for a GPU, the linker, the runtime beside rsrc, with --tune the times in "
           "--cache-dir, and the --plan or --profile-use";
}

/* The first target that is not in both modules; NULL: all are. */
static const char *find_difference(const struct rsr_note *a, const struct rsr_note *b) {
    const uint32_t n = a->n_sections > b->n_sections ? a->n_sections : b->n_sections;
    for (uint32_t i = 0; i < n; i++)
        if (memcmp(&a->sections[i], &b->sections[i], sizeof(a->sections[i])) != 0)
            return a->sections[i < a->n_sections ? i : a->n_sections - 1].name;
    return NULL;
}

enum rsrc_status rsrc_compare_module(struct rsrc_compilation *c) {
    struct rsrc_run *run = &c->run;
    const char *path = run->options->verify;
    struct rsr_note given, made;
    if (read_note(run, path, &given) != RSRC_OK ||
        read_note(run, rsrc_linked_path(c, &rsrc_kinds[RSRC_KIND_SO]), &made) != RSRC_OK)
        return RSRC_FAILED;
    const char *section = find_difference(&given, &made);
    if (section != NULL)
        return rsrc_refuse(run->diag, "verify-differs", &(struct rsrc_place){.file = path},
                           find_reason(run, &given, &made),
                           "is not what rsrc makes of '%s': section %s differs",
                           run->options->input, section);
    struct rsrc_buffer line = {0};
    rsrc_buffer_put_terminal(&line, path);
    rsrc_buffer_puts(&line, " is what rsrc makes of ");
    rsrc_buffer_put_terminal(&line, run->options->input);
    rsrc_buffer_printf(&line, ": %u sections, %llu bytes\n", given.n_sections,
                       (unsigned long long)given.file_bytes);
    const enum rsrc_status status = rsrc_stdout_write(run->diag, &line);
    rsrc_buffer_free(&line);
    return status;
}
