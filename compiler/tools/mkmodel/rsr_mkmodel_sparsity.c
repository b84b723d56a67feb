/* rsr_mkmodel_sparsity.c - a model whose squared ReLU leaves the requested share of channels
 * active.
 *
 * Embeddings are large compared with what blocks add to the residual stream, so every block sees
 * the token's own numbers. These are independent and about normal, except in the first BIAS_COLS
 * columns, which have one constant for all tokens. A row of gate has one sign in all of these
 * columns. So its sum is a normal number plus a constant, and the constant decides how often it is
 * above 0; the active rows differ from token to token. Rows of a group share some of their weights,
 * so that their channels are often active together.
 */
#include <math.h>
#include <string.h>

#include "base/suffix.h"
#include "rsr_mkmodel.h"

#define BIAS_COLS 8u
#define GROUP_ROWS 16u
/* Standard deviation of an embedding's elements, over that of the blocks' additions. */
#define DOMINANCE 8.0
/* Variance of a norm's weights, 0.125 squared: it multiplies what they weight. */
#define NORM_VARIANCE (1.0 / 64.0)

/* The normal distribution, by its power series: only operations that every machine rounds alike. */
static double normal_share_below(double z) {
    double term = z, sum = z;
    for (int n = 1; n < 60; n++) {
        term *= -z * z / (2.0 * n);
        sum += term / (2.0 * n + 1.0);
    }
    return 0.5 + sum * 0.39894228040143267794;
}

static double normal_quantile(double share) {
    double low = -4, high = 4;
    for (int i = 0; i < 60; i++) {
        const double middle = 0.5 * (low + high);
        if (normal_share_below(middle) < share)
            low = middle;
        else
            high = middle;
    }
    return low;
}

const char *mkmodel_sparsity_obstacle(const struct mkmodel_spec *spec) {
    const struct mkmodel_sparsity *sparsity = &spec->sparsity;
    if (sparsity->inactive == 0)
        return sparsity->coactivation > 0 ? "--coactivation goes with --relu2-sparsity" : NULL;
    if (strcmp(spec->convention->activation, "relu2") != 0)
        return "the convention has no squared ReLU";
    if (spec->convention->storage != MKMODEL_PACKED_MULTIPLY &&
        spec->convention->storage != MKMODEL_PACKED_DIVIDE)
        return "only packed weights can be made sparse";
    if (spec->hidden < 8 * BIAS_COLS)
        return "--hidden is too small";
    if (spec->head_margin > 0)
        return "it and --head-margin exclude each other";
    return mkmodel_has_redundancy(&spec->redundancy) ? "weights are either sparse or redundant"
                                                     : NULL;
}

double mkmodel_sparsity_spread(const struct mkmodel_spec *spec) {
    return DOMINANCE * sqrt(2.0 * spec->layers);
}

void mkmodel_sparse_init(struct mkmodel_sparse *out, const struct mkmodel_spec *spec,
                         const struct mkmodel_tensor *tensor) {
    const double z = normal_quantile(spec->sparsity.inactive);
    const double deviation = sqrt((double)(spec->hidden - BIAS_COLS) * (1.0 - spec->zero_density) *
                                  (1.0 + NORM_VARIANCE));
    *out = (struct mkmodel_sparse){.key = mkmodel_mix(mkmodel_hash_name(spec->seed, tensor->name)),
                                   .cols = spec->hidden,
                                   .rows = tensor->shape[0],
                                   .coactivation = spec->sparsity.coactivation,
                                   .bias_code = z > 0 ? 0 : 2,
                                   .is_gate = rsrc_ends_with(tensor->name, "mlp.gate_proj.weight"),
                                   .is_embedding =
                                       rsrc_ends_with(tensor->name, "embed_tokens.weight")};
    if (spec->sparsity.inactive > 0 && out->is_embedding) {
        const double bias = mkmodel_sparsity_spread(spec) * fabs(z) * deviation / BIAS_COLS;
        out->bias = mkmodel_store(tensor->dtype, bias);
    }
}

/* The code of one weight of gate: its own, or that of the first row of its group. */
static uint16_t gate_code(const struct mkmodel_sparse *sparse, const struct mkmodel_source *source,
                          uint64_t row, uint64_t col) {
    if (col < BIAS_COLS)
        return sparse->bias_code;
    const uint64_t drawn = mkmodel_mix(sparse->key ^ mkmodel_mix(row * sparse->cols + col));
    if ((double)(drawn >> 32) < sparse->coactivation * 4294967296.0)
        row = row / GROUP_ROWS * GROUP_ROWS;
    const uint16_t byte = mkmodel_source_element(source, row % sparse->rows * sparse->cols + col);
    return byte >> (2 * (row / sparse->rows)) & 3;
}

static uint16_t element(const void *tensor, const struct mkmodel_source *source, uint64_t number) {
    const struct mkmodel_sparse *sparse = tensor;
    const uint64_t row = number / sparse->cols, col = number % sparse->cols;
    if (sparse->is_embedding)
        return col < BIAS_COLS ? sparse->bias : mkmodel_source_element(source, number);
    uint16_t byte = 0;
    for (uint32_t i = 0; i < 4; i++)
        byte |= (uint16_t)(gate_code(sparse, source, row + i * sparse->rows, col) << (2 * i));
    return byte;
}

void mkmodel_sparse_fill(const struct mkmodel_sparse *sparse, const struct mkmodel_source *source,
                         uint64_t offset, uint8_t *bytes, size_t n_bytes) {
    mkmodel_fill_elements(element, sparse, source, offset, bytes, n_bytes);
}
