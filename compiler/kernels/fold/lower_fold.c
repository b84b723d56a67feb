/* lower_fold.c - `fold`: the segment index as instructions.
 *
 * The matrix is cut into tiles of whole blocks and chunks of columns; a body (kernel/fold_body.h)
 * is the code of one tile and one chunk. The kernel transposes a few token tiles of activations
 * into columns, one token per lane. Then, for every tile of rows and every chunk, it calls the body
 * on one token tile after another, so that the code is fetched once for all of them. The epilogue
 * gathers each token's sums.
 *
 * Lanes are 16 bits wide for int8 activations. Chunks are as wide as the matrix allows, so that no
 * row has more than 255 non-zero weights in a chunk (255 * 128 < 2^15). Float activations have
 * float lanes. A plan for one token, or a target without vectors, takes scalars: int32 for int8
 * activations, or float.
 *
 * The index is code, not data. So the key has its hash, and kernels of different matrices differ.
 * Source: RSR, arXiv 2411.06360, sections 3 and 4.
 */
#include <assert.h>

#include "base/round.h"
#include "kernel/fold_body.h"

/* The 8-bit displacement of an instruction, scaled by the vector's 64 bytes, reaches 128 columns to
 * either side. */
#define BIAS_COLS 128u
/* The largest number of token tiles whose columns and sums are in scratch memory together; they
 * must also fit half of L2. */
#define MAX_SLOTS 8u

struct fold {
    struct rsrc_frame frame;
    struct rsrc_fold_form form;
    uint32_t tile_rows;
    uint32_t n_slots;
    /* A slot has the columns of a token tile, then its sums; both sizes are multiples of the
     * lanes. */
    uint64_t columns_bytes, sums_bytes;
    struct rsrc_token_group group; /* token tiles whose slots are in scratch memory together */
    uint16_t tile, chunk;
    uint16_t first_row, end_row; /* of the tile */
};

/* ---- the form -------------------------------------------------------------------------------- */

/* The most non-zero weights that one row has in one chunk, or any number above `limit`. */
static uint32_t max_chunk_terms(const struct rsr_matrix *matrix, uint32_t chunk_cols,
                                uint32_t limit) {
    uint32_t most = 0;
    for (uint32_t r = 0; r < matrix->rows; r++) {
        const int8_t *row = matrix->values + (size_t)r * matrix->cols;
        for (uint32_t first = 0; first < matrix->cols && most <= limit; first += chunk_cols) {
            const uint32_t left = matrix->cols - first;
            const uint32_t n = left < chunk_cols ? left : chunk_cols;
            uint32_t terms = 0;
            for (uint32_t j = 0; j < n; j++)
                terms += row[first + j] != 0;
            most = terms > most ? terms : most;
        }
    }
    return most;
}

/* Chunks of equal width, as few as `max_cols` and the bound of narrow sums allow. */
static void choose_chunks(struct rsrc_fold_form *form, const struct rsr_matrix *matrix) {
    const uint32_t cols = matrix->cols;
    const uint32_t max_cols = form->tokens.elem == RSR_ELEM_I16   ? RSRC_FOLD_NARROW_COLS
                              : form->tokens.elem == RSR_ELEM_F32 ? RSRC_FOLD_FLOAT_COLS
                                                                  : RSRC_FOLD_SCALAR_COLS;
    uint32_t n = rsrc_divide_up(cols, max_cols);
    form->chunk_cols = rsrc_divide_up(cols, n);
    while (form->tokens.elem == RSR_ELEM_I16 && form->chunk_cols > RSRC_FOLD_NARROW_TERMS &&
           max_chunk_terms(matrix, form->chunk_cols, RSRC_FOLD_NARROW_TERMS) >
               RSRC_FOLD_NARROW_TERMS)
        form->chunk_cols = rsrc_divide_up(cols, ++n);
    form->n_chunks = rsrc_divide_up(cols, form->chunk_cols);
    form->bias_cols = form->tokens.lanes > 1 && form->chunk_cols > BIAS_COLS ? BIAS_COLS : 0;
}

