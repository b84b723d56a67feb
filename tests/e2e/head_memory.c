/* head_memory.c - rows of a large head and embedding leave memory when tokens do not read them any
 * more, and what is picked is the same.
 *
 * usage: head_memory MODULE.so HEAD_BYTES
 *
 * Reads N_TOKENS random tokens, then decodes some. Prints the largest share of the head (and
 * embedding, which has the same rows) that was resident between two steps; all else of the module
 * counts as resident. Then does the same with a copy of the weights, which has to stay whole.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "rsr.h"

#define N_TOKENS 3072u
#define BATCH 128u
#define N_DECODED 64u

static rsr_error err = RSR_ERROR_INIT;

static void must(rsr_status status, const char *what) {
    if (status == RSR_OK)
        return;
    fprintf(stderr, "head_memory: %s: %s\n", what, err.message);
    exit(1);
}

/* Resident bytes of all mappings of a file. */
static uint64_t resident_bytes(const char *name) {
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[4096];
    uint64_t kb, sum = 0;
    bool inside = false;
    if (file == NULL)
        exit(1);
    while (fgets(line, sizeof(line), file) != NULL) {
        uint64_t from, to;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2)
            inside = strstr(line, name) != NULL;
        else if (inside && sscanf(line, "Rss: %" SCNu64, &kb) == 1)
            sum += kb << 10;
    }
    fclose(file);
    return sum;
}

static uint32_t next_random(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + 1;
    return (uint32_t)(*state >> 33);
}

/* Evaluates n tokens, picks one after the last, and notes the most that is resident. */
static uint32_t eval(rsr_engine *engine, rsr_sequence *sequence, uint32_t position,
                     const uint32_t *tokens, uint32_t n, const char *name, uint64_t *most) {
    rsr_batch_entry entries[BATCH];
    const rsr_pick pick = {.entry = n - 1};
    uint32_t picked = 0;
    for (uint32_t i = 0; i < n; i++)
        entries[i] =
            (rsr_batch_entry){.sequence = sequence, .position = position + i, .token = tokens[i]};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = entries;
    batch.n_entries = n;
    batch.picks = &pick;
    batch.n_picks = 1;
    batch.picked = &picked;
    must(rsr_eval(engine, &batch, &err), "rsr_eval");
    const uint64_t resident = resident_bytes(name);
    *most = resident > *most ? resident : *most;
    return picked;
}

/* Returns a hash of all picks. */
static uint64_t run(const char *path, rsr_pages pages, const char *name, uint64_t *most) {
    rsr_open_options options = RSR_OPEN_OPTIONS_INIT;
    rsr_engine_options engine_options = RSR_ENGINE_OPTIONS_INIT;
    rsr_model_info info = RSR_MODEL_INFO_INIT;
    rsr_model *model = NULL;
    rsr_engine *engine = NULL;
    rsr_sequence *sequence = NULL;
    uint32_t tokens[BATCH], picked = 0;
    uint64_t state = 1, hash = 0;
    options.pages = pages;
    must(rsr_open(path, &options, &model, &err), "rsr_open");
    must(rsr_model_get_info(model, &info), "rsr_model_get_info");
    engine_options.n_threads = 2;
    engine_options.context = N_TOKENS + N_DECODED;
    must(rsr_engine_create(model, &engine_options, &engine, &err), "rsr_engine_create");
    must(rsr_sequence_create(engine, &sequence, &err), "rsr_sequence_create");
    *most = 0;
    for (uint32_t at = 0; at < N_TOKENS; at += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++)
            tokens[i] = next_random(&state) % info.vocab;
        picked = eval(engine, sequence, at, tokens, BATCH, name, most);
        hash = hash * 31 + picked;
    }
    for (uint32_t i = 0; i < N_DECODED; i++) {
        picked = eval(engine, sequence, N_TOKENS + i, &picked, 1, name, most);
        hash = hash * 31 + picked;
    }
    rsr_sequence_destroy(sequence);
    rsr_engine_destroy(engine);
    rsr_close(model);
    return hash;
}

int main(int argc, char **argv) {
    struct stat file;
    if (argc != 3 || stat(argv[1], &file) != 0)
        return 2;
    const double head = strtod(argv[2], NULL), others = (double)file.st_size - head;
    const char *slash = strrchr(argv[1], '/');
    const char *name = slash != NULL ? slash + 1 : argv[1];
    uint64_t most, ignored;
    const uint64_t hash = run(argv[1], RSR_PAGES_PLAIN, name, &most);
    const bool equal = hash == run(argv[1], RSR_PAGES_COPY, name, &ignored);
    printf("%.0f %% of the head, picks are %s\n", 100.0 * ((double)most - others) / head,
           equal ? "equal" : "different");
    return equal ? 0 : 1;
}
