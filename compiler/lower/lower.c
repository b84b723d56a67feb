/* lower.c - from a planned matrix to a kernel's operation list and its packed weights.
 *
 * Input: matrix, plan, target; some kernels also read the segment index. Output: rsr_lowered. The
 * plan's row of kernels.def does the work; this file refuses a plan that does not fit, names
 * things, packs the scales and checks the result.
 */
#include "lower/lower.h"

#include <assert.h>
#include <string.h>

#include "rsr_hash.h"
#include "base/round.h"

void *rsrc_alloc_blob(struct rsrc_arena *arena, struct rsr_blob *blob, uint64_t size_bytes) {
    void *bytes = rsrc_arena_alloc(arena, size_bytes);
    blob->bytes = bytes;
    blob->size_bytes = size_bytes;
    return bytes;
}

enum rsrc_status rsrc_refuse_wide(struct rsrc_diag *diag, const struct rsrc_lower_input *input) {
    const struct rsrc_place place = {.tensor = input->title};
    return rsrc_refuse(diag, "lower-too-wide", &place,
                       "a row this long needs 64-bit sums, which rsrc does not have",
                       "int32 sums of %u columns could overflow", input->matrix->cols);
}

/* Stems and target names may come from files: only letters, digits and '_' reach a symbol. */
static const char *symbol_text(struct rsrc_arena *arena, const char *text) {
    char *copy = rsrc_arena_strdup(arena, text);
    for (char *p = copy; *p != '\0'; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9')))
            *p = '_';
    return copy;
}

/* Scales padded with 0 to whole quads, so that vector code may load past the last row. There is one
 * for each row of the layer, even if the matrix is reduced. Scales of groups lie among the codes or
 * in the index, where the variant reads them in order; then the layer's scale is 1. */
static void pack_scale(struct rsrc_arena *arena, const struct rsr_matrix *matrix,
                       struct rsr_blob *blob) {
    static const float one = 1;
    const bool groups = matrix->group_cols != 0;
    const size_t n_scales = groups ? 1 : matrix->n_scales;
    const size_t n = rsrc_round_up(n_scales, 4);
    float *scale = RSRC_NEW_ARRAY(arena, n, float);
    if (n != 0) /* a matrix by itself has none */
        memcpy(scale, groups ? &one : matrix->scale, n_scales * sizeof *scale);
    blob->bytes = scale;
    blob->size_bytes = n * sizeof *scale;
}

static bool is_mapped(const struct rsr_reduction *reduction) {
    return reduction != NULL && (reduction->row_sources != NULL || reduction->kept_cols != NULL);
}

/* Properties of the maps that a kernel's code depends on: their shape, and where the tables lie. */
static const char *maps_text(struct rsrc_arena *arena, const struct rsrc_lower_input *input,
                             const struct rsr_lowered *lowered) {
    const struct rsr_reduction *reduction = input->reduction;
    if (!is_mapped(reduction))
        return "";
    return rsrc_arena_printf(arena, "/of-%ux%u-%llu", reduction->counts.rows,
                             reduction->counts.cols, (unsigned long long)lowered->index.size_bytes);
}

/* Names the scales that a kernel multiplies with: of groups, of rows or of the tensor. */
static const char *scales_text(struct rsrc_arena *arena, const struct rsr_matrix *matrix) {
    if (matrix->group_cols != 0)
        return rsrc_arena_printf(arena, "group%u", matrix->group_cols);
    return matrix->n_scales > 1 ? "row" : "tensor";
}

/* Both kernels of a layer may have an index: the variant tells them apart. */
static void finish_blob(struct rsrc_arena *arena, struct rsr_blob *blob, const char *stem,
                        const char *variant, const char *what) {
    if (blob->size_bytes == 0)
        return;
    struct rsr_hash hash;
    rsr_hash_init(&hash);
    rsr_hash_update(&hash, blob->bytes, blob->size_bytes);
    rsr_hash_final(&hash, blob->hash);
    blob->symbol = rsrc_arena_printf(arena, "rsr_w_%s_%s_%s", stem, variant, what);
    blob->align = 64;
}

/* The bodies of a kernel are one layer's weights, so the kernel is named after the layer. */
static const char *name_by_content(struct rsrc_arena *arena, const struct rsrc_lower_input *input,
                                   const struct rsrc_kernel_row *row,
                                   const struct rsr_kernel *kernel) {
    if (kernel->n_bodies != 0)
        return kernel->symbol;
    const char *activations = input->input == RSR_INPUT_I8 ? "_i8" : "_f32";
    const bool is_said = strstr(row->name, activations) != NULL; /* "lut_f32" */
    return rsrc_arena_printf(arena, "rsr_%s%s_%ux%u_%s%s%s", row->name, is_said ? "" : activations,
                             kernel->rows, kernel->cols, input->regime != NULL ? input->regime : "",
                             input->regime != NULL ? "_" : "",
                             symbol_text(arena, input->spec->name));
}

enum rsrc_status rsrc_lower_layer(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                  const struct rsrc_lower_input *input, struct rsr_lowered *out) {
    const struct rsr_matrix *matrix = input->matrix;
    const struct rsrc_kernel_row *row = rsrc_kernel_row(input->plan->kernel);
    const char *variant = rsrc_variant_name(row->variant);
    assert(matrix->rows >= 1 && matrix->cols >= 1);
    assert(matrix->group_cols == 0 ||
           (input->epilogue == RSR_EPILOGUE_SCALE && !is_mapped(input->reduction) &&
            matrix->n_scales ==
                (uint64_t)matrix->rows * rsrc_divide_up(matrix->cols, matrix->group_cols)));
    struct rsr_lowered lowered = {0};
    struct rsr_kernel *kernel = &lowered.kernel;
    const char *detail = NULL;
    const struct rsrc_place place = {.tensor = input->title};
    const struct rsrc_planned_layer layer = {input->spec, input->input, matrix->rows, matrix->cols,
                                             matrix->group_cols};
    if (rsrc_check_plan(diag, arena, &place, &layer, input->plan) != RSRC_OK)
        return RSRC_FAILED;
    if (row->lower(diag, arena, input, &lowered, &detail) != RSRC_OK)
        return RSRC_FAILED;
    rsrc_simplify_kernel(arena, kernel);
    kernel->tiles_have_own_codes = kernel->n_streams != 0;
    if (kernel->n_streams == 0) {
        kernel->n_streams = 1;
        kernel->tile_bytes = lowered.codes.size_bytes / kernel->n_tiles;
    }

    const char *stem = symbol_text(arena, input->symbol_stem);
    kernel->symbol = rsrc_arena_printf(arena, "rsr_%s_%s_%s", stem, variant,
                                       symbol_text(arena, input->spec->name));
    kernel->name = name_by_content(arena, input, row, kernel);
    kernel->key = rsrc_arena_printf(
        arena, "%s/%ux%u%s/%s/%s/%s/%s-scale/tile%u/%s/%s-%llx", variant, matrix->rows,
        matrix->cols, maps_text(arena, input, &lowered), rsrc_alphabet_name(matrix->alphabet),
        input->input == RSR_INPUT_I8 ? "i8" : "f32",
        input->epilogue == RSR_EPILOGUE_RAW ? "raw" : "scaled", scales_text(arena, matrix),
        kernel->tile_rows, detail, input->spec->name,
        (unsigned long long)input->spec->cpu_features);
    kernel->title = input->title;
    kernel->reason = input->plan->reason;
    kernel->spec = input->spec;
    kernel->variant = row->variant;
    kernel->input = input->input;

    pack_scale(arena, matrix, &lowered.scale);
    finish_blob(arena, &lowered.codes, stem, variant, "codes");
    finish_blob(arena, &lowered.index, stem, variant, "index");
    finish_blob(arena, &lowered.scale, stem, variant, "scale");
    if ((kernel->matvec == NULL || kernel->n_bodies != 0) &&
        rsrc_verify_kernel(diag, kernel) != RSRC_OK)
        return RSRC_FAILED;
    *out = lowered;
    return RSRC_OK;
}
