/* segment_picture.c - the histogram and the map of segments that a report draws.
 *
 * A segment of m columns in a block needs one sum for m columns: the share that need not be added
 * is 1 - 1/m for each of them, and 1 for a column of zeros. The map has the mean share over the
 * blocks and columns of a cell. Counts are exact and include every block; only one block's codes
 * are in memory at a time.
 */
#include "rsr/segment_picture.h"

#include <assert.h>
#include <math.h>

#include "base/round.h"
#include "rsr/codes.h"

/* Shares are summed as integers, so that the picture is equal on every machine. */
#define WHOLE 65536u

struct picture {
    const struct rsr_matrix *matrix;
    uint32_t *keys;      /* [cols] of a block */
    uint32_t *counts;    /* by canonical code; 0 between groups */
    uint16_t *cell_of;   /* [cols] */
    uint32_t *cell_cols; /* [map_cols] columns of a cell */
    uint64_t *row;       /* [map_cols] sums of the current cells */
    uint32_t n_blocks;   /* in them */
    double *shares;      /* [map_rows][map_cols] */
    struct rsr_segment_picture *out;
};

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* The bin b with 2^(b-1) < n <= 2^b. */
static uint32_t bin_of(uint32_t n) {
    uint32_t bin = 0;
    while (UINT64_C(1) << bin < n)
        bin++;
    return bin;
}

/* Counts columns [begin, end) of the block, which share segments. */
static void add_group(struct picture *p, uint32_t begin, uint32_t end) {
    for (uint32_t j = begin; j < end; j++)
        p->counts[p->keys[j] >> 1]++;
    for (uint32_t j = begin; j < end; j++) {
        const uint32_t n = p->keys[j] == 0 ? UINT32_MAX : p->counts[p->keys[j] >> 1];
        p->row[p->cell_of[j]] += WHOLE - WHOLE / n;
    }
    p->counts[0] = 0; /* zeros are no segment */
    for (uint32_t j = begin; j < end; j++) {
        uint32_t *n = &p->counts[p->keys[j] >> 1];
        if (*n != 0)
            p->out->multiplicity[bin_of(*n)]++;
        *n = 0;
    }
}

static void end_row(struct picture *p, uint32_t map_row) {
    double *shares = p->shares + (size_t)map_row * p->out->map_cols;
    for (uint32_t x = 0; x < p->out->map_cols; x++) {
        shares[x] = (double)p->row[x] / ((double)WHOLE * p->cell_cols[x] * p->n_blocks);
        p->row[x] = 0;
    }
    p->n_blocks = 0;
}

/* Levels reach from the least to the largest share, so that a pattern is visible even if all shares
 * are similar. */
static void fill_map(struct rsrc_arena *arena, const struct picture *p) {
    struct rsr_segment_picture *out = p->out;
    const size_t n = (size_t)out->map_rows * out->map_cols;
    uint8_t *map = RSRC_NEW_ARRAY(arena, n, uint8_t);
    out->map_least = out->map_most = p->shares[0];
    for (size_t i = 0; i < n; i++) {
        out->map_least = fmin(out->map_least, p->shares[i]);
        out->map_most = fmax(out->map_most, p->shares[i]);
    }
    const double range = out->map_most - out->map_least;
    for (size_t i = 0; i < n && range > 0; i++)
        map[i] = (uint8_t)((p->shares[i] - out->map_least) / range * (RSR_MAP_LEVELS - 1) + 0.5);
    out->map = map;
}

static void begin(struct rsrc_arena *arena, uint32_t k, struct picture *p) {
    const struct rsr_matrix *matrix = p->matrix;
    const uint32_t map_cols = p->out->map_cols;
    p->keys = RSRC_NEW_ARRAY(arena, matrix->cols, uint32_t);
    p->counts = RSRC_NEW_ARRAY(arena, rsrc_code_range(matrix->alphabet, k).end, uint32_t);
    p->cell_of = RSRC_NEW_ARRAY(arena, matrix->cols, uint16_t);
    p->cell_cols = RSRC_NEW_ARRAY(arena, map_cols, uint32_t);
    p->row = RSRC_NEW_ARRAY(arena, map_cols, uint64_t);
    p->shares = RSRC_NEW_ARRAY(arena, (size_t)p->out->map_rows * map_cols, double);
    for (uint32_t j = 0; j < matrix->cols; j++) {
        p->cell_of[j] = (uint16_t)((uint64_t)j * map_cols / matrix->cols);
        p->cell_cols[p->cell_of[j]]++;
    }
}

void rsrc_picture_segments(struct rsrc_arena *arena, const struct rsr_matrix *matrix, uint32_t k,
                           uint32_t max_side, struct rsr_segment_picture *out) {
    assert(k >= 1 && k <= RSR_MAX_K && matrix->cols <= RSRC_MAX_COLS);
    assert(max_side >= 1 && max_side <= RSR_MAP_SIDE);
    const uint32_t n_blocks = (uint32_t)rsrc_divide_up(matrix->rows, k);
    *out = (struct rsr_segment_picture){.map_rows = least(n_blocks, max_side),
                                        .map_cols = least(matrix->cols, max_side)};
    struct picture p = {.matrix = matrix, .out = out};
    begin(arena, k, &p);
    const uint32_t shared = matrix->group_cols != 0 ? matrix->group_cols : matrix->cols;
    for (uint32_t b = 0; b < n_blocks; b++) {
        const uint32_t map_row = (uint32_t)((uint64_t)b * out->map_rows / n_blocks);
        rsrc_block_keys(matrix, b * k, rsrc_block_height(matrix->rows, k, b * k), p.keys);
        for (uint32_t j = 0; j < matrix->cols; j += shared)
            add_group(&p, j, j + least(shared, matrix->cols - j));
        p.n_blocks++;
        if (b + 1 == n_blocks || (uint64_t)(b + 1) * out->map_rows / n_blocks != map_row)
            end_row(&p, map_row);
    }
    fill_map(arena, &p);
}
