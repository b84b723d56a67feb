/* gpu_rows.h - rows of measurements, as the programs of tests/gpu.sh print them. */
#ifndef TESTS_CUDA_GPU_ROWS_H
#define TESTS_CUDA_GPU_ROWS_H

#include <stdint.h>

/* Sorts the times, and returns the median. */
double gpu_row_median(double *times, uint32_t n);
/* Prints at once: row, name, bytes, the median and the least of n > 0 times in microseconds, and
 * the predicted one, or "-" for 0; with tabs between. Sorts the times. */
void gpu_row_print(const char *name, uint64_t bytes, double *times_us, uint32_t n,
                   double predicted_us);

#endif
