/* ir.h - every struct that passes between the stages of the compiler. Read this first.
 *
 *   read     checkpoint files     -> rsr_checkpoint   (tensors by name, configuration, tokenizer)
 *   graph    rsr_checkpoint       -> rsr_graph        (a model: layers with roles and scale rules)
 *   decode   rsr_layer            -> rsr_matrix       (int8 values, loaded lazily, freed per layer)
 *   reduce   rsr_matrix           -> rsr_matrix, rsr_reduction    (rows computed once, no zeros)
 *   rsr      rsr_matrix           -> rsr_index        (segments of every block of k rows)
 *   plan     matrix, index, spec  -> rsr_plan         (variant per layer, with its reason)
 *   schedule rsr_graph, plans     -> rsr_step         (ordered operations over buffers)
 *   lower    matrix, plan, spec   -> rsr_kernel       (flat operation list), rsr_blob (weights)
 *   emit     rsr_kernel, rsr_step -> rsr_unit         (C text)
 *   link     units, blobs         -> model.so
 *
 * All structs are plain data in arenas. None owns memory by itself, and a pointer is valid as long
 * as the arena that the stage was given. rsr_abi.h has the structs that the compiler shares with
 * the runtime.
 */
#ifndef RSRC_IR_H
#define RSRC_IR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "diag.h"
#include "rsr_abi.h"

/* ---- read ------------------------------------------------------------------------------------ */

#define RSRC_MAX_DIMS 4

/* Types of GGUF tensors: ternary and binary weights in blocks along a row (model/gguf_blocks.c
 * describes them, and expands those of embeddings), and Q8_0 and Q6_K of embeddings and heads,
 * which the reader expands (reader/gguf_dense.c). */
enum rsr_blocks {
    RSR_BLOCKS_NONE,
    RSR_BLOCKS_TQ1_0,
    RSR_BLOCKS_TQ2_0,
    RSR_BLOCKS_Q2_0,
    RSR_BLOCKS_Q2_0_G128, /* PQ2_0: Q2_0 with blocks of 128 */
    RSR_BLOCKS_PTQ1_0,
    RSR_BLOCKS_STQ1_0,
    RSR_BLOCKS_Q1_0,
    RSR_BLOCKS_I2_S_X86,
    RSR_BLOCKS_I2_S_ARM,
    RSR_BLOCKS_IQ1_BN,
    RSR_BLOCKS_IQ2_BN,
    RSR_BLOCKS_Q8_0,
    RSR_BLOCKS_Q6_K,
    RSR_BLOCKS_COUNT
};

/* One tensor of a checkpoint. The bytes stay in the mapped file. */
struct rsr_tensor {
    const char *name;        /* untrusted */
    const char *stored_name; /* its name in the file; NULL: equals name */
    enum rsr_dtype dtype;    /* U8 where blocks says how to read the bytes */
    enum rsr_blocks blocks;
    uint32_t interleaved_heads; /* of blocks: rows of this many heads are in pairs; 0: in order */
    const uint32_t *row_order;  /* of blocks: row i of the file is row row_order[i] of the matrix;
                                   NULL: in order */
    const uint32_t *col_order;  /* of blocks: group i of order_cols columns of the file is group
                                   col_order[i] of the matrix; NULL: in order */
    uint32_t order_cols;
    uint32_t n_dims;
    uint64_t shape[RSRC_MAX_DIMS];
    const char *file; /* path, for diagnostics */
    uint64_t offset;  /* of the data in that file */
    uint64_t size_bytes;
    const uint8_t *data;                 /* borrows the mapping, unaligned */
    bool is_mapped;                      /* the data is in a mapping, and not in an arena */
    bool consumed;                       /* set by graph; what stays false is refused */
    const struct rsr_rotation *rotation; /* one of rsr_config.rotations: the weights multiply an
                                            input that is rotated; of an embedding: its rows are
                                            rotated; NULL: neither */
};

/* Scale convention of packed or latent ternary weights (model/ternary.c describes it). */
enum rsr_scale_rule {
    RSR_SCALE_MULTIPLY, /* packed, autobitlinear offline: y = acc * act * weight_scale */
    RSR_SCALE_DIVIDE,   /* packed, bitlinear: y = acc * act / weight_scale */
    RSR_SCALE_ONLINE,   /* float masters: clamp(round(W s)), s = 1 / max(mean|W|, 1e-5) */
    RSR_SCALE_BLOCKS,   /* the blocks' format has scales; weight_scale, if any, multiplies them */
    RSR_SCALE_VALUES    /* floats that are already -s, 0 or s: model/ternary_values.h finds s */
};

/* How the angles of rotary embeddings are computed from position and theta. */
enum rsr_rope_kind {
    RSR_ROPE_PLAIN,  /* "default" */
    RSR_ROPE_LINEAR, /* divided by factor */
    RSR_ROPE_LLAMA3,
    RSR_ROPE_YARN
};

struct rsr_rope_config {
    enum rsr_rope_kind kind;
    double theta;
    double factor;                            /* all but plain */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn */
    double attention_factor;                  /* yarn: multiplies cosines and sines */
    bool truncate;                            /* yarn: the range of its ramp is rounded outwards */
    uint32_t original_context;                /* llama3, yarn */
};

/* config.json or a GGUF file's metadata, validated. A value that the file omits has the
 * architecture's default. */
