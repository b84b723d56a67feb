/* dot_panel_fields.c - unpacks codes of TABLE128 to a panel, the columns of four codes at a time.
 *
 * Zips bring the codes of a row from four steps side by side, so one look-up gives digits of all
 * four. Each byte then has four digits u as fields of two bits; a second look-up gives the fifth
 * digit. (Codes of signs and bits are eight fields of one bit already.) The digits of a negated
 * code are 2 - u, for all fields at once. One field of every byte, shifted down and masked, is then
 * a quarter of a quad: four columns of a row, a code's length apart. So activations are first
 * brought into this order:
 *
 *   32 bits of a row, codes 0..3:   c0 c1 c2 c3  ── look up ──> u of columns 5c (field 0) .. 5c + 3
 *   (field 3) quad d of the macro step:       columns d, 5 + d, 10 + d, 15 + d
 *
 * While a Zen 4 multiplies, its units for shuffles, shifts and masks are idle; its units for stores
 * and multiplications (and for shifts by bytes of a vector) are not. So the first tile of tokens is
 * multiplied while fields are unpacked, and the panel for the other tiles has packed digits: 8
 * vectors instead of 20.
 */
#include "kernels/dot_panel/dot_panel.h"

#include <assert.h>

#include "base/round.h"

#define TABLE_BYTES 128u
#define CODES 4u         /* of a macro step */
#define PACKED_DIGITS 4u /* fields of a ternary code's first look-up */
#define LINE_BYTES 64u

static bool is_ternary(const struct rsrc_lut_layout *layout) {
    return layout->alphabet == RSR_TERNARY;
}

/* Vectors of packed digits from one vector of codes. */
static uint32_t n_planes(const struct rsrc_lut_layout *layout) {
    return is_ternary(layout) ? 2 : 1;
}

bool rsrc_panel_has_fields(const struct rsrc_lut_layout *layout) {
    return layout->lookup == RSRC_LUT_TABLE128;
}

uint32_t rsrc_panel_packed_bytes(const struct rsrc_lut_layout *layout) {
    return n_planes(layout) * RSRC_PANEL_QUARTERS * layout->vector_rows;
}

/* ---- activations in the order of fields ------------------------------------------------------ */

/* A chunk of activations, brought in order together: whole macro steps within a vector. */
static uint32_t chunk_cols(const struct rsrc_lut_layout *layout) {
    const uint32_t macro_cols = CODES * layout->segment_cols;
    return layout->vector_rows / macro_cols * macro_cols;
}

static uint32_t n_chunks(const struct rsrc_panel *panel) {
    return rsrc_divide_up(panel->cols, chunk_cols(&panel->layout));
}

/* Matrix registers read whole tiles of quads, beyond the last macro step. With groups, what they
 * read there ends before the next group: a chunk has 15 quads, or a tile of 16. */
uint32_t rsrc_panel_ordered_group_bytes(const struct rsrc_panel *panel) {
    return (uint32_t)rsrc_round_up((uint64_t)n_chunks(panel) * chunk_cols(&panel->layout),
                                   LINE_BYTES);
}

uint32_t rsrc_panel_ordered_bytes(const struct rsrc_panel *panel) {
    return panel->layout.n_groups * rsrc_panel_ordered_group_bytes(panel) +
           2 * panel->layout.vector_rows;
}

/* Where the last chunk is loaded: the row may end within it. */
static uint32_t last_chunk_at(const struct rsrc_lut_layout *layout, uint32_t cols) {
    const uint32_t at = (rsrc_divide_up(cols, chunk_cols(layout)) - 1) * chunk_cols(layout);
    const uint32_t most = (uint32_t)rsrc_round_up(cols, RSR_ACT_PAD) - layout->vector_rows;
    return at < most ? at : most;
}

/* The column that comes to byte i of a chunk. */
static uint32_t source_of(const struct rsrc_lut_layout *layout, uint32_t i) {
    const uint32_t macro_cols = CODES * layout->segment_cols, in_macro = i % macro_cols;
    return i / macro_cols * macro_cols + in_macro % CODES * layout->segment_cols + in_macro / CODES;
}

