/* test_graph.c - roles, encodings and refusals of the graph stage on checkpoints made in memory. */
#include <stdlib.h>

#include "check.h"
#include "model/graph.h"

enum { HIDDEN = 8, HEADS = 2, KV_HEADS = 1, HEAD_DIM = 6, FFN = 10, VOCAB = 5, BLOCKS = 2 };

struct fixture {
    struct rsrc_arena arena;
    struct rsrc_diag *diag;
    FILE *stream;
    char *text;
    size_t n_text;
    struct rsr_checkpoint checkpoint;
    struct rsr_tensor tensors[64];
};

static uint64_t bytes_of(enum rsr_dtype dtype) {
    return dtype == RSR_DTYPE_U8 ? 1 : dtype == RSR_DTYPE_BF16 ? 2 : 4;
}

/* rows 0: one dimension. */
static struct rsr_tensor *add(struct fixture *f, enum rsr_dtype dtype, uint64_t rows, uint64_t cols,
                              const char *name) {
    struct rsr_tensor *tensor = &f->tensors[f->checkpoint.n_tensors++];

    *tensor = (struct rsr_tensor){.name = rsrc_arena_strdup(&f->arena, name),
                                  .dtype = dtype,
                                  .n_dims = rows ? 2 : 1,
                                  .shape = {rows ? rows : cols, rows ? cols : 0},
                                  .file = "model.safetensors",
                                  .size_bytes = (rows ? rows : 1) * cols * bytes_of(dtype)};
    tensor->data = rsrc_arena_alloc(&f->arena, tensor->size_bytes);
    return tensor;
}

static void add_linear(struct fixture *f, uint32_t block, const char *module, uint64_t rows,
                       uint64_t cols) {
    char name[128];
    bool online = f->checkpoint.config.scale_rule == RSR_SCALE_ONLINE;

    snprintf(name, sizeof name, "model.layers.%u.%s.weight", block, module);
    add(f, online ? RSR_DTYPE_BF16 : RSR_DTYPE_U8, online ? rows : (rows + 3) / 4, cols, name);
    snprintf(name, sizeof name, "model.layers.%u.%s.weight_scale", block, module);
    if (!online)
        add(f, RSR_DTYPE_BF16, 0, 1, name);
}

static void add_norm(struct fixture *f, uint32_t block, const char *module, uint64_t cols) {
    char name[128];

    snprintf(name, sizeof name, "model.layers.%u.%s.weight", block, module);
    add(f, RSR_DTYPE_BF16, 0, cols, name);
}

static const char *const head_alone[] = {"lm_head"};

static void open_model(struct fixture *f, const char *model_type, enum rsr_scale_rule rule) {
    bool is_bitnet = strcmp(model_type, "bitnet") == 0;

    memset(f, 0, sizeof *f);
    rsrc_arena_init(&f->arena);
    f->stream = open_memstream(&f->text, &f->n_text);
    f->diag = rsrc_diag_create(f->stream, true, RSRC_COLOR_NEVER);
    f->checkpoint.path = "model";
    f->checkpoint.tensors = f->tensors;
    f->checkpoint.has_config = true;
    f->checkpoint.config = (struct rsr_config){.file = "config.json",
                                               .model_type = model_type,
                                               .scale_rule = rule,
                                               .scale_reason = "because the test says so",
                                               .not_converted = head_alone,
                                               .n_not_converted = 1,
                                               .hyper = {.hidden = HIDDEN,
                                                         .n_layers = BLOCKS,
                                                         .n_heads = HEADS,
                                                         .n_kv_heads = KV_HEADS,
                                                         .head_dim = HEAD_DIM,
                                                         .ffn = FFN,
                                                         .vocab = VOCAB,
                                                         .context = 32,
                                                         .tied_head = 1,
                                                         .norm_eps = 1e-5f,
                                                         .rope_theta = 1e4f}};
    add(f, RSR_DTYPE_BF16, VOCAB, HIDDEN, "model.embed_tokens.weight");
    add(f, RSR_DTYPE_BF16, 0, HIDDEN, "model.norm.weight");
    for (uint32_t block = 0; block < BLOCKS; block++) {
        add_norm(f, block, "input_layernorm", HIDDEN);
        add_norm(f, block, "post_attention_layernorm", HIDDEN);
        if (is_bitnet) {
            add_norm(f, block, "self_attn.attn_sub_norm", HEADS * HEAD_DIM);
            add_norm(f, block, "mlp.ffn_sub_norm", FFN);
        }
        add_linear(f, block, "self_attn.q_proj", HEADS * HEAD_DIM, HIDDEN);
        add_linear(f, block, "self_attn.k_proj", KV_HEADS * HEAD_DIM, HIDDEN);
        add_linear(f, block, "self_attn.v_proj", KV_HEADS * HEAD_DIM, HIDDEN);
        add_linear(f, block, "self_attn.o_proj", HIDDEN, HEADS * HEAD_DIM);
        add_linear(f, block, "mlp.gate_proj", FFN, HIDDEN);
        add_linear(f, block, "mlp.up_proj", FFN, HIDDEN);
        add_linear(f, block, "mlp.down_proj", HIDDEN, FFN);
    }
}

