/* tables.c - builds descriptions of tables; see tables.h. */
#include "emit/module/tables.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && sizeof(void *) == 8,
               "numbers are stored as modules have them");

void rsrc_tables_init(struct rsrc_arena *arena, struct rsrc_tables *out) {
    *out = (struct rsrc_tables){.arena = arena, .n_slots = 64};
    out->slots = RSRC_NEW_ARRAY(arena, out->n_slots, struct rsrc_symbol_slot);
}

/* ---- symbols --------------------------------------------------------------------------------- */

/* The symbol's slot, or the free one that it would get. */
static struct rsrc_symbol_slot *find_slot(const struct rsrc_tables *tables, const char *symbol) {
    uint32_t at = 2166136261u; /* FNV-1a */
    for (const char *ch = symbol; *ch != '\0'; ch++)
        at = (at ^ (uint8_t)*ch) * 16777619u;
    for (;; at++) {
        struct rsrc_symbol_slot *slot = &tables->slots[at & (tables->n_slots - 1)];
        if (slot->symbol == NULL || strcmp(slot->symbol, symbol) == 0)
            return slot;
    }
}

static void make_room(struct rsrc_tables *tables) {
    if (2 * (tables->n_symbols + 1) < tables->n_slots)
        return;
    const struct rsrc_symbol_slot *old = tables->slots;
    const uint32_t n = tables->n_slots;
    tables->n_slots = 2 * n;
    tables->slots = RSRC_NEW_ARRAY(tables->arena, 2 * (size_t)n, struct rsrc_symbol_slot);
    for (uint32_t i = 0; i < n; i++)
        if (old[i].symbol != NULL)
            *find_slot(tables, old[i].symbol) = old[i];
}

/* False: there is one of this name. */
static bool add_symbol(struct rsrc_tables *tables, const char *symbol, bool is_array) {
    make_room(tables);
    struct rsrc_symbol_slot *slot = find_slot(tables, symbol);
    if (slot->symbol != NULL)
        return false;
    *slot = (struct rsrc_symbol_slot){symbol, is_array};
    tables->n_symbols++;
    return true;
}

bool rsrc_is_array(const struct rsrc_tables *tables, const char *symbol) {
    const struct rsrc_symbol_slot *slot = find_slot(tables, symbol);
    assert(slot->symbol != NULL);
    return slot->is_array;
}

void rsrc_declare(struct rsrc_tables *tables, enum rsrc_declared what, const char *type,
                  const char *symbol) {
    if (symbol == NULL || !add_symbol(tables, symbol, what != RSRC_DECLARED_OBJECT))
        return;
    tables->declarations =
        rsrc_arena_grown(tables->arena, tables->declarations, tables->n_declarations,
                         &tables->declarations_capacity, sizeof(*tables->declarations));
    tables->declarations[tables->n_declarations++] =
        (struct rsrc_declaration){.symbol = symbol, .type = type, .what = what};
}

/* ---- tables and rows ------------------------------------------------------------------------- */

struct rsrc_table *rsrc_begin_table(struct rsrc_tables *tables, const struct rsrc_table *table) {
    const bool is_new = add_symbol(tables, table->symbol, table->is_array);
    assert(is_new);
    (void)is_new;
    tables->tables = rsrc_arena_grown(tables->arena, tables->tables, tables->n_tables,
                                      &tables->tables_capacity, sizeof(*tables->tables));
    struct rsrc_table *added = &tables->tables[tables->n_tables++];
    *added = *table;
    if (!table->is_array)
        rsrc_begin_row(tables, NULL);
    return added;
}

void rsrc_begin_row(struct rsrc_tables *tables, const char *comment) {
    struct rsrc_table *table = &tables->tables[tables->n_tables - 1];
    table->rows = rsrc_arena_grown(tables->arena, table->rows, table->n_rows, &table->capacity,
                                   sizeof(*table->rows));
    table->rows[table->n_rows++] = (struct rsrc_row){.comment = comment};
}

void rsrc_comment_member(struct rsrc_tables *tables, const char *comment) {
    tables->next_comment = comment;
}

void rsrc_add_call(struct rsrc_tables *tables, const struct rsrc_call *call) {
    tables->calls = rsrc_arena_grown(tables->arena, tables->calls, tables->n_calls,
                                     &tables->calls_capacity, sizeof(*tables->calls));
    tables->calls[tables->n_calls++] = *call;
}

/* ---- members --------------------------------------------------------------------------------- */

static void add_field(struct rsrc_tables *tables, const struct rsrc_field *field) {
    struct rsrc_table *table = &tables->tables[tables->n_tables - 1];
    struct rsrc_row *row = &table->rows[table->n_rows - 1];
    uint32_t at = row->n_fields;
    assert(field->at + field->n * field->size_bytes <= table->row_bytes);
    row->fields = rsrc_arena_grown(tables->arena, row->fields, row->n_fields++, &row->capacity,
                                   sizeof(*row->fields));
    for (; at > 0 && row->fields[at - 1].at > field->at; at--) /* rows are in the struct's order */
        row->fields[at] = row->fields[at - 1];
    assert(at == 0 || field->at >= row->fields[at - 1].at +
                                       row->fields[at - 1].n * row->fields[at - 1].size_bytes);
    assert(at + 1 == row->n_fields ||
           field->at + field->n * field->size_bytes <= row->fields[at + 1].at);
    row->fields[at] = *field;
    row->fields[at].comment = tables->next_comment;
    tables->next_comment = NULL;
}

