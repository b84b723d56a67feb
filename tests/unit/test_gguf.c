/* test_gguf.c - what is read from a GGUF file, and every reason to refuse one. */
#include "reader_check.h"

#include "gguf_file.h"
#include "reader/gguf_names.h"
#include "reader/gguf_split.h"

#define N_SIZES 5

/* All sizes but one of the smallest model that the metadata can describe: 2 heads of 2 on a state
 * of 4. */
static void put_model_but(struct gguf_file *file, const char *architecture, size_t left_out) {
    static const struct {
        const char *key;
        uint32_t value;
    } sizes[N_SIZES] = {{"embedding_length", 4},
                        {"block_count", 1},
                        {"attention.head_count", 2},
                        {"feed_forward_length", 8},
                        {"context_length", 64}};
    char key[96];
    gguf_text(file, "general.architecture", architecture);
    for (size_t i = 0; i < N_SIZES; i++) {
        snprintf(key, sizeof key, "%s.%s", architecture, sizes[i].key);
        if (i != left_out)
            gguf_u32(file, key, sizes[i].value);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", architecture);
    if (left_out != N_SIZES)
        gguf_f32(file, key, 1e-5f);
}

static void put_model(struct gguf_file *file, const char *architecture) {
    put_model_but(file, architecture, SIZE_MAX);
}

static void put_tensors(struct gguf_file *file) {
    gguf_tensor(file, "token_embd.weight", 0, 6, 4, 96);
    gguf_tensor(file, "blk.0.attn_k.weight", 35, 4, 256, 264);
    gguf_tensor(file, "blk.0.attn_norm.weight", 30, 0, 4, 8);
}

static struct rsrc_buffer make_llama(void) {
    struct gguf_file file = {0};
    put_model(&file, "llama");
    put_tensors(&file);
    return gguf_finish(&file);
}

/* ---- accepted -------------------------------------------------------------------------------- */

static const struct rsrc_read_choices INT8 = {.activations = RSRC_ACTIVATIONS_INT8};

static enum rsrc_status parse(struct reader_test *test, const void *bytes, size_t n_bytes,
                              struct rsr_checkpoint *out) {
    return rsrc_parse_gguf(test->diag, &test->arena, "m.gguf", bytes, n_bytes, &INT8, out);
}

static const struct rsr_tensor *tensor_of(const struct rsr_checkpoint *checkpoint,
                                          const char *name) {
    static const struct rsr_tensor none = {.name = "(none)"};
    const struct rsr_tensor *tensor = rsrc_find_tensor(checkpoint, name);
    CHECK(tensor != NULL);
    return tensor == NULL ? &none : tensor;
}

static void test_llama(void) {
    struct reader_test test;
    struct rsr_checkpoint checkpoint = {0};
    struct gguf_file file = {0};
    reader_test_begin(&test);
    put_model(&file, "llama");
    gguf_u32(&file, "llama.attention.head_count_kv", 1);
    gguf_u32(&file, "llama.attention.key_length", 2);
    gguf_f32(&file, "llama.rope.freq_base", 500000.0f);
    gguf_u32(&file, "llama.vocab_size", 6);
    gguf_u32(&file, "tokenizer.ggml.bos_token_id", 1);
    gguf_u32(&file, "tokenizer.ggml.eos_token_id", 2);
    gguf_u32(&file, "tokenizer.ggml.eot_token_id", 2);
    gguf_u32(&file, "tokenizer.ggml.eom_token_id", 5);
    put_tensors(&file);
    gguf_tensor(&file, "output.weight", 1, 6, 4, 48);
    gguf_tensor(&file, "blk.0.attn_q.weight", 34, 4, 256, 216);
    gguf_tensor(&file, "blk.0.attn_q.scale", 0, 0, 1, 4);
    gguf_tensor(&file, "blk.00.attn_q.weight", 0, 0, 1, 4);
    struct rsrc_buffer bytes = gguf_finish(&file);
    CHECK_INT(parse(&test, bytes.data, bytes.size_bytes, &checkpoint), RSRC_OK);
    CHECK_STR(reader_test_text(&test), "");
    const struct rsr_hyper *hyper = &checkpoint.config.hyper;
    CHECK(checkpoint.has_config);
    CHECK_STR(checkpoint.config.model_type, "llama");
    CHECK_INT(checkpoint.config.scale_rule, RSR_SCALE_BLOCKS);
    CHECK_INT(hyper->hidden, 4);
    CHECK_INT(hyper->n_layers, 1);
    CHECK_INT(hyper->n_heads, 2);
    CHECK_INT(hyper->n_kv_heads, 1);
    CHECK_INT(hyper->head_dim, 2);
    CHECK_INT(hyper->ffn, 8);
    CHECK_INT(hyper->vocab, 6);
    CHECK_INT(hyper->context, 64);
    CHECK_INT(hyper->activation, RSR_ACTIVATION_SILU);
    CHECK_INT(hyper->tied_head, 0);
    CHECK(hyper->norm_eps == 1e-5f && hyper->rope_theta == 500000.0f);
    CHECK_INT(checkpoint.config.bos_token, 1);
    CHECK_INT(checkpoint.config.n_eos_tokens, 2);
    CHECK_INT(checkpoint.config.eos_tokens[1], 5);
    CHECK_INT(checkpoint.n_tensors, 7);
    for (uint32_t i = 1; i < checkpoint.n_tensors; i++)
        CHECK(strcmp(checkpoint.tensors[i - 1].name, checkpoint.tensors[i].name) < 0);
    const struct rsr_tensor *q = tensor_of(&checkpoint, "model.layers.0.self_attn.q_proj.weight");
    CHECK_INT(q->blocks, RSR_BLOCKS_TQ1_0);
    CHECK_INT(q->interleaved_heads, 2);
    CHECK_INT(q->size_bytes, 216);
    CHECK_INT(q->shape[0], 4);
    CHECK_INT(q->shape[1], 256);
    CHECK(q->data == (const uint8_t *)bytes.data + q->offset);
    CHECK_INT(tensor_of(&checkpoint, "model.layers.0.self_attn.k_proj.weight")->interleaved_heads,
              1);
    CHECK_INT(tensor_of(&checkpoint, "model.layers.0.self_attn.q_proj.weight_scale")->n_dims, 1);
    CHECK_INT(tensor_of(&checkpoint, "model.embed_tokens.weight")->dtype, RSR_DTYPE_F32);
    CHECK_INT(tensor_of(&checkpoint, "lm_head.weight")->dtype, RSR_DTYPE_F16);
    tensor_of(&checkpoint, "blk.00.attn_q.weight"); /* not a name of llama.cpp: stays */
    rsrc_buffer_free(&bytes);
    reader_test_end(&test);
}

static void test_bitnet(void) {
    static const struct {
        const char *architecture, *said;
        enum rsr_activation activation;
    } cases[] = {{"bitnet", NULL, RSR_ACTIVATION_SILU},
                 {"bitnet", "relu2", RSR_ACTIVATION_RELU2},
                 {"bitnet", "silu", RSR_ACTIVATION_SILU},
                 {"bitnet-b1.58", NULL, RSR_ACTIVATION_RELU2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader_test test;
        struct rsr_checkpoint checkpoint = {0};
        struct gguf_file file = {.alignment = 64};
        reader_test_begin(&test);
        put_model(&file, cases[i].architecture);
        gguf_u32(&file, "general.alignment", 64);
        if (cases[i].said != NULL)
            gguf_text(&file, "bitnet.hidden_activation", cases[i].said);
        put_tensors(&file);
        struct rsrc_buffer bytes = gguf_finish(&file);
        CHECK_INT(parse(&test, bytes.data, bytes.size_bytes, &checkpoint), RSRC_OK);
        CHECK_STR(reader_test_text(&test), "");
        if (checkpoint.has_config) {
            CHECK_STR(checkpoint.config.model_type, "bitnet");
            CHECK_INT(checkpoint.config.hyper.activation, cases[i].activation);
            CHECK_INT(checkpoint.config.hyper.tied_head, 1);
            CHECK_INT(checkpoint.config.hyper.head_dim, 2);
            CHECK_INT(checkpoint.config.bos_token, RSR_NO_TOKEN);
            CHECK(checkpoint.config.hyper.rope_theta == 10000.0f);
            CHECK_INT(
                tensor_of(&checkpoint, "model.layers.0.self_attn.k_proj.weight")->interleaved_heads,
                0);
        }
        rsrc_buffer_free(&bytes);
        reader_test_end(&test);
    }
}

/* Rotated by halves, with norms of queries and keys. */
static void test_qwen3(void) {
    struct reader_test test;
    struct rsr_checkpoint checkpoint = {0};
    struct gguf_file file = {0};
    reader_test_begin(&test);
    put_model(&file, "qwen3");
    put_tensors(&file);
    gguf_tensor(&file, "blk.0.attn_q_norm.weight", 0, 0, 2, 8);
    gguf_tensor(&file, "blk.0.attn_k_norm.weight", 0, 0, 2, 8);
    struct rsrc_buffer bytes = gguf_finish(&file);
    const struct rsrc_read_choices none = {0};
    CHECK_INT(rsrc_parse_gguf(test.diag, &test.arena, "m.gguf", (const uint8_t *)bytes.data,
                              bytes.size_bytes, &none, &checkpoint),
              RSRC_OK);
    CHECK_STR(checkpoint.config.model_type, "qwen3");
    CHECK_INT(checkpoint.config.input, RSR_INPUT_F32);
    CHECK_INT(tensor_of(&checkpoint, "model.layers.0.self_attn.k_proj.weight")->interleaved_heads,
              0);
    CHECK_STR(tensor_of(&checkpoint, "model.layers.0.self_attn.q_norm.weight")->stored_name,
              "blk.0.attn_q_norm.weight");
    CHECK_STR(checkpoint.stored_name(&test.arena, "model.layers.0.self_attn.k_norm.weight"),
              "blk.0.attn_k_norm.weight");
    rsrc_buffer_free(&bytes);
    reader_test_end(&test);
}

/* Every name of the table is translated. */
static void test_names(void) {
    static const char *const names[] = {
        "token_embd.weight",          "output_norm.weight",        "output.weight",
        "blk.0.attn_norm.weight",     "blk.7.attn_q.weight",       "blk.7.attn_q.scale",
        "blk.12.attn_k.weight",       "blk.0.attn_v.weight",       "blk.0.attn_output.scale",
        "blk.0.attn_sub_norm.weight", "blk.0.ffn_norm.weight",     "blk.0.ffn_gate.weight",
        "blk.0.ffn_up.weight",        "blk.0.ffn_sub_norm.weight", "blk.1023.ffn_down.weight",
        "blk.00.attn_q.weight",       "blk.0.attn_q.weight_scale", "rope_freqs.weight"};
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct rsr_tensor tensor = {.name = names[i]};
        rsrc_gguf_rename(&arena, &tensor, 0, 0);
        CHECK_STR(tensor.stored_name, names[i]);
        CHECK_STR(rsrc_gguf_stored_name(&arena, tensor.name), names[i]);
    }
    rsrc_arena_free(&arena);
}

/* A value of every type, arrays of arrays, sizes of every integer type. */
static void test_value_types(void) {
    static const uint32_t widths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    struct reader_test test;
    struct rsr_checkpoint checkpoint = {0};
    struct gguf_file file = {0};
    reader_test_begin(&test);
    put_model(&file, "llama");
    for (uint32_t type = 0; type < RSRC_GGUF_TYPE_COUNT; type++) {
        char key[64];
        if (widths[type] == 0)
            continue;
        snprintf(key, sizeof key, "general.source.%s",
                 rsrc_gguf_type_name((enum rsrc_gguf_type)type));
        gguf_key(&file, key, type);
        gguf_put(&file.values, 1, widths[type]);
        snprintf(key, sizeof key, "general.source.%ss",
                 rsrc_gguf_type_name((enum rsrc_gguf_type)type));
        gguf_key(&file, key, RSRC_GGUF_ARRAY);
        gguf_put(&file.values, type, 4);
        gguf_put(&file.values, 3, 8);
        for (uint32_t i = 0; i < 3; i++)
            gguf_put(&file.values, 1, widths[type]);
    }
    gguf_key(&file, "general.source.nested", RSRC_GGUF_ARRAY); /* [[], ["a", ""]] */
    gguf_put(&file.values, RSRC_GGUF_ARRAY, 4);
    gguf_put(&file.values, 2, 8);
    gguf_put(&file.values, RSRC_GGUF_U8, 4);
    gguf_put(&file.values, 0, 8);
    gguf_put(&file.values, RSRC_GGUF_STRING, 4);
    gguf_put(&file.values, 2, 8);
    gguf_put_string(&file.values, "a");
    gguf_put_string(&file.values, "");
    gguf_key(&file, "llama.attention.value_length", RSRC_GGUF_U64);
    gguf_put(&file.values, 2, 8);
    gguf_key(&file, "llama.rope.dimension_count", RSRC_GGUF_I32);
    gguf_put(&file.values, 2, 4);
    gguf_key(&file, "llama.attention.head_count_kv", RSRC_GGUF_U16);
    gguf_put(&file.values, 2, 2);
    put_tensors(&file);
    struct rsrc_buffer bytes = gguf_finish(&file);
    CHECK_INT(parse(&test, bytes.data, bytes.size_bytes, &checkpoint), RSRC_OK);
    CHECK_STR(reader_test_text(&test), "");
    CHECK_INT(checkpoint.config.hyper.n_kv_heads, 2);
    rsrc_buffer_free(&bytes);
    reader_test_end(&test);
}

/* ---- refused --------------------------------------------------------------------------------- */

static void check_refused(const void *bytes, size_t n_bytes, const char *slug, const char *about) {
    struct reader_test test;
    struct rsr_checkpoint checkpoint = {0};
    uint8_t *copy = exact_copy(bytes, n_bytes);
    reader_test_begin(&test);
    CHECK_INT(parse(&test, copy, n_bytes, &checkpoint), RSRC_FAILED);
    CHECK(checkpoint.tensors == NULL && !checkpoint.has_config);
    check_one_error(&test, slug, about);
    reader_test_end(&test);
    free(copy);
}

/* The smallest model with one more value. */
static void check_value(const char *architecture, const char *key, uint32_t type, uint64_t value,
                        uint32_t n_bytes, const char *slug) {
    struct gguf_file file = {0};
    put_model(&file, architecture);
    gguf_key(&file, key, type);
    gguf_put(&file.values, value, n_bytes);
    put_tensors(&file);
    struct rsrc_buffer bytes = gguf_finish(&file);
    check_refused(bytes.data, bytes.size_bytes, slug, key);
    rsrc_buffer_free(&bytes);
}

static void check_text(const char *architecture, const char *key, const char *text,
                       const char *slug) {
    struct gguf_file file = {0};
    put_model(&file, architecture);
    gguf_text(&file, key, text);
    put_tensors(&file);
    struct rsrc_buffer bytes = gguf_finish(&file);
    check_refused(bytes.data, bytes.size_bytes, slug, key);
    rsrc_buffer_free(&bytes);
}

static void test_values(void) {
    const uint64_t half = 0x3f000000; /* 0.5f */
    check_value("llama", "x.x", 13, 0, 4, "gguf-value-type");
    check_value("llama", "x.x", RSRC_GGUF_BOOL, 2, 1, "gguf-bool");
    check_value("llama", "", RSRC_GGUF_U8, 0, 1, "gguf-name");
    check_value("llama", "llama.block_count", RSRC_GGUF_U8, 1, 1, "gguf-duplicate");
    check_value("llama", "general.alignment", RSRC_GGUF_U32, 0, 4, "gguf-alignment");
    check_value("llama", "general.alignment", RSRC_GGUF_U32, 24, 4, "gguf-alignment");
    check_value("llama", "general.alignment", RSRC_GGUF_U32, 1u << 31, 4, "gguf-alignment");
    check_value("llama", "general.alignment", RSRC_GGUF_U64, 32, 8, "gguf-alignment");
    check_value("llama", "split.count", RSRC_GGUF_U16, 2, 2, "gguf-split");
    check_value("llama", "llama.attention.head_count_kv", RSRC_GGUF_U32, 0, 4, "gguf-field");
    check_value("llama", "llama.attention.head_count_kv", RSRC_GGUF_F32, half, 4, "gguf-field");
    check_value("llama", "llama.attention.head_count_kv", RSRC_GGUF_I64, UINT64_MAX, 8,
                "gguf-field");
    check_value("llama", "llama.attention.head_count_kv", RSRC_GGUF_U32, 3, 4, "gguf-heads");
    check_value("llama", "llama.attention.key_length", RSRC_GGUF_U32, 3, 4, "gguf-heads");
    check_value("llama", "llama.attention.value_length", RSRC_GGUF_U32, 4, 4, "gguf-heads");
    check_value("llama", "llama.rope.dimension_count", RSRC_GGUF_U32, 1, 4, "gguf-heads");
    check_value("bitnet", "bitnet.attention.key_length", RSRC_GGUF_U32, 4, 4, "gguf-heads");
    check_value("llama", "llama.rope.freq_base", RSRC_GGUF_F32, half, 4, "gguf-field");
    check_value("llama", "llama.rope.freq_base", RSRC_GGUF_F32, 0x7fc00000, 4, "gguf-field");
    check_value("llama", "llama.vocab_size", RSRC_GGUF_U32, 7, 4, "gguf-field");
    check_value("llama", "llama.expert_count", RSRC_GGUF_U32, 8, 4, "gguf-unsupported");
    check_value("llama", "llama.rope.scaling.factor", RSRC_GGUF_F32, half, 4, "gguf-unsupported");
    check_value("llama", "llama.attention.causal", RSRC_GGUF_BOOL, 0, 1, "gguf-unsupported");
    check_value("llama", "llama.something_new", RSRC_GGUF_U32, 0, 4, "gguf-unsupported");
    check_value("llama", "qwen3.block_count", RSRC_GGUF_U32, 1, 4, "gguf-unsupported");
    check_value("llama", "llama2.block_count", RSRC_GGUF_U32, 1, 4, "gguf-unsupported");
    check_value("llama", "prism.hadamard.block_size", RSRC_GGUF_U32, 128, 4, "gguf-rotation");
    check_value("llama", "prism.hadamard.factor", RSRC_GGUF_U32, 128, 4, "gguf-unsupported");
    check_value("llama", "general.activation_transform", RSRC_GGUF_U8, 1, 1, "gguf-unsupported");
    check_value("llama", "general.names", RSRC_GGUF_U8, 1, 1, "gguf-unsupported");
    check_value("llama", "tokenizer.ggml.normalizer.lowercase", RSRC_GGUF_BOOL, 1, 1,
                "gguf-unsupported");
    check_value("llama", "split.offset", RSRC_GGUF_U32, 1, 4, "gguf-unsupported");
    check_value("llama", "rotation", RSRC_GGUF_U8, 1, 1, "gguf-unsupported");
    check_value("llama", "tokenizer.ggml.bos_token_id", RSRC_GGUF_U32, 6, 4, "gguf-token");
    check_value("llama", "tokenizer.ggml.eos_token_id", RSRC_GGUF_I32, UINT32_MAX, 4, "gguf-token");
    check_text("llama", "general.type", "adapter", "gguf-kind");
    check_text("llama", "llama.rope.scaling.type", "yarn", "gguf-unsupported");
    check_text("llama", "llama.hidden_activation", "silu", "gguf-unsupported");
    check_text("bitnet", "bitnet.hidden_activation", "gelu", "gguf-unsupported");
    check_text("llama", "llama.attention.head_count_kv", "2", "gguf-field");
}

static void test_missing(void) {
    struct gguf_file none = {0}, other = {0}, embedding = {0};
    put_tensors(&none);
    struct rsrc_buffer bytes = gguf_finish(&none);
    check_refused(bytes.data, bytes.size_bytes, "gguf-missing", "no architecture");
    rsrc_buffer_free(&bytes);
    put_model(&other, "gemma3");
    put_tensors(&other);
    bytes = gguf_finish(&other);
    check_refused(bytes.data, bytes.size_bytes, "gguf-architecture", "gemma3");
    rsrc_buffer_free(&bytes);
    for (size_t left_out = 0; left_out <= N_SIZES; left_out++) {
        struct gguf_file sizes = {0};
        put_model_but(&sizes, "llama", left_out);
        put_tensors(&sizes);
        bytes = gguf_finish(&sizes);
        check_refused(bytes.data, bytes.size_bytes, "gguf-missing", "a size");
        rsrc_buffer_free(&bytes);
    }
    put_model(&embedding, "llama");
    gguf_tensor(&embedding, "output.weight", 1, 6, 4, 48);
    bytes = gguf_finish(&embedding);
    check_refused(bytes.data, bytes.size_bytes, "gguf-missing", "no embedding");
    rsrc_buffer_free(&bytes);
}

/* Arrays that claim more elements than the file has, and arrays in arrays. */
static void test_arrays(void) {
    static const uint32_t types[] = {RSRC_GGUF_U8, RSRC_GGUF_F64, RSRC_GGUF_BOOL, RSRC_GGUF_STRING,
                                     RSRC_GGUF_ARRAY};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct gguf_file file = {0};
        put_model(&file, "llama");
        gguf_key(&file, "x.array", RSRC_GGUF_ARRAY);
        gguf_put(&file.values, types[i], 4);
        gguf_put(&file.values, UINT64_MAX / 3, 8);
        put_tensors(&file);
        struct rsrc_buffer bytes = gguf_finish(&file);
        check_refused(bytes.data, bytes.size_bytes, "gguf-truncated", "a long array");
        rsrc_buffer_free(&bytes);
    }
    struct gguf_file file = {0};
    put_model(&file, "llama");
    gguf_key(&file, "x.array", RSRC_GGUF_ARRAY);
    for (uint32_t depth = 0; depth < 5; depth++) {
        gguf_put(&file.values, RSRC_GGUF_ARRAY, 4);
        gguf_put(&file.values, 1, 8);
    }
    put_tensors(&file);
    struct rsrc_buffer bytes = gguf_finish(&file);
    check_refused(bytes.data, bytes.size_bytes, "gguf-depth", "deep arrays");
    rsrc_buffer_free(&bytes);
}

