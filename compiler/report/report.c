/* report.c - the report of a compilation as text, and functions shared with its JSON
 * (report_json.c). */
#include "report/report_parts.h"

#include <inttypes.h>

#include "kernel/kernel.h"

static double weights_of(const struct rsr_report_layer *layer) {
    return (double)layer->found.rows * (double)layer->found.cols;
}

/* The share of zeros among the weights that are computed. */
static double density(const struct rsr_stats *stats) {
    const double n = (double)stats->rows * (double)stats->cols;
    return n > 0 ? (double)stats->n_nonzero / n : 0.0;
}

const struct rsr_report_layer *rsrc_report_layers(const struct rsr_report *report,
                                                  uint32_t target) {
    return report->layers + (size_t)target * report->n_layers;
}

static bool is_gpu(const struct rsr_report *report, uint32_t target) {
    return report->specs[target].gpu.sm != 0;
}

uint64_t rsrc_report_head_bytes(const struct rsr_report *report) {
    return report->head != NULL && report->head->n_planes != 0 ? report->head->token_bytes
                                                               : report->full_head_bytes;
}

static void put_totals(const struct rsr_report *report, uint32_t target, struct rsrc_buffer *out) {
    double weights = 0, bytes = 0, token_bytes = 0, decode_us = 0;
    for (uint32_t i = 0; i < report->n_layers; i++) {
        const struct rsr_report_layer *layer = &rsrc_report_layers(report, target)[i];
        weights += weights_of(layer);
        bytes += (double)layer->plan.regimes[RSR_REGIME_DECODE].weight_bytes;
        token_bytes += (double)layer->plan.regimes[RSR_REGIME_DECODE].token_bytes;
        decode_us += layer->plan.regimes[RSR_REGIME_DECODE].predicted_us;
    }
    rsrc_buffer_printf(
        out,
        "  total: %.3f M weights in %.3f MB (%.3f bits a weight), predicted %.1f us a "
        "token%s\n",
        weights / 1e6, bytes / 1e6, weights > 0 ? bytes * 8 / weights : 0.0, decode_us,
        is_gpu(report, target) ? "" : " on one core");
    rsrc_buffer_printf(out, "  a token reads %.3f MB of layers and %.3f MB of the head\n",
                       token_bytes / 1e6, (double)rsrc_report_head_bytes(report) / 1e6);
}

const char *rsrc_report_regime(uint32_t regime) {
    static const char *const names[RSR_REGIME_COUNT] = {
        [RSR_REGIME_DECODE] = "decode", [RSR_REGIME_PREFILL] = "prefill"};
    return names[regime];
}

/* "640x2560 computed as 320x2560" */
static void put_shape(const struct rsr_report_layer *layer, struct rsrc_buffer *out) {
    const struct rsr_reduction_counts *found = &layer->found;
    rsrc_buffer_printf(out, "%ux%u", found->rows, found->cols);
    if (found->rows != layer->stats.rows || found->cols != layer->stats.cols)
        rsrc_buffer_printf(out, " computed as %ux%u", layer->stats.rows, layer->stats.cols);
}

bool rsrc_report_reads_segments(const struct rsr_report_layer *layer) {
    for (uint32_t r = 0; r < RSR_REGIME_COUNT; r++)
        if (layer->stats.k != 0 && layer->plan.regimes[r].k == layer->stats.k)
            return true;
    return false;
}

/* ", 64 blocks of 128 threads with 66 registers" */
static void put_launch(const struct rsr_report_launch *launch, struct rsrc_buffer *out) {
    if (launch->symbol != NULL)
        rsrc_buffer_printf(out, ", %u blocks of %u threads", launch->blocks, launch->threads);
    if (launch->registers != 0)
        rsrc_buffer_printf(out, " with %u registers", launch->registers);
}

