/* dot_panel_fields.c - codes of 128 sums a look-up to a panel, four columns at a time.
 *
 * One look-up gives four digits u of a row in a byte, two bits each (signs and bits: one); the digits of the
 * negated code are 2 - u, in all fields at once. Then every quarter of the panel is one operation, FIELDS,
 * which picks the fields of two rows from every eight bytes, and a mask:
 *
 *   8 rows a byte each, 4 fields:  r0 r1 r2 r3 r4 r5 r6 r7
 *   quarter q, 8 bytes:            fields 0 1 2 3 of row 2q, fields 0 1 2 3 of row 2q + 1
 *
 * The columns of four codes are five quads: each is made of one or two codes, whose look-ups leave the
 * other's fields 0. The first tile of tokens is multiplied by the quarters while they are in registers:
 * unpacking uses the units that products leave idle, and few tokens need no panel.
 * (2560 x 2560 and 8 tokens on a Zen 4: 0.80 of the peak of products. A prototype in C has 0.83, and 0.75
 * where it makes the panel first.)
 */
#include "kernels/dot_panel/dot_panel.h"

#include <assert.h>

#define TABLE_BYTES 128u
#define TERNARY_CODES 4u /* of a macro step */
#define N_LOOK_UPS 8u

/* What a look-up of code `code` gives: its digits from `first` on, as fields `field` and following of
 * a quad. */
static const struct look_up {
    uint32_t code, quad, first, n, field;
} look_ups[N_LOOK_UPS] = {{0, 0, 0, 4, 0}, {0, 1, 4, 1, 0}, {1, 1, 0, 3, 1}, {1, 2, 3, 2, 0},
                          {2, 2, 0, 2, 2}, {2, 3, 2, 3, 0}, {3, 3, 0, 1, 3}, {3, 4, 1, 4, 0}};

static bool is_ternary(const struct rsrc_lut_layout *layout) {
    return layout->alphabet == RSR_TERNARY;
}

/* ---- constants ------------------------------------------------------------------------------- */

bool rsrc_panel_has_fields(const struct rsrc_lut_layout *layout) {
    return layout->lookup == RSRC_LUT_TABLE128;
}

static uint32_t n_tables(const struct rsrc_lut_layout *layout) {
    return is_ternary(layout) ? N_LOOK_UPS : 0;
}

/* Eight fields of one bit are two quads. */
static uint32_t n_controls(const struct rsrc_lut_layout *layout) {
    return (is_ternary(layout) ? 1 : 2) * RSRC_PANEL_QUARTERS;
}

uint64_t rsrc_panel_fields_bytes(const struct rsrc_lut_layout *layout) {
    return n_tables(layout) * TABLE_BYTES + (uint64_t)n_controls(layout) * layout->vector_rows;
}

static uint8_t packed_digits(const struct look_up *look_up, uint32_t code) {
    uint32_t fields = 0;
    for (uint32_t i = 0; i < look_up->n; i++)
        fields |= (uint32_t)(rsrc_balanced_digit((int)code, look_up->first + i) + 1)
                  << 2 * (look_up->field + i);
    return (uint8_t)fields;
}

/* Byte i of a quarter's control: the first bit of the field that comes there. */
static uint8_t control_of(const struct rsrc_lut_layout *layout, uint32_t control, uint32_t i) {
    const uint32_t quad = control / RSRC_PANEL_QUARTERS, q = control % RSRC_PANEL_QUARTERS;
    return (uint8_t)(8 * (2 * q + i % 8 / 4) + (is_ternary(layout) ? 2 : 1) * (4 * quad + i % 4));
}

void rsrc_panel_pack_fields(struct rsrc_arena *arena, const struct rsrc_lut_layout *layout,
                            struct rsr_blob *index) {
    uint8_t *bytes = rsrc_alloc_blob(arena, index, rsrc_panel_fields_bytes(layout));
    for (uint32_t at = 0; at < n_tables(layout) * TABLE_BYTES; at++)
        *bytes++ = packed_digits(&look_ups[at / TABLE_BYTES], at % TABLE_BYTES);
    for (uint32_t control = 0; control < n_controls(layout); control++)
        for (uint32_t i = 0; i < layout->vector_rows; i++)
            *bytes++ = control_of(layout, control, i);
}

