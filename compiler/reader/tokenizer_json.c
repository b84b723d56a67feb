/* tokenizer_json.c - a Hugging Face tokenizer.json, compiled to the section of rsr_abi.h.
 *
 * It supports the components that models with byte-level BPE (GPT-2, Llama 3, Qwen) and with
 * SentencePiece's BPE (Llama 2, Gemma) use. Each component of another kind is refused by name. This
 * file has the model and the post-processor; tokenizer_text.c has the processing of text,
 * tokenizer_vocab.c the vocabulary.
 */
#include <string.h>

#include "base/json.h"
#include "reader/checkpoint.h"
#include "reader/reader.h"

#define SLUG "tokenizer"

enum rsrc_status rsrc_refuse_component(const struct rsrc_tokenizer_draft *draft, const char *slug,
                                       const char *what, const char *found, const char *help) {
    struct rsrc_place place = {.file = draft->file};
    return rsrc_refuse(draft->diag, slug, &place, help, "%s '%s' is not supported", what,
                       rsrc_quote(draft->scratch, found));
}

enum rsrc_status rsrc_refuse_tokenizer(const struct rsrc_tokenizer_draft *draft, const char *slug,
                                       const char *problem) {
    struct rsrc_place place = {.file = draft->file};
    return rsrc_refuse(draft->diag, slug, &place, NULL, "%s", problem);
}

const char *rsrc_component_type(const json_t *component) {
    const char *type = json_string_value(json_object_get(component, "type"));
    return type == NULL ? "(no type)" : type;
}

/* ---- model ----------------------------------------------------------------------------------- */

/* Options of the BPE model that must be off, that is null, false, 0 or empty. */
static const struct {
    const char *name;
    bool in_bytes_alone; /* characters may have it */
} OFF_OPTIONS[] = {
    {"dropout", false},
    {"continuing_subword_prefix", false},
    {"end_of_word_suffix", false},
    {"unk_token", true},
    {"byte_fallback", true},
};

static bool is_off(const json_t *value) {
    return value == NULL || json_is_null(value) || json_is_false(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_number(value) && json_number_value(value) == 0.0);
}

/* Reads what happens to characters that the vocabulary lacks. */
static enum rsrc_status read_unknown(struct rsrc_tokenizer_draft *draft, const json_t *model) {
    const char *unk;
    draft->unk_token = RSR_NO_TOKEN;
    if (rsrc_json_bool(draft->diag, draft->file, SLUG, model, "byte_fallback", false,
                       &draft->byte_fallback) != RSRC_OK ||
        rsrc_json_bool(draft->diag, draft->file, SLUG, model, "fuse_unk", false,
                       &draft->fuse_unk) != RSRC_OK ||
        rsrc_json_string(draft->diag, draft->file, SLUG, model, "unk_token", &unk) != RSRC_OK) {
        return RSRC_FAILED;
    }
    if (unk == NULL || unk[0] == '\0') {
        return RSRC_OK;
    }
    const json_t *id = json_object_get(draft->vocab, unk);
    if (id == NULL) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-model",
                                     "\"unk_token\" is not in the vocabulary");
    }
    draft->unk_token = (uint32_t)json_integer_value(id);
    return RSRC_OK;
}

/* Other models, by the language models that have them. */
static const struct {
    const char *type;
    const char *help;
} OTHER_MODELS[] = {
    {"Unigram",
     "BPE is supported; Unigram is SentencePiece's other model, of T5, XLM-RoBERTa, ALBERT "
     "and what was made from them, whose architectures are not supported either"},
    {"WordPiece",
     "BPE is supported; WordPiece is the model of BERT and of embedding models made from "
     "it (MiniLM, BGE, E5), whose architecture is not supported either"},
};

/* This is checked first: another kind of model has other unknown components, too. */
static enum rsrc_status check_model_type(const struct rsrc_tokenizer_draft *draft,
                                         const json_t *root) {
    const char *type = rsrc_component_type(json_object_get(root, "model"));
    const char *help = "BPE is supported";
    if (strcmp(type, "BPE") == 0) {
        return RSRC_OK;
    }
    for (size_t i = 0; i < sizeof(OTHER_MODELS) / sizeof(OTHER_MODELS[0]); i++) {
        if (strcmp(type, OTHER_MODELS[i].type) == 0) {
            help = OTHER_MODELS[i].help;
        }
    }
    return rsrc_refuse_component(draft, "tokenizer-model", "model type", type, help);
}

static enum rsrc_status read_model(struct rsrc_tokenizer_draft *draft, const json_t *root) {
    const json_t *model = json_object_get(root, "model");
    bool bytes = draft->alphabet == RSR_BPE_BYTES;
    for (size_t i = 0; i < sizeof(OFF_OPTIONS) / sizeof(OFF_OPTIONS[0]); i++) {
        if ((bytes || !OFF_OPTIONS[i].in_bytes_alone) &&
            !is_off(json_object_get(model, OFF_OPTIONS[i].name))) {
            return rsrc_refuse_component(draft, "tokenizer-model", "option", OFF_OPTIONS[i].name,
                                         bytes ? "byte-level BPE without it is supported"
                                               : "BPE without it is supported");
        }
    }
    if (rsrc_json_bool(draft->diag, draft->file, SLUG, model, "ignore_merges", false,
                       &draft->ignore_merges) != RSRC_OK ||
        rsrc_draft_vocabulary(draft, root, model) != RSRC_OK) {
        return RSRC_FAILED;
    }
    return read_unknown(draft, model);
}

