/* kernel_interpreter.c - runs a kernel operation by operation, written from the definitions of
 * RSR_KOPS alone: the reference that every back end is held to.
 *
 * Every operation reads its operands lane by lane. A result may also be an operand, so it is built
 * in other memory and then copied.
 */
#include "kernel_interpreter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_ops.h"

#define TILE_ROWS 16u
#define TILE_ROW_BYTES 64u
#define VALUE_BYTES (TILE_ROWS * TILE_ROW_BYTES)
#define N_PARAMS RSR_KPARAM_COUNT

/* One register: lanes from byte 0 on, or the rows of a tile. */
struct value {
    uint8_t bytes[VALUE_BYTES];
};

struct machine {
    const struct rsr_kernel *kernel;
    int64_t body; /* number; -1: the kernel itself */
    const struct rsr_kreg *regs;
    struct value *values;
    const struct rsr_kop *ops;
    const uint32_t *partner; /* for LOOP, IF, ELSE: the ELSE or END that closes it */
    uint8_t *buffers[RSR_KBUF_COUNT];
    int64_t params[N_PARAMS];
    struct value *body_values;
    struct value result; /* of the current operation */
    uint64_t *n_vector_ops;
    bool loads_first; /* AArch64 cannot add from memory: it loads first */
    bool tiles_configured;
};

_Noreturn static void stop(const struct machine *m, const struct rsr_kop *op, const char *problem) {
    fprintf(stderr, "kernel '%s', body %lld, operation %u: %s\n", m->kernel->symbol,
            (long long)m->body, (unsigned)(op - m->ops), problem);
    abort();
}

/* ---- lanes ----------------------------------------------------------------------------------- */

/* Each case copies a constant size, which compiles to one access: most of the time is spent
 * here. */
static int64_t integer_at(const uint8_t *bytes, enum rsr_elem elem, uint32_t lane) {
#define READ(type)                                                                                 \
    do {                                                                                           \
        type number;                                                                               \
        memcpy(&number, bytes + lane * sizeof number, sizeof number);                              \
        return number;                                                                             \
    } while (0)
    switch (elem) {
    case RSR_ELEM_I8:
        READ(int8_t);
    case RSR_ELEM_U8:
        READ(uint8_t);
    case RSR_ELEM_I16:
        READ(int16_t);
    case RSR_ELEM_U16:
        READ(uint16_t);
    case RSR_ELEM_I32:
        READ(int32_t);
    case RSR_ELEM_U32:
    case RSR_ELEM_F32: /* its bits */
        READ(uint32_t);
    case RSR_ELEM_I64:
        READ(int64_t);
    case RSR_ELEM_TILE:
    case RSR_ELEM_COUNT:
        break;
    }
#undef READ
    abort();
}

/* Stores the low bytes of the integer, positive or negative. */
static void set_integer(uint8_t *bytes, enum rsr_elem elem, uint32_t lane, int64_t integer) {
    const uint64_t low = (uint64_t)integer;
    const uint8_t low8 = (uint8_t)low;
    const uint16_t low16 = (uint16_t)low;
    const uint32_t low32 = (uint32_t)low;
    switch (rsrc_elem_bytes(elem)) {
    case 1:
        bytes[lane] = low8;
        return;
    case 2:
        memcpy(bytes + lane * sizeof low16, &low16, sizeof low16);
        return;
    case 4:
        memcpy(bytes + lane * sizeof low32, &low32, sizeof low32);
        return;
    case 8:
        memcpy(bytes + lane * sizeof low, &low, sizeof low);
        return;
    default:
        abort();
    }
}

/* All lanes of a vector, one loop a type. */
static void read_integers(const uint8_t *bytes, enum rsr_elem elem, uint32_t n_lanes,
                          int64_t *integers) {
#define READ_ALL(type)                                                                             \
    for (uint32_t i = 0; i < n_lanes; i++) {                                                       \
        type number;                                                                               \
        memcpy(&number, bytes + i * sizeof number, sizeof number);                                 \
        integers[i] = number;                                                                      \
    }                                                                                              \
    return
    switch (elem) {
    case RSR_ELEM_I8:
        READ_ALL(int8_t);
    case RSR_ELEM_U8:
        READ_ALL(uint8_t);
    case RSR_ELEM_I16:
        READ_ALL(int16_t);
    case RSR_ELEM_U16:
        READ_ALL(uint16_t);
    case RSR_ELEM_I32:
        READ_ALL(int32_t);
    default:
        for (uint32_t i = 0; i < n_lanes; i++)
            integers[i] = integer_at(bytes, elem, i);
    }
#undef READ_ALL
}

