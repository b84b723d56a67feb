/* compile.c - the table of passes, and one compilation from options to exit code.
 *
 * Model passes before the first layer pass run first; then every layer runs through the layer
 * passes (layer_pool.c); then the remaining model passes run in the table's order.
 */
#include "driver/driver.h"

#include <stdlib.h>

#include "reader/checkpoint.h"

const struct rsrc_pass rsrc_passes[PASS_COUNT] = {
    [PASS_READ] = {.name = "read",
                   .help = "checkpoint files to tensors, configuration, tokenizer",
                   .run_model = rsrc_model_read,
                   .dump_model = rsrc_dump_read},
    [PASS_GRAPH] = {.name = "graph",
                    .help = "tensors to layers with roles and scale rules",
                    .run_model = rsrc_model_graph,
                    .dump_model = rsrc_dump_graph},
    [PASS_DECODE] = {.name = "decode",
                     .help = "packed or latent weights to integers",
                     .run_layer = rsrc_layer_decode,
                     .dump_layer = rsrc_layer_dump_decode},
    [PASS_REDUCE] = {.name = "reduce",
                     .help = "a smaller matrix: repeated rows once, zeros and the dead not at all",
                     .run_layer = rsrc_layer_reduce,
                     .verify_layer = rsrc_layer_verify_reduce,
                     .dump_layer = rsrc_layer_dump_reduce},
    [PASS_RSR] = {.name = "rsr",
                  .help = "redundant segments of every block of rows",
                  .run_layer = rsrc_layer_rsr,
                  .verify_layer = rsrc_layer_verify_rsr,
                  .dump_layer = rsrc_layer_dump_rsr},
    [PASS_PLAN] = {.name = "plan",
                   .help = "a variant for every layer, with its reason",
                   .run_layer = rsrc_layer_plan,
                   .dump_layer = rsrc_layer_dump_plan},
    [PASS_SCHEDULE] = {.name = "schedule",
                       .help = "the operations of a forward pass and their buffers",
                       .run_model = rsrc_model_schedule,
                       .dump_model = rsrc_dump_schedule},
    [PASS_LOWER] = {.name = "lower",
                    .help = "layers to kernels and packed weights",
                    .run_layer = rsrc_layer_lower,
                    .verify_layer = rsrc_layer_verify_lower,
                    .dump_layer = rsrc_layer_dump_kernel},
    [PASS_EMIT] = {.name = "emit",
                   .help = "kernels to units of C or code, weights to an object",
                   .run_layer = rsrc_layer_assemble,
                   .run_in_order = rsrc_layer_emit},
    [PASS_LINK] = {.name = "link",
                   .help = "everything and the runtime to one library",
                   .run_model = rsrc_model_link},
    [PASS_REPORT] = {.name = "report",
                     .help = "what was done and why",
                     .run_model = rsrc_model_report},
};

/* ---- running --------------------------------------------------------------------------------- */

void rsrc_show_progress(const struct rsrc_compilation *c, const char *what, uint32_t done,
                        uint32_t total) {
    if (c->options->progress)
        fprintf(stderr, "\r\033[K[%u/%u] %s", done, total, what);
}

static enum rsrc_status run_model_pass(struct rsrc_compilation *c, uint32_t id) {
    const struct rsrc_pass *pass = &rsrc_passes[id];
    if (pass->run_model == NULL || id > (uint32_t)c->to)
        return RSRC_OK;
    const struct rsrc_lap lap = rsrc_lap_begin(&c->times);
    const enum rsrc_status ran = pass->run_model(c);
    rsrc_lap_end(&c->times, id, &lap);
    if (ran != RSRC_OK)
        return RSRC_FAILED;
    if ((c->dumps & (1u << id)) == 0 || pass->dump_model == NULL)
        return RSRC_OK;
    struct rsrc_buffer text = {0};
    pass->dump_model(c, &text);
    const enum rsrc_status status = rsrc_stdout_write(c, &text);
    rsrc_buffer_free(&text);
    return status;
}

static enum rsrc_status read_input(struct rsrc_compilation *c) {
    for (uint32_t id = PASS_READ; id < PASS_DECODE; id++)
        if (run_model_pass(c, id) != RSRC_OK)
            return RSRC_FAILED;
    return rsrc_choose_items(c);
}