/* Byte numbers for any chunk and for the last one, and a mask of its bytes that are columns. */
static uint8_t *pack_order(const struct rsrc_lut_layout *layout, uint32_t cols, uint8_t *out) {
    const uint32_t n = chunk_cols(layout), first = (rsrc_divide_up(cols, n) - 1) * n;
    for (uint32_t i = 0; i < layout->vector_rows; i++) {
        const uint32_t source = source_of(layout, i), column = first + source;
        const bool is_column = i < n && column < cols;
        out[i] = (uint8_t)(i < n ? source : 0);
        out[layout->vector_rows + i] =
            (uint8_t)(is_column ? column - last_chunk_at(layout, cols) : 0);
        out[2 * layout->vector_rows + i] = is_column ? 0xff : 0;
    }
    return out + 3 * (size_t)layout->vector_rows;
}

static uint16_t bytes_reg(struct rsrc_panel *panel, const char *name, uint32_t i) {
    return rsrc_kb_reg(&panel->frame.kb, RSR_ELEM_U8, panel->layout.vector_rows, "%s%u", name, i);
}

struct rsrc_frame_token rsrc_panel_ordered(struct rsrc_panel *panel, uint16_t token,
                                           const char *suffix) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t at = rsrc_kb_index_reg(kb, "ordered%s", suffix);
    rsrc_kb_binary(kb, RSR_KOP_SUB, at, token, panel->first_token);
    rsrc_kb_binary(kb, RSR_KOP_MUL, at, at, panel->fields.ordered_step);
    return (struct rsrc_frame_token){.x_buffer = RSR_KBUF_SCRATCH,
                                     .x_row = at,
                                     .y_row = RSR_NO_KREG,
                                     .x_first = panel->fields.ordered_at};
}

void rsrc_panel_order_activations(struct rsrc_panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const struct rsrc_panel_fields *fields = &panel->fields;
    const struct rsrc_lut_layout *layout = &panel->layout;
    const uint32_t n = chunk_cols(layout), rows = layout->vector_rows;
    const int64_t last = (int64_t)(n_chunks(panel) - 1) * n;
    rsrc_kb_comment(kb,
                    "activations in the order of fields: once a token, where columns of every row "
                    "would have to move; behind the last column 0");
    const uint16_t token = rsrc_kb_index_reg(kb, "order_token");
    rsrc_kb_loop(kb, token, panel->first_token, panel->end_token, 1);
    const struct rsrc_frame_token row = rsrc_frame_token(&panel->frame, token, "_x");
    struct rsrc_address from = rsrc_frame_activations(&row);
    const struct rsrc_frame_token ordered = rsrc_panel_ordered(panel, token, "_x");
    struct rsrc_address to = rsrc_frame_activations(&ordered);
    if (panel->has_groups) {
        const uint16_t group = rsrc_kb_index_reg(kb, "order_group");
        rsrc_kb_loop(kb, group, panel->frame.zero,
                     rsrc_kb_index_const(kb, layout->n_groups, "order_groups"), 1);
        from = rsrc_address_plus(from, group, layout->group_cols);
        to = rsrc_address_plus(to, group, rsrc_panel_ordered_group_bytes(panel));
    }
    const uint16_t x = bytes_reg(panel, "chunk", 0),
                   end = rsrc_kb_index_const(kb, (uint64_t)last, "chunks_end");
    const uint16_t at = rsrc_kb_index_reg(kb, "chunk_at");
    rsrc_kb_loop(kb, at, panel->frame.zero, end, n);
    rsrc_kb_load(kb, x, rsrc_address_plus(from, at, 1));
    rsrc_kb_binary(kb, RSR_KOP_TABLE, x, fields->order[0], x);
    rsrc_kb_store(kb, x, rsrc_address_plus(to, at, 1));
    rsrc_kb_end(kb);
    rsrc_kb_load(kb, x, rsrc_address_offset(from, last_chunk_at(layout, panel->cols)));
    rsrc_kb_binary(kb, RSR_KOP_TABLE, x, fields->order[1], x);
    rsrc_kb_binary(kb, RSR_KOP_AND, x, x, fields->order[2]);
    rsrc_kb_store(kb, x, rsrc_address_offset(to, last));
    rsrc_kb_const(kb, x, 0);
    rsrc_kb_store(kb, x, rsrc_address_offset(to, last + rows));
    if (panel->has_groups)
        rsrc_kb_end(kb);
    rsrc_kb_end(kb);
}

/* ---- constants ------------------------------------------------------------------------------- */

