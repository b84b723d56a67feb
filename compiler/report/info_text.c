/* info_text.c - rsrc --info for people: what was read, a table of the layers, then a part per
 * target. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "report/info.h"

/* ---- words ----------------------------------------------------------------------------------- */

static void put_time(struct rsrc_buffer *out, double us) {
    rsrc_buffer_printf(out, us < 1e3 ? "%.3g us" : "%.3g ms", us < 1e3 ? us : us / 1e3);
}

/* "66 ms (15.1 a second)" */
static void put_rate(struct rsrc_buffer *out, double us) {
    put_time(out, us);
    if (us > 0)
        rsrc_buffer_printf(out, 1e6 / us < 1e3 ? " (%.3g a second)" : " (%.0f a second)", 1e6 / us);
}

static void put_label(struct rsrc_buffer *out, const char *label) {
    rsrc_buffer_printf(out, "%-16s ", label);
}

__attribute__((format(printf, 3, 4))) static void
put_row(struct rsrc_buffer *out, const char *label, const char *format, ...) {
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    put_label(out, label);
    rsrc_buffer_puts(out, line);
    rsrc_buffer_puts(out, "\n");
}

static void put_untrusted_row(struct rsrc_buffer *out, const char *label, const char *text) {
    put_label(out, label);
    rsrc_buffer_put_terminal(out, text);
    rsrc_buffer_puts(out, "\n");
}

/* ---- the checkpoint -------------------------------------------------------------------------- */

/* Prints a decision and its reason. */
static void put_decision(struct rsrc_buffer *out, const char *label, const char *what,
                         const char *reason) {
    put_label(out, label);
    rsrc_buffer_puts(out, what);
    if (reason != NULL) {
        rsrc_buffer_puts(out, " (");
        rsrc_buffer_put_terminal(out, reason);
        rsrc_buffer_puts(out, ")");
    }
    rsrc_buffer_puts(out, "\n");
}

static void put_conventions(const struct rsr_info *info, struct rsrc_buffer *out) {
    const struct rsr_config *config = info->config;
    put_label(out, "architecture");
    if (info->architecture != NULL)
        rsrc_buffer_printf(out, "%s, ", info->architecture);
    rsrc_buffer_puts(out, "model_type \"");
    rsrc_buffer_put_terminal(out, config->model_type);
    rsrc_buffer_puts(out, "\"\n");
    put_decision(out, "scale rule", info->scale_rule, config->scale_reason);
    put_decision(out, "activations", config->input == RSR_INPUT_F32 ? "float" : "int8",
                 config->input_reason);
}

static void put_hyper(const struct rsr_info *info, struct rsrc_buffer *out) {
    const struct rsr_hyper *hyper = &info->config->hyper;
    put_row(out, "blocks", "%u of %u, FFN %u (%s)", hyper->n_layers, hyper->hidden, hyper->ffn,
            info->activation);
    put_row(out, "heads", "%u of %u, %u for keys and values", hyper->n_heads, hyper->head_dim,
            hyper->n_kv_heads);
    if (hyper->delta_layers != 0)
        put_row(out, "delta rules", "%u blocks: %u heads of %u for keys, %u of %u for values",
                hyper->delta_layers, hyper->delta_key_heads, hyper->delta_key_dim,
                hyper->delta_value_heads, hyper->delta_value_dim);
    if (info->config->n_rotations != 0)
        put_row(out, "stored rotated", "in blocks of %u; the steps rotate the inputs",
                rsrc_info_rotated_block(info->config));
    put_row(out, "positions", "%u, rotary base %g", hyper->context, (double)hyper->rope_theta);
    put_row(out, "norm epsilon", "%g", (double)hyper->norm_eps);
    put_row(out, "vocabulary", "%u", hyper->vocab);
    if (info->pooling != NULL)
        put_row(out, "pooling", "%s: an embedding of the text, no next token", info->pooling);
}

static void put_dense(struct rsrc_buffer *out, const char *label,
                      const struct rsr_info_dense *matrix) {
    put_label(out, label);
    if (matrix->dtype == NULL) {
        rsrc_buffer_puts(out, "none\n");
        return;
    }
    rsrc_buffer_printf(out, "%" PRIu64 " x %" PRIu64 " in %s, ", matrix->rows, matrix->cols,
                       matrix->dtype);
    rsrc_buffer_put_size(out, matrix->size_bytes);
    rsrc_buffer_puts(out, "; stored in ");
    if (matrix->packing->is_packed)
        rsrc_buffer_puts(out, "12 bits a weight, ");
    rsrc_buffer_put_size(out, matrix->stored_bytes);
    rsrc_buffer_printf(out, ": %s\n", matrix->packing->reason);
}

