/* rsr_mkmodel_plan.c - the tensors of a model, their distributions, and where they go.
 *
 * Scales keep activations in range: a linear layer of n inputs, with a share d of nonzero weights,
 * turns normalised inputs into outputs of about unit size if its weights are +-1/sqrt(n d).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/suffix.h"
#include "rsr_mkmodel.h"

static const struct {
    const char *name;
    uint32_t bytes;
} dtypes[] = {{"F64", 8}, {"I64", 8}, {"F32", 4}, {"I32", 4},  {"BF16", 2}, {"F16", 2},
              {"I16", 2}, {"U8", 1},  {"I8", 1},  {"BOOL", 1}, {"U16", 2},  {"U32", 4}};

uint32_t mkmodel_dtype_bytes(const char *dtype) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, dtype) == 0)
            return dtypes[i].bytes;
    return 1;
}

uint64_t mkmodel_tensor_bytes(const struct mkmodel_tensor *tensor) {
    uint64_t size_bytes = mkmodel_dtype_bytes(tensor->dtype);

    for (uint32_t i = 0; i < tensor->n_dims; i++)
        size_bytes *= tensor->shape[i];
    return size_bytes;
}

uint64_t mkmodel_plan_bytes(const struct mkmodel_plan *plan) {
    uint64_t size_bytes = 0;

    for (uint32_t i = 0; i < plan->n_tensors; i++)
        size_bytes += mkmodel_tensor_bytes(&plan->tensors[i]);
    return size_bytes;
}

/* rows 0: one dimension. */
struct mkmodel_tensor *mkmodel_plan_add(struct rsrc_arena *arena, struct mkmodel_plan *plan,
                                        const char *name, const char *dtype, uint64_t rows,
                                        uint64_t cols) {
    if (plan->n_tensors == plan->capacity) {
        struct mkmodel_tensor *old = plan->tensors;

        plan->capacity = plan->capacity ? 2 * plan->capacity : 64;
        plan->tensors = RSRC_NEW_ARRAY(arena, plan->capacity, struct mkmodel_tensor);
        if (plan->n_tensors > 0)
            memcpy(plan->tensors, old, plan->n_tensors * sizeof *old);
    }
    struct mkmodel_tensor *tensor = &plan->tensors[plan->n_tensors++];
    *tensor = (struct mkmodel_tensor){.name = name,
                                      .dtype = dtype,
                                      .n_dims = rows ? 2 : 1,
                                      .shape = {rows ? rows : cols, rows ? cols : 0},
                                      .fill = MKMODEL_FILL_NORMAL};
    return tensor;
}

static void add_norm(struct rsrc_arena *arena, struct mkmodel_plan *plan,
                     const struct mkmodel_spec *spec, const char *module, uint64_t cols) {
    struct mkmodel_tensor *tensor =
        mkmodel_plan_add(arena, plan, rsrc_arena_printf(arena, "%s.weight", module),
                         spec->convention->float_dtype, 0, cols);

    /* Qwen3.5 stores w - 1, but for the norm of a gated delta rule. */
    tensor->mean =
        spec->convention->has_deltas && !rsrc_ends_with(module, "linear_attn.norm") ? 0.0 : 1.0;
    tensor->spread = 0.125;
}

/* The typical magnitude of a nonzero weight. */
static double magnitude_of(const struct mkmodel_spec *spec, const char *module, uint64_t cols) {
    double magnitude = 1.0 / sqrt((double)cols * (1.0 - spec->zero_density));
    bool is_added = rsrc_ends_with(module, "o_proj") || rsrc_ends_with(module, "out_proj") ||
                    rsrc_ends_with(module, "down_proj");

    if (spec->head_margin > 0 && is_added) /* two a block */
        magnitude *= MKMODEL_MARGIN_SPREAD / sqrt(2.0 * spec->layers);
    return magnitude;
}

