/* test_ptx.c - plans of GPU layers, the CUDA C++ printed for them, packed codes, and refusals. */
#include <stdlib.h>
#include <sys/stat.h>

#include "../cuda/planned_matvec.h"
#include "base/mapped_file.h"
#include "check.h"
#include "diag_fixture.h"
#include "emit/ptx/cuda_unit.h"
#include "emit/ptx/emit_ptx.h"
#include "emit/ptx/nvrtc.h"
#include "emit/ptx/ptx_version.h"
#include "lower/lower.h"

static const struct rsr_spec H100 = {.name = "sm_90",
                                     .triple = "nvptx64-nvidia-cuda",
                                     .cpu = "sm_90",
                                     .gpu = {90, 132, 1.755, 3350, 2}};
static const struct rsr_spec RTX_4090 = {.name = "sm_89",
                                         .triple = "nvptx64-nvidia-cuda",
                                         .cpu = "sm_89",
                                         .gpu = {89, 128, 2.52, 1008, 2.2}};

static struct rsr_matvec plan_of(struct fixture *f, const struct rsr_spec *spec, uint32_t rows,
                                 uint32_t cols, int kernel, struct rsr_regime_plan *plan) {
    const struct planned_shape shape = {rows, cols, RSR_EPILOGUE_SCALE, kernel};
    struct rsr_matvec matvec = {0};
    CHECK_INT(plan_matvec(f->diag, &f->arena, spec, &shape, plan, &matvec), RSRC_OK);
    return matvec;
}

/* For every shape and kernel the blocks share all of the work. */
static void test_plans_cover_all(struct fixture *f) {
    static const uint32_t SIZES[] = {1, 2, 31, 64, 640, 641, 2560, 6912, 14336, 23040, 46080};
    static const enum rsr_kernel_id KERNELS[] = {RSR_KERNEL_DOT_BITS2, RSR_KERNEL_DOT_BASE3,
                                                 RSR_KERNEL_MMA_BITS2, RSR_KERNEL_MMA_BASE3};
    const uint32_t n = sizeof SIZES / sizeof *SIZES;
    for (uint32_t i = 0; i < n * n * 4; i++) {
        const uint32_t rows = SIZES[i % n], cols = SIZES[i / n % n];
        const enum rsr_kernel_id kernel = KERNELS[i / (n * n)];
        struct rsr_regime_plan plan;
        const struct rsr_matvec m = plan_of(f, &H100, rows, cols, (int)kernel, &plan);
        const uint32_t step_cols = m.codes == RSR_GPU_BITS2 ? 128 : 160;
        CHECK((uint64_t)m.steps * step_cols >= cols && (m.steps - 1) * step_cols < cols);
        CHECK((uint64_t)m.blocks * m.row_warps * 16 >= rows);
        CHECK((m.blocks - 1) * m.row_warps * 16 < rows);
        CHECK(m.col_warps >= 1 && m.col_warps <= m.steps && rsrc_gpu_threads(&m) <= 256);
        CHECK_INT(m.token_tile, m.product == RSR_GPU_MMA ? 8 : 4);
        CHECK_INT(m.weight_bytes, (uint64_t)((rows + 15) / 16) * m.steps * 512);
        CHECK_INT(plan.weight_bytes, m.weight_bytes);
        CHECK(plan.tile_rows == 16 * m.row_warps && plan.token_tile == m.token_tile);
        CHECK(plan.predicted_us >= H100.gpu.launch_us && plan.reason[0] != '\0');
        CHECK(m.product == RSR_GPU_MMA || m.codes == RSR_GPU_BASE3 || plan.kernel == kernel);
    }
}

/* Together the functions of a kernel serve every number of tokens, each once; three blocks of every
 * function fit the registers of a multiprocessor. */
