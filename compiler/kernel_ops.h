/* kernel_ops.h - facts of the kernel IR (ir.h) that every stage that walks operations needs. */
#ifndef RSRC_KERNEL_OPS_H
#define RSRC_KERNEL_OPS_H

#include "ir.h"

/* Register operands of an operation, from RSR_KOPS. */
static inline uint32_t rsrc_kop_arity(uint32_t kind) {
    static const uint8_t arity[RSR_KOP_COUNT] = {
#define X(name, n, help) [RSR_KOP_##name] = n,
        RSR_KOPS(X)
#undef X
    };
    return arity[kind];
}

/* The locality that PREFETCH gives to __builtin_prefetch and llvm.prefetch. */
static inline uint32_t rsrc_prefetch_locality(const struct rsr_spec *spec) {
    return spec->prefetch_level == 2 ? 2 : 3;
}

/* The operation has an address: buffer, imm and terms. */
static inline bool rsrc_kop_has_address(uint32_t kind) {
    switch (kind) {
    case RSR_KOP_LOAD:
    case RSR_KOP_STORE:
    case RSR_KOP_PREFETCH:
    case RSR_KOP_LOAD_LANES:
    case RSR_KOP_ADD_MEM:
    case RSR_KOP_SUB_MEM:
    case RSR_KOP_TILE_LOAD:
    case RSR_KOP_TILE_STORE:
        return true;
    default:
        return false;
    }
}

static inline bool rsrc_kop_writes_memory(uint32_t kind) {
    return kind == RSR_KOP_STORE || kind == RSR_KOP_TILE_STORE;
}

/* The operation leaves a register behind. LOOP's is its counter. */
static inline bool rsrc_kop_has_result(uint32_t kind) {
    switch (kind) {
    case RSR_KOP_COMMENT:
    case RSR_KOP_IF:
    case RSR_KOP_ELSE:
    case RSR_KOP_END:
    case RSR_KOP_STORE:
    case RSR_KOP_PREFETCH:
    case RSR_KOP_CALL:
    case RSR_KOP_TILE_BEGIN:
    case RSR_KOP_TILE_END:
    case RSR_KOP_TILE_STORE:
        return false;
    default:
        return true;
    }
}

static inline bool rsrc_kop_is_tile(uint32_t kind) {
    return kind >= RSR_KOP_TILE_BEGIN && kind <= RSR_KOP_TILE_DOT_S8S8;
}

/* 0: a TILE, which is neither a vector nor a scalar. */
static inline uint32_t rsrc_elem_bytes(enum rsr_elem elem) {
    static const uint8_t bytes[RSR_ELEM_COUNT] = {
        [RSR_ELEM_I8] = 1,  [RSR_ELEM_U8] = 1,  [RSR_ELEM_I16] = 2,
        [RSR_ELEM_U16] = 2, [RSR_ELEM_I32] = 4, [RSR_ELEM_U32] = 4,
        [RSR_ELEM_I64] = 8, [RSR_ELEM_F32] = 4, [RSR_ELEM_TILE] = 0};
    return bytes[elem];
}

static inline bool rsrc_elem_is_unsigned(enum rsr_elem elem) {
    return elem == RSR_ELEM_U8 || elem == RSR_ELEM_U16 || elem == RSR_ELEM_U32;
}

static inline uint32_t rsrc_kreg_bytes(const struct rsr_kreg *reg) {
    return rsrc_elem_bytes(reg->elem) * reg->lanes;
}

/* TILE registers of a machine, and so of a kernel. */
#define RSRC_MAX_TILES 8u

#endif