static void put_analysis(const struct rsr_report_layer *layer, struct rsrc_buffer *out) {
    const struct rsr_reduction_counts *found = &layer->found;
    const struct rsr_stats *stats = &layer->stats;
    rsrc_buffer_puts(out, "    ");
    put_shape(layer, out);
    put_launch(&layer->launch, out);
    rsrc_buffer_printf(out, ", %.1f %% non-zero, %u zero rows, %u zero columns, %u repeated rows",
                       density(stats) * 100, found->n_zero_rows, found->n_zero_cols,
                       found->n_repeated_rows);
    if (found->n_dead_rows != 0 || found->n_dead_cols != 0)
        rsrc_buffer_printf(out, ", %u dead rows, %u dead columns", found->n_dead_rows,
                           found->n_dead_cols);
    rsrc_buffer_puts(out, "\n");
    if (rsrc_report_reads_segments(layer))
        rsrc_buffer_printf(out,
                           "    segments at k=%u: %" PRIu64 " for %" PRIu64
                           " members; additions %" PRIu64 " RSR++, %" PRIu64 " RSR\n",
                           stats->k, stats->n_segments, stats->n_members,
                           stats->n_members + stats->n_fold_adds,
                           stats->n_members + stats->n_direct_adds);
}

/* ", predicted 32.4 us, measured 31.3 us (0.97 of predicted)" */
static void put_times(const struct rsr_regime_plan *plan, struct rsrc_buffer *out) {
    rsrc_buffer_printf(out, ", predicted %.4g us", plan->predicted_us);
    if (plan->measured_us > 0)
        rsrc_buffer_printf(out, ", measured %.4g us (%.2f of predicted)", plan->measured_us,
                           plan->measured_us / plan->predicted_us);
}

static void put_regime(const struct rsr_regime_plan *plan, const char *regime,
                       struct rsrc_buffer *out) {
    rsrc_buffer_printf(out, "    %s: %s, %" PRIu64 " bytes", regime, rsrc_variant_of(plan),
                       plan->weight_bytes);
    if (plan->acc_bound != 0) /* of integer sums */
        rsrc_buffer_printf(out, ", |acc| <= %" PRIu64, plan->acc_bound);
    put_times(plan, out);
    rsrc_buffer_puts(out, "\n      ");
    rsrc_buffer_put_terminal(out, plan->reason);
    rsrc_buffer_puts(out, "\n");
}

/* ---- distinct kernels ------------------------------------------------------------------------ */

static bool same_work(const struct rsr_report_layer *a, const struct rsr_report_layer *b,
                      uint32_t regime) {
    const struct rsr_regime_plan *p = &a->plan.regimes[regime], *q = &b->plan.regimes[regime];
    return a->found.rows == b->found.rows && a->found.cols == b->found.cols &&
           a->stats.rows == b->stats.rows && a->stats.cols == b->stats.cols &&
           a->alphabet == b->alphabet && a->plan.input == b->plan.input && p->kernel == q->kernel &&
           p->k == q->k && p->weight_bytes == q->weight_bytes &&
           !(p->predicted_us < q->predicted_us) && !(p->predicted_us > q->predicted_us) &&
           !(p->measured_us < q->measured_us) && !(p->measured_us > q->measured_us);
}

/* The kernel of layer `index` in the regime, if it is the first layer with it; n_layers 0: an
 * earlier layer has it. */
static struct rsrc_kernel_use kernel_at(const struct rsr_report *report, uint32_t target,
                                        uint32_t index, uint32_t regime) {
    const struct rsr_report_layer *layers = rsrc_report_layers(report, target);
    struct rsrc_kernel_use row = {.first = &layers[index], .regime = regime};
    for (uint32_t i = 0; i < index; i++)
        if (same_work(&layers[i], row.first, regime))
            return row;
    for (uint32_t i = index; i < report->n_layers; i++)
        row.n_layers += same_work(&layers[i], row.first, regime);
    return row;
}

static void put_kernel(const struct rsrc_kernel_use *row, struct rsrc_buffer *out) {
    const struct rsr_regime_plan *plan = &row->first->plan.regimes[row->regime];
    rsrc_buffer_printf(out, "    %s %s of %s %s ", rsrc_report_regime(row->regime),
                       rsrc_variant_of(plan),
                       row->first->plan.input == RSR_INPUT_F32 ? "f32" : "i8",
                       rsrc_alphabet_name(row->first->alphabet));
    put_shape(row->first, out);
    rsrc_buffer_printf(out, ", %u %s", row->n_layers, row->n_layers == 1 ? "layer" : "layers");
    put_times(plan, out);
    rsrc_buffer_puts(out, "\n");
}

