/* isa_emulator.c - see isa_emulator.h. Encodings and operations follow Intel's Software Developer's
 * Manual, volume 2 (VPERMB, VPERMI2B, VPERMT2B, VPMULTISHIFTQB, GF2P8AFFINEQB, VPDPBUSD,
 * VPDPB[SU,UU,SS]D, LDTILECFG, TILELOADD, TILESTORED, TDPB*). */
#include "isa_emulator.h"

#if defined(__x86_64__) && defined(__linux__)

#include <cpuid.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

/* ---- the interrupted thread's registers ------------------------------------------------------ */

/* Components of the XSAVE area that the kernel leaves in the signal frame (SDM volume 1, chapter
 * 13). */
enum component { X_SSE = 1, X_YMM = 2, X_OPMASK = 5, X_ZMM_HIGH = 6, X_ZMM_16_31 = 7, X_COUNT = 8 };

#define XSTATE_BV_AT 512 /* after the legacy area */
#define XMM_AT 160       /* in the legacy area */

static uint32_t component_at[X_COUNT];
static volatile uint64_t n_emulated;

struct vector {
    uint8_t bytes[64];
};

struct frame {
    uint8_t *xsave;
    greg_t *gregs;
};

static uint64_t present(const struct frame *f) {
    uint64_t bits;
    memcpy(&bits, f->xsave + XSTATE_BV_AT, sizeof bits);
    return bits;
}

/* The bytes of a component in the frame, or NULL: it is in its initial state, all zero. */
static uint8_t *component(const struct frame *f, enum component c) {
    return (present(f) >> c & 1) != 0 ? f->xsave + component_at[c] : NULL;
}

/* The bytes of a component for writing: a component in its initial state becomes zeros. */
static uint8_t *component_to_write(const struct frame *f, enum component c, size_t size_bytes) {
    uint8_t *bytes = f->xsave + component_at[c];
    const uint64_t bits = present(f);
    if ((bits >> c & 1) == 0) {
        memset(bytes, 0, size_bytes);
        const uint64_t with = bits | UINT64_C(1) << c;
        memcpy(f->xsave + XSTATE_BV_AT, &with, sizeof with);
    }
    return bytes;
}

static struct vector read_vector(const struct frame *f, uint32_t reg) {
    struct vector v = {{0}};
    const struct {
        enum component c;
        uint32_t stride, bytes, to;
    } parts[] = {{X_SSE, 16, 16, 0}, {X_YMM, 16, 16, 16}, {X_ZMM_HIGH, 32, 32, 32}};
    if (reg >= 16) {
        const uint8_t *bytes = component(f, X_ZMM_16_31);
        if (bytes != NULL)
            memcpy(v.bytes, bytes + (reg - 16) * 64, 64);
        return v;
    }
    for (int i = 0; i < 3; i++) {
        const uint8_t *bytes = component(f, parts[i].c);
        if (bytes != NULL)
            memcpy(v.bytes + parts[i].to, bytes + reg * parts[i].stride, parts[i].bytes);
    }
    return v;
}

static void write_vector(const struct frame *f, uint32_t reg, const struct vector *v) {
    if (reg >= 16) {
        memcpy(component_to_write(f, X_ZMM_16_31, 1024) + (reg - 16) * 64, v->bytes, 64);
        return;
    }
    memcpy(component_to_write(f, X_SSE, 256) + reg * 16, v->bytes, 16);
    memcpy(component_to_write(f, X_YMM, 256) + reg * 16, v->bytes + 16, 16);
    memcpy(component_to_write(f, X_ZMM_HIGH, 512) + reg * 32, v->bytes + 32, 32);
}

static uint64_t read_mask(const struct frame *f, uint32_t reg) {
    uint64_t mask = 0;
    const uint8_t *bytes = component(f, X_OPMASK);
    if (reg == 0)
        return UINT64_MAX; /* k0 stands for no mask */
    if (bytes != NULL)
        memcpy(&mask, bytes + reg * 8, sizeof mask);
    return mask;
}

static uint64_t read_general(const struct frame *f, uint32_t reg) {
    static const int names[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)f->gregs[names[reg]];
}

/* ---- decoding -------------------------------------------------------------------------------- */

