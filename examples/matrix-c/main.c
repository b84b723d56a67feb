/* main.c - multiplies with compiled matrices.
 *
 *     rsr-mkmodel --matrix 8x20:ternary -o mats.safetensors
 *     rsrc mats.safetensors --input=i8,f32 -o mats.so
 *     cc main.c ./mats.so -lpthread -o matrix-c && ./matrix-c
 *
 * mats.h declares the functions of every matrix; the name of this one is "matrix.0".
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mats.h"

#define ROWS MATS_MATRIX_0_ROWS
#define COLS MATS_MATRIX_0_COLS
#define N_VECTORS 3
#define N_THREADS 2

static void check(int status) {
    if (status == MATS_OK)
        return;
    fprintf(stderr, "matrix-c: %s\n",
            status == MATS_NO_CPU ? "this CPU cannot run the library" : "no product");
    exit(1);
}

/* A batch in as many parts as threads: each thread writes its own rows. */
static float batch_x[N_VECTORS][COLS], batch_y[N_VECTORS][ROWS];

static void *multiply_part(void *part) {
    check(mats_matrix_0_f32_part(batch_x[0], COLS, batch_y[0], ROWS, N_VECTORS,
                                 *(const uint32_t *)part, N_THREADS));
    return NULL;
}

int main(void) {
    int8_t x[COLS];
    int32_t y[ROWS];
    for (int c = 0; c < COLS; c++)
        x[c] = (int8_t)(c - 7);
    check(mats_matrix_0_i8(x, y));

    for (int t = 0; t < N_VECTORS; t++)
        for (int c = 0; c < COLS; c++)
            batch_x[t][c] = (float)x[c] * 0.5f * (float)t;
    pthread_t threads[N_THREADS];
    uint32_t parts[N_THREADS];
    for (uint32_t i = 0; i < N_THREADS; i++) {
        parts[i] = i;
        if (pthread_create(&threads[i], NULL, multiply_part, &parts[i]) != 0)
            return 1;
    }
    for (uint32_t i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);

    for (int r = 0; r < ROWS; r++)
        printf("%d %g %g %g\n", y[r], (double)batch_y[0][r], (double)batch_y[1][r],
               (double)batch_y[2][r]);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "matrix-c: cannot write to standard output: %s\n", strerror(errno));
        return 1;
    }
    return 0;
}