static void close_model(struct fixture *f) {
    rsrc_diag_destroy(f->diag);
    fclose(f->stream);
    free(f->text);
    rsrc_arena_free(&f->arena);
}

static struct rsr_tensor *named(struct fixture *f, const char *name) {
    for (uint32_t i = 0; i < f->checkpoint.n_tensors; i++)
        if (strcmp(f->tensors[i].name, name) == 0)
            return &f->tensors[i];
    return NULL;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct rsr_tensor *)a)->name, ((const struct rsr_tensor *)b)->name);
}

static enum rsrc_status build(struct fixture *f, struct rsr_graph *graph) {
    qsort(f->tensors, f->checkpoint.n_tensors, sizeof *f->tensors, by_name);
    enum rsrc_status status = rsrc_build_graph(f->diag, &f->arena, &f->checkpoint, graph);
    fflush(f->stream);
    return status;
}

/* Building fails with exactly one diagnostic, which has this slug and contains these words. */
#define CHECK_REFUSED(f, slug, words)                                                              \
    do {                                                                                           \
        struct rsr_graph refused_graph;                                                            \
        CHECK_INT(build((f), &refused_graph), RSRC_FAILED);                                        \
        CHECK_INT(rsrc_diag_error_count((f)->diag), 1);                                            \
        CHECK(strstr((f)->text, "\"slug\":\"" slug "\"") != NULL);                                 \
        CHECK(strstr((f)->text, (words)) != NULL);                                                 \
        close_model(f);                                                                            \
    } while (0)

static void test_bitnet(void) {
    struct fixture f;
    struct rsr_graph graph;
    struct rsrc_buffer text = {0};

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    CHECK_INT(build(&f, &graph), RSRC_OK);
    CHECK_STR(graph.architecture, "bitnet");
    CHECK_INT(graph.n_layers, 7 * BLOCKS);
    CHECK_INT(graph.n_norms, 4 * BLOCKS + 1);
    CHECK(graph.head == graph.embedding);

    const struct rsr_layer *down = &graph.layers[graph.blocks[1].down.layer];
    CHECK_STR(down->name, "model.layers.1.mlp.down_proj");
    CHECK_INT(down->role, RSR_ROLE_DOWN);
    CHECK_INT(down->block, 1);
    CHECK_INT(down->rows, HIDDEN);
    CHECK_INT(down->cols, FFN);
    CHECK_INT(down->encoding, RSR_ENCODING_PACKED2);
    CHECK(down->scale == named(&f, "model.layers.1.mlp.down_proj.weight_scale"));
    CHECK_INT(graph.layers[graph.blocks[0].k.layer].rows, KV_HEADS * HEAD_DIM);
    CHECK_INT(graph.norms[graph.blocks[0].attn_sub_norm].cols, HEADS * HEAD_DIM);
    CHECK_INT(graph.norms[graph.final_norm].role, RSR_ROLE_FINAL_NORM);
    for (uint32_t i = 0; i < f.checkpoint.n_tensors; i++)
        CHECK(f.tensors[i].consumed);

    rsrc_print_graph(&graph, &text);
    CHECK(strstr(text.data,
                 "\n  linear k [6, 8] packed2 multiply model.layers.1.self_attn.k_proj\n"));
    CHECK(strstr(text.data, "\nhead tied\n"));
    rsrc_buffer_free(&text);
    close_model(&f);
}

