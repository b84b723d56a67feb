/* driver.c - the table of passes, and one compilation from options to exit code.
 *
 * Model passes before the first layer pass run first; then every layer runs through the layer passes
 * (driver_layers.c); then the remaining model passes run in the table's order.
 */
#include "driver.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mapped_file.h"
#include "model/graph.h"
#include "reader/checkpoint.h"
#include "rsr/segment.h"
#include "spec/spec.h"

/* ---- model passes ----------------------------------------------------------------------------------------- */

static enum rsrc_status add_items_of_graph(struct rsrc_compilation *c) {
    c->items = RSRC_NEW_ARRAY(&c->arena, c->graph.n_layers, struct rsrc_item);
    for (uint32_t i = 0; i < c->graph.n_layers; i++) {
        const struct rsr_layer *layer = &c->graph.layers[i];
        const char *role = rsrc_role_name(layer->role);
        c->items[i] = (struct rsrc_item){
            .name = layer->name,
            .stem = layer->block == RSR_NO_BLOCK
                        ? role
                        : rsrc_arena_printf(&c->arena, "l%u_%s", layer->block, role),
            .block = layer->block,
            .role = layer->role,
            .layer = layer};
    }
    c->n_items = c->graph.n_layers;
    return RSRC_OK;
}

static enum rsrc_status read_text_form(struct rsrc_compilation *c) {
    struct rsrc_mapping *mapping = RSRC_NEW(&c->arena, struct rsrc_mapping);
    if (rsrc_map_file(c->diag, &c->arena, c->options->input, mapping) != RSRC_OK)
        return RSRC_FAILED;
    struct rsr_named_index *named = NULL;
    uint32_t n = 0;
    const enum rsrc_status status =
        rsrc_parse_indexes(c->diag, &c->arena, mapping->path, (const char *)mapping->data,
                           mapping->size_bytes, &named, &n);
    rsrc_unmap_file(mapping);
    if (status != RSRC_OK)
        return status;
    rsrc_add_matrices(c, NULL, named, n);
    return RSRC_OK;
}

static enum rsrc_status pass_read(struct rsrc_compilation *c) {
    if (c->from == PASS_RSR)
        return read_text_form(c);
    if (rsrc_read_checkpoint(c->diag, &c->arena, c->options->input, &c->checkpoint) != RSRC_OK)
        return RSRC_FAILED;
    c->has_checkpoint = true;
    if (c->checkpoint.has_config)
        return RSRC_OK;
    rsrc_add_matrices(c, c->checkpoint.tensors, NULL, c->checkpoint.n_tensors);
    return RSRC_OK;
}

static void dump_read(struct rsrc_compilation *c, struct rsrc_buffer *out) {
    static const char *const DTYPES[RSR_DTYPE_COUNT] = {
        [RSR_DTYPE_F32] = "F32", [RSR_DTYPE_BF16] = "BF16", [RSR_DTYPE_F16] = "F16",
        [RSR_DTYPE_I8] = "I8",   [RSR_DTYPE_U8] = "U8",     [RSR_DTYPE_I32] = "I32",
        [RSR_DTYPE_I64] = "I64"};
    for (uint32_t i = 0; i < c->checkpoint.n_tensors; i++) {
        const struct rsr_tensor *tensor = &c->checkpoint.tensors[i];
        rsrc_buffer_puts(out, "tensor ");
        rsrc_buffer_put_c_string(out, tensor->name);
        rsrc_buffer_printf(out, " %s [", DTYPES[tensor->dtype]);
        for (uint32_t d = 0; d < tensor->n_dims; d++)
            rsrc_buffer_printf(out, "%s%llu", d == 0 ? "" : ", ",
                               (unsigned long long)tensor->shape[d]);
        rsrc_buffer_printf(out, "] at 0x%llx\n", (unsigned long long)tensor->offset);
    }
}

static enum rsrc_status pass_graph(struct rsrc_compilation *c) {
    if (!c->has_checkpoint || !c->checkpoint.has_config)
        return RSRC_OK;
    if (rsrc_build_graph(c->diag, &c->arena, &c->checkpoint, &c->graph) != RSRC_OK)
        return RSRC_FAILED;
    c->has_graph = true;
    return add_items_of_graph(c);
}

static void dump_graph(struct rsrc_compilation *c, struct rsrc_buffer *out) {
    if (c->has_graph)
        rsrc_print_graph(&c->graph, out);
}

