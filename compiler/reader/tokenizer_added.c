/* tokenizer_added.c - checks that the files beside tokenizer.json agree with its added tokens.
 *
 * transformers adds tokens that tokenizer_config.json names and tokenizer.json lacks. Flags of the
 * former's added_tokens_decoder have precedence. Without added_tokens_decoder, it reads
 * special_tokens_map.json and added_tokens.json. save_pretrained() writes all files consistently,
 * so files that differ were edited or come from different models: they are refused. add_bos_token,
 * add_eos_token and add_prefix_space also change a tokenizer, depending on its class and the
 * version of transformers: they must agree with tokenizer.json. Source: PreTrainedTokenizerFast,
 * TokenizersBackend and PreTrainedTokenizerBase._from_pretrained.
 */
#include <string.h>

#include "base/json.h"
#include "base/suffix.h"
#include "reader/reader.h"

#define TOKEN_SLUG "tokenizer-added-token"
#define SAVE_AGAIN                                                                                 \
    "python3 -c \"from transformers import AutoTokenizer; "                                        \
    "AutoTokenizer.from_pretrained('.').save_pretrained('.')\" in its folder makes the files "     \
    "agree as transformers reads them"

/* A file beside tokenizer.json. */
struct beside {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *file;
    const struct rsr_tokenizer *tokenizer;
    json_t *ids; /* added token of tokenizer.json -> id */
};

static const void *part(const struct beside *beside, uint64_t at) {
    return (const uint8_t *)beside->tokenizer->section + at;
}

static void list_added(struct beside *beside) {
    const struct rsr_tokenizer_header *section = beside->tokenizer->section;
    const uint64_t *begin = part(beside, section->text_begin_at);
    const char *text = part(beside, section->text_at);
    const uint8_t *flags = part(beside, section->flags_at);
    beside->ids = json_object();
    for (uint32_t id = 0; id < section->n_tokens; id++) {
        const char *key = text + begin[id];
        const size_t n = (size_t)(begin[id + 1] - begin[id]);
        if ((flags[id] & RSR_TOKEN_ADDED) != 0)
            json_object_setn_new_nocheck(beside->ids, key, n, json_integer(id));
    }
}

static enum rsrc_status refuse(const struct beside *beside, const char *slug, const char *help,
                               const char *text) {
    const struct rsrc_place place = {.file = beside->file};
    return rsrc_refuse(beside->diag, slug, &place, help, "%s", text);
}