static void put_tokens(const struct rsr_info *info, struct rsrc_buffer *out) {
    const struct rsr_config *config = info->config;
    const struct rsr_tokenizer *tokenizer = info->tokenizer;
    if (tokenizer == NULL)
        put_row(out, "tokenizer", "%s",
                info->n_errors != 0 ? "not read" : "none: the module works on token ids");
    else
        put_row(out, "tokenizer", "%s, %u tokens, %u merges", rsrc_info_tokenizer_kind(tokenizer),
                tokenizer->section->n_tokens, tokenizer->section->n_merges);
    put_row(out, "chat template", "%s",
            tokenizer != NULL && tokenizer->chat_template != NULL ? "yes" : "no");
    if (tokenizer != NULL && tokenizer->chat_problem != NULL)
        put_row(out, "chat refused", "%s", tokenizer->chat_problem);
    put_label(out, "stop tokens");
    for (uint32_t i = 0; i < config->n_eos_tokens; i++)
        rsrc_buffer_printf(out, "%s%u", i == 0 ? "" : ", ", config->eos_tokens[i]);
    rsrc_buffer_puts(out, config->n_eos_tokens == 0 ? "none\n" : "\n");
}

static void put_sketch(const struct rsr_head_plan *sketch, struct rsrc_buffer *out) {
    put_label(out, "head sketch");
    if (sketch->n_planes == 0) {
        rsrc_buffer_printf(out, "none: %s\n", sketch->reason);
        return;
    }
    rsrc_buffer_printf(out, "%u plane%s, ", sketch->n_planes, sketch->n_planes == 1 ? "" : "s");
    rsrc_buffer_put_size(out, sketch->size_bytes);
    rsrc_buffer_printf(out, ": %s\n", sketch->reason);
}

static void put_checkpoint(const struct rsr_info *info, struct rsrc_buffer *out) {
    put_untrusted_row(out, "model", info->name);
    if (info->container == NULL)
        return;
    put_label(out, "container");
    rsrc_buffer_printf(out, "%s, %u file%s of ", info->container, info->n_files,
                       info->n_files == 1 ? "" : "s");
    rsrc_buffer_put_size(out, info->file_bytes);
    rsrc_buffer_puts(out, "\n");
    if (info->config == NULL) {
        put_row(out, "architecture", "none: a file of matrices");
        return;
    }
    put_conventions(info, out);
    put_hyper(info, out);
    put_tokens(info, out);
    if (info->architecture == NULL)
        return;
    put_dense(out, "embedding", &info->embedding);
    if (info->ternary_head)
        put_row(out, "head", "a ternary layer");
    else if (info->tied_head)
        put_row(out, "head", "the embedding");
    else
        put_dense(out, "head", &info->head);
    put_sketch(info->sketch, out);
    if (info->n_dense == 0)
        return;
    put_label(out, "not ternary");
    rsrc_buffer_printf(out, "%u linear layers, ", info->n_dense);
    rsrc_buffer_put_size(out, info->dense_bytes);
    rsrc_buffer_puts(out, "\n");
}

/* ---- layers ---------------------------------------------------------------------------------- */

static void put_counts(struct rsrc_buffer *out, uint64_t n_weights, uint64_t n_zero, double least,
                       double most) {
    rsrc_buffer_printf(out, " %11.3f M  %5.1f %%  %5.1f .. %4.1f %%", (double)n_weights / 1e6,
                       rsrc_info_density(n_zero, n_weights) * 100, least * 100, most * 100);
}

static void put_group(const struct rsr_info_group *group, struct rsrc_buffer *out) {
    const struct rsr_info_layer *layer = group->first;
    char shape[32];
    snprintf(shape, sizeof(shape), "%u x %u", layer->rows, layer->cols);
    struct rsrc_buffer label = {0};
    rsrc_buffer_put_terminal(&label, layer->label);
    rsrc_buffer_printf(out, "%-8s %6u  %-14s %-8s", label.data == NULL ? "" : label.data,
                       group->n_layers, shape, layer->stored);
    rsrc_buffer_free(&label);
    if (group->n_decoded != 0)
        put_counts(out, group->n_weights, group->n_zero, group->min_density, group->max_density);
    if (layer->input == RSR_INPUT_F32)
        rsrc_buffer_puts(out, "  float vectors");
    if (group->n_decoded < group->n_layers)
        rsrc_buffer_printf(out, "  %u refused", group->n_layers - group->n_decoded);
    rsrc_buffer_puts(out, "\n");
}

