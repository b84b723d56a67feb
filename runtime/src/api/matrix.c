/* matrix.c - products with a library's matrices. Callers have vectors anywhere in memory; kernels
 * want aligned and padded activation rows and scratch memory.
 *
 * Vectors are processed in groups, which bounds the memory of a call. The target is chosen at the
 * library's first call; all threads make the same choice.
 */
#include <stdlib.h>
#include <string.h>

#include "host/cpu.h"

#define GROUP_VECTORS 128u
#define LINE_BYTES 64u

static uint32_t count_features(const struct rsr_target *target) {
    uint32_t count = 0;
    for (uint64_t left = target->cpu_features; left != 0; left &= left - 1)
        count++;
    return count;
}

/* Chooses as choose_target.c does, but does not pull in the float operations, which kernels do not
 * need. */
static const struct rsr_target *best_target(const struct rsr_matrix_library *library,
                                            uint64_t has) {
    const struct rsr_target *best = NULL;
    for (uint32_t i = 0; i < library->n_targets; i++) {
        const struct rsr_target *target = &library->targets[i];
        if ((target->cpu_features & ~has) == 0 &&
            (best == NULL || count_features(target) > count_features(best)))
            best = target;
    }
    return best;
}

static const struct rsr_target *choose_target(const struct rsr_matrix_library *library) {
    const struct rsr_target *target = __atomic_load_n(library->chosen, __ATOMIC_ACQUIRE);
    if (target != NULL)
        return target;
    const uint64_t has = rsr_cpu_features();
    target = best_target(library, has);
    if (target != NULL && !rsr_cpu_enable(target->cpu_features))
        target = best_target(library, has & ~RSR_CPU_ON_REQUEST);
    __atomic_store_n(library->chosen, target, __ATOMIC_RELEASE);
    return target;
}

static size_t whole_lines(size_t bytes) {
    return (bytes + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
}

static size_t element_bytes(const struct rsr_kernel_desc *kernel) {
    return kernel->input == RSR_INPUT_F32 ? sizeof(float) : sizeof(int8_t);
}

static size_t row_header(const struct rsr_kernel_desc *kernel) {
    return kernel->input == RSR_INPUT_F32 ? 0 : RSR_ACT_HEADER;
}

static size_t padded_cols(const struct rsr_kernel_desc *kernel) {
    return ((size_t)kernel->cols + RSR_ACT_PAD - 1) / RSR_ACT_PAD * RSR_ACT_PAD;
}

/* The activation row of one vector. */
static void make_row(const struct rsr_kernel_desc *kernel, const void *x, uint8_t *row) {
    uint8_t *elements = row + row_header(kernel);
    const size_t used = kernel->cols * element_bytes(kernel);
    memcpy(elements, x, used);
    memset(elements + used, 0, padded_cols(kernel) * element_bytes(kernel) - used);
    if (kernel->input == RSR_INPUT_F32)
        return;
    struct rsr_act_row header = {.scale = 1};
    for (uint32_t i = 0; i < kernel->cols; i++)
        header.sum += (int8_t)elements[i];
    memcpy(row, &header, sizeof(header));
}

static bool is_valid(const struct rsr_matrix_call *call, const struct rsr_kernel_desc *kernel) {
    if (call->part >= call->n_parts)
        return false;
    if (call->n == 0)
        return true;
    return call->x != NULL && call->y != NULL &&
           (call->n == 1 || (call->ldx >= kernel->cols && call->ldy >= kernel->rows));
}

int rsr_multiply_matrix(const struct rsr_matrix_library *library, uint32_t entry,
                        const struct rsr_matrix_call *call) {
    const struct rsr_target *target = choose_target(library);
    if (target == NULL)
        return RSR_MATRIX_NO_CPU;
    const struct rsr_kernel_desc *kernel =
        &target->kernels[2 * (size_t)entry + (call->n > library->max_few)];
    if (!is_valid(call, kernel))
        return RSR_MATRIX_BAD_CALL;
    const uint64_t n_tiles = kernel->n_tiles;
    const struct rsr_worker worker = {
        .tile_begin = (uint32_t)(n_tiles * call->part / call->n_parts),
        .tile_end = (uint32_t)(n_tiles * (call->part + UINT64_C(1)) / call->n_parts),
        .index = call->part,
        .count = call->n_parts};
    if (worker.tile_begin == worker.tile_end || call->n == 0)
        return RSR_MATRIX_OK;

    const size_t row_bytes = row_header(kernel) + padded_cols(kernel) * element_bytes(kernel);
    const uint32_t group = call->n < GROUP_VECTORS ? call->n : GROUP_VECTORS;
    uint8_t *rows =
        aligned_alloc(LINE_BYTES, group * row_bytes + whole_lines(kernel->scratch_bytes));
    if (rows == NULL)
        return RSR_MATRIX_NO_MEMORY;
    for (uint32_t first = 0; first < call->n; first += group) {
        const uint32_t n = call->n - first < group ? call->n - first : group;
        for (uint32_t i = 0; i < n; i++)
            make_row(kernel,
                     (const uint8_t *)call->x +
                         ((size_t)first + i) * call->ldx * element_bytes(kernel),
                     rows + i * row_bytes);
        /* Sums and floats both have 4 bytes. */
        kernel->fn(rows, row_bytes, (uint8_t *)call->y + first * call->ldy * sizeof(float),
                   call->ldy, n, &kernel->weights, &worker, rows + group * row_bytes);
        if (call->n - first <= group)
            break; /* first + group may exceed 32 bits */
    }
    free(rows);
    return RSR_MATRIX_OK;
}
