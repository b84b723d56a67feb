/* rsr_mkmodel.h - shared by the parts of rsr-mkmodel.
 *
 *   options -> mkmodel_spec -> mkmodel_plan (tensors in file order, faults applied) -> files
 *
 * Weights are streamed: nothing here holds more than one buffer of them.
 */
#ifndef RSRC_TOOLS_RSR_MKMODEL_H
#define RSRC_TOOLS_RSR_MKMODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/mapped_file.h"
#include "diag.h"

/* ---- what to make (rsr_mkmodel_presets.c) ---------------------------------------------------- */

/* How linear weights are stored. */
enum mkmodel_storage {
    MKMODEL_PACKED_MULTIPLY, /* uint8, four codes a byte; weight_scale = mean|W| */
    MKMODEL_PACKED_DIVIDE,   /* same; weight_scale = 1 / mean|W| */
    MKMODEL_MASTERS,         /* floats that the reader quantises */
    MKMODEL_SCALED           /* floats that are -s, 0 or s already */
};

/* The conventions of a published family. NULL norms: the family has none there. */
struct mkmodel_convention {
    const char *name;
    const char *help;
    const char *model_type;
    const char *architecture; /* "BitNetForCausalLM" */
    const char *activation;   /* hidden_act */
    enum mkmodel_storage storage;
    const char *float_dtype;   /* "BF16" or "F16" */
    const char *attn_sub_norm; /* "self_attn.attn_sub_norm" */
    const char *ffn_sub_norm;
    const char *quantization; /* JSON of quantization_config; NULL: none */
    const char *extra;        /* JSON object of other fields of config.json; NULL: none */
    bool has_deltas;          /* Qwen3.5: every fourth block has attention, the others a gated delta
                                 rule */
};

/* Heads of a gated delta rule; keys and values have the same size. */
struct mkmodel_delta {
    uint32_t key_heads, value_heads, head_dim;
};

/* Shares, 0 to 1, of redundancy that a compiler could find (rsr_mkmodel_redundancy.c). */
struct mkmodel_redundancy {
    double repeated_rows; /* of every linear layer: equal or opposite to an earlier row */
    double zero_rows, zero_cols;
    double dead_channels; /* of every feed-forward part: rows of gate or of up that are zero */
    double zero_norm;     /* of the weights of every norm */
};

/* Sparsity after squared ReLU (rsr_mkmodel_sparsity.c). */
struct mkmodel_sparsity {
    double inactive;     /* share of channels that it makes 0, 0 to 1; 0: random */
    double coactivation; /* share of a gate row's weights that it has in common with its group of
                            16 */
};

struct mkmodel_spec {
    const struct mkmodel_convention *convention;
    uint32_t layers, hidden, ffn, heads, kv_heads, head_dim, vocab, context;
    bool tied;
    double rope_theta, norm_eps;
    struct mkmodel_delta delta;
    double zero_density;
    double head_margin; /* 0: none is made */
    struct mkmodel_redundancy redundancy;
    struct mkmodel_sparsity sparsity;
    uint64_t seed;
    uint64_t shard_bytes;
};

struct mkmodel_preset {
    const char *name;
    const char *help;
    const char *convention;
    uint32_t layers, hidden, ffn, heads, kv_heads, head_dim, vocab, context;
    bool tied;
    double rope_theta, norm_eps;
    uint32_t delta_key_heads, delta_value_heads, delta_head_dim; /* 0: no gated delta rules */
};

const struct mkmodel_convention *mkmodel_find_convention(const char *name);
const struct mkmodel_preset *mkmodel_find_preset(const char *name);
/* Rows of the tables in order; NULL past the end. */
const struct mkmodel_preset *mkmodel_preset(uint32_t i);
const struct mkmodel_convention *mkmodel_convention(uint32_t i);

/* ---- tensors (rsr_mkmodel_plan.c) ------------------------------------------------------------ */

