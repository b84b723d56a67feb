/* fuzz_spec.c - libFuzzer: any bytes as a target description. What parses must print and parse
 * again to the same text. */
#include <string.h>

#include "fuzz_target.h"
#include "spec/spec.h"

static void require(bool condition) {
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct fuzz_target target;
    fuzz_target_begin(&target);
    struct rsr_spec spec, again;
    const bool accepted = rsrc_parse_spec(target.diag, &target.arena, "fuzz.yaml", bytes,
                                          size_bytes, &spec) == RSRC_OK;
    if (accepted) {
        struct rsrc_buffer first = {0}, second = {0};
        rsrc_print_spec(&spec, &first);
        require(rsrc_parse_spec(target.diag, &target.arena, "again.yaml",
                                (const uint8_t *)first.data, first.size_bytes, &again) == RSRC_OK);
        rsrc_print_spec(&again, &second);
        require(strcmp(first.data, second.data) == 0);
        rsrc_buffer_free(&first);
        rsrc_buffer_free(&second);
    }
    fuzz_target_end(&target, accepted);
    return 0;
}