static void test_entries(struct fixture *f) {
    static const struct {
        enum rsr_kernel_id kernel;
        uint32_t cols, token_tile, n;
        uint32_t tiles[2], ahead[2];
    } CASES[] = {{RSR_KERNEL_DOT_BITS2, 2560, 4, 2, {1, 4}, {5, 3}},
                 {RSR_KERNEL_DOT_BITS2, 2560, 1, 1, {1, 0}, {5, 0}},
                 {RSR_KERNEL_DOT_BITS2, 65, 3, 2, {1, 3}, {1, 1}},
                 {RSR_KERNEL_DOT_BASE3, 2560, 4, 2, {1, 4}, {4, 2}},
                 {RSR_KERNEL_MMA_BITS2, 2560, 8, 1, {8, 0}, {5, 0}},
                 {RSR_KERNEL_MMA_BASE3, 2560, 8, 1, {8, 0}, {4, 0}}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct rsr_regime_plan plan;
        struct rsr_matvec m = plan_of(f, &H100, 640, CASES[i].cols, (int)CASES[i].kernel, &plan);
        struct rsr_gpu_entry entries[RSR_GPU_MAX_FUNCTIONS];
        m.token_tile = CASES[i].token_tile;
        rsrc_set_matvec_functions(&m);
        CHECK_INT(rsrc_gpu_launches(&m, entries), CASES[i].n);
        for (uint32_t j = 0; j < CASES[i].n; j++) {
            CHECK_INT(entries[j].token_tile, CASES[i].tiles[j]);
            CHECK_INT(entries[j].min_tokens, j == 0 ? 1 : entries[j - 1].max_tokens + 1);
            CHECK_INT(m.functions[j].ahead, CASES[i].ahead[j]);
            CHECK(65536 / (m.functions[j].registers * entries[j].threads) >= 3);
        }
        CHECK_INT(entries[CASES[i].n - 1].max_tokens, UINT32_MAX);
    }
}

static void test_choice_follows_the_machine(struct fixture *f) {
    struct rsr_regime_plan plan;
    CHECK_INT(plan_of(f, &H100, 2560, 2560, -1, &plan).codes, RSR_GPU_BITS2);
    CHECK_INT(plan_of(f, &RTX_4090, 2560, 2560, -1, &plan).codes, RSR_GPU_BASE3);
    CHECK_STR(plan.machine->name, "sm_80");
    /* 1.31 MB at 0.75 of 1008 GB/s, a launch, and a third of the one that quantises. */
    CHECK(plan.predicted_us > 2.2 * 4 / 3 + 1.73 && plan.predicted_us < 2.2 * 4 / 3 + 1.74);
}

/* The kernel refuses options that it would silently compute in another way. A GPU refuses kernels
 * of CPUs, and a CPU kernels of GPUs. */
static void test_refusals(struct fixture *f) {
    const struct rsr_stats stats = {.rows = 64, .cols = 256, .k = 4};
    struct rsrc_plan_options options = {.forced_variant = {[RSR_ROLE_Q] = -1}};
    struct rsrc_plan_input input = {.layer_name = "q",
                                    .role = RSR_ROLE_Q,
                                    .group_cols = 128,
                                    .stats = &stats,
                                    .spec = &H100,
                                    .options = &options};
    const struct rsr_spec generic = {.name = "generic", .vector_bits = 128};
    struct rsr_plan none;
    CHECK_INT(rsrc_plan_layer(f->diag, &f->arena, &input, &none), RSRC_FAILED);
    CHECK(strstr(f->text, "a GPU's kernels have no scales of groups of columns [gpu-input]") !=
          NULL);
    input.input = RSR_INPUT_F32;
    CHECK_INT(rsrc_plan_layer(f->diag, &f->arena, &input, &none), RSRC_FAILED);
    CHECK(strstr(f->text, "not floats [gpu-input]") != NULL);
    input.input = RSR_INPUT_I8;
    input.group_cols = 0;
    options.forced_variant[RSR_ROLE_Q] = RSR_VARIANT_LUT;
    CHECK_INT(rsrc_plan_layer(f->diag, &f->arena, &input, &none), RSRC_FAILED);
    CHECK(strstr(f->text, "target sm_90 has no instructions for variant 'lut'") != NULL);
    options.forced_variant[RSR_ROLE_Q] = RSR_VARIANT_MMA;
    input.spec = &generic;
    CHECK_INT(rsrc_plan_layer(f->diag, &f->arena, &input, &none), RSRC_FAILED);
    CHECK(strstr(f->text, "target generic has no instructions for variant 'mma'") != NULL);
    const struct rsr_regime_plan plan = {.kernel = RSR_KERNEL_DOT_BITS2, .reason = "wide"};
    const struct rsr_matrix wide = {.rows = 1, .cols = RSRC_MATVEC_MAX_COLS + 1};
    const struct rsrc_lower_input lower = {
        .title = "m: wide", .matrix = &wide, .plan = &plan, .spec = &H100};
    struct rsr_lowered out;
    const char *detail;
    CHECK_INT(rsrc_lower_dot_bits2(f->diag, &f->arena, &lower, &out, &detail), RSRC_FAILED);
    CHECK(strstr(f->text, "[gpu-cols]") != NULL);
}

