/* fuzz_ptx.c - PTX text in the interpreter of the tests (tests/cuda/ptx/ptx.h): it is refused with
 * a sentence, or its kernels run for a limited time. */
#include <stdlib.h>
#include <string.h>

#include "ptx/ptx.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

/* Every parameter of 8 bytes is the address of 256 bytes, the others are 1. */
static void run_kernel(const struct ptx_kernel *kernel) {
    uint8_t parameters[4096] = {0};
    struct ptx_memory memory;
    struct ptx_error error;
    struct ptx_counts counts = {0};
    ptx_memory_init(&memory);
    const uint64_t address = ptx_allocate(&memory, 256), one = 1;
    const uint8_t zeros[128] = {0};
    if (!ptx_upload(&memory, address, zeros, sizeof zeros))
        abort();
    for (uint32_t i = 0; i < kernel->n_parameters; i++) {
        const struct ptx_parameter *parameter = &kernel->parameters[i];
        if (parameter->size_bytes == 8)
            memcpy(parameters + parameter->offset, &address, 8);
        else if (parameter->size_bytes == 4)
            memcpy(parameters + parameter->offset, &one, 4);
    }
    const struct ptx_launch launch = {.kernel = kernel,
                                      .grid = {2, 1, 1},
                                      .block = {48, 1, 1},
                                      .parameters = parameters,
                                      .max_steps = 4096};
    const bool ran = ptx_run(&memory, &launch, &counts, &error);
    if (ran != (error.text[0] == '\0'))
        abort();
    ptx_memory_free(&memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct rsrc_arena arena;
    struct ptx_module module;
    struct ptx_error error;
    rsrc_arena_init(&arena);
    const bool parsed = ptx_parse(&arena, (const char *)bytes, size_bytes, &module, &error);
    if (parsed != (error.text[0] == '\0'))
        abort();
    for (uint32_t i = 0; parsed && i < module.n_kernels && i < 4; i++)
        run_kernel(&module.kernels[i]);
    rsrc_arena_free(&arena);
    return 0;
}
