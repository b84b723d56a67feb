/* ops_delta.c - the gated delta rule of one value head: its gates and its recurrence. Order: ops.h.
 *
 * The columns of a state do not depend on each other, so lanes are columns and no sum crosses
 * lanes. All tokens pass over a few columns before the next ones are read: these stay in the L1
 * cache, and a batch reads and writes the state once. */
#include "ops_functions.h"

/* ---- Gates ---- */

/* ln(u), u of 1 to 2^30: u = 2^k m with m of sqrt(1/2) to sqrt(2), and ln(m) = 2 atanh(s), s =
 * (m - 1) / (m + 1), |s| < 0.172. The first term left out is below 1e-12 of the sum. */
static double natural_log(double u) {
    uint64_t bits;
    memcpy(&bits, &u, sizeof(bits));
    int64_t k = (int64_t)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof(m));
    if (m > 0x1.6a09e667f3bcdp+0) {
        m = m * 0.5;
        k++;
    }
    const double s = (m - 1.0) / (m + 1.0), z = s * s;
    double p = 1.0 / 13.0;
    p = 1.0 / 11.0 + z * p;
    p = 1.0 / 9.0 + z * p;
    p = 1.0 / 7.0 + z * p;
    p = 1.0 / 5.0 + z * p;
    p = 1.0 / 3.0 + z * p;
    return (double)k * 0x1.62e42fefa39efp-1 + 2.0 * (s + s * (z * p));
}

static float exp_of(float x) {
    return rsr_exp(rsr_splat(x))[0];
}

static float softplus(float x) {
    if (!(x <= 20.0f)) /* or NaN */
        return x;
    const float e = exp_of(x);
    return e < 0x1p-26f ? e : (float)natural_log(1.0 + (double)e);
}

void RSR_OPS(delta_gates)(float *decay, float *beta, float a, float b, float rate, float shift) {
    *decay = exp_of(-(rate * softplus(a + shift)));
    *beta = 1.0f / (1.0f + exp_of(-b));
}

/* ---- Recurrence ---- */

/* As many columns at once as keep two vectors for each in registers: 64, 32 or 16. */
#define GROUPS (RSR_NATIVE / 4)

RSR_INLINE struct rsr_f16 load_state(const char *state, enum rsr_state_type type, size_t element) {
    state += element * rsr_state_element_bytes(type);
    return type == RSR_STATE_F32 ? rsr_load16((const float *)(const void *)state)
                                 : rsr_load16_bf16(state);
}

/* A NaN may get lost in bfloat16; it has made this token's output NaN, which the walk reports. */
RSR_INLINE void store_state(char *state, enum rsr_state_type type, size_t element,
                            struct rsr_f16 x) {
    state += element * rsr_state_element_bytes(type);
    if (type == RSR_STATE_F32)
        rsr_store16((float *)(void *)state, x);
    else
        rsr_store16_bf16(state, x);
}

/* One token, 16 * groups columns; `type` and `groups` are constants at every call. */
RSR_INLINE void delta_columns(char *to, const char *from, const struct rsr_delta_tokens *tokens,
                              uint32_t t, uint32_t column, enum rsr_state_type type, int groups) {
    const float *q = tokens->q + (size_t)t * tokens->key_dim;
    const float *k = tokens->k + (size_t)t * tokens->key_dim;
    const size_t cols = tokens->value_cols, at = t * cols + column;
    const rsr_vf decay = rsr_splat(tokens->decay[t]), beta = rsr_splat(tokens->beta[t]);
    struct rsr_f16 delta[GROUPS], out[GROUPS];
    for (int g = 0; g < groups; g++)
        delta[g] = out[g] = rsr_zero16();
    for (uint32_t i = 0; i < tokens->key_dim; i++)
        for (int g = 0; g < groups; g++)
            delta[g] = rsr_add_scaled(delta[g], k[i],
                                      load_state(from, type, i * cols + column + 16 * (size_t)g));
    for (int g = 0; g < groups; g++) {
        const struct rsr_f16 v = rsr_load16(tokens->v + at + 16 * (size_t)g);
        RSR_EACH_PART(p)
        delta[g].part[p] = (v.part[p] - decay * delta[g].part[p]) * beta;
    }
    for (uint32_t i = 0; i < tokens->key_dim; i++) {
        for (int g = 0; g < groups; g++) {
            const size_t element = i * cols + column + 16 * (size_t)g;
            struct rsr_f16 s = load_state(from, type, element);
            RSR_EACH_PART(p) s.part[p] = s.part[p] * decay;
            s = rsr_add_scaled(s, k[i], delta[g]);
            store_state(to, type, element, s);
            out[g] = rsr_add_scaled(out[g], q[i], s);
        }
    }
    for (int g = 0; g < groups; g++)
        rsr_store16(tokens->out + at + 16 * (size_t)g, out[g]);
}

RSR_INLINE void delta(char *to, const char *from, const struct rsr_delta_tokens *tokens,
                      enum rsr_state_type type) {
    uint32_t column = 0;
    for (; column + 16 * GROUPS <= tokens->value_cols; column += 16 * GROUPS)
        for (uint32_t t = 0; t < tokens->n; t++)
            delta_columns(to, t == 0 ? from : to, tokens, t, column, type, GROUPS);
    for (; column < tokens->value_cols; column += 16)
        for (uint32_t t = 0; t < tokens->n; t++)
            delta_columns(to, t == 0 ? from : to, tokens, t, column, type, 1);
}

void RSR_OPS(delta_f32)(void *to, const void *from, const struct rsr_delta_tokens *tokens) {
    delta(to, from, tokens, RSR_STATE_F32);
}

void RSR_OPS(delta_bf16)(void *to, const void *from, const struct rsr_delta_tokens *tokens) {
    delta(to, from, tokens, RSR_STATE_BF16);
}
