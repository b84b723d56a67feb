/* test_gguf_blocks.c - the ternary and binary types of GGUF: the weights of the definition, the
 * scales of a layer, a row and a group, and rows in pairs. */
#include <math.h>

#include "model/gguf_blocks.h"
#include "model/ternary.h"
#include "reader_check.h"

enum { BLOCK = 256 };
#define HALF_OF_1 0x3c00 /* float16 */
#define HALF_OF_3_8 0x3600

/* The place of weight n of a block: bits of a byte from bit `shift` on, or the base-3 digit of the
 * byte before the last `shift` digits. */
struct spot {
    uint32_t byte, shift;
};

static struct spot place_tq2_0(uint32_t n) {
    return (struct spot){32 * (n / 128) + n % 32, 2 * (n % 128 / 32)};
}

static struct spot place_tq1_0(uint32_t n) {
    if (n < 160)
        return (struct spot){n % 32, 4 - n / 32};
    if (n < 240)
        return (struct spot){32 + (n - 160) % 16, 4 - (n - 160) / 16};
    return (struct spot){48 + (n - 240) % 4, 4 - (n - 240) / 4};
}

static struct spot place_ptq1_0(uint32_t n) {
    if (n < 80)
        return (struct spot){n % 16, 4 - n / 16};
    if (n < 120)
        return (struct spot){16 + (n - 80) % 8, 4 - (n - 80) / 8};
    return (struct spot){24 + (n - 120) % 2, 4 - (n - 120) / 2};
}

static struct spot place_q2_0(uint32_t n) {
    return (struct spot){2 + n / 4, 2 * (n % 4)};
}

static struct spot place_q1_0(uint32_t n) {
    return (struct spot){2 + n / 8, n % 8};
}

static struct spot place_i2_s_x86(uint32_t n) {
    return (struct spot){n % 32, 6 - 2 * (n / 32)};
}

static struct spot place_i2_s_arm(uint32_t n) {
    return (struct spot){n % 16, 6 - 2 * (n / 16)};
}

static struct spot place_iq2_bn(uint32_t n) {
    return (struct spot){n % 16, 2 * (n / 16)};
}

static struct spot place_iq1_bn(uint32_t n) {
    if (n % 16 == 15)
        return (struct spot){12, 4 - n / 16};
    return (struct spot){3 * (n / 16) + n % 16 / 5, 4 - n % 16 % 5};
}

/* The place of the scale of each block, row or layer. */
enum place { IN_BLOCK, BEFORE_ROW, BEHIND_LAYER };

static const struct kind {
    enum rsr_blocks blocks;
    uint32_t items, bytes, bits; /* bits 0: base 3 */
    struct spot (*place)(uint32_t n);
    enum place scale_place;
    uint32_t scale_at, scale_bytes;
} KINDS[] = {
    {RSR_BLOCKS_TQ1_0, 256, 54, 0, place_tq1_0, IN_BLOCK, 52, 2},
    {RSR_BLOCKS_TQ2_0, 256, 66, 2, place_tq2_0, IN_BLOCK, 64, 2},
    {RSR_BLOCKS_Q2_0, 64, 18, 2, place_q2_0, IN_BLOCK, 0, 2},
    {RSR_BLOCKS_Q2_0_G128, 128, 34, 2, place_q2_0, IN_BLOCK, 0, 2},
    {RSR_BLOCKS_PTQ1_0, 128, 28, 0, place_ptq1_0, IN_BLOCK, 26, 2},
    {RSR_BLOCKS_Q1_0, 128, 18, 1, place_q1_0, IN_BLOCK, 0, 2},
    {RSR_BLOCKS_I2_S_X86, 128, 32, 2, place_i2_s_x86, BEHIND_LAYER, 0, 4},
    {RSR_BLOCKS_I2_S_ARM, 64, 16, 2, place_i2_s_arm, BEHIND_LAYER, 0, 4},
    {RSR_BLOCKS_IQ1_BN, 64, 13, 0, place_iq1_bn, BEFORE_ROW, 0, 2},
    {RSR_BLOCKS_IQ2_BN, 64, 16, 2, place_iq2_bn, BEFORE_ROW, 0, 4},
};
#define N_KINDS ((uint32_t)(sizeof KINDS / sizeof *KINDS))