static void add_linear(struct rsrc_arena *arena, struct mkmodel_plan *plan,
                       const struct mkmodel_spec *spec, const char *module, uint64_t rows,
                       uint64_t cols) {
    enum mkmodel_storage storage = spec->convention->storage;
    const char *float_dtype = spec->convention->float_dtype;
    const char *name = rsrc_arena_printf(arena, "%s.weight", module);
    double magnitude = magnitude_of(spec, module, cols);
    struct mkmodel_tensor *tensor;

    if (storage == MKMODEL_MASTERS || storage == MKMODEL_SCALED) {
        tensor = mkmodel_plan_add(arena, plan, name, float_dtype, rows, cols);
        tensor->fill = storage == MKMODEL_MASTERS ? MKMODEL_FILL_MASTER : MKMODEL_FILL_SCALED;
        tensor->spread = magnitude;
        return;
    }
    tensor = mkmodel_plan_add(arena, plan, name, "U8", rows / 4, cols);
    tensor->fill = MKMODEL_FILL_PACKED;
    tensor = mkmodel_plan_add(arena, plan, rsrc_arena_printf(arena, "%s.weight_scale", module),
                              float_dtype, 0, 1);
    tensor->fill = MKMODEL_FILL_CONSTANT;
    tensor->mean = storage == MKMODEL_PACKED_DIVIDE ? 1.0 / magnitude : magnitude;
}

static void add_dense(struct rsrc_arena *arena, struct mkmodel_plan *plan,
                      const struct mkmodel_spec *spec, const char *name, bool is_embedding,
                      bool is_head) {
    struct mkmodel_tensor *tensor = mkmodel_plan_add(
        arena, plan, name, spec->convention->float_dtype, spec->vocab, spec->hidden);

    tensor->spread = 1.0 / sqrt((double)spec->hidden);
    if (spec->convention->has_deltas)
        tensor->fill = MKMODEL_FILL_SCALED;
    if (spec->sparsity.inactive > 0 && is_embedding)
        tensor->spread = mkmodel_sparsity_spread(spec);
    if (spec->head_margin == 0)
        return;
    if (!is_head)
        tensor->spread = MKMODEL_MARGIN_SPREAD;
    tensor->has_direction = is_embedding;
    tensor->head_margin = is_head ? spec->head_margin : 0;
}

bool mkmodel_is_delta(const struct mkmodel_spec *spec, uint32_t block) {
    return spec->convention->has_deltas && (block + 1) % 4 != 0;
}

/* A float tensor of a gated delta rule; rows 0: one dimension. */
static struct mkmodel_tensor *add_float(struct rsrc_arena *arena, struct mkmodel_plan *plan,
                                        const struct mkmodel_spec *spec, const char *name,
                                        uint64_t rows, uint64_t cols, double spread) {
    struct mkmodel_tensor *tensor =
        mkmodel_plan_add(arena, plan, name, spec->convention->float_dtype, rows, cols);

    tensor->spread = spread;
    return tensor;
}

/* A_log is 0, so that a GGUF file, which has -exp(A_log), needs no exp. */
static void add_delta(struct rsrc_arena *arena, struct mkmodel_plan *plan,
                      const struct mkmodel_spec *spec, uint32_t block) {
    const char *module = rsrc_arena_printf(arena, "model.layers.%u.linear_attn", block);
    const uint64_t keys = (uint64_t)spec->delta.key_heads * spec->delta.head_dim;
    const uint64_t values = (uint64_t)spec->delta.value_heads * spec->delta.head_dim;
    const uint64_t heads = spec->delta.value_heads, hidden = spec->hidden;
    const double small = 1.0 / sqrt((double)hidden);
    struct mkmodel_tensor *taps;

    add_linear(arena, plan, spec, rsrc_arena_printf(arena, "%s.in_proj_qkv", module),
               2 * keys + values, hidden);
    add_linear(arena, plan, spec, rsrc_arena_printf(arena, "%s.in_proj_z", module), values, hidden);
    add_float(arena, plan, spec, rsrc_arena_printf(arena, "%s.in_proj_b.weight", module), heads,
              hidden, small);
    add_float(arena, plan, spec, rsrc_arena_printf(arena, "%s.in_proj_a.weight", module), heads,
              hidden, small);
    taps = add_float(arena, plan, spec, rsrc_arena_printf(arena, "%s.conv1d.weight", module),
                     2 * keys + values, 1, 0.5);
    taps->n_dims = 3;
    taps->shape[2] = 4;
    add_float(arena, plan, spec, rsrc_arena_printf(arena, "%s.A_log", module), 0, heads, 0.0);
    add_float(arena, plan, spec, rsrc_arena_printf(arena, "%s.dt_bias", module), 0, heads, 1.0);
    add_norm(arena, plan, spec, rsrc_arena_printf(arena, "%s.norm", module), spec->delta.head_dim);
    add_linear(arena, plan, spec, rsrc_arena_printf(arena, "%s.out_proj", module), hidden, values);
}

