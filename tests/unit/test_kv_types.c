/* Keys and values of every type: rounding of numbers, bit for bit against double precision;
 * operations on stored rows against operations on their values in float32, at every level; and the
 * certified error of storage against float64, with keys that nearly reach it.
 *
 * Compiled without a term of the certificate (RSR_LOUVER_OMIT), the attack must break it. */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "louver/louver.h"
#include "ops_here.h"

#ifndef RSR_LOUVER_OMIT
#define RSR_LOUVER_OMIT 0
#endif

static const enum rsr_kv_type types[] = {RSR_KV_F32, RSR_KV_BF16, RSR_KV_F16, RSR_KV_INT8};

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

static bool same_bits(const float *a, const float *b, size_t n) {
    return memcmp(a, b, n * sizeof(float)) == 0;
}

static float random_float(uint64_t *state, float range) {
    return ((float)(check_random(state) >> 40) / 8388608.0f - 1.0f) * range;
}

static void fill(float *x, uint32_t n, uint64_t *state, float range) {
    for (uint32_t i = 0; i < n; i++)
        x[i] = random_float(state, range);
}

/* ---- 16 bits ---- */

/* A format of 16 bits: a sign, an exponent, `mantissa_bits`. */
struct half_format {
    enum rsr_kv_type type;
    int mantissa_bits, least_exponent; /* of normal numbers */
    double largest;
};
static const struct half_format halves[] = {{RSR_KV_BF16, 7, -126, 0x1.fep127},
                                            {RSR_KV_F16, 10, -14, 65504.0}};

/* The rounded value of x, by the definition. */
static double rounded(const struct half_format *f, float x) {
    int exponent;
    if (x == 0.0f || !isfinite(x))
        return (double)x;
    frexp((double)x, &exponent);
    exponent = exponent - 1 < f->least_exponent ? f->least_exponent : exponent - 1;
    const double unit = ldexp(1.0, exponent - f->mantissa_bits);
    const double nearest = rint((double)x / unit) * unit; /* ties to even; exact */
    return fabs(nearest) <= f->largest ? nearest : copysign(f->largest, (double)x);
}

static void check_numbers(const struct half_format *f, const struct rsr_kv_ops *kv, const float *x,
                          uint32_t n) {
    uint16_t row[16] = {0};
    float stored[16];
    kv->store(row, 16, x, n);
    kv->load(stored, row, 16);
    for (uint32_t i = 0; i < n; i++) {
        const float expected = (float)rounded(f, x[i]);
        if (isnan(x[i]) ? !isnan(stored[i]) : !same_bits(&stored[i], &expected, 1)) {
            fprintf(stderr, "%s of %a is %a, expected %a\n", rsr_kv_type_name(f->type),
                    (double)x[i], (double)stored[i], (double)expected);
            CHECK(false);
        }
    }
    for (uint32_t i = n; i < 16; i++)
        CHECK(row[i] == 0);
}

/* Every number of the format is stored exactly. Numbers half-way between neighbours, and just
 * beside that, become the neighbour that the rule of rounding demands. */
static void test_half(const struct half_format *f, const struct rsr_kv_ops *kv) {
    for (uint32_t h = 0; h < 65536; h += 4) {
        uint16_t row[16] = {0}, again[16] = {0};
        float x[16], around[12];
        for (uint32_t i = 0; i < 5; i++)
            row[i] = (uint16_t)(h + i);
        kv->load(x, row, 16);
        kv->store(again, 16, x, 16);
        for (uint32_t i = 0; i < 4; i++) { /* the number after a number is its neighbour */
            const float half_way = (float)(0.5 * ((double)x[i] + (double)x[i + 1]));
            CHECK(isnan(x[i]) || row[i] == again[i]);
            around[3 * i] = half_way;
            around[3 * i + 1] = nextafterf(half_way, INFINITY);
            around[3 * i + 2] = nextafterf(half_way, -INFINITY);
        }
        check_numbers(f, kv, around, 12);
    }
    uint64_t state = 3;
    for (uint32_t i = 0; i < 20000; i++) { /* any bits */
        float x[7];
        for (uint32_t k = 0; k < 7; k++)
            x[k] = float_of((uint32_t)check_random(&state));
        check_numbers(f, kv, x, 7);
    }
    const float edges[] = {
        0.0f,      -0.0f, 0x1p-149f, -0x1p-149f, 0x1.fffffep127f, INFINITY,       -0x1.fffffep127f,
        -INFINITY, NAN,   65519.99f, 65520.0f,   0x1p-25f,        0x1.000002p-25f};
    check_numbers(f, kv, edges, 13);
}

