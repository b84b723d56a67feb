/* nvptx_matvec.c - cuda/kernels/matvec.cuh again, as LLVM IR with a plan's constants.
 *
 * The kernel exists twice because only NVIDIA's compiler can compile the C++ at run time, and PTX
 * must not need a toolkit. clang could compile it too, but then every rsrc would need clang's
 * libraries; LLVM's are linked already. The C++ is the form for readers, for cubins, and for GPUs
 * that are newer than LLVM.
 *
 * Read the CUDA C++ first: this file computes the same results from the same packed codes,
 * parameters and launch, function by function. Loops that the C++ leaves to the compiler (over
 * loads in flight, tokens and groups) are unrolled here. tests/cuda/ compares both with one
 * reference.
 */
#include "emit/llvm/nvptx_matvec.h"

#include <stdio.h>
#include <string.h>

#define LANES RSR_GPU_LANES_PER_ROW
#define WARP_ROWS RSR_GPU_ROWS_PER_WARP
#define STEP_BYTES 512u /* of a warp */
#define MAX_TILE 8u
#define MAX_AHEAD 8u
#define MAX_GROUPS 5u /* of one word */

enum parameter { X, LDX, CODES, SCALE, Y, LDY, N_TOKENS, NOT_FINITE, PARAMETER_COUNT };
static const char *const PARAMETER_NAMES[PARAMETER_COUNT] = {"x", "ldx", "codes",    "scale",
                                                             "y", "ldy", "n_tokens", "not_finite"};

/* Byte offsets in the block's shared memory; the data of token t is t strides further. */
struct shared_layout {
    uint32_t row_bytes; /* of the rows, which come first */
    uint32_t scale, sum, largest, partial;
    uint32_t size_bytes;
};

struct matvec {
    struct nvptx *p;
    const struct rsr_matvec *matvec;
    uint32_t word_groups, warps, threads, block_rows, row_groups;
    struct shared_layout at;
    LLVMValueRef shared, thread, lane, warp, row_warp, col_warp, block;
    LLVMValueRef codes; /* of the warp's rows and the lane */
    LLVMValueRef window[MAX_AHEAD], acc[MAX_TILE];
    LLVMValueRef first, n_tokens; /* of the turn */
};

static LLVMTypeRef parameter_type(struct nvptx *p, uint32_t i) {
    return i == LDX || i == LDY ? p->i64 : i == N_TOKENS ? p->i32 : p->global;
}

static LLVMValueRef parameter(const struct matvec *m, enum parameter i) {
    return LLVMGetParam(m->p->function, i);
}

static struct shared_layout lay_out(const struct rsr_matvec *matvec, uint32_t word_groups,
                                    uint32_t warps) {
    const uint32_t tile = matvec->token_tile;
    struct shared_layout at = {.row_bytes = matvec->steps * word_groups * 16 * LANES};
    at.scale = tile * at.row_bytes;
    at.sum = at.scale + tile * 4;
    at.largest = at.sum + tile * warps * 4;
    at.partial = at.largest + tile * warps * 4;
    at.size_bytes = at.partial + matvec->col_warps * tile * matvec->row_warps * WARP_ROWS * 4;
    return at;
}

/* base + index * scale + offset in shared memory */
static LLVMValueRef shared_at(const struct matvec *m, LLVMValueRef index, uint32_t scale,
                              uint32_t offset) {
    return nvptx_at(m->p, m->shared, nvptx_affine(m->p, index, scale, offset));
}

static LLVMValueRef is_first_lane(const struct matvec *m) {
    return LLVMBuildICmp(m->p->builder, LLVMIntEQ, m->lane, nvptx_u32(m->p, 0), "");
}

/* Row first + t of x, in bytes from its start. */
static LLVMValueRef x_row(const struct matvec *m, LLVMValueRef t, uint64_t unit_bytes) {
    struct nvptx *p = m->p;
    LLVMValueRef token =
        LLVMBuildZExt(p->builder, LLVMBuildAdd(p->builder, m->first, t, ""), p->i64, "");
    LLVMValueRef distance = LLVMBuildMul(p->builder, token, parameter(m, LDX), "");
    return nvptx_at(p, parameter(m, X), nvptx_affine(p, distance, unit_bytes, 0));
}

/* ---- activations ----------------------------------------------------------------------------- */

