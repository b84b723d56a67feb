
/* Instructions that GNU vectors have no form for. u8s8: unsigned by signed bytes. */
#define dot_u8s8_256(a, b, c) ((v8i32)_mm256_dpbusd_epi32((__m256i)(a), (__m256i)(b), (__m256i)(c)))
#define dot_u8s8_256_vex(a, b, c)                                                                  \
    ((v8i32)_mm256_dpbusd_avx_epi32((__m256i)(a), (__m256i)(b), (__m256i)(c)))
#define madd_u8s8_256(a, b) ((v16i16)_mm256_maddubs_epi16((__m256i)(a), (__m256i)(b)))
#define madd_i16_256(a, b) ((v8i32)_mm256_madd_epi16((__m256i)(a), (__m256i)(b)))

/* Look-ups in registers and the shuffles around them. */
#define load_lanes_256(p) _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i_u *)(p)))
#define shuffle16_256(a, b) ((v32u8)_mm256_shuffle_epi8((__m256i)(b), (__m256i)(a)))
#define table_8x32(a, b) _mm256_permutexvar_epi8((__m256i)(a), (__m256i)(b))
#define table_16x16(a, b) _mm256_permutexvar_epi16((__m256i)(a), (__m256i)(b))
#define table_32x8(a, b) _mm256_permutevar8x32_epi32((__m256i)(b), (__m256i)(a))
#define table_f32x8(a, b) _mm256_permutevar8x32_ps((__m256)(b), (__m256i)(a))
#define table2_8x32(a, b, c) _mm256_permutex2var_epi8((__m256i)(b), (__m256i)(a), (__m256i)(c))
#define table2_16x16(a, b, c) _mm256_permutex2var_epi16((__m256i)(b), (__m256i)(a), (__m256i)(c))
#define table2_32x8(a, b, c) _mm256_permutex2var_epi32((__m256i)(b), (__m256i)(a), (__m256i)(c))
#define table2_f32x8(a, b, c) _mm256_permutex2var_ps((__m256)(b), (__m256i)(a), (__m256)(c))
/* Every row of the 8 x 8 bit matrix picks the same bit. */
#define spread_bit_256(a, bit)                                                                     \
    ((v32u8)_mm256_gf2p8affine_epi64_epi8((__m256i)(a), _mm256_set1_epi8((char)(1 << (bit))), 0))
#define pack_u8_256(a, b) ((v32u8)_mm256_packus_epi16((__m256i)(a), (__m256i)(b)))
