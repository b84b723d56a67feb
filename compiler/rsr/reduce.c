/* reduce.c - makes the reduced matrix: equal and opposite rows are computed once, zero rows and
 * columns not at all.
 *
 * Input: a matrix, and which of its rows and columns are dead. Output: the reduced matrix, on which
 * all later stages work, and, for every row of the layer, the source of its result. Lowering
 * applies the maps: rows are expanded after they are computed, columns are gathered before
 * (kernel/kernel_maps.c). Both cost time, so each map is used only where it pays.
 */
#include "rsr/reduce.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "rsr/rows.h"

/* ---- when a map pays ------------------------------------------------------------------------- */

/* The cost of expanding one row of results, in weights that a core multiplies meanwhile. The loads
 * of its entry, a multiplication and a store take about 2 ns. In that time a core multiplies 120
 * weights when decoding from memory (61-69 Gw/s), and about 500 in a batch (`dot`, 440 GMAC/s less
 * the unpacking). The larger figure is used, so that the map loses in neither case. */
#define ROW_EXPANSION_WEIGHTS 512u
/* The cost of one gathered activation, about 1 ns. Every worker gathers for itself, so the dropped
 * columns must save that much in the worker's share of the rows, an eighth with eight workers. */
#define COLUMN_GATHER_WEIGHTS 256u
#define GATHERING_WORKERS 8u

static bool row_map_pays(const struct rsr_reduction_counts *counts, uint32_t n_kept_rows,
                         uint32_t cols) {
    return (uint64_t)(counts->rows - n_kept_rows) * cols >=
           (uint64_t)counts->rows * ROW_EXPANSION_WEIGHTS;
}

/* Gathering pays only for `dot` and `lut`. For `scatter` and `fold` zero columns cost nothing, with
 * or without a map. */
static bool column_map_pays(const struct rsr_reduction_counts *counts, uint32_t n_kept_cols,
                            uint32_t rows) {
    return n_kept_cols < counts->cols &&
           (uint64_t)(counts->cols - n_kept_cols) * rows >=
               (uint64_t)n_kept_cols * COLUMN_GATHER_WEIGHTS * GATHERING_WORKERS;
}

/* ---- reducing -------------------------------------------------------------------------------- */

static bool is_flagged(const uint8_t *flags, uint32_t i) {
    return flags != NULL && flags[i] != 0;
}

/* The matrix with dead rows and columns set to zero; its own values if none is dead. */
static const int8_t *mask_values(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                                 const struct rsr_dead *dead) {
    const uint32_t cols = matrix->cols;
    if (dead->rows == NULL && dead->cols == NULL)
        return matrix->values;
    assert(matrix->alphabet != RSR_BINARY_SIGN);
    int8_t *values = rsrc_arena_array(arena, matrix->rows, cols);
    for (uint32_t i = 0; i < matrix->rows; i++) {
        int8_t *row = values + (size_t)i * cols;
        if (is_flagged(dead->rows, i)) {
            memset(row, 0, cols);
            continue;
        }
        memcpy(row, matrix->values + (size_t)i * cols, cols);
        for (uint32_t j = 0; dead->cols != NULL && j < cols; j++)
            row[j] = dead->cols[j] != 0 ? 0 : row[j];
    }
    return values;
}

/* The matrix without dead rows and columns, and facts about it. */
struct view {
    struct rsr_matrix matrix;
    struct rsrc_row_facts facts;
};

static struct view look_at(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                           const struct rsr_dead *dead) {
    struct view view = {.matrix = *matrix};
    view.matrix.values = mask_values(arena, matrix, dead);
    rsrc_find_row_facts(arena, &view.matrix, &view.facts);
    return view;
}

static struct rsr_reduction_counts count_findings(const struct rsr_matrix *matrix,
                                                  const struct rsr_dead *dead,
                                                  const struct rsrc_row_facts *facts) {
    struct rsr_reduction_counts counts = {.rows = matrix->rows, .cols = matrix->cols};
    for (uint32_t i = 0; i < matrix->rows; i++) {
        const struct rsr_row_source *source = &facts->sources[i];
        if (is_flagged(dead->rows, i))
            counts.n_dead_rows++;
        else if (source->sign == 0)
            counts.n_zero_rows++;
        else if (source->row != i)
            counts.n_repeated_rows++;
    }
    for (uint32_t j = 0; j < matrix->cols; j++) {
        if (is_flagged(dead->cols, j))
            counts.n_dead_cols++;
        else if (facts->col_used[j] == 0)
            counts.n_zero_cols++;
    }
    return counts;
}

/* Numbers the kept rows, which are those that are their own source. A matrix of zeros keeps its
 * first row. Sources then refer to rows of the reduced matrix. Returns the number of kept rows;
 * kept[n] is a row of the layer. */
