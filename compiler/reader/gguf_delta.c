/* gguf_delta.c - gated delta rules of GGUF's architecture qwen35.
 *
 * A key head serves `per` value heads. transformers stores the value heads of one key head after
 * each other: head k per + j. llama.cpp stores the first one of every key head, then the second
 * ones: j n_key_heads + k. So its files have another order of rows (in_proj_qkv's values,
 * in_proj_z, in_proj_b, in_proj_a, conv1d's values), of elements (A_log, dt_bias) and of columns
 * (out_proj; but a rotated one has transformers' order, and prism.hadamard.gdn_v_grouped says so).
 * Sources: conversion/qwen.py and src/models/qwen35.cpp of llama.cpp.
 */
#include "reader/gguf_delta.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "reader/limits.h"
#include "reader/reader.h"

#define ARCHITECTURE "qwen35."

enum count {
    COUNT_TAPS,
    COUNT_INNER,
    COUNT_STATE,
    COUNT_VALUE_HEADS,
    COUNT_KEY_HEADS,
    COUNT_COUNT
};
static const struct {
    const char *key;
    uint32_t max;
} COUNTS[COUNT_COUNT] = {
    [COUNT_TAPS] = {ARCHITECTURE "ssm.conv_kernel", 1024},
    [COUNT_INNER] = {ARCHITECTURE "ssm.inner_size", RSRC_MAX_HIDDEN},
    [COUNT_STATE] = {ARCHITECTURE "ssm.state_size", RSRC_MAX_HEAD_DIM},
    [COUNT_VALUE_HEADS] = {ARCHITECTURE "ssm.time_step_rank", RSRC_MAX_HEADS},
    [COUNT_KEY_HEADS] = {ARCHITECTURE "ssm.group_count", RSRC_MAX_HEADS},
};
#define KEY_INTERVAL ARCHITECTURE "full_attention_interval"
#define KEY_RECURRENT ARCHITECTURE "attention.recurrent_layers"
#define KEY_EXTRA ARCHITECTURE "nextn_predict_layers"
#define KEY_SECTIONS ARCHITECTURE "rope.dimension_sections" /* of equal positions in a text */
#define KEY_GROUPED "prism.hadamard.gdn_v_grouped"
#define DEFAULT_INTERVAL 4u

bool rsrc_gguf_is_delta_key(const char *key) {
    static const char *const OTHERS[] = {KEY_INTERVAL, KEY_RECURRENT, KEY_EXTRA, KEY_SECTIONS};
    const size_t n = strlen(ARCHITECTURE);
    for (size_t i = 0; i < COUNT_COUNT; i++)
        if (strcmp(key, COUNTS[i].key + n) == 0)
            return true;
    for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++)
        if (strcmp(key, OTHERS[i] + n) == 0)
            return true;
    return false;
}

struct reading {
    struct rsrc_diag *diag;
    struct rsrc_arena *arena;
    const char *file;
    struct rsrc_gguf *gguf;
    struct rsr_config *config;
};

