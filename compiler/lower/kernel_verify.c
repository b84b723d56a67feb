/* kernel_verify.c - checks a kernel before a back end sees it.
 *
 * Registers are named, typed and defined before use on every path; types fit their operations; loops
 * and branches close; addresses have 64-bit terms; only y and scratch are written. A failure is a defect
 * of lowering, reported with the operation's number so that the printed kernel shows it.
 */
#include <stdio.h>
#include <string.h>

#include "lower/lower.h"

#define MAX_DEPTH 16

struct scope {
    uint16_t kind;           /* LOOP, IF or ELSE */
    uint16_t counter;        /* LOOP */
    uint8_t *defined_before; /* registers defined where the scope opened */
};

struct verifier {
    const struct rsr_kernel *kernel;
    uint8_t *defined; /* a flag a register */
    struct scope scopes[MAX_DEPTH];
    uint32_t depth;
    const char *problem; /* NULL: none yet */
};

static const uint8_t elem_bytes[RSR_ELEM_COUNT] = {
    [RSR_ELEM_I8] = 1,  [RSR_ELEM_U8] = 1,  [RSR_ELEM_I16] = 2,
    [RSR_ELEM_U16] = 2, [RSR_ELEM_I32] = 4, [RSR_ELEM_U32] = 4,
    [RSR_ELEM_I64] = 8, [RSR_ELEM_F32] = 4, [RSR_ELEM_TILE] = 0};

static void require(struct verifier *v, bool holds, const char *problem) {
    if (!holds && v->problem == NULL)
        v->problem = problem;
}

static uint32_t reg_bytes(const struct rsr_kreg *reg) {
    return elem_bytes[reg->elem] * reg->lanes;
}

static bool is_type(const struct rsr_kreg *reg, enum rsr_elem elem, uint32_t lanes) {
    return reg->elem == elem && reg->lanes == lanes;
}

static bool is_index(const struct rsr_kreg *reg) {
    return is_type(reg, RSR_ELEM_I64, 1);
}

static bool same_type(const struct rsr_kreg *a, const struct rsr_kreg *b) {
    return is_type(a, b->elem, b->lanes);
}

static bool is_integer(const struct rsr_kreg *reg) {
    return reg->elem != RSR_ELEM_F32;
}