struct rsr_config {
    const char *file;
    const char *model_type;          /* "bitnet", "llama"; it and architecture name the family */
    const char *architecture;        /* "BitnetForCausalLM"; NULL: none is given */
    struct rsr_hyper hyper;          /* head_dim and n_kv_heads resolved */
    struct rsr_rope_config ropes[2]; /* [0] of all blocks; [1] of those with a window */
    uint32_t window;                 /* keys that a token sees in blocks with a window; 0: no block
                                        has one */
    const uint8_t *has_window;       /* [hyper.n_layers] flags; NULL: window is 0 */
    const uint8_t *has_delta;        /* [hyper.n_layers] flags: a gated delta rule is in the place
                                        of attention; NULL: in no block */
    enum rsr_scale_rule scale_rule;
    const char *scale_reason;         /* which fields decided the rule, for the report */
    enum rsr_input input;             /* what linear layers multiply with */
    const char *input_reason;         /* what decided input; a sentence or a part of one */
    const char *const *not_converted; /* modules_to_not_convert */
    uint32_t n_not_converted;
    const char *projection_norm; /* name of the norm that each ternary linear layer applies to its
                                    input: "rms_norm" in "q_proj.rms_norm"; NULL: there is none */
    float projection_norm_eps;
    uint32_t bos_token;     /* RSR_NO_TOKEN: none */
    uint32_t eos_tokens[8]; /* config.json and generation_config.json, without repeats */
    uint32_t n_eos_tokens;
    const struct rsr_rotation *rotations; /* one for each width */
    uint32_t n_rotations;
    bool has_sampling; /* generation_config.json has sampling settings: */
    struct rsr_sampling_advice sampling;
};

/* tokenizer.json and tokenizer_config.json, compiled to the section that the runtime reads. */
struct rsr_tokenizer {
    const struct rsr_tokenizer_header *section; /* NULL: the checkpoint has no tokenizer */
    bool is_unread; /* it has one of a kind that we cannot read; a warning has said so */
    uint64_t size_bytes;
    uint32_t max_tokens;       /* model_max_length: embedding models cut texts there; 0: none */
    const char *chat_template; /* NULL: none */
    const char *bos_text;      /* never NULL */
    const char *eos_text;
    const char *chat_problem; /* why the template renders no conversation; NULL: it renders, or
                                 there is no template */
};

struct rsr_checkpoint {
    const char *path;           /* as given */
    const char *name;           /* last component of the folder; untrusted */
    struct rsr_tensor *tensors; /* sorted by name */
    uint32_t n_tensors;
    /* Gives the name that a file of this format has for a tensor; NULL: names are equal. */
    const char *(*stored_name)(struct rsrc_arena *arena, const char *name);
    bool has_config; /* false: matrix mode, config and tokenizer are empty */
    struct rsr_config config;
    struct rsr_tokenizer tokenizer;
    uint8_t hash[16];         /* hash of configuration and tensor bytes */
    const char *const *files; /* every file read, for -MD */
    uint32_t n_files;
    struct rsrc_mapping *mappings; /* owned; base/mapped_file.h */
};

/* ---- graph ----------------------------------------------------------------------------------- */

/* How a linear layer's integers are stored in its tensor. */
enum rsr_encoding {
    RSR_ENCODING_PACKED2, /* uint8 [out/4, in]: a byte has codes (weight + 1) of 4 rows, out/4
                             apart */
    RSR_ENCODING_BYTES,   /* uint8 or int8 [out, in], 0 / 1 / 255 (or -1) */
    RSR_ENCODING_LATENT,  /* float [out, in], quantised at compile time */
    RSR_ENCODING_BLOCKS,  /* [out, in] in blocks of rsr_tensor.blocks */
    RSR_ENCODING_VALUES   /* float [out, in], all of them -s, 0 or s */
};

/* One linear layer. */
struct rsr_layer {
    uint32_t block; /* RSR_NO_BLOCK: none */
    enum rsr_role role;
    const char *name; /* path in the checkpoint: "model.layers.0.self_attn.q_proj" */
    const struct rsr_tensor *weight;
    const struct rsr_tensor *scale; /* NULL with RSR_SCALE_ONLINE, optional with _BLOCKS */
    enum rsr_encoding encoding;
    enum rsr_scale_rule scale_rule;
    uint32_t rows, cols; /* out, in */
};

/* A linear layer that is not ternary because modules_to_not_convert names it. */
struct rsr_dense_layer {
    uint32_t block;
    enum rsr_role role;
    const char *name;
    const struct rsr_tensor *weight; /* float [rows, cols] */
    uint32_t rows, cols;
};

/* One RMS norm; role says which. */
struct rsr_norm_layer {
    uint32_t block;
    enum rsr_role role;
    enum rsr_role owner; /* with RSR_ROLE_PROJ_NORM: the linear layer's role */
    const char *name;
    const struct rsr_tensor *weight;
    uint32_t cols;
    float eps;
    float offset; /* added to every weight: 1 where the checkpoint stores w - 1 */
};

/* The weights of a gated delta rule besides its linear layers (struct rsr_delta of rsr_abi.h). */
struct rsr_delta_layer {
    const char *name;               /* "model.layers.0.linear_attn" */
    const struct rsr_tensor *taps;  /* [channels, 1, RSR_DELTA_TAPS] */
    const struct rsr_tensor *decay; /* A_log [value heads] */
    bool decay_is_rate;             /* decay holds -exp(A_log) */
    const struct rsr_tensor *shift; /* dt_bias [value heads] */
    const struct rsr_tensor *norm;  /* [delta_value_dim] */
};

#define RSR_NO_LAYER UINT32_MAX

