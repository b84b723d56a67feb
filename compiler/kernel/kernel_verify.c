/* kernel_verify.c - checks a kernel before a back end sees it.
 *
 * Registers are named, typed and defined before use on every path; loops and branches close;
 * addresses have 64-bit terms; only y, scratch and a body's sums are written; tiles are used while
 * configured. kernel_types.c knows which types fit an operation. A failure is a defect of lowering,
 * or a mistake in the text that the kernel was read from; the operation's number says where.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_ops.h"
#include "kernel/kernel_types.h"
#include "kernel/kernel.h"

#define MAX_DEPTH 16

struct scope {
    uint16_t kind;           /* LOOP, IF or ELSE */
    uint16_t counter;        /* LOOP */
    uint8_t *defined_before; /* registers defined where the scope opened */
};

/* The operations of a kernel, or of one of its bodies. */
struct verifier {
    const struct rsr_kernel *kernel;
    const struct rsr_kreg *regs;
    uint32_t n_regs;
    bool in_body;
    uint8_t
        *defined; /* a flag for each register, then one more: the TILE registers are configured */
    struct scope scopes[MAX_DEPTH];
    uint32_t depth;
    const char *problem; /* NULL: none yet */
};

static void require(struct verifier *v, bool holds, const char *problem) {
    if (!holds && v->problem == NULL)
        v->problem = problem;
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool is_identifier(const char *name) {
    if (name == NULL || !(name[0] >= 'a' && name[0] <= 'z'))
        return false;
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

/* Words that C, or the code that the C back end prints around a kernel, uses already. */
static const char *const RESERVED[] = {
    "asm",         "auto",    "break",    "case",     "char",     "const",   "continue",
    "default",     "do",      "double",   "else",     "enum",     "extern",  "float",
    "for",         "goto",    "if",       "inline",   "int",      "long",    "register",
    "restrict",    "return",  "short",    "signed",   "sizeof",   "static",  "struct",
    "switch",      "typedef", "typeof",   "union",    "unsigned", "void",    "volatile",
    "while",       "linux",   "unix",     "shuffle",  "int8_t",   "int16_t", "int32_t",
    "int64_t",     "uint8_t", "uint16_t", "uint32_t", "uint64_t", "size_t",  "weights",
    "worker",      "x",       "y",        "codes",    "index",    "scale",   "scratch",
    "columns",     "sums",    "arg_x",    "arg_ldx",  "arg_y",    "arg_ldy", "arg_n_tokens",
    "arg_scratch",
};

/* One of those words, or the type of a vector: "v16i32", "u8_mem". */
static bool is_reserved(const char *name) {
    for (size_t i = 0; i < sizeof RESERVED / sizeof *RESERVED; i++)
        if (strcmp(name, RESERVED[i]) == 0)
            return true;
    const size_t length = strlen(name);
    if (length >= 4 && strcmp(name + length - 4, "_mem") == 0)
        return true;
    const char *elem = name + 1 + strspn(name + 1, "0123456789");
    return name[0] == 'v' && elem != name + 1 && *elem != '\0' && strchr("iuf", *elem) != NULL &&
           elem[1 + strspn(elem + 1, "0123456789")] == '\0';
}

/* Whether it is a symbol that linkers accept. */
static bool is_symbol(const char *name) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    if (name == NULL || name[0] == '\0' || (name[0] >= '0' && name[0] <= '9'))
        return false;
    return name[strspn(name, letters)] == '\0';
}

static int compare_names(const void *a, const void *b) {
    const char *const *left = a, *const *right = b;
    return strcmp(*left, *right);
}

static const char *check_regs(struct rsrc_arena *arena, const struct rsr_kreg *regs,
                              uint32_t n_regs) {
    const char **names = RSRC_NEW_ARRAY(arena, n_regs + 1u, const char *);
    uint32_t n_tiles = 0;
    for (uint32_t i = 0; i < n_regs; i++) {
        const struct rsr_kreg *reg = &regs[i];
        if ((uint32_t)reg->elem >= RSR_ELEM_COUNT || reg->lanes == 0 || reg->lanes > 64 ||
            (reg->lanes & (reg->lanes - 1)) != 0 || (reg->elem == RSR_ELEM_TILE && reg->lanes != 1))
            return "register of no type";
        if (!is_identifier(reg->name))
            return "register name is no identifier";
        if (is_reserved(reg->name))
            return "register name is a word of C";
        n_tiles += reg->elem == RSR_ELEM_TILE;
        names[i] = reg->name;
    }
    qsort(names, n_regs, sizeof *names, compare_names);
    for (uint32_t i = 1; i < n_regs; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return "register name used twice";
    return n_tiles <= RSRC_MAX_TILES ? NULL : "more TILE registers than a machine has";
}

/* ---- operands -------------------------------------------------------------------------------- */

/* The register, or NULL after noting that it is missing or undefined. */
static const struct rsr_kreg *use(struct verifier *v, uint16_t reg) {
    if (reg >= v->n_regs) {
        require(v, false, "operand missing");
        return NULL;
    }
    require(v, v->defined[reg], "register read before it is set");
    return &v->regs[reg];
}

static void check_address(struct verifier *v, const struct rsr_kop *op) {
    require(v, op->buffer < RSR_KBUF_COUNT, "no such buffer");
    const bool of_body = op->buffer == RSR_KBUF_COLUMNS || op->buffer == RSR_KBUF_SUMS;
    require(v, of_body == v->in_body,
            v->in_body ? "a body has columns and sums alone" : "columns and sums are of bodies");
    require(v,
            !rsrc_kop_writes_memory(op->kind) || op->buffer == RSR_KBUF_Y ||
                op->buffer == RSR_KBUF_SCRATCH || op->buffer == RSR_KBUF_SUMS,
            "store to a buffer that is only read");
    for (uint32_t i = 0; i < 3; i++)
        if (op->term[i] != RSR_NO_KREG) {
            require(v, !v->in_body, "address term in a body");
            const struct rsr_kreg *term = use(v, op->term[i]);
            require(v, term == NULL || rsrc_kreg_is_index(term),
                    "address term is no 64-bit scalar");
        }
}

/* ---- scopes ---------------------------------------------------------------------------------- */

static void open_scope(struct verifier *v, const struct rsr_kop *op) {
    if (v->depth == MAX_DEPTH) {
        require(v, false, "nested too deep");
        return;
    }
    const size_t n_flags = v->n_regs + 1u;
    struct scope *scope = &v->scopes[v->depth];
    scope->kind = op->kind;
    scope->counter = op->dst;
    scope->defined_before = v->defined + (v->depth + 1) * n_flags;
    memcpy(scope->defined_before, v->defined, n_flags);
    v->depth++;
    if (op->kind == RSR_KOP_LOOP) {
        require(v, op->imm > 0, "loop step is not positive");
        if (op->dst >= v->n_regs || !rsrc_kreg_is_index(&v->regs[op->dst]))
            require(v, false, "loop counter is no 64-bit scalar");
        else {
            require(v, !v->defined[op->dst], "loop counter is used outside its loop");
            v->defined[op->dst] = 1;
        }
    }
}

/* A loop or branch may not have run, so registers that it defines are undefined after it. */
static void close_scope(struct verifier *v, const struct rsr_kop *op) {
    if (v->depth == 0) {
        require(v, false, "END or ELSE without LOOP or IF");
        return;
    }
    struct scope *scope = &v->scopes[v->depth - 1];
    require(v, v->defined[v->n_regs] == scope->defined_before[v->n_regs],
            "TILE_BEGIN and TILE_END in different blocks");
    memcpy(v->defined, scope->defined_before, v->n_regs + 1u);
    if (op->kind == RSR_KOP_ELSE) {
        require(v, scope->kind == RSR_KOP_IF, "ELSE outside IF");
        scope->kind = RSR_KOP_ELSE;
    } else {
        v->depth--;
    }
}

/* Between TILE_BEGIN and TILE_END; both leave every TILE register undefined. */
static void configure_tiles(struct verifier *v, bool on) {
    require(v, v->defined[v->n_regs] != on,
            on ? "TILE_BEGIN twice" : "TILE_END without TILE_BEGIN");
    v->defined[v->n_regs] = on;
    for (uint32_t i = 0; i < v->n_regs; i++)
        if (v->regs[i].elem == RSR_ELEM_TILE)
            v->defined[i] = 0;
}

/* ---- operations ------------------------------------------------------------------------------ */

/* Bodies are straight-line functions of two pointers. */
static bool fits_body(enum rsr_kop_kind kind) {
    switch (kind) {
    case RSR_KOP_LOOP:
    case RSR_KOP_IF:
    case RSR_KOP_ELSE:
    case RSR_KOP_END:
    case RSR_KOP_PARAM:
    case RSR_KOP_CALL:
        return false;
    default:
        return !rsrc_kop_is_tile(kind);
    }
}

/* Operations whose effect is on the verifier's state. False: an ordinary one. */
static bool check_structure(struct verifier *v, const struct rsr_kop *op) {
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_COMMENT:
        require(v, op->text != NULL, "comment without text");
        return true;
    case RSR_KOP_LOOP:
    case RSR_KOP_IF:
        open_scope(v, op);
        return true;
    case RSR_KOP_ELSE:
    case RSR_KOP_END:
        close_scope(v, op);
        return true;
    case RSR_KOP_CALL:
        require(v, v->kernel->n_bodies != 0, "CALL in a kernel without bodies");
        return true;
    case RSR_KOP_TILE_BEGIN:
    case RSR_KOP_TILE_END:
        configure_tiles(v, op->kind == RSR_KOP_TILE_BEGIN);
        return true;
    default:
        return false;
    }
}

static void check_result(struct verifier *v, const struct rsr_kop *op) {
    for (uint32_t i = 0; i < v->depth; i++)
        require(v, v->scopes[i].kind != RSR_KOP_LOOP || v->scopes[i].counter != op->dst,
                "loop counter is assigned");
    v->defined[op->dst] = 1;
}

static void check_op(struct verifier *v, const struct rsr_kop *op) {
    if (op->kind >= RSR_KOP_COUNT) {
        require(v, false, "no such operation");
        return;
    }
    require(v, !v->in_body || fits_body(op->kind), "operation that a body cannot have");
    const uint16_t operands[3] = {op->a, op->b, op->c};
    const struct rsr_kreg *regs[3] = {NULL, NULL, NULL};
    for (uint32_t i = 0; i < rsrc_kop_arity(op->kind); i++)
        regs[i] = use(v, operands[i]);
    if (rsrc_kop_has_address(op->kind))
        check_address(v, op);
    const bool has_result = rsrc_kop_has_result(op->kind);
    require(v, !has_result || op->dst < v->n_regs, "result register missing");
    require(v,
            !rsrc_kop_is_tile(op->kind) || op->kind == RSR_KOP_TILE_BEGIN || v->defined[v->n_regs],
            "TILE operation outside TILE_BEGIN and TILE_END");
    if (v->problem != NULL)
        return;
    require(
        v, rsrc_kop_types_fit(op, has_result ? &v->regs[op->dst] : NULL, regs[0], regs[1], regs[2]),
        "types do not fit the operation");
    if (v->problem == NULL && !check_structure(v, op) && has_result)
        check_result(v, op);
}

/* The number of the wrong operation; v->problem says what is wrong. */
static uint32_t check_ops(struct verifier *v, const struct rsr_kop *ops, uint32_t n_ops) {
    memset(v->defined, 0, v->n_regs + 1u);
    for (uint32_t i = 0; i < n_ops; i++) {
        check_op(v, &ops[i]);
        if (v->problem != NULL)
            return i;
    }
    require(v, v->depth == 0, "LOOP or IF without END");
    require(v, !v->defined[v->n_regs], "TILE_BEGIN without TILE_END");
    return n_ops;
}

/* ---- kernels --------------------------------------------------------------------------------- */

static const char *check_kernel_fields(const struct rsr_kernel *kernel) {
    if (kernel->tile_rows == 0 || kernel->n_tiles == 0 ||
        (uint64_t)kernel->tile_rows * (kernel->n_tiles - 1) >= kernel->computed_rows ||
        (uint64_t)kernel->tile_rows * kernel->n_tiles < kernel->computed_rows ||
        kernel->computed_rows > kernel->rows)
        return "tiles do not cover the rows";
    return is_symbol(kernel->symbol) ? NULL : "symbol is no identifier";
}

static struct rsrc_kernel_problem find_problem(struct rsrc_arena *arena,
                                               const struct rsr_kernel *kernel) {
    struct rsrc_kernel_problem problem = {.body = RSRC_NO_BODY, .op = RSRC_NO_OP};
    problem.what = check_regs(arena, kernel->regs, kernel->n_regs);
    if (problem.what == NULL)
        problem.what = check_regs(arena, kernel->body_regs, kernel->n_body_regs);
    if (problem.what == NULL)
        problem.what = check_kernel_fields(kernel);
    if (problem.what != NULL)
        return problem;

    struct verifier v = {.kernel = kernel, .regs = kernel->regs, .n_regs = kernel->n_regs};
    v.defined = rsrc_arena_array(arena, MAX_DEPTH + 1, kernel->n_regs + 1u);
    problem.op = check_ops(&v, kernel->ops, kernel->n_ops);
    if (v.problem == NULL) {
        v = (struct verifier){.kernel = kernel,
                              .regs = kernel->body_regs,
                              .n_regs = kernel->n_body_regs,
                              .in_body = true,
                              .defined = rsrc_arena_array(arena, 1, kernel->n_body_regs + 1u)};
        for (uint32_t b = 0; b < kernel->n_bodies && v.problem == NULL; b++) {
            problem.body = b;
            problem.op = check_ops(&v, kernel->bodies[b].ops, kernel->bodies[b].n_ops);
        }
    }
    problem.what = v.problem;
    return problem;
}

struct rsrc_kernel_problem rsrc_find_kernel_problem(const struct rsr_kernel *kernel) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    const struct rsrc_kernel_problem problem = find_problem(&arena, kernel);
    rsrc_arena_free(&arena);
    return problem;
}

enum rsrc_status rsrc_verify_kernel(struct rsrc_diag *diag, const struct rsr_kernel *kernel) {
    const struct rsrc_kernel_problem problem = rsrc_find_kernel_problem(kernel);
    if (problem.what == NULL)
        return RSRC_OK;
    char where[64] = "";
    if (problem.body != RSRC_NO_BODY)
        snprintf(where, sizeof where, "body %" PRIu32 ", operation %" PRIu32 ": ", problem.body,
                 problem.op);
    else if (problem.op != RSRC_NO_OP)
        snprintf(where, sizeof where, "operation %" PRIu32 ": ", problem.op);
    return rsrc_refuse(diag, "kernel-invalid", NULL,
                       "this is a defect of rsrc; please report it with the kernel's text",
                       "kernel '%s', %s%s", kernel->symbol, where, problem.what);
}
