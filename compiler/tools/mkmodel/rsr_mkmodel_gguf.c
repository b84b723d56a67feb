/* rsr_mkmodel_gguf.c - streams a model into one GGUF file.
 *
 * Linear layers become blocks of one ternary type (model/gguf_blocks.c describes them), with the
 * scale in each block as float16; other tensors keep their bytes. Qwen3.5's become those of
 * architecture qwen35 (reader/gguf_delta.c has its order of value heads): norms have their 1, and
 * vectors are float32. One linear layer at a time is in memory. Weights are those of the folder
 * that the same options make: rsrc gives both the same logits where float16 holds the scale.
 */
#include <string.h>

#include "base/buffer.h"
#include "base/round.h"
#include "base/suffix.h"
#include "reader/gguf.h"
#include "reader/gguf_names.h"
#include "rsr_mkmodel.h"

#define ALIGNMENT 32u
#define CHUNK_BYTES (UINT64_C(1) << 20)
#define MAX_ITEMS 128u
#define F32 0u
#define TOKEN_NORMAL 1u
#define TOKEN_CONTROL 3u

static const struct mkmodel_gguf_type {
    const char *name;
    uint32_t id, items, bytes;
    bool is_base_3; /* the scale is behind the digits, else in front of the bits */
} TYPES[] = {
    {"PQ2_0", 142, 128, 34, false}, {"PTQ1_0", 143, 128, 28, true}, {"Q2_0", 42, 64, 18, false}};

const struct mkmodel_gguf_type *mkmodel_find_gguf_type(const char *name) {
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (strcmp(TYPES[i].name, name) == 0)
            return &TYPES[i];
    return NULL;
}

/* ---- metadata -------------------------------------------------------------------------------- */

static void put(struct rsrc_buffer *out, uint64_t number, uint32_t n_bytes) {
    for (uint32_t i = 0; i < n_bytes; i++) {
        const uint8_t byte = (uint8_t)(number >> (8 * i));
        rsrc_buffer_append(out, &byte, 1);
    }
}

static void put_text(struct rsrc_buffer *out, const char *text) {
    put(out, strlen(text), 8);
    rsrc_buffer_append(out, text, strlen(text));
}

/* The entries of a file. */
struct entries {
    struct rsrc_arena *arena;
    const char *architecture;
    struct rsrc_buffer bytes;
    uint64_t n;
};

static void put_key(struct entries *entries, const char *key, enum rsrc_gguf_type type) {
    put_text(&entries->bytes, key);
    put(&entries->bytes, type, 4);
    entries->n++;
}

static void put_entry_text(struct entries *entries, const char *key, const char *text) {
    put_key(entries, key, RSRC_GGUF_STRING);
    put_text(&entries->bytes, text);
}

static void put_entry_u32(struct entries *entries, const char *key, uint32_t value) {
    put_key(entries, key, RSRC_GGUF_U32);
    put(&entries->bytes, value, 4);
}

static void put_array(struct entries *entries, const char *key, enum rsrc_gguf_type type,
                      uint64_t n) {
    put_key(entries, key, RSRC_GGUF_ARRAY);
    put(&entries->bytes, type, 4);
    put(&entries->bytes, n, 8);
}

static const char *own_key(const struct entries *entries, const char *key) {
    return rsrc_arena_printf(entries->arena, "%s.%s", entries->architecture, key);
}

static void put_float(struct entries *entries, const char *key, double value) {
    const float number = (float)value;
    uint32_t bits;

    memcpy(&bits, &number, sizeof bits);
    put_key(entries, own_key(entries, key), RSRC_GGUF_F32);
    put(&entries->bytes, bits, 4);
}