static void put_layers(const struct rsr_info *info, struct rsrc_buffer *out) {
    if (info->n_groups == 0)
        return;
    rsrc_buffer_printf(out, "\n%-8s %6s  %-14s %-8s %13s  %7s  %s\n",
                       info->config != NULL ? "role" : "matrix", "layers", "rows x columns",
                       "stored", "weights", "zero", "least .. most");
    uint64_t n_weights = 0, n_zero = 0;
    double least = 1, most = 0;
    for (uint32_t g = 0; g < info->n_groups; g++) {
        const struct rsr_info_group *group = &info->groups[g];
        put_group(group, out);
        n_weights += group->n_weights;
        n_zero += group->n_zero;
        if (group->n_decoded != 0 && group->min_density < least)
            least = group->min_density;
        if (group->n_decoded != 0 && group->max_density > most)
            most = group->max_density;
    }
    rsrc_buffer_printf(out, "%-8s %6u  %-14s %-8s", "all", info->n_layers, "", "");
    put_counts(out, n_weights, n_zero, n_weights == 0 ? 0 : least, most);
    rsrc_buffer_puts(out, "\n");
}

/* ---- the module and its targets -------------------------------------------------------------- */

static void put_module(const struct rsr_info_module *module, struct rsrc_buffer *out) {
    if (module->total_bytes == 0)
        return;
    rsrc_buffer_puts(out, "\n");
    put_label(out, "module");
    rsrc_buffer_put_size(out, module->total_bytes);
    rsrc_buffer_puts(out, ", estimated: layers ");
    rsrc_buffer_put_size(out, module->layer_bytes);
    if (module->other_bytes != 0) {
        rsrc_buffer_puts(out, ", other data ");
        rsrc_buffer_put_size(out, module->other_bytes);
    }
    if (module->sketch_bytes != 0) {
        rsrc_buffer_puts(out, ", sketch of the head ");
        rsrc_buffer_put_size(out, module->sketch_bytes);
    }
    rsrc_buffer_puts(out, ", code and runtime about ");
    rsrc_buffer_put_size(out, module->code_bytes);
    rsrc_buffer_puts(out, "\n");
}

/* "lut 5, dot 1" or, where there is one, "lut" */
static void put_variants(const struct rsr_info_variant *variants, struct rsrc_buffer *out) {
    for (uint32_t v = 0; v < RSRC_INFO_MAX_VARIANTS && variants[v].name != NULL; v++) {
        rsrc_buffer_printf(out, "%s%s", v == 0 ? "" : ", ", variants[v].name);
        if (variants[1].name != NULL)
            rsrc_buffer_printf(out, " %u", variants[v].n_layers);
    }
}

static void put_group_use(const struct rsr_info_group *group, uint32_t target,
                          struct rsrc_buffer *out) {
    const struct rsr_info_group_use *use = &group->uses[target];
    rsrc_buffer_puts(out, "  ");
    struct rsrc_buffer label = {0};
    rsrc_buffer_put_terminal(&label, group->first->label);
    rsrc_buffer_printf(out, "%-14s decode: ", label.data == NULL ? "" : label.data);
    rsrc_buffer_free(&label);
    put_variants(use->variants[RSR_REGIME_DECODE], out);
    rsrc_buffer_puts(out, ", ");
    rsrc_buffer_put_size(out, use->token_bytes);
    rsrc_buffer_puts(out, ", ");
    put_time(out, use->us[RSR_REGIME_DECODE]);
    if (use->variants[RSR_REGIME_PREFILL][0].name != NULL) {
        rsrc_buffer_puts(out, "; prefill: ");
        put_variants(use->variants[RSR_REGIME_PREFILL], out);
    }
    rsrc_buffer_puts(out, "\n");
}

static void put_token_bytes(const struct rsr_info *info, const struct rsr_info_cost *cost,
                            struct rsrc_buffer *out) {
    rsrc_buffer_put_size(out, cost->token_bytes);
    if (info->config == NULL)
        return;
    rsrc_buffer_puts(out, ": layers ");
    rsrc_buffer_put_size(out, cost->layer_bytes);
    if (cost->dense_bytes != 0) {
        rsrc_buffer_puts(out, ", layers that are not ternary ");
        rsrc_buffer_put_size(out, cost->dense_bytes);
    }
    rsrc_buffer_puts(out, cost->head_bytes < cost->full_head_bytes ? ", sketch of the head "
                                                                   : ", head ");
    rsrc_buffer_put_size(out, cost->head_bytes);
    rsrc_buffer_puts(out, ", a row of the embedding ");
    rsrc_buffer_put_size(out, cost->embedding_bytes);
    if (cost->head_bytes == cost->full_head_bytes)
        return;
    rsrc_buffer_puts(out, "\n                 and rows that the sketch leaves open, about ");
    rsrc_buffer_put_size(out, cost->usual_head_bytes - cost->head_bytes);
    rsrc_buffer_puts(out, "; full logits: instead of both all of the head, ");
    rsrc_buffer_put_size(out, cost->full_head_bytes);
}

