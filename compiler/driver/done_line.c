/* done_line.c - the last line of a compilation on a terminal: what was written, its size, its
 * targets, the time it took, and a command to use next.
 */
#include <string.h>
#include <sys/stat.h>

#include "driver/compilation.h"

/* The module, else the first file; NULL: there is none. */
static const char *made_file(const struct rsrc_compilation *c) {
    const struct rsrc_options *options = c->run.options;
    const struct rsrc_outputs *outputs = &c->outputs;
    const bool to_stdout = options->output != NULL && strcmp(options->output, "-") == 0;
    if (outputs->n_names == 0 || options->dry_run || options->verify != NULL || to_stdout)
        return NULL;
    if (!rsrc_wants(&c->run, RSRC_EMIT_SO))
        return outputs->names[0].path;
    return rsrc_final_path(outputs, rsrc_output_path(outputs, &rsrc_kinds[RSRC_KIND_SO]));
}

static void put_targets(const struct rsrc_input_set *in, struct rsrc_buffer *out) {
    for (uint32_t t = 0; t < in->n_specs; t++) {
        rsrc_buffer_puts(out, t == 0 ? " for " : t + 1 < in->n_specs ? ", " : " and ");
        rsrc_buffer_put_terminal(out, in->specs[t].name);
    }
}

/* A command that uses the module. For a library of matrices it is the header that lists its
 * functions. */
static void put_next(struct rsrc_compilation *c, const char *path, struct rsrc_buffer *out) {
    const struct rsrc_input_set *in = &c->inputs;
    if (!rsrc_wants(&c->run, RSRC_EMIT_SO))
        return;
    if (!in->has_graph) {
        rsrc_buffer_puts(out, "; its functions are in ");
        rsrc_buffer_put_terminal(out, rsrc_final_path(&c->outputs, rsrc_header_path(c)));
        return;
    }
    rsrc_buffer_puts(out, "; try: rsr-run ");
    rsrc_buffer_put_terminal(out, path);
    if (in->checkpoint.tokenizer.section == NULL)
        rsrc_buffer_puts(out, " --info");
    else if (in->graph.hyper.pooling != RSR_POOLING_NONE)
        rsrc_buffer_puts(out, " -p \"A text\"");
    else
        rsrc_buffer_puts(out, " -p \"Once upon a time\"");
}

void rsrc_print_done(struct rsrc_compilation *c, uint64_t time_ns, FILE *stream) {
    struct stat status;
    const char *path = made_file(c);
    if (path == NULL || c->run.options->json_diagnostics || stat(path, &status) != 0)
        return;
    struct rsrc_buffer line = {0};
    rsrc_buffer_put_terminal(&line, path);
    rsrc_buffer_puts(&line, ": ");
    if (S_ISREG(status.st_mode))
        rsrc_buffer_put_size(&line, (uint64_t)status.st_size);
    else
        rsrc_buffer_puts(&line, "a folder");
    put_targets(&c->inputs, &line);
    rsrc_buffer_printf(&line, " in %.1f s", (double)time_ns * 1e-9);
    put_next(c, path, &line);
    fprintf(stream, "%s\n", line.data);
    rsrc_buffer_free(&line);
}
