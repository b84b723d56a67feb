/* kernel.h - what kernels are lowered from, and their operation lists as checked and as text. */
#ifndef RSRC_KERNEL_KERNEL_H
#define RSRC_KERNEL_KERNEL_H

#include "ir.h"

struct rsrc_lower_input {
    const char
        *symbol_stem;  /* "l0_q": symbols become rsr_<stem>_<variant>_<isa>, rsr_w_<stem>_codes */
    const char *title; /* for the header comment; untrusted */
    const struct rsr_matrix *matrix;       /* reduced, if `reduction` is given */
    const struct rsr_reduction *reduction; /* NULL: the matrix is the layer's own */
    const struct rsr_index *index;         /* scatter and fold; else NULL */
    const struct rsr_regime_plan *plan;
    enum rsr_input input;
    const struct rsr_blob
        *codes; /* dot with RSR_PACKING_LUT: what lut has packed already; or NULL */
    const struct rsr_spec *spec;
    enum rsr_epilogue epilogue; /* of scales of column groups: SCALE */
};

/* Reports that int32 does not hold the sums of the layer's columns. */
RSRC_NODISCARD enum rsrc_status rsrc_refuse_wide(struct rsrc_diag *diag,
                                                 const struct rsrc_lower_input *input);

/* Bytes that `lut` stores a group's scale in: 2 where all of the matrix are binary16 numbers, else
 * 4; 0: groups have no scales. */
uint32_t rsrc_group_scale_bytes(const struct rsr_matrix *matrix);

/* What is wrong with a kernel, and where. */
#define RSRC_NO_BODY UINT32_MAX
#define RSRC_NO_OP UINT32_MAX
struct rsrc_kernel_problem {
    const char *what; /* NULL: nothing */
    uint32_t body;    /* RSRC_NO_BODY: in the code */
    uint32_t op;      /* the number of operations: at the end; RSRC_NO_OP: in registers or fields */
};
/* Registers defined before use, types that fit their operations, loops closed, addresses of loads
 * and stores of 64-bit terms. */
struct rsrc_kernel_problem rsrc_find_kernel_problem(const struct rsr_kernel *kernel);
/* The same for a kernel that lowering made: a problem is reported as a defect. */
RSRC_NODISCARD enum rsrc_status rsrc_verify_kernel(struct rsrc_diag *diag,
                                                   const struct rsr_kernel *kernel);
/* Text form; what is printed parses back, several dumps one after the other as well. */
void rsrc_print_kernel(const struct rsr_kernel *kernel, struct rsrc_buffer *out);
struct rsr_parsed_kernel {
    const char *target; /* name of the rsr_spec that it is for; untrusted */
    struct rsr_kernel kernel;
};
/* The kernels are verified; their `spec` is NULL, for the caller to find. */
RSRC_NODISCARD enum rsrc_status rsrc_parse_kernels(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const char *file, const char *text,
                                                   uint64_t size_bytes,
                                                   struct rsr_parsed_kernel **out, uint32_t *n_out);

/* Removes operations whose results are never read. */
void rsrc_simplify_kernel(struct rsrc_arena *arena, struct rsr_kernel *kernel);

#endif