static uint32_t n_tables(const struct rsrc_lut_layout *layout) {
    return is_ternary(layout) ? n_planes(layout) : 0;
}

uint64_t rsrc_panel_fields_bytes(const struct rsrc_lut_layout *layout) {
    return n_tables(layout) * TABLE_BYTES + UINT64_C(3) * layout->vector_rows;
}

static uint32_t digits_of_plane(const struct rsrc_lut_layout *layout, uint32_t plane) {
    if (!is_ternary(layout))
        return layout->segment_cols;
    return plane == 0 ? PACKED_DIGITS : layout->segment_cols - PACKED_DIGITS;
}

void rsrc_panel_pack_fields(struct rsrc_arena *arena, const struct rsrc_panel *panel,
                            struct rsr_blob *index) {
    const struct rsrc_lut_layout *layout = &panel->layout;
    uint8_t *bytes = rsrc_alloc_blob(arena, index, rsrc_panel_fields_bytes(layout));
    bytes = pack_order(layout, panel->cols, bytes);
    for (uint32_t plane = 0; plane < n_tables(layout); plane++)
        for (uint32_t code = 0; code < TABLE_BYTES; code++, bytes++)
            for (uint32_t i = 0; i < digits_of_plane(layout, plane); i++)
                *bytes |= (uint8_t)((rsrc_balanced_digit((int)code, plane * PACKED_DIGITS + i) + 1)
                                    << 2 * i);
}

/* The next vector of the index. */
static uint16_t load_bytes(struct rsrc_panel *panel, const char *name, uint32_t i, uint32_t *at) {
    const struct rsrc_address from = rsrc_address_at(RSR_KBUF_INDEX, *at);
    *at += panel->layout.vector_rows;
    return rsrc_kb_load(&panel->frame.kb, bytes_reg(panel, name, i), from);
}

void rsrc_panel_load_fields(struct rsrc_panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    struct rsrc_panel_fields *fields = &panel->fields;
    const bool ternary = is_ternary(&panel->layout);
    uint32_t at = 0;
    rsrc_kb_comment(
        kb, "constants of the layout, no weights: the order of activations, digits of codes");
    for (uint32_t i = 0; i < 3; i++)
        fields->order[i] = load_bytes(panel, "order", i, &at);
    for (uint32_t i = 0; i < n_tables(&panel->layout); i++) {
        uint32_t twos = 0; /* in all fields of the look-up */
        for (uint32_t f = 0; f < digits_of_plane(&panel->layout, i); f++)
            twos |= 2u << 2 * f;
        fields->tables[i][0] = load_bytes(panel, "table_low", i, &at);
        fields->tables[i][1] = load_bytes(panel, "table_high", i, &at);
        fields->mirrors[i] = rsrc_kb_const(kb, bytes_reg(panel, "twos", i), twos);
    }
    for (uint32_t i = 0; !ternary && i < 2; i++) /* of look_up() */
        fields->mirrors[i] = rsrc_kb_const(kb, bytes_reg(panel, "mirror", i), i == 0 ? 0x7f : 0x80);
    fields->mask =
        rsrc_kb_const(kb, rsrc_kb_reg(kb, RSR_ELEM_U32, rsrc_panel_lanes(panel), "field_mask"),
                      ternary ? 0x03030303 : 0x01010101);
    fields->ordered_step =
        rsrc_kb_index_const(kb, rsrc_panel_ordered_bytes(panel), "ordered_bytes");
}

/* ---- a macro step ---------------------------------------------------------------------------- */

/* Packed digits of a macro step, by plane and quarter. */
struct packed {
    uint16_t planes[2][RSRC_PANEL_QUARTERS];
};

static uint16_t temporary(struct rsrc_panel *panel, const char *name, uint32_t i, uint32_t id) {
    return rsrc_kb_reg(&panel->frame.kb, RSR_ELEM_U8, panel->layout.vector_rows, "%s%u_s%u", name,
                       i, id);
}