/* Element c of columns 4i .. 4i + 3 as bits; zero beyond the last column. */
static LLVMValueRef load_quad(const struct matvec *m, LLVMValueRef row, LLVMValueRef i) {
    struct nvptx *p = m->p;
    const uint32_t whole = m->matvec->cols / 4, rest = m->matvec->cols % 4;
    LLVMValueRef quad = nvptx_variable(p, p->i32x4, "quad");
    nvptx_set(p, quad, LLVMConstNull(p->i32x4));
    LLVMValueRef address = nvptx_at(p, row, nvptx_affine(p, i, 16, 0));
    LLVMBasicBlockRef end = nvptx_begin_if(p, "whole", nvptx_less(p, i, nvptx_u32(p, whole)));
    nvptx_set(p, quad, nvptx_load_constant(p, p->i32x4, address, 16));
    nvptx_end_if(p, end);
    if (rest == 0)
        return nvptx_get(p, quad);
    LLVMValueRef is_last = LLVMBuildICmp(p->builder, LLVMIntEQ, i, nvptx_u32(p, whole), "");
    end = nvptx_begin_if(p, "rest", is_last);
    LLVMValueRef part = LLVMConstNull(p->i32x4);
    for (uint32_t c = 0; c < rest; c++) {
        LLVMValueRef element =
            nvptx_load_constant(p, p->i32, nvptx_at(p, address, nvptx_u32(p, 4 * c)), 4);
        part = LLVMBuildInsertElement(p->builder, part, element, nvptx_u32(p, c), "");
    }
    nvptx_set(p, quad, part);
    nvptx_end_if(p, end);
    return nvptx_get(p, quad);
}

static LLVMValueRef element(const struct matvec *m, LLVMValueRef vector, uint32_t i) {
    return LLVMBuildExtractElement(m->p->builder, vector, nvptx_u32(m->p, i), "");
}

static void find_largest(const struct matvec *m, LLVMValueRef t) {
    struct nvptx *p = m->p;
    LLVMValueRef row = x_row(m, t, 4);
    LLVMValueRef most = nvptx_variable(p, p->i32, "most");
    nvptx_set(p, most, nvptx_u32(p, 0));
    const struct nvptx_loop loop = nvptx_begin_loop(
        p, "find", m->thread, nvptx_u32(p, (m->matvec->cols + 3) / 4), nvptx_u32(p, m->threads));
    LLVMValueRef quad = load_quad(m, row, loop.index);
    for (uint32_t i = 0; i < 4; i++) {
        LLVMValueRef magnitude =
            LLVMBuildAnd(p->builder, element(m, quad, i), nvptx_u32(p, 0x7fffffff), "");
        nvptx_set(p, most, nvptx_max(p, nvptx_get(p, most), magnitude));
    }
    nvptx_end_loop(p, &loop);
    LLVMValueRef of_warp = nvptx_warp_max(p, nvptx_get(p, most));
    LLVMBasicBlockRef end = nvptx_begin_if(p, "publish", is_first_lane(m));
    LLVMValueRef slot = LLVMBuildAdd(p->builder, nvptx_affine(p, t, m->warps, 0), m->warp, "");
    nvptx_store(p, of_warp, shared_at(m, slot, 4, m->at.largest), 4);
    nvptx_end_if(p, end);
}

/* Half to even, then -128 .. 127. */
static LLVMValueRef quantize(const struct matvec *m, LLVMValueRef bits, LLVMValueRef s) {
    struct nvptx *p = m->p;
    LLVMValueRef x = LLVMBuildBitCast(p->builder, bits, p->f32, "");
    const LLVMValueRef product[] = {LLVMBuildFMul(p->builder, x, s, "")};
    LLVMValueRef q = nvptx_call(p, "llvm.nvvm.f2i.rn", p->i32, product, 1);
    LLVMValueRef high = nvptx_u32(p, 127), low = LLVMConstInt(p->i32, (uint64_t)-128, true);
    q = LLVMBuildSelect(p->builder, LLVMBuildICmp(p->builder, LLVMIntSLT, q, high, ""), q, high,
                        "");
    return LLVMBuildSelect(p->builder, LLVMBuildICmp(p->builder, LLVMIntSGT, q, low, ""), q, low,
                           "");
}