static void put_sizes(struct entries *entries, const struct mkmodel_spec *spec) {
    const struct {
        const char *key;
        uint32_t value;
    } counts[] = {
        {"block_count", spec->layers},
        {"context_length", spec->context},
        {"embedding_length", spec->hidden},
        {"feed_forward_length", spec->ffn},
        {"attention.head_count", spec->heads},
        {"attention.head_count_kv", spec->kv_heads},
        {"attention.key_length", spec->head_dim},
        {"attention.value_length", spec->head_dim},
        {"rope.dimension_count",
         spec->convention->has_deltas ? spec->head_dim / 4 : spec->head_dim},
        {"vocab_size", spec->vocab},
    };

    const struct mkmodel_delta *delta = &spec->delta;
    const struct {
        const char *key;
        uint32_t value;
    } deltas[] = {
        {"full_attention_interval", 4},
        {"ssm.conv_kernel", 4},
        {"ssm.group_count", delta->key_heads},
        {"ssm.time_step_rank", delta->value_heads},
        {"ssm.state_size", delta->head_dim},
        {"ssm.inner_size", delta->value_heads * delta->head_dim},
    };

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        put_entry_u32(entries, own_key(entries, counts[i].key), counts[i].value);
    for (size_t i = 0; spec->convention->has_deltas && i < sizeof deltas / sizeof *deltas; i++)
        put_entry_u32(entries, own_key(entries, deltas[i].key), deltas[i].value);
    put_float(entries, "attention.layer_norm_rms_epsilon", spec->norm_eps);
    put_float(entries, "rope.freq_base", spec->rope_theta);
}

