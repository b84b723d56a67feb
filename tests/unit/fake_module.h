/* fake_module.h - a small module built by hand, for tests of the engine: tables as the compiler
 * would emit them, random weights, and a plain kernel. Weights lie in one static pool, so that they
 * are in a loaded segment as a real module's are. */
#ifndef TESTS_UNIT_FAKE_MODULE_H
#define TESTS_UNIT_FAKE_MODULE_H

#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "ops_here.h"
#include "runtime.h"

#define FAKE_MAX_LAYERS 3
#define FAKE_KERNELS 7 /* a block's, in the order of the roles Q .. DOWN */
#define FAKE_NORMS 4   /* a block's: input, attention sub, post, ffn sub */
#define FAKE_MAX_OPS 64
#define FAKE_TILE_ROWS 5

enum fake_buffer {
    FAKE_X,
    FAKE_NORMED,
    FAKE_ACT,
    FAKE_Q,
    FAKE_K,
    FAKE_V,
    FAKE_ATTENDED,
    FAKE_PROJECTED,
    FAKE_GATE,
    FAKE_UP,
    FAKE_ROPE,
    FAKE_BUFFERS
};

struct fake_shape {
    uint32_t hidden, n_layers, n_heads, n_kv_heads, head_dim, ffn, vocab, context;
    enum rsr_activation activation;
    enum rsr_dtype head_dtype;
    bool sub_norms;
    float sharpness; /* factor of the attention scale; 0: 1 */
};

#define FAKE_SMALL_HIDDEN 20

/* Two small layers with an embedding of float32, for tests of code around the layers. */
static inline struct fake_shape fake_small_shape(uint32_t vocab, uint32_t context) {
    return (struct fake_shape){.hidden = FAKE_SMALL_HIDDEN,
                               .n_layers = 2,
                               .n_heads = 4,
                               .n_kv_heads = 2,
                               .head_dim = 4,
                               .ffn = 8,
                               .vocab = vocab,
                               .context = context,
                               .head_dtype = RSR_DTYPE_F32};
}

/* One layer with an embedding of bfloat16, for tests of code that uses logits. */
static inline struct fake_shape fake_text_shape(uint32_t vocab, uint32_t context) {
    return (struct fake_shape){.hidden = 50,
                               .n_layers = 1,
                               .n_heads = 2,
                               .n_kv_heads = 1,
                               .head_dim = 16,
                               .ffn = 64,
                               .vocab = vocab,
                               .context = context,
                               .activation = RSR_ACTIVATION_SILU,
                               .head_dtype = RSR_DTYPE_BF16};
}

struct fake_module {
    struct rsr_module module; /* module.targets == &target */
    struct rsr_target target; /* target.tensors == &tensors */
    struct rsr_tensors tensors;
    struct rsr_kernel_desc kernels[FAKE_MAX_LAYERS * FAKE_KERNELS];
    struct rsr_norm norms[FAKE_MAX_LAYERS * FAKE_NORMS + 1];
    struct rsr_buffer buffers[FAKE_BUFFERS];
    struct rsr_step_op ops[FAKE_MAX_OPS];
    struct rsr_step_table steps[2];
    float inv_freq[256];
    struct rsr_rope rope;
    struct fake_shape shape;
};

static _Alignas(64) char fake_pool[4 << 20];
static size_t fake_pool_used;

static inline void *fake_alloc(size_t bytes) {
    size_t at = (fake_pool_used + 63) & ~(size_t)63;
    if (bytes > sizeof(fake_pool) - at)
        abort();
    fake_pool_used = at + bytes;
    return fake_pool + at;
}

static inline float fake_float(uint64_t *state, float range) {
    return ((float)(check_random(state) >> 40) / 8388608.0f - 1.0f) * range;
}

