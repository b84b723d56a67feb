/* lower_lut.c - `lut`: sums of every code of a segment looked up by rows. */
#include "lower/variants.h"

enum rsrc_status rsrc_lower_lut(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                const char **detail) {
    (void)arena, (void)out, (void)detail;
    const struct rsrc_place place = {.tensor = input->title};
    rsrc_error(diag, "lower-lut", &place, "choose another variant with --variant",
               "lut: not lowered");
    return RSRC_FAILED;
}
