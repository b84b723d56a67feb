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

#define MOST_KEYS 33u
#define MOST_COLS 144u
#define MOST_TOKENS 9u

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

/* The nearer one of the bfloat16 numbers around x, which is finite; the even one of two equally
 * near. */
static float rounded(float x, enum rsr_state_type type) {
    if (type == RSR_STATE_F32)
        return x;
    const uint32_t inner = bits_of(x) & 0xffff0000u, outer = inner + 0x10000u;
    const double to_inner = fabs((double)x - (double)float_of(inner));
    const double to_outer = fabs((double)float_of(outer) - (double)x);
    const bool takes_inner = to_inner != to_outer ? to_inner < to_outer : (inner >> 16) % 2 == 0;
    return float_of(takes_inner ? inner : outer);
}

/* A state of floats, and the same numbers as the type stores them. */
static void pack(void *stored, const float *x, uint32_t n, enum rsr_state_type type) {
    const uint32_t bytes = rsr_state_element_bytes(type);
    for (uint32_t i = 0; i < n; i++) /* little-endian: bfloat16 is the high half */
        memcpy((char *)stored + i * bytes, (const char *)&x[i] + 4 - bytes, bytes);
}

static bool holds(const void *stored, const float *x, uint32_t n, enum rsr_state_type type) {
    static char expected[MOST_KEYS * MOST_COLS * 4];
    pack(expected, x, n, type);
    return memcmp(stored, expected, n * rsr_state_element_bytes(type)) == 0;
}

static void reference_delta(float *s, const struct rsr_delta_tokens *tokens, float *out,
                            enum rsr_state_type type) {
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
                *entry = rounded(*entry, type);
            }
            out[t * cols + j] = o;
        }
}

static void test_delta(const struct rsr_ops *ops, enum rsr_state_type type) {
    static const uint32_t keys[] = {1, 8, 24, MOST_KEYS}, cols[] = {16, 32, 48, 64, 80, MOST_COLS};
    static float first[MOST_KEYS * MOST_COLS], expected[MOST_KEYS * MOST_COLS];
    static float from[MOST_KEYS * MOST_COLS], to[MOST_KEYS * MOST_COLS]; /* or bfloat16 */
    static float q[MOST_TOKENS * MOST_KEYS], k[MOST_TOKENS * MOST_KEYS];
    static float v[MOST_TOKENS * MOST_COLS], out[MOST_TOKENS * MOST_COLS];
    static float expected_out[MOST_TOKENS * MOST_COLS];
    float decay[MOST_TOKENS], beta[MOST_TOKENS];
    for (size_t a = 0; a < sizeof(keys) / sizeof(keys[0]); a++)
        for (size_t c = 0; c < sizeof(cols) / sizeof(cols[0]); c++)
            for (uint32_t n = 1; n <= MOST_TOKENS; n += 4) {
                const uint32_t size = keys[a] * cols[c];
                fill(first, size, 1.0f);
                for (uint32_t i = 0; i < size; i++)
                    first[i] = rounded(first[i], type);
                pack(from, first, size, type);
                fill(q, n * keys[a], 1.0f);
                fill(k, n * keys[a], 1.0f);
                fill(v, n * cols[c], 2.0f);
                for (uint32_t t = 0; t < n; t++) {
                    decay[t] = 0.5f + random_float(0.5f);
                    beta[t] = 0.5f + random_float(0.5f);
                }
                const struct rsr_delta_tokens tokens = {n, keys[a], cols[c], q,   k,
                                                        v, out,     decay,   beta};
                memcpy(expected, first, size * sizeof(float));
                reference_delta(expected, &tokens, expected_out, type);
                ops->delta[type](to, from, &tokens);
                CHECK(holds(to, expected, size, type) && holds(from, first, size, type));
                CHECK(same_bits(out, expected_out, n * cols[c]));
                memset(out, 0, sizeof(out));
                ops->delta[type](from, from, &tokens); /* in place */
                CHECK(holds(from, expected, size, type));
                CHECK(same_bits(out, expected_out, n * cols[c]));
            }
}

/* States that a token leaves as they are, but for rounding: ties, denormals, signed zeros, and what
 * is beyond bfloat16's largest number. */
static void test_ties(const struct rsr_ops *ops) {
    static const uint32_t states[16][2] = {
        {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81}, {0x3f817fff, 0x3f81},
        {0xbf808000, 0xbf80}, {0xbf818000, 0xbf82}, {0x00008000, 0x0000}, {0x00018000, 0x0002},
        {0x80018000, 0x8002}, {0x80000000, 0x8000}, {0x00000000, 0x0000}, {0x007fffff, 0x0080},
        {0x7f7f7fff, 0x7f7f}, {0x7f7fffff, 0x7f80}, {0xff7f8000, 0xff80}, {0x3fffffff, 0x4000}};
    const float zero = 0.0f, one = 1.0f;
    float v[16], out[16];
    uint16_t stored[16] = {0};
    for (uint32_t i = 0; i < 16; i++)
        v[i] = float_of(states[i][0]);
    /* S' = 1 * v + 0 * 0 */
    const struct rsr_delta_tokens tokens = {1, 1, 16, &one, &one, v, out, &zero, &one};
    ops->delta[RSR_STATE_BF16](stored, stored, &tokens);
    for (uint32_t i = 0; i < 16; i++)
        CHECK_INT(stored[i], states[i][1] == 0x8000 ? 0 : states[i][1]); /* v + 0 is not -0 */
    CHECK(same_bits(&out[0], &v[0], 1) && same_bits(&out[13], &v[13], 1));
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
        test_delta(ops, RSR_STATE_F32);
        test_delta(ops, RSR_STATE_BF16);
        test_ties(ops);
    }
    return CHECK_EXIT();
}
