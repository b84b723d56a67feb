/* info_json.c - rsrc --info for programs: one object. compiler/README.md lists its keys. */
#include <inttypes.h>

#include "report/info.h"
#include "report/json_members.h"

/* ---- the checkpoint -------------------------------------------------------------------------- */

static void put_hyper(const struct rsr_info *info, struct rsrc_buffer *out) {
    const struct rsr_hyper *hyper = &info->config->hyper;
    rsrc_put_key(out, "hyper");
    rsrc_put_object(out);
    rsrc_put_count(out, "hidden", hyper->hidden);
    rsrc_put_count(out, "layers", hyper->n_layers);
    rsrc_put_count(out, "heads", hyper->n_heads);
    rsrc_put_count(out, "kv_heads", hyper->n_kv_heads);
    rsrc_put_count(out, "head_dim", hyper->head_dim);
    rsrc_put_count(out, "ffn", hyper->ffn);
    rsrc_put_count(out, "vocab", hyper->vocab);
    rsrc_put_count(out, "context", hyper->context);
    rsrc_put_text(out, "activation", info->activation);
    rsrc_put_real(out, "norm_eps", (double)hyper->norm_eps);
    rsrc_put_real(out, "rope_theta", (double)hyper->rope_theta);
    rsrc_put_text(out, "pooling", info->pooling);
    rsrc_put_count(out, "delta_layers", hyper->delta_layers);
    rsrc_put_count(out, "delta_key_heads", hyper->delta_key_heads);
    rsrc_put_count(out, "delta_value_heads", hyper->delta_value_heads);
    rsrc_put_count(out, "delta_key_dim", hyper->delta_key_dim);
    rsrc_put_count(out, "delta_value_dim", hyper->delta_value_dim);
    rsrc_put_count(out, "rotated_block", rsrc_info_rotated_block(info->config));
    rsrc_buffer_puts(out, "}");
}

static void put_tokens(const struct rsr_info *info, struct rsrc_buffer *out) {
    const struct rsr_config *config = info->config;
    const struct rsr_tokenizer *tokenizer = info->tokenizer;
    rsrc_put_key(out, "tokenizer");
    if (tokenizer == NULL) {
        rsrc_buffer_puts(out, "null");
    } else {
        rsrc_put_object(out);
        rsrc_put_text(out, "kind", rsrc_info_tokenizer_kind(tokenizer));
        rsrc_put_count(out, "tokens", tokenizer->section->n_tokens);
        rsrc_put_count(out, "merges", tokenizer->section->n_merges);
        rsrc_buffer_puts(out, "}");
    }
    rsrc_put_bool(out, "chat_template", tokenizer != NULL && tokenizer->chat_template != NULL);
    rsrc_put_text(out, "chat_problem", tokenizer != NULL ? tokenizer->chat_problem : NULL);
    rsrc_put_key(out, "stop_tokens");
    rsrc_buffer_puts(out, "[");
    for (uint32_t i = 0; i < config->n_eos_tokens; i++)
        rsrc_buffer_printf(out, "%s%u", i == 0 ? "" : ",", config->eos_tokens[i]);
    rsrc_buffer_puts(out, "]");
}

static void put_dense(struct rsrc_buffer *out, const char *key,
                      const struct rsr_info_dense *matrix) {
    rsrc_put_key(out, key);
    if (matrix->dtype == NULL) {
        rsrc_buffer_puts(out, "null");
        return;
    }
    rsrc_put_object(out);
    rsrc_put_text(out, "dtype", matrix->dtype);
    rsrc_put_count(out, "rows", matrix->rows);
    rsrc_put_count(out, "cols", matrix->cols);
    rsrc_put_count(out, "bytes", matrix->size_bytes);
    rsrc_put_count(out, "stored_bytes", matrix->stored_bytes);
    rsrc_put_count(out, "stored_row_bytes", matrix->stored_row_bytes);
    rsrc_put_text(out, "stored_reason", matrix->packing->reason);
    rsrc_buffer_puts(out, "}");
}