/* y = acc * (x.scale * scale), where a plain loop sums the integers to acc. */
static inline void fake_kernel(const void *x, size_t ldx, void *y, size_t ldy, uint32_t n_tokens,
                               const struct rsr_weights *weights, const struct rsr_worker *worker,
                               void *scratch) {
    const uint32_t *shape = weights->index; /* rows, cols */
    memset(scratch, worker->index & 0xff, 128);
    for (uint32_t t = 0; t < n_tokens; t++) {
        const struct rsr_act_row *act = (const void *)((const char *)x + t * ldx);
        const int8_t *q = (const int8_t *)act + RSR_ACT_HEADER;
        for (uint32_t r = worker->tile_begin * FAKE_TILE_ROWS;
             r < worker->tile_end * FAKE_TILE_ROWS && r < shape[0]; r++) {
            const int8_t *w = (const int8_t *)weights->codes + (size_t)r * shape[1];
            int32_t acc = 0;
            for (uint32_t c = 0; c < shape[1]; c++)
                acc += w[c] * q[c];
            ((float *)y)[t * ldy + r] = (float)acc * (act->scale * weights->scale[0]);
        }
    }
}

static inline void fake_fill_kernel(struct rsr_kernel_desc *kernel, uint64_t *seed, uint32_t block,
                                    uint32_t role, uint32_t rows, uint32_t cols) {
    int8_t *codes = fake_alloc((size_t)rows * cols);
    for (size_t i = 0; i < (size_t)rows * cols; i++)
        codes[i] = (int8_t)(check_random(seed) % 3) - 1;
    uint32_t *shape = fake_alloc(2 * sizeof(*shape));
    shape[0] = rows;
    shape[1] = cols;
    float *scale = fake_alloc(sizeof(*scale));
    *scale = 1.5f / sqrtf((float)cols) + fake_float(seed, 0.01f);
    *kernel = (struct rsr_kernel_desc){
        .name = "fake",
        .variant = "plain",
        .reason = "a test",
        .fn = fake_kernel,
        .weights = {.codes = codes, .index = shape, .scale = scale, .n_scales = 1},
        .rows = rows,
        .cols = cols,
        .tile_rows = FAKE_TILE_ROWS,
        .n_tiles = (rows + FAKE_TILE_ROWS - 1) / FAKE_TILE_ROWS,
        .epilogue = RSR_EPILOGUE_SCALE,
        .block = block,
        .role = role,
        .scratch_bytes = 128,
        .weight_bytes = (uint64_t)rows * cols,
        .n_streams = 1,
    };
}

static inline void fake_fill_norm(struct rsr_norm *norm, uint64_t *seed, const char *name,
                                  uint32_t cols) {
    float *weight = fake_alloc(cols * sizeof(*weight));
    for (uint32_t i = 0; i < cols; i++)
        weight[i] = 1.0f + fake_float(seed, 0.25f);
    *norm = (struct rsr_norm){.name = name, .weight = weight, .cols = cols, .eps = 1e-5f};
}

/* Rounds to the dtype by cutting mantissa bits: tests do not depend on the way of rounding. */
static inline struct rsr_matrix_data fake_dense(uint64_t *seed, enum rsr_dtype dtype, uint32_t rows,
                                                uint32_t cols) {
    const size_t n = (size_t)rows * cols;
    void *data = fake_alloc(n * (dtype == RSR_DTYPE_F32 ? 4 : 2));
    for (size_t i = 0; i < n; i++) {
        const float value = fake_float(seed, 1.0f);
        uint32_t bits;
        memcpy(&bits, &value, sizeof(bits));
        if (dtype == RSR_DTYPE_F32)
            ((float *)data)[i] = value;
        else if (dtype == RSR_DTYPE_BF16)
            ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
        else /* a normal float16 with random exponent -14 .. 0 */
            ((uint16_t *)data)[i] =
                (uint16_t)((bits >> 16 & 0x8000u) | ((8 + bits % 8) << 10) | (bits >> 8 & 0x3ffu));
    }
    return (struct rsr_matrix_data){.data = data, .dtype = dtype, .rows = rows, .cols = cols};
}

/* ---- The step ---- */

static inline void fake_op(struct fake_module *m, uint32_t *n, enum rsr_op_kind kind,
                           uint32_t block, uint16_t dst, uint16_t src0, uint32_t arg,
                           bool barrier) {
    m->ops[(*n)++] =
        (struct rsr_step_op){.kind = (uint16_t)kind,
                             .flags = barrier ? RSR_OP_BARRIER : 0,
                             .block = block,
                             .dst = dst,
                             .src = {src0, RSR_NO_BUFFER, RSR_NO_BUFFER, RSR_NO_BUFFER},
                             .layer = block == RSR_NO_BLOCK ? 0 : (uint16_t)block,
                             .arg = arg};
}

