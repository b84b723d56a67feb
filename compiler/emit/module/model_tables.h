/* model_tables.h - describes the tables (rsr_abi.h) of one model. */
#ifndef RSRC_EMIT_MODULE_MODEL_TABLES_H
#define RSRC_EMIT_MODULE_MODEL_TABLES_H

#include "emit/module/tables.h"

/* Data of a linear layer that is kept after its kernel and weights are emitted and its arena is
 * freed. */
struct rsr_linear_unit {
    const char *name;     /* rsr_l<block>_<role>_<variant>_<isa> */
    const char *function; /* symbol of the kernel; equal layers share it */
    const char *codes;    /* symbols of weight sections; NULL: none */
    const char *index;
    const char *scale;
    const char *scale_source; /* value and tensor, for a comment; untrusted. NULL: none */
    uint32_t n_scales;
    const char *variant; /* "dot" */
    enum rsr_input input;
    enum rsr_epilogue epilogue;
    enum rsr_role role;
    uint32_t block;
    uint32_t rows, cols, n_tiles, tile_rows;
    enum rsr_list list;
    uint64_t scratch_bytes, weight_bytes, token_bytes;
    uint32_t n_streams; /* as in rsr_kernel */
    uint64_t stream_bytes, tile_bytes;
    bool has_row_map; /* as in rsr_kernel */
    uint64_t row_map_at;
    const uint32_t *row_map;   /* with --shard: its bytes; NULL: not kept, or there is none */
    bool tiles_have_own_codes; /* as in rsr_kernel */
    const char *tables;        /* rsr_kernel.tables */
    const char *reason;
    const char *title;  /* of the layer; untrusted */
    const char *tokens; /* regimes that the kernel serves: "decode", "prefill", or both */
    /* Of a GPU, which has no function above: */
    uint64_t codes_bytes, index_bytes;
    struct rsr_gpu_entry *entries; /* ascending numbers of tokens */
    uint32_t n_entries;
    uint32_t group; /* as rsr_gpu_kernel has it */
};

/* An image of a GPU: a blob of the weights. */
struct rsr_module_image {
    const char *symbol;
    enum rsr_gpu_image_kind kind;
    uint32_t sm, n_kernels;
    uint64_t size_bytes;
};

struct rsr_module_target {
    const struct rsr_spec *spec;
    const struct rsr_linear_unit *linears; /* those of decode by layer, then those of prefill that
                                              differ */
    uint32_t n_linears;
    const struct rsr_step *steps;
    uint32_t n_steps;
    const struct rsr_module_image *images; /* of a GPU */
    uint32_t n_images;
    const struct rsr_gpu_entry *quantize; /* of a GPU; NULL: none */
    const struct rsr_module_image *operation_images;
    uint32_t n_operation_images;
    const struct rsr_gpu_entry *operations; /* [RSR_GPU_OPERATIONS] of a GPU */
    const struct rsr_gpu_group *groups;     /* of a GPU */
    uint32_t n_groups;
};

/* Symbols and sizes of struct rsr_head_sketch. */
struct rsr_module_sketch {
    const char *blocks; /* NULL: there is none */
    const char *centre;
    uint64_t block_bytes, token_bytes;
    uint32_t n_planes;
};

/* Members of struct rsr_note that are known before linking. */
struct rsr_module_note {
    const uint8_t *checkpoint; /* [16] */
    uint8_t targets[16];
    const char *options;
};

struct rsr_module_input {
    const struct rsr_module_note *note;
    const struct rsr_graph *graph;
    const struct rsr_module_target *targets; /* CPUs */
    uint32_t n_targets;
    const struct rsr_module_target *gpus;
    uint32_t n_gpus;
    uint64_t hollow_seed;             /* 0: all weights are there */
    uint32_t shard, n_shards;         /* as in struct rsr_module */
    const char *const *norm_roles;    /* [graph->n_norms] "input_norm": probes show it */
    const char *const *norm_symbols;  /* [graph->n_norms] */
    const char *const *dense_symbols; /* [graph->n_dense] */
    const char *const *delta_symbols; /* [graph->n_deltas] of floats: taps, rates, shifts, norm */
    const char *embedding_symbol;
    bool packed_embedding, packed_head; /* RSR_DTYPE_BF16_PACKED */
    const char *head_symbol;            /* == embedding_symbol when tied; NULL: no dense head */
    struct rsr_module_sketch head_sketch;
    const char *spreads_symbol;   /* of logits, floats; NULL: not known */
    const char *tokenizer_symbol; /* NULL: none */
};

/* Names of tables that others point to. */
#define RSRC_TABLE_TENSORS "tensors"
#define RSRC_TABLE_GPUS "gpus"
const char *rsrc_steps_name(struct rsrc_tables *tables, uint32_t target);

/* What models and libraries of matrices share: the note; every kernel and weight section that the
 * targets' tables name; the table kernels_<number> of a target. */
void rsrc_describe_note(struct rsrc_tables *tables, const struct rsr_module_note *note,
                        enum rsr_note_kind kind);
void rsrc_declare_weights(struct rsrc_tables *tables, const struct rsr_linear_unit *linear);
void rsrc_declare_linears(struct rsrc_tables *tables, const struct rsr_module_target *targets,
                          uint32_t n_targets);
void rsrc_describe_kernels(struct rsrc_tables *tables, const struct rsr_module_target *target,
                           uint32_t number);
/* Begins a row of struct rsr_target with what every target has. */
void rsrc_begin_target(struct rsrc_tables *tables, const struct rsr_module_target *target,
                       uint32_t number);

/* gpu_tables.c. Declare what their tables name; entries and kernels of a GPU; RSRC_TABLE_GPUS,
 * after the steps, which are numbered from first_steps on. */
void rsrc_declare_gpus(struct rsrc_tables *tables, const struct rsr_module_target *gpus,
                       uint32_t n_gpus);
void rsrc_describe_gpu_kernels(struct rsrc_tables *tables, const struct rsr_module_target *gpu,
                               uint32_t number);
void rsrc_describe_gpus(struct rsrc_tables *tables, const struct rsr_module_target *gpus,
                        uint32_t n_gpus, uint32_t first_steps);

void rsrc_describe_model(struct rsrc_tables *tables, const struct rsr_module_input *input);

#endif