static void write_integers(uint8_t *bytes, enum rsr_elem elem, uint32_t n_lanes,
                           const int64_t *integers) {
#define WRITE_ALL(type)                                                                            \
    for (uint32_t i = 0; i < n_lanes; i++) {                                                       \
        const type number = (type)integers[i];                                                     \
        memcpy(bytes + i * sizeof number, &number, sizeof number);                                 \
    }                                                                                              \
    return
    switch (rsrc_elem_bytes(elem)) {
    case 1:
        WRITE_ALL(uint8_t);
    case 2:
        WRITE_ALL(uint16_t);
    case 4:
        WRITE_ALL(uint32_t);
    default:
        abort();
    }
#undef WRITE_ALL
}

static float float_at(const uint8_t *bytes, uint32_t lane) {
    float number;
    memcpy(&number, bytes + lane * sizeof number, sizeof number);
    return number;
}

static void set_float(uint8_t *bytes, uint32_t lane, float number) {
    memcpy(bytes + lane * sizeof number, &number, sizeof number);
}

static const uint8_t *bytes_of(const struct machine *m, uint16_t reg) {
    return m->values[reg].bytes;
}

static int64_t lane_of(const struct machine *m, uint16_t reg, uint32_t lane) {
    return integer_at(m->values[reg].bytes, m->regs[reg].elem, lane);
}

static int64_t scalar_of(const struct machine *m, uint16_t reg) {
    return lane_of(m, reg, 0);
}

static uint8_t *address_of(const struct machine *m, const struct rsr_kop *op) {
    int64_t at = op->imm;
    for (uint32_t i = 0; i < 3; i++)
        if (op->term[i] != RSR_NO_KREG)
            at += scalar_of(m, op->term[i]) * op->term_scale[i];
    return m->buffers[op->buffer] + at;
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

/* Returns the value as an element of d holds it: unsigned elements wrap, and values of signed
 * elements must fit. */
static int64_t fit(const struct machine *m, const struct rsr_kop *op, enum rsr_elem elem,
                   int64_t value) {
    const uint32_t bits = rsrc_elem_bytes(elem) * 8;
    if (bits == 64)
        return value;
    if (rsrc_elem_is_unsigned(elem))
        return value & ((INT64_C(1) << bits) - 1);
    if (value < -(INT64_C(1) << (bits - 1)) || value >= INT64_C(1) << (bits - 1))
        stop(m, op, "signed overflow");
    return value;
}

/* The same in every lane, of elements of less than 64 bits. */
static void fit_all(const struct machine *m, const struct rsr_kop *op, enum rsr_elem elem,
                    uint32_t n_lanes, int64_t *values) {
    const uint32_t bits = rsrc_elem_bytes(elem) * 8;
    if (rsrc_elem_is_unsigned(elem)) {
        for (uint32_t i = 0; i < n_lanes; i++)
            values[i] &= (INT64_C(1) << bits) - 1;
        return;
    }
    const int64_t limit = INT64_C(1) << (bits - 1);
    int64_t outside = 0;
    for (uint32_t i = 0; i < n_lanes; i++)
        outside |= (values[i] + limit) & -2 * limit;
    if (outside != 0)
        stop(m, op, "signed overflow");
}

/* d = a op b, of elements that 64 bits hold with room to spare: sums and products of them are
 * exact (those of U32 wrap as they must). */
static void combine_narrow(const struct machine *m, const struct rsr_kop *op, uint32_t n_lanes,
                           const int64_t *a, const int64_t *b, int64_t *d) {
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_ADD:
    case RSR_KOP_ADD_MEM:
        for (uint32_t i = 0; i < n_lanes; i++)
            d[i] = a[i] + b[i];
        return;
    case RSR_KOP_SUB:
    case RSR_KOP_SUB_MEM:
        for (uint32_t i = 0; i < n_lanes; i++)
            d[i] = a[i] - b[i];
        return;
    case RSR_KOP_MUL:
        for (uint32_t i = 0; i < n_lanes; i++)
            d[i] = (int64_t)((uint64_t)a[i] * (uint64_t)b[i]);
        return;
    case RSR_KOP_MIN:
        for (uint32_t i = 0; i < n_lanes; i++)
            d[i] = a[i] < b[i] ? a[i] : b[i];
        return;
    case RSR_KOP_AND:
        for (uint32_t i = 0; i < n_lanes; i++)
            d[i] = a[i] & b[i];
        return;
    case RSR_KOP_OR:
        for (uint32_t i = 0; i < n_lanes; i++)
            d[i] = a[i] | b[i];
        return;
    case RSR_KOP_XOR:
        for (uint32_t i = 0; i < n_lanes; i++)
            d[i] = a[i] ^ b[i];
        return;
    default:
        stop(m, op, "not arithmetic");
    }
}

