/* test_gguf_blocks.c - ternary blocks of GGUF: the definition's weights, one scale, rows in pairs.
 * */
#include <math.h>

#include "model/gguf_blocks.h"
#include "model/ternary.h"
#include "reader_check.h"

enum { BLOCK = 256, MAX_BYTES = 66 };
#define HALF_OF_1 0x3c00 /* float16 */
#define HALF_OF_3_8 0x3600

/* The place of weight n in a block of TQ2_0, as the format's description has it. */
static void put_tq2_0(uint8_t *block, uint32_t n, uint32_t code) {
    block[32 * (n / 128) + n % 32] |= (uint8_t)(code << (2 * (n % 128 / 32)));
}

/* Digits of TQ1_0, weight by weight: byte and how many digits are after it. */
static void place_tq1_0(uint32_t n, uint32_t *byte, uint32_t *after) {
    if (n < 160) {
        *byte = n % 32;
        *after = 4 - n / 32;
    } else if (n < 240) {
        *byte = 32 + (n - 160) % 16;
        *after = 4 - (n - 160) / 16;
    } else {
        *byte = 48 + (n - 240) % 4;
        *after = 4 - (n - 240) / 4;
    }
}

static void pack_tq1_0(const int8_t *weights, uint8_t *block) {
    static const uint32_t powers[] = {1, 3, 9, 27, 81};
    uint32_t numbers[52] = {0};
    for (uint32_t n = 0; n < BLOCK; n++) {
        uint32_t byte, after;
        place_tq1_0(n, &byte, &after);
        numbers[byte] += (uint32_t)(weights[n] + 1) * powers[after];
    }
    for (uint32_t i = 0; i < 52; i++) /* v / 243, rounded up to v' / 256 */
        block[i] = (uint8_t)((numbers[i] * 256 + 242) / 243);
}

struct stored {
    enum rsr_blocks blocks;
    uint32_t rows, cols, block_bytes, scale_at;
    uint8_t *data;
    struct rsr_tensor tensor;
};

static void store(struct reader_test *test, struct stored *stored, const int8_t *weights,
                  uint16_t scale) {
    const bool is_tq1 = stored->blocks == RSR_BLOCKS_TQ1_0;
    stored->block_bytes = is_tq1 ? 54 : 66;
    stored->scale_at = stored->block_bytes - 2;
    const uint32_t n_blocks = stored->rows * (stored->cols / BLOCK);
    stored->data = rsrc_arena_array(&test->arena, n_blocks, stored->block_bytes);
    for (uint32_t b = 0; b < n_blocks; b++, weights += BLOCK) {
        uint8_t *block = stored->data + (size_t)b * stored->block_bytes;
        if (is_tq1)
            pack_tq1_0(weights, block);
        else
            for (uint32_t n = 0; n < BLOCK; n++)
                put_tq2_0(block, n, (uint32_t)(weights[n] + 1));
        memcpy(block + stored->scale_at, &scale, sizeof scale);
    }
    stored->tensor = (struct rsr_tensor){.name = "w",
                                         .dtype = RSR_DTYPE_U8,
                                         .blocks = stored->blocks,
                                         .n_dims = 2,
                                         .shape = {stored->rows, stored->cols},
                                         .file = "m.gguf",
                                         .size_bytes = (uint64_t)n_blocks * stored->block_bytes,
                                         .data = stored->data};
}

static struct rsr_layer layer_of(const struct stored *stored, const struct rsr_tensor *scale) {
    return (struct rsr_layer){.name = "w",
                              .weight = &stored->tensor,
                              .scale = scale,
                              .encoding = RSR_ENCODING_BLOCKS,
                              .scale_rule = RSR_SCALE_BLOCKS,
                              .rows = stored->rows,
                              .cols = stored->cols};
}

static int8_t *random_weights(struct reader_test *test, uint64_t *seed, uint32_t n) {
    int8_t *weights = rsrc_arena_alloc(&test->arena, n);
    for (uint32_t i = 0; i < n; i++)
        weights[i] = (int8_t)((int)(check_random(seed) % 3) - 1);
    return weights;
}

/* Both types, one and several blocks a row, with a row of zeros; then in pairs of rows. */
static void test_weights(void) {
    uint64_t seed = 7;
    for (uint32_t round = 0; round < 12; round++) {
        struct reader_test test;
        reader_test_begin(&test);
        struct stored stored = {.blocks = round % 2 == 0 ? RSR_BLOCKS_TQ1_0 : RSR_BLOCKS_TQ2_0,
                                .rows = 12,
                                .cols = BLOCK * (1 + round % 3)};
        const uint32_t n_heads = round < 6 ? 0 : 2;
        int8_t *weights = random_weights(&test, &seed, stored.rows * stored.cols);
        memset(weights + 5 * (size_t)stored.cols, 0, stored.cols);
        store(&test, &stored, weights, HALF_OF_3_8);
        stored.tensor.interleaved_heads = n_heads;
        const struct rsr_layer layer = layer_of(&stored, NULL);
        struct rsr_matrix matrix = {0};
        uint8_t zero[12];
        CHECK_INT(rsrc_decode_layer(test.diag, &test.arena, &layer, &matrix), RSRC_OK);
        CHECK_STR(reader_test_text(&test), "");
        rsrc_find_zero_rows(&layer, zero);
        CHECK(matrix.n_scales == 1 && *matrix.scale == 0.375f);
        for (uint32_t stored_row = 0; stored_row < stored.rows; stored_row++) {
            /* Heads of 6 rows: 0 3 1 4 2 5 is how 0 1 2 3 4 5 are stored. */
            static const uint32_t order[] = {0, 3, 1, 4, 2, 5};
            const uint32_t row =
                n_heads == 0 ? stored_row : stored_row / 6 * 6 + order[stored_row % 6];
            CHECK(memcmp(matrix.values + (size_t)row * stored.cols,
                         weights + (size_t)stored_row * stored.cols, stored.cols) == 0);
            CHECK_INT(zero[row], stored_row == 5);
        }
        reader_test_end(&test);
    }
}

