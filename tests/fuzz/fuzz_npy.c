/* fuzz_npy.c - any bytes as a .npy file. An accepted file is read to its last byte, so that a
 * sanitizer finds a wrong offset. */
#include <assert.h>

#include "fuzz_target.h"
#include "reader/npy.h"

static volatile uint8_t sink;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct fuzz_target target;
    struct rsr_tensor *tensors;
    uint32_t n;
    fuzz_target_begin(&target);
    const bool accepted = rsrc_parse_npy(target.diag, &target.arena, "fuzz.npy", bytes, size_bytes,
                                         &tensors, &n) == RSRC_OK;
    if (accepted) {
        assert(n == 1 && tensors->offset + tensors->size_bytes == size_bytes);
        for (uint64_t k = 0; k < tensors->size_bytes; k++)
            sink = (uint8_t)(sink + tensors->data[k]);
    }
    fuzz_target_end(&target, accepted);
    return 0;
}