static inline void fake_linear(struct fake_module *m, uint32_t *n, uint32_t block,
                               enum rsr_role role, uint16_t dst, bool barrier) {
    const uint32_t kernel = block * FAKE_KERNELS + (uint32_t)role - RSR_ROLE_Q;
    fake_op(m, n, RSR_OP_LINEAR, block, dst, FAKE_ACT, kernel, barrier);
}

static inline void fake_attention_ops(struct fake_module *m, uint32_t *n, uint32_t b) {
    const uint32_t norm = b * FAKE_NORMS;
    fake_op(m, n, RSR_OP_NORM, b, FAKE_NORMED, FAKE_X, norm, false);
    fake_op(m, n, RSR_OP_QUANT, b, FAKE_ACT, FAKE_NORMED, 0, true);
    fake_linear(m, n, b, RSR_ROLE_Q, FAKE_Q, false);
    fake_linear(m, n, b, RSR_ROLE_K, FAKE_K, false);
    fake_linear(m, n, b, RSR_ROLE_V, FAKE_V, true);
    fake_op(m, n, RSR_OP_ROPE_APPEND, b, RSR_NO_BUFFER, FAKE_Q, RSR_NO_NORM, true);
    m->ops[*n - 1].src[1] = FAKE_K;
    m->ops[*n - 1].src[2] = FAKE_V;
    m->ops[*n - 1].src[3] = FAKE_ROPE;
    fake_op(m, n, RSR_OP_ATTENTION, b, FAKE_ATTENDED, FAKE_Q, 0, true);
    if (m->shape.sub_norms)
        fake_op(m, n, RSR_OP_NORM, b, FAKE_ATTENDED, FAKE_ATTENDED, norm + 1, false);
    fake_op(m, n, RSR_OP_QUANT, b, FAKE_ACT, FAKE_ATTENDED, 0, true);
    fake_linear(m, n, b, RSR_ROLE_O, FAKE_PROJECTED, true);
    fake_op(m, n, RSR_OP_ADD, b, FAKE_X, FAKE_PROJECTED, 0, false);
}

static inline void fake_ffn_ops(struct fake_module *m, uint32_t *n, uint32_t b) {
    const uint32_t norm = b * FAKE_NORMS;
    fake_op(m, n, RSR_OP_NORM, b, FAKE_NORMED, FAKE_X, norm + 2, false);
    fake_op(m, n, RSR_OP_QUANT, b, FAKE_ACT, FAKE_NORMED, 0, true);
    fake_linear(m, n, b, RSR_ROLE_GATE, FAKE_GATE, false);
    fake_linear(m, n, b, RSR_ROLE_UP, FAKE_UP, true);
    fake_op(m, n, RSR_OP_ACT_MUL, b, FAKE_GATE, FAKE_GATE, 0, false);
    m->ops[*n - 1].src[1] = FAKE_UP;
    if (m->shape.sub_norms)
        fake_op(m, n, RSR_OP_NORM, b, FAKE_GATE, FAKE_GATE, norm + 3, false);
    fake_op(m, n, RSR_OP_QUANT, b, FAKE_ACT, FAKE_GATE, 0, true);
    fake_linear(m, n, b, RSR_ROLE_DOWN, FAKE_PROJECTED, true);
    fake_op(m, n, RSR_OP_ADD, b, FAKE_X, FAKE_PROJECTED, 0, false);
}

static inline uint32_t fake_fill_ops(struct fake_module *m) {
    uint32_t n = 0;
    fake_op(m, &n, RSR_OP_EMBED, RSR_NO_BLOCK, FAKE_X, RSR_NO_BUFFER, 0, false);
    fake_op(m, &n, RSR_OP_ROPE_TABLE, RSR_NO_BLOCK, FAKE_ROPE, RSR_NO_BUFFER, 0, false);
    for (uint32_t b = 0; b < m->shape.n_layers; b++) {
        fake_attention_ops(m, &n, b);
        fake_ffn_ops(m, &n, b);
    }
    fake_op(m, &n, RSR_OP_NORM, RSR_NO_BLOCK, FAKE_NORMED, FAKE_X, m->shape.n_layers * FAKE_NORMS,
            true);
    fake_op(m, &n, RSR_OP_HEAD, RSR_NO_BLOCK, RSR_NO_BUFFER, FAKE_NORMED, RSR_NO_KERNEL, true);
    return n;
}