static void check_tensor(const char *name, uint32_t type, uint64_t rows, uint64_t cols,
                         uint64_t n_bytes, const char *slug) {
    struct gguf_file file = {0};
    put_model(&file, "llama");
    put_tensors(&file);
    gguf_tensor(&file, name, type, rows, cols, n_bytes);
    struct rsrc_buffer bytes = gguf_finish(&file);
    check_refused(bytes.data, bytes.size_bytes, slug, name);
    rsrc_buffer_free(&bytes);
}

static void test_tensors(void) {
    check_tensor("t", 9, 1, 32, 36, "gguf-type");
    check_tensor("t", 8, 1, 33, 34, "gguf-shape");
    check_tensor("t", 36, 1, 128, 32 + 32, "gguf-i2s-layout");
    check_tensor("t", 36, 1, 32, 8 + 32, "gguf-shape");
    check_tensor("t", 36, 1, 128, 32 + 31, "gguf-truncated");
    check_tensor("t", 134, 2, 128, 2 * 28 - 1, "gguf-truncated");
    check_tensor("t", 135, 2, 128, 2 * 36 - 1, "gguf-truncated");
    check_tensor("t", 135, UINT64_C(1) << 61, 64, 20, "gguf-shape");
    check_tensor("t", 4000, 1, 32, 34, "gguf-type");
    check_tensor("t", 35, 1, 255, 66, "gguf-shape");
    check_tensor("t", 34, 1, 128, 54, "gguf-shape");
    check_tensor("t", 0, 0, 0, 0, "gguf-shape");
    check_tensor("t", 0, UINT64_C(1) << 32, UINT64_C(1) << 32, 0, "gguf-shape");
    check_tensor("t", 0, 2, 3, 23, "gguf-truncated");
    check_tensor("t", 0, 2, UINT64_C(1) << 60, 24, "gguf-truncated");
    check_tensor("t", 0, 2, 3, 24 + 32, "gguf-trailing");
    check_tensor("", 0, 2, 3, 24, "gguf-name");
    check_tensor("token_embd.weight", 0, 6, 4, 96, "gguf-duplicate");
    check_tensor("model.embed_tokens.weight", 0, 6, 4, 96, "gguf-duplicate");
}

