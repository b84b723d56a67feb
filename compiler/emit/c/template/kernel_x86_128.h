
#include <immintrin.h>

/* Instructions that GNU vectors have no form for. u8s8: unsigned by signed bytes. */
#define dot_u8s8_128(a, b, c) ((v4i32)_mm_dpbusd_epi32((__m128i)(a), (__m128i)(b), (__m128i)(c)))
#define dot_u8s8_128_vex(a, b, c)                                                                  \
    ((v4i32)_mm_dpbusd_avx_epi32((__m128i)(a), (__m128i)(b), (__m128i)(c)))
#define madd_u8s8_128(a, b) ((v8i16)_mm_maddubs_epi16((__m128i)(a), (__m128i)(b)))
#define madd_i16_128(a, b) ((v4i32)_mm_madd_epi16((__m128i)(a), (__m128i)(b)))

/* Look-ups in registers and the shuffles around them. */
#define shuffle16_128(a, b) ((v16u8)_mm_shuffle_epi8((__m128i)(b), (__m128i)(a)))
#define table_8x16(a, b) _mm_permutexvar_epi8((__m128i)(a), (__m128i)(b))
#define table_16x8(a, b) _mm_permutexvar_epi16((__m128i)(a), (__m128i)(b))
#define table2_8x16(a, b, c) _mm_permutex2var_epi8((__m128i)(b), (__m128i)(a), (__m128i)(c))
#define table2_16x8(a, b, c) _mm_permutex2var_epi16((__m128i)(b), (__m128i)(a), (__m128i)(c))
/* Every row of the 8 x 8 bit matrix picks the same bit. */
#define spread_bit_128(a, bit)                                                                     \
    ((v16u8)_mm_gf2p8affine_epi64_epi8((__m128i)(a), _mm_set1_epi8((char)(1 << (bit))), 0))
#define pack_u8_128(a, b) ((v16u8)_mm_packus_epi16((__m128i)(a), (__m128i)(b)))
