/* Opening a module: the chosen target, refusals, and information about the module. */
#include <stdlib.h>

#include "check.h"
#include "fake_module.h"

#define API (&rsr_runtime_api)

static rsr_status open_copy(const struct rsr_module *module, const struct rsr_target *target,
                            const char *forced, rsr_error *err) {
    struct rsr_module copy = *module;
    copy.targets = target;
    copy.n_targets = 1;
    rsr_open_options options = RSR_OPEN_OPTIONS_INIT;
    options.target = forced;
    rsr_model *model = NULL;
    rsr_status status = API->open(&copy, NULL, &options, &model, err);
    CHECK((status == RSR_OK) == (model != NULL));
    API->close(model);
    return status;
}

static void test_cpu_refusal(const struct fake_module *fake) {
    const struct rsr_module *module = &fake->module;
    struct rsr_target target = fake->target;
    rsr_error err = RSR_ERROR_INIT;
#if defined(__x86_64__)
    target.cpu_features = RSR_CPU_MASK(DOTPROD) | RSR_CPU_MASK(I8MM);
    CHECK_INT(open_copy(module, &target, NULL, &err), RSR_ERR_CPU);
    CHECK(strstr(err.message, "generic needs dotprod and i8mm") != NULL);
    CHECK(strstr(err.message, "--target native") != NULL);
    CHECK_INT(open_copy(module, &target, "generic", &err), RSR_ERR_CPU);
#endif
    target.cpu_features = UINT64_C(1) << 63; /* a feature of a later compiler */
    CHECK_INT(open_copy(module, &target, NULL, &err), RSR_ERR_CPU);
    CHECK(strstr(err.message, "unknown") != NULL);

    /* The target that runs is taken. */
    struct rsr_target pair[2] = {target, fake->target};
    pair[0].name = "future";
    struct rsr_module two = *module;
    two.targets = pair;
    two.n_targets = 2;
    rsr_model *model = NULL;
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    CHECK_INT(API->open(&two, NULL, NULL, &model, &err), RSR_OK);
    CHECK_INT(API->model_get_info(model, &info), RSR_OK);
    CHECK_STR(info.target, "generic");
    CHECK_STR(info.targets[0], "future");
    API->close(model);
    rsr_open_options options = RSR_OPEN_OPTIONS_INIT;
    options.target = "avx1024";
    CHECK_INT(API->open(&two, NULL, &options, &model, &err), RSR_ERR_ARGUMENT);
    CHECK(strstr(err.message, "future, generic") != NULL);
}

/* The engine uses the host's best float operations, even if the target needs no feature. */
static void test_float_operations(const struct fake_module *fake) {
    rsr_model *model = NULL;
    rsr_error err = RSR_ERROR_INIT;
    CHECK_INT(API->open(&fake->module, NULL, NULL, &model, &err), RSR_OK);
    CHECK(model->ops == rsr_ops_best(rsr_cpu_features()));
    API->close(model);
}

/* One number wrong in each table. */
/* Of the first kernel, 20 rows in 4 tiles: entries that are too few, and one of row 20. */
static const struct {
    uint32_t first[16];
    struct rsr_row_entry entries[20];
} row_maps[] = {{.first = {0, 5, 10, 15, 19}}, {{0, 5, 10, 15, 20}, {[19] = {.row = 20}}}};

/* A packed embedding and head, [vocab][hidden], in which rows 1 and 2 have exceptions; then with
 * every number of it wrong. */