/* What --layers leaves out has no plan; its layer keeps one number, and nothing is linked. */
static void number_kernels(struct rsrc_compilation *c, uint32_t target,
                           struct rsrc_step_kernels *out) {
    const uint32_t n_layers = c->graph.n_layers;
    uint32_t *layer = RSRC_NEW_ARRAY(&c->arena, RSR_REGIME_COUNT * (size_t)n_layers, uint32_t);
    uint32_t *prefill = RSRC_NEW_ARRAY(&c->arena, n_layers, uint32_t);
    uint32_t n = n_layers;
    for (uint32_t l = 0; l < n_layers; l++) {
        layer[l] = l;
        prefill[l] = l;
        const struct rsr_report_layer *report = &c->reports[(size_t)target * c->n_items + l];
        if (c->n_items == n_layers && !rsrc_same_kernel(&report->plan)) {
            layer[n] = l;
            prefill[l] = n++;
        }
    }
    *out = (struct rsrc_step_kernels){.n_kernels = n, .layer = layer, .prefill = prefill};
}

static enum rsrc_status pass_schedule(struct rsrc_compilation *c) {
    if (!c->has_graph)
        return RSRC_OK;
    c->steps = RSRC_NEW_ARRAY(&c->arena, c->n_specs, struct rsrc_target_steps);
    for (uint32_t t = 0; t < c->n_specs; t++) {
        struct rsrc_target_steps *target = &c->steps[t];
        number_kernels(c, t, &target->kernels);
        rsrc_build_steps(&c->arena, &c->graph, &target->kernels, &target->steps, &target->n_steps);
        for (uint32_t s = 0; s < target->n_steps && c->options->verify_each; s++)
            if (rsrc_verify_step(c->diag, &c->graph, &target->kernels, &target->steps[s]) !=
                RSRC_OK)
                return RSRC_FAILED;
    }
    return RSRC_OK;
}

static void dump_schedule(struct rsrc_compilation *c, struct rsrc_buffer *out) {
    for (uint32_t t = 0; t < c->n_specs && c->steps != NULL; t++)
        for (uint32_t s = 0; s < c->steps[t].n_steps; s++)
            rsrc_print_step(&c->graph, &c->steps[t].kernels, &c->steps[t].steps[s], out);
}

static void add_tool(struct rsrc_compilation *c, uint32_t row,
                     const struct rsrc_spawn_usage *usage) {
    c->times.rows[row].n_runs = usage->n_commands;
    c->times.rows[row].wall_s = usage->wall_s;
    c->times.rows[row].cpu_s = usage->cpu_s;
    c->times.rows[row].peak_bytes = usage->peak_bytes;
}

static enum rsrc_status pass_link(struct rsrc_compilation *c) {
    if (rsrc_finish_emission(c) != RSRC_OK)
        return RSRC_FAILED;
    const enum rsrc_status status = rsrc_link_outputs(c);
    add_tool(c, TIME_CC, &c->cc_usage);
    add_tool(c, TIME_LD, &c->ld_usage);
    if (c->options->progress)
        fputs("\r\033[K", stderr);
    return status;
}

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

static enum rsrc_status pass_report(struct rsrc_compilation *c) {
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

const struct rsrc_pass rsrc_passes[PASS_COUNT] = {
    [PASS_READ] = {.name = "read",
                   .help = "checkpoint files to tensors, configuration, tokenizer",
                   .run_model = pass_read,
                   .dump_model = dump_read},
    [PASS_GRAPH] = {.name = "graph",
                    .help = "tensors to layers with roles and scale rules",
                    .run_model = pass_graph,
                    .dump_model = dump_graph},
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
                       .run_model = pass_schedule,
                       .dump_model = dump_schedule},
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
                   .run_model = pass_link},
    [PASS_REPORT] = {.name = "report", .help = "what was done and why", .run_model = pass_report},
};

/* ---- options to a compilation -------------------------------------------------------------------------------- */

static enum rsrc_status find_pass(struct rsrc_compilation *c, const char *option, const char *name,
                                  enum rsrc_pass_id *out) {
    const char *names[PASS_COUNT];
    for (uint32_t i = 0; i < PASS_COUNT; i++) {
        names[i] = rsrc_passes[i].name;
        if (strcmp(names[i], name) == 0) {
            *out = (enum rsrc_pass_id)i;
            return RSRC_OK;
        }
    }
    const char *close = rsrc_did_you_mean(name, names, PASS_COUNT);
    rsrc_error(c->diag, "option-value", NULL, "rsrc --print-passes lists the passes",
               "%s: there is no pass '%s'%s%s%s", option, name, close ? "; did you mean '" : "",
               close ? close : "", close ? "'?" : "");
    return RSRC_FAILED;
}

