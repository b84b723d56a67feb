/* test_ternary.c - decoding of weights: every encoding, every scale rule, every refusal. */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "model/finite.h"
#include "model/ternary.h"

/* Diagnostics as JSON text, one decode at a time. */
struct fixture {
    struct rsrc_arena arena;
    struct rsrc_diag *diag;
    FILE *stream;
    char *text;
    size_t n_text;
};

static void fixture_open(struct fixture *f) {
    memset(f, 0, sizeof *f);
    rsrc_arena_init(&f->arena);
    f->stream = open_memstream(&f->text, &f->n_text);
    f->diag = rsrc_diag_create(f->stream, true, RSRC_COLOR_NEVER);
}

static void fixture_close(struct fixture *f) {
    rsrc_diag_destroy(f->diag);
    fclose(f->stream);
    free(f->text);
    rsrc_arena_free(&f->arena);
}

static int said(struct fixture *f, const char *what) {
    fflush(f->stream);
    return strstr(f->text, what) != NULL;
}

static struct rsr_tensor tensor(enum rsr_dtype dtype, const void *data, uint64_t size_bytes) {
    return (struct rsr_tensor){.name = "w",
                               .dtype = dtype,
                               .file = "f.safetensors",
                               .offset = 0x100,
                               .data = data,
                               .size_bytes = size_bytes};
}

static struct rsr_layer layer_of(const struct rsr_tensor *weight, const struct rsr_tensor *scale,
                                 enum rsr_encoding encoding, enum rsr_scale_rule rule,
                                 uint32_t rows, uint32_t cols) {
    return (struct rsr_layer){.name = "layer",
                              .weight = weight,
                              .scale = scale,
                              .encoding = encoding,
                              .scale_rule = rule,
                              .rows = rows,
                              .cols = cols};
}

/* Packs one weight at a time, as the documentation says, and decodes, with all remainders of rows
 * and columns. */
static void test_packed_shapes(void) {
    uint64_t seed = 1;
    float one = 1.0f;
    struct rsr_tensor scale = tensor(RSR_DTYPE_F32, &one, 4);

    for (uint32_t rows = 1; rows <= 13; rows++) {
        for (uint32_t cols = 1; cols <= 35; cols++) {
            uint32_t packed_rows = (rows + 3) / 4;
            int8_t expected[13 * 35];
            uint8_t packed[4 * 35] = {0};
            struct fixture f;
            struct rsr_matrix matrix;

            for (uint32_t r = 0; r < rows; r++)
                for (uint32_t c = 0; c < cols; c++) {
                    int w = (int)(check_random(&seed) % 3) - 1;
                    expected[r * cols + c] = (int8_t)w;
                    packed[r % packed_rows * cols + c] |=
                        (uint8_t)((w + 1) << (2 * (r / packed_rows)));
                }
            struct rsr_tensor weight = tensor(RSR_DTYPE_U8, packed, packed_rows * cols);
            struct rsr_layer layer =
                layer_of(&weight, &scale, RSR_ENCODING_PACKED2, RSR_SCALE_MULTIPLY, rows, cols);
            fixture_open(&f);
            CHECK_INT(rsrc_decode_layer(f.diag, &f.arena, &layer, &matrix), RSRC_OK);
            CHECK(memcmp(matrix.values, expected, rows * cols) == 0);
            CHECK_INT(matrix.alphabet, RSR_TERNARY);
            fixture_close(&f);
        }
    }
}