/* A linear layer of a block. */
struct rsr_linear_slot {
    uint32_t layer; /* index into layers, or RSR_NO_LAYER: */
    uint32_t dense; /* index into dense */
    uint32_t norm;  /* index of the norm for this layer's input alone, or RSR_NO_NORM */
};

struct rsr_block_layers {
    struct rsr_linear_slot q, k, v, o, gate, up, down;
    struct rsr_linear_slot qkv, z, beta, decay; /* of a gated delta rule, in the place of q, k, v */
    /* Indexes into norms; RSR_NO_NORM: absent. k_norm follows q_norm. */
    uint32_t input_norm, q_norm, k_norm, attn_sub_norm, attn_out_norm;
    uint32_t post_norm, ffn_sub_norm, ffn_out_norm;
    uint32_t rope;   /* index into ropes */
    uint32_t window; /* keys that a token sees; 0: all */
    uint32_t delta;  /* index into deltas; RSR_NO_LAYER: the block has attention */
    uint32_t number; /* of the block among those with attention, or those with a delta rule */
};

struct rsr_graph {
    const struct rsr_checkpoint *checkpoint;
    const char *architecture; /* name of the table that matched */
    struct rsr_hyper hyper;
    struct rsr_layer *layers; /* in the order in which a step uses them */
    uint32_t n_layers;        /* linear layers, not blocks */
    enum rsr_input input;     /* of all of them */
    struct rsr_dense_layer *dense;
    uint32_t n_dense;
    struct rsr_delta_layer *deltas;
    uint32_t n_deltas;
    bool gated_attention;   /* q gives each head's gate, too */
    struct rsr_rope *ropes; /* inv_freq [hyper.rotary_dim / 2] */
    uint32_t n_ropes;
    const struct rsr_rotation *rotations; /* of rsr_config; rsr_tensor.rotation says whose */
    uint32_t n_rotations;
    struct rsr_norm_layer *norms;
    uint32_t n_norms;
    struct rsr_block_layers *blocks; /* [hyper.n_layers] */
    uint32_t final_norm;
    const struct rsr_tensor *embedding;
    const struct rsr_tensor *embedding_blocks; /* its rows as the file has them, which become floats
                                                  when they are written; embedding->data is NULL.
                                                  NULL: it has data */
    const struct rsr_tensor *head;    /* == embedding when tied; NULL: an embedding model */
    struct rsr_linear_slot head_slot; /* a ternary head; its layer is RSR_NO_LAYER if the head is
                                         dense */
};

/* Most planes of a head's sketch. */
#define RSR_HEAD_PLANES 2u

/* The sketch of a dense head (struct rsr_head_sketch of rsr_abi.h): whether there is a sketch and
 * why, its size, and the bytes that a token reads. */
struct rsr_head_plan {
    uint32_t n_planes; /* 0: there is no sketch, and only `reason` is valid */
    uint32_t n_blocks;
    uint64_t block_bytes;
    uint64_t size_bytes;  /* of all blocks */
    uint64_t floor_bytes; /* the first plane, which every token reads */
    uint64_t token_bytes; /* of sketch and head, if the likeliest token leads by a usual margin */
    const char *reason;
};

/* A dense embedding or head in 12 bits a weight (RSR_DTYPE_BF16_PACKED of rsr_abi.h): whether it is
 * stored so and why, and what the rows need besides themselves. */
struct rsr_packing {
    bool is_packed; /* false: only `reason` is valid */
    uint32_t n_exceptions;
    uint64_t size_bytes;  /* of all, exactly */
    const uint8_t *front; /* what comes before the rows, as in the format */
    uint64_t front_bytes;
    const char *reason;
};

/* ---- decode ---------------------------------------------------------------------------------- */

enum rsr_alphabet {
    RSR_TERNARY,     /* -1, 0, +1 */
    RSR_BINARY_SIGN, /* -1, +1 */
    RSR_BINARY_BIT   /* 0, 1 */
};

struct rsr_matrix {
    uint32_t rows, cols;
    enum rsr_alphabet alphabet;
    const int8_t *values; /* row-major [rows][cols] */
    const float *scale;   /* multipliers: y = acc * act_scale * scale[...] */
    uint32_t n_scales;    /* 1, rows, or rows * groups per row */
    uint32_t group_cols;  /* columns that share one scale of their row, scale[row][group]; the last
                             group of a row may have fewer; 0: no groups */
};

/* ---- reduce ---------------------------------------------------------------------------------- */

/* Flags of rows whose results nobody reads, and of columns whose activations are always 0; NULL:
 * there are none. model/dead_channels.h has the rules. */
struct rsr_dead {
    const uint8_t *rows, *cols;
};

/* Rows and columns that need not be computed. The counts do not overlap: a dead row or column
 * counts only as dead. */
struct rsr_reduction_counts {
    uint32_t rows, cols; /* of the layer */
    uint32_t n_dead_rows, n_dead_cols;
    uint32_t n_zero_rows, n_zero_cols;
    uint32_t n_repeated_rows; /* equal or opposite to an earlier row */
};

/* One row of a layer: `sign` times row `row` of the reduced matrix. */
struct rsr_row_source {
    uint32_t row;
    int32_t sign; /* +1, -1; 0: the row is zero (and `row` is 0) */
};

/* How a layer's results follow from a smaller matrix. A map that does not pay is NULL; the reduced
 * matrix then keeps the zeros or repeated rows that the map would drop. */
struct rsr_reduction {
    struct rsr_reduction_counts counts;
    uint32_t rows, cols;                      /* of the reduced matrix; at least 1 */
    const struct rsr_row_source *row_sources; /* [counts.rows]; NULL: all rows are kept, in order */
    const uint32_t *kept_cols;                /* [cols], ascending; NULL: all columns are kept */
};