static void test_broken_packed(const struct fake_module *fake) {
    static struct fake_module broken;
    const uint32_t rows = fake->shape.vocab, cols = fake->shape.hidden;
    const uint64_t n_bytes = rsr_packed_bytes(rows, cols, 3);
    uint8_t *bytes = aligned_alloc(64, (n_bytes + 127) / 64 * 64);
    uint32_t *header = (uint32_t *)(void *)bytes;
    uint32_t *ends = header + RSR_PACKED_HEADER_BYTES / sizeof(*header), *list = ends + rows;
    rsr_error err = RSR_ERROR_INIT;
#define EXPECT_PACKED(status, change)                                                              \
    do {                                                                                           \
        broken = *fake;                                                                            \
        broken.target.tensors = &broken.tensors;                                                   \
        memset(bytes, 0, n_bytes);                                                                 \
        header[0] = 3;                                                                             \
        for (uint32_t row = 0; row < rows; row++)                                                  \
            ends[row] = row == 0 ? 0 : row == 1 ? 1 : 3;                                           \
        list[0] = (cols - 1) << 8;                                                                 \
        list[1] = 0;                                                                               \
        list[2] = 1 << 8;                                                                          \
        broken.tensors.embedding.data = broken.tensors.head.data = bytes;                          \
        broken.tensors.embedding.dtype = broken.tensors.head.dtype = RSR_DTYPE_BF16_PACKED;        \
        change;                                                                                    \
        CHECK_INT(open_copy(&broken.module, &broken.target, NULL, &err), status);                  \
    } while (0)
    EXPECT_PACKED(RSR_OK, (void)0);
    EXPECT_PACKED(RSR_ERR_ABI, broken.tensors.embedding.data = bytes + 32);
    EXPECT_PACKED(RSR_ERR_ABI, broken.tensors.head.data = bytes + 32);
    EXPECT_PACKED(RSR_ERR_ABI, header[0] = 2);
    CHECK(strstr(err.message, "row 2 of the packed embedding has exceptions 1 to 3 of 2") != NULL);
    EXPECT_PACKED(RSR_ERR_ABI, header[0] = 4);
    CHECK(strstr(err.message, "the packed embedding has 3 exceptions, not 4") != NULL);
    EXPECT_PACKED(RSR_ERR_ABI, ends[0] = UINT32_MAX);
    EXPECT_PACKED(RSR_ERR_ABI, ends[2] = 0);
    EXPECT_PACKED(RSR_ERR_ABI, ends[rows - 1] = 4);
    EXPECT_PACKED(RSR_ERR_ABI, list[0] = cols << 8);
    CHECK(strstr(err.message, "row 1 of the packed embedding has an exception in column") != NULL);
    EXPECT_PACKED(RSR_ERR_ABI, list[2] = 0);
    EXPECT_PACKED(RSR_ERR_ABI, list[1] = 2 << 8);
    EXPECT_PACKED(RSR_ERR_ABI, broken.tensors.dense = &broken.tensors.head;
                  broken.tensors.n_dense = 1);
#undef EXPECT_PACKED
    free(bytes);
}