/* The example in the documentation of transformers' unpack_weights, read with its own rule. */
static void test_packed_example(void) {
    const uint8_t packed[4] = {0xa1, 0x18, 0x90, 0x0a};
    const int8_t expected[16] = {0, -1, -1, 1, -1, 1, -1, 1, 1, 0, 0, -1, 1, -1, 1, -1};
    float one = 1.0f;
    struct rsr_tensor weight = tensor(RSR_DTYPE_U8, packed, 4),
                      scale = tensor(RSR_DTYPE_F32, &one, 4);
    struct rsr_layer layer =
        layer_of(&weight, &scale, RSR_ENCODING_PACKED2, RSR_SCALE_MULTIPLY, 8, 2);
    struct rsr_matrix matrix;
    struct fixture f;

    fixture_open(&f);
    CHECK_INT(rsrc_decode_layer(f.diag, &f.arena, &layer, &matrix), RSRC_OK);
    for (int i = 0; i < 16; i++)
        CHECK_INT(matrix.values[i], expected[i]);
    fixture_close(&f);
}

static void test_packed_refusals(void) {
    uint8_t packed[2 * 20];
    float one = 1.0f;
    struct rsr_tensor weight = tensor(RSR_DTYPE_U8, packed, 40),
                      scale = tensor(RSR_DTYPE_F32, &one, 4);
    struct rsr_layer layer =
        layer_of(&weight, &scale, RSR_ENCODING_PACKED2, RSR_SCALE_MULTIPLY, 8, 20);
    struct rsr_matrix matrix;
    struct fixture f;

    for (uint32_t bad = 0; bad < 40; bad++) { /* every byte: whole words and the tail */
        memset(packed, 0x55, sizeof packed);
        packed[bad] = (uint8_t)(0x55 | 3u << (2 * (bad % 4)));
        fixture_open(&f);
        CHECK_INT(rsrc_decode_layer(f.diag, &f.arena, &layer, &matrix), RSRC_FAILED);
        char offset[32];
        snprintf(offset, sizeof offset, "\"offset\":%u", 0x100 + bad);
        CHECK(said(&f, "ternary-code"));
        CHECK(said(&f, offset));
        fixture_close(&f);
    }

    memset(packed, 0x15, sizeof packed); /* 7 rows: the last code pads */
    layer.rows = 7;
    fixture_open(&f);
    CHECK_INT(rsrc_decode_layer(f.diag, &f.arena, &layer, &matrix), RSRC_OK);
    packed[20 + 3] = 0x95;
    CHECK_INT(rsrc_decode_layer(f.diag, &f.arena, &layer, &matrix), RSRC_FAILED);
    CHECK(said(&f, "ternary-padding"));
    CHECK(said(&f, "\"offset\":279"));
    fixture_close(&f);
}

static void test_bytes(void) {
    uint8_t bytes[6] = {0, 1, 255, 255, 1, 0};
    float two = 2.0f;
    struct rsr_tensor weight = tensor(RSR_DTYPE_U8, bytes, 6),
                      scale = tensor(RSR_DTYPE_F32, &two, 4);
    struct rsr_layer layer = layer_of(&weight, &scale, RSR_ENCODING_BYTES, RSR_SCALE_DIVIDE, 2, 3);
    struct rsr_matrix matrix;
    struct fixture f;

    fixture_open(&f);
    CHECK_INT(rsrc_decode_layer(f.diag, &f.arena, &layer, &matrix), RSRC_OK);
    CHECK_INT(matrix.values[1], 1);
    CHECK_INT(matrix.values[2], -1);
    CHECK(matrix.scale[0] == 0.5f);
    bytes[4] = 2;
    CHECK_INT(rsrc_decode_layer(f.diag, &f.arena, &layer, &matrix), RSRC_FAILED);
    CHECK(said(&f, "ternary-value"));
    CHECK(said(&f, "\"offset\":260"));
    fixture_close(&f);
}