void rsrc_report_put_kernels(const struct rsr_report *report, uint32_t target,
                             const char *separator,
                             void (*put)(const struct rsrc_kernel_use *, struct rsrc_buffer *),
                             struct rsrc_buffer *out) {
    bool any = false;
    for (uint32_t r = 0; r < RSR_REGIME_COUNT; r++) {
        for (uint32_t i = 0; i < report->n_layers; i++) {
            const struct rsrc_kernel_use row = kernel_at(report, target, i, r);
            if (row.n_layers == 0)
                continue;
            rsrc_buffer_puts(out, any ? separator : "");
            put(&row, out);
            any = true;
        }
    }
}

/* "  images: cubin of 81920 bytes with 24 kernels, PTX of ..." */
static void put_images(const struct rsr_report_images *images, struct rsrc_buffer *out) {
    for (uint32_t i = 0; i < images->n; i++) {
        const struct rsr_report_image *image = &images->list[i];
        rsrc_buffer_printf(out, "%s%s of %" PRIu64 " bytes with %u kernels",
                           i == 0 ? "  images: " : ", ", image->kind, image->size_bytes,
                           image->n_kernels);
    }
    rsrc_buffer_puts(out, images->n != 0 ? "\n" : "");
}

/* ---- the head -------------------------------------------------------------------------------- */

static void put_storage(const char *what, const struct rsr_packing *plan, struct rsrc_buffer *out) {
    if (plan != NULL)
        rsrc_buffer_printf(out, "  the %s is stored %s: %s\n", what,
                           plan->is_packed ? "in 12 bits a weight" : "as it is", plan->reason);
}

static void put_head(const struct rsr_report *report, struct rsrc_buffer *out) {
    const struct rsr_head_plan *head = report->head;
    rsrc_buffer_printf(out, "embedding %.3f MB, head %.3f MB%s\n",
                       (double)report->embedding_bytes / 1e6, (double)report->head_bytes / 1e6,
                       report->tied_head ? " (tied)" : "");
    put_storage("embedding", report->packed_embedding, out);
    put_storage("head", report->packed_head, out);
    if (head->n_planes == 0)
        rsrc_buffer_printf(out, "sketch of the head: none\n  %s\n", head->reason);
    else
        rsrc_buffer_printf(out,
                           "sketch of the head: %u plane%s, %.3f MB\n  %s\n"
                           "  bytes a token: %.3f MB and the rows that it leaves open, about "
                           "%.3f MB in all; full logits read %.3f MB\n",
                           head->n_planes, head->n_planes == 1 ? "" : "s",
                           (double)head->size_bytes / 1e6, head->reason,
                           (double)head->floor_bytes / 1e6, (double)head->token_bytes / 1e6,
                           (double)report->full_head_bytes / 1e6);
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
            const struct rsr_report_layer *layer = &rsrc_report_layers(report, t)[i];
            rsrc_buffer_puts(out, "  ");
            rsrc_buffer_put_terminal(out, layer->name);
            rsrc_buffer_puts(out, layer->plan.input == RSR_INPUT_F32 ? " (float vectors)\n" : "\n");
            put_analysis(layer, out);
            for (uint32_t r = 0; r < RSR_REGIME_COUNT; r++)
                put_regime(&layer->plan.regimes[r], rsrc_report_regime(r), out);
        }
        rsrc_buffer_printf(out, "  kernels, microseconds a token%s:\n",
                           is_gpu(report, t) ? "" : " on one core");
        rsrc_report_put_kernels(report, t, "", put_kernel, out);
        put_totals(report, t, out);
        if (report->images != NULL)
            put_images(&report->images[t], out);
    }
    if (report->head != NULL)
        put_head(report, out);
}
