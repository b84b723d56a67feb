/* The operations of the gated delta rule at every level the host has, bit for bit against the order
 * that ops.h documents, and against double precision. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "ops_here.h"

static uint64_t state = 1;

static float random_float(float range) {
    return ((float)(check_random(&state) >> 40) / 8388608.0f - 1.0f) * range;
}

static void fill(float *x, uint32_t n, float range) {
    for (uint32_t i = 0; i < n; i++)
        x[i] = random_float(range);
}

static bool same_bits(const float *a, const float *b, size_t n) {
    return memcmp(a, b, n * sizeof(float)) == 0;
}

static float exp_of(const struct rsr_ops *ops, float x) {
    float y;
    ops->exp(&y, &x, 1);
    return y;
}

static float sigmoid(const struct rsr_ops *ops, float x) {
    return 1.0f / (1.0f + exp_of(ops, -x));
}

/* ---- Gates, convolution, unit length ---- */

#define MOST 97u
static const uint32_t lengths[] = {1, 3, 15, 16, 17, 64, 65, MOST};

static void test_gate(const struct rsr_ops *ops) {
    float x[MOST], g[MOST], y[MOST + 1], expected[MOST];
    for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++) {
        const uint32_t n = lengths[l];
        fill(x, n, 3.0f);
        fill(g, n, 30.0f);
        y[n] = 7.0f;
        for (uint32_t i = 0; i < n; i++)
            expected[i] = x[i] * sigmoid(ops, g[i]);
        ops->gate(y, x, g, n);
        CHECK(same_bits(y, expected, n) && y[n] == 7.0f);
    }
}

static void test_convolve(const struct rsr_ops *ops) {
    float rows[RSR_DELTA_TAPS][MOST], taps[RSR_DELTA_TAPS][MOST + 5], y[MOST + 1];
    const float *const at[RSR_DELTA_TAPS] = {rows[0], rows[1], rows[2], rows[3]};
    for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++) {
        const uint32_t n = lengths[l];
        for (uint32_t t = 0; t < RSR_DELTA_TAPS; t++) {
            fill(rows[t], n, 4.0f);
            fill(taps[t], n, 1.0f);
        }
        y[n] = 7.0f;
        ops->convolve(y, at, taps[0], MOST + 5, n);
        for (uint32_t i = 0; i < n; i++) {
            float c = 0.0f;
            for (uint32_t t = 0; t < RSR_DELTA_TAPS; t++)
                c = fmaf(rows[t][i], taps[t][i], c);
            const float expected = c * sigmoid(ops, c);
            CHECK(same_bits(&y[i], &expected, 1));
        }
        CHECK(y[n] == 7.0f);
    }
}

static void test_unit(const struct rsr_ops *ops) {
    float x[MOST], y[MOST], weight[MOST], normed[MOST];
    for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++) {
        const uint32_t n = lengths[l];
        fill(x, n, 2.0f);
        double squares = 0.0;
        for (uint32_t i = 0; i < n; i++) {
            squares += (double)x[i] * x[i];
            weight[i] = 1.0f;
        }
        ops->unit(y, x, 0.25f, n);
        for (uint32_t i = 0; i < n; i++)
            CHECK(fabs(y[i] - 0.25 * x[i] / sqrt(squares + 1e-6)) < 1e-6 * 0.25);
        /* A norm sums in the same order: with n a power of 2 the two differ by a shift. */
        if (n == 64) {
            CHECK(ops->norm(normed, x, weight, RSR_UNIT_EPS / 64.0f, n));
            ops->unit(y, x, 8.0f, n);
            CHECK(same_bits(y, normed, n));
        }
    }
    memset(x, 0, sizeof(x));
    ops->unit(y, x, 1.0f, 16);
    CHECK(y[0] == 0.0f && y[15] == 0.0f);
}

