/* test_dead_channels.c - compares rows of zeros found in stored tensors with rows of zeros of the
 * decoded matrix, in every encoding, and checks the flags of a block's layers against the rules of
 * model/dead_channels.h. */
#include <stdlib.h>

#include "base/arena.h"
#include "block_layers.h"
#include "check.h"
#include "model/dead_channels.h"
#include "model/ternary.h"

#define SEED UINT64_C(20260917)

struct fixture {
    struct rsrc_arena arena;
    uint64_t seed;
};

/* rows x cols weights of which about `percent` of the rows are zero. */
static int8_t *random_weights(struct fixture *f, uint32_t rows, uint32_t cols, uint32_t percent) {
    int8_t *weights = rsrc_arena_array(&f->arena, rows, cols);
    for (uint32_t i = 0; i < rows; i++) {
        const bool zero = check_random(&f->seed) % 100 < percent;
        for (uint32_t j = 0; j < cols && !zero; j++)
            weights[(size_t)i * cols + j] = (int8_t)((check_random(&f->seed) >> 40) % 3) - 1;
        if (!zero && i % 3 == 0) { /* all but one weight are zero */
            memset(weights + (size_t)i * cols, 0, cols);
            weights[(size_t)i * cols + check_random(&f->seed) % cols] = i % 2 == 0 ? 1 : -1;
        }
    }
    return weights;
}

static void store_packed(const int8_t *weights, uint32_t rows, uint32_t cols, uint8_t *data) {
    const uint32_t n = (rows + 3) / 4;
    for (uint32_t i = 0; i < rows; i++)
        for (uint32_t j = 0; j < cols; j++)
            data[(size_t)(i % n) * cols + j] |=
                (uint8_t)((weights[(size_t)i * cols + j] + 1) << (2 * (i / n)));
}

/* Float masters on either side of the threshold. */
static void store_latent(struct fixture *f, const int8_t *weights, size_t n, uint8_t *data) {
    for (size_t i = 0; i < n; i++) {
        const float noise = (float)(check_random(&f->seed) % 1000) * 1e-4f;
        const float master = weights[i] == 0 ? noise - 0.05f : (float)weights[i] * (0.9f + noise);
        memcpy(data + 4 * i, &master, sizeof master);
    }
}

static struct rsr_layer make_layer(struct fixture *f, enum rsr_encoding encoding,
                                   const int8_t *weights, uint32_t rows, uint32_t cols) {
    static const float one = 1;
    struct rsr_tensor *tensor = RSRC_NEW(&f->arena, struct rsr_tensor);
    struct rsr_tensor *scale = RSRC_NEW(&f->arena, struct rsr_tensor);
    const size_t n = (size_t)rows * cols;
    uint8_t *data = rsrc_arena_alloc(&f->arena, 4 * n + 16);
    *scale = (struct rsr_tensor){
        .name = "s", .dtype = RSR_DTYPE_F32, .size_bytes = 4, .data = (const uint8_t *)&one};
    *tensor = (struct rsr_tensor){.name = "w", .dtype = RSR_DTYPE_U8, .data = data};
    switch (encoding) {
    case RSR_ENCODING_PACKED2:
        store_packed(weights, rows, cols, data);
        break;
    case RSR_ENCODING_BYTES:
        memcpy(data, weights, n);
        break;
    case RSR_ENCODING_LATENT:
        tensor->dtype = RSR_DTYPE_F32;
        store_latent(f, weights, n, data);
        break;
    case RSR_ENCODING_VALUES: /* test_ternary_values.c */
    case RSR_ENCODING_BLOCKS: /* test_gguf_blocks.c */
        break;
    }
    return (struct rsr_layer){.block = 0,
                              .name = "w",
                              .weight = tensor,
                              .scale = scale,
                              .encoding = encoding,
                              .scale_rule = encoding == RSR_ENCODING_LATENT ? RSR_SCALE_ONLINE
                                                                            : RSR_SCALE_MULTIPLY,
                              .rows = rows,
                              .cols = cols};
}

