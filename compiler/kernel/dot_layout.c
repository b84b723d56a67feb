/* dot_layout.c - the machines of `dot`, and sizes; see dot_layout.h. */
#include "kernel/dot_layout.h"

#include <assert.h>

#include "base/round.h"

#define F(id) RSR_CPU_MASK(id)

/* Instructions are counted in the loops that LLVM makes. plain16 widens: one vector of codes gives
 * two vectors of 16-bit products. Its 7.9 comes from the measured 8.1 Gw/s at 4 G instructions/s.
 * AArch64 multiplies and adds in one instruction and needs fewer. */
static const struct rsrc_dot_machine machines[] = {
    {{F(AVX512F) | F(AVX512VNNI), 512, "vnni64"}, RSR_KOP_DOT_U8S8, 64, 4, 4, 2.75, 1.75, 0},
    {{F(AVX512VL) | F(AVX512VNNI), 256, "vnni32"}, RSR_KOP_DOT_U8S8, 32, 4, 4, 2.75, 1.75, 0},
    {{F(AVXVNNI), 256, "vnni32-vex"}, RSR_KOP_DOT_U8S8, 32, 2, 2, 2.9, 2.3, 0},
    {{F(AVX512BW), 512, "madd64"}, RSR_KOP_MADD_U8S8, 64, 1, 4, 4.4, 3.2, 0},
    {{F(AVX2), 256, "madd32"}, RSR_KOP_MADD_U8S8, 32, 1, 2, 4.4, 3.7, 0},
    /* Signed bytes: with 2 groups a masked code is at most 2 << 2, with 4 it would be 2 << 6. */
    {{F(DOTPROD), 128, "sdot16"}, RSR_KOP_DOT_S8S8, 16, 2, 4, 2.9, 1.75, 0},
    {{F(SSSE3), 128, "madd16"}, RSR_KOP_MADD_U8S8, 16, 1, 2, 4.4, 3.7, 0},
    {{0, 128, "plain16"}, RSR_KOP_MUL, 16, 1, 1, 7.9, 7.9, 0},
    {{0, 0, "scalar"}, RSR_KOP_MUL, 1, 1, 1, 0, 0, 0.67},
};

#define N_PLAIN 2u /* at the end */

const struct rsrc_machine_table rsrc_dot_machines = RSRC_MACHINE_TABLE(machines);
const struct rsrc_machine_table rsrc_listed_machines = {
    machines, sizeof *machines, sizeof machines / sizeof *machines - N_PLAIN};

struct rsrc_dot_layout rsrc_make_dot_layout(const struct rsrc_dot_machine *machine,
                                            enum rsr_alphabet alphabet, uint32_t rows,
                                            uint32_t cols) {
    struct rsrc_dot_layout layout = {.vector_bytes = machine->vector_bytes,
                                     .code_bits = alphabet == RSR_TERNARY ? 2 : 1};
    layout.n_planes = 8 / layout.code_bits;
    layout.block_cols = layout.n_planes * layout.vector_bytes;
    layout.n_blocks = rsrc_divide_up(cols, layout.block_cols);
    layout.group_rows = RSRC_DOT_QUAD;
    layout.n_groups = rsrc_divide_up(rows, RSRC_DOT_QUAD);
    assert(RSR_ACT_PAD % layout.block_cols == 0);
    return layout;
}

uint64_t rsrc_dot_codes_bytes(const struct rsrc_dot_layout *layout) {
    return (uint64_t)layout->n_groups * layout->n_blocks * layout->group_rows *
           layout->vector_bytes;
}