/* ---- int8 ---- */

/* The row is q times a scale of at most 16 bits. No element is further away than half a scale; the
 * largest ones may be 2^-8 of a scale further. */
static void check_int8_row(const struct rsr_kv_ops *kv, const float *x, uint32_t n) {
    struct {
        int8_t q[64];
        float scale;
    } row = {{0}, 0.0f}, again = {{0}, 0.0f};
    float stored[64], largest = 0.0f;
    int exponent;
    kv->store(&row, 64, x, n);
    kv->load(stored, &row, 64);
    const double bits = ldexp(frexp((double)row.scale, &exponent), 16);
    CHECK(bits == floor(bits) && row.scale >= 0.0f);
    for (uint32_t i = 0; i < 64; i++) {
        const double exact = (double)row.q[i] * (double)row.scale;
        const double given = i < n ? (double)x[i] : 0.0;
        CHECK((double)stored[i] == exact && isfinite(stored[i]) && row.q[i] >= -127);
        CHECK(fabs(given - exact) <= (0.5 + 0x1p-8) * (double)row.scale);
        largest = fmaxf(largest, i < n ? fabsf(x[i]) : 0.0f);
    }
    CHECK((row.scale == 0.0f) == (largest == 0.0f));
    /* The scale is as fine as 127 steps allow, or the smallest power of two for denormal
     * numbers. */
    CHECK((double)row.scale <= fmax((double)largest / 127.0, 0x1p-126));
    CHECK(row.scale >= 0x1p-126f || row.scale == 0x1p-149f || largest == 0.0f ||
          127.0f * row.scale < 2.0f * largest);
    kv->store(&again, 64, stored, 64);
    CHECK(memcmp(&row, &again, sizeof(row)) == 0); /* a stored row is stored without a change */
}

static void test_int8(const struct rsr_kv_ops *kv) {
    const float ranges[] = {1.0f,      127.0f,    3e38f,     0x1p-100f, 0x1p-118f, 0x1p-125f,
                            0x1p-130f, 0x1p-140f, 0x1p-148f, 0x1p-149f, 1e-10f,    0x1.fffffep127f};
    uint64_t state = 11;
    float x[64];
    for (uint32_t i = 0; i < 12 * 200; i++) {
        const uint32_t n = 1 + (uint32_t)(check_random(&state) % 64);
        fill(x, n, &state, ranges[i % 12]);
        x[check_random(&state) % n] = ranges[i % 12];
        check_int8_row(kv, x, n);
    }
    memset(x, 0, sizeof(x));
    check_int8_row(kv, x, 64);
    x[5] = -0.0f;
    check_int8_row(kv, x, 64);
    for (uint32_t i = 0; i < 3; i++) {
        const float bad[] = {NAN, INFINITY, -INFINITY};
        uint8_t row[68] = {0};
        float stored[64];
        x[40] = bad[i];
        kv->store(row, 64, x, 64);
        kv->load(stored, row, 64);
        for (uint32_t k = 0; k < 64; k++)
            CHECK(isnan(stored[k]));
    }
}

/* ---- Operations on stored rows ---- */

#define PAGE 64u
#define MOST_FLOATS 256u

struct page_case {
    uint32_t row_floats, n_keys, n_heads;
    float q[9][MOST_FLOATS];
    float plain[2][2][PAGE * MOST_FLOATS];         /* [page][keys, values] in float32 */
    char stored[2][2][PAGE * MOST_FLOATS * 4 + 4]; /* INT8 with scales is smaller */
};