static void test_zero_rows(struct fixture *f) {
    static const struct {
        uint32_t rows, cols;
    } shapes[] = {{1, 1}, {4, 7}, {13, 40}, {30, 1500}, {97, 3}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (uint32_t encoding = RSR_ENCODING_PACKED2; encoding <= RSR_ENCODING_LATENT;
             encoding++) {
            const uint32_t rows = shapes[s].rows, cols = shapes[s].cols;
            const int8_t *weights = random_weights(f, rows, cols, 40);
            const struct rsr_layer layer =
                make_layer(f, (enum rsr_encoding)encoding, weights, rows, cols);
            struct rsr_matrix matrix = {0};
            CHECK_INT(rsrc_decode_layer(NULL, &f->arena, &layer, &matrix), RSRC_OK);
            uint8_t *zero = rsrc_arena_alloc(&f->arena, rows);
            memset(zero, 0x55, rows);
            rsrc_find_zero_rows(&layer, zero);
            for (uint32_t i = 0; i < rows; i++) {
                bool wanted = true;
                for (uint32_t j = 0; j < cols; j++)
                    wanted &= matrix.values[(size_t)i * cols + j] == 0;
                CHECK_INT(zero[i], wanted);
            }
        }
}

/* ---- one block ------------------------------------------------------------------------------- */

enum { HIDDEN = 12, FFN = 10 };

/* Weights of both signs; one of them becomes zero when the offset is added. */
static struct rsr_norm_layer make_norm(struct fixture *f, uint32_t cols, uint32_t zero_at,
                                       float offset) {
    struct rsr_tensor *tensor = RSRC_NEW(&f->arena, struct rsr_tensor);
    float *weight = RSRC_NEW_ARRAY(&f->arena, cols, float);
    for (uint32_t j = 0; j < cols; j++)
        weight[j] = (j == zero_at ? -0.0f : j % 2 == 0 ? 0.5f : -0.5f) - offset;
    *tensor =
        (struct rsr_tensor){.name = "n", .dtype = RSR_DTYPE_F32, .data = (const uint8_t *)weight};
    return (struct rsr_norm_layer){.weight = tensor, .cols = cols, .offset = offset};
}

/* Flags as text: "--x-"; "" for none. */
static const char *flags_text(struct fixture *f, const uint8_t *flags, uint32_t n) {
    if (flags == NULL)
        return "";
    char *text = rsrc_arena_alloc(&f->arena, n + 1);
    for (uint32_t i = 0; i < n; i++)
        text[i] = flags[i] != 0 ? 'x' : '-';
    text[n] = '\0';
    return text;
}

static void test_rules(struct fixture *f) {
    static const struct {
        enum rsr_role role;
        uint32_t rows, cols;
        const char *dead_rows, *dead_cols;
    } layers[] = {{RSR_ROLE_Q, HIDDEN, HIDDEN, "", "--x---------"},
                  {RSR_ROLE_K, HIDDEN, HIDDEN, "", "--x---------"},
                  {RSR_ROLE_V, HIDDEN, HIDDEN, "", "--x---------"},
                  {RSR_ROLE_O, HIDDEN, HIDDEN, "", "-----x------"},
                  {RSR_ROLE_GATE, FFN, HIDDEN, "-x-----x--", "-------x----"},
                  {RSR_ROLE_UP, FFN, HIDDEN, "-x-----x--", "-------x----"},
                  {RSR_ROLE_DOWN, HIDDEN, FFN, "", "-x--x--x--"}};
    enum { N_LAYERS = sizeof layers / sizeof *layers };
    struct rsr_layer linear[N_LAYERS];
    for (uint32_t i = 0; i < N_LAYERS; i++) {
        const uint32_t rows = layers[i].rows, cols = layers[i].cols;
        int8_t *weights = random_weights(f, rows, cols, 0);
        if (layers[i].role == RSR_ROLE_GATE)
            memset(weights + 7 * cols, 0, cols);
        if (layers[i].role == RSR_ROLE_UP)
            memset(weights + 1 * cols, 0, cols);
        if (layers[i].role == RSR_ROLE_Q) /* zero rows of other layers make nothing dead */
            memset(weights, 0, cols);
        linear[i] = make_layer(f, RSR_ENCODING_BYTES, weights, rows, cols);
        linear[i].role = layers[i].role;
    }
    struct rsr_norm_layer norms[] = {make_norm(f, HIDDEN, 2, 0.0f), make_norm(f, HIDDEN, 5, 0.0f),
                                     make_norm(f, HIDDEN, 7, 1.0f), make_norm(f, FFN, 4, 0.0f)};
    struct rsr_block_layers block = block_layers(0, 0, true);
    const struct rsr_graph graph = {.hyper = {.n_layers = 1, .ffn = FFN},
                                    .layers = linear,
                                    .n_layers = N_LAYERS,
                                    .norms = norms,
                                    .n_norms = 4,
                                    .blocks = &block};
    struct rsrc_dead_channels *channels = rsrc_dead_channels_create(&f->arena, &graph);
    struct rsr_dead dead;
    for (uint32_t i = 0; i < N_LAYERS; i++) {
        rsrc_find_dead(channels, &f->arena, &linear[i], &dead);
        CHECK_STR(flags_text(f, dead.rows, layers[i].rows), layers[i].dead_rows);
        CHECK_STR(flags_text(f, dead.cols, layers[i].cols), layers[i].dead_cols);
    }
    /* A rotation spreads every channel over its block: a rotated layer has no dead column, and a
     * rotated down leaves no channel dead. */
    const struct rsr_rotation rotation = {.cols = HIDDEN, .block = 2};
    struct rsr_tensor rotated[2] = {*linear[0].weight, *linear[6].weight};
    rotated[0].rotation = rotated[1].rotation = &rotation;
    const struct rsr_tensor *plain[2] = {linear[0].weight, linear[6].weight};
    linear[0].weight = &rotated[0];
    linear[6].weight = &rotated[1];
    for (uint32_t i = 0; i < N_LAYERS; i++) {
        rsrc_find_dead(channels, &f->arena, &linear[i], &dead);
        CHECK(dead.rows == NULL);
        CHECK_STR(flags_text(f, dead.cols, layers[i].cols),
                  i == 0 || i == 6 ? "" : layers[i].dead_cols);
    }
    linear[0].weight = plain[0];
    linear[6].weight = plain[1];
    block.input_norm = block.ffn_sub_norm = UINT32_MAX; /* a family without these norms */
    rsrc_find_dead(channels, &f->arena, &linear[0], &dead);
    CHECK(dead.rows == NULL && dead.cols == NULL);
    rsrc_find_dead(channels, &f->arena, &linear[6], &dead);
    CHECK_STR(flags_text(f, dead.cols, FFN), "-x-----x--");
    rsrc_dead_channels_destroy(channels);
    rsrc_dead_channels_destroy(NULL);
}

int main(void) {
    struct fixture f = {.seed = SEED};
    rsrc_arena_init(&f.arena);
    printf("seed %llu\n", (unsigned long long)SEED);
    test_zero_rows(&f);
    test_rules(&f);
    rsrc_arena_free(&f.arena);
    return CHECK_EXIT();
}
