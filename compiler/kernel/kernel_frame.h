/* kernel_frame.h - the common part of all kernels: the range of the worker's tiles, the rows of a
 * token, the epilogue, and the maps of a reduced layer.
 *
 * A kernel works in units of `unit_rows` rows (a quad of `dot`, a block of k rows of `scatter`); a
 * tile is a whole number of units. Between begin and end, rows and columns are those of the lowered
 * matrix. If that is a reduced matrix, the frame adds gathering and expansion around the variant's
 * code (kernel_maps.h), and the variant's code does not depend on them.
 */
#ifndef RSRC_KERNEL_KERNEL_FRAME_H
#define RSRC_KERNEL_KERNEL_FRAME_H

#include "kernel/kernel_builder.h"
#include "kernel/kernel_maps.h"
#include "kernel/kernel.h"

struct rsrc_frame {
    struct rsrc_kb kb;
    const struct rsrc_lower_input *layer;
    enum rsr_input input;
    enum rsr_epilogue epilogue;
    bool row_scales;   /* one weight scale per row, else one per matrix */
    bool token_scales; /* int8 with groups: sums are floats that lack the token's scale */
    uint32_t unit_rows;
    uint16_t ldx, ldy, n_tokens;
    uint16_t zero, one; /* i64 constants */
    uint16_t unit_begin, unit_end;
    uint16_t weight_scale; /* f32, per matrix */
    uint32_t n_results;    /* makes register names unique */
    struct rsrc_frame_maps maps;
};

/* One token inside a kernel: byte offset of its activation row, element offset of its row of
 * results. */
struct rsrc_frame_token {
    enum rsr_kbuf x_buffer;
    uint16_t x_row, y_row;
    uint32_t x_first; /* bytes of the row before its first activation */
};

/* Sets rows, cols and tiles of the kernel and emits the prologue. The tile is the plan's, in whole
 * units. */
void rsrc_frame_begin(struct rsrc_frame *frame, struct rsrc_arena *arena,
                      const struct rsrc_lower_input *input, uint32_t unit_rows,
                      struct rsr_kernel *kernel);
/* Begins a frame without gathering: the variant finds the layer's own columns in the activations,
 * by rsrc_layer_column(), and kernel->cols are the layer's. */
void rsrc_frame_begin_all_columns(struct rsrc_frame *frame, struct rsrc_arena *arena,
                                  const struct rsrc_lower_input *input, uint32_t unit_rows,
                                  struct rsr_kernel *kernel);
/* Ends the kernel. Until then, the scratch memory and the index of out belong to the variant. The
 * maps' parts are added after them. */
void rsrc_frame_end(struct rsrc_frame *frame, struct rsr_lowered *out);
/* Translates column `col` of the lowered matrix to the layer's column. */
uint32_t rsrc_layer_column(const struct rsrc_lower_input *input, uint32_t col);

/* Loads the token whose number is in register `token` (i64); register names end with `suffix`. */
struct rsrc_frame_token rsrc_frame_token(struct rsrc_frame *frame, uint16_t token,
                                         const char *suffix);
/* The token after `previous`. */
struct rsrc_frame_token rsrc_frame_next_token(struct rsrc_frame *frame,
                                              const struct rsrc_frame_token *previous,
                                              const char *suffix);
/* The i32 sum of the token's int8 activations. */
uint16_t rsrc_frame_load_sum(struct rsrc_frame *frame, const struct rsrc_frame_token *token,
                             const char *suffix);

/* Turns sums of u x into sums of w x: ternary u = w + 1, signs u = (w + 1) / 2. x_sum is the result
 * of load_sum; RSR_NO_KREG if u = w. */
void rsrc_frame_correct(struct rsrc_frame *frame, enum rsr_alphabet alphabet, uint16_t sums,
                        uint32_t lanes, uint16_t x_sum, const char *suffix);

/* Says what becomes of sums: before the first result of a loop. */
void rsrc_frame_comment_results(struct rsrc_frame *frame);
/* Turns the sums `value` into results: unchanged (RAW, and if rows are expanded later), or scaled
 * to f32. The sums are exact i32, or f32 if the input is; they are of `lanes` rows from row unit *
 * unit_rows + row on. With scales of groups, the sums are f32 and have these scales already; those
 * of int8 activations are multiplied by the token's. */
uint16_t rsrc_frame_result(struct rsrc_frame *frame, uint16_t value, uint32_t lanes,
                           const struct rsrc_frame_token *token, uint16_t unit, uint32_t row);
void rsrc_frame_store(struct rsrc_frame *frame, uint16_t result,
                      const struct rsrc_frame_token *token, uint16_t unit, uint32_t row);

/* The i64 register with the distance of the activation rows of two tokens, in bytes. */
uint16_t rsrc_frame_x_stride(const struct rsrc_frame *frame);
/* Prefetch distance in bytes for n_streams streams of codes that are read in parallel. It is whole
 * cache lines; all streams together fetch what memory delivers in RSRC_FETCH_NS, several times its
 * latency, and a stream at most RSRC_FETCH_MAX. Measured times, relative to the fastest of 512,
 * 1024 ... 8192 bytes: two streams (AVX-512, 12 GB/s a core) 2048 and 4096 fastest, 8192 1.06 to
 * 1.09; three streams (AVX2) 2048 fastest, 512 1.05, 4096 1.03. With prefetch to the second cache
 * (Zen 4, 27 GB/s): six streams take 1.14 to 1.19 times as long with 6 KiB in all as with 16 KiB,
 * and 24 KiB gain nothing; ten streams take equal times with 400, 600 and 900 ns. */
#define RSRC_FETCH_NS 600
#define RSRC_FETCH_MAX 4096
int64_t rsrc_fetch_ahead(const struct rsr_spec *spec, uint32_t n_streams);
/* Prefetches the bytes that lie `ahead` of the size_bytes codes at `at`. */
void rsrc_frame_prefetch_codes(struct rsrc_frame *frame, struct rsrc_address at,
                               uint64_t size_bytes, int64_t ahead);

/* Records where a tile's codes are: in n_streams streams, with unit_bytes per unit in each. */
void rsrc_frame_streams(struct rsrc_frame *frame, uint32_t n_streams, uint64_t stream_bytes,
                        uint64_t unit_bytes);

/* Byte address of element 0 of an activation row. */
struct rsrc_address rsrc_frame_activations(const struct rsrc_frame_token *token);

#endif
