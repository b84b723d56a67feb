/* ptx_operations.c - the rows of ptx_operations.def as functions over the lanes of a warp. */
#include <math.h>
#include <string.h>

#include "ptx.h"

/* Expressions written once for all types convert implicitly, and compare unsigned values with 0. */
#pragma GCC diagnostic ignored "-Wtype-limits"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"

typedef uint8_t u8;
typedef int8_t s8;
typedef uint16_t u16;
typedef int16_t s16;
typedef uint32_t u32;
typedef int32_t s32;
typedef uint64_t u64;
typedef int64_t s64;
typedef float f32;
typedef double f64;
typedef bool pred;
typedef uint8_t nil;

enum { PTX_nil = PTX_NONE, PTX_pred = PTX_PRED };
#define X(id, name) enum { PTX_##name = PTX_##id };
PTX_TYPES(X)
#undef X

uint32_t ptx_type_bits(enum ptx_type type) {
    static const uint8_t BITS[] = {[PTX_NONE] = 0, [PTX_PRED] = 1, [PTX_U8] = 8,   [PTX_S8] = 8,
                                   [PTX_U16] = 16, [PTX_S16] = 16, [PTX_U32] = 32, [PTX_S32] = 32,
                                   [PTX_U64] = 64, [PTX_S64] = 64, [PTX_F32] = 32, [PTX_F64] = 64};
    return BITS[type];
}

/* ---- values of lanes ------------------------------------------------------------------------- */

#define INTEGER_LANE(T)                                                                            \
    static inline T get_##T(uint64_t lane) {                                                       \
        return (T)lane;                                                                            \
    }
INTEGER_LANE(u8)
INTEGER_LANE(s8)
INTEGER_LANE(u16)
INTEGER_LANE(s16)
INTEGER_LANE(u32)
INTEGER_LANE(s32)
INTEGER_LANE(u64)
INTEGER_LANE(s64)
INTEGER_LANE(pred)
INTEGER_LANE(nil)

/* Turns the result of an expression into bits, by the type of the expression: integers are
 * truncated, floats are not. */
#define PUT_INTEGER(T, U)                                                                          \
    static inline uint64_t put_##T(uint64_t value) {                                               \
        return (U)value;                                                                           \
    }
#define PUT_TYPES(X)                                                                               \
    X(pred, bool)                                                                                  \
    X(u16, u16)                                                                                    \
    X(s16, u16)                                                                                    \
    X(u32, u32)                                                                                    \
    X(s32, u32)                                                                                    \
    X(u64, u64)                                                                                    \
    X(s64, u64)
PUT_TYPES(PUT_INTEGER)

static inline f32 get_f32(uint64_t lane) {
    const u32 bits = (u32)lane;
    f32 value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline f64 get_f64(uint64_t lane) {
    f64 value;
    memcpy(&value, &lane, sizeof value);
    return value;
}

/* A GPU has only one NaN of 32 bits. */
static inline uint64_t put_f32(f32 value) {
    u32 bits;
    memcpy(&bits, &value, sizeof bits);
    return isnan(value) ? 0x7fffffff : bits;
}

static inline uint64_t put_f64(f64 value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* ---- what is longer than an expression ------------------------------------------------------- */

#define DIVISION(T)                                                                                \
    static inline uint64_t quotient_##T(T a, T b) {                                                \
        return b == (T)-1 && (T)-1 < 0 ? 0 - (uint64_t)a : (uint64_t)(a / b);                      \
    }                                                                                              \
    static inline uint64_t remainder_##T(T a, T b) {                                               \
        return b == (T)-1 && (T)-1 < 0 ? 0 : (uint64_t)(a % b);                                    \
    }
DIVISION(u16)
DIVISION(s16)
DIVISION(u32)
DIVISION(s32)
DIVISION(u64)
DIVISION(s64)

static inline uint64_t low_bits(uint32_t n) {
    return n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
}

static inline uint64_t extract_bits(uint64_t a, u32 at, u32 n, u32 width) {
    at &= 255;
    n &= 255;
    return at >= width ? 0 : a >> at & low_bits(n);
}

/* Above its n bits, and above bit 31, the last of them is repeated. */
static inline uint64_t extract_signed_bits(u32 a, u32 at, u32 n) {
    at &= 255;
    n &= 255;
    const u32 last = at + n - 1 < 31 ? at + n - 1 : 31;
    const uint64_t sign = n != 0 && (a >> last & 1) != 0 ? ~UINT64_C(0) : 0;
    const uint64_t kept = low_bits(n) & (at < 32 ? UINT32_MAX >> at : 0);
    return ((at < 32 ? a >> at : 0) & kept) | (sign & ~kept);
}