/* Checks the tiles and tokens that a plan may have. */
static void test_tiles(struct fixture *f) {
    static const uint32_t CASES[][4] = {
        {16, 1, 16, 1}, {40, 2, 32, 2}, {127, 3, 64, 3}, {128, 4, 128, 4}, {512, 64, 128, 4}};
    const struct rsrc_planned_layer layer = {&H100, RSR_INPUT_I8, 4, 512, 0};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct rsr_regime_plan plan = {
            .kernel = RSR_KERNEL_DOT_BASE3, .tile_rows = CASES[i][0], .token_tile = CASES[i][1]};
        CHECK(rsrc_fit_plan(&layer, &plan));
        CHECK(plan.tile_rows == CASES[i][2] && plan.token_tile == CASES[i][3]);
        plan.kernel = RSR_KERNEL_MMA_BITS2;
        CHECK(rsrc_fit_plan(&layer, &plan) && plan.token_tile == 8);
    }
    struct rsr_regime_plan plan;
    CHECK_INT(plan_of(f, &H100, 1, UINT32_MAX, -1, &plan).token_tile, 4);
}

/* Weights by hand: the bytes of the first two lanes. */
static void test_packing(struct fixture *f) {
    int8_t values[9][20];
    memset(values, -1, sizeof values);
    values[0][0] = 1, values[0][8] = 0; /* lane 0: groups 0 and 1 of word 0 */
    values[0][5] = 1;                   /* half 1: word 2 */
    values[8][0] = 1;                   /* row 8: word 1 */
    values[0][16] = 0;                  /* lane 1 */
    const struct rsr_matrix matrix = {.rows = 9, .cols = 20, .values = values[0]};
    uint8_t codes[512];
    struct rsr_regime_plan plan;
    const struct rsr_matvec bits2 = plan_of(f, &H100, 9, 20, RSR_KERNEL_DOT_BITS2, &plan);
    CHECK_INT(bits2.weight_bytes, 512);
    rsrc_pack_matvec(&matrix, &bits2, codes);
    CHECK_INT(codes[0], 2 | 1 << 2);
    CHECK_INT(codes[4], 2);
    CHECK_INT(codes[8 + 1], 2);
    CHECK_INT(codes[16], 1);
    uint32_t n_set = 0;
    for (uint32_t i = 0; i < 512; i++)
        n_set += codes[i] != 0;
    CHECK_INT(n_set, 4);
    const struct rsr_matvec base3 = plan_of(f, &H100, 9, 20, RSR_KERNEL_MMA_BASE3, &plan);
    rsrc_pack_matvec(&matrix, &base3, codes);
    CHECK_INT(codes[0], ((2 * 81 + 1 * 27) * 256 + 242) / 243);
    CHECK_INT(codes[4], (2 * 81 * 256 + 242) / 243);
    CHECK_INT(codes[8 + 1], (2 * 81 * 256 + 242) / 243);
    CHECK_INT(codes[16], (1 * 81 * 256 + 242) / 243);
}

