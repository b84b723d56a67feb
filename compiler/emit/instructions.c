/* instructions.c - instruction selection of the C and the LLVM back end: a table with one row per
 * instruction, by operation, element, width and CPU features.
 *
 * The first row that fits wins, so better instructions come first. A row without features works on
 * every machine. An operation without a row becomes vector code of GNU C (c_statement.c) or plain
 * IR (llvm_value.c), and the compiler selects instructions for any machine. Only for the operations
 * of needs_instruction() would that be too slow.
 */
#include "emit/instructions.h"

#include "kernel/kernel.h"
#include "kernel_ops.h"

#define F(id) RSR_CPU_MASK(id)
#define VL F(AVX512VL)
#define E(id) (1u << RSR_ELEM_##id)
#define E8 (E(I8) | E(U8))
#define E16 (E(I16) | E(U16))
#define E32 (E(I32) | E(U32))
#define ANY UINT32_MAX

#define ROW(op, elems, bytes, features, macro, ...)                                                \
    { RSR_KOP_##op, elems, bytes, features, macro, __VA_ARGS__ }
#define X86(name, operands) "llvm.x86." name, operands, RSRC_OVERLOAD_NONE
#define NEON(name, operands, overload) "llvm.aarch64.neon." name, operands, RSRC_OVERLOAD_##overload
#define PLAIN_IR NULL, NULL, RSRC_OVERLOAD_NONE
#define NOT_IN_C NULL /* GCC 12 has no intrinsic for it */

static const struct rsrc_instruction instructions[] = {
    ROW(DOT_U8S8, ANY, 64, F(AVX512F) | F(AVX512VNNI), "dot_u8s8_512",
        X86("avx512.vpdpbusd.512", "abc")),
    ROW(DOT_U8S8, ANY, 32, VL | F(AVX512VNNI), "dot_u8s8_256", X86("avx512.vpdpbusd.256", "abc")),
    ROW(DOT_U8S8, ANY, 32, F(AVXVNNI), "dot_u8s8_256_vex", X86("avx512.vpdpbusd.256", "abc")),
    ROW(DOT_U8S8, ANY, 16, VL | F(AVX512VNNI), "dot_u8s8_128", X86("avx512.vpdpbusd.128", "abc")),
    ROW(DOT_U8S8, ANY, 16, F(AVXVNNI), "dot_u8s8_128_vex", X86("avx512.vpdpbusd.128", "abc")),
    ROW(DOT_U8S8, ANY, 16, F(I8MM), "dot_u8s8_128", NEON("usdot", "abc", SUM_BYTES)),
    ROW(DOT_S8S8, ANY, 32, F(AVXVNNIINT8), NOT_IN_C, X86("avx2.vpdpbssd.256", "abc")),
    ROW(DOT_S8S8, ANY, 16, F(AVXVNNIINT8), NOT_IN_C, X86("avx2.vpdpbssd.128", "abc")),
    ROW(DOT_S8S8, ANY, 16, F(DOTPROD), "dot_s8s8_128", NEON("sdot", "abc", SUM_BYTES)),
    ROW(MADD_U8S8, ANY, 64, F(AVX512BW), "madd_u8s8_512", X86("avx512.pmaddubs.w.512", "ab")),
    ROW(MADD_U8S8, ANY, 32, F(AVX2), "madd_u8s8_256", X86("avx2.pmadd.ub.sw", "ab")),
    ROW(MADD_U8S8, ANY, 16, F(SSSE3), "madd_u8s8_128", X86("ssse3.pmadd.ub.sw.128", "ab")),
    ROW(MADD_I16, ANY, 64, F(AVX512BW), "madd_i16_512", X86("avx512.pmaddw.d.512", "ab")),
    ROW(MADD_I16, ANY, 32, F(AVX2), "madd_i16_256", X86("avx2.pmadd.wd", "ab")),
    ROW(MADD_I16, ANY, 16, F(SSSE3), "madd_i16_128", X86("sse2.pmadd.wd", "ab")),
    ROW(MADD_I16, ANY, 16, F(NEON), "madd_i16_128", PLAIN_IR),

    ROW(FMA, E(F32), 64, F(AVX512F), "fma_512", "llvm.fma", "abc", RSRC_OVERLOAD_RESULT),
    ROW(LOAD_LANES, ANY, 64, F(AVX512F), "load_lanes_512", PLAIN_IR),
    ROW(LOAD_LANES, ANY, 32, F(AVX2), "load_lanes_256", PLAIN_IR),
    ROW(LOAD_LANES, ANY, 16, 0, "load_lanes_128", PLAIN_IR),
    ROW(SHUFFLE16, ANY, 64, F(AVX512BW), "shuffle16_512", X86("avx512.pshuf.b.512", "ba")),
    ROW(SHUFFLE16, ANY, 32, F(AVX2), "shuffle16_256", X86("avx2.pshuf.b", "ba")),
    ROW(SHUFFLE16, ANY, 16, F(SSSE3), "shuffle16_128", X86("ssse3.pshuf.b.128", "ba")),
    ROW(SHUFFLE16, ANY, 16, F(NEON), "shuffle16_128", NEON("tbl1", "ba", BYTES)),

    ROW(TABLE, E8, 64, F(AVX512VBMI), "table_8x64", X86("avx512.permvar.qi.512", "ba")),
    ROW(TABLE, E8, 32, F(AVX512VBMI) | VL, "table_8x32", X86("avx512.permvar.qi.256", "ba")),
    ROW(TABLE, E8, 16, F(AVX512VBMI) | VL, "table_8x16", X86("avx512.permvar.qi.128", "ba")),
    ROW(TABLE, E8, 16, F(NEON), "table_8x16", NEON("tbl1", "bA", BYTES)),
    ROW(TABLE, E16, 64, F(AVX512BW), "table_16x32", X86("avx512.permvar.hi.512", "ba")),
    ROW(TABLE, E16, 32, F(AVX512BW) | VL, "table_16x16", X86("avx512.permvar.hi.256", "ba")),
    ROW(TABLE, E16, 16, F(AVX512BW) | VL, "table_16x8", X86("avx512.permvar.hi.128", "ba")),
    ROW(TABLE, E32, 64, F(AVX512F), "table_32x16", X86("avx512.permvar.si.512", "ba")),
    ROW(TABLE, E(F32), 64, F(AVX512F), "table_f32x16", X86("avx512.permvar.sf.512", "ba")),
    ROW(TABLE, E32, 32, F(AVX2), "table_32x8", X86("avx2.permd", "ba")),
    ROW(TABLE, E(F32), 32, F(AVX2), "table_f32x8", X86("avx2.permps", "ba")),

    ROW(TABLE2, E8, 64, F(AVX512VBMI), "table2_8x64", X86("avx512.vpermi2var.qi.512", "bac")),
    ROW(TABLE2, E8, 32, F(AVX512VBMI) | VL, "table2_8x32", X86("avx512.vpermi2var.qi.256", "bac")),
    ROW(TABLE2, E8, 16, F(AVX512VBMI) | VL, "table2_8x16", X86("avx512.vpermi2var.qi.128", "bac")),
    ROW(TABLE2, E8, 16, F(NEON), "table2_8x16", NEON("tbl2", "bcA", BYTES)),
    ROW(TABLE2, E16, 64, F(AVX512BW), "table2_16x32", X86("avx512.vpermi2var.hi.512", "bac")),
    ROW(TABLE2, E16, 32, F(AVX512BW) | VL, "table2_16x16", X86("avx512.vpermi2var.hi.256", "bac")),
    ROW(TABLE2, E16, 16, F(AVX512BW) | VL, "table2_16x8", X86("avx512.vpermi2var.hi.128", "bac")),
    ROW(TABLE2, E32, 64, F(AVX512F), "table2_32x16", X86("avx512.vpermi2var.d.512", "bac")),
    ROW(TABLE2, E(F32), 64, F(AVX512F), "table2_f32x16", X86("avx512.vpermi2var.ps.512", "bac")),
    ROW(TABLE2, E32, 32, F(AVX512F) | VL, "table2_32x8", X86("avx512.vpermi2var.d.256", "bac")),
    ROW(TABLE2, E(F32), 32, F(AVX512F) | VL, "table2_f32x8",
        X86("avx512.vpermi2var.ps.256", "bac")),

    /* llvm_value.c adds the matrix of bits and the constant 0. */
    ROW(SPREAD_BIT, ANY, 64, F(GFNI) | F(AVX512F), "spread_bit_512",
        X86("vgf2p8affineqb.512", "a")),
    ROW(SPREAD_BIT, ANY, 32, F(GFNI) | F(AVX), "spread_bit_256", X86("vgf2p8affineqb.256", "a")),
    ROW(SPREAD_BIT, ANY, 16, F(GFNI), "spread_bit_128", X86("vgf2p8affineqb.128", "a")),

    ROW(PACK_U8, ANY, 64, F(AVX512BW), "pack_u8_512", X86("avx512.packuswb.512", "ab")),
    ROW(PACK_U8, ANY, 32, F(AVX2), "pack_u8_256", X86("avx2.packuswb", "ab")),
    ROW(PACK_U8, ANY, 16, F(SSSE3), "pack_u8_128", X86("sse2.packuswb.128", "ab")),
    ROW(PACK_U8, ANY, 16, 0, "pack_u8_128", PLAIN_IR),

    ROW(MIRROR, ANY, 64, F(AVX512BW), "mirror_512", PLAIN_IR),

    /* Tiles are numbers in the text, not values: llvm_code.c has the arguments. */
    ROW(TILE_BEGIN, ANY, 0, F(AMX_TILE), "tile_begin", X86("ldtilecfg", "")),
    ROW(TILE_END, ANY, 0, F(AMX_TILE), "tile_end", X86("tilerelease", "")),
    ROW(TILE_LOAD, ANY, 0, F(AMX_TILE), "tile_load", X86("tileloadd64", "")),
    ROW(TILE_STORE, ANY, 0, F(AMX_TILE), "tile_store", X86("tilestored64", "")),
    ROW(TILE_DOT_S8S8, ANY, 0, F(AMX_TILE) | F(AMX_INT8), "tile_dot_s8s8", X86("tdpbssd", "")),
};
#define N_INSTRUCTIONS (sizeof instructions / sizeof *instructions)

const struct rsrc_instruction *rsrc_find_instruction(enum rsrc_language language,
                                                     const struct rsr_spec *spec,
                                                     const struct rsr_kreg *regs,
                                                     const struct rsr_kop *op) {
    const struct rsr_kreg *dst = rsrc_kop_has_result(op->kind) ? &regs[op->dst] : NULL;
    const uint32_t elem = dst != NULL ? 1u << dst->elem : ANY;
    const uint32_t bytes = dst != NULL ? rsrc_kreg_bytes(dst) : 0;
    for (size_t i = 0; i < N_INSTRUCTIONS; i++) {
        const struct rsrc_instruction *row = &instructions[i];
        if (row->kind == (enum rsr_kop_kind)op->kind && row->bytes == bytes &&
            (row->elems & elem) != 0 && rsrc_target_has(spec, row->features) &&
            (language == RSRC_IN_C ? row->macro : row->intrinsic) != NULL)
            return row;
    }
    return NULL;
}

static bool needs_instruction(enum rsrc_language language, const struct rsr_kop *op) {
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_DOT_U8S8:
    case RSR_KOP_DOT_S8S8:
    case RSR_KOP_MADD_U8S8:
    case RSR_KOP_FMA:
        return true;
    case RSR_KOP_MADD_I16:
    case RSR_KOP_LOAD_LANES:
    case RSR_KOP_SHUFFLE16:
    case RSR_KOP_TABLE:
    case RSR_KOP_TABLE2:
    case RSR_KOP_PACK_U8:
    case RSR_KOP_MIRROR:
        return language == RSRC_IN_C;
    default:
        return rsrc_kop_is_tile(op->kind);
    }
}

const char *rsrc_find_missing_instruction(enum rsrc_language language, const struct rsr_spec *spec,
                                          const struct rsr_kreg *regs, const struct rsr_kop *ops,
                                          uint32_t n_ops, struct rsrc_arena *arena) {
    uint32_t i = 0;
    while (i < n_ops && !(needs_instruction(language, &ops[i]) &&
                          rsrc_find_instruction(language, spec, regs, &ops[i]) == NULL))
        i++;
    if (i == n_ops)
        return NULL;
    const struct rsrc_instruction *other = rsrc_find_instruction(RSRC_IN_LLVM, spec, regs, &ops[i]);
    return other == NULL
               ? rsrc_arena_printf(arena, "operation %u needs an instruction that target %s lacks",
                                   i, spec->name)
               : rsrc_arena_printf(arena, "operation %u needs %s, which GCC 12 does not have", i,
                                   other->intrinsic);
}