static bool is_identifier(const char *name) {
    if (name == NULL || !(name[0] >= 'a' && name[0] <= 'z'))
        return false;
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static bool check_regs(struct verifier *v) {
    const struct rsr_kernel *kernel = v->kernel;
    for (uint32_t i = 0; i < kernel->n_regs; i++) {
        const struct rsr_kreg *reg = &kernel->regs[i];
        if ((uint32_t)reg->elem >= RSR_ELEM_COUNT || reg->lanes == 0 || reg->lanes > 64 ||
            (reg->lanes & (reg->lanes - 1)) != 0) {
            require(v, false, "register of no type");
            return false;
        }
        require(v, is_identifier(reg->name), "register name is no identifier");
        for (uint32_t j = 0; j < i && v->problem == NULL; j++)
            require(v, strcmp(reg->name, kernel->regs[j].name) != 0, "register name used twice");
    }
    return v->problem == NULL;
}

/* The register, or NULL after noting that it is missing or undefined. */
static const struct rsr_kreg *use(struct verifier *v, uint16_t reg) {
    if (reg >= v->kernel->n_regs) {
        require(v, false, "operand missing");
        return NULL;
    }
    require(v, v->defined[reg], "register read before it is set");
    return &v->kernel->regs[reg];
}

static void check_address(struct verifier *v, const struct rsr_kop *op) {
    require(v, op->buffer < RSR_KBUF_COUNT, "no such buffer");
    require(v,
            op->kind != RSR_KOP_STORE || op->buffer == RSR_KBUF_Y || op->buffer == RSR_KBUF_SCRATCH,
            "store to a buffer that is only read");
    for (uint32_t i = 0; i < 3; i++)
        if (op->term[i] != RSR_NO_KREG) {
            const struct rsr_kreg *term = use(v, op->term[i]);
            require(v, term == NULL || is_index(term), "address term is no 64-bit scalar");
        }
}

static void open_scope(struct verifier *v, const struct rsr_kop *op) {
    if (v->depth == MAX_DEPTH) {
        require(v, false, "nested too deep");
        return;
    }
    const uint32_t n = v->kernel->n_regs;
    struct scope *scope = &v->scopes[v->depth];
    scope->kind = op->kind;
    scope->counter = op->dst;
    scope->defined_before = v->defined + (size_t)(v->depth + 1) * n;
    memcpy(scope->defined_before, v->defined, n);
    v->depth++;
    if (op->kind == RSR_KOP_LOOP) {
        require(v, op->imm > 0, "loop step is not positive");
        if (op->dst >= n || !is_index(&v->kernel->regs[op->dst]))
            require(v, false, "loop counter is no 64-bit scalar");
        else {
            require(v, !v->defined[op->dst], "loop counter is used outside its loop");
            v->defined[op->dst] = 1;
        }
    }
}

/* What a loop or a branch defines may not have happened: it does not count behind it. */
static void close_scope(struct verifier *v, const struct rsr_kop *op) {
    if (v->depth == 0) {
        require(v, false, "END or ELSE without LOOP or IF");
        return;
    }
    struct scope *scope = &v->scopes[v->depth - 1];
    memcpy(v->defined, scope->defined_before, v->kernel->n_regs);
    if (op->kind == RSR_KOP_ELSE) {
        require(v, scope->kind == RSR_KOP_IF, "ELSE outside IF");
        scope->kind = RSR_KOP_ELSE;
    } else {
        v->depth--;
    }
}

/* The types of one operation with a result. Missing operands are NULL. */
static bool types_fit(const struct rsr_kop *op, const struct rsr_kreg *d, const struct rsr_kreg *a,
                      const struct rsr_kreg *b, const struct rsr_kreg *c) {
    const uint32_t bits = elem_bytes[d->elem] * 8u;
    const bool shift_fits = op->imm >= 0 && op->imm < bits;
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_CONST:
    case RSR_KOP_LOAD:
        return true;
    case RSR_KOP_PARAM:
        return is_index(d) && op->imm >= 0 && op->imm <= RSR_KPARAM_TILE_END;
    case RSR_KOP_COPY:
        return same_type(d, a);
    case RSR_KOP_ADD:
    case RSR_KOP_SUB:
    case RSR_KOP_MUL:
        return same_type(d, a) && same_type(d, b);
    case RSR_KOP_MIN:
        return same_type(d, a) && same_type(d, b) && d->lanes == 1;
    case RSR_KOP_AND:
        return same_type(d, a) && same_type(d, b) && is_integer(d);
    case RSR_KOP_SHR:
    case RSR_KOP_SHL:
        return same_type(d, a) && is_integer(d) && shift_fits;
    case RSR_KOP_SPLAT:
        return is_type(a, d->elem, 1) && d->lanes > 1;
    case RSR_KOP_EXTRACT:
        return is_type(d, a->elem, 1) && a->lanes > 1 && op->imm >= 0 && op->imm < a->lanes;
    case RSR_KOP_CONVERT:
        return d->lanes == a->lanes &&
               ((is_integer(d) && is_integer(a) && elem_bytes[d->elem] > elem_bytes[a->elem]) ||
                (d->elem == RSR_ELEM_F32 && a->elem == RSR_ELEM_I32));
    case RSR_KOP_BITCAST:
        return reg_bytes(d) == reg_bytes(a);
    case RSR_KOP_ZIP_ADD:
        return same_type(d, a) && same_type(d, b) && is_integer(d) && op->imm >= 1 &&
               (op->imm & (op->imm - 1)) == 0 && 2 * op->imm <= d->lanes;
    case RSR_KOP_HALVES_ADD:
        return is_type(a, d->elem, 2 * d->lanes) && d->lanes > 1 && is_integer(d);
    case RSR_KOP_DOT_U8S8:
        return d->elem == RSR_ELEM_I32 && same_type(d, a) && reg_bytes(b) == reg_bytes(d) &&
               reg_bytes(c) == reg_bytes(d);
    case RSR_KOP_MADD_U8S8:
        return d->elem == RSR_ELEM_I16 && reg_bytes(a) == reg_bytes(d) &&
               reg_bytes(b) == reg_bytes(d);
    case RSR_KOP_MADD_I16:
        return d->elem == RSR_ELEM_I32 && is_type(a, RSR_ELEM_I16, 2 * d->lanes) && same_type(a, b);
    default:
        break;
    }
    return false;
}

