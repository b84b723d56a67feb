/* Tests of the loader on modules with GPUs: what it refuses in their tables, and what a module for
 * GPUs alone can do. */
#include "fake_module.h"

#define API (&rsr_runtime_api)
#define N_KERNELS (2 * FAKE_KERNELS)

static const char CUBIN[] = "\177ELF of a device";
static const char PTX[] = ".version 7.0";

/* The fake module's kernels as those of a GPU, with its steps. */
struct fake_gpu {
    struct rsr_gpu_target gpu; /* module.gpus == &gpu */
    struct rsr_gpu_image images[2];
    struct rsr_gpu_image operation_images[1];
    struct rsr_gpu_entry quantize, entries[N_KERNELS][2], operations[RSR_GPU_OPERATIONS];
    struct rsr_gpu_kernel kernels[N_KERNELS];
    struct rsr_gpu_entry group_entry;
    struct rsr_gpu_group groups[1];
    struct rsr_step_op ops[2][FAKE_MAX_OPS];
    struct rsr_step_table steps[2];
    struct rsr_tensors tensors;
    struct rsr_module module;
};

static void fill_kernel(const struct rsr_kernel_desc *cpu, struct rsr_gpu_entry entries[2],
                        struct rsr_gpu_kernel *kernel) {
    for (uint32_t e = 0; e < 2; e++)
        entries[e] = (struct rsr_gpu_entry){.symbol = "fake",
                                            .call = RSR_GPU_CALL_LINEAR,
                                            .min_tokens = e == 0 ? 1 : 5,
                                            .max_tokens = e == 0 ? 4 : UINT32_MAX,
                                            .blocks = 3,
                                            .threads = 64,
                                            .token_tile = 4};
    *kernel = (struct rsr_gpu_kernel){.name = cpu->name,
                                      .variant = "bits2",
                                      .reason = cpu->reason,
                                      .weights = {.codes = cpu->weights.codes,
                                                  .scale = cpu->weights.scale,
                                                  .n_scales = cpu->weights.n_scales},
                                      .codes_bytes = (uint64_t)cpu->rows * cpu->cols,
                                      .entries = entries,
                                      .n_entries = 2,
                                      .rows = cpu->rows,
                                      .cols = cpu->cols,
                                      .epilogue = cpu->epilogue,
                                      .block = cpu->block,
                                      .role = cpu->role};
}

static void link_tables(const struct fake_module *fake, struct fake_gpu *g) {
    for (uint32_t k = 0; k < N_KERNELS; k++)
        g->kernels[k].entries = g->entries[k];
    for (uint32_t s = 0; s < 2; s++)
        g->steps[s].ops = g->ops[s];
    g->gpu.images = g->images;
    g->gpu.kernels = g->kernels;
    g->gpu.steps = g->steps;
    g->gpu.tensors = &g->tensors;
    g->gpu.quantize = &g->quantize;
    g->gpu.operation_images = g->operation_images;
    g->gpu.operations = g->operations;
    g->groups[0].entries = &g->group_entry;
    g->gpu.groups = g->groups;
    g->module = fake->module;
    g->module.gpus = &g->gpu;
    g->module.n_gpus = 1;
}

static void make_gpu(const struct fake_module *fake, struct fake_gpu *g) {
    for (uint32_t k = 0; k < N_KERNELS; k++)
        fill_kernel(&fake->kernels[k], g->entries[k], &g->kernels[k]);
    g->images[0] = (struct rsr_gpu_image){CUBIN, sizeof(CUBIN), RSR_GPU_IMAGE_CUBIN, 90};
    g->images[1] = (struct rsr_gpu_image){PTX, sizeof(PTX), RSR_GPU_IMAGE_PTX, 90};
    for (uint32_t s = 0; s < 2; s++) {
        g->steps[s] = fake->steps[s];
        memcpy(g->ops[s], fake->ops, sizeof(fake->ops));
    }
    g->tensors = fake->tensors;
    g->quantize = (struct rsr_gpu_entry){.symbol = "quantize",
                                         .call = RSR_GPU_CALL_QUANTIZE,
                                         .min_tokens = 1,
                                         .max_tokens = UINT32_MAX,
                                         .threads = 256,
                                         .token_tile = 1};
    g->operation_images[0] = g->images[1];
    for (uint32_t i = 0; i < RSR_GPU_OPERATIONS; i++) {
        g->operations[i] = g->quantize;
        g->operations[i].call = RSR_GPU_FIRST_OPERATION + i;
    }
    g->gpu = (struct rsr_gpu_target){.name = "sm_90",
                                     .sm = 90,
                                     .n_images = 2,
                                     .n_kernels = N_KERNELS,
                                     .n_steps = 2,
                                     .n_operation_images = 1,
                                     .n_operations = RSR_GPU_OPERATIONS,
                                     .n_groups = 1};
    g->group_entry = g->quantize;
    g->group_entry.call = RSR_GPU_CALL_PRODUCTS;
    g->groups[0] = (struct rsr_gpu_group){.n_entries = 1, .block_rows = 16};
    g->kernels[0].group = 1;
    link_tables(fake, g);
}

