/* hf_embedding.c - embedding models: the modules of sentence-transformers, which describe how
 * hidden states become one vector, and BitNet's masters, whose tensors show what other models state
 * in quantization_config.
 *
 *   modules.json   a list of modules in order: Transformer, Pooling and, optionally, Normalize
 *   1_Pooling/config.json   flags pooling_mode_*, of which one is true
 *   sentence_bert_config.json, config_sentence_transformers.json   what changes a text before that
 *
 * Source: sentence_transformers.models, and the converter of BitNet's embedding models.
 */
#include <string.h>

#include "base/suffix.h"
#include "reader/hf_document.h"

#define MODULES_SLUG "modules"

/* ---- modules --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum rsr_pooling pooling;
} POOLINGS[] = {
    {"pooling_mode_lasttoken", RSR_POOLING_LAST},
    {"pooling_mode_cls_token", RSR_POOLING_FIRST},
    {"pooling_mode_mean_tokens", RSR_POOLING_MEAN},
};

#define MODE_PREFIX "pooling_mode_"
#define POOLING_HELP                                                                               \
    "one of pooling_mode_lasttoken, pooling_mode_cls_token and pooling_mode_mean_tokens must be "  \
    "true, and nothing else"

enum rsrc_status rsrc_parse_pooling(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const char *name, const uint8_t *bytes, uint64_t size_bytes,
                                    struct rsr_config *config) {
    json_t *root = rsrc_hf_parse(diag, name, bytes, size_bytes);
    if (root == NULL)
        return RSRC_FAILED;
    struct rsrc_hf_document doc = {
        .diag = diag, .arena = arena, .file = name, .root = root, .config = config};
    uint32_t n = 0, pooling = RSR_POOLING_NONE;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        if (strncmp(key, MODE_PREFIX, sizeof(MODE_PREFIX) - 1) != 0 || !json_is_true(value))
            continue;
        n++;
        for (size_t i = 0; i < sizeof(POOLINGS) / sizeof(POOLINGS[0]); i++)
            if (strcmp(key, POOLINGS[i].name) == 0)
                pooling = POOLINGS[i].pooling;
    }
    if (n != 1 || pooling == RSR_POOLING_NONE)
        rsrc_hf_refuse(&doc, "modules-pooling", POOLING_HELP,
                       n == 1 ? "this way of pooling is not supported"
                              : "%u ways of pooling are asked for",
                       n);
    json_decref(root);
    if (doc.failed)
        return RSRC_FAILED;
    config->hyper.pooling = pooling;
    return RSRC_OK;
}

/* The last part of "sentence_transformers.models.Pooling". */
static const char *class_of(const json_t *module) {
    const char *type = json_string_value(json_object_get(module, "type"));
    const char *dot = type == NULL ? NULL : strrchr(type, '.');
    return type == NULL ? "?" : dot == NULL ? type : dot + 1;
}

/* A path that stays in the folder: one name. */
static bool is_plain_name(const char *path) {
    return path != NULL && *path != '\0' && *path != '.' && strchr(path, '/') == NULL;
}

static enum rsrc_status refuse_modules(struct rsrc_diag *diag, const char *file, const char *help,
                                       const char *problem) {
    const struct rsrc_place place = {.file = file};
    return rsrc_refuse(diag, MODULES_SLUG, &place, help, "%s", problem);
}

enum rsrc_status rsrc_parse_modules(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const char *name, const uint8_t *bytes, uint64_t size_bytes,
                                    const char **pooling_folder, bool *normalized) {
    static const char help[] =
        "an embedding model is a Transformer, a Pooling and, if it normalises, a Normalize";
    json_t *root;
    if (rsrc_json_parse(diag, name, bytes, size_bytes, RSRC_CONFIG_SLUG, &root) != RSRC_OK)
        return RSRC_FAILED;
    const size_t n = json_array_size(root); /* 0: no list */
    const json_t *pooling = json_array_get(root, 1);
    const char *path = json_string_value(json_object_get(pooling, "path"));
    enum rsrc_status status = RSRC_OK;
    const char *model = json_string_value(json_object_get(json_array_get(root, 0), "path"));
    if (n < 2 || n > 3 || strcmp(class_of(json_array_get(root, 0)), "Transformer") != 0 ||
        strcmp(class_of(pooling), "Pooling") != 0) {
        status =
            refuse_modules(diag, name, help, "the list is not one of modules that are supported");
    } else if (n == 3 && strcmp(class_of(json_array_get(root, 2)), "Normalize") != 0) {
        status = refuse_modules(diag, name, help, "the third module is not Normalize");
    } else if (model != NULL && *model != '\0') {
        status = refuse_modules(diag, name, "give that folder's model the modules.json",
                                "the Transformer is in a folder of its own");
    } else if (!is_plain_name(path)) {
        status =
            refuse_modules(diag, name, NULL, "the path of Pooling is not the name of a folder");
    } else {
        *pooling_folder = rsrc_arena_strdup(arena, path);
        *normalized = n == 3;
    }
    json_decref(root);
    return status;
}

/* ---- settings -------------------------------------------------------------------------------- */

enum rsrc_status rsrc_check_sentence_settings(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                              const char *name, const uint8_t *bytes,
                                              uint64_t size_bytes, uint32_t *max_tokens) {
    json_t *root = rsrc_hf_parse(diag, name, bytes, size_bytes);
    if (root == NULL)
        return RSRC_FAILED;
    struct rsrc_hf_document doc = {.diag = diag, .arena = arena, .file = name, .root = root};
    const uint32_t max = rsrc_hf_count(&doc, root, "max_seq_length", UINT32_MAX, *max_tokens);
    if (json_is_true(rsrc_hf_field(root, "do_lower_case")))
        rsrc_hf_refuse(
            &doc, "modules-settings", "give lower-case texts, and set it to false",
            "\"do_lower_case\" is true: texts are not changed before they are tokenised");
    if (rsrc_hf_field(root, "default_prompt_name") != NULL)
        rsrc_hf_refuse(&doc, "modules-settings",
                       "put the prompt in front of your texts, and set it to null",
                       "\"default_prompt_name\" asks for a prompt in front of every text");
    json_decref(root);
    if (doc.failed)
        return RSRC_FAILED;
    *max_tokens = max;
    return RSRC_OK;
}

/* ---- BitNet's masters ------------------------------------------------------------------------ */

void rsrc_recognise_masters(struct rsr_checkpoint *checkpoint) {
    struct rsr_config *config = &checkpoint->config;
    if (config->scale_rule != RSR_SCALE_VALUES)
        return;
    for (uint32_t i = 0; i < checkpoint->n_tensors; i++) {
        if (!rsrc_ends_with(checkpoint->tensors[i].name, "_proj.norm.weight"))
            continue;
        rsrc_keep_head(config);
        config->scale_rule = RSR_SCALE_ONLINE;
        config->scale_reason =
            "every projection has a norm (q_proj.norm), as BitNet's float masters "
            "have; there is no \"quantization_config\"";
        config->input = RSR_INPUT_I8;
        config->input_reason = "BitNet's projections quantise what their norm gives to int8";
        config->projection_norm = "norm";
        config->projection_norm_eps = config->hyper.norm_eps;
        return;
    }
}
