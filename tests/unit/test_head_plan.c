/* test_head_plan.c - which heads get a sketch, and how many bytes a token is expected to read.
 * link/head_sketch.test checks the sketch's blocks in whole modules. */
#include <string.h>

#include "check.h"
#include "model/head_sketch.h"

struct model {
    struct rsr_graph graph;
    struct rsr_tensor head, embedding;
    struct rsr_layer layer;
};

/* n_weights: the weights of all ternary layers. */
static void make_model(struct model *m, uint32_t vocab, uint32_t hidden, uint32_t n_weights,
                       bool tied) {
    *m = (struct model){.layer = {.rows = n_weights, .cols = 1}};
    m->head =
        (struct rsr_tensor){.dtype = RSR_DTYPE_BF16, .size_bytes = (uint64_t)vocab * hidden * 2};
    m->embedding = m->head;
    m->graph = (struct rsr_graph){.hyper = {.vocab = vocab, .hidden = hidden},
                                  .layers = &m->layer,
                                  .n_layers = 1,
                                  .embedding = &m->embedding,
                                  .head = tied ? &m->embedding : &m->head,
                                  .head_slot = {.layer = RSR_NO_LAYER}};
}

/* Head and embedding are stored alike, with so many bits a weight. */
static struct rsr_head_plan choose_for(struct model *m, struct rsrc_arena *arena, uint32_t bits) {
    const uint64_t row_bytes = (uint64_t)m->graph.hyper.hidden * bits / 8;
    return rsrc_choose_head_sketch(
        arena, &m->graph, (struct rsr_stored_rows){.head = row_bytes, .embedding = row_bytes},
        NULL);
}

static struct rsr_head_plan choose(struct model *m, struct rsrc_arena *arena) {
    return choose_for(m, arena, 16);
}

/* bitnet-2b-4t and llama3-8b: the sketch reads a third of the head's bytes and adds at most a
 * quarter to the module. */
static void test_chosen(struct rsrc_arena *arena) {
    struct model m;
    make_model(&m, 128256, 2560, 2084044800, true);
    struct rsr_head_plan plan = choose(&m, arena);
    CHECK_INT(plan.n_planes, 2);
    CHECK_INT(plan.n_blocks, 2004);
    CHECK(plan.size_bytes == plan.n_blocks * plan.block_bytes);
    CHECK(plan.size_bytes * 4 < m.embedding.size_bytes + 416808960);
    CHECK(plan.floor_bytes < plan.token_bytes && plan.token_bytes * 3 < m.embedding.size_bytes);
    CHECK(strstr(plan.reason, "instead of 656.7 MB") != NULL);
    const struct rsr_head_plan one = rsrc_plan_head_sketch(&m.graph, 5120, 1, NULL);
    CHECK(one.size_bytes == one.floor_bytes && one.floor_bytes == plan.floor_bytes);
    CHECK(one.token_bytes > plan.token_bytes);
    make_model(&m, 128256, 4096, 4000000000, false);
    CHECK_INT(choose(&m, arena).n_planes, 2);
    /* One plane bounds short rows tightly enough. */
    make_model(&m, 128256, 512, 2000000000, true);
    CHECK_INT(choose(&m, arena).n_planes, 1);
    /* The last block is not full. */
    make_model(&m, 129, 64, 0, false);
    CHECK_INT(rsrc_plan_head_sketch(&m.graph, 128, 1, NULL).n_blocks, 3);
}

/* In 12 bits a row has 3840 bytes. The rows that the sketch leaves open, about 19 of them with two
 * planes and 12,536 with one, take that, and the sketch is compared with a head of that. */
