/* leftover.h - reports missing and superfluous tensors together. */
#ifndef RSRC_MODEL_LEFTOVER_H
#define RSRC_MODEL_LEFTOVER_H

#include "ir.h"

#define RSRC_MAX_MISSING 8u

/* Required tensors that were not found: the first few, and how many in all. */
struct rsrc_missing {
    const char *names[RSRC_MAX_MISSING];
    const char *expected[RSRC_MAX_MISSING]; /* what each one is, for the message */
    uint32_t n_total;
};

/* Borrows both strings. */
void rsrc_missing_add(struct rsrc_missing *missing, const char *name, const char *expected);

/* Refuses missing tensors and those that nothing consumed, pairing names that are close. */
RSRC_NODISCARD enum rsrc_status rsrc_report_leftovers(struct rsrc_diag *diag,
                                                      const struct rsr_checkpoint *checkpoint,
                                                      const struct rsrc_missing *missing);

#endif