/* Ids are in the order of the vocabulary, and the added tokens follow. */
static void put_tokenizer(struct entries *entries, const struct mkmodel_spec *spec) {
    const struct mkmodel_token_ids ids = mkmodel_token_ids(spec->vocab);
    json_t *root = mkmodel_tokenizer_json(entries->arena, spec->vocab, spec->seed), *value;
    const json_t *model = json_object_get(root, "model");
    const json_t *merges = json_object_get(model, "merges");
    const char *text;
    size_t i;

    put_entry_text(entries, "tokenizer.ggml.model", "gpt2");
    put_entry_text(entries, "tokenizer.ggml.pre", "llama-bpe");
    put_array(entries, "tokenizer.ggml.tokens", RSRC_GGUF_STRING, ids.bos + 3u);
    json_object_foreach(json_object_get(model, "vocab"), text, value) {
        put_text(&entries->bytes, text);
    }
    for (i = 0; i < 3; i++)
        put_text(&entries->bytes, mkmodel_special_tokens[i]);
    put_array(entries, "tokenizer.ggml.token_type", RSRC_GGUF_I32, ids.bos + 3u);
    for (i = 0; i < ids.bos + 3u; i++)
        put(&entries->bytes, i < ids.bos ? TOKEN_NORMAL : TOKEN_CONTROL, 4);
    put_array(entries, "tokenizer.ggml.merges", RSRC_GGUF_STRING, json_array_size(merges));
    json_array_foreach(merges, i, value) {
        put_text(&entries->bytes, json_string_value(value));
    }
    put_entry_u32(entries, "tokenizer.ggml.bos_token_id", ids.bos);
    put_entry_u32(entries, "tokenizer.ggml.eos_token_id", ids.eos);
    put_entry_u32(entries, "tokenizer.ggml.eot_token_id", ids.eot);
    put_entry_text(entries, "tokenizer.chat_template", mkmodel_chat_template);
    json_decref(root);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static bool is_linear(const struct mkmodel_tensor *tensor) {
    return tensor->fill == MKMODEL_FILL_PACKED || tensor->fill == MKMODEL_FILL_SCALED;
}

/* A scale is in the blocks. */
static bool is_scale(const struct mkmodel_tensor *tensor) {
    return tensor->fill == MKMODEL_FILL_CONSTANT;
}

static uint64_t rows_of(const struct mkmodel_tensor *tensor) {
    return tensor->shape[0] * (tensor->fill == MKMODEL_FILL_PACKED ? 4 : 1);
}

/* A vector of Qwen3.5, or the taps of its convolution. */
static bool is_widened(const struct mkmodel_spec *spec, const struct mkmodel_tensor *tensor) {
    return spec->convention->has_deltas && tensor->n_dims != 2;
}

/* One of Qwen3.5's small float tensors: vectors, taps, and the gates of value heads. */
static bool is_reordered(const struct mkmodel_spec *spec, const struct mkmodel_tensor *tensor) {
    return spec->convention->has_deltas && !is_linear(tensor);
}

static uint64_t stored_bytes(const struct mkmodel_writer *writer,
                             const struct mkmodel_tensor *tensor) {
    const struct mkmodel_gguf_type *type = writer->gguf_type;

    if (is_linear(tensor))
        return rows_of(tensor) * (tensor->shape[1] / type->items * type->bytes);
    return mkmodel_tensor_bytes(tensor) * (is_widened(writer->spec, tensor) ? 2 : 1);
}

static uint32_t type_id(const struct mkmodel_writer *writer, const struct mkmodel_tensor *tensor) {
    if (is_linear(tensor))
        return writer->gguf_type->id;
    if (is_widened(writer->spec, tensor))
        return F32;
    return strcmp(tensor->dtype, "F16") == 0 ? 1 : strcmp(tensor->dtype, "BF16") == 0 ? 30 : F32;
}

/* Name, dimensions with the innermost first, type and place of every tensor. */
static uint64_t put_infos(const struct mkmodel_writer *writer, const struct mkmodel_plan *plan,
                          struct rsrc_buffer *out) {
    uint64_t at = 0, n = 0;

    for (uint32_t i = 0; i < plan->n_tensors; i++) {
        const struct mkmodel_tensor *tensor = &plan->tensors[i];
        if (is_scale(tensor))
            continue;
        put_text(out, writer->spec->convention->has_deltas
                          ? rsrc_gguf_qwen35_stored_name(writer->arena, tensor->name)
                          : rsrc_gguf_stored_name(writer->arena, tensor->name));
        put(out, tensor->n_dims > 1 ? 2 : 1, 4);
        if (tensor->n_dims > 1)
            put(out, tensor->shape[tensor->n_dims - 1], 8);
        put(out, rows_of(tensor), 8);
        put(out, type_id(writer, tensor), 4);
        put(out, at, 8);
        at += rsrc_round_up(stored_bytes(writer, tensor), ALIGNMENT);
        n++;
    }
    return n;
}

/* llama.cpp's order of the value heads of a gated delta rule: rows (or columns) from `begin` on are
 * heads of `size` rows, and place j key_heads + k of the file is head k (value_heads / key_heads) +
 * j. size 0: rows are in order. */
struct order {
    uint64_t begin, size;
    uint64_t key_heads, value_heads;
};

static uint64_t place_of(const struct order *order, uint64_t stored) {
    if (order->size == 0 || stored < order->begin)
        return stored;
    const uint64_t head = (stored - order->begin) / order->size;
    const uint64_t own =
        head % order->key_heads * (order->value_heads / order->key_heads) + head / order->key_heads;
    return order->begin + own * order->size + (stored - order->begin) % order->size;
}

static struct order order_of(const struct mkmodel_spec *spec, const char *name, bool is_of_cols) {
    const struct mkmodel_delta *delta = &spec->delta;
    const uint64_t keys = 2 * (uint64_t)delta->key_heads * delta->head_dim;
    const struct {
        const char *end;
        uint64_t begin, size;
        bool is_of_cols;
    } ends[] = {
        {"in_proj_qkv.weight", keys, delta->head_dim, false},
        {"conv1d.weight", keys, delta->head_dim, false},
        {"in_proj_z.weight", 0, delta->head_dim, false},
        {"in_proj_b.weight", 0, 1, false},
        {"in_proj_a.weight", 0, 1, false},
        {"A_log", 0, 1, false},
        {"dt_bias", 0, 1, false},
        {"out_proj.weight", 0, delta->head_dim, true},
    };

    for (size_t i = 0; spec->convention->has_deltas && i < sizeof ends / sizeof *ends; i++)
        if (ends[i].is_of_cols == is_of_cols && rsrc_ends_with(name, ends[i].end))
            return (struct order){ends[i].begin, ends[i].size, delta->key_heads,
                                  delta->value_heads};
    return (struct order){0};
}

/* One linear layer as it is made. */
struct linear {
    const struct mkmodel_tensor *tensor;
    const uint8_t *bytes;
    uint16_t scale;          /* float16 */
    uint32_t head_pairs;     /* rows of a head: halves are stored as pairs; 0: in order */
    struct order rows, cols; /* of value heads */
};

/* The weight plus one. */
static uint8_t code_of(const struct linear *linear, uint64_t row, uint64_t col) {
    const uint64_t lane_rows = linear->tensor->shape[0], cols = linear->tensor->shape[1];
    uint16_t bits;

    if (linear->tensor->fill == MKMODEL_FILL_PACKED)
        return linear->bytes[row % lane_rows * cols + col] >> (2 * (row / lane_rows)) & 3;
    memcpy(&bits, linear->bytes + 2 * (row * cols + col), sizeof bits);
    return (bits & 0x7fff) == 0 ? 1 : bits >> 15 ? 0 : 2;
}

static void put_digits(const uint8_t *codes, uint8_t *block) {
    static const struct { uint32_t n_bytes, n_digits; } groups[] = {{16, 5}, {8, 5}, {2, 4}};

    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        for (uint32_t m = 0; m < groups[g].n_bytes; m++) {
            uint32_t number = 0;
            for (uint32_t digit = 0; digit < 5; digit++)
                number = 3 * number +
                         (digit < groups[g].n_digits ? codes[digit * groups[g].n_bytes + m] : 0);
            *block++ = (uint8_t)((number * 256 + 242) / 243);
        }
        codes += groups[g].n_bytes * groups[g].n_digits;
    }
}