/* ---- rsr ------------------------------------------------------------------------------------- */

#define RSR_MAX_K 16

/* Segments of one block of k rows: columns with the same code, up to sign. */
struct rsr_index_block {
    uint32_t first_row;
    uint32_t n_rows; /* k; fewer in the last block */
    uint32_t n_segments;
    const uint32_t *codes;   /* [n_segments] canonical codes, ascending; see rsr/segment.h */
    const uint32_t *begin;   /* [n_segments + 1] into members */
    const uint32_t *members; /* column << 1 | negated, ascending columns within a segment */
};

struct rsr_index {
    uint32_t rows, cols, k;
    enum rsr_alphabet alphabet;
    struct rsr_index_block *blocks;
    uint32_t n_blocks;
};

/* The overhead of a segment, in additions: its bounds are loaded and its inner loop ends in a
 * mispredicted branch. 8 was measured with tests/unit/index_multiply.h on a 2560 x 2560 ternary
 * matrix: with this overhead, RSR++ does 1.05e9 additions a second, within 3 %, at each k from 3 to
 * 7. */
#define RSR_SEGMENT_START_ADDS 8u
/* The cost of one digit of RSR's direct product, in additions: the digit is extracted, multiplied
 * and added. */
#define RSR_DIRECT_DIGIT_ADDS 2u

/* What the analysis counts in a matrix at one k; the planner reads it. */
struct rsr_stats {
    uint32_t rows, cols, k;
    uint64_t n_nonzero;     /* weights */
    uint64_t n_members;     /* non-zero codes over all blocks: additions of the segment sums */
    uint64_t n_segments;    /* distinct canonical codes over all blocks */
    uint64_t n_fold_adds;   /* additions of the RSR++ fold over all blocks */
    uint64_t n_direct_adds; /* multiply-adds of RSR's direct product: a digit of a segment */
    uint32_t n_zero_rows, n_zero_cols;
    uint32_t n_equal_rows;    /* rows equal or opposite to an earlier row (zero rows excluded) */
    uint32_t max_row_nonzero; /* bounds |acc| <= 128 * this */
    double k_costs[RSR_MAX_K + 1]; /* [k] additions, by which k was chosen; 0: this k was not
                                      analysed, or k was given */
};

/* What a report draws of the segments, at the k of the statistics; rsr/segment_picture.h counts. */
#define RSR_MULTIPLICITY_BINS 25
#define RSR_MAP_SIDE 256u /* most cells of a map, in each direction */
#define RSR_MAP_LEVELS 64u

struct rsr_segment_picture {
    uint64_t multiplicity[RSR_MULTIPLICITY_BINS]; /* [b] segments of 2^(b-1) + 1 .. 2^b columns */
    uint32_t map_rows, map_cols; /* cells, by blocks and columns; a cell covers several where there
                                    are more */
    double map_least, map_most;  /* lowest and highest share of a cell's columns that need no
                                    addition */
    const uint8_t *map;          /* [map_rows][map_cols] share of each cell, from 0 (least) to
                                    RSR_MAP_LEVELS - 1 (most) */
};

/* ---- spec ------------------------------------------------------------------------------------ */

/* Members of a GPU's description. Those of a CPU do not apply to a GPU, nor these to a CPU. */
struct rsr_gpu {
    uint32_t sm; /* compute capability without its dot: 90; 0: the target is a CPU */
    uint32_t sm_count;
    double clock_ghz;   /* sustained */
    double memory_gbps; /* peak */
    double launch_us;   /* one kernel launch */
};

/* A target description, specs/<name>.yaml with its parents merged in. */
struct rsr_spec {
    const char *name;
    const char *file;         /* NULL: built in (native) */
    const char *const *files; /* every file read for this target, for -MD */
    uint32_t n_files;
    const char *triple;    /* "x86_64-linux-gnu" */
    const char *cpu;       /* LLVM's CPU name, for reports and the LLVM back end */
    uint64_t cpu_features; /* RSR_CPU_MASK bits */
    uint32_t vector_bits;  /* 0: scalar code */
    uint32_t cores;
    uint64_t l2_bytes;
    double read_gbps;        /* DRAM read, one core */
    uint32_t prefetch_level; /* cache level that PREFETCH loads into, 1 or 2 */
    double dot_gmacs;        /* peak int8 multiply-adds of one core, 1e9/s */
    double vector_gips;      /* vector instructions of one core, 1e9/s, in the mix of `lut` */
    double fold_gips;        /* instructions of folded code that caches hold, one core, 1e9/s */
    double panel_gmacs;      /* int8 multiply-adds of `dot_panel`, one core, 1e9/s */
    double add_gops;         /* scalar adds with a load, one core, 1e9/s: scatter's */
    struct rsr_gpu gpu;
};

/* ---- plan ------------------------------------------------------------------------------------ */

/* X-macro of all variants: enum suffix and the name that users see. GPUs have dot, mma, fold and
 * segment. */
#define RSR_VARIANTS(X)                                                                            \
    X(SCATTER, "scatter")                                                                          \
    X(DOT, "dot")                                                                                  \
    X(FOLD, "fold") X(LUT, "lut") X(TABLE, "table") X(MMA, "mma") X(SEGMENT, "segment")

enum rsr_variant {
#define X(id, name) RSR_VARIANT_##id,
    RSR_VARIANTS(X)
#undef X
        RSR_VARIANT_COUNT
};

