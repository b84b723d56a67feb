/* write_report.c - the reports that --report and --emit=report ask for. */
#include "driver/compilation.h"
#include "report/measurements.h"
#include "report/report_page.h"

enum rsrc_status rsrc_read_measurements(struct rsrc_compilation *c) {
    const struct rsrc_options *options = c->run.options;
    if (options->measured != NULL &&
        rsrc_read_measured(c->run.diag, &c->run.arena, options->measured, c->inputs.checkpoint.hash,
                           &c->made.measured) != RSRC_OK)
        return RSRC_FAILED;
    return options->attention_stats == NULL
               ? RSRC_OK
               : rsrc_read_attention_stats(c->run.diag, &c->run.arena, options->attention_stats,
                                           &c->made.attention);
}

/* Bytes that full logits read of a head of floats; 0 if there is none. */
static uint64_t dense_head_bytes(const struct rsrc_compilation *c) {
    const struct rsr_graph *graph = &c->inputs.graph;
    const bool is_layer = graph->head_slot.layer != RSR_NO_LAYER;
    return is_layer || graph->head == NULL ? 0 : rsrc_stored_bytes(c, graph->head);
}

static void put_report(const struct rsr_report *report, enum rsrc_report_form form,
                       struct rsrc_buffer *out) {
    struct rsrc_buffer json = {0};
    if (form == RSRC_REPORT_HTML) {
        rsrc_report_json(report, &json);
        rsrc_put_page(json.data, out);
    } else if (form == RSRC_REPORT_JSON) {
        rsrc_report_json(report, out);
    } else {
        rsrc_report_text(report, out);
    }
    rsrc_buffer_free(&json);
}

/* NULL: no module was made for a GPU. */
static const struct rsr_report_images *list_images(struct rsrc_compilation *c) {
    if (c->made.images == NULL)
        return NULL;
    struct rsr_report_images *images =
        RSRC_NEW_ARRAY(&c->run.arena, c->inputs.n_specs, struct rsr_report_images);
    for (uint32_t t = 0; t < c->inputs.n_specs; t++)
        for (uint32_t i = 0; i < c->made.images[t].n; i++) {
            const struct rsr_module_image *made = &c->made.images[t].list[i];
            images[t].list[images[t].n++] =
                (struct rsr_report_image){made->kind == RSR_GPU_IMAGE_CUBIN ? "cubin" : "PTX",
                                          made->n_kernels, made->size_bytes};
        }
    return images;
}

static void build_report(struct rsrc_compilation *c, enum rsrc_report_form form,
                         struct rsrc_buffer *out) {
    const struct rsr_tensor *head = c->inputs.has_graph ? rsrc_own_head(&c->inputs.graph) : NULL;
    const struct rsr_info checkpoint = rsrc_describe_input(c);
    const struct rsr_report report = {
        .model = c->inputs.has_checkpoint ? c->inputs.checkpoint.name : c->run.options->input,
        .architecture = c->inputs.has_graph ? c->inputs.graph.architecture : "matrices",
        .scale_reason = c->inputs.has_graph ? c->inputs.checkpoint.config.scale_reason : NULL,
        .specs = c->inputs.specs,
        .n_specs = c->inputs.n_specs,
        .times = c->run.options->time_report ? &c->run.times : NULL,
        .layers = c->made.reports,
        .n_layers = c->inputs.n_items,
        .images = list_images(c),
        .embedding_bytes =
            c->inputs.has_graph ? rsrc_stored_bytes(c, c->inputs.graph.embedding) : 0,
        .head_bytes = head != NULL ? rsrc_stored_bytes(c, head) : 0,
        .packed_embedding = c->inputs.has_graph ? &c->made.packed_embedding : NULL,
        .packed_head = head != NULL ? &c->made.packed_head : NULL,
        .tied_head = c->inputs.has_graph && c->inputs.graph.head == c->inputs.graph.embedding,
        .full_head_bytes = c->inputs.has_graph ? dense_head_bytes(c) : 0,
        .head = c->inputs.has_graph ? &c->made.head_plan : NULL,
        .checkpoint = c->inputs.has_checkpoint ? &checkpoint : NULL,
        .measured = c->made.measured,
        .attention = c->made.attention};
    put_report(&report, form, out);
}

static enum rsrc_status write_report(struct rsrc_compilation *c, enum rsrc_report_form form,
                                     struct rsrc_sink *sink) {
    if (!sink->open)
        return RSRC_OK;
    struct rsrc_buffer text = {0};
    build_report(c, form, &text);
    const enum rsrc_status status = rsrc_sink_write(&c->run, sink, &text);
    rsrc_buffer_free(&text);
    return status;
}

enum rsrc_status rsrc_model_report(struct rsrc_compilation *c) {
    if (c->run.options->dry_run)
        return RSRC_OK;
    if (write_report(c, rsrc_report_form(c->run.options), &c->outputs.asked_report) != RSRC_OK)
        return RSRC_FAILED;
    return write_report(c, RSRC_REPORT_TEXT, &c->outputs.texts[PASS_REPORT]);
}
