/* test_gguf_dense.c - types Q8_0 and Q6_K as float32: every weight is where the definition has it,
 * products are rounded in the definition's order, and scales that are not numbers are refused. */
#include <math.h>

#include "model/ternary.h"
#include "reader/gguf_dense.h"
#include "reader_check.h"

/* ggml's dequantize_row_q6_K, which computes a weight of each of four quarters at once. */
static void expand_q6_k(const uint8_t *block, float d, float *out) {
    const uint8_t *low = block, *high = block + 128;
    const int8_t *scales = (const int8_t *)block + 192;
    for (uint32_t half = 0; half < 2; half++, out += 128, low += 64, high += 32, scales += 8) {
        for (uint32_t l = 0; l < 32; l++) {
            const int q[4] = {
                (low[l] & 15) | (high[l] & 3) << 4, (low[l + 32] & 15) | (high[l] >> 2 & 3) << 4,
                low[l] >> 4 | (high[l] >> 4 & 3) << 4, low[l + 32] >> 4 | (high[l] >> 6) << 4};
            for (uint32_t k = 0; k < 4; k++)
                out[32 * k + l] = d * (float)scales[l / 16 + 2 * k] * (float)(q[k] - 32);
        }
    }
}

static void expand_q8_0(const uint8_t *block, float d, float *out) {
    for (uint32_t n = 0; n < 32; n++)
        out[n] = d * (float)((const int8_t *)block)[2 + n];
}

static const struct type {
    enum rsr_blocks blocks;
    uint32_t items, bytes, d_at;
    void (*expand)(const uint8_t *block, float d, float *out);
} TYPES[] = {{RSR_BLOCKS_Q8_0, 32, 34, 0, expand_q8_0},
             {RSR_BLOCKS_Q6_K, 256, 210, 208, expand_q6_k}};

static struct rsr_tensor tensor_of(const struct type *type, const uint8_t *data,
                                   uint32_t n_blocks) {
    return (struct rsr_tensor){.name = "model.embed_tokens.weight",
                               .stored_name = "token_embd.weight",
                               .dtype = RSR_DTYPE_U8,
                               .blocks = type->blocks,
                               .n_dims = 2,
                               .shape = {n_blocks, type->items},
                               .file = "m.gguf",
                               .size_bytes = (uint64_t)n_blocks * type->bytes,
                               .data = data};
}

/* Every float16 as a scale: finite ones are read, all others are refused. */
static void test_every_scale(const struct type *type) {
    uint64_t seed = 11;
    uint8_t *block = malloc(type->bytes);
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        struct reader_test test;
        float expected[256];
        reader_test_begin(&test);
        for (uint32_t i = 0; i < type->bytes; i++)
            block[i] = (uint8_t)check_random(&seed);
        block[type->d_at] = (uint8_t)bits;
        block[type->d_at + 1] = (uint8_t)(bits >> 8);
        struct rsr_tensor tensor = tensor_of(type, block, 1);
        const float d = rsrc_f16_to_f32((uint16_t)bits);
        const enum rsrc_status status = rsrc_gguf_expand(test.diag, &test.arena, &tensor);
        CHECK_INT(status == RSRC_OK, isfinite(d) != 0);
        if (status == RSRC_OK) {
            type->expand(block, d, expected);
            CHECK(tensor.dtype == RSR_DTYPE_F32 && tensor.blocks == RSR_BLOCKS_NONE);
            CHECK_INT(tensor.size_bytes, 4 * (uint64_t)type->items);
            CHECK(memcmp(tensor.data, expected, 4 * (size_t)type->items) == 0);
        } else {
            check_one_error(&test, "tensor-not-finite", "a scale");
            CHECK(tensor.data == block);
        }
        reader_test_end(&test);
    }
    free(block);
}

static void test_several_blocks(const struct type *type) {
    struct reader_test test;
    uint64_t seed = 12;
    enum { N = 5 };
    float expected[N * 256];
    reader_test_begin(&test);
    uint8_t *data = rsrc_arena_alloc(&test.arena, N * type->bytes);
    for (uint32_t i = 0; i < N; i++) {
        uint8_t *block = data + i * type->bytes;
        for (uint32_t k = 0; k < type->bytes; k++)
            block[k] = (uint8_t)check_random(&seed);
        block[type->d_at + 1] = (uint8_t)(0x30 + i);
        type->expand(block, rsrc_f16_to_f32((uint16_t)(block[type->d_at] | (0x30 + i) << 8)),
                     expected + i * type->items);
    }
    struct rsr_tensor tensor = tensor_of(type, data, N);
    CHECK_INT(rsrc_gguf_expand(test.diag, &test.arena, &tensor), RSRC_OK);
    CHECK(memcmp(tensor.data, expected, 4 * (size_t)N * type->items) == 0);
    reader_test_end(&test);
}

static void test_others(void) {
    struct reader_test test;
    const uint8_t data[8] = {0};
    struct rsr_tensor tensor = {.name = "t", .dtype = RSR_DTYPE_F16, .size_bytes = 8, .data = data};
    reader_test_begin(&test);
    CHECK_INT(rsrc_gguf_expand(test.diag, &test.arena, &tensor), RSRC_OK);
    CHECK(tensor.dtype == RSR_DTYPE_F16 && tensor.data == data && tensor.size_bytes == 8);
    reader_test_end(&test);
}

int main(void) {
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        test_every_scale(&TYPES[i]);
        test_several_blocks(&TYPES[i]);
    }
    test_others();
    return CHECK_EXIT();
}
