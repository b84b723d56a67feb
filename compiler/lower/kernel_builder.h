/* kernel_builder.h - appends operations and registers to a kernel.
 *
 * Lowering builds kernels with these calls alone. Mistakes of lowering (too many registers, loops left
 * open) are caught by asserts here and by kernel_verify.c.
 */
#ifndef RSRC_LOWER_KERNEL_BUILDER_H
#define RSRC_LOWER_KERNEL_BUILDER_H

#include "ir.h"

struct rsrc_kb {
    struct rsrc_arena *arena;
    struct rsr_kernel *kernel;
    uint32_t ops_capacity;
    uint32_t regs_capacity;
    uint32_t depth; /* open LOOP and IF */
};

/* The kernel's ops and regs must be empty; they are allocated from the arena. */
void rsrc_kb_init(struct rsrc_kb *kb, struct rsrc_arena *arena, struct rsr_kernel *kernel);
/* Asserts that every LOOP and IF is closed. */
void rsrc_kb_finish(struct rsrc_kb *kb);

/* A new register. The name must be unique in the kernel. */
uint16_t rsrc_kb_reg(struct rsrc_kb *kb, enum rsr_elem elem, uint32_t lanes, const char *format,
                     ...) __attribute__((format(printf, 4, 5)));

/* Operations that give their result register back, for nesting. */
uint16_t rsrc_kb_binary(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a,
                        uint16_t b);
uint16_t rsrc_kb_unary(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a);
/* Unary with an immediate: SHR, SHL, EXTRACT. */
uint16_t rsrc_kb_immediate(struct rsrc_kb *kb, enum rsr_kop_kind kind, uint16_t dst, uint16_t a,
                           int64_t imm);
uint16_t rsrc_kb_zip_add(struct rsrc_kb *kb, uint16_t dst, uint16_t a, uint16_t b, uint32_t unit);
uint16_t rsrc_kb_dot_u8s8(struct rsrc_kb *kb, uint16_t dst, uint16_t a, uint16_t b, uint16_t c);
uint16_t rsrc_kb_const(struct rsrc_kb *kb, uint16_t dst, int64_t value);
uint16_t rsrc_kb_param(struct rsrc_kb *kb, uint16_t dst, enum rsr_kparam param);

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

#endif
