/* write_report.c - the reports that --report and --emit=report ask for. */
#include <string.h>

#include "driver/driver.h"

/* What full logits read of a matrix of floats; 0 where there is none. */
static uint64_t dense_head_bytes(const struct rsr_graph *graph) {
    const bool is_layer = graph->head_slot.layer != RSR_NO_LAYER;
    return is_layer || graph->head == NULL ? 0 : graph->head->size_bytes;
}

const struct rsr_tensor *rsrc_own_head(const struct rsr_graph *graph) {
    const bool is_layer = graph->head_slot.layer != RSR_NO_LAYER;
    return is_layer || graph->head == graph->embedding ? NULL : graph->head;
}

static void build_report(struct rsrc_compilation *c, bool json, struct rsrc_buffer *out) {
    const struct rsr_tensor *head = c->has_graph ? rsrc_own_head(&c->graph) : NULL;
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
        .head_bytes = head != NULL ? head->size_bytes : 0,
        .tied_head = c->has_graph && c->graph.head == c->graph.embedding,
        .full_head_bytes = c->has_graph ? dense_head_bytes(&c->graph) : 0,
        .head = c->has_graph ? &c->head_plan : NULL};
    (json ? rsrc_report_json : rsrc_report_text)(&report, out);
}

static enum rsrc_status write_report(struct rsrc_compilation *c, bool json,
                                     struct rsrc_sink *sink) {
    if (!sink->open)
        return RSRC_OK;
    struct rsrc_buffer text = {0};
    build_report(c, json, &text);
    const enum rsrc_status status = rsrc_sink_write(c, sink, &text);
    rsrc_buffer_free(&text);
    return status;
}

enum rsrc_status rsrc_model_report(struct rsrc_compilation *c) {
    const char *asked = c->options->report;
    if (c->options->dry_run)
        return RSRC_OK;
    if (write_report(c, asked != NULL && strncmp(asked, "json", 4) == 0, &c->asked_report_sink) !=
        RSRC_OK)
        return RSRC_FAILED;
    return write_report(c, false, &c->report_sink);
}