/* d = a op b of scalars: counters and offsets. */
static int64_t combine_scalars(const struct machine *m, const struct rsr_kop *op, int64_t a,
                               int64_t b) {
    int64_t result = 0;
    bool overflow = false;
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_ADD:
        overflow = __builtin_add_overflow(a, b, &result);
        break;
    case RSR_KOP_SUB:
        overflow = __builtin_sub_overflow(a, b, &result);
        break;
    case RSR_KOP_MUL:
        overflow = __builtin_mul_overflow(a, b, &result);
        break;
    default:
        combine_narrow(m, op, 1, &a, &b, &result);
    }
    if (overflow)
        stop(m, op, "signed overflow");
    return result;
}

static void combine_floats(const struct machine *m, const struct rsr_kop *op, uint32_t n_lanes,
                           const uint8_t *a, const uint8_t *b, uint8_t *d) {
#define COMBINE(result)                                                                            \
    for (uint32_t i = 0; i < n_lanes; i++) {                                                       \
        const float x = float_at(a, i), y = float_at(b, i);                                        \
        set_float(d, i, result);                                                                   \
    }                                                                                              \
    return
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_ADD:
    case RSR_KOP_ADD_MEM:
        COMBINE(x + y);
    case RSR_KOP_SUB:
    case RSR_KOP_SUB_MEM:
        COMBINE(x - y);
    case RSR_KOP_MUL:
        COMBINE(x * y);
    case RSR_KOP_MIN:
        COMBINE(x < y ? x : y);
    default:
        stop(m, op, "not arithmetic of floats");
    }
#undef COMBINE
}

static void combine_integers(const struct machine *m, const struct rsr_kop *op, const uint8_t *a,
                             const uint8_t *b, uint8_t *d) {
    const struct rsr_kreg *reg = &m->regs[op->dst];
    if (reg->elem == RSR_ELEM_I64) {
        for (uint32_t i = 0; i < reg->lanes; i++)
            set_integer(
                d, reg->elem, i,
                combine_scalars(m, op, integer_at(a, reg->elem, i), integer_at(b, reg->elem, i)));
        return;
    }
    int64_t left[VALUE_BYTES], right[VALUE_BYTES], result[VALUE_BYTES];
    read_integers(a, reg->elem, reg->lanes, left);
    read_integers(b, reg->elem, reg->lanes, right);
    combine_narrow(m, op, reg->lanes, left, right, result);
    if (op->kind != RSR_KOP_XOR) /* also of the bits of floats */
        fit_all(m, op, reg->elem, reg->lanes, result);
    write_integers(d, reg->elem, reg->lanes, result);
}

/* d = a op b in every lane. */
static void combine_lanes(const struct machine *m, const struct rsr_kop *op, const uint8_t *a,
                          const uint8_t *b, uint8_t *d) {
    const struct rsr_kreg *reg = &m->regs[op->dst];
    if (reg->elem == RSR_ELEM_F32 && op->kind != RSR_KOP_XOR)
        combine_floats(m, op, reg->lanes, a, b, d);
    else
        combine_integers(m, op, a, b, d);
}