static enum rsrc_pass_id last_pass(const struct rsrc_options *options) {
    enum rsrc_pass_id last = PASS_READ;
    for (uint32_t k = 0; k < RSRC_KIND_COUNT; k++)
        if ((options->emit & (uint32_t)rsrc_kinds[k].emit) != 0 && rsrc_kinds[k].pass > last)
            last = rsrc_kinds[k].pass;
    return options->report != NULL ? PASS_REPORT : last;
}

/* An output that is asked for must not stay away silently. A module is what nobody asked for yet: the
 * default, which --to makes a run of passes without output. */
static enum rsrc_status check_outputs_complete(struct rsrc_compilation *c) {
    const struct rsrc_options *options = c->options;
    const char *missing = options->report != NULL && c->to < PASS_REPORT ? "--report" : NULL;
    for (uint32_t k = 0; k < RSRC_KIND_COUNT && missing == NULL; k++)
        if (rsrc_wants(c, rsrc_kinds[k].emit) && k != RSRC_KIND_SO && c->to < rsrc_kinds[k].pass)
            missing = rsrc_arena_printf(&c->arena, "--emit=%s", rsrc_kinds[k].name);
    if (missing == NULL)
        return RSRC_OK;
    rsrc_error(c->diag, "option-value", NULL, "leave out --to, or --dump a pass before it",
               "%s: there is none when --to=%s ends the compilation", missing, options->to);
    return RSRC_FAILED;
}

/* By the name of the pass, or of the text form that it makes. */
static enum rsrc_status find_start(struct rsrc_compilation *c, const char *name) {
    if (strcmp(name, "step") == 0 || strcmp(name, "kernel") == 0) {
        c->from = name[0] == 's' ? PASS_SCHEDULE : PASS_LOWER;
        return RSRC_OK;
    }
    return find_pass(c, "--from", name, &c->from);
}

static enum rsrc_status set_pass_range(struct rsrc_compilation *c) {
    const struct rsrc_options *options = c->options;
    c->from = PASS_READ;
    c->to = last_pass(options);
    if (options->from != NULL && find_start(c, options->from) != RSRC_OK)
        return RSRC_FAILED;
    if (options->to != NULL && find_pass(c, "--to", options->to, &c->to) != RSRC_OK)
        return RSRC_FAILED;
    if (check_outputs_complete(c) != RSRC_OK)
        return RSRC_FAILED;
    if (c->from != PASS_READ && c->from != PASS_RSR && !rsrc_starts_from_text(c)) {
        rsrc_error(c->diag, "option-value", NULL, "start from read, rsr, plan, step or kernel",
                   "--from: pass '%s' has no text form that can be read", options->from);
        return RSRC_FAILED;
    }
    if (rsrc_check_text_start(c) != RSRC_OK)
        return RSRC_FAILED;
    for (uint32_t i = 0; i < options->n_dumps; i++) {
        enum rsrc_pass_id id;
        if (find_pass(c, "--dump", options->dumps[i], &id) != RSRC_OK)
            return RSRC_FAILED;
        if (rsrc_passes[id].dump_model == NULL && rsrc_passes[id].dump_layer == NULL) {
            rsrc_error(c->diag, "option-value", NULL, "use --emit to get what it makes",
                       "--dump: pass '%s' has no text form", options->dumps[i]);
            return RSRC_FAILED;
        }
        if (id > c->to) {
            rsrc_error(c->diag, "option-value", NULL, NULL, "--dump: pass '%s' does not run",
                       options->dumps[i]);
            return RSRC_FAILED;
        }
        c->dumps |= 1u << id;
    }
    return RSRC_OK;
}