static void choose_form(struct fold *f, const struct rsrc_lower_input *input) {
    struct rsrc_fold_form *form = &f->form;
    form->alphabet = input->matrix->alphabet;
    form->k = input->plan->k;
    form->tokens.lanes = input->plan->token_tile;
    form->tokens.elem = input->input == RSR_INPUT_F32 ? RSR_ELEM_F32
                        : form->tokens.lanes > 1      ? RSR_ELEM_I16
                                                      : RSR_ELEM_I32;
    choose_chunks(form, input->matrix);
}

/* Sizes of the scratch memory, once the tile is known. */
static void place_scratch(struct fold *f, const struct rsrc_lower_input *input) {
    f->columns_bytes = rsrc_round_up(input->matrix->cols, RSRC_TOKEN_COLUMN_STEP) *
                       rsrc_column_bytes(&f->form.tokens);
    f->sums_bytes = rsrc_round_up(f->tile_rows, 16) * rsrc_lane_sums_bytes(&f->form.tokens);
    const uint64_t slot_bytes = f->columns_bytes + f->sums_bytes;
    const uint64_t slots = input->spec->l2_bytes / 2 / slot_bytes;
    f->n_slots = slots == 0 ? 1 : slots < MAX_SLOTS ? (uint32_t)slots : MAX_SLOTS;
}

/* ---- the loops ------------------------------------------------------------------------------- */

static uint16_t emit_slot(struct fold *f, uint16_t first, uint64_t offset, const char *name) {
    return rsrc_token_slot(&f->group, first, (int64_t)offset, f->columns_bytes + f->sums_bytes,
                           name);
}

static void emit_columns(struct fold *f) {
    struct rsrc_kb *kb = &f->frame.kb;
    rsrc_kb_comment(kb, "activations as columns, %u tokens side by side: a column is one operand",
                    f->form.tokens.lanes);
    const uint16_t first = rsrc_begin_token_vectors(&f->group, "columns_token");
    const uint16_t at = emit_slot(f, first, 0, "columns_at");
    rsrc_token_columns(&f->frame, &f->form.tokens, first, at, RSR_NO_KREG,
                       rsrc_kb_index_const(kb, kb->kernel->cols, "n_cols"));
    rsrc_kb_end(kb);
}

static void emit_clear_sums(struct fold *f) {
    struct rsrc_kb *kb = &f->frame.kb;
    const uint32_t lanes = f->form.tokens.lanes < 16 ? f->form.tokens.lanes : 16;
    const bool is_float = f->form.tokens.elem == RSR_ELEM_F32;
    const uint16_t zeros = rsrc_kb_reg(
        kb, is_float ? RSR_ELEM_F32 : RSR_ELEM_I32,
        f->form.tokens.elem == RSR_ELEM_I16 ? f->form.tokens.lanes / 2 : lanes, "zeros");
    const uint32_t step = 4 * kb->kernel->regs[zeros].lanes;
    if (is_float)
        rsrc_kb_const_f32(kb, zeros, 0.0f);
    else
        rsrc_kb_const(kb, zeros, 0);
    rsrc_kb_comment(kb, "sums of the tile's rows, to which bodies add");
    const uint16_t end = rsrc_kb_index_const(kb, f->sums_bytes, "sums_bytes");
    const uint16_t first = rsrc_begin_token_vectors(&f->group, "clear_token");
    const uint16_t at = emit_slot(f, first, f->columns_bytes, "clear_at");
    const uint16_t byte = rsrc_kb_index_reg(kb, "sum_byte");
    rsrc_kb_loop(kb, byte, f->frame.zero, end, step);
    rsrc_kb_store(
        kb, zeros,
        rsrc_address_plus(rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, 0), at, 1), byte, 1));
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* Calls the bodies of the tile, chunk by chunk, each for all token tiles of the group. */
static void emit_calls(struct fold *f) {
    struct rsrc_kb *kb = &f->frame.kb;
    const uint64_t column_bytes = rsrc_column_bytes(&f->form.tokens);
    const uint16_t n_chunks = rsrc_kb_index_const(kb, f->form.n_chunks, "n_chunks");
    const uint16_t chunk_bytes =
        rsrc_kb_index_const(kb, f->form.chunk_cols * column_bytes, "chunk_bytes");
    const uint16_t number = rsrc_kb_index_reg(kb, "body");
    rsrc_kb_comment(
        kb,
        "chunks of %u columns: the weights of a tile and a chunk are one body, which serves "
        "all tokens of the group while the caches have its code",
        f->form.chunk_cols);
    rsrc_kb_binary(kb, RSR_KOP_MUL, number, f->tile, n_chunks);
    f->chunk = rsrc_kb_index_reg(kb, "chunk");
    rsrc_kb_loop(kb, f->chunk, f->frame.zero, n_chunks, 1);
    const uint16_t chunk_at = rsrc_kb_index_op(kb, RSR_KOP_MUL, f->chunk, chunk_bytes, "chunk_at");
    const uint16_t first = rsrc_begin_token_vectors(&f->group, "first_token");
    const uint16_t columns = emit_slot(f, first, f->form.bias_cols * column_bytes, "body_columns");
    rsrc_kb_binary(kb, RSR_KOP_ADD, columns, columns, chunk_at);
    const uint16_t sums = emit_slot(f, first, f->columns_bytes, "body_sums");
    rsrc_kb_call(kb, number, columns, sums);
    rsrc_kb_end(kb);
    rsrc_kb_binary(kb, RSR_KOP_ADD, number, number, f->frame.one);
    rsrc_kb_end(kb);
}

