/* tables_c.c - prints the description of a module's tables (emit/module/tables.h) as C.
 *
 * Numbers are printed so that they read back exactly (floats in hexadecimal); text from the
 * checkpoint goes through the escapers. A row that fits a line is one; in a longer row, texts and
 * members with a comment have lines of their own, and the other members fill lines.
 */
#include "emit/c/tables_c.h"

#include <inttypes.h>
#include <string.h>

#define LINE 100u
#define INDENT 4u
#define NO_LINE SIZE_MAX

struct printer {
    const struct rsrc_tables *tables;
    const struct rsrc_table *table; /* that is printed */
};

/* ---- values ---------------------------------------------------------------------------------- */

static uint64_t read_number(const struct rsrc_field *field, uint64_t element) {
    uint64_t number = 0; /* little-endian */
    memcpy(&number, (const char *)field->bytes + element * field->size_bytes, field->size_bytes);
    return number;
}

static void put_element(const struct rsrc_field *field, uint64_t element, struct rsrc_buffer *out) {
    const uint64_t number = read_number(field, element);
    if (field->kind == RSRC_FIELD_FLOATS) {
        float value;
        memcpy(&value, &number, sizeof(value));
        rsrc_buffer_printf(out, "%af", (double)value);
    } else if (field->size_bytes == 1) {
        rsrc_buffer_printf(out, "0x%02" PRIx64, number);
    } else if (field->size_bytes == 8) {
        rsrc_buffer_printf(out, number > INT32_MAX ? "UINT64_C(%" PRIu64 ")" : "%" PRIu64, number);
    } else {
        rsrc_buffer_printf(out, "%" PRIu64 "%s", number, number > INT32_MAX ? "u" : "");
    }
}

static void put_elements(const struct rsrc_field *field, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "{");
    for (uint64_t i = 0; i < field->n; i++) {
        rsrc_buffer_puts(out, i == 0 ? "" : ", ");
        put_element(field, i, out);
    }
    rsrc_buffer_puts(out, "}");
}

static void put_address(const struct rsrc_tables *tables, const struct rsrc_field *field,
                        struct rsrc_buffer *out) {
    if (field->is_cast)
        rsrc_buffer_puts(out, "(const void *)(");
    rsrc_buffer_printf(out, "%s%s", rsrc_is_array(tables, field->text) ? "" : "&", field->text);
    if (field->offset != 0)
        rsrc_buffer_printf(out, " + %" PRIu64, field->offset);
    if (field->is_cast)
        rsrc_buffer_puts(out, ")");
}

