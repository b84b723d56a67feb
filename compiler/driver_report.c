/* driver_report.c - the reports that --report and --emit=report ask for. */
#include <string.h>

#include "driver.h"

static void build_report(struct rsrc_compilation *c, bool json, struct rsrc_buffer *out) {
    const struct rsr_report report = {
        .model = c->has_checkpoint ? c->checkpoint.name : c->options->input,
        .architecture = c->has_graph ? c->graph.architecture : "matrices",
        .scale_reason = c->has_graph ? c->checkpoint.config.scale_reason : NULL,
        .specs = c->specs,
        .n_specs = c->n_specs,
        .times = c->options->time_report ? &c->times : NULL,
        .layers = c->reports,
        .n_layers = c->n_items,
        .embedding_bytes = c->has_graph ? c->graph.embedding->size_bytes : 0,
        .head_bytes =
            c->has_graph && c->graph.head != c->graph.embedding ? c->graph.head->size_bytes : 0};
    (json ? rsrc_report_json : rsrc_report_text)(&report, out);
}

/* --report=text|json[:FILE]; without a file, or to "-", it goes to stdout. */
static enum rsrc_status write_asked_report(struct rsrc_compilation *c) {
    if (c->options->report == NULL)
        return RSRC_OK;
    const char *colon = strchr(c->options->report, ':');
    struct rsrc_buffer text = {0};
    build_report(c, strncmp(c->options->report, "json", 4) == 0, &text);
    enum rsrc_status status;
    if (colon == NULL || strcmp(colon + 1, "-") == 0) {
        status = rsrc_stdout_write(c, &text);
    } else {
        struct rsrc_output file;
        status = rsrc_output_open(c->diag, &c->arena, colon + 1, &file);
        if (status == RSRC_OK) {
            status = rsrc_output_write(c->diag, &file, text.data, text.size_bytes);
            if (status == RSRC_OK)
                status = rsrc_output_commit(c->diag, &file);
            else
                rsrc_output_abandon(&file);
        }
    }
    rsrc_buffer_free(&text);
    return status;
}

enum rsrc_status rsrc_model_report(struct rsrc_compilation *c) {
    if (c->options->dry_run)
        return RSRC_OK;
    enum rsrc_status status = write_asked_report(c);
    if (status == RSRC_OK && c->report_sink.open) {
        struct rsrc_buffer text = {0};
        build_report(c, false, &text);
        status = rsrc_sink_write(c, &c->report_sink, &text);
        rsrc_buffer_free(&text);
    }
    return status;
}