static void test_llama_untied_online(void) {
    struct fixture f;
    struct rsr_graph graph;

    open_model(&f, "llama", RSR_SCALE_ONLINE);
    f.checkpoint.config.hyper.tied_head = 0;
    add(&f, RSR_DTYPE_F32, VOCAB, HIDDEN, "lm_head.weight");
    add(&f, RSR_DTYPE_F32, 0, HEAD_DIM / 2, "model.layers.1.self_attn.rotary_emb.inv_freq");
    static const char *const head_only[] = {"lm_head"};
    f.checkpoint.config.not_converted = head_only;
    f.checkpoint.config.n_not_converted = 1;
    CHECK_INT(build(&f, &graph), RSRC_OK);
    CHECK_INT(graph.blocks[0].attn_sub_norm, UINT32_MAX);
    CHECK_INT(graph.layers[graph.blocks[0].q.layer].encoding, RSR_ENCODING_LATENT);
    CHECK(graph.layers[graph.blocks[0].q.layer].scale == NULL);
    CHECK(graph.head == named(&f, "lm_head.weight"));
    close_model(&f);
}

static void test_tied_but_stored(void) {
    struct fixture f;
    struct rsr_graph graph;

    open_model(&f, "llama", RSR_SCALE_DIVIDE);
    add(&f, RSR_DTYPE_BF16, VOCAB, HIDDEN, "lm_head.weight");
    CHECK_INT(build(&f, &graph), RSRC_OK);
    CHECK(graph.head == graph.embedding);
    close_model(&f);

    open_model(&f, "llama", RSR_SCALE_DIVIDE);
    struct rsr_tensor *head = add(&f, RSR_DTYPE_BF16, VOCAB, HIDDEN, "lm_head.weight");
    uint8_t *other = rsrc_arena_alloc(&f.arena, head->size_bytes);
    other[head->size_bytes - 1] = 1;
    head->data = other;
    CHECK_REFUSED(&f, "graph-tied-head", "it differs from model.embed_tokens.weight");
}

static void test_names(void) {
    struct fixture f;

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    named(&f, "model.layers.1.mlp.up_proj.weight")->name = "model.layers.1.mlp.upp_proj.weight";
    CHECK_REFUSED(&f, "graph-missing-tensor", "did you mean model.layers.1.mlp.upp_proj.weight");

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    add(&f, RSR_DTYPE_BF16, 0, 3, "zzz");
    CHECK_REFUSED(&f, "graph-unexpected-tensor", "zzz");

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    add(&f, RSR_DTYPE_BF16, 0, HIDDEN, "model.layers.0.self_attn.o_proj.bias");
    CHECK_REFUSED(&f, "graph-bias", "model.layers.0.self_attn.o_proj.bias");

    open_model(&f, "llama", RSR_SCALE_DIVIDE);
    add(&f, RSR_DTYPE_BF16, 0, HEAD_DIM, "model.layers.0.self_attn.q_norm.weight");
    CHECK_REFUSED(&f, "graph-extra-norm", "queries and keys");

    open_model(&f, "llama", RSR_SCALE_ONLINE);
    add(&f, RSR_DTYPE_BF16, 0, 1, "model.layers.0.mlp.up_proj.weight_scale");
    CHECK_REFUSED(&f, "graph-unexpected-scale", "up_proj.weight_scale");
}

