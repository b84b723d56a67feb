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
    uint32_t (*nested)[3]; /* by operation and operand: the one whose value is printed there;
                              UINT32_MAX: a register's name is */
    bool *is_left_out;     /* by operation: no statement, as its value is nested or is not read */
};

#define RSRC_C_COLUMNS 100u

bool rsrc_c_opens_block(const struct rsr_kop *op);
bool rsrc_c_closes_block(const struct rsr_kop *op);
/* Fills nested and is_left_out: which values are printed where they are read. */
void rsrc_c_nest(struct rsrc_c_code *code, struct rsrc_arena *arena);
/* Fills the declarations, once values are nested: each variable in the innermost block that holds
 * all its uses. */
void rsrc_c_place_declarations(struct rsrc_c_code *code, struct rsrc_arena *arena);
/* The name of a buffer in the text, "scales". */
const char *rsrc_c_buffer_name(enum rsr_kbuf buffer);
/* The statements, with declarations, one level deep. The arena is for what they are put together
 * from. */
void rsrc_c_put_code(const struct rsrc_c_code *code, struct rsrc_arena *arena,
                     struct rsrc_buffer *out);
/* A statement or a comment, which ends with \n, in lines of at most RSRC_C_COLUMNS where it can be
 * cut; what its lines begin with. */
void rsrc_c_put_lines(const char *text, const char *first, const char *next,
                      struct rsrc_buffer *out);

#endif
