/* louver_flat.c - whether an index would read nearly all keys of a head, by the spread of its
 * logits.
 *
 * If logits are normal with a standard deviation of s, their softmax is a normal distribution
 * around s^2. So keys that are more than z below the mean, in standard deviations, have the part
 * Q(z + s) of the softmax and are the part Q(z) of all keys, where Q is the upper tail. Even an
 * oracle reads more than 1 - Q(z) of the keys if it may leave out less than Q(z + s) of the
 * softmax. An index reads more than an oracle, and its sketches besides. The rule error:EPS reads
 * about what mass reads with half of EPS, so for it the same comparison leaves out fewer heads than
 * it might.
 *
 * The decision changes which keys are attended to, so it must be the same on every machine: the
 * only function is the exp of ops.h.
 */
#include "louver.h"

/* Q(z) is 5 %. */
#define LEFT_OUT_Z 1.645

/* Abramowitz and Stegun, 26.2.17: Q(x) of x >= 0, with an error of at most 7.5e-8. */
static double upper_tail(const struct rsr_ops *ops, double x) {
    static const double factors[] = {1.330274429, -1.821255978, 1.781477937, -0.356563782,
                                     0.319381530};
    const float exponent = (float)(-0.5 * x * x);
    const double t = 1.0 / (1.0 + 0.2316419 * x);
    double sum = 0.0;
    float density;
    ops->exp(&density, &exponent, 1);
    for (size_t i = 0; i < sizeof(factors) / sizeof(factors[0]); i++)
        sum = (sum + factors[i]) * t;
    return 0.3989422804 * (double)density * sum;
}

bool louver_is_flat(const struct louver_setup *setup, const rsr_louver_threshold *threshold,
                    float spread) {
    return louver_has_budget(threshold->kind) &&
           upper_tail(setup->ops, LEFT_OUT_Z + (double)spread) > threshold->value;
}
