/* compile.c - one compilation, from options to an exit code. */
#include <stdlib.h>
#include <string.h>

#include "base/embedded.h"
#include "base/large_stack.h"
#include "driver/layer.h"
#include "measure/measure.h"
#include "reader/checkpoint.h"

/* The text of --calibrate without a file: the first of this table, which the build makes. */
extern const struct rsrc_template rsrc_texts[];

static void begin_times(struct rsrc_run *run) {
    rsrc_times_init(&run->times, run->options->time_report);
    for (uint32_t id = 0; id < PASS_COUNT; id++)
        run->times.rows[id].name = rsrc_pass_names[id].name;
    run->times.rows[TIME_CC].name = "(cc)";
    run->times.rows[TIME_LD].name = "(ld)";
    run->times.n_rows = TIME_COUNT;
}

static void print_times(struct rsrc_run *run, FILE *stream) {
    struct rsrc_buffer text = {0};
    if (run->options->json_diagnostics) {
        rsrc_buffer_puts(&text, "{\"times\":");
        rsrc_times_json(&run->times, &text);
        rsrc_buffer_puts(&text, "}\n");
    } else {
        rsrc_times_text(&run->times, &text);
    }
    fwrite(text.data, 1, text.size_bytes, stream);
    rsrc_buffer_free(&text);
}

/* Shows the remarks that the options ask for; false: a pattern is invalid. */
static bool show_remarks(struct rsrc_diag *diag, enum rsrc_severity severity, const char *pattern) {
    return pattern == NULL || rsrc_diag_show_remarks(diag, severity, pattern);
}

/* Every part gets pointers to the parts that it uses. */
static struct rsrc_compilation *begin(const struct rsrc_options *options, FILE *messages) {
    struct rsrc_compilation *c = calloc(1, sizeof(*c));
    if (c == NULL)
        rsrc_out_of_memory(sizeof(*c));
    c->inputs.run = c->outputs.run = c->units.run = c->weights.run = &c->run;
    c->outputs.inputs = c->units.inputs = c->weights.inputs = &c->inputs;
    c->run.options = options;
    c->run.diag =
        rsrc_diag_create(messages, options->json_diagnostics, (enum rsrc_color)options->color);
    rsrc_arena_init(&c->run.arena);
    pthread_mutex_init(&c->units.lock, NULL);
    begin_times(&c->run);
    return c;
}

static void end(struct rsrc_compilation *c) {
    if (c->inputs.has_checkpoint)
        rsrc_checkpoint_close(&c->inputs.checkpoint);
    rsrc_buffer_free(&c->run.profile);
    rsrc_arena_free(&c->run.arena);
    rsrc_diag_destroy(c->run.diag);
    pthread_mutex_destroy(&c->units.lock);
    rsrc_times_destroy(&c->run.times);
    free(c);
}

static int compile(const struct rsrc_options *asked, FILE *messages,
                   struct rsrc_calibration *calibration);

/* The module that runs on the text: all of the model, for this machine, in the least time. Options
 * that say how the checkpoint is read, and with which tools, stay. */
static struct rsrc_options calibration_options(const struct rsrc_options *asked) {
    struct rsrc_options options;
    rsrc_options_init(&options);
    options.input = asked->input;
    options.activations = asked->activations;
    options.i2s_layout = asked->i2s_layout;
    options.head_sketch = RSRC_HEAD_SKETCH_OFF;
    options.head_bits = RSRC_HEAD_BITS_16;
    options.opt_level = asked->opt_level;
    options.backend = asked->backend;
    options.n_jobs = asked->n_jobs;
    options.verify_each = asked->verify_each;
    options.verbose = asked->verbose;
    options.progress = asked->progress;
    options.json_diagnostics = asked->json_diagnostics;
    options.color = asked->color;
    options.spec_dir = asked->spec_dir;
    options.cc = asked->cc;
    options.ld = asked->ld;
    return options;
}

static enum rsrc_status map_text(struct rsrc_run *run, struct rsrc_mapping *file,
                                 struct rsrc_calibration *out) {
    const char *path = run->options->calibrate_text;
    *out = (struct rsrc_calibration){.text_name = path,
                                     .text = (const uint8_t *)rsrc_texts[0].text,
                                     .text_bytes = rsrc_texts[0].size_bytes};
    if (path == NULL)
        return RSRC_OK;
    if (rsrc_map_file(run->diag, &run->arena, path, file) != RSRC_OK)
        return RSRC_FAILED;
    out->text = file->data;
    out->text_bytes = file->size_bytes;
    return RSRC_OK;
}