static void make_block(const struct mkmodel_gguf_type *type, const uint8_t *codes, uint16_t scale,
                       uint8_t *block) {
    uint8_t *bits = type->is_base_3 ? block : block + 2;

    memset(block, 0, type->bytes);
    memcpy(type->is_base_3 ? block + type->bytes - 2 : block, &scale, sizeof scale);
    if (type->is_base_3)
        put_digits(codes, bits);
    else
        for (uint32_t n = 0; n < type->items; n++)
            bits[n / 4] |= (uint8_t)(codes[n] << (2 * (n % 4)));
}

static enum rsrc_status write_linear(const struct mkmodel_writer *writer, struct rsrc_output *out,
                                     const struct linear *linear) {
    const struct mkmodel_gguf_type *type = writer->gguf_type;
    const uint64_t n_blocks = linear->tensor->shape[1] / type->items;
    uint8_t *stored = rsrc_arena_alloc(writer->arena, n_blocks * type->bytes);

    for (uint64_t r = 0; r < rows_of(linear->tensor); r++) {
        const uint64_t in_head = linear->head_pairs ? r % linear->head_pairs : 0;
        const uint64_t row = place_of(
            &linear->rows, r - in_head + in_head % 2 * (linear->head_pairs / 2) + in_head / 2);
        for (uint64_t b = 0; b < n_blocks; b++) {
            uint8_t codes[MAX_ITEMS];
            for (uint32_t n = 0; n < type->items; n++)
                codes[n] = code_of(linear, row, place_of(&linear->cols, b * type->items + n));
            make_block(type, codes, linear->scale, stored + b * type->bytes);
        }
        if (rsrc_output_write(writer->diag, out, stored, n_blocks * type->bytes) != RSRC_OK)
            return RSRC_FAILED;
    }
    return RSRC_OK;
}

/* The multiplier of a layer, as float16. */
static uint16_t scale_of(const struct mkmodel_spec *spec, const struct mkmodel_tensor *tensor) {
    const char *dtype = spec->convention->float_dtype;

    if (tensor->fill == MKMODEL_FILL_SCALED)
        return mkmodel_store("F16", tensor->spread);
    const double stored = mkmodel_load(dtype, mkmodel_store(dtype, tensor[1].mean));
    return mkmodel_store("F16", spec->convention->storage == MKMODEL_PACKED_DIVIDE ? 1.0 / stored
                                                                                   : stored);
}

