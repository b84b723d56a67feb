/* gpu_rows.c - prints rows of measurements. */
#include "gpu_rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int compare_times(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double gpu_row_median(double *times, uint32_t n) {
    qsort(times, n, sizeof *times, compare_times);
    return times[n / 2];
}

void gpu_row_print(const char *name, uint64_t bytes, double *times_us, uint32_t n,
                   double predicted_us) {
    const double median = gpu_row_median(times_us, n);
    printf("row\t%s\t%" PRIu64 "\t%.3f\t%.3f\t", name, bytes, median, times_us[0]);
    if (predicted_us > 0)
        printf("%.3f\n", predicted_us);
    else
        puts("-");
    fflush(stdout);
}
