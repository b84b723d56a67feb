/* test_ptx_interpreter.c - the interpreter of PTX: the results of instructions, and reports of
 * every mistake of a kernel. Each case is a kernel with one parameter, the address of WORDS
 * words. */
#include "check.h"
#include "ptx/ptx.h"

#include <stdlib.h>

#define WORDS 256u
static const char HEADER[] =
    ".version 7.8\n.target sm_90\n.address_size 64\n"
    ".visible .entry k(.param .u64 p)\n.maxntid 128, 1, 1\n{\n"
    ".reg .pred %p<4>; .reg .b16 %h<4>; .reg .b32 %r<20>; .reg .f32 %f<4>;\n"
    ".reg .b64 %d<8>; .reg .f64 %g<4>; .shared .align 4 .b8 s[512];\n"
    "ld.param.u64 %d0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %d1, %r0, 4;\n"
    "add.s64 %d2, %d0, %d1; mov.u32 %r1, s; shl.b32 %r2, %r0, 2; add.s32 %r3, %r1, %r2;\n"
    "setp.eq.s32 %p0, %r0, 0;\n";

/* Memory before a kernel: the first words hold their numbers, the others hold varied bytes. */
static uint32_t first_word(uint32_t i) {
    return i < 64 ? i : i * 2654435761u;
}

/* Returns "" or the error. words receives the memory after the body. */
static const char *run_with(const char *body, uint32_t n_blocks, uint32_t n_threads, uint64_t seed,
                            uint32_t words[WORDS]) {
    static struct ptx_error error;
    static char text[8192];
    struct rsrc_arena arena;
    struct ptx_module module;
    struct ptx_memory memory;
    snprintf(text, sizeof text, "%s%s\n}\n", HEADER, body);
    rsrc_arena_init(&arena);
    ptx_memory_init(&memory);
    if (ptx_parse(&arena, text, strlen(text), &module, &error)) {
        for (uint32_t i = 0; i < WORDS; i++)
            words[i] = first_word(i);
        const uint64_t address = ptx_allocate(&memory, WORDS * 4);
        CHECK(ptx_upload(&memory, address, words, WORDS * 4));
        const struct ptx_launch launch = {.kernel = ptx_find_kernel(&module, "k"),
                                          .grid = {n_blocks, 1, 1},
                                          .block = {n_threads, 1, 1},
                                          .parameters = &address,
                                          .seed = seed,
                                          .max_steps = 100000};
        (void)ptx_run(&memory, &launch, NULL, &error);
        CHECK(ptx_download(&memory, words, address, WORDS * 4));
    }
    ptx_memory_free(&memory);
    rsrc_arena_free(&arena);
    return error.text;
}

/* ---- what instructions give ------------------------------------------------------------------ */

/* A body that leaves a word in %r9. */
static void expect_word(const char *body, uint32_t lane, uint32_t expected) {
    char text[4096];
    uint32_t words[WORDS];
    snprintf(text, sizeof text, "%s st.global.u32 [%%d2], %%r9;", body);
    CHECK_STR(run_with(text, 1, 32, 1, words), "");
    if (words[lane] != expected) {
        fprintf(stderr, "%s\n", body);
        CHECK_INT(words[lane], expected);
    }
    check_count++;
}