static LLVMValueRef largest_of_block(const struct matvec *m, LLVMValueRef t) {
    struct nvptx *p = m->p;
    LLVMValueRef most = nvptx_u32(p, 0);
    for (uint32_t w = 0; w < m->warps; w++) {
        LLVMValueRef slot = shared_at(m, t, 4 * m->warps, m->at.largest + 4 * w);
        most = nvptx_max(p, most, nvptx_load(p, p->i32, slot, 4));
    }
    return most;
}

/* The row in shared memory; returns the thread's sum of it. */
static LLVMValueRef quantize_columns(const struct matvec *m, LLVMValueRef t, LLVMValueRef finite,
                                     LLVMValueRef s) {
    struct nvptx *p = m->p;
    LLVMValueRef row = x_row(m, t, 4);
    LLVMValueRef total = nvptx_variable(p, p->i32, "total");
    nvptx_set(p, total, nvptx_u32(p, 0));
    const struct nvptx_loop loop = nvptx_begin_loop(
        p, "quantize", m->thread, nvptx_u32(p, m->at.row_bytes / 4), nvptx_u32(p, m->threads));
    LLVMValueRef quad = load_quad(m, row, loop.index);
    LLVMValueRef word = nvptx_u32(p, 0);
    for (uint32_t i = 0; i < 4; i++) {
        LLVMValueRef bits =
            LLVMBuildSelect(p->builder, finite, element(m, quad, i), nvptx_u32(p, 0), "");
        LLVMValueRef q = quantize(m, bits, s);
        nvptx_set(p, total, LLVMBuildAdd(p->builder, nvptx_get(p, total), q, ""));
        LLVMValueRef byte = LLVMBuildAnd(p->builder, q, nvptx_u32(p, 0xff), "");
        byte = LLVMBuildShl(p->builder, byte, nvptx_u32(p, 8 * i), "");
        word = LLVMBuildOr(p->builder, word, byte, "");
    }
    LLVMValueRef at = LLVMBuildAdd(p->builder, nvptx_affine(p, t, m->at.row_bytes, 0),
                                   nvptx_affine(p, loop.index, 4, 0), "");
    nvptx_store(p, word, nvptx_at(p, m->shared, at), 4);
    nvptx_end_loop(p, &loop);
    return nvptx_get(p, total);
}

static void quantize_row(const struct matvec *m, LLVMValueRef t) {
    struct nvptx *p = m->p;
    LLVMValueRef most = largest_of_block(m, t);
    LLVMValueRef finite = nvptx_less(p, most, nvptx_u32(p, 0x7f800000));
    LLVMValueRef largest = LLVMBuildBitCast(p->builder, most, p->f32, "");
    LLVMValueRef least = nvptx_float(p, (double)1e-5f);
    LLVMValueRef above = LLVMBuildFCmp(p->builder, LLVMRealOGT, largest, least, "");
    LLVMValueRef reciprocal = LLVMBuildFDiv(
        p->builder, nvptx_float(p, 1), LLVMBuildSelect(p->builder, above, largest, least, ""), "");
    LLVMValueRef s = LLVMBuildFMul(p->builder, reciprocal, nvptx_float(p, 127), "");
    LLVMValueRef sum = nvptx_warp_add(p, quantize_columns(m, t, finite, s));
    LLVMBasicBlockRef end = nvptx_begin_if(p, "publish", is_first_lane(m));
    LLVMValueRef slot = LLVMBuildAdd(p->builder, nvptx_affine(p, t, m->warps, 0), m->warp, "");
    nvptx_store(p, sum, shared_at(m, slot, 4, m->at.sum), 4);
    nvptx_end_if(p, end);

    LLVMValueRef leader = LLVMBuildICmp(p->builder, LLVMIntEQ, m->thread, nvptx_u32(p, 0), "");
    end = nvptx_begin_if(p, "leader", leader);
    LLVMValueRef inverse = LLVMBuildFDiv(p->builder, nvptx_float(p, 1), s, "");
    LLVMValueRef scale = LLVMBuildSelect(p->builder, finite, inverse, nvptx_float(p, 0), "");
    nvptx_store(p, scale, shared_at(m, t, 4, m->at.scale), 4);
    LLVMBasicBlockRef bad = nvptx_begin_if(p, "bad", LLVMBuildNot(p->builder, finite, ""));
    nvptx_store(p, nvptx_u32(p, 1), parameter(m, NOT_FINITE), 4);
    nvptx_end_if(p, bad);
    nvptx_end_if(p, end);
}