/* Before the first output is opened, because the other compilation removes all temporary files.
 * *code gets the exit code of that compilation. */
static enum rsrc_status calibrate(struct rsrc_compilation *c, FILE *messages, int *code) {
    struct rsrc_mapping file = {0};
    struct rsrc_calibration calibration;
    if (!c->run.options->calibrate)
        return RSRC_OK;
    if (map_text(&c->run, &file, &calibration) != RSRC_OK)
        return RSRC_FAILED;
    const struct rsrc_options options = calibration_options(c->run.options);
    *code = compile(&options, messages, &calibration);
    rsrc_unmap_file(&file);
    c->run.profile = calibration.profile;
    return *code == RSRC_EXIT_OK ? RSRC_OK : RSRC_FAILED;
}

static enum rsrc_status run(struct rsrc_compilation *c, FILE *messages, int *code) {
    const struct rsrc_options *options = c->run.options;
    const bool reads_cache = options->dry_run || options->info != RSRC_INFO_NONE;
    if (rsrc_cache_open(c->run.diag, options->cache_dir, reads_cache, &c->run.cache) != RSRC_OK ||
        !show_remarks(c->run.diag, RSRC_REMARK, options->remarks) ||
        !show_remarks(c->run.diag, RSRC_REMARK_MISSED, options->missed_remarks) ||
        rsrc_set_up(c) != RSRC_OK || calibrate(c, messages, code) != RSRC_OK ||
        rsrc_run_passes(c) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_stdout_finish(c->run.diag);
}

/* --verify and calibrations never rename their module to a final name: they make it among scratch
 * files. */
static const char *place_unwritten(struct rsrc_run *run, const char *output) {
    const char *slash = output != NULL ? strrchr(output, '/') : NULL;
    const char *name = slash != NULL ? slash + 1 : output;
    return rsrc_scratch_path(&run->arena, name != NULL ? name : "rsrc-unwritten.so");
}

static int compile(const struct rsrc_options *asked, FILE *messages,
                   struct rsrc_calibration *calibration) {
    const uint64_t start_ns = rsrc_now_ns();
    struct rsrc_options own = *asked;
    const struct rsrc_options *options = &own;
    struct rsrc_compilation *c = begin(options, messages);
    int code = RSRC_EXIT_OK;
    c->run.calibration = calibration;
    if (options->verify != NULL || calibration != NULL)
        own.output = place_unwritten(&c->run, asked->output);
    const enum rsrc_status status = run(c, messages, &code);
    if (status == RSRC_OK && options->time_report)
        print_times(&c->run, messages);
    if (status == RSRC_OK && calibration == NULL && (options->progress || options->verbose))
        rsrc_print_done(c, rsrc_now_ns() - start_ns, messages);
    rsrc_close_tuner(&c->run);
    rsrc_abandon_outputs(c);
    rsrc_cache_close(&c->run.cache, RSRC_CACHE_MAX_BYTES);
    /* Every failure must have been reported: a failure without a message is a defect of the
     * compiler. */
    if (status != RSRC_OK && code == RSRC_EXIT_OK)
        code = rsrc_diag_error_count(c->run.diag) != 0 ? RSRC_EXIT_ERROR : RSRC_EXIT_INTERNAL;
    if (code == RSRC_EXIT_INTERNAL && rsrc_diag_error_count(c->run.diag) == 0)
        rsrc_error(c->run.diag, "internal", NULL, NULL, "failed without a diagnostic");
    end(c);
    return code;
}

struct call {
    const struct rsrc_options *options;
    FILE *messages;
    int code;
};

static void *run_call(void *argument) {
    struct call *call = argument;
    call->code = compile(call->options, call->messages, NULL);
    return NULL;
}

int rsrc_compile(const struct rsrc_options *options, FILE *messages) {
    struct call call = {options, messages, RSRC_EXIT_INTERNAL};
    rsrc_run_on_large_stack(run_call, &call);
    return call.code;
}
