/* report_json.c - the report of a compilation for programs, and for the page that draws it
 * (report_page.h). report.schema.json describes every key. */
#include <inttypes.h>
#include <math.h>

#include "kernel/kernel.h"
#include "report/json_members.h"
#include "report/report_parts.h"

static const char *input_name(const struct rsr_report_layer *layer) {
    return layer->plan.input == RSR_INPUT_F32 ? "f32" : "i8";
}

/* Rounds to nanoseconds, as in plans. */
static void put_us(struct rsrc_buffer *out, const char *key, double us) {
    rsrc_put_key(out, key);
    rsrc_buffer_printf(out, "%.3f", us);
}

static void put_times(const struct rsr_regime_plan *plan, struct rsrc_buffer *out) {
    put_us(out, "us", plan->predicted_us);
    if (plan->measured_us > 0) {
        put_us(out, "measured_us", plan->measured_us);
        const double ratio = plan->measured_us / plan->predicted_us;
        if (isfinite(ratio)) /* of a plan that was given, "us" may be 0 */
            put_us(out, "measured_to_predicted", ratio);
    }
}

/* ---- layers ---------------------------------------------------------------------------------- */

static void put_alternative(const struct rsr_alternative *alternative, struct rsrc_buffer *out) {
    rsrc_put_object(out);
    rsrc_put_text(out, "name", alternative->name);
    rsrc_put_text(out, "variant", rsrc_variant_name(rsrc_kernel_row(alternative->kernel)->variant));
    put_us(out, "us", alternative->predicted_us);
    if (alternative->memory_us > 0) { /* not for a GPU, whose plans have no such parts */
        put_us(out, "memory_us", alternative->memory_us);
        put_us(out, "compute_us", alternative->compute_us);
    }
    if (alternative->measured_us > 0)
        put_us(out, "measured_us", alternative->measured_us);
    rsrc_put_count(out, "weight_bytes", alternative->weight_bytes);
    rsrc_put_text(out, "verdict", rsrc_verdict_words(alternative->verdict));
    rsrc_buffer_puts(out, "}");
}

static void put_regime(const struct rsr_regime_plan *plan, uint32_t regime,
                       struct rsrc_buffer *out) {
    rsrc_put_key(out, rsrc_report_regime(regime));
    rsrc_put_object(out);
    rsrc_put_text(out, "variant", rsrc_variant_of(plan));
    put_times(plan, out);
    rsrc_put_count(out, "weight_bytes", plan->weight_bytes);
    rsrc_put_count(out, "token_bytes", plan->token_bytes);
    rsrc_put_count(out, "acc_bound", plan->acc_bound);
    rsrc_put_text(out, "reason", plan->reason);
    rsrc_put_text(out, "kernel", rsrc_kernel_row(plan->kernel)->name);
    rsrc_put_text(out, "machine", plan->machine->name);
    rsrc_put_key(out, "alternatives");
    rsrc_buffer_puts(out, "[");
    for (uint32_t i = 0; i < plan->n_alternatives; i++)
        put_alternative(&plan->alternatives[i], out);
    rsrc_buffer_puts(out, "]}");
}

static void put_found(const struct rsr_reduction_counts *found, const struct rsr_stats *stats,
                      struct rsrc_buffer *out) {
    rsrc_put_count(out, "rows", found->rows);
    rsrc_put_count(out, "cols", found->cols);
    rsrc_put_count(out, "nonzero", stats->n_nonzero);
    rsrc_put_count(out, "computed_rows", stats->rows);
    rsrc_put_count(out, "computed_cols", stats->cols);
    rsrc_put_count(out, "zero_rows", found->n_zero_rows);
    rsrc_put_count(out, "zero_cols", found->n_zero_cols);
    rsrc_put_count(out, "repeated_rows", found->n_repeated_rows);
    rsrc_put_count(out, "dead_rows", found->n_dead_rows);
    rsrc_put_count(out, "dead_cols", found->n_dead_cols);
}