/* Every kernel: a row of kernels.def. */
enum rsr_kernel_id {
#define RSRC_KERNEL(id, ...) RSR_KERNEL_##id,
#include "kernels.def"
    RSR_KERNEL_COUNT
};

/* One kind of processor that a kernel has code for. This struct begins a row of the kernel's table;
 * the rest of the row is the kernel's own (compiler/kernel/kernel.h). */
struct rsrc_machine {
    uint64_t features;    /* all required */
    uint32_t vector_bits; /* at least */
    const char *name;     /* in plans; unique in its table */
};

/* Small batches run the kernels planned for decode, larger batches those planned for prefill. The
 * limit is the number of tokens from which prefill takes less time by the plans' predictions
 * (rsrc_decode_tokens of plan/plan.h). */
enum rsr_regime { RSR_REGIME_DECODE, RSR_REGIME_PREFILL, RSR_REGIME_COUNT };

enum rsr_fold_kind { RSR_FOLD_DIRECT, RSR_FOLD_TREE }; /* RSR, RSR++ */

/* The planner's verdict on a candidate for a layer: enum suffix and words. */
#define RSR_VERDICTS(X)                                                                            \
    X(CHOSEN, "chosen")                                                                            \
    X(SLOWER, "slower")                                                                            \
    X(BATCHES, "slower in batches, which floats compute as decode does")                           \
    X(LISTS, "its batches would be slower than those of the chosen kernel")                        \
    X(LANES, "hardly faster, and small batches leave its lanes empty")                             \
    X(ASKED, "another variant is asked for")                                                       \
    X(DATA, "decode stores other data")                                                            \
    X(BUDGET, "more code than --fold-budget")                                                      \
    X(WIDE, "its sums do not hold so many columns")                                                \
    X(CODE, "more code than a kernel of a GPU may have")                                           \
    X(GIVEN, "the plan is given")

enum rsr_verdict {
#define X(id, words) RSR_VERDICT_##id,
    RSR_VERDICTS(X)
#undef X
        RSR_VERDICT_COUNT
};

struct rsr_alternative {
    enum rsr_kernel_id kernel;
    const char *name;                           /* "scatter k=4 (RSR++)" */
    double memory_us, compute_us, predicted_us; /* reading alone; computing alone; both overlapped,
                                                   with the call */
    double measured_us;                         /* 0: not measured */
    uint64_t weight_bytes;
    enum rsr_verdict verdict;
};

/* How one layer is computed in one regime. */
struct rsr_regime_plan {
    enum rsr_kernel_id kernel;
    const struct rsrc_machine *machine; /* of the kernel's table; borrowed */
    uint32_t k;                         /* scatter, fold: rows per block; else 0 */
    enum rsr_fold_kind fold;            /* scatter */
    uint32_t tile_rows;                 /* rows of one work item; in a reduced layer: kept rows */
    uint32_t token_tile; /* dot, table, matvec: tokens that share one unpacking of the codes; fold:
                            tokens in lanes */
    double predicted_us; /* decode: one token; prefill: per token at 128 */
    double memory_us, alone_us, more_us; /* predicted for any batch: reading, computing one token,
                                            and each further token; see rsrc_batch_us of
                                            plan/plan.h */
    uint32_t lanes;                      /* tokens computed together, in the time of one */
    double measured_us;    /* like predicted_us, but measured on this machine; 0: not measured */
    uint64_t weight_bytes; /* bytes that one call reads over all tiles: stored codes and index, and
                              the instructions that hold the index (fold) */
    uint64_t token_bytes; /* the part of weight_bytes that a call of one token is predicted to fetch
                              from memory: of a kernel that reads by a list, what the list names,
                              and what is fetched beyond the ends of its runs. The text of a plan
                              does not have it */
    uint64_t acc_bound;   /* int8 activations: |acc| never exceeds it, proven; floats: 0 */
    const char *reason;   /* one sentence; never NULL or empty */
    const struct rsr_alternative *alternatives; /* all that the planner compared, with the chosen
                                                   one; none in a plan that was read from a text */
    uint32_t n_alternatives;
};

struct rsr_plan {
    const char *target; /* name of the rsr_spec it is for */
    enum rsr_input input;
    struct rsr_regime_plan regimes[RSR_REGIME_COUNT]; /* by enum rsr_regime; equal plans: one kernel
                                                         serves both */
};

/* ---- lower: the kernel as a flat operation list ----------------------------------------------- *
 *
 * A kernel is one function of type rsr_kernel_fn. Values are virtual registers: scalars (lanes 1)
 * or vectors; a register may be assigned many times (back ends map it to a local variable). Control
 * flow is counted loops only, marked by LOOP ... END, and IF ... END. Every back end prints exactly
 * these.
 */
enum rsr_elem {
    RSR_ELEM_I8,
    RSR_ELEM_U8,
    RSR_ELEM_I16,
    RSR_ELEM_U16,
    RSR_ELEM_I32,
    RSR_ELEM_U32,
    RSR_ELEM_I64,
    RSR_ELEM_F32,
    RSR_ELEM_TILE, /* a matrix register: 16 rows of 64 bytes; lanes 1 */
    RSR_ELEM_COUNT
};

struct rsr_kreg {
    const char *name; /* readable, unique in the kernel, a C identifier */
    enum rsr_elem elem;
    uint32_t lanes; /* 1, 2, 4 ... 64 */
};

