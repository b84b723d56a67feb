/* rsr_mkmodel_break.c - checkpoints that are wrong in exactly one way, each with the slug it must
 * get.
 *
 * `faults` has one row per kind: what is changed (tensors, a JSON file, the header's text, the
 * length word, the end of the file) and the new value. The tensor names are those of `--preset
 * tiny`; a fault that does not apply to a model is an error, never a silent no-op.
 */
#include <string.h>

#include "rsr_mkmodel.h"

enum fault_kind {
    REMOVE_TENSOR,
    RENAME_TENSOR,  /* to value */
    ADD_TENSOR,     /* dtype value, rows x cols; rows 0: one dimension */
    RETYPE_TENSOR,  /* dtype value */
    RESHAPE_TENSOR, /* rows x cols */
    PATCH_TENSOR,   /* first bytes become those of value, n_bytes of them */
    SET_JSON,       /* path in file target to the JSON text value; NULL: removed */
    REPLACE_FILE,   /* the text of file target becomes value */
    OMIT_FILE,      /* file target is not written */
    HEADER_TEXT,    /* the first `path` of the header's text becomes value */
    HEADER_OFFSETS, /* the last tensor's data_offsets move by begin and end */
    HEADER_LENGTH,  /* the length word becomes length */
    CUT             /* only the file's end changes */
};

struct mkmodel_fault {
    const char *name;
    const char *slug;
    enum fault_kind kind;
    const char *target;
    const char *path;
    const char *value;
    uint32_t n_bytes;
    uint64_t rows, cols;
    int64_t begin, end;
    uint64_t length;
    int64_t cut;  /* data bytes omitted; negative: added */
    bool sharded; /* several files of weights with an index */
};

#define CONFIG "config.json"
#define INDEX "model.safetensors.index.json"
#define TOKENIZER "tokenizer.json"
#define WEIGHT "model.layers.1.mlp.up_proj.weight"
#define SCALE "model.layers.1.mlp.up_proj.weight_scale"
#define NORM "model.layers.0.input_layernorm.weight"
#define HOSTILE "*/\\n\\\"\\u001b[31m../../x%s$(id)"
#define BRACKETS_16 "[[[[[[[[[[[[[[[["
#define BRACKETS_80 BRACKETS_16 BRACKETS_16 BRACKETS_16 BRACKETS_16 BRACKETS_16

#define ADDED(id, content)                                                                         \
    "{\"id\": " id ", \"content\": \"" content "\", \"single_word\": false, \"lstrip\": false, "   \
    "\"rstrip\": false, \"normalized\": false, \"special\": true}"
#define FAULT(name_, slug_, kind_, ...)                                                            \
    { .name = name_, .slug = slug_, .kind = kind_, __VA_ARGS__ }

