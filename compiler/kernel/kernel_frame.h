/* kernel_frame.h - what every variant's kernel has in common: the range of the worker's tiles, the
 * rows of a token, the epilogue, and the maps of a reduced layer.
 *
 * A kernel works in units of `unit_rows` rows (a quad of `dot`, a block of k rows of `scatter`); a
 * tile is a whole number of units. Between begin and end, rows and columns are those of the matrix
 * that is lowered; if that is a reduced one, the frame gathers and expands around the variant's
 * code (kernel_maps.h), which need not know.
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
    bool row_scales; /* one weight scale a row, else one a matrix */
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

/* Sets rows, cols and tiles of the kernel and emits the prologue. The tile is the plan's:
 * whole units. */
void rsrc_frame_begin(struct rsrc_frame *frame, struct rsrc_arena *arena,
                      const struct rsrc_lower_input *input, uint32_t unit_rows,
                      struct rsr_kernel *kernel);
/* The same for a variant that finds the layer's own columns in the activations, by
 * rsrc_layer_column(): nothing is gathered, and kernel->cols are the layer's. */
void rsrc_frame_begin_all_columns(struct rsrc_frame *frame, struct rsrc_arena *arena,
                                  const struct rsrc_lower_input *input, uint32_t unit_rows,
                                  struct rsr_kernel *kernel);
/* Ends the kernel. The scratch memory and the index of out are the variant's own until here; what
 * the maps need is added behind them. */
void rsrc_frame_end(struct rsrc_frame *frame, struct rsr_lowered *out);
/* The layer's column that column `col` of the lowered matrix is. */
uint32_t rsrc_layer_column(const struct rsrc_lower_input *input, uint32_t col);

/* The token that register `token` (i64) numbers; names end with `suffix`. */
struct rsrc_frame_token rsrc_frame_token(struct rsrc_frame *frame, uint16_t token,
                                         const char *suffix);
/* The token after `previous`. */
struct rsrc_frame_token rsrc_frame_next_token(struct rsrc_frame *frame,
                                              const struct rsrc_frame_token *previous,
                                              const char *suffix);
/* The i32 sum of the token's int8 activations. */
uint16_t rsrc_frame_load_sum(struct rsrc_frame *frame, const struct rsrc_frame_token *token,
                             const char *suffix);

/* Sums of u x become those of w x: ternary u = w + 1, signs u = (w + 1) / 2. x_sum: what load_sum
 * gave; RSR_NO_KREG where u = w. */
void rsrc_frame_correct(struct rsrc_frame *frame, enum rsr_alphabet alphabet, uint16_t sums,
                        uint32_t lanes, uint16_t x_sum, const char *suffix);

/* The result of the sums `value` (i32, exact; f32 where the input is; `lanes` rows from row
 * unit * unit_rows + row on): themselves (RAW, and where rows are expanded later), or scaled to
 * f32. */
uint16_t rsrc_frame_result(struct rsrc_frame *frame, uint16_t value, uint32_t lanes,
                           const struct rsrc_frame_token *token, uint16_t unit, uint32_t row);
void rsrc_frame_store(struct rsrc_frame *frame, uint16_t result,
                      const struct rsrc_frame_token *token, uint16_t unit, uint32_t row);

/* The i64 register of the bytes between the activation rows of two tokens. */
uint16_t rsrc_frame_x_stride(const struct rsrc_frame *frame);
/* How far ahead of n_streams of codes, read side by side, their bytes are fetched: whole lines, in
 * all what memory delivers in RSRC_FETCH_NS, several times its latency, and at most RSRC_FETCH_MAX
 * a stream. Of 512, 1024 ... 8192 bytes, for two streams (AVX-512, 12 GB/s a core) 2048 and 4096
 * were the fastest, 8192 took 1.06 to 1.09 times as long; for three (AVX2) 2048 was, 512 took 1.05,
 * 4096 took 1.03. To the second cache (Zen 4, 27 GB/s), for six: 6 KiB in all took 1.14 to 1.19
 * times as long as 16, 24 no less; for ten what 400, 600 and 900 ns give took as long. */
#define RSRC_FETCH_NS 600
#define RSRC_FETCH_MAX 4096
int64_t rsrc_fetch_ahead(const struct rsr_spec *spec, uint32_t n_streams);
/* Hints that what lies `ahead` of the size_bytes codes at `at` is read soon. */
void rsrc_frame_prefetch_codes(struct rsrc_frame *frame, struct rsrc_address at,
                               uint64_t size_bytes, int64_t ahead);

/* Tells where a tile's codes are: in n_streams streams, each of which has unit_bytes of a unit. */
void rsrc_frame_streams(struct rsrc_frame *frame, uint32_t n_streams, uint64_t stream_bytes,
                        uint64_t unit_bytes);

/* Byte address of element 0 of an activation row. */
struct rsrc_address rsrc_frame_activations(const struct rsrc_frame_token *token);

#endif
