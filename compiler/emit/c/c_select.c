/* c_select.c - instruction selection: a table by operation, element, width and CPU features.
 *
 * The first row that fits wins, so better instructions come first. A row without features needs
 * none: its macro exists on every machine.
 */
#include "emit/c/c_select.h"

#include "emit/c/c_types.h"
#include "kernel_ops.h"

#define F(id) RSR_CPU_MASK(id)
#define VL F(AVX512VL)
#define E(id) (1u << RSR_ELEM_##id)
#define E8 (E(I8) | E(U8))
#define E16 (E(I16) | E(U16))
#define E32 (E(I32) | E(U32))
#define ANY UINT32_MAX

static const struct selection {
    enum rsr_kop_kind kind;
    uint32_t elems; /* bits of the result's element */
    uint32_t bytes; /* of the result */
    uint64_t features;
    const char *macro;
} selections[] = {
    {RSR_KOP_DOT_U8S8, ANY, 64, F(AVX512F) | F(AVX512VNNI), "dot_u8s8_512"},
    {RSR_KOP_DOT_U8S8, ANY, 32, VL | F(AVX512VNNI), "dot_u8s8_256"},
    {RSR_KOP_DOT_U8S8, ANY, 32, F(AVXVNNI), "dot_u8s8_256_vex"},
    {RSR_KOP_DOT_U8S8, ANY, 16, VL | F(AVX512VNNI), "dot_u8s8_128"},
    {RSR_KOP_DOT_U8S8, ANY, 16, F(AVXVNNI), "dot_u8s8_128_vex"},
    {RSR_KOP_DOT_U8S8, ANY, 16, F(NEON) | F(I8MM), "dot_u8s8_128"},
    {RSR_KOP_DOT_S8S8, ANY, 16, F(NEON) | F(DOTPROD), "dot_s8s8_128"},
    {RSR_KOP_MADD_U8S8, ANY, 64, F(AVX512BW), "madd_u8s8_512"},
    {RSR_KOP_MADD_U8S8, ANY, 32, F(AVX2), "madd_u8s8_256"},
    {RSR_KOP_MADD_U8S8, ANY, 16, F(SSSE3), "madd_u8s8_128"},
    {RSR_KOP_MADD_I16, ANY, 64, F(AVX512BW), "madd_i16_512"},
    {RSR_KOP_MADD_I16, ANY, 32, F(AVX2), "madd_i16_256"},
    {RSR_KOP_MADD_I16, ANY, 16, F(SSSE3), "madd_i16_128"},
    {RSR_KOP_MADD_I16, ANY, 16, F(NEON), "madd_i16_128"},

    {RSR_KOP_FMA, E(F32), 64, F(AVX512F), "fma_512"},
    {RSR_KOP_LOAD_LANES, ANY, 64, F(AVX512F), "load_lanes_512"},
    {RSR_KOP_LOAD_LANES, ANY, 32, F(AVX2), "load_lanes_256"},
    {RSR_KOP_LOAD_LANES, ANY, 16, 0, "load_lanes_128"},
    {RSR_KOP_SHUFFLE16, ANY, 64, F(AVX512BW), "shuffle16_512"},
    {RSR_KOP_SHUFFLE16, ANY, 32, F(AVX2), "shuffle16_256"},
    {RSR_KOP_SHUFFLE16, ANY, 16, F(SSSE3), "shuffle16_128"},
    {RSR_KOP_SHUFFLE16, ANY, 16, F(NEON), "shuffle16_128"},

    {RSR_KOP_TABLE, E8, 64, F(AVX512VBMI), "table_8x64"},
    {RSR_KOP_TABLE, E8, 32, F(AVX512VBMI) | VL, "table_8x32"},
    {RSR_KOP_TABLE, E8, 16, F(AVX512VBMI) | VL, "table_8x16"},
    {RSR_KOP_TABLE, E8, 16, F(NEON), "table_8x16"},
    {RSR_KOP_TABLE, E16, 64, F(AVX512BW), "table_16x32"},
    {RSR_KOP_TABLE, E16, 32, F(AVX512BW) | VL, "table_16x16"},
    {RSR_KOP_TABLE, E16, 16, F(AVX512BW) | VL, "table_16x8"},
    {RSR_KOP_TABLE, E32, 64, F(AVX512F), "table_32x16"},
    {RSR_KOP_TABLE, E(F32), 64, F(AVX512F), "table_f32x16"},
    {RSR_KOP_TABLE, E32, 32, F(AVX2), "table_32x8"},
    {RSR_KOP_TABLE, E(F32), 32, F(AVX2), "table_f32x8"},

    {RSR_KOP_TABLE2, E8, 64, F(AVX512VBMI), "table2_8x64"},
    {RSR_KOP_TABLE2, E8, 32, F(AVX512VBMI) | VL, "table2_8x32"},
    {RSR_KOP_TABLE2, E8, 16, F(AVX512VBMI) | VL, "table2_8x16"},
    {RSR_KOP_TABLE2, E8, 16, F(NEON), "table2_8x16"},
    {RSR_KOP_TABLE2, E16, 64, F(AVX512BW), "table2_16x32"},
    {RSR_KOP_TABLE2, E16, 32, F(AVX512BW) | VL, "table2_16x16"},
    {RSR_KOP_TABLE2, E16, 16, F(AVX512BW) | VL, "table2_16x8"},
    {RSR_KOP_TABLE2, E32, 64, F(AVX512F), "table2_32x16"},
    {RSR_KOP_TABLE2, E(F32), 64, F(AVX512F), "table2_f32x16"},
    {RSR_KOP_TABLE2, E32, 32, F(AVX512F) | VL, "table2_32x8"},
    {RSR_KOP_TABLE2, E(F32), 32, F(AVX512F) | VL, "table2_f32x8"},

    {RSR_KOP_SPREAD_BIT, ANY, 64, F(GFNI) | F(AVX512F), "spread_bit_512"},
    {RSR_KOP_SPREAD_BIT, ANY, 32, F(GFNI) | F(AVX), "spread_bit_256"},
    {RSR_KOP_SPREAD_BIT, ANY, 16, F(GFNI), "spread_bit_128"},
    {RSR_KOP_ZIP_LOW, E8, 64, 0, "zip_low_8x64"},
    {RSR_KOP_ZIP_LOW, E8, 32, 0, "zip_low_8x32"},
    {RSR_KOP_ZIP_LOW, E8, 16, 0, "zip_low_8x16"},
    {RSR_KOP_ZIP_LOW, E16, 64, 0, "zip_low_16x32"},
    {RSR_KOP_ZIP_LOW, E16, 32, 0, "zip_low_16x16"},
    {RSR_KOP_ZIP_LOW, E16, 16, 0, "zip_low_16x8"},
    {RSR_KOP_ZIP_LOW, E32 | E(F32), 64, 0, "zip_low_32x16"},
    {RSR_KOP_ZIP_LOW, E32 | E(F32), 32, 0, "zip_low_32x8"},
    {RSR_KOP_ZIP_LOW, E32 | E(F32), 16, 0, "zip_low_32x4"},
    {RSR_KOP_ZIP_HIGH, E8, 64, 0, "zip_high_8x64"},
    {RSR_KOP_ZIP_HIGH, E8, 32, 0, "zip_high_8x32"},
    {RSR_KOP_ZIP_HIGH, E8, 16, 0, "zip_high_8x16"},
    {RSR_KOP_ZIP_HIGH, E16, 64, 0, "zip_high_16x32"},
    {RSR_KOP_ZIP_HIGH, E16, 32, 0, "zip_high_16x16"},
    {RSR_KOP_ZIP_HIGH, E16, 16, 0, "zip_high_16x8"},
    {RSR_KOP_ZIP_HIGH, E32 | E(F32), 64, 0, "zip_high_32x16"},
    {RSR_KOP_ZIP_HIGH, E32 | E(F32), 32, 0, "zip_high_32x8"},
    {RSR_KOP_ZIP_HIGH, E32 | E(F32), 16, 0, "zip_high_32x4"},
    {RSR_KOP_PACK_U8, ANY, 64, F(AVX512BW), "pack_u8_512"},
    {RSR_KOP_PACK_U8, ANY, 32, F(AVX2), "pack_u8_256"},
    {RSR_KOP_PACK_U8, ANY, 16, 0, "pack_u8_128"},

    {RSR_KOP_TILE_BEGIN, ANY, 0, F(AMX_TILE), "tile_begin"},
    {RSR_KOP_TILE_END, ANY, 0, F(AMX_TILE), "tile_end"},
    {RSR_KOP_TILE_LOAD, ANY, 0, F(AMX_TILE), "tile_load"},
    {RSR_KOP_TILE_STORE, ANY, 0, F(AMX_TILE), "tile_store"},
    {RSR_KOP_TILE_DOT_S8S8, ANY, 0, F(AMX_TILE) | F(AMX_INT8), "tile_dot_s8s8"},
};
#define N_SELECTIONS (sizeof selections / sizeof *selections)