static void test_gates(const struct rsr_ops *ops, const struct rsr_ops *generic) {
    for (int i = 0; i < 20000; i++) {
        const float a = random_float(i % 2 == 0 ? 4.0f : 40.0f), b = random_float(20.0f);
        const float rate = 8.0f + random_float(8.0f), shift = random_float(6.0f);
        float got[2], same[2];
        ops->delta_gates(&got[0], &got[1], a, b, rate, shift);
        generic->delta_gates(&same[0], &same[1], a, b, rate, shift);
        CHECK(same_bits(got, same, 2));
        const float x = a + shift;
        const double exact = -(double)rate * (x > 20.0f ? (double)x : log1p(exp((double)x)));
        /* exp's argument is within 3e-7 of itself. */
        CHECK(fabs(got[0] - exp(exact)) <= (3e-7 - 4e-7 * exact) * exp(exact) + 1e-45);
        CHECK(fabs(got[1] - 1.0 / (1.0 + exp(-(double)b))) < 2e-7);
    }
    float decay, beta;
    ops->delta_gates(&decay, &beta, NAN, 0.0f, 1.0f, 0.0f);
    CHECK(isnan(decay) && beta == 0.5f);
    ops->delta_gates(&decay, &beta, -INFINITY, INFINITY, 1.0f, 0.0f);
    CHECK(decay == 1.0f && beta == 1.0f);
    ops->delta_gates(&decay, &beta, INFINITY, -INFINITY, 1.0f, 0.0f);
    CHECK(decay == 0.0f && beta == 0.0f);
}

/* ---- Recurrence ---- */

static void reference_delta(float *s, const struct rsr_delta_tokens *tokens, float *out) {
    const uint32_t cols = tokens->value_cols, key_dim = tokens->key_dim;
    for (uint32_t t = 0; t < tokens->n; t++)
        for (uint32_t j = 0; j < cols; j++) {
            const float *q = tokens->q + t * key_dim, *k = tokens->k + t * key_dim;
            const float decay = tokens->decay[t];
            float m = 0.0f, o = 0.0f;
            for (uint32_t i = 0; i < key_dim; i++)
                m = fmaf(k[i], s[i * cols + j], m);
            const float d = (tokens->v[t * cols + j] - decay * m) * tokens->beta[t];
            for (uint32_t i = 0; i < key_dim; i++) {
                float *entry = &s[i * cols + j];
                *entry = fmaf(k[i], d, *entry * decay);
                o = fmaf(q[i], *entry, o);
            }
            out[t * cols + j] = o;
        }
}

#define MOST_KEYS 33u
#define MOST_COLS 144u
#define MOST_TOKENS 9u

static void test_delta(const struct rsr_ops *ops) {
    static const uint32_t keys[] = {1, 8, 24, MOST_KEYS}, cols[] = {16, 32, 48, 64, 80, MOST_COLS};
    static float from[MOST_KEYS * MOST_COLS], kept[MOST_KEYS * MOST_COLS];
    static float to[MOST_KEYS * MOST_COLS], expected[MOST_KEYS * MOST_COLS];
    static float q[MOST_TOKENS * MOST_KEYS], k[MOST_TOKENS * MOST_KEYS];
    static float v[MOST_TOKENS * MOST_COLS], out[MOST_TOKENS * MOST_COLS];
    static float expected_out[MOST_TOKENS * MOST_COLS];
    float decay[MOST_TOKENS], beta[MOST_TOKENS];
    for (size_t a = 0; a < sizeof(keys) / sizeof(keys[0]); a++)
        for (size_t c = 0; c < sizeof(cols) / sizeof(cols[0]); c++)
            for (uint32_t n = 1; n <= MOST_TOKENS; n += 4) {
                const uint32_t size = keys[a] * cols[c];
                fill(from, size, 1.0f);
                fill(q, n * keys[a], 1.0f);
                fill(k, n * keys[a], 1.0f);
                fill(v, n * cols[c], 2.0f);
                for (uint32_t t = 0; t < n; t++) {
                    decay[t] = 0.5f + random_float(0.5f);
                    beta[t] = 0.5f + random_float(0.5f);
                }
                const struct rsr_delta_tokens tokens = {n, keys[a], cols[c], q,   k,
                                                        v, out,     decay,   beta};
                memcpy(expected, from, size * sizeof(float));
                memcpy(kept, from, size * sizeof(float));
                reference_delta(expected, &tokens, expected_out);
                ops->delta(to, from, &tokens);
                CHECK(same_bits(to, expected, size) && same_bits(from, kept, size));
                CHECK(same_bits(out, expected_out, n * cols[c]));
                memset(out, 0, sizeof(out));
                ops->delta(from, from, &tokens); /* in place */
                CHECK(same_bits(from, expected, size));
                CHECK(same_bits(out, expected_out, n * cols[c]));
            }
}

int main(void) {
    for (int level = 0; level < RSR_OPS_LEVEL_COUNT; level++) {
        const struct rsr_ops *ops = ops_here((enum rsr_ops_level)level);
        if (ops == NULL)
            continue;
        test_gate(ops);
        test_convolve(ops);
        test_unit(ops);
        test_gates(ops, rsr_ops_get(RSR_OPS_GENERIC));
        test_delta(ops);
    }
    return CHECK_EXIT();
}
