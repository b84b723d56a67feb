/* stats.c - what segments could save in a matrix: counts per k, and the best k, without an index.
 *
 * Input: a matrix. Output: rsr_stats. If groups of columns have scales, segments, folds and
 * products are counted separately in every group. Counting needs the codes of a block and one bit
 * for each possible code; nothing is sorted or stored. rsrc_choose_k takes a sample of the blocks
 * for each k, and exact statistics only of the best k. Source: RSR, arXiv 2411.06360, section 4.3
 * (the optimal k solves the cost of the matrix at hand).
 */
#include <assert.h>
#include <string.h>

#include "base/round.h"
#include "rsr/codes.h"
#include "rsr/rows.h"
#include "rsr/segment.h"

/* Blocks in the sample for each k. They are spread evenly, so that rows of all kinds are in it.
 * Four blocks for every k are 544 rows together, a fraction of a typical matrix. */
#define SAMPLE_BLOCKS 4u

struct block_counts {
    uint64_t n_members, n_segments, n_direct_adds;
};

/* If there are at most this many times as many codes as columns, each code has a byte. */
#define MARKED_CODES_PER_COLUMN 8u

/* Scratch of the counting passes; the tables are all zero between blocks. */
struct counter {
    const struct rsr_matrix *matrix;
    uint32_t *keys;  /* [cols] */
    uint64_t *seen;  /* one bit a canonical code */
    uint8_t *marked; /* one byte a canonical code */
};

static struct counter make_counter(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                                   uint32_t max_k) {
    uint32_t end_code = rsrc_code_range(matrix->alphabet, max_k).end;
    uint64_t max_marked = (uint64_t)matrix->cols * MARKED_CODES_PER_COLUMN;
    return (struct counter){
        .matrix = matrix,
        .keys = RSRC_NEW_ARRAY(arena, matrix->cols, uint32_t),
        .seen = RSRC_NEW_ARRAY(arena, end_code / 64 + 1, uint64_t),
        .marked = RSRC_NEW_ARRAY(arena, end_code < max_marked ? end_code : max_marked, uint8_t)};
}

/* Columns that share segments. */
static uint32_t segment_cols(const struct rsr_matrix *matrix) {
    return matrix->group_cols != 0 && matrix->group_cols < matrix->cols ? matrix->group_cols
                                                                        : matrix->cols;
}

/* Counts distinct codes of a small range: marking bytes needs no loads, which would wait for
 * earlier stores, and the table is summed 16 codes at a time. */
static uint32_t count_marked(uint8_t *marked, uint32_t end_code, const uint32_t *keys, uint32_t n) {
    uint32_t count = 0;
    for (uint32_t j = 0; j < n; j++)
        marked[keys[j] >> 1] = 1;
    for (uint32_t code = 1; code < end_code; code++) /* code 0 is no segment */
        count += marked[code];
    memset(marked, 0, end_code);
    return count;
}

/* Counts distinct codes of a large range: each code has a bit. */
static uint32_t count_seen(uint64_t *seen, const uint32_t *keys, uint32_t n) {
    uint32_t count = 0;
    seen[0] = 1; /* code 0 is no segment */
    for (uint32_t j = 0; j < n; j++) {
        uint32_t code = keys[j] >> 1;
        uint64_t word = seen[code / 64];
        count += (word >> code % 64 & 1) == 0;
        seen[code / 64] = word | UINT64_C(1) << code % 64;
    }
    seen[0] = 0;
    for (uint32_t j = 0; j < n; j++)
        seen[keys[j] / 128] = 0;
    return count;
}

static void count_block(const struct counter *counter, uint32_t first_row, uint32_t height,
                        struct block_counts *counts) {
    const struct rsr_matrix *matrix = counter->matrix;
    const uint32_t *keys = counter->keys;
    const uint32_t end_code = rsrc_code_range(matrix->alphabet, height).end;
    const uint32_t group_cols = segment_cols(matrix);
    uint32_t n_members = 0;
    uint64_t n_segments = 0;
    rsrc_block_keys(matrix, first_row, height, counter->keys);
    for (uint32_t j = 0; j < matrix->cols; j++)
        n_members += keys[j] != 0;
    for (uint32_t j = 0; j < matrix->cols; j += group_cols) {
        const uint32_t left = matrix->cols - j;
        const uint32_t n = left < group_cols ? left : group_cols;
        n_segments += end_code / MARKED_CODES_PER_COLUMN < n
                          ? count_marked(counter->marked, end_code, keys + j, n)
                          : count_seen(counter->seen, keys + j, n);
    }
    counts->n_members += n_members;
    counts->n_segments += n_segments;
    counts->n_direct_adds += n_segments * height;
}