void rsrc_info_put_checkpoint(const struct rsr_info *info, struct rsrc_buffer *out) {
    const struct rsr_config *config = info->config;
    rsrc_put_text(out, "name", info->name);
    rsrc_put_text(out, "container", info->container);
    rsrc_put_count(out, "files", info->n_files);
    rsrc_put_count(out, "file_bytes", info->file_bytes);
    rsrc_put_text(out, "architecture", info->architecture);
    if (config == NULL)
        return;
    rsrc_put_text(out, "model_type", config->model_type);
    rsrc_put_text(out, "scale_rule", info->scale_rule);
    rsrc_put_text(out, "scale_reason", config->scale_reason);
    rsrc_put_text(out, "input", config->input == RSR_INPUT_F32 ? "f32" : "i8");
    rsrc_put_text(out, "input_reason", config->input_reason);
    put_hyper(info, out);
    put_tokens(info, out);
    if (info->architecture == NULL)
        return;
    put_dense(out, "embedding", &info->embedding);
    put_dense(out, "head", info->tied_head && !info->ternary_head ? &info->embedding : &info->head);
    rsrc_put_bool(out, "ternary_head", info->ternary_head);
    rsrc_put_bool(out, "tied_head", info->tied_head);
    rsrc_put_count(out, "head_sketch_planes", info->sketch->n_planes);
    rsrc_put_text(out, "head_sketch_reason", info->sketch->reason);
    rsrc_put_count(out, "dense_layers", info->n_dense);
}

/* ---- layers ---------------------------------------------------------------------------------- */

static void put_group(const struct rsr_info_group *group, struct rsrc_buffer *out) {
    const struct rsr_info_layer *layer = group->first;
    rsrc_put_object(out);
    rsrc_put_text(out, "role", layer->label);
    rsrc_put_count(out, "layers", group->n_layers);
    rsrc_put_count(out, "refused", group->n_layers - group->n_decoded);
    rsrc_put_count(out, "rows", layer->rows);
    rsrc_put_count(out, "cols", layer->cols);
    rsrc_put_text(out, "stored", layer->stored);
    rsrc_put_text(out, "alphabet", layer->alphabet);
    rsrc_put_text(out, "input", layer->input == RSR_INPUT_F32 ? "f32" : "i8");
    rsrc_put_count(out, "weights", group->n_weights);
    rsrc_put_count(out, "zeros", group->n_zero);
    rsrc_put_real(out, "zero_density", rsrc_info_density(group->n_zero, group->n_weights));
    rsrc_put_real(out, "least_zero_density", group->min_density);
    rsrc_put_real(out, "most_zero_density", group->max_density);
    rsrc_buffer_puts(out, "}");
}

static void put_layers(const struct rsr_info *info, struct rsrc_buffer *out) {
    uint64_t n_weights = 0, n_zero = 0;
    rsrc_put_key(out, "roles");
    rsrc_buffer_puts(out, "[");
    for (uint32_t g = 0; g < info->n_groups; g++) {
        put_group(&info->groups[g], out);
        n_weights += info->groups[g].n_weights;
        n_zero += info->groups[g].n_zero;
    }
    rsrc_buffer_puts(out, "]");
    rsrc_put_count(out, "layers", info->n_layers);
    rsrc_put_count(out, "weights", n_weights);
    rsrc_put_count(out, "zeros", n_zero);
    rsrc_put_real(out, "zero_density", rsrc_info_density(n_zero, n_weights));
}

/* ---- the module and its targets -------------------------------------------------------------- */

