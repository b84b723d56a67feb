/* fuzz_safetensors.c - any bytes as a .safetensors file. An accepted file is read to its last byte,
 * so that a sanitizer finds a wrong offset. */
#include <assert.h>
#include <string.h>

#include "fuzz_target.h"

static volatile uint8_t sink;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct fuzz_target target;
    struct rsr_tensor *tensors;
    uint32_t n;
    fuzz_target_begin(&target);
    if (rsrc_parse_safetensors(target.diag, &target.arena, "fuzz.safetensors", bytes, size_bytes,
                               &tensors, &n) == RSRC_OK) {
        for (uint32_t i = 0; i < n; i++) {
            assert(i == 0 || strcmp(tensors[i - 1].name, tensors[i].name) < 0);
            for (uint64_t k = 0; k < tensors[i].size_bytes; k++) {
                sink = (uint8_t)(sink + tensors[i].data[k]);
            }
        }
        fuzz_target_end(&target, true);
    } else {
        fuzz_target_end(&target, false);
    }
    return 0;
}