/* Rows after the last key are read, but their content must not matter. */
static void fill_page(struct page_case *c, enum rsr_kv_type type, const struct rsr_kv_ops *kv,
                      uint32_t p, uint64_t *state) {
    const size_t row_bytes = rsr_kv_row_bytes(type, c->row_floats);
    for (uint32_t side = 0; side < 2; side++) {
        for (uint32_t j = 0; j < PAGE; j++) {
            float x[MOST_FLOATS];
            fill(x, c->row_floats, state, j % 7 == 0 ? 30.0f : 1.5f);
            x[0] = j >= c->n_keys ? NAN : x[0];
            kv->store(c->stored[p][side] + j * row_bytes, c->row_floats, x, c->row_floats);
            kv->load(c->plain[p][side] + (size_t)j * c->row_floats,
                     c->stored[p][side] + j * row_bytes, c->row_floats);
        }
    }
}

/* Attention over both pages; stored or plain. */
static void attend(const struct page_case *c, const struct rsr_kv_ops *kv, bool plain,
                   float out[9][MOST_FLOATS], struct rsr_attend_state *states) {
    struct rsr_attend_head heads[9];
    for (uint32_t h = 0; h < c->n_heads; h++) {
        states[h] = (struct rsr_attend_state){0.0f, 0.0f};
        heads[h] = (struct rsr_attend_head){c->q[h], out[h], &states[h]};
    }
    for (uint32_t p = 0; p < 2; p++) {
        const void *keys = plain ? (const void *)c->plain[p][0] : c->stored[p][0];
        const void *values = plain ? (const void *)c->plain[p][1] : c->stored[p][1];
        const void *next = plain ? (const void *)c->plain[1][0] : c->stored[1][0];
        const struct rsr_attend_page page = {keys,          values,    p == 0 ? next : NULL,
                                             c->row_floats, c->n_keys, p % 2 == 0};
        kv->attend_page(heads, c->n_heads, &page, 0.09f);
    }
}

static double sum16(const double *p) {
    double h[8], q[4];
    for (uint32_t l = 0; l < 8; l++)
        h[l] = p[l] + p[l + 8];
    for (uint32_t l = 0; l < 4; l++)
        q[l] = h[l] + h[l + 4];
    return (q[0] + q[2]) + (q[1] + q[3]);
}

/* Products in float64, and sums of some rows, in the order of ops.h. */
static void check_rows(const struct page_case *c, const struct rsr_kv_ops *kv,
                       enum rsr_kv_type type, uint64_t mask) {
    const size_t row_bytes = rsr_kv_row_bytes(type, c->row_floats);
    float out[MOST_FLOATS], sums[MOST_FLOATS] = {0.0f}, weights[PAGE];
    for (uint32_t j = 0; j < c->n_keys; j++) {
        const float *plain = c->plain[0][0] + (size_t)j * c->row_floats;
        const struct rsr_exact_dot dot =
            kv->exact(c->stored[0][0] + j * row_bytes, c->row_floats, c->q[0]);
        double sum[16] = {0.0}, size[16] = {0.0};
        for (uint32_t d = 0; d < c->row_floats; d++) {
            sum[d % 16] += (double)plain[d] * (double)c->q[0][d];
            size[d % 16] += fabs((double)plain[d] * (double)c->q[0][d]);
        }
        CHECK(dot.sum == sum16(sum) && dot.size == sum16(size));
        weights[j] = 0.01f * (float)(j + 1) - 0.2f;
        for (uint32_t d = 0; d < c->row_floats && (mask >> j & 1) != 0; d++)
            sums[d] = fmaf(weights[j], plain[d], sums[d]);
    }
    memset(out, 0x5a, sizeof(out));
    kv->add(out, c->stored[0][0], c->row_floats, weights, mask);
    CHECK(same_bits(out, sums, c->row_floats));
}

/* The largest square over no rows, over the first row, over the first two, and so on. Then each row
 * in turn is not finite, so that there is no largest square. */
