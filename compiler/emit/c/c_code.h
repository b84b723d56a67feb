/* c_code.h - a list of operations as C statements: a kernel's own, or one body's. */
#ifndef RSRC_EMIT_C_CODE_H
#define RSRC_EMIT_C_CODE_H

#include "ir.h"

/* The place of a register's declaration: at its first assignment, or alone before operation
 * `at`. */
struct rsrc_c_declaration {
    uint32_t at; /* UINT32_MAX: nowhere, or in its for statement */
    bool by_assignment;
    bool constant;      /* assigned once */
    uint32_t next_here; /* next register in the list of variables declared before `at`; UINT32_MAX:
                           end */
};

struct rsrc_c_code {
    const struct rsr_kernel *kernel;
    const struct rsr_kreg *regs; /* the kernel's, or those of its bodies */
    uint32_t n_regs;
    const struct rsr_kop *ops;
    uint32_t n_ops;
    struct rsrc_c_declaration *declarations; /* by register */
    uint32_t *declared_before;               /* by operation: first register of that list;
                                                UINT32_MAX: none */
};

bool rsrc_c_opens_block(const struct rsr_kop *op);
bool rsrc_c_closes_block(const struct rsr_kop *op);
/* Fills the declarations: each variable in the innermost block that holds all its uses. */
void rsrc_c_place_declarations(struct rsrc_c_code *code, struct rsrc_arena *arena);
/* The name of a buffer in the text, "scales". */
const char *rsrc_c_buffer_name(enum rsr_kbuf buffer);
/* The statements, with declarations, one level deep. */
void rsrc_c_put_code(const struct rsrc_c_code *code, struct rsrc_buffer *out);

#endif
