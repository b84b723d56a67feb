/* report_parts.h - shared by the report as text and as JSON. */
#ifndef RSRC_REPORT_REPORT_PARTS_H
#define RSRC_REPORT_REPORT_PARTS_H

#include "report/report.h"

/* [n_layers] */
const struct rsr_report_layer *rsrc_report_layers(const struct rsr_report *report, uint32_t target);
/* Bytes that a picked token is predicted to read of the head and its sketch; 0: there is no head of
 * floats. */
uint64_t rsrc_report_head_bytes(const struct rsr_report *report);
const char *rsrc_report_regime(uint32_t regime); /* "decode" */
/* Whether a kernel of the layer reads the counted segments. */
bool rsrc_report_reads_segments(const struct rsr_report_layer *layer);

/* The layers of a target that are computed in one way, in equal time: the report has one entry for
 * them. */
struct rsrc_kernel_use {
    const struct rsr_report_layer *first;
    uint32_t regime;
    uint32_t n_layers;
};
/* Calls `put` for every kernel of a target, with a separator between them. */
void rsrc_report_put_kernels(const struct rsr_report *report, uint32_t target,
                             const char *separator,
                             void (*put)(const struct rsrc_kernel_use *, struct rsrc_buffer *),
                             struct rsrc_buffer *out);

#endif