static enum rsrc_status run(struct rsrc_compilation *c) {
    const bool describes = c->options->info != RSRC_INFO_NONE;
    if ((describes && rsrc_check_info(c) != RSRC_OK) || rsrc_set_up(c) != RSRC_OK)
        return RSRC_FAILED;
    if (rsrc_starts_from_text(c))
        return rsrc_run_text(c);
    const enum rsrc_status read = read_input(c);
    if (describes)
        return rsrc_run_info(c, read);
    if (read != RSRC_OK)
        return RSRC_FAILED;
    if (rsrc_is_gpu(c))
        return rsrc_run_gpu(c);
    const size_t n_results = (size_t)c->n_items * c->n_specs;
    c->linears = RSRC_NEW_ARRAY(&c->arena, n_results * RSR_REGIME_COUNT, struct rsr_linear_unit);
    c->reports = RSRC_NEW_ARRAY(&c->arena, n_results, struct rsr_report_layer);
    if (rsrc_open_outputs(c) != RSRC_OK)
        return RSRC_FAILED;
    if (c->to >= PASS_DECODE && rsrc_run_layers(c) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t id = PASS_DECODE; id < PASS_COUNT; id++)
        if (run_model_pass(c, id) != RSRC_OK)
            return RSRC_FAILED;
    if (c->step_sink.open && c->to >= PASS_SCHEDULE) {
        struct rsrc_buffer text = {0};
        rsrc_dump_schedule(c, &text);
        const enum rsrc_status status = rsrc_sink_write(c, &c->step_sink, &text);
        rsrc_buffer_free(&text);
        if (status != RSRC_OK)
            return status;
    }
    return rsrc_commit_outputs(c);
}

static void begin_times(struct rsrc_compilation *c) {
    rsrc_times_init(&c->times, c->options->time_report);
    for (uint32_t id = 0; id < PASS_COUNT; id++)
        c->times.rows[id].name = rsrc_passes[id].name;
    c->times.rows[TIME_CC].name = "(cc)";
    c->times.rows[TIME_LD].name = "(ld)";
    c->times.n_rows = TIME_COUNT;
}

static void print_times(struct rsrc_compilation *c, FILE *stream) {
    struct rsrc_buffer text = {0};
    if (c->options->json_diagnostics) {
        rsrc_buffer_puts(&text, "{\"times\":");
        rsrc_times_json(&c->times, &text);
        rsrc_buffer_puts(&text, "}\n");
    } else {
        rsrc_times_text(&c->times, &text);
    }
    fwrite(text.data, 1, text.size_bytes, stream);
    rsrc_buffer_free(&text);
}

static enum rsrc_status show_remarks(struct rsrc_compilation *c) {
    const struct rsrc_options *options = c->options;
    const bool shown =
        (options->remarks == NULL ||
         rsrc_diag_show_remarks(c->diag, RSRC_REMARK, options->remarks)) &&
        (options->missed_remarks == NULL ||
         rsrc_diag_show_remarks(c->diag, RSRC_REMARK_MISSED, options->missed_remarks));
    return shown ? RSRC_OK : RSRC_FAILED;
}

int rsrc_compile(const struct rsrc_options *options, FILE *messages) {
    struct rsrc_compilation *c = calloc(1, sizeof(*c));
    if (c == NULL)
        rsrc_out_of_memory(sizeof(*c));
    c->options = options;
    c->diag =
        rsrc_diag_create(messages, options->json_diagnostics, (enum rsrc_color)options->color);
    rsrc_arena_init(&c->arena);
    pthread_mutex_init(&c->pending_lock, NULL);
    begin_times(c);
    enum rsrc_status status = RSRC_FAILED;
    const bool reads_cache = options->dry_run || options->info != RSRC_INFO_NONE;
    if (rsrc_cache_open(c->diag, options->cache_dir, reads_cache, &c->cache) == RSRC_OK &&
        show_remarks(c) == RSRC_OK)
        status = run(c);
    if (status == RSRC_OK)
        status = rsrc_stdout_finish(c->diag);
    if (status == RSRC_OK && options->time_report)
        print_times(c, messages);
    rsrc_close_tuner(c);
    rsrc_abandon_outputs(c);
    rsrc_cache_close(&c->cache, RSRC_CACHE_MAX_BYTES);
    /* Who fails must have said why: silence here is our own defect. */
    int code = RSRC_EXIT_OK;
    if (status != RSRC_OK)
        code = rsrc_diag_error_count(c->diag) != 0 ? RSRC_EXIT_ERROR : RSRC_EXIT_INTERNAL;
    if (code == RSRC_EXIT_INTERNAL)
        rsrc_error(c->diag, "internal", NULL, NULL, "failed without a diagnostic");
    if (c->has_checkpoint)
        rsrc_checkpoint_close(&c->checkpoint);
    rsrc_arena_free(&c->arena);
    rsrc_diag_destroy(c->diag);
    pthread_mutex_destroy(&c->pending_lock);
    rsrc_times_destroy(&c->times);
    free(c);
    return code;
}