static void shift_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    const struct rsr_kreg *reg = &m->regs[op->dst];
    for (uint32_t i = 0; i < reg->lanes; i++) {
        const int64_t a = lane_of(m, op->a, i);
        if (op->kind == RSR_KOP_SHR) { /* values of unsigned elements are not negative here */
            set_integer(d, reg->elem, i, a >> op->imm);
            continue;
        }
        const int64_t shifted = (int64_t)((uint64_t)a << op->imm);
        if (!rsrc_elem_is_unsigned(reg->elem) && shifted >> op->imm != a)
            stop(m, op, "signed overflow");
        set_integer(d, reg->elem, i, fit(m, op, reg->elem, shifted));
    }
}

static void convert_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    const struct rsr_kreg *reg = &m->regs[op->dst];
    for (uint32_t i = 0; i < reg->lanes; i++)
        if (reg->elem == RSR_ELEM_F32)
            set_float(d, i, (float)(int32_t)lane_of(m, op->a, i));
        else
            set_integer(d, reg->elem, i, lane_of(m, op->a, i));
}

/* Every 2u lanes of d get u sums of lanes of a, then u sums of lanes of b. Each sum adds a lane and
 * the lane u further. */
static void zip_add_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    const struct rsr_kreg *reg = &m->regs[op->dst];
    const uint32_t unit = (uint32_t)op->imm;
    for (uint32_t i = 0; i < reg->lanes; i++) {
        const uint32_t group = i / (2 * unit) * (2 * unit), within = i % (2 * unit);
        const uint16_t from = within < unit ? op->a : op->b;
        const uint32_t lane = group + within % unit;
        const int64_t sum = lane_of(m, from, lane) + lane_of(m, from, lane + unit);
        set_integer(d, reg->elem, i, fit(m, op, reg->elem, sum));
    }
}

static void halves_add_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    const struct rsr_kreg *reg = &m->regs[op->dst];
    for (uint32_t i = 0; i < reg->lanes; i++)
        set_integer(
            d, reg->elem, i,
            fit(m, op, reg->elem, lane_of(m, op->a, i) + lane_of(m, op->a, reg->lanes + i)));
}

/* I32 d[i] = a[i] + sum over 4 of b[4i + j] * c[4i + j] */
static void dot_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    const enum rsr_elem left = op->kind == RSR_KOP_DOT_U8S8 ? RSR_ELEM_U8 : RSR_ELEM_I8;
    for (uint32_t i = 0; i < m->regs[op->dst].lanes; i++) {
        int64_t sum = lane_of(m, op->a, i);
        for (uint32_t j = 4 * i; j < 4 * i + 4; j++)
            sum += integer_at(bytes_of(m, op->b), left, j) *
                   integer_at(bytes_of(m, op->c), RSR_ELEM_I8, j);
        set_integer(d, RSR_ELEM_I32, i, fit(m, op, RSR_ELEM_I32, sum));
    }
}

static void madd_u8s8_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    for (uint32_t i = 0; i < m->regs[op->dst].lanes; i++) {
        int64_t sum = 0;
        for (uint32_t j = 2 * i; j < 2 * i + 2; j++)
            sum += integer_at(bytes_of(m, op->a), RSR_ELEM_U8, j) *
                   integer_at(bytes_of(m, op->b), RSR_ELEM_I8, j);
        sum = sum > INT16_MAX ? INT16_MAX : sum < INT16_MIN ? INT16_MIN : sum;
        set_integer(d, RSR_ELEM_I16, i, sum);
    }
}

static void madd_i16_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    for (uint32_t i = 0; i < m->regs[op->dst].lanes; i++) {
        const int64_t sum = lane_of(m, op->a, 2 * i) * lane_of(m, op->b, 2 * i) +
                            lane_of(m, op->a, 2 * i + 1) * lane_of(m, op->b, 2 * i + 1);
        set_integer(d, RSR_ELEM_I32, i, fit(m, op, RSR_ELEM_I32, sum));
    }
}

