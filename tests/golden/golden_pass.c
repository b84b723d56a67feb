/* golden_pass.c - the comparisons of one pass. The bounds are those of the numerics contract. */
#include "golden_pass.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FLOAT_TOLERANCE 1e-5f        /* of the layer's largest */
#define TIE_TOLERANCE 1e-4f          /* distance of x * s from k + 1/2 */
#define CLEAR_MARGIN 0.05f           /* of the logit range, between the reference's best two */
#define SCALE_TOLERANCE 1e-5f        /* relative: an activation scale computed from equal inputs */
#define SCALE_MOVED 1e-6f            /* relative: beyond this, linears see another input */
#define WEIGHT_SCALE_TOLERANCE 1e-6f /* a mean of weights may be summed in another order */
#define MAX_PRINTED 10

static const char *const input_names[INPUT_COUNT] = {"q", "o", "gate", "down"};

static const struct {
    const char *name;
    enum rsr_role role;
    enum golden_input input;
} linears[] = {
    {"q", RSR_ROLE_Q, INPUT_QKV},           {"k", RSR_ROLE_K, INPUT_QKV},
    {"v", RSR_ROLE_V, INPUT_QKV},           {"o", RSR_ROLE_O, INPUT_O},
    {"gate", RSR_ROLE_GATE, INPUT_GATE_UP}, {"up", RSR_ROLE_UP, INPUT_GATE_UP},
    {"down", RSR_ROLE_DOWN, INPUT_DOWN},
};

void golden_pass_init(struct golden_pass *pass, struct golden *golden, const char *name,
                      const struct rsr_target *target, uint32_t n_blocks, bool inject) {
    *pass = (struct golden_pass){
        .golden = golden, .target = target, .name = name, .n_blocks = n_blocks, .inject = inject};
    pass->differences =
        RSRC_NEW_ARRAY(&golden->arena, (size_t)n_blocks * INPUT_COUNT * golden->n_tokens,
                       struct golden_difference);
}

