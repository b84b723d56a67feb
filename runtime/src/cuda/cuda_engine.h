/* cuda_engine.h - the device of an engine on a GPU: the model on it, and the program that evaluates
 * chunks. Shared by the files of cuda/.
 *
 * Memory is taken when the engine is created, and none later. The host knows which pages a sequence
 * has; a chunk's page numbers, tokens and positions are copied to the device before it runs.
 */
#ifndef RSR_CUDA_ENGINE_H
#define RSR_CUDA_ENGINE_H

#include "cuda_device.h"
#include "engine/engine.h"
#include "kv/kv_rows.h"
#include "sketch/sketch.h"

/* What memory is for, in the order of struct rsr_cuda_engine.parts. */
enum rsr_cuda_use {
    RSR_CUDA_WEIGHTS,
    RSR_CUDA_PAGES,  /* keys and values: page by page, in a page layer by layer, in a layer head by
                        head as in kv_rows.h */
    RSR_CUDA_ROWS,   /* the buffers of a step */
    RSR_CUDA_LOGITS, /* of RSR_CUDA_LOGIT_ROWS tokens, then candidates of picks from them, then the
                        sketch's bounds of a token's logits, and a float */
    RSR_CUDA_CHUNK,  /* tokens, positions and page numbers: struct rsr_cuda_chunk */
    RSR_CUDA_PARTIALS, /* what attention has of single pages, of RSR_CUDA_SPLIT_TOKENS tokens:
                          rsr_cuda_partial_floats(), then two floats for each page and head. The
                          plain program has none */
    RSR_CUDA_USES
};

/* Tokens whose logits are computed together; those of more follow. */
#define RSR_CUDA_LOGIT_ROWS 32u
/* The fused program shares out attention by pages for at most so many tokens: more have a block for
 * each of their heads, which keep a GPU busy, and would need memory for all their pages. */
#define RSR_CUDA_SPLIT_TOKENS 8u
/* It makes about so many blocks of them: as many as the largest GPUs have multiprocessors. */
#define RSR_CUDA_SPLIT_BLOCKS 128u
/* A chain on rows follows products in their last block for at most so many tokens, because that
 * block does their rows one after another: a launch of its own does them beside each other. Heads
 * are shared out to many blocks. */
#define RSR_CUDA_CHAIN_TOKENS 2u
/* Blocks of a grid's second dimension; a block there has at least one token. */
#define RSR_CUDA_MAX_ROWS 65535u
#define RSR_CUDA_MAX_BLOCKS ((1u << 31) - 1)

/* A ternary layer on the device. */
struct rsr_cuda_layer {
    rsr_cuda_address codes, scale;
    struct rsr_cuda_kernel *functions; /* [n_entries] of rsr_cuda_engine.functions */
};

/* Where a chunk's numbers lie in RSR_CUDA_CHUNK. */
struct rsr_cuda_chunk {
    rsr_cuda_address tokens, positions; /* u32[max_batch] */
    rsr_cuda_address failed;            /* u32[max_batch] */
    rsr_cuda_address flag;              /* u32, not read: QUANT notes failures of the whole chunk */
    rsr_cuda_address table;             /* u32[max_batch][max_pages] */
    rsr_cuda_address draws;             /* struct rsr_gpu_draw[RSR_MAX_PICKS] */
    rsr_cuda_address firsts;            /* struct rsr_gpu_candidate[RSR_MAX_PICKS]: answers */
    rsr_cuda_address counters;          /* of PRODUCTS and SPLIT; 0 between launches */
    rsr_cuda_address queries;           /* of the sketch: [RSR_CUDA_QUERIES] slots */
    rsr_cuda_address rotations;         /* of each ROPE_TABLE of the step, rotation_bytes apart */
    uint64_t rotation_bytes;
};

/* Results that were asked for and are not yet in their caller's memory. */
#define RSR_CUDA_FETCHES 64u
struct rsr_cuda_fetched {
    void *to;
    const char *staged;
    uint64_t n_bytes;
};

/* The head's sketch on the device: cuda_sketch.c. */
#define RSR_CUDA_QUERIES 8u /* that are prepared after one wait */
struct rsr_cuda_sketch {
    rsr_cuda_address blocks; /* 0: none */
    rsr_cuda_address bounds; /* float[64 n_blocks] */
    rsr_cuda_address least;  /* float */
    struct rsr_sketch_shape shape;
    uint32_t n_blocks;
    uint64_t slot_bytes; /* a query, and on the host the row that it is made of */
    void *memory;        /* host: rsr_sketch_query_bytes() */
};

/* Pinned memory of the host: cuda_host.c. */
struct rsr_cuda_host {
    char *block; /* NULL: not taken */
    char *staging;
    char *probed; /* [max_batch] rows of the widest buffer; NULL: there is no probe */
    uint64_t n_staging_bytes, n_used;
    struct rsr_cuda_fetched fetched[RSR_CUDA_FETCHES];
    uint32_t n_fetched;
};

