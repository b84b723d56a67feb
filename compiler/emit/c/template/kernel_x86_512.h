
/* Instructions that GNU vectors have no form for. u8s8: unsigned by signed bytes. */
#define dot_u8s8_512(a, b, c)                                                                      \
    ((v16i32)_mm512_dpbusd_epi32((__m512i)(a), (__m512i)(b), (__m512i)(c)))
#define madd_u8s8_512(a, b) ((v32i16)_mm512_maddubs_epi16((__m512i)(a), (__m512i)(b)))
#define madd_i16_512(a, b) ((v16i32)_mm512_madd_epi16((__m512i)(a), (__m512i)(b)))
#define fma_512(a, b, c) ((v16f32)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))

/* Look-ups in registers and the shuffles around them. */
#define load_lanes_512(p) _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i_u *)(p)))
#define shuffle16_512(a, b) ((v64u8)_mm512_shuffle_epi8((__m512i)(b), (__m512i)(a)))
#define table_8x64(a, b) _mm512_permutexvar_epi8((__m512i)(a), (__m512i)(b))
#define table_16x32(a, b) _mm512_permutexvar_epi16((__m512i)(a), (__m512i)(b))
#define table_32x16(a, b) _mm512_permutexvar_epi32((__m512i)(a), (__m512i)(b))
#define table_f32x16(a, b) _mm512_permutexvar_ps((__m512i)(a), (__m512)(b))
#define table2_8x64(a, b, c) _mm512_permutex2var_epi8((__m512i)(b), (__m512i)(a), (__m512i)(c))
#define table2_16x32(a, b, c) _mm512_permutex2var_epi16((__m512i)(b), (__m512i)(a), (__m512i)(c))
#define table2_32x16(a, b, c) _mm512_permutex2var_epi32((__m512i)(b), (__m512i)(a), (__m512i)(c))
#define table2_f32x16(a, b, c) _mm512_permutex2var_ps((__m512)(b), (__m512i)(a), (__m512)(c))
/* Every row of the 8 x 8 bit matrix picks the same bit. */
#define spread_bit_512(a, bit)                                                                     \
    ((v64u8)_mm512_gf2p8affine_epi64_epi8((__m512i)(a), _mm512_set1_epi8((char)(1 << (bit))), 0))
#define pack_u8_512(a, b) ((v64u8)_mm512_packus_epi16((__m512i)(a), (__m512i)(b)))
#define mirror_512(a, b, c)                                                                        \
    ((v64u8)_mm512_mask_sub_epi8((__m512i)(b), _mm512_movepi8_mask((__m512i)(a)), (__m512i)(c),    \
                                 (__m512i)(b)))