static rsr_status open_gpu(const struct rsr_module *module, const char *target, rsr_model **model,
                           rsr_error *err) {
    rsr_open_options options = RSR_OPEN_OPTIONS_INIT;
    options.target = target;
    *model = NULL;
    const rsr_status status = API->open(module, NULL, &options, model, err);
    CHECK((status == RSR_OK) == (*model != NULL));
    return status;
}

/* One number wrong in each table. */
static void test_broken(const struct fake_module *fake, const struct fake_gpu *good) {
    static struct fake_gpu g;
    rsr_error err = RSR_ERROR_INIT;
    rsr_model *model = NULL;
#define EXPECT_BROKEN(change)                                                                      \
    do {                                                                                           \
        g = *good;                                                                                 \
        link_tables(fake, &g);                                                                     \
        change;                                                                                    \
        CHECK_INT(open_gpu(&g.module, NULL, &model, &err), RSR_ERR_ABI);                           \
        CHECK(strstr(err.message, "broken") != NULL);                                              \
    } while (0)
    EXPECT_BROKEN(g.module.gpus = NULL);
    EXPECT_BROKEN(g.gpu.name = NULL);
    EXPECT_BROKEN(g.gpu.sm = 0);
    EXPECT_BROKEN(g.gpu.sm = UINT32_MAX);
    EXPECT_BROKEN(g.gpu.tensors = NULL);
    EXPECT_BROKEN(g.tensors.norms = NULL);
    EXPECT_BROKEN(g.gpu.images = NULL);
    EXPECT_BROKEN(g.gpu.n_images = 0);
    EXPECT_BROKEN(g.images[0].bytes = NULL);
    EXPECT_BROKEN(g.images[0].size_bytes = 3);
    EXPECT_BROKEN(g.images[0].sm = 100);
    EXPECT_BROKEN(g.images[0].bytes = PTX);
    EXPECT_BROKEN(g.images[1].kind = RSR_GPU_IMAGE_KIND_COUNT);
    EXPECT_BROKEN(g.images[1].size_bytes--); /* its NUL */
    EXPECT_BROKEN(g.gpu.operation_images = NULL);
    EXPECT_BROKEN(g.gpu.n_operation_images = 0);
    EXPECT_BROKEN(g.operation_images[0].sm = 100);
    EXPECT_BROKEN(g.gpu.operations = NULL);
    EXPECT_BROKEN(g.gpu.n_operations--);
    EXPECT_BROKEN(g.gpu.groups = NULL);
    EXPECT_BROKEN(g.groups[0].entries = NULL);
    EXPECT_BROKEN(g.groups[0].n_entries = 0);
    EXPECT_BROKEN(g.groups[0].block_rows = 0);
    EXPECT_BROKEN(g.groups[0].layout = 1);
    EXPECT_BROKEN(g.group_entry.call = RSR_GPU_CALL_LINEAR);
    EXPECT_BROKEN(g.group_entry.blocks = 1);
    EXPECT_BROKEN(g.group_entry.max_tokens--);
    EXPECT_BROKEN(g.kernels[0].group = 2);
    EXPECT_BROKEN(g.operations[2].call++);
    EXPECT_BROKEN(g.operations[2].threads = 33);
    EXPECT_BROKEN(g.gpu.kernels = NULL);
    EXPECT_BROKEN(g.gpu.n_kernels = 1); /* a step names others */
    EXPECT_BROKEN(g.kernels[3].name = NULL);
    EXPECT_BROKEN(g.kernels[3].role = RSR_ROLE_COUNT);
    EXPECT_BROKEN(g.kernels[3].rows = 0);
    EXPECT_BROKEN(g.kernels[3].cols = UINT32_MAX);
    EXPECT_BROKEN(g.kernels[3].rows += 64); /* more than its step's buffer holds */
    EXPECT_BROKEN(g.kernels[3].codes_bytes /= 6);
    EXPECT_BROKEN(g.kernels[3].weights.codes = NULL);
    EXPECT_BROKEN(g.kernels[3].weights.scale = NULL);
    EXPECT_BROKEN(g.kernels[3].weights.n_scales = 2);
    EXPECT_BROKEN(g.kernels[3].index_bytes = 1);
    EXPECT_BROKEN(g.kernels[3].epilogue = RSR_EPILOGUE_RAW);
    EXPECT_BROKEN(g.kernels[3].entries = NULL);
    EXPECT_BROKEN(g.kernels[3].n_entries = 0);
    EXPECT_BROKEN(g.kernels[3].n_entries = 1);
    EXPECT_BROKEN(g.entries[3][0].symbol = NULL);
    EXPECT_BROKEN(g.entries[3][0].call = RSR_GPU_CALL_COUNT);
    EXPECT_BROKEN(g.entries[3][0].blocks = 0);
    EXPECT_BROKEN(g.entries[3][0].blocks = UINT32_MAX);
    EXPECT_BROKEN(g.entries[3][0].threads = 33);
    EXPECT_BROKEN(g.entries[3][0].threads = 2048);
    EXPECT_BROKEN(g.entries[3][0].shared_bytes = 1u << 20);
    EXPECT_BROKEN(g.entries[3][0].token_tile = 0);
    EXPECT_BROKEN(g.entries[3][0].max_tokens = 3);
    EXPECT_BROKEN(g.entries[3][1].min_tokens = 4);
    EXPECT_BROKEN(g.entries[3][0].call = RSR_GPU_CALL_QUANTIZE);
    EXPECT_BROKEN(g.gpu.quantize = NULL);
    EXPECT_BROKEN(g.quantize.call = RSR_GPU_CALL_LINEAR);
    EXPECT_BROKEN(g.quantize.min_tokens = 2);
    EXPECT_BROKEN(g.quantize.blocks = 1);
    EXPECT_BROKEN(g.quantize.threads = 0);
    EXPECT_BROKEN(g.gpu.steps = NULL);
    EXPECT_BROKEN(g.gpu.n_steps = 1);
    EXPECT_BROKEN(g.ops[0][3].arg = N_KERNELS; g.ops[0][3].kind = RSR_OP_LINEAR);
#undef EXPECT_BROKEN
}