static void test_scales(void) {
    static const struct {
        uint16_t bf16;
        enum rsr_scale_rule rule;
        float expected; /* 0: refused */
    } cases[] = {
        {0x3f80, RSR_SCALE_MULTIPLY, 1.0f},
        {0x4040, RSR_SCALE_MULTIPLY, 3.0f},
        {0x4040, RSR_SCALE_DIVIDE, (float)(1.0 / 3.0)},
        {0x0000, RSR_SCALE_MULTIPLY, 0.0f}, /* zero */
        {0x8000, RSR_SCALE_DIVIDE, 0.0f},   /* minus zero */
        {0xbf80, RSR_SCALE_MULTIPLY, 0.0f}, /* negative */
        {0x7fc0, RSR_SCALE_MULTIPLY, 0.0f}, /* NaN */
        {0x7f80, RSR_SCALE_MULTIPLY, 0.0f}, /* infinity */
        {0x7f80, RSR_SCALE_DIVIDE, 0.0f},
        {0x0001, RSR_SCALE_DIVIDE, 0.0f}, /* its inverse overflows */
    };
    uint8_t packed[2] = {0x55, 0x55};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rsr_tensor weight = tensor(RSR_DTYPE_U8, packed, 2);
        struct rsr_tensor scale = tensor(RSR_DTYPE_BF16, &cases[i].bf16, 2);
        struct rsr_layer layer =
            layer_of(&weight, &scale, RSR_ENCODING_PACKED2, cases[i].rule, 4, 2);
        struct rsr_matrix matrix;
        struct fixture f;

        fixture_open(&f);
        enum rsrc_status status = rsrc_decode_layer(f.diag, &f.arena, &layer, &matrix);
        CHECK_INT(status, cases[i].expected > 0.0f ? RSRC_OK : RSRC_FAILED);
        if (status == RSRC_OK)
            CHECK(matrix.scale[0] == cases[i].expected);
        else
            CHECK(said(&f, "scale-value"));
        fixture_close(&f);
    }
}

/* Masters whose mean magnitude is exactly 1, so that s = 1 and the halves are exact. */
static void test_latent_halves(void) {
    const float masters[8] = {0.5f, -0.5f, 0.75f, -0.75f, 1.5f, -1.5f, 0.25f, 2.25f};
    const int8_t expected[8] = {0, 0, 1, -1, 1, -1, 0, 1};
    struct rsr_tensor weight = tensor(RSR_DTYPE_F32, masters, sizeof masters);
    struct rsr_layer layer = layer_of(&weight, NULL, RSR_ENCODING_LATENT, RSR_SCALE_ONLINE, 2, 4);
    struct rsr_matrix matrix;
    struct fixture f;

    fixture_open(&f);
    CHECK_INT(rsrc_decode_layer(f.diag, &f.arena, &layer, &matrix), RSRC_OK);
    for (int i = 0; i < 8; i++)
        CHECK_INT(matrix.values[i], expected[i]);
    CHECK(matrix.scale[0] == 1.0f);
    fixture_close(&f);
}

/* Compares with the formula of the paper, over more than one chunk and with a remainder. */
static void test_latent_random(enum rsr_dtype dtype) {
    enum { ROWS = 7, COLS = 331, N = ROWS * COLS };
    uint64_t seed = 7;
    uint16_t halves[N];
    double sum = 0.0;
    struct rsr_matrix matrix;
    struct fixture f;

    for (int i = 0; i < N; i++) { /* signs and exponents around 2^-6 in either type */
        uint64_t bits = check_random(&seed);
        uint32_t exponent = dtype == RSR_DTYPE_BF16 ? (uint32_t)(119 + bits % 4) << 7
                                                    : (uint32_t)(7 + bits % 4) << 10;
        halves[i] = (uint16_t)((bits >> 8 & 0x807f) | exponent);
        sum += fabs((double)(dtype == RSR_DTYPE_BF16 ? rsrc_bf16_to_f32(halves[i])
                                                     : rsrc_f16_to_f32(halves[i])));
    }
    struct rsr_tensor weight = tensor(dtype, halves, sizeof halves);
    struct rsr_layer layer =
        layer_of(&weight, NULL, RSR_ENCODING_LATENT, RSR_SCALE_ONLINE, ROWS, COLS);
    float s = 1.0f / fmaxf((float)(sum / (double)N), 1e-5f);

    fixture_open(&f);
    CHECK_INT(rsrc_decode_layer(f.diag, &f.arena, &layer, &matrix), RSRC_OK);
    CHECK(matrix.scale[0] == 1.0f / s);
    int n_wrong = 0, n_zero = 0;
    for (int i = 0; i < N; i++) {
        float w =
            dtype == RSR_DTYPE_BF16 ? rsrc_bf16_to_f32(halves[i]) : rsrc_f16_to_f32(halves[i]);
        float t = fminf(fmaxf(rintf(w * s), -1.0f), 1.0f);
        n_wrong += (float)matrix.values[i] != t;
        n_zero += matrix.values[i] == 0;
    }
    CHECK_INT(n_wrong, 0);
    CHECK(n_zero > N / 10 && n_zero < N);
    fixture_close(&f);
}

