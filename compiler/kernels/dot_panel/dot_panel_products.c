/* dot_panel_products.c - multiplies the tokens of a group by a panel: products and their sums.
 *
 * Tokens are taken in tiles that share every load of the panel; each token splats four of its
 * activations. A target with matrix registers first takes 16 tokens at a time, with their
 * activations unchanged, and with the panel's bytes as signed ones (u <= 2). dot_panel.h has the
 * overview.
 */
#include "kernels/dot_panel/dot_panel.h"

#include <stdio.h>

/* Quads of columns whose sums fit int16: two products of at most 2 * 128 each. */
#define NARROW_QUADS 63

/* Interleaves four columns of all rows to four vectors that have a row's columns side by side. */
void rsrc_panel_put_quad(struct rsrc_lut_unpack *codes, const uint16_t columns[4], uint32_t q,
                         uint16_t to) {
    struct rsrc_kb *kb = &codes->frame->kb;
    const uint32_t rows = codes->layout.vector_rows;
    static const enum rsr_kop_kind zips[2] = {RSR_KOP_ZIP_LOW, RSR_KOP_ZIP_HIGH};
    for (uint32_t half = 0; half < 2; half++) {
        uint16_t pairs[2];
        for (uint32_t i = 0; i < 2; i++) {
            const uint16_t zipped = rsrc_kb_binary(
                kb, zips[half], rsrc_kb_reg(kb, RSR_ELEM_U8, rows, "pair%u_%u_%u", q, half, i),
                columns[2 * i], columns[2 * i + 1]);
            pairs[i] = rsrc_kb_unary(
                kb, RSR_KOP_BITCAST,
                rsrc_kb_reg(kb, RSR_ELEM_I16, rows / 2, "wide%u_%u_%u", q, half, i), zipped);
        }
        for (uint32_t i = 0; i < 2; i++) {
            const uint16_t quarter = rsrc_kb_binary(
                kb, zips[i],
                rsrc_kb_reg(kb, RSR_ELEM_I16, rows / 2, "quarter%u_%u", q, 2 * half + i), pairs[0],
                pairs[1]);
            const int64_t at = (int64_t)q * 4 * rows + (2 * half + i) * rows;
            rsrc_kb_store(kb, quarter,
                          rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, at), to, 1));
        }
    }
}

static uint16_t emit_splat(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile, uint32_t t,
                           uint16_t quad, uint32_t q, const char *suffix) {
    struct rsrc_kb *kb = &panel->frame.kb;
    struct rsrc_address at = rsrc_address_offset(rsrc_frame_activations(&tile->tokens[t]), 4 * q);
    at = rsrc_address_plus(at, panel->block_x, 1);
    const uint16_t four = rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_I32, 1, "x%u%s", t, suffix),
                                       rsrc_address_plus(at, quad, 4));
    return rsrc_kb_unary(
        kb, RSR_KOP_SPLAT,
        rsrc_kb_reg(kb, RSR_ELEM_I32, rsrc_panel_lanes(panel), "xs%u%s", t, suffix), four);
}

void rsrc_panel_add_products(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile,
                             const uint16_t weights[RSRC_PANEL_QUARTERS], uint16_t quad, uint32_t q,
                             const char *suffix) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t rows = panel->layout.vector_rows;
    for (uint32_t t = 0; t < tile->n_tokens; t++) {
        const uint16_t x = emit_splat(panel, tile, t, quad, q, suffix);
        for (uint32_t i = 0; i < RSRC_PANEL_QUARTERS; i++) {
            const uint16_t acc = tile->acc[t][i];
            if (panel->machine->product != RSR_KOP_MADD_U8S8) {
                rsrc_kb_ternary(kb, panel->machine->product, acc, acc, weights[i], x);
                continue;
            }
            const uint16_t pairs = rsrc_kb_binary(
                kb, RSR_KOP_MADD_U8S8,
                rsrc_kb_reg(kb, RSR_ELEM_I16, rows / 2, "pairs%u_%u%s", t, i, suffix), weights[i],
                x);
            rsrc_kb_binary(kb, RSR_KOP_ADD, acc, acc, pairs);
        }
    }
}

