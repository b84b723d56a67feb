/* c_types.c - how the C back end spells types; see c_types.h. */
#include "emit/c/c_types.h"

#include "kernel_ops.h"

/* Widths of the prelude's vector types. */
#define MIN_VECTOR_BYTES 8u
#define MAX_VECTOR_BYTES 64u

static const struct elem {
    const char *short_name, *c_name;
    enum rsr_elem unsigned_elem;
} elems[RSR_ELEM_COUNT] = {[RSR_ELEM_I8] = {"i8", "int8_t", RSR_ELEM_U8},
                           [RSR_ELEM_U8] = {"u8", "uint8_t", RSR_ELEM_U8},
                           [RSR_ELEM_I16] = {"i16", "int16_t", RSR_ELEM_U16},
                           [RSR_ELEM_U16] = {"u16", "uint16_t", RSR_ELEM_U16},
                           [RSR_ELEM_I32] = {"i32", "int32_t", RSR_ELEM_U32},
                           [RSR_ELEM_U32] = {"u32", "uint32_t", RSR_ELEM_U32},
                           [RSR_ELEM_I64] = {"i64", "int64_t", RSR_ELEM_I64},
                           [RSR_ELEM_F32] = {"f32", "float", RSR_ELEM_U32},
                           [RSR_ELEM_TILE] = {"tile", "tile", RSR_ELEM_TILE}};

const char *rsrc_c_elem_name(enum rsr_elem elem) {
    return elems[elem].short_name;
}

const char *rsrc_c_scalar_name(enum rsr_elem elem) {
    return elems[elem].c_name;
}

enum rsr_elem rsrc_c_unsigned_elem(enum rsr_elem elem) {
    return elems[elem].unsigned_elem;
}

bool rsrc_c_has_type(const struct rsr_kreg *reg) {
    if (reg->lanes == 1)
        return true;
    const uint32_t bytes = rsrc_kreg_bytes(reg);
    return reg->elem != RSR_ELEM_I64 && bytes >= MIN_VECTOR_BYTES && bytes <= MAX_VECTOR_BYTES;
}

void rsrc_c_put_type(struct rsrc_buffer *out, enum rsr_elem elem, uint32_t lanes) {
    if (lanes == 1)
        rsrc_buffer_puts(out, elems[elem].c_name);
    else
        rsrc_buffer_printf(out, "v%u%s", lanes, elems[elem].short_name);
}

void rsrc_c_put_memory_name(struct rsrc_buffer *out, enum rsr_elem elem, uint32_t lanes) {
    if (lanes == 1)
        rsrc_buffer_puts(out, elems[elem].short_name);
    else
        rsrc_c_put_type(out, elem, lanes);
}