static void test_latent_edges(void) {
    float masters[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    struct rsr_tensor weight = tensor(RSR_DTYPE_F32, masters, sizeof masters);
    struct rsr_layer layer = layer_of(&weight, NULL, RSR_ENCODING_LATENT, RSR_SCALE_ONLINE, 2, 2);
    struct rsr_matrix matrix;
    struct fixture f;

    fixture_open(&f); /* all zero: the mean is clamped to 1e-5 */
    CHECK_INT(rsrc_decode_layer(f.diag, &f.arena, &layer, &matrix), RSRC_OK);
    CHECK(matrix.scale[0] == 1.0f / (1.0f / 1e-5f));
    masters[3] = NAN;
    CHECK_INT(rsrc_decode_layer(f.diag, &f.arena, &layer, &matrix), RSRC_FAILED);
    CHECK(said(&f, "tensor-not-finite"));
    CHECK(said(&f, "\"offset\":268"));
    fixture_close(&f);
}

/* Every half-precision number against its definition. */
static void test_half_precision(void) {
    int n_wrong = 0;

    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        int exponent = (int)(bits >> 10 & 31);
        double fraction = (double)(bits & 1023);
        float actual = rsrc_f16_to_f32((uint16_t)bits);

        if (exponent == 31) {
            n_wrong += (bits & 1023) ? !isnan(actual) : !isinf(actual);
            n_wrong += !signbit(actual) != !(bits & 0x8000);
            continue;
        }
        double value = exponent ? ldexp(1024.0 + fraction, exponent - 25) : ldexp(fraction, -24);
        n_wrong += (double)actual != (bits & 0x8000 ? -value : value);
        n_wrong += !signbit(actual) != !(bits & 0x8000);
    }
    CHECK_INT(n_wrong, 0);
    CHECK(rsrc_bf16_to_f32(0x3fc0) == 1.5f);
    CHECK(rsrc_bf16_to_f32(0xc000) == -2.0f);
}

static void test_bare_matrices(void) {
    static const int32_t ternary[4] = {-1, 0, 1, 1};
    static const int64_t bits[4] = {0, 1, 1, 0};
    static const float signs[4] = {-1.0f, 1.0f, 1.0f, -1.0f};
    static const float scaled[4] = {-0.5f, 0.5f, 0.0f, 0.5f};
    static const struct {
        enum rsr_dtype dtype;
        const void *data;
        uint64_t size_bytes;
        int alphabet; /* -1: refused */
    } cases[] = {
        {RSR_DTYPE_I32, ternary, sizeof ternary, RSR_TERNARY},
        {RSR_DTYPE_I64, bits, sizeof bits, RSR_BINARY_BIT},
        {RSR_DTYPE_F32, signs, sizeof signs, RSR_BINARY_SIGN},
        {RSR_DTYPE_F32, scaled, sizeof scaled, -1},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rsr_tensor t = tensor(cases[i].dtype, cases[i].data, cases[i].size_bytes);
        struct rsr_matrix matrix;
        struct fixture f;

        t.n_dims = 2;
        t.shape[0] = t.shape[1] = 2;
        fixture_open(&f);
        enum rsrc_status status = rsrc_decode_tensor(f.diag, &f.arena, &t, &matrix);
        CHECK_INT(status, cases[i].alphabet < 0 ? RSRC_FAILED : RSRC_OK);
        if (status == RSRC_OK) {
            CHECK_INT(matrix.alphabet, cases[i].alphabet);
            CHECK(matrix.scale[0] == 1.0f && matrix.n_scales == 1);
        } else {
            CHECK(said(&f, "matrix-value"));
        }
        t.n_dims = 1;
        CHECK_INT(rsrc_decode_tensor(f.diag, &f.arena, &t, &matrix), RSRC_FAILED);
        CHECK(said(&f, "matrix-shape"));
        fixture_close(&f);
    }
}

