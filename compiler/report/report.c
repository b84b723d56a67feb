/* report.c - the report of a compilation as text and as JSON. */
#include "report/report.h"

#include <inttypes.h>

static double weights_of(const struct rsr_report_layer *layer) {
    return (double)layer->found.rows * (double)layer->found.cols;
}

/* Of the weights that are computed with. */
static double density(const struct rsr_stats *stats) {
    const double n = (double)stats->rows * (double)stats->cols;
    return n > 0 ? (double)stats->n_nonzero / n : 0.0;
}

static const struct rsr_report_layer *layers_of(const struct rsr_report *report, uint32_t target) {
    return report->layers + (size_t)target * report->n_layers;
}

static void put_totals(const struct rsr_report *report, uint32_t target, struct rsrc_buffer *out) {
    double weights = 0, bytes = 0, decode_us = 0;
    for (uint32_t i = 0; i < report->n_layers; i++) {
        const struct rsr_report_layer *layer = &layers_of(report, target)[i];
        weights += weights_of(layer);
        bytes += (double)layer->plan.regimes[RSR_REGIME_DECODE].weight_bytes;
        decode_us += layer->plan.regimes[RSR_REGIME_DECODE].predicted_us;
    }
    rsrc_buffer_printf(
        out,
        "  total: %.3f M weights in %.3f MB (%.3f bits a weight), predicted %.1f us a "
        "token on one core\n",
        weights / 1e6, bytes / 1e6, weights > 0 ? bytes * 8 / weights : 0.0, decode_us);
}

static const char *const REGIMES[] = {
    [RSR_REGIME_DECODE] = "decode", [RSR_REGIME_PREFILL] = "prefill"};
static const char *const VARIANTS[] = {
#define X(id, name) [RSR_VARIANT_##id] = name,
    RSR_VARIANTS(X)
#undef X
};

/* "640x2560 computed as 320x2560" */
static void put_shape(const struct rsr_report_layer *layer, struct rsrc_buffer *out) {
    const struct rsr_reduction_counts *found = &layer->found;
    rsrc_buffer_printf(out, "%ux%u", found->rows, found->cols);
    if (found->rows != layer->stats.rows || found->cols != layer->stats.cols)
        rsrc_buffer_printf(out, " computed as %ux%u", layer->stats.rows, layer->stats.cols);
}

static void put_analysis(const struct rsr_report_layer *layer, struct rsrc_buffer *out) {
    const struct rsr_reduction_counts *found = &layer->found;
    const struct rsr_stats *stats = &layer->stats;
    rsrc_buffer_puts(out, "    ");
    put_shape(layer, out);
    rsrc_buffer_printf(out, ", %.1f %% non-zero, %u zero rows, %u zero columns, %u repeated rows",
                       density(stats) * 100, found->n_zero_rows, found->n_zero_cols,
                       found->n_repeated_rows);
    if (found->n_dead_rows != 0 || found->n_dead_cols != 0)
        rsrc_buffer_printf(out, ", %u dead rows, %u dead columns", found->n_dead_rows,
                           found->n_dead_cols);
    rsrc_buffer_printf(out,
                       "\n    segments at k=%u: %" PRIu64 " for %" PRIu64
                       " members; additions %" PRIu64 " RSR++, %" PRIu64 " RSR\n",
                       stats->k, stats->n_segments, stats->n_members,
                       stats->n_members + stats->n_fold_adds,
                       stats->n_members + stats->n_direct_adds);
}

static void put_regime(const struct rsr_regime_plan *plan, const char *regime,
                       struct rsrc_buffer *out) {
    rsrc_buffer_printf(out, "    %s: %s, %" PRIu64 " bytes", regime, VARIANTS[plan->variant],
                       plan->weight_bytes);
    if (plan->acc_bound != 0) /* of integer sums */
        rsrc_buffer_printf(out, ", |acc| <= %" PRIu64, plan->acc_bound);
    rsrc_buffer_puts(out, "\n      ");
    rsrc_buffer_put_terminal(out, plan->reason);
    rsrc_buffer_puts(out, "\n");
}

static void put_json_regime(const struct rsr_regime_plan *plan, const char *regime,
                            struct rsrc_buffer *out) {
    rsrc_buffer_printf(out,
                       ",\"%s\":{\"variant\":\"%s\",\"us\":%.3f,\"weight_bytes\":%" PRIu64
                       ",\"acc_bound\":%" PRIu64 ",\"reason\":",
                       regime, VARIANTS[plan->variant], plan->predicted_us, plan->weight_bytes,
                       plan->acc_bound);
    rsrc_buffer_put_json(out, plan->reason);
    rsrc_buffer_puts(out, "}");
}

