/* c_nest.c - decides which values are printed within the statement that reads them.
 *
 * An operation is a statement of its own unless one other operation reads its value, in the same
 * straight-line code, and the statement reads better with it: a change of type, a shift, a step of
 * an index. Nothing that the value is made of changes between the two.
 */
#include <string.h>

#include "emit/c/c_code.h"
#include "kernel_ops.h"

#define NONE UINT32_MAX
#define MOST_NESTED 6u /* operations within a statement */
#define FARTHEST 64u   /* operations from a value to its reader; bounds the time that this takes */

/* The kinds of operands that values of an operation may be nested into. */
enum places {
    NOWHERE,
    IN_PLACE,  /* an operation that replaces the register */
    IN_COPIES, /* that, and what spreads or widens the value */
    ANYWHERE
};
static const enum places places_of[RSR_KOP_COUNT] = {
    [RSR_KOP_CONST] = IN_PLACE,   [RSR_KOP_ADD] = IN_PLACE,      [RSR_KOP_SUB] = IN_PLACE,
    [RSR_KOP_TABLE] = IN_PLACE,   [RSR_KOP_TABLE2] = IN_PLACE,   [RSR_KOP_LOAD] = IN_COPIES,
    [RSR_KOP_MUL] = ANYWHERE,     [RSR_KOP_AND] = ANYWHERE,      [RSR_KOP_SHL] = ANYWHERE,
    [RSR_KOP_SHR] = ANYWHERE,     [RSR_KOP_SPLAT] = ANYWHERE,    [RSR_KOP_CONVERT] = ANYWHERE,
    [RSR_KOP_BITCAST] = ANYWHERE, [RSR_KOP_ZIP_LOW] = ANYWHERE,  [RSR_KOP_ZIP_HIGH] = ANYWHERE,
    [RSR_KOP_PACK_U8] = ANYWHERE, [RSR_KOP_MADD_U8S8] = ANYWHERE};

/* The text of these has operands twice, as a subscript's, or is a line for each member. */
static const bool takes_names[RSR_KOP_COUNT] = {
    [RSR_KOP_LOOP] = true,       [RSR_KOP_IF] = true,      [RSR_KOP_ZIP_ADD] = true,
    [RSR_KOP_HALVES_ADD] = true, [RSR_KOP_EXTRACT] = true, [RSR_KOP_ADD_MEM] = true,
    [RSR_KOP_SUB_MEM] = true,    [RSR_KOP_CALL] = true,    [RSR_KOP_COPY] = true};

/* Facts about the value of a register at the current operation. */
struct value {
    uint32_t at; /* operation that made it; NONE: it is from another block */
    uint32_t n_reads, reader, operand;
};

struct nester {
    struct rsrc_c_code *code;
    struct value *values;      /* by register */
    bool *leaves_block;        /* by register: a value is read in another block */
    uint32_t (*candidates)[3]; /* by operation and operand: the value with this one reader */
    uint32_t *n_nested;        /* by operation: operations in its text */
    bool changed;              /* a value is left out that others were made for */
};

static bool is_value(const struct rsr_kop *op) {
    return rsrc_kop_has_result(op->kind) && op->kind != RSR_KOP_LOOP && !rsrc_kop_is_tile(op->kind);
}

/* Leaves out registers that no other operation reads: compilers warn of variables that are only
 * set. */
static void leave_out_unread(struct rsrc_c_code *code, struct rsrc_arena *arena) {
    bool *is_read = RSRC_NEW_ARRAY(arena, code->n_regs + 1u, bool);
    for (bool changed = true; changed;) {
        changed = false;
        memset(is_read, 0, code->n_regs * sizeof *is_read);
        for (uint32_t i = 0; i < code->n_ops; i++) {
            const struct rsr_kop *op = &code->ops[i];
            const uint16_t reads[6] = {op->a, op->b, op->c, op->term[0], op->term[1], op->term[2]};
            for (uint32_t k = 0; k < 6 && !code->is_left_out[i]; k++)
                if (reads[k] < code->n_regs && reads[k] != op->dst)
                    is_read[reads[k]] = true;
        }
        for (uint32_t i = 0; i < code->n_ops; i++) {
            const struct rsr_kop *op = &code->ops[i];
            if (code->is_left_out[i] || !is_value(op) || is_read[op->dst])
                continue;
            code->is_left_out[i] = changed = true;
        }
    }
}