static void fma_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    for (uint32_t i = 0; i < m->regs[op->dst].lanes; i++)
        set_float(d, i,
                  fmaf(float_at(bytes_of(m, op->a), i), float_at(bytes_of(m, op->b), i),
                       float_at(bytes_of(m, op->c), i)));
}

/* ---- look-ups -------------------------------------------------------------------------------- */

static void copy_lane(uint8_t *d, uint32_t to, const uint8_t *from, uint32_t lane, uint32_t bytes) {
    memcpy(d + to * bytes, from + lane * bytes, bytes);
}

static void shuffle16_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    for (uint32_t i = 0; i < m->regs[op->dst].lanes; i++) {
        const int64_t number = lane_of(m, op->a, i);
        if (number >= 16)
            stop(m, op, "look-up out of range");
        copy_lane(d, i, bytes_of(m, op->b), i / 16 * 16 + (uint32_t)number, 1);
    }
}

/* One table of n elements, or two in a row. */
static void table_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    const struct rsr_kreg *reg = &m->regs[op->dst];
    const uint32_t n_tables = op->kind == RSR_KOP_TABLE2 ? 2 : 1;
    for (uint32_t i = 0; i < reg->lanes; i++) {
        const uint32_t number = (uint32_t)(lane_of(m, op->a, i) % (reg->lanes * n_tables));
        const uint16_t table = number < reg->lanes ? op->b : op->c;
        copy_lane(d, i, bytes_of(m, table), number % reg->lanes, rsrc_elem_bytes(reg->elem));
    }
}

static void spread_bit_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    for (uint32_t i = 0; i < m->regs[op->dst].lanes; i++)
        d[i] = (bytes_of(m, op->a)[i] >> op->imm & 1) != 0 ? 0xff : 0;
}

static void mirror_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    for (uint32_t i = 0; i < m->regs[op->dst].lanes; i++) {
        const uint8_t b = bytes_of(m, op->b)[i], c = bytes_of(m, op->c)[i];
        d[i] = bytes_of(m, op->a)[i] < 128 ? b : (uint8_t)(c - b);
    }
}

/* Every 16 bytes of d alternate elements of 8 bytes of a with those of 8 bytes of b. */
static void zip_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    const struct rsr_kreg *reg = &m->regs[op->dst];
    const uint32_t bytes = rsrc_elem_bytes(reg->elem), per_lane16 = 16 / bytes;
    for (uint32_t i = 0; i < reg->lanes; i++) {
        const uint32_t first = i / per_lane16 * per_lane16, within = i % per_lane16;
        const uint32_t high = op->kind == RSR_KOP_ZIP_HIGH ? per_lane16 / 2 : 0;
        copy_lane(d, i, bytes_of(m, within % 2 == 0 ? op->a : op->b), first + high + within / 2,
                  bytes);
    }
}

static void pack_lanes(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    for (uint32_t i = 0; i < m->regs[op->dst].lanes; i++) {
        const uint32_t lane16 = i / 16, within = i % 16;
        const int64_t number = lane_of(m, within < 8 ? op->a : op->b, lane16 * 8 + within % 8);
        if (number < 0 || number > 255)
            stop(m, op, "packed element out of range");
        d[i] = (uint8_t)number;
    }
}

/* ---- tiles ----------------------------------------------------------------------------------- */

static void tile_dot(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    const uint8_t *a = bytes_of(m, op->a), *b = bytes_of(m, op->b), *c = bytes_of(m, op->c);
    for (uint32_t r = 0; r < TILE_ROWS; r++)
        for (uint32_t i = 0; i < TILE_ROW_BYTES / 4; i++) {
            int64_t sum = integer_at(a + r * TILE_ROW_BYTES, RSR_ELEM_I32, i);
            for (uint32_t k = 0; k < TILE_ROW_BYTES; k++)
                sum += integer_at(b + r * TILE_ROW_BYTES, RSR_ELEM_I8, k) *
                       integer_at(c + k / 4 * TILE_ROW_BYTES, RSR_ELEM_I8, 4 * i + k % 4);
            set_integer(d + r * TILE_ROW_BYTES, RSR_ELEM_I32, i, fit(m, op, RSR_ELEM_I32, sum));
        }
}