static const struct kind *kind_of(enum rsr_blocks blocks) {
    const struct kind *kind = KINDS;
    while (kind->blocks != blocks)
        kind++;
    return kind;
}

struct stored {
    enum rsr_blocks blocks;
    uint32_t rows, cols;
    uint32_t row_bytes;
    uint8_t *data;
    struct rsr_tensor tensor;
};

static uint8_t *block_of(const struct stored *stored, uint32_t row, uint32_t block) {
    const struct kind *kind = kind_of(stored->blocks);
    return stored->data + (size_t)row * stored->row_bytes +
           (kind->scale_place == BEFORE_ROW ? kind->scale_bytes : 0) + (size_t)block * kind->bytes;
}

static uint8_t *scale_of(const struct stored *stored, uint32_t row, uint32_t block) {
    const struct kind *kind = kind_of(stored->blocks);
    switch (kind->scale_place) {
    case IN_BLOCK:
        return block_of(stored, row, block) + kind->scale_at;
    case BEFORE_ROW:
        return stored->data + (size_t)row * stored->row_bytes;
    case BEHIND_LAYER:
        break;
    }
    return stored->data + (size_t)stored->rows * stored->row_bytes;
}

/* Stores the float16 `scale` in the type of the kind's scales. */
static void put_scale(const struct stored *stored, uint32_t row, uint32_t block, uint16_t scale) {
    const float value = rsrc_f16_to_f32(scale);
    if (kind_of(stored->blocks)->scale_bytes == 2)
        memcpy(scale_of(stored, row, block), &scale, sizeof scale);
    else
        memcpy(scale_of(stored, row, block), &value, sizeof value);
}

static void put_code(const struct stored *stored, uint32_t row, uint32_t col, uint32_t code) {
    const struct kind *kind = kind_of(stored->blocks);
    const struct spot spot = kind->place(col % kind->items);
    block_of(stored, row, col / kind->items)[spot.byte] |= (uint8_t)(code << spot.shift);
}

/* The digits form a number v; the byte is v' with v' / 256 = v / 243, rounded up. */
static void pack_base_3(const struct kind *kind, const int8_t *weights, uint8_t *block) {
    static const uint32_t powers[] = {1, 3, 9, 27, 81};
    uint32_t numbers[52] = {0};
    for (uint32_t n = 0; n < kind->items; n++) {
        const struct spot spot = kind->place(n);
        numbers[spot.byte] += (uint32_t)(weights[n] + 1) * powers[spot.shift];
    }
    const uint32_t n_bytes = kind->bytes - (kind->scale_place == IN_BLOCK ? 2 : 0);
    for (uint32_t i = 0; i < n_bytes; i++)
        block[i] = (uint8_t)((numbers[i] * 256 + 242) / 243);
}

