/* ptx_warp.c - executes one instruction in lanes of a warp: registers, memory, shuffles, matrix
 * products. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptx.h"

static bool fail(struct ptx_block *block, const struct ptx_instruction *in, const char *text) {
    ptx_fail(block->error, in->line, "%s", text);
    return false;
}

static bool is_on(uint32_t lanes, uint32_t lane) {
    return (lanes >> lane & 1) != 0;
}

const uint64_t *ptx_value(struct ptx_block *block, const struct ptx_warp *warp,
                          const struct ptx_instruction *in, uint32_t operand, uint32_t lanes) {
    const int32_t number = in->operand[operand];
    if (number < 0)
        return block->launch->kernel->constants[~number];
    if ((lanes & ~warp->known[number]) != 0) {
        ptx_fail(block->error, in->line,
                 "thread %u of block %u: operand %u is a register that was never set",
                 warp->number * PTX_LANES + (uint32_t)__builtin_ctz(lanes & ~warp->known[number]),
                 block->number, operand + 1);
        return NULL;
    }
    return warp->registers[number];
}

static void put(struct ptx_warp *warp, int32_t number, const uint64_t *values, uint32_t lanes) {
    uint64_t *to = warp->registers[number];
    if (lanes == PTX_ALL_LANES)
        memcpy(to, values, sizeof(ptx_row));
    for (uint32_t i = 0; i < PTX_LANES && lanes != PTX_ALL_LANES; i++)
        to[i] = is_on(lanes, i) ? values[i] : to[i];
    warp->known[number] |= lanes;
}

/* Reads the sources, from an operand on. False: one was never set. */
static bool values_of(struct ptx_block *block, const struct ptx_warp *warp,
                      const struct ptx_instruction *in, uint32_t first, uint32_t n, uint32_t lanes,
                      const uint64_t **out) {
    for (uint32_t i = 0; i < n; i++)
        if ((out[i] = ptx_value(block, warp, in, first + i, lanes)) == NULL)
            return false;
    return true;
}

/* ---- within a lane --------------------------------------------------------------------------- */

static bool compute(struct ptx_block *block, struct ptx_warp *warp,
                    const struct ptx_instruction *in, uint32_t lanes) {
    const uint64_t *v[4];
    ptx_row result;
    if (!values_of(block, warp, in, 1, 4, lanes, v))
        return false;
    if (lanes == PTX_ALL_LANES) {
        in->run(warp->registers[in->operand[0]], v[0], v[1], v[2], v[3]);
        warp->known[in->operand[0]] = lanes;
    } else {
        in->run(result, v[0], v[1], v[2], v[3]);
        put(warp, in->operand[0], result, lanes);
    }
    return true;
}

