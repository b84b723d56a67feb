/* golden_pass.c - the comparisons of one pass. The bounds are those of the numerics contract. */
#include "golden_pass.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FLOAT_TOLERANCE 1e-5f /* relative to the layer's largest value */
#define TIE_TOLERANCE 1e-4f   /* distance of x * s from k + 1/2 */
#define CLEAR_MARGIN                                                                               \
    0.05f /* gap between the reference's best two logits, relative to the logit range */
#define SCALE_TOLERANCE 1e-5f        /* relative: an activation scale computed from equal inputs */
#define SCALE_MOVED 1e-6f            /* relative: beyond this, linears see another input */
#define WEIGHT_SCALE_TOLERANCE 1e-6f /* a mean of weights may be summed in another order */
#define MAX_PRINTED 10

static const struct {
    const char *name;
    enum rsr_role role;
    enum golden_linear first; /* first linear that may share this one's input */
} linears[LINEAR_COUNT] = {
    [LINEAR_Q] = {"q", RSR_ROLE_Q, LINEAR_Q},
    [LINEAR_K] = {"k", RSR_ROLE_K, LINEAR_Q},
    [LINEAR_V] = {"v", RSR_ROLE_V, LINEAR_Q},
    [LINEAR_O] = {"o", RSR_ROLE_O, LINEAR_O},
    [LINEAR_GATE] = {"gate", RSR_ROLE_GATE, LINEAR_GATE},
    [LINEAR_UP] = {"up", RSR_ROLE_UP, LINEAR_GATE},
    [LINEAR_DOWN] = {"down", RSR_ROLE_DOWN, LINEAR_DOWN},
    [LINEAR_QKV] = {"qkv", RSR_ROLE_QKV, LINEAR_QKV},
    [LINEAR_Z] = {"z", RSR_ROLE_Z, LINEAR_QKV},
    [LINEAR_BETA] = {"beta", RSR_ROLE_BETA, LINEAR_QKV},
    [LINEAR_DECAY] = {"decay", RSR_ROLE_DECAY, LINEAR_QKV},
};