static void put_segments(const struct rsr_stats *stats, struct rsrc_buffer *out) {
    rsrc_put_count(out, "k", stats->k);
    rsrc_put_count(out, "segments", stats->n_segments);
    rsrc_put_count(out, "members", stats->n_members);
    rsrc_put_count(out, "fold_adds", stats->n_fold_adds);
    rsrc_put_count(out, "direct_adds", stats->n_direct_adds);
}

static void put_launch(const struct rsr_report_launch *launch, struct rsrc_buffer *out) {
    if (launch->symbol == NULL)
        return;
    rsrc_put_key(out, "launch");
    rsrc_put_object(out);
    rsrc_put_text(out, "symbol", launch->symbol);
    rsrc_put_count(out, "blocks", launch->blocks);
    rsrc_put_count(out, "threads", launch->threads);
    if (launch->registers != 0)
        rsrc_put_count(out, "registers", launch->registers);
    rsrc_buffer_puts(out, "}");
}

static void put_layer(const struct rsr_report_layer *layer, struct rsrc_buffer *out) {
    rsrc_put_object(out);
    rsrc_put_text(out, "name", layer->name);
    rsrc_put_text(out, "role", layer->role);
    rsrc_put_key(out, "block");
    if (layer->block == RSR_NO_BLOCK)
        rsrc_buffer_puts(out, "null");
    else
        rsrc_buffer_printf(out, "%u", layer->block);
    rsrc_put_text(out, "input", input_name(layer));
    rsrc_put_text(out, "alphabet", rsrc_alphabet_name(layer->alphabet));
    put_found(&layer->found, &layer->stats, out);
    if (rsrc_report_reads_segments(layer))
        put_segments(&layer->stats, out);
    for (uint32_t r = 0; r < RSR_REGIME_COUNT; r++)
        put_regime(&layer->plan.regimes[r], r, out);
    put_launch(&layer->launch, out);
    rsrc_buffer_puts(out, "}");
}

static void put_kernel(const struct rsrc_kernel_use *use, struct rsrc_buffer *out) {
    const struct rsr_report_layer *layer = use->first;
    const struct rsr_regime_plan *plan = &layer->plan.regimes[use->regime];
    rsrc_buffer_puts(out, "{");
    rsrc_put_text(out, "regime", rsrc_report_regime(use->regime));
    rsrc_put_text(out, "variant", rsrc_variant_of(plan));
    rsrc_put_text(out, "input", input_name(layer));
    rsrc_put_text(out, "alphabet", rsrc_alphabet_name(layer->alphabet));
    rsrc_put_count(out, "rows", layer->found.rows);
    rsrc_put_count(out, "cols", layer->found.cols);
    rsrc_put_count(out, "computed_rows", layer->stats.rows);
    rsrc_put_count(out, "computed_cols", layer->stats.cols);
    rsrc_put_count(out, "layers", use->n_layers);
    put_times(plan, out);
    rsrc_buffer_puts(out, "}");
}

/* ---- segments -------------------------------------------------------------------------------- */

/* One base-64 digit per cell. */
static void put_map(const struct rsr_segment_picture *picture, struct rsrc_buffer *out) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    _Static_assert(sizeof(DIGITS) - 1 == RSR_MAP_LEVELS, "a digit a level");
    rsrc_put_count(out, "map_rows", picture->map_rows);
    rsrc_put_count(out, "map_cols", picture->map_cols);
    rsrc_put_real(out, "map_least", picture->map_least);
    rsrc_put_real(out, "map_most", picture->map_most);
    rsrc_put_key(out, "map");
    rsrc_buffer_puts(out, "\"");
    const size_t n = (size_t)picture->map_rows * picture->map_cols;
    for (size_t i = 0; i < n; i++)
        rsrc_buffer_append(out, &DIGITS[picture->map[i]], 1);
    rsrc_buffer_puts(out, "\"");
}

