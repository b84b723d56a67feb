/* lut_walk.h - the loops that both forms of `lut`, of int8 and of float activations, have around
 * their tables and look-ups. Private to them.
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
 * Codes are read once a group. Scratch memory: tables of LUT_TOKENS tokens, from 0 on; with several
 * blocks, sums of their rows; what the form adds.
 */
#ifndef RSRC_KERNEL_LUT_WALK_H
#define RSRC_KERNEL_LUT_WALK_H

#include "kernel/kernel_frame.h"

/* Tokens whose tables are in the scratch memory together: all of them use codes read once. */
#define LUT_TOKENS RSR_TABLE_TOKENS
#define LUT_MAX_RUNS 40u /* of a unit */

struct rsrc_lut_walk;

/* What a form emits inside the loops. */
struct rsrc_lut_form {
    /* Tables of the tokens and steps at work. */
    void (*emit_tables)(struct rsrc_lut_walk *walk);
    /* Unit `number`, of n_rows rows, for the group's tokens; register names end with `suffix`. */
    void (*emit_unit)(struct rsrc_lut_walk *walk, uint16_t number, uint32_t n_rows,
                      const char *suffix);
};

/* The first member of what a form knows of its kernel. */
struct rsrc_lut_walk {
    struct rsrc_frame frame;
    uint32_t n_steps; /* of segments: a row's */
    uint32_t table_step_bytes;
    uint32_t block_steps; /* of a column block: its tables are in the scratch memory at a time */
    uint32_t n_blocks;
    int64_t token_table_bytes;
    int64_t partials_at, token_partials_bytes;
    /* Registers, i64: tokens of the group and steps of the column block at work; constants. */
    uint16_t first_token, end_token;
    uint16_t first_step, end_step;
    uint16_t all_steps, table_stride, step_bytes;
    uint16_t has_tables; /* or RSR_NO_KREG: they are always made */
};

/* Blocks of columns, each a multiple of `unit_steps` steps, whose tables take at most a sixth of L2
 * a token: two thirds of it for LUT_TOKENS tokens, the rest is for codes on their way. n_rows:
 * stored. Sets the kernel's scratch memory and returns its size. */
uint64_t rsrc_lut_plan_scratch(struct rsrc_lut_walk *walk, uint32_t unit_steps, uint64_t n_rows);
/* The loops; `comment` stands before them. `tables` tells what those of this kernel hold and where:
 * kernels of equal texts share them (rsr_kernel.tables). */
void rsrc_lut_emit_walk(struct rsrc_lut_walk *walk, const struct rsrc_lut_form *form,
                        const char *comment, const char *tables);
/* The register of a token's table of step 0: its byte offset in scratch memory, given the steps at
 * work. Step s is at the offset + s * table_step_bytes. Also gives `slot`, the token's number. */
uint16_t rsrc_lut_table_base(struct rsrc_lut_walk *walk, uint16_t token, const char *suffix,
                             uint16_t *slot);

/* ---- a unit of rows -------------------------------------------------------------------------- */

/* The first member of what a form knows of the unit that it emits. Its sums are runs of rows,
 * `lanes` consecutive ones a register. */
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
/* Sets the sums to 0 and calls `start` (or NULL), or takes what the block before has left. */
void rsrc_lut_begin_sums(struct rsrc_lut_unit *unit, rsrc_lut_unit_fn *start);
/* Calls `finish`, which stores the results, or leaves the sums to the next block. */
void rsrc_lut_end_sums(struct rsrc_lut_unit *unit, rsrc_lut_unit_fn *finish);
/* The results of run `i`; what the matrix lacks of it is not stored. */
void rsrc_lut_store_run(struct rsrc_lut_unit *unit, uint32_t i);

#endif
