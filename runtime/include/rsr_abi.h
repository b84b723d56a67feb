/* rsr_abi.h - the contract between a compiled model.so and the runtime inside it.
 *
 * The compiler emits the tables declared here (as C text) and the runtime walks them. A module
 * exports exactly one symbol, rsr_module_query(), which returns the root table. Everything is
 * constant data: pointers are 64-bit relocations in .data.rel.ro, and sections of weights may lie
 * beyond 2 GiB. Any change to a struct here raises RSR_ABI_VERSION. The runtime in a module
 * compares this number with that of the module's tables, which were made together with it.
 *
 * Fixed forever, because librsr reads it from older and from newer modules:
 *   struct rsr_note of RSR_NOTE_TYPE 1. A new layout gets a new type, and librsr then reads both.
 *   struct rsr_module up to `api`: abi_version at byte 0, size_bytes at 4, api at 8.
 *   struct rsr_host up to abi_version, and rsr_module_query()'s name and type.
 *   What rsr_api.h says about its table and objects.
 *
 * Applications do not include this file; they include rsr.h.
 */
#ifndef RSR_ABI_H
#define RSR_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RSR_ABI_VERSION 14u
#define RSR_ABI_OLDEST 9u /* older versions lay out the fixed parts otherwise: refused */

/* ---- The note -----------------------------------------------------------------------------
 *
 * A module's file carries a note that can be read before the file is loaded: an ELF note with the
 * owner RSR_NOTE_OWNER and the type RSR_NOTE_TYPE in a PT_NOTE segment. rsrc compiles the note into
 * the tables, links the file, and then fills in the note's sections. A module that was linked in
 * another way has the note without sections. A module that is written by hand declares at file
 * scope
 *   static const struct rsr_file_note note RSR_NOTE_PLACE = RSR_NOTE_INIT(RSR_NOTE_MODEL);
 */
#define RSR_NOTE_OWNER "rsrc-module" /* 12 bytes: `note` needs no padding before it */
#define RSR_NOTE_TYPE 1u             /* increases when struct rsr_note changes */
#define RSR_NOTE_SECTIONS 48u
#define RSR_NOTE_OPTIONS 1024u

enum rsr_note_kind {
    RSR_NOTE_MODEL,    /* exports rsr_module_query() */
    RSR_NOTE_MATRICES, /* functions of matrices; rsr_open() refuses it */
    RSR_NOTE_KIND_COUNT
};

/* Bytes of the file that belong together. The sections cover the whole file except the note. */
struct rsr_note_section {
    char name[24]; /* an ELF section (".text") or a kind of weights ("embedding"); ends in NUL */
    uint64_t begin;
    uint64_t size_bytes;
    uint8_t hash[16]; /* rsr_hash.h */
};

struct rsr_note {
    uint32_t abi_version; /* of the tables */
    uint32_t kind;        /* enum rsr_note_kind */
    uint32_t n_sections;  /* 0: not linked by rsrc */
    uint32_t reserved;
    uint64_t file_bytes;    /* 0 without sections */
    uint8_t hash[16];       /* of this struct with zeros in this field; zeros without sections */
    uint8_t checkpoint[16]; /* hash of the checkpoint that was compiled */
    uint8_t targets[16];    /* hash of the resolved target descriptions */
    char compiler_version[16];
    char options[RSR_NOTE_OPTIONS]; /* rsrc's options that decide the output, as in a response file;
                                       "": they do not fit */
    struct rsr_note_section sections[RSR_NOTE_SECTIONS];
};

struct rsr_file_note {
    uint32_t owner_bytes;
    uint32_t note_bytes;
    uint32_t type;
    char owner[sizeof(RSR_NOTE_OWNER)];
    struct rsr_note note;
};

#define RSR_NOTE_SECTION ".note.rsrc"
#define RSR_NOTE_ALIGN 8
#define RSR_NOTE_PLACE __attribute__((section(RSR_NOTE_SECTION), used, aligned(RSR_NOTE_ALIGN)))
#define RSR_NOTE_INIT(what, ...)                                                                   \
    {                                                                                              \
        sizeof(RSR_NOTE_OWNER), sizeof(struct rsr_note), RSR_NOTE_TYPE, RSR_NOTE_OWNER, {          \
            .abi_version = RSR_ABI_VERSION, .kind = (what), __VA_ARGS__                            \
        }                                                                                          \
    }

/* ---- CPU features ------------------------------------------------------------------------- */

enum rsr_cpu_feature_bit {
#define RSR_CPU_FEATURE(id, bit, spec_name, attribute) RSR_CPU_BIT_##id = bit,
#include "rsr_cpu_features.def"
#undef RSR_CPU_FEATURE
    RSR_CPU_BIT_END
};

#define RSR_CPU_MASK(id) (UINT64_C(1) << RSR_CPU_BIT_##id)

/* The bits that each architecture may use. Bits 32 .. 47 are free for a third one. */
#define RSR_CPU_X86_64 UINT64_C(0x00000000ffffffff)
#define RSR_CPU_AARCH64 UINT64_C(0xffff000000000000)

/* ---- Activations ---------------------------------------------------------------------------
 *
 * A quantised activation row is a 64-byte header followed by `cols` int8 values, zero-padded to a
 * multiple of RSR_ACT_PAD. A row is 64-byte aligned and rows are ldx bytes apart.
 *   real value of element j = q[j] * scale
 *   sum = q[0] + q[1] + ... (exact; lets kernels work on unsigned codes w + 1)
 */
#define RSR_ACT_PAD 512u
#define RSR_ACT_HEADER 64u

struct rsr_act_row {
    float scale;
    int32_t sum;
    int32_t reserved[14];
    /* int8_t q[] follows at byte RSR_ACT_HEADER */
};

/* A listed row is an activation row followed by a list, which says which of n elements count. The
 * elements are rows of a matrix (n: its rows), or the row's own elements that are not 0 (n: its
 * cols).
 *   uint32_t begin[]    for every RSR_LIST_CHUNK elements the number of listed ones before them;
 *                       then the total
 *   uint32_t index[]    the listed ones, ascending, then RSR_LIST_SLACK zeros
 *   int8_t value[]      their q, then RSR_LIST_SLACK zeros; only in lists of the row's own elements
 */
#define RSR_LIST_CHUNK 64u
#define RSR_LIST_SLACK 32u

enum rsr_list { RSR_LIST_NONE, RSR_LIST_ROWS, RSR_LIST_COLS };

/* Offsets in bytes from the start of a listed row. */
struct rsr_list_layout {
    uint64_t begin_at;
    uint64_t index_at;
    uint64_t value_at;
    uint64_t row_bytes; /* of the whole row, a multiple of 64 */
};