static inline uint64_t fake_fill_buffers(struct fake_module *m) {
    const struct fake_shape *s = &m->shape;
    const uint32_t heads = s->n_heads * s->head_dim, kv = s->n_kv_heads * s->head_dim;
    const uint32_t cols[FAKE_BUFFERS] = {[FAKE_X] = s->hidden,
                                         [FAKE_NORMED] = s->hidden,
                                         [FAKE_ACT] = 1024,
                                         [FAKE_Q] = heads,
                                         [FAKE_K] = kv,
                                         [FAKE_V] = kv,
                                         [FAKE_ATTENDED] = heads,
                                         [FAKE_PROJECTED] = s->hidden,
                                         [FAKE_GATE] = s->ffn,
                                         [FAKE_UP] = s->ffn,
                                         [FAKE_ROPE] = s->head_dim};
    uint64_t offset = 0;
    for (uint32_t i = 0; i < FAKE_BUFFERS; i++) {
        const uint32_t bytes = i == FAKE_ACT ? RSR_ACT_HEADER + cols[i] : cols[i] * 4;
        m->buffers[i] = (struct rsr_buffer){
            .name = "buffer", .row_bytes = (bytes + 63) & ~63u, .cols = cols[i], .offset = offset};
        offset += m->buffers[i].row_bytes;
    }
    return offset;
}

/* ---- The module ---- */

static inline void fake_fill_block(struct fake_module *m, uint64_t *seed, uint32_t b) {
    const struct fake_shape *s = &m->shape;
    const uint32_t heads = s->n_heads * s->head_dim, kv = s->n_kv_heads * s->head_dim;
    const uint32_t rows[FAKE_KERNELS] = {heads, kv, kv, s->hidden, s->ffn, s->ffn, s->hidden};
    const uint32_t cols[FAKE_KERNELS] = {s->hidden, s->hidden, s->hidden, heads,
                                         s->hidden, s->hidden, s->ffn};
    for (uint32_t i = 0; i < FAKE_KERNELS; i++)
        fake_fill_kernel(&m->kernels[b * FAKE_KERNELS + i], seed, b, RSR_ROLE_Q + i, rows[i],
                         cols[i]);
    const char *names[FAKE_NORMS] = {"input_norm", "attn_sub_norm", "post_norm", "ffn_sub_norm"};
    const uint32_t norm_cols[FAKE_NORMS] = {s->hidden, heads, s->hidden, s->ffn};
    for (uint32_t i = 0; i < FAKE_NORMS; i++)
        fake_fill_norm(&m->norms[b * FAKE_NORMS + i], seed, names[i], norm_cols[i]);
}

static inline float fake_attention_scale(const struct fake_shape *shape) {
    const float sharpness = shape->sharpness > 0.0f ? shape->sharpness : 1.0f;
    return sharpness * (float)(1.0 / sqrt(shape->head_dim));
}