static enum rsrc_status refuse(const struct reading *r, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* At the key's value, or at the file. */
static enum rsrc_status refuse(const struct reading *r, const char *key, const char *format, ...) {
    const struct rsrc_gguf_value *value = rsrc_gguf_find(r->gguf, key);
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    const struct rsrc_place place = {
        .file = r->file, .has_offset = value != NULL, .offset = value == NULL ? 0 : value->offset};
    return rsrc_refuse(r->diag, "gguf-delta", &place,
                       "the file may have been made by another converter", "%s", text);
}

/* A whole number up to `max`; `fallback` where the key is missing. */
static enum rsrc_status read_count(const struct reading *r, const char *key, uint32_t max,
                                   uint32_t fallback, uint32_t *out) {
    const struct rsrc_gguf_value *value = rsrc_gguf_find(r->gguf, key);
    *out = fallback;
    if (value != NULL && !rsrc_gguf_count(value, max, out))
        return refuse(r, key, "\"%s\" is no whole number up to %u", key, max);
    return RSRC_OK;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

static enum rsrc_status read_sizes(const struct reading *r) {
    struct rsr_hyper *hyper = &r->config->hyper;
    uint32_t counts[COUNT_COUNT];
    for (uint32_t i = 0; i < COUNT_COUNT; i++)
        if (read_count(r, COUNTS[i].key, COUNTS[i].max, 0, &counts[i]) != RSRC_OK)
            return RSRC_FAILED;
        else if (counts[i] == 0)
            return refuse(r, COUNTS[i].key, "\"%s\" is missing or 0", COUNTS[i].key);
    if (counts[COUNT_TAPS] != RSR_DELTA_TAPS)
        return refuse(r, COUNTS[COUNT_TAPS].key,
                      "\"%s\" asks for a convolution of %u tokens, where %u are supported",
                      COUNTS[COUNT_TAPS].key, counts[COUNT_TAPS], RSR_DELTA_TAPS);
    if (counts[COUNT_VALUE_HEADS] % counts[COUNT_KEY_HEADS] != 0 ||
        (uint64_t)counts[COUNT_VALUE_HEADS] * counts[COUNT_STATE] != counts[COUNT_INNER])
        return refuse(r, COUNTS[COUNT_VALUE_HEADS].key,
                      "%u value heads of %u are not \"%s\" %u, or no multiple of %u key heads",
                      counts[COUNT_VALUE_HEADS], counts[COUNT_STATE], COUNTS[COUNT_INNER].key,
                      counts[COUNT_INNER], counts[COUNT_KEY_HEADS]);
    hyper->delta_key_heads = counts[COUNT_KEY_HEADS];
    hyper->delta_value_heads = counts[COUNT_VALUE_HEADS];
    hyper->delta_key_dim = hyper->delta_value_dim = counts[COUNT_STATE];
    return RSRC_OK;
}

/* The blocks with a delta rule: listed, or all but every n-th. */
static enum rsrc_status read_blocks(const struct reading *r, uint32_t n_stored) {
    struct rsr_hyper *hyper = &r->config->hyper;
    const struct rsrc_gguf_value *list = rsrc_gguf_find(r->gguf, KEY_RECURRENT);
    uint8_t *has_delta = RSRC_NEW_ARRAY(r->arena, n_stored, uint8_t);
    uint32_t interval;
    if (read_count(r, KEY_INTERVAL, RSRC_MAX_LAYERS, DEFAULT_INTERVAL, &interval) != RSRC_OK)
        return RSRC_FAILED;
    if (interval == 0)
        return refuse(r, KEY_INTERVAL, "\"%s\" is 0", KEY_INTERVAL);
    if (list != NULL && (list->type != RSRC_GGUF_ARRAY || list->n != n_stored ||
                         rsrc_gguf_type_bytes(list->item_type) == 0))
        return refuse(r, KEY_RECURRENT, "\"%s\" is no list of %u flags", KEY_RECURRENT, n_stored);
    for (uint32_t i = 0; i < hyper->n_layers; i++) {
        has_delta[i] = list != NULL ? rsrc_gguf_item(list, i) != 0.0 : (i + 1) % interval != 0;
        hyper->delta_layers += has_delta[i];
    }
    r->config->has_delta = has_delta;
    return RSRC_OK;
}

/* Leaves out the tensors of blocks that predict several tokens, which follow the others. */
static void leave_out(const struct reading *r, uint32_t n_stored) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->gguf->n_tensors; i++) {
        bool is_extra = false;
        for (uint32_t block = r->config->hyper.n_layers; block < n_stored && !is_extra; block++) {
            const char *prefix = rsrc_arena_printf(r->arena, "blk.%u.", block);
            is_extra = strncmp(r->gguf->tensors[i].name, prefix, strlen(prefix)) == 0;
        }
        if (!is_extra)
            r->gguf->tensors[n++] = r->gguf->tensors[i];
    }
    const struct rsrc_place place = {.file = r->file};
    rsrc_note(r->diag, "gguf-left-out", &place, NULL,
              "left out: blocks that predict several tokens (%u tensors, blk.%u.*); the module "
              "predicts the next token",
              r->gguf->n_tensors - n, r->config->hyper.n_layers);
    r->gguf->n_tensors = n;
}

#define MAX_EXTRA 8u

enum rsrc_status rsrc_gguf_read_deltas(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                       const char *file, struct rsrc_gguf *gguf,
                                       struct rsr_config *config) {
    const struct reading r = {diag, arena, file, gguf, config};
    const uint32_t n_stored = config->hyper.n_layers;
    uint32_t n_extra;
    if (read_count(&r, KEY_EXTRA, MAX_EXTRA, 0, &n_extra) != RSRC_OK)
        return RSRC_FAILED;
    if (n_extra >= n_stored)
        return refuse(&r, KEY_EXTRA, "\"%s\" leaves none of %u blocks", KEY_EXTRA, n_stored);
    config->hyper.n_layers -= n_extra;
    if (read_blocks(&r, n_stored) != RSRC_OK ||
        (config->hyper.delta_layers != 0 && read_sizes(&r) != RSRC_OK))
        return RSRC_FAILED;
    if (n_extra != 0)
        leave_out(&r, n_stored);
    return RSRC_OK;
}

/* ---- order of value heads -------------------------------------------------------------------- */

/* The place of each stored row: `begin` rows in order, then value heads of `size` rows. */
static uint32_t *make_order(const struct reading *r, uint32_t begin, uint32_t size) {
    const struct rsr_hyper *hyper = &r->config->hyper;
    const uint32_t n_key = hyper->delta_key_heads, n_value = hyper->delta_value_heads;
    uint32_t *order = RSRC_NEW_ARRAY(r->arena, begin + (size_t)n_value * size, uint32_t),
             *at = order;
    for (uint32_t i = 0; i < begin; i++)
        *at++ = i;
    for (uint32_t stored = 0; stored < n_value; stored++)
        for (uint32_t i = 0; i < size; i++)
            *at++ = begin + (stored % n_key * (n_value / n_key) + stored / n_key) * size + i;
    return order;
}