static enum rsrc_status set_variants(struct rsrc_compilation *c) {
    struct rsrc_plan_options *plan = &c->plan_options;
    plan->k = c->options->rsr_k;
    for (uint32_t r = 0; r <= RSR_ROLE_COUNT; r++)
        plan->forced_variant[r] = -1;
    for (uint32_t i = 0; i < c->options->n_variants; i++) {
        const struct rsrc_variant_choice *choice = &c->options->variants[i];
        int variant = 0;
        while (variant < RSR_VARIANT_COUNT &&
               strcmp(rsrc_variant_name((enum rsr_variant)variant), choice->variant) != 0)
            variant++;
        if (variant == RSR_VARIANT_COUNT) {
            rsrc_error(c->diag, "option-value", NULL, "variants are dot, lut, fold and scatter",
                       "--variant: there is no variant '%s'", choice->variant);
            return RSRC_FAILED;
        }
        bool found = strcmp(choice->role, "*") == 0;
        if (found) /* bare matrices too */
            plan->forced_variant[RSR_ROLE_COUNT] = variant;
        for (uint32_t r = RSR_ROLE_Q; r <= RSR_ROLE_DOWN; r++) {
            if (strcmp(choice->role, "*") == 0 ||
                strcmp(choice->role, rsrc_role_name((enum rsr_role)r)) == 0) {
                plan->forced_variant[r] = variant;
                found = true;
            }
        }
        if (!found) {
            rsrc_error(c->diag, "option-value", NULL, "roles are q k v o gate up down, or *",
                       "--variant: there is no role '%s'", choice->role);
            return RSRC_FAILED;
        }
    }
    return RSRC_OK;
}

/* Symbols end in the target's name, with '_' for what C has no letters for. */
static bool same_in_symbols(const char *a, const char *b) {
    const char *const other = "_.-";
    while (*a != '\0' && (*a == *b || (strchr(other, *a) && *b != '\0' && strchr(other, *b)))) {
        a++;
        b++;
    }
    return *a == *b;
}

static enum rsrc_status load_specs(struct rsrc_compilation *c) {
    uint32_t n = 1;
    for (const char *p = c->options->target; *p != '\0'; p++)
        n += *p == ',';
    c->specs = RSRC_NEW_ARRAY(&c->arena, n, struct rsr_spec);
    for (const char *at = c->options->target; c->n_specs < n;) {
        const size_t length = strcspn(at, ",");
        const char *name = rsrc_arena_strndup(&c->arena, at, length);
        struct rsr_spec *spec = &c->specs[c->n_specs];
        if (rsrc_load_spec(c->diag, &c->arena, name, c->options->spec_dir, spec) != RSRC_OK)
            return RSRC_FAILED;
        for (uint32_t i = 0; i < c->n_specs; i++) {
            const struct rsr_spec *other = &c->specs[i];
            if (strcmp(other->triple, spec->triple) != 0) {
                rsrc_error(
                    c->diag, "option-value", NULL, "compile a module for each",
                    "--target: '%s' is for %s and '%s' for %s, and a module is for one of them",
                    other->name, other->triple, spec->name, spec->triple);
                return RSRC_FAILED;
            }
            if (same_in_symbols(other->name, spec->name)) {
                rsrc_error(c->diag, "option-value", NULL, NULL,
                           "--target: '%s' and '%s' cannot be in one module", other->name,
                           spec->name);
                return RSRC_FAILED;
            }
        }
        c->n_specs++;
        at += length + (at[length] == ',');
    }
    return RSRC_OK;
}

void rsrc_show_progress(const struct rsrc_compilation *c, const char *what, uint32_t done,
                        uint32_t total) {
    if (c->options->progress)
        fprintf(stderr, "\r\033[K[%u/%u] %s", done, total, what);
}

static void show_compiled(void *context, uint32_t done, uint32_t total) {
    rsrc_show_progress(context, "units compiled", done, total);
}

static enum rsrc_status set_jobs(struct rsrc_compilation *c) {
    uint32_t n_jobs = c->options->n_jobs;
    if (n_jobs == 0) {
        const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        n_jobs = cpus < 1 ? 1 : cpus > 256 ? 256 : (uint32_t)cpus;
    }
    if (c->to >= PASS_LINK && (c->options->emit & (RSRC_EMIT_SO | RSRC_EMIT_OBJ)) != 0 &&
        rsrc_find_toolchain(c->diag, &c->arena, c->options->cc, c->options->ld, c->specs[0].triple,
                            &c->toolchain) != RSRC_OK)
        return RSRC_FAILED;
    c->n_jobs = n_jobs;
    const struct rsrc_spawn_options spawn = {.n_jobs = n_jobs,
                                             .print = c->options->verbose,
                                             .dry_run = c->options->dry_run,
                                             .context = c};
    c->toolchain.compiling = spawn;
    c->toolchain.compiling.usage = &c->cc_usage;
    c->toolchain.compiling.progress = show_compiled;
    c->toolchain.linking = spawn;
    c->toolchain.linking.usage = &c->ld_usage;
    return RSRC_OK;
}