enum mkmodel_fill {
    MKMODEL_FILL_PACKED,   /* four ternary codes a byte */
    MKMODEL_FILL_NORMAL,   /* mean + spread * (about a standard normal) */
    MKMODEL_FILL_MASTER,   /* floats whose mean magnitude is `spread` */
    MKMODEL_FILL_SCALED,   /* -spread, 0, spread */
    MKMODEL_FILL_CONSTANT, /* mean */
    MKMODEL_FILL_TERNARY,  /* bytes -1, 0, 1 */
    MKMODEL_FILL_SIGN,     /* bytes -1, 1 */
    MKMODEL_FILL_BIT       /* bytes 0, 1 */
};

struct mkmodel_tensor {
    const char *name;
    const char *dtype; /* as safetensors spells it */
    uint32_t n_dims;
    uint64_t shape[4];
    enum mkmodel_fill fill;
    double mean, spread;
    bool has_direction;   /* in every row: rsr_mkmodel_margin.c */
    double head_margin;   /* of a head; 0: none is made */
    const uint8_t *patch; /* bytes that replace the tensor's first ones; NULL: none */
    uint32_t n_patch;
    uint32_t shard;
};

struct mkmodel_plan {
    struct mkmodel_tensor *tensors; /* by shard, then as the reference serialiser orders them */
    uint32_t n_tensors;
    uint32_t capacity;
    uint32_t n_shards;
};

uint32_t mkmodel_dtype_bytes(const char *dtype);
uint64_t mkmodel_tensor_bytes(const struct mkmodel_tensor *tensor);
uint64_t mkmodel_plan_bytes(const struct mkmodel_plan *plan);
struct mkmodel_tensor *mkmodel_plan_add(struct rsrc_arena *arena, struct mkmodel_plan *plan,
                                        const char *name, const char *dtype, uint64_t rows,
                                        uint64_t cols);
/* Whether the block has a gated delta rule in the place of attention. */
bool mkmodel_is_delta(const struct mkmodel_spec *spec, uint32_t block);
void mkmodel_plan_model(struct rsrc_arena *arena, const struct mkmodel_spec *spec,
                        struct mkmodel_plan *plan);
/* Assigns shards of at most shard_bytes (one tensor may exceed it) and the order in the files. */
void mkmodel_plan_order(struct mkmodel_plan *plan, uint64_t shard_bytes);

/* ---- data (rsr_mkmodel_data.c) --------------------------------------------------------------- */

/* The distribution of one tensor's elements; see the source. It is large: keep only one, and not on
 * the stack. */
struct mkmodel_source {
    uint64_t key;
    uint32_t element_bytes;
    uint16_t table[65536];
};

void mkmodel_source_init(struct mkmodel_source *source, const struct mkmodel_tensor *tensor,
                         double zero_density, uint64_t seed);
/* Makes bytes [offset, offset + n_bytes) of the tensor; offset is a multiple of 64. */
void mkmodel_source_fill(const struct mkmodel_source *source, uint64_t offset, uint8_t *bytes,
                         size_t n_bytes);
/* Floats as they are stored: normal numbers of BF16 or F16, rounded to even. */
uint16_t mkmodel_store(const char *dtype, double value);
double mkmodel_load(const char *dtype, uint16_t bits);
/* Element `number` alone. */
uint16_t mkmodel_source_element(const struct mkmodel_source *source, uint64_t number);
/* Like mkmodel_source_fill(), with redundant elements, made one by one from the source's. */
typedef uint16_t mkmodel_element(const void *tensor, const struct mkmodel_source *source,
                                 uint64_t number);
void mkmodel_fill_elements(mkmodel_element *element, const void *tensor,
                           const struct mkmodel_source *source, uint64_t offset, uint8_t *bytes,
                           size_t n_bytes);
uint64_t mkmodel_mix(uint64_t x);
uint64_t mkmodel_hash_name(uint64_t seed, const char *name);

