/* louver_error.c - bounds the part of the softmax that was left out, and the output's difference
 * from attention over all keys. Everything is rounded towards the larger error.
 *
 * Let o be the output over the keys attended to, p the part of the softmax that the other keys
 * have, and w the weighted mean of their values. Attention over all keys is (1 - p) o + p w, so o
 * is off by p |o - w| <= p (|o| + |w|).
 */
#include <float.h>
#include <math.h>

#include "louver.h"
#include "sketch/sketch_round.h"

/* A test compiles this file without a term of the storage error, and must find errors above the
 * certified ones. */
#ifndef RSR_LOUVER_OMIT
#define RSR_LOUVER_OMIT 0
#endif

/* The relative error of a sum of up to 2^31 non-negative terms is less than 2^-21. */
#define SUM_UP (1.0 + 0x1p-20)

/* Lower bounds of exp are capped at exp of this: float32 ends at exp(88.7). */
#define LARGEST_EXPONENT 80.0f

/* exp of ops.h is within 2 ulp, a relative error of 2^-22 if the result is normal. */
void louver_exp_upper(const struct rsr_ops *ops, float *y, const float *x, uint32_t n) {
    ops->exp(y, x, n);
    for (uint32_t i = 0; i < n; i++)
        y[i] = y[i] * (1.0f + 0x1p-20f) + 0x1p-126f;
}

/* x = z - reference rounds by |x| 2^-24 at most; below -88 its exp is taken as 0, so that this and
 * exp's error stay below 2^-17 together. */
double louver_exp_sum_lower(const struct rsr_ops *ops, const float *z, uint32_t n, float reference,
                            double error) {
    float x[RSR_PAGE_TOKENS] = {0.0f}, y[RSR_PAGE_TOKENS];
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        x[i] = z[i] - reference > LARGEST_EXPONENT ? LARGEST_EXPONENT : z[i] - reference;
    ops->exp(y, x, n);
    for (uint32_t i = 0; i < n; i++)
        sum += y[i] < 0x1p-100f ? 0.0 : (double)y[i];
    return error < 1.0 ? sum * (1.0 - 0x1p-16) * (1.0 - error) : 0.0;
}

float louver_exponent_up(const struct louver_setup *setup, double product, double reference) {
    const double scaled = rsr_round_up((double)setup->scale * product);
    return rsr_float_up(rsr_round_up(scaled - reference));
}

/* The largest |v| of keys that the head left out (taken over whole sealed pages); NaN if one is. */
static double largest_left_out(const struct louver_pass *pass,
                               const struct louver_head_state *state) {
    const struct louver_setup *setup = pass->setup;
    float buffer[LOUVER_MAX_DIM];
    double largest = 0.0;
    for (uint32_t p = 0; p < pass->n_pages; p++) {
        const struct louver_page *page = &pass->pages[p];
        uint64_t left_out = louver_all_keys(page->n_keys) & ~state->masks[p];
        if (left_out != 0 && page->sidecar != NULL) {
            largest = louver_larger(pass->norms[p].value, largest);
            continue;
        }
        for (; left_out != 0; left_out &= left_out - 1) {
            const float *row =
                louver_row(setup, page->rows.values, (uint32_t)__builtin_ctzll(left_out), buffer);
            largest = louver_larger(louver_row_norm(row, setup->head_dim), largest);
        }
    }
    return largest;
}

/* The largest |k| of pages that the head attends to; NaN if one is. */
static double largest_attended(const struct louver_pass *pass,
                               const struct louver_head_state *state) {
    double largest = 0.0;
    for (uint32_t p = 0; p < pass->n_pages; p++)
        if (state->masks[p] != 0)
            largest = louver_larger(pass->norms[p].key, largest);
    return largest;
}

static double merge_error(const struct louver_pass *pass) {
    return (pass->n_pages + 4.0) * 0x1p-16;
}

/* A lower bound of the sum of exp(scale q.k - state.max) over the keys attended to, in pages whose
 * longest key is key_norm. The sum of attention has scores that are off by at most `error`; each
 * merge of a page rounds exp of a difference (2^-17, as above) and a sum. */
static double attended_mass(const struct louver_pass *pass, const struct louver_head_state *state,
                            double key_norm) {
    const double error = louver_score_error(pass->setup, state->sketch.norm, key_norm);
    const double merges = merge_error(pass);
    if (!(error < 1.0) || !(merges < 1.0))
        return 0.0;
    return (double)state->state.sum * (1.0 - merges) * (1.0 - error);
}

/* The bound of attended_mass, for another reference. */
static double attended_mass_from(const struct louver_pass *pass,
                                 const struct louver_head_state *state, double key_norm,
                                 float reference) {
    const double factor =
        louver_exp_sum_lower(pass->setup->ops, &state->state.max, 1, reference, 0.0);
    return factor * attended_mass(pass, state, key_norm);
}

/* The larger lower bound of the same sum: that of the keys in G, or that of all. */
static double known_mass(const struct louver_pass *pass, const struct louver_head_state *state,
                         double key_norm) {
    return fmax(state->attended, attended_mass_from(pass, state, key_norm, state->reference));
}

