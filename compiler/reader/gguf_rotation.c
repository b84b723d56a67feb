/* gguf_rotation.c - weights that are stored rotated.
 *
 * A file of PrismML's names in prism.hadamard.weight_names the matrices W' = W S H whose layers
 * compute W x as W' (H (S x)): S is a diagonal of signs, one vector for each width of inputs
 * (sign_widths, and sign_values one after the other), and H the normalised Walsh-Hadamard matrix of
 * block_size elements, block by block. inverse_weight_names may name the embedding, whose rows are
 * stored as H (S e). With version 2, tied_output, that embedding is also the head.
 * gguf_delta.c reads gdn_v_grouped. Source: src/llama-model.cpp and llama-graph.cpp of that fork
 * of llama.cpp; a reader that ignores a key prints nonsense, so what is not understood is refused.
 */
#include "reader/gguf_rotation.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reader/gguf_names.h"
#include "reader/limits.h"
#include "reader/reader.h"

#define KEY(name) "prism.hadamard." name
#define MAX_BLOCK 65536u
#define MAX_NAME_BYTES 255u
#define EMBEDDING "model.embed_tokens.weight"
#define HEAD "lm_head.weight"

static const char *const KEYS[] = {
    KEY("axis"),      KEY("block_size"),  KEY("gdn_v_grouped"), KEY("inverse_weight_names"),
    KEY("sign_mode"), KEY("sign_values"), KEY("sign_widths"),   KEY("tied_output"),
    KEY("transform"), KEY("version"),     KEY("weight_names"),
};

bool rsrc_gguf_is_rotation_key(const char *key) {
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++)
        if (strcmp(key, KEYS[i]) == 0)
            return true;
    return false;
}

struct reading {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *file;
    struct rsrc_gguf *gguf;
    const struct rsrc_gguf_value *first; /* of these keys */
    uint32_t block;
    bool has_signs, is_tied;
    struct rsr_rotation *rotations;
    uint32_t n_rotations;
};

static enum rsrc_status refuse(const struct reading *r, const struct rsrc_gguf_value *value,
                               const char *format, ...) __attribute__((format(printf, 3, 4)));

/* At the value, or, if a key is missing, at the first of the others. */
static enum rsrc_status refuse(const struct reading *r, const struct rsrc_gguf_value *value,
                               const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    const struct rsrc_place place = {.file = r->file,
                                     .has_offset = true,
                                     .offset = value == NULL ? r->first->offset : value->offset};
    return rsrc_refuse(r->diag, "gguf-rotation", &place,
                       "the weights are stored rotated, and a rotation that is not understood "
                       "would make the model say nonsense; fetch the file again, or another one",
                       "%s", text);
}

static const struct rsrc_gguf_value *find(const struct reading *r, const char *key) {
    return rsrc_gguf_find(r->gguf, key);
}

/* A whole number; `fallback` where the key is missing. */
static enum rsrc_status read_count(const struct reading *r, const char *key, uint32_t fallback,
                                   uint32_t *out) {
    const struct rsrc_gguf_value *value = find(r, key);
    *out = fallback;
    if (value != NULL && !rsrc_gguf_count(value, UINT32_MAX, out))
        return refuse(r, value, "\"%s\" is no whole number", key);
    return RSRC_OK;
}

static enum rsrc_status read_bool(const struct reading *r, const char *key, bool *out) {
    const struct rsrc_gguf_value *value = find(r, key);
    if (value != NULL && value->type != RSRC_GGUF_BOOL)
        return refuse(r, value, "\"%s\" is %s where a bool is expected", key,
                      rsrc_gguf_type_name(value->type));
    *out = value != NULL && value->data[0] != 0;
    return RSRC_OK;
}

/* An array of `type`; any = numbers of any type. A missing one has no items. */
static enum rsrc_status read_array(const struct reading *r, const char *key, bool of_strings,
                                   struct rsrc_gguf_value *out) {
    const struct rsrc_gguf_value *value = find(r, key);
    *out = (struct rsrc_gguf_value){.key = key};
    if (value == NULL)
        return RSRC_OK;
    if (value->type != RSRC_GGUF_ARRAY || value->item_type == RSRC_GGUF_ARRAY ||
        (value->item_type == RSRC_GGUF_STRING) != of_strings)
        return refuse(r, value, "\"%s\" is no array of %s", key,
                      of_strings ? "strings" : "numbers");
    *out = *value;
    return RSRC_OK;
}

/* ---- version and kind ------------------------------------------------------------------------ */

static enum rsrc_status check_text(const struct reading *r, const char *key, const char *expected) {
    const struct rsrc_gguf_value *value = find(r, key);
    if (value != NULL && rsrc_gguf_is_text(value, expected))
        return RSRC_OK;
    return refuse(r, value, "\"%s\" is %s \"%s\", which is supported", key,
                  value == NULL ? "missing; it may be" : "not", expected);
}

