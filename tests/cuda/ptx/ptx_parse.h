/* ptx_parse.h - the interface between ptx_parse.c, which reads statements, and ptx_decode.c, which
 * knows opcodes. */
#ifndef TESTS_CUDA_PTX_PARSE_H
#define TESTS_CUDA_PTX_PARSE_H

#include "ptx.h"

enum ptx_word_kind {
    PTX_REGISTER,
    PTX_INTEGER,
    PTX_BITS32,    /* 0f3f800000 */
    PTX_BITS64,    /* 0d3ff0000000000000 */
    PTX_PARAMETER, /* value: its number */
    PTX_LABEL
};

/* One word of an operand list. */
struct ptx_word {
    enum ptx_word_kind kind;
    uint32_t group;   /* which operand of the list: {a, b} and d|p are one */
    bool is_address;  /* in brackets */
    bool is_negative; /* PTX_INTEGER: value is its two's complement */
    uint32_t register_;
    uint64_t value, offset;
    const char *label;
};

#define PTX_MAX_PARAMETERS 64u
#define PTX_MAX_DECLARED 256u
#define PTX_MAX_REGISTERS (1u << 20) /* of a thread: those of straight-line code are many */

/* .reg .b32 %r<10>, or one name; .shared .b8 name[16]. */
struct ptx_declared {
    const char *name;
    uint32_t first, count; /* registers; count 0: one, without a number */
    uint32_t bits;
    uint64_t address; /* shared */
};

struct ptx_label {
    const char *name;
    uint32_t at, line; /* instruction */
};

struct ptx_parser {
    struct rsrc_arena *arena;
    const char *at, *end;
    uint32_t line;
    struct ptx_error *error;
    struct ptx_module *module;
    uint32_t kernel_capacity, opcode_capacity;
    /* of the kernel: */
    struct ptx_kernel *kernel;
    struct ptx_declared registers[PTX_MAX_DECLARED], shared[PTX_MAX_DECLARED];
    uint32_t n_registers, n_shared; /* declarations */
    uint32_t n_module_shared;       /* the first of `shared` are the module's */
    uint32_t module_shared_bytes;
    uint8_t *register_bits; /* [PTX_MAX_REGISTERS] */
    ptx_row *constants;
    uint32_t n_constants, constant_capacity, instruction_capacity;
    struct ptx_label *labels, *branches;
    uint32_t n_labels, label_capacity, n_branches, branch_capacity;
    /* of the statement: */
    const char *opcode;
    struct ptx_word words[PTX_MAX_OPERANDS];
    uint32_t n_words, n_groups;
};

/* Reports a mistake of the current line; returns false. */
bool ptx_refuse(struct ptx_parser *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Fills in an instruction from the statement's opcode and words. */
bool ptx_decode(struct ptx_parser *p, struct ptx_instruction *in);
/* The number of a constant for an operand. */
int32_t ptx_constant(struct ptx_parser *p, uint64_t value);

#endif
