/* listed.h - the common part of dot_rows and dot_cols, the kernels of `dot` that read by a list.
 *
 * After each activation row there is a list of the active rows of the matrix (dot_rows) or of its
 * active columns (dot_cols); rsr_abi.h has its layout. A kernel reads only listed rows or columns.
 * Codes are w + 1 in 2 bits, so a result is the product of codes and x, less the sum of x.
 */
#ifndef RSRC_KERNEL_LISTED_H
#define RSRC_KERNEL_LISTED_H

#include "kernel/kernel_frame.h"
#include "kernel/dot_layout.h"

/* Rows or columns of a step: these share the loads of x, or an integer dot product. */
#define RSRC_LISTED_STEP 4u
/* Prefetch distance in listed elements: 16 columns of 320 bytes, or rows of 640, are 5 to 10 KB. */
#define RSRC_LISTED_AHEAD 16

struct rsrc_listed {
    struct rsrc_frame frame;
    const struct rsrc_dot_machine *machine;
    struct rsr_list_layout list;
    uint16_t ones; /* i16, for MADD */
};

/* Refuses layers that a plan from a text may name but a list cannot serve. */
RSRC_NODISCARD enum rsrc_status
rsrc_listed_check(struct rsrc_diag *diag, const struct rsrc_lower_input *input, bool row_scales);
/* Completes a choice whose weight_bytes are set. A list may name n elements, in `tiles` tiles; a
 * vector of products needs `unpack` instructions besides the product. */
void rsrc_cost_listed(struct rsrc_arena *arena, const struct rsrc_plan_input *input, uint32_t n,
                      uint32_t tiles, double unpack, struct rsrc_choice *out);
/* Emits constants. Call it once, at the head of the kernel, before the other functions. */
void rsrc_listed_constants(struct rsrc_listed *listed);
/* begin[at] of the token's list, as an index. */
uint16_t rsrc_listed_begin(struct rsrc_listed *listed, const struct rsrc_frame_token *token,
                           uint16_t at, const char *name);
/* index[at + offset], as an index in register dst. */
void rsrc_listed_index(struct rsrc_listed *listed, const struct rsrc_frame_token *token,
                       uint16_t at, int64_t offset, uint16_t dst);
/* acc += code * x; `suffix` makes names unique. */
void rsrc_listed_multiply(struct rsrc_listed *listed, uint16_t acc, uint16_t code, uint16_t x,
                          const char *suffix);

#endif