static void test_cuda_text(struct fixture *f) {
    struct rsr_regime_plan plan;
    const struct rsr_matvec matvec = plan_of(f, &H100, 2560, 6912, RSR_KERNEL_DOT_BITS2, &plan);
    const struct rsr_kernel kernel = {.symbol = "rsr_l3_down_dot_sm_90",
                                      .title = "model\n#error: model.layers.3.mlp.down_proj",
                                      .reason = plan.reason,
                                      .matvec = &matvec};
    struct rsrc_buffer text = {0};
    rsrc_print_cuda_unit(&kernel, 1, &text);
    CHECK(strstr(text.data, "// model<0a>#error: model.layers.3.mlp.down_proj: 2560 x 6912") !=
          NULL);
    CHECK(strstr(text.data, "\n#error") == NULL);
    CHECK(strstr(text.data,
                 "rsr::matvec<rsr::dot_product<rsr::BITS2, /* tokens */ 4>, /* rows */ 2560,\n"
                 "                /* cols */ 6912") != NULL);
    CHECK(strstr(text.data, "extern \"C\" __global__ void __launch_bounds__(256, 4)\n"
                            "rsr_l3_down_dot_sm_90_1(") != NULL);
    CHECK(strstr(text.data, "// Why: dot of 2-bit codes, 4.42 MB") != NULL);
    rsrc_buffer_free(&text);
}

/* A store that has one entry for every source. */
static bool get_entry(void *context, const char *compiler, const char *source,
                      struct rsrc_buffer *out) {
    const char *symbol = strstr(source, "\nrsr_");
    (void)compiler;
    if (symbol == NULL)
        return false;
    rsrc_buffer_printf(out, "//\n\n.version 8.5\n.target sm_80\n.address_size 64\n%s%.*s(\n",
                       (const char *)context, (int)strcspn(symbol + 1, "("), symbol + 1);
    return true;
}

/* A program that says that it is clang; it compiles nothing. */
static const char *fake_clang(struct fixture *f) {
    static const char SCRIPT[] = "#!/bin/sh\necho 19 1 7 >version.txt\n";
    const char *dir = NULL;
    CHECK(rsrc_scratch_dir(f->diag, &f->arena, "test-ptx", &dir) == RSRC_OK);
    CHECK(rsrc_write_file(f->diag, dir, "clang", SCRIPT, sizeof SCRIPT - 1) == RSRC_OK);
    const char *path = rsrc_arena_printf(&f->arena, "%s/clang", dir);
    CHECK_INT(chmod(path, 0755), 0);
    return path;
}

static void print_unit(struct fixture *f, const char *entry, struct rsrc_buffer *text) {
    struct rsr_regime_plan plan;
    const struct rsr_matvec matvec = plan_of(f, &H100, 7, 65, -1, &plan);
    const struct rsr_kernel kernels[] = {
        {.symbol = "rsr_l1_q_dot_sm_90", .title = "m: a", .reason = "r", .matvec = &matvec},
        {.symbol = "rsr_l11_q_dot_sm_90", .title = "m: b", .reason = "r", .matvec = &matvec}};
    const struct rsrc_spawn_options spawn = {.n_jobs = 1};
    const struct rsrc_ptx_store store = {(void *)(uintptr_t)entry, get_entry, NULL};
    const struct rsrc_ptx_options options = {.title = "m",
                                             .spec = &H100,
                                             .kind = RSR_UNIT_PTX,
                                             .cuda_path = "none",
                                             .cuda_cc = fake_clang(f),
                                             .spawn = &spawn,
                                             .store = &store};
    struct rsrc_ptx *ptx = NULL;
    CHECK(rsrc_ptx_open(f->diag, &f->arena, &options, kernels, 2, &ptx) == RSRC_OK);
    CHECK(rsrc_ptx_emit(ptx, kernels, 2, text) == RSRC_OK);
    rsrc_ptx_close(ptx);
}

/* Names that contain one another are not confused, equal plans share compiled code, and the text
 * states the version that it needs. */