/* Symbolic buffers: the parameters of rsr_kernel_fn and the memory that these point to. */
enum rsr_kbuf {
    RSR_KBUF_X, /* activation rows */
    RSR_KBUF_Y,
    RSR_KBUF_CODES,
    RSR_KBUF_INDEX,
    RSR_KBUF_SCALE,
    RSR_KBUF_SCRATCH,
    RSR_KBUF_COLUMNS, /* of a body: the arguments of CALL, see struct rsr_kbody */
    RSR_KBUF_SUMS,
    RSR_KBUF_COUNT
};

/* X-macro of all operations: name, number of register operands, what it does. `d` is the result and
 * n the number of lanes of d. Operands have d's type unless said otherwise. Lowering proves that no
 * signed addition, subtraction, multiplication or left shift overflows, so overflow needs no
 * definition. */
#define RSR_KOPS(X)                                                                                \
    X(COMMENT, 0, "text for the reader")                                                           \
    X(LOOP, 2, "for (d = a; d < b; d += imm); i64 scalars, d lives in the loop only")              \
    X(IF, 2, "if (a < b); i64 scalars")                                                            \
    X(ELSE, 0, "")                                                                                 \
    X(END, 0, "ends LOOP or IF")                                                                   \
    X(CONST, 0, "d = imm in every lane (F32: fimm)")                                               \
    X(PARAM, 0, "d = kernel parameter imm (enum rsr_kparam); i64 scalar")                          \
    X(COPY, 1, "d = a")                                                                            \
    X(ADD, 2, "d = a + b; unsigned elements wrap")                                                 \
    X(SUB, 2, "d = a - b; unsigned elements wrap")                                                 \
    X(MUL, 2, "d = a * b; unsigned elements wrap; F32 rounds to nearest even, never fused")        \
    X(MIN, 2, "d = a < b ? a : b; scalars")                                                        \
    X(AND, 2, "d = a & b; integers")                                                               \
    X(OR, 2, "d = a | b; integers")                                                                \
    X(XOR, 2, "d = a ^ b; integers; F32: the bits")                                                \
    X(SHR, 1, "d = a >> imm; logical on unsigned, arithmetic on signed elements")                  \
    X(SHL, 1, "d = a << imm; integers")                                                            \
    X(SPLAT, 1, "every lane of d = scalar a")                                                      \
    X(EXTRACT, 1, "scalar d = lane imm of a")                                                      \
    X(CONVERT, 1, "lane by lane to d's wider integer type, or from I32 to F32 (nearest even)")     \
    X(BITCAST, 1, "the same bits as d's type")                                                     \
    X(LOAD, 0, "d = buffer[address], any alignment")                                               \
    X(STORE, 1, "buffer[address] = a, any alignment")                                              \
    X(PREFETCH, 0,                                                                                 \
      "hint: buffer[address] is read soon; the address may lie outside. Brings it to "             \
      "the cache of the target's prefetch_level")                                                  \
    X(ZIP_ADD, 2, "in every 2u lanes, u = imm: d's low u = low + high u of a, d's high u: of b")   \
    X(HALVES_ADD, 1, "d[i] = a[i] + a[n + i]; a has 2n lanes")                                     \
    X(DOT_U8S8, 3,                                                                                 \
      "I32 d[i] = a[i] + sum over 4 of u8 b[4i+j] * s8 c[4i+j]; b, c: any type's bits")            \
    X(MADD_U8S8, 2,                                                                                \
      "I16 d[i] = sat(u8 a[2i] * s8 b[2i] + u8 a[2i+1] * s8 b[2i+1]); bits as above")              \
    X(DOT_S8S8, 3, "I32 d[i] = a[i] + sum over 4 of s8 b[4i+j] * s8 c[4i+j]; bits as above")       \
    X(MADD_I16, 2, "I32 d[i] = a[2i] * b[2i] + a[2i+1] * b[2i+1]")                                 \
    X(FMA, 3, "F32 d = a * b + c, rounded once")                                                   \
    /* Index as data: look-ups and the shuffles around them (lut). Lane 16: 16 bytes. */           \
    X(LOAD_LANES, 0, "the 16 bytes at buffer[address] in every lane 16 of d")                      \
    X(SHUFFLE16, 2, "U8 d[i] = b[i / 16 * 16 + a[i]]; every U8 a[i] < 16")                         \
    X(TABLE, 2, "d[i] = b[a[i] mod n]; a: unsigned, as wide as d")                                 \
    X(TABLE2, 3, "d[i] = b then c, 2n elements, at a[i] mod 2n; a: unsigned, as wide as d")        \
    X(SPREAD_BIT, 1, "U8: every bit of d[i] = bit imm of a[i]")                                    \
    X(ZIP_LOW, 2, "in every lane 16 of d: elements a0 b0 a1 b1 ... of its low 8 bytes of a and b") \
    X(ZIP_HIGH, 2, "as ZIP_LOW, of the high 8 bytes")                                              \
    X(PACK_U8, 2,                                                                                  \
      "U8: in every lane 16 of d, that lane of I16 a as bytes, then of b; all in 0..255")          \
    X(MIRROR, 3, "U8: d[i] = a[i] < 128 ? b[i] : c[i] - b[i]; wraps")                              \
    /* Index as instructions (fold). */                                                            \
    X(ADD_MEM, 1,                                                                                  \
      "d = a + buffer[address]; one instruction where the machine has memory operands")            \
    X(SUB_MEM, 1, "d = a - buffer[address]")                                                       \
    X(CALL, 3, "body number a, its columns at scratch + b, its sums at scratch + c; i64 scalars")  \
    /* Matrix registers (AMX). d, a, b and c are TILE registers where no other type is given. */   \
    X(TILE_BEGIN, 0, "configures every TILE register as 16 rows of 64 bytes")                      \
    X(TILE_END, 0, "releases the TILE registers")                                                  \
    X(TILE_LOAD, 1, "row r of d = the 64 bytes at buffer[address] + r * a; a: i64 scalar")         \
    X(TILE_STORE, 2, "the 64 bytes at buffer[address] + r * b = row r of a; b: i64 scalar")        \
    X(TILE_DOT_S8S8, 3,                                                                            \
      "I32 d[r][i] = a[r][i] + sum over k < 64 of s8 b[r][k] * s8 "                                \
      "c[k / 4][4i + k mod 4]; d is a; b, c and d differ")

