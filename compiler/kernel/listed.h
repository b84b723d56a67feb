/* listed.h - what dot_rows and dot_cols share, the kernels of `dot` that a list guides.
 *
 * Behind an activation row stands which rows of the matrix count (dot_rows) or which columns
 * (dot_cols); rsr_abi.h has its layout. Only what is listed is read. Codes are w + 1 in 2 bits, so
 * a result is their product less the sum of x.
 */
#ifndef RSRC_KERNEL_LISTED_H
#define RSRC_KERNEL_LISTED_H

#include "kernel/kernel_frame.h"
#include "kernel/dot_layout.h"

/* Rows or columns of a step: as many as share the loads of x, or an integer dot product. */
#define RSRC_LISTED_STEP 4u
/* Listed elements between what is read and what is fetched ahead. Streamed, 16 columns of 320 bytes
 * or rows of 640 are 5 to 10 KB. */
#define RSRC_LISTED_AHEAD 16

struct rsrc_listed {
    struct rsrc_frame frame;
    const struct rsrc_dot_machine *machine;
    struct rsr_list_layout list;
    uint16_t ones; /* i16, of MADD */
};

/* Checks what a plan from a text may ask for. */
RSRC_NODISCARD enum rsrc_status
rsrc_listed_check(struct rsrc_diag *diag, const struct rsrc_lower_input *input, bool row_scales);
/* Completes a choice whose weight_bytes are set: of n elements that a list may name, in so many
 * tiles; `unpack` instructions a column of a vector besides its product. */
void rsrc_cost_listed(struct rsrc_arena *arena, const struct rsrc_plan_input *input, uint32_t n,
                      uint32_t tiles, double unpack, struct rsrc_choice *out);
/* Once, at the head of the kernel, before what follows. */
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
