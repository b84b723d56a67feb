/* head_sketch.c - rebuilds the sketch of a module's head from the head in the module, and compares.
 *
 * usage: head_sketch MODULE.so
 *
 * Blocks are made by the portable builder, whatever the compiler used, from rows that are converted
 * here. Prints "none", or the planes, blocks and targets; all targets must have the same sketch.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr_abi.h"
#include "rsr_packed.h"
#include "sketch/sketch.h"

/* Of a packed matrix, by the description of the format. */
static uint32_t packed_bits(const struct rsr_matrix_data *matrix, size_t row, uint32_t col) {
    const struct rsr_packed_row at = rsr_packed_row_of(matrix, (uint32_t)row);
    const uint32_t j = col % 64 / 16, k = col % 16 / 4, byte = 16 * k + 4 * j + col % 4;
    const uint32_t codes = at.codes[col / 64 * 32 + byte % 32];
    uint32_t high = at.high[byte < 32 ? codes & 15 : codes >> 4];
    for (const uint32_t *e = at.exception; e < at.end; e++)
        if (*e >> 8 == col)
            high = *e & 255;
    return high << 8 | at.low[col / 64 * 64 + byte];
}

static float element(const struct rsr_matrix_data *matrix, size_t i) {
    float value = 0;
    if (matrix->dtype == RSR_DTYPE_BF16_PACKED) {
        const uint32_t wide = packed_bits(matrix, i / matrix->cols, (uint32_t)(i % matrix->cols))
                              << 16;
        memcpy(&value, &wide, sizeof(value));
        return value;
    }
    if (matrix->dtype == RSR_DTYPE_F32) {
        memcpy(&value, (const char *)matrix->data + i * sizeof(value), sizeof(value));
        return value;
    }
    uint16_t bits;
    memcpy(&bits, (const char *)matrix->data + i * sizeof(bits), sizeof(bits));
    if (matrix->dtype == RSR_DTYPE_F16) {
        const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
        value = exponent == 0 ? ldexpf((float)mantissa, -24)
                              : ldexpf((float)(mantissa + 1024), exponent - 25);
        return bits >> 15 ? -value : value;
    }
    const uint32_t wide = (uint32_t)bits << 16;
    memcpy(&value, &wide, sizeof(value));
    return value;
}

static void load_rows(const struct rsr_matrix_data *head, uint32_t block, float *rows) {
    for (uint32_t j = 0; j < RSR_SKETCH_VECTORS; j++) {
        const size_t row = (size_t)block * RSR_SKETCH_VECTORS + j;
        for (uint32_t d = 0; d < head->cols; d++)
            rows[(size_t)j * head->cols + d] =
                row < head->rows ? element(head, row * head->cols + d) : 0.0f;
    }
}

/* A centre may be anything; a useful one is close to the mean. */
static int check_centre(const struct rsr_matrix_data *head, const float *centre) {
    for (uint32_t d = 0; d < head->cols; d++) {
        double sum = 0, squares = 0;
        for (uint32_t r = 0; r < head->rows; r++) {
            const double value = (double)element(head, (size_t)r * head->cols + d);
            sum += value;
            squares += value * value;
        }
        const double mean = sum / head->rows;
        const double deviation = sqrt(squares / head->rows - mean * mean);
        if (fabs((double)centre[d] - mean) > 0.1 * deviation) {
            printf("centre %u is %g, the mean %g\n", d, (double)centre[d], mean);
            return 1;
        }
    }
    return 0;
}

static int check(const struct rsr_target *target) {
    const struct rsr_matrix_data *head = &target->tensors->head;
    const struct rsr_head_sketch *sketch = &target->tensors->head_sketch;
    const struct rsr_sketch_shape shape = rsr_sketch_flat_shape(head->cols, sketch->n_planes);
    const uint32_t n_blocks = (head->rows + RSR_SKETCH_VECTORS - 1) / RSR_SKETCH_VECTORS;
    float *rows = calloc((size_t)RSR_SKETCH_VECTORS * head->cols, sizeof(*rows));
    char *block = aligned_alloc(64, shape.block_bytes);
    int bad = check_centre(head, sketch->centre) | (shape.block_bytes != sketch->block_bytes);
    for (uint32_t b = 0; b < n_blocks && !bad; b++) {
        load_rows(head, b, rows);
        rsr_sketch_build(&shape, block, rows, head->cols, sketch->centre, NULL);
        bad = memcmp(block, (const char *)sketch->blocks + b * sketch->block_bytes,
                     shape.block_bytes) != 0;
        if (bad)
            printf("block %u of %u differs\n", b, n_blocks);
    }
    free(rows);
    free(block);
    return bad;
}

int main(int argc, char **argv) {
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    rsr_module_query_fn *query = NULL;
    if (library != NULL)
        *(void **)&query = dlsym(library, "rsr_module_query");
    if (query == NULL) {
        fputs("usage: head_sketch MODULE.so\n", stderr);
        return 2;
    }
    const struct rsr_host host = {.size_bytes = sizeof(host), .abi_version = RSR_ABI_VERSION};
    const struct rsr_module *module = query(RSR_ABI_VERSION, &host);
    const struct rsr_target *first = &module->targets[0];
    for (uint32_t t = 1; t < module->n_targets; t++) {
        if (memcmp(&module->targets[t].tensors->head_sketch, &first->tensors->head_sketch,
                   sizeof(first->tensors->head_sketch)) != 0) {
            puts("targets differ");
            return 1;
        }
    }
    if (first->tensors->head_sketch.blocks == NULL) {
        puts("none");
        return 0;
    }
    if (check(first) != 0)
        return 1;
    printf("%u planes, %u blocks of %u bytes, %u targets\n", first->tensors->head_sketch.n_planes,
           (first->tensors->head.rows + RSR_SKETCH_VECTORS - 1) / RSR_SKETCH_VECTORS,
           (unsigned)first->tensors->head_sketch.block_bytes, module->n_targets);
    return 0;
}