struct instruction {
    bool evex, w, zeroing, broadcast;
    uint32_t map, prefix; /* prefix: 0 none, 1 66, 2 F3, 3 F2 */
    uint32_t opcode, mask, bytes;
    uint32_t reg, vvvv, rm; /* rm: register number, when is_register */
    uint32_t reg_field, rm_field;
    bool is_register, has_sib;
    uint32_t base, index, scale; /* memory operand; NO_REG: none */
    int64_t displacement;        /* disp8 not yet scaled */
    bool short_displacement;
    const uint8_t *end; /* behind the displacement */
};

#define NO_REG 99u

static bool decode_prefix(const uint8_t **at, struct instruction *i, uint32_t *x, uint32_t *b) {
    const uint8_t *p = *at;
    uint32_t r, r2 = 0, v2 = 0;
    if (p[0] == 0x62 && (p[1] & 8) == 0 && (p[2] & 4) != 0) { /* EVEX */
        i->evex = true;
        i->map = p[1] & 7;
        r = (p[1] >> 7 & 1) ^ 1;
        *x = (p[1] >> 6 & 1) ^ 1;
        *b = (p[1] >> 5 & 1) ^ 1;
        r2 = (p[1] >> 4 & 1) ^ 1;
        i->w = p[2] >> 7;
        i->vvvv = (p[2] >> 3 & 15) ^ 15;
        i->prefix = p[2] & 3;
        i->zeroing = p[3] >> 7;
        i->bytes = 16u << (p[3] >> 5 & 3);
        i->broadcast = p[3] >> 4 & 1;
        v2 = (p[3] >> 3 & 1) ^ 1;
        i->mask = p[3] & 7;
        *at = p + 4;
    } else if (p[0] == 0xc4) { /* three-byte VEX */
        i->map = p[1] & 31;
        r = (p[1] >> 7 & 1) ^ 1;
        *x = (p[1] >> 6 & 1) ^ 1;
        *b = (p[1] >> 5 & 1) ^ 1;
        i->w = p[2] >> 7;
        i->vvvv = (p[2] >> 3 & 15) ^ 15;
        i->bytes = 16u << (p[2] >> 2 & 1);
        i->prefix = p[2] & 3;
        *at = p + 3;
    } else {
        return false;
    }
    i->vvvv += v2 * 16;
    i->reg = r * 8 + r2 * 16;
    return i->bytes <= 64;
}

static bool decode(const uint8_t *at, struct instruction *i) {
    *i = (struct instruction){.base = NO_REG, .index = NO_REG};
    uint32_t x = 0, b = 0;
    if (!decode_prefix(&at, i, &x, &b))
        return false;
    i->opcode = *at++;
    const uint32_t modrm = *at++, mod = modrm >> 6;
    i->reg_field = modrm >> 3 & 7;
    i->rm_field = modrm & 7;
    i->reg += i->reg_field;
    i->is_register = mod == 3;
    if (i->is_register) {
        i->rm = i->rm_field + b * 8 + (i->evex ? x * 16 : 0);
        i->end = at;
        return true;
    }
    i->base = i->rm_field + b * 8;
    if (i->rm_field == 4) {
        const uint32_t sib = *at++;
        i->has_sib = true;
        i->index = (sib >> 3 & 7) + x * 8;
        i->scale = sib >> 6;
        i->base = (sib & 7) + b * 8;
        if (i->index == 4)
            i->index = NO_REG;
    }
    int32_t wide = 0;
    if (mod == 1) {
        i->displacement = (int8_t)*at++;
        i->short_displacement = true;
    } else if (mod == 2 || (i->base & 7) == 5) {
        memcpy(&wide, at, sizeof wide);
        at += sizeof wide;
        i->displacement = wide;
        if (mod == 0)
            i->base = i->has_sib ? NO_REG : 100; /* 100: relative to the next instruction */
    }
    i->end = at;
    return true;
}

/* `scale`: the unit of an EVEX short displacement, in bytes. */
static const uint8_t *address_of(const struct frame *f, const struct instruction *i, uint32_t scale,
                                 const uint8_t *next) {
    int64_t displacement = i->displacement;
    if (i->evex && i->short_displacement)
        displacement *= scale;
    uint64_t address = (uint64_t)displacement;
    if (i->base == 100)
        address += (uint64_t)(uintptr_t)next;
    else if (i->base != NO_REG)
        address += read_general(f, i->base);
    if (i->index != NO_REG)
        address += read_general(f, i->index) << i->scale;
    return (const uint8_t *)(uintptr_t)address; /* NOLINT: the interrupted program's own */
}

