/* test_relu2_lists.c - which layers may be read by a list after a squared ReLU, and why others may
 * not. The bound on the results of up's rows counts norm weights of both signs. */
#include "base/arena.h"
#include "block_layers.h"
#include "check.h"
#include "model/relu2_lists.h"

enum { HIDDEN = 16 };

/* A block whose norm before gate and up has the weights `weight`, and a matrix of up. */
struct fixture {
    struct rsrc_arena arena;
    float weight[HIDDEN], scale[2];
    struct rsr_tensor tensor;
    struct rsr_norm_layer norms[3];
    struct rsr_block_layers block;
    struct rsr_layer up, down, gate;
    struct rsr_matrix matrix;
    struct rsr_graph graph;
};

static void setup(struct fixture *f) {
    *f = (struct fixture){.scale = {1.0f, 1.0f}, .block = block_layers(0, 0, false)};
    for (uint32_t j = 0; j < HIDDEN; j++)
        f->weight[j] = 1.0f;
    f->tensor = (struct rsr_tensor){
        .name = "n", .dtype = RSR_DTYPE_F32, .data = (const uint8_t *)(const void *)f->weight};
    f->norms[2] = (struct rsr_norm_layer){.weight = &f->tensor, .cols = HIDDEN};
    f->up.role = RSR_ROLE_UP;
    f->down.role = RSR_ROLE_DOWN;
    f->gate.role = RSR_ROLE_GATE;
    f->matrix = (struct rsr_matrix){
        .rows = 2, .cols = HIDDEN, .scale = f->scale, .n_scales = 1, .alphabet = RSR_TERNARY};
    f->graph = (struct rsr_graph){.hyper = {.n_layers = 1, .activation = RSR_ACTIVATION_RELU2},
                                  .input = RSR_INPUT_I8,
                                  .norms = f->norms,
                                  .n_norms = 3,
                                  .blocks = &f->block};
    rsrc_arena_init(&f->arena);
}

/* The obstacle of up; "" for none. */
static const char *obstacle(struct fixture *f) {
    const char *text = rsrc_list_obstacle(&f->graph, &f->up, &f->matrix, &f->arena);
    return text == NULL ? "" : text;
}

static void test_kinds(struct fixture *f) {
    CHECK_INT(rsrc_list_for(&f->graph, &f->up), RSR_LIST_ROWS);
    CHECK_INT(rsrc_list_for(&f->graph, &f->down), RSR_LIST_COLS);
    CHECK_INT(rsrc_list_for(&f->graph, &f->gate), RSR_LIST_NONE);
    f->graph.input = RSR_INPUT_F32;
    CHECK_INT(rsrc_list_for(&f->graph, &f->up), RSR_LIST_NONE);
    f->graph.input = RSR_INPUT_I8;
    f->graph.hyper.activation = RSR_ACTIVATION_SILU;
    CHECK_INT(rsrc_list_for(&f->graph, &f->down), RSR_LIST_NONE);
    f->graph.hyper.activation = RSR_ACTIVATION_RELU2;
}

/* 2 sqrt(16) 16 = 128 times the largest weight and the largest scale must fit float32. */
static void test_finite(struct fixture *f) {
    static const struct {
        float weight, offset, scale;
        bool fits;
    } cases[] = {
        {1.0f, 0.0f, 1.0f, true},          {0x1p120f, 0.0f, 1.0f, true},
        {0x1p121f, 0.0f, 1.0f, false},     {-0x1p120f, 0.0f, 1.0f, true},
        {-0x1p121f, 0.0f, 1.0f, false},    {-0x1p61f, 0.0f, 0x1p60f, false},
        {-0x1p61f, 0.0f, -0x1p60f, false}, {1.0f, 0.0f, -0x1p121f, false},
        {1.0f, 0x1p121f, 1.0f, false},     {-0x1p121f, 0x1p121f, 1.0f, false},

    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f->weight[HIDDEN - 1] = cases[i].weight;
        f->norms[2].offset = cases[i].offset;
        f->scale[0] = cases[i].scale;
        CHECK_STR(obstacle(f),
                  cases[i].fits ? "" : "a result that is left out might have been infinite");
        CHECK(rsrc_list_obstacle(&f->graph, &f->down, &f->matrix, &f->arena) == NULL);
    }
    f->weight[HIDDEN - 1] = f->scale[0] = 1.0f;
    f->norms[2].offset = 0.0f;
}

static void test_obstacles(struct fixture *f) {
    static const char other_inputs[] =
        "gate and up do not multiply the same activations after a norm";
    f->matrix.n_scales = 2;
    CHECK_STR(obstacle(f), "every row has a scale");
    f->matrix.n_scales = 1;
    f->block.gate.layer = RSR_NO_LAYER;
    CHECK_STR(obstacle(f), other_inputs);
    f->block = block_layers(0, 0, false);
    f->block.gate.norm = 0;
    CHECK_STR(obstacle(f), other_inputs);
    f->block = block_layers(0, 0, false);
    f->block.up.norm = 0;
    CHECK_STR(obstacle(f), other_inputs);
    f->block = block_layers(0, 0, false);
    f->block.post_norm = RSR_NO_NORM;
    CHECK_STR(obstacle(f), other_inputs);
    f->block = block_layers(0, 0, false);
    CHECK_STR(obstacle(f), "");
}

int main(void) {
    struct fixture f;
    setup(&f);
    test_kinds(&f);
    test_finite(&f);
    test_obstacles(&f);
    rsrc_arena_free(&f.arena);
    return CHECK_EXIT();
}
