/* louver_error.c - how much of the softmax was left out, and how far the output may be from attention over
 * all keys. Everything is rounded towards the larger error.
 *
 * With o the output over the keys attended and p the part of the softmax that the others have, attention
 * over all is (1 - p) o + p w, w a mean of the values left out: it is off by p |o - w| <= p (|o| + |w|).
 */
#include <math.h>

#include "louver.h"
#include "sketch/sketch_round.h"

/* Sums of up to 2^31 non-negative terms are off by less than 2^-21 relatively. */
#define SUM_UP (1.0 + 0x1p-20)
#define SUM_DOWN (1.0 - 0x1p-20)

/* exp of ops.h is within 2 ulp: 2^-22 relatively where the result is normal. */
void louver_exp_upper(const struct rsr_ops *ops, float *y, const float *x, uint32_t n) {
    ops->exp(y, x, n);
    for (uint32_t i = 0; i < n; i++)
        y[i] = y[i] * (1.0f + 0x1p-20f) + 0x1p-126f;
}

void louver_exp_lower(const struct rsr_ops *ops, float *y, const float *x, uint32_t n) {
    ops->exp(y, x, n);
    for (uint32_t i = 0; i < n; i++)
        y[i] = y[i] < 0x1p-100f ? 0.0f : y[i] * (1.0f - 0x1p-20f);
}

float louver_exponent_up(const rsr_louver *index, double product, double reference) {
    const double scaled = rsr_round_up((double)index->scale * product);
    return rsr_float_up(rsr_round_up(scaled - reference));
}

float louver_exponent_down(const rsr_louver *index, double product, double reference) {
    const double scaled = rsr_round_down((double)index->scale * product);
    return rsr_float_down(rsr_round_down(scaled - reference));
}

/* The largest |v| of keys that the head left out (taken over whole sealed pages). */
static double largest_left_out(const rsr_louver *index, const struct louver_head_state *state) {
    const uint32_t n_sealed = louver_sealed_pages(index);
    double largest = 0.0;
    uint32_t at = 0; /* in the hits */
    for (uint32_t p = 0; p < n_sealed; p++) {
        const uint32_t first = at;
        while (at < state->n_hits && state->hits[at].key / RSR_PAGE_TOKENS == p)
            at++;
        if (at - first < RSR_PAGE_TOKENS)
            largest = fmax(largest, index->pages[p]->value_norm);
    }
    for (uint32_t key = n_sealed * RSR_PAGE_TOKENS; key < index->n_keys; key++) {
        const size_t row = key % RSR_PAGE_TOKENS * (size_t)index->row_floats;
        if (at < state->n_hits && state->hits[at].key == key)
            at++;
        else
            largest = fmax(largest,
                           louver_row_norm(index->pages[n_sealed]->values + row, index->head_dim));
    }
    return largest;
}

static double largest_attended(const rsr_louver *index, const struct louver_head_state *state) {
    double largest = 0.0;
    for (uint32_t i = 0; i < state->n_hits; i++) {
        const uint32_t key = state->hits[i].key;
        const float *row = index->pages[key / RSR_PAGE_TOKENS]->values +
                           key % RSR_PAGE_TOKENS * (size_t)index->row_floats;
        largest = fmax(largest, louver_row_norm(row, index->head_dim));
    }
    return largest;
}

/* At most the sum of exp(scale q . k - reference) over the hits. */
static double attended_mass(const rsr_louver *index, const struct louver_head_state *state,
                            double reference) {
    double sum = 0.0;
    for (uint32_t i = 0; i < state->n_hits; i += RSR_PAGE_TOKENS) {
        float x[RSR_PAGE_TOKENS], y[RSR_PAGE_TOKENS];
        uint32_t n = 0;
        for (; n < RSR_PAGE_TOKENS && i + n < state->n_hits; n++)
            x[n] = louver_exponent_down(index, state->hits[i + n].lower, reference);
        louver_exp_lower(index->ops, y, x, n);
        for (uint32_t j = 0; j < n; j++)
            sum += (double)y[j];
    }
    return sum * SUM_DOWN;
}

/* An upper bound of the part of the softmax that was left out. */
static double left_out_mass(const struct louver_pass *pass, const struct louver_head_state *state) {
    const rsr_louver *index = pass->index;
    const uint32_t n_left_out = index->n_keys - state->n_hits;
    double reference = state->reference, skipped = state->skipped;
    if (n_left_out == 0 || state->n_hits == 0)
        return n_left_out == 0 ? 0.0 : 1.0;
    if (pass->threshold.kind != RSR_LOUVER_MASS) { /* each has a product below the threshold */
        float x, y;
        reference = -INFINITY;
        for (uint32_t i = 0; i < state->n_hits; i++)
            reference = fmax(reference, (double)index->scale * state->hits[i].upper);
        x = louver_exponent_up(index, state->threshold, reference);
        louver_exp_upper(index->ops, &y, &x, 1);
        skipped = n_left_out * (double)y;
    }
    skipped *= SUM_UP;
    const double mass = skipped / (skipped + attended_mass(index, state, reference)) * SUM_UP;
    return mass < 1.0 ? mass : 1.0; /* NaN of infinities, too */
}

void louver_certify(const struct louver_pass *pass, const struct louver_head_state *state,
                    const float *out, rsr_louver_head *head) {
    const rsr_louver *index = pass->index;
    const double mass = left_out_mass(pass, state);
    const double size =
        out != NULL ? louver_row_norm(out, index->head_dim) : largest_attended(index, state);
    *head = (rsr_louver_head){
        .n_attended = state->n_hits,
        .threshold = state->n_hits == index->n_keys ? -INFINITY : state->threshold,
        .mass = mass,
        .certified_error =
            mass > 0.0 ? mass * (largest_left_out(index, state) + size) * SUM_UP : 0.0,
    };
    if (isnan(head->certified_error)) /* an output that overflowed */
        head->certified_error = INFINITY;
}