static const struct mkmodel_fault faults[] = {
    /* the container */
    FAULT("truncated", "safetensors-truncated", CUT, .cut = 8),
    FAULT("trailing-bytes", "safetensors-trailing", CUT, .cut = -16),
    FAULT("header-length", "safetensors-header-size", HEADER_LENGTH, .length = UINT64_MAX),
    FAULT("header-past-end", "safetensors-truncated", HEADER_LENGTH, .length = 99999999),
    FAULT("overlap", "safetensors-overlap", HEADER_OFFSETS, .begin = -8, .end = -8, .cut = 8),
    FAULT("hole", "safetensors-hole", HEADER_OFFSETS, .begin = 8, .end = 8, .cut = -8),
    FAULT("reversed-offsets", "safetensors-offsets", HEADER_OFFSETS, .begin = 1, .end = -9999),
    FAULT("wrong-size", "safetensors-size", HEADER_OFFSETS, .end = -8),
    FAULT("header-syntax", "safetensors-syntax", HEADER_TEXT, .path = ":", .value = " "),
    FAULT("deep-header", "safetensors-depth", HEADER_TEXT, .path = "{",
          .value = "{\"x\":" BRACKETS_80),
    FAULT("duplicate-name", "safetensors-duplicate", HEADER_TEXT, .path = "{",
          .value = "{\"" NORM "\":{},"),
    FAULT("negative-dimension", "safetensors-shape", HEADER_TEXT, .path = "\"shape\":[",
          .value = "\"shape\":[-"),
    FAULT("huge-dimensions", "safetensors-shape", HEADER_TEXT, .path = "\"shape\":[",
          .value = "\"shape\":[4611686018427387904,4611686018427387904,"),
    FAULT("many-dimensions", "safetensors-shape", HEADER_TEXT, .path = "\"shape\":[",
          .value = "\"shape\":[1,1,1,1,"),
    FAULT("no-dtype", "safetensors-entry", HEADER_TEXT, .path = "\"dtype\":", .value = "\"type\":"),
    FAULT("metadata-type", "safetensors-metadata", HEADER_TEXT, .path = "{\"format\":\"pt\"}",
          .value = "7"),
    FAULT("unknown-dtype", "safetensors-dtype", RETYPE_TENSOR, .target = WEIGHT,
          .value = "F8_E4M3"),
    /* the model's tensors */
    FAULT("missing-tensor", "graph-missing-tensor", REMOVE_TENSOR, .target = WEIGHT),
    FAULT("missing-scale", "graph-missing-tensor", REMOVE_TENSOR, .target = SCALE),
    FAULT("missing-norm", "graph-missing-tensor", REMOVE_TENSOR, .target = NORM),
    FAULT("missing-embedding", "graph-missing-tensor", REMOVE_TENSOR,
          .target = "model.embed_tokens.weight"),
    FAULT("misspelt-tensor", "graph-missing-tensor", RENAME_TENSOR, .target = WEIGHT,
          .value = "model.layers.1.mlp.upproj.weight"),
    FAULT("extra-tensor", "graph-unexpected-tensor", ADD_TENSOR, .target = "model.extra",
          .value = "BF16", .cols = 16),
    FAULT("hostile-tensor-name", "graph-unexpected-tensor", ADD_TENSOR,
          .target = "*/\n\"\x1b[31m../../x%s$(id)", .value = "BF16", .cols = 16),
    FAULT("bias", "graph-bias", ADD_TENSOR, .target = "model.layers.0.self_attn.q_proj.bias",
          .value = "BF16", .cols = 64),
    FAULT("extra-norm", "graph-extra-norm", ADD_TENSOR,
          .target = "model.layers.0.self_attn.q_norm.weight", .value = "BF16", .cols = 16),
    FAULT("tied-head-differs", "graph-tied-head", ADD_TENSOR, .target = "lm_head.weight",
          .value = "BF16", .rows = 512, .cols = 64),
    FAULT("wrong-shape", "graph-shape", RESHAPE_TENSOR, .target = WEIGHT, .rows = 64, .cols = 44),
    FAULT("scale-shape", "graph-shape", RESHAPE_TENSOR, .target = SCALE, .cols = 2),
    FAULT("norm-shape", "graph-shape", RESHAPE_TENSOR, .target = NORM, .cols = 65),
    FAULT("wrong-dtype", "graph-dtype", RETYPE_TENSOR, .target = WEIGHT, .value = "BF16"),
    FAULT("norm-dtype", "graph-dtype", RETYPE_TENSOR, .target = NORM, .value = "I8"),
    FAULT("code-3", "ternary-code", PATCH_TENSOR, .target = WEIGHT, .value = "\x55\x0c",
          .n_bytes = 2),
    FAULT("nan-scale", "scale-value", PATCH_TENSOR, .target = SCALE, .value = "\xc0\x7f",
          .n_bytes = 2),
    FAULT("inf-scale", "scale-value", PATCH_TENSOR, .target = SCALE, .value = "\x80\x7f",
          .n_bytes = 2),
    FAULT("zero-scale", "scale-value", PATCH_TENSOR, .target = SCALE, .value = "\0\0",
          .n_bytes = 2),
    FAULT("negative-scale", "scale-value", PATCH_TENSOR, .target = SCALE, .value = "\x80\xbf",
          .n_bytes = 2),
    FAULT("nan-norm", "tensor-not-finite", PATCH_TENSOR, .target = NORM,
          .value = "\x80\x3f\xc0\x7f", .n_bytes = 4),
    FAULT("nan-embedding", "tensor-not-finite", PATCH_TENSOR, .target = "model.embed_tokens.weight",
          .value = "\x80\x3f\xc0\x7f", .n_bytes = 4),
    /* config.json */
    FAULT("config-syntax", "config-syntax", REPLACE_FILE, .target = CONFIG,
          .value = "{\"model_type\": \"bitnet\","),
    FAULT("config-deep", "config-depth", REPLACE_FILE, .target = CONFIG, .value = BRACKETS_80),
    FAULT("config-duplicate", "config-duplicate", REPLACE_FILE, .target = CONFIG,
          .value = "{\"model_type\": \"bitnet\", \"model_type\": \"llama\"}"),
    FAULT("config-no-hidden-size", "config-missing", SET_JSON, .target = CONFIG,
          .path = "hidden_size"),
    FAULT("config-type", "config-field", SET_JSON, .target = CONFIG, .path = "hidden_size",
          .value = "\"64\""),
    FAULT("config-range", "config-field", SET_JSON, .target = CONFIG, .path = "vocab_size",
          .value = "-1"),
    FAULT("model-type", "config-model-type", SET_JSON, .target = CONFIG, .path = "model_type",
          .value = "\"mamba\""),
    FAULT("hostile-model-type", "config-model-type", SET_JSON, .target = CONFIG,
          .path = "model_type", .value = "\"" HOSTILE "\""),
    FAULT("linear-class", "config-linear-class", SET_JSON, .target = CONFIG,
          .path = "quantization_config/linear_class", .value = "\"magiclinear\""),
    FAULT("quantization-mode", "config-linear-class", SET_JSON, .target = CONFIG,
          .path = "quantization_config/quantization_mode", .value = "\"sometimes\""),
    FAULT("quant-method", "config-quantization", SET_JSON, .target = CONFIG,
          .path = "quantization_config/quant_method", .value = "\"gptq\""),
    FAULT("no-quantization", "config-quantization", SET_JSON, .target = CONFIG,
          .path = "quantization_config"),
    FAULT("use-rms-norm", "graph-missing-tensor", SET_JSON, .target = CONFIG,
          .path = "quantization_config/use_rms_norm", .value = "true"),
    FAULT("not-converted", "graph-dtype", SET_JSON, .target = CONFIG,
          .path = "quantization_config/modules_to_not_convert", .value = "[\"mlp.up_proj\"]"),
    FAULT("rope-scaling", "config-rope", SET_JSON, .target = CONFIG, .path = "rope_scaling",
          .value = "{\"rope_type\": \"llama3\", \"factor\": 8.0}"),
    FAULT("partial-rotary", "config-unsupported", SET_JSON, .target = CONFIG,
          .path = "partial_rotary_factor", .value = "0.5"),
    FAULT("sliding-window", "config-unsupported", SET_JSON, .target = CONFIG,
          .path = "sliding_window", .value = "4096"),
    FAULT("attention-bias", "config-unsupported", SET_JSON, .target = CONFIG,
          .path = "attention_bias", .value = "true"),
    FAULT("experts", "config-unsupported", SET_JSON, .target = CONFIG, .path = "num_local_experts",
          .value = "8"),
    FAULT("activation", "config-activation", SET_JSON, .target = CONFIG, .path = "hidden_act",
          .value = "\"gelu\""),
    FAULT("heads", "config-heads", SET_JSON, .target = CONFIG, .path = "num_key_value_heads",
          .value = "3"),
    FAULT("too-many-layers", "graph-layers", SET_JSON, .target = CONFIG,
          .path = "num_hidden_layers", .value = "1000"),
    FAULT("one-more-layer", "graph-missing-tensor", SET_JSON, .target = CONFIG,
          .path = "num_hidden_layers", .value = "3"),
    FAULT("one-layer-less", "graph-unexpected-tensor", SET_JSON, .target = CONFIG,
          .path = "num_hidden_layers", .value = "1"),
    FAULT("vocab-size", "graph-shape", SET_JSON, .target = CONFIG, .path = "vocab_size",
          .value = "513"),
    FAULT("eos-token", "config-token", SET_JSON, .target = CONFIG, .path = "eos_token_id",
          .value = "100000"),
    FAULT("no-config", "checkpoint-no-config", OMIT_FILE, .target = CONFIG),
    /* shards and their index */
    FAULT("index-syntax", "checkpoint-index-syntax", REPLACE_FILE, .target = INDEX,
          .value = "{\"weight_map\": {", .sharded = true),
    FAULT("index-empty", "checkpoint-index", SET_JSON, .target = INDEX, .path = "weight_map",
          .value = "{}", .sharded = true),
    FAULT("index-entry-missing", "checkpoint-index", SET_JSON, .target = INDEX,
          .path = "weight_map/" NORM, .sharded = true),
    FAULT("shard-missing", "file-unreadable", SET_JSON, .target = INDEX,
          .path = "weight_map/model.extra", .value = "\"model-99999-of-99999.safetensors\"",
          .sharded = true),
    FAULT("hostile-shard", "checkpoint-shard-name", SET_JSON, .target = INDEX,
          .path = "weight_map/" NORM, .value = "\"../../../../etc/passwd\"", .sharded = true),
    FAULT("shard-truncated", "safetensors-truncated", CUT, .cut = 8, .sharded = true),
    /* tokenizer.json and tokenizer_config.json */
    FAULT("tokenizer-syntax", "tokenizer-syntax", REPLACE_FILE, .target = TOKENIZER,
          .value = "{\"version\": \"1.0\", \"mod"),
    FAULT("tokenizer-deep", "tokenizer-depth", REPLACE_FILE, .target = TOKENIZER,
          .value = BRACKETS_80),
    FAULT("tokenizer-model", "tokenizer-model", SET_JSON, .target = TOKENIZER, .path = "model/type",
          .value = "\"Unigram\""),
    FAULT("tokenizer-normalizer", "tokenizer-normalizer", SET_JSON, .target = TOKENIZER,
          .path = "normalizer", .value = "{\"type\": \"Lowercase\"}"),
    FAULT("tokenizer-split", "tokenizer-pretokenizer", SET_JSON, .target = TOKENIZER,
          .path = "pre_tokenizer", .value = "{\"type\": \"Metaspace\"}"),
    FAULT("tokenizer-merge", "tokenizer-merge", SET_JSON, .target = TOKENIZER,
          .path = "model/merges", .value = "[\"nowhere everywhere\"]"),
    FAULT("tokenizer-vocab", "tokenizer-vocab", SET_JSON, .target = TOKENIZER,
          .path = "added_tokens",
          .value =
              "[" ADDED("509", "<|begin_of_text|>") "," ADDED("510", "<|end_of_text|>") "," ADDED(
                  "511", "<|eot_id|>") "," ADDED("512", "<|beyond|>") "]"),
    FAULT("tokenizer-id", "tokenizer-id", SET_JSON, .target = TOKENIZER, .path = "model/vocab/zzzz",
          .value = "-1"),
    FAULT("hostile-decoder", "tokenizer-decoder", SET_JSON, .target = TOKENIZER,
          .path = "decoder/type", .value = "\"" HOSTILE "\""),
    FAULT("eos-text", "tokenizer-config-field", SET_JSON, .target = "tokenizer_config.json",
          .path = "eos_token", .value = "7"),
};