/* The products of one quad of the panel. */
static void emit_products(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile,
                          uint16_t quad) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t rows = panel->layout.vector_rows;
    uint16_t weights[RSRC_PANEL_QUARTERS];
    for (uint32_t i = 0; i < RSRC_PANEL_QUARTERS; i++)
        weights[i] =
            rsrc_kb_load(kb, rsrc_kb_reg(kb, RSR_ELEM_U8, rows, "weights%u%s", i, tile->suffix),
                         rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, (int64_t)i * rows),
                                           quad, 4 * (int64_t)rows));
    rsrc_panel_add_products(panel, tile, weights, quad, 0, tile->suffix);
}

void rsrc_panel_begin_sums(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile) {
    for (uint32_t t = 0; t < tile->n_tokens; t++)
        for (uint32_t i = 0; i < RSRC_PANEL_QUARTERS; i++) {
            if (panel->starts_at_zero)
                rsrc_kb_const(&panel->frame.kb, tile->acc[t][i], 0);
            else
                rsrc_kb_load(&panel->frame.kb, tile->acc[t][i],
                             rsrc_panel_sums(panel, tile->sums_at, t, i));
        }
}

void rsrc_panel_store_sums(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile) {
    for (uint32_t t = 0; t < tile->n_tokens; t++)
        for (uint32_t i = 0; i < RSRC_PANEL_QUARTERS; i++)
            rsrc_kb_store(&panel->frame.kb, tile->acc[t][i],
                          rsrc_panel_sums(panel, tile->sums_at, t, i));
}

static void emit_dot_tile(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile) {
    struct rsrc_kb *kb = &panel->frame.kb;
    rsrc_panel_begin_sums(panel, tile);
    if (panel->is_packed) {
        rsrc_panel_multiply_packed(panel, tile);
    } else {
        const uint16_t quad = rsrc_kb_index_reg(kb, "quad%s", tile->suffix);
        rsrc_kb_loop(kb, quad, panel->frame.zero, panel->n_quads, 1);
        emit_products(panel, tile, quad);
        rsrc_kb_end(kb);
    }
    rsrc_panel_store_sums(panel, tile);
}

/* Adds int16 sums of as many quads as fit to the sums in memory. */
static void emit_madd_tile(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const char *s = tile->suffix;
    const uint16_t first = rsrc_kb_index_reg(kb, "chunk%s", s);
    const uint16_t end = rsrc_kb_index_reg(kb, "chunk_end%s", s);
    const uint16_t size = rsrc_kb_index_reg(kb, "chunk_quads%s", s);
    const uint16_t quad = rsrc_kb_index_reg(kb, "quad%s", s);
    const uint16_t ones =
        rsrc_kb_reg(kb, RSR_ELEM_I16, panel->layout.vector_rows / 2, "one16%s", s);
    rsrc_kb_comment(kb, "int16 sums hold %u quads, and are added to those in memory then",
                    NARROW_QUADS);
    rsrc_kb_const(kb, size, NARROW_QUADS);
    rsrc_kb_const(kb, ones, 1);
    rsrc_kb_loop(kb, first, panel->frame.zero, panel->n_quads, NARROW_QUADS);
    rsrc_kb_binary(kb, RSR_KOP_ADD, end, first, size);
    rsrc_kb_binary(kb, RSR_KOP_MIN, end, end, panel->n_quads);
    for (uint32_t t = 0; t < tile->n_tokens; t++)
        for (uint32_t q = 0; q < RSRC_PANEL_QUARTERS; q++)
            rsrc_kb_const(kb, tile->acc[t][q], 0);
    rsrc_kb_loop(kb, quad, first, end, 1);
    emit_products(panel, tile, quad);
    rsrc_kb_end(kb);
    for (uint32_t t = 0; t < tile->n_tokens; t++)
        for (uint32_t q = 0; q < RSRC_PANEL_QUARTERS; q++) {
            const struct rsrc_address at = rsrc_panel_sums(panel, tile->sums_at, t, q);
            const uint16_t sums = rsrc_kb_load(
                kb, rsrc_kb_reg(kb, RSR_ELEM_I32, rsrc_panel_lanes(panel), "sums%u_%u%s", t, q, s),
                at);
            const uint16_t wide = rsrc_kb_binary(
                kb, RSR_KOP_MADD_I16,
                rsrc_kb_reg(kb, RSR_ELEM_I32, rsrc_panel_lanes(panel), "sum%u_%u%s", t, q, s),
                tile->acc[t][q], ones);
            rsrc_kb_binary(kb, RSR_KOP_ADD, sums, sums, wide);
            rsrc_kb_store(kb, sums, at);
        }
    rsrc_kb_end(kb);
}