static inline struct rsr_list_layout rsr_list_layout(uint32_t cols, uint32_t n) {
    const uint64_t n_chunks = ((uint64_t)n + RSR_LIST_CHUNK - 1) / RSR_LIST_CHUNK;
    struct rsr_list_layout at;
    at.begin_at = RSR_ACT_HEADER + ((uint64_t)cols + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD;
    at.index_at = at.begin_at + 4 * (n_chunks + 1);
    at.value_at = at.index_at + 4 * ((uint64_t)n + RSR_LIST_SLACK);
    at.row_bytes = (at.value_at + n + RSR_LIST_SLACK + 63) / 64 * 64;
    return at;
}

/* ---- Kernels -------------------------------------------------------------------------------- */

/* Data that an emitted kernel reads, other than activations. Unused pointers are NULL. */
struct rsr_weights {
    const void *codes;  /* packed codes or segment members; layout is the variant's own */
    const void *index;  /* segment table of `scatter`, else NULL */
    const float *scale; /* n_scales factors: y = acc * (x.scale * scale[..]) */
    uint32_t n_scales;  /* 1 = per tensor, rows = per row, more = per row and group of columns */
    uint32_t reserved;
};

/* The share of one worker. A kernel computes the rows of tiles [tile_begin, tile_end). */
struct rsr_worker {
    uint32_t tile_begin;
    uint32_t tile_end;
    uint32_t index; /* worker number, 0 .. count-1 */
    uint32_t count;
    uint32_t has_tables; /* 1: scratch holds the tables that a kernel with the same
                            rsr_kernel_desc.tables left there for the same x and n_tokens; 0: the
                            kernel makes them */
    uint32_t reserved;
};

/* Kernels share tables (rsr_worker.has_tables) only in calls of at most this many tokens. */
#define RSR_TABLE_TOKENS 4u

/* The type of a kernel's input x. */
enum rsr_input {
    RSR_INPUT_I8, /* activation rows (struct rsr_act_row) */
    RSR_INPUT_F32 /* rows of `cols` floats, aligned to 64 bytes, then zeros up to a multiple of
                     RSR_ACT_PAD elements */
};

/* Computes y[t * ldy + r] for tokens t < n_tokens and the rows r of the worker's tiles.
 *   x    rows as rsr_kernel_desc.input says, ldx bytes apart
 *   y    float (RSR_EPILOGUE_SCALE) or int32_t (RSR_EPILOGUE_RAW), ldy ELEMENTS apart
 *   scratch  at least rsr_kernel_desc.scratch_bytes, 64-byte aligned, private to the worker
 * Kernels start no thread, touch no global, and write only rows below `rows`. */
typedef void rsr_kernel_fn(const void *x, size_t ldx, void *y, size_t ldy, uint32_t n_tokens,
                           const struct rsr_weights *weights, const struct rsr_worker *worker,
                           void *scratch);

enum rsr_epilogue {
    RSR_EPILOGUE_SCALE, /* float y = (float)acc * (x.scale * weight scale); F32: acc * weight
                           scale */
    RSR_EPILOGUE_RAW    /* int32_t y = acc; F32: float y = acc */
};

struct rsr_kernel_desc {
    const char *name;    /* rsr_l<block>_<role>_<variant>_<isa> */
    const char *variant; /* "dot", "scatter", ... */
    const char *reason;  /* the planner's sentence */
    rsr_kernel_fn *fn;
    struct rsr_weights weights;
    uint32_t rows;
    uint32_t cols;
    uint32_t n_tiles;
    uint32_t tile_rows;
    uint32_t epilogue; /* enum rsr_epilogue */
    uint32_t block;    /* transformer block, or RSR_NO_BLOCK */
    uint32_t role;     /* enum rsr_role */
    uint32_t input;    /* enum rsr_input */
    uint32_t tables;   /* not 0: kernels of a target with equal numbers make equal tables of x in
                          scratch and leave them there; see rsr_worker.has_tables */
    uint32_t list;     /* enum rsr_list; not NONE: x is listed rows. ROWS: rows that are not listed
                          get result 0. COLS: columns that are not listed are not read */
    uint64_t scratch_bytes;
    uint64_t weight_bytes; /* bytes of codes and index that one call over all tiles reads */
    uint64_t token_bytes;  /* what a call of one token usually reads of them, as predicted: less
                              than all where x is listed rows. For reports alone */
    uint64_t stream_bytes; /* the codes are n_streams streams, this many bytes apart. Prefetching
                              uses it; no result depends on it */
    uint64_t tile_bytes;   /* bytes of a tile in each stream, where tiles follow each other */
    uint32_t n_streams;
    uint32_t reserved;
    const uint32_t *row_map; /* which rows of y a tile writes. NULL: tile t writes rows [t *
                                tile_rows, (t + 1) * tile_rows) that are below `rows`. Else, where
                                equal rows are computed once: entries [row_map[t], row_map[t + 1])
                                of rsr_row_entries() */
};

/* An entry of a row_map; the other words are the kernel's own. Every row has one entry. */
struct rsr_row_entry {
    uint32_t row;
    uint32_t reserved[2];
};

/* The entries lie after row_map's n_tiles + 1 numbers, from a multiple of 64 bytes on. */
static inline const struct rsr_row_entry *rsr_row_entries(const struct rsr_kernel_desc *kernel) {
    const size_t numbers = ((size_t)kernel->n_tiles + 1 + 15) / 16 * 16;
    return (const struct rsr_row_entry *)(const void *)(kernel->row_map + numbers);
}

#define RSR_NO_BLOCK UINT32_MAX

/* What a tensor or an operation is for: the enum's suffix and the name that people see. The order
 * is ABI: append only. */
#define RSR_ROLES(X)                                                                               \
    X(EMBED, "embed")                                                                              \
    X(Q, "q")                                                                                      \
    X(K, "k")                                                                                      \
    X(V, "v")                                                                                      \
    X(O, "o")                                                                                      \
    X(GATE, "gate")                                                                                \
    X(UP, "up")                                                                                    \
    X(DOWN, "down")                                                                                \
    X(HEAD, "head")                                                                                \
    X(INPUT_NORM, "input_norm")                                                                    \
    X(ATTN_SUB_NORM, "attn_sub_norm")                                                              \
    X(POST_NORM, "post_norm")                                                                      \
    X(FFN_SUB_NORM, "ffn_sub_norm")                                                                \
    X(FINAL_NORM, "final_norm")                                                                    \
    X(Q_NORM, "q_norm") /* of every query head, before its rotation */                             \
    X(K_NORM, "k_norm")                                                                            \
    X(ATTN_OUT_NORM, "attn_out_norm") /* of what attention adds to the residual stream */          \
    X(FFN_OUT_NORM, "ffn_out_norm")                                                                \
    X(PROJ_NORM, "proj_norm") /* of one linear layer's input */                                    \
    X(QKV, "qkv")             /* queries, keys and values of a gated delta rule */                 \
    X(Z, "z")                 /* the gate of its results */                                        \
    X(BETA, "beta")                                                                                \
    X(DECAY, "decay")

enum rsr_role {
#define RSR_ROLE_ROW(id, name) RSR_ROLE_##id,
    RSR_ROLES(RSR_ROLE_ROW)
#undef RSR_ROLE_ROW
        RSR_ROLE_COUNT
};

/* ---- The step: what one forward pass does ----------------------------------------------------
 *
 * A step is an ordered table. Operations work on buffers of n_tokens rows. An operation with
 * RSR_OP_BARRIER is followed by a barrier of all workers. Operations marked T are split by token
 * and need no barrier between each other: a worker owns the same tokens in all of them.
 *
 * RSR_OP_TOKEN_BARRIER (together with RSR_OP_BARRIER) marks a barrier that workers may skip if each
 * of them runs the T operations for every token itself and writes the results to rows of its own.
 * A step has such barriers only under two conditions. What T operations write, no other operation
 * writes. No buffer of the operations between the barriers before and after it shares memory with
 * another one, and the operations after it write no buffer that those before it read or write.
 *
 *   EMBED        T  dst f32 <- embedding row of the token
 *   ROPE_TABLE   T  dst f32[rotary_dim] <- cos, sin of the token's position, half each, by
 *                ropes[arg]
 *   ADD          T  dst f32 += src0 f32
 *   NORM         T  dst f32 <- RMS norm of src0 f32, weights norms[arg]
 *   QUANT        T  dst act rows <- int8 quantisation of src0 f32
 *   ACT_MUL      T  dst f32 <- act(src0) * src1
 *   LINEAR       tiles: dst f32 <- kernels[arg] over src0, act rows or f32 as its input is
 *   ROPE_APPEND  (token, head): q = src0 in place and k = src1 are normalised head by head with
 *                norms[arg] and norms[arg + 1], unless arg is RSR_NO_NORM, and their first
 *                rotary_dim elements rotated; k and v = src2 go to the KV pages of `block`; src3 =
 *                the rope table. With a dst, q is dst <- the first half of every head of src0,
 *                whose second half is the head's gate (GATE)
 *   ATTENTION    (token, KV head): dst f32 <- attention of q = src0 over `block`'s pages; a token
 *                sees the last arg keys, its own included; 0: all
 *   HEAD         rows x wanted tokens: logits <- head . src0 f32; arg RSR_NO_KERNEL: the target's
 *                head, else kernels[arg] over src0
 *   DENSE        rows: dst f32 <- dense[arg] . src0 f32
 *   PAD          T  dst f32 <- 0, from its cols to the end of the row
 *   OUTPUT       T  outputs of the wanted tokens <- src0 f32
 *   LIST_ROWS    T  dst, act rows <- after each row, the list of src0 f32's elements above 0
 *   LIST_COLS    T  dst, act rows <- after each row, the list of its elements that are not 0
 *   GATE         T  dst f32 <- src0 f32, each head times the sigmoid of the second half of its head
 *                in src1
 *   DELTA        (sequence, value head): dst f32 <- gated delta rule of `block` with the weights
 *                deltas[arg] over qkv = src0, z = src1, beta = src2, decay = src3; reads and writes
 *                the sequence's state
 *   ROTATE       T  dst f32 <- rotations[arg] of src0 f32, then 0 to the end of the row
 *   UNROTATE     T  dst f32 <- the inverse of rotations[arg] of dst
 *
 * Enum suffix and the name that people see. The order is ABI; append only.
 */
#define RSR_OP_KINDS(X)                                                                            \
    X(EMBED, "embed")                                                                              \
    X(ROPE_TABLE, "rope_table")                                                                    \
    X(ADD, "add")                                                                                  \
    X(NORM, "norm")                                                                                \
    X(QUANT, "quant")                                                                              \
    X(ACT_MUL, "act_mul")                                                                          \
    X(LINEAR, "linear")                                                                            \
    X(ROPE_APPEND, "rope_append")                                                                  \
    X(ATTENTION, "attention")                                                                      \
    X(HEAD, "head")                                                                                \
    X(DENSE, "dense")                                                                              \
    X(PAD, "pad")                                                                                  \
    X(OUTPUT, "output")                                                                            \
    X(LIST_ROWS, "list_rows")                                                                      \
    X(LIST_COLS, "list_cols")                                                                      \
    X(GATE, "gate")                                                                                \
    X(DELTA, "delta")                                                                              \
    X(ROTATE, "rotate")                                                                            \
    X(UNROTATE, "unrotate")

enum rsr_op_kind {
#define RSR_OP_KIND_ROW(id, name) RSR_OP_##id,
    RSR_OP_KINDS(RSR_OP_KIND_ROW)
#undef RSR_OP_KIND_ROW
        RSR_OP_KIND_COUNT
};

/* The operations marked T, one bit each. */
#define RSR_OPS_BY_TOKEN                                                                           \
    (UINT32_C(1) << RSR_OP_EMBED | UINT32_C(1) << RSR_OP_ROPE_TABLE | UINT32_C(1) << RSR_OP_ADD |  \
     UINT32_C(1) << RSR_OP_NORM | UINT32_C(1) << RSR_OP_QUANT | UINT32_C(1) << RSR_OP_ACT_MUL |    \
     UINT32_C(1) << RSR_OP_PAD | UINT32_C(1) << RSR_OP_OUTPUT | UINT32_C(1) << RSR_OP_LIST_ROWS |  \
     UINT32_C(1) << RSR_OP_LIST_COLS | UINT32_C(1) << RSR_OP_GATE | UINT32_C(1) << RSR_OP_ROTATE | \
     UINT32_C(1) << RSR_OP_UNROTATE)

#define RSR_OP_BARRIER 1u
#define RSR_OP_TOKEN_BARRIER 2u
#define RSR_NO_NORM UINT32_MAX
#define RSR_NO_KERNEL UINT32_MAX
#define RSR_NO_BUFFER UINT16_MAX

struct rsr_step_op {
    uint16_t kind; /* enum rsr_op_kind */
    uint16_t flags;
    uint32_t block;
    uint16_t dst; /* buffer numbers, or RSR_NO_BUFFER */
    uint16_t src[4];
    uint16_t layer; /* ROPE_APPEND, ATTENTION: number of the block among those with keys and values;
                       DELTA: among those with a state */
    uint32_t arg;   /* index in a table of the target or module, or as the kind says */
};

/* One buffer: n_tokens rows of row_bytes. It starts at offset * max_tokens in the engine's arena.
 * Buffers whose lifetimes do not overlap share memory. */
struct rsr_buffer {
    const char *name;
    uint32_t row_bytes; /* a multiple of 64 */
    uint32_t cols;      /* elements per row */
    uint64_t offset;    /* arena bytes per token before this buffer, a multiple of 64 */
};

struct rsr_norm {
    const char *name;    /* its role: "input_norm" */
    const float *weight; /* [cols] */
    uint32_t cols;
    float eps;
};

/* The weights of a gated delta rule besides its linear layers (runtime/src/ops/ops.h has the
 * arithmetic). Channels are the columns of its qkv: key heads' queries, their keys, value heads'
 * values. */
#define RSR_DELTA_TAPS 4u
struct rsr_delta {
    const float *taps;  /* [RSR_DELTA_TAPS][channels]: of the causal convolution, oldest first */
    const float *rate;  /* [value heads]: exp(A_log) */
    const float *shift; /* [value heads]: dt_bias */
    const float *norm;  /* [delta_value_dim] */
    float norm_eps;
    uint32_t reserved;
};

/* A step serves batches of min_tokens..max_tokens tokens. The steps of a target together cover
 * 1..UINT32_MAX. */
struct rsr_step_table {
    const char *regime; /* "decode", "prefill", or "any" */
    uint32_t min_tokens;
    uint32_t max_tokens;
    uint32_t n_ops;
    uint32_t n_buffers;
    const struct rsr_step_op *ops;
    const struct rsr_buffer *buffers;
    uint64_t arena_bytes_per_token;
};

/* ---- The model ------------------------------------------------------------------------------- */

enum rsr_dtype {
    RSR_DTYPE_F32,
    RSR_DTYPE_BF16,
    RSR_DTYPE_F16,
    RSR_DTYPE_I8,
    RSR_DTYPE_U8,
    RSR_DTYPE_I32,
    RSR_DTYPE_I64,
    RSR_DTYPE_COUNT
};

enum rsr_activation {
    RSR_ACTIVATION_RELU2,
    RSR_ACTIVATION_SILU,
    RSR_ACTIVATION_GELU_TANH,
    RSR_ACTIVATION_COUNT
};

/* What a model returns for a text. */
enum rsr_pooling {
    RSR_POOLING_NONE,  /* a language model: the logits of a token */
    RSR_POOLING_LAST,  /* an embedding model: the hidden state of the last token */
    RSR_POOLING_FIRST, /* the first token's state */
    RSR_POOLING_MEAN,  /* the mean of all tokens */
    RSR_POOLING_COUNT
};

struct rsr_hyper {
    uint32_t hidden;
    uint32_t n_layers;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t ffn;
    uint32_t vocab;
    uint32_t context;    /* positions that the checkpoint was made for */
    uint32_t activation; /* enum rsr_activation */
    uint32_t tied_head;  /* 1: head == embedding */
    uint32_t pooling;    /* enum rsr_pooling */
    uint32_t normalized; /* 1: an embedding is divided by its Euclidean length */
    float norm_eps;
    float rope_theta;
    float attention_scale; /* factor of q . k */
    float embedding_scale; /* factor of a row of the embedding */
    uint32_t rotary_dim;   /* elements of a head that are rotated, its first ones */
    uint32_t delta_layers; /* number of blocks with a gated delta rule; the others have attention */
    /* Sizes of these blocks; 0: there are none. A key head serves delta_value_heads /
     * delta_key_heads value heads that follow each other. */
    uint32_t delta_key_heads;
    uint32_t delta_value_heads;
    uint32_t delta_key_dim;
    uint32_t delta_value_dim;
};

/* One way of rotating queries and keys. */
struct rsr_rope {
    const float *inv_freq; /* [rotary_dim / 2] */
    float scale;           /* factor of cosines and sines (YaRN's attention factor), or 1 */
};

/* One way of rotating the input of linear layers whose weights are stored rotated: H (signs * x),
 * block by block, where H is the normalised Walsh-Hadamard matrix in natural order. H is its own
 * inverse, so the inverse is signs * (H x). */
struct rsr_rotation {
    const float *signs; /* [cols] 1 or -1; NULL: all are 1 */
    uint32_t cols;
    uint32_t block; /* a power of two, at most 65536, that divides cols */
};

/* A matrix of bfloat16 without loss in 12 bits a weight, as struct rsr_matrix_data names it besides
 * the types of tensors. A weight's low byte is stored as it is. Its high byte (sign and 7 bits of
 * the exponent) is one of the 16 high bytes that are most frequent in its row, named by 4 bits, or
 * an exception in a list. At `data`, aligned to 64 bytes and without gaps:
 *     uint32 [16]                    the number of exceptions, then zeros
 *     uint32 [rows]                  the number of exceptions in this row and in those before it
 *     uint32 [n_exceptions]          256 times the column, plus the high byte; columns of a row
 *                                    ascend
 *     uint8 [rows][16]               high bytes of a row
 *     uint8 [..]                     zeros to the next multiple of 64
 *     uint8 [rows][n][96]            n = ceil(cols / 64) blocks of 64 weights: first [n][64] low
 *                                    bytes, then [n][32] codes
 * Weight w of a block is 16 j + 4 k + i with j, k, i below 4. Its low byte is byte b = 16 k + 4 j +
 * i; its code is in bits 0-3 of byte b if b < 32, else in bits 4-7 of byte b - 32. Weights past the
 * last are 0 in both. So one look-up and two levels of interleaving widen a block to float32 in
 * order, with registers of any width (rsr_packed.h). */
#define RSR_DTYPE_BF16_PACKED 64u
#define RSR_PACKED_BLOCK 64u /* weights */
#define RSR_PACKED_HEADER_BYTES 64u
#define RSR_PACKED_HIGHS 16u /* high bytes of a row that need no exception */
#define RSR_PACKED_MOST_COLS 8192u

struct rsr_matrix_data { /* a dense matrix at its stored width: embedding, head, linear layer */
    const void *data;    /* row-major [rows][cols] */
    uint32_t dtype;      /* enum rsr_dtype: F32, BF16 or F16; of an embedding or a head also
                            RSR_DTYPE_BF16_PACKED */
    uint32_t rows;
    uint32_t cols;
    uint32_t role; /* of a linear layer: enum rsr_role */
};

/* A copy of the head in few bits with proven error bounds (runtime/src/sketch/sketch.h). It shows
 * for most rows that they are too small, so they need not be read. */
struct rsr_head_sketch {
    const void *blocks;  /* [ceil(head.rows / 64)] blocks of block_bytes; rows past the last are 0.
                            NULL: no sketch, and the other members mean nothing */
    const float *centre; /* [head.cols]: what was subtracted from every row */
    uint64_t block_bytes;
    uint64_t token_bytes; /* what a pick of the likeliest token usually reads of sketch and head, as
                             predicted. For reports alone */
    uint32_t n_planes;
    uint32_t reserved;
};

/* Everything that is not a ternary layer. All targets and GPUs of a module point to one. */
struct rsr_tensors {
    const struct rsr_norm *norms;
    const struct rsr_matrix_data *dense; /* linear layers that are not ternary */
    const struct rsr_delta *deltas;
    uint32_t n_norms;
    uint32_t n_dense;
    uint32_t n_deltas;
    uint32_t reserved;
    struct rsr_matrix_data embedding;
    struct rsr_matrix_data head;        /* data NULL: the head is a kernel, or an embedding model
                                           has none */
    struct rsr_head_sketch head_sketch; /* of head */
    const float *logit_spreads; /* [blocks with keys and values][n_kv_heads]: standard deviation of
                                   attention's logits over the keys of a query, as a calibration
                                   measured it; NULL: not known */
};

struct rsr_target {
    const char *name;      /* "avx512" */
    uint64_t cpu_features; /* all of these bits are required */
    uint32_t n_kernels;
    uint32_t n_steps;
    const struct rsr_kernel_desc *kernels;
    const struct rsr_step_table *steps;
    const struct rsr_tensors *tensors;
};

/* ---- GPUs -------------------------------------------------------------------------------------
 *
 * For a GPU a module has images, which a CUDA driver loads, and tables that say how to launch the
 * functions in them. All pointers are into the host's memory: an engine copies weights and tensors
 * to the device.
 */

enum rsr_gpu_image_kind {
    RSR_GPU_IMAGE_CUBIN, /* machine code: for GPUs of sm's major number, and no lower minor one */
    RSR_GPU_IMAGE_PTX, /* text that ends in NUL: the driver compiles it for sm and anything newer */
    RSR_GPU_IMAGE_KIND_COUNT
};

struct rsr_gpu_image {
    const void *bytes;
    uint64_t size_bytes; /* of a text: with its NUL */
    uint32_t kind;       /* enum rsr_gpu_image_kind */
    uint32_t sm;         /* compute capability without its dot: 90 */
};

/* Parameters that are structs. They have addresses of the device; ld are elements, or bytes of
 * activation rows. Functions take them by value. */

/* ACT_MUL to h (x is the gate), NORM to norm_y, ADD to `sum`, NORM to last_y and QUANT to q, each
 * of what the one before wrote: ACT_MUL if `up` is not 0, a norm if its weight is not 0, ADD and
 * QUANT if `sum` and q are not. */
struct rsr_gpu_chain {
    uint64_t x, ldx, up, ldu, h, ldh;
    uint64_t norm_weight, norm_y, ld_norm;
    uint64_t sum, ld_sum;
    uint64_t last_weight, last_y, ld_last;
    uint64_t q, ldq;
    uint64_t failed, not_finite; /* as NORM, CHECK and QUANTIZE have them */
    float norm_eps, last_eps;
    uint32_t norm_op, last_op, q_op; /* numbers of operations that fail */
    uint32_t activation;             /* enum rsr_activation */
    uint32_t cols;
    uint32_t reserved;
};

/* ROPE_APPEND: norms (weights of 0: none) and rotates queries in place, and keys, which are stored
 * with the values as APPEND does; k stays. */
struct rsr_gpu_heads {
    uint64_t q, ldq, k, ldk, v, ldv;
    uint64_t q_weight, k_weight;
    uint64_t table, ldt;
    uint64_t pages, page_table, positions, page_bytes, head_bytes, values_at; /* as APPEND's */
    uint64_t failed;
    float q_eps, k_eps;
    uint32_t max_pages, row_bytes, row_floats, type;
    uint32_t n_heads, n_kv_heads, head_dim, rotary_dim;
    uint32_t op;
    uint32_t reserved;
};

/* What the blocks of a launch do that find all others done: nothing, the chain on every row, or the
 * heads. */
enum rsr_gpu_tail { RSR_GPU_NO_TAIL, RSR_GPU_CHAIN_TAIL, RSR_GPU_HEADS_TAIL };

/* LINEAR of several layers with one input: `end` is the end of a member's blocks in the grid, and
 * all blocks in members that there are not. A grid with a tail has one tile of tokens. A chain
 * begins when all rows are done; a head when all rows of it are: then the members are queries, keys
 * and values. Counters are 0 before a launch and after it: one for a chain, n_heads + 2 n_kv_heads
 * for heads. */
#define RSR_GPU_MEMBERS 3u
struct rsr_gpu_products {
    uint64_t x, ldx;
    struct rsr_gpu_member {
        uint64_t codes, scale, y, ldy;
        uint32_t rows, end;
    } members[RSR_GPU_MEMBERS];
    uint64_t counters;
    uint32_t n_tokens, tail; /* enum rsr_gpu_tail */
    struct rsr_gpu_chain chain;
    struct rsr_gpu_heads heads;
};

/* The parameters of a function. The order is ABI. */
enum rsr_gpu_call {
    /* (const float *x, size_t ldx, void *y, size_t ldy, unsigned cols, unsigned *not_finite)
     * QUANT, a block for each token. Rows of x are aligned to 16 bytes and ldx elements apart;
     * activation rows y are ldy bytes apart. *not_finite becomes 1 if x has an infinity or a NaN;
     * such a row is zeros. */
    RSR_GPU_CALL_QUANTIZE,
    /* (const void *x, size_t ldx, const void *codes, const float *scale, void *y, size_t ldy,
     *  unsigned n_tokens)
     * LINEAR over activation rows. x is ldx bytes, y ldy elements apart. */
    RSR_GPU_CALL_LINEAR,
    /* (struct rsr_gpu_products)
     * A grid of all members' blocks x tiles of tokens. */
    RSR_GPU_CALL_PRODUCTS,
    /* The operations between the layers, each with the bits of the host's. Their rows of floats are
     * ld elements apart. `failed` has a number for each token: a function that meets infinity or
     * NaN in a token's row makes it `op`, if it is larger. */
    /* (const unsigned *tokens, const char *matrix, unsigned dtype, unsigned cols, float scale,
     *  float *y, size_t ldy)
     * EMBED, a block for each token: y is the token's row, times scale. */
    RSR_GPU_CALL_EMBED,
    /* (const float *x, size_t ldx, const float *weight, float eps, float *y, size_t ldy,
     *  unsigned n_heads, unsigned cols, unsigned *failed, unsigned op)
     * NORM, a block for each token and head: n_heads times cols floats in a row; y may be x. */
    RSR_GPU_CALL_NORM,
    /* (const float *x, size_t ldx, unsigned cols, unsigned *failed, unsigned op)
     * What QUANT reports, a block for each token. */
    RSR_GPU_CALL_CHECK,
    /* (const float *x, size_t ldx, float *y, size_t ldy, unsigned cols)
     * ADD, a block for each token. */
    RSR_GPU_CALL_ADD,
    /* (const float *gate, size_t ldg, const float *up, size_t ldu, float *y, size_t ldy,
     *  unsigned cols, unsigned activation)
     * ACT_MUL, a block for each token. */
    RSR_GPU_CALL_ACT_MUL,
    /* (float *x, size_t ldx, const float *table, size_t ldt, unsigned n_heads, unsigned head_dim,
     *  unsigned rotary_dim)
     * Rotates the heads of a row in place by the token's row of the table: cosines, then sines. A
     * block for each token. */
    RSR_GPU_CALL_ROPE,
    /* (const float *x, size_t ldx, const char *matrix, unsigned dtype, unsigned rows,
     *  unsigned cols, float *y, size_t ldy)
     * DENSE and HEAD, a block for each token and RSR_GPU_DENSE_ROWS rows, the last ones fewer. */
    RSR_GPU_CALL_DENSE,
    /* (const float *k, size_t ldk, const float *v, size_t ldv, char *pages, const unsigned *table,
     *  const unsigned *positions, size_t page_bytes, size_t head_bytes, size_t values_at,
     *  unsigned max_pages, unsigned row_bytes, unsigned row_floats, unsigned type,
     *  unsigned n_heads, unsigned head_dim)
     * Stores keys and values as enum rsr_kv_type `type`, a block for each token and KV head. The
     * table has the numbers of max_pages pages for each token. A page's key in slot j of head h
     * lies at page * page_bytes + h * head_bytes + j * row_bytes, its value values_at further. */
    RSR_GPU_CALL_APPEND,
    /* (const float *q, size_t ldq, const char *pages, const unsigned *table,
     *  const unsigned *positions, size_t page_bytes, size_t head_bytes, size_t values_at,
     *  unsigned max_pages, unsigned row_bytes, unsigned row_floats, unsigned type, float *out,
     *  size_t ldo, unsigned n_heads, unsigned group, unsigned head_dim, unsigned window,
     *  float scale)
     * ATTENTION, a block for each token and head; heads of at most RSR_GPU_MAX_HEAD_DIM. */
    RSR_GPU_CALL_ATTEND,
    /* (unsigned *words, size_t n_words, unsigned long long seed, unsigned pairs, unsigned keep,
     *  unsigned set)
     * The weights of a hollow module: words that depend on their number and the seed alone. Of each
     * pair of bits whose lower one `pairs` has, 3 becomes 2, so that codes are valid; then the bits
     * of `keep` stay, and those of `set` are set. A block for each RSR_GPU_FILL_WORDS words, the
     * last one fewer. */
    RSR_GPU_CALL_FILL,
    /* Several operations in one, each with the bits of the calls above. */
    /* (struct rsr_gpu_heads)
     * A block for each token and each of its n_heads + n_kv_heads heads. */
    RSR_GPU_CALL_HEADS,
    /* (const float *parts, const float *stats, const unsigned *positions, unsigned max_pages,
     *  unsigned n_heads, unsigned head_dim, unsigned window, float *out, size_t ldo)
     * ATTENTION's second half, after SPLIT: merges a head's pages in their order. A block for each
     * token and head. */
    RSR_GPU_CALL_MERGE,
    /* (struct rsr_gpu_chain)
     * A block for each token. Rows that are quantised are aligned as QUANTIZE wants them. */
    RSR_GPU_CALL_ROWS,
    /* (const float *q, size_t ldq, const char *pages, const unsigned *table,
     *  const unsigned *positions, size_t page_bytes, size_t head_bytes, size_t values_at,
     *  unsigned max_pages, unsigned row_bytes, unsigned row_floats, unsigned type, float *parts,
     *  float *stats, unsigned n_heads, unsigned group, unsigned head_dim, unsigned window,
     *  float scale, unsigned n_splits, float *out, size_t ldo, unsigned *counters,
     *  unsigned n_tokens, struct rsr_gpu_chain)
     * ATTENTION's first half: for the p-th page that a token sees, a head's maximum and sum go to
     * stats[2 i], head_dim weighted values to parts[i head_dim], i = (token n_heads + head)
     * max_pages + p. A block for each token, KV head and one of n_splits, which has every
     * n_splits-th page. With counters (0 before and after; n_tokens times n_kv_heads, and one)
     * the last blocks of a KV head do what MERGE does, and the last one of all does the chain, if
     * it has columns. */
    RSR_GPU_CALL_SPLIT,
    /* (const float *logits, size_t ld, unsigned rows, const struct rsr_gpu_draw *draws,
     *  struct rsr_gpu_candidate *found)
     * What a pick without filters chooses among RSR_GPU_BEST_ROWS logits, the last ones fewer: a
     * block for each token and so many rows. */
    RSR_GPU_CALL_BEST,
    /* (const struct rsr_gpu_candidate *found, unsigned n, struct rsr_gpu_candidate *first)
     * The first of n candidates, a block for each token. */
    RSR_GPU_CALL_FIRST,
    /* (const char *blocks, size_t block_bytes, unsigned norms_at, unsigned scales_at,
     *  unsigned residuals_at, unsigned codes_at, unsigned n_slices, unsigned rows, unsigned cols,
     *  const struct rsr_gpu_query *query, float *bounds, struct rsr_gpu_candidate *found)
     * By the first plane of the head's sketch: bounds of all logits, and in each block of 64 rows
     * the candidate with the largest bound. A block for each block of the sketch. */
    RSR_GPU_CALL_BOUND,
    /* (const struct rsr_gpu_candidate *found, unsigned n, const float *x, const char *matrix,
     *  unsigned dtype, unsigned cols, float *least)
     * The logit of the first candidate's row, -infinity if it is not finite. One block. */
    RSR_GPU_CALL_CERTIFY,
    /* (const float *bounds, const float *least, const float *x, const char *matrix,
     *  unsigned dtype, unsigned rows, unsigned cols, struct rsr_gpu_candidate *found)
     * The first candidate of 64 rows, of which those are read whose bounds reach `least`. A block
     * for so many rows, the last ones fewer. */
    RSR_GPU_CALL_SURVIVE,
    RSR_GPU_CALL_COUNT
};

/* Calls from this one on are operations between the layers. */
#define RSR_GPU_FIRST_OPERATION RSR_GPU_CALL_EMBED
#define RSR_GPU_OPERATIONS ((uint32_t)RSR_GPU_CALL_COUNT - (uint32_t)RSR_GPU_FIRST_OPERATION)
#define RSR_GPU_MAX_HEAD_DIM 256u
#define RSR_GPU_FILL_WORDS 65536u
#define RSR_GPU_DENSE_ROWS 32u
#define RSR_GPU_BEST_ROWS 1024u

/* How a token is picked. */
struct rsr_gpu_draw {
    uint64_t key;       /* of the noise */
    double temperature; /* 0: the largest logit */
};

/* A prepared query of the head's sketch (runtime/src/sketch/sketch.h): this, a double of slack for
 * each slice, one more if their number is odd, and the slices. */
struct rsr_gpu_query {
    double centre, centre_error;
    double norm; /* infinity: nothing is bounded, and all rows are read */
    double residual_slack;
    int32_t exponent;
    uint32_t unused[3];
};
struct rsr_gpu_slice {
    int8_t codes[32]; /* what meets low bits, then high bits */
    float scale, norm;
    int32_t centre; /* -8 times the sum of the codes */
    uint32_t unused;
};

/* A row that a pick may choose. The first one has the largest value, and the lowest row of those.
 * A logit that fails the pick, NaN or infinity, has the value infinity. */
struct rsr_gpu_candidate {
    double value;
    uint32_t row; /* UINT32_MAX, with -infinity: none, because all logits are -infinity */
    float logit;
};

/* A function of the images, and its launch. LINEAR: blocks x (n_tokens / token_tile, rounded up)
 * blocks; a CUDA grid has at most 65,535 blocks in its second dimension. The other calls have grids
 * of one dimension. */
struct rsr_gpu_entry {
    const char *symbol; /* in every image of its kind */
    uint32_t call;      /* enum rsr_gpu_call */
    uint32_t min_tokens;
    uint32_t max_tokens;
    uint32_t blocks;       /* 0: as many as the call says */
    uint32_t threads;      /* of a block */
    uint32_t shared_bytes; /* of a block, dynamic: besides what the function declares */
    uint32_t token_tile;   /* tokens that share one reading of the weights */
    uint32_t reserved;
};

/* Functions of the operations' images that multiply for several layers: RSR_GPU_CALL_PRODUCTS, with
 * 0 blocks. Together they serve 1..UINT32_MAX tokens, each once. A launch takes layers of one
 * `layout`, and the functions of any of them. */
struct rsr_gpu_group {
    const struct rsr_gpu_entry *entries;
    uint32_t n_entries;
    uint32_t block_rows; /* rows of a member that a block computes */
    uint32_t layout;
    uint32_t reserved;
};

/* A ternary layer. */
struct rsr_gpu_kernel {
    const char *name; /* rsr_l<block>_<role>_<variant>_<gpu> */
    const char *variant;
    const char *reason; /* the planner's sentence */
    struct rsr_weights weights;
    uint64_t codes_bytes;                /* 0: no codes, the weights are instructions */
    uint64_t index_bytes;                /* 0: no index */
    const struct rsr_gpu_entry *entries; /* by number of tokens: together they serve
                                            1..UINT32_MAX, each once */
    uint32_t n_entries;
    uint32_t rows;
    uint32_t cols;
    uint32_t epilogue; /* enum rsr_epilogue */
    uint32_t block;    /* transformer block, or RSR_NO_BLOCK */
    uint32_t role;     /* enum rsr_role */
    uint32_t group;    /* 1 + its number among the target's groups; 0: none */
    uint32_t reserved;
};

struct rsr_gpu_target {
    const char *name; /* "sm_90" */
    uint32_t sm;
    uint32_t n_images;
    const struct rsr_gpu_image *images; /* preferred ones first */
    uint32_t n_kernels;
    uint32_t n_steps;
    const struct rsr_gpu_kernel *kernels;
    const struct rsr_step_table *steps;   /* LINEAR and HEAD name these kernels */
    const struct rsr_gpu_entry *quantize; /* QUANT of any number of tokens; NULL: steps have none */
    const struct rsr_tensors *tensors;
    const struct rsr_gpu_image *operation_images; /* with the functions of `operations` */
    uint32_t n_operation_images;
    uint32_t n_operations;                  /* RSR_GPU_OPERATIONS */
    const struct rsr_gpu_entry *operations; /* in the order of enum rsr_gpu_call */
    uint32_t n_groups;
    uint32_t reserved;
    const struct rsr_gpu_group *groups;
};

/* ---- Tokenizer ---------------------------------------------------------------------------------
 *
 * One section, little-endian, which the compiler makes from tokenizer.json. All `*_at` fields are
 * byte offsets from the header, multiples of 8. Texts are UTF-8, except tokens with RSR_BPE_BYTES:
 * these are raw bytes, already mapped back from the byte-level alphabet.
 */
#define RSR_TOKENIZER_MAGIC 0x324b5452u /* "RTK2" */
#define RSR_NO_TOKEN UINT32_MAX

/* The units from which pairs merge. */
enum rsr_bpe_alphabet {
    RSR_BPE_BYTES,     /* GPT-2's: each byte of a piece is a token */
    RSR_BPE_CHARACTERS /* SentencePiece's: each character is a token; one that is not is its bytes
                          (byte_token), or unk_token */
};

enum rsr_token_flag {
    RSR_TOKEN_ADDED = 1,   /* matched in the text before pre-tokenisation */
    RSR_TOKEN_SPECIAL = 2, /* skipped when decoding unless asked for */
    RSR_TOKEN_LSTRIP = 4,  /* swallows white space to its left */
    RSR_TOKEN_RSTRIP = 8,
    RSR_TOKEN_SINGLE_WORD = 16,
    RSR_TOKEN_NORMALIZED = 32,    /* matched in normalised text */
    RSR_TOKEN_UNUSED = 64,        /* an id with no text */
    RSR_TOKEN_IN_VOCABULARY = 128 /* ADDED: the model's vocabulary has this text, too */
};

/* Every `pattern` in a text is replaced by `content`, from left to right; both are UTF-8. */
struct rsr_replacement {
    uint64_t pattern_at;
    uint64_t content_at;
    uint32_t pattern_bytes;
    uint32_t content_bytes;
};

enum rsr_normalizer_kind {
    RSR_NORMALIZER_NFC,
    RSR_NORMALIZER_PREPEND, /* puts `content` in front of a text that is not empty */
    RSR_NORMALIZER_REPLACE
};

struct rsr_normalizer {
    uint32_t kind; /* enum rsr_normalizer_kind */
    uint32_t reserved;
    struct rsr_replacement text;
};

enum rsr_pretokenizer_kind {
    RSR_PRETOKENIZER_SPLIT,      /* regex; isolated pieces */
    RSR_PRETOKENIZER_BYTE_LEVEL, /* maps bytes; optional prefix " "; optional built-in regex */
    RSR_PRETOKENIZER_METASPACE   /* " " becomes the pattern, a literal, which is the prefix, too */
};

/* When a piece that does not begin with the prefix gets it. */
enum rsr_prefix {
    RSR_PREFIX_NEVER,
    RSR_PREFIX_ALWAYS,
    RSR_PREFIX_FIRST /* METASPACE: if it begins the whole text */
};

struct rsr_pretokenizer {
    uint32_t kind;          /* enum rsr_pretokenizer_kind */
    uint32_t behavior;      /* SPLIT: 0 isolated, 1 removed, 2 merged with previous, 3 merged with
                               next, 4 contiguous */
    uint32_t invert;        /* SPLIT: pieces are what lies between the matches */
    uint32_t prefix;        /* BYTE_LEVEL, METASPACE: enum rsr_prefix */
    uint32_t use_regex;     /* BYTE_LEVEL: the GPT-2 pattern splits first */
    uint32_t pattern_bytes; /* SPLIT, METASPACE */
    uint64_t pattern_at;
};

struct rsr_merge { /* sorted by (left, right) */
    uint32_t left;
    uint32_t right;
    uint32_t result;
    uint32_t rank;
};

enum rsr_decoder_kind {
    RSR_DECODER_BYTE_LEVEL, /* tokens are bytes of the text */
    RSR_DECODER_TEXT        /* tokens are text, changed as struct rsr_decoder says */
};

/* Only RSR_DECODER_TEXT uses the members after `kind`. */
struct rsr_decoder {
    uint32_t kind;          /* enum rsr_decoder_kind */
    uint32_t byte_fallback; /* a run of tokens <0xNN> gives its bytes; if these are no UTF-8, each
                               token gives one U+FFFD */
    uint32_t drops_first;   /* in the first token `pattern` is replaced by "" instead */
    uint32_t strip_code;    /* code point that is removed from the front of the whole text */
    uint32_t strip_count;   /* how many times at most */
    uint32_t reserved;
    struct rsr_replacement replace; /* applied to every token first; pattern_bytes 0: none */
};

struct rsr_tokenizer_header {
    uint32_t magic;
    uint32_t n_tokens;
    uint64_t size_bytes; /* of the whole section */
    uint32_t n_merges;
    uint32_t n_normalizers;
    uint32_t n_pretokenizers;
    uint32_t alphabet;      /* enum rsr_bpe_alphabet; BYTES: exactly one pre-tokenizer is
                               BYTE_LEVEL, and those after it see the byte-level alphabet;
                               CHARACTERS: none is */
    uint32_t ignore_merges; /* a piece that is in the vocabulary is one token, without merges */
    uint32_t unk_token;     /* CHARACTERS; RSR_NO_TOKEN: unknown characters are dropped */
    uint32_t fuse_unk;      /* consecutive unknown characters become one unk_token */
    uint32_t n_prefix;      /* tokens the post-processor puts in front (BOS) */
    uint32_t n_suffix;
    uint32_t reserved;
    uint64_t text_begin_at;    /* u64[n_tokens + 1]: offsets into text_at */
    uint64_t text_at;          /* bytes */
    uint64_t flags_at;         /* u8[n_tokens] */
    uint64_t merges_at;        /* struct rsr_merge[n_merges] */
    uint64_t normalizers_at;   /* struct rsr_normalizer[n_normalizers] */
    uint64_t pretokenizers_at; /* struct rsr_pretokenizer[n_pretokenizers] */
    uint64_t prefix_at;        /* u32[n_prefix] */
    uint64_t suffix_at;        /* u32[n_suffix] */
    struct rsr_decoder decoder;
    uint32_t byte_token[256]; /* token of each single byte, or RSR_NO_TOKEN */
};

/* ---- The module ------------------------------------------------------------------------------ */

/* The sampling that the checkpoint recommends; members as in rsr_sampling. */
struct rsr_sampling_advice {
    float temperature;    /* 0: greedy */
    uint32_t top_k;       /* 0: off */
    float top_p;          /* 1: off */
    float min_p;          /* 0: off */
    float repeat_penalty; /* 1: off; its window is the whole sequence */
};

struct rsr_api; /* rsr_api.h: the runtime's function table */

struct rsr_module {
    uint32_t abi_version;      /* of the tables */
    uint32_t size_bytes;       /* sizeof(struct rsr_module) */
    const struct rsr_api *api; /* librsr reads nothing past this member */
    uint32_t size_kernel_desc; /* sizeof of the tables' elements, checked by the loader */
    uint32_t size_step_op;
    const char *model_name;   /* from the checkpoint's folder; untrusted text */
    const char *architecture; /* "bitnet", "llama" */
    const char *compiler_version;
    uint8_t model_hash[16]; /* of the checkpoint's tensors and configuration */
    struct rsr_hyper hyper;
    const struct rsr_rope *ropes;
    uint32_t n_ropes;
    uint32_t n_rotations;
    const struct rsr_rotation *rotations;
    const struct rsr_target *targets; /* of one architecture; the loader takes the best */
    const struct rsr_gpu_target *gpus;
    uint32_t n_targets; /* 0: the module is for GPUs alone */
    uint32_t n_gpus;
    uint32_t size_gpu_kernel; /* sizeof, as size_kernel_desc */
    uint32_t n_stop_tokens;
    const uint32_t *stop_tokens;
    uint32_t bos_token; /* RSR_NO_TOKEN if there is none */
    uint32_t eos_token;
    const struct rsr_tokenizer_header *tokenizer; /* NULL if the checkpoint has none */
    const char *chat_template;                    /* Jinja source, NULL if there is none */
    const char *chat_problem; /* a sentence that says why the template renders no conversation;
                                 NULL: it does */
    const char *bos_text;     /* for the template; "" if there is none */
    const char *eos_text;
    const struct rsr_sampling_advice *sampling; /* NULL: the checkpoint does not say */
    uint64_t hollow_seed; /* 0: all is there. Else the module is for GPUs alone and measuring alone:
                             codes and matrices of floats have addresses and sizes, but no bytes; a
                             device fills them by RSR_GPU_CALL_FILL */
    uint32_t shard;       /* the part of a module that its rank of n_shards reads: the other ranks'
                             rows are zeros, which take no space in the file */
    uint32_t n_shards;    /* 0: the module is whole */
};

/* ---- Matrices
 * ------------------------------------------------------------------------------------
 *
 * A library of matrices without a model. Each of its functions is one call of
 * rsr_multiply_matrix(), which returns 0 or the reason of a failure. The generated header states
 * the same numbers.
 */
enum rsr_matrix_status {
    RSR_MATRIX_OK,
    RSR_MATRIX_NO_MEMORY,
    RSR_MATRIX_NO_CPU,
    RSR_MATRIX_BAD_CALL
};

struct rsr_matrix_library {
    const struct rsr_target *targets; /* they have only kernels: entry e has kernel 2e for few
                                         vectors and 2e + 1 for many */
    uint32_t n_targets;
    uint32_t max_few;                 /* largest number of vectors that are few */
    const struct rsr_target **chosen; /* set by the first call; NULL before */
};

struct rsr_matrix_call {
    const void *x; /* n vectors of int8_t or float, ldx ELEMENTS apart */
    size_t ldx;
    void *y; /* n vectors of int32_t or float, ldy ELEMENTS apart */
    size_t ldy;
    uint32_t n;
    uint32_t part, n_parts; /* this call's part of the rows */
};

int rsr_multiply_matrix(const struct rsr_matrix_library *library, uint32_t entry,
                        const struct rsr_matrix_call *call);

/* What librsr tells the module that it loads. */
struct rsr_host {
    uint32_t size_bytes;
    uint32_t abi_version; /* of the librsr that loads */
    const char *path;     /* of the module, for messages; may be NULL */
};

/* The one exported symbol. max_abi is the ABI version of librsr. Returns NULL if this librsr is too
 * old for the module. No librsr is too old yet, because librsr never calls rows that it does not
 * know. */
typedef const struct rsr_module *rsr_module_query_fn(uint32_t max_abi, const struct rsr_host *host);

#ifdef __cplusplus
}
#endif
#endif