const struct mkmodel_fault *mkmodel_fault(uint32_t i) {
    return i < sizeof faults / sizeof *faults ? &faults[i] : NULL;
}

const struct mkmodel_fault *mkmodel_find_fault(const char *name) {
    for (uint32_t i = 0; mkmodel_fault(i); i++)
        if (strcmp(faults[i].name, name) == 0)
            return &faults[i];
    return NULL;
}

const char *mkmodel_fault_name(const struct mkmodel_fault *fault) {
    return fault->name;
}

const char *mkmodel_fault_slug(const struct mkmodel_fault *fault) {
    return fault->slug;
}

bool mkmodel_fault_is_sharded(const struct mkmodel_fault *fault) {
    return fault && fault->sharded;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static void remove_tensor(struct mkmodel_plan *plan, struct mkmodel_tensor *tensor) {
    size_t after = (size_t)(plan->tensors + plan->n_tensors - tensor) - 1;

    memmove(tensor, tensor + 1, after * sizeof *tensor);
    plan->n_tensors--;
}

/* Returns false if the fault's tensor does not exist. */
static bool apply_to_tensor(const struct mkmodel_fault *fault, struct mkmodel_plan *plan,
                            struct mkmodel_tensor *tensor) {
    switch (fault->kind) {
    case REMOVE_TENSOR:
        remove_tensor(plan, tensor);
        return true;
    case RENAME_TENSOR:
        tensor->name = fault->value;
        return true;
    case RETYPE_TENSOR:
        tensor->dtype = fault->value;
        return true;
    case RESHAPE_TENSOR:
        tensor->n_dims = fault->rows ? 2 : 1;
        tensor->shape[0] = fault->rows ? fault->rows : fault->cols;
        tensor->shape[1] = fault->cols;
        return true;
    case PATCH_TENSOR:
        tensor->patch = (const uint8_t *)fault->value;
        tensor->n_patch = fault->n_bytes;
        return true;
    case ADD_TENSOR:
    case SET_JSON:
    case REPLACE_FILE:
    case OMIT_FILE:
    case HEADER_TEXT:
    case HEADER_OFFSETS:
    case HEADER_LENGTH:
    case CUT:
        break;
    }
    return false;
}

enum rsrc_status mkmodel_break_tensors(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                       const struct mkmodel_fault *fault,
                                       struct mkmodel_plan *plan) {
    if (!fault || fault->kind > PATCH_TENSOR)
        return RSRC_OK;
    if (fault->kind == ADD_TENSOR) {
        mkmodel_plan_add(arena, plan, fault->target, fault->value, fault->rows, fault->cols)
            ->spread = 1.0;
        return RSRC_OK;
    }
    for (uint32_t i = 0; i < plan->n_tensors; i++)
        if (strcmp(plan->tensors[i].name, fault->target) == 0 &&
            apply_to_tensor(fault, plan, &plan->tensors[i]))
            return RSRC_OK;
    return rsrc_refuse(diag, "mkmodel-break", NULL, "use --preset tiny with its own convention",
                       "--break %s needs the tensor %s, which this model does not have",
                       fault->name, fault->target);
}

/* ---- JSON files ------------------------------------------------------------------------------ */

static bool is_about(const struct mkmodel_fault *fault, enum fault_kind kind, const char *file) {
    return fault && fault->kind == kind && strcmp(fault->target, file) == 0;
}

void mkmodel_break_json(const struct mkmodel_fault *fault, const char *file, json_t *root) {
    if (!is_about(fault, SET_JSON, file))
        return;

    const char *path = fault->path;
    for (const char *slash; (slash = strchr(path, '/')) != NULL; path = slash + 1)
        root = json_object_getn(root, path, (size_t)(slash - path));
    if (fault->value)
        json_object_set_new(root, path, json_loads(fault->value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(root, path);
}

const char *mkmodel_break_text(struct rsrc_arena *arena, const struct mkmodel_fault *fault,
                               const char *file, const char *text) {
    return rsrc_arena_strdup(arena, is_about(fault, REPLACE_FILE, file) ? fault->value : text);
}

bool mkmodel_break_omits(const struct mkmodel_fault *fault, const char *file) {
    return is_about(fault, OMIT_FILE, file);
}

/* ---- the container --------------------------------------------------------------------------- */

static const char *last_of(const char *text, const char *word) {
    const char *last = NULL;

    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        last = at;
    return last;
}

const char *mkmodel_break_header(struct rsrc_arena *arena, const struct mkmodel_fault *fault,
                                 const char *header) {
    if (fault && fault->kind == HEADER_TEXT) {
        const char *at = strstr(header, fault->path);

        if (!at)
            return header;
        return rsrc_arena_printf(arena, "%.*s%s%s", (int)(at - header), header, fault->value,
                                 at + strlen(fault->path));
    }
    if (fault && fault->kind == HEADER_OFFSETS) {
        const char *at = last_of(header, "\"data_offsets\":[");
        long long begin, end;
        int n_read = 0;

        if (!at || sscanf(at, "\"data_offsets\":[%lld,%lld]%n", &begin, &end, &n_read) != 2)
            return header;
        return rsrc_arena_printf(arena, "%.*s\"data_offsets\":[%lld,%lld]%s", (int)(at - header),
                                 header, begin + (long long)fault->begin,
                                 end + (long long)fault->end, at + n_read);
    }
    return header;
}

uint64_t mkmodel_break_length(const struct mkmodel_fault *fault, uint64_t length) {
    return fault && fault->kind == HEADER_LENGTH ? fault->length : length;
}

int64_t mkmodel_break_cut(const struct mkmodel_fault *fault, uint64_t data_bytes) {
    if (!fault || fault->cut > (int64_t)data_bytes)
        return 0;
    return fault->cut;
}
