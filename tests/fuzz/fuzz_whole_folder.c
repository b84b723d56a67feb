/* fuzz_whole_folder.c - any bytes as a folder for the whole compiler.
 *
 * The first byte chooses options. Parts follow: each is a line "@@NAME" and the file's bytes, up to
 * a line end and the next "@@". A part with weights has the header's text and, after a NUL, the
 * first bytes of data. The target adds the header's length, and fills the missing data that the
 * offsets need with legal weights: words of {0, x, -x}, or, for weights packed in bytes, codes that
 * are also positive as a float scale.
 */
#include "fuzz_pipeline.h"

#define MAX_DATA (1u << 20)

static const char *const NAMES[] = {
    "config.json",           "generation_config.json", "tokenizer.json",
    "tokenizer_config.json", "chat_template.jinja",    "model.safetensors.index.json",
    "modules.json",          "1_Pooling/config.json",
};

static struct fuzz_pipeline pipeline;

static size_t data_bytes_of(const char *header, size_t n_header) {
    static const char KEY[] = "\"data_offsets\":[";
    size_t most = 0;
    for (const char *at = header, *end = header + n_header;
         (at = memmem(at, (size_t)(end - at), KEY, sizeof(KEY) - 1)) != NULL;) {
        at += sizeof(KEY) - 1;
        const char *comma = memchr(at, ',', (size_t)(end - at));
        uint64_t value = 0;
        for (; comma != NULL && ++comma < end && *comma >= '0' && *comma <= '9';)
            value = value < MAX_DATA ? value * 10 + (uint64_t)(*comma - '0') : value;
        most = value <= MAX_DATA && value > most ? (size_t)value : most;
    }
    return most;
}

static void put_weights(const char *name, const uint8_t *part, size_t n_part) {
    static const uint16_t WORDS[2][4] = {{0, 0x2525, 0xa525, 0x2525},
                                         {0x2500, 0x2525, 0x25a5, 0x2516}};
    const uint8_t *nul = memchr(part, 0, n_part);
    const size_t n_header = nul != NULL ? (size_t)(nul - part) : n_part;
    const size_t n_given = nul != NULL ? n_part - n_header - 1 : 0;
    const size_t n_data = data_bytes_of((const char *)part, n_header);
    const uint64_t length = n_header;
    fuzz_pipeline_put(&pipeline, name, &length, sizeof(length));
    fuzz_pipeline_put(&pipeline, name, part, n_header);
    if (n_given != 0)
        fuzz_pipeline_put(&pipeline, name, nul + 1, n_given);
    if (n_given >= n_data)
        return;
    const bool packed = memmem(part, n_header, "\"U8\"", 4) != NULL;
    uint16_t *words = malloc(n_data + sizeof(*words));
    uint32_t state = 1;
    for (size_t i = 0; i <= n_data / sizeof(*words); i++, state = state * 1664525u + 1013904223u)
        words[i] = WORDS[packed][state >> 30];
    fuzz_pipeline_put(&pipeline, name, (const uint8_t *)words + n_given, n_data - n_given);
    free(words);
}

/* `name` is not terminated. A part with an unknown name is ignored. */
static void put_part(const char *name, size_t n_name, const uint8_t *part, size_t n_part) {
    static const char *const WEIGHTS[] = {"model.safetensors", "model-00001-of-00002.safetensors",
                                          "model-00002-of-00002.safetensors"};
    char path[64] = "in/";
    for (size_t i = 0; i < sizeof(WEIGHTS) / sizeof(*WEIGHTS); i++)
        if (strlen(WEIGHTS[i]) == n_name && memcmp(WEIGHTS[i], name, n_name) == 0)
            put_weights(strcat(path, WEIGHTS[i]), part, n_part);
    for (size_t i = 0; path[3] == '\0' && i < sizeof(NAMES) / sizeof(*NAMES); i++)
        if (strlen(NAMES[i]) == n_name && memcmp(NAMES[i], name, n_name) == 0)
            fuzz_pipeline_put(&pipeline, strcat(path, NAMES[i]), part, n_part);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    if (size_bytes == 0)
        return 0;
    fuzz_pipeline_begin(&pipeline);
    fuzz_pipeline_make(&pipeline, "in/1_Pooling");
    const uint8_t *at = bytes + 1, *const end = bytes + size_bytes;
    while (at < end && (at = memmem(at, (size_t)(end - at), "@@", 2)) != NULL) {
        const char *name = (const char *)at + 2;
        const uint8_t *line_end = memchr(name, '\n', (size_t)(end - at - 2));
        if (line_end == NULL)
            break;
        const uint8_t *part = line_end + 1;
        const uint8_t *next = memmem(part, (size_t)(end - part), "\n@@", 3);
        next = next != NULL ? next : end;
        put_part(name, (size_t)((const char *)line_end - name), part, (size_t)(next - part));
        at = next;
    }
    fuzz_pipeline_compile(&pipeline, "in", bytes[0]);
    fuzz_pipeline_empty(&pipeline, "in/1_Pooling");
    fuzz_pipeline_empty(&pipeline, "in");
    return 0;
}