static void run_tile_op(struct machine *m, const struct rsr_kop *op) {
    struct value result = {{0}};
    if (op->kind != RSR_KOP_TILE_BEGIN && !m->tiles_configured)
        stop(m, op, "tiles are not configured");
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_TILE_BEGIN:
    case RSR_KOP_TILE_END:
        m->tiles_configured = op->kind == RSR_KOP_TILE_BEGIN;
        return;
    case RSR_KOP_TILE_LOAD:
        for (uint32_t r = 0; r < TILE_ROWS; r++)
            memcpy(result.bytes + r * TILE_ROW_BYTES,
                   address_of(m, op) + (int64_t)r * scalar_of(m, op->a), TILE_ROW_BYTES);
        break;
    case RSR_KOP_TILE_STORE:
        for (uint32_t r = 0; r < TILE_ROWS; r++)
            memcpy(address_of(m, op) + (int64_t)r * scalar_of(m, op->b),
                   bytes_of(m, op->a) + r * TILE_ROW_BYTES, TILE_ROW_BYTES);
        return;
    case RSR_KOP_TILE_DOT_S8S8:
        tile_dot(m, op, result.bytes);
        break;
    default:
        stop(m, op, "no tile operation");
    }
    m->values[op->dst] = result;
}

/* ---- operations ------------------------------------------------------------------------------ */

/* Fills the lanes of an operation's result. */
static void compute(const struct machine *m, const struct rsr_kop *op, uint8_t *d) {
    const struct rsr_kreg *reg = &m->regs[op->dst];
    const uint32_t bytes = rsrc_kreg_bytes(reg);
    switch ((enum rsr_kop_kind)op->kind) {
    case RSR_KOP_CONST:
        for (uint32_t i = 0; i < reg->lanes; i++)
            if (reg->elem == RSR_ELEM_F32)
                set_float(d, i, op->fimm);
            else
                set_integer(d, reg->elem, i, op->imm);
        return;
    case RSR_KOP_PARAM:
        set_integer(d, RSR_ELEM_I64, 0, m->params[op->imm]);
        return;
    case RSR_KOP_COPY:
    case RSR_KOP_BITCAST:
        memcpy(d, bytes_of(m, op->a), bytes);
        return;
    case RSR_KOP_ADD:
    case RSR_KOP_SUB:
    case RSR_KOP_MUL:
    case RSR_KOP_MIN:
    case RSR_KOP_AND:
    case RSR_KOP_OR:
    case RSR_KOP_XOR:
        combine_lanes(m, op, bytes_of(m, op->a), bytes_of(m, op->b), d);
        return;
    case RSR_KOP_ADD_MEM:
    case RSR_KOP_SUB_MEM:
        combine_lanes(m, op, bytes_of(m, op->a), address_of(m, op), d);
        return;
    case RSR_KOP_SHR:
    case RSR_KOP_SHL:
        shift_lanes(m, op, d);
        return;
    case RSR_KOP_SPLAT:
        for (uint32_t i = 0; i < reg->lanes; i++)
            copy_lane(d, i, bytes_of(m, op->a), 0, rsrc_elem_bytes(reg->elem));
        return;
    case RSR_KOP_EXTRACT:
        copy_lane(d, 0, bytes_of(m, op->a), (uint32_t)op->imm, bytes);
        return;
    case RSR_KOP_CONVERT:
        convert_lanes(m, op, d);
        return;
    case RSR_KOP_LOAD:
        memcpy(d, address_of(m, op), bytes);
        return;
    case RSR_KOP_LOAD_LANES:
        for (uint32_t i = 0; i < bytes; i += 16)
            memcpy(d + i, address_of(m, op), 16);
        return;
    case RSR_KOP_ZIP_ADD:
        zip_add_lanes(m, op, d);
        return;
    case RSR_KOP_HALVES_ADD:
        halves_add_lanes(m, op, d);
        return;
    case RSR_KOP_DOT_U8S8:
    case RSR_KOP_DOT_S8S8:
        dot_lanes(m, op, d);
        return;
    case RSR_KOP_MADD_U8S8:
        madd_u8s8_lanes(m, op, d);
        return;
    case RSR_KOP_MADD_I16:
        madd_i16_lanes(m, op, d);
        return;
    case RSR_KOP_FMA:
        fma_lanes(m, op, d);
        return;
    case RSR_KOP_SHUFFLE16:
        shuffle16_lanes(m, op, d);
        return;
    case RSR_KOP_TABLE:
    case RSR_KOP_TABLE2:
        table_lanes(m, op, d);
        return;
    case RSR_KOP_SPREAD_BIT:
        spread_bit_lanes(m, op, d);
        return;
    case RSR_KOP_MIRROR:
        mirror_lanes(m, op, d);
        return;
    case RSR_KOP_ZIP_LOW:
    case RSR_KOP_ZIP_HIGH:
        zip_lanes(m, op, d);
        return;
    case RSR_KOP_PACK_U8:
        pack_lanes(m, op, d);
        return;
    default:
        stop(m, op, "operation without a definition");
    }
}

