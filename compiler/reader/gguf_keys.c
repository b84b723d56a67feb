/* gguf_keys.c - names of GGUF metadata that do not change what a model computes.
 *
 * A model that computes more than its architecture has keys of its own: prism.hadamard.* asks for
 * rotated activations, and a reader that ignored a key would print nonsense. So a file is refused
 * unless every key is in these tables or belongs to the architecture (gguf_model.c). The names are
 * those of the gguf package, and of the converters of gguf, llama.cpp and ollama.
 */
#include "reader/gguf_keys.h"

#include <stddef.h>
#include <string.h>

static const char *const KEYS[] = {
    /* of the container, which gguf.c and gguf_model.c read */
    "general.alignment",
    "general.architecture",
    "general.type",
    /* descriptions */
    "general.author",
    "general.basename",
    "general.datasets",
    "general.description",
    "general.doi",
    "general.file_type",
    "general.finetune",
    "general.languages",
    "general.license",
    "general.name",
    "general.organization",
    "general.parameter_count",
    "general.quantization_version",
    "general.quantized_by",
    "general.repo_url",
    "general.size_label",
    "general.tags",
    "general.url",
    "general.uuid",
    "general.version",
    /* which gguf_split.c reads */
    "split.count",
    "split.no",
    "split.tensors.count",
    /* keys that gguf_tokenizer.c or gguf_model.c reads */
    "tokenizer.chat_template",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_eos_token",
    "tokenizer.ggml.add_space_prefix",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eom_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.precompiled_charsmap",
    "tokenizer.ggml.remove_extra_whitespaces",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.unknown_token_id",
    /* about pairs of texts, masks and infilling: they do not change the tokens of a text */
    "tokenizer.chat_templates",
    "tokenizer.ggml.add_sep_token",
    "tokenizer.ggml.cls_token_id",
    "tokenizer.ggml.fim_mid_token_id",
    "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_pre_token_id",
    "tokenizer.ggml.fim_rep_token_id",
    "tokenizer.ggml.fim_sep_token_id",
    "tokenizer.ggml.fim_suf_token_id",
    "tokenizer.ggml.mask_token_id",
    "tokenizer.ggml.middle_token_id",
    "tokenizer.ggml.padding_token_id",
    "tokenizer.ggml.prefix_token_id",
    "tokenizer.ggml.seperator_token_id",
    "tokenizer.ggml.suffix_token_id",
    "tokenizer.ggml.token_type_count",
    /* the same tokenizer in another form */
    "tokenizer.huggingface.json",
};

/* All keys below these only describe: origins, recommended sampling, runs of quantisers, templates
 * with other names than the default. */
static const char *const PREFIXES[] = {
    "general.base_model.", "general.dataset.", "general.license.",  "general.sampling.",
    "general.source.",     "mradermacher.",    "quantize.imatrix.", "tokenizer.chat_template.",
};

bool rsrc_gguf_is_known_key(const char *key) {
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++)
        if (strcmp(key, KEYS[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof(PREFIXES) / sizeof(PREFIXES[0]); i++)
        if (strncmp(key, PREFIXES[i], strlen(PREFIXES[i])) == 0)
            return true;
    return false;
}

const char *rsrc_gguf_help_for_key(const char *key) {
    static const char PRISM[] = "prism.";
    if (strncmp(key, PRISM, strlen(PRISM)) == 0)
        return "the weights go with transformed activations, and without the transform the model "
               "says nonsense; take a file of this model that has no prism.* keys";
    return "it may change what the model computes; if it only describes the file, "
           "gguf-new-metadata --remove-metadata of the gguf package makes one without it";
}