static void test_norms(void) {
    uint16_t weights[3] = {0x3f80, 0xc000, 0x3f00};
    struct rsr_tensor t = tensor(RSR_DTYPE_BF16, weights, sizeof weights);
    struct rsr_norm_layer norm = {.weight = &t, .cols = 3, .name = "norm"};
    const float *out = NULL;
    struct fixture f;

    fixture_open(&f);
    CHECK_INT(rsrc_decode_norm(f.diag, &f.arena, &norm, &out), RSRC_OK);
    CHECK(out[0] == 1.0f && out[1] == -2.0f && out[2] == 0.5f);
    weights[2] = 0x7f80;
    CHECK_INT(rsrc_decode_norm(f.diag, &f.arena, &norm, &out), RSRC_FAILED);
    CHECK(said(&f, "tensor-not-finite"));
    CHECK(said(&f, "\"offset\":260"));
    fixture_close(&f);
}

/* One element that is not finite, wherever it is; the largest finite values around it. */
static void test_check_finite(void) {
    static const struct {
        enum rsr_dtype dtype;
        uint32_t largest, infinite, nan;
    } TYPES[] = {{RSR_DTYPE_F32, 0xff7fffff, 0x7f800000, 0xffc00001},
                 {RSR_DTYPE_BF16, 0xff7f, 0xff80, 0x7fc0},
                 {RSR_DTYPE_F16, 0xfbff, 0x7c00, 0xfe01}};
    for (size_t t = 0; t < 3; t++) {
        const uint32_t width = TYPES[t].dtype == RSR_DTYPE_F32 ? 4 : 2;
        for (uint64_t n = 1; n <= 11; n++) {
            uint8_t bytes[1 + 11 * 4];
            for (uint64_t i = 0; i < n; i++)
                memcpy(bytes + 1 + i * width, &TYPES[t].largest, width);
            struct rsr_tensor w = tensor(TYPES[t].dtype, bytes + 1, n * width);
            struct fixture f;
            fixture_open(&f);
            CHECK_INT(rsrc_check_finite(f.diag, &w, n), RSRC_OK);
            for (uint64_t i = 0; i < n; i++) {
                char expected[40];
                memcpy(bytes + 1 + i * width, i % 2 ? &TYPES[t].nan : &TYPES[t].infinite, width);
                CHECK_INT(rsrc_check_finite(f.diag, &w, n), RSRC_FAILED);
                snprintf(expected, sizeof expected, "element %u is %s", (unsigned)i,
                         i % 2 ? "NaN" : "infinite");
                CHECK(said(&f, expected));
                memcpy(bytes + 1 + i * width, &TYPES[t].largest, width);
            }
            fixture_close(&f);
        }
    }
}

int main(void) {
    test_packed_shapes();
    test_packed_example();
    test_packed_refusals();
    test_bytes();
    test_scales();
    test_latent_halves();
    test_latent_random(RSR_DTYPE_BF16);
    test_latent_random(RSR_DTYPE_F16);
    test_latent_edges();
    test_half_precision();
    test_bare_matrices();
    test_norms();
    test_check_finite();
    return CHECK_EXIT();
}