static void run(struct machine *m, uint32_t begin, uint32_t end);

static void call_body(struct machine *m, const struct rsr_kop *op) {
    const int64_t number = scalar_of(m, op->a);
    if (number < 0 || number >= m->kernel->n_bodies)
        stop(m, op, "no such body");
    const struct rsr_kbody *body = &m->kernel->bodies[number];
    struct machine inner = {.kernel = m->kernel,
                            .body = number,
                            .regs = m->kernel->body_regs,
                            .values = m->body_values,
                            .ops = body->ops,
                            .n_vector_ops = m->n_vector_ops,
                            .loads_first = m->loads_first};
    inner.buffers[RSR_KBUF_COLUMNS] = m->buffers[RSR_KBUF_SCRATCH] + scalar_of(m, op->b);
    inner.buffers[RSR_KBUF_SUMS] = m->buffers[RSR_KBUF_SCRATCH] + scalar_of(m, op->c);
    run(&inner, 0, body->n_ops);
}

static void run_loop(struct machine *m, uint32_t at) {
    const struct rsr_kop *op = &m->ops[at];
    for (int64_t i = scalar_of(m, op->a); i < scalar_of(m, op->b); i += op->imm) {
        set_integer(m->values[op->dst].bytes, RSR_ELEM_I64, 0, i);
        run(m, at + 1, m->partner[at]);
    }
}

/* The operation where IF ... ELSE ... END goes on. */
static uint32_t run_if(struct machine *m, uint32_t at) {
    const struct rsr_kop *op = &m->ops[at];
    const uint32_t close = m->partner[at];
    const bool has_else = m->ops[close].kind == RSR_KOP_ELSE;
    if (scalar_of(m, op->a) < scalar_of(m, op->b))
        run(m, at + 1, close);
    else if (has_else)
        run(m, close + 1, m->partner[close]);
    return has_else ? m->partner[close] : close;
}

/* The number of instructions of an operation on `reg`: one for each of the target's vectors in it,
 * at least one. */
static uint64_t n_vectors(const struct machine *m, const struct rsr_kreg *reg) {
    const uint32_t bytes = rsrc_kreg_bytes(reg);
    const uint32_t vector_bytes = m->kernel->spec != NULL ? m->kernel->spec->vector_bits / 8 : 0;
    if (reg->lanes <= 1)
        return 0;
    return vector_bytes == 0 || bytes <= vector_bytes ? 1 : bytes / vector_bytes;
}

static bool adds_memory(uint16_t kind) {
    return kind == RSR_KOP_ADD_MEM || kind == RSR_KOP_SUB_MEM;
}

static bool is_copy(uint16_t kind) {
    return kind == RSR_KOP_COPY || kind == RSR_KOP_BITCAST || kind == RSR_KOP_CONST;
}