static void check_largest_square(struct page_case *c, const struct rsr_kv_ops *kv,
                                 const struct rsr_kv_ops *f32, enum rsr_kv_type type) {
    const size_t row_bytes = rsr_kv_row_bytes(type, c->row_floats);
    float largest = 0.0f;
    for (uint32_t j = 0; j < c->n_keys; j++) {
        const float *row = c->plain[0][0] + (size_t)j * c->row_floats;
        float square;
        CHECK(kv->largest_square(c->stored[0][0], c->row_floats, j) == largest);
        f32->dots(&square, row, c->row_floats, 1, row);
        largest = fmaxf(largest, square);
    }
    CHECK(kv->largest_square(c->stored[0][0], c->row_floats, c->n_keys) == largest);
    for (uint32_t j = 0; j < c->n_keys; j++) {
        char *row = c->stored[0][0] + j * row_bytes, kept[4 * MOST_FLOATS];
        float x[MOST_FLOATS] = {0.0f};
        /* NaN; or a number whose square is infinite */
        x[j % c->row_floats] = j % 2 == 0 ? NAN : type == RSR_KV_F16 ? -INFINITY : -3e38f;
        memcpy(kept, row, row_bytes);
        kv->store(row, c->row_floats, x, c->row_floats);
        CHECK(kv->largest_square(c->stored[0][0], c->row_floats, c->n_keys) == INFINITY);
        CHECK(kv->largest_square(c->stored[0][0], c->row_floats, j) < INFINITY);
        memcpy(row, kept, row_bytes);
    }
}

static void test_pages(const struct rsr_ops *ops, enum rsr_kv_type type) {
    static struct page_case c;
    static float out[2][9][MOST_FLOATS];
    const uint32_t rows[] = {16, 48, 64, 80, 96, 128, 256}, keys[] = {1, 3, 31, 64},
                   heads[] = {1, 4, 9};
    const struct rsr_kv_ops *kv = &ops->kv[type], *f32 = &ops->kv[RSR_KV_F32];
    uint64_t state = 5;
    for (uint32_t i = 0; i < 7 * 4 * 3; i++) {
        struct rsr_attend_state states[2][9];
        float dots[2][PAGE];
        c.row_floats = rows[i % 7];
        c.n_keys = keys[i / 7 % 4];
        c.n_heads = heads[i / 28];
        for (uint32_t h = 0; h < c.n_heads; h++)
            fill(c.q[h], c.row_floats, &state, 1.0f);
        fill_page(&c, type, kv, 0, &state);
        fill_page(&c, type, kv, 1, &state);
        const uint64_t seen = c.n_keys < PAGE ? (UINT64_C(1) << c.n_keys) - 1 : UINT64_MAX;
        check_rows(&c, kv, type, seen & check_random(&state));
        check_rows(&c, kv, type, seen);
        check_largest_square(&c, kv, f32, type);
        attend(&c, kv, false, out[0], states[0]);
        attend(&c, f32, true, out[1], states[1]);
        for (uint32_t h = 0; h < c.n_heads; h++) {
            CHECK(same_bits(out[0][h], out[1][h], c.row_floats));
            CHECK(same_bits(&states[0][h].max, &states[1][h].max, 1));
            CHECK(same_bits(&states[0][h].sum, &states[1][h].sum, 1));
            CHECK(isfinite(out[0][h][0]));
        }
        memset(dots, 0, sizeof(dots));
        const uint64_t asked = seen & check_random(&state) & check_random(&state);
        kv->dots(dots[0], c.stored[0][0], c.row_floats, asked, c.q[0]);
        f32->dots(dots[1], c.plain[0][0], c.row_floats, seen, c.q[0]);
        for (uint32_t j = 0; j < PAGE; j++)
            CHECK((asked >> j & 1) != 0 ? same_bits(&dots[0][j], &dots[1][j], 1)
                                        : dots[0][j] == 0.0f);
        memset(dots, 0, sizeof(dots));
        f32->dots(dots[1], c.plain[0][0], c.row_floats, seen & UINT64_MAX << c.n_keys / 3, c.q[0]);
        memset(dots[0], 0, sizeof(dots[0]));
        const struct rsr_matrix_data m = {c.plain[0][0], RSR_DTYPE_F32, PAGE, c.row_floats, 0};
        ops->head(dots[0], &m, c.n_keys / 3, c.n_keys, c.q[0]);
        CHECK(same_bits(dots[0], dots[1], PAGE));
    }
}