static void test_shapes_and_types(void) {
    struct fixture f;

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    named(&f, "model.layers.0.mlp.gate_proj.weight")->shape[0] = 4;
    CHECK_REFUSED(&f, "graph-shape", "u8 [4, 8] where packed u8 [3, 8]");

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    named(&f, "model.layers.0.mlp.gate_proj.weight_scale")->shape[0] = 10;
    CHECK_REFUSED(&f, "graph-shape", "bf16 [10] where f32, bf16 or f16 [1] is expected");

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    named(&f, "model.layers.0.mlp.gate_proj.weight")->dtype = RSR_DTYPE_BF16;
    CHECK_REFUSED(&f, "graph-dtype", "because the test says so");

    open_model(&f, "bitnet", RSR_SCALE_ONLINE);
    named(&f, "model.layers.0.mlp.gate_proj.weight")->dtype = RSR_DTYPE_U8;
    CHECK_REFUSED(&f, "graph-dtype", "u8 [10, 8] where float masters");

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    named(&f, "model.norm.weight")->shape[0] = HIDDEN + 1;
    CHECK_REFUSED(&f, "graph-shape", "bf16 [9] where");

    static const uint16_t not_finite[HIDDEN] = {[HIDDEN - 1] = 0x7fc0};
    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    named(&f, "model.norm.weight")->data = (const uint8_t *)not_finite;
    CHECK_REFUSED(&f, "tensor-not-finite", "element 7 is NaN");

    static const uint16_t infinite[VOCAB * HIDDEN] = {[VOCAB * HIDDEN - 2] = 0xff80};
    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    named(&f, "model.embed_tokens.weight")->data = (const uint8_t *)infinite;
    CHECK_REFUSED(&f, "tensor-not-finite", "element 38 is infinite");

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    named(&f, "model.embed_tokens.weight")->dtype = RSR_DTYPE_U8;
    CHECK_REFUSED(&f, "graph-dtype", "embedding of bytes");
}

static void test_byte_form_and_scalar_scale(void) {
    struct fixture f;
    struct rsr_graph graph;

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    struct rsr_tensor *weight = named(&f, "model.layers.0.mlp.gate_proj.weight");
    weight->shape[0] = FFN;
    weight->data = rsrc_arena_alloc(&f.arena, FFN * HIDDEN);
    named(&f, "model.layers.0.mlp.gate_proj.weight_scale")->n_dims = 0;
    CHECK_INT(build(&f, &graph), RSRC_OK);
    CHECK_INT(graph.layers[graph.blocks[0].gate.layer].encoding, RSR_ENCODING_BYTES);
    CHECK_INT(graph.layers[graph.blocks[0].up.layer].encoding, RSR_ENCODING_PACKED2);
    close_model(&f);
}

/* Layers of float masters that modules_to_not_convert names stay as they are, by transformers'
 * rules of matching. */