/* ---- models in several files ----------------------------------------------------------------- */

static void test_part_names(void) {
    static const struct {
        const char *path;
        uint32_t number, n_parts; /* 0: not the name of a part */
    } cases[] = {{"m-00001-of-00002.gguf", 1, 2},         {"a/m-00002-of-00002.gguf", 2, 2},
                 {"m-99999-of-99999.gguf", 99999, 99999}, {"-00001-of-00002.gguf", 0, 0},
                 {"m-00003-of-00002.gguf", 0, 0},         {"m-00000-of-00002.gguf", 0, 0},
                 {"m-0001-of-00002.gguf", 0, 0},          {"m-00001-of-00002.ggu", 0, 0},
                 {"m-00001-to-00002.gguf", 0, 0},         {"m_00001-of-00002.gguf", 0, 0},
                 {"m-0000x-of-00002.gguf", 0, 0},         {"m.gguf", 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t number = 0, n_parts = 0;
        size_t n_stem = 0;
        const bool is_part = rsrc_gguf_part_of_name(cases[i].path, &number, &n_parts, &n_stem);
        CHECK_INT(is_part, cases[i].number != 0);
        if (is_part) {
            CHECK_INT(number, cases[i].number);
            CHECK_INT(n_parts, cases[i].n_parts);
            CHECK_INT(n_stem, strchr(cases[i].path, '-') - cases[i].path);
        }
    }
}

/* Two parts: their own counts and numbers, and their tensors. */
static void test_parts(void) {
    static const struct {
        uint32_t count[2], no[2], n_tensors;
        bool repeats;
        const char *slug;
        const char *key; /* additional keys of the second part */
    } cases[] = {{{2, 2}, {0, 1}, 4, false, NULL, "llama.block_count"},
                 {{2, 2}, {0, 1}, 4, false, "gguf-split", "llama.something_new"},
                 {{2, 2}, {0, 1}, 4, false, "gguf-split", "prism.hadamard.block_size"},
                 {{2, 2}, {0, 0}, 4, false, "gguf-split", "general.size_label"},
                 {{2, 2}, {1, 0}, 4, false, "gguf-split", "general.size_label"},
                 {{2, 3}, {0, 1}, 4, false, "gguf-split", "general.size_label"},
                 {{1, 2}, {0, 1}, 4, false, "gguf-split", "general.size_label"},
                 {{2, 2}, {0, 1}, 5, false, "gguf-split", "general.size_label"},
                 {{2, 2}, {0, 1}, 4, true, "gguf-duplicate", "general.size_label"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader_test test;
        struct rsr_checkpoint checkpoint = {0};
        struct gguf_file files[2];
        memset(files, 0, sizeof files);
        struct rsrc_buffer bytes[2];
        struct rsrc_gguf_part parts[2];
        reader_test_begin(&test);
        put_model(&files[0], "llama");
        for (uint32_t k = 0; k < 2; k++) {
            gguf_u32(&files[k], "split.count", cases[i].count[k]);
            gguf_u32(&files[k], "split.no", cases[i].no[k]);
        }
        gguf_u32(&files[1], cases[i].key, 1);
        gguf_u32(&files[0], "split.tensors.count", cases[i].n_tensors);
        put_tensors(&files[0]);
        gguf_tensor(&files[1], cases[i].repeats ? "token_embd.weight" : "output.weight", 1, 6, 4,
                    48);
        for (uint32_t k = 0; k < 2; k++) {
            bytes[k] = gguf_finish(&files[k]);
            parts[k] = (struct rsrc_gguf_part){k == 0 ? "a.gguf" : "b.gguf",
                                               (const uint8_t *)bytes[k].data, bytes[k].size_bytes};
        }
        const enum rsrc_status status =
            rsrc_parse_gguf_parts(test.diag, &test.arena, parts, 2, &INT8, &checkpoint);
        CHECK_INT(status == RSRC_OK, cases[i].slug == NULL);
        if (status == RSRC_OK) {
            CHECK_INT(checkpoint.n_tensors, 4);
            CHECK_STR(tensor_of(&checkpoint, "lm_head.weight")->file, "b.gguf");
            CHECK_STR(tensor_of(&checkpoint, "model.embed_tokens.weight")->file, "a.gguf");
        } else {
            check_one_error(&test, cases[i].slug, "parts");
        }
        rsrc_buffer_free(&bytes[0]);
        rsrc_buffer_free(&bytes[1]);
        reader_test_end(&test);
    }
}

/* ---- what only the user or other data can tell ----------------------------------------------- */

static enum rsrc_status parse_with(struct reader_test *test, struct gguf_file *file,
                                   const struct rsrc_read_choices *choices,
                                   struct rsr_checkpoint *out) {
    struct rsrc_buffer bytes = gguf_finish(file);
    uint8_t *copy = rsrc_arena_alloc(&test->arena, bytes.size_bytes);
    memcpy(copy, bytes.data, bytes.size_bytes);
    const enum rsrc_status status =
        rsrc_parse_gguf(test->diag, &test->arena, "m.gguf", copy, bytes.size_bytes, choices, out);
    rsrc_buffer_free(&bytes);
    return status;
}

/* Two tensors of type Q2_0: rows of cols weights, with the given number of bytes. */
static void test_q2_blocks(void) {
    static const struct {
        uint64_t cols, bytes[2];
        enum rsr_blocks blocks; /* NONE: refused */
        const char *slug;
    } cases[] = {
        {1024, {16 * 18 * 4, 16 * 18 * 4}, RSR_BLOCKS_Q2_0, NULL},
        {1024, {8 * 34 * 4, 8 * 34 * 4}, RSR_BLOCKS_Q2_0_G128, NULL},
        {1024, {8 * 34 * 4, 16 * 18 * 4}, RSR_BLOCKS_NONE, "gguf-q2-blocks"},
        {1024, {16 * 18 * 4, 8 * 34 * 4}, RSR_BLOCKS_NONE, "gguf-q2-blocks"},
        {1024, {16 * 18 * 4, 16 * 18 * 4 + 32}, RSR_BLOCKS_NONE, "gguf-q2-blocks"},
        {1024, {8 * 34 * 4, 8 * 34 * 4 - 1}, RSR_BLOCKS_NONE, "gguf-truncated"},
        {64, {18 * 4, 18 * 4}, RSR_BLOCKS_Q2_0, NULL},
        {128, {36 * 4, 36 * 4}, RSR_BLOCKS_NONE, "gguf-q2-blocks"}, /* 136 and 144 pad to 160 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader_test test;
        struct rsr_checkpoint checkpoint = {0};
        struct gguf_file file = {0};
        reader_test_begin(&test);
        put_model(&file, "llama");
        put_tensors(&file);
        gguf_tensor(&file, "blk.0.attn_q.weight", 42, 4, cases[i].cols, cases[i].bytes[0]);
        gguf_tensor(&file, "blk.0.attn_v.weight", 42, 4, cases[i].cols, cases[i].bytes[1]);
        const enum rsrc_status status = parse_with(&test, &file, &INT8, &checkpoint);
        CHECK_INT(status == RSRC_OK, cases[i].slug == NULL);
        if (status == RSRC_OK)
            CHECK_INT(tensor_of(&checkpoint, "model.layers.0.self_attn.v_proj.weight")->blocks,
                      cases[i].blocks);
        else
            check_one_error(&test, cases[i].slug, "Q2_0");
        reader_test_end(&test);
    }
}

static void test_i2s_layout(void) {
    static const struct {
        uint64_t cols;
        enum rsrc_i2s_layout wanted;
        enum rsr_blocks blocks; /* NONE: refused */
    } cases[] = {
        {256, RSRC_I2S_AUTO, RSR_BLOCKS_NONE},    {256, RSRC_I2S_X86, RSR_BLOCKS_I2_S_X86},
        {256, RSRC_I2S_ARM, RSR_BLOCKS_I2_S_ARM}, {192, RSRC_I2S_AUTO, RSR_BLOCKS_I2_S_ARM},
        {192, RSRC_I2S_X86, RSR_BLOCKS_NONE},     {192, RSRC_I2S_ARM, RSR_BLOCKS_I2_S_ARM},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader_test test;
        struct rsr_checkpoint checkpoint = {0};
        struct gguf_file file = {0};
        const struct rsrc_read_choices choices = {.i2s_layout = cases[i].wanted};
        reader_test_begin(&test);
        put_model(&file, "llama");
        gguf_tensor(&file, "token_embd.weight", 0, 6, 4, 96);
        gguf_tensor(&file, "blk.0.attn_q.weight", 36, 4, 256, 256 + 32);
        gguf_tensor(&file, "blk.0.attn_v.weight", 36, 4, cases[i].cols, cases[i].cols + 32);
        const enum rsrc_status status = parse_with(&test, &file, &choices, &checkpoint);
        CHECK_INT(status == RSRC_OK, cases[i].blocks != RSR_BLOCKS_NONE);
        if (status == RSRC_OK) {
            CHECK_INT(tensor_of(&checkpoint, "model.layers.0.self_attn.q_proj.weight")->blocks,
                      cases[i].blocks);
            CHECK_INT(checkpoint.config.input, RSR_INPUT_I8);
        } else {
            check_one_error(&test, "gguf-i2s-layout", "I2_S");
        }
        reader_test_end(&test);
    }
}

/* Scales of the four blocks of a tensor of type TQ2_0, or a tensor of another type. */
static void test_activations(void) {
    static const struct {
        const char *architecture;
        uint32_t type;
        uint16_t scales[4];
        enum rsrc_activations wanted;
        bool is_refused;
        enum rsr_input input;
    } cases[] = {
        {"llama", 35, {1, 1, 0, 1}, RSRC_ACTIVATIONS_AUTO, true, 0},
        {"llama", 35, {1, 1, 0, 1}, RSRC_ACTIVATIONS_INT8, false, RSR_INPUT_I8},
        {"llama", 35, {1, 1, 0, 1}, RSRC_ACTIVATIONS_FLOAT, false, RSR_INPUT_F32},
        {"llama", 35, {0, 1, 2, 1}, RSRC_ACTIVATIONS_AUTO, false, RSR_INPUT_F32},
        {"llama", 35, {0, 1, 2, 1}, RSRC_ACTIVATIONS_FLOAT, false, RSR_INPUT_F32},
        {"llama", 35, {0, 1, 2, 1}, RSRC_ACTIVATIONS_INT8, false, RSR_INPUT_I8},
        {"bitnet", 35, {1, 1, 1, 1}, RSRC_ACTIVATIONS_AUTO, false, RSR_INPUT_I8},
        {"bitnet", 35, {1, 1, 1, 1}, RSRC_ACTIVATIONS_INT8, false, RSR_INPUT_I8},
        {"bitnet", 35, {1, 1, 1, 1}, RSRC_ACTIVATIONS_FLOAT, true, 0},
        {"llama", 135, {0}, RSRC_ACTIVATIONS_AUTO, false, RSR_INPUT_I8},
        {"llama", 134, {0}, RSRC_ACTIVATIONS_FLOAT, true, 0},
        {"qwen3", 35, {1, 1, 1, 1}, RSRC_ACTIVATIONS_AUTO, false, RSR_INPUT_F32},
        {"qwen3", 35, {0, 1, 2, 1}, RSRC_ACTIVATIONS_AUTO, false, RSR_INPUT_F32},
        {"qwen3", 35, {1, 1, 1, 1}, RSRC_ACTIVATIONS_INT8, false, RSR_INPUT_I8},
        {"qwen3", 135, {0}, RSRC_ACTIVATIONS_AUTO, false, RSR_INPUT_I8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader_test test;
        struct rsr_checkpoint checkpoint = {0};
        struct gguf_file file = {0};
        const struct rsrc_read_choices choices = {.activations = cases[i].wanted};
        const uint64_t bytes = cases[i].type == 35 ? 66 : cases[i].type == 134 ? 2 + 52 : 4 + 64;
        reader_test_begin(&test);
        put_model(&file, cases[i].architecture);
        gguf_tensor(&file, "token_embd.weight", 0, 6, 4, 96);
        gguf_tensor(&file, "blk.0.attn_v.weight", cases[i].type, 4, 256, 4 * bytes);
        for (uint32_t b = 0; b < 4 && cases[i].type == 35; b++)
            memcpy(file.data.data + 96 + 66 * b + 64, &cases[i].scales[b], 2);
        const enum rsrc_status status = parse_with(&test, &file, &choices, &checkpoint);
        CHECK_INT(status != RSRC_OK, cases[i].is_refused);
        if (status == RSRC_OK) {
            CHECK_INT(checkpoint.config.input, cases[i].input);
            CHECK(checkpoint.config.input_reason != NULL);
        } else {
            check_one_error(&test,
                            cases[i].wanted == RSRC_ACTIVATIONS_AUTO ? "gguf-activations"
                                                                     : "activations",
                            "activations");
        }
        reader_test_end(&test);
    }
}

/* The offset of the last tensor, which is the last number before the data. */
static void test_offsets(void) {
    static const struct {
        uint64_t offset;
        const char *slug;
    } cases[] = {{0, "gguf-overlap"},
                 {352, "gguf-overlap"},
                 {391, "gguf-truncated"},
                 {416, "gguf-truncated"},
                 {UINT64_MAX, "gguf-truncated"}};
    struct gguf_file file = {0};
    put_model(&file, "llama");
    put_tensors(&file);
    const size_t at = 24 + file.values.size_bytes + file.infos.size_bytes - 8;
    const uint64_t was = file.data.size_bytes - 8;
    struct rsrc_buffer bytes = gguf_finish(&file);
    CHECK_INT((uint8_t)bytes.data[at] + 256 * (uint8_t)bytes.data[at + 1], was);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (uint32_t b = 0; b < 8; b++)
            bytes.data[at + b] = (char)(cases[i].offset >> (8 * b));
        check_refused(bytes.data, bytes.size_bytes, cases[i].slug, "an offset");
    }
    rsrc_buffer_free(&bytes);
    struct gguf_file hole = {0};
    put_model(&hole, "llama");
    put_tensors(&hole);
    for (uint32_t i = 0; i < 8; i++)
        gguf_put(&hole.data, 0, 8);
    gguf_tensor(&hole, "t", 0, 2, 3, 24);
    bytes = gguf_finish(&hole);
    check_refused(bytes.data, bytes.size_bytes, "gguf-hole", "a hole");
    rsrc_buffer_free(&bytes);
}

static void test_header(void) {
    static const struct {
        uint32_t at, n_bytes;
        uint64_t value;
        const char *slug;
    } cases[] = {
        {0, 4, 0x46554746, "gguf-magic"},  {4, 4, 0, "gguf-version"},
        {4, 4, 1, "gguf-version"},         {4, 4, 2, "gguf-version"},
        {4, 4, 4, "gguf-version"},         {4, 4, 0x03000000, "gguf-endian"},
        {8, 8, 0, "gguf-empty"},           {8, 8, 1u << 18, "gguf-count"},
        {8, 8, UINT64_MAX, "gguf-count"},  {16, 8, 1000, "gguf-count"},
        {16, 8, UINT64_MAX, "gguf-count"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rsrc_buffer bytes = make_llama();
        for (uint32_t b = 0; b < cases[i].n_bytes; b++)
            bytes.data[cases[i].at + b] = (char)(cases[i].value >> (8 * b));
        check_refused(bytes.data, bytes.size_bytes, cases[i].slug, "a header");
        rsrc_buffer_free(&bytes);
    }
}

/* A file that is cut anywhere is refused: it is no GGUF file, its counts are too large, or it ends
 * too early. */
static void test_every_cut(void) {
    struct rsrc_buffer bytes = make_llama();
    for (size_t n = 0; n < bytes.size_bytes; n++) {
        struct reader_test test;
        struct rsr_checkpoint checkpoint = {0};
        uint8_t *copy = exact_copy(bytes.data, n);
        reader_test_begin(&test);
        CHECK_INT(parse(&test, copy, n, &checkpoint), RSRC_FAILED);
        CHECK_INT(rsrc_diag_error_count(test.diag), 1);
        const char *text = reader_test_text(&test);
        CHECK(strstr(text, n < 4 ? "[gguf-magic]" : "[gguf-truncated]") != NULL ||
              strstr(text, "[gguf-count]") != NULL);
        reader_test_end(&test);
        free(copy);
    }
    rsrc_buffer_free(&bytes);
}

/* Each byte is changed. Tensors of an accepted file lie in the file and are ordered, a refusal says
 * why, and neither case takes more memory than the size of the file justifies. */
static void test_every_byte(void) {
    static const uint8_t values[] = {0, 1, 2, 9, 0x20, 0x7f, 0x80, 0xff};
    struct rsrc_buffer bytes = make_llama();
    uint32_t n_accepted = 0;
    for (size_t at = 0; at < bytes.size_bytes - 390; at++) {
        for (size_t v = 0; v < sizeof values; v++) {
            struct reader_test test;
            struct rsr_checkpoint checkpoint = {0};
            uint8_t *copy = exact_copy(bytes.data, bytes.size_bytes);
            copy[at] = values[v];
            reader_test_begin(&test);
            const enum rsrc_status status = parse(&test, copy, bytes.size_bytes, &checkpoint);
            CHECK_INT(rsrc_diag_error_count(test.diag) == 0, status == RSRC_OK);
            CHECK(test.arena.used_bytes < 16 * bytes.size_bytes);
            n_accepted += status == RSRC_OK;
            for (uint32_t i = 0; i < checkpoint.n_tensors; i++)
                CHECK(checkpoint.tensors[i].data + checkpoint.tensors[i].size_bytes <=
                      copy + bytes.size_bytes);
            reader_test_end(&test);
            free(copy);
        }
    }
    CHECK(n_accepted > 0);
    rsrc_buffer_free(&bytes);
}

int main(void) {
    test_llama();
    test_bitnet();
    test_qwen3();
    test_names();
    test_value_types();
    test_values();
    test_missing();
    test_arrays();
    test_tensors();
    test_part_names();
    test_parts();
    test_q2_blocks();
    test_i2s_layout();
    test_activations();
    test_offsets();
    test_header();
    test_every_cut();
    test_every_byte();
    return CHECK_EXIT();
}
