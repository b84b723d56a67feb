/* fuzz_trace.c - any bytes as a trace for rsr-bench attention. The input's first two bytes are
 * --context, the rest is the file. An accepted trace must be complete and finite. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/bench/rsr_bench_attention.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Refusals are sentences on stderr; the fuzzer keeps the stream that it began with. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    stderr = fopen("/dev/null", "w");
    return stderr == NULL;
}

static void check_floats(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    char path[64];
    if (size_bytes < 2)
        return 0;
    const int file = memfd_create("trace", 0);
    if (file < 0 || write(file, bytes + 2, size_bytes - 2) != (ssize_t)(size_bytes - 2))
        abort();
    snprintf(path, sizeof(path), "trace:/proc/self/fd/%d", file);
    const struct bench_options options = {.data = path,
                                          .context = 1 + (uint32_t)(bytes[0] | bytes[1] << 8),
                                          .threads = 1,
                                          .quick = true};
    struct attention_data data = {0};
    if (attention_data_make(&options, &data)) {
        check_floats(data.kv, data.kv_bytes / sizeof(float));
        check_floats(data.queries, (size_t)data.n_sources * data.n_steps * data.kv_heads *
                                       data.group * data.head_dim);
    }
    attention_data_free(&data);
    close(file);
    return 0;
}