void golden_pass_init(struct golden_pass *pass, struct golden *golden, const char *name,
                      const struct rsr_target *target, uint32_t n_blocks, bool inject) {
    *pass = (struct golden_pass){
        .golden = golden, .target = target, .name = name, .n_blocks = n_blocks, .inject = inject};
    pass->differences =
        RSRC_NEW_ARRAY(&golden->arena, (size_t)n_blocks * LINEAR_COUNT * golden->n_tokens,
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

static enum golden_linear linear_of(const struct golden_pass *pass, const rsr_probe_point *point) {
    if (point->block >= pass->n_blocks) {
        golden_die("the probe reports block %u of %u", point->block, pass->n_blocks);
    }
    for (int i = 0; i < LINEAR_COUNT; i++) {
        if (strcmp(point->role, linears[i].name) == 0) {
            return (enum golden_linear)i;
        }
    }
    golden_die("the probe reports a linear '%s' that is not in the reference", point->role);
}

/* NULL: the layer is not ternary. */
static const struct rsr_kernel_desc *kernel_of(const struct golden_pass *pass, uint32_t block,
                                               enum golden_linear linear) {
    for (uint32_t i = 0; i < pass->target->n_kernels; i++) {
        const struct rsr_kernel_desc *kernel = &pass->target->kernels[i];
        if (kernel->block == block && kernel->role == (uint32_t)linears[linear].role) {
            return kernel;
        }
    }
    return NULL;
}

static bool is_quantised(const struct golden_pass *pass, uint32_t block,
                         enum golden_linear linear) {
    const struct rsr_kernel_desc *kernel = kernel_of(pass, block, linear);
    return kernel != NULL && kernel->input == RSR_INPUT_I8;
}

/* The linear under whose name this linear's input is recorded: itself, or the nearest earlier one
 * that reads the same input. */
static enum golden_linear owner_of(const struct golden *golden, uint32_t block,
                                   enum golden_linear linear, bool quantised) {
    const enum rsr_dtype dtype = quantised ? RSR_DTYPE_I8 : RSR_DTYPE_F32;
    const char *what = quantised ? "codes" : "input";
    for (int i = (int)linear; i >= (int)linears[linear].first; i--) {
        if (golden_find(golden, dtype, "block.%u.%s.%s", block, linears[i].name, what) != NULL) {
            return (enum golden_linear)i;
        }
    }
    golden_die("the record lacks the %s of block %u, %s", what, block, linears[linear].name);
}

static struct golden_difference *difference_at(const struct golden_pass *pass, uint32_t block,
                                               enum golden_linear input, uint32_t position) {
    size_t row = (size_t)block * LINEAR_COUNT + (size_t)input;
    return &pass->differences[row * pass->golden->n_tokens + position];
}

/* The record's row for the probe's token i, or -1 where floats are not recorded. */
static int32_t record_row(const struct golden_pass *pass, const rsr_probe_point *point,
                          uint32_t i) {
    uint32_t position = point->positions[i];
    if (position >= pass->golden->n_tokens) {
        golden_die("the probe reports position %u of %u", position, pass->golden->n_tokens);
    }
    return pass->golden->row_of[position];
}

/* The largest difference and its place; NaN if any difference is NaN. */
static float largest_error(const float *ours, const float *theirs, uint32_t n, uint32_t *at) {
    float largest = 0.0f;
    *at = 0;
    for (uint32_t c = 0; c < n; c++) {
        float error = fabsf(ours[c] - theirs[c]);
        if (!(error <= largest) && !isnan(largest)) { /* NaN gets here and stays */
            largest = error;
            *at = c;
        }
    }
    return largest;
}

bool golden_floats_close(const struct golden_tensor *tensor, uint32_t row, const float *ours,
                         float *worst) {
    uint32_t at;
    float error = largest_error(ours, (const float *)tensor->data + (size_t)row * tensor->cols,
                                tensor->cols, &at);
    if (tensor->largest > 0.0f) {
        *worst = fmaxf(*worst, error / tensor->largest);
    }
    return error <= FLOAT_TOLERANCE * tensor->largest;
}

static void compare_floats(struct golden_pass *pass, struct golden_tensor *tensor, uint32_t row,
                           uint32_t position, const float *ours, float *worst) {
    tensor->seen[row] = true;
    pass->n_floats += tensor->cols;
    if (!golden_floats_close(tensor, row, ours, worst)) {
        const float *theirs = (const float *)tensor->data + (size_t)row * tensor->cols;
        uint32_t at;
        (void)largest_error(ours, theirs, tensor->cols, &at);
        golden_pass_fail(pass,
                         "%s, position %u, element %u: %.9g, the reference has %.9g (largest %.9g)",
                         tensor->name, position, at, (double)ours[at], (double)theirs[at],
                         (double)tensor->largest);
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
            compare_floats(pass, tensor, (uint32_t)r, point->positions[i],
                           (const float *)(const void *)row, worst);
        }
    }
}

/* ---- quantised inputs --------------------------------------------------------------------- */

/* Whether a tiny change of the reference's value would round to `code`. */
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

/* Checks an input whose own inputs are the reference's: it must have the reference's scale, and the
 * reference's codes except at ties. */
static void judge_input(struct golden_pass *pass, uint32_t block, enum golden_linear input,
                        uint32_t position) {
    const struct golden_difference *difference = difference_at(pass, block, input, position);
    pass->n_ties += difference->n_codes - difference->n_far;
    if (difference->n_far > 0) {
        golden_pass_fail(pass,
                         "block %u, input of %s, position %u: %u codes differ and are no ties",
                         block, linears[input].name, position, difference->n_far);
    }
    if (!(difference->scale <= SCALE_TOLERANCE)) {
        golden_pass_fail(pass, "block %u, input of %s, position %u: the scale is off by %.3g",
                         block, linears[input].name, position, (double)difference->scale);
    }
}

static void compare_codes(struct golden_pass *pass, uint32_t block, enum golden_linear input,
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
                         block, linears[input].name, position, header->sum, sum);
    }
}

