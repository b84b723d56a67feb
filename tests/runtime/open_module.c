/* Opens a module through librsr and evaluates eight fixed tokens.
 *     open_module FILE [TARGET or "" [PAGES, as in rsr_open_options]]
 * Prints what was opened and a hash of the logits, or the refusal's status and sentence (exit
 * 1). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rsr.h"

#define N_TOKENS 8

static int refuse(const rsr_error *err) {
    printf("status %d: %s\n", (int)err->status, err->message);
    return 1;
}

/* FNV-1a over the bits. */
static uint64_t hash_floats(const float *values, size_t n) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof(bits));
        hash = (hash ^ bits) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static rsr_status evaluate(rsr_engine *engine, uint32_t vocab, rsr_error *err) {
    rsr_sequence *sequence = NULL;
    rsr_status status = rsr_sequence_create(engine, &sequence, err);
    if (status != RSR_OK)
        return status;
    rsr_batch_entry entries[N_TOKENS];
    for (uint32_t i = 0; i < N_TOKENS; i++)
        entries[i] = (rsr_batch_entry){sequence, i, (i * 7 + 1) % vocab, true};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = N_TOKENS;
    batch.logits_capacity = (size_t)N_TOKENS * vocab;
    batch.logits = malloc(batch.logits_capacity * sizeof(float));
    status = rsr_eval(engine, &batch, err);
    if (status == RSR_OK)
        printf("logits %016" PRIx64 "\n", hash_floats(batch.logits, batch.logits_capacity));
    free(batch.logits);
    rsr_sequence_destroy(sequence);
    return status;
}

int main(int argc, char **argv) {
    rsr_error err = RSR_ERROR_INIT;
    rsr_open_options options = RSR_OPEN_OPTIONS_INIT;
    rsr_engine_options engine_options = RSR_ENGINE_OPTIONS_INIT;
    rsr_model *model = NULL;
    rsr_engine *engine = NULL;
    if (argc < 2)
        return 2;
    options.target = argc > 2 && argv[2][0] != '\0' ? argv[2] : NULL;
    if (argc > 3)
        options.pages = (unsigned)atoi(argv[3]);
    if (rsr_open(argv[1], &options, &model, &err) != RSR_OK)
        return refuse(&err);
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    rsr_engine_info engine_info = RSR_ENGINE_INFO_INIT;
    engine_options.n_threads = 3;
    rsr_status status = rsr_model_get_info(model, &info);
    if (status == RSR_OK)
        status = rsr_engine_create(model, &engine_options, &engine, &err);
    if (status == RSR_OK)
        status = rsr_engine_get_info(engine, &engine_info);
    if (status != RSR_OK)
        return refuse(&err);
    fprintf(stderr, "target %s, pages %s, threads %u\n", info.target, info.pages,
            engine_info.n_threads);
    status = evaluate(engine, info.vocab, &err);
    rsr_engine_destroy(engine);
    rsr_close(model);
    return status == RSR_OK ? 0 : refuse(&err);
}
