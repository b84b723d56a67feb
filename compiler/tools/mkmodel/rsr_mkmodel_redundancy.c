/* rsr_mkmodel_redundancy.c - weights with redundancy to find: repeated rows, zeros, dead channels.
 *
 * Hashes of tensor and number decide the kind of each row and column, so that any part of a tensor
 * can be made alone, as in rsr_mkmodel_data.c. A row that repeats another is equal to it or, if the
 * alphabet has signs, opposite. Matrices of signs get no zeros.
 */
#include <string.h>

#include "base/suffix.h"
#include "rsr_mkmodel.h"

/* The purpose of a draw; different purposes give independent draws. */
enum draw { DRAW_REPEAT = 1, DRAW_SOURCE, DRAW_ZERO_ROW, DRAW_ZERO_COL, DRAW_CHANNEL, DRAW_NORM };

bool mkmodel_has_redundancy(const struct mkmodel_redundancy *redundancy) {
    return redundancy->repeated_rows > 0 || redundancy->zero_rows > 0 ||
           redundancy->zero_cols > 0 || redundancy->dead_channels > 0 || redundancy->zero_norm > 0;
}

static uint64_t draw(uint64_t key, enum draw what, uint64_t number) {
    return mkmodel_mix(key ^ mkmodel_mix(number * 8 + what));
}

/* Whether the draw is a hit, with probability `share`, by its upper half. */
static bool chance(uint64_t drawn, double share) {
    return (double)(drawn >> 32) < share * 4294967296.0;
}

void mkmodel_redundant_init(struct mkmodel_redundant *tensor_of,
                            const struct mkmodel_redundancy *redundancy,
                            const struct mkmodel_tensor *tensor, uint64_t seed) {
    static const char *const halves[] = {"gate_proj.weight", "up_proj.weight"};
    struct mkmodel_redundant r = {.redundancy = redundancy,
                                  .fill = tensor->fill,
                                  .key = mkmodel_mix(mkmodel_hash_name(seed, tensor->name)),
                                  .cols = tensor->shape[tensor->n_dims - 1],
                                  .rows = tensor->n_dims == 2 ? tensor->shape[0] : 1};
    r.lane_rows = r.rows;
    if (tensor->fill == MKMODEL_FILL_PACKED)
        r.rows *= 4;
    r.is_norm = tensor->n_dims == 1 && tensor->fill == MKMODEL_FILL_NORMAL;
    r.is_linear = tensor->n_dims == 2 && tensor->fill != MKMODEL_FILL_NORMAL;
    for (uint32_t half = 0; half < 2; half++) {
        if (!rsrc_ends_with(tensor->name, halves[half]))
            continue;
        char module[256];
        const size_t n = strlen(tensor->name) - strlen(halves[half]);
        snprintf(module, sizeof module, "%.*s", (int)(n < 255 ? n : 255), tensor->name);
        r.channel_key = mkmodel_hash_name(seed, module); /* gate and up draw the same channels */
        r.channel_half = half + 1;
    }
    *tensor_of = r;
}

/* Half of the dead channels have no gate, the other half no up. */
static bool is_dead_half(const struct mkmodel_redundant *r, uint64_t row) {
    if (r->channel_half == 0)
        return false;
    const uint64_t drawn = draw(r->channel_key, DRAW_CHANNEL, row);
    return chance(drawn, r->redundancy->dead_channels) && (drawn & 1) + 1 == r->channel_half;
}

/* The row that `row` is made from, at most itself; *negated, whether it is opposite. UINT64_MAX:
 * zero. */
static uint64_t find_source(const struct mkmodel_redundant *r, uint64_t row, bool *negated) {
    *negated = false;
    if (is_dead_half(r, row))
        return UINT64_MAX;
    while (row > 0 && chance(draw(r->key, DRAW_REPEAT, row), r->redundancy->repeated_rows)) {
        const uint64_t drawn = draw(r->key, DRAW_SOURCE, row);
        row = (drawn >> 1) % row;
        *negated ^= (drawn & 1) != 0;
    }
    return chance(draw(r->key, DRAW_ZERO_ROW, row), r->redundancy->zero_rows) ? UINT64_MAX : row;
}

static uint16_t zero_element(enum mkmodel_fill fill) {
    return fill == MKMODEL_FILL_PACKED ? 1 : 0;
}

/* The opposite of a weight as stored; a packed one is a single code here. */
static uint16_t negate(enum mkmodel_fill fill, uint16_t value) {
    switch (fill) {
    case MKMODEL_FILL_PACKED:
        return (uint16_t)(2 - value);
    case MKMODEL_FILL_MASTER:
    case MKMODEL_FILL_SCALED:
        return value ^ 0x8000u;
    case MKMODEL_FILL_TERNARY:
    case MKMODEL_FILL_SIGN:
        return (uint8_t)-value;
    case MKMODEL_FILL_BIT: /* has no opposites */
    case MKMODEL_FILL_NORMAL:
    case MKMODEL_FILL_CONSTANT:
        break;
    }
    return value;
}

/* One weight of a row and column; a packed one as its code. */
static uint16_t weight(const struct mkmodel_redundant *r, const struct mkmodel_source *source,
                       uint64_t row, uint64_t col) {
    bool negated;
    const uint64_t from = find_source(r, row, &negated);
    const bool can_be_zero = r->fill != MKMODEL_FILL_SIGN;
    if (can_be_zero &&
        (from == UINT64_MAX || chance(draw(r->key, DRAW_ZERO_COL, col), r->redundancy->zero_cols)))
        return zero_element(r->fill);
    const uint64_t real = from == UINT64_MAX ? row : from;
    uint16_t value = mkmodel_source_element(source, real % r->lane_rows * r->cols + col);
    if (r->fill == MKMODEL_FILL_PACKED)
        value = value >> (2 * (real / r->lane_rows)) & 3;
    return negated ? negate(r->fill, value) : value;
}

/* One stored element: a weight, or four. */
static uint16_t element(const void *tensor, const struct mkmodel_source *source, uint64_t number) {
    const struct mkmodel_redundant *r = tensor;
    if (r->is_norm)
        return chance(draw(r->key, DRAW_NORM, number), r->redundancy->zero_norm)
                   ? 0
                   : mkmodel_source_element(source, number);
    const uint64_t row = number / r->cols, col = number % r->cols;
    if (r->fill != MKMODEL_FILL_PACKED)
        return weight(r, source, row, col);
    uint16_t byte = 0;
    for (uint32_t i = 0; i < 4; i++)
        byte |= (uint16_t)(weight(r, source, row + i * r->lane_rows, col) << (2 * i));
    return byte;
}

void mkmodel_redundant_fill(const struct mkmodel_redundant *r, const struct mkmodel_source *source,
                            uint64_t offset, uint8_t *bytes, size_t n_bytes) {
    if (r->is_norm || r->is_linear)
        mkmodel_fill_elements(element, r, source, offset, bytes, n_bytes);
    else
        mkmodel_source_fill(source, offset, bytes, n_bytes);
}