static const struct {
    const char *body;
    uint32_t lane, expected;
} RESULTS[] = {
    {"mov.b32 %r9, -1; add.s32 %r9, %r9, 1;", 0, 0},
    {"shl.b32 %r9, %r0, 32;", 3, 0},
    {"mov.b32 %r8, -64; shr.s32 %r9, %r8, 40;", 0, 0xffffffff},
    {"mov.b32 %r8, -7; div.s32 %r9, %r8, 2;", 0, 0xfffffffd},
    {"mov.b32 %r8, 0x80000000; div.s32 %r9, %r8, -1;", 0, 0x80000000},
    {"mul.hi.u32 %r9, 0xffffffff, 0xffffffff;", 0, 0xfffffffe},
    {"mov.b32 %r8, 0x01020304; prmt.b32 %r9, %r8, 0xf0e0d0c0, 0x7351;", 0, 0xf001d003},
    {"prmt.b32 %r9, 0x80, 0, 0x0008;", 0, 0x808080ff},
    {"bfe.s32 %r9, 0x00008012, 8, 8;", 0, 0xffffff80},
    {"bfe.s32 %r9, 0x7f001234, 24, 16;", 0, 0x0000007f},
    {"bfe.s32 %r9, 0x80001234, 40, 4;", 0, 0xffffffff},
    {"bfe.s32 %r9, 0xffffffff, 3, 0;", 0, 0},
    {"bfe.u32 %r9, 0xabcd, 4, 8;", 0, 0xbc},
    {"bfi.b32 %r9, 0xf, 0, 28, 8;", 0, 0xf0000000},
    {"lop3.b32 %r9, 0xf0f0f0f0, 0xcccccccc, 0xaaaaaaaa, 0x96;", 0,
     0xf0f0f0f0 ^ 0xcccccccc ^ 0xaaaaaaaa},
    {"shf.l.wrap.b32 %r9, 0x80000001, 1, 4;", 0, 0x18},
    {"dp4a.s32.s32 %r9, 0xff01807f, 0x01020304, 5;", 0, (uint32_t)(127 * 4 - 128 * 3 + 2 - 1 + 5)},
    {"dp4a.u32.s32 %r9, 0x000000ff, 0x000000ff, 0;", 0, (uint32_t)-255},
    {"mov.b32 %f0, 0f7f800000; sub.rn.f32 %f1, %f0, %f0; mov.b32 %r9, %f1;", 0, 0x7fffffff},
    {"max.f32 %f0, 0f7fc00000, 0fbf800000; mov.b32 %r9, %f0;", 0, 0xbf800000},
    {"min.f32 %f0, 0f00000000, 0f80000000; mov.b32 %r9, %f0;", 0, 0x80000000},
    {"cvt.rni.s32.f32 %r9, 0f40200000;", 0, 2},
    {"cvt.rni.s32.f32 %r9, 0fff800000;", 0, 0x80000000},
    {"cvt.rzi.s32.f32 %r9, 0f7fc00000;", 0, 0},
    {"fma.rn.f32 %f0, 0f3f800001, 0f3f800001, 0fbf800002; mov.b32 %r9, %f0;", 0, 0x28800000},
    {"div.rn.f64 %g0, 0d3ff0000000000000, 0d4008000000000000; mov.b64 {%r9, %r8}, %g0;", 0,
     0x55555555},
    {"mov.b64 %d3, {%r0, 7}; shr.u64 %d3, %d3, 32; cvt.u32.u64 %r9, %d3;", 5, 7},
    {"mov.b32 %r8, 0x1ff; cvt.s32.s8 %r9, %r8;", 0, 0xffffffff},
    {"setp.ltu.f32 %p1, 0f7fc00000, 0f00000000; selp.u32 %r9, 1, 2, %p1;", 0, 1},
    {"ld.global.u8 %r9, [%d2];", 5, 5},
    {"shfl.sync.bfly.b32 %r9, %r0, 4, 31, -1;", 3, 7},
    {"shfl.sync.up.b32 %r9|%p1, %r0, 1, 0, -1; @!%p1 mov.b32 %r9, 99;", 0, 99},
    {"shfl.sync.down.b32 %r9, %r0, 2, 31, -1;", 31, 31},
    {"shfl.sync.idx.b32 %r9, %r0, 5, 31, -1;", 0, 5},
    {"shfl.sync.idx.b32 %r9, %r0, 1, 0x1807, -1;", 18, 17},
    {"redux.sync.add.s32 %r9, %r0, -1;", 9, 31 * 16},
    {"setp.gt.u32 %p1, %r0, 29; vote.sync.ballot.b32 %r9, %p1, -1;", 0, 0xc0000000},
    {"atom.global.add.u32 %r8, [%d2], 2; ld.global.u32 %r9, [%d2];", 5, 7},
    {"atom.global.inc.u32 %r8, [%d2], 6; ld.global.u32 %r9, [%d2];", 5, 6},
    {"atom.global.inc.u32 %r8, [%d2], 6; ld.global.u32 %r9, [%d2];", 6, 0},
    {"atom.global.inc.u32 %r9, [%d2], 6;", 6, 6},
    {"mov.b64 %d3, p; ld.param.u64 %d4, [%d3]; add.s64 %d4, %d4, %d1; ld.global.u32 %r9, [%d4];", 3,
     3},
    {"mov.b32 %r9, 1; @%p0 bra $L; mov.b32 %r9, 2; $L: add.s32 %r9, %r9, 10;", 0, 11},
    {"mov.b32 %r9, 1; @%p0 bra $L; mov.b32 %r9, 2; $L: add.s32 %r9, %r9, 10;", 1, 12},
};

