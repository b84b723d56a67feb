/* kernel_builder.h - appends operations and registers to a kernel.
 *
 * Lowering builds kernels with these calls alone. Mistakes of lowering (too many registers, loops
 * left open) are caught by asserts here and by kernel_verify.c.
 */
#ifndef RSRC_KERNEL_KERNEL_BUILDER_H
#define RSRC_KERNEL_KERNEL_BUILDER_H

#include "ir.h"

struct rsrc_kb {
    struct rsrc_arena *arena;
    struct rsr_kernel *kernel;
    struct rsr_kbody *body; /* the body being built; NULL: operations go to the kernel itself */
    uint32_t ops_capacity, regs_capacity;
    uint32_t bodies_capacity, body_ops_capacity, body_regs_capacity;
    uint32_t depth; /* open LOOP and IF */
};

/* The kernel's ops and regs must be empty; they are allocated from the arena. */
void rsrc_kb_init(struct rsrc_kb *kb, struct rsrc_arena *arena, struct rsr_kernel *kernel);
/* Asserts that every LOOP and IF is closed. */
void rsrc_kb_finish(struct rsrc_kb *kb);

/* A new register. The name must be unique in the kernel. */
uint16_t rsrc_kb_reg(struct rsrc_kb *kb, enum rsr_elem elem, uint32_t lanes, const char *format,
                     ...) __attribute__((format(printf, 4, 5)));

/* Like rsrc_kb_reg, for the registers that all bodies share. */
uint16_t rsrc_kb_body_reg(struct rsrc_kb *kb, enum rsr_elem elem, uint32_t lanes,
                          const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Operations between these two calls go to a new body, and use only registers of rsrc_kb_body_reg.
 * rsrc_kb_end_body returns the body's number for CALL. */
void rsrc_kb_body_begin(struct rsrc_kb *kb);
uint32_t rsrc_kb_body_end(struct rsrc_kb *kb);

/* Operations that return their result register, for nesting. */
uint16_t rsrc_kb_binary(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a,
                        uint16_t b);
uint16_t rsrc_kb_unary(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a);
/* DOT_U8S8, DOT_S8S8, FMA, TABLE2, TILE_DOT_S8S8. */
uint16_t rsrc_kb_ternary(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a,
                         uint16_t b, uint16_t c);
/* Unary with an immediate: SHR, SHL, EXTRACT, SPREAD_BIT. */
uint16_t rsrc_kb_immediate(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a,
                           int64_t imm);
uint16_t rsrc_kb_zip_add(struct rsrc_kb *kb, uint16_t dst, uint16_t a, uint16_t b, uint32_t unit);
uint16_t rsrc_kb_const(struct rsrc_kb *kb, uint16_t dst, int64_t value);
uint16_t rsrc_kb_const_f32(struct rsrc_kb *kb, uint16_t dst, float value);
uint16_t rsrc_kb_param(struct rsrc_kb *kb, uint16_t dst, enum rsr_kparam param);

/* Indexes are i64 scalars: counters, sizes, offsets in bytes. These make a new register, a register
 * with a constant, and one with the result of a binary operation. */
uint16_t rsrc_kb_index_reg(struct rsrc_kb *kb, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint16_t rsrc_kb_index_const(struct rsrc_kb *kb, uint64_t value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
uint16_t rsrc_kb_index_op(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t a, uint16_t b,
                          const char *format, ...) __attribute__((format(printf, 5, 6)));

void rsrc_kb_comment(struct rsrc_kb *kb, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void rsrc_kb_loop(struct rsrc_kb *kb, uint16_t counter, uint16_t first, uint16_t end, int64_t step);
void rsrc_kb_if_less(struct rsrc_kb *kb, uint16_t a, uint16_t b);
void rsrc_kb_else(struct rsrc_kb *kb);
void rsrc_kb_end(struct rsrc_kb *kb);

/* imm + sum of term * scale, in bytes, by value. */
struct rsrc_address {
    enum rsr_kbuf buffer;
    int64_t imm;
    uint32_t n_terms;
    uint16_t term[3];
    int64_t scale[3];
};

struct rsrc_address rsrc_address_at(enum rsr_kbuf buffer, int64_t imm);
struct rsrc_address rsrc_address_plus(struct rsrc_address address, uint16_t term, int64_t scale);
struct rsrc_address rsrc_address_offset(struct rsrc_address address, int64_t imm);

uint16_t rsrc_kb_load(struct rsrc_kb *kb, uint16_t dst, struct rsrc_address address);
void rsrc_kb_store(struct rsrc_kb *kb, uint16_t value, struct rsrc_address address);
void rsrc_kb_prefetch(struct rsrc_kb *kb, struct rsrc_address address);
uint16_t rsrc_kb_load_lanes(struct rsrc_kb *kb, uint16_t dst, struct rsrc_address address);
/* ADD_MEM, SUB_MEM. */
uint16_t rsrc_kb_binary_memory(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a,
                               struct rsrc_address address);
/* All three are 64-bit scalars: a body's number, and two offsets in bytes from the start of the
 * scratch memory. */
void rsrc_kb_call(struct rsrc_kb *kb, uint16_t body, uint16_t columns, uint16_t sums);

void rsrc_kb_tile_begin(struct rsrc_kb *kb);
void rsrc_kb_tile_end(struct rsrc_kb *kb);
uint16_t rsrc_kb_tile_load(struct rsrc_kb *kb, uint16_t dst, struct rsrc_address address,
                           uint16_t stride);
void rsrc_kb_tile_store(struct rsrc_kb *kb, uint16_t tile, struct rsrc_address address,
                        uint16_t stride);

#endif