/* llama.cpp's "llama" has the rows of q and k in pairs. */
static uint32_t head_pairs_of(const struct mkmodel_spec *spec, const char *name) {
    const bool rotates = strstr(name, ".q_proj.") != NULL || strstr(name, ".k_proj.") != NULL;

    return rotates && strcmp(spec->convention->model_type, "llama") == 0 ? spec->head_dim : 0;
}

/* A small float tensor of Qwen3.5: rows in llama.cpp's order; vectors as float32, norms with their
 * 1, A_log (which is 0) as -1. */
static enum rsrc_status write_small(const struct mkmodel_writer *writer, struct rsrc_output *out,
                                    const struct mkmodel_tensor *tensor, const uint8_t *bytes) {
    const struct order order = order_of(writer->spec, tensor->name, false);
    const bool is_rate = rsrc_ends_with(tensor->name, "A_log");
    const bool is_norm = rsrc_ends_with(tensor->name, "norm.weight");
    const double offset =
        is_norm && !rsrc_ends_with(tensor->name, "linear_attn.norm.weight") ? 1 : 0;
    const uint64_t rows = tensor->shape[0], n = mkmodel_tensor_bytes(tensor) / rows / 2;

    for (uint64_t r = 0; r < rows; r++) {
        const uint8_t *row = bytes + place_of(&order, r) * n * 2;
        if (!is_widened(writer->spec, tensor)) {
            if (rsrc_output_write(writer->diag, out, row, 2 * n) != RSRC_OK)
                return RSRC_FAILED;
            continue;
        }
        for (uint64_t i = 0; i < n; i++) {
            uint16_t bits;
            memcpy(&bits, row + 2 * i, sizeof bits);
            const float value =
                is_rate ? -1.0f : (float)mkmodel_load(tensor->dtype, bits) + (float)offset;
            if (rsrc_output_write(writer->diag, out, &value, sizeof value) != RSRC_OK)
                return RSRC_FAILED;
        }
    }
    return RSRC_OK;
}

static enum rsrc_status write_tensor(const struct mkmodel_writer *writer, struct rsrc_output *out,
                                     const struct mkmodel_tensor *tensor,
                                     struct mkmodel_maker *maker, uint8_t *bytes) {
    static const uint8_t zeros[ALIGNMENT];
    const uint64_t size_bytes = mkmodel_tensor_bytes(tensor);
    const uint64_t padding = -stored_bytes(writer, tensor) % ALIGNMENT;
    const bool is_whole = is_linear(tensor) || is_reordered(writer->spec, tensor);

    mkmodel_maker_init(maker, writer->spec, tensor);
    for (uint64_t at = 0; at < size_bytes; at += CHUNK_BYTES) {
        const uint64_t n = size_bytes - at < CHUNK_BYTES ? size_bytes - at : CHUNK_BYTES;
        mkmodel_maker_fill(maker, at, is_whole ? bytes + at : bytes, n);
        if (!is_whole && rsrc_output_write(writer->diag, out, bytes, n) != RSRC_OK)
            return RSRC_FAILED;
    }
    const struct linear linear = {.tensor = tensor,
                                  .bytes = bytes,
                                  .scale = is_linear(tensor) ? scale_of(writer->spec, tensor) : 0,
                                  .head_pairs = head_pairs_of(writer->spec, tensor->name),
                                  .rows = order_of(writer->spec, tensor->name, false),
                                  .cols = order_of(writer->spec, tensor->name, true)};
    if (is_linear(tensor) ? write_linear(writer, out, &linear) != RSRC_OK
                          : is_whole && write_small(writer, out, tensor, bytes) != RSRC_OK)
        return RSRC_FAILED;
    return rsrc_output_write(writer->diag, out, zeros, padding);
}

