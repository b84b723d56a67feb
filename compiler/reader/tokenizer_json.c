/* tokenizer_json.c - a Hugging Face tokenizer.json, compiled to the section of rsr_abi.h.
 *
 * Supported is what byte-level BPE models use: normalizer NFC or none; Split and ByteLevel
 * pre-tokenizers; a template that puts special tokens around the text; the ByteLevel decoder. Each
 * component of another kind is refused by name. Regular expressions are passed on as they are: the
 * runtime compiles them.
 */
#include <string.h>

#include "base/json.h"
#include "reader/checkpoint.h"
#include "reader/reader.h"

#define SLUG "tokenizer"

static enum rsrc_status refuse(const struct rsrc_tokenizer_draft *draft, const char *slug,
                               const char *what, const char *found, const char *help) {
    struct rsrc_place place = {.file = draft->file};
    rsrc_error(draft->diag, slug, &place, help, "%s '%s' is not supported", what,
               rsrc_quote(draft->scratch, found));
    return RSRC_FAILED;
}

static enum rsrc_status refuse_shape(const struct rsrc_tokenizer_draft *draft, const char *slug,
                                     const char *problem) {
    struct rsrc_place place = {.file = draft->file};
    rsrc_error(draft->diag, slug, &place, NULL, "%s", problem);
    return RSRC_FAILED;
}

static bool is_absent(const json_t *value) {
    return value == NULL || json_is_null(value);
}

/* The "type" of a component; never NULL. */
static const char *type_of(const json_t *component) {
    const char *type = json_string_value(json_object_get(component, "type"));
    return type == NULL ? "(no type)" : type;
}

/* ---- model ------------------------------------------------------------------------------------ */

/* Options of the BPE model that must be off: null, false or empty. */
static const char *const OFF_OPTIONS[] = {"dropout", "unk_token", "continuing_subword_prefix",
                                          "end_of_word_suffix", "byte_fallback"};

static bool is_off(const json_t *value) {
    return is_absent(value) || json_is_false(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_number(value) && json_number_value(value) == 0.0);
}

static enum rsrc_status read_model(struct rsrc_tokenizer_draft *draft, const json_t *root) {
    const json_t *model = json_object_get(root, "model");
    if (strcmp(type_of(model), "BPE") != 0) {
        return refuse(draft, "tokenizer-model", "model type", type_of(model),
                      "byte-level BPE is supported");
    }
    for (size_t i = 0; i < sizeof(OFF_OPTIONS) / sizeof(OFF_OPTIONS[0]); i++) {
        if (!is_off(json_object_get(model, OFF_OPTIONS[i]))) {
            return refuse(draft, "tokenizer-model", "option", OFF_OPTIONS[i],
                          "byte-level BPE without it is supported");
        }
    }
    if (rsrc_json_bool(draft->diag, draft->file, SLUG, model, "ignore_merges", false,
                       &draft->ignore_merges) != RSRC_OK) {
        return RSRC_FAILED;
    }
    return rsrc_draft_vocabulary(draft, root, model);
}

/* ---- normalizer and decoder ------------------------------------------------------------------- */

static enum rsrc_status read_normalizer(struct rsrc_tokenizer_draft *draft, const json_t *root) {
    const json_t *normalizer = json_object_get(root, "normalizer");
    const json_t *list = json_object_get(normalizer, "normalizers");
    if (strcmp(type_of(normalizer), "Sequence") == 0 && json_is_array(list) &&
        json_array_size(list) <= 1) {
        normalizer = json_array_get(list, 0);
    }
    if (is_absent(normalizer)) {
        draft->normalizer = RSR_NORMALIZER_NONE;
        return RSRC_OK;
    }
    if (strcmp(type_of(normalizer), "NFC") != 0) {
        return refuse(draft, "tokenizer-normalizer", "normalizer", type_of(normalizer),
                      "NFC and none are supported");
    }
    draft->normalizer = RSR_NORMALIZER_NFC;
    return RSRC_OK;
}

static enum rsrc_status check_decoder(const struct rsrc_tokenizer_draft *draft,
                                      const json_t *root) {
    const json_t *decoder = json_object_get(root, "decoder");
    if (!is_absent(decoder) && strcmp(type_of(decoder), "ByteLevel") != 0) {
        return refuse(draft, "tokenizer-decoder", "decoder", type_of(decoder),
                      "ByteLevel is supported");
    }
    return RSRC_OK;
}

/* ---- pre-tokenizers --------------------------------------------------------------------------- */

/* In the order of rsr_pretokenizer.behavior. */
static const char *const BEHAVIORS[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};

