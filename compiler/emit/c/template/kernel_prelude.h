#include <stddef.h>
#include <stdint.h>
/* A product is rounded before it is added, whatever the compiler is told. */
#if defined(__clang__)
#pragma clang fp contract(off)
#else
#pragma GCC optimize("fp-contract=off")
#endif

/* The runtime's structs, as in rsr_abi.h. An activation row is a 64-byte header (float scale, int32
 * sum) followed by int8 values, zero-padded to a multiple of 512. */
struct rsr_weights {
    const void *codes;
    const void *index;
    const float *scale;
    uint32_t n_scales;
    uint32_t reserved;
};

struct rsr_worker {
    uint32_t tile_begin;
    uint32_t tile_end;
    uint32_t index;
    uint32_t count;
    uint32_t has_tables;
    uint32_t reserved;
};

/* A vector type and, with _mem, the same in memory: any alignment, any alias. */
#define VECTOR(name, type, bytes)                                                                  \
    typedef type name __attribute__((vector_size(bytes)));                                         \
    typedef type name##_mem __attribute__((vector_size(bytes), aligned(1), may_alias))
#define SCALAR(name, type) typedef type name##_mem __attribute__((aligned(1), may_alias))

SCALAR(i8, int8_t);
SCALAR(u8, uint8_t);
SCALAR(i16, int16_t);
SCALAR(u16, uint16_t);
SCALAR(i32, int32_t);
SCALAR(u32, uint32_t);
SCALAR(i64, int64_t);
SCALAR(f32, float);
VECTOR(v8i8, int8_t, 8);
VECTOR(v16i8, int8_t, 16);
VECTOR(v32i8, int8_t, 32);
VECTOR(v64i8, int8_t, 64);
VECTOR(v8u8, uint8_t, 8);
VECTOR(v16u8, uint8_t, 16);
VECTOR(v32u8, uint8_t, 32);
VECTOR(v64u8, uint8_t, 64);
VECTOR(v4i16, int16_t, 8);
VECTOR(v8i16, int16_t, 16);
VECTOR(v16i16, int16_t, 32);
VECTOR(v32i16, int16_t, 64);
VECTOR(v4u16, uint16_t, 8);
VECTOR(v8u16, uint16_t, 16);
VECTOR(v16u16, uint16_t, 32);
VECTOR(v32u16, uint16_t, 64);
VECTOR(v2i32, int32_t, 8);
VECTOR(v4i32, int32_t, 16);
VECTOR(v8i32, int32_t, 32);
VECTOR(v16i32, int32_t, 64);
VECTOR(v2u32, uint32_t, 8);
VECTOR(v4u32, uint32_t, 16);
VECTOR(v8u32, uint32_t, 32);
VECTOR(v16u32, uint32_t, 64);
VECTOR(v2f32, float, 8);
VECTOR(v4f32, float, 16);
VECTOR(v8f32, float, 32);
VECTOR(v16f32, float, 64);

/* Values in memory of any alignment. */
#define load(type, p) (*(const type##_mem *)(p))
#define store(type, p, value) (*(type##_mem *)(p) = (value))

/* Bits of scalars; casts of vectors keep theirs. */
union float_bits {
    float value;
    uint32_t bits;
};
#define bits_of_float(a) (((union float_bits){.value = (a)}).bits)
#define float_of_bits(a) (((union float_bits){.bits = (a)}).value)

#define smaller(a, b) ((a) < (b) ? (a) : (b))
/* A scalar in every lane of a vector. Floats use a difference, because -0 + 0 would be 0. */
#define splat(type, a) ((type){0} + (a))
#define splat_float(type, a) ((a) - (type){0})
/* The int16 in even and in odd lanes as int32; of every byte the bits from `shift` on that a mask
 * leaves; int32 sums as floats, times a scale. v: v4, v8, v16. */
#define even_halves(v, a) ((v##i32)((v##u32)(a) << 16) >> 16)
#define odd_halves(v, a) ((v##i32)(a) >> 16)
#define field(v, a, shift, mask) ((v##u32)(a) >> (shift) & (mask))
#define scaled(v, sums, scale) (__builtin_convertvector(sums, v##f32) * splat_float(v##f32, scale))

