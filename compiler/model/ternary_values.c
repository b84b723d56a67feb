/* ternary_values.c - float weights that are ternary already, as some training programs write them:
 * every weight is -s, 0 or s, and s must be found from the weights.
 *
 * A scale belongs to the tensor; to a row, if training split a tensor's rows among devices; or to a
 * group of columns, if it split the columns, or if each 128 weights have a scale. A row is read
 * once. If two successive nonzero weights, at columns a < b, differ in magnitude, a group begins in
 * a + 1 .. b, so only group sizes with a multiple there remain possible. For other floats, no size
 * remains after the first few columns.
 *
 * Magnitudes are compared as float32, which holds those of all three formats; -0 is 0.
 */
#include "model/ternary_values.h"

#include <math.h>

#include "base/round.h"
#include "model/finite.h"
#include "model/tensor_data.h"

/* Floats converted at a time: 4 KiB of float32 stay in the first-level cache. */
#define CHUNK 1024u

/* The scales that are still possible after the rows read so far. */
struct search {
    const struct rsr_layer *layer;
    uint32_t *sizes; /* possible sizes of groups, descending; the first is all columns */
    uint32_t n_sizes;
    float tensor_scale; /* the first magnitude found; 0: none yet */
    bool one_scale;     /* all magnitudes so far are equal */
};

/* ---- sizes of groups ------------------------------------------------------------------------- */

/* Inserts a size that is not in the list. */
static void add_size(struct search *search, uint32_t size) {
    uint32_t at = 0;
    while (at < search->n_sizes && search->sizes[at] > size)
        at++;
    if (at < search->n_sizes && search->sizes[at] == size)
        return;
    for (uint32_t i = search->n_sizes++; i > at; i--)
        search->sizes[i] = search->sizes[i - 1];
    search->sizes[at] = size;
}

/* Lists the sizes to try: all columns, their divisors, and sizes that formats and training use. */
static void list_sizes(struct rsrc_arena *arena, struct search *search) {
    static const uint32_t usual[] = {256, 128, 64, 32};
    const uint32_t rows = search->layer->rows, cols = search->layer->cols;
    const uint32_t max_sizes = cols / RSRC_MIN_GROUP_COLS + 2;
    search->sizes = RSRC_NEW_ARRAY(arena, max_sizes + sizeof usual / sizeof *usual, uint32_t);
    for (uint32_t n = 1; n <= cols / RSRC_MIN_GROUP_COLS; n++)
        if (cols % n == 0)
            search->sizes[search->n_sizes++] = cols / n;
    if (search->n_sizes == 0)
        search->sizes[search->n_sizes++] = cols;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (usual[i] < cols)
            add_size(search, usual[i]);
    while (search->n_sizes > 1 &&
           (uint64_t)rows * rsrc_divide_up(cols, search->sizes[search->n_sizes - 1]) > UINT32_MAX)
        search->n_sizes--;
}

/* Keeps the sizes for which a group begins in first + 1 .. last. */
static void keep_sizes(struct search *search, uint32_t first, uint32_t last) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < search->n_sizes; i++)
        if (last / search->sizes[i] > first / search->sizes[i])
            search->sizes[n++] = search->sizes[i];
    search->n_sizes = n;
}

/* ---- reading --------------------------------------------------------------------------------- */

static const uint8_t *element_at(const struct rsr_layer *layer, uint32_t row, uint32_t col) {
    return layer->weight->data +
           ((uint64_t)row * layer->cols + col) * rsrc_dtype_bytes(layer->weight->dtype);
}

/* The last weight of a row that is not 0. */
struct last_weight {
    float magnitude; /* 0: none yet */
    uint32_t col;
};

static enum rsrc_status refuse(struct rsrc_diag *diag, const struct rsr_layer *layer, uint32_t row,
                               uint32_t col, float magnitude, const struct last_weight *last) {
    const struct rsr_tensor *tensor = layer->weight;
    const struct rsrc_place place =
        rsrc_tensor_place(tensor, (uint64_t)(element_at(layer, row, col) - tensor->data));
    return rsrc_refuse(
        diag, "ternary-values", &place,
        "weights without a quantization_config are -s, 0 and s, with one s a tensor, a row, "
        "or a group of at least 32 columns that is the same in all rows",
        "not ternary: in row %u the magnitude is %.9g in column %u and %.9g in column %u", row,
        (double)last->magnitude, last->col, (double)magnitude, col);
}

