/* info_json.c - rsrc --info for programs: one object. compiler/README.md lists its keys. */
#include <inttypes.h>

#include "report/info.h"

/* ---- values ---------------------------------------------------------------------------------- */

/* A comma but for the first member. */
static void put_key(struct rsrc_buffer *out, const char *key) {
    const char last = out->data[out->size_bytes - 1];
    rsrc_buffer_printf(out, "%s\"%s\":", last == '{' ? "" : ",", key);
}

/* The same between elements. */
static void begin_object(struct rsrc_buffer *out) {
    const char last = out->data[out->size_bytes - 1];
    rsrc_buffer_puts(out, last == '}' ? ",\n{" : "{");
}

static void put_text(struct rsrc_buffer *out, const char *key, const char *value) {
    put_key(out, key);
    if (value == NULL)
        rsrc_buffer_puts(out, "null");
    else
        rsrc_buffer_put_json(out, value);
}

static void put_count(struct rsrc_buffer *out, const char *key, uint64_t value) {
    put_key(out, key);
    rsrc_buffer_printf(out, "%" PRIu64, value);
}

static void put_real(struct rsrc_buffer *out, const char *key, double value) {
    put_key(out, key);
    rsrc_buffer_printf(out, "%.9g", value);
}

static void put_bool(struct rsrc_buffer *out, const char *key, bool value) {
    put_key(out, key);
    rsrc_buffer_puts(out, value ? "true" : "false");
}

/* ---- the checkpoint -------------------------------------------------------------------------- */

static void put_hyper(const struct rsr_info *info, struct rsrc_buffer *out) {
    const struct rsr_hyper *hyper = &info->config->hyper;
    put_key(out, "hyper");
    begin_object(out);
    put_count(out, "hidden", hyper->hidden);
    put_count(out, "layers", hyper->n_layers);
    put_count(out, "heads", hyper->n_heads);
    put_count(out, "kv_heads", hyper->n_kv_heads);
    put_count(out, "head_dim", hyper->head_dim);
    put_count(out, "ffn", hyper->ffn);
    put_count(out, "vocab", hyper->vocab);
    put_count(out, "context", hyper->context);
    put_text(out, "activation", info->activation);
    put_real(out, "norm_eps", (double)hyper->norm_eps);
    put_real(out, "rope_theta", (double)hyper->rope_theta);
    put_text(out, "pooling", info->pooling);
    rsrc_buffer_puts(out, "}");
}

static void put_tokens(const struct rsr_info *info, struct rsrc_buffer *out) {
    const struct rsr_config *config = info->config;
    const struct rsr_tokenizer *tokenizer = info->tokenizer;
    put_key(out, "tokenizer");
    if (tokenizer == NULL) {
        rsrc_buffer_puts(out, "null");
    } else {
        begin_object(out);
        put_text(out, "kind", rsrc_info_tokenizer_kind(tokenizer));
        put_count(out, "tokens", tokenizer->section->n_tokens);
        put_count(out, "merges", tokenizer->section->n_merges);
        rsrc_buffer_puts(out, "}");
    }
    put_bool(out, "chat_template", tokenizer != NULL && tokenizer->chat_template != NULL);
    put_text(out, "chat_problem", tokenizer != NULL ? tokenizer->chat_problem : NULL);
    put_key(out, "stop_tokens");
    rsrc_buffer_puts(out, "[");
    for (uint32_t i = 0; i < config->n_eos_tokens; i++)
        rsrc_buffer_printf(out, "%s%u", i == 0 ? "" : ",", config->eos_tokens[i]);
    rsrc_buffer_puts(out, "]");
}

static void put_dense(struct rsrc_buffer *out, const char *key,
                      const struct rsr_info_dense *matrix) {
    put_key(out, key);
    if (matrix->dtype == NULL) {
        rsrc_buffer_puts(out, "null");
        return;
    }
    begin_object(out);
    put_text(out, "dtype", matrix->dtype);
    put_count(out, "rows", matrix->rows);
    put_count(out, "cols", matrix->cols);
    put_count(out, "bytes", matrix->size_bytes);
    rsrc_buffer_puts(out, "}");
}

static void put_checkpoint(const struct rsr_info *info, struct rsrc_buffer *out) {
    const struct rsr_config *config = info->config;
    put_text(out, "name", info->name);
    put_text(out, "container", info->container);
    put_count(out, "files", info->n_files);
    put_count(out, "file_bytes", info->file_bytes);
    put_text(out, "architecture", info->architecture);
    if (config == NULL)
        return;
    put_text(out, "model_type", config->model_type);
    put_text(out, "scale_rule", info->scale_rule);
    put_text(out, "scale_reason", config->scale_reason);
    put_text(out, "input", config->input == RSR_INPUT_F32 ? "f32" : "i8");
    put_text(out, "input_reason", config->input_reason);
    put_hyper(info, out);
    put_tokens(info, out);
    if (info->architecture == NULL)
        return;
    put_dense(out, "embedding", &info->embedding);
    put_dense(out, "head", info->tied_head && !info->ternary_head ? &info->embedding : &info->head);
    put_bool(out, "ternary_head", info->ternary_head);
    put_bool(out, "tied_head", info->tied_head);
    put_count(out, "head_sketch_planes", info->sketch->n_planes);
    put_text(out, "head_sketch_reason", info->sketch->reason);
    put_count(out, "dense_layers", info->n_dense);
}

/* ---- layers ---------------------------------------------------------------------------------- */