static void test_packed(struct rsrc_arena *arena) {
    struct model m;
    make_model(&m, 128256, 2560, 2084044800, true);
    const struct rsr_head_plan plain = choose(&m, arena);
    const struct rsr_head_plan packed = choose_for(&m, arena, 12);
    CHECK(packed.n_planes == 2 && packed.size_bytes == plain.size_bytes);
    CHECK(strstr(packed.reason, "instead of 492.5 MB") != NULL);
    const uint64_t less = plain.token_bytes - packed.token_bytes;
    CHECK(less >= 18 * 1280 && less <= 20 * 1280);
    const uint64_t less_by_one = rsrc_plan_head_sketch(&m.graph, 5120, 1, NULL).token_bytes -
                                 rsrc_plan_head_sketch(&m.graph, 3840, 1, NULL).token_bytes;
    CHECK(less_by_one >= 12535 * 1280 && less_by_one <= 12537 * 1280);
    /* What counts is the growth of the module that is made. With layers of 400 MB, two planes are
     * 23 % of a module with a head in 16 bits, and 27.7 % with one in 12; with layers of 380 MB,
     * 24 % and 28.3 %. A head and an embedding of its own both count. */
    make_model(&m, 128256, 2560, 2000000000, true);
    CHECK(choose(&m, arena).n_planes == 2 && choose_for(&m, arena, 12).n_planes == 2);
    make_model(&m, 128256, 2560, 1900000000, true);
    CHECK(choose(&m, arena).n_planes == 2 && choose_for(&m, arena, 12).n_planes == 1);
    make_model(&m, 128256, 2560, 1900000000, false);
    CHECK(choose_for(&m, arena, 12).n_planes == 2);
    /* 8.9 MB, and 6.7 MB in 12 bits. */
    make_model(&m, 17408, 256, 2000000000, true);
    CHECK(choose(&m, arena).n_planes != 0);
    const struct rsr_head_plan small = choose_for(&m, arena, 12);
    CHECK(small.n_planes == 0 && strstr(small.reason, "a head of 6.7 MB has little") != NULL);
}

/* Where rows that stay open were counted, they decide: of 656.7 MB, one plane has 184.7 MB, the
 * second one of a row 480 bytes. */
static void test_measured(struct rsrc_arena *arena) {
    static const struct {
        double open[RSR_HEAD_PLANES];
        uint32_t n_planes;
        uint64_t least_bytes, most_bytes;
    } rows[] = {
        {{20, 8}, 1, 184000000, 188000000},
        {{40000, 300}, 2, 204000000, 210000000},
        {{128256, 128256}, 0, 0, 0},
    };
    struct model m;
    make_model(&m, 128256, 2560, 2084044800, true);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct rsr_head_plan plan = rsrc_choose_head_sketch(
            arena, &m.graph, (struct rsr_stored_rows){5120, 5120}, rows[i].open);
        CHECK_INT(plan.n_planes, rows[i].n_planes);
        CHECK(plan.token_bytes >= rows[i].least_bytes && plan.token_bytes <= rows[i].most_bytes);
        CHECK(strstr(plan.reason, "as measured") != NULL);
    }
}

static void test_declined(struct rsrc_arena *arena) {
    struct model m;
    make_model(&m, 512, 64, 1000000, false);
    CHECK(choose(&m, arena).n_planes == 0 && strstr(choose(&m, arena).reason, "0.1 MB") != NULL);
    make_model(&m, 128256, 2560, 1000, true); /* the module is hardly more than the head */
    CHECK(choose(&m, arena).n_planes == 0);
    CHECK(strstr(choose(&m, arena).reason, "within 28 % of the module") != NULL);
    make_model(&m, 128256, 8200, 2000000000, false);
    CHECK(choose(&m, arena).n_planes == 0 && strstr(choose(&m, arena).reason, "too long") != NULL);
    make_model(&m, 128256, 2560, 2000000000, false);
    m.graph.head_slot.layer = 0;
    CHECK(choose(&m, arena).n_planes == 0 && strstr(choose(&m, arena).reason, "ternary") != NULL);
    m.graph.head_slot.layer = RSR_NO_LAYER;
    m.graph.head = NULL;
    CHECK(choose(&m, arena).n_planes == 0 && strstr(choose(&m, arena).reason, "no head") != NULL);
}

/* A mean too large to subtract in float is left out of the centre. */
static void test_centre(void) {
    uint16_t rows[65 * 2];
    float centre[2];
    struct model m;
    make_model(&m, 65, 2, 0, false);
    for (uint32_t i = 0; i < 65; i++) {
        rows[2 * i] = i % 2 == 0 ? 0x3f80 : 0x4040; /* 33 times 1, 32 times 3 */
        rows[2 * i + 1] = 0x7f00;                   /* 2^127 */
    }
    m.head.data = (const uint8_t *)rows;
    rsrc_find_head_centre(&m.graph, centre);
    CHECK(centre[0] == (float)(129.0 / 65) && centre[1] == 0.0f);
}

int main(void) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    test_chosen(&arena);
    test_packed(&arena);
    test_measured(&arena);
    test_declined(&arena);
    test_centre();
    rsrc_arena_free(&arena);
    return CHECK_EXIT();
}
