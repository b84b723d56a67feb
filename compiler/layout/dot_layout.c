/* dot_layout.c - the machines of `dot`, and sizes; see dot_layout.h. */
#include "layout/dot_layout.h"

#include <assert.h>

#include "base/round.h"
#include "layout/lut_layout.h"

#define F(id) RSR_CPU_MASK(id)

/* Instructions are counted in the loops that LLVM makes. plain16 widens: two vectors of 16-bit
 * products for one of codes. Its 7.9 is the measured 8.1 Gw/s at 4 G instructions/s; AArch64
 * multiplies and adds in one instruction and needs fewer. */
const struct rsrc_dot_machine rsrc_dot_machines[RSRC_N_DOT_MACHINES] = {
    {F(AVX512F) | F(AVX512VNNI), 512, RSRC_DOT_VNNI, 64, 4, 4, 2.75, 1.75, 0, "vnni64"},
    {F(AVX512VL) | F(AVX512VNNI), 256, RSRC_DOT_VNNI, 32, 4, 4, 2.75, 1.75, 0, "vnni32"},
    {F(AVXVNNI), 256, RSRC_DOT_VNNI, 32, 2, 2, 2.9, 2.3, 0, "vnni32-vex"},
    {F(AVX512BW), 512, RSRC_DOT_MADD, 64, 1, 4, 4.4, 3.2, 0, "madd64"},
    {F(AVX2), 256, RSRC_DOT_MADD, 32, 1, 2, 4.4, 3.7, 0, "madd32"},
    /* Two groups: the largest code is 2 << 2. */
    {F(DOTPROD), 128, RSRC_DOT_SDOT, 16, 2, 4, 2.9, 1.75, 0, "sdot16"},
    {F(SSSE3), 128, RSRC_DOT_MADD, 16, 1, 2, 4.4, 3.7, 0, "madd16"},
    {0, 128, RSRC_DOT_PLAIN, 16, 1, 1, 7.9, 7.9, 0, "plain16"},
    {0, 0, RSRC_DOT_PLAIN, 1, 1, 1, 0, 0, 0.67, "scalar"},
};

static const struct rsrc_panel_machine panel_machines[] = {
    {F(AVX512BW) | F(AVX512VNNI) | F(AMX_TILE) | F(AMX_INT8), 64, RSRC_PANEL_DOT, RSR_KOP_DOT_U8S8,
     6, 16, "amx64"},
    {F(AVX512BW) | F(AVX512VNNI), 64, RSRC_PANEL_DOT, RSR_KOP_DOT_U8S8, 6, 0, "vnni64"},
    {F(AVX512BW), 64, RSRC_PANEL_MADD, RSR_KOP_COUNT, 4, 0, "madd64"},
    {F(AVX512VL) | F(AVX512VNNI), 32, RSRC_PANEL_DOT, RSR_KOP_DOT_U8S8, 6, 0, "vnni32"},
    {F(AVXVNNI), 32, RSRC_PANEL_DOT, RSR_KOP_DOT_U8S8, 2, 0, "vnni32"},
    {F(AVX2), 32, RSRC_PANEL_MADD, RSR_KOP_COUNT, 2, 0, "madd32"},
    {F(SSSE3), 16, RSRC_PANEL_MADD, RSR_KOP_COUNT, 2, 0, "madd16"},
    /* u < 128 either way */
    {F(DOTPROD), 16, RSRC_PANEL_DOT, RSR_KOP_DOT_S8S8, 6, 0, "sdot16"},
};

#undef F

const struct rsrc_dot_machine *rsrc_find_dot_machine(const struct rsr_spec *spec) {
    const struct rsrc_dot_machine *machine = rsrc_dot_machines;
    while (!rsrc_target_has(spec, machine->features) || spec->vector_bits < machine->vector_bits)
        machine++;
    return machine;
}

const struct rsrc_dot_machine *rsrc_find_listed_machine(const struct rsr_spec *spec) {
    const struct rsrc_dot_machine *machine = rsrc_find_dot_machine(spec);
    return machine->style == RSRC_DOT_PLAIN ? NULL : machine;
}

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

const struct rsrc_panel_machine *rsrc_find_panel_machine(const struct rsr_spec *spec,
                                                         uint32_t vector_rows) {
    for (size_t i = 0; i < sizeof panel_machines / sizeof *panel_machines; i++)
        if (rsrc_target_has(spec, panel_machines[i].features) &&
            vector_rows == panel_machines[i].vector_rows)
            return &panel_machines[i];
    return NULL;
}