const char *rsrc_c_find_macro(const struct rsrc_c_code *code, const struct rsr_kop *op) {
    const bool sized = rsrc_kop_has_result(op->kind);
    const uint32_t elem = sized ? 1u << code->regs[op->dst].elem : ANY;
    const uint32_t bytes = sized ? rsrc_kreg_bytes(&code->regs[op->dst]) : 0;
    const uint64_t have = code->kernel->spec->cpu_features;
    for (size_t i = 0; i < N_SELECTIONS; i++) {
        const struct selection *row = &selections[i];
        if (row->kind == op->kind && row->bytes == bytes && (row->elems & elem) != 0 &&
            (have & row->features) == row->features)
            return row->macro;
    }
    return NULL;
}

/* GNU C has no expression for these: without a macro there is no way. */
static bool needs_macro(const struct rsr_kop *op) {
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_DOT_U8S8:
    case RSR_KOP_DOT_S8S8:
    case RSR_KOP_MADD_U8S8:
    case RSR_KOP_MADD_I16:
    case RSR_KOP_FMA:
    case RSR_KOP_LOAD_LANES:
    case RSR_KOP_SHUFFLE16:
    case RSR_KOP_TABLE:
    case RSR_KOP_TABLE2:
    case RSR_KOP_ZIP_LOW:
    case RSR_KOP_ZIP_HIGH:
    case RSR_KOP_PACK_U8:
        return true;
    default:
        return rsrc_kop_is_tile(op->kind);
    }
}