static void test_without_cpu(const struct fake_gpu *g) {
    struct rsr_module module = g->module;
    rsr_error err = RSR_ERROR_INIT;
    rsr_model *model = NULL;
    rsr_engine *engine = NULL;
    module.n_targets = 0;
    module.targets = NULL;
    CHECK_INT(open_gpu(&module, NULL, &model, &err), RSR_OK);
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    CHECK_INT(API->model_get_info(model, &info), RSR_OK);
    CHECK_INT(info.n_targets, 0);
    CHECK_STR(info.target, "");
    rsr_kernel_info kernel = RSR_KERNEL_INFO_INIT;
    CHECK_INT(API->model_get_kernel(model, 0, &kernel), RSR_ERR_ARGUMENT);
    CHECK_INT(API->engine_create(model, NULL, &engine, &err), RSR_ERR_CPU);
    CHECK_STR(err.message, "the module is for GPUs alone (sm_90): name the device, such as cuda:0, "
                           "or compile with --target=native,sm_90");
    API->close(model);
    CHECK_INT(open_gpu(&module, "sm_90", &model, &err), RSR_ERR_CPU);
    CHECK_INT(open_gpu(&module, "avx2", &model, &err), RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "it has sm_90") != NULL);
    module.n_gpus = 0;
    CHECK_INT(open_gpu(&module, NULL, &model, &err), RSR_ERR_ABI);
    CHECK_STR(err.message, "the module has no target");
}

/* The CPU's target runs as if there were no GPU. */
static void test_with_cpu(const struct fake_gpu *g) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_model *model = NULL;
    rsr_engine *engine = NULL;
    CHECK_INT(open_gpu(&g->module, "sm_90", &model, &err), RSR_ERR_CPU);
    CHECK_STR(err.message, "target sm_90 is a GPU: name the device instead, such as cuda:0");
    CHECK_INT(open_gpu(&g->module, NULL, &model, &err), RSR_OK);
    CHECK_INT(API->engine_create(model, NULL, &engine, &err), RSR_OK);
    API->engine_destroy(engine);
    API->close(model);
}

int main(void) {
    static struct fake_module fake;
    static struct fake_gpu gpu;
    const struct fake_shape shape = fake_small_shape(50, 64);
    fake_module_init(&fake, &shape, 3);
    make_gpu(&fake, &gpu);
    test_with_cpu(&gpu);
    test_without_cpu(&gpu);
    test_broken(&fake, &gpu);
    return CHECK_EXIT();
}
