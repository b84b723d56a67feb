/* measurements.h - what rsr-bench and rsr-run measured, read from their JSON for a report. */
#ifndef RSRC_REPORT_MEASUREMENTS_H
#define RSRC_REPORT_MEASUREMENTS_H

#include <stdint.h>

#include "base/arena.h"
#include "diag.h"

/* Of `rsr-bench model --profile --json`, of a module that was compiled from the checkpoint with
 * this hash.
 * *json: the members that a report has, checked; in the arena. */
RSRC_NODISCARD enum rsrc_status rsrc_read_measured(struct rsrc_diag *diag, struct rsrc_arena *arena,
                                                   const char *path, const uint8_t model_hash[16],
                                                   const char **json);
/* Of `rsr-run --json`: what attention read. */
RSRC_NODISCARD enum rsrc_status rsrc_read_attention_stats(struct rsrc_diag *diag,
                                                          struct rsrc_arena *arena,
                                                          const char *path, const char **json);

#endif