static void test_broken_tables(const struct fake_module *fake) {
    const struct rsr_module *module = &fake->module;
    static struct fake_module broken;
    static const float spreads[2][64] = {{1.0f, NAN}, {-1.0f}};
    rsr_error err = RSR_ERROR_INIT;
#define EXPECT_BROKEN(change)                                                                      \
    do {                                                                                           \
        broken = *fake;                                                                            \
        broken.steps[0].ops = broken.steps[1].ops = broken.ops;                                    \
        broken.steps[0].buffers = broken.steps[1].buffers = broken.buffers;                        \
        broken.target.steps = broken.steps;                                                        \
        broken.target.kernels = broken.kernels;                                                    \
        broken.target.tensors = &broken.tensors;                                                   \
        broken.tensors.norms = broken.norms;                                                       \
        broken.module = *module;                                                                   \
        change;                                                                                    \
        CHECK_INT(open_copy(&broken.module, &broken.target, NULL, &err), RSR_ERR_ABI);             \
    } while (0)
    EXPECT_BROKEN(broken.module.abi_version++);
    EXPECT_BROKEN(broken.module.size_bytes--);
    EXPECT_BROKEN(broken.module.size_kernel_desc--);
    EXPECT_BROKEN(broken.module.size_gpu_kernel--);
    EXPECT_BROKEN(broken.target.tensors = NULL);
    EXPECT_BROKEN(broken.module.hyper.n_layers = 0);
    EXPECT_BROKEN(broken.module.hyper.n_kv_heads = 3 + broken.module.hyper.n_heads);
    EXPECT_BROKEN(broken.module.hyper.context = 1u << 25);
    EXPECT_BROKEN(broken.module.hyper.activation = 9);
    EXPECT_BROKEN(broken.module.ropes = NULL);
    EXPECT_BROKEN(broken.module.n_ropes = 0);
    EXPECT_BROKEN(broken.module.hyper.pooling = RSR_POOLING_COUNT);
    EXPECT_BROKEN(broken.module.hyper.attention_scale = INFINITY);
    EXPECT_BROKEN(broken.tensors.embedding.rows++);
    EXPECT_BROKEN(broken.tensors.head.dtype = RSR_DTYPE_I8);
    EXPECT_BROKEN(broken.tensors.logit_spreads = spreads[0]);
    EXPECT_BROKEN(broken.tensors.logit_spreads = spreads[1]);
    test_broken_packed(fake);
    EXPECT_BROKEN(broken.target.n_kernels = 1);
    EXPECT_BROKEN(broken.target.n_steps = 1);
    EXPECT_BROKEN(broken.steps[1].min_tokens = 4);
    EXPECT_BROKEN(broken.kernels[0].n_streams = 0);
    EXPECT_BROKEN(broken.kernels[0].n_streams = 1000);
    EXPECT_BROKEN(broken.kernels[0].stream_bytes = UINT64_MAX);
    EXPECT_BROKEN(broken.kernels[0].tile_bytes = UINT64_MAX);
    EXPECT_BROKEN(broken.kernels[2].n_tiles = 1);
    EXPECT_BROKEN(broken.kernels[2].fn = NULL);
    EXPECT_BROKEN(broken.kernels[2].weights.n_scales = 2);
    EXPECT_BROKEN(broken.kernels[2].epilogue = RSR_EPILOGUE_RAW);
    EXPECT_BROKEN(broken.kernels[0].row_map = row_maps[0].first);
    EXPECT_BROKEN(broken.kernels[0].row_map = row_maps[1].first);
    EXPECT_BROKEN(broken.norms[1].weight = NULL);
    EXPECT_BROKEN(broken.norms[0].cols = 4096);
    EXPECT_BROKEN(broken.buffers[1].row_bytes = 100);
    EXPECT_BROKEN(broken.buffers[1].offset = UINT64_MAX - 63);
    EXPECT_BROKEN(broken.ops[0].kind = RSR_OP_KIND_COUNT);
    EXPECT_BROKEN(broken.ops[0].dst = FAKE_BUFFERS);
    EXPECT_BROKEN(broken.ops[3].src[0] = RSR_NO_BUFFER);
    EXPECT_BROKEN(broken.ops[4].arg = 1000);
    EXPECT_BROKEN(broken.ops[7].block = 2);
    /* Wrong numbers in operations that the fake model's steps lack: op 0 becomes such an
     * operation. */
    EXPECT_BROKEN(broken.ops[1].arg = 1); /* rope_table */
    EXPECT_BROKEN(broken.ops[7].arg = 0); /* norms of heads, as wide as x */
    EXPECT_BROKEN(broken.ops[7].arg = broken.tensors.n_norms - 1); /* no second one */
    EXPECT_BROKEN(broken.ops[0].kind = RSR_OP_DENSE; broken.ops[0].src[0] = FAKE_X);
    EXPECT_BROKEN(broken.ops[0].kind = RSR_OP_OUTPUT);
    EXPECT_BROKEN(broken.ops[0].kind = RSR_OP_PAD; broken.ops[0].dst = RSR_NO_BUFFER);
    EXPECT_BROKEN(broken.ops[0].kind = RSR_OP_HEAD; broken.ops[0].arg = 0; /* no head's shape */
                  broken.ops[0].src[0] = FAKE_ACT);
    EXPECT_BROKEN(broken.tensors.head.data = NULL);                /* and a step that reads it */
    EXPECT_BROKEN(broken.module.hyper.pooling = RSR_POOLING_MEAN); /* logits in its place */
    EXPECT_BROKEN(broken.ops[0].kind = RSR_OP_OUTPUT; broken.ops[0].src[0] = FAKE_X);
    static const struct rsr_rotation rotations[] = {
        {NULL, 16, 8}, {NULL, 16, 0},      {NULL, 18, 6}, {NULL, 12, 8}, {NULL, 1u << 17, 1u << 17},
        {NULL, 0, 8},  {NULL, 1u << 20, 8}};
    for (size_t i = 1; i < 6; i++)
        EXPECT_BROKEN(broken.module.rotations = &rotations[i]; broken.module.n_rotations = 1);
    EXPECT_BROKEN(broken.module.n_rotations = 1);
    EXPECT_BROKEN(broken.ops[0].kind = RSR_OP_UNROTATE);
    EXPECT_BROKEN(broken.ops[0].kind = RSR_OP_UNROTATE; broken.module.rotations = &rotations[6];
                  broken.module.n_rotations = 1); /* wider than x */
    EXPECT_BROKEN(broken.ops[0].kind = RSR_OP_ROTATE; broken.ops[0].src[0] = FAKE_X;
                  broken.module.rotations = &rotations[0]; broken.module.n_rotations = 1);
    EXPECT_BROKEN(broken.tensors.norms = NULL);
    EXPECT_BROKEN(broken.tensors.n_dense = 1);
    EXPECT_BROKEN(broken.module.stop_tokens = NULL; broken.module.n_stop_tokens = 1);
    struct rsr_matrix_data dense = fake->tensors.head;
    EXPECT_BROKEN(dense.rows = 0; broken.tensors.dense = &dense; broken.tensors.n_dense = 1);
    dense.rows = 1u << 30;
    EXPECT_BROKEN(broken.tensors.dense = &dense; broken.tensors.n_dense = 1);
    const struct rsr_sampling_advice hot = {INFINITY, 0, 1, 0, 1};
    EXPECT_BROKEN(broken.module.sampling = &hot);
#undef EXPECT_BROKEN
    CHECK_INT(open_copy(module, &fake->target, NULL, &err), RSR_OK);
}

