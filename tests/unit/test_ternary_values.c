/* test_ternary_values.c - float weights that are ternary already. The granularity of their scales
 * is found from their values alone, and weights that are not ternary are refused by name. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "diag_fixture.h"
#include "model/ternary_values.h"

#define MAX_WEIGHTS 40000u

/* A layer of floats, stored in one of the three formats. */
struct weights {
    struct fixture f;
    struct rsr_tensor tensor;
    struct rsr_layer layer;
    float *floats;
    uint8_t *bytes;
    struct rsr_matrix matrix;
};

static void begin(struct weights *w, enum rsr_dtype dtype, uint32_t rows, uint32_t cols) {
    setup(&w->f);
    CHECK(rows * cols <= MAX_WEIGHTS);
    w->floats = RSRC_NEW_ARRAY(&w->f.arena, (size_t)rows * cols, float);
    w->bytes = RSRC_NEW_ARRAY(&w->f.arena, (size_t)rows * cols * 4 + 1, uint8_t);
    w->tensor = (struct rsr_tensor){
        .name = "q.weight", .dtype = dtype, .file = "f", .offset = 0x100, .data = w->bytes + 1};
    w->layer = (struct rsr_layer){.name = "q", .weight = &w->tensor, .rows = rows, .cols = cols};
}

/* Signs at random, a third of them 0. scale[row * n_groups + group] */
static void fill(struct weights *w, const float *scale, uint32_t group_cols, uint64_t seed) {
    const uint32_t cols = w->layer.cols, n_groups = (cols - 1) / group_cols + 1;
    for (uint32_t i = 0; i < w->layer.rows * cols; i++) {
        const float sign = (float)((int)(check_random(&seed) >> 33) % 3 - 1);
        w->floats[i] = sign * scale[i / cols * n_groups + i % cols / group_cols]; /* -0 as well */
    }
}

static enum rsrc_status decode(struct weights *w) {
    for (uint32_t i = 0; i < w->layer.rows * w->layer.cols; i++) {
        uint32_t bits;
        memcpy(&bits, &w->floats[i], sizeof bits);
        uint16_t half = (uint16_t)(bits >> 16);
        if (w->tensor.dtype == RSR_DTYPE_F16) { /* only numbers that are normal in float16, and 0 */
            const uint32_t magnitude = bits & 0x7fffffffu;
            half = (uint16_t)((bits >> 16 & 0x8000u) |
                              (magnitude == 0 ? 0 : (magnitude - (112u << 23)) >> 13));
        }
        if (w->tensor.dtype == RSR_DTYPE_F32)
            memcpy(w->bytes + 1 + 4 * i, &bits, sizeof bits);
        else
            memcpy(w->bytes + 1 + 2 * i, &half, sizeof half);
    }
    return rsrc_decode_values(w->f.diag, &w->f.arena, &w->layer, &w->matrix);
}

/* Every float is its ternary value times its scale, bit for bit except for the sign of 0. */
static void check_weights(const struct weights *w) {
    const struct rsr_matrix *m = &w->matrix;
    const uint32_t n_groups = m->group_cols == 0 ? 1 : (m->cols - 1) / m->group_cols + 1;
    uint32_t n_wrong = 0;
    CHECK(m->rows == w->layer.rows && m->cols == w->layer.cols && m->alphabet == RSR_TERNARY);
    CHECK(m->n_scales == 1 || m->n_scales == m->rows * n_groups);
    for (uint32_t i = 0; i < m->rows * m->cols; i++) {
        const uint32_t group = m->group_cols == 0 ? 0 : i % m->cols / m->group_cols;
        const float scale = m->scale[m->n_scales == 1 ? 0 : i / m->cols * n_groups + group];
        n_wrong += m->values[i] < -1 || m->values[i] > 1 || scale <= 0 ||
                   (float)m->values[i] * scale != w->floats[i];
    }
    CHECK_INT(n_wrong, 0);
}

static const enum rsr_dtype dtypes[] = {RSR_DTYPE_F32, RSR_DTYPE_BF16, RSR_DTYPE_F16};

/* Magnitudes that all three formats hold. Those of neighbouring groups differ. */
static float scale_of(uint32_t i) {
    return ldexpf((float)(128 + i * 37 % 128), -12);
}

static void test_granularities(void) {
    static const struct {
        uint32_t rows, cols;
        uint32_t group_cols; /* that are made */
        uint32_t same_rows;  /* with equal scales */
        uint32_t n_scales, found_cols;
    } cases[] = {
        {20, 300, 300, 20, 1, 0},  /* one a tensor */
        {20, 300, 300, 1, 20, 0},  /* one for each row */
        {20, 300, 300, 10, 20, 0}, /* one for each shard of rows */
        {1, 33, 33, 1, 1, 0},           {10, 512, 128, 1, 40, 128},
        {10, 512, 64, 1, 80, 64},       {10, 512, 256, 1, 20, 256},
        {10, 512, 32, 1, 160, 32},      {10, 500, 128, 1, 40, 128}, /* a short last group */
        {10, 2049, 64, 1, 330, 64},     {12, 576, 96, 12, 72, 96},  /* shards of columns */
        {12, 600, 200, 4, 36, 200},     {12, 1536, 768, 12, 24, 768},
        {12, 2100, 1050, 12, 24, 1050},
    };
    for (size_t n = 0; n < 3 * (sizeof cases / sizeof *cases); n++) {
        const size_t i = n / 3;
        struct weights w;
        float scale[330];
        begin(&w, dtypes[n % 3], cases[i].rows, cases[i].cols);
        const uint32_t n_groups = (cases[i].cols - 1) / cases[i].group_cols + 1;
        for (uint32_t s = 0; s < cases[i].rows * n_groups; s++)
            scale[s] = scale_of(s / n_groups / cases[i].same_rows * n_groups + s % n_groups);
        fill(&w, scale, cases[i].group_cols, n + 1);
        CHECK_INT(decode(&w), RSRC_OK);
        CHECK_INT(w.matrix.n_scales, cases[i].n_scales);
        CHECK_INT(w.matrix.group_cols, cases[i].found_cols);
        check_weights(&w);
        teardown(&w.f);
    }
}

