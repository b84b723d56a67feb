/* test_ptx.c - plans of GPU layers, the CUDA C++ printed for them, packed codes, and what is
 * refused. */
#include <stdlib.h>

#include "check.h"
#include "diag_fixture.h"
#include "emit/llvm/nvptx.h"
#include "emit/ptx/cuda_unit.h"
#include "emit/ptx/emit_ptx.h"
#include "emit/ptx/nvrtc.h"
#include "kernels/gpu/gpu.h"

static const struct rsr_spec H100 = {.name = "sm_90",
                                     .triple = "nvptx64-nvidia-cuda",
                                     .cpu = "sm_90",
                                     .gpu = {90, 132, 1.755, 3350, 2}};
static const struct rsr_spec RTX_3090 = {.name = "sm_86",
                                         .triple = "nvptx64-nvidia-cuda",
                                         .cpu = "sm_86",
                                         .gpu = {86, 82, 1.7, 936, 2.5}};

static struct rsr_gpu_plan plan_of(struct fixture *f, const struct rsr_spec *spec, uint32_t rows,
                                   uint32_t cols, int codes) {
    const struct rsrc_gpu_layer layer = {"layer", rows,         cols, 1, RSR_EPILOGUE_SCALE,
                                         codes,   RSR_INPUT_I8, 0};
    struct rsr_gpu_plan plan = {0};
    CHECK(rsrc_plan_gpu_layer(f->diag, &f->arena, &layer, spec, &plan) == RSRC_OK);
    return plan;
}

/* Every shape: the work is shared out completely, and a block's memory suffices. */
static void test_plans_cover_all(struct fixture *f) {
    static const uint32_t SIZES[] = {1, 2, 31, 64, 640, 641, 2560, 6912, 14336, 23040, 46080};
    const uint32_t n = sizeof SIZES / sizeof *SIZES;
    for (uint32_t i = 0; i < n * n * 2; i++) {
        const uint32_t rows = SIZES[i % n], cols = SIZES[i / n % n];
        const struct rsr_gpu_plan plan = plan_of(f, &H100, rows, cols, (int)(i / (n * n)));
        const uint32_t step_cols = plan.codes == RSR_GPU_BITS2 ? 512 : 640;
        CHECK((uint64_t)plan.steps * step_cols >= cols && (plan.steps - 1) * step_cols < cols);
        CHECK((uint64_t)plan.blocks * plan.row_warps * RSR_GPU_ROWS_PER_WARP >= rows);
        CHECK((plan.blocks - 1) * plan.row_warps * RSR_GPU_ROWS_PER_WARP < rows);
        CHECK(plan.col_warps >= 1 && plan.col_warps <= plan.steps &&
              rsrc_gpu_threads(&plan) <= 256);
        CHECK(plan.ahead >= 1 && plan.ahead <= 6);
        CHECK(plan.token_tile >= 1 && plan.token_tile * plan.steps * step_cols <= 47u << 10);
        CHECK_INT(plan.weight_bytes, (uint64_t)((rows + 3) / 4) * plan.steps * 512);
        CHECK(plan.predicted_us > H100.gpu.launch_us && plan.reason != NULL &&
              *plan.reason != '\0');
    }
}

static void test_choice_follows_the_machine(struct fixture *f) {
    CHECK_INT(plan_of(f, &H100, 2560, 2560, -1).codes, RSR_GPU_BITS2);
    const struct rsr_gpu_plan plan = plan_of(f, &RTX_3090, 2560, 2560, -1);
    CHECK_INT(plan.codes, RSR_GPU_BASE3);
    /* 2560 * 2560 / 4 * 6 instructions at half of 64 * 82 * 1.7e9 a second, and a launch. */
    CHECK(plan.predicted_us > 2.5 + 2.20 && plan.predicted_us < 2.5 + 2.21);
    CHECK_INT(plan_of(f, &RTX_3090, 2560, 2560, RSR_GPU_BITS2).codes, RSR_GPU_BITS2);
    const struct rsrc_gpu_layer wide = {.name = "wide",
                                        .rows = 1,
                                        .cols = RSRC_GPU_MAX_COLS + 1,
                                        .n_scales = 1,
                                        .forced_codes = -1};
    struct rsr_gpu_plan none;
    CHECK(rsrc_plan_gpu_layer(f->diag, &f->arena, &wide, &H100, &none) == RSRC_FAILED);
    CHECK(strstr(f->text, "[gpu-cols]") != NULL);
}