static void store(struct reader_test *test, struct stored *stored, const int8_t *weights,
                  uint16_t scale) {
    const struct kind *kind = kind_of(stored->blocks);
    const uint32_t n_blocks = stored->cols / kind->items;
    stored->row_bytes =
        n_blocks * kind->bytes + (kind->scale_place == BEFORE_ROW ? kind->scale_bytes : 0);
    const size_t size =
        (size_t)stored->rows * stored->row_bytes + (kind->scale_place == BEHIND_LAYER ? 32 : 0);
    stored->data = rsrc_arena_alloc(&test->arena, size);
    for (uint32_t r = 0; r < stored->rows; r++) {
        const int8_t *row = weights + (size_t)r * stored->cols;
        for (uint32_t c = 0; c < stored->cols && kind->bits != 0; c++)
            put_code(stored, r, c, kind->bits == 2 ? (uint32_t)(row[c] + 1) : row[c] > 0);
        for (uint32_t b = 0; b < n_blocks; b++) {
            if (kind->bits == 0)
                pack_base_3(kind, row + (size_t)b * kind->items, block_of(stored, r, b));
            put_scale(stored, r, b, scale);
        }
    }
    stored->tensor = (struct rsr_tensor){.name = "w",
                                         .dtype = RSR_DTYPE_U8,
                                         .blocks = stored->blocks,
                                         .n_dims = 2,
                                         .shape = {stored->rows, stored->cols},
                                         .file = "m.gguf",
                                         .size_bytes = size,
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

static int8_t *random_weights(struct reader_test *test, uint64_t *seed, uint32_t n, bool binary) {
    int8_t *weights = rsrc_arena_alloc(&test->arena, n);
    for (uint32_t i = 0; i < n; i++)
        weights[i] = (int8_t)(binary ? (int)(check_random(seed) % 2) * 2 - 1
                                     : (int)(check_random(seed) % 3) - 1);
    return weights;
}

/* Every type, with one and several blocks in a row, and with a row of zeros; then with rows in
 * pairs. Type Q1_0 has zeros only where its scale is zero. */
static void test_weights(void) {
    uint64_t seed = 7;
    for (uint32_t round = 0; round < 6 * N_KINDS; round++) {
        struct reader_test test;
        reader_test_begin(&test);
        const struct kind *kind = &KINDS[round % N_KINDS];
        struct stored stored = {
            .blocks = kind->blocks, .rows = 12, .cols = kind->items * (1 + round / N_KINDS % 3)};
        const uint32_t n_heads = round < 3 * N_KINDS ? 0 : 2;
        int8_t *weights = random_weights(&test, &seed, stored.rows * stored.cols, kind->bits == 1);
        memset(weights + 5 * (size_t)stored.cols, 0, stored.cols);
        store(&test, &stored, weights, HALF_OF_3_8);
        for (uint32_t b = 0; b < stored.cols / kind->items && kind->scale_place != BEHIND_LAYER;
             b++)
            put_scale(&stored, 5, b, 0);
        stored.tensor.interleaved_heads = n_heads;
        const struct rsr_layer layer = layer_of(&stored, NULL);
        struct rsr_matrix matrix = {0};
        uint8_t zero[12];
        CHECK_INT(rsrc_decode_layer(test.diag, &test.arena, &layer, &matrix), RSRC_OK);
        CHECK_STR(reader_test_text(&test), "");
        rsrc_find_zero_rows(&layer, zero);
        CHECK(matrix.n_scales == 1 && *matrix.scale == 0.375f && matrix.group_cols == 0);
        for (uint32_t stored_row = 0; stored_row < stored.rows; stored_row++) {
            /* In heads of 6 rows, rows 0 1 2 3 4 5 are stored in the order 0 3 1 4 2 5. */
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

/* The facts that decide the scale of a layer. */
static void test_scales(void) {
    static const struct {
        uint16_t first, second; /* scale of a row with weights, of a row without */
        float factor;           /* value of a scale tensor; 0: there is none */
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
        put_scale(&stored, 1, 0, cases[i].second);
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

/* A layer without nonzero weights. */
static void test_no_weights(void) {
    for (size_t i = 0; i < N_KINDS; i++) {
        struct reader_test test;
        reader_test_begin(&test);
        int8_t weights[2 * BLOCK] = {0};
        struct stored stored = {.blocks = KINDS[i].blocks, .rows = 1, .cols = 2 * BLOCK};
        struct rsr_matrix matrix = {0};
        store(&test, &stored, weights, 0);
        const struct rsr_layer layer = layer_of(&stored, NULL);
        CHECK_INT(rsrc_decode_layer(test.diag, &test.arena, &layer, &matrix), RSRC_OK);
        CHECK(matrix.scale != NULL && *matrix.scale == 1.0f && matrix.n_scales == 1);
        reader_test_end(&test);
    }
}

/* Scales of two rows of four blocks of 64, as float16 bits minus the bits of 1, and the granularity
 * found for them. */
static void test_groups(void) {
    enum { NONE = -1 }; /* a block without weights */
    static const struct {
        int scales[2][4];
        uint32_t n_scales, group_cols;
        int expected[8];
    } cases[] = {
        {{{3, 3, 3, 3}, {3, 3, 3, 3}}, 1, 0, {3}},
        {{{NONE, 3, 3, NONE}, {NONE, NONE, NONE, NONE}}, 1, 0, {3}},
        {{{3, 3, 3, 3}, {3, NONE, 4, 4}}, 4, 128, {3, 3, 3, 4}},
        {{{3, 3, 3, 3}, {4, NONE, 4, 4}}, 2, 0, {3, 4}},
        {{{3, 3, 4, NONE}, {5, 5, 6, 6}}, 4, 128, {3, 4, 5, 6}},
        {{{3, NONE, 4, 4}, {5, 5, NONE, 6}}, 4, 128, {3, 4, 5, 6}},
        {{{3, 4, 4, 4}, {5, 5, 5, 5}}, 8, 64, {3, 4, 4, 4, 5, 5, 5, 5}},
        {{{3, 3, 3, 3}, {NONE, 4, 5, NONE}}, 4, 128, {3, 3, 4, 5}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader_test test;
        reader_test_begin(&test);
        int8_t weights[2 * BLOCK] = {0};
        for (uint32_t b = 0; b < 8; b++)
            weights[64 * b + 5] = cases[i].scales[b / 4][b % 4] != NONE;
        struct stored stored = {.blocks = RSR_BLOCKS_Q2_0, .rows = 2, .cols = BLOCK};
        store(&test, &stored, weights, 0);
        for (uint32_t b = 0; b < 8; b++)
            if (cases[i].scales[b / 4][b % 4] != NONE)
                put_scale(&stored, b / 4, b % 4,
                          (uint16_t)(HALF_OF_1 + cases[i].scales[b / 4][b % 4]));
        const float two = 2.0f;
        const struct rsr_tensor scale = {
            .name = "s", .dtype = RSR_DTYPE_F32, .data = (const uint8_t *)&two, .size_bytes = 4};
        const struct rsr_layer layer = layer_of(&stored, &scale);
        struct rsr_matrix matrix = {0};
        CHECK_INT(rsrc_decode_layer(test.diag, &test.arena, &layer, &matrix), RSRC_OK);
        CHECK_INT(matrix.n_scales, cases[i].n_scales);
        CHECK_INT(matrix.group_cols, cases[i].group_cols);
        for (uint32_t k = 0; k < cases[i].n_scales; k++)
            CHECK(matrix.scale[k] ==
                  2 * rsrc_f16_to_f32((uint16_t)(HALF_OF_1 + cases[i].expected[k])));
        reader_test_end(&test);
    }
}

/* If rows are stored in pairs, their scales are, too. */
static void test_row_scales(void) {
    struct reader_test test;
    reader_test_begin(&test);
    int8_t weights[4 * 64];
    memset(weights, 1, sizeof weights);
    struct stored stored = {.blocks = RSR_BLOCKS_IQ2_BN, .rows = 4, .cols = 64};
    store(&test, &stored, weights, HALF_OF_1);
    for (uint32_t r = 0; r < 4; r++)
        put_scale(&stored, r, 0, (uint16_t)(HALF_OF_1 + r));
    stored.tensor.interleaved_heads = 1;
    const struct rsr_layer layer = layer_of(&stored, NULL);
    struct rsr_matrix matrix = {0};
    CHECK_INT(rsrc_decode_layer(test.diag, &test.arena, &layer, &matrix), RSRC_OK);
    CHECK(matrix.n_scales == 4 && matrix.group_cols == 0);
    static const uint16_t order[] = {0, 2, 1, 3}; /* where each row is stored */
    for (uint32_t r = 0; r < 4; r++)
        CHECK(matrix.scale[r] == rsrc_f16_to_f32((uint16_t)(HALF_OF_1 + order[r])));
    reader_test_end(&test);
}

static void test_code_3(void) {
    for (size_t i = 0; i < N_KINDS; i++) {
        for (uint32_t n = 0; n < KINDS[i].items && KINDS[i].bits == 2; n++) {
            struct reader_test test;
            reader_test_begin(&test);
            int8_t weights[BLOCK];
            memset(weights, -1, sizeof weights); /* code 0 */
            struct stored stored = {.blocks = KINDS[i].blocks, .rows = 1, .cols = KINDS[i].items};
            store(&test, &stored, weights, HALF_OF_1);
            put_code(&stored, 0, n, 3);
            const struct rsr_layer layer = layer_of(&stored, NULL);
            struct rsr_matrix matrix = {0};
            CHECK_INT(rsrc_decode_layer(test.diag, &test.arena, &layer, &matrix), RSRC_FAILED);
            check_one_error(&test, "ternary-code", "code 3");
            reader_test_end(&test);
        }
    }
}

/* Every byte in every place of blocks in base 3: legal are those that 5 digits, or 4, round to. */
static void test_digits(void) {
    static const struct {
        enum rsr_blocks blocks;
        uint32_t n_bytes, n_of_4;
    } kinds[] = {{RSR_BLOCKS_TQ1_0, 52, 4}, {RSR_BLOCKS_PTQ1_0, 26, 2}};
    bool legal[6][256] = {{false}}; /* [digits][byte] */
    for (uint32_t number = 0; number < 243; number++) {
        legal[5][(number * 256 + 242) / 243] = true;
        legal[4][(number * 256 + 242) / 243] = number % 3 == 0;
    }
    for (uint32_t k = 0; k < 2; k++) {
        const struct kind *kind = kind_of(kinds[k].blocks);
        for (uint32_t i = 0; i < 256 * kinds[k].n_bytes; i++) {
            struct reader_test test;
            reader_test_begin(&test);
            int8_t weights[BLOCK] = {0};
            struct stored stored = {.blocks = kind->blocks, .rows = 1, .cols = kind->items};
            store(&test, &stored, weights, HALF_OF_1);
            const uint32_t place = i / 256, byte = i % 256;
            stored.data[place] = (uint8_t)byte;
            const struct rsr_layer layer = layer_of(&stored, NULL);
            struct rsr_matrix matrix = {0};
            const bool right = legal[place < kinds[k].n_bytes - kinds[k].n_of_4 ? 5 : 4][byte];
            CHECK_INT(rsrc_decode_layer(test.diag, &test.arena, &layer, &matrix) == RSRC_OK, right);
            if (!right)
                check_one_error(&test, "ternary-code", "digits");
            reader_test_end(&test);
        }
    }
}

/* The type's 32 codes, as its definition lists them: two bits a weight plus one, the first weight
 * in the lowest. Every four has its own code, in blocks that begin at different codes. */
static void test_stq1_0(void) {
    static const uint8_t CODES[32] = {0xa9, 0x89, 0x29, 0x09, 0xa6, 0x86, 0x26, 0x06,
                                      0x9a, 0x92, 0x1a, 0x12, 0x6a, 0x62, 0x4a, 0x42,
                                      0x01, 0x21, 0x81, 0xa1, 0x04, 0x24, 0x84, 0xa4,
                                      0x10, 0x18, 0x90, 0x98, 0x40, 0x48, 0x60, 0x68};
    uint8_t data[2 * 42] = {0};
    struct reader_test test;
    reader_test_begin(&test);
    for (uint32_t b = 0; b < 2; b++) {
        uint8_t *block = data + 42 * b;
        for (uint32_t four = 0; four < 64; four++) {
            const uint32_t code = (four + 7 * b) % 32;
            block[four / 2] |= (uint8_t)((code & 15) << (4 * (four % 2)));
            block[32 + four / 8] |= (uint8_t)((code >> 4) << (four % 8));
        }
        block[41] = 0x3c;
    }
    const struct stored stored = {.blocks = RSR_BLOCKS_STQ1_0,
                                  .rows = 1,
                                  .cols = 512,
                                  .tensor = {.name = "w",
                                             .blocks = RSR_BLOCKS_STQ1_0,
                                             .file = "m.gguf",
                                             .size_bytes = sizeof data,
                                             .data = data}};
    const struct rsr_layer layer = layer_of(&stored, NULL);
    struct rsr_matrix matrix = {0};
    CHECK_INT(rsrc_decode_layer(test.diag, &test.arena, &layer, &matrix), RSRC_OK);
    for (uint32_t c = 0; c < 512; c++) {
        const uint32_t in_block = c % 256, four = in_block / 64 * 16 + in_block % 16;
        const uint32_t code = CODES[(four + 7 * (c / 256)) % 32];
        CHECK_INT(matrix.values[c], (int)(code >> (2 * (in_block % 64 / 16)) & 3) - 1);
    }
    CHECK(matrix.n_scales == 1 && *matrix.scale == 1.0f);
    reader_test_end(&test);
}

/* Embeddings: -d, 0 and d are float16 as they are; what is none of them is refused. */
static void test_floats(void) {
    static const struct {
        uint16_t d;
        const char *slug;
    } cases[] = {{HALF_OF_1, NULL},
                 {0, NULL},
                 {0x0001, NULL},
                 {0xb600, NULL},
                 {0x7c00, "tensor-not-finite"},
                 {0xfe00, "tensor-not-finite"}};
    const size_t n_cases = sizeof cases / sizeof *cases;
    uint64_t seed = 13;
    for (size_t i = 0; i < N_KINDS * n_cases; i++) {
        const struct kind *kind = &KINDS[i / n_cases];
        const uint16_t d = cases[i % n_cases].d;
        struct reader_test test;
        reader_test_begin(&test);
        struct stored stored = {.blocks = kind->blocks, .rows = 3, .cols = 2 * kind->items};
        const uint32_t n = stored.rows * stored.cols;
        const int8_t *weights = random_weights(&test, &seed, n, kind->bits == 1);
        store(&test, &stored, weights, d);
        struct rsr_tensor out = {0};
        CHECK_INT(rsrc_can_expand_blocks(kind->blocks), kind->scale_place == IN_BLOCK);
        if (kind->scale_place != IN_BLOCK) {
            reader_test_end(&test);
            continue;
        }
        const enum rsrc_status status =
            rsrc_expand_blocks(test.diag, &test.arena, &stored.tensor, &out);
        CHECK_INT(status == RSRC_OK, cases[i % n_cases].slug == NULL);
        if (status != RSRC_OK)
            check_one_error(&test, cases[i % n_cases].slug, "a scale");
        else
            CHECK(out.dtype == RSR_DTYPE_F16 && out.size_bytes == 2 * (uint64_t)n &&
                  out.blocks == RSR_BLOCKS_NONE);
        for (uint32_t k = 0; k < n && status == RSRC_OK; k++) {
            uint16_t value;
            memcpy(&value, out.data + 2 * k, sizeof value);
            CHECK_INT(value, weights[k] == 0 || d == 0 ? 0 : weights[k] < 0 ? d ^ 0x8000 : d);
        }
        reader_test_end(&test);
    }
}

int main(void) {
    test_weights();
    test_scales();
    test_no_weights();
    test_groups();
    test_row_scales();
    test_code_3();
    test_digits();
    test_stq1_0();
    test_floats();
    return CHECK_EXIT();
}
