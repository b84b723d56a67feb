/* fuzz_tokenize.c - any bytes as text: tokenising and back must agree with repairing the bytes.
 *
 * The first byte picks the tokenizer of tests/tokenizer/ and the flags. Byte-level BPE loses
 * nothing, so without special tokens, normalisation and an added space, decoding the tokens gives
 * the repaired text. Whatever the tokenizer, decoding makes valid UTF-8.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reader/checkpoint.h"
#include "tokenizer/text.h"
#include "tokenizer/tokenizer.h"

struct subject {
    struct rsr_module module;
    struct rsr_model model;
};

static bool load(const char *name, struct subject *s) {
    static struct rsrc_arena arena;
    char path[512];
    snprintf(path, sizeof(path), TEST_SOURCE_DIR "/tests/tokenizer/%s.tokenizer.json", name);
    FILE *file = fopen(path, "rb");
    char *bytes = malloc(1 << 20);
    if (!file || !bytes)
        return false;
    size_t n = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    struct rsrc_diag *diag = rsrc_diag_create(stderr, false, RSRC_COLOR_NEVER);
    struct rsr_tokenizer tokenizer = {0};
    bool ok =
        rsrc_parse_tokenizer(diag, &arena, path, (const uint8_t *)bytes, n, &tokenizer) == RSRC_OK;
    rsrc_diag_destroy(diag);
    free(bytes);
    s->module.tokenizer = tokenizer.section;
    s->module.hyper.vocab = ok ? tokenizer.section->n_tokens : 0;
    s->model.module = &s->module;
    s->model.owner_pid = (int)getpid();
    return ok && rsr_text_create(&s->module, &s->model.text, NULL) == RSR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"llama3", "gpt2",  "qwen",      "falcon",
                                        "llama2", "gemma", "metaspace", "metaspace-always"};
    enum { N_NAMES = sizeof(names) / sizeof(names[0]) };
    static struct subject subjects[N_NAMES];
    if (size == 0)
        return 0;
    struct subject *s = &subjects[data[0] % N_NAMES];
    if (!s->model.text && !load(names[data[0] % N_NAMES], s))
        abort();
    uint32_t flags = data[0] / N_NAMES & 3;
    const char *text = (const char *)data + 1;
    size_t n_bytes = size - 1, n = 0, n_again = 0;
    uint32_t *ids = malloc((3 * n_bytes + 16) * sizeof(*ids));
    char *back = malloc(6 * n_bytes + 4096);
    if (!ids || !back ||
        rsr_api_tokenize(&s->model, text, n_bytes, flags, ids, 3 * n_bytes + 16, &n, NULL) !=
            RSR_OK)
        abort();
    size_t capacity = 6 * n_bytes + 4096;
    if (rsr_api_detokenize(&s->model, ids, n, false, back, capacity, &n_again, NULL) != RSR_OK)
        abort();
    if (!rsr_utf8_is_valid(back, n_again))
        abort();
    /* llama3 has special tokens alone beside its vocabulary, and does not normalise. */
    struct rsr_bytes repaired = {0};
    if (data[0] % N_NAMES == 0 && flags == 0) {
        bool ok = rsr_utf8_append_repaired(&repaired, text, n_bytes);
        if (!ok || repaired.size != n_again ||
            (n_again > 0 && memcmp(repaired.data, back, n_again) != 0))
            abort();
    }
    rsr_bytes_free(&repaired);
    free(ids);
    free(back);
    return 0;
}