/* ---- running ------------------------------------------------------------------------------------------------------- */

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

/* A module is all of its input; chosen layers can be analysed and printed. */
static enum rsrc_status check_items(struct rsrc_compilation *c) {
    const struct rsrc_place place = {.file = c->options->input};
    if (rsrc_check_matrices(c) != RSRC_OK)
        return RSRC_FAILED;
    if ((c->options->emit & RSRC_EMIT_STEP) != 0 && !c->has_graph) {
        rsrc_error(c->diag, "not-a-model", &place, "choose another --emit kind",
                   "matrices without a config.json have no forward pass");
        return RSRC_FAILED;
    }
    if (c->options->layers == NULL)
        return RSRC_OK;
    if (c->to >= PASS_LINK && (c->options->emit & (RSRC_EMIT_SO | RSRC_EMIT_OBJ)) != 0) {
        rsrc_error(c->diag, "option-value", NULL, "choose another --emit kind",
                   "--layers leaves out layers, so no module can be made of the rest");
        return RSRC_FAILED;
    }
    regex_t pattern;
    if (regcomp(&pattern, c->options->layers, REG_EXTENDED | REG_NOSUB) != 0) {
        rsrc_error(c->diag, "option-value", NULL, "give a POSIX extended regular expression",
                   "--layers: bad pattern '%s'", c->options->layers);
        return RSRC_FAILED;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n_items; i++)
        if (regexec(&pattern, c->items[i].name, 0, NULL, 0) == 0)
            c->items[n++] = c->items[i];
    regfree(&pattern);
    if (n == 0)
        rsrc_error(c->diag, "option-value", NULL, "--dump=graph lists the layers",
                   "--layers: no layer matches '%s'", c->options->layers);
    c->n_items = n;
    return n == 0 ? RSRC_FAILED : RSRC_OK;
}

static double count_weights(const struct rsrc_item *item) {
    if (item->layer != NULL)
        return (double)item->layer->rows * item->layer->cols;
    if (item->index != NULL)
        return (double)item->index->rows * item->index->cols;
    double n = 1;
    for (uint32_t d = 0; d < item->tensor->n_dims; d++)
        n *= (double)item->tensor->shape[d];
    return n;
}

/* Folded code of a random ternary matrix takes 2.2 bytes a weight. */
#define FOLD_BYTES_PER_WEIGHT 2.5

/* In the order of the layers, to those whose code should fit into what is left: by shape alone, so that
 * no layer waits for what another one is planned to take. */
static void share_fold_budget(struct rsrc_compilation *c) {
    uint64_t left = c->options->fold_budget;
    for (uint32_t i = 0; i < c->n_items; i++) {
        const double bytes = count_weights(&c->items[i]) * FOLD_BYTES_PER_WEIGHT;
        if (bytes > (double)left)
            continue;
        c->items[i].fold_budget = (uint64_t)bytes;
        left -= c->items[i].fold_budget;
    }
}

static enum rsrc_status run(struct rsrc_compilation *c) {
    if (set_pass_range(c) != RSRC_OK || load_specs(c) != RSRC_OK ||
        rsrc_check_machine(c) != RSRC_OK)
        return RSRC_FAILED;
    const bool is_gpu = rsrc_is_gpu(c);
    if ((!is_gpu && set_variants(c) != RSRC_OK) || set_jobs(c) != RSRC_OK)
        return RSRC_FAILED;
    if (rsrc_starts_from_text(c))
        return rsrc_run_text(c);
    for (uint32_t id = PASS_READ; id < PASS_DECODE; id++)
        if (run_model_pass(c, id) != RSRC_OK)
            return RSRC_FAILED;
    if (check_items(c) != RSRC_OK)
        return RSRC_FAILED;
    if (is_gpu)
        return rsrc_run_gpu(c);
    share_fold_budget(c);
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
        dump_schedule(c, &text);
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
    if (rsrc_cache_open(c->diag, options->cache_dir, options->dry_run, &c->cache) == RSRC_OK &&
        show_remarks(c) == RSRC_OK)
        status = run(c);
    if (status == RSRC_OK)
        status = rsrc_stdout_finish(c);
    if (status == RSRC_OK && options->time_report)
        print_times(c, messages);
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