struct rsr_cuda_engine {
    struct rsr_cuda_device device;
    struct rsr_engine *engine; /* whose device this is */
    const struct rsr_gpu_target *gpu;
    void *modules[2]; /* the layers' kernels, the operations */
    struct rsr_cuda_kernel quantize;
    struct rsr_cuda_kernel operations[RSR_GPU_OPERATIONS];
    struct rsr_cuda_layer *layers;     /* [gpu->n_kernels] */
    struct rsr_cuda_kernel *functions; /* of all layers, then of all groups */
    struct rsr_cuda_kernel **groups;   /* [gpu->n_groups], each [n_entries] of functions */
    rsr_cuda_address *norms, *dense;   /* weights of tensors->norms and dense */
    rsr_cuda_address embedding, head;
    struct rsr_cuda_part parts[RSR_CUDA_USES];
    struct rsr_kv_format format;
    uint64_t page_bytes;
    uint32_t max_pages; /* of a sequence */
    struct rsr_cuda_chunk chunk;
    struct rsr_cuda_host host;
    bool fuses;    /* the fused program */
    bool overlaps; /* dependent launches are asked for */
    bool runs_graphs;
    void **graphs;        /* [max_batch] of the step before its head, by number of tokens - 1; NULL:
                             not captured yet. NULL itself: the program runs none */
    uint64_t *op_ns;      /* host: of the chunk's operations, while they are profiled */
    bool timed;           /* they are of a chunk that is not yet in the profile */
    float *picked_logits; /* host: [RSR_MAX_PICKS][vocab], mapped and not yet in memory: of chunks
                             with more picks than the staging has room for */
    uint64_t picked_bytes;
    float *picks_at; /* of the chunk: there, or in the staging */
    /* Picks of the chunk that the device makes. */
    rsr_cuda_address found; /* candidates of blocks: in RSR_CUDA_LOGITS */
    struct rsr_cuda_sketch sketch;
    uint32_t n_drawn, n_sketched; /* all of them; the last ones, by the sketch */
    uint32_t drawn[RSR_MAX_PICKS];
    struct rsr_head_row picked_rows[RSR_MAX_PICKS];
};

static inline struct rsr_cuda_engine *rsr_cuda_engine_of(const struct rsr_engine *engine) {
    return engine->device;
}

/* cuda_image.c
 * Chooses the best of the module's GPUs that the device can run, loads its images and finds all
 * functions. RSR_ERR_DEVICE: there is none; the sentence names what the module has. */
RSR_NODISCARD rsr_status rsr_cuda_choose_gpu(struct rsr_cuda_engine *e, rsr_error *err);
RSR_NODISCARD rsr_status rsr_cuda_load_gpu(struct rsr_cuda_engine *e, rsr_error *err);

/* cuda_limits.c
 * Refuses, by name and size, what the programs cannot do. After rsr_cuda_choose_gpu. */
RSR_NODISCARD rsr_status rsr_cuda_check_limits(const struct rsr_cuda_engine *e,
                                               const rsr_engine_options *options, rsr_error *err);

/* cuda_memory.c
 * Takes all memory, and copies the weights. `shrinks`: fewer pages will do. */
RSR_NODISCARD rsr_status rsr_cuda_take_memory(struct rsr_cuda_engine *e, bool shrinks,
                                              rsr_error *err);
void rsr_cuda_free_memory(struct rsr_cuda_engine *e);
rsr_cuda_address rsr_cuda_page_at(const struct rsr_cuda_engine *e, uint32_t page, uint32_t layer);
/* Weighted values of RSR_CUDA_PARTIALS. */
uint64_t rsr_cuda_partial_floats(const struct rsr_cuda_engine *e);
/* Blocks that share a KV head's pages of a token, in a chunk of n. Not of lengths, because graphs
 * are captured once. */
uint32_t rsr_cuda_splits(const struct rsr_cuda_engine *e, uint32_t n);

/* cuda_host.c
 * Takes the host's pinned memory, after the device's. */
RSR_NODISCARD rsr_status rsr_cuda_take_host(struct rsr_cuda_engine *e, rsr_error *err);
/* Where the host has a number of RSR_CUDA_CHUNK. */
void *rsr_cuda_host_of(const struct rsr_cuda_engine *e, rsr_cuda_address number);
/* Copies numbers of RSR_CUDA_CHUNK to the device. */
RSR_NODISCARD rsr_status rsr_cuda_send(struct rsr_cuda_engine *e, rsr_cuda_address numbers,
                                       uint64_t n_bytes, rsr_error *err);
/* Copies any memory to the device. rsr_cuda_deliver ends it, before anything is fetched. */
RSR_NODISCARD rsr_status rsr_cuda_send_weights(struct rsr_cuda_engine *e, rsr_cuda_address to,
                                               const void *from, uint64_t n_bytes, rsr_error *err);
/* Copies from the device to any memory, where results are after rsr_cuda_deliver. */
RSR_NODISCARD rsr_status rsr_cuda_fetch(struct rsr_cuda_engine *e, void *to, rsr_cuda_address from,
                                        uint64_t n_bytes, rsr_error *err);
/* Returns when all work is done and everything has been delivered. */
RSR_NODISCARD rsr_status rsr_cuda_deliver(struct rsr_cuda_engine *e, rsr_error *err);

