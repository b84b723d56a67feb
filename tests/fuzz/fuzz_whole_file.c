/* fuzz_whole_file.c - any bytes as a file (GGUF, NumPy, else safetensors) for the whole compiler.
 * The first byte chooses options; the rest is the file, whose first bytes decide its kind. */
#include "fuzz_pipeline.h"

static struct fuzz_pipeline pipeline;

static const char *name_of(const uint8_t *bytes, size_t size_bytes) {
    if (size_bytes >= 4 && memcmp(bytes, "GGUF", 4) == 0)
        return "in/fuzz.gguf";
    return size_bytes != 0 && bytes[0] == 0x93 ? "in/fuzz.npy" : "in/fuzz.safetensors";
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    if (size_bytes == 0)
        return 0;
    fuzz_pipeline_begin(&pipeline);
    const char *name = name_of(bytes + 1, size_bytes - 1);
    fuzz_pipeline_put(&pipeline, name, bytes + 1, size_bytes - 1);
    fuzz_pipeline_compile(&pipeline, name, bytes[0]);
    fuzz_pipeline_empty(&pipeline, "in");
    return 0;
}