static inline uint64_t insert_bits(uint64_t from, uint64_t into, u32 at, u32 n, u32 width) {
    at &= 255;
    n &= 255;
    const uint64_t mask = at >= width ? 0 : low_bits(n) << at;
    return (into & ~mask) | (at >= width ? 0 : from << at & mask);
}

/* Bit 3 of a selector spreads the byte's sign. */
static inline uint64_t permute_bytes(u32 a, u32 b, u32 selectors) {
    const uint64_t both = (uint64_t)b << 32 | a;
    uint64_t out = 0;
    for (u32 i = 0; i < 4; i++) {
        const u32 selector = selectors >> 4 * i & 15;
        const u8 byte = (u8)(both >> 8 * (selector & 7));
        out |= (uint64_t)(selector < 8 ? byte : byte >= 128 ? 255 : 0) << 8 * i;
    }
    return out;
}

static inline uint64_t look_up_logic(u32 a, u32 b, u32 c, u32 table) {
    u32 out = 0;
    for (u32 i = 0; i < 8; i++)
        if (table >> i & 1)
            out |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    return out;
}

static inline uint64_t reverse_bits(u32 a) {
    u32 out = 0;
    for (u32 i = 0; i < 32; i++)
        out |= (a >> i & 1) << (31 - i);
    return out;
}

static inline uint64_t dot_bytes(u32 a, u32 b, bool a_signed, bool b_signed) {
    s32 sum = 0;
    for (u32 i = 0; i < 32; i += 8)
        sum += (a_signed ? (s32)(s8)(a >> i) : (s32)(a >> i & 255)) *
               (b_signed ? (s32)(s8)(b >> i) : (s32)(b >> i & 255));
    return (uint64_t)(int64_t)sum;
}

/* NaN becomes 0; numbers that are too large become the largest integer. */
static inline uint64_t to_integer(f64 value, f64 least, f64 beyond) {
    if (isnan(value))
        return 0;
    return (uint64_t)(int64_t)(value < least ? least : value >= beyond ? beyond - 1 : value);
}

/* If one of two operands is NaN, the result is the other one; -0 is less than 0. */
#define LESSER_AND_GREATER(T)                                                                      \
    static inline T lesser_##T(T a, T b) {                                                         \
        return isnan(a) ? b : isnan(b) ? a : a < b || (a == b && signbit(a)) ? a : b;              \
    }                                                                                              \
    static inline T greater_##T(T a, T b) {                                                        \
        return isnan(a) ? b : isnan(b) ? a : a > b || (a == b && !signbit(a)) ? a : b;             \
    }
LESSER_AND_GREATER(f32)
LESSER_AND_GREATER(f64)

/* ---- the table ------------------------------------------------------------------------------- */

#define OPERATION(id, text, D, A, B, C, E, expression)                                             \
    static void id(uint64_t *d, const uint64_t *va, const uint64_t *vb, const uint64_t *vc,        \
                   const uint64_t *ve) {                                                           \
        for (uint32_t i = 0; i < PTX_LANES; i++) {                                                 \
            const A a = get_##A(va[i]);                                                            \
            const B b = get_##B(vb[i]);                                                            \
            const C c = get_##C(vc[i]);                                                            \
            const E e = get_##E(ve[i]);                                                            \
            (void)b, (void)c, (void)e;                                                             \
            d[i] = put_##D(expression);                                                            \
        }                                                                                          \
    }
#include "ptx_operations.def"
#undef OPERATION

static const struct ptx_operation OPERATIONS[] = {
#define OPERATION(id, text, D, A, B, C, E, expression)                                             \
    {text,                                                                                         \
     (enum ptx_type)PTX_##D,                                                                       \
     {(enum ptx_type)PTX_##A, (enum ptx_type)PTX_##B, (enum ptx_type)PTX_##C,                      \
      (enum ptx_type)PTX_##E},                                                                     \
     id},
#include "ptx_operations.def"
#undef OPERATION
};

const struct ptx_operation *ptx_find_operation(const char *name) {
    for (size_t i = 0; i < sizeof OPERATIONS / sizeof OPERATIONS[0]; i++)
        if (strcmp(OPERATIONS[i].name, name) == 0)
            return &OPERATIONS[i];
    return NULL;
}