static enum rsrc_status refuse_type(const struct beside *beside, const char *key,
                                    const json_t *value, const char *expected) {
    return refuse(beside, "tokenizer-config-field", NULL,
                  rsrc_arena_printf(beside->arena, "\"%s\" holds %s where %s is expected", key,
                                    rsrc_json_type_name(value), expected));
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/* A string, or an object with "content"; NULL: neither. */
static const char *text_of(const json_t *token) {
    return json_string_value(json_is_object(token) ? json_object_get(token, "content") : token);
}

static enum rsrc_status check_token(const struct beside *beside, const char *key,
                                    const json_t *token) {
    const char *text = text_of(token);
    if (json_is_null(token))
        return RSRC_OK;
    if (text == NULL)
        return refuse_type(beside, key, token, "a token");
    if (text[0] == '\0' || json_object_get(beside->ids, text) != NULL)
        return RSRC_OK;
    return refuse(
        beside, TOKEN_SLUG, SAVE_AGAIN,
        rsrc_arena_printf(beside->arena,
                          "\"%s\" names '%s', which is not an added token of tokenizer.json", key,
                          rsrc_quote(beside->arena, text)));
}

/* A list of tokens, or an object of them by name. */
static enum rsrc_status check_tokens(const struct beside *beside, const char *key, json_t *tokens) {
    const char *name;
    json_t *token;
    size_t i;
    json_object_foreach(tokens, name, token) {
        if (check_token(beside, key, token) != RSRC_OK)
            return RSRC_FAILED;
    }
    json_array_foreach(tokens, i, token) {
        if (check_token(beside, key, token) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

/* The special tokens that an object of settings names. */
static enum rsrc_status check_named(const struct beside *beside, json_t *root) {
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        const bool is_token =
            rsrc_ends_with(key, "_token") && (json_is_string(value) || json_is_object(value));
        const bool is_list = strcmp(key, "additional_special_tokens") == 0 ||
                             strcmp(key, "extra_special_tokens") == 0;
        if ((is_token && check_token(beside, key, value) != RSRC_OK) ||
            (is_list && check_tokens(beside, key, value) != RSRC_OK))
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

/* ---- flags ----------------------------------------------------------------------------------- */

static const struct {
    const char *key;
    enum rsr_token_flag flag;
} FLAGS[] = {
    {"lstrip", RSR_TOKEN_LSTRIP},
    {"rstrip", RSR_TOKEN_RSTRIP},
    {"single_word", RSR_TOKEN_SINGLE_WORD},
    {"normalized", RSR_TOKEN_NORMALIZED},
};

/* An absent flag is false, with one exception: tokens that are not special are normalised. */
static enum rsrc_status check_flags(const struct beside *beside, const json_t *token) {
    const char *text = text_of(token);
    const json_t *id = json_object_get(beside->ids, text);
    const uint8_t *flags = part(beside, beside->tokenizer->section->flags_at);
    const bool is_special = json_is_true(json_object_get(token, "special"));
    for (size_t i = 0; i < sizeof(FLAGS) / sizeof(FLAGS[0]); i++) {
        const json_t *value = json_object_get(token, FLAGS[i].key);
        const bool is_set = json_is_boolean(value)
                                ? json_is_true(value)
                                : FLAGS[i].flag == RSR_TOKEN_NORMALIZED && !is_special;
        if (is_set == ((flags[json_integer_value(id)] & FLAGS[i].flag) != 0))
            continue;
        return refuse(beside, TOKEN_SLUG, SAVE_AGAIN,
                      rsrc_arena_printf(beside->arena,
                                        "\"%s\" of token '%s' is %s here and %s in tokenizer.json",
                                        FLAGS[i].key, rsrc_quote(beside->arena, text),
                                        is_set ? "true" : "false", is_set ? "false" : "true"));
    }
    return RSRC_OK;
}

static enum rsrc_status check_decoder(const struct beside *beside, json_t *tokens) {
    const char *id;
    json_t *token;
    if (!json_is_object(tokens))
        return refuse_type(beside, "added_tokens_decoder", tokens, "an object");
    json_object_foreach(tokens, id, token) {
        if (!json_is_object(token))
            return refuse_type(beside, "added_tokens_decoder", token, "an object");
        const char *text = text_of(token);
        if (check_token(beside, "added_tokens_decoder", token) != RSRC_OK ||
            (text[0] != '\0' && check_flags(beside, token) != RSRC_OK))
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

/* ---- what is put around a text --------------------------------------------------------------- */

#define CONTRADICTION "tokenizer-config-contradiction"
#define CONTRADICTION_HELP                                                                         \
    "make it what the model was trained with in both files: classes and versions of transformers " \
    "follow the one or the other"

static const char *class_of(const json_t *root) {
    const char *name = json_string_value(json_object_get(root, "tokenizer_class"));
    return name == NULL ? "" : name;
}

/* Classes that do not change the post-processor. */
static bool is_generic(const json_t *root) {
    return strcmp(class_of(root), "PreTrainedTokenizerFast") == 0 ||
           strcmp(class_of(root), "TokenizersBackend") == 0;
}

static bool has_prefix(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static enum rsrc_status refuse_setting(const struct beside *beside, const char *key, bool setting,
                                       const char *does) {
    return refuse(beside, CONTRADICTION, CONTRADICTION_HELP,
                  rsrc_arena_printf(beside->arena, "\"%s\" is %s, but tokenizer.json %s", key,
                                    setting ? "true" : "false", does));
}

/* Whether the setting contradicts the tokens that tokenizer.json adds on that side of a text. */
static enum rsrc_status check_around(const struct beside *beside, const json_t *root,
                                     const char *key, const char *text, uint64_t at, uint32_t n) {
    const json_t *setting = json_object_get(root, key);
    const json_t *id = json_object_get(beside->ids, text);
    const uint32_t *tokens = part(beside, at);
    bool is_there = false;
    if (!json_is_boolean(setting) || id == NULL)
        return RSRC_OK;
    for (uint32_t i = 0; i < n; i++)
        is_there |= tokens[i] == (uint32_t)json_integer_value(id);
    return json_is_true(setting) == is_there
               ? RSRC_OK
               : refuse_setting(beside, key, !is_there,
                                rsrc_arena_printf(beside->arena, "%s '%s'",
                                                  is_there ? "adds" : "does not add",
                                                  rsrc_quote(beside->arena, text)));
}

static enum rsrc_status check_template(const struct beside *beside, const json_t *root) {
    const struct rsr_tokenizer *tokenizer = beside->tokenizer;
    const struct rsr_tokenizer_header *section = tokenizer->section;
    if (is_generic(root))
        return RSRC_OK;
    if (has_prefix(class_of(root), "GPTNeoXTokenizer") && section->n_prefix + section->n_suffix > 0)
        return refuse(beside, CONTRADICTION,
                      "give it the tokenizer_class PreTrainedTokenizerFast if the model was "
                      "trained with these tokens, else remove the template of tokenizer.json",
                      "tokenizers of class GPTNeoXTokenizer put no tokens around a text, but the "
                      "post-processor of tokenizer.json does");
    return check_around(beside, root, "add_bos_token", tokenizer->bos_text, section->prefix_at,
                        section->n_prefix) == RSRC_OK
               ? check_around(beside, root, "add_eos_token", tokenizer->eos_text,
                              section->suffix_at, section->n_suffix)
               : RSRC_FAILED;
}

/* Whether tokenizer.json puts a space before a text. */
static bool adds_space(const struct beside *beside) {
    const struct rsr_tokenizer_header *section = beside->tokenizer->section;
    const struct rsr_normalizer *normalizers = part(beside, section->normalizers_at);
    const struct rsr_pretokenizer *steps = part(beside, section->pretokenizers_at);
    bool adds = false;
    for (uint32_t i = 0; i < section->n_normalizers; i++)
        adds |= normalizers[i].kind == RSR_NORMALIZER_PREPEND;
    for (uint32_t i = 0; i < section->n_pretokenizers; i++)
        adds |= (steps[i].kind == RSR_PRETOKENIZER_BYTE_LEVEL ||
                 steps[i].kind == RSR_PRETOKENIZER_METASPACE) &&
                steps[i].prefix != RSR_PREFIX_NEVER;
    return adds;
}

/* An absent setting is false for classes that make a ByteLevel of their own. Llama's classes have
 * none, and generic classes do not change a sequence. */
static enum rsrc_status check_prefix_space(const struct beside *beside, const json_t *root) {
    static const char key[] = "add_prefix_space";
    const struct rsr_tokenizer_header *section = beside->tokenizer->section;
    const json_t *setting = json_object_get(root, key);
    const bool is_whole = section->alphabet == RSR_BPE_BYTES && section->n_pretokenizers == 1;
    const bool adds = adds_space(beside);
    const bool is_silent = !json_is_boolean(setting);
    if ((is_generic(root) && !is_whole) || (!is_silent && json_is_true(setting) == adds) ||
        (is_silent && (!adds || section->alphabet != RSR_BPE_BYTES || class_of(root)[0] == '\0' ||
                       has_prefix(class_of(root), "LlamaTokenizer"))))
        return RSRC_OK;
    return refuse_setting(beside, key, json_is_true(setting),
                          adds ? "puts a space in front of a text" : "does not put one there");
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Names of tokenizer.json, one for each version of transformers. */
static enum rsrc_status check_versions(const struct beside *beside, const json_t *names) {
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (name == NULL || strcmp(name, "tokenizer.json") != 0)
            return refuse(beside, "tokenizer-config-unsupported",
                          "make the right one the only tokenizer.json",
                          "\"fast_tokenizer_files\" has other tokenizers by the version of "
                          "transformers, which is not supported");
    }
    return RSRC_OK;
}

static enum rsrc_status check_settings(const struct beside *beside, json_t *root) {
    json_t *decoder = json_object_get(root, "added_tokens_decoder");
    if (json_is_true(json_object_get(root, "split_special_tokens")))
        return refuse(beside, "tokenizer-config-unsupported",
                      "set it to false, unless the model was trained without special tokens",
                      "\"split_special_tokens\" asks for special tokens to be split like any text, "
                      "which is not supported");
    if (check_versions(beside, json_object_get(root, "fast_tokenizer_files")) != RSRC_OK ||
        (decoder != NULL && check_decoder(beside, decoder) != RSRC_OK) ||
        check_named(beside, root) != RSRC_OK || check_template(beside, root) != RSRC_OK)
        return RSRC_FAILED;
    return check_prefix_space(beside, root);
}

/* added_tokens.json: token -> id. */
static enum rsrc_status check_list(const struct beside *beside, json_t *root) {
    const char *text;
    json_t *id;
    json_object_foreach(root, text, id) {
        json_t *token = json_string(text);
        const enum rsrc_status status = check_token(beside, beside->file, token);
        json_decref(token);
        if (status != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_check_added_tokens(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                         const char *file, enum rsrc_beside kind, json_t *root,
                                         const struct rsr_tokenizer *tokenizer) {
    struct beside beside = {.diag = diag, .arena = arena, .file = file, .tokenizer = tokenizer};
    enum rsrc_status status = RSRC_FAILED;
    list_added(&beside);
    switch (kind) {
    case RSRC_BESIDE_SETTINGS:
        status = check_settings(&beside, root);
        break;
    case RSRC_BESIDE_MAP:
        status = check_named(&beside, root);
        break;
    case RSRC_BESIDE_LIST:
        status = check_list(&beside, root);
        break;
    }
    json_decref(beside.ids);
    return status;
}