/* Operations [begin, end), whose blocks are closed within. */
static void run(struct machine *m, uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; i++) {
        const struct rsr_kop *op = &m->ops[i];
        switch ((enum rsr_kop_kind)op->kind) {
        case RSR_KOP_COMMENT:
            break;
        case RSR_KOP_PREFETCH:
            ++*m->n_vector_ops;
            break;
        case RSR_KOP_LOOP:
            run_loop(m, i);
            i = m->partner[i];
            break;
        case RSR_KOP_IF:
            i = run_if(m, i);
            break;
        case RSR_KOP_ELSE:
        case RSR_KOP_END:
            stop(m, op, "ELSE or END without a beginning");
        case RSR_KOP_STORE:
            memcpy(address_of(m, op), bytes_of(m, op->a), rsrc_kreg_bytes(&m->regs[op->a]));
            *m->n_vector_ops += n_vectors(m, &m->regs[op->a]);
            break;
        case RSR_KOP_CALL:
            call_body(m, op);
            break;
        default:
            if (rsrc_kop_is_tile(op->kind)) {
                run_tile_op(m, op);
            } else {
                compute(m, op, m->result.bytes);
                if (!is_copy(op->kind))
                    *m->n_vector_ops += n_vectors(m, &m->regs[op->dst]) *
                                        (m->loads_first && adds_memory(op->kind) ? 2 : 1);
                memcpy(m->values[op->dst].bytes, m->result.bytes,
                       rsrc_kreg_bytes(&m->regs[op->dst]));
            }
        }
    }
}

static uint32_t *find_partners(const struct rsr_kernel *kernel) {
    uint32_t *partner = calloc(kernel->n_ops + 1u, sizeof *partner);
    uint32_t *open = calloc(kernel->n_ops + 1u, sizeof *open);
    uint32_t depth = 0;
    for (uint32_t i = 0; i < kernel->n_ops; i++) {
        const uint16_t kind = kernel->ops[i].kind;
        if (kind == RSR_KOP_ELSE || kind == RSR_KOP_END)
            partner[open[--depth]] = i;
        if (kind == RSR_KOP_LOOP || kind == RSR_KOP_IF || kind == RSR_KOP_ELSE)
            open[depth++] = i;
    }
    free(open);
    return partner;
}

/* A view as writable bytes. kernel_verify.c ensures that kernels only read where they may only
 * read. */
static uint8_t *view(const void *bytes) {
    return (uint8_t *)(uintptr_t)bytes;
}

uint64_t test_interpret_kernel(const struct rsr_kernel *kernel, const void *x, size_t ldx, void *y,
                               size_t ldy, uint32_t n_tokens, const struct rsr_weights *weights,
                               const struct rsr_worker *worker, void *scratch) {
    uint32_t *partner = find_partners(kernel);
    uint64_t n_vector_ops = 0;
    struct machine m = {.kernel = kernel,
                        .body = -1,
                        .regs = kernel->regs,
                        .values = calloc(kernel->n_regs + 1u, sizeof *m.values),
                        .ops = kernel->ops,
                        .partner = partner,
                        .buffers = {[RSR_KBUF_X] = view(x),
                                    [RSR_KBUF_Y] = y,
                                    [RSR_KBUF_CODES] = view(weights->codes),
                                    [RSR_KBUF_INDEX] = view(weights->index),
                                    [RSR_KBUF_SCALE] = view(weights->scale),
                                    [RSR_KBUF_SCRATCH] = scratch},
                        .params = {[RSR_KPARAM_LDX] = (int64_t)ldx,
                                   [RSR_KPARAM_LDY] = (int64_t)ldy,
                                   [RSR_KPARAM_N_TOKENS] = n_tokens,
                                   [RSR_KPARAM_TILE_BEGIN] = worker->tile_begin,
                                   [RSR_KPARAM_TILE_END] = worker->tile_end,
                                   [RSR_KPARAM_HAS_TABLES] = worker->has_tables},
                        .body_values = calloc(kernel->n_body_regs + 1u, sizeof *m.body_values),
                        .n_vector_ops = &n_vector_ops,
                        .loads_first = kernel->spec != NULL &&
                                       strncmp(kernel->spec->triple, "aarch64", 7) == 0};
    run(&m, 0, kernel->n_ops);
    free(m.values);
    free(m.body_values);
    free(partner);
    return n_vector_ops;
}