static void for_each_token(const struct matvec *m, const char *name,
                           void (*row)(const struct matvec *m, LLVMValueRef t)) {
    struct nvptx *p = m->p;
    const struct nvptx_loop loop =
        nvptx_begin_loop(p, name, nvptx_u32(p, 0), m->n_tokens, nvptx_u32(p, 1));
    row(m, loop.index);
    nvptx_end_loop(p, &loop);
}

static void copy_row(const struct matvec *m, LLVMValueRef t) {
    struct nvptx *p = m->p;
    LLVMValueRef row = nvptx_at(p, x_row(m, t, 1), nvptx_u32(p, RSR_ACT_HEADER));
    const struct nvptx_loop loop = nvptx_begin_loop(
        p, "copy", m->thread, nvptx_u32(p, m->at.row_bytes / 16), nvptx_u32(p, m->threads));
    LLVMValueRef values = nvptx_variable(p, p->i32x4, "values");
    nvptx_set(p, values, LLVMConstNull(p->i32x4));
    LLVMValueRef inside = nvptx_less(p, loop.index, nvptx_u32(p, (m->matvec->cols + 15) / 16));
    LLVMBasicBlockRef end = nvptx_begin_if(p, "inside", inside);
    LLVMValueRef from = nvptx_at(p, row, nvptx_affine(p, loop.index, 16, 0));
    nvptx_set(p, values, nvptx_load_constant(p, p->i32x4, from, 16));
    nvptx_end_if(p, end);
    LLVMValueRef at = LLVMBuildAdd(p->builder, nvptx_affine(p, t, m->at.row_bytes, 0),
                                   nvptx_affine(p, loop.index, 16, 0), "");
    nvptx_store(p, nvptx_get(p, values), nvptx_at(p, m->shared, at), 16);
    nvptx_end_loop(p, &loop);
}

static void prepare_rows(const struct matvec *m) {
    if (m->matvec->epilogue == RSR_EPILOGUE_RAW) {
        for_each_token(m, "rows", copy_row);
    } else {
        for_each_token(m, "rows", find_largest);
        nvptx_barrier(m->p);
        for_each_token(m, "rows", quantize_row);
    }
    nvptx_barrier(m->p);
}

/* ---- codes ----------------------------------------------------------------------------------- */

static void unpack_bits2(struct nvptx *p, LLVMValueRef word, LLVMValueRef *groups) {
    for (uint32_t g = 0; g < 4; g++) {
        LLVMValueRef moved = LLVMBuildLShr(p->builder, word, nvptx_u32(p, 2 * g), "");
        groups[g] = LLVMBuildAnd(p->builder, moved, nvptx_u32(p, 0x03030303), "");
    }
}

static void unpack_base3(struct nvptx *p, LLVMValueRef word, LLVMValueRef *groups) {
    LLVMValueRef mask = nvptx_u32(p, 0x00ff00ff), three = nvptx_u32(p, 3);
    LLVMValueRef even = LLVMBuildAnd(p->builder, word, mask, "");
    LLVMValueRef odd = LLVMBuildLShr(p->builder, word, nvptx_u32(p, 8), "");
    odd = LLVMBuildAnd(p->builder, odd, mask, "");
    for (uint32_t g = 0; g < 5; g++) {
        even = LLVMBuildMul(p->builder, even, three, "");
        odd = LLVMBuildMul(p->builder, odd, three, "");
        const LLVMValueRef carries[] = {even, odd, nvptx_u32(p, 0x7351)};
        groups[g] = nvptx_call(p, "llvm.nvvm.prmt", p->i32, carries, 3);
        even = LLVMBuildAnd(p->builder, even, mask, "");
        odd = LLVMBuildAnd(p->builder, odd, mask, "");
    }
}

/* The step of the warp's load k, in a round that begins at load `begin`. */
static LLVMValueRef step_number(const struct matvec *m, LLVMValueRef begin, uint32_t k) {
    struct nvptx *p = m->p;
    LLVMValueRef own =
        nvptx_affine(p, begin, m->matvec->col_warps, (uint64_t)k * m->matvec->col_warps);
    return LLVMBuildAdd(p->builder, own, m->col_warp, "");
}

