/* group_scales.c - scales of groups as binary16 or binary32; see group_scales.h.
 *
 * The bits of a nonnegative binary16 number are those of the binary32 number that is 2^112 times
 * smaller, for subnormal numbers too: a shift and a multiplication convert it, exactly.
 */
#include "kernel/group_scales.h"

#include <string.h>

#include "kernel/kernel.h"

#define HALF_SHIFT 13 /* difference of the mantissa bits of binary16 and binary32 */
#define HALF_FACTOR 0x1p112f
#define HALF_INFINITY 0x7c00u

/* False: the scale is not a binary16 number. */
static bool to_half(float value, uint16_t *out) {
    const float small = value * 0x1p-112f;
    uint32_t bits;
    memcpy(&bits, &small, sizeof bits);
    *out = (uint16_t)(bits >> HALF_SHIFT);
    return bits >> HALF_SHIFT < HALF_INFINITY && (uint32_t)*out << HALF_SHIFT == bits &&
           small * HALF_FACTOR == value;
}

uint32_t rsrc_group_scale_bytes(const struct rsr_matrix *matrix) {
    uint16_t half;
    if (matrix->group_cols == 0)
        return 0;
    for (uint32_t i = 0; i < matrix->n_scales; i++)
        if (!to_half(matrix->scale[i], &half))
            return sizeof(float);
    return sizeof half;
}

void rsrc_put_group_scale(float scale, uint32_t scale_bytes, uint8_t *to) {
    uint16_t half;
    if (scale_bytes == sizeof half && to_half(scale, &half))
        memcpy(to, &half, sizeof half);
    else
        memcpy(to, &scale, scale_bytes);
}

struct rsrc_group_scales rsrc_make_group_scales(struct rsrc_kb *kb, uint32_t scale_bytes,
                                                uint32_t lanes, const char *suffix) {
    struct rsrc_group_scales scales = {
        .scale_bytes = scale_bytes,
        .scale = rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "group_scale%s", suffix)};
    if (scale_bytes == sizeof(float))
        return scales;
    scales.half = rsrc_kb_reg(kb, RSR_ELEM_U16, lanes, "half_scale%s", suffix);
    scales.half_bits = rsrc_kb_reg(kb, RSR_ELEM_U32, lanes, "half_bits%s", suffix);
    scales.half_factor = rsrc_kb_const_f32(
        kb, rsrc_kb_reg(kb, RSR_ELEM_F32, lanes, "half_factor%s", suffix), HALF_FACTOR);
    return scales;
}

uint16_t rsrc_load_group_scales(struct rsrc_kb *kb, const struct rsrc_group_scales *scales,
                                struct rsrc_address at) {
    if (scales->scale_bytes == sizeof(float))
        return rsrc_kb_load(kb, scales->scale, at);
    rsrc_kb_load(kb, scales->half, at);
    rsrc_kb_unary(kb, RSR_KOP_CONVERT, scales->half_bits, scales->half);
    rsrc_kb_immediate(kb, RSR_KOP_SHL, scales->half_bits, scales->half_bits, HALF_SHIFT);
    rsrc_kb_unary(kb, RSR_KOP_BITCAST, scales->scale, scales->half_bits);
    return rsrc_kb_binary(kb, RSR_KOP_MUL, scales->scale, scales->scale, scales->half_factor);
}