static enum rsrc_status read_kind(struct reading *r) {
    const struct rsrc_gguf_value *mode = find(r, KEY("sign_mode"));
    uint32_t version;
    bool is_grouped;
    if (read_count(r, KEY("version"), 0, &version) != RSRC_OK ||
        read_count(r, KEY("block_size"), 0, &r->block) != RSRC_OK ||
        read_bool(r, KEY("tied_output"), &r->is_tied) != RSRC_OK ||
        read_bool(r, KEY("gdn_v_grouped"), &is_grouped) != RSRC_OK)
        return RSRC_FAILED;
    if ((version != 1 && version != 2) || (version == 2) != r->is_tied)
        return refuse(
            r, find(r, KEY("version")),
            "\"" KEY("version") "\" is %u %s \"" KEY("tied_output") "\"; 1 without and 2 "
                                                                    "with it are supported",
            version, r->is_tied ? "with" : "without");
    if (r->block == 0 || r->block > MAX_BLOCK || (r->block & (r->block - 1)) != 0)
        return refuse(r, find(r, KEY("block_size")),
                      "\"" KEY("block_size") "\" is %u, not a power of two up to %u", r->block,
                      MAX_BLOCK);
    r->has_signs = mode != NULL && rsrc_gguf_is_text(mode, "explicit");
    if (!r->has_signs && check_text(r, KEY("sign_mode"), "identity") != RSRC_OK)
        return RSRC_FAILED;
    return check_text(r, KEY("transform"), "normalized-sylvester-walsh-hadamard") == RSRC_OK
               ? check_text(r, KEY("axis"), "input-last-dimension")
               : RSRC_FAILED;
}

/* ---- signs ----------------------------------------------------------------------------------- */

static struct rsr_rotation *find_rotation(struct reading *r, uint64_t cols) {
    for (uint32_t i = 0; i < r->n_rotations; i++)
        if (r->rotations[i].cols == cols)
            return &r->rotations[i];
    return NULL;
}

static enum rsrc_status read_vector(struct reading *r, const struct rsrc_gguf_value *widths,
                                    uint64_t i, const struct rsrc_gguf_value *values,
                                    uint64_t *at) {
    const double width = rsrc_gguf_item(widths, i);
    if (!(width >= 1.0) || width > (double)(values->n - *at) || width != (double)(uint32_t)width ||
        (uint32_t)width % r->block != 0 || find_rotation(r, (uint32_t)width) != NULL)
        return refuse(r, find(r, widths->key),
                      "width %g of \"%s\" is no multiple of the block, occurs twice or has fewer "
                      "signs in \"%s\"",
                      width, widths->key, values->key);
    float *signs = RSRC_NEW_ARRAY(r->arena, (uint32_t)width, float);
    for (uint32_t k = 0; k < (uint32_t)width; k++) {
        signs[k] = (float)rsrc_gguf_item(values, (*at)++);
        if (signs[k] != 1.0f && signs[k] != -1.0f)
            return refuse(r, find(r, values->key), "a sign of \"%s\" is %g", values->key,
                          (double)signs[k]);
    }
    r->rotations[r->n_rotations++] =
        (struct rsr_rotation){.signs = signs, .cols = (uint32_t)width, .block = r->block};
    return RSRC_OK;
}