/* What the planner knew about the segments of a layer, for all targets; the prediction of scatter
 * uses it. */
static void put_analysis(const struct rsr_report_layer *layer, struct rsrc_buffer *out) {
    const struct rsr_stats *stats = &layer->stats;
    const struct rsr_segment_picture *picture = &layer->picture;
    rsrc_put_object(out);
    rsrc_put_text(out, "name", layer->name);
    put_segments(stats, out);
    rsrc_put_key(out, "k_costs");
    rsrc_buffer_puts(out, "[");
    for (uint32_t k = 1; k <= RSR_MAX_K && stats->k_costs[k] > 0; k++)
        rsrc_buffer_printf(out, "%s%.0f", k == 1 ? "" : ",", stats->k_costs[k]);
    rsrc_buffer_puts(out, "]");
    rsrc_put_key(out, "multiplicity");
    rsrc_buffer_puts(out, "[");
    for (uint32_t b = 0; b < RSR_MULTIPLICITY_BINS; b++)
        rsrc_buffer_printf(out, "%s%" PRIu64, b == 0 ? "" : ",", picture->multiplicity[b]);
    rsrc_buffer_puts(out, "]");
    put_map(picture, out);
    rsrc_buffer_puts(out, "}");
}

/* Layers of a GPU have none. */
static void put_analyses(const struct rsr_report *report, struct rsrc_buffer *out) {
    rsrc_put_key(out, "analysis");
    rsrc_buffer_puts(out, "[");
    for (uint32_t i = 0; i < report->n_layers; i++)
        if (report->layers[i].picture.map != NULL)
            put_analysis(&report->layers[i], out);
    rsrc_buffer_puts(out, "]");
}

/* ---- targets --------------------------------------------------------------------------------- */

static void put_cpu(const struct rsr_spec *spec, struct rsrc_buffer *out) {
    rsrc_put_count(out, "cores", spec->cores);
    rsrc_put_count(out, "vector_bits", spec->vector_bits);
    rsrc_put_count(out, "l2_bytes", spec->l2_bytes);
    rsrc_put_real(out, "read_gbps", spec->read_gbps);
    rsrc_put_real(out, "dot_gmacs", spec->dot_gmacs);
    rsrc_put_real(out, "panel_gmacs", spec->panel_gmacs);
    rsrc_put_real(out, "vector_gips", spec->vector_gips);
    rsrc_put_real(out, "fold_gips", spec->fold_gips);
    rsrc_put_real(out, "add_gops", spec->add_gops);
}

static void put_gpu(const struct rsr_gpu *gpu, struct rsrc_buffer *out) {
    rsrc_put_count(out, "sm", gpu->sm);
    rsrc_put_count(out, "sm_count", gpu->sm_count);
    rsrc_put_real(out, "clock_ghz", gpu->clock_ghz);
    rsrc_put_real(out, "memory_gbps", gpu->memory_gbps);
    rsrc_put_real(out, "launch_us", gpu->launch_us);
}

/* The numbers that predictions use. */
static void put_machine(const struct rsr_spec *spec, struct rsrc_buffer *out) {
    rsrc_put_key(out, "machine");
    rsrc_put_object(out);
    rsrc_put_text(out, "cpu", spec->cpu);
    if (spec->gpu.sm != 0)
        put_gpu(&spec->gpu, out);
    else
        put_cpu(spec, out);
    rsrc_buffer_puts(out, "}");
}

static void put_images(const struct rsr_report_images *images, struct rsrc_buffer *out) {
    rsrc_put_key(out, "images");
    rsrc_buffer_puts(out, "[");
    for (uint32_t i = 0; i < images->n; i++) {
        rsrc_buffer_puts(out, i == 0 ? "{" : ",{");
        rsrc_put_text(out, "kind", images->list[i].kind);
        rsrc_put_count(out, "bytes", images->list[i].size_bytes);
        rsrc_put_count(out, "kernels", images->list[i].n_kernels);
        rsrc_buffer_puts(out, "}");
    }
    rsrc_buffer_puts(out, "]");
}