static uint16_t bytes_reg(struct rsrc_panel *panel, const char *name, uint32_t i) {
    return rsrc_kb_reg(&panel->frame.kb, RSR_ELEM_U8, panel->layout.vector_rows, "%s%u", name, i);
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
    for (uint32_t i = 0; i < n_tables(&panel->layout); i++) {
        uint32_t twos = 0; /* in all fields of the look-up */
        for (uint32_t f = 0; f < look_ups[i].n; f++)
            twos |= 2u << 2 * (look_ups[i].field + f);
        fields->tables[i][0] = load_bytes(panel, "table_low", i, &at);
        fields->tables[i][1] = load_bytes(panel, "table_high", i, &at);
        fields->mirrors[i] = rsrc_kb_const(kb, bytes_reg(panel, "twos", i), twos);
    }
    for (uint32_t i = 0; i < n_controls(&panel->layout); i++)
        fields->controls[i / RSRC_PANEL_QUARTERS][i % RSRC_PANEL_QUARTERS] =
            load_bytes(panel, "fields_of", i, &at);
    for (uint32_t i = 0; !ternary && i < 2; i++) /* of emit_bits() */
        fields->mirrors[i] = rsrc_kb_const(kb, bytes_reg(panel, "mirror", i), i == 0 ? 0x7f : 0x80);
    fields->mask = rsrc_kb_const(kb, bytes_reg(panel, "field_mask", 0), ternary ? 3 : 1);
}

/* ---- a macro step ---------------------------------------------------------------------------- */

/* What is done with the quads of a macro step. */
struct step {
    const struct rsrc_panel_tile *tile; /* whose products are added; NULL: none */
    bool stores;                        /* to the panel */
    uint32_t n_codes, n_quads;
    uint16_t codes_at, quad, to; /* registers: bytes, number of the first quad, bytes */
    uint32_t id;                 /* of register names */
};

static uint16_t temporary(struct rsrc_panel *panel, const struct step *step, const char *name,
                          uint32_t i) {
    return rsrc_kb_reg(&panel->frame.kb, RSR_ELEM_U8, panel->layout.vector_rows, "%s%u_s%u", name,
                       i, step->id);
}

static void emit_quad(struct rsrc_panel *panel, const struct step *step, uint16_t packed,
                      uint32_t q, const uint16_t controls[RSRC_PANEL_QUARTERS]) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint32_t rows = panel->layout.vector_rows;
    uint16_t weights[RSRC_PANEL_QUARTERS];
    for (uint32_t i = 0; i < RSRC_PANEL_QUARTERS; i++) {
        const uint32_t n = q * RSRC_PANEL_QUARTERS + i;
        const uint16_t spread = rsrc_kb_binary(
            kb, RSR_KOP_FIELDS, temporary(panel, step, "spread", n), controls[i], packed);
        weights[i] = rsrc_kb_binary(kb, RSR_KOP_AND, temporary(panel, step, "quarter", n), spread,
                                    panel->fields.mask);
        if (step->stores)
            rsrc_kb_store(kb, weights[i],
                          rsrc_address_plus(rsrc_address_at(RSR_KBUF_SCRATCH, (int64_t)n * rows),
                                            step->to, 1));
    }
    if (step->tile != NULL)
        rsrc_panel_add_products(panel, step->tile, weights, step->quad, q,
                                rsrc_arena_printf(kb->arena, "_q%u_s%u", q, step->id));
}

static void emit_ternary(struct rsrc_panel *panel, const struct step *step, const uint16_t *codes) {
    struct rsrc_kb *kb = &panel->frame.kb;
    uint16_t packed = RSR_NO_KREG;
    for (uint32_t i = 0; i < N_LOOK_UPS; i++) {
        const struct look_up *look_up = &look_ups[i];
        if (look_up->code >= step->n_codes || look_up->quad >= step->n_quads)
            continue;
        const uint16_t digits = rsrc_kb_ternary(
            kb, RSR_KOP_TABLE2, temporary(panel, step, "digits", i), codes[look_up->code],
            panel->fields.tables[i][0], panel->fields.tables[i][1]);
        rsrc_kb_ternary(kb, RSR_KOP_MIRROR, digits, codes[look_up->code], digits,
                        panel->fields.mirrors[i]);
        const bool goes_on = look_up->field != 0;
        packed = goes_on ? rsrc_kb_binary(kb, RSR_KOP_OR, packed, packed, digits) : digits;
        const bool ends = i + 1 == N_LOOK_UPS || look_ups[i + 1].quad != look_up->quad ||
                          look_ups[i + 1].code >= step->n_codes;
        if (ends)
            emit_quad(panel, step, packed, look_up->quad, panel->fields.controls[0]);
    }
}

