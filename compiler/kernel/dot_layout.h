/* dot_layout.h - how a target multiplies codes by int8 activations, and the layout of the codes of
 * `dot`.
 *
 * `dot`, dot_rows and dot_cols share the table of machines and the layout. A new machine is a row;
 * tests/unit/test_cost.c compares its numbers with the kernel's instructions.
 */
#ifndef RSRC_KERNEL_DOT_LAYOUT_H
#define RSRC_KERNEL_DOT_LAYOUT_H

#include "kernel/kernel.h"

/* Code of `dot`, dot_rows and dot_cols for a kind of processor. `product` is one of these. DOT_U8S8
 * and DOT_S8S8 (codes stay below 128) add into i32. MADD_U8S8 adds into i16, which MADD_I16 widens
 * before it could saturate. MUL multiplies operands that were converted to i16 lanes or i32
 * scalars, and an addition follows. */
struct rsrc_dot_machine {
    struct rsrc_machine head;
    enum rsr_kop_kind product;
    uint32_t vector_bytes;
    uint32_t n_groups;   /* groups at a time for one token: as many as fit the registers; only for
                            products into i32 */
    uint32_t max_tokens; /* tokens that share one unpacking */
    /* Vector instructions for a vector of products: for one token alone, and if max_tokens share
     * the unpacking. 0: there are no vectors, and unpacking costs as much as `unpack` multiply-adds
     * at the peak rate for each product. */
    double alone, shared, unpack;
};

/* The table without its last rows, which have no integer dot product. */
extern const struct rsrc_machine_table rsrc_listed_machines;

static inline const struct rsrc_dot_machine *
rsrc_dot_machine_of(const struct rsrc_machine *machine) {
    return (const struct rsrc_dot_machine *)machine;
}

/* Rows that share every load of activations. */
#define RSRC_DOT_QUAD 4u

/* The packed codes of `dot`. A group is 4 rows (a quad), or 1 row if a list selects rows. For every
 * block of block_cols columns, a group holds vector_bytes bytes of each row. Bits p * code_bits and
 * up of byte i hold column p * vector_bytes + i of the block, for each plane p. Columns beyond the
 * matrix have any code, because the activations there are 0. Rows beyond the matrix are zero bytes;
 * they are computed and never stored. */
struct rsrc_dot_layout {
    uint32_t vector_bytes;
    uint32_t code_bits;  /* 2: ternary, w + 1; 1: binary, (w + 1) / 2 or w */
    uint32_t n_planes;   /* 8 / code_bits */
    uint32_t block_cols; /* n_planes * vector_bytes, a divisor of RSR_ACT_PAD */
    uint32_t n_blocks;
    uint32_t group_rows, n_groups;
};
struct rsrc_dot_layout rsrc_make_dot_layout(const struct rsrc_dot_machine *machine,
                                            enum rsr_alphabet alphabet, uint32_t rows,
                                            uint32_t cols);
uint64_t rsrc_dot_codes_bytes(const struct rsrc_dot_layout *layout);

void rsrc_pack_dot(const struct rsr_matrix *matrix, const struct rsrc_dot_layout *layout,
                   uint8_t *out);

#endif