static struct rsrc_frame_token first_activations(struct rsrc_panel *panel, uint16_t token,
                                                 const char *suffix) {
    const char *name = rsrc_arena_printf(panel->frame.kb.arena, "0%s", suffix);
    return panel->has_fields ? rsrc_panel_ordered(panel, token, name)
                             : rsrc_frame_token(&panel->frame, token, name);
}

/* Address of the activations of token t of a tile. */
static struct rsrc_frame_token next_activations(struct rsrc_panel *panel,
                                                const struct rsrc_frame_token *previous, uint32_t t,
                                                const char *suffix) {
    struct rsrc_frame_token next = *previous;
    next.x_first += panel->has_fields ? rsrc_panel_ordered_bytes(panel) : 0;
    return panel->has_fields
               ? next
               : rsrc_frame_next_token(&panel->frame, previous,
                                       rsrc_arena_printf(panel->frame.kb.arena, "%u%s", t, suffix));
}

struct rsrc_panel_tile rsrc_panel_tile(struct rsrc_panel *panel, uint32_t n_tokens, uint16_t token,
                                       const char *suffix) {
    struct rsrc_kb *kb = &panel->frame.kb;
    struct rsrc_panel_tile tile = {.n_tokens = n_tokens, .suffix = suffix};
    const uint32_t rows = panel->layout.vector_rows;
    const bool wide = panel->machine->product != RSR_KOP_MADD_U8S8;
    for (uint32_t t = 0; t < n_tokens; t++) {
        tile.tokens[t] = t == 0 ? first_activations(panel, token, suffix)
                                : next_activations(panel, &tile.tokens[t - 1], t, suffix);
        for (uint32_t i = 0; i < RSRC_PANEL_QUARTERS; i++)
            tile.acc[t][i] = rsrc_kb_reg(kb, wide ? RSR_ELEM_I32 : RSR_ELEM_I16,
                                         wide ? rows / 4 : rows / 2, "acc%u_%u%s", t, i, suffix);
    }
    tile.sums_at = rsrc_panel_sums_at(panel, token, suffix);
    return tile;
}

static void emit_tile(void *kernel, uint32_t n_tokens, uint16_t token) {
    struct rsrc_panel *panel = kernel;
    const struct rsrc_panel_tile tile = rsrc_panel_tile(
        panel, n_tokens, token, rsrc_arena_printf(panel->frame.kb.arena, "_t%u", n_tokens));
    if (panel->machine->product != RSR_KOP_MADD_U8S8)
        emit_dot_tile(panel, &tile);
    else
        emit_madd_tile(panel, &tile);
}

/* A matrix register has 16 rows of 64 bytes: tokens, or RSRC_PANEL_TILE_QUADS quads of columns. The
 * rows of the product are tokens; its columns are rows of the matrix. Quads beyond the last are
 * multiplied by activations that are 0. */