static void test_results(void) {
    for (size_t i = 0; i < sizeof RESULTS / sizeof RESULTS[0]; i++)
        expect_word(RESULTS[i].body, RESULTS[i].lane, RESULTS[i].expected);
}

/* Byte i of a lane's registers of a; from register 4 on, of b. */
static int32_t lane_byte(uint32_t lane, uint32_t i) {
    return (int8_t)(first_word(64 + 6 * lane + i / 4) >> i % 4 * 8);
}

/* Element i of a lane's result, by the places that NVIDIA documents for m16n8k32. */
static uint32_t mma_element(uint32_t lane, uint32_t i, uint32_t c) {
    const uint32_t row = lane / 4 + (i >= 2 ? 8 : 0), col = lane % 4 * 2 + i % 2;
    int32_t sum = (int32_t)c;
    for (uint32_t from = 0; from < PTX_LANES; from++)
        for (uint32_t j = 0; j < 16; j++) {
            const uint32_t a_row = from / 4 + (j / 4 % 2 != 0 ? 8 : 0);
            const uint32_t k = from % 4 * 4 + j % 4 + (j >= 8 ? 16 : 0);
            const uint32_t b_lane = col * 4 + k % 16 / 4, b_byte = 16 + k % 4 + (k >= 16 ? 4 : 0);
            if (a_row == row)
                sum += lane_byte(from, j) * lane_byte(b_lane, b_byte);
        }
    return (uint32_t)sum;
}

static void test_mma(void) {
    static const char *const RESULT[] = {"%r4", "%r5", "%r6", "%r7"};
    char body[1024];
    for (uint32_t i = 0; i < 4; i++) {
        snprintf(body, sizeof body,
                 "mul.wide.u32 %%d3, %%r0, 24; add.s64 %%d3, %%d3, %%d0;"
                 "ld.global.u32 %%r10, [%%d3+256]; ld.global.u32 %%r11, [%%d3+260];"
                 "ld.global.u32 %%r12, [%%d3+264]; ld.global.u32 %%r13, [%%d3+268];"
                 "ld.global.u32 %%r14, [%%d3+272]; ld.global.u32 %%r15, [%%d3+276];"
                 "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%%r4, %%r5, %%r6, %%r7}, "
                 "{%%r10, %%r11, %%r12, %%r13}, {%%r14, %%r15}, {%%r0, %%r0, 2, 3};"
                 "mov.b32 %%r9, %s;",
                 RESULT[i]);
        for (uint32_t lane = 0; lane < PTX_LANES; lane++)
            expect_word(body, lane, mma_element(lane, i, i < 2 ? lane : i));
    }
}

/* ---- mistakes -------------------------------------------------------------------------------- */

#define STORE "st.shared.u32 [%r3], %r0;"

/* Every block reads a word of all and writes a word of its own. The last one to signal that it has,
 * by word 0, reads those words, with the fences and barriers that are given, or writes the word of
 * all. */
#define SIGNAL(before, signal, after)                                                              \
    "mov.u32 %r4, %ctaid.x; mul.wide.u32 %d3, %r4, 256; add.s64 %d3, %d3, %d2;\n"                  \
    "ld.global.u32 %r9, [%d0+768]; st.global.u32 [%d3+256], 7;\n" before signal after              \
    "@%p0 st.shared.u32 [%r1], %r5; bar.sync 0; ld.shared.u32 %r5, [%r1];\n"                       \
    "setp.eq.s32 %p1, %r5, 1; xor.b32 %r4, %r0, 32; mul.wide.u32 %d3, %r4, 4;\n"                   \
    "add.s64 %d3, %d3, %d0; and.pred %p0, %p0, %p1;\n"