/* All levels store equal bytes. */
static void test_levels_agree(const struct rsr_ops *a, const struct rsr_ops *b) {
    uint64_t state = 23;
    for (uint32_t t = 0; t < RSR_KV_TYPES; t++) {
        for (uint32_t i = 0; i < 500; i++) {
            char rows[2][512] = {{0}};
            float x[100];
            const uint32_t n = 1 + (uint32_t)(check_random(&state) % 100);
            for (uint32_t k = 0; k < n; k++)
                x[k] = i % 2 == 0 ? random_float(&state, 9.0f)
                                  : float_of((uint32_t)check_random(&state) & 0xff7fffffu);
            a->kv[t].store(rows[0], 112, x, n);
            b->kv[t].store(rows[1], 112, x, n);
            CHECK(memcmp(rows[0], rows[1], sizeof(rows[0])) == 0);
        }
    }
}

/* ---- Names and memory ---- */

static void test_names(void) {
    static const char *const wrong[] = {"F32", "f64", "int4", "bf16 ", "q8_0", "int"};
    rsr_error err = RSR_ERROR_INIT;
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver *index = NULL;
    enum rsr_kv_type type;
    options.head_dim = 8;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        options.kv_type = wrong[i];
        CHECK_INT(rsr_louver_create(&options, &index, &err), RSR_ERR_ARGUMENT);
        CHECK(index == NULL && strstr(err.message, "f32, bf16, f16 and int8") != NULL);
    }
    for (uint32_t i = 0; i < RSR_KV_TYPES; i++) {
        CHECK_INT(rsr_kv_type_parse(rsr_kv_type_name(types[i]), &type, &err), RSR_OK);
        CHECK_INT(type, types[i]);
    }
    type = RSR_KV_F16;
    CHECK_INT(rsr_kv_type_parse(NULL, &type, &err), RSR_OK);
    CHECK_INT(type, RSR_KV_F16);
    CHECK_INT(rsr_kv_type_parse("", &type, &err), RSR_OK);
    CHECK_INT(type, RSR_KV_F16);
}

/* Checks the bytes of a key and its value at 128 dimensions, of which norms of rounding errors take
 * 8, and the bytes that the index adds, which do not depend on the type. */
static void test_memory(void) {
    const uint32_t expected[] = {1024, 512 + 8, 512 + 8, 256 + 8 + 8};
    float row[128] = {1.0f};
    for (uint32_t i = 0; i < 2 * RSR_KV_TYPES; i++) {
        rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
        rsr_louver_info info = RSR_LOUVER_INFO_INIT;
        rsr_louver *index;
        options.head_dim = 128;
        options.n_planes = 1 + i % 2;
        options.kv_type = rsr_kv_type_name(types[i / 2]);
        CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
        for (uint32_t k = 0; k < 640; k++)
            CHECK_INT(rsr_louver_append(index, row, row, 1, NULL), RSR_OK);
        CHECK_INT(rsr_louver_get_info(index, &info), RSR_OK);
        CHECK_STR(info.kv_type, options.kv_type);
        CHECK_INT(info.kv_bytes, 640 * expected[i / 2]);
        CHECK(info.index_bytes <= 640 * (options.n_planes == 1 ? 85 : 154));
        rsr_louver_destroy(index);
    }
}

/* ---- Attacking the certificate ---- */

#define ATTACK_DIM 64u