static uint32_t number_rows(uint32_t rows, struct rsr_row_source *sources, uint32_t *kept) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < rows; i++) {
        struct rsr_row_source *source = &sources[i];
        if (source->sign == 0)
            continue;
        if (source->row == i) {
            kept[n] = i;
            source->row = n++;
        } else {
            source->row = sources[source->row].row; /* an earlier row: numbered already */
        }
    }
    if (n == 0)
        kept[n++] = 0;
    return n;
}

static uint32_t list_used_cols(const struct rsrc_row_facts *facts, uint32_t cols, uint32_t *kept) {
    uint32_t n = 0;
    for (uint32_t j = 0; j < cols; j++)
        if (facts->col_used[j] != 0)
            kept[n++] = j;
    if (n == 0)
        kept[n++] = 0;
    return n;
}

/* kept NULL: all. */
static const int8_t *copy_kept(struct rsrc_arena *arena, const int8_t *values, uint32_t cols,
                               const uint32_t *kept_rows, const struct rsr_reduction *reduction) {
    int8_t *out = rsrc_arena_array(arena, reduction->rows, reduction->cols);
    for (uint32_t i = 0; i < reduction->rows; i++) {
        const int8_t *row = values + (size_t)(kept_rows != NULL ? kept_rows[i] : i) * cols;
        int8_t *to = out + (size_t)i * reduction->cols;
        if (reduction->kept_cols == NULL)
            memcpy(to, row, cols);
        for (uint32_t j = 0; reduction->kept_cols != NULL && j < reduction->cols; j++)
            to[j] = row[reduction->kept_cols[j]];
    }
    return out;
}

/* If groups of columns have scales, rows with equal weights can have different results, and a
 * dropped column would move others to another group. */
void rsrc_reduce_matrix(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                        const struct rsr_dead *dead, struct rsr_matrix *reduced,
                        struct rsr_reduction *reduction) {
    if (matrix->group_cols != 0) {
        rsrc_keep_matrix(matrix, reduced, reduction);
        reduced->values = mask_values(arena, matrix, &(struct rsr_dead){.cols = dead->cols});
        return;
    }
    struct view view = look_at(arena, matrix, dead);
    struct rsr_reduction result = {.counts = count_findings(matrix, dead, &view.facts),
                                   .rows = matrix->rows,
                                   .cols = matrix->cols};
    uint32_t *kept_rows = RSRC_NEW_ARRAY(arena, matrix->rows, uint32_t);
    const uint32_t n_kept_rows = number_rows(matrix->rows, view.facts.sources, kept_rows);
    if (row_map_pays(&result.counts, n_kept_rows, matrix->cols)) {
        result.rows = n_kept_rows;
        result.row_sources = view.facts.sources;
    } else if (dead->rows != NULL) { /* they are computed anyway, so they keep their true weights */
        view = look_at(arena, matrix, &(struct rsr_dead){.cols = dead->cols});
    }
    uint32_t *kept_cols = RSRC_NEW_ARRAY(arena, matrix->cols, uint32_t);
    const uint32_t n_kept_cols = list_used_cols(&view.facts, matrix->cols, kept_cols);
    if (column_map_pays(&result.counts, n_kept_cols, result.rows)) {
        result.cols = n_kept_cols;
        result.kept_cols = kept_cols;
    }
    view.matrix.rows = result.rows;
    view.matrix.cols = result.cols;
    if (result.row_sources != NULL || result.kept_cols != NULL)
        view.matrix.values = copy_kept(arena, view.matrix.values, matrix->cols,
                                       result.row_sources != NULL ? kept_rows : NULL, &result);
    *reduced = view.matrix;
    *reduction = result;
}

void rsrc_keep_matrix(const struct rsr_matrix *matrix, struct rsr_matrix *reduced,
                      struct rsr_reduction *reduction) {
    *reduced = *matrix;
    *reduction = (struct rsr_reduction){.counts = {.rows = matrix->rows, .cols = matrix->cols},
                                        .rows = matrix->rows,
                                        .cols = matrix->cols};
}

/* ---- verification ---------------------------------------------------------------------------- */

/* Says what is wrong with shapes and maps; NULL: nothing. Rebuilding does not check them again. */
static const char *check_maps(const struct rsr_matrix *matrix, const struct rsr_matrix *reduced,
                              const struct rsr_reduction *reduction) {
    if (reduction->counts.rows != matrix->rows || reduction->counts.cols != matrix->cols)
        return "it is of a layer of another shape";
    if (reduced->rows != reduction->rows || reduced->cols != reduction->cols ||
        reduced->alphabet != matrix->alphabet)
        return "the reduced matrix has another shape or alphabet";
    if (reduction->row_sources == NULL ? reduction->rows != matrix->rows : reduction->rows == 0)
        return "the rows are not those of the layer";
    if (reduction->kept_cols == NULL ? reduction->cols != matrix->cols : reduction->cols == 0)
        return "the columns are not those of the layer";
    for (uint32_t i = 0; reduction->row_sources != NULL && i < matrix->rows; i++) {
        const struct rsr_row_source *source = &reduction->row_sources[i];
        if (source->row >= reduction->rows || source->sign < -1 || source->sign > 1)
            return "a row comes from nowhere";
    }
    for (uint32_t j = 0; reduction->kept_cols != NULL && j < reduction->cols; j++)
        if (reduction->kept_cols[j] >= matrix->cols ||
            (j > 0 && reduction->kept_cols[j] <= reduction->kept_cols[j - 1]))
            return "the kept columns do not ascend";
    return NULL;
}