static uint64_t count_all_fold_adds(const struct rsr_matrix *matrix, uint32_t k) {
    const uint64_t n_groups = rsrc_divide_up(matrix->cols, segment_cols(matrix));
    uint64_t adds = matrix->rows / k * rsrc_count_fold_adds(matrix->alphabet, k);
    uint32_t rest = matrix->rows % k;
    return n_groups * (rest == 0 ? adds : adds + rsrc_count_fold_adds(matrix->alphabet, rest));
}

/* ---- what does not depend on k --------------------------------------------------------------- */

static void analyse_rows(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                         struct rsr_stats *stats) {
    struct rsrc_row_facts facts;
    rsrc_find_row_facts(arena, matrix, &facts);
    for (uint32_t i = 0; i < matrix->rows; i++) {
        const struct rsr_row_source *source = &facts.sources[i];
        stats->n_nonzero += facts.n_nonzero[i];
        if (facts.n_nonzero[i] > stats->max_row_nonzero)
            stats->max_row_nonzero = facts.n_nonzero[i];
        stats->n_zero_rows += source->sign == 0;
        stats->n_equal_rows += source->sign != 0 && source->row != i;
    }
    for (uint32_t j = 0; j < matrix->cols; j++)
        stats->n_zero_cols += facts.col_used[j] == 0;
}

/* ---- entry points ---------------------------------------------------------------------------- */

void rsrc_analyse_matrix(struct rsrc_arena *arena, const struct rsr_matrix *matrix, uint32_t k,
                         struct rsr_stats *out) {
    assert(k >= 1 && k <= RSR_MAX_K && matrix->cols <= RSRC_MAX_COLS);
    struct rsr_stats stats = {.rows = matrix->rows, .cols = matrix->cols, .k = k};
    analyse_rows(arena, matrix, &stats);
    struct counter counter = make_counter(arena, matrix, k);
    struct block_counts counts = {0};
    for (uint32_t b = 0; b < rsrc_divide_up(matrix->rows, k); b++)
        count_block(&counter, b * k, rsrc_block_height(matrix->rows, k, b * k), &counts);
    stats.n_members = counts.n_members;
    stats.n_segments = counts.n_segments;
    stats.n_direct_adds = counts.n_direct_adds;
    stats.n_fold_adds = count_all_fold_adds(matrix, k);
    *out = stats;
}

/* Expected cost of all blocks at k, in additions, with the cheaper of RSR and RSR++. */
static double estimate_cost(const struct counter *counter, uint32_t k) {
    const struct rsr_matrix *matrix = counter->matrix;
    uint32_t n_blocks = rsrc_divide_up(matrix->rows, k);
    uint32_t n_samples = n_blocks < SAMPLE_BLOCKS ? n_blocks : SAMPLE_BLOCKS;
    struct block_counts counts = {0};
    for (uint32_t s = 0; s < n_samples; s++) {
        uint32_t first_row = (uint32_t)((uint64_t)s * n_blocks / n_samples) * k;
        count_block(counter, first_row, rsrc_block_height(matrix->rows, k, first_row), &counts);
    }
    double scale = (double)n_blocks / n_samples;
    double direct = scale * (double)(RSR_DIRECT_DIGIT_ADDS * counts.n_direct_adds);
    double fold = (double)count_all_fold_adds(matrix, k);
    double sums = (double)(counts.n_members + RSR_SEGMENT_START_ADDS * counts.n_segments);
    return scale * sums + (direct < fold ? direct : fold);
}

uint32_t rsrc_choose_k(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                       struct rsr_stats *out) {
    uint32_t max_k = matrix->rows < RSR_MAX_K ? matrix->rows : RSR_MAX_K;
    struct counter counter = make_counter(arena, matrix, max_k);
    double costs[RSR_MAX_K + 1] = {0};
    uint32_t best_k = 1;
    for (uint32_t k = 1; k <= max_k; k++) {
        costs[k] = estimate_cost(&counter, k);
        if (costs[k] < costs[best_k])
            best_k = k;
    }
    rsrc_analyse_matrix(arena, matrix, best_k, out);
    memcpy(out->k_costs, costs, sizeof(costs));
    return best_k;
}