static void test_info(const struct fake_module *fake, const rsr_model *model) {
    const struct fake_shape *s = &fake->shape;
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    CHECK_INT(API->model_get_info(model, &info), RSR_OK);
    CHECK_STR(info.name, "fake");
    CHECK_INT(info.vocab, s->vocab);
    uint64_t linear = 0;
    for (uint32_t i = 0; i < s->n_layers * FAKE_KERNELS; i++)
        linear += fake->kernels[i].weight_bytes;
    const uint64_t row = s->hidden * 2;
    CHECK_INT(info.weight_bytes, linear + s->vocab * row); /* tied: the head counts once */
    CHECK_INT(info.token_bytes, linear + s->vocab * row + row);
    CHECK(info.pages != NULL && info.pages[0] != '\0');
    CHECK_INT(info.kv_page_tokens, 64);
    CHECK_INT(info.kv_token_bytes, s->n_layers * s->n_kv_heads * 2 * 16 * 2); /* bf16, rows of 16 */

    struct {
        uint32_t size_bytes;
        const char *name;
        uint64_t canary;
    } old = {16, NULL, 42};
    CHECK_INT(API->model_get_info(model, (rsr_model_info *)(void *)&old), RSR_OK);
    CHECK_STR(old.name, "fake"); /* a caller with a shorter struct gets what fits */
    CHECK_INT(old.canary, 42);
    CHECK_INT(old.size_bytes, 16);

    rsr_kernel_info kernel = RSR_KERNEL_INFO_INIT;
    CHECK_INT(API->model_get_kernel(model, 4, &kernel), RSR_OK);
    CHECK_STR(kernel.role, "gate");
    CHECK_INT(kernel.rows, s->ffn);
    CHECK_INT(API->model_get_kernel(model, s->n_layers * FAKE_KERNELS, &kernel), RSR_ERR_ARGUMENT);
}

/* The checkpoint's sampling settings, ready for rsr_generate; the penalty counts every token. */
static void test_sampling(const struct fake_module *fake, const rsr_model *silent) {
    static const struct rsr_sampling_advice advice = {0.5f, 20, 0.75f, 0.25f, 1.25f};
    struct rsr_module module = fake->module;
    rsr_model *model = NULL;
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    CHECK_INT(API->model_get_info(silent, &info), RSR_OK);
    CHECK(info.sampling == NULL);
    module.sampling = &advice;
    CHECK_INT(API->open(&module, NULL, NULL, &model, NULL), RSR_OK);
    CHECK_INT(API->model_get_info(model, &info), RSR_OK);
    const rsr_sampling *s = info.sampling;
    CHECK(s->temperature == 0.5f && s->top_k == 20 && s->top_p == 0.75f && s->min_p == 0.25f);
    CHECK(s->repeat_penalty == 1.25f && s->repeat_window == UINT32_MAX && s->seed == 0);
    CHECK_INT(s->size_bytes, sizeof(*s));
    API->close(model);
}

/* The chat template, and what the compiler found out about it. */
static void test_chat_problem(const struct fake_module *fake, const rsr_model *silent) {
    struct rsr_module module = fake->module;
    rsr_model *model = NULL;
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    CHECK_INT(API->model_get_info(silent, &info), RSR_OK);
    CHECK(info.chat_problem == NULL && info.chat_template == NULL);
    module.chat_template =
        "{{ messages | length }}"; /* this template would render, but it is not tried again */
    module.chat_problem = "the chat template is odd";
    CHECK_INT(API->open(&module, NULL, NULL, &model, NULL), RSR_OK);
    CHECK_INT(API->model_get_info(model, &info), RSR_OK);
    CHECK_STR(info.chat_problem, module.chat_problem);
    CHECK_STR(info.chat_template, module.chat_template);
    API->close(model);
}

int main(void) {
    static struct fake_module fake;
    const struct fake_shape shape = {.hidden = 36,
                                     .n_layers = 2,
                                     .n_heads = 4,
                                     .n_kv_heads = 2,
                                     .head_dim = 12,
                                     .ffn = 52,
                                     .vocab = 70,
                                     .context = 256,
                                     .head_dtype = RSR_DTYPE_BF16};
    fake_module_init(&fake, &shape, 3);
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    test_float_operations(&fake);
    test_cpu_refusal(&fake);
    test_broken_tables(&fake);
    test_info(&fake, model);
    test_sampling(&fake, model);
    test_chat_problem(&fake, model);
    API->close(model);
    return CHECK_EXIT();
}