static void emit_kernel(struct fold *f) {
    struct rsrc_kb *kb = &f->frame.kb;
    const uint32_t rows = kb->kernel->rows;
    const uint16_t n_rows = rsrc_kb_index_const(kb, rows, "n_rows");
    const uint16_t tile_rows = rsrc_kb_index_const(kb, f->tile_rows, "tile_rows");
    const uint16_t tile_begin =
        rsrc_kb_param(kb, rsrc_kb_index_reg(kb, "first_tile"), RSR_KPARAM_TILE_BEGIN);
    const uint16_t tile_end =
        rsrc_kb_param(kb, rsrc_kb_index_reg(kb, "end_tile"), RSR_KPARAM_TILE_END);
    rsrc_begin_token_groups(&f->group);
    emit_columns(f);
    f->tile = rsrc_kb_index_reg(kb, "tile");
    rsrc_kb_loop(kb, f->tile, tile_begin, tile_end, 1);
    f->first_row = rsrc_kb_index_op(kb, RSR_KOP_MUL, f->tile, tile_rows, "first_row");
    const uint16_t full = rsrc_kb_index_op(kb, RSR_KOP_ADD, f->first_row, tile_rows, "full_rows");
    f->end_row = rsrc_kb_index_op(kb, RSR_KOP_MIN, full, n_rows, "end_row");
    emit_clear_sums(f);
    emit_calls(f);
    rsrc_token_group_results(
        &f->group, (int64_t)f->columns_bytes, f->columns_bytes + f->sums_bytes,
        (struct rsrc_token_range){.first_row = f->first_row,
                                  .end_row = f->end_row,
                                  .whole_quads = (rows | f->tile_rows) % 4 == 0});
    rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

enum rsrc_status rsrc_lower_fold(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                 const char **detail) {
    assert(input->index != NULL && input->index->k == input->plan->k && input->plan->k >= 1);
    if (rsrc_check_fold(diag, input) != RSRC_OK)
        return RSRC_FAILED;
    struct fold f = {0};
    choose_form(&f, input);
    rsrc_frame_begin(&f.frame, arena, input, input->plan->k, &out->kernel);
    f.tile_rows = out->kernel.tile_rows;
    f.form.tile_blocks = f.tile_rows / f.form.k;
    f.frame.unit_rows = 1; /* only bodies use blocks; results are stored row by row */
    place_scratch(&f, input);
    f.group =
        (struct rsrc_token_group){&f.frame, &f.form.tokens, f.n_slots * f.form.tokens.lanes, 0, 0};
    out->kernel.scratch_bytes = f.n_slots * (f.columns_bytes + f.sums_bytes);
    emit_kernel(&f);
    rsrc_fold_bodies(&f.frame.kb, input->index, &f.form);
    rsrc_frame_end(&f.frame, out);
    *detail =
        rsrc_arena_printf(arena, "k%u-%ux%u-chunk%u-slots%u-%s", f.form.k, f.form.tokens.lanes,
                          f.form.tokens.elem == RSR_ELEM_I16 ? 16 : 32, f.form.chunk_cols,
                          f.n_slots, rsrc_hash_fold_index(arena, input->index));
    return RSRC_OK;
}
