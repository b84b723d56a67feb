/* llvm_select.c - instruction selection: a table by operation, element, width and CPU features.
 *
 * The first row that fits wins. What has no row is plain IR (llvm_value.c), from which LLVM selects
 * for any machine; only the operations of needs_intrinsic() have no such form worth running.
 */
#include "emit/llvm/llvm_select.h"

#include "kernel_ops.h"

#define F(id) RSR_CPU_MASK(id)
#define VL F(AVX512VL)
#define E(id) (1u << RSR_ELEM_##id)
#define E8 (E(I8) | E(U8))
#define E16 (E(I16) | E(U16))
#define E32 (E(I32) | E(U32))
#define ANY UINT32_MAX
#define X86(name) "llvm.x86." name
#define NEON(name) "llvm.aarch64.neon." name

static const struct rsrc_llvm_intrinsic intrinsics[] = {
    {RSR_KOP_DOT_U8S8, ANY, 64, F(AVX512F) | F(AVX512VNNI), X86("avx512.vpdpbusd.512"), "abc", 0},
    {RSR_KOP_DOT_U8S8, ANY, 32, VL | F(AVX512VNNI), X86("avx512.vpdpbusd.256"), "abc", 0},
    {RSR_KOP_DOT_U8S8, ANY, 32, F(AVXVNNI), X86("avx512.vpdpbusd.256"), "abc", 0},
    {RSR_KOP_DOT_U8S8, ANY, 16, VL | F(AVX512VNNI), X86("avx512.vpdpbusd.128"), "abc", 0},
    {RSR_KOP_DOT_U8S8, ANY, 16, F(AVXVNNI), X86("avx512.vpdpbusd.128"), "abc", 0},
    {RSR_KOP_DOT_U8S8, ANY, 16, F(I8MM), NEON("usdot"), "abc", RSRC_OVERLOAD_SUM_BYTES},
    {RSR_KOP_DOT_S8S8, ANY, 16, F(DOTPROD), NEON("sdot"), "abc", RSRC_OVERLOAD_SUM_BYTES},
    {RSR_KOP_MADD_U8S8, ANY, 64, F(AVX512BW), X86("avx512.pmaddubs.w.512"), "ab", 0},
    {RSR_KOP_MADD_U8S8, ANY, 32, F(AVX2), X86("avx2.pmadd.ub.sw"), "ab", 0},
    {RSR_KOP_MADD_U8S8, ANY, 16, F(SSSE3), X86("ssse3.pmadd.ub.sw.128"), "ab", 0},
    {RSR_KOP_MADD_I16, ANY, 64, F(AVX512BW), X86("avx512.pmaddw.d.512"), "ab", 0},
    {RSR_KOP_MADD_I16, ANY, 32, F(AVX2), X86("avx2.pmadd.wd"), "ab", 0},
    {RSR_KOP_MADD_I16, ANY, 16, F(SSSE3), X86("sse2.pmadd.wd"), "ab", 0},

    {RSR_KOP_FMA, E(F32), 64, F(AVX512F), "llvm.fma", "abc", RSRC_OVERLOAD_RESULT},

    {RSR_KOP_SHUFFLE16, ANY, 64, F(AVX512BW), X86("avx512.pshuf.b.512"), "ba", 0},
    {RSR_KOP_SHUFFLE16, ANY, 32, F(AVX2), X86("avx2.pshuf.b"), "ba", 0},
    {RSR_KOP_SHUFFLE16, ANY, 16, F(SSSE3), X86("ssse3.pshuf.b.128"), "ba", 0},
    {RSR_KOP_SHUFFLE16, ANY, 16, F(NEON), NEON("tbl1"), "ba", RSRC_OVERLOAD_BYTES},

    {RSR_KOP_TABLE, E8, 64, F(AVX512VBMI), X86("avx512.permvar.qi.512"), "ba", 0},
    {RSR_KOP_TABLE, E8, 32, F(AVX512VBMI) | VL, X86("avx512.permvar.qi.256"), "ba", 0},
    {RSR_KOP_TABLE, E8, 16, F(AVX512VBMI) | VL, X86("avx512.permvar.qi.128"), "ba", 0},
    {RSR_KOP_TABLE, E8, 16, F(NEON), NEON("tbl1"), "bA", RSRC_OVERLOAD_BYTES},
    {RSR_KOP_TABLE, E16, 64, F(AVX512BW), X86("avx512.permvar.hi.512"), "ba", 0},
    {RSR_KOP_TABLE, E16, 32, F(AVX512BW) | VL, X86("avx512.permvar.hi.256"), "ba", 0},
    {RSR_KOP_TABLE, E16, 16, F(AVX512BW) | VL, X86("avx512.permvar.hi.128"), "ba", 0},
    {RSR_KOP_TABLE, E32, 64, F(AVX512F), X86("avx512.permvar.si.512"), "ba", 0},
    {RSR_KOP_TABLE, E(F32), 64, F(AVX512F), X86("avx512.permvar.sf.512"), "ba", 0},
    {RSR_KOP_TABLE, E32, 32, F(AVX2), X86("avx2.permd"), "ba", 0},
    {RSR_KOP_TABLE, E(F32), 32, F(AVX2), X86("avx2.permps"), "ba", 0},

    {RSR_KOP_TABLE2, E8, 64, F(AVX512VBMI), X86("avx512.vpermi2var.qi.512"), "bac", 0},
    {RSR_KOP_TABLE2, E8, 32, F(AVX512VBMI) | VL, X86("avx512.vpermi2var.qi.256"), "bac", 0},
    {RSR_KOP_TABLE2, E8, 16, F(AVX512VBMI) | VL, X86("avx512.vpermi2var.qi.128"), "bac", 0},
    {RSR_KOP_TABLE2, E8, 16, F(NEON), NEON("tbl2"), "bcA", RSRC_OVERLOAD_BYTES},
    {RSR_KOP_TABLE2, E16, 64, F(AVX512BW), X86("avx512.vpermi2var.hi.512"), "bac", 0},
    {RSR_KOP_TABLE2, E16, 32, F(AVX512BW) | VL, X86("avx512.vpermi2var.hi.256"), "bac", 0},
    {RSR_KOP_TABLE2, E16, 16, F(AVX512BW) | VL, X86("avx512.vpermi2var.hi.128"), "bac", 0},
    {RSR_KOP_TABLE2, E32, 64, F(AVX512F), X86("avx512.vpermi2var.d.512"), "bac", 0},
    {RSR_KOP_TABLE2, E(F32), 64, F(AVX512F), X86("avx512.vpermi2var.ps.512"), "bac", 0},
    {RSR_KOP_TABLE2, E32, 32, F(AVX512F) | VL, X86("avx512.vpermi2var.d.256"), "bac", 0},
    {RSR_KOP_TABLE2, E(F32), 32, F(AVX512F) | VL, X86("avx512.vpermi2var.ps.256"), "bac", 0},

    /* The matrix of bits and the constant 0 are llvm_value.c's. */
    {RSR_KOP_SPREAD_BIT, ANY, 64, F(GFNI) | F(AVX512F), X86("vgf2p8affineqb.512"), "a", 0},
    {RSR_KOP_SPREAD_BIT, ANY, 32, F(GFNI) | F(AVX), X86("vgf2p8affineqb.256"), "a", 0},
    {RSR_KOP_SPREAD_BIT, ANY, 16, F(GFNI), X86("vgf2p8affineqb.128"), "a", 0},
    {RSR_KOP_PACK_U8, ANY, 64, F(AVX512BW), X86("avx512.packuswb.512"), "ab", 0},
    {RSR_KOP_PACK_U8, ANY, 32, F(AVX2), X86("avx2.packuswb"), "ab", 0},
    {RSR_KOP_PACK_U8, ANY, 16, F(SSSE3), X86("sse2.packuswb.128"), "ab", 0},

    /* Tiles are numbers in the text, not values: llvm_code.c has the arguments. */
    {RSR_KOP_TILE_BEGIN, ANY, 0, F(AMX_TILE), X86("ldtilecfg"), "", 0},
    {RSR_KOP_TILE_END, ANY, 0, F(AMX_TILE), X86("tilerelease"), "", 0},
    {RSR_KOP_TILE_LOAD, ANY, 0, F(AMX_TILE), X86("tileloadd64"), "", 0},
    {RSR_KOP_TILE_STORE, ANY, 0, F(AMX_TILE), X86("tilestored64"), "", 0},
    {RSR_KOP_TILE_DOT_S8S8, ANY, 0, F(AMX_TILE) | F(AMX_INT8), X86("tdpbssd"), "", 0},
};
#define N_INTRINSICS (sizeof intrinsics / sizeof *intrinsics)