#define FENCE "@%p0 membar.gl;"
#define BARRIER "bar.sync 0;"
#define COUNT "@%p0 atom.global.inc.u32 %r5, [%d0], 1;"
#define READ_ALL "@%p1 ld.global.u32 %r9, [%d3+256]; @%p1 ld.global.u32 %r9, [%d3+512];"
#define WRITE_ALL "@%p0 st.global.u32 [%d0+768], 9;"
static const struct {
    const char *body, *error; /* part of it */
    uint32_t n_blocks, n_threads;
} MISTAKES[] = {
    {"ld.global.u32 %r9, [%d0+1024];", "4 bytes at 0x7f0000000400: out of bounds", 1, 32},
    {"ld.global.u32 %r9, [%d0+-4];", "out of bounds", 1, 32},
    {"ld.global.u64 %d3, [%d0+1020];", "out of bounds", 1, 32},
    {"mov.b64 %d3, p; ld.param.u64 %d4, [%d3+8];", "not within the parameters", 1, 32},
    {"ld.global.u32 %r9, [%d0+2];", "not aligned", 1, 32},
    {"ld.global.v4.u32 {%r9, %r8, %r7, %r6}, [%d0+4];", "16 bytes at 0x7f0000000004: not aligned",
     1, 32},
    {"ld.shared.u32 %r9, [%r3];", "read, but never written", 1, 32},
    {"ld.shared.u32 %r9, [%r3+512];", "out of bounds", 1, 32},
    {"st.shared.u32 [%r3+-4], %r0;", "out of bounds", 1, 32},
    {"add.s32 %r9, %r10, 1;", "operand 2 is a register that was never set", 1, 32},
    {"@%p0 mov.b32 %r10, 1; add.s32 %r9, %r10, 1;", "thread 1 of block 0: operand 2", 1, 32},
    {"@%p1 ret;", "the predicate was never set", 1, 32},
    {STORE "xor.b32 %r4, %r3, 4; ld.shared.u32 %r9, [%r4];", "a race: read", 1, 32},
    {STORE "bar.warp.sync -1; xor.b32 %r4, %r3, 128; ld.shared.u32 %r9, [%r4];", "read", 1, 64},
    {STORE "bar.sync 0; xor.b32 %r4, %r3, 128; ld.shared.u32 %r9, [%r4]; st.shared.u32 [%r3], 1;",
     "a race", 1, 64},
    {"st.shared.u32 [%r1], %r0;", "a race: written without a barrier after the write", 1, 32},
    {"mov.u32 %r4, %ctaid.x; @%p0 st.global.u32 [%d0], %r4;", "a race: written", 2, 32},
    {"@%p0 ld.global.u32 %r9, [%d0]; @%p0 st.global.u32 [%d0], 9;", "a race", 2, 32},
    {"mov.u32 %r4, %ctaid.x; setp.eq.s32 %p1, %r4, 1; and.pred %p1, %p1, %p0;\n"
     "@%p0 ld.global.u32 %r9, [%d0]; bar.sync 0; @%p1 st.global.u32 [%d0], 9;",
     "a race", 2, 32},
    {"atom.global.add.u32 %r9, [%d0], 1; ld.global.u32 %r9, [%d0];", "a race: read", 1, 32},
    {"ld.global.u32 %r9, [%d0]; @%p0 red.global.add.u32 [%d0], 1;",
     "a race: written without a barrier after the read", 1, 32},
    {SIGNAL(BARRIER, COUNT, FENCE) READ_ALL, "a race: read without a barrier after the write", 2,
     64},
    {SIGNAL(BARRIER "@%p0 membar.cta;", COUNT, FENCE) READ_ALL, "a race: read", 2, 64},
    {SIGNAL(BARRIER FENCE, COUNT, "") READ_ALL, "a race: read", 2, 64},
    {SIGNAL(FENCE, COUNT, FENCE) READ_ALL, "a race: read", 2, 64},
    {SIGNAL(FENCE BARRIER, COUNT, FENCE) READ_ALL, "a race: read", 2, 64},
    {SIGNAL(BARRIER COUNT, FENCE, FENCE) READ_ALL, "a race: read", 2, 64},
    {SIGNAL(BARRIER FENCE, COUNT, FENCE) WRITE_ALL,
     "a race: written without a barrier after the read", 3, 64},
    {SIGNAL(BARRIER, COUNT, FENCE) WRITE_ALL, "a race: written", 2, 64},
    {"@%p0 bra $L; bar.sync 0; $L: ret;", "lanes of warp 0 wait for others that never come", 1, 32},
    {"setp.lt.u32 %p1, %r0, 32; @%p1 bar.sync 0;", "does not come to this barrier", 1, 64},
    {"setp.lt.u32 %p1, %r0, 32; @%p1 bra $L; bar.sync 0; ret; $L: bar.sync 0;",
     "does not come to this barrier", 1, 64},
    {"@%p0 bra $L; redux.sync.add.s32 %r9, %r0, -1; ret;\n$L: bar.warp.sync -1;",
     "a deadlock: lanes of warp 0 wait for each other", 1, 32},
    {"shfl.sync.bfly.b32 %r9, %r0, 4, 31, 0xffff;", "lane 16 of warp 0 is not of the mask", 1, 32},
    {"setp.lt.u32 %p1, %r0, 16; @%p1 shfl.sync.bfly.b32 %r9, %r0, 16, 31, 0xffff;",
     "from lane 16, which takes no part", 1, 32},
    {"redux.sync.add.s32 %r9, %r0, %r0;", "is not of the mask", 1, 32},
    {"@%p0 bra.uni $L; $L: ret;", "lanes disagree at bra.uni", 1, 32},
    {"$L: bra $L;", "did not end within", 1, 32},
    {"ret;", "a launch of 1 x 1 x 1 blocks of 160 x 1 x 1 threads", 1, 160},
};