/* Bits 0..6 say where w = w_last, the sign that w_last is not +1: both make 1 of +1. */
static void emit_bits(struct rsrc_panel *panel, const struct step *step, uint16_t code) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const uint16_t bits = temporary(panel, step, "bits", 0);
    rsrc_kb_binary(kb, RSR_KOP_XOR, bits, code, panel->fields.mirrors[1]);
    rsrc_kb_ternary(kb, RSR_KOP_MIRROR, bits, code, bits, panel->fields.mirrors[0]);
    for (uint32_t q = 0; q < step->n_quads; q++)
        emit_quad(panel, step, bits, q, panel->fields.controls[q]);
}

/* `macro`: register with the number of the macro step. */
static void emit_step(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile, bool stores,
                      uint16_t macro, uint32_t n_codes, uint32_t n_quads) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const struct rsrc_lut_unpack *unpack = &panel->codes;
    struct step step = {.tile = tile,
                        .stores = stores,
                        .n_codes = n_codes,
                        .n_quads = n_quads,
                        .id = panel->fields.n_names++};
    const uint32_t id = step.id;
    step.codes_at = rsrc_kb_index_const(
        kb, (uint64_t)unpack->macro_steps * rsrc_lut_step_bytes(&panel->layout), "step_at%u", id);
    rsrc_kb_binary(kb, RSR_KOP_MUL, step.codes_at, step.codes_at, macro);
    rsrc_kb_binary(kb, RSR_KOP_ADD, step.codes_at, step.codes_at, unpack->codes_at);
    step.quad = rsrc_kb_index_const(kb, unpack->macro_quads, "step_quad%u", id);
    const uint16_t in_block =
        rsrc_kb_index_op(kb, RSR_KOP_SUB, macro, unpack->first_macro, "step_in_block%u", id);
    rsrc_kb_binary(kb, RSR_KOP_MUL, step.quad, step.quad, in_block);
    step.to = rsrc_kb_index_const(kb, unpack->quad_bytes, "step_to%u", id);
    rsrc_kb_binary(kb, RSR_KOP_MUL, step.to, step.to, step.quad);
    rsrc_frame_prefetch_codes(
        &panel->frame, rsrc_address_plus(rsrc_address_at(RSR_KBUF_CODES, 0), step.codes_at, 1),
        n_codes * rsrc_lut_step_bytes(&panel->layout),
        rsrc_fetch_ahead(panel->frame.layer->spec, 1));
    uint16_t codes[TERNARY_CODES];
    for (uint32_t i = 0; i < n_codes; i++)
        codes[i] = rsrc_kb_load(
            kb, temporary(panel, &step, "code", i),
            rsrc_address_plus(
                rsrc_address_at(RSR_KBUF_CODES, (int64_t)i * rsrc_lut_step_bytes(&panel->layout)),
                step.codes_at, 1));
    if (is_ternary(&panel->layout))
        emit_ternary(panel, &step, codes);
    else
        emit_bits(panel, &step, codes[0]);
}

/* All macro steps of the block. */
static void emit_steps(struct rsrc_panel *panel, const struct rsrc_panel_tile *tile, bool stores) {
    struct rsrc_kb *kb = &panel->frame.kb;
    const struct rsrc_lut_unpack *unpack = &panel->codes;
    const struct rsrc_panel_fields *fields = &panel->fields;
    const uint16_t macro = rsrc_kb_index_reg(kb, "macro%u", fields->n_names);
    rsrc_kb_loop(kb, macro, unpack->first_macro, fields->whole_end, 1);
    emit_step(panel, tile, stores, macro, unpack->macro_steps, unpack->macro_quads);
    rsrc_kb_end(kb);
    if (fields->whole_macros == unpack->n_macros)
        return;
    const uint32_t n_quads = rsrc_divide_up(panel->cols, 4);
    rsrc_kb_if_less(kb, fields->whole_end, unpack->end_macro);
    emit_step(panel, tile, stores, fields->whole_end,
              panel->layout.n_steps - fields->whole_macros * unpack->macro_steps,
              n_quads - fields->whole_macros * unpack->macro_quads);
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
        rsrc_kb_comment(kb, "unpack codes: quads of columns, 4 bytes a row");
        emit_steps(panel, NULL, true);
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
