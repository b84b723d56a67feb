/* matrix_tables.h - describes the tables and functions of a library of matrices. */
#ifndef RSRC_EMIT_MODULE_MATRIX_TABLES_H
#define RSRC_EMIT_MODULE_MATRIX_TABLES_H

#include "emit/module/model_tables.h"

/* One matrix with one type of vectors. */
struct rsr_matrix_entry {
    const char *tensor; /* untrusted */
    const char *symbol; /* its part of names, unique without regard to case: "w_out" */
    enum rsr_input input;
    uint32_t rows, cols;
};

struct rsr_matrices_input {
    const struct rsr_module_note *note;
    const char *source;                     /* what was compiled, for a comment; untrusted */
    const char *stem;                       /* begins every name: a C identifier */
    const struct rsr_matrix_entry *entries; /* those of one tensor are neighbours */
    uint32_t n_entries;
    const struct rsr_module_target *targets; /* linears: 2 per entry, for few vectors and for
                                                many */
    uint32_t n_targets;
    uint32_t max_few; /* the largest number of vectors that counts as few */
};

/* The functions of an entry: one vector, a batch, a part of a batch's rows. */
#define RSRC_MATRIX_FORMS 3u

/* "mats_w_out_i8_batch" */
const char *rsrc_matrix_function(struct rsrc_arena *arena, const struct rsr_matrices_input *input,
                                 const struct rsr_matrix_entry *entry, uint32_t form);
/* The type of a result: "int32_t". */
const char *rsrc_matrix_element(enum rsr_input input);
/* All functions, those of an entry together. C text includes the library's header as "matrices.h".
 */
void rsrc_describe_matrices(struct rsrc_tables *tables, const struct rsr_matrices_input *input);

#endif