static void load_codes(const struct matvec *m, LLVMValueRef step, LLVMValueRef slot) {
    struct nvptx *p = m->p;
    LLVMValueRef inside = nvptx_less(p, step, nvptx_u32(p, m->matvec->steps));
    LLVMBasicBlockRef end = nvptx_begin_if(p, "load", inside);
    LLVMValueRef address = nvptx_at(p, m->codes, nvptx_affine(p, step, STEP_BYTES, 0));
    nvptx_set(p, slot, nvptx_load_constant(p, p->i32x4, address, 16));
    nvptx_end_if(p, end);
}

static void start_loads(const struct matvec *m) {
    for (uint32_t k = 0; k < m->matvec->ahead; k++)
        load_codes(m, step_number(m, nvptx_u32(m->p, 0), k), m->window[k]);
}

static void multiply_step(const struct matvec *m, LLVMValueRef packed, LLVMValueRef step) {
    struct nvptx *p = m->p;
    LLVMValueRef groups[4 * MAX_GROUPS];
    for (uint32_t w = 0; w < 4; w++)
        (m->matvec->codes == RSR_GPU_BITS2 ? unpack_bits2 : unpack_base3)(
            p, element(m, packed, w), groups + w * m->word_groups);
    LLVMValueRef lane = LLVMBuildAnd(p->builder, m->lane, nvptx_u32(p, LANES - 1), "");
    LLVMValueRef column =
        LLVMBuildAdd(p->builder, nvptx_affine(p, step, m->word_groups * LANES * 16, 0),
                     nvptx_affine(p, lane, 16, 0), "");
    for (uint32_t t = 0; t < m->matvec->token_tile; t++) {
        LLVMBasicBlockRef end =
            nvptx_begin_if(p, "token", nvptx_less(p, nvptx_u32(p, t), m->n_tokens));
        LLVMValueRef acc = nvptx_get(p, m->acc[t]);
        for (uint32_t i = 0; i < m->word_groups; i++) {
            LLVMValueRef at = shared_at(m, column, 1, t * m->at.row_bytes + i * LANES * 16);
            LLVMValueRef q = nvptx_load(p, p->i32x4, at, 16);
            for (uint32_t c = 0; c < 4; c++)
                acc = nvptx_dp4a(p, groups[4 * i + c], element(m, q, c), acc);
        }
        nvptx_set(p, m->acc[t], acc);
        nvptx_end_if(p, end);
    }
}

static void multiply(const struct matvec *m) {
    struct nvptx *p = m->p;
    const struct rsr_matvec *matvec = m->matvec;
    const uint32_t warp_steps = (matvec->steps + matvec->col_warps - 1) / matvec->col_warps;
    const struct nvptx_loop loop = nvptx_begin_loop(
        p, "round", nvptx_u32(p, 0), nvptx_u32(p, warp_steps), nvptx_u32(p, matvec->ahead));
    for (uint32_t k = 0; k < matvec->ahead; k++) {
        LLVMValueRef step = step_number(m, loop.index, k);
        LLVMBasicBlockRef end =
            nvptx_begin_if(p, "step", nvptx_less(p, step, nvptx_u32(p, matvec->steps)));
        LLVMValueRef packed = nvptx_get(p, m->window[k]);
        load_codes(m, step_number(m, loop.index, k + matvec->ahead), m->window[k]);
        multiply_step(m, packed, step);
        nvptx_end_if(p, end);
    }
    nvptx_end_loop(p, &loop);
}

/* ---- results --------------------------------------------------------------------------------- */

/* Index of partial[col_warp][t][row], as a number of ints. */
static LLVMValueRef partial_number(const struct matvec *m, LLVMValueRef col_warp, LLVMValueRef t,
                                   LLVMValueRef row) {
    struct nvptx *p = m->p;
    LLVMValueRef line =
        LLVMBuildAdd(p->builder, nvptx_affine(p, col_warp, m->matvec->token_tile, 0), t, "");
    return LLVMBuildAdd(p->builder, nvptx_affine(p, line, m->block_rows, 0), row, "");
}

