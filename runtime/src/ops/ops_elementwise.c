/* ops_elementwise.c - residual addition, scaling, activation, gates, and exp over arrays. */
#include "ops_functions.h"

void RSR_OPS(add)(float *dst, const float *src, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        dst[i] = dst[i] + src[i];
}

void RSR_OPS(scale)(float *x, float factor, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        x[i] = x[i] * factor;
}

/* A NaN passes: (NaN < 0) is false. */
RSR_INLINE rsr_vf relu2(rsr_vf g) {
    rsr_vf r = rsr_select(g < (rsr_vf){0}, (rsr_vf){0}, g);
    return r * r;
}

RSR_INLINE rsr_vf sigmoid(rsr_vf g) {
    return 1.0f / (1.0f + rsr_exp(-g));
}

RSR_INLINE rsr_vf silu(rsr_vf g) {
    return g * sigmoid(g);
}

/* sqrt(8 / pi), twice the factor inside the tanh: (1 + tanh(z)) / 2 = 1 / (1 + exp(-2 z)). */
#define GELU_SLOPE 0x1.988454p+0f

RSR_INLINE rsr_vf gelu_tanh(rsr_vf g) {
    rsr_vf t = GELU_SLOPE * (g + (0.044715f * g) * (g * g));
    return g * sigmoid(t);
}

RSR_INLINE rsr_vf activate_part(rsr_vf g, enum rsr_activation activation) {
    if (activation == RSR_ACTIVATION_RELU2)
        return relu2(g);
    return activation == RSR_ACTIVATION_SILU ? silu(g) : gelu_tanh(g);
}

RSR_INLINE struct rsr_f16 activate(struct rsr_f16 gate, struct rsr_f16 up,
                                   enum rsr_activation activation) {
    RSR_EACH_PART(i)
    gate.part[i] = activate_part(gate.part[i], activation) * up.part[i];
    return gate;
}

RSR_INLINE void act_mul(float *dst, const float *gate, const float *up, uint32_t n,
                        enum rsr_activation activation) {
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16)
        rsr_store16(dst + i, activate(rsr_load16(gate + i), rsr_load16(up + i), activation));
    if (i < n)
        rsr_store_tail(
            dst + i,
            activate(rsr_load_tail(gate + i, n - i), rsr_load_tail(up + i, n - i), activation),
            n - i);
}

void RSR_OPS(act_mul)(float *dst, const float *gate, const float *up, uint32_t n,
                      enum rsr_activation activation) {
    switch (activation) {
    case RSR_ACTIVATION_RELU2:
        act_mul(dst, gate, up, n, RSR_ACTIVATION_RELU2);
        break;
    case RSR_ACTIVATION_SILU:
        act_mul(dst, gate, up, n, RSR_ACTIVATION_SILU);
        break;
    case RSR_ACTIVATION_GELU_TANH:
        act_mul(dst, gate, up, n, RSR_ACTIVATION_GELU_TANH);
        break;
    case RSR_ACTIVATION_COUNT:
        break;
    }
}

RSR_INLINE struct rsr_f16 gate16(struct rsr_f16 x, struct rsr_f16 gate) {
    RSR_EACH_PART(i) x.part[i] = x.part[i] * sigmoid(gate.part[i]);
    return x;
}

void RSR_OPS(gate)(float *dst, const float *x, const float *gate, uint32_t n) {
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16)
        rsr_store16(dst + i, gate16(rsr_load16(x + i), rsr_load16(gate + i)));
    if (i < n)
        rsr_store_tail(dst + i, gate16(rsr_load_tail(x + i, n - i), rsr_load_tail(gate + i, n - i)),
                       n - i);
}

RSR_INLINE struct rsr_f16 convolve16(const float *const *rows, const float *taps, size_t tap_floats,
                                     uint32_t i, uint32_t n) {
    struct rsr_f16 sum = rsr_zero16();
    for (uint32_t t = 0; t < RSR_DELTA_TAPS; t++)
        sum = n == 16 ? rsr_add_product(sum, rsr_load16(rows[t] + i),
                                        rsr_load16(taps + t * tap_floats + i))
                      : rsr_add_product(sum, rsr_load_tail(rows[t] + i, n),
                                        rsr_load_tail(taps + t * tap_floats + i, n));
    RSR_EACH_PART(p) sum.part[p] = silu(sum.part[p]);
    return sum;
}

void RSR_OPS(convolve)(float *dst, const float *const *rows, const float *taps, size_t tap_floats,
                       uint32_t n) {
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16)
        rsr_store16(dst + i, convolve16(rows, taps, tap_floats, i, 16));
    if (i < n)
        rsr_store_tail(dst + i, convolve16(rows, taps, tap_floats, i, n - i), n - i);
}

RSR_INLINE struct rsr_f16 exp16(struct rsr_f16 x) {
    RSR_EACH_PART(i)
    x.part[i] = rsr_exp(x.part[i]);
    return x;
}

void RSR_OPS(exp)(float *y, const float *x, uint32_t n) {
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16)
        rsr_store16(y + i, exp16(rsr_load16(x + i)));
    if (i < n)
        rsr_store_tail(y + i, exp16(rsr_load_tail(x + i, n - i)), n - i);
}