/* An upper bound of the part of the softmax that was left out. */
static double left_out_mass(const struct louver_pass *pass, const struct louver_head_state *state,
                            double key_norm) {
    const uint32_t n_left_out = pass->n_keys - state->n_attended;
    double skipped, attended;
    if (n_left_out == 0 || state->n_attended == 0)
        return n_left_out == 0 ? 0.0 : 1.0;
    if (louver_has_budget(pass->threshold.kind)) {
        skipped = state->skipped;
        if (state->weights != NULL) /* its terms have factors omega */
            skipped = rsr_sum_up(skipped / pass->spread.least);
        attended = known_mass(pass, state, key_norm);
    } else { /* each key left out has a product below the threshold */
        const float x = louver_exponent_up(pass->setup, state->threshold, (double)state->state.max);
        float y;
        louver_exp_upper(pass->setup->ops, &y, &x, 1);
        skipped = n_left_out * (double)y;
        attended = attended_mass(pass, state, key_norm);
    }
    skipped *= SUM_UP;
    const double mass = skipped / (skipped + attended) * SUM_UP;
    return mass < 1.0 ? mass : 1.0; /* this covers NaN, which infinities give */
}

/* ---- What storing lost ---- */

static void note_open_page(struct louver_pass *pass, const struct louver_page *page) {
    const double value = louver_rows_norm(pass->setup, page->rows.values, page->n_keys);
    pass->storage.value = louver_larger(value, pass->storage.value);
    louver_add_losses(&pass->storage, &page->rows, page->n_keys);
}

void louver_note_losses(struct louver_pass *pass) {
    pass->storage = (struct louver_norms){0};
    for (uint32_t p = 0; pass->setup->kv.has_losses && p < pass->n_pages; p++) {
        const struct louver_page *page = &pass->pages[p];
        if (page->sidecar == NULL || !page->sidecar->usable) {
            note_open_page(pass, page);
            continue;
        }
        const struct louver_norms *norms = &page->sidecar->norms;
        pass->storage.value = louver_larger(norms->value, pass->storage.value);
        louver_raise_loss(&pass->storage.loss, &norms->loss);
    }
}

/* Bounds the difference between attention over stored rows and attention over the rows that were
 * appended.
 *
 * Let k, v be a key and value as appended and k', v' as stored, with |k - k'| <= L and |v - v'| <=
 * M for all keys seen, and |v'| <= V. A score differs by at most d = scale |q| L from that of the
 * stored key. So the weights w of the appended keys are the weights w' of the stored ones, times
 * factors in e^-d .. e^d, normalised to sum 1. A set of keys with the part p of w' has at most p
 * e^d / (p e^d + (1 - p) e^-d) of w. This exceeds p by at most tanh(d / 2), which it reaches at p =
 * 1 / (1 + e^d). So |w - w'| sums to at most 2 tanh(d / 2), and
 *
 *     |sum w v - sum w' v'| <= sum w |v - v'| + sum |w - w'| |v'| <= M + min(d, 2) V.
 *
 * Five operations on non-negative doubles compute this bound; none underflows. L, M, V and |q| are
 * rounded up already. */
static double storage_error(const struct louver_pass *pass, const struct louver_head_state *state) {
    const struct louver_norms *most = &pass->storage;
    const double moved = RSR_LOUVER_OMIT == 2 ? 0.0
                                              : (double)pass->setup->scale * state->sketch.norm *
                                                    (double)most->loss.key;
    const double lost = RSR_LOUVER_OMIT == 3 ? 0.0 : (double)most->loss.value;
    const double error = rsr_sum_up(lost + (moved < 2.0 ? moved : 2.0) * most->value);
    return isnan(moved) || isnan(error) ? INFINITY : error; /* something is not finite */
}

/* ---- What a head got ---- */

/* Whether every score was finite. The output does not show this: a sum that overflows to -infinity
 * gives a key no weight, even if its product is the largest of all. In any order, partial sums do
 * not exceed |q| |k|, apart from roundings of 2^-18; the scale may be above 1. (Keys that are not
 * finite are found here, too: their products have no bound, so at least one of them is attended
 * to.) */
static bool scores_fit(const struct louver_pass *pass, const struct louver_head_state *state,
                       double key_norm) {
    const double largest = state->sketch.norm * key_norm * (1.0 + 0x1p-17);
    return largest <= (double)FLT_MAX && largest * (double)pass->setup->scale <= (double)FLT_MAX;
}

/* An error is certified only if all numbers are finite: the scores, the output (which is divided by
 * the sum of weights) and the values left out. This applies even if nothing was left out. */
static double certified_error(const struct louver_pass *pass, const struct louver_head_state *state,
                              double key_norm, const float *out, double mass) {
    const double size = louver_row_norm(out, pass->setup->head_dim);
    const double left_out = state->n_attended < pass->n_keys ? largest_left_out(pass, state) : 0.0;
    double error = mass * (left_out + size) * SUM_UP;
    if (state->weights != NULL && mass > 0.0) {
        const double rounding =
            louver_score_error(pass->setup, state->sketch.norm, key_norm) + merge_error(pass);
        const double by_values =
            louver_spread_error(pass, state, out, known_mass(pass, state, key_norm), rounding);
        error = by_values < error ? by_values : error;
    }
    return scores_fit(pass, state, key_norm) && isfinite(error) ? error : INFINITY;
}

void louver_certify(const struct louver_pass *pass, const struct louver_head_state *state,
                    const float *out, rsr_louver_head *head) {
    const double key_norm = largest_attended(pass, state);
    const double mass = left_out_mass(pass, state, key_norm);
    *head = (rsr_louver_head){
        .n_attended = state->n_attended,
        .threshold = state->n_attended == pass->n_keys ? -INFINITY : state->threshold,
        .mass = mass,
        .certified_error = certified_error(pass, state, key_norm, out, mass),
        .storage_error = storage_error(pass, state),
        .spread = state->weights == NULL ? 0.0 : pass->spread.spread,
    };
}