static void expect_mistake(const char *body, const char *error, uint32_t n_blocks,
                           uint32_t n_threads) {
    uint32_t words[WORDS];
    for (uint64_t seed = 0; seed < 4; seed++) {
        const char *found = run_with(body, n_blocks, n_threads, seed, words);
        check_count++;
        if (strstr(found, error) == NULL) {
            check_failures++;
            fprintf(stderr, "%s: \"%s\", expected \"%s\"\n", body, found, error);
        }
    }
}

static void test_mistakes(void) {
    for (size_t i = 0; i < sizeof MISTAKES / sizeof MISTAKES[0]; i++)
        expect_mistake(MISTAKES[i].body, MISTAKES[i].error, MISTAKES[i].n_blocks,
                       MISTAKES[i].n_threads);
}

/* Ordered accesses are no race. */
static void test_order(void) {
    static const char *const RIGHT[] = {
        STORE "bar.warp.sync -1; xor.b32 %r4, %r3, 4; ld.shared.u32 %r9, [%r4];",
        STORE "bar.sync 0; xor.b32 %r4, %r3, 4; ld.shared.u32 %r9, [%r4]; bar.sync 0;" STORE,
        STORE "ld.shared.u32 %r9, [%r3];",
        "st.global.u32 [%d0], 7;",
        "red.global.add.u32 [%d0], 1;",
        "setp.lt.u32 %p1, %r0, 5; @%p1 bra $L; add.s32 %r9, %r0, 1; $L: bar.sync 0;",
        SIGNAL(BARRIER FENCE, COUNT, FENCE) READ_ALL WRITE_ALL,
    };
    uint32_t words[WORDS];
    for (size_t i = 0; i < sizeof RIGHT / sizeof RIGHT[0]; i++)
        for (uint64_t seed = 0; seed < 4; seed++)
            CHECK_STR(run_with(RIGHT[i], 2, 32, seed, words), "");
    CHECK_STR(run_with(RIGHT[4], 2, 32, 1, words), "");
    CHECK_INT(words[0], 64);
}

/* Block 0 signals by word 0, block 1 then by word 1 (which is 1), and block 2 writes what block 0
 * wrote: it is ordered after that by block 1. Returns how many of the orders of blocks are
 * races. */