/* Weights of a row from first_col on. */
static enum rsrc_status search_chunk(struct rsrc_diag *diag, struct search *search, uint32_t row,
                                     uint32_t first_col, const float *weights, uint32_t n,
                                     struct last_weight *last) {
    for (uint32_t i = 0; i < n; i++) {
        const float magnitude = fabsf(weights[i]);
        if (magnitude == 0)
            continue;
        if (magnitude != last->magnitude && last->magnitude != 0) {
            keep_sizes(search, last->col, first_col + i);
            if (search->n_sizes == 0)
                return refuse(diag, search->layer, row, first_col + i, magnitude, last);
        }
        if (search->tensor_scale == 0)
            search->tensor_scale = magnitude;
        search->one_scale &= magnitude == search->tensor_scale;
        *last = (struct last_weight){magnitude, first_col + i};
    }
    return RSRC_OK;
}

static enum rsrc_status search_rows(struct rsrc_diag *diag, struct search *search) {
    const struct rsr_layer *layer = search->layer;
    float chunk[CHUNK];
    for (uint32_t row = 0; row < layer->rows; row++) {
        struct last_weight last = {0, 0};
        for (uint32_t col = 0; col < layer->cols; col += CHUNK) {
            const uint32_t n = layer->cols - col < CHUNK ? layer->cols - col : CHUNK;
            rsrc_load_floats(layer->weight->dtype, element_at(layer, row, col), n, chunk);
            if (search_chunk(diag, search, row, col, chunk, n, &last) != RSRC_OK)
                return RSRC_FAILED;
        }
    }
    return RSRC_OK;
}

/* ---- values and scales ----------------------------------------------------------------------- */

/* Signs of one group, and its magnitude. */
static void split_group(const struct rsr_layer *layer, uint32_t row, uint32_t first, uint32_t end,
                        int8_t *values, float *scale) {
    float chunk[CHUNK];
    for (uint32_t col = first; col < end; col += CHUNK) {
        const uint32_t n = end - col < CHUNK ? end - col : CHUNK;
        rsrc_load_floats(layer->weight->dtype, element_at(layer, row, col), n, chunk);
        for (uint32_t i = 0; i < n; i++) {
            values[col - first + i] = (int8_t)((chunk[i] > 0) - (chunk[i] < 0));
            if (chunk[i] != 0)
                *scale = fabsf(chunk[i]);
        }
    }
}

/* Scales are of a tensor, of rows (group_cols: all columns), or of groups. */
static void split_weights(struct rsrc_arena *arena, const struct search *search,
                          struct rsr_matrix *out) {
    const struct rsr_layer *layer = search->layer;
    const uint32_t cols = layer->cols;
    const uint32_t group_cols = search->sizes[0];
    const uint32_t n_groups = rsrc_divide_up(cols, group_cols);
    const uint32_t n_scales = search->one_scale ? 1 : layer->rows * n_groups;
    int8_t *values = rsrc_arena_array(arena, layer->rows, cols);
    float *scale = RSRC_NEW_ARRAY(arena, n_scales, float);
    for (uint32_t i = 0; i < n_scales; i++)
        scale[i] = 1;
    for (uint32_t row = 0; row < layer->rows; row++)
        for (uint32_t g = 0; g < n_groups; g++) {
            const uint32_t first = g * group_cols;
            const uint32_t end = cols - first < group_cols ? cols : first + group_cols;
            split_group(layer, row, first, end, values + (size_t)row * cols + first,
                        &scale[search->one_scale ? 0 : (size_t)row * n_groups + g]);
        }
    *out = (struct rsr_matrix){.rows = layer->rows,
                               .cols = cols,
                               .alphabet = RSR_TERNARY,
                               .values = values,
                               .scale = scale,
                               .n_scales = n_scales,
                               .group_cols = n_groups > 1 ? group_cols : 0};
}

enum rsrc_status rsrc_decode_values(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                    const struct rsr_layer *layer, struct rsr_matrix *out) {
    if (rsrc_check_finite(diag, layer->weight, (uint64_t)layer->rows * layer->cols) != RSRC_OK)
        return RSRC_FAILED;
    struct search search = {.layer = layer, .one_scale = true};
    list_sizes(arena, &search);
    if (search_rows(diag, &search) != RSRC_OK)
        return RSRC_FAILED;
    split_weights(arena, &search, out);
    return RSRC_OK;
}
