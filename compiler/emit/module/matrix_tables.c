/* matrix_tables.c - describes a library of matrices: its tables, and its functions, each of which
 * is one call of the runtime (rsr_abi.h, rsr_multiply_matrix).
 *
 * Names are already identifiers; names of the checkpoint appear only in comments.
 */
#include "emit/module/matrix_tables.h"

#include <string.h>

#define TARGETS "targets"
#define LIBRARY "library"
#define CHOSEN "chosen"

static const char HEAD[] =
    "/* The tables and functions of a library of matrices, made by rsrc. */\n"
    "#include \"matrices.h\"\n"
    "#include \"rsr_abi.h\"\n";

/* ---- functions ------------------------------------------------------------------------------- */

/* By enum rsr_input. */
static const struct {
    const char *suffix, *x_type, *y_type, *element;
} INPUTS[] = {[RSR_INPUT_I8] = {"i8", "const int8_t *", "int32_t *", "int32_t"},
              [RSR_INPUT_F32] = {"f32", "const float *", "float *", "float"}};

/* The members of a call, in the order of the functions' arguments. */
enum member { M_X, M_LDX, M_Y, M_LDY, M_N, M_PART, M_N_PARTS, M_COUNT };

#define MEMBER(member)                                                                             \
    offsetof(struct rsr_matrix_call, member), sizeof(((struct rsr_matrix_call *)0)->member)
static const struct rsrc_argument MEMBERS[M_COUNT] = {
    [M_X] = {NULL, "x", true, 0, MEMBER(x)},
    [M_LDX] = {"size_t ", "ldx", true, 0, MEMBER(ldx)},
    [M_Y] = {NULL, "y", true, 0, MEMBER(y)},
    [M_LDY] = {"size_t ", "ldy", true, 0, MEMBER(ldy)},
    [M_N] = {"uint32_t ", "n", true, 1, MEMBER(n)},
    [M_PART] = {"uint32_t ", "part", true, 0, MEMBER(part)},
    [M_N_PARTS] = {"uint32_t ", "n_parts", true, 1, MEMBER(n_parts)},
};

/* A function passes some members; the others have the values above. */
static const struct {
    const char *suffix;
    uint32_t passed;
} FORMS[RSRC_MATRIX_FORMS] = {
    {"", 1u << M_X | 1u << M_Y},
    {"_batch", 1u << M_X | 1u << M_LDX | 1u << M_Y | 1u << M_LDY | 1u << M_N},
    {"_part", (1u << M_COUNT) - 1},
};

const char *rsrc_matrix_function(struct rsrc_arena *arena, const struct rsr_matrices_input *input,
                                 const struct rsr_matrix_entry *entry, uint32_t form) {
    return rsrc_arena_printf(arena, "%s_%s_%s%s", input->stem, entry->symbol,
                             INPUTS[entry->input].suffix, FORMS[form].suffix);
}

const char *rsrc_matrix_element(enum rsr_input input) {
    return INPUTS[input].element;
}

static void describe_function(struct rsrc_tables *tables, const struct rsr_matrices_input *input,
                              uint32_t entry, uint32_t form) {
    const enum rsr_input type = input->entries[entry].input;
    struct rsrc_argument *arguments = RSRC_NEW_ARRAY(tables->arena, M_COUNT, struct rsrc_argument);
    memcpy(arguments, MEMBERS, sizeof(MEMBERS));
    arguments[M_X].type = INPUTS[type].x_type;
    arguments[M_Y].type = INPUTS[type].y_type;
    for (uint32_t i = 0; i < M_COUNT; i++)
        arguments[i].is_passed = (FORMS[form].passed & (1u << i)) != 0;
    rsrc_add_call(tables,
                  &(struct rsrc_call){.symbol = rsrc_matrix_function(tables->arena, input,
                                                                     &input->entries[entry], form),
                                      .arguments = arguments,
                                      .n_arguments = M_COUNT,
                                      .library = LIBRARY,
                                      .entry = entry});
}

/* ---- tables ---------------------------------------------------------------------------------- */

static void describe_library(struct rsrc_tables *tables, const struct rsr_matrices_input *input) {
    RSRC_TABLE(tables, struct rsr_target, TARGETS);
    for (uint32_t t = 0; t < input->n_targets; t++)
        rsrc_begin_target(tables, &input->targets[t], t);
    struct rsrc_table *chosen = RSRC_STRUCT(tables, const struct rsr_target *, CHOSEN);
    chosen->comment = "set once, by the first call";
    chosen->is_variable = true;
    RSRC_STRUCT(tables, struct rsr_matrix_library, LIBRARY);
    RSRC_PUT(tables, rsr_matrix_library, targets, TARGETS);
    RSRC_PUT(tables, rsr_matrix_library, n_targets, input->n_targets);
    RSRC_PUT(tables, rsr_matrix_library, max_few, input->max_few);
    RSRC_PUT(tables, rsr_matrix_library, chosen, CHOSEN);
}

void rsrc_describe_matrices(struct rsrc_tables *tables, const struct rsr_matrices_input *input) {
    tables->head = HEAD;
    rsrc_describe_note(tables, input->note, RSR_NOTE_MATRICES);
    rsrc_declare_linears(tables, input->targets, input->n_targets);
    for (uint32_t t = 0; t < input->n_targets; t++)
        rsrc_describe_kernels(tables, &input->targets[t], t);
    describe_library(tables, input);
    for (uint32_t e = 0; e < input->n_entries; e++)
        for (uint32_t form = 0; form < RSRC_MATRIX_FORMS; form++)
            describe_function(tables, input, e, form);
}
