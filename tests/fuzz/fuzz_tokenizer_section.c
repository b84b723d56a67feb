/* fuzz_tokenizer_section.c - the tokenizer section of a damaged module: the runtime refuses it with
 * a sentence, or takes text through it and back in bounds.
 *
 * The first byte picks a section, made from a seed of fuzz_tokenizer. Every six bytes after it
 * replace a word of the section: the word's number and its value, little-endian. A module's size of
 * the section is trusted, because nothing else says where it ends: here it may only shrink.
 */
#include <string.h>
#include <unistd.h>

#include "fuzz_target.h"
#include "tokenizer/text.h"

#define PATCH_BYTES 6

/* The section made of a file; it stays allocated. */
static const struct rsr_tokenizer_header *make_section(const char *name) {
    static struct rsrc_arena arena;
    static uint8_t bytes[1 << 16];
    char path[512];
    snprintf(path, sizeof(path), TEST_SOURCE_DIR "/tests/fuzz/corpus/tokenizer/%s", name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        abort();
    const size_t n = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    struct rsrc_diag *diag = rsrc_diag_create(stderr, false, RSRC_COLOR_NEVER);
    struct rsr_tokenizer tokenizer = {0};
    if (rsrc_parse_tokenizer(diag, &arena, path, bytes, n, &tokenizer) != RSRC_OK)
        abort();
    rsrc_diag_destroy(diag);
    return tokenizer.section;
}

/* A copy of exactly the section's size, so that the sanitizer sees every read past its end. */
static struct rsr_tokenizer_header *damage(const struct rsr_tokenizer_header *good,
                                           const uint8_t *patches, size_t size_bytes) {
    uint8_t *section = malloc(good->size_bytes);
    if (section == NULL)
        abort();
    memcpy(section, good, good->size_bytes);
    for (; size_bytes >= PATCH_BYTES; patches += PATCH_BYTES, size_bytes -= PATCH_BYTES) {
        const size_t word = (size_t)(patches[0] | patches[1] << 8) % (good->size_bytes / 4);
        memcpy(section + 4 * word, patches + 2, 4);
    }
    struct rsr_tokenizer_header *header = (struct rsr_tokenizer_header *)section;
    if (header->size_bytes > good->size_bytes)
        header->size_bytes = good->size_bytes;
    return header;
}

static void use(const struct rsr_model *model) {
    static const char text[] =
        " a<s>  b\xc3\xa9\xe2\x96\x81 e\xcc\x81\xff\xf0\x9f\x98\x80<0x0A>\n ab";
    uint32_t ids[512];
    char back[512];
    size_t n_ids = 0, n_bytes = 0;
    rsr_status status = rsr_api_tokenize(model, text, sizeof(text) - 1, 3, ids, 512, &n_ids, NULL);
    assert(status == RSR_OK || status == RSR_ERR_FULL || status == RSR_ERR_TEXT);
    if (status != RSR_OK)
        return;
    for (size_t i = 0; i < n_ids; i++)
        assert(ids[i] < model->module->tokenizer->n_tokens);
    status = rsr_api_detokenize(model, ids, n_ids, false, back, sizeof(back), &n_bytes, NULL);
    assert(status == RSR_OK || status == RSR_ERR_FULL || status == RSR_ERR_TEXT);
    assert(status != RSR_OK || rsr_utf8_is_valid(back, n_bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    static const char *const names[] = {"byte_level", "metaspace", "sentencepiece"};
    enum { N_NAMES = sizeof(names) / sizeof(names[0]) };
    static const struct rsr_tokenizer_header *good[N_NAMES];
    if (size_bytes == 0)
        return 0;
    const size_t which = bytes[0] % N_NAMES;
    if (good[which] == NULL)
        good[which] = make_section(names[which]);
    struct rsr_tokenizer_header *section = damage(good[which], bytes + 1, size_bytes - 1);
    struct rsr_module module = {.tokenizer = section, .hyper.vocab = section->n_tokens};
    struct rsr_model model = {.module = &module, .owner_pid = (int)getpid()};
    rsr_error err = RSR_ERROR_INIT;
    if (rsr_text_create(&module, &model.text, &err) == RSR_OK) {
        use(&model);
        rsr_text_destroy(model.text);
    } else {
        assert(err.message[0] != '\0');
    }
    free(section);
    return 0;
}
