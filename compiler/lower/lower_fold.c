/* lower_fold.c - `fold`: the segment index as instructions. */
#include "lower/variants.h"

enum rsrc_status rsrc_lower_fold(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                 const struct rsrc_lower_input *input, struct rsr_lowered *out,
                                 const char **detail) {
    (void)arena, (void)out, (void)detail;
    const struct rsrc_place place = {.tensor = input->title};
    rsrc_error(diag, "lower-fold", &place, "choose another variant with --variant",
               "fold: not lowered");
    return RSRC_FAILED;
}