static void test_dense_layers(void) {
    static const struct {
        const char *pattern;
        uint32_t n_dense;
        enum rsr_pooling pooling;
    } cases[] = {
        /* An embedding model is loaded without the head, so the names of its modules do not begin
         * with "model.". */
        {"model.layers.1.mlp.up_proj", 0, RSR_POOLING_LAST},
        {"layers.1.mlp.up_proj", 1, RSR_POOLING_LAST},
        {"model.layers.1.mlp.up_proj", 1, RSR_POOLING_NONE}, /* all of it */
        {"model.layers.1.mlp", 3, RSR_POOLING_NONE},         /* up to a boundary */
        {"model.layers.", BLOCKS * 7, RSR_POOLING_NONE},
        {"mlp.up_proj", BLOCKS, RSR_POOLING_NONE}, /* the end */
        {"up_proj", BLOCKS, RSR_POOLING_NONE},
        {"lm_head", 0, RSR_POOLING_NONE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        struct rsr_graph graph;

        open_model(&f, "bitnet", RSR_SCALE_ONLINE);
        const char *const patterns[] = {"lm_head", cases[i].pattern};
        f.checkpoint.config.not_converted = patterns;
        f.checkpoint.config.n_not_converted = 2;
        f.checkpoint.config.hyper.pooling = cases[i].pooling;
        CHECK_INT(build(&f, &graph), RSRC_OK);
        CHECK_INT(graph.n_dense, cases[i].n_dense);
        CHECK_INT(graph.n_layers, BLOCKS * 7 - cases[i].n_dense);
        if (graph.n_dense == 1) {
            CHECK_INT(graph.blocks[1].up.layer, RSR_NO_LAYER);
            CHECK_STR(graph.dense[graph.blocks[1].up.dense].name, "model.layers.1.mlp.up_proj");
        }
        close_model(&f);
    }
}

/* Parts of a name that version 4 of transformers takes for the module: without a boundary, in the
 * middle, in the number of another block, in the head's name. */
static void test_ambiguous_patterns(void) {
    static const char *const parts[] = {"model.layers.1.mlp.up", "layers.1.mlp", "model.layer",
                                        "lm"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const char *const patterns[] = {parts[i], "lm_head"};
        const bool of_head = strcmp(parts[i], "lm") == 0;
        struct fixture f;
        char words[64];

        open_model(&f, "llama", RSR_SCALE_ONLINE);
        f.checkpoint.config.not_converted = patterns;
        f.checkpoint.config.n_not_converted = of_head ? 1 : 2;
        if (of_head) {
            f.checkpoint.config.hyper.tied_head = false;
            add(&f, RSR_DTYPE_BF16, VOCAB, HIDDEN, "lm_head.weight");
        }
        snprintf(words, sizeof words, "'%s' of modules_to_not_convert", parts[i]);
        CHECK_REFUSED(&f, "graph-module-pattern", words);
    }
    /* If weights are packed, the type of each tensor shows it. */
    struct fixture f;
    struct rsr_graph graph;
    open_model(&f, "llama", RSR_SCALE_DIVIDE);
    const char *const patterns[] = {"lm_head", parts[0]};
    f.checkpoint.config.not_converted = patterns;
    f.checkpoint.config.n_not_converted = 2;
    CHECK_INT(build(&f, &graph), RSRC_OK);
    close_model(&f);
}

static void test_configuration(void) {
    static const char *const head_only[] = {"lm_head"};
    struct fixture f;
    struct rsr_graph graph;

    open_model(&f, "mamba", RSR_SCALE_MULTIPLY);
    CHECK_REFUSED(&f, "graph-architecture", "mamba");

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    f.checkpoint.has_config = false;
    CHECK_REFUSED(&f, "graph-no-config", "config.json");

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    f.checkpoint.config.n_not_converted = 0;
    CHECK_REFUSED(&f, "graph-tied-head", "lacks lm_head");

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    f.checkpoint.config.hyper.n_layers = UINT32_MAX;
    CHECK_REFUSED(&f, "graph-layers", "4294967295");

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    f.checkpoint.config.hyper.head_dim = 1u << 31;
    CHECK_REFUSED(&f, "graph-dimension", "num_attention_heads * head_dim is 4294967296");

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    f.checkpoint.config.not_converted = head_only;
    f.checkpoint.config.n_not_converted = 1;
    CHECK_INT(build(&f, &graph), RSRC_OK);
    close_model(&f);
}

/* The hyper-parameters of another model give a handful of errors, not one error for each tensor. */
static void test_flood(void) {
    struct fixture f;
    struct rsr_graph graph;

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    f.checkpoint.config.hyper.hidden = 16;
    CHECK_INT(build(&f, &graph), RSRC_FAILED);
    CHECK(rsrc_diag_error_count(f.diag) >= 8 && rsrc_diag_error_count(f.diag) < 16);
    close_model(&f);

    open_model(&f, "bitnet", RSR_SCALE_MULTIPLY);
    f.checkpoint.config.hyper.n_layers = 12; /* ten blocks are missing */
    CHECK_INT(build(&f, &graph), RSRC_FAILED);
    CHECK_INT(rsrc_diag_error_count(f.diag), 9);
    CHECK(strstr(f.text, "and 172 more tensors are missing"));
    close_model(&f);
}

int main(void) {
    test_bitnet();
    test_llama_untied_online();
    test_tied_but_stored();
    test_names();
    test_shapes_and_types();
    test_byte_form_and_scalar_scale();
    test_dense_layers();
    test_ambiguous_patterns();
    test_configuration();
    test_flood();
    return CHECK_EXIT();
}