/* What the kernel does not do would be computed in another way without a word. */
static void test_refusals(struct fixture *f) {
    struct rsrc_gpu_layer layer = {"q", 64, 256, 128, RSR_EPILOGUE_SCALE, -1, RSR_INPUT_I8, 128};
    struct rsr_gpu_plan none;
    CHECK(rsrc_plan_gpu_layer(f->diag, &f->arena, &layer, &H100, &none) == RSRC_FAILED);
    CHECK(strstr(f->text, "a scale for every 128 columns of a row is not supported with int8 "
                          "activations [plan-groups]") != NULL);
    layer.input = RSR_INPUT_F32;
    CHECK(rsrc_plan_gpu_layer(f->diag, &f->arena, &layer, &H100, &none) == RSRC_FAILED);
    CHECK(strstr(f->text, "not floats [gpu-input]") != NULL);
}

/* One row of weights, by hand: bytes of the first load. */
static void test_packing(struct fixture *f) {
    int8_t values[16] = {1, -1, -1, -1, 0, -1, -1, -1, -1, -1, -1, -1, 1, -1, -1, -1};
    const struct rsr_matrix matrix = {.rows = 1, .cols = 16, .values = values};
    uint8_t codes[512];
    const struct rsr_gpu_plan bits2 = plan_of(f, &H100, 1, 16, RSR_GPU_BITS2);
    CHECK_INT(bits2.weight_bytes, 512);
    rsrc_pack_gpu(&matrix, &bits2, codes);
    CHECK_INT(codes[0], 2 | 1 << 2 | 0 << 4 | 2 << 6); /* columns 0, 4, 8, 12 */
    CHECK_INT(codes[1], 0);
    const struct rsr_gpu_plan base3 = plan_of(f, &H100, 1, 16, RSR_GPU_BASE3);
    rsrc_pack_gpu(&matrix, &base3, codes);
    const uint32_t v =
        2 * 81 + 1 * 27 + 0 * 9 + 2 * 3; /* the fifth is column 128, which is not there */
    CHECK_INT(codes[0], (v * 256 + 242) / 243);
    for (uint32_t i = 1; i < 512; i++)
        CHECK(codes[i] == 0);
}

static void test_cuda_text(struct fixture *f) {
    const struct rsr_gpu_plan plan = plan_of(f, &H100, 2560, 6912, RSR_GPU_BITS2);
    const struct rsr_gpu_kernel kernel = {"rsr_l3_down_bits2_sm_90",
                                          "model\n#error: model.layers.3.mlp.down_proj", &plan};
    struct rsrc_buffer text = {0};
    rsrc_print_cuda_unit(&kernel, 1, &text);
    CHECK(strstr(text.data, "// model<0a>#error: model.layers.3.mlp.down_proj: 2560 x 6912") !=
          NULL);
    CHECK(strstr(text.data, "\n#error") == NULL);
    CHECK(strstr(text.data, "rsr::matvec<rsr::BITS2, /* rows */ 2560, /* cols */ 6912") != NULL);
    CHECK(strstr(text.data, "extern \"C\" __global__ void __launch_bounds__(256, 1)\n"
                            "rsr_l3_down_bits2_sm_90(") != NULL);
    CHECK(strstr(text.data, "// Why: asked for bits2: 4.59 MB") != NULL);
    rsrc_buffer_free(&text);
}

/* Names that contain one another are kept apart, and equal plans share what was compiled. */
static void test_llvm_unit(struct fixture *f) {
    const struct rsr_gpu_plan plan = plan_of(f, &H100, 7, 65, -1);
    const struct rsr_gpu_kernel kernels[] = {{"rsr_l1_q_bits2_sm_90", "m: a", &plan},
                                             {"rsr_l11_q_bits2_sm_90", "m: b", &plan}};
    const struct rsrc_ptx_options options = {"m", &H100, RSR_UNIT_PTX, "none"};
    struct rsrc_ptx *ptx = NULL;
    struct rsrc_buffer text = {0};
    CHECK(rsrc_ptx_open(f->diag, &f->arena, &options, &ptx) == RSRC_OK);
    CHECK(rsrc_ptx_emit(ptx, kernels, 2, &text) == RSRC_OK);
    rsrc_ptx_close(ptx);
    const char *first = strstr(text.data, ".visible .entry rsr_l1_q_bits2_sm_90(");
    const char *second = strstr(text.data, ".visible .entry rsr_l11_q_bits2_sm_90(");
    CHECK(first != NULL && second != NULL && first < second);
    CHECK(second != NULL && strstr(second, "rsr_l1_q") == NULL);
    CHECK(strstr(text.data, ".version") == strstr(text.data, ".version 7.8"));
    rsrc_buffer_free(&text);
    CHECK(rsrc_nvptx_knows("sm_80") && !rsrc_nvptx_knows("sm_100") && !rsrc_nvptx_knows("x"));
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
    test_choice_follows_the_machine(&f);
    test_refusals(&f);
    test_packing(&f);
    test_cuda_text(&f);
    test_llvm_unit(&f);
    test_every_place_is_named(&f);
    teardown(&f);
    return CHECK_EXIT();
}