/* cuda_program.c
 * A kernel for each operation of the chunk's step, or for several (cuda_fused.c). Up to the head,
 * they are launched as a graph, which is captured once for each number of tokens, because tokens,
 * positions and page numbers lie on the device; without graphs, with a probe, and while a profile
 * is wanted, one by one. Returns when all is done. */
RSR_NODISCARD rsr_status rsr_cuda_run_program(struct rsr_cuda_engine *e, rsr_error *err);
/* Whether the program has this operation. */
bool rsr_cuda_has_op(const struct rsr_step_op *op);

/* cuda_picks.c
 * Decides how each pick of the chunk is answered, before the program. Those from `first` on are
 * drawn from n rows of RSR_CUDA_LOGITS; then the answers are fetched. After the wait, end_picks
 * hands them out. */
RSR_NODISCARD rsr_status rsr_cuda_begin_picks(struct rsr_cuda_engine *e, rsr_error *err);
RSR_NODISCARD rsr_status rsr_cuda_draw(struct rsr_cuda_engine *e, uint32_t first, uint32_t n,
                                       rsr_error *err);
RSR_NODISCARD rsr_status rsr_cuda_fetch_picks(struct rsr_cuda_engine *e, rsr_error *err);
void rsr_cuda_end_picks(struct rsr_cuda_engine *e);

/* cuda_sketch.c
 * Sizes and the host's memory, before rsr_cuda_take_memory. A module without a sketch has zeros. */
RSR_NODISCARD rsr_status rsr_cuda_set_sketch(struct rsr_cuda_engine *e, rsr_error *err);
/* A prepared query in the form of the device. */
uint64_t rsr_cuda_query_bytes(const struct rsr_sketch_shape *shape);
void rsr_cuda_write_query(const struct rsr_sketch_shape *shape,
                          const struct rsr_sketch_query *query, struct rsr_gpu_query *to);
/* The largest logits of n tokens whose rows are in `buffer`, to `firsts`. Waits. */
RSR_NODISCARD rsr_status rsr_cuda_pick_by_sketch(struct rsr_cuda_engine *e, uint16_t buffer,
                                                 const uint32_t *tokens, uint32_t n,
                                                 rsr_cuda_address firsts, rsr_error *err);

/* cuda_head.c
 * HEAD and OUTPUT, operation `number` of the step. Results are on the host when the program
 * ends. */
RSR_NODISCARD rsr_status rsr_cuda_head(struct rsr_cuda_engine *e, uint32_t number, rsr_error *err);
RSR_NODISCARD rsr_status rsr_cuda_output(struct rsr_cuda_engine *e, uint32_t number,
                                         rsr_error *err);

/* cuda_profile.c
 * Adds the times of the chunk's operations, and the bytes that they read and write, to the rows. */
void rsr_cuda_add_times(const struct rsr_cuda_engine *e, rsr_profile_entry *rows);

/* ---- What the programs launch: cuda_launch.c ---- */

/* A buffer of the running step: rows of floats, or of activation rows. */
struct rsr_cuda_rows {
    rsr_cuda_address at;
    uint64_t row_bytes;
    uint32_t cols;
};
/* Blocks of so many rows; the last may have fewer. */
static inline uint64_t rsr_cuda_blocks(uint64_t rows, uint32_t rows_of_block) {
    return (rows + rows_of_block - 1) / rows_of_block;
}
struct rsr_cuda_rows rsr_cuda_buffer(const struct rsr_cuda_engine *e, uint16_t number);

RSR_NODISCARD rsr_status rsr_cuda_operation(struct rsr_cuda_engine *e, enum rsr_gpu_call call,
                                            uint64_t n_blocks, void **parameters, rsr_error *err);
/* The function of entries for n tokens. */
uint32_t rsr_cuda_entry_for(const struct rsr_gpu_entry *entries, uint32_t n);
/* Multiplies n rows of x, ldx bytes apart, with the weights of a layer. Rows of y are ldy floats
 * apart. */
RSR_NODISCARD rsr_status rsr_cuda_multiply(struct rsr_cuda_engine *e, uint32_t kernel,
                                           rsr_cuda_address x, uint64_t ldx, uint32_t n,
                                           rsr_cuda_address y, uint64_t ldy, rsr_error *err);
/* Multiplies by a function of the group, which serves the tokens and members of *products. */
RSR_NODISCARD rsr_status rsr_cuda_multiply_group(struct rsr_cuda_engine *e, uint32_t group,
                                                 struct rsr_gpu_products *products, rsr_error *err);
/* rsr_cuda_multiply with a dense matrix, whose weights are at `weights`; ldx in floats. */
RSR_NODISCARD rsr_status rsr_cuda_multiply_dense(struct rsr_cuda_engine *e,
                                                 const struct rsr_matrix_data *matrix,
                                                 rsr_cuda_address weights, rsr_cuda_address x,
                                                 uint64_t ldx, uint32_t n, rsr_cuda_address y,
                                                 uint64_t ldy, rsr_error *err);

#endif
