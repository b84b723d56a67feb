/* test_info.c - rsrc --info: sums over layers, the bytes that a token reads, and both forms of
 * output. */
#include <jansson.h>

#include "check.h"
#include "report/info.h"

#define N_TARGETS 2u

/* Layers of a model with two targets. The second target computes all layers with one variant. */
struct fixture {
    struct rsrc_arena arena;
    struct rsr_config config;
    struct rsr_head_plan sketch;
    struct rsr_packing packing;
    struct rsr_spec specs[N_TARGETS];
    struct rsr_info_use uses[4][N_TARGETS];
    struct rsr_info_layer layers[4];
    struct rsr_info info;
};

static struct rsr_info_layer make_layer(const char *label, uint32_t rows, uint64_t n_zero,
                                        struct rsr_info_use *uses) {
    return (struct rsr_info_layer){.label = label,
                                   .stored = "packed2",
                                   .alphabet = "ternary",
                                   .rows = rows,
                                   .cols = 10,
                                   .is_decoded = true,
                                   .n_zero = n_zero,
                                   .uses = uses};
}

static void begin(struct fixture *f) {
    *f = (struct fixture){0};
    rsrc_arena_init(&f->arena);
    f->specs[0] = (struct rsr_spec){.name = "one", .cores = 4, .read_gbps = 2};
    f->specs[1] = (struct rsr_spec){.name = "gpu", .gpu = {.sm = 90, .memory_gbps = 1000}};
    f->layers[0] = make_layer("q", 10, 20, f->uses[0]);
    f->layers[1] = make_layer("k", 10, 0, f->uses[1]);
    f->layers[2] = make_layer("q", 10, 40, f->uses[2]);
    f->layers[3] = make_layer("q", 10, 0, f->uses[3]);
    f->layers[3].is_decoded = false;
    for (uint32_t i = 0; i < 3; i++) {
        f->uses[i][0] =
            (struct rsr_info_use){.variant = {i == 0 ? "lut" : "dot", "dot"}, .us = {2, 1}};
        f->uses[i][0].token_bytes = 1000;
        f->uses[i][1] = (struct rsr_info_use){.variant = {"mma", NULL}, .us = {3, 0}};
        f->uses[i][1].token_bytes = 500;
    }
    f->sketch.reason = f->packing.reason = "small";
    f->config = (struct rsr_config){.model_type = "bitnet", .hyper = {.hidden = 10}};
    f->info = (struct rsr_info){.name = "a\x1b[31m\xc2\x9b\"",
                                .container = "safetensors",
                                .config = &f->config,
                                .scale_rule = "multiply",
                                .activation = "silu",
                                .architecture = "bitnet",
                                .embedding = {"bf16", 50, 10, 1000, 800, 16, &f->packing},
                                .head = {"f32", 50, 10, 2000, 2000, 40, &f->packing},
                                .sketch = &f->sketch,
                                .layers = f->layers,
                                .n_layers = 4,
                                .specs = f->specs,
                                .n_targets = N_TARGETS};
    rsrc_info_group(&f->arena, &f->info);
}

static void test_groups(void) {
    struct fixture f;
    begin(&f);
    CHECK_INT(f.info.n_groups, 2);
    const struct rsr_info_group *q = &f.info.groups[0], *k = &f.info.groups[1];
    CHECK(q->first == &f.layers[0] && k->first == &f.layers[1]);
    CHECK_INT(q->n_layers, 3);
    CHECK_INT(q->n_decoded, 2);
    CHECK_INT(q->n_weights, 200);
    CHECK_INT(q->n_zero, 60);
    CHECK(q->min_density == 0.2 && q->max_density == 0.4);
    CHECK(k->min_density == 0 && k->max_density == 0 && k->n_decoded == 1);
    const struct rsr_info_group_use *use = &q->uses[0];
    CHECK_STR(use->variants[RSR_REGIME_DECODE][0].name, "lut");
    CHECK_INT(use->variants[RSR_REGIME_DECODE][0].n_layers, 1);
    CHECK_STR(use->variants[RSR_REGIME_DECODE][1].name, "dot");
    CHECK_INT(use->variants[RSR_REGIME_PREFILL][0].n_layers, 2);
    CHECK(use->variants[RSR_REGIME_PREFILL][1].name == NULL);
    CHECK_INT(use->token_bytes, 2000);
    CHECK(use->us[RSR_REGIME_DECODE] == 4 && use->us[RSR_REGIME_PREFILL] == 2);
    CHECK(q->uses[1].variants[RSR_REGIME_PREFILL][0].name == NULL);
    rsrc_arena_free(&f.arena);
}

/* Layers that differ in shape, type or input are different groups; each bare matrix is a group. */
static void test_apart(void) {
    struct fixture f;
    begin(&f);
    f.layers[0].rows = 20;
    f.layers[2].stored = "bf16";
    f.layers[3].input = RSR_INPUT_F32;
    rsrc_info_group(&f.arena, &f.info);
    CHECK_INT(f.info.n_groups, 4);
    rsrc_arena_free(&f.arena);
    begin(&f);
    f.info.config = NULL;
    rsrc_info_group(&f.arena, &f.info);
    CHECK_INT(f.info.n_groups, 4);
    rsrc_arena_free(&f.arena);
}