/* ---- post-processor -------------------------------------------------------------------------- */

/* The ids of one special token of the template, appended to `list`. */
static enum rsrc_status add_template_ids(const struct rsrc_tokenizer_draft *draft,
                                         const json_t *specials, const json_t *piece,
                                         uint32_t *list, uint32_t *n) {
    const char *name = json_string_value(json_object_get(piece, "id"));
    const json_t *ids =
        name == NULL ? NULL : json_object_get(json_object_get(specials, name), "ids");
    if (json_array_size(ids) == 0) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-template",
                                     "the template names a special token that has no ids");
    }
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        json_int_t number = json_integer_value(id);
        if (!json_is_integer(id) || number < 0 || number >= (json_int_t)draft->n_tokens ||
            draft->tokens[number].bytes == NULL) {
            struct rsrc_place place = {.file = draft->file};
            return rsrc_refuse(
                draft->diag, "tokenizer-template", &place, NULL,
                "the template gives special token '%s' an id that is not in the vocabulary",
                rsrc_quote(draft->scratch, name));
        }
        if (*n == RSRC_MAX_TEMPLATE_TOKENS) {
            return rsrc_refuse_tokenizer(draft, "tokenizer-template",
                                         "the template has more than 16 tokens on one side");
        }
        list[(*n)++] = (uint32_t)number;
    }
    return RSRC_OK;
}

static enum rsrc_status read_template(struct rsrc_tokenizer_draft *draft, const json_t *component) {
    const json_t *single = json_object_get(component, "single");
    const json_t *specials = json_object_get(component, "special_tokens");
    uint32_t n_texts = 0;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i);
        const json_t *special = json_object_get(piece, "SpecialToken");
        const char *text =
            json_string_value(json_object_get(json_object_get(piece, "Sequence"), "id"));
        if (special != NULL) {
            uint32_t *list = n_texts == 0 ? draft->prefix : draft->suffix;
            uint32_t *n = n_texts == 0 ? &draft->n_prefix : &draft->n_suffix;
            if (add_template_ids(draft, specials, special, list, n) != RSRC_OK) {
                return RSRC_FAILED;
            }
        } else if (text != NULL && strcmp(text, "A") == 0) {
            n_texts++;
        } else {
            return rsrc_refuse_tokenizer(draft, "tokenizer-template",
                                         "the template has a piece that is not understood");
        }
    }
    if (n_texts != 1) {
        return rsrc_refuse_tokenizer(
            draft, "tokenizer-template",
            "the template for one text does not hold the text exactly once");
    }
    return RSRC_OK;
}

static enum rsrc_status read_post_component(struct rsrc_tokenizer_draft *draft,
                                            const json_t *component, bool *has_template) {
    if (strcmp(rsrc_component_type(component), "ByteLevel") == 0) {
        return RSRC_OK; /* corrects offsets, which we do not report */
    }
    if (strcmp(rsrc_component_type(component), "TemplateProcessing") != 0) {
        return rsrc_refuse_component(
            draft, "tokenizer-post-processor", "post-processor", rsrc_component_type(component),
            "TemplateProcessing and ByteLevel, alone or in a Sequence, are supported");
    }
    if (*has_template) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-post-processor",
                                     "more than one TemplateProcessing is not supported");
    }
    *has_template = true;
    return read_template(draft, component);
}

static enum rsrc_status read_post_processor(struct rsrc_tokenizer_draft *draft,
                                            const json_t *root) {
    const json_t *component = json_object_get(root, "post_processor");
    bool has_template = false;
    if (component == NULL || json_is_null(component)) {
        return RSRC_OK;
    }
    if (strcmp(rsrc_component_type(component), "Sequence") != 0) {
        return read_post_component(draft, component, &has_template);
    }
    const json_t *list = json_object_get(component, "processors");
    if (!json_is_array(list)) {
        return rsrc_refuse_tokenizer(draft, "tokenizer-post-processor",
                                     "a Sequence without its list");
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (read_post_component(draft, json_array_get(list, i), &has_template) != RSRC_OK) {
            return RSRC_FAILED;
        }
    }
    return RSRC_OK;
}

/* ---- entry point ----------------------------------------------------------------------------- */

enum rsrc_status rsrc_parse_tokenizer(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const char *name, const uint8_t *bytes, uint64_t size_bytes,
                                      struct rsr_tokenizer *out) {
    json_t *root = NULL;
    struct rsrc_arena scratch;
    rsrc_arena_init(&scratch);
    struct rsrc_tokenizer_draft draft = {
        .diag = diag, .scratch = &scratch, .file = name, .nul = ""};
    enum rsrc_status status = RSRC_FAILED;
    if (rsrc_draft_parse(&draft, bytes, size_bytes, &root) == RSRC_OK &&
        check_model_type(&draft, root) == RSRC_OK &&
        rsrc_draft_pretokenizers(&draft, root) == RSRC_OK && read_model(&draft, root) == RSRC_OK &&
        rsrc_draft_normalizers(&draft, root) == RSRC_OK &&
        read_post_processor(&draft, root) == RSRC_OK &&
        rsrc_draft_decoder(&draft, root) == RSRC_OK) {
        rsrc_pack_tokenizer(arena, &draft, out);
        status = RSRC_OK;
    }
    rsrc_arena_free(&scratch);
    json_decref(root);
    return status;
}
