/* golden_file.h - a golden record (README.md: format) in memory: tensors by name, with a flag for
 * each row that has been compared, so that a check that skips a row cannot pass. */
#ifndef TESTS_GOLDEN_FILE_H
#define TESTS_GOLDEN_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "rsr_abi.h"

struct golden_tensor {
    const char *name;
    enum rsr_dtype dtype;
    uint32_t rows; /* first dimension */
    uint32_t cols; /* product of the others */
    void *data;    /* aligned copy, row-major */
    float largest; /* F32: largest absolute value, "the layer's largest" */
    bool *seen;    /* [rows] */
};

struct golden {
    struct rsrc_arena arena;
    struct golden_tensor *tensors;
    uint32_t n_tensors;
    uint32_t n_tokens, n_rows;
    const int32_t *tokens; /* [n_tokens] */
    const int32_t *rows;   /* [n_rows] positions at which floats are recorded, ascending */
    int32_t *row_of;       /* [n_tokens] index into rows, or -1 */
};

/* Ends the program with a message if the file cannot be used. */
void golden_open(struct golden *golden, const char *path);
void golden_close(struct golden *golden);

/* The tensor with this name and type; NULL if there is none. Another type ends the program. */
struct golden_tensor *golden_find(const struct golden *golden, enum rsr_dtype dtype,
                                  const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The tensor with this name and type; it must exist with this shape. */
struct golden_tensor *golden_need(const struct golden *golden, enum rsr_dtype dtype, uint32_t rows,
                                  uint32_t cols, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Changes one element in the middle of a tensor, to show that the check notices. */
void golden_corrupt(const struct golden *golden, const char *name);

/* Rows of recorded inputs of linear layers. */
uint64_t golden_count_inputs(const struct golden *golden);

/* The first recorded tensor with a row that was not compared since the last call, or NULL. Scales
 * do not count, because they are read with the tensors that they scale; embeddings are compared
 * separately. */
const char *golden_unseen(struct golden *golden);

_Noreturn void golden_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