/* The r/m operand; broadcast of 8-byte elements where the instruction has it. */
static struct vector read_operand(const struct frame *f, const struct instruction *i,
                                  const uint8_t *next) {
    if (i->is_register)
        return read_vector(f, i->rm);
    struct vector v = {{0}};
    const uint8_t *memory = address_of(f, i, i->broadcast ? 8 : i->bytes, next);
    for (uint32_t at = 0; at < i->bytes; at += 8)
        memcpy(v.bytes + at, i->broadcast ? memory : memory + at, 8);
    return v;
}

/* ---- byte permutes and affine transforms ----------------------------------------------------- */

static void put_result(const struct frame *f, const struct instruction *i, struct vector result) {
    const struct vector before = read_vector(f, i->reg);
    const uint64_t mask = i->evex ? read_mask(f, i->mask) : UINT64_MAX;
    for (uint32_t j = 0; j < 64; j++) {
        if (j >= i->bytes)
            result.bytes[j] = 0;
        else if ((mask >> j & 1) == 0)
            result.bytes[j] = i->zeroing ? 0 : before.bytes[j];
    }
    write_vector(f, i->reg, &result);
}

static struct vector look_up(const struct vector *index, const struct vector *low,
                             const struct vector *high, uint32_t bytes) {
    struct vector result = {{0}};
    for (uint32_t j = 0; j < bytes; j++) {
        const uint32_t at = index->bytes[j] & (2 * bytes - 1);
        result.bytes[j] = at < bytes ? low->bytes[at] : high->bytes[at - bytes];
    }
    return result;
}

/* Zeroing needs a mask. */
static bool has_valid_mask(const struct instruction *i) {
    return !i->zeroing || i->mask != 0;
}

static bool is_permute(const struct instruction *i) {
    return i->evex && i->map == 2 && i->prefix == 1 && !i->w && !i->broadcast &&
           (i->opcode == 0x75 || i->opcode == 0x7d || i->opcode == 0x8d) && has_valid_mask(i);
}

static const uint8_t *permute(const struct frame *f, const struct instruction *i) {
    const struct vector dst = read_vector(f, i->reg), v = read_vector(f, i->vvvv);
    const struct vector operand = read_operand(f, i, i->end);
    struct vector result;
    if (i->opcode == 0x75) /* vpermi2b: the destination has the indexes */
        result = look_up(&dst, &v, &operand, i->bytes);
    else if (i->opcode == 0x7d) /* vpermt2b: the destination has the first table */
        result = look_up(&v, &dst, &operand, i->bytes);
    else /* vpermb */
        result = look_up(&v, &operand, &operand, i->bytes);
    put_result(f, i, result);
    return i->end;
}

static uint8_t affine_byte(const uint8_t *matrix, uint8_t byte, uint8_t constant) {
    uint8_t result = 0;
    for (uint32_t bit = 0; bit < 8; bit++) {
        const uint32_t parity = (uint32_t)__builtin_popcount(matrix[7 - bit] & byte) & 1;
        result |= (uint8_t)((parity ^ (constant >> bit & 1)) << bit);
    }
    return result;
}

static bool is_affine(const struct instruction *i) {
    return i->map == 3 && i->prefix == 1 && i->w && i->opcode == 0xce &&
           !(i->broadcast && i->is_register) && has_valid_mask(i);
}

static const uint8_t *affine(const struct frame *f, const struct instruction *i) {
    const uint8_t constant = *i->end, *next = i->end + 1;
    const struct vector v = read_vector(f, i->vvvv), matrices = read_operand(f, i, next);
    struct vector result = {{0}};
    for (uint32_t j = 0; j < i->bytes; j++)
        result.bytes[j] = affine_byte(matrices.bytes + j / 8 * 8, v.bytes[j], constant);
    put_result(f, i, result);
    return next;
}

/* ---- dot products ---------------------------------------------------------------------------- */