static void test_joined_unit(struct fixture *f) {
    static const struct {
        const char *entry, *version;
    } CASES[] = {{".visible .entry ", ".version 7.8\n.target sm_90\n"},
                 {"used.new.word; .visible .entry ", ".version 8.5\n.target sm_90\n"}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct rsrc_buffer text = {0};
        print_unit(f, CASES[i].entry, &text);
        const char *first = strstr(text.data, ".visible .entry rsr_l1_q_dot_sm_90_1(");
        const char *second = strstr(text.data, ".visible .entry rsr_l11_q_dot_sm_90_1(");
        CHECK(first != NULL && second != NULL && first < second);
        CHECK(second != NULL && strstr(second, "rsr_l1_q") == NULL);
        CHECK(strstr(text.data, ".version") == strstr(text.data, CASES[i].version));
        rsrc_buffer_free(&text);
    }
}

/* The newest word decides; a word that the tables lack is no guess. */
static void test_versions(void) {
    static const struct {
        const char *text;
        uint32_t version;
    } CASES[] = {
        {"", 0},
        {"// wgmma\n.reg .b32 %r<3>;\n", 70},
        {"add.s32 %r1, %r2, 3;\n$L__BB0_2:\n@%p1 bra $L__BB0_2;", 70},
        {"{ // begin inline asm\ndp4a.u32.s32 %r1, %r2, %r3, %r4;\n}", 70},
        {"mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%r1, %r2, %r3, %r4}, {%r5, %r6, %r7, "
         "%r8}, {%r9, %r10}, {%r1, %r2, %r3, %r4};",
         70},
        {"st.global.v4.u32 [%rd1], {%r1, %r2, %r3, %r4}; ret;", 70},
        {"ld.param.v2.u32 {%r1, %r2}, [wgmma];", 70},
        {".shared .align 16 .b8 _ZZ3fooE6shared[99];", 70},
        {".pragma \"nounroll\";", 70},
        {".pragma \"used_bytes_mask 15\";", 83},
        {"ld.global.L1::no_allocate.u32 %r1, [%rd1];", 74},
        {"@%p1 ld.global.nc.L2::256B.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1+16];", 74},
        {"add.s32 %r1, %r2, 3; griddepcontrol.wait;", 78},
        {"griddepcontrol.wait;\nadd.f16x2 %r1, %r2, %r3;", 0},
        {"add.s32 %r1, %r2, %r3; wgmma.fence.sync.aligned;", 0},
        {"{wgmma.fence;}", 0},
        {"{ add.u32 %r1, %r1, 1; } wgmma.fence;", 0},
        {"a_word_that_is_longer_than_any_of_the_tables_has;", 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        CHECK_INT(rsrc_ptx_version_of_text(CASES[i].text), CASES[i].version);
    CHECK_INT(rsrc_ptx_version_of_target(80), 70);
    CHECK_INT(rsrc_ptx_version_of_target(120), 87);
    CHECK_INT(rsrc_ptx_version_of_target(129), 0);
}

static void test_every_place_is_named(struct fixture *f) {
    const char *places = NULL;
    setenv("CUDA_PATH", "/nowhere/one", 1);
    setenv("CUDA_HOME", "/nowhere/two", 1);
    CHECK(rsrc_nvrtc_open(&f->arena, "/nowhere/three", &places) == NULL);
    CHECK_STR(places, "/nowhere/three");
    struct rsrc_nvrtc *nvrtc = rsrc_nvrtc_open(&f->arena, NULL, &places);
    CHECK(strstr(places, "/nowhere/one, /nowhere/two") == places);
    if (nvrtc != NULL)
        rsrc_nvrtc_close(nvrtc);
}

int main(void) {
    struct fixture f;
    setup(&f);
    test_plans_cover_all(&f);
    test_entries(&f);
    test_choice_follows_the_machine(&f);
    test_refusals(&f);
    test_tiles(&f);
    test_packing(&f);
    test_cuda_text(&f);
    test_joined_unit(&f);
    test_versions();
    test_every_place_is_named(&f);
    teardown(&f);
    rsrc_remove_temporaries();
    return CHECK_EXIT();
}
