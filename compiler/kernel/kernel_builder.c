/* kernel_builder.c - appends operations and registers to a kernel; see kernel_builder.h. */
#include "kernel/kernel_builder.h"

#include <assert.h>
#include <stdio.h>

void rsrc_kb_init(struct rsrc_kb *kb, struct rsrc_arena *arena, struct rsr_kernel *kernel) {
    assert(kernel->n_ops == 0 && kernel->n_regs == 0);
    *kb = (struct rsrc_kb){.arena = arena, .kernel = kernel};
}

void rsrc_kb_finish(struct rsrc_kb *kb) {
    assert(kb->depth == 0 && kb->body == NULL);
    (void)kb;
}

/* The registers of the kernel, or of its bodies. */
struct reg_list {
    struct rsr_kreg **regs;
    uint32_t *n_regs, *capacity;
};

static uint16_t append_reg(struct rsrc_kb *kb, const struct reg_list *list, enum rsr_elem elem,
                           uint32_t lanes, const char *format, va_list args) {
    char name[64];
    const int n = vsnprintf(name, sizeof name, format, args);
    assert(n > 0 && (size_t)n < sizeof name && *list->n_regs < RSR_NO_KREG);
    (void)n;
    *list->regs = rsrc_arena_grown(kb->arena, *list->regs, *list->n_regs, list->capacity,
                                   sizeof **list->regs);
    (*list->regs)[*list->n_regs] =
        (struct rsr_kreg){.name = rsrc_arena_strdup(kb->arena, name), .elem = elem, .lanes = lanes};
    return (uint16_t)(*list->n_regs)++;
}

static uint16_t append_kernel_reg(struct rsrc_kb *kb, enum rsr_elem elem, uint32_t lanes,
                                  const char *format, va_list args) {
    const struct reg_list list = {&kb->kernel->regs, &kb->kernel->n_regs, &kb->regs_capacity};
    return append_reg(kb, &list, elem, lanes, format, args);
}

uint16_t rsrc_kb_reg(struct rsrc_kb *kb, enum rsr_elem elem, uint32_t lanes, const char *format,
                     ...) {
    va_list args;
    va_start(args, format);
    const uint16_t reg = append_kernel_reg(kb, elem, lanes, format, args);
    va_end(args);
    return reg;
}

uint16_t rsrc_kb_body_reg(struct rsrc_kb *kb, enum rsr_elem elem, uint32_t lanes,
                          const char *format, ...) {
    const struct reg_list list = {&kb->kernel->body_regs, &kb->kernel->n_body_regs,
                                  &kb->body_regs_capacity};
    va_list args;
    va_start(args, format);
    const uint16_t reg = append_reg(kb, &list, elem, lanes, format, args);
    va_end(args);
    return reg;
}

void rsrc_kb_body_begin(struct rsrc_kb *kb) {
    struct rsr_kernel *kernel = kb->kernel;
    assert(kb->body == NULL);
    kernel->bodies = rsrc_arena_grown(kb->arena, kernel->bodies, kernel->n_bodies,
                                      &kb->bodies_capacity, sizeof *kernel->bodies);
    kb->body = &kernel->bodies[kernel->n_bodies++];
    *kb->body = (struct rsr_kbody){0};
    kb->body_ops_capacity = 0;
}

uint32_t rsrc_kb_body_end(struct rsrc_kb *kb) {
    assert(kb->body != NULL);
    kb->body = NULL;
    return kb->kernel->n_bodies - 1;
}