static void add_block(struct rsrc_arena *arena, struct mkmodel_plan *plan,
                      const struct mkmodel_spec *spec, uint32_t block) {
    uint64_t q = (uint64_t)spec->heads * spec->head_dim;
    uint64_t kv = (uint64_t)spec->kv_heads * spec->head_dim;
    const bool is_delta = mkmodel_is_delta(spec, block), is_gated = spec->convention->has_deltas;
    const struct {
        const char *module;
        uint64_t rows, cols; /* rows 0: a norm */
    } modules[] = {
        {"input_layernorm", 0, spec->hidden},
        {is_delta ? NULL : "self_attn.q_proj", is_gated ? 2 * q : q, spec->hidden},
        {is_delta ? NULL : "self_attn.k_proj", kv, spec->hidden},
        {is_delta ? NULL : "self_attn.v_proj", kv, spec->hidden},
        {is_gated && !is_delta ? "self_attn.q_norm" : NULL, 0, spec->head_dim},
        {is_gated && !is_delta ? "self_attn.k_norm" : NULL, 0, spec->head_dim},
        {spec->convention->attn_sub_norm, 0, q},
        {is_delta ? NULL : "self_attn.o_proj", spec->hidden, q},
        {"post_attention_layernorm", 0, spec->hidden},
        {"mlp.gate_proj", spec->ffn, spec->hidden},
        {"mlp.up_proj", spec->ffn, spec->hidden},
        {spec->convention->ffn_sub_norm, 0, spec->ffn},
        {"mlp.down_proj", spec->hidden, spec->ffn},
    };

    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        if (!modules[i].module)
            continue;
        const char *name = rsrc_arena_printf(arena, "model.layers.%u.%s", block, modules[i].module);
        if (modules[i].rows == 0)
            add_norm(arena, plan, spec, name, modules[i].cols);
        else
            add_linear(arena, plan, spec, name, modules[i].rows, modules[i].cols);
    }
    if (is_delta)
        add_delta(arena, plan, spec, block);
}

void mkmodel_plan_model(struct rsrc_arena *arena, const struct mkmodel_spec *spec,
                        struct mkmodel_plan *plan) {
    add_dense(arena, plan, spec, "model.embed_tokens.weight", true, spec->tied);
    for (uint32_t block = 0; block < spec->layers; block++)
        add_block(arena, plan, spec, block);
    add_norm(arena, plan, spec, "model.norm", spec->hidden);
    if (!spec->tied)
        add_dense(arena, plan, spec, "lm_head.weight", false, true);
}

/* The reference serialiser writes wide types first, then by name, which keeps all data aligned. */
static int compare_order(const void *left, const void *right) {
    const struct mkmodel_tensor *a = left, *b = right;
    uint32_t a_bytes = mkmodel_dtype_bytes(a->dtype), b_bytes = mkmodel_dtype_bytes(b->dtype);

    if (a->shard != b->shard)
        return a->shard < b->shard ? -1 : 1;
    if (a_bytes != b_bytes)
        return a_bytes > b_bytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

void mkmodel_plan_order(struct mkmodel_plan *plan, uint64_t shard_bytes) {
    uint64_t used = 0;
    uint32_t shard = 0;

    for (uint32_t i = 0; i < plan->n_tensors; i++) {
        uint64_t size_bytes = mkmodel_tensor_bytes(&plan->tensors[i]);

        if (used > 0 && (size_bytes > shard_bytes || used > shard_bytes - size_bytes)) {
            shard++;
            used = 0;
        }
        plan->tensors[i].shard = shard;
        used += size_bytes;
    }
    plan->n_shards = shard + 1;
    if (plan->n_tensors > 1)
        qsort(plan->tensors, plan->n_tensors, sizeof *plan->tensors, compare_order);
}