static bool needs_intrinsic(const struct rsr_kop *op) {
    return op->kind == RSR_KOP_DOT_U8S8 || op->kind == RSR_KOP_DOT_S8S8 ||
           op->kind == RSR_KOP_MADD_U8S8 || op->kind == RSR_KOP_FMA || rsrc_kop_is_tile(op->kind);
}

const struct rsrc_llvm_intrinsic *rsrc_llvm_find_intrinsic(const struct rsr_spec *spec,
                                                           const struct rsr_kop *op,
                                                           const struct rsr_kreg *dst) {
    const uint32_t elem = dst != NULL ? 1u << dst->elem : ANY;
    const uint32_t bytes = dst != NULL ? rsrc_kreg_bytes(dst) : 0;
    for (size_t i = 0; i < N_INTRINSICS; i++) {
        const struct rsrc_llvm_intrinsic *row = &intrinsics[i];
        if (row->kind == (enum rsr_kop_kind)op->kind && row->bytes == bytes &&
            (row->elems & elem) != 0 && (spec->cpu_features & row->features) == row->features)
            return row;
    }
    return NULL;
}

const char *rsrc_llvm_find_obstacle(const struct rsr_spec *spec, const struct rsr_kreg *regs,
                                    const struct rsr_kop *ops, uint32_t n_ops,
                                    struct rsrc_arena *arena) {
    for (uint32_t i = 0; i < n_ops; i++) {
        const struct rsr_kop *op = &ops[i];
        const struct rsr_kreg *dst = rsrc_kop_has_result(op->kind) ? &regs[op->dst] : NULL;
        if (needs_intrinsic(op) && rsrc_llvm_find_intrinsic(spec, op, dst) == NULL)
            return rsrc_arena_printf(
                arena, "operation %u needs an instruction that target %s lacks", i, spec->name);
    }
    return NULL;
}