/* ---- redundancy (rsr_mkmodel_redundancy.c) --------------------------------------------------- */

/* One tensor on its way; see the source. */
struct mkmodel_redundant {
    const struct mkmodel_redundancy *redundancy;
    enum mkmodel_fill fill;
    bool is_norm, is_linear;
    uint64_t key;
    uint64_t channel_key;  /* of gate and up together */
    uint32_t channel_half; /* 1: gate, 2: up; else 0 */
    uint64_t rows, cols;
    uint64_t lane_rows; /* rows of bytes: a quarter of packed rows */
};

bool mkmodel_has_redundancy(const struct mkmodel_redundancy *redundancy);
void mkmodel_redundant_init(struct mkmodel_redundant *tensor_of,
                            const struct mkmodel_redundancy *redundancy,
                            const struct mkmodel_tensor *tensor, uint64_t seed);
/* As mkmodel_source_fill(). */
void mkmodel_redundant_fill(const struct mkmodel_redundant *r, const struct mkmodel_source *source,
                            uint64_t offset, uint8_t *bytes, size_t n_bytes);

/* ---- margins (rsr_mkmodel_margin.c) ---------------------------------------------------------- */

#define MKMODEL_N_WINNERS 8u

/* An addition to a tensor of random rows; see the source. */
struct mkmodel_margin {
    const struct mkmodel_tensor *tensor;
    uint64_t key;
    double step[MKMODEL_N_WINNERS]; /* of each winner, along the direction */
};

/* Standard deviations of an embedding's own part, and of what all blocks together add to it, in
 * units of the direction. */
#define MKMODEL_MARGIN_SPREAD 0.15

bool mkmodel_has_margin(const struct mkmodel_tensor *tensor);
void mkmodel_margin_init(struct mkmodel_margin *margin, const struct mkmodel_tensor *tensor,
                         const struct mkmodel_source *source, uint64_t seed);
/* Changes bytes that mkmodel_source_fill() has filled. */
void mkmodel_margin_apply(const struct mkmodel_margin *margin, uint64_t offset, uint8_t *bytes,
                          size_t n_bytes);

/* ---- sparsity (rsr_mkmodel_sparsity.c) ------------------------------------------------------- */

/* One tensor on its way; see the source. */
struct mkmodel_sparse {
    uint64_t key, cols;
    uint64_t rows; /* as stored: a quarter of packed rows */
    double coactivation;
    uint16_t bias, bias_code; /* what the first columns hold, of embeddings and of gate */
    bool is_gate, is_embedding;
};

/* Says why the model cannot be made; NULL: it can. */
const char *mkmodel_sparsity_obstacle(const struct mkmodel_spec *spec);
/* Standard deviation of an embedding's elements. */
double mkmodel_sparsity_spread(const struct mkmodel_spec *spec);
void mkmodel_sparse_init(struct mkmodel_sparse *out, const struct mkmodel_spec *spec,
                         const struct mkmodel_tensor *tensor);
/* Like mkmodel_source_fill(), for embeddings and gates. */
void mkmodel_sparse_fill(const struct mkmodel_sparse *sparse, const struct mkmodel_source *source,
                         uint64_t offset, uint8_t *bytes, size_t n_bytes);

/* ---- all of them (rsr_mkmodel_data.c) -------------------------------------------------------- */

/* What makes the bytes of one tensor. It is as large as its source. */
struct mkmodel_maker {
    const struct mkmodel_spec *spec;
    const struct mkmodel_tensor *tensor;
    struct mkmodel_source source;
    struct mkmodel_redundant redundant;
    struct mkmodel_margin margin;
    struct mkmodel_sparse sparse;
};

void mkmodel_maker_init(struct mkmodel_maker *maker, const struct mkmodel_spec *spec,
                        const struct mkmodel_tensor *tensor);
/* As mkmodel_source_fill(). */
void mkmodel_maker_fill(const struct mkmodel_maker *maker, uint64_t offset, uint8_t *bytes,
                        size_t n_bytes);