/* What the scale of a layer follows from. */
static void test_scales(void) {
    static const struct {
        uint16_t first, second; /* of a row with weights, of one without */
        float factor;           /* of a scale tensor; 0: none */
        float multiplier;       /* 0: refused */
    } cases[] = {
        {HALF_OF_1, 0, 0, 1.0f},
        {HALF_OF_3_8, HALF_OF_1, 0, 0.375f},
        {HALF_OF_3_8, 0x7c00, 0, 0.375f},
        {HALF_OF_1, 0, 0.3f, 0.3f},
        {HALF_OF_3_8, 0, 0.3f, (float)(0.375 * (double)0.3f)},
        {0x0001, 0, 0, 0x1p-24f},
        {0, 0, 0, 0},
        {0x8001, 0, 0, 0},
        {0x7c00, 0, 0, 0},
        {0x7e00, 0, 0, 0},
        {HALF_OF_1, 0, -1.0f, 0},
        {HALF_OF_1, 0, INFINITY, 0},
        {HALF_OF_1, 0, NAN, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader_test test;
        reader_test_begin(&test);
        int8_t weights[2 * BLOCK] = {0};
        weights[17] = 1;
        struct stored stored = {.blocks = RSR_BLOCKS_TQ2_0, .rows = 2, .cols = BLOCK};
        store(&test, &stored, weights, cases[i].first);
        memcpy(stored.data + 66 + 64, &cases[i].second, 2);
        const struct rsr_tensor scale = {.name = "s",
                                         .dtype = RSR_DTYPE_F32,
                                         .data = (const uint8_t *)&cases[i].factor,
                                         .size_bytes = 4};
        const struct rsr_layer layer = layer_of(&stored, cases[i].factor == 0 ? NULL : &scale);
        struct rsr_matrix matrix = {0};
        const enum rsrc_status status = rsrc_decode_layer(test.diag, &test.arena, &layer, &matrix);
        CHECK_INT(status == RSRC_OK, cases[i].multiplier != 0);
        if (status == RSRC_OK)
            CHECK(*matrix.scale == cases[i].multiplier);
        else
            check_one_error(&test, "scale-value", "a scale");
        reader_test_end(&test);
    }
}

/* Two blocks with weights and different scales; no weight at all. */
static void test_groups(void) {
    static const enum rsr_blocks kinds[] = {RSR_BLOCKS_TQ1_0, RSR_BLOCKS_TQ2_0};
    for (size_t i = 0; i < 2; i++) {
        struct reader_test test;
        reader_test_begin(&test);
        int8_t weights[2 * BLOCK] = {0};
        struct stored stored = {.blocks = kinds[i], .rows = 1, .cols = 2 * BLOCK};
        struct rsr_matrix matrix = {0};
        store(&test, &stored, weights, 0);
        struct rsr_layer layer = layer_of(&stored, NULL);
        CHECK_INT(rsrc_decode_layer(test.diag, &test.arena, &layer, &matrix), RSRC_OK);
        CHECK(matrix.scale != NULL && *matrix.scale == 1.0f);
        weights[0] = weights[BLOCK] = 1;
        store(&test, &stored, weights, HALF_OF_1);
        stored.data[stored.block_bytes + stored.scale_at] = 1; /* the next float16 */
        CHECK_INT(rsrc_decode_layer(test.diag, &test.arena, &layer, &matrix), RSRC_FAILED);
        check_one_error(&test, "gguf-scales", "two scales");
        reader_test_end(&test);
    }
}

static void test_code_3(void) {
    for (uint32_t n = 0; n < BLOCK; n++) {
        struct reader_test test;
        reader_test_begin(&test);
        int8_t weights[BLOCK];
        memset(weights, -1, sizeof weights); /* code 0 */
        struct stored stored = {.blocks = RSR_BLOCKS_TQ2_0, .rows = 1, .cols = BLOCK};
        store(&test, &stored, weights, HALF_OF_1);
        put_tq2_0(stored.data, n, 3);
        const struct rsr_layer layer = layer_of(&stored, NULL);
        struct rsr_matrix matrix = {0};
        CHECK_INT(rsrc_decode_layer(test.diag, &test.arena, &layer, &matrix), RSRC_FAILED);
        check_one_error(&test, "ternary-code", "code 3");
        reader_test_end(&test);
    }
}

int main(void) {
    test_weights();
    test_scales();
    test_groups();
    test_code_3();
    return CHECK_EXIT();
}