enum rsr_kop_kind {
#define X(name, arity, help) RSR_KOP_##name,
    RSR_KOPS(X)
#undef X
        RSR_KOP_COUNT
};

enum rsr_kparam {
    RSR_KPARAM_LDX,
    RSR_KPARAM_LDY,
    RSR_KPARAM_N_TOKENS,
    RSR_KPARAM_TILE_BEGIN,
    RSR_KPARAM_TILE_END,
    RSR_KPARAM_HAS_TABLES,
    RSR_KPARAM_COUNT
};

#define RSR_NO_KREG UINT16_MAX

struct rsr_kop {
    uint16_t kind; /* enum rsr_kop_kind */
    uint16_t dst;  /* register, or RSR_NO_KREG */
    uint16_t a, b, c;
    uint16_t buffer; /* enum rsr_kbuf, LOAD STORE PREFETCH */
    /* byte address = imm + sum of term registers (i64 scalars) * term_scale */
    uint16_t term[3]; /* RSR_NO_KREG: unused */
    int64_t term_scale[3];
    int64_t imm;
    float fimm;
    const char *text; /* COMMENT; else an optional end-of-line comment */
};

/* Straight-line code that its kernel calls by number: the segment index as instructions. A body is
 * a function of two pointers, RSR_KBUF_COLUMNS (read) and RSR_KBUF_SUMS (read and written); it has
 * no loop, no IF, no CALL and no address terms, and uses the kernel's body_regs. */
struct rsr_kbody {
    struct rsr_kop *ops;
    uint32_t n_ops;
};

struct rsr_kernel {
    const char *symbol; /* rsr_l0_q_dot_avx512 */
    const char *name;   /* of its function, by what it computes: rsr_dot_i8_384x384_avx512. NULL in
                           a kernel that was read from a text: its function is named by symbol */
    const char *key;    /* equal keys: the same code (shape, variant, epilogue, spec) */
    const char *title;  /* model, layer and shape, for the header comment; untrusted text */
    const char *reason;
    const struct rsr_spec *spec;
    enum rsr_variant variant;
    enum rsr_input input;
    enum rsr_epilogue epilogue;
    uint32_t rows, cols;         /* of the layer: a call reads cols, writes rows */
    uint32_t computed_rows;      /* of the reduced matrix: tiles divide its rows */
    uint32_t tile_rows, n_tiles; /* a tile computes tile_rows of the computed_rows, and writes every
                                    row of the layer that repeats or negates one of these */
    uint64_t scratch_bytes;
    const char *tables; /* names the tables of x that the kernel leaves in scratch; kernels with
                           equal texts use each other's tables where HAS_TABLES is 1; NULL: no
                           tables */
    bool has_row_map;   /* the index has a row_map (rsr_abi.h), from byte row_map_at on */
    uint64_t row_map_at;
    uint32_t n_streams; /* streams of the codes, stream_bytes apart; each has tile_bytes */
    uint64_t stream_bytes, tile_bytes; /* per tile, tile after tile. 0: lowering sets one stream of
                                          all codes */
    bool tiles_have_own_codes; /* set by lowering: a tile reads no others, and tile_bytes is exact;
                                  the last tile may have fewer */
    struct rsr_kreg *regs;
    uint32_t n_regs;
    struct rsr_kop *ops;
    uint32_t n_ops;
    struct rsr_kreg *body_regs; /* few: the assembly back end maps each to a machine register */
    uint32_t n_body_regs;
    struct rsr_kbody *bodies;
    uint32_t n_bodies;
    bool extern_bodies;              /* bodies are in another unit, hidden:
                                        <symbol>_body_<number> */
    const struct rsr_matvec *matvec; /* of a GPU's kernel, which has bodies or no operations at all;
                                        else NULL */
};

/* ---- packed weights -------------------------------------------------------------------------- */

struct rsr_blob {
    const char *symbol; /* rsr_w_l0_q_codes */
    const void *bytes;
    uint64_t size_bytes;
    bool is_mapped; /* the bytes are in the mapping of a tensor's file */
    uint32_t align; /* 64 .. 2 MiB */
    uint8_t hash[16];
};

/* What lowering one layer makes: the code, and the data that the code reads. */
struct rsr_lowered {
    struct rsr_kernel kernel;
    struct rsr_blob codes;
    struct rsr_blob index; /* the variant's index, and after it, in a reduced layer, the tables of
                              its maps (kernel/kernel_maps.h); size 0: none */
    struct rsr_blob scale; /* float32 */
};