static const void *copy_bytes(struct rsrc_tables *tables, const void *bytes, uint64_t n_bytes) {
    void *copy = rsrc_arena_alloc(tables->arena, n_bytes);
    memcpy(copy, bytes, n_bytes);
    return copy;
}

static void put_elements(struct rsrc_tables *tables, const struct rsrc_member *member,
                         enum rsrc_field_kind kind, const void *values, uint32_t size_bytes) {
    add_field(tables, &(struct rsrc_field){.kind = kind,
                                           .name = member->name,
                                           .at = member->at,
                                           .n = member->size_bytes / size_bytes,
                                           .size_bytes = size_bytes,
                                           .bytes = copy_bytes(tables, values, member->size_bytes),
                                           .spelling = member->spelling});
}

void rsrc_table_put_number(struct rsrc_tables *tables, const struct rsrc_member *member,
                           uint64_t value) {
    assert(member->size_bytes == sizeof(value) || value >> (8 * member->size_bytes) == 0);
    put_elements(tables, member, RSRC_FIELD_NUMBERS, &value, (uint32_t)member->size_bytes);
}

void rsrc_table_put_mask(struct rsrc_tables *tables, const struct rsrc_member *member,
                         uint64_t value) {
    struct rsrc_member spelled = *member;
    spelled.spelling = rsrc_arena_printf(tables->arena, "UINT64_C(0x%" PRIx64 ")", value);
    rsrc_table_put_number(tables, &spelled, value);
}

void rsrc_table_put_float(struct rsrc_tables *tables, const struct rsrc_member *member,
                          float value) {
    put_elements(tables, member, RSRC_FIELD_FLOATS, &value, sizeof(value));
}

void rsrc_table_put_bytes(struct rsrc_tables *tables, const struct rsrc_member *member,
                          const uint8_t *values) {
    put_elements(tables, member, RSRC_FIELD_NUMBERS, values, sizeof(*values));
}

void rsrc_table_put_shorts(struct rsrc_tables *tables, const struct rsrc_member *member,
                           const uint16_t *values) {
    put_elements(tables, member, RSRC_FIELD_NUMBERS, values, sizeof(*values));
}

void rsrc_table_put_chars(struct rsrc_tables *tables, const struct rsrc_member *member,
                          const char *text) {
    char *chars = rsrc_arena_alloc(tables->arena, member->size_bytes);
    assert(strlen(text) < member->size_bytes);
    memcpy(chars, text, strlen(text));
    put_elements(tables, member, RSRC_FIELD_CHARS, chars, 1);
}

static void put_address(struct rsrc_tables *tables, const struct rsrc_member *member,
                        enum rsrc_field_kind kind, const char *text, uint64_t offset) {
    assert(kind == RSRC_FIELD_TEXT || text == NULL || find_slot(tables, text)->symbol != NULL);
    add_field(tables, &(struct rsrc_field){.kind = kind,
                                           .name = member->name,
                                           .at = member->at,
                                           .n = 1,
                                           .size_bytes = (uint32_t)member->size_bytes,
                                           .text = text,
                                           .offset = offset,
                                           .size_of_one = member->size_of_one,
                                           .is_cast = member->is_cast});
}

void rsrc_table_put_text(struct rsrc_tables *tables, const struct rsrc_member *member,
                         const char *text) {
    put_address(tables, member, RSRC_FIELD_TEXT, text, 0);
}

void rsrc_table_put_pointer(struct rsrc_tables *tables, const struct rsrc_member *member,
                            const char *symbol) {
    put_address(tables, member, RSRC_FIELD_POINTER, symbol, 0);
}

void rsrc_table_put_element(struct rsrc_tables *tables, const struct rsrc_member *member,
                            const char *symbol, uint64_t element) {
    put_address(tables, member, RSRC_FIELD_POINTER, symbol, element);
}

void rsrc_table_put_byte(struct rsrc_tables *tables, const struct rsrc_member *member,
                         const char *symbol, uint64_t byte) {
    struct rsrc_member of_bytes = *member;
    of_bytes.size_of_one = 1;
    of_bytes.is_cast = true;
    rsrc_table_put_element(tables, &of_bytes, symbol, byte);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static void add_array(struct rsrc_tables *tables, const struct rsrc_table *table,
                      enum rsrc_field_kind kind, const void *values, uint32_t size_bytes) {
    rsrc_begin_table(tables, table);
    rsrc_begin_row(tables, NULL);
    put_elements(tables, &(struct rsrc_member){.size_bytes = table->row_bytes}, kind, values,
                 size_bytes);
}

void rsrc_add_floats(struct rsrc_tables *tables, const char *symbol, const char *comment,
                     const float *values, uint64_t n) {
    add_array(tables,
              &(struct rsrc_table){.symbol = symbol,
                                   .type = "float",
                                   .comment = comment,
                                   .row_bytes = n * sizeof(*values),
                                   .align = _Alignof(float),
                                   .is_array = true},
              RSRC_FIELD_FLOATS, values, sizeof(*values));
}

void rsrc_add_numbers(struct rsrc_tables *tables, const char *symbol, const uint32_t *values,
                      uint64_t n) {
    add_array(tables,
              &(struct rsrc_table){.symbol = symbol,
                                   .type = "uint32_t",
                                   .row_bytes = n * sizeof(*values),
                                   .align = _Alignof(uint32_t),
                                   .is_array = true},
              RSRC_FIELD_NUMBERS, values, sizeof(*values));
}