/* A literal as a regular expression: every ASCII character that could mean something is escaped. */
static const char *escape_literal(struct rsrc_arena *arena, const char *text) {
    char *out = rsrc_arena_alloc(arena, 2 * strlen(text) + 1), *end = out;
    for (const char *c = text; *c != '\0'; c++) {
        if (strchr("\\^$.[]|()?*+{}#-&~/ ", *c) != NULL) {
            *end++ = '\\';
        }
        *end++ = *c;
    }
    return out;
}

static enum rsrc_status read_split(struct rsrc_tokenizer_draft *draft, const json_t *component,
                                   struct rsrc_token_split *out) {
    const json_t *pattern = json_object_get(component, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    if ((regex == NULL) == (literal == NULL)) {
        return refuse_shape(draft, "tokenizer-pretokenizer",
                            "the pattern of a Split is neither a Regex nor a String");
    }
    out->pattern = regex != NULL ? regex : escape_literal(draft->scratch, literal);
    size_t n_bytes = strlen(out->pattern);
    if (n_bytes == 0 || n_bytes > UINT16_MAX) {
        return refuse_shape(draft, "tokenizer-pretokenizer",
                            "the pattern of a Split is empty or longer than 65535 bytes");
    }
    out->step.kind = RSR_PRETOKENIZER_SPLIT;
    out->step.pattern_bytes = (uint32_t)n_bytes;
    bool invert;
    const char *behavior;
    if (rsrc_json_bool(draft->diag, draft->file, SLUG, component, "invert", false, &invert) !=
            RSRC_OK ||
        rsrc_json_string(draft->diag, draft->file, SLUG, component, "behavior", &behavior) !=
            RSRC_OK) {
        return RSRC_FAILED;
    }
    out->step.invert = invert;
    for (uint32_t i = 0; behavior != NULL && i < sizeof(BEHAVIORS) / sizeof(BEHAVIORS[0]); i++) {
        if (strcmp(behavior, BEHAVIORS[i]) == 0) {
            out->step.behavior = i;
            return RSRC_OK;
        }
    }
    return refuse(draft, "tokenizer-pretokenizer", "Split behavior",
                  behavior == NULL ? "(none)" : behavior, NULL);
}

static enum rsrc_status read_byte_level(struct rsrc_tokenizer_draft *draft, const json_t *component,
                                        struct rsrc_token_split *out) {
    bool prefix_space, use_regex;
    /* The library requires add_prefix_space and takes use_regex for true. */
    if (!json_is_boolean(json_object_get(component, "add_prefix_space"))) {
        return refuse_shape(draft, "tokenizer-pretokenizer",
                            "ByteLevel without \"add_prefix_space\"");
    }
    if (rsrc_json_bool(draft->diag, draft->file, SLUG, component, "add_prefix_space", false,
                       &prefix_space) != RSRC_OK ||
        rsrc_json_bool(draft->diag, draft->file, SLUG, component, "use_regex", true, &use_regex) !=
            RSRC_OK) {
        return RSRC_FAILED;
    }
    out->step.kind = RSR_PRETOKENIZER_BYTE_LEVEL;
    out->step.add_prefix_space = prefix_space;
    out->step.use_regex = use_regex;
    return RSRC_OK;
}

static enum rsrc_status read_split_component(struct rsrc_tokenizer_draft *draft,
                                             const json_t *component) {
    if (draft->n_splits == RSRC_MAX_SPLITS) {
        return refuse_shape(draft, "tokenizer-pretokenizer", "more than 16 pre-tokenizers");
    }
    if (draft->n_splits > 0 &&
        draft->splits[draft->n_splits - 1].step.kind == RSR_PRETOKENIZER_BYTE_LEVEL) {
        return refuse_shape(draft, "tokenizer-pretokenizer",
                            "a pre-tokenizer after ByteLevel is not supported");
    }
    struct rsrc_token_split *out = &draft->splits[draft->n_splits++];
    if (strcmp(type_of(component), "Split") == 0) {
        return read_split(draft, component, out);
    }
    if (strcmp(type_of(component), "ByteLevel") == 0) {
        return read_byte_level(draft, component, out);
    }
    return refuse(draft, "tokenizer-pretokenizer", "pre-tokenizer", type_of(component),
                  "Split and ByteLevel, alone or in a Sequence, are supported");
}

static enum rsrc_status read_pretokenizers(struct rsrc_tokenizer_draft *draft, const json_t *root) {
    const json_t *component = json_object_get(root, "pre_tokenizer");
    if (strcmp(type_of(component), "Sequence") == 0) {
        const json_t *list = json_object_get(component, "pretokenizers");
        for (size_t i = 0; i < json_array_size(list); i++) {
            if (read_split_component(draft, json_array_get(list, i)) != RSRC_OK) {
                return RSRC_FAILED;
            }
        }
    } else if (!is_absent(component) && read_split_component(draft, component) != RSRC_OK) {
        return RSRC_FAILED;
    }
    if (draft->n_splits == 0 ||
        draft->splits[draft->n_splits - 1].step.kind != RSR_PRETOKENIZER_BYTE_LEVEL) {
        return refuse_shape(draft, "tokenizer-pretokenizer",
                            "no ByteLevel pre-tokenizer: only byte-level BPE is supported");
    }
    return RSRC_OK;
}

/* ---- post-processor --------------------------------------------------------------------------- */

/* The ids of one special token of the template, appended to `list`. */
static enum rsrc_status add_template_ids(const struct rsrc_tokenizer_draft *draft,
                                         const json_t *specials, const json_t *piece,
                                         uint32_t *list, uint32_t *n) {
    const char *name = json_string_value(json_object_get(piece, "id"));
    const json_t *ids =
        name == NULL ? NULL : json_object_get(json_object_get(specials, name), "ids");
    if (json_array_size(ids) == 0) {
        return refuse_shape(draft, "tokenizer-template",
                            "the template names a special token that has no ids");
    }
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        json_int_t number = json_integer_value(id);
        if (!json_is_integer(id) || number < 0 || number >= (json_int_t)draft->n_tokens ||
            draft->tokens[number].bytes == NULL) {
            struct rsrc_place place = {.file = draft->file};
            rsrc_error(draft->diag, "tokenizer-template", &place, NULL,
                       "the template gives special token '%s' an id that is not in the vocabulary",
                       rsrc_quote(draft->scratch, name));
            return RSRC_FAILED;
        }
        if (*n == RSRC_MAX_TEMPLATE_TOKENS) {
            return refuse_shape(draft, "tokenizer-template",
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
            return refuse_shape(draft, "tokenizer-template",
                                "the template has a piece that is not understood");
        }
    }
    if (n_texts != 1) {
        return refuse_shape(draft, "tokenizer-template",
                            "the template for one text does not hold the text exactly once");
    }
    return RSRC_OK;
}

static enum rsrc_status read_post_component(struct rsrc_tokenizer_draft *draft,
                                            const json_t *component, bool *has_template) {
    if (strcmp(type_of(component), "ByteLevel") == 0) {
        return RSRC_OK; /* corrects offsets, which we do not report */
    }
    if (strcmp(type_of(component), "TemplateProcessing") != 0) {
        return refuse(draft, "tokenizer-post-processor", "post-processor", type_of(component),
                      "TemplateProcessing and ByteLevel, alone or in a Sequence, are supported");
    }
    if (*has_template) {
        return refuse_shape(draft, "tokenizer-post-processor",
                            "more than one TemplateProcessing is not supported");
    }
    *has_template = true;
    return read_template(draft, component);
}

static enum rsrc_status read_post_processor(struct rsrc_tokenizer_draft *draft,
                                            const json_t *root) {
    const json_t *component = json_object_get(root, "post_processor");
    bool has_template = false;
    if (is_absent(component)) {
        return RSRC_OK;
    }
    if (strcmp(type_of(component), "Sequence") != 0) {
        return read_post_component(draft, component, &has_template);
    }
    const json_t *list = json_object_get(component, "processors");
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (read_post_component(draft, json_array_get(list, i), &has_template) != RSRC_OK) {
            return RSRC_FAILED;
        }
    }
    return RSRC_OK;
}

/* ---- entry point ------------------------------------------------------------------------------ */

enum rsrc_status rsrc_parse_tokenizer(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const char *name, const uint8_t *bytes, uint64_t size_bytes,
                                      struct rsr_tokenizer *out) {
    json_t *root;
    if (rsrc_json_parse(diag, name, bytes, size_bytes, SLUG, &root) != RSRC_OK) {
        return RSRC_FAILED;
    }
    struct rsrc_arena scratch;
    rsrc_arena_init(&scratch);
    struct rsrc_tokenizer_draft draft = {.diag = diag, .scratch = &scratch, .file = name};
    enum rsrc_status status = RSRC_FAILED;
    if (read_model(&draft, root) == RSRC_OK && read_normalizer(&draft, root) == RSRC_OK &&
        read_pretokenizers(&draft, root) == RSRC_OK &&
        read_post_processor(&draft, root) == RSRC_OK && check_decoder(&draft, root) == RSRC_OK) {
        rsrc_pack_tokenizer(arena, &draft, out);
        status = RSRC_OK;
    }
    rsrc_arena_free(&scratch);
    json_decref(root);
    return status;
}