/* Lane numbers for shuffles: n in a row from i; pairs (i, n + i), (i + 1, n + i + 1) ... */
#define shuffle __builtin_shufflevector
#define row2(i) (i), (i) + 1
#define row4(i) row2(i), row2((i) + 2)
#define row8(i) row4(i), row4((i) + 4)
#define row16(i) row8(i), row8((i) + 8)
#define row32(i) row16(i), row16((i) + 16)
#define pairs2(n, i) (i), (n) + (i), (i) + 1, (n) + (i) + 1
#define pairs4(n, i) pairs2(n, i), pairs2(n, (i) + 2)
#define pairs8(n, i) pairs4(n, i), pairs4(n, (i) + 4)

/* Sums of neighbours: zip_add<u>_<lanes> leaves, in every 2u lanes, u sums of a, then u sums of
 * b. */
#define zip_add1_4(a, b) (shuffle(a, b, 0, 4, 2, 6) + shuffle(a, b, 1, 5, 3, 7))
#define zip_add2_4(a, b) (shuffle(a, b, 0, 1, 4, 5) + shuffle(a, b, 2, 3, 6, 7))
#define zip_add1_8(a, b)                                                                           \
    (shuffle(a, b, 0, 8, 2, 10, 4, 12, 6, 14) + shuffle(a, b, 1, 9, 3, 11, 5, 13, 7, 15))
#define zip_add2_8(a, b)                                                                           \
    (shuffle(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + shuffle(a, b, 2, 3, 10, 11, 6, 7, 14, 15))
#define zip_add1_16(a, b)                                                                          \
    (shuffle(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +                    \
     shuffle(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
#define zip_add2_16(a, b)                                                                          \
    (shuffle(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +                     \
     shuffle(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
/* The lower half of the lanes plus the upper half. */
#define halves_add_4(a) (shuffle(a, a, row2(0)) + shuffle(a, a, row2(2)))
#define halves_add_8(a) (shuffle(a, a, row4(0)) + shuffle(a, a, row4(4)))
#define halves_add_16(a) (shuffle(a, a, row8(0)) + shuffle(a, a, row8(8)))
#define halves_add_32(a) (shuffle(a, a, row16(0)) + shuffle(a, a, row16(16)))
#define halves_add_64(a) (shuffle(a, a, row32(0)) + shuffle(a, a, row32(32)))

/* Interleaved elements of the low or high halves of each 16 bytes: zip_low_<bits>x<lanes>. */
#define zip_low_8x16(a, b) shuffle(a, b, pairs8(16, 0))
#define zip_low_8x32(a, b) shuffle(a, b, pairs8(32, 0), pairs8(32, 16))
#define zip_low_8x64(a, b)                                                                         \
    shuffle(a, b, pairs8(64, 0), pairs8(64, 16), pairs8(64, 32), pairs8(64, 48))
#define zip_low_16x8(a, b) shuffle(a, b, pairs4(8, 0))
#define zip_low_16x16(a, b) shuffle(a, b, pairs4(16, 0), pairs4(16, 8))
#define zip_low_16x32(a, b)                                                                        \
    shuffle(a, b, pairs4(32, 0), pairs4(32, 8), pairs4(32, 16), pairs4(32, 24))
#define zip_low_32x4(a, b) shuffle(a, b, pairs2(4, 0))
#define zip_low_32x8(a, b) shuffle(a, b, pairs2(8, 0), pairs2(8, 4))
#define zip_low_32x16(a, b)                                                                        \
    shuffle(a, b, pairs2(16, 0), pairs2(16, 4), pairs2(16, 8), pairs2(16, 12))
#define zip_high_8x16(a, b) shuffle(a, b, pairs8(16, 8))
#define zip_high_8x32(a, b) shuffle(a, b, pairs8(32, 8), pairs8(32, 24))
#define zip_high_8x64(a, b)                                                                        \
    shuffle(a, b, pairs8(64, 8), pairs8(64, 24), pairs8(64, 40), pairs8(64, 56))
#define zip_high_16x8(a, b) shuffle(a, b, pairs4(8, 4))
#define zip_high_16x16(a, b) shuffle(a, b, pairs4(16, 4), pairs4(16, 12))
#define zip_high_16x32(a, b)                                                                       \
    shuffle(a, b, pairs4(32, 4), pairs4(32, 12), pairs4(32, 20), pairs4(32, 28))
#define zip_high_32x4(a, b) shuffle(a, b, pairs2(4, 2))
#define zip_high_32x8(a, b) shuffle(a, b, pairs2(8, 2), pairs2(8, 6))
#define zip_high_32x16(a, b)                                                                       \
    shuffle(a, b, pairs2(16, 2), pairs2(16, 6), pairs2(16, 10), pairs2(16, 14))

#define load_lanes_128(p) (*(const v16u8_mem *)(p))