void rsrc_report_text(const struct rsr_report *report, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "model ");
    rsrc_buffer_put_terminal(out, report->model);
    rsrc_buffer_printf(out, " (%s)\n", report->architecture);
    if (report->scale_reason != NULL) {
        rsrc_buffer_puts(out, "scale rule by ");
        rsrc_buffer_put_terminal(out, report->scale_reason);
        rsrc_buffer_puts(out, "\n");
    }
    for (uint32_t t = 0; t < report->n_specs; t++) {
        rsrc_buffer_printf(out, "target %s\n", report->specs[t].name);
        for (uint32_t i = 0; i < report->n_layers; i++) {
            const struct rsr_report_layer *layer = &layers_of(report, t)[i];
            rsrc_buffer_puts(out, "  ");
            rsrc_buffer_put_terminal(out, layer->name);
            rsrc_buffer_puts(out, layer->plan.input == RSR_INPUT_F32 ? " (float vectors)\n" : "\n");
            put_analysis(layer, out);
            for (uint32_t r = 0; r < RSR_REGIME_COUNT; r++)
                put_regime(&layer->plan.regimes[r], REGIMES[r], out);
        }
        put_totals(report, t, out);
    }
    if (report->embedding_bytes != 0)
        rsrc_buffer_printf(out, "embedding %.3f MB, head %.3f MB%s\n",
                           (double)report->embedding_bytes / 1e6, (double)report->head_bytes / 1e6,
                           report->tied_head ? " (tied)" : "");
}

static void put_json_layer(const struct rsr_report_layer *layer, struct rsrc_buffer *out) {
    const struct rsr_stats *stats = &layer->stats;
    const struct rsr_reduction_counts *found = &layer->found;
    rsrc_buffer_puts(out, "{\"name\":");
    rsrc_buffer_put_json(out, layer->name);
    rsrc_buffer_printf(
        out,
        ",\"input\":\"%s\",\"rows\":%u,\"cols\":%u,\"nonzero\":%" PRIu64
        ",\"computed_rows\":%u,\"computed_cols\":%u,\"zero_rows\":%u,\"zero_cols\":%u"
        ",\"repeated_rows\":%u,\"dead_rows\":%u,\"dead_cols\":%u,\"k\":%u,\"segments\":%" PRIu64
        ",\"members\":%" PRIu64 ",\"fold_adds\":%" PRIu64 ",\"direct_adds\":%" PRIu64,
        layer->plan.input == RSR_INPUT_F32 ? "f32" : "i8", found->rows, found->cols,
        stats->n_nonzero, stats->rows, stats->cols, found->n_zero_rows, found->n_zero_cols,
        found->n_repeated_rows, found->n_dead_rows, found->n_dead_cols, stats->k, stats->n_segments,
        stats->n_members, stats->n_fold_adds, stats->n_direct_adds);
    for (uint32_t r = 0; r < RSR_REGIME_COUNT; r++)
        put_json_regime(&layer->plan.regimes[r], REGIMES[r], out);
    rsrc_buffer_puts(out, "}");
}

void rsrc_report_json(const struct rsr_report *report, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "{\"model\":");
    rsrc_buffer_put_json(out, report->model);
    rsrc_buffer_printf(out, ",\"architecture\":\"%s\"", report->architecture);
    if (report->scale_reason != NULL) {
        rsrc_buffer_puts(out, ",\"scale_reason\":");
        rsrc_buffer_put_json(out, report->scale_reason);
    }
    rsrc_buffer_printf(out,
                       ",\"embedding_bytes\":%" PRIu64 ",\"head_bytes\":%" PRIu64 ",\"targets\":[",
                       report->embedding_bytes, report->head_bytes);
    for (uint32_t t = 0; t < report->n_specs; t++) {
        rsrc_buffer_printf(out, "%s{\"name\":\"%s\",\"layers\":[", t == 0 ? "" : ",",
                           report->specs[t].name);
        for (uint32_t i = 0; i < report->n_layers; i++) {
            rsrc_buffer_puts(out, i == 0 ? "\n" : ",\n");
            put_json_layer(&layers_of(report, t)[i], out);
        }
        rsrc_buffer_puts(out, "]}");
    }
    rsrc_buffer_puts(out, "]");
    if (report->times != NULL) {
        rsrc_buffer_puts(out, ",\"times\":");
        rsrc_times_json(report->times, out);
    }
    rsrc_buffer_puts(out, "}\n");
}