/* Zips a row's codes side by side: zipped[0] has rows of the first quarter, and so on. */
static void zip_codes(struct rsrc_panel *panel, const uint16_t codes[CODES], uint32_t id,
                      uint16_t zipped[RSRC_PANEL_QUARTERS]) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t rows = panel->layout.vector_rows;
    static const enum rsr_kop_kind zips[2] = {RSR_KOP_ZIP_LOW, RSR_KOP_ZIP_HIGH};
    for (uint32_t half = 0; half < 2; half++) {
        uint16_t pairs[2];
        for (uint32_t i = 0; i < 2; i++)
            pairs[i] = rsrc_kb_unary(
                kb, RSR_KOP_BITCAST,
                rsrc_kb_reg(kb, RSR_ELEM_I16, rows / 2, "pairs%u_s%u", 2 * half + i, id),
                rsrc_kb_binary(kb, zips[half], temporary(panel, "pair", 2 * half + i, id),
                               codes[2 * i], codes[2 * i + 1]));
        for (uint32_t i = 0; i < 2; i++)
            zipped[2 * half + i] =
                rsrc_kb_unary(kb, RSR_KOP_BITCAST, temporary(panel, "zipped", 2 * half + i, id),
                              rsrc_kb_binary(kb, zips[i],
                                             rsrc_kb_reg(kb, RSR_ELEM_I16, rows / 2, "fours%u_s%u",
                                                         2 * half + i, id),
                                             pairs[0], pairs[1]));
    }
}

/* For signs and bits: bits 0..6 say where w = w_last, and the sign says that w_last is not +1.
 * Together they give 1 for +1. */
static void look_up(struct rsrc_panel *panel, uint16_t codes, uint32_t quarter, uint32_t id,
                    struct packed *out) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const struct rsrc_panel_fields *fields = &panel->fields;
    if (!is_ternary(&panel->layout)) {
        const uint16_t bits = temporary(panel, "bits", quarter, id);
        rsrc_kb_binary(kb, RSR_KOP_XOR, bits, codes, fields->mirrors[1]);
        out->planes[0][quarter] =
            rsrc_kb_ternary(kb, RSR_KOP_MIRROR, bits, codes, bits, fields->mirrors[0]);
        return;
    }
    for (uint32_t plane = 0; plane < n_planes(&panel->layout); plane++) {
        const uint16_t digits = temporary(panel, plane == 0 ? "digits" : "last_digit", quarter, id);
        rsrc_kb_ternary(kb, RSR_KOP_TABLE2, digits, codes, fields->tables[plane][0],
                        fields->tables[plane][1]);
        out->planes[plane][quarter] =
            rsrc_kb_ternary(kb, RSR_KOP_MIRROR, digits, codes, digits, fields->mirrors[plane]);
    }
}

/* Extracts a quarter of quad `digit`. */
static uint16_t take_field(struct rsrc_panel *panel, const struct packed *packed, uint32_t digit,
                           uint32_t quarter, const char *suffix) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const bool ternary = is_ternary(&panel->layout);
    const uint32_t lanes = rsrc_panel_lanes(panel);
    const uint32_t plane = ternary ? digit / PACKED_DIGITS : 0;
    const uint16_t all = packed->planes[plane][quarter];
    if (digits_of_plane(&panel->layout, plane) == 1)
        return all;
    const uint16_t field = rsrc_kb_unary(
        kb, RSR_KOP_BITCAST,
        rsrc_kb_reg(kb, RSR_ELEM_U32, lanes, "field%u_%u%s", digit, quarter, suffix), all);
    const uint32_t shift = (ternary ? 2 : 1) * (digit % (ternary ? PACKED_DIGITS : 8));
    if (shift != 0)
        rsrc_kb_immediate(kb, RSR_KOP_SHR, field, field, shift);
    return rsrc_kb_binary(kb, RSR_KOP_AND, field, field, panel->fields.mask);
}

/* The address of vector i of a macro step in the panel. */
static struct rsrc_address in_panel(const struct rsrc_panel *panel, uint32_t i, uint16_t macro_at) {
    const int64_t at = (int64_t)i * panel->layout.vector_rows;
    return rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, at), macro_at, 1);
}

/* Multiplies the tile by all fields, or, without a tile, stores the fields. Register `quad` has the
 * step's first quad. */
static void emit_fields(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile,
                        const struct packed *packed, uint16_t quad, uint16_t macro_at,
                        const char *suffix) {
    for (uint32_t digit = 0; digit < panel->layout.segment_cols; digit++) {
        uint16_t quarters[RSRC_PANEL_QUARTERS];
        for (uint32_t q = 0; q < RSRC_PANEL_QUARTERS; q++) {
            quarters[q] = take_field(panel, packed, digit, q, suffix);
            if (tile == NULL)
                rsrc_kb_store(&panel->frame.kb, quarters[q],
                              in_panel(panel, digit * RSRC_PANEL_QUARTERS + q, macro_at));
        }
        if (tile != NULL)
            rsrc_panel_add_products(
                panel, tile, quarters, quad, digit,
                rsrc_arena_printf(panel->frame.kb.arena, "_d%u%s", digit, suffix));
    }
}