static void gather(const struct matvec *m) {
    struct nvptx *p = m->p;
    LLVMBuilderRef b = p->builder;
    LLVMValueRef row = LLVMBuildAdd(b, nvptx_affine(p, m->row_warp, WARP_ROWS, 0),
                                    LLVMBuildUDiv(b, m->lane, nvptx_u32(p, LANES), ""), "");
    LLVMValueRef leads = LLVMBuildICmp(
        b, LLVMIntEQ, LLVMBuildAnd(b, m->lane, nvptx_u32(p, LANES - 1), ""), nvptx_u32(p, 0), "");
    for (uint32_t t = 0; t < m->matvec->token_tile; t++) {
        LLVMBasicBlockRef end =
            nvptx_begin_if(p, "token", nvptx_less(p, nvptx_u32(p, t), m->n_tokens));
        LLVMValueRef acc = nvptx_get(p, m->acc[t]);
        for (uint32_t distance = LANES / 2; distance != 0; distance /= 2)
            acc = LLVMBuildAdd(b, acc, nvptx_lane_xor(p, acc, distance), "");
        LLVMBasicBlockRef stored = nvptx_begin_if(p, "publish", leads);
        LLVMValueRef number = partial_number(m, m->col_warp, nvptx_u32(p, t), row);
        nvptx_store(p, acc, shared_at(m, number, 4, m->at.partial), 4);
        nvptx_end_if(p, stored);
        nvptx_end_if(p, end);
    }
    nvptx_barrier(p);
}

/* Stores y of token t and a row: acc without the codes' offset, scaled. */
static LLVMValueRef finish_value(const struct matvec *m, LLVMValueRef acc, LLVMValueRef t,
                                 LLVMValueRef row) {
    struct nvptx *p = m->p;
    LLVMBuilderRef b = p->builder;
    if (m->matvec->epilogue == RSR_EPILOGUE_RAW) {
        LLVMValueRef at =
            nvptx_at(p, x_row(m, t, 1), nvptx_u32(p, offsetof(struct rsr_act_row, sum)));
        return LLVMBuildSub(b, acc, nvptx_load_constant(p, p->i32, at, 4), "");
    }
    for (uint32_t w = 0; w < m->warps; w++) {
        LLVMValueRef slot = shared_at(m, t, 4 * m->warps, m->at.sum + 4 * w);
        acc = LLVMBuildSub(b, acc, nvptx_load(p, p->i32, slot, 4), "");
    }
    LLVMValueRef number = m->matvec->scale_per_row ? row : nvptx_u32(p, 0);
    LLVMValueRef at = nvptx_at(p, parameter(m, SCALE), nvptx_affine(p, number, 4, 0));
    LLVMValueRef scale = LLVMBuildFMul(b, nvptx_load(p, p->f32, shared_at(m, t, 4, m->at.scale), 4),
                                       nvptx_load_constant(p, p->f32, at, 4), "");
    return LLVMBuildFMul(b, LLVMBuildSIToFP(b, acc, p->f32, ""), scale, "");
}