static void check_op(struct verifier *v, const struct rsr_kop *op) {
    static const uint8_t arity[RSR_KOP_COUNT] = {
#define X(name, n, help) [RSR_KOP_##name] = n,
        RSR_KOPS(X)
#undef X
    };
    const uint16_t operands[3] = {op->a, op->b, op->c};
    const struct rsr_kreg *regs[3] = {NULL, NULL, NULL};
    for (uint32_t i = 0; i < arity[op->kind]; i++)
        regs[i] = use(v, operands[i]);
    if (op->kind == RSR_KOP_LOAD || op->kind == RSR_KOP_STORE || op->kind == RSR_KOP_PREFETCH)
        check_address(v, op);
    if (v->problem != NULL)
        return;
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_COMMENT:
        require(v, op->text != NULL, "comment without text");
        return;
    case RSR_KOP_LOOP:
    case RSR_KOP_IF:
        require(v, is_index(regs[0]) && is_index(regs[1]), "bounds are no 64-bit scalars");
        open_scope(v, op);
        return;
    case RSR_KOP_ELSE:
    case RSR_KOP_END:
        close_scope(v, op);
        return;
    case RSR_KOP_STORE:
    case RSR_KOP_PREFETCH:
        return;
    default:
        break;
    }
    if (op->dst >= v->kernel->n_regs) {
        require(v, false, "result register missing");
        return;
    }
    for (uint32_t i = 0; i < v->depth; i++)
        require(v, v->scopes[i].kind != RSR_KOP_LOOP || v->scopes[i].counter != op->dst,
                "loop counter is assigned");
    require(v, types_fit(op, &v->kernel->regs[op->dst], regs[0], regs[1], regs[2]),
            "types do not fit the operation");
    v->defined[op->dst] = 1;
}

enum rsrc_status rsrc_verify_kernel(struct rsrc_diag *diag, const struct rsr_kernel *kernel) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    struct verifier v = {.kernel = kernel};
    v.defined = rsrc_arena_array(&arena, MAX_DEPTH + 1, kernel->n_regs + 1u);
    uint32_t at = 0;
    if (check_regs(&v)) {
        for (; at < kernel->n_ops && v.problem == NULL; at++) {
            const struct rsr_kop *op = &kernel->ops[at];
            if (op->kind >= RSR_KOP_COUNT)
                require(&v, false, "no such operation");
            else
                check_op(&v, op);
        }
        require(&v, v.depth == 0, "LOOP or IF without END");
    }
    require(&v,
            kernel->tile_rows != 0 && kernel->n_tiles != 0 &&
                (uint64_t)kernel->tile_rows * (kernel->n_tiles - 1) < kernel->rows &&
                (uint64_t)kernel->tile_rows * kernel->n_tiles >= kernel->rows,
            "tiles do not cover the rows");
    if (v.problem != NULL)
        rsrc_error(diag, "kernel-invalid", NULL,
                   "this is a defect of rsrc; please report it with the kernel's text",
                   "kernel '%s', operation %u: %s", kernel->symbol, at, v.problem);
    rsrc_arena_free(&arena);
    return v.problem == NULL ? RSRC_OK : RSRC_FAILED;
}