/* ---- faults (rsr_mkmodel_break.c) ------------------------------------------------------------ */

struct mkmodel_fault;

const struct mkmodel_fault *mkmodel_find_fault(const char *name);
const struct mkmodel_fault *mkmodel_fault(uint32_t i);
const char *mkmodel_fault_name(const struct mkmodel_fault *fault);
const char *mkmodel_fault_slug(const struct mkmodel_fault *fault);
/* Whether the fault needs several files of weights; a NULL fault does not. */
bool mkmodel_fault_is_sharded(const struct mkmodel_fault *fault);

/* Each does nothing unless the fault is of its kind; fault may be NULL. */
RSRC_NODISCARD enum rsrc_status mkmodel_break_tensors(struct rsrc_diag *diag,
                                                      struct rsrc_arena *arena,
                                                      const struct mkmodel_fault *fault,
                                                      struct mkmodel_plan *plan);
/* A JSON file by its name in the folder; *text is its serialised form, replaced where needed. */
void mkmodel_break_json(const struct mkmodel_fault *fault, const char *file, json_t *root);
const char *mkmodel_break_text(struct rsrc_arena *arena, const struct mkmodel_fault *fault,
                               const char *file, const char *text);
bool mkmodel_break_omits(const struct mkmodel_fault *fault, const char *file);
/* The safetensors header and length word as they will be written. */
const char *mkmodel_break_header(struct rsrc_arena *arena, const struct mkmodel_fault *fault,
                                 const char *header);
uint64_t mkmodel_break_length(const struct mkmodel_fault *fault, uint64_t length);
/* Data bytes to omit at the end (or, negative, to add). */
int64_t mkmodel_break_cut(const struct mkmodel_fault *fault, uint64_t data_bytes);

/* ---- files ----------------------------------------------------------------------------------- */

struct mkmodel_writer {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *path; /* folder, or the file of matrices or of GGUF */
    const struct mkmodel_spec *spec;
    const struct mkmodel_fault *fault;         /* NULL: none */
    const struct mkmodel_gguf_type *gguf_type; /* of linear layers; NULL: a folder is written */
};

/* rsr_mkmodel_safetensors.c */
RSRC_NODISCARD enum rsrc_status mkmodel_write_weights(const struct mkmodel_writer *writer,
                                                      const struct mkmodel_plan *plan,
                                                      bool is_folder);
/* rsr_mkmodel_gguf.c; the plan is in the order in which tensors were added. */
const struct mkmodel_gguf_type *mkmodel_find_gguf_type(const char *name);
RSRC_NODISCARD enum rsrc_status mkmodel_write_gguf(const struct mkmodel_writer *writer,
                                                   const struct mkmodel_plan *plan);
/* rsr_mkmodel_config.c: config.json, generation_config.json, tokenizer.json,
 * tokenizer_config.json */
RSRC_NODISCARD enum rsrc_status mkmodel_write_configs(const struct mkmodel_writer *writer);
extern const char mkmodel_chat_template[];
/* Takes the reference to root. */
RSRC_NODISCARD enum rsrc_status mkmodel_write_json(const struct mkmodel_writer *writer,
                                                   const char *file, json_t *root);

/* ---- tokenizer (rsr_mkmodel_tokenizer.c) ----------------------------------------------------- */

/* The vocabulary: 256 bytes, synthetic merges, then the special tokens. */
struct mkmodel_token_ids {
    uint32_t n_merges;
    uint32_t bos, eos, eot;
};

#define MKMODEL_MIN_VOCAB 259u

struct mkmodel_token_ids mkmodel_token_ids(uint32_t vocab);
/* Owned by the caller. */
json_t *mkmodel_tokenizer_json(struct rsrc_arena *arena, uint32_t vocab, uint64_t seed);
extern const char *const mkmodel_special_tokens[3]; /* bos, eos, eot */

#endif