static bool ends_block(const struct rsr_kop *op) {
    return rsrc_c_opens_block(op) || rsrc_c_closes_block(op);
}

/* ---- values with one reader ------------------------------------------------------------------ */

/* Registers whose values are read only in the block that makes them. */
static void find_leaving(struct nester *n, struct rsrc_arena *arena) {
    const struct rsrc_c_code *code = n->code;
    uint32_t *written_in = RSRC_NEW_ARRAY(arena, code->n_regs + 1u, uint32_t);
    uint32_t block = 1;
    for (uint32_t i = 0; i < code->n_ops; i++) {
        const struct rsr_kop *op = &code->ops[i];
        const uint16_t reads[6] = {op->a, op->b, op->c, op->term[0], op->term[1], op->term[2]};
        if (code->is_left_out[i])
            continue;
        for (uint32_t k = 0; k < 6; k++)
            if (reads[k] < code->n_regs && written_in[reads[k]] != block)
                n->leaves_block[reads[k]] = true;
        if (rsrc_kop_has_result(op->kind))
            written_in[op->dst] = block;
        block += ends_block(op);
    }
}

/* The register's value is not read again. */
static void end_value(struct nester *n, uint16_t reg) {
    struct value *value = &n->values[reg];
    if (value->at != NONE && value->n_reads == 1 && value->operand < 3)
        n->candidates[value->reader][value->operand] = value->at;
    if (value->at != NONE && value->n_reads == 0 && is_value(&n->code->ops[value->at]))
        n->code->is_left_out[value->at] = n->changed = true;
    value->at = NONE;
}

static void end_block(struct nester *n, uint32_t first, uint32_t end) {
    for (uint32_t i = first; i < end; i++) {
        const struct rsr_kop *op = &n->code->ops[i];
        if (!rsrc_kop_has_result(op->kind))
            continue;
        if (n->leaves_block[op->dst])
            n->values[op->dst].at = NONE;
        end_value(n, op->dst);
    }
}

static void find_candidates(struct nester *n) {
    const struct rsrc_c_code *code = n->code;
    uint32_t block_first = 0;
    for (uint32_t i = 0; i < code->n_ops; i++) {
        const struct rsr_kop *op = &code->ops[i];
        const uint16_t reads[6] = {op->a, op->b, op->c, op->term[0], op->term[1], op->term[2]};
        if (code->is_left_out[i])
            continue;
        for (uint32_t k = 0; k < 6; k++)
            if (reads[k] < code->n_regs) {
                struct value *value = &n->values[reads[k]];
                value->n_reads++;
                value->reader = i;
                value->operand = k;
            }
        if (rsrc_kop_has_result(op->kind)) {
            end_value(n, op->dst);
            n->values[op->dst] = (struct value){.at = i};
        }
        if (ends_block(op)) {
            end_block(n, block_first, i);
            block_first = i + 1;
        }
    }
    end_block(n, block_first, code->n_ops);
}

/* ---- which of them are nested ---------------------------------------------------------------- */

/* The text of operation `at` names the register, or, RSR_NO_KREG, reads memory. */
static bool mentions(const struct rsrc_c_code *code, uint32_t at, uint16_t reg) {
    const struct rsr_kop *op = &code->ops[at];
    const uint16_t operands[3] = {op->a, op->b, op->c};
    if (reg == RSR_NO_KREG && rsrc_kop_has_address(op->kind))
        return true;
    for (uint32_t k = 0; k < 3; k++) {
        if (code->nested[at][k] != NONE ? mentions(code, code->nested[at][k], reg)
                                        : operands[k] == reg && reg != RSR_NO_KREG)
            return true;
        if (op->term[k] == reg && reg != RSR_NO_KREG)
            return true;
    }
    return false;
}

