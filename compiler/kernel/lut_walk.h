/* lut_walk.h - the loops around tables and look-ups that `lut` has for int8 and for float
 * activations. Private to these two.
 *
 *   for every group of LUT_TOKENS tokens
 *       for every block of columns, whose tables the scratch memory holds
 *           tables of the group's tokens, unless another kernel has left them  (emit_tables)
 *           for every unit of the worker's rows                     (emit_unit)
 *               for every token of the group
 *                   its sums: from 0 or where the last block left them
 *                   and what its tables add, step by step
 *                   its results, or the sums for the next block
 *
 * Codes are read once per group. Scratch memory has, from byte 0: tables of LUT_TOKENS tokens; with
 * several blocks, sums of their rows; the form's own part.
 */
#ifndef RSRC_KERNEL_LUT_WALK_H
#define RSRC_KERNEL_LUT_WALK_H

#include "kernel/kernel_frame.h"

/* Tokens whose tables are in the scratch memory together: all of them use codes read once. */
#define LUT_TOKENS RSR_TABLE_TOKENS
#define LUT_MAX_RUNS 40u /* rows of a unit */

struct rsrc_lut_walk;

/* The form's code inside the loops. */
struct rsrc_lut_form {
    /* Emits tables of the current tokens and steps. */
    void (*emit_tables)(struct rsrc_lut_walk *walk);
    /* Emits unit `number`, with n_rows rows, for the group's tokens; register names end with
     * `suffix`. */
    void (*emit_unit)(struct rsrc_lut_walk *walk, uint16_t number, uint32_t n_rows,
                      const char *suffix);
};

/* State of the walk: the first member of a form's own state. */
struct rsrc_lut_walk {
    struct rsrc_frame frame;
    uint32_t n_steps; /* steps of a row */
    uint32_t table_step_bytes;
    uint32_t block_steps; /* steps of a column block, whose tables are in the scratch memory
                             together */
    uint32_t n_blocks;
    int64_t token_table_bytes;
    int64_t partials_at, token_partials_bytes;
    /* Registers, i64: tokens of the current group, steps of the current column block; constants. */
    uint16_t first_token, end_token;
    uint16_t first_step, end_step;
    uint16_t all_steps, table_stride, step_bytes;
    uint16_t has_tables; /* RSR_NO_KREG: tables are always made */
};

/* Chooses blocks of columns, each a multiple of `unit_steps` steps. The tables of a block take at
 * most a sixth of L2 for each token: LUT_TOKENS tokens take two thirds of it, and the rest is for
 * codes. n_rows counts stored rows. Sets the kernel's scratch memory and returns its size. */
uint64_t rsrc_lut_plan_scratch(struct rsrc_lut_walk *walk, uint32_t unit_steps, uint64_t n_rows);
/* Emits the loops, with `comment` before them. `tables` describes the contents and places of this
 * kernel's tables: kernels with equal texts share them (rsr_kernel.tables). */
void rsrc_lut_emit_walk(struct rsrc_lut_walk *walk, const struct rsrc_lut_form *form,
                        const char *comment, const char *tables);
/* Returns a register: the byte offset in scratch memory at which the token's table of step 0 would
 * be. The table of step s is at that offset + s * table_step_bytes. Also sets `slot`, the token's
 * number. */
uint16_t rsrc_lut_table_base(struct rsrc_lut_walk *walk, uint16_t token, const char *suffix,
                             uint16_t *slot);

/* ---- a unit of rows -------------------------------------------------------------------------- */

/* The unit being emitted: the first member of a form's own struct. Its sums are runs of rows,
 * `lanes` consecutive rows per register. */
struct rsrc_lut_unit {
    struct rsrc_lut_walk *walk;
    uint32_t n_rows;    /* stored */
    const char *suffix; /* of register names */
    enum rsr_elem elem; /* of sums: I32, or F32 */
    uint32_t lanes, n_runs;
    uint16_t sums[LUT_MAX_RUNS];
    uint16_t number; /* of the unit */
    uint16_t token_number, slot, step;
    uint16_t table_base;
    struct rsrc_frame_token token;
};

typedef void rsrc_lut_unit_fn(struct rsrc_lut_unit *unit);

/* Names the counters of tokens and steps. */
void rsrc_lut_make_counters(struct rsrc_lut_unit *unit);
/* Opens the loop over the tokens of the group. */
void rsrc_lut_begin_token(struct rsrc_lut_unit *unit);
/* Sets the sums to 0 and calls `start` (or NULL), or loads the sums of the previous block. */
void rsrc_lut_begin_sums(struct rsrc_lut_unit *unit, rsrc_lut_unit_fn *start);
/* Calls `finish`, which stores the results, or stores the sums for the next block. */
void rsrc_lut_end_sums(struct rsrc_lut_unit *unit, rsrc_lut_unit_fn *finish);
/* Stores the results of run `i`, except rows beyond the matrix. */
void rsrc_lut_store_run(struct rsrc_lut_unit *unit, uint32_t i);

#endif