/* Registers of a macro step, which is numbered within the block: its first quad, and its place in
 * the panel. */
static void place_macro(struct rsrc_panel *panel, uint16_t in_block, uint32_t id, uint16_t *quad,
                        uint16_t *macro_at) {
    struct rsrc_kb *kb = &panel->frame.kb;
    *quad = rsrc_kb_index_const(kb, panel->codes.macro_quads, "step_quad%u", id);
    rsrc_kb_binary(kb, RSR_KOP_MUL, *quad, *quad, in_block);
    *macro_at = rsrc_kb_index_const(kb, panel->macro_bytes, "step_to%u", id);
    rsrc_kb_binary(kb, RSR_KOP_MUL, *macro_at, *macro_at, in_block);
}

/* Loads the codes of macro step `macro` (register). Steps after the last have code 0; their
 * activations are 0, too. */
static void load_codes(struct rsrc_panel *panel, uint16_t macro, uint32_t n_codes, uint32_t id,
                       uint16_t codes[CODES]) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t step_bytes = rsrc_lut_step_bytes(&panel->layout);
    const uint16_t at = rsrc_kb_index_const(kb, CODES * (uint64_t)step_bytes, "step_at%u", id);
    rsrc_kb_binary(kb, RSR_KOP_MUL, at, at, macro);
    rsrc_kb_binary(kb, RSR_KOP_ADD, at, at, panel->codes.codes_at);
    const struct rsrc_address from = rsrc_address_plus(rsrc_address_at(RSR_KBUF_CODES, 0), at, 1);
    rsrc_frame_prefetch_codes(&panel->frame, from, n_codes * step_bytes,
                              rsrc_fetch_ahead(panel->frame.layer->spec, 1));
    for (uint32_t i = 0; i < CODES; i++) {
        codes[i] = temporary(panel, "code", i, id);
        if (i < n_codes)
            rsrc_kb_load(kb, codes[i], rsrc_address_offset(from, (int64_t)i * step_bytes));
        else
            rsrc_kb_const(kb, codes[i], 0);
    }
}

/* tile: it is multiplied meanwhile; NULL: the panel gets quads. stores: the panel gets packed
 * digits. */
static void emit_step(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile, bool stores,
                      uint16_t macro, uint32_t n_codes) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t id = panel->fields.n_names++;
    uint16_t codes[CODES], zipped[RSRC_PANEL_QUARTERS], quad, macro_at;
    struct packed packed;
    const uint16_t in_block =
        rsrc_kb_index_op(kb, RSR_KOP_SUB, macro, panel->codes.first_macro, "step_in_block%u", id);
    place_macro(panel, in_block, id, &quad, &macro_at);
    load_codes(panel, macro, n_codes, id, codes);
    rsrc_kb_comment(kb, "zip: four codes of a row side by side");
    zip_codes(panel, codes, id, zipped);
    rsrc_kb_comment(
        kb, is_ternary(&panel->layout)
                ? "look up: four digits u = w + 1 of a code as fields of two bits, then the "
                  "fifth; a negated code has 2 - u, in all fields at once"
                : "fields: a binary code's bits are its digits, but for the sign's");
    for (uint32_t q = 0; q < RSRC_PANEL_QUARTERS; q++)
        look_up(panel, zipped[q], q, id, &packed);
    for (uint32_t i = 0; stores && i < n_planes(&panel->layout) * RSRC_PANEL_QUARTERS; i++)
        rsrc_kb_store(kb, packed.planes[i / RSRC_PANEL_QUARTERS][i % RSRC_PANEL_QUARTERS],
                      in_panel(panel, i, macro_at));
    rsrc_kb_comment(kb, tile == NULL
                            ? "a field of every byte, shifted down and masked, is a quad"
                            : "multiply: a field of every byte, shifted down and masked, is "
                              "four columns of a row, as are the four activations of x");
    emit_fields(panel, tile, &packed, quad, macro_at, rsrc_arena_printf(kb->arena, "_s%u", id));
}

