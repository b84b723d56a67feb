/* relu2_sparsity.c - the share of gates that are not above 0 in each block of a compiled model,
 * over tokens of its vocabulary.
 *
 * usage: relu2_sparsity MODULE.so PERCENT
 *
 * Fails if a block's share is more than 5 points from PERCENT.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr.h"

#define N_TOKENS 64
#define MAX_BLOCKS 64
#define TOLERANCE 5.0

static rsr_error err = RSR_ERROR_INIT;
static struct { uint64_t inactive, all; } counts[MAX_BLOCKS];

static void must(rsr_status status, const char *what) {
    if (status != RSR_OK) {
        fprintf(stderr, "relu2_sparsity: %s: %s\n", what, err.message);
        exit(1);
    }
}

static void count(void *user, const rsr_probe_point *point) {
    (void)user;
    if (point->kind != RSR_PROBE_LINEAR_OUTPUT || strcmp(point->role, "gate") != 0 ||
        point->block >= MAX_BLOCKS)
        return;
    for (uint32_t t = 0; t < point->n_tokens; t++) {
        const float *gate =
            (const float *)(const void *)((const char *)point->data + t * point->row_bytes);
        for (uint32_t i = 0; i < point->cols; i++)
            counts[point->block].inactive += gate[i] <= 0.0f;
        counts[point->block].all += point->cols;
    }
}

static void eval_tokens(rsr_model *model, uint32_t vocab) {
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    options.n_threads = 1;
    options.context = N_TOKENS;
    options.probe = count;
    rsr_engine *engine = NULL;
    rsr_sequence *sequence = NULL;
    must(rsr_engine_create(model, &options, &engine, &err), "rsr_engine_create");
    must(rsr_sequence_create(engine, &sequence, &err), "rsr_sequence_create");
    rsr_batch_entry entries[N_TOKENS];
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        const rsr_batch_entry entry = {sequence, i, (uint32_t)(i * 7919ull % vocab), false};
        entries[i] = entry;
    }
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = N_TOKENS;
    must(rsr_eval(engine, &batch, &err), "rsr_eval");
    rsr_sequence_destroy(sequence);
    rsr_engine_destroy(engine);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: relu2_sparsity MODULE.so PERCENT\n");
        return 2;
    }
    const double wanted = strtod(argv[2], NULL);
    rsr_model *model = NULL;
    must(rsr_open(argv[1], NULL, &model, &err), "rsr_open");
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    must(rsr_model_get_info(model, &info), "rsr_model_get_info");
    eval_tokens(model, info.vocab);
    int failed = counts[0].all == 0;
    for (uint32_t b = 0; b < MAX_BLOCKS && counts[b].all != 0; b++) {
        const double percent = 100.0 * (double)counts[b].inactive / (double)counts[b].all;
        printf("block %" PRIu32 ": %.1f %% of the channels inactive\n", b, percent);
        failed |= !(percent >= wanted - TOLERANCE && percent <= wanted + TOLERANCE);
    }
    rsr_close(model);
    return failed;
}