static void on_codes(struct golden_pass *pass, const rsr_probe_point *point,
                     enum golden_linear input) {
    const struct golden *golden = pass->golden;
    const char *name = linears[input].name;
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
        if (!codes
                 ->seen[position]) { /* the next reader of this input may read the injected input */
            compare_codes(pass, point->block, input, position, &header, ours, theirs, point->cols,
                          scale);
            codes->seen[position] = true;
            pass->n_inputs++;
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

/* ---- float inputs ------------------------------------------------------------------------- */

static void on_float_input(struct golden_pass *pass, const rsr_probe_point *point,
                           enum golden_linear input) {
    const struct golden *golden = pass->golden;
    struct golden_tensor *floats =
        golden_need(golden, RSR_DTYPE_F32, golden->n_tokens, point->cols, "block.%u.%s.input",
                    point->block, linears[input].name);
    for (uint32_t i = 0; i < point->n_tokens; i++) {
        float *ours = (float *)(void *)((uint8_t *)point->data + i * point->row_bytes);
        (void)record_row(pass, point, i); /* checks the position */
        uint32_t position = point->positions[i];
        if (!floats->seen[position]) {
            floats->seen[position] = true;
            pass->n_inputs++;
            if (pass->inject) {
                compare_floats(pass, floats, position, position, ours, &pass->worst_input);
            }
        }
        if (pass->inject) {
            memcpy(ours, (const float *)floats->data + (size_t)position * floats->cols,
                   floats->cols * sizeof(float));
        }
    }
}

static void on_linear_input(struct golden_pass *pass, const rsr_probe_point *point) {
    const enum golden_linear linear = linear_of(pass, point);
    const bool quantised = is_quantised(pass, point->block, linear);
    const enum golden_linear owner = owner_of(pass->golden, point->block, linear, quantised);
    if (quantised) {
        on_codes(pass, point, owner);
    } else {
        on_float_input(pass, point, owner);
    }
}

/* ---- linear outputs ----------------------------------------------------------------------- */

/* The module's multiplier of a linear; it must be the reference's up to the order of a mean. */
static float weight_scale(struct golden_pass *pass, uint32_t block, enum golden_linear linear) {
    const float *reference = golden_need(pass->golden, RSR_DTYPE_F32, 1, 1,
                                         "block.%u.%s.weight_scale", block, linears[linear].name)
                                 ->data;
    const struct rsr_weights *weights = &kernel_of(pass, block, linear)->weights;
    const float scale = weights->scale[0];
    if (weights->n_scales != 1 ||
        !(fabsf(scale - *reference) <= WEIGHT_SCALE_TOLERANCE * *reference)) {
        golden_pass_fail(pass, "block %u, %s: multiplier %.9g, the reference's is %.9g", block,
                         linears[linear].name, (double)scale, (double)*reference);
    }
    return scale;
}

/* Checks that sums are equal: the output must be, bit for bit, (float)sum * (act_scale *
 * weight_scale) with the reference's sum. Below 2^22 different sums give different floats after
 * scaling, so this proves that the integers are equal. */
static void compare_sums(struct golden_pass *pass, const rsr_probe_point *point,
                         enum golden_linear input, struct golden_tensor *sums, float multiplier) {
    const float *scales = golden_need(pass->golden, RSR_DTYPE_F32, pass->golden->n_tokens, 1,
                                      "block.%u.%s.scale", point->block, linears[input].name)
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
    const enum golden_linear linear = linear_of(pass, point);
    struct golden_tensor *output =
        golden_find(golden, RSR_DTYPE_F32, "block.%u.%s.output", point->block, point->role);
    if (output == NULL || !pass->inject) {
        return; /* not a recorded block, or judged by the codes that follow */
    }
    if (is_quantised(pass, point->block, linear)) {
        struct golden_tensor *sums = golden_need(golden, RSR_DTYPE_I32, golden->n_rows, point->cols,
                                                 "block.%u.%s.sum", point->block, point->role);
        compare_sums(pass, point, owner_of(golden, point->block, linear, true), sums,
                     weight_scale(pass, point->block, linear));
    }
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
    case RSR_PROBE_KEYS:
    case RSR_PROBE_ATTENTION_INPUT:
        break; /* rotated keys and queries, which the attention's output judges */
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

/* Compares rows that evaluation returned, one per token, with recorded ones. */
static void compare_results(struct golden_pass *pass, struct golden_tensor *recorded,
                            const float *results) {
    const struct golden *golden = pass->golden;
    for (uint32_t r = 0; r < golden->n_rows; r++) {
        const uint32_t position = (uint32_t)golden->rows[r];
        compare_floats(pass, recorded, r, position, results + (size_t)position * recorded->cols,
                       &pass->worst_result);
    }
}

uint32_t golden_pass_logits(struct golden_pass *pass, const float *logits, uint32_t vocab) {
    struct golden_tensor *recorded =
        golden_need(pass->golden, RSR_DTYPE_F32, pass->golden->n_rows, vocab, "logits");
    if (pass->inject) {
        compare_results(pass, recorded, logits);
    } else {
        compare_perplexity(pass, logits, vocab);
    }
    return compare_tokens(pass, logits, vocab);
}

void golden_pass_hidden(struct golden_pass *pass, const float *hidden, uint32_t cols) {
    if (pass->inject) {
        compare_results(
            pass,
            golden_need(pass->golden, RSR_DTYPE_F32, pass->golden->n_rows, cols, "final_norm"),
            hidden);
    }
}

/* ---- explanation of differing codes ------------------------------------------------------- */

/* Counts one token's differing codes as caused by an earlier difference, or judges them alone.
 * Returns whether the linear's input differs from the reference's. */
static bool explain_input(struct golden_pass *pass, uint32_t block, enum golden_linear linear,
                          uint32_t position, bool downstream) {
    if (!is_quantised(pass, block, linear)) {
        return downstream; /* nothing is rounded */
    }
    if (owner_of(pass->golden, block, linear, true) != linear) {
        return false; /* explained with its owner */
    }
    const struct golden_difference *difference = difference_at(pass, block, linear, position);
    if (downstream) {
        pass->n_downstream += difference->n_codes;
    } else {
        judge_input(pass, block, linear, position);
    }
    return difference->n_codes > 0 || !(difference->scale <= SCALE_MOVED);
}

/* Explains differing codes of all linears from `first` to `last`. */
static bool explain_inputs(struct golden_pass *pass, uint32_t block, enum golden_linear first,
                           enum golden_linear last, uint32_t position, bool downstream) {
    bool differs = false;
    for (int i = (int)first; i <= (int)last; i++) {
        differs |= explain_input(pass, block, (enum golden_linear)i, position, downstream);
    }
    return differs;
}

/* Whether a gated delta rule is in the place of the block's attention. */
static bool has_delta(const struct golden_pass *pass, uint32_t block) {
    return golden_find(pass->golden, RSR_DTYPE_I8, "block.%u.qkv.codes", block) != NULL ||
           golden_find(pass->golden, RSR_DTYPE_F32, "block.%u.qkv.input", block) != NULL;
}

/* Follows the data: q, k and v of a token, or what a delta rule reads, affect that token's mixing
 * and that of all later tokens; o and down affect everything that the residual stream feeds. */
void golden_pass_explain(struct golden_pass *pass) {
    const uint32_t n = pass->golden->n_tokens;
    bool *residual = RSRC_NEW_ARRAY(&pass->golden->arena, n, bool);
    for (uint32_t block = 0; block < pass->n_blocks; block++) {
        bool keys = false; /* some key or value up to this token differs */
        for (uint32_t t = 0; t < n; t++) {
            keys |= has_delta(pass, block)
                        ? explain_inputs(pass, block, LINEAR_QKV, LINEAR_DECAY, t, residual[t])
                        : explain_inputs(pass, block, LINEAR_Q, LINEAR_V, t, residual[t]);
            residual[t] |= explain_inputs(pass, block, LINEAR_O, LINEAR_O, t, keys);
            bool hidden = explain_inputs(pass, block, LINEAR_GATE, LINEAR_UP, t, residual[t]);
            residual[t] |= explain_inputs(pass, block, LINEAR_DOWN, LINEAR_DOWN, t, hidden);
        }
    }
}
