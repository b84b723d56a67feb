/* kernel_types.c - which types fit a kernel operation; see RSR_KOPS of ir.h for what each does. */
#include "kernel/kernel_types.h"

#include <math.h>

#include "kernel_ops.h"

static bool is_type(const struct rsr_kreg *reg, enum rsr_elem elem, uint32_t lanes) {
    return reg->elem == elem && reg->lanes == lanes;
}

bool rsrc_kreg_is_index(const struct rsr_kreg *reg) {
    return is_type(reg, RSR_ELEM_I64, 1);
}

static bool same_type(const struct rsr_kreg *a, const struct rsr_kreg *b) {
    return is_type(a, b->elem, b->lanes);
}

static bool is_tile(const struct rsr_kreg *reg) {
    return reg->elem == RSR_ELEM_TILE;
}

static bool is_integer(const struct rsr_kreg *reg) {
    return reg->elem != RSR_ELEM_F32 && !is_tile(reg);
}

static bool same_bytes(const struct rsr_kreg *a, const struct rsr_kreg *b) {
    return rsrc_kreg_bytes(a) == rsrc_kreg_bytes(b) && !is_tile(a) && !is_tile(b);
}

/* Whole lanes of 16 bytes. */
static bool has_lanes16(const struct rsr_kreg *reg) {
    return reg->lanes > 1 && rsrc_kreg_bytes(reg) % 16 == 0 && rsrc_kreg_bytes(reg) != 0;
}

static bool const_fits(const struct rsr_kop *op, const struct rsr_kreg *d) {
    const uint32_t bits = rsrc_elem_bytes(d->elem) * 8u;
    const int64_t imm = op->imm;
    if (d->elem == RSR_ELEM_F32)
        return isfinite(op->fimm);
    if (bits == 64)
        return true;
    if (rsrc_elem_is_unsigned(d->elem))
        return imm >= 0 && imm < INT64_C(1) << bits;
    return imm >= -(INT64_C(1) << (bits - 1)) && imm < INT64_C(1) << (bits - 1);
}

static bool convert_fits(const struct rsr_kreg *d, const struct rsr_kreg *a) {
    const bool widens =
        is_integer(d) && is_integer(a) && rsrc_elem_bytes(d->elem) > rsrc_elem_bytes(a->elem);
    return d->lanes == a->lanes && (widens || (d->elem == RSR_ELEM_F32 && a->elem == RSR_ELEM_I32));
}

static bool zip_add_fits(const struct rsr_kop *op, const struct rsr_kreg *d) {
    return is_integer(d) && op->imm >= 1 && op->imm <= 32 && (op->imm & (op->imm - 1)) == 0 &&
           2 * op->imm <= d->lanes;
}

/* The numbers of a look-up: unsigned, one for every element of d. */
static bool is_look_up(const struct rsr_kreg *d, const struct rsr_kreg *a) {
    return d->lanes > 1 && d->lanes == a->lanes && rsrc_elem_is_unsigned(a->elem) &&
           rsrc_elem_bytes(a->elem) == rsrc_elem_bytes(d->elem);
}