/* Appends an operation of this kind, without operands. */
static struct rsr_kop *append(struct rsrc_kb *kb, enum rsr_kop_kind kind) {
    struct rsr_kop **ops = kb->body != NULL ? &kb->body->ops : &kb->kernel->ops;
    uint32_t *n_ops = kb->body != NULL ? &kb->body->n_ops : &kb->kernel->n_ops;
    uint32_t *capacity = kb->body != NULL ? &kb->body_ops_capacity : &kb->ops_capacity;
    *ops = rsrc_arena_grown(kb->arena, *ops, *n_ops, capacity, sizeof **ops);
    struct rsr_kop *op = &(*ops)[(*n_ops)++];
    *op = (struct rsr_kop){.kind = (uint16_t)kind,
                           .dst = RSR_NO_KREG,
                           .a = RSR_NO_KREG,
                           .b = RSR_NO_KREG,
                           .c = RSR_NO_KREG,
                           .term = {RSR_NO_KREG, RSR_NO_KREG, RSR_NO_KREG}};
    return op;
}

static uint16_t append_op(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a,
                          uint16_t b, uint16_t c, int64_t imm) {
    struct rsr_kop *op = append(kb, kind);
    op->dst = dst;
    op->a = a;
    op->b = b;
    op->c = c;
    op->imm = imm;
    return dst;
}

uint16_t rsrc_kb_binary(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a,
                        uint16_t b) {
    return append_op(kb, kind, dst, a, b, RSR_NO_KREG, 0);
}

uint16_t rsrc_kb_unary(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a) {
    return append_op(kb, kind, dst, a, RSR_NO_KREG, RSR_NO_KREG, 0);
}

uint16_t rsrc_kb_immediate(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a,
                           int64_t imm) {
    return append_op(kb, kind, dst, a, RSR_NO_KREG, RSR_NO_KREG, imm);
}

uint16_t rsrc_kb_zip_add(struct rsrc_kb *kb, uint16_t dst, uint16_t a, uint16_t b, uint32_t unit) {
    return append_op(kb, RSR_KOP_ZIP_ADD, dst, a, b, RSR_NO_KREG, unit);
}

uint16_t rsrc_kb_ternary(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a,
                         uint16_t b, uint16_t c) {
    return append_op(kb, kind, dst, a, b, c, 0);
}

uint16_t rsrc_kb_const(struct rsrc_kb *kb, uint16_t dst, int64_t value) {
    return append_op(kb, RSR_KOP_CONST, dst, RSR_NO_KREG, RSR_NO_KREG, RSR_NO_KREG, value);
}

uint16_t rsrc_kb_const_f32(struct rsrc_kb *kb, uint16_t dst, float value) {
    struct rsr_kop *op = append(kb, RSR_KOP_CONST);
    op->dst = dst;
    op->fimm = value;
    return dst;
}

uint16_t rsrc_kb_param(struct rsrc_kb *kb, uint16_t dst, enum rsr_kparam param) {
    return append_op(kb, RSR_KOP_PARAM, dst, RSR_NO_KREG, RSR_NO_KREG, RSR_NO_KREG, param);
}

uint16_t rsrc_kb_index_reg(struct rsrc_kb *kb, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const uint16_t reg = append_kernel_reg(kb, RSR_ELEM_I64, 1, format, args);
    va_end(args);
    return reg;
}

uint16_t rsrc_kb_index_const(struct rsrc_kb *kb, uint64_t value, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const uint16_t reg = append_kernel_reg(kb, RSR_ELEM_I64, 1, format, args);
    va_end(args);
    return rsrc_kb_const(kb, reg, (int64_t)value);
}

uint16_t rsrc_kb_index_op(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t a, uint16_t b,
                          const char *format, ...) {
    va_list args;
    va_start(args, format);
    const uint16_t reg = append_kernel_reg(kb, RSR_ELEM_I64, 1, format, args);
    va_end(args);
    return rsrc_kb_binary(kb, kind, reg, a, b);
}

void rsrc_kb_comment(struct rsrc_kb *kb, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    append(kb, RSR_KOP_COMMENT)->text = rsrc_arena_strdup(kb->arena, text);
}

void rsrc_kb_loop(struct rsrc_kb *kb, uint16_t counter, uint16_t first, uint16_t end,
                  int64_t step) {
    append_op(kb, RSR_KOP_LOOP, counter, first, end, RSR_NO_KREG, step);
    kb->depth++;
}