/* Fills *m, which must not move afterwards. */
static inline void fake_module_init(struct fake_module *m, const struct fake_shape *shape,
                                    uint64_t seed) {
    memset(m, 0, sizeof(*m));
    m->shape = *shape;
    for (uint32_t b = 0; b < shape->n_layers; b++)
        fake_fill_block(m, &seed, b);
    const uint32_t n_norms = shape->n_layers * FAKE_NORMS + 1;
    fake_fill_norm(&m->norms[n_norms - 1], &seed, "final_norm", shape->hidden);
    const uint64_t arena = fake_fill_buffers(m);
    const uint32_t n_ops = fake_fill_ops(m);
    for (uint32_t i = 0; i < 2; i++)
        m->steps[i] = (struct rsr_step_table){.regime = i == 0 ? "decode" : "prefill",
                                              .min_tokens = i == 0 ? 1 : 3,
                                              .max_tokens = i == 0 ? 2 : UINT32_MAX,
                                              .n_ops = n_ops,
                                              .n_buffers = FAKE_BUFFERS,
                                              .ops = m->ops,
                                              .buffers = m->buffers,
                                              .arena_bytes_per_token = arena};
    const struct rsr_matrix_data embedding =
        fake_dense(&seed, shape->head_dtype, shape->vocab, shape->hidden);
    m->tensors = (struct rsr_tensors){
        .n_norms = n_norms, .norms = m->norms, .embedding = embedding, .head = embedding};
    m->target = (struct rsr_target){.name = "generic",
                                    .n_kernels = shape->n_layers * FAKE_KERNELS,
                                    .kernels = m->kernels,
                                    .steps = m->steps,
                                    .n_steps = 2,
                                    .tensors = &m->tensors};
    for (uint32_t i = 0; i < shape->head_dim / 2; i++)
        m->inv_freq[i] = (float)(1.0 / pow(10000.0, 2.0 * i / shape->head_dim));
    m->rope = (struct rsr_rope){m->inv_freq, 1.0f};
    m->module = (struct rsr_module){.abi_version = RSR_ABI_VERSION,
                                    .size_bytes = sizeof(struct rsr_module),
                                    .size_kernel_desc = sizeof(struct rsr_kernel_desc),
                                    .size_step_op = sizeof(struct rsr_step_op),
                                    .size_gpu_kernel = sizeof(struct rsr_gpu_kernel),
                                    .model_name = "fake",
                                    .architecture = "bitnet",
                                    .compiler_version = "0",
                                    .hyper = {.hidden = shape->hidden,
                                              .n_layers = shape->n_layers,
                                              .n_heads = shape->n_heads,
                                              .n_kv_heads = shape->n_kv_heads,
                                              .head_dim = shape->head_dim,
                                              .rotary_dim = shape->head_dim,
                                              .ffn = shape->ffn,
                                              .vocab = shape->vocab,
                                              .context = shape->context,
                                              .activation = shape->activation,
                                              .tied_head = 1,
                                              .norm_eps = 1e-5f,
                                              .attention_scale = fake_attention_scale(shape),
                                              .embedding_scale = 1.0f,
                                              .rope_theta = 10000.0f},
                                    .ropes = &m->rope,
                                    .n_ropes = 1,
                                    .targets = &m->target,
                                    .n_targets = 1,
                                    .bos_token = RSR_NO_TOKEN,
                                    .eos_token = RSR_NO_TOKEN,
                                    .bos_text = "",
                                    .eos_text = "",
                                    .api = &rsr_runtime_api};
}

/* ---- Use ---- */

/* Opens the module with the float operations of one level, not the host's best. NULL if the host
 * cannot run them. */
static inline rsr_model *fake_open(const struct fake_module *m, enum rsr_ops_level level) {
    const struct rsr_ops *ops = ops_here(level);
    rsr_error err = RSR_ERROR_INIT;
    rsr_model *model = NULL;
    if (ops == NULL)
        return NULL;
    CHECK_INT(rsr_runtime_api.open(&m->module, NULL, NULL, &model, &err), RSR_OK);
    model->ops = ops;
    return model;
}

static inline rsr_engine *fake_engine(rsr_model *model, uint32_t n_threads, uint32_t max_batch,
                                      uint32_t kv_tokens) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_error err = RSR_ERROR_INIT;
    rsr_engine *engine = NULL;
    options.n_threads = n_threads;
    options.all_threads = true; /* however many CPUs there are */
    options.max_batch = max_batch;
    options.kv_tokens = kv_tokens;
    CHECK_INT(rsr_runtime_api.engine_create(model, &options, &engine, &err), RSR_OK);
    CHECK_STR(err.message, "");
    return engine;
}

/* Appends tokens[0..n) and stores the logits of all of them in `logits`. */
static inline rsr_status fake_feed(rsr_engine *engine, rsr_sequence *sequence,
                                   const uint32_t *tokens, uint32_t n, uint32_t vocab,
                                   float *logits) {
    rsr_batch_entry *entries = calloc(n, sizeof(*entries));
    const uint32_t length = rsr_runtime_api.sequence_length(sequence);
    for (uint32_t i = 0; i < n; i++)
        entries[i] = (rsr_batch_entry){sequence, length + i, tokens[i], logits != NULL};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = n;
    batch.logits = logits;
    batch.logits_capacity = logits != NULL ? (size_t)n * vocab : 0;
    rsr_error err = RSR_ERROR_INIT;
    rsr_status status = rsr_runtime_api.eval(engine, &batch, &err);
    CHECK((status == RSR_OK) == (err.message[0] == '\0'));
    free(entries);
    return status;
}

#endif
