/* matrices_header.c - the header of a library of matrices; see matrices_header.h. */
#include "emit/c/matrices_header.h"

#include <inttypes.h>
#include <string.h>

#include "emit/c/tables_c.h"

static const char *upper_case(struct rsrc_arena *arena, const char *text) {
    char *copy = rsrc_arena_strdup(arena, text);
    for (char *c = copy; *c != '\0'; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    return copy;
}

static bool has_input(const struct rsr_matrices_input *input, enum rsr_input wanted) {
    for (uint32_t e = 0; e < input->n_entries; e++)
        if (input->entries[e].input == wanted)
            return true;
    return false;
}

static void put_introduction(struct rsrc_arena *arena, const struct rsr_matrices_input *input,
                             struct rsrc_buffer *out) {
    const char *upper = upper_case(arena, input->stem);
    const struct rsr_matrix_entry *first = &input->entries[0];
    rsrc_buffer_puts(out, "/* Products with the matrices of ");
    rsrc_buffer_put_comment(out, input->source);
    rsrc_buffer_printf(
        out,
        ", made by rsrc %s.\n"
        " *\n"
        " *     %s y[%s_%s_ROWS];\n"
        " *     if (%s(x, y) != %s_OK) ...\n"
        " *\n"
        " * For every matrix W:\n"
        " *   <name>        y = W x: y[r] is the sum of W[r][c] * x[c] over all columns c\n"
        " *   <name>_batch  the same for n vectors: vector t begins at x[t * ldx] and y[t * ldy], "
        "with\n"
        " *                 ldx >= COLS and ldy >= ROWS\n"
        " *   <name>_part   one of n_parts parts of a batch: the calls with part = 0 .. n_parts - "
        "1, in\n"
        " *                 any order and on any threads, together write every row once\n"
        " *\n",
        RSRC_VERSION, rsrc_matrix_element(first->input), upper, upper_case(arena, first->symbol),
        rsrc_matrix_function(arena, input, first, 0), upper);
    if (has_input(input, RSR_INPUT_I8))
        rsrc_buffer_puts(out, " * Sums of int8 vectors are exact.\n");
    if (has_input(input, RSR_INPUT_F32))
        rsrc_buffer_puts(
            out,
            " * Floats are finite; they are added in one order, whatever n and the parts are: the\n"
            " * error is at most COLS * 2^-24 * sum |W[r][c] * x[c]|.\n");
    rsrc_buffer_printf(
        out,
        " * Vectors may lie at any address and do not overlap y. Any number of threads may call "
        "at\n"
        " * once; a call starts none and frees what it takes. The code is chosen for the CPU by "
        "the\n"
        " * first call. All functions return %s_OK, or one of the others without writing to y.\n"
        " */\n",
        upper);
}

static void put_statuses(const char *upper, struct rsrc_buffer *out) {
    static const struct {
        enum rsr_matrix_status status;
        const char *name, *meaning;
    } STATUSES[] = {
        {RSR_MATRIX_OK, "OK", "y is complete"},
        {RSR_MATRIX_NO_MEMORY, "NO_MEMORY", "there is no memory for aligned vectors and tables"},
        {RSR_MATRIX_NO_CPU, "NO_CPU", "the CPU lacks what every target of this library needs"},
        {RSR_MATRIX_BAD_CALL, "BAD_CALL", "no vectors, rows that overlap, or no such part"},
    };
    for (size_t i = 0; i < sizeof(STATUSES) / sizeof(STATUSES[0]); i++)
        rsrc_buffer_printf(out, "#define %s_%s %d /* %s */\n", upper, STATUSES[i].name,
                           STATUSES[i].status, STATUSES[i].meaning);
}

/* Prints what a tensor's entries share. */
static void put_matrix(struct rsrc_arena *arena, const char *upper,
                       const struct rsr_matrix_entry *entry, struct rsrc_buffer *out) {
    const char *symbol = upper_case(arena, entry->symbol);
    rsrc_buffer_puts(out, "\n/* ");
    rsrc_buffer_put_comment(out, entry->tensor);
    rsrc_buffer_printf(out, ": %" PRIu32 " x %" PRIu32 " */\n", entry->rows, entry->cols);
    rsrc_buffer_printf(out, "#define %s_%s_ROWS %" PRIu32 "\n#define %s_%s_COLS %" PRIu32 "\n",
                       upper, symbol, entry->rows, upper, symbol, entry->cols);
}

void rsrc_c_put_matrices_header(struct rsrc_arena *arena, const struct rsr_matrices_input *input,
                                const struct rsrc_tables *tables, struct rsrc_buffer *out) {
    const char *upper = upper_case(arena, input->stem);
    put_introduction(arena, input, out);
    rsrc_buffer_printf(out,
                       "#ifndef %s_H\n#define %s_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n"
                       "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n",
                       upper, upper);
    put_statuses(upper, out);
    for (uint32_t e = 0; e < input->n_entries; e++) {
        const struct rsr_matrix_entry *entry = &input->entries[e];
        if (e == 0 || entry->symbol != input->entries[e - 1].symbol)
            put_matrix(arena, upper, entry, out);
        for (uint32_t form = 0; form < RSRC_MATRIX_FORMS; form++) {
            rsrc_c_put_prototype(&tables->calls[e * RSRC_MATRIX_FORMS + form], out);
            rsrc_buffer_puts(out, ";\n");
        }
    }
    rsrc_buffer_puts(out, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
}