bool rsrc_kop_types_fit(const struct rsr_kop *op, const struct rsr_kreg *d,
                        const struct rsr_kreg *a, const struct rsr_kreg *b,
                        const struct rsr_kreg *c) {
    const int64_t bits = d != NULL ? rsrc_elem_bytes(d->elem) * 8 : 0;
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_COMMENT:
    case RSR_KOP_ELSE:
    case RSR_KOP_END:
    case RSR_KOP_PREFETCH:
    case RSR_KOP_TILE_BEGIN:
    case RSR_KOP_TILE_END:
        return true;
    case RSR_KOP_LOOP:
    case RSR_KOP_IF:
        return rsrc_kreg_is_index(a) && rsrc_kreg_is_index(b);
    case RSR_KOP_CONST:
        return !is_tile(d) && const_fits(op, d);
    case RSR_KOP_PARAM:
        return rsrc_kreg_is_index(d) && op->imm >= 0 && op->imm < RSR_KPARAM_COUNT;
    case RSR_KOP_COPY:
    case RSR_KOP_ADD_MEM:
    case RSR_KOP_SUB_MEM:
        return same_type(d, a) && !is_tile(d);
    case RSR_KOP_ADD:
    case RSR_KOP_SUB:
    case RSR_KOP_MUL:
    case RSR_KOP_XOR:
        return same_type(d, a) && same_type(d, b) && !is_tile(d);
    case RSR_KOP_MIN:
        return same_type(d, a) && same_type(d, b) && d->lanes == 1 && !is_tile(d);
    case RSR_KOP_AND:
    case RSR_KOP_OR:
        return same_type(d, a) && same_type(d, b) && is_integer(d);
    case RSR_KOP_SHR:
    case RSR_KOP_SHL:
        return same_type(d, a) && is_integer(d) && op->imm >= 0 && op->imm < bits;
    case RSR_KOP_SPLAT:
        return is_type(a, d->elem, 1) && d->lanes > 1;
    case RSR_KOP_EXTRACT:
        return is_type(d, a->elem, 1) && a->lanes > 1 && op->imm >= 0 && op->imm < a->lanes;
    case RSR_KOP_CONVERT:
        return convert_fits(d, a);
    case RSR_KOP_BITCAST:
        return same_bytes(d, a);
    case RSR_KOP_LOAD:
        return !is_tile(d);
    case RSR_KOP_STORE:
        return !is_tile(a);
    case RSR_KOP_ZIP_ADD:
        return same_type(d, a) && same_type(d, b) && zip_add_fits(op, d);
    case RSR_KOP_HALVES_ADD:
        return is_type(a, d->elem, 2 * d->lanes) && d->lanes > 1 && is_integer(d);
    case RSR_KOP_DOT_U8S8:
    case RSR_KOP_DOT_S8S8:
        return d->elem == RSR_ELEM_I32 && same_type(d, a) && same_bytes(b, d) && same_bytes(c, d);
    case RSR_KOP_MADD_U8S8:
        return d->elem == RSR_ELEM_I16 && same_bytes(a, d) && same_bytes(b, d);
    case RSR_KOP_MADD_I16:
        return d->elem == RSR_ELEM_I32 && is_type(a, RSR_ELEM_I16, 2 * d->lanes) && same_type(a, b);
    case RSR_KOP_FMA:
        return d->elem == RSR_ELEM_F32 && same_type(d, a) && same_type(d, b) && same_type(d, c);
    case RSR_KOP_LOAD_LANES:
        return has_lanes16(d);
    case RSR_KOP_SHUFFLE16:
        return d->elem == RSR_ELEM_U8 && same_type(d, a) && same_type(d, b) && has_lanes16(d);
    case RSR_KOP_MIRROR:
        return d->elem == RSR_ELEM_U8 && same_type(d, a) && same_type(d, b) && same_type(d, c);
    case RSR_KOP_TABLE:
        return is_look_up(d, a) && same_type(d, b);
    case RSR_KOP_TABLE2:
        return is_look_up(d, a) && same_type(d, b) && same_type(d, c);
    case RSR_KOP_SPREAD_BIT:
        return d->elem == RSR_ELEM_U8 && same_type(d, a) && op->imm >= 0 && op->imm < 8;
    case RSR_KOP_ZIP_LOW:
    case RSR_KOP_ZIP_HIGH:
        return same_type(d, a) && same_type(d, b) && has_lanes16(d);
    case RSR_KOP_PACK_U8:
        return d->elem == RSR_ELEM_U8 && has_lanes16(d) && same_type(a, b) &&
               is_type(a, RSR_ELEM_I16, d->lanes / 2);
    case RSR_KOP_CALL:
        return rsrc_kreg_is_index(a) && rsrc_kreg_is_index(b) && rsrc_kreg_is_index(c);
    case RSR_KOP_TILE_LOAD:
        return is_tile(d) && rsrc_kreg_is_index(a);
    case RSR_KOP_TILE_STORE:
        return is_tile(a) && rsrc_kreg_is_index(b);
    case RSR_KOP_TILE_DOT_S8S8:
        return is_tile(d) && op->dst == op->a && is_tile(b) && is_tile(c) && op->b != op->c &&
               op->b != op->dst && op->c != op->dst;
    case RSR_KOP_COUNT:
        break;
    }
    return false;
}