/* What `from` is made of is the same at `to`. */
static bool stays(const struct rsrc_c_code *code, uint32_t from, uint32_t to) {
    if (code->ops[from].kind == RSR_KOP_CONST)
        return true;
    for (uint32_t i = from + 1; i < to; i++) {
        const struct rsr_kop *op = &code->ops[i];
        if (rsrc_kop_has_result(op->kind) && mentions(code, from, op->dst))
            return false;
        const bool writes = rsrc_kop_writes_memory(op->kind) || op->kind == RSR_KOP_CALL ||
                            rsrc_kop_is_tile(op->kind);
        if (writes && mentions(code, from, RSR_NO_KREG))
            return false;
    }
    return true;
}

static bool is_copy(const struct rsr_kop *op) {
    return op->kind == RSR_KOP_SPLAT || op->kind == RSR_KOP_CONVERT;
}

/* Scalars narrower than int would be computed in int; sums of vectors are statements, which
 * accumulate. */
static bool may_nest(const struct nester *n, uint32_t from, uint32_t to) {
    const struct rsrc_c_code *code = n->code;
    const struct rsr_kop *value = &code->ops[from], *reader = &code->ops[to];
    const struct rsr_kreg *reg = &code->regs[value->dst];
    const bool in_place = rsrc_kop_has_result(reader->kind) && reader->dst == value->dst;
    const bool adds = value->kind == RSR_KOP_ADD || value->kind == RSR_KOP_SUB;
    const bool is_far = value->kind != RSR_KOP_CONST && to - from > FARTHEST;
    if (is_far || takes_names[reader->kind] || rsrc_kop_is_tile(reader->kind) ||
        rsrc_kreg_bytes(reg) < 4 || (adds && reg->elem != RSR_ELEM_I64) ||
        n->n_nested[from] + n->n_nested[to] >= MOST_NESTED)
        return false;
    switch (places_of[value->kind]) {
    case NOWHERE:
        return false;
    case IN_PLACE:
        return in_place;
    case IN_COPIES:
        return in_place || is_copy(reader);
    case ANYWHERE:
        /* Numbers of columns, rows and bytes have names. */
        return in_place || reg->elem != RSR_ELEM_I64;
    }
    return false;
}

/* Until all values have a reader: what is made for one that has none has none either. */
static void find_values(struct nester *n, struct rsrc_arena *arena) {
    struct rsrc_c_code *code = n->code;
    do {
        n->changed = false;
        for (size_t i = 0; i <= code->n_ops; i++)
            for (uint32_t k = 0; k < 3; k++)
                n->candidates[i][k] = NONE;
        for (size_t r = 0; r <= code->n_regs; r++) {
            n->values[r].at = NONE;
            n->leaves_block[r] = false;
        }
        leave_out_unread(code, arena);
        find_leaving(n, arena);
        find_candidates(n);
    } while (n->changed);
}

void rsrc_c_nest(struct rsrc_c_code *code, struct rsrc_arena *arena) {
    const size_t n_ops = code->n_ops + 1u, n_regs = code->n_regs + 1u;
    code->nested = rsrc_arena_alloc(arena, n_ops * sizeof *code->nested);
    code->is_left_out = RSRC_NEW_ARRAY(arena, n_ops, bool);
    struct nester n = {.code = code,
                       .values = RSRC_NEW_ARRAY(arena, n_regs, struct value),
                       .leaves_block = RSRC_NEW_ARRAY(arena, n_regs, bool),
                       .candidates = rsrc_arena_alloc(arena, n_ops * sizeof *n.candidates),
                       .n_nested = RSRC_NEW_ARRAY(arena, n_ops, uint32_t)};
    for (size_t i = 0; i < n_ops; i++)
        for (uint32_t k = 0; k < 3; k++)
            code->nested[i][k] = NONE;
    find_values(&n, arena);
    for (uint32_t to = 0; to < code->n_ops; to++)
        for (uint32_t k = 0; k < rsrc_kop_arity(code->ops[to].kind); k++) {
            const uint32_t from = n.candidates[to][k];
            if (from == NONE || !may_nest(&n, from, to) || !stays(code, from, to))
                continue;
            code->nested[to][k] = from;
            code->is_left_out[from] = true;
            n.n_nested[to] += n.n_nested[from] + 1;
        }
}