/* Attention in float64 over n keys; rows of ATTACK_DIM. */
static void attend_exactly(const float *q, const float *keys, const float *values, uint32_t n,
                           double *out) {
    const double scale = 1.0 / sqrt(ATTACK_DIM);
    double z[200], largest = -INFINITY, sum = 0.0;
    memset(out, 0, ATTACK_DIM * sizeof(*out));
    for (uint32_t i = 0; i < n; i++) {
        z[i] = 0.0;
        for (uint32_t d = 0; d < ATTACK_DIM; d++)
            z[i] += scale * (double)q[d] * (double)keys[i * ATTACK_DIM + d];
        largest = fmax(largest, z[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        const double p = exp(z[i] - largest);
        sum += p;
        for (uint32_t d = 0; d < ATTACK_DIM; d++)
            out[d] += p * (double)values[i * ATTACK_DIM + d];
    }
    for (uint32_t d = 0; d < ATTACK_DIM; d++)
        out[d] /= sum;
}

/* Half of the keys lose a vector along q when stored, the other half a vector against it, and their
 * values point apart: the worst case that the proof allows. All elements are in [1, 2), where the
 * step of a type is constant; one element fixes the scale of int8. `miss`: the distance from a
 * stored number, in steps. */
static void make_attack(enum rsr_kv_type type, float miss, bool values_too, uint32_t n, float *q,
                        float *keys, float *values, uint64_t *state) {
    const float step = type == RSR_KV_BF16 ? 0x1p-7f : type == RSR_KV_F16 ? 0x1p-10f : 0x1p-6f;
    for (uint32_t d = 0; d < ATTACK_DIM; d++)
        q[d] = check_random(state) % 2 == 0 ? 1.0f : -1.0f;
    for (uint32_t i = 0; i < n; i++) {
        const float side = i % 2 == 0 ? miss : -miss;
        for (uint32_t d = 0; d < ATTACK_DIM; d++) {
            const float stored = 1.0f + step * (float)(1 + check_random(state) % 60);
            keys[i * ATTACK_DIM + d] = stored + (d == 0 ? 0.0f : side * q[d] * step);
            values[i * ATTACK_DIM + d] =
                (i % 2 == 0 ? 1.5f : -1.5f) + (values_too && d > 0 ? miss * step : 0.0f);
        }
        if (type == RSR_KV_INT8) /* 127 steps */
            keys[i * ATTACK_DIM] = values[i * ATTACK_DIM] = 127.0f * step;
    }
}

/* Returns the error reached, as a share of the certified error. */
static double attack(enum rsr_kv_type type, float miss, bool values_too, uint32_t n,
                     uint64_t *state) {
    static float q[ATTACK_DIM], keys[200 * ATTACK_DIM], values[200 * ATTACK_DIM];
    static float stored[2][200 * ATTACK_DIM];
    const struct rsr_kv_ops *kv = &rsr_ops_get(RSR_OPS_GENERIC)->kv[type];
    rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
    rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
    rsr_louver_head head;
    rsr_louver *index;
    double given_out[ATTACK_DIM], stored_out[ATTACK_DIM], gap = 0.0;
    make_attack(type, miss, values_too, n, q, keys, values, state);
    for (uint32_t i = 0; i < 2 * n; i++) {
        char row[ATTACK_DIM * 4 + 4] = {0};
        const uint32_t at = i / 2 * ATTACK_DIM;
        kv->store(row, ATTACK_DIM, (i % 2 == 0 ? keys : values) + at, ATTACK_DIM);
        kv->load(stored[i % 2] + at, row, ATTACK_DIM);
    }
    options.head_dim = ATTACK_DIM;
    options.kv_type = rsr_kv_type_name(type);
    CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
    CHECK_INT(rsr_louver_append(index, keys, values, n, NULL), RSR_OK);
    query.q = q;
    query.heads = &head;
    CHECK_INT(rsr_louver_attend(index, &query, NULL, NULL), RSR_OK);
    rsr_louver_destroy(index);
    attend_exactly(q, keys, values, n, given_out);
    attend_exactly(q, stored[0], stored[1], n, stored_out);
    for (uint32_t d = 0; d < ATTACK_DIM; d++)
        gap += (given_out[d] - stored_out[d]) * (given_out[d] - stored_out[d]);
    return head.storage_error > 0.0 ? sqrt(gap) / head.storage_error : sqrt(gap) > 0.0 ? 2.0 : 0.0;
}

/* Two keys of nearly equal scores are the hardest case. Larger counts include sealed pages and an
 * open one. */
static double worst_attack(enum rsr_kv_type type, bool values_too) {
    const uint32_t counts[] = {2, 2, 2, 2, 64, 66, 130, 200};
    double worst = 0.0;
    uint64_t state = 77;
    for (uint32_t i = 0; i < 400; i++)
        worst = fmax(worst, attack(type, 0.49f, values_too, counts[i % 8], &state));
    return worst;
}

static void test_attacks(void) {
    for (uint32_t t = 1; t < RSR_KV_TYPES; t++) {
        const double scores = worst_attack(types[t], false), all = worst_attack(types[t], true);
        printf("%s: attacks reach %.3f and %.3f of the certificate\n", rsr_kv_type_name(types[t]),
               scores, all);
        if (RSR_LOUVER_OMIT != 0) {
            CHECK(scores > 1.0 || all > 1.0); /* without a term the bound is broken */
        } else {
            CHECK(scores <= 1.0 && all <= 1.0);
            CHECK(scores > 0.5 && all > 0.5); /* and the bound is not much too large */
        }
    }
}

/* A finite number beyond the type's largest is stored as the largest, and the loss is reported. */
static void test_saturation(void) {
    const float values[2] = {1.0f, 2.0f};
    for (uint32_t t = 1; t < RSR_KV_TYPES; t++) {
        rsr_louver_options options = RSR_LOUVER_OPTIONS_INIT;
        rsr_louver_query query = RSR_LOUVER_QUERY_INIT;
        rsr_louver_head head;
        rsr_louver *index;
        float q[2] = {0.0f, 1e-5f}, out[2],
              huge[2] = {-1.0f, types[t] == RSR_KV_F16 ? 1e6f : 0x1.fffffep127f};
        options.head_dim = 2;
        options.kv_type = rsr_kv_type_name(types[t]);
        CHECK_INT(rsr_louver_create(&options, &index, NULL), RSR_OK);
        CHECK_INT(rsr_louver_append(index, huge, values, 1, NULL), RSR_OK);
        query.q = q;
        query.out = out;
        query.heads = &head;
        CHECK_INT(rsr_louver_attend(index, &query, NULL, NULL), RSR_OK);
        CHECK(fabsf(out[0] - 1.0f) <= 0.01f && fabsf(out[1] - 2.0f) <= 0.01f);
        /* The score may have moved by scale 1e-5 934496, or more: this moves half of the softmax at
         * most. */
        if (types[t] != RSR_KV_INT8)
            CHECK(head.storage_error > 2.0 * 2.236 - 0.02 && head.storage_error < 4.5);
        huge[1] = INFINITY;
        CHECK_INT(rsr_louver_append(index, huge, values, 1, NULL), RSR_ERR_NUMERIC);
        rsr_louver_destroy(index);
    }
}

static void test_level(const struct rsr_ops *ops) {
    printf("level %s\n", ops->name);
    for (size_t i = 0; i < sizeof(halves) / sizeof(halves[0]); i++)
        test_half(&halves[i], &ops->kv[halves[i].type]);
    test_int8(&ops->kv[RSR_KV_INT8]);
    for (uint32_t t = 0; t < RSR_KV_TYPES; t++)
        test_pages(ops, types[t]);
}

int main(void) {
    test_attacks();
    for (int level = 0; RSR_LOUVER_OMIT == 0 && level < RSR_OPS_LEVEL_COUNT; level++) {
        const struct rsr_ops *ops = ops_here((enum rsr_ops_level)level);
        if (ops == NULL)
            continue;
        test_level(ops);
        test_levels_agree(rsr_ops_get(RSR_OPS_GENERIC), ops);
    }
    if (RSR_LOUVER_OMIT == 0) {
        test_names();
        test_memory();
        test_saturation();
    }
    return CHECK_EXIT();
}