/* The sum of four products added to an int32. `prefix`: none uu, 66 us, F3 su, F2 ss (a's
 * signedness, then b's). */
static void add_products(uint8_t *sum, const uint8_t *a, const uint8_t *b, uint32_t prefix) {
    uint32_t bits;
    memcpy(&bits, sum, sizeof bits);
    for (uint32_t k = 0; k < 4; k++) {
        const int32_t left = prefix >= 2 ? (int8_t)a[k] : a[k];
        const int32_t right = prefix == 1 || prefix == 3 ? (int8_t)b[k] : b[k];
        bits += (uint32_t)(left * right);
    }
    memcpy(sum, &bits, sizeof bits);
}

/* Only the VEX forms: every processor here that has AVX-512 also has VNNI. */
static bool is_dot(const struct instruction *i) {
    return !i->evex && i->map == 2 && !i->w && i->opcode == 0x50;
}

static const uint8_t *dot(const struct frame *f, const struct instruction *i) {
    const struct vector a = read_vector(f, i->vvvv), b = read_operand(f, i, i->end);
    struct vector sums = read_vector(f, i->reg);
    for (uint32_t at = 0; at < i->bytes; at += 4)
        add_products(sums.bytes + at, a.bytes + at, b.bytes + at, i->prefix);
    put_result(f, i, sums);
    return i->end;
}

/* ---- tiles ----------------------------------------------------------------------------------- */

#define N_TILES 8u
#define TILE_ROWS 16u

/* Tile state is a thread's own, as in the processor. */
static __thread struct {
    uint8_t rows[N_TILES];
    uint16_t row_bytes[N_TILES];
    uint8_t data[N_TILES][TILE_ROWS][64];
} tiles;

/* False: the processor faults, or the configuration continues an interrupted load at some row,
 * which is not emulated. */
static bool configure_tiles(const uint8_t *config) {
    memset(&tiles, 0, sizeof tiles);
    if (config[0] == 0)
        return true;
    for (uint32_t at = 1; at < 64; at++)
        if ((at < 16 || (at >= 32 && at < 48) || at >= 56) && config[at] != 0)
            return false;
    for (uint32_t t = 0; t < N_TILES; t++) {
        memcpy(&tiles.row_bytes[t], config + 16 + 2 * t, 2);
        tiles.rows[t] = config[48 + t];
        if (tiles.rows[t] > TILE_ROWS || tiles.row_bytes[t] > 64 ||
            (tiles.rows[t] == 0) != (tiles.row_bytes[t] == 0))
            return false;
    }
    return config[0] == 1;
}

static void move_tile(const struct frame *f, const struct instruction *i, bool load) {
    /* The index register is the stride; it takes no part in the address of row 0. */
    struct instruction first = *i;
    first.index = NO_REG;
    const uint64_t stride = i->index == NO_REG ? 0 : read_general(f, i->index) << i->scale;
    const uint8_t *memory = address_of(f, &first, 1, i->end);
    const uint32_t t = i->reg;
    if (load)
        memset(tiles.data[t], 0, sizeof tiles.data[t]);
    for (uint32_t r = 0; r < tiles.rows[t]; r++) {
        uint8_t *row = (uint8_t *)(uintptr_t)memory + r * stride;
        if (load)
            memcpy(tiles.data[t][r], row, tiles.row_bytes[t]);
        else
            memcpy(row, tiles.data[t][r], tiles.row_bytes[t]);
    }
}

/* Three tiles whose shapes fit. */
static bool is_product(uint32_t d, uint32_t a, uint32_t b) {
    return d < N_TILES && a < N_TILES && b < N_TILES && d != a && d != b && a != b &&
           tiles.rows[d] != 0 && tiles.rows[d] == tiles.rows[a] &&
           tiles.row_bytes[d] == tiles.row_bytes[b] && tiles.row_bytes[a] == 4 * tiles.rows[b] &&
           tiles.row_bytes[d] % 4 == 0;
}

static void multiply_tiles(uint32_t d, uint32_t a, uint32_t b, uint32_t prefix) {
    for (uint32_t r = 0; r < tiles.rows[d]; r++)
        for (uint32_t n = 0; n < tiles.row_bytes[d] / 4u; n++)
            for (uint32_t k = 0; k < tiles.row_bytes[a] / 4u; k++)
                add_products(&tiles.data[d][r][4 * n], &tiles.data[a][r][4 * k],
                             &tiles.data[b][k][4 * n], prefix);
}

