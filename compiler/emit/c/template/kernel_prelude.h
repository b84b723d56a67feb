#include <stddef.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* The runtime's structs, as in rsr_abi.h. An activation row is a 64-byte header (float scale, int32 sum)
 * followed by int8 values, zero-padded to a multiple of 512. */
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
};

/* A vector type and, with _mem, the same in memory: any alignment, any alias. */
#define VECTOR(name, type, bytes)                                                                    \
    typedef type name __attribute__((vector_size(bytes)));                                           \
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
VECTOR(v16i8, int8_t, 16);
VECTOR(v32i8, int8_t, 32);
VECTOR(v64i8, int8_t, 64);
VECTOR(v16u8, uint8_t, 16);
VECTOR(v32u8, uint8_t, 32);
VECTOR(v64u8, uint8_t, 64);
VECTOR(v8i16, int16_t, 16);
VECTOR(v16i16, int16_t, 32);
VECTOR(v32i16, int16_t, 64);
VECTOR(v4i32, int32_t, 16);
VECTOR(v8i32, int32_t, 32);
VECTOR(v16i32, int32_t, 64);
VECTOR(v4u32, uint32_t, 16);
VECTOR(v8u32, uint32_t, 32);
VECTOR(v16u32, uint32_t, 64);
VECTOR(v4f32, float, 16);
VECTOR(v8f32, float, 32);
VECTOR(v16f32, float, 64);

/* Instructions that GNU vectors have no form for. u8s8: unsigned by signed bytes. */
#define dot_u8s8_512(a, b, c) ((v16i32)_mm512_dpbusd_epi32((__m512i)(a), (__m512i)(b), (__m512i)(c)))
#define dot_u8s8_256(a, b, c) ((v8i32)_mm256_dpbusd_epi32((__m256i)(a), (__m256i)(b), (__m256i)(c)))
#define dot_u8s8_256_vex(a, b, c)                                                                    \
    ((v8i32)_mm256_dpbusd_avx_epi32((__m256i)(a), (__m256i)(b), (__m256i)(c)))
#define madd_u8s8_512(a, b) ((v32i16)_mm512_maddubs_epi16((__m512i)(a), (__m512i)(b)))
#define madd_u8s8_256(a, b) ((v16i16)_mm256_maddubs_epi16((__m256i)(a), (__m256i)(b)))
#define madd_u8s8_128(a, b) ((v8i16)_mm_maddubs_epi16((__m128i)(a), (__m128i)(b)))
#define madd_i16_512(a, b) ((v16i32)_mm512_madd_epi16((__m512i)(a), (__m512i)(b)))
#define madd_i16_256(a, b) ((v8i32)_mm256_madd_epi16((__m256i)(a), (__m256i)(b)))
#define madd_i16_128(a, b) ((v4i32)_mm_madd_epi16((__m128i)(a), (__m128i)(b)))

/* Sums of neighbours: zip_add<u>_<lanes> leaves, in every 2u lanes, u sums of a, then u sums of b. */
#define shuffle __builtin_shufflevector
#define zip_add1_4(a, b) (shuffle(a, b, 0, 4, 2, 6) + shuffle(a, b, 1, 5, 3, 7))
#define zip_add2_4(a, b) (shuffle(a, b, 0, 1, 4, 5) + shuffle(a, b, 2, 3, 6, 7))
#define zip_add1_8(a, b)                                                                             \
    (shuffle(a, b, 0, 8, 2, 10, 4, 12, 6, 14) + shuffle(a, b, 1, 9, 3, 11, 5, 13, 7, 15))
#define zip_add2_8(a, b)                                                                             \
    (shuffle(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + shuffle(a, b, 2, 3, 10, 11, 6, 7, 14, 15))
#define zip_add1_16(a, b)                                                                            \
    (shuffle(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +                      \
     shuffle(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
#define zip_add2_16(a, b)                                                                            \
    (shuffle(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +                       \
     shuffle(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
/* The lower half of the lanes plus the upper half. */
#define halves_add_8(a) (shuffle(a, a, 0, 1, 2, 3) + shuffle(a, a, 4, 5, 6, 7))
#define halves_add_16(a)                                                                             \
    (shuffle(a, a, 0, 1, 2, 3, 4, 5, 6, 7) + shuffle(a, a, 8, 9, 10, 11, 12, 13, 14, 15))