void rsrc_kb_if_less(struct rsrc_kb *kb, uint16_t a, uint16_t b) {
    append_op(kb, RSR_KOP_IF, RSR_NO_KREG, a, b, RSR_NO_KREG, 0);
    kb->depth++;
}

void rsrc_kb_else(struct rsrc_kb *kb) {
    assert(kb->depth > 0);
    append(kb, RSR_KOP_ELSE);
}

void rsrc_kb_end(struct rsrc_kb *kb) {
    assert(kb->depth > 0);
    append(kb, RSR_KOP_END);
    kb->depth--;
}

struct rsrc_address rsrc_address_at(enum rsr_kbuf buffer, int64_t imm) {
    return (struct rsrc_address){.buffer = buffer, .imm = imm};
}

struct rsrc_address rsrc_address_plus(struct rsrc_address address, uint16_t term, int64_t scale) {
    assert(address.n_terms < 3);
    address.term[address.n_terms] = term;
    address.scale[address.n_terms] = scale;
    address.n_terms++;
    return address;
}

struct rsrc_address rsrc_address_offset(struct rsrc_address address, int64_t imm) {
    address.imm += imm;
    return address;
}

static struct rsr_kop *append_memory(struct rsrc_kb *kb, enum rsr_kop_kind kind,
                                     const struct rsrc_address *address) {
    struct rsr_kop *op = append(kb, kind);
    op->buffer = (uint16_t)address->buffer;
    op->imm = address->imm;
    for (uint32_t i = 0; i < address->n_terms; i++) {
        op->term[i] = address->term[i];
        op->term_scale[i] = address->scale[i];
    }
    return op;
}

uint16_t rsrc_kb_load(struct rsrc_kb *kb, uint16_t dst, struct rsrc_address address) {
    append_memory(kb, RSR_KOP_LOAD, &address)->dst = dst;
    return dst;
}

void rsrc_kb_store(struct rsrc_kb *kb, uint16_t value, struct rsrc_address address) {
    append_memory(kb, RSR_KOP_STORE, &address)->a = value;
}

void rsrc_kb_prefetch(struct rsrc_kb *kb, struct rsrc_address address) {
    append_memory(kb, RSR_KOP_PREFETCH, &address);
}

uint16_t rsrc_kb_load_lanes(struct rsrc_kb *kb, uint16_t dst, struct rsrc_address address) {
    append_memory(kb, RSR_KOP_LOAD_LANES, &address)->dst = dst;
    return dst;
}

uint16_t rsrc_kb_binary_memory(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a,
                               struct rsrc_address address) {
    struct rsr_kop *op = append_memory(kb, kind, &address);
    op->dst = dst;
    op->a = a;
    return dst;
}

void rsrc_kb_call(struct rsrc_kb *kb, uint16_t body, uint16_t columns, uint16_t sums) {
    append_op(kb, RSR_KOP_CALL, RSR_NO_KREG, body, columns, sums, 0);
}

void rsrc_kb_tile_begin(struct rsrc_kb *kb) {
    append(kb, RSR_KOP_TILE_BEGIN);
}

void rsrc_kb_tile_end(struct rsrc_kb *kb) {
    append(kb, RSR_KOP_TILE_END);
}

uint16_t rsrc_kb_tile_load(struct rsrc_kb *kb, uint16_t dst, struct rsrc_address address,
                           uint16_t stride) {
    struct rsr_kop *op = append_memory(kb, RSR_KOP_TILE_LOAD, &address);
    op->dst = dst;
    op->a = stride;
    return dst;
}

void rsrc_kb_tile_store(struct rsrc_kb *kb, uint16_t tile, struct rsrc_address address,
                        uint16_t stride) {
    struct rsr_kop *op = append_memory(kb, RSR_KOP_TILE_STORE, &address);
    op->a = tile;
    op->b = stride;
}