/* LDTILECFG and TILERELEASE: memory is their only operand. */
static const uint8_t *configuration_operation(const struct frame *f, const struct instruction *i) {
    if (i->reg != 0 || i->vvvv != 0 || (i->is_register && i->rm != 0))
        return NULL;
    if (!i->is_register)
        return configure_tiles(address_of(f, i, 1, i->end)) ? i->end : NULL;
    memset(&tiles, 0, sizeof tiles);
    return i->end;
}

static const uint8_t *tile_operation(const struct frame *f, const struct instruction *i) {
    if (i->opcode == 0x49 && i->prefix == 0)
        return configuration_operation(f, i);
    if (i->opcode == 0x5e && i->is_register && is_product(i->reg, i->rm, i->vvvv)) {
        multiply_tiles(i->reg, i->rm, i->vvvv, i->prefix);
        return i->end;
    }
    if (i->reg >= N_TILES || tiles.rows[i->reg] == 0 || i->vvvv != 0)
        return NULL;
    if (i->opcode == 0x4b && (i->prefix == 3 || i->prefix == 1) && i->has_sib)
        move_tile(f, i, true);
    else if (i->opcode == 0x4b && i->prefix == 2 && i->has_sib)
        move_tile(f, i, false);
    else
        return NULL;
    return i->end;
}

/* ---- the trap -------------------------------------------------------------------------------- */

/* The address where execution continues; NULL: not an instruction that we emulate. */
static const uint8_t *emulate(const struct frame *f, const uint8_t *at) {
    struct instruction i;
    if (!decode(at, &i))
        return NULL;
    if (is_permute(&i))
        return permute(f, &i);
    if (is_affine(&i))
        return affine(f, &i);
    if (is_dot(&i))
        return dot(f, &i);
    if (!i.evex && i.map == 2 && !i.w && i.bytes == 16)
        return tile_operation(f, &i);
    return NULL;
}

/* Prints the bytes of the instruction that cannot be emulated, up to the end of its page. Calls
 * only functions that a signal handler may call. */
static void tell_refusal(const uint8_t *at) {
    static const char digits[] = "0123456789abcdef";
    char text[80] = "isa_emulator: cannot emulate";
    size_t n = strlen(text);
    const size_t left = 4096 - (size_t)((uintptr_t)at & 4095);
    for (size_t i = 0; i < 11 && i < left; i++) {
        text[n++] = ' ';
        text[n++] = digits[at[i] >> 4];
        text[n++] = digits[at[i] & 15];
    }
    text[n++] = '\n';
    (void)!write(STDERR_FILENO, text, n);
}

static void on_illegal(int signal_number, siginfo_t *info, void *context) {
    (void)info;
    ucontext_t *user = context;
    const struct frame f = {(uint8_t *)user->uc_mcontext.fpregs, user->uc_mcontext.gregs};
    const uint8_t *at = (const uint8_t *)(uintptr_t)user->uc_mcontext.gregs[REG_RIP];
    const uint8_t *next = emulate(&f, at);
    if (next == NULL) { /* the instruction runs again and ends the process */
        tell_refusal(at);
        signal(signal_number, SIG_DFL);
        return;
    }
    n_emulated++;
    user->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)next;
}

bool isa_emulator_install(void) {
    if (!__builtin_cpu_supports("avx512f"))
        return false;
    component_at[X_SSE] = XMM_AT;
    for (uint32_t c = X_YMM; c < X_COUNT; c++) {
        uint32_t size, offset, ecx, edx;
        if (__get_cpuid_count(0xd, c, &size, &offset, &ecx, &edx) == 0)
            return false;
        component_at[c] = offset;
    }
    struct sigaction action = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO | SA_NODEFER};
    return sigaction(SIGILL, &action, NULL) == 0;
}

uint64_t isa_emulator_count(void) {
    return n_emulated;
}

#else

bool isa_emulator_install(void) {
    return false;
}

uint64_t isa_emulator_count(void) {
    return 0;
}

#endif
