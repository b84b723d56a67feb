
#include <arm_neon.h>

#define dot_u8s8_128(a, b, c) ((v4i32)vusdotq_s32((int32x4_t)(a), (uint8x16_t)(b), (int8x16_t)(c)))
#define dot_s8s8_128(a, b, c) ((v4i32)vdotq_s32((int32x4_t)(a), (int8x16_t)(b), (int8x16_t)(c)))
#define madd_i16_128(a, b)                                                                         \
    ((v4i32)vpaddq_s32(vmull_s16(vget_low_s16((int16x8_t)(a)), vget_low_s16((int16x8_t)(b))),      \
                       vmull_high_s16((int16x8_t)(a), (int16x8_t)(b))))
#define shuffle16_128(a, b) ((v16u8)vqtbl1q_u8((uint8x16_t)(b), (uint8x16_t)(a)))
/* tbl gives 0 beyond its table: the numbers are cut to it. */
#define table_8x16(a, b) vqtbl1q_u8((uint8x16_t)(b), vandq_u8((uint8x16_t)(a), vdupq_n_u8(15)))
#define table2_8x16(a, b, c)                                                                       \
    vqtbl2q_u8(((uint8x16x2_t){{(uint8x16_t)(b), (uint8x16_t)(c)}}),                               \
               vandq_u8((uint8x16_t)(a), vdupq_n_u8(31)))
#define pack_u8_128(a, b)                                                                          \
    ((v16u8)vcombine_u8(vqmovun_s16((int16x8_t)(a)), vqmovun_s16((int16x8_t)(b))))
