/* rsr_mkmodel_config.c - the JSON files of a checkpoint folder. */
#include <stdlib.h>
#include <string.h>

#include "rsr_mkmodel.h"

/* Renders the same texts as the template of BitNet b1.58 2B4T. */
const char mkmodel_chat_template[] =
    "{% for message in messages %}"
    "{% set turn = message['role'] | capitalize + ': ' + message['content'] | trim %}"
    "{{ turn + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";

enum rsrc_status mkmodel_write_json(const struct mkmodel_writer *writer, const char *file,
                                    json_t *root) {
    const char *path = rsrc_arena_join(writer->arena, writer->path, file);
    enum rsrc_status status = RSRC_OK;
    struct rsrc_output out;

    mkmodel_break_json(writer->fault, file, root);
    char *dumped = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    const char *text = mkmodel_break_text(writer->arena, writer->fault, file, dumped);
    text = rsrc_arena_printf(writer->arena, "%s\n", text);
    free(dumped);
    json_decref(root);
    if (mkmodel_break_omits(writer->fault, file))
        return RSRC_OK;
    if (rsrc_output_open(writer->diag, writer->arena, path, &out) != RSRC_OK)
        return RSRC_FAILED;
    status = rsrc_output_write(writer->diag, &out, text, strlen(text));
    if (status == RSRC_OK)
        return rsrc_output_commit(writer->diag, &out);
    rsrc_output_abandon(&out);
    return status;
}

static json_t *config_json(const struct mkmodel_spec *spec) {
    const struct mkmodel_convention *convention = spec->convention;
    struct mkmodel_token_ids ids = mkmodel_token_ids(spec->vocab);
    json_t *root = json_pack(
        "{s:[s], s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:f, s:f, s:b, s:s, "
        "s:I, s:I}",
        "architectures", convention->architecture, "model_type", convention->model_type,
        "hidden_act", convention->activation, "hidden_size", (json_int_t)spec->hidden,
        "intermediate_size", (json_int_t)spec->ffn, "num_hidden_layers", (json_int_t)spec->layers,
        "num_attention_heads", (json_int_t)spec->heads, "num_key_value_heads",
        (json_int_t)spec->kv_heads, "head_dim", (json_int_t)spec->head_dim, "vocab_size",
        (json_int_t)spec->vocab, "max_position_embeddings", (json_int_t)spec->context,
        "attention_bias", 0, "tie_word_embeddings", (int)spec->tied, "rms_norm_eps", spec->norm_eps,
        "rope_theta", spec->rope_theta, "use_cache", 1, "torch_dtype",
        strcmp(convention->float_dtype, "F16") == 0 ? "float16" : "bfloat16", "bos_token_id",
        (json_int_t)ids.bos, "eos_token_id", (json_int_t)ids.eos);

    if (convention->has_deltas)
        json_object_update_new(
            root, json_pack("{s:I, s:I, s:I, s:I}", "linear_num_key_heads",
                            (json_int_t)spec->delta.key_heads, "linear_num_value_heads",
                            (json_int_t)spec->delta.value_heads, "linear_key_head_dim",
                            (json_int_t)spec->delta.head_dim, "linear_value_head_dim",
                            (json_int_t)spec->delta.head_dim));
    if (convention->quantization)
        json_object_set_new(root, "quantization_config",
                            json_loads(convention->quantization, 0, NULL));
    if (convention->extra)
        json_object_update_new(root, json_loads(convention->extra, 0, NULL));
    return root;
}

static json_t *generation_config_json(const struct mkmodel_spec *spec) {
    struct mkmodel_token_ids ids = mkmodel_token_ids(spec->vocab);

    return json_pack("{s:b, s:I, s:b, s:[I, I]}", "_from_model_config", 1, "bos_token_id",
                     (json_int_t)ids.bos, "do_sample", 0, "eos_token_id", (json_int_t)ids.eos,
                     (json_int_t)ids.eot);
}

static json_t *tokenizer_config_json(const struct mkmodel_spec *spec) {
    return json_pack("{s:s, s:s, s:s, s:b, s:I, s:s}", "bos_token", mkmodel_special_tokens[0],
                     "eos_token", mkmodel_special_tokens[1], "chat_template", mkmodel_chat_template,
                     "clean_up_tokenization_spaces", 0, "model_max_length",
                     (json_int_t)spec->context, "tokenizer_class", "PreTrainedTokenizerFast");
}

enum rsrc_status mkmodel_write_configs(const struct mkmodel_writer *writer) {
    const struct mkmodel_spec *spec = writer->spec;

    if (mkmodel_write_json(writer, "tokenizer.json",
                           mkmodel_tokenizer_json(writer->arena, spec->vocab, spec->seed)) !=
            RSRC_OK ||
        mkmodel_write_json(writer, "tokenizer_config.json", tokenizer_config_json(spec)) !=
            RSRC_OK ||
        mkmodel_write_json(writer, "generation_config.json", generation_config_json(spec)) !=
            RSRC_OK)
        return RSRC_FAILED;
    return mkmodel_write_json(writer, "config.json", config_json(spec));
}
