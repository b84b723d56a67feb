/* Every float operation at every level the host has, bit for bit against the order that ops.h
 * documents (written here lane by lane), and its accuracy against double precision. */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "ops_here.h"

#define N_LENGTHS 9
/* The last text is short, so numbers of longer texts remain after its end. */
static const uint32_t lengths[N_LENGTHS] = {1, 12, 16, 17, 64, 100, 512, 513, 31};

static float random_float(uint64_t *state, float range) {
    return ((float)(check_random(state) >> 40) / 8388608.0f - 1.0f) * range;
}

static void fill(float *x, uint32_t n, uint64_t *state, float range) {
    for (uint32_t i = 0; i < n; i++)
        x[i] = random_float(state, range);
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static bool same_bits(const float *a, const float *b, size_t n) {
    return memcmp(a, b, n * sizeof(float)) == 0;
}

/* ---- The documented order ---- */

static float sum16(const float *p) {
    float h[8], q[4];
    for (int l = 0; l < 8; l++)
        h[l] = p[l] + p[l + 8];
    for (int l = 0; l < 4; l++)
        q[l] = h[l] + h[l + 4];
    return (q[0] + q[2]) + (q[1] + q[3]);
}

static float dot(const float *a, const float *b, uint32_t n) {
    float part[16] = {0};
    for (uint32_t i = 0; i < n; i++)
        part[i % 16] = fmaf(a[i], b[i], part[i % 16]);
    return sum16(part);
}

static float squares(const float *x, uint32_t n) {
    float p[64] = {0}, s[16];
    for (uint32_t i = 0; i < n; i++)
        p[i % 64] = fmaf(x[i], x[i], p[i % 64]);
    for (int l = 0; l < 16; l++)
        s[l] = (p[l] + p[l + 32]) + (p[l + 16] + p[l + 48]);
    return sum16(s);
}

static void reference_norm(float *y, const float *x, const float *weight, float eps, uint32_t n) {
    const float r = 1.0f / sqrtf(squares(x, n) / (float)n + eps);
    for (uint32_t i = 0; i < n; i++)
        y[i] = weight[i] * (x[i] * r);
}

struct act {
    struct rsr_act_row row;
    int8_t q[1024];
};

static void reference_quantize(struct act *act, const float *x, uint32_t n) {
    float largest = 0.0f;
    for (uint32_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    const float s = (1.0f / fmaxf(largest, 1e-5f)) * 127.0f;
    memset(act, 0, sizeof(*act));
    for (uint32_t i = 0; i < n; i++) {
        const float r = rintf(x[i] * s);
        act->q[i] = (int8_t)fminf(fmaxf(r, -128.0f), 127.0f);
        act->row.sum += act->q[i];
    }
    act->row.scale = 1.0f / s;
}

/* ---- Tests of one level ---- */

static void test_norm_and_quantize(const struct rsr_ops *ops, uint64_t *state) {
    float x[513], y[513], expected[513], weight[513];
    static struct act act, expected_act;
    for (int l = 0; l < N_LENGTHS; l++) {
        const uint32_t n = lengths[l];
        for (int round = 0; round < 20; round++) {
            fill(x, n, state, round == 0 ? 0.0f : powf(10.0f, random_float(state, 4.0f)));
            fill(weight, n, state, 2.0f);
            reference_norm(expected, x, weight, 1e-5f, n);
            CHECK(ops->norm(y, x, weight, 1e-5f, n));
            CHECK(same_bits(y, expected, n));
            reference_quantize(&expected_act, x, n);
            memset(&act, 0x55, sizeof(act));
            CHECK(ops->quantize(&act.row, x, n));
            CHECK(same_bits(&act.row.scale, &expected_act.row.scale, 1));
            CHECK_INT(act.row.sum, expected_act.row.sum);
            const size_t padded = (n + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD;
            CHECK(memcmp(act.q, expected_act.q, padded) == 0);
            CHECK_INT(padded == sizeof(act.q) || act.q[padded] == 0x55, 1);
        }
    }
    /* ties go to even: with a largest of 127 the scale is 1 */
    const float ties[6] = {127.0f, 0.5f, 1.5f, 2.5f, -0.5f, -3.5f};
    const int8_t expected_ties[6] = {127, 0, 2, 2, 0, -4};
    CHECK(ops->quantize(&act.row, ties, 6));
    CHECK(memcmp(act.q, expected_ties, 6) == 0);
}

static void test_not_finite(const struct rsr_ops *ops) {
    const float bad[3] = {NAN, INFINITY, -INFINITY};
    float x[40], y[40], weight[40];
    static struct act act;
    for (int b = 0; b < 3; b++) {
        for (uint32_t at = 0; at < 40; at += 13) {
            for (uint32_t i = 0; i < 40; i++)
                x[i] = weight[i] = 1.0f;
            x[at] = bad[b];
            memset(&act, 0x55, sizeof(act));
            CHECK(!ops->quantize(&act.row, x, 40));
            CHECK_INT(act.row.sum, 0);
            for (uint32_t i = 0; i < RSR_ACT_PAD; i++)
                CHECK_INT(act.q[i], 0);
            CHECK(!ops->norm(y, x, weight, 1e-5f, 40));
        }
    }
}

/* The largest error of 16 powers, in units in the last place. */
static double exp_error(const struct rsr_ops *ops, const float *x) {
    float y[16];
    double worst = 0.0;
    ops->exp(y, x, 16);
    for (int k = 0; k < 16; k++) {
        const double exact = exp((double)x[k]);
        const int exponent = ilogb(exact) < -126 ? -126 : ilogb(exact);
        worst = fmax(worst, fabs((double)y[k] - exact) / ldexp(1.0, exponent - 23));
    }
    return worst;
}

static void test_exp(const struct rsr_ops *ops) {
    const float special[] = {0.0f, -0.0f, -INFINITY, INFINITY, -104.0f, 88.72f, 89.0f, -87.5f};
    float y[16];
    ops->exp(y, special, 8);
    CHECK(y[0] == 1.0f && y[1] == 1.0f && y[2] == 0.0f && isinf(y[3]) && y[4] == 0.0f);
    CHECK(isfinite(y[5]) && isinf(y[6]) && y[7] > 0.0f && y[7] < 1.2e-38f);
    const float nan_in = NAN;
    ops->exp(y, &nan_in, 1);
    CHECK(isnan(y[0]));
    double worst = 0.0;
    for (int i = 0; i < 200000; i += 16) {
        float x[16];
        for (int k = 0; k < 16; k++)
            x[k] = -87.0f + (float)(i + k) * (175.5f / 200000.0f);
        worst = fmax(worst, exp_error(ops, x));
    }
    CHECK(worst <= 1.06);
    CHECK(worst > 0.4); /* something was measured */
}

/* Tests every float32 whose exp is neither 0 nor infinite. */
static void test_exp_of_all(const struct rsr_ops *ops) {
    double worst = 0.0, worst_denormal = 0.0;
    for (uint32_t sign = 0; sign < 2; sign++) {
        const uint32_t end = bits_of(sign == 0 ? 88.72283f : 104.0f);
        for (uint32_t first = 0; first < end; first += 16) {
            float x[16];
            for (uint32_t k = 0; k < 16; k++) {
                const uint32_t bits = (first + k < end ? first + k : end) | sign << 31;
                memcpy(&x[k], &bits, sizeof(bits));
            }
            double *to = x[15] < -87.3f ? &worst_denormal : &worst;
            *to = fmax(*to, exp_error(ops, x));
        }
    }
    printf("exp of all: %.4f ulp, %.4f where the result may be denormal\n", worst, worst_denormal);
    CHECK(worst <= 1.06);
    CHECK(worst_denormal <= 2.0);
}

static void test_activation(const struct rsr_ops *ops, uint64_t *state) {
    float gate[100], up[100], y[100], exps[100];
    fill(gate, 100, state, 20.0f);
    fill(up, 100, state, 3.0f);
    ops->act_mul(y, gate, up, 100, RSR_ACTIVATION_RELU2);
    for (int i = 0; i < 100; i++) {
        const float r = gate[i] > 0.0f ? gate[i] : 0.0f;
        CHECK(y[i] == (r * r) * up[i]);
    }
    ops->act_mul(y, gate, up, 100, RSR_ACTIVATION_SILU);
    for (int i = 0; i < 100; i++) {
        exps[i] = -gate[i];
        const double exact = (double)gate[i] / (1.0 + exp(-(double)gate[i])) * (double)up[i];
        CHECK(fabs((double)y[i] - exact) <= 6e-7 * fabs(exact));
    }
    ops->exp(exps, exps, 100);
    for (int i = 0; i < 100; i++)
        CHECK(y[i] == (gate[i] * (1.0f / (1.0f + exps[i]))) * up[i]);
    for (int i = 0; i < 100;
         i++) /* half of the numbers are small, where the sum in the argument matters */
        gate[i] = i % 2 == 0 ? gate[i] : gate[i] / 8.0f;
    ops->act_mul(y, gate, up, 100, RSR_ACTIVATION_GELU_TANH);
    for (int i = 0; i < 100; i++) {
        const double g = (double)gate[i];
        const double z = sqrt(2.0 / 3.14159265358979323846) * (g + 0.044715 * g * g * g);
        /* 0.5 g (1 + tanh z), without its cancellation below zero */
        const double exact = g / (1.0 + exp(-2.0 * z)) * (double)up[i];
        /* An error of the exponent, which is rounded to float32, is a relative error of its power;
         * beyond the range of float32 the power is infinite and the value 0. */
        CHECK(fabs((double)y[i] - exact) <= 2.5e-7 * (4.0 + 2.0 * fabs(z)) * fabs(exact) + 1e-35);
    }
    const float extremes[] = {-1e30f, -100.0f, 0.0f, 100.0f, 1e30f}, ones[] = {1, 1, 1, 1, 1};
    ops->act_mul(y, extremes, ones, 5, RSR_ACTIVATION_GELU_TANH);
    CHECK(y[0] == 0.0f && y[1] == 0.0f && y[2] == 0.0f && y[3] == 100.0f && y[4] == 1e30f);
    memcpy(y, gate, sizeof(y));
    ops->scale(y, 1.7f, 100);
    for (int i = 0; i < 100; i++)
        CHECK(y[i] == gate[i] * 1.7f);
    ops->add(y, up, 99);
    for (int i = 0; i < 100; i++)
        CHECK(y[i] == (i < 99 ? gate[i] * 1.7f + up[i] : gate[i] * 1.7f));
    gate[0] = NAN;
    ops->act_mul(y, gate, up, 1, RSR_ACTIVATION_RELU2);
    CHECK(isnan(y[0]));
    ops->act_mul(y, gate, up, 1, RSR_ACTIVATION_GELU_TANH);
    CHECK(isnan(y[0]));
}

static void test_rope(const struct rsr_ops *ops, uint64_t *state) {
    const uint32_t positions[] = {0, 1, 2, 63, 4095, 131071, 9999991, 16777215};
    float inv_freq[64], table[128], x[128], y[128];
    for (int i = 0; i < 64; i++)
        inv_freq[i] = (float)(1.0 / pow(500000.0, i / 64.0));
    const struct rsr_rope rope = {inv_freq, 1.0f};
    double worst = 0.0;
    for (size_t p = 0; p < sizeof(positions) / sizeof(positions[0]); p++) {
        ops->rope_table(table, &rope, 128, positions[p]);
        for (int i = 0; i < 64; i++) {
            const double angle = (double)(inv_freq[i] * (float)positions[p]);
            worst = fmax(worst, fabs((double)table[i] - cos(angle)));
            worst = fmax(worst, fabs((double)table[64 + i] - sin(angle)));
        }
        fill(x, 128, state, 2.0f);
        ops->rope(y, x, table, 128);
        for (int i = 0; i < 64; i++) {
            volatile float a = x[i] * table[i], b = x[64 + i] * table[64 + i];
            volatile float c = x[64 + i] * table[i], d = x[i] * table[64 + i];
            CHECK(y[i] == a - b);
            CHECK(y[64 + i] == c + d);
        }
        ops->rope(x, x, table, 128); /* in place */
        CHECK(same_bits(x, y, 128));
    }
    CHECK(worst <= 3.1e-8); /* half an ulp below 1 is 2.98e-8 */
}

static double f16_value(uint16_t h) {
    const int exponent = h >> 10 & 31, mantissa = h & 1023;
    const double sign = h & 0x8000 ? -1.0 : 1.0;
    if (exponent == 31)
        return mantissa != 0 ? NAN : sign * INFINITY;
    return exponent == 0 ? sign * ldexp(mantissa, -24)
                         : sign * ldexp(1024 + mantissa, exponent - 25);
}

/* The documented order, and the matrix in double precision; in place, too. */
static void reference_rotate(float *y, const float *x, const float *signs, uint32_t n,
                             uint32_t block, bool inverse) {
    const float factor = 1.0f / sqrtf((float)block);
    for (uint32_t i = 0; i < n; i++)
        y[i] = (signs != NULL && !inverse ? x[i] * signs[i] : x[i]) * factor;
    for (uint32_t d = 1; d < block; d *= 2)
        for (uint32_t i = 0; i < n; i++)
            if ((i & d) == 0) {
                const float u = y[i], v = y[i + d];
                y[i] = u + v;
                y[i + d] = u - v;
            }
    for (uint32_t i = 0; signs != NULL && inverse && i < n; i++)
        y[i] = y[i] * signs[i];
}

static void test_rotate(const struct rsr_ops *ops, uint64_t *state) {
    static const uint32_t blocks[] = {1, 2, 4, 8, 16, 32, 64, 512, 1024, 4096};
    float x[8192 + 1], signs[8192], expected[8192], y[8192 + 1];
    for (size_t b = 0; b < 4 * (sizeof blocks / sizeof *blocks); b++) {
        const uint32_t block = blocks[b / 4], n = block < 64 ? 3 * block : 2 * block;
        const bool inverse = b % 2 != 0, has_signs = b / 2 % 2 != 0;
        const struct rsr_rotation rotation = {has_signs ? signs : NULL, n, block};
        fill(x, n + 1, state, 3.0f);
        for (uint32_t i = 0; i < n; i++)
            signs[i] = check_random(state) % 2 == 0 ? 1.0f : -1.0f;
        reference_rotate(expected, x, rotation.signs, n, block, inverse);
        y[n] = x[n];
        ops->rotate(y, x, &rotation, inverse);
        CHECK(same_bits(y, expected, n) && y[n] == x[n]);
        for (uint32_t i = 0; i < n && block <= 512; i++) {
            double sum = 0;
            for (uint32_t j = i / block * block, k = 0; k < block; j++, k++) {
                const double term = (double)x[j] * (has_signs && !inverse ? signs[j] : 1.0f);
                sum += __builtin_parity(i % block & k) ? -term : term;
            }
            sum *= has_signs && inverse ? signs[i] : 1.0f;
            CHECK(fabs(y[i] - sum / sqrt(block)) < 1e-5);
        }
        ops->rotate(x, x, &rotation, inverse);
        CHECK(same_bits(x, expected, n));
        ops->rotate(x, x, &rotation, !inverse);
    }
}

static void test_widening(const struct rsr_ops *ops) {
    static uint16_t all[65536];
    static float f16[65536], bf16[65536];
    for (uint32_t i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    struct rsr_matrix_data m = {.data = all, .dtype = RSR_DTYPE_F16, .rows = 1, .cols = 65536};
    ops->embed(f16, &m, 0);
    m.dtype = RSR_DTYPE_BF16;
    ops->embed(bf16, &m, 0);
    int wrong = 0;
    for (uint32_t i = 0; i < 65536; i++) {
        const float expected = (float)f16_value((uint16_t)i);
        wrong += isnan(expected) ? !isnan(f16[i]) : !same_bits(&f16[i], &expected, 1);
        uint32_t bits;
        memcpy(&bits, &bf16[i], sizeof(bits));
        wrong += bits != i << 16;
    }
    CHECK_INT(wrong, 0);
    float row[3];
    m = (struct rsr_matrix_data){.data = all, .dtype = RSR_DTYPE_BF16, .rows = 100, .cols = 3};
    ops->embed(row, &m, 7);
    uint32_t bits[3];
    memcpy(bits, row, sizeof(bits));
    CHECK_INT(bits[0] >> 16, 21);
    CHECK_INT(bits[2] >> 16, 23);
}

static void test_head(const struct rsr_ops *ops, uint64_t *state) {
    static float weights[9 * 513], x[513];
    for (int l = 0; l < N_LENGTHS; l++) {
        const uint32_t n = lengths[l];
        fill(weights, 9 * n, state, 1.0f);
        fill(x, n, state, 3.0f);
        const struct rsr_matrix_data m = {weights, RSR_DTYPE_F32, 9, n, 0};
        float y[9] = {0};
        ops->head(y, &m, 0, 9, x);
        for (uint32_t r = 0; r < 9; r++) {
            const float expected = dot(weights + r * n, x, n);
            CHECK(same_bits(&y[r], &expected, 1));
        }
        float some[9] = {0};
        ops->head(some, &m, 2, 7, x); /* other groups of four */
        CHECK(same_bits(some + 2, y + 2, 5));
        CHECK(some[1] == 0.0f && some[7] == 0.0f);
    }
}

static void test_head_some(const struct rsr_ops *ops, uint64_t *state) {
    static const enum rsr_dtype dtypes[] = {RSR_DTYPE_F32, RSR_DTYPE_BF16, RSR_DTYPE_F16};
    static const uint32_t rows[7] = {8, 3, 3, 0, 7, 1, 5};
    static float x[513], words[9 * 513];
    static uint16_t halves[9 * 513];
    for (int l = 0; l < N_LENGTHS; l++) {
        const uint32_t cols = lengths[l];
        fill(x, cols, state, 3.0f);
        fill(words, 9 * cols, state, 1.0f);
        for (uint32_t i = 0; i < 9 * cols; i++) /* finite in both formats */
            halves[i] = (uint16_t)(check_random(state) >> 48 & 0xbbff);
        for (size_t d = 0; d < sizeof(dtypes) / sizeof(dtypes[0]); d++) {
            const void *data = dtypes[d] == RSR_DTYPE_F32 ? (const void *)words : halves;
            const struct rsr_matrix_data m = {data, dtypes[d], 9, cols, 0};
            float all[9], y[8];
            ops->head(all, &m, 0, 9, x);
            for (uint32_t n = 0; n <= 7; n++) {
                for (uint32_t i = 0; i < 8; i++)
                    y[i] = 77.0f;
                ops->head_some(y, &m, rows, n, x);
                for (uint32_t i = 0; i < n; i++)
                    CHECK(same_bits(&y[i], &all[rows[i]], 1));
                for (uint32_t i = n; i < 8; i++)
                    CHECK(y[i] == 77.0f);
            }
        }
    }
}

/* ---- Attention ---- */

#define MAX_KEYS 150

struct attention_case {
    uint32_t head_dim, row_floats, n_keys;
    float q[256];
    float k[3][64 * 256], v[3][64 * 256];
};

static void reference_attention(const struct rsr_ops *ops, const struct attention_case *c,
                                float scale, float *result) {
    float max = 0.0f, sum = 0.0f, out[256] = {0};
    for (uint32_t page = 0; page * 64 < c->n_keys; page++) {
        const uint32_t n = c->n_keys - page * 64 < 64 ? c->n_keys - page * 64 : 64;
        float z[64], part[16] = {0}, page_out[256] = {0}, page_max = -INFINITY;
        for (uint32_t j = 0; j < n; j++) {
            z[j] = dot(c->q, c->k[page] + j * c->row_floats, c->head_dim) * scale;
            page_max = fmaxf(page_max, z[j]);
        }
        for (uint32_t j = 0; j < n; j++) {
            const float shifted = z[j] - page_max;
            ops->exp(&z[j], &shifted, 1);
            part[j % 16] = part[j % 16] + z[j];
            for (uint32_t d = 0; d < c->head_dim; d++)
                page_out[d] = fmaf(z[j], c->v[page][j * c->row_floats + d], page_out[d]);
        }
        const float page_sum = sum16(part);
        const float new_max = page == 0 ? page_max : fmaxf(max, page_max);
        const float shifts[2] = {max - new_max, page_max - new_max};
        float ab[2];
        ops->exp(ab, shifts, 2);
        volatile float s1 = sum * ab[0], s2 = page_sum * ab[1];
        sum = page == 0 ? page_sum : s1 + s2;
        for (uint32_t d = 0; d < c->head_dim; d++) {
            volatile float o1 = out[d] * ab[0], o2 = page_out[d] * ab[1];
            out[d] = page == 0 ? page_out[d] : o1 + o2;
        }
        max = new_max;
    }
    for (uint32_t d = 0; d < c->head_dim; d++)
        result[d] = out[d] / sum;
}

static void exact_attention(const struct attention_case *c, double *result) {
    double z[MAX_KEYS], max = -INFINITY, sum = 0.0;
    for (uint32_t j = 0; j < c->n_keys; j++) {
        z[j] = 0.0;
        for (uint32_t d = 0; d < c->head_dim; d++)
            z[j] += (double)c->q[d] * (double)c->k[j / 64][j % 64 * c->row_floats + d];
        z[j] /= sqrt((double)c->head_dim);
        max = fmax(max, z[j]);
    }
    memset(result, 0, c->head_dim * sizeof(*result));
    for (uint32_t j = 0; j < c->n_keys; j++) {
        const double p = exp(z[j] - max);
        sum += p;
        for (uint32_t d = 0; d < c->head_dim; d++)
            result[d] += p * (double)c->v[j / 64][j % 64 * c->row_floats + d];
    }
    for (uint32_t d = 0; d < c->head_dim; d++)
        result[d] /= sum;
}

static void test_attention(const struct rsr_ops *ops, uint64_t *state) {
    const uint32_t dims[] = {12, 64, 100, 128, 256}, keys[] = {1, 3, 16, 64, 65, 127, MAX_KEYS};
    struct attention_case *c = calloc(1, sizeof(*c));
    for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++) {
        for (size_t j = 0; j < sizeof(keys) / sizeof(keys[0]); j++) {
            memset(c, 0, sizeof(*c));
            c->head_dim = dims[i];
            c->row_floats = (dims[i] + 15) / 16 * 16;
            c->n_keys = keys[j];
            fill(c->q, c->head_dim, state, 3.0f);
            for (uint32_t key = 0; key < c->n_keys; key++) {
                fill(c->k[key / 64] + key % 64 * c->row_floats, c->head_dim, state, 2.0f);
                fill(c->v[key / 64] + key % 64 * c->row_floats, c->head_dim, state, 1.0f);
            }
            const float scale = 1.0f / sqrtf((float)c->head_dim);
            struct rsr_attend_state s = {0.0f, 0.0f};
            float out[256], result[256], expected[256];
            double exact[256];
            for (uint32_t page = 0; page * 64 < c->n_keys; page++) {
                const uint32_t left = c->n_keys - page * 64;
                const struct rsr_attend_head head = {c->q, out, &s};
                const struct rsr_attend_page view = {.keys = c->k[page],
                                                     .values = c->v[page],
                                                     .row_floats = c->row_floats,
                                                     .n_keys = left < 64 ? left : 64,
                                                     .far = page % 2 == 1};
                ops->kv[RSR_KV_F32].attend_page(&head, 1, &view, scale);
            }
            ops->attend_finish(result, out, &s, c->head_dim);
            reference_attention(ops, c, scale, expected);
            CHECK(same_bits(result, expected, c->head_dim));
            exact_attention(c, exact);
            for (uint32_t d = 0; d < c->head_dim; d++)
                CHECK(fabs((double)result[d] - exact[d]) < 3e-6);
        }
    }
    free(c);
}

#define MOST_HEADS 17u /* more than twice the heads that are taken at once */

/* Heads that attend to two pages together, where the first head sees only the second page, get the
 * bits that each head gets alone. */
static void test_heads_together(const struct rsr_ops *ops, uint64_t *state) {
    const uint32_t rows[] = {16, 48, 64, 80, 128, 208}, keys[] = {1, 2, 5, 31, 63, 64};
    static float q[MOST_HEADS][208], k[2][64 * 208], v[2][64 * 208], out[2][MOST_HEADS][208];
    for (uint32_t i = 0; i < 6 * 6 * MOST_HEADS; i++) {
        const uint32_t row_floats = rows[i % 6], n_heads = i / 36 + 1;
        struct rsr_attend_state states[2][MOST_HEADS] = {0};
        struct rsr_attend_head heads[2][MOST_HEADS];
        for (uint32_t h = 0; h < n_heads; h++) {
            fill(q[h], row_floats, state, 2.0f);
            for (uint32_t alone = 0; alone < 2; alone++)
                heads[alone][h] = (struct rsr_attend_head){q[h], out[alone][h], &states[alone][h]};
        }
        for (uint32_t p = 0; p < 2; p++) {
            fill(k[p], 64 * row_floats, state, 1.0f);
            fill(v[p], 64 * row_floats, state, 1.0f);
            struct rsr_attend_page page = {.keys = k[p],
                                           .values = v[p],
                                           .next_keys = p == 0 ? k[1] : NULL,
                                           .row_floats = row_floats,
                                           .n_keys = keys[i / 6 % 6],
                                           .far = i % 2 == 0};
            const uint32_t first = p == 0 && n_heads > 1; /* head 0 has no first page */
            ops->kv[RSR_KV_F32].attend_page(heads[0] + first, n_heads - first, &page, 0.125f);
            page.far = !page.far; /* the cache that rows are prefetched to changes no result */
            for (uint32_t h = first; h < n_heads; h++)
                ops->kv[RSR_KV_F32].attend_page(&heads[1][h], 1, &page, 0.125f);
        }
        for (uint32_t h = 0; h < n_heads; h++) {
            CHECK(same_bits(out[0][h], out[1][h], row_floats));
            CHECK(same_bits(&states[0][h].max, &states[1][h].max, 1));
            CHECK(same_bits(&states[0][h].sum, &states[1][h].sum, 1));
        }
    }
}

/* A page that was attended to alone and then merged gives the bits of a page that came after
 * others, also with NaN and with scores that fall far or rise. */
static void test_merge(const struct rsr_ops *ops, uint64_t *state) {
    enum { ROW = 48, N_PAGES = 5 };
    static float q[MOST_HEADS][ROW], k[64 * ROW], v[64 * ROW], out[3][MOST_HEADS][ROW];
    struct rsr_attend_state states[3][MOST_HEADS] = {0};
    struct rsr_attend_head heads[3][MOST_HEADS];
    for (uint32_t h = 0; h < MOST_HEADS; h++) {
        fill(q[h], ROW, state, 2.0f);
        for (uint32_t i = 0; i < 3; i++)
            heads[i][h] = (struct rsr_attend_head){q[h], out[i][h], &states[i][h]};
    }
    q[3][7] = NAN;
    for (uint32_t p = 0; p < N_PAGES; p++) {
        fill(k, 64 * ROW, state, p == 2 ? 60.0f : 1.0f);
        fill(v, 64 * ROW, state, 1.0f);
        const struct rsr_attend_page page = {
            .keys = k, .values = v, .row_floats = ROW, .n_keys = p == N_PAGES - 1 ? 9 : 64};
        ops->kv[RSR_KV_F32].attend_page(heads[0], MOST_HEADS, &page, 0.125f);
        const uint32_t to = p == 0 ? 1 : 2;
        memset(states[2], 0, sizeof(states[2]));
        ops->kv[RSR_KV_F32].attend_page(heads[to], MOST_HEADS, &page, 0.125f);
        if (p > 0)
            ops->attend_merge(heads[1], heads[2], MOST_HEADS, ROW);
        for (uint32_t h = 0; h < MOST_HEADS; h++) {
            CHECK(h == 3 ? isnan(out[1][h][0]) : same_bits(out[0][h], out[1][h], ROW));
            CHECK(h == 3 || same_bits(&states[0][h].max, &states[1][h].max, 1));
            CHECK(h == 3 || same_bits(&states[0][h].sum, &states[1][h].sum, 1));
        }
    }
}

static void test_level(const struct rsr_ops *ops) {
    uint64_t state = 20240607; /* the same numbers at every level */
    printf("level %s\n", ops->name);
    test_norm_and_quantize(ops, &state);
    test_not_finite(ops);
    test_exp(ops);
    test_activation(ops, &state);
    test_rope(ops, &state);
    test_rotate(ops, &state);
    test_widening(ops);
    test_head(ops, &state);
    test_head_some(ops, &state);
    test_attention(ops, &state);
    test_heads_together(ops, &state);
    test_merge(ops, &state);
}

/* The tests above compare exp and the RoPE table with double, not bit for bit, so this one compares
 * levels with each other. */
static void test_levels_agree(const struct rsr_ops *a, const struct rsr_ops *b) {
    uint64_t state = 7;
    float x[4096], ya[4096], yb[4096], inv_freq[32];
    fill(x, 4096, &state, 100.0f);
    a->exp(ya, x, 4096);
    b->exp(yb, x, 4096);
    CHECK(same_bits(ya, yb, 4096));
    for (int i = 0; i < 32; i++)
        inv_freq[i] = (float)(1.0 / pow(10000.0, i / 32.0));
    const struct rsr_rope rope = {inv_freq, 1.25f};
    for (uint32_t position = 0; position < 5000; position += 7) {
        a->rope_table(ya, &rope, 64, position);
        b->rope_table(yb, &rope, 64, position);
        CHECK(same_bits(ya, yb, 64));
    }
}

/* `test_ops all` tries exp of every float32, two minutes of one core. */
int main(int argc, char **argv) {
    const struct rsr_ops *generic = rsr_ops_get(RSR_OPS_GENERIC);
    for (int level = 0; level < RSR_OPS_LEVEL_COUNT; level++) {
        const struct rsr_ops *ops = ops_here((enum rsr_ops_level)level);
        if (ops == NULL)
            continue;
        test_level(ops);
        test_levels_agree(generic, ops);
    }
    if (argc > 1 && strcmp(argv[1], "all") == 0)
        test_exp_of_all(rsr_ops_best(rsr_cpu_features()));
    return CHECK_EXIT();
}
