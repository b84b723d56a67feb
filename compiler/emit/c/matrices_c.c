/* matrices_c.c - a library of matrices: its tables and functions as one C file, and its header.
 *
 * Every function is one call of the runtime (rsr_abi.h, rsr_multiply_matrix). Names are already
 * identifiers; names of the checkpoint appear only in comments, escaped.
 */
#include "emit/c/matrices_c.h"

#include <inttypes.h>
#include <string.h>

/* By enum rsr_input. */
static const struct {
    const char *suffix, *x_type, *y_type;
} INPUTS[] = {
    [RSR_INPUT_I8] = {"i8", "int8_t", "int32_t"}, [RSR_INPUT_F32] = {"f32", "float", "float"}};

static const struct {
    const char *suffix;
    const char *after_x, *after_y; /* the other parameters */
    const char *call;              /* of struct rsr_matrix_call */
} FORMS[RSRC_MATRIX_FORMS] = {
    {"", "", "", "x, 0, y, 0, 1, 0, 1"},
    {"_batch", ", size_t ldx", ", size_t ldy, uint32_t n", "x, ldx, y, ldy, n, 0, 1"},
    {"_part", ", size_t ldx", ", size_t ldy, uint32_t n,\n    uint32_t part, uint32_t n_parts",
     "x, ldx, y, ldy, n, part, n_parts"},
};

static const char *upper_case(struct rsrc_arena *arena, const char *text) {
    char *copy = rsrc_arena_strdup(arena, text);
    for (char *c = copy; *c != '\0'; c++)
        if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    return copy;
}

const char *rsrc_matrix_function(struct rsrc_arena *arena, const struct rsr_matrices_input *input,
                                 const struct rsr_matrix_entry *entry, uint32_t form) {
    return rsrc_arena_printf(arena, "%s_%s_%s%s", input->stem, entry->symbol,
                             INPUTS[entry->input].suffix, FORMS[form].suffix);
}

/* "int mats_w_i8(const int8_t *x, int32_t *y)" */
static void put_prototype(struct rsrc_arena *arena, const struct rsr_matrices_input *input,
                          const struct rsr_matrix_entry *entry, uint32_t form,
                          struct rsrc_buffer *out) {
    rsrc_buffer_printf(out, "int %s(const %s *x%s, %s *y%s)",
                       rsrc_matrix_function(arena, input, entry, form), INPUTS[entry->input].x_type,
                       FORMS[form].after_x, INPUTS[entry->input].y_type, FORMS[form].after_y);
}

/* ---- the header ------------------------------------------------------------------------------ */

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
        RSRC_VERSION, INPUTS[first->input].y_type, upper, upper_case(arena, first->symbol),
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

void rsrc_emit_matrices_header(struct rsrc_arena *arena, const struct rsr_matrices_input *input,
                               struct rsrc_buffer *out) {
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
            put_prototype(arena, input, entry, form, out);
            rsrc_buffer_puts(out, ";\n");
        }
    }
    rsrc_buffer_puts(out, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
}

/* ---- the C file ------------------------------------------------------------------------------ */

static void put_library(const struct rsr_matrices_input *input, struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "\nstatic const struct rsr_target targets[] = {\n");
    for (uint32_t t = 0; t < input->n_targets; t++)
        rsrc_buffer_printf(out,
                           "    {.name = \"%s\",\n"
                           "     .cpu_features = UINT64_C(0x%" PRIx64 "),\n"
                           "     .n_kernels = %" PRIu32 ", .kernels = kernels_%" PRIu32 "},\n",
                           input->targets[t].spec->name, input->targets[t].spec->cpu_features,
                           input->targets[t].n_linears, t);
    rsrc_buffer_printf(out,
                       "};\n\n"
                       "/* Set once, by the first call. */\n"
                       "static const struct rsr_target *chosen;\n\n"
                       "static const struct rsr_matrix_library library = {targets, %" PRIu32
                       ", %" PRIu32 ", &chosen};\n",
                       input->n_targets, input->max_few);
}

void rsrc_emit_matrices(struct rsrc_arena *arena, const struct rsr_matrices_input *input,
                        struct rsrc_buffer *out) {
    rsrc_buffer_puts(out, "/* The tables and functions of a library of matrices, made by rsrc. */\n"
                          "#include \"matrices.h\"\n"
                          "#include \"rsr_abi.h\"\n\n"
                          "#define PUBLIC __attribute__((visibility(\"default\")))\n\n");
    rsrc_put_note(input->note, "RSR_NOTE_MATRICES", out);
    rsrc_put_linear_declarations(input->targets, input->n_targets, out);
    for (uint32_t t = 0; t < input->n_targets; t++)
        rsrc_put_kernels(&input->targets[t], t, out);
    put_library(input, out);
    for (uint32_t e = 0; e < input->n_entries; e++)
        for (uint32_t form = 0; form < RSRC_MATRIX_FORMS; form++) {
            rsrc_buffer_puts(out, "\nPUBLIC ");
            put_prototype(arena, input, &input->entries[e], form, out);
            rsrc_buffer_printf(out,
                               " {\n"
                               "    const struct rsr_matrix_call call = {%s};\n"
                               "    return rsr_multiply_matrix(&library, %" PRIu32 ", &call);\n"
                               "}\n",
                               FORMS[form].call, e);
        }
}
