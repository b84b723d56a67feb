/* fuzz_kv_file.c - any bytes as a saved sequence, for engines with and without an index of keys.
 * An accepted sequence is saved again, which must give the same file, and then evaluated further,
 * whatever its numbers are. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/fake_module.h"
#include "engine/engine.h"
#include "engine/kv_file.h"
#include "rsr_hash.h"

#define API (&rsr_runtime_api)
enum { VOCAB = 5, CONTEXT = 130, N_ENGINES = 2 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

static rsr_engine *engines[N_ENGINES];

static void make_engines(void) {
    static const char *const kv_types[N_ENGINES] = {"f32", "int8"};
    static const char *const attention[N_ENGINES] = {"dense", "louver:topk:3,min=1"};
    static struct fake_module fake;
    const struct fake_shape shape = {.hidden = 20,
                                     .n_layers = 1,
                                     .n_heads = 2,
                                     .n_kv_heads = 1,
                                     .head_dim = 12,
                                     .ffn = 8,
                                     .vocab = VOCAB,
                                     .context = CONTEXT,
                                     .head_dtype = RSR_DTYPE_F32};
    fake_module_init(&fake, &shape, 1);
    rsr_model *model = fake_open(&fake, RSR_OPS_GENERIC);
    for (uint32_t i = 0; i < N_ENGINES; i++) {
        rsr_engine_options options = RSR_ENGINE_OPTIONS_INIT;
        options.n_threads = 1;
        options.max_batch = 64;
        options.kv_type = kv_types[i];
        options.attention = attention[i];
        if (API->engine_create(model, &options, &engines[i], NULL) != RSR_OK)
            abort();
    }
}

/* A fuzzer cannot find a hash, so the file gets the right hashes. */
static void seal(uint8_t *bytes, size_t size_bytes, const rsr_engine *engine) {
    struct rsr_kv_file_header header;
    struct rsr_hash state;
    size_t at = sizeof(header);
    if (size_bytes < at)
        return;
    memcpy(&header, bytes, at);
    header.n_tokens %= CONTEXT + 1;
    header.file_bytes = size_bytes;
    const size_t token_bytes = engine->saved.token_bytes;
    if (size_bytes - at < header.n_tokens * sizeof(uint32_t))
        return;
    rsr_hash_init(&state);
    rsr_hash_update(&state, bytes + at, header.n_tokens * sizeof(uint32_t));
    rsr_hash_final(&state, header.tokens_hash);
    rsr_kv_file_hash_header(&header, header.hash);
    memcpy(bytes, &header, sizeof(header));
    at += header.n_tokens * sizeof(uint32_t);
    for (uint32_t done = 0, i = 0; done < header.n_tokens; i++) {
        const uint32_t left = header.n_tokens - done, n = left < 64 ? left : 64;
        if (size_bytes - at < n * token_bytes + 16)
            return;
        rsr_kv_file_hash_page(&header, i, bytes + at, n * token_bytes,
                              bytes + at + n * token_bytes);
        at += n * token_bytes + 16;
        done += n;
    }
}

/* Saving the sequence gives the bytes that it came from; then it continues. */
static void use(rsr_engine *engine, rsr_sequence *sequence, const uint8_t *bytes,
                size_t size_bytes) {
    char path[] = "/tmp/fuzz_kv_file.XXXXXX";
    const int fd = mkstemp(path);
    rsr_error err = RSR_ERROR_INIT;
    if (fd < 0 || API->sequence_save(sequence, path, &err) != RSR_OK)
        abort();
    FILE *file = fopen(path, "rb");
    uint8_t *again = malloc(size_bytes + 1);
    if (file == NULL || fread(again, 1, size_bytes + 1, file) != size_bytes ||
        memcmp(bytes, again, size_bytes) != 0)
        abort();
    fclose(file);
    free(again);
    close(fd);
    unlink(path);
    const uint32_t length = API->sequence_length(sequence), token = 1;
    float logits[VOCAB];
    const rsr_batch_entry entry = {sequence, length, token, true};
    rsr_batch batch = RSR_BATCH_INIT;
    batch.entries = &entry;
    batch.n_entries = 1;
    batch.logits = logits;
    batch.logits_capacity = VOCAB;
    const rsr_status status = API->eval(engine, &batch, &err);
    assert(status == RSR_OK || status == RSR_ERR_NUMERIC ||
           (status == RSR_ERR_FULL && length == CONTEXT));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    if (engines[0] == NULL)
        make_engines();
    const int fd = memfd_create("kv", MFD_CLOEXEC);
    uint8_t *copy = malloc(size_bytes + 1);
    if (fd < 0 || copy == NULL)
        abort();
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    for (uint32_t i = 0; i < 2 * N_ENGINES; i++) {
        rsr_engine *engine = engines[i % N_ENGINES];
        rsr_sequence *sequence = NULL;
        rsr_error err = RSR_ERROR_INIT;
        memcpy(copy, bytes, size_bytes);
        if (i >= N_ENGINES)
            seal(copy, size_bytes, engine);
        if (ftruncate(fd, 0) != 0 || pwrite(fd, copy, size_bytes, 0) != (ssize_t)size_bytes)
            abort();
        if (API->sequence_load(engine, path, &sequence, &err) == RSR_OK)
            use(engine, sequence, copy, size_bytes);
        else
            assert(sequence == NULL && err.message[0] != '\0');
        API->sequence_destroy(sequence);
        assert(engine->kv.n_free == engine->kv.n_pages);
    }
    close(fd);
    free(copy);
    return 0;
}