static uint32_t pass_on(const char *fence) {
    uint32_t words[WORDS], n = 0;
    char body[1024];
    snprintf(body, sizeof body,
             "mov.u32 %%r4, %%ctaid.x; setp.eq.s32 %%p1, %%r4, 0; setp.eq.s32 %%p2, %%r4, 2;"
             "and.pred %%p1, %%p1, %%p0; and.pred %%p2, %%p2, %%p0; setp.eq.s32 %%p3, %%r4, 1;"
             "and.pred %%p3, %%p3, %%p0; mov.b32 %%r5, 9;"
             "@%%p1 st.global.u32 [%%d0+768], 7; bar.sync 0; @%%p1 membar.gl;"
             "@%%p1 atom.global.inc.u32 %%r5, [%%d0], 9; @%%p3 membar.gl;"
             "@%%p3 atom.global.inc.u32 %%r5, [%%d0], 9; %s"
             "@%%p3 setp.eq.s32 %%p3, %%r5, 1; @%%p3 atom.global.inc.u32 %%r5, [%%d0+4], 9;"
             "@%%p2 membar.gl; @%%p2 atom.global.inc.u32 %%r5, [%%d0+4], 9; @%%p2 membar.gl;"
             "setp.eq.s32 %%p3, %%r5, 2; and.pred %%p2, %%p2, %%p3;"
             "@%%p2 st.global.u32 [%%d0+768], 8;",
             fence);
    for (uint64_t seed = 0; seed < 60; seed++)
        n += run_with(body, 3, 32, seed, words)[0] != '\0';
    return n;
}

static void test_passing_on(void) {
    CHECK_INT(pass_on("@%p3 membar.gl;"), 0);
    CHECK(pass_on("") > 0);
}

/* Text that is refused; the message names the cause. */
static void test_refusals(void) {
    static const char *const REFUSED[][2] = {
        {"add.f32 %f0, %f1, %f2;", "add.f32 is not understood"},
        {"mul.ftz.f32 %f0, %f1, %f2;", "mul.ftz.f32 is not understood"},
        {"ex2.approx.f32 %f0, %f1;", "ex2.approx.f32 is not understood"},
        {"atom.global.add.f32 %f0, [%d0], %f1;", "atom.global.add.f32 is not understood"},
        {"ld.global.global.u32 %r0, [%d0];", "is not understood"},
        {"st.global.nc.u32 [%d0], %r0;", "is not understood"},
        {"call f;", "call is not understood"},
        {".local .b8 x[4];", ".local is not understood"},
        {"add.s32 %r0, %d0, 1;", "add.s32: operand 2 is no register of the type"},
        {"add.s32 %tid.x, %r0, 1;", "operand 1 is no register that can be written"},
        {"add.s32 %r0, %r1;", "add.s32 has other operands than these"},
        {"add.s32 %r0, %r1, 4294967296;", "operand 3 is no value of the type"},
        {"add.rn.f32 %f0, %f1, 1;", "operand 3 is no value of the type"},
        {"add.s32 %r20, %r1, 1;", "operand 1 is no register of the type"},
        {"ld.global.u32 %r0, [%r1];", "is no address"},
        {"ld.param.u64 %d0, [p+8];", "ld.param.u64 is not within p"},
        {"bar.sync 1;", "is no barrier 0"},
        {"bra $L;", "there is no label $L"},
        {"$L: $L: ret;", "there are two labels $L"},
        {"@%r0 ret;", "'%r0' is no predicate"},
        {".shared .b8 large[48000]; .shared .b8 more[2000];",
         "at most 49152 bytes of shared memory"},
        {"mov.b64 %d3, 18446744073709551616;", "operand 2 is no value of the type"},
        {"{ ret;", "the text ends within k"},
    };
    uint32_t words[WORDS];
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++) {
        const char *found = run_with(REFUSED[i][0], 1, 32, 1, words);
        CHECK(strstr(found, REFUSED[i][1]) != NULL);
        if (strstr(found, REFUSED[i][1]) == NULL)
            fprintf(stderr, "%s: %s\n", REFUSED[i][0], found);
    }
}

int main(void) {
    test_results();
    test_mma();
    test_mistakes();
    test_order();
    test_passing_on();
    test_refusals();
    return CHECK_EXIT();
}