static void emit_matrix_tile(struct rsrc_panel *panel, uint16_t token) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const int64_t rows = panel->layout.vector_rows;
    const struct rsrc_frame_token row_of = first_activations(panel, token, "_m");
    const uint16_t x_stride =
        panel->has_fields ? panel->fields.ordered_step : rsrc_frame_x_stride(&panel->frame);
    const uint16_t sums_at = rsrc_panel_sums_at(panel, token, "_m");
    const uint16_t stride = rsrc_kb_index_const(kb, 4 * panel->layout.vector_rows, "quad_bytes");
    uint16_t sums[RSRC_PANEL_QUARTERS], weights[2];
    for (uint32_t q = 0; q < RSRC_PANEL_QUARTERS; q++) {
        sums[q] = rsrc_kb_reg(kb, RSR_ELEM_TILE, 1, "sums%u_m", q);
        rsrc_kb_tile_load(kb, sums[q], rsrc_panel_sums(panel, sums_at, 0, q), stride);
    }
    const uint16_t quad = rsrc_kb_index_reg(kb, "quad_m");
    rsrc_kb_loop(kb, quad, panel->frame.zero, panel->n_quads, RSRC_PANEL_TILE_QUADS);
    struct rsrc_address x = rsrc_frame_activations(&row_of);
    x = rsrc_address_plus(rsrc_address_plus(x, panel->block_x, 1), quad, 4);
    const uint16_t x_tile =
        rsrc_kb_tile_load(kb, rsrc_kb_reg(kb, RSR_ELEM_TILE, 1, "x_m"), x, x_stride);
    for (uint32_t q = 0; q < RSRC_PANEL_QUARTERS; q++) {
        const struct rsrc_address at =
            rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, q * rows), quad, 4 * rows);
        /* Two registers are used in turn, so that a load need not wait for the previous product. */
        if (q < 2)
            weights[q] = rsrc_kb_reg(kb, RSR_ELEM_TILE, 1, "weights%u_m", q);
        rsrc_kb_tile_load(kb, weights[q % 2], at, stride);
        rsrc_kb_ternary(kb, RSR_KOP_TILE_DOT_S8S8, sums[q], sums[q], x_tile, weights[q % 2]);
    }
    rsrc_kb_end(kb);
    for (uint32_t q = 0; q < RSRC_PANEL_QUARTERS; q++)
        rsrc_kb_tile_store(kb, sums[q], rsrc_panel_sums(panel, sums_at, 0, q), stride);
}

/* Multiplies whole matrices of tokens from register `next` on, and moves `next` past them. */
static void emit_matrix_tiles(struct rsrc_panel *panel, uint16_t next) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t n_tokens = panel->machine->matrix_tokens;
    const uint16_t token = rsrc_kb_index_reg(kb, "token_m");
    const uint16_t size = rsrc_kb_index_const(kb, n_tokens, "matrix_tokens");
    const uint16_t end = rsrc_kb_index_const(kb, n_tokens - 1, "matrix_end");
    rsrc_kb_comment(
        kb, "%u tokens in matrix registers (names end in _m): a product is 16 x 16 sums of 64",
        n_tokens);
    rsrc_kb_binary(kb, RSR_KOP_SUB, end, panel->end_token, end);
    rsrc_kb_tile_begin(kb);
    rsrc_kb_loop(kb, token, next, end, n_tokens);
    emit_matrix_tile(panel, token);
    rsrc_kb_binary(kb, RSR_KOP_ADD, next, token, size);
    rsrc_kb_end(kb);
    rsrc_kb_tile_end(kb);
}

void rsrc_panel_multiply(struct rsrc_panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t next =
        rsrc_kb_unary(kb, RSR_KOP_COPY, rsrc_kb_index_reg(kb, "next_token"), panel->first_token);
    if (panel->first_tile != RSR_NO_KREG)
        rsrc_kb_binary(kb, RSR_KOP_ADD, next, next, panel->first_tile);
    if (panel->machine->matrix_tokens != 0)
        emit_matrix_tiles(panel, next);
    struct rsrc_token_tiles tiles = panel->tiles;
    tiles.emit = emit_tile;
    /* The first tile takes at most half of the tokens. */
    const bool has_first = panel->first_tile != RSR_NO_KREG;
    rsrc_loop_tiles(&tiles, next, panel->end_token,
                    has_first ? (panel->machine->first_tokens + 1) / 2 : 1,
                    panel->machine->n_tokens);
}
