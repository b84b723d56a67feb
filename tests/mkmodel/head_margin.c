/* head_margin.c - decodes the likeliest tokens and prints by how many standard deviations the
 * largest logit is above the mean of all, on average over the steps.
 *
 * usage: head_margin MODULE.so
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "rsr.h"

#define N_STEPS 24

static rsr_error err = RSR_ERROR_INIT;

static void must(rsr_status status, const char *what) {
    if (status != RSR_OK) {
        fprintf(stderr, "head_margin: %s: %s\n", what, err.message);
        exit(1);
    }
}

static double margin_of(const float *logits, uint32_t n, uint32_t *largest) {
    double sum = 0, squares = 0;
    *largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)logits[i];
        if (logits[i] > logits[*largest])
            *largest = i;
    }
    const double mean = sum / n;
    for (uint32_t i = 0; i < n; i++)
        squares += ((double)logits[i] - mean) * ((double)logits[i] - mean);
    return ((double)logits[*largest] - mean) / sqrt(squares / n);
}

int main(int argc, char **argv) {
    rsr_model *model = NULL;
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
    rsr_engine *engine = NULL;
    rsr_sequence *sequence = NULL;
    if (argc != 2) {
        fputs("usage: head_margin MODULE.so\n", stderr);
        return 2;
    }
    must(rsr_open(argv[1], NULL, &model, &err), "rsr_open");
    must(rsr_model_get_info(model, &info), "rsr_model_get_info");
    options.n_threads = 1;
    options.context = 64;
    must(rsr_engine_create(model, &options, &engine, &err), "rsr_engine_create");
    must(rsr_sequence_create(engine, &sequence, &err), "rsr_sequence_create");
    float *logits = calloc(info.vocab, sizeof(*logits));
    double sum = 0;
    uint32_t token = 0;
    for (uint32_t step = 0; step < N_STEPS; step++) {
        const rsr_batch_entry entry = {sequence, step, token, true};
        rsr_batch batch = RSR_BATCH_INIT;
        batch.entries = &entry;
        batch.n_entries = 1;
        batch.logits = logits;
        batch.logits_capacity = info.vocab;
        must(rsr_eval(engine, &batch, &err), "rsr_eval");
        sum += margin_of(logits, info.vocab, &token);
    }
    printf("%.3f\n", sum / N_STEPS);
    free(logits);
    rsr_sequence_destroy(sequence);
    rsr_engine_destroy(engine);
    rsr_close(model);
    return 0;
}
