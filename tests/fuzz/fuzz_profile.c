/* fuzz_profile.c - libFuzzer: any bytes as a profile. What is read must print and read again to the
 * same text. */
#include <string.h>

#include "fuzz_target.h"
#include "profile/profile.h"

static void require(bool condition) {
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes) {
    struct fuzz_target target;
    fuzz_target_begin(&target);
    struct rsrc_profile profile, again;
    const bool accepted = rsrc_read_profile(target.diag, &target.arena, "fuzz.json", bytes,
                                            size_bytes, &profile) == RSRC_OK;
    if (accepted) {
        struct rsrc_buffer first = {0}, second = {0};
        rsrc_print_profile(&profile, &first);
        require(rsrc_read_profile(target.diag, &target.arena, "again.json", first.data,
                                  first.size_bytes, &again) == RSRC_OK);
        rsrc_print_profile(&again, &second);
        require(strcmp(first.data, second.data) == 0);
        rsrc_buffer_free(&first);
        rsrc_buffer_free(&second);
    }
    fuzz_target_end(&target, accepted);
    return 0;
}