/* For a model, numbers are for a token; for matrices, for one vector each. */
static void put_cost(const struct rsr_info *info, const struct rsr_info_cost *cost,
                     struct rsrc_buffer *out) {
    const char *what = info->config != NULL ? "token" : "vector";
    rsrc_buffer_printf(out, "  a %s reads%*s", what, (int)(7 - strlen(what)), "");
    put_token_bytes(info, cost, out);
    rsrc_buffer_printf(out, "\n  floor          a %s in ", what);
    put_rate(out, cost->floor_us);
    if (cost->cores > 1) {
        rsrc_buffer_puts(out, " on 1 core, ");
        put_rate(out, cost->floor_all_us);
        rsrc_buffer_printf(out, " on %u", cost->cores);
    }
    rsrc_buffer_puts(out, ": to read that from memory\n");
    rsrc_buffer_printf(out, "  prediction     a %s in ", what);
    put_rate(out, cost->us[RSR_REGIME_DECODE]);
    rsrc_buffer_printf(out, "%s, by the cost model", cost->cores > 1 ? " on 1 core" : "");
    if (cost->us[RSR_REGIME_PREFILL] > 0) {
        rsrc_buffer_puts(out, "; its layers in prefill ");
        put_time(out, cost->us[RSR_REGIME_PREFILL]);
    }
    rsrc_buffer_puts(out, "\n");
}

static void put_target(const struct rsr_info *info, uint32_t target, struct rsrc_buffer *out) {
    const struct rsr_info_cost cost = rsrc_info_cost(info, target);
    rsrc_buffer_puts(out, "\ntarget ");
    rsrc_buffer_put_terminal(out, info->specs[target].name);
    rsrc_buffer_printf(out, ": reads %.3g GB/s%s\n", cost.read_gbps,
                       info->specs[target].gpu.sm != 0 ? "" : " on a core");
    for (uint32_t g = 0; g < info->n_groups; g++)
        put_group_use(&info->groups[g], target, out);
    put_cost(info, &cost, out);
}

static void put_all(const struct rsr_info *info, struct rsrc_buffer *out) {
    put_checkpoint(info, out);
    put_layers(info, out);
    put_module(&info->module, out);
    for (uint32_t t = 0; t < info->n_targets && info->n_errors == 0; t++)
        put_target(info, t, out);
    rsrc_buffer_puts(out, "\n");
    if (info->n_errors == 0)
        put_row(out, "compiles", "yes");
    else
        put_row(out, "compiles", "no: %u error%s", info->n_errors, info->n_errors == 1 ? "" : "s");
}

#define LINE_COLUMNS 80u
#define LABEL_COLUMNS 17u

/* Where a line is broken: at the last space within n_columns that is after the first `least`
 * columns; at its end if there is no such space. */
static size_t break_of(const char *line, size_t n, size_t least, size_t n_columns) {
    if (n <= n_columns)
        return n;
    for (size_t at = n_columns; at > least; at--)
        if (line[at] == ' ')
            return at;
    return n;
}

/* Lines longer than a terminal continue below the text that follows their label. */
static void put_wrapped(const char *text, struct rsrc_buffer *out) {
    for (size_t n; *text != '\0'; text += n + 1) {
        n = strcspn(text, "\n");
        size_t end = break_of(text, n, LABEL_COLUMNS, LINE_COLUMNS);
        rsrc_buffer_append(out, text, end);
        while (end < n) {
            end += strspn(text + end, " ");
            const size_t taken = break_of(text + end, n - end, 0, LINE_COLUMNS - LABEL_COLUMNS);
            rsrc_buffer_printf(out, "\n%*s", (int)LABEL_COLUMNS, "");
            rsrc_buffer_append(out, text + end, taken);
            end += taken;
        }
        rsrc_buffer_puts(out, "\n");
    }
}

void rsrc_info_text(const struct rsr_info *info, struct rsrc_buffer *out) {
    struct rsrc_buffer text = {0};
    put_all(info, &text);
    put_wrapped(text.data, out);
    rsrc_buffer_free(&text);
}