/* Rebuilds row i of the layer from the reduction. */
static void rebuild_row(const struct rsr_matrix *reduced, const struct rsr_reduction *reduction,
                        uint32_t i, int8_t *row) {
    struct rsr_row_source source = {.row = i, .sign = 1};
    if (reduction->row_sources != NULL)
        source = reduction->row_sources[i];
    const int8_t *values = reduced->values + (size_t)source.row * reduced->cols;
    memset(row, 0, reduction->counts.cols);
    for (uint32_t j = 0; j < reduced->cols; j++)
        row[reduction->kept_cols != NULL ? reduction->kept_cols[j] : j] =
            (int8_t)(values[j] * source.sign);
}

static const char *compare_rows(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                                const struct rsr_dead *dead, const struct rsr_matrix *reduced,
                                const struct rsr_reduction *reduction) {
    int8_t *row = rsrc_arena_alloc(arena, matrix->cols);
    for (uint32_t i = 0; i < matrix->rows; i++) {
        const bool is_dropped = reduction->row_sources != NULL && is_flagged(dead->rows, i);
        rebuild_row(reduced, reduction, i, row);
        for (uint32_t j = 0; j < matrix->cols; j++) {
            const int wanted = is_dropped || is_flagged(dead->cols, j)
                                   ? 0
                                   : matrix->values[(size_t)i * matrix->cols + j];
            if (row[j] != wanted)
                return rsrc_arena_printf(arena,
                                         "row %" PRIu32 ", column %" PRIu32
                                         " is %d in the matrix and %d after it",
                                         i, j, wanted, row[j]);
        }
    }
    return NULL;
}

enum rsrc_status rsrc_verify_reduction(struct rsrc_diag *diag, const struct rsr_matrix *matrix,
                                       const struct rsr_dead *dead,
                                       const struct rsr_matrix *reduced,
                                       const struct rsr_reduction *reduction,
                                       const char *layer_name) {
    struct rsrc_arena arena;
    rsrc_arena_init(&arena);
    const char *wrong = check_maps(matrix, reduced, reduction);
    if (wrong == NULL)
        wrong = compare_rows(&arena, matrix, dead, reduced, reduction);
    if (wrong != NULL) {
        struct rsrc_place place = {.tensor = layer_name};
        rsrc_error(diag, "reduce-verify", &place, "this is a defect of the compiler",
                   "the reduction is wrong: %s", wrong);
    }
    rsrc_arena_free(&arena);
    return wrong == NULL ? RSRC_OK : RSRC_FAILED;
}

/* ---- words ----------------------------------------------------------------------------------- */

/* "3 are dead, 20 are zero, 12 repeat others" */
static const char *findings_text(struct rsrc_arena *arena, uint32_t n_dead, uint32_t n_zero,
                                 uint32_t n_repeated) {
    const struct {
        uint32_t n;
        const char *what;
    } findings[] = {{n_dead, "dead"}, {n_zero, "zero"}, {n_repeated, "repeated"}};
    const char *text = "";
    for (size_t i = 0; i < sizeof findings / sizeof *findings; i++)
        if (findings[i].n != 0)
            text = rsrc_arena_printf(arena, "%s%s%" PRIu32 " %s", text, *text != '\0' ? ", " : "",
                                     findings[i].n, findings[i].what);
    return text;
}

static const char *side_text(struct rsrc_arena *arena, const char *verb, const char *noun,
                             uint32_t n_kept, uint32_t n_all, const char *findings,
                             const char *why_all) {
    if (*findings == '\0')
        return NULL;
    if (n_kept == n_all)
        return rsrc_arena_printf(arena, "%s all %" PRIu32 " %s (%s: %s)", verb, n_all, noun,
                                 findings, why_all);
    return rsrc_arena_printf(arena, "%s %" PRIu32 " of %" PRIu32 " %s (%s)", verb, n_kept, n_all,
                             noun, findings);
}

const char *rsrc_reduction_text(struct rsrc_arena *arena, const struct rsr_reduction *reduction,
                                const char *why_all) {
    const struct rsr_reduction_counts *counts = &reduction->counts;
    const char *rows = side_text(
        arena, "computes", "rows", reduction->rows, counts->rows,
        findings_text(arena, counts->n_dead_rows, counts->n_zero_rows, counts->n_repeated_rows),
        why_all);
    const char *cols =
        side_text(arena, "reads", "columns", reduction->cols, counts->cols,
                  findings_text(arena, counts->n_dead_cols, counts->n_zero_cols, 0), why_all);
    if (rows == NULL || cols == NULL)
        return rows != NULL ? rows : cols;
    return rsrc_arena_printf(arena, "%s, %s", rows, cols);
}
