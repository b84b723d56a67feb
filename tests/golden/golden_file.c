/* golden_file.c - loads golden.safetensors through the compiler's own reader and keeps aligned
 * copies of its tensors. Trusted input: anything unexpected ends the program with a sentence. */
#include "golden_file.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mapped_file.h"
#include "reader/checkpoint.h"

#define MAX_ROWS (1u << 20)
#define MAX_NAME 128

void golden_die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("golden_check: error: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void copy_tensor(struct golden *golden, const struct rsr_tensor *from,
                        struct golden_tensor *to) {
    uint64_t rows = from->n_dims > 0 ? from->shape[0] : 1;
    uint64_t cols = 1;
    for (uint32_t i = 1; i < from->n_dims; i++) {
        cols *= from->shape[i]; /* the reader has checked the product */
    }
    if (rows == 0 || rows > MAX_ROWS || cols == 0 || cols > UINT32_MAX) {
        golden_die("tensor '%s' has a shape that no golden record has", from->name);
    }
    *to = (struct golden_tensor){
        .name = from->name, .dtype = from->dtype, .rows = (uint32_t)rows, .cols = (uint32_t)cols};
    to->data = rsrc_arena_alloc(&golden->arena, from->size_bytes);
    memcpy(to->data, from->data, from->size_bytes);
    to->seen = RSRC_NEW_ARRAY(&golden->arena, rows, bool);
    if (to->dtype == RSR_DTYPE_F32) {
        const float *values = to->data;
        for (uint64_t i = 0; i < rows * cols; i++) {
            to->largest = fmaxf(to->largest, fabsf(values[i]));
        }
    }
}

/* Reads tokens and rows: the recorded positions. */
static void read_positions(struct golden *golden) {
    const struct golden_tensor *tokens = golden_find(golden, RSR_DTYPE_I32, "tokens");
    const struct golden_tensor *rows = golden_find(golden, RSR_DTYPE_I32, "rows");
    if (tokens == NULL || rows == NULL) {
        golden_die("the record lacks 'tokens' or 'rows'");
    }
    golden->tokens = tokens->data;
    golden->n_tokens = tokens->rows;
    golden->rows = rows->data;
    golden->n_rows = rows->rows;
    golden->row_of = RSRC_NEW_ARRAY(&golden->arena, golden->n_tokens, int32_t);
    for (uint32_t t = 0; t < golden->n_tokens; t++) {
        golden->row_of[t] = -1;
    }
    for (uint32_t r = 0; r < golden->n_rows; r++) {
        int32_t position = golden->rows[r];
        if (position < 0 || (uint32_t)position >= golden->n_tokens) {
            golden_die("'rows' names position %d of %u", position, golden->n_tokens);
        }
        golden->row_of[position] = (int32_t)r;
    }
}

void golden_open(struct golden *golden, const char *path) {
    *golden = (struct golden){0};
    rsrc_arena_init(&golden->arena);
    struct rsrc_diag *diag = rsrc_diag_create(stderr, false, RSRC_COLOR_NEVER);
    struct rsrc_mapping mapping;
    struct rsr_tensor *tensors;
    if (rsrc_map_file(diag, &golden->arena, path, &mapping) != RSRC_OK ||
        rsrc_parse_safetensors(diag, &golden->arena, mapping.path, mapping.data, mapping.size_bytes,
                               &tensors, &golden->n_tensors) != RSRC_OK) {
        golden_die("cannot read the golden record");
    }
    golden->tensors = RSRC_NEW_ARRAY(&golden->arena, golden->n_tensors, struct golden_tensor);
    for (uint32_t i = 0; i < golden->n_tensors; i++) {
        copy_tensor(golden, &tensors[i], &golden->tensors[i]);
    }
    rsrc_unmap_file(&mapping);
    rsrc_diag_destroy(diag);
    read_positions(golden);
}

void golden_close(struct golden *golden) {
    rsrc_arena_free(&golden->arena);
}

static struct golden_tensor *find(const struct golden *golden, enum rsr_dtype dtype, char *name,
                                  const char *format, va_list args) {
    vsnprintf(name, MAX_NAME, format, args);
    for (uint32_t i = 0; i < golden->n_tensors; i++) {
        struct golden_tensor *tensor = &golden->tensors[i];
        if (strcmp(tensor->name, name) == 0) {
            if (tensor->dtype != dtype) {
                golden_die("tensor '%s' has the wrong type", name);
            }
            return tensor;
        }
    }
    return NULL;
}

struct golden_tensor *golden_find(const struct golden *golden, enum rsr_dtype dtype,
                                  const char *format, ...) {
    char name[MAX_NAME];
    va_list args;
    va_start(args, format);
    struct golden_tensor *tensor = find(golden, dtype, name, format, args);
    va_end(args);
    return tensor;
}

struct golden_tensor *golden_need(const struct golden *golden, enum rsr_dtype dtype, uint32_t rows,
                                  uint32_t cols, const char *format, ...) {
    char name[MAX_NAME];
    va_list args;
    va_start(args, format);
    struct golden_tensor *tensor = find(golden, dtype, name, format, args);
    va_end(args);
    if (tensor == NULL) {
        golden_die("the record lacks '%s'", name);
    }
    if (tensor->rows != rows || tensor->cols != cols) {
        golden_die("tensor '%s' is [%u, %u], the model needs [%u, %u]", name, tensor->rows,
                   tensor->cols, rows, cols);
    }
    return tensor;
}

void golden_corrupt(const struct golden *golden, const char *name) {
    for (uint32_t i = 0; i < golden->n_tensors; i++) {
        const struct golden_tensor *tensor = &golden->tensors[i];
        if (strcmp(tensor->name, name) != 0) {
            continue;
        }
        size_t at = ((size_t)tensor->rows * tensor->cols) / 2;
        if (tensor->dtype == RSR_DTYPE_F32) {
            ((float *)tensor->data)[at] += 1e-2f * tensor->largest;
        } else if (tensor->dtype == RSR_DTYPE_I32) {
            ((int32_t *)tensor->data)[at] ^= 1;
        } else {
            ((uint8_t *)tensor->data)[at] ^= 1;
        }
        return;
    }
    golden_die("no tensor '%s' to corrupt", name);
}

static bool ends_with(const char *name, const char *suffix) {
    const char *last = strrchr(name, '.');
    return last != NULL && strcmp(last, suffix) == 0;
}

uint64_t golden_count_inputs(const struct golden *golden) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < golden->n_tensors; i++) {
        const struct golden_tensor *tensor = &golden->tensors[i];
        if (ends_with(tensor->name, ".codes") || ends_with(tensor->name, ".input")) {
            n += tensor->rows;
        }
    }
    return n;
}

static bool is_compared(const char *name) {
    if (strncmp(name, "block.", strlen("block.")) != 0) {
        return strcmp(name, "logits") == 0 || strcmp(name, "final_norm") == 0;
    }
    return !ends_with(name, ".scale") && !ends_with(name, ".weight_scale");
}

const char *golden_unseen(struct golden *golden) {
    const char *missed = NULL;
    for (uint32_t i = 0; i < golden->n_tensors; i++) {
        struct golden_tensor *tensor = &golden->tensors[i];
        for (uint32_t r = 0; r < tensor->rows; r++) {
            if (!tensor->seen[r] && missed == NULL && is_compared(tensor->name)) {
                missed = tensor->name;
            }
            tensor->seen[r] = false;
        }
    }
    return missed;
}