static enum rsrc_status read_signs(struct reading *r) {
    struct rsrc_gguf_value widths, values;
    uint64_t at = 0;
    if (read_array(r, KEY("sign_widths"), false, &widths) != RSRC_OK ||
        read_array(r, KEY("sign_values"), false, &values) != RSRC_OK)
        return RSRC_FAILED;
    if (r->has_signs != (widths.n != 0) || widths.n > r->gguf->n_tensors)
        return refuse(r, find(r, widths.key),
                      "\"%s\" has %" PRIu64 " widths, and the sign mode asks for %s", widths.key,
                      widths.n, r->has_signs ? "some, at most one a tensor" : "none");
    r->rotations = RSRC_NEW_ARRAY(r->arena, (size_t)r->gguf->n_tensors + 1, struct rsr_rotation);
    for (uint64_t i = 0; i < widths.n; i++)
        if (read_vector(r, &widths, i, &values, &at) != RSRC_OK)
            return RSRC_FAILED;
    return at == values.n ? RSRC_OK
                          : refuse(r, find(r, values.key),
                                   "\"%s\" has %" PRIu64 " signs, and its widths ask for %" PRIu64,
                                   values.key, values.n, at);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static int compare_names(const void *left, const void *right) {
    return strcmp(((const struct rsr_tensor *)left)->name,
                  ((const struct rsr_tensor *)right)->name);
}

static struct rsr_tensor *find_tensor(const struct reading *r, const char *name) {
    const struct rsr_tensor wanted = {.name = name};
    return bsearch(&wanted, r->gguf->tensors, r->gguf->n_tensors, sizeof(wanted), compare_names);
}

/* The matrices that multiply, and those that are looked up. */
static bool may_rotate(const struct rsr_tensor *tensor, bool is_embedding) {
    const bool is_matrix = tensor->n_dims == 2 && tensor->name != tensor->stored_name;
    return is_matrix && (strcmp(tensor->name, EMBEDDING) == 0) == is_embedding;
}

static enum rsrc_status rotate_tensor(struct reading *r, const struct rsrc_gguf_value *names,
                                      const char *stored, bool is_embedding) {
    struct rsr_tensor named = {.name = stored};
    rsrc_gguf_rename(r->arena, &named, 0, 0);
    struct rsr_tensor *tensor = find_tensor(r, named.name);
    const char *quoted = rsrc_quote(r->arena, stored);
    if (tensor == NULL || !may_rotate(tensor, is_embedding) || tensor->rotation != NULL)
        return refuse(r, names, "'%s' of \"%s\" %s", quoted, names->key,
                      tensor == NULL             ? "is no tensor of the file"
                      : tensor->rotation != NULL ? "is named twice"
                      : is_embedding             ? "is not the embedding"
                                                 : "is no linear layer");
    const uint64_t cols = tensor->shape[1];
    struct rsr_rotation *rotation = find_rotation(r, cols);
    if (cols % r->block != 0 || (rotation == NULL && (r->has_signs || cols > RSRC_MAX_FFN)))
        return refuse(r, names, "'%s' of \"%s\" has %" PRIu64 " columns, which %s", quoted,
                      names->key, cols,
                      cols % r->block != 0 ? "are no blocks" : "no vector of signs has");
    if (rotation == NULL) {
        rotation = &r->rotations[r->n_rotations++];
        *rotation = (struct rsr_rotation){.cols = (uint32_t)cols, .block = r->block};
    }
    tensor->rotation = rotation;
    return RSRC_OK;
}

static enum rsrc_status rotate_named(struct reading *r, const char *key, bool is_embedding) {
    struct rsrc_gguf_value names;
    if (read_array(r, key, true, &names) != RSRC_OK)
        return RSRC_FAILED;
    if (names.n == 0 && !is_embedding)
        return refuse(r, find(r, key), "\"%s\" names no tensor", key);
    const uint8_t *at = names.data;
    for (uint64_t i = 0; i < names.n; i++) { /* gguf.c has checked that the strings are there */
        uint64_t length = 0;
        for (uint32_t k = 0; k < 8; k++)
            length |= (uint64_t)at[k] << (8 * k);
        if (length > MAX_NAME_BYTES)
            return refuse(r, find(r, key), "a name of \"%s\" is longer than %u bytes", key,
                          MAX_NAME_BYTES);
        const char *name = rsrc_arena_strndup(r->arena, (const char *)at + 8, (size_t)length);
        if (rotate_tensor(r, find(r, key), name, is_embedding) != RSRC_OK)
            return RSRC_FAILED;
        at += 8 + length;
    }
    return RSRC_OK;
}

/* An embedding that is also the head rotates in both uses, or in none. */
static enum rsrc_status check_tie(const struct reading *r) {
    const struct rsr_tensor *embedding = find_tensor(r, EMBEDDING);
    const bool is_rotated = embedding != NULL && embedding->rotation != NULL;
    const bool shares = find_tensor(r, HEAD) == NULL;
    if (r->is_tied ? is_rotated && shares : !(is_rotated && shares))
        return RSRC_OK;
    return refuse(r, find(r, KEY("tied_output")),
                  "the file has %s head and %s embedding, and \"" KEY("tied_output") "\" is %s",
                  shares ? "no" : "a", is_rotated ? "a rotated" : "no rotated",
                  r->is_tied ? "true" : "false");
}

enum rsrc_status rsrc_gguf_read_rotation(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                         const char *file, struct rsrc_gguf *gguf,
                                         struct rsr_config *config) {
    struct reading r = {.diag = diag, .arena = arena, .file = file, .gguf = gguf};
    for (uint32_t i = gguf->n_values; i-- > 0;)
        if (rsrc_gguf_is_rotation_key(gguf->values[i].key))
            r.first = &gguf->values[i];
    if (r.first == NULL)
        return RSRC_OK;
    if (read_kind(&r) != RSRC_OK || read_signs(&r) != RSRC_OK ||
        rotate_named(&r, KEY("weight_names"), false) != RSRC_OK ||
        rotate_named(&r, KEY("inverse_weight_names"), true) != RSRC_OK || check_tie(&r) != RSRC_OK)
        return RSRC_FAILED;
    config->rotations = r.rotations;
    config->n_rotations = r.n_rotations;
    return RSRC_OK;
}
