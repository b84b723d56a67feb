
/* Matrix registers. Not <amxtileintrin.h>: GCC 12's _tile_loadconfig tells the compiler of 8 of the
 * 64 bytes alone, and its _tile_loadd does not say that it reads memory. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
#define tile_begin()                                                                               \
    do {                                                                                           \
        static const struct tile_config all = {                                                    \
            1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};        \
        __asm__ volatile("ldtilecfg %0" : : "m"(all));                                             \
    } while (0)
#define tile_end() __asm__ volatile("tilerelease")
#define tile_load(d, p, stride)                                                                    \
    __asm__ volatile("tileloadd (%0,%1), %%tmm" #d : : "r"(p), "r"(stride) : "memory")
#define tile_store(a, p, stride)                                                                   \
    __asm__ volatile("tilestored %%tmm" #a ", (%0,%1)" : : "r"(p), "r"(stride) : "memory")
#define tile_dot_s8s8(d, b, c) __asm__ volatile("tdpbssd %tmm" #c ", %tmm" #b ", %tmm" #d)
