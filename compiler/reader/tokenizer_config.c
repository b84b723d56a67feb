/* tokenizer_config.c - data for applications besides the tokenizer: the chat template and the texts
 * of the begin and end tokens, from tokenizer_config.json, special_tokens_map.json and
 * chat_template.jinja. tokenizer_added.c compares what these files say of tokens.
 *
 * A template is Jinja source and is passed on unchanged; the runtime decides whether it can run it.
 */
#include <string.h>

#include "base/json.h"
#include "reader/limits.h"
#include "reader/reader.h"

#define SLUG "tokenizer-config"
#define MAX_TEMPLATE_BYTES (UINT64_C(1) << 20)

/* A token as a string or as an object with "content"; null and absent leave *out alone. */
static enum rsrc_status read_token_text(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                        const char *file, const json_t *root, const char *key,
                                        const char **out) {
    const json_t *value = json_object_get(root, key);
    if (value == NULL || json_is_null(value)) {
        return RSRC_OK;
    }
    if (json_is_object(value)) {
        value = json_object_get(value, "content");
    }
    if (!json_is_string(value)) {
        struct rsrc_place place = {.file = file};
        return rsrc_refuse(diag, "tokenizer-config-field", &place, NULL,
                           "\"%s\" is neither a string nor an object with \"content\"", key);
    }
    *out = rsrc_arena_strdup(arena, json_string_value(value));
    return RSRC_OK;
}

/* The entry called "default" of a list of named templates, or NULL. */
static const json_t *default_template(const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name != NULL && strcmp(name, "default") == 0) {
            return json_object_get(entry, "template");
        }
    }
    return NULL;
}

static enum rsrc_status set_template(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                     const char *file, const char *text, uint64_t n_bytes,
                                     struct rsr_tokenizer *tokenizer) {
    if (n_bytes > MAX_TEMPLATE_BYTES || (n_bytes != 0 && memchr(text, '\0', n_bytes) != NULL)) {
        struct rsrc_place place = {.file = file};
        return rsrc_refuse(diag, "tokenizer-chat-template", &place, NULL,
                           "the chat template is longer than %llu bytes or holds a NUL byte",
                           (unsigned long long)MAX_TEMPLATE_BYTES);
    }
    tokenizer->chat_template = n_bytes == 0 ? NULL : rsrc_arena_strndup(arena, text, n_bytes);
    return RSRC_OK;
}

static enum rsrc_status read_template(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                      const char *file, const json_t *root,
                                      struct rsr_tokenizer *tokenizer) {
    const json_t *value = json_object_get(root, "chat_template");
    if (value == NULL || json_is_null(value)) {
        return RSRC_OK;
    }
    struct rsrc_place place = {.file = file};
    if (json_is_array(value)) {
        value = default_template(value);
        if (value == NULL) {
            rsrc_warning(diag, "tokenizer-chat-template", &place,
                         "name one of them \"default\" to use it",
                         "none of the chat templates is called \"default\": the model gets none");
            return RSRC_OK;
        }
    }
    if (!json_is_string(value))
        return rsrc_refuse(diag, "tokenizer-config-field", &place, NULL,
                           "\"chat_template\" is %s where a string is expected",
                           rsrc_json_type_name(value));
    return set_template(diag, arena, file, json_string_value(value), json_string_length(value),
                        tokenizer);
}

static enum rsrc_status read_texts(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                   const char *file, const json_t *root,
                                   struct rsr_tokenizer *tokenizer) {
    return read_token_text(diag, arena, file, root, "bos_token", &tokenizer->bos_text) == RSRC_OK
               ? read_token_text(diag, arena, file, root, "eos_token", &tokenizer->eos_text)
               : RSRC_FAILED;
}

/* A number above the largest context means that there is no maximum. */
static void read_max_tokens(const json_t *root, struct rsr_tokenizer *tokenizer) {
    const double max = json_number_value(json_object_get(root, "model_max_length"));
    tokenizer->max_tokens = max >= 1.0 && max <= RSRC_MAX_CONTEXT ? (uint32_t)max : 0;
}

static enum rsrc_status parse_beside(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                     const char *name, const uint8_t *bytes, uint64_t size_bytes,
                                     enum rsrc_beside kind, struct rsr_tokenizer *tokenizer,
                                     bool *lists_added) {
    json_t *root;
    if (rsrc_json_parse(diag, name, bytes, size_bytes, SLUG, &root) != RSRC_OK) {
        return RSRC_FAILED;
    }
    struct rsr_tokenizer result = *tokenizer;
    enum rsrc_status status = RSRC_OK;
    if (!json_is_object(root)) {
        const struct rsrc_place place = {.file = name, .line = 1, .column = 1};
        rsrc_error(diag, "tokenizer-config-field", &place, NULL,
                   "the file holds %s where an object is expected", rsrc_json_type_name(root));
        status = RSRC_FAILED;
    }
    if (status == RSRC_OK && kind != RSRC_BESIDE_LIST) {
        status = read_texts(diag, arena, name, root, &result);
    }
    if (status == RSRC_OK && kind == RSRC_BESIDE_SETTINGS) {
        read_max_tokens(root, &result);
        status = read_template(diag, arena, name, root, &result);
    }
    if (status == RSRC_OK && result.section != NULL) {
        status = rsrc_check_added_tokens(diag, arena, name, kind, root, &result);
    }
    if (status == RSRC_OK) {
        *tokenizer = result;
        *lists_added = json_object_get(root, "added_tokens_decoder") != NULL;
    }
    json_decref(root);
    return status;
}

enum rsrc_status rsrc_parse_tokenizer_config(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                             const char *name, const uint8_t *bytes,
                                             uint64_t size_bytes, struct rsr_tokenizer *tokenizer,
                                             bool *lists_added) {
    return parse_beside(diag, arena, name, bytes, size_bytes, RSRC_BESIDE_SETTINGS, tokenizer,
                        lists_added);
}

enum rsrc_status rsrc_parse_special_tokens(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                           const char *name, const uint8_t *bytes,
                                           uint64_t size_bytes, struct rsr_tokenizer *tokenizer) {
    bool unused;
    return parse_beside(diag, arena, name, bytes, size_bytes, RSRC_BESIDE_MAP, tokenizer, &unused);
}

enum rsrc_status rsrc_parse_added_tokens(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                         const char *name, const uint8_t *bytes,
                                         uint64_t size_bytes, struct rsr_tokenizer *tokenizer) {
    bool unused;
    return parse_beside(diag, arena, name, bytes, size_bytes, RSRC_BESIDE_LIST, tokenizer, &unused);
}

enum rsrc_status rsrc_parse_chat_template(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                          const char *name, const uint8_t *bytes,
                                          uint64_t size_bytes, struct rsr_tokenizer *tokenizer) {
    return set_template(diag, arena, name, (const char *)bytes, size_bytes, tokenizer);
}