/* All macro steps of the block. */
static void emit_steps(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile, bool stores) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const struct rsrc_panel_fields *fields = &panel->fields;
    const uint16_t macro = rsrc_kb_index_reg(kb, "macro%u", fields->n_names);
    rsrc_kb_loop(kb, macro, panel->codes.first_macro, fields->whole_end, 1);
    emit_step(panel, tile, stores, macro, CODES);
    rsrc_kb_end(kb);
    if (fields->whole_macros == panel->codes.n_macros)
        return;
    rsrc_kb_if_less(kb, fields->whole_end, panel->codes.end_macro);
    emit_step(panel, tile, stores, fields->whole_end, panel->layout.group_steps % CODES);
    rsrc_kb_end(kb);
}

void rsrc_panel_multiply_packed(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t id = panel->fields.n_names++;
    struct packed packed;
    uint16_t quad, macro_at;
    const uint16_t n = rsrc_kb_index_op(kb, RSR_KOP_SUB, panel->codes.end_macro,
                                        panel->codes.first_macro, "n_packed%u", id);
    const uint16_t macro = rsrc_kb_index_reg(kb, "packed%u", id);
    rsrc_kb_comment(kb,
                    "multiply: fields of the panel's packed digits, which are fewer bytes to store "
                    "and to load than quads");
    rsrc_kb_loop(kb, macro, panel->frame.zero, n, 1);
    place_macro(panel, macro, id, &quad, &macro_at);
    for (uint32_t i = 0; i < n_planes(&panel->layout) * RSRC_PANEL_QUARTERS; i++)
        packed.planes[i / RSRC_PANEL_QUARTERS][i % RSRC_PANEL_QUARTERS] =
            rsrc_kb_load(kb, temporary(panel, "loaded", i, id), in_panel(panel, i, macro_at));
    emit_fields(panel, tile, &packed, quad, macro_at, rsrc_arena_printf(kb->arena, "_s%u", id));
    rsrc_kb_end(kb);
}

/* ---- a block --------------------------------------------------------------------------------- */

static void emit_first_tile(struct rsrc_panel *panel, uint32_t n_tokens, uint16_t token,
                            bool stores) {
    const struct rsrc_panel_tile tile = rsrc_panel_tile(
        panel, n_tokens, token,
        rsrc_arena_printf(panel->frame.kb.arena, "_%s%u", stores ? "f" : "o", n_tokens));
    rsrc_panel_begin_sums(panel, &tile);
    emit_steps(panel, &tile, stores);
    rsrc_panel_store_sums(panel, &tile);
}

static void emit_first(void *kernel, uint32_t n_tokens, uint16_t token) {
    emit_first_tile(kernel, n_tokens, token, true);
}

static void emit_only(void *kernel, uint32_t n_tokens, uint16_t token) {
    emit_first_tile(kernel, n_tokens, token, false);
}

void rsrc_panel_unpack_fields(struct rsrc_panel *panel) {
    struct rsrc_kb *kb = &panel->frame.kb;
    struct rsrc_panel_fields *fields = &panel->fields;
    const uint32_t most = panel->machine->first_tokens;
    fields->whole_end = rsrc_kb_index_const(kb, fields->whole_macros, "whole_macros");
    rsrc_kb_binary(kb, RSR_KOP_MIN, fields->whole_end, fields->whole_end, panel->codes.end_macro);
    if (most == 0) {
        rsrc_kb_comment(kb, "unpack codes: quads of columns, 4 bytes a row, as products take them");
        emit_steps(panel, NULL, false);
        return;
    }
    rsrc_kb_comment(kb, "unpack codes, and multiply the first tokens: a tile that others follow "
                        "(names end in _f and how many), or the only one (_o)");
    const uint16_t first_end =
        rsrc_kb_index_op(kb, RSR_KOP_ADD, panel->first_token, panel->first_tile, "first_end");
    struct rsrc_token_tiles tiles = panel->tiles;
    rsrc_kb_if_less(kb, first_end, panel->end_token);
    tiles.emit = emit_first;
    rsrc_emit_tile(&tiles, panel->first_tile, (most + 1) / 2, most, panel->first_token);
    rsrc_kb_else(kb);
    tiles.emit = emit_only;
    rsrc_emit_tile(&tiles, panel->first_tile, 1, most, panel->first_token);
    rsrc_kb_end(kb);
}