void golden_pass_fail(struct golden_pass *pass, const char *format, ...) {
    pass->n_failures++;
    if (pass->n_failures > MAX_PRINTED) {
        return;
    }
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", pass->name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

static size_t linear_of_role(const char *role) {
    size_t i = 0;
    while (i < sizeof(linears) / sizeof(linears[0]) && strcmp(role, linears[i].name) != 0) {
        i++;
    }
    if (i == sizeof(linears) / sizeof(linears[0])) {
        golden_die("the probe reports a linear '%s' that is not in the reference", role);
    }
    return i;
}

static struct golden_difference *difference_at(const struct golden_pass *pass, uint32_t block,
                                               enum golden_input input, uint32_t position) {
    size_t row = (size_t)block * INPUT_COUNT + (size_t)input;
    return &pass->differences[row * pass->golden->n_tokens + position];
}

/* Record row of the probe's token i, or -1 where floats are not recorded. */
static int32_t record_row(const struct golden_pass *pass, const rsr_probe_point *point,
                          uint32_t i) {
    uint32_t position = point->positions[i];
    if (position >= pass->golden->n_tokens) {
        golden_die("the probe reports position %u of %u", position, pass->golden->n_tokens);
    }
    return pass->golden->row_of[position];
}

static void compare_floats(struct golden_pass *pass, struct golden_tensor *tensor, int32_t r,
                           const float *ours, float *worst) {
    const float *theirs = (const float *)tensor->data + (size_t)r * tensor->cols;
    float worst_here = 0.0f;
    uint32_t worst_at = 0;
    for (uint32_t c = 0; c < tensor->cols; c++) {
        float error = fabsf(ours[c] - theirs[c]);
        if (!(error <= worst_here) && !isnan(worst_here)) { /* NaN gets here and stays */
            worst_here = error;
            worst_at = c;
        }
    }
    tensor->seen[r] = true;
    if (!(worst_here <= FLOAT_TOLERANCE * tensor->largest)) {
        golden_pass_fail(pass,
                         "%s, position %d, element %u: %.9g, the reference has %.9g (largest %.9g)",
                         tensor->name, pass->golden->rows[r], worst_at, (double)ours[worst_at],
                         (double)theirs[worst_at], (double)tensor->largest);
    }
    if (tensor->largest > 0.0f) {
        *worst = fmaxf(*worst, worst_here / tensor->largest);
    }
}

static void on_floats(struct golden_pass *pass, const rsr_probe_point *point,
                      struct golden_tensor *tensor, float *worst) {
    if (tensor == NULL || !pass->inject) {
        return; /* not a recorded block, or judged by its codes */
    }
    if (tensor->rows != pass->golden->n_rows || tensor->cols != point->cols) {
        golden_die("tensor '%s' is [%u, %u], the model has %u elements", tensor->name, tensor->rows,
                   tensor->cols, point->cols);
    }
    for (uint32_t i = 0; i < point->n_tokens; i++) {
        int32_t r = record_row(pass, point, i);
        if (r >= 0) {
            const uint8_t *row = (const uint8_t *)point->data + i * point->row_bytes;
            compare_floats(pass, tensor, r, (const float *)(const void *)row, worst);
        }
    }
}

/* ---- quantised inputs --------------------------------------------------------------------- */

/* Whether `code` is what the reference's value would have become a hair further. */
static bool is_tie(const struct golden_pass *pass, const int32_t place[4], int8_t code) {
    const struct golden *golden = pass->golden;
    const struct golden_tensor *at = golden_find(golden, RSR_DTYPE_I32, "tie_at");
    if (at == NULL || at->cols != 4) {
        golden_die("the record lacks 'tie_at'");
    }
    const int8_t *codes = golden_need(golden, RSR_DTYPE_I8, at->rows, 1, "tie_code")->data;
    const float *distances = golden_need(golden, RSR_DTYPE_F32, at->rows, 1, "tie_distance")->data;
    for (uint32_t i = 0; i < at->rows; i++) {
        if (memcmp((const int32_t *)at->data + (size_t)i * 4, place, 4 * sizeof(int32_t)) == 0) {
            return codes[i] == code && distances[i] <= TIE_TOLERANCE;
        }
    }
    return false;
}

/* An input of which everything upstream is the reference's: it must have the reference's codes up
 * to ties, and the reference's scale. */
static void judge_input(struct golden_pass *pass, uint32_t block, enum golden_input input,
                        uint32_t position) {
    const struct golden_difference *difference = difference_at(pass, block, input, position);
    pass->n_ties += difference->n_codes - difference->n_far;
    if (difference->n_far > 0) {
        golden_pass_fail(pass,
                         "block %u, input of %s, position %u: %u codes differ and are no ties",
                         block, input_names[input], position, difference->n_far);
    }
    if (!(difference->scale <= SCALE_TOLERANCE)) {
        golden_pass_fail(pass, "block %u, input of %s, position %u: the scale is off by %.3g",
                         block, input_names[input], position, (double)difference->scale);
    }
}

static void compare_codes(struct golden_pass *pass, uint32_t block, enum golden_input input,
                          uint32_t position, const struct rsr_act_row *header, const int8_t *ours,
                          const int8_t *theirs, uint32_t cols, float scale) {
    struct golden_difference *difference = difference_at(pass, block, input, position);
    int32_t sum = 0;
    for (uint32_t c = 0; c < cols; c++) {
        sum += ours[c];
        if (ours[c] != theirs[c]) {
            const int32_t place[4] = {(int32_t)block, (int32_t)input, (int32_t)position,
                                      (int32_t)c};
            difference->n_codes++;
            difference->n_far += !is_tie(pass, place, ours[c]);
        }
    }
    difference->scale = fabsf(header->scale - scale) / scale;
    pass->n_codes += cols;
    if (pass->inject) {
        judge_input(pass, block, input, position);
    }
    if (header->sum != sum) {
        golden_pass_fail(pass,
                         "block %u, input of %s, position %u: the row says its codes sum to %d, "
                         "they sum to %d",
                         block, input_names[input], position, header->sum, sum);
    }
}

static void on_linear_input(struct golden_pass *pass, const rsr_probe_point *point) {
    const struct golden *golden = pass->golden;
    enum golden_input input = linears[linear_of_role(point->role)].input;
    const char *name = input_names[input];
    if (point->block >= pass->n_blocks) {
        golden_die("the probe reports block %u of %u", point->block, pass->n_blocks);
    }
    struct golden_tensor *codes = golden_need(golden, RSR_DTYPE_I8, golden->n_tokens, point->cols,
                                              "block.%u.%s.codes", point->block, name);
    const float *scales = golden_need(golden, RSR_DTYPE_F32, golden->n_tokens, 1,
                                      "block.%u.%s.scale", point->block, name)
                              ->data;
    for (uint32_t i = 0; i < point->n_tokens; i++) {
        uint8_t *row = (uint8_t *)point->data + i * point->row_bytes;
        int8_t *ours = (int8_t *)(row + RSR_ACT_HEADER);
        (void)record_row(pass, point, i); /* checks the position */
        uint32_t position = point->positions[i];
        const int8_t *theirs = (const int8_t *)codes->data + (size_t)position * codes->cols;
        struct rsr_act_row header;
        memcpy(&header, row, sizeof(header));
        float scale = 1.0f / scales[position]; /* transformers divides by what we multiply with */
        if (!codes->seen[position]) { /* the next reader of this input may see what we injected */
            compare_codes(pass, point->block, input, position, &header, ours, theirs, point->cols,
                          scale);
            codes->seen[position] = true;
        }
        if (pass->inject) {
            memcpy(ours, theirs, point->cols);
            header.scale = scale;
            header.sum = 0;
            for (uint32_t c = 0; c < point->cols; c++) {
                header.sum += theirs[c];
            }
            memcpy(row, &header, sizeof(header));
        }
    }
}

/* ---- linear outputs ----------------------------------------------------------------------- */

/* The module's multiplier of a linear; it must be the reference's up to the order of a mean. */
static float weight_scale(struct golden_pass *pass, uint32_t block, enum rsr_role role,
                          const char *name) {
    const float *reference =
        golden_need(pass->golden, RSR_DTYPE_F32, 1, 1, "block.%u.%s.weight_scale", block, name)
            ->data;
    for (uint32_t i = 0; i < pass->target->n_kernels; i++) {
        const struct rsr_kernel_desc *kernel = &pass->target->kernels[i];
        if (kernel->block == block && kernel->role == (uint32_t)role) {
            float scale = kernel->weights.scale[0];
            if (kernel->weights.n_scales != 1 ||
                !(fabsf(scale - *reference) <= WEIGHT_SCALE_TOLERANCE * *reference)) {
                golden_pass_fail(pass, "block %u, %s: multiplier %.9g, the reference's is %.9g",
                                 block, name, (double)scale, (double)*reference);
            }
            return scale;
        }
    }
    golden_die("the module has no kernel for block %u, %s", block, name);
}

/* Sums are equal: the output is, bit for bit, (float)sum * (act_scale * weight_scale) of the
 * reference's sum. Below 2^22 no two sums share a float after scaling, so this is equality of the
 * integers. */
static void compare_sums(struct golden_pass *pass, const rsr_probe_point *point,
                         enum golden_input input, struct golden_tensor *sums, float multiplier) {
    const float *scales = golden_need(pass->golden, RSR_DTYPE_F32, pass->golden->n_tokens, 1,
                                      "block.%u.%s.scale", point->block, input_names[input])
                              ->data;
    for (uint32_t i = 0; i < point->n_tokens; i++) {
        int32_t r = record_row(pass, point, i);
        if (r < 0) {
            continue;
        }
        const float *ours =
            (const float *)(const void *)((const uint8_t *)point->data + i * point->row_bytes);
        const int32_t *row = (const int32_t *)sums->data + (size_t)r * sums->cols;
        float scale = (1.0f / scales[point->positions[i]]) * multiplier;
        for (uint32_t c = 0; c < sums->cols; c++) {
            float expected = (float)row[c] * scale;
            if (memcmp(&ours[c], &expected, sizeof(expected)) != 0) {
                golden_pass_fail(pass, "%s, position %u, row %u: %.9g, sum %d makes %.9g",
                                 sums->name, point->positions[i], c, (double)ours[c], row[c],
                                 (double)expected);
            }
        }
        sums->seen[r] = true;
        pass->n_sums += sums->cols;
    }
}

static void on_linear_output(struct golden_pass *pass, const rsr_probe_point *point) {
    const struct golden *golden = pass->golden;
    size_t linear = linear_of_role(point->role);
    struct golden_tensor *output =
        golden_find(golden, RSR_DTYPE_F32, "block.%u.%s.output", point->block, point->role);
    if (output == NULL || !pass->inject) {
        return; /* not a recorded block, or judged by the codes that follow */
    }
    struct golden_tensor *sums = golden_need(golden, RSR_DTYPE_I32, golden->n_rows, point->cols,
                                             "block.%u.%s.sum", point->block, point->role);
    compare_sums(pass, point, linears[linear].input, sums,
                 weight_scale(pass, point->block, linears[linear].role, point->role));
    on_floats(pass, point, output, &pass->worst_output);
}

void golden_pass_probe(void *user, const rsr_probe_point *point) {
    struct golden_pass *pass = user;
    const struct golden *golden = pass->golden;
    switch (point->kind) {
    case RSR_PROBE_LINEAR_INPUT:
        on_linear_input(pass, point);
        break;
    case RSR_PROBE_LINEAR_OUTPUT:
        on_linear_output(pass, point);
        break;
    case RSR_PROBE_NORM_OUTPUT:
        if (point->block != UINT32_MAX) {
            on_floats(pass, point,
                      golden_find(golden, RSR_DTYPE_F32, "block.%u.%s", point->block, point->role),
                      &pass->worst_norm);
        }
        break;
    case RSR_PROBE_ATTENTION_INPUT:
        break; /* rotated queries, which the attention's output judges */
    case RSR_PROBE_ATTENTION_OUTPUT:
        on_floats(pass, point,
                  golden_find(golden, RSR_DTYPE_F32, "block.%u.attention", point->block),
                  &pass->worst_attention);
        break;
    case RSR_PROBE_LOGITS_INPUT:
        on_floats(pass, point, golden_find(golden, RSR_DTYPE_F32, "final_norm"), &pass->worst_norm);
        break;
    }
}

/* ---- logits and tokens -------------------------------------------------------------------- */

double golden_mean_nll(const float *logits, uint32_t vocab, const int32_t *tokens,
                       uint32_t n_tokens) {
    double total = 0.0;
    for (uint32_t t = 0; t + 1 < n_tokens; t++) {
        const float *row = logits + (size_t)t * vocab;
        float largest = row[0];
        for (uint32_t v = 1; v < vocab; v++) {
            largest = fmaxf(largest, row[v]);
        }
        double sum = 0.0;
        for (uint32_t v = 0; v < vocab; v++) {
            sum += exp((double)row[v] - (double)largest);
        }
        total += log(sum) + (double)largest - (double)row[tokens[t + 1]];
    }
    return total / (double)(n_tokens - 1);
}

double golden_perplexity_error(double nll, double reference_nll) {
    return fabs(expm1(nll - reference_nll));
}

static uint32_t compare_tokens(struct golden_pass *pass, const float *logits, uint32_t vocab) {
    const struct golden *golden = pass->golden;
    const uint32_t n = golden->n_tokens;
    const int32_t *top1 = golden_need(golden, RSR_DTYPE_I32, n, 1, "top1")->data;
    const float *margin = golden_need(golden, RSR_DTYPE_F32, n, 1, "margin")->data;
    const float *range = golden_need(golden, RSR_DTYPE_F32, n, 1, "range")->data;
    uint32_t n_clear = 0;
    for (uint32_t t = 0; t < n; t++) {
        if (!(margin[t] > CLEAR_MARGIN * range[t])) {
            continue;
        }
        const float *row = logits + (size_t)t * vocab;
        uint32_t best = 0;
        for (uint32_t v = 1; v < vocab; v++) {
            best = row[v] > row[best] ? v : best;
        }
        n_clear++;
        if (best != (uint32_t)top1[t]) {
            golden_pass_fail(pass,
                             "position %u: the best token is %u, the reference's %d is clear by "
                             "%.3g of the range",
                             t, best, top1[t], (double)(margin[t] / range[t]));
        }
    }
    return n_clear;
}

static void compare_perplexity(struct golden_pass *pass, const float *logits, uint32_t vocab) {
    const struct golden *golden = pass->golden;
    const uint32_t n = golden->n_tokens - 1;
    const float *nll = golden_need(golden, RSR_DTYPE_F32, n, 1, "nll")->data;
    double reference = 0.0;
    for (uint32_t t = 0; t < n; t++) {
        reference += (double)nll[t] / (double)n;
    }
    double ours = golden_mean_nll(logits, vocab, golden->tokens, golden->n_tokens);
    double error = golden_perplexity_error(ours, reference);
    if (!(error <= GOLDEN_PERPLEXITY_TOLERANCE)) {
        golden_pass_fail(pass, "perplexity %.6g, the reference's is %.6g", exp(ours),
                         exp(reference));
    }
}

uint32_t golden_pass_logits(struct golden_pass *pass, const float *logits, uint32_t vocab) {
    const struct golden *golden = pass->golden;
    struct golden_tensor *recorded =
        golden_need(golden, RSR_DTYPE_F32, golden->n_rows, vocab, "logits");
    if (!pass->inject) {
        compare_perplexity(pass, logits, vocab);
    } else {
        for (uint32_t r = 0; r < golden->n_rows; r++) {
            const float *row = logits + (size_t)golden->rows[r] * vocab;
            compare_floats(pass, recorded, (int32_t)r, row, &pass->worst_logits);
        }
    }
    return compare_tokens(pass, logits, vocab);
}

/* ---- explanation of differing codes ------------------------------------------------------- */

/* Counts one token's differing codes as downstream of a difference, or judges them by themselves.
 * Returns whether what reads this input sees something else than in the reference. */
static bool explain_input(struct golden_pass *pass, uint32_t block, enum golden_input input,
                          uint32_t position, bool downstream) {
    const struct golden_difference *difference = difference_at(pass, block, input, position);
    if (downstream) {
        pass->n_downstream += difference->n_codes;
    } else {
        judge_input(pass, block, input, position);
    }
    return difference->n_codes > 0 || !(difference->scale <= SCALE_MOVED);
}

/* Follows the data: q, k and v of a token reach the attention of that token and all later ones; o
 * and down reach everything that the residual stream feeds. */
void golden_pass_explain(struct golden_pass *pass) {
    const uint32_t n = pass->golden->n_tokens;
    bool *residual = RSRC_NEW_ARRAY(&pass->golden->arena, n, bool);
    for (uint32_t block = 0; block < pass->n_blocks; block++) {
        bool keys = false; /* some key or value up to this token differs */
        for (uint32_t t = 0; t < n; t++) {
            keys |= explain_input(pass, block, INPUT_QKV, t, residual[t]);
            residual[t] |= explain_input(pass, block, INPUT_O, t, keys);
            bool hidden = explain_input(pass, block, INPUT_GATE_UP, t, residual[t]);
            residual[t] |= explain_input(pass, block, INPUT_DOWN, t, hidden);
        }
    }
}