/* Zeros of either sign say nothing about a scale. A row or group of zeros has the scale 1. */
static void test_zeros(void) {
    struct weights w;
    float scale[12] = {0.5f, 0.25f, 0, 0.5f, 0, 0, 0, 0, 0.5f, 0.25f, 0.5f, 0.125f};
    begin(&w, RSR_DTYPE_F16, 3, 512);
    fill(&w, scale, 128, 7);
    CHECK_INT(decode(&w), RSRC_OK);
    CHECK_INT(w.matrix.group_cols, 128);
    CHECK(w.matrix.scale[2] == 1 && w.matrix.scale[5] == 1 && w.matrix.scale[11] == 0.125f);
    for (uint32_t i = 0; i < 3 * 512; i++)
        if (w.matrix.scale[i / 128] == 1)
            CHECK_INT(w.matrix.values[i], 0);
    teardown(&w.f);

    begin(&w, RSR_DTYPE_F32, 4, 40);
    w.floats[0] = -0.0f;
    CHECK_INT(decode(&w), RSRC_OK);
    CHECK(w.matrix.n_scales == 1 && w.matrix.scale[0] == 1 && w.matrix.group_cols == 0);
    check_weights(&w);
    /* One row of zeros among others, and a single nonzero weight. */
    w.floats[45] = 3;
    CHECK_INT(decode(&w), RSRC_OK);
    CHECK(w.matrix.n_scales == 1 && w.matrix.scale[0] == 3);
    w.floats[125] = 2;
    CHECK_INT(decode(&w), RSRC_OK);
    CHECK(w.matrix.n_scales == 4 && w.matrix.scale[0] == 1 && w.matrix.scale[1] == 3 &&
          w.matrix.scale[2] == 1 && w.matrix.scale[3] == 2);
    check_weights(&w);
    teardown(&w.f);
}

/* The first weight that is not ternary is named, wherever it is, also where chunks of 1024 columns
 * meet. */
static void test_refusals(void) {
    static const struct {
        uint32_t row, col, before;
    } places[] = {{0, 1, 0}, {3, 1024, 1023}, {9, 2047, 2046}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct weights w;
        char said[200];
        begin(&w, RSR_DTYPE_F32, 10, 2048);
        for (uint32_t n = 0; n < 10 * 2048; n++)
            w.floats[n] = n % 2 == 0 ? 0.5f : -0.5f;
        /* No smaller group explains these two columns, because groups of at least 32 begin at
         * multiples of 32. */
        w.floats[places[i].row * 2048 + places[i].col] = 0.75f;
        if (places[i].col % 32 == 0)
            w.floats[places[i].row * 2048 + places[i].col + 1] = 0.625f;
        CHECK_INT(decode(&w), RSRC_FAILED);
        const uint32_t col = places[i].col + (places[i].col % 32 == 0);
        snprintf(said, sizeof said,
                 "not ternary: in row %u the magnitude is %s in column %u and %s "
                 "in column %u [ternary-values]",
                 places[i].row, places[i].col % 32 == 0 ? "0.75" : "0.5", col - 1,
                 places[i].col % 32 == 0 ? "0.625" : "0.75", col);
        CHECK(strstr(w.f.text, said) != NULL);
        CHECK(strstr(w.f.text, "'q.weight'") != NULL);
        teardown(&w.f);
    }
}

/* Rows with groups of different sizes have no common group size. */
static void test_mixed_rows(void) {
    struct weights w;
    begin(&w, RSR_DTYPE_BF16, 2, 480);
    for (uint32_t j = 0; j < 480; j++) {
        w.floats[j] = scale_of(j / 96);
        w.floats[480 + j] = scale_of(j / 160);
    }
    CHECK_INT(decode(&w), RSRC_OK);
    CHECK_INT(w.matrix.group_cols, 32);
    check_weights(&w);
    for (uint32_t j = 0; j < 480; j++)
        w.floats[480 + j] = scale_of(j / 60);
    CHECK_INT(decode(&w), RSRC_FAILED);
    CHECK(strstr(w.f.text, "in row 1 ") != NULL);
    teardown(&w.f);
}

/* Floats from training that are not ternary, and floats that are not finite. */
static void test_other_floats(void) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3 * (1 + sizeof bad / sizeof *bad); i++) {
        struct weights w;
        uint64_t seed = i + 1;
        begin(&w, i % 2 == 0 ? RSR_DTYPE_F32 : RSR_DTYPE_BF16, 8, 100);
        for (uint32_t n = 0; n < 800; n++)
            w.floats[n] = i < 3 ? ldexpf((float)(check_random(&seed) >> 40) + 1, -24) : 0.5f;
        if (i >= 3)
            w.floats[777] = bad[i / 3 - 1];
        CHECK_INT(decode(&w), RSRC_FAILED);
        CHECK(strstr(w.f.text, i < 3 ? "[ternary-values]" : "[tensor-not-finite]") != NULL);
        teardown(&w.f);
    }
}

int main(void) {
    test_granularities();
    test_zeros();
    test_refusals();
    test_mixed_rows();
    test_other_floats();
    return CHECK_EXIT();
}