static void store(const struct matvec *m) {
    struct nvptx *p = m->p;
    LLVMBuilderRef b = p->builder;
    const struct nvptx_loop loop =
        nvptx_begin_loop(p, "store", m->thread, nvptx_affine(p, m->n_tokens, m->block_rows, 0),
                         nvptx_u32(p, m->threads));
    LLVMValueRef block_rows = nvptx_u32(p, m->block_rows);
    LLVMValueRef t = LLVMBuildUDiv(b, loop.index, block_rows, "");
    LLVMValueRef block_row = LLVMBuildURem(b, loop.index, block_rows, "");
    LLVMValueRef row = LLVMBuildAdd(b, nvptx_affine(p, m->block, m->block_rows, 0), block_row, "");
    LLVMBasicBlockRef end =
        nvptx_begin_if(p, "row", nvptx_less(p, row, nvptx_u32(p, m->matvec->rows)));
    LLVMValueRef acc = nvptx_u32(p, 0);
    for (uint32_t c = 0; c < m->matvec->col_warps; c++) {
        LLVMValueRef number = partial_number(m, nvptx_u32(p, c), t, block_row);
        LLVMValueRef part = nvptx_load(p, p->i32, shared_at(m, number, 4, m->at.partial), 4);
        acc = LLVMBuildAdd(b, acc, part, "");
    }
    LLVMValueRef token = LLVMBuildZExt(b, LLVMBuildAdd(b, m->first, t, ""), p->i64, "");
    LLVMValueRef number = LLVMBuildAdd(b, LLVMBuildMul(b, token, parameter(m, LDY), ""),
                                       LLVMBuildZExt(b, row, p->i64, ""), "");
    nvptx_store(p, finish_value(m, acc, t, row),
                nvptx_at(p, parameter(m, Y), nvptx_affine(p, number, 4, 0)), 4);
    nvptx_end_if(p, end);
    nvptx_end_loop(p, &loop);
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static LLVMValueRef declare_shared(struct nvptx *p, const char *symbol, uint32_t size_bytes) {
    char name[256];
    snprintf(name, sizeof name, "%s_shared", symbol);
    LLVMTypeRef type = LLVMArrayType2(p->i8, size_bytes);
    LLVMValueRef shared = LLVMAddGlobalInAddressSpace(p->module, type, name, NVPTX_SHARED);
    LLVMSetLinkage(shared, LLVMInternalLinkage);
    LLVMSetInitializer(shared, LLVMGetUndef(type));
    LLVMSetAlignment(shared, 16);
    return shared;
}

static void locate(struct matvec *m) {
    struct nvptx *p = m->p;
    LLVMBuilderRef b = p->builder;
    LLVMValueRef row_warps = nvptx_u32(p, m->matvec->row_warps);
    m->thread = nvptx_thread(p);
    m->block = nvptx_block(p);
    m->lane = LLVMBuildAnd(b, m->thread, nvptx_u32(p, 31), "lane");
    m->warp = LLVMBuildLShr(b, m->thread, nvptx_u32(p, 5), "warp");
    m->row_warp = LLVMBuildURem(b, m->warp, row_warps, "row_warp");
    m->col_warp = LLVMBuildUDiv(b, m->warp, row_warps, "col_warp");
    LLVMValueRef group =
        LLVMBuildAdd(b, nvptx_affine(p, m->block, m->matvec->row_warps, 0), m->row_warp, "");
    group = nvptx_min(p, group, nvptx_u32(p, m->row_groups - 1));
    LLVMValueRef offset = LLVMBuildMul(b, LLVMBuildZExt(b, group, p->i64, ""),
                                       nvptx_u64(p, (uint64_t)m->matvec->steps * STEP_BYTES), "");
    m->codes = nvptx_at(p, parameter(m, CODES), offset);
    m->codes = nvptx_at(p, m->codes, nvptx_affine(p, m->lane, 16, 0));
}

static void build_turn(struct matvec *m) {
    struct nvptx *p = m->p;
    start_loads(m);
    prepare_rows(m);
    for (uint32_t t = 0; t < m->matvec->token_tile; t++)
        nvptx_set(p, m->acc[t], nvptx_u32(p, 0));
    multiply(m);
    gather(m);
    store(m);
}

void rsrc_build_nvptx_matvec(struct nvptx *p, const struct rsr_kernel *kernel) {
    const struct rsr_matvec *matvec = kernel->matvec;
    struct matvec m = {.p = p, .matvec = matvec};
    m.word_groups = matvec->codes == RSR_GPU_BITS2 ? 4 : 5;
    m.warps = matvec->row_warps * matvec->col_warps;
    m.threads = m.warps * 32;
    m.block_rows = matvec->row_warps * WARP_ROWS;
    m.row_groups = (matvec->rows + WARP_ROWS - 1) / WARP_ROWS;
    m.at = lay_out(matvec, m.word_groups, m.warps);
    nvptx_begin(p, kernel->symbol, parameter_type, PARAMETER_COUNT, m.threads);
    for (uint32_t i = 0; i < PARAMETER_COUNT; i++)
        LLVMSetValueName2(LLVMGetParam(p->function, i), PARAMETER_NAMES[i],
                          strlen(PARAMETER_NAMES[i]));
    m.shared = declare_shared(p, kernel->symbol, m.at.size_bytes);
    for (uint32_t i = 0; i < matvec->ahead; i++)
        m.window[i] = nvptx_variable(p, p->i32x4, "window");
    for (uint32_t i = 0; i < matvec->token_tile; i++)
        m.acc[i] = nvptx_variable(p, p->i32, "acc");
    locate(&m);
    const struct nvptx_loop turns = nvptx_begin_loop(
        p, "turn", nvptx_u32(p, 0), parameter(&m, N_TOKENS), nvptx_u32(p, matvec->token_tile));
    m.first = turns.index;
    LLVMValueRef left = LLVMBuildSub(p->builder, parameter(&m, N_TOKENS), turns.index, "");
    m.n_tokens = nvptx_min(p, left, nvptx_u32(p, matvec->token_tile));
    build_turn(&m);
    nvptx_end_loop(p, &turns);
    LLVMBuildRetVoid(p->builder);
}