static void put_module(const struct rsr_info_module *module, struct rsrc_buffer *out) {
    rsrc_put_key(out, "module");
    if (module->total_bytes == 0) {
        rsrc_buffer_puts(out, "null");
        return;
    }
    rsrc_put_object(out);
    rsrc_put_count(out, "layer_bytes", module->layer_bytes);
    rsrc_put_count(out, "other_bytes", module->other_bytes);
    rsrc_put_count(out, "head_sketch_bytes", module->sketch_bytes);
    rsrc_put_count(out, "estimated_code_bytes", module->code_bytes);
    rsrc_put_count(out, "estimated_bytes", module->total_bytes);
    rsrc_buffer_puts(out, "}");
}

/* {"lut":30} */
static void put_variants(struct rsrc_buffer *out, const char *key,
                         const struct rsr_info_variant *variants) {
    rsrc_put_key(out, key);
    rsrc_put_object(out);
    for (uint32_t v = 0; v < RSRC_INFO_MAX_VARIANTS && variants[v].name != NULL; v++)
        rsrc_put_count(out, variants[v].name, variants[v].n_layers);
    rsrc_buffer_puts(out, "}");
}

static void put_group_use(const struct rsr_info_group *group, uint32_t target,
                          struct rsrc_buffer *out) {
    const struct rsr_info_group_use *use = &group->uses[target];
    rsrc_put_object(out);
    rsrc_put_text(out, "role", group->first->label);
    put_variants(out, "decode", use->variants[RSR_REGIME_DECODE]);
    put_variants(out, "prefill", use->variants[RSR_REGIME_PREFILL]);
    rsrc_put_count(out, "token_bytes", use->token_bytes);
    rsrc_put_real(out, "predicted_decode_us", use->us[RSR_REGIME_DECODE]);
    rsrc_put_real(out, "predicted_prefill_us", use->us[RSR_REGIME_PREFILL]);
    rsrc_buffer_puts(out, "}");
}

static void put_target(const struct rsr_info *info, uint32_t target, struct rsrc_buffer *out) {
    const struct rsr_info_cost cost = rsrc_info_cost(info, target);
    rsrc_put_object(out);
    rsrc_put_text(out, "name", info->specs[target].name);
    rsrc_put_count(out, "cores", cost.cores);
    rsrc_put_real(out, "read_gbps", cost.read_gbps);
    rsrc_put_key(out, "roles");
    rsrc_buffer_puts(out, "[");
    for (uint32_t g = 0; g < info->n_groups; g++)
        put_group_use(&info->groups[g], target, out);
    rsrc_buffer_puts(out, "]");
    rsrc_put_count(out, "layer_bytes", cost.layer_bytes);
    rsrc_put_count(out, "dense_bytes", cost.dense_bytes);
    rsrc_put_count(out, "head_bytes", cost.head_bytes);
    rsrc_put_count(out, "usual_head_bytes", cost.usual_head_bytes);
    rsrc_put_count(out, "full_head_bytes", cost.full_head_bytes);
    rsrc_put_count(out, "embedding_row_bytes", cost.embedding_bytes);
    rsrc_put_count(out, "token_bytes", cost.token_bytes);
    rsrc_put_real(out, "floor_us", cost.floor_us);
    rsrc_put_real(out, "floor_all_cores_us", cost.floor_all_us);
    rsrc_put_real(out, "predicted_decode_us", cost.us[RSR_REGIME_DECODE]);
    rsrc_put_real(out, "predicted_prefill_us", cost.us[RSR_REGIME_PREFILL]);
    rsrc_buffer_puts(out, "}");
}

void rsrc_info_json(const struct rsr_info *info, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "{");
    rsrc_info_put_checkpoint(info, out);
    put_layers(info, out);
    put_module(&info->module, out);
    rsrc_put_key(out, "targets");
    rsrc_buffer_puts(out, "[");
    for (uint32_t t = 0; t < info->n_targets && info->n_errors == 0; t++)
        put_target(info, t, out);
    rsrc_buffer_puts(out, "]");
    rsrc_put_bool(out, "compiles", info->n_errors == 0);
    rsrc_put_count(out, "errors", info->n_errors);
    rsrc_buffer_puts(out, "}\n");
}