static void put_value(const struct rsrc_tables *tables, const struct rsrc_field *field,
                      struct rsrc_buffer *out) {
    const bool is_address = field->kind == RSRC_FIELD_TEXT || field->kind == RSRC_FIELD_POINTER;
    if (field->spelling != NULL)
        rsrc_buffer_puts(out, field->spelling);
    else if (field->kind == RSRC_FIELD_CHARS)
        rsrc_buffer_put_c_string(out, field->bytes);
    else if (is_address && field->text == NULL)
        rsrc_buffer_puts(out, "0");
    else if (field->kind == RSRC_FIELD_TEXT)
        rsrc_buffer_put_c_string(out, field->text);
    else if (field->kind == RSRC_FIELD_POINTER)
        put_address(tables, field, out);
    else if (field->n == 1)
        put_element(field, 0, out);
    else
        put_elements(field, out);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* Words of a row, which become one line or several. */
struct lines {
    struct rsrc_buffer *out;
    size_t begin;    /* of the line; NO_LINE: all words share one */
    uint32_t indent; /* of the lines after the first */
};

static void break_line(struct lines *lines) {
    rsrc_buffer_printf(lines->out, "\n%*s", (int)lines->indent, "");
    lines->begin = lines->out->size_bytes - lines->indent;
}

/* Puts a word after a space, or on the next line if this one has no room for it. */
static void put_word(struct lines *lines, const struct rsrc_buffer *word, bool wants_line) {
    const size_t used = lines->out->size_bytes - lines->begin;
    const bool is_first = lines->begin != NO_LINE && used <= lines->indent;
    if (lines->begin != NO_LINE && !is_first && (wants_line || used + 1 + word->size_bytes > LINE))
        break_line(lines);
    else if (!is_first)
        rsrc_buffer_puts(lines->out, " ");
    rsrc_buffer_append(lines->out, word->data, word->size_bytes);
}

static size_t prefix_length(const char *name) {
    const char *dot = strchr(name, '.');
    return dot != NULL ? (size_t)(dot - name) : 0;
}

/* Whether two neighbours in a row are members of one struct inside it. */
static bool same_struct(const struct rsrc_row *row, uint32_t a, uint32_t b) {
    if (a >= row->n_fields || b >= row->n_fields)
        return false;
    const size_t n = prefix_length(row->fields[a].name);
    return n != 0 && n == prefix_length(row->fields[b].name) &&
           strncmp(row->fields[a].name, row->fields[b].name, n) == 0;
}

/* How a member stands in the struct inside a row that has it. */
struct place {
    size_t prefix; /* length of that struct's name; 0: the row itself has the member */
    bool opens, closes;
};

static struct place find_place(const struct rsrc_row *row, uint32_t number) {
    const size_t prefix = prefix_length(row->fields[number].name);
    return (struct place){.prefix = prefix,
                          .opens = prefix != 0 && !same_struct(row, number, number - 1),
                          .closes = prefix != 0 && !same_struct(row, number, number + 1)};
}

/* ".weights = {.codes = 0," or ".n_scales = 1}," */
static void put_member(const struct printer *p, const struct rsrc_row *row, uint32_t number,
                       struct rsrc_buffer *out) {
    const struct rsrc_field *field = &row->fields[number];
    const struct place place = find_place(row, number);
    rsrc_buffer_puts(out, number == 0 ? "{" : "");
    if (place.opens)
        rsrc_buffer_printf(out, ".%.*s = {", (int)place.prefix, field->name);
    if (!p->table->is_terse)
        rsrc_buffer_printf(out, ".%s = ", field->name + place.prefix + (place.prefix != 0));
    put_value(p->tables, field, out);
    rsrc_buffer_puts(out, place.closes ? "}" : "");
    rsrc_buffer_puts(out, number + 1 == row->n_fields ? "}" : ",");
}

static void put_member_comment(struct lines *lines, const struct rsrc_field *field) {
    struct rsrc_buffer comment = {0};
    rsrc_buffer_puts(&comment, "/* ");
    rsrc_buffer_put_comment(&comment, field->comment);
    rsrc_buffer_puts(&comment, " */");
    put_word(lines, &comment, true);
    if (lines->begin != NO_LINE)
        break_line(lines);
    rsrc_buffer_free(&comment);
}

/* Texts and structs have lines of their own. */
static void put_members(const struct printer *p, const struct rsrc_row *row, struct lines *lines) {
    bool wants_line = false;
    for (uint32_t i = 0; i < row->n_fields; i++) {
        const struct place place = find_place(row, i);
        const bool is_text = row->fields[i].kind == RSRC_FIELD_TEXT;
        struct rsrc_buffer word = {0};
        if (row->fields[i].comment != NULL)
            put_member_comment(lines, &row->fields[i]);
        put_member(p, row, i, &word);
        put_word(lines, &word, wants_line || is_text || place.opens);
        rsrc_buffer_free(&word);
        wants_line = is_text || place.closes;
        lines->indent += place.opens ? INDENT : 0;
        lines->indent -= place.closes ? INDENT : 0;
    }
    if (row->n_fields == 0)
        rsrc_buffer_puts(lines->out, "{0}");
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* "{.name = ...}" and `end`, after a line's indentation. */
static void put_row(const struct printer *p, const struct rsrc_row *row, const char *end,
                    struct rsrc_buffer *out) {
    struct rsrc_buffer line = {0};
    struct lines one = {.out = &line, .begin = NO_LINE};
    put_members(p, row, &one);
    const size_t skipped = row->n_fields != 0; /* the space before the first word */
    if (line.size_bytes - skipped + INDENT + strlen(end) <= LINE) {
        rsrc_buffer_puts(out, line.data + skipped);
    } else {
        struct lines lines = {
            .out = out, .begin = out->size_bytes - INDENT - 1, .indent = INDENT + 1};
        put_members(p, row, &lines);
    }
    rsrc_buffer_puts(out, end);
    rsrc_buffer_free(&line);
}

static void put_rows(const struct printer *p, struct rsrc_buffer *out) {
    for (uint32_t r = 0; r < p->table->n_rows; r++) {
        const struct rsrc_row *row = &p->table->rows[r];
        if (row->comment != NULL) {
            rsrc_buffer_puts(out, "    /* ");
            rsrc_buffer_put_comment(out, row->comment);
            rsrc_buffer_puts(out, " */\n");
        }
        rsrc_buffer_puts(out, "    ");
        put_row(p, row, p->table->is_array ? ",\n" : "", out);
    }
}

static bool is_of_numbers(const struct rsrc_table *table) {
    return table->n_rows == 1 && table->rows[0].n_fields == 1 &&
           table->rows[0].fields[0].name == NULL;
}

static void put_numbers(const struct rsrc_field *field, struct rsrc_buffer *out) {
    struct lines lines = {.out = out, .begin = out->size_bytes, .indent = INDENT};
    rsrc_buffer_printf(out, "%*s", (int)INDENT, "");
    for (uint64_t i = 0; i < field->n; i++) {
        struct rsrc_buffer word = {0};
        put_element(field, i, &word);
        rsrc_buffer_puts(&word, ",");
        put_word(&lines, &word, false);
        rsrc_buffer_free(&word);
    }
    rsrc_buffer_puts(out, "\n");
}

/* The comment of a table, or the names of the members of its rows. */
static void put_table_comment(const struct rsrc_table *table, struct rsrc_buffer *out) {
    if (table->comment != NULL)
        rsrc_buffer_printf(out, "/* %s */\n", table->comment);
    if (!table->is_terse || table->n_rows == 0)
        return;
    for (uint32_t i = 0; i < table->rows[0].n_fields; i++)
        rsrc_buffer_printf(out, "%s%s", i == 0 ? "/* " : ", ", table->rows[0].fields[i].name);
    rsrc_buffer_puts(out, " */\n");
}

static void put_contents(const struct printer *p, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, p->table->is_array ? " = {\n" : " =\n");
    if (is_of_numbers(p->table))
        put_numbers(&p->table->rows[0].fields[0], out);
    else
        put_rows(p, out);
    rsrc_buffer_puts(out, p->table->is_array ? "}" : "");
}

static void put_table(const struct rsrc_tables *tables, const struct rsrc_table *table,
                      struct rsrc_buffer *out) {
    const bool is_pointer = table->type[strlen(table->type) - 1] == '*';
    rsrc_buffer_puts(out, "\n");
    put_table_comment(table, out);
    rsrc_buffer_printf(out, "static %s%s%s%s%s", table->is_variable ? "" : "const ", table->type,
                       is_pointer ? "" : " ", table->symbol, table->is_array ? "[]" : "");
    if (table->attribute != NULL)
        rsrc_buffer_printf(out, " %s", table->attribute);
    if (!table->is_variable)
        put_contents(&(struct printer){tables, table}, out);
    rsrc_buffer_puts(out, ";\n");
}

/* ---- functions ------------------------------------------------------------------------------- */

void rsrc_c_put_prototype(const struct rsrc_call *call, struct rsrc_buffer *out) {
    struct lines lines = {.out = out, .begin = out->size_bytes, .indent = INDENT};
    rsrc_buffer_printf(out, "int %s(", call->symbol);
    bool is_first = true;
    uint32_t left = 0;
    for (uint32_t i = 0; i < call->n_arguments; i++)
        left += call->arguments[i].is_passed;
    for (uint32_t i = 0; i < call->n_arguments; i++) {
        const struct rsrc_argument *argument = &call->arguments[i];
        struct rsrc_buffer word = {0};
        if (!argument->is_passed)
            continue;
        rsrc_buffer_printf(&word, "%s%s%s", argument->type, argument->name,
                           --left == 0 ? ")" : ",");
        if (is_first)
            rsrc_buffer_append(out, word.data, word.size_bytes);
        else
            put_word(&lines, &word, false);
        rsrc_buffer_free(&word);
        is_first = false;
    }
}

static void put_call(const struct rsrc_call *call, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "\n__attribute__((visibility(\"default\")))\n");
    rsrc_c_put_prototype(call, out);
    rsrc_buffer_puts(out, " {\n    const struct rsr_matrix_call call = {");
    for (uint32_t i = 0; i < call->n_arguments; i++) {
        const struct rsrc_argument *argument = &call->arguments[i];
        rsrc_buffer_puts(out, i == 0 ? "" : ", ");
        if (argument->is_passed)
            rsrc_buffer_puts(out, argument->name);
        else
            rsrc_buffer_printf(out, "%" PRIu32, argument->value);
    }
    rsrc_buffer_printf(out, "};\n    return rsr_multiply_matrix(&%s, %" PRIu32 ", &call);\n}\n",
                       call->library, call->entry);
}

