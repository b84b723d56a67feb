/* lut_kernel.h - what the two halves of a `lut` kernel share: lut_tables.c builds tables,
 * lower_lut.c looks sums up in them. Private to them.
 *
 * Tables live in the scratch memory, LUT_TABLE_STEP_BYTES for every step of segments:
 *   TABLE128   a step is a segment: 128 low bytes of its sums, 128 high bytes
 *   SHUFFLE16  a step is 8 segments, in groups of as many as a vector has lanes of 16 bytes: for
 *              every group, a vector of low bytes, a lane a segment, and one of high bytes
 */
#ifndef RSRC_LOWER_LUT_KERNEL_H
#define RSRC_LOWER_LUT_KERNEL_H

#include "lower/kernel_frame.h"
#include "lower/variants.h"

#define LUT_TABLE_STEP_BYTES 256

struct rsrc_lut_kernel {
    struct rsrc_frame frame;
    struct rsrc_lut_layout layout;
    uint32_t cols;
    uint32_t block_steps; /* of a column block: its tables are in the scratch memory at a time */
    uint32_t n_blocks;
    /* Scratch: tables of LUT tokens, from 0 on; sums of rows between column blocks; a copy of x. */
    int64_t token_table_bytes;
    int64_t partials_at, token_partials_bytes;
    int64_t x_at;
    /* Registers, i64: tokens of the group and steps of the column block at work; constants. */
    uint16_t first_token, end_token;
    uint16_t first_step, end_step;
    uint16_t n_steps, table_stride, step_bytes;
};

/* Tokens whose tables are in the scratch memory together: all of them use codes read once. */
#define LUT_TOKENS 4u

/* Bytes of the scratch memory's copy of x: the columns of every step and what vector loads reach
 * beyond. */
uint64_t rsrc_lut_x_bytes(const struct rsrc_lut_kernel *lut);
/* Tables of the tokens and steps at work. */
void rsrc_lut_emit_tables(struct rsrc_lut_kernel *lut);
/* The register of the byte offset in scratch memory of a token's table of step 0, given the steps
 * at work: step s is at the offset + s * LUT_TABLE_STEP_BYTES. Also gives `slot`, the token's
 * number. */
uint16_t rsrc_lut_table_base(struct rsrc_lut_kernel *lut, uint16_t token, const char *suffix,
                             uint16_t *slot);
/* What rsrc_lut_emit_tables reads of the index: rsrc_lut_constants_bytes. */
void rsrc_lut_pack_constants(const struct rsrc_lut_layout *layout, uint8_t *out);

#endif