static void put_group(const struct rsr_info_group *group, struct rsrc_buffer *out) {
    const struct rsr_info_layer *layer = group->first;
    begin_object(out);
    put_text(out, "role", layer->label);
    put_count(out, "layers", group->n_layers);
    put_count(out, "refused", group->n_layers - group->n_decoded);
    put_count(out, "rows", layer->rows);
    put_count(out, "cols", layer->cols);
    put_text(out, "stored", layer->stored);
    put_text(out, "alphabet", layer->alphabet);
    put_text(out, "input", layer->input == RSR_INPUT_F32 ? "f32" : "i8");
    put_count(out, "weights", group->n_weights);
    put_count(out, "zeros", group->n_zero);
    put_real(out, "zero_density", rsrc_info_density(group->n_zero, group->n_weights));
    put_real(out, "least_zero_density", group->min_density);
    put_real(out, "most_zero_density", group->max_density);
    rsrc_buffer_puts(out, "}");
}

static void put_layers(const struct rsr_info *info, struct rsrc_buffer *out) {
    uint64_t n_weights = 0, n_zero = 0;
    put_key(out, "roles");
    rsrc_buffer_puts(out, "[");
    for (uint32_t g = 0; g < info->n_groups; g++) {
        put_group(&info->groups[g], out);
        n_weights += info->groups[g].n_weights;
        n_zero += info->groups[g].n_zero;
    }
    rsrc_buffer_puts(out, "]");
    put_count(out, "layers", info->n_layers);
    put_count(out, "weights", n_weights);
    put_count(out, "zeros", n_zero);
    put_real(out, "zero_density", rsrc_info_density(n_zero, n_weights));
}

/* ---- the module and its targets -------------------------------------------------------------- */

static void put_module(const struct rsr_info_module *module, struct rsrc_buffer *out) {
    put_key(out, "module");
    if (module->total_bytes == 0) {
        rsrc_buffer_puts(out, "null");
        return;
    }
    begin_object(out);
    put_count(out, "layer_bytes", module->layer_bytes);
    put_count(out, "other_bytes", module->other_bytes);
    put_count(out, "head_sketch_bytes", module->sketch_bytes);
    put_count(out, "estimated_code_bytes", module->code_bytes);
    put_count(out, "estimated_bytes", module->total_bytes);
    rsrc_buffer_puts(out, "}");
}

/* {"lut":30} */
static void put_variants(struct rsrc_buffer *out, const char *key,
                         const struct rsr_info_variant *variants) {
    put_key(out, key);
    begin_object(out);
    for (uint32_t v = 0; v < RSRC_INFO_MAX_VARIANTS && variants[v].name != NULL; v++)
        put_count(out, variants[v].name, variants[v].n_layers);
    rsrc_buffer_puts(out, "}");
}

static void put_group_use(const struct rsr_info_group *group, uint32_t target,
                          struct rsrc_buffer *out) {
    const struct rsr_info_group_use *use = &group->uses[target];
    begin_object(out);
    put_text(out, "role", group->first->label);
    put_variants(out, "decode", use->variants[RSR_REGIME_DECODE]);
    put_variants(out, "prefill", use->variants[RSR_REGIME_PREFILL]);
    put_count(out, "token_bytes", use->token_bytes);
    put_real(out, "predicted_decode_us", use->us[RSR_REGIME_DECODE]);
    put_real(out, "predicted_prefill_us", use->us[RSR_REGIME_PREFILL]);
    rsrc_buffer_puts(out, "}");
}

static void put_target(const struct rsr_info *info, uint32_t target, struct rsrc_buffer *out) {
    const struct rsr_info_cost cost = rsrc_info_cost(info, target);
    begin_object(out);
    put_text(out, "name", info->specs[target].name);
    put_count(out, "cores", cost.cores);
    put_real(out, "read_gbps", cost.read_gbps);
    put_key(out, "roles");
    rsrc_buffer_puts(out, "[");
    for (uint32_t g = 0; g < info->n_groups; g++)
        put_group_use(&info->groups[g], target, out);
    rsrc_buffer_puts(out, "]");
    put_count(out, "layer_bytes", cost.layer_bytes);
    put_count(out, "dense_bytes", cost.dense_bytes);
    put_count(out, "head_bytes", cost.head_bytes);
    put_count(out, "usual_head_bytes", cost.usual_head_bytes);
    put_count(out, "full_head_bytes", cost.full_head_bytes);
    put_count(out, "embedding_row_bytes", cost.embedding_bytes);
    put_count(out, "token_bytes", cost.token_bytes);
    put_real(out, "floor_us", cost.floor_us);
    put_real(out, "floor_all_cores_us", cost.floor_all_us);
    put_real(out, "predicted_decode_us", cost.us[RSR_REGIME_DECODE]);
    put_real(out, "predicted_prefill_us", cost.us[RSR_REGIME_PREFILL]);
    rsrc_buffer_puts(out, "}");
}

void rsrc_info_json(const struct rsr_info *info, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "{");
    put_checkpoint(info, out);
    put_layers(info, out);
    put_module(&info->module, out);
    put_key(out, "targets");
    rsrc_buffer_puts(out, "[");
    for (uint32_t t = 0; t < info->n_targets && info->n_errors == 0; t++)
        put_target(info, t, out);
    rsrc_buffer_puts(out, "]");
    put_bool(out, "compiles", info->n_errors == 0);
    put_count(out, "errors", info->n_errors);
    rsrc_buffer_puts(out, "}\n");
}