/* ---- GPU -------------------------------------------------------------------------------------- *
 *
 * A GPU computes every layer with a kernel of cuda/kernels/. These structs hold the constants of
 * that kernel, in place of operations.
 *
 * dot and mma (matvec.cuh): a warp works on 16 rows; a step is one 16-byte load per lane. Codes lie
 * in the order in which warps read them: for every 16 rows, for every step, 16 bytes for every lane
 * (kernels/matvec/matvec.h says which).
 *
 * fold (fold.cuh): a warp works on warp_rows rows, a chunk of columns after another, with a token a
 * lane. A body of the kernel (rsr_kbody) is the code of such rows and a chunk; there are no codes.
 *
 * segment (segment.cuh): a warp works on 32 rows, with a row a lane. A block makes the sums of four
 * columns that any row may need; a row's codes, a byte for four columns, select them.
 */

/* Codes of 2 bits, or of base-3 digits, five to a byte. */
enum rsr_gpu_codes { RSR_GPU_BITS2, RSR_GPU_BASE3, RSR_GPU_CODES_COUNT };

/* What multiplies: dp4a, tensor cores (mma.m16n8k32), additions that have the weights as
 * instructions (the kernel's bodies), or sums that codes select. */
enum rsr_gpu_product {
    RSR_GPU_DOT,
    RSR_GPU_MMA,
    RSR_GPU_FOLD,
    RSR_GPU_SEGMENT,
    RSR_GPU_PRODUCT_COUNT
};

#define RSR_GPU_ROWS_PER_WARP 16u
#define RSR_GPU_STEP_BYTES 512u /* 16 for every lane */

/* A function of a kernel: it computes so many tokens with one reading of the codes. */
struct rsr_gpu_function {
    uint32_t tokens;
    uint32_t ahead;     /* loads that a lane has in flight */
    uint32_t registers; /* of a thread, at most: with fewer, ptxas spills, with more, too few blocks
                           fit a multiprocessor */
};
#define RSR_GPU_MAX_FUNCTIONS 2u

struct rsr_matvec {
    enum rsr_gpu_codes codes; /* of dot and mma */
    enum rsr_gpu_product product;
    uint32_t rows, cols;
    uint32_t steps;      /* 16-byte loads of a lane that cover a row; fold, segment: chunks */
    uint32_t chunk_cols; /* of fold, a multiple of 16 */
    uint32_t warp_rows;  /* of fold: rows of a warp */
    uint32_t row_warps;  /* warps of a block on rows of their own */
    uint32_t col_warps;  /* warps that share a row's steps */
    uint32_t token_tile; /* tokens that share one reading of the codes, at most */
    uint32_t blocks;     /* blocks that cover all rows */
    bool scale_per_row;
    enum rsr_epilogue epilogue;
    uint64_t weight_bytes;                                    /* size of the packed codes */
    struct rsr_gpu_function functions[RSR_GPU_MAX_FUNCTIONS]; /* by tokens, ascending */
    uint32_t n_functions;
};

/* ---- schedule -------------------------------------------------------------------------------- */

struct rsr_step {
    const char *regime;
    uint32_t min_tokens, max_tokens;
    struct rsr_step_op *ops;
    uint32_t n_ops;
    struct rsr_buffer *buffers;
    uint32_t n_buffers;
    uint64_t arena_bytes_per_token;
};

/* ---- emit ------------------------------------------------------------------------------------ */

enum rsr_unit_kind {
    RSR_UNIT_C,
    RSR_UNIT_LLVM,
    RSR_UNIT_ASM,
    RSR_UNIT_OBJ,
    RSR_UNIT_PTX,
    RSR_UNIT_CUBIN,
    RSR_UNIT_KIND_COUNT
};

/* A unit that a back end fills: kernels are added one by one, then finish() makes the text or
 * bytes. */
struct rsr_unit {
    enum rsr_unit_kind kind; /* what finish() makes */
    const char *name;        /* file stem: "layer_0", "model" */
    uint32_t opt_level;      /* 0 .. 3 */
    struct rsrc_buffer text; /* complete after finish(); owned by the caller */
    void *state;             /* owned by the back end, from begin() to finish() or abandon() */
};

struct rsrc_tables; /* emit/module/tables.h */

/* One back end, in emit/<name>/. A back end reads rsr_kernel and rsrc_tables alone. */
struct rsrc_backend {
    const char *name; /* "c", "llvm" */
    uint32_t kinds;   /* bits (1 << enum rsr_unit_kind) that it makes */
    /* Starts an empty unit for one target. */
    enum rsrc_status (*begin)(struct rsr_unit *unit, const char *title, const struct rsr_spec *spec,
                              const char **why);
    /* Adds one kernel. It declines an operation that it cannot express for the kernel's spec: it
     * returns RSRC_FAILED with a sentence in *why, emits no diagnostic and leaves the unit as it
     * was. The driver then falls back to another back end and says so. */
    enum rsrc_status (*emit)(struct rsr_unit *unit, const struct rsr_kernel *kernel,
                             struct rsrc_arena *arena, const char **why);
    /* Adds another name of a kernel that the unit has: the name of a layer, with `title` as a
     * comment. */
    void (*alias)(struct rsr_unit *unit, const char *symbol, const char *of, const char *title);
    /* Completes unit->text and frees unit->state, also on failure. */
    enum rsrc_status (*finish)(struct rsr_unit *unit, struct rsrc_arena *arena, const char **why);
    /* Frees a unit that will not be finished; harmless on one that is. */
    void (*abandon)(struct rsr_unit *unit);
    /* Completes unit->text with a module's tables alone, from begin() to finish(). It declines a
     * machine as begin() does. */
    enum rsrc_status (*write_tables)(struct rsr_unit *unit, const struct rsrc_tables *tables,
                                     const struct rsr_spec *spec, struct rsrc_arena *arena,
                                     const char **why);
};

#endif
