/* report.h - what was compiled, layer by layer, for people (text) and programs (JSON). */
#ifndef RSRC_REPORT_REPORT_H
#define RSRC_REPORT_REPORT_H

#include "ir.h"
#include "report/info.h"
#include "report/time_report.h"

/* The launch that computes a layer for one token. */
struct rsr_report_launch {
    const char *symbol;       /* NULL: the target is a CPU, or nothing was made for it */
    uint32_t blocks, threads; /* of the grid; of a block */
    uint32_t registers;       /* per thread; 0: unknown (only a cubin has them) */
};

struct rsr_report_layer {
    const char *name; /* untrusted */
    const char *role; /* NULL: a bare matrix */
    uint32_t block;   /* RSR_NO_BLOCK: none */
    struct rsr_reduction_counts found;
    struct rsr_stats stats;             /* of the computed matrix */
    struct rsr_segment_picture picture; /* of segments; map NULL: none was drawn */
    enum rsr_alphabet alphabet;
    struct rsr_plan plan;
    struct rsr_report_launch launch; /* of a GPU */
};

/* What a GPU's driver loads of a module. */
struct rsr_report_images {
    struct rsr_report_image {
        const char *kind; /* "cubin" or "PTX" */
        uint32_t n_kernels;
        uint64_t size_bytes;
    } list[2];
    uint32_t n;
};

struct rsr_report {
    const char *model;        /* untrusted */
    const char *architecture; /* "matrices" without a model */
    const char *scale_reason; /* NULL: none */
    const struct rsr_spec *specs;
    uint32_t n_specs;
    const struct rsr_report_layer *layers; /* [n_specs][n_layers] */
    uint32_t n_layers;
    const struct rsr_report_images *images; /* [n_specs]; NULL: no module was made */
    uint64_t embedding_bytes,
        head_bytes; /* in the module; head 0 when tied, one of the layers, or not there */
    const struct rsr_packing *packed_embedding, *packed_head; /* NULL: no model; no head of its
                                                                 own */
    bool tied_head;
    uint64_t full_head_bytes;          /* bytes that full logits read, tied or not; 0: no dense
                                          head */
    const struct rsr_head_plan *head;  /* its sketch; NULL: no model */
    struct rsrc_times *times;          /* for the JSON, like the following members; NULL: not asked
                                          for */
    const struct rsr_info *checkpoint; /* what --info says about it; NULL: a text form */
    const char *measured;              /* JSON of --measured; NULL: none */
    const char *attention;             /* JSON of --attention-stats; NULL: none */
};

void rsrc_report_text(const struct rsr_report *report, struct rsrc_buffer *out);
/* report.schema.json describes the members. */
void rsrc_report_json(const struct rsr_report *report, struct rsrc_buffer *out);

#endif