/* The prelude has zip_add for units of 1 and 2 in 4 to 16 lanes. */
static bool adds_neighbours_oddly(const struct rsrc_c_code *code, const struct rsr_kop *op) {
    if (op->kind != RSR_KOP_ZIP_ADD)
        return false;
    const uint32_t lanes = code->regs[op->dst].lanes;
    return op->imm > 2 || lanes < 4 || lanes > 16;
}

const char *rsrc_c_find_obstacle(const struct rsrc_c_code *code, struct rsrc_arena *arena) {
    for (uint32_t i = 0; i < code->n_regs; i++)
        if (!rsrc_c_has_type(&code->regs[i]))
            return rsrc_arena_printf(arena, "register %s has %u lanes of %s, which has no C type",
                                     code->regs[i].name, code->regs[i].lanes,
                                     rsrc_c_elem_name(code->regs[i].elem));
    for (uint32_t i = 0; i < code->n_ops; i++) {
        const struct rsr_kop *op = &code->ops[i];
        if (adds_neighbours_oddly(code, op))
            return rsrc_arena_printf(arena, "operation %u sums neighbours in a way without a macro",
                                     i);
        if (needs_macro(op) && rsrc_c_find_macro(code, op) == NULL)
            return rsrc_arena_printf(arena,
                                     "operation %u needs an instruction that target %s lacks", i,
                                     code->kernel->spec->name);
    }
    return NULL;
}