static void put_target(const struct rsr_report *report, uint32_t target, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, target == 0 ? "{" : ",{");
    rsrc_put_text(out, "name", report->specs[target].name);
    put_machine(&report->specs[target], out);
    rsrc_put_key(out, "layers");
    rsrc_buffer_puts(out, "[\n");
    for (uint32_t i = 0; i < report->n_layers; i++)
        put_layer(&rsrc_report_layers(report, target)[i], out);
    rsrc_buffer_puts(out, "],\n\"kernels\":[");
    rsrc_report_put_kernels(report, target, ",\n", put_kernel, out);
    rsrc_buffer_puts(out, "]");
    if (report->images != NULL && report->specs[target].gpu.sm != 0)
        put_images(&report->images[target], out);
    rsrc_buffer_puts(out, "}");
}

/* ---- the model ------------------------------------------------------------------------------- */

/* Bytes of sketch and head per token: those always read, the expected number, and those that full
 * logits read. */
static void put_head(const struct rsr_report *report, struct rsrc_buffer *out) {
    const struct rsr_head_plan *head = report->head;
    rsrc_put_key(out, "head_sketch");
    rsrc_put_object(out);
    rsrc_put_count(out, "planes", head->n_planes);
    rsrc_put_count(out, "size_bytes", head->size_bytes);
    rsrc_put_count(out, "floor_bytes", head->floor_bytes);
    rsrc_put_count(out, "token_bytes", head->token_bytes);
    rsrc_put_count(out, "full_logits_bytes", report->full_head_bytes);
    rsrc_put_text(out, "reason", head->reason);
    rsrc_buffer_puts(out, "}");
}

static void put_checkpoint(const struct rsr_info *info, struct rsrc_buffer *out) {
    rsrc_put_key(out, "checkpoint");
    rsrc_put_object(out);
    rsrc_info_put_checkpoint(info, out);
    if (info->tokenizer != NULL) {
        rsrc_put_text(out, "chat_template_text", info->tokenizer->chat_template);
        rsrc_put_text(out, "bos_text", info->tokenizer->bos_text);
        rsrc_put_text(out, "eos_text", info->tokenizer->eos_text);
    }
    rsrc_buffer_puts(out, "}");
}

/* Copies the JSON of a file that was read. */
static void put_given(const char *key, const char *json, struct rsrc_buffer *out) {
    if (json == NULL)
        return;
    rsrc_put_key(out, key);
    rsrc_buffer_puts(out, json);
}

void rsrc_report_json(const struct rsr_report *report, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "{");
    rsrc_put_text(out, "model", report->model);
    rsrc_put_text(out, "architecture", report->architecture);
    if (report->scale_reason != NULL)
        rsrc_put_text(out, "scale_reason", report->scale_reason);
    rsrc_put_count(out, "embedding_bytes", report->embedding_bytes);
    rsrc_put_count(out, "head_bytes", report->head_bytes);
    rsrc_put_count(out, "prefill_tokens", RSRC_PREFILL_TOKENS);
    if (report->checkpoint != NULL)
        put_checkpoint(report->checkpoint, out);
    if (report->head != NULL)
        put_head(report, out);
    rsrc_put_key(out, "targets");
    rsrc_buffer_puts(out, "[");
    for (uint32_t t = 0; t < report->n_specs; t++)
        put_target(report, t, out);
    rsrc_buffer_puts(out, "]");
    put_analyses(report, out);
    put_given("measured", report->measured, out);
    put_given("attention", report->attention, out);
    if (report->times != NULL) {
        rsrc_put_key(out, "times");
        rsrc_times_json(report->times, out);
    }
    rsrc_buffer_puts(out, "}\n");
}