/* Tensors with value heads. */
enum unit { UNIT_ELEMENT, UNIT_VALUES, UNIT_CHANNELS, UNIT_COUNT };
static const struct {
    const char *name;
    enum unit unit;
    bool may_be_ternary;
} TENSORS[] = {
    {"in_proj_qkv.weight", UNIT_CHANNELS, true},
    {"in_proj_z.weight", UNIT_VALUES, true},
    {"in_proj_b.weight", UNIT_ELEMENT, true},
    {"in_proj_a.weight", UNIT_ELEMENT, true},
    {"conv1d.weight", UNIT_CHANNELS, false},
    {"A_log", UNIT_ELEMENT, false},
    {"dt_bias", UNIT_ELEMENT, false},
};
#define OUT "out_proj.weight"

/* Rows of floats are put in order at once: they are few. */
static void move_rows(const struct reading *r, struct rsr_tensor *tensor, const uint32_t *order) {
    const uint64_t n_rows = tensor->shape[0], row_bytes = tensor->size_bytes / n_rows;
    uint8_t *data = rsrc_arena_array(r->arena, (size_t)n_rows, (size_t)row_bytes);
    for (uint64_t i = 0; i < n_rows; i++)
        memcpy(data + order[i] * row_bytes, tensor->data + i * row_bytes, (size_t)row_bytes);
    tensor->data = data;
    tensor->is_mapped = false;
}

static void order_rows(const struct reading *r, struct rsr_tensor *tensor, const char *end,
                       const uint32_t *const orders[UNIT_COUNT], const uint32_t n[UNIT_COUNT]) {
    for (size_t i = 0; i < sizeof(TENSORS) / sizeof(TENSORS[0]); i++) {
        if (strcmp(end, TENSORS[i].name) != 0 || tensor->shape[0] != n[TENSORS[i].unit])
            continue; /* other tensors, and those whose shape the graph refuses */
        if (tensor->blocks == RSR_BLOCKS_NONE)
            move_rows(r, tensor, orders[TENSORS[i].unit]);
        else if (TENSORS[i].may_be_ternary)
            tensor->row_order = orders[TENSORS[i].unit];
    }
}

/* The convolution has an axis of length 1 in transformers. */
static void widen_taps(struct rsr_tensor *tensor, const char *end) {
    if (strcmp(end, "conv1d.weight") != 0 || tensor->n_dims != 2)
        return;
    tensor->n_dims = 3;
    tensor->shape[2] = tensor->shape[1];
    tensor->shape[1] = 1;
}

static enum rsrc_status order_cols(const struct reading *r, struct rsr_tensor *tensor,
                                   const uint32_t *order) {
    const struct rsrc_gguf_value *grouped = rsrc_gguf_find(r->gguf, KEY_GROUPED);
    const bool is_grouped =
        grouped != NULL && grouped->type == RSRC_GGUF_BOOL && grouped->data[0] != 0;
    if (tensor->rotation != NULL && !is_grouped)
        return refuse(r, KEY_GROUPED,
                      "'%s' is rotated in llama.cpp's order of value heads; with \"" KEY_GROUPED
                      "\" true it is supported",
                      rsrc_quote(r->arena, tensor->stored_name));
    const uint64_t n_cols =
        (uint64_t)r->config->hyper.delta_value_heads * r->config->hyper.delta_value_dim;
    if (tensor->rotation == NULL && tensor->n_dims == 2 && tensor->shape[1] == n_cols) {
        tensor->col_order = order;
        tensor->order_cols = r->config->hyper.delta_value_dim;
    }
    return RSRC_OK;
}

enum rsrc_status rsrc_gguf_order_heads(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                       const char *file, struct rsrc_gguf *gguf,
                                       struct rsr_config *config) {
    static const char module[] = ".linear_attn.";
    const struct reading r = {diag, arena, file, gguf, config};
    const struct rsr_hyper *hyper = &config->hyper;
    if (hyper->delta_layers == 0)
        return RSRC_OK;
    const uint32_t keys = 2 * hyper->delta_key_heads * hyper->delta_key_dim;
    const uint32_t values = hyper->delta_value_heads * hyper->delta_value_dim;
    const uint32_t n[UNIT_COUNT] = {hyper->delta_value_heads, values, keys + values};
    const uint32_t *const orders[UNIT_COUNT] = {make_order(&r, 0, 1),
                                                make_order(&r, 0, hyper->delta_value_dim),
                                                make_order(&r, keys, hyper->delta_value_dim)};
    const bool is_ordered = hyper->delta_key_heads == hyper->delta_value_heads ||
                            hyper->delta_key_heads == 1; /* in both ways */
    for (uint32_t i = 0; i < gguf->n_tensors; i++) {
        const char *end = strstr(gguf->tensors[i].name, module);
        if (end == NULL)
            continue;
        end += strlen(module);
        widen_taps(&gguf->tensors[i], end);
        if (is_ordered)
            continue;
        order_rows(&r, &gguf->tensors[i], end, orders, n);
        if (strcmp(end, OUT) == 0 && order_cols(&r, &gguf->tensors[i], orders[0]) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}