static void put_query(const char *module, struct rsrc_buffer *out) {
    rsrc_buffer_printf(
        out,
        "\n/* The one symbol that a module exports. */\n"
        "__attribute__((visibility(\"default\"))) const struct rsr_module *\n"
        "rsr_module_query(uint32_t max_abi, const struct rsr_host *host);\n\n"
        "const struct rsr_module *rsr_module_query(uint32_t max_abi, const struct rsr_host *host) "
        "{\n"
        "    (void)host;\n"
        "    return max_abi < RSR_ABI_VERSION ? (const struct rsr_module *)0 : &%s;\n}\n",
        module);
}

static void put_declaration(const struct rsrc_declaration *declaration, struct rsrc_buffer *out) {
    rsrc_buffer_printf(out, "extern %s %s%s;\n", declaration->type, declaration->symbol,
                       declaration->what == RSRC_DECLARED_ARRAY ? "[]" : "");
}

void rsrc_c_put_tables(const struct rsrc_tables *tables, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, tables->head);
    rsrc_buffer_puts(out, tables->n_declarations != 0 ? "\n" : "");
    for (uint32_t i = 0; i < tables->n_declarations; i++)
        put_declaration(&tables->declarations[i], out);
    for (uint32_t i = 0; i < tables->n_tables; i++)
        put_table(tables, &tables->tables[i], out);
    for (uint32_t i = 0; i < tables->n_calls; i++)
        put_call(&tables->calls[i], out);
    if (tables->module != NULL)
        put_query(tables->module, out);
}