static void test_cost(void) {
    struct fixture f;
    begin(&f);
    f.info.dense_bytes = 400;
    struct rsr_info_cost cost = rsrc_info_cost(&f.info, 0);
    CHECK_INT(cost.layer_bytes, 3000);
    CHECK_INT(cost.dense_bytes, 400);
    CHECK_INT(cost.head_bytes, 2000);
    CHECK_INT(cost.embedding_bytes, 16); /* as stored: 12 bits a weight and what is beside */
    CHECK_INT(cost.token_bytes, 5416);
    CHECK(cost.floor_us == 2.708 && cost.floor_all_us == 2.708 / 4 && cost.cores == 4);
    CHECK(cost.us[RSR_REGIME_DECODE] == 6 + 1.2 && cost.us[RSR_REGIME_PREFILL] == 3);
    CHECK(cost.full_head_bytes == 2000 && cost.usual_head_bytes == 2000);
    f.sketch = (struct rsr_head_plan){.n_planes = 2, .floor_bytes = 500, .token_bytes = 700};
    cost = rsrc_info_cost(&f.info, 0);
    CHECK(cost.head_bytes == 500 && cost.usual_head_bytes == 700 && cost.full_head_bytes == 2000);
    CHECK(cost.token_bytes == 3916 && cost.floor_us == 1.958);
    CHECK(cost.us[RSR_REGIME_DECODE] == 6 + 0.55);
    f.sketch.n_planes = 0;
    cost = rsrc_info_cost(&f.info, 1);
    CHECK(cost.cores == 1 && cost.read_gbps == 1000 && cost.floor_us == cost.floor_all_us);
    f.info.tied_head = true;
    CHECK_INT(rsrc_info_cost(&f.info, 0).head_bytes, 800);
    f.info.ternary_head = true;
    CHECK_INT(rsrc_info_cost(&f.info, 0).head_bytes, 0);
    f.info.ternary_head = false;
    f.info.embedding = f.info.head = (struct rsr_info_dense){0}; /* matrices */
    CHECK_INT(rsrc_info_cost(&f.info, 0).token_bytes, 3400);
    rsrc_arena_free(&f.arena);
}

static void test_json(void) {
    struct fixture f;
    begin(&f);
    struct rsrc_buffer text = {0};
    rsrc_info_json(&f.info, &text);
    for (size_t i = 0; i < text.size_bytes; i++)
        CHECK((text.data[i] >= 0x20 && text.data[i] < 0x7f) || text.data[i] == '\n');
    json_t *root = json_loads(text.data, JSON_REJECT_DUPLICATES, NULL);
    CHECK(json_is_object(root));
    CHECK_INT(json_array_size(json_object_get(root, "roles")), 2);
    CHECK_INT(json_array_size(json_object_get(root, "targets")), 2);
    const json_t *q = json_array_get(json_object_get(root, "roles"), 0);
    CHECK_INT(json_integer_value(json_object_get(q, "refused")), 1);
    CHECK(json_real_value(json_object_get(q, "zero_density")) == 0.3);
    CHECK_INT(json_integer_value(json_object_get(root, "zeros")), 60);
    CHECK(json_is_null(json_object_get(root, "module")));
    CHECK(json_is_null(json_object_get(root, "tokenizer")));
    CHECK(json_is_true(json_object_get(root, "compiles")));
    json_decref(root);
    rsrc_buffer_free(&text);
    rsrc_arena_free(&f.arena);
}

static void test_text(void) {
    struct fixture f;
    begin(&f);
    struct rsrc_buffer text = {0};
    f.info.n_errors = 2;
    rsrc_info_text(&f.info, &text);
    CHECK(strstr(text.data, "\x1b") == NULL && strstr(text.data, "a\\x1b[31m") != NULL);
    CHECK(strstr(text.data, "1 refused\n") != NULL);
    CHECK(strstr(text.data, "head sketch      none: small\n") != NULL);
    CHECK(strstr(text.data, "compiles         no: 2 errors\n") != NULL);
    CHECK(strstr(text.data, "target") == NULL && strstr(text.data, "module") == NULL);
    rsrc_buffer_clear(&text);
    f.info.n_errors = 0;
    f.info.pooling = "mean";
    f.info.n_dense = 3;
    f.info.dense_bytes = 4000;
    rsrc_info_text(&f.info, &text);
    CHECK(strstr(text.data, "pooling          mean") != NULL);
    CHECK(strstr(text.data, "not ternary      3 linear layers, 4.00 KB\n") != NULL);
    CHECK(strstr(text.data, "layers that are not ternary 4.00 KB") != NULL);
    CHECK(strstr(text.data, "decode: lut 1, dot 1, 2.00 KB, 4 us; prefill: dot\n") != NULL);
    rsrc_buffer_free(&text);
    rsrc_arena_free(&f.arena);
}

int main(void) {
    test_groups();
    test_apart();
    test_cost();
    test_json();
    test_text();
    return CHECK_EXIT();
}