static enum rsrc_status write_data(const struct mkmodel_writer *writer,
                                   const struct mkmodel_plan *plan, struct rsrc_output *out) {
    struct mkmodel_maker *maker = RSRC_NEW(writer->arena, struct mkmodel_maker);
    uint64_t most = CHUNK_BYTES;

    for (uint32_t i = 0; i < plan->n_tensors; i++)
        if ((is_linear(&plan->tensors[i]) || is_reordered(writer->spec, &plan->tensors[i])) &&
            mkmodel_tensor_bytes(&plan->tensors[i]) > most)
            most = mkmodel_tensor_bytes(&plan->tensors[i]);
    uint8_t *bytes = rsrc_arena_alloc(writer->arena, most);
    for (uint32_t i = 0; i < plan->n_tensors; i++)
        if (!is_scale(&plan->tensors[i]) &&
            write_tensor(writer, out, &plan->tensors[i], maker, bytes) != RSRC_OK)
            return RSRC_FAILED;
    return RSRC_OK;
}

/* ---- file ------------------------------------------------------------------------------------ */

static enum rsrc_status check(const struct mkmodel_writer *writer,
                              const struct mkmodel_plan *plan) {
    const struct mkmodel_gguf_type *type = writer->gguf_type;

    if (writer->spec->convention->storage == MKMODEL_MASTERS)
        return rsrc_refuse(writer->diag, "option-conflict", NULL,
                           "use --convention bitnet-packed, llama-packed or trilm-f16",
                           "--convention %s has floats that a reader quantises; a GGUF file has "
                           "ternary weights",
                           writer->spec->convention->name);
    for (uint32_t i = 0; i < plan->n_tensors; i++)
        if (is_linear(&plan->tensors[i]) && plan->tensors[i].shape[1] % type->items != 0)
            return rsrc_refuse(writer->diag, "option-value", NULL,
                               "choose --hidden and --ffn that are multiples of it",
                               "%s has rows of %u weights, which are not blocks of %u as %s has",
                               plan->tensors[i].name, (uint32_t)plan->tensors[i].shape[1],
                               type->items, type->name);
    return RSRC_OK;
}

static struct rsrc_buffer make_header(const struct mkmodel_writer *writer,
                                      const struct mkmodel_plan *plan) {
    const bool is_llama = strcmp(writer->spec->convention->model_type, "llama") == 0;
    struct entries entries = {.arena = writer->arena,
                              .architecture = writer->spec->convention->has_deltas ? "qwen35"
                                              : is_llama                           ? "llama"
                                                         : "bitnet-b1.58"};
    struct rsrc_buffer infos = {0}, out = {0};

    put_entry_text(&entries, "general.architecture", entries.architecture);
    put_sizes(&entries, writer->spec);
    put_tokenizer(&entries, writer->spec);
    const uint64_t n_tensors = put_infos(writer, plan, &infos);
    rsrc_buffer_puts(&out, "GGUF");
    put(&out, 3, 4);
    put(&out, n_tensors, 8);
    put(&out, entries.n, 8);
    rsrc_buffer_append(&out, entries.bytes.data, entries.bytes.size_bytes);
    rsrc_buffer_append(&out, infos.data, infos.size_bytes);
    while (out.size_bytes % ALIGNMENT != 0)
        put(&out, 0, 1);
    rsrc_buffer_free(&entries.bytes);
    rsrc_buffer_free(&infos);
    return out;
}

enum rsrc_status mkmodel_write_gguf(const struct mkmodel_writer *writer,
                                    const struct mkmodel_plan *plan) {
    struct rsrc_output out;

    if (check(writer, plan) != RSRC_OK ||
        rsrc_output_open(writer->diag, writer->arena, writer->path, &out) != RSRC_OK)
        return RSRC_FAILED;
    struct rsrc_buffer header = make_header(writer, plan);
    enum rsrc_status status = rsrc_output_write(writer->diag, &out, header.data, header.size_bytes);
    rsrc_buffer_free(&header);
    if (status == RSRC_OK && write_data(writer, plan, &out) == RSRC_OK)
        return rsrc_output_commit(writer->diag, &out);
    rsrc_output_abandon(&out);
    return RSRC_FAILED;
}