static bool pack(struct ptx_block *block, struct ptx_warp *warp, const struct ptx_instruction *in,
                 uint32_t lanes) {
    const uint32_t bits = ptx_type_bits(in->type) / 2;
    const uint64_t mask = (UINT64_C(1) << bits) - 1;
    const uint64_t *v[2];
    ptx_row low, high;
    const bool packs = in->kind == PTX_PACK;
    if (!values_of(block, warp, in, packs ? 1 : 2, packs ? 2 : 1, lanes, v))
        return false;
    for (uint32_t i = 0; i < PTX_LANES; i++) {
        low[i] = packs ? (v[0][i] & mask) | (v[1][i] & mask) << bits : v[0][i] & mask;
        high[i] = v[0][i] >> bits & mask;
    }
    put(warp, in->operand[0], low, lanes);
    if (!packs)
        put(warp, in->operand[1], high, lanes);
    return true;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* What a lane accesses, and where. */
static struct ptx_region *locate(struct ptx_block *block, const struct ptx_warp *warp,
                                 const struct ptx_instruction *in, uint32_t lane, uint64_t base,
                                 struct ptx_access *access) {
    uint64_t address = base + in->offset;
    bool is_shared = in->space == PTX_SHARED;
    if (is_shared)
        address = (uint32_t)address;
    if (in->space == PTX_GENERIC && address >= PTX_SHARED_WINDOW && address < PTX_GLOBAL_BASE) {
        address -= PTX_SHARED_WINDOW;
        is_shared = true;
    }
    access->thread = block->number * PTX_BLOCK_THREADS + warp->number * PTX_LANES + lane;
    access->block_time = block->barrier_time;
    access->warp_time = warp->sync_time;
    access->start = is_shared ? block->start_time : block->launch_time;
    access->since = is_shared || is_on(warp->after, lane) ? access->start : block->chain_time;
    access->acquired = is_shared ? 0 : block->acquired | warp->acquired[lane];
    access->signals = &block->signals;
    access->address = address;
    return is_shared ? &block->shared : ptx_find_region(block->memory, address);
}

/* An element in memory as a lane holds it. Signed elements are extended to a wider register. */
static inline uint64_t load_element(const uint8_t *from, enum ptx_type type, uint32_t bytes) {
    const bool is_signed = type == PTX_S8 || type == PTX_S16 || type == PTX_S32;
    uint64_t value = 0;
    memcpy(&value, from, bytes);
    if (is_signed && (value >> (8 * bytes - 1)) != 0)
        value |= ~UINT64_C(0) << 8 * bytes;
    return value;
}

static bool load_parameter(struct ptx_block *block, struct ptx_warp *warp,
                           const struct ptx_instruction *in, uint32_t lanes) {
    const uint8_t *from = block->launch->parameters;
    const uint32_t bytes = ptx_type_bits(in->type) / 8, n = in->n_operands - 1;
    const bool in_register = in->operand[0] != PTX_NO_OPERAND;
    const uint64_t *base = in_register ? ptx_value(block, warp, in, 0, lanes) : NULL;
    if (in_register && base == NULL)
        return false;
    for (uint32_t lane = 0; lane < PTX_LANES; lane++) {
        const uint64_t at = in->offset + (in_register ? base[lane] : 0);
        if (!is_on(lanes, lane))
            continue;
        if (at % (n * bytes) != 0 || at > block->launch->kernel->parameter_bytes ||
            block->launch->kernel->parameter_bytes - at < n * bytes)
            return fail(block, in, "not within the parameters, or not aligned");
        for (uint32_t i = 0; i < n; i++)
            warp->registers[in->operand[1 + i]][lane] =
                load_element(from + at + i * bytes, in->type, bytes);
    }
    for (uint32_t i = 0; i < n; i++)
        warp->known[in->operand[1 + i]] |= lanes;
    return true;
}

static bool load(struct ptx_block *block, struct ptx_warp *warp, const struct ptx_instruction *in,
                 uint32_t lanes) {
    if (in->space == PTX_PARAM)
        return load_parameter(block, warp, in, lanes);
    const uint32_t bytes = ptx_type_bits(in->type) / 8, n = in->n_operands - 1;
    const uint64_t *base = ptx_value(block, warp, in, 0, lanes);
    char text[256];
    for (uint32_t lane = 0; base != NULL && lane < PTX_LANES; lane++) {
        if (!is_on(lanes, lane))
            continue;
        struct ptx_access access = {.size_bytes = n * bytes};
        struct ptx_region *region = locate(block, warp, in, lane, base[lane], &access);
        const uint8_t *from = ptx_read(block->memory, region, &access, text);
        if (from == NULL)
            return fail(block, in, text);
        for (uint32_t i = 0; i < n; i++)
            warp->registers[in->operand[1 + i]][lane] =
                load_element(from + i * bytes, in->type, bytes);
    }
    for (uint32_t i = 0; i < n; i++)
        warp->known[in->operand[1 + i]] |= lanes;
    return base != NULL;
}

static bool store(struct ptx_block *block, struct ptx_warp *warp, const struct ptx_instruction *in,
                  uint32_t lanes) {
    const uint32_t bytes = ptx_type_bits(in->type) / 8, n = in->n_operands - 1;
    const uint64_t *v[5];
    char text[256];
    if (!values_of(block, warp, in, 0, n + 1, lanes, v))
        return false;
    for (uint32_t lane = 0; lane < PTX_LANES; lane++) {
        if (!is_on(lanes, lane))
            continue;
        uint8_t value[16];
        for (uint32_t i = 0; i < n; i++)
            memcpy(value + i * bytes, &v[1 + i][lane], bytes);
        struct ptx_access access = {.size_bytes = n * bytes};
        struct ptx_region *region = locate(block, warp, in, lane, v[0][lane], &access);
        if (!ptx_write(block->memory, region, &access, value, text))
            return fail(block, in, text);
    }
    return true;
}

/* The result for a and b of 32 or 64 bits, signed if the type is. */
static uint64_t combine(enum ptx_action action, enum ptx_type type, uint64_t a, uint64_t b) {
    const bool is_32 = ptx_type_bits(type) == 32;
    const int64_t sa = is_32 ? (int32_t)a : (int64_t)a, sb = is_32 ? (int32_t)b : (int64_t)b;
    const uint64_t ua = is_32 ? (uint32_t)a : a, ub = is_32 ? (uint32_t)b : b;
    const bool less = type == PTX_S32 || type == PTX_S64 ? sa < sb : ua < ub;
    switch (action) {
    case PTX_ADD:
        return a + b;
    case PTX_MIN:
        return less ? a : b;
    case PTX_MAX:
        return less ? b : a;
    case PTX_AND:
        return a & b;
    case PTX_OR:
        return a | b;
    case PTX_XOR:
        return a ^ b;
    case PTX_INCREMENT:
        return a >= b ? 0 : a + 1;
    case PTX_EXCHANGE:
    case PTX_COMPARE_SWAP:
    case PTX_BALLOT:
        break;
    }
    return b;
}

/* NULL: there are too many. */
static struct ptx_signal *find_signal(struct ptx_signals *signals, uint64_t address) {
    uint32_t i = 0;
    while (i < signals->n && signals->list[i].address != address)
        i++;
    if (i == PTX_SIGNALS)
        return NULL;
    if (i == signals->n) {
        uint32_t *until = calloc(signals->n_blocks, sizeof *until);
        if (until == NULL)
            rsrc_out_of_memory(signals->n_blocks * sizeof *until);
        signals->list[signals->n++] = (struct ptx_signal){.address = address, .until = until};
    }
    return &signals->list[i];
}

static void release(struct ptx_signal *signal, uint32_t block, uint32_t until) {
    signal->n_blocks += signal->until[block] == 0 && until != 0;
    if (signal->until[block] < until)
        signal->until[block] = until;
}

/* An atomic on a word of global memory: releases what is before a lane's fence, and notes that the
 * lane has seen the word. */
static void pass_signal(struct ptx_block *block, struct ptx_warp *warp, uint32_t lane,
                        uint64_t address) {
    struct ptx_signals *signals = &block->signals;
    struct ptx_signal *signal = warp->fenced[lane] != 0 ? find_signal(signals, address) : NULL;
    if (signal == NULL)
        return;
    release(signal, block->number, warp->fenced[lane]);
    for (uint32_t i = 0; i < signals->n && warp->passed[lane] >> i != 0; i++)
        for (uint32_t b = 0; b < signals->n_blocks && is_on(warp->passed[lane], i); b++)
            release(signal, b, signals->list[i].until[b]);
    warp->seen[lane] |= 1u << (signal - block->signals.list);
}

static void fence(struct ptx_block *block, struct ptx_warp *warp, uint32_t lanes) {
    for (uint32_t lane = 0; lane < PTX_LANES; lane++)
        if (is_on(lanes, lane)) {
            warp->fenced[lane] = block->barrier_time;
            warp->acquired[lane] |= warp->seen[lane];
            warp->passed[lane] = block->acquired | warp->acquired[lane];
        }
}

static bool change(struct ptx_block *block, struct ptx_warp *warp, const struct ptx_instruction *in,
                   uint32_t lanes) {
    const bool swaps = in->action == PTX_COMPARE_SWAP;
    const uint32_t bytes = ptx_type_bits(in->type) / 8;
    const uint64_t *base = ptx_value(block, warp, in, 0, lanes), *v[2];
    ptx_row old;
    char text[256];
    if (base == NULL || !values_of(block, warp, in, 2, swaps ? 2 : 1, lanes, v))
        return false;
    for (uint32_t lane = 0; lane < PTX_LANES; lane++) {
        if (!is_on(lanes, lane))
            continue;
        struct ptx_access access = {.size_bytes = bytes, .atomic = true};
        struct ptx_region *region = locate(block, warp, in, lane, base[lane], &access);
        const uint8_t *at = ptx_read(block->memory, region, &access, text);
        if (at == NULL)
            return fail(block, in, text);
        uint64_t value = 0;
        memcpy(&value, at, bytes);
        old[lane] = value;
        if (!swaps)
            value = combine(in->action, in->type, value, v[0][lane]);
        else if (memcmp(&value, &v[0][lane], bytes) == 0)
            value = v[1][lane];
        if (!ptx_write(block->memory, region, &access, &value, text))
            return fail(block, in, text);
        if (region->is_global)
            pass_signal(block, warp, lane, access.address);
    }
    if (in->operand[1] != PTX_NO_OPERAND)
        put(warp, in->operand[1], old, lanes);
    return true;
}

/* ---- lanes together -------------------------------------------------------------------------- */

/* The lane whose value a lane gets, and whether it is in the lane's segment. */
static uint32_t source_lane(enum ptx_shuffle shuffle, uint32_t lane, uint32_t by, uint32_t c,
                            bool *within) {
    const uint32_t segment = c >> 8 & 31, clamp = c & 31;
    const uint32_t most = (lane & segment) | (clamp & ~segment), least = lane & segment;
    uint32_t from = lane;
    switch (shuffle) {
    case PTX_UP:
        from = lane - by;
        *within = (int32_t)from >= (int32_t)most;
        return *within ? from : lane;
    case PTX_DOWN:
        from = lane + by;
        break;
    case PTX_BUTTERFLY:
        from = lane ^ by;
        break;
    case PTX_INDEX:
        from = least | (by & ~segment);
        break;
    }
    *within = from <= most;
    return *within ? from : lane;
}

static bool shuffle_lanes(struct ptx_block *block, struct ptx_warp *warp,
                          const struct ptx_instruction *in, uint32_t lanes) {
    const uint64_t *v[3]; /* source, lane, clamp */
    ptx_row result, within;
    if (!values_of(block, warp, in, 2, 3, lanes, v))
        return false;
    for (uint32_t lane = 0; lane < PTX_LANES; lane++) {
        if (!is_on(lanes, lane))
            continue;
        bool is_within = false;
        const uint32_t from = source_lane(in->shuffle, lane, (uint32_t)v[1][lane] & 31,
                                          (uint32_t)v[2][lane], &is_within);
        if (!is_on(lanes, from)) {
            ptx_fail(block->error, in->line, "lane %u shuffles from lane %u, which takes no part",
                     lane, from);
            return false;
        }
        result[lane] = v[0][from];
        within[lane] = is_within;
    }
    put(warp, in->operand[0], result, lanes);
    if (in->operand[1] != PTX_NO_OPERAND)
        put(warp, in->operand[1], within, lanes);
    return true;
}

static bool reduce_lanes(struct ptx_block *block, struct ptx_warp *warp,
                         const struct ptx_instruction *in, uint32_t lanes) {
    const uint64_t *values = ptx_value(block, warp, in, 1, lanes);
    if (values == NULL)
        return false;
    uint32_t lane = (uint32_t)__builtin_ctz(lanes), ballot = 0;
    uint64_t sum = values[lane];
    for (uint32_t i = 0; i < PTX_LANES; i++)
        ballot |= is_on(lanes, i) && values[i] != 0 ? 1u << i : 0;
    for (lane++; in->kind == PTX_REDUCE && lane < PTX_LANES; lane++)
        if (is_on(lanes, lane))
            sum = combine(in->action, in->type, sum, values[lane]);
    if (in->kind == PTX_VOTE)
        sum = in->action == PTX_BALLOT ? ballot
              : in->action == PTX_AND  ? ballot == lanes
                                       : ballot != 0;
    ptx_row result;
    for (uint32_t i = 0; i < PTX_LANES; i++)
        result[i] = sum;
    put(warp, in->operand[0], result, lanes);
    return true;
}

static int32_t byte_of(uint64_t word, uint32_t i, bool is_signed) {
    const uint8_t byte = (uint8_t)(word >> 8 * i);
    return is_signed ? (int8_t)byte : byte;
}

/* d = a b + c, where a has 16 x k bytes, b has k x 8. Lane 4 g + t holds these elements: of a, rows
 * g and g + 8 and columns 4 t .. 4 t + 3 of every 16; of b, column g and rows 4 t .. 4 t + 3 of
 * every 16; of c and d, rows g and g + 8 and columns 2 t and 2 t + 1. */
static bool multiply_matrices(struct ptx_block *block, struct ptx_warp *warp,
                              const struct ptx_instruction *in, uint32_t lanes) {
    const uint32_t halves = in->mma_k / 16, n_a = 2 * halves;
    const uint64_t *v[PTX_MAX_OPERANDS]; /* a, b, c */
    if (!values_of(block, warp, in, 4, n_a + halves + 4, lanes, v))
        return false;
    ptx_row d[4];
    for (uint32_t lane = 0; lane < PTX_LANES; lane++)
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t row = lane / 4, col = lane % 4 * 2 + i % 2;
            uint32_t sum = (uint32_t)v[n_a + halves + i][lane];
            for (uint32_t k = 0; k < in->mma_k; k++) {
                const uint32_t t = k % 16 / 4, a = k / 16 * 2 + i / 2;
                sum += (uint32_t)(byte_of(v[a][row * 4 + t], k % 4, in->a_signed) *
                                  byte_of(v[n_a + k / 16][col * 4 + t], k % 4, in->b_signed));
            }
            d[i][lane] = sum;
        }
    for (uint32_t i = 0; i < 4; i++)
        put(warp, in->operand[i], d[i], lanes);
    return true;
}

bool ptx_do(struct ptx_block *block, struct ptx_warp *warp, const struct ptx_instruction *in,
            uint32_t lanes) {
    switch (in->kind) {
    case PTX_COMPUTE:
        return compute(block, warp, in, lanes);
    case PTX_PACK:
    case PTX_UNPACK:
        return pack(block, warp, in, lanes);
    case PTX_LOAD:
        return load(block, warp, in, lanes);
    case PTX_STORE:
        return store(block, warp, in, lanes);
    case PTX_ATOMIC:
        return change(block, warp, in, lanes);
    case PTX_SHUFFLE:
        return shuffle_lanes(block, warp, in, lanes);
    case PTX_REDUCE:
    case PTX_VOTE:
        return reduce_lanes(block, warp, in, lanes);
    case PTX_MMA:
        return multiply_matrices(block, warp, in, lanes);
    case PTX_WARP_SYNC:
        warp->sync_time = ++block->memory->time;
        return true;
    case PTX_DEPEND:
        warp->after |= lanes;
        return true;
    case PTX_FENCE:
        if (in->of_device)
            fence(block, warp, lanes);
        return true;
    case PTX_BRANCH:
    case PTX_EXIT:
    case PTX_BARRIER:
        break;
    }
    return true;
}
